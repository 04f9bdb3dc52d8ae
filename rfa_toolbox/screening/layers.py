"""What one layer does: to any map, followed path by path, or as an effect on all maps of a kind.

All formulas are those of ``rfa_toolbox.arithmetic`` and ``rfa_toolbox.unit_windows``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import attrs

from rfa_toolbox import arithmetic, unit_windows
from rfa_toolbox.analysis.costs import MapStep, map_steps
from rfa_toolbox.arithmetic import Level, Paths, PathState, Size
from rfa_toolbox.graphs.places import Places, extents_lost, places_behind, places_read
from rfa_toolbox.screening.effects import (
    NEVER,
    STATES,
    Block,
    Counting,
    Effect,
    Kind,
    Placed,
    Sizes,
    Works,
)
from rfa_toolbox.screening.specs import MERGES, PARTS_KEPT, LayerSpec, size_behind
from rfa_toolbox.unit_windows import UnitWindows

__all__ = ["KindOf", "Layers", "Map", "map_of", "placed"]

KindOf: TypeAlias = "Callable[[int | None, Sizes, tuple[int, ...], bool], Kind]"
"""Makes the kind of a map: the same object for the same maps."""


Grids: TypeAlias = "tuple[tuple[int, tuple[Level, ...]], ...]"
"""What paths have in common whose fields differ: their jumps, with those of up-sampled grids."""


@attrs.define(slots=True, eq=False)
class Map:
    """All that later layers can ask of a map, per axis (one axis stands for both if all is square).

    ``low`` is the smallest field of ``paths``, and ``grids`` are their jumps; ``seen`` and ``near``
    are what units see and see near (``graphs.places``); ``sizes`` are the units at every
    resolution; ``exact`` is whether the fields are.
    """

    paths: tuple[Paths, ...]
    low: tuple[Size, ...]
    grids: tuple[Grids, ...]
    seen: Places
    near: Places
    sizes: Sizes
    channels: int
    exact: bool


@attrs.frozen(slots=True)
class _Window:
    """A layer's window on the axes in question, prepared for many uses."""

    kernels: tuple[Size, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    upsamplings: tuple[int, ...]
    spans: tuple[Size, ...]
    expands: tuple[bool, ...]
    plain: bool
    """Whether units look at nothing but themselves."""
    is_main: bool
    """Whether the layer is the main one of a block."""
    passes_on: bool
    """Whether the map behind is that in front, in all that can be asked of it."""
    steps: tuple[MapStep, ...]


class _Cost(NamedTuple):
    """What a layer costs that reads so many channels, and how many it makes."""

    channels: int
    parameters: int
    each: int
    fixed: int

    def works(self, sizes: Sizes) -> Works:
        """Return the multiply-accumulates at every resolution."""
        if not self.each:
            return (self.fixed,) * len(sizes)
        return tuple(self.each * size[0] * size[-1] + self.fixed for size in sizes)


class Layers:
    """Layers on one axis (which stands for both) or on two, prepared for many uses."""

    def __init__(self, resolutions: Sequence[tuple[int, ...]]) -> None:
        self.resolutions = tuple(resolutions)
        self.axes = len(self.resolutions[0])
        self._windows: dict[LayerSpec, _Window] = {}
        self._costs: dict[tuple[LayerSpec, tuple[int, ...]], _Cost] = {}

    # --- effects ---

    def effect(self, layer: LayerSpec, entering: Kind, kind_of: KindOf) -> Effect | None:
        """Return what a layer does to all maps of a kind; None where that is no effect.

        On up-sampled maps units see windows of different size, and there is more to say.
        """
        window = self._window(layer)
        if window.upsamplings != (1,):
            return None
        cost = self._cost(layer, entering.channels)
        sizes = self._sizes(layer, (entering.sizes,), window)
        works = cost.works(sizes)
        (kernel,), jump, exact = window.kernels, entering.jump, entering.exact
        if kernel == math.inf or jump is None:
            behind = kind_of(None, sizes, (cost.channels,), exact or kernel == math.inf)
            return Effect(
                behind,
                0,
                0,
                0,
                0,
                NEVER,
                NEVER,
                NEVER,
                NEVER,
                1,
                NEVER,
                1,
                False,
                cost.parameters,
                works,
            )
        (span,), (expands,) = window.spans, window.expands
        reach = window.dilations[0] * (int(kernel) - 1) * jump
        begin = jump * int(layer.window.slides[0].begin or 0)
        return Effect(
            kind_of(jump * window.strides[0], sizes, (cost.channels,), exact),
            low=reach,
            high=reach,
            first=-begin,
            last=reach - begin,
            own=reach,
            in_front=0 if expands else NEVER,
            top=reach,
            extent=reach,
            of_map=int(span) * jump,
            good=reach if window.is_main else NEVER,
            good_map=(int(span) + 1) * jump if window.is_main else 1,
            inexact=not exact,
            parameters=cost.parameters,
            works=works,
            blocks=(self._block(reach, (int(span) + 1) * jump, works),) if window.is_main else (),
        )

    def _block(self, reach: int, of_map: int, works: Works) -> Block:
        """Return from which smallest fields in front on a main layer cannot help, or only a little.

        It adds ``reach`` to them, and is unproductive on maps below ``of_map`` pixels in any case.
        """
        unproductive = [
            -math.inf if of_map > size else size - min(reach - 1, 0) for (size,) in self.resolutions
        ]
        critical = [
            min(limit, size - reach + 1)
            for (size,), limit in zip(self.resolutions, unproductive, strict=True)
        ]
        return Block(tuple(unproductive), tuple(critical), works)

    # --- maps ---

    def image(self, channels: int) -> Map:
        """Return the image itself."""
        ones = (1,) * self.axes
        paths = (arithmetic.INPUT_PATHS,) * self.axes
        places = (unit_windows.IMAGE,) * self.axes
        return Map(
            paths,
            ones,
            (_grids_of(paths[0]),) * self.axes,
            places,
            places,
            self.resolutions,
            channels,
            True,
        )

    def behind(self, layer: LayerSpec, before: list[Map], tally: Counting) -> Map:
        """Return the map behind a layer, and add what the layer does."""
        window = self._window(layer)
        first = before[0]
        if window.passes_on:
            self._pass_on(layer, first, tally)
            return first
        cost = self._cost(layer, tuple(one.channels for one in before))
        seen, near = self._places(layer, before)
        several = [one.paths for one in before]
        if None in seen:
            several = extents_lost(several, [one.seen for one in before], seen)
        paths = several[0] if len(before) == 1 else _merged(several)
        exact = all(one.exact for one in before)
        if not window.plain:
            paths, grows_exactly = _grown(paths, window)
            exact = exact and grows_exactly
        if paths is first.paths:
            low, grids = first.low, first.grids
        else:
            low, grids = tuple(map(_smallest, paths)), tuple(map(_grids_of, paths))
        sizes = self._sizes(layer, [one.sizes for one in before], window)
        works = cost.works(sizes)
        tally.pay(cost.parameters, works)
        if low[0] != math.inf or low[-1] != math.inf:
            of_map = _bound(tally, window, before, low)
            _reach(tally, paths, near)
            tally.inexact = tally.inexact or not exact
            if window.is_main:
                beyond = [size - 1 for size in low]
                limits = (tuple(map(min, beyond, *(one.low for one in before))), of_map)
                self._count(tally, low, limits, works)
                useful = [1 + one for one in map(max, *limits) if one != math.inf]
                finite = [one for one in low if one != math.inf]
                tally.good = max(tally.good, *useful, *finite)
        elif not window.plain and math.inf in window.kernels:
            exact = True  # it sees everything by itself, whatever came before
        return Map(paths, low, grids, seen, near, sizes, cost.channels, exact)

    def _count(
        self,
        tally: Counting,
        low: tuple[Size, ...],
        limits: tuple[tuple[Size, ...], tuple[Size, ...]],
        works: Works,
    ) -> None:
        for place, resolution in enumerate(self.resolutions):
            state = STATES.index(arithmetic.state_within(resolution, low, limits))
            tally.counts[place][state] += 1
            if state == 0:
                tally.wasted[place] += works[place]

    def _pass_on(self, layer: LayerSpec, of: Map, tally: Counting) -> None:
        """Count what works unit by unit and leaves a map as it is, such as a norm."""
        tally.parameters += layer.parameters(of.channels, of.channels)
        for low, grids in zip(of.low, of.grids, strict=True):
            if low != math.inf:
                tally.of_map = max(tally.of_map, _on_maps((grids,), 1)[0])

    def _places(self, layer: LayerSpec, before: list[Map]) -> tuple[Places, Places]:
        """Return what the units of a layer see, and what they see near."""
        axes = self.axes
        read = places_read([one.near for one in before], (), axes, near=True)
        near = places_behind(read, layer.window, axes)
        mixed = len(before) > 1 and any(unit_windows.EVERYTHING in one.near for one in before)
        if not mixed and all(one.seen is one.near for one in before):
            return near, near
        read = places_read([one.seen for one in before], (), axes)
        return places_behind(read, layer.window, axes), near

    # --- what is prepared once ---

    def _window(self, layer: LayerSpec) -> _Window:
        known = self._windows.get(layer)
        if known is None:
            known = self._windows[layer] = self._prepared(layer)
        return known

    def _prepared(self, layer: LayerSpec) -> _Window:
        of, axes = layer.window, self.axes
        kernels, strides, dilations, upsamplings = (
            arithmetic.broadcast(value, 2)[:axes]
            for value in (of.kernel_size, of.stride_size, of.dilation, of.upsampling)
        )
        plain = {*kernels, *strides, *upsamplings} == {1}
        return _Window(
            kernels,
            strides,
            dilations,
            upsamplings,
            of.window(2)[:axes],
            of.expands(2)[:axes],
            plain,
            layer.is_main,
            plain and not layer.is_main and layer.kind not in MERGES,
            map_steps(of, 2)[:axes],
        )

    def _cost(self, layer: LayerSpec, entering: tuple[int, ...]) -> _Cost:
        known = self._costs.get((layer, entering))
        if known is None:
            channels = layer.channels_behind(entering)
            known = self._costs[layer, entering] = _Cost(
                channels,
                layer.parameters(entering[0], channels),
                *layer.work(entering[0], channels),
            )
        return known

    def _sizes(self, layer: LayerSpec, before: Sequence[Sizes], window: _Window) -> Sizes:
        sizes = before[0]
        same = len(before) == 1 or all(one == sizes for one in before)
        if window.plain and same:
            return sizes
        usual = window.kernels[0] != math.inf and window.steps[0].ceil_begin is None
        if same and layer.kind != "dense" and usual:
            found = tuple(
                tuple(
                    ((size - 1) * factor - reach) // stride + 1
                    for size, (_, stride, factor, reach, _) in zip(one, window.steps, strict=True)
                )
                for one in sizes
            )
            if min(map(min, found)) > 0:
                return found
        return tuple(  # also says what does not fit
            size_behind(layer, several) for several in zip(*before, strict=True)
        )


# --- both forms of a map ---------------------------------------------------------------------


def placed(of: Map, kind_of: KindOf) -> Placed | None:
    """Return a map as one of a kind; None where there is more to say of it, or two axes.

    >>> placed(Layers(((32,),)).image(3), Kind)[1:]
    (1, 1, 0, 0)
    """
    paths, place = of.paths[0], of.near[0]
    if len(of.paths) > 1 or len(paths) > 2 or place is None or place is not of.seen[0]:
        return None
    (low, jump, levels), (high, last_jump, others) = paths[0], paths[-1]
    if high == math.inf:
        everything = low == math.inf and place == unit_windows.EVERYTHING
        kind = kind_of(None, of.sizes, (of.channels,), of.exact)
        return (kind, 0, 0, 0, 0) if everything else None
    if jump != last_jump or levels or others or place[0] != jump or len(place[1]) > 1:
        return None
    kind = kind_of(jump, of.sizes, (of.channels,), of.exact)
    return kind, int(low), int(high), int(place[1][0]), int(place[2][0])


def map_of(of: Placed) -> Map:
    """Return a map of a kind in the form in which all maps can be written.

    >>> kind = Kind(2, ((32,),), (3,), True)
    >>> map_of((kind, 3, 5, -2, 2)).paths
    (((3, 2, ()), (5, 2, ())),)
    """
    kind, low, high, first, last = of
    jump = kind.jump
    if jump is None:
        nowhere: Places = (unit_windows.EVERYTHING,)
        infinite = ((arithmetic.INFINITE_PATH,),)
        return Map(
            infinite,
            (math.inf,),
            ((),),
            nowhere,
            nowhere,
            kind.sizes,
            kind.channels[0],
            kind.exact,
        )
    paths: Paths = ((low, jump, ()),) if low == high else ((low, jump, ()), (high, jump, ()))
    places = (UnitWindows(jump, (first,), (last,)),)
    return Map(
        (paths,),
        (low,),
        (_grids_of(paths),),
        places,
        places,
        kind.sizes,
        kind.channels[0],
        kind.exact,
    )


# --- parts of following a map ----------------------------------------------------------------


def _bound(
    tally: Counting, window: _Window, before: list[Map], low: tuple[Size, ...]
) -> tuple[Size, ...]:
    """Let a layer raise the smallest resolutions; see ``analysis.ranges``.

    Returns up to which resolution the map in front is not larger than the window, per axis.
    """
    limits = []
    for axis, own in enumerate(low):
        of_map, limit = _on_maps(tuple([one.grids[axis] for one in before]), window.spans[axis])
        limits.append(limit)
        if own == math.inf:
            continue
        tally.of_map = max(tally.of_map, of_map)
        tally.own = max(tally.own, own)
        if window.expands[axis]:
            tally.in_front = max(tally.in_front, min([one.low[axis] for one in before]))
    return (0,) * len(limits) if math.inf in window.spans else tuple(limits)


def _reach(tally: Counting, paths: tuple[Paths, ...], near: Places) -> None:
    """Let a layer raise the largest resolution: the extent of all its finite paths."""
    for axis, place in enumerate(near):
        if place is not None and place != unit_windows.EVERYTHING:
            tally.extent = max(tally.extent, place.size)
        finite = arithmetic.finite_paths(paths[axis])
        if finite:
            tally.top = max(tally.top, arithmetic.largest_field(finite))


def _merged(several: list[tuple[Paths, ...]]) -> tuple[Paths, ...]:
    return tuple(map(arithmetic.merge_paths, zip(*several, strict=True)))


def _grown(paths: tuple[Paths, ...], window: _Window) -> tuple[tuple[Paths, ...], bool]:
    """Return the paths behind a layer, and whether they are the very largest as far as it goes."""
    found = []
    exact = True
    for axis, several in enumerate(paths):
        step = (
            window.kernels[axis],
            window.strides[axis],
            window.dilations[axis],
            window.upsamplings[axis],
        )
        behind = []
        for base, jump, levels in several:
            if base == math.inf or step[0] == math.inf:
                behind.append(arithmetic.INFINITE_PATH)
                continue
            (added, advance, above), as_large = _grown_grid(jump, levels, *step)
            behind.append((base + added, advance, above))
            exact = exact and as_large
        found.append(tuple(behind) if len(behind) == 1 else arithmetic.prune(behind))
    return tuple(found), exact


# Fractions and up-sampled grids are slow to calculate with, and few of them are different. All
# that a path does behind its grid is to add to its base.


@functools.lru_cache(PARTS_KEPT)
def _grown_grid(
    jump: int,
    levels: tuple[Level, ...],
    kernel: int,
    stride: int,
    dilation: int,
    upsampling: int,
) -> tuple[PathState, bool]:
    """Return what a layer makes of a path with the base 0, and whether that is exact."""
    path = (0, jump, levels)
    step = (kernel, stride, dilation, upsampling)
    return arithmetic.grow(path, *step), arithmetic.is_exact(path, *step)


def _grids_of(paths: Paths) -> Grids:
    return tuple([(jump, levels) for base, jump, levels in paths if base != math.inf])


def _smallest(paths: Paths) -> Size:
    return min([base + (_inside(levels) * jump if levels else 0) for base, jump, levels in paths])


@functools.lru_cache(PARTS_KEPT)
def _inside(levels: tuple[Level, ...]) -> Size:
    """Return how many units of the coarsest grid windows reach over on those above it."""
    return arithmetic.field_of((0, 1, levels))


@functools.lru_cache(PARTS_KEPT)
def _on_maps(several: tuple[Grids, ...], span: Size) -> tuple[int, Size]:
    """Return ``kernel * jump`` in pixels, and up to which resolution maps are not larger than it.

    The first is that of the largest jump, the second holds for all maps together.
    """
    jumps = [
        max((arithmetic.jump_of((0, *grid)) for grid in grids), default=None) for grids in several
    ]
    largest = max((jump for jump in jumps if jump is not None), default=1)
    _, limit = arithmetic.unproductive_limits(None, (), [[jump] for jump in jumps], [span])
    return math.ceil(span * largest) if span != math.inf else 0, limit[0]
