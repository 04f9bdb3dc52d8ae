"""What a run of the tests is meant to cover must be there: nothing is skipped in silence."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec

import pytest

VARIABLE = "RFA_TEST_REQUIRE"
PROGRAMS = ("dot", "npx")


def missing(required: str) -> list[str]:
    """Return the names that are neither importable modules nor, for some, programs."""
    return [
        name
        for name in required.split()
        if (shutil.which(name) if name in PROGRAMS else find_spec(name)) is None
    ]


def test_a_missing_framework_is_noticed() -> None:
    assert missing("pytest no_such_framework") == ["no_such_framework"]


def test_everything_that_this_run_must_cover_is_installed() -> None:
    required = os.environ.get(VARIABLE)
    if required is None:
        pytest.skip(f"{VARIABLE} names nothing that this run must cover")
    assert not missing(required), f"{VARIABLE} is {required!r}, but these are not installed."
