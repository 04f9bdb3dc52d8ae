"""Compare models of torchvision, timm and Keras with what their exporters write.

    python -m benchmarks.formats_zoo [NAME...]
    KERAS_BACKEND=torch python -m benchmarks.formats_zoo keras/MobileNetV2

A model of PyTorch is read three times: as a module, as ``torch.export`` returns it, and from the
file that PyTorch's exporter for ONNX writes. Fields, jumps and certainty of all nodes that stand
for the same, and the range of resolutions, must be equal. A model of Keras is read from its JSON
and from the ONNX file that Keras writes; there no names are the same, so all nodes that look at
more than one unit are compared, in any order. Needs torchvision, timm, keras and onnx; takes some
minutes.
"""

from __future__ import annotations

import io
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch

from rfa_toolbox import (
    create_graph_from_keras_json,
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
    input_resolution_range,
)
from rfa_toolbox.arithmetic import broadcast
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
KERAS = {
    **dict.fromkeys(("VGG16", "VGG19", "ResNet50", "ResNet50V2", "MobileNet", "MobileNetV2"), 64),
    **dict.fromkeys(("DenseNet121", "EfficientNetB0", "EfficientNetV2B0"), 64),
    **dict.fromkeys(("MobileNetV3Small", "MobileNetV3Large"), 64),
    **dict.fromkeys(("InceptionV3", "InceptionResNetV2"), 75),
}
"""Applications of Keras, and the smallest images that they take, or so.

Keras cannot export Xception and ConvNeXt, nor build NASNet, with PyTorch as its backend.
"""
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
        common = in_both(graphs[first], graphs[name])
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


def in_both(one: EnrichedNetworkNode, other: EnrichedNetworkNode) -> set[str]:
    """Return the names that stand for the same in two graphs of a model.

    Functions are numbered within their module, and exporters write some in other functions.
    """
    ours, theirs = (_names_by_module(graph) for graph in (one, other))
    return {
        name
        for module, names in ours.items()
        for name in names
        if name == module or names == theirs.get(module)
    } & {name for names in theirs.values() for name in names}


def _names_by_module(graph: EnrichedNetworkNode) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for node in graph.all_layers:
        found.setdefault(node.name.partition("/")[0], []).append(node.name)
    return found


def of_keras(name: str, **options: Any) -> list[EnrichedNetworkNode]:
    """Return the graph of an application's JSON, and that of its ONNX file."""
    import keras

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    size = KERAS[name]
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)
    model(torch.ones(1, size, size, 3))  # Keras exports no model that never ran
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's tracer, about code of Keras
        file = Path(folder) / "model.onnx"
        model.export(file, format="onnx", verbose=False)
        return [create_graph_from_keras_json(model.to_json()), create_graph_from_onnx(file)]


def looking(graph: EnrichedNetworkNode) -> set[Any]:
    """Return what is known of the nodes that look at more than one unit."""
    return {
        (facts(node), node.unit_windows, node.feature_map)
        for node in graph.all_layers
        if any(one > 1 for one in broadcast(node.layer_info.kernel_size, 2))
    }


def differences_of_keras(graphs: list[EnrichedNetworkNode]) -> list[str]:
    """Return what the ONNX file of an application says otherwise than its JSON."""
    ours, theirs = map(looking, graphs)
    found = [f"only in the JSON: {one}" for one in sorted(ours - theirs, key=repr)]
    found += [f"only in the ONNX file: {one}" for one in sorted(theirs - ours, key=repr)]
    ranges = list(map(input_resolution_range, graphs))
    return found + ([f"the ranges are {ranges}"] if ranges[0] != ranges[1] else [])


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
    for name in names or [*TORCHVISION, *TIMM, *(f"keras/{one}" for one in KERAS)]:
        size = 224 if name in LARGER else 96
        if name.startswith("keras/"):
            found = differences_of_keras(of_keras(name.removeprefix("keras/")))
        else:
            found = differences(in_all_formats(model_of(name), (1, 3, size, size)))
        failed = failed or bool(found)
        print(f"{name}: {'differs' if found else 'equal in all formats'}")
        print("".join(f"  {one}\n" for one in found[:5]), end="", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
