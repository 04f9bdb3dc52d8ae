"""Questions about the layers of a graph that edits and searches ask."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from rfa_toolbox import arithmetic
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, require_node

__all__ = [
    "calls_of_layers",
    "channels_of",
    "is_in_code",
    "is_in_head",
    "is_inside",
    "is_of_keras",
    "is_pooling",
    "is_strided",
    "is_transposed",
    "jump_of",
    "named",
    "places_on_all_paths",
    "pools",
    "sees_all",
]

_POOLINGS = ("maxpool", "avgpool", "averagepool", "max_pool", "avg_pool", "lppool", "lp_pool")
_JOINS = {"cat", "concat", "concatenate"}


def is_in_head(node: EnrichedNetworkNode) -> bool:
    """Whether a node sees everything on every axis, whatever the size of the image."""
    return all(arithmetic.smallest_field(paths) == math.inf for paths in node.lasting_paths)


def channels_of(node: EnrichedNetworkNode) -> int | None:
    """Return how many channels a map has; None if the graph does not tell."""
    while True:
        layer = node.layer_info
        if layer.filters is not None or layer.units is not None:
            return layer.filters if layer.filters is not None else layer.units
        if not node.predecessors:
            return None
        if len(node.predecessors) > 1 and layer.name.lower() in _JOINS:
            return _joined_channels(node)
        node = node.predecessors[0]


def _joined_channels(node: EnrichedNetworkNode) -> int | None:
    """Return how many channels maps have together; None where some of them were left out.

    A graph does not show that a map was split. A convolution that reads what was put together again
    does: the channels that it reads are all, or an equal part of them.
    """
    several = [channels_of(one) for one in node.predecessors]
    if None in several:
        return None
    count = sum(one or 0 for one in several)
    read = [_channels_read(one) for one in node.successors]
    return None if any(one and count % one for one in read) else count


def _channels_read(node: EnrichedNetworkNode) -> int | None:
    """Return how many channels a filter reads, if the graph tells."""
    layer, work = node.layer_info, node.measures.work
    if not work or not node.feature_map or not layer.filters or sees_all(layer):
        return None
    kernels = arithmetic.broadcast(layer.kernel_size, len(node.feature_map))
    weights = layer.filters * math.prod(int(one) for one in kernels)
    return sum(count for count, _ in work) // math.prod(node.feature_map) // weights


def named(nodes: Mapping[str, EnrichedNetworkNode], name: str) -> EnrichedNetworkNode:
    """Return the layer of a name.

    Raises:
        RefinementError: if there is none.
    """
    if name in nodes:
        return nodes[name]
    near = difflib.get_close_matches(name, nodes, n=3) or list(nodes)[:3]
    raise RefinementError(
        f"The graph has no layer {name!r}; it has, for example, {', '.join(map(repr, near))}."
    )


def is_pooling(node: EnrichedNetworkNode) -> bool:
    """Whether a node pools windows of a map."""
    return pools(node.layer_info)


def pools(layer: LayerDefinition) -> bool:
    """Whether a layer pools windows of a map."""
    return layer.name.lower().replace("ing", "").startswith(_POOLINGS)


def is_of_keras(layer: LayerDefinition) -> bool:
    """Whether a layer is named as those of Keras: Conv2D, and not Conv2d."""
    return layer.name.removesuffix("Transpose").endswith(("1D", "2D", "3D"))


def is_transposed(layer: LayerDefinition) -> bool:
    """Whether a layer is a transposed convolution."""
    return "Transpose" in layer.name


def sees_all(layer: LayerDefinition) -> bool:
    """Whether a layer sees the whole map in front of it."""
    kernel = layer.kernel_size
    return any(one == math.inf for one in (kernel if isinstance(kernel, tuple) else (kernel,)))


def is_in_code(node: EnrichedNetworkNode) -> bool:
    """Whether a node is a call in the code of a model, which no layer holds the numbers of.

    >>> is_in_code(EnrichedNetworkNode("block/max_pool2d", LayerDefinition("max_pool2d", 2), []))
    True
    """
    return node.layer_info.name[:1].islower()


def calls_of_layers(
    nodes: Sequence[EnrichedNetworkNode],
) -> dict[str, tuple[EnrichedNetworkNode, ...]]:
    """Return the calls of every layer that is called several times, by the name of each of them.

    It is one layer, so its numbers are the same in all of its calls.

    >>> first = EnrichedNetworkNode("pool", LayerDefinition("MaxPool2d", 2, 2), [])
    >>> second = EnrichedNetworkNode("pool#2", LayerDefinition("MaxPool2d", 2, 2), [first])
    >>> [node.name for node in calls_of_layers([first, second])["pool"]]
    ['pool', 'pool#2']
    """
    found: dict[object, list[EnrichedNetworkNode]] = {}
    for node in nodes:
        layer = node.layer_info
        if not is_in_code(node):
            numbers = (layer.name, layer.kernel_size, layer.stride_size, layer.filters)
            found.setdefault((node.name.partition("#")[0], *numbers), []).append(node)
    several = [tuple(calls) for calls in found.values() if len(calls) > 1]
    return {node.name: calls for calls in several for node in calls}


def jump_of(node: EnrichedNetworkNode) -> Fraction | int:
    """Return the pixels between neighbouring units of a node, on the coarsest axis."""
    jumps = [arithmetic.largest_jump(paths) for paths in node.lasting_paths]
    return max((one for one in jumps if one is not None), default=1)


def is_inside(path: str | None, outer: str) -> bool:
    """Whether a module is another one, or in it.

    >>> is_inside("layer1.0.conv1", "layer1"), is_inside("layer10", "layer1")
    (True, False)
    """
    return path is not None and (path == outer or path.startswith((f"{outer}.", f"{outer}/")))


def is_strided(node: EnrichedNetworkNode) -> bool:
    """Whether a layer makes its map coarser on some axis."""
    strides: Sequence[int] = arithmetic.broadcast(node.layer_info.stride_size, node.axes or 1)
    return max(strides) > 1


def places_on_all_paths(graph: EnrichedNetworkNode) -> list[EnrichedNetworkNode]:
    """Return the nodes of the feature extractor that every path from input to output goes through.

    A layer there can change its stride alone, and a network can be cut there.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> [node.name for node in places_on_all_paths(resnet18())][2:4]
    ['Stem-Pool', 'Stage0-Block0-Addition']
    """
    nodes = require_node(graph).all_layers
    index = {node: at for at, node in enumerate(nodes)}
    last = [max((index[one] for one in node.successors), default=-1) for node in nodes]
    found, reached = [], -1
    for at, node in enumerate(nodes):
        # No node in front is read behind this one.
        if reached <= at and not is_in_head(node):
            found.append(node)
        reached = max(reached, last[at])
    return found
