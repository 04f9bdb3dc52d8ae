"""The rewrite of densely connected concatenations: fewer arrows, and none of them lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox.rendering.concatenations import Arrow, arrows_between, inputs_from


def dense_block(depth: int) -> tuple[list[list[int]], list[bool]]:
    """Layers 0, 2, 4 ... are features; each concatenation in between reads all before it."""
    inputs: list[list[int]] = [[]]
    concatenates = [False]
    for _ in range(depth):
        features = [node for node, flag in enumerate(concatenates) if not flag]
        inputs += [features, [len(inputs)]]
        concatenates += [True, False]
    return inputs, concatenates


def test_a_dense_block_has_a_number_of_arrows_linear_in_its_depth() -> None:
    inputs, concatenates = dense_block(200)
    assert sum(map(len, inputs)) == 200 * 201 // 2 + 200
    assert len(arrows_between(inputs, concatenates)) <= 3 * 200


def test_a_network_whose_layers_read_all_earlier_ones_needs_no_concatenations() -> None:
    inputs = [list(range(node)) for node in range(300)]
    arrows = arrows_between(inputs, [False] * 300)
    assert len(arrows) <= 2 * 300 + 10
    assert inputs_from(arrows, 300) == inputs


def test_only_the_new_inputs_of_a_concatenation_are_drawn() -> None:
    inputs = [[], [0], [1], [0, 1], [0, 1, 2]]
    arrows = arrows_between(inputs, [False, False, False, True, True])
    assert [arrow for arrow in arrows if arrow.head == 4] == [Arrow(3, 4, joined=True), Arrow(2, 4)]


def test_the_largest_earlier_concatenation_stands_for_its_inputs() -> None:
    inputs = [[], [], [], [], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    arrows = arrows_between(inputs, [False] * 4 + [True] * 3)
    assert [arrow for arrow in arrows if arrow.head == 6] == [Arrow(5, 6, joined=True), Arrow(3, 6)]


def test_layers_other_than_concatenations_keep_their_arrows() -> None:
    inputs = [[], [], [0, 1], [0, 1]]
    for concatenates in ([False] * 4, [False, False, True, False], [False, False, False, True]):
        assert not any(arrow.joined for arrow in arrows_between(inputs, concatenates))


def test_an_input_that_is_read_twice_stays_so() -> None:
    inputs = [[], [], [0, 1], [0, 0, 1, 1]]
    arrows = arrows_between(inputs, [False, False, True, True])
    assert arrows[-3:] == [Arrow(2, 3, joined=True), Arrow(0, 3), Arrow(1, 3)]
    assert inputs_from(arrows, 4) == inputs


def test_two_reads_do_not_stand_for_one() -> None:
    inputs = [[], [], [0, 0, 1], [0, 1]]
    arrows = arrows_between(inputs, [False, False, True, True])
    assert not any(arrow.joined for arrow in arrows)


def test_a_concatenation_that_also_reads_the_earlier_one_keeps_that_arrow() -> None:
    inputs = [[], [], [0, 1], [0, 1, 2]]
    arrows = arrows_between(inputs, [False, False, True, True])
    assert arrows[-2:] == [Arrow(2, 3, joined=True), Arrow(2, 3)]
    assert inputs_from(arrows, 4) == inputs


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[list[int]], list[bool]]:
    size = draw(st.integers(1, 14))
    inputs = [
        draw(st.lists(st.integers(0, node - 1), max_size=8)) if node else [] for node in range(size)
    ]
    return inputs, draw(st.lists(st.booleans(), min_size=size, max_size=size))


@given(graphs())
def test_the_true_edges_of_any_graph_can_be_recovered(
    graph: tuple[list[list[int]], list[bool]],
) -> None:
    inputs, concatenates = graph
    arrows = arrows_between(inputs, concatenates)
    assert inputs_from(arrows, len(inputs)) == [sorted(tails) for tails in inputs]
    assert len(arrows) <= sum(map(len, inputs))
    assert all(arrow.tail < arrow.head for arrow in arrows)
