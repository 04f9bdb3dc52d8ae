"""From the calls of a Keras model to the record that every format is lowered to.

Keras has channels last as a rule, names layers and operations in its own way, and writes no shapes
for most tensors; all of that ends here. What operators do to positions is said elsewhere, in
:mod:`rfa_toolbox.operators.rules`. The lowering of each kind of layer and operation stands in
:mod:`.lowering_layers` and :mod:`.lowering_operations`.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from rfa_toolbox.encodings.complaints import shortened
from rfa_toolbox.encodings.tensorflow_keras.model_json import (
    CallRecord,
    ModelRecord,
    Shape,
    Weights,
    replaced,
    weights_in,
)
from rfa_toolbox.encodings.tensorflow_keras.model_json import TensorRef as Written
from rfa_toolbox.encodings.tensorflow_keras.sources import Constant
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.record import ModuleCall, Operation, Record, TensorRef
from rfa_toolbox.operators.record import Numbers as Held
from rfa_toolbox.operators.told import Told, shape_behind

__all__ = [
    "STAND_IN",
    "Call",
    "Lowering",
    "Numbers",
    "array_of",
    "constant_of",
    "mask_of",
    "number_of",
    "operand_of",
    "per_axis",
    "sizes_of",
    "stand_in_shape",
    "whole_numbers",
    "words",
]

STAND_IN = 512
"""The size of a dimension that the model leaves open; halved often without a rest."""

Numbers = tuple[int | None, ...]
"""The content of a tensor that holds a shape."""

Shaped = tuple[int, ...]


def words(text: str) -> list[str]:
    """Return the words of a text, as a table of names is best read.

    >>> words("Add Multiply")
    ['Add', 'Multiply']
    """
    return text.split()


def per_axis(value: Any, count: int) -> tuple[Any, ...]:
    """Return one value per dimension; a single one counts for all.

    >>> per_axis(3, 2), per_axis([3, 5], 2)
    ((3, 3), (3, 5))
    """
    if isinstance(value, list | tuple):
        return tuple(value) if len(value) == count else (value[0],) * count
    return (value,) * count


def whole_numbers(value: Any, count: int, name: str, least: int = 1) -> tuple[int, ...]:
    """Return one whole number per dimension, as sizes and strides of windows are.

    Raises:
        ValueError: if there are too few or too many, or one is no number or too small.

    >>> whole_numbers([2, 2.0], 2, "strides"), whole_numbers(3, 2, "kernel_size")
    ((2, 2), (3, 3))
    """
    several = value if isinstance(value, list | tuple) else (value,) * count
    if len(several) != count or not all(
        isinstance(one, int | float) and type(one) is not bool and one >= least and one % 1 == 0
        for one in several
    ):
        kind = "a positive whole number" if least == 1 else f"a whole number from {least} on"
        raise ValueError(f"{name} is {value!r}; expected is {kind}, or a list of {count}")
    return tuple(int(one) for one in several)


def constant_of(value: Any, number: int = -1) -> TensorRef:
    """Return numbers in the JSON as a tensor that depends on nothing.

    >>> constant_of([1.0, 1.0])
    TensorRef(number=-1, shape=(2,), even=(0,), made=0, numbers=None)
    """
    if type(value) is Weights:
        return TensorRef(number, value.shape, numbers=value.left)
    import numpy as np  # where there are constants; the package itself loads without it

    shape = sizes_of(value)
    try:
        given = np.asarray(_inside(value))
        numbers = given.astype(float)
    except (TypeError, ValueError):
        return TensorRef(number, shape)
    if numbers.shape != shape:
        return TensorRef(number, shape)
    even = tuple(at for at in range(numbers.ndim) if (np.ptp(numbers, axis=at) == 0).all())
    may_be_a_mask = numbers.ndim > 1 and 1 not in shape[-2:] and len(even) < numbers.ndim
    held = Held(given if given.dtype == bool else numbers) if may_be_a_mask else None
    return TensorRef(number, shape, even, numbers=held)


def operand_of(value: Any) -> TensorRef:
    """Return what an operation reads: a tensor, or a constant as one."""
    return value if type(value) is TensorRef else constant_of(value)


def mask_of(value: Any) -> TensorRef | None:
    """Return a constant that tells which keys queries see, not 0 where they do; else None.

    >>> mask_of([[1, 0], [1, 1]]).numbers.array.tolist()
    [[True, False], [True, True]]
    """
    if value is None or type(value) is TensorRef:
        return None
    found = constant_of(value)
    array = None if found.numbers is None else found.numbers.array
    return None if array is None else found._replace(numbers=Held(array != 0))


def number_of(value: Any) -> float | None:
    """Return the one number that a constant consists of, if it does.

    >>> number_of([[-1e9, -1e9]]), number_of([1, 2])
    (-1000000000.0, None)
    """
    if value is None or type(value) in (TensorRef, Weights):
        return None
    import numpy as np  # where there are constants; the package itself loads without it

    try:
        numbers = np.asarray(_inside(value), dtype=float)
    except (TypeError, ValueError):
        return None
    same = numbers.size > 0 and bool((numbers == numbers.flat[0]).all())
    return float(numbers.flat[0]) if same else None


def array_of(value: Any) -> Any:
    """Return a constant of the JSON as an array.

    Raises:
        ValueError: if it is none.
    """
    import numpy as np  # where there are constants; the package itself loads without it

    array = np.asarray(_inside(value))
    if array.dtype == object:
        raise ValueError(f"{value!r} is no constant")
    return array


def _inside(constant: Any) -> Any:
    """Return the array or the nested lists that a constant holds."""
    if isinstance(constant, Mapping):
        constant = constant.get("config", constant)
        constant = constant.get("value") if isinstance(constant, Mapping) else constant
    return constant.numbers if type(constant) is Constant else constant


def sizes_of(constant: Any) -> Shaped:
    """Return the shape of numbers in the JSON: nested lists, or an array of some library.

    >>> sizes_of({"class_name": "__numpy__", "config": {"value": [[1.0, 2.0]]}})
    (1, 2)
    """
    constant = _inside(constant)
    if hasattr(constant, "shape"):
        return tuple(constant.shape)
    sizes = []
    while isinstance(constant, list | tuple) and constant:
        sizes.append(len(constant))
        constant = constant[0]
    return tuple(sizes)


@attrs.define
class Call:
    """One call of a layer or an operation that is being lowered.

    Attributes:
        record: the call in the model's JSON.
        tensors: the tensors that it reads, in order.
        arguments: its positional arguments, with tensors in place of their names.
        keywords: its keyword arguments, likewise.
        lowering: what collects the operations.
    """

    record: CallRecord
    tensors: list[TensorRef]
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    lowering: Lowering

    @property
    def kind(self) -> str:
        """Exact class of the layer, or the one that it works as, or the name of the operation."""
        return self.record.base or self.record.kind

    @property
    def x(self) -> TensorRef:
        """The first tensor that it reads."""
        return self.tensors[0]

    @property
    def owner(self) -> str:
        """The name of the layer, whichever of its calls this is."""
        return self.record.name.removesuffix(f"#{self.record.number}")

    def get(self, *names: str, default: Any = None) -> Any:
        """Return an argument under one of its names, from the call or from the configuration."""
        for source in (self.keywords, self.record.config):
            for name in names:
                if source.get(name) is not None:
                    return source[name]
        return default

    def at(self, place: int, *names: str) -> Any:
        """Return an argument under one of its names, or the one at its place; None without any."""
        found = self.get(*names)
        by_place = found is None and place < len(self.arguments)
        return self.arguments[place] if by_place else found

    def operand(self, name: str, place: int) -> TensorRef | None:
        """Return a tensor that is read, or a constant, by its name or by its place.

        The place is one in the list that is the first argument, if that is a list.
        """
        given = self.arguments
        if given and isinstance(given[0], list):
            given = tuple(given[0])
        found = self.keywords.get(name, given[place] if place < len(given) else None)
        return None if found is None else operand_of(found)

    def flag(self, name: str, default: bool = True) -> bool:
        """Return a setting of the layer."""
        return bool(self.record.config.get(name, default))

    # -- what becomes operations

    def emit(
        self,
        name: str,
        shape: Sequence[int],
        *more: Sequence[int],
        weights: Mapping[str, int | None] | None = None,
        **arguments: Any,
    ) -> TensorRef:
        """Add an operation and return its first output.

        Args:
            name: of the operation in the vocabulary.
            shape: of its output.
            more: shapes of further outputs.
            weights: sizes of the parameters that it reads, by name.
            arguments: of the operation.
        """
        return self.emit_all(name, (shape, *more), weights, **arguments)[0]

    def emit_all(
        self,
        name: str,
        shapes: Sequence[Sequence[int]],
        weights: Mapping[str, int | None] | None = None,
        **arguments: Any,
    ) -> list[TensorRef]:
        """Add an operation and return its outputs."""
        outputs = [self.lowering.new(tuple(shape)) for shape in shapes]
        names = {f"{self.owner}/{one}": size for one, size in (weights or {}).items()}
        self.lowering.add(
            Operation(name, arguments, tuple(outputs), self.lowering.scope, tuple(names)), names
        )
        return outputs

    def permuted(self, tensor: TensorRef, order: Sequence[int]) -> TensorRef:
        """Return a tensor with its dimensions in another order.

        Raises:
            ValueError: if that is no order of them.
        """
        if sorted(order) != list(range(len(tensor.shape))):
            raise ValueError(
                f"the order of dimensions is {list(order)!r}; expected is each from 0 to "
                f"{len(tensor.shape) - 1} once"
            )
        if list(order) == list(range(len(tensor.shape))):
            return tensor
        shape = [tensor.shape[place] for place in order]
        return self.emit("permute", shape, input=tensor, dims=tuple(order))

    def reshaped(self, tensor: TensorRef, shape: Sequence[int]) -> TensorRef:
        """Return a tensor in another shape.

        Raises:
            ValueError: if that has room for another number of elements.
        """
        if self.lowering.sized and math.prod(shape) != math.prod(tensor.shape):
            raise ValueError(f"a tensor of shape {tensor.shape!r} does not fit {tuple(shape)!r}")
        return self.emit("reshape", shape, input=tensor)

    def unknown(self, reason: str, tensor: TensorRef | None = None) -> TensorRef:
        """Return what a layer makes of which nothing is known but what shape was written."""
        read = self.x if tensor is None else tensor
        shape = self.lowering.expected(read.shape)
        return self.emit("unknown", shape, input=read, reason=reason, weights={"weights": None})


_PASSING_ON = frozenset(words("Lambda"))
"""Layers of which nobody knows how many outputs they have."""

_PLUMBING = frozenset(words("clone expand permute reshape squeeze unsqueeze"))


class Lowering:
    """Collects the operations of a model.

    Args:
        model: the calls of the model.
        lower: adds the operations of a call, and returns its outputs.
        describe: returns the layer that a user's handler makes of a call, None if there is none.
    """

    def __init__(
        self,
        model: ModelRecord,
        lower: Callable[[Call], list[TensorRef]],
        describe: Callable[[CallRecord, Sequence[Shaped]], Any],
    ) -> None:
        self.model, self.lower, self.describe = model, lower, describe
        self.operations: list[Operation] = []
        self.parameters: dict[str, int | None] = {}
        self.inputs: list[TensorRef] = []
        self.scopes: list[tuple[ModuleCall, ...]] = []
        self.open: dict[int, tuple[int, ...]] = {}
        self.made: dict[int, list[TensorRef]] = {}
        self.numbers: dict[int, Numbers] = {}
        self.told: set[int] = set()
        """The numbers of tensors that take nothing but sizes from the input."""
        self.guessed: set[int] = set()
        self.sized = all(map(_is_sized, model.calls))
        self.scope: tuple[ModuleCall, ...] = ()
        self.count = 0
        self.place = 0
        self._written = _written_shapes(model)

    def new(self, shape: Shaped) -> TensorRef:
        """Return a tensor of its own number."""
        self.count += 1
        return TensorRef(self.count, shape)

    def add(self, operation: Operation, parameters: Mapping[str, int | None]) -> None:
        """Add an operation, and the sizes of the parameters that it reads."""
        self.operations.append(operation)
        self.parameters.update(parameters)

    def expected(self, shape: Shaped, output: int = 0) -> Shaped:
        """Return the shape of an output of this call as the model wrote it, if it did."""
        written = self._written.get((self.place, output))
        if written is None:
            return shape
        same = len(written) == len(shape)
        return tuple(
            one if one is not None else (shape[at] if same else 1 if at == 0 else STAND_IN)
            for at, one in enumerate(written)
        )

    def record(self) -> Record:
        """Return the record of all calls."""
        for place, call in enumerate(self.model.calls):
            self.place = place
            inner = ModuleCall(call.name, call.kind, 1, True, call.label)
            outer = (ModuleCall(call.path, "", 1),) if call.path else ()
            self.scope = (*outer, inner)
            if call.tensors:
                self._call(place, call)
            else:
                self._input(place, call)
        outputs = [self._tensor(one) for one in self.model.outputs]
        return Record(
            self.model.name,
            tuple(self.inputs),
            tuple(outputs),
            tuple(self.operations),
            self.parameters,
            by_call=True,
            open=self.open,
            input_scopes=tuple(self.scopes),
        )

    def _input(self, place: int, call: CallRecord) -> None:
        """Take in an input; a layer that reads nothing is like one without positions."""
        shape: Any = (1,)
        if call.kind == "InputLayer":
            shape = call.config.get("batch_shape") or call.config.get("batch_input_shape")
            if not isinstance(shape, list | tuple):
                following = self.model.calls[place + 1 :]
                kinds = [one.kind for one in following]
                shape = stand_in_shape(kinds, following[0].config if following else {})
            if not all(one is None or (type(one) is int and one > 0) for one in shape):
                raise UnsupportedModelError(
                    f"The input {call.name!r} has the shape {shape!r}; expected are positive "
                    "integers, or null where a size is left open."
                )
        sizes = [
            one if one is not None else 1 if at == 0 else STAND_IN for at, one in enumerate(shape)
        ]
        tensor = self.new(tuple(sizes))
        self.inputs.append(tensor)
        self.scopes.append(self.scope)
        opened = tuple(at for at, one in enumerate(shape) if at and one is None)
        if opened:
            self.open[tensor.number] = opened
        if not _channels_known(shape) and len(shape) > 2:
            self.guessed.add(tensor.number)
        self.made[place] = [tensor]

    def _tensor(self, written: Written) -> TensorRef:
        several = self.made[written.call]
        if written.output < len(several):
            return several[written.output]
        call = self.model.calls[written.call]
        if call.known and call.kind not in _PASSING_ON:
            raise UnsupportedModelError(
                f"Output {written.output} of the layer {call.name!r} of class {call.kind!r} is "
                f"read, which has {len(several)}, counted from 0."
            )
        return several[0]

    def _call(self, place: int, record: CallRecord) -> None:
        found: list[TensorRef] = []

        def resolved(written: Written) -> TensorRef:
            found.append(self._tensor(written))
            return found[-1]

        arguments = tuple(replaced(record.arguments, Written, resolved))
        keywords = replaced(record.keywords, Written, resolved)
        call = Call(record, found, arguments, keywords, self)
        before = len(self.operations)
        told = self.describe(record, [one.shape for one in found])
        with _readable(call):
            outputs = self.lower(call) if told is None else [_described(call, told)]
        if len(self.operations) == before:  # a layer that hands on what it gets is a node, too
            outputs = [call.emit("clone", one.shape, input=one) for one in outputs]
            if len(outputs) > 1:
                outputs = outputs[:1]
        self._count_weights(before, record)
        if any(one.number in self.guessed for one in found) and not self._is_written(place):
            self._say_guessed(before, outputs)
        self.made[place] = outputs

    def _count_weights(self, before: int, record: CallRecord) -> None:
        """Let an operation read the weights among its arguments, whatever its rule makes of them.

        Layers have their weights in themselves.
        """
        weights = weights_in((record.arguments, record.keywords))
        if not weights:
            return
        for at in range(before, len(self.operations)):
            own = self.operations[at].parameters if not record.operation else ()
            names = (*own, *weights) if at == before else own
            self.operations[at] = attrs.evolve(self.operations[at], parameters=names)
        self.parameters.update(weights)

    def _is_written(self, place: int) -> bool:
        """Whether the model wrote how many channels its tensors have in front of a call."""
        return all(
            written.shape is not None and _channels_known(written.shape)
            for written in self.model.calls[place].tensors
        )

    def _say_guessed(self, before: int, outputs: Sequence[TensorRef]) -> None:
        """Say of the last operations that their costs go by a guessed number of channels."""
        guess = f"{self.scope[-1].path}/guessed"
        for at in range(before, len(self.operations)):
            one = self.operations[at]
            if one.name in _PLUMBING:
                continue
            arguments = {**one.arguments, "unknown_cost": True}
            self.operations[at] = attrs.evolve(
                one, arguments=arguments, parameters=(*one.parameters, guess)
            )
        self.parameters[guess] = None
        self.guessed.update(tensor.number for tensor in outputs)


def _described(call: Call, told: Told) -> TensorRef:
    rank = len(call.x.shape)
    first = call.get("data_format") == "channels_first"
    places = range(2, rank) if first else range(1, rank - 1)
    return call.emit(
        "described",
        call.lowering.expected(shape_behind(told.layer, call.x.shape, places)),
        inputs=tuple(call.tensors),
        layer=told.layer,
        effect=told.effect,
        weights={"weights": None},
    )


def _is_sized(call: CallRecord) -> bool:
    """Whether a call is no input that leaves its size open."""
    shape = call.config.get("batch_shape") or call.config.get("batch_input_shape")
    return call.kind != "InputLayer" or (isinstance(shape, list | tuple) and None not in shape[1:])


def _channels_known(shape: Sequence[int | None]) -> bool:
    """Whether a shape says how many channels there are, in front or at the end."""
    return len(shape) < 2 or shape[-1] is not None or shape[1] is not None


@contextlib.contextmanager
def _readable(call: Call) -> Iterator[None]:
    """Tell of which layer it is that cannot be read."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        if isinstance(error, UnsupportedModelError):
            raise
        config = {
            key: value for key, value in call.record.config.items() if "initializer" not in key
        }
        raise UnsupportedModelError(
            f"The layer {call.record.name!r} of class {call.kind!r} cannot be read "
            f"({type(error).__name__}: {shortened(str(error), 300)}); it gets tensors of the "
            f"shapes {shortened(str(tuple(one.shape for one in call.tensors)), 200)}, and its "
            f"configuration is {shortened(str(config), 400)}."
        ) from error


