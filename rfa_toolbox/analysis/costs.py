"""What layers cost: parameters, and multiply-accumulates at an input resolution.

Both are known of graphs that were made from a model (``EnrichedNetworkNode.measures``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, Protocol, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.states import obtain_all_nodes
from rfa_toolbox.arithmetic import Size, normalise_resolution
from rfa_toolbox.domain import Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

__all__ = [
    "MapStep",
    "TotalCosts",
    "compute_at",
    "map_steps",
    "sum_of_costs",
    "total_costs",
]


@attrs.frozen
class TotalCosts:
    """The costs of several layers together.

    Attributes:
        parameters: of the layers of which they are known; None if that is none.
        multiply_accumulates: likewise.
        unknown: number of layers of which one of both is not known, so that there may be more.

    >>> str(TotalCosts(25_557_032, 4_089_184_256))
    '25.56 M parameters, 4.09 G multiply-accumulates'
    """

    parameters: int | None
    multiply_accumulates: int | None
    unknown: int = 0

    def __str__(self) -> str:
        """Return both in a few digits."""
        least = "at least " if self.unknown else ""
        return (
            f"{least}{short_number(self.parameters)} parameters, "
            f"{least}{short_number(self.multiply_accumulates)} multiply-accumulates"
        )


class _Costly(Protocol):
    @property
    def parameters(self) -> int | None: ...

    @property
    def multiply_accumulates(self) -> int | None: ...


def sum_of_costs(layers: Iterable[_Costly]) -> TotalCosts:
    """Return what several nodes, or rows of a table, cost together.

    >>> sum_of_costs([TotalCosts(3, 5), TotalCosts(4, None)])
    TotalCosts(parameters=7, multiply_accumulates=5, unknown=1)
    """
    costs = [(layer.parameters, layer.multiply_accumulates) for layer in layers]
    parameters = [count for count, _ in costs if count is not None]
    work = [count for _, count in costs if count is not None]
    return TotalCosts(
        sum(parameters) if parameters else None,
        sum(work) if work else None,
        sum(None in both for both in costs),
    )


def total_costs(graph: EnrichedNetworkNode, input_res: Resolution | None = None) -> TotalCosts:
    """Return the parameters and multiply-accumulates of all layers of a graph.

    Args:
        graph: any node of the graph.
        input_res: resolution in pixels, one number or one per axis (height, width), for which
            ``compute_at`` estimates the compute; None is the size that the graph was made with,
            for which it is exact.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.graphs import LayerDefinition, Measures
    >>> layer = LayerDefinition("Conv", (3, 3), padding=1)
    >>> measures = Measures((8, 8), (8, 8), 10, [(640, (1, 1))])
    >>> conv = EnrichedNetworkNode("conv", layer, [], measures=measures)
    >>> total_costs(conv).multiply_accumulates, total_costs(conv, 4).multiply_accumulates
    (640, 160)
    """
    nodes = obtain_all_nodes(graph)
    if input_res is None:
        return sum_of_costs(nodes)
    work = compute_at(graph, input_res)
    return sum_of_costs(TotalCosts(node.parameters, work[node]) for node in nodes)


def compute_at(
    graph: EnrichedNetworkNode, input_res: Resolution
) -> dict[EnrichedNetworkNode, int | None]:
    """Return the multiply-accumulates of every layer of a graph at an input resolution in pixels.

    At the resolution that the graph was made with they are exact. At others they are an estimate:
    the size of every feature map is followed through the graph by kernel, stride and padding, and
    the work of a layer grows with its map. That is wrong where the model itself does something
    else at another size, such as padding to whole windows or resizing. None is unknown.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.
    """
    nodes = obtain_all_nodes(graph)
    axes = max((node.axes or 0 for node in nodes), default=0) or None
    resolution = normalise_resolution(input_res, axes)
    maps: dict[EnrichedNetworkNode, tuple[_Map, ...]] = {}
    found: dict[EnrichedNetworkNode, int | None] = {}
    for node in nodes:
        encoded, work = node.encoded_resolution, node.measures.work
        if work is None or encoded == resolution or not node.has_position:
            found[node] = node.multiply_accumulates
            continue
        if encoded is None or len(encoded) != len(resolution):
            fixed = not any(any(powers) for _, powers in work)
            found[node] = node.multiply_accumulates if fixed else None
            continue
        image = tuple(zip(encoded, resolution, strict=True))
        placed = [one for one in node.predecessors if one.has_position]
        before = [maps.get(one, image) for one in placed] or [image]
        maps[node] = own = _maps_behind(node, before)
        growth = [Fraction(max(1, now), max(1, then)) for then, now in own]
        scaled = (
            count * math.prod(one**power for one, power in zip(growth, powers, strict=True))
            for count, powers in work
        )
        found[node] = round(sum(scaled))
    return found


_Map: TypeAlias = "tuple[int, int]"
"""Units of a feature map on one axis: at the encoded resolution, and at the one in question."""


def _maps_behind(node: EnrichedNetworkNode, before: Sequence[tuple[_Map, ...]]) -> tuple[_Map, ...]:
    """Return the feature map of a node, given those of the nodes that it reads.

    What the formula misses at the encoded resolution (ceiled sizes, cropping) it is taken to miss
    at the other one as well.
    """
    layer = node.layer_info
    result = []
    for axis, step in enumerate(map_steps(layer, len(before[0]))):
        largest = max(one[axis] for one in before)
        units = largest[0] if node.feature_map is None else node.feature_map[axis]
        then, now = next((one[axis] for one in before if one[axis][0] == units), largest)
        kernel = step.kernel
        if layer.resolution_dependent or (kernel == math.inf and units != then):
            now = units  # it has this size at any resolution
        elif layer.blockwise and kernel != math.inf:
            block = int(kernel)
            blocks = [-(-size // block) * block for size in (then, now)]
            now = blocks[1] if units == blocks[0] else now + units - then
        elif kernel != math.inf:
            sizes = [((size - 1) * step.factor - step.reach) // step.stride for size in (then, now)]
            now = units + sizes[1] - sizes[0]
        result.append((units, max(1, now)))
    return tuple(result)


class MapStep(NamedTuple):
    """How a layer changes the size of a feature map on one axis.

    From ``size`` units it makes ``((size - 1)*factor - reach) // stride + 1``, but for what the
    model rounds or crops otherwise. ``reach`` is the length of the window without the padding.
    """

    kernel: Size
    stride: int
    factor: int
    reach: int


def map_steps(layer: LayerDefinition, axes: int) -> tuple[MapStep, ...]:
    """Return how a layer changes the size of a feature map, per axis.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> map_steps(LayerDefinition("Conv", 7, 2, padding=3), axes=1)
    (MapStep(kernel=7, stride=2, factor=1, reach=0),)
    """
    kernels, strides, dilations, factors = (
        arithmetic.broadcast(value, axes)
        for value in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    paddings = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * axes
    steps: list[MapStep] = []
    for kernel, stride, dilation, factor, padding in zip(
        kernels, strides, dilations, factors, paddings, strict=True
    ):
        reach = 0 if kernel == math.inf else dilation * (int(kernel) - 1)
        steps.append(MapStep(kernel, stride, factor, reach - _padded(padding, reach, stride)))
    return tuple(steps)


def _padded(padding: Any, reach: int, stride: int) -> int:
    """Return how many units a padding adds in all, at any size of the map.

    What is known of it is right at the encoded size. Behind a stride, the end lacks rows that are
    left over there, or has more to take them in; where it depends on the size it keeps the size.
    """
    begin, end = padding if isinstance(padding, tuple) else (padding, padding)
    if begin is None or end is None:
        return reach
    if begin - stride < end < begin:
        end = begin
    elif begin < end < begin + stride:
        end = begin + stride - 1
    return int(begin + end)


def short_number(count: int | None) -> str:
    """Return a count in about three digits and the letter of its thousands.

    >>> short_number(4_089_184_256), short_number(810), short_number(None)
    ('4.09 G', '810', 'unknown')
    """
    if count is None:
        return "unknown"
    for factor, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.2f} {letter}"
    return str(count)
