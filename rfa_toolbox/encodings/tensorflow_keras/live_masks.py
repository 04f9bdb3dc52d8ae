"""What constants of a live Keras model leave out: masks that it holds, and weights under a mask."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from rfa_toolbox.encodings.tensorflow_keras.lowering import array_of
from rfa_toolbox.encodings.tensorflow_keras.model_json import Weights
from rfa_toolbox.operators.masks import FAR_BELOW
from rfa_toolbox.operators.record import Numbers

__all__ = ["held_mask", "left_by"]

_LARGE = 2**20
"""Numbers up to which masks, and weights that are 0 in places, are looked at."""
_MASKING = {"Multiply", "Where"}


def held_mask(value: Any) -> Numbers | None:
    """Return the numbers of a weight that is not trained, if some leave something out."""
    keras = sys.modules["keras"]
    if not isinstance(value, keras.Variable) or value.trainable or len(value.shape) < 2:
        return None
    if math.prod(value.shape) > _LARGE:
        return None
    try:
        return _left(keras.ops.convert_to_numpy(value.value))
    except (NotImplementedError, TypeError, ValueError, RuntimeError):  # it has no numbers yet
        return None


def left_by(
    operation: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> Numbers | None:
    """Return where what is computed of constants is 0, whatever the weights among them will be.

    The operation runs once with random numbers in place of weights. None if nothing is 0; it is
    not known where, if a product cannot run.
    """
    keras = sys.modules["keras"]
    if isinstance(operation, keras.layers.Layer):
        return None
    unknown = Numbers(None) if type(operation).__name__ in _MASKING else None
    try:
        given, named = _numbers(list(arguments)), _numbers(dict(keywords))
        made = keras.tree.flatten(operation(*given, **named))
        return _left(keras.ops.convert_to_numpy(made[0]))
    except Exception:  # noqa: BLE001 - what an operation raises is up to its backend
        return unknown


def _left(array: Any) -> Numbers | None:
    if array.ndim < 2 or not ((array == 0).any() or (array <= FAR_BELOW).any()):
        return None
    return Numbers(array)


def _numbers(value: Any) -> Any:
    """Return an argument with numbers in place of weights.

    Raises:
        ValueError: if they are too many, or not known.
    """
    if type(value) is Weights:
        if math.prod(value.shape) > _LARGE or (value.left and value.left.array is None):
            raise ValueError(f"the numbers of a weight of shape {value.shape!r} are not known")
        if value.left is not None:
            return value.left.array
        import numpy as np

        return np.random.default_rng(0).uniform(0.5, 1.5, value.shape).astype("float32")
    if isinstance(value, Mapping):
        return (
            array_of(value) if "class_name" in value else {k: _numbers(v) for k, v in value.items()}
        )
    return [_numbers(one) for one in value] if isinstance(value, list | tuple) else value
