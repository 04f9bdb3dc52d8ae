"""Nodes and graphs: immutable values, any size, any number of axes."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import time
import weakref
from collections.abc import Callable
from fractions import Fraction

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox.arithmetic import PathState
from rfa_toolbox.domain import Layer, Node
from rfa_toolbox.errors import (
    InvalidGraphError,
    InvalidLayerError,
    InvalidResolutionError,
    RFAError,
)
from rfa_toolbox.graphs import (
    KNOWN_FILTER_MAPPING,
    EnrichedNetworkNode,
    LayerDefinition,
    ReceptiveFieldInfo,
    compute_receptive_field_sizes,
    filter_all_rf_info_with_infinite_receptive_field,
    keep_together,
    naive_minmax_filter,
    noop_filter,
    receptive_field_provider,
    receptive_field_provider_with_1x1_handling,
)


def node(
    *before: EnrichedNetworkNode, name: str = "node", kernel: object = 3, **layer: object
) -> EnrichedNetworkNode:
    return EnrichedNetworkNode(name, LayerDefinition("Layer", kernel, **layer), before)  # type: ignore[arg-type]


def chain(length: int, kernel: object = 3) -> EnrichedNetworkNode:
    layer = LayerDefinition("Conv", kernel, 1)
    last = EnrichedNetworkNode("0", layer, [])
    for position in range(1, length):
        last = EnrichedNetworkNode(str(position), layer, [last])
    return last


# --- layers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["kernel_size", "stride_size", "dilation", "upsampling"])
@pytest.mark.parametrize("value", [0, -2, 1.5, "3", (3, 0), ()])
def test_numbers_that_no_layer_can_have_are_quoted(field: str, value: object) -> None:
    with pytest.raises(InvalidLayerError, match=r"must be|empty") as caught:
        LayerDefinition("Conv", **{field: value})
    bad = 0 if value == (3, 0) else value
    assert repr(bad) in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RFAError)


def test_values_with_different_numbers_of_axes_do_not_make_a_layer() -> None:
    with pytest.raises(InvalidLayerError, match=r"\(3, 3\).*\(1, 2, 3\)"):
        LayerDefinition("Conv", kernel_size=(3, 3), stride_size=(1, 2, 3))


def test_no_kernel_is_an_infinite_one_and_no_stride_is_one() -> None:
    dense = LayerDefinition("Dense")
    assert (dense.kernel_size, dense.stride_size) == (math.inf, 1)


def test_padding_may_be_one_number_or_pairs_per_axis() -> None:
    assert LayerDefinition("Conv", 3, padding=1).padding == 1
    assert LayerDefinition("Conv", 3, padding=(1, (0, 2))).padding == ((1, 1), (0, 2))
    with pytest.raises(InvalidLayerError, match="begin, end"):
        LayerDefinition("Conv", 3, padding=((1, 2, 3),))


def test_layers_nodes_and_infos_are_immutable() -> None:
    one = node()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.layer_info.filters = 3  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.name = "other"  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.receptive_field_info[0].multiplicator = 2  # type: ignore[misc]


def test_a_filter_count_must_be_a_whole_number() -> None:
    for value in (1.5, "many", -1):
        with pytest.raises(InvalidLayerError, match=repr(value)):
            LayerDefinition("Conv", 3, filters=value)  # type: ignore[arg-type]


# --- receptive fields ------------------------------------------------------------------------


def test_the_worked_example_of_two_branches() -> None:
    image = node(kernel=1)
    short, long = node(image, kernel=1), node(image, kernel=5)
    both = node(short, long, stride_size=2)
    assert (both.receptive_field_min, both.receptive_field_max) == (3, 7)
    assert both.receptive_field_sizes == (3, 7)
    assert both.get_maximum_scale_factor() == 2


kernels = st.integers(1, 5)


@given(st.lists(st.tuples(kernels, st.integers(1, 3), st.integers(1, 2), st.sampled_from((1, 2)))))
def test_equal_values_on_all_axes_give_the_scalar_result(
    steps: list[tuple[int, int, int, int]],
) -> None:
    scalar, flat = node(kernel=1), node(kernel=(1, 1))
    for kernel, stride, dilation, up in steps[:6]:
        values = {"stride_size": stride, "dilation": dilation, "upsampling": up}
        scalar = node(scalar, kernel=kernel, **values)
        flat = node(flat, kernel=kernel, **values)
    assert flat.receptive_field_min == (scalar.receptive_field_min,) * 2
    assert flat.receptive_field_max == (scalar.receptive_field_max,) * 2
    assert flat.get_maximum_scale_factor() == (scalar.get_maximum_scale_factor(),) * 2
    assert flat.compute_feature_map_size(50) == (scalar.compute_feature_map_size(50),) * 2
    assert flat.certainty == scalar.certainty


@given(st.lists(st.tuples(st.tuples(kernels, kernels), st.tuples(kernels, kernels)), max_size=5))
def test_axes_do_not_know_of_each_other(
    steps: list[tuple[tuple[int, int], tuple[int, int]]],
) -> None:
    both, rows, columns = node(kernel=(1, 1)), node(kernel=1), node(kernel=1)
    for kernel, stride in steps:
        both = node(both, kernel=kernel, stride_size=stride)
        rows = node(rows, kernel=kernel[0], stride_size=stride[0])
        columns = node(columns, kernel=kernel[1], stride_size=stride[1])
    assert both.receptive_field_max == (rows.receptive_field_max, columns.receptive_field_max)


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
def test_any_number_of_axes(axes: int) -> None:
    one = node(node(kernel=(3,) * axes), kernel=3, stride_size=2)
    assert one.receptive_field_min == (5,) * axes
    assert one.axes == axes


def test_scalar_and_per_axis_layers_mix() -> None:
    joined = node(node(kernel=3), node(kernel=(1, 5)), kernel=1)
    assert (joined.receptive_field_min, joined.receptive_field_max) == ((1, 3), (3, 5))


def test_layers_with_two_and_with_three_axes_do_not_mix() -> None:
    with pytest.raises(InvalidGraphError, match="different numbers of axes"):
        node(node(kernel=(3, 3)), kernel=(3, 3, 3))
    with pytest.raises(InvalidGraphError, match="different numbers of axes"):
        node(node(kernel=(3, 3)), node(kernel=(3,)), kernel=1)


def test_a_predecessor_must_be_a_node() -> None:
    with pytest.raises(InvalidGraphError, match=r"'conv1', a str"):
        EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), ["conv1"])  # type: ignore[list-item]


def test_an_upsampled_map_has_a_fractional_jump() -> None:
    up = node(kernel=2, upsampling=2)
    assert up.get_maximum_scale_factor() == Fraction(1, 2)
    assert up.compute_feature_map_size(32) == 64


def test_a_layer_for_several_has_the_window_of_its_shortest_way_too() -> None:
    block = node(kernel=9, shortest_kernel_size=3)
    assert (block.receptive_field_min, block.receptive_field_max) == (3, 9)
    gate = node(kernel=(None, 9), shortest_kernel_size=(1, 9))
    assert gate.receptive_field_min == (1, 9)
    assert gate.receptive_field_max == (math.inf, 9)


def test_an_infinite_kernel_on_one_axis_leaves_the_other_alone() -> None:
    pooled = node(node(), kernel=(None, 1))
    assert pooled.receptive_field_min == (math.inf, 3)
    assert pooled.compute_feature_map_size(9) == (1, 9)


# --- certainty -------------------------------------------------------------------------------


def test_certainty_is_never_better_than_that_of_what_it_builds_on() -> None:
    layer = LayerDefinition("Layer", 3)
    sampled = EnrichedNetworkNode("a", layer, [], certainty="bound", certainty_reason="sampling")
    foreign = EnrichedNetworkNode("b", layer, [], certainty="unknown", certainty_reason="foreign")
    joined = EnrichedNetworkNode("c", layer, [sampled, foreign])
    assert (joined.certainty, joined.certainty_reason) == ("unknown", "foreign")
    assert node(sampled).certainty_reason == "sampling"


def test_a_layer_that_sees_everything_is_certain_again() -> None:
    sampled = EnrichedNetworkNode("a", LayerDefinition("L", 3), [], certainty="bound")
    assert node(sampled, kernel=None).certainty == "exact"


def test_pooling_of_an_upsampled_map_is_a_declared_bound() -> None:
    pooled = node(node(kernel=2, upsampling=2), kernel=2, stride_size=2)
    assert pooled.certainty == "bound"
    assert "padding" in pooled.certainty_reason
    assert node(node(kernel=2, upsampling=2), kernel=3).certainty == "exact"


def test_an_unknown_certainty_is_quoted() -> None:
    with pytest.raises(InvalidGraphError, match="'sure'; valid are 'exact', 'bound', 'unknown'"):
        EnrichedNetworkNode("a", LayerDefinition("L", 3), [], certainty="sure")  # type: ignore[arg-type]


# --- filters and providers -------------------------------------------------------------------


def test_filters_by_name() -> None:
    assert {
        "inf": filter_all_rf_info_with_infinite_receptive_field,
        None: noop_filter,
    } == KNOWN_FILTER_MAPPING


def gated(keep: Callable[..., object] = noop_filter) -> EnrichedNetworkNode:
    image = node(kernel=1)
    gate = node(image, kernel=None)
    return EnrichedNetworkNode("mul", LayerDefinition("Mul", 1), [node(image), gate], keep)  # type: ignore[arg-type]


def test_the_inf_filter_leaves_out_infinite_paths_unless_there_are_no_others() -> None:
    keep = filter_all_rf_info_with_infinite_receptive_field
    assert gated().receptive_field_max == math.inf
    assert gated(keep).receptive_field_max == 3
    lonely = EnrichedNetworkNode("pool", LayerDefinition("Pool"), [], keep)
    assert lonely.receptive_field_max == math.inf


def test_a_filter_may_be_any_function_of_the_infos() -> None:
    shortest = gated(lambda infos: infos[:1])
    assert shortest.receptive_field_sizes == (3,)
    made = gated(lambda infos: [ReceptiveFieldInfo(11, 4)])
    assert (made.receptive_field_max, made.get_maximum_scale_factor()) == (11, 4)
    assert gated(naive_minmax_filter).receptive_field_sizes == (3, math.inf)


def test_a_filter_may_be_named() -> None:
    assert gated("inf").receptive_field_max == 3  # type: ignore[arg-type]
    assert gated(None).receptive_field_max == math.inf  # type: ignore[arg-type]
    for value in ("minmax", 3):
        with pytest.raises(InvalidGraphError, match="valid are None, 'inf', or a function") as one:
            gated(value)  # type: ignore[arg-type]
        assert f"receptive_field_info_filter is {value!r}" in str(one.value)


@pytest.mark.parametrize("returned", [None, 3, (), [3], [ReceptiveFieldInfo(3, 1), None], "inf"])
def test_a_filter_that_returns_no_infos_is_quoted(returned: object) -> None:
    with pytest.raises(InvalidGraphError, match="at least one ReceptiveFieldInfo") as caught:
        gated(lambda infos: returned)
    assert f"returned {returned!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "jump"),
    [(0, 1), (-3, 1), (3.5, 1), (3, 0), (3, -2), (3, -0.5), (3, math.inf)],
)
def test_paths_that_no_layer_can_have_are_quoted(field: float, jump: float) -> None:
    with pytest.raises(InvalidGraphError, match="whole number of at least 1") as caught:
        gated(lambda infos: [ReceptiveFieldInfo(field, jump)])
    assert f"receptive_field={field!r}" in str(caught.value)


def test_a_jump_may_be_a_fraction_of_a_pixel() -> None:
    for jump in (0.5, Fraction(1, 2), np.float32(0.5)):
        half = gated(lambda infos, jump=jump: [ReceptiveFieldInfo(3, jump)])
        assert (half.receptive_field_max, half.get_maximum_scale_factor()) == (3, Fraction(1, 2))
        assert node(half, kernel=3, stride_size=2).get_maximum_scale_factor() == 1
    third = gated(lambda infos: [ReceptiveFieldInfo(math.inf, 0), ReceptiveFieldInfo(3, 1 / 3)])
    assert third.get_maximum_scale_factor() == Fraction(1, 3)
    assert third.compute_feature_map_size(9) == 27


@pytest.mark.parametrize("size", ["ab", b"ab", ((1, 2), 3), object(), float("nan")])
def test_a_receptive_field_must_be_numbers(size: object) -> None:
    with pytest.raises(InvalidGraphError, match="one per axis") as caught:
        compute_receptive_field_sizes([ReceptiveFieldInfo(size, 1)], LayerDefinition("Conv", 3))
    assert repr(size) in str(caught.value)


@pytest.mark.parametrize("infos", [[], None, [3], ReceptiveFieldInfo(3, 1)])
def test_sizes_grow_only_from_infos(infos: object) -> None:
    with pytest.raises(InvalidGraphError, match="at least one ReceptiveFieldInfo") as caught:
        compute_receptive_field_sizes(infos, LayerDefinition("Conv", 3))  # type: ignore[arg-type]
    assert f"receptive_field_info is {infos!r}" in str(caught.value)
    with pytest.raises(InvalidGraphError, match="layer_info is 3; it must be a LayerDefinition"):
        compute_receptive_field_sizes([ReceptiveFieldInfo(3, 1)], 3)  # type: ignore[arg-type]


def test_a_forgotten_list_of_predecessors_is_named() -> None:
    layer = LayerDefinition("Conv", 3)
    with pytest.raises(InvalidGraphError, match=r"'image'.*put a single one into a list"):
        EnrichedNetworkNode("c", layer, node(name="image"))  # type: ignore[arg-type]
    with pytest.raises(InvalidGraphError, match="None; they must be a sequence of nodes"):
        EnrichedNetworkNode("c", layer, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidGraphError, match="A predecessor is 3, an int;"):
        EnrichedNetworkNode("c", layer, [3])  # type: ignore[list-item]


def test_a_layer_of_a_node_is_a_layer_definition() -> None:
    with pytest.raises(InvalidGraphError, match=r"\{'name': 'x'\}, a dict.*LayerDefinition"):
        EnrichedNetworkNode("c", {"name": "x"}, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["filters", "units"])
def test_a_count_is_one_number(field: str) -> None:
    with pytest.raises(InvalidLayerError, match=r"\(3, 4\); it must be one whole number"):
        LayerDefinition("Conv", 3, **{field: (3, 4)})  # type: ignore[arg-type]


def test_a_provider_that_is_no_function_is_quoted() -> None:
    for question in (node().is_border, node().state):
        with pytest.raises(InvalidGraphError, match="receptive_field_provider is None; it must"):
            question(5, None)  # type: ignore[arg-type]


def test_the_reason_of_a_bound_names_windowed_attention() -> None:
    windows = node(node(kernel=1), kernel=4, blockwise=True)
    behind = node(windows, kernel=2, stride_size=2)
    assert behind.certainty == "bound"
    assert "on an up-sampled map or behind windowed attention" in behind.certainty_reason


def test_a_filter_of_a_user_sees_each_path_per_axis() -> None:
    image = node(kernel=(1, 1))
    both = EnrichedNetworkNode(
        "add",
        LayerDefinition("Add", 1),
        [node(image, kernel=(3, 5)), image],
        lambda infos: [max(infos, key=lambda info: info.receptive_field)],
    )
    assert both.receptive_field_min == (3, 5)


def test_compute_receptive_field_sizes_grows_every_info() -> None:
    infos = (ReceptiveFieldInfo((3, 5), (2, 1)), ReceptiveFieldInfo(math.inf, 1))
    grown = compute_receptive_field_sizes(infos, LayerDefinition("Conv", 3, 2))
    assert grown[0] == ReceptiveFieldInfo((7, 7), (4, 2))
    assert grown[1].receptive_field == (math.inf, math.inf)


def test_the_1x1_provider_judges_no_1x1_layer() -> None:
    assert receptive_field_provider(node(kernel=(1, 3))) == (1, 3)
    assert receptive_field_provider_with_1x1_handling(node(kernel=(1, 1))) is None
    assert receptive_field_provider_with_1x1_handling(node(kernel=(1, 3))) == (1, 3)


def test_numpy_numbers_leave_no_trace() -> None:
    np = pytest.importorskip("numpy")
    info = ReceptiveFieldInfo(np.int64(7), np.float64(2))
    assert repr(info) == "ReceptiveFieldInfo(receptive_field=7, multiplicator=2)"
    one = node(kernel=np.int32(3), filters=np.int64(8))
    assert one.layer_info == LayerDefinition("Layer", 3, filters=8)
    assert "np." not in repr(one.layer_info)
    assert one.compute_feature_map_size(np.int64(8)) == 8
    assert one.state(np.array([8, 8])) == "productive"


# --- states ----------------------------------------------------------------------------------


def test_a_first_layer_reads_the_image() -> None:
    assert node(kernel=7).state(7) == "unproductive"
    assert node(kernel=7).state(8) == "productive"


def test_1x1_layers_can_be_spared() -> None:
    point = node(node(kernel=7, stride_size=2), kernel=1)
    assert point.state(4) == "unproductive"
    assert point.state(4, filter_kernel_size_1=True) == "critical"
    assert point.is_border(4)
    assert not point.is_border(4, filter_kernel_size_1=True)
    assert not point.is_border(4, receptive_field_provider_with_1x1_handling)
    assert node(node(kernel=7, stride_size=4), kernel=1).is_border(4, filter_kernel_size_1=True)


def test_states_per_axis() -> None:
    one = node(node(kernel=(9, 3)), kernel=(3, 1))
    assert [one.state(size) for size in ((8, 8), (12, 2), (8, 2), (9, 9))] == [
        "partially critical", "partially critical", "unproductive", "partially critical"
    ]  # fmt: skip


def test_the_kernel_of_an_upsampling_covers_fewer_units_of_the_map_before_it() -> None:
    assert node(node(kernel=1, stride_size=8), kernel=2, upsampling=2).state(17) == "productive"


def test_windows_that_grow_with_the_image_count_as_infinite_at_any_resolution() -> None:
    pool = node(node(), kernel=4, stride_size=4, resolution_dependent=True)
    behind = node(pool, kernel=1)
    assert (pool.receptive_field_min, behind.receptive_field_min) == (6, 6)
    assert behind.receptive_field_max == 6
    assert receptive_field_provider(behind) == math.inf
    assert (pool.state(1000), behind.state(1000)) == ("critical", "unproductive")


@pytest.mark.parametrize("resolution", [0, -3, None, 7.5, "7", (7, 7, 7)])
def test_a_resolution_that_does_not_fit_is_quoted(resolution: object) -> None:
    with pytest.raises(InvalidResolutionError) as caught:
        node(kernel=(3, 3)).state(resolution)  # type: ignore[arg-type]
    assert repr(resolution) in str(caught.value)
    with pytest.raises(InvalidResolutionError):
        node(kernel=(3, 3)).compute_feature_map_size(resolution)  # type: ignore[arg-type]


# --- the graph around a node -----------------------------------------------------------------


def test_nodes_are_equal_only_to_themselves() -> None:
    one, other = node(), node()
    assert one != other
    assert len({one, other, one}) == 2
    assert one.is_in([other, one])
    assert not one.is_in([other])


def test_nodes_and_layers_keep_their_contracts() -> None:
    assert isinstance(node(), Node)
    assert isinstance(node().layer_info, Layer)


def test_any_node_is_a_handle_to_the_whole_graph() -> None:
    first, second = node(name="first"), node(name="second")
    middle = node(first, second, name="middle")
    left, right = node(middle, name="left"), node(second, name="right")
    for handle in (first, second, middle, left, right):
        assert [one.name for one in handle.all_layers] == [
            "first", "second", "middle", "left", "right"
        ]  # fmt: skip
    assert second.successors == (middle, right) == second.succecessors


def test_a_node_read_twice_has_its_reader_once_among_the_successors() -> None:
    image = node()
    twice = node(image, image)
    assert image.successors == (twice,)


def test_building_on_a_node_changes_no_other_graph() -> None:
    image = node()
    before = list(image.all_layers)
    reader = node(image)
    assert before == [image]
    assert reader in image.all_layers
    before.clear()
    assert len(image.all_layers) == 2


def test_forgotten_readers_are_not_kept_alive() -> None:
    image = node()
    reader = weakref.ref(node(image))
    gc.collect()
    assert reader() is None
    assert image.successors == ()
    assert image.all_layers == [image]


def test_a_graph_kept_together_lives_as_long_as_any_of_its_nodes() -> None:
    image = node(name="image")
    first, second = node(image, name="first"), node(image, name="second")
    keep_together([image, first, second])
    del image, second
    gc.collect()
    assert [one.name for one in first.all_layers] == ["image", "first", "second"]


def test_a_graph_kept_together_is_freed_as_a_whole() -> None:
    image = node()
    end = weakref.ref(node(image))
    keep_together(image.all_layers)
    del image
    gc.collect()
    assert end() is None


def test_equal_names_are_allowed() -> None:
    assert [one.name for one in node(node(name="same"), name="same").all_layers] == ["same"] * 2


# --- size ------------------------------------------------------------------------------------

LONG = 100_000


@pytest.fixture(scope="module")
def long_chain() -> EnrichedNetworkNode:
    return chain(LONG)


def test_a_long_chain_is_built_compared_and_printed(long_chain: EnrichedNetworkNode) -> None:
    assert long_chain.receptive_field_max == 2 * LONG + 1
    assert long_chain == long_chain  # noqa: PLR0124 - compared on purpose
    assert repr(long_chain).startswith("EnrichedNetworkNode('99999', Conv, kernel_size=3")
    assert len(long_chain.all_layers) == LONG
    assert hash(long_chain) == hash(long_chain)


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        lambda one: pickle.loads(pickle.dumps(one)),
        lambda one: EnrichedNetworkNode.from_dict(one.to_dict()),
    ],
    ids=["deepcopy", "pickle", "dict"],
)
def test_a_long_chain_is_copied(
    long_chain: EnrichedNetworkNode, copied: Callable[[EnrichedNetworkNode], EnrichedNetworkNode]
) -> None:
    other = copied(long_chain)
    assert other is not long_chain
    assert other.receptive_field_max == long_chain.receptive_field_max
    assert len(other.all_layers) == LONG
    assert copy.copy(long_chain) is long_chain


def test_copies_of_several_nodes_stay_one_graph() -> None:
    end = chain(4)
    nodes = end.all_layers
    copies = copy.deepcopy(nodes)
    assert copies[0].all_layers == copies
    stored = pickle.loads(pickle.dumps(nodes))
    assert stored[-1].predecessors == (stored[-2],)
    assert not set(copies) & set(nodes)


def test_a_dense_net_costs_as_much_as_its_edges() -> None:
    inputs = [node(kernel=1)]
    started = time.perf_counter()
    for _ in range(200):
        inputs.append(node(node(*inputs, kernel=1)))
    assert time.perf_counter() - started < 2
    assert inputs[-1].receptive_field_min == 3
    assert inputs[-1].receptive_field_max == 401
    assert len(inputs[-1].paths[0]) == 2


def test_a_cell_net_with_a_path_for_every_choice_does_not_blow_up() -> None:
    older, newer = node(kernel=1), node()
    for cell in range(60):
        stride = 2 if cell % 20 == 19 else 1
        parts = [
            node(source, kernel=size, stride_size=stride)
            for source in (older, newer)
            for size in (1, 3, 5, 7)
        ]
        if stride == 2:
            older, newer = node(newer, kernel=1, stride_size=2), node(*parts, kernel=1)
        else:
            older, newer = newer, node(*parts, kernel=1)
    assert len(newer.paths[0]) <= 4
    assert newer.receptive_field_min == 1


def test_exchange_between_resolutions_keeps_few_paths() -> None:
    fine = node(kernel=3, stride_size=4)
    coarse = node(fine, kernel=3, stride_size=2)
    paths: set[PathState] = set()
    for _ in range(30):
        up = node(coarse, kernel=2, upsampling=2)
        down = node(fine, kernel=3, stride_size=2)
        fine, coarse = node(node(fine), up, kernel=1), node(node(coarse), down, kernel=1)
        paths = {path for axis in (*fine.paths, *coarse.paths) for path in axis}
    assert len(paths) <= 12
