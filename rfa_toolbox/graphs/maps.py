"""How large feature maps are: from kernel, stride and padding, exact to the unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import Size
from rfa_toolbox.graphs.layers import LayerDefinition

__all__ = ["Map", "MapStep", "map_behind", "map_steps", "smallest_read", "units_behind"]

Map: TypeAlias = "tuple[int, tuple[int, ...]]"
"""Units of a feature map on one axis: at the encoded resolution, and at those in question."""


class MapStep(NamedTuple):
    """How a layer changes the size of a feature map on one axis.

    ``reach`` is the length of the window without the padding. ``ceil_begin`` is None, or the
    padding in front where windows count that end behind the padding.
    """

    kernel: Size
    stride: int
    factor: int
    reach: int
    ceil_begin: int | None = None

    def units(self, size: int) -> int:
        """Return how many units it makes of a map, but for what the model crops otherwise.

        >>> MapStep(3, 2, 1, reach=2).units(224), MapStep(3, 2, 1, reach=2, ceil_begin=0).units(224)
        (111, 112)
        """
        cells = (size - 1) * self.factor
        if self.ceil_begin is None:
            return (cells - self.reach) // self.stride + 1
        return ceiled(cells - self.reach, self.stride, cells + self.ceil_begin)


def ceiled(room: int, stride: int, last: int) -> int:
    """Return how many windows count if those do that end behind the padding.

    Source: the formula of ``torch.nn.MaxPool2d`` for its output with ``ceil_mode``.

    Args:
        room: how far a window can be moved without ending behind the padding; negative if it
            does so at once.
        stride: steps of the window.
        last: the last place at which a window may begin: the last unit of the map.

    >>> ceiled(2, 2, 4), ceiled(3, 2, 5), ceiled(3, 4, 3)
    (2, 3, 1)
    """
    steps = -(-room // stride)
    return steps + 1 if steps * stride <= last else steps


def map_steps(layer: LayerDefinition, axes: int) -> tuple[MapStep, ...]:
    """Return how a layer changes the size of a feature map, per axis.

    >>> map_steps(LayerDefinition("Conv", 7, 2, padding=3), axes=1)
    (MapStep(kernel=7, stride=2, factor=1, reach=0, ceil_begin=None),)
    """
    kernels, strides, dilations, factors = (
        arithmetic.broadcast(value, axes)
        for value in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    paddings = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * axes
    steps: list[MapStep] = []
    for kernel, stride, dilation, factor, padding in zip(
        kernels, strides, dilations, factors, paddings, strict=True
    ):
        reach = 0 if kernel == math.inf else dilation * (int(kernel) - 1)
        begin = padding[0] if isinstance(padding, tuple) else padding
        ceil_begin = begin if layer.ceil_mode else None
        if layer.same_padding:
            padded = reach  # ceil(size/stride) units, at any size
        else:
            padded = _padded(padding, reach, stride) if ceil_begin is None else 2 * ceil_begin
        steps.append(MapStep(kernel, stride, factor, reach - padded, ceil_begin))
    return tuple(steps)


def _padded(padding: Any, reach: int, stride: int) -> int:
    """Return how many units a padding adds in all, at any size of the map.

    What is known of it is right at the encoded size. Behind a stride, the end lacks rows that are
    left over there, or has more to take them in; where it depends on the size it keeps the size.
    """
    begin, end = padding if isinstance(padding, tuple) else (padding, padding)
    if begin is None or end is None:
        return reach
    if begin - stride < end < begin:
        end = begin
    elif begin < end < begin + stride:
        end = begin + stride - 1
    return int(begin + end)


def units_behind(
    step: MapStep, flags: tuple[bool, bool], units: int | None, before: tuple[Map, ...]
) -> Map:
    """Return the feature map of a layer on one axis.

    What the formula misses at the encoded resolution (cropping) it is taken to miss at the other
    ones as well.
    """
    resolution_dependent, blockwise = flags
    most = max(then for then, _ in before)
    if units is None:
        units = most
    chosen = next((nows for then, nows in before if then == units), None)
    then = most if chosen is None else units
    if chosen is None:
        chosen = tuple(map(max, zip(*(nows for size, nows in before if size == most), strict=True)))
    kernel = step.kernel
    if resolution_dependent or (kernel == math.inf and units != then):
        return units, (units,) * len(chosen)  # it has this size at any resolution
    if kernel == math.inf:
        return units, chosen
    if blockwise:
        return units, tuple(_units_of_blocks(int(kernel), units, then, now) for now in chosen)
    more = units - step.units(then)
    return units, tuple(step.units(now) + more for now in chosen)


def _units_of_blocks(block: int, units: int, then: int, now: int) -> int:
    """Return the units behind a layer that may pad its map to whole blocks."""
    padded_then, padded_now = (-(-size // block) * block for size in (then, now))
    return padded_now if units == padded_then else now + units - then


def smallest_read(
    several: Sequence[tuple[int, ...]], offsets: Sequence[Any], axes: int
) -> tuple[int, ...]:
    """Return for how many units there is something to read in all of several maps, per axis.

    >>> smallest_read([(9,)], offsets=[[(0,), (2,)]], axes=1)  # x[2:] + x[:-2]
    (7,)
    """
    reads = offsets or [((0,) * axes,)] * len(several)
    return tuple(
        min(
            sizes[axis] - (read[axis] or 0)
            for sizes, places in zip(several, reads, strict=True)
            for read in places
        )
        for axis in range(axes)
    )


def map_behind(layer: LayerDefinition, sizes: Sequence[int]) -> tuple[int | None, ...]:
    """Return the feature map of a layer from its numbers alone, given that in front of it.

    Where positions are mixed, a scan leaves as many as there were, and other layers one. None where
    the padding is not known.

    >>> map_behind(LayerDefinition("Conv", 3, 2, padding=1), [9])
    (5,)
    """
    axes = len(sizes)
    paddings = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * axes
    result: list[int | None] = []
    for axis, size in enumerate(sizes):
        slide = layer.slides[axis if len(layer.slides) > 1 else 0]
        padding = paddings[axis]
        begin, end = padding if isinstance(padding, tuple) else (padding, padding)
        if slide.kernel == math.inf:
            result.append(size if slide.scan else 1)
            continue
        if layer.padding is None:
            begin = end = slide.begin
        if layer.blockwise:
            result.append(size)
        elif layer.same_padding or (layer.ceil_mode and begin is not None):
            result.append(map_steps(layer, axes)[axis].units(size))
        elif begin is None or end is None:
            result.append(None)
        elif "pool" in layer.name.lower():  # whose end is what windows reached at one size
            result.append(map_steps(layer, axes)[axis].units(size))
        else:
            reach = slide.dilation * (int(slide.kernel) - 1) - begin - end
            result.append(((size - 1) * slide.upsampling - reach) // slide.stride + 1)
    return tuple(result)
