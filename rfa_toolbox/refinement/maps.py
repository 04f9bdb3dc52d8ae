"""How a layer makes the size of its map: a rule that holds at other sizes, read off one size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.graphs.maps import ceiled
from rfa_toolbox.operators.windows import Window, resampling, windows_of
from rfa_toolbox.refinement.nodes import is_of_keras

__all__ = [
    "MapRule",
    "map_rules",
    "resampled",
    "transposed_by",
    "with_padding",
    "with_windows",
]


@attrs.frozen
class MapRule:
    """How many units a layer makes of the units in front of it, along one axis.

    Attributes:
        kernel: effective, in units of the grid that it slides over.
        stride: steps of the window.
        factor: how much finer that grid is than the map in front.
        begin: units of padding in front.
        end: units of padding behind.
        same: it pads so that there is one unit per stride, as Keras' ``padding="same"``.
        in_code: its padding is a call of its own, of which a graph tells the part in front alone.
        ceil_mode: a window that begins on the map counts, even if it ends behind the padding.
        fixed: it makes this many units of any map.
        offset: what the model makes more than this rule says.
    """

    kernel: int = 1
    stride: int = 1
    factor: int = 1
    begin: int = 0
    end: int = 0
    same: bool = False
    in_code: bool = False
    ceil_mode: bool = False
    fixed: int | None = None
    offset: int = 0

    def units(self, size: int) -> int:
        """Return the size of the map behind the layer; less than 1 if there is no room for it.

        >>> MapRule(kernel=3, stride=2, begin=1, end=1).units(112)
        56
        """
        if self.fixed is not None:
            return self.fixed
        if self.same:
            return -(-size // self.stride) + self.offset
        cells = (size - 1) * self.factor + 1
        room = cells + self.begin + self.end - self.kernel
        if not self.ceil_mode:
            return room // self.stride + 1 + self.offset
        return ceiled(room, self.stride, cells - 1 + self.begin) + self.offset

    def padding(self, size: int) -> tuple[int, int]:
        """Return the padding in front and behind that a map of this size gets.

        With ``ceil_mode``, it is as much as windows reach.

        >>> MapRule(kernel=3, stride=2, ceil_mode=True).padding(16)
        (0, 1)
        """
        if self.ceil_mode:
            reached = (self.units(size) - 1) * self.stride + self.kernel
            return self.begin, reached - self.begin - ((size - 1) * self.factor + 1)
        if not self.same:
            return self.begin, self.end
        total = max(0, (-(-size // self.stride) - 1) * self.stride + self.kernel - size)
        return total // 2, 0 if self.in_code else total - total // 2


def map_rules(
    layer: LayerDefinition, before: Sequence[int], units: Sequence[int]
) -> tuple[MapRule, ...]:
    """Return the rule of a layer per axis, given the sizes of its map and of the one in front.

    >>> pool = LayerDefinition("MaxPool2d", (3,), (2,), padding=((1, 0),))
    >>> map_rules(pool, (112,), (56,))[0].units(113)
    57
    """
    axes = len(before)
    columns = (
        arithmetic.broadcast(value, axes)
        for value in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    paddings = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * axes
    return tuple(
        _rule(layer, *values) for values in zip(*columns, paddings, before, units, strict=True)
    )


def _rule(
    layer: LayerDefinition,
    kernel: Any,
    stride: int,
    dilation: int,
    factor: int,
    padding: Any,
    before: int,
    units: int,
) -> MapRule:
    if layer.resolution_dependent or (kernel == math.inf and "pool" in layer.name.lower()):
        return MapRule(fixed=units)
    if kernel == math.inf or (units == 1 and kernel == 1):
        # What sees everything leaves one unit, or, as attention does, as many as there were. So
        # does the pooling of a gate, which counts as seeing one unit.
        return MapRule(fixed=units) if units != before else MapRule()
    begin, end = padding if isinstance(padding, tuple) else (padding, padding)
    if begin is None or end is None:
        begin = end = 0
    effective = dilation * (int(kernel) - 1) + 1
    same = MapRule(effective, stride, factor, same=True)
    if layer.same_padding:
        return attrs.evolve(same, offset=units - same.units(before))
    if layer.name.endswith("Same") and same.units(before) == units:
        # timm's layers for weights of TensorFlow
        return attrs.evolve(same, in_code=end == 0)
    if is_of_keras(layer) and end > 0 and same.padding(before) == (begin, end):
        return same  # it knows no padding but "same" and "valid"
    open_ended = MapRule(effective, stride, factor, begin, begin, ceil_mode=True)
    if layer.ceil_mode:
        return attrs.evolve(open_ended, offset=units - open_ended.units(before))
    if begin - stride < end < begin:  # what no window reaches was left out
        end = begin
    rule = MapRule(effective, stride, factor, begin, end)
    if rule.units(before) != units == open_ended.units(before):
        return open_ended  # of a graph that does not tell
    return attrs.evolve(rule, offset=units - rule.units(before))


def with_padding(layer: LayerDefinition, paddings: Sequence[tuple[int, int]]) -> LayerDefinition:
    """Return a layer with another padding; one that is not known stays so."""
    if layer.padding is None or layer.padding == tuple(paddings):
        return layer
    return attrs.evolve(layer, padding=tuple(paddings))


def resampled(
    layer: LayerDefinition, before: Sequence[int], units: Sequence[int]
) -> LayerDefinition:
    """Return adaptive pooling for another size of the map in front of it.

    >>> pool = LayerDefinition("AdaptiveAvgPool2d", (1,), resolution_dependent=True)
    >>> resampled(pool, (14,), (7,)).kernel_size
    (2,)
    """
    windows = [
        Window() if size == wanted else resampling(size, wanted)
        for size, wanted in zip(before, units, strict=True)
    ]
    return with_windows(layer, windows)


def transposed_by(layer: LayerDefinition, factors: Sequence[int]) -> LayerDefinition:
    """Return a transposed convolution with other strides, one per axis.

    Where the kernel is the stride, so that units become patches, it stays so. Elsewhere the kernel
    and its padding stay, and what is added behind the map is less than the stride.

    >>> up = LayerDefinition("ConvTranspose2d", (2,), upsampling=(2,), padding=((1, 1),))
    >>> transposed_by(up, [1]).kernel_size
    (1,)
    """
    return with_windows(
        layer,
        [
            _transposed(window, factor, is_of_keras(layer))
            for window, factor in zip(windows_of(layer, len(factors)), factors, strict=True)
        ],
    )


def _transposed(old: Window, factor: int, of_keras: bool) -> Window:
    begin, end, reach = old.begin or 0, old.end or 0, int(old.reach)
    whole = begin + end - reach == old.upsampling - 1  # every unit becomes as many as the stride
    padding, more = reach - begin, end - begin
    kernel = factor if whole and padding == 0 and old.kernel == old.upsampling else old.kernel
    reach = old.dilation * (int(kernel) - 1)
    if of_keras and whole:
        padding = max(reach + 1 - factor, 0) // 2
        end = factor - 1 + padding
    else:
        end = reach - padding + min(more, max(factor, old.dilation) - 1)
    return old._replace(kernel=kernel, upsampling=factor, begin=reach - padding, end=end)


def with_windows(layer: LayerDefinition, windows: Sequence[Window]) -> LayerDefinition:
    """Return a layer that resamples, with other windows along its axes; none of them is dilated.

    >>> with_windows(LayerDefinition("Upsample", 1), [Window(2, upsampling=2, begin=1)]).upsampling
    (2,)
    """
    return attrs.evolve(
        layer,
        kernel_size=tuple(one.kernel for one in windows),
        stride_size=tuple(one.stride for one in windows),
        upsampling=tuple(one.upsampling for one in windows),
        padding=tuple((int(one.begin or 0), one.end) for one in windows),
    )
