"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["Debug", "Format", "Output"]

Format = Annotated[
    str | None,
    typer.Option("--format", "-f", metavar="FORMAT", help="table, json or csv."),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write into a file; its suffix says the format.",
        show_default="standard output",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", metavar="", help="Show the traceback of an error.")]
