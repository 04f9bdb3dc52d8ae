"""Maps that plumbing takes apart and puts together again are what an experiment shows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.empirical import verify
from rfa_toolbox.unit_windows import region_of
from tests.pytorch.measure import Function, encode
from tests.pytorch.test_tiling_or_not import conv

HALF = Fraction(1, 2)


def unshuffled(x: torch.Tensor) -> torch.Tensor:
    _, channels, height, width = x.shape
    blocks = x.reshape(1, channels, height // 2, 2, width // 2, 2)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(1, channels * 4, height // 2, width // 2)


def shuffled(x: torch.Tensor) -> torch.Tensor:
    _, channels, height, width = x.shape
    parts = x.view(1, channels // 4, 2, 2, height, width).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(1, channels // 4, 2 * height, 2 * width)


def columns(x: torch.Tensor) -> list[torch.Tensor]:
    return [x[..., at : at + 1] for at in range(x.shape[3])]


def by_columns(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    for at in range(x.shape[3]):
        y[..., at] = x[..., at]
    return y


def gray() -> nn.Module:
    return conv(1)


def causal(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(torch.cat([torch.zeros_like(x[:, :, :2]), x], 2))
    return s.d(torch.cat([torch.zeros_like(y[:, :, :2]), y], 2))  # type: ignore[no-any-return]


def both_ways(x: torch.Tensor) -> torch.Tensor:
    nothing = torch.zeros_like(x[:, :, :2])
    return torch.cat([x[:, :, 2:], nothing], 2) + torch.cat([nothing, x[:, :, :-2]], 2)


def moved_apart(x: torch.Tensor) -> torch.Tensor:
    one, two = x.chunk(2, 1)
    return torch.cat([F.pad(one[..., 1:], (0, 1)), F.pad(two[..., :-1], (1, 0))], 1)


EXACT: dict[str, tuple[Any, dict[str, Any]]] = {
    "zeros in front": (causal, {"c": gray(), "d": conv()}),
    "moved both ways": (lambda s, x: s.c(both_ways(x)), {"c": conv(1, 1)}),
    "zeros around a stride": (
        lambda s, x: s.c(torch.cat([torch.zeros_like(x[..., :3]), x[..., ::2]], 3)), {"c": gray()},
    ),
    "unshuffle": (lambda s, x: s.c(unshuffled(x)), {"c": conv(4)}),
    "a channel of unshuffle": (lambda s, x: s.c(unshuffled(x)[:, 1:2]), {"c": gray()}),
    "an index of unshuffle": (lambda s, x: F.relu(unshuffled(x)[:, 3]), {}),
    "every other of unshuffle": (lambda s, x: s.c(unshuffled(x)[:, 1::2]), {"c": conv(2)}),
    "rows to channels": (lambda s, x: s.c(x.reshape(1, 2, x.shape[2] // 2, -1)), {"c": conv(2)}),
    "places in blocks": (
        lambda s, x: s.c(x.view(1, 1, x.shape[2] // 2, 2, -1, 2)[..., 0, :, 1]), {"c": gray()},
    ),
    "places in blocks added": (
        lambda s, x: s.c(sum(x.view(1, 1, x.shape[2] // 2, 2, -1).unbind(3))), {"c": gray()},
    ),
    "unbind, stack": (lambda s, x: s.c(torch.stack(x.unbind(3), 3)), {"c": gray()}),
    "columns, cat": (lambda s, x: s.c(torch.cat(columns(x), 3)), {"c": gray()}),
    "indices, cat": (
        lambda s, x: s.c(torch.cat([one.unsqueeze(3) for one in x.unbind(3)], 3)), {"c": gray()},
    ),
    "chunk, cat": (lambda s, x: s.c(torch.cat(x.chunk(4, 3), 3)), {"c": gray()}),
    "chunk, stack": (lambda s, x: s.c(torch.stack(x.chunk(4, 3), 3).flatten(3)), {"c": gray()}),
    "by columns": (lambda s, x: s.c(by_columns(x)), {"c": gray()}),
    "repeat, act": (lambda s, x: F.relu(s.c(x).repeat_interleave(2, 2)), {"c": gray()}),
    "repeat, crop, conv": (
        lambda s, x: s.d(s.c(x).repeat_interleave(2, 2)[:, :, 1:-1]), {"c": gray(), "d": conv()},
    ),
    "stride, repeat": (lambda s, x: s.c(x)[..., ::2].repeat_interleave(4, 3), {"c": gray()}),
    "repeat, transposed conv": (
        lambda s, x: s.t(x.repeat_interleave(2, 3)), {"t": nn.ConvTranspose2d(1, 2, 3, 2)},
    ),
    "shuffle, add": (
        lambda s, x: s.d(shuffled(s.c(x)) + F.interpolate(x, scale_factor=2)),
        {"c": conv(1, out=4), "d": gray()},
    ),
}  # fmt: skip
BOUND: dict[str, tuple[Any, dict[str, Any]]] = {
    "parts moved apart": (lambda s, x: F.relu(moved_apart(torch.cat([x, x], 1))), {}),
    "parts moved apart twice": (
        lambda s, x: s.c(moved_apart(moved_apart(torch.cat([s.d(x), x], 1)))),
        {"c": conv(3, 1), "d": gray()},
    ),
    "a part of unshuffle": (lambda s, x: s.c(unshuffled(x)[:, 1:3]), {"c": conv(2)}),
    "columns reversed": (lambda s, x: s.c(torch.cat(columns(x)[::-1], 3)), {"c": gray()}),
    "unbind, stack reversed": (
        lambda s, x: s.c(torch.stack(x.unbind(3)[::-1], 3)), {"c": gray()},
    ),
    "columns permuted": (
        lambda s, x: s.c(torch.stack([x[..., 7 * at % 32] for at in range(32)], 3)), {"c": gray()},
    ),
    "two maps in a row": (
        lambda s, x: s.d(torch.cat([x[..., :16], s.c(x)[..., 16:]], 3)),
        {"c": conv(1, out=1), "d": gray()},
    ),
    "chunks in a batch": (
        lambda s, x: torch.cat(s.c(torch.cat(x.chunk(4, 3), 0)).chunk(4, 0), 3), {"c": gray()},
    ),
    "odd and even in turn": (
        lambda s, x: s.c(torch.stack([x[..., ::2], x[..., 1::2]], 4).flatten(3)), {"c": gray()},
    ),
    "one of two stacked": (
        lambda s, x: F.relu(torch.stack([s.c(x), x], 2)[:, :, 1]), {"c": conv(1, out=1)},
    ),
    "windows side by side": (lambda s, x: s.c(x.unfold(3, 4, 4).flatten(3)), {"c": gray()}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "certainty"),
    [pytest.param(one, "exact", id=name) for name, one in EXACT.items()]
    + [pytest.param(one, "bound", id=name) for name, one in BOUND.items()],
)
def test_what_is_put_together_is_exact_or_a_bound(case: Any, certainty: str) -> None:
    model = Function(case[0], **case[1])
    assert encode(model, (1, 1, 32, 32)).certainty == certainty
    report = verify(model, (1, 1, 32, 32), max_length=96)
    assert not report.disagreements, str(report)


@pytest.mark.parametrize(
    ("returned", "jump", "units"),
    [
        pytest.param(lambda y: y.repeat_interleave(2, 2), (HALF, 1), (48, 24), id="repeat"),
        pytest.param(
            lambda y: y[..., None].expand(-1, -1, -1, -1, 2).reshape(1, 4, 24, 48),
            (1, HALF), (24, 48), id="expand, reshape",
        ),
        pytest.param(shuffled, (HALF, HALF), (48, 48), id="shuffle"),
        pytest.param(lambda y: shuffled(y)[..., 1:-1], (HALF, HALF), (48, 46), id="crop"),
        pytest.param(lambda y: shuffled(y)[..., ::2], (HALF, 1), (48, 24), id="stride"),
        pytest.param(lambda y: F.relu(shuffled(y)), (HALF, HALF), (48, 48), id="act"),
        pytest.param(
            lambda y: F.pad(y.repeat_interleave(2, 3), (1, 1)), (1, HALF), (24, 50), id="pad"
        ),
    ],
)  # fmt: skip
def test_the_node_of_an_upsampled_output_has_its_units(
    returned: Any, jump: Any, units: Any
) -> None:
    graph = encode(Function(lambda s, x: returned(s.c(x)), c=conv(out=4)), (1, 2, 24, 24))
    assert (graph.window.jump, graph.window.size, graph.feature_map) == (jump, (3, 3), units)
    assert graph.certainty == "exact"


def test_an_image_of_one_row_is_not_measured_along_it() -> None:
    model = Function(lambda s, x: s.c(x.reshape(1, 2, 1, 32)), c=conv())
    report = verify(model, (1, 2, 1, 32))
    assert report.nodes[-1].verdict == "not measured"
    assert not report.disagreements


def test_windows_of_a_fractional_pooling_are_never_beyond_their_bound() -> None:
    for size, kernel, wanted in (
        (13, 2, 7),
        (20, 3, 9),
        (16, 2, 8),
        (9, 3, 1),
        (12, 1, 11),
        (5, 5, 1),
    ):
        pool = nn.FractionalMaxPool2d(kernel, output_size=(wanted, 4))
        model = nn.Sequential(pool, nn.Conv2d(1, 1, min(3, wanted))).double()
        graph = encode(model, (1, 1, size, 16))
        assert graph.certainty == "bound"
        for row in range(size):
            for seed in range(8):
                image = torch.rand(1, 1, size, 16, dtype=torch.float64)
                image[:, :, row] = torch.nan
                torch.manual_seed(seed)
                seeing = model(image).isnan().any(3).flatten()
                for unit in torch.nonzero(seeing).flatten().tolist():
                    begin, end = region_of(graph.unit_windows[0], unit)
                    assert begin <= row <= end


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_copies_beside_a_crop_are_not_said_to_be_what_was_cropped(mode: str) -> None:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return s.c(F.pad(x[..., 2:-3], (2, 2, 0, 0), mode=mode))

    graph = encode(Function(forward, c=nn.Conv2d(2, 2, 3)), (1, 2, 32, 32))
    assert (graph.certainty, graph.window) == ("bound", None)
    assert graph.receptive_field_max == (3, 3)
    padded = Function(lambda s, x: s.c(F.pad(x, (2, 2, 0, 0), mode=mode)), c=nn.Conv2d(2, 2, 3))
    assert encode(padded, (1, 2, 32, 32)).certainty == "exact"


@pytest.mark.parametrize(
    "turned",
    [lambda x: x.permute(0, 2, 3, 1), lambda x: x.transpose(1, 3), lambda x: x.movedim(1, -1)],
    ids=["permute", "transpose", "movedim"],
)
def test_some_channels_of_a_concatenation_may_see_less_in_whatever_order_dimensions_are(
    turned: Any,
) -> None:
    def some(s: Any, x: torch.Tensor) -> torch.Tensor:
        return turned(torch.cat([x, s.c(x)], 1))[..., :1].abs()  # type: ignore[no-any-return]

    graph = encode(Function(some, c=conv(1)), (1, 1, 12, 12))
    assert [node.certainty for node in graph.all_layers if node.name == "abs"] == ["bound"]
