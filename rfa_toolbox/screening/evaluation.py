"""Fields, states, ranges and costs straight from a spec, without making nodes one by one.

What a part does depends on the map that enters it and on nothing else. Parts with an effect
(``effects``) are looked up, and a network of a search space is mostly that; all others are followed
layer by layer (``layers``). ``GraphSpec.to_graph`` gives the same answers.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import attrs

from rfa_toolbox.screening.effects import Composition, Counting, Effect, Kind, Placed, Sizes
from rfa_toolbox.screening.layers import Layers, Map, map_of, placed
from rfa_toolbox.screening.rows import AtResolution, ScreeningRow
from rfa_toolbox.screening.specs import PARTS_KEPT, GraphSpec, LayerSpec, Section

__all__ = ["SpecJudge"]

EFFECTS_KEPT = 1 << 15
"""So many effects of parts on different kinds of maps are remembered."""


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
        axes = 1 if self._square and _is_square(spec.body) else 2
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
            max(strict, found.top, found.extent),
            tuple(at),
            found.parameters,
            "bound" if found.inexact else "exact",
            max(found.good, found.good_map),
        )


@functools.lru_cache(PARTS_KEPT)
def _is_square(part: Section | LayerSpec) -> bool:
    if isinstance(part, Section):
        return all(_is_square(one) for one, _ in part.steps)
    return all(
        len(set(value)) == 1
        for value in attrs.astuple(part.window, recurse=False)
        if isinstance(value, tuple)
    )


class _Walk:
    """Follows maps through sections, on one axis (which stands for both) or on two."""

    def __init__(self, resolutions: Sequence[tuple[int, ...]]) -> None:
        self._layers = Layers(resolutions)
        self._forget()

    def _forget(self) -> None:
        self._kinds: dict[tuple[Any, ...], Kind] = {}
        self._kept = 0

    def asked(self, spec: GraphSpec) -> Counting:
        if self._kept > EFFECTS_KEPT:
            self._forget()
        found = Counting((0,) * len(self._layers.resolutions))
        image = self._layers.image(spec.channels)
        self._follow(spec.body, placed(image, self._kind) or image, found)
        return found

    def _follow(
        self, part: Section, entering: Placed | Map, tally: Counting | Composition
    ) -> Placed | Map | None:
        """Go through a section step by step, and return the map behind it.

        None if a step has no effect, where one is to be made of all of them.
        """
        maps = [entering]
        for one, reads in part.steps:
            before = maps[reads[0]] if len(reads) == 1 else self._joined([maps[n] for n in reads])
            effect = None
            if isinstance(before, tuple):
                kind, low, high, first, last = before
                effect = self._effect(one, kind)
            if effect is not None:
                tally.add(effect, low, high, last - first + 1)
                maps.append(
                    (
                        effect.kind,
                        low + effect.low,
                        high + effect.high,
                        first + effect.first,
                        last + effect.last,
                    )
                )
            elif isinstance(tally, Composition):
                return None
            else:
                maps.append(self._step(one, [maps[read] for read in reads], tally))
        return maps[-1]

    def _step(
        self, part: Section | LayerSpec, before: list[Placed | Map], tally: Counting
    ) -> Placed | Map:
        """Go through a part that has no effect."""
        if isinstance(part, Section):
            behind = self._follow(part, before[0], tally)
            assert behind is not None  # noqa: S101 - only a Composition ends half-way
            return behind
        several = [one if isinstance(one, Map) else map_of(one) for one in before]
        of = self._layers.behind(part, several, tally)
        return placed(of, self._kind) or of

    def _effect(self, part: Section | LayerSpec, kind: Kind) -> Effect | None:
        """Return the effect of a part on maps of a kind; None if it has none."""
        try:
            return kind.effects[part]
        except KeyError:
            pass
        found = None
        if isinstance(part, LayerSpec):
            found = self._layers.effect(part, kind, self._kind)
        else:
            composed = Composition((0,) * len(self._layers.resolutions))
            behind = self._follow(part, composed.entering(kind), composed)
            if isinstance(behind, tuple):
                found = composed.effect(behind)
        self._kept += 1
        kind.effects[part] = found
        return found

    def _joined(self, several: Sequence[Placed | Map]) -> Placed | None:
        """Return maps that are read together as one of a kind, if they are of one jump."""
        of_kinds = [one for one in several if isinstance(one, tuple)]
        if len(of_kinds) < len(several):
            return None
        kinds, lows, highs, firsts, lasts = zip(*of_kinds, strict=True)
        jump, sizes = kinds[0].jump, kinds[0].sizes
        if any(one.jump != jump or one.sizes != sizes for one in kinds):
            return None
        channels = tuple(itertools.chain.from_iterable(one.channels for one in kinds))
        kind = self._kind(jump, sizes, channels, all(one.exact for one in kinds))
        return kind, min(lows), max(highs), min(firsts), max(lasts)

    def _kind(self, jump: int | None, sizes: Sizes, channels: tuple[int, ...], exact: bool) -> Kind:
        """Return the kind of a map, the same object for the same maps."""
        key = (jump, sizes, channels, exact)
        known = self._kinds.get(key)
        if known is None:
            known = self._kinds[key] = Kind(*key)
        return known
