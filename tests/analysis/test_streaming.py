"""History and look-ahead of models over time, and dilations for a wanted field."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox.analysis import choose_dilations, streaming, tile_plan
from rfa_toolbox.errors import InvalidGraphError, InvalidLayerError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition


def chain(*layers: LayerDefinition) -> EnrichedNetworkNode:
    last = EnrichedNetworkNode("sound", LayerDefinition("Input", (1,), 1), [])
    for layer in layers:
        last = EnrichedNetworkNode(layer.name, layer, [last])
    return last


def test_a_causal_network_waits_for_nothing_and_a_centred_one_for_half_its_field():
    causal = [LayerDefinition("Conv", 2, dilation=2**i, padding=[(2**i, 0)]) for i in range(4)]
    found = streaming(chain(*causal), rate=8000)
    assert (found.history, found.look_ahead, found.is_causal) == (15, 0, True)
    assert (found.history_ms, found.look_ahead_ms) == (15 / 8, 0)
    centred = streaming(chain(*(LayerDefinition("Conv", 5, padding=2) for _ in range(3))))
    assert (centred.history, centred.look_ahead, centred.is_causal) == (6, 6, False)
    assert centred.look_ahead_ms is None


def test_a_strided_unit_stands_for_the_samples_of_its_step():
    found = streaming(chain(LayerDefinition("Conv", 400, 320, padding=0)), rate=16_000)
    assert (found.history, found.look_ahead, found.jump) == (0, 80, 320)
    assert (found.look_ahead_units, found.look_ahead_ms) == (1, 5)
    early = streaming(chain(LayerDefinition("Conv", 400, 320, padding=80)))
    assert (early.history, early.look_ahead, early.history_units) == (80, 0, 1)


def test_units_of_a_finer_map_look_as_far_as_the_farthest_of_them():
    up = LayerDefinition("Upsample", 2, padding=1, upsampling=2)
    found = streaming(chain(LayerDefinition("Pool", 2, 2, padding=0), up))
    assert (found.history, found.look_ahead) == (1, 1)


@pytest.mark.parametrize(
    ("way", "history", "look_ahead"), [("forward", math.inf, 2), ("backward", 2, math.inf)]
)
def test_a_scan_sees_all_on_one_side_and_as_far_as_before_on_the_other(way, history, look_ahead):
    scan = LayerDefinition("Scan", None, 1, scan=way)
    graph = chain(LayerDefinition("Conv", 5, padding=2), scan)
    found = streaming(graph)
    assert (found.history, found.look_ahead) == (history, look_ahead)
    assert (graph.receptive_field_min, graph.receptive_field_max) == ((math.inf,), (math.inf,))
    behind = streaming(
        chain(LayerDefinition("Conv", 5, padding=2), scan, LayerDefinition("C", 3, padding=1))
    )
    assert {behind.history, behind.look_ahead} == {3, math.inf}
    with pytest.raises(InvalidGraphError, match="one side"):
        tile_plan(graph, 64, 32)
    with pytest.raises(InvalidGraphError, match="one side"):
        graph.units_seeing(3)


def test_scans_of_both_ways_together_see_everything():
    start = chain()
    ways = [
        EnrichedNetworkNode(way, LayerDefinition("LSTM", None, 1, scan=way), [start])
        for way in ("forward", "backward")
    ]
    both = EnrichedNetworkNode("cat", LayerDefinition("Concat", 1, 1), ways)
    assert (streaming(both).history, streaming(both).look_ahead) == (math.inf, math.inf)
    residual = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [start, ways[0]])
    assert streaming(residual).look_ahead == 0
    assert residual.receptive_field_min == (1,)


def test_a_scan_survives_its_stored_form_and_needs_an_infinite_kernel():
    layer = LayerDefinition("Scan", (None, 3), 1, scan=("forward", None))
    assert LayerDefinition.from_dict(layer.to_dict()) == layer
    for scan, kernel in (("forward", 3), ("sideways", None), ((None, "forward"), (None, 3))):
        with pytest.raises(InvalidLayerError, match="scan"):
            LayerDefinition("Scan", kernel, 1, scan=scan)


def test_bad_questions_are_quoted():
    graph = chain(LayerDefinition("Conv", 3, padding=1))
    for values in ({"axis": 1}, {"axis": -1}, {"rate": 0}, {"rate": math.inf}, {"rate": True}):
        with pytest.raises(InvalidGraphError, match=str(*values)):
            streaming(graph, **values)
    with pytest.raises(InvalidGraphError, match="padding"):
        streaming(chain(LayerDefinition("Conv", 3)))


# --- dilations -------------------------------------------------------------------------------


@given(st.integers(1, 400), st.sampled_from([(2,), (3,), (2, 3, 5, 7)]))
def test_stacks_reach_the_field_without_a_hole(field, kernels):
    for stack in choose_dilations(field, kernels):
        graph = chain(
            *(
                LayerDefinition("Conv", stack.kernel_size, dilation=one, padding=0)
                for one in stack.dilations
            )
        )
        assert graph.receptive_field_max == (stack.receptive_field,)
        assert stack.receptive_field >= field
        assert graph.coverage().misses == 0
        assert stack.weights == stack.kernel_size * len(stack.dilations)


@given(st.integers(2, 40))
def test_no_stack_without_holes_is_cheaper(field):
    best = choose_dilations(field, (2, 3), count=1)[0]
    for kernel, layers in ((2, 1), (2, 2), (2, 3), (3, 1), (3, 2)):
        if kernel * layers < best.weights:
            for dilations in itertools.product(range(1, 20), repeat=layers):
                taps = itertools.product(*(range(0, kernel * one, one) for one in dilations))
                seen = {sum(one) for one in taps}
                assert len(seen) < field or len(seen) <= max(seen)


def test_depth_can_be_limited_and_bad_wishes_are_quoted():
    assert choose_dilations(100, (3,), max_layers=4) == []
    assert {len(stack.dilations) for stack in choose_dilations(100, (3,), max_layers=6)} == {5, 6}
    for values in (
        {"receptive_field": 0},
        {"receptive_field": 9, "count": 0},
        {"receptive_field": 2.5},
    ):
        with pytest.raises(InvalidLayerError, match="whole number"):
            choose_dilations(**values)
    with pytest.raises(InvalidLayerError, match="kernel size is 1"):
        choose_dilations(9, (1,))
