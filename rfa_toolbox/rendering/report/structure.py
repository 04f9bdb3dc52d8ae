"""What the page draws: units, the modules that hold them, and the arrows between them.

A unit is what counts as one layer: a block, or a single operation. The page lays out one module
after the other, so that none may hold very much: long rows of layers are cut into parts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs

from rfa_toolbox.analysis.blocks import BlockKind, blocks
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.rendering import concatenations
from rfa_toolbox.rendering.architecture import clustered, without_circles
from rfa_toolbox.rendering.boxes import in_order

__all__ = ["Units", "blocks_of", "modules_of", "operations_of"]

_MOST_ITEMS = 26
_PART = (6, 10, 16)
"""How many things stand in a part: at least, at best and at most."""


Item = tuple[bool, int]
"""A unit (True) or a module (False), by its number."""


@attrs.frozen
class Units:
    """What counts as one layer.

    Attributes:
        main: positions of the nodes that give the units their name, field and state.
        kinds: of the units, as of blocks.
        inputs: which units each unit reads.
        unit_of: per node of the graph, the unit that it is in.
    """

    main: list[int]
    kinds: list[BlockKind]
    inputs: list[list[int]]
    unit_of: list[int]


def blocks_of(
    graph: EnrichedNetworkNode,
    nodes: Sequence[EnrichedNetworkNode],
) -> Units:
    """Return the blocks of a graph as units."""
    positions = {node: at for at, node in enumerate(nodes)}
    found = blocks(graph)
    unit_of = [0] * len(nodes)
    for block in found:
        for node in block.nodes:
            unit_of[positions[node]] = block.index
    return Units(
        [positions[block.main] for block in found],
        [block.kind for block in found],
        [list(block.predecessors) for block in found],
        unit_of,
    )


def operations_of(inputs: list[list[int]], extractor: Sequence[bool]) -> Units:
    """Return every operation as a unit; what is no part of the feature extractor is global."""
    every = list(range(len(inputs)))
    kinds: list[BlockKind] = ["layer" if inside else "global" for inside in extractor]
    return Units(every, kinds, inputs, every)


def modules_of(nodes: Sequence[EnrichedNetworkNode], units: Units) -> dict[str, Any]:
    """Return modules with their parents and names, the module of every unit, and all arrows."""
    mains = [nodes[main] for main in units.main]
    arrows = concatenations.arrows_between(
        units.inputs,
        [node.layer_info.name.lower() in concatenations.CONCATENATIONS for node in mains],
    )
    pairs = [(arrow.tail, arrow.head) for arrow in arrows]
    paths = [node.module_path for node in mains]
    contents = without_circles(clustered(paths, [node.layer_info.name for node in mains]), pairs)
    numbers = {path: number for number, path in enumerate(contents)}
    parent = [-1] * len(contents)
    module = [0] * len(mains)
    for path, items in contents.items():
        for item in items:
            if isinstance(item, int):
                module[item] = numbers[path]
            else:
                parent[numbers[item]] = numbers[path]
    modules: list[tuple[str, int, str | int]] = [
        (path, parent[number], 0) for number, path in enumerate(contents)
    ]
    _cut_into_parts(modules, module, pairs)
    return {
        "modules": modules,
        "module": module,
        "arrows": [(arrow.tail, arrow.head, int(arrow.joined)) for arrow in arrows],
    }


# --- parts of modules that hold too much -----------------------------------------------------


def _cut_into_parts(
    modules: list[tuple[str, int, str | int]], module: list[int], arrows: list[tuple[int, int]]
) -> None:
    """Put what stands in a module into parts of it, until no module holds too much."""
    items: defaultdict[int, list[Item]] = defaultdict(list)
    first: dict[int, int] = {}
    for unit, owner in enumerate(module):
        items[owner].append((True, unit))
        inner = owner
        while inner > 0 and inner not in first:
            first[inner] = unit
            inner = modules[inner][1]
    for number, (_, parent, _) in enumerate(modules):
        if parent >= 0:
            items[parent].append((False, number))
    crowded = [number for number, inside in items.items() if len(inside) > _MOST_ITEMS]
    if not crowded:
        return
    edges = _edges_within(modules, module, arrows)
    for number in crowded:
        places = {item: item[1] if item[0] else first[item[1]] for item in items[number]}
        _cut_row(modules, module, number, in_order(places, edges[number]), edges[number])


def _edges_within(
    modules: Sequence[tuple[str, int, str | int]], module: list[int], arrows: list[tuple[int, int]]
) -> defaultdict[int, list[tuple[Item, Item]]]:
    """Return per module which of the things in it read each other."""
    found: defaultdict[int, list[tuple[Item, Item]]] = defaultdict(list)
    for tail, head in arrows:
        ways = []
        for unit in (tail, head):
            way: list[Item] = [(True, unit)]
            inner = module[unit]
            while inner > 0:
                way.append((False, inner))
                inner = modules[inner][1]
            way.append((False, 0))
            ways.append(way[::-1])
        common = 0
        while common < min(map(len, ways)) and ways[0][common] == ways[1][common]:
            common += 1
        if common < min(map(len, ways)):
            found[ways[0][common - 1][1]].append((ways[0][common], ways[1][common]))
    return found


def _cut_row(
    modules: list[tuple[str, int, str | int]],
    module: list[int],
    owner: int,
    row: list[Item],
    edges: list[tuple[Item, Item]],
) -> None:
    counted = 0
    spans = [1] * len(row)
    while len(row) > _MOST_ITEMS:
        place = {item: at for at, item in enumerate(row)}
        pairs = {(place[tail], place[head]) for tail, head in edges}
        cuts = _best_cuts(len(row), pairs)
        parts: list[Item] = []
        inside: dict[Item, Item] = {}
        starts = [sum(spans[:at]) for at in cuts[:-1]]
        widths = []
        for begin, end, start in zip(cuts, cuts[1:], starts, strict=False):
            widths.append(sum(spans[begin:end]))
            counted += 1
            name = _part_name(modules, row[begin], row[end - 1], start, widths[-1])
            part: Item = (False, len(modules))
            modules.append((f"{modules[owner][0]}#{counted}", owner, name))
            parts.append(part)
            for item in row[begin:end]:
                inside[item] = part
                if item[0]:
                    module[item[1]] = part[1]
                else:
                    path, _, label = modules[item[1]]
                    modules[item[1]] = (path, part[1], label)
        edges = [(inside[tail], inside[head]) for tail, head in edges]
        row, spans = parts, widths


def _part_name(
    modules: Sequence[tuple[str, int, str | int]], first: Item, last: Item, start: int, width: int
) -> str:
    """Return the names of the ends of a part, or their numbers where they are no modules."""
    if first[0] or last[0] or modules[first[1]][2]:
        return f"layers {start + 1} to {start + width}"
    begin, end = (modules[item[1]][0].rpartition(".")[2] for item in (first, last))
    number = re.sub(r"^.*?(?=\d*$)", "", end)
    return f"{begin} to {number if number and begin.startswith(end.removesuffix(number)) else end}"


def _best_cuts(length: int, pairs: set[tuple[int, int]]) -> list[int]:
    """Return where to cut a row so that few arrows are cut, with its two ends.

    >>> _best_cuts(50, {(at, at + 1) for at in range(49)})
    [0, 10, 20, 30, 40, 50]
    """
    change = [0] * (length + 1)
    for tail, head in pairs:
        change[min(tail, head) + 1] += 1
        change[max(tail, head) + 1 if max(tail, head) < length else length] -= 1
    crossing, sum_ = [], 0
    for step in change:
        sum_ += step
        crossing.append(sum_)
    least, best, most = _PART
    cuts = [0]
    while length - cuts[-1] > most:
        begin = cuts[-1]
        places = range(begin + least, min(begin + most, length - least) + 1)
        cuts.append(min(places, key=lambda at: (crossing[at], abs(at - begin - best), at)))
    return [*cuts, length]
