"""Small truths: what every use of layers sees, by hand and by experiment, under both captures.

Every case is measured with NaN (see ``measure.py``): the encoder must say exactly that, or flag
its number as a bound that is not smaller. ``expected`` repeats known truths by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from tests.pytorch.measure import (
    INF,
    Function,
    captures,
    encode,
    measured_extent,
    per_axis,
)


class Case(NamedTuple):
    """A model, its input, and what is known of it.

    ``extent`` is given where an experiment sees something else by definition: branches that do
    not line up, so that the union of their windows is larger than each of them; what wraps around
    the edge; layers that only sort pixels into channels, each of which is one pixel.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (1, 3, 32, 32)
    expected: Any = None
    spatial: tuple[int, ...] | None = None
    certainty: str = "exact"
    extent: Any = None
    jit: bool = True

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(2, len(self.shape))) if self.spatial is None else self.spatial


CASES: list[Case] = []


def case(name: str, build: Callable[[], nn.Module], *args: Any, **facts: Any) -> None:
    CASES.append(Case(name, build, *args, **facts))


def function(name: str, body: Callable[..., Any], *args: Any, **facts: Any) -> None:
    """Add a case that is one function; it may use the members ``c`` and so on that it is given."""
    members = {key: facts.pop(key) for key in list(facts) if key not in Case._fields}
    case(name, lambda: Function(body, **{k: make() for k, make in members.items()}), *args, **facts)


def conv(i: int = 3, o: int = 4, k: Any = 3, **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(i, o, k, **options)


def in_between(name: str, layer: Callable[[], nn.Module], **facts: Any) -> None:
    """Add a layer for 4 channels alone, in front of a convolution, and between two of them.

    That tells whether its jump and the windows in between are right as well.
    """
    after = facts.pop("after", 4)
    expected = facts.pop("expected", None)
    certainty = facts.get("certainty", "exact")
    case(name, layer, (1, 4, 32, 32), expected, **facts)
    case(
        f"{name}, conv3",
        lambda: nn.Sequential(layer(), nn.Conv2d(after, 2, 3)),
        (1, 4, 32, 32),
        certainty=certainty,
    )
    case(
        f"conv3 s2, {name}, conv3",
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, 2), layer(), nn.Conv2d(after, 2, 3)),
        (1, 1, 65, 65),
        certainty=certainty,
    )


# --- convolutions ----------------------------------------------------------------------------

case("conv3 same", conv(padding="same"), expected=3)
case("conv4 same", conv(k=4, padding="same"), expected=4)
case("conv4 valid", conv(k=4, padding="valid"), expected=4)
case("conv same dilated", conv(padding="same", dilation=3), expected=7)
for mode in ("reflect", "replicate"):
    case(f"conv3 {mode}", conv(padding=1, padding_mode=mode), expected=3)
case("conv3 circular", conv(padding=1, padding_mode="circular"), expected=3, extent=INF)
case("conv d4", conv(dilation=4), expected=9)
case(
    "conv per axis", conv(k=(3, 5), stride=(2, 1), dilation=(1, 2), padding=(1, 0)), expected=(3, 9)
)
case("conv s2, conv3", lambda: nn.Sequential(conv(stride=2)(), conv(4, 4)()), expected=7)
case("depthwise", conv(4, 4, groups=4), (1, 4, 32, 32), 3)
case("depthwise multiplier", conv(4, 8, 5, groups=4), (1, 4, 32, 32), 5)
case("grouped", conv(4, 8, groups=2), (1, 4, 32, 32), 3)
case("conv1", conv(k=1), expected=1)
case("conv1 s2, conv3", lambda: nn.Sequential(conv(k=1, stride=2)(), conv(4, 4)()), expected=5)
case("conv1d", lambda: nn.Conv1d(3, 4, 9, stride=2), (1, 3, 64), (9,))
case(
    "conv1d stack",
    lambda: nn.Sequential(nn.Conv1d(3, 4, 9, 2), nn.Conv1d(4, 4, 3)),
    (1, 3, 64),
    (13,),
)
case("conv3d", lambda: nn.Conv3d(3, 4, (3, 5, 7)), (1, 3, 16, 16, 16), (3, 5, 7))
case(
    "conv3d stack",
    lambda: nn.Sequential(
        nn.Conv3d(1, 2, 3, (1, 2, 2)), nn.MaxPool3d((1, 2, 2)), nn.Conv3d(2, 2, 3)
    ),
    (1, 1, 10, 20, 20),
    (5, 13, 13),
)
function(
    "F.conv2d",
    lambda s, x: F.conv2d(x, s.w, stride=2),
    expected=5,
    w=lambda: nn.Parameter(torch.rand(4, 3, 5, 5)),
)
function(
    "F.conv2d same",
    lambda s, x: F.conv2d(x, s.w, padding="same"),
    expected=5,
    w=lambda: nn.Parameter(torch.rand(4, 3, 5, 5)),
)
function(
    "torch.conv2d",
    lambda s, x: torch.conv2d(x, s.w, dilation=2),
    expected=9,
    w=lambda: nn.Parameter(torch.rand(4, 3, 5, 5)),
)
function(
    "F.conv1d",
    lambda s, x: F.conv1d(x, s.w),
    (1, 3, 32),
    (5,),
    w=lambda: nn.Parameter(torch.rand(4, 3, 5)),
)
function(
    "F.conv3d",
    lambda s, x: F.conv3d(x, s.w),
    (1, 1, 9, 9, 9),
    (3, 3, 3),
    w=lambda: nn.Parameter(torch.rand(2, 1, 3, 3, 3)),
)
function("weight of another module", lambda s, x: F.conv2d(x, s.c.weight), expected=3, c=conv())
function("pad, conv", lambda s, x: s.c(F.pad(x, (1, 1, 1, 1))), expected=3, c=conv())
function(
    "reflection pad",
    lambda s, x: s.c(s.p(x)),
    expected=3,
    c=conv(),
    p=lambda: nn.ReflectionPad2d(1),
)
function(
    "zero pad", lambda s, x: s.c(s.p(x)), expected=3, c=conv(), p=lambda: nn.ZeroPad2d((1, 0, 1, 0))
)
function("crop", lambda s, x: s.c(F.pad(x, (-1, -1, -2, -2))), expected=3, c=conv())
case(
    "conv, norm, relu",
    lambda: nn.Sequential(conv()(), nn.BatchNorm2d(4), nn.ReLU(inplace=True), conv(4, 4)()),
    expected=5,
)


