"""Advice: most candidates are judged without making nodes. Goal: two seconds on one core.

Run with ``pytest benchmarks/test_refinement.py``; ``-s`` prints the numbers.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import pytest

from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement import downsampling_steps, edit, predict, suggest_refinements
from rfa_toolbox.refinement.contracted import Contracted
from rfa_toolbox.refinement.steps import without
from tests.refinement.published import graph_of as published_graph
from tests.refinement.published import torchvision_model

NAMES = {"resnet50": 170, "densenet169": 590}
"""Models of torchvision, and how many nodes they have at least."""

GOAL_SECONDS = 2
LEAST_RATIO = 15
"""How many times faster the fast pass judges a candidate than a graph that is made of it."""


@functools.cache
def graph_of(name: str) -> EnrichedNetworkNode:
    return published_graph(torchvision_model(name), 224)


def best_of(question: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest time of this process in seconds."""
    durations = []
    for _ in range(repeats):
        start = time.process_time()
        question()
        durations.append(time.process_time() - start)
    return min(durations)


@pytest.mark.parametrize("name", NAMES)
def test_advice(name: str) -> None:
    """Ten refinements per strategy, each predicted exactly, and the front."""
    graph = graph_of(name)
    assert len(graph.all_layers) >= NAMES[name]
    seconds = best_of(lambda: suggest_refinements(graph, 64), repeats=2)
    print(f"\n{name}: {seconds:.2f} s, {GOAL_SECONDS / seconds:.1f}x as fast as the goal")


@pytest.mark.parametrize("name", NAMES)
def test_the_fast_pass_is_far_faster_than_a_graph_made_anew(name: str) -> None:
    graph = graph_of(name)
    edits = without(graph, downsampling_steps(graph)[-1])
    contracted = Contracted(graph.all_layers)
    fast = best_of(lambda: contracted.estimate(edits))
    exact = best_of(lambda: predict(edit(graph, edits), 64))
    print(f"\n{name}: {1e3 * fast:.2f} ms against {1e3 * exact:.0f} ms, {exact / fast:.0f} times")
    assert exact / fast > LEAST_RATIO
