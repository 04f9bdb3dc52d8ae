"""The best of many rows: the first by a column, and those that no other row beats."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from rfa_toolbox.errors import ScreeningError
from rfa_toolbox.screening.rows import ScreeningRow, is_column

__all__ = ["distinct", "pareto", "top"]


def _value(row: ScreeningRow, column: str) -> Any:
    if not is_column(column):
        raise ScreeningError(
            f"There is no column {column!r} to sort by; there are r_min, macs, parameters, waste "
            "and the others of a ScreeningRow."
        )
    return row[column]


def top(
    rows: Iterable[ScreeningRow], n: int, by: str = "macs", largest: bool = False
) -> list[ScreeningRow]:
    """Return the ``n`` rows with the smallest value of a column, in order; errors are left out.

    Rows are read one by one, and no more than ``n`` are kept. Of equal values the key decides.

    Args:
        rows: any number of rows.
        n: how many to return at most.
        by: name of a column.
        largest: whether the largest values are the best ones.

    Raises:
        ScreeningError: a ValueError, for an unknown column.

    >>> [row.key for row in top([ScreeningRow("a", 9), ScreeningRow("b", 3)], 1, by="r_min")]
    ['b']
    """
    if type(n) is not int or n < 1:
        raise ScreeningError(f"n is {n!r}; it must be a positive whole number.")
    known = (row for row in rows if row.ok and _value(row, by) is not None)
    if largest:
        return heapq.nsmallest(n, known, key=lambda row: (-_value(row, by), row.key))
    return heapq.nsmallest(n, known, key=lambda row: (_value(row, by), row.key))


def pareto(
    rows: Iterable[ScreeningRow], minimise: tuple[str, str] = ("r_min", "macs")
) -> list[ScreeningRow]:
    """Return the rows that no other row beats in two columns, smallest first value first.

    A row beats another one if it is smaller in one column and not larger in the other. Of rows
    that are equal in both, the one with the first key stays. Rows are read one by one, and only
    those of the front are kept.

    Raises:
        ScreeningError: a ValueError, for an unknown column.

    >>> rows = [ScreeningRow("a", 9, 1), ScreeningRow("b", 3, 5), ScreeningRow("c", 9, 6)]
    >>> [row.key for row in pareto(rows, ("r_min", "r_min_layers"))]
    ['b', 'a']
    """
    first, second = minimise
    front: list[tuple[Any, Any, str, ScreeningRow]] = []
    for row in rows:
        if not row.ok:
            continue
        one, other = _value(row, first), _value(row, second)
        if one is None or other is None:
            continue
        if any(_beats(kept, (one, other, row.key)) for kept in front):
            continue
        front = [kept for kept in front if not _beats((one, other, row.key), kept[:3])]
        front.append((one, other, row.key, row))
    return [row for *_, row in sorted(front, key=lambda kept: kept[:3])]


def _beats(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if one[0] == other[0] and one[1] == other[1]:
        return bool(one[2] <= other[2])
    return bool(one[0] <= other[0] and one[1] <= other[1])


def distinct(rows: Iterable[ScreeningRow]) -> Iterator[ScreeningRow]:
    """Yield the first row of each graph, of rows that have a ``graph_key``, and all others.

    >>> rows = [ScreeningRow("a", graph_key="1"), ScreeningRow("b", graph_key="1")]
    >>> [row.key for row in distinct(rows)]
    ['a']
    """
    seen: set[str] = set()
    for row in rows:
        if row.graph_key is None:
            yield row
        elif row.graph_key not in seen:
            seen.add(row.graph_key)
            yield row
