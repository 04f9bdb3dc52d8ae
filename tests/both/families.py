"""Small models by family of operator, each written in PyTorch and in Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import keras
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

SIZES = {1: (32,), 2: (32, 32), 3: (12, 12, 12)}
CHANNELS = 4


@attrs.frozen
class Case:
    """What is done between two convolutions.

    Attributes:
        name: family and arguments.
        ours: a module, or a function of a map of 4 channels, channels first.
        theirs: a function of the layers and operations of Keras and of the same map, channels last.
        channels: how many there are behind it.
        rank: number of spatial axes.
    """

    name: str
    ours: Any
    theirs: Callable[[Any, Any, Any], Any]
    channels: int = CHANNELS
    rank: int = 2


class Network(nn.Module):
    """A case between two convolutions."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[case.rank - 1]
        self.first = convolution(3, CHANNELS, 3, padding=1)
        self.function = case.ours
        self.last = convolution(case.channels, CHANNELS, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.function(self.first(x)))
        return result


def keras_model(case: Case) -> Any:
    """Return the same network in Keras."""
    convolution = getattr(keras.layers, f"Conv{case.rank}D")
    image = keras.Input((*SIZES[case.rank], 3))
    x = convolution(CHANNELS, 3, padding="same", name="first")(image)
    x = case.theirs(keras.layers, keras.ops, x)
    return keras.Model(image, convolution(CHANNELS, 3, padding="same", name="last")(x))


def shape_of(case: Case) -> tuple[int, ...]:
    """Return the shape of the image of a case."""
    return (1, 3, *SIZES[case.rank])


def _to_last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)


def _to_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 3, 1, 2)


class OnChannels(nn.Module):
    """A layer that has channels last, on a map that has them in front."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _to_first(self.layer(_to_last(x)))


class Branches(nn.Module):
    """Several layers on the same map, put together."""

    def __init__(self, together: Callable[..., torch.Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.together = nn.ModuleList(layers), together

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.together(*(layer(x) for layer in self.layers))


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Attention(nn.Module):
    """Attention over all positions, or within square windows."""

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, batch_first=True)
        self.window = window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, w = _to_last(x), self.window
        if w is None:
            tokens = y.reshape(1, 1024, 4)
            seen: torch.Tensor = self.inner(tokens, tokens, tokens, need_weights=False)[0]
            return _to_first(seen.reshape(1, 32, 32, 4))
        n = 32 // w
        tokens = y.reshape(n, w, n, w, 4).permute(0, 2, 1, 3, 4).reshape(n * n, w * w, 4)
        seen = self.inner(tokens, tokens, tokens, need_weights=False)[0]
        grid = seen.reshape(n, n, w, w, 4).permute(0, 2, 1, 3, 4).reshape(1, 32, 32, 4)
        return _to_first(grid)


def _attention_in_keras(window: int | None) -> Callable[[Any, Any, Any], Any]:
    def theirs(k: Any, o: Any, x: Any) -> Any:
        layer = k.MultiHeadAttention(2, 2)
        if window is None:
            tokens = o.reshape(x, (-1, 1024, 4))
            return o.reshape(layer(tokens, tokens), (-1, 32, 32, 4))
        w, n = window, 32 // window
        y = o.transpose(o.reshape(x, (-1, n, w, n, w, 4)), (0, 1, 3, 2, 4, 5))
        tokens = o.reshape(y, (-1, w * w, 4))
        y = o.reshape(layer(tokens, tokens), (-1, n, n, w, w, 4))
        return o.reshape(o.transpose(y, (0, 1, 3, 2, 4, 5)), (-1, 32, 32, 4))

    return theirs


class Sequence(nn.Module):
    """A recurrent layer over positions."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x.transpose(1, 2))[0].transpose(1, 2)
        return result


