"""Which steps make one node, and what it is called: modules, gates, calls, single functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import attrs

from rfa_toolbox.operators.composition import is_aligned
from rfa_toolbox.operators.drafts import Draft
from rfa_toolbox.operators.gates import Gate
from rfa_toolbox.operators.handlers import SqueezeExcitationHandler
from rfa_toolbox.operators.record import ModuleCall
from rfa_toolbox.operators.values import Step

__all__ = ["drafts_by_call", "drafts_of"]


class _Owner(NamedTuple):
    """What becomes one node: a call of a module, a gate by its product, or a step by itself."""

    call: ModuleCall | None = None
    number: int = -1
    is_gate: bool = False


def drafts_of(
    steps: Mapping[int, Step],
    opaque: Collection[str],
    gates: Iterable[Gate],
    outputs: AbstractSet[int],
) -> list[Draft]:
    """Return the drafts of nodes: of modules that are shown as one, of gates, and of functions.

    Args:
        steps: all steps, by number.
        opaque: names of module classes that are shown as one, whatever is in them.
        gates: what was found of gates; each becomes one node.
        outputs: the steps whose results leave the model.
    """
    owners = _modules_shown_as_one(steps, opaque)
    for gate in gates:
        holders = {owners[number] for number in gate.steps if number in owners}
        others = {owner for number, owner in owners.items() if number not in gate.steps}
        if holders.isdisjoint(others):  # else a node of more than the gate holds it already
            owner = _Owner(_call_of(gate, steps), gate.product, is_gate=True)
            owners.update(dict.fromkeys(gate.steps, owner))
    members: dict[_Owner, list[Step]] = {}
    for number, step in steps.items():
        members.setdefault(owners.get(number, _Owner(number=number)), []).append(step)
    drafts = [_draft(owner, inside) for owner, inside in members.items()]
    homes = {number: draft.home for draft in drafts for number in draft.steps}
    for place, draft in enumerate(drafts):
        chained = draft.home is not None and draft.home in map(homes.get, draft.sources)
        output = not outputs.isdisjoint(draft.steps)
        if chained or output:
            drafts[place] = attrs.evolve(draft, chained=chained, output=output)
    return drafts


def drafts_by_call(steps: Mapping[int, Step]) -> list[Draft]:
    """Return one draft per call, in the order in which they ran."""
    members: dict[ModuleCall, list[Step]] = {}
    for step in steps.values():
        members.setdefault(step.scope[-1], []).append(step)
    return [
        _of_steps(
            inside,
            label=call.label or call.class_name,
            name=call.path,
            module_path=inside[-1].scope[-2].path if len(inside[-1].scope) > 1 else "",
            call=call,
            operator=_operator(inside),
            home=None,
        )
        for call, inside in members.items()
    ]


# --- who owns a step -------------------------------------------------------------------------


def _modules_shown_as_one(steps: Mapping[int, Step], opaque: Collection[str]) -> dict[int, _Owner]:
    """Return the calls of modules that are one node, by the numbers of their steps."""
    owners: dict[int, _Owner] = {}
    for number, step in steps.items() if opaque else ():
        whole = next((call for call in step.scope if call.class_name in opaque), None)
        if whole is not None:
            owners[number] = _Owner(whole)
    for call, inside in _leaf_calls(steps).items():
        if owners.keys().isdisjoint(inside) and _shown_as_one([steps[one] for one in inside], call):
            owners.update(dict.fromkeys(inside, _Owner(call)))
    return owners


def _leaf_calls(steps: Mapping[int, Step]) -> dict[ModuleCall, list[int]]:
    """Return the steps of every module call in which no other module computed anything."""
    inside: dict[ModuleCall, list[int]] = {}
    parents: set[ModuleCall] = set()
    for number, step in steps.items():
        if step.scope:
            inside.setdefault(step.scope[-1], []).append(number)
            parents.update(step.scope[:-1])
    return {call: numbers for call, numbers in inside.items() if call not in parents}


def _shown_as_one(steps: Sequence[Step], call: ModuleCall) -> bool:
    """Whether the steps of a module that calls no other one make one node.

    The modules of torch always do. Others do when at most one of their steps sees more than its
    own position; what is more is a network of its own, written in functions.
    """
    if call.library:
        return True
    return call.path != "" and [step.neutral for step in steps].count(False) <= 1


def _call_of(gate: Gate, steps: Mapping[int, Step]) -> ModuleCall | None:
    """Return the outermost call in which nothing but a gate ran, if there is one."""
    around = _common([steps[number] for number in gate.steps], steps[gate.product].scope)
    for call in around[1:]:
        if all(number in gate.steps for number, step in steps.items() if call in step.scope):
            return call
    return None


def _common(steps: Sequence[Step], scope: Sequence[ModuleCall]) -> list[ModuleCall]:
    """Return the calls in which all of some steps ran, of those in a scope."""
    return [call for call in scope if all(call in step.scope for step in steps)]


# --- what a node is called -------------------------------------------------------------------


def _draft(owner: _Owner, steps: Sequence[Step]) -> Draft:
    last, call = steps[-1], owner.call
    gate = SqueezeExcitationHandler().operator if owner.is_gate else ""
    operator = gate or _operator(steps).rpartition("::")[2]
    if call is not None:
        name = _told_apart(call.path or call.class_name, call)
        return _of_steps(steps, call.class_name, name, call.path, call, operator, None)
    label = "Input" if last.kind == "input" else operator
    around = _common(steps, last.scope) if owner.is_gate else last.scope
    path = around[-1].path if around else ""
    name = "input" if last.kind == "input" else operator
    if path:
        name = f"{_told_apart(path, around[-1])}/{name}"
    home = last.scope[-1] if last.scope else None
    return _of_steps(steps, label, name, path, None, operator, home)


def _told_apart(name: str, call: ModuleCall) -> str:
    """Return a name with the number of a call behind it, from the second one on."""
    return name if call.call == 1 else f"{name}#{call.call}"


def _of_steps(
    steps: Sequence[Step],
    label: str,
    name: str,
    module_path: str,
    call: ModuleCall | None,
    operator: str,
    home: ModuleCall | None,
) -> Draft:
    numbers = tuple([step.number for step in steps])
    read = dict.fromkeys([source for step in steps for source in step.sources])
    return Draft(
        steps=numbers,
        sources=tuple([source for source in read if source not in numbers]),
        label=label,
        name=name,
        module_path=module_path,
        call=call,
        operator=operator,
        kind=steps[-1].kind if len(steps) == 1 else "group",
        home=home,
        positions=steps[-1].positions,
        aligned=is_aligned(steps),
    )


def _operator(steps: Sequence[Step]) -> str:
    """Return the operator that describes several steps: the only one that is more than neutral."""
    if len(steps) == 1:
        return steps[0].name
    decisive = [step for step in steps if not step.neutral]
    named = [step.name for step in steps if step.kind == "layer"]
    if len(decisive) != 1 and len(named) == 1:
        return named[0]
    return (decisive[0] if len(decisive) == 1 else steps[-1]).name
