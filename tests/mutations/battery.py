"""Ordinary tests as a list of calls that is cheap to run hundreds of times."""

from __future__ import annotations

import importlib.util
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest

Call = Callable[[], None]


def load(path: Path) -> ModuleType:
    """Return a copy of a test module of which nobody else knows."""
    spec = importlib.util.spec_from_file_location(f"battery_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Battery:
    """The tests of a module, each with every row of its parameters and with fixed examples."""

    def __init__(self, *several: ModuleType) -> None:
        self.calls: list[Call] = [
            call
            for tests in several
            for name, test in vars(tests).items()
            if name.startswith("test_")
            for call in _calls(test)
        ]

        self.calls.sort(key=_seconds)

    def fails(self) -> bool:
        """Return whether any test fails; the one that does is tried first the next time."""
        for place, call in enumerate(self.calls):
            try:
                call()
            except (Exception, pytest.fail.Exception):  # noqa: BLE001, PERF203 - a mutant may raise anything
                self.calls.insert(0, self.calls.pop(place))
                return True
        return False


def _seconds(call: Call) -> float:
    """Return how long a call takes; it must pass."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _calls(test: Any) -> Iterator[Call]:
    marks = [mark for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for row in itertools.product(*map(_arguments, marks)):
        given = {name: value for some in row for name, value in some.items()}
        if hasattr(test, "hypothesis"):
            assert not given
            yield from _examples(test)
        else:
            yield partial(test, **given)


def _arguments(mark: pytest.Mark) -> list[dict[str, Any]]:
    names, rows = mark.args
    if isinstance(names, str):
        return [{names: row} for row in rows]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _examples(test: Any) -> list[Call]:
    """Return calls with the examples that Hypothesis finds for a test, the same every time."""
    inner = test.hypothesis.inner_test
    found: list[Call] = []
    test.hypothesis.inner_test = lambda **drawn: found.append(partial(inner, **drawn))
    hypothesis.seed(0)(test)()
    return found
