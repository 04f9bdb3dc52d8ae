"""The samples of the JSON formats: Keras 2.15, 3.0.5 and 3.15 wrote the same 26 models."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_keras_json
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode

DATA = Path(__file__).parent / "data"
VERSIONS = ("k2_15", "k3_0_5", "k3_15")
NAMES = sorted(path.stem.removeprefix("k3_15__") for path in DATA.glob("k3_15__*.json"))
MODELS = [name for name in NAMES if name != "subclassed"]
UNKNOWN = {"custom_reg": "MyConv", "custom_unreg": "Unreg", "lam": "Lambda"}
SAME = {"truediv": "truedivide", "inputlayer": "input"}
GOLDEN = DATA / "golden_samples.json"


def encoded(name: str, version: str = "k3_15", **options: Any) -> EnrichedNetworkNode:
    with warnings.catch_warnings():
        if name in UNKNOWN:
            warnings.simplefilter("ignore", UserWarning)
        return create_graph_from_keras_json(DATA / f"{version}__{name}.json", **options)


def common_name(name: str) -> str:
    """Undo what the versions make different: numbers that Keras adds, names of functions."""
    last = re.sub(r"(?<=[a-z0-9])_\d+$", "", name.rsplit(".", 1)[-1]).replace("_", "").lower()
    return "input" if last.endswith("input") else SAME.get(last, last)


def numbers(graph: EnrichedNetworkNode) -> list[list[Any]]:
    rows = []
    for node in graph.all_layers:
        layer = node.layer_info.to_dict()
        layer.pop("name")
        row = [
            common_name(node.name),
            sorted(common_name(one.name) for one in node.predecessors),
            layer,
            repr((node.receptive_field_min, node.receptive_field_max)),
            node.certainty,
        ]
        rows.append(row)
    return sorted(rows, key=repr)


def test_there_are_26_samples_of_each_version() -> None:
    assert len(NAMES) == 26
    assert all(
        (DATA / f"{version}__{name}.json").exists() for version in VERSIONS for name in NAMES
    )


@pytest.mark.parametrize("name", MODELS)
def test_all_versions_give_the_same_names_and_numbers(name: str) -> None:
    first, *others = (numbers(encoded(name, version)) for version in VERSIONS)
    for other in others:
        assert other == first


def test_numbers_are_those_of_the_golden_file(request: pytest.FixtureRequest) -> None:
    found = {name: numbers(encoded(name)) for name in MODELS}
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_subclassed_model_says_what_to_do(version: str) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'Sub'.*functional API"):
        encoded("subclassed", version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "kind"), UNKNOWN.items())
def test_an_unknown_layer_is_neutral_and_told_once(name: str, kind: str, version: str) -> None:
    with pytest.warns(UserWarning, match=rf"{kind}' \(1x\).*add_rule") as caught:
        graph = create_graph_from_keras_json(DATA / f"{version}__{name}.json")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    (unknown,) = (node for node in graph.all_layers if kind in node.layer_info.name)
    assert (unknown.certainty, unknown.kernel_size) == ("unknown", (1, 1))
    assert kind in unknown.certainty_reason
    assert graph.certainty == "unknown"


def field(graph: EnrichedNetworkNode, name: str) -> tuple[Any, Any]:
    (node,) = (node for node in graph.all_layers if node.name == name)
    return node.receptive_field_min, node.receptive_field_max


@pytest.mark.parametrize("version", VERSIONS)
class TestFormats:
    def test_shared_layers_have_one_node_per_call(self, version: str) -> None:
        graph = encoded("shared", version)
        names = ["img", "shared_conv", "shared_conv#2", "shared_conv#3", "cat"]
        assert [node.name for node in graph.all_layers] == names
        assert graph.receptive_field_sizes == ((3, 3), (5, 5))

    def test_nested_models_are_flattened_with_their_path(self, version: str) -> None:
        nodes = encoded("nested_twice", version).all_layers
        assert [node.name for node in nodes] == [
            "outer_in", "inner/ic", "inner/ic#2", "inner/ic#3", "add",
        ]  # fmt: skip
        assert [node.module_path for node in nodes] == ["", "inner", "inner", "inner", ""]

    def test_a_sequential_inside_a_functional_model_is_flattened(self, version: str) -> None:
        names = [node.name for node in encoded("seq_in_functional", version).all_layers]
        assert names == ["outer_in", "stem/sc", "stem/sr", "oc"]

    def test_a_functional_inside_a_sequential_model_is_flattened(self, version: str) -> None:
        nodes = encoded("functional_in_seq", version).all_layers
        assert [node.layer_info.name for node in nodes] == [
            "InputLayer", "Conv2D", "GlobalAveragePooling2D", "Dense",
        ]  # fmt: skip

    def test_the_first_output_is_returned_and_the_others_are_with_it(self, version: str) -> None:
        graph = encoded("multi", version)
        assert graph.name == "cat"
        assert [node.name for node in graph.all_layers][-1] == "g"
        assert field(graph, "cat") == ((3, 3), (5, 5))
        assert {node.name for node in graph.all_layers if not node.predecessors} == {"a", "b"}

    def test_inputs_in_a_dictionary_are_read(self, version: str) -> None:
        assert [node.name for node in encoded("dict_io", version).predecessors] == ["a", "b"]

    def test_attention_reads_keyword_tensors(self, version: str) -> None:
        graph = encoded("mha_kw", version)
        assert [node.name for node in graph.predecessors] == ["tok", "ctx"]
        assert graph.receptive_field_min == (float("inf"),)

    def test_operators_are_followed(self, version: str) -> None:
        nodes = encoded("ops_py", version).all_layers
        slicing = nodes[6]
        assert slicing.stride_size == (1, 2)
        assert slicing.layer_info.padding == ((-1, -1), (0, 0))
        assert len(nodes[5].predecessors) == 2

    def test_parts_of_a_split_keep_their_edges(self, version: str) -> None:
        graph = encoded("split_tf", version)
        assert len(graph.predecessors) == 2
        assert graph.receptive_field_min == (1, 1)

    def test_wrappers_are_opened_and_time_is_an_axis(self, version: str) -> None:
        graph = encoded("timedist", version)
        assert graph.layer_info.name == "TimeDistributed(Conv2D)"
        assert graph.receptive_field_max == (1, 3, 3)

    def test_axes_come_from_the_data_format(self, version: str) -> None:
        nodes = encoded("channels_first", version).all_layers
        assert [node.receptive_field_max for node in nodes[:3]] == [(1, 1), (3, 3), (4, 4)]

    def test_one_dimensional_models_have_one_axis(self, version: str) -> None:
        nodes = encoded("conv13d", version).all_layers
        assert nodes[1].layer_info.padding == ((4, 0),)
        assert [node.receptive_field_max for node in nodes[:3]] == [(1,), (5,), (7,)]

    def test_a_sequential_without_input_gets_one(self, version: str) -> None:
        nodes = encoded("seq_noinput", version).all_layers
        assert nodes[0].layer_info.name == "InputLayer"
        assert nodes[1].receptive_field_max == (3, 3)

    def test_sizes_that_the_model_leaves_open_are_no_hindrance(self, version: str) -> None:
        nodes = encoded("none_in", version).all_layers
        assert [node.receptive_field_max for node in nodes[:2]] == [(1, 1), (3, 3)]


def test_geometry_of_all_kinds_of_spatial_layers() -> None:
    nodes = {node.name: node for node in encoded("zoo_spatial").all_layers}
    layer = {name: node.layer_info for name, node in nodes.items()}
    assert layer["zp"].padding == ((1, 2), (0, 3))
    assert layer["crop"].padding == ((-1, 0), (-2, -1))
    assert (layer["conv"].kernel_size, layer["conv"].stride_size) == ((3, 5), (2, 1))
    assert layer["conv"].padding == ((0, 1), (2, 2))
    assert (layer["dw"].filters, layer["sep"].dilation) == (16, (2, 2))
    assert layer["ct"].upsampling == (2, 2)
    assert (layer["ct"].kernel_size, layer["ct"].stride_size) == ((4, 4), (1, 1))
    assert (layer["up"].kernel_size, layer["up"].upsampling) == ((4, 6), (2, 3))
    assert layer["ap"].padding == ((0, 1), (0, 1))
    assert all(node.kernel_size == (1, 1) for name, node in nodes.items() if "drop" in name)
    assert nodes["fc"].layer_info.units == 3
