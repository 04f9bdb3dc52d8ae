"""Where the positions of a feature map are in a tensor: planes, maps, or lists of tokens.

Nothing here knows a framework; shapes are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import attrs

from rfa_toolbox.errors import MeasurementError

__all__ = ["FeatureMap", "find_map", "tokens_of"]

MOST_EXTRA_TOKENS = 16
"""Class, distillation and register tokens that may stand in front of those of the image."""


@attrs.frozen
class FeatureMap:
    """The positions of one output.

    Attributes:
        size: positions per spatial axis of the image.
        axes: dimensions of the tensor that count the positions; a list of tokens has one.
        extra: tokens in front that stand for no position.
    """

    size: tuple[int, ...]
    axes: tuple[int, ...]
    extra: int = 0

    @property
    def middle(self) -> tuple[int, ...]:
        """The position in the middle; of an even number of positions the later one.

        >>> FeatureMap((7, 8), (2, 3)).middle
        (3, 4)
        """
        return tuple(size // 2 for size in self.size)

    def check(self, position: object, layer: str) -> tuple[int, ...]:
        """Return a position that is on the map.

        Raises:
            MeasurementError: if it is not.
        """
        given = tuple(position) if isinstance(position, Iterable) else ()
        if len(given) == len(self.size) and all(
            hasattr(one, "__index__") and not isinstance(one, bool) and 0 <= one < size
            for one, size in zip(given, self.size, strict=True)
        ):
            return tuple(int(one) for one in given)
        last = tuple(size - 1 for size in self.size)
        raise MeasurementError(
            f"position is {position!r}; the map of {layer!r} has the size {self.size!r}, so "
            f"positions reach from {(0,) * len(last)!r} to {last!r}."
        )

    def index(self, position: Sequence[int], dimensions: int) -> tuple[int | slice, ...]:
        """Return the index of all channels at a position, in a tensor without the batch.

        >>> FeatureMap((14, 14), (1,), extra=1).index((7, 7), 3)
        (106, slice(None, None, None))
        """
        index: list[int | slice] = [slice(None)] * (dimensions - 1)
        if len(self.axes) == len(self.size):
            for axis, one in zip(self.axes, position, strict=True):
                index[axis - 1] = one
        token = self.token(position)
        if token is not None:
            index[self.axes[0] - 1] = token
        return tuple(index)

    def token(self, position: Sequence[int]) -> int | None:
        """Return the place of a position in a list of tokens; None where it is a map.

        >>> FeatureMap((14, 14), (1,), extra=1).token((0, 3))
        4
        """
        if len(self.axes) == len(self.size) and not self.extra:
            return None
        token = 0
        for one, size in zip(position, self.size, strict=True):
            token = token * size + one
        return self.extra + token


def find_map(
    shape: Sequence[int],
    input_size: Sequence[int],
    *,
    channels_last: bool = False,
    extra_tokens: int | None = None,
    known: Iterable[Sequence[int]] = (),
) -> FeatureMap | None:
    """Return which part of a tensor is a map of the image, or None if no part looks like one.

    Where the shape alone does not tell channels from positions, the proportions of the image do:
    a map of a square image is square. A list of tokens is that of a map before it, if one fits.

    Args:
        shape: of the tensor, for a batch of one. Where it holds more, as the windows of a Swin
            transformer do, positions are not where they are in the image.
        input_size: of the image, in pixels, one number per axis.
        channels_last: what to believe where both readings fit.
        extra_tokens: number of class and register tokens in front, if there are any; None looks for
            it.
        known: sizes of maps before this one, the next one first.

    >>> find_map((1, 64, 56, 56), (224, 224))
    FeatureMap(size=(56, 56), axes=(2, 3), extra=0)
    >>> find_map((1, 7, 7, 768), (224, 224))  # channels last, as in Swin transformers
    FeatureMap(size=(7, 7), axes=(1, 2), extra=0)
    >>> find_map((1, 197, 192), (224, 224))  # tokens of a vision transformer
    FeatureMap(size=(14, 14), axes=(1,), extra=1)
    >>> find_map((1, 1000), (224, 224)) is None
    True
    """
    if shape[:1] != (1,) or 0 in shape:
        return None
    count = len(input_size)
    if len(shape) == count + 2:
        first = tuple(range(2, count + 2))
        last = tuple(range(1, count + 1))
        candidates = [last, first] if channels_last else [first, last]
        axes = min(
            candidates, key=lambda one: _distortion([shape[axis] for axis in one], input_size)
        )
        return FeatureMap(tuple(int(shape[axis]) for axis in axes), axes)
    if len(shape) == 3 and count >= 2:
        hints = None if extra_tokens is None else (extra_tokens, 0)
        listed = tokens_of(int(shape[1]), known, hints)
        if listed is not None:
            return listed
        for extra in range(MOST_EXTRA_TOKENS + 1) if hints is None else hints:
            size = _grid_of(int(shape[1]) - extra, input_size)
            if size is not None:
                return FeatureMap(size, (1,), extra)
    return None


def tokens_of(
    count: int, known: Iterable[Sequence[int]], extra_tokens: Iterable[int] | None = None
) -> FeatureMap | None:
    """Return which of some maps, the next one first, a number of tokens is a list of.

    >>> tokens_of(5, [(4, 1), (2, 2)])
    FeatureMap(size=(4, 1), axes=(1,), extra=1)
    """
    allowed = range(MOST_EXTRA_TOKENS + 1) if extra_tokens is None else tuple(extra_tokens)
    found = [(count - math.prod(size), tuple(size)) for size in known]
    fitting = [(extra, size) for extra, size in found if extra in allowed and extra < count - 1]
    if not fitting:
        return None
    extra, size = min(fitting, key=lambda one: one[0])
    return FeatureMap(size, (1,), extra)


def _distortion(size: Sequence[int], input_size: Sequence[int]) -> float:
    """Return how much the proportions of a map differ from those of the image."""
    scales = [math.log(one / whole) for one, whole in zip(size, input_size, strict=True)]
    return round(max(scales) - min(scales), 1)  # unpadded layers change proportions a little


def _grid_of(tokens: int, input_size: Sequence[int]) -> tuple[int, ...] | None:
    """Return the grid with the proportions of the image that a number of tokens fills."""
    if tokens < 1:
        return None
    patch = (math.prod(input_size) / tokens) ** (1 / len(input_size))
    size = tuple(max(1, round(one / patch)) for one in input_size)
    return size if math.prod(size) == tokens else None
