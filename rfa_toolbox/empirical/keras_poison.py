"""How layers of Keras are called on poisoned tensors.

Everything that has a geometry (convolutions, poolings, interpolation, attention, reshaping) is
done by the layer itself, with the kernels of the backend. What is changed:

* activations and other layers that work on one position keep NaN where it is, and so do norms, as
  statistics over positions are neutral; where global operations count, norms run as they are;
* at the product of a gate, a weight that is the same at all positions passes none of its NaN to
  the map;
* some kernels lose NaN, as max-pooling does on TensorFlow, and some spread it, as interpolation
  does on JAX, a product with a matrix of which most is zero. These get other numbers to work on;
* as a shortcut, neighbouring channels that are NaN together are one number in memory. A
  convolution with weights reads all channels, so what it makes is NaN together; it is given the
  sum of the channels, in which NaN stays NaN, and one weight in place of many.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Bundled", "PoisonedLayers", "as_numbers", "passing_nan_on"]

_FINITE = 0.5
"""Stands for any number that is not NaN."""

_CONVOLUTIONS = {f"Conv{axes}D{kind}" for axes in "123" for kind in ("", "Transpose")}
_DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}
_SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
_CHANNELWISE = {
    *(f"{kind}Pooling{axes}D" for kind in ("Average", "Max") for axes in "123"),
    *(f"Global{kind}Pooling{axes}D" for kind in ("Average", "Max") for axes in "123"),
    *(f"{kind}{axes}D" for kind in ("UpSampling", "ZeroPadding", "Cropping") for axes in "123"),
}
_NORMS = {
    *("BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization"),
    *("UnitNormalization", "LayerNorm", "Normalize", "RMSNorm"),  # the last three as operations
}
_POINTWISE = {
    *("ReLU", "LeakyReLU", "PReLU", "ELU", "Normalization", "Rescaling", "LayerScale"),
    *("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity"),
    *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "StochasticDepth"),
}
_TOGETHER = {
    *("Add", "Average", "CustomScaleLayer", "Divide", "Maximum", "Minimum", "Multiply"),
    *("Subtract", "TrueDivide"),
}
_MIXING = {"glu", "log_softmax", "softmax", "sparsemax"}
"""Activations that look at other channels, or change their number."""


class Bundled:
    """A tensor in which neighbouring channels that are NaN together are one number in memory.

    Args:
        tensor: with one channel in place of every bundle.
        axis: that of the channels.
        counts: how many channels there are in every bundle.
    """

    __slots__ = ("axis", "counts", "tensor")

    def __init__(self, tensor: Any, axis: int, counts: Iterable[int]) -> None:
        self.tensor = tensor
        self.axis = axis
        self.counts = tuple(map(int, counts))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with all channels."""
        shape = list(map(int, self.tensor.shape))
        shape[self.axis] = sum(self.counts)
        return tuple(shape)


def as_numbers(keras: Any, tensor: Any) -> npt.NDArray[Any]:
    """Return a tensor as an array in which NaN can be looked for."""
    array: npt.NDArray[Any] = np.asarray(keras.ops.convert_to_numpy(tensor))
    return array if np.issubdtype(array.dtype, np.inexact) else array.astype("float32")


