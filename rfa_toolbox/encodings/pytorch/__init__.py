"""The PyTorch encoder. It imports torch; import it only where torch is installed."""

from __future__ import annotations

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
