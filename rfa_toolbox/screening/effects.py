"""What a part of a network does to any map of its kind, as numbers to add.

Where all paths to a map have one jump, a layer does nothing to fields but add to them: where the
smallest field in front is larger by a pixel, so is the smallest behind. The same holds for the
largest field, and for the ends of what units see. What is added depends on the *kind* of the map:
its jump, its size and its channels. A part's *effect* on a kind of map is found once, and says at
once what the part does behind any fields.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import attrs

from rfa_toolbox.arithmetic import LayerState, Size

__all__ = [
    "STATES",
    "Block",
    "Composition",
    "Counting",
    "Effect",
    "Kind",
    "Placed",
    "Sizes",
    "Tally",
    "Works",
]

STATES: tuple[LayerState, ...] = ("unproductive", "critical", "partially critical", "productive")

FAR, FARTHER, FARTHEST = 1 << 40, 1 << 60, 1 << 80
"""Fields, and ends, in front of parts whose effect is looked for: farther apart than what is
added to them."""

NEVER = -math.inf
"""What is added to a field that does not count."""

Sizes: TypeAlias = "tuple[tuple[int, ...], ...]"
"""Units of a map per axis, at every resolution."""

Works: TypeAlias = "tuple[int, ...]"
"""Multiply-accumulates at every resolution."""


@attrs.define(slots=True, eq=False)
class Kind:
    """What maps have in common that differ in their fields only.

    Attributes:
        jump: in pixels; None where every unit sees everything.
        sizes: units of the map.
        channels: of the map, or of each of several that are read together.
        exact: whether the fields are.
        effects: of parts on such maps, as far as they were asked for; None where a part does more
            than an effect can say.
    """

    jump: int | None
    sizes: Sizes
    channels: tuple[int, ...]
    exact: bool
    effects: dict[object, Effect | None] = attrs.field(init=False, factory=dict, repr=False)


Placed: TypeAlias = "tuple[Kind, int, int, int, int]"
"""A map of a kind, its smallest and largest field, the first and the last pixel under unit 0."""


class Block(NamedTuple):
    """The main layer of a block, by what it adds to the smallest field in front, per resolution.

    From the smallest field ``unproductive_from`` on the block is unproductive, from
    ``critical_from`` on it is at least critical.
    """

    unproductive_from: tuple[Size, ...]
    critical_from: tuple[Size, ...]
    works: Works


class _Steps(NamedTuple):
    """The blocks of a part at one resolution, by what is in front: a ``Block``'s limits, sorted.

    ``works`` are in the order of ``unproductive_from``; ``wasted[n]`` is the sum of the n first.
    """

    unproductive_from: Sequence[Size]
    works: Sequence[int]
    critical_from: Sequence[Size]
    wasted: Sequence[int]

    @classmethod
    def of(cls, unproductive: list[tuple[Size, int]], critical: list[Size]) -> _Steps:
        unproductive.sort()
        critical.sort()
        works = [work for _, work in unproductive]
        limits = [limit for limit, _ in unproductive]
        return cls(limits, works, critical, [0, *itertools.accumulate(works)])


@attrs.define(slots=True, eq=False)
class Effect:
    """What a part adds to the fields in front of it, and what it costs.

    Attributes:
        kind: of the map behind.
        low: added to the smallest field.
        high: added to the largest field.
        first: added to the first pixel that unit 0 sees.
        last: added to the last pixel that unit 0 sees.
        own: the most that is added to a smallest field inside (``analysis.ranges``).
        in_front: likewise, in front of layers that expand the field.
        top: the most that is added to a largest field inside.
        extent: the most that is added to the pixels that a unit sees.
        of_map: largest ``kernel * jump``.
        good: the most that is added to a smallest field of a main layer.
        good_map: smallest resolution at which maps are larger than the windows of main layers.
        inexact: whether a field inside is not exact.
        parameters: of all layers.
        works: multiply-accumulates of all layers.
        blocks: main layers of the part itself.
        parts: effects of its parts, with what comes to their smallest field from those before.
    """

    kind: Kind
    low: int
    high: int
    first: int
    last: int
    own: Size
    in_front: Size
    top: Size
    extent: Size
    of_map: int
    good: Size
    good_map: int
    inexact: bool
    parameters: int
    works: Works
    blocks: tuple[Block, ...] = ()
    parts: tuple[tuple[Effect, int], ...] = ()
    _steps: tuple[_Steps, ...] | None = attrs.field(init=False, default=None)

    @property
    def steps(self) -> tuple[_Steps, ...]:
        """The states of the blocks at every resolution; nothing where there is no block."""
        if self._steps is None:
            places = range(len(self.works) if self.blocks or self.parts else 0)
            self._steps = tuple(map(self._steps_at, places))
        return self._steps

    def _steps_at(self, place: int) -> _Steps:
        unproductive = [(one.unproductive_from[place], one.works[place]) for one in self.blocks]
        critical = [one.critical_from[place] for one in self.blocks]
        for part, added in self.parts:
            inside = part.steps[place]
            limits = [limit - added for limit in inside.unproductive_from]
            unproductive += zip(limits, inside.works, strict=True)
            critical += [limit - added for limit in inside.critical_from]
        return _Steps.of(unproductive, critical)


@attrs.define(slots=True, eq=False)
class Tally:
    """What the layers of a network, or of a part of one, add up to.

    Attributes:
        works: multiply-accumulates of all layers, at every resolution.
        own: largest of the smallest fields; see ``analysis.ranges`` for this and the next three.
        in_front: largest of the smallest fields in front of layers that expand.
        top: largest field of a path.
        extent: most pixels that a unit sees near.
        of_map: largest ``kernel * jump``.
        good: smallest resolution at which every block can help and sees no more than the image.
        good_map: what of ``good`` does not depend on the field in front.
        inexact: whether a field is not exact.
        parameters: of all layers.
    """

    works: Works
    own: Size = 1
    in_front: Size = 1
    top: Size = 1
    extent: Size = 1
    of_map: int = 1
    good: Size = 1
    good_map: int = 1
    inexact: bool = False
    parameters: int = 0

    def add(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Add what a part does behind a map whose units see ``span`` pixels."""
        # Comparisons, as this runs for every part of every network: max() takes twice as long.
        if (own := low + effect.own) > self.own:
            self.own = own
        if (in_front := low + effect.in_front) > self.in_front:
            self.in_front = in_front
        if (top := high + effect.top) > self.top:
            self.top = top
        if (extent := span + effect.extent) > self.extent:
            self.extent = extent
        if (of_map := effect.of_map) > self.of_map:
            self.of_map = of_map
        if (good := low + effect.good) > self.good:
            self.good = good
        if (good_map := effect.good_map) > self.good_map:
            self.good_map = good_map
        self.inexact = self.inexact or effect.inexact
        self.pay(effect.parameters, effect.works)

    def pay(self, parameters: int, works: Works) -> None:
        """Add what a layer costs."""
        self.parameters += parameters
        self.works = tuple(map(operator.add, self.works, works))


