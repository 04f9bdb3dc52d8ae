"""Operators that put tensors together: concatenation, stacking, writing into parts."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard

import attrs

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import Answer, Effect, Moved, Written, rule
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, Offsets, Piece, plain
from rfa_toolbox.operators.record import Operation, TensorRef, tensors_in
from rfa_toolbox.operators.rules.common import pads_where_cropped
from rfa_toolbox.operators.rules.elementwise import pointwise
from rfa_toolbox.operators.rules.windows import frames
from rfa_toolbox.operators.values import Parts, Value, between, with_most_axes
from rfa_toolbox.operators.windows import NEUTRAL, SOMEWHERE, Window

__all__ = ["cat", "scattered", "setitem", "stack"]


class _Line(NamedTuple):
    """How tensors lie one after another along a dimension.

    Attributes:
        pieces: where positions are in it.
        facts: what is to be said of the step that puts them there.
        windows: by axis, where units are not found at their own places.
        depends: whether the step does something else at other places.
        rest: where positions are in the other dimensions, if that is another place than before.
    """

    pieces: Dimension
    facts: Mapping[str, Any] = MappingProxyType({})
    windows: Mapping[int, Window] = MappingProxyType({})
    depends: bool = False
    rest: Layout | None = None


@rule("one grid")
def cat(known: Known, operation: Operation) -> Answer:
    """Put tensors one after another along one dimension."""
    tensors = list(tensors_in(operation.arguments.get("tensors", operation.arguments)))
    shape = operation.outputs[0].shape
    tensors = [one for one in tensors if len(one.shape) == len(shape)] or tensors
    dimension = operation.get("dim", _CAT_DIMENSION.get(operation.name, 0)) % len(shape)
    if len(tensors[0].shape) != len(shape):
        return pointwise(known, operation)
    framed = _frames(known, operation, tensors, dimension)
    if framed is not None:
        return framed
    several, row = _in_their_places(known, tensors, dimension)
    found = iter(several)
    laid = [
        next(found).layout if known.depends(one) else layouts.broadcast((), one.shape)
        for one in tensors
    ]
    others = list(dict.fromkeys(_with(layout, dimension, ()) for layout in laid))
    rest = layouts.broadcast(
        others, tuple(size if place != dimension else 1 for place, size in enumerate(shape))
    )
    base = with_most_axes(several)
    pieces = [layout[dimension] for layout in laid]
    padded = _padded(pieces, base.extents)
    line = padded or _line(known, several, row, dimension, layouts.join(pieces), len(tensors))
    layout = _with(rest, dimension, line.pieces)
    plainly = len(tensors) > 1 and not layouts.axes_of(line.pieces)
    return Effect(
        {**dict.fromkeys(layouts.crossed(others), Window(math.inf)), **line.windows},
        (layout,),
        base=base,
        mixed=(),
        position_dependent=line.depends or known.uneven(tensors, layout, base.extents),
        parts=Parts(dimension, tuple(one.shape[dimension] for one in tensors)) if plainly else None,
        **line.facts,
    )


def _line(
    known: Known,
    several: Sequence[Value],
    row: _Row | None,
    dimension: int,
    joined: Dimension,
    count: int,
) -> _Line:
    """Return how parts of maps lie one after another, which are ``joined`` in a dimension."""
    pieces = [value.layout[dimension] for value in several]
    times = Counter(axis for piece in pieces for axis in layouts.axes_of(piece))
    if not times:
        return _channels(known, several, joined, count)
    twice = [axis for axis, time in times.items() if time > 1]
    in_place = bool(joined) and type(joined[0]) is Atom  # every part stands where it was
    if twice and row is not None and in_place:
        return _Line(joined, row.facts, depends=known.record.by_call)
    seam = _seam(several, pieces, count)
    if seam is not None:
        return _at_seams(seam, several, known.axes)
    if not twice:
        mixed = len(times) > 1 and sum(map(bool, map(layouts.axes_of, pieces))) > 1
        bound = {"certainty": "bound", "reason": _ROWS_AND_COLUMNS}
        return _Line(joined, bound if mixed else MappingProxyType({}))
    facts: dict[str, Any] = {}
    if not in_place or len({value.step for value in several}) > 1:
        facts |= {"certainty": "bound", "reason": _IN_ROW}
    if not in_place:
        return _Line(joined, facts, dict.fromkeys(twice, SOMEWHERE))
    reads = [(value.step, _with(value.layout, dimension, joined)) for value in several]
    return _Line(joined, {**facts, "offsets": _offsets(reads, known.axes)})


def _channels(known: Known, several: Sequence[Value], joined: Dimension, count: int) -> _Line:
    """Return how channels lie one after another, or single units that have lost their places."""
    singles = sum(one.size for one in joined) == count > 1
    if singles and _of_parts(known, several):
        return _Line(joined, {"certainty": "bound", "reason": _PARTS_IN_ROW})
    return _Line(joined)


def _in_their_places(
    known: Known, tensors: Sequence[TensorRef], dimension: int
) -> tuple[list[Value], _Row | None]:
    """Return the tensors of a row that depend on the input, as places of the map that they are of.

    Those of one index each have that index along the dimension.
    """
    several = [known.value(one) for one in tensors if known.depends(one)]
    if len(several) < len(tensors):
        return several, None
    row = _row(known, several)
    if row is not None:
        several = list(row.values)
    single = all(one.shape[dimension] == 1 for one in tensors)
    rows = _side_by_side([value.layout for value in several]) if single else None
    if rows is not None:
        several = [
            value._replace(layout=_with(rest, dimension, piece))
            for value, (rest, piece) in zip(several, rows, strict=True)
        ]
    return several, row


def _seam(
    several: Sequence[Value], pieces: Sequence[Dimension], count: int
) -> tuple[Atom, list[int]] | None:
    """Return what runs of one axis make one after another, if they are of several maps.

    Returns:
        the run that they make, and by how many units each map is ahead of that of the first one;
        None if they are no simple runs, or of one map.

    >>> parts = [Value(step, ((Atom(0, 4),),), (4,)) for step in (1, 2)]
    >>> _seam(parts, [(Atom(0, 4),)] * 2, 2)
    (Atom(axis=0, size=8, step=1, origin=0), [0, -4])
    """
    runs = [one[0] for one in pieces if len(one) == 1 and type(one[0]) is Atom]
    steps = {value.step for value in several}
    if len(runs) < count or len(several) < count or len(steps) < 2:
        return None
    axes = {run.axis for run in runs}
    if len(axes) != 1 or None in axes or any(run.size > 1 and run.step != 1 for run in runs):
        return None
    ahead, begin = [], 0
    for run in runs:
        ahead.append(run.origin - runs[0].origin - begin)
        begin += run.size
    return Atom(runs[0].axis, begin, 1, runs[0].origin), ahead


def _at_seams(seam: tuple[Atom, Sequence[int]], several: Sequence[Value], axes: int) -> _Line:
    """Return how parts of several maps lie in a row."""
    run, ahead = seam
    reads = [
        (value.step, ((Atom(run.axis, 1, 1, by),), *_without_axis(value.layout, run.axis)))
        for value, by in zip(several, ahead, strict=True)
    ]
    facts: dict[str, Any] = {
        "offsets": _offsets(reads, axes),
        "seams": frozenset(() if run.axis is None else (run.axis,)),
    }
    if any(run.axis in value.padded for value in several):
        facts |= {"certainty": "bound", "reason": _PADDED_AT_SEAMS}
    return _Line((run,), facts, depends=True)


def _offsets(reads: Sequence[tuple[int, Layout]], axes: int) -> Offsets:
    """Return where the maps stand that are read, in the order in which they are."""
    return layouts.offsets_between(reads, list(dict.fromkeys(step for step, _ in reads)), axes)


def _without_axis(layout: Layout, axis: int | None) -> Layout:
    return tuple(
        tuple(piece for piece in dimension if axis not in layouts.axes_of((piece,)))
        for dimension in layout
    )


def _with(layout: Layout, dimension: int, pieces: Dimension) -> Layout:
    """Return a layout with something else in one of its dimensions."""
    return (*layout[:dimension], pieces, *layout[dimension + 1 :])


def _padded(several: Sequence[Dimension], extents: Sequence[int]) -> _Line | None:
    """Return how dimensions lie in a row if all but one are padding of it.

    None if several have positions, or the one that has them is in no plain order.

    >>> _padded([plain(2), (Atom(0, 8),)], [8]).pieces
    (Atom(axis=0, size=10, step=1, origin=-2),)
    """
    carrying = [place for place, one in enumerate(several) if layouts.axes_of(one)]
    if len(carrying) != 1 or len(several) == 1:
        return None
    (place,) = carrying
    (atom, *more) = several[place]
    if more or type(atom) is not Atom or atom.axis is None:
        return None
    sizes = [math.prod(piece.size for piece in pieces) for pieces in several]
    front = sum(sizes[:place])
    window = Window(begin=front, end=sum(sizes[place + 1 :]))
    padded = atom._replace(size=sum(sizes), origin=atom.origin - front * atom.step)
    cropped = pads_where_cropped(atom, window, extents[atom.axis])
    return _Line((padded,), depends=cropped)


_CAT_DIMENSION = {"hstack": 1, "dstack": 2}
_PADDED_AT_SEAMS = "it puts parts of a map side by side that were padded where they were cut"
_ROWS_AND_COLUMNS = "it puts places along one axis behind those along another; units see less"
_IN_ROW = "parts of a map are put in a row in another order, or with parts of other maps"


@rule("one grid")
def stack(known: Known, operation: Operation) -> Answer:
    """Put tensors side by side along a new dimension."""
    tensors = list(tensors_in(operation.arguments.get("tensors")))
    shape = operation.outputs[0].shape
    dimension = operation.get("dim", 0) % len(shape)
    framed = _frames(known, operation, tensors, dimension)
    if framed is not None:
        return framed
    given = [known.value(one) for one in tensors if known.depends(one)]
    row = _row(known, given) if len(given) == len(tensors) else None
    several = given if row is None else row.values
    base = with_most_axes(given) if row is None else row.values[0]
    inner = (*shape[:dimension], *shape[dimension + 1 :])
    rest = layouts.broadcast([value.layout for value in given], inner)
    line = _beside(known, several, row, rest, len(tensors))
    uneven = known.uneven(tensors, rest, base.extents)
    rest = rest if line.rest is None else line.rest
    crossed = layouts.crossed([value.layout for value in several])
    unlike = not layouts.axes_of(line.pieces) and len({_sight(known, one) for one in several}) > 1
    return Effect(
        dict.fromkeys(crossed, Window(math.inf)),
        ((*rest[:dimension], line.pieces, *rest[dimension:]),),
        base=base,
        mixed=(),
        position_dependent=line.depends or uneven,
        parts=Parts(dimension, (1,) * len(tensors)) if unlike else None,
        **line.facts,
    )


def _frames(
    known: Known, operation: Operation, tensors: Sequence[TensorRef], dimension: int
) -> Effect | None:
    """Return what puts runs of one map side by side that overlap, or leave gaps, as frames do.

    None if they are no runs of one length, each as far behind the one before it. A few long ones
    are copies of a map that were moved.
    """
    if len(tensors) < 2 or not all(map(known.depends, tensors)):
        return None
    several = [known.value(one) for one in tensors]
    if len({one.step for one in several}) > 1:
        return None
    laid = [one.layout for one in several]
    if len(tensors[0].shape) == len(operation.outputs[0].shape):  # along a dimension that is there
        if any(one.shape[dimension] != 1 for one in tensors):
            return None
        laid = [layouts.without(one, dimension) for one in laid]
    found = _runs(laid)
    if found is None:
        return None
    place, run, by = found
    rest = [one for at, one in enumerate(laid[0]) if at != place]
    target = dimension - (place < dimension)
    rest.insert(target, (run._replace(size=(len(laid) - 1) * by + run.size),))
    inside = place if place < dimension else place + 1
    base = several[0]._replace(layout=tuple(rest))
    effect = frames(known, operation, base, target, inside, Window(run.size, by))
    return attrs.evolve(effect, offsets=())


def _runs(laid: Sequence[Layout]) -> tuple[int, Atom, int] | None:
    """Return the dimension of runs that lie evenly behind each other, the first, and how far.

    >>> _runs([((Atom(0, 2, origin=at),),) for at in (1, 4, 7)])
    (0, Atom(axis=0, size=2, step=1, origin=1), 3)
    """
    first, second = laid[:2]
    unlike = [at for at, pair in enumerate(zip(first, second, strict=False)) if len({*pair}) > 1]
    if len(first) != len(second) or len(unlike) != 1:
        return None
    (place,) = unlike
    run, after = first[place][:1], second[place][:1]
    if len(first[place]) != 1 or type(run[0]) is not Atom or run[0].axis is None:
        return None
    if not after or type(after[0]) is not Atom or not 1 < run[0].size <= len(laid):
        return None
    by, rest = divmod(after[0].origin - run[0].origin, run[0].step)
    if rest or by < 1 or by == run[0].size:
        return None
    moved = (
        run[0]._replace(origin=run[0].origin + at * by * run[0].step) for at in itertools.count()
    )
    even = all(one == _with(first, place, (next(moved),)) for one in laid)
    return (place, run[0], by) if even else None


def _of_parts(known: Known, several: Sequence[Value]) -> bool:
    """Whether single units, or short runs, were made of several parts of one map."""
    if len({one.step for one in several}) < 2:
        return False
    carried = {axis for one in several for axis in layouts.spatial_axes(one.layout)}
    left = (axis for axis in range(known.axes) if axis not in carried)
    if any(_are_apart([_read_by(known, one, axis) for one in several]) for axis in left):
        return True
    found = _taken_from(known, several)
    if found is None:
        return False
    axis, _, starts = found
    longest = max(_atom(one, axis).size for one in several)
    return 1 < longest <= len(several) and len(set(starts)) > 1


def _are_apart(reads: Sequence[tuple[int, int] | None]) -> bool:
    """Whether what was read begins at several places of one map."""
    known = [one for one in reads if one is not None]
    return len(known) == len(reads) and len({root for root, _ in known}) == 1 < len(set(known))


def _read_by(known: Known, value: Value, axis: int) -> tuple[int, int] | None:
    """Return of which step's map a single unit was made, and from which unit on."""
    step = known.steps[value.step]
    while len(step.sources) == 1 and step.feature_map is not None and step.feature_map[axis] == 1:
        source, window = known.steps[step.sources[0]], step.windows[axis]
        at = step.offsets[0][0][axis] if step.offsets else 0
        if source.feature_map is None or None in (at, window.begin) or window.kernel == math.inf:
            return None
        if source.feature_map[axis] > 1:
            return source.number, (at or 0) - (window.begin or 0)
        step = source
    return None


