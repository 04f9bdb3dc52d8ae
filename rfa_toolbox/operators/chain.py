"""The ordered chain of handlers that all encoders share.

A handler says whether it can describe one call of a layer, and describes it. The chain asks its
handlers in order, the most specific one first, and takes the first answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import attrs

from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.graphs import LayerDefinition

__all__ = ["Handler", "HandlerChain"]

Call = TypeVar("Call")
Call_contra = TypeVar("Call_contra", contravariant=True)


class Handler(Protocol[Call_contra]):
    """Describes one kind of layer.

    ``can_handle`` must not raise; what ``__call__`` raises reaches the user as it is.
    """

    def can_handle(self, call: Call_contra, /) -> bool:
        """Return whether this handler describes this call of a layer."""
        ...

    def __call__(self, call: Call_contra, /) -> LayerDefinition:
        """Return what the layer does to the grid that it slides over."""
        ...


def _to_tuple(handlers: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(handlers)


@attrs.frozen
class HandlerChain(Generic[Call]):
    """Handlers in the order in which they are asked.

    A chain never changes: ``with_handler`` and ``without_handler`` return new ones.

    >>> HandlerChain().with_handler(print).handlers == (print,)
    True
    """

    handlers: tuple[Any, ...] = attrs.field(default=(), converter=_to_tuple)

    def with_handler(self, handler: Handler[Call]) -> HandlerChain[Call]:
        """Return a chain that asks this handler before all the others."""
        return HandlerChain((handler, *self.handlers))

    def without_handler(self, handler: Handler[Call]) -> HandlerChain[Call]:
        """Return a chain that does not ask this handler.

        Raises:
            ValueError: if the handler is not in the chain.
        """
        if handler not in self.handlers:
            raise ValueError(
                f"The handler {handler!r} is not in the chain; it has {list(self.handlers)!r}."
            )
        return HandlerChain(tuple(known for known in self.handlers if known != handler))

    def find(self, call: Call) -> Handler[Call]:
        """Return the first handler that describes this call.

        Raises:
            UnsupportedModelError: if there is none.
        """
        for handler in self.handlers:
            if handler.can_handle(call):
                return handler  # type: ignore[no-any-return]
        raise UnsupportedModelError(
            f"No handler describes {call!r}; add one in front with chain.with_handler(...)."
        )

    def describe(self, call: Call) -> LayerDefinition:
        """Return what the first handler that describes this call says of it."""
        return self.find(call)(call)
