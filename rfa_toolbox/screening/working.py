"""What a worker does, in this process or in one of any executor: a batch of jobs becomes rows."""

from __future__ import annotations

import atexit
import contextlib
import gc
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from rfa_toolbox.screening.candidates import Job
from rfa_toolbox.screening.judging import Question, row_of
from rfa_toolbox.screening.rows import ScreeningRow
from rfa_toolbox.screening.sandbox import ONE_THREAD, Limits, Sandbox, spare_collections

__all__ = ["Orders", "close_sandbox", "do_batch", "prepare_worker"]


@attrs.frozen(slots=True)
class Orders:
    """How a worker is to treat candidates.

    Attributes:
        question: what is asked of each.
        limits: what each may use.
        program: where the functions of the candidates are found.
        isolate: whether code runs in a process of its own.
    """

    question: Question
    limits: Limits
    program: Mapping[str, Any]
    isolate: bool


ATTEMPTS = 3
"""So often a batch is handed to an executor before the process that handed it out does it."""

_mine = threading.local()
_all: list[Sandbox] = []


Done: TypeAlias = "tuple[list[ScreeningRow], float]"
"""Rows, and the seconds that they took together."""


def do_batch(orders: Orders, jobs: Sequence[Job], attempt: int) -> Done:
    """Return the rows of some candidates, in their order, and how long they took in seconds.

    ``attempt`` counts how often these jobs got lost, from 0. After too many times nothing is
    trusted any more, and all that is isolated which can be.
    """
    start = time.perf_counter()
    inside = [attempt >= ATTEMPTS or (orders.isolate and job.kind == "code") for job in jobs]
    isolated = list(itertools.compress(jobs, inside))
    answers = _sandbox(orders).rows(isolated, orders.question) if isolated else iter(())
    with _uncollected() if _are_specs(jobs) else contextlib.nullcontext():
        rows = [
            next(answers) if one else row_of(job, orders.question)
            for job, one in zip(jobs, inside, strict=True)
        ]
    return rows, time.perf_counter() - start


def _are_specs(jobs: Sequence[Job]) -> bool:
    return all(job.kind == "spec" for job in jobs)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage in cycles meanwhile: whoever judges specs makes none."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _sandbox(orders: Orders) -> Sandbox:
    """Return the sandbox of this thread, which is kept for the next batches."""
    found: Sandbox | None = getattr(_mine, "sandbox", None)
    if found is None or found.limits != orders.limits or found.program != orders.program:
        if found is not None:
            found.close()
        found = _mine.sandbox = Sandbox(orders.program, orders.limits)
        _all.append(found)
    return found


def close_sandbox() -> None:
    """End the sandbox of this thread."""
    found: Sandbox | None = getattr(_mine, "sandbox", None)
    if found is not None:
        found.close()
        _mine.sandbox = None
        with contextlib.suppress(ValueError):
            _all.remove(found)


@atexit.register
def _close_all() -> None:
    for one in _all:
        one.close()


def prepare_worker() -> None:
    """Initialise a process of a pool: one thread, and Ctrl-C is for who hands out the work."""
    os.environ.update(ONE_THREAD)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spare_collections()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, also if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
