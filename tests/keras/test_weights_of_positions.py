"""Products of a map: gates that are the same at all positions, and masks that are not."""

from __future__ import annotations

from typing import Any

import pytest

from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.empirical import verify

INF = float("inf")
SIZE = (12, 10)
COUNT = SIZE[0] * SIZE[1]


def spatial_unit(layers: Any, x: Any) -> Any:
    """The gating unit of gMLP: every position gets a weight of its own from all others."""
    tokens = layers.Reshape((COUNT, 4))(x)
    turned = layers.Dense(COUNT)(layers.Permute((2, 1))(tokens))
    return layers.Multiply()([tokens, layers.Permute((2, 1))(turned)])


def flattened_mask(layers: Any, x: Any) -> Any:
    mask = layers.Dense(COUNT)(layers.Flatten()(x))
    return layers.Multiply()([x, layers.Reshape((*SIZE, 1))(mask)])


def pooled_mask(layers: Any, x: Any) -> Any:
    mask = layers.Dense(COUNT)(layers.GlobalAveragePooling2D()(x))
    return layers.Multiply()([x, layers.Reshape((*SIZE, 1))(mask)])


def gate(layers: Any, x: Any) -> Any:
    weight = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, layers.Dense(4, activation="sigmoid")(weight)])


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (spatial_unit, (INF, INF)),
        (flattened_mask, (INF, INF)),
        (pooled_mask, (INF, INF)),
        (gate, (3, 3)),
    ],
)
def test_only_a_weight_of_all_positions_is_neutral(keras: Any, made: Any, size: Any) -> None:
    layers = keras.layers
    image = keras.Input((*SIZE, 4))
    model = keras.Model(image, made(layers, layers.Conv2D(4, 3, padding="same")(image)))
    graph = create_graph_from_tensorflow_model(model)
    assert (graph.receptive_field_max, graph.certainty) == (size, "exact")
    report = verify(model)
    assert {one.verdict for one in report.nodes} == {"agrees"}, str(report)


@pytest.mark.parametrize("made", ["split", "slice"])
def test_a_part_of_a_concatenation_sees_no_more_than_is_said(keras: Any, made: str) -> None:
    layers, ops = keras.layers, keras.ops
    image = keras.Input((30, 20, 4))
    both = [layers.Conv2D(2, 1)(image), layers.Conv2D(2, 5, padding="same")(image)]
    joined = layers.Concatenate()(both)
    part = ops.split(joined, 2, axis=-1)[0] if made == "split" else joined[..., :2]
    model = keras.Model(image, layers.Conv2D(3, 3)(part))
    graph = create_graph_from_tensorflow_model(model)
    assert graph.receptive_field_max == (3, 3) or graph.certainty == "bound"
    assert verify(model).ok


def test_a_shuffle_of_one_axis_is_the_map_that_is_left(keras: Any) -> None:
    layers = keras.layers
    signal = keras.Input((30, 4))
    coarse = layers.Conv1D(4, 3, padding="same", strides=2)(signal)
    model = keras.Model(signal, layers.Conv1D(2, 3)(layers.Reshape((30, 2))(coarse)))
    node = create_graph_from_tensorflow_model(model).all_layers[2]
    assert (node.feature_map, node.window.jump, node.certainty) == ((30,), (1,), "exact")
    assert {one.verdict for one in verify(model).nodes} == {"agrees"}
