"""Many candidates as a scatter: a plot with matplotlib, or a page on which each can be opened.

The page needs no network and runs no script: a point is a link to what is known of its candidate.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from rfa_toolbox.analysis.costs import short_number
from rfa_toolbox.rendering.files import write_whole
from rfa_toolbox.rendering.plotting import FigureSize, figure_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Candidates", "Point"]

MOST_POINTS = 5_000
"""So many points a page shows at most, beside those of the front."""

_WIDTH, _HEIGHT, _MARGIN = 900, 560, 90
# Of Okabe and Ito's palette, which people with any kind of colour vision can tell apart.
_PLAIN, _BEST = "#0072B2", "#D55E00"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #222; }
svg { width: 100%; height: auto; overflow: visible; }
circle { fill: #0072B2; fill-opacity: 0.45; }
circle.best { fill: #D55E00; fill-opacity: 1; }
a:hover circle, a:focus circle { stroke: #000; stroke-width: 2; }
text { font-size: 13px; fill: #444; }
.front { fill: none; stroke: #D55E00; stroke-width: 1.5; }
.axis { stroke: #999; }
section.facts { display: none; }
section.facts:target { display: block; border-left: 4px solid #D55E00; padding-left: 1rem; }
th { text-align: left; padding-right: 2rem; font-weight: normal; color: #555; }
td { font-variant-numeric: tabular-nums; }
h2 { overflow-wrap: anywhere; }
@media (max-width: 600px) { text { font-size: 21px; } circle { r: 10px; } }
"""


