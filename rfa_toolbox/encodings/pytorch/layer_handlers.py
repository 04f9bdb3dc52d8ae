"""Handlers: how the nodes of a PyTorch model are called and described.

All but the one that knows a class of PyTorch are those of :mod:`rfa_toolbox.operators.handlers`.
"""

from __future__ import annotations

import attrs
from torch import nn

from rfa_toolbox.operators import handlers
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.handlers import (
    AnyAdaptivePool,
    AnyConv,
    AnyHandler,
    AnyPool,
    ConvNormActivationHandler,
    FlattenHandler,
    FunctionalKernelHandler,
    GenericLayerTypeHandler,
    LayerCall,
    LinearHandler,
    SqueezeExcitationHandler,
)

__all__ = [
    "AnyAdaptivePool",
    "AnyConv",
    "AnyHandler",
    "AnyPool",
    "Conv2d",
    "ConvNormActivationHandler",
    "FlattenHandler",
    "FunctionalKernelHandler",
    "GenericLayerTypeHandler",
    "LayerCall",
    "LinearHandler",
    "SqueezeExcitationHandler",
    "default_chain",
]


@attrs.frozen
class Conv2d(AnyConv):
    """The class ``torch.nn.Conv2d`` and its subclasses."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether the node is a 2-D convolution module."""
        return isinstance(call.module, nn.Conv2d)


def default_chain() -> HandlerChain[LayerCall]:
    """Return the built-in handlers in their order."""
    return handlers.default_chain().with_handler(Conv2d())
