"""The same architecture gives the same numbers, whichever framework it was built in."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from rfa_toolbox import (
    EnrichedNetworkNode,
    create_graph_from_pytorch_model,
    create_graph_from_tensorflow_model,
    input_resolution_range,
)

if {"torch", "keras"} <= set(os.environ.get("RFA_TEST_REQUIRE", "").split()):
    import keras
    import torch
else:
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")

from torch import nn
from torch.nn import functional

Numbers = dict[str, tuple[Any, ...]]


def numbers(graph: EnrichedNetworkNode, names: set[str]) -> Numbers:
    """Return fields, jump and certainty of the nodes that both frameworks name alike."""
    return {
        node.name: (
            node.receptive_field_min,
            node.receptive_field_max,
            node.get_maximum_scale_factor(),
            node.certainty,
        )
        for node in graph.all_layers
        if node.name in names
    }


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 5, stride=2)
        self.b = nn.Conv2d(4, 4, 3, dilation=2)
        self.pool = nn.MaxPool2d(3, 2)
        self.c = nn.Conv2d(4, 4, (3, 1))
        self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
        self.up = nn.ConvTranspose2d(4, 4, 4, stride=2)
        self.d = nn.Conv2d(4, 4, 3)
        self.dense = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        x = self.c(self.pool(self.b(self.a(x))))
        x = self.d(self.up(self.depthwise(x)))
        return self.dense(x.mean((2, 3)))


def plain_in_keras() -> Any:
    layers = keras.layers
    x = image = keras.Input((64, 64, 3))
    x = layers.Conv2D(4, 5, strides=2, name="a")(x)
    x = layers.Conv2D(4, 3, dilation_rate=2, name="b")(x)
    x = layers.MaxPooling2D(3, 2, name="pool")(x)
    x = layers.Conv2D(4, (3, 1), name="c")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 4, strides=2, name="up")(x)
    x = layers.Conv2D(4, 3, name="d")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(2, name="dense")(x))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.down = nn.AvgPool2d(2)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(4, 4, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2)
        self.smooth = nn.Upsample(scale_factor=2, mode="bilinear")
        self.d = nn.Conv2d(12, 4, 3, padding=1)
        self.e = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Any) -> Any:
        high = self.a(x)
        low = self.c(self.b(self.down(high)))
        merged = torch.cat([high, self.up(low), self.smooth(low)], 1)
        return self.e(self.d(merged))


def unet_in_keras() -> Any:
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    high = layers.Conv2D(4, 3, padding="same", name="a")(image)
    low = layers.AveragePooling2D(2, name="down")(high)
    low = layers.Conv2D(4, 3, padding="same", name="b")(low)
    low = layers.Conv2D(4, 3, padding="same", name="c")(low)
    up = layers.UpSampling2D(2, name="up")(low)
    smooth = layers.UpSampling2D(2, interpolation="bilinear", name="smooth")(low)
    x = layers.Concatenate()([high, up, smooth])
    x = layers.Conv2D(4, 3, padding="same", name="d")(x)
    return keras.Model(image, layers.Conv2D(4, 3, padding="same", name="e")(x))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 7, stride=2, padding=3)
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1)
        self.squeeze = nn.Conv2d(4, 2, 1)
        self.excite = nn.Conv2d(2, 4, 1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        y = self.b(functional.relu(self.a(x)))
        gate = self.excite(functional.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        return self.last(x + y * gate)


def residual_in_keras() -> Any:
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(4, 7, strides=2, padding="same", name="stem")(image)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(x)
    y = layers.Conv2D(4, 3, padding="same", name="b")(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(2, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Add()([x, layers.Multiply()([y, gate])])
    return keras.Model(image, layers.Conv2D(4, 3, padding="same", name="last")(x))


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv1d(3, 3, 3, dilation=2)
        self.pool = nn.MaxPool1d(2)
        self.last = nn.Conv1d(3, 3, 5)

    def forward(self, x: Any) -> Any:
        return self.last(self.pool(self.shared(self.shared(x))))


def shared_in_keras() -> Any:
    layers = keras.layers
    signal = keras.Input((64, 3))
    shared = layers.Conv1D(3, 3, dilation_rate=2, name="shared")
    x = layers.MaxPooling1D(2, name="pool")(shared(shared(signal)))
    return keras.Model(signal, layers.Conv1D(3, 5, name="last")(x))


PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any], tuple[int, ...], str]] = {
    "plain": (Plain, plain_in_keras, (1, 3, 64, 64), "a b pool c depthwise up d dense"),
    "unet": (UNet, unet_in_keras, (1, 3, 64, 64), "a down b c up smooth d e"),
    "residual": (Residual, residual_in_keras, (1, 3, 64, 64), "stem a b last"),
    "shared": (Shared, shared_in_keras, (1, 3, 64), "shared shared#2 pool last"),
}


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    keras.backend.clear_session()


@pytest.mark.parametrize("pair", PAIRS)
def test_every_layer_has_the_same_numbers_in_both_frameworks(pair: str) -> None:
    in_torch, in_keras, shape, text = PAIRS[pair]
    names = set(text.split())
    first = numbers(create_graph_from_pytorch_model(in_torch().eval(), input_res=shape), names)
    second = numbers(create_graph_from_tensorflow_model(in_keras()), names)
    assert set(first) == names
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("in_torchvision", "application"),
    [
        ("vgg16", "VGG16"),
        ("vgg19", "VGG19"),
        ("densenet121", "DenseNet121"),
        ("mobilenet_v2", "MobileNetV2"),
        ("efficientnet_b0", "EfficientNetB0"),
        ("inception_v3", "InceptionV3"),
    ],
)
@pytest.mark.parametrize("lower_bound", [False, True])
def test_published_networks_have_the_same_range_in_both_frameworks(
    torchvision: Any, in_torchvision: str, application: str, lower_bound: bool
) -> None:
    quick = {"init_weights": False} if in_torchvision == "inception_v3" else {}
    model = torchvision.models.get_model(in_torchvision, weights=None, **quick).eval()
    first = create_graph_from_pytorch_model(model)
    second = create_graph_from_tensorflow_model(
        getattr(keras.applications, application)(weights=None)
    )
    assert input_resolution_range(first, lower_bound=lower_bound) == input_resolution_range(
        second, lower_bound=lower_bound
    )


class TwiceGated(nn.Module):
    """One gate, used for a map and for its activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.squeeze = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = self.a(x)
        gate = self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.last(x * gate + functional.relu(x) * gate)


def test_a_gate_that_is_used_twice_is_neutral_in_both_frameworks() -> None:
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(4, 3, padding="same", name="a")(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="squeeze")(gate)
    both = [layers.Multiply()([x, gate]), layers.Multiply()([layers.ReLU()(x), gate])]
    model = keras.Model(image, layers.Conv2D(4, 3, padding="same")(layers.Add()(both)))
    first = create_graph_from_pytorch_model(TwiceGated().eval(), input_res=(1, 3, 64, 64))
    second = create_graph_from_tensorflow_model(model)
    assert first.receptive_field_max == second.receptive_field_max == (5, 5)
