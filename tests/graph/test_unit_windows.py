"""Windows with a place, against the plainest possible model of a network: sets of pixels."""

from __future__ import annotations

import copy
import json
import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rfa_toolbox import unit_windows
from rfa_toolbox.errors import InvalidGraphError, InvalidLayerError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.unit_windows import EVERYTHING, IMAGE, UnitWindows, region_of

UNITS = range(-12, 13)

layers = st.fixed_dictionaries(
    {
        "kernel": st.integers(1, 5),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 3),
        "upsampling": st.integers(1, 3),
        "begin": st.integers(-2, 5),
    }
)


class Pixels:
    """A map of which every unit knows by name the pixels that it sees."""

    def __init__(self, seen=lambda unit: {unit}):
        self.seen = seen

    def span(self, unit):
        seen = self.seen(unit)
        return max(seen) - min(seen) + 1 if seen else 0

    def slid(self, kernel, stride=1, dilation=1, upsampling=1, begin=0):
        def seen(unit):
            places = [stride * unit - begin + tap * dilation for tap in range(kernel)]
            real = [place // upsampling for place in places if place % upsampling == 0]
            return set().union(*(self.seen(place) for place in real))

        return Pixels(seen)

    def in_blocks(self, block, begin):
        def seen(unit):
            first = unit // block * block - begin
            return set().union(*(self.seen(first + place) for place in range(block)))

        return Pixels(seen)

    def shifted(self, offset):
        return Pixels(lambda unit: self.seen(unit + offset))

    def joined(self, other):
        return Pixels(lambda unit: self.seen(unit) | other.seen(unit))


def assert_same(windows: UnitWindows, pixels: Pixels) -> None:
    for unit in UNITS:
        first, last = region_of(windows, unit)
        seen = pixels.seen(unit)
        if seen:
            assert (first, last) == (min(seen), max(seen)), unit
        else:
            assert first > last, unit
    spans = [pixels.span(unit) for unit in range(len(windows.firsts))]
    assert windows.size == max(spans)
    assert_shortest(windows)


def assert_shortest(windows: UnitWindows) -> None:
    """No shorter period says the same."""
    period = len(windows.firsts)

    def repeats(after):
        step = after * Fraction(windows.advance, period)
        return step.denominator == 1 and all(
            region_of(windows, unit + after)
            == tuple(end + step for end in region_of(windows, unit))
            for unit in range(period)
        )

    assert [after for after in range(1, period + 1) if repeats(after)] == [period]


@given(st.lists(layers, max_size=3))
def test_a_stack_of_layers_sees_what_its_units_see_by_name(stack):
    windows, pixels = IMAGE, Pixels()
    for layer in stack:
        windows, pixels = unit_windows.slid(windows, **layer), pixels.slid(**layer)
    assert_same(windows, pixels)


@given(st.lists(layers, max_size=2), st.integers(1, 4), st.integers(-3, 3), st.integers(-5, 5))
def test_blocks_and_shifts_see_what_their_units_see_by_name(stack, block, begin, offset):
    windows, pixels = IMAGE, Pixels()
    for layer in stack:
        windows, pixels = unit_windows.slid(windows, **layer), pixels.slid(**layer)
    windows = unit_windows.shifted(unit_windows.seen_in_blocks(windows, block, begin), offset)
    assert_same(windows, pixels.in_blocks(block, begin).shifted(offset))


@given(layers, layers, st.integers(-4, 4))
def test_branches_of_equal_jump_see_both_and_others_are_not_guessed(left, right, offset):
    one = unit_windows.slid(IMAGE, **left)
    other = unit_windows.shifted(unit_windows.slid(IMAGE, **right), offset)
    both = unit_windows.union([one, other])
    if one.jump != other.jump:
        assert both is None
        return
    assert_same(both, Pixels().slid(**left).joined(Pixels().slid(**right).shifted(offset)))


@given(st.lists(layers, min_size=1, max_size=3))
def test_a_period_is_the_shortest_and_keeps_the_jump(stack):
    windows, jump = IMAGE, Fraction(1)
    for layer in stack:
        windows = unit_windows.slid(windows, **layer)
        jump *= Fraction(layer["stride"], layer["upsampling"])
    assert windows.jump == jump
    assert isinstance(windows.jump, int) == (jump.denominator == 1)
    assert_shortest(windows)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=1, max_size=3),
    st.integers(1, 4),
)
@example(1, [(0, 0), (0, 0), (2, 2), (2, 2), (4, 4)], 1)
@example(1, [(0, 0), (1, 0)], 2)
@example(1, [(0, 0), (0, 1)], 2)
def test_a_period_is_made_no_shorter_than_what_repeats(advance, ends, times):
    advance = 5 if len(ends) == 5 else advance
    firsts = [first + turn * advance for turn in range(times) for first, _ in ends]
    lasts = [last + turn * advance for turn in range(times) for _, last in ends]
    reduced = unit_windows._reduced(advance * times, firsts, lasts)
    assert_shortest(reduced)
    long = UnitWindows(advance * times, tuple(firsts), tuple(lasts))
    for unit in UNITS:
        assert region_of(reduced, unit) == region_of(long, unit)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(-3, 3)), min_size=1, max_size=3),
    st.integers(1, 2),
)
def test_maps_that_repeat_differently_are_joined_unit_by_unit(blocks, stride):
    windows, pixels = [], Pixels(lambda unit: set())
    image = unit_windows.slid(IMAGE, 1, stride)
    for block, offset in blocks:
        one = unit_windows.seen_in_blocks(image, block)
        windows.append(unit_windows.shifted(one, offset))
        named = Pixels().slid(1, stride).in_blocks(block, 0).shifted(offset)
        pixels = pixels.joined(named)
    assert_same(unit_windows.union(windows), pixels)


