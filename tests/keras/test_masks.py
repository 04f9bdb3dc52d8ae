"""Masks that are constants hide positions and taps of Keras models, as differences show."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

if "keras" in os.environ.get("RFA_TEST_REQUIRE", "").split():
    import keras
else:
    keras = pytest.importorskip("keras")

from keras import layers, ops

from rfa_toolbox import create_graph_from_keras_json, create_graph_from_tensorflow_model
from rfa_toolbox.empirical import measure_receptive_field, verify

INF = math.inf
LENGTH = 24
PLACES = np.arange(LENGTH)
APART = PLACES[:, None] - PLACES[None]
MASKS: dict[str, tuple[Any, float, float, str]] = {
    "a band": (np.abs(APART) <= 2, 3, 3, "exact"),
    "what is in front": (APART >= 0, INF, 1, "exact"),
    "what is behind": (APART <= 0, 1, INF, "exact"),
    "two bands": ((APART == 0) | (APART == 3), 4, 1, "bound"),
    "everything": (APART < LENGTH, INF, INF, "exact"),
}
"""Per mask how far a unit behind a convolution of 3 looks back and ahead."""


def by_hand(hide: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def attend(x: Any, mask: Any) -> Any:
        scores = hide(ops.matmul(x, ops.transpose(x, (0, 2, 1))), mask)
        return ops.matmul(ops.softmax(scores), x)

    return attend


def at_once(name: str) -> Callable[[Any, Any], Any]:
    def attend(x: Any, mask: Any) -> Any:
        heads = ops.expand_dims(x, 2)
        given = mask if name == "mask" else np.where(mask, 0, -1e9).astype("float32")
        seen = ops.dot_product_attention(heads, heads, heads, **{name: given[None, None]})
        return ops.squeeze(seen, 2)

    return attend


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "given to a layer": lambda x, m: layers.MultiHeadAttention(2, 4)(x, x, attention_mask=m[None]),
    "given as numbers": lambda x, m: layers.MultiHeadAttention(2, 4)(
        x, x, attention_mask=m[None].astype("int32")
    ),
    "added": by_hand(lambda scores, m: scores + np.where(m, 0, -1e9).astype("float32")),
    "taken off": by_hand(lambda scores, m: scores - np.where(m, 0, 1e9).astype("float32")),
    "given to a softmax": lambda x, m: ops.matmul(
        layers.Softmax()(ops.matmul(x, ops.transpose(x, (0, 2, 1))), m[None]), x
    ),
    "chosen": by_hand(lambda scores, m: ops.where(m, scores, -1e9)),
    "filled": by_hand(lambda scores, m: ops.where(~m, np.full((1, *m.shape), -1e9), scores)),
    "given to an operation": at_once("mask"),
    "given as bias": at_once("bias"),
}


def seen_by_differences(model: Any) -> list[tuple[int, int]]:
    """Return per unit the first and the last row of the image that it depends on."""
    first, other = np.random.default_rng(0).random((2, LENGTH, 4)).astype("float32")
    images = np.stack([first] * (LENGTH + 1))
    for row in range(LENGTH):
        images[row, row] = other[row]
    made = np.asarray(ops.convert_to_numpy(model(images)))
    changed = (made[:-1] != made[-1]).any(-1)
    return [(int(rows[0]), int(rows[-1])) for rows in map(np.flatnonzero, changed.T)]


def network(layer: Callable[[Any], Any]) -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((LENGTH, 4))
    return keras.Model(image, layer(layers.Conv1D(4, 3, padding="same")(image)))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("way", WAYS)
def test_an_attention_sees_what_its_mask_leaves(way: str, name: str) -> None:
    mask, back, ahead, certainty = MASKS[name]
    model = network(lambda x: WAYS[way](x, mask))
    live = create_graph_from_tensorflow_model(model)
    for graph in (live, create_graph_from_keras_json(model.to_json())):
        (windows,) = graph.unit_windows
        assert (windows.firsts, windows.lasts) == ((-back,), (ahead,))
        assert graph.certainty == certainty
    for unit, (first, last) in enumerate(seen_by_differences(model)):
        if certainty == "exact":
            assert (first, last) == (max(0, unit - back), min(LENGTH - 1, unit + ahead))
        assert unit - back <= first <= last <= unit + ahead


@pytest.mark.filterwarnings("error:__array__ implementation:DeprecationWarning")  # no user's
@pytest.mark.parametrize(
    ("way", "name", "size"),
    [
        ("given to a layer", "what is in front", INF),
        ("given to a softmax", "a band", 7),
        ("added", "a band", 7),
    ],
)
def test_what_a_mask_hides_is_measured_by_differences(way: str, name: str, size: float) -> None:
    report = verify(network(lambda x: WAYS[way](x, MASKS[name][0])))
    assert report.ok, report
    assert (report.nodes[-1].verdict, report.nodes[-1].size) == ("agrees", (size,))


def test_differences_are_measured_with_other_weights_and_change_none() -> None:
    model = network(lambda x: WAYS["given to a layer"](x, MASKS["a band"][0]))
    for weight in model.trainable_variables:
        weight.assign(ops.zeros_like(weight))
    assert measure_receptive_field(model)[-1].size == (7,)
    assert not any(np.any(ops.convert_to_numpy(one)) for one in model.trainable_variables)


class Masked(layers.Layer):
    """A convolution of what is in front, whose weight is masked in a way of its own."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.zeros = np.ones((5, 4, 4), "float32")
        self.zeros[3:] = 0

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(5, 4, 4), name="kernel")
        self.mask = self.add_weight(
            shape=(5, 4, 4),
            name="mask",
            trainable=False,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(self.zeros),
        )

    def call(self, x: Any) -> Any:
        kernel = self.kernel
        if self.way == "multiplied":
            kernel = kernel * self.zeros
        elif self.way == "multiplied by a weight":
            kernel = kernel * self.mask
        elif self.way == "chosen":
            kernel = ops.where(self.zeros > 0, kernel, 0.0)
        elif self.way == "turned":
            kernel = ops.multiply(ops.transpose(kernel, (0, 2, 1)), self.zeros)
            kernel = ops.transpose(kernel, (0, 2, 1))
        return ops.conv(x, kernel, padding="same")


