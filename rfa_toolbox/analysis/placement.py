"""Where units look on the image, and what follows for boxes, object sizes and branches.

Everything here reads ``node.window``; see :mod:`rfa_toolbox.unit_windows` for its arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import attrs

from rfa_toolbox.arithmetic import Size
from rfa_toolbox.errors import InvalidGraphError
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.graphs.node import pixel_sets_per_axis
from rfa_toolbox.pixel_sets import most_missed
from rfa_toolbox.unit_windows import UnitWindows, centre_of, region_of, union

__all__ = ["MisalignedMerge", "cells_of_box", "misaligned_merges", "missed_pixels", "object_sizes"]


# --- branches that meet ----------------------------------------------------------------------


@attrs.frozen(slots=True)
class MisalignedMerge:
    """A node at which branches meet that look at different places of the image.

    Attributes:
        node: the node.
        offset: how far the centres of the windows of two branches are apart at most, in pixels,
            per axis; None where their jumps differ, so that they drift apart from unit to unit.
    """

    node: EnrichedNetworkNode
    offset: tuple[Fraction | None, ...]


def misaligned_merges(graph: EnrichedNetworkNode) -> list[MisalignedMerge]:
    """Return the nodes at which branches meet whose windows have different centres.

    Behind them the extent of a unit's window can be larger than every single path. Usual causes
    are a crop or padding on one side only, an even kernel beside an odd one, and Keras' padding
    'same' with a stride, which pads more behind than in front. Branches that see everything have
    no centre, and those whose place is not known are left out.

    Args:
        graph: any node of the graph.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    >>> even = EnrichedNetworkNode("even", LayerDefinition("Conv", 2, padding=[(0, 1)]), [image])
    >>> add = EnrichedNetworkNode("add", LayerDefinition("Add", 1, 1), [image, even])
    >>> [(one.node.name, one.offset) for one in misaligned_merges(add)]
    [('add', (Fraction(1, 2),))]
    """
    found = []
    for node in require_node(graph).all_layers:
        if len(node.predecessors) + len(node.offsets) > 1:
            offset = tuple(_distance(node.branches(axis)) for axis in range(len(node.paths)))
            if any(offset) or None in offset:
                found.append(MisalignedMerge(node, offset))
    return found


def _distance(branches: Sequence[UnitWindows | None]) -> Fraction | None:
    """Return how far the centres of windows are apart at most, unit by unit."""
    placed = [one for one in dict.fromkeys(branches) if one is not None and one.size != math.inf]
    if len(placed) < 2:
        return Fraction(0)
    if union(placed) is None:
        return None
    period = math.lcm(*(len(one.firsts) for one in placed))
    apart = Fraction(0)
    for unit in range(period):
        regions = [region_of(one, unit) for one in placed]
        centres = [centre_of(first, last) for first, last in regions if first <= last]
        if centres:
            apart = max(apart, max(centres) - min(centres))
    return apart


# --- holes in windows ------------------------------------------------------------------------


def missed_pixels(
    graph: EnrichedNetworkNode,
) -> dict[EnrichedNetworkNode, int | None | tuple[int | None, ...]]:
    """Return how many pixels inside of their windows the units of every layer do not see.

    Dilated convolutions leave holes ("gridding"), and so do strides larger than the kernel;
    ``EnrichedNetworkNode.coverage`` says where. One number, or one per axis, of the unit that
    misses most; None where it is not known, or where units see everything.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    >>> conv = LayerDefinition("Conv", 3, dilation=2, padding=2)
    >>> list(missed_pixels(EnrichedNetworkNode("conv", conv, [image])).values())
    [0, 2]
    """
    nodes = require_node(graph).all_layers
    axes = max(len(node.paths) for node in nodes)
    sets = pixel_sets_per_axis(nodes, axes)
    missed: dict[EnrichedNetworkNode, int | None | tuple[int | None, ...]] = {}
    for node in nodes:
        several = tuple(
            None if one is None else most_missed(one)
            for one in (sets[axis][node] for axis in range(len(node.paths)))
        )
        missed[node] = several[0] if node.axes is None else several
    return missed


# --- boxes and objects -----------------------------------------------------------------------

_CELL_RULES = ("touching", "inside", "centre")


def cells_of_box(
    node: EnrichedNetworkNode,
    box: Sequence[tuple[int, int]],
    rule: Literal["touching", "inside", "centre"] = "touching",
) -> tuple[range, ...]:
    """Return the units of a map that belong to a box on the image, per axis.

    Args:
        node: the layer whose map is asked for.
        box: first and last pixel of the box, both included, per axis, (rows, columns).
        rule: ``"touching"``: the window has a pixel of the box in it; ``"inside"``: the whole
            window lies in the box; ``"centre"``: the middle of the window does.

    Returns:
        a range of indices per axis, counted from 0; empty if no unit belongs to the box.

    Raises:
        InvalidGraphError: a ValueError, if it is not known where the units look, if they see
            everything, or if the box is none.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2, padding=1), [])
    >>> [cells_of_box(conv, [(4, 9)], rule)[0] for rule in ("touching", "inside", "centre")]
    [range(2, 6), range(3, 5), range(2, 5)]
    """
    windows = require_node(node).known_unit_windows()
    if rule not in _CELL_RULES:
        raise InvalidGraphError(f"rule is {rule!r}; valid are {', '.join(map(repr, _CELL_RULES))}.")
    if len(box) != len(windows) or any(first > last for first, last in box):
        raise InvalidGraphError(
            f"The box is {box!r}; it must be one pair (first pixel, last pixel) for each of the "
            f"{len(windows)} axes, the first not behind the last."
        )
    touching = node.units_touching(box)
    if rule == "touching":
        return touching
    result: list[range] = []
    for one, units, (first, last) in zip(windows, touching, box, strict=True):
        chosen = [unit for unit in units if _belongs(region_of(one, unit), first, last, rule)]
        result.append(range(chosen[0], chosen[-1] + 1) if chosen else range(0))
    return tuple(result)


def _belongs(region: tuple[Size, Size], first: int, last: int, rule: str) -> bool:
    if region[0] > region[1]:
        return False
    if rule == "inside":
        return first <= region[0] and region[1] <= last
    return first <= centre_of(*region) <= last


def object_sizes(node: EnrichedNetworkNode) -> tuple[tuple[int, Size], ...]:
    """Return the smallest and the largest object that a map is made for, in pixels per axis.

    The smallest is one jump: wherever an object of that side lies, the windows of its units have
    different centres at least that often. The largest still lies wholly in the window of some unit,
    wherever it is on the image: window minus jump plus 1. Useful to give objects of different
    sizes to the levels of a feature pyramid. On maps whose windows differ from unit to unit the
    largest is that of a single unit's largest window, and an upper bound.

    Raises:
        InvalidGraphError: a ValueError, if it is not known where the units look.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7, 2, padding=3), [])
    >>> object_sizes(conv)
    ((2, 6),)
    """
    result: list[tuple[int, Size]] = []
    for one in require_node(node).known_unit_windows():
        jump = math.ceil(one.jump)
        result.append((jump, max(0, one.size - jump + 1)))
    return tuple(result)
