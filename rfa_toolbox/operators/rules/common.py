"""Arguments of operators in one form, whatever form they were given in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import Moved, Slides
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, Piece, axes_of
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
)
from rfa_toolbox.operators.values import Value, is_stacked
from rfa_toolbox.operators.windows import Window

__all__ = [
    "as_channels",
    "dependent",
    "move",
    "pads_where_cropped",
    "per_axis",
    "pinned_places",
    "places_of",
    "sides",
    "viewed",
    "with_layout",
    "without_singles",
]


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


def as_channels(dimension: Dimension) -> Slides | None:
    """Return that a dense layer takes for channels what a dimension holds, if that is one axis."""
    axes = axes_of(dimension)
    return Slides(axes, ()) if len(axes) == 1 else None


def dependent(known: Known, operation: Operation, *names: str) -> list[TensorRef]:
    """Return those of some arguments that depend on the input."""
    found = [operation.arguments.get(name) for name in names]
    return [tensor for tensor in found if tensor is not None and known.depends(tensor)]


def sides(padding: Any, reach: int, stride: int, size: int, wanted: int) -> tuple[int, int]:
    """Return how much a window is padded in front and behind.

    Args:
        padding: a number, a pair (in front, behind), or a name. "same" gives ceil(size/stride)
            units and puts the smaller half in front. Source: the notes on padding of TensorFlow's
            ``tf.nn.convolution``.
        reach: from the first unit under the window to the last one.
        stride: that of the window.
        size: units in front of the operation.
        wanted: units behind it.

    >>> sides("same", reach=2, stride=2, size=224, wanted=112)
    (0, 1)
    """
    if padding == "same":
        total = max((wanted - 1) * stride + reach + 1 - size, 0)
        return total // 2, total - total // 2
    if isinstance(padding, str):
        return 0, 0
    return (padding[0], padding[1]) if isinstance(padding, tuple) else (padding, padding)


def pads_where_cropped(atom: Atom, window: Window, extent: int) -> bool:
    """Whether a window looks at padding where its map had more units, which were cut off.

    Its place does not tell that from looking at those units.
    """
    behind = extent - 1 - atom.origin - (atom.size - 1) * atom.step
    return (atom.origin > 0 and (window.begin or 0) > 0) or (
        behind >= atom.step and (window.end or 0) >= window.upsampling
    )


def move(known: Known, operation: Operation, layout: Layout) -> Moved:
    """Return that the first output of plumbing has its positions there."""
    output = operation.outputs[0]
    _, value = known.worked_on(operation)
    return Moved({output.number: with_layout(value, layout, output)})


def viewed(known: Known, operation: Operation, layout: Layout) -> Moved:
    """Return that the first output has the same numbers in the same order, in another shape."""
    tensor, value = known.worked_on(operation)
    output = operation.outputs[0]
    parts = None if value.parts is None else value.parts.viewed(tensor.shape, output.shape)
    value = value if parts is None else value._replace(parts=parts)
    return Moved({output.number: with_layout(value, layout, output)})


def with_layout(value: Value, layout: Layout, output: TensorRef) -> Value:
    """Return a value behind plumbing; without its parts, if channels are not all there."""
    parts = value.parts
    if value.allowed is not None and layout[-2:] != value.layout[-2:]:
        value = value._replace(allowed=None)
    if parts is not None and output.shape[parts.dimension : parts.dimension + 1] != (
        sum(parts.sizes),
    ):
        return value._replace(layout=layout, parts=None, apart=value.apart or is_stacked(parts))
    return value._replace(layout=layout)


def pinned_places(value: Value) -> list[int]:
    """Return the dimensions that hold nothing but one place of a map that has more of them."""
    return [
        place
        for place, dimension in enumerate(value.layout)
        if len(dimension) == 1 and _is_pinned(value, dimension[0])
    ]


def _is_pinned(value: Value, piece: Piece) -> bool:
    if type(piece) is Lost:  # one that was picked, nobody knows where
        return piece.size == 1
    return (
        type(piece) is Atom
        and piece.axis is not None
        and piece.size == 1
        and (value.extents[piece.axis] > 1 or piece.axis in value.taken)
    )


def without_singles(value: Value, gone: Sequence[int], keep: int = 0) -> Layout:
    """Return the layout of a value without dimensions of size 1, and where it was in them.

    ``keep`` dimensions are left in any case.
    """
    layout = value.layout
    for place in sorted(gone, reverse=True):
        if len(layout) == keep:
            break
        if any(_is_pinned(value, piece) for piece in layout[place]):
            layout = layouts.without(layout, place)
        else:
            layout = (*layout[:place], *layout[place + 1 :])
    return layout