def _written_shapes(model: ModelRecord) -> dict[tuple[int, int], Shape]:
    """Return the shapes that the model wrote for tensors, by call and number of the output."""
    found: dict[tuple[int, int], Shape] = {}
    for call in model.calls:
        if any(wrapper.kind == "TimeDistributed" for wrapper in call.wrappers):
            continue
        for tensor in call.tensors:
            if tensor.shape is not None:
                found.setdefault((tensor.call, tensor.output), tensor.shape)
    return found


def stand_in_shape(kinds: Sequence[str], config: Mapping[str, Any]) -> Shape:
    """Return the shape of an input that the model does not tell, from the layers that follow.

    >>> stand_in_shape(["Rescaling", "Conv2D"], {})
    (None, None, None, None)
    """
    first = kinds[0] if kinds else ""
    if first == "Embedding":
        return (None, None)
    if first == "Reshape" and all(
        type(one) is int and one > 0 for one in config.get("target_shape", (None,))
    ):
        return (None, math.prod(config["target_shape"]))
    for kind in kinds:
        counted = re.search(r"([123])D", kind)
        if counted:
            return (None,) * (int(counted[1]) + (3 if kind.startswith("ConvLSTM") else 2))
        if kind in ("LSTM", "GRU", "SimpleRNN", "RNN", "MultiHeadAttention", "Attention"):
            return (None, None, None)
    return (None, None)
