"""How a picture looks: the colour and the border of each state, and the legend that explains them.

Every state has a border of its own besides its colour, so that a picture can be read without
telling red from orange, and in black and white.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.states import judged_at, resolution_of
from rfa_toolbox.analysis.words import terms_of
from rfa_toolbox.arithmetic import LayerState
from rfa_toolbox.domain import Certainty, Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, receptive_field_provider
from rfa_toolbox.rendering.labels import Markup

__all__ = [
    "BY_DESIGN",
    "FONT",
    "LOOKS",
    "PALETTES",
    "Look",
    "legend_table",
    "looks_of",
    "resolution_of",
    "shown_state",
]

FONT = "Helvetica,Arial,sans-serif"


@attrs.frozen(slots=True)
class Look:
    """The look of the boxes of one state.

    Attributes:
        colour: what the box is filled with.
        border: style of the border line.
        width: width of the border line in points.
        meaning: the state in a few words.
    """

    colour: str
    border: str
    width: float
    meaning: str

    def node_attributes(self) -> dict[str, str]:
        """Return the attributes of a box in DOT; the plain look needs none.

        >>> LOOKS["critical"].node_attributes()
        {'fillcolor': 'orange', 'style': 'rounded,filled,dashed', 'penwidth': '1.5'}
        """
        if self.colour == "white":
            return {}
        return {
            "fillcolor": self.colour,
            "style": f"rounded,filled{'' if self.border == 'solid' else ',' + self.border}",
            "penwidth": f"{self.width:g}",
        }


LOOKS: Mapping[LayerState, Look] = {
    "productive": Look("white", "solid", 1, "r_min fits into the {whole}"),
    "partially critical": Look("yellow", "dotted", 1.5, "r_min exceeds the {whole} on some axes"),
    "critical": Look("orange", "dashed", 1.5, "r_min exceeds the {whole} on all axes"),
    "unproductive": Look("red", "solid", 3, "no new context left to add"),
}

PALETTES: Mapping[str, Mapping[LayerState, str]] = {
    "classic": {state: look.colour for state, look in LOOKS.items()},
    "report": {
        "productive": "white",
        "partially critical": "#fff4bd",
        "critical": "#ffd79d",
        "unproductive": "#f6b3ae",
    },
}
"""Colours of the states: those of the published pictures, and the paler ones of the report."""

BY_DESIGN = Look("#e3e6ea", "solid", 1, "sees everything by design")
"""The look of a layer behind a global operation, where it is not coloured by its state."""


def looks_of(palette: str) -> Mapping[LayerState, Look]:
    """Return the looks of all states in the colours of a palette.

    Raises:
        ValueError: for a palette that does not exist.

    >>> looks_of("report")["critical"].colour
    '#ffd79d'
    """
    if palette not in PALETTES:
        raise ValueError(f"palette is {palette!r}; valid are {' and '.join(map(repr, PALETTES))}.")
    colours = PALETTES[palette]
    return {state: attrs.evolve(look, colour=colours[state]) for state, look in LOOKS.items()}


_CERTAINTY_MARKS: Mapping[Certainty, tuple[str, str]] = {
    "bound": ("≤ 7", "an upper bound"),
    "unknown": ("7?", "behind an unknown layer, counted as neutral"),
}


def shown_state(
    node: EnrichedNetworkNode,
    input_res: Resolution,
    color_border: bool = True,
    color_critical: bool = True,
    filter_kernel_size_1: bool = False,
) -> LayerState:
    """Return the state that a node is painted with.

    Without ``color_border`` an unproductive layer is judged by its own receptive field alone;
    without ``color_critical`` a (partially) critical layer is not marked.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> node = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), [])
    >>> shown_state(node, 5), shown_state(node, 5, color_critical=False)
    ('unproductive', 'unproductive')
    >>> shown_state(node, 5, color_border=False)
    'critical'
    """
    input_res = judged_at(node, input_res)
    state = node.state(input_res, filter_kernel_size_1=filter_kernel_size_1)
    if state == "unproductive" and not color_border:
        resolution = resolution_of([node], input_res)
        field = receptive_field_provider(node)
        # Behind an input that sees nothing and has a large map, only its own field counts.
        state = arithmetic.layer_state(
            resolution,
            field=None if field is None else arithmetic.broadcast(field, len(resolution)),
            predecessor_fields=[(0,) * len(resolution)],
            predecessor_jumps=[(1,) * len(resolution)],
            window=(0,) * len(resolution),
        )
    if state in ("critical", "partially critical") and not color_critical:
        return "productive"
    return state


def legend_table(
    counts: Mapping[LayerState, int],
    certainties: Iterable[Certainty],
    joined: bool,
    looks: Mapping[LayerState, Look] = LOOKS,
    by_design: int = 0,
    axes: int | None = None,
) -> Markup:
    """Return the legend as an HTML-like label.

    Args:
        counts: how many layers there are of each state that the picture tells apart.
        certainties: the kinds of certainty that occur in the picture.
        joined: whether the picture has arrows that stand for the inputs of a concatenation.
        looks: how the states look.
        by_design: how many layers are grey, as they see everything by design.
        axes: of the input.
    """
    terms = terms_of(axes)
    rows = [
        _sample(look, f"<b>{state}</b> ({counts[state]}): {look.meaning.format(whole=terms.whole)}")
        for state, look in looks.items()
        if state in counts
    ]
    if by_design:
        rows.append(_sample(BY_DESIGN, f"<b>grey</b> ({by_design}): {BY_DESIGN.meaning}"))
    unit = "pixels" if terms.unit == "px" else terms.unit
    rows.append(_row("r_min, r_max", f"smallest and largest receptive field in {unit}"))
    rows += [
        _row(*marks) for certainty, marks in _CERTAINTY_MARKS.items() if certainty in certainties
    ]
    if joined:
        rows.append(_row("bold arrow", "all that the earlier concatenation reads"))
    return (
        '<<table border="0" cellborder="0" cellspacing="3" cellpadding="1">'
        f"{''.join(rows)}</table>>"
    )


def _sample(look: Look, meaning: Markup) -> str:
    return (
        f'<tr><td border="{look.width:g}" bgcolor="{look.colour}"'
        f'{_td_style(look.border)} width="24" height="16"></td>'
        f'<td align="left">{meaning}</td></tr>'
    )


def _td_style(border: str) -> str:
    return "" if border == "solid" else f' style="{border}"'


def _row(sign: str, meaning: str) -> str:
    return (
        f'<tr><td colspan="2" align="left"><b>{html.escape(sign)}</b>: '
        f"{html.escape(meaning)}</td></tr>"
    )