@pytest.mark.parametrize("way", ["multiplied", "multiplied by a weight", "chosen", "turned"])
def test_weights_that_a_mask_makes_zero_see_nothing(way: str) -> None:
    model = network(Masked(way))
    graph = create_graph_from_tensorflow_model(model)
    assert (graph.receptive_field_max, graph.certainty) == ((5,), "exact")
    for unit, (first, last) in enumerate(seen_by_differences(model)):
        assert (first, last) == (max(0, unit - 3), min(LENGTH - 1, unit + 1))
    assert verify(model).nodes[-1].verdict == "agrees"


def test_weights_without_a_mask_are_taken_as_they_are() -> None:
    graph = create_graph_from_tensorflow_model(network(Masked("not at all")))
    assert (graph.receptive_field_max, graph.certainty) == ((7,), "exact")


def test_a_fixed_matrix_over_positions_looks_where_it_is_not_zero() -> None:
    band = MASKS["a band"][0].astype("float32")
    for product in (lambda x: ops.matmul(band, x), lambda x: ops.einsum("st,btc->bsc", band, x)):
        graph = create_graph_from_keras_json(network(product).to_json())
        (windows,) = graph.unit_windows
        assert (windows.firsts, windows.lasts, graph.certainty) == ((-3,), (3,), "exact")


def test_a_fixed_kernel_looks_where_it_is_not_zero() -> None:
    kernel = np.zeros((5, 4, 4), "float32")
    kernel[1:3] = 1
    model = network(lambda x: ops.conv(x, kernel, padding="same"))
    graph = create_graph_from_keras_json(model.to_json())
    assert (graph.receptive_field_max, graph.certainty) == ((4,), "exact")
    assert seen_by_differences(model)[10] == (8, 11)
