"""The fast pass: feasible resolution and compute of an edited network, without making its nodes.

Layers that look at nothing and keep the grid are merged with those in front of them. What is left
follows the same arithmetic as a graph. Compute is estimated: the work of a layer grows with the
number of units that the jump behind it leaves. It serves to rank; what a user gets is predicted by
``edit``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import INPUT_PATHS, Paths
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.refinement.editing import is_in_head, with_window
from rfa_toolbox.refinement.edits import CutBehind, Edit, InsertPooling, RemovePooling, SetWindow

__all__ = ["Contracted", "Estimate"]


class Estimate(NamedTuple):
    """What the fast pass says of a network along one axis.

    Attributes:
        strict: smallest resolution in pixels at which every field fits into the image.
        layers: the same for what reaches the layers that look.
        jump: pixels between neighbouring units of the last map.
        compute: how many times the compute of the original.
    """

    strict: int
    layers: int
    jump: int
    compute: float


class _Window(NamedTuple):
    """What a layer does to paths: the arguments of ``arithmetic.grow_paths``."""

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    upsampling: int = 1

    @property
    def units(self) -> int:
        """Units in front of the layer that its kernel covers."""
        return int(arithmetic.window_of(self.kernel, self.upsampling))


_NEUTRAL = _Window()


class Contracted:
    """A graph along one axis, one row per layer that looks, or joins, or changes the grid.

    Args:
        nodes: all layers of a graph, predecessors first.
        axis: the axis to look along.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> Contracted(resnet18().all_layers).estimate([])
    Estimate(strict=139, layers=96, jump=32, compute=1.0)
    """

    def __init__(self, nodes: Sequence[EnrichedNetworkNode], axis: int = 0) -> None:
        self._axis = axis
        self._axes = max((node.axes or 1 for node in nodes), default=1)
        self._rows: dict[str, int] = {}
        self._layers: list[LayerDefinition] = []
        self._windows: list[_Window] = []
        self._before: list[tuple[int, ...]] = []
        self._work: list[int] = []
        self._followed: list[bool] = []
        self._head = sum(node.multiply_accumulates or 0 for node in nodes if is_in_head(node))
        for node in nodes:
            if not is_in_head(node):
                self._add(node)
        paths = self._behind({}, {}, len(self._windows))
        self._jumps = [arithmetic.largest_jump(one) or 1 for one in paths]

    def _add(self, node: EnrichedNetworkNode) -> None:
        known = (self._rows[one.name] for one in node.predecessors if one.name in self._rows)
        before = tuple(dict.fromkeys(known))
        window = self._window(node.layer_info)
        if window == _NEUTRAL and len(before) == 1:
            row = before[0]
            self._followed[row] = True
        else:
            row = len(self._windows)
            self._layers.append(node.layer_info)
            self._windows.append(window)
            self._before.append(before)
            self._work.append(0)
            self._followed.append(False)
        self._rows[node.name] = row
        self._work[row] += node.multiply_accumulates or 0

    def _window(self, layer: LayerDefinition) -> _Window:
        values = (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
        found = [arithmetic.broadcast(one, self._axes)[self._axis] for one in values]
        return _NEUTRAL if found[0] == math.inf else _Window(*found)

    def estimate(self, edits: Iterable[Edit]) -> Estimate:
        """Return what some edits give."""
        changed: dict[int, _Window] = {}
        pooled: dict[int, int] = {}
        stop = len(self._windows)
        for one in edits:
            if isinstance(one, SetWindow):
                row = self._rows[one.node]
                layer = with_window(self._layers[row], one, self._axes)
                known = changed.get(row, self._windows[row])
                changed[row] = _both(known, self._windows[row], self._window(layer))
            elif isinstance(one, RemovePooling):
                changed[self._rows[one.node]] = _NEUTRAL
            elif isinstance(one, InsertPooling):
                pooled[self._rows[one.node]] = one.size
            elif isinstance(one, CutBehind):
                stop = self._rows[one.node] + 1
        return self._judged(changed, pooled, stop)

    def _read(self, behind: Sequence[Paths], row: int) -> Paths:
        several = [behind[one] for one in self._before[row]]
        if len(several) > 1:
            return arithmetic.merge_paths(several)
        return several[0] if several else INPUT_PATHS

    def _behind(
        self, changed: Mapping[int, _Window], pooled: Mapping[int, int], stop: int
    ) -> list[Paths]:
        """Return the paths behind every row."""
        behind: list[Paths] = []
        for row in range(stop):
            window = changed.get(row, self._windows[row])
            made = arithmetic.grow_paths(self._read(behind, row), *window)
            if row in pooled:
                made = arithmetic.grow_paths(made, pooled[row], pooled[row])
            behind.append(made)
        return behind

    def _judged(
        self, changed: Mapping[int, _Window], pooled: Mapping[int, int], stop: int
    ) -> Estimate:
        behind = self._behind(changed, pooled, stop)
        own, reaching, maps, work = 1, 1, 1, 0.0
        for row, paths in enumerate(behind):
            window = changed.get(row, self._windows[row])
            read = self._read(behind, row)
            own = max(own, int(arithmetic.smallest_field(paths)))
            if window.kernel > 1:
                reaching = max(reaching, int(arithmetic.smallest_field(read)))
            maps = max(maps, math.ceil(window.units * (arithmetic.largest_jump(read) or 1)))
            jump = arithmetic.largest_jump(paths) or 1
            if self._followed[row]:  # by a layer that needs one unit to work on
                maps = max(maps, math.ceil(jump))
            work += self._work[row] * float(self._jumps[row] / jump) ** self._axes
        whole = sum(self._work) + self._head
        last = arithmetic.largest_jump(behind[-1]) or 1
        compute = (work + self._head) / whole if whole else 1.0
        return Estimate(max(own, maps), max(reaching, maps), math.ceil(last), compute)


def _both(known: _Window, original: _Window, new: _Window) -> _Window:
    """Return a window with two changes: what the second leaves is that of the first."""
    return _Window(
        *(
            first if second == old else second
            for first, old, second in zip(known, original, new, strict=True)
        )
    )
