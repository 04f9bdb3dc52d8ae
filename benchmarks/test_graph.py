"""Construction and analysis of graphs: cost per node, linear from 100 to 100,000 nodes.

Run with ``pytest benchmarks/test_graph.py``; ``-s`` prints the ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from rfa_toolbox.analysis import (
    analyze,
    find_smallest_resolution_with_no_unproductive_layer,
    input_resolution_range,
    obtain_border_layers,
)
from rfa_toolbox.architectures.resnet import residual_block, small_stem, stage
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

SIZES = (100, 1_000, 10_000, 100_000)

CONVOLUTION = LayerDefinition("Conv3x3", (3, 3), (1, 1), filters=64)
ADDITION = LayerDefinition("Addition", 1, 1, filters=64)


def residual_chain(size: int) -> EnrichedNetworkNode:
    """Return a graph of as many nodes: convolutions in pairs, and an addition over each pair."""
    last = EnrichedNetworkNode("0", CONVOLUTION, [])
    before = last
    for position in range(1, size):
        if position % 3 == 0:
            last = before = EnrichedNetworkNode(str(position), ADDITION, [last, before])
        else:
            last = EnrichedNetworkNode(str(position), CONVOLUTION, [last])
    return last


def dense_chain(layers: int) -> EnrichedNetworkNode:
    """Return a graph in which every layer reads all the earlier ones."""
    nodes = [EnrichedNetworkNode("0", CONVOLUTION, [])]
    for position in range(1, layers):
        nodes.append(EnrichedNetworkNode(str(position), CONVOLUTION, nodes))
    return nodes[-1]


def best_of(question: Callable[[], object], repeats: int = 2) -> float:
    """Return the shortest duration in seconds."""
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        question()
        durations.append(time.perf_counter() - start)
    return min(durations)


@pytest.mark.parametrize("size", SIZES)
def test_construction(benchmark: BenchmarkFixture, size: int) -> None:
    """Goal: 20,000 nodes per second."""
    benchmark.pedantic(residual_chain, args=(size,), rounds=3)
    rate = size / benchmark.stats.stats.min
    benchmark.extra_info["nodes_per_second"] = round(rate)
    print(f"\n{size} nodes: {rate:,.0f} nodes/s, {rate / 20_000:.1f}x the goal")


QUESTIONS: dict[str, Callable[[EnrichedNetworkNode], object]] = {
    "range": input_resolution_range,
    "border layers": lambda graph: obtain_border_layers(graph, 32),
    "smallest resolution": find_smallest_resolution_with_no_unproductive_layer,
    "table": lambda graph: analyze(graph, 32),
    "table as text": lambda graph: str(analyze(graph, 32)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_analysis(benchmark: BenchmarkFixture, question: str, size: int) -> None:
    """Each question to a finished graph, per node."""
    graph = residual_chain(size)
    benchmark.pedantic(QUESTIONS[question], args=(graph,), rounds=1 if size > 10_000 else 3)
    rate = size / benchmark.stats.stats.min
    benchmark.extra_info["nodes_per_second"] = round(rate)
    print(f"\n{question}, {size} nodes: {rate:,.0f} nodes/s")


def test_cost_per_node_does_not_grow_with_the_graph() -> None:
    """One node of 100,000 costs at most three times what one of 1,000 does."""
    small, large = (residual_chain(size) for size in (1_000, 100_000))
    built = [best_of(partial(residual_chain, size)) / size for size in (1_000, 100_000)]
    ratios = {"construction": built[1] / built[0]}
    for name, question in QUESTIONS.items():
        costs = [
            best_of(partial(question, graph)) / len(graph.all_layers) for graph in (small, large)
        ]
        ratios[name] = costs[1] / costs[0]
    for name, ratio in ratios.items():
        print(f"\n{name}: {ratio:.2f}x the cost per node at 100,000 nodes of that at 1,000")
        assert ratio < 3, name


def test_dense_graphs_cost_per_edge(benchmark: BenchmarkFixture) -> None:
    """A layer that reads all the earlier ones: linear in the edges."""
    benchmark.pedantic(dense_chain, args=(400,), rounds=3)
    per_edge = benchmark.stats.stats.min / (400 * 399 / 2)
    shorter = best_of(partial(dense_chain, 100)) / (100 * 99 / 2)
    print(f"\n{per_edge / shorter:.2f}x the cost per edge at 400 layers of that at 100")


def test_512_residual_blocks_with_range(benchmark: BenchmarkFixture) -> None:
    """Goal: 0.1 s for construction and range; release 1.7.0 takes 14 s."""

    def build_and_ask() -> object:
        return input_resolution_range(stage(0, small_stem(), 512, residual_block))

    benchmark.pedantic(build_and_ask, rounds=5)
    print(f"\n512 blocks and range: {0.1 / benchmark.stats.stats.min:.1f}x as fast as the goal")
