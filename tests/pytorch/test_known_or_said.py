"""Every number is exact, or says that it is a bound: outputs, unmixed channels, writes, sizes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.empirical import verify
from rfa_toolbox.unit_windows import region_of
from tests.pytorch.measure import Function, captures, encode
from tests.pytorch.test_tiling_or_not import (
    conv,
    folded,
    in_parts,
    put,
    put_number,
    shuffled,
    to_blocks,
    written,
)

SHAPE = (1, 2, 64, 64)


# --- what the model returns ----------------------------------------------------------------------


@captures
@pytest.mark.parametrize(
    ("returned", "start", "size", "jump"),
    [
        pytest.param(lambda y: y[:, :, 2:-2, 4:], (1, 3), (3, 3), (1, 1), id="crop"),
        pytest.param(lambda y: y[:, :1, 2:], (1, -1), (3, 3), (1, 1), id="crop and a channel"),
        pytest.param(lambda y: y.narrow(2, 5, 9), (4, -1), (3, 3), (1, 1), id="narrow"),
        pytest.param(lambda y: y.split(20, 2)[1], (19, -1), (3, 3), (1, 1), id="split"),
        pytest.param(lambda y: y[:, :, 1::2], (0, -1), (3, 3), (2, 1), id="stride"),
        pytest.param(lambda y: F.pad(y, (1, 2, 3, 4)), (-4, -2), (3, 3), (1, 1), id="pad"),
        pytest.param(lambda y: F.pad(y, (-1, -2, 3, 4)), (-4, 0), (3, 3), (1, 1), id="pad, crop"),
        pytest.param(to_blocks, (-1, -1), (4, 4), (2, 2), id="blocks to channels"),
        pytest.param(lambda y: y, (-1, -1), (3, 3), (1, 1), id="nothing"),
        pytest.param(lambda y: y.flatten(2).mT, (-1, -1), (3, 3), (1, 1), id="tokens"),
        pytest.param(lambda y: y[None, :, :].half(), (-1, -1), (3, 3), (1, 1), id="converted"),
    ],
)
def test_the_node_of_an_output_is_what_the_model_returns(
    returned: Any, start: Any, size: Any, jump: Any, capture: str
) -> None:
    model = Function(lambda s, x: returned(s.c(x)), c=conv()).eval()
    graph = encode(model, SHAPE, capture)
    assert (graph.window.start, graph.window.size, graph.window.jump) == (start, size, jump)
    with torch.no_grad():
        shape = model(torch.zeros(SHAPE)).shape
    assert math.prod(graph.feature_map) == math.prod(shape[-2:]) or shape[-2:] == (64 * 64, 2)


@captures
def test_an_output_that_is_one_row_says_which_one(capture: str) -> None:
    graph = encode(Function(lambda s, x: s.c(x)[:, :, 5], c=conv()), SHAPE, capture)
    assert graph.window.start == (4, -1)
    assert graph.feature_map == (1, 64)


@captures
def test_outputs_that_share_a_layer_are_nodes_of_their_own(capture: str) -> None:
    def forward(s: nn.Module, x: torch.Tensor) -> Any:
        y = s.c(x)
        return y[:, :, 2:], y, y[:, :, 7:]

    graph = encode(Function(forward, c=conv()), SHAPE, capture)
    found = {node.name: node.window.start[0] for node in graph.all_layers}
    assert found == {"c": -1, "slice": 1, "slice#2": 6}


# --- channels that hold different places -----------------------------------------------------

UNMIXED = {
    "unfold, fold": (folded(lambda s, x: x), {}),
    "unfold, act, fold": (folded(lambda s, x: F.relu(x).mT.mT), {}),
    "unshuffle, shuffle": (shuffled(lambda s, x: x), {}),
    "unshuffle, act, shuffle, conv": (
        lambda s, x: s.c(shuffled(lambda s, y: F.relu(y))(s, x)), {"c": conv()},
    ),
    "unshuffle, depthwise, shuffle": (
        shuffled(lambda s, x: s.c(x)), {"c": conv(8, out=8, groups=8)},
    ),
    "unshuffle, two by two, shuffle": (
        shuffled(lambda s, x: s.c(x)), {"c": conv(8, out=16, groups=4)},
    ),
    "unshuffle, pool, shuffle": (shuffled(lambda s, x: F.max_pool2d(x, 3, 1, 1)), {}),
    "unshuffle, twice beside, shuffle": (shuffled(lambda s, x: torch.cat([x, x], 1)), {}),
    "middle of unfold": (
        lambda s, x: s.e(F.unfold(x, 3, padding=1)[:, 4:6].view(1, 2, *x.shape[2:])),
        {"e": conv(kernel=1)},
    ),
    "front of Tensor.unfold": (lambda s, x: F.relu(x.unfold(2, 3, 1)[..., 0]), {}),
    "some of unshuffle": (
        lambda s, x: s.e(F.pixel_unshuffle(x, 2)[:, 1:3]), {"e": conv(kernel=1)},
    ),
}  # fmt: skip
MIXED = {
    "unfold, dense, fold": (
        folded(lambda s, x: s.l(x.mT).mT), {"l": nn.Linear(32, 32)},
    ),
    "unfold, conv, fold": (
        folded(lambda s, x: s.l(x)), {"l": nn.Conv1d(32, 32, 1)},
    ),
    "unshuffle, conv, shuffle": (shuffled(lambda s, x: s.c(x)), {"c": conv(8, out=8)}),
    "conv, shuffle": (lambda s, x: F.pixel_shuffle(s.c(x), 2), {"c": conv(2, out=8)}),
    "unshuffle, conv": (lambda s, x: s.c(F.pixel_unshuffle(x, 2)), {"c": conv(8)}),
    "mean of unfold": (
        lambda s, x: F.unfold(x, 3, padding=1).mean(1).view(1, 1, *x.shape[2:]), {},
    ),
    "blocks and back by view": (
        lambda s, x: s.c(F.relu(to_blocks(x)).view(1, 2, 2, 2, x.shape[2] // 2, x.shape[3] // 2)
                         .permute(0, 1, 4, 2, 5, 3).reshape(x.shape)), {"c": conv()},
    ),
}  # fmt: skip


def agrees(case: Any, certainty: str) -> None:
    model = Function(case[0], **case[1])
    assert encode(model, SHAPE).certainty == certainty
    report = verify(model, SHAPE, max_length=128)
    assert not report.disagreements, str(report)
    assert report.nodes[-1].verdict in ({"exact": ("agrees",)}.get(certainty, ("bound", "agrees")))


@pytest.mark.parametrize("case", [pytest.param(one, id=name) for name, one in UNMIXED.items()])
def test_what_nothing_mixed_is_a_bound_when_it_is_put_side_by_side(case: Any) -> None:
    agrees(case, "bound")


@pytest.mark.parametrize("case", [pytest.param(one, id=name) for name, one in MIXED.items()])
def test_what_was_mixed_is_exact(case: Any) -> None:
    agrees(case, "exact")


# --- parts that are overwritten --------------------------------------------------------------

E = {"c": conv(), "e": conv(kernel=1)}
ALL, ROWS = slice(None), (slice(None), slice(None), slice(3, None))


def every_channel_in_turn(y: torch.Tensor, x: torch.Tensor) -> None:
    y[:, :1] = x[:, :1]
    y[:, 1:] = x[:, 1:]


def the_same_channel_again(y: torch.Tensor, x: torch.Tensor) -> None:
    y[:, :1] = F.max_pool2d(x, 9, 1, 4)[:, :1]
    y[:, 0] = 0


def picked_behind(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    y[:, :1] = x[:, :1]
    return F.relu(y[:, :1])


@pytest.mark.parametrize(
    ("forward", "certainty", "size"),
    [
        pytest.param(put(ALL), "exact", 1, id="all"),
        pytest.param(put_number((ALL, 1)), "exact", 3, id="a channel by a number"),
        pytest.param(put((ALL, slice(0, 1))), "exact", 3, id="a channel"),
        pytest.param(in_parts(torch.zeros_like), "exact", 3, id="channels of zeros in turn"),
        pytest.param(written(lambda y, x: y.copy_(x)), "exact", 1, id="all, copied"),
        pytest.param(written(every_channel_in_turn), "bound", 3, id="every channel in turn"),
        pytest.param(written(the_same_channel_again), "bound", 9, id="a channel again"),
        pytest.param(picked_behind, "bound", 3, id="a channel that alone is read"),
        pytest.param(put(ROWS), "bound", 3, id="rows"),
        pytest.param(put_number(ROWS), "bound", 3, id="rows by a number"),
        pytest.param(written(lambda y, x: y[ROWS].copy_(x[ROWS])), "bound", 3, id="rows, copied"),
        pytest.param(written(lambda y, x: y[ROWS].zero_()), "bound", 3, id="rows, zeroed"),
        pytest.param(
            written(lambda y, x: y[ROWS].copy_(torch.ones(61, 64))), "bound", 3, id="a constant"
        ),
        pytest.param(
            written(lambda y, x: y.view(-1)[7:].zero_()), "bound", 3, id="through another shape"
        ),
    ],
)
@captures
def test_what_is_overwritten_is_not_seen_or_may_be_less(
    forward: Any, certainty: str, size: int, capture: str
) -> None:
    graph = encode(Function(forward, **E), SHAPE, capture)
    assert (graph.certainty, graph.receptive_field_max) == (certainty, (size, size))
    if capture == "meta":
        report = verify(Function(forward, **E), SHAPE, max_length=128)
        assert not report.disagreements, str(report)


@captures
def test_a_tensor_that_became_a_constant_is_none_of_the_input(capture: str) -> None:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = s.c(x)
        y.zero_()
        return s.e(y + x)

    graph = encode(Function(forward, **E), SHAPE, capture)
    assert [node.name for node in graph.all_layers] == ["add", "e"]


# --- sizes -----------------------------------------------------------------------------------


def resized_to(size: Any, **options: Any) -> Any:
    return lambda s, x: s.c(F.interpolate(F.max_pool2d(x, 2), size=size(x), **options))


@captures
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("size", "fixed"),
    [
        pytest.param(lambda x: (64, 64), True, id="fixed, as large as the input"),
        pytest.param(lambda x: (48, 80), True, id="fixed"),
        pytest.param(lambda x: (x.shape[2] - x.shape[3] + 50, 50), True, id="fixed after all"),
        pytest.param(lambda x: x.shape[2:], False, id="that of the input"),
        pytest.param(lambda x: (2 * x.size(2), x.size(3)), False, id="twice that of the input"),
    ],
)
def test_a_fixed_size_grows_with_the_image(size: Any, fixed: bool, mode: str, capture: str) -> None:
    graph = encode(Function(resized_to(size, mode=mode), c=conv()), SHAPE, capture)
    (resize,) = (node for node in graph.all_layers if "interpolate" in node.name)
    assert resize.layer_info.resolution_dependent is fixed
    assert (graph.lasting_receptive_fields[1] == (math.inf, math.inf)) is fixed


@pytest.mark.parametrize("factor", [0.3, 0.4, 0.7, 0.9, 1.5, 1.9, 2.5])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_reads_what_pytorch_reads(mode: str, factor: float) -> None:
    model = Function(lambda s, x: F.interpolate(x, scale_factor=factor, mode=mode))
    (windows,) = encode(model, (1, 1, 600)).unit_windows
    read = model(torch.arange(600.0)[None, None])[0, 0].tolist()
    assert windows.jump == 1 / Fraction(str(factor))
    assert [region_of(windows, unit) for unit in range(len(read))] == [(one, one) for one in read]
