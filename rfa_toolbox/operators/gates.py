"""Finding gates: global pools whose result only re-weights the map that it came from.

Squeeze-and-excitation and its many variants are recognised by what they compute, not by name:
a multiplication of a map with something that is the same at all positions, which was pooled from
that very map, one that it was made of, or one that was made of the same, and is used for nothing
else. So are the statistics of a norm that is written by hand,
which may also be subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import attrs

from rfa_toolbox.operators.values import Step, ancestors, readers_of

__all__ = ["Gate", "find_gates"]

_SCALINGS = {"mul", "div", "sub"}
"""What a gate does to a map with its weight, and a norm by hand with its statistics."""
_OUTSIDE = -1


@attrs.frozen(slots=True)
class Gate:
    """A gate: the multiplication, the step that it re-weights with, and all steps in between."""

    product: int
    weight: int
    steps: frozenset[int]


def find_gates(steps: Mapping[int, Step], outputs: Collection[int] = ()) -> list[Gate]:
    """Return the gates of a model, in the order of their products.

    ``outputs`` are steps whose result leaves the model, so that it is more than a weight.
    """
    found = [
        gate
        for step in steps.values()
        if step.name in _SCALINGS and len(step.sources) == 2 and step.positions
        if (gate := _gate_of(step, steps)) is not None
    ]
    readers = readers_of(steps.values()) if found else {}
    for number in outputs:
        readers.setdefault(number, []).append(_OUTSIDE)
    while True:  # a weight may also make other weights, but nothing else
        weights = {number for gate in found for number in gate.steps - {gate.product}}
        products = {gate.product: gate.weight for gate in found}
        kept = [gate for gate in found if _only_weights(gate, steps, readers, weights, products)]
        if len(kept) == len(found):
            return kept
        found = kept


def _gate_of(product: Step, steps: Mapping[int, Step]) -> Gate | None:
    weights = [number for number in product.everywhere if steps[number].pooled]
    if len(weights) != 1:
        return None
    (weight,) = weights
    (gated,) = (number for number in product.sources if number != weight)
    origin = _neutral_ancestors(gated, steps)
    inside: set[int] = set()
    waiting = [weight]
    while waiting:
        number = waiting.pop()
        if number in inside or number in origin:
            continue
        step = steps[number]
        if _is_of_the_same(step, gated, steps):
            continue
        if step.kind == "input" or len(inside) > _FAR or _brings_context(step, steps[gated]):
            return None
        inside.add(number)
        waiting.extend(step.sources)
    return Gate(product.number, weight, frozenset(inside | {product.number}))


def _is_of_the_same(step: Step, gated: int, steps: Mapping[int, Step]) -> bool:
    """Whether a map is one that a gated map was made of, or was made of the same map as it."""
    if step.feature_map is None or _is_point(step, steps[gated]) or not step.positions:
        return False
    if step.number in ancestors(steps, [gated]):
        return True
    if not _brings_context(step, steps[gated]):
        return False
    made = {one for one in _neutral_ancestors(gated, steps) if not steps[one].neutral}
    shared = {one for number in made for one in _maps_in_front(number, steps)}
    return not shared.isdisjoint(_maps_in_front(step.number, steps))


def _maps_in_front(number: int, steps: Mapping[int, Step]) -> set[int]:
    """Return what a step reads, and all that it is but for neutral steps."""
    return {one for source in steps[number].sources for one in _neutral_ancestors(source, steps)}


def _only_weights(
    gate: Gate,
    steps: Mapping[int, Step],
    readers: Mapping[int, list[int]],
    weights: Collection[int],
    products: Mapping[int, int],
) -> bool:
    """Whether nothing reads the insides of a gate but weights, and what they re-weight."""
    inside = gate.steps - {gate.product}
    (gated,) = (number for number in steps[gate.product].sources if number != gate.weight)
    origin = _neutral_ancestors(gated, steps)
    others = {reader for number in inside for reader in readers.get(number, ())} - inside
    return all(
        reader in weights
        or products.get(reader) in inside
        or _weights_the_same(reader, inside, origin, steps)
        for reader in others
    )


def _weights_the_same(
    reader: int, weights: Collection[int], origin: set[int], steps: Mapping[int, Step]
) -> bool:
    """Whether a reader of a weight only re-weights the map that it came from, or one like it."""
    if reader == _OUTSIDE or steps[reader].name not in _SCALINGS:
        return False
    weighted = [number for number in steps[reader].sources if number not in weights]
    return len(weighted) == 1 and bool(origin & _neutral_ancestors(weighted[0], steps))


def _is_point(step: Step, gated: Step) -> bool:
    """Whether a map has one unit because it was pooled, and not because the gated one has, too."""
    return {1} == set(step.feature_map or ()) != set(gated.feature_map or ())


def _brings_context(step: Step, gated: Step) -> bool:
    """Whether a step looks at neighbours on a map: what it makes is another map to pool."""
    if _is_point(step, gated):
        return False
    return step.positions and any(1 < window.kernel < math.inf for window in step.windows)


def _neutral_ancestors(number: int, steps: Mapping[int, Step]) -> set[int]:
    """Return a step and those before it from which only neutral steps lead to it."""
    found: set[int] = set()
    waiting = [number]
    while waiting and len(found) < _FAR:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        if steps[current].neutral:
            waiting.extend(steps[current].sources)
    return found


_FAR = 512
"""How many steps may lie between a map and its gate, or make the gate."""
