"""Fields, states, ranges and costs straight from a spec, without making nodes one by one.

What a layer adds to the fields in front depends on the kind of the map that enters it, and on
nothing else (``effects``). It is found once, by following a map of that kind past the layer
(``layers``), and looked up ever after; that of a section likewise, once the section comes again.
What has no effect is followed layer by layer. ``GraphSpec.to_graph`` gives the same answers.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from typing import Any

from rfa_toolbox.screening.effects import (
    CAME_ONCE,
    NEVER_CAME,
    Composition,
    Counting,
    Effect,
    Grid,
    Kind,
    Placed,
    Sizes,
    Tally,
)
from rfa_toolbox.screening.layers import Layer, Layers, Map, OblongLayerError, map_of, placed
from rfa_toolbox.screening.rows import AtResolution, ScreeningRow
from rfa_toolbox.screening.specs import GraphSpec, Section

__all__ = ["SpecJudge"]

EFFECTS_KEPT = 1 << 15
"""How many effects of layers on kinds of maps are remembered."""

SECTIONS_KNOWN = 1 << 16
"""Likewise of sections: all stages of a space such as that of Once-for-All, which has 36,855."""


class SpecJudge:
    """Judges specs at some resolutions; it remembers parts that it has seen.

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
        self._square = all(len(set(one)) == 1 for one in self.resolutions)
        self._by_axes: dict[int, _Walk] = {}

    def judge(self, spec: GraphSpec) -> ScreeningRow:
        """Return the row of a spec, without a key.

        Raises:
            InvalidLayerError: a ValueError, where channels do not fit.
            InvalidGraphError: a ValueError, where maps of different sizes meet.
        """
        if self._square:
            with contextlib.suppress(OblongLayerError):
                return self._row(self._walk(1).asked(spec))
        return self._row(self._walk(2).asked(spec))

    def _walk(self, axes: int) -> _Walk:
        walk = self._by_axes.get(axes)
        if walk is None:
            walk = self._by_axes[axes] = _Walk([one[:axes] for one in self.resolutions])
        return walk

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
            max(strict, found.top, found.extent),
            tuple(at),
            found.parameters,
            "bound" if found.inexact else "exact",
            max(found.good, found.good_map),
        )


