"""Layouts predict where NumPy puts the positions of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Atom, Dimension, Joined, Layout, Lost

Arrays = list[np.ndarray[Any, Any]]
Shape = tuple[int, ...]


class Followed:
    """A tensor as its layout, and as NumPy has it: per axis the coordinate of every element."""

    def __init__(self, shape: Shape, spatial: Sequence[int]) -> None:
        self.layout: Layout = layouts.image(shape, spatial)
        self.extents = tuple(shape[place] for place in spatial)
        self.coordinates: Arrays = [
            np.broadcast_to(
                np.arange(shape[place]).reshape(
                    [-1 if p == place else 1 for p in range(len(shape))]
                ),
                shape,
            )
            for place in spatial
        ]

    @property
    def shape(self) -> Shape:
        return self.coordinates[0].shape

    def reshape(self, shape: Shape) -> None:
        self.layout = layouts.reshape(self.layout, shape)
        self.coordinates = [one.reshape(shape) for one in self.coordinates]

    def permute(self, order: Sequence[int]) -> None:
        self.layout = layouts.permute(self.layout, order)
        self.coordinates = [one.transpose(order) for one in self.coordinates]

    def slice(self, place: int, start: int, stop: int, step: int) -> None:
        whole = list(self.layout)
        whole[place] = layouts.slice_dimension(whole[place], start, stop, step)
        self.layout = tuple(whole)
        index = (slice(None),) * place + (slice(start, stop, step),)
        self.coordinates = [one[index] for one in self.coordinates]

    def check(self) -> None:
        assert len(self.layout) == len(self.shape)
        for dimension, size in zip(self.layout, self.shape, strict=True):
            assert math.prod(piece.size for piece in dimension) == size
        for axis, truth in enumerate(self.coordinates):
            self.check_axis(axis, truth)

    def check_axis(self, axis: int, truth: np.ndarray[Any, Any]) -> None:
        for place, dimension in enumerate(self.layout):
            if axis not in layouts.axes_of(dimension) and self.shape[place] > 1:
                assert not np.diff(truth, axis=place).any(), "a dimension hides positions"
        if axis not in layouts.spatial_axes(self.layout):
            return  # one position is left, which was just shown
        predicted = np.zeros(self.shape, int)
        for place, dimension in enumerate(self.layout):
            along = contribution(dimension, axis)
            if along is None:
                return  # lost: nothing is claimed but that this dimension has the axis
            predicted += along.reshape([-1 if p == place else 1 for p in range(len(self.shape))])
        assert np.array_equal(predicted, truth)


def contribution(dimension: Dimension, axis: int) -> np.ndarray[Any, Any] | None:
    """Return what every index of a dimension adds to the coordinate, None if that is lost."""
    found = np.zeros(1, int)
    for piece in dimension:
        if type(piece) is Atom:
            own = np.zeros(piece.size, int)
            if piece.axis == axis:
                own = piece.origin + piece.step * np.arange(piece.size)
        elif type(piece) is Joined:
            parts = [contribution(part, axis) for part in piece.parts]
            if any(part is None for part in parts):
                return None
            own = np.concatenate([part for part in parts if part is not None])
        elif axis in piece.axes:  # type: ignore[union-attr]
            return None
        else:
            own = np.zeros(piece.size, int)
        found = (found[:, None] + own[None, :]).ravel()
    return found


def is_lost(layout: Layout) -> bool:
    return any(not isinstance(piece, Atom) for dimension in layout for piece in dimension)


@st.composite
def factorisations(draw: st.DrawFn, size: int) -> Shape:
    """Draw a shape with as many elements."""
    primes = []
    rest = size
    for prime in (2, 3, 5, 7):
        while rest % prime == 0:
            primes.append(prime)
            rest //= prime
    if rest > 1:
        primes.append(rest)
    shape = [1]
    for prime in draw(st.permutations(primes)):
        if draw(st.booleans()):
            shape.append(prime)
        else:
            shape[-1] *= prime
    return tuple(shape)


@st.composite
def grouped(draw: st.DrawFn, shape: Shape) -> Shape:
    """Draw a shape as networks use it: dimensions split in two, or neighbours put together."""
    result = []
    place = 0
    while place < len(shape):
        size = shape[place]
        choice = draw(st.sampled_from(["keep", "split", "merge"]))
        if choice == "merge" and place + 1 < len(shape):
            result.append(size * shape[place + 1])
            place += 2
            continue
        divisors = [one for one in range(2, size) if size % one == 0]
        if choice == "split" and divisors:
            inner = draw(st.sampled_from(divisors))
            result.extend((size // inner, inner))
        else:
            result.append(size)
        place += 1
    return tuple(result)


def moves(data: st.DataObject, tensor: Followed, slices: bool, free: bool) -> None:
    kind = data.draw(
        st.sampled_from(["reshape", "permute", "slice"] if slices else ["reshape", "permute"])
    )
    if kind == "permute":
        tensor.permute(data.draw(st.permutations(range(len(tensor.shape)))))
    elif kind == "reshape":
        size = math.prod(tensor.shape)
        some = factorisations(size) if free else grouped(tensor.shape)
        tensor.reshape(data.draw(some))
    else:
        place = data.draw(st.integers(0, len(tensor.shape) - 1))
        size = tensor.shape[place]
        start = data.draw(st.integers(0, size - 1))
        stop = data.draw(st.integers(start + 1, size))
        tensor.slice(place, start, stop, data.draw(st.integers(1, 3)))


SHAPES = st.sampled_from([(1, 3, 8, 12), (2, 4, 4, 4), (1, 1, 6, 16), (1, 2, 12, 9), (3, 7, 5, 8)])


@settings(max_examples=300, derandomize=True)
@given(data=st.data(), shape=SHAPES, slices=st.booleans(), free=st.booleans())
def test_coordinates_are_those_of_numpy(
    data: st.DataObject, shape: Shape, slices: bool, free: bool
) -> None:
    tensor = Followed(shape, (2, 3))
    for _ in range(data.draw(st.integers(1, 5))):
        moves(data, tensor, slices, free)
        tensor.check()


@settings(max_examples=300, derandomize=True)
@given(data=st.data(), shape=SHAPES)
def test_splits_and_merges_of_whole_dimensions_come_back(data: st.DataObject, shape: Shape) -> None:
    """Nothing is lost where blocks line up, and the way back gives the image again."""
    tensor = Followed(shape, (2, 3))
    image = tensor.layout
    split: list[int] = []
    for size in shape:
        inner = data.draw(st.sampled_from([one for one in range(1, size + 1) if size % one == 0]))
        split.extend((size // inner, inner))
    order = data.draw(st.permutations(range(len(split))))
    tensor.reshape(tuple(split))
    tensor.permute(order)
    permuted = tensor.shape
    tensor.check()
    assert not is_lost(tensor.layout)
    merged = permuted[0] * permuted[1], *permuted[2:-2], permuted[-2] * permuted[-1]
    tensor.reshape(merged)
    tensor.check()
    tensor.reshape(permuted)
    tensor.check()
    tensor.permute([order.index(place) for place in range(len(order))])
    tensor.reshape(shape)
    tensor.check()
    assert not is_lost(tensor.layout)
    assert tensor.layout == image


@settings(max_examples=300, derandomize=True)
@given(data=st.data(), shape=SHAPES)
def test_mixing_is_the_span_that_numpy_finds(data: st.DataObject, shape: Shape) -> None:
    tensor = Followed(shape, (2, 3))
    for _ in range(data.draw(st.integers(1, 4))):
        moves(data, tensor, slices=False, free=False)
    places = data.draw(st.sets(st.integers(0, len(tensor.shape) - 1), min_size=1))
    found = layouts.mixing(tensor.layout, places, tensor.extents)
    for axis, truth in enumerate(tensor.coordinates):
        mixed = tuple(places)
        span = int((truth.max(axis=mixed) - truth.min(axis=mixed)).max()) + 1
        if axis not in found:
            assert span == 1
        elif found[axis].kernel == math.inf:
            assert span > 1 or tensor.extents[axis] == 1 or is_lost(tensor.layout)
        else:
            reach = found[axis].dilation * (int(found[axis].kernel) - 1)
            assert span == reach + 1


# --- by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 6])
def test_a_map_of_one_unit_is_reshaped_as_a_larger_one_is(channels: int) -> None:
    one = layouts.image((1, channels, 1, 1), (2, 3))
    row, column = one[2:]
    flat = layouts.reshape(one, (1, channels, 1))
    assert flat == (*one[:2], row + column)
    assert layouts.reshape(flat, (1, channels, 1, 1)) == one
    tokens = layouts.permute(flat, (0, 2, 1))
    assert layouts.reshape(tokens, (1, 1, 1, channels)) == ((), row, column, one[1])
    if channels == 6:
        assert layouts.reshape(tokens, (1, 1, 2, 3))[1] == row + column


def test_a_map_of_one_column_gets_its_dimension_back() -> None:
    map_ = layouts.image((1, 6, 7, 1), (2, 3))
    tokens = layouts.permute(layouts.reshape(map_, (1, 6, 7)), (0, 2, 1))
    assert layouts.reshape(tokens, (1, 7, 1, 6)) == layouts.permute(map_, (0, 2, 3, 1))


def test_windows_of_4_by_reshape() -> None:
    windows = layouts.reshape(layouts.image((1, 3, 8, 8), (2, 3)), (1, 3, 2, 4, 2, 4))
    tokens = layouts.reshape(layouts.permute(windows, (0, 2, 4, 3, 5, 1)), (4, 16, 3))
    assert layouts.mixing(tokens, [1], (8, 8)) == {
        0: layouts.Mixing(4),
        1: layouts.Mixing(4),
    }
    assert layouts.mixing(tokens, [2], (8, 8)) == {}


def test_a_flattened_map_is_mixed_wholly() -> None:
    flat = layouts.reshape(layouts.image((1, 3, 8, 8), (2, 3)), (1, 192))
    assert layouts.mixing(flat, [1], (8, 8)) == {
        0: layouts.Mixing(math.inf),
        1: layouts.Mixing(math.inf),
    }


def test_what_does_not_line_up_is_lost_but_not_forgotten() -> None:
    odd = layouts.reshape(layouts.image((1, 1, 6, 4), (2, 3)), (1, 1, 8, 3))
    assert all(layouts.axes_of(dimension) == (0, 1) for dimension in odd[2:])
    assert all(isinstance(piece, Lost) for dimension in odd[2:] for piece in dimension)
    assert layouts.mixing(odd, [3], (6, 4))[0].kernel == math.inf


def test_a_class_token_in_front_of_patches_can_be_taken_off() -> None:
    patches = layouts.reshape(layouts.image((1, 8, 4, 4), (2, 3)), (1, 8, 16))[2]
    joined = layouts.join([layouts.plain(1), patches])
    assert layouts.axes_of(joined) == (0, 1)
    assert layouts.slice_dimension(joined, 1, 17) == patches
    assert layouts.axes_of(layouts.slice_dimension(joined, 0, 1)) == ()


@pytest.mark.parametrize("by", [1, 3, -2])
def test_a_shift_moves_the_origin(by: int) -> None:
    rolled = layouts.shift((Atom(0, 8),), by)
    found = contribution(rolled, 0)
    assert found is not None
    assert np.array_equal(found % 8, np.roll(np.arange(8), by))


def test_a_shift_of_rows_and_columns_together_is_not_followed():
    pixels = (Atom(0, 8), Atom(1, 8))
    assert layouts.shift(pixels, 3) == (Lost(64, (0, 1), origin=-3),)
    assert layouts.shift((Lost(8, (0,)),), 2) == (Lost(8, (0,), origin=-2),)
    assert layouts.shift(pixels, 0) == pixels
    assert layouts.shift((Atom(None, 8),), 3) == (Atom(None, 8),)


@pytest.mark.parametrize(
    ("shapes", "result"),
    [(((1, 4, 8, 8), (1, 4, 1, 1)), (1, 4, 8, 8)), (((8,), (1, 4, 8, 8)), (1, 4, 8, 8))],
)
def test_dimensions_with_positions_win(shapes: Sequence[Shape], result: Shape) -> None:
    several = [
        layouts.image(shape, (2, 3)) if len(shape) == 4 else layouts.image(shape, ())
        for shape in shapes
    ]
    assert layouts.broadcast(several, result) == layouts.image(result, (2, 3))


def test_blocks_whose_places_lie_elsewhere_are_units() -> None:
    rows = layouts.reshape(layouts.image((1, 12, 3), (1,)), (1, 4, 3, 3))  # 4 blocks of 3 rows
    assert layouts.as_blocks(rows, [0]) == (
        ((), (Atom(0, 4, 3),), layouts.plain(3), layouts.plain(3)),
        {0: 3},
    )
    assert layouts.as_blocks(rows, []) == (rows, {})
    together = layouts.image((1, 12, 3), (1,))
    assert layouts.as_blocks(together, [0, 1]) == (together, {})
    scores = (*together[:2], together[1])  # every position with every other one
    assert layouts.as_blocks(scores, [0]) == (scores, {})


def test_axes_that_lie_crosswise_are_found_behind_a_tensor_with_fewer_dimensions() -> None:
    first = layouts.image((1, 8, 8, 3), (1, 2))
    assert layouts.crossed([first, first[2:], (first[0], first[2], first[1], first[3])]) == {0, 1}
    assert layouts.unaligned([first, first[2:], ()]) == set()
    assert layouts.unaligned([first, (*first[:2], (Atom(1, 1),), first[3])]) == {1}
    assert layouts.unaligned([first, (*first[:2], (Atom(1, 8, origin=4),), first[3])]) == set()
    assert layouts.unaligned([first, (*first[:2], (Lost(8, (1,)),), first[3])]) == {1}


@pytest.mark.parametrize("origin", [0, 2])
def test_positions_in_larger_units_start_where_it_is_said(origin: int) -> None:
    assert layouts.rescale(((Atom(0, 4, 2, 6),),), 0, 2, origin) == ((Atom(0, 4, 1, origin),),)
    blocks = ((Atom(0, 2, 4, 8),), (Atom(0, 2, 2, 2),))  # the origins add up
    made = layouts.rescale(blocks, 0, 2, origin)
    assert layouts.grids(made)[0] == (origin, ((1, 2), (2, 2)))


def test_what_stands_in_several_parts_is_not_followed() -> None:
    row = layouts.image((1, 8), (1,))[1]
    assert layouts.lost_pieces((layouts.join([row, row]), layouts.plain(3))) == {
        0: [Joined(16, (row, row))]
    }
    assert layouts.lost_pieces((layouts.join([layouts.plain(2), row]), row)) == {}
