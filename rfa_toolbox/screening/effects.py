"""What a part of a network does to any map of its kind, as numbers to add.

Where one path to a map is the smallest whatever follows, and one the largest, a layer does nothing
to their fields but add to them: where the smallest field in front is larger by a pixel, so is the
smallest behind. The same holds for the ends of what units see. What is added depends on the *kind*
of the map: its grid and its size. A part's *effect* on a kind of map is found once, and says at
once what the part does behind any fields.

The effect of a layer knows nothing of channels, so that layers of any width share it. That of a
section does, and has the costs of its layers.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import LayerState, Level, Size
from rfa_toolbox.unit_windows import UnitWindows

__all__ = [
    "CAME_ONCE",
    "NEVER_CAME",
    "STATES",
    "Block",
    "Composition",
    "Cost",
    "Counting",
    "Effect",
    "Grid",
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

Works: TypeAlias = "Sequence[int]"
"""Multiply-accumulates at every resolution."""

Limits: TypeAlias = "tuple[tuple[Size, ...], tuple[Size, ...]]"
"""What ``arithmetic.unproductive_limits`` returns."""


class Grid(NamedTuple):
    """Where the units of a map stand: what maps have in common that differ in their fields only.

    ``jump`` is that of the coarsest grid, in pixels; ``low`` and ``high`` are the up-sampled grids
    of the smallest and the largest path, and ``windows`` what units see, from unit 0 on.
    """

    jump: int
    low: tuple[Level, ...]
    high: tuple[Level, ...]
    windows: UnitWindows


@attrs.define(slots=True, eq=False)
class Kind:
    """What maps have in common that differ in their fields and channels only.

    Attributes:
        grid: of the map; None where every unit sees everything.
        sizes: units of the map.
        exact: whether the fields are.
        units: of the map on all axes together, at every resolution.
        effects: of layers, by their windows, as far as they were asked for; None where a layer does
            more than an effect can say.
        sections: likewise of sections, with the channels that enter them.
    """

    grid: Grid | None
    sizes: Sizes
    exact: bool
    units: tuple[int, ...] = attrs.field(init=False)
    effects: dict[object, Effect | None] = attrs.field(init=False, factory=dict, repr=False)
    sections: dict[object, Effect | None] = attrs.field(init=False, factory=dict, repr=False)

    def __attrs_post_init__(self) -> None:
        self.units = tuple(size[0] * size[-1] for size in self.sizes)


Placed: TypeAlias = "tuple[Kind, int, int, int, int, int]"
"""A map of a kind: bases of its smallest and its largest path (``arithmetic.Paths``; without
up-sampling these are the fields), the first and the last pixel under unit 0, and channels."""


class Cost(NamedTuple):
    """What a layer costs that reads so many channels, and how many it makes."""

    channels: int
    parameters: int
    each: int
    fixed: int


class Block(NamedTuple):
    """The main layer of a block, by the base of the smallest path in front, per resolution.

    From ``unproductive_from`` on the block is unproductive, from ``critical_from`` on it is at
    least critical.
    """

    unproductive_from: tuple[Size, ...]
    critical_from: tuple[Size, ...]


class _Steps(NamedTuple):
    """The blocks of a section at one resolution, by what is in front: sorted limits of ``Block``.

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
    """What a part adds to the bases in front of it, and what it costs.

    Attributes:
        kind: of the map behind.
        low: added to the base of the smallest path.
        high: added to that of the largest path.
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
        block: what a layer is the main layer of, if it is. All that follows is of sections only.
        channels: behind the section.
        parameters: of all its layers.
        works: multiply-accumulates of all its layers.
        blocks: those of its layers, with what comes to the smallest path from the layers before,
            and their works.
        parts: effects of its sections, with what comes to the smallest path likewise.
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
    block: Block | None = None
    channels: int = 0
    parameters: int = 0
    works: Works = ()
    blocks: tuple[tuple[Block, int, Works], ...] = ()
    parts: tuple[tuple[Effect, int], ...] = ()
    _steps: tuple[_Steps, ...] | None = attrs.field(init=False, default=None)

    @property
    def steps(self) -> tuple[_Steps, ...]:
        """The states of a section's blocks at every resolution; nothing where there is no block."""
        if self._steps is None:
            places = range(len(self.works) if self.blocks or self.parts else 0)
            self._steps = tuple(map(self._steps_at, places))
        return self._steps

    def _steps_at(self, place: int) -> _Steps:
        unproductive = [
            (block.unproductive_from[place] - added, works[place])
            for block, added, works in self.blocks
        ]
        critical = [block.critical_from[place] - added for block, added, _ in self.blocks]
        for part, added in self.parts:
            inside = part.steps[place]
            limits = [limit - added for limit in inside.unproductive_from]
            unproductive += zip(limits, inside.works, strict=True)
            critical += [limit - added for limit in inside.critical_from]
        return _Steps.of(unproductive, critical)


def _stands_for() -> Effect:
    return Effect(Kind(None, (), True), 0, 0, 0, 0, NEVER, NEVER, NEVER, NEVER, 0, NEVER, 0, False)


NEVER_CAME, CAME_ONCE = _stands_for(), _stands_for()
"""Stand for the effect of a part that did not come yet, and of a section that came once: most
sections of random networks never come again."""


