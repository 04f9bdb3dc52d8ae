"""What runs over the positions sees one side of them: all in front, or all behind, and no more."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.analysis import streaming
from rfa_toolbox.unit_windows import region_of
from tests.faults.influence import seen_by_differences
from tests.pytorch.measure import INF, Function, captures, encode

LENGTH = 24


def recurrent(kind: type[nn.Module], **options: Any) -> Any:
    """Return a recurrent layer on (batch, channels, time) behind a convolution."""
    layers = {"c": nn.Conv1d(4, 4, 3, padding=1), "r": kind(4, 4, batch_first=True, **options)}
    return Function(lambda s, x: s.r(s.c(x).transpose(1, 2))[0].transpose(1, 2), **layers)


def function(work: Any, **more: nn.Module) -> nn.Module:
    return Function(work, c=nn.Conv1d(4, 4, 3, padding=1), **more)


def attention(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x).transpose(1, 2)
    return F.scaled_dot_product_attention(y, y, y, is_causal=True).transpose(1, 2)


def backwards(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.r(s.c(x).transpose(1, 2).flip(1))[0].flip(1).transpose(1, 2)  # type: ignore[no-any-return]


FORWARD: dict[str, nn.Module] = {
    "a cumulative sum": function(lambda s, x: s.c(x).cumsum(2)),
    "a cumulative sum of exponentials": function(lambda s, x: s.c(x).logcumsumexp(-1)),
    "an LSTM": recurrent(nn.LSTM),
    "several layers of a GRU": recurrent(nn.GRU, num_layers=2),
    "a plain recurrent layer": recurrent(nn.RNN),
    "causal attention": function(attention),
    "two scans": function(lambda s, x: s.d(s.c(x).cumsum(2)).cumsum(2), d=nn.Conv1d(4, 4, 1)),
}
BACKWARD: dict[str, nn.Module] = {
    "a cumulative sum of what was turned around": function(
        lambda s, x: s.c(x).flip(2).cumsum(2).flip(2)
    ),
    "a recurrent layer of what was turned around": function(
        backwards, r=nn.LSTM(4, 4, batch_first=True)
    ),
    "a cumulative sum of something computed of it": function(
        lambda s, x: torch.tanh(s.c(x).flip(-1) * 2).cumsum(2).flip(-1)
    ),
}
BOTH: dict[str, nn.Module] = {
    "a layer in both directions": recurrent(nn.LSTM, bidirectional=True),
    "scans in both directions": function(
        lambda s, x: s.c(x).cumsum(2) + s.c(x).flip(2).cumsum(2).flip(2)
    ),
    "the last state, for every unit": function(
        lambda s, x: x + s.r(s.c(x).transpose(1, 2))[1].permute(1, 2, 0),
        r=nn.GRU(4, 4, batch_first=True),
    ),
    "the last sum, for every unit": function(lambda s, x: x + s.c(x).cumsum(2)[..., -1:]),
}


@captures
@pytest.mark.parametrize("name", FORWARD)
def test_a_scan_sees_everything_in_front_and_looks_ahead_as_far_as_before(
    name: str, capture: str
) -> None:
    graph = encode(FORWARD[name], (1, 4, LENGTH), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((INF,), "exact")
    assert (graph.unit_windows[0].firsts, graph.unit_windows[0].lasts) == ((-INF,), (1,))
    assert (streaming(graph).history, streaming(graph).look_ahead) == (INF, 1)


@captures
@pytest.mark.parametrize("name", BACKWARD)
def test_a_scan_of_what_was_turned_around_sees_everything_behind(name: str, capture: str) -> None:
    graph = encode(BACKWARD[name], (1, 4, LENGTH), capture)
    assert (graph.unit_windows[0].firsts, graph.unit_windows[0].lasts) == ((-1,), (INF,))
    assert (streaming(graph).history, streaming(graph).look_ahead) == (1, INF)


@pytest.mark.parametrize("name", BOTH)
def test_who_sees_the_end_of_a_scan_sees_everything(name: str) -> None:
    graph = encode(BOTH[name], (1, 4, LENGTH))
    assert streaming(graph).look_ahead == INF or graph.unit_windows[0].lasts[0] >= LENGTH


@pytest.mark.parametrize("name", [*FORWARD, *BACKWARD])
def test_an_experiment_sees_the_same_side(name: str) -> None:
    model = {**FORWARD, **BACKWARD}[name]
    (windows,) = encode(model, (1, 4, LENGTH)).unit_windows
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert first == max(0, unit + windows.firsts[0])
        assert last == min(LENGTH - 1, unit + windows.lasts[0])


def test_a_causal_convolution_with_a_scan_does_not_look_ahead() -> None:
    layers = {"c": nn.Conv1d(4, 4, 3), "r": nn.GRU(4, 4, batch_first=True)}
    model = Function(lambda s, x: s.r(s.c(F.pad(x, (2, 0))).transpose(1, 2))[0], **layers)
    assert streaming(encode(model, (1, 4, LENGTH))).is_causal


def test_pixels_scanned_line_by_line_see_the_lines_above() -> None:
    model = Function(
        lambda s, x: s.c(x).flatten(2).cumsum(2).view(x.shape), c=nn.Conv2d(4, 4, 3, padding=1)
    )
    down, right = encode(model, (1, 4, 12, 12)).unit_windows
    assert (down.firsts, down.lasts) == ((-math.inf,), (1,))
    assert (right.firsts, right.lasts) == ((-math.inf,), (math.inf,))


WITHIN: dict[str, Any] = {
    "a cumulative sum": lambda y: y.cumsum(3),
    "causal attention": lambda y: F.scaled_dot_product_attention(
        *[y.permute(0, 2, 3, 1)] * 3, is_causal=True
    ).permute(0, 3, 1, 2),
    "a mean": lambda y: y + y.mean(3, keepdim=True),
    "a maximum": lambda y: y - y.amax(3, keepdim=True),
    "a norm by hand": lambda y: (y - y.mean(3, keepdim=True)) / (1 + y.var(3, keepdim=True)),
}


@captures
@pytest.mark.parametrize("name", WITHIN)
def test_what_looks_within_windows_of_a_map_sees_no_more_than_them(name: str, capture: str) -> None:
    model = function(lambda s, x: WITHIN[name](s.c(x).view(1, 4, 3, 8)).reshape(1, 4, 24))
    graph = encode(model, (1, 4, LENGTH), capture)
    found = seen_by_differences(model, (1, 4, LENGTH))
    assert graph.receptive_field_max == (max(last - first + 1 for first, last in found),) == (10,)


def behind_causal_padding(work: Any, **layers: nn.Module) -> nn.Module:
    """A convolution that pads both ends, of which the units that look ahead are cut off again."""
    return Function(
        lambda s, x: work(s, s.c(x)[:, :, :-2]), c=nn.Conv1d(4, 4, 3, padding=2), **layers
    )


LEFT: dict[str, tuple[nn.Module, tuple[float, float]]] = {
    "an LSTM": (
        behind_causal_padding(
            lambda s, y: s.r(y.mT)[0].mT, r=nn.LSTM(4, 4, batch_first=True)
        ), (-INF, 0),
    ),
    "a cumulative sum": (behind_causal_padding(lambda s, y: y.cumsum(2)), (-INF, 0)),
    "a layer in both directions": (
        behind_causal_padding(
            lambda s, y: s.r(y.mT)[0].mT, r=nn.GRU(4, 2, batch_first=True, bidirectional=True)
        ), (-INF, INF),
    ),
    "a mean": (behind_causal_padding(lambda s, y: y.mean(2, keepdim=True) + y), (-INF, INF)),
}  # fmt: skip


def test_a_scan_of_what_a_crop_in_front_left_looks_ahead_by_what_was_cut_off() -> None:
    model = function(lambda s, x: s.c(x)[:, :, 2:].cumsum(2))
    (windows,) = encode(model, (1, 4, LENGTH)).unit_windows
    assert (windows.firsts, windows.lasts) == ((-INF,), (3,))
    for unit, (_, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert last == min(LENGTH - 1, unit + 3)


@captures
@pytest.mark.parametrize("name", LEFT)
def test_all_that_a_crop_left_is_everything(name: str, capture: str) -> None:
    model, ends = LEFT[name]
    graph = encode(model, (1, 4, LENGTH), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((INF,), "exact")
    (windows,) = graph.unit_windows
    assert (windows.firsts[0], windows.lasts[0]) == ends


def test_a_norm_of_all_that_a_crop_left_is_a_norm_of_the_image() -> None:
    model = behind_causal_padding(lambda s, y: F.instance_norm(y))
    (*_, norm) = encode(model, (1, 4, LENGTH)).all_layers
    assert norm.layer_info.ignored_global
    assert norm.layer_info.norm_blocks is None


def test_the_first_units_by_a_number_see_no_more_than_those_do() -> None:
    read = nn.GRU(4, 2, batch_first=True, bidirectional=True)
    model = function(lambda s, x: s.r(s.c(x)[:, :, :20].mT)[0].mT, r=read)
    graph = encode(model, (1, 4, LENGTH))
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert (first, last) == (0, 20)
        assert region_of(graph.unit_windows[0], unit) == (-1, 20)


def test_a_layer_in_both_directions_within_windows_sees_them_whole() -> None:
    read = nn.GRU(4, 2, batch_first=True, bidirectional=True)
    model = function(
        lambda s, x: s.r(s.c(x).mT.reshape(3, 8, 4))[0].reshape(1, LENGTH, 4).mT, r=read
    )
    graph = encode(model, (1, 4, LENGTH))
    assert (graph.receptive_field_max, graph.certainty) == ((10,), "exact")
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        begin, end = region_of(graph.unit_windows[0], unit)
        assert (first, last) == (max(0, begin), min(LENGTH - 1, end))


def test_a_difference_of_running_sums_is_a_bound() -> None:
    """A box filter by sums, as guided filters have it: units see only what lies between."""

    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        sums = x.cumsum(2)
        return sums[..., 4:] - sums[..., :-4]

    graph = encode(Function(forward), (1, 2, 24))
    assert graph.certainty == "bound"
    assert "between" in graph.certainty_reason
