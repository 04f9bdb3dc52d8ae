"""What units see of other maps, pixel by pixel; and how many units there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox import analyze
from rfa_toolbox.analysis import missed_pixels
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from tests.graph.random_graphs import conv, copies, graphs, image, moved, node, pixels_of

# --- holes -----------------------------------------------------------------------------------


@given(graphs(), st.integers(-3, 8))
def test_coverage_is_what_a_unit_sees_tap_by_tap(graph, unit):
    seen = pixels_of(graph, unit)
    if graph.window.size == (0,):
        with pytest.raises(InvalidGraphError, match="nothing"):
            graph.coverage()
        return
    coverage = graph.coverage(unit=unit)
    assert set(coverage.pixels) == seen
    hull = max(seen) - min(seen) + 1 if seen else 0
    assert coverage.misses == hull - len(seen)
    assert coverage.density == (len(seen) / hull if hull else 0)
    assert not seen or coverage.start == min(seen)
    units = range(graph.unit_windows[0].period)
    assert missed_pixels(graph)[graph] == (max(graph.coverage(unit=one).misses for one in units),)


def test_blocks_are_seen_as_a_whole():
    windows = node(LayerDefinition("Attention", 4, 1, blockwise=True, padding=0), image())
    assert windows.coverage(unit=5).pixels == (4, 5, 6, 7)


def test_the_table_has_a_column_for_holes_where_there_are_some():
    first = conv(image(), 3, dilation=3, padding=3)
    assert [row.misses for row in analyze(first, 32).rows] == [(0,), (4,)]
    assert "misses" in str(analyze(first, 32))
    assert "misses" not in str(analyze(conv(image()), 32))


def test_holes_are_counted_along_each_axis_by_what_layers_do_there():
    photo = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    dilated = LayerDefinition("Conv", (3, 3), dilation=(1, 2), padding=(1, 2))
    moved_down = [[(0, 0), (3, 0)]]  # x[:-3] + x[3:]
    both = EnrichedNetworkNode("conv", dilated, [photo])
    apart = EnrichedNetworkNode("add", LayerDefinition("Add", 1), [photo], offsets=moved_down)
    assert missed_pixels(both)[both] == (0, 2)
    assert missed_pixels(apart)[apart] == (2, 0)


def test_what_sees_everything_or_is_not_placed_has_no_holes_to_count():
    everything = node(LayerDefinition("Mean", None, 1), image())
    with pytest.raises(InvalidGraphError, match="see everything"):
        everything.coverage()
    unplaced = node(LayerDefinition("Conv", 3, 1), image())
    with pytest.raises(InvalidGraphError, match="padding"):
        unplaced.coverage()
    assert missed_pixels(everything)[everything] == missed_pixels(unplaced)[unplaced] == (None,)
    assert missed_pixels(conv(everything))[everything] == (None,)
    with pytest.raises(InvalidGraphError, match="axis is 1"):
        conv(image()).coverage(1)
    with pytest.raises(InvalidGraphError, match="too large"):
        conv(image(), 20_001).coverage()


# --- the map of a layer in between ------------------------------------------------------------


@given(graphs(), st.integers(-3, 8), st.data())
def test_a_window_on_another_map_is_what_reaches_a_unit_tap_by_tap(graph, unit, data):
    # Not all_layers: branches that end before this node are there until memory is freed.
    behind = conv(graph)
    other = data.draw(st.sampled_from([*before(graph), behind]))
    seen = pixels_of(graph, unit, image=other)
    if other is behind:
        with pytest.raises(InvalidGraphError, match="reaches"):
            graph.window_on(other)
        return
    window = graph.window_on(other)
    if window is None:  # maps of different jump meet behind it
        return
    assert window.size[0] >= (max(seen) - min(seen) + 1 if seen else 0)
    if unit == 0 and seen:
        assert window.start == (min(seen),)


def before(node: EnrichedNetworkNode) -> list[EnrichedNetworkNode]:
    """Return a node and all in front of it, in the order in which they are met."""
    found = {node: None}
    for one in node.predecessors:
        found.update(dict.fromkeys(before(one)))
    return list(found)


def test_a_branch_that_does_not_pass_the_other_layer_is_left_out():
    start = image()
    left = conv(start, 3)
    joined = node(LayerDefinition("Add", 1, 1), conv(left, 5), conv(start, 9))
    assert (joined.window.size, joined.window_on(left).size) == ((9,), (5,))
    assert joined.window_on(start) == joined.window
    assert joined.window_on(joined).size == (1,)
    strided = conv(conv(start, 3, 2), 3)
    assert strided.window_on(strided.predecessors[0]).jump == (1,)


# --- how many units --------------------------------------------------------------------------


def test_a_map_is_counted_from_kernels_strides_and_paddings():
    last = conv(conv(image(), 10, 5, padding=0), 3, 2, padding=0)
    assert last.feature_map_at(16_000) == (1599,)
    assert last.shortest_input() == last.receptive_field_max == (20,)
    assert last.feature_map_at(20) == (1,)
    with pytest.raises(InvalidResolutionError, match=r"19.*\(20,\)"):
        last.feature_map_at(19)


def test_what_is_read_at_two_places_is_as_long_as_both_reach():
    assert moved(image(), 0, 3).feature_map_at(10) == (7,)
    assert copies(image(), 2).feature_map_at(9) == (4,)


def test_a_map_behind_an_unknown_padding_is_not_guessed():
    with pytest.raises(InvalidGraphError, match="padding"):
        node(LayerDefinition("Conv", 3), image()).feature_map_at(9)


def test_a_global_operation_leaves_one_unit_and_a_scan_all():
    assert node(LayerDefinition("Mean", None, 1), image()).feature_map_at(9) == (1,)
    scan = node(LayerDefinition("CumSum", None, 1, scan="forward"), image())
    assert scan.feature_map_at(9) == (9,)
    windows = node(LayerDefinition("Attention", 4, 1, blockwise=True, padding=0), image())
    assert windows.feature_map_at(8) == (8,)
