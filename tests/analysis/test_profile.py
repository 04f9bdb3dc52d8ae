"""Many resolutions at once: the same answers as one by one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rfa_toolbox.analysis import blocks, compute_at, graph_key, resolution_profile
from rfa_toolbox.architectures import resnet18, resnet50, vgg16
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures
from tests.screening.spaces import random_spec


def half_known() -> EnrichedNetworkNode:
    """A graph of which the work of one layer, and the parameters of another, are not known."""
    layer, node = LayerDefinition("Conv", (3, 3), padding=1), None
    for parameters, work in ((10, None), (None, [(64, (1, 1))]), (10, [(64, (1, 1))])):
        measures = Measures((8, 8), (8, 8), parameters, work)
        node = EnrichedNetworkNode("conv", layer, [node] if node else [], measures=measures)
    assert node is not None
    return node


GRAPHS = {
    "half known": half_known(),
    "resnet18": resnet18(),
    "vgg16": vgg16(),
    **{
        f"random {seed}": random_spec(seed, square=bool(seed % 2)).to_graph(64) for seed in range(6)
    },
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_profile_says_what_each_resolution_says(name: str) -> None:
    graph = GRAPHS[name]
    axes = max(node.axes or 0 for node in graph.all_layers) or 1
    asked = [*range(16, 300, 7), *((n, 2 * n) for n in range(16, 60, 9) if axes == 2)]
    profile = resolution_profile(graph, asked)
    assert [point.input_resolution for point in profile.points] == [
        one if isinstance(one, tuple) else (one,) * axes for one in asked
    ]
    counted = [block for block in blocks(graph) if block.counted]
    for resolution, point in zip(asked, profile.points, strict=True):
        work = compute_at(graph, resolution)
        for state, count in point.counts.items():
            inside = [block for block in counted if block.state(resolution) == state]
            assert count == len(inside)
            nodes = [node for block in inside for node in block.nodes]
            known = [work[node] for node in nodes if work[node] is not None]
            assert point.costs[state].multiply_accumulates == (sum(known) if known else None)
            parameters = [node.parameters for node in nodes if node.parameters is not None]
            assert point.costs[state].parameters == (sum(parameters) if parameters else None)
            unknown = [node for node in nodes if None in (node.parameters, work[node])]
            assert point.costs[state].unknown == len(unknown)
        unknown = [node for node in graph.all_layers if None in (node.parameters, work[node])]
        assert point.total.unknown == len(unknown)


def test_a_profile_changes_where_its_counts_do() -> None:
    profile = resolution_profile(vgg16(), range(16, 300))
    changes = [point.input_resolution[0] for point in profile.changes()]
    assert changes[0] == 16
    assert 212 in changes  # the smallest feasible resolution: from here on all are productive
    assert changes[-1] == 212
    assert profile.counts_of("productive")[-1] == 18


def test_a_profile_needs_resolutions() -> None:
    with pytest.raises(InvalidResolutionError, match="range"):
        resolution_profile(vgg16(), 32)  # type: ignore[arg-type]
    with pytest.raises(InvalidResolutionError, match="0"):
        resolution_profile(vgg16(), [32, 0])


# --- keys ------------------------------------------------------------------------------------


def _conv(*before: EnrichedNetworkNode, kernel: int = 3, **more: object) -> EnrichedNetworkNode:
    layer = LayerDefinition("Conv", kernel, padding=1)
    return EnrichedNetworkNode("conv", layer, before, **more)  # type: ignore[arg-type]


def _image() -> EnrichedNetworkNode:
    return EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])


def test_names_and_the_order_of_building_do_not_change_a_key() -> None:
    image = _image()
    one, other = _conv(image, kernel=3), _conv(image, kernel=5)
    add = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [one, other])
    image2 = _image()
    other2, one2 = _conv(image2, kernel=5), _conv(image2, kernel=3)
    add2 = EnrichedNetworkNode("sum", LayerDefinition("Sum", 1, 1), [other2, one2])
    assert graph_key(add) == graph_key(add2) == graph_key(image2)


def test_windows_costs_and_edges_change_a_key() -> None:
    image = _image()
    shared = _conv(image)
    measured = Measures((8, 8), (8, 8), 9, [(64, (1, 1))])
    keys = {
        graph_key(graph)
        for graph in (
            _conv(_image()),
            _conv(_image(), kernel=5),
            _conv(_conv(_image())),
            _conv(_image(), measures=measured),
            _conv(_image(), certainty="bound"),
            _conv(_conv(shared), _conv(shared)),
        )
    }
    apart = _image()
    keys.add(graph_key(_conv(_conv(_conv(apart)), _conv(_conv(apart)))))
    assert len(keys) == 7


def test_one_shared_layer_is_told_from_two_equal_ones() -> None:
    """Both graphs have the same layers behind the same paths; only who reads whom differs."""

    def graph(shared: bool) -> EnrichedNetworkNode:
        image = _image()
        first, second = _conv(image), _conv(image)
        readers = [_conv(first, kernel=5), _conv(first if shared else second, kernel=5)]
        return EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [*readers, second])

    assert graph_key(graph(True)) != graph_key(graph(False))


def test_a_key_is_the_same_in_every_process() -> None:
    code = (
        "from rfa_toolbox.analysis import graph_key\n"
        "from rfa_toolbox.architectures import resnet50\n"
        "print(graph_key(resnet50()))"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert shown == {graph_key(resnet50())}
    assert shown == {"a25de41bbe9c508a26e7837b0074ab05"}, (
        "a change of the key's definition makes stored keys useless"
    )
