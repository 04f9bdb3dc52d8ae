"""Tiles of Keras models give what the whole image gives, or there is no plan for them.

On which side each network is stands here: a plan that is refused without need is as wrong as one
that changes the result.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rfa_toolbox.analysis import tile_plan
from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_model
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError

SIZE = 48
TILE_SIZES = (12, 18, 24, 33)


@pytest.fixture
def double(keras: Any) -> Iterator[Any]:
    """Keras with layers that calculate in double precision."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    single = keras.backend.backend() == "jax"  # unless it is told otherwise
    if single:
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield keras
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])
    if single:
        importlib.import_module("jax").config.update("jax_enable_x64", False)


def model_of(keras: Any, build: Any, size: int | None) -> Any:
    image = keras.Input((size, size, 2))
    return keras.Model(image, build(keras.layers, keras.ops, image))


def with_random_weights(model: Any) -> Any:
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, one.shape) for one in model.get_weights()])
    return model


def conv(k: Any, **options: Any) -> Any:
    return k.Conv2D(2, 3, **{"padding": "same", **options})


def layer(name: str, *arguments: Any, **keywords: Any) -> Any:
    """A layer behind a convolution."""
    return lambda k, o, x: getattr(k, name)(*arguments, **keywords)(conv(k)(x))


def padded(amount: int, mode: str) -> Any:
    return lambda k, o, x: conv(k, padding="valid")(
        o.pad(x, [[0, 0], [amount] * 2, [amount] * 2, [0, 0]], mode=mode)
    )


def coordinates() -> Any:
    return np.linspace(0, 1, SIZE).reshape(1, SIZE, 1, 1)


def small_network(k: Any, o: Any, x: Any) -> Any:
    x = k.ReLU()(k.BatchNormalization()(k.ZeroPadding2D(1)(k.Rescaling(2.0, 1.0)(x))))
    x = k.MaxPooling2D(3, 2, padding="same")(k.DepthwiseConv2D(3, strides=2, padding="same")(x))
    x = k.UpSampling2D(4, interpolation="bilinear")(conv(k, dilation_rate=2)(x))
    return k.PReLU(shared_axes=[1, 2])(x)


def cropped_and_padded(k: Any, o: Any, x: Any) -> Any:
    return conv(k)(k.ZeroPadding2D(((3, 0), (0, 3)))(k.Cropping2D(((3, 0), (0, 3)))(conv(k)(x))))


def sliced_and_padded(k: Any, o: Any, x: Any) -> Any:
    return conv(k)(o.pad(conv(k)(x)[:, 3:, :-3], [[0, 0], [3, 0], [0, 3], [0, 0]]))


def cropped_skip(k: Any, o: Any, x: Any) -> Any:
    return k.Concatenate()(
        [k.Cropping2D(2)(x), conv(k, padding="valid")(conv(k, padding="valid")(x))]
    )


TILED = {
    "a small network": small_network,
    "transposed convolution": layer("Conv2DTranspose", 2, 4, strides=2, padding="same"),
    "separable convolution": layer("SeparableConv2D", 2, 3, strides=2),
    "average pooling": layer("AveragePooling2D", 3, 2, padding="same"),
    "nearest": layer("UpSampling2D", 2),
    "bilinear": layer("UpSampling2D", 2, interpolation="bilinear"),
    "normalised per channel": layer("Normalization", mean=[0.1, 0.2], variance=[1.0, 2.0]),
    "norm of channels": lambda k, o, x: conv(k)(k.LayerNormalization()(x)),
    "a number per channel": lambda k, o, x: conv(k)(x * np.array([2.0, 3.0])),
    "a number": lambda k, o, x: conv(k)(2.0 * x + 1.0),
    "a matrix for channels": lambda k, o, x: conv(k)(o.matmul(x, np.array([[2.0, 3.0], [1.0, 0]]))),
    "channels rolled": lambda k, o, x: conv(k)(o.roll(x, 1, -1)),
    "channels flipped": lambda k, o, x: conv(k)(o.flip(x, -1)),
    "channels split": lambda k, o, x: k.Add()(o.split(conv(k)(x), 2, -1)),
    "a channel": lambda k, o, x: conv(k)(x[..., :1]),
    "einsum of channels": layer("EinsumDense", "abcd,de->abce", (None, None, 3), bias_axes="e"),
    "padded with a number": padded(2, "constant"),
    "cropped, then padded": cropped_and_padded,
    "sliced, then padded": sliced_and_padded,
    "a cropped skip": cropped_skip,
    "stacked": lambda k, o, x: conv(k)(o.sum(o.stack([x, conv(k)(x)], -1), -1)),
    "stacked, channels in front": lambda k, o, x: conv(k)(
        o.transpose(o.sum(o.stack([o.transpose(x, (0, 3, 1, 2))] * 2, -1), -1), (0, 2, 3, 1))
    ),
    "strided": lambda k, o, x: conv(k)(x[:, 1::2, ::2]),
    "swapped and back": lambda k, o, x: k.Permute((2, 1, 3))(
        k.Conv2D(2, (3, 5), padding="same")(k.Permute((2, 1, 3))(conv(k)(x)))
    ),
    "repeated at last": lambda k, o, x: o.repeat(o.repeat(conv(k)(x), 2, axis=1), 2, axis=2),
    "summed over channels": lambda k, o, x: conv(k)(x / o.sum(o.abs(x), axis=-1, keepdims=True)),
}  # fmt: skip

