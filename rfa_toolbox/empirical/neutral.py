"""Copies of models in which nothing hides a path: what the gradient method needs for exact extents.

A rectifier that is closed, a maximum that takes another unit, or two weights that cancel make the
gradient of a path zero although the path is there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, TypeAlias

from rfa_toolbox.errors import MeasurementError

__all__ = ["ALL_PARTS", "Part", "parts_to_neutralise"]

Part: TypeAlias = Literal["weights", "activations", "pooling", "norms"]
"""A part of a model that can be neutralised."""

ALL_PARTS: Final[frozenset[Part]] = frozenset(("weights", "activations", "pooling", "norms"))


def parts_to_neutralise(neutralise: bool | Collection[str]) -> frozenset[Part]:
    """Return the parts that a user asked for.

    Raises:
        MeasurementError: if one of them is not known.

    >>> sorted(parts_to_neutralise(True))
    ['activations', 'norms', 'pooling', 'weights']
    """
    if isinstance(neutralise, bool):
        return ALL_PARTS if neutralise else frozenset()
    asked: object = neutralise
    several = isinstance(asked, Collection) and not isinstance(asked, str)
    given = set(neutralise) if several else {asked}
    if not given <= ALL_PARTS:
        raise MeasurementError(
            f"neutralise is {neutralise!r}; it must be True, False, or some of "
            f"{sorted(ALL_PARTS)!r}."
        )
    return frozenset(part for part in ALL_PARTS if part in given)
