"""What the tests of the documentation share."""

from __future__ import annotations

import importlib
import importlib.util

import pytest


@pytest.fixture
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end of a test which handlers it added for all models."""
    if importlib.util.find_spec("torch") is None:
        return
    utils = importlib.import_module("rfa_toolbox.encodings.pytorch.utils")
    monkeypatch.setattr(utils, "_current", [utils.current_chain()])
