"""The stored form of a graph is lossless, and damage is named."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox.errors import GraphFormatError, InvalidGraphError, InvalidLayerError
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    LayerDefinition,
    Measures,
    filter_all_rf_info_with_infinite_receptive_field,
    naive_minmax_filter,
    noop_filter,
)


def per_axis(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, st.tuples(values, values))


counts = st.one_of(st.none(), st.integers(0, 5000))
sides = st.integers(-2, 4)
layers = st.builds(
    LayerDefinition,
    name=st.text(max_size=5),
    kernel_size=per_axis(st.one_of(st.none(), st.integers(1, 7))),
    stride_size=per_axis(st.integers(1, 3)),
    filters=counts,
    units=counts,
    dilation=per_axis(st.integers(1, 3)),
    padding=st.one_of(
        st.none(), sides, st.tuples(*[st.one_of(st.none(), st.tuples(sides, sides))] * 2)
    ),
    upsampling=per_axis(st.integers(1, 3)),
    shortest_kernel_size=st.one_of(
        st.none(), per_axis(st.one_of(st.just(math.inf), st.integers(1, 3)))
    ),
    resolution_dependent=st.booleans(),
    position_dependent=st.booleans(),
)
sizes = st.one_of(st.none(), st.tuples(st.integers(0, 500), st.integers(0, 500)))
measures = st.builds(
    Measures,
    encoded_resolution=sizes,
    feature_map=sizes,
    parameters=counts,
    work=st.one_of(
        st.none(),
        st.lists(
            st.tuples(st.integers(0, 10**12), st.tuples(st.integers(0, 2), st.integers(0, 2)))
        ),
    ),
)
filters = st.sampled_from(
    (noop_filter, naive_minmax_filter, filter_all_rf_info_with_infinite_receptive_field)
)


@st.composite
def graphs(draw: st.DrawFn) -> list[EnrichedNetworkNode]:
    nodes: list[EnrichedNetworkNode] = []
    for position in range(draw(st.integers(1, 6))):
        before = [nodes[-1]] if position else []
        before += draw(st.lists(st.sampled_from(nodes), max_size=2)) if position else []
        nodes.append(
            EnrichedNetworkNode(
                draw(st.text(max_size=4)),
                draw(layers),
                before,
                draw(filters),
                draw(st.one_of(st.none(), st.text(max_size=4))),
                draw(st.sampled_from(("exact", "bound", "unknown"))),  # type: ignore[arg-type]
                draw(st.text(max_size=4)),
                measures=draw(measures),
            )
        )
    return nodes


def facts(nodes: list[EnrichedNetworkNode]) -> list[tuple[Any, ...]]:
    return [
        (
            node.name, node.layer_info, [nodes.index(one) for one in node.predecessors],
            node.receptive_field_info_filter, node.module_path, node.certainty,
            node.certainty_reason, node.measures, node.paths, node.lasting_paths, node.axes,
        )
        for node in nodes
    ]  # fmt: skip


@settings(max_examples=150)
@given(graphs(), st.data())
def test_json_keeps_everything(nodes: list[EnrichedNetworkNode], data: st.DataObject) -> None:
    handle = data.draw(st.sampled_from(nodes))
    text = json.dumps(handle.to_dict(), allow_nan=False)
    stored = EnrichedNetworkNode.from_dict(json.loads(text))
    assert facts(stored.all_layers) == facts(nodes)
    assert stored.all_layers.index(stored) == nodes.index(handle)
    assert stored.to_dict() == handle.to_dict()


@given(layers)
def test_a_layer_comes_back_from_its_dict(layer: LayerDefinition) -> None:
    assert LayerDefinition.from_dict(json.loads(json.dumps(layer.to_dict()))) == layer


def test_a_layer_of_1_7_0_is_read() -> None:
    layer = LayerDefinition.from_dict(
        {"name": "Conv", "kernel_size": 3, "stride_size": 1, "filters": 64, "units": None}
    )
    assert layer == LayerDefinition("Conv", 3, 1, filters=64)


def test_a_restored_graph_lives_with_any_of_its_nodes() -> None:
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1), [])
    end = EnrichedNetworkNode("end", LayerDefinition("Conv", 3), [image])
    assert end.name == "end"
    first = EnrichedNetworkNode.from_dict(image.to_dict())
    assert [node.name for node in first.all_layers] == ["image", "end"]


# --- damage ----------------------------------------------------------------------------------


@pytest.fixture
def stored() -> dict[str, Any]:
    first = EnrichedNetworkNode("first", LayerDefinition("Conv", 3), [])
    return EnrichedNetworkNode("second", LayerDefinition("Conv", 3), [first]).to_dict()


def test_nodes_may_be_stored_in_any_order(stored: dict[str, Any]) -> None:
    stored["nodes"].reverse()
    stored["nodes"][0]["predecessors"] = [1]
    stored["node"] = 0
    assert EnrichedNetworkNode.from_dict(stored).receptive_field_max == 5


def put(path: tuple[Any, ...], value: Any) -> Any:
    def damage(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return damage


def drop(path: tuple[Any, ...]) -> Any:
    def damage(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (put(("version",), 99), "version 99"),
        (put(("version",), "1"), "version '1'"),
        (put(("format",), "png"), "'png'"),
        (put(("nodes",), {}), r"nodes=\{\}"),
        (put(("nodes",), []), r"nodes=\[\]"),
        (put(("nodes",), "text"), "nodes='text'"),
        (put(("nodes", 0), 7), "Node 0 is 7"),
        (put(("nodes", 0, "predecessors"), [1]), r"cycle.*'first', 'second'"),
        (put(("nodes", 0, "predecessors"), [0]), r"cycle.*'first'"),
        (put(("nodes", 1, "predecessors"), [5]), "predecessor 5, which is missing"),
        (put(("nodes", 1, "predecessors"), [-1]), "predecessor -1"),
        (put(("nodes", 1, "predecessors"), [True]), "predecessor True"),
        (put(("nodes", 1, "predecessors"), ["first"]), "predecessor 'first'"),
        (put(("nodes", 1, "predecessors"), 0), "predecessors.*0"),
        (put(("nodes", 1, "predecessors"), None), "predecessors.*None"),
        (put(("nodes", 1, "filter"), "best"), "'best'.*'inf'"),
        (put(("nodes", 1, "filter"), ["inf"]), r"\['inf'\]"),
        (put(("nodes", 1, "name"), 3), "name.*3"),
        (put(("nodes", 1, "module_path"), 3), "module_path.*3"),
        (put(("nodes", 1, "certainty"), "sure"), "'sure'"),
        (put(("nodes", 1, "certainty"), ["exact"]), r"\['exact'\]"),
        (put(("nodes", 1, "certainty_reason"), 3), "certainty_reason.*3"),
        (put(("nodes", 1, "layer"), 3), "layer.*3"),
        (put(("nodes", 1, "layer", "kernel_size"), -3), "-3"),
        (put(("nodes", 1, "layer", "kernel_size"), {"a": 1}), "kernel"),
        (put(("nodes", 1, "layer", "name"), None), "name.*None"),
        (put(("nodes", 1, "layer", "padding"), "same"), "'same'"),
        (put(("nodes", 1, "layer", "resolution_dependent"), "no"), "'no'"),
        (put(("nodes", 1, "layer", "colour"), "red"), r"\['colour'\]"),
        (put(("node",), 2), "own node is 2"),
        (put(("node",), "second"), "own node is 'second'"),
        (put(("node",), [1]), r"own node is \[1\]"),
        (drop(("version",)), "no 'version'"),
        (drop(("format",)), "no 'format'"),
        (drop(("nodes",)), "no 'nodes'"),
        (drop(("nodes", 0, "name")), "no 'name'"),
        (drop(("nodes", 0, "layer")), "no 'layer'"),
        (drop(("nodes", 0, "predecessors")), "no 'predecessors'"),
        (drop(("nodes", 0, "layer", "name")), "'name'"),
    ],
)
def test_damage_is_a_value_error_that_quotes_it(
    stored: dict[str, Any], damage: Any, message: str
) -> None:
    damage(stored)
    with pytest.raises(GraphFormatError, match=message):
        EnrichedNetworkNode.from_dict(stored)


@pytest.mark.parametrize("config", [None, [], 3, "graph", {}])
def test_what_is_no_graph_at_all_is_refused(config: Any) -> None:
    with pytest.raises(GraphFormatError):
        EnrichedNetworkNode.from_dict(config)


def test_axes_that_do_not_fit_are_a_damage_too(stored: dict[str, Any]) -> None:
    stored["nodes"][0]["layer"]["kernel_size"] = [3, 3]
    stored["nodes"][1]["layer"]["kernel_size"] = [3, 3, 3]
    with pytest.raises(GraphFormatError, match="different numbers of axes"):
        EnrichedNetworkNode.from_dict(stored)


def test_reading_changes_nothing(stored: dict[str, Any]) -> None:
    before = copy.deepcopy(stored)
    EnrichedNetworkNode.from_dict(stored)
    assert stored == before


def test_a_filter_of_a_user_cannot_be_stored() -> None:
    node = EnrichedNetworkNode("own", LayerDefinition("Conv", 3), [], lambda infos: infos)
    with pytest.raises(GraphFormatError, match=r"'own'.*'minmax'"):
        node.to_dict()


# --- measures --------------------------------------------------------------------------------


def test_a_file_without_measures_is_read() -> None:
    node = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [])
    stored = node.to_dict()
    assert stored["nodes"][0].pop("measures") is None
    old = EnrichedNetworkNode.from_dict(stored)
    assert (old.parameters, old.multiply_accumulates, old.feature_map) == (None, None, None)


def test_copies_keep_measures() -> None:
    known = Measures((8, 8), (4, 4), 10, [(640, (1, 1)), (3, (0, 0))])
    node = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [], measures=known)
    for twin in (copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        assert twin is not node
        assert twin.measures == known
        assert twin.multiply_accumulates == 643
        assert twin.receptive_field_max == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parameters": -1}, "number of parameters of a node.*-1"),
        ({"parameters": (3, 4)}, "one whole number"),
        ({"feature_map": 7}, "7.*one number per axis"),
        ({"feature_map": (7, 1.5)}, "1.5"),
        ({"encoded_resolution": "32"}, "one number per axis"),
        ({"work": 5}, r"5; it must be a sequence of pairs"),
        ({"work": [(5, (1, -1))]}, "-1"),
        ({"feature_map": (7,), "encoded_resolution": (7, 7)}, "different numbers of axes"),
        ({"feature_map": (7,), "work": [(7, (1, 1))]}, "different numbers of axes"),
    ],
)
def test_measures_that_nothing_can_have(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidLayerError, match=message):
        Measures(**values)
    layer = LayerDefinition("Conv", 3)
    damaged = EnrichedNetworkNode("conv", layer, []).to_dict()
    damaged["nodes"][0]["measures"] = values
    with pytest.raises(GraphFormatError, match=message):
        EnrichedNetworkNode.from_dict(damaged)


@pytest.mark.parametrize("measures", [3, {"flops": 3}])
def test_measures_of_another_form_are_refused(measures: Any) -> None:
    damaged = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), []).to_dict()
    damaged["nodes"][0]["measures"] = measures
    with pytest.raises(GraphFormatError, match="none but the keys"):
        EnrichedNetworkNode.from_dict(damaged)
    with pytest.raises(InvalidGraphError, match="must be Measures"):
        EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [], measures=measures)


@pytest.mark.parametrize("value", [LayerDefinition("Conv", 3), Measures((8,), parameters=2)])
def test_a_pickle_of_an_earlier_release_has_defaults_for_what_it_did_not_know(value: Any) -> None:
    state = value.__getstate__()
    newest = list(state)[-1]
    del state[newest]
    twin = object.__new__(type(value))
    twin.__setstate__(state)
    assert twin == value
