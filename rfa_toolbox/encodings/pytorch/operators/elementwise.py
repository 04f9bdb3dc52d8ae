"""Operators that keep every position where it is: arithmetic, norms, concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rfa_toolbox.encodings import layout as layouts
from rfa_toolbox.encodings.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.encodings.pytorch.domain import (
    Operation,
    TensorRef,
    tensors_in,
)
from rfa_toolbox.encodings.pytorch.operators.common import pads_where_cropped, places_of
from rfa_toolbox.encodings.pytorch.steps import (
    Parts,
    Trail,
    Value,
)
from rfa_toolbox.encodings.windows import Window

__all__ = ["cat", "constant", "embedding", "glu", "pointwise", "same_shape", "setitem", "stack"]


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
    values = [trail.settled(tensor) for tensor in tensors]
    layout = layouts.broadcast([value.layout for value in values], shape)
    base = max(values, key=lambda value: len(layouts.spatial_axes(value.layout)))
    if layout == base.layout:
        layout = base.layout
    everywhere = tuple(
        dict.fromkeys(value.step for value in values if layouts.is_everywhere(value.layout, layout))
    )
    one_place = any(_is_one_place(trail, value, base) for value in values)
    crossed = layouts.crossed([value.layout for value in values])
    facts = {}
    if one_place:
        facts = {"certainty": "unknown", "reason": _ONE_PLACE.format(operation.name)}
    trail.step(
        operation,
        dict.fromkeys(crossed, Window(math.inf)),
        layout,
        base=base,
        mixed=(),
        kind="layer" if crossed else "pointwise",
        everywhere=everywhere,
        position_dependent=one_place or _uneven(trail, operation, layout, base.extents),
        **facts,
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
_ONE_PLACE = "'{}' combines every unit with one place of the map, which counts as nothing"


def _is_one_place(trail: Trail, value: Value, base: Value) -> bool:
    """Whether a tensor is one row of a map, say, that is combined with all rows of another one."""
    units = trail.steps[value.step].feature_map
    if value is base or units is None:
        return False
    own, theirs = (layouts.runs_by_axis(one.layout) for one in (value, base))
    return any(
        units[axis] > 1
        and base.extents[axis] > 1
        and math.prod(atom.size for atom in own.get(axis, ())) == 1
        for axis in theirs
        if axis in own or axis not in layouts.spatial_axes(value.layout)
    )


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
    base = max(
        (trail.values[one.number] for one in tensors if trail.depends(one)),
        key=lambda value: len(layouts.spatial_axes(value.layout)),
    )
    uneven = trail.uneven(tensors, layout, base.extents)
    trail.step(operation, {}, layout, base=base, mixed=(), position_dependent=uneven)
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
    several = [trail.settled(one) for one in tensors if trail.depends(one)]
    base = max(several, key=lambda value: len(layouts.spatial_axes(value.layout)))
    layout = list(layouts.broadcast([value.layout for value in several], inner))
    uneven = trail.uneven(tensors, tuple(layout), base.extents)
    layout.insert(dimension, plain(shape[dimension]))
    trail.step(operation, {}, tuple(layout), base=base, mixed=(), position_dependent=uneven)


def setitem(trail: Trail, operation: Operation) -> None:
    """Write into a part of a tensor; the output is the whole tensor after that."""
    (output,) = operation.outputs
    target, written = operation.arguments.get("input"), operation.arguments.get("value")
    index = operation.arguments.get("index")
    region = _region(index, output.shape)
    if region is not None and all(map(_covers, region, output.shape)):
        _overwrite(trail, output, written)
        return
    constants = [one for one in (target, written) if type(one) is TensorRef]
    whole = part = laid = None
    if type(target) is TensorRef and trail.depends(target):
        whole = trail.settled(target)
    if type(written) is TensorRef and trail.depends(written):
        part = trail.settled(written)
        laid = _laid(part.layout, index, output.shape, written.shape)
    facts: dict[str, Any] = {"kind": "pointwise"}
    base, layout = whole, () if whole is None else whole.layout
    if laid is not None and part is not None:
        if whole is None:
            base, layout = part, laid
        else:
            reads = [(whole.step, whole.layout), (part.step, laid)]
            sources = list(dict.fromkeys(step for step, _ in reads))
            facts["offsets"] = layouts.offsets_between(reads, sources, trail.axes)
    if base is None:  # only which places are written depends on the input
        mask = max(trail.operands(operation), key=lambda one: len(one.shape))
        base = trail.settled(mask)
        layout = layouts.broadcast((base.layout,), output.shape)
    carried = [bool(layouts.axes_of(dimension)) for dimension in layout]
    partial = [
        places
        for here, places, size in zip(carried, region or (), output.shape, strict=False)
        if here and not _covers(places, size)
    ]
    somewhere = region is None and not _chooses(trail, index)
    known = set(layouts.runs_by_axis(layout))
    if part is not None and not known.issuperset(layouts.spatial_axes(part.layout)):
        facts |= {"certainty": "bound", "reason": _NOT_FOLLOWED}
    elif whole is not None and (
        somewhere
        or any(places.step == 1 for places in partial)
        or _gone(trail, target, region, part, output.shape)
    ):
        facts |= {"certainty": "bound", "reason": _OVERWRITTEN}
    facts["position_dependent"] = (
        somewhere
        or bool(partial and whole is not None)
        or (whole is None and part is not None and _pads(part, laid or (), region, trail))
        or trail.uneven(constants, layout, base.extents)
    )
    trail.step(operation, {}, layout, base=base, mixed=(), **facts)
    if region is not None:
        number = target.number if type(target) is TensorRef else -1
        dependent, before = trail.written.get(number, (whole is not None, ()))
        step = None if part is None else part.step
        trail.written[output.number] = (dependent, (*before, (region, step)))
        parts = _parts_of(region, carried, output.shape)
        if parts is not None:
            value = trail.values[output.number]
            trail.values[output.number] = value._replace(parts=parts)


_NOT_FOLLOWED = "positions are written to places that are not followed"
_OVERWRITTEN = "a part of the map is overwritten, so that its units may see less"


def _overwrite(trail: Trail, output: TensorRef, written: Any) -> None:
    """Write all of a tensor: nothing is left of what it was."""
    if trail.depends(written):
        value = trail.values[written.number]
        layout = layouts.broadcast((value.layout,), output.shape)
        trail.values[output.number] = value._replace(layout=layout)
    elif type(written) is not TensorRef or len(trail.evenly(written)) == len(written.shape):
        trail.even[output.number] = tuple(range(len(output.shape)))


def _region(index: Any, shape: Sequence[int]) -> tuple[range, ...] | None:
    """Return what an index takes of every dimension; None where slices alone do not tell."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(type(part) not in (int, slice, type(Ellipsis)) for part in parts):
        return None
    if Ellipsis not in parts:
        parts.append(Ellipsis)
    at = parts.index(Ellipsis)
    parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    return tuple(
        range(size)[part] if isinstance(part, slice) else range(part % size, part % size + 1)
        for part, size in zip(parts, shape, strict=True)
    )


