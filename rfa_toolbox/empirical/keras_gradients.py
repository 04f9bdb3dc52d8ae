"""Keras models in experiments that need gradients, on the backend that Keras runs with."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from rfa_toolbox.empirical.gradients import Array, Gradient, Reduce, Signal, unchanged
from rfa_toolbox.empirical.neutral import Part
from rfa_toolbox.empirical.results import call_name, path_and_call
from rfa_toolbox.errors import CaptureError, MeasurementError, UnsupportedModelError

__all__ = ["KerasModelInExperiment", "reinitialised"]

USUAL_SIZE = 224


class KerasModelInExperiment:
    """A Keras model that is watched while it runs, or a neutral copy of it."""

    bytes = 0

    def __init__(self, model: Any, neutral: frozenset[Part]) -> None:
        self.name = model.name
        self._given = model
        self._model = _neutral_copy(model, neutral) if neutral else model
        # Models stay as they were made, whatever Keras is told later.
        types = [str(one.dtype) for one in getattr(model, "inputs", None) or ()]
        self._dtype = next((one for one in types if "float" in one), keras.config.floatx())
        self._layers = dict(_named_layers(self._model))
        self.paths: Sequence[str] = list(self._layers)
        self._others: list[Any] = []
        self._place = 0
        formats = [getattr(one, "data_format", None) for one in self._layers.values()]
        known = [one for one in formats if one is not None]
        self.channels_last = (
            known[0] if known else keras.config.image_data_format()
        ) == "channels_last"

    def look_at(self, input_shape: Any, wanted: int | str | None, seed: int) -> tuple[int, ...]:
        """Give the model several inputs, of which one is looked at, and return its shape."""
        inputs = list(getattr(self._model, "inputs", None) or ())
        names = [one.name for one in inputs]
        named = isinstance(input_shape, Mapping)
        given = [input_shape.get(name) for name in names] if named else list(input_shape)
        place = names.index(wanted) if wanted in names else wanted or 0
        if len(given) != len(inputs) or None in given or place not in range(len(inputs)):
            raise MeasurementError(
                f"input_shape is {input_shape!r} and input is {wanted!r}; {self.name} takes "
                f"{len(inputs)} inputs, {names!r}: pass a shape with batch for each, in this order "
                "or by name, and name one by its place or its name."
            )
        random = np.random.default_rng(seed)
        self._place = int(place)
        self._others = [
            keras.ops.convert_to_tensor(random.standard_normal((1, *shape[1:])), dtype=one.dtype)
            for one, shape in zip(inputs, given, strict=True)
        ]
        return tuple(given[self._place])

    def kinds(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the class of the layer of each of these calls."""
        return {name: type(self._layers[self._path_of(name)]).__name__ for name in names}

    def _path_of(self, name: str) -> str:
        return path_and_call(name, self._layers)[0]

    def extra_tokens(self) -> int | None:
        """Return None: Keras models do not say."""
        return None

    def reinitialised(self, seed: int) -> Any:
        """Return a copy of the user's model with new random weights."""
        return reinitialised(self._given, seed)

    def shape_of_input(self) -> tuple[int, ...]:
        """Return the shape that the model was built for; open sizes become usual ones."""
        shape = getattr(self._model, "input_shape", None)
        if not isinstance(shape, tuple) or not shape or isinstance(shape[0], tuple):
            raise MeasurementError(
                f"{self.name} does not say which input it takes; pass input_shape, with batch and "
                "channels."
            )
        return (1, *(USUAL_SIZE if one is None else int(one) for one in shape[1:]))

    def shapes(self, inputs: Array) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of what every layer returns in every call."""
        found: dict[str, tuple[int, ...]] = {}

        def note(path: str, output: Any) -> None:
            found[path] = tuple(int(one) for one in output.shape)

        with self._watching(self.paths, note):
            self._call(keras.ops.convert_to_tensor(inputs, dtype=self._dtype))
        self.bytes = 4 * sum(map(math.prod, found.values())) // len(inputs)
        return found

    def gradients(
        self, inputs: Array, signals: Mapping[str, Signal], reduce: Reduce = unchanged
    ) -> Mapping[str, Gradient]:
        """Return for every call named in ``signals`` what its signal becomes at the input."""
        start = keras.ops.convert_to_tensor(inputs, dtype=self._dtype)
        outputs: dict[str, Any] = {}
        run = {"torch": self._torch, "tensorflow": self._tensorflow, "jax": self._jax}.get(
            keras.config.backend()
        )
        if run is None:
            raise UnsupportedModelError(
                f"Keras runs on {keras.config.backend()!r}, which computes no gradients; set the "
                "environment variable KERAS_BACKEND to 'torch', 'tensorflow' or 'jax'."
            )
        with self._watching({self._path_of(name) for name in signals}, outputs.__setitem__):
            return run(start, outputs, signals, reduce)

    def _call(self, inputs: Any) -> None:
        try:
            self._model(self._with_others(inputs), training=False)
        except Exception as error:
            raise CaptureError(
                f"{self.name} does not run with an input of the shape {tuple(inputs.shape)!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _with_others(self, inputs: Any) -> Any:
        """Return what the model is called with: this, and the other inputs as often."""
        if not self._others:
            return inputs
        count = int(inputs.shape[0])
        given = [keras.ops.repeat(one, count, axis=0) for one in self._others]
        given[self._place] = inputs
        return given

    def _output(self, outputs: Mapping[str, Any], path: str) -> Any:
        if path not in outputs:
            raise MeasurementError(
                f"Layer {path!r} of {self.name} was not called, or returned no tensor."
            )
        return outputs[path]

    def _torch(
        self, start: Any, outputs: dict[str, Any], signals: Mapping[str, Signal], reduce: Reduce
    ) -> dict[str, Gradient]:
        import torch

        with torch.enable_grad():
            start = start.detach().requires_grad_()
            self._call(start)
            results = {}
            for path, signal in signals.items():
                output = self._output(outputs, path)
                values = _array(output)
                sent = keras.ops.convert_to_tensor(signal(values), dtype=output.dtype)
                back = None
                if output.requires_grad:
                    (back,) = torch.autograd.grad(
                        output, start, sent, retain_graph=True, allow_unused=True
                    )
                results[path] = Gradient(values, None if back is None else reduce(_array(back)))
        return results

    def _tensorflow(
        self, start: Any, outputs: dict[str, Any], signals: Mapping[str, Signal], reduce: Reduce
    ) -> dict[str, Gradient]:
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(start)
            self._call(start)
        results = {}
        for path, signal in signals.items():
            output = self._output(outputs, path)
            values = _array(output)
            sent = tf.convert_to_tensor(signal(values), dtype=output.dtype)
            back = tape.gradient(output, start, output_gradients=sent)
            results[path] = Gradient(values, None if back is None else reduce(_array(back)))
        return results

    def _jax(
        self, start: Any, outputs: dict[str, Any], signals: Mapping[str, Signal], reduce: Reduce
    ) -> dict[str, Gradient]:
        import jax

        def run(inputs: Any) -> dict[str, Any]:
            outputs.clear()
            self._call(inputs)
            return {path: self._output(outputs, path) for path in signals}

        found, pull_back = jax.vjp(run, start)
        nothing = {path: keras.ops.zeros_like(output) for path, output in found.items()}
        results = {}
        for path, signal in signals.items():
            values = _array(found[path])
            sent = keras.ops.convert_to_tensor(signal(values), dtype=found[path].dtype)
            (back,) = pull_back({**nothing, path: sent})
            results[path] = Gradient(values, None if back is None else reduce(_array(back)))
        return results

    @contextlib.contextmanager
    def _watching(self, paths: Iterable[str], see: Callable[[str, Any], None]) -> Iterator[None]:
        """See what layers return, call by call.

        Keras has no hooks. An attribute of the object hides the method of its class, also where
        the same layer is called in several places, and leaves no trace once it is gone.
        """
        watched = []
        try:
            for path in paths:
                layer = self._layers[path]
                watched.append((layer, vars(layer).get("call")))
                object.__setattr__(layer, "call", _seen(path, layer.call, see))
            yield
        finally:
            for layer, before in reversed(watched):
                object.__delattr__(layer, "call")
                if before is not None:
                    object.__setattr__(layer, "call", before)


def _seen(path: str, call: Callable[..., Any], see: Callable[[str, Any], None]) -> Any:
    calls = 0

    def watched(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        output = call(*arguments, **keywords)
        calls += 1
        first = next(iter(keras.tree.flatten(output)), None)
        if hasattr(first, "shape"):
            see(call_name(path, calls), first)
        return output

    return watched


def _array(tensor: Any) -> Array:
    return np.asarray(keras.ops.convert_to_numpy(tensor), dtype=np.float64)


def _named_layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all layers with their paths; those inside of others are joined by a slash."""
    for layer in model._flatten_layers(include_self=False, recursive=False):
        path = f"{prefix}{layer.name}"
        yield path, layer
        yield from _named_layers(layer, f"{path}/")


