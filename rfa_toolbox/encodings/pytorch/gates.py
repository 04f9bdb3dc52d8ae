"""Finding gates: global pools whose result only re-weights the map that it came from.

Squeeze-and-excitation and its many variants are recognised by what they compute, not by name:
a multiplication of a map with something that has no positions, which was pooled from that very
map and is used for nothing else. This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from rfa_toolbox.encodings.pytorch.steps import Step

__all__ = ["Gate", "find_gates"]

_PRODUCTS = {"mul"}


@attrs.frozen(slots=True)
class Gate:
    """A gate: the multiplication, the step that it re-weights with, and all steps in between."""

    product: int
    weight: int
    steps: frozenset[int]


def find_gates(steps: Mapping[int, Step]) -> list[Gate]:
    """Return the gates of a model, in the order of their multiplications."""
    readers: dict[int, list[int]] = {}
    for step in steps.values():
        for source in step.sources:
            readers.setdefault(source, []).append(step.number)
    found = []
    for step in steps.values():
        if step.name in _PRODUCTS and len(step.sources) == 2 and step.positions:
            gate = _gate_of(step, steps, readers)
            if gate is not None:
                found.append(gate)
    return found


def _gate_of(
    product: Step, steps: Mapping[int, Step], readers: Mapping[int, list[int]]
) -> Gate | None:
    weights = [number for number in product.sources if not steps[number].positions]
    if len(weights) != 1:
        return None
    (weight,) = weights
    (gated,) = [number for number in product.sources if number != weight]
    inside: set[int] = set()
    pooled: set[int] = set()
    waiting = [weight]
    while waiting:
        number = waiting.pop()
        if number in inside:
            continue
        step = steps[number]
        if step.kind == "input":
            return None
        inside.add(number)
        if step.pooled and any(steps[source].positions for source in step.sources):
            pooled.update(step.sources)
        elif step.positions:
            return None
        else:
            waiting.extend(step.sources)
    if not pooled:
        return None
    if any(reader not in inside and reader != product.number for number in inside
           for reader in readers.get(number, ())):  # fmt: skip
        return None
    origin = _neutral_ancestors(gated, steps)
    if not all(origin & _neutral_ancestors(number, steps) for number in pooled):
        return None
    return Gate(product.number, weight, frozenset(inside | {product.number}))


def _neutral_ancestors(number: int, steps: Mapping[int, Step]) -> set[int]:
    """Return a step and those before it from which only neutral steps lead to it."""
    found: set[int] = set()
    waiting = [number]
    while waiting and len(found) < _FAR:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        step = steps[current]
        if step.neutral and step.kind != "layer":
            waiting.extend(step.sources)
    return found


_FAR = 24
"""How many neutral steps may lie between a map and the pool or the product."""
