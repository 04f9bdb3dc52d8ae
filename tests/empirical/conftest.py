"""Without PyTorch these tests are skipped, unless it is required: then they fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

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