REFUSED = {
    "its axes swapped and added": lambda k, o, x: k.Add()([x, k.Permute((2, 1, 3))(x)]),
    "transposed and added": lambda k, o, x: conv(k)(x + o.transpose(x, (0, 2, 1, 3))),
    "transposed and multiplied": lambda k, o, x: k.Multiply()(
        [conv(k)(x), o.transpose(x, (0, 2, 1, 3))]
    ),
    "transposed beside": lambda k, o, x: conv(k)(k.Concatenate()([x, k.Permute((2, 1, 3))(x)])),
    "transposed and stacked": lambda k, o, x: o.sum(o.stack([x, o.swapaxes(x, 1, 2)], -1), -1),
    "an einsum with itself transposed": lambda k, o, x: o.einsum("bhwc,bwhc->bhwc", x, x),
    "columns in front of rows": lambda k, o, x: k.Permute((2, 1, 3))(conv(k)(x)),
    "one of its outputs swapped": lambda k, o, x: (conv(k)(x), o.swapaxes(conv(k)(x), 1, 2))[::-1],
    "as a row of pixels": lambda k, o, x: k.Reshape((-1, 2))(conv(k)(x)),
    "columns put together again": lambda k, o, x: conv(k)(o.stack(o.unstack(x, axis=2), axis=2)),
    "one column": lambda k, o, x: conv(k)(x)[:, :, 7],
    "every row with one": lambda k, o, x: conv(k)(x - x[:, 5][:, None]),
    "flipped and added": lambda k, o, x: x + o.flip(x, 1),
    "roll": lambda k, o, x: conv(k)(o.roll(x, 4, 1)),
    "roll as one row": lambda k, o, x: conv(k)(o.roll(x, 5)),
    "flip": lambda k, o, x: conv(k)(o.flip(x, 1)),
    "flip by a slice": lambda k, o, x: conv(k)(x[:, ::-1]),
    "coordinates added": lambda k, o, x: conv(k)(x + coordinates()),
    "coordinates in front": lambda k, o, x: conv(k)(o.multiply(coordinates(), x)),
    "coordinates beside": lambda k, o, x: conv(k)(
        o.concatenate([x, np.tile(coordinates(), (1, 1, SIZE, 1))], -1)
    ),
    "coordinates stacked": lambda k, o, x: conv(k)(
        o.sum(o.stack([x, np.tile(coordinates(), (1, 1, SIZE, 2))], -1), -1)
    ),
    "embedding of places": lambda k, o, x: conv(k)(
        x + k.Reshape((SIZE, 1, 2))(k.Embedding(SIZE, 2)(o.reshape(o.arange(SIZE), (1, SIZE))))
    ),
    "a matrix per row": lambda k, o, x: o.matmul(
        conv(k)(x), np.arange(SIZE * 6.0).reshape(SIZE, 2, 3)
    ),
    "where": lambda k, o, x: conv(k)(o.where(coordinates() > 0.3, x, -x)),
    "tril": lambda k, o, x: o.tril(o.transpose(conv(k)(x), (0, 3, 1, 2))),
    "einsum with a number per row": layer(
        "EinsumDense", "abcd,bde->abce", (SIZE, SIZE, 3), bias_axes=None
    ),
    "a bias per row": layer("EinsumDense", "abcd,de->abce", (SIZE, SIZE, 3), bias_axes="be"),
    "PReLU per pixel": layer("PReLU"),
    "PReLU per row": layer("PReLU", shared_axes=[2]),
    "a batch norm per row": layer("BatchNormalization", axis=1),
    "normalised per row": layer("Normalization", axis=1, mean=[0.5] * SIZE, variance=[1.0] * SIZE),
    "norm of the map": layer("LayerNormalization", axis=[1, 2, 3]),
    "circular": padded(1, "wrap"),
    "symmetric": padded(6, "symmetric"),
    "reflect more than the layer sees": padded(6, "reflect"),
    "zeros behind": lambda k, o, x: conv(k)(o.concatenate([x, o.zeros((1, SIZE, 4, 2))], 2)),
    "side by side": lambda k, o, x: o.concatenate([x, conv(k)(x)], 2),
    "resized to a size": layer("Resizing", 24, 24),
    "resized to its own size": layer("Resizing", SIZE, SIZE),
    "image.resize": lambda k, o, x: o.image.resize(conv(k)(x), (24, 24)),
    "padded to a size": lambda k, o, x: o.image.pad_images(
        conv(k)(x), 1, 1, target_height=50, target_width=50
    ),
    "cropped in the middle": layer("CenterCrop", 20, 20),
    "so many pixels": lambda k, o, x: conv(k)(conv(k)(x)[:, :20]),
    "the last pixels": lambda k, o, x: conv(k)(conv(k)(x)[:, -20:]),
    "a slice of a size": lambda k, o, x: o.slice(conv(k)(x), (0, 3, 0, 0), (1, 20, SIZE, 2)),
    "one row": lambda k, o, x: conv(k)(x)[:, 5],
    "one row taken away": lambda k, o, x: conv(k)(x - x[:, :1]),
    "one row, by take": lambda k, o, x: o.take(conv(k)(x), 5, axis=1),
    "rows by an index": lambda k, o, x: o.take(conv(k)(x), [3, 2, 1], axis=1),
    "halves": lambda k, o, x: k.Add()(o.split(conv(k)(x), 2, 1)),
    "batch norm by numbers per row": lambda k, o, x: o.batch_normalization(
        conv(k)(x), o.zeros(SIZE), o.ones(SIZE), axis=1
    ),
}  # fmt: skip


