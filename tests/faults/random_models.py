"""Random models of signals and images, of what people write by hand, and what their units see.

A model is a chain of random parts. What is between two parts goes through a leaky rectifier, whose
node in the graph is compared with the experiment.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.unit_by_unit import Flags, contradicted

__all__ = ["CHANNELS", "SIZES", "RandomModel", "contradictions"]

SIZES = {1: (48,), 2: (24, 18)}
"""Of the signal or the image, by the number of its axes."""

CHANNELS = 4
FEATURES = 3
"""Of a condition: an input without a place in the image."""

INF = float("inf")
Tensor = torch.Tensor
Part = Callable[[Tensor], Tensor]


class RandomModel(nn.Module):
    """A convolution, and a chain of random parts that keep the number of channels."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.axes = self.among(1, 2)
        self.sizes = SIZES[self.axes]
        self.layers = nn.ModuleList()
        self.conditions = 0
        self.names: list[str] = []
        self.weighs_with_zero = False
        self.unseen = 0  # pixels at the borders that padding may stand in place of
        self.shape: tuple[int, ...] = self.sizes
        self.parts: list[Part | Conditioned] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.add("first", self.conv(kernel=self.among(1, 3)))
            for _ in range(self.random.randint(2, 5)):
                maker = self.random.choice(_MAKERS if seed < 10_000 else _LATER)
                self.add(maker.__name__, maker(self))
        self.kept = nn.ModuleList(nn.LeakyReLU(0.5) for _ in self.parts)
        self.double().eval()

    def add(self, name: str, part: Part | Conditioned) -> None:
        """Take a part, unless the map behind it is too small or too large."""
        state = self.unseen
        with torch.no_grad():
            vectors = [torch.ones(1, FEATURES)] * self.conditions
            made = _result(part, torch.ones(1, CHANNELS, *self.shape), vectors)
        shape = tuple(made.shape[2:])
        if made.shape[1] == CHANNELS and all(5 <= size <= 60 for size in shape):
            self.parts.append(part)
            self.names.append(name)
            self.shape = shape
        else:
            self.unseen = state

    def forward(self, x: Tensor, *conditions: Tensor) -> Tensor:
        for part, kept in zip(self.parts, self.kept, strict=True):
            x = kept(_result(part, x, conditions))
        return x

    # -- what parts are made with

    def among(self, *several: Any) -> Any:
        return self.random.choice(several)

    def axis(self) -> int:
        """Return one of the dimensions that have positions."""
        return self.random.randint(2, 1 + self.axes)

    def layer(self, made: Any) -> Any:
        self.layers.append(made)
        return made

    def per_axis(self, *several: int) -> tuple[int, ...]:
        return tuple(self.random.choice(several) for _ in range(self.axes))

    def conv(
        self, channels: int = CHANNELS, filters: int = CHANNELS, kernel: Any = None, **options: Any
    ) -> Any:
        kernel = self.per_axis(1, 1, 3, 5) if kernel is None else kernel
        kernel = kernel if isinstance(kernel, tuple) else (kernel,) * self.axes
        kind = (nn.Conv1d, nn.Conv2d)[self.axes - 1]
        padding = tuple(one // 2 for one in kernel)
        return self.layer(kind(channels, filters, kernel, **{"padding": padding, **options}))

    def pick(self, of_signals: Any, of_images: Any) -> Any:
        """Return the function for so many axes."""
        return (of_signals, of_images)[self.axes - 1]

    def cut_off(self, units: int) -> None:
        """Note how many units are cut off a map: where it is padded again, nobody sees them."""
        sizes = zip(self.sizes, self.shape, strict=True)
        self.unseen += units * max(-(-size // of) for size, of in sizes)


@attrs.frozen
class Conditioned:
    """A part that takes one of the conditions beside the map."""

    place: int
    function: Callable[[Tensor, Tensor], Tensor]


def _result(part: Part | Conditioned, x: Tensor, conditions: Sequence[Tensor]) -> Tensor:
    if isinstance(part, Conditioned):
        return part.function(x, conditions[part.place])
    return part(x)


Maker = Callable[[RandomModel], Part | Conditioned]


def moved(x: Tensor, axis: int, begin: int, end: int | None = None) -> Tensor:
    """Return a slice along one axis, as people write it."""
    return x[(slice(None),) * axis + (slice(begin, end),)]


def every(x: Tensor, axis: int, first: int, step: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(first, None, step),)]


def evenly(x: Tensor, by: int, axis: int) -> Tensor:
    """Cut off what does not fill the last block."""
    return x.narrow(axis, 0, x.shape[axis] // by * by)


def padded(x: Tensor, axis: int, begin: int, end: int, **options: Any) -> Tensor:
    sides = [0, 0] * (x.dim() - 1 - axis) + [begin, end]
    return F.pad(x, sides, **options)


def together(m: RandomModel, count: int = 2) -> Callable[..., Tensor]:
    """Put maps together in one of many ways; all are cut to one size."""
    kind = m.among("add", "multiply", "maximum", "subtract", "cat", "stack", "written")
    conv = m.conv(count * CHANNELS, kernel=1)

    def put(*several: Tensor) -> Tensor:
        sizes = [min(one.shape[axis] for one in several) for axis in range(2, several[0].dim())]
        index = (slice(None),) * 2 + tuple(slice(0, size) for size in sizes)
        alike = [one[index] for one in several]
        if kind == "cat":
            return conv(torch.cat(alike, 1))  # type: ignore[no-any-return]
        if kind == "stack":
            return torch.stack(alike, 1).mean(1)
        if kind == "written":
            whole = torch.empty_like(alike[0]).repeat_interleave(len(alike), 1)
            for place, one in enumerate(alike):
                whole[:, place * CHANNELS : (place + 1) * CHANNELS] = one
            return conv(whole)  # type: ignore[no-any-return]
        x = alike[0]
        for one in alike[1:]:
            x = {"add": x + one, "multiply": x * one, "subtract": x - one}.get(
                kind, torch.maximum(x, one)
            )
        return x

    m.cut_off(4)
    return put


# --- layers ----------------------------------------------------------------------------------


def convolution(m: RandomModel) -> Part:
    kernel, stride = m.per_axis(1, 2, 3, 5), m.per_axis(1, 1, 2)
    padding = tuple(m.random.randint(0, one // 2) for one in kernel)
    dilation = m.per_axis(1, 1, 2)
    return m.conv(kernel=kernel, stride=stride, padding=padding, dilation=dilation)  # type: ignore[no-any-return]


def depthwise(m: RandomModel) -> Part:
    return m.conv(kernel=m.among(2, 3), groups=CHANNELS, stride=m.among(1, 2))  # type: ignore[no-any-return]


def padded_with(m: RandomModel) -> Part:
    return m.conv(kernel=3, padding_mode=m.among("reflect", "replicate"))  # type: ignore[no-any-return]


def pooling(m: RandomModel) -> Part:
    kernel, stride = m.per_axis(2, 3), m.per_axis(1, 2)
    kind = m.among(m.pick(F.max_pool1d, F.max_pool2d), m.pick(F.avg_pool1d, F.avg_pool2d))
    padding, ceil = m.among(0, 1), m.among(False, True)
    return lambda x: kind(x, kernel, stride, padding=padding, ceil_mode=ceil)


def transposed(m: RandomModel) -> Part:
    kind = m.pick(nn.ConvTranspose1d, nn.ConvTranspose2d)
    kernel, padding = m.among(2, 3, 4), m.among(0, 1)
    return m.layer(kind(CHANNELS, CHANNELS, kernel, 2, padding, m.among(0, 1)))  # type: ignore[no-any-return]


def upsampling(m: RandomModel) -> Part:
    options = {"mode": "nearest"}
    if m.among(False, True):
        options = {"mode": m.pick("linear", "bilinear"), "align_corners": m.among(False, True)}
    return lambda x: F.interpolate(x, scale_factor=2.0, **options)


def normed(m: RandomModel) -> Part:
    kind = m.pick(nn.BatchNorm1d, nn.BatchNorm2d)
    return m.layer(m.among(kind(CHANNELS), nn.ReLU(), nn.PReLU(CHANNELS)))  # type: ignore[no-any-return]


# --- crops, pads and moved copies ------------------------------------------------------------


def crop(m: RandomModel) -> Part:
    axis, begin, end = m.axis(), m.random.randint(0, 2), m.random.randint(0, 2)
    m.cut_off(2)
    return lambda x: moved(x, axis, begin, x.shape[axis] - end)


def crop_and_pad(m: RandomModel) -> Part:
    axis, by, more = m.axis(), m.random.randint(1, 3), m.random.randint(1, 3)
    m.cut_off(3)
    return lambda x: padded(moved(x, axis, by, x.shape[axis] - more), axis, more, by)


def negative_pad(m: RandomModel) -> Part:
    axis, begin, end = m.axis(), m.random.randint(-2, 2), m.random.randint(-2, 2)
    m.cut_off(2)
    return lambda x: padded(x, axis, begin, end)


def reflection(m: RandomModel) -> Part:
    axis, by, mode = m.axis(), m.random.randint(1, 2), m.among("reflect", "replicate")
    conv = m.conv(kernel=3, padding=0)

    def part(x: Tensor) -> Tensor:
        sides = [1, 1] * (m.axes - 1 - (axis - 2)) + [by, by] + [1, 1] * (axis - 2)
        return conv(F.pad(x, sides, mode=mode))  # type: ignore[no-any-return]

    return part


def chosen(m: RandomModel) -> Part:
    """Take units by their numbers."""
    axis, first = m.axis(), m.random.randint(0, 1)
    m.cut_off(3)

    def part(x: Tensor) -> Tensor:
        return x.index_select(axis, torch.arange(first, x.shape[axis] - 2, 1))

    return part


def moved_copies(m: RandomModel) -> Part:
    axis, by, put = m.axis(), m.random.randint(1, 3), together(m)
    return lambda x: put(moved(x, axis, by), moved(x, axis, 0, x.shape[axis] - by))


def moved_and_padded(m: RandomModel) -> Part:
    axis, by, put = m.axis(), m.random.randint(1, 3), together(m)
    return lambda x: put(x, padded(moved(x, axis, 0, x.shape[axis] - by), axis, by, 0))


def shifted_channels(m: RandomModel) -> Part:
    """A shift network: every group of channels is moved another way."""
    axis, conv = m.axis(), m.conv(kernel=1)

    def part(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        size = x.shape[axis]
        y[:, :1].narrow(axis, 1, size - 1).copy_(x[:, :1].narrow(axis, 0, size - 1))
        y[:, 1:2].narrow(axis, 0, size - 1).copy_(x[:, 1:2].narrow(axis, 1, size - 1))
        y[:, 2:] = x[:, 2:]
        return conv(y)  # type: ignore[no-any-return]

    return part


def rolled(m: RandomModel) -> Part:
    """A copy that was moved by a roll, without the units that came from the far end."""
    axis, by, put = m.axis(), m.random.randint(1, 2), together(m)
    return lambda x: put(moved(x, axis, by), moved(x.roll(by, axis), axis, by))


def focus(m: RandomModel) -> Part:
    axis, conv = m.axis(), m.conv(2 * CHANNELS)

    def part(x: Tensor) -> Tensor:
        x = evenly(x, 2, axis)
        return conv(torch.cat([every(x, axis, 0, 2), every(x, axis, 1, 2)], 1))  # type: ignore[no-any-return]

    return part


def patch_merging(m: RandomModel) -> Part:
    """Every other row and column, side by side in the channels, and a norm over them."""
    conv = m.conv(2**m.axes * CHANNELS, kernel=1)
    norm = m.layer(nn.LayerNorm(2**m.axes * CHANNELS))

    def part(x: Tensor) -> Tensor:
        several = [x]
        for axis in range(2, x.dim()):
            several = [
                every(evenly(one, 2, axis), axis, at, 2) for one in several for at in range(2)
            ]
        merged = norm(torch.cat(several, 1).movedim(1, -1)).movedim(-1, 1)
        return conv(merged)  # type: ignore[no-any-return]

    return part


def every_other(m: RandomModel) -> Part:
    axis, first = m.axis(), m.among(0, 1)
    return lambda x: every(x, axis, first, 2)


def differences(m: RandomModel) -> Part:
    axis = m.axis()
    return lambda x: x.diff(dim=axis)


# --- blocks by hand --------------------------------------------------------------------------


def _in_channels(x: Tensor, axis: int) -> Tensor:
    x = evenly(x, 2, axis)
    blocks = x.unflatten(axis, (x.shape[axis] // 2, 2)).movedim(axis + 1, 2)
    return blocks.flatten(1, 2)


def blocks_by_hand(m: RandomModel) -> Part:
    axis, conv = m.axis(), m.conv(2 * CHANNELS)
    return lambda x: conv(_in_channels(x, axis))  # type: ignore[no-any-return]


def blocks_in_front(m: RandomModel) -> Part:
    """Offsets in front of the channels, as einops' "(p c)" has them."""
    axis, conv = m.axis(), m.conv(2 * CHANNELS)

    def part(x: Tensor) -> Tensor:
        x = evenly(x, 2, axis)
        blocks = x.unflatten(axis, (-1, 2)).movedim(axis + 1, 1)
        return conv(blocks.flatten(1, 2))  # type: ignore[no-any-return]

    return part


def blocks_of_both_axes(m: RandomModel) -> Part:
    conv = m.conv(2**m.axes * CHANNELS, kernel=m.among(1, 3))

    def part(x: Tensor) -> Tensor:
        for axis in range(2, 2 + m.axes):
            x = _in_channels(x, axis)
        return conv(x)  # type: ignore[no-any-return]

    return part


def blocks_added(m: RandomModel) -> Part:
    axis, first, last = m.axis(), m.conv(2 * CHANNELS), m.conv(2 * CHANNELS)

    def part(x: Tensor) -> Tensor:
        y = _in_channels(x, axis)
        return last(y + torch.cat([first(y)] * 2, 1))  # type: ignore[no-any-return]

    return part


def blocks_normed(m: RandomModel) -> Part:
    axis, conv = m.axis(), m.conv(2 * CHANNELS)

    def part(x: Tensor) -> Tensor:
        y = _in_channels(x, axis)
        return conv(y - y.mean(1, keepdim=True))  # type: ignore[no-any-return]

    return part


def out_of_channels(m: RandomModel) -> Part:
    axis, conv = m.axis(), m.conv(filters=2 * CHANNELS)

    def part(x: Tensor) -> Tensor:
        finer = conv(x).unflatten(1, (CHANNELS, 2)).movedim(2, axis + 1)
        return finer.flatten(axis, axis + 1)  # type: ignore[no-any-return]

    return part


def shuffled_pixels(m: RandomModel) -> Part:
    if m.axes == 1:
        return out_of_channels(m)
    more, less = m.conv(filters=16, kernel=1), m.conv(16)
    if m.among(False, True):
        return lambda x: F.pixel_shuffle(more(x), 2)
    return lambda x: less(F.pixel_unshuffle(evenly(evenly(x, 2, 2), 2, 3), 2))  # type: ignore[no-any-return]


def taken_in_windows(m: RandomModel) -> Part:
    axis, size, step = m.axis(), m.among(2, 3), m.among(1, 2)
    reduced = m.among(lambda w: w.mean(-1), lambda w: w.amax(-1), lambda w: w.sum(-1))
    return lambda x: reduced(x.unfold(axis, size, step))  # type: ignore[no-any-return]


def unfolded(m: RandomModel) -> Part:
    if m.axes == 1:
        return taken_in_windows(m)
    dense = m.layer(nn.Linear(9 * CHANNELS, CHANNELS))

    def part(x: Tensor) -> Tensor:
        columns = F.unfold(x, 3, padding=1)
        return dense(columns.transpose(1, 2)).transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]

    return part


def windows_mixed(m: RandomModel) -> Part:
    """Windows cut out by hand, mixed inside, and put back."""
    axis = m.axis()
    dense = m.layer(nn.Linear(4, 4))
    kind = m.among("mean", "dense", "cumsum", "attention", "own")

    def part(x: Tensor) -> Tensor:
        x = evenly(x, 4, axis)
        w = x.unflatten(axis, (-1, 4)).movedim(axis + 1, -1)
        if kind == "mean":
            w = w - w.mean(-1, keepdim=True)
        elif kind == "dense":
            w = dense(w)
        elif kind == "cumsum":
            w = w.cumsum(-1)
        elif kind == "attention":
            tokens = w.movedim(1, -1)
            w = F.scaled_dot_product_attention(tokens, tokens, tokens).movedim(-1, 1)
        return w.movedim(-1, axis + 1).flatten(axis, axis + 1)

    return part


def shifted_windows(m: RandomModel) -> Part:
    axis, mixed = m.axis(), windows_mixed(m)
    m.cut_off(2)

    def part(x: Tensor) -> Tensor:
        x = evenly(x, 4, axis)
        return moved(mixed(x.roll(-2, axis)).roll(2, axis), axis, 2, x.shape[axis] - 2)

    return part


def windows_as_images(m: RandomModel) -> Part:
    """Windows along all axes, each of them an image of tokens, as transformers cut them."""
    work = m.among(_norm_by_hand, _mixed_places, _gated_places, _layer_norm, _both_directions)(m)

    def part(x: Tensor) -> Tensor:
        for axis in range(2, 2 + m.axes):
            x = evenly(x, 3, axis)
        sizes = [size // 3 for size in x.shape[2:]]
        if m.axes == 1:
            t = work(x.mT.reshape(-1, 3, CHANNELS))
            return t.reshape(len(x), *x.shape[:0:-1]).mT  # type: ignore[no-any-return]
        t = x.view(len(x), CHANNELS, sizes[0], 3, sizes[1], 3).permute(0, 2, 4, 3, 5, 1)
        t = work(t.reshape(-1, 9, CHANNELS)).view(len(x), *sizes, 3, 3, CHANNELS)
        return t.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)  # type: ignore[no-any-return]

    return part


def _norm_by_hand(m: RandomModel) -> Part:
    return lambda t: (t - t.mean((1, 2), keepdim=True)) / (1 + t.std((1, 2), keepdim=True))


def _mixed_places(m: RandomModel) -> Part:
    dense = m.layer(nn.Linear(3**m.axes, 3**m.axes))
    return lambda t: t + dense(t.mT).mT


def _gated_places(m: RandomModel) -> Part:
    less, more = m.layer(nn.Linear(3**m.axes, 2)), m.layer(nn.Linear(2, 3**m.axes))
    return lambda t: t * more(less(t.mT).tanh()).mT


def _layer_norm(m: RandomModel) -> Part:
    return m.layer(nn.LayerNorm((3**m.axes, CHANNELS)))  # type: ignore[no-any-return]


def _both_directions(m: RandomModel) -> Part:
    layer = m.layer(nn.GRU(CHANNELS, CHANNELS // 2, batch_first=True, bidirectional=True))
    return lambda t: layer(t)[0]  # type: ignore[no-any-return]


# --- maps side by side -----------------------------------------------------------------------


def steps_stacked(m: RandomModel) -> Part:
    axis = m.axis()
    if m.axes == 1:
        layer = m.layer(nn.Linear(CHANNELS, CHANNELS))
    else:
        layer = m.layer(nn.Conv1d(CHANNELS, CHANNELS, m.among(1, 3), padding="same"))
    return lambda x: torch.stack([layer(one) for one in x.unbind(axis)], axis)


def steps_in_a_loop(m: RandomModel) -> Part:
    axis = m.axis()
    return lambda x: torch.stack([x.select(axis, t).tanh() for t in range(x.shape[axis])], axis)


def recurrence(m: RandomModel) -> Part:
    """A recurrent loop written by hand."""
    axis = m.axis()

    def part(x: Tensor) -> Tensor:
        steps, state = [], torch.zeros_like(x.select(axis, 0))
        for t in range(x.shape[axis]):
            state = torch.tanh(x.select(axis, t) + state)
            steps.append(state)
        return torch.stack(steps, axis)

    return part


def steps_joined(m: RandomModel) -> Part:
    axis = m.axis()
    cut = m.among(
        lambda x: x.split(1, axis), lambda x: x.chunk(2, axis), lambda x: x.tensor_split(3, axis)
    )
    return lambda x: torch.cat([one.tanh() for one in cut(x)], axis)


def halves_convolved(m: RandomModel) -> Part:
    axis, conv = m.axis(), m.conv(kernel=3)
    m.cut_off(2)
    return lambda x: torch.cat([conv(one) for one in x.chunk(2, axis)], axis)


def steps_written(m: RandomModel) -> Part:
    axis = m.axis()

    def part(x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for t in range(x.shape[axis]):
            y[(slice(None),) * axis + (t,)] = x.select(axis, t).tanh()
        return y

    return part


def rows_in_turn(m: RandomModel) -> Part:
    """Rows of two maps in turn."""
    axis, conv = m.axis(), m.conv()
    return lambda x: torch.stack([x, conv(x)], axis + 1).flatten(axis, axis + 1)


def stack_of_copies(m: RandomModel) -> Part:
    """Moved copies in a new dimension, and a kernel over them."""
    axis, by = m.axis(), m.random.randint(1, 2)
    weight = m.layer(nn.Linear(3, 1))

    def part(x: Tensor) -> Tensor:
        size = x.shape[axis] - 2 * by
        copies = [x.narrow(axis, at * by, size) for at in range(3)]
        return weight(torch.stack(copies, -1)).squeeze(-1)  # type: ignore[no-any-return]

    return part


# --- channels --------------------------------------------------------------------------------


def residual(m: RandomModel) -> Part:
    conv, put = m.conv(padding=m.among(0, 1)), together(m)
    return lambda x: put(x, conv(x))


def branches(m: RandomModel) -> Part:
    one, other, put = m.conv(), m.conv(), together(m, 3)
    pool = m.pick(F.max_pool1d, F.max_pool2d)
    return lambda x: put(one(x), other(x), pool(x, 3, 1, 1))


def coarser_branch(m: RandomModel) -> Part:
    conv, put = m.conv(), together(m)
    pool, mode = (
        m.pick(F.avg_pool1d, F.avg_pool2d),
        m.among("nearest", m.pick("linear", "bilinear")),
    )
    return lambda x: put(x, F.interpolate(conv(pool(x, 2)), scale_factor=2, mode=mode))


def skip_of_same_size(m: RandomModel) -> Part:
    """A U-Net's skip: the coarse map is brought to the size of the fine one."""
    down, put = m.conv(kernel=3, stride=2), together(m)
    return lambda x: put(x, F.interpolate(down(x), size=x.shape[2:]))


def split_concatenation(m: RandomModel) -> Part:
    conv, last = m.conv(), m.conv()

    def part(x: Tensor) -> Tensor:
        one, other = torch.cat([x, conv(x)], 1).split(CHANNELS, 1)
        return last(one) + other  # type: ignore[no-any-return]

    return part


def split_elsewhere(m: RandomModel) -> Part:
    """A concatenation that is split where no border is."""
    conv, last = m.conv(), m.conv(5, 3)

    def part(x: Tensor) -> Tensor:
        both = torch.cat([x, conv(x)], 1)
        one, other = both[:, :5], both[:, 5:]
        return torch.cat([last(one), other[:, :1]], 1)

    return part


def split_channels(m: RandomModel) -> Part:
    conv = m.conv(2, 2)
    return lambda x: torch.cat([conv(x[:, :2]), x[:, 2:]], 1)


def shuffle(m: RandomModel) -> Part:
    conv, last = m.conv(), m.conv(groups=2)

    def part(x: Tensor) -> Tensor:
        y = torch.cat([x[:, :2], conv(x)[:, 2:]], 1)
        y = y.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)
        return last(y)  # type: ignore[no-any-return]

    return part


def standardised(m: RandomModel) -> Part:
    return lambda x: (x - x.mean(1, keepdim=True)) / (1 + x.var(1, keepdim=True))


def turned(m: RandomModel) -> Part:
    """Work on a map that lies on its side."""
    if m.axes == 1:
        norm = m.layer(nn.LayerNorm(CHANNELS))
        return lambda x: norm(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]
    conv = m.conv()
    return lambda x: conv(x.transpose(2, 3)).transpose(2, 3)  # type: ignore[no-any-return]


def tokens(m: RandomModel) -> Part:
    dense, norm = m.layer(nn.Linear(CHANNELS, CHANNELS)), m.layer(nn.LayerNorm(CHANNELS))

    def part(x: Tensor) -> Tensor:
        several = norm(dense(x.flatten(2).transpose(1, 2)))
        return several.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]

    return part


def tokens_behind_a_class(m: RandomModel) -> Part:
    dense = m.layer(nn.Linear(CHANNELS, CHANNELS))

    def part(x: Tensor) -> Tensor:
        several = x.flatten(2).transpose(1, 2)
        several = dense(torch.cat([several.new_zeros(x.shape[0], 1, CHANNELS), several], 1))
        return several[:, 1:].transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]

    return part


# --- what sees everything --------------------------------------------------------------------


def attended(m: RandomModel) -> Part:
    causal = m.axes == 1 and m.among(False, True)
    m.weighs_with_zero |= causal

    def part(x: Tensor) -> Tensor:
        several = x.flatten(2).transpose(1, 2)
        several = F.scaled_dot_product_attention(several, several, several, is_causal=causal)
        return several.transpose(1, 2).reshape(x.shape)

    return part


def gate(m: RandomModel) -> Part:
    conv = m.conv(kernel=1)
    dims = tuple(range(2, 2 + m.axes))
    return lambda x: x * conv(x.mean(dims, keepdim=True)).sigmoid()


def gate_of_strips(m: RandomModel) -> Part:
    axis, conv = m.axis(), m.conv(kernel=1)
    return lambda x: x * conv(x.mean(axis, keepdim=True)).sigmoid()


def gate_of_places(m: RandomModel) -> Part:
    conv = m.conv(1, 1)
    return lambda x: x * conv(x.amax(1, keepdim=True)).sigmoid()


def pyramid(m: RandomModel) -> Part:
    pool = m.pick(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d)
    conv, mode = m.conv(kernel=1), m.among("nearest", m.pick("linear", "bilinear"))
    return lambda x: x + F.interpolate(conv(pool(x, 1)), size=x.shape[2:], mode=mode)


def summed_up(m: RandomModel) -> Part:
    axis = m.axis()
    return lambda x: x.cumsum(axis)


def recurrent(m: RandomModel) -> Part:
    both = m.among(False, True)
    layer = m.layer(nn.GRU(CHANNELS, 2 if both else 4, batch_first=True, bidirectional=both))

    def part(x: Tensor) -> Tensor:
        if m.axes == 1:
            return layer(x.transpose(1, 2))[0].transpose(1, 2)  # type: ignore[no-any-return]
        rows = x.permute(0, 2, 3, 1)
        steps = layer(rows.flatten(0, 1))[0]
        return steps.unflatten(0, rows.shape[:2]).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    return part


def behind_a_crop(m: RandomModel) -> Part:
    """What sees everything, on a map that lacks units at an end or between others."""
    axis, units = m.axis(), m.among(1, 2)
    left = m.among(slice(units, None), slice(None, -units), slice(None, None, 2))
    seen = m.among(summed_up, attended, recurrent)(m)
    mean = m.among(False, True)

    def part(x: Tensor) -> Tensor:
        x = x[(slice(None),) * axis + (left,)]
        return x - x.mean(axis, keepdim=True) if mean else seen(x)  # type: ignore[operator]

    return part


def of_rows(m: RandomModel) -> Part:
    """A dense layer over all units of an axis."""
    axis = m.axis()
    layer = m.layer(nn.Linear(m.shape[axis - 2], m.shape[axis - 2]))
    return lambda x: layer(x.transpose(axis, -1)).transpose(axis, -1)  # type: ignore[no-any-return]


def flipped(m: RandomModel) -> Part:
    axis, put = m.axis(), together(m)
    return lambda x: put(x, x.flip(axis))


def repeated(m: RandomModel) -> Part:
    axis = m.axis()
    return lambda x: x.repeat_interleave(2, axis)


def tiled(m: RandomModel) -> Part:
    axis = m.axis()
    return lambda x: torch.cat([x, x], axis)


# --- conditions ------------------------------------------------------------------------------


def _conditioned(m: RandomModel, function: Callable[[Tensor, Tensor], Tensor]) -> Conditioned:
    """Return a part that takes a new input without a place in the image."""
    m.conditions += 1
    return Conditioned(m.conditions - 1, function)


def _on_map(vector: Tensor, x: Tensor) -> Tensor:
    return vector[(...,) + (None,) * (x.dim() - 2)]


def condition_added(m: RandomModel) -> Conditioned:
    dense = m.layer(nn.Linear(FEATURES, CHANNELS))
    return _conditioned(m, lambda x, given: x + _on_map(dense(given), x))


def condition_as_film(m: RandomModel) -> Conditioned:
    dense = m.layer(nn.Linear(FEATURES, 2 * CHANNELS))

    def part(x: Tensor, given: Tensor) -> Tensor:
        scale, shift = _on_map(dense(given), x).chunk(2, 1)
        return x * (1 + scale) + shift

    return _conditioned(m, part)


def condition_joined(m: RandomModel) -> Conditioned:
    conv = m.conv(CHANNELS + FEATURES)

    def part(x: Tensor, given: Tensor) -> Tensor:
        spread = _on_map(given, x).expand(-1, -1, *x.shape[2:])
        return conv(torch.cat([x, spread], 1))  # type: ignore[no-any-return]

    return _conditioned(m, part)


def condition_of_time(m: RandomModel) -> Conditioned:
    dense = m.layer(nn.Linear(8, CHANNELS))

    def part(x: Tensor, given: Tensor) -> Tensor:
        angles = given[:, :1] * torch.arange(4).to(x)
        return x + _on_map(dense(torch.cat([angles.sin(), angles.cos()], 1)), x)

    return _conditioned(m, part)


def condition_as_token(m: RandomModel) -> Conditioned:
    """A vector put in front of the list of tokens, and taken off again."""
    dense = m.layer(nn.Linear(FEATURES, CHANNELS))

    def part(x: Tensor, given: Tensor) -> Tensor:
        several = torch.cat([dense(given)[:, None], x.flatten(2).transpose(1, 2)], 1)
        return several.tanh()[:, 1:].transpose(1, 2).reshape(x.shape)

    return _conditioned(m, part)


_MAKERS: tuple[Maker, ...] = (
    convolution, convolution, depthwise, padded_with, pooling, pooling, transposed, upsampling,
    normed, crop, crop_and_pad, negative_pad, reflection, chosen, moved_copies, moved_copies,
    moved_and_padded, shifted_channels, rolled, focus, patch_merging, every_other, differences,
    blocks_by_hand, blocks_in_front, blocks_of_both_axes, blocks_added, blocks_normed,
    out_of_channels, shuffled_pixels, taken_in_windows, unfolded, windows_mixed, shifted_windows,
    steps_stacked, steps_in_a_loop, recurrence, steps_joined, halves_convolved, steps_written,
    rows_in_turn, stack_of_copies, residual, residual, branches, coarser_branch, coarser_branch,
    skip_of_same_size, split_concatenation, split_elsewhere, split_channels, shuffle, standardised,
    turned, tokens, tokens_behind_a_class, attended, gate, gate_of_strips, gate_of_places, pyramid,
    summed_up, recurrent, of_rows, flipped, repeated, tiled, condition_added, condition_as_film,
    condition_joined, condition_of_time, condition_as_token,
)  # fmt: skip

_LATER: tuple[Maker, ...] = (*_MAKERS, windows_as_images, behind_a_crop)
"""What is made from seed 10,000 on: smaller seeds make the models that they always made."""

_BLENDING = {"upsampling", "coarser_branch", "pyramid"}
_REFLECTING = {"padded_with", "reflection"}


# --- the experiment --------------------------------------------------------------------------


def contradictions(seed: int) -> list[str]:
    """Return what an experiment says of a random model and the analysis does not.

    NaN reaches all that a unit reads, also what it weighs with 0 where maps are interpolated; a
    change reaches only what it sees, and is lost behind maxima at times. So no unit may see by NaN
    (by changes where maps are interpolated) what is not said, and where it is said exactly, one
    must see by NaN that much.
    """
    m = RandomModel(seed)
    shapes = ((1, CHANNELS, *m.sizes), *((1, FEATURES),) * m.conditions)
    graph = create_graph_from_pytorch_model(
        m, input_res=shapes if m.conditions else shapes[0], global_ops="count"
    )
    nodes = {node.module_path: node for node in graph.all_layers}
    wrong: list[str] = []
    for axis in range(m.axes):
        poisoned = [_flags(one.isnan(), axis) for one in _run(m, axis, torch.nan)]
        sees = poisoned
        if m.weighs_with_zero or _BLENDING.intersection(m.names):
            changed = _run(m, axis, 7.0)
            sees = [_flags(~torch.isclose(one, one[-1:], 1e-9, 1e-10), axis) for one in changed]
        for place, (most, least) in enumerate(zip(poisoned, sees, strict=True)):
            told = _compared(m, nodes[f"kept.{place}"], axis, most, least)
            wrong += [f"part {place} of {m.names}, axis {axis}: {one}" for one in told]
    return wrong


def _run(m: RandomModel, axis: int, poison: float) -> list[Tensor]:
    """Return all maps for images of which each is changed at one place, and for the plain one."""
    length = m.sizes[axis]
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, CHANNELS, *m.sizes, dtype=torch.float64, generator=generator) + 0.5
    images = image.repeat(length + 1, *(1,) * (m.axes + 1))
    for at in range(length):
        images[at].select(axis + 1, at).mul_(poison)
    maps: list[Tensor] = []
    hooks = [one.register_forward_hook(lambda _, __, made: maps.append(made)) for one in m.kept]
    with torch.no_grad():
        m(images, *[torch.ones(length + 1, FEATURES, dtype=torch.float64)] * m.conditions)
    for hook in hooks:
        hook.remove()
    return maps


def _flags(changed: Tensor, axis: int) -> Flags:
    """Return which unit changes with which place, of any channel, wherever on the other axis."""
    places = changed[:-1].movedim(axis + 2, 1).flatten(2)
    found: Flags = places.any(2).T.numpy()
    return found


def _compared(
    m: RandomModel, node: EnrichedNetworkNode, axis: int, most: Flags, least: Flags
) -> Iterator[str]:
    """Yield what is wrong: ``most`` is what units may see, ``least`` what they are sure to."""
    units = (node.feature_map or (len(least),) * m.axes)[axis]
    if units != len(least):
        if 1 in (node.feature_map or ()) and INF in node.receptive_field_max:  # type: ignore[operator]
            return  # features of whole rows, and what lies beside them
        yield f"it has {len(least)} units, the analysis says {node.feature_map}"
    reflects = not _REFLECTING.isdisjoint(m.names)
    yield from contradicted(node, axis, most, least, m.unseen, reflects)