_PARTS_IN_ROW = "it puts side by side what was made of several parts of a map; units see less"


def _beside(
    known: Known, several: Sequence[Value], row: _Row | None, rest: Layout, count: int
) -> _Line:
    """Return how tensors lie side by side, each at one index of a new dimension."""
    of_one_map = row is not None or len({value.step for value in several}) == 1
    if len(several) == count and of_one_map:
        rows = _side_by_side([value.layout for value in several])
        joined = layouts.join([piece for _, piece in rows or ()])
        if rows is not None and type(joined[0]) is Atom:
            facts = {"offsets": ()} if row is None else row.facts
            by_call = known.record.by_call  # of so many parts as were written
            return _Line(joined, facts, depends=by_call, rest=rows[0][0])
    pins = [_pin(value) for value in several]
    seam = _seam(several, [() if pin is None else (pin,) for pin in pins], count)
    if seam is not None and all(map(_is_pinned, several)):
        line = _at_seams(seam, several, known.axes)
        return line._replace(rest=_without_axis(rest, seam[0].axis))
    if _in_another_order(known, several):
        return _out_of_order(pins, rest, count)
    return _unplaced(known, several, rest, count)


def _unplaced(known: Known, several: Sequence[Value], rest: Layout, count: int) -> _Line:
    """Return how tensors lie side by side of which no place is known."""
    if not _of_parts(known, several):
        return _Line(plain(count))
    mixed_up = tuple(
        (Lost(math.prod(piece.size for piece in one), axes),)
        if (axes := layouts.axes_of(one))
        else one
        for one in rest
    )
    facts = {"certainty": "bound", "reason": _PARTS_IN_ROW}
    return _Line(plain(count), facts, rest=mixed_up)