@given(st.lists(layers, max_size=2), st.integers(-20, 20), st.integers(0, 6))
def test_the_units_that_see_a_pixel_are_those_whose_region_has_it(stack, first, more):
    windows = IMAGE
    for layer in stack:
        windows = unit_windows.slid(windows, **layer)
    ends = unit_windows.units_that_see(windows, first, first + more)
    found = [
        unit
        for unit in range(-400, 400)
        if region_of(windows, unit)[0] <= first + more
        and region_of(windows, unit)[1] >= first
        and region_of(windows, unit)[0] <= region_of(windows, unit)[1]
    ]
    assert ends == ((min(found), max(found)) if found else None)


def test_everything_stays_everything():
    assert unit_windows.slid(EVERYTHING, 3, stride=2) == EVERYTHING
    assert unit_windows.slid(IMAGE, math.inf) == EVERYTHING
    assert unit_windows.shifted(EVERYTHING, 5) == EVERYTHING
    assert unit_windows.union([IMAGE, EVERYTHING]) == EVERYTHING
    assert unit_windows.union([unit_windows.slid(IMAGE, 1, 2), EVERYTHING]) == EVERYTHING
    assert unit_windows.seen_in_blocks(IMAGE, math.inf) == EVERYTHING
    assert unit_windows.seen_in_blocks(EVERYTHING, 2) == EVERYTHING
    assert region_of(EVERYTHING, 7) == (-math.inf, math.inf)


def test_what_has_no_place_has_the_centre_0():
    assert unit_windows.centre_of(-math.inf, math.inf) == 0
    assert unit_windows.centre_of(math.inf, -math.inf) == 0
    assert unit_windows.centre_of(-math.inf, 3) == 0
    assert unit_windows.centre_of(3, math.inf) == 0
    gaps = unit_windows.slid(IMAGE, 1, stride=2, upsampling=2, begin=1)
    assert gaps.size == 0
    assert unit_windows.window_at([gaps]).centre == (0,)


def test_nothing_is_padded_where_nothing_is_said():
    assert unit_windows.slid(IMAGE, 3) == UnitWindows(1, (0,), (2,))
    assert unit_windows.seen_in_blocks(IMAGE, 2) == UnitWindows(2, (0, 0), (1, 1))


def test_one_map_of_another_jump_is_enough_not_to_guess():
    other = unit_windows.slid(IMAGE, 1, 2)
    assert unit_windows.union([IMAGE, unit_windows.shifted(IMAGE, 1), other]) is None


