"""Units that see two places of one axis, as products of positions with each other do.

Where a tensor runs over an axis twice, its unit (i, j) sees what is at i, and what is at j. How far
these are apart grows along the map, so that such units see everything. The scores of an attention
are such units; where a mask or blocks let a position meet only some, the product with the values
that follows counts them, once for the scores and itself.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import attrs

from rfa_toolbox.operators.layout import Layout, axes_of, runs_by_axis, times_over
from rfa_toolbox.operators.values import Step, readers_of
from rfa_toolbox.operators.windows import Window

__all__ = ["IN_DISORDER", "doubled", "with_pairs"]


IN_DISORDER = "some of its positions are in an order that is not followed"
"""Why a step is a bound of whose positions some are lost."""


@functools.lru_cache(maxsize=4096)  # most operations leave positions in place
def doubled(layout: Layout) -> Mapping[int, int | float]:
    """Return how far apart the two places are that a unit stands for, by axis, in units.

    >>> from rfa_toolbox.operators.layout import Atom
    >>> doubled(((Atom(0, 8),), (Atom(0, 8),))), doubled(((Atom(0, 8),), (Atom(1, 8),)))
    ({0: inf}, {})
    >>> doubled(((Atom(0, 8, step=7),), (Atom(0, 7),), (Atom(0, 7),)))  # in windows
    {0: 7}
    """
    found: dict[int, int | float] = {}
    times = Counter(axis for dimension in layout for axis in axes_of(dimension))
    if max(times.values(), default=0) < 2:
        return found
    runs = runs_by_axis(layout)
    for axis in times:
        atoms = [atom for atom in runs.get(axis, ()) if atom.size > 1]
        steps = Counter(atom.step for atom in atoms)
        several = [atom for atom in atoms if steps[atom.step] > 1]
        if times_over(layout, axis) > 1 or len({atom.step for atom in several}) < len(set(several)):
            found[axis] = math.inf
        elif several:
            found[axis] = 1 + sum((atom.size - 1) * atom.step for atom in set(several))
    return found


def with_pairs(
    steps: Sequence[Step],
    pairs: Mapping[int, Mapping[int, int | float]],
    disordered: Collection[int] = (),
) -> list[Step]:
    """Return steps with the windows of those whose units see two places.

    Args:
        steps: all steps, in order of execution.
        pairs: by number of a step along which axes its units see two places, and how far apart.
        disordered: the steps of which it is not known whether the places are two, as their order is
            not followed.
    """
    readers = readers_of(steps)
    result = list(steps)
    for number, reaches in pairs.items():
        step = steps[number]
        before = [pairs.get(source, {}) for source in step.sources]
        if any(all(one.get(axis, 1) >= reaches[axis] for axis in reaches) for one in before):
            continue  # what it reads sees as many places already
        own = {
            axis: seen
            for axis, reach in reaches.items()
            if step.windows[axis].kernel < reach
            if (seen := _seen(number, axis, reach, steps, readers, pairs)) is not None
        }
        if own:
            windows = tuple(own.get(axis, one) for axis, one in enumerate(step.windows))
            kind = "layer" if step.kind in ("pointwise", "scaling") else step.kind
            finite = any(window.kernel < math.inf for window in own.values())
            if number in disordered and step.certainty == "exact":
                step = attrs.evolve(step, certainty="bound", reason=IN_DISORDER)
            result[number] = attrs.evolve(
                step,
                windows=windows,
                kind=kind,
                blockwise=step.blockwise or finite,
                paired=frozenset(own),
            )
    return result


def _seen(
    number: int,
    axis: int,
    reach: float,
    steps: Sequence[Step],
    readers: Mapping[int, Sequence[int]],
    pairs: Mapping[int, Mapping[int, int | float]],
) -> Window | None:
    """Return the window of pairs of units; None if the product that sums them up counts it."""
    waiting, seen = list(readers.get(number, ())), set[int]()
    while waiting:
        reader = waiting.pop()
        if reader in seen:
            continue
        seen.add(reader)
        window = steps[reader].windows[axis]
        still = axis in pairs.get(reader, {})
        if still and window.kernel == 1:
            waiting.extend(readers.get(reader, ()))
        elif not still and window.scan is not None:
            return Window(math.inf, scan=window.scan)
        elif not still and 1 < window.kernel < math.inf:
            return None
    return Window(reach)