def _out_of_order(pins: Sequence[Atom | None], rest: Layout, count: int) -> _Line:
    """Return how single places of one map lie side by side that are in no row."""
    bound = {"certainty": "bound", "reason": _IN_ROW}
    axes = {None if pin is None else pin.axis for pin in pins}
    axis = axes.pop() if len(axes) == 1 else None
    if axis is None:
        return _Line(plain(count), bound)
    return _Line((Lost(count, (axis,)),), bound, rest=_without_axis(rest, axis))


@attrs.frozen(slots=True)
class _Row:
    """Parts of one map that were worked on one by one, where they are on that map again."""

    values: tuple[Value, ...]
    facts: Mapping[str, Any]


def _row(known: Known, several: Sequence[Value]) -> _Row | None:
    """Return parts of one map in their places; None if they are not in a row along one axis."""
    found = _taken_from(known, several)
    if found is None:
        return None
    axis, units, ends = found
    for starts in ([last for _, last in ends], [first for first, _ in ends]):
        if _go_on(several, starts, axis):
            values, offsets = _in_places(several, starts, axis, units, known.axes)
            handed_on = any(first != last for first, last in ends)
            return _Row(values, {"offsets": offsets, "resolution_dependent": handed_on})
    return None


def _taken_from(
    known: Known, several: Sequence[Value]
) -> tuple[int, int, list[tuple[int, int]]] | None:
    """Return the axis along which a map was taken apart, its units, and where the parts begin."""
    if len({value.step for value in several}) < 2:
        return None
    for axis in layouts.spatial_axes(several[0].layout):
        found = list(itertools.takewhile(bool, (known.origins(one, axis) for one in several)))
        common = set.intersection(*map(set, found)) if len(found) == len(several) else set()
        if common:
            root = max(common)
            units = known.steps[root].feature_map
            return axis, 1 if units is None else units[axis], [one[root] for one in found]
    return None


