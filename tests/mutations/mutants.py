"""Makes mutants of the functions of a module, one small change each, and puts them in place."""

from __future__ import annotations
import __future__

import ast
import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest

from rfa_toolbox.operators.effects import Rule

TURNS = 10_000
"""No loop of the arithmetic turns as often; one that does never ends."""

OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv, ast.Add),
    ast.FloorDiv: (ast.Mult, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "gcd": "lcm",
    "lcm": "gcd",
    "ceil": "floor",
    "numerator": "denominator",
    "denominator": "numerator",
}
DROPPED_CALLS = {"abs", "reversed", "sorted"}
REMOVED_STATEMENTS = (ast.AugAssign, ast.Break, ast.Continue, ast.Expr, ast.Raise)
SHOWN = (ast.stmt, ast.BoolOp, ast.Call, ast.IfExp, ast.UnaryOp, ast.comprehension)
"""What a change is called by; an operator or a number is called by what it is in."""

NOT_CODE = {"annotation", "returns", "decorator_list", "exc", "msg", "type_params", "bases"}


@dataclass(frozen=True)
class Mutant:
    """One change to one function, class or constant of a module.

    Attributes:
        name: the function, and what its changed statement was and is; unique in the module.
        place: puts the mutant in the place of the original as long as the context lasts.
    """

    name: str
    place: Callable[[], contextlib.AbstractContextManager[None]]


def mutants_of(module: ModuleType, users: Sequence[ModuleType]) -> Iterator[Mutant]:
    """Yield all the mutants of a module; ``users`` are the modules that import from it."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    names: Counter[str] = Counter()
    caches = [
        one
        for user in (module, *users)
        for one in vars(user).values()
        if hasattr(one, "cache_clear")
    ]
    for owner in ast.parse(text).body:
        defined = _defined(owner)
        if defined is None:
            continue
        for change in _changes(owner, defined):
            old = change.place[change.key]
            before = _header(old if isinstance(old, SHOWN) else change.around)
            change.place[change.key] = change.new
            after = _header(change.new if isinstance(old, SHOWN) else change.around)
            code = _compiled(owner)
            change.place[change.key] = old
            name = f"{change.where}: {before} => {after}"
            names[name] += 1
            if names[name] > 1:
                name += f" ({names[name]})"
            yield Mutant(name, partial(_placed, code, defined, module, users, caches))


def _defined(node: ast.stmt) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _header(node: ast.AST) -> str:
    """Return the first line of a statement, or a whole expression."""
    return ast.unparse(node).partition("\n")[0].rstrip(":")


# --- what can be changed ----------------------------------------------------------------------


class Change(NamedTuple):
    """A new node for a place in the tree, with the function and the node that it is in."""

    where: str
    around: ast.AST
    place: Any
    key: Any
    new: ast.AST


def _changes(node: ast.AST, where: str) -> Iterator[Change]:
    """Yield every change below a node."""
    for field, value in ast.iter_fields(node):
        if field in NOT_CODE:
            continue
        several = isinstance(value, list)
        for key, child in enumerate(value) if several else [(field, value)]:
            if not isinstance(child, ast.AST) or _is_no_rule(child):
                continue
            function = f"{where}.{child.name}" if isinstance(child, ast.FunctionDef) else where
            for new in _instead_of(child):
                yield Change(function, node, value if several else vars(node), key, new)
            if not _is_number(child):
                yield from _changes(child, function)


def _instead_of(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what could stand in the place of a node by a mistake."""
    for other in OPERATORS.get(type(node), ()):
        yield other()
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
            yield ast.Constant(value - 1)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            yield ast.Constant(1 - value)
            yield ast.Constant(-1 - value)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(value=value, attr=name) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], ast.Load())
        case ast.Call(func=ast.Name(id=name), args=[argument]) if name in DROPPED_CALLS:
            yield argument
        case ast.BoolOp(op=op, values=values):
            for left_out in range(len(values)):
                rest = values[:left_out] + values[left_out + 1 :]
                yield ast.BoolOp(op, rest) if len(rest) > 1 else rest[0]
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.comprehension(target=target, iter=several, ifs=[_, *_]):
            yield ast.comprehension(target, several, [], 0)
            yield ast.comprehension(target, several, [ast.Constant(False)], 0)
        case ast.If(body=body, orelse=orelse):
            yield ast.If(ast.Constant(True), body, orelse)
            yield ast.If(ast.Constant(False), body, orelse)
        case ast.While(body=body):
            yield ast.While(ast.Constant(False), body, [])
        case _ if isinstance(node, REMOVED_STATEMENTS):
            yield ast.Pass()


def _is_number(node: ast.AST) -> bool:
    """Return whether a node is the literal of a negative number."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return True
    return False


def _is_no_rule(node: ast.AST) -> bool:
    """Return whether a node is a docstring, or only asserts that two sequences are equally long."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.keyword(arg="strict"):
            return True
    return False


# --- putting a mutant in place ----------------------------------------------------------------

BOUNDED = f"""
for _ in range({TURNS}):
    if not ...:
        break
else:
    raise RuntimeError('endless')
"""


class _Bounding(ast.NodeTransformer):
    """Gives every ``while`` an end."""

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        (loop,) = ast.parse(BOUNDED).body
        assert isinstance(loop, ast.For)
        loop.body[0].test.operand = node.test  # type: ignore[attr-defined]
        loop.body += node.body
        return loop


def _compiled(owner: ast.stmt) -> CodeType:
    tree = ast.Module([_Bounding().visit(copy.deepcopy(owner))], [])
    flags = __future__.annotations.compiler_flag
    return compile(ast.fix_missing_locations(tree), "<mutant>", "exec", flags, dont_inherit=True)


@contextlib.contextmanager
def _placed(
    code: CodeType,
    name: str,
    module: ModuleType,
    users: Sequence[ModuleType],
    caches: Sequence[Any],
) -> Iterator[None]:
    old = getattr(module, name)
    scope = dict(vars(module))
    exec(code, scope)
    new = scope[name]
    if isinstance(old, Rule):
        old, new = old.effect, new.effect
    with _nothing_remembered(caches), pytest.MonkeyPatch.context() as patch:
        if isinstance(old, FunctionType | type):
            # The objects stay the same, so that whoever has imported them gets the mutant.
            for one, other in _functions(old, new):
                for part in ("__code__", "__defaults__", "__kwdefaults__"):
                    patch.setattr(one, part, getattr(other, part))
        else:
            for user in (module, *users):
                if vars(user).get(name) is old:
                    patch.setattr(user, name, new)
        yield


@contextlib.contextmanager
def _nothing_remembered(caches: Sequence[Any]) -> Iterator[None]:
    """Let no function answer from what it remembers of the original, nor later of the mutant."""
    for one in caches:
        one.cache_clear()
    try:
        yield
    finally:
        for one in caches:
            one.cache_clear()


def _functions(old: Any, new: Any) -> Iterator[tuple[FunctionType, FunctionType]]:
    """Yield what is written in the module, no methods that a decorator has made."""
    if isinstance(old, FunctionType):
        yield old, new
        return
    if issubclass(old, tuple):
        yield old.__new__, new.__new__  # type: ignore[misc] - defaults of a NamedTuple
    for name, member in vars(new).items():
        if isinstance(member, property):
            yield vars(old)[name].fget, member.fget  # type: ignore[misc]
        elif isinstance(member, FunctionType) and member.__code__.co_filename == "<mutant>":
            yield vars(old)[name], member
