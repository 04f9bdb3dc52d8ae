"""Operators that only move positions around: views, permutations, slices, padding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
)
from rfa_toolbox.operators.rules.common import (
    pads_where_cropped,
    per_axis,
    places_of,
)
from rfa_toolbox.operators.trail import (
    Trail,
    Value,
    between,
    is_stacked,
)
from rfa_toolbox.operators.windows import SOMEWHERE, Window

__all__ = [
    "copied",
    "expand",
    "flip",
    "getitem",
    "movedim",
    "narrow",
    "pad",
    "permute",
    "pick",
    "repeat",
    "reshape",
    "reverse_dimensions",
    "roll",
    "select",
    "select_last",
    "slice_",
    "split",
    "squeeze",
    "transpose",
    "unbind",
    "unsqueeze",
]


def _value(trail: Trail, operation: Operation, cut: Sequence[int] = ()) -> tuple[TensorRef, Value]:
    """Return what plumbing works on; units that it was given in dimensions to cut are its own."""
    tensor = trail.main(operation)
    value = trail.values[tensor.number]
    if any(between(value.layout[place]) for place in cut):
        value = trail.settled(tensor)
    return tensor, value


def _is_constant(trail: Trail, operation: Operation) -> bool:
    """Whether plumbing takes only size or type from the input; its result varies as before."""
    tensor = operation.arguments.get("input")
    if type(tensor) is not TensorRef or trail.depends(tensor):
        return False
    output, even = operation.outputs[0], trail.evenly(tensor)
    rank, own = len(output.shape), len(tensor.shape)
    if len(even) == own:
        trail.even[output.number] = tuple(range(rank))
    elif operation.name not in ("view_as", "reshape_as"):
        trail.even[output.number] = tuple(
            place
            for place in range(rank)
            if place - rank < -own
            or place - rank + own in even
            or tensor.shape[place - rank] != output.shape[place]
        )
    return True


def reshape(trail: Trail, operation: Operation) -> None:
    """Arrange the same elements in another shape."""
    if _is_constant(trail, operation):
        return
    _, value = _value(trail, operation)
    trail.move(operation, layouts.reshape(value.layout, operation.outputs[0].shape))


def unsqueeze(trail: Trail, operation: Operation) -> None:
    """Add a dimension of size 1."""
    _, value = _value(trail, operation)
    rank = len(operation.outputs[0].shape)
    layout = list(value.layout)
    layout.insert(operation.get("dim", 0) % rank, ())
    trail.move(operation, tuple(layout))


def squeeze(trail: Trail, operation: Operation) -> None:
    """Take out dimensions of size 1."""
    tensor, value = _value(trail, operation)
    wanted = places_of(operation.arguments.get("dim"), len(tensor.shape))
    gone = {place for place in wanted if tensor.shape[place] == 1}
    trail.move(operation, tuple(d for place, d in enumerate(value.layout) if place not in gone))


def copied(trail: Trail, operation: Operation) -> None:
    """Copy or convert: the positions stay where they are."""
    if _is_constant(trail, operation):
        return
    tensor, value = _value(trail, operation)
    shape = operation.outputs[0].shape
    if tensor.shape == shape:
        trail.move(operation, value.layout)
    else:
        trail.move(operation, layouts.broadcast((value.layout,), shape))


def permute(trail: Trail, operation: Operation) -> None:
    """Put the dimensions in another order."""
    tensor, value = _value(trail, operation)
    order = places_of(operation.get("dims", ()), len(tensor.shape))
    trail.move(operation, layouts.permute(value.layout, order))
    _carry_parts(trail, operation, value, order)


def _carry_parts(trail: Trail, operation: Operation, value: Value, order: Sequence[int]) -> None:
    """Say in which dimension channels of several tensors are after they changed places."""
    number = operation.outputs[0].number
    made = trail.values[number]
    if value.parts is not None:
        parts = value.parts._replace(dimension=order.index(value.parts.dimension))
        trail.values[number] = made._replace(parts=parts, apart=value.apart)


def transpose(trail: Trail, operation: Operation) -> None:
    """Swap two dimensions."""
    tensor, value = _value(trail, operation)
    rank = len(tensor.shape)
    order = list(range(rank))
    if rank > 1:
        default = (-2, -1) if operation.name in ("mT", "mH", "adjoint") else (0, 1)
        first = operation.get("dim0", default[0]) % rank
        second = operation.get("dim1", default[1]) % rank
        order[first], order[second] = order[second], order[first]
    trail.move(operation, layouts.permute(value.layout, order))


def reverse_dimensions(trail: Trail, operation: Operation) -> None:
    """Turn the order of the dimensions around."""
    tensor, value = _value(trail, operation)
    trail.move(operation, layouts.permute(value.layout, range(len(tensor.shape))[::-1]))


def movedim(trail: Trail, operation: Operation) -> None:
    """Move some dimensions to other places."""
    tensor, value = _value(trail, operation)
    rank = len(tensor.shape)
    source = places_of(operation.get("source", 0), rank)
    target = places_of(operation.get("destination", 0), rank)
    order: list[int | None] = [None] * rank
    for old, new in zip(source, target, strict=True):
        order[new] = old
    rest = iter([place for place in range(rank) if place not in source])
    complete = [next(rest) if place is None else place for place in order]
    trail.move(operation, layouts.permute(value.layout, complete))


def split(trail: Trail, operation: Operation) -> None:
    """Cut a tensor into parts along one dimension."""
    rank = len(trail.main(operation).shape)
    dimension = operation.get("dim", _SPLIT_DIMENSION.get(operation.name, 0)) % rank
    _, value = _value(trail, operation, [dimension])
    value = _parts_by_size(value, dimension, len(operation.outputs))
    start = 0
    for place, output in enumerate(operation.outputs):
        stop = start + output.shape[dimension]
        layout = list(value.layout)
        layout[dimension] = layouts.slice_dimension(value.layout[dimension], start, stop)
        trail.values[output.number] = value._replace(layout=layouts.anchored(tuple(layout)))
        trail.pick(operation, dimension, start, stop, place)
        start = stop


_SPLIT_DIMENSION = {"hsplit": 1, "dsplit": 2}


def _parts_by_size(value: Value, dimension: int, count: int) -> Value:
    """Return a value whose parts along a dimension are others, or more, for a larger image."""
    if count > 1 and layouts.axes_of(value.layout[dimension]):
        return value._replace(sized=True)
    return value


def unbind(trail: Trail, operation: Operation) -> None:
    """Take one dimension apart."""
    dimension = operation.get("dim", 0) % len(trail.main(operation).shape)
    _, value = _value(trail, operation, [dimension])
    value = _parts_by_size(value, dimension, len(operation.outputs))
    for place, output in enumerate(operation.outputs):
        trail.move(operation, _at(value.layout, dimension, place), place)
        trail.values[output.number] = trail.values[output.number]._replace(sized=value.sized)


def _at(layout: Layout, dimension: int, index: int) -> Layout:
    """Return the layout after one index of a dimension was taken, which is gone then."""
    one = layouts.slice_dimension(layout[dimension], index, index + 1)
    return layouts.without((*layout[:dimension], one, *layout[dimension + 1 :]), dimension)


def roll(trail: Trail, operation: Operation) -> None:
    """Shift positions along, around the edge."""
    rank = len(trail.main(operation).shape)
    _, value = _value(trail, operation, range(rank))
    layout = list(value.layout)
    dimensions = operation.get("dims")
    shifts = per_axis(operation.get("shifts", 0), 1)
    if dimensions in (None, [], ()):  # rolled as one long row
        axes = layouts.spatial_axes(value.layout) if any(shifts) else ()
        for place, dimension in enumerate(layout):
            if axes and layouts.axes_of(dimension):
                layout[place] = (Lost(math.prod(one.size for one in dimension), axes),)
    else:
        turned = list(zip(places_of(dimensions, len(layout)), shifts, strict=False))
        axes = tuple(a for place, by in turned if by for a in layouts.axes_of(layout[place]))
        for place, by in turned:
            layout[place] = layouts.shift(layout[place], int(by))
    trail.move(operation, tuple(layout))
    _copy_edges(trail, operation, dict.fromkeys(axes, math.inf))


def _copy_edges(trail: Trail, operation: Operation, units: Mapping[int, int | float]) -> None:
    """Say that units at the ends of a map are copies of others, so many of them per axis."""
    if units:
        number = operation.outputs[0].number
        value = trail.values[number]
        before = dict(enumerate(value.beyond))
        trail.values[number] = value._replace(
            beyond=tuple(max(before.get(axis, 0), units.get(axis, 0)) for axis in range(trail.axes))
        )


def pad(trail: Trail, operation: Operation) -> None:
    """Add or crop units at both ends."""
    amounts = list(operation.get("pad", ()))
    rank = len(trail.main(operation).shape)
    padded = [rank - 1 - place // 2 for place, one in enumerate(amounts) if one]
    tensor, value = _value(trail, operation, padded)
    layout = list(value.layout)
    mode = operation.get("mode", "constant")
    copies: dict[int, int | float] = {}
    elsewhere: dict[int, Window] = {}
    for place in range(len(amounts) // 2):
        dimension = len(layout) - 1 - place
        begin, end = amounts[2 * place], amounts[2 * place + 1]
        size = operation.outputs[0].shape[dimension]
        pieces = layout[dimension]
        if not (begin or end):
            continue
        if not layouts.axes_of(pieces):
            layout[dimension] = plain(size)
        elif len(pieces) == 1 and type(pieces[0]) is Atom:
            atom = pieces[0]
            axis = layouts.axes_of(pieces)[0]
            window = Window(begin=begin, end=end)
            cropped = pads_where_cropped(atom, window, value.extents[axis])
            if mode != "constant" and axis in value.cropped:
                cropped = True
            if cropped and mode != "constant":
                elsewhere[axis] = SOMEWHERE
            if cropped or mode == "circular":
                copies[axis] = math.inf
            elif mode == "reflect":
                copies[axis] = max(begin, end) * atom.step
            layout[dimension] = (atom._replace(size=size, origin=atom.origin - begin * atom.step),)
        else:
            before, after = plain(max(0, begin)), plain(max(0, end))
            inner = layouts.slice_dimension(
                pieces, max(0, -begin), tensor.shape[dimension] + min(0, end)
            )
            parts = [before] * (begin > 0) + [inner] + [after] * (end > 0)
            layout[dimension] = layouts.join(parts) if len(parts) > 1 else inner
    if elsewhere:  # a copy is not where the units were that it stands in place of
        reason = "copies of units stand where others were cropped, so that it is not known which"
        facts: dict[str, Any] = {"certainty": "bound", "reason": reason, "kind": "slice"}
        trail.step(operation, elsewhere, tuple(layout), base=value, **facts)
    else:
        trail.move(operation, tuple(layout))
    _copy_edges(trail, operation, copies)


def expand(trail: Trail, operation: Operation) -> None:
    """Repeat dimensions of size 1."""
    if _is_constant(trail, operation):
        return
    _, value = _value(trail, operation)
    trail.move(operation, layouts.expand(value.layout, operation.outputs[0].shape))


def repeat(trail: Trail, operation: Operation) -> None:
    """Repeat whole tensors or single positions."""
    tensor, value = _value(trail, operation)
    shape = operation.outputs[0].shape
    layout: list[Dimension] = [plain(size) for size in shape]
    for back in range(1, len(tensor.shape) + 1):
        pieces = value.layout[-back]
        if shape[-back] == tensor.shape[-back]:
            layout[-back] = pieces
        elif layouts.axes_of(pieces):
            times = shape[-back] // max(1, tensor.shape[-back])
            each = operation.name == "repeat_interleave"
            single = len(pieces) == 1 and type(pieces[0]) is Atom
            if each and (single or between(pieces)):
                layout[-back] = layouts.coalesce((*pieces, *plain(times)))
            else:
                layout[-back] = (Lost(shape[-back], layouts.axes_of(pieces)),)
    trail.move(operation, tuple(layout))


def flip(trail: Trail, operation: Operation) -> None:
    """Windows keep their size when a map is mirrored; where they lie is no longer followed."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    default = {"fliplr": (1,), "flipud": (0,)}.get(operation.name)
    places = places_of(operation.get("dims", default), len(tensor.shape))
    axes = [axis for place in places for axis in layouts.axes_of(value.layout[place])]
    if not axes:
        trail.move(operation, value.layout)
        return
    mirrored = dict.fromkeys(axes, SOMEWHERE)
    trail.step(
        operation,
        mirrored,
        value.layout,
        base=value,
        kind="slice",
        turned=frozenset(axes),
        position_dependent=True,
    )


