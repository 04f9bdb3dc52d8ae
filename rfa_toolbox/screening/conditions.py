"""Which rows to keep, said as data: ``"r_min < 32 and macs < 1e9"``.

The text is parsed and checked against the few things that it may hold; it is never run as Python.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rfa_toolbox.errors import ScreeningError
from rfa_toolbox.screening.rows import ScreeningRow, is_column

__all__ = ["Condition", "condition"]

Condition: TypeAlias = "Callable[[ScreeningRow], bool]"

_Term: TypeAlias = "Callable[[ScreeningRow], Any]"

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_LONGEST = 2000


def condition(text: object) -> Condition:
    """Return a function that says whether a condition holds for a row.

    Args:
        text: comparisons of columns and numbers (``< <= > >= == !=``, ``+ - * /``), put together
            with ``and``, ``or``, ``not`` and parentheses. A comparison with a value that is
            unknown does not hold.

    Raises:
        ScreeningError: a ValueError, for anything else; it says which part.

    >>> small = condition("r_min <= 32 and unproductive == 0")
    >>> small(ScreeningRow("net", r_min=40))
    False
    """
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise ScreeningError(f"A condition is {text!r}; it must be a text such as 'r_min < 32'.")
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
        found = _truth(parsed, text)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ScreeningError(
            f"The condition {text!r} cannot be read ({error}); write it as "
            "'r_min < 32 and macs < 1e9'."
        ) from None
    return found


def _truth(node: ast.AST, text: str) -> Condition:
    """Return what a part of a condition says, which must be true or false."""
    if isinstance(node, ast.BoolOp):
        parts = [_truth(one, text) for one in node.values]
        together = all if isinstance(node.op, ast.And) else any
        return lambda row: together(part(row) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _truth(node.operand, text)
        return lambda row: not inner(row)
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    if isinstance(node, ast.Name) and node.id == "ok":
        return lambda row: row.ok
    raise _refused(node, text)


def _comparison(node: ast.Compare, text: str) -> Condition:
    terms = [_term(one, text) for one in (node.left, *node.comparators)]
    kinds = [_COMPARISONS.get(type(one)) for one in node.ops]
    if None in kinds:
        raise _refused(node, text)
    compared = [one for one in kinds if one is not None]

    def holds(row: ScreeningRow) -> bool:
        values = [term(row) for term in terms]
        if None in values:
            return False
        try:
            pairs = zip(compared, values, values[1:], strict=False)
            return all(compare(one, other) for compare, one, other in pairs)
        except TypeError:
            raise ScreeningError(
                f"The condition {text!r} compares a text with a number: {values!r}."
            ) from None

    return holds


def _term(node: ast.AST, text: str) -> _Term:
    """Return the value of a part of a condition: a number, a text, or None where unknown."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, str):
        value = node.value
        return lambda row: value
    if isinstance(node, ast.Name):
        name = node.id
        if not is_column(name):
            raise ScreeningError(
                f"The condition {text!r} names {name!r}, which is no column; columns are key, "
                "r_min, r_min_layers, r_max, good_from, parameters, certainty, blocks, "
                "unproductive, critical, partially_critical, productive, macs and waste, those "
                "from blocks on also at one resolution, as in macs_at_64."
            )
        return lambda row: row[name]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _term(node.operand, text)
        return lambda row: None if (value := inner(row)) is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        calculate = _ARITHMETIC[type(node.op)]
        left, right = _term(node.left, text), _term(node.right, text)
        if calculate is operator.truediv and _is_nothing(node.right, right):
            raise ScreeningError(
                f"The condition {text!r} divides by 0, so it would hold for no row; divide by a "
                "column or by another number."
            )

        def calculated(row: ScreeningRow) -> Any:
            values = left(row), right(row)
            if None in values or (calculate is operator.truediv and values[1] == 0):
                return None
            return calculate(*values)

        return calculated
    raise _refused(node, text)


def _is_nothing(node: ast.expr, term: _Term) -> bool:
    """Return whether a part is 0 for every row."""
    if any(isinstance(one, ast.Name) for one in ast.walk(node)):
        return False
    return bool(term(ScreeningRow("")) == 0)


def _refused(node: ast.AST, text: str) -> ScreeningError:
    part = ast.get_source_segment(text.strip(), node) if isinstance(node, ast.expr) else None
    return ScreeningError(
        f"The condition {text!r} holds {part or type(node).__name__!r}, which is not allowed "
        "there; it may hold comparisons of columns and numbers, and, or, not and parentheses."
    )
