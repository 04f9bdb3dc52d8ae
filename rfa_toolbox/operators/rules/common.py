"""Arguments of operators in one form, whatever form they were given in."""

from __future__ import annotations

from typing import Any

from rfa_toolbox.operators.layout import Atom
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
)
from rfa_toolbox.operators.trail import (
    Trail,
)
from rfa_toolbox.operators.windows import Window

__all__ = ["dependent", "pads_where_cropped", "per_axis", "places_of"]


def per_axis(value: Any, count: int) -> tuple[Any, ...]:
    """Return an argument that may be one number for all axes, as one value per axis."""
    if isinstance(value, list | tuple):
        return tuple(value) if len(value) == count else tuple(value) * count
    return (value,) * count


def places_of(value: Any, rank: int) -> list[int]:
    """Return the dimensions that an argument names, counted from the front; None is all."""
    if value is None or (isinstance(value, list | tuple) and not value):
        return list(range(rank))
    return [one % rank for one in (value if isinstance(value, list | tuple) else (value,))]


def dependent(trail: Trail, operation: Operation, *names: str) -> list[TensorRef]:
    """Return those of some arguments that depend on the input."""
    found = [operation.arguments.get(name) for name in names]
    return [tensor for tensor in found if tensor is not None and trail.depends(tensor)]


def pads_where_cropped(atom: Atom, window: Window, extent: int) -> bool:
    """Whether a window looks at padding where its map had more units, which were cut off.

    Its place does not tell that from looking at those units.
    """
    behind = extent - 1 - atom.origin - (atom.size - 1) * atom.step
    return (atom.origin > 0 and (window.begin or 0) > 0) or (
        behind >= atom.step and (window.end or 0) >= window.upsampling
    )
