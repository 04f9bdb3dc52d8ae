"""From changing units to windows: the arithmetic of the experiment against units made up."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox.empirical.readings import (
    Pattern,
    common_period,
    field_between,
    find_pattern,
    known_rows,
)

windows = st.lists(st.tuples(st.integers(-40, 40), st.integers(0, 30)), min_size=1, max_size=5)


@given(windows, st.integers(1, 12))
def test_the_windows_of_all_units_are_found_from_some_in_the_middle(
    spans: list[tuple[int, int]], advance: int
) -> None:
    period = len(spans)
    middle = range(3 * period, 6 * period)

    def pattern(place: int) -> Pattern:
        rows = {
            unit: spans[unit % period][0]
            + place * spans[unit % period][1]
            + unit // period * advance
            for unit in middle
        }
        found = find_pattern(rows)
        assert found is not None
        return found

    field = field_between(pattern(0), pattern(1))
    assert field.jump == Fraction(advance, period)
    assert field.size == max(length + 1 for _, length in spans)
    for unit in range(-7, 8):
        turn, phase = divmod(unit, len(field.windows))
        first, last = field.windows[phase]  # type: ignore[misc]
        moved = int(turn * field.jump * len(field.windows))
        begin, length = spans[unit % period]
        begin += unit // period * advance
        assert (first + moved, last + moved) == (begin, begin + length)


def test_units_that_see_nothing_have_no_window() -> None:
    pattern = find_pattern({0: 4, 3: 6, 6: 8}, silent=[1, 2, 4, 5])
    assert pattern == Pattern(3, 2, {0: 4})
    assert field_between(pattern, pattern).windows == ((4, 4), None, None)


def test_a_period_counts_only_once_it_was_seen_twice() -> None:
    assert find_pattern({0: 0, 1: 1, 2: 1}) is None
    assert find_pattern({}) is None
    assert find_pattern({0: 5, 1: 5}) is None


def test_units_that_recover_are_noticed() -> None:
    flags = {3: np.array([True, False]), 4: np.array([False, False])}
    assert known_rows(flags) is None


def test_rows_count_only_between_neighbouring_thresholds() -> None:
    flags = {3: np.array([False, False]), 5: np.array([True, False]), 6: np.array([True, True])}
    assert known_rows(flags) == {1: 5}


def test_sides_that_advance_differently_are_a_problem() -> None:
    field = field_between(Pattern(1, 2, {0: 0}), Pattern(1, 3, {0: 4}))
    assert "2" in field.problem
    assert "3" in field.problem
    assert field.size is None


@pytest.mark.parametrize(
    ("jumps", "limit", "period"),
    [([], 8, 1), ([2, 3], 8, 6), ([2, 3], 5, 2), ([Fraction(3, 2)], 8, 3)],
)
def test_periods_have_a_limit(jumps: list[Fraction], limit: int, period: int) -> None:
    assert common_period(map(Fraction, jumps), limit) == period
