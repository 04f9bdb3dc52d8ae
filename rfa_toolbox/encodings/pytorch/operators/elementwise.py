"""Operators that keep every position where it is: arithmetic, norms, concatenation."""

from __future__ import annotations

from rfa_toolbox.encodings import layout as layouts
from rfa_toolbox.encodings.layout import plain
from rfa_toolbox.encodings.pytorch.domain import (
    Operation,
    tensors_in,
)
from rfa_toolbox.encodings.pytorch.operators.common import dependent
from rfa_toolbox.encodings.pytorch.steps import (
    Trail,
)

__all__ = ["cat", "constant", "embedding", "pointwise", "same_shape", "setitem", "stack"]


_SCALINGS = {"mul", "div", "sub", "add", "neg"}


def pointwise(trail: Trail, operation: Operation) -> None:
    """Combine tensors position by position."""
    tensors = trail.operands(operation)
    shape = operation.outputs[0].shape if operation.outputs else ()
    if len(tensors) == 1:
        value = trail.settled(tensors[0])
        kind = "scaling" if operation.name in _SCALINGS else "pointwise"
        if tensors[0].shape == shape:
            trail.step(operation, {}, value.layout, base=value, kind=kind)
        else:
            trail.step(
                operation, {}, layouts.broadcast((value.layout,), shape), base=value, kind=kind
            )
        return
    values = [trail.settled(tensor) for tensor in tensors]
    layout = layouts.broadcast([value.layout for value in values], shape)
    base = max(values, key=lambda value: len(layouts.spatial_axes(value.layout)))
    if layout == base.layout:
        layout = base.layout
    everywhere = tuple(
        dict.fromkeys(value.step for value in values if layouts.is_everywhere(value.layout, layout))
    )
    trail.step(operation, {}, layout, base=base, kind="pointwise", everywhere=everywhere)


def same_shape(trail: Trail, operation: Operation) -> None:
    """Normalisation, dropout and the like: neutral, whatever statistics they take."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    trail.step(operation, {}, value.layout, base=value, kind="pointwise")


def cat(trail: Trail, operation: Operation) -> None:
    """Put tensors one after another along one dimension."""
    tensors = list(tensors_in(operation.arguments.get("tensors", operation.arguments)))
    shape = operation.outputs[0].shape
    tensors = [one for one in tensors if len(one.shape) == len(shape)] or tensors
    dimension = operation.get("dim", _CAT_DIMENSION.get(operation.name, 0)) % len(shape)
    if len(tensors[0].shape) != len(shape):
        pointwise(trail, operation)
        return
    values = [
        trail.settled(one).layout if trail.depends(one) else layouts.broadcast((), one.shape)
        for one in tensors
    ]
    rest = layouts.broadcast(
        [
            tuple(d if place != dimension else () for place, d in enumerate(layout))
            for layout in values
        ],
        tuple(size if place != dimension else 1 for place, size in enumerate(shape)),
    )
    joined = layouts.join([layout[dimension] for layout in values])
    layout = tuple(joined if place == dimension else d for place, d in enumerate(rest))
    trail.step(operation, {}, layout)


_CAT_DIMENSION = {"hstack": 1, "dstack": 2}


def stack(trail: Trail, operation: Operation) -> None:
    """Put tensors side by side along a new dimension."""
    tensors = list(tensors_in(operation.arguments.get("tensors")))
    shape = operation.outputs[0].shape
    dimension = operation.get("dim", 0) % len(shape)
    inner = (*shape[:dimension], *shape[dimension + 1 :])
    several = [trail.settled(one).layout for one in tensors if trail.depends(one)]
    layout = list(layouts.broadcast(several, inner))
    layout.insert(dimension, plain(shape[dimension]))
    trail.step(operation, {}, tuple(layout))


def setitem(trail: Trail, operation: Operation) -> None:
    """Writing into a part of a tensor merges both; the output is the tensor after the write."""
    shape = operation.outputs[0].shape
    found = dependent(trail, operation, "input", "value")
    several = [trail.settled(one).layout for one in found]
    if trail.depends(operation.arguments.get("input")):
        several = several[:1]
    layout = layouts.broadcast(several, shape)
    trail.step(operation, {}, layout, kind="pointwise")


def constant(trail: Trail, operation: Operation) -> None:
    """A new tensor that takes only its shape or type from another one depends on nothing."""


def embedding(trail: Trail, operation: Operation) -> None:
    """Look up a vector for every position."""
    (tensor, *_) = trail.operands(operation)
    value = trail.settled(tensor)
    layout = (*value.layout, plain(operation.outputs[0].shape[-1]))
    trail.step(operation, {}, layout, base=value)
