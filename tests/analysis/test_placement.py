"""Misaligned branches, boxes of cells and sizes of objects."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from rfa_toolbox.analysis import (
    cells_of_box,
    misaligned_merges,
    missed_pixels,
    object_sizes,
    placement,
    tile_plan,
)
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.unit_windows import (
    EVERYTHING,
    IMAGE,
    UnitWindows,
    seen_in_blocks,
    shifted,
    slid,
)


def node(name, layer, *before, **facts):
    return EnrichedNetworkNode(name, layer, before, **facts)


def image():
    return node("image", LayerDefinition("Input", 1, 1))


def test_branches_with_the_same_centre_are_aligned():
    root = image()
    wide = node("wide", LayerDefinition("Conv", 5, padding=2), root)
    narrow = node("narrow", LayerDefinition("Conv", 3, padding=1), root)
    pooled = node("pooled", LayerDefinition("Pool"), root)
    assert misaligned_merges(node("add", LayerDefinition("Add", 1, 1), wide, narrow, pooled)) == []


def test_a_one_sided_padding_moves_a_branch_and_every_merge_says_by_how_much():
    root = image()
    conv = node("conv", LayerDefinition("Conv", 3, padding=[(2, 0)]), root)
    first = node("first", LayerDefinition("Add", 1, 1), root, conv)
    second = node("second", LayerDefinition("Add", 1, 1), first, root)
    found = misaligned_merges(root)
    assert [(one.node.name, one.offset) for one in found] == [
        ("first", (Fraction(1),)),
        ("second", (Fraction(1),)),
    ]
    assert second.window.size == (3,)


def test_offsets_of_one_map_are_a_misaligned_merge_as_well():
    add = node("add", LayerDefinition("Add", 1, 1), image(), offsets=[[(0,), (4,)]])
    (found,) = misaligned_merges(add)
    assert found.offset == (Fraction(4),)


def test_branches_whose_jumps_differ_drift_apart():
    root = image()
    pool = node("pool", LayerDefinition("Pool", 2, 2, padding=0), root)
    (found,) = misaligned_merges(node("add", LayerDefinition("Add", 1, 1), root, pool))
    assert found.offset == (None,)


def test_on_an_upsampled_map_the_worst_unit_counts():
    root = image()
    pool = node("pool", LayerDefinition("Pool", 2, 2, padding=0), root)
    up = node("up", LayerDefinition("Up", 2, padding=[(1, 1)], upsampling=2), pool)
    (found,) = misaligned_merges(node("add", LayerDefinition("Add", 1, 1), root, up))
    assert found.offset == (Fraction(1, 2),)


def test_one_axis_is_enough_to_be_misaligned():
    root = node("image", LayerDefinition("Input", (1, 1), 1))
    conv = node("conv", LayerDefinition("Conv", 3, padding=((1, 1), (2, 0))), root)
    (found,) = misaligned_merges(node("add", LayerDefinition("Add", 1, 1), root, conv))
    assert found.offset == (Fraction(0), Fraction(1))


NOTHING = UnitWindows(1, (math.inf,), (-math.inf,))


@pytest.mark.parametrize(
    ("branches", "apart"),
    [
        ([IMAGE], 0),
        ([EVERYTHING, None], 0),
        ([shifted(IMAGE, 9), shifted(IMAGE, 13), EVERYTHING], 4),
        ([None, IMAGE, shifted(IMAGE, 2)], 2),
        ([NOTHING, UnitWindows(2, NOTHING.firsts * 2, NOTHING.lasts * 2)], 0),
        ([shifted(slid(IMAGE, 1, upsampling=2), 10), shifted(seen_in_blocks(IMAGE, 2), 10)], None),
        ([shifted(slid(IMAGE, 1, upsampling=2), 10), slid(IMAGE, 2, 1, 1, 2, begin=-9)], 0),
    ],
)
def test_branches_without_a_place_are_left_out(branches, apart):
    assert placement._distance(branches) == apart


def test_the_unit_whose_branches_are_farthest_apart_counts():
    def centre(unit, block):
        return Fraction(unit // block * (2 * block) + block - 1, 2)

    branches = [seen_in_blocks(IMAGE, 2), seen_in_blocks(IMAGE, 3)]
    farthest = max(abs(centre(unit, 2) - centre(unit, 3)) for unit in range(6))
    assert placement._distance(branches) == farthest


def test_units_that_see_nothing_belong_to_no_box():
    conv = node("conv", LayerDefinition("Conv", 3, padding=0), image())
    gaps = node("gaps", LayerDefinition("Up", 1, padding=[(0, 1)], upsampling=2), conv)
    assert cells_of_box(gaps, [(2, 4)]) == (range(9),)
    assert cells_of_box(gaps, [(2, 4)], "inside") == (range(4, 5),)
    assert cells_of_box(gaps, [(2, 4)], "centre") == (range(2, 7),)
    assert cells_of_box(gaps, [(0, 2)], "centre") == (range(3),)


def test_centres_on_the_border_of_a_box_are_in_it():
    conv = node("conv", LayerDefinition("Conv", 3, 2, padding=1), image())
    assert cells_of_box(conv, [(4, 8)], "centre") == (range(2, 5),)
    assert cells_of_box(conv, [(5, 7)], "centre") == (range(3, 4),)


@pytest.mark.parametrize(
    ("layer", "sizes"),
    [
        (LayerDefinition("Conv", 1, 3, padding=0), (3, 0)),
        (LayerDefinition("Up", 2, 3, padding=[(1, 1)], upsampling=2), (2, 0)),
        (LayerDefinition("Dense"), (1, math.inf)),
    ],
)
def test_object_sizes_are_whole_pixels_and_none_is_negative(layer, sizes):
    assert object_sizes(node("last", layer, image())) == (sizes,)


def test_boxes_and_cells():
    conv = node("conv", LayerDefinition("Conv", (3, 1), 2, padding=((1, 1), (0, 0))), image())
    assert cells_of_box(conv, [(4, 9), (4, 9)]) == (range(2, 6), range(2, 5))
    assert cells_of_box(conv, [(4, 9), (4, 9)], "inside") == (range(3, 5), range(2, 5))
    assert cells_of_box(conv, [(3, 3), (3, 3)], "inside") == (range(0), range(0))
    for box in ([(4, 9)], [(9, 4), (0, 1)]):
        with pytest.raises(InvalidGraphError, match="box"):
            cells_of_box(conv, box)
    with pytest.raises(InvalidGraphError, match="'middle'"):
        cells_of_box(conv, [(4, 9), (4, 9)], "middle")
    everything = node("dense", LayerDefinition("Dense"), conv)
    with pytest.raises(InvalidGraphError, match="sees every pixel"):
        cells_of_box(everything, [(4, 9), (4, 9)])


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 1), (5, 4), (2, 3)])
def test_every_object_up_to_the_largest_lies_in_some_window_and_no_larger_one_does(kernel, stride):
    conv = node("conv", LayerDefinition("Conv", kernel, stride, padding=3), image())
    ((smallest, largest),) = object_sizes(conv)
    assert smallest == stride

    def fits(start, size):
        return any(
            first <= start and start + size - 1 <= last
            for ((first, last),) in map(conv.input_region, range(40))
        )

    assert all(fits(start, largest) for start in range(10, 20))
    assert not all(fits(start, largest + 1) for start in range(10, 20))


# --- tiles (that their results are equal is shown on real networks, with each framework) ------


def test_a_plan_says_its_margin_overlap_and_alignment():
    conv = node("conv", LayerDefinition("Conv", 7, 2, padding=3), image())
    plan = tile_plan(conv, image_size=64, tile_size=25)
    assert plan.alignment == (2,)
    assert plan.margin == ((3, 2),)
    assert plan.tile_size == (24,)
    assert plan.overlap == (6,)
    covered = [slice_ for tile in plan.tiles for slice_ in tile.target]
    assert covered[0].start == 0
    assert covered[-1].stop is None
    assert [one.stop for one in covered[:-1]] == [one.start for one in covered[1:]]


def test_an_image_that_fits_is_one_tile():
    conv = node("conv", LayerDefinition("Conv", 7, 2, padding=3), image())
    (tile,) = tile_plan(conv, image_size=20, tile_size=100).tiles
    assert (tile.source, tile.keep, tile.target) == (
        (slice(0, 20),),
        (slice(0, None),),
        (slice(0, None),),
    )


def test_what_no_tile_can_do_is_said():
    conv = node("conv", LayerDefinition("Conv", 7, 2, padding=3), image())
    with pytest.raises(InvalidResolutionError, match="needs at least 8 pixels"):
        tile_plan(conv, 64, 6)
    pooled = node("pool", LayerDefinition("Pool"), conv)
    with pytest.raises(InvalidGraphError, match="see the whole image"):
        tile_plan(pooled, 64, 32)
    gate = node("gate", LayerDefinition("SqueezeExcitation", 1, 1, ignored_global=True), conv)
    with pytest.raises(InvalidGraphError, match="'gate'"):
        tile_plan(node("last", LayerDefinition("Conv", 1, 1), gate), 64, 32)
    with pytest.raises(InvalidGraphError, match="padding"):
        tile_plan(node("conv", LayerDefinition("Conv", 3), conv), 64, 32)


def test_holes_are_counted_per_axis_and_for_the_unit_that_misses_most():
    start = EnrichedNetworkNode("scalar", LayerDefinition("Input", 1, 1), [])
    scalar = EnrichedNetworkNode(
        "holes", LayerDefinition("Conv", 3, dilation=4, padding=4), [start]
    )
    layer = LayerDefinition("Conv", (3, 2), (1, 3), dilation=(1, 5), padding=((1, 1), (2, 2)))
    axes = EnrichedNetworkNode("axes", layer, [scalar])
    apart = EnrichedNetworkNode("apart", LayerDefinition("Mean", (math.inf, 1), 1), [axes])
    assert missed_pixels(axes) == {start: 0, scalar: 6, axes: (2, 8), apart: (None, 8)}
    uneven = EnrichedNetworkNode(
        "up", LayerDefinition("Up", 3, upsampling=2, dilation=2, padding=1), [scalar]
    )
    assert missed_pixels(uneven)[uneven] == max(uneven.coverage(unit=one).misses for one in (0, 1))
