"""Operators that keep every position where it is: arithmetic, norms, look-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Layout, plain
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
    tensors_in,
)
from rfa_toolbox.operators.rules.common import places_of
from rfa_toolbox.operators.trail import Trail, Value
from rfa_toolbox.operators.windows import Window

__all__ = ["constant", "embedding", "glu", "pointwise", "same_shape"]


_SCALINGS = {"mul", "div", "sub", "add", "neg"}


def pointwise(trail: Trail, operation: Operation) -> None:
    """Combine tensors position by position."""
    tensors = trail.operands(operation)
    shape = operation.outputs[0].shape if operation.outputs else ()
    if len(tensors) == 1:
        value = trail.settled(tensors[0])
        kind = "scaling" if operation.name in _SCALINGS else "pointwise"
        if tensors[0].shape == shape:
            layout = value.layout
        else:
            layout = layouts.broadcast((value.layout,), shape)
        uneven = _uneven(trail, operation, layout, value.extents)
        facts: dict[str, Any] = {"kind": kind, "position_dependent": uneven}
        if uneven and operation.name in _MASKS:
            facts |= {"certainty": "bound", "reason": _MASKED.format(operation.name)}
        trail.step(operation, {}, layout, base=value, mixed=(), **facts)
        return
    values = [
        trail.spread(tensor, axes) if (axes := _met_by_all(trail, value, shape)) else value
        for tensor, value in zip(tensors, trail.on_one_grid(tensors), strict=True)
    ]
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
    trail.step(
        operation,
        dict.fromkeys(crossed, Window(math.inf)),
        layout,
        base=base,
        mixed=(),
        kind="layer" if crossed else "pointwise",
        everywhere=everywhere,
        unaligned=frozenset(unaligned),
        position_dependent=bool(unaligned) or _uneven(trail, operation, layout, base.extents),
    )


def glu(trail: Trail, operation: Operation) -> None:
    """Gate one half of a dimension by the other one: of channels as a rule, else of a map."""
    value = trail.settled(trail.main(operation))
    dimension = operation.get("dim", -1) % len(value.layout)
    windows = trail.mixing(value, (dimension,))
    if not windows:
        pointwise(trail, operation)
        return
    layout = list(value.layout)
    layout[dimension] = plain(operation.outputs[0].shape[dimension])
    trail.step(operation, windows, tuple(layout), base=value)


_MASKS = {"masked_fill", "where", "tril", "triu"}
_MASKED = "'{}' replaces some units of a map by numbers that see nothing"


def _met_by_all(trail: Trail, value: Value, shape: Sequence[int]) -> set[int]:
    """Return the axes on which a map has one unit, that all units of a larger map meet."""
    units = trail.steps[value.step].feature_map
    if trail.record.by_call:  # each call is one node, and says that its maps are not aligned
        return set()
    return {
        axis
        for own, size in zip(reversed(value.layout), reversed(shape), strict=False)
        if size > 1 and math.prod(piece.size for piece in own) == 1
        for axis in layouts.axes_of(own)
        if units is not None and units[axis] == 1
    }


def _uneven(trail: Trail, operation: Operation, layout: Layout, extents: Sequence[int]) -> bool:
    """Whether an operation does something else at some positions than at others."""
    constants = list(tensors_in(operation.arguments))
    if operation.name in ("tril", "triu"):
        constants.append(TensorRef(-1, operation.outputs[0].shape[-2:]))
    return trail.uneven(constants, layout, extents)


def same_shape(trail: Trail, operation: Operation) -> None:
    """Normalisation, dropout and the like: neutral, unless statistics over positions count."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    statistics = trail.mixing(value, _normalised(operation, len(value.layout)))
    trail.step(
        operation,
        {},
        value.layout,
        base=value,
        mixed=(),
        kind="pointwise",
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


def constant(trail: Trail, operation: Operation) -> None:
    """A new tensor that takes only its shape or type from another one depends on nothing."""
    if not operation.name.startswith("rand") and operation.name != "new_tensor":
        for tensor in operation.outputs:
            trail.even[tensor.number] = tuple(range(len(tensor.shape)))


def embedding(trail: Trail, operation: Operation) -> None:
    """Look up a vector for every position."""
    (tensor, *_) = trail.operands(operation)
    value = trail.settled(tensor)
    layout = (*value.layout, plain(operation.outputs[0].shape[-1]))
    trail.step(operation, {}, layout, base=value)
