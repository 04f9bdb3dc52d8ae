"""A process in which strangers' code may do its worst: hang, eat memory, or end itself.

Code of candidates runs in a child of whichever process works on them. The child does one candidate
after the other and hands back one row for each. If it takes too long it is killed, if it dies it is
started anew, and the candidate that did it becomes a row with an error.

The child is a plain program that speaks through its standard input and output, so that it works
below any executor, also where processes may have no children that multiprocessing would start.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from rfa_toolbox.screening import candidates
from rfa_toolbox.screening.candidates import Job
from rfa_toolbox.screening.judging import Question, error_row, row_of
from rfa_toolbox.screening.rows import ScreeningRow

__all__ = ["Limits", "Sandbox", "program_of", "spare_collections"]

PREPARING = 120.0
"""Seconds in which a process must have imported a candidate's module, beside the time limit."""

DIED = "WorkerDied"

_READY = "ready"
_LENGTH = struct.Struct(">Q")


@attrs.frozen(slots=True)
class Limits:
    """What one candidate may use.

    Attributes:
        seconds: time to make and judge it, once its module is imported.
        memory: bytes beyond what the process has before it; None is any number. It holds where the
            operating system can limit it (Linux).
    """

    seconds: float
    memory: int | None


def program_of() -> dict[str, Any]:
    """Return what another process needs to find the functions of this program again."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    outline = getattr(main, "__spec__", None)
    return {
        "path": list(sys.path),
        "folder": str(Path.cwd()),
        "module": None if outline is None else outline.name,
        "file": str(Path(file).resolve()) if file and file.endswith(".py") else None,
    }


class Sandbox:
    """A child process that judges candidates; ``close`` ends it.

    Args:
        program: what ``program_of`` returned where the candidates come from.
        limits: what one candidate may use.
    """

    def __init__(self, program: Mapping[str, Any], limits: Limits) -> None:
        self.program = dict(program)
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def rows(self, jobs: Sequence[Job], question: Question) -> Iterator[ScreeningRow]:
        """Yield the rows of candidates in their order, whatever they do to the child.

        All are sent at once, and those that a child leaves behind again to the next one. Who began
        first in a child is to blame for its end; any other candidate is tried once more in a child
        of its own, as what one left behind, such as a thread, may have ended the child.
        """
        left = deque(jobs)
        try:
            while left:
                fresh = self._child is None
                for number, row in enumerate(self._until_end(tuple(left), question)):
                    if row.error == DIED and (number or not fresh):
                        break
                    left.popleft()
                    yield row
        finally:
            if left:  # nobody waits for them any more
                self.close()

    def _until_end(self, jobs: Sequence[Job], question: Question) -> Iterator[ScreeningRow]:
        """Yield the rows of candidates until the child ends, or has to."""
        start = time.perf_counter()
        try:
            _send(self._running().stdin, (jobs, question))
        except OSError:  # it is gone, or cannot be started
            self._answers.put(None)
        for number, job in enumerate(jobs):
            try:
                answer = self._answer_to(number)
            except queue.Empty:
                self.close()
                said = f"The candidate took longer than the limit of {self.limits.seconds:g} s."
                yield error_row(job.key, "TimeLimit", said, time.perf_counter() - start)
                return
            if answer is None:
                yield error_row(job.key, DIED, self._death(), time.perf_counter() - start)
                return
            row, spoiled = answer
            if spoiled:
                self.close()
            yield row
            if spoiled:
                return
            start = time.perf_counter()

    def _answer_to(self, number: int) -> tuple[ScreeningRow, bool] | None:
        """Return the answer to a job; None if the child is gone, or does not know what it says.

        Raises:
            queue.Empty: if it takes too long.
        """
        answer = self._answers.get(timeout=PREPARING + self.limits.seconds)
        if answer == (number, _READY):
            answer = self._answers.get(timeout=self.limits.seconds)
        match answer:
            case (int(at), (ScreeningRow() as row, bool(spoiled))) if at == number:
                return row, spoiled
        return None

    def close(self) -> None:
        """End the child, and whatever it has started."""
        child, self._child = self._child, None
        if child is None:
            return
        _kill(child)
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _death(self) -> str:
        child = self._child
        code = None
        if child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(1)
        self.close()
        if code is not None and code < 0:
            try:
                how = f"was ended by {signal.Signals(-code).name}"
            except ValueError:
                how = f"was ended by signal {-code}"
        else:
            how = "ended" if code is None else f"ended with exit code {code}"
        return f"The process {how} while it worked on this candidate."

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None:
            return self._child
        environment = {**os.environ, **ONE_THREAD}
        package = str(Path(__file__).resolve().parents[2])
        others = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([package, *([others] if others else [])])
        child = subprocess.Popen(
            [sys.executable, "-c", "from rfa_toolbox.screening.sandbox import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        self._child = child
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._answers = answers
        threading.Thread(target=_receive_all, args=(child.stdout, answers.put), daemon=True).start()
        _send(child.stdin, (self.program, self.limits.memory))
        return child


ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill a child with all processes of its session."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (AttributeError, OSError):  # Windows has no sessions; or all are gone already
        child.kill()


# --- both ends of the pipe -------------------------------------------------------------------


def _send(pipe: Any, value: Any) -> None:
    content = pickle.dumps(value)
    pipe.write(_LENGTH.pack(len(content)) + content)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    """Return the next value from a pipe; None at its end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    content = pipe.read(length)
    return pickle.loads(content) if len(content) == length else None  # noqa: S301 - our own child


