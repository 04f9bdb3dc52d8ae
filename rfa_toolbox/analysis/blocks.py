"""Blocks: what people call a layer, a convolution with all that only polishes its output.

A network of twenty convolutions has twenty norms and as many activations. They see what their
convolution sees, so counting them says everything three times. A block is a layer that looks or
multiplies, together with what merely passes its result on. Nodes stay as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.costs import TotalCosts, sum_of_costs
from rfa_toolbox.analysis.states import judged_at
from rfa_toolbox.arithmetic import LayerState, Size
from rfa_toolbox.domain import Certainty, Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node

__all__ = ["Block", "BlockKind", "blocks", "blocks_of_nodes"]

BlockKind: TypeAlias = Literal["layer", "global", "input", "joint", "vector"]


@attrs.frozen(eq=False)
class Block:
    """A layer that looks at the image or has weights, with what only passes its output on.

    Norms, activations, dropout, scaling and identities behind the main layer belong to it, and
    the addition that ends its residual branch. What stands in front of a layer and feeds nothing
    else (the concatenation and norm of a DenseNet) belongs to that layer.

    Attributes:
        index: place of the block among all blocks of its graph.
        main: the node that decides about the name, the field and the state of the block.
        nodes: all nodes of the block, predecessors first; every node is in exactly one block.
        kind: "layer" for a part of the feature extractor, which is counted; "global" for what sees
            everything by design, such as the head behind a global pooling; "input" for the image
            itself; "vector" for what has no position on it, such as a time step; "joint" for
            additions and concatenations that belong to no single layer.
        predecessors: indices of the blocks that this one reads.
    """

    index: int
    main: EnrichedNetworkNode = attrs.field(repr=lambda node: repr(node.name))
    nodes: tuple[EnrichedNetworkNode, ...] = attrs.field(repr=False)
    kind: BlockKind
    predecessors: tuple[int, ...] = attrs.field(repr=False)

    @property
    def name(self) -> str:
        """Name of the main layer, which contains the path of its module."""
        return self.main.name

    @property
    def type(self) -> str:
        """Kind of the main layer, as it calls itself."""
        return self.main.layer_info.name

    @property
    def counted(self) -> bool:
        """Whether the block is a layer of the feature extractor, which sums and shares are of."""
        return self.kind == "layer"

    @property
    def parameters(self) -> int | None:
        """Number of parameters of all nodes of the block; None if none is known."""
        return self.costs.parameters

    @property
    def multiply_accumulates(self) -> int | None:
        """Multiply-accumulates of all nodes at the size that the graph was made with."""
        return self.costs.multiply_accumulates

    @property
    def costs(self) -> TotalCosts:
        """What all nodes of the block cost together."""
        return sum_of_costs(self.nodes)

    @property
    def certainty(self) -> Certainty:
        """How the field of the main layer is known."""
        return self.main.certainty

    def state(self, input_resolution: Resolution, filter_kernel_size_1: bool = False) -> LayerState:
        """Return how useful the main layer can be at an input resolution in pixels.

        Raises:
            InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> [block.name for block in blocks(resnet18()) if block.state(32) == "critical"][:2]
        ['Stage1-Block0-Conv1', 'Stage1-Block1-Conv1']
        """
        resolution = judged_at(self.main, input_resolution)
        return self.main.state(resolution, filter_kernel_size_1=filter_kernel_size_1)


def blocks(graph: EnrichedNetworkNode) -> tuple[Block, ...]:
    """Return the blocks of a graph: its layers as people count them.

    They stand in the order of their main layers. A block may read one that comes later, where a
    residual branch was computed before its short cut; none reads itself by any way.

    Args:
        graph: any node of the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> found = blocks(resnet18())
    >>> len(found), sum(block.counted for block in found)
    (24, 21)
    >>> [node.name for node in found[4].nodes]
    ['Stage0-Block0-Conv1', 'Stage0-Block0-Addition']
    """
    return blocks_of_nodes(require_node(graph).all_layers)


def blocks_of_nodes(nodes: Sequence[EnrichedNetworkNode]) -> tuple[Block, ...]:
    """Return what ``blocks`` does, given all layers of a graph, predecessors first."""
    positions = {node: at for at, node in enumerate(nodes)}
    before = [list(dict.fromkeys(positions[one] for one in node.predecessors)) for node in nodes]
    mains = [_is_main(node) for node in nodes]
    kinds = [_kind(node, main) for node, main in zip(nodes, mains, strict=True)]
    owners = _owners(nodes, before, mains, kinds)
    firsts = sorted(set(owners))
    index = {main: at for at, main in enumerate(firsts)}
    members: list[list[int]] = [[] for _ in firsts]
    reads: list[set[int]] = [set() for _ in firsts]
    for at, owner in enumerate(owners):
        members[index[owner]].append(at)
        reads[index[owner]].update(index[owners[one]] for one in before[at])
    return tuple(
        Block(
            at,
            nodes[main],
            tuple(nodes[one] for one in members[at]),
            kinds[main],
            tuple(sorted(reads[at] - {at})),
        )
        for at, main in enumerate(firsts)
    )


# --- which node belongs to which block -------------------------------------------------------


def _owners(
    nodes: Sequence[EnrichedNetworkNode],
    before: Sequence[Sequence[int]],
    mains: Sequence[bool],
    kinds: Sequence[BlockKind],
) -> list[int]:
    """Return for every node the position of the main node of its block."""
    behind: list[list[int]] = [[] for _ in nodes]
    for at, reads in enumerate(before):
        for one in reads:
            behind[one].append(at)
    owners: list[int] = []
    leaving: list[int] = []  # per main node: reads of its block from outside of it
    for at, main in enumerate(mains):
        reads = before[at]
        owner = at if main else _owner_in_front(nodes, kinds, at, reads, owners, leaving)
        owners.append(owner)
        leaving.append(0)
        leaving[owner] += len(behind[at]) - sum(owners[one] == owner for one in before[at])
    _join_what_is_in_front(kinds, owners, behind)
    return owners


def _owner_in_front(
    nodes: Sequence[EnrichedNetworkNode],
    kinds: Sequence[BlockKind],
    at: int,
    reads: Sequence[int],
    owners: Sequence[int],
    leaving: Sequence[int],
) -> int:
    """Return the block that a node passes on: the one it reads, or that of the branch it ends.

    A branch can be ended only if nothing else reads it: else a block could come to read itself.
    Several of them are a residual branch and its short cut, and the branch is the one that looks
    farther. Concatenations of branches belong to none of them.
    """
    several = {owners[one] for one in reads}
    if len(several) == 1:
        return several.pop()
    if nodes[at].layer_info.name.lower() in _CONCATENATIONS:
        return at
    ends = [
        one
        for one in reads
        if leaving[owners[one]] == sum(owners[other] == owners[one] for other in reads)
        and kinds[owners[one]] in ("layer", "global")
    ]
    return owners[max(ends, key=lambda one: (_reach(nodes[one]), one))] if ends else at


def _reach(node: EnrichedNetworkNode) -> Size:
    """Return how far a node looks on the axis on which it looks farthest."""
    return max(map(arithmetic.largest_field, node.paths))


def _join_what_is_in_front(
    kinds: Sequence[BlockKind], owners: list[int], behind: Sequence[Sequence[int]]
) -> None:
    """Let joints become parts of the one layer that reads them, the last ones first."""
    members: dict[int, list[int]] = {}
    for at, owner in enumerate(owners):
        if kinds[owner] == "joint":
            members.setdefault(owner, []).append(at)
    for owner in sorted(members, reverse=True):
        readers = {owners[one] for at in members[owner] for one in behind[at]} - {owner}
        if len(readers) == 1 and all(behind[at] for at in members[owner]):
            reader = readers.pop()
            if kinds[reader] != "global":
                for at in members[owner]:
                    owners[at] = reader
                members.setdefault(reader, []).extend(members[owner])


def _kind(node: EnrichedNetworkNode, main: bool) -> BlockKind:
    """Return of which kind a block is that has this node as its main one."""
    if not node.has_position:
        return "vector"
    if all(arithmetic.smallest_field(paths) == math.inf for paths in node.lasting_paths):
        return "global"
    if _is_input(node):
        return "input"
    return "layer" if main else "joint"


def _is_input(node: EnrichedNetworkNode) -> bool:
    return not node.predecessors and node.layer_info.name.lower().startswith("input")


def _is_main(node: EnrichedNetworkNode) -> bool:
    """Whether a node looks at more than its own unit, or multiplies with weights."""
    layer = node.layer_info
    if _is_input(node) or layer.resolution_dependent or any(layer.expands(node.axes or 1)):
        return True
    if any(factor != 1 for factor in arithmetic.broadcast(layer.upsampling, node.axes or 1)):
        return True
    if node.measures.work is not None:
        return bool(node.multiply_accumulates)
    # Nobody measured it: a layer that was described by hand, or an input of open size.
    name = layer.name.lower()
    wide = layer.filters is not None or layer.units is not None
    return not _NEUTRAL.search(name) and (wide or bool(_WEIGHTED.search(name)))


_CONCATENATIONS = frozenset({"cat", "concat", "concatenate", "concatenation", "stack"})
_WEIGHTED = re.compile(r"conv|dense|linear|fully")
_NEUTRAL = re.compile(
    r"norm|activation|relu|elu|gelu|silu|swish|mish|sigmoid|softmax|softplus|tanh|drop|depth"
    r"|identity|scal|bias|^(add|sub|mul|sum|cat|concat|merge|input)"
)
"""Names of layers that only pass on what they get, where nothing but the name says so."""
