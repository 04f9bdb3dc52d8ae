"""The fast pass: feasible resolution and compute of an edited network, without making its nodes.

Layers that look at nothing and keep the grid are merged with those in front of them. What is left
follows the same arithmetic as a graph. Compute is estimated: the work of a layer grows with the
number of units that the jump behind it leaves. It serves to rank; what a user gets is predicted by
``edit``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import INPUT_PATHS, Jump, Paths
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.refinement.editing import with_window
from rfa_toolbox.refinement.edits import (
    CutBehind,
    Edit,
    InsertPooling,
    RemovePooling,
    Repeat,
    SetWindow,
)
from rfa_toolbox.refinement.nodes import calls_of_layers, is_in_head
from rfa_toolbox.refinement.repeats import block_named

__all__ = ["Contracted", "Estimate"]


class Estimate(NamedTuple):
    """What the fast pass says of a network along one axis.

    Attributes:
        strict: smallest resolution in pixels at which every field fits into the image.
        layers: the same for what reaches the layers that look.
        jump: pixels between neighbouring units of the last map.
        compute: how many times the compute of the original.
        kept: how many layers that look there are.
        wasted: how many of them have nothing to look at in images of the size in question.
    """

    strict: int
    layers: int
    jump: int
    compute: float
    kept: int
    wasted: int


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
_Found: TypeAlias = "tuple[int, int, int, float, int, int]"
"""What is known of the rows up to one: own fields, reaching fields, maps, work; kept, wasted."""


class Contracted:
    """A graph along one axis, one row per layer that looks, or joins, or changes the grid.

    Args:
        nodes: all layers of a graph, predecessors first.
        axis: the axis to look along.
        size: of the images in pixels along it, for compute and waste; None is any large size.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> Contracted(resnet18().all_layers).estimate([])
    Estimate(strict=139, layers=96, jump=32, compute=1.0, kept=18, wasted=0)
    """

    def __init__(
        self, nodes: Sequence[EnrichedNetworkNode], axis: int = 0, size: int | None = None
    ) -> None:
        self._axis = axis
        self._size = size
        self._axes = max((node.axes or 1 for node in nodes), default=1)
        self._nodes = nodes
        self._calls = calls_of_layers(nodes)
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
        self._whole = sum(self._work) + self._head
        self._jumps: list[Jump] = []
        self._reads: list[Paths] = []
        self._behind: list[Paths] = []
        self._found: list[_Found] = [(1, 1, 1, 0.0, 0, 0)]
        self._follow(_Changes({}, {}, {}, {}, len(self._windows)), self._reads, self._behind)
        self._jumps = [arithmetic.largest_jump(one) or 1 for one in self._behind]
        for row, pair in enumerate(zip(self._reads, self._behind, strict=True)):
            self._found.append(self._judged(self._found[-1], row, *pair, self._windows[row], 0))

    def __eq__(self, other: object) -> bool:
        """Whether every edit that is the same on all axes gives the same along another axis."""
        return (
            isinstance(other, Contracted)
            and self._windows == other._windows
            and self._size == other._size
        )

    __hash__ = None  # type: ignore[assignment]

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
        changes = self._changes(edits)
        first = min((changes.stop, *changes.windows, *changes.pooled, *changes.extra))
        reads, behind = self._reads[:first], self._behind[:first]
        self._follow(changes, reads, behind)
        found = self._found[first]
        for row in range(first, changes.stop):
            window = changes.windows.get(row, self._windows[row])
            extra = changes.extra.get(row, 0)
            found = self._judged(found, row, reads[row], behind[row], window, extra)
        own, reaching, maps, work, *counts = found
        last = arithmetic.largest_jump(behind[-1]) or 1
        compute = (work + self._head) / self._whole if self._whole else 1.0
        return Estimate(max(own, maps), max(reaching, maps), math.ceil(last), compute, *counts)

    def _changes(self, edits: Iterable[Edit]) -> _Changes:
        changes = _Changes({}, {}, {}, {}, len(self._windows))
        for one in edits:
            if isinstance(one, SetWindow):
                for row in self._rows_of(one.node):
                    layer = with_window(self._layers[row], one, self._axes)
                    known = changes.windows.get(row, self._windows[row])
                    changes.windows[row] = _both(known, self._windows[row], self._window(layer))
            elif isinstance(one, RemovePooling):
                changes.windows.update(dict.fromkeys(self._rows_of(one.node), _NEUTRAL))
            elif isinstance(one, InsertPooling):
                changes.pooled[self._rows[one.node]] = one.size
            elif isinstance(one, CutBehind):
                changes = changes._replace(stop=self._rows[one.node] + 1)
            elif isinstance(one, Repeat):
                self._repeat(changes, one)
        return changes

    def _rows_of(self, name: str) -> list[int]:
        """Return the rows of a layer, in which it may be called several times."""
        calls = self._calls.get(name)
        return [self._rows[one.name] for one in calls] if calls else [self._rows[name]]

    def _repeat(self, changes: _Changes, wanted: Repeat) -> None:
        """Note the rows that stand there several times, and the work that comes with them."""
        block = block_named(self._nodes, wanted.block)
        front = self._rows[block.front.name]
        rows = sorted({self._rows[node.name] for node in block.nodes} - {front})
        for node in block.nodes:
            row, work = self._rows[node.name], node.multiply_accumulates or 0
            changes.extra[row] = changes.extra.get(row, 0) + (wanted.times - 1) * work
        if wanted.times == 0:
            changes.windows.update(dict.fromkeys(rows, _NEUTRAL))
        elif rows:
            changes.again[rows[-1]] = front, rows, wanted.times - 1

    def _follow(self, changes: _Changes, reads: list[Paths], behind: list[Paths]) -> None:
        """Append the paths that every further row reads, and those behind it."""
        for row in range(len(behind), changes.stop):
            reads.append(_merged([behind[one] for one in self._before[row]]))
            behind.append(self._grown(row, reads[row], changes))
            front, rows, times = changes.again.get(row, (0, (), 0))
            for _ in range(times):
                last = {front: behind[row]}
                for one in rows:
                    reads[one] = _merged([last[other] for other in self._before[one]])
                    last[one] = behind[one] = self._grown(one, reads[one], changes)

    def _grown(self, row: int, read: Paths, changes: _Changes) -> Paths:
        made = arithmetic.grow_paths(read, *changes.windows.get(row, self._windows[row]))
        if row in changes.pooled:
            made = arithmetic.grow_paths(made, changes.pooled[row], changes.pooled[row])
        return made

    def _judged(
        self, found: _Found, row: int, read: Paths, behind: Paths, window: _Window, extra: int
    ) -> _Found:
        """Return what is known with one more row; ``extra`` is the work that was added to it."""
        own, reaching, maps, work, kept, wasted = found
        own = max(own, int(arithmetic.smallest_field(behind)))
        covered = math.ceil(window.units * (arithmetic.largest_jump(read) or 1))
        maps = max(maps, covered)
        if window.kernel > 1:
            seen = int(arithmetic.smallest_field(read))
            reaching = max(reaching, seen)
            kept += 1
            wasted += self._size is not None and max(seen, covered) >= self._size
        jump = arithmetic.largest_jump(behind) or 1
        if self._followed[row]:  # by a layer that needs one unit to work on
            maps = max(maps, math.ceil(jump))
        done = self._work[row] + extra
        if done:
            work += done * self._growth(self._jumps[row], jump)
        return own, reaching, maps, work, kept, wasted

    def _growth(self, then: Jump, now: Jump) -> float:
        """Return how many times as many units there are at another jump."""
        if then == now:
            return 1.0
        if self._size is None:
            return float(then / now) ** self._axes
        return (math.ceil(self._size / now) / math.ceil(self._size / then)) ** self._axes


class _Changes(NamedTuple):
    """Edits in terms of rows.

    Attributes:
        windows: new ones.
        pooled: sizes of poolings behind a row.
        again: by the last row of a block: the row in front of it, its rows, and how many copies.
        extra: work that comes with copies, or goes with what is left out.
        stop: the first row that is cut off.
    """

    windows: dict[int, _Window]
    pooled: dict[int, int]
    again: dict[int, tuple[int, Sequence[int], int]]
    extra: dict[int, int]
    stop: int


def _merged(several: Sequence[Paths]) -> Paths:
    if len(several) > 1:
        return arithmetic.merge_paths(several)
    return several[0] if several else INPUT_PATHS


def _both(known: _Window, original: _Window, new: _Window) -> _Window:
    """Return a window with two changes: what the second leaves is that of the first."""
    return _Window(
        *(
            first if second == old else second
            for first, old, second in zip(known, original, new, strict=True)
        )
    )
