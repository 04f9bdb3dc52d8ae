"""Experiments on models of Keras that they once refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfa_toolbox.analysis import tile_plan
from rfa_toolbox.empirical import effective_receptive_field, verify
from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_model
from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import DEFAULT_HANDLERS
from rfa_toolbox.errors import InvalidResolutionError, UnsupportedModelError
from rfa_toolbox.graphs import LayerDefinition
from tests.keras.conftest import keras

__all__ = ["keras"]


def two_images_and_a_vector(keras: Any) -> Any:
    layers = keras.layers
    left, right = keras.Input((64, 64, 3), name="left"), keras.Input((64, 64, 1), name="right")
    vector = keras.Input((5,), name="vector")
    maps = [layers.Conv2D(4, size, padding="same")(x) for size, x in ((3, left), (7, right))]
    weight = layers.Reshape((1, 1, 4))(layers.Dense(4)(vector))
    image = layers.Multiply(name="multiply")([layers.Add(name="sum")(maps), weight])
    return keras.Model([vector, left, right], layers.Conv2D(2, 3, name="last")(image))


def test_a_model_with_several_inputs(keras: Any) -> None:
    report = verify(two_images_and_a_vector(keras), max_length=512)
    assert report.ok
    nodes = {one.name: one for one in report.nodes}
    assert (nodes["last"].verdict, nodes["last"].size) == ("agrees", (9, 9))
    assert nodes["vector"].verdict == "not measured"
    assert [nodes[name].verdict for name in ("left", "right", "sum")] == ["agrees"] * 3
    with pytest.raises(InvalidResolutionError, match=r"\['vector', 'left', 'right'\]"):
        verify(two_images_and_a_vector(keras), [(1, 5), (1, 64, 64, 3)])


def test_one_of_several_inputs_has_an_effective_field(keras: Any) -> None:
    shapes = {"vector": (1, 5), "left": (1, 32, 32, 3), "right": (1, 32, 32, 1)}
    for name, side in (("left", 3), ("right", 7)):
        field = effective_receptive_field(
            two_images_and_a_vector(keras),
            layer="sum",
            input_shape={**shapes, "left": (1, 64, 64, 3), "right": (1, 64, 64, 1)},
            input=name,
            samples=2,
        )
        seen = np.argwhere(field.contribution)  # squares lie around the median of random weights
        assert tuple(np.ptp(seen, axis=0) + 1) == (side, side)


def test_a_subclassed_model_is_called_on_symbolic_tensors(keras: Any) -> None:
    layers = keras.layers

    class Subclassed(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = layers.Conv2D(4, 3, 2), layers.Conv2D(4, 3)

        def call(self, x: Any) -> Any:
            return self.second(keras.ops.relu(self.first(x)))

    report = verify(Subclassed(), (1, 64, 64, 3), max_length=512)
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert report.nodes[-1].size == (7, 7)
    with pytest.raises(UnsupportedModelError, match="Pass input_shape"):
        verify(Subclassed())


class Handler:
    """Describes a layer of the user's, rightly or not."""

    def __init__(self, kernel: int) -> None:
        self.kernel = kernel

    def can_handle(self, call: Any, /) -> bool:
        return str(call.class_name).endswith("Blur")

    def __call__(self, call: Any, /) -> LayerDefinition:
        return LayerDefinition("Blur", kernel_size=self.kernel, padding=0)


@pytest.mark.parametrize(("kernel", "agrees"), [(3, True), (5, False)])
def test_a_chain_of_handlers_is_held_against_the_experiment(
    keras: Any, kernel: int, agrees: bool
) -> None:
    class Blur(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return keras.ops.average_pool(x, 3, 1)

    model = keras.Sequential(
        [keras.Input((64, 64, 3)), Blur(name="blur"), keras.layers.Conv2D(2, 3)]
    )
    chain = DEFAULT_HANDLERS.with_handler(Handler(kernel))
    report = verify(model, handlers=chain, max_length=512)
    assert report.ok is agrees
    (blur,) = (one for one in report.nodes if one.kind == "Blur")
    assert (blur.size, blur.expected_size) == ((3, 3), (kernel, kernel))


CROPPED = {
    "crop, pad": lambda layers: [
        layers.Cropping2D(((3, 2), (0, 0))),
        layers.ZeroPadding2D(((3, 2), (0, 0))),
    ],
    "same, crop": lambda layers: [layers.Conv2D(4, 3, padding="same"), layers.Cropping2D(2)],
    "crop": lambda layers: [layers.Cropping2D(((3, 2), (0, 0)))],
}


@pytest.mark.parametrize("name", CROPPED)
@pytest.mark.parametrize("size", [None, 96])
def test_tiles_behind_a_crop_are_right_also_where_the_size_is_open(
    keras: Any, name: str, size: int | None
) -> None:
    layers = keras.layers
    image = x = keras.Input((size, 64, 3))
    for layer in (*CROPPED[name](layers), layers.Conv2D(2, 3)):
        x = layer(x)
    plan = tile_plan(create_graph_from_model(keras.Model(image, x)), (96, 64), (48, 64))
    opened = keras.Model(image, x) if size is None else None
    if opened is None:
        free = y = keras.Input((None, None, 3))
        for layer in (*CROPPED[name](layers), layers.Conv2D(2, 3)):
            y = layer(y)
        opened = keras.Model(free, y)
    pixels = np.random.default_rng(0).normal(size=(1, 96, 64, 3)).astype("float32")
    whole = opened.predict(pixels, verbose=0)
    result = np.full_like(whole, np.nan)
    for tile in plan.tiles:
        made = opened.predict(pixels[(slice(None), *tile.source)], verbose=0)
        result[(slice(None), *tile.target)] = made[(slice(None), *tile.keep)]
    assert len(plan.tiles) > 1
    assert np.abs(result - whole).max() < 1e-5


def test_what_a_mask_hides_is_measured_by_differences(keras: Any) -> None:
    layers = keras.layers
    image = keras.Input((64, 8))
    x = layers.Conv1D(8, 3, padding="same")(image)
    seen = {}
    for causal in (True, False):
        attention = layers.MultiHeadAttention(1, 8)(x, x, use_causal_mask=causal)
        model = keras.Model(image, layers.Conv1D(2, 3, name="last")(attention))
        seen[causal] = verify(model, max_length=128).nodes[-1].verdict
    assert seen == {True: "agrees", False: "agrees"}
