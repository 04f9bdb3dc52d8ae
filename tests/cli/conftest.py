"""How the tests run ``rfa``: in this process where that shows the same, else as a program."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from rfa_toolbox.cli import main

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "rfa_toolbox")


@attrs.frozen
class Run:
    """What a run of ``rfa`` left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    def complaint(self) -> str:
        """Return the one line of an error; nothing else may have been written."""
        assert self.code == 2, self
        assert self.out == ""
        assert self.err.startswith("rfa: error: "), self.err
        assert self.err.endswith("\n"), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("rfa: error: ").rstrip()


@pytest.fixture(autouse=True)
def no_traces_of_models() -> Iterator[None]:
    """Forget at the end of a test which folders and files models were looked for in."""
    paths, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if name.startswith(("_model_file_", "user_models")):
            del sys.modules[name]


@pytest.fixture
def rfa(capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Return a function that runs ``rfa`` in this process."""

    def run(*words: str | Path) -> Run:
        code = main([str(word) for word in words])
        return Run(code, *capfd.readouterr())

    return run


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a program that finds this checkout, without colours asked for."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "COLORTERM")
    }
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


def run_process(words: Sequence[str | Path], prefix: Sequence[str] = (), **changes: str) -> Run:
    """Run ``rfa`` as a program, through the program ``prefix`` if there is one."""
    done = subprocess.run(
        [*prefix, *COMMAND, *map(str, words)],
        capture_output=True,
        timeout=120,
        check=False,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
    )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_in_terminal(words: Sequence[str], columns: int = 80, **changes: str) -> Run:
    """Run ``rfa`` as a program in a terminal; all that the terminal shows is in ``out``."""
    import fcntl
    import pty
    import struct
    import termios

    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    program = subprocess.Popen(
        [*COMMAND, *words],
        stdin=writing,
        stdout=writing,
        stderr=writing,
        env=environment(**{"TERM": "xterm-256color", **changes}),
    )
    os.close(writing)
    shown = b""
    with contextlib.suppress(OSError):  # what Linux says when the last writer is gone
        while part := os.read(reading, 65536):
            shown += part
    os.close(reading)
    return Run(program.wait(60), shown.decode().replace("\r\n", "\n"), "")
