"""What the benchmarks share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.frameworks import import_torchvision


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """Return torchvision."""
    return import_torchvision()