# --- neutral copies --------------------------------------------------------------------------


def _neutral_copy(model: Any, neutral: frozenset[Part]) -> Any:
    """Return a copy whose layers are linear, average, do not normalise, or have equal weights."""
    made = _copy(model)
    if "weights" in neutral:
        single = {  # kernels that read one channel each
            id(weight)
            for _, layer in _named_layers(made)
            for name in ("kernel", "depthwise_kernel")
            if "Depthwise" in type(layer).__name__ or name.startswith("depthwise")
            for weight in [getattr(layer, name, None)]
        }
        made.set_weights([_positive(weight, id(weight) in single) for weight in made.weights])
    else:
        made.set_weights(model.get_weights())
    for _, layer in _named_layers(made):
        _neutralise(layer, neutral)
    return made


def _copy(model: Any) -> Any:
    try:
        return keras.models.clone_model(model)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"Keras cannot copy {model.name}, and the model itself stays as it is; only functional "
            f"and sequential models of known layers can be copied: {error}"
        ) from error


_NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
)
_ACTIVATIONS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)


def _neutralise(layer: Any, neutral: frozenset[Part]) -> None:
    """Change what a layer of a copy does; it stays in its place in the graph."""
    function = getattr(layer, "activation", None)
    softmax = function is keras.activations.softmax
    if ("norms" in neutral and isinstance(layer, _NORMS)) or (
        "activations" in neutral and isinstance(layer, _ACTIVATIONS) and not softmax
    ):
        object.__setattr__(layer, "call", lambda inputs, *_, **__: inputs)
    elif "activations" in neutral and function is not None and not softmax:
        layer.activation = keras.activations.linear
    kind = type(layer).__name__
    if "pooling" in neutral and "Max" in kind:
        average = getattr(keras.layers, kind.replace("Max", "Average"), None)
        if average is not None and hasattr(keras.layers, kind):
            made = average.from_config(layer.get_config())
            object.__setattr__(layer, "call", made.call)


def _positive(weight: Any, single: bool) -> Array:
    """Return equal positive weights for a layer; a bias is zero."""
    shape = tuple(weight.shape)
    if len(shape) < 2:
        zero = weight.name.endswith(("bias", "beta", "moving_mean", "mean"))
        return np.zeros(shape) if zero else np.ones(shape)
    *window, inputs, _ = shape
    inputs = 1 if single else inputs
    return np.full(shape, 1 / (inputs * math.sqrt(max(1, math.prod(window)))))


def reinitialised(model: Any, seed: int) -> Any:
    """Return a copy with new random weights, drawn by the initialisers of its layers.

    Raises:
        UnsupportedModelError: if Keras cannot copy the model.
    """
    before = random.getstate()
    random.seed(seed)  # initialisers without a seed of their own take it from here
    try:
        return _copy(model)
    finally:
        random.setstate(before)
