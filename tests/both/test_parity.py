"""The same small model in PyTorch and in Keras gives the same answers."""

from __future__ import annotations

import os
from typing import Any

import pytest

from rfa_toolbox import create_graph_from_pytorch_model, create_graph_from_tensorflow_model
from rfa_toolbox.graphs import EnrichedNetworkNode

if {"torch", "keras"} <= set(os.environ.get("RFA_TEST_REQUIRE", "").split()):
    import keras
    import torch
else:
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")

import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

SIZE = 32


class Network(nn.Module):
    """A function between two convolutions."""

    def __init__(self, function: Any, channels: int) -> None:
        super().__init__()
        self.function = function
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(channels, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.function(self.first(x)))
        return result


def keras_model(function: Any) -> Any:
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    x = function(keras.layers, keras.ops, x)
    return keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", name="last")(x))


def answers(graph: EnrichedNetworkNode) -> dict[str, Any]:
    """Return what a graph says of its last layer, and of tiles."""
    return {
        "fields": (graph.receptive_field_min, graph.receptive_field_max),
        "jump": graph.get_maximum_scale_factor(),
        "certainty": graph.certainty,
        "window": graph.window,
        "tiles": not any(node.layer_info.position_dependent for node in graph.all_layers),
    }


def half_by_half(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x[:, :, :16], x[:, :, 16:]], 2)


def less_its_windows(x: torch.Tensor) -> torch.Tensor:
    y = x.reshape(1, 4, 8, 4, 8, 4)
    return (y - y.mean((3, 5), keepdim=True)).reshape(1, 4, 32, 32)


def less_its_windows_in_keras(k: Any, o: Any, x: Any) -> Any:
    y = o.reshape(x, (-1, 8, 4, 8, 4, 4))
    return o.reshape(y - o.mean(y, (2, 4), keepdims=True), (-1, 32, 32, 4))


def blocks_in_channels(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(1, 4, 16, 2, 16, 2).permute(0, 1, 3, 5, 2, 4).reshape(1, 16, 16, 16)


def blocks_in_channels_in_keras(k: Any, o: Any, x: Any) -> Any:
    y = o.transpose(o.reshape(x, (-1, 16, 2, 16, 2, 4)), (0, 1, 3, 2, 4, 5))
    return o.reshape(y, (-1, 16, 16, 16))


def attended(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    y = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return y.transpose(1, 2).reshape(1, 4, 32, 32)


def attended_in_keras(k: Any, o: Any, x: Any) -> Any:
    tokens = o.reshape(x, (-1, 1024, 4))
    return o.reshape(k.Attention()([tokens, tokens]), (-1, 32, 32, 4))


def normalised(x: torch.Tensor) -> torch.Tensor:
    return x / (x.pow(2).mean((2, 3), keepdim=True) + 1).sqrt()


def normalised_in_keras(k: Any, o: Any, x: Any) -> Any:
    return x / o.sqrt(o.mean(o.square(x), (1, 2), keepdims=True) + 1)


def two_rows_in_keras(k: Any, o: Any, x: Any) -> Any:
    rows = o.unstack(x, axis=1)
    return o.expand_dims(rows[0] + rows[5], 1)


def lower_triangle_in_keras(k: Any, o: Any, x: Any) -> Any:
    return o.transpose(o.tril(o.transpose(x, (0, 3, 1, 2))), (0, 2, 3, 1))


CASES: dict[str, tuple[Any, Any, int]] = {
    "every second": (lambda x: x[:, :, ::2, ::2], lambda k, o, x: x[:, ::2, ::2, :], 4),
    "minus a row": (lambda x: x - x[:, :, :1], lambda k, o, x: x - x[:, :1], 4),
    "plus its mirror image": (lambda x: x + x.flip(2), lambda k, o, x: x + o.flip(x, 1), 4),
    "plus itself rolled": (lambda x: x + x.roll(3, 2), lambda k, o, x: x + o.roll(x, 3, 1), 4),
    "padded": (
        lambda x: F.pad(x, (1, 1, 1, 1)),
        lambda k, o, x: o.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
        4,
    ),
    "its halves put together": (
        half_by_half,
        lambda k, o, x: o.concatenate([x[:, :16], x[:, 16:]], 1),
        4,
    ),
    "twice, one under the other": (
        lambda x: torch.cat([x, x], 2),
        lambda k, o, x: o.concatenate([x, x], 1),
        4,
    ),
    "its lower triangle": (torch.tril, lower_triangle_in_keras, 4),
    "sums of rows": (lambda x: x.cumsum(2), lambda k, o, x: o.cumsum(x, 1), 4),
    "minus its mean": (
        lambda x: x - x.mean((2, 3), keepdim=True),
        lambda k, o, x: x - o.mean(x, (1, 2), keepdims=True),
        4,
    ),
    "by its norm": (normalised, normalised_in_keras, 4),
    "rows twice": (lambda x: x.repeat_interleave(2, 2), lambda k, o, x: o.repeat(x, 2, 1), 4),
    "rows by an index": (
        lambda x: x.index_select(2, torch.arange(31, -1, -1)),
        lambda k, o, x: o.take(x, list(range(31, -1, -1)), axis=1),
        4,
    ),
    "minus means of windows": (less_its_windows, less_its_windows_in_keras, 4),
    "blocks put into channels": (blocks_in_channels, blocks_in_channels_in_keras, 16),
    "the first of every block": (
        lambda x: x.reshape(1, 4, 16, 2, 32)[:, :, :, 0],
        lambda k, o, x: o.reshape(x, (-1, 16, 2, 32, 4))[:, :, 0],
        4,
    ),
    "adaptive pooling": (
        lambda x: F.adaptive_avg_pool2d(x, 7),
        lambda k, o, x: k.AdaptiveAveragePooling2D(7)(x),
        4,
    ),
    "bilinear": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        lambda k, o, x: k.UpSampling2D(2, interpolation="bilinear")(x),
        4,
    ),
    "resized": (
        lambda x: F.interpolate(x, size=(48, 48), mode="nearest-exact"),
        lambda k, o, x: k.Resizing(48, 48, interpolation="nearest")(x),
        4,
    ),
    "attention": (attended, attended_in_keras, 4),
    "plus ones": (
        lambda x: x + torch.ones(1, 4, 32, 32),
        lambda k, o, x: x + o.ones((1, 32, 32, 4)),
        4,
    ),
    "plus a pooling of all": (
        lambda x: F.max_pool2d(x, 32) + x[:, :, :1, :1],
        lambda k, o, x: k.MaxPooling2D(32)(x) + x[:, :1, :1],
        4,
    ),
    "the sum of two rows": (
        lambda x: (x.unbind(2)[0] + x.unbind(2)[5]).unsqueeze(2),
        two_rows_in_keras,
        4,
    ),
    "sorted": (lambda x: x.sort(2)[0], lambda k, o, x: o.sort(x, 1), 4),
    "rows times rows": (
        lambda x: torch.einsum("bchw,bcvw->bchv", x, x),
        lambda k, o, x: o.einsum("bhwc,bvwc->bhvc", x, x),
        4,
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "channels"), CASES.values(), ids=CASES)
def test_both_frameworks_give_the_same_answers(ours: Any, theirs: Any, channels: int) -> None:
    one = Network(ours, channels).eval()
    other = create_graph_from_tensorflow_model(keras_model(theirs))
    assert answers(create_graph_from_pytorch_model(one, None, (1, 3, SIZE, SIZE))) == answers(other)
