"""Stacks of dilated convolutions for a wanted receptive field, the cheapest ones first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from rfa_toolbox.errors import InvalidLayerError

__all__ = ["DilatedStack", "choose_dilations"]


@attrs.frozen(slots=True)
class DilatedStack:
    """A stack of convolutions with stride 1 on one axis.

    Attributes:
        kernel_size: units under the window of every layer.
        dilations: one per layer, from the input on.
        receptive_field: what a unit of the last layer sees, in units of the input, without holes.
        weights: taps of all layers together, on one axis and for one pair of channels.
    """

    kernel_size: int
    dilations: tuple[int, ...]
    receptive_field: int
    weights: int


def choose_dilations(
    receptive_field: int,
    kernel_sizes: Iterable[int] = (2, 3, 5, 7),
    max_layers: int | None = None,
    count: int = 5,
) -> list[DilatedStack]:
    """Return the cheapest stacks of dilated convolutions that see a field of a wanted size.

    Every one of them sees all pixels of its field: a layer is dilated by no more than what a unit
    in front of it sees, so that there are no holes (``EnrichedNetworkNode.coverage``). Fields grow
    by ``(kernel - 1) * dilation``; with ``n`` layers the largest without holes is ``kernel**n``.

    Args:
        receptive_field: at least so many units of the input must be seen.
        kernel_sizes: what to choose from.
        max_layers: leave deeper stacks out.
        count: how many stacks to return at most.

    Returns:
        the stacks with the fewest weights first, among equal ones those with fewer layers.

    Raises:
        InvalidLayerError: a ValueError, if an argument is no positive whole number, or a kernel of
            one unit is among the kernels, which sees no more than its own unit.

    >>> [(stack.kernel_size, stack.dilations) for stack in choose_dilations(27, count=2)]
    [(3, (1, 3, 9)), (2, (1, 2, 4, 8, 11))]
    >>> choose_dilations(10, kernel_sizes=[3], count=1)
    [DilatedStack(kernel_size=3, dilations=(1, 1, 3), receptive_field=11, weights=9)]
    """
    kernels = tuple(kernel_sizes)
    for what, value, least in (
        ("receptive_field", receptive_field, 1),
        ("max_layers", 1 if max_layers is None else max_layers, 1),
        ("count", count, 1),
        *(("A kernel size", kernel, 2) for kernel in kernels),
    ):
        if type(value) is not int or value < least:
            raise InvalidLayerError(
                f"{what} is {value!r}; it must be a whole number of at least {least}."
            )
    stacks = [
        stack for kernel in kernels for stack in _stacks(receptive_field, kernel, max_layers, count)
    ]
    stacks.sort(key=lambda stack: (stack.weights, len(stack.dilations), stack.kernel_size))
    return stacks[:count]


def _stacks(field: int, kernel: int, most: int | None, count: int) -> Iterator[DilatedStack]:
    """Yield stacks of one kernel from the shortest on; longer ones only get dearer."""
    layers = 1
    while kernel**layers < field:
        layers += 1
    for length in range(layers, layers + count):
        if most is not None and length > most:
            return
        dilations = _dilations(field, kernel, length)
        if sum(dilations) > length or length == layers:  # more is no more than plain convolutions
            seen = 1 + (kernel - 1) * sum(dilations)
            yield DilatedStack(kernel, dilations, seen, kernel * length)


def _dilations(field: int, kernel: int, layers: int) -> tuple[int, ...]:
    """Return the smallest dilations of so many layers, none of which leaves a hole.

    From the last layer on each one takes as little as those in front of it leave to be done.
    """
    missing = -(-(field - 1) // (kernel - 1))  # sum of all dilations
    dilations: list[int] = []
    for position in range(layers, 0, -1):
        in_front = (kernel ** (position - 1) - 1) // (kernel - 1)
        dilation = max(1, missing - in_front)
        dilations.append(dilation)
        missing -= dilation
    return tuple(sorted(dilations))
