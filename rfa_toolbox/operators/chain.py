"""The ordered chain of handlers that all encoders share.

A handler says whether it can describe one call of a layer, and describes it. The chain asks its
handlers in order, the most specific one first, and takes the first answer.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import attrs

from rfa_toolbox.errors import InvalidLayerError, UnsupportedModelError
from rfa_toolbox.graphs import LayerDefinition

if TYPE_CHECKING:
    from rfa_toolbox.operators.effects import Effect

__all__ = ["Handler", "HandlerChain", "UserRule", "add_rule", "remove_rule", "warn_of_unused"]

UserRule: TypeAlias = (
    "Callable[[Sequence[tuple[int, ...]], Mapping[str, Any]], "
    "LayerDefinition | Mapping[str, Any] | Effect]"
)
"""Gets the shapes of the tensors that an operation reads, and its other arguments by name; returns
what it does: a layer, the arguments of one, or an effect."""

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


def _to_rules(rules: Mapping[str, UserRule]) -> Mapping[str, UserRule]:
    return MappingProxyType(dict(rules))


@attrs.frozen
class HandlerChain(Generic[Call]):
    """Handlers in the order in which they are asked.

    A chain never changes: ``with_handler``, ``without_handler`` and ``with_rule`` return new ones.

    Attributes:
        handlers: the handlers, the one that is asked first in front.
        rules: by name of an operation what a user says that it does.

    >>> HandlerChain().with_handler(print).handlers == (print,)
    True
    """

    handlers: tuple[Any, ...] = attrs.field(default=(), converter=_to_tuple)
    rules: Mapping[str, UserRule] = attrs.field(factory=dict, converter=_to_rules, hash=False)

    def with_handler(self, handler: Handler[Call]) -> HandlerChain[Call]:
        """Return a chain that asks this handler before all the others."""
        return attrs.evolve(self, handlers=(handler, *self.handlers))

    def without_handler(self, handler: Handler[Call]) -> HandlerChain[Call]:
        """Return a chain that does not ask this handler.

        Raises:
            ValueError: if the handler is not in the chain.
        """
        if handler not in self.handlers:
            raise ValueError(
                f"The handler {handler!r} is not in the chain; it has {list(self.handlers)!r}."
            )
        return attrs.evolve(self, handlers=[known for known in self.handlers if known != handler])

    def with_rule(self, name: str, rule: UserRule) -> HandlerChain[Call]:
        """Return a chain that says what an operation does, wherever it runs.

        Args:
            name: the operation as its format names it, with the library in front that it is from:
                "acme::blur" for ``torch.ops.acme.blur``, for an operator "blur" of the domain
                "acme" in an ONNX file, and for a Keras layer that was registered as "acme>blur".
            rule: gets the shapes of the tensors that the operation reads, batch first, and its
                other arguments by name. It returns a ``LayerDefinition``, or a mapping of the
                arguments of one: ``kernel_size``, ``stride_size``, ``dilation``, ``padding``,
                ``upsampling``, each one number or one per axis. Or an ``Effect``, for what these
                cannot say. Without a padding it is not known which pixels are seen behind it.

        Raises:
            InvalidLayerError: a ValueError, if ``name`` is no text, or ``rule`` no function.

        >>> chain = HandlerChain().with_rule("acme::blur", lambda shapes, arguments: {
        ...     "kernel_size": arguments["size"], "stride_size": 2, "padding": 1})
        >>> chain.rules["acme::blur"]([(1, 3, 8, 8)], {"size": 3})["kernel_size"]
        3
        """
        _check_rule(name, rule)
        return attrs.evolve(self, rules={**self.rules, name: rule})

    def rule_of(self, name: str) -> UserRule | None:
        """Return what a user says of an operation: in this chain, else for all chains."""
        key = name.replace(">", "::")
        for rules in (self.rules, _FOR_ALL):
            for known in (name, key):
                if known in rules:
                    return rules[known]
        return None

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


def warn_of_unused(
    chain: HandlerChain[Any], names: Iterable[str], model_name: str, stacklevel: int = 6
) -> None:
    """Warn of rules of a chain if no operation of a model has their name.

    Args:
        chain: whose rules were given for this model; those for all models may be for others.
        names: the names of all its operations.
        model_name: what to call the model.
        stacklevel: as for ``warnings.warn``.
    """
    known = sorted({name.replace(">", "::") for name in names})
    for name in chain.rules:
        if name.replace(">", "::") not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5) or known[:10]
            warnings.warn(
                f"There is a rule for {name!r}, but no operation of {model_name} has that name, so "
                f"it says nothing; there are {', '.join(map(repr, near))}.",
                UserWarning,
                stacklevel=stacklevel,
            )


_FOR_ALL: dict[str, UserRule] = {}


def add_rule(name: str, rule: UserRule) -> None:
    """Say what an operation does, for all models of all formats from now on.

    For a single call, use ``HandlerChain.with_rule``, which describes the arguments.

    Raises:
        InvalidLayerError: a ValueError, if ``name`` is no text, or ``rule`` no function.

    >>> add_rule("acme::blur", lambda shapes, arguments: {"kernel_size": 3, "padding": 1})
    >>> remove_rule("acme::blur")
    """
    _check_rule(name, rule)
    _FOR_ALL[name] = rule


def remove_rule(name: str) -> None:
    """Take a rule out again that ``add_rule`` put in.

    Raises:
        ValueError: if there is no such rule.
    """
    if name not in _FOR_ALL:
        raise ValueError(f"No rule was added for {name!r}; there are rules for {list(_FOR_ALL)!r}.")
    del _FOR_ALL[name]


def _check_rule(name: object, rule: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidLayerError(
            f"name is {name!r}; it must be the name of an operation, such as 'acme::blur'."
        )
    if not callable(rule):
        raise InvalidLayerError(
            f"rule is {rule!r}; it must be a function of shapes and arguments, such as "
            "lambda shapes, arguments: {'kernel_size': 3}."
        )
