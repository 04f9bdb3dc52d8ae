"""Gradients of chosen units with respect to the input, whatever framework a model is made with.

The frameworks are imported by the two modules that this one chooses from, when a model is there.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np

from rfa_toolbox.empirical.maps import FeatureMap, find_map, tokens_of
from rfa_toolbox.empirical.neutral import Part
from rfa_toolbox.empirical.results import path_and_call
from rfa_toolbox.errors import MeasurementError, UnsupportedModelError

__all__ = ["Array", "Gradient", "ModelInExperiment", "put_into_experiment"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Signal: TypeAlias = Callable[[Array], Array]
"""Gets the output of a layer and returns the gradient to send back from there."""

Reduce: TypeAlias = Callable[[Array], Any]
"""Gets a gradient at the input, (batch, ...), and returns what is of interest in it."""

_MEMORY = 2**27
"""Bytes of results of layers that a pass may hold; their history takes as much again."""

_MOST_SEEDS = 2**64
_MOST_NUMBERS = 2**27
"""In one input: a gigabyte, and as much again for each of some units and layers."""


@attrs.frozen(eq=False)
class Gradient:
    """What came back to the input, (batch, ...), for a signal at one output.

    ``gradient`` is None if nothing leads back from there, and what a ``Reduce`` made of it.
    """

    output: Array
    gradient: Any

    def problem(self, path: str) -> str:
        """Say why there is no gradient; "" if there is one."""
        if self.gradient is not None:
            return ""
        return (
            f"No gradient comes from {path!r} to the input: something on the way detaches it, "
            "rounds, or does not depend on the input. method='structural' needs no gradients."
        )

    def arrived(self, path: str) -> Any:
        """Return the gradient.

        Raises:
            MeasurementError: if there is none.
        """
        if self.gradient is None:
            raise MeasurementError(self.problem(path))
        return self.gradient


def unchanged(gradient: Array) -> Array:
    """Return a gradient as it is."""
    return gradient


class ModelInExperiment(Protocol):
    """A model that runs forwards and backwards, and that its user does not get back.

    ``bytes`` are those of all results of layers for one image, once ``shapes`` was asked for them.
    """

    name: str
    channels_last: bool
    paths: Sequence[str]
    bytes: int

    def shape_of_input(self) -> tuple[int, ...]:
        """Return a shape with batch that the model runs with."""

    def look_at(self, input_shape: Any, wanted: int | str | None, seed: int) -> tuple[int, ...]:
        """Give the model several inputs, of which one is looked at, and return its shape."""

    def shapes(self, inputs: Array) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of what every call of a layer returns, by name and in their order."""

    def gradients(
        self, inputs: Array, signals: Mapping[str, Signal], reduce: Reduce = unchanged
    ) -> Mapping[str, Gradient]:
        """Return for every call named in ``signals`` what its signal becomes at the input."""

    def kinds(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the class of the layer of each of these calls."""

    def extra_tokens(self) -> int | None:
        """Return how many tokens stand for no position, if the model says so."""

    def reinitialised(self, seed: int) -> Any:
        """Return a copy of the user's model with new random weights."""


def images_at_once(model: ModelInExperiment) -> int:
    """Return how many images one pass of a model may take, so that its memory stays small."""
    return max(1, _MEMORY // max(1, model.bytes))


def put_into_experiment(
    model: Any, neutral: frozenset[Part] = frozenset(), exact: bool = False
) -> ModelInExperiment:
    """Return a model of any framework, ready for experiments.

    Args:
        model: a PyTorch module or a Keras model; it is left as it is.
        neutral: the parts to neutralise, on a copy.
        exact: compute with 64 bits, also on a copy, where the framework can.

    Raises:
        UnsupportedModelError: if it is neither.
    """
    # A model of a framework is there only if that framework has been imported. Layers of Keras
    # are modules of PyTorch, too, where that is its backend.
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Layer):
        from rfa_toolbox.empirical.keras_gradients import KerasModelInExperiment

        return KerasModelInExperiment(model, neutral)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from rfa_toolbox.empirical.torch_gradients import TorchModelInExperiment

        return TorchModelInExperiment(model, neutral, exact)
    raise UnsupportedModelError(
        f"model is {model!r}; experiments need a model that runs: a torch.nn.Module or a Keras "
        "model."
    )


# --- what gradient.py and effective.py ask ---------------------------------------------------


def input_axes(model: ModelInExperiment, dimensions: int) -> tuple[int, ...]:
    """Return the spatial dimensions of an input with batch and channels, or of plain signals."""
    if dimensions < 2:
        raise MeasurementError(
            f"The input has {dimensions} dimensions; it needs a batch, channels, and at least one "
            "spatial axis, as in (1, 3, 224, 224), or a batch of signals, as in (1, 16000)."
        )
    if dimensions == 2:
        return (1,)
    return tuple(range(1, dimensions - 1) if model.channels_last else range(2, dimensions))


def holds_several(input_shape: Any) -> bool:
    """Return whether a shape is that of several inputs: a list of shapes, or shapes by name.

    >>> holds_several(((1, 3, 8, 8), (1, 2))), holds_several((1, 3, 8, 8))
    (True, False)
    """
    if isinstance(input_shape, Mapping):
        return True
    several = isinstance(input_shape, tuple | list)
    return several and not all(hasattr(one, "__index__") for one in input_shape)


def checked_shape(model: ModelInExperiment, input_shape: Any) -> tuple[int, ...]:
    """Return the shape of an input with batch.

    Raises:
        MeasurementError: if it is none.
    """
    if input_shape is None:
        return model.shape_of_input()
    usual = "(1, 224, 224, 3)" if model.channels_last else "(1, 3, 224, 224)"
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if len(shape) < 2 or not all(
        hasattr(one, "__index__") and not isinstance(one, bool) and one > 0 for one in shape
    ):
        raise MeasurementError(
            f"input_shape is {input_shape!r}; it must be the shape of the input with batch and "
            f"channels, such as {usual}, or (1, 16000) for plain signals. Sizes are positive whole "
            "numbers."
        )
    if math.prod(shape) > _MOST_NUMBERS:
        raise MeasurementError(
            f"input_shape is {input_shape!r}, which is {math.prod(shape):,} numbers; gradients are "
            f"computed for at most {_MOST_NUMBERS:,}. Pass a smaller shape, such as {usual}."
        )
    return tuple(int(one) for one in shape)


def numbers_in(values: Any, what: str) -> Array:
    """Return a tensor or what is like an array as an array of 64-bit numbers.

    Raises:
        MeasurementError: if it holds no real numbers, or none that can be read.

    >>> numbers_in([[1, 2]], "image")
    array([[1., 2.]])
    """
    try:
        if hasattr(values, "detach"):  # a tensor of PyTorch, perhaps of a type that NumPy lacks
            values = values.detach().cpu()
            values = values.double() if values.is_floating_point() else values
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise MeasurementError(
            f"{what} is a {type(values).__name__} that cannot be read as an array; it must be a "
            "dense array or tensor of numbers, on a device that holds them."
        ) from error
    if found.dtype.kind not in "fiub":
        raise MeasurementError(
            f"{what} is of type {found.dtype}; it must hold numbers, in an array or a tensor."
        )
    return found.astype(np.float64)


def checked_seed(seed: Any) -> int:
    """Return a seed that all random generators take.

    Raises:
        MeasurementError: if it is none.

    >>> checked_seed(3)
    3
    """
    if not hasattr(seed, "__index__") or isinstance(seed, bool) or not 0 <= seed < _MOST_SEEDS:
        raise MeasurementError(f"seed is {seed!r}; it must be a whole number from 0 to 2**64 - 1.")
    return int(seed)


def checked_paths(model: ModelInExperiment, layers: str | Iterable[str]) -> list[str]:
    """Return the paths of layers that the model has, or names of their calls, as a list.

    Raises:
        MeasurementError: if one is not known; the message names the most similar ones.
    """
    if not layers or not isinstance(layers, Iterable):
        raise MeasurementError(
            f"layers is {layers!r}; it must name at least one layer of {model.name}, by its path "
            f"such as {next(iter(model.paths), 'conv')!r}, or be None, which is all of them."
        )
    paths = [layers] if isinstance(layers, str) else list(layers)
    for path in paths:
        if path_and_call(str(path), model.paths)[0] not in model.paths:
            near = difflib.get_close_matches(str(path), model.paths, n=5, cutoff=0.5)
            known = f"similar ones are {near!r}" if near else f"it has {list(model.paths)[:8]!r}..."
            raise MeasurementError(
                f"layers names {path!r}, which is no layer of {model.name}; {known}."
            )
    return paths


@attrs.frozen(eq=False)
class Maps:
    """The outputs of all layers of a model for inputs of one shape.

    Attributes:
        model: what was asked.
        axes: the spatial dimensions of the input.
        size: of the image, in pixels per axis.
        shapes: of all outputs, by the names of the calls and in their order.
        found: by name the positions of those outputs that look like maps.
    """

    model: ModelInExperiment
    axes: tuple[int, ...]
    size: tuple[int, ...]
    shapes: Mapping[str, tuple[int, ...]]
    found: Mapping[str, FeatureMap]

    @classmethod
    def of(cls, model: ModelInExperiment, inputs: Array) -> Maps:
        """Run a model."""
        axes = input_axes(model, inputs.ndim)
        size = tuple(inputs.shape[one] for one in axes)
        shapes = model.shapes(inputs)
        return cls(model, axes, size, shapes, _find_maps(model, shapes, size))

    def __getitem__(self, name: str) -> FeatureMap:
        """Return the positions of an output.

        Raises:
            MeasurementError: if there is none, or it has no positions.
        """
        if name not in self.shapes:
            raise MeasurementError(
                f"Layer {name!r} of {self.model.name} was not called, or returned no tensor."
            )
        if name not in self.found:
            raise MeasurementError(
                f"The output of {name!r} has the shape {self.shapes[name]!r}, which is no map of "
                f"an image of {times(self.size)} px; choose a layer in front of the head."
            )
        return self.found[name]

    def chosen(self, layer: str | None, fits: Callable[[str], bool] = lambda name: True) -> str:
        """Return the layer, or without one the last that returns more than one position, and fits.

        Raises:
            MeasurementError: if there is none.
        """
        if layer is not None:
            return checked_paths(self.model, layer)[0]
        for name in reversed(list(self.found)):
            if any(one > 1 for one in self.found[name].size) and fits(name):
                return name
        raise MeasurementError(
            f"No layer of {self.model.name} returns a map of more than one position at "
            f"{times(self.size)} px, which is the shape of the input without batch and channels; "
            "take a larger input, add a batch if it has none, or name a layer."
        )


_CHANNELS_LAST = {
    *("Linear", "LayerNorm", "RMSNorm", "MultiheadAttention", "TransformerEncoderLayer"),
    *("GRU", "LSTM", "RNN", "TransformerDecoderLayer", "NonDynamicallyQuantizableLinear"),
}
"""Modules of PyTorch that take the last dimension for channels."""


def _find_maps(
    model: ModelInExperiment, shapes: Mapping[str, tuple[int, ...]], size: Sequence[int]
) -> dict[str, FeatureMap]:
    """Return the positions of all outputs that look like maps, by name.

    The shape of a sequence does not tell its channels from its positions. Some layers do, and
    what has the shape of their output behind them is taken for the same. What is as long as a list
    with a class token is no map but a part of an attention: its scores, or one of its heads.
    """
    kinds = model.kinds(list(shapes))
    alike: dict[tuple[int, ...], FeatureMap] = {}
    known: list[tuple[int, ...]] = []
    lists: set[int] = set()
    found: dict[str, FeatureMap] = {}
    for name, shape in shapes.items():
        one: FeatureMap | None
        if len(size) == 1 and len(shape) == 3 and shape[0] == 1 and kinds[name] in _CHANNELS_LAST:
            one = tokens_of(shape[1], known) or FeatureMap((shape[1],), (1,))
        elif len(size) == 1 and shape in alike and "1d" not in kinds[name]:
            one = alike[shape]
        else:
            one = find_map(
                shape,
                size,
                channels_last=model.channels_last,
                extra_tokens=model.extra_tokens(),
                known=known,
            )
        if one is not None and not (one.token(one.middle) is None and lists & set(one.size)):
            found[name] = alike[shape] = one
            known.insert(0, one.size)
            if one.extra:
                lists.add(shape[1])
    return found


def times(size: Iterable[int]) -> str:
    return "x".join(map(str, size))