@pytest.mark.parametrize("build", [pytest.param(one, id=name) for name, one in TILED.items()])
def test_tiles_put_together_are_the_whole(double: Any, build: Any) -> None:
    graph = create_graph_from_model(model_of(double, build, SIZE))
    model = with_random_weights(model_of(double, build, None))
    image = np.random.default_rng(1).normal(size=(1, SIZE, SIZE, 2))

    def run(part: Any) -> Any:
        return double.ops.convert_to_numpy(model(part, training=False))

    # On JAX, norms are calculated in single precision whatever the layer's.
    exact = 1e-5 if double.backend.backend() == "jax" else 1e-9
    whole = run(image)
    most = 0
    for size in TILE_SIZES:
        try:
            plan = tile_plan(graph, SIZE, size)
        except InvalidResolutionError:  # too small for the margins of this network
            continue
        most = max(most, len(plan.tiles))
        result = np.full_like(whole, np.nan)
        for tile in plan.tiles:
            result[(..., *tile.target, slice(None))] = run(image[(..., *tile.source, slice(None))])[
                (..., *tile.keep, slice(None))
            ]
        np.testing.assert_allclose(result, whole, rtol=0, atol=exact)
    assert most > 1


@pytest.mark.parametrize("build", [pytest.param(one, id=name) for name, one in REFUSED.items()])
def test_what_tiles_would_change_is_refused(double: Any, build: Any) -> None:
    graph = create_graph_from_model(model_of(double, build, SIZE))
    refusal = "depends on the whole image, its size, or the pla|see the whole image"
    with pytest.raises(InvalidGraphError, match=refusal):
        tile_plan(graph, SIZE, 24)


def test_replication_has_a_plan(keras: Any) -> None:
    """Not every backend runs it."""
    graph = create_graph_from_model(model_of(keras, padded(2, "edge"), SIZE))
    assert len(tile_plan(graph, SIZE, 24).tiles) > 1


@pytest.mark.parametrize(
    "one",
    [
        ("LocallyConnected2D", {"kernel_size": [3, 3], "filters": 2}),
        ("Equalization", {}),
        ("AutoContrast", {}),
    ],
)
def test_layers_that_keras_cannot_put_into_a_model_here_are_refused(encode: Any, one: Any) -> None:
    graph = encode((SIZE, SIZE, 2), ("Conv2D", {"kernel_size": [3, 3], "filters": 2}), one)
    with pytest.raises(InvalidGraphError, match=one[0]):
        tile_plan(graph, SIZE, 24)
