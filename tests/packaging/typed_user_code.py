"""Code as users write it; mypy checks that the package tells them the types of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rfa_toolbox
from rfa_toolbox import (
    Analysis,
    EnrichedNetworkNode,
    LayerDefinition,
    analyze,
    create_graph_from_pytorch_model,
    input_resolution_range,
    visualize_architecture,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type


def build() -> EnrichedNetworkNode:
    layer = LayerDefinition(name="Conv3x3", kernel_size=3, stride_size=(1, 2), filters=64)
    first = EnrichedNetworkNode(name="first", layer_info=layer, predecessors=[])
    return EnrichedNetworkNode("second", layer, [first])


def use(model: Any) -> None:
    assert_type(rfa_toolbox.__version__, str)
    graph = create_graph_from_pytorch_model(model, "inf", (1, 3, 64, 64), custom_layers=["Block"])
    assert_type(graph, EnrichedNetworkNode)
    assert_type(graph.all_layers, list[EnrichedNetworkNode])
    table = analyze(graph, (32, 64))
    assert_type(table, Analysis)
    assert_type(table.to_csv(), str)
    assert_type([row.name for row in table.layers_in("critical")], list[str])
    smallest, largest = input_resolution_range(build())
    assert_type(smallest[0], int | float)
    assert_type(largest[0], int | float)
    visualize_architecture(graph, "model", input_res=(32, 64)).render(format="svg")


def misuse(graph: EnrichedNetworkNode) -> None:
    analyze(graph, "32 pixels")  # type: ignore[arg-type]
    create_graph_from_pytorch_model(graph, capture="trace")  # type: ignore[arg-type]
