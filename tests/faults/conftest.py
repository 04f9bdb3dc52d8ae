"""Without PyTorch these tests are skipped, unless it is required: then they fail."""

from __future__ import annotations

from tests.without_torch import pytest_pycollect_makemodule

__all__ = ["pytest_pycollect_makemodule"]