@attrs.define(slots=True, eq=False)
class Tally:
    """What the layers of a network, or of a part of one, add up to.

    Attributes:
        resolutions: in pixels, per axis.
        own: largest of the smallest fields; see ``analysis.ranges`` for this and the next three.
        in_front: largest of the smallest fields in front of layers that expand.
        top: largest field of a path.
        extent: most pixels that a unit sees near.
        of_map: largest ``kernel * jump``.
        good: smallest resolution at which every block can help and sees no more than the image.
        good_map: what of ``good`` does not depend on the field in front.
        inexact: whether a field is not exact.
        parameters: of all layers.
        works: multiply-accumulates of all layers, at every resolution.
    """

    resolutions: Sizes
    own: Size = 1
    in_front: Size = 1
    top: Size = 1
    extent: Size = 1
    of_map: int = 1
    good: Size = 1
    good_map: int = 1
    inexact: bool = False
    parameters: int = 0
    works: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.works = [0] * len(self.resolutions)

    def reach(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Let a part behind a map whose unit 0 sees ``span`` pixels raise the resolutions."""
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
        if effect.inexact:
            self.inexact = True

    def add_layer(self, effect: Effect, cost: Cost, low: int, high: int, span: int) -> None:
        """Add what a layer does behind a map with such bases whose unit 0 sees ``span`` pixels."""
        self.reach(effect, low, high, span)
        _, parameters, each, fixed = cost
        self.parameters += parameters
        block = effect.block
        if each or block is not None:
            works = [each * units + fixed for units in effect.kind.units]
            for place, work in enumerate(works):
                self.works[place] += work
            if block is not None:
                self.add_block(block, low, works)
        elif fixed:
            self.pay([fixed] * len(self.works))

    def pay(self, works: Works) -> None:
        """Add multiply-accumulates."""
        for place, work in enumerate(works):
            self.works[place] += work

    def add_section(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Add what a section does behind such a map."""
        self.reach(effect, low, high, span)
        self.parameters += effect.parameters
        self.pay(effect.works)

    def add_block(self, block: Block, low: int, works: Works) -> None:
        """Add the main layer of a block, behind a smallest path with the base ``low``."""
        raise NotImplementedError

    def judge(
        self, low: Sequence[Size], limits: tuple[tuple[Size, ...], ...], works: Works
    ) -> None:
        """Add the main layer of a block by its fields and limits."""
        raise NotImplementedError


@attrs.define(slots=True, eq=False)
class Counting(Tally):
    """Counts blocks by state, and the work of unproductive ones, at every resolution."""

    counts: list[list[int]] = attrs.field(init=False)
    wasted: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        Tally.__attrs_post_init__(self)
        self.counts = [[0, 0, 0, 0] for _ in self.resolutions]
        self.wasted = [0 for _ in self.resolutions]

    def add_section(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Add what a section does behind such a map."""
        Tally.add_section(self, effect, low, high, span)
        for place, steps in enumerate(effect.steps):
            unproductive = bisect.bisect_right(steps.unproductive_from, low)
            critical = bisect.bisect_right(steps.critical_from, low)
            counts = self.counts[place]
            counts[0] += unproductive
            counts[1] += critical - unproductive
            counts[3] += len(steps.critical_from) - critical
            self.wasted[place] += steps.wasted[unproductive]

    def add_block(self, block: Block, low: int, works: Works) -> None:
        """Add the main layer of a block, behind a smallest path with the base ``low``."""
        for place, counts in enumerate(self.counts):
            if low >= block.unproductive_from[place]:
                counts[0] += 1
                self.wasted[place] += works[place]
            else:
                counts[1 if low >= block.critical_from[place] else 3] += 1

    def judge(
        self, low: Sequence[Size], limits: tuple[tuple[Size, ...], ...], works: Works
    ) -> None:
        """Add the main layer of a block by its fields and limits."""
        for place, resolution in enumerate(self.resolutions):
            state = STATES.index(arithmetic.state_within(resolution, low, limits))
            self.counts[place][state] += 1
            if state == 0:
                self.wasted[place] += works[place]


@attrs.define(slots=True, eq=False)
class Composition(Tally):
    """What is one behind the other, or beside each other, of which one effect is to be made."""

    own: Size = NEVER
    in_front: Size = NEVER
    top: Size = NEVER
    extent: Size = NEVER
    good: Size = NEVER
    block: Block | None = None
    blocks: list[tuple[Block, int, Works]] = attrs.field(factory=list)
    parts: list[tuple[Effect, int]] = attrs.field(factory=list)

    @staticmethod
    def entering(kind: Kind, channels: int) -> Placed:
        """Return the map of a kind behind which parts are to be followed."""
        return kind, FAR, FARTHER, -FARTHEST, FARTHEST, channels

    def add_section(self, effect: Effect, low: int, high: int, span: int) -> None:
        """Add what a section does behind such a map."""
        Tally.add_section(self, effect, low, high, span)
        if effect.blocks or effect.parts:
            self.parts.append((effect, low - FAR))

    def add_block(self, block: Block, low: int, works: Works) -> None:
        """Add the main layer of a block, behind a smallest path with the base ``low``."""
        self.blocks.append((block, low - FAR, works))

    def judge(
        self, low: Sequence[Size], limits: tuple[tuple[Size, ...], ...], works: Works
    ) -> None:
        """Keep from which bases on a layer cannot help, or only a little."""
        (nothing_new,), (of_map,) = limits
        unproductive = tuple(
            NEVER if size <= of_map else size - (nothing_new - FAR) for (size,) in self.resolutions
        )
        critical = tuple(
            min(limit, size + 1 - (low[0] - FAR))
            for (size,), limit in zip(self.resolutions, unproductive, strict=True)
        )
        self.block = Block(unproductive, critical)

    def effect(self, behind: Placed) -> Effect:
        """Return what all of them do together, given the map behind the last one."""
        kind, low, high, first, last, channels = behind
        if kind.grid is None:  # bases say nothing any more
            low, high, first, last = FAR, FARTHER, -FARTHEST, FARTHEST
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
            self.block,
            channels,
            self.parameters,
            tuple(self.works),
            tuple(self.blocks),
            tuple(self.parts),
        )
