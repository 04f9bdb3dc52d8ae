"""What the tests of the Keras encoder share."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_keras_json
from rfa_toolbox.graphs import EnrichedNetworkNode

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras with its backend; where RFA_TEST_REQUIRE names Keras, a missing one fails the test."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if "keras" not in os.environ.get("RFA_TEST_REQUIRE", "").split():
        for name in ("keras", backend):
            if find_spec(name) is None:
                pytest.skip(f"{name} is not installed")
    return importlib.import_module("keras")


@pytest.fixture(scope="session")
def keras_on_torch(keras: Any) -> Any:
    """Keras on PyTorch, which counts what its kernels multiply."""
    if keras.backend.backend() != "torch":
        pytest.skip("only PyTorch counts what its kernels multiply")
    return keras


@pytest.fixture
def fields() -> Callable[[EnrichedNetworkNode], list[tuple[Any, Any]]]:
    """List (r_min, r_max) of every node of a graph in order."""

    def listed(graph: EnrichedNetworkNode) -> list[tuple[Any, Any]]:
        return [(node.receptive_field_min, node.receptive_field_max) for node in graph.all_layers]

    return listed


@pytest.fixture
def encode() -> Callable[..., EnrichedNetworkNode]:
    """Encode a chain of layers, given as (class, configuration), behind an input of a shape."""

    def encoded(shape: tuple[int | None, ...], *layers: Any, **options: Any) -> EnrichedNetworkNode:
        entries = [{"class_name": "InputLayer", "config": {"batch_shape": [None, *shape]}}]
        entries += [{"class_name": kind, "config": config} for kind, config in layers]
        model = {"class_name": "Sequential", "config": {"layers": entries}}
        return create_graph_from_keras_json(json.dumps(model), **options)

    return encoded


@pytest.fixture
def operate() -> Callable[..., EnrichedNetworkNode]:
    """Encode a chain of Keras 3 operations and layers behind an input of a shape.

    Each is (module, class, configuration, further positional arguments); among these None stands
    for the tensor, which is the first one otherwise.
    """

    def encoded(shape: tuple[int | None, ...], *calls: Any, **options: Any) -> EnrichedNetworkNode:
        entries: list[dict[str, Any]] = [
            {
                "class_name": "InputLayer",
                "name": "image",
                "config": {"batch_shape": [None, *shape], "name": "image"},
                "inbound_nodes": [],
            }
        ]
        for number, (module, kind, config, arguments) in enumerate(calls):
            tensor = {
                "class_name": "__keras_tensor__",
                "config": {"keras_history": [entries[-1]["name"], 0, 0]},
            }
            placed = [tensor if one is None else one for one in arguments]
            if tensor not in placed:
                placed.insert(0, tensor)
            entries.append(
                {
                    "class_name": kind,
                    "module": module,
                    "name": f"{kind.lower()}_{number}",
                    "config": config,
                    "inbound_nodes": [{"args": placed, "kwargs": {}}],
                }
            )
        model = {
            "class_name": "Functional",
            "config": {
                "layers": entries,
                "input_layers": ["image", 0, 0],
                "output_layers": [entries[-1]["name"], 0, 0],
            },
        }
        return create_graph_from_keras_json(json.dumps(model), **options)

    return encoded


@pytest.fixture
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
