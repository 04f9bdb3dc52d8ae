"""What an experiment sees of every unit, against what the analysis says of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from rfa_toolbox.arithmetic import broadcast
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.unit_windows import region_of

__all__ = ["Flags", "contradicted"]

Flags = npt.NDArray[np.bool_]
"""Which unit (first dimension) sees which place of the image (second one), along an axis."""


def contradicted(
    node: EnrichedNetworkNode, axis: int, most: Flags, least: Flags, unseen: int, reflects: bool
) -> Iterator[str]:
    """Yield what is wrong of the field of a node along an axis.

    Args:
        node: what the analysis says.
        axis: the axis of the experiment.
        most: what units may see.
        least: what they are sure to see.
        unseen: places at either border of the image that no unit needs to see.
        reflects: whether units at the border see copies of others.
    """
    length = most.shape[1]
    found = _spans(least)
    extent = _widest(_spans(most))
    field = broadcast(node.receptive_field_max, node.axes or 1)[axis]
    if _widest(found) > field:
        yield f"a unit sees {_widest(found)}, the analysis says {field}, {node.certainty}"
    windows = node.unit_windows[axis]
    if field == math.inf and 2 * extent < length and node.certainty == "exact":
        yield f"no unit sees more than {extent}, the analysis says everything"
    if windows is None:
        return
    inside = 0.0
    for unit, pixels in enumerate(found):
        begin, end = region_of(windows, unit)
        if reflects and (begin < 0 or end >= length):
            continue  # there it sees copies of others
        if pixels is not None and not begin <= pixels[0] <= pixels[1] <= end:
            yield f"unit {unit} sees {pixels}, the analysis says {(begin, end)}, {node.certainty}"
        if unseen <= begin and end < length - unseen:
            inside = max(inside, end - begin + 1)
    if node.certainty == "exact" and inside > extent:
        yield f"no unit sees more than {extent}, the analysis says exactly {inside}"


def _spans(flags: Flags) -> list[tuple[int, int] | None]:
    """Return the first and the last place that every unit sees; None if it sees none."""
    rows = [np.nonzero(unit)[0] for unit in flags]
    return [(int(one[0]), int(one[-1])) if len(one) else None for one in rows]


def _widest(spans: list[tuple[int, int] | None]) -> int:
    return max((one[1] - one[0] + 1 for one in spans if one), default=0)
