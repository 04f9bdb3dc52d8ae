"""Inputs of a model that are images of different ranks, such as a picture beside a video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from rfa_toolbox.operators.record import Record, TensorRef

__all__ = ["Places", "apart", "by_themselves", "main_input", "with_sizes"]

Places: TypeAlias = "Sequence[int | None]"
"""The dimension of a tensor that holds each spatial axis; None for an axis that it lacks."""


def by_themselves(record: Record, find: Callable[[Record], list[Places]]) -> list[Places]:
    """Return per input its spatial dimensions, of inputs that never meet by each of them alone.

    Args:
        record: the model.
        find: returns per input its spatial dimensions; none where it is no image like another one.
    """
    found = find(record)
    ranks = [len(tensor.shape) for tensor in record.inputs]
    if len({rank for rank in ranks if rank > 2}) < 2:
        return found
    for group in apart(record):
        if not any(found[place] for place in group) and any(ranks[place] > 2 for place in group):
            alone = attrs.evolve(
                record, inputs=tuple(record.inputs[place] for place in group), input_scopes=()
            )
            for place, own in zip(group, find(alone), strict=True):
                found[place] = own
    axes = max(map(len, found))
    return [(None,) * (axes - len(own)) + tuple(own) if own else () for own in found]


def main_input(spatial: Sequence[Places]) -> tuple[int, tuple[int, ...]]:
    """Return the first input with positions along all axes, and its spatial dimensions.

    >>> main_input([(), (None, 1, 2), (1, 2, 3)])
    (2, (1, 2, 3))
    """
    axes = max(map(len, spatial), default=0)
    for place, own in enumerate(spatial):
        there = tuple(one for one in own if one is not None)
        if len(there) == axes:
            return place, there
    return 0, ()


def with_sizes(shape: Sequence[int], places: Places, sizes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of an input whose image has these sizes, along the axes that it has.

    >>> with_sizes((1, 64, 64, 3), (None, 1, 2), (8, 32, 16))
    (1, 32, 16, 3)
    """
    given = {place: size for place, size in zip(places, sizes, strict=False) if place is not None}
    return tuple(given.get(place, size) for place, size in enumerate(shape))


def apart(record: Record) -> list[list[int]]:
    """Return the places of inputs in groups that meet as long as one of them has positions.

    What is a vector by then, as behind a global pooling, belongs to a head that they share.
    """
    origins = {tensor.number: {place} for place, tensor in enumerate(record.inputs)}
    groups = [{place} for place in range(len(record.inputs))]
    for operation in record.operations:
        read = [one for one in operation.tensors if one.number in origins]
        met = set[int]().union(*(origins[one.number] for one in read))
        if len(met) > 1 and any(map(_is_map, (*read, *operation.outputs))):
            joined = set[int]().union(*(group for group in groups if group & met))
            groups = [group for group in groups if not group & met] + [joined]
        if met:
            origins.update((one.number, met) for one in operation.outputs)
    return sorted(map(sorted, groups))


def _is_map(tensor: TensorRef) -> bool:
    return sum(size > 1 for size in tensor.shape[1:]) > 1
