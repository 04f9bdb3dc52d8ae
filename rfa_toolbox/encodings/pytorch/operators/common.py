"""Arguments of operators in one form, whatever form they were given in."""

from __future__ import annotations

from typing import Any

from rfa_toolbox.encodings.pytorch.domain import (
    Operation,
    TensorRef,
)
from rfa_toolbox.encodings.pytorch.steps import (
    Trail,
)

__all__ = ["dependent", "per_axis", "places_of"]


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
