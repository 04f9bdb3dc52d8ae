"""The formulas against simulations that know nothing of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import INFINITE_PATH, INPUT_PATHS, Paths, PathState
from rfa_toolbox.errors import InvalidGraphError, InvalidLayerError, InvalidResolutionError

Step = tuple[int, int, int, int]  # kernel, stride, dilation, up-sampling

kernels = st.integers(1, 5)
strides = st.integers(1, 3)
dilations = st.integers(1, 3)
plain_steps = st.tuples(kernels, strides, dilations, st.just(1))
any_steps = st.tuples(kernels, strides, dilations, st.sampled_from((1, 1, 2, 3)))


def pixels_seen(steps: Sequence[Step], shift: int, unit: int) -> set[int]:
    """The pixels of an endless image that one unit sees, found by walking back step by step."""
    units = {unit}
    for kernel, stride, dilation, upsampling in reversed(steps):
        fine = {one * stride + tap * dilation - shift for one in units for tap in range(kernel)}
        units = {one // upsampling for one in fine if one % upsampling == 0}
    return units


def span(pixels: set[int]) -> int:
    return max(pixels) - min(pixels) + 1 if pixels else 0


def largest_window(steps: Sequence[Step], shift: int = 0) -> int:
    period = math.prod(upsampling for *_, upsampling in steps)
    return max(span(pixels_seen(steps, shift, unit)) for unit in range(max(2, 2 * period)))


def state_behind(steps: Sequence[Step]) -> tuple[PathState, bool]:
    path: PathState = INPUT_PATHS[0]
    exact = True
    for step in steps:
        exact = exact and arithmetic.is_exact(path, *step)
        path = arithmetic.grow(path, *step)
    return path, exact


@given(st.lists(plain_steps, max_size=4), st.integers(0, 2))
def test_field_and_jump_of_a_chain_are_those_of_the_simulated_pixels(
    steps: list[Step], shift: int
) -> None:
    path, exact = state_behind(steps)
    assert exact
    assert arithmetic.field_of(path) == largest_window(steps, shift)
    first, second = (min(pixels_seen(steps, shift, unit)) for unit in (0, 1))
    assert arithmetic.jump_of(path) == second - first


@settings(max_examples=400)
@given(st.lists(any_steps, max_size=4), st.integers(0, 3))
def test_field_on_upsampled_maps_is_the_largest_window_or_a_declared_bound(
    steps: list[Step], shift: int
) -> None:
    path, exact = state_behind(steps)
    if exact:
        assert arithmetic.field_of(path) == largest_window(steps, shift)
    else:
        assert arithmetic.field_of(path) >= largest_window(steps, shift)


@given(st.lists(any_steps, max_size=4))
def test_jump_is_the_product_of_strides_over_upsamplings(steps: list[Step]) -> None:
    expected = math.prod((Fraction(stride, up) for _, stride, _, up in steps), start=Fraction(1))
    assert arithmetic.jump_of(state_behind(steps)[0]) == expected


@pytest.mark.parametrize(
    ("steps", "field"),
    [
        ([(4, 1, 1, 2)], 2),  # transposed convolution k4 s2
        ([(2, 1, 1, 2), (3, 1, 1, 1)], 2),  # nearest x2, conv3
        ([(3, 2, 1, 1), (3, 1, 1, 1), (2, 1, 1, 2), (3, 1, 1, 1)], 9),
        ([(3, 1, 1, 1), (1, 1, 1, 2)], 3),
        ([(3, 1, 2, 1)], 5),
        ([(2, 1, 1, 2), (3, 2, 1, 1)], 2),  # nearest x2, conv3 s2: two source units
        ([(2, 1, 1, 2), (2, 1, 1, 2), (9, 1, 1, 1)], 3),  # nested
        ([(2, 3, 1, 2), (2, 1, 1, 2), (3, 2, 1, 1)], 3),  # nested, over a stride of 3/2
        ([(2, 2, 1, 1)] * 3 + [(2, 1, 1, 2), (3, 1, 1, 1)] * 3, 24),  # a small U-Net
    ],
)
def test_known_truths(steps: list[Step], field: int) -> None:
    path, exact = state_behind(steps)
    assert (arithmetic.field_of(path), exact) == (field, True)
    assert largest_window(steps) == field


def test_a_stride_that_skips_phases_of_an_upsampled_map_is_a_declared_bound() -> None:
    steps = [(2, 1, 1, 2), (2, 2, 1, 1)]  # nearest x2, then pooling that undoes it
    path, exact = state_behind(steps)
    assert (arithmetic.field_of(path), exact) == (2, False)
    # Whether it is reached depends on the padding: both layers shifted alike, or only the first.
    assert largest_window(steps) == 2
    assert max(span(pixels_seen([(2, 2, 1, 1)], 1, 0)), 1) == 2


def test_undone_upsampling_leaves_no_trace_in_the_state() -> None:
    path, _ = state_behind([(2, 1, 1, 2), (3, 1, 1, 1), (3, 2, 1, 1)])
    assert path == (3, 1, ())


def test_two_upsamplings_are_one_finer_grid() -> None:
    twice, _ = state_behind([(2, 1, 1, 2), (2, 1, 1, 2)])
    once, _ = state_behind([(4, 1, 1, 4)])
    assert twice == once


def test_nothing_follows_infinity() -> None:
    assert arithmetic.grow((7, 2, ()), math.inf, 2) == INFINITE_PATH
    assert arithmetic.grow(INFINITE_PATH, 3, 2, 1, 2) == INFINITE_PATH
    assert arithmetic.jump_of(INFINITE_PATH) == 1
    assert arithmetic.largest_jump((INFINITE_PATH,)) is None


# --- many paths ------------------------------------------------------------------------------


@st.composite
def small_graphs(draw: st.DrawFn, steps: st.SearchStrategy[Step]) -> list[tuple[Step, list[int]]]:
    graph: list[tuple[Step, list[int]]] = []
    for position in range(draw(st.integers(1, 8))):
        before = (
            draw(st.lists(st.integers(0, position - 1), min_size=0, max_size=3, unique=True))
            if position
            else []
        )
        graph.append((draw(steps), before))
    return graph


def all_paths(graph: list[tuple[Step, list[int]]], position: int) -> list[list[Step]]:
    """Every way from an input to a node, one by one."""
    step, before = graph[position]
    if not before:
        return [[step]]
    return [[*path, step] for one in before for path in all_paths(graph, one)]


infinite_steps = st.tuples(
    st.sampled_from((1, 2, 3, math.inf)), strides, dilations, st.sampled_from((1, 1, 1, 2))
)


@settings(max_examples=400)
@given(small_graphs(infinite_steps))  # type: ignore[arg-type]
def test_merging_gives_the_extremes_over_all_enumerated_paths(
    graph: list[tuple[Step, list[int]]],
) -> None:
    behind: list[Paths] = []
    for position, (step, before) in enumerate(graph):
        merged = arithmetic.merge_paths([behind[one] for one in before]) if before else INPUT_PATHS
        behind.append(arithmetic.grow_paths(merged, *step))
        ends = [state_behind(path)[0] for path in all_paths(graph, position)]
        fields = [arithmetic.field_of(end) for end in ends]
        assert arithmetic.smallest_field(behind[-1]) == min(fields)
        assert arithmetic.largest_field(behind[-1]) == max(fields)
        assert {arithmetic.jump_of(end) for end in ends} == set(map(arithmetic.jump_of, behind[-1]))


def test_paths_that_overtake_each_other_on_an_upsampled_map_are_all_kept() -> None:
    ahead: PathState = (4, 2, ((2, 0, 1),))
    behind: PathState = (3, 2, ((2, 1, 1),))
    far_behind: PathState = (1, 2, ((2, 0, 1),))
    merged = arithmetic.merge_paths([(ahead,), (behind,), (far_behind,)])
    grown = arithmetic.grow_paths(merged, 2)
    assert arithmetic.largest_field(merged) == 4
    assert arithmetic.largest_field(grown) == 5


@given(st.lists(st.tuples(st.integers(1, 99), st.sampled_from((1, 2, 4))), min_size=1))
def test_at_most_two_paths_are_kept_per_jump(ends: list[tuple[int, int]]) -> None:
    kept = arithmetic.prune([(base, jump, ()) for base, jump in ends])
    for jump in {jump for _, jump in ends}:
        bases = sorted({base for base, other in ends if other == jump})
        assert [base for base, other, _ in kept if other == jump] == sorted({bases[0], bases[-1]})


# --- states ----------------------------------------------------------------------------------

sizes = st.one_of(st.integers(1, 40), st.just(math.inf))
jumps = st.one_of(st.none(), st.integers(1, 8), st.fractions(Fraction(1, 4), 8, max_denominator=4))


@st.composite
def judged_layers(draw: st.DrawFn) -> tuple[object, ...]:
    axes = draw(st.integers(1, 3))
    count = draw(st.integers(1, 3))
    per_axis = st.tuples(*[sizes] * axes)
    return (
        draw(st.one_of(st.none(), per_axis)),
        [draw(per_axis) for _ in range(count)],
        [draw(st.tuples(*[jumps] * axes)) for _ in range(count)],
        draw(per_axis),
    )


@settings(max_examples=300)
@given(judged_layers(), st.integers(1, 60))
def test_state_is_what_the_written_rules_say(judged: tuple, pixels: int) -> None:  # type: ignore[type-arg]
    own, before, in_front, window = judged
    axes = range(len(window))
    sees_all = (
        own is not None
        and all(one[a] >= pixels for one in before for a in axes)
        and all(own[a] > pixels for a in axes)
    )
    map_too_small = math.inf not in window and all(
        (1 if one[a] is None else pixels // one[a]) <= window[a] for one in in_front for a in axes
    )
    beyond = [own is not None and own[a] > pixels for a in axes]
    if sees_all or map_too_small:
        expected = "unproductive"
    elif all(beyond):
        expected = "critical"
    else:
        expected = "partially critical" if any(beyond) else "productive"
    assert arithmetic.layer_state((pixels,) * len(window), *judged) == expected
    limit = arithmetic.unproductive_up_to(*judged)
    assert (pixels <= limit) == (expected == "unproductive")


@pytest.mark.parametrize(
    ("field", "before", "jump", "window", "state"),
    [
        ((33,), (32,), (1,), (3,), "unproductive"),
        ((32,), (32,), (1,), (3,), "productive"),
        ((33,), (31,), (1,), (3,), "critical"),
        ((3,), (1,), (8,), (4,), "unproductive"),  # a map of 4 under a kernel of 4
        ((3,), (1,), (8,), (3,), "productive"),
        ((math.inf,), (1,), (8,), (math.inf,), "critical"),
        ((33, 32), (1, 1), (1, 1), (3, 3), "partially critical"),
    ],
)
def test_states_at_32_pixels(
    field: tuple[int, ...],
    before: tuple[int, ...],
    jump: tuple[int, ...],
    window: tuple[int, ...],
    state: str,
) -> None:
    resolution = (32,) * len(field)
    assert arithmetic.layer_state(resolution, field, [before], [jump], window) == state


def test_a_fractional_jump_counts_whole_units_of_the_map() -> None:
    judged = ((3,), [(1,)], [(Fraction(3, 2),)], (2,))
    assert arithmetic.layer_state((4,), *judged) == "unproductive"  # 4 // 1.5 is 2
    assert arithmetic.layer_state((5,), *judged) == "productive"
    assert arithmetic.unproductive_up_to(*judged) == 4


# --- scalars and axes ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.5, "3", True, (), (3, 0), (3, "x"), float("nan")])
def test_bad_kernels_are_quoted(value: object) -> None:
    with pytest.raises(InvalidLayerError, match="The kernel is ") as caught:
        arithmetic.normalise_infinite(value, "The kernel")
    bad = next(one for one in value if one != 3) if value and isinstance(value, tuple) else value
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("value", [None, 0, -3, 2.5, "32", (), (32, None), (1, 2, 3), True])
def test_bad_resolutions_are_quoted(value: object) -> None:
    with pytest.raises(InvalidResolutionError) as caught:
        arithmetic.normalise_resolution(value, 2)
    assert repr(value) in str(caught.value)
    assert "2 of them" in str(caught.value)


def test_whole_floats_are_integers() -> None:
    assert arithmetic.normalise_infinite((3.0, math.inf, None), "k") == (3, math.inf, math.inf)
    assert type(arithmetic.normalise_integers(2.0, "s")) is int
    assert arithmetic.normalise_integers(None, "s") == 1


def test_numpy_numbers_become_plain_ones() -> None:
    np = pytest.importorskip("numpy")
    for value in (np.int64(3), np.float32(3)):
        assert type(arithmetic.normalise_integers(value, "s")) is int
    assert arithmetic.normalise_integers(np.array([1, 2]), "s") == (1, 2)
    assert arithmetic.normalise_resolution(np.int64(32), None) == (32,)


def test_broadcast_counts_a_scalar_for_every_axis() -> None:
    assert arithmetic.broadcast(3, 2) == (3, 3)
    with pytest.raises(InvalidGraphError, match=r"\(1, 2, 3\) has 3 axes where 2"):
        arithmetic.broadcast((1, 2, 3), 2)


@pytest.mark.parametrize("kernel", range(1, 7))
@pytest.mark.parametrize("upsampling", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_window_is_the_span_of_an_isolated_layer(
    kernel: int, upsampling: int, dilation: int
) -> None:
    grown = arithmetic.grow((1, 1, ()), kernel, 1, dilation, upsampling)
    assert arithmetic.window_of(kernel, upsampling, dilation) == arithmetic.field_of(grown)
