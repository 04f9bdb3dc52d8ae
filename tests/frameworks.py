"""Frameworks as the tests need them."""

from __future__ import annotations

import importlib
import sys
from typing import Any


def import_torchvision() -> Any:
    """Return torchvision, also beside builds of PyTorch that lack its compiled operators.

    None of its classification models needs the operators that may be missing.
    """
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
