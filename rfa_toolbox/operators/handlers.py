"""Handlers: how nodes are called and described.

What a layer does to the grid is known from the operators that ran; a handler decides on names,
filters and units, or replaces the description where a user knows better. Order matters: the most
specific handler comes first, the catch-all last.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol

import attrs

from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators.chain import HandlerChain

__all__ = [
    "AnyAdaptivePool",
    "AnyConv",
    "AnyHandler",
    "AnyPool",
    "ConvNormActivationHandler",
    "FlattenHandler",
    "FunctionalKernelHandler",
    "GenericLayerTypeHandler",
    "LayerCall",
    "LayerInfoHandler",
    "LinearHandler",
    "SqueezeExcitationHandler",
    "default_chain",
]


@attrs.frozen
class LayerCall:
    """One future node: what ran, where, and what it does to the grid.

    Attributes:
        class_name: class of the module that the node stands for; "" for a function.
        operator: canonical name of the operator, or of the last one of several.
        path: dotted path of the module.
        module: the module itself, as its framework has it; None for a function or where a file was
            read.
        layer: name, kernel and everything else as the operators that ran say.
    """

    class_name: str
    operator: str
    path: str
    module: Any
    layer: LayerDefinition


class LayerInfoHandler(Protocol):
    """Describes one kind of node.

    ``can_handle`` gets a :class:`LayerCall` and
    says whether this handler describes it; calling the handler returns the layer. Whatever it
    raises reaches the user.
    """

    def can_handle(self, call: Any, /) -> bool:
        """Return whether this handler describes the node."""
        ...

    def __call__(self, call: Any, /) -> LayerDefinition:
        """Return the layer that the node stands for."""
        ...


@functools.lru_cache(maxsize=4096)
def _without_counts(layer: LayerDefinition, **counts: int | None) -> LayerDefinition:
    return attrs.evolve(layer, **{"filters": None, "units": None, **counts})


@attrs.frozen
class AnyConv:
    """Convolutions of any kind and number of axes, as module or function."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether a convolution ran."""
        return call.operator.startswith("conv")

    def __call__(self, call: LayerCall, /) -> LayerDefinition:
        """Return the layer with its number of output channels as filters."""
        return _without_counts(call.layer, filters=call.layer.filters)


@attrs.frozen
class ConvNormActivationHandler(AnyConv):
    """Torchvision's blocks of convolution, norm and activation, shown as one node."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether the node is such a block."""
        return call.class_name in ("ConvNormActivation", "Conv2dNormActivation", "ConvBNActivation")


@attrs.frozen
class _Plain:
    """Shows a layer as it is, without filters or units."""

    def __call__(self, call: LayerCall, /) -> LayerDefinition:
        """Return the layer as the operators that ran say."""
        return _without_counts(call.layer)


@attrs.frozen
class AnyAdaptivePool(_Plain):
    """Adaptive pooling of any kind, as module or function."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether an adaptive pooling ran."""
        return call.operator.startswith("adaptive_")


@attrs.frozen
class AnyPool(_Plain):
    """Max, average, power and fractional pooling, as module or function."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether a pooling ran."""
        return "_pool" in call.operator and not call.operator.startswith("adaptive_")


@attrs.frozen
class SqueezeExcitationHandler(_Plain):
    """Gates, as in squeeze-and-excitation, shown as one node."""

    operator: str = "squeeze_excitation"

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether the node stands for a gate."""
        return call.operator == self.operator


@attrs.frozen
class LinearHandler:
    """Dense layers, as module or function."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether a dense layer ran."""
        return call.operator == "linear"

    def __call__(self, call: LayerCall, /) -> LayerDefinition:
        """Return the layer with its number of output features as units."""
        return _without_counts(call.layer, units=call.layer.units)


@attrs.frozen
class FlattenHandler(_Plain):
    """Flattening, as module or function."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether a flatten ran."""
        return call.operator == "flatten"


@attrs.frozen
class FunctionalKernelHandler:
    """Functions without a module of their own, such as ``torch.cat`` or ``x + y``."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether the node stands for a function."""
        return not call.class_name

    def __call__(self, call: LayerCall, /) -> LayerDefinition:
        """Return the layer as the operators that ran say."""
        return call.layer


@attrs.frozen
class AnyHandler:
    """The catch-all: every node, as the operators that ran say."""

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return True."""
        return True

    def __call__(self, call: LayerCall, /) -> LayerDefinition:
        """Return the layer as the operators that ran say."""
        return call.layer


@attrs.frozen
class GenericLayerTypeHandler:
    """Shows every module of one class as one node, described by the user's own functions.

    Attributes:
        class_name: name of the module's class.
        name_handler: gets the module and the class name, returns the name of the layer.
        kernel_size_provider: gets the module, returns a number, one per axis, or None
            (everything is seen).
        stride_size_provider: gets the module, returns a number or one per axis.
        filters_provider: gets the module, returns the number of output channels or None.
        units_provider: gets the module, returns the number of output features or None.
        padding_provider: gets the module, returns the units that the layer adds on both sides of
            its input, as ``LayerDefinition.padding``, or None: it is not known which pixels it
            sees.
    """

    class_name: str
    name_handler: Callable[[Any, str], str] = lambda module, name: name
    kernel_size_provider: Callable[[Any], Any] = lambda module: 1
    stride_size_provider: Callable[[Any], Any] = lambda module: 1
    filters_provider: Callable[[Any], int | None] = lambda module: None
    units_provider: Callable[[Any], int | None] = lambda module: None
    padding_provider: Callable[[Any], Any] = lambda module: None

    @property
    def class_names(self) -> frozenset[str]:
        """The module classes that this handler wants to see as one node."""
        return frozenset({self.class_name})

    def can_handle(self, call: LayerCall, /) -> bool:
        """Return whether the node stands for a module of this class."""
        return call.class_name == self.class_name

    def __call__(self, call: LayerCall, /) -> LayerDefinition:
        """Return what the user's functions say of the module."""
        module = call.module
        return LayerDefinition(
            name=self.name_handler(module, self.class_name),
            kernel_size=self.kernel_size_provider(module),
            stride_size=self.stride_size_provider(module),
            filters=self.filters_provider(module),
            units=self.units_provider(module),
            padding=self.padding_provider(module),
        )


def default_chain() -> HandlerChain[LayerCall]:
    """Return the built-in handlers in their order."""
    handlers: tuple[LayerInfoHandler, ...] = (
        SqueezeExcitationHandler(),
        ConvNormActivationHandler(),
        AnyConv(),
        AnyAdaptivePool(),
        AnyPool(),
        LinearHandler(),
        FlattenHandler(),
        FunctionalKernelHandler(),
        AnyHandler(),
    )
    return HandlerChain(handlers)
