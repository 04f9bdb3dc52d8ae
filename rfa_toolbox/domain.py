"""Contracts between the rooms of the package: what others may rely on in a layer and a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from rfa_toolbox.arithmetic import Jump, Size

__all__ = [
    "DEFAULT_INPUT",
    "DEFAULT_TIME_LIMIT",
    "EXPERIMENT_TIME_LIMIT",
    "Certainty",
    "Layer",
    "Node",
    "PerAxis",
    "Resolution",
]

Certainty: TypeAlias = Literal["exact", "bound", "unknown"]
"""How a receptive field is known: exactly, as an upper bound, or not (counted as neutral)."""

PerAxis: TypeAlias = "Size | tuple[Size, ...]"
"""A size in input pixels: one number for all axes, or one per axis."""

Resolution: TypeAlias = "int | Sequence[int]"
"""An input resolution in pixels: one number for all axes, or one per axis, (height, width)."""


DEFAULT_INPUT = (1, 3, 399, 399)
"""The shape of the input of a PyTorch model where its user names none.

The same shape, written down by a user, is a wish; no other one is tried then.
"""

DEFAULT_TIME_LIMIT = 60.0
"""Seconds that laying out one picture may take."""

EXPERIMENT_TIME_LIMIT = 60.0
"""Seconds that an experiment on a model takes by default; what was measured by then is kept."""


@runtime_checkable
class Layer(Protocol):
    """What a layer does to the grid that it slides over."""

    @property
    def name(self) -> str: ...

    @property
    def kernel_size(self) -> Any: ...

    @property
    def stride_size(self) -> Any: ...

    @property
    def filters(self) -> int | None: ...

    @property
    def units(self) -> int | None: ...


@runtime_checkable
class Node(Protocol):
    """A layer in its place in a graph, with its receptive fields."""

    @property
    def name(self) -> str: ...

    @property
    def layer_info(self) -> Layer: ...

    @property
    def predecessors(self) -> Sequence[Node]: ...

    @property
    def successors(self) -> Sequence[Node]: ...

    @property
    def all_layers(self) -> Sequence[Node]: ...

    @property
    def receptive_field_min(self) -> PerAxis: ...

    @property
    def receptive_field_max(self) -> PerAxis: ...

    def get_maximum_scale_factor(self) -> Jump | tuple[Jump | None, ...] | None: ...

    def is_border(self, input_resolution: Resolution) -> bool: ...
