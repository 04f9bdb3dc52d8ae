"""Which nodes of a graph share a box of a picture, and how the boxes stand in columns."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs

from rfa_toolbox.analysis.blocks import Block, BlockKind, blocks
from rfa_toolbox.graphs import EnrichedNetworkNode

__all__ = [
    "BoxContent",
    "column_starts",
    "columns_on_a_page",
    "contents_of",
    "in_circles",
    "in_order",
    "readable",
]

T = TypeVar("T", bound=Hashable)

_BOX_SHAPE = 0.24
"""Height of a box over its width, times width of a page over its height, all with their gaps."""

_MOST_ON_A_PAGE = 60
"""Boxes whose text can still be read on a sheet of paper."""


@attrs.frozen(eq=False)
class BoxContent:
    """What one box of a picture stands for.

    Attributes:
        nodes: its nodes, predecessors first.
        main: the node whose name, field and state the box shows; of a module the last one.
        kind: the kind of its block; "layer" for a module with a layer in it.
        module: path of the module that the box stands for as a whole, None for a single layer.
        blocks: the blocks in it.
    """

    nodes: tuple[EnrichedNetworkNode, ...]
    main: EnrichedNetworkNode
    kind: BlockKind
    module: str | None
    blocks: tuple[Block, ...]


def contents_of(
    graph: EnrichedNetworkNode, fuse: bool = False, depth: int | None = None
) -> list[BoxContent]:
    """Return what the boxes of a picture stand for, in the order in which they are drawn.

    Args:
        graph: any node of the graph.
        fuse: draw a block as one box, and not every node.
        depth: fold modules that lie deeper than so many names of a path; None folds none.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> len(contents_of(resnet18())), len(contents_of(resnet18(), fuse=True))
    (33, 24)
    """
    found = blocks(graph)
    parts: list[BoxContent] = []
    for block in found:
        if fuse:
            parts.append(BoxContent(block.nodes, block.main, block.kind, None, (block,)))
        else:
            parts += [BoxContent((node,), node, block.kind, None, (block,)) for node in block.nodes]
    places = {node: at for at, node in enumerate(graph.all_layers)}
    if depth is not None:
        parts = _folded(parts, depth, places)
    parts.sort(key=lambda part: places[part.nodes[0]])
    # A module may read what stands behind its first node.
    return [parts[at] for at in in_order({at: at for at in range(len(parts))}, _edges(parts))]


def _edges(parts: Sequence[BoxContent]) -> set[tuple[int, int]]:
    """Return which parts read each other, by their places: tail and head."""
    part_of = {node: at for at, part in enumerate(parts) for node in part.nodes}
    pairs = {(part_of[before], at) for node, at in part_of.items() for before in node.predecessors}
    return {(tail, head) for tail, head in pairs if tail != head}


def readable(graph: EnrichedNetworkNode, fuse: bool) -> list[BoxContent]:
    """Return contents of boxes, folded so far that a sheet of paper can hold them, if possible.

    Modules are folded first; where that is not enough, blocks become one box, too.
    """
    deepest = max((node.module_path or "").count(".") for node in graph.all_layers) + 1
    fewest = contents_of(graph, fuse)
    for fused in dict.fromkeys((fuse, True)):
        for depth in (None, *range(deepest, 0, -1)):
            if len(fewest) <= _MOST_ON_A_PAGE:
                return fewest
            fewest = min(fewest, contents_of(graph, fused, depth), key=len)
    return fewest


def _folded(
    parts: Sequence[BoxContent], depth: int, places: dict[EnrichedNetworkNode, int]
) -> list[BoxContent]:
    """Fold modules, but not those that are left and entered again: no arrow may lead back."""
    circled: set[str] = set()
    while True:
        folded = _folded_but(circled, parts, depth, places)
        around = in_circles(_edges(folded))
        more = {module for at in around if (module := folded[at].module) is not None}
        if not more:
            return folded
        circled |= more


def _folded_but(
    circled: Collection[str],
    parts: Sequence[BoxContent],
    depth: int,
    places: dict[EnrichedNetworkNode, int],
) -> list[BoxContent]:
    modules = {
        prefix
        for path in {part.main.module_path or "" for part in parts}
        if path.count(".") >= depth
        for prefix in [".".join(path.split(".")[:depth])]
    }
    together: dict[int | str, list[BoxContent]] = {}
    for at, part in enumerate(parts):
        module = _module_of(part.main, depth, modules)
        together.setdefault(at if module is None or module in circled else module, []).append(part)
    folded: list[BoxContent] = []
    for key, several in together.items():
        module = key if isinstance(key, str) else None
        if len(several) == 1 or module is None:
            folded += several
            continue
        nodes = sorted((node for part in several for node in part.nodes), key=places.__getitem__)
        kinds = Counter(part.kind for part in several)
        inside = {block.index: block for part in several for block in part.blocks}
        kind: BlockKind = "layer" if "layer" in kinds else several[0].kind
        main = nodes[-1]
        folded.append(BoxContent(tuple(nodes), main, kind, module, tuple(inside.values())))
    return folded


def in_circles(edges: Collection[tuple[T, T]]) -> set[T]:
    """Return what is in a circle of arrows, or between two of them.

    >>> sorted(in_circles([("a", "b"), ("b", "c"), ("c", "b")]))
    ['b', 'c']
    """
    left = {item for edge in edges for item in edge}
    for tail, head in ((0, 1), (1, 0)):  # what nothing leads to goes, then what leads to nothing
        behind: defaultdict[T, list[T]] = defaultdict(list)
        count: defaultdict[T, int] = defaultdict(int)
        for edge in edges:
            if edge[tail] in left and edge[head] in left:
                behind[edge[tail]].append(edge[head])
                count[edge[head]] += 1
        free = [item for item in left if not count[item]]
        while free:
            item = free.pop()
            left.discard(item)
            for other in behind[item]:
                count[other] -= 1
                if not count[other]:
                    free.append(other)
    return left


def in_order(places: Mapping[T, int], edges: Iterable[tuple[T, T]]) -> list[T]:
    """Return items behind all that they read, and by their places where that leaves a choice.

    A part of such a row never reads what reads it.

    >>> in_order({"a": 0, "b": 1, "c": 5}, [("a", "b"), ("c", "b")])
    ['a', 'c', 'b']
    """
    behind: defaultdict[T, list[T]] = defaultdict(list)
    missing = dict.fromkeys(places, 0)
    for tail, head in edges:
        behind[tail].append(head)
        missing[head] += 1
    free = [(place, item) for item, place in places.items() if not missing[item]]
    heapq.heapify(free)
    row = []
    while free:
        _, item = heapq.heappop(free)
        row.append(item)
        for other in behind[item]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(free, (places[other], other))
    return row


def _module_of(node: EnrichedNetworkNode, depth: int, modules: set[str]) -> str | None:
    """Return the module at a depth that a node lies in; None if it does not lie so deep.

    A layer is a module of its own, unless others lie in it: then the node is what it does itself.
    """
    path = node.module_path or ""
    module = ".".join(path.split(".")[:depth])
    inside = module in modules or (path == module and node.name.startswith(f"{path}/"))
    return module if module and inside else None


# --- columns ---------------------------------------------------------------------------------


def columns_on_a_page(boxes: int) -> int:
    """Return into how many columns so many boxes fit best on a sheet of paper.

    >>> columns_on_a_page(8), columns_on_a_page(40)
    (1, 3)
    """
    return max(1, round(math.sqrt(boxes * _BOX_SHAPE)))


def column_starts(arrows: Sequence[tuple[int, int]], boxes: int, columns: int) -> list[int]:
    """Return with which boxes new columns begin: where few boxes are read from the next column.

    Args:
        arrows: tail and head of every arrow, as places in the order of the boxes.
        boxes: how many boxes there are.
        columns: how many columns are wanted.

    >>> column_starts([(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (3, 5), (4, 5)], 6, 2)
    [3]
    """
    read_last: dict[int, int] = {}
    for tail, head in arrows:
        first, last = sorted((tail, head))
        read_last[first] = max(last, read_last.get(first, 0))
    change = [0] * (boxes + 2)
    for first, last in read_last.items():
        change[first + 1] += 1
        change[last + 1] -= 1
    crossing = list(itertools.accumulate(change))
    starts: list[int] = []
    for column in range(1, min(columns, boxes)):
        wish = round(boxes * column / columns)
        reach = max(1, boxes // (4 * columns))
        near = range(
            max(starts[-1] + 1 if starts else 1, wish - reach), min(boxes, wish + reach + 1)
        )
        if near:
            starts.append(min(near, key=lambda at: (crossing[at], abs(at - wish))))
    return starts
