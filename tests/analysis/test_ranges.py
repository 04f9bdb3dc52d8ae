"""The range of resolutions: every row of its definition, against enumeration and known results."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox.analysis import input_resolution_range
from rfa_toolbox.analysis.ranges import ranges_of_both_kinds
from rfa_toolbox.architectures.resnet import resnet18, resnet50
from rfa_toolbox.architectures.vgg import vgg16
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition


def node(*before: EnrichedNetworkNode, kernel: object = 3, **layer: object) -> EnrichedNetworkNode:
    return EnrichedNetworkNode("node", LayerDefinition("Layer", kernel, **layer), before)  # type: ignore[arg-type]


# --- the definition, by enumeration of paths --------------------------------------------------


def ends(one: EnrichedNetworkNode) -> Iterator[tuple[float, int]]:
    """Field and jump behind every single path to a node with scalar values."""
    layer = one.layer_info
    if not one.predecessors:
        before: list[tuple[float, int]] = [(1, 1)]
    else:
        before = [end for source in one.predecessors for end in ends(source)]
    for field, jump in before:
        if math.inf in (field, layer.kernel_size) or layer.resolution_dependent:
            yield math.inf, 1
        else:
            reach = layer.dilation * (layer.kernel_size - 1)
            yield field + reach * jump, jump * layer.stride_size


@st.composite
def graphs(draw: st.DrawFn) -> EnrichedNetworkNode:
    nodes: list[EnrichedNetworkNode] = []
    for position in range(draw(st.integers(1, 7))):
        before = draw(st.lists(st.sampled_from(nodes), max_size=2, unique=True)) if nodes else []
        if position and nodes[-1] not in before:
            before.append(nodes[-1])
        nodes.append(
            node(
                *before,
                kernel=draw(st.sampled_from((1, 2, 3, 5, None))),
                stride_size=draw(st.integers(1, 3)),
                dilation=draw(st.integers(1, 2)),
                resolution_dependent=draw(st.integers(0, 7)) == 0,
            )
        )
    return nodes[-1]


@settings(max_examples=200, deadline=None)
@given(graphs(), st.booleans(), st.booleans(), st.booleans(), st.sampled_from((None, True, False)))
def test_the_table_of_the_definition(
    graph: EnrichedNetworkNode, finite: bool, lower: bool, spare_1x1: bool, maps: bool | None
) -> None:
    behind = {one: list(ends(one)) for one in graph.all_layers}
    r_min = {one: min(field for field, _ in paths) for one, paths in behind.items()}
    extractor = [one for one in graph.all_layers if r_min[one] < math.inf]
    judged = [one for one in extractor if not (spare_1x1 and one.kernel_size == 1)]

    def in_front(one: EnrichedNetworkNode) -> list[float]:
        return [r_min[before] for before in one.predecessors] or [1]

    def jump_in_front(one: EnrichedNetworkNode) -> int:
        known = [
            jump for before in one.predecessors for field, jump in behind[before]
            if field < math.inf
        ]  # fmt: skip
        return max(known) if one.predecessors else 1

    own = max((r_min[one] for one in judged), default=1)
    inp = max((max(in_front(one)) for one in judged), default=1)
    exp = max((min(in_front(one)) for one in judged if one.kernel_size > 1), default=1)
    fm = max((one.kernel_size * jump_in_front(one) for one in judged), default=1)
    high = max(
        (f for one in extractor for f, _ in behind[one] if f < math.inf or not finite), default=1
    )
    low = exp if lower else own if finite else inp
    if maps or (maps is None and (finite or lower)):
        low = max(low, fm)
    assert input_resolution_range(
        graph, finite, spare_1x1, lower_bound=lower, feature_map_bound=maps
    ) == ((low, low), (max(low, high),) * 2)


# --- known results ----------------------------------------------------------------------------


def torchvision_resnet50() -> EnrichedNetworkNode:
    """ResNet50 with the stride on the 3x3 convolutions, as torchvision has it."""
    last = node(node(kernel=7, stride_size=2), stride_size=2)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = node(node(node(last, kernel=1), stride_size=stride), kernel=1)
            around = last if block else node(last, kernel=1, stride_size=stride)
            last = node(inner, around, kernel=1)
    return node(node(last, kernel=None), kernel=None)


def test_resnet50_as_in_the_documentation_of_the_predecessor() -> None:
    graph = torchvision_resnet50()
    assert input_resolution_range(graph, filter_all_inf_rf=False) == ((75, 75), (427, 427))
    assert input_resolution_range(graph) == ((96, 96), (427, 427))
    assert input_resolution_range(graph, False, feature_map_bound=True) == ((96, 96), (427, 427))
    assert input_resolution_range(graph, feature_map_bound=False) == ((75, 75), (427, 427))


def test_rows_of_1_7_0() -> None:
    assert input_resolution_range(resnet18()) == ((139, 139), (435, 435))
    assert input_resolution_range(resnet18(), lower_bound=True) == ((96, 96), (435, 435))
    assert input_resolution_range(vgg16()) == ((212, 212), (212, 212))
    assert input_resolution_range(vgg16(), lower_bound=True) == ((196, 196), (212, 212))
    assert input_resolution_range(vgg16(), False) == ((196, 196), (212, 212))
    assert input_resolution_range(resnet50(), False)[1] == (483, 483)


def alexnet() -> EnrichedNetworkNode:
    last = node(kernel=11, stride_size=4)
    for kernel, stride in ((3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)):
        last = node(last, kernel=kernel, stride_size=stride)
    last = node(last, kernel=2, stride_size=2, resolution_dependent=True)  # adaptive, at 399 px
    return node(last, kernel=None)


def test_adaptive_pooling_is_infinite_whatever_resolution_it_was_seen_at() -> None:
    assert input_resolution_range(alexnet()) == ((195, 195), (195, 195))
    assert input_resolution_range(alexnet(), lower_bound=True) == ((163, 163), (195, 195))


def test_infinite_paths_count_only_when_they_are_not_left_out() -> None:
    image = node(kernel=1)
    gated = node(node(image), node(node(image, kernel=None), kernel=1), kernel=1)
    assert input_resolution_range(gated) == ((3, 3), (3, 3))
    assert input_resolution_range(gated, False) == ((math.inf,) * 2, (math.inf,) * 2)
    assert input_resolution_range(gated, False, lower_bound=True) == ((3, 3), (math.inf,) * 2)


def test_the_smallest_never_exceeds_the_largest() -> None:
    """1.7.0 could return such a range: the map bound of a pooling behind a large stride."""
    pooled = node(node(kernel=1, stride_size=32), kernel=2)
    assert input_resolution_range(pooled) == ((64, 64), (64, 64))


def test_the_kernel_is_multiplied_with_the_jump_in_front_of_the_layer() -> None:
    assert input_resolution_range(node(kernel=3, stride_size=8))[0] == (3, 3)


# --- axes -------------------------------------------------------------------------------------


def test_every_axis_for_itself_with_all_options() -> None:
    graph = node(node(kernel=(3, 5), stride_size=(2, 1)), kernel=(3, 1))
    assert input_resolution_range(graph) == ((7, 5), (7, 5))
    assert input_resolution_range(graph, lower_bound=True) == ((6, 5), (7, 5))
    assert input_resolution_range(graph, filter_kernel_size_1=True) == ((7, 5), (7, 5))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_as_many_numbers_as_the_graph_has_axes(axes: int) -> None:
    graph = node(kernel=(3,) * axes)
    assert input_resolution_range(graph) == ((3,) * axes, (3,) * axes)
    assert input_resolution_range(graph, cardinality=axes) == ((3,) * axes, (3,) * axes)


def test_a_scalar_graph_has_two_axes_or_as_many_as_asked_for() -> None:
    assert input_resolution_range(node()) == ((3, 3), (3, 3))
    assert input_resolution_range(node(), cardinality=3) == ((3, 3, 3), (3, 3, 3))
    assert input_resolution_range(node(node(), kernel=(1, 3)))[0] == (3, 5)


@pytest.mark.parametrize("cardinality", [0, -1, 1, 3, 1.5, "2", True])
def test_a_number_of_axes_that_does_not_fit_is_quoted(cardinality: object) -> None:
    with pytest.raises(InvalidResolutionError, match="2 axes that the graph has") as caught:
        input_resolution_range(node(kernel=(3, 3)), cardinality=cardinality)  # type: ignore[arg-type]
    assert repr(cardinality) in str(caught.value)


def test_a_graph_with_two_kinds_of_axes_has_no_range() -> None:
    image = node(kernel=1)
    plane, line = node(image, kernel=(3, 3)), node(image, kernel=(3,))
    assert line.axes == 1
    with pytest.raises(InvalidGraphError, match="1 and 2 spatial axes"):
        input_resolution_range(plane)


def test_results_are_plain_integers() -> None:
    low, high = input_resolution_range(node(node(kernel=3, upsampling=2), kernel=5))
    assert {type(size) for size in (*low, *high)} == {int}


def test_a_graph_of_dense_layers_takes_any_resolution() -> None:
    assert input_resolution_range(node(kernel=None)) == ((1, 1), (1, 1))


def test_no_number_cuts_axes_and_none_makes_them_up() -> None:
    graph = node(node(kernel=3), kernel=(3, 5))
    assert input_resolution_range(graph, cardinality=2) == ((5, 7), (5, 7))
    for cardinality in (1, 3):
        with pytest.raises(InvalidResolutionError, match=f"{cardinality}; it must be .* 2 axes"):
            input_resolution_range(graph, cardinality=cardinality)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from([1, 3, 5]), st.sampled_from([1, 2])] * 2),
        min_size=1,
        max_size=5,
    )
)
def test_both_kinds_in_one_pass_are_those_of_two_on_axes_that_differ(
    layers: list[tuple[int, int, int, int]],
) -> None:
    last: tuple[EnrichedNetworkNode, ...] = ()
    for high, down, wide, right in layers:
        last = (node(*last, kernel=(high, wide), stride_size=(down, right)),)
    smallest, largest = input_resolution_range(last[0])
    lower, _ = input_resolution_range(last[0], lower_bound=True)
    assert ranges_of_both_kinds(last[0].all_layers) == (smallest, lower, largest)
