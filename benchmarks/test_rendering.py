"""Time that the text of a picture and its layout take.

Run with ``python -m pytest benchmarks/test_rendering.py``.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Any

import pytest

from rfa_toolbox import visualize_architecture
from rfa_toolbox.architectures.resnet import resnet152
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition


def chain(length: int) -> EnrichedNetworkNode:
    layer = LayerDefinition("Conv", 3, 1)
    node = EnrichedNetworkNode("0", layer, [])
    for at in range(1, length):
        node = EnrichedNetworkNode(str(at), layer, [node])
    return node


@pytest.mark.parametrize("length", [100, 1_000, 10_000])
def test_text_of_a_chain_is_linear(benchmark: Any, length: int) -> None:
    graph = chain(length)
    benchmark.extra_info["nodes"] = length
    picture = benchmark(visualize_architecture, graph, "chain", 32)
    assert picture.source.count("->") == length + 1
    if benchmark.stats:
        rate = length / benchmark.stats.stats.median
        print(f"\n{rate:,.0f} nodes per second")


def test_picture_of_resnet152(benchmark: Any) -> None:
    if shutil.which("dot") is None and find_spec("pygraphviz") is None:
        pytest.skip("no Graphviz is installed")
    picture = visualize_architecture(resnet152(), "resnet152", 224)
    assert benchmark(picture.pipe, "svg").startswith(b"<?xml")
