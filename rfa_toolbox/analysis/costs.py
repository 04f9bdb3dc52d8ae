"""What layers cost: parameters, and multiply-accumulates at an input resolution.

Both are known of graphs that were made from a model (``EnrichedNetworkNode.measures``).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Protocol

import attrs

from rfa_toolbox.analysis.states import axes_of, obtain_all_nodes
from rfa_toolbox.arithmetic import normalise_resolution
from rfa_toolbox.domain import Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.graphs.maps import Map, MapStep, map_steps, units_behind

__all__ = [
    "MapStep",
    "TotalCosts",
    "compute_at",
    "compute_at_each",
    "costs_of_nodes",
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
    return sum_of_costs(nodes) if input_res is None else costs_of_nodes(nodes, input_res)


def costs_of_nodes(nodes: Sequence[EnrichedNetworkNode], input_res: Resolution) -> TotalCosts:
    """Return what ``total_costs`` does, given all layers of a graph, predecessors first."""
    work = _compute_of_nodes(nodes, (input_res,))
    return sum_of_costs(TotalCosts(node.parameters, count) for node, (count,) in work.items())


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
    return {node: work for node, (work,) in compute_at_each(graph, (input_res,)).items()}


def compute_at_each(
    graph: EnrichedNetworkNode, resolutions: Sequence[Resolution]
) -> dict[EnrichedNetworkNode, tuple[int | None, ...]]:
    """Return what ``compute_at`` does for several resolutions, in one pass over the graph.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> set(compute_at_each(vgg16(), range(32, 64)).values()) == {(None,) * 32}
    True
    """
    return _compute_of_nodes(obtain_all_nodes(graph), resolutions)


def _compute_of_nodes(
    nodes: Sequence[EnrichedNetworkNode], resolutions: Sequence[Resolution]
) -> dict[EnrichedNetworkNode, tuple[int | None, ...]]:
    axes = axes_of(nodes)
    asked = [normalise_resolution(one, axes) for one in resolutions]
    images = [tuple(one[axis] for one in asked) for axis in range(len(asked[0]) if asked else 0)]
    follow = functools.cache(_at_least_one)
    grown = functools.cache(_grown_work)
    maps: dict[EnrichedNetworkNode, tuple[Map, ...]] = {}
    found: dict[EnrichedNetworkNode, tuple[int | None, ...]] = {}
    for node in nodes:
        encoded, work = node.encoded_resolution, node.measures.work
        if work is None:
            found[node] = (None,) * len(asked)
        elif encoded is None or len(encoded) != len(images):
            exact = node.multiply_accumulates
            fixed = not any(any(powers) for _, powers in work)
            found[node] = tuple(exact if fixed or encoded == one else None for one in asked)
        elif not node.has_position:
            found[node] = (node.multiply_accumulates,) * len(asked)
        else:
            image = tuple(zip(encoded, images, strict=True))
            placed = [one for one in node.predecessors if one.has_position]
            before = [maps.get(one, image) for one in placed] or [image]
            maps[node] = own = _maps_behind(node, before, follow)
            found[node] = grown(work, own) if work else (0,) * len(asked)
    return found


def _grown_work(
    work: tuple[tuple[int, tuple[int, ...]], ...], maps: tuple[Map, ...]
) -> tuple[int, ...]:
    """Return the work of a layer at every resolution, rounded to whole numbers."""
    highest = [max(powers) for powers in zip(*(powers for _, powers in work), strict=True)]
    sizes = [max(1, then) for then, _ in maps]
    whole = math.prod(map(pow, sizes, highest))
    counts = []
    for units in zip(*(nows for _, nows in maps), strict=True):
        total = 0
        for count, powers in work:
            for then, now, power, most in zip(sizes, units, powers, highest, strict=True):
                count *= now**power * then ** (most - power)  # noqa: PLW2901 - a product
            total += count
        counts.append(total // whole if total % whole == 0 else round(Fraction(total, whole)))
    return tuple(counts)


def _maps_behind(
    node: EnrichedNetworkNode, before: Sequence[tuple[Map, ...]], follow: Callable[..., Map]
) -> tuple[Map, ...]:
    """Return the feature map of a node, given those of the nodes that it reads."""
    layer = node.layer_info
    several = tuple(dict.fromkeys(before))
    return tuple(
        follow(
            step,
            (layer.resolution_dependent, layer.blockwise),
            None if node.feature_map is None else node.feature_map[axis],
            tuple(one[axis] for one in several),
        )
        for axis, step in enumerate(map_steps(layer, len(before[0])))
    )


def _at_least_one(
    step: MapStep, flags: tuple[bool, bool], units: int | None, before: tuple[Map, ...]
) -> Map:
    then, nows = units_behind(step, flags, units, before)
    return then, tuple(max(1, now) for now in nows)


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
