"""What a recurrent layer hands out beside its sequence: the states that it is in at the end."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from rfa_toolbox.operators.record import Operation, Record

__all__ = ["with_states_apart"]

_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}


def with_states_apart(record: Record) -> Record:
    """Return a record in which an operation of its own takes the last states of a sequence.

    They have seen all of it, whereas the units of the sequence see one side of it.
    """
    if record.by_call or not any(one.name in _RECURRENT for one in record.operations):
        return record
    operations = (part for one in record.operations for part in _apart(one))
    return attrs.evolve(record, operations=tuple(operations))


def _apart(operation: Operation) -> Iterator[Operation]:
    if operation.name not in _RECURRENT or len(operation.outputs) < 2:
        yield operation
        return
    sequence, *states = operation.outputs
    yield attrs.evolve(operation, outputs=(sequence,))
    first = 1 if operation.get("batch_first") and len(sequence.shape) == 3 else 0
    read = {"input": sequence, "dim": first}
    yield Operation("select_last", read, tuple(states), operation.scope[:-1])
