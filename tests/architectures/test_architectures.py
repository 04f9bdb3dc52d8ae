"""Known results of the published architectures, made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from rfa_toolbox.analysis import (
    input_resolution_range,
    obtain_all_critical_layers,
    obtain_border_layers,
)
from rfa_toolbox.architectures import resnet, vgg
from rfa_toolbox.graphs import EnrichedNetworkNode

Make = Callable[[], EnrichedNetworkNode]


def named(graph: EnrichedNetworkNode, name: str) -> EnrichedNetworkNode:
    (found,) = [node for node in graph.all_layers if node.name == name]
    return found


def test_fields_of_vgg16_in_node_order() -> None:
    assert [node.receptive_field_min for node in vgg.vgg16().all_layers] == [
        1, 3, 5, 6, 10, 14, 16, 24, 32, 40, 44, 60, 76, 92, 100, 132, 164, 196, 212,
        math.inf, math.inf, math.inf,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "layers", "field"),
    [(vgg.vgg11, 11, 150), (vgg.vgg13, 13, 156), (vgg.vgg16, 16, 212), (vgg.vgg19, 19, 268)],
)
def test_vgg_has_as_many_weight_layers_as_its_name_says(
    make: Make, layers: int, field: int
) -> None:
    nodes = make().all_layers
    weights = [node for node in nodes if node.layer_info.name in ("Conv3x3", "Dense")]
    assert len(weights) == layers
    assert nodes[-4].receptive_field_max == field
    assert input_resolution_range(make()) == ((field, field), (field, field))


@pytest.mark.parametrize(
    ("make", "layers", "field"),
    [
        (resnet.resnet18, 18, 435),
        (resnet.resnet36, 34, 899),
        (resnet.resnet50, 50, 483),
        (resnet.resnet101, 101, 1027),
        (resnet.resnet152, 152, 1507),
    ],
)
def test_resnets_have_the_published_depth_and_field(make: Make, layers: int, field: int) -> None:
    nodes = make().all_layers
    weights = [
        node
        for node in nodes
        if node.layer_info.name.startswith(("Conv", "Dense")) and "Shortcut" not in node.name
    ]
    assert len(weights) == layers
    last = "Stage3-Block1-Addition" if layers == 18 else "Stage3-Block2-Addition"
    assert named(make(), last).receptive_field_max == field


@pytest.mark.parametrize(
    ("make", "border", "critical", "with_dense"),
    [
        (vgg.vgg16, 10, 10, 13),
        (resnet.resnet18, 10, 9, 11),
        (resnet.resnet101, 58, 52, 54),
    ],
)
def test_layers_at_32_pixels(make: Make, border: int, critical: int, with_dense: int) -> None:
    graph = make()
    assert len(obtain_border_layers(graph, 32)) == border
    assert len(obtain_all_critical_layers(graph, 32)) == critical
    assert len(obtain_all_critical_layers(graph, 32, filter_dense=False)) == with_dense
    assert obtain_border_layers(graph, (32, 32)) == obtain_border_layers(graph, 32)


def test_a_block_adds_its_input_where_sizes_agree_and_a_1x1_convolution_elsewhere() -> None:
    graph = resnet.resnet50()
    first, second = (named(graph, f"Stage1-Block{block}-Addition") for block in (0, 1))
    assert first.predecessors[1].name == "Stage1-Block0-Shortcut"
    assert second.predecessors[1] is first
    widened = named(graph, "Stage0-Block0-Addition").predecessors[1].layer_info
    assert (widened.kernel_size, widened.stride_size, widened.filters) == (1, 1, 256)


def test_own_stages_and_stem() -> None:
    graph = resnet.resnet((1, 1), resnet.bottleneck, stem_factory=resnet.small_stem)
    names = [node.name for node in graph.all_layers]
    assert names[:2] == ["Input", "Stem-Conv"]
    assert names[-4:] == ["Stage1-Block0-Addition", "Head-Activation", "Head-Pool", "Softmax"]
    assert named(graph, "Stage1-Block0-Addition").receptive_field_max == 9