def _in_another_order(known: Known, several: Sequence[Value]) -> bool:
    """Whether single places of one map are put side by side that are in no row."""
    if any(map(_is_pinned, several)) and len({value.layout for value in several}) > 1:
        return True
    found = _taken_from(known, several)
    return found is not None and all(_atom(value, found[0]).size == 1 for value in several)


def _go_on(several: Sequence[Value], starts: Sequence[int], axis: int) -> bool:
    """Whether every part begins where the one before it ends; single units may be apart."""
    sizes = [_atom(value, axis).size for value in several]
    distances = [after - before for before, after in itertools.pairwise(starts)]
    if set(sizes) == {1}:
        return distances[0] > 0 and len(set(distances)) == 1
    return distances == sizes[:-1]


def _atom(value: Value, axis: int) -> Atom:
    return layouts.runs_by_axis(value.layout)[axis][0]


def _in_places(
    several: Sequence[Value], starts: Sequence[int], axis: int, units: int, axes: int
) -> tuple[tuple[Value, ...], Offsets]:
    """Return parts as places of the map that they were taken from, and how to read them."""
    values: list[Value] = []
    reads: dict[int, dict[tuple[int | None, ...], None]] = {}
    for value, start in zip(several, starts, strict=True):
        layout = tuple(_put_at(dimension, axis, start) for dimension in value.layout)
        extents = tuple(units if at == axis else one for at, one in enumerate(value.extents))
        values.append(value._replace(layout=layout, extents=extents))
        by = _atom(value, axis).origin - start
        place = tuple(by if at == axis else 0 for at in range(axes))
        reads.setdefault(value.step, {})[place] = None
    return tuple(values), tuple(map(tuple, reads.values()))


