"""Screening many candidates: batches, executors, faults, and going on where it was stopped."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import os
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, TypeAlias

from rfa_toolbox import arithmetic
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import ScreeningError
from rfa_toolbox.screening.candidates import Job, are_different, content_of, job_of
from rfa_toolbox.screening.conditions import Condition, condition
from rfa_toolbox.screening.judging import Question, error_row
from rfa_toolbox.screening.progress import Progress, reporting
from rfa_toolbox.screening.rows import ScreeningRow
from rfa_toolbox.screening.sandbox import Limits, program_of
from rfa_toolbox.screening.store import Store
from rfa_toolbox.screening.workers import Workers
from rfa_toolbox.screening.working import Orders

__all__ = ["screen"]

GIBIBYTE = 2**30

REMEMBERED = 10_000
"""So many of the last rows are kept in memory: a candidate that comes again is one of them."""

PathLike: TypeAlias = "str | os.PathLike[str]"


def screen(
    candidates: Iterable[Any],
    input_res: Resolution | Iterable[Resolution],
    executor: Executor | None = None,
    keep: str | Condition | None = None,
    store: PathLike | None = None,
    progress: bool | Callable[[Progress], object] = True,
    *,
    jobs: int = 1,
    time_limit: float = 60.0,
    memory_limit: int | None = 8 * GIBIBYTE,
    input_shape: Sequence[int] | None = None,
    isolate: bool = True,
    graph_keys: bool = False,
) -> Iterator[ScreeningRow]:
    """Yield one row per candidate, as it is done; a candidate that fails is a row with an error.

    Candidates are read as they are needed, so there may be any number of them. Those with equal
    keys are computed once: with a store always, without one if less than 10,000 others came in
    between. Rows do not depend on the executor, its workers, or the order in which they work.

    Args:
        candidates: each a ``Candidate`` or its ``model``: a ``GraphSpec``, a graph, the JSON of
            a graph or of a Keras model, the path of a file with one of these or of an ONNX file, a
            function, or "package.module:callable"; or a pair (function, arguments).
        input_res: resolutions in pixels: one number, or several, each one number or
            (height, width). The first is that of columns without a suffix, such as ``macs``.
        executor: where to work: any ``concurrent.futures.Executor``, such as that of dask's
            ``Client.get_executor()``. None is this process, or ``jobs`` processes of its own.
        keep: which rows to yield, such as "r_min < 32 and macs < 1e9" (see ``condition``), or a
            function from a row to whether to yield it. Rows with an error are always yielded.
        store: a file to keep all rows in, also those that are not yielded. Candidates whose row
            is in it are not computed again.
        progress: True shows a bar on a terminal, if rich is installed; a function is called with a
            ``Progress`` whenever rows come.
        jobs: number of processes of its own; 1 is this process alone. On specs this one works,
            too, and starts the others only when half a second was not enough.
        time_limit: seconds that the code of a candidate may take.
        memory_limit: bytes that it may use (on Linux); None is any number.
        input_shape: shape of the input of PyTorch models, with batch and channels; None is one
            image with three channels at the first resolution.
        isolate: run the code of candidates in a process of its own, where it can do no harm.
            Without, it must neither hang nor end the process, and limits do not hold; it is faster.
        graph_keys: give every row the ``graph_key`` of its graph, by which ``distinct`` drops
            equal networks.

    Raises:
        ScreeningError: a ValueError, at once, for arguments that do not work.
        InvalidResolutionError: a ValueError, at once, for a resolution that is none.

    >>> from rfa_toolbox.screening import GraphSpec, chain, conv, pool
    >>> specs = [GraphSpec(chain(*[conv(64, 3)] * depth, pool(2))) for depth in (2, 40)]
    >>> [(row.r_min, row["unproductive"]) for row in screen(specs, 32)]
    [(6, 0), (82, 25)]
    """
    question = Question(_resolutions(input_res), _shape(input_shape), bool(graph_keys))
    if type(jobs) is not int or jobs < 1:
        raise ScreeningError(f"jobs is {jobs!r}; it must be a positive whole number.")
    if executor is not None and not isinstance(executor, Executor):
        raise ScreeningError(
            f"executor is {executor!r}; it must be a concurrent.futures.Executor, such as "
            "ProcessPoolExecutor() or a dask Client's get_executor()."
        )
    _check_limits(time_limit, memory_limit)
    if not (isinstance(progress, bool) or callable(progress)):
        raise ScreeningError(
            f"progress is {progress!r}; it must be True, False, or a function of a Progress."
        )
    limits = Limits(float(time_limit), None if memory_limit is None else int(memory_limit))
    orders = Orders(question, limits, program_of(), bool(isolate))
    wanted = _wanted(keep)
    given: object = candidates
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ScreeningError(
            f"candidates is {candidates!r:.200}; it must be an iterable of candidates, such as a "
            "list."
        )
    kept = None if store is None else Store(store, question.to_json())
    total = operator.length_hint(candidates, 0) or None
    workers = Workers(orders, executor, jobs)
    return _rows(iter(candidates), workers, kept, wanted, progress, total)


def _check_limits(time_limit: Any, memory_limit: Any) -> None:
    if not _is_positive(time_limit):
        raise ScreeningError(
            f"time_limit is {time_limit!r}; it must be a positive number of seconds."
        )
    if memory_limit is not None and not _is_positive(memory_limit):
        raise ScreeningError(
            f"memory_limit is {memory_limit!r}; it must be a positive number of bytes, or None."
        )


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value is not True and 0 < value < math.inf


def _resolutions(asked: Any) -> tuple[tuple[int, ...], ...]:
    several = list(asked) if isinstance(asked, Iterable) and not isinstance(asked, str) else [asked]
    if not several:
        raise ScreeningError("There is no resolution in input_res; give at least one, such as 32.")
    found = [arithmetic.normalise_resolution(one, 2) for one in several]
    return tuple(dict.fromkeys(found))


def _shape(asked: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if asked is None else arithmetic.normalise_resolution(asked, None, "input_shape")


def _wanted(keep: str | Condition | None) -> Condition:
    if keep is None:
        return lambda row: True
    if isinstance(keep, str):
        return condition(keep)
    if callable(keep):
        return keep
    raise ScreeningError(
        f"keep is {keep!r}; it must be a condition such as 'r_min < 32', or a function of a row."
    )


def _rows(
    candidates: Iterator[Any],
    workers: Workers,
    store: Store | None,
    wanted: Condition,
    progress: bool | Callable[[Progress], object],
    total: int | None,
) -> Iterator[ScreeningRow]:
    with contextlib.ExitStack() as stack:
        if store is not None:
            stack.enter_context(store)
        report = stack.enter_context(reporting(progress, total))
        for rows, stored in _answered(_Feed(candidates, store), workers, store):
            report(rows, stored)
            yield from (row for row in rows if row.error or wanted(row))


def _answered(
    feed: _Feed, workers: Workers, store: Store | None
) -> Iterator[tuple[list[ScreeningRow], bool]]:
    """Yield rows as they come, with whether they were known; new ones are stored first."""
    try:
        while not feed.ended or workers.busy:
            while not feed.ended and workers.free:
                stored, refused, jobs = feed.some(workers.batch)
                if jobs:
                    workers.start(jobs)
                if stored:
                    yield stored, True
                if refused:
                    yield refused, False
            for rows in workers.finished() if workers.busy else ():
                if store is not None:
                    store.put(rows)
                yield feed.with_repeats(rows), False
    finally:
        done = workers.stop()  # nothing but for Ctrl-C, and where nobody reads on
        if store is not None and done:
            store.put(done)


_SAME_KEY = (
    "Another candidate has the key {!r} already, and is not the same; give every candidate its own."
)


class _Feed:
    """Takes candidates from their iterator, and sorts out those whose row is known."""

    def __init__(self, candidates: Iterator[Any], store: Store | None) -> None:
        self.ended = False
        self._numbered = enumerate(candidates)
        self._store = store
        self._recent: OrderedDict[str, ScreeningRow] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._contents: OrderedDict[str, Any] = OrderedDict()

    def some(self, count: int) -> tuple[list[ScreeningRow], list[ScreeningRow], list[Job]]:
        """Take at most ``count`` candidates: rows that are known, those that are none, and jobs."""
        known: list[ScreeningRow] = []
        refused: list[ScreeningRow] = []
        jobs: list[Job] = []
        taken = 0
        for number, candidate in itertools.islice(self._numbered, count):
            taken += 1
            try:
                job = job_of(candidate)
            except ScreeningError as error:
                refused.append(error_row(f"candidate {number}", "ScreeningError", str(error)))
                continue
            if self._is_another(job.key, content_of(candidate, job)):
                refused.append(
                    error_row(f"candidate {number}", "ScreeningError", _SAME_KEY.format(job.key))
                )
                continue
            row = self._recent.get(job.key)
            if row is None and self._store is not None:
                row = self._store.get(job.key)
            if row is not None:
                known.append(row)
                continue
            self._waiting[job.key] += 1
            if self._waiting[job.key] == 1:
                jobs.append(job)
        self.ended = taken < count
        return known, refused, jobs

    def _is_another(self, key: str, content: Any) -> bool:
        """Return whether a candidate is not the one that had its key not long before."""
        if content is None:
            return False
        before = self._contents.setdefault(key, content)
        if len(self._contents) > REMEMBERED:
            self._contents.popitem(last=False)
        return are_different(before, content)

    def with_repeats(self, rows: list[ScreeningRow]) -> list[ScreeningRow]:
        """Return rows as often as their candidates came while they were at work."""
        for row in rows:
            self._recent[row.key] = row
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return [row for row in rows for _ in range(self._waiting.pop(row.key, 1))]
