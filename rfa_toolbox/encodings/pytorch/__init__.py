"""The PyTorch encoder. It imports torch; import it only where torch is installed."""

from __future__ import annotations

from importlib.util import find_spec

from rfa_toolbox.errors import MissingFrameworkError

if find_spec("torch") is None:
    raise MissingFrameworkError(
        "Reading PyTorch models needs torch, which is not installed; install it with "
        "pip install torch, or with this package as the extra 'torch'.",
        name="torch",
    )

from rfa_toolbox.encodings.pytorch.utils import (
    add_custom_layer_handler,
    remove_custom_layer_handler,
    toggle_coerce_torch_functional,
)

__all__ = [
    "add_custom_layer_handler",
    "remove_custom_layer_handler",
    "toggle_coerce_torch_functional",
]
