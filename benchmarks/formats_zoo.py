"""Compare models of torchvision and timm with their exported programs and ONNX files.

    python -m benchmarks.formats_zoo [NAME...]

Each model is read three times: as a module, as ``torch.export`` returns it, and from the file that
PyTorch's exporter for ONNX writes. Fields, jumps and certainty of all nodes with the same name, and
the range of resolutions, must be equal. Needs torchvision, timm and onnx; takes some minutes.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from typing import Any

import onnx
import torch

from rfa_toolbox import (
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
    input_resolution_range,
)
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.frameworks import import_torchvision

TORCHVISION = (
    *("alexnet", "vgg11", "vgg11_bn", "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"),
    *("densenet121", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny"),
    *("googlenet", "swin_t", "vit_b_32"),
)
TIMM = (
    *(
        "timm/resnet26d",
        "timm/mobilenetv3_small_050",
        "timm/ghostnet_050",
        "timm/efficientnet_lite0",
    ),
    *(
        "timm/tf_mobilenetv3_small_075",
        "timm/mixnet_s",
        "timm/poolformer_s12",
        "timm/convmixer_768_32",
    ),
    *("timm/repvgg_a0", "timm/hardcorenas_a"),
)
LARGER = ("alexnet", "vgg11", "vgg11_bn", "swin_t", "vit_b_32", "timm/poolformer_s12")
"""Models that are read at 224 pixels, as others are at 96."""


def model_of(name: str) -> Any:
    """Return a model without weights."""
    if name.startswith("timm/"):
        import timm

        return timm.create_model(name.removeprefix("timm/"), exportable=True).eval()
    options = {"init_weights": False} if name == "googlenet" else {}
    return import_torchvision().models.get_model(name, weights=None, **options).eval()


def in_all_formats(model: Any, shape: tuple[int, ...]) -> dict[str, EnrichedNetworkNode]:
    """Return the graph of a model by the format that it was read from."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    image = torch.rand(shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (image,))
        file = io.BytesIO()
        torch.onnx.export(model, (image,), file, dynamo=False, opset_version=17)
    return {
        "module": create_graph_from_pytorch_model(model, input_res=shape),
        "exported": create_graph_from_pytorch_model(program),
        "onnx": create_graph_from_onnx(onnx.load_from_string(file.getvalue())),
    }


def differences(graphs: dict[str, EnrichedNetworkNode]) -> list[str]:
    """Return what another format says otherwise than the module."""
    first, *others = graphs
    ours = {node.name: facts(node) for node in graphs[first].all_layers}
    found = []
    for name in others:
        theirs = {node.name: facts(node) for node in graphs[name].all_layers}
        common = ours.keys() & theirs.keys()
        if not common:  # exporters fold norms, so that few nodes may keep their names
            found.append(f"{name}: no node has the name of one of the module")
        found += [
            f"{name}, {node}: {theirs[node]}, not {ours[node]}"
            for node in sorted(common)
            if theirs[node] != ours[node]
        ]
        ranges = [input_resolution_range(graphs[one]) for one in (first, name)]
        if ranges[0] != ranges[1]:
            found.append(f"{name}: the range is {ranges[1]}, not {ranges[0]}")
    return found


def facts(node: EnrichedNetworkNode) -> tuple[Any, ...]:
    """Return what a node must say in every format."""
    return (
        node.receptive_field_min,
        node.receptive_field_max,
        node.get_maximum_scale_factor(),
        node.certainty,
    )


def main(names: list[str]) -> int:
    """Print what differs; return 1 if anything does."""
    failed = False
    for name in names or [*TORCHVISION, *TIMM]:
        size = 224 if name in LARGER else 96
        found = differences(in_all_formats(model_of(name), (1, 3, size, size)))
        failed = failed or bool(found)
        print(f"{name}: {'differs' if found else 'equal in all formats'}")
        print("".join(f"  {one}\n" for one in found[:5]), end="", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