class _Walk:
    """Follows maps through sections, on one axis (which stands for both) or on two."""

    def __init__(self, resolutions: Sequence[tuple[int, ...]]) -> None:
        self._resolutions = tuple(resolutions)
        self._forget()

    def _forget(self) -> None:
        self._layers = Layers(self._resolutions)
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._meetings: dict[tuple[Any, ...], Effect | None] = {}
        self._kept = self._sections = 0

    def asked(self, spec: GraphSpec) -> Counting:
        if self._kept + len(self._layers) > EFFECTS_KEPT:
            self._forget()
        if self._sections > SECTIONS_KNOWN:
            self._sections = 0
            for kind in self._kinds.values():
                kind.sections.clear()
        found = Counting(self._resolutions)
        image = self._layers.image(spec.channels)
        self._follow(spec.body, placed(image, self._kind) or image, found)
        return found

    # Maps behind which parts have effects are ``Placed``, all others are a ``Map``. Where the
    # effect of a section is to be made, and a part of it has none, what follows is None.

    def _follow(self, part: Section, entering: Placed | Map, tally: Tally) -> Placed | Map | None:
        """Go through a section step by step, and return the map behind it."""
        maps, layers = [entering], self._layers
        for one, reads in part.steps:
            if isinstance(one, Section):
                behind = self._through(one, maps[reads[0]], tally)
            else:
                layer = layers.known.get(one) or layers.prepared(one)
                if len(reads) == 1:
                    behind = self._past(layer, maps[reads[0]], tally)
                else:
                    behind = self._merged(layer, [maps[read] for read in reads], tally)
            if behind is None:
                return None
            maps.append(behind)
        return maps[-1]

    def _through(self, part: Section, before: Placed | Map, tally: Tally) -> Placed | Map | None:
        """Go through a section: step by step at first, and at once where it comes again."""
        if isinstance(before, Map):
            return self._follow(part, before, tally)
        kind, low, high, first, last, channels = before
        key = (part, channels)
        effect = kind.sections.get(key, NEVER_CAME)
        if effect is NEVER_CAME:
            self._sections += 1
            kind.sections[key] = CAME_ONCE
            return self._follow(part, before, tally)
        if effect is CAME_ONCE:
            effect = kind.sections[key] = self._composed(part, kind, channels)
        if effect is None:
            return None if isinstance(tally, Composition) else self._follow(part, before, tally)
        tally.add_section(effect, low, high, last - first + 1)
        return (
            effect.kind,
            low + effect.low,
            high + effect.high,
            first + effect.first,
            last + effect.last,
            effect.channels,
        )

    def _past(self, layer: Layer, before: Placed | Map, tally: Tally) -> Placed | Map | None:
        """Go past a layer that reads one map."""
        if isinstance(before, tuple):
            effect = before[0].effects.get(layer.window, NEVER_CAME)
            if effect is NEVER_CAME:
                effect = self._found(layer, before)
            if effect is not None:
                return _moved(effect, layer, before, before[5], tally)
        return self._slowly(layer, [before], tally)

    def _merged(
        self, layer: Layer, before: list[Placed | Map], tally: Tally
    ) -> Placed | Map | None:
        """Go past a layer that reads several maps."""
        several = [one for one in before if isinstance(one, tuple)]
        if len(several) < len(before):
            return self._slowly(layer, before, tally)
        kinds, lows, highs, firsts, lasts, channels = zip(*several, strict=True)
        at = several[0]
        if kinds.count(kinds[0]) == len(kinds):
            at = (kinds[0], min(lows), max(highs), min(firsts), max(lasts), at[5])
            effect = at[0].effects.get(layer.window, NEVER_CAME)
            if effect is NEVER_CAME:
                effect = self._found(layer, at)
        else:
            effect = self._meeting(layer, several)
        if effect is None:
            return self._slowly(layer, before, tally)
        return _moved(effect, layer, at, channels, tally)

    def _slowly(
        self, layer: Layer, before: Sequence[Placed | Map], tally: Tally
    ) -> Placed | Map | None:
        """Go past a layer that has no effect."""
        if isinstance(tally, Composition):
            return None
        several = [one if isinstance(one, Map) else map_of(one) for one in before]
        behind = self._layers.behind(layer, several, tally)
        return placed(behind, self._kind) or behind

    # --- effects ---

    def _composed(self, part: Section, kind: Kind, channels: int) -> Effect | None:
        """Return the effect of a section on maps of a kind; None if it has none."""
        composed = Composition(self._resolutions)
        behind = self._follow(part, composed.entering(kind, channels), composed)
        return composed.effect(behind) if isinstance(behind, tuple) else None

    def _found(self, layer: Layer, before: Placed) -> Effect | None:
        """Find the effect of a layer on maps of a kind."""
        found = before[0].effects[layer.window] = self._effect(layer, [before])
        return found

    def _meeting(self, layer: Layer, several: list[Placed]) -> Effect | None:
        """Return the effect of a layer on maps of several kinds, as it is added to the first.

        It depends on how far the fields of the maps are apart.
        """
        _, *start = several[0][:5]
        apart = [(one[0], *map(operator.sub, one[1:5], start)) for one in several]
        key = (layer.window, *apart)
        if key not in self._meetings:
            self._meetings[key] = self._effect(layer, several)
        return self._meetings[key]

    def _effect(self, layer: Layer, several: list[Placed]) -> Effect | None:
        """Return the effect of a layer: what it does to maps far away from all limits."""
        self._kept += 1
        composed = Composition(self._resolutions)
        _, low, high, first, last, _ = several[0]
        _, far, farther, start, end, _ = composed.entering(several[0][0], 0)
        maps = [
            map_of((
                kind,
                far + its_low - low,
                farther + its_high - high,
                start + its_first - first,
                end + its_last - last,
                channels,
            ))
            for kind, its_low, its_high, its_first, its_last, channels in several
        ]  # fmt: skip
        behind = placed(self._layers.behind(layer, maps, composed), self._kind)
        return None if behind is None else composed.effect(behind)

    def _kind(self, grid: Grid | None, sizes: Sizes, exact: bool) -> Kind:
        """Return the kind of a map, the same object for the same maps."""
        key = (grid, sizes, exact)
        known = self._kinds.get(key)
        if known is None:
            known = self._kinds[key] = Kind(*key)
        return known


def _moved(
    effect: Effect, layer: Layer, before: Placed, channels: int | tuple[int, ...], tally: Tally
) -> Placed:
    """Return the map behind a layer with an effect, and add what it does."""
    _, low, high, first, last, _ = before
    cost = layer.costs.get(channels) or layer.cost(channels)
    if layer.window.passes_on:
        tally.parameters += cost.parameters
        tally.of_map = max(tally.of_map, effect.of_map)
        return before
    tally.add_layer(effect, cost, low, high, last - first + 1)
    return (
        effect.kind,
        low + effect.low,
        high + effect.high,
        first + effect.first,
        last + effect.last,
        cost.channels,
    )
