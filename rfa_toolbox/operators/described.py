"""A user's own word in the record: module calls that a handler describes become one operation.

What nothing knows can only be followed by what its user says of it. Where a module call holds such
an operation, and a handler describes calls of its class, the record has in place of its operations
the one operation "described", with the windows of the handler and the shapes that were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators.record import ModuleCall, Operation, Record, TensorRef, tensors_in
from rfa_toolbox.operators.rules import RULES

__all__ = ["DESCRIBED", "described_operation", "with_descriptions"]

DESCRIBED = "described"
"""The name of an operation that a user described."""


def with_descriptions(
    record: Record,
    classes: Iterable[str],
    describe: Callable[[ModuleCall], LayerDefinition],
) -> Record:
    """Return a record in which calls that hold unknown operations are described by their handler.

    Args:
        record: what a reader returned.
        classes: names of the module classes that handlers describe.
        describe: returns the layer that a handler makes of a call.
    """
    wanted = frozenset(classes)
    inside: dict[ModuleCall, list[int]] = {}
    for place, operation in enumerate(record.operations):
        call = next((one for one in operation.scope if one.class_name in wanted), None)
        if call is not None:
            inside.setdefault(call, []).append(place)
    operations: dict[int, Operation] = dict(enumerate(record.operations))
    for call, places in inside.items():
        several = [record.operations[place] for place in places]
        if any(operation.name not in RULES for operation in several):
            for place in places[:-1]:
                del operations[place]
            operations[places[-1]] = _together(record, places, call, describe(call))
    return attrs.evolve(record, operations=tuple(operations.values()))


def _together(
    record: Record, places: Sequence[int], call: ModuleCall, layer: LayerDefinition
) -> Operation:
    """Return one operation with what several of them read from others, and others from them."""
    several = [record.operations[place] for place in places]
    made = {tensor.number: tensor for one in several for tensor in one.outputs}
    read = {
        tensor.number: tensor
        for one in several
        for tensor in tensors_in(one.arguments)
        if tensor.number not in made
    }
    gone = set(places)
    others = [one for place, one in enumerate(record.operations) if place not in gone]
    outside = {tensor.number for one in others for tensor in tensors_in(one.arguments)}
    outside.update(tensor.number for tensor in record.outputs)
    results = [tensor for tensor in made.values() if tensor.number in outside]
    return described_operation(
        tuple(read.values()),
        tuple(results or several[-1].outputs),
        several[-1].scope[: several[-1].scope.index(call) + 1],
        layer,
        tuple(dict.fromkeys(name for one in several for name in one.parameters)),
    )


def described_operation(
    inputs: tuple[TensorRef, ...],
    outputs: tuple[TensorRef, ...],
    scope: tuple[ModuleCall, ...],
    layer: LayerDefinition,
    parameters: tuple[str, ...] = (),
) -> Operation:
    """Return an operation that does to positions what a layer says."""
    arguments: Mapping[str, Any] = {"inputs": inputs, "layer": layer}
    return Operation(DESCRIBED, arguments, outputs, scope, parameters)
