"""The handlers that hold for all models of a process, and ways to change them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from rfa_toolbox.encodings.pytorch.layer_handlers import (
    GenericLayerTypeHandler,
    LayerCall,
    default_chain,
)
from rfa_toolbox.errors import InvalidLayerError
from rfa_toolbox.operators.chain import HandlerChain

__all__ = [
    "add_custom_layer_handler",
    "current_chain",
    "remove_custom_layer_handler",
    "toggle_coerce_torch_functional",
]

_current: list[HandlerChain[LayerCall]] = [default_chain()]


def current_chain() -> HandlerChain[LayerCall]:
    """Return the chain that models are encoded with where none is passed.

    >>> len(current_chain().handlers) > 5
    True
    """
    return _current[-1]


def add_custom_layer_handler(
    class_name: str,
    name_handler: Callable[[Any, str], str] = lambda x, y: y,
    kernel_size_provider: Callable[[Any], Any] = lambda x: 1,
    stride_size_provider: Callable[[Any], Any] = lambda x: 1,
    filters_provider: Callable[[Any], int | None] = lambda x: None,
    units_provider: Callable[[Any], int | None] = lambda x: None,
    padding_provider: Callable[[Any], Any] = lambda x: None,
) -> GenericLayerTypeHandler:
    """Show every module of a class as one node, described by these functions, from now on.

    The new handler is asked **before** all the others. Every function gets the module.

    Args:
        class_name: name of the module's class.
        name_handler: gets the module and the class name, returns what to call the layer.
        kernel_size_provider: returns a number, one per axis, or None: it sees everything.
        stride_size_provider: returns a number, or one per axis.
        filters_provider: returns the number of output channels, or None.
        units_provider: returns the number of output features, or None.
        padding_provider: returns the units that the layer adds on both sides of its input: a
            number, a pair (in front, behind) per axis, or None where that is not known. Which
            pixels the layers behind it see is known with it only.

    Returns:
        the handler, for ``remove_custom_layer_handler``.

    Raises:
        InvalidLayerError: a ValueError, if ``class_name`` is no name.

    >>> handler = add_custom_layer_handler("MyLayer", kernel_size_provider=lambda module: 3)
    >>> remove_custom_layer_handler("MyLayer")
    """
    given: object = class_name
    if not isinstance(given, str) or not given:
        raise InvalidLayerError(
            f"class_name is {class_name!r}; it must be the name of a module class, such as "
            "'MyLayer'."
        )
    functions: dict[str, Callable[..., Any]] = {
        "name_handler": name_handler,
        "kernel_size_provider": kernel_size_provider,
        "stride_size_provider": stride_size_provider,
        "filters_provider": filters_provider,
        "units_provider": units_provider,
        "padding_provider": padding_provider,
    }
    for name, provider in functions.items():
        if not callable(provider):
            raise InvalidLayerError(
                f"{name} is {provider!r}; it must be a function of the module, such as "
                f"lambda module: {provider!r}."
            )
    handler = GenericLayerTypeHandler(class_name, **functions)
    _current[-1] = _current[-1].with_handler(handler)
    return handler


def remove_custom_layer_handler(handler: GenericLayerTypeHandler | str) -> None:
    """Take a handler out again: the one that was returned, or all for a class name.

    Raises:
        ValueError: if there is no such handler.
    """
    chain = _current[-1]
    if not isinstance(handler, str):
        _current[-1] = chain.without_handler(handler)
        return
    found = [
        known
        for known in chain.handlers
        if isinstance(known, GenericLayerTypeHandler) and known.class_name == handler
    ]
    if not found:
        names = [
            known.class_name
            for known in chain.handlers
            if isinstance(known, GenericLayerTypeHandler)
        ]
        raise ValueError(f"No handler shows {handler!r}; there are handlers for {names!r}.")
    for known in found:
        chain = chain.without_handler(known)
    _current[-1] = chain


def toggle_coerce_torch_functional(
    coerce: bool = True, kernel_size: int = 1, stride_size: int = 1, handler_idx: int = -2
) -> None:
    """Do nothing; functions are read exactly now. Deprecated since 2.0.0."""
    del coerce, kernel_size, stride_size, handler_idx
    warnings.warn(
        "toggle_coerce_torch_functional does nothing since rfa_toolbox 2.0.0: functions such as "
        "F.max_pool2d are read with their own kernel and stride.",
        DeprecationWarning,
        stacklevel=2,
    )
