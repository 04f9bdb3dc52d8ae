"""Maps that are one vector for a while: flattened, changed number by number, and taken apart."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import attrs

from rfa_toolbox.operators.record import Operation, Record, TensorRef

__all__ = ["without_passing_vectors"]

_RESHAPING = {"reshape", "reshape_as", "unflatten", "view", "view_as"}


def without_passing_vectors(record: Record, kept: Collection[str]) -> Record:
    """Return a record in which a vector is a reshaped map where it becomes one again.

    A map that is flattened counts as one vector, as in front of a classifier. Where the vector is
    taken apart before anything mixes it, no unit has seen another one.

    Args:
        record: what a reader returned.
        kept: names of the operators that mix no numbers of a vector.
    """
    flattened = [place for place, one in enumerate(record.operations) if _is_vector(one)]
    if not flattened or not any(map(_makes_a_map, record.operations[flattened[0] :])):
        return record
    readers: dict[int, list[Operation]] = {}
    for one in record.operations:
        for tensor in one.tensors:
            readers.setdefault(tensor.number, []).append(one)
    operations = list(record.operations)
    for place in flattened:
        if _is_taken_apart(operations[place].outputs[0], readers, kept):
            operations[place] = attrs.evolve(operations[place], name="reshape")
    return attrs.evolve(record, operations=tuple(operations))


def _is_vector(operation: Operation) -> bool:
    """Whether an operation makes one vector per image, or one of all of them."""
    tensor = operation.get("input")
    if operation.name != "flatten" or type(tensor) is not TensorRef or len(tensor.shape) < 3:
        return False
    rank = len(tensor.shape)
    last = operation.get("end_dim", -1) % rank == rank - 1
    return last and bool(operation.get("start_dim", 0) % rank < 2)


def _makes_a_map(operation: Operation) -> bool:
    """Whether an operation takes apart what an image has, and not images that lie in the batch."""
    if operation.name not in _RESHAPING:
        return False
    tensor, made = operation.tensors[0], operation.outputs[0]
    return _longer(made.shape) > 1 and math.prod(_of_an_image(tensor.shape)) not in made.shape


def _longer(shape: Sequence[int]) -> int:
    """Return how many dimensions behind that of the images have more than one number."""
    return sum(size > 1 for size in _of_an_image(shape))


def _of_an_image(shape: Sequence[int]) -> Sequence[int]:
    return shape[1:] if len(shape) > 1 else shape


def _is_taken_apart(
    vector: TensorRef, readers: Mapping[int, Sequence[Operation]], kept: Collection[str]
) -> bool:
    """Whether a vector, or a part of it, is reshaped into a map before anything mixes it."""
    waiting, seen = [vector], {vector.number}
    while waiting:
        for reader in readers.get(waiting.pop().number, ()):
            if _makes_a_map(reader):
                return True
            for made in reader.outputs:
                if reader.name in kept and _longer(made.shape) < 2 and made.number not in seen:
                    seen.add(made.number)
                    waiting.append(made)
    return False
