"""Activations and products that mix positions where these lie in the dimension they work on."""

from __future__ import annotations

import math
from typing import Any

import pytest

INF = math.inf
SOFTMAX = {"class_name": "function", "module": "builtins", "config": "softmax"}
ACTIVATIONS: list[tuple[Any, bool, tuple[Any, Any]]] = [
    ("relu", True, (3, 3)),
    ("softmax", True, (3, INF)),
    ("log_softmax", True, (3, INF)),
    ("sparsemax", True, (3, INF)),
    ("glu", True, (3, INF)),
    (SOFTMAX, True, (3, INF)),
    ({"class_name": "Softmax", "config": {"axis": 2}}, True, (INF, 3)),
    ({"class_name": "Softmax", "config": {"axis": -3}}, True, (3, 3)),
    ("softmax", False, (3, 3)),
    (SOFTMAX, False, (3, 3)),
    ({"class_name": "Softmax", "config": {"axis": 1}}, False, (INF, 3)),
]


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(("activation", "first", "expected"), ACTIVATIONS)
def test_an_activation_of_a_convolution(
    activation: Any, first: bool, expected: Any, strides: int, encode: Any
) -> None:
    config = {"kernel_size": [3, 3], "filters": 4, "activation": activation, "strides": strides}
    if first:
        config["data_format"] = "channels_first"
    shape = (3, 9, 9) if first else (9, 9, 3)
    assert encode(shape, ("Conv2D", config)).receptive_field_max == expected


def test_an_activation_as_a_layer(encode: Any) -> None:
    layers = [
        ("Conv2D", {"kernel_size": [3, 3], "filters": 4, "data_format": "channels_first"}),
        ("Activation", {"activation": SOFTMAX}),
    ]
    assert encode((3, 9, 9), *layers).receptive_field_max == (3, INF)
    layers = [("Conv1D", {"kernel_size": [3], "filters": 4}), ("Activation", {"activation": "glu"})]
    graph = encode((9, 3), *layers, ("Conv1D", {"kernel_size": [3], "filters": 4}))
    assert graph.receptive_field_max == (5,)


NUMPY, NN = (f"keras.src.ops.{name}" for name in ("numpy", "nn"))
CONVOLUTION = ("keras.layers", "Conv2D", {"kernel_size": [3, 3], "filters": 4}, [])


def matrix(rows: int, columns: int, kind: str = "__numpy__") -> dict[str, Any]:
    value = [[1.0] * columns] * rows
    return {"class_name": kind, "config": {"value": value, "dtype": "float32"}}


PRODUCTS: list[tuple[Any, list[Any], tuple[Any, Any]]] = [
    ([NUMPY, "Matmul", {}], [None, matrix(3, 2)], (1, 1)),
    ([NUMPY, "Matmul", {}], [matrix(5, 6), None], (1, INF)),
    ([NUMPY, "Matmul", {}], [matrix(5, 6, "__tensor__"), None], (1, INF)),
    ([NUMPY, "Matmul", {}], [{"class_name": "__other__", "config": {}}, None], (1, INF)),
    ([NUMPY, "Dot", {}], [None, matrix(3, 2)], (1, 1)),
    ([NUMPY, "Tensordot", {"axes": 1}], [None, matrix(3, 2)], (1, 1)),
    ([NUMPY, "Tensordot", {"axes": [[2], [0]]}], [None, matrix(6, 2)], (1, INF)),
    ([NUMPY, "Tensordot", {"axes": [1, 0]}], [None, matrix(8, 2)], (INF, 1)),
    ([NUMPY, "Tensordot", {"axes": [[-3], [-1]]}], [None, matrix(2, 8)], (INF, 1)),
    ([NUMPY, "Tensordot", {"axes": [[1, 2], [0, 1]]}], [None, matrix(8, 6)], (INF, INF)),
    ([NUMPY, "Tensordot", {"axes": [[0], [2]]}], [matrix(6, 2), None], (1, INF)),
    ([NN, "Glu", {"axis": -1}], [None], (1, 1)),
    ([NN, "Glu", {"axis": 1}], [None], (INF, 1)),
    ([NN, "Sparsemax", {"axis": 2}], [None], (1, INF)),
]


@pytest.mark.parametrize(("operation", "arguments", "expected"), PRODUCTS)
def test_an_operation_with_constants(
    operation: Any, arguments: Any, expected: Any, operate: Any
) -> None:
    graph = operate((8, 6, 3), (*operation, arguments))
    assert graph.receptive_field_max == expected
    assert graph.certainty == "exact"


@pytest.mark.parametrize("size", [4, 6, 16])
def test_resizing_by_any_factor_is_exact(size: int, encode: Any) -> None:
    """Units differ in what they see where the factor is not whole; the field is the largest."""
    graph = encode((8, 8, 3), ("Resizing", {"height": size, "width": 8}))
    assert (graph.certainty, graph.receptive_field_max) == ("exact", (2, 1))