def _put_at(dimension: Dimension, axis: int, start: int) -> Dimension:
    return tuple(
        piece._replace(origin=start) if type(piece) is Atom and piece.axis == axis else piece
        for piece in dimension
    )


def _side_by_side(several: Sequence[Layout]) -> list[tuple[Layout, Dimension]] | None:
    """Return what is left of layouts, and where each is, if they are one but for places on an axis.

    None if they differ in another way, or if places and what is left would overlap.

    >>> rows = [((), (Atom(0, 4, step=2, origin=at),)) for at in (0, 1)]
    >>> _side_by_side(rows)[1]
    (((), (Atom(axis=0, size=4, step=2, origin=0),)), (Atom(axis=0, size=1, step=1, origin=1),))
    """
    found = [layouts.grids(one) for one in several]
    first = found[0]
    differing = [axis for axis in first if any(one.get(axis) != first[axis] for one in found)]
    if len(differing) != 1 or any(one.keys() != first.keys() for one in found):
        return None
    (axis,) = differing
    starts = [start for start, _ in (one[axis] for one in found) if start is not None]
    rest = {tuple(_moved_to_start(dimension, axis) for dimension in one) for one in several}
    if len(starts) < len(found) or len(rest) != 1:
        return None
    (left,) = rest
    if _would_overlap(layouts.runs_by_axis(left).get(axis, ()), sorted(starts)):
        return None
    return [(left, (Atom(axis, 1, origin=start),)) for start in starts]


