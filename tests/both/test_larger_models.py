"""Models of torchvision are the same as modules, exported programs and ONNX files.

``benchmarks/formats_zoo.py`` says so of 30 models, some of which take the exporters long.
"""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

from benchmarks.formats_zoo import differences, in_all_formats, model_of


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "efficientnet_b0"]
)
def test_a_model_is_the_same_in_all_formats(name: str) -> None:
    assert not differences(in_all_formats(model_of(name), (1, 3, 96, 96)))
