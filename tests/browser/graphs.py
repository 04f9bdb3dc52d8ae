"""Graphs to open in a browser."""

from __future__ import annotations

import random
from typing import Any

from rfa_toolbox import EnrichedNetworkNode, LayerDefinition

HOSTILE = (
    "<script>alert('name')</script>",
    '"><img src=x onerror="alert(1)">',
    "two\nlines\r\n\tand\0a zero",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "back\\slash {{script}} ${1} </title>",
    "\ud800 alone, \U0001f600 not",
    "x" * 10_000,
    "",
)


def hostile() -> EnrichedNetworkNode:
    """Every hostile text as a name, as a type and as the path of a module."""
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at, name in enumerate(HOSTILE):
        for part in ("a", "b"):
            layer = LayerDefinition(name, 3 + at, 1 + at % 2)
            node = EnrichedNetworkNode(name, layer, [node], module_path=f"{name}.{part}")
    return node


def random_graph(seed: int, axes: int | None) -> EnrichedNetworkNode:
    """A graph with branches, several grids, infinite layers and, on request, axes that differ."""
    dice = random.Random(seed)

    def per_axis(*values: Any) -> Any:
        if axes is None:
            return dice.choice(values)
        return tuple(dice.choice(values) for _ in range(axes))

    nodes = [EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])]
    for at in range(dice.randint(4, 25)):
        before = dice.sample(nodes[-4:], min(len(nodes[-4:]), dice.choice((1, 1, 1, 2, 3))))
        layer = LayerDefinition(
            f"kind {at % 5}",
            per_axis(1, 1, 2, 3, 3, 5, 7, *([None] if dice.random() < 0.05 else [])),
            per_axis(1, 1, 1, 2, 3),
            dilation=per_axis(1, 1, 1, 2),
            upsampling=dice.choice((1, 1, 1, 1, 1, 2, 3)),
            resolution_dependent=dice.random() < 0.03,
        )
        path = f"stage{at // 6}.block{at // 3}.layer{at}"
        nodes.append(EnrichedNetworkNode(f"layer {at}", layer, before, module_path=path))
    return nodes[-1]


def large(layers: int) -> EnrichedNetworkNode:
    """A network of blocks with two branches, as large as one likes, with modules in modules."""
    node = EnrichedNetworkNode("stem", LayerDefinition("Conv2d", (3, 3), (2, 2)), [])
    count = 1
    while count < layers:
        stage, block = count // 200, count // 8
        path = f"stages.{stage}.blocks.{block}"
        start = node
        for step in range(6):
            layer = LayerDefinition("Conv2d", (3, 3), (1, 1), filters=64)
            name = f"{path}.branch.{step}"
            node = EnrichedNetworkNode(name, layer, [node], module_path=name)
        shortcut = EnrichedNetworkNode(
            f"{path}.shortcut",
            LayerDefinition("Conv2d", (1, 1)),
            [start],
            module_path=f"{path}.shortcut",
        )
        node = EnrichedNetworkNode(
            f"{path}/add", LayerDefinition("add", 1, 1), [node, shortcut], module_path=path
        )
        count += 8
    return node