def _convolutions() -> Iterator[Case]:
    for k, s, d in ((1, 1, 1), (2, 1, 1), (3, 2, 1), (5, 3, 1), (3, 1, 2), (3, 1, 3), (7, 4, 1)):
        yield Case(
            f"convolution {k}/{s}/{d}",
            nn.Conv2d(4, 4, k, s, 0, d),
            lambda layers, o, x, k=k, s=s, d=d: layers.Conv2D(4, k, strides=s, dilation_rate=d)(x),
        )
    for k, d in ((2, 1), (3, 1), (5, 2), (4, 1)):
        yield Case(
            f"convolution of the same size {k}/{d}",
            nn.Conv2d(4, 4, k, padding="same", dilation=d),
            lambda layers, o, x, k=k, d=d: layers.Conv2D(4, k, padding="same", dilation_rate=d)(x),
        )
    for k in ((1, 7), (3, 1)):
        yield Case(
            f"convolution {k}",
            nn.Conv2d(4, 4, k),
            lambda layers, o, x, k=k: layers.Conv2D(4, k)(x),
        )
    for k, s in ((3, 1), (3, 2), (5, 2)):
        yield Case(
            f"depthwise convolution {k}/{s}",
            nn.Conv2d(4, 4, k, s, groups=4),
            lambda layers, o, x, k=k, s=s: layers.DepthwiseConv2D(k, strides=s)(x),
        )
    yield Case(
        "separable convolution",
        nn.Sequential(nn.Conv2d(4, 4, 3, 2, groups=4), nn.Conv2d(4, 4, 1)),
        lambda layers, o, x: layers.SeparableConv2D(4, 3, strides=2)(x),
    )
    yield Case(
        "grouped convolution",
        nn.Conv2d(4, 4, 3, groups=2),
        lambda layers, o, x: layers.Conv2D(4, 3, groups=2)(x),
    )
    for k, s in ((2, 2), (3, 2), (4, 2), (3, 1), (5, 3)):
        yield Case(
            f"transposed convolution {k}/{s}",
            nn.ConvTranspose2d(4, 4, k, s),
            lambda layers, o, x, k=k, s=s: layers.Conv2DTranspose(4, k, strides=s)(x),
        )
    yield Case(
        "transposed convolution of twice the size",
        nn.ConvTranspose2d(4, 4, 4, 2, 1),
        lambda layers, o, x: layers.Conv2DTranspose(4, 4, strides=2, padding="same")(x),
    )
    for k, s, d in ((3, 1, 1), (5, 2, 1), (3, 1, 4)):
        yield Case(
            f"convolution of one axis {k}/{s}/{d}",
            nn.Conv1d(4, 4, k, s, 0, d),
            lambda layers, o, x, k=k, s=s, d=d: layers.Conv1D(4, k, strides=s, dilation_rate=d)(x),
            rank=1,
        )
    yield Case(
        "causal convolution",
        nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), nn.Conv1d(4, 4, 3, dilation=2)),
        lambda layers, o, x: layers.Conv1D(4, 3, dilation_rate=2, padding="causal")(x),
        rank=1,
    )
    yield Case(
        "transposed convolution of one axis",
        nn.ConvTranspose1d(4, 4, 4, 3),
        lambda layers, o, x: layers.Conv1DTranspose(4, 4, strides=3)(x),
        rank=1,
    )
    for k, s in ((3, 1), ((1, 3, 3), 2)):
        yield Case(
            f"convolution of three axes {k}/{s}",
            nn.Conv3d(4, 4, k, s),  # type: ignore[arg-type]
            lambda layers, o, x, k=k, s=s: layers.Conv3D(4, k, strides=s)(x),
            rank=3,
        )


