"""Masks that an ONNX file holds hide positions and taps, as they do in the model it was made of."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from torch import nn  # noqa: E402

from rfa_toolbox import create_graph_from_onnx  # noqa: E402
from rfa_toolbox.empirical import verify  # noqa: E402
from tests.faults.test_masks import (  # noqa: E402
    LENGTH,
    MASKS,
    UNEVEN,
    WAYS,
    WEIGHTS,
    Masked,
    attention,
    blocks,
)
from tests.onnx.test_experiments import exported  # noqa: E402
from tests.pytorch.measure import encode  # noqa: E402

SHAPE = (1, 4, LENGTH)
HIDING = {**MASKS, **UNEVEN, "blocks": blocks}
ATTENTIONS = [(way, name) for way in WAYS for name in ("a band", "what is in front", "blocks")]
ATTENTIONS += [("given to the attention", name) for name in [*UNEVEN][:-1]]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:Exporting a model to ONNX:UserWarning"),
]


def answers(graph: Any) -> Any:
    (windows,) = graph.unit_windows
    return windows.firsts, windows.lasts, graph.certainty


def hidden(way: str, name: str) -> nn.Module:
    mask = HIDING[name]
    return attention(way, mask[0] if isinstance(mask, tuple) else mask).eval()


@pytest.mark.parametrize(("way", "name"), ATTENTIONS)
def test_an_attention_sees_what_its_mask_leaves(way: str, name: str) -> None:
    model = hidden(way, name)
    file = exported(model, SHAPE, open_sizes=False)
    assert answers(create_graph_from_onnx(file)) == answers(encode(model, SHAPE, "meta"))


@pytest.mark.parametrize("name", ["a band", "what is in front", "two bands"])
def test_an_experiment_by_differences_agrees(name: str) -> None:
    report = verify(exported(hidden("given to the attention", name), SHAPE, open_sizes=False))
    assert report.ok, report
    assert report.nodes[-1].verdict == "agrees"


@pytest.mark.parametrize("way", WEIGHTS)
def test_weights_that_a_mask_makes_zero_see_nothing(way: str) -> None:
    file = exported(nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), Masked(way)), SHAPE, False)
    graph = create_graph_from_onnx(file)
    assert answers(graph) == ((-3,), (1,), "exact")
    assert [one.verdict for one in verify(file).nodes] == ["agrees", "agrees"]


def test_a_mask_that_lies_outside_of_the_file_is_a_bound() -> None:
    floats = onnx.TensorProto.FLOAT
    shapes = {"x": SHAPE, "y": (1, 4, LENGTH - 4)}
    image, made = (onnx.helper.make_tensor_value_info(*(k, floats, v)) for k, v in shapes.items())
    weights = []
    for name in ("weight", "mask"):
        weights.append(onnx.TensorProto(name=name, dims=(4, 4, 5), data_type=floats))
        weights[-1].data_location = onnx.TensorProto.EXTERNAL
    nodes = [
        onnx.helper.make_node("Mul", ["weight", "mask"], ["masked"]),
        onnx.helper.make_node("Conv", ["x", "masked"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "masked", [image], [made], weights)
    found = create_graph_from_onnx(onnx.helper.make_model(graph))
    assert (found.receptive_field_max, found.certainty) == ((5,), "bound")


def test_a_mask_of_many_positions_is_computed_where_it_is_asked_for() -> None:
    class Causal(nn.Module):
        def forward(self, x: Any) -> Any:
            tokens = x.transpose(1, 2)
            mask = torch.ones(200, 200).tril() == 0
            scores = (tokens @ x).masked_fill(mask, -1e9)
            return (scores.softmax(-1) @ tokens).transpose(1, 2)

    graph = create_graph_from_onnx(exported(Causal(), (1, 4, 200), open_sizes=False))
    assert answers(graph) == ((float("-inf"),), (0,), "exact")
