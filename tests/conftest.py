"""What all tests share."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import hypothesis
import pytest

from tests.frameworks import import_torchvision

# A busy machine is no fault of the code: tests of time are in benchmarks/.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files anew instead of comparing with them",
    )


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """Return torchvision."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    return import_torchvision()
