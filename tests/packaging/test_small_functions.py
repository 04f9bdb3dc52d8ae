"""Functions of the rooms where models are read are small enough to be read at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "rfa_toolbox"
MOST_LINES = 50
MOST_PATHS = 20
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def functions(room: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the functions of a room, and where each is."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, FUNCTIONS):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has, without what it says to its users."""
    first = function.body[0]
    said = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if said else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def cyclomatic_complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many paths lead through a function and those in it, counted as radon does."""
    inside = [node for one in function.body for node in ast.walk(one)]
    return 1 + sum(map(_branches, inside))


def _branches(node: ast.AST) -> int:
    match node:
        case ast.BoolOp(values=values):
            return len(values) - 1
        case ast.comprehension(ifs=conditions):
            return 1 + len(conditions)
        case ast.For(orelse=otherwise) | ast.AsyncFor(orelse=otherwise):
            return 1 + bool(otherwise)
        case ast.While(orelse=otherwise):
            return 1 + bool(otherwise)
        case ast.Try(handlers=handlers, orelse=otherwise):
            return len(handlers) + bool(otherwise)
        case ast.Match(cases=cases):
            return len(cases)
    return int(isinstance(node, ast.If | ast.IfExp | FUNCTIONS))


@pytest.mark.parametrize("room", ["operators", "encodings"])
def test_no_function_has_more_lines_or_paths_than_fit_on_a_screen(room: str) -> None:
    found = list(functions(room))
    assert len(found) > 100
    assert not {name: lines(one) for name, one in found if lines(one) > MOST_LINES}
    paths = {name: cyclomatic_complexity(one) for name, one in found}
    assert not {name: count for name, count in paths.items() if count > MOST_PATHS}
