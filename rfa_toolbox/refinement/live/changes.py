"""What has to be changed in a model so that its graph becomes another one.

The changes are read off the two graphs, not off the edits: whatever kind of edit made the second
graph, a live model knows a few things only that can be changed in it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TypeAlias

import attrs

from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.edits import Repeat
from rfa_toolbox.refinement.live.comparison import pairs
from rfa_toolbox.refinement.nodes import calls_of_layers
from rfa_toolbox.refinement.repeats import RepeatedBlock, block_named

__all__ = [
    "Change",
    "Inserted",
    "NewInputs",
    "NewWindow",
    "Removed",
    "Repeated",
    "changes_between",
]


@attrs.frozen
class NewWindow:
    """A layer gets another kernel, stride, padding, dilation or up-sampling."""

    before: EnrichedNetworkNode
    after: EnrichedNetworkNode


@attrs.frozen
class NewInputs:
    """A layer reads another number of features, and has to have its weights anew."""

    before: EnrichedNetworkNode
    after: EnrichedNetworkNode


@attrs.frozen
class Removed:
    """Layers are left out; what read them reads what they read."""

    nodes: tuple[EnrichedNetworkNode, ...]


@attrs.frozen
class Inserted:
    """A layer without weights is put in behind another one, which is named as in the model.

    Where that one ends a block, ``outside`` is the last part of the block: it stands behind that.
    """

    node: EnrichedNetworkNode
    behind: str
    outside: str | None = None


@attrs.frozen
class Repeated:
    """A block stands there several times; its copies have weights of their own."""

    block: RepeatedBlock
    times: int


Change: TypeAlias = NewWindow | NewInputs | Removed | Repeated | Inserted


def changes_between(
    original: EnrichedNetworkNode, edited: EnrichedNetworkNode, repeats: Iterable[Repeat] = ()
) -> tuple[Change, ...]:
    """Return the changes that lead from one graph to the other, windows first.

    Args:
        original: any node of the graph as it was.
        edited: any node of the other one.
        repeats: which of the edits repeat a block: the copies in the other graph are theirs.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2), [])
    >>> dense = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [])
    >>> (change,) = changes_between(conv, dense)
    >>> change.before.stride_size, change.after.stride_size
    (2, 1)
    """
    found: list[Change] = []
    removed: list[EnrichedNetworkNode] = []
    inserted: list[Inserted] = []
    nodes = original.all_layers
    calls = calls_of_layers(nodes)
    repeated = [
        Repeated(block_named(nodes, one.block), one.times) for one in repeats if one.times > 1
    ]
    copies = {
        one.block.copy_of_name(node.name, number)
        for one in repeated
        for node in one.block.nodes
        for number in range(2, one.times + 1)
    }
    ends = {one.block.copy_of_name(one.block.last.name, one.times): one.block for one in repeated}
    known = {*copies, *(node.name for node in nodes)}
    for before, after in pairs(nodes, edited.all_layers):
        if after is None and before is not None:
            removed.append(before)
        elif before is None and after is not None:
            behind = _name_in_model(after, known)
            if after.name in copies:
                continue
            if behind in ends:
                block = ends[behind]
                inserted.append(Inserted(after, block.last.name, block.units[-1]))
            elif behind not in copies:
                inserted.append(Inserted(after, behind))
        elif before is not None and after is not None:
            if calls.get(before.name, (before,))[0] is not before:
                continue  # another call of a layer that is changed already
            if _window_of(before) != _window_of(after):
                found.append(NewWindow(before, after))
            elif before.parameters != after.parameters:
                found.append(NewInputs(before, after))
    if removed:
        found.append(Removed(tuple(removed)))
    # Of what is put behind one layer, the last comes first: the others are put in between then.
    # Blocks are copied with what was put into them, and in front of what was put behind them.
    return (*found, *reversed(inserted), *repeated)


def _window_of(node: EnrichedNetworkNode) -> tuple[object, ...]:
    layer = node.layer_info
    if layer.resolution_dependent:  # its window follows from the sizes, nobody sets it
        return ()
    return layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling


def _name_in_model(node: EnrichedNetworkNode, known: Container[str | None]) -> str:
    """Return the layer behind which a node that was put in stands, maybe with others between."""
    while node.predecessors:
        (node, *_) = node.predecessors
        if node.name in known:
            return node.name
    return ""