def _poolings() -> Iterator[Case]:
    for k, s in ((2, 2), (3, 2), (3, 1), (5, 3), ((1, 2), (1, 2))):
        yield Case(
            f"largest of {k}/{s}",
            nn.MaxPool2d(k, s),  # type: ignore[arg-type]
            lambda layers, o, x, k=k, s=s: layers.MaxPooling2D(k, s)(x),
        )
        yield Case(
            f"mean of {k}/{s}",
            nn.AvgPool2d(k, s),  # type: ignore[arg-type]
            lambda layers, o, x, k=k, s=s: layers.AveragePooling2D(k, s)(x),
        )
    yield Case(
        "largest of 3 of the same size",
        nn.MaxPool2d(3, 1, 1),
        lambda layers, o, x: layers.MaxPooling2D(3, 1, padding="same")(x),
    )
    for size in (1, 4, 7, 16):
        yield Case(
            f"mean to {size}",
            nn.AdaptiveAvgPool2d(size),
            lambda layers, o, x, size=size: layers.AdaptiveAveragePooling2D(size)(x),
        )
    yield Case(
        "largest to 5",
        nn.AdaptiveMaxPool2d(5),
        lambda layers, o, x: layers.AdaptiveMaxPooling2D(5)(x),
    )
    yield Case(
        "largest of all",
        nn.AdaptiveMaxPool2d(1),
        lambda layers, o, x: layers.GlobalMaxPooling2D(keepdims=True)(x),
    )
    for k, s in ((2, 2), (5, 3)):
        yield Case(
            f"largest of one axis {k}/{s}",
            nn.MaxPool1d(k, s),
            lambda layers, o, x, k=k, s=s: layers.MaxPooling1D(k, s)(x),
            rank=1,
        )
    yield Case(
        "mean of three axes",
        nn.AvgPool3d(2),
        lambda layers, o, x: layers.AveragePooling3D(2)(x),
        rank=3,
    )


def _sizes() -> Iterator[Case]:
    for mode in ("nearest", "bilinear"):
        for by in (2, 3):
            yield Case(
                f"{mode} by {by}",
                nn.Upsample(scale_factor=by, mode=mode),
                lambda layers, o, x, by=by, mode=mode: layers.UpSampling2D(by, interpolation=mode)(
                    x
                ),
            )
    yield Case(
        "nearest of one of the axes",
        nn.Upsample(scale_factor=(1, 2)),  # type: ignore[arg-type]
        lambda layers, o, x: layers.UpSampling2D((1, 2))(x),
    )
    yield Case(
        "nearest of one axis",
        nn.Upsample(scale_factor=2),
        lambda layers, o, x: layers.UpSampling1D(2)(x),
        rank=1,
    )
    for begin, end in ((1, 0), (2, 3)):
        yield Case(
            f"padding {begin}, {end}",
            nn.ZeroPad2d((begin, end, begin, end)),
            lambda layers, o, x, p=(begin, end): layers.ZeroPadding2D((p, p))(x),
        )
        yield Case(
            f"cropping {begin}, {end}",
            nn.ZeroPad2d((-begin, -end, -begin, -end)),
            lambda layers, o, x, p=(begin, end): layers.Cropping2D((p, p))(x),
        )
    yield Case(
        "reflection",
        nn.ReflectionPad2d(2),
        lambda layers, o, x: o.pad(x, [[0, 0], [2, 2], [2, 2], [0, 0]], "reflect"),
    )
    for start, stop, step in ((0, 32, 3), (1, 32, 2), (4, 20, 1), (0, 31, 1)):
        yield Case(
            f"rows {start}:{stop}:{step}",
            lambda x, a=start, b=stop, c=step: x[:, :, a:b:c],
            lambda layers, o, x, a=start, b=stop, c=step: x[:, a:b:c],
        )
    for by in (1, -5):
        yield Case(
            f"roll by {by}",
            lambda x, by=by: x.roll(by, 2),
            lambda layers, o, x, by=by: o.roll(x, by, 1),
        )
    yield Case("mirrored", lambda x: x.flip(3), lambda layers, o, x: o.flip(x, 2))
    yield Case(
        "axes swapped",
        lambda x: x.transpose(2, 3),
        lambda layers, o, x: o.transpose(x, (0, 2, 1, 3)),
    )
    yield Case(
        "tiled", lambda x: x.repeat(1, 1, 2, 1), lambda layers, o, x: o.tile(x, (1, 2, 1, 1))
    )
    yield Case(
        "columns twice",
        lambda x: x.repeat_interleave(2, 3),
        lambda layers, o, x: o.repeat(x, 2, 2),
    )


