"""What ONNX files say is what their reference implementation does, unit by unit."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from rfa_toolbox import create_graph_from_onnx, input_resolution_range
from rfa_toolbox.encodings.onnx.ingest import loaded
from rfa_toolbox.errors import InvalidResolutionError, UnsupportedModelError

RANDOM = np.random.default_rng(0)
EVERYTHING = (math.inf, math.inf)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RANDOM.uniform(0.1, 1, shape).astype(np.float32), name)


def numbers(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    names = [one if one != "-" else "" for one in inputs.split()]
    return helper.make_node(kind, names, outputs.split(), name=f"{kind}_{outputs}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    held: Sequence[onnx.TensorProto] = (),
    shape: Sequence[Any] = (1, 2, 20, 24),
    opset: int = 18,
) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "net", [given], [made], list(held))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def seen(proto: onnx.ModelProto, axis: int, unit: tuple[int, ...]) -> tuple[int, int]:
    """Return the first and the last row of the input that reach a unit of the output."""
    shape = [one.dim_value for one in proto.graph.input[0].type.tensor_type.shape.dim]
    evaluator = ReferenceEvaluator(proto)
    found = []
    base = RANDOM.uniform(0.4, 0.6, shape).astype(np.float32)
    before = evaluator.run(None, {"x": base})[0]
    for row in range(shape[2 + axis]):
        image = base.copy()
        np.moveaxis(image, 2 + axis, 0)[row] += 9
        after = evaluator.run(None, {"x": image})[0]
        if (after != before)[(0, slice(None), *unit)].any():
            found.append(row)
    return found[0], found[-1]


CONV = (weight("w", 2, 2, 3, 3),)
BAND = np.abs(np.arange(20)[:, None] - np.arange(20)) < 3


def resized(scales: Sequence[float], **options: Any) -> Any:
    """Return a resize without a mean, with a convolution behind it."""
    held = numpy_helper.from_array(np.array([1, 1, *scales], np.float32), "s")
    nodes = [node("Resize", "x - s", "u", mode="nearest", **options), node("Conv", "u w", "y")]
    return nodes, [held, *CONV]


ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric"}
CASES: dict[str, tuple[Sequence[onnx.NodeProto], Sequence[onnx.TensorProto]]] = {
    "padding that differs between sides": (
        [node("Conv", "x w", "y", pads=[2, 0, 1, 3], strides=[2, 1])],
        CONV,
    ),
    "same, more behind": (
        [node("Conv", "x w", "y", auto_pad="SAME_UPPER", strides=[2, 2])],
        CONV,
    ),
    "same, more in front": (
        [node("Conv", "x w", "y", auto_pad="SAME_LOWER", strides=[2, 2])],
        CONV,
    ),
    "dilation": ([node("Conv", "x w", "y", dilations=[2, 3], pads=[2, 3, 2, 3])], CONV),
    "groups": (
        [node("Conv", "x g", "y", group=2, pads=[1, 1, 1, 1])],
        [weight("g", 2, 1, 3, 3)],
    ),
    "transposed convolution": (
        [node("ConvTranspose", "x w", "y", strides=[2, 2], pads=[1, 1, 1, 1])],
        CONV,
    ),
    "transposed convolution, more behind": (
        [node("ConvTranspose", "x w", "y", strides=[2, 2], output_padding=[1, 1])],
        CONV,
    ),
    "pooling, sizes rounded up": (
        [node("MaxPool", "x", "y", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        [],
    ),
    "pooling without strides slides by one": (
        [node("AveragePool", "x", "y", kernel_shape=[3, 2])],
        [],
    ),
    "nearest": (
        [
            node(
                "Resize",
                "x - s",
                "u",
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            node("Conv", "u w", "y"),
        ],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s"), *CONV],
    ),
    "linear": (
        [node("Resize", "x - s", "u", mode="linear"), node("Conv", "u w", "y")],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s"), *CONV],
    ),
    "nearest, ties to the smaller place": resized((0.5, 0.25)),
    "nearest, ties to the larger place": resized((0.5, 2), nearest_mode="round_prefer_ceil"),
    "nearest, rounded, by two": resized((2, 2), **ASYMMETRIC),
    "nearest, rounded up, to less": resized((0.5, 0.25), nearest_mode="ceil", **ASYMMETRIC),
    "a matrix of bands in front": (
        [node("MatMul", "m x", "y")],
        [numpy_helper.from_array(BAND.astype(np.float32), "m")],
    ),
    "cut in the middle, and padded": (
        [node("CenterCropPad", "x s", "p", axes=[2, 3]), node("Conv", "p w", "y")],
        [numbers("s", 11, 29), *CONV],
    ),
    "slice with steps": (
        [node("Slice", "x a b c d", "p"), node("Conv", "p w", "y")],
        [numbers("a", 1, 2), numbers("b", 99, -1), numbers("c", 2, 3), numbers("d", 2, 1), *CONV],
    ),
    "padding of its own": (
        [node("Pad", "x a", "p"), node("Conv", "p w", "y")],
        [numbers("a", 0, 0, 3, 1, 0, 0, 0, 2), *CONV],
    ),
    "rows by number": (
        [node("Gather", "x i", "p", axis=2), node("Conv", "p w", "y")],
        [numbers("i", 4, 5, 6, 7, 8), *CONV],
    ),
    "halves of channels": (
        [
            node("Conv", "x w", "c"),
            node("Split", "c", "a b", axis=1, num_outputs=2),
            node("Concat", "b a", "d", axis=1),
            node("Conv", "d w", "y"),
        ],
        CONV,
    ),
    "space to depth": (
        [node("SpaceToDepth", "x", "p", blocksize=2), node("Conv", "p e", "y")],
        [weight("e", 2, 8, 3, 3)],
    ),
    "a shape that is computed": (
        [
            node("Shape", "x", "s"),
            node("Gather", "s i", "b", axis=0),
            node("Concat", "b r", "t", axis=0),
            node("Reshape", "x t", "q"),
            node("Reshape", "q s", "z"),
            node("Conv", "z w", "y"),
        ],
        [numbers("i", 0), numbers("r", 2, -1), *CONV],
    ),
    "a short cut": (
        [
            node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
            node("Relu", "a", "r"),
            node("Add", "r x", "s"),
            node("Conv", "s w", "y", pads=[1, 1, 1, 1], strides=[2, 2]),
        ],
        CONV,
    ),
}


@pytest.mark.parametrize(("nodes", "held"), CASES.values(), ids=list(CASES))
def test_units_see_what_an_experiment_says(
    nodes: Sequence[onnx.NodeProto], held: Sequence[onnx.TensorProto]
) -> None:
    proto = model(nodes, held)
    graph = create_graph_from_onnx(proto)
    assert graph.certainty == "exact"
    units = graph.feature_map
    assert units is not None
    for unit in ((units[0] // 2, units[1] // 2), (units[0] // 2 + 1, units[1] // 2 - 1)):
        region = graph.input_region(unit)
        for axis in (0, 1):
            first, last = seen(proto, axis, unit)
            assert (max(region[axis][0], 0), min(region[axis][1], (19, 23)[axis])) == (first, last)


@pytest.mark.parametrize(
    ("scales", "options", "certainty"),
    [
        ((2, 2), {"nearest_mode": "ceil", **ASYMMETRIC}, "unknown"),
        ((3, 3), ASYMMETRIC, "unknown"),
        ((1.3, 1), {"nearest_mode": "floor"}, "bound"),
    ],
)
@pytest.mark.filterwarnings("ignore:The operation:UserWarning", "ignore:These op:UserWarning")
def test_a_resize_that_takes_other_units_says_so(
    scales: Sequence[float], options: dict[str, Any], certainty: str
) -> None:
    assert create_graph_from_onnx(model(*resized(scales, **options))).certainty == certainty


def test_a_constant_matrix_in_front_of_what_depends_on_the_input_mixes_rows() -> None:
    held = [numbers("a", 0, 1), numpy_helper.from_array(BAND.astype(np.float32), "m")]
    nodes = [node("Squeeze", "x a", "s"), node("Gemm", "m s", "y")]
    graph = create_graph_from_onnx(model(nodes, held, (1, 1, 20, 24)))
    assert (graph.receptive_field_max, graph.certainty) == ((5, 1), "exact")


@pytest.mark.parametrize("reverse", [0, 1])
def test_a_sum_that_leaves_a_position_out_does_not_see_it(reverse: int) -> None:
    nodes = [node("CumSum", "x i", "y", exclusive=1, reverse=reverse)]
    graph = create_graph_from_onnx(model(nodes, [numbers("i", 3)]))
    windows = graph.unit_windows[1]
    sides = ((1,), (math.inf,)) if reverse else ((-math.inf,), (-1,))
    assert (windows.firsts, windows.lasts) == sides


def test_what_the_first_dense_layer_mixes_are_channels_where_nothing_slides() -> None:
    held = [weight("d", 8, 6), weight("s", 8), weight("b", 8), weight("e", 24, 24)]
    dense = [node("MatMul", "x d", "y")]
    normed = [node("LayerNormalization", "x s b", "n"), node("Softmax", "n", "y", axis=1)]
    for nodes, shape, expected in (
        (dense, (1, 16, 12, 8), (1, 1)),
        (dense, (1, 16, 8), (1,)),
        (normed, (1, 16, 12, 8), (math.inf, 1)),
        ([node("MatMul", "x e", "y")], (1, 3, 20, 24), (1, math.inf)),  # of an image's three
    ):
        graph = create_graph_from_onnx(model(nodes, held, shape))
        assert (graph.receptive_field_max, graph.certainty) == (expected, "exact")


ATTENTIONS: dict[str, tuple[dict[str, Any], Any, tuple[float, float]]] = {
    "of all": ({}, None, (-math.inf, math.inf)),
    "of what is in front": ({"is_causal": 1}, None, (-math.inf, 0)),
    "behind a mask": ({}, BAND, (-2, 2)),
    "behind numbers": ({}, np.where(BAND, 0, -1e9).astype(np.float32), (-2, 2)),
    "behind a mask, of what is in front": ({"is_causal": 1}, BAND, (-2, 0)),
    "of what is near": ({"left_window_size": 3, "right_window_size": 1}, None, (-3, 1)),
    "of what is near in front": ({"left_window_size": 3, "is_causal": 1}, None, (-3, 0)),
}


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 25, reason="this version has no such windows")
@pytest.mark.parametrize("name", ATTENTIONS)
def test_an_attention_sees_what_its_options_leave(name: str) -> None:
    options, mask, (first, last) = ATTENTIONS[name]
    held = [weight("a", 8, 8)]
    held += [] if mask is None else [numpy_helper.from_array(mask, "m")]
    heads = {"q_num_heads": 2, "kv_num_heads": 2}
    read = "q q q" if mask is None else "q q q m"
    nodes = [node("MatMul", "x a", "q"), node("Attention", read, "y", **heads, **options)]
    proto = model(nodes, held, (1, 20, 8), 25)
    graph = create_graph_from_onnx(proto)
    (windows,) = graph.unit_windows
    assert (windows.firsts, windows.lasts, graph.certainty) == ((first,), (last,), "exact")
    image = RANDOM.uniform(0, 1, (1, 20, 8)).astype(np.float32)
    run = ReferenceEvaluator(proto).run
    before, changed = run(None, {"x": image})[0], []
    for place in range(20):
        other = image.copy()
        other[0, place] += 1
        changed.append((run(None, {"x": other})[0] != before)[0, 10].any())
    found = np.flatnonzero(changed)
    assert (found[0] - 10, found[-1] - 10) == (max(first, -10), min(last, 9))


def test_a_mirrored_map_keeps_its_fields() -> None:
    held = [numbers("a", -1), numbers("b", -99), numbers("c", 3), numbers("d", -1), *CONV]
    nodes = [node("Slice", "x a b c d", "p"), node("Conv", "p w", "y")]
    assert create_graph_from_onnx(model(nodes, held)).receptive_field_max == (3, 3)


GLOBAL: dict[str, list[onnx.NodeProto]] = {
    "GlobalAveragePool": [node("GlobalAveragePool", "x", "y")],
    "ReduceMean": [node("ReduceMean", "x", "y")],
    "MatMul": [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t", "y")],
    "CumSum": [node("CumSum", "x i", "y")],
}


@pytest.mark.parametrize("nodes", GLOBAL.values(), ids=list(GLOBAL))
def test_operators_that_see_everything_are_infinite(nodes: list[onnx.NodeProto]) -> None:
    graph = create_graph_from_onnx(model(nodes, [numbers("i", 2)]))
    assert math.inf in graph.receptive_field_max


def test_columns_that_are_put_back_on_a_map_see_what_covers_them() -> None:
    held = [
        weight("w", 32, 2, 4, 4), numbers("flat", 1, 32, 16), numbers("size", 8, 8),
        numbers("block", 4, 4),
    ]  # fmt: skip
    nodes = [
        node("Conv", "x w", "c", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Reshape", "c flat", "r"),
        node("Col2Im", "r size block", "y", strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    graph = create_graph_from_onnx(model(nodes, held, (1, 2, 8, 8)))
    assert (graph.receptive_field_max, graph.certainty) == ((6, 6), "exact")


def test_an_index_of_two_dimensions_loses_both_of_what_it_picks() -> None:
    index = numpy_helper.from_array(np.arange(4)[:, None] + np.arange(5), "i")
    nodes = [node("Gather", "x i", "g", axis=2), node("ReduceMax", "g", "y", axes=[2], keepdims=0)]
    graph = create_graph_from_onnx(model(nodes, [index], (1, 2, 8, 8), opset=13))
    assert (graph.receptive_field_max, graph.certainty) == ((math.inf, 1), "bound")


def test_a_softmax_of_old_files_goes_over_all_that_follows() -> None:
    nodes = [node("Softmax", "x", "y", axis=2)]
    assert create_graph_from_onnx(model(nodes, opset=11)).receptive_field_max == EVERYTHING
    new = create_graph_from_onnx(model(nodes, opset=13)).receptive_field_max
    assert new == (math.inf, 1)


def test_quantised_layers_have_the_fields_of_their_counterparts() -> None:
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "s")
    zero = numpy_helper.from_array(np.array(0, np.uint8), "z")
    weights = numpy_helper.from_array(np.ones((2, 2, 3, 3), np.uint8), "w")
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w s z s z", "c", strides=[2, 2]),
        node("DequantizeLinear", "c s z", "y"),
    ]
    graph = create_graph_from_onnx(model(nodes, [scale, zero, weights]))
    assert (graph.receptive_field_max, graph.certainty) == ((3, 3), "exact")


def test_a_recurrent_layer_sees_its_sequence() -> None:
    nodes = [node("LSTM", "x w r", "y", hidden_size=3)]
    held = [weight("w", 1, 12, 5), weight("r", 1, 12, 3)]
    graph = create_graph_from_onnx(model(nodes, held, (7, 1, 5)))
    assert math.inf in graph.receptive_field_max


def test_operators_of_other_domains_are_unknown_and_said() -> None:
    custom = helper.make_node("Blur", ["x"], ["p"], domain="acme")
    proto = model([custom, node("Conv", "p w", "y")], CONV)
    proto.opset_import.append(helper.make_opsetid("acme", 1))
    shaped = helper.make_tensor_value_info("p", TensorProto.FLOAT, (1, 2, 20, 24))
    proto.graph.value_info.append(shaped)
    with pytest.warns(UserWarning, match="acme::Blur"):
        graph = create_graph_from_onnx(proto)
    assert graph.certainty == "unknown"


def _inside(kind: str) -> onnx.NodeProto:
    """Return an operator that runs a graph of its own."""
    sizes = (1, 2, 18, 22)
    made = helper.make_tensor_value_info("b", TensorProto.FLOAT, sizes)
    if kind == "If":
        several = [
            helper.make_graph([node("Relu", "h", "b")], name, [], [made])
            for name in ("then", "else")
        ]
        return node("If", "flag", "g", then_branch=several[0], else_branch=several[1])
    given = [
        helper.make_tensor_value_info("i", TensorProto.INT64, ()),
        helper.make_tensor_value_info("c", TensorProto.BOOL, ()),
        helper.make_tensor_value_info("a", TensorProto.FLOAT, sizes),
    ]
    go_on = helper.make_tensor_value_info("c2", TensorProto.BOOL, ())
    steps = [node("Identity", "c", "c2"), node("Relu", "a", "b")]
    return node(
        "Loop", "count flag h", "g", body=helper.make_graph(steps, "b", given, [go_on, made])
    )


def test_branches_are_not_followed_where_the_input_decides_and_said() -> None:
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    nodes = [
        node("Conv", "x w", "h"),
        node("ReduceMax", "x", "m", keepdims=0),
        node("Greater", "m zero", "flag"),
        _inside("If"),
        node("Conv", "g w", "y"),
    ]
    with pytest.warns(UserWarning, match="If"):
        graph = create_graph_from_onnx(model(nodes, [*CONV, zero]))
    assert graph.certainty == "unknown"


@pytest.mark.parametrize(("flag", "size"), [(True, 5), (False, 9)])
def test_a_condition_that_is_known_takes_its_branch(flag: bool, size: int) -> None:
    held = numpy_helper.from_array(np.array(flag), "constant")
    made = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    branches = {}
    for name, kernel in (("then_branch", 3), ("else_branch", 7)):
        inside = [node("Relu", "h", "i"), node("Conv", f"i {name}", "b")]
        own = weight(name, 2, 2, kernel, kernel)
        branches[name] = helper.make_graph(inside, name, [], [made], [own])
    nodes = [
        node("Conv", "x w", "h"),
        node("Not", "constant", "other"),
        node("Not", "other", "flag"),
        node("If", "flag", "g", **branches),
        node("Relu", "g", "y"),
    ]
    file = model(nodes, [*CONV, held])
    graph = create_graph_from_onnx(file)
    assert (graph.receptive_field_max, graph.certainty) == ((size, size), "exact")
    pytest.importorskip("onnxruntime")
    report = importlib.import_module("rfa_toolbox.empirical").verify(file)
    assert report.ok, report
    assert [one.verdict for one in report.nodes][-1] == "not measured"


def test_loops_are_not_followed_and_said() -> None:
    flag = numpy_helper.from_array(np.array(True), "flag")
    count = numpy_helper.from_array(np.array(3, np.int64), "count")
    nodes = [node("Conv", "x w", "h"), _inside("Loop"), node("Conv", "g w", "y")]
    with pytest.warns(UserWarning, match="Loop"):
        graph = create_graph_from_onnx(model(nodes, [*CONV, flag, count]))
    found = [(one.receptive_field_max, one.certainty) for one in graph.all_layers]
    assert found == [((3, 3), "exact")]  # nothing tells how large what it makes is


def test_what_has_no_size_before_it_runs_ends_the_graph() -> None:
    nodes = [node("Conv", "x w", "c"), node("NonZero", "c", "n"), node("Cast", "n", "y", to=1)]
    with pytest.warns(UserWarning, match="NonZero.*not known before it runs"):
        graph = create_graph_from_onnx(model(nodes, CONV))
    assert graph.receptive_field_max == (3, 3)


def test_layers_are_named_by_modules_or_by_nodes() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="/layer1/layer1.0/conv/Conv")
    relu = helper.make_node("Relu", ["c"], ["y"], name="node_relu")
    scopes = "['', 'layer1', 'layer1.act', 'relu']"
    kinds = "['net.Net', 'torch.nn.modules.container.Sequential', "
    kinds += "'torch.nn.modules.activation.ReLU', 'aten.relu.default']"
    for key, value in (("name_scopes", scopes), ("class_hierarchy", kinds)):
        relu.metadata_props.add(key=f"pkg.torch.onnx.{key}", value=value)
    graph = create_graph_from_onnx(model([conv, relu], CONV))
    assert [(one.name, one.layer_info.name) for one in graph.all_layers] == [
        ("layer1.0.conv", "Conv"),
        ("layer1.act", "ReLU"),
    ]


def test_open_sizes_have_stand_ins_or_are_named() -> None:
    open_model = model([node("Conv", "x w", "y")], CONV, ("batch", 2, "height", "width"))
    assert create_graph_from_onnx(open_model).receptive_field_max == (3, 3)
    assert create_graph_from_onnx(open_model, (1, 2, 30, 40)).feature_map == (28, 38)
    assert create_graph_from_onnx(open_model, {"x": (1, 2, 30, 40)}).feature_map == (28, 38)
    vector = model([node("Relu", "x", "y")], shape=("batch", "length"))
    with pytest.raises(InvalidResolutionError, match=r"leaves sizes open.*input_shape="):
        create_graph_from_onnx(vector)


@pytest.mark.parametrize("shape", [(1, 2, 0, 4), "1x2x3", {"z": (1, 2, 3, 4)}, [(1, 2), (3, 4)]])
def test_a_shape_that_fits_no_input_is_refused(shape: Any) -> None:
    with pytest.raises(InvalidResolutionError, match="inputs are \\['x'\\]"):
        create_graph_from_onnx(model([node("Conv", "x w", "y")], CONV), shape)


def test_weights_beside_the_file_are_not_read(tmp_path: Path) -> None:
    proto = model([node("Conv", "x w", "y")], CONV)
    path = tmp_path / "net.onnx"
    onnx.save_model(
        proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    (tmp_path / "weights.bin").unlink()
    graph = create_graph_from_onnx(path)
    assert (graph.receptive_field_max, graph.parameters) == ((3, 3), 36)
    with pytest.raises(UnsupportedModelError, match=r"weights\.bin.*put that file beside"):
        loaded(path, weights=True)


def test_what_is_no_onnx_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"this is no model")
    with pytest.raises(UnsupportedModelError, match="is no ONNX file"):
        create_graph_from_onnx(path)
    with pytest.raises(UnsupportedModelError, match="expected is an onnx"):
        create_graph_from_onnx(3)


def test_ranges_follow() -> None:
    graph = create_graph_from_onnx(model([node("Conv", "x w", "y")], CONV))
    assert input_resolution_range(graph) == ((3, 3), (3, 3))


PICKS = {
    "GatherElements": np.broadcast_to(np.arange(20)[::-1].reshape(1, 1, 20, 1), (1, 2, 20, 24)),
    "GatherND": np.zeros((1, 2, 20, 24, 4), np.int64),
}


@pytest.mark.parametrize("kind", PICKS)
def test_numbers_that_are_picked_by_constants_make_a_bound(kind: str) -> None:
    held = numpy_helper.from_array(PICKS[kind].copy(), "i")
    picked = node(kind, "x i", "p", **({"axis": 2} if kind == "GatherElements" else {}))
    network = model([picked, node("Conv", "p w", "y")], [held, weight("w", 2, 2, 3, 3)])
    graph = create_graph_from_onnx(network)
    assert graph.certainty == "bound"
    assert graph.receptive_field_max[0] == math.inf
