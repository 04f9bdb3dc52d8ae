"""What layers of Keras cost, from their configuration and the shapes that they read.

The numbers of parameters are those of ``layer.count_params()``: with what is not trained, such as
the moving statistics of a batch normalisation. Sources: the shapes of the weights in the
documentation of the layers of Keras. Multiply-accumulates are those of convolutions and dense
products, one for every product of two numbers; all other arithmetic counts nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from rfa_toolbox.encodings.tensorflow_keras.operations import RULES, canonical
from rfa_toolbox.encodings.tensorflow_keras.positions import (
    Effect,
    LayerCall,
    Value,
    per_axis,
    spatial_dimensions,
    words,
)
from rfa_toolbox.graphs import Measures
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.windows import Products, Window, grown

__all__ = ["feature_map", "measures"]


class _Costs(NamedTuple):
    """Parameters and products of a call; None is unknown."""

    parameters: int | None = 0
    products: Products | None = Products()


_UNKNOWN = _Costs(None, None)


def feature_map(value: Value) -> tuple[int, ...] | None:
    """Return the units of a tensor per axis, 1 where no positions are left; None if unknown."""
    carried = layouts.spatial_axes(value.layout)
    if value.open.intersection(carried) or set(carried) - set(layouts.runs_by_axis(value.layout)):
        return None
    return tuple(extent if axis in carried else 1 for axis, extent in enumerate(value.extents))


def measures(
    call: LayerCall,
    effect: Effect,
    windows: Sequence[Window],
    values: Sequence[Value],
    encoded: tuple[int, ...] | None,
) -> Measures:
    """Return what a call costs.

    Args:
        call: the call, with the tensors that it reads.
        effect: what it does.
        windows: one per axis of the image.
        values: the tensors that it makes.
        encoded: the size of the image, None where the model leaves it open.
    """
    result = values[0]
    if effect.certainty == "unknown" or any(value.guessed for value in call.values):
        found = _UNKNOWN
    else:
        found = _costs(call, effect, result)
    parameters, products = found
    if parameters is not None and call.record.number > 1:
        parameters = 0
    several = (*call.values, *values)
    if products and any(one.open.intersection(layouts.spatial_axes(one.layout)) for one in several):
        products = None if any(products) else products
    work = None
    if products is not None:
        work = [(count, growth) for growth, count in grown(products, result.layout, windows)]
    return Measures(encoded, feature_map(result), parameters, work)


def _costs(call: LayerCall, effect: Effect, result: Value) -> _Costs:
    if call.record.operation:
        if canonical(call.class_name) == "dotproductattention":
            return _scores(call)
        return _Costs(0, _contracted(effect)) if canonical(call.class_name) in RULES else _UNKNOWN
    rule = _RULES.get(call.class_name)
    if any(call.get(name) is None for name in _NEEDED.get(call.class_name, ())):
        return _UNKNOWN
    if rule is None:
        return _UNKNOWN if call.class_name in _WITH_OWN_WEIGHTS else _Costs(0, _contracted(effect))
    parameters, products = rule(call, result)
    for wrapper in call.record.wrappers:
        if wrapper.kind == "Bidirectional" and not _differs(wrapper.config):
            parameters = None if parameters is None else 2 * parameters
            products = None if products is None else Products(2 * products.held, 0)
        elif wrapper.kind != "TimeDistributed":
            return _UNKNOWN
    return _Costs(parameters, products)


def _differs(config: Mapping[str, Any]) -> bool:
    """Return whether the layer of a Bidirectional that reads backwards has another size."""
    sizes = [
        (one.get("class_name"), (one.get("config") or {}).get("units"))
        for one in (config.get("layer"), config.get("backward_layer"))
        if isinstance(one, Mapping)
    ]
    return len(set(sizes)) > 1


def _contracted(effect: Effect) -> Products | None:
    """Return the products of tensors that are multiplied and summed over common dimensions."""
    if not effect.terms:
        return Products()
    if len(effect.terms) > 2 or any(value.guessed for value, _ in effect.terms):
        return None
    sizes: dict[str, int] = {}
    for value, letters in effect.terms:
        for letter, size in zip(letters, value.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    count = math.prod(sizes.values())
    steady = any(not layouts.spatial_axes(value.layout) for value, _ in effect.terms)
    return Products(count) if steady else Products(0, count)


# --- rules -----------------------------------------------------------------------------------

_Rule: TypeAlias = "Callable[[LayerCall, Value], _Costs]"


def _flag(call: LayerCall, name: str, default: bool = True) -> bool:
    return bool(call.config.get(name, default))


def _window(call: LayerCall, value: Value) -> tuple[int, int, int] | None:
    """Return numbers in the kernel, channels and positions of a tensor that a layer slides over."""
    count = next((one for one in (1, 2, 3) if f"{one}D" in call.class_name), 2)
    place = spatial_dimensions(call, value, count)
    if place is None:
        return None
    kernel = math.prod(per_axis(call.get("kernel_size"), count))
    channels = value.shape[place[1]]
    return kernel, channels, math.prod(value.shape) // max(1, channels)


def _convolution(call: LayerCall, result: Value) -> _Costs:
    read, made = _window(call, call.value), _window(call, result)
    if read is None or made is None:
        return _UNKNOWN
    (kernel, channels, before), (_, filters, behind) = read, made
    bias = filters if _flag(call, "use_bias") else 0
    if "Transpose" in call.class_name:
        weights = kernel * channels * filters
        return _Costs(weights + bias, Products(weights * before))
    if call.class_name.startswith("Separable"):
        inner = channels * int(call.get("depth_multiplier", default=1))
        weights = kernel * inner + inner * filters
    elif call.class_name.startswith("Depthwise"):
        weights = kernel * filters
    else:
        weights = kernel * (channels // int(call.get("groups", default=1))) * filters
    if call.class_name.startswith("LocallyConnected"):  # other weights at every position
        positions = behind // result.shape[0]
        return _Costs((weights + bias) * positions, Products(weights * behind))
    return _Costs(weights + bias, Products(weights * behind))


def _dense(call: LayerCall, result: Value) -> _Costs:
    units = result.shape[-1]
    weights = call.value.shape[-1] * units
    products = Products(math.prod(call.value.shape) * units)
    return _Costs(weights + (units if _flag(call, "use_bias") else 0), products)


def _einsum_dense(call: LayerCall, result: Value) -> _Costs:
    terms, _, made = str(call.get("equation")).replace(" ", "").partition("->")
    read, kernel = terms.split(",")
    sizes: dict[str, int] = {}
    for letters, shape in ((read, call.value.shape), (made, result.shape)):
        front, _, back = letters.partition("...")
        sizes.update(zip(front, shape, strict=False))
        sizes.update(zip(reversed(back), reversed(shape), strict=False))
    weights = math.prod(sizes[letter] for letter in kernel)
    bias = math.prod(sizes[letter] for letter in call.get("bias_axes", default=""))
    summed = math.prod(sizes[letter] for letter in kernel if letter not in made)
    products = Products(math.prod(result.shape) * summed)
    return _Costs(weights + (bias if call.get("bias_axes") else 0), products)


def _sizes_at(call: LayerCall, axis: Any) -> int:
    """Return the numbers along some dimensions of the tensor that a layer reads."""
    rank = len(call.value.layout)
    places = {one % rank for one in (axis if isinstance(axis, list | tuple) else (axis,))}
    return math.prod(call.value.shape[place] for place in places)


def _norm(call: LayerCall, result: Value) -> _Costs:
    several = _flag(call, "scale") + _flag(call, "center")
    if call.class_name.startswith(("BatchNorm", "SyncBatchNorm")):
        several += 2  # moving mean and variance
    elif call.class_name == "RMSNormalization" or _flag(call, "rms_scaling", False):
        several = 1
    return _Costs(several * _sizes_at(call, call.get("axis", default=-1)))


def _normalization(call: LayerCall, result: Value) -> _Costs:
    """Mean, variance and a counter, unless mean and variance were given."""
    if call.config.get("mean") is not None:
        return _Costs()
    axis = call.config.get("axis", -1)
    return _Costs(1 + 2 * (1 if axis is None else _sizes_at(call, axis)))


def _prelu(call: LayerCall, result: Value) -> _Costs:
    shared = call.get("shared_axes", default=[])
    sizes = enumerate(call.value.shape)
    kept = [(place, size) for place, size in sizes if place and place not in shared]
    if any(call.value.open.intersection(layouts.axes_of(call.value.layout[at])) for at, _ in kept):
        return _Costs(None)
    return _Costs(math.prod(size for _, size in kept))


def _layer_scale(call: LayerCall, result: Value) -> _Costs:
    return _Costs(int(call.get("projection_dim", default=call.value.shape[-1])))


def _embedding(call: LayerCall, result: Value) -> _Costs:
    return _Costs(int(call.get("input_dim")) * int(call.get("output_dim")))


def _heads(call: LayerCall, result: Value) -> _Costs:
    """Multi-head and grouped-query attention: four projections, and scores with their sums."""
    query, value = call.tensor("query", 0), call.tensor("value", 1)
    if query is None or _flag(call, "use_gate", False):
        return _UNKNOWN
    value = query if value is None else value
    key = call.tensor("key", 2) or value
    if call.class_name == "MultiHeadAttention":
        heads = shared = int(call.get("num_heads"))
        size = int(call.get("key_dim"))
        width = int(call.get("value_dim", default=size))
    else:
        heads, shared = int(call.get("num_query_heads")), int(call.get("num_key_value_heads"))
        size = width = int(call.get("head_dim"))
    made = result.shape[-1]
    projections = (
        (query, query.shape[-1], heads * size),
        (key, key.shape[-1], shared * size),
        (value, value.shape[-1], shared * width),
        (query, heads * width, made),
    )
    weights = sum(before * behind for _, before, behind in projections)
    bias = sum(behind for *_, behind in projections) if _flag(call, "use_bias") else 0
    held = sum(
        math.prod(tensor.shape[:-1]) * before * behind for tensor, before, behind in projections
    )
    rank = len(query.layout)
    attended = call.get("attention_axes", default=list(range(1, rank - 1)))
    places = [one % rank for one in (attended if isinstance(attended, list) else [attended])]
    keys = math.prod(value.shape[place] for place in places)
    scores = math.prod(query.shape[:-1]) * keys * heads * (size + width)
    return _Costs(weights + bias, Products(held, scores))


def _attention(call: LayerCall, result: Value) -> _Costs:
    query, value = call.tensor("query", 0), call.tensor("value", 1)
    if query is None or value is None:
        return _UNKNOWN
    parameters = int(_flag(call, "use_scale", False))
    size = query.shape[-1]
    if call.class_name == "AdditiveAttention":  # its scores are sums
        parameters, size = (query.shape[-1] if _flag(call, "use_scale") else 0), 0
    elif call.config.get("score_mode") == "concat":
        parameters, size = parameters + 1, 0
    count = math.prod(query.shape[:-1]) * value.shape[-2] * (size + value.shape[-1])
    return _Costs(parameters, Products(0, count))


def _scores(call: LayerCall) -> _Costs:
    """``keras.ops.dot_product_attention``: (batch, positions, heads, size)."""
    query, value = call.tensor("query", 0), call.tensor("value", 2)
    if query is None or value is None:
        return _UNKNOWN
    count = math.prod(query.shape[:-1]) * value.shape[1] * (query.shape[-1] + value.shape[-1])
    return _Costs(0, Products(0, count))


_GATES = {"LSTM": 4, "CuDNNLSTM": 4, "GRU": 3, "CuDNNGRU": 3, "SimpleRNN": 1}


def _recurrent(call: LayerCall, result: Value) -> _Costs:
    gates, units = _GATES[call.class_name], int(call.get("units"))
    weights = gates * units * (call.value.shape[-1] + units)
    bias = gates * units if _flag(call, "use_bias") else 0
    cuda = call.class_name.startswith("CuDNN")
    if cuda or (call.class_name == "GRU" and _flag(call, "reset_after")):
        bias *= 2
    return _Costs(weights + bias, Products(math.prod(call.value.shape[:-1]) * weights))


def _convolutional_recurrent(call: LayerCall, result: Value) -> _Costs:
    read, made = _window(call, call.value), _window(call, result)
    if read is None or made is None:
        return _UNKNOWN
    kernel, channels, _ = read
    filters = int(call.get("filters"))
    weights = 4 * kernel * filters * (channels + filters)
    bias = 4 * filters if _flag(call, "use_bias") else 0
    positions = math.prod(result.shape) // filters
    if not _flag(call, "return_sequences", False):
        positions *= call.value.shape[1]
    return _Costs(weights + bias, Products(weights * positions))


_RULES: dict[str, _Rule] = {
    **dict.fromkeys(words("Dense"), _dense),
    **dict.fromkeys(_GATES, _recurrent),
    **dict.fromkeys(words("ConvLSTM1D ConvLSTM2D ConvLSTM3D"), _convolutional_recurrent),
    **dict.fromkeys(words("Attention AdditiveAttention"), _attention),
    **dict.fromkeys(words("MultiHeadAttention GroupQueryAttention GroupedQueryAttention"), _heads),
    **dict.fromkeys(
        words("""
        Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D DepthwiseConv1D
        DepthwiseConv2D SeparableConv1D SeparableConv2D SeparableConvolution1D
        SeparableConvolution2D LocallyConnected1D LocallyConnected2D Conv1DTranspose
        Conv2DTranspose Conv3DTranspose Convolution1DTranspose Convolution2DTranspose
        Convolution3DTranspose
        """),
        _convolution,
    ),
    **dict.fromkeys(
        words("""
        BatchNormalization BatchNormalizationV1 BatchNormalizationV2 SyncBatchNormalization
        GroupNormalization LayerNormalization LayerNormalizationV1 RMSNormalization
        """),
        _norm,
    ),
    "EinsumDense": _einsum_dense,
    "Embedding": _embedding,
    "LayerScale": _layer_scale,
    "Normalization": _normalization,
    "PReLU": _prelu,
}
_NEEDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_GATES, ("units",)),
    **dict.fromkeys(words("ConvLSTM1D ConvLSTM2D ConvLSTM3D"), ("filters",)),
    **dict.fromkeys(
        words("GroupQueryAttention GroupedQueryAttention"),
        ("num_query_heads", "num_key_value_heads", "head_dim"),
    ),
    "Embedding": ("input_dim", "output_dim"),
    "MultiHeadAttention": ("num_heads", "key_dim"),
}
"""What layers always have in their configuration, but those that were written by hand."""
_WITH_OWN_WEIGHTS = frozenset(
    words("DenseFeatures MelSpectrogram RNN ReversibleEmbedding STFTSpectrogram")
)
"""Layers with parameters that nothing counts here."""
