"""Blocks: what belongs together, what is counted, and that no way leads back."""

from __future__ import annotations

import random
from graphlib import TopologicalSorter

import pytest

from rfa_toolbox import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.analysis import blocks, summarize
from rfa_toolbox.architectures.resnet import resnet18, resnet50
from rfa_toolbox.graphs import Measures

KINDS = {
    "Conv": {"kernel_size": 3, "filters": 8, "padding": 1},
    "Conv1x1": {"kernel_size": 1, "filters": 8},
    "BatchNorm2d": {"kernel_size": 1},
    "ReLU": {"kernel_size": 1},
    "add": {"kernel_size": 1},
    "cat": {"kernel_size": 1},
    "GlobalPool": {"kernel_size": None},
}


def node(kind: str, *before: EnrichedNetworkNode, name: str | None = None) -> EnrichedNetworkNode:
    return EnrichedNetworkNode(name or kind, LayerDefinition(kind, **KINDS[kind]), before)


def names(graph: EnrichedNetworkNode) -> list[list[str]]:
    return [[one.name for one in block.nodes] for block in blocks(graph)]


def test_what_only_passes_a_layer_on_belongs_to_it():
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    end = node("ReLU", node("BatchNorm2d", node("Conv", image)))
    assert names(end) == [["image"], ["Conv", "BatchNorm2d", "ReLU"]]


def test_an_addition_belongs_to_the_residual_branch_and_not_to_the_short_cut():
    first = node("Conv", name="first")
    branch = node("BatchNorm2d", node("Conv", first, name="branch"))
    shortcut = node("Conv1x1", first, name="shortcut")
    end = node("ReLU", node("add", shortcut, branch))
    assert ["branch", "BatchNorm2d", "add", "ReLU"] in names(end)
    assert ["shortcut"] in names(end)


def test_a_concatenation_that_one_layer_reads_belongs_to_that_layer():
    first = node("Conv", name="first")
    second = node("Conv", first, name="second")
    third = node("Conv", node("cat", first, second), name="third")
    both = node("cat", first, second, third)
    assert ["cat", "third"] in names(both)
    assert [block.kind for block in blocks(both)] == ["layer", "layer", "layer", "joint"]


def test_layers_with_known_work_are_told_from_norms_by_it_and_not_by_their_names():
    def called(name: str, work: int) -> EnrichedNetworkNode:
        layer = LayerDefinition(name, kernel_size=1, filters=8)
        return EnrichedNetworkNode(
            "one", layer, [node("Conv")], measures=Measures(work=[(work, [])])
        )

    assert len(blocks(called("NormalisedProduct", 10))) == 2
    assert len(blocks(called("Conv", 0))) == 1


@pytest.mark.parametrize("seed", range(60))
def test_blocks_share_all_nodes_out_and_no_block_reads_itself_by_any_way(seed):
    choose = random.Random(seed)
    made = [node("Conv")]
    for _ in range(40):
        kind = choose.choice([*KINDS][:-1])
        count = choose.randint(2, 3) if kind in ("add", "cat") else 1
        made.append(node(kind, *(choose.choice(made[-6:]) for _ in range(count))))
    graph = node("GlobalPool", made[-1])
    found = blocks(graph)
    assert sorted(id(one) for block in found for one in block.nodes) == sorted(
        map(id, graph.all_layers)
    )
    assert [block.index for block in found] == list(range(len(found)))
    tuple(TopologicalSorter({block.index: block.predecessors for block in found}).static_order())
    edges = {
        (one.index, other.index)
        for one in found
        for other in found
        if one is not other
        and any(before in one.nodes for member in other.nodes for before in member.predecessors)
    }
    assert edges == {(index, block.index) for block in found for index in block.predecessors}


def test_long_chains_of_additions_take_time_in_proportion():
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    end = node("Conv", image)
    for _ in range(5000):
        end = node("add", end, node("Conv", end))
    assert len(blocks(end)) == 5002


@pytest.mark.parametrize(("network", "layers", "wasted"), [(resnet18, 21, 7), (resnet50, 54, 20)])
def test_layers_that_see_everything_by_design_are_not_counted(network, layers, wasted):
    found = summarize(network(), 32)
    assert (len(found.counted), len(found.blocks_in("unproductive"))) == (layers, wasted)
    assert [block.kind for block in found.blocks][-2:] == ["global", "global"]


def test_what_has_no_position_is_no_layer_and_changes_no_count() -> None:
    time = EnrichedNetworkNode("time", LayerDefinition("Input", 1, positionless=True), [])
    embedded = node("Conv1x1", time, name="embedded")
    timed = summarize(node("Conv", node("add", node("Conv", name="first"), embedded)), 16)
    plain = summarize(node("Conv", node("ReLU", node("Conv", name="first"))), 16)
    kinds = {block.name: block.kind for block in timed.blocks}
    assert kinds == {"time": "vector", "embedded": "vector", "first": "layer", "Conv": "layer"}
    assert (timed.headline, timed.good) == (plain.headline, plain.good)