def _receive_all(pipe: BinaryIO, put: Callable[[Any], None]) -> None:
    """Hand on what comes from a pipe, and None at its end."""
    while True:
        try:
            value = _receive(pipe)
        except Exception:  # noqa: BLE001 - a pipe that was closed, or what nobody can read
            value = None
        put(value)
        if value is None:
            return


# --- the child -------------------------------------------------------------------------------


def serve() -> None:
    """Judge what comes through standard input until it ends; the whole life of a child."""
    reading, writing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what candidates read and print is nobody's business
        os.dup2(nothing, standard)
    program, memory = _receive(reading)
    _enter(program)
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(value: Any) -> None:
        if value is None:  # the parent is gone
            os._exit(0)
        waiting.put(value)

    threading.Thread(target=_receive_all, args=(reading, put), daemon=True).start()
    spare_collections()
    me = os.getpid()
    while True:
        jobs, question = waiting.get()
        for number, job in enumerate(jobs):
            _prepare(job)
            _send(writing, (number, _READY))
            with _limited(memory):
                row = row_of(job, question)
            if os.getpid() != me:  # what a candidate made by forking
                os._exit(0)
            spoiled = row.error == "MemoryError"
            _send(writing, (number, (row, spoiled)))
            if spoiled:
                break


def spare_collections() -> None:
    """Look for garbage in cycles more rarely, in a process of our own, and not at its end.

    What it knows of a search space grows, and is all looked at again whenever it grew by a quarter.
    """
    gc.freeze()
    gc.set_threshold(2_000, 20, 100)
    atexit.register(gc.freeze)


def _enter(program: Mapping[str, Any]) -> None:
    """Make this process find the modules of the program that the candidates come from."""
    with contextlib.suppress(OSError):
        os.chdir(program["folder"])
    sys.path.extend(one for one in program["path"] if one not in sys.path)
    candidates.remember_program(program["module"], program["file"])


def _prepare(job: Job) -> None:
    """Import what a candidate comes from, which takes time only once; errors come later again."""
    if job.kind != "code":
        return
    with contextlib.suppress(BaseException):
        candidates.unpacked(job.payload)
        for framework, encoder in _ENCODERS.items():
            if framework in sys.modules:
                importlib.import_module(encoder)


_ENCODERS = {
    "torch": "rfa_toolbox.encodings.pytorch.ingest_architecture",
    "keras": "rfa_toolbox.encodings.tensorflow_keras.ingest_architecture",
}


@contextlib.contextmanager
def _limited(memory: int | None) -> Any:
    """Let this process have so many bytes more, where the operating system can see to it."""
    used = None if memory is None else _data_in_use()
    if used is None or memory is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = used + memory
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == -1 else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_in_use() -> int | None:
    """Return the bytes of this process that the limit counts; None where nobody says."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123 - a third of the time
            pages = file.read().split()[5]
    except (OSError, IndexError):
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
