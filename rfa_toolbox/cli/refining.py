"""The words of ``rfa refine``: limits, the ranked table, and one refinement before and after."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rfa_toolbox.analysis.costs import short_number
from rfa_toolbox.analysis.table import TextColumn
from rfa_toolbox.cli import tables
from rfa_toolbox.cli.problems import UsageError
from rfa_toolbox.refinement import Advice, Prediction, Refinement

__all__ = ["FIELDS", "as_rows", "as_text", "chosen", "parse_ratio", "side_by_side"]

_COLUMNS = (
    *("#", "change", "good from", "red", "params", "MACs", "compute", "weights", "strategy"),
)
_WORDS = ("change", "weights", "strategy")
_RATIO = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)x?")


def parse_ratio(text: str | None) -> float | None:
    """Return how many times the compute of the original ``--max-compute`` allows.

    >>> parse_ratio("2x"), parse_ratio("1.5"), parse_ratio(None)
    (2.0, 1.5, None)
    """
    if text is None:
        return None
    match = _RATIO.fullmatch(text.strip().lower())
    if match is None or not float(match[1]) > 0:
        raise UsageError(
            f"--max-compute is {text!r}; it must be a number of times the compute of the model, "
            "such as 2x."
        )
    return float(match[1])


def chosen(advice: Advice, number: int) -> Refinement:
    """Return the refinement that has a number in the table.

    Raises:
        UsageError: if none has.
    """
    several = advice.all
    if not 1 <= number <= len(several):
        reason = " ".join(advice.notes)
        raise UsageError(
            f"There is no refinement {number} at {_measured(advice.input_res, advice.before)}; "
            + (f"the table has 1 to {len(several)}." if several else f"there is none. {reason}")
        )
    return several[number - 1]


def as_text(advice: Advice, model: str, plain: bool) -> str:
    """Return the ranked table; the numbers are those that ``--apply`` takes.

    Args:
        advice: what was found.
        model: the name of the model.
        plain: as for ``tables.table_text``.
    """
    size = _measured(advice.input_res, advice.before)
    good = _measured(advice.before.resolution, advice.before)
    front = {one.marked_words for one in advice.pareto}
    below = [f"{model} at {size}, as it is: good from {good}.", *advice.notes]
    several = advice.all
    if not several:
        none = [] if advice.is_good else [f"No refinement makes {model} good at {size}."]
        return "\n".join([*none, *below, ""])
    rows = [
        (
            str(number),
            one.marked_words,
            _spelled(after.resolution),
            str(after.states["unproductive"]),
            short_number(after.parameters),
            short_number(after.multiply_accumulates),
            "-" if one.compute_ratio is None else f"{one.compute_ratio:.3g}x",
            one.weights,
            f"{one.strategy}{' *' if one.marked_words in front else ''}",
        )
        for number, one in enumerate(several, start=1)
        if (after := one.after) is not None
    ]
    cells = zip(*rows, strict=True)
    columns = [
        TextColumn(title, column, title not in _WORDS)
        for title, column in zip(_COLUMNS, cells, strict=True)
    ]
    if any(one.in_code for one in several):
        below.insert(0, "in code: layers at which it has to be written in the code of the model.")
    if front.intersection(row[1] for row in rows):
        below.insert(0, "* Nothing else has both a lower resolution and less compute.")
    states = ["unproductive" if row[3] != "0" else "productive" for row in rows]
    return tables.table_text(columns, "\n".join(below), plain, states)


def as_rows(advice: Advice) -> list[dict[str, Any]]:
    """Return one row per refinement, numbered as in the table."""
    return [
        {
            "number": number,
            "strategy": one.strategy,
            "source": one.source,
            "edits": one.words,
            "weights": one.weights,
            "in_code": list(one.in_code),
            **_numbers(one.after),
            "compute_ratio": one.compute_ratio,
        }
        for number, one in enumerate(advice.all, start=1)
    ]


FIELDS = (
    *("number", "strategy", "source", "edits", "weights", "in_code"),
    *("min_resolution", "max_resolution", "layers_resolution"),
    *("parameters", "multiply_accumulates"),
    *("unproductive", "critical", "partially_critical", "productive", "compute_ratio"),
)
"""The keys of a row."""


def _numbers(prediction: Prediction | None) -> dict[str, Any]:
    if prediction is None:
        return {}
    return {
        "min_resolution": tables.finite(prediction.resolution),
        "max_resolution": tables.finite(prediction.largest_resolution),
        "layers_resolution": tables.finite(prediction.layers_resolution),
        "parameters": prediction.parameters,
        "multiply_accumulates": prediction.multiply_accumulates,
        **{state.replace(" ", "_"): count for state, count in prediction.states.items()},
    }


def side_by_side(refinement: Refinement, model: str, how: str) -> str:
    """Return what a refinement changes: the model as it was, and as it is then.

    Args:
        refinement: what was chosen.
        model: the name of the model.
        how: how the numbers are known.
    """
    after = refinement.after
    rows = [("", "before", "after")]
    if after is not None:
        before = refinement.before
        rows += [
            (
                f"good from, {before.unit}",
                _spelled(before.resolution),
                _spelled(after.resolution),
            ),
            *(
                (f"{state} layers", str(before.states[state]), str(after.states[state]))
                for state in before.states
            ),
            ("parameters", short_number(before.parameters), short_number(after.parameters)),
            (
                "MACs",
                short_number(before.multiply_accumulates),
                short_number(after.multiply_accumulates),
            ),
        ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    size = _measured(refinement.input_res, refinement.before)
    return "\n".join([f"{model} at {size}, {how}: {refinement.words}.", *lines, ""])


def _measured(size: Sequence[float], of: Prediction) -> str:
    """Return a size of the input of a network, with its unit."""
    return f"{_spelled(size)} {of.unit}"


def _spelled(size: Sequence[float]) -> str:
    """Return a size; one number where all axes are equal.

    >>> _spelled((139, 139)), _spelled((32, 64))
    ('139', '32x64')
    """
    several = list(size)
    return str(several[0]) if len(set(several)) == 1 else "x".join(map(str, several))