def _would_overlap(runs: Iterable[Atom], starts: Sequence[int]) -> bool:
    """Whether runs that begin at several places run over the same units, or past each other."""
    apart = min(after - before for before, after in itertools.pairwise(starts))
    return any(run.step <= starts[-1] - starts[0] and apart % (run.size * run.step) for run in runs)


def _moved_to_start(dimension: Dimension, axis: int) -> Dimension:
    return tuple(
        piece._replace(origin=0) if type(piece) is Atom and piece.axis == axis else piece
        for piece in dimension
        if type(piece) is not Atom or piece.axis != axis or piece.size > 1
    )


def _is_pinned(value: Value) -> bool:
    """Whether a tensor has one place only along an axis of its map."""
    runs = layouts.runs_by_axis(value.layout)
    return bool(value.taken) or any(
        value.extents[axis] > 1 and all(atom.size == 1 for atom in atoms)
        for axis, atoms in runs.items()
    )


def _pin(value: Value) -> Atom | None:
    """Return the only place of a map that a tensor has along an axis, if there is one."""
    runs = layouts.runs_by_axis(value.layout)
    pins = [atoms[0] for atoms in runs.values() if len(atoms) == 1 and atoms[0].size == 1]
    return pins[0] if len(pins) == 1 else None


def _sight(known: Known, value: Value) -> tuple[int, Layout]:
    """Return what a tensor sees: a step that does not only change numbers, and places of it."""
    step = known.steps[value.step]
    while (
        step.kind in ("pointwise", "scaling")
        and len(step.sources) == 1
        and all(window == NEUTRAL for window in step.windows)
    ):
        step = known.steps[step.sources[0]]
    return step.number, value.layout


@attrs.frozen(slots=True)
class _Write:
    """What is written to which part of a tensor.

    Attributes:
        target: the tensor that is written to.
        index: as Python has it.
        region: what the index takes of every dimension, None where slices alone do not tell.
        shape: that of the whole tensor.
        whole: what is known of it, None if it does not depend on the input.
        part: what is known of what is written, None if that does not.
        laid: where positions of the part are in the whole tensor.
        layout: where positions are in it afterwards.
        base: what is known of the map that is worked on.
    """

    target: Any
    index: Any
    region: tuple[range, ...] | None
    shape: tuple[int, ...]
    whole: Value | None
    part: Value | None
    laid: Layout
    layout: Layout
    base: Value

    @property
    def somewhere(self) -> tuple[range, ...]:
        """The places of dimensions with positions of which only some are written."""
        carried = zip(self.layout, self.region or (), self.shape, strict=False)
        return tuple(
            places
            for dimension, places, size in carried
            if layouts.axes_of(dimension) and not _covers(places, size)
        )


@rule("as filled")
def setitem(known: Known, operation: Operation) -> Answer:
    """Write into a part of a tensor; the output is the whole tensor after that."""
    (output,) = operation.outputs
    written = operation.arguments.get("value")
    region = _region(operation.arguments.get("index"), output.shape)
    if region is not None and all(map(_covers, region, output.shape)):
        return _overwritten(known, output, written)
    write = _write_of(known, operation, region)
    whole, part = write.whole, write.part
    facts: dict[str, Any] = _certainty_of(known, write)
    if whole is not None and part is not None:
        reads = [(whole.step, whole.layout), (part.step, write.laid)]
        facts["offsets"] = _offsets(reads, known.axes)
    in_gaps = whole is not None and any(map(between, whole.layout)) and whole.strided is None
    filled = {} if region is None else _filled(known, write, region)
    return Effect(
        {},
        (write.layout,),
        base=write.base,
        kind="pointwise",
        mixed=(),
        as_it_lies=in_gaps,
        position_dependent=_depends_on_place(known, write, written),
        **facts,
        **filled,
    )


