"""How many units a map has at any length, against Keras."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
from keras import layers  # noqa: E402

from rfa_toolbox import create_graph_from_tensorflow_model  # noqa: E402
from rfa_toolbox.graphs import EnrichedNetworkNode  # noqa: E402

STRIDED: dict[str, Callable[[], Any]] = {
    "convolution": lambda: layers.Conv1D(2, 3, strides=2, padding="same"),
    "stride 3": lambda: layers.Conv1D(2, 5, strides=3, padding="same"),
    "pooling": lambda: layers.MaxPooling1D(2, padding="same"),
    "depthwise": lambda: layers.SeparableConv1D(2, 4, strides=2, padding="same"),
    "not padded": lambda: layers.AveragePooling1D(3, strides=2),
}


@pytest.mark.parametrize("encoded", [40, 41, None])
@pytest.mark.parametrize("layer", STRIDED.values(), ids=list(STRIDED))
def test_maps_have_the_size_that_the_model_gives_them(
    layer: Callable[[], Any], encoded: int | None
) -> None:
    stack = [layer(), layers.Conv1D(2, 3, padding="same"), layer()]
    graph = create_graph_from_tensorflow_model(
        keras.Sequential([keras.Input((encoded, 2)), *stack])
    )
    stored = EnrichedNetworkNode.from_dict(graph.to_dict())
    for length in range(30, 38):
        map_: Any = np.zeros((1, length, 2))
        for one in stack:
            map_ = one(map_)
        assert graph.feature_map_at(length) == stored.feature_map_at(length) == (map_.shape[1],)