def _reductions() -> Iterator[Case]:
    for name in ("mean", "sum", "amax"):
        theirs = {"amax": "max"}.get(name, name)
        for axis in (2, 3):
            yield Case(
                f"{theirs} over axis {axis - 2}",
                lambda x, name=name, axis=axis: getattr(x, name)(axis, keepdim=True),
                lambda layers, o, x, name=theirs, axis=axis: getattr(o, name)(
                    x, axis - 1, keepdims=True
                ),
            )
    yield Case(
        "largest of channels",
        lambda x: x.amax(1, keepdim=True),
        lambda layers, o, x: o.max(x, 3, keepdims=True),
        channels=1,
    )
    yield Case(
        "by the sum of channels",
        lambda x: x / (x.abs().sum(1, keepdim=True) + 1),
        lambda layers, o, x: x / (o.sum(o.abs(x), 3, keepdims=True) + 1),
    )
    yield Case("sums of columns", lambda x: x.cumsum(3), lambda layers, o, x: o.cumsum(x, 2))
    yield Case("softmax of rows", lambda x: x.softmax(2), lambda layers, o, x: o.softmax(x, 1))
    yield Case("gate", Gate(), _gate_in_keras)
    yield Case(
        "gate of places",
        lambda x: x * x.mean(1, keepdim=True).sigmoid(),
        lambda layers, o, x: x * o.sigmoid(o.mean(x, 3, keepdims=True)),
    )
    yield Case(
        "contrast",
        lambda x: x - F.avg_pool2d(x, 3, 1, 1),
        lambda layers, o, x: x - layers.AveragePooling2D(3, 1, padding="same")(x),
    )


def _gate_in_keras(k: Any, o: Any, x: Any) -> Any:
    y = k.GlobalAveragePooling2D(keepdims=True)(x)
    y = k.Conv2D(4, 1, activation="sigmoid")(k.Conv2D(2, 1, activation="relu")(y))
    return x * y


def _positions_alone() -> Iterator[Case]:
    yield Case("batch norm", nn.BatchNorm2d(4), lambda layers, o, x: layers.BatchNormalization()(x))
    yield Case(
        "group norm", nn.GroupNorm(2, 4), lambda layers, o, x: layers.GroupNormalization(2)(x)
    )
    yield Case(
        "layer norm",
        OnChannels(nn.LayerNorm(4)),
        lambda layers, o, x: layers.LayerNormalization()(x),
    )
    yield Case("dense", OnChannels(nn.Linear(4, 4)), lambda layers, o, x: layers.Dense(4)(x))
    yield Case("dropout", nn.Dropout(), lambda layers, o, x: layers.Dropout(0.5)(x))
    for ours, theirs in (
        (nn.ReLU(), "relu"),
        (nn.GELU(), "gelu"),
        (nn.Softmax(1), "softmax"),
        (nn.SiLU(), "silu"),
        (nn.LeakyReLU(), "leaky_relu"),
    ):
        yield Case(
            f"activation {theirs}",
            ours,
            lambda layers, o, x, name=theirs: layers.Activation(name)(x),
        )
    yield Case("clipped", lambda x: x.clamp(-1, 1), lambda layers, o, x: o.clip(x, -1, 1))
    yield Case(
        "where positive",
        lambda x: torch.where(x > 0, x, x * 2),
        lambda layers, o, x: o.where(x > 0, x, x * 2),
    )
    yield Case(
        "exponents", lambda x: x.exp() + x.square(), lambda layers, o, x: o.exp(x) + o.square(x)
    )
    yield Case("scaled", lambda x: 2 * x - 1, lambda layers, o, x: 2 * x - 1)


