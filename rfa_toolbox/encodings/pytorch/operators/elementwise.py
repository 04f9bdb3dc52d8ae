"""Operators that keep every position where it is: arithmetic, norms, concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rfa_toolbox.encodings import layout as layouts
from rfa_toolbox.encodings.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.encodings.pytorch.domain import (
    Operation,
    tensors_in,
)
from rfa_toolbox.encodings.pytorch.operators.common import places_of
from rfa_toolbox.encodings.pytorch.steps import (
    Parts,
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
            layout = value.layout
        else:
            layout = layouts.broadcast((value.layout,), shape)
        trail.step(operation, {}, layout, base=value, mixed=(), kind=kind)
        return
    values = [trail.settled(tensor) for tensor in tensors]
    layout = layouts.broadcast([value.layout for value in values], shape)
    base = max(values, key=lambda value: len(layouts.spatial_axes(value.layout)))
    if layout == base.layout:
        layout = base.layout
    everywhere = tuple(
        dict.fromkeys(value.step for value in values if layouts.is_everywhere(value.layout, layout))
    )
    trail.step(operation, {}, layout, base=base, mixed=(), kind="pointwise", everywhere=everywhere)


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
    if not layouts.axes_of(joined) and len(tensors) > 1:
        output = operation.outputs[0].number
        parts = Parts(dimension, tuple(one.shape[dimension] for one in tensors))
        trail.values[output] = trail.values[output]._replace(parts=parts)


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
    """Write into a part of a tensor; the output is the whole tensor after that."""
    (output,) = operation.outputs
    target, written = operation.arguments.get("input"), operation.arguments.get("value")
    if target is not None and trail.depends(target):
        whole = trail.settled(target)
        facts: dict[str, Any] = {}
        if written is not None and trail.depends(written):
            part = trail.settled(written)
            laid = _laid(part.layout, operation.arguments.get("index"), output.shape, written.shape)
            reads = [(whole.step, whole.layout), (part.step, laid)]
            sources = list(dict.fromkeys(step for step, _ in reads))
            facts["offsets"] = layouts.offsets_between(reads, sources, trail.axes)
        trail.step(operation, {}, whole.layout, base=whole, kind="pointwise", **facts)
        return
    value = trail.settled(written) if written is not None else None
    if value is None or written is None:
        return
    index = operation.arguments.get("index")
    layout = _laid(value.layout, index, output.shape, written.shape)
    lost = set(layouts.spatial_axes(value.layout)) - set(layouts.runs_by_axis(layout))
    facts = {}
    if lost:
        facts = {
            "certainty": "bound",
            "reason": "positions are written to places that are not followed",
        }
    trail.step(operation, {}, layout, base=value, kind="pointwise", **facts)


def _laid(layout: Layout, index: Any, shape: Sequence[int], written: Sequence[int]) -> Layout:
    """Return the layout of a tensor of which a part was written, as if it held nothing else."""
    places = _written_places(index, shape, written)
    return tuple(
        plain(size) if place is None else _written_dimension(layout[place], size, at)
        for size, (place, at) in zip(shape, places, strict=True)
    )


def _written_places(
    index: Any, shape: Sequence[int], written: Sequence[int]
) -> list[tuple[int | None, slice | None]]:
    """Return per dimension of a tensor which dimension is written there, and to what indices."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if parts.count(Ellipsis) == 0:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    rest = len(shape) - (len(parts) - 1)
    complete = parts[:at] + [slice(None)] * max(0, rest) + parts[at + 1 :]
    sliced = [place for place, part in enumerate(complete[: len(shape)]) if isinstance(part, slice)]
    result: list[tuple[int | None, slice | None]] = [(None, None)] * len(shape)
    for back, place in enumerate(reversed(sliced), start=1):
        if back <= len(written):
            result[place] = (len(written) - back, complete[place])
    return result


def _written_dimension(dimension: Dimension, size: int, at: slice | None) -> Dimension:
    """Return a dimension after positions were written to a slice of it."""
    axes = layouts.axes_of(dimension)
    if not axes:
        return plain(size)
    count = math.prod(piece.size for piece in dimension)
    start, _, step = (slice(None) if at is None else at).indices(size)
    if count == size:
        return dimension
    if at not in (None, slice(None)) and len(dimension) == 1 and type(dimension[0]) is Atom:
        atom = dimension[0]
        if step > 1 and size in range((count - 1) * step + 1, count * step + 1):
            return (*dimension, *plain(step)) if size == count * step else (Lost(size, axes),)
        if step == 1 and start + count <= size:
            return (atom._replace(size=size, origin=atom.origin - start * atom.step),)
    return (Lost(size, axes),)


def constant(trail: Trail, operation: Operation) -> None:
    """A new tensor that takes only its shape or type from another one depends on nothing."""


def embedding(trail: Trail, operation: Operation) -> None:
    """Look up a vector for every position."""
    (tensor, *_) = trail.operands(operation)
    value = trail.settled(tensor)
    layout = (*value.layout, plain(operation.outputs[0].shape[-1]))
    trail.step(operation, {}, layout, base=value)
