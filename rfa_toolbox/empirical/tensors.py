"""Where units are in the tensors of a model, and which of them poison may have failed to reach."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import attrs
import numpy as np

from rfa_toolbox.empirical.readings import Mask
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.operators.layout import Atom, Joined, Layout, axes_of, runs_by_axis
from rfa_toolbox.operators.record import Record, tensors_in

__all__ = [
    "EVERY_NUMBER",
    "Spot",
    "behind_hidden_poison",
    "has_twice",
    "listed",
    "looks",
    "spot_of",
]


@attrs.frozen
class Spot:
    """How to find the units along one axis in a tensor.

    Attributes:
        shape: the shape with every dimension split into its runs of positions.
        kept: the dimensions of ``shape`` that tell units apart, the coarsest first.
        parts: (dimension of the tensor, start, size): where to cut a part out before.
    """

    shape: tuple[int, ...]
    kept: tuple[int, ...]
    parts: tuple[tuple[int, int, int], ...] = ()

    @property
    def units(self) -> int:
        """Number of units along the axis."""
        return math.prod(self.shape[one] for one in self.kept)

    def read(self, flags: Mask) -> Mask:
        """Return which units have a flag: of any channel, wherever on the other axes.

        >>> spot_of((2, 3), ((), (Atom(0, 3),)), 0).read(np.eye(2, 3, dtype=bool)).tolist()
        [True, True, False]
        """
        for dimension, start, size in self.parts:
            flags = flags.take(range(start, start + size), dimension)
        if self is EVERY_NUMBER:
            return flags.reshape(-1)
        split = flags.reshape(self.shape)
        rest = tuple(one for one in range(len(self.shape)) if one not in self.kept)
        remaining = sorted(self.kept)
        found: Mask = np.asarray(split.any(rest))
        found = found.transpose([remaining.index(one) for one in self.kept])
        return found.reshape(-1)


EVERY_NUMBER = Spot((), ())
"""Every number of a tensor as if it were a unit."""


def has_twice(layout: Layout, axis: int) -> bool:
    """Whether positions along an axis stand in two dimensions, each with all the others.

    >>> has_twice(((Atom(0, 4),), (Atom(0, 4),)), 0), has_twice(((Atom(0, 4), Atom(1, 4)),), 0)
    (True, False)
    """
    steps = [atom.step for atom in runs_by_axis(layout).get(axis, ())]
    return len(set(steps)) < len(steps)


def spot_of(shape: Sequence[int], layout: Layout, axis: int) -> Spot:
    """Return how to find the units along an axis in a tensor with this layout.

    >>> spot_of((1, 8, 4, 5), ((), (Atom(None, 8),), (Atom(0, 4),), (Atom(1, 5),)), 1).kept
    (3,)
    """
    sizes: list[int] = []
    kept: dict[int, int] = {}
    parts = []
    for place, (size, dimension) in enumerate(zip(shape, layout, strict=True)):
        pieces = dimension
        if len(pieces) == 1 and type(pieces[0]) is Joined and axis in axes_of(pieces):
            start = 0
            carrying = []
            for part in pieces[0].parts:
                count = math.prod(piece.size for piece in part)
                if axis in axes_of(part):
                    carrying.append((start, count, part))
                start += count
            if len(carrying) == 1:
                start, count, pieces = carrying[0]
                parts.append((place, start, count))
                size = count  # noqa: PLW2901 - of what was cut out
        if axis not in axes_of(pieces):
            sizes.append(size)
            continue
        if math.prod(piece.size for piece in pieces) != size:
            sizes.append(size)
            kept[len(sizes) - 1] = 0
            continue
        for piece in pieces:
            sizes.append(piece.size)
            if axis in axes_of((piece,)):
                step = abs(piece.step) if type(piece) is Atom else 0
                if step not in kept.values() or not step:
                    kept[len(sizes) - 1] = step
    return Spot(tuple(sizes), tuple(sorted(kept, key=lambda one: -kept[one])), tuple(parts))


_HIDING = {
    *("gt", "ge", "lt", "le", "eq", "ne", "isnan", "isfinite", "isinf", "argmax", "argmin"),
    *("bool", "int", "long", "short", "topk", "sort", "argsort", "one_hot", "bucketize"),
    *("logical_not", "logical_and", "logical_or", "searchsorted", "unique", "nonzero"),
}
"""Operators whose results are no numbers that could be NaN."""


def behind_hidden_poison(record: Record) -> dict[int, str]:
    """Return the tensors that poison may have failed to reach, with the operator that hid it."""
    found: dict[int, str] = {}
    for operation in record.operations:
        reason = next(
            (found[one.number] for one in tensors_in(operation.arguments) if one.number in found),
            operation.name if operation.name in _HIDING else "",
        )
        if reason:
            found.update((one.number, reason) for one in operation.outputs)
    return found


def listed(record: Record, looking: Collection[int]) -> set[int]:
    """Return the tensors that list all positions of a map: by definition they see everything.

    Args:
        record: what a model does.
        looking: the tensors of layers that look at more than one position, which end a list.
    """
    found: set[int] = set()
    for operation in record.operations:
        made = {one.number for one in operation.outputs}
        lists = operation.name in ("flatten", "reshape", "view")
        keeps = any(one.number in found for one in tensors_in(operation.arguments))
        if lists or (keeps and made.isdisjoint(looking)):
            found |= made
    return found


def looks(node: EnrichedNetworkNode) -> bool:
    """Return whether a layer looks at more than one position of what is in front of it."""
    kernel = node.layer_info.kernel_size
    return any(one != 1 for one in (kernel if isinstance(kernel, tuple) else (kernel,)))
