"""Which pixels the units of a feature map look at: exact to the pixel, on any grid, per axis.

Unlike the sizes that a graph decides by, which judge a layer whatever its padding, these
windows have a place. They are what an experiment measures: poison a pixel, and see which units
notice.

Source of the geometry: A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019 (one path, start and jump). Up-sampled maps and misaligned branches,
where the units of one map see windows of different size, are kept here unit by unit over one
period.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import attrs

from rfa_toolbox.arithmetic import Jump, Size

__all__ = [
    "EVERYTHING",
    "IMAGE",
    "MAX_PERIOD",
    "NOTHING",
    "InputWindow",
    "UnitWindows",
    "centre_of",
    "region_of",
    "scanned",
    "seen_in_blocks",
    "shifted",
    "slid",
    "union",
    "units_that_see",
    "window_at",
]

MAX_PERIOD = 4096
"""Maps whose windows repeat after more units than this are not followed."""


class UnitWindows(NamedTuple):
    """The first and the last pixel that every unit of a map sees along one axis.

    Unit ``p + n*period`` sees the pixels ``firsts[p] + n*advance`` to ``lasts[p] + n*advance``, for
    every whole n; ``period`` is the number of entries. Pixels are those of the input and not
    clipped: units near the border look at padding. A unit that sees nothing, as behind a transposed
    convolution with gaps, has the first pixel ``inf`` and the last ``-inf``; one that sees
    everything has them the other way round.
    """

    advance: int
    firsts: tuple[Size, ...]
    lasts: tuple[Size, ...]

    @property
    def period(self) -> int:
        """Number of units after which the windows repeat."""
        return len(self.firsts)

    @property
    def jump(self) -> Jump:
        """Input pixels between neighbouring units, on average over a period."""
        exact = Fraction(self.advance, len(self.firsts))
        return int(exact) if exact.denominator == 1 else exact

    @property
    def size(self) -> Size:
        """Input pixels under the largest window; 0 if no unit sees anything."""
        return max(map(_span, self.firsts, self.lasts))


IMAGE = UnitWindows(1, (0,), (0,))
"""The image itself: every unit is a pixel and sees itself."""

EVERYTHING = UnitWindows(1, (-math.inf,), (math.inf,))
"""Every unit sees every pixel."""

NOTHING = UnitWindows(1, (math.inf,), (-math.inf,))
"""No unit sees any pixel."""


def _span(first: Size, last: Size) -> Size:
    return max(0, last - first + 1)


def slid(
    windows: UnitWindows,
    kernel: Size,
    stride: int = 1,
    dilation: int = 1,
    upsampling: int = 1,
    begin: int = 0,
) -> UnitWindows | None:
    """Return what units see behind a layer that slides over a map.

    The layer first makes the grid finer by ``upsampling`` (zeros in between), adds ``begin`` units
    in front, then slides a window of ``kernel`` units, ``dilation`` apart, in steps of ``stride``.
    None if the result repeats too seldom to be followed.

    >>> slid(IMAGE, kernel=3, stride=2, begin=1)
    UnitWindows(advance=2, firsts=(-1,), lasts=(1,))
    >>> slid(IMAGE, kernel=4, upsampling=2, begin=2)  # transposed convolution, k4 s2 p1
    UnitWindows(advance=1, firsts=(-1, 0), lasts=(0, 1))
    """
    if kernel == stride == upsampling == 1 and not begin:
        return windows
    if windows == EVERYTHING or kernel == math.inf:
        return EVERYTHING
    advance, firsts, lasts = windows
    period = len(firsts)
    taps = int(kernel)
    if period == 1 and upsampling == 1:
        return UnitWindows(
            advance * stride,
            (firsts[0] - begin * advance,),
            (lasts[0] + (dilation * (taps - 1) - begin) * advance,),
        )
    fine = upsampling * period  # the fine grid repeats after so many of its units
    repeats = fine // math.gcd(stride, fine)
    if repeats > MAX_PERIOD:
        return None
    new_firsts: list[Size] = []
    new_lasts: list[Size] = []
    for unit in range(repeats):
        low: Size = math.inf
        high: Size = -math.inf
        for place in _taps(stride * unit - begin, taps, dilation, upsampling):
            turn, phase = divmod(place, period)
            low = min(low, firsts[phase] + turn * advance)
            high = max(high, lasts[phase] + turn * advance)
        new_firsts.append(low)
        new_lasts.append(high)
    return _reduced(advance * (stride * repeats // fine), new_firsts, new_lasts)


def _taps(start: int, count: int, dilation: int, upsampling: int) -> Iterable[int]:
    """Return the units of the coarse grid under a window that starts at a unit of the fine one."""
    if upsampling == 1:
        return range(start, start + count * dilation, dilation)
    places = range(start, start + count * dilation, dilation)
    return (place // upsampling for place in places if place % upsampling == 0)


def seen_in_blocks(windows: UnitWindows, block: Size, begin: int = 0) -> UnitWindows | None:
    """Return what units see behind a layer that takes units in blocks which do not overlap.

    >>> seen_in_blocks(IMAGE, 2)
    UnitWindows(advance=2, firsts=(0, 0), lasts=(1, 1))
    """
    pooled = slid(windows, block, 1 if block == math.inf else int(block), begin=begin)
    if pooled is None or pooled == EVERYTHING:
        return pooled
    return slid(pooled, block, upsampling=int(block), begin=int(block) - 1)


def scanned(windows: UnitWindows, way: str) -> UnitWindows:
    """Return what units see that see all in front of them ("forward") or behind ("backward").

    >>> scanned(slid(IMAGE, 3, begin=1), "forward")
    UnitWindows(advance=1, firsts=(-inf,), lasts=(1,))
    """
    if not windows.size:
        return windows
    advance, firsts, lasts = windows
    places = range(len(firsts))
    if way == "forward":
        so_far = [
            max(last - advance * (other > unit) for other, last in enumerate(lasts))
            for unit in places
        ]
        return _reduced(advance, [-math.inf] * len(firsts), so_far)
    to_come = [
        min(first + advance * (other < unit) for other, first in enumerate(firsts))
        for unit in places
    ]
    return _reduced(advance, to_come, [math.inf] * len(firsts))


def shifted(windows: UnitWindows, offset: int) -> UnitWindows:
    """Return the windows of a map of which a later unit was made the first one.

    >>> shifted(slid(IMAGE, 3, stride=2), 1)
    UnitWindows(advance=2, firsts=(2,), lasts=(4,))
    """
    if not offset:
        return windows
    advance, firsts, lasts = windows
    period = len(firsts)
    turned = [divmod(unit + offset, period) for unit in range(period)]
    return UnitWindows(
        advance,
        tuple(firsts[phase] + turn * advance for turn, phase in turned),
        tuple(lasts[phase] + turn * advance for turn, phase in turned),
    )


def union(several: Sequence[UnitWindows], units: int | None = None) -> UnitWindows | None:
    """Return what units see that read several maps, unit by unit.

    If the maps have different jumps, they drift apart unit by unit, and no window repeats. Then it
    is known for a map of so many ``units``, outside of which is padding that sees nothing; else
    None.

    >>> union([IMAGE, shifted(IMAGE, 4)])
    UnitWindows(advance=1, firsts=(0,), lasts=(4,))
    >>> faster = slid(IMAGE, 1, stride=2)
    >>> union([IMAGE, faster]), union([IMAGE, faster], units=5).size
    (None, 5)
    """
    first, *others = dict.fromkeys(several)
    if not others:
        return first
    if EVERYTHING in several:
        return EVERYTHING
    if all(len(one.firsts) == 1 and one.advance == first.advance for one in several):
        return UnitWindows(
            first.advance,
            (min(one.firsts[0] for one in several),),
            (max(one.lasts[0] for one in several),),
        )
    period = math.lcm(*(len(one.firsts) for one in several))
    if period > MAX_PERIOD or any(one.jump != first.jump for one in others):
        return _of_so_many(several, units)
    unrolled = [_unrolled(one, period) for one in dict.fromkeys(several)]
    return _reduced(
        int(first.jump * period),
        [min(column) for column in zip(*(firsts for firsts, _ in unrolled), strict=True)],
        [max(column) for column in zip(*(lasts for _, lasts in unrolled), strict=True)],
    )


_PADDING = 64
"""Periods are multiples of it, so that usual strides divide them."""


def _of_so_many(several: Sequence[UnitWindows], units: int | None) -> UnitWindows | None:
    """Return what the units of a map see that read several maps; twice as many repeat."""
    if units is None or 2 * units + _PADDING > MAX_PERIOD:
        return None
    period = -(-2 * units // _PADDING) * _PADDING
    read = [[region_of(one, unit) for one in several] for unit in range(units)]
    nothing = [math.inf] * (period - units)
    return UnitWindows(
        round(max(one.jump for one in several) * period),
        (*(min(first for first, _ in regions) for regions in read), *nothing),
        (*(max(last for _, last in regions) for regions in read), *(-one for one in nothing)),
    )


def _unrolled(windows: UnitWindows, period: int) -> tuple[list[Size], list[Size]]:
    advance, firsts, lasts = windows
    turns = [turn * advance for turn in range(period // len(firsts))]
    return (
        [first + turn for turn in turns for first in firsts],
        [last + turn for turn in turns for last in lasts],
    )


def _reduced(advance: int, firsts: Sequence[Size], lasts: Sequence[Size]) -> UnitWindows:
    """Return the same windows with the shortest period that says all."""
    period = len(firsts)
    for shorter in range(1, period // 2 + 1):
        if period % shorter or (advance * shorter) % period:
            continue
        step = advance * shorter // period
        if all(
            firsts[unit + shorter] == firsts[unit] + step
            and lasts[unit + shorter] == lasts[unit] + step
            for unit in range(period - shorter)
        ):
            return UnitWindows(step, tuple(firsts[:shorter]), tuple(lasts[:shorter]))
    return UnitWindows(advance, tuple(firsts), tuple(lasts))


# --- questions about single units ------------------------------------------------------------


def region_of(windows: UnitWindows, unit: int) -> tuple[Size, Size]:
    """Return the first and the last pixel that a unit sees, not clipped to any image.

    >>> region_of(slid(IMAGE, 3, stride=2, begin=1), 5)
    (9, 11)
    """
    turn, phase = divmod(unit, len(windows.firsts))
    return (
        windows.firsts[phase] + turn * windows.advance,
        windows.lasts[phase] + turn * windows.advance,
    )


def units_that_see(windows: UnitWindows, first: int, last: int) -> tuple[int, int] | None:
    """Return the first and the last unit whose window has at least one pixel of a run in it.

    None if no unit has one. The windows must be finite.

    >>> units_that_see(slid(IMAGE, 3, stride=2, begin=1), 5, 5)
    (2, 3)
    """
    period = len(windows.firsts)
    found: list[int] = []
    for phase, (low, high) in enumerate(zip(windows.firsts, windows.lasts, strict=True)):
        if high < low:
            continue
        earliest = -((int(high) - first) // windows.advance)
        latest = (last - int(low)) // windows.advance
        if earliest <= latest:
            found += [phase + earliest * period, phase + latest * period]
    return (min(found), max(found)) if found else None


# --- the public form, all axes together ------------------------------------------------------


@attrs.frozen(slots=True)
class InputWindow:
    """Where the units of a map look on the input, in pixels; one number per axis, (height, width).

    Unit ``i`` sees the pixels ``start + i*jump`` to ``start + i*jump + size - 1``; nothing is
    clipped, so units near the border look at padding. On up-sampled maps, where units see windows
    of different size, ``size`` is that of the largest one, and ``start`` and ``centre`` are those
    of unit 0; ``EnrichedNetworkNode.input_region`` is exact for every unit.

    Attributes:
        start: first pixel that unit 0 sees; negative in the padding, -inf if it sees everything.
        size: pixels under the window, the extent of all paths together; inf for everything.
        jump: pixels between neighbouring units.
        centre: middle of the window of unit 0; halves of pixels are possible. 0 where units see
            everything or nothing: such a window has no place.

    >>> window_at([slid(IMAGE, 7, stride=2, begin=3)])
    InputWindow(start=(-3,), size=(7,), jump=(2,), centre=(Fraction(0, 1),))
    """

    start: tuple[Size, ...]
    size: tuple[Size, ...]
    jump: tuple[Jump, ...]
    centre: tuple[Fraction, ...]

    @property
    def effective_padding(self) -> tuple[Size, ...]:
        """Pixels by which unit 0 looks over the border of the image: ``-start``."""
        return tuple(-first for first in self.start)


def window_at(windows: Sequence[UnitWindows]) -> InputWindow:
    """Return the window of a map, all axes together."""
    regions = [region_of(one, 0) for one in windows]
    return InputWindow(
        tuple(first for first, _ in regions),
        tuple(one.size for one in windows),
        tuple(one.jump for one in windows),
        tuple(centre_of(first, last) for first, last in regions),
    )


def centre_of(first: Size, last: Size) -> Fraction:
    """Return the middle between two pixels; 0 where there is none."""
    if math.inf in (first, -first, last):
        return Fraction(0)
    return Fraction(int(first) + int(last), 2)
