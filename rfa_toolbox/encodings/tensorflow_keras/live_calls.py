"""From the opened graph of a live Keras model to the calls that its JSON would tell."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from rfa_toolbox.encodings.tensorflow_keras.live import (
    LiveGraph,
    Step,
    base_of,
    class_of,
    is_array,
    opened,
)
from rfa_toolbox.encodings.tensorflow_keras.live_masks import held_mask, left_by
from rfa_toolbox.encodings.tensorflow_keras.model_json import (
    WRAPPERS,
    CallRecord,
    Calls,
    ModelRecord,
    Place,
    TensorRef,
    Weights,
    Wrapper,
    layer_kind,
    tensors_in,
    weights_in,
)
from rfa_toolbox.encodings.tensorflow_keras.sources import Constant
from rfa_toolbox.errors import UnsupportedModelError

__all__ = ["read_live"]


def read_live(
    model: Any,
    input_shape: Any = None,
    is_described: Callable[[CallRecord, Sequence[tuple[int, ...]]], bool] = lambda *_: False,
) -> ModelRecord:
    """Return the calls of all layers of a live model, those in layers of others included.

    Args:
        model: a model of Keras 3; it is left as it is.
        input_shape: the shape of its input, batch first, or a nesting of several; None takes what
            the model says.
        is_described: tells whether a user describes a call, given the shapes that it reads.

    Raises:
        UnsupportedModelError: a ValueError, if the model is connected in Python code that cannot
            be followed, or that was not built.
    """

    def keep(layer: Any, name: str, shapes: Sequence[tuple[int, ...]]) -> bool:
        entry = _entry(layer)
        path = ".".join(name.split("/")[:-1])
        record = CallRecord(
            name, path, entry.kind, entry.operation, entry.config, known=entry.known
        )
        return is_described(record, shapes)

    graph = opened(model, input_shape, keep)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`")
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return _Writer(input_shape is not None).record(str(model.name), graph)


@attrs.frozen
class _Entry:
    """What the JSON of a model says of a layer, and the class of Keras that it works as."""

    kind: str
    operation: bool
    known: bool
    config: Mapping[str, Any]
    base: str = ""


class _Writer:
    """Collects the calls of a graph and of the graphs inside it.

    Args:
        given: whether the sizes of the inputs were given, and are not those of the model.
    """

    def __init__(self, given: bool) -> None:
        self.given = given
        self.calls = Calls()

    def record(self, name: str, graph: LiveGraph) -> ModelRecord:
        """Return the calls of a whole model."""
        found: dict[int, Any] = {}
        if not graph.function:
            for tensor, own in zip(graph.inputs, graph.input_names, strict=True):
                config = {"name": own, "batch_shape": [None, *tensor.shape[1:]]}
                entry = _Entry("InputLayer", False, True, config)
                found[id(tensor)] = self._added(Place(), own, entry)
        tensors = tuple(tensors_in(self.graph(graph, Place(), found)))
        if not tensors:
            raise UnsupportedModelError(
                f"None of the outputs of the model {name!r} depends on its inputs."
            )
        return ModelRecord(name, tuple(self.calls.records), tensors)

    def graph(self, graph: LiveGraph, place: Place, found: dict[int, Any]) -> list[Any]:
        """Read all calls of a graph; return its outputs in order.

        Args:
            graph: what is called.
            place: where that is.
            found: what its inputs are, by the id of their symbolic tensors.
        """
        found.update((key, _constant(variable)) for key, (variable, _) in graph.held.items())
        for step in graph.steps:
            if all(id(one) in found for one in step.outputs):
                continue  # the input of a nested model
            arguments = tuple(_plain(one, found) for one in step.arguments)
            keywords = {key: _plain(one, found) for key, one in step.keywords.items()}
            made = self._call(step, place, arguments, keywords, graph, found)
            found.update(zip(map(id, step.outputs), made, strict=False))
        flat = sys.modules["keras"].tree.flatten(graph.outputs)
        return [found.get(id(one), _constant(one)) for one in flat if is_array(one)]

    def _call(
        self,
        step: Step,
        place: Place,
        arguments: tuple[Any, ...],
        keywords: Mapping[str, Any],
        graph: LiveGraph,
        found: Mapping[int, Any],
    ) -> list[Any]:
        entry = _entry(step.operation)
        if entry.kind != "InputLayer" and not list(tensors_in((arguments, keywords))):
            weights = weights_in((arguments, keywords)) | _held_by(step.operation)
            left = left_by(step.operation, arguments, keywords)
            return [
                Weights(tuple(one.shape), weights, left if place == 0 else None)
                for place, one in enumerate(step.outputs)
            ]
        wrapped = entry.config.get("layer")
        if entry.kind in WRAPPERS and entry.known and isinstance(wrapped, Mapping):
            place = place.around(Wrapper(entry.kind, entry.config))
            if step.inner is None:
                kind, operation, known = layer_kind(wrapped)
                entry = _Entry(kind, operation, known, wrapped["config"])
        inner = step.inner
        if inner is not None and not inner.hands_on:
            given = {
                id(own): found.get(id(one), _constant(one))
                for own, one in zip(inner.inputs, step.given, strict=False)
            }
            return self.graph(inner, place.inside(step.name), given)
        if inner is not None:  # it hands on what it gets
            entry = attrs.evolve(entry, base="Identity")
        if entry.kind == "InputLayer" and self.given:
            shape = [None, *graph.shape(step.outputs[0])[1:]]
            entry = attrs.evolve(entry, config={**entry.config, "batch_shape": shape})
        made = self._added(place, step.name, entry, arguments, keywords, step.reason)
        return [
            made._replace(output=at, shape=graph.shape(one)) for at, one in enumerate(step.outputs)
        ]

    def _added(
        self,
        place: Place,
        name: str,
        entry: _Entry,
        arguments: tuple[Any, ...] = (),
        keywords: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> TensorRef:
        """Add a call, and return its first output."""
        return self.calls.add(
            place,
            name,
            entry.kind,
            entry.known or bool(entry.base),
            operation=entry.operation,
            config=entry.config,
            arguments=arguments,
            keywords=keywords or {},
            base=entry.base,
            reason=reason,
        )


# --- layers ----------------------------------------------------------------------------------


def _entry(operation: Any) -> _Entry:
    """Return what the JSON of a model says of a layer or an operation."""
    keras = sys.modules["keras"]
    kind = class_of(operation)
    named = {
        "class_name": kind.__name__,
        "module": kind.__module__,
        "registered_name": keras.saving.get_registered_name(kind),
    }
    base = base_of(operation)
    base = "" if base is None or base == kind.__name__ else base
    name, is_operation, known = layer_kind(named)
    return _Entry(name, is_operation, known, _config_of(operation, base), base)


def _config_of(operation: Any, base: str) -> dict[str, Any]:
    """Return the configuration of a layer, as far as it has one; of a base, what that needs."""
    keras = sys.modules["keras"]
    kinds: Sequence[Any] = class_of(operation).__mro__
    own = next((one for one in kinds if one.__name__ == base), kinds[0])
    try:
        config = keras.saving.serialize_keras_object(own.get_config(operation))
    except Exception:  # noqa: BLE001 of a layer of somebody else, which cannot be stored
        config = {} if hasattr(operation, "weights") else _public(operation)
    if not isinstance(config, Mapping):
        config = {}
    return {**_listed(config), "name": str(operation.name)}


def _public(operation: Any) -> dict[str, Any]:
    values = {name: one for name, one in vars(operation).items() if not name.startswith("_")}
    return {name: one for name, one in values.items() if not callable(one)}


def _listed(value: Any) -> Any:
    """Return a value with lists in place of tuples, and plain numbers, as JSON has it."""
    if isinstance(value, Mapping):
        return {key: _listed(one) for key, one in value.items()}
    if is_array(value) and not value.shape:
        return _numbers(value)
    return [_listed(one) for one in value] if isinstance(value, list | tuple) else value


def _held_by(operation: Any) -> dict[str, int]:
    """Return the sizes of the weights of a layer, by their paths."""
    return {
        str(one.path): math.prod(one.shape) for one in getattr(operation, "weights", None) or ()
    }


# --- arguments -------------------------------------------------------------------------------


_FEW = 1000
"""Lists of more numbers are slow to look at."""


def _plain(value: Any, found: Mapping[int, Any]) -> Any:
    """Return an argument as the JSON has it, with the calls that made its tensors."""
    keras = sys.modules["keras"]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, keras.KerasTensor):
        return found.get(id(value), _constant(value))
    if isinstance(value, Mapping):
        return {key: _plain(one, found) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, found) for one in value]
    if isinstance(value, slice):
        bounds = {name: _plain(getattr(value, name), found) for name in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": bounds}
    if isinstance(value, keras.Variable):
        return _constant(value)
    if is_array(value):
        return _numbers(value)
    try:
        return _listed(keras.saving.serialize_keras_object(value))
    except (TypeError, ValueError, AttributeError):
        return str(value)


def _numbers(value: Any) -> Any:
    """Return an array of some library as the JSON has it; a large one without its numbers."""
    import numpy as np

    try:
        with warnings.catch_warnings():  # of NumPy, about how Keras asks a backend for numbers
            warnings.simplefilter("ignore", DeprecationWarning)
            array = np.asarray(sys.modules["keras"].ops.convert_to_numpy(value))
    except (NotImplementedError, TypeError, ValueError, RuntimeError):  # it has no numbers yet
        return _constant(value)
    if not array.ndim:
        return array.item()
    value = array.tolist() if array.size <= _FEW else Constant(array)
    return {"class_name": "__numpy__", "config": {"value": value}}


def _constant(value: Any) -> Weights:
    """Return what a weight or a symbolic tensor is that depends on no input."""
    shape = tuple(one or 1 for one in value.shape)
    path = getattr(value, "path", None)
    sizes = {} if path is None else {str(path): math.prod(shape)}
    return Weights(shape, sizes, held_mask(value))
