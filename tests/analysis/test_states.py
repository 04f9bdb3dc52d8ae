"""Lists of layers by state, and the resolutions at which states change."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox import analysis
from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.architectures.vgg import vgg16
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.utils import graph_utils


@st.composite
def graphs(draw: st.DrawFn) -> EnrichedNetworkNode:
    """A connected graph whose fields are small enough for a search by brute force."""
    axes = draw(st.sampled_from((None, 1, 2)))

    def number(values: st.SearchStrategy[int | None]) -> object:
        return draw(values) if axes is None else draw(st.tuples(*[values] * axes))

    nodes: list[EnrichedNetworkNode] = []
    for position in range(draw(st.integers(1, 7))):
        layer = LayerDefinition(
            "Layer",
            number(st.sampled_from((1, 1, 2, 3, 5, 5, None))),
            number(st.integers(1, 2)),
            upsampling=number(st.sampled_from((1, 1, 1, 2))),
            resolution_dependent=draw(st.integers(0, 9)) == 0,
        )
        before = draw(st.lists(st.sampled_from(nodes), max_size=2, unique=True)) if nodes else []
        before = [nodes[-1], *(one for one in before if one is not nodes[-1])] if nodes else []
        nodes.append(EnrichedNetworkNode(str(position), layer, before))
    return nodes[-1]


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_smallest_resolution_is_the_one_that_a_search_finds(graph: EnrichedNetworkNode) -> None:
    found = analysis.find_smallest_resolution_with_no_unproductive_layer(graph)
    assert type(found) is int
    assert analysis.obtain_border_layers(graph, found) == []
    assert all(analysis.obtain_border_layers(graph, pixels) for pixels in range(1, found))


@settings(deadline=None)
@given(graphs(), st.integers(1, 80), st.booleans())
def test_a_layer_is_unproductive_up_to_its_unproductive_resolution(
    graph: EnrichedNetworkNode, pixels: int, spare_1x1: bool
) -> None:
    for node in graph.all_layers:
        limit = node.unproductive_resolution(filter_kernel_size_1=spare_1x1)
        assert node.is_border(pixels, filter_kernel_size_1=spare_1x1) == (pixels <= limit)
        if not spare_1x1:
            assert analysis.unproductive_resolution(node) == limit


@settings(deadline=None)
@given(graphs(), st.integers(1, 60))
def test_every_layer_is_in_exactly_one_list(graph: EnrichedNetworkNode, pixels: int) -> None:
    lists = [
        analysis.unproductive_layers(graph, pixels),
        analysis.critical_layers(graph, pixels),
        analysis.partially_critical_layers(graph, pixels),
    ]
    together = [node for layers in lists for node in layers]
    assert len(together) == len(set(together))
    rest = [node for node in graph.all_layers if node not in together]
    assert all(node.state(pixels) == "productive" for node in rest)
    assert set(analysis.underutilized_layers(graph, pixels)) == {*lists[1], *lists[2]}


def test_dense_layers_are_left_out_on_request() -> None:
    graph = vgg16()
    dense = graph.all_layers[-3:]
    assert analysis.unproductive_layers(graph, 32)[-3:] == dense
    assert not set(analysis.obtain_border_layers(graph, 32)) & set(dense)
    assert analysis.obtain_border_layers(graph, 32, filter_dense=False)[-3:] == dense
    assert graph.is_in(analysis.obtain_all_critical_layers(graph, 1000, filter_dense=False))


def test_any_node_of_the_graph_may_be_asked() -> None:
    graph = resnet18()
    image = graph.all_layers[0]
    assert analysis.obtain_border_layers(image, 32) == analysis.obtain_border_layers(graph, 32)
    assert analysis.obtain_all_nodes(image)[-1] is graph


def test_1x1_layers_can_be_spared() -> None:
    wide = EnrichedNetworkNode("wide", LayerDefinition("Conv", 9, 1), [])
    point = EnrichedNetworkNode("point", LayerDefinition("Conv", (1, 1), 1), [wide])
    assert analysis.unproductive_layers(point, 8) == [wide, point]
    assert analysis.unproductive_layers(point, 8, filter_kernel_size_1=True) == [wide]


def test_the_feature_extractor_ends_where_everything_is_seen_on_all_axes() -> None:
    rows = EnrichedNetworkNode("rows", LayerDefinition("Pool", (None, 1)), [])
    both = EnrichedNetworkNode("both", LayerDefinition("Pool", (1, None)), [rows])
    assert analysis.filters_non_convolutional_node([rows, both]) == [rows]


def test_sizes_with_an_infinite_axis_are_filtered() -> None:
    assert analysis.filters_non_infinite_rf_sizes([(3, math.inf), 5, math.inf]) == [5]


@pytest.mark.parametrize(
    ("layer", "expands"),
    [
        (LayerDefinition("Conv", 3), True),
        (LayerDefinition("Conv", (1, 3)), True),
        (LayerDefinition("Conv", 1, 2), False),
        (LayerDefinition("Pool"), True),
        (LayerDefinition("Nearest", 2, upsampling=2), False),
        (LayerDefinition("ConvTranspose", 4, upsampling=2), True),
    ],
)
def test_layers_that_expand(layer: LayerDefinition, expands: bool) -> None:
    node = EnrichedNetworkNode("node", layer, [])
    assert analysis.filter_layers_not_expanding_receptive_field([node]) == [node] * expands


def test_a_graph_of_dense_layers_has_no_unproductive_layer_at_any_resolution() -> None:
    dense = EnrichedNetworkNode("dense", LayerDefinition("Dense"), [])
    assert analysis.find_smallest_resolution_with_no_unproductive_layer(dense) == 1


@pytest.mark.parametrize("resolution", [0, (32, 32, 32), "32", None])
@pytest.mark.parametrize(
    "question",
    [
        analysis.obtain_border_layers,
        analysis.obtain_all_critical_layers,
        analysis.critical_layers,
        analysis.analyze,
    ],
)
def test_a_resolution_that_does_not_fit_is_quoted(question: object, resolution: object) -> None:
    graph = EnrichedNetworkNode("conv", LayerDefinition("Conv", (3, 3)), [])
    with pytest.raises(InvalidResolutionError) as caught:
        question(graph, resolution)  # type: ignore[operator]
    assert repr(resolution) in str(caught.value)


def test_the_door_leads_to_the_same_functions() -> None:
    for name in graph_utils.__all__:
        assert getattr(graph_utils, name) is getattr(analysis, name)
