"""The report: a network as one HTML page to explore in a browser."""

from __future__ import annotations

from rfa_toolbox.rendering.report.page import (
    Graphs,
    Report,
    ReportFileError,
    make_report,
    report_html,
    write_report,
)

__all__ = ["Graphs", "Report", "ReportFileError", "make_report", "report_html", "write_report"]