@attrs.define(slots=True, eq=False)
class Counting(Tally):
    """Counts blocks by state, and the work of unproductive ones, at every resolution."""

    counts: list[list[int]] = attrs.field(init=False)
    wasted: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.counts = [[0, 0, 0, 0] for _ in self.works]
        self.wasted = [0 for _ in self.works]

    def add(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Add what a part does behind a map whose units see ``span`` pixels."""
        Tally.add(self, effect, low, high, span)
        for place, steps in enumerate(effect.steps):
            unproductive = bisect.bisect_right(steps.unproductive_from, low)
            critical = bisect.bisect_right(steps.critical_from, low)
            counts = self.counts[place]
            counts[0] += unproductive
            counts[1] += critical - unproductive
            counts[3] += len(steps.critical_from) - critical
            self.wasted[place] += steps.wasted[unproductive]


@attrs.define(slots=True, eq=False)
class Composition(Tally):
    """Effects one behind the other, and beside each other, of which one is to be made."""

    own: Size = NEVER
    in_front: Size = NEVER
    top: Size = NEVER
    extent: Size = NEVER
    good: Size = NEVER
    parts: list[tuple[Effect, int]] = attrs.field(factory=list)

    @staticmethod
    def entering(kind: Kind) -> Placed:
        """Return the map of a kind behind which parts are to be followed."""
        return kind, FAR, FARTHER, -FARTHEST, FARTHEST

    def add(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Add what a part does behind a map whose units see ``span`` pixels."""
        Tally.add(self, effect, low, high, span)
        if effect.blocks or effect.parts:
            self.parts.append((effect, low - FAR))

    def effect(self, behind: Placed) -> Effect:
        """Return what all of them do together, given the map behind the last one."""
        kind, low, high, first, last = behind
        return Effect(
            kind,
            low - FAR,
            high - FARTHER,
            first + FARTHEST,
            last - FARTHEST,
            self.own - FAR,
            self.in_front - FAR,
            self.top - FARTHER,
            self.extent - (2 * FARTHEST + 1),
            self.of_map,
            self.good - FAR,
            self.good_map,
            self.inexact,
            self.parameters,
            self.works,
            parts=tuple(self.parts),
        )
