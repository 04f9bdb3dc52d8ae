"""Small views of graphs and tables for notebooks: tables in plain HTML, without any script.

Their looks are written at the elements themselves, as notebooks keep no style sheets, and take
the colours of the notebook except for the states.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from rfa_toolbox.analysis import Analysis, LayerRow, Summary, summarize
from rfa_toolbox.analysis.states import axes_of
from rfa_toolbox.analysis.table import state_text
from rfa_toolbox.analysis.words import several, terms_of
from rfa_toolbox.arithmetic import LayerState
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.rendering import labels
from rfa_toolbox.rendering.report.page import make_report
from rfa_toolbox.rendering.style import LOOKS
from rfa_toolbox.views import page_of, view_of

__all__ = ["MOST_ROWS", "table_view"]

MOST_ROWS = 40
"""Layers of a table that a notebook shows; more are left out of its middle."""

_CELL = 'style="text-align:left;padding:.15em .8em .15em 0;vertical-align:top"'
_SIGNS: dict[LayerState, str] = {
    "productive": "○",
    "partially critical": "◐",
    "critical": "▲",
    "unproductive": "✕",
}


def _text(value: str, longest: int = 60) -> str:
    """Return a text of a model for HTML: shortened, isolated, and never markup.

    >>> _text("<b>")
    '<bdi>&lt;b&gt;</bdi>'
    """
    seen = labels.visible(labels.shortened(value, longest))
    return f"<bdi>{html.escape(seen)}</bdi>"


def _state(state: LayerState) -> str:
    look = LOOKS[state]
    return (
        f'<span style="background:{look.colour};color:black;border:1px {look.border} gray;'
        f'border-radius:.4em;padding:0 .4em;white-space:nowrap">{_SIGNS[state]} {state}</span>'
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = "".join(f'<th scope="col" {_CELL}>{title}</th>' for title in head)
    lines = (f"<tr>{''.join(f'<td {_CELL}>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<table style="border-collapse:collapse"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


@view_of.register
def _view_of_node(node: EnrichedNetworkNode) -> str:
    nodes = node.all_layers
    position = next(at for at, one in enumerate(nodes) if one is node)
    smallest, largest = node.lasting_receptive_fields
    unit = terms_of(axes_of(nodes)).unit
    facts = [
        ("type", _text(node.layer_info.name)),
        ("module", _text(node.module_path) if node.module_path else "-"),
        ("layer", html.escape(labels.layer_text(node.layer_info)) or "-"),
        ("smallest field", f"{labels.size_text(smallest)} {unit}"),
        ("largest field", f"{labels.size_text(largest)} {unit}"),
        ("known", node.certainty if node.certainty == "exact" else _text(node.certainty_reason)),
    ]
    found = summarize(node, node.encoded_resolution or 224)
    lines = "".join(
        f'<tr><th scope="row" {_CELL}>{title}</th><td {_CELL}>{value}</td></tr>'
        for title, value in facts
    )
    return (
        f"<div><p><b>{_text(node.name)}</b>, node {position} of a graph of {len(nodes):,} nodes, "
        f"{several(len(found.counted), 'layer')}. {html.escape(found.good)}</p>"
        f'<table style="border-collapse:collapse">{lines}</table>{_stages(found)}</div>'
    )


def _stages(found: Summary) -> str:
    """Return the modules of a network as one line: how many layers there are in each.

    >>> from rfa_toolbox.architectures.vgg import vgg11
    >>> _stages(summarize(vgg11(), 32))
    ''
    """
    counts: dict[str, int] = {}
    for block in found.counted:
        top = (block.main.module_path or "").partition(".")[0]
        counts[top] = counts.get(top, 0) + 1
    if len(counts) < 2:
        return ""
    shown = [f"{_text(name) if name else '(top)'} {count}" for name, count in counts.items()]
    more = f" and {len(shown) - MOST_ROWS} more" if len(shown) > MOST_ROWS else ""
    return f"<p>Layers by module: {', '.join(shown[:MOST_ROWS])}{more}</p>"


def _lines(text: str) -> str:
    return "<br>".join(html.escape(line) for line in text.splitlines())


@view_of.register
def _view_of_summary(found: Summary) -> str:
    options = "".join(f"<li>{html.escape(labels.visible(one))}</li>" for one in found.options)
    todo = f"<ul>{options}</ul>" if options else f"<p>{html.escape(found.advice)}</p>"
    return f"<div><p>{_lines(str(found))}</p><p>What to do next:</p>{todo}</div>"


@view_of.register
def _view_of_table(table: Analysis) -> str:
    summary = _lines(table.summary())
    rows = [
        _row(row) if isinstance(row, LayerRow) else ["…", f"{row} more"]
        for row in _around_the_first_red(table.block_rows())
    ]
    head = ("#", "layer", "type", "kernel", "stride", "r_min", "r_max", "map", "state")
    return f"<div><p>{summary}</p>{_table(head, rows)}</div>"


def table_view(above: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return texts as a table in HTML, of which a long one loses its middle.

    >>> table_view("two layers", ["layer"], [["a"], ["<b>"]]).count("<tr>")
    3
    """
    half = MOST_ROWS // 2
    shown: list[Sequence[str]] = [*rows]
    if len(rows) > MOST_ROWS:
        shown = [*rows[:half], ["…", f"{len(rows) - MOST_ROWS} more"], *rows[-half:]]
    cells = [[_text(cell, 80) for cell in row] for row in shown]
    return f"<div><p>{_text(above, 300)}</p>{_table(map(html.escape, head), cells)}</div>"


def _around_the_first_red(rows: Sequence[LayerRow]) -> list[LayerRow | int]:
    """Return so many rows that a notebook can hold them, among them the first red ones.

    Numbers stand for rows that are left out.
    """
    if len(rows) <= MOST_ROWS:
        return [*rows]
    red = (at for at, row in enumerate(rows) if state_text(row) == "unproductive")
    start = min(max(0, next(red, 0) - MOST_ROWS // 4), len(rows) - MOST_ROWS)
    stop = start + MOST_ROWS
    return [
        *([start] if start else []),
        *rows[start:stop],
        *([len(rows) - stop] if stop < len(rows) else []),
    ]


def _row(row: LayerRow) -> list[str]:
    sizes = (
        row.kernel_size,
        row.stride_size,
        row.receptive_field_min,
        row.receptive_field_max,
        row.feature_map_size,
    )
    return [
        str(row.index),
        _text(row.name, 48),
        _text(row.type, 30),
        *map(labels.size_text, sizes),
        _state(row.state) if row.in_feature_extractor else f"({state_text(row)})",
    ]


@page_of.register
def _page_of_table(table: Analysis) -> str:
    return make_report(
        table.graph,
        table.input_resolution,
        filter_kernel_size_1=table.filter_kernel_size_1,
    ).html
