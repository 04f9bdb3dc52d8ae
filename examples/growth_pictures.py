"""Draw how kernels and strides make a receptive field grow, as SVG text.

One row of squares per layer, the image at the bottom. What the coloured unit at the top sees is
coloured too, layer by layer, and counted from the rows themselves rather than from a formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

CELL = 22
GAP = 46
LEFT = 150
RIGHT = 130
TOP = 64
INK, SEEN, UNSEEN, RAY = "#404040", "#7fb2e5", "#ffffff", "#c9def3"
UNIT = "#f59b23"


@dataclass(frozen=True)
class Layer:
    """A layer that slides a window of ``kernel`` units in steps of ``stride``."""

    name: str
    kernel: int
    stride: int = 1


@dataclass(frozen=True)
class Row:
    """The units of one feature map: where they lie, in pixels, and which of them are seen."""

    name: str
    places: Sequence[float]
    seen: frozenset[int]


def rows_of(layers: Sequence[Layer], pixels: int) -> list[Row]:
    """Return the feature maps from the image to the top, as seen by the middle unit at the top."""
    places: list[list[float]] = [[float(pixel) for pixel in range(pixels)]]
    windows: list[list[range]] = [[]]
    for layer in layers:
        below = places[-1]
        starts = range(0, len(below) - layer.kernel + 1, layer.stride)
        windows.append([range(start, start + layer.kernel) for start in starts])
        places.append([(below[window[0]] + below[window[-1]]) / 2 for window in windows[-1]])
    seen = [frozenset({len(places[-1]) // 2})]
    for window in reversed(windows[1:]):
        seen += [frozenset(below for unit in seen[-1] for below in window[unit])]
    names = ["image", *(layer.name for layer in layers)]
    return [Row(*row) for row in zip(names, places, reversed(seen), strict=True)]


def draw(title: str, layers: Sequence[Layer], pixels: int) -> str:
    """Return the picture of a few layers on an image that is ``pixels`` wide."""
    rows = rows_of(layers, pixels)
    width = LEFT + CELL * pixels + RIGHT
    height = TOP + GAP * len(rows)
    heading = (
        f'<text x="{width / 2:g}" y="28" text-anchor="middle" font-size="17" '
        f'font-weight="bold">{escape(title)}</text>'
    )
    parts = [heading]
    for above, (row, layer) in enumerate(zip(rows, [None, *layers], strict=True)):
        if layer is not None:
            parts += _rays(rows[above - 1], row, height - GAP * above)
    for level, row in enumerate(rows):
        parts += _squares(row, height - GAP * (level + 1), _x(pixels), level == len(rows) - 1)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica,Arial,sans-serif" '
        f'font-size="13" fill="{INK}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _x(place: float) -> float:
    return LEFT + CELL * place


def _rays(below: Row, row: Row, y: float) -> Iterable[str]:
    """From the seen units of a row to what they see of the row below."""
    left, right = _x(below.places[min(below.seen)]), _x(below.places[max(below.seen)]) + CELL
    first, last = _x(row.places[min(row.seen)]), _x(row.places[max(row.seen)]) + CELL
    yield (
        f'<polygon fill="{RAY}" points="{first:g},{y - GAP + CELL:g} {last:g},{y - GAP + CELL:g} '
        f'{right:g},{y:g} {left:g},{y:g}"/>'
    )


def _squares(row: Row, y: float, end: float, is_top: bool) -> Iterable[str]:
    yield f'<text x="{LEFT - 14}" y="{y + 16:g}" text-anchor="end">{escape(row.name)}</text>'
    for unit, place in enumerate(row.places):
        colour = UNSEEN if unit not in row.seen else UNIT if is_top else SEEN
        yield (
            f'<rect x="{_x(place) + 1:g}" y="{y + 1:g}" width="{CELL - 2}" height="{CELL - 2}" '
            f'rx="3" fill="{colour}" stroke="{INK}"/>'
        )
    count = len(row.seen)
    units = "one unit" if is_top else f"{count} pixels" if row.name == "image" else f"{count} units"
    weight = ' font-weight="bold"' if row.name == "image" else ""
    prefix = "sees " if row.name == "image" else ""
    yield f'<text x="{end + 14:g}" y="{y + 16:g}"{weight}>{prefix}{units}</text>'


KERNEL_PICTURE = draw(
    "Each 3x3 kernel adds a neighbour on both sides",
    [Layer("conv 3x3", 3), Layer("conv 3x3", 3), Layer("conv 3x3", 3)],
    pixels=19,
)
STRIDE_PICTURE = draw(
    "Behind a stride of 2 the same kernels add twice as much",
    [Layer("conv 3x3, stride 2", 3, 2), Layer("conv 3x3", 3), Layer("conv 3x3", 3)],
    pixels=19,
)
