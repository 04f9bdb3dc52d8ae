"""From which units are NaN to where they look: the arithmetic of the structural experiment.

Rows of the input up to a threshold are poisoned, and a unit becomes NaN as soon as the first row
that it sees is among them. So the threshold at which it changes *is* that row; the same from
the other end gives the last one. Away from the border, maps repeat themselves, which gives the
windows of all units from those of a few. Nothing here needs a framework.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

__all__ = [
    "AxisField",
    "Pattern",
    "field_between",
    "field_on_one_side",
    "find_pattern",
    "known_rows",
]

Mask = npt.NDArray[np.bool_]
Seen: TypeAlias = "tuple[int | float, int | float] | None"
"""The first and the last pixel that a unit sees, -inf and inf where there is no end; None if it
sees nothing."""


@attrs.frozen(slots=True)
class AxisField:
    """What was measured along one axis of one tensor.

    Attributes:
        windows: (first, last) pixel of the units 0, 1, ... until they repeat, None for units that
            see nothing; empty if every unit sees everything, or if ``problem`` says why nothing
            is known.
        jump: pixels between neighbouring units, on average over a period.
        problem: why nothing is known.
        notes: what else there is to know.
        bound: whether the true windows may be larger.
        most: where positions are in an order that nobody knows, a number of pixels that no unit
            sees more of; None if nothing limits them.
    """

    windows: tuple[Seen, ...] = ()
    jump: Fraction = Fraction(1)
    problem: str = ""
    notes: tuple[str, ...] = ()
    bound: bool = False
    most: int | None = None

    @property
    def size(self) -> int | float | None:
        """Pixels under the largest window."""
        if self.problem:
            return None
        return max((one[1] - one[0] + 1 for one in self.windows if one), default=math.inf)

    def region(self, unit: int) -> tuple[int | float, int | float]:
        """Return the first and the last pixel that a unit sees; inf and -inf if it sees nothing.

        >>> AxisField(((0, 2), None), Fraction(2)).region(4), AxisField(((0, 2), None)).region(1)
        ((8, 10), (inf, -inf))
        """
        turn, phase = divmod(unit, len(self.windows))
        first, last = self.windows[phase] or (math.inf, -math.inf)
        step = int(self.jump * len(self.windows)) * turn
        return first + step, last + step


@attrs.frozen(slots=True)
class Pattern:
    """How the rows at which units change repeat: unit ``i + units`` is ``rows`` behind ``i``.

    ``at`` has the row of one unit of every class modulo ``units``, by the unit's number; classes of
    units that see nothing are missing.
    """

    units: int
    rows: int
    at: Mapping[int, int]

    def row_of(self, unit: int) -> int | None:
        """Return the row of a unit, also of one that was not seen to change; None if it has none.

        >>> Pattern(2, 4, {5: 9, 6: 10}).row_of(0)
        -2
        """
        for known, row in self.at.items():
            if (unit - known) % self.units == 0:
                return row + (unit - known) // self.units * self.rows
        return None

    def holds(self, flags: Mapping[int, Mask], inside: range) -> bool:
        """Return whether those units are NaN at every threshold that should be, and no others.

        Looked at are all units that should change inside of the image, and those between them that
        should see nothing: a wrong jump shows far away from where the pattern was found.

        >>> flags = {8: np.array([True, True, True, True, False, False])}
        >>> patterns = Pattern(1, 2, {0: 1}), Pattern(2, 3, {0: 1, 1: 2}), Pattern(1, 5, {1: 3})
        >>> [pattern.holds(flags, range(20)) for pattern in patterns]
        [True, False, False]
        """
        masks = np.array(list(flags.values()))
        places = np.arange(masks.shape[1])
        changes = np.full(places.size, math.inf)
        for known, row in self.at.items():
            own = slice(known % self.units, None, self.units)
            changes[own] = row + (places[own] - known) // self.units * self.rows
        checked = (inside.start <= changes) & (changes < inside.stop)
        (looked_at,) = np.nonzero(checked)
        if not looked_at.size:
            return True
        between = slice(looked_at[0], looked_at[-1])
        checked[between] |= np.isinf(changes[between])
        poisoned = changes < np.array(list(flags))[:, np.newaxis]
        return bool((masks == poisoned)[:, checked].all())


def known_rows(flags: Mapping[int, Mask]) -> dict[int, int] | None:
    """Return at which row every unit changes, of those that change between two thresholds.

    Args:
        flags: per threshold which units are NaN when the rows in front of it are poisoned.

    Returns:
        rows by unit; None where a unit is NaN at a threshold and not at a later one, which no
        unit is that passes NaN on.

    >>> known_rows({3: np.array([True, False, False]), 4: np.array([True, True, False])})
    {1: 3}
    """
    thresholds = np.array(sorted(flags))
    table = np.array([flags[one] for one in thresholds])
    changed = table[1:] != table[:-1]
    if (table[:-1] & changed).any():
        return None
    steps, units = np.nonzero(changed & (np.diff(thresholds) == 1)[:, np.newaxis])
    return dict(sorted(zip(units.tolist(), thresholds[steps].tolist(), strict=True)))


def find_pattern(rows: Mapping[int, int], silent: Collection[int] = ()) -> Pattern | None:
    """Return the smallest period that all known rows agree with, and that was seen twice.

    Args:
        rows: at which row units change.
        silent: units that never change, as they see nothing.

    >>> find_pattern({4: 8, 5: 8, 6: 10, 7: 10}).units
    2
    >>> find_pattern({4: 8}) is None
    True
    >>> find_pattern({4: 8, 6: 10}, silent=[5]).at
    {4: 8}
    >>> find_pattern({1: 1, 3: 2, 4: 2, 6: 3, 7: 3, 9: 4}, silent=[2, 5, 8]).units
    3
    """
    units = sorted(rows)
    if not units:
        return None
    for period in range(1, units[-1] - units[0] + 1):
        advances = {rows[one + period] - rows[one] for one in units if one + period in rows}
        if len(advances) != 1 or min(advances) <= 0:
            continue
        first: dict[int, int] = {}
        for one in reversed(units):
            first[one % period] = one
        twice = {one % period for one in units if first[one % period] != one}
        quiet = {one % period for one in silent if units[0] <= one <= units[-1]}
        if (
            len(twice) == len(first)
            and quiet.isdisjoint(first)
            and len(first) + len(quiet) == period
        ):
            at = {one: rows[one] for one in sorted(first.values())}
            return Pattern(period, advances.pop(), at)
    return None


def predicted_rows(rows: Mapping[int, int], advance: int) -> set[int]:
    """Return the rows at which the units behind the known ones should change.

    >>> sorted(predicted_rows({4: 8, 5: 9}, 2))
    [10, 11]
    """
    return {row + advance for row in rows.values()}


def field_between(first: Pattern, last: Pattern) -> AxisField:
    """Return the windows of units whose first and last rows repeat like this.

    >>> field_between(Pattern(1, 2, {3: 5}), Pattern(1, 2, {3: 11})).windows
    ((-1, 5),)
    """
    period = math.lcm(first.units, last.units)
    advance = first.rows * (period // first.units)
    if advance != last.rows * (period // last.units):
        return AxisField(
            problem=f"its first rows advance by {Fraction(first.rows, first.units)} pixels per "
            f"unit, but its last rows by {Fraction(last.rows, last.units)}"
        )
    rows = ((first.row_of(unit), last.row_of(unit)) for unit in range(period))
    windows = tuple(None if one is None or two is None else (one, two) for one, two in rows)
    if any(one is not None and one[1] < one[0] for one in windows):
        return AxisField(
            problem="read from both ends its windows end before they begin, as where positions "
            "stand several times, or in an order that is not followed"
        )
    return AxisField(_shortest(windows, advance), Fraction(advance, period))


def field_on_one_side(rows: Pattern, in_front: bool) -> AxisField:
    """Return the windows of units that see everything in front of these rows, or behind them.

    >>> field_on_one_side(Pattern(1, 2, {3: 7}), in_front=True).windows
    ((-inf, 1),)
    """
    found = map(rows.row_of, range(rows.units))
    windows = tuple(
        None if one is None else (-math.inf, one) if in_front else (one, math.inf) for one in found
    )
    return AxisField(_shortest(windows, rows.rows), Fraction(rows.rows, rows.units))


def _shortest(windows: Sequence[Seen], advance: int) -> tuple[Seen, ...]:
    """Return the windows of one period that cannot be divided any further."""
    count = len(windows)
    for units in range(1, count):
        if count % units == 0 and (advance * units) % count == 0:
            step = advance * units // count
            pairs = zip(windows, windows[units:], strict=False)
            if all(after == _moved(before, step) for before, after in pairs):
                return tuple(windows[:units])
    return tuple(windows)


def _moved(window: Seen, step: int) -> Seen:
    return None if window is None else (window[0] + step, window[1] + step)


def common_period(jumps: Iterable[Fraction], limit: int) -> int:
    """Return after how many pixels maps with these jumps repeat together, at most ``limit``.

    >>> common_period([Fraction(1, 2), Fraction(4), Fraction(6)], 64)
    12
    """
    period = 1
    for jump in sorted(set(jumps)):
        together = math.lcm(period, jump.numerator)
        if together <= limit:
            period = together
    return period