def _covers(places: range, size: int) -> bool:
    return len(places) == size


def _chooses(trail: Trail, index: Any) -> bool:
    """Whether an index is a mask that depends on the input alone, as the choice of ``where``."""
    if isinstance(index, tuple) and len(index) == 1:
        (index,) = index
    return trail.depends(index)


def _gone(
    trail: Trail,
    target: Any,
    region: Sequence[range] | None,
    part: Value | None,
    shape: Sequence[int],
) -> bool:
    """Whether what was written before, or all that a tensor was at first, may be gone now."""
    dependent, before = trail.written.get(target.number, (False, ()))
    if not before or region is None:
        return False
    made_of = trail.ancestors(part.step) if part is not None else set()
    touched = any(
        step is not None
        and step not in made_of
        and all(set(one) & set(other) for one, other in zip(region, earlier, strict=True))
        for earlier, step in before
    )
    volumes = [math.prod(map(len, one)) for one in (*(earlier for earlier, _ in before), region)]
    return touched or (dependent and sum(volumes) >= math.prod(shape))


def _pads(part: Value, laid: Layout, region: Sequence[range] | None, trail: Trail) -> bool:
    """Whether positions are written beside nothing where their map had more of them."""
    if region is None:
        return False
    for places, dimension in zip(region, laid, strict=True):
        for axis in layouts.axes_of(dimension):
            for atom in layouts.runs_by_axis(part.layout).get(axis, ()):
                size = math.prod(one.size for one in dimension)
                window = Window(begin=places.start, end=size - places[-1] - 1)
                if places.step == 1 and pads_where_cropped(atom, window, part.extents[axis]):
                    return True
    return False


def _parts_of(
    region: Sequence[range], carried: Sequence[bool], shape: Sequence[int]
) -> Parts | None:
    """Return the parts that a tensor has after some of its channels were overwritten."""
    partial = [place for place, one in enumerate(region) if not _covers(one, shape[place])]
    if len(partial) != 1 or carried[partial[0]] or region[partial[0]].step != 1:
        return None
    (place,) = partial
    first, count = region[place].start, len(region[place])
    sizes = (first, count, shape[place] - first - count)
    return Parts(place, tuple(size for size in sizes if size))


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
    if not operation.name.startswith("rand") and operation.name != "new_tensor":
        for tensor in operation.outputs:
            trail.even[tensor.number] = tuple(range(len(tensor.shape)))


def embedding(trail: Trail, operation: Operation) -> None:
    """Look up a vector for every position."""
    (tensor, *_) = trail.operands(operation)
    value = trail.settled(tensor)
    layout = (*value.layout, plain(operation.outputs[0].shape[-1]))
    trail.step(operation, {}, layout, base=value)
