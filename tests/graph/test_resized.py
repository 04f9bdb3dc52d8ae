"""A model that resizes any image to one size lives at that size."""

from __future__ import annotations

import math

import attrs

from rfa_toolbox import input_resolution_range
from rfa_toolbox.analysis import find_smallest_resolution_with_no_unproductive_layer
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures

RESIZE = LayerDefinition(
    "Resize", (30, 30), (16, 16), upsampling=(15, 15), padding=((14, None), (14, None)),
    resolution_dependent=True, position_dependent=True,
)  # fmt: skip
RESIZED = Measures((320, 320), (300, 300))


def stacked(*before: EnrichedNetworkNode) -> EnrichedNetworkNode:
    last = EnrichedNetworkNode("conv0", LayerDefinition("Conv", (3, 3), 2, padding=1), before)
    return EnrichedNetworkNode("conv1", LayerDefinition("Conv", (7, 7), 1, padding=3), [last])


def image() -> EnrichedNetworkNode:
    return EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])


def resized(*before: EnrichedNetworkNode) -> EnrichedNetworkNode:
    return EnrichedNetworkNode("resize", RESIZE, before, measures=RESIZED)


def lasting(graph: EnrichedNetworkNode) -> list[object]:
    return [
        (node.lasting_receptive_fields, [node.state(size) for size in (3, 8, 12, 30)])
        for node in graph.all_layers
    ]


def test_what_lasts_is_that_of_the_network_with_the_resized_image_for_its_input():
    plain, behind = stacked(image()), stacked(resized())
    assert lasting(plain) == lasting(behind)
    assert input_resolution_range(plain) == input_resolution_range(behind)
    assert {node.resized_to for node in plain.all_layers} == {None}
    assert {node.resized_to for node in behind.all_layers} == {(300, 300)}
    smallest = find_smallest_resolution_with_no_unproductive_layer
    assert smallest(plain) == smallest(behind)


def test_the_extent_at_this_size_is_in_pixels_of_the_image_itself():
    double = LayerDefinition(
        "Resize", (2, 2), 1, upsampling=2, padding=((1, None), (1, None)), resolution_dependent=True
    )
    made = EnrichedNetworkNode("resize", double, [], measures=Measures((32, 32), (64, 64)))
    conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, padding=1), [made])
    assert conv.receptive_field_max == conv.window.size == (2, 2)
    assert conv.lasting_receptive_fields == ((3, 3), (3, 3))


def test_only_what_has_looked_at_nothing_is_the_image():
    scaled = EnrichedNetworkNode("scale", LayerDefinition("Mul", 1, 1), [image()])
    assert stacked(resized(scaled)).resized_to == (300, 300)
    seen = EnrichedNetworkNode("conv", LayerDefinition("Conv", (3, 3), padding=1), [image()])
    late = stacked(resized(seen))
    assert late.resized_to is None
    assert late.lasting_receptive_fields == ((math.inf, math.inf), (math.inf, math.inf))


def test_an_image_that_has_the_size_already_is_resized_all_the_same():
    layer = LayerDefinition("Resize", (1, 1), 1, resolution_dependent=True)
    same = EnrichedNetworkNode("resize", layer, [], measures=Measures((300, 300), (300, 300)))
    assert same.resized_to == (300, 300)
    assert lasting(stacked(same)) == lasting(stacked(resized()))


def test_a_crop_a_single_unit_or_an_unknown_size_is_no_resized_image():
    for layer, measures in (
        (LayerDefinition("Crop", (1, 1), 1, resolution_dependent=True), RESIZED),
        (RESIZE, Measures((320, 320), (1, 300))),
        (RESIZE, Measures()),
        (attrs.evolve(RESIZE, resolution_dependent=False), RESIZED),
    ):
        assert EnrichedNetworkNode("x", layer, [], measures=measures).resized_to is None


def test_maps_of_the_image_and_of_the_resized_one_have_no_common_measure():
    start = image()
    both = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [start, resized(start)])
    assert both.resized_to is None
    assert both.lasting_receptive_fields == ((1, 1), (math.inf, math.inf))
    alone = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [resized(start)] * 2)
    assert (alone.resized_to, alone.lasting_receptive_fields[1]) == ((300, 300), (1, 1))
