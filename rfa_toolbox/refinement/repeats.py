"""Blocks of a network that can stand there several times, or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.nodes import (
    channels_of,
    is_in_head,
    is_inside,
    is_pooling,
    jump_of,
    named,
)

__all__ = ["RepeatedBlock", "block_named", "repeatable_blocks"]


@attrs.frozen
class RepeatedBlock:
    """Layers with one way in and one way out, which change neither channels nor the map.

    Attributes:
        name: as ``Repeat`` has it.
        front: the layer that the block reads.
        nodes: its layers, in order of execution.
        units: paths of the outermost modules, or names of layers outside of any, that hold nothing
            but the block, in order.
        numbered: whether the only one of them is the last of several that are counted, as in a
            Sequential: its copies are counted further.
    """

    name: str
    front: EnrichedNetworkNode
    nodes: tuple[EnrichedNetworkNode, ...]
    units: tuple[str, ...]
    numbered: bool

    @property
    def last(self) -> EnrichedNetworkNode:
        """The layer that is read behind the block."""
        return self.nodes[-1]

    @property
    def is_residual(self) -> bool:
        """Whether a short cut leads past it."""
        return sum(self.front in node.predecessors for node in self.nodes) > 1

    def copy_of_unit(self, unit: str, number: int) -> str:
        """Return what a unit is called when the block stands there for the second time, or later.

        >>> from rfa_toolbox.graphs import LayerDefinition
        >>> conv = EnrichedNetworkNode("1.conv", LayerDefinition("Conv", 3), [])
        >>> RepeatedBlock("1", conv, (conv,), ("1",), True).copy_of_unit("1", 2)
        '2'
        >>> RepeatedBlock("1", conv, (conv,), ("1",), False).copy_of_unit("1", 2)
        '1_2'
        """
        if self.numbered:
            outer, dot, last = unit.rpartition(".")
            return f"{outer}{dot}{int(last) + number - 1}"
        return f"{unit}_{number}"

    def copy_of_name(self, name: str | None, number: int) -> str | None:
        """Return what a layer, or its module, is called in a copy."""
        for unit in self.units:
            if name is not None and is_inside(name.partition("#")[0], unit):
                return self.copy_of_unit(unit, number) + name[len(unit) :]
        return name


def block_named(nodes: Sequence[EnrichedNetworkNode], name: str) -> RepeatedBlock:
    """Return the block that a name stands for, as in ``Repeat``.

    Args:
        nodes: all layers of a graph.
        name: that of a module, or of the last layer of a block.

    Raises:
        RefinementError: if there is no such block, or if it cannot stand there several times.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> block = block_named(resnet18().all_layers, "Stage0-Block1-Addition")
    >>> [node.name for node in block.nodes]
    ['Stage0-Block1-Conv0', 'Stage0-Block1-Conv1', 'Stage0-Block1-Addition']
    """
    by_name = {node.name: node for node in nodes}
    inside = [node for node in nodes if is_inside(node.module_path, name)]
    if name not in by_name and inside:
        front = _front_of(inside)
        if front is None or not _fits(front, inside[-1]):
            raise RefinementError(
                f"{name!r} cannot stand there several times, or be left out: a block must have one "
                "way in and one way out, with as many channels and as large a map behind it as in "
                "front of it."
            )
        return _Modules(nodes).block(front, inside, name)
    found = _ending_at(named(by_name, name), _order_of(nodes))
    if found is None:
        raise RefinementError(
            f"No block ends at {name!r} that could stand there several times, or be left out: "
            "there must be as many channels and as large a map in front of it."
        )
    return _Modules(nodes).block(*found, name)


def repeatable_blocks(
    nodes: Sequence[EnrichedNetworkNode], places: Sequence[EnrichedNetworkNode]
) -> list[RepeatedBlock]:
    """Return the blocks that can stand there several times, one behind the other.

    Args:
        nodes: all layers of a graph.
        places: those that all paths go through.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> from rfa_toolbox.refinement.nodes import places_on_all_paths
    >>> graph = resnet18()
    >>> [one.name for one in repeatable_blocks(graph.all_layers, places_on_all_paths(graph))][:2]
    ['Stage0-Block0-Addition', 'Stage0-Block1-Addition']
    """
    order, modules = _order_of(nodes), _Modules(nodes)
    found: list[RepeatedBlock] = []
    for place in places:
        part = _ending_at(place, order)
        if part is None or (found and part[0] in found[-1].nodes[:-1]):
            continue  # it would begin within the one in front
        block = modules.block(*part)
        if found and block.front is found[-1].front:  # the same, and what only polishes it
            if found[-1].is_residual and len(block.units) > len(found[-1].units):
                continue  # that is a layer on its own
            found.pop()
        found.append(block)
    residual = [block for block in found if block.is_residual]
    return residual or found


_Part: TypeAlias = "tuple[EnrichedNetworkNode, list[EnrichedNetworkNode]]"
"""The layer in front of a block, and its layers."""


def _order_of(nodes: Sequence[EnrichedNetworkNode]) -> dict[EnrichedNetworkNode, int]:
    return {node: at for at, node in enumerate(nodes)}


def _front_of(inside: Sequence[EnrichedNetworkNode]) -> EnrichedNetworkNode | None:
    """Return the only layer that some layers read, if nothing but the last of them is read."""
    own = set(inside)
    read = {one for node in inside for one in node.predecessors if one not in own}
    closed = all(own.issuperset(node.successors) for node in inside[:-1])
    begins = all(node.predecessors for node in inside)
    return read.pop() if len(read) == 1 and closed and begins else None


def _fits(front: EnrichedNetworkNode, last: EnrichedNetworkNode) -> bool:
    """Whether a part of the network can be read in place of itself."""
    return (
        not is_in_head(last)
        and front.feature_map == last.feature_map
        and jump_of(front) == jump_of(last)
        and channels_of(front) == channels_of(last) is not None
    )


def _ending_at(last: EnrichedNetworkNode, order: Mapping[EnrichedNetworkNode, int]) -> _Part | None:
    """Return the shortest block that ends at a layer, and has layers that look, and weights."""
    inside, waiting = {last}, set(last.predecessors)
    while waiting:
        nearest = max(waiting, key=order.__getitem__)
        if jump_of(nearest) != jump_of(last) or is_in_head(nearest):
            return None
        if len(waiting) == 1 and _learns_to_look(inside) and _fits(nearest, last):
            several = sorted(inside, key=order.__getitem__)
            if _front_of(several) is nearest:
                return nearest, several
        inside.add(nearest)
        waiting.remove(nearest)
        waiting.update(one for one in nearest.predecessors if one not in inside)
    return None


def _learns_to_look(nodes: Iterable[EnrichedNetworkNode]) -> bool:
    weights = [node for node in nodes if node.parameters != 0]
    return any(map(_looks, nodes)) and bool(weights)


def _looks(node: EnrichedNetworkNode) -> bool:
    return any(node.layer_info.expands(node.axes or 1)) and not is_pooling(node)


# --- what blocks are called ------------------------------------------------------------------


class _Modules:
    """Which layers are in which modules of a graph."""

    def __init__(self, nodes: Sequence[EnrichedNetworkNode]) -> None:
        self._sizes = Counter(path for node in nodes for path in _paths(node))

    def block(
        self, front: EnrichedNetworkNode, inside: Sequence[EnrichedNetworkNode], name: str = ""
    ) -> RepeatedBlock:
        """Return a block, by its name if it has one: that of its module, or of its last layer."""
        own = Counter(path for node in inside for path in _paths(node))
        whole = [path for path, count in own.items() if count == self._sizes[path]]
        module = max((path for path in whole if own[path] == len(inside)), key=len, default=None)
        units = [module] if module else self._outermost(inside, set(whole))
        numbered = len(units) == 1 and self._is_last(units[0])
        return RepeatedBlock(
            name or module or inside[-1].name, front, tuple(inside), tuple(units), numbered
        )

    @staticmethod
    def _outermost(inside: Iterable[EnrichedNetworkNode], whole: Container[str]) -> list[str]:
        found = (next((one for one in _paths(node) if one in whole), node.name) for node in inside)
        return list(dict.fromkeys(one.partition("#")[0] for one in found))

    def _is_last(self, unit: str) -> bool:
        outer, _, last = unit.rpartition(".")
        begin = f"{outer}." if outer else ""
        names = {
            path[len(begin) :].partition(".")[0] for path in self._sizes if path.startswith(begin)
        }
        numbers = [int(one) for one in names if one.isdigit()]
        return unit in self._sizes and last.isdigit() and int(last) == max(numbers)


def _paths(node: EnrichedNetworkNode) -> Iterator[str]:
    """Yield the modules that a layer is in, the outermost one first."""
    path = node.module_path
    if path:
        names = path.split(".")
        yield from (".".join(names[:end]) for end in range(1, len(names) + 1))