def narrow(trail: Trail, operation: Operation) -> None:
    """Take a run of indices of one dimension."""
    dimension = operation.get("dim", 0) % len(trail.main(operation).shape)
    tensor, value = _value(trail, operation, [dimension])
    start = operation.get("start", 0)
    size = tensor.shape[dimension]
    start = int(start) % size if isinstance(start, int) else 0
    if layouts.axes_of(value.layout[dimension]):
        value = _ending(trail, value, start + operation.outputs[0].shape[dimension], size)
    layout = list(value.layout)
    layout[dimension] = layouts.slice_dimension(
        layout[dimension], start, start + operation.outputs[0].shape[dimension]
    )
    output = operation.outputs[0]
    trail.values[output.number] = value._replace(layout=layouts.anchored(tuple(layout)))
    trail.pick(operation, dimension, start, start + output.shape[dimension])


def _ending(trail: Trail, value: Value, stop: int, size: int) -> Value:
    """Return a map of which some first units are kept, by a number that goes by no size."""
    if stop >= size or trail.record.sized:
        return value
    return value._replace(beyond=(math.inf,) * trail.axes)


def select(trail: Trail, operation: Operation) -> None:
    """Take one index of one dimension."""
    dimension = operation.get("dim", 0) % len(trail.main(operation).shape)
    tensor, value = _value(trail, operation, [dimension])
    index = operation.get("index", 0)
    if isinstance(index, int):
        trail.move(operation, _at(value.layout, dimension, index % tensor.shape[dimension]))
    else:
        trail.move(operation, value.layout[:dimension] + value.layout[dimension + 1 :])


