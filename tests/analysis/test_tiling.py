"""Plans for tiles, carried out on small networks of whole numbers, and against a plain search."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox.analysis import tile_plan
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures
from rfa_toolbox.unit_windows import region_of

UNITS = range(-100, 600)


@st.composite
def sliding_layers(draw):
    """Layers whose output does not depend on how much image is behind it."""
    upsampling = draw(st.sampled_from((1, 1, 2)))
    kernel = draw(st.integers(upsampling, 5))
    dilation = draw(st.integers(1, 2)) if upsampling == 1 else 1
    begin = draw(st.integers(upsampling - 1, dilation * (kernel - 1)))
    end = dilation * (kernel - 1) + upsampling - 1 - begin
    stride = draw(st.integers(1, 3)) if upsampling == 1 else 1
    return kernel, stride, dilation, upsampling, begin, end


def chain(layers):
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for number, (kernel, stride, dilation, upsampling, begin, end) in enumerate(layers):
        layer = LayerDefinition(
            "Conv", kernel, stride, dilation=dilation, upsampling=upsampling, padding=[(begin, end)]
        )
        node = EnrichedNetworkNode(str(number), layer, [node])
    return node


def run(layers, image):
    """The output of the network, as whole numbers, so that equal means equal."""
    values = image
    for kernel, stride, dilation, upsampling, begin, end in layers:
        fine = [0] * ((len(values) - 1) * upsampling + 1)
        fine[::upsampling] = values
        padded = {place + begin: value for place, value in enumerate(fine)}
        size = len(fine) + begin + end
        values = [
            sum(
                (7 * tap + 3) * padded.get(start + tap * dilation, 0) + tap
                for tap in range(kernel)
                if 0 <= start + tap * dilation < size
            )
            for start in range(0, size - dilation * (kernel - 1), stride)
        ]
    return values


plans = (
    st.lists(sliding_layers(), min_size=1, max_size=3),
    st.integers(30, 60),
    st.integers(10, 45),
)


def planned(layers, image_size, tile_size):
    node = chain(layers)
    try:
        return node, tile_plan(node, image_size, tile_size)
    except InvalidResolutionError:
        return node, None


@settings(max_examples=200)
@given(*plans)
def test_tiles_put_together_are_the_whole(layers, image_size, tile_size):
    _, plan = planned(layers, image_size, tile_size)
    if plan is None:
        return  # the next test shows that there is none
    image = [(place * place * 31 + 17) % 1009 for place in range(image_size)]
    whole = run(layers, image)
    result = [None] * len(whole)
    for tile in plan.tiles:
        ((source, keep, target),) = zip(tile.source, tile.keep, tile.target, strict=True)
        assert len(image[source]) <= min(tile_size, image_size)
        kept = run(layers, image[source])[keep]
        assert len(kept) == len(result[target])
        result[target] = kept
    assert result == whole


@settings(max_examples=200)
@given(*plans)
def test_a_plan_is_what_a_plain_search_finds(layers, image_size, tile_size):
    node, plan = planned(layers, image_size, tile_size)
    (windows,) = node.unit_windows
    regions = {unit: region_of(windows, unit) for unit in UNITS}
    steps = [before.unit_windows[0].advance for before in node.all_layers]
    alignment = next(one for one in range(1, 10**4) if all(one % step == 0 for step in steps))
    fitting = max(
        size for size in range(-alignment, tile_size + 1) if (image_size - size) % alignment == 0
    )
    size = min(fitting, image_size)

    def done(end):
        """The first unit that sees a pixel from ``end`` on, or whose place is there."""
        seeing = min(unit for unit, (_, last) in regions.items() if last >= end)
        return min(seeing, math.ceil(Fraction(end, windows.advance)) * len(windows.firsts))

    def allowed(start, first):
        """Whether no unit from the first one on sees a pixel in front of ``start``."""
        own = Fraction(start) / windows.jump
        return first >= own and all(
            low >= start for unit, (low, _) in regions.items() if unit >= first
        )

    starts = [0]
    while starts and starts[-1] + size < image_size:
        ready = done(starts[-1] + size)
        later = range(starts[-1] + alignment, image_size + alignment, alignment)
        able = [start for start in later if size > 0 and allowed(start, ready)]
        enough = [start for start in able if start + size >= image_size]
        if not able:
            starts = []
        else:
            starts.append(min(enough) if enough else max(able))
    if plan is None:
        assert not starts
        return
    assert plan.alignment == (alignment,)
    assert plan.tile_size == (size,)
    assert [tile.source[0].start for tile in plan.tiles] == starts
    assert [tile.source[0].stop for tile in plan.tiles[:-1]] == [one + size for one in starts[:-1]]
    assert plan.tiles[-1].source[0].stop == image_size
    assert plan.overlap == ((size - starts[1] if len(starts) > 1 else 0),)
    period = range(len(windows.firsts))
    in_front = max(-regions[unit][0] for unit in period)
    behind = max(regions[unit][1] for unit in period) - windows.advance + 1
    assert plan.margin == ((max(0, in_front), max(0, behind)),)
    for tile, following in pairwise(plan.tiles):
        assert tile.target[0].stop == following.target[0].start == done(tile.source[0].stop)


@pytest.mark.parametrize("moved", [-3, 3])
def test_units_that_look_elsewhere_are_in_the_tile_that_they_are_taken_from(moved):
    layers = [(1, 1, 1, 1, moved, -moved)]
    image = list(range(1, 21))
    result = [None] * 20
    plan = tile_plan(chain(layers), 20, 8)
    assert min(plan.margin[0]) == 0
    for tile in plan.tiles:
        assert tile.keep[0].start >= 0
        result[tile.target[0]] = run(layers, image[tile.source[0]])[tile.keep[0]]
    assert result == run(layers, image)


def test_units_that_see_nothing_are_right_everywhere():
    layers = [(1, 1, 1, 2, 0, 1)]  # a transposed convolution with gaps
    plan = tile_plan(chain(layers), 20, 8)
    image = list(range(1, 21))
    result = [None] * 40
    for tile in plan.tiles:
        result[tile.target[0]] = run(layers, image[tile.source[0]])[tile.keep[0]]
    assert result == run(layers, image)
    assert plan.margin == ((0, 0),)


def test_every_axis_has_its_own_alignment():
    layer = LayerDefinition("Pool", (2, 3), (2, 3), padding=((0, 0), (0, 0)))
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    plan = tile_plan(EnrichedNetworkNode("pool", layer, [image]), (8, 12), (4, 7))
    assert plan.alignment == (2, 3)
    assert plan.tile_size == (4, 6)
    assert [(tile.source[0].start, tile.source[1].start) for tile in plan.tiles] == [
        (0, 0), (0, 6), (4, 0), (4, 6),
    ]  # fmt: skip


def named(name, layer, *before):
    return EnrichedNetworkNode(name, layer, before)


def test_a_coarse_grid_far_in_front_counts_as_well():
    image = named("image", LayerDefinition("Input", 1, 1))
    pool = named("pool", LayerDefinition("Pool", 2, 2, padding=0), image)
    up = named("up", LayerDefinition("Up", 2, padding=[(1, 1)], upsampling=2), pool)
    wide = named("wide", LayerDefinition("Conv", 9, padding=4), image)
    last = named("add", LayerDefinition("Add", 1, 1), up, wide)
    for number in range(3):
        last = named(str(number), LayerDefinition("Conv", 3, padding=1), last)
    assert last.unit_windows[0].advance == 1
    assert tile_plan(last, 64, 32).alignment == (2,)


def kept(last, image_size, tile_size):
    return [
        (tile.source[0].start, tile.keep[0])
        for tile in tile_plan(last, image_size, tile_size).tiles
    ]


@pytest.mark.parametrize(
    ("offsets", "first", "stop"),
    [((-4, 0, -2, 3), 4, 11), ((-4, 0, -2, -1), 4, 14), ((3, 0, 1, 2), 0, 11)],
)
def test_all_places_that_a_layer_reads_are_in_the_tile(offsets, first, stop):
    image = named("image", LayerDefinition("Input", 1, 1))
    other = named("other", LayerDefinition("Act", 1, 1), image)
    reads = [[(one,) for one in offsets[:2]], [(one,) for one in offsets[2:]]]
    add = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [image, other], offsets=reads)
    # As far ahead as possible: a tile goes on where the one in front of it is not right any more.
    ahead = stop - first
    assert kept(add, 14 + 2 * ahead, 14) == [
        (0, slice(0, stop)), (ahead, slice(first, stop)), (2 * ahead, slice(first, None)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "begin", "first", "stop"),
    # Of the convolution 1 to 14 are right, and blocks are 0-3, 4-7; or 2 to 13, and 1-4, 5-8.
    [(3, 0, 4, 12), (5, 3, 5, 13)],
)
def test_blocks_that_a_tile_cuts_are_wrong(kernel, begin, first, stop):
    image = named("image", LayerDefinition("Input", 1, 1))
    conv = named("conv", LayerDefinition("Conv", kernel, padding=kernel // 2), image)
    block = LayerDefinition("Attention", 4, padding=[(begin, 0)], blockwise=True)
    assert kept(named("windows", block, conv), 32, 16) == [
        (0, slice(0, stop)), (8, slice(first, stop)), (16, slice(first, None)),
    ]  # fmt: skip


def test_a_layer_that_reads_the_image_needs_no_other_in_front():
    conv = named("conv", LayerDefinition("Conv", 7, padding=3))
    assert kept(conv, 30, 14) == [
        (0, slice(0, 11)), (8, slice(3, 11)), (16, slice(3, None)),
    ]  # fmt: skip


def test_every_axis_has_its_own_window():
    image = named("image", LayerDefinition("Input", 1, 1))
    conv = named("conv", LayerDefinition("Conv", (3, 7), padding=((1, 1), (3, 3))), image)
    first, *_ = tile_plan(conv, 20, 14).tiles
    assert first.keep == (slice(0, 13), slice(0, 11))


def test_an_image_of_one_tile_needs_no_unit_that_is_right_elsewhere():
    assert kept(chain([(5, 1, 1, 1, 2, 2)]), 4, 9) == [(0, slice(0, None))]


@pytest.mark.parametrize(
    "measures", [Measures(encoded_resolution=(60,)), Measures(feature_map=(27,))]
)
def test_what_is_half_known_is_taken_for_the_usual(measures):
    layer = LayerDefinition("Pool", 2, 2, padding=0)
    pool = EnrichedNetworkNode("pool", layer, [], measures=measures)
    assert kept(pool, 40, 20) == [(0, slice(0, 10)), (20, slice(0, None))]


def test_units_that_a_layer_does_not_make_of_a_tile_are_not_in_it():
    image = named("image", LayerDefinition("Input", 1, 1))
    made = Measures(encoded_resolution=(60,), feature_map=(27,))
    pool = EnrichedNetworkNode(
        "pool", LayerDefinition("Pool", 2, 2, padding=0), [image], measures=made
    )
    act = named("act", LayerDefinition("Act", 1, 1), pool)
    # Three units less than half of the pixels: 7 of 20, of a tile that leaves the same rest.
    assert kept(act, 40, 20) == [(0, slice(0, 7)), (14, slice(0, 7)), (20, slice(4, None))]
    assert kept(act, 41, 21)[0] == (0, slice(0, 7))


def test_what_a_layer_cut_off_is_missing_wherever_the_next_one_looks():
    """Unit i looks at pixel i again, but the three units in front of a tile are not there."""
    image = named("image", LayerDefinition("Input", 1, 1))
    ahead = named("ahead", LayerDefinition("Conv", 1, padding=[(-3, 3)]), image)
    back = named("back", LayerDefinition("Conv", 1, padding=[(3, -3)]), ahead)
    assert kept(back, 20, 14) == [(0, slice(0, 14)), (6, slice(8, None))]


@pytest.mark.parametrize(("size", "made"), [(14, 7), (15, 8)])
def test_where_the_end_of_a_padding_is_not_known_every_share_of_a_tile_has_its_unit(size, made):
    image = named("image", LayerDefinition("Input", 1, 1))
    moved = named("moved", LayerDefinition("Conv", 1, 2, padding=[(4, None)]), image)
    assert kept(moved, size + 20, size)[0] == (0, slice(0, made))


def test_a_layer_makes_and_has_right_what_all_that_it_reads_have():
    image = named("image", LayerDefinition("Input", 1, 1))
    wide = named("wide", LayerDefinition("Conv", 7, padding=3), image)
    assert kept(named("add", LayerDefinition("Add", 1, 1), image, wide), 30, 14) == [
        (0, slice(0, 11)), (8, slice(3, 11)), (16, slice(3, None)),
    ]  # fmt: skip
    shorter = named("shorter", LayerDefinition("Conv", 3, padding=0), image)
    both = named("add", LayerDefinition("Add", 1, 1), image, shorter)
    # Of the twelve units of a tile all are right, and the unit that looks at the last is missing.
    moved = named("moved", LayerDefinition("Conv", 1, padding=[(3, -3)]), both)
    assert kept(moved, 23, 14) == [(0, slice(0, 12)), (9, slice(3, None))]


@pytest.mark.parametrize("fact", ["ignored_global", "resolution_dependent", "position_dependent"])
def test_a_layer_far_in_front_that_depends_on_the_whole_image_is_named(fact):
    layer = LayerDefinition("Whole", 1, 1, padding=0, **{fact: True})
    last = named("whole", layer, named("image", LayerDefinition("Input", 1, 1)))
    for number in range(3):
        last = named(str(number), LayerDefinition("Conv", 3, padding=1), last)
    with pytest.raises(InvalidGraphError, match=r"'whole' .* depends on the whole image"):
        tile_plan(last, 64, 32)


def test_many_paths_through_few_layers_are_no_trouble():
    last = named("image", LayerDefinition("Input", 1, 1))
    for number in range(25):
        left, right = (
            named(f"{side}{number}", LayerDefinition("Conv", 1, 1, padding=0), last)
            for side in ("left", "right")
        )
        last = named(f"add{number}", LayerDefinition("Add", 1, 1), left, right)
    assert len(tile_plan(last, 64, 32).tiles) == 2


def test_what_is_no_graph_cannot_be_tiled():
    with pytest.raises(InvalidGraphError, match="this is a str"):
        tile_plan("vgg16", 64, 32)


def test_the_least_size_counts_the_margins_and_two_steps_of_the_grid():
    with pytest.raises(InvalidResolutionError, match="at least 12 pixels"):
        tile_plan(chain([(9, 3, 1, 1, 4, 4)]), 66, 6)


@pytest.mark.parametrize(("tile_size", "least"), [(6, 8), (1, 8)])
def test_tiles_that_are_too_small_are_refused_with_a_size_that_will_do(tile_size, least):
    node = chain([(7, 2, 1, 1, 3, 3)])
    with pytest.raises(InvalidResolutionError, match=rf"axis 0; .* at least {least} pixels"):
        tile_plan(node, 64, tile_size)
    assert math.prod(tile_plan(node, 64, least).tile_size) == least


def test_the_least_size_leaves_the_rest_that_the_image_leaves():
    node = chain([(12, 12, 1, 1, 0, 0)])
    with pytest.raises(InvalidResolutionError, match="at least 18 pixels"):
        tile_plan(node, 30, 5)
    assert tile_plan(node, 30, 18).tile_size == (18,)
    finer = chain([(9, 1, 1, 1, 4, 4), (3, 1, 1, 2, 1, 2)])
    with pytest.raises(InvalidResolutionError, match="at least 10 pixels"):
        tile_plan(finer, 30, 5)
    assert tile_plan(finer, 30, 10).tile_size == (10,)
    assert tile_plan(node, 30, 29).tile_size == (18,)


def test_a_graph_of_an_image_that_leaves_another_rest_is_refused():
    """Paddings of another size may lie elsewhere, as those of Keras and TensorFlow do."""
    made = Measures(encoded_resolution=(64,), feature_map=(32,))
    pool = EnrichedNetworkNode(
        "pool", LayerDefinition("Pool", 2, 2, padding=0), measures=made, predecessors=[]
    )
    assert len(tile_plan(pool, 128, 32).tiles) == 4
    assert len(tile_plan(pool, 65, 80).tiles) == 1
    with pytest.raises(InvalidResolutionError, match="made for 64 pixels along axis 0"):
        tile_plan(pool, 65, 32)


def test_what_nothing_knows_cannot_be_tiled():
    node = EnrichedNetworkNode(
        "odd", LayerDefinition("Odd", 1, 1), [], certainty="unknown", certainty_reason="it is odd"
    )
    with pytest.raises(InvalidGraphError, match="'odd' cannot be tiled: it is odd"):
        tile_plan(node, 64, 32)


@pytest.mark.parametrize("blind", [0, 1])
def test_units_that_see_no_pixel_along_any_one_axis_belong_to_no_tile(blind):
    fine, crop = [1, 1], [(0, 0), (0, 0)]
    fine[blind], crop[blind] = 3, (-1, 0)
    gaps = named("gaps", LayerDefinition("Transposed", (1, 1), upsampling=fine, padding=0))
    last = named("last", LayerDefinition("Crop", (1, 1), fine, padding=crop), gaps)
    with pytest.raises(InvalidGraphError, match="units of 'last' see no pixel at all"):
        tile_plan(last, 24, 12)


@pytest.mark.parametrize("sizes", [(96, 0), ("all", 32), (96, (40, -1))])
def test_sizes_that_are_none_are_called_by_their_name(sizes):
    conv = named("conv", LayerDefinition("Conv", (3, 3), padding=1))
    name, value = ("image_size", "'all'") if sizes[0] == "all" else ("tile_size", repr(sizes[1]))
    with pytest.raises(InvalidResolutionError, match=re.escape(f"{name} is {value};")):
        tile_plan(conv, *sizes)


def test_what_has_no_place_in_the_image_stands_in_the_way_of_no_tile():
    image = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    flags = dict.fromkeys(("ignored_global", "position_dependent", "resolution_dependent"), True)
    vector = EnrichedNetworkNode(
        "v", LayerDefinition("Embedding", (1, 1), 1, positionless=True, **flags), []
    )
    conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", (3, 3), (2, 2), padding=1), [image])
    alone = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [conv])
    for before in ([conv, vector], [vector, conv]):
        both = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), before)
        assert tile_plan(both, 64, 40) == tile_plan(alone, 64, 40)


def test_one_axis_that_is_seen_without_end_forbids_tiles():
    rows = EnrichedNetworkNode("rows", LayerDefinition("Mean", (math.inf, 1), 1), [])
    with pytest.raises(InvalidGraphError, match="whole image"):
        tile_plan(rows, 64, 32)


# --- approximate plans ---------------------------------------------------------------------------


def behind_a_stem(layer, **facts):
    """Two convolutions, with a layer between them, beside which the map goes on."""
    stem = named("stem", LayerDefinition("Conv", (3, 3), (2, 2), padding=1))
    odd = EnrichedNetworkNode("odd", layer, [stem], **facts)
    both = named("add", LayerDefinition("Add", (1, 1)), stem, odd)
    return named("last", LayerDefinition("Conv", (3, 3), padding=1), both)


def at_one_place(**facts):
    return LayerDefinition("Odd", (1, 1), padding=0, **facts)


UNKNOWN = {"certainty": "unknown", "certainty_reason": "it is odd"}


@pytest.mark.parametrize(
    ("layer", "facts", "says"),
    [
        (at_one_place(ignored_global=True), {}, "takes statistics of each tile, not of the image"),
        (LayerDefinition("Odd", math.inf), {}, "sees all of each tile, not all of the image"),
        (
            LayerDefinition("Odd", (math.inf, 1), padding=None), {},
            "sees all of each tile, not all of the image",
        ),
        (
            at_one_place(resolution_dependent=True), {},
            "depends on the size of a tile, not on that of the image",
        ),
        (
            at_one_place(position_dependent=True), {},
            "depends on the place in a tile, not on that in the image",
        ),
        (at_one_place(), UNKNOWN, "is not known, and may look farther than the margin"),
    ],
)  # fmt: skip
def test_an_approximate_plan_is_that_of_what_is_finite_and_says_what_differs(layer, facts, says):
    last = behind_a_stem(layer, **facts)
    with pytest.raises(InvalidGraphError):
        tile_plan(last, (64, 32), (32, 16))
    plan = tile_plan(last, (64, 32), (32, 16), approximate=True)
    assert plan.differences == (f"'odd' (Odd) {says}",)
    plain = tile_plan(behind_a_stem(at_one_place()), (64, 32), (32, 16))
    assert attrs.evolve(plan, differences=()) == plain
    assert tile_plan(last, (64, 32), (64, 32), approximate=True).differences == ()
    two = tile_plan(last, (64, 32), (64, 24), approximate=True)
    assert len(two.tiles) == 2 < len(plan.tiles)
    assert two.differences == plan.differences


def test_what_is_not_known_is_said_once_where_it_begins():
    layer = LayerDefinition("Conv", 3, padding=1)
    image = named("image", LayerDefinition("Input", 1, 1))
    odd = EnrichedNetworkNode("odd", layer, [image], **UNKNOWN)
    behind = named("behind", layer, odd)
    last = named("add", LayerDefinition("Add", 1, 1), image, behind)
    assert (behind.certainty, last.certainty) == ("unknown", "unknown")
    (said,) = tile_plan(last, 64, 32, approximate=True).differences
    assert said.startswith("'odd'")


def test_an_approximate_plan_of_what_needs_none_is_the_exact_one():
    last = behind_a_stem(at_one_place())
    assert tile_plan(last, 64, 32, approximate=True) == tile_plan(last, 64, 32)


@pytest.mark.parametrize("kernel", [(math.inf, 1), (1, math.inf), (math.inf, math.inf)])
def test_what_sees_everything_over_all_paths_has_no_margin(kernel):
    whole = named("whole", LayerDefinition("Mean", kernel, padding=None))
    with pytest.raises(
        InvalidGraphError, match=r"of 'whole' see .* in front of the .* everything.$"
    ):
        tile_plan(whole, 64, 32, approximate=True)


@pytest.mark.parametrize("behind", [True, False])
def test_an_approximate_plan_needs_the_places_of_units_as_well(behind):
    last = named("lost", LayerDefinition("Conv", 3, padding=None))
    if behind:
        last = named("last", LayerDefinition("Conv", 3, padding=1), last)
    with pytest.raises(InvalidGraphError, match="padding"):
        tile_plan(last, 64, 32, approximate=True)


def behind_a_norm(**facts):
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, padding=1), [image])
    layer = LayerDefinition("Norm", 1, 1, ignored_global=True, **facts)
    norm = EnrichedNetworkNode("norm", layer, [conv])
    return EnrichedNetworkNode("last", LayerDefinition("Conv", 3, padding=1), [norm])


def test_tiles_hold_the_blocks_of_which_a_norm_takes_statistics():
    graph = behind_a_norm(norm_blocks=4)
    plan = tile_plan(graph, 32, 18)
    # Right in a tile are 1 to 14 of the first convolution, 4 to 11 of the norm, 5 to 10 in all.
    assert (plan.alignment, plan.margin) == ((4,), ((5, 5),))
    assert [tile.source[0].start for tile in plan.tiles] == [0, 4, 8, 12, 16]
    assert plan.tiles[1].keep == (slice(7, 11),)
    assert graph.receptive_field_max == 5
    assert graph.predecessors[0].layer_info.ignored_global


def test_a_norm_of_no_blocks_takes_a_tile_for_the_image():
    with pytest.raises(InvalidGraphError, match="depends on the whole image"):
        tile_plan(behind_a_norm(), 32, 18)
