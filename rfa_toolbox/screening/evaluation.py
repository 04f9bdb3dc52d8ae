"""Fields, states, ranges and costs straight from a spec, without making nodes one by one.

What a section does depends on the map that enters it and on nothing else. Equal sections behind
equal maps are therefore worked out once, and a network of a search space is mostly looked up. All
formulas are those of ``rfa_toolbox.arithmetic``; ``GraphSpec.to_graph`` gives the same answers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import attrs

from rfa_toolbox import arithmetic, unit_windows
from rfa_toolbox.analysis.costs import MapStep, map_steps
from rfa_toolbox.arithmetic import Jump, Paths, Size
from rfa_toolbox.graphs.places import Places, extents_lost, places_behind, places_read
from rfa_toolbox.screening.rows import AtResolution, ScreeningRow
from rfa_toolbox.screening.specs import MERGES, GraphSpec, LayerSpec, Section, size_behind
from rfa_toolbox.screening.tallies import (
    REFERENCE,
    Block,
    Counting,
    Map,
    Pattern,
    Recording,
    Works,
    front_of,
    put_behind,
)

__all__ = ["SpecJudge"]

PATTERNS_KEPT = 200_000
"""So many sections behind different maps are remembered."""


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

    @classmethod
    def of(cls, layer: LayerSpec, entering: tuple[int, ...]) -> _Cost:
        channels = layer.channels_behind(entering)
        parameters = layer.parameters(entering[0], channels)
        return cls(channels, parameters, *layer.work(entering[0], channels))


class SpecJudge:
    """Judges specs at some resolutions; it remembers sections that it has seen.

    Args:
        resolutions: in pixels, (height, width) each.

    >>> from rfa_toolbox.screening.specs import chain, conv, dense, global_pool, norm
    >>> spec = GraphSpec(chain(conv(64, 7, 2), norm(), conv(64, 3), global_pool(), dense(10)))
    >>> row = SpecJudge([(32, 32)]).judge(spec)
    >>> row.r_min, row.parameters, row["productive"]
    (11, 47050, 2)
    """

    def __init__(self, resolutions: Sequence[tuple[int, ...]]) -> None:
        self.resolutions = tuple(resolutions)
        self._by_axes: dict[int, _Walk] = {}

    def judge(self, spec: GraphSpec) -> ScreeningRow:
        """Return the row of a spec, without a key.

        Raises:
            InvalidLayerError: a ValueError, where channels do not fit.
            InvalidGraphError: a ValueError, where maps of different sizes meet.
        """
        square = all(len(set(one)) == 1 for one in self.resolutions) and _is_square(spec.body)
        axes = 1 if square else 2
        walk = self._by_axes.get(axes)
        if walk is None:
            walk = self._by_axes[axes] = _Walk([one[:axes] for one in self.resolutions])
        return self._row(walk.asked(spec))

    def _row(self, found: Counting) -> ScreeningRow:
        at = []
        for place, resolution in enumerate(self.resolutions):
            whole, wasted = found.works[place], found.wasted[place]
            waste = round(wasted / whole, 6) if whole else 0.0
            at.append(AtResolution.of(resolution, found.counts[place], whole, waste))
        strict = max(found.own, found.of_map)
        return ScreeningRow(
            "",
            strict,
            max(found.in_front, found.of_map),
            max(strict, found.high, found.extent),
            tuple(at),
            found.parameters,
            "bound" if found.inexact else "exact",
        )


@functools.lru_cache(PATTERNS_KEPT)
def _has_patterns(part: Section) -> bool:
    """Return whether fields behind a section are what is in front and what it adds.

    On up-sampled maps units see windows of different size, and it is not as simple.
    """
    return all(
        _has_patterns(one) if isinstance(one, Section) else one.window.upsampling == (1, 1)
        for one, _ in part.steps
    )


@functools.lru_cache(PATTERNS_KEPT)
def _is_square(part: Section) -> bool:
    return all(
        _is_square(one)
        if isinstance(one, Section)
        else all(
            len(set(value)) == 1
            for value in attrs.astuple(one.window, recurse=False)
            if isinstance(value, tuple)
        )
        for one, _ in part.steps
    )


_Key: TypeAlias = "tuple[Section, Jump, tuple[tuple[int, ...], ...], int, bool]"


_ONCE = object()


class _Walk:
    """Follows maps through sections, on one axis (which stands for both) or on two."""

    def __init__(self, resolutions: Sequence[tuple[int, ...]]) -> None:
        self.resolutions = tuple(resolutions)
        self.axes = len(self.resolutions[0])
        self._patterns: dict[_Key, Pattern | object | None] = {}
        self._windows: dict[LayerSpec, _Window] = {}
        self._costs: dict[tuple[LayerSpec, tuple[int, ...]], _Cost] = {}

    def asked(self, spec: GraphSpec) -> Counting:
        found = Counting(self.resolutions)
        self._follow(spec.body, image_map(self.resolutions, spec.channels), found)
        return found

    def _follow(self, part: Section, entering: Map, tally: Counting | Recording) -> Map:
        """Go through a section step by step, and return the map behind it."""
        maps = [entering]
        for one, reads in part.steps:
            if isinstance(one, Section):
                maps.append(self._section(one, maps[reads[0]], tally))
            else:
                maps.append(self.layer(one, [maps[read] for read in reads], tally))
        return maps[-1]

    def _section(self, part: Section, entering: Map, tally: Counting | Recording) -> Map:
        """Go through a section at once where its pattern is known, or can be."""
        front = front_of(entering) if self.axes == 1 and _has_patterns(part) else None
        if front is None:
            return self._follow(part, entering, tally)
        jump = entering.paths[0][0][1]
        key = (part, jump, entering.sizes, entering.channels, entering.exact)
        pattern = self._pattern(key, part, entering)
        if pattern is None:
            return self._follow(part, entering, tally)
        tally.place(pattern, front)
        return pattern.map_behind(front)

    def _pattern(self, key: _Key, part: Section, entering: Map) -> Pattern | None:
        """Return the pattern of a section, if there is one.

        It is looked for when the section comes for the second time: most that come once never do.
        """
        if key not in self._patterns:
            if len(self._patterns) >= PATTERNS_KEPT:
                self._patterns.clear()
            self._patterns[key] = _ONCE
            return None
        known = self._patterns[key]
        if known is _ONCE:
            record = Recording(self.resolutions)
            behind = self._follow(part, put_behind(entering, REFERENCE), record)
            known = self._patterns[key] = record.pattern(behind)
        return known if isinstance(known, Pattern) else None

    def layer(self, layer: LayerSpec, before: list[Map], tally: Counting | Recording) -> Map:
        window = self._windows.get(layer)
        if window is None:
            window = self._windows[layer] = self._prepared(layer)
        first = before[0]
        if window.passes_on:
            self._pass_on(layer, first, tally)
            return first
        alone = len(before) == 1
        entering = (first.channels,) if alone else tuple(one.channels for one in before)
        cost = self._costs.get((layer, entering))
        if cost is None:
            cost = self._costs[layer, entering] = _Cost.of(layer, entering)
        seen, near = self._places(layer, before)
        several = [one.paths for one in before]
        if None in seen:
            several = extents_lost(several, [one.seen for one in before], seen)
        paths = several[0] if alone else _merged(several)
        exact = all(one.exact for one in before)
        if not window.plain:
            exact = exact and _grows_exactly(paths, window)
            paths = _grown(paths, window)
        if paths is first.paths:
            low, jump = first.low, first.jump
        else:
            low = tuple(map(arithmetic.smallest_field, paths))
            jump = tuple(map(arithmetic.largest_jump, paths))
        sizes = self._sizes(layer, before, window)
        tally.parameters += cost.parameters
        works: Works = ()
        if cost.each or cost.fixed:
            works = tuple(cost.each * size[0] * size[-1] + cost.fixed for size in sizes)
            tally.pay(works)
        if low[0] != math.inf or low[-1] != math.inf:
            self._bound(tally, window, before, low)
            _reach(tally, paths, near)
            if not exact:
                tally.inexact = True
            if window.is_main:
                limits = arithmetic.unproductive_limits(
                    low, [one.low for one in before], [one.jump for one in before], window.spans
                )
                tally.block(Block(low, limits, works or (0,) * len(sizes)))
        elif not window.plain and math.inf in window.kernels:
            exact = True  # it sees everything by itself, whatever came before
        return Map(paths, low, jump, seen, near, sizes, cost.channels, exact)

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

    def _pass_on(self, layer: LayerSpec, of: Map, tally: Counting | Recording) -> None:
        """Count what works unit by unit and leaves a map as it is, such as a norm."""
        tally.parameters += layer.parameters(of.channels, of.channels)
        for low, jump in zip(of.low, of.jump, strict=True):
            if low != math.inf and jump is not None and jump > tally.of_map:
                tally.of_map = math.ceil(jump)

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

    def _sizes(
        self, layer: LayerSpec, before: list[Map], window: _Window
    ) -> tuple[tuple[int, ...], ...]:
        sizes = before[0].sizes
        same = len(before) == 1 or all(one.sizes == sizes for one in before)
        if window.plain and same:
            return sizes
        if same and layer.kind != "dense" and window.kernels[0] != math.inf:
            found = tuple(
                tuple(
                    ((size - 1) * factor - reach) // stride + 1
                    for size, (_, stride, factor, reach) in zip(one, window.steps, strict=True)
                )
                for one in sizes
            )
            if min(map(min, found)) > 0:
                return found
        return tuple(  # also says what does not fit
            size_behind(layer, several)
            for several in zip(*(one.sizes for one in before), strict=True)
        )

    def _bound(
        self,
        tally: Counting | Recording,
        window: _Window,
        before: list[Map],
        low: tuple[Size, ...],
    ) -> None:
        """Let a layer raise the smallest resolutions; see ``analysis.ranges``."""
        for axis, own in enumerate(low):
            if own == math.inf:
                continue
            jumps = [jump for one in before if (jump := one.jump[axis]) is not None]
            of_map = math.ceil(window.spans[axis] * max(jumps, default=1))
            tally.of_map = max(tally.of_map, of_map)
            tally.own = max(tally.own, own)
            if window.expands[axis]:
                tally.in_front = max(tally.in_front, min([one.low[axis] for one in before]))


def image_map(resolutions: tuple[tuple[int, ...], ...], channels: int) -> Map:
    """Return the image itself."""
    ones = (1,) * len(resolutions[0])
    paths = (arithmetic.INPUT_PATHS,) * len(ones)
    places = (unit_windows.IMAGE,) * len(ones)
    return Map(paths, ones, ones, places, places, resolutions, channels, True)


def _reach(tally: Counting | Recording, paths: tuple[Paths, ...], near: Places) -> None:
    """Let a layer raise the largest resolution: the extent of all its finite paths."""
    for axis, place in enumerate(near):
        if place is None:
            tally.lost = True
        elif place != unit_windows.EVERYTHING:
            tally.extent = max(tally.extent, place.size)
        finite = arithmetic.finite_paths(paths[axis])
        if finite:
            tally.high = max(tally.high, arithmetic.largest_field(finite))


def _merged(several: list[tuple[Paths, ...]]) -> tuple[Paths, ...]:
    return tuple(map(arithmetic.merge_paths, zip(*several, strict=True)))


def _grown(paths: tuple[Paths, ...], window: _Window) -> tuple[Paths, ...]:
    return tuple(
        map(
            arithmetic.grow_paths,
            paths,
            window.kernels,
            window.strides,
            window.dilations,
            window.upsamplings,
        )
    )


def _grows_exactly(paths: tuple[Paths, ...], window: _Window) -> bool:
    """Return whether the fields behind a layer are the very largest, as a node finds out."""
    return all(
        arithmetic.is_exact(path, kernel, stride, dilation, upsampling)
        for several, kernel, stride, dilation, upsampling in zip(
            paths,
            window.kernels,
            window.strides,
            window.dilations,
            window.upsamplings,
            strict=True,
        )
        for path in several
        if path[2] or upsampling != 1
    )