def select_last(trail: Trail, operation: Operation) -> None:
    """Take the state at the end of a sequence, which has seen all of it and has no place in it."""
    dimension = operation.get("dim", 0)
    _, value = _value(trail, operation)
    trail.move(operation, value.layout[:dimension] + value.layout[dimension + 1 :])


def slice_(trail: Trail, operation: Operation) -> None:
    """Take every n-th index of one dimension."""
    tensor, _ = _value(trail, operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    index = slice(
        operation.arguments.get("start"), operation.arguments.get("stop"), operation.get("step", 1)
    )
    _index(trail, operation, [slice(None)] * dimension + [index])


def getitem(trail: Trail, operation: Operation) -> None:
    """Index a tensor as NumPy does."""
    index = operation.arguments.get("index")
    _index(trail, operation, list(index) if isinstance(index, tuple) else [index])


def _index(trail: Trail, operation: Operation, index: list[Any]) -> None:
    tensor = trail.main(operation)
    output = operation.outputs[0]
    used = sum(1 for one in index if one is not None and one is not Ellipsis)
    if Ellipsis not in [one for one in index if not isinstance(one, TensorRef)]:
        index = [*index, Ellipsis]
    complete: list[Any] = []
    for one in index:
        if one is Ellipsis:
            complete.extend([slice(None)] * (len(tensor.shape) - used))
        else:
            complete.append(one)
    whole = [isinstance(one, slice) and one == slice(None) for one in complete if one is not None]
    cut = [place for place, every in enumerate(whole[: len(tensor.shape)]) if not every]
    _, value = _value(trail, operation, cut)
    layout: list[Dimension] = []
    place = 0
    strided = value.strided
    picked: list[int] = []
    gone: list[int] = []
    for one in complete:
        if one is None:
            layout.append(())
            continue
        if place >= len(value.layout):
            break
        pieces, size = value.layout[place], tensor.shape[place]
        place += 1
        if isinstance(one, slice):
            start, stop, step = _bounds(one, size)
            if layouts.axes_of(pieces):
                strided = operation.scope if step > 1 else strided
                if isinstance(one.stop, int) and one.stop >= 0:
                    value = _ending(trail, value, stop, size)
                if isinstance(one.start, int) and one.start < 0:  # so many of the last ones
                    value = _ending(trail, value, 0, size)
            layout.append(layouts.slice_dimension(pieces, start, stop, step))
        elif isinstance(one, bool | TensorRef | list | tuple):
            picked.extend(layouts.axes_of(pieces))
            layout.append((Lost(-1, layouts.axes_of(pieces)),) if layouts.axes_of(pieces) else ())
        else:  # an integer takes one position and leaves no dimension
            gone.append(len(layout))
            layout.append(layouts.slice_dimension(pieces, one % size, one % size + 1))
    if picked or any(isinstance(one, bool | TensorRef | list | tuple) for one in complete):
        _picked_by_index(trail, operation, value, picked)
        return
    same_rank = all(isinstance(one, slice) for one in complete)
    kept = layouts.anchored(tuple(layout))
    for dimension in reversed(gone):
        kept = layouts.without(kept, dimension)
    trail.values[output.number] = value._replace(
        layout=kept,
        strided=strided,
        parts=value.parts if same_rank else None,
        apart=value.apart or (not same_rank and is_stacked(value.parts)),
    )
    if value.parts is not None and same_rank:
        dimension = value.parts.dimension
        start, stop, step = _bounds(complete[dimension], tensor.shape[dimension])
        if step == 1:
            trail.pick(operation, dimension, start, stop)


def _picked_by_index(
    trail: Trail, operation: Operation, value: Value, picked: Sequence[int]
) -> None:
    """Positions in an order that an index tensor gives: the trail of those axes is lost."""
    output = operation.outputs[0]
    if not picked:
        trail.values[output.number] = value._replace(
            layout=layouts.broadcast((value.layout,), output.shape)
        )
        return
    kept = layouts.broadcast((value.layout,), output.shape)
    layout = list(kept)
    lost = tuple(dict.fromkeys(picked))
    # As many as there were are still in another order.
    places = [place for place, one in enumerate(kept) if {*layouts.axes_of(one)} & {*lost}]
    places += [
        place
        for place, size in enumerate(output.shape)
        if not layouts.axes_of(kept[place]) and size > 1
    ]
    for place in places[:1]:
        layout[place] = (Lost(output.shape[place], lost),)
    trail.step(
        operation,
        dict.fromkeys(lost, SOMEWHERE),
        tuple(layout),
        base=value,
        certainty="bound",
        reason=f"'{operation.name}' picks positions by an index; their order is not followed",
    )


def _bounds(index: slice, size: int) -> tuple[int, int, int]:
    plain_index = slice(
        *(one if isinstance(one, int) else None for one in (index.start, index.stop, index.step))
    )
    return plain_index.indices(size)


def pick(trail: Trail, operation: Operation) -> None:
    """``index_select``, ``gather``: positions by an index tensor along one dimension."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    axes = layouts.axes_of(value.layout[dimension])
    shape = operation.outputs[0].shape
    layout = list(layouts.broadcast((value.layout,), shape))
    if not axes:
        trail.move(operation, tuple(layout))
        return
    layout[dimension] = (Lost(shape[dimension], axes),)
    trail.step(
        operation,
        dict.fromkeys(axes, SOMEWHERE),
        tuple(layout),
        base=value,
        certainty="bound",
        reason=f"'{operation.name}' picks positions by an index; their order is not followed",
    )