@given(layers, layers, st.integers(1, 40))
def test_maps_that_drift_apart_are_known_unit_by_unit_for_a_map_of_so_many_units(
    left, right, units
):
    several = [unit_windows.slid(IMAGE, **left), unit_windows.slid(IMAGE, **right)]
    found = unit_windows.union(several, units)
    if unit_windows.union(several) is not None:
        assert found == unit_windows.union(several)
        return
    for unit in range(units):
        regions = [unit_windows.region_of(one, unit) for one in several]
        first, last = zip(*regions, strict=True)
        assert unit_windows.region_of(found, unit) == (min(first), max(last))
    assert found.period % 64 == 0
    assert found.period >= 2 * units
    for unit in (*range(units, found.period), *range(units - found.period, 0)):
        assert unit_windows.region_of(found, unit) == (math.inf, -math.inf)
    assert abs(found.jump - max(one.jump for one in several)) < 1


def test_maps_that_drift_apart_are_followed_up_to_a_length():
    other = unit_windows.slid(IMAGE, 1, 2)
    assert unit_windows.union([IMAGE, other], 2016).period == 4032
    assert unit_windows.union([IMAGE, other], 2017) is None


def test_windows_that_repeat_too_seldom_are_not_followed():
    assert unit_windows.slid(IMAGE, 1, upsampling=4097) is None
    finest = unit_windows.slid(IMAGE, 1, upsampling=4096)
    assert len(finest.firsts) == 4096
    assert unit_windows.slid(finest, 1, stride=4096) == IMAGE


def test_maps_that_meet_too_seldom_are_not_followed():
    of_64, of_63, of_81, of_4096 = (
        unit_windows.seen_in_blocks(IMAGE, block) for block in (64, 63, 81, 4096)
    )
    assert unit_windows.union([of_64, of_81]) is None
    assert len(unit_windows.union([of_64, of_63]).firsts) == 64 * 63
    assert unit_windows.union([of_64, of_4096]) == of_4096


# --- on nodes --------------------------------------------------------------------------------


def chain(*layers_of_chain: LayerDefinition) -> EnrichedNetworkNode:
    node = None
    for number, layer in enumerate(layers_of_chain):
        node = EnrichedNetworkNode(str(number), layer, [] if node is None else [node])
    return node


def test_start_size_and_jump_follow_the_formulas_of_a_single_path():
    node = chain(
        LayerDefinition("Conv", 7, 2, padding=3),
        LayerDefinition("Pool", 3, 2, padding=1),
        LayerDefinition("Conv", 3, padding=1, dilation=2),
    )
    window = node.window
    assert window.start == (-3 - 2 - 4,)
    assert window.size == (node.receptive_field_max,) == (7 + 2 * 2 + 4 * 4,)
    assert window.jump == (4,)
    assert window.effective_padding == (9,)
    assert window.centre == (Fraction(-9 + -9 + 27 - 1, 2),)


def test_axes_have_windows_of_their_own():
    layer = LayerDefinition("Conv", (3, 1), (1, 2), padding=((1, 1), (0, 0)))
    window = chain(layer, LayerDefinition("Mean", (math.inf, 1))).window
    assert window.start == (-math.inf, 0)
    assert window.size == (math.inf, 1)
    assert window.jump == (1, 2)


def test_an_unknown_padding_gives_nothing_and_no_guess():
    node = chain(LayerDefinition("Conv", 3), LayerDefinition("ReLU", 1, 1))
    assert node.window is None
    with pytest.raises(InvalidGraphError, match="padding=1"):
        node.input_region(0)
    everything = EnrichedNetworkNode("dense", LayerDefinition("Dense"), [node])
    assert everything.window.size == (math.inf,)


def test_a_begin_alone_is_enough_and_the_end_may_be_unknown():
    node = chain(LayerDefinition("Conv", 3, padding=[(1, None)]))
    assert node.window.start == (-1,)
    assert chain(LayerDefinition("Conv", 3, padding=[None])).window is None
    assert chain(LayerDefinition("Mirror", 1, 1, padding=[(None, None)])).window is None


def test_a_node_that_reads_a_map_twice_sees_both_places():
    image = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    add = EnrichedNetworkNode(
        "add", LayerDefinition("Add", 1, 1), [image], offsets=[[(0, 0), (4, -1)]]
    )
    conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, padding=1), [add])
    assert add.window.start == (0, -1)
    assert add.window.size == (5, 2)
    assert conv.window.size == (7, 4)
    assert (conv.receptive_field_min, conv.receptive_field_max) == ((3, 3), (7, 4))
    for other in (
        EnrichedNetworkNode.from_dict(json.loads(json.dumps(conv.to_dict()))),
        pickle.loads(pickle.dumps(conv)),
        copy.deepcopy(conv),
    ):
        assert other.window == conv.window


