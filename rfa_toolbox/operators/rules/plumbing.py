"""Operators that only move positions around: views, permutations, slices, padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import Answer, Effect, Moved, Rule, rule
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
)
from rfa_toolbox.operators.rules.common import (
    move,
    pads_where_cropped,
    per_axis,
    pinned_places,
    places_of,
    viewed,
    with_layout,
    without_singles,
)
from rfa_toolbox.operators.values import Value, between, is_stacked, with_copies
from rfa_toolbox.operators.windows import SOMEWHERE, Window

__all__ = [
    "copied",
    "expand",
    "flip",
    "getitem",
    "movedim",
    "narrow",
    "pad",
    "parts_of_numbers",
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


def _one_dimension(known: Known, operation: Operation) -> tuple[int]:
    return (operation.get("dim", 0) % len(known.main(operation).shape),)


def _split_dimension(known: Known, operation: Operation) -> tuple[int]:
    default = {"hsplit": 1, "dsplit": 2}.get(operation.name, 0)
    return (operation.get("dim", default) % len(known.main(operation).shape),)


def _all_dimensions(known: Known, operation: Operation) -> range:
    return range(len(known.main(operation).shape))


def _constant(known: Known, operation: Operation) -> Moved | None:
    """Return what plumbing makes that takes only size or type from the input, if it does.

    The result varies as what it reads.
    """
    tensor = operation.arguments.get("input")
    if type(tensor) is not TensorRef or known.depends(tensor):
        return None
    output, even = operation.outputs[0], known.evenly(tensor)
    rank, own = len(output.shape), len(tensor.shape)
    if len(even) == own:
        return Moved(even={output.number: tuple(range(rank))})
    if operation.name in ("view_as", "reshape_as"):
        return Moved()
    places = (
        place
        for place in range(rank)
        if place - rank < -own
        or place - rank + own in even
        or tensor.shape[place - rank] != output.shape[place]
    )
    return Moved(even={output.number: tuple(places)})


@rule("as it lies")
def reshape(known: Known, operation: Operation) -> Answer:
    """Arrange the same elements in another shape."""
    constant = _constant(known, operation)
    if constant is not None:
        return constant
    _, value = known.worked_on(operation)
    shape = operation.outputs[0].shape
    layout = without_singles(value, pinned_places(value), keep=len(shape))
    made = viewed(known, operation, layouts.reshape(layout, shape))
    if value.taken and value.parts is not None:  # places of a map, one after another in channels
        found = made.values.items()
        apart = {at: one for at, one in found if one.parts is None or one.parts.channels > 1}
        made = Moved(
            {**made.values, **{at: one._replace(picked=True) for at, one in apart.items()}}
        )
    return made


@rule("as it lies")
def unsqueeze(known: Known, operation: Operation) -> Answer:
    """Add a dimension of size 1."""
    _, value = known.worked_on(operation)
    rank = len(operation.outputs[0].shape)
    layout = list(value.layout)
    layout.insert(operation.get("dim", 0) % rank, ())
    return viewed(known, operation, tuple(layout))


@rule("as it lies")
def squeeze(known: Known, operation: Operation) -> Answer:
    """Take out dimensions of size 1."""
    tensor, value = known.worked_on(operation)
    wanted = places_of(operation.arguments.get("dim"), len(tensor.shape))
    gone = [place for place in wanted if tensor.shape[place] == 1]
    return viewed(known, operation, without_singles(value, gone))


@rule("as it lies")
def copied(known: Known, operation: Operation) -> Answer:
    """Copy or convert: the positions stay where they are."""
    constant = _constant(known, operation)
    if constant is not None:
        return constant
    tensor, value = known.worked_on(operation)
    shape = operation.outputs[0].shape
    if tensor.shape == shape:
        return move(known, operation, value.layout)
    return move(known, operation, layouts.broadcast((value.layout,), shape))


@rule("as it lies")
def parts_of_numbers(known: Known, operation: Operation) -> Answer:
    """Put the real and the imaginary part of every number into a last dimension."""
    constant = _constant(known, operation)
    if constant is not None:
        return constant
    _, value = known.worked_on(operation)
    return move(known, operation, (*value.layout, plain(2)))


def _ordering(order: Callable[[Operation, int], Sequence[int]]) -> Rule:
    """Return the rule of an operator that puts dimensions, so many, in the order that is told."""

    def effect(known: Known, operation: Operation) -> Moved:
        tensor, value = known.worked_on(operation)
        places = list(order(operation, len(tensor.shape)))
        made = move(known, operation, layouts.permute(value.layout, places))
        if value.parts is None:
            return made
        parts = value.parts._replace(dimension=places.index(value.parts.dimension))
        ((number, moved),) = made.values.items()
        return Moved({number: moved._replace(parts=parts, apart=value.apart)})

    return Rule(effect, "as it lies", mirrors=True)


@_ordering
def permute(operation: Operation, rank: int) -> Sequence[int]:
    """Put the dimensions in another order."""
    return places_of(operation.get("dims", ()), rank)


@_ordering
def transpose(operation: Operation, rank: int) -> Sequence[int]:
    """Swap two dimensions."""
    order = list(range(rank))
    if rank > 1:
        default = (-2, -1) if operation.name in ("mT", "mH", "adjoint") else (0, 1)
        first = operation.get("dim0", default[0]) % rank
        second = operation.get("dim1", default[1]) % rank
        order[first], order[second] = order[second], order[first]
    return order


@_ordering
def reverse_dimensions(operation: Operation, rank: int) -> Sequence[int]:
    """Turn the order of the dimensions around."""
    return range(rank)[::-1]


@_ordering
def movedim(operation: Operation, rank: int) -> Sequence[int]:
    """Move some dimensions to other places."""
    source = places_of(operation.get("source", 0), rank)
    target = places_of(operation.get("destination", 0), rank)
    moved = dict(zip(target, source, strict=True))
    rest = iter([place for place in range(rank) if place not in source])
    return [moved[place] if place in moved else next(rest) for place in range(rank)]


@rule("as it lies", cuts=_split_dimension)
def split(known: Known, operation: Operation) -> Moved:
    """Cut a tensor into parts along one dimension."""
    (dimension,) = _split_dimension(known, operation)
    _, value = known.worked_on(operation)
    value = _parts_by_size(value, dimension, len(operation.outputs))
    found = {}
    start = 0
    for output in operation.outputs:
        stop = start + output.shape[dimension]
        found[output.number] = _run_of(value, dimension, start, stop)
        start = stop
    return Moved(found)


def _run_of(value: Value, dimension: int, start: int, stop: int) -> Value:
    """Return what a run of indices of one dimension holds."""
    layout = list(value.layout)
    layout[dimension] = layouts.slice_dimension(layout[dimension], start, stop)
    kept = value._replace(layout=layouts.anchored(tuple(layout)))
    return _picked(kept, dimension, start, stop)


def _picked(value: Value, dimension: int, start: int, stop: int) -> Value:
    """Return a value with those of its parts that are left in a run of some dimension."""
    parts = value.parts
    if parts is None or dimension != parts.dimension:
        return value
    left, missing = parts.between(start, stop)
    return value._replace(parts=left, picked=value.picked or missing)


def _parts_by_size(value: Value, dimension: int, count: int) -> Value:
    """Return a value whose parts along a dimension are others, or more, for a larger image."""
    if count > 1 and layouts.axes_of(value.layout[dimension]):
        return value._replace(sized=True)
    return value


@rule("as it lies", cuts=_one_dimension)
def unbind(known: Known, operation: Operation) -> Moved:
    """Take one dimension apart."""
    (dimension,) = _one_dimension(known, operation)
    _, value = known.worked_on(operation)
    value = _parts_by_size(value, dimension, len(operation.outputs))
    several = enumerate(operation.outputs)
    left = _without(value, dimension)
    return Moved(
        {
            output.number: with_layout(left, _at(value.layout, dimension, place), output)
            for place, output in several
        }
    )


def _without(value: Value, dimension: int) -> Value:
    """Return a value of which one index of a dimension is left, but for its layout."""
    parts = value.parts
    if parts is None:
        return value
    if parts.dimension == dimension:
        apart = value.apart or is_stacked(parts)
        return value._replace(parts=None, apart=apart, picked=value.picked or parts.channels > 1)
    return value._replace(
        parts=parts._replace(dimension=parts.dimension - (parts.dimension > dimension))
    )


def _at(layout: Layout, dimension: int, index: int) -> Layout:
    """Return the layout after one index of a dimension was taken, which is gone then."""
    one = layouts.slice_dimension(layout[dimension], index, index + 1)
    return layouts.without((*layout[:dimension], one, *layout[dimension + 1 :]), dimension)


@rule("as it lies", cuts=_all_dimensions)
def roll(known: Known, operation: Operation) -> Answer:
    """Shift positions along, around the edge."""
    _, value = known.worked_on(operation)
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
    return _with_copies(known, operation, tuple(layout), dict.fromkeys(axes, math.inf))


def _with_copies(
    known: Known, operation: Operation, layout: Layout, units: Mapping[int, int | float]
) -> Moved:
    """Return where positions are, where units at the ends are copies of others, by axis."""
    ((number, value),) = move(known, operation, layout).values.items()
    return Moved({number: with_copies(value, units, known.axes)})


def _padded_dimensions(known: Known, operation: Operation) -> list[int]:
    rank = len(known.main(operation).shape)
    amounts = operation.get("pad", ())
    return [rank - 1 - place // 2 for place, one in enumerate(amounts) if one]


@rule("as it lies", cuts=_padded_dimensions)
def pad(known: Known, operation: Operation) -> Answer:
    """Add or crop units at both ends."""
    tensor, value = known.worked_on(operation)
    layout = list(value.layout)
    mode = operation.get("mode", "constant")
    copies: dict[int, int | float] = {}
    elsewhere: dict[int, Window] = {}
    for dimension in dict.fromkeys(_padded_dimensions(known, operation)):
        place = 2 * (len(layout) - 1 - dimension)
        begin, end = operation.get("pad")[place : place + 2]
        pieces, size = layout[dimension], operation.outputs[0].shape[dimension]
        if not layouts.axes_of(pieces):
            layout[dimension] = plain(size)
        elif len(pieces) == 1 and type(pieces[0]) is Atom:
            atom = pieces[0]
            (axis,) = layouts.axes_of(pieces)
            cropped = pads_where_cropped(atom, Window(begin=begin, end=end), value.extents[axis])
            if mode != "constant" and (cropped or axis in value.cropped):
                cropped, elsewhere[axis] = True, SOMEWHERE
            if cropped or mode == "circular":
                copies[axis] = math.inf
            elif mode == "reflect":
                copies[axis] = max(begin, end) * atom.step
            layout[dimension] = (atom._replace(size=size, origin=atom.origin - begin * atom.step),)
        else:
            layout[dimension] = _longer(pieces, begin, end, tensor.shape[dimension])
    if not elsewhere:
        return _with_copies(known, operation, tuple(layout), copies)
    # A copy is not where the units were that it stands in place of.
    reason = "copies of units stand where others were cropped, so that it is not known which"
    facts: dict[str, Any] = {"certainty": "bound", "reason": reason, "kind": "slice"}
    facts["turned"] = frozenset(elsewhere)
    return Effect(elsewhere, (tuple(layout),), base=value, copies=copies, **facts)


def _longer(dimension: Dimension, begin: int, end: int, size: int) -> Dimension:
    """Return a dimension with other things put in front and behind, or with some of it cut off."""
    inner = layouts.slice_dimension(dimension, max(0, -begin), size + min(0, end))
    parts = [plain(begin)] * (begin > 0) + [inner] + [plain(end)] * (end > 0)
    return layouts.join(parts) if len(parts) > 1 else inner


@rule("as it lies")
def expand(known: Known, operation: Operation) -> Answer:
    """Repeat dimensions of size 1."""
    constant = _constant(known, operation)
    if constant is not None:
        return constant
    _, value = known.worked_on(operation)
    return move(known, operation, layouts.expand(value.layout, operation.outputs[0].shape))


@rule("as it lies")
def repeat(known: Known, operation: Operation) -> Answer:
    """Repeat whole tensors or single positions."""
    tensor, value = known.worked_on(operation)
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
    return move(known, operation, tuple(layout))


@rule(mirrors=True)
def flip(known: Known, operation: Operation) -> Answer:
    """Mirror a map: windows keep their size, and a scan of it looks to the other side."""
    tensor, value = known.worked_on(operation)
    default = {"fliplr": (1,), "flipud": (0,)}.get(operation.name)
    places = places_of(operation.get("dims", default), len(tensor.shape))
    axes = {axis for place in places for axis in layouts.axes_of(value.layout[place])}
    output = operation.outputs[0]
    made = with_layout(value, value.layout, output)
    return Moved({output.number: made._replace(mirrored=value.mirrored ^ axes)})


@rule("as it lies", cuts=_one_dimension)
def narrow(known: Known, operation: Operation) -> Moved:
    """Take a run of indices of one dimension."""
    (dimension,) = _one_dimension(known, operation)
    tensor, value = known.worked_on(operation)
    start = operation.get("start", 0)
    size = tensor.shape[dimension]
    start = int(start) % size if isinstance(start, int) else 0
    output = operation.outputs[0]
    stop = start + output.shape[dimension]
    if layouts.axes_of(value.layout[dimension]):
        value = _ending(known, operation, value, stop, size)
    return Moved({output.number: _run_of(value, dimension, start, stop)})


def _ending(known: Known, operation: Operation, value: Value, stop: int, size: int) -> Value:
    """Return a map of which some first units are kept, by a number that goes by no size."""
    if stop >= size or known.record.sized:
        return value
    return value._replace(counted=True, beyond=(math.inf,) * known.axes)


@rule("as it lies", cuts=_one_dimension)
def select(known: Known, operation: Operation) -> Answer:
    """Take one index of one dimension."""
    (dimension,) = _one_dimension(known, operation)
    tensor, value = known.worked_on(operation)
    index = operation.get("index", 0)
    layout = value.layout[:dimension] + value.layout[dimension + 1 :]
    if isinstance(index, int):
        layout = _at(value.layout, dimension, index % tensor.shape[dimension])
    output = operation.outputs[0]
    return Moved({output.number: with_layout(_without(value, dimension), layout, output)})


@rule("as it lies", mirrors=True)
def select_last(known: Known, operation: Operation) -> Answer:
    """Take the state at the end of a sequence, which has seen all of it and has no place in it."""
    dimension = operation.get("dim", 0)
    _, value = known.worked_on(operation)
    layout = value.layout[:dimension] + value.layout[dimension + 1 :]
    made = known.steps[value.step].windows
    scanned = [axis for axis in layouts.axes_of(value.layout[dimension]) if made[axis].scan]
    laid = [layouts.broadcast((layout,), one.shape) for one in operation.outputs]
    if scanned:
        windows = dict.fromkeys(scanned, Window(math.inf))
        return Effect(windows, tuple(laid), base=value, as_it_lies=True)
    several = zip(operation.outputs, laid, strict=True)
    last = value._replace(mirrored=frozenset())
    return Moved({one.number: with_layout(last, own, one) for one, own in several})


def _index_of(known: Known, operation: Operation) -> list[Any]:
    """Return what is taken of the dimensions of a tensor, in order; None adds one."""
    rank = len(known.main(operation).shape)
    index: list[Any]
    if operation.name == "slice":
        start, stop = (operation.arguments.get(name) for name in ("start", "stop"))
        dimension = operation.get("dim", 0) % rank
        index = [slice(None)] * dimension + [slice(start, stop, operation.get("step", 1))]
    else:
        given = operation.arguments.get("index")
        index = list(given) if isinstance(given, tuple) else [given]
    used = sum(1 for one in index if one is not None and one is not Ellipsis)
    if Ellipsis not in [one for one in index if not isinstance(one, TensorRef)]:
        index = [*index, Ellipsis]
    complete: list[Any] = []
    for one in index:
        complete.extend([slice(None)] * (rank - used) if one is Ellipsis else [one])
    return complete


def _cut(known: Known, operation: Operation) -> list[int]:
    """Return the dimensions that an index does not take whole."""
    index = [one for one in _index_of(known, operation) if one is not None]
    rank = len(known.main(operation).shape)
    return [
        place
        for place, one in enumerate(index[:rank])
        if not (isinstance(one, slice) and one == slice(None))
    ]


@rule("as it lies", cuts=_cut)
def slice_(known: Known, operation: Operation) -> Answer:
    """Take every n-th index of one dimension."""
    return _indexed(known, operation)


@rule("as it lies", cuts=_cut)
def getitem(known: Known, operation: Operation) -> Answer:
    """Index a tensor as NumPy does."""
    return _indexed(known, operation)


def _indexed(known: Known, operation: Operation) -> Answer:
    tensor, value = known.worked_on(operation)
    output = operation.outputs[0]
    index = _index_of(known, operation)
    places = zip(
        (one for one in index if one is not None), value.layout, tensor.shape, strict=False
    )
    for one, pieces, size in places:
        if isinstance(one, slice) and layouts.axes_of(pieces):
            value = _sliced(known, operation, value, one, size)
    if any(isinstance(one, bool | TensorRef | list | tuple) for one in index):
        return _picked_by_index(operation, value, index, tensor.shape)
    layout: list[Dimension] = []
    place = 0
    gone: list[int] = []
    for one in index:
        if one is None:
            layout.append(())
            continue
        if place >= len(value.layout):
            break
        pieces, size = value.layout[place], tensor.shape[place]
        place += 1
        if not isinstance(one, slice):  # an integer takes one position and leaves no dimension
            gone.append(len(layout))
            layout.append(layouts.slice_dimension(pieces, one % size, one % size + 1))
            continue
        layout.append(layouts.slice_dimension(pieces, *_bounds(one, size)))
    kept = layouts.anchored(tuple(layout))
    for dimension in reversed(gone):
        kept = layouts.without(kept, dimension)
    return Moved({output.number: _with_parts_left(value, index, tensor)._replace(layout=kept)})


def _with_parts_left(value: Value, index: Sequence[Any], tensor: TensorRef) -> Value:
    """Return a value with the parts that an index of numbers and slices leaves of it."""
    parts = value.parts
    if parts is None:
        return value
    places = [place for place, one in enumerate(index) if one is not None]
    place = places[parts.dimension]
    if isinstance(index[place], slice):
        start, stop, step = _bounds(index[place], tensor.shape[parts.dimension])
        if step == 1:
            value = _picked(value, parts.dimension, start, stop)
        gone = sum(isinstance(one, int) for one in index[:place])
        left = value.parts
        return value._replace(parts=None if left is None else left._replace(dimension=place - gone))
    return _without(value, parts.dimension)


def _sliced(known: Known, operation: Operation, value: Value, index: slice, size: int) -> Value:
    """Return a map of which a slice is taken along an axis, but for its layout."""
    _, stop, step = _bounds(index, size)
    if step > 1:
        value = value._replace(strided=operation.scope)
    if isinstance(index.stop, int) and index.stop >= 0:
        value = _ending(known, operation, value, stop, size)
    if isinstance(index.start, int) and index.start < 0:  # so many of the last ones
        value = _ending(known, operation, value, 0, size)
    return value


def _chosen_axes(value: Value, index: Sequence[Any]) -> list[int]:
    """Return the axes that are picked by masks or lists of numbers."""
    taken = zip(value.layout, (one for one in index if one is not None), strict=False)
    return [
        axis
        for pieces, one in taken
        if isinstance(one, bool | TensorRef | list | tuple)
        for axis in layouts.axes_of(pieces)
    ]


def _picked_by_index(
    operation: Operation, value: Value, index: Sequence[Any], shape: Sequence[int]
) -> Answer:
    """Positions in an order that an index tensor gives: the known of those axes is lost."""
    output = operation.outputs[0]
    lost = tuple(dict.fromkeys(_chosen_axes(value, index)))
    stay = sum(1 for one in index if one is None or isinstance(one, slice))
    tensors = [one for one in index if isinstance(one, TensorRef)]
    if len(output.shape) <= stay and any(len(one.shape) > 1 for one in tensors):
        lost = tuple(layouts.spatial_axes(value.layout))  # by a mask over several dimensions
        made: Layout = tuple(((Lost(size, lost),) if size > 1 else ()) for size in output.shape)
    elif lost:
        made = _layout_of_picked(value.layout, index, shape, output.shape, lost)
    else:
        made = layouts.broadcast((value.layout,), output.shape)
    if not lost:
        return Moved({output.number: value._replace(layout=made)})
    return Effect(
        dict.fromkeys(lost, SOMEWHERE),
        (made,),
        base=value,
        certainty="bound",
        reason=f"'{operation.name}' picks positions by an index; their order is not followed",
    )


def _layout_of_picked(
    layout: Layout,
    index: Sequence[Any],
    shape: Sequence[int],
    made: Sequence[int],
    lost: tuple[int, ...],
) -> Layout:
    """Return where positions are behind an index with tensors in it.

    What tensors pick stands where the first of them does; in front, if a slice is between them.
    Source: "Combining advanced and basic indexing" in the documentation of NumPy.
    """
    kept: list[Dimension] = []
    picked: list[int] = []
    places = iter(zip(layout, shape, strict=True))
    for one in index:
        pieces, size = ((), 1) if one is None else next(places, ((), 1))
        if isinstance(one, slice) and one != slice(None):
            pieces = layouts.slice_dimension(pieces, *_bounds(one, size))
        if one is None or isinstance(one, slice):
            kept.append(pieces)
        else:
            picked.append(len(kept))
    at = picked[0] if len(set(picked)) == 1 else 0
    several = made[at : at + len(made) - len(kept)]
    single = math.prod(several) == 1
    lying = ((Lost(size, lost),) if single or size > 1 else () for size in several)
    return (*kept[:at], *lying, *kept[at:])


def _bounds(index: slice, size: int) -> tuple[int, int, int]:
    plain_index = slice(
        *(one if isinstance(one, int) else None for one in (index.start, index.stop, index.step))
    )
    return plain_index.indices(size)


@Rule
def pick(known: Known, operation: Operation) -> Answer:
    """``index_select``, ``gather``: positions by an index tensor along one dimension."""
    tensor, value = known.worked_on(operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    axes = layouts.axes_of(value.layout[dimension])
    shape = operation.outputs[0].shape
    if len(shape) > len(tensor.shape):  # ONNX and Keras take an index of several dimensions
        count = len(shape) - len(tensor.shape) + 1
        behind = value.layout[dimension + 1 :]
        picked = [plain(size) for size in shape[dimension : dimension + count]]
        layout = [*value.layout[:dimension], *picked, *behind]
    else:
        count = 1
        layout = list(layouts.broadcast((value.layout,), shape))
    if not axes:
        moved = move(known, operation, tuple(layout))
        parts = value.parts
        fewer = shape[dimension : dimension + 1] != tensor.shape[dimension : dimension + 1]
        if parts is not None and parts.dimension == dimension and fewer:
            some = {number: one._replace(picked=True) for number, one in moved.values.items()}
            return Moved(some)
        return moved
    for place in range(dimension, dimension + count):
        layout[place] = (Lost(shape[place], axes),)
    return Effect(
        dict.fromkeys(axes, SOMEWHERE),
        (tuple(layout),),
        base=value,
        certainty="bound",
        reason=f"'{operation.name}' picks positions by an index; their order is not followed",
    )
