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
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "Bundled",
    "DifferingLayers",
    "Flags",
    "PoisonedLayers",
    "changed_in",
    "nan_in",
    "passing_nan_on",
    "with_random_weights",
]

Flags: TypeAlias = "npt.NDArray[np.bool_]"

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
_SLIDING = {*_CONVOLUTIONS, *_DEPTHWISE, *_SEPARABLE, *_CHANNELWISE, "AveragePool", "MaxPool"}
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
_TABLES = {"Embedding", "ReversibleEmbedding"}
"""Layers that look rows of a table up by their numbers."""
_MIXING = {"glu", "log_softmax", "softmax", "sparsemax"}
"""Activations that look at other channels, or change their number."""


class Bundled:
    """Which numbers of a tensor are NaN, neighbouring channels that are so together as one.

    Args:
        flags: with one channel in place of every bundle.
        axis: that of the channels.
        counts: how many channels there are in every bundle.
        tensor: the tensor itself, where a layer was called with all channels.
    """

    __slots__ = ("axis", "counts", "flags", "tensor")

    def __init__(self, flags: Flags, axis: int, counts: Iterable[int], tensor: Any = None) -> None:
        self.flags = flags
        self.axis = axis
        self.counts = tuple(map(int, counts))
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with all channels."""
        shape = list(self.flags.shape)
        shape[self.axis] = sum(self.counts)
        return tuple(shape)


def nan_in(keras: Any, tensor: Any) -> Flags:
    """Return which numbers of a tensor are NaN."""
    array = np.asarray(keras.ops.convert_to_numpy(tensor))
    if not np.issubdtype(array.dtype, np.inexact):
        array = array.astype("float32")  # whole numbers, or a type that NumPy does not know
    flags: Flags = np.isnan(array)
    return flags


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

    def call(
        self,
        operation: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        weighs: bool = False,
    ) -> Any:
        """Call a layer or an operation on tensors of which some are bundled.

        It ``weighs`` where it brings a gate or a statistic to the map that this was taken of.
        """
        kind = type(operation).__name__ if _is_of_keras(operation) else ""
        if weighs and not self.gates:
            args = self._without_gates(args)
        if kind in _SLIDING:
            # Where a window does not fit, kernels of TensorFlow return the image as it is, or end
            # the process; this raises.
            operation.compute_output_spec(self.keras.KerasTensor(args[0].shape))
        if kind in _TABLES and not keywords.get("reverse"):
            return self._looked_up(args[0], operation.output_dim)
        if kind in _NORMS and not (self.gates and kind != "BatchNormalization"):
            return self._kept(args[0])
        short = None
        if self.shortcuts and keywords.keys() <= {"training"}:
            short = self._in_short(kind, operation, args)
        if short is not None:
            return short
        mapped = self.keras.tree.map_structure
        args, given = mapped(self.whole, (args, dict(keywords)))
        if getattr(operation, "_call_has_training_arg", False):
            given["training"] = False
        return mapped(self._bundled, operation(*args, **given))

    def poisoned(self, flags: Flags) -> Any:
        """Return an image that is NaN where it is said, which is the same in all channels."""
        axis = self._axis(flags.ndim)
        if axis is None or not self.shortcuts or flags.ndim < 3:  # a signal: its last axis is time
            return self._tensor(flags)
        return Bundled(flags.take([0], axis), axis, [flags.shape[axis]])

    def _axis(self, rank: int) -> int | None:
        """Return where the channels are in a tensor; None if that is not known."""
        if self.channels_first and rank not in {2, self.rank}:
            return None
        return None if rank < 2 else 1 if self.channels_first else rank - 1

    def _tensor(self, flags: Flags) -> Any:
        return self.keras.ops.convert_to_tensor(
            np.where(flags, np.float32(math.nan), np.float32(_FINITE))
        )

    def _bundled(self, tensor: Any) -> Any:
        shape = getattr(tensor, "shape", ())
        axis = self._axis(len(shape))
        if axis is None or not self.shortcuts or 0 in shape:
            return tensor
        flags = nan_in(self.keras, tensor)
        differ = np.diff(flags, axis=axis).any(tuple({*range(flags.ndim)} - {axis}))
        starts = [0, *np.flatnonzero(differ) + 1]
        counts = np.diff([*starts, flags.shape[axis]])
        return Bundled(flags.take(starts, axis), axis, counts, tensor)

    def whole(self, value: Any) -> Any:
        """Return a tensor with all of its channels."""
        if not isinstance(value, Bundled):
            return value
        if value.tensor is not None:
            return value.tensor
        return self._tensor(np.repeat(value.flags, value.counts, value.axis))

    def _kept(self, value: Any) -> Any:
        """Return something that is NaN where this is, and nowhere large or small."""
        if isinstance(value, Bundled):
            return Bundled(value.flags, value.axis, value.counts)
        ops = self.keras.ops
        return ops.where(ops.isnan(value), math.nan, _FINITE)

    def _looked_up(self, value: Any, size: int) -> Any:
        """Return a row of numbers for every number; no row stands in a table at NaN."""
        return self.keras.ops.repeat(self.keras.ops.expand_dims(self.whole(value), -1), size, -1)

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
        if kind == "Concatenate" and len(bundles) == len(operands):
            return self._concatenated(operation, bundles)
        if len(operands) != 1:
            return None
        if kind in _POINTWISE or (kind == "Activation" and _keeps(operation.activation, first)):
            return Bundled(first.flags, first.axis, first.counts)
        if kind in _CHANNELWISE:
            flags = self._through(operation, first.flags)
            axis = self._axis(flags.ndim)
            return None if axis is None else Bundled(flags, axis, first.counts)
        if kind == "Dense" and first.axis == len(first.shape) - 1:
            made = Bundled(_together(first), first.axis, [operation.units])
            return made if _keeps(operation.activation, made) else None
        if kind in _CONVOLUTIONS | _DEPTHWISE | _SEPARABLE:
            return self._convolved(kind, operation, first)
        return None

    def _through(self, function: Callable[[Any], Any], flags: Flags) -> Flags:
        return nan_in(self.keras, function(self._tensor(flags)))

    def _convolved(self, kind: str, layer: Any, value: Bundled) -> Bundled | None:
        """Convolve the sum of the channels with weights of 0, which keep NaN."""
        if getattr(layer, "groups", 1) > 1 and len(value.counts) > 1:
            return None
        flags, channels, counts = _together(value), 1, [getattr(layer, "filters", 0)]
        if kind in _DEPTHWISE:
            flags, channels = value.flags, len(value.counts)
            counts = [count * layer.depth_multiplier for count in value.counts]
        window = tuple(layer.kernel_size)
        # Called without ``__call__``, which casts: the type of the tensor, whatever the model's.
        zeros = functools.partial(self.keras.ops.zeros, dtype="float32")
        weights = {"kernel": zeros((*window, channels, 1))}
        if kind in _SEPARABLE:
            point = zeros((1,) * (len(window) + 2))
            weights = {"depthwise_kernel": weights["kernel"], "pointwise_kernel": point}
        twin = _Twin(layer, use_bias=False, activation=None, **weights)
        called = functools.partial(type(layer).call, twin)
        made = Bundled(self._through(called, flags), value.axis, counts)
        return made if _keeps(layer.activation, made) else None

    def _elementwise(self, operands: Sequence[Any]) -> Bundled | None:
        bundles = [one for one in operands if isinstance(one, Bundled)]
        rest = [one for one in operands if not isinstance(one, Bundled)]
        if any(np.ndim(one) for one in rest) or len({len(one.shape) for one in bundles}) > 1:
            return None
        aligned, counts = _aligned(bundles)
        return Bundled(functools.reduce(np.logical_or, aligned), bundles[0].axis, counts)

    def _concatenated(self, layer: Any, bundles: Sequence[Bundled]) -> Bundled:
        axis, place = bundles[0].axis, layer.axis % len(bundles[0].shape)
        if place == axis:
            aligned = [one.flags for one in bundles]
            counts = [count for one in bundles for count in one.counts]
        else:
            aligned, counts = _aligned(bundles)
        return Bundled(np.concatenate(aligned, place), axis, counts)

    # -- gates

    def _without_gates(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the NaN out of weights that are the same at all positions of the map beside them."""
        operands = list(_operands(args))
        shapes = [tuple(getattr(one, "shape", ())) for one in operands]
        for place, (weight, shape) in enumerate(zip(operands, shapes, strict=True)):
            if not any(self._is_gate(shape, other) for other in shapes):
                continue
            own = isinstance(weight, Bundled)
            flags = weight.flags if own else nan_in(self.keras, weight)
            images = flags.reshape(len(flags), -1).all(1).reshape(-1, *(1,) * (len(shape) - 1))
            if own:
                operands[place] = Bundled(flags & ~images, weight.axis, weight.counts)
            else:
                operands[place] = self.keras.ops.where(images, _FINITE, weight)
        return tuple(operands) if len(args) > 1 else (operands,)

    def _is_gate(self, shape: Sequence[int], other: Sequence[int]) -> bool:
        """Whether a weight has one number for all the positions of a map, of which there are some.

        Other dimensions are channels, in which a mask of positions has one number, too. Where
        there are more than an image has, channels were taken apart.
        """
        rank = len(shape)
        if not len(other) == rank > 1:
            return False
        axes = max(1, min(rank, self.rank) - 2)  # a signal has no channels
        places = range(rank - axes, rank) if self.channels_first else range(1, 1 + axes)
        return all(shape[one] == 1 for one in places) and any(other[one] > 1 for one in places)


