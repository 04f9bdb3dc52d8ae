"""Figures that belong to nobody: they show themselves in a notebook, and print well.

Imported only where a plot is drawn, as it needs matplotlib.
"""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["Axes", "PlotFigure"]

_EMBEDDED: Any = {"pdf.fonttype": 42, "ps.fonttype": 42}
"""Fonts as TrueType: publishers refuse the Type 3 fonts that matplotlib writes otherwise."""


class PlotFigure(Figure):
    """A figure whose fonts are embedded as TrueType, and which is a picture in a notebook."""

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Write the figure; arguments as in ``matplotlib.figure.Figure.savefig``."""
        with mpl.rc_context(_EMBEDDED):
            super().savefig(*args, **kwargs)

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png")
        return target.getvalue()
