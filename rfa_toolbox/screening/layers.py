"""What one layer does to any map, followed path by path.

All formulas are those of ``rfa_toolbox.arithmetic`` and ``rfa_toolbox.unit_windows``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from rfa_toolbox import arithmetic, unit_windows
from rfa_toolbox.analysis.costs import MapStep, map_steps
from rfa_toolbox.arithmetic import Level, Paths, PathState, Size
from rfa_toolbox.graphs.places import Places, extents_lost, places_behind, places_read
from rfa_toolbox.screening.effects import Cost, Grid, Kind, Placed, Sizes, Tally, Works
from rfa_toolbox.screening.specs import MERGES, PARTS_KEPT, LayerSpec, size_behind
from rfa_toolbox.unit_windows import UnitWindows

__all__ = ["KindOf", "Layer", "Layers", "Map", "OblongLayerError", "map_of", "placed"]

KindOf: TypeAlias = "Callable[[Grid | None, Sizes, bool], Kind]"
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


class OblongLayerError(Exception):
    """One axis cannot stand for both."""


@attrs.frozen(slots=True, eq=False)
class Window:
    """A layer's window on the axes in question, prepared for many uses: all but its width."""

    spec: LayerSpec
    kernels: tuple[Size, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    upsamplings: tuple[int, ...]
    spans: tuple[Size, ...]
    expands: tuple[bool, ...]
    plain: bool
    """Whether units look at nothing but themselves."""
    passes_on: bool
    """Whether the map behind is that in front, in all that can be asked of it."""
    steps: tuple[MapStep, ...]

    @classmethod
    def of(cls, spec: LayerSpec, axes: int) -> Window:
        """Prepare a layer.

        Raises:
            OblongLayerError: if one axis stands for both, and these differ.
        """
        of = spec.window
        if axes == 1 and any(
            len(set(value)) > 1
            for value in attrs.astuple(of, recurse=False)
            if isinstance(value, tuple)
        ):
            raise OblongLayerError
        kernels, strides, dilations, upsamplings = (
            arithmetic.broadcast(value, 2)[:axes]
            for value in (of.kernel_size, of.stride_size, of.dilation, of.upsampling)
        )
        plain = {*kernels, *strides, *upsamplings} == {1}
        return cls(
            spec,
            kernels,
            strides,
            dilations,
            upsamplings,
            of.window(2)[:axes],
            of.expands(2)[:axes],
            plain,
            plain and not spec.is_main and spec.kind not in MERGES,
            map_steps(of, 2)[:axes],
        )


@attrs.frozen(slots=True, eq=False)
class Layer:
    """A layer, prepared for many uses."""

    spec: LayerSpec
    window: Window
    costs: dict[int | tuple[int, ...], Cost] = attrs.field(init=False, factory=dict, repr=False)
    """Of all channels that were asked for."""

    def cost(self, entering: int | tuple[int, ...]) -> Cost:
        """Return what the layer costs that reads a map, or several, with so many channels."""
        several = entering if isinstance(entering, tuple) else (entering,)
        behind = self.spec.channels_behind(several)
        parameters = self.spec.parameters(several[0], behind)
        found = Cost(behind, parameters, *self.spec.work(several[0], behind))
        self.costs[entering] = found
        return found


class Layers:
    """Layers on one axis (which stands for both) or on two; they are prepared once.

    Windows are one object for layers that differ in their width only.
    """

    def __init__(self, resolutions: Sequence[tuple[int, ...]]) -> None:
        self.resolutions = tuple(resolutions)
        self.axes = len(self.resolutions[0])
        self.known: dict[LayerSpec, Layer] = {}
        self._windows: dict[tuple[object, ...], Window] = {}

    def __len__(self) -> int:
        return len(self.known)

    def prepared(self, spec: LayerSpec) -> Layer:
        """Prepare a layer, which is ``known`` from then on."""
        key = (spec.kind, spec.window)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window.of(spec, self.axes)
        layer = self.known[spec] = Layer(spec, window)
        return layer

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

    def behind(self, layer: Layer, before: list[Map], tally: Tally) -> Map:
        """Return the map behind a layer, and add what the layer does."""
        window, first = layer.window, before[0]
        cost = layer.cost(tuple(one.channels for one in before))
        tally.parameters += cost.parameters
        if window.passes_on:
            _pass_on(first, tally)
            return first
        seen, near = self._places(layer.spec, before)
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
        sizes = _sizes(layer.spec, [one.sizes for one in before], window)
        works = [cost.each * size[0] * size[-1] + cost.fixed for size in sizes]
        tally.pay(works)
        if low[0] != math.inf or low[-1] != math.inf:
            of_map = _bound(tally, window, before, low)
            _reach(tally, paths, near)
            tally.inexact = tally.inexact or not exact
            if layer.spec.is_main:
                _judge(tally, low, of_map, before, works)
        elif not window.plain and math.inf in window.kernels:
            exact = True  # it sees everything by itself, whatever came before
        return Map(paths, low, grids, seen, near, sizes, cost.channels, exact)

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


# --- both forms of a map ---------------------------------------------------------------------


def placed(of: Map, kind_of: KindOf) -> Placed | None:
    """Return a map as one of a kind; None where there is more to say of it, or two axes.

    >>> placed(Layers(((32,),)).image(3), Kind)[1:]
    (1, 1, 0, 0, 3)
    """
    paths, windows = of.paths[0], of.near[0]
    if len(of.paths) > 1 or windows is None or windows is not of.seen[0]:
        return None
    ends = _ends(paths)
    if ends is None:
        return None
    low, high = ends
    if high[0] == math.inf:
        everything = low[0] == math.inf and windows == unit_windows.EVERYTHING
        return (kind_of(None, of.sizes, of.exact), 0, 0, 0, 0, of.channels) if everything else None
    first, last = windows.firsts[0], windows.lasts[0]
    if abs(first) == math.inf or abs(last) == math.inf:
        return None
    grid = Grid(low[1], low[2], high[2], _moved(windows, -first, -last))
    kind = kind_of(grid, of.sizes, of.exact)
    return kind, int(low[0]), int(high[0]), int(first), int(last), of.channels


def _ends(paths: Paths) -> tuple[PathState, PathState] | None:
    """Return the paths that are the smallest and the largest whatever follows, if they are so."""
    if len(paths) == 1:
        only = _settled(paths[0])
        return only, only
    if len(paths) > 2 or math.inf in (paths[0][0], paths[1][0]):
        return None
    one, other = paths
    if _outline(one) != _outline(other):
        return None
    if arithmetic.never_less(arithmetic.carried(other), arithmetic.carried(one)):
        return _settled(one), _settled(other)
    if arithmetic.never_less(arithmetic.carried(one), arithmetic.carried(other)):
        return _settled(other), _settled(one)
    return None


def _outline(path: PathState) -> tuple[object, ...]:
    _, jump, levels = path
    return jump, [(factor, step) for factor, _, step in levels]


def _settled(path: PathState) -> PathState:
    """Return the state that says the same with most of its whole coarse units in the base.

    So many are left on the coarsest grid that a window without holes stays one without.
    """
    base, jump, levels = path
    if not levels or levels[0][1] < 2 * levels[0][0]:
        return path
    (factor, spanned, step), *finer = levels
    whole, rest = divmod(spanned - factor, factor)
    return base + whole * jump, jump, ((factor, factor + rest, step), *finer)


def _moved(windows: UnitWindows, first: Size, last: Size) -> UnitWindows:
    return UnitWindows(
        windows.advance,
        tuple([one + first for one in windows.firsts]),
        tuple([one + last for one in windows.lasts]),
    )


def map_of(of: Placed) -> Map:
    """Return a map of a kind in the form in which all maps can be written.

    >>> grid = Grid(2, (), (), UnitWindows(2, (0,), (0,)))
    >>> map_of((Kind(grid, ((32,),), True), 3, 5, -2, 2, 8)).paths
    (((3, 2, ()), (5, 2, ())),)
    """
    kind, low, high, first, last, channels = of
    if kind.grid is None:
        paths: Paths = (arithmetic.INFINITE_PATH,)
        windows = unit_windows.EVERYTHING
    else:
        jump, of_low, of_high, shape = kind.grid
        ends = dict.fromkeys([(low, jump, of_low), (high, jump, of_high)])
        paths, windows = tuple(sorted(ends)), _moved(shape, first, last)
    places = (windows,)
    return Map(
        (paths,),
        (_smallest(paths),),
        (_grids_of(paths),),
        places,
        places,
        kind.sizes,
        channels,
        kind.exact,
    )


# --- parts of following a map ----------------------------------------------------------------


def _pass_on(of: Map, tally: Tally) -> None:
    """Follow what works unit by unit and leaves a map as it is, such as a norm."""
    for low, grids in zip(of.low, of.grids, strict=True):
        if low != math.inf:
            tally.of_map = max(tally.of_map, _on_maps((grids,), 1)[0])


def _judge(
    tally: Tally, low: tuple[Size, ...], of_map: tuple[Size, ...], before: list[Map], works: Works
) -> None:
    """Judge the main layer of a block, and from which resolution on it can help."""
    limits = (tuple(map(min, [size - 1 for size in low], *(one.low for one in before))), of_map)
    tally.judge(low, limits, works)
    for nothing_new, too_small in zip(*limits, strict=True):
        if math.inf not in (nothing_new, too_small):
            tally.good = max(tally.good, nothing_new + 1)
            tally.good_map = max(tally.good_map, int(too_small) + 1)
    tally.good = max(tally.good, *(one for one in low if one != math.inf))


def _sizes(layer: LayerSpec, before: Sequence[Sizes], window: Window) -> Sizes:
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


def _bound(
    tally: Tally, window: Window, before: list[Map], low: tuple[Size, ...]
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


def _reach(tally: Tally, paths: tuple[Paths, ...], near: Places) -> None:
    """Let a layer raise the largest resolution: the extent of all its finite paths."""
    for axis, place in enumerate(near):
        if place is not None and place != unit_windows.EVERYTHING:
            tally.extent = max(tally.extent, place.size)
        finite = arithmetic.finite_paths(paths[axis])
        if finite:
            tally.top = max(tally.top, arithmetic.largest_field(finite))


def _merged(several: list[tuple[Paths, ...]]) -> tuple[Paths, ...]:
    return tuple(map(arithmetic.merge_paths, zip(*several, strict=True)))


def _grown(paths: tuple[Paths, ...], window: Window) -> tuple[tuple[Paths, ...], bool]:
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
