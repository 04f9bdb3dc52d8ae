"""A user's own word in the record: what only they know becomes the operation "described".

What nothing knows can only be followed by what its user says of it: by a rule for the operation, or
by a handler that describes the module call in which it ran. Both put the one operation "described"
in its place, with the windows of the user and the shapes that were seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.errors import InvalidLayerError
from rfa_toolbox.graphs import LayerDefinition
from rfa_toolbox.operators.chain import HandlerChain, UserRule
from rfa_toolbox.operators.effects import Effect
from rfa_toolbox.operators.record import ModuleCall, Operation, Record, tensors_in
from rfa_toolbox.operators.rules import RULES

__all__ = ["DESCRIBED", "Told", "shape_behind", "told_by", "with_descriptions", "with_rules"]

DESCRIBED = "described"
"""The name of an operation that a user described."""


class Told(NamedTuple):
    """What a user says of an operation: a layer, and an effect where they gave one."""

    layer: LayerDefinition
    effect: Effect | None = None


def told_by(
    rule: UserRule, name: str, shapes: Sequence[tuple[int, ...]], arguments: Mapping[str, Any]
) -> Told:
    """Return what the rule of a user says of an operation.

    Raises:
        InvalidLayerError: if it returns nothing that describes a layer.

    >>> told_by(lambda shapes, arguments: {"kernel_size": 3}, "acme::blur", [], {}).layer.name
    'blur'
    """
    answer = rule(shapes, arguments)
    label = name.replace(">", "::").rpartition("::")[2]
    if isinstance(answer, LayerDefinition):
        return Told(answer)
    if isinstance(answer, Effect):
        axes = range(max(answer.windows, default=-1) + 1)
        windows = [answer.windows.get(axis) for axis in axes]
        strides = tuple(1 if one is None else one.stride for one in windows) or 1
        factors = tuple(1 if one is None else one.upsampling for one in windows) or 1
        return Told(LayerDefinition(label, 1, strides, upsampling=factors), answer)
    if isinstance(answer, Mapping):
        try:
            return Told(LayerDefinition(**{"name": label, **_NEUTRAL, **answer}))
        except TypeError:
            pass  # a name that no layer has
    raise InvalidLayerError(
        f"The rule for {name!r} returned {answer!r}; it must return a LayerDefinition, an Effect, "
        "or a mapping with kernel_size, stride_size, dilation, padding or upsampling, such as "
        "{'kernel_size': 3, 'stride_size': 2, 'padding': 1}."
    )


_NEUTRAL = {"kernel_size": 1, "stride_size": 1}


def shape_behind(
    layer: LayerDefinition, shape: Sequence[int], places: Sequence[int]
) -> tuple[int, ...]:
    """Return the shape of what a layer makes, which slides over some dimensions.

    Where its padding is not known, it makes a unit for every stride.

    >>> shape_behind(LayerDefinition("blur", 3, 2), (1, 4, 9, 9), (2, 3))
    (1, 4, 5, 5)
    >>> shape_behind(LayerDefinition("blur", 3, 2, padding=0), (1, 4, 9, 9), (2, 3))
    (1, 4, 4, 4)
    """
    found = list(shape)
    axes = len(places)
    kernels, strides, dilations, factors = (
        arithmetic.broadcast(one, axes)
        for one in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    padding = layer.padding
    sides = padding if isinstance(padding, tuple) else ((padding, padding),) * axes
    for axis, place in enumerate(places):
        if kernels[axis] == math.inf:
            found[place] = 1
            continue
        fine = shape[place] * factors[axis]
        begin, end = sides[axis] or (None, None)
        if begin is not None and end is not None and factors[axis] == 1:
            reach = int(dilations[axis] * (kernels[axis] - 1))
            found[place] = max(1, (fine + begin + end - reach - 1) // strides[axis] + 1)
        else:
            found[place] = max(1, -(-fine // strides[axis]))
    return tuple(found)


def with_rules(record: Record, chain: HandlerChain[Any]) -> Record:
    """Return a record in which operations that a user has a rule for are described by it."""
    told: dict[str, UserRule | None] = {
        name: chain.rule_of(name) for name in {one.name for one in record.operations}
    }
    if not any(told.values()):
        return record
    operations = []
    for operation in record.operations:
        rule = told[operation.name]
        if rule is not None:
            read = tuple(tensors_in(operation.arguments))
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
        for tensor in tensors_in(one.arguments)
        if tensor.number not in made
    }
    gone = set(places)
    others = [one for place, one in enumerate(record.operations) if place not in gone]
    outside = {tensor.number for one in others for tensor in tensors_in(one.arguments)}
    outside.update(tensor.number for tensor in record.outputs)
    results = [tensor for tensor in made.values() if tensor.number in outside]
    return Operation(
        DESCRIBED,
        {"inputs": tuple(read.values()), "layer": layer, "name": name},
        tuple(results or several[-1].outputs),
        scope,
        tuple(dict.fromkeys(name for one in several for name in one.parameters)),
    )
