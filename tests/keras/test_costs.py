"""Parameters and multiply-accumulates of Keras models: against Keras, and published counts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.analysis import total_costs
from rfa_toolbox.encodings.tensorflow_keras import (
    create_graph_from_keras_json,
    create_graph_from_model,
)
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.keras.test_samples import MODELS, UNKNOWN, VERSIONS, encoded

DATA = Path(__file__).parent / "data"


# --- the samples -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_all_versions_cost_the_same(name: str) -> None:
    first, *others = (total_costs(encoded(name, version)) for version in VERSIONS)
    assert others == [first, first]


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(UNKNOWN) - {"seq_noinput"}))
def test_parameters_of_the_samples_are_those_that_keras_counts(keras: Any, name: str) -> None:
    model = keras.models.model_from_json((DATA / f"k3_15__{name}.json").read_text())
    assert total_costs(encoded(name)).parameters == model.count_params()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_nothing_tells_is_unknown_and_not_guessed(version: str) -> None:
    open_size = encoded("none_in", version).all_layers
    conv = next(node for node in open_size if "Conv2D" in node.layer_info.name)
    assert (conv.parameters, conv.multiply_accumulates, conv.feature_map) == (112, None, None)
    assert conv.encoded_resolution is None
    without_input = encoded("seq_noinput", version).all_layers
    first = next(node for node in without_input if "Conv2D" in node.layer_info.name)
    assert (first.parameters, first.multiply_accumulates) == (None, None)
    for name, kind in UNKNOWN.items():
        nodes = encoded(name, version).all_layers
        (unknown,) = (node for node in nodes if kind in node.layer_info.name)
        assert (unknown.parameters, unknown.multiply_accumulates) == (None, None)


@pytest.mark.parametrize("version", VERSIONS)
def test_shared_layers_count_at_their_first_call(version: str) -> None:
    nodes = [node for node in encoded("shared", version).all_layers if "shared" in node.name]
    assert [node.parameters for node in nodes] == [84, 0, 0]
    assert all(node.multiply_accumulates for node in nodes)


# --- single layers ---------------------------------------------------------------------------

LAYERS: list[tuple[str, tuple[int, ...], Callable[[Any], Any], bool]] = [
    ("conv", (9, 8, 6), lambda k: k.Conv2D(4, (3, 2), 2, "same", groups=2), True),
    ("conv without bias", (9, 8, 6), lambda k: k.Conv2D(4, 3, use_bias=False), True),
    ("dilated conv", (9, 9, 2), lambda k: k.Conv2D(4, 3, dilation_rate=2), True),
    ("causal conv", (9, 3), lambda k: k.Conv1D(4, 3, padding="causal"), True),
    ("conv in 3-D", (5, 6, 7, 2), lambda k: k.Conv3D(4, 2, 2), True),
    ("depthwise", (9, 8, 6), lambda k: k.DepthwiseConv2D(3, 2, depth_multiplier=2), True),
    ("separable", (9, 8, 6), lambda k: k.SeparableConv2D(5, 3, depth_multiplier=2), True),
    ("separable in 1-D", (9, 6), lambda k: k.SeparableConv1D(5, 3), True),
    ("transposed", (5, 6, 3), lambda k: k.Conv2DTranspose(4, 3, 2, "same"), True),
    ("transposed in 1-D", (5, 3), lambda k: k.Conv1DTranspose(4, 4, 2), True),
    ("dense", (9,), lambda k: k.Dense(5), True),
    ("dense at all positions", (4, 5, 6), lambda k: k.Dense(5, use_bias=False), True),
    (
        "einsum",
        (4, 6),
        lambda k: k.EinsumDense("abc,cde->abde", (None, 2, 5), bias_axes="de"),
        True,
    ),
    (
        "einsum with dots",
        (5, 5, 6),
        lambda k: k.EinsumDense("...x,xy->...y", 7, bias_axes="y"),
        True,
    ),
    ("batch norm", (4, 5, 6), lambda k: k.BatchNormalization(), True),
    ("batch norm without scale", (4, 5, 6), lambda k: k.BatchNormalization(1, scale=False), True),
    ("layer norm", (4, 5, 6), lambda k: k.LayerNormalization((-2, -1)), True),
    ("rms norm", (4, 5, 6), lambda k: k.RMSNormalization(), True),
    ("group norm", (4, 5, 6), lambda k: k.GroupNormalization(3, center=False), True),
    ("normalization", (4, 5, 6), lambda k: k.Normalization(), True),
    ("normalization of all", (4, 5, 6), lambda k: k.Normalization(axis=None), True),
    ("normalization given", (4, 5, 6), lambda k: k.Normalization(mean=1.0, variance=2.0), True),
    ("prelu", (4, 5, 6), lambda k: k.PReLU(shared_axes=[1, 2]), True),
    ("prelu everywhere", (4, 5, 6), lambda k: k.PReLU(), True),
    ("embedding", (4,), lambda k: k.Embedding(10, 3), True),
    ("lstm", (4, 5), lambda k: k.LSTM(3), False),
    ("gru", (4, 5), lambda k: k.GRU(3, return_sequences=True), False),
    ("gru of old", (4, 5), lambda k: k.GRU(3, reset_after=False), False),
    ("rnn", (4, 5), lambda k: k.SimpleRNN(3, use_bias=False), False),
    ("both directions", (4, 5), lambda k: k.Bidirectional(k.LSTM(3)), False),
    ("over time", (4, 6, 6, 3), lambda k: k.TimeDistributed(k.Conv2D(2, 3)), True),
    ("conv lstm", (3, 6, 6, 2), lambda k: k.ConvLSTM2D(4, 3), False),
    ("pooling", (6, 6, 2), lambda k: k.AveragePooling2D(2), True),
]


def behind_an_input(keras: Any, shape: tuple[int, ...], make: Callable[[Any], Any]) -> Any:
    image = keras.Input(shape)
    return keras.Model(image, make(keras.layers)(image))


@pytest.mark.parametrize(
    ("shape", "make"), [one[1:3] for one in LAYERS], ids=[o[0] for o in LAYERS]
)
def test_parameters_are_those_that_keras_counts(
    keras: Any, shape: tuple[int, ...], make: Callable[[Any], Any]
) -> None:
    model = behind_an_input(keras, shape, make)
    node = create_graph_from_model(model)
    assert node.parameters == model.count_params()
    if node.feature_map is not None and len(shape) == 3 and len(model.output_shape) == 4:
        assert node.feature_map == model.output_shape[1:3]


COUNTED = [one for one in LAYERS if one[3]]


@pytest.mark.parametrize(
    ("shape", "make"), [one[1:3] for one in COUNTED], ids=[one[0] for one in COUNTED]
)
def test_multiply_accumulates_are_those_of_a_real_run(
    keras_on_torch: Any, shape: tuple[int, ...], make: Callable[[Any], Any]
) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = behind_an_input(keras_on_torch, shape, make)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones((1, *shape)))
    graph = create_graph_from_model(model)
    assert total_costs(graph).multiply_accumulates == counter.get_total_flops() / 2


def test_recurrent_layers_multiply_every_step_with_all_weights(keras: Any) -> None:
    def made(make: Callable[[Any], Any], *shape: int) -> EnrichedNetworkNode:
        return create_graph_from_model(behind_an_input(keras, shape, make))

    assert made(lambda k: k.LSTM(3), 4, 5).multiply_accumulates == 4 * 4 * 3 * (5 + 3)
    assert made(lambda k: k.GRU(3), 4, 5).multiply_accumulates == 4 * 3 * 3 * (5 + 3)
    both = made(lambda k: k.Bidirectional(k.LSTM(3)), 4, 5)
    assert both.multiply_accumulates == 2 * 4 * 4 * 3 * (5 + 3)
    conv = made(lambda k: k.ConvLSTM2D(4, 3), 3, 6, 6, 2)
    assert conv.multiply_accumulates == 3 * 16 * 9 * 4 * 4 * (2 + 4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["MultiHeadAttention", "GroupQueryAttention"])
def test_attention_with_heads(keras: Any, kind: str, bias: bool) -> None:
    tokens, context = keras.Input((8, 6)), keras.Input((5, 6))
    if kind == "MultiHeadAttention":
        layer = keras.layers.MultiHeadAttention(2, 3, value_dim=4, use_bias=bias)
        widths, shared = (3, 4), 2
    else:
        layer = keras.layers.GroupQueryAttention(3, 4, 2, use_bias=bias)
        widths, shared = (3, 3), 2
    heads = 2 if kind == "MultiHeadAttention" else 4
    model = keras.Model([tokens, context], layer(tokens, context))
    node = create_graph_from_model(model)
    assert node.parameters == model.count_params()
    projections = (
        8 * 6 * heads * widths[0] + 5 * 6 * shared * sum(widths) + 8 * heads * widths[1] * 6
    )
    scores = 8 * 5 * heads * sum(widths)
    assert node.multiply_accumulates == projections + scores


def test_layers_of_keras_2_that_keras_3_has_not(
    encode: Callable[..., EnrichedNetworkNode],
) -> None:
    """Numbers of weights from the summary of the layers in Keras 2.15."""
    local = encode((8, 8, 3), ("LocallyConnected2D", {"kernel_size": [3, 3], "filters": 4}))
    assert local.parameters == 36 * (27 + 1) * 4
    assert local.multiply_accumulates == 36 * 27 * 4
    assert encode((4, 5), ("CuDNNGRU", {"units": 3})).parameters == 3 * 3 * (5 + 3 + 2)
    assert encode((4, 5), ("CuDNNLSTM", {"units": 3})).parameters == 4 * 3 * (5 + 3 + 2)


def test_products_of_tensors(operate: Callable[..., EnrichedNetworkNode]) -> None:
    product = operate((8, 6), ("keras.src.ops.numpy", "Einsum", {}, ["bij,bkj->bik", None, None]))
    assert product.multiply_accumulates == 8 * 8 * 6
    assert product.measures.work == ((384, (2,)),)
    unseen = operate((8, 6), ("keras.src.ops.numpy", "Matmul", {}, [None, {"shape": "hidden"}]))
    assert unseen.multiply_accumulates is None


def test_only_the_sizes_of_maps_are_missing_where_the_image_has_no_size(
    encode: Callable[..., EnrichedNetworkNode],
) -> None:
    dense = encode(
        (None, None, 3),
        ("Conv2D", {"kernel_size": [3, 3], "filters": 4}),
        ("GlobalAveragePooling2D", {}),
        ("Dense", {"units": 10}),
    )
    conv = dense.predecessors[0].predecessors[0]
    assert (conv.parameters, conv.multiply_accumulates, conv.feature_map) == (112, None, None)
    assert (dense.parameters, dense.multiply_accumulates, dense.feature_map) == (50, 40, (1, 1))


def test_json_keeps_the_costs() -> None:
    graph = encoded("residual")
    stored = EnrichedNetworkNode.from_dict(json.loads(json.dumps(graph.to_dict())))
    assert [node.measures for node in stored.all_layers] == [
        node.measures for node in graph.all_layers
    ]


# --- published counts --------------------------------------------------------------------------

PUBLISHED = {
    "ResNet50": (25_636_712, 3.86),
    "VGG19": (143_667_240, 19.63),
    "MobileNetV2": (3_538_984, 0.30),
    "EfficientNetB0": (5_330_571, 0.39),
}
"""Parameters as Keras counts them, and giga multiply-accumulates. ResNet50 has its strides in the
first convolutions of its blocks, as published in 2016 ("3.8 billion"); torchvision's has not."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(keras: Any, name: str) -> None:
    model = getattr(keras.applications, name)(weights=None)
    graph = create_graph_from_keras_json(model.to_json())
    parameters, work = PUBLISHED[name]
    total = total_costs(graph)
    assert total.parameters == model.count_params() == parameters
    assert total.unknown == 0
    assert total.multiply_accumulates is not None
    assert round(total.multiply_accumulates / 1e9, 2) == work


OTHERS = [
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetV2B0", "InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV3Large", "MobileNetV3Small", "ResNet50V2", "Xception"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_parameters_of_applications(keras: Any, name: str) -> None:
    model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    graph = create_graph_from_model(model)
    total = total_costs(graph)
    assert (total.parameters, total.unknown) == (model.count_params(), 0)
    for node in graph.all_layers:
        assert node.feature_map is not None
        assert math.prod(node.feature_map) >= 1
