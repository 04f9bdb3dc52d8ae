"""What the readers of written programs, such as traces, exported programs and files, share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rfa_toolbox.operators.record import ModuleCall, Operation, TensorRef, tensors_in

__all__ = ["Written"]


class Written:
    """The operations of a program as far as its input reaches, and what the rest was made of.

    Attributes:
        operations: those that the input reaches, in order.
        origins: by number of a tensor the parameters that it is, or that it was computed from.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.origins: dict[int, tuple[str, ...]] = {}
        self._reached: set[int] = set()
        self._next = 0

    def new(self, shape: Sequence[int], even: tuple[int, ...] = ()) -> TensorRef:
        """Return a tensor with a number of its own."""
        self._next += 1
        return TensorRef(self._next - 1, tuple(shape), even)

    def reach(self, tensors: Iterable[TensorRef]) -> None:
        """Note that tensors depend on the input."""
        self._reached.update(one.number for one in tensors)

    def is_reached(self, tensor: TensorRef) -> bool:
        """Return whether a tensor depends on the input."""
        return tensor.number in self._reached

    def is_constant(self, tensors: Iterable[TensorRef]) -> bool:
        """Return whether none of some tensors depends on the input."""
        return self._reached.isdisjoint(one.number for one in tensors)

    def add(
        self,
        name: str,
        arguments: Mapping[str, Any],
        outputs: tuple[TensorRef, ...],
        scope: tuple[ModuleCall, ...],
        read: Iterable[TensorRef] | None = None,
    ) -> bool:
        """Add an operation if the input reaches it; return whether it does.

        Args:
            name: of the operation in the vocabulary.
            arguments: of the operation.
            outputs: what it makes.
            scope: the modules that it runs in.
            read: the tensors that it reads, by default those among its arguments.
        """
        given = list(tensors_in(arguments) if read is None else read)
        if self.is_constant(given):
            parameters = self._parameters_of(given)
            self.origins.update((one.number, parameters) for one in outputs if parameters)
            return False
        self.write(name, arguments, outputs, scope, given)
        return True

    def write(
        self,
        name: str,
        arguments: Mapping[str, Any],
        outputs: Sequence[TensorRef],
        scope: tuple[ModuleCall, ...],
        read: Iterable[TensorRef],
    ) -> None:
        """Add an operation that the input reaches, which reads the parameters behind tensors."""
        self.reach(outputs)
        parameters = self._parameters_of(read)
        self.operations.append(Operation(name, arguments, tuple(outputs), scope, parameters))

    def _parameters_of(self, tensors: Iterable[TensorRef]) -> tuple[str, ...]:
        names = (name for one in tensors for name in self.origins.get(one.number, ()))
        return tuple(dict.fromkeys(names))
