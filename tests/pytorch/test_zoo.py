"""Torchvision's models: nodes and ranges of the predecessor, and published values."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model, input_resolution_range
from rfa_toolbox.graphs import EnrichedNetworkNode

DATA = Path(__file__).parent / "data"
RANGES = {
    row["model"]: row
    for row in csv.DictReader((DATA / "torchvision_ranges.csv").read_text().splitlines())
}


def build(torchvision: Any, name: str, **options: Any) -> nn.Module:
    """Make a model without weights; on the meta device this costs neither time nor memory.

    RegNets read values of tensors while they are made, which the meta device does not have.
    """
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # they warn that this takes long
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def encode(model: nn.Module) -> EnrichedNetworkNode:
    return create_graph_from_pytorch_model(model)


def spelled(ranges: tuple[tuple[Any, ...], tuple[Any, ...]]) -> str:
    return " ".join("x".join(map(str, sizes)) for sizes in ranges)


@pytest.mark.parametrize("name", RANGES)
def test_numbers_of_nodes_are_those_of_the_predecessor(torchvision: Any, name: str) -> None:
    train, _, evaluation = RANGES[name]["nodes"].partition(" / ")
    model = build(torchvision, name)
    assert len(encode(model.train()).all_layers) == int(train.split()[0])
    assert len(encode(model.eval()).all_layers) == int((evaluation or train).split()[0])


COLUMNS: dict[str, dict[str, Any]] = {
    "default": {},
    "lower_bound": {"lower_bound": True},
    "unfiltered_with_feature_map_bound": {
        "filter_all_inf_rf": False,
        "feature_map_bound": True,
    },
    "unfiltered_lower_bound": {"filter_all_inf_rf": False, "lower_bound": True},
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_are_those_of_the_predecessor(torchvision: Any, name: str) -> None:
    graph = encode(build(torchvision, name).eval())
    found = {
        column: spelled(input_resolution_range(graph, **options))
        for column, options in COLUMNS.items()
    }
    expected = {column: RANGES[name][column] for column in COLUMNS}
    if name == "inception_v3":
        # The predecessor looked at the first axis only with lower_bound=True and took its answer
        # for both; that counts what a 1x7 convolution reads along the axis where it does not
        # expand. Per axis it is less.
        for column in ("lower_bound", "unfiltered_lower_bound"):
            expected[column] = "143x143 1311x1311"
    assert found == expected


def test_resnet50_as_the_documentation_of_the_predecessor_shows_it(torchvision: Any) -> None:
    graph = encode(torchvision.models.resnet50())
    assert input_resolution_range(graph, filter_all_inf_rf=False) == ((75, 75), (427, 427))
    assert input_resolution_range(graph) == ((96, 96), (427, 427))


@pytest.mark.parametrize(
    ("name", "mode", "nodes"),
    [
        ("alexnet", True, 22),
        ("vgg19", True, 46),
        ("resnet18", True, 69),
        ("resnet152", True, 515),
        ("mnasnet1_3", True, 152),
        ("inception_v3", True, 319),
    ],
)
def test_known_numbers_of_nodes(torchvision: Any, name: str, mode: bool, nodes: int) -> None:
    assert len(encode(build(torchvision, name).train(mode)).all_layers) == nodes


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("alexnet", 195),
        ("vgg11", 150),
        ("vgg16", 212),
        ("resnet18", 435),
        ("resnet50", 427),
        ("resnet101", 971),
        ("resnet152", 1451),
        ("inception_v3", 1311),
    ],
)
def test_published_receptive_fields(torchvision: Any, name: str, field: int) -> None:
    """Araujo, Norris, Sim: Computing Receptive Fields (Distill, 2019), and ResNet18's 435.

    ResNets have their stride on the 3x3 convolution in torchvision.
    """
    model = build(torchvision, name).eval()
    assert input_resolution_range(encode(model))[1] == (field, field)


@pytest.mark.parametrize(
    ("replaced", "field"),
    [([False, True, True], 427), ([False, False, True], 427), ([False, False, False], 427)],
)
def test_dilation_in_place_of_stride_keeps_the_field(
    torchvision: Any, replaced: list[bool], field: int
) -> None:
    model = build(torchvision, "resnet50", replace_stride_with_dilation=replaced)
    assert input_resolution_range(encode(model.eval()))[1] == (field, field)


# --- the minimal feasible input resolution (Richter and Pal, 2022) ----------------------------


def feasible(model: nn.Module) -> int:
    first, second = input_resolution_range(encode(model.eval()), feature_map_bound=False)[0]
    assert first == second
    return int(first)


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        pytest.param(name, resolution, marks=pytest.mark.slow if slow else ())
        for name, resolution, slow in [
            ("vgg19", 268, False),
            ("mobilenet_v3_small", 303, False),
            ("mobilenet_v3_large", 263, False),
            ("mnasnet0_5", 283, False),
            ("mnasnet0_75", 283, True),
            ("mnasnet1_0", 283, True),
            ("mnasnet1_3", 283, True),
            ("efficientnet_b0", 299, False),
            ("efficientnet_b1", 299, True),
            ("efficientnet_b2", 299, True),
            ("efficientnet_b3", 299, True),
            ("efficientnet_b4", 299, True),
            ("efficientnet_b5", 299, True),
            ("convnext_tiny", 224, False),
            ("convnext_small", 224, True),
            ("convnext_base", 224, True),
            ("convnext_large", 224, True),
        ]
    ],
)
def test_published_minimal_feasible_resolution(
    torchvision: Any, name: str, resolution: int
) -> None:
    assert feasible(build(torchvision, name)) == resolution


def strided(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]


def repaired_vgg19(torchvision: Any) -> nn.Module:
    """VGG19 with its poolings after the convolutions 4, 7, 10, 13 and 16."""
    plan: list[int | str] = []
    for number in range(1, 17):
        plan.append(64 if number < 3 else 128 if number < 5 else 256 if number < 9 else 512)
        if number in (4, 7, 10, 13, 16):
            plan.append("M")
    vgg = torchvision.models.vgg
    model: nn.Module = vgg.VGG(vgg.make_layers(plan), init_weights=False)
    return model


def repaired_mobilenet_small(torchvision: Any) -> nn.Module:
    model = build(torchvision, "mobilenet_v3_small")
    (layer,) = strided(model.features[4])  # type: ignore[operator, index]
    layer.stride = (1, 1)
    return model


def without_last_stride(name: str) -> Callable[[Any], nn.Module]:
    def make(torchvision: Any) -> nn.Module:
        model = build(torchvision, name)
        strided(model)[-1].stride = (1, 1)
        return model

    return make


def repaired_convnext(torchvision: Any) -> nn.Module:
    """ConvNeXt with patches of 2x2 in place of 4x4."""
    model = build(torchvision, "convnext_tiny")
    stem = model.features[0]  # type: ignore[index]
    stem[0] = nn.Conv2d(3, stem[0].out_channels, 2, 2, device="meta")  # type: ignore[index]
    return model


@pytest.mark.parametrize(
    ("make", "resolution"),
    [
        pytest.param(repaired_vgg19, 220, id="vgg19"),
        pytest.param(repaired_mobilenet_small, 175, id="mobilenet_v3_small"),
        pytest.param(without_last_stride("mobilenet_v3_large"), 199, id="mobilenet_v3_large"),
        pytest.param(without_last_stride("mnasnet1_0"), 219, id="mnasnet"),
        pytest.param(repaired_convnext, 112, id="convnext"),
    ],
)
def test_published_changes_lower_the_minimal_feasible_resolution(
    torchvision: Any, make: Callable[[Any], nn.Module], resolution: int
) -> None:
    with torch.device("meta"):
        assert feasible(make(torchvision)) == resolution


# --- everything ------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_classification_model_is_encoded(torchvision: Any) -> None:
    """All 80, in both modes; nothing in them is unknown to the encoder."""
    names = (DATA / "torchvision_models.txt").read_text().split()
    assert len(names) == 80
    for name in names:
        with warnings.catch_warnings():  # some demand 224
            warnings.filterwarnings("ignore", message=".* does not take the default input")
            model = build(torchvision, name)
            for mode in (True, False):
                graph = encode(model.train(mode))
                layers = graph.all_layers
                assert graph in layers, name
                # How windows upon windows lie against each other is not followed: a bound.
                windowed = name.startswith(("maxvit", "swin"))
                known = {"exact", "bound"} if windowed else {"exact"}
                assert {node.certainty for node in layers} <= known, name
                assert len({node.name for node in layers}) == len(layers), name
                convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
                filters = sum(node.layer_info.filters is not None for node in layers)
                assert filters <= convolutions, name
