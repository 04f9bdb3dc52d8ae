"""Compare the graphs of models that were encoded with images of several sizes.

    python -m benchmarks.sizes_zoo torchvision tests
    python -m benchmarks.sizes_zoo resnet50 timm:maxvit_pico_rw_256

A layer is what its operator is: whatever the size of the image, a graph has the same numbers, but
for layers that are said to depend on it. Names are those of ``verify_zoo``; "tests" is one model of
every family of timm.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model, input_resolution_range
from rfa_toolbox.errors import RFAError
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.empirical.zoo import build, spelled
from tests.faults.test_size_of_the_graph import numbers

SIZES = (32, 50, 75, 96, 128, 192, 224, 256, 299, 399)


def differences(name: str) -> tuple[list[int], list[str]]:
    """Return the sizes at which a model runs, and what differs between its graphs."""
    model = build(name)
    graphs = {size: graph for size in SIZES if (graph := _encoded(model, size)) is not None}
    largest = graphs[max(graphs)]
    found = []
    for size, graph in graphs.items():
        found += [f"{size} px: {one}" for one in _between(graph, largest)]
    return list(graphs), found


def _encoded(model: nn.Module, size: int) -> EnrichedNetworkNode | None:
    """Return the graph of a model with an image of some size; None if it does not run with it."""
    try:
        return create_graph_from_pytorch_model(model, input_res=(1, 3, size, size))
    except RFAError:
        return None


def _between(graph: EnrichedNetworkNode, other: EnrichedNetworkNode) -> list[str]:
    said = _dependent(graph) | _dependent(other)
    ranges = input_resolution_range(graph), input_resolution_range(other)
    found = [] if said or ranges[0] == ranges[1] else [f"range {ranges[0]}, not {ranges[1]}"]
    one, another = ({row[0]: row[1:] for row in numbers(each)} for each in (graph, other))
    found += [
        f"{node}: {one.get(node)}, not {another.get(node)}"
        for node in dict.fromkeys((*one, *another))
        if node not in said and one.get(node) != another.get(node)
    ]
    return found


def _dependent(graph: EnrichedNetworkNode) -> set[str]:
    """Return the layers that are said to depend on the size, and what is behind them."""
    found: set[str] = set()
    for node in graph.all_layers:
        before = any(one.name in found for one in node.predecessors)
        if before or node.layer_info.resolution_dependent:
            found.add(node.name)
    return found


def main(names: list[str]) -> int:
    """Compare the graphs of these models; return how many differ."""
    wrong = 0
    for name in spelled(names):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes, found = differences(name)
        wrong += bool(found)
        print(name, "runs at", *sizes, flush=True)
        print(*(f"  {one}" for one in found[:6]), sep="\n", end="\n" if found else "", flush=True)
    print(f"{wrong} models differ")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
