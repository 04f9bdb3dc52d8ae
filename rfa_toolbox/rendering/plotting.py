"""What all plots have in common: whose figure they draw on, and how large it is."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rfa_toolbox.errors import MissingPlotterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SMALL_WIDTH", "AxesOrSeveral", "FigureSize", "figure_for", "inches"]

AxesOrSeveral: TypeAlias = "Axes | Sequence[Axes]"
FigureSize: TypeAlias = 'tuple[float, float] | Literal["column", "page"] | None'

SMALL_WIDTH = 5.0
"""Figures below this width in inches are for papers, in which text has seven points or so."""

_WIDTHS = {"column": 3.4, "page": 7.0}


@contextlib.contextmanager
def figure_for(
    grid: tuple[int, int],
    wanted: tuple[float, float],
    figsize: FigureSize,
    ax: AxesOrSeveral | None,
    fewer: bool = False,
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure and its panels: new ones, or the user's axes with their figure.

    Args:
        grid: rows and columns of the panels.
        wanted: width and height in inches if nothing is said of them.
        figsize: what the user said of them.
        ax: the user's axes.
        fewer: whether the first panel may be all.
    """
    count = grid[0] * grid[1]
    figures = _matplotlib()
    if ax is not None:
        panels = list(np.ravel(np.asarray(ax, dtype=object)))
        if not all(isinstance(panel, figures.Axes) for panel in panels):
            raise ValueError(
                f"ax is {ax!r}; it must be axes of matplotlib, such as those of plt.subplots()."
            )
        if len(panels) != count and not (fewer and len(panels) == 1):
            raise ValueError(f"ax holds {len(panels)} axes; this plot has {count} panels.")
        yield panels[0].figure, panels
        return
    size = inches(figsize, wanted)
    small = {"font.size": 7.0, "axes.linewidth": 0.6} if size[0] < SMALL_WIDTH else {}
    with importlib.import_module("matplotlib").rc_context(small):
        figure = figures.PlotFigure(figsize=size, layout="constrained", dpi=120)
        yield figure, list(np.ravel(figure.subplots(*grid, squeeze=False)))


def inches(figsize: FigureSize, wanted: tuple[float, float]) -> tuple[float, float]:
    """Return width and height in inches.

    >>> inches("column", (9.6, 4.4)), inches((3, 2), (9.6, 4.4))
    ((3.4, 2.4), (3.0, 2.0))
    """
    if figsize is None:
        return wanted
    if isinstance(figsize, str):
        if figsize not in _WIDTHS:
            raise ValueError(
                f"figsize is {figsize!r}; valid are {' and '.join(map(repr, _WIDTHS))}, or width "
                "and height in inches."
            )
        width = _WIDTHS[figsize]
        return width, round(max(2.4, min(width, width * wanted[1] / wanted[0])), 2)
    try:
        width, height = map(float, figsize)
    except (TypeError, ValueError):
        width = height = math.nan
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(
            f"figsize is {figsize!r}; it must be width and height in inches, such as (3.4, 2.4)."
        )
    return width, height


def _matplotlib() -> Any:
    try:
        return importlib.import_module("rfa_toolbox.rendering.figures")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise MissingPlotterError(
            "Plots need matplotlib, which is not installed: pip install 'rfa_toolbox[plot]'"
        ) from error
