"""Windows of resampling and mixing, against what the operators read by their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest

from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.windows import (
    NEUTRAL,
    Products,
    Window,
    grown,
    in_blocks,
    interpolation,
    mixed_windows,
    windows_of,
)
from rfa_toolbox.operators.windows import resampling as resampled
from rfa_toolbox.unit_windows import IMAGE, region_of, slid

RATIOS = [
    Fraction(*pair) for pair in [(1, 2), (1, 3), (2, 3), (3, 4), (1, 1), (2, 1), (5, 2), (3, 1)]
]
SUPPORTS = {
    "linear": 1, "bilinear": 1, "trilinear": 1,
    "cubic": 2, "bicubic": 2, "mitchellcubic": 2, "gaussian": 2,
    "lanczos3": 3, "lanczos5": 5,
}  # fmt: skip


def assert_reads(window: Window, first_and_last: Callable[[int], tuple[int, int]]) -> None:
    windows = slid(
        IMAGE, window.kernel, window.stride, window.dilation, window.upsampling, window.begin or 0
    )
    assert windows is not None
    assert window.begin is not None
    for unit in range(-15, 16):
        assert region_of(windows, unit) == first_and_last(unit), unit


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_nearest_reads_the_unit_in_which_its_corner_lies(ratio: Fraction) -> None:
    assert_reads(
        interpolation("nearest", ratio),
        lambda unit: (math.floor(unit * ratio), math.floor(unit * ratio)),
    )


@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_exact_nearest_reads_the_unit_in_which_its_centre_lies(ratio: Fraction) -> None:
    def read(unit: int) -> tuple[int, int]:
        place = math.floor((unit + Fraction(1, 2)) * ratio)
        return place, place

    assert_reads(interpolation("nearest-exact", ratio), read)


def keeps_itself(ratio: Fraction, method: str) -> bool:
    """Whether a unit has all the weight: kernels copy along an axis that keeps its size."""
    return ratio == 1 and SUPPORTS[method] == 1


@pytest.mark.parametrize("aligned", [False, True], ids=["corners", "centres"])
@pytest.mark.parametrize("method", SUPPORTS)
@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_interpolation_reads_as_many_units_on_both_sides_as_its_support(
    ratio: Fraction, method: str, aligned: bool
) -> None:
    def reads(unit: int) -> tuple[int, int]:
        place = unit * ratio if aligned else (unit + Fraction(1, 2)) * ratio - Fraction(1, 2)
        if keeps_itself(ratio, method):
            return unit, unit
        below = math.floor(place)
        return below - SUPPORTS[method] + 1, below + SUPPORTS[method]

    assert_reads(interpolation(method, ratio, aligned=aligned), reads)


@pytest.mark.parametrize("method", SUPPORTS)
@pytest.mark.parametrize("ratio", RATIOS, ids=str)
def test_antialiasing_widens_the_support_where_units_get_fewer(
    ratio: Fraction, method: str
) -> None:
    wide = SUPPORTS[method] * max(ratio, Fraction(1))

    def reads(unit: int) -> tuple[int, int]:
        centre = (unit + Fraction(1, 2)) * ratio - Fraction(1, 2)
        if keeps_itself(ratio, method):
            return unit, unit
        return math.floor(centre - wide) + 1, math.floor(centre + wide)

    assert_reads(interpolation(method, ratio, antialias=True), reads)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("finer", [2, 3, 4])
def test_paddings_of_an_upsampling_give_as_many_units_as_it_writes(method: str, finer: int) -> None:
    window = interpolation(method, Fraction(1, finer))
    assert window.begin is not None
    assert window.end is not None
    read = 7
    grid = window.begin + (read - 1) * finer + 1 + window.end
    assert grid - window.kernel + 1 == read * finer


def test_the_padding_behind_is_not_known_where_it_depends_on_the_size() -> None:
    assert interpolation("bilinear", Fraction(2, 3)).end is None
    assert interpolation("bilinear", Fraction(2)).end is None


@pytest.mark.parametrize("size", range(1, 13))
@pytest.mark.parametrize("wanted", range(1, 8))
def test_adaptive_pooling_reads_from_the_floor_to_the_ceiling(size: int, wanted: int) -> None:
    window = resampled(size, wanted)
    assert_reads(
        window,
        lambda unit: (
            unit * size // wanted,
            math.ceil(Fraction((unit + 1) * size, wanted)) - 1,
        ),
    )
    assert window.end == window.begin


def test_reach_is_the_span_without_its_first_unit() -> None:
    assert Window(3, dilation=4).reach == 8
    assert NEUTRAL.reach == 0
    assert Window() == Window(1, 1, 1, 0, 0, 1)


def test_a_mix_within_blocks_has_the_kernel_and_the_dilation_of_its_positions() -> None:
    image = layouts.image((1, 3, 16), (2,))
    blocks = layouts.reshape(image, (1, 3, 2, 2, 4))
    assert mixed_windows(blocks, [4], [16]) == {0: Window(4)}
    assert mixed_windows(blocks, [3], [16]) == {0: Window(2, dilation=4)}
    assert mixed_windows(blocks, [2], [16]) == {0: Window(math.inf)}


@pytest.mark.parametrize(
    ("kernels", "blocks"), [((1,), False), ((2,), True), ((math.inf,), False), ((1, 7), True)]
)
def test_only_a_finite_window_of_several_units_is_a_block(
    kernels: tuple[int | float, ...], blocks: bool
) -> None:
    assert in_blocks({axis: Window(kernel) for axis, kernel in enumerate(kernels)}) == blocks


def test_products_that_there_are_none_of_do_not_grow() -> None:
    assert Products() == (0, 0)
    assert grown(Products(), layouts.image((1, 3, 8), (2,)), [NEUTRAL]) == []


def test_products_with_numbers_of_the_model_grow_with_the_axes_of_the_result() -> None:
    rows = (layouts.plain(1), *layouts.image((3, 8, 6), (1, 2))[:2])  # columns are gone
    assert grown(Products(5), rows, [NEUTRAL, NEUTRAL]) == [((1, 0), 5)]


def test_products_of_all_positions_with_all_others_grow_twice_over_every_axis() -> None:
    tokens = layouts.image((1, 8, 3), (1,))
    scores = (*tokens[:2], tokens[1])
    assert grown(Products(0, 7), scores, [NEUTRAL]) == [((2,), 7)]
    weighted = [Window(math.inf)]  # each of the tokens sums over all the tokens
    assert grown(Products(2, 7), tokens, weighted) == [((1,), 2), ((2,), 7)]
    assert grown(Products(0, 7), tokens, [Window(4)]) == [((1,), 7)]
    assert grown(Products(0, 7), tokens, weighted, paired=[0]) == [((1,), 7)]  # x times its mirror


def test_pairs_of_positions_are_no_sum() -> None:
    rows = layouts.image((1, 8, 6), (1, 2))
    scores = (*rows[:2], rows[1], rows[2])
    seeing = [Window(math.inf), Window(math.inf)]
    assert grown(Products(0, 7), scores, seeing, {0}) == [((2, 2), 7)]
    assert grown(Products(0, 7), scores, seeing) == [((3, 2), 7)]


def test_a_layer_does_the_same_along_every_axis_unless_it_says_more() -> None:
    layer = LayerDefinition("conv", 3, 2, padding=1, dilation=4, upsampling=5)
    assert windows_of(layer, 3) == (Window(3, 2, 4, 1, 1, 5),) * 3


def test_a_layer_may_differ_along_the_axes() -> None:
    layer = LayerDefinition(
        "conv", (3, 5), (2, 4), padding=((1, 2), (3, 6)), dilation=(7, 8), upsampling=(9, 10)
    )
    assert windows_of(layer, 2) == (Window(3, 2, 7, 1, 2, 9), Window(5, 4, 8, 3, 6, 10))


def test_what_sees_everything_has_no_stride() -> None:
    layer = LayerDefinition("pool", (math.inf, 5), (2, 4), padding=0)
    assert windows_of(layer, 2) == (Window(math.inf), Window(5, 4))


def test_padding_of_one_axis_may_be_unknown() -> None:
    assert windows_of(LayerDefinition("conv", 3), 2) == (Window(3, 1, 1, None, None),) * 2
    layer = LayerDefinition("conv", 3, padding=(None, (1, 2)))
    assert windows_of(layer, 2) == (Window(3, 1, 1, None, None), Window(3, 1, 1, 1, 2))
