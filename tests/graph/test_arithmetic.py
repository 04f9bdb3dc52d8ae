"""The formulas against simulations that know nothing of them."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

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


def pixels_seen(steps: Sequence[Step], shifts: Sequence[int], unit: int) -> set[int]:
    """The pixels of an endless image that one unit sees, found by walking back step by step."""
    units = {unit}
    walked = zip(steps, shifts, strict=True)
    for (kernel, stride, dilation, upsampling), shift in reversed(list(walked)):
        fine = {one * stride + tap * dilation - shift for one in units for tap in range(kernel)}
        units = {one // upsampling for one in fine if one % upsampling == 0}
    return units


def span(pixels: set[int]) -> int:
    return max(pixels) - min(pixels) + 1 if pixels else 0


def largest_window(steps: Sequence[Step], shifts: Sequence[int] | None = None) -> int:
    if shifts is None:
        shifts = [0] * len(steps)
    period = math.prod(upsampling for *_, upsampling in steps)
    return max(span(pixels_seen(steps, shifts, unit)) for unit in range(period))


def stacks(steps: st.SearchStrategy[Step], most: int = 4) -> st.SearchStrategy[list[Any]]:
    """Layers, each with by how many units its padding shifts it."""
    return st.lists(st.tuples(steps, st.integers(0, 5)), max_size=most)


def apart(stack: list[tuple[Step, int]]) -> tuple[list[Step], list[int]]:
    return [step for step, _ in stack], [shift for _, shift in stack]


def state_behind(steps: Sequence[Step]) -> tuple[PathState, bool]:
    path: PathState = INPUT_PATHS[0]
    exact = True
    for step in steps:
        exact = exact and arithmetic.is_exact(path, *step)
        path = arithmetic.grow(path, *step)
    return path, exact


@given(stacks(plain_steps))
def test_field_and_jump_of_a_chain_are_those_of_the_simulated_pixels(
    stack: list[tuple[Step, int]],
) -> None:
    steps, shifts = apart(stack)
    path, exact = state_behind(steps)
    assert exact
    assert path[2] == ()
    assert arithmetic.field_of(path) == largest_window(steps, shifts)
    first, second = (min(pixels_seen(steps, shifts, unit)) for unit in (0, 1))
    assert arithmetic.jump_of(path) == second - first


@settings(max_examples=600)
@given(stacks(any_steps))
def test_field_on_upsampled_maps_is_the_largest_window_or_a_declared_bound(
    stack: list[tuple[Step, int]],
) -> None:
    steps, shifts = apart(stack)
    path, exact = state_behind(steps)
    if exact:
        assert arithmetic.field_of(path) == largest_window(steps, shifts)
    else:
        assert arithmetic.field_of(path) >= largest_window(steps, shifts)


def is_reached(steps: Sequence[Step]) -> bool:
    """Whether some unit's window is as large as the field, whatever the padding."""
    grids = itertools.accumulate((step[3] for step in steps), operator.mul)
    return all(
        largest_window(steps, shifts) == arithmetic.field_of(state_behind(steps)[0])
        for shifts in itertools.product(*map(range, grids))
    )


@st.composite
def dense_stacks(draw: st.DrawFn) -> list[Step]:
    """Layers of which only one makes the grid finer, and whose windows have no holes."""
    drawn = draw(st.lists(plain_steps, min_size=1, max_size=3))
    stack = [(kernel, stride, 1, 1) for kernel, stride, *_ in drawn]
    finer = draw(st.sampled_from((2, 3)))
    at = draw(st.integers(0, len(stack) - 1))
    stack[at] = (draw(st.integers(finer, 5)), stack[at][1], 1, finer)
    return stack


@settings(max_examples=300)
@given(dense_stacks())
def test_a_field_over_windows_without_holes_is_exact_if_every_padding_reaches_it(
    steps: list[Step],
) -> None:
    assert state_behind(steps)[1] == is_reached(steps)


