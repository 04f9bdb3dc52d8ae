"""What constants leave out that are 0 in places: masks of an attention, and of weights."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rfa_toolbox.operators.layout import Atom, Dimension
from rfa_toolbox.operators.record import Numbers, TensorRef
from rfa_toolbox.operators.windows import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FAR_BELOW", "Masked", "allowed_by", "masked", "under_weights"]

FAR_BELOW = -1e4
"""A score from which on nothing is left of a unit behind a softmax."""


class Masked(NamedTuple):
    """What is left of an attention behind a mask: windows by axis, and whether all see as much."""

    windows: dict[int, Window]
    blockwise: bool
    tight: bool


def allowed_by(mask: TensorRef) -> Numbers | None:
    """Return which keys a mask lets every query see, in any head or window; None if all of them.

    A mask is True where a key is seen, or a number that is added to its score.
    """
    if mask.numbers is None:
        return None
    array = mask.numbers.array
    if array is None:
        return mask.numbers
    left = array if array.dtype == bool else array > FAR_BELOW
    if left.ndim < 2 or left.all():
        return None
    return Numbers(np.asarray(left.any(axis=tuple(range(left.ndim - 2)))))


def masked(dimension: Dimension, allowed: NDArray[Any]) -> Masked | None:
    """Return what positions of a dimension see of each other; None if that is not followed.

    Axes are left out along which they see as much as without the mask.

    >>> masked((Atom(0, 6),), np.tri(6, dtype=bool)).windows[0].scan
    'forward'
    """
    size = math.prod(piece.size for piece in dimension)
    if allowed.shape != (size, size) or any(type(piece) is not Atom for piece in dimension):
        return None
    places = _places(dimension)
    windows: dict[int, Window] = {}
    blocks, tight = False, True
    for axis, at in places.items():
        first = np.where(allowed, at[None, :], at.max()).min(1)
        last = np.where(allowed, at[None, :], at.min()).max(1)
        window, block, even = _window(at, first, last)
        tight = tight and even
        blocks = blocks or block
        if window is not None:
            windows[axis] = window
    return Masked(windows, blocks, tight and (not blocks or len(windows) == 1))


def _places(dimension: Dimension) -> dict[int, NDArray[Any]]:
    """Return per axis at which unit of it every position of a dimension is."""
    runs = [piece for piece in dimension if type(piece) is Atom]
    grid = np.indices([run.size for run in runs]).reshape(len(runs), -1)
    found: dict[int, NDArray[Any]] = {}
    for run, index in zip(runs, grid, strict=True):
        if run.axis is not None:
            found[run.axis] = found.get(run.axis, 0) + run.origin + index * run.step
    return found


def _window(
    at: NDArray[Any], first: NDArray[Any], last: NDArray[Any]
) -> tuple[Window | None, bool, bool]:
    """Return the window of units that see from a first to a last one, each.

    Returns:
        the window, None if it is all of the axis; whether it is one of blocks that lie side by
        side; and whether every unit sees as much as it says, as far as the map goes.
    """
    low, high = int(at.min()), int(at.max())
    before, after = int((at - first).max()), int((last - at).max())
    spans = high - low
    if before >= spans and after >= spans:
        return None, False, bool((first == low).all() and (last == high).all())
    if before >= spans or after >= spans:
        back, ahead = (before, after) if before >= spans else (after, before)
        even = (first == low).all() if before >= spans else (last == high).all()
        if ahead == 0 < back:
            own = last if before >= spans else first
            scan = "forward" if before >= spans else "backward"
            return Window(math.inf, scan=scan), False, bool(even and (own == at).all())
        return None, False, False
    size = int((last - first).max()) + 1
    begins = low + (at - low) // size * size
    if size > 1 and (first == begins).all() and (last == np.minimum(begins + size - 1, high)).all():
        return Window(size), True, True
    even = (first == np.maximum(at - before, low)).all() and (
        last == np.minimum(at + after, high)
    ).all()
    return Window(before + after + 1, begin=before, end=after), False, bool(even)


def under_weights(weight: TensorRef, kernel: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return per axis the first tap of a kernel that is not 0 in all channels, and the last one.

    >>> under_weights(TensorRef(-1, (1, 1, 3), numbers=Numbers(np.array([[[1, 1, 0]]]))), (3,))
    [(0, 1)]
    """
    array = None if weight.numbers is None else weight.numbers.array
    whole = [(0, size - 1) for size in kernel]
    if array is None or not array.any():
        return whole
    taps = (array != 0).any(axis=tuple(range(array.ndim - len(kernel))))
    found = []
    for axis in range(len(kernel)):
        others = tuple(one for one in range(len(kernel)) if one != axis)
        used = list(itertools.compress(range(kernel[axis]), taps.any(axis=others)))
        found.append((used[0], used[-1]))
    return found
