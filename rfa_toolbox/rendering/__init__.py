"""Rendering: from a graph to a picture or a page."""

from __future__ import annotations

import rfa_toolbox.rendering.notebook  # noqa: F401 - registers the views of graphs and tables
from rfa_toolbox.rendering.architecture import node_id, visualize_architecture, visualize_node
from rfa_toolbox.rendering.layout import LayoutTimeoutError, Picture
from rfa_toolbox.rendering.report import (
    Report,
    ReportFileError,
    make_report,
    report_html,
    write_report,
)

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
