"""A model of every family is the same in PyTorch, Keras, ONNX files and exported programs."""

from __future__ import annotations

import os
from typing import Any

import pytest

if {"torch", "keras", "onnx"} <= set(os.environ.get("RFA_TEST_REQUIRE", "").split()):
    import torch
else:
    torch = pytest.importorskip("torch")
    pytest.importorskip("keras")
    pytest.importorskip("onnx")

from rfa_toolbox import (
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
    create_graph_from_tensorflow_model,
    input_resolution_range,
)
from rfa_toolbox.empirical import verify
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.both.families import FAMILIES, Case, Network, keras_model, shape_of
from tests.both.test_parity import CASES
from tests.both.test_parity import answers as answers_of_layer
from tests.onnx.test_exporters import exported

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore:Exporting a model to ONNX:UserWarning",
    "ignore:The tensor attributes:UserWarning",
)
NO_LAYER = {"cropping 1, 0", "cropping 2, 3"}
"""Where Keras has a layer for what is no layer in PyTorch: tiles of the latter are refused."""
OTHERWISE = {*(f"mean to {size}" for size in (4, 7, 16)), "largest to 5", "largest of all"}
"""What PyTorch's exporter for ONNX refuses, or writes down as a pooling of fixed size."""
EVERY = pytest.mark.parametrize("case", FAMILIES.values(), ids=list(FAMILIES))


def answers(graph: EnrichedNetworkNode) -> dict[str, Any]:
    """Return what a graph says of its last layer, of tiles, and of resolutions."""
    return {**answers_of_layer(graph), "range": input_resolution_range(graph)}


def ours(case: Case) -> tuple[Any, EnrichedNetworkNode]:
    model = Network(case).eval()
    return model, create_graph_from_pytorch_model(model, input_res=shape_of(case))


def test_there_are_many() -> None:
    assert len(FAMILIES) + len(CASES) >= 120


@EVERY
def test_keras_gives_the_same_answers(case: Case) -> None:
    _, graph = ours(case)
    expected, found = answers(graph), answers(create_graph_from_tensorflow_model(keras_model(case)))
    if case.name in NO_LAYER:
        assert (expected.pop("tiles"), found.pop("tiles")) == (False, True)
    assert found == expected


@pytest.mark.slow
@EVERY
def test_files_of_exporters_give_the_same_answers(case: Case) -> None:
    model, graph = ours(case)
    program = torch.export.export(model, (torch.rand(shape_of(case)),))
    assert answers(create_graph_from_pytorch_model(program)) == answers(graph)
    if case.name in OTHERWISE:
        return
    file = exported(model, shape_of(case), dynamo=False)
    assert answers(create_graph_from_onnx(file)) == answers(graph)


@pytest.mark.slow
@EVERY
def test_an_experiment_gives_the_same_answers(case: Case) -> None:
    model, _ = ours(case)
    report = verify(model, shape_of(case))
    assert not report.disagreements
    assert report.counts["agrees"] > 0
