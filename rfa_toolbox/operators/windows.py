"""What a layer does along one axis of the image, and formulas for it; no framework in sight.

Sources of the geometry: the definitions of the operators in the documentation of PyTorch and of
Keras. The window of one unit follows from the formula of what it reads.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from rfa_toolbox import arithmetic
from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Layout

__all__ = [
    "NEUTRAL",
    "SOMEWHERE",
    "Products",
    "Window",
    "grown",
    "in_blocks",
    "interpolation",
    "mixed_windows",
    "resampling",
    "windows_of",
    "with_statistics",
]


class Window(NamedTuple):
    """What a layer does along one axis, in the terms of a ``LayerDefinition``.

    ``begin`` and ``end`` are None where the padding depends on a size that is not known. ``scan``
    is the side that an infinite kernel looks to, None where it looks to both.
    """

    kernel: int | float = 1
    stride: int = 1
    dilation: int = 1
    begin: int | None = 0
    end: int | None = 0
    upsampling: int = 1
    scan: str | None = None

    @property
    def reach(self) -> int | float:
        """Units of the (up-sampled) grid between the first and the last one under the window."""
        return self.dilation * (self.kernel - 1)


NEUTRAL = Window()
SOMEWHERE = NEUTRAL._replace(begin=None, end=None)
"""Every unit sees one unit, but it is not followed which."""


_SUPPORT = {
    "bilinear": 1, "linear": 1, "trilinear": 1,
    "bicubic": 2, "cubic": 2, "mitchellcubic": 2, "gaussian": 2,
    "lanczos3": 3, "lanczos5": 5,
}  # fmt: skip


def interpolation(
    method: str, ratio: Fraction, antialias: bool = False, aligned: bool = False
) -> Window:
    """Return the window of an interpolation that reads ``ratio`` units per unit it writes.

    Units of the input are ``ratio.denominator`` cells of a fine grid apart; an interpolation with
    support ``t`` weighs those less than ``t`` units from the centre of the unit that it writes.
    ``aligned`` lays the centres of the corner units on each other, else the corners themselves.
    Without a support the unit i reads floor(i*ratio), or floor((i + 1/2)*ratio) if it is exact.

    >>> interpolation("nearest", Fraction(1, 2)).kernel, interpolation("bilinear", Fraction(1, 2))
    (2, Window(kernel=4, stride=1, dilation=1, begin=2, end=2, upsampling=2, scan=None))
    """
    stride, factor = ratio.numerator, ratio.denominator
    support = _SUPPORT.get(method)
    if support is None:
        begin = factor - 1 - (stride // 2 if method == "nearest-exact" else 0)
        return Window(factor, stride, begin=begin, end=factor - 1, upsampling=factor)
    if ratio == 1 and support == 1:  # the unit itself has all the weight
        return NEUTRAL
    half = support * (max(stride, factor) if antialias else factor)
    kernel = 2 * half  # also where the last unit that is read has the weight 0
    begin = half - 1 - (0 if aligned else (stride - factor) // 2)
    end: int | None = kernel - 1 + factor - 1 - begin if stride == 1 else None
    return Window(kernel, stride, begin=begin, end=end, upsampling=factor)


def resampling(size: int, wanted: int) -> Window:
    """Return the window of adaptive pooling from ``size`` units to ``wanted`` ones.

    Unit i reads from floor(i*size/wanted) to ceil((i+1)*size/wanted): a box of ``size`` cells on a
    grid where every unit is repeated ``wanted`` times.

    >>> resampling(8, 2).kernel
    4
    """
    ratio = Fraction(size, wanted)
    stride, factor = ratio.numerator, ratio.denominator
    return Window(stride + factor - 1, stride, begin=factor - 1, end=factor - 1, upsampling=factor)


def mixed_windows(
    layout: Layout, dimensions: Iterable[int], extents: Sequence[int]
) -> dict[int, Window]:
    """Return the windows of a layer that mixes whole dimensions of a tensor; see ``mixing``.

    >>> mixed_windows(layouts.image((1, 3, 8), (2,)), [2], [8])[0].kernel
    inf
    """
    found = layouts.mixing(layout, dimensions, extents)
    return {axis: Window(mixed.kernel, 1, mixed.dilation) for axis, mixed in found.items()}


def with_statistics(windows: Sequence[Window], statistics: Mapping[int, Window]) -> list[Window]:
    """Return the windows of a layer that also sees what it takes statistics from, by axis.

    >>> with_statistics([NEUTRAL, NEUTRAL], {1: Window(math.inf)})[1].kernel
    inf
    """
    seen = list(windows)
    for axis, window in statistics.items():
        seen[axis] = seen[axis]._replace(kernel=window.kernel, dilation=window.dilation)
    return seen


def in_blocks(windows: Mapping[int, Window]) -> bool:
    """Return whether an attention mixes windows of a map: each of them sees nothing but itself.

    >>> in_blocks({0: Window(7)}), in_blocks({0: Window(math.inf)})
    (True, False)
    """
    return any(1 < window.kernel < math.inf for window in windows.values())


class Products(NamedTuple):
    """Multiply-accumulates of one operation.

    ``held`` are those with numbers that a model holds, ``mutual`` those of two tensors that both
    depend on the input.
    """

    held: int = 0
    mutual: int = 0


def grown(
    products: Products,
    layout: Layout,
    windows: Sequence[Window],
    paired: Collection[int] = (),
) -> list[tuple[tuple[int, ...], int]]:
    """Return the products of an operation with the exponents of their growth, one per axis.

    Products with numbers of the model grow with the axes that the result has. Those of positions
    with each other grow once for every time that the result runs over an axis, as scores do that
    all positions have for all others, and once more where they are summed over all of it; not along
    axes ``paired``, where every unit sees two places, however far apart.

    >>> tokens = ((), (layouts.Atom(0, 8),), layouts.plain(3))
    >>> grown(Products(24, 100), tokens, [Window(math.inf)])
    [((1,), 24), ((2,), 100)]
    """
    found = []
    if products.held:
        carried = layouts.spatial_axes(layout)
        found.append((tuple(int(axis in carried) for axis in range(len(windows))), products.held))
    if products.mutual:
        times = tuple(
            layouts.times_over(layout, axis) + (window.kernel == math.inf and axis not in paired)
            for axis, window in enumerate(windows)
        )
        found.append((times, products.mutual))
    return found


def windows_of(layer: LayerDefinition, axes: int) -> tuple[Window, ...]:
    """Return what a layer does along every axis.

    >>> windows_of(LayerDefinition("blur", 3, 2, padding=1), 2)[1]
    Window(kernel=3, stride=2, dilation=1, begin=1, end=1, upsampling=1, scan=None)
    """
    kernels, strides, dilations, upsamplings = (
        arithmetic.broadcast(one, axes)
        for one in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    padding = layer.padding
    sides = padding if isinstance(padding, tuple) else ((padding, padding),) * axes
    scans = arithmetic.broadcast(layer.scan, axes)
    windows = []
    for axis in range(axes):
        begin, end = sides[axis] or (None, None)
        stride = 1 if kernels[axis] == math.inf else int(strides[axis])
        windows.append(
            Window(
                kernels[axis],
                stride,
                int(dilations[axis]),
                begin,
                end,
                int(upsamplings[axis]),
                scans[axis],
            )
        )
    return tuple(windows)
