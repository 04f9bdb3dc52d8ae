"""Handing out batches: to this process, to processes of our own, or to any executor."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)

import attrs

from rfa_toolbox.screening.candidates import Job
from rfa_toolbox.screening.parcels import Parcel
from rfa_toolbox.screening.rows import ScreeningRow
from rfa_toolbox.screening.working import (
    ATTEMPTS,
    Done,
    Orders,
    close_sandbox,
    do_batch,
    prepare_worker,
)

__all__ = ["Workers"]

BATCH_SECONDS = 0.5
"""How long a batch should take: long against the cost of a task, short for a person who waits."""

LARGEST_BATCH = 2_000

ALONE_SECONDS = 0.5
"""Seconds that this process works on specs alone before it starts others, which takes as long."""


@attrs.frozen(eq=False, slots=True)
class _Batch:
    """Jobs that are at work, where, and how often they were begun before."""

    jobs: Sequence[Job]
    attempt: int = 0
    executor: Executor | None = None


class Workers:
    """Whoever does the work of a screening.

    Args:
        orders: how candidates are treated.
        executor: where to work; None is this process, or several of its own.
        processes: number of processes of its own. With an executor, it says how many workers that
            has at least.
    """

    def __init__(self, orders: Orders, executor: Executor | None, processes: int) -> None:
        self.orders = orders
        self.batch = 1
        self._processes = processes
        self._owned = executor is None and processes > 1
        self._executor = executor
        self._futures: dict[Future[Done], _Batch] = {}
        self._queue: deque[_Batch] = deque()
        workers = processes if executor is None else max(processes, os.cpu_count() or 1)
        self._width = 2 * workers + self._owned if self._owned or executor is not None else 1
        self._worked = 0.0

    @property
    def busy(self) -> bool:
        """Whether some jobs are not done yet."""
        return bool(self._futures or self._queue)

    @property
    def free(self) -> bool:
        """Whether more can be started now: back pressure for endless candidates."""
        width = 1 if self._alone else self._width
        return len(self._futures) + len(self._queue) < width

    @property
    def _alone(self) -> bool:
        """Whether processes of its own are not worth their start yet, if there are only specs."""
        return self._owned and self._executor is None and self._worked < ALONE_SECONDS

    def start(self, jobs: Sequence[Job]) -> None:
        """Begin with some jobs."""
        self._submit(_Batch(jobs))

    def finished(self) -> Iterator[list[ScreeningRow]]:
        """Wait until at least one batch is done or lost, and yield the rows of all that are."""
        timeout = None
        if self._queue:
            found = do_batch(self.orders, (one := self._queue[0]).jobs, one.attempt)
            self._worked += found[1]
            yield self._learnt(found)
            self._queue.popleft()
            timeout = 0  # others may be done, and wait for more
        done, _ = wait(self._futures, timeout, return_when=FIRST_COMPLETED)
        for future in done:
            batch = self._futures.pop(future)
            try:
                found = future.result()
            # An executor may lose a batch in many ways, and each has exceptions of its own.
            except Exception as error:  # noqa: BLE001
                self._again(batch, error)
            else:
                yield self._learnt(found)

    def stop(self) -> list[ScreeningRow]:
        """End all work, and return the rows of what is done by now."""
        unfinished = bool(self._futures)
        for future in self._futures:
            future.cancel()
        rows: list[ScreeningRow] = []
        for future in self._futures:
            if future.done() and not future.cancelled() and future.exception() is None:
                rows += future.result()[0]
        self._futures.clear()
        self._queue.clear()
        if self._owned and self._executor is not None:
            _end(self._executor, at_once=unfinished)
        close_sandbox()
        return rows

    def _learnt(self, found: Done) -> list[ScreeningRow]:
        """Choose the size of later batches from how long this one took."""
        rows, seconds = found
        fitting = int(BATCH_SECONDS * len(rows) / max(seconds, 1e-6))
        self.batch = max(1, min(fitting, 4 * len(rows), LARGEST_BATCH))
        return rows

    def _submit(self, batch: _Batch) -> None:
        if self._helps_with(batch):
            self._queue.append(batch)
            return
        if self._owned and self._executor is None:
            self._executor = _pool(self._processes)
        executor = self._executor
        if executor is None or batch.attempt >= ATTEMPTS:
            self._queue.append(batch)
            return
        placed = attrs.evolve(batch, executor=executor)
        try:
            future = executor.submit(do_batch, self.orders, Parcel(batch.jobs), batch.attempt)
        except RuntimeError as error:  # broken, or shut down
            self._again(placed, error)
        else:
            self._futures[future] = placed

    def _helps_with(self, batch: _Batch) -> bool:
        """Whether this process works, too, on what runs nobody's code.

        To judge a spec takes little more than to send it to another process, and its row back.
        """
        if not self._owned or self._queue or any(job.kind != "spec" for job in batch.jobs):
            return False
        return self._alone or len(self._futures) >= 2 * self._processes

    def _again(self, batch: _Batch, error: Exception) -> None:
        """Begin anew with jobs that got lost, at last in this process."""
        if batch.executor is self._executor and isinstance(error, BrokenExecutor | RuntimeError):
            if isinstance(error, BrokenExecutor) and self._owned and batch.executor is not None:
                _end(batch.executor, at_once=True)
                self._executor = None
            elif not self._owned and isinstance(error, BrokenExecutor):
                warnings.warn(
                    f"The executor does not work any more ({str(error) or type(error).__name__}); "
                    "this process goes on alone.",
                    stacklevel=2,
                )
                self._executor = None
        self._submit(attrs.evolve(batch, attempt=batch.attempt + 1, executor=None))


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=prepare_worker
    )


def _end(executor: Executor, at_once: bool) -> None:
    """Shut a pool of our own down; at once means without waiting for what is being worked on."""
    working = list((getattr(executor, "_processes", None) or {}).values()) if at_once else []
    executor.shutdown(wait=not at_once, cancel_futures=True)
    for process in working:
        with contextlib.suppress(OSError, ValueError):
            process.terminate()
    for process in working:
        with contextlib.suppress(OSError, ValueError, AssertionError):
            process.join(5)
