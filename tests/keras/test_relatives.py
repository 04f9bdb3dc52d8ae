"""Parts of concatenations, choices and recurrences of Keras models, as an experiment sees them."""

from __future__ import annotations

from typing import Any

import pytest

from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.empirical import verify


def network(keras: Any, shape: tuple[int, ...], made: Any) -> Any:
    image = keras.Input(shape)
    convolution = (keras.layers.Conv1D, keras.layers.Conv2D)[len(shape) - 2]
    return keras.Model(image, made(convolution(4, 3, padding="same")(image)))


def put_together(keras: Any, x: Any) -> Any:
    near = keras.layers.Conv2D(2, 1)(x)
    return keras.layers.Concatenate()([near, keras.layers.Conv2D(2, 5, padding="same")(x)])


@pytest.mark.parametrize("indices", [[0, 1], [1, 0], [0]])
def test_channels_of_a_concatenation_taken_by_an_index_are_a_bound(
    keras: Any, indices: list[int]
) -> None:
    model = network(
        keras, (24, 20, 4), lambda x: keras.ops.take(put_together(keras, x), indices, axis=-1)
    )
    graph = create_graph_from_tensorflow_model(model)
    assert (graph.receptive_field_max, graph.certainty) == ((7, 7), "bound")
    assert verify(model).ok


def test_patches_that_are_put_back_where_they_were_are_a_bound(keras: Any) -> None:
    ops = keras.ops

    def there_and_back(x: Any) -> Any:
        patches = ops.reshape(ops.image.extract_patches(x, (4, 4), strides=4), (-1, 6, 5, 4, 4, 4))
        rows = ops.reshape(ops.transpose(patches, (0, 1, 3, 2, 4, 5)), (-1, 24, 20, 4))
        return keras.layers.Conv2D(4, 3, padding="same")(rows)

    model = network(keras, (24, 20, 4), there_and_back)
    assert create_graph_from_tensorflow_model(model).certainty == "bound"
    assert verify(model).ok


def test_what_a_choice_hides_from_nan_does_not_differ(keras: Any) -> None:
    convolution = keras.layers.Conv2D(4, 3, padding="same")
    model = network(keras, (24, 20, 4), lambda x: keras.ops.where(x > 0, x, convolution(x)))
    report = verify(model)
    assert report.ok, report
    assert report.nodes[-1].verdict == "not measured"
    assert "where" in report.nodes[-1].reason


def test_a_weight_of_every_place_has_its_places_among_channels(keras: Any) -> None:
    def weighed(x: Any) -> Any:
        scores = keras.ops.reshape(keras.layers.Conv2D(1, 1)(x), (-1, 480))
        return x * keras.ops.reshape(keras.ops.softmax(scores), (-1, 24, 20, 1))

    report = verify(network(keras, (24, 20, 4), weighed))
    assert report.ok, report
    assert report.nodes[-1].verdict == "agrees"


def test_a_recurrent_convolution_looks_back_along_time(keras: Any) -> None:
    def recurrent(x: Any) -> Any:
        return keras.layers.ConvLSTM1D(2, 3, padding="same", return_sequences=True)(x)

    image = keras.Input((6, 20, 4))
    graph = create_graph_from_tensorflow_model(keras.Model(image, recurrent(image)))
    time, place = graph.unit_windows
    assert (time.firsts, time.lasts) == ((-float("inf"),), (0,))
    assert (place.firsts, place.lasts) == ((-6,), (6,))
