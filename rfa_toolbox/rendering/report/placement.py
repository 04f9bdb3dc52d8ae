"""Where the boxes and arrows of a report stand: Graphviz is asked for places, and for nothing else.

No text of a model goes into the DOT text, so that none can mean anything there. The boxes of
every module stand in a cluster: no other box lies within its frame, and the page can fold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import attrs

from rfa_toolbox.rendering.architecture import in_drawing_order
from rfa_toolbox.rendering.concatenations import Arrow
from rfa_toolbox.rendering.layout import lay_out

__all__ = ["BOX", "Placement", "place"]

BOX = (184, 52)
"""Width and height of every box, in units of the page's drawing (1/72 inch for Graphviz)."""

_POINTS_PER_INCH = 72
_ATTRIBUTES = (
    'nodesep=0.3;ranksep=0.32;label="";'
    f'node[shape=box,fixedsize=true,label="",width={BOX[0] / _POINTS_PER_INCH:.4f},'
    f"height={BOX[1] / _POINTS_PER_INCH:.4f}];edge[dir=none];"
)
_FRAME = 'label="x";labeljust=l;fontsize=11;margin=10;'  # leaves room for the name of a module


@attrs.frozen
class Placement:
    """Places in the drawing, in whole units, from its upper left corner.

    Attributes:
        width: of the whole drawing.
        height: of the whole drawing.
        centres: of the boxes, (x, y), in the order of the nodes.
        curves: of the arrows, in their order: the points x, y, x, y ... of joined cubic Bezier
            curves, each point after the first relative to the one before.
    """

    width: int
    height: int
    centres: tuple[tuple[int, int], ...]
    curves: tuple[tuple[int, ...], ...]


def place(
    nodes: int,
    contents: Mapping[str, Sequence[int | str]],
    arrows: Sequence[Arrow],
    time_limit: float | None,
) -> Placement:
    """Return where the boxes of ``nodes`` nodes and the arrows between them stand.

    Args:
        nodes: how many nodes there are; they are known by their positions.
        contents: what the modules contain, as ``architecture.clustered`` says it.
        arrows: the arrows to draw.
        time_limit: seconds that the layout may take; None for no limit.

    Raises:
        MissingRendererError: if no Graphviz is installed.
        LayoutTimeoutError: if the layout takes too long.
    """
    text = [f"digraph{{{_ATTRIBUTES}", *_boxes(contents)]
    text += [f"n{arrow.tail}->n{arrow.head};" for arrow in arrows]
    plain = lay_out("\n".join([*text, "}"]), "plain", time_limit=time_limit).decode("utf-8")

    def points(numbers: Sequence[str]) -> list[int]:
        inches = list(map(float, numbers))
        return [
            round(_POINTS_PER_INCH * (height - inch if at % 2 else inch))
            for at, inch in enumerate(inches)
        ]

    width = height = 0.0
    centres: list[tuple[int, int]] = [(0, 0)] * nodes
    drawn: dict[tuple[str, str], list[tuple[int, ...]]] = {}
    for line in plain.splitlines():
        kind, *words = line.split()
        if kind == "graph":
            width, height = float(words[1]), float(words[2])
        elif kind == "node":
            x, y = points(words[1:3])
            centres[int(words[0][1:])] = (x, y)
        elif kind == "edge":
            count = int(words[2])
            curve = points(words[3 : 3 + 2 * count])
            drawn.setdefault((words[0], words[1]), []).append(_relative(curve))
    return Placement(
        round(_POINTS_PER_INCH * width),
        round(_POINTS_PER_INCH * height),
        tuple(centres),
        tuple(drawn[f"n{arrow.tail}", f"n{arrow.head}"].pop(0) for arrow in arrows),
    )


def _boxes(contents: Mapping[str, Sequence[int | str]]) -> list[str]:
    lines: list[str] = []
    opened = 0
    for item in in_drawing_order(contents):
        if item is None:
            lines.append("}")
        elif isinstance(item, int):
            lines.append(f"n{item};")
        else:
            lines.append(f"subgraph cluster_{opened}{{{_FRAME}")
            opened += 1
    return lines


def _relative(curve: Sequence[int]) -> tuple[int, ...]:
    """Return points as the steps between them, which take half the space.

    >>> _relative([100, 50, 100, 60, 90, 80])
    (100, 50, 0, 10, -10, 20)
    """
    pairs = list(zip(curve[::2], curve[1::2], strict=True))
    steps = [(x - before_x, y - before_y) for (before_x, before_y), (x, y) in pairwise(pairs)]
    return tuple(number for pair in [*pairs[:1], *steps] for number in pair)
