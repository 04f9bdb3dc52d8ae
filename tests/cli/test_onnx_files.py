"""An ONNX file is a model like any other for the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

onnx = pytest.importorskip("onnx")
import numpy as np  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


@pytest.fixture
def file(tmp_path: Path) -> Path:
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="/stem/Conv", strides=[2, 2])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, "height", "width"))
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [given], [made], [weight])
    path = tmp_path / "net.onnx"
    onnx.save_model(helper.make_model(graph), path)
    return path


def test_its_layers_are_analysed(rfa: Callable[..., Any], file: Path) -> None:
    ran = rfa("analyze", file, "--input-res", "32", "--input-shape", "1x3x64x64")
    assert ran.code == 0, ran.err
    assert "stem" in ran.out


def test_it_is_verified(rfa: Callable[..., Any], file: Path) -> None:
    pytest.importorskip("onnxruntime")
    ran = rfa("verify", file, "--time-limit", "600", "--format", "json")
    assert ran.code == 0, ran.err
    assert '"differs": 0' in ran.out
    assert '"stopped": ""' in ran.out


def test_a_damaged_file_is_one_line(rfa: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x00broken")
    assert "is no ONNX file" in rfa("analyze", path).complaint()
