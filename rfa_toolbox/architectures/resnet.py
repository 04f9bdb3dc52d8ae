"""Residual networks as graphs.

Source: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
table 1; a bottleneck strides in its first layer, as there. Norms and activations inside the
blocks do not change a receptive field and have no nodes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from rfa_toolbox.architectures.stages import checked_stages
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

__all__ = [
    "addition",
    "bottleneck",
    "convolution",
    "head",
    "residual_block",
    "resnet",
    "resnet18",
    "resnet36",
    "resnet50",
    "resnet101",
    "resnet152",
    "shortcut",
    "small_stem",
    "stage",
    "stem",
]

Block: TypeAlias = "Callable[[str, EnrichedNetworkNode, int, int], EnrichedNetworkNode]"
"""Makes a block from its name, the node in front, the filters and the stride."""


def convolution(
    name: str, previous: EnrichedNetworkNode, filters: int, kernel_size: int, stride: int = 1
) -> EnrichedNetworkNode:
    """Return a convolution on top of a node, padded so that only its stride shrinks the map."""
    layer = LayerDefinition(
        f"Conv{kernel_size}x{kernel_size}",
        kernel_size=kernel_size,
        stride_size=stride,
        filters=filters,
        padding=kernel_size // 2,
    )
    return EnrichedNetworkNode(name, layer, [previous])


def addition(name: str, branches: Sequence[EnrichedNetworkNode]) -> EnrichedNetworkNode:
    """Return the sum of several branches, which all have the same number of filters.

    >>> addition("sum", [small_stem(), small_stem()]).receptive_field_max
    3
    """
    layer = LayerDefinition("Addition", 1, 1, filters=branches[0].layer_info.filters)
    return EnrichedNetworkNode(name, layer, branches)


def shortcut(
    name: str, previous: EnrichedNetworkNode, filters: int, stride: int
) -> EnrichedNetworkNode:
    """Return the way around a block: the node itself, or a 1x1 convolution where sizes change."""
    if stride == 1 and previous.layer_info.filters == filters:
        return previous
    return convolution(f"{name}-Shortcut", previous, filters, 1, stride)


def residual_block(
    name: str, previous: EnrichedNetworkNode, filters: int, stride: int = 1
) -> EnrichedNetworkNode:
    """Return the end of a block of two 3x3 convolutions, added to what reaches it.

    >>> residual_block("Block", small_stem(), filters=64).receptive_field_max
    7
    """
    node = convolution(f"{name}-Conv0", previous, filters, 3, stride)
    node = convolution(f"{name}-Conv1", node, filters, 3)
    return addition(f"{name}-Addition", [node, shortcut(name, previous, filters, stride)])


def bottleneck(
    name: str, previous: EnrichedNetworkNode, filters: int, stride: int = 1
) -> EnrichedNetworkNode:
    """Return the end of a 1x1, 3x3, 1x1 block that widens to four times the filters.

    >>> bottleneck("Block", small_stem(), filters=64).layer_info.filters
    256
    """
    node = convolution(f"{name}-Conv0", previous, filters, 1, stride)
    node = convolution(f"{name}-Conv1", node, filters, 3)
    node = convolution(f"{name}-Conv2", node, 4 * filters, 1)
    return addition(f"{name}-Addition", [node, shortcut(name, previous, 4 * filters, stride)])


def stage(
    index: int, previous: EnrichedNetworkNode, blocks: int, block: Block
) -> EnrichedNetworkNode:
    """Return the end of a number of equal blocks; from the second stage on the first one strides.

    >>> stage(1, small_stem(), 2, residual_block).name
    'Stage1-Block1-Addition'
    """
    node = previous
    for position in range(blocks):
        stride = 2 if index > 0 and position == 0 else 1
        node = block(f"Stage{index}-Block{position}", node, 64 * 2**index, stride)
    return node


def _image() -> EnrichedNetworkNode:
    layer = LayerDefinition("Input", kernel_size=1, stride_size=1, filters=3)
    return EnrichedNetworkNode("Input", layer, [])


def stem() -> EnrichedNetworkNode:
    """Return the usual stem: it divides the resolution by four.

    >>> stem().receptive_field_max
    11
    """
    node = convolution("Stem-Conv", _image(), 64, 7, stride=2)
    layer = LayerDefinition("MaxPool3x3", kernel_size=3, stride_size=2, filters=64, padding=1)
    return EnrichedNetworkNode("Stem-Pool", layer, [node])


def small_stem() -> EnrichedNetworkNode:
    """Return the stem for small images: one 3x3 convolution at full resolution.

    >>> small_stem().receptive_field_max
    3
    """
    return convolution("Stem-Conv", _image(), 64, 3)


def head(previous: EnrichedNetworkNode, classes: int = 1000) -> EnrichedNetworkNode:
    """Return the classifier: the last activation, global pooling and a dense layer.

    >>> head(small_stem()).receptive_field_min
    inf
    """
    filters = previous.layer_info.filters
    activation = LayerDefinition("Activation", 1, 1, filters=filters)
    node = EnrichedNetworkNode("Head-Activation", activation, [previous])
    node = EnrichedNetworkNode("Head-Pool", LayerDefinition("GlobalPool", filters=filters), [node])
    return EnrichedNetworkNode("Softmax", LayerDefinition("Dense", units=classes), [node])


def resnet(
    stage_config: Sequence[int],
    block: Block,
    stem_factory: Callable[[], EnrichedNetworkNode] = stem,
) -> EnrichedNetworkNode:
    """Return a residual network with as many blocks per stage as ``stage_config`` says.

    >>> resnet((1, 1), residual_block, stem_factory=small_stem).name
    'Softmax'
    """
    stages = checked_stages(stage_config)
    node = stem_factory()
    for index, blocks in enumerate(stages):
        node = stage(index, node, blocks, block)
    return head(node)


def resnet18() -> EnrichedNetworkNode:
    """Return ResNet18.

    >>> nodes = resnet18().all_layers
    >>> next(n for n in nodes if n.name == "Stage3-Block1-Addition").receptive_field_max
    435
    """
    return resnet((2, 2, 2, 2), residual_block)


def resnet36() -> EnrichedNetworkNode:
    """Return the network of two-layer blocks that the literature calls ResNet34.

    >>> len([node for node in resnet36().all_layers if "Addition" in node.name])
    16
    """
    return resnet((3, 4, 6, 3), residual_block)


def resnet50() -> EnrichedNetworkNode:
    """Return ResNet50.

    >>> max(node.receptive_field_max for node in resnet50().all_layers[:-2])
    483
    """
    return resnet((3, 4, 6, 3), bottleneck)


def resnet101() -> EnrichedNetworkNode:
    """Return ResNet101.

    >>> max(node.receptive_field_max for node in resnet101().all_layers[:-2])
    1027
    """
    return resnet((3, 4, 23, 3), bottleneck)


def resnet152() -> EnrichedNetworkNode:
    """Return ResNet152.

    >>> max(node.receptive_field_max for node in resnet152().all_layers[:-2])
    1507
    """
    return resnet((3, 8, 36, 3), bottleneck)
