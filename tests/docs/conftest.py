"""Make torchvision importable beside builds of PyTorch that lack its compiled operators."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import pytest


@pytest.fixture
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end of a test which handlers it added for all models."""
    if importlib.util.find_spec("torch") is None:
        return
    utils = importlib.import_module("rfa_toolbox.encodings.pytorch.utils")
    monkeypatch.setattr(utils, "_current", [utils.current_chain()])


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """Return torchvision; its models need none of the operators that may be missing."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    torch = importlib.import_module("torch")
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    module = importlib.import_module("torchvision")
    module.__dict__["_missing_operators"] = library  # operators live as long as their library
    return module
