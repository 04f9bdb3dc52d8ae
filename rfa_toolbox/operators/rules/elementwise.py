"""Operators that keep every position where it is: arithmetic, norms, look-ups."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import Answer, Effect, Moved, Rule, rule
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Layout, plain
from rfa_toolbox.operators.masks import FAR_BELOW, allowed_by
from rfa_toolbox.operators.record import (
    Numbers,
    Operation,
    TensorRef,
)
from rfa_toolbox.operators.rules.common import as_channels, places_of
from rfa_toolbox.operators.values import Value, with_most_axes
from rfa_toolbox.operators.windows import Window

__all__ = ["constant", "embedding", "glu", "pointwise", "same_shape"]


_SCALINGS = {"mul", "div", "sub", "add", "neg"}


@rule("one map", mirrors=True)
def pointwise(known: Known, operation: Operation) -> Answer:
    """Combine tensors position by position."""
    tensors = known.operands(operation)
    shape = operation.outputs[0].shape if operation.outputs else ()
    if len(tensors) == 1:
        value = known.value(tensors[0])
        kind = "scaling" if operation.name in _SCALINGS else "pointwise"
        if tensors[0].shape == shape:
            layout = value.layout
        else:
            layout = layouts.broadcast((value.layout,), shape)
        uneven = _uneven(known, operation, layout, value.extents)
        facts: dict[str, Any] = {"kind": kind, "position_dependent": uneven}
        if uneven and operation.name in _MASKS:
            facts |= {"certainty": "bound", "reason": _MASKED.format(operation.name)}
        if layouts.is_square(layout):
            facts |= _behind_mask(operation, value)
        return Effect({}, (layout,), base=value, mixed=(), mirrored=value.mirrored, **facts)
    values = [known.value(tensor) for tensor in tensors]
    base = with_most_axes(values)
    layout, everywhere, crossed, unaligned = _met(tuple([one.layout for one in values]), shape)
    if layout == base.layout:
        layout = base.layout
    scores = {value.scores for value in values}
    return Effect(
        dict.fromkeys(crossed, Window(math.inf)),
        (layout,),
        base=base,
        mixed=(),
        kind="layer" if crossed else "pointwise",
        everywhere=tuple(dict.fromkeys(values[place].step for place in everywhere)),
        unaligned=unaligned,
        position_dependent=bool(unaligned) or _uneven(known, operation, layout, base.extents),
        allowed=_left_of_all(values) if layouts.is_square(layout) else None,
        scores="zeroed" if "zeroed" in scores else min(scores),
        **_of_running_sums(known, operation, values),
    )


def _of_running_sums(known: Known, operation: Operation, values: Sequence[Value]) -> dict[str, Any]:
    """Return what to say of a difference of running sums: it is the sum of what lies between."""
    steps = {value.step for value in values}
    if operation.name != "sub" or len(steps) > 1 or known.steps[min(steps)].name != "cumsum":
        return {}
    return {"certainty": "bound", "reason": _BETWEEN}


_BETWEEN = "it takes running sums off each other, so that its units see only what lies between"


class _Met(NamedTuple):
    """What follows for tensors that meet position by position from where positions are in them.

    Attributes:
        layout: where they are in the result.
        everywhere: the places of those tensors that are the same at all positions of the others.
        crossed: the axes along which one has another axis.
        unaligned: the others along which they do not lie upon each other at one distance.
    """

    layout: Layout
    everywhere: tuple[int, ...]
    crossed: frozenset[int]
    unaligned: frozenset[int]


@functools.lru_cache(maxsize=4096)  # the sums and products of a network meet on few kinds of maps
def _met(several: tuple[Layout, ...], shape: tuple[int, ...]) -> _Met:
    layout = layouts.broadcast(several, shape)
    everywhere = [layouts.is_everywhere(one, layout) for one in several]
    crossed = frozenset(layouts.crossed(several))
    return _Met(
        layout,
        tuple(itertools.compress(itertools.count(), everywhere)),
        crossed,
        frozenset(layouts.unaligned(several)) - crossed,
    )


@Rule
def glu(known: Known, operation: Operation) -> Answer:
    """Gate one half of a dimension by the other one: of channels as a rule, else of a map."""
    _, value = known.worked_on(operation)
    dimension = operation.get("dim", -1) % len(value.layout)
    windows = known.mixing(value, (dimension,))
    if not windows:
        return pointwise(known, operation)
    layout = list(value.layout)
    layout[dimension] = plain(operation.outputs[0].shape[dimension])
    return Effect(windows, (tuple(layout),), base=value)


def _behind_mask(operation: Operation, value: Value) -> dict[str, Any]:
    """Return what to say of a step that may hide scores of an attention."""
    left, zeroed = _left_by(operation)
    if left is None:
        raised = _raises(operation)  # hidden once their sign is turned
        return {"allowed": Numbers(None) if raised else value.allowed, "scores": value.scores}
    said: dict[str, Any] = {"certainty": "exact", "reason": ""}
    if zeroed and value.scores == "normalised":
        return {**said, "allowed": value.allowed, "scores": value.scores}
    if not zeroed and value.scores == "zeroed":  # a 0 has a weight, unless it is hidden now
        return {**said, "allowed": left, "scores": ""}
    allowed = _in_both(value.allowed, left)
    return {**said, "allowed": allowed, "scores": "zeroed" if zeroed else value.scores}


def _raises(operation: Operation) -> bool:
    """Whether an operation adds something far above all scores to some of them, or puts it there.

    >>> scores = TensorRef(0, (2, 2))
    >>> _raises(Operation("masked_fill", {"input": scores, "value": 1e9}, (scores,), ()))
    True
    """
    if operation.name in ("masked_fill", "where"):  # far below is what a mask of all leaves over
        return any(_is_above(operation.get(name)) for name in ("value", "input", "other"))
    return operation.name in ("add", "sub") and any(map(_is_far, operation.tensors))


def _is_far(constant: TensorRef) -> bool:
    """Whether some number of a constant is as far from 0 as what hides scores."""
    held = None if constant.numbers is None else constant.numbers.array
    return held is not None and bool((np.abs(held) >= -FAR_BELOW).any())


def _is_above(value: Any) -> bool:
    """Whether a number, or some number of a constant, is as far above 0 as hides scores below."""
    if type(value) is TensorRef:
        held = None if value.numbers is None else value.numbers.array
        return held is not None and bool((held >= -FAR_BELOW).any())
    return isinstance(value, int | float) and value >= -FAR_BELOW


def _left_by(operation: Operation) -> tuple[Numbers | None, bool]:
    """Return which pairs of positions a mask leaves of scores, and whether the others are 0.

    None if it leaves all of them, or is no mask.
    """
    name = operation.name
    masks = [one for one in operation.tensors if one.numbers is not None]
    if name in ("tril", "triu"):
        rows, columns = operation.outputs[0].shape[-2:]
        kept = {"tril": np.tril, "triu": np.triu}[name]
        return Numbers(kept(np.ones((rows, columns), bool), operation.get("diagonal", 0))), True
    if name == "where":
        return _left_by_choice(operation)
    if len(masks) != 1:
        return None, False
    (mask,) = masks
    if name == "masked_fill":
        filling = _hides(operation.get("value", 0))
        return (None, False) if filling is None else (allowed_by(_opposite(mask)), filling == 0)
    if name == "mul":
        return allowed_by(_not_zero(mask)), True
    if name not in ("add", "sub"):
        return None, False
    if mask is not operation.tensors[0]:
        factor = operation.get("alpha", 1)
        mask = _times(mask, -factor if name == "sub" else factor)
    return allowed_by(mask), False


def _left_by_choice(operation: Operation) -> tuple[Numbers | None, bool]:
    """Return which scores a choice between them and a number leaves, as ``_left_by`` does."""
    mask = operation.get("condition")
    if type(mask) is not TensorRef or mask.numbers is None:
        return None, False
    for side in ("other", "input"):
        filling = _hides(operation.get(side, 0))
        if filling is not None:
            return allowed_by(mask if side == "other" else _opposite(mask)), filling == 0
    sides = [operation.get(side) for side in ("other", "input")]
    numbers = [one for one in sides if type(one) is TensorRef and not one.shape]
    if any(one.numbers is None for one in numbers):  # nobody knows what it puts there
        return Numbers(None), False
    return None, False


def _hides(filling: Any) -> float | None:
    """Return what stands in place of scores, if they are hidden by it: 0, or far below."""
    if type(filling) is TensorRef and filling.numbers is not None:
        array = filling.numbers.array
        filling = None if array is None else float(array.max())
    hides = isinstance(filling, int | float) and (filling == 0 or filling <= FAR_BELOW)
    return float(filling) if hides else None


def _in_both(one: Numbers | None, other: Numbers | None) -> Numbers | None:
    """Return which pairs of positions two masks leave."""
    if one is None or other is None or one.array is None:
        return one if other is None else other
    if other.array is None or other.array.shape != one.array.shape:
        return Numbers(None)
    return Numbers(other.array & one.array)


def _left_of_all(values: Sequence[Value]) -> Numbers | None:
    """Return which pairs are left of several scores; not known where masks differ."""
    several = [value.allowed for value in values]
    found = [one for one in several if one is not None]
    if len(found) < len(several):
        return None
    first, *others = (one.array for one in found)
    same = first is not None and all(
        one is not None and np.array_equal(first, one) for one in others
    )
    return found[0] if same else Numbers(None)


def _opposite(mask: TensorRef) -> TensorRef:
    array = None if mask.numbers is None else mask.numbers.array
    return mask if array is None else mask._replace(numbers=Numbers(array == 0))


def _times(mask: TensorRef, factor: float) -> TensorRef:
    array = None if mask.numbers is None else mask.numbers.array
    if array is None or factor == 1:
        return mask
    return mask._replace(numbers=Numbers(array * factor))


def _not_zero(mask: TensorRef) -> TensorRef:
    array = None if mask.numbers is None else mask.numbers.array
    return mask if array is None else mask._replace(numbers=Numbers(array != 0))


_MASKS = {"masked_fill", "where", "tril", "triu"}
_MASKED = "'{}' replaces some units of a map by numbers that see nothing"


def _uneven(known: Known, operation: Operation, layout: Layout, extents: Sequence[int]) -> bool:
    """Whether an operation does something else at some positions than at others."""
    constants = list(operation.tensors)
    if operation.name == "prelu":
        constants = [one for one in constants if len(one.shape) > 1]  # else one per channel
    if operation.name in ("tril", "triu"):
        constants.append(TensorRef(-1, operation.outputs[0].shape[-2:]))
    return known.uneven(constants, layout, extents)


@Rule
def same_shape(known: Known, operation: Operation) -> Answer:
    """Normalisation, dropout and the like: neutral, unless statistics over positions count."""
    _, value = known.worked_on(operation)
    normalised = _normalised(operation, len(value.layout))
    statistics = known.mixing(value, normalised)
    last = [*normalised] == [len(value.layout) - 1]
    return Effect(
        {},
        (value.layout,),
        base=value,
        mixed=(),
        kind="pointwise",
        allowed=value.allowed,
        scores=value.scores,
        ignored_global=bool(statistics),
        statistics=statistics,
        slides=as_channels(value.layout[-1]) if last else None,
    )


def _normalised(operation: Operation, rank: int) -> Sequence[int]:
    """Return the dimensions that a norm takes its statistics from, also when predicting.

    Those of a batch are taken when training only, if running ones are kept beside them.
    """
    name = operation.name
    if name == "group_norm":
        return range(1, rank)
    if name in ("instance_norm", "batch_norm"):
        return range(2, rank) if operation.arguments.get("running_mean") is None else ()
    if name in ("layer_norm", "native_layer_norm", "rms_norm"):
        return range(rank - len(operation.get("normalized_shape", ())), rank)
    if name == "normalize":
        return places_of(operation.get("dim", 1), rank)
    return ()


@rule("as it lies")
def constant(known: Known, operation: Operation) -> Moved:
    """A new tensor that takes only its shape or type from another one depends on nothing."""
    if operation.name.startswith("rand") or operation.name == "new_tensor":
        return Moved()
    return Moved(
        even={tensor.number: tuple(range(len(tensor.shape))) for tensor in operation.outputs}
    )


@Rule
def embedding(known: Known, operation: Operation) -> Answer:
    """Look up a vector for every position."""
    (tensor, *_) = known.operands(operation)
    value = known.value(tensor)
    layout = (*value.layout, plain(operation.outputs[0].shape[-1]))
    return Effect({}, (layout,), base=value)
