"""A process in which strangers' code may do its worst: hang, eat memory, or end itself.

Code of candidates runs in a child of whichever process works on them. The child does one candidate
after the other and hands back one row for each. If it takes too long it is killed, if it dies it is
started anew, and the candidate that did it becomes a row with an error.

The child is a plain program that speaks through its standard input and output, so that it works
below any executor, also where processes may have no children that multiprocessing would start.
"""

from __future__ import annotations

import contextlib
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from rfa_toolbox.screening import candidates
from rfa_toolbox.screening.candidates import Job
from rfa_toolbox.screening.judging import Question, error_row, row_of
from rfa_toolbox.screening.rows import ScreeningRow

__all__ = ["Limits", "Sandbox", "program_of"]

PREPARING = 120.0
"""Seconds in which a process must have imported a candidate's module, beside the time limit."""

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

    def row(self, job: Job, question: Question) -> ScreeningRow:
        """Return the row of a candidate, whatever it does to the child."""
        start = time.perf_counter()
        try:
            child = self._running()
            _send(child.stdin, (job, question))
            answer = self._answers.get(timeout=PREPARING + self.limits.seconds)
            if answer == _READY:
                answer = self._answers.get(timeout=self.limits.seconds)
        except queue.Empty:
            self.close()
            limit = f"{self.limits.seconds:g} s"
            return error_row(
                job.key,
                "TimeLimit",
                f"The candidate took longer than the limit of {limit}.",
                time.perf_counter() - start,
            )
        except (BrokenPipeError, OSError):
            answer = None
        except BaseException:
            self.close()
            raise
        if answer is None:
            reason = self._death()
            return error_row(job.key, "WorkerDied", reason, time.perf_counter() - start)
        row, spoiled = answer
        if spoiled:
            self.close()
        found: ScreeningRow = row
        return found

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
                code = child.wait(5)
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
    while True:
        job, question = waiting.get()
        _prepare(job)
        _send(writing, _READY)
        with _limited(memory):
            row = row_of(job, question)
        _send(writing, (row, row.error == "MemoryError"))


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
        if "torch" in sys.modules:
            importlib.import_module("rfa_toolbox.encodings.pytorch.ingest_architecture")


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
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = next((line for line in status.splitlines() if line.startswith("VmData:")), None)
    return None if found is None else int(found.split()[1]) * 1024
