"""Operators that keep every position where it is: arithmetic, norms, look-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
    tensors_in,
)
from rfa_toolbox.operators.rules.common import places_of
from rfa_toolbox.operators.values import Value
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
            left = _left_by(operation, value.allowed)
            if left is not value.allowed:
                facts |= {"certainty": "exact", "reason": ""}
            facts["allowed"] = left
        return Effect({}, (layout,), base=value, mixed=(), mirrored=value.mirrored, **facts)
    values = [known.value(tensor) for tensor in tensors]
    layout = layouts.broadcast([value.layout for value in values], shape)
    base = max(values, key=lambda value: len(layouts.spatial_axes(value.layout)))
    if layout == base.layout:
        layout = base.layout
    everywhere = tuple(
        dict.fromkeys(value.step for value in values if layouts.is_everywhere(value.layout, layout))
    )
    several = [value.layout for value in values]
    crossed = layouts.crossed(several)
    unaligned = layouts.unaligned(several) - crossed
    return Effect(
        dict.fromkeys(crossed, Window(math.inf)),
        (layout,),
        base=base,
        mixed=(),
        kind="layer" if crossed else "pointwise",
        everywhere=everywhere,
        unaligned=frozenset(unaligned),
        position_dependent=bool(unaligned) or _uneven(known, operation, layout, base.extents),
        allowed=_left_of_all(values) if layouts.is_square(layout) else None,
    )


@Rule
def glu(known: Known, operation: Operation) -> Answer:
    """Gate one half of a dimension by the other one: of channels as a rule, else of a map."""
    value = known.value(known.main(operation))
    dimension = operation.get("dim", -1) % len(value.layout)
    windows = known.mixing(value, (dimension,))
    if not windows:
        return pointwise(known, operation)
    layout = list(value.layout)
    layout[dimension] = plain(operation.outputs[0].shape[dimension])
    return Effect(windows, (tuple(layout),), base=value)


def _left_by(operation: Operation, before: Numbers | None) -> Numbers | None:
    """Return which pairs of positions are left of scores behind a mask."""
    masks = [one for one in tensors_in(operation.arguments) if one.numbers is not None]
    if len(masks) != 1:
        return before
    (mask,) = masks
    if operation.name == "masked_fill":
        number = operation.get("value", operation.get("2", 0))
        turned = isinstance(number, int | float) and number <= FAR_BELOW
        mask = _opposite(mask) if turned else mask._replace(numbers=None)
    elif operation.name == "where":
        filled = operation.get("other", 0)
        if not isinstance(filled, int | float) or filled > FAR_BELOW:
            mask = mask._replace(numbers=None)
    elif operation.name == "mul":
        mask = _not_zero(mask)
    elif operation.name != "add":
        return before
    allowed = allowed_by(mask)
    if allowed is None or before is None or before.array is None:
        return before if allowed is None else allowed
    if allowed.array is None or allowed.array.shape != before.array.shape:
        return Numbers(None)
    return Numbers(allowed.array & before.array)


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


def _not_zero(mask: TensorRef) -> TensorRef:
    array = None if mask.numbers is None else mask.numbers.array
    return mask if array is None else mask._replace(numbers=Numbers(array != 0))


_MASKS = {"masked_fill", "where", "tril", "triu"}
_MASKED = "'{}' replaces some units of a map by numbers that see nothing"


def _uneven(known: Known, operation: Operation, layout: Layout, extents: Sequence[int]) -> bool:
    """Whether an operation does something else at some positions than at others."""
    constants = list(tensors_in(operation.arguments))
    if operation.name == "prelu":
        constants = [one for one in constants if len(one.shape) > 1]  # else one per channel
    if operation.name in ("tril", "triu"):
        constants.append(TensorRef(-1, operation.outputs[0].shape[-2:]))
    return known.uneven(constants, layout, extents)


@Rule
def same_shape(known: Known, operation: Operation) -> Answer:
    """Normalisation, dropout and the like: neutral, unless statistics over positions count."""
    tensor = known.main(operation)
    value = known.value(tensor)
    statistics = known.mixing(value, _normalised(operation, len(value.layout)))
    return Effect(
        {},
        (value.layout,),
        base=value,
        mixed=(),
        kind="pointwise",
        allowed=value.allowed,
        ignored_global=bool(statistics),
        statistics=statistics,
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
