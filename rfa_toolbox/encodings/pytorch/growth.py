"""What operations see of a map that grows with the image, found by comparing two walks."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from rfa_toolbox.operators.trail import Trail
from rfa_toolbox.operators.windows import Window

__all__ = ["GREATEST_RIM", "Parts", "parts_read"]


class Parts(NamedTuple):
    """What is told of an operation: its note on sizes, and along which axes it sees a part."""

    sized: str = ""
    axes: tuple[int, ...] = ()


def parts_read(one: Trail, larger: Trail) -> dict[int, Parts]:
    """Return by number of a tensor what the operation that makes it sees of a map.

    What a window is follows from the parts that a map is cut into, as well as from arguments. And
    what sees all that is left of a map sees a part of the image where that is a number of units, or
    a share of them.

    Args:
        one: the walk of what a model did.
        larger: that of what it did with a larger image.
    """
    found: dict[int, Parts] = {}
    jumps = _jumps(one), _jumps(larger)
    for step, same in zip(one.steps, larger.steps, strict=False):
        if step.name != same.name:
            break
        number = one.results[step.number].number
        parts = {
            axis: told
            for axis in range(one.axes)
            if (told := _part(one, larger, jumps, step.number, axis)) is not None
        }
        if parts:
            found[number] = Parts("grows" if "grows" in parts.values() else "", tuple(parts))
        elif _grow(step.windows, same.windows):
            found[number] = Parts("grows")
        elif _grow(tuple(step.statistics.values()), tuple(same.statistics.values())):
            found[number] = Parts("varies")
    return found


def _grow(windows: Sequence[Window], others: Sequence[Window]) -> bool:
    """Whether a window that is finite for both inputs has another size, or goes on by another."""
    return any(
        one.kernel < math.inf > other.kernel
        and (one.kernel, one.stride, one.dilation) != (other.kernel, other.stride, other.dilation)
        for one, other in zip(windows, others, strict=False)
    )


GREATEST_RIM = Fraction(1, 8)
"""Of an image: a part leaves out no less, what was added to fill the last window is less."""


def _part(one: Trail, larger: Trail, jumps: Sequence[_Jumps], step: int, axis: int) -> str | None:
    """Return "grows" where a step sees a share of the image, "" where a number of units.

    None where it sees all of it but a rim, which is as wide on a larger image.
    """
    units, left, pixels = [], [], []
    for walk, places in zip((one, larger), jumps, strict=True):
        kernel = walk.steps[step].windows[axis].kernel
        seen = walk.mixed.get(step, {}).get(axis) if kernel == math.inf else int(kernel)
        jump = places[step][axis]
        if seen is None or seen == 1:
            return None
        units.append(seen)
        pixels.append(seen * jump)
        left.append(1 - pixels[-1] / walk.sizes[axis])
    growth = larger.sizes[axis] - one.sizes[axis]
    jump = max(places[step][axis] for places in jumps)
    if all(walk.steps[step].windows[axis].kernel < math.inf for walk in (one, larger)):
        return None
    if pixels[1] - pixels[0] >= growth - jump or left[0] <= 0 or left[1] < GREATEST_RIM:
        return None
    return "" if units[0] == units[1] else "grows"


_Jumps: TypeAlias = "Sequence[tuple[Fraction, ...]]"
"""Pixels between neighbouring units in front of every step, per axis."""


def _jumps(walk: Trail) -> _Jumps:
    behind: list[tuple[Fraction, ...]] = []
    front: list[tuple[Fraction, ...]] = []
    for step in walk.steps:
        placed = [one for one in step.sources if not walk.steps[one].positionless]
        read = behind[placed[0]] if placed else (Fraction(1),) * walk.axes
        front.append(read)
        steps = (Fraction(one.stride, one.upsampling) for one in step.windows)
        behind.append(tuple(map(operator.mul, read, steps)))
    return front
