"""What has to be changed in a model so that its graph becomes another one.

The changes are read off the two graphs, not off the edits: whatever kind of edit made the second
graph, a live model knows a few things only that can be changed in it.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.live.comparison import pairs

__all__ = ["Change", "Inserted", "NewInputs", "NewWindow", "Removed", "changes_between"]


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
    """A layer without weights is put in behind another one, which is named as in the model."""

    node: EnrichedNetworkNode
    behind: str


Change: TypeAlias = NewWindow | NewInputs | Removed | Inserted


def changes_between(
    original: EnrichedNetworkNode, edited: EnrichedNetworkNode
) -> tuple[Change, ...]:
    """Return the changes that lead from one graph to the other, windows first.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2), [])
    >>> dense = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [])
    >>> (change,) = changes_between(conv, dense)
    >>> change.before.stride_size, change.after.stride_size
    (2, 1)
    """
    found: list[Change] = []
    removed: list[EnrichedNetworkNode] = []
    inserted: list[Change] = []
    for before, after in pairs(original.all_layers, edited.all_layers):
        if after is None and before is not None:
            removed.append(before)
        elif before is None and after is not None:
            inserted.append(Inserted(after, _name_in_model(after)))
        elif before is not None and after is not None:
            if _window_of(before) != _window_of(after):
                found.append(NewWindow(before, after))
            elif before.parameters != after.parameters:
                found.append(NewInputs(before, after))
    if removed:
        found.append(Removed(tuple(removed)))
    return (*found, *inserted)


def _window_of(node: EnrichedNetworkNode) -> tuple[object, ...]:
    layer = node.layer_info
    if layer.resolution_dependent:  # its window follows from the sizes, nobody sets it
        return ()
    return layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling


def _name_in_model(node: EnrichedNetworkNode) -> str:
    """Return the layer behind which a node that was put in stands."""
    return node.predecessors[0].name if node.predecessors else ""
