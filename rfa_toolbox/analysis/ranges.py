"""Between which input resolutions a network makes good use of its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.states import axes_of
from rfa_toolbox.arithmetic import Jump, Size
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node

__all__ = ["input_resolution_range", "ranges_of_both_kinds"]


def input_resolution_range(
    graph: EnrichedNetworkNode,
    filter_all_inf_rf: bool = True,
    filter_kernel_size_1: bool = False,
    cardinality: int | None = None,
    lower_bound: bool = False,
    feature_map_bound: bool | None = None,
) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """Return the smallest and the largest resolution that fit a network, in pixels per axis.

    Below the smallest one some layer of the feature extractor has nothing to work on; beyond the
    largest one no unit sees the whole image. The smallest is the larger of two quantities: of the
    receptive fields, and of ``kernel * jump``, below which a feature map is smaller than the
    kernel on it.

    Args:
        graph: any node of the graph.
        filter_all_inf_rf: leave infinite paths out, path by path. Otherwise they count, the
            fields *in front of* the layers decide, and the feature maps do not.
        filter_kernel_size_1: leave 1x1 layers out of the smallest resolution.
        cardinality: number of axes of the result; None is that of the graph, 2 where every field
            is a scalar. Scalar fields count for any number of axes; a graph with axes of its own
            knows nothing of further ones, and leaves none out.
        lower_bound: ask only that no layer which expands the receptive field is unproductive.
        feature_map_bound: whether ``kernel * jump`` counts; None is as described above.

    Returns:
        The smallest and the largest resolution, each with one number per axis. They are integers;
        only infinite paths that were not left out can make them infinite.

    Raises:
        InvalidResolutionError: a ValueError, if ``cardinality`` does not fit the graph.

    Source: M. L. Richter, C. Pal, "Receptive Field Refinement for Convolutional Neural Networks
    Reliably Improves Predictive Performance", 2022 (minimal feasible input resolution).

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> input_resolution_range(resnet18())
    ((139, 139), (435, 435))
    >>> input_resolution_range(resnet18(), lower_bound=True)
    ((96, 96), (435, 435))
    """
    nodes = require_node(graph).all_layers
    axes = axes_of(nodes)
    if cardinality is None:
        count = axes or 2
    elif type(cardinality) is not int or cardinality < 1 or axes not in (None, cardinality):
        raise InvalidResolutionError(
            f"cardinality is {cardinality!r}; it must be None or "
            + ("a positive integer." if axes is None else f"the {axes} axes that the graph has.")
        )
    else:
        count = cardinality
    if feature_map_bound is None:
        feature_map_bound = filter_all_inf_rf or lower_bound
    smallest: list[Size] = []
    largest: list[Size] = []
    for bounds in _bounds(nodes, axes or 1, filter_all_inf_rf, filter_kernel_size_1):
        low = bounds.reached if lower_bound else bounds.seen
        # A map that is smaller than the kernel on it is of no use, however small its units' fields.
        smallest.append(max(low, bounds.covered) if feature_map_bound else low)
        largest.append(max(smallest[-1], bounds.largest))
    repeats = count if axes is None else 1
    return tuple(smallest) * repeats, tuple(largest) * repeats


def ranges_of_both_kinds(
    nodes: Sequence[EnrichedNetworkNode],
) -> tuple[tuple[Size, ...], tuple[Size, ...], tuple[Size, ...]]:
    """Return what ``input_resolution_range`` says without and with ``lower_bound``, in one pass.

    Args:
        nodes: all layers of a graph, predecessors first.

    Returns:
        The smallest resolution, the smallest one with ``lower_bound``, and the largest one.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> ranges_of_both_kinds(resnet18().all_layers)
    ((139, 139), (96, 96), (435, 435))
    """
    axes = axes_of(nodes)
    found = _bounds(nodes, axes or 1) * (1 if axes else 2)
    strict = tuple(max(one.seen, one.covered) for one in found)
    layers = tuple(max(one.reached, one.covered) for one in found)
    largest = tuple(max(low, one.largest) for low, one in zip(strict, found, strict=True))
    return strict, layers, largest


class _Bounds(NamedTuple):
    """What decides about resolutions along one axis, in pixels.

    Attributes:
        seen: the most that units of a layer see on their shortest way.
        reached: the same of what reaches the layers that look at more than one unit.
        covered: the most that a kernel covers on the map in front of it.
        largest: the most that any unit sees.
    """

    seen: Size
    reached: Size
    covered: Size
    largest: Size


def _bounds(nodes: Sequence[EnrichedNetworkNode], axes: int, *filters: bool) -> tuple[_Bounds, ...]:
    """Return the bounds per axis; axes along which all layers do the same share them."""
    found = [_bounds_on_axis(nodes, 0, *filters)]
    for axis in range(1, axes):
        same = all(node.is_alike_along(0, axis) for node in nodes)
        found.append(found[0] if same else _bounds_on_axis(nodes, axis, *filters))
    return tuple(found)


def _bounds_on_axis(
    nodes: Iterable[EnrichedNetworkNode],
    axis: int,
    filter_all_inf_rf: bool = True,
    filter_kernel_size_1: bool = False,
) -> _Bounds:
    seen: Size = 1
    reached: Size = 1
    covered: Size = 1
    largest: Size = 1
    smallest: dict[EnrichedNetworkNode, Size] = {}
    jumps: dict[EnrichedNetworkNode, Jump | None] = {}
    for node in nodes:
        if not node.has_position:
            continue
        layer, position = node.layer_info, axis if node.axes else 0
        slide = layer.slides[position if layer.axes else 0]
        paths = node.lasting_paths[position]
        own = smallest[node] = arithmetic.smallest_field(paths)
        jumps[node] = arithmetic.largest_jump(paths)
        if own == math.inf:  # not a part of the feature extractor
            continue
        infinite = not filter_all_inf_rf and arithmetic.largest_field(paths) == math.inf
        largest = max(largest, math.inf if infinite else node.largest_finite_field(position))
        if filter_kernel_size_1 and slide.kernel == 1:
            continue
        placed = [one for one in node.predecessors if one.has_position]
        before = [smallest[one] for one in placed] or [1]
        seen = max(seen, own if filter_all_inf_rf else max(before))
        if arithmetic.window_of(slide.kernel, slide.upsampling, slide.dilation) > 1:
            reached = max(reached, min(before))
        window = arithmetic.window_of(slide.kernel, slide.upsampling)
        if window != math.inf:
            in_front = [jumps[one] for one in placed] or [1]
            jump = max((jump for jump in in_front if jump is not None), default=1)
            covered = max(covered, math.ceil(window * jump))
    return _Bounds(seen, reached, covered, largest)
