"""Which pixels inside of its window a unit really sees: dilation leaves holes, per axis.

:mod:`rfa_toolbox.unit_windows` keeps the first and the last pixel; here every pixel between them
is kept, as a bit of a number.

Source of the phenomenon, "gridding": F. Yu, V. Koltun, T. Funkhouser, "Dilated Residual Networks",
CVPR 2017; P. Wang et al., "Understanding Convolution for Semantic Segmentation", WACV 2018.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import attrs

__all__ = [
    "IMAGE",
    "MAX_SIZE",
    "Coverage",
    "PixelSets",
    "coverage_of",
    "joined",
    "most_missed",
    "seen_in_blocks",
    "shifted",
    "slid",
    "union",
]

MAX_SIZE = 16384
"""Windows of more pixels than this are not followed."""

MAX_PERIOD = 256
"""Maps whose windows repeat after more units than this are not followed."""


class PixelSets(NamedTuple):
    """The pixels that every unit of a map sees along one axis.

    Unit ``p + n*period`` sees pixel ``firsts[p] + b + n*advance`` if bit ``b`` of ``masks[p]`` is
    set, for every whole n; ``period`` is the number of entries.
    """

    advance: int
    firsts: tuple[int, ...]
    masks: tuple[int, ...]


IMAGE = PixelSets(1, (0,), (1,))
"""The image itself: every unit is a pixel and sees itself."""


def slid(
    sets: PixelSets,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    upsampling: int = 1,
    begin: int = 0,
) -> PixelSets | None:
    """Return what units see behind a layer that slides over a map; see ``unit_windows.slid``.

    None if windows are too large, or repeat too seldom, to be followed.

    >>> slid(IMAGE, kernel=3, dilation=2, begin=2)
    PixelSets(advance=1, firsts=(-2,), masks=(21,))
    """
    if kernel == stride == upsampling == 1 and not begin:
        return sets
    period = len(sets.firsts)
    fine = upsampling * period
    repeats = fine // math.gcd(stride, fine)
    if repeats > MAX_PERIOD:
        return None
    found: list[tuple[int, int]] = []
    for unit in range(repeats):
        first = stride * unit - begin
        places = range(first, first + kernel * dilation, dilation)
        read = [_at(sets, place // upsampling) for place in places if place % upsampling == 0]
        found.append(_joined(read))
    return _made(sets.advance * (stride * repeats // fine), found)


def seen_in_blocks(sets: PixelSets, block: int, begin: int = 0) -> PixelSets | None:
    """Return what units see behind a layer that takes units in blocks which do not overlap."""
    pooled = slid(sets, block, block, begin=begin)
    return None if pooled is None else slid(pooled, block, upsampling=block, begin=block - 1)


def shifted(sets: PixelSets, offset: int) -> PixelSets:
    """Return the sets of a map of which a later unit was made the first one."""
    if not offset:
        return sets
    found = [_at(sets, unit + offset) for unit in range(len(sets.firsts))]
    return PixelSets(sets.advance, *map(tuple, zip(*found, strict=True)))


def union(several: Sequence[PixelSets]) -> PixelSets | None:
    """Return what units see that read several maps, unit by unit; None if their jumps differ.

    >>> union([IMAGE, shifted(IMAGE, 4)])
    PixelSets(advance=1, firsts=(0,), masks=(17,))
    """
    first, *more = several
    if all(one == first for one in more):
        return first
    if any(one.advance * len(first.firsts) != first.advance * len(one.firsts) for one in several):
        return None
    period = math.lcm(*(len(one.firsts) for one in several))
    if period > MAX_PERIOD:
        return None
    found = [_joined([_at(one, unit) for one in several]) for unit in range(period)]
    return _made(first.advance * period // len(first.firsts), found)


def most_missed(sets: PixelSets) -> int:
    """Return how many pixels inside of its window the unit does not see that misses most.

    >>> most_missed(slid(IMAGE, kernel=3, dilation=2))
    2
    """
    return max(mask.bit_length() - mask.bit_count() for mask in sets.masks)


def joined(several: Sequence[PixelSets | None]) -> PixelSets | None:
    """Return ``union``, or None if one of the maps is None."""
    known = [one for one in several if one is not None]
    return union(known) if len(known) == len(several) else None


def _at(sets: PixelSets, unit: int) -> tuple[int, int]:
    turn, phase = divmod(unit, len(sets.firsts))
    return sets.firsts[phase] + turn * sets.advance, sets.masks[phase]


def _joined(read: Iterable[tuple[int, int]]) -> tuple[int, int]:
    some = [(first, mask) for first, mask in read if mask]
    if not some:
        return 0, 0
    lowest = min(first for first, _ in some)
    mask = 0
    for first, one in some:
        mask |= one << (first - lowest)
    return lowest, mask


def _made(advance: int, found: Sequence[tuple[int, int]]) -> PixelSets | None:
    if any(mask.bit_length() > MAX_SIZE for _, mask in found):
        return None
    firsts, masks = (tuple(column) for column in zip(*found, strict=True))
    return PixelSets(advance, firsts, masks)


# --- the public form -------------------------------------------------------------------------


@attrs.frozen(slots=True)
class Coverage:
    """Which pixels a unit sees between the first and the last one, along one axis.

    Attributes:
        start: the first pixel that the unit sees; negative in the padding.
        seen: for every pixel from there to the last one whether the unit sees it.

    >>> coverage_of(slid(IMAGE, kernel=3, dilation=2), unit=10)
    Coverage(start=10, seen=(True, False, True, False, True))
    """

    start: int
    seen: tuple[bool, ...]

    @property
    def pixels(self) -> tuple[int, ...]:
        """The pixels that the unit sees."""
        return tuple(self.start + place for place, one in enumerate(self.seen) if one)

    @property
    def misses(self) -> int:
        """Number of pixels between the first and the last one that the unit does not see."""
        return self.seen.count(False)

    @property
    def density(self) -> float:
        """Share of the pixels from the first to the last one that the unit sees; 0 of none."""
        return self.seen.count(True) / len(self.seen) if self.seen else 0.0


def coverage_of(sets: PixelSets, unit: int = 0) -> Coverage:
    """Return what one unit sees."""
    first, mask = _at(sets, unit)
    return Coverage(first, tuple(bit == "1" for bit in reversed(f"{mask:b}")) if mask else ())
