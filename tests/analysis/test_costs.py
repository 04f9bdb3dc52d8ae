"""Costs of graphs that were made by hand, and at other resolutions."""

from __future__ import annotations

import pytest

from rfa_toolbox.analysis import TotalCosts, analyze, compute_at, total_costs
from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures


def made(
    name: str, layer: LayerDefinition, measures: Measures, *before: EnrichedNetworkNode
) -> EnrichedNetworkNode:
    return EnrichedNetworkNode(name, layer, before, measures=measures)


@pytest.fixture
def graph() -> EnrichedNetworkNode:
    size = (32, 32)
    conv = made(
        "conv",
        LayerDefinition("Conv", (3, 3), (2, 2), padding=1),
        Measures(size, (16, 16), 100, [(25600, (1, 1))]),
    )
    attention = made(
        "attention",
        LayerDefinition("Attention", (None, None)),
        Measures(size, (16, 16), 0, [(65536, (2, 2))]),
        conv,
    )
    pool = made("pool", LayerDefinition("Pool", (None, None)), Measures(size, (1, 1), 0, []), conv)
    return made(
        "dense",
        LayerDefinition("Dense", (None, None), units=3),
        Measures(size, (1, 1), 30, [(30, (0, 0))]),
        pool,
        attention,
    )


def test_totals(graph: EnrichedNetworkNode) -> None:
    assert total_costs(graph) == TotalCosts(130, 25600 + 65536 + 30)
    assert total_costs(graph, 32) == total_costs(graph)


def test_work_grows_with_the_map_its_square_or_not_at_all(graph: EnrichedNetworkNode) -> None:
    work = {node.name: count for node, count in compute_at(graph, (64, 16)).items()}
    assert work == {"conv": 25600, "attention": 65536, "pool": 0, "dense": 30}
    work = {node.name: count for node, count in compute_at(graph, 63).items()}
    assert work["conv"] == 100 * 32 * 32
    assert work["attention"] == 32**4


def test_graphs_made_by_hand_have_no_costs() -> None:
    graph = resnet18()
    total = total_costs(graph, 32)
    assert (total.parameters, total.multiply_accumulates) == (None, None)
    assert total.unknown == len(graph.all_layers)
    table = analyze(graph, 32)
    assert "parameters" not in table.summary()
    assert "MACs" not in str(table)
    assert not table.compute_is_estimated


def test_a_layer_without_costs_makes_the_total_a_lower_bound(graph: EnrichedNetworkNode) -> None:
    end = EnrichedNetworkNode("mystery", LayerDefinition("Layer", (1, 1)), [graph])
    assert total_costs(end) == TotalCosts(130, 91166, unknown=1)
    assert "of at least 130 parameters" in analyze(end, 32).summary()


def test_a_resolution_that_does_not_fit_is_refused(graph: EnrichedNetworkNode) -> None:
    with pytest.raises(InvalidResolutionError):
        total_costs(graph, (32, 32, 32))


def test_the_summary_names_the_shares(graph: EnrichedNetworkNode) -> None:
    rows = analyze(graph, 2)
    assert rows.compute_is_estimated
    wasted = rows.costs_of("unproductive")
    assert wasted.parameters == sum(
        row.parameters or 0
        for row in rows.rows
        if row.state == "unproductive" and row.in_feature_extractor
    )
    share = (wasted.parameters or 0) / 130
    assert f"Unproductive layers have {share:.1%} of 130 parameters" in rows.summary()
    assert rows.to_dict()["compute_is_estimated"] is True
