"""The structural experiment: poison rows of the input with NaN and see which units notice.

No weight, activation or pooling has to be changed for it: whatever a unit computes from a
poisoned row is NaN. What a framework has to provide is a *bench*; everything else is here and
needs no framework.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Protocol, TypeAlias

import attrs
import numpy as np

from rfa_toolbox.arithmetic import largest_jump
from rfa_toolbox.empirical.readings import (
    AxisField,
    Mask,
    Pattern,
    common_period,
    field_between,
    field_on_one_side,
    find_pattern,
    known_rows,
    predicted_rows,
)
from rfa_toolbox.errors import CaptureError
from rfa_toolbox.graphs import EnrichedNetworkNode

__all__ = [
    "FIXED_SIZE",
    "PAIRS",
    "WEIGHTLESS_PAIRS",
    "AxisMeasurement",
    "Bench",
    "Deadline",
    "Interval",
    "Setting",
    "field_along",
    "may_fill",
    "measure_axis",
    "room_for_holes",
    "what_is_neutral",
]

_FIXED = (
    "its map has as many units on a longer image, so its windows depend on the size of the image"
)
FIXED_SIZE = f"{_FIXED}, and may have been read at the border of the map"
"""A note of maps behind a crop or an interpolation to a size."""

PAIRS = "it has every position twice, as the scores of an attention do"
WEIGHTLESS_PAIRS = "it has every position twice, and some of them have no weight"
"""Why units that stand for two positions are not measured; the second is behind a mask."""
_IN_GATE = "sees everything, and counts as neutral as a part of a gate"
_LEFT_OUT = "statistics or a gate in it depend on the whole map, and count as neutral"

_TOLD = 4
"""Lengths, each at least twice the one before, after which a field that reaches from one half of
the image to the other in all of them is taken to grow with the image."""

_COARSE = 256
"""Pixels between the units of a map of a size of its own, from which on it is not waited for."""

_FINEST = 16
"""Units per pixel up to which the distance between units is told."""

_AT_ONCE = 16
"""Thresholds between two looks at the clock."""

Interval: TypeAlias = "tuple[int, int]"
"""Rows from the first number up to, and without, the second one."""


class Setting(Protocol):
    """A model on an image of one size, ready for poison along one axis."""

    @property
    def length(self) -> int:
        """Pixels of the image along the axis."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input."""
        ...

    @property
    def units(self) -> Mapping[str, int]:
        """Per layer the number of its units along the axis; 1 where it has no positions there."""
        ...

    @property
    def nodes(self) -> Mapping[str, EnrichedNetworkNode]:
        """The nodes of the graph of the model on this image, by name, in order of execution."""
        ...

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Per layer the shape of its output."""
        ...

    @property
    def twice(self) -> Collection[str]:
        """Layers whose output has every position twice, as the scores of an attention have."""
        ...

    @property
    def unplaced(self) -> Collection[str]:
        """Layers of which the graph does not say where positions along the axis are.

        So it is where they see everything, rightly or not.
        """
        ...

    @property
    def blind(self) -> Mapping[str, str]:
        """Layers that cannot be measured, with the reason."""
        ...

    @property
    def doubtful(self) -> Mapping[str, str]:
        """Layers whose fields may be larger than measured, with the reason."""
        ...

    @property
    def gated(self) -> Collection[str]:
        """Layers that see everything and count as neutral, if they have one unit: in gates."""
        ...

    def masks(self, intervals: Sequence[Interval], numbers: bool = False) -> list[dict[str, Mask]]:
        """Poison each of the intervals of rows in turn; return which units are NaN, per layer.

        With ``numbers``, unplaced layers have an entry for each of their numbers.
        """
        ...


class Bench(Protocol):
    """A model that can be put into settings."""

    @property
    def model_name(self) -> str:
        """What the model is called."""
        ...

    @property
    def axes(self) -> int:
        """Number of spatial axes of the input."""
        ...

    @property
    def failure(self) -> Exception | None:
        """What was raised by the last setting that could not be made."""
        ...

    def lengths(self, axis: int) -> Iterable[int]:
        """Lengths of the image to try along an axis, in ascending order."""
        ...

    def setting(self, axis: int, length: int) -> Setting | None:
        """Return the model on an image of that length; None if it does not run there."""
        ...


@attrs.frozen
class AxisMeasurement:
    """What was measured along one axis.

    Attributes:
        fields: per layer.
        setting: on which image.
        passes: forward passes of one image each: to find the size of the image, with poison from
            the start, with poison from the end.
        missing: why nothing is known of layers without a field.
    """

    fields: Mapping[str, AxisField]
    setting: Setting
    passes: tuple[int, int, int]
    missing: str = "it does not run on the image for this axis"

    def field_of(self, name: str) -> AxisField:
        """Return the field of a layer, or why there is none."""
        return self.fields.get(name) or AxisField(problem=self.missing)


class Deadline:
    """When to stop: that many seconds after it was made; None is never.

    >>> Deadline(None).over, Deadline(1e-9).over
    (False, True)
    """

    def __init__(self, seconds: float | None, whole: Deadline | None = None) -> None:
        self.seconds = seconds
        self._end = math.inf if seconds is None else time.monotonic() + seconds
        self._late = False
        self._whole = whole
        self.noticed = False
        """Whether anything was told that the time is over, or that its share is."""

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        self._late = self._late or time.monotonic() >= self._end
        if self._late:
            for one in (self, self._whole):
                if one is not None:
                    one.noticed = True
        return self._late

    def share(self, count: int) -> Deadline:
        """Return when to stop with the first of some tasks, so that every one has its time."""
        if self.seconds is None or count < 2:
            return self
        first, now = Deadline(self.seconds, self), time.monotonic()
        first._end = now + (self._end - now) / count
        return first

    @property
    def reason(self) -> str:
        """What to say of what was not measured any more."""
        return f"the time limit of {self.seconds:g} seconds was over before it was measured"


def what_is_neutral(setting: Setting, name: str) -> str:
    """Say what a layer sees beyond its field because it counts as neutral; "" if nothing."""
    if name in setting.gated and setting.units[name] == 1:
        return _IN_GATE
    return _LEFT_OUT if setting.nodes[name].layer_info.ignored_global else ""


def measure_axis(
    bench: Bench, axis: int, max_passes: int, deadline: Deadline, share: Deadline
) -> AxisMeasurement:
    """Measure all layers of a model along one axis.

    The image is made longer until every field fits in between its ends, and until the windows of
    every layer are seen to repeat, or until that does not help or the bench has no longer one.

    Args:
        bench: the model.
        axis: which spatial axis.
        max_passes: after how many forward passes from one side to give a layer up.
        deadline: when to stop, with what is known by then.
        share: when to stop waiting for layers that do not soon repeat, as other axes wait.

    Raises:
        CaptureError: if the model runs at no length at all.
    """
    surveys: list[_Survey] = []
    reading, wasted = _settled(
        _fitting(bench, axis, surveys, deadline), max_passes, deadline, share
    )
    if not surveys:
        raise CaptureError(
            f"the model runs at none of the lengths {list(bench.lengths(axis))} along axis {axis}; "
            f"pass an input_shape that it runs with. Its own error: {bench.failure!r}"
        ) from bench.failure
    if reading is None:
        last = surveys[-1]
        alike = [one for one in surveys if one.says_the_same(last)]
        reading, wasted = _settled(alike or [last], max_passes, deadline, share)
        assert reading is not None  # noqa: S101 - of at least one
        reading.beyond = f"its field does not fit into {last.setting.length} pixels, " + (
            "nor into far fewer: its windows depend on the size of the image"
            if last.grow(surveys[-_TOLD:], axis)
            else "the longest image that was tried"
        )
    looked = wasted + sum(one.passes for one in surveys)
    start, end = reading.sides
    return AxisMeasurement(reading.fields(), reading.setting, (looked, start.passes, end.passes))


def _fitting(
    bench: Bench, axis: int, surveys: list[_Survey], deadline: Deadline
) -> Iterator[_Survey]:
    """Survey ever longer images, and yield those into which every field fits."""
    lengths = list(bench.lengths(axis))
    for place, length in enumerate(lengths):
        if surveys and deadline.over:
            return
        setting = bench.setting(axis, length)
        if setting is None:
            continue
        longer = bench.setting(axis, 2 * length) if len(lengths) > 1 else None
        survey = _Survey(setting, longer, axis, lengths[-1])
        surveys.append(survey)
        grow = survey.too_large and survey.grow(surveys[-_TOLD:], axis)
        if (survey.too_large and not grow) or not survey.roomy:
            continue
        if place == len(lengths) - 1 or survey.confirmed(longer):
            if grow:
                return
            yield survey


def _settled(
    surveys: Iterable[_Survey], max_passes: int, deadline: Deadline, share: Deadline
) -> tuple[_Reading | None, int]:
    """Return the reading of the first image in which all windows are seen to repeat.

    None if there is no image; the best one if there is none in which they do. The number is that of
    the forward passes for readings that a better one took the place of.
    """
    best: _Reading | None = None
    wasted = 0
    for survey in surveys:
        reading = _Reading(survey, max_passes, deadline, share)
        if best is not None:
            if len(reading.cut_short) >= len(best.cut_short):
                break
            wasted += sum(side.passes for side in best.sides)
        best = reading
        if not best.cut_short or share.over:
            break
    return best, wasted


class _Survey:
    """A first look at a setting: what sees everything, how large the fields are, what repeats."""

    def __init__(self, setting: Setting, longer: Setting | None, axis: int, longest: int) -> None:
        self.setting = setting
        length, middle = setting.length, setting.length // 2
        halves = [(0, middle), (middle, length)]
        apart = _apart(length) if setting.unplaced else []
        looks = [*halves, *_ends(length), *apart]
        self.passes = len(looks)
        below, above, first, last, *sides = setting.masks(looks, numbers=True)
        self.everything: set[str] = set()
        self.nothing: set[str] = set()
        self.too_large: set[str] = set()
        self.sized: set[str] = set()
        self.backwards: set[str] = set()
        self.parted: set[str] = set()
        self.in_front: set[str] = set()
        self.behind: set[str] = set()
        self.unconfirmed: set[str] = set()
        self.silent: dict[str, set[int]] = {}
        self.needed = 1
        room = (room_for_holes(one, axis) for one in setting.nodes.values())
        self.longest = max((one for one in room if one <= longest // 2), default=1)
        longer_units = {} if longer is None else longer.units
        self.fixed = {name for name, one in setting.units.items() if one == longer_units.get(name)}
        jumps = []
        for name, units in setting.units.items():
            if name in setting.blind:
                continue
            across = int((below[name] & above[name]).sum())
            seeing = below[name] | above[name]
            self.silent[name] = set(map(int, np.flatnonzero(~seeing)))
            if not seeing.any():
                self.nothing.add(name)
            elif name in setting.unplaced and not (sides[0][name] & sides[1][name]).any():
                self.parted.add(name)
            elif name in setting.unplaced or (first[name].all() and last[name].all()):
                self.everything.add(name)
                self._leave_room(name, axis, longer)
            elif across == below[name].size or length == 1:
                (self.sized if name in self.fixed else self.too_large).add(name)
            elif _is_backwards(first[name], last[name]):
                self.backwards.add(name)
            elif name not in self.fixed and (first[name].all() or last[name].all()):
                # All units see the first pixels, or all of them the last ones.
                (self.in_front if first[name].all() else self.behind).add(name)
                self._leave_room(name, axis, longer)
                jump = _jump(setting, longer, name)
                others = last[name] if first[name].all() else first[name]
                self.needed = max(self.needed, int(others.sum() * jump))
                jumps.append(jump)
            else:
                jump = _jump(setting, longer, name)
                size = (across * units / below[name].size + 1) * jump
                if name not in self.fixed and size >= length:
                    self.too_large.add(name)
                    continue
                if name not in self.fixed:
                    self.needed = max(self.needed, int(size))
                if (name not in self.fixed or jump <= _COARSE) and _in_a_grid(
                    setting, longer, name
                ):
                    jumps.append(jump)
        self.period = common_period(jumps, limit=max(1, length // 3))

    def _leave_room(self, name: str, axis: int, longer: Setting | None) -> None:
        """See to it that an infinite field is told from a large one: by an image that this fits."""
        analysed = field_along(self.setting.nodes[name], axis)
        if analysed < math.inf and name not in self.fixed and longer is not None:
            same = longer.nodes.get(name)
            if same is not None and field_along(same, axis) == analysed:
                self.longest = max(self.longest, int(analysed))
        if longer is None or may_fill(self.setting.length, analysed):
            self.unconfirmed.add(name)

    @property
    def roomy(self) -> bool:
        """Whether fields that do not reach across have room between the ends of the image."""
        return self.setting.length - max(self.needed, self.longest) >= 3 * self.period + 2

    def grow(self, surveys: Sequence[_Survey], axis: int) -> bool:
        """Return whether fields that are too large were so often enough not to be finite."""
        analysed = [field_along(self.setting.nodes[name], axis) for name in self.too_large]
        return (
            len(surveys) == _TOLD
            and all(self.too_large <= one.too_large for one in surveys)
            and all(4 * one <= self.setting.length for one in analysed if one < math.inf)
        )

    def says_the_same(self, other: _Survey) -> bool:
        """Return whether layers see everything, nothing, or too much if they do so for another."""
        return self.roomy and all(
            getattr(self, one) == getattr(other, one)
            for one in ("everything", "nothing", "too_large", "backwards", "in_front", "behind")
        )

    def confirmed(self, longer: Setting | None) -> bool:
        """Return whether what sees everything does so on an image twice as long, too."""
        if longer is None or not self.everything | self.in_front | self.behind:
            return True
        apart = _apart(longer.length) if longer.unplaced else []
        first, last, *sides = longer.masks([*_ends(longer.length), *apart], numbers=True)
        self.passes += 2 + len(sides)
        return all(
            (sides[0][name] & sides[1][name]).any()
            if name in longer.unplaced
            else (first[name].all() or name in self.behind)
            and (last[name].all() or name in self.in_front)
            for name in self.everything | self.in_front | self.behind
        )


def field_along(node: EnrichedNetworkNode, axis: int) -> int | float:
    """Return the largest field of a node along one axis, as analysed."""
    field = node.receptive_field_max
    size: int | float = field[axis] if isinstance(field, tuple) else field
    return size


def room_for_holes(node: EnrichedNetworkNode, axis: int) -> int:
    """Return how long an image is at least in which units see all taps of a dilated window.

    On a shorter one all taps but one are padding: the window is taken for one unit. The windows of
    units at the borders, half a window wide each, lack some.
    """
    layer = node.layer_info
    slide = layer.slides[axis if layer.axes else 0]
    if slide.dilation == 1 or slide.kernel == math.inf:
        return 1
    jumps = (largest_jump(one.paths[axis if one.axes else 0]) for one in node.predecessors)
    jump = max((one for one in jumps if one is not None), default=1)
    return 2 * math.ceil(slide.dilation * (slide.kernel - 1) * jump + 1)


def may_fill(length: int, size: float) -> bool:
    """Return whether units with a field of this size may see something of both ends of an image."""
    return length - 2 * (length // 8) <= size < math.inf


def _ends(length: int) -> list[Interval]:
    """Return rows at both ends; not one row each, as a stride may leave the last one out."""
    rows = max(1, length // 8)
    return [(0, rows), (length - rows, length)]


def _apart(length: int) -> list[Interval]:
    """Return both sides of an image without its middle, which fields may be as large as."""
    middle, gap = length // 2, length // 8
    return [(0, middle - gap), (middle + gap, length)]


def _is_backwards(first: Mask, last: Mask) -> bool:
    """Return whether all that see the end of an image stand in front of what sees its beginning.

    >>> _is_backwards(np.array([False, False, True]), np.array([True, False, False]))
    True
    """
    at_first, at_last = np.flatnonzero(first), np.flatnonzero(last)
    return bool(at_first.size and at_last.size and at_last[-1] < at_first[0])


def _jump(setting: Setting, longer: Setting | None, name: str) -> Fraction:
    """Return how far units are apart, from how many more there are on a longer image."""
    units = setting.units[name]
    more = 0 if longer is None else longer.units.get(name, units) - units
    if longer is not None and more > 0:
        jump = Fraction(longer.length - setting.length, more).limit_denominator(_FINEST)
        return max(jump, Fraction(1, _FINEST))
    return Fraction(max(1, round(setting.length / max(1, units))))


def _in_a_grid(setting: Setting, longer: Setting | None, name: str) -> bool:
    """Whether a longer image has as many more units as a jump says, give or take one.

    Where maps of several scales stand one after another it has not, and nothing repeats.
    """
    more = 0 if longer is None else longer.units.get(name, 0) - setting.units[name]
    if longer is None or more <= 0:
        return True
    jump = _jump(setting, longer, name)
    return abs(jump * more - (longer.length - setting.length)) <= jump


class _Reading:
    """What poison from both ends tells of an image of one length."""

    def __init__(
        self, survey: _Survey, max_passes: int, deadline: Deadline, share: Deadline
    ) -> None:
        self.survey = survey
        self.setting = setting = survey.setting
        self.beyond = f"its field does not fit into {setting.length} pixels"
        """What is to be said of a field that is too large."""
        wanted = [
            name
            for name in setting.units
            if name not in setting.blind
            and name not in survey.everything | survey.nothing | survey.too_large
            and name not in survey.backwards | survey.parted
        ]
        begins = [name for name in wanted if name not in survey.in_front]
        ends = [name for name in wanted if name not in survey.behind]
        self.sides = (_Side(setting, begins, survey, False), _Side(setting, ends, survey, True))
        in_turn = [side.looks(max_passes, deadline) for side in self.sides if side.wanted]
        # Both sides know what soon repeats before either waits for the rest.
        for _ in itertools.zip_longest(*in_turn):
            if share.over:
                break
        for side in self.sides:
            side.end(share)
        self.cut_short = {name for side in self.sides for name in side.cut_short} - survey.fixed
        """Layers whose windows might be seen to repeat on a longer image."""

    def fields(self) -> dict[str, AxisField]:
        """Return what is known of every layer."""
        survey, setting = self.survey, self.setting
        most = 2 * (setting.length // 8)
        fields: dict[str, AxisField] = {}
        for name in setting.units:
            if name in setting.blind:
                fields[name] = AxisField(problem=setting.blind[name])
            elif name in survey.nothing:
                fields[name] = AxisField(problem="it depends on no pixel")
            elif name in survey.everything:
                fields[name] = AxisField(notes=self._unconfirmed(name))
            elif name in survey.parted:
                fields[name] = AxisField(
                    problem=f"no number of it sees as much as {most} of {setting.length} pixels",
                    most=most,
                )
            elif name in survey.too_large:
                fields[name] = AxisField(problem=self.beyond)
            elif name in survey.sized:
                fields[name] = AxisField(
                    problem=f"every unit sees both halves of the image; {_FIXED}"
                )
            elif name in survey.backwards:
                fields[name] = AxisField(
                    problem="its positions stand in the opposite order, so that its windows depend "
                    "on the size of the image"
                )
            else:
                fields[name] = self._measured(name)
                if name in survey.fixed and fields[name].problem:
                    problem = f"{fields[name].problem}; {_FIXED}"
                    fields[name] = attrs.evolve(fields[name], problem=problem)
                elif name in survey.fixed:
                    notes = (*fields[name].notes, FIXED_SIZE)
                    fields[name] = attrs.evolve(fields[name], notes=notes)
            if name in setting.doubtful and not fields[name].problem:
                notes = (*fields[name].notes, setting.doubtful[name])
                fields[name] = attrs.evolve(
                    fields[name], notes=notes, bound=bool(fields[name].windows)
                )
        return fields

    def _unconfirmed(self, name: str) -> tuple[str, ...]:
        note = f"sees all of the {self.setting.length} pixels; no longer image could be tried"
        return (note,) * (name in self.survey.unconfirmed)

    def _measured(self, name: str) -> AxisField:
        """Return what both sides, or the one that has an end, tell of a layer."""
        start, end = self.sides
        in_front = name in self.survey.in_front
        if not in_front and name not in self.survey.behind:
            return _combined(self.setting, name, start, end)
        side = end if in_front else start
        if name in side.problems:
            return AxisField(problem=side.problems[name])
        field = field_on_one_side(side.pattern_of(name), in_front)
        return attrs.evolve(field, notes=self._unconfirmed(name))


def _combined(setting: Setting, name: str, start: _Side, end: _Side) -> AxisField:
    for side in (start, end):
        if name in side.problems:
            return AxisField(problem=side.problems[name])
    length = setting.length
    first, last = start.pattern_of(name), end.pattern_of(name)
    ends = [last.row_of(unit) for unit in first.at]
    starts = [first.row_of(unit) for unit in last.at]
    if any(one is not None and one >= length for one in ends) or any(
        one is not None and one < 0 for one in starts
    ):
        return AxisField(problem=f"its field does not fit into {length} pixels")
    return field_between(first, last)


class _Side:
    """Poison that comes from one end of the image."""

    def __init__(
        self, setting: Setting, wanted: Sequence[str], survey: _Survey, mirrored: bool
    ) -> None:
        self.setting = setting
        self.wanted = wanted
        self.mirrored = mirrored
        self.period = survey.period
        self.silent = survey.silent
        self.patterns: dict[str, Pattern] = {}
        self.problems: dict[str, str] = {}
        self.cut_short: list[str] = []
        self._flags: dict[str, dict[int, Mask]] = {name: {} for name in wanted}
        self._rows: dict[str, dict[int, int]] = {}
        self._begin = max(1, (setting.length - survey.needed - 2 * survey.period) // 2)
        self._inside = range(self._begin, setting.length - survey.needed)
        far = min(setting.length - 1, max(self._begin + 1, self._inside.stop))
        self._distant = (far, (self._begin + far) // 2)
        """Where what repeats has to do so, too: as far away as no border is felt, and halfway."""

    @property
    def passes(self) -> int:
        """Forward passes so far."""
        return max((len(flags) for flags in self._flags.values()), default=0)

    def end(self, deadline: Deadline) -> None:
        """Give up what is not known when the time is over."""
        if deadline.over:
            self.problems.update(dict.fromkeys(self._open(), deadline.reason))

    def pattern_of(self, name: str) -> Pattern:
        """Return how the rows repeat that the units of a layer see first, or last, of all."""
        found = self.patterns[name]
        if not self.mirrored:
            return found
        units, length = self.setting.units[name], self.setting.length
        at = {units - 1 - unit: length - 1 - row for unit, row in found.at.items()}
        return Pattern(found.units, found.rows, at)

    def looks(self, max_passes: int, deadline: Deadline) -> Iterator[int]:
        """Move the poison on until it is known of all layers how they repeat, or time is over.

        Yields the pixels that it moved over, before it moves on over twice as many.
        """
        span = min(self.period, max_passes // 2)
        while True:
            first = range(self._begin, self._begin + span + 1)
            self._poison([*first, *self._distant], deadline)
            again = {
                row + step
                for name in self._open()
                for row in predicted_rows(self._rows.get(name, {}), span)
                for step in (0, 1)
            }
            if len(again) + self.passes <= max_passes:
                self._poison(again, deadline)
            if not self._open() or deadline.over:
                return
            more = min(2 * span, max_passes)
            if more == span or self._begin + more >= self.setting.length:
                break
            yield span
            span = more
        if span < max_passes:
            self.cut_short = self._open()
        for name in self._open():
            self.problems[name] = (
                f"its units do not repeat within {span} pixels, as in windows that are larger "
                "than that, or positions in an order that is not followed"
            )

    def _open(self) -> list[str]:
        return [
            name for name in self.wanted if name not in self.patterns and name not in self.problems
        ]

    def _poison(self, thresholds: Iterable[int], deadline: Deadline) -> None:
        done = self._flags[self.wanted[0]]
        length = self.setting.length
        new = sorted(one for one in thresholds if one not in done and 0 < one < length)
        at_once = len(new) if deadline.seconds is None else _AT_ONCE
        for place in range(0, len(new), max(1, at_once)):
            if deadline.over:
                break
            self._see(new[place : place + at_once])
        if not done:
            return
        for name in self._open():
            rows = known_rows(self._flags[name])
            if rows is None:
                self.problems[name] = "units that were poisoned recover: an operation hides NaN"
                continue
            self._rows[name] = rows
            last = self.setting.units[name] - 1
            silent = self.silent[name]
            pattern = find_pattern(
                rows, {last - one for one in silent} if self.mirrored else silent
            )
            if pattern is not None and pattern.holds(self._flags[name], self._inside):
                self.patterns[name] = pattern

    def _see(self, thresholds: Sequence[int]) -> None:
        """Poison the rows up to each threshold, and keep which units notice."""
        length = self.setting.length
        intervals = [(length - one, length) if self.mirrored else (0, one) for one in thresholds]
        for threshold, masks in zip(thresholds, self.setting.masks(intervals), strict=True):
            for name in self.wanted:
                mask = masks[name]
                self._flags[name][threshold] = mask[::-1] if self.mirrored else mask
