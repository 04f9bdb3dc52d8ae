"""A user's own word in the record: what only they know becomes the operation "described".

What nothing knows can only be followed by what its user says of it: by a rule for the operation, or
by a handler that describes the module call in which it ran. Both put the one operation "described"
in its place, with the windows of the user and the shapes that were seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators.chain import HandlerChain, UserRule, warn_of_unused
from rfa_toolbox.operators.record import ModuleCall, Operation, Record, tensors_in
from rfa_toolbox.operators.rules import RULES
from rfa_toolbox.operators.told import told_by

__all__ = ["DESCRIBED", "with_descriptions", "with_rules"]

DESCRIBED = "described"
"""The name of an operation that a user described."""


def with_rules(record: Record, chain: HandlerChain[Any]) -> Record:
    """Return a record in which operations that a user has a rule for are described by it."""
    names = {one.name for one in record.operations}
    told: dict[str, UserRule | None] = {name: chain.rule_of(name) for name in names}
    warn_of_unused(chain, names, record.model_name)
    if not any(told.values()):
        return record
    operations = []
    for operation in record.operations:
        rule = told[operation.name]
        if rule is not None:
            read = operation.tensors
            plain = {
                name: value
                for name, value in operation.arguments.items()
                if not any(tensors_in((value,)))
            }
            said = told_by(rule, operation.name, [one.shape for one in read], plain)
            operation = attrs.evolve(  # noqa: PLW2901 - what is said of it takes its place
                operation,
                name=DESCRIBED,
                arguments={"inputs": read, **said._asdict(), "name": operation.name},
            )
        operations.append(operation)
    return attrs.evolve(record, operations=tuple(operations))


def with_descriptions(
    record: Record,
    describe: Callable[[Operation], tuple[ModuleCall | None, LayerDefinition] | None],
) -> Record:
    """Return a record in which calls that hold unknown operations are described by their handler.

    Args:
        record: what a reader returned.
        describe: gets an operation that nothing knows; returns the call that a handler describes,
            None if it is the operation alone, and the layer; None if there is no such handler.
    """
    known = {*RULES, DESCRIBED}
    found: dict[ModuleCall, LayerDefinition] = {}
    operations: dict[int, Operation] = dict(enumerate(record.operations))
    for place, operation in enumerate(record.operations):
        if operation.name in known or not found.keys().isdisjoint(operation.scope):
            continue
        told = describe(operation)
        if told is None:
            continue
        call, layer = told
        if call is None:
            operations[place] = _together(record, [place], operation.scope, layer, operation.name)
        else:
            found[call] = layer
    for call, layer in found.items():
        places = [place for place, one in enumerate(record.operations) if call in one.scope]
        for place in places[:-1]:
            del operations[place]
        scope = record.operations[places[-1]].scope
        scope = scope[: scope.index(call) + 1]
        operations[places[-1]] = _together(record, places, scope, layer, DESCRIBED)
    return attrs.evolve(record, operations=tuple(operations.values()))


def _together(
    record: Record,
    places: Sequence[int],
    scope: tuple[ModuleCall, ...],
    layer: LayerDefinition,
    name: str,
) -> Operation:
    """Return one operation with what several of them read from others, and others from them."""
    several = [record.operations[place] for place in places]
    made = {tensor.number: tensor for one in several for tensor in one.outputs}
    read = {
        tensor.number: tensor
        for one in several
        for tensor in one.tensors
        if tensor.number not in made
    }
    gone = set(places)
    others = [one for place, one in enumerate(record.operations) if place not in gone]
    outside = {tensor.number for one in others for tensor in one.tensors}
    outside.update(tensor.number for tensor in record.outputs)
    results = [tensor for tensor in made.values() if tensor.number in outside]
    return Operation(
        DESCRIBED,
        {"inputs": tuple(read.values()), "layer": layer, "name": name},
        tuple(results or several[-1].outputs),
        scope,
        tuple(dict.fromkeys(name for one in several for name in one.parameters)),
    )