class PoisonedLayers:
    """Calls layers and operations so that NaN goes where they look.

    Args:
        keras: the library.
        rank: number of dimensions of the image.
        channels_first: where the channels of maps are.
        gates: whether the NaN of gates and of statistics over positions goes on to the map; see
            the top of the module.
        shortcuts: spend no time on channels that are NaN together.
    """

    def __init__(
        self, keras: Any, rank: int, channels_first: bool, gates: bool, shortcuts: bool
    ) -> None:
        self.keras = keras
        self.rank = rank
        self.channels_first = channels_first
        self.gates = gates
        self.shortcuts = shortcuts

    def call(self, operation: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
        """Call a layer or an operation on tensors of which some are bundled."""
        kind = type(operation).__name__ if _is_of_keras(operation) else ""
        if kind == "Multiply" and not self.gates:
            args = self._without_gates(args)
        if kind in _NORMS and not (self.gates and kind != "BatchNormalization"):
            return args[0] if isinstance(args[0], Bundled) else self._kept(args[0])
        short = None
        if self.shortcuts and keywords.keys() <= {"training"}:
            short = self._in_short(kind, operation, args)
        if short is not None:
            return short
        mapped = self.keras.tree.map_structure
        args, given = mapped(self._whole, (args, dict(keywords)))
        if getattr(operation, "_call_has_training_arg", False):
            given["training"] = False
        return mapped(self.bundled, operation(*args, **given))

    def _axis(self, rank: int) -> int | None:
        """Return where the channels are in a tensor; None if that is not known."""
        if self.channels_first and rank not in {2, self.rank}:
            return None
        return None if rank < 2 else 1 if self.channels_first else rank - 1

    def bundled(self, tensor: Any) -> Any:
        """Return a tensor with neighbouring channels that are NaN together as one."""
        axis = self._axis(len(getattr(tensor, "shape", ())))
        if axis is None or not self.shortcuts:
            return tensor
        flags = np.moveaxis(np.isnan(as_numbers(self.keras, tensor)), axis, -1)
        differ = (flags[..., 1:] != flags[..., :-1]).any(tuple(range(flags.ndim - 1)))
        starts = [0, *np.flatnonzero(differ) + 1]
        if len(starts) < flags.shape[-1]:
            tensor = self.keras.ops.take(tensor, np.array(starts), axis)
        return Bundled(tensor, axis, np.diff([*starts, flags.shape[-1]]))

    def _whole(self, value: Any) -> Any:
        if not isinstance(value, Bundled):
            return value
        if set(value.counts) == {1}:
            return value.tensor
        places = np.repeat(np.arange(len(value.counts)), value.counts)
        return self.keras.ops.take(value.tensor, places, value.axis)

    def _kept(self, tensor: Any) -> Any:
        """Return a tensor that is NaN where this is, and of no size that matters elsewhere."""
        ops = self.keras.ops
        return ops.where(ops.isnan(tensor), math.nan, _FINITE)

    # -- shortcuts

    def _in_short(self, kind: str, operation: Any, args: tuple[Any, ...]) -> Bundled | None:
        """Return the result of a call in less time; None where there is no way."""
        operands = _operands(args)
        bundles = [one for one in operands if isinstance(one, Bundled)]
        if not bundles:
            return None
        first = bundles[0]
        form = getattr(operation, "data_format", None)
        if form is not None and (form == "channels_first") != self.channels_first:
            return None
        if kind in _TOGETHER:
            return self._elementwise(operands)
        if kind == "Concatenate":
            return self._concatenated(operation, bundles)
        if len(operands) != 1:
            return None
        if kind in _POINTWISE or (kind == "Activation" and _keeps(operation.activation, first)):
            return first
        if kind in _CHANNELWISE:
            result = operation(first.tensor)
            axis = self._axis(len(result.shape))
            return None if axis is None else Bundled(result, axis, first.counts)
        if kind == "Dense" and first.axis == len(first.shape) - 1:
            made = Bundled(self._together(first), first.axis, (operation.units,))
            return made if _keeps(operation.activation, made) else None
        if kind in _CONVOLUTIONS | _DEPTHWISE | _SEPARABLE:
            return self._convolved(kind, operation, first)
        return None

    def _together(self, value: Bundled) -> Any:
        """Return one channel that is NaN where any is."""
        if len(value.counts) == 1:
            return value.tensor
        return self._kept(self.keras.ops.sum(value.tensor, value.axis, keepdims=True))

    def _convolved(self, kind: str, layer: Any, value: Bundled) -> Bundled | None:
        """Convolve the sum of the channels with weights of 0, which keep NaN."""
        if getattr(layer, "groups", 1) > 1 and len(value.counts) > 1:
            return None
        if kind in _DEPTHWISE:
            tensor, channels = value.tensor, len(value.counts)
            counts = [count * layer.depth_multiplier for count in value.counts]
        else:
            tensor, channels, counts = self._together(value), 1, [layer.filters]
        zeros = functools.partial(self.keras.ops.zeros, dtype=tensor.dtype)
        window = tuple(layer.kernel_size)
        alike = {"kernel": zeros((*window, channels, 1))}
        if kind in _SEPARABLE:
            point = (1,) * len(window)
            alike = {
                "depthwise_kernel": alike["kernel"],
                "pointwise_kernel": zeros((*point, 1, 1)),
            }
        twin = _Twin(layer, use_bias=False, activation=None, **alike)
        made = Bundled(type(layer).call(twin, tensor) + _FINITE, value.axis, counts)
        return made if _keeps(layer.activation, made) else None

    def _elementwise(self, operands: Sequence[Any]) -> Bundled | None:
        bundles = [one for one in operands if isinstance(one, Bundled)]
        rest = [one for one in operands if not isinstance(one, Bundled)]
        if any(np.ndim(one) for one in rest) or len({len(one.shape) for one in bundles}) > 1:
            return None
        aligned, counts = self._aligned(bundles)
        total = functools.reduce(self.keras.ops.add, aligned)
        return Bundled(self._kept(total), bundles[0].axis, counts)

    def _concatenated(self, layer: Any, bundles: Sequence[Bundled]) -> Bundled:
        axis = bundles[0].axis
        if layer.axis % len(bundles[0].shape) == axis:
            counts = [count for one in bundles for count in one.counts]
            return Bundled(layer([one.tensor for one in bundles]), axis, counts)
        aligned, counts = self._aligned(bundles)
        return Bundled(layer(aligned), axis, counts)

    def _aligned(self, bundles: Sequence[Bundled]) -> tuple[list[Any], list[int]]:
        """Return tensors whose channels stand for the same, and how many each stands for."""
        ends = [list(np.cumsum(one.counts)) for one in bundles]
        edges = sorted({end for one in ends if one[-1] > 1 for end in one}) or [1]
        aligned = [
            one.tensor
            if own in ([1], edges)
            else self.keras.ops.take(one.tensor, np.searchsorted(own, edges), one.axis)
            for one, own in zip(bundles, ends, strict=True)
        ]
        return aligned, list(np.diff([0, *edges]))

    # -- gates

    def _without_gates(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the NaN out of weights that are the same at all positions of the map beside them."""
        operands = list(_operands(args))
        shapes = [tuple(getattr(one, "shape", ())) for one in operands]
        for place, (weight, shape) in enumerate(zip(operands, shapes, strict=True)):
            beside = (
                other
                for other in shapes
                if len(other) == len(shape) > 2
                and any(own == 1 < size for own, size in zip(shape[1:], other[1:], strict=True))
            )
            if next(beside, None) is None:
                continue
            tensor = weight.tensor if isinstance(weight, Bundled) else weight
            flags = np.isnan(as_numbers(self.keras, tensor)).reshape(len(tensor), -1).all(1)
            cleaned = self.keras.ops.where(
                flags.reshape(-1, *(1,) * (len(shape) - 1)), _FINITE, tensor
            )
            operands[place] = (
                Bundled(cleaned, weight.axis, weight.counts)
                if isinstance(weight, Bundled)
                else cleaned
            )
        return tuple(operands) if len(args) > 1 else (operands,)


class _Twin:
    """Stands in for a layer, with some of its attributes changed."""

    def __init__(self, layer: Any, **changed: Any) -> None:
        self._layer = layer
        vars(self).update(changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def _is_of_keras(operation: Any) -> bool:
    return type(operation).__module__.startswith("keras.src.")


def _operands(args: tuple[Any, ...]) -> Sequence[Any]:
    """Return what is merged: a list of tensors, or one argument after another."""
    listed = len(args) == 1 and isinstance(args[0], list | tuple)
    return args[0] if listed else args


def _keeps(activation: Any, value: Bundled) -> bool:
    """Return whether an activation leaves the channels of a tensor NaN together as they are."""
    if activation is None:
        return True
    if not str(getattr(activation, "__module__", "")).startswith("keras.src.activations"):
        return False
    name = activation.__name__
    return name not in _MIXING or (name != "glu" and len(value.counts) == 1)


# --- kernels ----------------------------------------------------------------------------------

_GEOMETRIC = (("nn", "max_pool"), ("nn", "adaptive_max_pool"), ("image", "resize"))
_LOSING = (("nn", "soft_shrink"), ("nn", "hard_shrink"), ("nn", "threshold"))
_ROUNDING = 1e-4
"""Weights of an interpolation that are smaller are zero but for rounding."""


@contextlib.contextmanager
def passing_nan_on(keras: Any) -> Iterator[None]:
    """Let kernels pass NaN on to what depends on it, also where custom layers use them."""
    backend = importlib.import_module("keras.src.backend")
    with contextlib.ExitStack() as stack:
        for kernels, wrapped in ((_GEOMETRIC, _with_flags), (_LOSING, _with_nan_again)):
            for room, name in kernels:
                module = getattr(backend, room)
                kernel = getattr(module, name, None)
                if kernel is not None:
                    setattr(module, name, wrapped(keras.ops, kernel))
                    stack.callback(setattr, module, name, kernel)
        yield


def _with_flags(ops: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a kernel that works on 1 in place of NaN, and on 0 in place of numbers."""

    def flagged(inputs: Any, *args: Any, **keywords: Any) -> Any:
        seen = kernel(ops.cast(ops.isnan(inputs), "float32"), *args, **keywords)
        return ops.where(ops.abs(seen) > _ROUNDING, math.nan, _FINITE)

    return flagged


def _with_nan_again(ops: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one position that puts NaN back."""

    def again(inputs: Any, *args: Any, **keywords: Any) -> Any:
        return ops.where(ops.isnan(inputs), math.nan, kernel(inputs, *args, **keywords))

    return again
