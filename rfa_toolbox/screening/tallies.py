"""What layers add up to: as numbers, or as a pattern that holds behind any field.

Behind one jump, all that a section does to receptive fields is to add to them: where the smallest
field in front is larger by a pixel, all the smallest fields inside are, and so are those that
limits are made of. The same holds for largest fields, and for the ends of what units see. A
section's *pattern* holds what it adds. It is found once per jump, size of the map and number of
channels, and says at once what the section does behind any field.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import Jump, LayerState, Paths, Size
from rfa_toolbox.graphs.places import Places
from rfa_toolbox.unit_windows import UnitWindows

__all__ = [
    "REFERENCE",
    "Block",
    "Counting",
    "Front",
    "Map",
    "Pattern",
    "Recording",
    "Tally",
    "front_of",
    "put_behind",
]

STATES: tuple[LayerState, ...] = ("unproductive", "critical", "partially critical", "productive")

FAR, FARTHER, FARTHEST = 1 << 40, 1 << 60, 1 << 80
"""Fields, and ends, in front of a section whose pattern is looked for: farther apart than what it
adds."""

Works: TypeAlias = "tuple[int, ...]"
"""Multiply-accumulates at every resolution."""


class Map(NamedTuple):
    """All that later layers can ask of a map, per axis (one axis stands for both if all is square).

    ``low`` and ``jump`` are the smallest field and the largest jump of ``paths``; ``seen`` and
    ``near`` are what units see and see near (``graphs.places``); ``sizes`` are the units at every
    resolution; ``exact`` is whether the fields are.
    """

    paths: tuple[Paths, ...]
    low: tuple[Size, ...]
    jump: tuple[Jump | None, ...]
    seen: Places
    near: Places
    sizes: tuple[tuple[int, ...], ...]
    channels: int
    exact: bool


class Front(NamedTuple):
    """A map of one jump, as far as a section adds to it.

    Its smallest and its largest field, and the first and the last pixel that unit 0 sees.
    """

    low: int
    high: int
    first: int
    last: int


def front_of(entering: Map) -> Front | None:
    """Return a map as far as sections add to it; None where there is more to say of it."""
    paths, place = entering.paths[0], entering.near[0]
    (low, jump, levels), (high, last_jump, others) = paths[0], paths[-1]
    if len(paths) > 2 or jump != last_jump or levels or others or math.inf in (low, high):
        return None
    if place is None or place is not entering.seen[0] or place[0] != jump or len(place[1]) > 1:
        return None
    return Front(int(low), int(high), int(place[1][0]), int(place[2][0]))


def put_behind(entering: Map, front: Front) -> Map:
    """Return a map of one jump with other fields.

    >>> from rfa_toolbox.screening.evaluation import image_map
    >>> put_behind(image_map(((32,),), 3), Front(3, 5, -2, 2)).low
    (3,)
    """
    _, _, jumps, _, _, sizes, channels, exact = entering
    jump = entering.paths[0][0][1]
    low, high, first, last = front
    paths: Paths = ((low, jump, ()),) if low == high else ((low, jump, ()), (high, jump, ()))
    places = (UnitWindows(jump, (first,), (last,)),)
    return Map((paths,), (low,), jumps, places, places, sizes, channels, exact)


REFERENCE = Front(FAR, FARTHER, -FARTHEST, FARTHEST)
"""The map behind which sections are followed to find their patterns."""


class Block(NamedTuple):
    """The main layer of a block: its smallest field, its two limits, and its work."""

    low: tuple[Size, ...]
    limits: tuple[tuple[Size, ...], tuple[Size, ...]]
    works: Works


@attrs.define(slots=True)
class Tally:
    """What the layers of a network, or of a section, add up to.

    Attributes:
        resolutions: in pixels, per axis.
        own: largest of the smallest fields; see ``analysis.ranges`` for this and the next three.
        in_front: largest of the smallest fields in front of layers that expand.
        of_map: largest ``kernel * jump``.
        high: largest field of a path.
        extent: most pixels that a unit sees near.
        inexact: whether a field is not exact.
        lost: whether it is not known of a layer where its units look.
        parameters: of all layers.
        works: multiply-accumulates of all layers.
    """

    resolutions: tuple[tuple[int, ...], ...]
    own: Size = 1
    in_front: Size = 1
    of_map: Size = 1
    high: Size = 1
    extent: Size = 1
    inexact: bool = False
    lost: bool = False
    parameters: int = 0
    works: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.works = [0] * len(self.resolutions)

    def pay(self, works: Works) -> None:
        """Add multiply-accumulates."""
        self.works = list(map(operator.add, self.works, works))

    def place(self, pattern: Pattern, front: Front) -> None:
        """Add what a section does behind a map."""
        low, high, first, last = front
        self.parameters += pattern.parameters
        self.of_map = max(self.of_map, pattern.of_map)
        self.own = max(self.own, low + pattern.own)
        self.in_front = max(self.in_front, low + pattern.in_front)
        self.high = max(self.high, high + pattern.high)
        self.extent = max(self.extent, last - first + 1 + pattern.extent)
        self.inexact = self.inexact or pattern.inexact
        self.pay(pattern.works)


@attrs.define(slots=True)
class Counting(Tally):
    """Counts blocks by state, and the work of unproductive ones, at every resolution."""

    counts: list[list[int]] = attrs.field(init=False)
    wasted: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        Tally.__attrs_post_init__(self)
        self.counts = [[0, 0, 0, 0] for _ in self.resolutions]
        self.wasted = [0] * len(self.resolutions)

    def block(self, block: Block) -> None:
        """Add the main layer of a block."""
        for place, resolution in enumerate(self.resolutions):
            state = STATES.index(arithmetic.state_within(resolution, block.low, block.limits))
            self.counts[place][state] += 1
            if state == 0:
                self.wasted[place] += block.works[place]

    def place(self, pattern: Pattern, front: Front) -> None:
        """Add what a section does behind a map."""
        Tally.place(self, pattern, front)
        low = front.low
        for place, steps in enumerate(pattern.steps):
            unproductive = bisect.bisect_right(steps.unproductive_from, low)
            critical = bisect.bisect_right(steps.critical_from, low) - unproductive
            counts = self.counts[place]
            counts[0] += unproductive
            counts[1] += critical
            counts[3] += len(pattern.blocks) - unproductive - critical
            self.wasted[place] += steps.wasted[unproductive]


@attrs.define(slots=True)
class Recording(Tally):
    """Keeps blocks as they are, to make a pattern of them."""

    own: Size = FAR
    in_front: Size = -math.inf
    high: Size = FARTHER
    extent: Size = 2 * FARTHEST + 1
    blocks: list[Block] = attrs.field(factory=list)

    def block(self, block: Block) -> None:
        """Add the main layer of a block."""
        self.blocks.append(block)

    def place(self, pattern: Pattern, front: Front) -> None:
        """Add what a section does behind a map."""
        Tally.place(self, pattern, front)
        low = front.low
        for (own,), ((beyond,), of_map), works in pattern.blocks:
            self.blocks.append(Block((own + low,), ((beyond + low,), of_map), works))

    def pattern(self, behind: Map) -> Pattern | None:
        """Return what was recorded behind a map with the ends ``REFERENCE``.

        None where more has to be said of the map behind the section than of one with one jump, or
        where it is not known inside where units look.
        """
        added: Front | None = None
        if behind.low[0] != math.inf:
            front = front_of(behind)
            if front is None:
                return None
            added = Front(*map(operator.sub, front, REFERENCE))
        elif behind.paths[0] != (arithmetic.INFINITE_PATH,):
            return None
        if self.lost:
            return None
        blocks = tuple(
            Block((own - FAR,), ((beyond - FAR,), of_map), works)
            for (own,), ((beyond,), of_map), works in self.blocks
        )
        return Pattern(
            self.resolutions,
            self.own - FAR,
            self.in_front - FAR,
            self.of_map,
            self.high - FARTHER,
            self.extent - (2 * FARTHEST + 1),
            self.inexact,
            self.parameters,
            tuple(self.works),
            blocks,
            behind,
            added,
        )


class _Steps(NamedTuple):
    """From which smallest field in front on blocks are unproductive, or at least critical.

    ``wasted[n]`` is the work of the n blocks that become unproductive first.
    """

    unproductive_from: Sequence[Size]
    critical_from: Sequence[Size]
    wasted: Sequence[int]


@attrs.frozen(eq=False)
class Pattern:
    """What a section does to any map of one jump: all fields are what is added to those in front.

    Attributes are those of ``Tally`` and ``Recording``; ``behind`` is the map behind the section
    for the ends ``REFERENCE``, and ``added`` what is added to each of them up to there, None if
    every unit sees everything.
    """

    resolutions: tuple[tuple[int, ...], ...]
    own: Size
    in_front: Size
    of_map: Size
    high: Size
    extent: Size
    inexact: bool
    parameters: int
    works: Works
    blocks: tuple[Block, ...]
    behind: Map
    added: Front | None

    def map_behind(self, front: Front) -> Map:
        """Return the map behind the section, for a map in front."""
        if self.added is None:
            return self.behind
        return put_behind(self.behind, Front(*map(operator.add, front, self.added)))

    @functools.cached_property
    def steps(self) -> tuple[_Steps, ...]:
        """The states of the blocks at every resolution, as steps of the smallest field in front."""
        return tuple(
            self._steps(place, resolution) for place, (resolution,) in enumerate(self.resolutions)
        )

    def _steps(self, place: int, resolution: int) -> _Steps:
        found = []
        for (own,), ((beyond,), (of_map,)), works in self.blocks:
            unproductive = -math.inf if of_map >= resolution else resolution - beyond
            found.append((unproductive, min(unproductive, resolution - own + 1), works[place]))
        found.sort()
        return _Steps(
            [one for one, _, _ in found],
            sorted(other for _, other, _ in found),
            [0, *itertools.accumulate(work for _, _, work in found)],
        )
