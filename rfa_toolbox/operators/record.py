"""The plain record of a model: what every reader hands over, and all that is known of a model.

A record holds no tensor and no module of a framework; names of operators and of their arguments are
those of :mod:`.vocabulary`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "UNKNOWN_PLACES",
    "ModuleCall",
    "Numbers",
    "Operation",
    "Record",
    "TensorRef",
    "check_sum",
    "last_results",
    "tensors_in",
]


UNKNOWN_PLACES = "unknown places"
"""Stands for an index where a tensor was written to and slices do not tell where."""


@attrs.frozen(slots=True, eq=False)
class Numbers:
    """What a constant holds; None if it is one that leaves something out, and not known where."""

    array: NDArray[Any] | None


class TensorRef(NamedTuple):
    """A tensor in a record: its number, and its shape as integers.

    ``even`` are dimensions along which a constant of the model is known to be the same everywhere.
    ``made`` is a check sum of what a constant was computed with; 0 if that is nothing of interest.
    ``numbers`` are those of a mask, or of weights that are 0 in places.
    """

    number: int
    shape: tuple[int, ...]
    even: tuple[int, ...] = ()
    made: int = 0
    numbers: Numbers | None = None


class ModuleCall(NamedTuple):
    """One call of a module.

    ``call`` counts the calls of the same module from 1. ``library`` is True for the modules of
    a framework itself, whose insides are of no interest. ``label`` is what pictures call it, the
    name of its class where it is empty.
    """

    path: str
    class_name: str
    call: int
    library: bool = False
    label: str = ""


@attrs.frozen(slots=True)
class Operation:
    """One operator that ran: its canonical name, its arguments, and where it ran.

    ``parameters`` are the names of the model's parameters that it reads, or that constants among
    its arguments were computed from.
    """

    name: str
    arguments: Mapping[str, Any]
    outputs: tuple[TensorRef, ...]
    scope: tuple[ModuleCall, ...]
    parameters: tuple[str, ...] = ()
    _tensors: tuple[TensorRef, ...] | None = attrs.field(
        default=None, init=False, eq=False, repr=False
    )

    @property
    def tensors(self) -> tuple[TensorRef, ...]:
        """The tensors among its arguments, at any depth, in order; looked for once."""
        if self._tensors is None:
            found: list[TensorRef] = []
            for one in self.arguments.values():
                kind = type(one)
                if kind is TensorRef:
                    found.append(one)
                elif kind not in _PLAIN and not (
                    kind is tuple and _PLAIN.issuperset(map(type, one))
                ):
                    found.extend(tensors_in(one))
            object.__setattr__(self, "_tensors", tuple(found))
        return self._tensors  # type: ignore[return-value]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, or ``default`` where it is missing or None."""
        value = self.arguments.get(name)
        return default if value is None else value


@attrs.frozen(slots=True)
class Record:
    """Everything that happened while a model ran once, in order.

    Attributes:
        model_name: what to call the model.
        inputs: the tensors that it is given.
        outputs: the tensors that it returns.
        operations: what ran, in order.
        parameters: the sizes of the model's parameters by name; None where one is not known.
        sized: whether the model asked for the size of a tensor.
        stopped: where and why the record ends before the model does; empty where it does not.
        by_call: whether every call is a node, those that only move positions too. A call is then
            the innermost one in the scope of its operations, which follow each other.
        open: by number of an input the dimensions whose sizes the model leaves open; those in its
            shape are stand-ins.
        input_scopes: per input the call that stands for it, if there is one.
    """

    model_name: str
    inputs: tuple[TensorRef, ...]
    outputs: tuple[TensorRef, ...]
    operations: tuple[Operation, ...]
    parameters: Mapping[str, int | None] = attrs.field(factory=dict)
    sized: bool = False
    stopped: str = ""
    by_call: bool = False
    open: Mapping[int, tuple[int, ...]] = attrs.field(factory=dict)
    input_scopes: tuple[tuple[ModuleCall, ...], ...] = ()


_PLAIN = frozenset({int, float, bool, str, type(None), slice})


def tensors_in(value: Any) -> Iterator[TensorRef]:
    """Yield the tensors in an argument, at any depth, in order."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind is TensorRef:
            yield one
        elif kind in _PLAIN:  # as most arguments are
            continue
        elif isinstance(one, tuple | list):
            waiting.extend(reversed(one))
        elif isinstance(one, Mapping):
            waiting.extend(reversed(tuple(one.values())))


def last_results(operations: Sequence[Operation]) -> tuple[TensorRef, ...]:
    """Return the results of layers that nothing has read yet, those of the last layer first."""
    waiting: dict[int, TensorRef] = {}
    last_layer: dict[int, int] = {}
    for place, operation in enumerate(operations):
        read = [one.number for one in operation.tensors]
        for number in read:
            waiting.pop(number, None)
        behind = max((last_layer.get(number, -1) for number in read), default=-1)
        for one in operation.outputs:
            last_layer[one.number] = place if operation.parameters else behind
            waiting[one.number] = one
    found = [one for one in waiting.values() if last_layer[one.number] >= 0]
    return tuple(sorted(found, key=lambda one: (-last_layer[one.number], -one.number)))


def check_sum(name: str, arguments: Any) -> int:
    """Return a number that tells constants from those that were computed with other arguments.

    >>> check_sum("full", {"fill_value": 3}) == check_sum("full", {"fill_value": 4})
    False
    """

    def plain(value: Any) -> Any:
        if type(value) is TensorRef:
            return value.shape, value.made
        if isinstance(value, Mapping):
            return [(key, plain(one)) for key, one in value.items()]
        return [plain(one) for one in value] if isinstance(value, tuple | list) else value

    return zlib.crc32(repr((name, plain(arguments))).encode())
