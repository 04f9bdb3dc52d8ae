"""Gradients of chosen units with respect to the input, whatever framework a model is made with.

The frameworks are imported by the two modules that this one chooses from, when a model is there.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import attrs
import numpy as np

from rfa_toolbox.empirical.maps import FeatureMap, find_map
from rfa_toolbox.empirical.neutral import Part
from rfa_toolbox.errors import MeasurementError, UnsupportedModelError

__all__ = ["Array", "Gradient", "ModelInExperiment", "put_into_experiment"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Signal: TypeAlias = Callable[[Array], Array]
"""Gets the output of a layer and returns the gradient to send back from there."""


@attrs.frozen(eq=False)
class Gradient:
    """What came back to the input, (batch, ...), for a signal at one output.

    ``gradient`` is None if nothing leads back from there.
    """

    output: Array
    gradient: Array | None

    def problem(self, path: str) -> str:
        """Say why there is no gradient; "" if there is one."""
        if self.gradient is not None:
            return ""
        return (
            f"No gradient comes from {path!r} to the input: something on the way detaches it, "
            "rounds, or does not depend on the input. method='structural' needs no gradients."
        )

    def arrived(self, path: str) -> Array:
        """Return the gradient.

        Raises:
            MeasurementError: if there is none.
        """
        if self.gradient is None:
            raise MeasurementError(self.problem(path))
        return self.gradient


class ModelInExperiment(Protocol):
    """A model that runs forwards and backwards, and that its user does not get back."""

    name: str
    channels_last: bool
    paths: Sequence[str]

    def shape_of_input(self) -> tuple[int, ...]:
        """Return a shape with batch that the model runs with."""

    def shapes(self, inputs: Array) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of what every layer returns in its first call, in the order of calls."""

    def gradients(self, inputs: Array, signals: Mapping[str, Signal]) -> Mapping[str, Gradient]:
        """Return for every layer named in ``signals`` what its signal becomes at the input."""

    def kinds(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Return the class of each of these layers."""

    def extra_tokens(self) -> int | None:
        """Return how many tokens stand for no position, if the model says so."""

    def reinitialised(self, seed: int) -> Any:
        """Return a copy of the user's model with new random weights."""


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
    """Return the spatial dimensions of an input with batch and channels."""
    if dimensions < 3:
        raise MeasurementError(
            f"The input has {dimensions} dimensions; it needs a batch, channels, and at least one "
            "spatial axis, as in (1, 3, 224, 224)."
        )
    return tuple(range(1, dimensions - 1) if model.channels_last else range(2, dimensions))


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
    if len(shape) < 3 or not all(
        hasattr(one, "__index__") and not isinstance(one, bool) and one > 0 for one in shape
    ):
        raise MeasurementError(
            f"input_shape is {input_shape!r}; it must be the shape of the input with batch and "
            f"channels, such as {usual}. Sizes are positive whole numbers."
        )
    return tuple(int(one) for one in shape)


def checked_paths(model: ModelInExperiment, layers: str | Iterable[str]) -> list[str]:
    """Return the paths of layers that the model has.

    Raises:
        MeasurementError: if one is not known; the message names the most similar ones.
    """
    paths = [layers] if isinstance(layers, str) else list(layers)
    for path in paths:
        if path not in model.paths:
            near = difflib.get_close_matches(str(path), model.paths, n=5, cutoff=0.5)
            known = f"similar ones are {near!r}" if near else f"it has {list(model.paths)[:8]!r}..."
            raise MeasurementError(
                f"layers names {path!r}, which is no layer of {model.name}; {known}."
            )
    return paths


def map_of(
    model: ModelInExperiment, path: str, shape: Sequence[int], input_size: Sequence[int]
) -> FeatureMap:
    """Return the positions of a layer's output.

    Raises:
        MeasurementError: if it has none.
    """
    found = find_map(
        shape,
        input_size,
        channels_last=model.channels_last,
        extra_tokens=model.extra_tokens(),
    )
    if found is None:
        raise MeasurementError(
            f"The output of {path!r} has the shape {tuple(shape)!r}, which is no map of an image "
            f"of {'x'.join(map(str, input_size))} px; choose a layer in front of the head."
        )
    return found


def last_map(
    model: ModelInExperiment, shapes: Mapping[str, tuple[int, ...]], input_size: Sequence[int]
) -> str:
    """Return the path of the last layer that returns a map of more than one position.

    Raises:
        MeasurementError: if there is none.
    """
    for path in reversed(list(shapes)):
        if not path:
            continue
        found = find_map(
            shapes[path],
            input_size,
            channels_last=model.channels_last,
            extra_tokens=model.extra_tokens(),
        )
        if found is not None and any(one > 1 for one in found.size):
            return path
    raise MeasurementError(
        f"No layer of {model.name} returns a map of more than one position at "
        f"{'x'.join(map(str, input_size))} px; take a larger input, or name a layer."
    )
