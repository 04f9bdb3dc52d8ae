"""Operators of PyTorch that repeat a function, as Python would write them.

They run where no mode sees what the function does; written out, every operator in it is seen, and a
loop that goes on as values of the input tell stops where it asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch.utils._pytree import tree_map

__all__ = ["WRITTEN_OUT"]

Function = Callable[..., Any]


def _while(
    goes_on: Function, step: Function, carried: Sequence[Any], more: Sequence[Any] = ()
) -> tuple[Any, ...]:
    values = tuple(carried)
    while goes_on(*values, *more):
        made = step(*values, *more)
        values = tuple(made) if isinstance(made, tuple | list) else (made,)
    return values


def _map(function: Function, several: Sequence[Any], more: Sequence[Any] = ()) -> Any:
    made = [function(*row, *more) for row in zip(*map(torch.unbind, several), strict=True)]
    return tree_map(lambda *column: torch.stack(column), *made)


def _scan(
    function: Function, carried: Sequence[Any], several: Sequence[Any], more: Sequence[Any] = ()
) -> list[Any]:
    values, rows = list(carried), []
    for row in zip(*map(torch.unbind, several), strict=True):
        made = function(*values, *row, *more)
        values = list(made[: len(values)])
        rows.append(made[len(values) :])
    return [*values, *map(torch.stack, zip(*rows, strict=True))]


WRITTEN_OUT = MappingProxyType({"while_loop": _while, "map_impl": _map, "scan": _scan})
"""What operators do by their names; each takes what the operator is given."""