_MAXIMA = {f"MaxPooling{axes}D" for axes in "123"}
_WITHOUT_ZEROS = {"Relu", "Relu6"}
"""Operations that make many numbers 0, in which no difference shows."""


class DifferingLayers(PoisonedLayers):
    """Calls layers and operations on numbers, so that what changes shows where they look.

    A zero that a mask puts in the way of NaN does not stop it, but stops every other number. What
    works on one position is left out, and means take the place of maxima, which many numbers do
    not reach.
    """

    def __init__(self, keras: Any, rank: int, channels_first: bool, gates: bool) -> None:
        super().__init__(keras, rank, channels_first, gates, shortcuts=False)

    def call(
        self,
        operation: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        weighs: bool = False,
    ) -> Any:
        """Call a layer or an operation on tensors of numbers."""
        kind = type(operation).__name__ if _is_of_keras(operation) else ""
        plain = kind == "Activation" and operation.activation.__name__ not in _MIXING
        if kind in _POINTWISE | _WITHOUT_ZEROS or plain:
            return args[0]
        if kind in _MAXIMA:
            where = operation.pool_size, operation.strides, operation.padding
            return self.keras.ops.average_pool(args[0], *where, operation.data_format)
        return super().call(operation, args, keywords, weighs)

    def _kept(self, value: Any) -> Any:
        return value

    def _without_gates(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        operands = list(_operands(args))
        shapes = [tuple(getattr(one, "shape", ())) for one in operands]
        for place, shape in enumerate(shapes):
            if any(self._is_gate(shape, other) for other in shapes):
                operands[place] = self.keras.ops.full_like(operands[place], _FINITE)
        return tuple(operands) if len(args) > 1 else (operands,)


def changed_in(keras: Any, tensor: Any) -> Flags:
    """Return which numbers of all images but the first one are not those of the first one."""
    array = np.asarray(keras.ops.convert_to_numpy(tensor)).astype("float64")
    differences = np.abs(array[1:] - array[:1])
    flags: Flags = differences > _UNEVEN * np.abs(array[:1]).max(initial=0.0)
    return flags


_UNEVEN = 1e-6
"""By what share of the largest number results may differ that are computed in another order."""


def with_random_weights(model: Any) -> list[tuple[Any, Any]]:
    """Return the weights of a model with random numbers for each; some are zero as yet.

    What is zero by a mask stays so, unless everything is.
    """
    keras = importlib.import_module("keras")
    drawn = np.random.default_rng(0)
    found = []
    for weight in model.trainable_variables:
        if len(weight.shape) > 1:
            tensor = keras.ops.copy(weight.value)  # NumPy warns of variables of TensorFlow
            held = np.asarray(keras.ops.convert_to_numpy(tensor))
            gain = math.sqrt(held.shape[-1] / max(1, held.size))
            values = drawn.uniform(0.5, 1.5, held.shape) * drawn.choice([-gain, gain], held.shape)
            kept = values if not held.any() else np.where(held == 0, 0, values)
            found.append((weight, keras.ops.convert_to_tensor(kept, dtype=weight.dtype)))
    return found


def _together(value: Bundled) -> Flags:
    """Return one channel that is NaN where any is."""
    return np.logical_or.reduce(value.flags, value.axis, keepdims=True)


def _aligned(bundles: Sequence[Bundled]) -> tuple[list[Flags], list[int]]:
    """Return flags whose channels stand for the same, and for how many each stands."""
    ends = [list(np.cumsum(one.counts)) for one in bundles]
    edges = sorted({end for one in ends if one[-1] > 1 for end in one}) or [1]
    aligned = [
        one.flags if own in ([1], edges) else one.flags.take(np.searchsorted(own, edges), one.axis)
        for one, own in zip(bundles, ends, strict=True)
    ]
    return aligned, list(np.diff([0, *edges]))


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

_GEOMETRIC = {
    "nn": {"max_pool": 1, "adaptive_max_pool": 1},
    "numpy": {"amax": 1, "amin": -1, "max": 1, "min": -1},
}
"""Kernels by their rooms in a backend, and the number that they get in place of NaN."""

_GEOMETRIC_ON_JAX = {"image": {"resize": 1}}
"""Elsewhere NaN shows as well where an interpolation looks with a weight of zero."""

_POINTWISE_KERNELS = {"nn": ("hard_shrink", "soft_shrink", "threshold")}
_ALONG_AN_AXIS = {"nn": ("softmax", "log_softmax")}
"""Kernels whose results depend on all along an axis; those of TensorFlow pass over NaN."""
_ROUNDING = 1e-4
"""Weights of an interpolation that are smaller are zero but for rounding."""


@contextlib.contextmanager
def passing_nan_on(keras: Any) -> Iterator[None]:
    """Let kernels pass NaN on to what depends on it, also where custom layers use them."""
    backend = importlib.import_module("keras.src.backend")
    with contextlib.ExitStack() as stack:

        def replace(room: str, name: str, wrapped: Callable[..., Any], *args: Any) -> None:
            module = getattr(backend, room)
            kernel = getattr(module, name, None)
            if kernel is not None:  # adaptive pooling is younger than Keras 3
                setattr(module, name, wrapped(keras.ops, kernel, *args))
                stack.callback(setattr, module, name, kernel)

        on_jax = backend.backend() == "jax"
        for room, kernels in (_GEOMETRIC | (_GEOMETRIC_ON_JAX if on_jax else {})).items():
            for name, mark in kernels.items():
                replace(room, name, _with_flags, mark)
        for wrapped, rooms in (
            (_with_nan_again, _POINTWISE_KERNELS),
            (_with_nan_along, _ALONG_AN_AXIS),
        ):
            for room, names in rooms.items():
                for name in names:
                    replace(room, name, wrapped)
        yield


def _with_flags(ops: Any, kernel: Callable[..., Any], mark: int) -> Callable[..., Any]:
    """Return a kernel that looks for NaN by a mark in place of it, and 0 in place of numbers."""

    def flagged(inputs: Any, *args: Any, **keywords: Any) -> Any:
        poisoned = ops.isnan(inputs)
        clean = kernel(ops.where(poisoned, _FINITE, inputs), *args, **keywords)
        seen = kernel(mark * ops.cast(poisoned, "float32"), *args, **keywords)
        return ops.where(ops.abs(seen) > _ROUNDING, math.nan, clean)

    return flagged


def _with_nan_again(ops: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of one position that puts NaN back."""

    def again(inputs: Any, *args: Any, **keywords: Any) -> Any:
        return ops.where(ops.isnan(inputs), math.nan, kernel(inputs, *args, **keywords))

    return again


def _with_nan_along(ops: Any, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function along an axis that is NaN where anything along it is."""

    def along(inputs: Any, axis: int | None = -1) -> Any:
        poisoned = ops.any(ops.isnan(inputs), axis=axis, keepdims=True)
        return ops.where(poisoned, math.nan, kernel(inputs, axis=axis))

    return along
