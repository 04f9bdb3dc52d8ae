"""The published refinements as data: models, edits, and the numbers that they have to give.

Source: M. L. Richter, C. Pal, "Receptive Field Refinement for Convolutional Neural Networks
Reliably Improves Predictive Performance", 2022. Compute is counted as there: multiply-accumulates,
and five operations per output of a batch norm.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model, create_graph_from_tensorflow_model
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement import Edit, InsertPooling, RemovePooling, SetWindow
from tests.frameworks import import_torchvision, keras_application


@attrs.frozen
class Row:
    """One published change, and its numbers before and after: pixels, G, M.

    No ``parameters`` means those of the original. Of what is not ``published``, the numbers are
    those of the same change by hand.
    """

    label: str
    model: Callable[[], Any]
    edits: tuple[Edit, ...]
    resolutions: tuple[int, int]
    compute: float
    parameters: float | None = None
    size: int = 224
    slow: bool = False
    published: bool = True


def torchvision_model(name: str) -> Any:
    torchvision = import_torchvision()
    with torch.device("meta"):
        drawn = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return torchvision.models.get_model(name, weights=None, **drawn).eval()


def timm_model(name: str) -> Any:
    import_torchvision()  # timm imports it
    import timm

    with torch.device("meta"):
        return timm.create_model(name).eval()


def graph_of(model: Any, size: int) -> EnrichedNetworkNode:
    if isinstance(model, nn.Module) and not hasattr(model, "get_config"):
        return create_graph_from_pytorch_model(model, input_res=(1, 3, size, size))
    return create_graph_from_tensorflow_model(model)


def compute_as_published(graph: EnrichedNetworkNode) -> float:
    """Return multiply-accumulates and five operations per output of a batch norm, in G."""
    total = 0
    for node in graph.all_layers:
        total += node.multiply_accumulates or 0
        name = node.layer_info.name
        if "batchnorm" in name.lower().replace("_", ""):
            channels = node.parameters // (4 if name == "BatchNormalization" else 2)
            total += 5 * channels * math.prod(node.feature_map)
    return total / 1e9


def parameters_of(graph: EnrichedNetworkNode) -> float:
    return sum(node.parameters or 0 for node in graph.all_layers) / 1e6


def _vgg19(conv: Callable[[int], str], pools: Sequence[str]) -> tuple[Edit, ...]:
    """Poolings behind convolutions 4, 7, 10, 13 and 16 in place of 2, 4, 8, 12 and 16."""
    return (
        *(RemovePooling(name) for name in pools),
        *(InsertPooling(conv(number)) for number in (4, 7, 10, 13, 16)),
    )


_VGG19_BN = [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49]
"""Where its convolutions are in ``features``; the activation of each stands two behind it."""
_BLOCKS = ("1_conv2", "2_conv2", "3_conv4", "4_conv4", "5_conv4")
_KERAS_VGG19 = [
    f"block{block}_conv{number}"
    for block, count in enumerate((2, 2, 4, 4, 4), start=1)
    for number in range(1, count + 1)
]


def _efficientnet(prefix: str, last: str) -> tuple[Edit, ...]:
    """Strides of stages 1 to 7 from (1, 2, 2, 2, 1, 2, 1) to (1, 2, 2, 1, 2, 1, 1)."""
    return (
        SetWindow(prefix.format(4) + last, stride=1),
        SetWindow(prefix.format(5) + last, stride=2),
        SetWindow(prefix.format(6) + last, stride=1),
    )


_STRIDE_TV = _efficientnet("features.{}.0.", "block.1.0")
_STRIDE_KERAS = _efficientnet("block{}a_", "dwconv")
_PATCH = 2

_EFFICIENTNET_COMPUTE = [0.949, 1.67, 2.46, 4.41, 11.2, 25.8, 8.68, 13.42]
_EFFICIENTNET_SIZES = [224, 240, 260, 300, 380, 456, 224, 224]
_MNASNET = {
    "0_5": (0.238, 2.219),
    "0_75": (0.471, 3.170),
    "1_0": (0.725, 4.383),
    "1_3": (1.173, 6.282),
}
_CONVNEXT = {"tiny": 17.777, "small": 34.689, "base": 61.358, "large": 137.354}
_CONVNEXT_PARAMETERS = {"tiny": 28.586, "small": 50.220, "base": 88.587, "large": 197.760}

ROWS: tuple[Row, ...] = (
    Row(
        "torchvision vgg19_bn",
        functools.partial(torchvision_model, "vgg19_bn"),
        _vgg19(
            lambda number: f"features.{_VGG19_BN[number - 1] + 2}",
            [f"features.{place}" for place in (6, 13, 26, 39, 52)],
        ),
        (268, 220),
        51.711,
        143.678,
    ),
    Row(
        "timm mobilenetv1_100",
        functools.partial(timm_model, "mobilenetv1_100"),
        (
            SetWindow("blocks.3.0.conv_dw", stride=1),
            SetWindow("blocks.4.0.conv_dw", stride=1),
            SetWindow("blocks.3.4.conv_dw", stride=2),
        ),
        (315, 219),
        1.390,
        4.232,
    ),
    Row(
        "torchvision mobilenet_v3_small",
        functools.partial(torchvision_model, "mobilenet_v3_small"),
        (SetWindow("features.4.block.1.0", stride=1),),
        (303, 175),
        0.183,
        2.543,
    ),
    Row(
        "torchvision mobilenet_v3_large",
        functools.partial(torchvision_model, "mobilenet_v3_large"),
        (SetWindow("features.13.block.1.0", stride=1),),
        (263, 199),
        0.382,
        5.483,
    ),
    *(
        Row(
            f"torchvision mnasnet{width}",
            functools.partial(torchvision_model, f"mnasnet{width}"),
            (SetWindow("layers.12.0.layers.3", stride=1),),
            (283, 219),
            *numbers,
        )
        for width, numbers in _MNASNET.items()
    ),
    Row(
        "timm mnasnet_100",
        functools.partial(timm_model, "mnasnet_100"),
        (SetWindow("blocks.5.0.conv_dw", stride=1),),
        (283, 219),
        0.725,
        4.383,
    ),
    *(
        Row(
            f"torchvision convnext_{size}",
            functools.partial(torchvision_model, f"convnext_{size}"),
            (SetWindow("features.0.0", stride=_PATCH, kernel=_PATCH),),
            (224, 112),
            _CONVNEXT[size],
            _CONVNEXT_PARAMETERS[size],
        )
        for size in _CONVNEXT
    ),
    *(
        Row(
            f"torchvision convnext_{size}, larger images",
            functools.partial(torchvision_model, f"convnext_{size}"),
            (SetWindow("features.0.0", stride=_PATCH, kernel=_PATCH),),
            (224, 112),
            compute,
            _CONVNEXT_PARAMETERS[size],
            384,
            slow=True,
        )
        for size, compute in (("base", 180.3), ("large", 403.7))
    ),
    *(
        Row(
            f"torchvision efficientnet_b{number}",
            functools.partial(torchvision_model, f"efficientnet_b{number}"),
            _STRIDE_TV,
            (299, 203),
            _EFFICIENTNET_COMPUTE[number],
            None,
            _EFFICIENTNET_SIZES[number],
            slow=number > 1,
            published=number < 6,
        )
        for number in range(8)
    ),
    Row(
        "keras VGG19",
        functools.partial(keras_application, "VGG19"),
        _vgg19(
            lambda number: _KERAS_VGG19[number - 1],
            [f"block{number}_pool" for number in range(1, 6)],
        ),
        (268, 220),
        51.539,
        143.678,
        slow=True,
    ),
    Row(
        "keras MobileNet",
        functools.partial(keras_application, "MobileNet"),
        (
            SetWindow("conv_dw_6", stride=1),
            SetWindow("conv_dw_12", stride=1),
            SetWindow("conv_dw_10", stride=2),
        ),
        (315, 219),
        1.390,
        4.232,
        slow=True,
    ),
    Row(
        "keras MobileNetV3Small",
        functools.partial(keras_application, "MobileNetV3Small", input_shape=(224, 224, 3)),
        (SetWindow("expanded_conv_3_depthwise", stride=1),),
        (303, 175),
        0.183,
        2.543,
        slow=True,
    ),
    Row(
        "keras MobileNetV3Large",
        functools.partial(keras_application, "MobileNetV3Large", input_shape=(224, 224, 3)),
        (SetWindow("expanded_conv_12_depthwise", stride=1),),
        (263, 199),
        0.382,
        5.483,
        slow=True,
    ),
    *(
        Row(
            f"keras EfficientNetB{number}",
            functools.partial(
                keras_application,
                f"EfficientNetB{number}",
                input_shape=(_EFFICIENTNET_SIZES[number], _EFFICIENTNET_SIZES[number], 3),
            ),
            _STRIDE_KERAS,
            (299, 203),
            _EFFICIENTNET_COMPUTE[number],
            None,
            _EFFICIENTNET_SIZES[number],
            slow=True,
            published=number < 6,
        )
        for number in range(8)
    ),
    *(
        Row(
            f"keras ConvNeXt{size.capitalize()}",
            functools.partial(keras_application, f"ConvNeXt{size.capitalize()}"),
            (
                SetWindow(
                    f"convnext_{size}_stem/convnext_{size}_stem_conv", stride=_PATCH, kernel=_PATCH
                ),
            ),
            (224, 112),
            _CONVNEXT[size],
            _CONVNEXT_PARAMETERS[size],
            slow=True,
        )
        for size in _CONVNEXT
    ),
)
