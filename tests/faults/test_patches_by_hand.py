"""Blocks of a map that were put into channels by hand are what ``pixel_unshuffle`` makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.empirical import verify
from tests.pytorch.measure import Function, captures, encode, measured_extent


def reshaped(x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    blocks = x.reshape(b, c, h // 4, 4, w // 4, 4).permute(0, 1, 3, 5, 2, 4)
    return blocks.reshape(b, c * 16, h // 4, w // 4)


def last_first(x: torch.Tensor) -> torch.Tensor:
    """Positions of a block in front of channels, as einops writes '(p1 p2 c)'."""
    b, c, h, w = x.shape
    blocks = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(b, c * 16, h // 4, w // 4)


def tokens(x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    blocks = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1)
    return blocks.reshape(b, h // 4, w // 4, 16 * c).permute(0, 3, 1, 2)


def split_up(x: torch.Tensor) -> torch.Tensor:
    """Strips of columns, each viewed as blocks, and stacked: i-RevNet."""
    b, c, h, _ = x.shape
    strips = x.permute(0, 2, 3, 1).split(4, dim=2)
    parts = [one.contiguous().view(b, h // 4, c * 16) for one in strips]
    return torch.stack(parts, dim=1).permute(0, 3, 2, 1).contiguous()


def unshuffled(x: torch.Tensor) -> torch.Tensor:
    return F.pixel_unshuffle(x, 4)


WAYS = {
    "pixel_unshuffle": unshuffled,
    "reshape": reshaped,
    "places first": last_first,
    "tokens": tokens,
    "split": split_up,
}


def added(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(x + s.b(x))


def subtracted(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.p(x - x.mean(dim=1, keepdim=True))


def normed(s: Any, x: torch.Tensor) -> torch.Tensor:
    x = x - x.mean(dim=1, keepdim=True)
    x = x / (x.var(dim=1, keepdim=True) + 1e-5).sqrt()
    return s.p(x * s.gain)


def gated(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.p(x * s.b(x).sigmoid())


def joined(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.j(torch.cat([x, s.b(x)], 1))


def twice(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = x + s.b(x)
    return s.c(y + s.b(y))


THEN: dict[str, tuple[Any, int]] = {
    "added to what a layer made of it": (added, 20),
    "without the mean of its channels": (subtracted, 4),
    "a norm over its channels": (normed, 4),
    "gated": (gated, 12),
    "beside what a layer made of it": (joined, 12),
    "added twice": (twice, 28),
}


def model(way: str, then: str) -> nn.Module:
    function, split = THEN[then][0], WAYS[way]
    return Function(
        lambda s, x: function(s, split(x)),
        b=nn.Conv2d(16, 16, 3, padding=1),
        c=nn.Conv2d(16, 4, 3, padding=1),
        j=nn.Conv2d(32, 4, 1),
        p=nn.Conv2d(16, 4, 1),
        gain=nn.Parameter(torch.ones(1, 16, 1, 1)),
    )


SHAPE = (1, 1, 48, 48)


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("way", WAYS)
def test_blocks_in_channels_are_a_coarser_map(way: str, then: str) -> None:
    field = THEN[then][1]
    graph = encode(model(way, then), SHAPE)
    assert graph.receptive_field_max == (field, field)
    assert graph.certainty == "exact"
    assert graph.window is not None
    assert graph.window.size == (field, field)
    assert graph.feature_map == (12, 12)


@pytest.mark.parametrize("then", THEN)
def test_an_experiment_sees_the_same(then: str) -> None:
    field = THEN[then][1]
    assert measured_extent(model("reshape", then), SHAPE, (2, 3)) == (field, field)


@pytest.mark.parametrize(
    ("way", "then"),
    [("reshape", "added twice"), ("split", "gated"), ("tokens", "a norm over its channels")],
)
def test_verify_contradicts_nothing(way: str, then: str) -> None:
    assert not verify(model(way, then), SHAPE).disagreements


def test_what_is_repeated_in_blocks_is_not_measured_in_the_tensor_that_it_was_made_of() -> None:
    def centred(s: Any, x: torch.Tensor) -> torch.Tensor:
        blocks = x.view(1, 4, 3, 8, 24)
        return (blocks - blocks.mean(3, keepdim=True)).view_as(x)

    report = verify(Function(centred), (1, 4, 24, 24))
    verdicts = {one.name: one.verdict for one in report.nodes}
    assert (verdicts["mean"], verdicts["expand"], verdicts["sub"]) == (
        "agrees", "not measured", "agrees",
    )  # fmt: skip


FRAMES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "side by side": (lambda x: x.as_strided((1, 13, 8), (104, 8, 1)), (1, 1, 104)),
    "over each other": (lambda x: x.as_strided((1, 25, 8), (104, 4, 1)), (1, 1, 104)),
    "of channels": (lambda x: x.as_strided((1, 2, 12, 8), (104, 52, 4, 1)), (1, 2, 52)),
}


@captures
@pytest.mark.parametrize("way", FRAMES)
def test_strides_that_make_frames_of_a_signal_unfold_it(way: str, capture: str) -> None:
    frames, shape = FRAMES[way]
    model = Function(lambda s, x: s.d(frames(x)), d=nn.Linear(8, 4))
    graph = encode(model, shape, capture)
    assert (graph.receptive_field_max, graph.certainty) == ((8,), "exact")


@captures
@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.transpose(1, 2).as_strided((1, 13, 8), (104, 8, 1)),
        lambda x: x.as_strided((1, 13, 8), (104, 8, 1), 0),
        lambda x: x.as_strided((1, 12, 8), (104, 4, 1)),
        lambda x: x.as_strided((1, 2, 8), (104, 1, 2)),
    ],
    ids=["of another order", "from a place", "not all", "channels in frames"],
)
def test_strides_that_are_not_followed_make_a_bound(read: Any, capture: str) -> None:
    graph = encode(Function(lambda s, x: s.d(read(x)), d=nn.Linear(8, 4)), (1, 2, 52), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((float("inf"),), "bound")