@pytest.mark.parametrize(
    "steps",
    [
        [(1, 1, 2, 2)],
        [(1, 1, 1, 3), (2, 1, 1, 1)],
        [(1, 3, 1, 2)],
        [(2, 3, 1, 2), (2, 1, 1, 1)],
        [(3, 1, 1, 3), (2, 3, 1, 2)],
        [(3, 1, 1, 2), (2, 1, 1, 2)],
        [(2, 1, 1, 2), (3, 2, 1, 3)],
        [(4, 2, 1, 3), (3, 3, 1, 2)],
        [(3, 1, 1, 2), (2, 2, 1, 2)],
        [(3, 1, 1, 2), (4, 2, 1, 3)],
        [(4, 2, 1, 3), (2, 1, 1, 2)],
    ],
)
def test_what_every_padding_reaches_is_declared_exact(steps: list[Step]) -> None:
    assert is_reached(steps)
    assert state_behind(steps)[1]


@pytest.mark.parametrize(
    "steps",
    [
        [(1, 2, 1, 2)],
        [(3, 1, 2, 3)],
        [(2, 3, 2, 3)],
        [(2, 3, 2, 2), (2, 2, 1, 1)],
        [(1, 1, 1, 3), (3, 1, 2, 1)],
        [(1, 3, 1, 2), (3, 1, 1, 2)],
        [(4, 1, 1, 3), (2, 3, 1, 2)],
        [(2, 1, 1, 2), (4, 2, 1, 3)],
        [(4, 2, 1, 3), (2, 3, 1, 2)],
        [(2, 3, 1, 2), (4, 2, 1, 3)],
        [(2, 1, 1, 2), (1, 3, 2, 2), (2, 1, 1, 1)],
        [(2, 1, 1, 3), (1, 1, 1, 2), (1, 3, 1, 2)],
        [(4, 1, 1, 3), (4, 3, 1, 2), (4, 1, 1, 1)],
    ],
)
def test_what_some_padding_misses_is_declared_a_bound(steps: list[Step]) -> None:
    assert not is_reached(steps)
    assert not state_behind(steps)[1]


@given(st.lists(any_steps, max_size=4))
def test_jump_is_the_product_of_strides_over_upsamplings(steps: list[Step]) -> None:
    expected = math.prod((Fraction(stride, up) for _, stride, _, up in steps), start=Fraction(1))
    jump = arithmetic.jump_of(state_behind(steps)[0])
    assert jump == expected
    assert isinstance(jump, int) == (expected.denominator == 1)


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
    assert largest_window(steps, [0, 1]) == 1


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
    assert arithmetic.is_exact((1, 1, ()), math.inf, upsampling=2)
    assert arithmetic.is_exact(INFINITE_PATH, 3, upsampling=2)
    assert arithmetic.window_of(math.inf, 2) == math.inf


def test_the_largest_jump_is_that_of_the_finite_path_with_the_coarsest_grid() -> None:
    paths: Paths = ((3, 1, ()), (7, 2, ((2, 1, 3),)), (5, 2, ()), INFINITE_PATH)
    assert arithmetic.largest_jump(paths) == 3
    assert arithmetic.largest_jump((INFINITE_PATH, *arithmetic.prune(paths[2:3]))) == 2


@pytest.mark.parametrize(
    "path", [(1, 1, ()), (3, 2, ()), (4, 2, ((2, 1, 1),)), (4, 2, ((3, 0, 1),))]
)
@pytest.mark.parametrize("kernel", [2, 3])
def test_strides_dilations_and_upsamplings_are_1_where_nothing_is_said(
    path: PathState, kernel: int
) -> None:
    for function, argument in (
        (arithmetic.grow, path),
        (arithmetic.grow_paths, (path,)),
        (arithmetic.grow_blocks, (path,)),
        (arithmetic.is_exact, path),
    ):
        plain = function(argument, kernel, 1, 1, 1)  # type: ignore[operator]
        assert function(argument, kernel) == plain  # type: ignore[operator]
        assert function(argument, kernel, 2) == function(argument, kernel, 2, 1, 1)  # type: ignore[operator]
    assert arithmetic.window_of(kernel) == arithmetic.window_of(kernel, 1, 1)


