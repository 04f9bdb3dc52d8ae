"""Candidates that do their worst."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rfa_toolbox.screening import GraphSpec, chain, conv


def good(width: int = 8) -> GraphSpec:
    return GraphSpec(chain(conv(width, 3)))


def raises(number: int) -> None:
    raise KeyError(f"line one of {number}\nline two")


def hangs(number: int) -> None:
    while True:
        time.sleep(0.01)


def returns_none(number: int) -> None:
    return None


def prints(number: int) -> GraphSpec:
    print("x" * 100_000, flush=True)  # noqa: T201 - that is what it is for
    os.write(1, b"garbage\xff" * 1000)
    sys.stderr.write("noise")
    return good()


def exits(number: int) -> None:
    sys.exit("enough")


def exits_hard(number: int) -> None:
    os._exit(number % 5)


def allocates(number: int) -> list[bytearray]:
    held = []
    while True:
        held.append(bytearray(50_000_000))


def recurses(number: int) -> None:
    recurses(number)


def crashes(number: int) -> None:
    ctypes.string_at(0)


def interrupts(number: int) -> None:
    raise KeyboardInterrupt


def forks(number: int) -> GraphSpec:
    os.fork()
    return good(number + 1)


def ends_others(number: int) -> GraphSpec:
    """Leave a thread behind that ends the process while it works on the next candidate."""
    threading.Timer(0.1, os._exit, [7]).start()
    return good(number + 1)


def sleeps(number: int) -> GraphSpec:
    time.sleep(0.2)
    return good(number + 1)


def counted(folder: str, number: int, seconds: float = 0.0) -> GraphSpec:
    """Leave a line for every time that this candidate is made, slowly while a file says so."""
    with Path(folder, f"{os.getpid()}.txt").open("a") as file:
        file.write(f"{number}\n")
    if Path(folder, "slow").exists():
        time.sleep(seconds)
    return good(number + 1)


def kills_parent_once(folder: str, number: int) -> GraphSpec:
    """End the process that works on this candidate, the first time that it comes."""
    mark = Path(folder, "killed")
    if not mark.exists():
        mark.touch()
        os.kill(os.getppid(), 9)
        time.sleep(60)
    return good(number + 1)


KINDS: tuple[Any, ...] = (
    raises, hangs, returns_none, prints, exits, exits_hard, allocates, recurses, crashes,
    interrupts, forks,
)  # fmt: skip
