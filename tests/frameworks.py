"""Frameworks as the tests need them."""

from __future__ import annotations

import importlib
import sys
from typing import Any
from unittest import mock


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


def keras_application(name: str, **options: Any) -> Any:
    """Return a model of keras.applications without weights of any value.

    Args:
        name: of the function that makes it.
        options: other arguments of that function.
    """
    keras = importlib.import_module("keras")
    make = getattr(keras.applications, name)
    if not name.startswith("NASNet") or keras.backend.backend() != "torch":
        return make(weights=None, **options)
    # Keras refuses to make them with PyTorch, where training had a bug; all their layers work.
    module = importlib.import_module("keras.src.applications.nasnet")
    pretended = mock.Mock(wraps=module.backend, backend=lambda: "jax")
    with mock.patch.object(module, "backend", pretended):
        return make(weights=None, **options)
