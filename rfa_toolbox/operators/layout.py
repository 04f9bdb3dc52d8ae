"""Which dimension of a tensor carries which axis of the image, and in what order and blocks.

A tensor that was reshaped, permuted, rolled or sliced still holds positions of the image, in
other places. A *layout* keeps track of them, so that an operation that mixes some dimensions
(a dense layer, attention, a mean) is known to mix whole images, or windows, or patches, or only
channels. This module needs no framework; both encoders use it.

A dimension is a tuple of pieces in row-major order:

* ``Atom(axis, size, step, origin)``: index ``i`` lies ``origin + i*step`` units along a spatial
  axis (height, width, ...) of the feature map; ``axis=None`` is anything that is no position.
* ``Joined``: parts one after another, as a class token in front of patches.
* ``Lost``: positions in an order that nothing follows any more.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "Atom",
    "Dimension",
    "Joined",
    "Layout",
    "Lost",
    "Mixing",
    "Piece",
    "anchored",
    "as_blocks",
    "axes_of",
    "broadcast",
    "coalesce",
    "crossed",
    "expand",
    "grids",
    "image",
    "is_everywhere",
    "is_in_place",
    "is_square",
    "join",
    "leading_axis",
    "lost_pieces",
    "mixing",
    "offsets_between",
    "overlap",
    "permute",
    "plain",
    "repeated_in_blocks",
    "rescale",
    "reshape",
    "runs_by_axis",
    "shift",
    "slice_dimension",
    "spatial_axes",
    "spread_axes",
    "times_over",
    "unaligned",
    "without",
]


class Atom(NamedTuple):
    """A run of positions along one axis, or of anything else (``axis`` None)."""

    axis: int | None
    size: int
    step: int = 1
    origin: int = 0


class Joined(NamedTuple):
    """Parts that lie one after another in one dimension."""

    size: int
    parts: tuple[tuple[Piece, ...], ...]


class Lost(NamedTuple):
    """Positions of these axes in an order that is not known; or some of them, in steps."""

    size: int
    axes: tuple[int, ...]
    step: int = 1
    origin: int = 0


Piece: TypeAlias = "Atom | Joined | Lost"
Dimension: TypeAlias = "tuple[Piece, ...]"
Layout: TypeAlias = "tuple[Dimension, ...]"


class Mixing(NamedTuple):
    """How far an operation reaches along one axis, in units of the feature map it reads."""

    kernel: int | float
    dilation: int = 1


_remembered = functools.lru_cache(maxsize=4096)
"""For what is asked of the same layouts over and over: most operations leave positions in place."""


def plain(size: int) -> Dimension:
    """Return a dimension without positions.

    >>> plain(3)
    (Atom(axis=None, size=3, step=1, origin=0),)
    """
    return () if size == 1 else (Atom(None, size),)


def image(shape: Sequence[int], spatial: Sequence[int | None]) -> Layout:
    """Return the layout of an image; ``spatial`` are its spatial dimensions in axis order.

    >>> image((1, 3, 8, 8), (2, 3))[3]
    (Atom(axis=1, size=8, step=1, origin=0),)
    """
    order = {dimension: axis for axis, dimension in enumerate(spatial)}
    return tuple(
        (Atom(order[place], size),) if place in order else plain(size)
        for place, size in enumerate(shape)
    )


@_remembered
def axes_of(dimension: Dimension) -> tuple[int, ...]:
    """Return the spatial axes whose positions a dimension carries."""
    found: dict[int, None] = {}
    for piece in dimension:
        if type(piece) is Atom:
            if piece.axis is not None:
                found[piece.axis] = None
        elif type(piece) is Lost:
            found.update(dict.fromkeys(piece.axes))
        else:
            for part in piece.parts:  # type: ignore[union-attr]
                found.update(dict.fromkeys(axes_of(part)))
    return tuple(found)


def leading_axis(dimension: Dimension) -> int | None:
    """Return the axis along which the positions of a dimension go on, the slowest one first.

    >>> leading_axis((Atom(0, 8, step=7), Atom(1, 7))), leading_axis((Lost(8, (0,)),))
    (0, None)
    """
    if len(dimension) == 1 and type(dimension[0]) is Joined:  # a class token and patches
        carrying = [part for part in dimension[0].parts if axes_of(part)]
        return leading_axis(carrying[0]) if len(carrying) == 1 else None
    runs = [piece for piece in dimension if type(piece) is Atom and piece.size > 1]
    if not runs or len(runs) < sum(piece.size > 1 for piece in dimension):
        return None
    several = [run.axis for run in runs]
    return several[0] if several.count(several[0]) == 1 else None


@_remembered
def spatial_axes(layout: Layout) -> tuple[int, ...]:
    """Return the spatial axes whose positions a tensor carries, in ascending order."""
    return tuple(sorted({axis for dimension in layout for axis in axes_of(dimension)}))


@_remembered
def runs_by_axis(layout: Layout) -> Mapping[int, Sequence[Atom]]:
    """Return the runs of positions of every axis that can still be followed."""
    found: dict[int, list[Atom]] = {}
    for dimension in layout:
        _collect(dimension, found)
    return found


def _collect(dimension: Dimension, found: dict[int, list[Atom]]) -> None:
    for piece in dimension:
        if type(piece) is Atom:
            if piece.axis is not None:
                found.setdefault(piece.axis, []).append(piece)
        elif type(piece) is Joined:
            for part in piece.parts:
                _collect(part, found)


@_remembered
def is_in_place(layout: Layout) -> bool:
    """Return whether every run of positions starts at the first unit of the feature map.

    >>> is_in_place(image((1, 8), (1,))), is_in_place(((Atom(0, 4, origin=2),),))
    (True, False)
    """
    for dimension in layout:
        for piece in dimension:
            if type(piece) is Atom:
                if piece.origin:
                    return False
            elif type(piece) is Joined and not all(is_in_place((part,)) for part in piece.parts):
                return False
    return True


def is_square(layout: Layout) -> bool:
    """Return whether the last two dimensions carry the same positions, as scores of an attention.

    >>> is_square(((Atom(0, 4),), (Atom(0, 4),))), is_square(((Atom(1, 4),), (Atom(0, 4),)))
    (True, False)
    """
    return len(layout) > 1 and layout[-1] == layout[-2] and bool(axes_of(layout[-1]))


@_remembered
def grids(layout: Layout) -> Mapping[int, tuple[int | None, tuple[tuple[int, int], ...]]]:
    """Return per axis which unit a tensor's positions start at, and in what steps they go on.

    The start is None where the order of positions is not followed.

    >>> grids(((Atom(0, 4, step=2, origin=1),), (Atom(0, 2),)))
    {0: (1, ((1, 2), (2, 4)))}
    """
    found: dict[int, tuple[int | None, tuple[tuple[int, int], ...]]] = {}
    for axis, atoms in runs_by_axis(layout).items():
        distinct = dict.fromkeys(atoms)  # scores of an attention have an axis twice
        clear = len({atom.step for atom in distinct}) == len(distinct)
        start = sum(atom.origin for atom in distinct) if clear else None
        found[axis] = (start, tuple(sorted((atom.step, atom.size) for atom in distinct)))
    found.update(dict.fromkeys(lost_pieces(layout), (None, ())))
    return found


@_remembered
def lost_pieces(layout: Layout) -> Mapping[int, Sequence[Piece]]:
    """Return the pieces that carry an axis in an order that is not followed, or several times.

    >>> lost_pieces((plain(3), (Lost(8, (1,)),)))
    {1: [Lost(size=8, axes=(1,), step=1, origin=0)]}
    >>> padded = (Joined(9, (plain(1), (Lost(8, (1,)),))),)
    >>> list(lost_pieces((padded,)))
    [1]
    """
    found: dict[int, list[Piece]] = {}
    for dimension in layout:
        for piece in dimension:
            for axis in _lost_in(piece):
                found.setdefault(axis, []).append(piece)
    return found


def _lost_in(piece: Piece) -> Sequence[int]:
    """Return the axes that a piece carries in an order that is not followed, or several times."""
    if type(piece) is not Joined:
        return piece.axes if type(piece) is Lost else ()
    lost = {axis for part in piece.parts for one in part for axis in _lost_in(one)}
    return [one for one in axes_of((piece,)) if one in lost or _parts_with(piece, one) > 1]


def _parts_with(piece: Piece, axis: int) -> int:
    """Return in how many parts of a dimension, or of its parts, positions of an axis lie."""
    if type(piece) is not Joined:
        return int(axis in axes_of((piece,)))
    return sum(max((_parts_with(one, axis) for one in part), default=0) for part in piece.parts)


@_remembered
def spread_axes(layout: Layout) -> frozenset[int]:
    """Return the axes whose positions lie in several dimensions, as those of blocks do.

    >>> spread_axes(((Atom(0, 8, step=7),), (Atom(0, 7),), (Atom(1, 7),)))
    frozenset({0})
    """
    times = Counter(axis for dimension in layout for axis in axes_of(dimension))
    return frozenset(axis for axis, count in times.items() if count > 1)


def times_over(layout: Layout, axis: int) -> int:
    """Return how often a tensor runs over all of an axis; blocks and the places in them do once.

    >>> scores = ((Atom(0, 8, step=7),), (Atom(0, 7),), (Atom(0, 7),))
    >>> times_over(scores, 0), times_over(((Atom(0, 56),), (Atom(0, 56),)), 0)
    (1, 2)
    """
    pieces = [piece for dimension in layout for piece in dimension]
    runs = [piece for piece in pieces if type(piece) is Atom and piece.axis == axis]
    times = sum(axis in axes_of((piece,)) for piece in pieces if type(piece) is not Atom)
    extent = max((run.size * run.step for run in runs), default=1)
    if extent > 1:
        times += max(1, int(math.log(math.prod(run.size for run in runs), extent) + 1e-9))
    return times


def overlap(dimension: Dimension, others: Layout) -> bool:
    """Return whether other dimensions run over all the places of a dimension as well.

    They do as far as its axes go; runs over blocks and over the places in them are no such case.

    >>> overlap((Atom(0, 7),), ((Atom(0, 8, step=7),), (Atom(0, 7),)))
    True
    >>> overlap((Atom(0, 7),), ((Atom(0, 8, step=7),),))
    False
    """
    own, elsewhere = runs_by_axis((dimension,)), runs_by_axis(others)
    return set(axes_of(dimension)) <= set(spatial_axes(others)) and all(
        not elsewhere.get(axis)
        or any(
            one.step < other.step * other.size and other.step < one.step * one.size
            for one in runs
            for other in elsewhere[axis]
        )
        for axis, runs in own.items()
    )


def permute(layout: Layout, order: Sequence[int]) -> Layout:
    """Return the layout with its dimensions in another order."""
    return tuple(layout[place] for place in order)


def coalesce(dimension: Iterable[Piece]) -> Dimension:
    """Put neighbouring pieces together where they are one run of positions.

    >>> coalesce((Atom(0, 8, step=7), Atom(0, 7)))
    (Atom(axis=0, size=56, step=1, origin=0),)
    """
    result: list[Piece] = []
    for piece in dimension:
        last = result[-1] if result else None
        if type(piece) is Atom and type(last) is Atom and last.axis == piece.axis:
            if piece.axis is None:
                result[-1] = Atom(None, last.size * piece.size)
                continue
            if last.step == piece.size * piece.step:
                result[-1] = Atom(
                    piece.axis, last.size * piece.size, piece.step, last.origin + piece.origin
                )
                continue
        result.append(piece)
    return tuple(result)


def reshape(layout: Layout, shape: Sequence[int]) -> Layout:
    """Return the layout after a row-major reshape, where pieces split into blocks or merge.

    >>> reshape((plain(1), (Atom(0, 8),)), (1, 2, 4))[1:]
    ((Atom(axis=0, size=2, step=4, origin=0),), (Atom(axis=0, size=4, step=1, origin=0),))
    """
    sizes = [_size(dimension) for dimension in layout]
    if sizes.count(1) < list(shape).count(1):  # one position each of axes gets its own dimension
        sizes = [
            0 if len(dimension) > 1 and any(piece.size == 1 for piece in dimension) else size
            for size, dimension in zip(sizes, layout, strict=True)
        ]
    front = _alike(sizes, shape)
    most = min(len(sizes), len(shape)) - front
    behind = min(most, _alike(sizes[::-1], shape[::-1]))
    between = layout[front : len(layout) - behind]
    made, rest = _reshaped(between, shape[front : len(shape) - behind])
    before = [*layout[:front], *made]
    after = list(layout[len(layout) - behind :])
    if rest:  # of one position each: they lie beside their neighbours
        beside, place = (before, -1) if before else (after, 0)
        if beside:
            beside[place] = coalesce((*beside[place], *rest))
    return (*before, *after)


def _alike(sizes: Sequence[int], others: Sequence[int]) -> int:
    """Return how many sizes are the same from the first on."""
    pairs = zip(sizes, others, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _reshaped(layout: Layout, shape: Sequence[int]) -> tuple[Layout, list[Piece]]:
    """Return what reshaping makes of dimensions, and the pieces that are left over."""
    waiting = list(reversed(coalesce(piece for dimension in layout for piece in dimension)))
    result: list[Dimension] = []
    place = 0
    while place < len(shape):
        taken = _take(waiting, shape[place], shape[place + 1] if place + 1 < len(shape) else None)
        if taken is not None:
            result.append(taken)
            place += 1
            continue
        # The blocks do not line up: go on until both sides do, and forget the order in between.
        had = wanted = 1
        axes: dict[int, None] = {}
        sizes: list[int] = []
        while True:
            if had <= wanted and waiting:
                piece = waiting.pop()
                had *= piece.size
                axes.update(dict.fromkeys(axes_of((piece,))))
            elif place < len(shape):
                wanted *= shape[place]
                sizes.append(shape[place])
                place += 1
            else:
                break
            if had == wanted and sizes:
                break
        result.extend((Lost(size, tuple(axes)),) if axes else plain(size) for size in sizes)
    return tuple(result), waiting[::-1]


def _size(dimension: Dimension) -> int:
    if len(dimension) == 1:  # as most are
        return dimension[0].size
    return math.prod(piece.size for piece in dimension)


def _take(waiting: list[Piece], size: int, following: int | None) -> Dimension | None:
    """Take the pieces of the next dimension from a reversed list; None if they do not line up."""
    kept = list(waiting)
    taken: list[Piece] = []
    need = size
    if size == 1 and waiting and waiting[-1].size == 1:
        return (waiting.pop(),)
    while need > 1:
        if not waiting:
            return None
        piece = waiting.pop()
        if need % piece.size == 0:
            taken.append(piece)
            need //= piece.size
        elif piece.size % need == 0 and type(piece) is not Joined:
            inner = piece.size // need
            if type(piece) is Lost:
                taken.append(piece._replace(size=need, step=piece.step * inner))
                waiting.append(piece._replace(size=inner, origin=0))
            elif type(piece) is Atom and piece.axis is None:
                taken.append(Atom(None, need))
                waiting.append(Atom(None, inner))
            elif type(piece) is Atom:
                taken.append(Atom(piece.axis, need, piece.step * inner, piece.origin))
                waiting.append(Atom(piece.axis, inner, piece.step))
            need = 1
        else:
            waiting[:] = kept
            return None
    while size > 1 and following != 1 and waiting and waiting[-1].size == 1:
        taken.append(waiting.pop())
    return coalesce(taken)


def slice_dimension(dimension: Dimension, start: int, stop: int, step: int = 1) -> Dimension:
    """Return the dimension after ``[start:stop:step]`` with non-negative bounds.

    >>> slice_dimension((Atom(0, 8),), 1, 8, 2)
    (Atom(axis=0, size=4, step=2, origin=1),)
    """
    size = _size(dimension)
    stop = min(stop, size)
    count = max(0, -(-(stop - start) // step))
    if start == 0 and step == 1 and count == size:
        return dimension
    axes = axes_of(dimension)
    if not axes:
        return plain(count)
    if len(dimension) == 1:
        piece = dimension[0]
        if isinstance(piece, Atom | Lost):
            origin = piece.origin + start * piece.step
            return (piece._replace(size=count, step=piece.step * step, origin=origin),)
        if step == 1 or count == 1:
            return _slice_parts(piece, start, start + count, axes)
    elif count:
        return _slice_blocks(dimension, start, count, step) or (Lost(count, axes, step, start),)
    return (Lost(count, axes, step, start),)


def _slice_blocks(dimension: Dimension, start: int, count: int, step: int) -> Dimension | None:
    """Slice a dimension of several pieces; None if a slice is no row of blocks itself."""
    first, rest = dimension[:1], dimension[1:]
    inner = _size(rest)
    last = start + (count - 1) * step
    block = start // inner
    if last // inner == block:
        head = slice_dimension(first, block, block + 1)
        return head + slice_dimension(rest, start % inner, last % inner + 1, step)
    if step == 1 and start % inner == count % inner == 0:
        return slice_dimension(first, block, block + count // inner) + rest
    if inner % step == 0 and start < step and last + step >= _size(dimension):
        return first + slice_dimension(rest, start, inner, step)
    return None


def _slice_parts(joined: Joined, start: int, stop: int, axes: tuple[int, ...]) -> Dimension:
    kept: list[Dimension] = []
    begin = 0
    for part in joined.parts:
        size = _size(part)
        low, high = max(start, begin), min(stop, begin + size)
        if low < high:
            kept.append(slice_dimension(part, low - begin, high - begin))
        begin += size
    return kept[0] if len(kept) == 1 else join(kept)


def as_blocks(layout: Layout, axes: Iterable[int]) -> tuple[Layout, dict[int, int]]:
    """Return a layout whose units are blocks where plumbing put what is in them elsewhere.

    A tensor with the blocks of an axis in one dimension and the places in them in another one has
    a unit per block, as behind ``pixel_unshuffle``; also the sizes of these blocks.

    >>> as_blocks(((Atom(0, 4, step=2),), (Atom(0, 2),)), [0])[1]
    {0: 2}
    """
    runs = runs_by_axis(layout)
    spread = {
        axis: max(atom.step for atom in runs[axis])
        for axis in axes
        if axis in runs and sum(axis in axes_of(dimension) for dimension in layout) > 1
    }
    blocks: dict[int, int] = {}
    result = []
    for dimension in layout:
        pieces: list[Piece] = []
        for piece in dimension:
            if type(piece) is Atom and piece.axis in spread and piece.step < spread[piece.axis]:
                blocks[piece.axis] = spread[piece.axis]
                pieces.append(Atom(None, piece.size))
            else:
                pieces.append(piece)
        result.append(coalesce(pieces))
    return tuple(result), blocks


def anchored(layout: Layout) -> Layout:
    """Return a layout where single places of an axis tell where the runs on that axis begin.

    >>> anchored(((Atom(0, 1, origin=1),), (Atom(0, 8, step=2),)))
    ((), (Atom(axis=0, size=8, step=2, origin=1),))
    """
    single = [(a.axis, a.origin) for a in _single_places(layout)]
    if not single:
        return layout
    running = {a.axis for pieces in layout for a in pieces if type(a) is Atom and a.size > 1}
    ahead = {axis: 0 for axis, _ in single if axis in running}
    if not ahead:
        return layout
    for axis, origin in single:
        if axis in ahead:
            ahead[axis] += origin
    result = []
    for dimension in layout:
        pieces: list[Piece] = []
        for piece in dimension:
            if type(piece) is Atom and piece.axis in running and piece.axis is not None:
                if piece.size == 1:
                    continue
                piece = piece._replace(origin=piece.origin + ahead.pop(piece.axis, 0))  # noqa: PLW2901
            pieces.append(piece)
        result.append(tuple(pieces))
    return tuple(result)


def _single_places(dimensions: Iterable[Dimension]) -> list[Atom]:
    return [piece for piece in _single(dimensions) if type(piece) is Atom]


def _single(dimensions: Iterable[Dimension]) -> list[Piece]:
    """Return the single places, also those in an order that is not followed."""
    pieces = itertools.chain.from_iterable(dimensions)
    return [piece for piece in pieces if piece.size == 1 and axes_of((piece,))]


def without(layout: Layout, place: int) -> Layout:
    """Return a layout without one of its dimensions, of size 1; where it was is kept elsewhere.

    >>> without((plain(1), (Atom(0, 1, origin=5),), (Atom(1, 8),)), 1)
    ((Atom(axis=0, size=1, step=1, origin=5),), (Atom(axis=1, size=8, step=1, origin=0),))
    """
    gone = tuple(_single(layout[place : place + 1]))
    rest = list(layout[:place] + layout[place + 1 :])
    if gone:
        for at, dimension in enumerate(rest):
            if not axes_of(dimension) or _size(dimension) == 1:
                rest[at] = (*gone, *dimension)
                break
    return anchored(tuple(rest))


def join(parts: Sequence[Dimension]) -> Dimension:
    """Return one dimension with several ones after another, as one run where it goes on.

    >>> join([(Atom(0, 4),), (Atom(0, 2, origin=4),)])
    (Atom(axis=0, size=6, step=1, origin=0),)
    """
    if not any(axes_of(part) for part in parts):
        return plain(sum(map(_size, parts)))
    if len(parts) == 1:
        return parts[0]
    run = _one_run(parts)
    if run is not None:
        return (run,)
    return (Joined(sum(map(_size, parts)), tuple(parts)),)


def _one_run(parts: Sequence[Dimension]) -> Atom | None:
    """Return what parts are together if every one goes on where the one before it ends."""
    row: Atom | None = None
    for part in parts:
        (piece, *more) = part or (None,)
        if more or type(piece) is not Atom or piece.axis is None:
            return None
        if row is None:
            row = piece
            continue
        step = row.step if row.size > 1 else piece.origin - row.origin
        if piece.axis != row.axis or step < 1 or piece.origin != row.origin + row.size * step:
            return None
        if piece.size > 1 and piece.step != step:
            return None
        row = row._replace(size=row.size + piece.size, step=step)
    return row


def shift(dimension: Dimension, by: int) -> Dimension:
    """Return the dimension with its positions moved along by some units (roll, padding)."""
    axes = axes_of(dimension) if by else ()
    if not axes:
        return dimension
    if len(dimension) == 1 and isinstance(dimension[0], Atom | Lost):
        piece = dimension[0]
        return (piece._replace(origin=piece.origin - by * piece.step),)
    return (Lost(_size(dimension), axes, origin=-by),)


def broadcast(layouts: Sequence[Layout], shape: Sequence[int]) -> Layout:
    """Return the layout of an element-wise result: dimensions with positions win."""
    result: list[Dimension] = []
    for back in range(len(shape), 0, -1):
        size = shape[-back]
        best: Dimension | None = None
        for layout in layouts:
            if back > len(layout):
                continue
            dimension = layout[-back]
            if _size(dimension) != size:
                continue
            if best is None or (not axes_of(best) and axes_of(dimension)):
                best = dimension
        result.append(plain(size) if best is None else best)
    return tuple(result)


def expand(layout: Layout, shape: Sequence[int]) -> Layout:
    """Return the layout after dimensions of size 1 were repeated; a step of 0 remembers that.

    >>> expand(((), plain(4)), (3, 4))[0]
    (Atom(axis=None, size=3, step=0, origin=0),)
    """
    result: list[Dimension] = []
    for back in range(len(shape), 0, -1):
        size = shape[-back]
        dimension = layout[-back] if back <= len(layout) else ()
        if _size(dimension) != size:
            dimension = (Atom(None, size, 0),)
        result.append(dimension)
    return tuple(result)


def crossed(several: Sequence[Layout]) -> set[int]:
    """Return the axes that one tensor has where another one has another axis, as in ``x + x.mT``.

    Every unit then sees two places whose distance grows along the map.

    >>> first = image((1, 3, 8, 8), (2, 3))
    >>> crossed([first, first]), crossed([first, (*first[:2], first[3], first[2])])
    (set(), {0, 1})
    """
    return _differing(several, lambda dimension: frozenset(axes_of(dimension)))


def _differing(several: Sequence[Layout], told: Callable[[Dimension], Iterable[Any]]) -> set[int]:
    """Return the axes of dimensions that meet, and of which not the same is told."""
    found: set[int] = set()
    for dimensions in itertools.zip_longest(*(layout[::-1] for layout in several), fillvalue=()):
        carrying = [one for one in dimensions if axes_of(one)]
        if len(set(map(told, carrying))) > 1:
            found.update(*map(axes_of, carrying))
    return found


def unaligned(several: Sequence[Layout]) -> set[int]:
    """Return the axes whose units do not stand upon each other at a constant distance.

    They go on in other steps in one tensor than in another one, or one of them has a single unit
    that all units of another one meet, as in ``x - x[:1]``.

    >>> row, every_second = ((Atom(0, 8),),), ((Atom(0, 8, step=2),),)
    >>> unaligned([row, row]), unaligned([row, every_second]), unaligned([row, ((Atom(0, 1),),)])
    (set(), {0}, {0})
    """
    return _differing(several, _from_the_start)


def _from_the_start(dimension: Dimension) -> Dimension:
    """Return the pieces of a dimension that carry positions, as if runs began at the first one."""
    return tuple(
        piece._replace(origin=0) if type(piece) is Atom else piece
        for piece in dimension
        if axes_of((piece,))
    )


def is_everywhere(layout: Layout, other: Layout) -> bool:
    """Return whether a tensor is the same at all positions of another one, to which it broadcasts.

    >>> weights, features = ((), plain(3), (), ()), image((1, 3, 8, 8), (2, 3))
    >>> is_everywhere(weights, features), is_everywhere(features, features)
    (True, False)
    """
    return all(
        piece.size == 1 or (type(piece) is Atom and piece.axis is None and piece.step == 0)
        for own, theirs in zip(reversed(layout), reversed(other), strict=False)
        if axes_of(theirs)
        for piece in own
    )


def repeated_in_blocks(layout: Layout, other: Layout) -> tuple[Layout, dict[int, int]]:
    """Return a layout where single units stand for blocks of another one, with all their places.

    Also the sizes of these blocks by axis; none if the units are no such blocks.

    >>> pooled, blocks = ((Atom(0, 4),), ()), ((Atom(0, 4, step=2),), (Atom(0, 2),))
    >>> repeated_in_blocks(pooled, blocks) == (blocks, {0: 2})
    True
    """
    pairs = list(zip(layout, other, strict=False)) if len(layout) == len(other) else []
    inside = _inside_blocks(pairs)
    found = list(layout)
    blocks: dict[int, int] = {}
    for place, (own, theirs) in enumerate(pairs):
        pooled: dict[Piece, Atom] = {
            piece: piece._replace(step=inside[piece.axis].size)
            for piece in own
            if type(piece) is Atom and piece.axis in inside and piece.step == 1 and not piece.origin
        }
        if pooled and theirs == tuple(pooled.get(piece, piece) for piece in own):
            found[place] = theirs
            blocks |= {axis: inside[axis].size for axis in axes_of(tuple(pooled))}
    for place, (own, theirs) in enumerate(pairs):
        runs = [piece for piece in theirs if piece in inside.values()]
        if not axes_of(own) and runs and set(axes_of(theirs)) <= set(blocks):
            found[place] = theirs
    return tuple(found), blocks


def _inside_blocks(pairs: Sequence[tuple[Dimension, Dimension]]) -> dict[int, Atom]:
    """Return by axis the runs over places in blocks that dimensions lack beside those of others.

    Several runs in one dimension are a window where channels have another, else channels.
    """
    beside = any(theirs and not axes_of(theirs) for _, theirs in pairs[1:])
    return {
        piece.axis: piece
        for own, theirs in pairs
        if not axes_of(own)
        and (len(theirs) == 1 or (beside and len(axes_of(theirs)) == len(theirs)))
        for piece in theirs
        if type(piece) is Atom and piece.axis is not None and piece.step == 1 < piece.size
    }


def rescale(layout: Layout, axis: int, by: int, origin: int = 0) -> Layout:
    """Return the layout with positions of one axis counted in units that are ``by`` times larger.

    Positions start at ``origin``.

    >>> rescale(((Atom(0, 4, step=2, origin=1),),), axis=0, by=2)
    ((Atom(axis=0, size=4, step=1, origin=0),),)
    """
    waiting = [origin] if origin else []  # for the first run that is met

    def rescaled(dimension: Dimension) -> Dimension:
        pieces: list[Piece] = []
        for piece in dimension:
            if type(piece) is Atom and piece.axis == axis:
                begin = waiting.pop() if waiting else 0
                pieces.append(Atom(axis, piece.size, piece.step // by or 1, begin))
            elif type(piece) is Joined:
                pieces.append(Joined(piece.size, tuple(map(rescaled, piece.parts))))
            else:
                pieces.append(piece)
        return tuple(pieces)

    return tuple(
        rescaled(dimension) if axis in axes_of(dimension) else dimension for dimension in layout
    )


def mixing(layout: Layout, mixed: Iterable[int], extents: Sequence[int]) -> dict[int, Mixing]:
    """Return how far an operation reaches that lets all of some dimensions see each other.

    Args:
        layout: that of the tensor that the operation reads.
        mixed: the dimensions that it mixes.
        extents: number of units of the feature map along every spatial axis.

    Returns:
        per mixed axis the kernel: infinite if whole rows or columns of the map are mixed.

    >>> windows = reshape(image((1, 1, 8), (2,)), (1, 1, 2, 4))
    >>> mixing(windows, [3], [8])
    {0: Mixing(kernel=4, dilation=1)}
    """
    places = {place % len(layout) for place in mixed}
    inside: dict[int, dict[int, Atom]] = {}
    everything: set[int] = set()
    for place in places:
        for piece in layout[place]:
            if type(piece) is Atom:
                if piece.axis is not None:
                    inside.setdefault(piece.axis, {})[piece.step] = piece
            else:
                everything.update(axes_of((piece,)))
    result: dict[int, Mixing] = {}
    for axis, atoms in inside.items():
        covered = math.prod(atom.size for atom in atoms.values())
        # A run over all blocks of a map reaches from its one end to the other, as in grid
        # attention, and grows with the image.
        across = any(atom.size * atom.step >= extents[axis] for atom in atoms.values())
        if covered >= extents[axis] or across:
            everything.add(axis)
        elif len(atoms) == 1:
            (atom,) = atoms.values()
            result[axis] = Mixing(atom.size, atom.step)
        else:
            reach = sum((atom.size - 1) * atom.step for atom in atoms.values())
            result[axis] = Mixing(reach + 1)
    for axis in everything:
        result[axis] = Mixing(math.inf)
    return result


Offsets: TypeAlias = "tuple[tuple[tuple[int | None, ...], ...], ...]"


def offsets_between(
    reads: Sequence[tuple[int, Layout]], sources: Sequence[int], axes: int
) -> Offsets:
    """Return at which units of their maps the operands of an operation stand upon each other.

    Args:
        reads: what is read, in order: who made it, and where its positions are.
        sources: those who made something, each once, in the order of the result.
        axes: number of spatial axes.

    Returns:
        per source, for each place that it is read at, one number per axis: how many units behind
        those of the first operand that has positions on this axis. None where it is not known;
        empty where all are 0.

    >>> row = (Atom(0, 8),)
    >>> offsets_between([(3, (row,)), (3, ((Atom(0, 8, origin=4),),))], [3], axes=1)
    (((0,), (4,)),)
    """
    found = [(source, grids(layout), lost_pieces(layout)) for source, layout in reads]
    if all(one[1:] == found[0][1:] for one in found):
        return ()
    several: dict[int, dict[tuple[int | None, ...], None]] = {source: {} for source in sources}
    for source, own, lost in found:
        place: list[int | None] = []
        for axis in range(axes):
            first = next((one for one in found if axis in own and axis in one[1]), None)
            if first is None or (own[axis], lost.get(axis)) == (first[1][axis], first[2].get(axis)):
                place.append(0)
                continue
            begin, runs = first[1][axis]
            if begin is None or own[axis][0] is None or own[axis][1] != runs:
                place.append(None)
            else:
                place.append(own[axis][0] - begin)  # type: ignore[operator]
        several[source][tuple(place)] = None
    if all(one == 0 for places in several.values() for place in places for one in place):
        return ()
    return tuple(tuple(several[source]) for source in sources)