class OwnConv(nn.Conv2d):
    """A subclass, as networks with weight standardisation have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


case("subclass of Conv2d", lambda: OwnConv(3, 4, 3), expected=3)
case("weight norm", lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 5)), expected=5)
case(
    "spectral norm", lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 5)), expected=5
)

# --- transposed convolutions -----------------------------------------------------------------

in_between("ConvTranspose k4 s2", lambda: nn.ConvTranspose2d(4, 4, 4, 2, 1), expected=2)
in_between("ConvTranspose k2 s2", lambda: nn.ConvTranspose2d(4, 4, 2, 2), expected=1)
in_between(
    "ConvTranspose k3 s2 output_padding",
    lambda: nn.ConvTranspose2d(4, 4, 3, 2, 1, output_padding=1),
    expected=2,
)
in_between("ConvTranspose k3 s1", lambda: nn.ConvTranspose2d(4, 4, 3), expected=3)
in_between("ConvTranspose k5 s3", lambda: nn.ConvTranspose2d(4, 4, 5, 3), expected=2)
in_between("ConvTranspose k3 d2", lambda: nn.ConvTranspose2d(4, 4, 3, dilation=2), expected=5)
in_between(
    "ConvTranspose k3 s2 d3",
    lambda: nn.ConvTranspose2d(4, 4, 3, 2, dilation=3),
    expected=4,
    certainty="any",
)
in_between("ConvTranspose grouped", lambda: nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=2), expected=2)
in_between(
    "ConvTranspose depthwise", lambda: nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=4), expected=2
)
case("ConvTranspose per axis", lambda: nn.ConvTranspose2d(3, 4, (4, 3), (2, 1)), expected=(2, 3))
case("ConvTranspose1d", lambda: nn.ConvTranspose1d(3, 4, 8, 4), (1, 3, 32), (2,))
case("ConvTranspose3d", lambda: nn.ConvTranspose3d(1, 2, 4, 2), (1, 1, 9, 9, 9), (2, 2, 2))
function(
    "F.conv_transpose2d",
    lambda s, x: F.conv_transpose2d(x, s.w, stride=2),
    expected=2,
    w=lambda: nn.Parameter(torch.rand(3, 4, 4, 4)),
)

# --- pooling ---------------------------------------------------------------------------------

in_between("max pool", lambda: nn.MaxPool2d(2), expected=2)
in_between("max pool k3 s2 ceil", lambda: nn.MaxPool2d(3, 2, ceil_mode=True), expected=3)
in_between("max pool k3 s2 p1", lambda: nn.MaxPool2d(3, 2, 1), expected=3)
in_between("max pool k5 s1", lambda: nn.MaxPool2d(5, 1, 2), expected=5)
in_between("max pool dilated", lambda: nn.MaxPool2d(3, 2, dilation=2), expected=5)
in_between("average pool", lambda: nn.AvgPool2d(3, 2, 1), expected=3)
in_between(
    "average pool ceil",
    lambda: nn.AvgPool2d(3, 2, ceil_mode=True, count_include_pad=False),
    expected=3,
)
in_between("lp pool", lambda: nn.LPPool2d(2, 3, 2), expected=3)
case("max pool per axis", lambda: nn.MaxPool2d((2, 3), (1, 3)), expected=(2, 3))
case("max pool 1d", lambda: nn.MaxPool1d(4, 2), (1, 3, 32), (4,))
case("max pool 3d", lambda: nn.MaxPool3d((2, 3, 3)), (1, 1, 9, 9, 9), (2, 3, 3))
case("average pool 1d", lambda: nn.AvgPool1d(4), (1, 3, 32), (4,))
case("average pool 3d", lambda: nn.AvgPool3d(3, 1), (1, 1, 9, 9, 9), (3, 3, 3))
case("lp pool 1d", lambda: nn.LPPool1d(2, 4), (1, 3, 32), (4,))
case(
    "conv3, max pool, conv3",
    lambda: nn.Sequential(conv()(), nn.MaxPool2d(3, 2), conv(4, 4)()),
    expected=9,
)
case(
    "fractional pool",
    lambda: nn.FractionalMaxPool2d(3, output_size=12),
    expected=4,
    certainty="bound",
)
case(
    "fractional pool ratio",
    lambda: nn.FractionalMaxPool2d(2, output_ratio=0.7),
    expected=3,
    certainty="bound",
)
function("F.max_pool2d", lambda s, x: F.max_pool2d(x, 2), expected=2)
function("F.max_pool2d conv", lambda s, x: s.c(F.max_pool2d(x, 3, 2)), expected=7, c=conv())
function(
    "F.avg_pool2d", lambda s, x: s.c(F.avg_pool2d(x, kernel_size=(2, 3))), expected=(6, 9), c=conv()
)
function(
    "F.max_pool2d indices",
    lambda s, x: s.c(F.max_pool2d(x, 2, return_indices=True)[0]),
    expected=6,
    c=conv(),
)
function("F.lp_pool2d", lambda s, x: F.lp_pool2d(x, 2, 4), expected=4)
function(
    "max pool module with indices, unpool",
    lambda s, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    expected=2,
    extent=1,
    jit=False,
)

for size in (1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 31, 32, 40, (8, 4), (None, 4), (1, 8), (6, None)):
    case(f"adaptive average {size}", lambda size=size: nn.AdaptiveAvgPool2d(size), (1, 3, 32, 32))
    case(f"adaptive max {size}", lambda size=size: nn.AdaptiveMaxPool2d(size), (1, 3, 32, 32))
for size in (6, 8, 20):
    case(
        f"adaptive {size}, conv3",
        lambda size=size: nn.Sequential(nn.AdaptiveAvgPool2d(size), conv()()),
    )
case("adaptive 1d", lambda: nn.AdaptiveAvgPool1d(4), (1, 3, 32), (8,))
case("adaptive 3d", lambda: nn.AdaptiveMaxPool3d((3, 3, 1)), (1, 1, 9, 9, 9), (3, 3, INF))
function("F.adaptive_avg_pool2d", lambda s, x: F.adaptive_avg_pool2d(x, (4, 4)), expected=8)

# --- resampling ------------------------------------------------------------------------------

in_between("nearest x2", lambda: nn.Upsample(scale_factor=2), expected=1)
in_between("nearest x3", lambda: nn.Upsample(scale_factor=3), expected=1)
in_between("bilinear x2", lambda: nn.Upsample(scale_factor=2, mode="bilinear"), expected=2)
in_between("bilinear x4", lambda: nn.Upsample(scale_factor=4, mode="bilinear"), expected=2)
in_between("bilinear x3", lambda: nn.Upsample(scale_factor=3, mode="bilinear"), expected=2)
in_between("bicubic x2", lambda: nn.Upsample(scale_factor=2, mode="bicubic"), expected=4)
case("nearest x2, conv3", lambda: nn.Sequential(nn.Upsample(scale_factor=2), conv()()), expected=2)
case(
    "nearest x2, average 2",
    lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2)),
    certainty="any",
)
case(
    "nearest x2 twice, conv3",
    lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=2), conv()()),
    expected=2,
)
for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
    for size in (16, 20, 24, 33, 48, 63, 64, (16, 64)):
        function(
            f"interpolate {mode} to {size}",
            lambda s, x, mode=mode, size=size: F.interpolate(x, size=size, mode=mode),
            (1, 1, 32, 32),
        )
    for factor in (0.25, 0.5, 1.5, 2, 2.5, 4.0, (2, 0.5)):
        function(
            f"interpolate {mode} by {factor}",
            lambda s, x, mode=mode, factor=factor: F.interpolate(x, scale_factor=factor, mode=mode),
            (1, 1, 32, 32),
        )
for mode in ("bilinear", "bicubic"):
    for size in (16, 63, 64, 125):
        function(
            f"interpolate {mode} align_corners to {size}",
            lambda s, x, mode=mode, size=size: F.interpolate(
                x, size=size, mode=mode, align_corners=True
            ),
            (1, 1, 32, 32),
        )
    for size in (8, 16, 20, 64):
        function(
            f"interpolate {mode} antialias to {size}",
            lambda s, x, mode=mode, size=size: F.interpolate(
                x, size=size, mode=mode, antialias=True
            ),
            (1, 1, 32, 32),
        )
for mode in ("nearest", "bilinear", "bicubic", "area"):
    for size in (16, 20, 48, 64):
        for stride in (1, 2):
            case(
                f"interpolate {mode} to {size}, conv3 s{stride}",
                lambda mode=mode, size=size, stride=stride: Function(
                    lambda s, x: s.c(F.interpolate(x, size=size, mode=mode)),
                    c=nn.Conv2d(1, 2, 3, stride),
                ),
                (1, 1, 32, 32),
                certainty="any",
            )
function(
    "align_corners 2n-1",
    lambda s, x: F.interpolate(x, size=(63, 63), mode="bilinear", align_corners=True),
    expected=2,
)
function(
    "interpolate 1d", lambda s, x: F.interpolate(x, scale_factor=2, mode="linear"), (1, 3, 16), (2,)
)
function(
    "interpolate 3d",
    lambda s, x: F.interpolate(x, scale_factor=2, mode="trilinear"),
    (1, 1, 8, 8, 8),
    (2, 2, 2),
)
function("interpolate area", lambda s, x: F.interpolate(x, size=(16, 16), mode="area"), expected=2)
function(
    "interpolate recomputed",
    lambda s, x: F.interpolate(x, scale_factor=1.9, mode="nearest", recompute_scale_factor=True),
)
function(
    "interpolate to the size of another",
    lambda s, x: s.d(F.interpolate(s.c(x), size=x.shape[-2:])),
    expected=INF,
    c=lambda: nn.AdaptiveAvgPool2d(1),
    d=conv(),
)
function(
    "upsample by size arithmetic",
    lambda s, x: s.c(F.interpolate(x, size=(x.size(2) * 2, x.size(3) * 2))),
    expected=2,
    c=conv(),
)


def unet(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(torch.cat([F.interpolate(s.b(s.a(x)), scale_factor=2), x], 1))


function(
    "conv3 s2, conv3, nearest x2, cat, conv3",
    unet,
    expected=9,
    a=conv(stride=2, padding=1),
    b=conv(4, 4, padding=1),
    c=conv(7),
)
in_between("pixel shuffle", lambda: nn.PixelShuffle(2), after=1, expected=1)
in_between("pixel unshuffle", lambda: nn.PixelUnshuffle(2), after=16, expected=2, extent=1)
case("conv3, pixel shuffle", lambda: nn.Sequential(conv()(), nn.PixelShuffle(2)), expected=3)
case(
    "pixel shuffle, unshuffle, conv3",
    lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(2), conv(4, 4)()),
    (1, 4, 16, 16),
    certainty="any",
)
case(
    "channel shuffle", lambda: nn.Sequential(nn.ChannelShuffle(2), conv(4, 4)()), (1, 4, 16, 16), 3
)

# --- unfold, fold and patches ----------------------------------------------------------------

function(
    "F.unfold linear",
    lambda s, x: s.l(F.unfold(x, 3, stride=2).transpose(1, 2)),
    expected=3,
    l=lambda: nn.Linear(27, 4),
)
function(
    "F.unfold dilated",
    lambda s, x: F.unfold(x, (3, 2), dilation=2, padding=1),
    expected=(5, 3),
    extent=1,
)
function(
    "F.unfold as map, conv",
    lambda s, x: s.c(F.unfold(x, 2, stride=2).view(1, 12, 16, 16)),
    expected=6,
    c=conv(12),
)
function(
    "F.fold",
    lambda s, x: F.fold(
        s.l(F.unfold(x, 4, stride=2).transpose(1, 2)).transpose(1, 2), (32, 32), 4, stride=2
    ),
    expected=6,
    l=lambda: nn.Linear(48, 48),
)
function(
    "F.fold disjoint",
    lambda s, x: s.c(
        F.fold(s.l(F.unfold(x, 4, stride=4).transpose(1, 2)).transpose(1, 2), (32, 32), 4, stride=4)
    ),
    l=lambda: nn.Linear(48, 48),
    c=conv(),
)
case("nn.Unfold", lambda: nn.Unfold(5, padding=2), expected=5, extent=1)
function("Tensor.unfold", lambda s, x: x.unfold(2, 4, 4).unfold(3, 4, 4).sum((-1, -2)), expected=4)
function("Tensor.unfold overlapping", lambda s, x: x.unfold(-1, 5, 2).mean(-1), expected=(1, 5))
function(
    "Tensor.unfold linear",
    lambda s, x: s.l(x.unfold(3, 4, 4)),
    expected=(1, 4),
    l=lambda: nn.Linear(4, 2),
)


def patchify(s: Any, x: torch.Tensor) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5)
    return s.l(x.reshape(b, (h // 4) * (w // 4), c * 16))


function("patchify", patchify, expected=4, l=lambda: nn.Linear(48, 8))
function(
    "patches back to a map",
    lambda s, x: s.c(patchify(s, x).transpose(1, 2).reshape(1, 8, 8, 8)),
    expected=12,
    l=lambda: nn.Linear(48, 8),
    c=conv(8),
)
function(
    "patches by slices",
    lambda s, x: s.c(
        torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
    ),
    expected=6,
    c=conv(12),
)
function(
    "patches by reshape, conv",
    lambda s, x: s.c(x.view(1, 3, 16, 2, 16, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 12, 16, 16)),
    c=conv(12),
)
function(
    "patches by reshape, conv1",
    lambda s, x: s.c(x.view(1, 3, 16, 2, 16, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 12, 16, 16)),
    expected=2,
    c=conv(12, 4, 1),
)


def shuffle_by_reshape(s: Any, x: torch.Tensor) -> torch.Tensor:
    x = s.c(x)
    b, c, h, w = x.shape
    x = x.view(b, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
    return s.d(x.reshape(b, c // 4, h * 2, w * 2))


function(
    "shuffle by reshape, conv3", shuffle_by_reshape, expected=4, c=conv(3, 8, padding=1), d=conv(2)
)

# --- slices, indices, plumbing ---------------------------------------------------------------


def write_into_zeros(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[:, :, ::2] = s.c(x)[:, :, ::2]
    return y


def write_into_part(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    y[:, :1] = s.c(y)[:, :1]
    return y


def write_into_images(s: Any, x: torch.Tensor) -> torch.Tensor:
    batch = torch.zeros(len(x), 3, 70, 70, dtype=x.dtype)
    for image, room in zip(s.c(x), batch, strict=True):
        room[:, : image.shape[1], : image.shape[2]] = image
    return s.c(batch)


def write_into_parts(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(1, 6, *x.shape[2:], dtype=x.dtype)
    for part, one in zip(y.chunk(2, 1), (x, s.c(x)), strict=True):
        part.add_(one)
    return s.d(y)


def write_into_rows(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    for row, one in zip(y.unbind(2), s.c(x).unbind(2), strict=True):
        row.copy_(one)
    return s.c(y)


def in_place(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    y += x
    y.mul_(2).relu_()
    z = s.c(y)
    z -= y
    return z


def shrink(s: Any, x: torch.Tensor) -> torch.Tensor:
    while x.shape[-1] > 8:
        x = F.max_pool2d(s.c(x), 2)
    return x


function("strided slice", lambda s, x: s.c(x[:, :, ::2, ::2]), expected=5, c=conv())
function(
    "strided slice with start", lambda s, x: s.c(x[..., 1::3, 2:-1]), expected=(7, 3), c=conv()
)
function(
    "strided slice twice", lambda s, x: s.c(x[:, :, ::2][:, :, 1::2]), expected=(9, 3), c=conv()
)
function("slice", lambda s, x: s.c(x[:, :, 2:20, -20:]), expected=3, c=conv())
function("channel slice", lambda s, x: s.c(x[:, 1:]), expected=3, c=conv(2))
function("negative channel", lambda s, x: s.c(x[:, -1:]), expected=3, c=conv(1))
function("one row", lambda s, x: x[:, :, 5], expected=1)
function("one pixel", lambda s, x: s.c(x)[:, :, 5, 5], expected=3, c=conv())
function(
    "class token like", lambda s, x: s.c(x).flatten(2).transpose(1, 2)[:, 0], expected=3, c=conv()
)
function(
    "none and ellipsis", lambda s, x: s.c(x[None, ..., ::2].squeeze(0)), expected=(3, 5), c=conv()
)
function("narrow", lambda s, x: s.c(x.narrow(2, 3, 12)), expected=3, c=conv())
function("select", lambda s, x: s.c(x.select(1, 1).unsqueeze(1)), expected=3, c=conv(1))
function(
    "chunk",
    lambda s, x: torch.cat([s.c(x.chunk(3, 1)[0]), x.split(1, 1)[1]], 1),
    expected=3,
    c=conv(1, padding=1),
)
function("unbind", lambda s, x: s.c(x.unbind(1)[0].unsqueeze(1)), expected=3, c=conv(1))
function("split sizes", lambda s, x: s.c(x.split([1, 2], 1)[1]), expected=3, c=conv(2))
function("tensor_split", lambda s, x: s.c(torch.tensor_split(x, 3, 1)[1]), expected=3, c=conv(1))
function(
    "chunk over space",
    lambda s, x: s.c(torch.cat(x.chunk(2, 3), 1)),
    c=conv(6),
    expected=(3, 19),
)
function(
    "iterating over channels",
    lambda s, x: sum(s.c(one.unsqueeze(1)) for one in x.unbind(1)),
    expected=3,
    c=conv(1),
)
function(
    "transposed image", lambda s, x: s.c(x.permute(0, 1, 3, 2)), expected=(5, 3), c=conv(k=(3, 5))
)
function("mT", lambda s, x: s.c(x.mT), expected=(5, 3), c=conv(k=(3, 5)))
function("movedim", lambda s, x: s.c(x.movedim(-1, 1)), (1, 32, 32, 3), 3, spatial=(1, 2), c=conv())
function(
    "NHWC",
    lambda s, x: s.c(x.permute(0, 3, 1, 2)),
    (1, 32, 32, 3),
    (3, 5),
    spatial=(1, 2),
    c=conv(k=(3, 5)),
)
function(
    "NHWC linear",
    lambda s, x: s.c(s.l(x).permute(0, 3, 1, 2)),
    (1, 16, 16, 3),
    3,
    spatial=(1, 2),
    l=lambda: nn.Linear(3, 3),
    c=conv(),
)
function(
    "NWHC",
    lambda s, x: s.c(x.permute(0, 3, 2, 1)),
    (1, 32, 32, 3),
    (5, 3),
    spatial=(1, 2),
    c=conv(k=(3, 5)),
)
function("no batch", lambda s, x: s.c(x.unsqueeze(0)), (3, 32, 32), 3, spatial=(1, 2), c=conv())
function("conv without batch", lambda s, x: s.c(x), (3, 32, 32), 3, spatial=(1, 2), c=conv())
function(
    "gather rows",
    lambda s, x: torch.gather(
        s.c(x), 2, torch.arange(29, -1, -1).view(1, 1, 30, 1).expand(1, 4, 30, 30)
    ),
    certainty="any",
    c=conv(),
)
function("index list", lambda s, x: s.c(x[:, [2, 0, 1]]), expected=3, c=conv())
function(
    "index tensor over rows",
    lambda s, x: s.c(x)[:, :, torch.tensor([0, 5, 7])],
    certainty="any",
    c=conv(),
)
function(
    "index_select channels",
    lambda s, x: s.c(x.index_select(1, torch.tensor([0, 2]))),
    expected=3,
    c=conv(2),
)
function("setitem", write_into_zeros, expected=3, c=conv(3, 3, padding=1))
function("setitem of a part", write_into_part, expected=5, c=conv(3, 3, padding=1))
function("setitem in images", write_into_images, expected=5, c=conv(3, 3, padding=1))
function("addition to parts", write_into_parts, expected=5, c=conv(3, 3, padding=1), d=conv(6))
function("copies into rows", write_into_rows, expected=5, jit=False, c=conv(3, 3, padding=1))
function("in-place arithmetic", in_place, expected=5, c=conv(3, 3, padding=1))
function("out of a list", lambda s, x: s.d([s.c(x), x][0]), expected=5, c=conv(), d=conv(4))
function("flip", lambda s, x: s.c(x.flip(3)), expected=3, c=conv())
function(
    "flip joined",
    lambda s, x: s.c(x.flip(3) + x),
    expected=(3, INF),
    certainty="bound",
    extent=(3, INF),
    c=conv(),
)
function("roll", lambda s, x: s.c(torch.roll(x, 4, 2)), expected=3, extent=(INF, 3), c=conv())
function(
    "roll both", lambda s, x: s.c(torch.roll(x, (4, -4), (2, 3))), expected=3, extent=INF, c=conv()
)
function("repeat channels", lambda s, x: s.c(x.repeat(1, 2, 1, 1)), expected=3, c=conv(6))
function("expand", lambda s, x: s.c(x.expand(-1, 3, -1, -1)), (1, 1, 32, 32), 3, c=conv())
function(
    "repeat_interleave",
    lambda s, x: s.c(x.repeat_interleave(2, 2).repeat_interleave(2, 3)),
    (1, 3, 16, 16),
    2,
    c=conv(),
)
function("stack and mean", lambda s, x: torch.stack([s.c(x), s.c(x)]).mean(0), expected=3, c=conv())
function(
    "where",
    lambda s, x: torch.where(s.c(x) > 0, s.c(x), s.d(x)),
    expected=3,
    c=conv(padding=1),
    d=conv(padding=1),
)
function(
    "clone, contiguous, to",
    lambda s, x: s.c(x.clone().contiguous().to(x.dtype)),
    expected=3,
    c=conv(),
)
function("view_as", lambda s, x: s.c(x.flatten(2).view_as(x)), expected=3, c=conv())
function("max over channels", lambda s, x: x.max(1)[0], expected=1)
function(
    "max over channels, conv", lambda s, x: s.c(x.amax(1, keepdim=True)), expected=3, c=conv(1)
)
function("max over rows", lambda s, x: x.max(2)[0], expected=(INF, 1))
function("block called twice", lambda s, x: s.c(s.c(x)), expected=5, c=conv(3, 3))
function("loop over sizes", shrink, (1, 3, 32, 32), c=conv(3, 3, padding=1))
case("numeric names", lambda: nn.Sequential(nn.Identity(), conv()()), expected=3)


# --- whole images ----------------------------------------------------------------------------

function("mean over both", lambda s, x: x.mean((2, 3)), (1, 3, 8, 8), INF)
function("mean over columns", lambda s, x: x.mean(-1), (1, 3, 8, 8), (1, INF))
function("sum", lambda s, x: x.sum(dim=[2, 3], keepdim=True), (1, 3, 8, 8), INF)
function("amax", lambda s, x: torch.amax(x, (2, 3)), (1, 3, 8, 8), INF)
function(
    "global mean and back",
    lambda s, x: s.c(x + x.mean((2, 3), keepdim=True)),
    (1, 3, 8, 8),
    INF,
    c=conv(),
)
function("std over space", lambda s, x: x.std((2, 3)), (1, 3, 8, 8), INF)
function("logsumexp", lambda s, x: x.logsumexp(2), (1, 3, 8, 8), (INF, 1))
function("softmax over columns", lambda s, x: x.softmax(3), (1, 3, 8, 8), (1, INF))
function("softmax over channels", lambda s, x: s.c(x.softmax(1)), (1, 3, 8, 8), 3, c=conv())
function("cumsum", lambda s, x: x.cumsum(2), (1, 3, 8, 8), (INF, 1))
function("sort over channels", lambda s, x: s.c(x.sort(1)[0]), (1, 3, 8, 8), 3, c=conv())
function("fft2", lambda s, x: torch.fft.fft2(x).real, (1, 3, 8, 8), INF)
function("rfft over rows", lambda s, x: torch.fft.rfft(x, dim=2).abs(), (1, 3, 8, 8), (INF, 1))
function(
    "rfft2 and back", lambda s, x: torch.fft.irfft2(torch.fft.rfft2(x), s=(8, 8)), (1, 3, 8, 8), INF
)
function(
    "flatten, linear",
    lambda s, x: s.l(torch.flatten(x, 1)),
    (1, 3, 8, 8),
    INF,
    l=lambda: nn.Linear(192, 4),
)
function(
    "view, linear",
    lambda s, x: s.l(x.view(x.size(0), -1)),
    (1, 3, 8, 8),
    INF,
    l=lambda: nn.Linear(192, 4),
)
function(
    "reshape by arithmetic, linear",
    lambda s, x: s.l(x.reshape(-1, x.shape[1] * x.shape[2] * x.shape[3])),
    (1, 3, 8, 8),
    INF,
    l=lambda: nn.Linear(192, 4),
)
function(
    "linear on columns",
    lambda s, x: s.l(x),
    (1, 3, 8, 8),
    (1, INF),
    l=lambda: nn.Linear(8, 4),
    spatial=(2, 3),
)
function(
    "mixer",
    lambda s, x: s.l(s.c(x).flatten(2)),
    expected=INF,
    c=conv(3, 8, 4, stride=4),
    l=lambda: nn.Linear(64, 64),
)
function(
    "tokens, linear on channels",
    lambda s, x: s.l(s.c(x).flatten(2).transpose(1, 2)),
    expected=4,
    c=conv(3, 8, 4, stride=4),
    l=lambda: nn.Linear(8, 8),
)
function(
    "channels-last norm",
    lambda s, x: s.c(s.n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
    (1, 3, 16, 16),
    3,
    c=conv(),
    n=lambda: nn.LayerNorm(3),
)

# --- attention -------------------------------------------------------------------------------


def tokens(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(2).transpose(1, 2)


def attend(t: torch.Tensor) -> torch.Tensor:
    return (t @ t.transpose(-1, -2)).softmax(-1) @ t


def windows(x: torch.Tensor, size: int) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, c, h // size, size, w // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, c)


def windows_back(t: torch.Tensor, size: int, h: int, w: int) -> torch.Tensor:
    x = t.view(1, h // size, w // size, size, size, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(1, -1, h, w)


def grid(x: torch.Tensor, size: int) -> torch.Tensor:
    b, c, h, w = x.shape
    x = x.view(b, c, size, h // size, size, w // size)
    return x.permute(0, 3, 5, 2, 4, 1).reshape(-1, size * size, c)


def grid_back(t: torch.Tensor, size: int, h: int, w: int) -> torch.Tensor:
    x = t.view(1, h // size, w // size, size, size, -1)
    return x.permute(0, 5, 3, 1, 4, 2).reshape(1, -1, h, w)


def shifted(s: Any, x: torch.Tensor) -> torch.Tensor:
    x = torch.roll(x, (-2, -2), (2, 3))
    x = windows_back(attend(windows(x, 4)), 4, *x.shape[2:])
    return torch.roll(x, (2, 2), (2, 3))


def window_heads(s: Any, x: torch.Tensor) -> torch.Tensor:
    t = windows(x, 4)
    n, p, c = t.shape
    q, k, v = s.l(t).reshape(n, p, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    t = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, p, c)
    return windows_back(t, 4, 16, 16)


function("attention", lambda s, x: attend(tokens(x)), (1, 3, 8, 8), INF)
function(
    "sdpa",
    lambda s, x: F.scaled_dot_product_attention(tokens(x), tokens(x), tokens(x)),
    (1, 3, 8, 8),
    INF,
)
function(
    "einsum attention",
    lambda s, x: torch.einsum(
        "bij,bjc->bic", torch.einsum("bic,bjc->bij", tokens(x), tokens(x)).softmax(-1), tokens(x)
    ),
    (1, 3, 8, 8),
    INF,
)
function(
    "bmm attention",
    lambda s, x: torch.bmm(torch.bmm(tokens(x), x.flatten(2)).softmax(-1), tokens(x)),
    (1, 3, 8, 8),
    INF,
)
function(
    "baddbmm attention",
    lambda s, x: torch.bmm(torch.baddbmm(s.b, tokens(x), x.flatten(2)).softmax(-1), tokens(x)),
    (1, 3, 8, 8),
    INF,
    b=lambda: nn.Parameter(torch.rand(1, 64, 64)),
)
function(
    "channel attention",
    lambda s, x: s.c(attend(x.flatten(2)).view(1, 3, 8, 8)),
    (1, 3, 8, 8),
    INF,
    c=conv(),
)
function("row attention", lambda s, x: attend(x.permute(0, 2, 3, 1)), (1, 3, 8, 8), (1, INF))
function(
    "MultiheadAttention",
    lambda s, x: s.m(tokens(x), tokens(x), tokens(x))[0],
    (1, 4, 8, 8),
    INF,
    m=lambda: nn.MultiheadAttention(4, 2, batch_first=True),
)
function(
    "MultiheadAttention positions first",
    lambda s, x: s.m(
        x.flatten(2).permute(2, 0, 1),
        x.flatten(2).permute(2, 0, 1),
        x.flatten(2).permute(2, 0, 1),
        need_weights=False,
    )[0],
    (1, 4, 8, 8),
    INF,
    m=lambda: nn.MultiheadAttention(4, 2),
)
case(
    "TransformerEncoderLayer",
    lambda: Function(
        lambda s, x: s.t(tokens(x)), t=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    ),
    (1, 4, 8, 8),
    INF,
)
function(
    "cross attention with learned queries",
    lambda s, x: F.scaled_dot_product_attention(s.q, tokens(x), tokens(x)),
    (1, 4, 8, 8),
    INF,
    q=lambda: nn.Parameter(torch.rand(1, 2, 4)),
)
function(
    "window attention",
    lambda s, x: windows_back(attend(windows(x, 4)), 4, 16, 16),
    (1, 3, 16, 16),
    4,
)
function(
    "window attention, conv3",
    lambda s, x: s.c(windows_back(attend(windows(x, 4)), 4, 16, 16)),
    (1, 3, 16, 16),
    8,
    c=conv(),
)
function(
    "window sdpa with heads",
    window_heads,
    (1, 4, 16, 16),
    4,
    l=lambda: nn.Linear(4, 12),
)
function(
    "window MultiheadAttention",
    lambda s, x: windows_back(s.m(windows(x, 4), windows(x, 4), windows(x, 4))[0], 4, 16, 16),
    (1, 4, 16, 16),
    4,
    m=lambda: nn.MultiheadAttention(4, 2, batch_first=True),
)
function(
    "windows of a stride-2 map",
    lambda s, x: windows_back(attend(windows(s.c(x), 4)), 4, 16, 16),
    (1, 3, 32, 32),
    8,
    c=conv(3, 3, 2, stride=2),
)
function("shifted windows", shifted, (1, 3, 16, 16), 4, extent=INF)
function(
    "grid attention",
    lambda s, x: grid_back(attend(grid(x, 4)), 4, 16, 16),
    (1, 3, 16, 16),
    INF,
    extent=13,
)


# --- recurrent -------------------------------------------------------------------------------

function(
    "LSTM over columns",
    lambda s, x: s.r(x.mean(2).transpose(1, 2))[0],
    (1, 3, 8, 8),
    INF,
    r=lambda: nn.LSTM(3, 4, batch_first=True),
)
function(
    "GRU both ways",
    lambda s, x: s.r(x.transpose(1, 2))[0],
    (1, 3, 16),
    (INF,),
    r=lambda: nn.GRU(3, 4, batch_first=True, bidirectional=True),
)
function(
    "RNN last state",
    lambda s, x: s.r(x.permute(2, 0, 1))[1],
    (1, 3, 16),
    (INF,),
    r=lambda: nn.RNN(3, 4),
)
function(
    "LSTM over rows",
    lambda s, x: s.r(x[0].permute(2, 1, 0))[0],
    (1, 3, 8, 8),
    r=lambda: nn.LSTM(3, 4),
)

# --- sampled by data -------------------------------------------------------------------------

function(
    "grid_sample",
    lambda s, x: F.grid_sample(x, s.g.expand(1, -1, -1, -1), align_corners=False),
    (1, 3, 8, 8),
    certainty="bound",
    g=lambda: nn.Parameter(torch.zeros(1, 8, 8, 2)),
)
function(
    "affine grid",
    lambda s, x: F.grid_sample(
        x, F.affine_grid(s.t, [1, 3, 8, 8], align_corners=False), align_corners=False
    ),
    (1, 3, 8, 8),
    certainty="bound",
    t=lambda: nn.Parameter(torch.eye(2, 3)[None]),
)


@dataclass
class Results:
    """What some models return."""

    first: torch.Tensor
    second: torch.Tensor


function("tuple output", lambda s, x: (s.c(x), x), expected=3, c=conv())
function("list output", lambda s, x: [s.c(x), s.d(x)], expected=3, c=conv(), d=conv(k=5))
function("dict output", lambda s, x: {"a": s.c(x), "b": s.d(x)}, expected=3, c=conv(), d=conv(k=5))
function(
    "nested output", lambda s, x: {"a": [s.c(x), (s.d(x),)]}, expected=3, c=conv(), d=conv(k=5)
)


@cache
def truth(one: Case) -> tuple[int | float, ...]:
    torch.manual_seed(0)
    return measured_extent(one.build(), one.shape, one.axes)


def check(graph: Any, one: Case) -> None:
    fields = per_axis(graph.receptive_field_max)
    assert len(fields) == len(one.axes)
    if one.expected is not None:
        expected = (
            one.expected if isinstance(one.expected, tuple) else (one.expected,) * len(fields)
        )
        assert fields == expected
    measured = truth(one)
    if one.extent is not None:
        extent = one.extent if isinstance(one.extent, tuple) else (one.extent,) * len(fields)
        assert measured == extent
    elif graph.certainty == "exact":
        assert fields == measured
    else:
        assert all(claim >= truth for claim, truth in zip(fields, measured, strict=True))
    if one.certainty != "any":
        assert graph.certainty == one.certainty


@pytest.mark.filterwarnings("ignore:.*recompute_scale_factor.*:UserWarning")
@captures
@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in CASES])
def test_the_encoder_says_what_an_experiment_measures(one: Case, capture: str) -> None:
    if capture == "jit" and not one.jit:
        pytest.skip("torch.jit.trace itself fails on this")
    torch.manual_seed(0)
    check(encode(one.build().eval(), one.shape, capture, global_ops="count"), one)