def _branches() -> Iterator[Case]:
    def pair() -> tuple[nn.Module, nn.Module]:
        return nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 5, padding=2)

    def theirs(k: Any, x: Any) -> list[Any]:
        return [k.Conv2D(4, size, padding="same")(x) for size in (3, 5)]

    for name, together, layer in (
        ("sum", torch.add, "Add"),
        ("product", torch.mul, "Multiply"),
        ("difference", torch.sub, "Subtract"),
        ("larger", torch.maximum, "Maximum"),
        ("mean", lambda a, b: (a + b) / 2, "Average"),
    ):
        yield Case(
            f"{name} of branches",
            Branches(together, *pair()),
            lambda layers, o, x, layer=layer: getattr(layers, layer)()(theirs(layers, x)),
        )
    yield Case(
        "branches side by side",
        Branches(lambda a, b: torch.cat([a, b], 1), *pair()),
        lambda layers, o, x: layers.Concatenate()(theirs(layers, x)),
        channels=8,
    )
    yield Case(
        "branches in rows",
        Branches(lambda a, b: torch.cat([a, b], 2), nn.ReLU(), nn.Sigmoid()),
        lambda layers, o, x: o.concatenate([o.relu(x), o.sigmoid(x)], 1),
    )
    yield Case("short cut", lambda x: x + F.max_pool2d(x, 3, 1, 1), _short_cut_in_keras)
    yield Case(
        "channels in another order",
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda layers, o, x: o.concatenate(o.split(x, 2, 3)[::-1], 3),
    )
    yield Case(
        "half of the channels",
        lambda x: x[:, :2],
        lambda layers, o, x: x[..., :2],
        channels=2,
    )
    yield Case(
        "stacked",
        lambda x: torch.stack([x, x.relu()], 1).mean(1),
        lambda layers, o, x: o.mean(o.stack([x, o.relu(x)], 1), 1),
    )
    yield Case(
        "rows moved against each other",
        lambda x: x[:, :, 1:] - x[:, :, :-1],
        lambda layers, o, x: x[:, 1:] - x[:, :-1],
    )
    yield Case(
        "blocks of 3 rows apart",
        lambda x: x[:, :, 3:] + x[:, :, :-3],
        lambda layers, o, x: x[:, 3:] + x[:, :-3],
    )


def _short_cut_in_keras(k: Any, o: Any, x: Any) -> Any:
    return x + k.MaxPooling2D(3, 1, padding="same")(x)


def _mixing() -> Iterator[Case]:
    yield Case("attention", Attention(), _attention_in_keras(None))
    for window in (4, 8):
        yield Case(
            f"attention in windows of {window}", Attention(window), _attention_in_keras(window)
        )
    yield Case(
        "rows by a matrix of columns",
        lambda x: torch.einsum("bchw,bcvw->bchv", x, x),
        lambda layers, o, x: o.einsum("bhwc,bvwc->bhvc", x, x),
    )
    yield Case(
        "channels by each other",
        lambda x: torch.einsum("bchw,bdhw->bcd", x, x).reshape(1, 4, 4, 1),
        lambda layers, o, x: o.reshape(o.einsum("bhwc,bhwd->bcd", x, x), (-1, 4, 1, 4)),
    )
    yield Case(
        "matrices of rows",
        lambda x: x @ x.transpose(2, 3),
        lambda layers, o, x: o.einsum("bhwc,bvwc->bhvc", x, x),
    )
    for name, ours in (("GRU", nn.GRU), ("LSTM", nn.LSTM)):
        yield Case(
            f"sequence of {name}",
            Sequence(ours(4, 4, batch_first=True)),
            lambda layers, o, x, name=name: getattr(layers, name)(4, return_sequences=True)(x),
            rank=1,
        )
    yield Case(
        "patches into channels",
        lambda x: x.reshape(1, 4, 8, 4, 8, 4).permute(0, 1, 3, 5, 2, 4).reshape(1, 64, 8, 8),
        lambda layers, o, x: o.reshape(
            o.transpose(o.reshape(x, (-1, 8, 4, 8, 4, 4)), (0, 1, 3, 2, 4, 5)), (-1, 8, 8, 64)
        ),
        channels=64,
    )
    yield Case(
        "there and back",
        lambda x: x.flatten(2).reshape(1, 4, 32, 32),
        lambda layers, o, x: o.reshape(o.reshape(x, (-1, 1024, 4)), (-1, 32, 32, 4)),
    )


class DilatedPyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.near = nn.ModuleList([nn.Conv2d(4, 2, 3, padding=d, dilation=d) for d in (1, 3, 5)])
        self.whole = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, 32, 32)
        return torch.cat([*(layer(x) for layer in self.near), whole], 1)


class PlaceGate(nn.Module):
    """Weighs places by the mean and the largest of their channels, and of those around them."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.look(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return x * seen.sigmoid()


class AxisGates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = self.rows(x.mean(3, keepdim=True)), self.columns(x.mean(2, keepdim=True))
        return x * rows.sigmoid() * columns.sigmoid()


class Mixed(nn.Module):
    """A dense layer over the last axis, added to what it reads, or multiplied with it."""

    def __init__(self, together: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.dense, self.together = nn.Linear(32, 32), together

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.together(x, self.dense(x))


class Context(nn.Module):
    """Adds one sum over all places, weighed by a softmax over them."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh, self.turn = nn.Conv2d(4, 1, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.weigh(x).reshape(1, 1024, 1).softmax(1)
        return x + self.turn((x.reshape(1, 4, 1024) @ weights).reshape(1, 4, 1, 1))


def _context_in_keras(k: Any, o: Any, x: Any) -> Any:
    weights = o.softmax(o.reshape(k.Conv2D(1, 1)(x), (-1, 1024, 1)), 1)
    seen = o.matmul(o.transpose(o.reshape(x, (-1, 1024, 4)), (0, 2, 1)), weights)
    return x + k.Conv2D(4, 1)(o.reshape(seen, (-1, 1, 1, 4)))


class HalfConvolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept, other = x.chunk(2, 1)
        return torch.cat([kept, self.layer(other)], 1)


def _half_convolved_in_keras(k: Any, o: Any, x: Any) -> Any:
    kept, other = o.split(x, 2, -1)
    return o.concatenate([kept, k.Conv2D(2, 5, padding="same")(other)], -1)