@pytest.mark.parametrize("offsets", [[[(0,)], [(0,)]], [[(0, 0)]], 7, [[["a"]]], [[0]]])
def test_offsets_that_do_not_fit_are_refused(offsets):
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    with pytest.raises(InvalidGraphError, match="offsets"):
        EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [image], offsets=offsets)


@pytest.mark.parametrize("padding", ["same", [(1, 2, 3)], [(1.5, 2)], ["ab"]])
def test_a_padding_that_is_none_is_refused(padding):
    with pytest.raises(InvalidLayerError, match="padding"):
        LayerDefinition("Conv", 3, padding=padding)


def test_regions_are_clipped_on_request_and_padding_is_no_pixel():
    node = chain(LayerDefinition("Conv", 7, 2, padding=9))
    assert node.input_region(1) == ((-7, -1),)
    assert node.input_region(2, image_size=8) == ((0, 1),)
    with pytest.raises(InvalidGraphError, match="no pixel of an image of 8 pixels"):
        node.input_region(1, image_size=8)
    with pytest.raises(InvalidGraphError, match="'a'"):
        node.input_region("a")
    with pytest.raises(InvalidGraphError, match="axes"):
        node.input_region((1, 2))


@given(st.lists(layers, max_size=2), st.integers(0, 30))
def test_the_projective_field_is_the_inverse_of_the_region(stack, pixel):
    node = chain(
        LayerDefinition("Input", 1, 1),
        *(
            LayerDefinition(
                "Layer",
                layer["kernel"],
                layer["stride"],
                dilation=layer["dilation"],
                upsampling=layer["upsampling"],
                padding=[(layer["begin"], 0)],
            )
            for layer in stack
        ),
    )
    (units,) = node.units_seeing(pixel)
    for unit in range(60):
        first, last = region_of(node.unit_windows[0], unit)
        if first <= pixel <= last:
            assert unit in units


def test_a_long_chain_of_nodes_does_not_recurse():
    node = chain(*[LayerDefinition("Conv", 3, padding=1)] * 20_000)
    assert node.window.size == (40_001,)


# --- scans and maps that see nothing ----------------------------------------------------------


@given(st.lists(layers, max_size=2), st.sampled_from(["forward", "backward"]))
def test_a_scan_sees_itself_and_all_on_one_side(stack, way):
    windows, pixels = IMAGE, Pixels()
    for layer in stack:
        windows, pixels = unit_windows.slid(windows, **layer), pixels.slid(**layer)
    scanned = unit_windows.scanned(windows, way)
    if not windows.size:  # there is nothing to see at all
        assert scanned == windows
        return
    for unit in UNITS:
        first, last = region_of(scanned, unit)
        span = range(unit - 60, unit + 1) if way == "forward" else range(unit, unit + 61)
        seen = set().union(*(pixels.seen(one) for one in span))
        if way == "forward":
            assert (first, last) == (-math.inf, max(seen, default=-math.inf))
        else:
            assert (first, last) == (min(seen, default=math.inf), math.inf)
    assert scanned.size == math.inf
    assert scanned.jump == windows.jump


def test_what_sees_nothing_adds_nothing():
    assert unit_windows.NOTHING.size == 0
    assert region_of(unit_windows.NOTHING, 3) == (math.inf, -math.inf)


@given(st.integers(1, 3), st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 9)), min_size=2))
def test_windows_of_one_jump_join_from_the_first_to_the_last(advance, ends):
    several = [UnitWindows(advance, (first,), (first + more,)) for first, more in ends]
    both = unit_windows.union(several)
    assert both.advance == advance
    assert both.firsts == (min(first for first, _ in ends),)
    assert both.lasts == (max(first + more for first, more in ends),)


def test_a_layer_that_sees_its_own_unit_alone_leaves_windows_as_they_are():
    windows = unit_windows.slid(IMAGE, 3, upsampling=2)
    assert unit_windows.slid(windows, 1) is windows
    assert unit_windows.slid(windows, 1, begin=1) == unit_windows.shifted(windows, -1)


def test_a_period_counts_the_units_until_windows_repeat():
    assert (IMAGE.period, unit_windows.slid(IMAGE, 3, upsampling=2).period) == (1, 2)
