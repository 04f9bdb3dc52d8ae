"""Results as text: coloured and as wide as the terminal, or plain where nobody looks at it."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rfa_toolbox.analysis import find_smallest_resolution_with_no_unproductive_layer
from rfa_toolbox.analysis.costs import short_number
from rfa_toolbox.analysis.table import Analysis, TextColumn, aligned, one_line, text_columns

__all__ = [
    "analyses_as_csv",
    "analysis_text",
    "as_csv",
    "as_json",
    "comparison_row",
    "comparison_text",
    "next_step",
    "range_text",
    "table_text",
    "verification_text",
]

SCHEMA_VERSION = 1
"""Version of the JSON that the command line writes; fields may be added without a new one."""

_STYLES = {
    "unproductive": "bold red",
    "critical": "yellow",
    "partially critical": "bright_yellow",
    "differs": "bold red",
    "bound": "yellow",
}
_EXPENDABLE = (
    "kind",
    "first unproductive",
    "MACs",
    "params",
    "layers",
    "jump",
    "dilation",
    "module",
    "out",
    "stride",
    "parameters",
    "type",
    "map",
    "kernel",
    "certainty",
    "#",
    "r_max",
    "r_min",
)
"""Columns that a narrow terminal can do without, the first to go first."""

_NARROWEST_NAME = 16


def analysis_text(analysis: Analysis, plain: bool) -> str:
    """Return a table of layers, what it comes to, and what to do about it."""
    states = [row.state for row in analysis.rows]
    return table_text(
        text_columns(analysis.rows), f"{analysis.summary()}\n{next_step(analysis)}", plain, states
    )


def next_step(analysis: Analysis) -> str:
    """Return one line that says what can be done about the layers that do not help.

    >>> from rfa_toolbox import analyze
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> print(next_step(analyze(vgg16(), 224)))
    Next: nothing to do at this resolution.
    """
    wasted = [row for row in analysis.layers_in("unproductive") if row.in_feature_extractor]
    limited = [
        row
        for state in ("critical", "partially critical")
        for row in analysis.layers_in(state)
        if row.in_feature_extractor
    ]
    low = "x".join(map(str, analysis.resolution_range[0]))
    if wasted:
        # Some layers are unproductive at the smallest resolution that makes sense.
        useful = find_smallest_resolution_with_no_unproductive_layer(analysis.graph)
        enough = "x".join(str(max(size, useful)) for size in analysis.resolution_range[0])
        return (
            "Next: cut the unproductive layers, let the receptive field grow more slowly (fewer "
            f"early strides, smaller kernels), or use images of {enough} px or more."
        )
    if limited:
        return f"Next: critical layers may still help a little; images of {low} px use them fully."
    return "Next: nothing to do at this resolution."


def table_text(
    columns: Sequence[TextColumn], below: str, plain: bool, states: Sequence[str]
) -> str:
    """Return columns and a text below them.

    Args:
        columns: what to show.
        below: what to say of it.
        plain: without colours, and as wide as need be. Otherwise columns are left out, names are
            shortened and lines are wrapped until the terminal is wide enough.
        states: the state of each row, which colours it.
    """
    if plain:
        return f"{aligned(columns)}\n\n{below}\n"
    colour = not os.environ.get("NO_COLOR")
    console = Console(
        file=io.StringIO(),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        width=Console().width,
    )
    shown = _fitting(columns, console.width)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(
            Text(column.title), justify="right" if column.number else "left", no_wrap=True
        )
    cells = zip(*(column.cells for column in shown), strict=True)
    for state, row in zip(states, cells, strict=True):
        # Text, not str: what stands in square brackets in a name is no markup.
        table.add_row(*map(Text, row), style=_STYLES.get(state, ""))
    console.print(table, Text(), Text(below), sep="\n")
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # the StringIO from above
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _fitting(columns: Sequence[TextColumn], width: int) -> list[TextColumn]:
    """Return the columns that fit into a width; the first text column gives way at last.

    >>> name, jump = TextColumn("layer", ("a" * 40,), False), TextColumn("jump", ("1",), True)
    >>> [column.cells for column in _fitting([name, jump], 20)]
    [('aaaaaaaa...aaaaaaaaa',)]
    """
    kept = list(columns)
    named = next((column for column in kept if not column.number), kept[0])

    def excess(column_width: int) -> int:
        others = sum(_width(column) + 2 for column in kept if column is not named)
        return others + column_width - width

    for title in _EXPENDABLE:
        if excess(min(_width(named), 2 * _NARROWEST_NAME)) <= 0:
            break
        kept = [column for column in kept if column.title != title]
    room = max(_width(named) - max(excess(_width(named)), 0), _NARROWEST_NAME)
    cells = tuple(_shortened(cell, room) for cell in named.cells)
    return [TextColumn(named.title, cells, False) if one is named else one for one in kept]


def _width(column: TextColumn) -> int:
    return max(map(cell_len, (column.title, *column.cells)))


def _shortened(text: str, width: int) -> str:
    """Return the begin and the end of a text that is wider than so many cells of a terminal.

    >>> _shortened("abcdefgh", 7), _shortened("漢字漢字漢字", 7)
    ('ab...gh', '漢...字')
    """
    if cell_len(text) <= width:
        return text
    kept = width - 3
    begin = set_cell_size(text, kept // 2).rstrip()
    end = set_cell_size(text[::-1], kept - kept // 2).rstrip()[::-1]
    return f"{begin}...{end}"


def range_text(title: str, least: str, most: str) -> str:
    """Return the range of useful resolutions as sentences.

    >>> print(range_text("vgg16", "212x212", "212x212"), end="")
    Useful input resolutions of vgg16:
      from 212x212 px (below, some layer of the feature extractor has nothing to work with)
      to   212x212 px (beyond, no layer of it sees the whole image)
    """
    width = max(len(least), len(most))
    return (
        f"Useful input resolutions of {one_line(title)}:\n"
        f"  from {least:>{width}} px (below, some layer of the feature extractor has nothing to "
        "work with)\n"
        f"  to   {most:>{width}} px (beyond, no layer of it sees the whole image)\n"
    )


# --- several models --------------------------------------------------------------------------


def comparison_row(title: str, analysis: Analysis) -> dict[str, Any]:
    """Return what is compared of a model at a resolution, as plain values.

    >>> from rfa_toolbox import analyze
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> row = comparison_row("vgg16", analyze(vgg16(), 32))
    >>> row["layers"], row["unproductive"], row["first_unproductive"]
    (22, 10, 'Stage2-Conv2')
    >>> row["parameters"] is None  # of a graph that was made by hand
    True
    """
    extractor = [row for row in analysis.rows if row.in_feature_extractor]
    states = [row.state for row in extractor]
    first = next((row.name for row in extractor if row.state == "unproductive"), None)
    low, high = analysis.resolution_range
    total, wasted = analysis.costs_of(), analysis.costs_of("unproductive")
    return {
        "model": title,
        "input_resolution": list(analysis.input_resolution),
        "layers": len(analysis.rows),
        "unproductive": states.count("unproductive"),
        "critical": states.count("critical"),
        "partially_critical": states.count("partially critical"),
        "first_unproductive": first,
        "min_resolution": list(low),
        "max_resolution": list(high),
        "parameters": total.parameters,
        "unproductive_parameters": wasted.parameters,
        "multiply_accumulates": total.multiply_accumulates,
        "unproductive_multiply_accumulates": wasted.multiply_accumulates,
        "compute_is_estimated": analysis.compute_is_estimated,
    }


def comparison_text(rows: Sequence[Mapping[str, Any]], plain: bool) -> str:
    """Return models side by side."""
    shown = [
        {
            "model": row["model"],
            "input": _square(row["input_resolution"]),
            "layers": row["layers"],
            "unproductive": row["unproductive"],
            "critical": row["critical"],
            "from": _square(row["min_resolution"]),
            "to": _square(row["max_resolution"]),
            "params": _with_share(row["parameters"], row["unproductive_parameters"]),
            "MACs": _with_share(
                row["multiply_accumulates"], row["unproductive_multiply_accumulates"]
            ),
            "first unproductive": row["first_unproductive"],
        }
        for row in rows
    ]
    columns = [
        TextColumn(
            heading,
            tuple(one_line(text_of(row[heading])) for row in shown),
            heading not in ("model", "first unproductive"),
        )
        for heading in shown[0]
        if any(row[heading] is not None for row in shown)
    ]
    note = (
        "unproductive, critical: layers of the feature extractor in that state.\n"
        "from, to: useful input resolutions in pixels."
    )
    if any(row["params"] is not None for row in shown):
        note += "\nparams, MACs: of all layers, and the share in unproductive ones."
    states = ["unproductive" if row["unproductive"] else "productive" for row in rows]
    return table_text(columns, note, plain, states)


def _square(size: list[Any]) -> Any:
    """Return one number for a square."""
    return size[0] if len(set(size)) == 1 else size


def _with_share(whole: int | None, part: int | None) -> str | None:
    """Return a count and the share of a part of it.

    >>> _with_share(11_700_000, 5_850_000), _with_share(None, None)
    ('11.70 M (50%)', None)
    """
    if whole is None:
        return None
    return f"{short_number(whole)} ({(part or 0) / max(whole, 1):.0%})"


# --- analysis against experiment -------------------------------------------------------------


def verification_text(found: Mapping[str, Any], plain: bool) -> str:
    """Return node by node what the analysis says and what was measured.

    Args:
        found: ``VerificationReport.to_dict()``.
        plain: as for ``table_text``.
    """
    nodes = found["nodes"]
    texts = {
        "layer": [node["name"] for node in nodes],
        "kind": [node["kind"] for node in nodes],
        "analysis": [
            _window(node["expected_start"], node["expected_size"], node["expected_jump"])
            for node in nodes
        ],
        "experiment": [_window(node["start"], node["size"], node["jump"]) for node in nodes],
        "verdict": [node["verdict"] for node in nodes],
        "why": [node["reason"] for node in nodes],
    }
    columns = [
        TextColumn(title, tuple(map(one_line, cells)), number=False)
        for title, cells in texts.items()
        if any(cells)
    ]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found["counts"].items() if count)
    below = (
        f"{len(nodes)} nodes of {one_line(found['model'])}: {counts}.\n"
        "analysis, experiment: first pixel that unit 0 sees / pixels that a unit sees / pixels "
        "between neighbouring units."
    )
    return table_text(columns, below, plain, [node["verdict"] for node in nodes])


def _window(start: list[Any], size: list[Any], jump: list[Any]) -> str:
    """Return where units look, in short.

    >>> _window([-3, -3], [7, 7], [2, 1]), _window([None], [7], [None])
    ('-3 / 7 / 2x1', '? / 7 / ?')
    """
    return " / ".join(
        "x".join("?" if one is None else str(one) for one in (sizes[:1] if alike else sizes))
        for sizes in (start, size, jump)
        for alike in [len(set(sizes)) == 1]
    )


def text_of(value: Any) -> str:
    """Return a plain value as a piece of text.

    >>> text_of([32, 64]), text_of(None), text_of(7)
    ('32x64', '-', '7')
    """
    if isinstance(value, list):
        return "x".join(map(str, value))
    return "-" if value is None else str(value)


# --- for programs ----------------------------------------------------------------------------


def as_json(kind: str, content: Mapping[str, Any]) -> str:
    """Return a result as JSON that says what it is.

    >>> print(as_json("range", {"min": [32]}), end="")
    {
      "format": "rfa.range",
      "version": 1,
      "min": [
        32
      ]
    }
    """
    head = {"format": f"rfa.{kind}", "version": SCHEMA_VERSION}
    return json.dumps({**head, **content}, indent=2, allow_nan=False) + "\n"


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    r"""Return rows as CSV with a header; None is an empty cell, and sizes read like 32x64.

    >>> as_csv([{"model": "a", "size": [3, 4], "first": None}])
    'model,size,first\r\na,3x4,\r\n'
    """
    several = list(rows)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(several[0])
    for row in several:
        writer.writerow("" if one is None else text_of(one) for one in row.values())
    return text.getvalue()


def analyses_as_csv(several: Sequence[Analysis]) -> str:
    """Return the layers at one resolution or several as CSV; the first column is the resolution.

    >>> from rfa_toolbox import analyze
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> analyses_as_csv([analyze(vgg16(), 32)]).splitlines()[1][:20]
    '32,0,Input,,Input,1,'
    """
    text = io.StringIO()
    writer = csv.writer(text)
    for at, analysis in enumerate(several):
        header, *rows = csv.reader(io.StringIO(analysis.to_csv(), newline=""))
        if at == 0:
            writer.writerow(["input_resolution", *header])
        resolution = "x".join(map(str, analysis.input_resolution))
        writer.writerows([resolution, *row] for row in rows)
    return text.getvalue()
