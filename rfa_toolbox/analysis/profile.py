"""How many blocks of a graph can help, and what they cost, at many resolutions in one pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

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
    judged = [
        (_Limits.of(one.main), _costs_of(one.nodes, work)) for one in blocks(graph) if one.counted
    ]
    points = []
    for place, (resolution, total) in enumerate(zip(normal, _costs_of(nodes, work), strict=True)):
        members: dict[LayerState, list[TotalCosts]] = {state: [] for state in STATES}
        for limits, costs in judged:
            members[limits.state(resolution)].append(costs[place])
        counts = {state: len(inside) for state, inside in members.items()}
        together = {state: _together(inside) for state, inside in members.items()}
        points.append(ProfilePoint(resolution, counts, together, total))
    good = tuple(
        max((one.good_from(axis) for one, _ in judged), default=1) for axis in range(axes or 1)
    )
    return ResolutionProfile(tuple(points), good)


def _costs_of(
    nodes: Sequence[EnrichedNetworkNode],
    work: Mapping[EnrichedNetworkNode, tuple[int | None, ...]],
) -> list[TotalCosts]:
    """Return what some layers cost together, at every resolution."""
    each = [node.parameters for node in nodes]
    parameters = sum_of_costs(nodes).parameters
    found = []
    for column in zip(*(work[node] for node in nodes), strict=True):
        known = [count for count in column if count is not None]
        unknown = sum(None in both for both in zip(each, column, strict=True))
        found.append(TotalCosts(parameters, sum(known) if known else None, unknown))
    return found


def _together(several: Sequence[TotalCosts]) -> TotalCosts:
    """Return the sum of sums."""
    found = sum_of_costs(several)
    return attrs.evolve(found, unknown=sum(one.unknown for one in several))


@attrs.frozen
class _Limits:
    """From which resolutions on a layer is in which state, per axis; see ``arithmetic``."""

    field: tuple[Size, ...]
    unproductive: tuple[tuple[Size, ...], tuple[Size, ...]]
    steps: tuple[Size, Size, Size]
    """Where all axes are equal: up to which resolution the layer is unproductive, and below which
    it is critical, on all axes or on some."""

    @classmethod
    def of(cls, node: EnrichedNetworkNode) -> _Limits:
        field, limits = smallest_fields(node), node.unproductive_limits()
        return cls(field, limits, (max(map(min, limits)), min(field), max(field)))

    def good_from(self, axis: int) -> Size:
        """Return from where on the layer can help along an axis, and fits into the image."""
        useful = max(limit[axis] for limit in self.unproductive)
        both = (1 + useful, self.field[axis])
        return max((one for one in both if one != math.inf), default=1)

    def state(self, resolution: tuple[int, ...]) -> LayerState:
        size = resolution[0]
        if resolution.count(size) == len(resolution):
            unproductive_up_to, critical_below, partially_below = self.steps
            if size <= unproductive_up_to:
                return "unproductive"
            if size < critical_below:
                return "critical"
            return "partially critical" if size < partially_below else "productive"
        if len(resolution) > len(self.field):  # a scalar holds for every axis
            repeats = len(resolution)
            one, other = self.unproductive
            return arithmetic.state_within(
                resolution, self.field * repeats, (one * repeats, other * repeats)
            )
        return arithmetic.state_within(resolution, self.field, self.unproductive)