@rule("as filled")
def scattered(known: Known, operation: Operation) -> Answer:
    """Return a tensor of which one index, or a slice, of one dimension is another tensor."""
    dimension = operation.get("dim", 0) % len(operation.outputs[0].shape)
    limits = (operation.arguments.get(name) for name in ("start", "stop", "step"))
    taken = operation.get("index", slice(*limits))
    index = ((slice(None),) * dimension) + (taken, Ellipsis)
    arguments = {**operation.arguments, "index": index, "value": operation.arguments["src"]}
    return setitem(known, attrs.evolve(operation, arguments=arguments))


def _write_of(known: Known, operation: Operation, region: tuple[range, ...] | None) -> _Write:
    """Return what an operation writes, and where."""
    shape = operation.outputs[0].shape
    target, written, index = map(operation.arguments.get, ("input", "value", "index"))
    # With what is between units of the whole, as it is filled in turn.
    whole = known.value(target) if known.depends(target) else None
    part: Value | None = None
    laid: Layout = ()
    if known.depends(written):
        part = known.value(written)
        laid = _laid(part.layout, index, region, shape, written.shape)
    base, layout = (part, laid) if whole is None else (whole, whole.layout)
    if base is None:  # only which places are written depends on the input
        mask = max(known.operands(operation), key=lambda one: len(one.shape))
        base = known.value(mask)
        layout = layouts.broadcast((base.layout,), shape)
    return _Write(target, index, region, shape, whole, part, laid, layout, base)


def _depends_on_place(known: Known, write: _Write, written: Any) -> bool:
    """Whether a write does something else at other places of the image."""
    whole, part, region = write.whole, write.part, write.region
    constants = [one for one in (write.target, written) if type(one) is TensorRef]
    return (
        (region is None and not _chooses(known, write.index))
        or bool(write.somewhere and whole is not None)
        or (part is not None and _is_pinned(part))
        or (whole is None and part is not None and _pads(part, write.laid, region))
        or known.uneven(constants, write.layout, write.base.extents)
    )


def _certainty_of(known: Known, write: _Write) -> dict[str, str]:
    """Return that a write makes a bound, if some units may see less than is counted then."""
    part, whole, target = write.part, write.whole, write.target
    if part is not None and not _is_followed(part, write.laid, write.layout):
        return {"certainty": "bound", "reason": _NOT_FOLLOWED}
    if whole is None:
        return {}
    dependent = _written_to(known, target, True).dependent
    in_place = write.laid == write.layout
    lost = (
        (write.region is None and not _chooses(known, write.index))
        or any(dependent or places.step == 1 for places in write.somewhere)
        or _gone(known, target, write.region, part, write.shape)
    )
    if lost and not (part and _is_in_turn(known, target, write.region, part, in_place)):
        return {"certainty": "bound", "reason": _OVERWRITTEN}
    return {}


def _written_to(known: Known, target: Any, dependent: bool) -> Written:
    """Return what was written to a tensor before."""
    number = target.number if type(target) is TensorRef else -1
    return known.written.get(number, Written(dependent))


def _filled(known: Known, write: _Write, region: tuple[range, ...]) -> dict[str, Any]:
    """Return what was written to a tensor by now, and what of it holds what."""
    before = _written_to(known, write.target, write.whole is not None)
    made = None if write.part is None else write.part.step
    written = before._replace(places=(*before.places, (region, made)))
    carried = [bool(layouts.axes_of(dimension)) for dimension in write.layout]
    found: dict[str, Any] = {
        "written": written,
        "parts": _parts_of(region, carried, write.shape),
    }
    gaps = {
        layouts.axes_of(dimension)[0]: places.start
        for places, dimension in zip(region, write.laid, strict=False)
        if between(dimension)
    }
    if gaps and write.whole is None:
        found["gaps"] = gaps
    elif gaps:
        found["apart"] = len(set(_windows_of(known, written.places))) > 1
    return found


def _windows_of(known: Known, written: Iterable[tuple[Any, int | None]]) -> Iterator[Any]:
    """Yield what the steps that made several parts do, and with what."""
    for _, number in written:
        step = None if number is None else known.steps[number]
        yield None if step is None else (step.windows, step.sources, step.offsets)


