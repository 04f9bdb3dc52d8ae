"""A model is the same in PyTorch and in the files that PyTorch's exporters write."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Callable
from typing import Any

import onnx
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from benchmarks.formats_zoo import in_both  # noqa: E402
from rfa_toolbox import (  # noqa: E402
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
    input_resolution_range,
)
from tests.pytorch.test_exported import MIDDLES, SHAPE, Net  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


def exported(model: Any, shape: tuple[int, ...], dynamo: bool) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            pytest.importorskip("onnxscript")
            program = torch.onnx.export(model, (torch.rand(shape),), dynamo=True, verbose=False)
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(model, (torch.rand(shape),), file, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


def facts(graph: Any) -> dict[str, Any]:
    return {
        "field": (graph.receptive_field_min, graph.receptive_field_max),
        "jump": graph.get_maximum_scale_factor(),
        "certainty": graph.certainty,
        "map": graph.feature_map,
        "window": graph.window,
        "range": input_resolution_range(graph),
        "compute": sum(node.multiply_accumulates or 0 for node in graph.all_layers),
    }


# What the exporter turns into something else: a fixed pooling, and values scattered by index.
_OTHERWISE = {"adaptive", "shift by writing", "writing through a view"}
HERE = {name: one for name, one in MIDDLES.items() if name not in _OTHERWISE}


@pytest.mark.parametrize("middle", HERE.values(), ids=list(HERE))
def test_small_networks(middle: Callable[[Any], Any]) -> None:
    model = Net(middle).eval()
    ours = facts(create_graph_from_pytorch_model(model, input_res=SHAPE))
    theirs = facts(create_graph_from_onnx(exported(model, SHAPE, dynamo=False)))
    if math.inf in ours["field"][1]:  # products of attention are counted one by one there
        ours["compute"] = theirs["compute"]
    assert theirs == ours


@pytest.mark.parametrize("encoded", [30, 32])
def test_every_reader_tells_that_windows_count_which_end_behind_a_map(encoded: int) -> None:
    layers = nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, ceil_mode=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), *layers, nn.MaxPool2d(2)).eval()
    shape = (1, 3, encoded, encoded)
    ours = create_graph_from_pytorch_model(model, input_res=shape)
    graphs = [
        ours,
        create_graph_from_pytorch_model(torch.export.export(model, (torch.zeros(shape),))),
        create_graph_from_onnx(exported(model, shape, dynamo=False)),
        type(ours).from_dict(ours.to_dict()),
    ]
    for graph in graphs:
        pools = [one.layer_info for one in graph.all_layers if "ool" in one.layer_info.name]
        assert [one.ceil_mode for one in pools] == [True, True, False]
        assert ["ceil_mode" in one.to_dict() for one in pools] == [True, True, False]
        for size in range(24, 40):
            made = tuple(model(torch.zeros(1, 3, size, size)).shape[2:])
            assert graph.feature_map_at(size) == made


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "densenet121", "convnext_tiny", "swin_t"]
)
def test_models_of_torchvision(name: str, dynamo: bool, torchvision: Any) -> None:
    if name in ("densenet121", "swin_t") and dynamo:
        pytest.skip("takes the exporter half a minute")
    shape = (1, 3, 224, 224)
    model = torchvision.models.get_model(name, weights=None).eval()
    ours = create_graph_from_pytorch_model(model, input_res=shape)
    theirs = create_graph_from_onnx(exported(model, shape, dynamo))
    assert input_resolution_range(theirs) == input_resolution_range(ours)
    fields = {
        one.name: (one.receptive_field_min, one.receptive_field_max) for one in ours.all_layers
    }
    names = in_both(ours, theirs)
    both = [one for one in theirs.all_layers if one.name in names]
    assert len(both) >= 0.6 * len(theirs.all_layers) if dynamo else both
    for one in both:
        assert (one.receptive_field_min, one.receptive_field_max) == fields[one.name]
