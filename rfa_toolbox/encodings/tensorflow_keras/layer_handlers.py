"""How to read each kind of layer of Keras; one handler per family, matched on exact class names.

A handler gets a :class:`~rfa_toolbox.encodings.tensorflow_keras.positions.LayerCall` and returns a
``LayerDefinition``. Those below also tell where the positions of the image are behind the layer;
a handler of a user need not. The order in which they are asked is the one of ``PARSERS``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import attrs

from rfa_toolbox.encodings.tensorflow_keras.model_json import read_model
from rfa_toolbox.encodings.tensorflow_keras.operations import RULES, canonical
from rfa_toolbox.encodings.tensorflow_keras.positions import (
    Effect,
    LayerCall,
    Value,
    activated,
    broadcasted,
    carried,
    combined,
    concatenated,
    contracted,
    dimension_size,
    first_window,
    input_value,
    keep,
    mix,
    normalised,
    padding_of,
    per_axis,
    pooled,
    resampled,
    settle,
    shape_of,
    size_known,
    slide,
    sliding,
    softmaxed,
    spatial_dimensions,
    stand_in_shape,
    transposed,
    unknown,
    varies,
    vector_windows,
    whole_numbers,
    words,
)
from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Layout, plain
from rfa_toolbox.operators.windows import NEUTRAL, Window, in_blocks, interpolation, mixed_windows

__all__ = [
    "AdaptivePoolingHandler",
    "AnyHandler",
    "AttentionHandler",
    "ConcatenateHandler",
    "ConvolutionalRecurrentHandler",
    "DenseHandler",
    "DotHandler",
    "EinsumDenseHandler",
    "EmbeddingHandler",
    "FlattenHandler",
    "GlobalPoolingHandler",
    "InputHandler",
    "KernelBasedHandler",
    "LayerInfoHandler",
    "MergeHandler",
    "NeutralHandler",
    "OperationHandler",
    "PaddingHandler",
    "PoolingBasedHandler",
    "RecurrentHandler",
    "ReshapeHandler",
    "ResizingHandler",
    "SoftmaxHandler",
    "SpectrogramHandler",
    "TransposedConvolutionHandler",
    "UpSamplingHandler",
    "as_call",
    "describe",
]


class LayerInfoHandler(Protocol):
    """Describes one kind of layer.

    ``can_handle`` gets a ``LayerCall`` (its ``class_name``, ``config``, ``input_shapes``) and must
    not raise; what ``__call__`` raises reaches the user as it is.
    """

    def can_handle(self, node: Any, /) -> bool:
        """Return whether this handler describes this call of a layer."""
        ...

    def __call__(self, node: Any, /) -> LayerDefinition:
        """Return what the layer does to the grid that it slides over."""
        ...


def as_call(node: LayerCall | Mapping[str, Any]) -> LayerCall:
    """Return a call as it is, or one that stands for the entry of a single layer in the JSON.

    >>> as_call({"class_name": "Conv2D", "config": {"name": "conv"}}).name
    'conv'
    """
    if isinstance(node, LayerCall):
        return node
    alone = {"class_name": "Sequential", "config": {"layers": [{"config": {}, **node}]}}
    record = read_model(alone).calls[-1]
    if not record.tensors:
        return LayerCall(record)
    shape = record.tensors[0].shape or stand_in_shape([record.kind], record.config)
    spatial = range(1, max(2, len(shape) - 1))
    if record.config.get("data_format") == "channels_first":
        spatial = range(2, len(shape))
    value = input_value(0, shape, spatial, len(spatial))
    return LayerCall(record, (value,), (value,))


def describe(call: LayerCall, effect: Effect) -> LayerDefinition:
    """Return what a call does as a layer of the graph, with one number per axis."""
    windows, _ = settle(effect, len(effect.base.extents), 0)
    return definition(call.label, windows, effect)


def definition(label: str, windows: Sequence[Window], effect: Effect) -> LayerDefinition:
    """Return windows as a layer of the graph; without any axis they become scalars."""
    facts = {
        "filters": effect.filters,
        "units": effect.units,
        "blockwise": effect.blockwise,
        "resolution_dependent": effect.resolution_dependent,
        "ignored_global": effect.ignored_global,
        "position_dependent": effect.position_dependent,
    }
    if not windows:
        return LayerDefinition(label, 1, 1, **facts)
    paddings = tuple(
        None if window.begin is None else (window.begin, window.end) for window in windows
    )
    return LayerDefinition(
        label,
        kernel_size=tuple(window.kernel for window in windows),
        stride_size=tuple(window.stride for window in windows),
        dilation=tuple(window.dilation for window in windows),
        padding=paddings,
        upsampling=tuple(window.upsampling for window in windows),
        **facts,
    )


# --- helpers ---------------------------------------------------------------------------------


def _count(call: LayerCall, *names: str) -> int:
    """Return over how many dimensions a layer slides: from its class name, or its arguments."""
    for number in (1, 2, 3):
        if f"{number}D" in call.class_name:
            return number
    size = call.get(*names)
    return len(size) if isinstance(size, list | tuple) else 1


def _sizes(call: LayerCall, count: int, *names: str, default: Any = 1) -> tuple[int, ...]:
    """Return a size per spatial dimension from the configuration of a layer."""
    return whole_numbers(call.get(*names, default=default), count, names[0])


def _too_few(call: LayerCall) -> Effect:
    return unknown(
        call, f"{call.class_name} reads a tensor of shape {call.value.shape!r}, with too few "
        "dimensions, and counts as neutral",
    )  # fmt: skip


# --- handlers --------------------------------------------------------------------------------


@attrs.frozen
class _Handler:
    """A handler of layers of Keras itself, known by their exact class names."""

    kinds: ClassVar[frozenset[str]] = frozenset()

    def can_handle(self, node: LayerCall | Mapping[str, Any], /) -> bool:
        """Return whether the class of the layer is one of ``kinds``."""
        record = as_call(node).record
        return record.kind in self.kinds and not record.operation

    def __call__(self, node: LayerCall | Mapping[str, Any], /) -> LayerDefinition:
        """Return what the layer does to the grid that it slides over."""
        call = as_call(node)
        return describe(call, activated(call, self.effect(call)))

    def effect(self, call: LayerCall) -> Effect:
        """Return what the layer does, and where the positions are behind it."""
        return keep(call)


@attrs.frozen
class InputHandler(_Handler):
    """The image itself.

    >>> InputHandler()({"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}})
    LayerDefinition(name='InputLayer', kernel_size=(1, 1), stride_size=(1, 1), ...)
    """

    kinds = frozenset({"InputLayer"})

    def __call__(self, node: LayerCall | Mapping[str, Any], /) -> LayerDefinition:
        """Return a layer that only hands on what it gets."""
        call = as_call(node)
        if call.values:
            return describe(call, keep(call))
        shape = call.get("batch_shape", "batch_input_shape", default=(None, None))
        count = max(0, len(shape) - 2) if len(shape) > 2 else len(shape) - 1
        return definition(call.label, (NEUTRAL,) * count, Effect(Value(0, ()), ()))


_CONVOLUTIONS = words("""
Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D
SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
LocallyConnected1D LocallyConnected2D
""")
_DEPTHWISE = ["DepthwiseConv1D", "DepthwiseConv2D"]


@attrs.frozen
class KernelBasedHandler(_Handler):
    """Convolutions, also depthwise and separable ones, in one to three dimensions.

    >>> conv = {"class_name": "Conv2D", "config": {"kernel_size": [3, 3], "strides": [2, 2]}}
    >>> KernelBasedHandler()(conv).stride_size
    (2, 2)
    """

    kinds = frozenset(_CONVOLUTIONS + _DEPTHWISE)

    def effect(self, call: LayerCall) -> Effect:
        """Slide over the spatial dimensions, and mix the channels unless depthwise."""
        value = call.value
        count = _count(call, "kernel_size")
        place = spatial_dimensions(call, value, count)
        if place is None:
            return _too_few(call)
        dimensions, channel = place
        kernels = _sizes(call, count, "kernel_size", default=None)
        strides = _sizes(call, count, "strides")
        dilations = _sizes(call, count, "dilation_rate")
        padding = padding_of(call)
        windows = {
            dimension: sliding(
                kernel,
                stride,
                dilation,
                padding,
                dimension_size(value.layout[dimension]),
                size_known(value, dimension),
            )
            for dimension, kernel, stride, dilation in zip(
                dimensions, kernels, strides, dilations, strict=True
            )
        }
        channels = dimension_size(value.layout[channel])
        if call.class_name in _DEPTHWISE:
            several = int(call.get("depth_multiplier", default=1))
            effect = slide(call, value, windows, channel=channel, filters=channels * several)
            layout = list(effect.layouts[0])
            layout[channel] = layouts.coalesce((*layout[channel], *plain(several)))
            return attrs.evolve(effect, layouts=(tuple(layout),))
        filters = int(call.get("filters", default=channels))
        return slide(
            call, value, windows, {channel: filters}, channel, filters=filters,
            position_dependent=call.class_name.startswith("Locally"),
        )  # fmt: skip


@attrs.frozen
class TransposedConvolutionHandler(_Handler):
    """Transposed convolutions in one to three dimensions."""

    kinds = frozenset(
        f"{name}{count}DTranspose" for name in ("Conv", "Convolution") for count in (1, 2, 3)
    )

    def effect(self, call: LayerCall) -> Effect:
        """Slide over the finer grid that the strides make."""
        value = call.value
        count = _count(call, "kernel_size")
        place = spatial_dimensions(call, value, count)
        if place is None:
            return _too_few(call)
        dimensions, channel = place
        extra = call.get("output_padding")
        extras: tuple[int | None, ...] = (None,) * count
        if extra is not None:
            extras = whole_numbers(extra, count, "output_padding", 0)
        windows = {
            dimension: transposed(
                kernel,
                stride,
                dilation,
                padding_of(call),
                extra,
                dimension_size(value.layout[dimension]),
            )
            for dimension, extra, kernel, stride, dilation in zip(
                dimensions,
                extras,
                _sizes(call, count, "kernel_size", default=None),
                _sizes(call, count, "strides"),
                _sizes(call, count, "dilation_rate"),
                strict=True,
            )
        }
        filters = int(call.get("filters", default=dimension_size(value.layout[channel])))
        return slide(call, value, windows, {channel: filters}, channel, filters=filters)


@attrs.frozen
class PoolingBasedHandler(_Handler):
    """Max and average pooling in one to three dimensions.

    >>> pool = {"class_name": "MaxPooling2D", "config": {"pool_size": [2, 2], "strides": None}}
    >>> PoolingBasedHandler()(pool).stride_size
    (2, 2)
    """

    kinds = frozenset(
        f"{name}{count}D"
        for name in ("MaxPooling", "AveragePooling", "MaxPool", "AvgPool")
        for count in (1, 2, 3)
    )

    def effect(self, call: LayerCall) -> Effect:
        """Slide over the spatial dimensions; strides that are not given are the window's size."""
        value = call.value
        count = _count(call, "pool_size")
        place = spatial_dimensions(call, value, count)
        if place is None:
            return _too_few(call)
        dimensions, channel = place
        sizes = _sizes(call, count, "pool_size", "pool_length", default=2)
        strides = _sizes(call, count, "strides", "stride", default=sizes)
        return pooled(call, value, dimensions, channel, sizes, strides, padding_of(call))


@attrs.frozen
class AdaptivePoolingHandler(_Handler):
    """Adaptive pooling: its window grows with the image; to 1x1 it is a global pooling."""

    kinds = frozenset(
        f"Adaptive{name}Pooling{count}D" for name in ("Average", "Max") for count in (1, 2, 3)
    )

    def effect(self, call: LayerCall) -> Effect:
        """Slide windows that fit the size at hand, or see everything where it is 1."""
        value = call.value
        count = _count(call, "output_size")
        place = spatial_dimensions(call, value, count)
        if place is None:
            return _too_few(call)
        wanted = per_axis(call.get("output_size", default=1), count)
        dimensions, channel = place
        return resampled(call, value, dict(zip(dimensions, wanted, strict=True)), channel=channel)


@attrs.frozen
class GlobalPoolingHandler(_Handler):
    """Global pooling: every position is seen.

    >>> GlobalPoolingHandler()({"class_name": "GlobalMaxPooling1D"}).kernel_size
    (inf,)
    """

    kinds = frozenset(
        f"Global{name}{count}D"
        for name in ("AveragePooling", "MaxPooling", "AvgPool", "MaxPool")
        for count in (1, 2, 3)
    )

    def effect(self, call: LayerCall) -> Effect:
        """Mix all spatial dimensions, which are gone behind the layer or have one position."""
        value = call.value
        place = spatial_dimensions(call, value, _count(call))
        if place is None:
            return _too_few(call)
        dimensions, channel = place
        if call.probing and layouts.spatial_axes(value.layout):
            raise first_window(call, value, dimensions, channel)
        kept = bool(call.get("keepdims"))
        layout = tuple(
            () if index in dimensions else dimension
            for index, dimension in enumerate(value.layout)
            if kept or index not in dimensions
        )
        return mix(value, dimensions, layout)


@attrs.frozen
class FlattenHandler(_Handler):
    """Flattening a map to a vector: what follows sees all of it.

    >>> flatten = {"class_name": "Flatten", "build_config": {"input_shape": [None, 7, 7, 3]}}
    >>> FlattenHandler()(flatten)
    LayerDefinition(name='Flatten', kernel_size=(inf, inf), ...)
    """

    kinds = frozenset({"Flatten"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix everything, unless whole maps lie in the batch already, as windows may."""
        value = call.value
        shape = (value.shape[0], math.prod(value.shape[1:]))
        carrying = [at for at in range(1, len(value.layout)) if value.layout[at]]
        found = {
            axis: window
            for axis, window in mixed_windows(value.layout, carrying, value.extents).items()
            if window.kernel == math.inf
        }
        if len(value.layout) == 2 or not found:
            layout = layouts.reshape(value.layout, shape)
            return Effect(value, (layout,), vector_windows(value))
        return Effect(value, ((value.layout[0], plain(shape[1])),), found)


@attrs.frozen
class DenseHandler(_Handler):
    """Dense layers: they mix the last dimension, a 1x1 convolution where that is channels."""

    kinds = frozenset({"Dense", "DenseFeatures"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix the last dimension."""
        value = call.value
        units = int(call.get("units", default=value.shape[-1]))
        windows = mixed_windows(value.layout, (-1,), value.extents) or vector_windows(value)
        return Effect(value, ((*value.layout[:-1], plain(units)),), windows, units=units)


@attrs.frozen
class EinsumDenseHandler(_Handler):
    """A dense layer over the dimensions that its equation sums over."""

    kinds = frozenset({"EinsumDense"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix the dimensions that are in the input and not in the output."""
        value = call.value
        terms, _, result = str(call.get("equation", default="")).replace(" ", "").partition("->")
        letters, *kernel = terms.split(",")
        free = len(value.layout) - len(letters.replace("...", ""))
        if free < 0 or not result:
            return unknown(call, f"the equation {call.get('equation')!r} is not understood")
        batch = "".join(chr(0x100 + place) for place in range(free))  # letters of no equation
        letters, result = letters.replace("...", batch), result.replace("...", batch)
        wanted = call.get("output_shape", default=())
        wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        sizes = dict(zip(reversed(result), reversed(wanted), strict=False))
        layout = tuple(
            value.layout[letters.index(letter)]
            if letter in letters
            else plain(sizes.get(letter) or 1)
            for letter in result
        )
        mixed = [place for place, letter in enumerate(letters) if letter not in result]
        weights = {*"".join(kernel), *str(call.get("bias_axes") or "")}
        own = [place for place, letter in enumerate(result) if letter in weights]
        return mix(
            value, mixed, layout, units=shape_of(layout)[-1],
            position_dependent=carried(layout, own),
        )  # fmt: skip


@attrs.frozen
class UpSamplingHandler(_Handler):
    """Up-sampling by whole factors, nearest or interpolated."""

    kinds = frozenset({"UpSampling1D", "UpSampling2D", "UpSampling3D"})

    def effect(self, call: LayerCall) -> Effect:
        """Slide over the finer grid."""
        value = call.value
        count = _count(call, "size")
        place = spatial_dimensions(call, value, count)
        if place is None:
            return _too_few(call)
        method = str(call.get("interpolation", default="nearest"))
        return slide(
            call,
            value,
            {
                dimension: (
                    interpolation(method, Fraction(1, factor)),
                    dimension_size(value.layout[dimension]) * factor,
                )
                for dimension, factor in zip(
                    place[0], _sizes(call, count, "size", "length", default=2), strict=True
                )
            },
            channel=place[1],
        )


@attrs.frozen
class PaddingHandler(_Handler):
    """Zero padding, and cropping as negative padding."""

    kinds = frozenset(
        f"{name}{count}D" for name in ("ZeroPadding", "Cropping") for count in (1, 2, 3)
    )

    def effect(self, call: LayerCall) -> Effect:
        """Move the positions; nothing new is seen."""
        value = call.value
        count = _count(call)
        place = spatial_dimensions(call, value, count)
        if place is None:
            return _too_few(call)
        sign = -1 if call.class_name.startswith("Cropping") else 1
        amounts = call.get("padding", "cropping", default=1)
        if count == 1 and isinstance(amounts, list | tuple) and isinstance(amounts[0], int):
            amounts = [amounts]
        windows = {}
        for dimension, amount in zip(place[0], per_axis(amounts, count), strict=True):
            begin, end = per_axis(amount, 2)
            window = Window(begin=sign * begin, end=sign * end)
            size = dimension_size(value.layout[dimension]) + sign * (begin + end)
            windows[dimension] = (window, max(1, size))
        return slide(call, value, windows, channel=place[1])


@attrs.frozen
class ReshapeHandler(_Handler):
    """Reshape, Permute and RepeatVector: positions move, and nothing new is seen."""

    kinds = frozenset({"Reshape", "Permute", "RepeatVector"})

    def effect(self, call: LayerCall) -> Effect:
        """Follow the positions."""
        value = call.value
        if call.class_name == "Permute":
            return keep(call, layouts.permute(value.layout, (0, *call.get("dims"))))
        if call.class_name == "RepeatVector":
            return keep(call, (value.layout[0], plain(int(call.get("n"))), *value.layout[1:]))
        target = [-1 if one is None else int(one) for one in call.get("target_shape")]
        missing = math.prod(value.shape[1:]) // max(1, -math.prod(target))
        shape = [missing if one == -1 else one for one in target]
        return keep(call, layouts.reshape(value.layout, (value.shape[0], *shape)))


@attrs.frozen
class MergeHandler(_Handler):
    """Element-wise merging of several tensors."""

    kinds = frozenset(words("Add Average CustomScaleLayer Maximum Minimum Multiply Subtract"))

    def effect(self, call: LayerCall) -> Effect:
        """Let every position see itself in all of them."""
        layout = broadcasted(call.values)
        return combined(
            call, layout, product=call.class_name == "Multiply",
            position_dependent=varies(call, layout),
        )  # fmt: skip


@attrs.frozen
class ConcatenateHandler(_Handler):
    """Tensors one after another along one dimension."""

    kinds = frozenset({"Concatenate"})

    def effect(self, call: LayerCall) -> Effect:
        """Put the positions one after another."""
        return concatenated(call, int(call.get("axis", default=-1)))


@attrs.frozen
class DotHandler(_Handler):
    """The product of two tensors, summed over one dimension of each."""

    kinds = frozenset({"Dot"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix the dimension that is summed over."""
        if len(call.values) != 2:
            return unknown(call, f"Dot reads {len(call.values)} tensors instead of 2")
        left, right = call.values
        first, second = per_axis(call.get("axes", default=-1), 2)
        left_letters = ["b", *(f"l{place}" for place in range(1, len(left.layout)))]
        right_letters = ["b", *(f"r{place}" for place in range(1, len(right.layout)))]
        left_letters[first] = right_letters[second] = "sum"
        result = [one for one in (*left_letters, *right_letters[1:]) if one != "sum"]
        return contracted([(left, left_letters), (right, right_letters)], result)


_ATTENTION = words("""
MultiHeadAttention GroupQueryAttention GroupedQueryAttention Attention AdditiveAttention
""")


@attrs.frozen
class AttentionHandler(_Handler):
    """Attention: every position of the query sees all positions of the values."""

    kinds = frozenset(_ATTENTION)

    def effect(self, call: LayerCall) -> Effect:
        """Mix the positions that are attended to, all of them or a sliding window."""
        query = call.tensor("query", 0)
        value = call.tensor("value", 1)
        if query is None:
            return unknown(call, "an attention without a query is not understood")
        value = query if value is None else value
        rank = len(query.layout)
        attended = call.get("attention_axes", default=None)
        if attended is None:
            attended = range(1, rank - 1)
        elif isinstance(attended, int):
            attended = [attended]
        places = [place % rank for place in attended]
        layout = self._output(call, query, value)
        masked = call.get("attention_mask", "mask") is not None
        band = call.get("sliding_window")
        if band is not None and len(places) == 1 and value.layout == query.layout:
            size = dimension_size(query.layout[places[0]])
            causal = bool(call.get("use_causal_mask"))
            end = 0 if causal else band - 1
            window = Window(band if causal else 2 * band - 1, begin=band - 1, end=end)
            effect = slide(
                call, query, {places[0]: (window, size)}, channel=rank - 1,
                position_dependent=masked,
            )  # fmt: skip
            return attrs.evolve(effect, layouts=(layout, *effect.layouts))
        mixed = [place for place in places if place < len(value.layout)]
        windows = mixed_windows(value.layout, mixed, value.extents)
        return Effect(
            query, (layout,), windows, blockwise=in_blocks(windows),
            position_dependent=masked,
        )  # fmt: skip

    @staticmethod
    def _output(call: LayerCall, query: Value, value: Value) -> Layout:
        size = call.get("output_shape")
        if isinstance(size, list | tuple):
            size = size[-1] if size else None
        if size is None:
            heads = "MultiHead" in call.class_name or "Group" in call.class_name
            size = query.shape[-1] if heads else value.shape[-1]
        return (*query.layout[:-1], plain(int(size)))


@attrs.frozen
class RecurrentHandler(_Handler):
    """Recurrent layers: every step sees all steps before it."""

    kinds = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix the dimension of time."""
        value = call.value
        units = call.get("units")
        cell = call.get("cell")
        while units is None and isinstance(cell, Mapping):
            inner = cell.get("config") or {}
            units, cells = inner.get("units"), inner.get("cells")
            cell = cells[-1] if cells else None
        units = int(units or value.shape[-1])
        around = {wrapper.kind: wrapper.config for wrapper in call.record.wrappers}
        both = around.get("Bidirectional")
        joined = both is not None and both.get("merge_mode", "concat") == "concat"
        width = plain(2 * units if joined else units)
        steps = value.layout[1:2] if call.get("return_sequences") else ()
        layout = (value.layout[0], *steps, width)
        state = (value.layout[0], plain(units))
        states = (state,) * (4 if call.get("return_state") else 0)
        effect = mix(value, range(1, len(value.layout)), layout, units=units)
        return attrs.evolve(effect, layouts=(layout, *states))


@attrs.frozen
class ConvolutionalRecurrentHandler(_Handler):
    """Convolutional LSTMs: all steps before, and a window that grows by one kernel per step."""

    kinds = frozenset({"ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix time, and slide over space as often as there are steps."""
        value = call.value
        count = _count(call, "kernel_size")
        place = spatial_dimensions(call, value, count)
        if place is None or len(value.layout) < count + 3:
            return _too_few(call)
        dimensions, channel = place
        time = min(dimensions[0], channel) - 1
        steps = dimension_size(value.layout[time])
        known = size_known(value, time)
        windows = {time: (NEUTRAL, steps)}
        for dimension, kernel, stride, dilation in zip(
            dimensions,
            _sizes(call, count, "kernel_size", default=None),
            _sizes(call, count, "strides"),
            _sizes(call, count, "dilation_rate"),
            strict=True,
        ):
            window, size = sliding(
                kernel, stride, dilation, padding_of(call),
                dimension_size(value.layout[dimension]), size_known(value, dimension),
            )  # fmt: skip
            grown = (steps - 1) * (kernel - 1) * stride
            before = (steps - 1) * ((kernel - 1) // 2) * stride
            windows[dimension] = (
                Window(
                    1 + window.reach + grown, stride,
                    begin=None if window.begin is None else window.begin + before,
                    end=None if window.end is None else window.end + grown - before,
                ),
                size,
            )  # fmt: skip
        filters = int(call.get("filters", default=1))
        effect = slide(call, value, windows, {channel: filters}, channel, filters=filters)
        complete = {**effect.windows, **mixed_windows(value.layout, (time,), value.extents)}
        if not known:
            complete.update(
                (axis, Window(math.inf))
                for dimension in dimensions
                for axis in layouts.axes_of(value.layout[dimension])
            )
        (layout,) = effect.layouts
        last = tuple(dimension for index, dimension in enumerate(layout) if index != time)
        first = layout if call.get("return_sequences") else last
        states = (last,) * (2 if call.get("return_state") else 0)
        return attrs.evolve(effect, windows=complete, layouts=(first, *states))


@attrs.frozen
class EmbeddingHandler(_Handler):
    """A vector for every position."""

    kinds = frozenset({"Embedding", "ReversibleEmbedding"})

    def effect(self, call: LayerCall) -> Effect:
        """Add a last dimension."""
        value = call.value
        units = int(call.get("output_dim", default=1))
        if call.get("reverse"):
            units = int(call.get("input_dim", default=1))
            return mix(value, (-1,), (*value.layout[:-1], plain(units)), units=units)
        return keep(call, (*value.layout, plain(units)), units=units)


@attrs.frozen
class SoftmaxHandler(_Handler):
    """A softmax: neutral over channels, and mixing over positions."""

    kinds = frozenset({"Softmax"})

    def effect(self, call: LayerCall) -> Effect:
        """Mix the dimension that it normalises."""
        return softmaxed(call, call.value, call.get("axis", default=-1))


@attrs.frozen
class ResizingHandler(_Handler):
    """Layers that give the image another size: resized, or cropped to the middle."""

    kinds = frozenset({"Resizing", "CenterCrop", "RandomCrop"})

    def effect(self, call: LayerCall) -> Effect:
        """Resample or crop; images that are too small for a crop are resampled."""
        value = call.value
        place = spatial_dimensions(call, value, 2)
        if place is None:
            return _too_few(call)
        wanted = dict(zip(place[0], (int(call.get("height")), int(call.get("width"))), strict=True))
        sizes = {one: dimension_size(value.layout[one]) for one in wanted}
        if call.class_name == "Resizing" or any(wanted[one] > sizes[one] for one in wanted):
            method = str(call.get("interpolation", default="bilinear"))
            kept = call.get("crop_to_aspect_ratio") or call.get("pad_to_aspect_ratio")
            kept = kept or call.class_name != "Resizing"
            effect = resampled(
                call, value, wanted, method, bool(call.get("antialias")),
                whole=False, channel=place[1], placed=not kept,
            )  # fmt: skip
            reason = "how much is cut or padded to keep the aspect ratio depends on the image"
            return attrs.evolve(effect, certainty="bound", reason=reason) if kept else effect
        windows = {}
        for one, size in wanted.items():
            cut = sizes[one] - size
            window = Window(begin=-(cut // 2), end=-(cut - cut // 2))
            windows[one] = (
                window if size_known(value, one) else window._replace(begin=None, end=None), size
            )  # fmt: skip
        return slide(call, value, windows, channel=place[1], opens=False, position_dependent=True)


@attrs.frozen
class SpectrogramHandler(_Handler):
    """Spectrograms: windows over time."""

    kinds = frozenset({"STFTSpectrogram", "MelSpectrogram"})

    def effect(self, call: LayerCall) -> Effect:
        """Slide over time; frequencies become channels."""
        value = call.value
        if call.class_name == "MelSpectrogram":
            length = call.get("sequence_length") or call.get("fft_length", default=2048)
            stride = int(call.get("sequence_stride", default=512))
            place = len(value.layout) - 1
            frames = dimension_size(value.layout[place]) // stride + 1
            half = int(call.get("fft_length", default=2048)) // 2
            window = Window(int(length), stride, begin=half, end=half)
            effect = slide(call, value, {place: (window, frames)})
            (layout,) = effect.layouts
            mels = plain(int(call.get("num_mel_bins", default=128)))
            return attrs.evolve(effect, layouts=((*layout[:-1], mels, layout[-1]),))
        place_and_channel = spatial_dimensions(call, value, 1)
        if place_and_channel is None:
            return _too_few(call)
        (place,), channel = place_and_channel
        length = int(call.get("frame_length", default=256))
        step = int(call.get("frame_step") or length // 2)
        bins = int(call.get("fft_length") or length) // 2 + 1
        window, frames = sliding(
            length, step, 1, padding_of(call),
            dimension_size(value.layout[place]), size_known(value, place),
        )  # fmt: skip
        return slide(
            call, value, {place: (window, frames)},
            {channel: bins * dimension_size(value.layout[channel])}, channel,
        )  # fmt: skip


_NEUTRAL = words("""
Activation ActivityRegularization AlphaDropout AugMix AutoContrast BatchNormalization
BatchNormalizationV1 BatchNormalizationV2 SyncBatchNormalization
ContrastLimitedAdaptiveHistogramEqualization CutMix Discretization Dropout ELU Equalization
GaussianDropout GaussianNoise GroupNormalization Hashing Identity IntegerLookup Layer
LayerNormalization LayerNormalizationV1 LayerScale LeakyReLU Masking MaxNumBoundingBoxes MixUp
Normalization PReLU RMSNormalization RandAugment RandomBrightness RandomColorDegeneration
RandomColorJitter RandomContrast RandomElasticTransform RandomErasing RandomFlip
RandomGaussianBlur RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective
RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
RandomTranslation RandomWidth RandomZoom ReLU Rescaling Solarization SpatialDropout1D
SpatialDropout2D SpatialDropout3D StochasticDepth StringLookup ThresholdedReLU UnitNormalization
""")


_NORMS_OVER_AXES = words("""
LayerNormalization LayerNormalizationV1 RMSNormalization UnitNormalization
""")


_WEIGHTED = words("""
BatchNormalization BatchNormalizationV1 BatchNormalizationV2 SyncBatchNormalization LayerScale
Normalization
""")

_OF_WHOLE_IMAGES = words("""
AutoContrast ContrastLimitedAdaptiveHistogramEqualization Equalization
""")


@attrs.frozen
class NeutralHandler(_Handler):
    """Layers in which every position sees only itself.

    Among them are normalisations, whose statistics are not counted, and augmentations, which act
    in training only.
    """

    kinds = frozenset(_NEUTRAL)

    def effect(self, call: LayerCall) -> Effect:
        """Return the effect: none, but that norms may take their statistics from positions."""
        rank = len(call.value.layout)
        if call.class_name == "GroupNormalization":
            return normalised(call, range(1, rank))
        if call.class_name in _NORMS_OVER_AXES and rank:
            axes = call.get("axis", default=-1)
            return normalised(call, axes if isinstance(axes, list | tuple) else (axes,))
        if call.class_name in _OF_WHOLE_IMAGES:
            return keep(call, ignored_global=True)
        return keep(call, position_dependent=carried(call.value.layout, self._weighted(call)))

    @staticmethod
    def _weighted(call: LayerCall) -> list[int]:
        """Return the dimensions along which a layer has weights of its own."""
        rank = len(call.value.layout)
        if call.class_name == "PReLU":
            shared = call.get("shared_axes", default=())
            return sorted(set(range(1, rank)).difference(shared))
        if call.class_name in _WEIGHTED:
            axes = call.config.get("axis", -1)
            axes = () if axes is None else axes
            return [*axes] if isinstance(axes, list | tuple) else [axes]
        return []


@attrs.frozen
class OperationHandler(_Handler):
    """Bare operations: ``x * 2``, slicing, ``keras.ops``, and functions of TensorFlow."""

    def can_handle(self, node: LayerCall | Mapping[str, Any], /) -> bool:
        """Return whether the operation is in the table of those that are known."""
        record = as_call(node).record
        return record.operation and canonical(record.kind) in RULES

    def effect(self, call: LayerCall) -> Effect:
        """Follow the rule of the operation."""
        return RULES[canonical(call.class_name)](call)


_CONVOLUTION_KEYS = {"kernel_size", "strides", "padding", "data_format", "dilation_rate"}


@attrs.frozen
class AnyHandler(_Handler):
    """Everything that no other handler describes: counted as neutral, and said so."""

    def can_handle(self, node: LayerCall | Mapping[str, Any], /) -> bool:
        """Return True."""
        return True

    def effect(self, call: LayerCall) -> Effect:
        """Let every position see itself; a class made from a convolution is read as one."""
        kind = f"{'operation' if call.record.operation else 'layer'} '{call.class_name}'"
        if call.class_name == "Lambda":
            return unknown(call, "a Lambda holds Python code, which is not run; counted as neutral")
        if not call.record.known and _CONVOLUTION_KEYS.issubset(call.config):
            return attrs.evolve(
                KernelBasedHandler().effect(call),
                certainty="unknown",
                reason=f"the {kind} is not known; it was read as a convolution, as it has the "
                "configuration of one",
            )
        return unknown(call, f"the {kind} is not known and counts as neutral")
