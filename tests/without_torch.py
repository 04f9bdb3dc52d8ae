"""The tests of a folder need PyTorch: without it they are skipped, or fail if it is required.

The conftest.py of such a folder takes the hook from here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["pytest_pycollect_makemodule"]

REQUIRED = "torch" in os.environ.get("RFA_TEST_REQUIRE", "").split()


class _NeedsTorch(pytest.Module):
    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        pytest.skip("PyTorch is not installed", allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    if REQUIRED or find_spec("torch") is not None:
        return None
    return _NeedsTorch.from_parent(parent, path=module_path)
