"""Random models of signals, of what people write by hand, and which samples their units see."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

__all__ = ["CHANNELS", "LENGTH", "RandomModel", "seen"]

CHANNELS, LENGTH = 4, 48
Part = Callable[[torch.Tensor], torch.Tensor]


class RandomModel(nn.Module):
    """A convolution, and a chain of random parts that keep the number of channels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.layers = nn.ModuleList()
        makers = [self.random.choice(_MAKERS) for _ in range(self.random.randint(2, 4))]
        self.names = [maker.__name__ for maker in makers]
        self.parts: list[Part] = [self.conv(), *(maker(self) for maker in makers)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def conv(self, channels: int = CHANNELS, kernel: int | None = None, **options: Any) -> Any:
        kernel = self.random.choice([1, 3]) if kernel is None else kernel
        layer = nn.Conv1d(channels, CHANNELS, kernel, padding=kernel // 2, **options)
        self.layers.append(layer)
        return layer


def convolution(m: RandomModel) -> Part:
    return m.conv(kernel=m.random.choice([1, 3, 5]), stride=m.random.choice([1, 1, 2]))  # type: ignore[no-any-return]


def pooling(m: RandomModel) -> Part:
    kernel, stride = m.random.choice([2, 3]), m.random.choice([1, 2])
    return lambda x: F.max_pool1d(x, kernel, stride)


def crop(m: RandomModel) -> Part:
    begin, end = m.random.randint(0, 2), m.random.randint(0, 2)
    return lambda x: x[..., begin : x.shape[2] - end]


def upsampling(m: RandomModel) -> Part:
    return lambda x: F.interpolate(x, scale_factor=2.0)


def residual(m: RandomModel) -> Part:
    conv = m.conv()
    return lambda x: x + conv(x)


def copies_moved(m: RandomModel) -> Part:
    by, conv = m.random.randint(1, 3), m.conv(2 * CHANNELS)
    return lambda x: conv(torch.cat([x[..., by:], x[..., : x.shape[2] - by]], 1))  # type: ignore[no-any-return]


def copy_added(m: RandomModel) -> Part:
    by = m.random.randint(1, 3)
    return lambda x: x + F.pad(x, (by, 0))[..., : x.shape[2]]


def focus(m: RandomModel) -> Part:
    conv = m.conv(2 * CHANNELS)

    def part(x: torch.Tensor) -> torch.Tensor:
        x = x[..., : x.shape[2] // 2 * 2]
        return conv(torch.cat([x[..., ::2], x[..., 1::2]], 1))  # type: ignore[no-any-return]

    return part


def _in_channels(x: torch.Tensor) -> torch.Tensor:
    batch, channels, size = x.shape
    blocks = x[..., : size // 2 * 2].reshape(batch, channels, size // 2, 2)
    return blocks.permute(0, 1, 3, 2).reshape(batch, 2 * channels, size // 2)


def blocks_by_hand(m: RandomModel) -> Part:
    conv = m.conv(2 * CHANNELS)
    return lambda x: conv(_in_channels(x))  # type: ignore[no-any-return]


def blocks_added(m: RandomModel) -> Part:
    first, last = m.conv(2 * CHANNELS), m.conv(2 * CHANNELS)

    def part(x: torch.Tensor) -> torch.Tensor:
        y = _in_channels(x)
        return last(y + first(y).repeat(1, 2, 1))  # type: ignore[no-any-return]

    return part


def blocks_normed(m: RandomModel) -> Part:
    conv = m.conv(2 * CHANNELS)

    def part(x: torch.Tensor) -> torch.Tensor:
        y = _in_channels(x)
        return conv(y - y.mean(1, keepdim=True))  # type: ignore[no-any-return]

    return part


def out_of_channels(m: RandomModel) -> Part:
    conv = m.conv(CHANNELS // 2)

    def part(x: torch.Tensor) -> torch.Tensor:
        batch, channels, size = x.shape
        finer = x.view(batch, channels // 2, 2, size).permute(0, 1, 3, 2)
        return conv(finer.reshape(batch, channels // 2, 2 * size))  # type: ignore[no-any-return]

    return part


def steps_stacked(m: RandomModel) -> Part:
    dense = nn.Linear(CHANNELS, CHANNELS)
    m.layers.append(dense)
    return lambda x: torch.stack([dense(x[:, :, t]) for t in range(x.shape[2])], 2)


def steps_joined(m: RandomModel) -> Part:
    return lambda x: torch.cat([one.tanh() for one in x.split(1, 2)], 2)


def chunks_joined(m: RandomModel) -> Part:
    return lambda x: torch.cat([one.tanh() for one in x.chunk(2, 2)], 2)


def steps_written(m: RandomModel) -> Part:
    def part(x: torch.Tensor) -> torch.Tensor:
        y = torch.zeros_like(x)
        for t in range(x.shape[2]):
            y[..., t] = x[..., t].tanh()
        return y

    return part


def split_concatenation(m: RandomModel) -> Part:
    conv, last = m.conv(), m.conv()

    def part(x: torch.Tensor) -> torch.Tensor:
        one, other = torch.cat([x, conv(x)], 1).split(CHANNELS, 1)
        return last(one) + other

    return part


def shuffle(m: RandomModel) -> Part:
    conv = m.conv()

    def part(x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([x[:, :2], conv(x)[:, 2:]], 1)
        batch, channels, size = y.shape
        return y.view(batch, 2, channels // 2, size).transpose(1, 2).reshape(y.shape)

    return part


def transposed(m: RandomModel) -> Part:
    layer = nn.ConvTranspose1d(CHANNELS, CHANNELS, m.random.choice([2, 3]), 2)
    m.layers.append(layer)
    return layer


def standardised(m: RandomModel) -> Part:
    return lambda x: (x - x.mean(1, keepdim=True)) / (1 + x.var(1, keepdim=True))


_MAKERS = (
    convolution, convolution, pooling, crop, upsampling, residual, copies_moved, copy_added, focus,
    blocks_by_hand, blocks_added, blocks_normed, out_of_channels, steps_stacked, steps_joined,
    chunks_joined, steps_written, split_concatenation, shuffle, transposed, standardised,
)  # fmt: skip


def seen(model: nn.Module) -> list[tuple[int, int] | None]:
    """Return per unit of the output the first and the last sample that it sees.

    Every sample is poisoned in an input of its own, all of which run as one batch.
    """
    generator = torch.Generator().manual_seed(0)
    signal = torch.rand(1, CHANNELS, LENGTH, dtype=torch.float64, generator=generator) + 0.5
    batch = signal.repeat(LENGTH, 1, 1)
    places = torch.arange(LENGTH)
    batch[places, :, places] = torch.nan
    with torch.no_grad():
        sees = model.double().eval()(batch).isnan().any(1)
    found = [torch.nonzero(unit).flatten().tolist() for unit in sees.T]
    return [(one[0], one[-1]) if one else None for one in found]
