"""Rendering: from a graph to a picture or a page."""

from __future__ import annotations

import importlib
import typing

import rfa_toolbox.rendering.notebook  # noqa: F401 - registers the views of graphs and tables
from rfa_toolbox.rendering.architecture import node_id, visualize_architecture, visualize_node
from rfa_toolbox.rendering.report import (
    Report,
    ReportFileError,
    make_report,
    report_html,
    write_report,
)

if typing.TYPE_CHECKING:
    from rfa_toolbox.rendering.layout import LayoutTimeoutError, Picture

__all__ = [
    "LayoutTimeoutError",
    "Picture",
    "Report",
    "ReportFileError",
    "make_report",
    "node_id",
    "report_html",
    "visualize_architecture",
    "visualize_node",
    "write_report",
]


def __getattr__(name: str) -> typing.Any:
    """Return what is imported when it is used: graphviz comes with it."""
    if name not in ("LayoutTimeoutError", "Picture"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("rfa_toolbox.rendering.layout"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
