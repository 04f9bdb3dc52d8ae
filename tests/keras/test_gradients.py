"""Receptive fields of Keras models by gradients, on the backend that Keras runs with."""

from __future__ import annotations

from typing import Any

import pytest

from rfa_toolbox.empirical import (
    compare_with_random_weights,
    effective_receptive_field,
    gradient_map,
    measure_receptive_field,
    reinitialised,
)
from rfa_toolbox.errors import MeasurementError, UnsupportedModelError


def keras_network(keras: Any) -> Any:
    layers = keras.layers
    keras.utils.set_random_seed(0)  # weights with which rectifiers hide no pixel
    return keras.Sequential(
        [
            keras.Input((96, 96, 3)),
            layers.Conv2D(4, 5, activation="relu"),
            layers.Conv2D(4, 3),
            layers.MaxPooling2D(2),
            layers.Conv2D(6, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(6, 3),
            layers.AveragePooling2D(2),
            layers.Conv2D(8, 3),
            layers.Conv2D(8, 3, name="feature_grid"),
        ]
    )


def test_a_keras_model_is_measured_and_left_as_it_was(keras: Any) -> None:
    model = keras_network(keras)
    weights = [one.copy() for one in model.get_weights()]
    attributes = [set(vars(one)) for one in model.layers]
    field = measure_receptive_field(model, method="gradient")["feature_grid"]
    assert (field.start, field.size, field.jump) == ((0, 0), (34, 34), (4, 4))
    assert field.output_shape == (1, 16, 16, 8)
    assert field.kind == "Conv2D"
    seen = gradient_map(model, layer="feature_grid")
    assert seen.extent == ((32, 65), (32, 65))
    assert attributes == [set(vars(one)) for one in model.layers]
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))


def test_a_keras_model_of_depthwise_layers_with_same_padding(keras: Any) -> None:
    layers = keras.layers
    image = keras.Input((64, 64, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Add(name="add")([x, layers.SeparableConv2D(4, 3, padding="same")(x)])
    model = keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    by_gradient = measure_receptive_field(model, method="gradient")
    assert by_gradient["depthwise"].size == (7, 7)
    assert by_gradient["add"].size == (11, 11)
    structural = measure_receptive_field(model)
    for name in ("depthwise", "add"):
        assert by_gradient[name].start == structural[name].start
        assert by_gradient[name].size == structural[name].size


def test_every_call_of_a_keras_layer_is_measured(keras: Any) -> None:
    shared = keras.layers.Conv2D(2, 3, name="shared")
    image = keras.Input((40, 40, 2))
    model = keras.Model(image, shared(keras.layers.MaxPooling2D(2)(shared(image))))
    found = measure_receptive_field(model, (1, 40, 40, 2), method="gradient")
    assert [(one.name, one.size) for one in found if "shared" in one.name] == [
        ("shared", (3, 3)),
        ("shared#2", (8, 8)),
    ]
    assert gradient_map(model, layer="shared#2", neutralise=True).layer == "shared#2"


def test_layers_of_nested_keras_models_have_paths(keras: Any) -> None:
    layers = keras.layers
    inner = keras.Sequential([keras.Input((None, None, 2)), layers.Conv2D(2, 3, name="conv")])
    inner.name = "inner"
    image = keras.Input((32, 32, 2))
    model = keras.Model(image, inner(layers.Conv2D(2, 3)(image)))
    assert gradient_map(model, layer="inner/conv").extent == ((14, 18), (14, 18))
    with pytest.raises(MeasurementError, match="inner/conv"):
        gradient_map(model, layer="inner.conv")


class TestSubclassedKeras:
    def model(self, keras: Any) -> Any:
        class Own(keras.Model):
            def __init__(self) -> None:
                super().__init__(name="own")
                self.conv = keras.layers.Conv2D(2, 5, name="conv")

            def call(self, x: Any) -> Any:
                return keras.ops.max(self.conv(x), axis=-1)

        return Own()

    def test_is_measured_as_it_is(self, keras: Any) -> None:
        found = gradient_map(self.model(keras), layer="conv", input_shape=(1, 16, 16, 2))
        assert found.extent == ((6, 10), (6, 10))

    def test_needs_an_input_shape(self, keras: Any) -> None:
        with pytest.raises(MeasurementError, match="pass input_shape"):
            gradient_map(self.model(keras), layer="conv")

    def test_has_no_neutral_copy(self, keras: Any) -> None:
        with pytest.raises(UnsupportedModelError, match="own"):
            measure_receptive_field(self.model(keras), (1, 16, 16, 2), method="gradient")


def test_an_effective_field(keras: Any) -> None:
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(8, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(8, 3, padding="same", name="last"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    found = effective_receptive_field(model, samples=4)
    assert (found.layer, found.map_size, found.position) == ("last", (16, 16), (8, 8))
    assert found.input_shape == (32, 32, 3)
    assert found.square(1).side in (9, 11)  # windows of 10 pixels have no pixel in the middle
    again = effective_receptive_field(model, samples=4)
    assert (again.contribution == found.contribution).all()
    both = compare_with_random_weights(model, samples=2)
    assert both["as given"].samples == 2
    one, two = reinitialised(model, 3), reinitialised(model, 3)
    assert all((a == b).all() for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    assert (one.get_weights()[0] != model.get_weights()[0]).any()
