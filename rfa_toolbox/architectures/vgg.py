"""VGG networks as graphs: input, convolutions and poolings, then three dense layers.

Source: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, table 1. Activations do not change a receptive field and have no nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfa_toolbox.architectures.stages import checked_stages
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

__all__ = ["convolution", "head", "pooling", "vgg", "vgg11", "vgg13", "vgg16", "vgg19"]


def convolution(name: str, previous: EnrichedNetworkNode, filters: int) -> EnrichedNetworkNode:
    """Return a 3x3 convolution on top of a node."""
    layer = LayerDefinition("Conv3x3", kernel_size=3, stride_size=1, filters=filters, padding=1)
    return EnrichedNetworkNode(name, layer, [previous])


def pooling(name: str, previous: EnrichedNetworkNode) -> EnrichedNetworkNode:
    """Return a 2x2 max pooling on top of a node; it halves the feature map."""
    layer = LayerDefinition("MaxPool2x2", kernel_size=2, stride_size=2, padding=0)
    return EnrichedNetworkNode(name, layer, [previous])


def head(previous: EnrichedNetworkNode, classes: int = 1000) -> EnrichedNetworkNode:
    """Return the last of the three dense layers of the classifier."""
    node = previous
    for name, units in (("Dense0", 4096), ("Dense1", 4096), ("Softmax", classes)):
        node = EnrichedNetworkNode(name, LayerDefinition("Dense", units=units), [node])
    return node


def vgg(stage_config: Sequence[int], classes: int = 1000) -> EnrichedNetworkNode:
    """Return a VGG network with as many convolutions per stage as ``stage_config`` says.

    >>> vgg([1, 1], classes=10).all_layers[3].name
    'Stage1-Conv0'
    """
    stages = checked_stages(stage_config)
    image = LayerDefinition("Input", kernel_size=1, stride_size=1, filters=3)
    node = EnrichedNetworkNode("Input", image, [])
    for stage, convolutions in enumerate(stages):
        for position in range(convolutions):
            node = convolution(f"Stage{stage}-Conv{position}", node, min(64 * 2**stage, 512))
        node = pooling(f"Stage{stage}-Pool", node)
    return head(node, classes)


def vgg11() -> EnrichedNetworkNode:
    """Return VGG11.

    >>> vgg11().predecessors[0].name
    'Dense1'
    """
    return vgg((1, 1, 2, 2, 2))


def vgg13() -> EnrichedNetworkNode:
    """Return VGG13.

    >>> len(vgg13().all_layers)
    19
    """
    return vgg((2, 2, 2, 2, 2))


def vgg16() -> EnrichedNetworkNode:
    """Return VGG16.

    >>> [node.receptive_field_min for node in vgg16().all_layers][-5:]
    [196, 212, inf, inf, inf]
    """
    return vgg((2, 2, 3, 3, 3))


def vgg19() -> EnrichedNetworkNode:
    """Return VGG19.

    >>> vgg19().all_layers[-4].receptive_field_min
    268
    """
    return vgg((2, 2, 4, 4, 4))
