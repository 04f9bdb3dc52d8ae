"""Small networks of all kinds: tiles give what the whole image gives, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.analysis import tile_plan
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from tests.pytorch.measure import Function, captures, encode


def conv(channels: int = 2, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, options.pop("out", 2), kernel, padding=kernel // 2, **options)


def coordinates(x: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(x.shape[2], dtype=x.dtype) / x.shape[2]
    columns = torch.linspace(-1, 1, x.shape[3], dtype=x.dtype)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]


def embedding(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(s.p, size=x.shape[2:], mode="bilinear")


def places() -> nn.Parameter:
    return nn.Parameter(torch.randn(1, 2, 8, 8))


def thirds(x: torch.Tensor) -> torch.Tensor:
    return torch.arange(x.shape[3]) % 3 == 0


def padded(mode: str, *amounts: int) -> Any:
    return lambda s, x: s.c(F.pad(s.d(s.d(x)), amounts, mode=mode))


def resized(**options: Any) -> Any:
    return lambda s, x: s.c(F.interpolate(s.c(x), **options))


def back_to_input(**options: Any) -> Any:
    return lambda s, x: s.c(F.interpolate(F.max_pool2d(s.c(x), 2), size=x.shape[2:], **options))


def written(write: Any) -> Any:
    """A map in which something is written, in front of a last layer."""

    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = s.c(x)
        write(y, x)
        return s.e(y)

    return forward


def put(index: Any) -> Any:
    def write(y: torch.Tensor, x: torch.Tensor) -> None:
        y[index] = x[index]

    return written(write)


def put_number(index: Any) -> Any:
    def write(y: torch.Tensor, x: torch.Tensor) -> None:
        y[index] = 0

    return written(write)


def put_where_positive(y: torch.Tensor, x: torch.Tensor) -> None:
    y[x > 0] = 0


def in_parts(of: Any) -> Any:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = of(x)
        y[:, :1] = s.c(x)[:, :1]
        y[:, 1:] = x[:, 1:]
        return s.e(y)

    return forward


def with_coordinates_written(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(1, 3, *x.shape[2:], dtype=x.dtype)
    y[:, :2] = x
    y[:, 2] = coordinates(x)[0, 0]
    return s.c(y)


def moved_by_writing(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[:, :, 3:] = x[:, :, 3:]
    return s.c(y)


def in_windows(x: torch.Tensor) -> torch.Tensor:
    blocks = x.view(1, 2, x.shape[2] // 4, 4, x.shape[3] // 4, 4)
    return blocks.permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, 2)


def out_of_windows(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    blocks = t.view(1, x.shape[2] // 4, x.shape[3] // 4, 4, 4, 2)
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def in_patches(middle: Any) -> Any:
    """A step between windows that are cut out of a map and put back."""
    return lambda s, x: s.c(out_of_windows(middle(s, in_windows(s.d(x))), x))


def norm_of_patches(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    patches = in_windows(s.d(x)).flatten(1)
    return out_of_windows(s.n(patches).view(-1, 16, 2), x)


def patch_embedding(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    tokens = s.m(s.l(s.n(in_windows(s.c(x)).flatten(1))))
    return s.d(tokens.mT.reshape(1, 2, x.shape[2] // 4, x.shape[3] // 4))


def norm_per_map_of_a_patch(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return in_patches(lambda s, t: s.n(t.mT.unflatten(2, (4, 4))).flatten(2).mT)(s, x)


def norm_of_moved_patches(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    y = s.d(x)[:, :, 2:-2, 1:-3]
    return s.c(out_of_windows(F.layer_norm(in_windows(y), (16, 2)), y))


def norm_of_parts(rows: Any, columns: Any) -> Any:
    """A norm over blocks of a map whose sizes follow from its own."""

    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        high, wide = rows(x.shape[2]), columns(x.shape[3])
        blocks = s.c(x).view(1, 2, x.shape[2] // high, high, x.shape[3] // wide, wide)
        blocks = blocks.permute(0, 2, 4, 1, 3, 5)
        blocks = F.layer_norm(blocks, blocks.shape[3:])
        return blocks.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)

    return forward


def attention_by_hand(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    t = in_windows(x)
    scores = s.q(t) @ t.transpose(1, 2) + s.b
    return out_of_windows(scores.softmax(-1) @ t, x)


def attention(mask: Any) -> Any:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        t = in_windows(x)
        return out_of_windows(F.scaled_dot_product_attention(s.q(t), t, t, mask(s, x)), x)

    return forward


def mask_per_window(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
    count = x.shape[2] * x.shape[3] // 16
    return torch.arange(count, dtype=x.dtype)[:, None, None] * torch.eye(16, dtype=x.dtype)


def to_blocks(x: torch.Tensor) -> torch.Tensor:
    blocks = x.view(1, 2, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(1, 8, x.shape[2] // 2, x.shape[3] // 2)


def folded(middle: Any) -> Any:
    return lambda s, x: F.fold(middle(s, F.unfold(x, 4, stride=2)), x.shape[2:], 4, stride=2)


def shuffled(middle: Any) -> Any:
    return lambda s, x: F.pixel_shuffle(middle(s, F.pixel_unshuffle(x, 2)), 2)


def in_turn(layer: nn.Module, x: torch.Tensor, count: int) -> torch.Tensor:
    for _ in range(count):
        x = layer(x)
    return x


def moved_apart(x: torch.Tensor) -> torch.Tensor:
    up, down = F.pad(x[:, :2, 1:], (0, 0, 0, 1)), F.pad(x[:, 2:, :-1], (0, 0, 1, 0))
    return torch.cat([up, down], 1)


C, D, WIDE = {"c": conv()}, {"c": conv(), "d": conv()}, {"c": conv(4)}
E = {"c": conv(), "e": conv(kernel=1)}
VALID = {"c": nn.Conv2d(2, 2, 3), "d": conv()}
PER_CHANNEL = {"p": nn.Parameter(torch.randn(2, 1, 1)), "c": conv()}

TILED: dict[str, tuple[Any, dict[str, Any]]] = {
    "zeros put in front": (
        lambda s, x: s.d(torch.cat([torch.zeros_like(x[:, :, :4]), s.c(x)], 2)), D,
    ),
    "zeros behind": (
        lambda s, x: s.c(torch.cat([x, torch.zeros(*x.shape[:3], 4, dtype=x.dtype)], 3)), C,
    ),
    "parts moved apart": (lambda s, x: moved_apart(torch.cat([x, s.c(x)], 1)), C),
    "channels rolled": (lambda s, x: s.c(torch.roll(x, 1, 1)), C),
    "a number per channel": (lambda s, x: s.c(x * s.p), PER_CHANNEL),
    "a number per channel, expanded": (
        lambda s, x: s.c(x * s.p.expand(1, 2, *x.shape[2:])), PER_CHANNEL,
    ),
    "a number per channel, expanded as": (lambda s, x: s.c(x * s.p.expand_as(x)), PER_CHANNEL),
    "a number per channel, repeated": (
        lambda s, x: s.c(x * s.p.repeat(1, *x.shape[2:])), PER_CHANNEL,
    ),
    "a number per channel, tiled": (
        lambda s, x: s.c(x * torch.tile(s.p, (1, *x.shape[2:]))), PER_CHANNEL,
    ),
    "a number per channel, times ones": (
        lambda s, x: s.c(x + s.p.exp() * torch.ones(1, 1, *x.shape[2:], dtype=x.dtype)),
        PER_CHANNEL,
    ),
    "prelu per channel": (lambda s, x: s.c(s.a(s.c(x))), {"a": nn.PReLU(2), "c": conv()}),
    "zeros beside": (
        lambda s, x: s.c(torch.cat([x, torch.zeros(1, 2, *x.shape[2:]).to(x)], 1)), WIDE,
    ),
    "zeros like it beside": (lambda s, x: s.c(torch.cat([x, torch.zeros_like(x)], 1)), WIDE),
    "a number everywhere": (lambda s, x: s.c(x + x.new_full(x.shape, 3.0)), C),
    "conv, reflect": (lambda s, x: s.c(x), {"c": conv(padding_mode="reflect")}),
    "reflect": (padded("reflect", 2, 0, 1, 2), VALID),
    "replicate": (padded("replicate", 6, 6, 6, 6), VALID),
    "replicate, then act": (lambda s, x: s.c(F.relu(F.pad(s.d(x), (2,) * 4, "replicate"))), VALID),
    "pad as the last": (lambda s, x: F.pad(s.c(x), (2, 1, 2, 3)), C),
    "pad with a number, then act": (lambda s, x: s.c(F.relu(F.pad(s.c(x), (2,) * 4, value=3))), C),
    "pad and crop again": (lambda s, x: s.c(F.pad(s.d(x), (3, 3))[..., 3:-3]), D),
    "crop as the last": (lambda s, x: s.c(x)[:, :, 2:-2, 2:-2], C),
    "crop in front as the last": (lambda s, x: s.c(x)[:, :, 3:], C),
    "stride as the last": (lambda s, x: s.c(x)[:, :, ::2, 1::2], C),
    **{
        f"{mode} {factor}": (resized(scale_factor=factor, mode=mode), C)
        for mode in ("nearest", "bilinear", "bicubic", "nearest-exact")
        for factor in (2, 0.5, 0.3, 1.5)
    },
    "nearest 2, computed again": (resized(scale_factor=2, recompute_scale_factor=True), C),
    "nearest to the size of the input": (back_to_input(), C),
    "bilinear to the size of the input": (back_to_input(mode="bilinear"), C),
    "antialias": (resized(scale_factor=0.5, mode="bilinear", antialias=True), C),
    "unfold, fold": (folded(lambda s, x: x), {}),
    "unfold, dense, fold": (
        folded(lambda s, x: s.l(x.transpose(1, 2)).transpose(1, 2)), {"l": nn.Linear(32, 32)},
    ),
    "unshuffle, conv, shuffle": (shuffled(lambda s, x: s.c(x)), {"c": conv(8, out=8)}),
    "blocks to channels": (lambda s, x: to_blocks(x), {}),
    "middle of unfold": (
        lambda s, x: F.unfold(x, 3, padding=1)[:, 4].view(1, 1, *x.shape[2:]), {},
    ),
    "front of Tensor.unfold": (lambda s, x: x.unfold(2, 3, 1)[..., 0], {}),
    "a channel overwritten": (put((slice(None), slice(0, 1))), E),
    "a channel overwritten by a number": (put_number((slice(None), 1)), E),
    "all overwritten": (put(slice(None)), E),
    "overwritten where positive": (written(put_where_positive), E),
    "all copied": (written(lambda y, x: y.copy_(x)), E),
    "a channel scaled in place": (written(lambda y, x: y[:, :1].mul_(2)), E),
    "made in parts": (in_parts(lambda x: torch.empty(x.shape, dtype=x.dtype)), E),
    "attention by hand": (
        attention_by_hand, {"q": nn.Linear(2, 2), "b": nn.Parameter(torch.randn(16, 16))},
    ),
    "attention with a bias": (
        attention(lambda s, x: s.b), {"q": nn.Linear(2, 2), "b": nn.Parameter(torch.randn(16, 16))},
    ),
    "norm of windows": (in_patches(lambda s, t: s.n(t)), {**D, "n": nn.LayerNorm((16, 2))}),
    "norm of patches": (norm_of_patches, {**D, "n": nn.LayerNorm(32)}),
    "norm of patches that are embedded": (patch_embedding, {
        **D, "n": nn.LayerNorm(32), "l": nn.Linear(32, 2), "m": nn.LayerNorm(2),
    }),
    "norm of groups in windows": (
        norm_per_map_of_a_patch, {**D, "n": nn.GroupNorm(1, 2)},
    ),
    "norm of instances in windows": (norm_per_map_of_a_patch, {**D, "n": nn.InstanceNorm2d(2)}),
    "norm of windows by hand": (
        in_patches(lambda s, t: (t - t.mean((1, 2), True)) / t.std((1, 2), keepdim=True)), D,
    ),
    "places of windows mixed": (
        in_patches(lambda s, t: t + s.l(t.mT).mT), {**D, "l": nn.Linear(16, 16)},
    ),
    "places of windows as a gate": (
        in_patches(lambda s, t: t * s.m(F.gelu(s.l(t.mT))).mT),
        {**D, "l": nn.Linear(16, 4), "m": nn.Linear(4, 16)},
    ),
    "norm of blocks": (norm_of_parts(lambda rows: 4, lambda columns: 2), C),
    "transposed and back": (lambda s, x: s.c(x.transpose(2, 3)).transpose(2, 3), C),
    "repeated": (lambda s, x: s.c(x.repeat_interleave(2, 2).repeat_interleave(2, 3)), C),
    "swapped and back": (lambda s, x: s.c(x.mT).mT, C),
    "a tensor, and sizes": (
        lambda s, x: s.c(x.reshape(x.shape)) * 2 + torch.full((1,), 3.0), C,
    ),
    "cropped, then relu": (lambda s, x: F.relu(s.c(x)[..., :-2, :-2]), C),
    "ceil mode": (lambda s, x: s.c(F.max_pool2d(s.c(x), 3, 2, ceil_mode=True)), C),
}  # fmt: skip

REFUSED: dict[str, tuple[Any, dict[str, Any]]] = {
    "roll": (lambda s, x: s.c(torch.roll(x, 4, 2)), C),
    "roll as the last": (lambda s, x: torch.roll(s.c(x), 4, 2), C),
    "roll there and back": (lambda s, x: torch.roll(s.c(torch.roll(x, 4, 2)), -4, 2), C),
    "roll as one row": (lambda s, x: s.c(torch.roll(x, 5)), C),
    "roll flat": (lambda s, x: s.c(torch.roll(x.flatten(2), 5, 2).view(x.shape)), C),
    "coordinates beside": (lambda s, x: s.c(torch.cat([x, coordinates(x)], 1)), WIDE),
    "coordinates as": (
        lambda s, x: s.c(torch.cat([x, coordinates(x).type_as(x)], 1)), WIDE,
    ),
    "coordinates to": (lambda s, x: s.c(torch.cat([x, coordinates(x).to(x)], 1)), WIDE),
    "coordinates stacked": (
        lambda s, x: s.c(torch.stack([x, coordinates(x)], 2).flatten(1, 2)), WIDE,
    ),
    "coordinates added": (lambda s, x: s.c(x + coordinates(x)), C),
    "coordinates multiplied": (lambda s, x: s.c(x * coordinates(x)), C),
    "coordinates expanded": (
        lambda s, x: s.c(x + torch.arange(x.shape[3], dtype=x.dtype).expand_as(x)), C,
    ),
    "coordinates per channel": (
        lambda s, x: s.c(x + s.p * torch.linspace(0, 1, x.shape[3], dtype=x.dtype)), PER_CHANNEL,
    ),
    "a pattern repeated": (
        lambda s, x: s.c(x * s.b.repeat(x.shape[2] // 4, x.shape[3] // 4)),
        {"b": nn.Parameter(torch.randn(4, 4)), "c": conv()},
    ),
    "repeated, then written to": (
        lambda s, x: s.c(x + s.p.repeat(1, *x.shape[2:]).index_fill_(1, torch.tensor([3]), 9.0)),
        PER_CHANNEL,
    ),
    "coordinates counted": (lambda s, x: s.c(x + torch.ones_like(x).cumsum(-1) / 32), C),
    "coordinates written": (with_coordinates_written, {"c": conv(3)}),
    "einsum": (
        lambda s, x: s.c(
            torch.einsum("bchw,w->bchw", x, torch.linspace(0, 1, x.shape[3], dtype=x.dtype))
        ), C,
    ),
    "where": (lambda s, x: s.c(torch.where(thirds(x), x, -x)), C),
    "masked_fill": (lambda s, x: s.c(x.masked_fill(thirds(x), 0.0)), C),
    "tril": (lambda s, x: s.c(x.tril()), C),
    "embedding of places": (lambda s, x: s.c(x + embedding(s, x)), {"p": places(), "c": conv()}),
    "embedding of tokens": (
        lambda s, x: s.c(
            (x.flatten(2).mT + embedding(s, x).flatten(2).mT).mT.reshape(x.shape)
        ), {"p": places(), "c": conv()},
    ),
    "numbers per place in a block": (
        lambda s, x: s.c(
            (x.view(1, 2, x.shape[2] // 4, 4, x.shape[3] // 4, 4) + s.b[:, None]).view(x.shape)
        ), {"b": nn.Parameter(torch.randn(4, 4)), "c": conv()},
    ),
    "mask per window": (attention(mask_per_window), {"q": nn.Linear(2, 2)}),
    "divided by the size": (lambda s, x: s.c(x) / x.shape[2], C),
    "one row": (lambda s, x: s.c(x - x[:, :, 0][:, :, None]), C),
    "one pixel": (lambda s, x: s.c(x - x[:, :, :1, :1]), C),
    "conv, circular": (lambda s, x: s.c(x), {"c": conv(padding_mode="circular")}),
    "circular": (padded("circular", 2, 2, 2, 2), VALID),
    "circular as the last": (lambda s, x: F.pad(s.c(x), (2, 2, 2, 2), mode="circular"), C),
    "reflect more than the layer sees": (padded("reflect", 6, 6, 6, 6), VALID),
    "reflect as the last": (lambda s, x: F.pad(s.c(x), (2, 2, 2, 2), mode="reflect"), C),
    "crop in front, then pad": (lambda s, x: s.c(F.pad(s.d(x)[..., 3:], (3, 0))), D),
    "crop behind, then pad": (lambda s, x: F.pad(s.d(x)[..., :-3], (0, 3)), D),
    "half": (lambda s, x: s.c(x)[..., x.shape[3] // 2 :], C),
    "so many pixels": (lambda s, x: s.c(x)[..., :x.shape[2] - x.shape[2] + 20], C),
    "half added": (lambda s, x: x[..., : x.shape[3] // 2] + x[..., x.shape[3] // 2 :], {}),
    "flip": (lambda s, x: s.c(x.flip(3)), C),
    "flip and back": (lambda s, x: s.c(x.flip(3)).flip(3), C),
    "rot90": (lambda s, x: s.c(torch.rot90(x, 2, (2, 3))), C),
    "by an index": (lambda s, x: s.c(x[:, :, torch.arange(x.shape[2] - 1, -1, -1)]), C),
    "one row as the last": (lambda s, x: s.c(x)[:, :, 5], C),
    "side by side": (lambda s, x: torch.cat([x, s.c(x)], 3), C),
    "nearest to a size": (resized(size=(32, 32)), C),
    "bilinear to a size": (resized(size=(40, 40), mode="bilinear"), C),
    "area": (resized(scale_factor=0.5, mode="area"), C),
    "adaptive": (lambda s, x: s.c(F.adaptive_avg_pool2d(x, 8)), C),
    "bilinear 2, aligned": (resized(scale_factor=2, mode="bilinear", align_corners=True), C),
    "bilinear to the size of the input, aligned": (
        back_to_input(mode="bilinear", align_corners=True), C,
    ),
    "nearest 0.3, computed again": (resized(scale_factor=0.3, recompute_scale_factor=True), C),
    "rows overwritten": (put((slice(None), slice(None), slice(3, None))), E),
    "an edge overwritten": (put_number((slice(None), slice(None), -1)), E),
    "rows copied": (written(lambda y, x: y[:, :, 3:].copy_(x[:, :, 3:])), E),
    "rows zeroed": (written(lambda y, x: y[:, :, 3:].zero_()), E),
    "cropped and written behind": (moved_by_writing, C),
    "norm without memory": (
        lambda s, x: s.n(s.c(x)), {"c": conv(), "n": nn.BatchNorm2d(2, track_running_stats=False)},
    ),
    "norm of the image": (lambda s, x: s.d(F.layer_norm(s.c(x), (2, *x.shape[2:]))), D),
    "norm of windows of a crop": (norm_of_moved_patches, D),
    "norm of strips": (norm_of_parts(lambda rows: 4, lambda columns: columns), C),
    "norm of eight blocks": (norm_of_parts(lambda rows: rows // 8, lambda columns: 4), C),
    "norm of a window of windows": (
        in_patches(lambda s, t: F.layer_norm(t, t.shape)), D,
    ),
    "normalised rows": (lambda s, x: F.normalize(s.c(x), dim=3), C),
    "sums": (lambda s, x: s.c(x).cumsum(2), C),
    "swapped output": (lambda s, x: s.c(x.mT), C),
    "swapped image": (lambda s, x: x.mT, C),
    "swapped and added": (lambda s, x: s.c(x) + x.mT, C),
    "zeros in place of rows": (
        lambda s, x: s.c(torch.cat([torch.zeros_like(x[:, :, :2]), x[:, :, 2:]], 2)), C,
    ),
    "mean of a crop": (lambda s, x: s.c(x) + s.c(x)[..., 2:-2, 2:].mean((2, 3), keepdim=True), C),
    "maxima of a crop": (lambda s, x: s.c(x) + s.c(x)[:, :, 2:].amax(2, keepdim=True), C),
    "halves of a map": (lambda s, x: F.glu(s.c(x), 3), C),
    "so many rows as the last": (lambda s, x: s.c(x)[:, :, 3:20], C),
    "so many rows narrowed": (lambda s, x: s.c(x).narrow(2, 0, 20), C),
    "a tensor of the size": (lambda s, x: s.c(x) * torch.full((1,), float(x.shape[2])), C),
    "a number of the size": (lambda s, x: s.c(x) * torch.tensor(x.shape[2] / 24), C),
    "a number of the size, added to a tensor": (
        lambda s, x: s.c(x) ** torch.ones(1).mul(x.shape[2]), C,
    ),
    "a new tensor of the size": (lambda s, x: s.c(x) + x.new_full((1,), x.shape[2]), C),
    "filled with the size": (lambda s, x: s.c(x) + torch.empty(1).fill_(x.shape[2]), C),
    "a sum over places": (lambda s, x: s.c(x) * torch.linspace(0, 1, x.shape[2]).sum(), C),
    "chosen by the size": (lambda s, x: s.p[x.shape[2] // 32] * s.c(x), {
        "p": nn.Parameter(torch.randn(8)), "c": conv(),
    }),
    "another layer by size": (lambda s, x: s.c(x) if x.shape[2] > 60 else s.d(x), D),
    "one more layer by size": (lambda s, x: s.c(F.relu(x)) if x.shape[2] > 60 else s.c(x), C),
    "as many layers as rows": (lambda s, x: in_turn(s.c, x, x.shape[2] // 8), C),
    "halves by number": (lambda s, x: sum(s.c(x).chunk(2, 2)), C),
    "units that see nothing": (
        lambda s, x: F.relu(s.c(x)[..., 2::2, 2::2]),
        {"c": nn.ConvTranspose2d(2, 2, 1, 2, padding=1, output_padding=1)},
    ),
}  # fmt: skip


def model_of(case: tuple[Any, dict[str, Any]]) -> nn.Module:
    function, members = case
    return Function(function, **members).double().eval()


@captures
@pytest.mark.parametrize("case", [pytest.param(one, id=name) for name, one in TILED.items()])
def test_tiles_put_together_are_the_whole(case: Any, capture: str) -> None:
    model = model_of(case)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 2, 48, 48, dtype=torch.float64, generator=generator)
    graph = encode(model, (1, 2, 48, 48), capture)
    with torch.no_grad():
        whole = model(image)
        most = 0
        for size in (12, 18, 24, 33):
            try:
                plan = tile_plan(graph, 48, size)
            except InvalidResolutionError:
                continue
            most = max(most, len(plan.tiles))
            result = torch.full_like(whole, torch.nan)
            for tile in plan.tiles:
                result[(..., *tile.target)] = model(image[(..., *tile.source)])[(..., *tile.keep)]
            torch.testing.assert_close(result, whole, rtol=0, atol=1e-10)
    assert most > 1


@captures
@pytest.mark.filterwarnings("ignore:These operations are not known")  # of rot90
@pytest.mark.parametrize("case", [pytest.param(one, id=name) for name, one in REFUSED.items()])
def test_what_tiles_would_change_is_refused(case: Any, capture: str) -> None:
    graph = encode(model_of(case), (1, 2, 48, 48), capture)
    with pytest.raises(InvalidGraphError):
        tile_plan(graph, 48, 24)


@pytest.mark.parametrize("global_ops", ["ignore_gates", "count", "ignore"])
def test_a_roll_is_refused_whatever_global_operations_count(global_ops: str) -> None:
    model = Function(lambda s, x: s.n(torch.roll(x, 4, 2)), n=nn.LayerNorm([2, 48, 48]))
    graph = encode(model, (1, 2, 48, 48), global_ops=global_ops)
    assert graph.layer_info.position_dependent
    with pytest.raises(InvalidGraphError):
        tile_plan(graph, 48, 24)


def test_a_model_that_takes_one_size_only_is_refused_where_it_resizes() -> None:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] != 48:
            raise ValueError("not this size")
        return s.c(F.interpolate(s.c(x), size=(24, 24)))

    graph = encode(Function(forward, c=conv()), (1, 2, 48, 48))
    with pytest.raises(InvalidGraphError, match="'interpolate'"):
        tile_plan(graph, 48, 24)


def test_a_part_of_a_tensor_with_memory_that_is_written_is_not_lost() -> None:
    def forward(s: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros(1, 2, *x.shape[2:])
        y[:, :1].copy_(s.c(x)[:, :1])
        return s.c(y)

    graph = encode(Function(forward, c=conv()), (1, 2, 48, 48))
    assert graph.receptive_field_max == (5, 5)