def _is_followed(part: Value, laid: Layout, layout: Layout) -> bool:
    """Whether it is known where all that is written has its positions."""
    carried = set(layouts.spatial_axes(part.layout))
    kept = carried.intersection(layouts.spatial_axes(laid)) if _is_pinned(part) else carried
    return kept == carried and carried.issubset(layouts.runs_by_axis(layout))


def _is_in_turn(
    known: Known, target: Any, region: Sequence[range] | None, part: Value, in_place: bool
) -> bool:
    """Whether a tensor that held nothing at first is filled from one map, place upon place."""
    dependent, before = known.written.get(target.number, Written(True))
    if dependent:
        return False
    if all(step == part.step for _, step in before):
        return in_place
    return _is_in_row(known, region, part, before)


def _is_in_row(
    known: Known,
    region: Sequence[range] | None,
    part: Value,
    before: Sequence[tuple[Sequence[range], int | None]],
) -> bool:
    """Whether parts of one map are written to where they were taken from, as far as they moved."""
    first, made = before[0]
    if region is None or made is None:
        return False
    differing = [place for place, one in enumerate(region) if one != first[place]]
    if len(differing) != 1:
        return False
    (place,) = differing
    distance = region[place].start - first[place].start
    for axis in range(known.axes):
        own, other = (known.origins_of_step(one, axis) for one in (part.step, made))
        common = own.keys() & other.keys()
        if common:
            root = max(common)
            return distance in {a - b for a, b in zip(own[root], other[root], strict=True)}
    return False


_NOT_FOLLOWED = "positions are written to places that are not followed"
_OVERWRITTEN = "a part of the map is overwritten, so that its units may see less"


def _overwritten(known: Known, output: TensorRef, written: Any) -> Moved:
    """Return what a tensor is all of which is written: nothing is left of what it was."""
    if known.depends(written):
        value = known.value(written)
        layout = layouts.broadcast((value.layout,), output.shape)
        return Moved({output.number: value._replace(layout=layout)})
    if type(written) is not TensorRef or len(known.evenly(written)) == len(written.shape):
        return Moved(even={output.number: tuple(range(len(output.shape)))})
    return Moved()


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


def _chooses(known: Known, index: Any) -> bool:
    """Whether an index is a mask that depends on the input alone, as the choice of ``where``."""
    if isinstance(index, tuple) and len(index) == 1:
        (index,) = index
    return known.depends(index)


def _gone(
    known: Known,
    target: Any,
    region: Sequence[range] | None,
    part: Value | None,
    shape: Sequence[int],
) -> bool:
    """Whether what was written before, or all that a tensor was at first, may be gone now."""
    dependent, before = known.written.get(target.number, Written(False))
    if not before or region is None:
        return False
    made_of = known.ancestors([part.step]) if part is not None else set()
    touched = any(
        step is not None
        and step not in made_of
        and all(set(one) & set(other) for one, other in zip(region, earlier, strict=True))
        for earlier, step in before
    )
    volumes = [math.prod(map(len, one)) for one in (*(earlier for earlier, _ in before), region)]
    return touched or (dependent and sum(volumes) >= math.prod(shape))


def _pads(part: Value, laid: Layout, region: Sequence[range] | None) -> bool:
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


def _laid(
    layout: Layout,
    index: Any,
    region: Sequence[range] | None,
    shape: Sequence[int],
    written: Sequence[int],
) -> Layout:
    """Return the layout of a tensor of which a part was written, as if it held nothing else."""
    places = _written_places(index, shape, written)
    laid = [
        plain(size) if place is None else _written_dimension(layout[place], size, at)
        for size, (place, at) in zip(shape, places, strict=True)
    ]
    single = [
        (place, at.start)
        for place, at in enumerate(region or ())
        if places[place][0] is None and len(at) == 1 < shape[place]
    ]
    pins = [(at, atom) for at, one in enumerate(laid) for atom in one if _is_place(atom)]
    if len(single) == len(pins) == 1:  # one place of a map, put at one place
        ((of, pin),), ((place, start),) = pins, single
        laid[of] = tuple(piece for piece in laid[of] if piece != pin)
        laid[place] = (Atom(pin.axis, shape[place], origin=pin.origin - start),)
    return tuple(laid)


def _is_place(piece: Piece) -> TypeGuard[Atom]:
    return type(piece) is Atom and piece.axis is not None and piece.size == 1


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
