"""How far a screening is: for a bar on a terminal, or for a function of the user."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from rfa_toolbox.screening.rows import ScreeningRow

__all__ = ["Progress", "reporting"]


@attrs.frozen(slots=True)
class Progress:
    """How far a screening is.

    Attributes:
        done: number of rows so far.
        errors: how many of them are errors.
        stored: how many of them were in the store before.
        seconds: since the beginning.
        total: number of candidates; None if nobody knows.
    """

    done: int = 0
    errors: int = 0
    stored: int = 0
    seconds: float = 0.0
    total: int | None = None

    @property
    def rate(self) -> float:
        """Rows per second, without those that were stored before."""
        return (self.done - self.stored) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at this rate; None if nobody knows."""
        if self.total is None or not self.rate:
            return None
        return max(0.0, (self.total - self.done) / self.rate)

    def __str__(self) -> str:
        """Return the progress in a few words."""
        of = "" if self.total is None else f" of {self.total}"
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s left"
        errors = f"{self.errors} error{'' if self.errors == 1 else 's'}"
        return f"{self.done}{of} done, {errors}, {self.rate:.0f}/s{left}"


Report: TypeAlias = "Callable[[Sequence[ScreeningRow], bool], None]"


@contextlib.contextmanager
def reporting(wanted: bool | Callable[[Progress], object], total: int | None) -> Iterator[Report]:
    """Show how far a screening is.

    Args:
        wanted: True shows a bar on a terminal, if rich is installed; a function gets a
            ``Progress``.
        total: number of candidates, if known.

    Yields:
        A function that takes new rows, and whether they were known before.
    """
    start = time.perf_counter()
    state = Progress(total=total)

    with _bar(total) if wanted is True else contextlib.nullcontext(wanted) as show:

        def report(rows: Sequence[ScreeningRow], stored: bool) -> None:
            nonlocal state
            state = attrs.evolve(
                state,
                done=state.done + len(rows),
                errors=state.errors + sum(not row.ok for row in rows),
                stored=state.stored + (len(rows) if stored else 0),
                seconds=time.perf_counter() - start,
            )
            if callable(show):
                show(state)

        yield report


@contextlib.contextmanager
def _bar(total: int | None) -> Iterator[Callable[[Progress], object] | None]:
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns: list[Any] = [BarColumn(), TextColumn("{task.description}")]
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("screening", total=total)
        yield lambda state: bar.update(task, completed=state.done, description=str(state))
