"""Which layers of a graph can work at an input resolution, and which cannot.

A layer's state itself is ``EnrichedNetworkNode.state``, so that lists, tables and pictures always
agree. Resolutions are in input pixels: one number, or one per axis (height, width).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import LayerState, Size
from rfa_toolbox.domain import PerAxis, Resolution
from rfa_toolbox.errors import InvalidGraphError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node, require_nodes

__all__ = [
    "axes_of",
    "critical_layers",
    "filter_layers_not_expanding_receptive_field",
    "filters_non_convolutional_node",
    "filters_non_infinite_rf_sizes",
    "find_smallest_resolution_with_no_unproductive_layer",
    "judged_at",
    "map_size_at",
    "obtain_all_critical_layers",
    "obtain_all_nodes",
    "obtain_border_layers",
    "partially_critical_layers",
    "resized_to",
    "resolution_of",
    "underutilized_layers",
    "unproductive_layers",
    "unproductive_resolution",
]

Nodes = list[EnrichedNetworkNode]


# --- nodes of a graph ------------------------------------------------------------------------


def obtain_all_nodes(output_node: EnrichedNetworkNode) -> Nodes:
    """Return every node of the graph, predecessors before their successors.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> [node.name for node in obtain_all_nodes(vgg16())][:2]
    ['Input', 'Stage0-Conv0']
    """
    return require_node(output_node).all_layers


def axes_of(nodes: Iterable[EnrichedNetworkNode]) -> int | None:
    """Return how many axes of the image the nodes tell apart; None where every field is a scalar.

    Raises:
        InvalidGraphError: a ValueError, if they are of graphs with different numbers of axes.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> axes_of(obtain_all_nodes(vgg16())) is None
    True
    """
    counts = {node.axes for node in nodes if node.axes is not None}
    if len(counts) > 1:
        raise InvalidGraphError(
            f"The graphs have {' and '.join(map(str, sorted(counts)))} spatial axes; what is "
            "judged together needs the same number: take the graphs of each kind by themselves."
        )
    return counts.pop() if counts else None


def resolution_of(nodes: Iterable[EnrichedNetworkNode], input_res: Resolution) -> tuple[int, ...]:
    """Return an input resolution in pixels, one number per axis where the graph knows its axes.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> resolution_of([EnrichedNetworkNode("conv", LayerDefinition("Conv", (3, 3)), [])], 32)
    (32, 32)
    """
    return arithmetic.normalise_resolution(input_res, axes_of(nodes))


def resized_to(nodes: Iterable[EnrichedNetworkNode]) -> tuple[int, ...] | None:
    """Return the size in pixels that a model itself gives to every image; None if it does not.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> resized_to(obtain_all_nodes(vgg16())) is None
    True
    """
    sizes = {
        node.resized_to
        for node in nodes
        if node.has_position and (node.resized_to or any(node.layer_info.expands(node.axes or 1)))
    }
    return sizes.pop() if len(sizes) == 1 else None


def judged_at(node: EnrichedNetworkNode, input_res: Resolution) -> Resolution:
    """Return the resolution in pixels that a layer is judged at: that of its own resized image."""
    return node.resized_to or input_res


def map_size_at(node: EnrichedNetworkNode, input_res: Resolution) -> int | tuple[int, ...]:
    """Return the units of a feature map per axis; behind a resize they are always the same."""
    if node.resized_to and node.feature_map is not None:
        return node.feature_map
    size: int | tuple[int, ...] = node.compute_feature_map_size(input_res)
    return size


def filters_non_convolutional_node(nodes: Iterable[EnrichedNetworkNode]) -> Nodes:
    """Keep the feature extractor: nodes whose smallest receptive field is finite on some axis.

    What has no place in the image, such as a time step, belongs to none.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> [node.name for node in filters_non_convolutional_node(obtain_all_nodes(vgg16()))][-1]
    'Stage4-Pool'
    """
    return [
        node
        for node in require_nodes(nodes)
        if node.has_position and any(size < math.inf for size in smallest_fields(node))
    ]


def filters_non_infinite_rf_sizes(sizes: Iterable[PerAxis]) -> list[PerAxis]:
    """Keep the receptive field sizes that are finite, on all axes.

    >>> filters_non_infinite_rf_sizes([3, float("inf"), (5, 7), (5, float("inf"))])
    [3, (5, 7)]
    """
    if not isinstance(sizes, Iterable):
        raise InvalidGraphError(
            f"The receptive field sizes are {sizes!r}; they must be a sequence, such as the "
            "receptive_field_sizes of a node."
        )
    return [
        size for size in sizes if math.inf not in (size if isinstance(size, tuple) else (size,))
    ]


def filter_layers_not_expanding_receptive_field(nodes: Iterable[EnrichedNetworkNode]) -> Nodes:
    """Keep the layers that expand the receptive field: they see more than one unit on some axis.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> nodes = filter_layers_not_expanding_receptive_field(obtain_all_nodes(resnet18()))
    >>> any("Addition" in node.name for node in nodes)
    False
    """
    return [node for node in require_nodes(nodes) if any(node.layer_info.expands(node.axes or 1))]


def smallest_fields(node: EnrichedNetworkNode) -> tuple[Size, ...]:
    """Return the smallest receptive field that holds at any resolution, one number per axis."""
    return tuple(map(arithmetic.smallest_field, require_node(node).lasting_paths))


# --- layers in a state -----------------------------------------------------------------------


def _layers_in(
    states: Sequence[LayerState],
    graph: EnrichedNetworkNode,
    input_resolution: Resolution,
    filter_dense: bool,
    filter_kernel_size_1: bool = False,
) -> Nodes:
    nodes = obtain_all_nodes(graph)
    if filter_dense:
        nodes = filters_non_convolutional_node(nodes)
    return [
        node
        for node in nodes
        if node.state(input_resolution, filter_kernel_size_1=filter_kernel_size_1) in states
    ]


def unproductive_layers(
    graph: EnrichedNetworkNode,
    input_resolution: Resolution,
    filter_dense: bool = False,
    filter_kernel_size_1: bool = False,
) -> Nodes:
    """Return the layers that cannot improve on what reaches them (red in pictures).

    Args:
        graph: any node of the graph.
        input_resolution: in pixels, one number or one per axis.
        filter_dense: leave out what is behind global pooling or dense layers.
        filter_kernel_size_1: never count a 1x1 layer for its receptive field.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> len(unproductive_layers(vgg16(), 32)), len(unproductive_layers(vgg16(), 32, True))
    (13, 10)
    """
    return _layers_in(
        ("unproductive",), graph, input_resolution, filter_dense, filter_kernel_size_1
    )


def critical_layers(
    graph: EnrichedNetworkNode,
    input_resolution: Resolution,
    filter_dense: bool = False,
    filter_kernel_size_1: bool = False,
) -> Nodes:
    """Return the layers that grow beyond the image on all axes, yet are not unproductive.

    Orange in pictures. For the parameters see ``unproductive_layers``.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> [node.name for node in critical_layers(resnet18(), 32, filter_dense=True)]
    ['Stage1-Block0-Conv1', 'Stage1-Block1-Conv1']
    """
    return _layers_in(("critical",), graph, input_resolution, filter_dense, filter_kernel_size_1)


def partially_critical_layers(
    graph: EnrichedNetworkNode,
    input_resolution: Resolution,
    filter_dense: bool = False,
    filter_kernel_size_1: bool = False,
) -> Nodes:
    """Return the layers that grow beyond the image on some axis, but not on all of them.

    Yellow in pictures. For the parameters see ``unproductive_layers``.

    >>> from rfa_toolbox.architectures.vgg import vgg11
    >>> [node.name for node in partially_critical_layers(vgg11(), (224, 128))]
    ['Stage4-Conv1', 'Stage4-Pool']
    """
    return _layers_in(
        ("partially critical",), graph, input_resolution, filter_dense, filter_kernel_size_1
    )


def underutilized_layers(
    graph: EnrichedNetworkNode,
    input_resolution: Resolution,
    filter_dense: bool = False,
    filter_kernel_size_1: bool = False,
) -> Nodes:
    """Return the layers that may help a little: critical on all axes or on some.

    For the parameters see ``unproductive_layers``.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> len(underutilized_layers(resnet18(), (32, 64), filter_dense=True))
    6
    """
    return _layers_in(
        ("critical", "partially critical"),
        graph,
        input_resolution,
        filter_dense,
        filter_kernel_size_1,
    )


def obtain_border_layers(
    output_node: EnrichedNetworkNode, input_resolution: Resolution, filter_dense: bool = True
) -> Nodes:
    """Return the unproductive layers; by default only those of the feature extractor.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet101
    >>> len(obtain_border_layers(resnet101(), 32))
    58
    """
    return unproductive_layers(output_node, input_resolution, filter_dense)


def obtain_all_critical_layers(
    output_node: EnrichedNetworkNode, input_resolution: Resolution, filter_dense: bool = True
) -> Nodes:
    """Return all layers whose smallest receptive field exceeds the image on all axes.

    As in release 1.7.0, unproductive layers are among them; ``critical_layers`` are the others.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> len(obtain_all_critical_layers(resnet18(), 32))
    9
    """
    nodes = obtain_all_nodes(output_node)
    if filter_dense:
        nodes = filters_non_convolutional_node(nodes)
    return [node for node in nodes if _exceeds(node, input_resolution)]


def _exceeds(node: EnrichedNetworkNode, input_resolution: Resolution) -> bool:
    resolution = arithmetic.normalise_resolution(input_resolution, node.axes)
    fields = smallest_fields(node)
    if node.axes is None:
        fields *= len(resolution)
    return all(field > pixels for field, pixels in zip(fields, resolution, strict=True))


# --- resolutions -----------------------------------------------------------------------------


def unproductive_resolution(node: EnrichedNetworkNode) -> Size:
    """Return the largest resolution at which a layer is unproductive, in pixels on every axis.

    At all smaller resolutions the layer is unproductive as well. 0 means at none, inf at all.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> layer = obtain_border_layers(vgg16(), 32)[0]
    >>> layer.name, unproductive_resolution(layer)
    ('Stage2-Conv2', 32)
    """
    return require_node(node).unproductive_resolution()


def find_smallest_resolution_with_no_unproductive_layer(graph: EnrichedNetworkNode) -> int:
    """Return the smallest resolution, in pixels on every axis, with only productive layers.

    It is the smallest one at which ``obtain_border_layers`` finds nothing. Layers that are
    unproductive at any resolution, behind global pooling, are left out.

    Every layer is unproductive up to a resolution that has a closed form, and at none above it,
    so the largest of them decides, without a search.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> find_smallest_resolution_with_no_unproductive_layer(vgg16())
    197
    """
    nodes = filters_non_convolutional_node(obtain_all_nodes(graph))
    return 1 + int(max(map(unproductive_resolution, nodes), default=0))
