"""Random networks with branches: every single unit looks where the analysis says it does."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from rfa_toolbox.unit_windows import region_of
from tests.pytorch.measure import Function, encode

LENGTH = 180
SMALL = st.integers(1, 3)


class Shared(nn.Module):
    """One module, called twice."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.inner(x))


class Branches(nn.Module):
    """Several ways whose ends are cut to the shortest and put together."""

    def __init__(self, ways: list[nn.Module], together: str) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)
        self.together = together
        self.merge = nn.Conv1d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ends = [way(x) for way in self.ways]
        size = min(end.shape[-1] for end in ends)
        ends = [end[..., :size] for end in ends]
        if self.together == "cat":
            return self.merge(torch.cat(ends[:2], 1))
        return sum(ends[1:], ends[0])


def _pad(begin: int, end: int) -> nn.Module:
    return Function(lambda s, x: nn.functional.pad(x, (begin, end)))


def _roll(by: int) -> nn.Module:
    return Function(lambda s, x: torch.roll(x, by, -1))


def _crop(start: int, step: int) -> nn.Module:
    return Function(lambda s, x: x[..., start::step])


def _ceil_pool(kernel: int, stride: int) -> nn.Module:
    return nn.MaxPool1d(kernel, stride, kernel // 2, ceil_mode=True)


STILL = st.one_of(  # keep the jump, so that branches can meet
    st.builds(lambda k, d, p: nn.Conv1d(2, 2, k, 1, p, d), st.integers(1, 4), SMALL, SMALL),
    st.builds(_pad, st.integers(-2, 3), st.integers(-2, 3)),
    st.builds(_roll, st.integers(-3, 3)),
    st.builds(lambda k: nn.AvgPool1d(k, 1, k // 2), st.integers(1, 3)),
    st.just(nn.ReLU()),
    st.just(nn.Identity()),
)
MOVING = st.one_of(
    st.builds(lambda k, s, p: nn.Conv1d(2, 2, k, s, p), st.integers(1, 5), SMALL, SMALL),
    st.builds(_ceil_pool, st.integers(2, 4), SMALL),
    st.builds(_crop, st.integers(0, 2), SMALL),
    st.builds(
        lambda k, s, d: nn.ConvTranspose1d(2, 2, k, s, dilation=d), st.integers(2, 5), SMALL, SMALL
    ),
    st.builds(lambda u: nn.Upsample(scale_factor=u), st.integers(2, 3)),
    st.builds(lambda u: nn.Upsample(scale_factor=u, mode="linear"), st.sampled_from([2, 4])),
)
WAY = st.lists(STILL, max_size=3).map(lambda layers: nn.Sequential(*layers))
LAYER = st.one_of(
    STILL,
    MOVING,
    STILL.map(Shared),
    st.builds(Branches, st.lists(WAY, min_size=2, max_size=3), st.sampled_from(["add", "cat"])),
)


def measured_regions(model: nn.Module) -> list[tuple[int, int] | None]:
    """Return the first and the last pixel that every unit sees.

    Entry i of the batch has pixel i poisoned.
    """
    images = torch.rand(LENGTH, 2, LENGTH, dtype=torch.float64)
    images[torch.arange(LENGTH), :, torch.arange(LENGTH)] = torch.nan
    with torch.no_grad():
        sees = model.double().eval()(images).isnan().any(1)
    result: list[tuple[int, int] | None] = []
    for unit in sees.T:
        pixels = unit.nonzero().flatten().tolist()
        result.append((pixels[0], pixels[-1]) if pixels else None)
    return result


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True)
@given(layers=st.lists(LAYER, min_size=1, max_size=5))
def test_every_unit_of_a_random_network_looks_where_the_analysis_says(
    layers: list[nn.Module],
) -> None:
    model = nn.Sequential(*layers, nn.ReLU())  # a crop alone makes no node
    graph = encode(model, (1, 2, LENGTH), "meta")
    (windows,) = graph.unit_windows
    assert windows is not None
    assume(windows.size * 2 < LENGTH)
    edge = math.ceil(30 * max(1, windows.jump))
    inside = 0
    for unit, region in enumerate(measured_regions(model)):
        first, last = region_of(windows, unit)
        # A roll brings what is near one edge to the other one.
        if first > last:
            assert region is None or region[0] < edge or region[1] >= LENGTH - edge, unit
        elif first >= edge and last < LENGTH - edge:
            assert region == (first, last), unit
            inside += 1
    assume(inside > 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layers=st.lists(LAYER, min_size=1, max_size=3))
def test_both_captures_agree_on_where_units_look(layers: list[nn.Module]) -> None:
    model = nn.Sequential(*layers)
    meta, traced = (encode(model, (1, 2, LENGTH), capture) for capture in ("meta", "jit"))
    assert [node.unit_windows for node in meta.all_layers] == [
        node.unit_windows for node in traced.all_layers
    ]


@pytest.mark.parametrize(
    ("function", "start", "size"),
    [
        pytest.param(lambda x: torch.roll(x, 4, -1) + x, -4, 5, id="roll and add"),
        pytest.param(
            lambda x: nn.functional.pad(x, (2, 0)) + nn.functional.pad(x, (0, 2)), -2, 3, id="pads"
        ),
        pytest.param(lambda x: x[..., 1:] - x[..., :-1], 0, 2, id="difference"),
        pytest.param(lambda x: torch.cat([x[..., 2:], x[..., :-2]], 1), 0, 3, id="cat of crops"),
        pytest.param(lambda x: torch.relu(x[..., 5:]), 5, 1, id="crop"),
    ],
)
def test_operands_that_do_not_lie_unit_upon_unit(function, start, size) -> None:
    graph = encode(Function(lambda s, x: function(x)), (1, 2, 32))
    assert (graph.window.start, graph.window.size) == ((start,), (size,))
    assert graph.window.jump == (Fraction(1),)


def test_a_shift_written_into_parts_of_a_tensor_is_followed() -> None:
    def shift(s, x):
        out = torch.zeros_like(x)
        out[:, :1, :-1] = x[:, :1, 1:]
        out[:, 1:, 1:] = x[:, 1:, :-1]
        return out

    graph = encode(Function(shift), (1, 2, 32))
    assert (graph.window.start, graph.window.size) == ((-1,), (3,))


@pytest.mark.parametrize(
    "pick",
    [
        pytest.param(lambda x, order: x[..., order], id="index"),
        pytest.param(lambda x, order: x.index_select(-1, order), id="index_select"),
    ],
)
def test_positions_in_another_order_have_no_known_place(pick) -> None:
    """A permutation keeps the size of the map, so that nothing but the operator tells of it."""
    order = torch.arange(31, -1, -1)
    picked = encode(Function(lambda s, x: pick(x, order)), (1, 2, 32))
    assert picked.window is None
    assert picked.certainty == "bound"
    behind = encode(
        Function(lambda s, x: s.conv(pick(x, order)), conv=nn.Conv1d(2, 2, 3)), (1, 2, 32)
    )
    assert behind.receptive_field_max == (math.inf,)


def test_a_mirrored_map_has_no_known_place() -> None:
    graph = encode(Function(lambda s, x: s.conv(x.flip(-1)), conv=nn.Conv1d(2, 2, 3)), (1, 2, 32))
    assert graph.window is None
    assert graph.receptive_field_max == (3,)


class Mixed(nn.Module):
    """Kernels of different size on some of the channels each, and a look at some of them."""

    def __init__(self, chosen: slice) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv1d(2, 2, 5), nn.Conv1d(2, 2, 3)
        self.norm, self.apart = nn.BatchNorm1d(4), nn.Conv1d(4, 4, 1, groups=4)
        self.chosen = chosen
        self.last = nn.Conv1d(len(range(4)[chosen]), 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.wide(x), self.narrow(x)[..., 1:-1]], 1)
        x = torch.relu(self.apart(self.norm(x)))
        return self.last(x[:, self.chosen])


@pytest.mark.parametrize("chosen", [slice(0, 2), slice(2, 4), slice(3, None)])
def test_some_channels_of_a_concatenation_may_see_less_than_all_and_the_graph_says_so(
    chosen: slice,
) -> None:
    model = Mixed(chosen).eval()
    graph = encode(model, (1, 2, LENGTH))
    assert graph.receptive_field_max == (5,)
    assert graph.certainty == "bound"
    assert "channels of a concatenation" in graph.certainty_reason
    sizes = {last - first + 1 for first, last in measured_regions(model)}
    assert sizes == {5 if chosen.start == 0 else 3}


@pytest.mark.parametrize("chosen", [slice(None), slice(1, 3), slice(0, 3)])
def test_a_look_at_channels_of_every_part_is_exact(chosen: slice) -> None:
    model = Mixed(chosen).eval()
    graph = encode(model, (1, 2, LENGTH))
    assert graph.certainty == "exact"
    assert {last - first + 1 for first, last in measured_regions(model)} == {5}
