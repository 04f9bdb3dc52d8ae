"""What each kind of layer does to the receptive field, in models written as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox.encodings.tensorflow_keras import (
    DEFAULT_HANDLERS,
    PARSERS,
    create_graph_from_keras_json,
)
from rfa_toolbox.encodings.tensorflow_keras.layer_handlers import AnyHandler, KernelBasedHandler
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

INF = math.inf
CONV = ("Conv2D", {"kernel_size": [3, 3], "filters": 4})


def chain(shape: tuple[int | None, ...], *layers: Any) -> EnrichedNetworkNode:
    entries = [{"class_name": "InputLayer", "config": {"batch_shape": [None, *shape]}}]
    entries += [{"class_name": kind, "config": config} for kind, config in layers]
    model = {"class_name": "Sequential", "config": {"layers": entries}}
    return create_graph_from_keras_json(json.dumps(model))


CASES = {
    "same": ((8, 8, 3), [("Conv2D", {"kernel_size": [3, 3], "padding": "same"})], (3, 3)),
    "causal": ((8, 3), [("Conv1D", {"kernel_size": [3], "padding": "causal"})], (3,)),
    "dilated": ((9, 3), [("Conv1D", {"kernel_size": [3], "dilation_rate": [2]})], (5,)),
    "pooling": ((8, 8, 3), [("MaxPooling2D", {"pool_size": [3, 3], "strides": None})], (3, 3)),
    "three axes": ((8, 8, 8, 3), [("Conv3D", {"kernel_size": [1, 3, 5]})], (1, 3, 5)),
    "transposed": (
        (8, 8, 3), [("Conv2DTranspose", {"kernel_size": [4, 4], "strides": [2, 2]})], (2, 2),
    ),
    "nearest, then conv": ((8, 8, 3), [("UpSampling2D", {"size": [2, 2]}), CONV], (2, 2)),
    "bilinear": (
        (8, 8, 3), [("UpSampling2D", {"size": [2, 2], "interpolation": "bilinear"})], (2, 2),
    ),
    "bicubic": (
        (8, 8, 3), [("UpSampling2D", {"size": [2, 2], "interpolation": "bicubic"})], (4, 4),
    ),
    "flatten": ((8, 8, 3), [CONV, ("Flatten", {})], (INF, INF)),
    "dense on channels": ((8, 8, 3), [CONV, ("Dense", {"units": 2})], (3, 3)),
    "dense on features": ((8,), [("Dense", {"units": 2})], (INF,)),
    "patches by reshape": (
        (8, 8, 3),
        [
            ("Conv2D", {"kernel_size": [1, 1]}),
            ("Reshape", {"target_shape": [2, 4, 2, 4, 3]}),
            ("Permute", {"dims": [1, 3, 2, 4, 5]}),
            ("Reshape", {"target_shape": [4, 48]}),
            ("Dense", {"units": 2}),
        ],
        (4, 4),
    ),
    "adaptive": ((8, 8, 3), [("AdaptiveAveragePooling2D", {"output_size": [2, 4]})], (4, 2)),
    "adaptive to one": ((8, 8, 3), [("AdaptiveMaxPooling2D", {"output_size": 1})], (INF, INF)),
    "recurrent": ((8, 3), [("LSTM", {"units": 2})], (INF,)),
    "both directions": (
        (8, 3),
        [("Bidirectional", {"layer": {"class_name": "GRU", "config": {"units": 2}}})],
        (INF,),
    ),
    "convolutional recurrent": (
        (4, 9, 9, 1), [("ConvLSTM2D", {"kernel_size": [3, 3], "filters": 2})], (INF, 9, 9),
    ),
    "embedding": ((8,), [("Embedding", {"output_dim": 4}), ("Conv1D", {"kernel_size": [3]})], (3,)),
    "softmax over space": ((8, 3), [("Softmax", {"axis": 1})], (INF,)),
    "softmax over channels": ((8, 3), [("Softmax", {"axis": -1})], (1,)),
    "attention": ((8, 3), [("MultiHeadAttention", {"key_dim": 2})], (INF,)),
    "attention in a band": ((8, 3), [("MultiHeadAttention", {"sliding_window": 3})], (5,)),
    "resizing": ((8, 8, 3), [("Resizing", {"height": 4, "width": 4})], (2, 2)),
    "grayscale without channels": (
        (8, 8), [("Reshape", {"target_shape": [8, 8, 1]}), CONV], (3, 3),
    ),
    "normalisation": ((8, 8, 3), [("LayerNormalization", {"axis": [1, 2, 3]})], (1, 1)),
    "dense by equation": (
        (8, 8, 3), [("EinsumDense", {"equation": "abcd,ce->abed", "output_shape": [8, 4, 3]})],
        (1, INF),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_receptive_field_of(name: str, encode: Any) -> None:
    shape, layers, expected = CASES[name]
    graph = encode(shape, *layers)
    assert graph.receptive_field_max == expected
    assert graph.certainty == "exact"
    assert all(node.axes == len(expected) for node in graph.all_layers)


NUMPY, NN, IMAGE = (f"keras.src.ops.{name}" for name in ("numpy", "nn", "image"))
CONVOLUTION = ("keras.layers", "Conv2D", {"kernel_size": [3, 3], "filters": 4}, [])

OPERATIONS: dict[str, tuple[Any, list[Any], Any]] = {
    "arithmetic": ((8, 8, 3), [(NUMPY, "Multiply", {}, [2.0])], (1, 1)),
    "mean over space": ((8, 8, 3), [(NUMPY, "Mean", {"axis": [1, 2]}, [])], (INF, INF)),
    "mean over height": ((8, 8, 3), [(NUMPY, "Mean", {"axis": 1}, [])], (INF, 1)),
    "mean over channels": ((8, 8, 3), [(NUMPY, "Mean", {"axis": -1}, [])], (1, 1)),
    "transpose": (
        (8, 8, 3),
        [
            ("keras.layers", "Conv2D", {"kernel_size": [5, 1]}, []),
            (NUMPY, "Transpose", {"axes": [0, 2, 1, 3]}, []),
            ("keras.layers", "Conv2D", {"kernel_size": [3, 1]}, []),
        ],
        (5, 3),
    ),
    "strided slice": (
        (8, 8, 3),
        [
            (
                NUMPY, "GetItem", {},
                [[
                    {"class_name": "__slice__", "config": {}},
                    {"class_name": "__slice__", "config": {"step": 2}},
                    {"class_name": "__ellipsis__", "config": {}},
                ]],
            ),
            CONVOLUTION,
        ],
        (5, 3),
    ),
    "repeat": (
        (8, 8, 3), [(NUMPY, "Repeat", {"repeats": 2, "axis": 1}, []), CONVOLUTION], (2, 3),
    ),
    "pixel shuffle": (
        (8, 8, 4), [CONVOLUTION, (NN, "DepthToSpace", {"block_size": 2}, [])], (3, 3),
    ),
    "space to depth": (
        (8, 8, 4), [(NN, "SpaceToDepth", {"block_size": 2}, []), CONVOLUTION], (6, 6),
    ),
    "pooling": ((8, 8, 4), [(NN, "MaxPool", {"pool_size": 2, "strides": 1}, [])], (2, 2)),
    "patches": (
        (8, 8, 4), [(IMAGE, "ExtractPatches", {"size": [4, 4], "strides": [4, 4]}, [])], (4, 4),
    ),
    "resize by two": ((8, 8, 4), [(IMAGE, "Resize", {"size": [16, 16]}, [])], (2, 2)),
    "pad": (
        (8, 8, 4), [(NUMPY, "Pad", {"pad_width": [[0, 0], [1, 1], [1, 1], [0, 0]]}, [])], (1, 1),
    ),
    "roll": ((8, 8, 4), [(NUMPY, "Roll", {"shift": 2, "axis": 1}, []), CONVOLUTION], (3, 3)),
    "blur": ((8, 8, 4), [(IMAGE, "GaussianBlur", {"kernel_size": [5, 3]}, [])], (5, 3)),
    "fourier": ((8, 4), [("keras.src.ops.math", "FFT", {}, []), (NUMPY, "Abs", {}, [])], (1,)),
    "cumulative sum": ((8, 4), [(NUMPY, "Cumsum", {"axis": 1}, [])], (INF,)),
    "rearrange": (
        (8, 8, 3),
        [("keras.src.ops.einops", "Rearrange", {}, ["b h w c -> b w h c"])],
        (1, 1),
    ),
    "flatten and one hot": ((8, 4), [(NN, "OneHot", {"num_classes": 3}, [])], (1,)),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_receptive_field_of_operation(name: str, operate: Any) -> None:
    shape, calls, expected = OPERATIONS[name]
    graph = operate(shape, *calls)
    assert graph.receptive_field_max == expected
    assert graph.certainty == "exact"


def test_sampling_at_positions_from_data_is_a_bound(operate: Any) -> None:
    graph = operate((8, 8, 3), (IMAGE, "AffineTransform", {}, []))
    assert (graph.certainty, graph.receptive_field_max) == ("bound", (INF, INF))


def test_an_unknown_operation_is_told(operate: Any) -> None:
    with pytest.warns(UserWarning, match="'Frobnicate'"):
        graph = operate((8, 8, 3), (NUMPY, "Frobnicate", {}, []))
    assert graph.certainty == "unknown"


def test_padding_that_depends_on_an_open_size_is_not_invented(encode: Any) -> None:
    config = {"kernel_size": [3, 3], "strides": [2, 2], "padding": "same"}
    assert encode((9, 8, 3), ("Conv2D", config)).layer_info.padding == ((1, 1), (0, 1))
    assert encode((None, 8, 3), ("Conv2D", config)).layer_info.padding == (None, (0, 1))


@given(
    kernel=st.integers(1, 7), stride=st.integers(1, 4), dilation=st.integers(1, 3),
    size=st.integers(20, 40), padding=st.sampled_from(["valid", "same", "causal"]),
)  # fmt: skip
def test_windows_fit_the_size_of_the_output(
    kernel: int, stride: int, dilation: int, size: int, padding: str
) -> None:
    config = {
        "kernel_size": [kernel], "strides": [stride], "dilation_rate": [dilation],
        "padding": padding, "filters": 1,
    }  # fmt: skip
    node = chain((size, 1), ("Conv1D", config))
    ((begin, end),) = node.layer_info.padding
    reach = dilation * (kernel - 1)
    if size + begin + end > reach:
        assert ((size + begin + end - reach - 1) // stride + 1,) == node.feature_map


@given(
    kernel=st.integers(1, 7), stride=st.integers(1, 4), dilation=st.integers(1, 2),
    size=st.integers(2, 9), padding=st.sampled_from(["valid", "same"]),
)  # fmt: skip
def test_transposed_windows_fit_the_size_of_the_output(
    kernel: int, stride: int, dilation: int, size: int, padding: str
) -> None:
    config = {
        "kernel_size": [kernel], "strides": [stride], "dilation_rate": [dilation],
        "padding": padding, "filters": 1,
    }  # fmt: skip
    node = chain((size, 1), ("Conv1DTranspose", config))
    ((begin, end),) = node.layer_info.padding
    fine = (size - 1) * stride + 1 + begin + end
    assert (fine - dilation * (kernel - 1),) == node.feature_map


# --- gates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switch", "expected"),
    [("ignore_gates", (1, 1)), ("count", (INF, INF)), ("ignore", (1, 1))],
)
def test_global_ops_decides_about_squeeze_and_excitation(
    switch: Any, expected: Any, data: Any
) -> None:
    graph = create_graph_from_keras_json(data / "k3_15__se.json", global_ops=switch)
    assert graph.receptive_field_max == expected
    assert len(graph.all_layers) == 6


def test_ignoring_global_operations_leaves_heads_out(encode: Any) -> None:
    layers = (CONV, ("GlobalAveragePooling2D", {}), ("Dense", {"units": 2}))
    assert encode((8, 8, 3), *layers).receptive_field_max == (INF, INF)
    assert encode((8, 8, 3), *layers, global_ops="ignore").receptive_field_max == (3, 3)


@pytest.mark.parametrize(
    ("kind", "config", "counted"),
    [
        ("GroupNormalization", {"groups": 2}, (INF, INF)),
        ("LayerNormalization", {"axis": [1, 2, 3]}, (INF, INF)),
        ("LayerNormalization", {"axis": [3]}, (5, 5)),
        ("LayerNormalizationV1", {"axis": 2}, (5, INF)),
        ("RMSNormalization", {"axis": [-3, -1]}, (INF, 5)),
        ("UnitNormalization", {"axis": -1}, (5, 5)),
        ("BatchNormalization", {"axis": 1}, (5, 5)),
    ],
)
def test_statistics_over_positions_count_where_everything_does(
    encode: Any, kind: str, config: dict[str, Any], counted: Any
) -> None:
    layers = (CONV, (kind, config), CONV)
    for switch, expected in (("ignore_gates", (5, 5)), ("ignore", (5, 5)), ("count", counted)):
        graph = encode((16, 16, 4), *layers, global_ops=switch)
        assert graph.receptive_field_max == expected
        flagged = [one.name for one in graph.all_layers if one.layer_info.ignored_global]
        assert len(flagged) == (switch != "count" and counted != (5, 5))


# --- handlers --------------------------------------------------------------------------------


class Blurred:
    """A handler as a user writes one."""

    def can_handle(self, call: Any) -> bool:
        return bool(call.class_name == "acme>Blur")

    def __call__(self, call: Any) -> LayerDefinition:
        size = call.config["size"]
        return LayerDefinition("Blur", kernel_size=size, stride_size=2, padding=0)


BLUR = {
    "class_name": "Blur",
    "module": None,
    "registered_name": "acme>Blur",
    "config": {"size": 5},
}


def test_a_handler_of_the_user_comes_first_and_its_layer_is_exact() -> None:
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 32, 32, 3]}},
        BLUR,
        {"class_name": "Conv2D", "config": {"kernel_size": [3, 3]}},
    ]
    text = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    graph = create_graph_from_keras_json(text, handlers=DEFAULT_HANDLERS.with_handler(Blurred()))
    assert graph.receptive_field_max == (9, 9)
    assert graph.get_maximum_scale_factor() == (2, 2)
    assert graph.certainty == "exact"
    assert graph.predecessors[0].kernel_size == (5, 5)
    with pytest.warns(UserWarning, match="acme>Blur"):
        assert create_graph_from_keras_json(text).receptive_field_max == (3, 3)


def test_the_catch_all_is_last() -> None:
    assert isinstance(PARSERS[-1], AnyHandler)
    assert not any(isinstance(handler, AnyHandler) for handler in PARSERS[:-1])


def test_handlers_read_the_plain_entry_of_a_layer() -> None:
    entry = {"class_name": "Conv2D", "config": {"kernel_size": [3, 5], "filters": 8}}
    handler = KernelBasedHandler()
    assert handler.can_handle(entry)
    assert handler(entry).kernel_size == (3, 5)
    assert not handler.can_handle({"class_name": "MyConv2D", "module": "mine", "config": {}})


def test_a_class_of_others_with_the_name_of_a_layer_of_keras_is_not_taken_for_it() -> None:
    entry = {"class_name": "Conv2D", "module": "mine", "config": {"kernel_size": [3, 3]}}
    assert not KernelBasedHandler().can_handle(entry)


def test_a_class_made_from_a_convolution_is_read_as_one_and_marked() -> None:
    config = {
        "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "filters": 2,
        "data_format": "channels_last", "dilation_rate": [1, 1],
    }  # fmt: skip
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}},
        {"class_name": "MyConv", "module": "mine", "config": config},
    ]
    text = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    with pytest.warns(UserWarning, match="MyConv"):
        graph = create_graph_from_keras_json(text)
    assert (graph.receptive_field_max, graph.certainty) == ((3, 3), "unknown")


# --- functions of TensorFlow, as Keras 2 stores them -----------------------------------------


def function(name: str, function: str, node: Any, **config: Any) -> dict[str, Any]:
    return {
        "class_name": "SlicingOpLambda" if "getitem" in function else "TFOpLambda",
        "module": "keras.src.layers.core.tf_op_layer",
        "name": name,
        "config": {"name": name, "function": function, **config},
        "inbound_nodes": [node],
    }


def keras_2(shape: Any, *layers: dict[str, Any]) -> Any:
    image = {
        "class_name": "InputLayer", "name": "a", "inbound_nodes": [],
        "config": {"batch_input_shape": [None, *shape], "name": "a"},
    }  # fmt: skip
    config = {"layers": [image, *layers], "input_layers": [["a", 0, 0]]}
    config["output_layers"] = [[layers[-1]["name"], 0, 0]]
    text = json.dumps({"class_name": "Functional", "config": config})
    return create_graph_from_keras_json(text)


FIRST = {"start": None, "stop": 1, "step": None}


def kernel(*shape: int) -> Any:
    """Return a constant of Keras 2: ones."""
    return [kernel(*shape[1:])] * shape[0] if shape else 1.0


TENSORFLOW: dict[str, tuple[Any, list[dict[str, Any]], Any]] = {
    "constant in front": (
        (8, 8, 3),
        [function("s", "math.subtract", ["_CONSTANT_VALUE", -1, 1.0, {"y": ["a", 0, 0]}])],
        (1, 1),
    ),
    "mean": (
        (8, 8, 3),
        [function("m", "math.reduce_mean", ["a", 0, 0, {"axis": [1, 2]}])],
        (INF, INF),
    ),
    "concatenation": (
        (8, 8, 3),
        [function("c", "concat", [["a", 0, 0, {"axis": -1}], ["a", 0, 0, {"axis": -1}]])],
        (1, 1),
    ),
    "resize": (
        (8, 8, 3),
        [function("r", "image.resize", ["a", 0, 0, {"size": [16, 24], "method": "bilinear"}])],
        (2, 2),
    ),
    "pooling": (
        (8, 8, 3),
        [function("p", "nn.max_pool2d", ["a", 0, 0, {"ksize": 3, "strides": 2}])],
        (3, 3),
    ),
    "reshape by a computed shape": (
        (8, 3),
        [
            function("n", "compat.v1.shape", ["a", 0, 0, {}]),
            function("i", "__operators__.getitem", ["n", 0, 0, {"slice_spec": 1}]),
            function("h", "math.floordiv", ["i", 0, 0, {"y": 4}]),
            function("r", "reshape", ["a", 0, 0, {"shape": [-1, ["h", 0, 0], 4, 3]}]),
            function("m", "math.reduce_mean", ["r", 0, 0, {"axis": 2}]),
        ],
        (4,),
    ),
    "reshape by a shape and more": (
        (8, 6, 4),
        [
            function("n", "compat.v1.shape", ["a", 0, 0, {}]),
            function("i", "__operators__.getitem", ["n", 0, 0, {"slice_spec": [FIRST]}]),
            function(
                "c", "concat",
                [["i", 0, 0, {"axis": 0}], [["_CONSTANT_VALUE", -1, n, {}] for n in (2, 4, 6, 4)]],
            ),
            function("r", "reshape", ["a", 0, 0, {"shape": ["c", 0, 0]}]),
            function("m", "math.reduce_mean", ["r", 0, 0, {"axis": 2}]),
        ],
        (4, 1),
    ),
    "convolution": (
        (9, 9, 3),
        [function("c", "nn.conv2d", ["a", 0, 0, {
            "filters": kernel(3, 5, 3, 2), "strides": [1, 2, 2, 1], "padding": "SAME"}])],
        (3, 5),
    ),
    "dilated convolution": (
        (16, 3),
        [function("c", "nn.conv1d", ["a", 0, 0, {
            "filters": kernel(3, 3, 2), "stride": 2, "dilations": 3, "padding": "VALID"}])],
        (7,),
    ),
    "depthwise convolution with a kernel repeated per channel": (
        (9, 9, 3),
        [
            function("n", "compat.v1.shape", ["a", 0, 0, {}]),
            function("i", "__operators__.getitem", ["n", 0, 0, {"slice_spec": -1}]),
            function("t", "tile", ["_CONSTANT_VALUE", -1, kernel(3, 3, 1, 2), {
                "multiples": [1, 1, ["i", 0, 0], 1]}]),
            function("c", "compat.v1.nn.depthwise_conv2d", ["a", 0, 0, {
                "filter": ["t", 0, 0], "strides": [1, 1, 1, 1], "padding": "VALID"}]),
        ],
        (3, 3),
    ),
    "attention by hand": (
        (8, 4),
        [
            function("s", "linalg.matmul", ["a", 0, 0, {"b": ["a", 0, 0], "transpose_b": True}]),
            function("w", "nn.softmax", ["s", 0, 0, {"axis": -1}]),
            function("o", "linalg.matmul", ["w", 0, 0, {"b": ["a", 0, 0]}]),
        ],
        (INF,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORFLOW)
def test_receptive_field_of_function(name: str) -> None:
    shape, layers, expected = TENSORFLOW[name]
    graph = keras_2(shape, *layers)
    assert graph.receptive_field_max == expected
    assert graph.certainty == "exact"


SECOND_AND_THIRD = {"start": 1, "stop": 3, "step": None}


def test_a_shape_brings_no_path_with_it() -> None:
    graph = keras_2(
        (8, 8, 3),
        function("p", "nn.max_pool2d", ["a", 0, 0, {"ksize": 2, "strides": 2}]),
        function("n", "shape", ["a", 0, 0, {}]),
        function("i", "__operators__.getitem", ["n", 0, 0, {"slice_spec": [SECOND_AND_THIRD]}]),
        function("r", "image.resize", ["p", 0, 0, {"size": ["i", 0, 0], "method": "nearest"}]),
    )
    assert graph.receptive_field_min == graph.receptive_field_max == (2, 2)
    assert graph.get_maximum_scale_factor() == (1, 1)
