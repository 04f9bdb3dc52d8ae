"""Spectra of signals, and attention that looks to one side, as an experiment sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.unit_windows import region_of

LENGTH = 64
INF = float("inf")


def encoded(keras: Any, shape: tuple[int, ...], made: Any) -> tuple[Any, EnrichedNetworkNode]:
    image = keras.Input(shape)
    model = keras.Model(image, made(image))
    return model, create_graph_from_tensorflow_model(model, global_ops="count")


def seen(keras: Any, model: Any, signal: Any) -> list[tuple[int, int]]:
    """Return the first and the last sample that change every unit."""
    changed = np.repeat(signal, LENGTH + 1, 0)
    changed[np.arange(LENGTH), np.arange(LENGTH)] += 1
    made = keras.ops.convert_to_numpy(model(changed))
    differs = ~np.isclose(made[:-1], made[-1:], 1e-5, 1e-5)
    differs = differs.reshape(*differs.shape[:2], -1).any(2)
    found = [np.nonzero(unit)[0] for unit in differs.T]
    return [(int(one[0]), int(one[-1])) for one in found]


@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(("width", "hop", "size"), [(16, 8, 16), (12, 5, 16), (7, 3, 9)])
def test_spectra_see_the_window_of_their_frame(
    keras: Any, width: int, hop: int, size: int, centre: bool
) -> None:
    def spectra(x: Any) -> Any:
        return keras.ops.stft(x, width, hop, size, np.ones(width, "float32"), centre)[0]

    model, graph = encoded(keras, (LENGTH,), spectra)
    signal = np.random.default_rng(0).normal(size=(1, LENGTH)).astype("float32")
    found = seen(keras, model, signal)
    assert (graph.certainty, graph.receptive_field_max) == ("exact", (width,))
    assert graph.feature_map == (len(found),)
    for unit, pixels in enumerate(found):
        begin, end = region_of(graph.unit_windows[0], unit)
        if begin >= 0 and end < LENGTH and begin >= size // 2 * centre:  # no copies of others
            assert pixels == (begin, end)


def test_a_signal_sees_all_frames_that_cover_it(keras: Any) -> None:
    def through(x: Any) -> Any:
        real, imaginary = keras.ops.stft(x, 16, 8, 16)
        return keras.ops.istft((keras.ops.relu(real), imaginary), 16, 8, 16)

    _, graph = encoded(keras, (LENGTH,), through)
    assert (graph.certainty, graph.receptive_field_max) == ("exact", (24,))
    assert graph.feature_map == (LENGTH,)


ATTENTIONS = {
    "heads": lambda k, x: k.layers.MultiHeadAttention(1, 2)(x, x, use_causal_mask=True),
    "scores": lambda k, x: k.layers.Attention()([x, x], use_causal_mask=True),
    "sums": lambda k, x: k.layers.AdditiveAttention()([x, x, x], use_causal_mask=True),
    "projected by hand": lambda k, x: k.layers.Attention()(
        [k.layers.Dense(4)(x) for _ in range(3)], use_causal_mask=True
    ),
    "the operation": lambda k, x: k.ops.squeeze(
        k.ops.dot_product_attention(*[k.layers.Reshape((LENGTH, 1, 4))(x)] * 3, is_causal=True), 2
    ),
}


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_causal_attention_sees_what_is_in_front_of_it(keras: Any, kind: str) -> None:
    def attended(x: Any) -> Any:
        return ATTENTIONS[kind](keras, keras.layers.Conv1D(4, 3, padding="same")(x))

    model, graph = encoded(keras, (LENGTH, 4), attended)
    signal = np.random.default_rng(0).normal(size=(1, LENGTH, 4)).astype("float32")
    assert graph.receptive_field_max == (INF,)
    for unit, pixels in enumerate(seen(keras, model, signal)):
        assert region_of(graph.unit_windows[0], unit)[1] == unit + 1
        assert pixels[1] == min(unit + 1, LENGTH - 1)  # what is far in front may weigh nothing


def test_causal_attention_to_another_sequence_may_see_everything(keras: Any) -> None:
    def attended(x: Any) -> Any:
        other = keras.layers.MaxPooling1D(2)(x)
        return keras.layers.Attention()([x, other], use_causal_mask=True)

    _, graph = encoded(keras, (LENGTH, 4), attended)
    assert graph.layer_info.kernel_size == (INF,)
    assert not graph.layer_info.scan


@pytest.mark.parametrize("shape", [(12, 12, 4), (24, 6, 4), (12, 48)])
def test_rows_that_become_a_map_again_are_known_no_better_than_before(
    keras: Any, shape: tuple[int, ...]
) -> None:
    """A window slid over rows one after another: which places a token sees is not followed."""

    def tokens(x: Any) -> Any:
        rows = keras.layers.Conv1D(4, 3, padding="same")(keras.layers.Reshape((144, 4))(x))
        return keras.layers.Reshape(shape)(rows)

    _, graph = encoded(keras, (12, 12, 4), tokens)
    assert (graph.receptive_field_max, graph.certainty) == ((INF, INF), "bound")
