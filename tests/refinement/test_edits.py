"""Edits of a graph: what they change, what they leave, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rfa_toolbox import input_resolution_range
from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures
from rfa_toolbox.refinement import (
    CutBehind,
    Edit,
    InsertPooling,
    Rebuild,
    Refinement,
    RemovePooling,
    Repeat,
    SetWindow,
    edit,
    refinement_of,
)
from rfa_toolbox.refinement.contracted import Contracted
from rfa_toolbox.refinement.edits import edit_from_dict, edit_to_dict

EDITS: tuple[Edit, ...] = (
    SetWindow("conv", stride=1, kernel=(3, 5)),
    RemovePooling("pool"),
    InsertPooling("conv", 3),
    CutBehind("conv"),
    Repeat("layer1.1", 3),
    Rebuild({"layers": [1, 2]}),
)


def chain(*layers: tuple[str, str, int, int, int], size: int = 32) -> EnrichedNetworkNode:
    """Return a chain of (name, kind, kernel, stride, padding) on an image of some size."""
    last: list[EnrichedNetworkNode] = []
    for name, kind, kernel, stride, padding in layers:
        units = (size + 2 * padding - kernel) // stride + 1
        work = [(units * units * 8 * kernel * kernel, (1, 1))] if kind == "Conv2d" else []
        both = ((padding, padding),) * 2
        layer = LayerDefinition(kind, (kernel,) * 2, (stride,) * 2, filters=8, padding=both)
        measures = Measures((32, 32), (units, units), 8 * kernel * kernel, work)
        last = [EnrichedNetworkNode(name, layer, last, measures=measures)]
        size = units
    return last[0]


def network() -> EnrichedNetworkNode:
    body = chain(
        ("stem", "Conv2d", 3, 2, 1), ("pool", "MaxPool2d", 2, 2, 0), ("conv", "Conv2d", 3, 2, 1)
    )
    measures = Measures((32, 32), (1, 1), 0, [])
    layer = LayerDefinition("AdaptiveAvgPool2d", (None, None), (1, 1))
    return EnrichedNetworkNode("head", layer, [body], measures=measures)


def found(graph: EnrichedNetworkNode, name: str) -> EnrichedNetworkNode:
    return next(node for node in graph.all_layers if node.name == name)


def test_a_stride_changes_the_maps_behind_it_and_their_compute_alone() -> None:
    graph = network()
    edited = edit(graph, [SetWindow("conv", stride=1)])
    assert found(edited, "stem").measures == found(graph, "stem").measures
    assert found(edited, "conv").feature_map == (8, 8)
    assert found(edited, "conv").multiply_accumulates == 4 * (
        found(graph, "conv").multiply_accumulates or 0
    )
    assert found(edited, "conv").parameters == found(graph, "conv").parameters
    assert [one.name for one in edited.all_layers] == [one.name for one in graph.all_layers]


def test_the_given_graph_stays_as_it_is() -> None:
    graph = network()
    before = graph.to_dict()
    edit(graph, [SetWindow("stem", stride=1), RemovePooling("pool")])
    assert graph.to_dict() == before


def test_no_edit_gives_an_equal_graph() -> None:
    graph = network()
    assert edit(graph, []).to_dict() == graph.to_dict()


def test_an_unpadded_pooling_whose_kernel_is_its_stride_keeps_it_so() -> None:
    edited = edit(network(), [SetWindow("pool", stride=1)])
    assert found(edited, "pool").kernel_size == (1, 1)


def test_padding_that_keeps_the_size_of_a_map_follows_the_kernel() -> None:
    edited = edit(network(), [SetWindow("stem", kernel=5, stride=1)])
    assert found(edited, "stem").feature_map == (32, 32)
    assert found(edited, "stem").layer_info.padding == ((2, 2), (2, 2))


def test_poolings_move() -> None:
    edited = edit(network(), [RemovePooling("pool"), InsertPooling("conv")])
    assert [one.name for one in edited.all_layers] == ["stem", "conv", "conv/pooling", "head"]
    assert found(edited, "conv").feature_map == (8, 8)
    assert found(edited, "conv/pooling").feature_map == (4, 4)


def test_several_poolings_stand_behind_a_layer_in_their_order() -> None:
    edited = edit(network(), [InsertPooling("conv", 4), InsertPooling("conv", 1)])
    assert found(edited, "conv/pooling").layer_info.kernel_size == (4, 4)
    assert found(edited, "conv/pooling/pooling").layer_info.kernel_size == (1, 1)


def test_a_cut_leaves_the_head_behind_the_layer() -> None:
    edited = edit(network(), [CutBehind("stem")])
    assert [one.name for one in edited.all_layers] == ["stem", "head"]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([SetWindow("convv", stride=1)], "no layer 'convv'.*'conv'"),
        ([SetWindow("head", stride=2)], "'head' has no stride"),
        ([RemovePooling("conv")], "only poolings"),
        ([CutBehind("head")], "in front of the head"),
        ([Rebuild({})], "constructor"),
        ([SetWindow("pool", kernel=64)], "does not fit"),
        ([Repeat("stem")], "No block ends at 'stem'"),
        ([Repeat("conv")], "No block ends at 'conv'"),
        ([Repeat("layer1")], "no layer 'layer1'"),
        (["stem"], "An edit is 'stem'; it must be one of"),
        ([RemovePooling("pool"), RemovePooling("pool")], "'no pool' is there twice"),
        ([SetWindow("pool", stride=1), RemovePooling("pool")], "cannot both be made"),
        ([SetWindow("conv", stride=1), SetWindow("conv", stride=2)], "cannot both be made"),
        ([CutBehind("stem"), CutBehind("pool")], "cannot both be made"),
        ([InsertPooling("conv", 64)], "does not fit behind 'conv'"),
    ],
)
def test_what_cannot_be_is_refused(edits: list[Edit], message: str) -> None:
    with pytest.raises(RefinementError, match=message):
        edit(network(), edits)


def test_a_block_stands_there_as_often_as_is_wished() -> None:
    graph = resnet18()
    last = "Stage1-Block1-Addition"
    assert edit(graph, [Repeat(last, 1)]).to_dict() == graph.to_dict()
    names = [one.name for one in graph.all_layers if one.name.startswith("Stage1-Block1")]
    thrice = edit(graph, [Repeat(last, 3)])
    copies = [f"{name}_{number}" for number in (2, 3) for name in names]
    at = [one.name for one in thrice.all_layers].index(last)
    assert [one.name for one in thrice.all_layers][at + 1 : at + 1 + len(copies)] == copies
    # Two more blocks of two 3x3 convolutions at a jump of 8 pixels.
    growth = found(thrice, copies[-1]).receptive_field_max - found(graph, last).receptive_field_max
    assert growth == 2 * 2 * 2 * 8
    without = edit(graph, [Repeat(last, 0)])
    assert len(without.all_layers) == len(graph.all_layers) - len(names)


@pytest.mark.parametrize("value", [-1, 1.5, "2", True, None, 10**12])
def test_a_block_stands_there_a_whole_number_of_times(value: Any) -> None:
    with pytest.raises(RefinementError, match="whole number up to 1000, 0 to leave it out"):
        Repeat("layer1.1", value)


def test_a_stride_of_one_branch_alone_is_refused_with_what_has_to_change_together() -> None:
    start = chain(("stem", "Conv2d", 3, 1, 1))
    measures = Measures((32, 32), (16, 16), 0, [])

    def branch(name: str) -> EnrichedNetworkNode:
        layer = LayerDefinition("Conv2d", (1, 1), (2, 2), padding=((0, 0), (0, 0)))
        return EnrichedNetworkNode(name, layer, [start], measures=measures)

    join = LayerDefinition("add", (1, 1), (1, 1), padding=((0, 0), (0, 0)))
    graph = EnrichedNetworkNode("sum", join, [branch("left"), branch("right")], measures=measures)
    with pytest.raises(RefinementError, match=r"'sum' would read.*left and right"):
        edit(graph, [SetWindow("left", stride=1)])
    both = edit(graph, [SetWindow("left", stride=1), SetWindow("right", stride=1)])
    assert both.feature_map == (32, 32)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True, [], [2, 0]])
def test_windows_are_positive_whole_numbers(value: Any) -> None:
    with pytest.raises(RefinementError, match="positive whole number"):
        SetWindow("conv", stride=value)


def test_a_refinement_comes_back_from_json_as_it_was(tmp_path: Any) -> None:
    graph = resnet18()
    names = [one.name for one in graph.all_layers]
    made = refinement_of(graph, [SetWindow(names[1], stride=1)], 32, "by hand", "nowhere")
    made.save(tmp_path / "refinement.json")
    again = Refinement.load(tmp_path / "refinement.json")
    assert again == made
    again.check(resnet18())
    assert json.loads((tmp_path / "refinement.json").read_text())["version"] == 1


@pytest.mark.parametrize("one", EDITS)
def test_every_edit_comes_back_from_json_as_it_was(one: Edit) -> None:
    config = json.loads(json.dumps(edit_to_dict(one)))
    assert edit_from_dict(config) == one


@pytest.mark.parametrize(
    "damage",
    [
        {"format": "other"},
        {"version": 2},
        {"edits": [{"kind": "unknown"}]},
        {"edits": [{"kind": "window", "node": 3}]},
        {"edits": [{"kind": "window"}]},
        {"edits": [{"kind": ["window"], "node": "conv1"}]},
        {"edits": [{"kind": "rebuild", "arguments": [1]}]},
        {"edits": "none"},
        {"layers": "none"},
        {"encoded_res": [10**7, 10**7]},
        {"before": 3},
    ],
)
def test_a_damaged_refinement_is_one_clear_error(damage: dict[str, Any]) -> None:
    config = refinement_of(resnet18(), [], 32).to_dict() | damage
    with pytest.raises(RefinementError):
        Refinement.from_dict(config)


def test_a_refinement_of_another_architecture_is_refused() -> None:
    made = refinement_of(resnet18(), [], 32)
    with pytest.raises(RefinementError, match="another architecture"):
        made.check(network())


def test_fields_follow_strides() -> None:
    graph = resnet18()
    stem = graph.all_layers[1].name
    assert input_resolution_range(edit(graph, [SetWindow(stem, stride=1)]))[0] == (73, 73)


def test_what_becomes_of_weights_is_told_also_where_nobody_counted_them() -> None:
    graph = resnet18()
    stem = graph.all_layers[1].name
    assert refinement_of(graph, [SetWindow(stem, stride=1)], 32).weights == "kept"
    assert refinement_of(graph, [SetWindow(stem, kernel=3)], 32).weights == "new"


def test_a_layer_that_is_called_several_times_changes_in_all_of_its_calls() -> None:
    graph = chain(
        ("conv", "Conv2d", 3, 2, 1), ("conv#2", "Conv2d", 3, 2, 1), ("last", "Conv2d", 3, 2, 1)
    )
    edited = edit(graph, [SetWindow("conv#2", stride=1)])
    assert [node.layer_info.stride_size for node in edited.all_layers] == [(1, 1), (1, 1), (2, 2)]
    contracted = Contracted(graph.all_layers).estimate([SetWindow("conv", stride=1)])
    assert contracted.strict == input_resolution_range(edited)[0][0]


def test_calls_in_code_of_the_same_kind_are_no_calls_of_one_layer() -> None:
    graph = chain(
        ("block/max_pool2d", "max_pool2d", 2, 2, 0), ("block/max_pool2d#2", "max_pool2d", 2, 2, 0)
    )
    edited = edit(graph, [SetWindow("block/max_pool2d", stride=1)])
    assert [node.layer_info.stride_size for node in edited.all_layers] == [(1, 1), (2, 2)]


def test_a_window_of_other_axes_is_refused_with_the_layer() -> None:
    with pytest.raises(RefinementError, match=r"'conv' would get \(1, 1, 1\), and it has 2 axes"):
        edit(network(), [SetWindow("conv", stride=(1, 1, 1))])
