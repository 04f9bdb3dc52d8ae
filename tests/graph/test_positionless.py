"""Inputs without a place in the image, and what is computed from them alone, are no path."""

from __future__ import annotations

import json
import pickle

import pytest

from rfa_toolbox import analyze, input_resolution_range
from rfa_toolbox.analysis import misaligned_merges, tile_plan, total_costs
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures
from rfa_toolbox.vizualize import visualize_architecture


def network(conditioned: bool) -> EnrichedNetworkNode:
    """Return strided convolutions over an image, with a vector added behind each of them."""
    map_ = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    time = LayerDefinition("Input", 1, 1, positionless=True)
    vector = EnrichedNetworkNode("time", time, [])
    vector = EnrichedNetworkNode(
        "sines", LayerDefinition("Sin", 1, 1, position_dependent=True), [vector], certainty="bound"
    )
    for level in range(3):
        map_ = EnrichedNetworkNode(
            f"conv{level}", LayerDefinition("Conv", (3, 3), (2, 2), padding=1), [map_]
        )
        if conditioned:
            dense = LayerDefinition("Dense", 1, 1, ignored_global=True)
            shift = EnrichedNetworkNode(f"dense{level}", dense, [vector])
            offsets = [[(0, 0)], [(None, None)]]
            map_ = EnrichedNetworkNode(
                f"add{level}", LayerDefinition("Add", 1, 1), [map_, shift], offsets=offsets
            )
        else:
            map_ = EnrichedNetworkNode(f"add{level}", LayerDefinition("Add", 1, 1), [map_])
    return map_


def numbers(node: EnrichedNetworkNode) -> tuple[object, ...]:
    return (
        node.receptive_field_min, node.receptive_field_max, node.receptive_field_info, node.window,
        node.unit_windows, node.lasting_receptive_fields, node.certainty, node.state(4),
        node.unproductive_resolution(), node.unproductive_limits(), node.branches(0),
        node.get_maximum_scale_factor(), node.compute_feature_map_size(64),
    )  # fmt: skip


def test_the_layers_of_the_image_have_the_numbers_of_the_network_without_the_input():
    plain, conditioned = network(False), network(True)
    placed = [node for node in conditioned.all_layers if node.has_position]
    assert [numbers(node) for node in plain.all_layers] == [numbers(node) for node in placed]
    assert input_resolution_range(plain) == input_resolution_range(conditioned)
    assert misaligned_merges(conditioned) == []
    assert tile_plan(plain, 64, 40) == tile_plan(conditioned, 64, 40)


def test_what_is_computed_from_it_alone_has_no_field_and_no_state():
    floating = [node for node in network(True).all_layers if not node.has_position]
    assert [node.name for node in floating] == ["time", "sines", "dense0", "dense1", "dense2"]
    for node in floating:
        assert node.receptive_field_info == ()
        assert (node.receptive_field_min, node.receptive_field_max) == (0, 0)
        assert (node.window, node.certainty, node.certainty_reason) == (None, "exact", "")
        assert {node.state(size) for size in (1, 4, 10_000)} == {"productive"}
        assert node.unproductive_resolution() == 0


def test_a_kernel_that_is_made_of_it_leaves_the_field_of_the_layer():
    weights = EnrichedNetworkNode("w", LayerDefinition("Input", 1, 1, positionless=True), [])
    image = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", (5, 5), padding=2), [image, weights])
    assert (conv.receptive_field_min, conv.window.size) == ((5, 5), (5, 5))


def test_its_number_of_axes_is_its_own():
    tokens = EnrichedNetworkNode("t", LayerDefinition("Input", (1,), 1, positionless=True), [])
    image = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    assert EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [image, tokens]).axes == 2


@pytest.mark.parametrize("keep", [None, "inf", lambda infos: infos[:1]])
def test_filters_have_nothing_to_choose_from(keep):
    vector = EnrichedNetworkNode("v", LayerDefinition("Input", 1, positionless=True), [], keep)
    dense = EnrichedNetworkNode("d", LayerDefinition("Dense"), [vector], keep)
    assert dense.receptive_field_info == ()


def test_tables_and_pictures_say_so_and_give_no_colour():
    graph = network(True)
    table = analyze(graph, 4)
    assert [row.name for row in table.rows if not row.has_position][:2] == ["time", "sines"]
    assert not any(row.in_feature_extractor for row in table.rows if not row.has_position)
    assert sum("no position" in line for line in str(table).splitlines()) == 5
    picture = visualize_architecture(graph, "net", input_res=4).source
    assert picture.count("no position") == 5


def test_stored_forms_keep_it():
    graph = network(True)
    for other in (
        pickle.loads(pickle.dumps(graph)),
        EnrichedNetworkNode.from_dict(json.loads(json.dumps(graph.to_dict()))),
    ):
        assert [node.has_position for node in other.all_layers] == [
            node.has_position for node in graph.all_layers
        ]


def test_its_work_does_not_grow_with_the_image():
    image = EnrichedNetworkNode(
        "image", LayerDefinition("Input", (1, 1), 1), [], measures=Measures((8, 8), (8, 8))
    )
    vector = EnrichedNetworkNode(
        "dense",
        LayerDefinition("Dense", 1, positionless=True),
        [],
        measures=Measures((8, 8), (1, 1), 100, [(100, (1, 1))]),
    )
    conv = EnrichedNetworkNode(
        "conv",
        LayerDefinition("Conv", (3, 3), padding=1),
        [image, vector],
        measures=Measures((8, 8), (8, 8), 9, [(576, (1, 1))]),
    )
    assert total_costs(conv, 16).multiply_accumulates == 4 * 576 + 100
