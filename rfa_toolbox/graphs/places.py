"""Where the units of a node look, given where those of its predecessors do; per axis.

Two answers travel through a graph. What units *see* takes every path into account. What they see
*near* leaves out the paths on which they see infinitely far, or as far as the image goes: it is
what a range of resolutions asks for. Where nothing is left out both are the same object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from rfa_toolbox import arithmetic, unit_windows
from rfa_toolbox.arithmetic import Paths
from rfa_toolbox.graphs.layers import LayerDefinition, Slide
from rfa_toolbox.unit_windows import EVERYTHING, IMAGE, UnitWindows

__all__ = ["Places", "extents_lost", "places_behind", "places_read", "reads_of"]

Places: TypeAlias = "tuple[UnitWindows | None, ...]"
"""What every unit of a node looks at, per axis (one entry if scalar); None where not known."""

START: Places = (IMAGE,)
"""What the pixels of the image look at."""


def reads_of(several: Sequence[Places], offsets: Sequence[Any], axis: int) -> Sequence[Any]:
    """Return the maps that a layer reads along an axis, one entry per read.

    Unit i of each of them is read for unit i of the grid that the layer slides over.
    """
    maps = [places[axis if len(places) > 1 else 0] for places in several]
    if not offsets:
        return maps
    return [
        None if one is None or read[axis] is None else unit_windows.shifted(one, read[axis])
        for one, reads in zip(maps, offsets, strict=True)
        for read in reads
    ]


def places_read(
    several: Sequence[Places],
    offsets: Sequence[Any],
    axes: int,
    near: bool = False,
    units: Sequence[int] | None = None,
) -> Places:
    """Return where the units of the grid look that a layer slides over; ``near`` as above.

    ``units`` are those of the grid per axis, if known.
    """
    if not several:
        return START
    if not offsets:
        first = several[0]
        if several.count(first) == len(several):
            return first
        square = units is None or len(set(units)) == 1
        if square and all(axis is places[0] for places in several for axis in places):
            merge = _near if near else _seen
            return (
                merge([places[0] for places in several], None if units is None else units[0]),
            ) * axes
    merge = _near if near else _seen
    return tuple(
        merge(reads_of(several, offsets, axis), None if units is None else units[axis])
        for axis in range(axes)
    )


def _seen(reads: Sequence[UnitWindows | None], units: int | None = None) -> UnitWindows | None:
    if EVERYTHING in reads:
        return EVERYTHING
    known = [one for one in reads if one is not None]
    return unit_windows.union(known, units) if len(known) == len(reads) else None


def _near(reads: Sequence[UnitWindows | None], units: int | None = None) -> UnitWindows | None:
    finite = [one for one in reads if one is None or one.size != math.inf]
    return _seen(finite, units) if finite else EVERYTHING


def extents_lost(
    several: Sequence[tuple[Paths, ...]],
    maps: Sequence[Places],
    behind: Places,
    offsets: Sequence[Any] = (),
) -> list[tuple[Paths, ...]]:
    """Return the paths in front of a layer, with what is lost where it is not known where they end.

    Where copies met that are moved against each other, units see more than any path leads to. Only
    their places say so; where these get lost, the extent becomes a path of its own, so that
    whatever follows adds to it. Copies of one map that meet once its places are lost see as much
    more as they are moved.
    """
    lost = [
        paths if places.count(None) == len(places) else _with_extents(paths, places, behind)
        for paths, places in zip(several, maps, strict=True)
    ]
    if not offsets:
        return lost
    return [_with_copies(paths, reads, behind) for paths, reads in zip(lost, offsets, strict=True)]


def _with_copies(
    paths: tuple[Paths, ...], reads: Sequence[Sequence[int | None]], behind: Places
) -> tuple[Paths, ...]:
    """Return paths, and longer ones where copies of their map are moved and places not known."""
    result: list[Paths] = []
    for axis, after in enumerate(behind):
        before = paths[axis if len(paths) > 1 else 0]
        places = [place for read in reads if (place := read[axis]) is not None]
        moved = max(places, default=0) - min(places, default=0)
        if after is None and moved:  # as under a kernel that reaches from one copy to the other
            grown = (arithmetic.grow(path, moved + 1) for path in before)
            before = arithmetic.prune((*before, *grown))
        result.append(before)
    return tuple(result)


def _with_extents(paths: tuple[Paths, ...], places: Places, behind: Places) -> tuple[Paths, ...]:
    result: list[Paths] = []
    for axis, after in enumerate(behind):
        before = paths[axis if len(paths) > 1 else 0]
        one = places[axis if len(places) > 1 else 0]
        if after is None and one is not None and one.size != math.inf:
            before = arithmetic.with_extent(before, int(one.size), one.advance, len(one.firsts))
        result.append(before)
    return tuple(result)


def places_behind(read: Places, layer: LayerDefinition, axes: int) -> Places:
    """Return where units look behind a layer that slides over a grid."""
    if layer.stays or (layer.sees_finitely and read.count(None) == len(read)):
        return read if len(read) == axes else read * axes
    slides, blockwise = layer.slides, layer.blockwise
    first = _behind(read[0], slides[0], blockwise)
    if axes == 1:
        return (first,)
    result = [first]
    for axis in range(1, axes):
        one = read[axis if len(read) > 1 else 0]
        slide = slides[axis if len(slides) > 1 else 0]
        if one is read[0] and (slide is slides[0] or slide == slides[0]):
            result.append(first)
        else:
            result.append(_behind(one, slide, blockwise))
    return tuple(result)


def _behind(read: UnitWindows | None, slide: Slide, blockwise: bool) -> UnitWindows | None:
    kernel, stride, dilation, upsampling, begin, scan = slide
    if kernel == math.inf:
        if scan is None or read == EVERYTHING:
            return EVERYTHING
        if read is None:
            return None
        return unit_windows.scanned(unit_windows.shifted(read, -(begin or 0)), scan)
    if read is None or read == EVERYTHING:
        return read
    if begin is None:
        return None
    if blockwise and stride == dilation == upsampling == 1:
        return unit_windows.seen_in_blocks(read, kernel, begin)
    return unit_windows.slid(read, kernel, stride, dilation, upsampling, begin)
