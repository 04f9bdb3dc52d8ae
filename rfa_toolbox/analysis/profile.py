"""How many blocks of a graph can help, and what they cost, at many resolutions in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.blocks import blocks
from rfa_toolbox.analysis.costs import TotalCosts, compute_at_each, sum_of_costs
from rfa_toolbox.analysis.states import axes_of, smallest_fields
from rfa_toolbox.arithmetic import LayerState, Size
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node

__all__ = ["ProfilePoint", "ResolutionProfile", "resolution_profile"]

STATES: tuple[LayerState, ...] = ("unproductive", "critical", "partially critical", "productive")


@attrs.frozen
class ProfilePoint:
    """The blocks of a feature extractor at one input resolution.

    Attributes:
        input_resolution: in pixels, one number per axis.
        counts: number of blocks in each state.
        costs: what they cost together.
        total: what all layers of the graph cost, also those behind global operations.
    """

    input_resolution: tuple[int, ...]
    counts: Mapping[LayerState, int]
    costs: Mapping[LayerState, TotalCosts]
    total: TotalCosts


@attrs.frozen
class ResolutionProfile:
    """A graph at many resolutions.

    Attributes:
        points: one per resolution, in the order in which they were asked for.
        good_from: smallest good resolution in pixels, per axis (``Summary.good_from``).
    """

    points: tuple[ProfilePoint, ...]
    good_from: tuple[Size, ...] = ()

    def counts_of(self, state: LayerState) -> tuple[int, ...]:
        """Return how many blocks are in a state, one number per resolution."""
        return tuple(point.counts[state] for point in self.points)

    def changes(self) -> tuple[ProfilePoint, ...]:
        """Return the points at which some count differs from that of the point before."""
        return tuple(
            point
            for before, point in zip((None, *self.points), self.points, strict=False)
            if before is None or before.counts != point.counts
        )


def resolution_profile(
    graph: EnrichedNetworkNode, resolutions: Iterable[Resolution]
) -> ResolutionProfile:
    """Return how many blocks are in which state, and what they cost, at many resolutions.

    Blocks are those of the feature extractor (``blocks``). Each has limits, found once, from which
    its state at any resolution follows; the answers are those of asking at each resolution alone.

    Args:
        graph: any node of the graph.
        resolutions: in pixels, each one number or one per axis (height, width).

    Raises:
        InvalidResolutionError: a ValueError, if a resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> profile = resolution_profile(vgg16(), range(32, 225, 64))
    >>> profile.counts_of("unproductive")
    (10, 4, 2, 0)
    """
    nodes = require_node(graph).all_layers
    if not isinstance(resolutions, Iterable):
        raise InvalidResolutionError(
            f"The resolutions are {resolutions!r}; they must be a sequence, such as range(16, 513)."
        )
    asked = tuple(resolutions)
    axes = axes_of(nodes)
    normal = [arithmetic.normalise_resolution(one, axes) for one in asked]
    work = compute_at_each(graph, normal)
    judged = [(_Limits.of(one.main), one.nodes) for one in blocks(graph) if one.counted]
    points = []
    for place, resolution in enumerate(normal):
        members: dict[LayerState, list[EnrichedNetworkNode]] = {state: [] for state in STATES}
        counts = dict.fromkeys(STATES, 0)
        for limits, inside in judged:
            state = limits.state(resolution)
            counts[state] += 1
            members[state] += inside
        costs = {
            state: sum_of_costs(TotalCosts(node.parameters, work[node][place]) for node in inside)
            for state, inside in members.items()
        }
        total = sum_of_costs(TotalCosts(node.parameters, work[node][place]) for node in nodes)
        points.append(ProfilePoint(resolution, counts, costs, total))
    good = tuple(
        max((one.good_from(axis) for one, _ in judged), default=1) for axis in range(axes or 1)
    )
    return ResolutionProfile(tuple(points), good)


@attrs.frozen
class _Limits:
    """From which resolutions on a layer is in which state, per axis; see ``arithmetic``."""

    field: tuple[Size, ...]
    unproductive: tuple[tuple[Size, ...], tuple[Size, ...]]

    @classmethod
    def of(cls, node: EnrichedNetworkNode) -> _Limits:
        return cls(smallest_fields(node), node.unproductive_limits())

    def good_from(self, axis: int) -> Size:
        """Return from where on the layer can help along an axis, and fits into the image."""
        useful = max(limit[axis] for limit in self.unproductive)
        both = (1 + useful, self.field[axis])
        return max((one for one in both if one != math.inf), default=1)

    def state(self, resolution: tuple[int, ...]) -> LayerState:
        if len(resolution) > len(self.field):  # a scalar holds for every axis
            repeats = len(resolution)
            one, other = self.unproductive
            return arithmetic.state_within(
                resolution, self.field * repeats, (one * repeats, other * repeats)
            )
        return arithmetic.state_within(resolution, self.field, self.unproductive)