# --- many paths ------------------------------------------------------------------------------


@given(stacks(plain_steps, 2), st.integers(2, 5), st.integers(1, 2), st.integers(1, 5))
def test_a_layer_over_blocks_sees_at_most_the_blocks_that_it_touches(
    stack: list[tuple[Step, int]], block: int, stride: int, kernel: int
) -> None:
    steps, shifts = apart(stack)
    (path,) = arithmetic.grow_paths(
        arithmetic.grow_blocks((state_behind(steps)[0],), block, stride), kernel
    )

    def seen(unit: int) -> set[int]:
        touched = {(unit + tap) * stride // block for tap in range(kernel)}
        places = [one * block + place for one in touched for place in range(block)]
        return set().union(*(pixels_seen(steps, shifts, place) for place in places))

    largest = max(span(seen(unit)) for unit in range(block))
    assert arithmetic.field_of(path) == largest or (
        stride > 1 and arithmetic.field_of(path) > largest
    )
    jump = math.prod(step[1] for step in steps) * stride
    assert arithmetic.jump_of(path) == jump


@pytest.mark.parametrize("layer", [(1, 2, 1, 1), (math.inf, 1, 1, 1), (3, 1, 2, 1), (4, 1, 1, 2)])
def test_a_window_with_holes_or_over_everything_is_no_block(layer: Step) -> None:
    paths: Paths = ((3, 2, ()),)
    assert arithmetic.grow_blocks(paths, *layer) == arithmetic.grow_paths(paths, *layer)


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


@st.composite
def groups(draw: st.DrawFn, most_levels: int = 3) -> list[PathState]:
    """Paths over one grid."""
    jump = draw(st.integers(1, 3))
    grid = draw(
        st.lists(
            st.sampled_from([(2, 1), (2, 3), (3, 1), (3, 2), (4, 3), (5, 3)]),
            min_size=1,
            max_size=most_levels,
        )
    )
    ends = st.tuples(st.integers(1, 5), st.tuples(*[st.integers(0, 7)] * len(grid)))
    return [
        (base, jump, tuple((f, one, s) for (f, s), one in zip(grid, spanned, strict=True)))
        for base, spanned in draw(st.lists(ends, min_size=1, max_size=5, unique=True))
    ]


def fields_behind(path: PathState, followers: Sequence[int]) -> list[int | float]:
    """What becomes of a path behind layers that span more and more steps of its grid."""
    return [arithmetic.field_of(arithmetic.grow(path, kernel)) for kernel in followers]


@given(groups())
def test_whole_units_counted_in_the_base_change_nothing(group: list[PathState]) -> None:
    for path in group:
        carried = arithmetic.carried(path)
        assert fields_behind(carried, range(1, 60)) == fields_behind(path, range(1, 60))
        assert all(0 <= rest < factor for factor, rest, _ in carried[2])
        assert [(level[0], level[2]) for level in carried[2]] == [
            (level[0], level[2]) for level in path[2]
        ]


@settings(max_examples=300)
@given(groups(), any_steps)
def test_paths_that_may_become_an_extreme_are_kept(group: list[PathState], follower: Step) -> None:
    kept = arithmetic.prune(group)
    assert set(kept) <= set(group)
    before = [arithmetic.grow(path, *follower) for path in group]
    after = [arithmetic.grow(path, *follower) for path in kept]
    for kernel in range(1, 40):
        fields = [arithmetic.field_of(arithmetic.grow(path, kernel)) for path in before]
        others = [arithmetic.field_of(arithmetic.grow(path, kernel)) for path in after]
        assert (min(others), max(others)) == (min(fields), max(fields))


@settings(max_examples=300)
@given(groups(most_levels=1))
def test_no_path_is_kept_between_two_others_that_it_never_overtakes(
    group: list[PathState],
) -> None:
    behind = {path: fields_behind(path, range(1, 13)) for path in arithmetic.prune(group)}

    def never_less(one: list[int | float], other: list[int | float]) -> bool:
        return all(more >= less for more, less in zip(one, other, strict=True))

    for path, fields in behind.items():
        others = [behind[other] for other in behind if other != path]
        assert not (
            any(never_less(other, fields) for other in others)
            and any(never_less(fields, other) for other in others)
        )


@settings(max_examples=300)
@given(groups())
def test_of_two_paths_one_is_never_less_if_no_layer_lets_the_other_overtake(
    group: list[PathState],
) -> None:
    one, other = arithmetic.carried(group[0]), arithmetic.carried(group[-1])
    pairs = zip(*(fields_behind(path, range(1, 99)) for path in (one, other)), strict=True)
    ahead = all(mine >= theirs for mine, theirs in pairs)
    if len(one[2]) == 1:
        assert arithmetic.never_less(one, other) == ahead
    elif arithmetic.never_less(one, other):
        assert ahead


def test_paths_that_overtake_each_other_on_an_upsampled_map_are_all_kept() -> None:
    ahead: PathState = (4, 2, ((2, 0, 1),))
    behind: PathState = (3, 2, ((2, 1, 1),))
    far_behind: PathState = (1, 2, ((2, 0, 1),))
    merged = arithmetic.merge_paths([(ahead,), (behind,), (far_behind,)])
    grown = arithmetic.grow_paths(merged, 2)
    assert arithmetic.largest_field(merged) == 4
    assert arithmetic.largest_field(grown) == 5


def test_a_leap_on_a_coarse_grid_is_not_made_longer_by_the_finer_one() -> None:
    one: PathState = (3, 1, ((5, 1, 3), (2, 0, 3)))
    other: PathState = (2, 1, ((5, 4, 3), (2, 0, 3)))
    assert arithmetic.never_less(one, other)


@given(st.lists(st.tuples(st.integers(1, 99), st.sampled_from((1, 2, 4))), min_size=1))
def test_at_most_two_paths_are_kept_per_jump(ends: list[tuple[int, int]]) -> None:
    paths: list[PathState] = [(base, jump, ()) for base, jump in ends]
    kept = arithmetic.prune(paths)
    assert kept == arithmetic.prune(paths[::-1])
    assert kept == arithmetic.merge_paths([(path,) for path in paths])
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


def test_a_layer_that_no_rule_judges_is_unproductive_nowhere() -> None:
    assert arithmetic.unproductive_up_to(None, [(1,)], [(1,)], (math.inf,)) == 0


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


@pytest.mark.parametrize(
    ("call", "valid"),
    [
        (lambda value: arithmetic.normalise_integers(value, "s"), [1, 2, 2.0, (1, 3), [2, None]]),
        (lambda value: arithmetic.normalise_integers(value, "s", 0, 7), [0, (0, 3), (None, 1)]),
        (lambda value: arithmetic.normalise_infinite(value, "k"), [1, 2, (1, 3), math.inf, "inf"]),
        (lambda value: arithmetic.normalise_resolution(value, None), [1, (1, 32)]),
    ],
)
def test_valid_numbers_are_taken_as_they_are_and_others_refused(
    call: Any, valid: list[Any]
) -> None:
    for value in valid:
        numbers = value if isinstance(value, tuple | list) else (value,)
        default = 7 if call((0,) if 0 in valid else (1,)) == (0,) else 1
        taken = call(value)
        expected = tuple(
            default if one is None else math.inf if one == "inf" else one for one in numbers
        )
        assert (taken if isinstance(taken, tuple) else (taken,)) == expected
    below = min(one for one in valid if isinstance(one, int)) - 1
    for bad in (below, float(below), 1.5, True, "3", object(), (below, 1)):
        with pytest.raises((InvalidLayerError, InvalidResolutionError)):
            call(bad)


@pytest.mark.parametrize("number", [math.inf, "inf"])
def test_only_a_kernel_is_infinite(number: object) -> None:
    assert arithmetic.normalise_infinite(number, "k") == math.inf
    with pytest.raises(InvalidLayerError, match="at least 1, alone"):
        arithmetic.normalise_integers(number, "s")
    with pytest.raises(InvalidResolutionError):
        arithmetic.normalise_resolution(number, None)
    with pytest.raises(InvalidLayerError, match=r"None .or inf. for a layer that sees everything"):
        arithmetic.normalise_infinite(0, "k")


def test_what_has_only_an_index_is_an_integer_as_well() -> None:
    class Index:
        def __init__(self, value: int) -> None:
            self.value = value

        def __index__(self) -> int:
            return self.value

    for value in (1, 2):
        taken = arithmetic.normalise_integers(Index(value), "s")
        assert (taken, type(taken)) == (value, int)
    with pytest.raises(InvalidLayerError):
        arithmetic.normalise_integers(Index(0), "s")


def test_a_scalar_graph_has_scalar_fields() -> None:
    assert arithmetic.collapse_sizes((3, 5), scalar=True) == 3
    assert arithmetic.collapse_sizes((3, 5), scalar=False) == (3, 5)


def test_numpy_numbers_become_plain_ones() -> None:
    np = pytest.importorskip("numpy")
    for value in (np.int64(3), np.float32(3)):
        assert type(arithmetic.normalise_integers(value, "s")) is int
    assert arithmetic.normalise_integers(np.array([1, 2]), "s") == (1, 2)
    assert arithmetic.normalise_resolution(np.int64(32), None) == (32,)
    with pytest.raises(InvalidLayerError, match="one per axis"):
        arithmetic.normalise_infinite(np.ones((2, 2), int), "k")


def test_any_number_of_axes_will_do_where_none_is_asked_for() -> None:
    assert arithmetic.normalise_resolution((32, 64), None) == (32, 64)
    with pytest.raises(InvalidResolutionError, match="a sequence of them, one"):
        arithmetic.normalise_resolution((), None)


def test_broadcast_counts_a_scalar_for_every_axis() -> None:
    assert arithmetic.broadcast(3, 2) == (3, 3)
    assert arithmetic.broadcast((3, 4), 2) == (3, 4)
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


# --- more than any path leads to --------------------------------------------------------------


def test_an_extent_becomes_a_path_where_it_is_larger_than_every_finite_one():
    paths = ((3, 2, ()), (7, 2, ()), arithmetic.INFINITE_PATH)
    assert arithmetic.with_extent(paths, 7, 2) is paths
    grown = arithmetic.with_extent(paths, 8, 2)
    assert grown == ((3, 2, ()), (8, 2, ()), arithmetic.INFINITE_PATH)
    assert arithmetic.with_extent((arithmetic.INFINITE_PATH,), 1, 1)[0] == (1, 1, ())


def test_an_extent_over_a_period_of_units_grows_by_whole_periods():
    (path,) = arithmetic.with_extent((), 9, advance=4, period=2)
    assert arithmetic.field_of(path) == 9
    assert arithmetic.jump_of(path) == 2
    assert arithmetic.field_of(arithmetic.grow(path, 2)) == 13  # an upper bound
    assert arithmetic.field_of(arithmetic.grow(path, 3)) == 13
    assert arithmetic.field_of(arithmetic.grow(path, 4)) == 17


def test_what_is_finite_or_uneven_is_told_path_by_path():
    uneven = arithmetic.grow((1, 1, ()), 2, upsampling=2)
    paths = ((3, 1, ()), arithmetic.INFINITE_PATH, uneven)
    assert arithmetic.finite_paths(paths) == ((3, 1, ()), uneven)
    assert arithmetic.is_uneven([((3, 1, ()),), paths])
    assert not arithmetic.is_uneven([((3, 1, ()),), ((3, 1, ()),)])
    assert not arithmetic.is_uneven([])


def test_no_path_at_all_has_no_field():
    assert (arithmetic.smallest_field(()), arithmetic.largest_field(())) == (0, 0)


def test_infinite_and_finite_paths_of_one_jump_are_kept_apart():
    paths = ((3, 1, ()), (9, 1, ()), (5, 1, ()), arithmetic.INFINITE_PATH)
    assert arithmetic.prune(paths) == ((3, 1, ()), (9, 1, ()), arithmetic.INFINITE_PATH)
