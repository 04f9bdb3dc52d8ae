"""What becomes of weights when a layer changes."""

from __future__ import annotations

import attrs

from rfa_toolbox.graphs import LayerDefinition

__all__ = ["Weights", "summed_patch"]


@attrs.define
class Weights:
    """Which layers of a refined model do not have the weights that the original has.

    Attributes:
        initialised: names of layers with new weights, drawn at random.
        summed: names of layers that read patches, whose weights were added up.
    """

    initialised: list[str] = attrs.field(factory=list)
    summed: list[str] = attrs.field(factory=list)


def summed_patch(before: LayerDefinition, after: LayerDefinition) -> tuple[int, ...] | None:
    """Return by which factor per axis patches shrink, or None for anything but patches.

    A patch of 4x4 pixels of an image in which every pixel stands for 2x2 has 2x2 values. The sums
    of the weights over those 2x2 compute the same of them: the layer on the image equals the
    original on the image that was made twice as large by repeating pixels.

    >>> before = LayerDefinition("Conv", (4, 4), (4, 4))
    >>> summed_patch(before, LayerDefinition("Conv", (2, 2), (2, 2)))
    (2, 2)
    """
    kernels, strides = before.kernel_size, before.stride_size
    if kernels != strides or after.kernel_size != after.stride_size:
        return None
    if not isinstance(kernels, tuple) or any(
        old % new for old, new in zip(kernels, after.kernel_size, strict=True)
    ):
        return None
    if before.dilation != after.dilation or any(
        side not in {None, (0, 0)} for layer in (before, after) for side in layer.padding or ()
    ):
        return None
    return tuple(old // new for old, new in zip(kernels, after.kernel_size, strict=True))