class RowsAsChannels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv1d(128, 128, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(x.reshape(1, 128, 32)).reshape(1, 4, 32, 32)
        return result


def _rows_as_channels_in_keras(k: Any, o: Any, x: Any) -> Any:
    rows = o.reshape(o.transpose(x, (0, 2, 1, 3)), (-1, 32, 128))
    seen = o.reshape(k.Conv1D(128, 5, padding="same")(rows), (-1, 32, 32, 4))
    return o.transpose(seen, (0, 2, 1, 3))


def _masked(allowed: Any) -> tuple[Any, Any]:
    """Return attention by hand behind a mask, in both frameworks."""
    mask = np.where(allowed, 0, -1e9).astype("float32")

    def ours(x: torch.Tensor) -> torch.Tensor:
        tokens = x.transpose(1, 2)
        return ((tokens @ x + torch.tensor(mask)).softmax(-1) @ tokens).transpose(1, 2)

    def theirs(k: Any, o: Any, x: Any) -> Any:
        return o.matmul(o.softmax(o.matmul(x, o.transpose(x, (0, 2, 1))) + mask), x)

    return ours, theirs


def _designs() -> Iterator[Case]:
    places = np.arange(32)
    apart = places[:, None] - places[None]
    for name, allowed in (
        ("causal attention", apart >= 0),
        ("attention in a band", abs(apart) <= 3),
        ("attention in blocks", places[:, None] // 8 == places[None] // 8),
    ):
        yield Case(name, *_masked(allowed), rank=1)
    yield Case(
        "shuffle of one axis",
        lambda x: x.reshape(1, 2, 2, 32).permute(0, 1, 3, 2).reshape(1, 2, 64),
        lambda k, o, x: o.reshape(x, (-1, 64, 2)),
        channels=2,
        rank=1,
    )
    yield Case(
        "pooled pyramid",
        lambda x: torch.cat(
            [x, F.interpolate(F.avg_pool2d(x, 8), scale_factor=8, mode="bilinear")], 1
        ),
        lambda k, o, x: k.Concatenate()(
            [x, k.UpSampling2D(8, interpolation="bilinear")(k.AveragePooling2D(8)(x))]
        ),
        channels=8,
    )
    yield Case(
        "dilated pyramid",
        DilatedPyramid(),
        lambda k, o, x: k.Concatenate()(
            [
                *(k.Conv2D(2, 3, padding="same", dilation_rate=d)(x) for d in (1, 3, 5)),
                o.broadcast_to(k.Conv2D(2, 1)(o.mean(x, (1, 2), keepdims=True)), (1, 32, 32, 2)),
            ]
        ),
        channels=8,
    )
    yield Case(
        "gate of what is around",
        PlaceGate(),
        lambda k, o, x: (
            x
            * o.sigmoid(
                k.Conv2D(1, 7, padding="same")(
                    o.concatenate([o.mean(x, -1, keepdims=True), o.max(x, -1, keepdims=True)], -1)
                )
            )
        ),
    )
    yield Case(
        "gates per axis",
        AxisGates(),
        lambda k, o, x: (
            x
            * o.sigmoid(k.Conv2D(4, 1)(o.mean(x, 2, keepdims=True)))
            * o.sigmoid(k.Conv2D(4, 1)(o.mean(x, 1, keepdims=True)))
        ),
    )
    yield Case(
        "gate of all places",
        Mixed(torch.mul),
        lambda k, o, x: x * o.transpose(k.Dense(32)(o.transpose(x, (0, 2, 1))), (0, 2, 1)),
        rank=1,
    )
    yield Case(
        "dense over columns",
        Mixed(torch.add),
        lambda k, o, x: x + o.transpose(k.Dense(32)(o.transpose(x, (0, 1, 3, 2))), (0, 1, 3, 2)),
    )
    yield Case(
        "every other place into channels",
        lambda x: torch.cat([x[:, :, i::2, j::2] for j in (0, 1) for i in (0, 1)], 1),
        lambda k, o, x: o.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1),
        channels=16,
    )
    yield Case(
        "differences of rows",
        lambda x: F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 1, 0)),
        lambda k, o, x: o.pad(x[:, 1:] - x[:, :-1], [[0, 0], [1, 0], [0, 0], [0, 0]]),
    )
    yield Case(
        "sequence of both ways",
        Sequence(nn.LSTM(4, 2, batch_first=True, bidirectional=True)),
        lambda k, o, x: k.Bidirectional(k.LSTM(2, return_sequences=True))(x),
        rank=1,
    )
    yield Case("context of all places", Context(), _context_in_keras)
    yield Case("half of it convolved", HalfConvolved(), _half_convolved_in_keras)
    yield Case("rows as channels", RowsAsChannels(), _rows_as_channels_in_keras)


FAMILIES = {
    case.name: case
    for family in (
        _convolutions,
        _poolings,
        _sizes,
        _reductions,
        _positions_alone,
        _branches,
        _mixing,
        _designs,
    )
    for case in family()
}
