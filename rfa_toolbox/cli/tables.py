"""Results as text: coloured and as wide as the terminal, or plain where nobody looks at it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rfa_toolbox.analysis.costs import short_number
from rfa_toolbox.analysis.summary import Summary
from rfa_toolbox.analysis.table import (
    BY_DESIGN,
    Analysis,
    TextColumn,
    aligned,
    state_text,
    text_columns,
)
from rfa_toolbox.analysis.words import one_line, verdicts_in_words
from rfa_toolbox.arithmetic import LayerState, Size

__all__ = [
    "analyses_as_csv",
    "analysis_text",
    "as_csv",
    "as_json",
    "comparison_row",
    "comparison_text",
    "finite",
    "lower_bound_text",
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
    BY_DESIGN: "dim",
    "no position": "dim",
    "differs": "bold red",
    "bound": "yellow",
}
_EXPENDABLE = (
    "weights",
    "strategy",
    "kind",
    "MACs",
    "params",
    "first red",
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


def analysis_text(analysis: Analysis, plain: bool, nodes: bool = False) -> str:
    """Return a table of layers, what it comes to, and what to do about it.

    Args:
        analysis: what was found.
        plain: as for ``table_text``.
        nodes: show every operation instead of blocks.
    """
    found = analysis.findings()
    rows = analysis.rows if nodes else analysis.block_rows()
    below = f"{found}\n{_next_steps(found)}"
    if nodes:
        below = f"{_operations(analysis)}\n{below}"
    states = [state_text(row) for row in rows]
    shown = table_text(text_columns(rows), below, plain, states)
    return f"{found.warning}\n\n{shown}" if found.warning else shown


def _next_steps(found: Summary) -> str:
    """Return what can be done, one option in a line.

    >>> from rfa_toolbox import summarize
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> print(_next_steps(summarize(vgg16(), 64)))
    Next: put the head behind Stage3-Conv1 and leave out the last 6 layers.
      or: let the field grow more slowly: smaller strides or kernels early on.
      or: use images of 212 px or more.
    """
    options = [f"{one[:1].lower()}{one[1:]}" for one in found.options or (found.advice,)]
    return "Next: " + "\n  or: ".join(options)


def _operations(analysis: Analysis) -> str:
    """Return how many operations are in which state, where the image is looked at.

    >>> from rfa_toolbox import analyze
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> print(_operations(analyze(vgg16(), 32)))
    Of 19 operations of the feature extractor 10 are unproductive.
    """
    states = [row.state for row in analysis.rows if row.in_feature_extractor]
    count = states.count("unproductive")
    verb = "is" if count == 1 else "are"
    return f"Of {len(states):,} operations of the feature extractor {count:,} {verb} unproductive."


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
    """Return the columns that fit into a width; names give way before columns do.

    >>> name, jump = TextColumn("layer", ("a" * 40,), False), TextColumn("jump", ("1",), True)
    >>> [column.cells for column in _fitting([name, jump], 20)]
    [('aaaaaaaa...aaaaaaaaa',)]
    """
    kept = list(columns)
    named = next((column for column in kept if not column.number), kept[0])
    least = {"first red": _NARROWEST_NAME, named.title: 2 * _NARROWEST_NAME}

    def needed(column: TextColumn) -> int:
        return min(_width(column), least.get(column.title, width)) + 2

    for title in _EXPENDABLE:
        if sum(map(needed, kept)) - 2 <= width:
            break
        kept = [column for column in kept if column.title != title]
    for title in ("first red", named.title):
        kept = [_narrowed(one, kept, width) if one.title == title else one for one in kept]
    return kept


def _narrowed(column: TextColumn, among: Sequence[TextColumn], width: int) -> TextColumn:
    """Return a column of names that leaves the room that the others need, if it can."""
    excess = sum(_width(one) + 2 for one in among) - 2 - width
    room = max(_width(column) - max(excess, 0), _NARROWEST_NAME)
    return TextColumn(column.title, tuple(_shortened(cell, room) for cell in column.cells), False)


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


def range_text(title: str, found: Summary) -> str:
    """Return the good resolutions as sentences.

    >>> from rfa_toolbox import summarize
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> print(range_text("vgg16", summarize(vgg16(), 32)), end="")
    vgg16: good at 212 px.
    From 197 px on every layer can help.
    From 212 px on none sees beyond the image.
    Above 212 px no unit sees the whole image.
    """
    good = f"{found.good[:1].lower()}{found.good[1:]}"
    reasons = found.good_reason.split("; ")
    lines = "".join(f"{one[:1].upper()}{one[1:].rstrip('.')}.\n" for one in reasons)
    if found.resizing:
        lines += f"{found.resizing} The range is in pixels of what it resizes to.\n"
    return f"{one_line(title)}: {good}\n{lines}"


def lower_bound_text(title: str, least: str, most: str) -> str:
    """Return the range in which no layer is idle that makes the receptive field grow.

    >>> print(lower_bound_text("vgg16", "196x196", "212x212 px"), end="")
    vgg16: from 196x196 to 212x212 px.
    Only layers that make the receptive field grow are asked to help.
    """
    return (
        f"{one_line(title)}: from {least} to {most}.\n"
        "Only layers that make the receptive field grow are asked to help.\n"
    )


# --- several models --------------------------------------------------------------------------


def comparison_row(title: str, analysis: Analysis, nodes: bool = False) -> dict[str, Any]:
    """Return what is compared of a model at a resolution, as plain values.

    Args:
        title: what to call the model.
        analysis: what was found.
        nodes: count operations instead of blocks.

    >>> from rfa_toolbox import analyze
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> row = comparison_row("vgg16", analyze(vgg16(), 32))
    >>> row["layers"], row["unproductive"], row["first_unproductive"]
    (18, 10, 'Stage2-Conv2')
    >>> row["parameters"] is None  # of a graph that was made by hand
    True
    """
    found = analysis.findings()
    counted: list[tuple[str, LayerState]]
    if nodes:
        counted = [(row.name, row.state) for row in analysis.rows if row.in_feature_extractor]
        wasted = analysis.costs_of("unproductive")
    else:
        pairs = zip(found.blocks, found.states, strict=True)
        counted = [(block.name, state) for block, state in pairs if block.counted]
        wasted = found.costs_of("unproductive")
    states = [state for _, state in counted]
    first = next((name for name, state in counted if state == "unproductive"), None)
    total = analysis.costs_of()
    return {
        "model": title,
        "input_resolution": list(analysis.input_resolution),
        "layers": len(counted),
        "unproductive": states.count("unproductive"),
        "critical": states.count("critical"),
        "partially_critical": states.count("partially critical"),
        "first_unproductive": first,
        "min_resolution": finite(found.good_from),
        "max_resolution": finite(found.good_to),
        "parameters": total.parameters,
        "unproductive_parameters": wasted.parameters,
        "multiply_accumulates": total.multiply_accumulates,
        "unproductive_multiply_accumulates": wasted.multiply_accumulates,
        "compute_is_estimated": analysis.compute_is_estimated,
        "unknown": len(found.unknown),
    }


def finite(sizes: Sequence[Size]) -> list[Size | str]:
    """Return sizes as JSON can hold them."""
    return ["inf" if size == math.inf else size for size in sizes]


def comparison_text(rows: Sequence[Mapping[str, Any]], plain: bool, nodes: bool = False) -> str:
    """Return models side by side."""
    shown = [
        {
            "model": row["model"],
            "input": _square(row["input_resolution"]),
            "layers": row["layers"],
            "red": row["unproductive"],
            "orange": row["critical"],
            "good": _good(row["min_resolution"], row["max_resolution"]),
            "params": _with_share(row["parameters"], row["unproductive_parameters"]),
            "MACs": _with_share(
                row["multiply_accumulates"], row["unproductive_multiply_accumulates"]
            ),
            "first red": row["first_unproductive"],
        }
        for row in rows
    ]
    columns = [
        TextColumn(
            heading,
            tuple(one_line(text_of(row[heading])) for row in shown),
            heading not in ("model", "first red"),
        )
        for heading in shown[0]
        if any(row[heading] is not None for row in shown)
    ]
    note = (
        f"layers: of the feature extractor{'' if nodes else ', with their norms and activations'}; "
        "red: they cannot help; orange: they see beyond the image.\n"
        "good: input resolutions, in pixels or samples."
    )
    if any(row["params"] is not None for row in shown):
        note += "\nparams, MACs: of the whole model, and the share in red layers."
    unknown = [one_line(row["model"]) for row in rows if row["unknown"]]
    if unknown:
        note = f"With unknown layers, so that fields may be larger: {', '.join(unknown)}.\n{note}"
    states = ["unproductive" if row["unproductive"] else "productive" for row in rows]
    return table_text(columns, note, plain, states)


def _good(low: list[Any], high: list[Any]) -> str:
    """Return good resolutions in a few letters.

    >>> _good([139, 139], [435, 435]), _good([32, 32], ["inf", "inf"]), _good([212], [212])
    ('139-435', '32-', '212')
    """
    least, most = (text_of(_square(size)) for size in (low, high))
    if most == "inf":
        return f"{least}-"
    return least if least == most else f"{least}-{most}"


def _square(size: list[Any]) -> Any:
    """Return one number for a square."""
    return size[0] if len(set(size)) == 1 else size


def _with_share(whole: int | None, part: int | None) -> str | None:
    """Return a count and the share of a part of it.

    >>> _with_share(11_700_000, 5_850_000), _with_share(None, None)
    ('11.7 M (50%)', None)
    """
    if whole is None:
        return None
    return f"{_shorter(whole)} ({(part or 0) / max(whole, 1):.0%})"


def _shorter(count: int) -> str:
    """Return a count in about two digits.

    >>> _shorter(11_689_512), _shorter(138_357_544), _shorter(900)
    ('11.7 M', '138 M', '900')
    """
    number, _, unit = short_number(count).partition(" ")
    return f"{float(number):.3g} {unit}" if unit else number


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
    counts = verdicts_in_words(found["counts"])
    stopped = f"; {found['stopped']}" if found["stopped"] else ""
    below = (
        f"{len(nodes)} nodes of {one_line(found['model'])}: {counts}{stopped}.\n"
        "analysis, experiment: first pixel or sample that unit 0 sees / how many a unit sees / "
        "how many neighbouring units are apart."
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


def as_csv(rows: Iterable[Mapping[str, Any]], header: Iterable[str] = ()) -> str:
    r"""Return rows as CSV with a header; None is an empty cell, and sizes read like 32x64.

    Args:
        rows: all with the same keys.
        header: those keys; needed where there may be no row.

    >>> as_csv([{"model": "a", "size": [3, 4], "first": None}])
    'model,size,first\r\na,3x4,\r\n'
    """
    several = list(rows)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header or several[0])
    for row in several:
        writer.writerow("" if one is None else text_of(one) for one in row.values())
    return text.getvalue()


def good_values(found: Summary) -> dict[str, Any]:
    """Return the good resolutions as plain values.

    >>> from rfa_toolbox import summarize
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> good_values(summarize(vgg16(), 32))
    {'good_from': [212], 'good_to': [212]}
    """
    return {"good_from": finite(found.good_from), "good_to": finite(found.good_to)}


def analysis_values(analysis: Analysis, blocks: bool) -> dict[str, Any]:
    """Return an analysis as plain values, with what a person would read first.

    Args:
        analysis: what was found.
        blocks: have a row per block, and not one per operation.
    """
    found = analysis.findings()
    values = (attrs.evolve(analysis, rows=analysis.block_rows()) if blocks else analysis).to_dict()
    return {
        **values,
        "summary": {
            "headline": found.headline,
            "advice": found.advice,
            "layers": len(found.counted),
            "unproductive": len(found.blocks_in("unproductive")),
            "critical": len(found.blocks_in("critical")),
            "partially_critical": len(found.blocks_in("partially critical")),
            "unknown": len(found.unknown),
            **good_values(found),
        },
    }


def analyses_as_csv(several: Sequence[Analysis], blocks: bool = False) -> str:
    """Return the layers at one resolution or several as CSV; the first column is the resolution.

    With ``blocks`` there is one line per block, and not one per operation.

    >>> from rfa_toolbox import analyze
    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> analyses_as_csv([analyze(vgg16(), 32)]).splitlines()[1][:20]
    '32,0,Input,,Input,1,'
    """
    text = io.StringIO()
    writer = csv.writer(text)
    for at, analysis in enumerate(several):
        shown = attrs.evolve(analysis, rows=analysis.block_rows()) if blocks else analysis
        header, *rows = csv.reader(io.StringIO(shown.to_csv(), newline=""))
        if at == 0:
            writer.writerow(["input_resolution", *header])
        resolution = "x".join(map(str, analysis.input_resolution))
        writer.writerows([resolution, *row] for row in rows)
    return text.getvalue()
