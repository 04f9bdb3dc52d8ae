"""Products of positions with each other, and inputs of different ranks, in every format."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable
from typing import Any

import pytest

if {"torch", "keras", "onnx"} <= set(os.environ.get("RFA_TEST_REQUIRE", "").split()):
    import keras
    import onnx
    import torch
else:
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    onnx = pytest.importorskip("onnx")

from torch import nn

from rfa_toolbox import (
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
    create_graph_from_tensorflow_model,
)
from rfa_toolbox.empirical import verify
from rfa_toolbox.graphs import EnrichedNetworkNode

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
LENGTH = 16


class Between(nn.Module):
    """A function behind a convolution."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first, self.function = nn.Conv1d(4, 4, 3, padding=1), function

    def forward(self, x: Any) -> Any:
        return self.function(self.first(x))


def in_windows(x: Any) -> Any:
    tokens = x.transpose(1, 2).reshape(-1, 4, 4)
    return tokens @ tokens.transpose(1, 2)


PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any, Any], Any] | None, float]] = {
    "product": (
        lambda x: x.transpose(1, 2) @ x,
        lambda k, o, x: k.Dot(axes=2)([x, x]),
        math.inf,
    ),
    "equation": (
        lambda x: torch.einsum("bct,bcs->bts", x, x),
        lambda k, o, x: o.einsum("btc,bsc->bts", x, x),
        math.inf,
    ),
    "differences": (
        lambda x: x[:, :, None] - x[:, :, :, None],
        lambda k, o, x: o.expand_dims(x, 1) - o.expand_dims(x, 2),
        math.inf,
    ),
    "halves of it": (
        lambda x: x[:, :, :8].transpose(1, 2) @ x[:, :, 8:],
        lambda k, o, x: o.matmul(x[:, :8], o.transpose(x[:, 8:], (0, 2, 1))),
        math.inf,
    ),
    "in windows": (in_windows, None, 3 + 3),
}


@pytest.mark.parametrize(("ours", "theirs", "field"), PAIRS.values(), ids=PAIRS)
def test_units_see_both_places_of_a_pair(ours: Any, theirs: Any, field: float) -> None:
    model = Between(ours).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 4, LENGTH))
    assert (graph.receptive_field_max, graph.certainty) == ((field,), "exact")
    assert not verify(model, input_shape=(1, 4, LENGTH)).disagreements
    if theirs is not None:
        image = keras.Input((LENGTH, 4))
        y = theirs(keras.layers, keras.ops, keras.layers.Conv1D(4, 3, padding="same")(image))
        other = create_graph_from_tensorflow_model(keras.Model(image, y))
        assert (other.receptive_field_max, other.certainty) == ((field,), "exact")


def scores(x: Any, mask: Any = None) -> Any:
    tokens = x.transpose(1, 2)
    found = tokens @ tokens.transpose(1, 2)
    return (found if mask is None else found + mask).softmax(-1) @ tokens


def test_scores_see_what_their_attention_sees() -> None:
    mask = torch.full((LENGTH, LENGTH), -math.inf).triu(1)
    for one, ahead in ((None, math.inf), (mask, 1)):
        model = Between(lambda x, one=one: scores(x, one)).eval()
        *_, product, _, last = (
            node
            for node in create_graph_from_pytorch_model(model, input_res=(1, 4, LENGTH)).all_layers
            if node.name.startswith(("matmul", "softmax"))
        )
        for node in (product, last):
            (windows,) = node.unit_windows
            assert (windows.firsts, windows.lasts) == ((-math.inf,), (ahead,))


class Beside(nn.Module):
    """A picture beside a video, put together as vectors or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.deep, self.last = nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 5), nn.Linear(8, 2)

    def forward(self, picture: Any, video: Any) -> Any:
        flat, deep = self.flat(picture).mean((2, 3)), self.deep(video).mean((2, 3, 4))
        return self.last(torch.cat([flat, deep], 1))


def in_keras(together: bool) -> Any:
    layers = keras.layers
    picture, video = keras.Input((32, 32, 3)), keras.Input((8, 16, 16, 3))
    flat = layers.Conv2D(4, 3, name="flat")(picture)
    deep = layers.Conv3D(4, 5, name="deep")(video)
    if not together:
        return keras.Model([picture, video], [flat, deep])
    pooled = [layers.GlobalAveragePooling2D()(flat), layers.GlobalAveragePooling3D()(deep)]
    return keras.Model([picture, video], layers.Dense(2)(layers.Concatenate()(pooled)))


def fields(graph: EnrichedNetworkNode) -> dict[str, Any]:
    return {node.name: node.receptive_field_max for node in graph.all_layers}


def test_inputs_of_different_rank_have_axes_of_their_own_while_they_do_not_meet() -> None:
    model, shapes = Beside().eval(), ((1, 3, 32, 32), (1, 3, 8, 16, 16))
    buffer = io.BytesIO()
    torch.onnx.export(model, tuple(map(torch.zeros, shapes)), buffer, dynamo=False)
    graphs = [
        create_graph_from_pytorch_model(model, input_res=shapes),
        create_graph_from_onnx(onnx.load_from_string(buffer.getvalue())),
        create_graph_from_tensorflow_model(in_keras(together=True)),
        create_graph_from_tensorflow_model(in_keras(together=False)),
    ]
    for graph in graphs:
        found = fields(graph)
        assert (found["flat"], found["deep"]) == ((1, 3, 3), (5, 5, 5))


def test_an_input_that_weighs_a_map_of_another_rank_has_no_place_in_it() -> None:
    class Weighed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.sound = nn.Conv2d(3, 4, 3), nn.Conv1d(3, 4, 7)

        def forward(self, picture: Any, sound: Any) -> Any:
            return self.flat(picture) * self.sound(sound).mean(-1)[:, :, None, None]

    graph = create_graph_from_pytorch_model(Weighed(), input_res=((1, 3, 32, 32), (1, 3, 64)))
    found = fields(graph)
    assert (found["flat"], found["sound"]) == ((3, 3), (0, 0))