@attrs.frozen
class Point:
    """A candidate in the plane.

    Attributes:
        x: what it needs, such as the smallest feasible resolution in pixels.
        y: what it costs, such as multiply-accumulates.
        label: what it is called.
        best: whether no other one beats it in both.
        facts: pairs of a name and a text, shown where it is opened.
    """

    x: float
    y: float
    label: str
    best: bool = False
    facts: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class Candidates:
    """Candidates of a search space as points of a plane.

    Attributes:
        points: the candidates.
        x_title: what ``x`` is.
        y_title: what ``y`` is.

    >>> shown = Candidates((Point(35, 4e9, "wide", True), Point(99, 5e9, "deep")), "px", "MACs")
    >>> shown.page().count("<circle")
    2
    """

    points: tuple[Point, ...]
    x_title: str
    y_title: str

    @property
    def front(self) -> list[Point]:
        """The candidates that none beats, from left to right."""
        return sorted((one for one in self.points if one.best), key=lambda one: (one.x, one.y))

    def plot(
        self,
        *,
        ax: Axes | None = None,
        figsize: FigureSize = None,
        title: str | None = None,
    ) -> Figure:
        """Return a figure of matplotlib, which belongs to nobody.

        Args:
            ax: axes of a figure of yours to draw on. None makes a figure.
            figsize: width and height of the figure in inches; "column" and "page" are as wide as a
                column and as the text of a paper.
            title: heading; None and "" leave it out.

        Raises:
            MissingPlotterError: a RuntimeError, if matplotlib is not installed.
        """
        with figure_for((1, 1), (8, 5), figsize, ax) as (figure, (panel,)):
            panel.scatter(
                [one.x for one in self.points], [one.y for one in self.points],
                s=14, c=_PLAIN, alpha=0.45, linewidths=0, rasterized=len(self.points) > MOST_POINTS,
            )  # fmt: skip
            front = self.front
            panel.plot(
                [one.x for one in front], [one.y for one in front],
                "o-", color=_BEST, markersize=5, label="none is better in both",
            )  # fmt: skip
            panel.set(xlabel=self.x_title, ylabel=self.y_title, title=title or "")
            if self.points and all(one.y > 0 for one in self.points):
                panel.set_yscale("log")
            panel.legend()
        return figure

    def save_plot(self, path: str | os.PathLike[str]) -> None:
        """Write the plot into a file, whose suffix says the format.

        Raises:
            MissingPlotterError: a RuntimeError, if matplotlib is not installed.
            OSError: if the file cannot be written.
        """
        self.plot().savefig(path)

    def page(self) -> str:
        """Return a whole HTML page; a click on a point opens its candidate."""
        shown = self._shown()
        front = " ".join(
            f"{x:.1f},{y:.1f}" for x, y in map(_Scale.of(self.points).place, self.front)
        )
        left_out = len(self.points) - len(shown)
        note = f" {left_out:,} of the others are left out." if left_out else ""
        return "\n".join(
            [
                '<!doctype html><html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{len(self.points):,} candidates</title>",
                f"<style>{_STYLE}</style></head><body>",
                f"<h1>{len(self.points):,} candidates</h1>",
                "<p>Press a point to open its candidate. No other one beats the",
                f"{len(self.front):,} in orange in both directions.{note}</p>",
                f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" aria-label="candidates">',
                *self._axes(),
                *self._circles(shown),
                f'<polyline class="front" points="{front}"/>' if front else "",
                "</svg>",
                *(_facts(number, one) for number, one in enumerate(shown)),
                "</body></html>",
            ]
        )

    def save_page(self, path: str | os.PathLike[str]) -> None:
        """Write the page into a file, as a whole or not at all.

        Raises:
            OSError: if the file cannot be written.
        """
        write_whole(Path(path), self.page().encode("utf-8"))

    def _shown(self) -> list[Point]:
        """Return the points of a page: the front, and of the others as many as it can bear."""
        others = sorted((one for one in self.points if not one.best), key=lambda one: one.label)
        step = max(1, math.ceil(len(others) / MOST_POINTS))
        return [*others[::step], *self.front]

    def _axes(self) -> list[str]:
        scale = _Scale.of(self.points)
        bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
        lines = [
            f'<line class="axis" x1="{_MARGIN}" y1="{bottom}" x2="{right}" y2="{bottom}"/>',
            f'<line class="axis" x1="{_MARGIN}" y1="{_MARGIN}" x2="{_MARGIN}" y2="{bottom}"/>',
            f'<text x="{right}" y="{bottom + 52}" text-anchor="end">',
            f"{html.escape(self.x_title)}</text>",
            f'<text x="{_MARGIN}" y="{_MARGIN - 20}">{html.escape(self.y_title)}</text>',
        ]
        for value in (scale.left, scale.right):
            x = scale.across(value)
            lines.append(
                f'<text x="{x:.1f}" y="{bottom + 24}" text-anchor="middle">{value:,.0f}</text>'
            )
        for value in (scale.low, scale.high):
            y = scale.up(value)
            lines.append(
                f'<text x="{_MARGIN - 8}" y="{y:.1f}" text-anchor="end">{_shortened(value)}</text>'
            )
        return lines

    def _circles(self, shown: Sequence[Point]) -> list[str]:
        scale = _Scale.of(self.points)
        lines = []
        for number, one in enumerate(shown):
            x, y = scale.place(one)
            look = ' class="best"' if one.best else ""
            lines.append(
                f'<a href="#c{number}"><circle{look} cx="{x:.1f}" cy="{y:.1f}" r="5">'
                f"<title>{html.escape(one.label)}</title></circle></a>"
            )
        return lines


def _shortened(value: float) -> str:
    return short_number(int(value)) if value >= 1000 else f"{value:.3g}"


@attrs.frozen
class _Scale:
    """From values to places on the page; costs are on a logarithmic scale where they can be."""

    left: float
    right: float
    low: float
    high: float

    @classmethod
    def of(cls, points: Sequence[Point]) -> _Scale:
        finite = [one for one in points if math.isfinite(one.x) and math.isfinite(one.y)]
        xs = [one.x for one in finite] or [0.0]
        ys = [one.y for one in finite] or [0.0]
        return cls(min(xs), max(xs), min(ys), max(ys))

    def across(self, value: float) -> float:
        share = _share(value, self.left, self.right)
        return _MARGIN + share * (_WIDTH - 2 * _MARGIN)

    def up(self, value: float) -> float:
        if self.low > 0:
            share = _share(math.log(value), math.log(self.low), math.log(self.high))
        else:
            share = _share(value, self.low, self.high)
        return _HEIGHT - _MARGIN - share * (_HEIGHT - 2 * _MARGIN)

    def place(self, one: Point) -> tuple[float, float]:
        return self.across(one.x), self.up(one.y)


def _share(value: float, low: float, high: float) -> float:
    if low == high:
        return 0.5
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _facts(number: int, one: Point) -> str:
    lines = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in one.facts
    )
    return (
        f'<section class="facts" id="c{number}"><h2>{html.escape(one.label)}</h2>'
        f"<table>{lines}</table></section>"
    )
