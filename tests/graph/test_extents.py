"""What a unit sees over all paths together: the largest receptive field of a node."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox import input_resolution_range
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    LayerDefinition,
    filter_all_rf_info_with_infinite_receptive_field,
)
from tests.graph.random_graphs import conv, copies, graphs, image, layers, moved, node, pixels_of


def brute_extent(of: EnrichedNetworkNode) -> int:
    spans = [pixels_of(of, unit) for unit in range(of.unit_windows[0].period)]
    return max(max(seen) - min(seen) + 1 if seen else 0 for seen in spans)


@given(graphs())
def test_the_largest_field_is_the_union_of_what_every_path_sees(graph):
    for one in graph.all_layers:
        extent = brute_extent(one)
        assert one.window.size == (extent,)
        if one.certainty == "exact":
            assert one.receptive_field_max == (extent,)
        else:
            assert one.receptive_field_max >= (extent,)
        assert one.receptive_field_min <= one.receptive_field_max


@given(graphs(), st.lists(layers, min_size=1, max_size=3))
def test_an_extent_is_not_lost_behind_a_layer_whose_place_is_not_known(graph, behind):
    known = hidden = graph
    for layer in behind:
        known = node(layer, known)
    even = all(one.unit_windows[0] and one.unit_windows[0].period == 1 for one in known.all_layers)
    unplaced = LayerDefinition.from_dict({**behind[0].to_dict(), "padding": None})
    for layer in (unplaced, *behind[1:]):
        hidden = node(layer, hidden)
    assert hidden.receptive_field_max >= known.window.size
    if even and known.certainty == "exact":
        assert hidden.receptive_field_max == known.receptive_field_max
    assert hidden.receptive_field_min <= hidden.receptive_field_max


# --- networks that compute the same function --------------------------------------------------


@pytest.mark.parametrize(("factor", "kernel"), [(2, 3), (2, 1), (4, 3), (3, 2)])
def test_slices_side_by_side_see_what_the_wide_kernel_sees_that_equals_them(factor, kernel):
    focus = conv(copies(image(), factor), kernel)
    wide = conv(image(), factor * kernel, factor, padding=kernel // 2 * factor)
    assert focus.receptive_field_max == wide.receptive_field_max == (factor * kernel,)
    assert focus.window == wide.window
    follow = [conv(conv(one, 3, 2), 5) for one in (focus, wide)]
    assert follow[0].receptive_field_max == follow[1].receptive_field_max
    ranges = [input_resolution_range(one)[1] for one in follow]
    assert ranges[0] == ranges[1]


def test_shifted_pointwise_convolutions_see_what_a_dilated_one_sees():
    shifted = dilated = image()
    for level in range(8):
        shifted = moved(shifted, 0, -(2**level))
        dilated = conv(dilated, 2, dilation=2**level, padding=[(2**level, 0)])
    assert shifted.receptive_field_max == dilated.receptive_field_max == (256,)
    assert shifted.receptive_field_min == (1,)


def test_aligned_branches_see_what_the_longest_path_sees():
    before = image()
    joined = node(LayerDefinition("Add", 1, 1), conv(before, 3), conv(before, 7))
    assert (joined.receptive_field_min, joined.receptive_field_max) == ((3,), (7,))


def by_function(infos):
    return filter_all_rf_info_with_infinite_receptive_field(infos)


# --- infinite paths, filters, and what holds at any resolution --------------------------------


def test_an_extent_is_that_of_the_finite_paths_where_infinite_ones_are_left_out():
    stem = copies(image(), 2)
    attention = node(LayerDefinition("Attention", None, 1), stem)
    for keep in (
        None,
        "inf",
        by_function,
    ):
        joined = EnrichedNetworkNode(
            "add", LayerDefinition("Add", 1, 1), [conv(stem), attention], keep
        )
        assert joined.receptive_field_max == ((math.inf if keep is None else 6),)
        assert joined.receptive_field_min == (5,)
        assert input_resolution_range(joined) == ((6,), (6,))


def test_an_extent_behind_adaptive_pooling_holds_at_one_resolution_only():
    stem = copies(image(), 2)
    pooled = node(LayerDefinition("AdaptivePool", 4, 4, padding=0, resolution_dependent=True), stem)
    assert pooled.receptive_field_max == (8,)
    assert pooled.lasting_receptive_fields == ((math.inf,), (math.inf,))
    assert input_resolution_range(pooled)[1] == (2,)


def test_a_filter_of_the_user_has_the_last_word():
    shortest = EnrichedNetworkNode(
        "add", LayerDefinition("Add", 1, 1), [image(), conv(image(), 7)], lambda infos: infos[:1]
    )
    assert shortest.receptive_field_max == (1,)
    assert conv(shortest).receptive_field_max == (3,)


@pytest.mark.parametrize(
    "kernels", [[(math.inf, 3)], [(3, 3), (math.inf, 5)], [(math.inf, 3), (3, math.inf)]]
)
def test_leaving_infinite_paths_out_by_name_is_the_same_as_by_function(kernels):
    found = []
    for keep in ("inf", by_function):
        start = node(LayerDefinition("Input", (1, 1), 1))
        branches = [node(LayerDefinition("Layer", kernel, 1), start) for kernel in kernels]
        top = EnrichedNetworkNode("cat", LayerDefinition("Cat", 1, 1), branches, keep)
        last = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 1), [top], keep)
        found.append((last.receptive_field_min, last.receptive_field_max, last.paths))
    assert found[0] == found[1]


def test_a_path_is_infinite_where_it_is_so_on_any_axis():
    start = node(LayerDefinition("Input", (1, 1), 1))
    rows = node(LayerDefinition("Rows", (math.inf, 3), 1), start)
    whole = node(LayerDefinition("Mean", (math.inf, math.inf), 1), start)
    both = EnrichedNetworkNode("cat", LayerDefinition("Cat", 1, 1), [rows, whole], "inf")
    assert both.receptive_field_max == (math.inf, math.inf)
    assert both.receptive_field_min == (math.inf, 3)
