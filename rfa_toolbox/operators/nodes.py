"""From steps to the nodes of a graph: which steps make one node, and what it is called."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.domain import Certainty
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    InfoFilter,
    LayerDefinition,
    Offsets,
    keep_together,
    noop_filter,
)
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.costs import Costs
from rfa_toolbox.operators.described import DESCRIBED, with_descriptions, with_rules
from rfa_toolbox.operators.drafts import Draft, NodeSubstitutor, ordered
from rfa_toolbox.operators.gates import Gate, find_gates
from rfa_toolbox.operators.handlers import (
    LayerCall,
    SqueezeExcitationHandler,
    default_chain,
)
from rfa_toolbox.operators.heads import find_heads
from rfa_toolbox.operators.layout import Layout
from rfa_toolbox.operators.record import (
    ModuleCall,
    Operation,
    Record,
    TensorRef,
)
from rfa_toolbox.operators.rules import follow
from rfa_toolbox.operators.substitutors import (
    concatenation_substitutor,
    input_substitutor,
    numeric_substitutor,
    output_substitutor,
    vector_substitutor,
)
from rfa_toolbox.operators.trail import Trail
from rfa_toolbox.operators.values import Step
from rfa_toolbox.operators.windows import NEUTRAL, Window, in_blocks, with_statistics

__all__ = ["RESOLVING_STRATEGY", "SUBSTITUTION_STRATEGY", "Digraph", "GlobalOps"]

GlobalOps = Literal["ignore_gates", "count", "ignore"]

RESOLVING_STRATEGY: HandlerChain[LayerCall] = default_chain()
"""The built-in handlers, most specific first."""

_OWN_HANDLERS = frozenset(map(type, RESOLVING_STRATEGY.handlers))

SUBSTITUTION_STRATEGY: tuple[NodeSubstitutor, ...] = (
    numeric_substitutor(),
    concatenation_substitutor(),
    vector_substitutor(),
    output_substitutor(),
    input_substitutor(),
)
"""The rewrites that take place before nodes are made."""


@attrs.define(eq=False)
class Digraph:
    """A model on its way to a graph.

    Attributes:
        ref_mod: the model as its framework has it, for handlers that want to see its modules; None
            where there is no more than a file.
        record: what a reader returned.
        filter_rf: which paths the nodes keep.
        handlers: the chain that describes nodes.
        custom_layers: names of module classes that are shown as one node.
        display_se_modules: show the insides of gates.
        global_ops: which global operations count (see the docs on numbers).
        spatial: per input its spatial dimensions; found out if None.
        trail: the walk over the record, once the graph was made.
        results: per node the tensor that it makes, and its layout, once the graph was made.
        gates: what was found of gates, once the graph was made.
    """

    ref_mod: Any
    record: Record
    filter_rf: InfoFilter = noop_filter
    handlers: HandlerChain[LayerCall] = RESOLVING_STRATEGY
    custom_layers: Collection[str] = ()
    display_se_modules: bool = False
    global_ops: GlobalOps = "ignore_gates"
    substitutors: Sequence[NodeSubstitutor] = SUBSTITUTION_STRATEGY
    spatial: Sequence[Sequence[int | None]] | None = None
    trail: Trail | None = attrs.field(default=None, init=False)
    results: dict[EnrichedNetworkNode, tuple[TensorRef, Layout]] = attrs.field(
        factory=dict, init=False
    )
    gates: list[Gate] = attrs.field(factory=list, init=False)
    _modules: Mapping[str, Any] = attrs.field(factory=dict, init=False)

    def to_graph(self) -> EnrichedNetworkNode:
        """Return the node of the model's first output; all the others hang together with it."""
        self._modules = self.modules()
        record = with_rules(self.record, self.handlers)
        record = with_descriptions(record, self._told)
        trail = self.trail = follow(record, self.spatial)
        if not trail.outputs:
            raise UnsupportedModelError(
                f"No output of {self.record.model_name} depends on its input, so there is no "
                "layer to analyse; the model must return a tensor that it computes from its input."
            )
        living = range(len(trail.steps)) if record.by_call else trail.outputs
        steps, gates = self._judged(_living(trail.steps, living), trail.outputs)
        for number in find_heads(steps):
            steps[number] = attrs.evolve(steps[number], covers_map=True)
        self.gates = gates
        drafts = self._drafts(steps, gates, set(trail.outputs))
        for substitutor in self.substitutors:
            drafts, _ = substitutor(drafts)
        return self._nodes(drafts, steps, trail, Costs(trail, steps))

    def modules(self) -> Mapping[str, Any]:
        """Return the modules of the model by path; a reader that has them says so."""
        return {}

    def warn_of_unknown(self, kinds: Mapping[str, int]) -> None:
        """Warn of operations that count as neutral, as nothing knows them; they are counted."""
        listed = ", ".join(f"{kind!r} ({count}x)" for kind, count in kinds.items())
        module = (
            " Or show the module that it runs in as one node, with add_custom_layer_handler("
            "class_name, kernel_size_provider=...)."
        )
        warnings.warn(
            f"These operations are not known and count as neutral (1x1, stride 1): {listed}. "
            "Receptive fields behind them are marked as unknown. To say what one does, call "
            f"rfa_toolbox.operators.chain.add_rule({next(iter(kinds))!r}, lambda shapes, "
            "arguments: {'kernel_size': 3, 'stride_size': 1, 'padding': 1}) with its own numbers."
            f"{module if self._modules else ''}",
            UserWarning,
            stacklevel=6,
        )

    # -- what a user describes

    def _described(self) -> frozenset[str]:
        """Return the module classes that handlers want to see as one node."""
        names: set[str] = set()
        for handler in self.handlers.handlers:
            names |= getattr(handler, "class_names", frozenset())
        return frozenset(names)

    def _told(self, operation: Operation) -> tuple[ModuleCall | None, LayerDefinition] | None:
        """Return what a user's handler makes of an operation that nothing knows, or of its call."""
        named = self._described()
        whole = next((call for call in operation.scope if call.class_name in named), None)
        if whole is not None:
            return whole, self.handlers.describe(self._asked(whole, operation))
        inner = [call for call in reversed(operation.scope) if call.path]
        for call in (None, *inner):
            asked = self._asked(call, operation)
            handler = self.handlers.find(asked)
            if type(handler) not in _OWN_HANDLERS:
                layer = handler(asked)
                return (
                    None if layer == attrs.evolve(asked.layer, name=layer.name) else (call, layer)
                )
        return None

    def _asked(self, call: ModuleCall | None, operation: Operation) -> LayerCall:
        """Return what a handler is asked of an operation that nothing knows, or of its call."""
        name = operation.name.rpartition("::")[2]
        kind = "" if call is None else call.class_name
        path = operation.scope[-1].path if operation.scope else ""
        # A handler that changes nothing but the name does not say what the operation does.
        nothing = LayerDefinition(kind or name, 1, 1, position_dependent=True)
        if call is None:
            return LayerCall("", name, path, None, nothing)
        return LayerCall(kind, DESCRIBED, call.path, self._modules.get(call.path), nothing)

    # -- which global operations count

    def _judged(
        self, steps: dict[int, Step], outputs: Sequence[int]
    ) -> tuple[dict[int, Step], list[Gate]]:
        gates = find_gates(steps, outputs)
        if self.global_ops == "count":
            steps = {number: _with_statistics(step) for number, step in steps.items()}
        if self.global_ops == "ignore_gates":
            ignored = {number for gate in gates for number in gate.steps}
        else:
            ignored = set(steps) if self.global_ops == "ignore" else set()
        for number in ignored:
            step = steps[number]
            # All of a crop, or a window of the size of the map, is pooled for the whole map too.
            single = step.pooled or set(step.feature_map or ()) == {1}
            whole = [one.kernel == math.inf or (single and one.kernel > 1) for one in step.windows]
            if any(whole):
                windows = zip(step.windows, whole, strict=True)
                neutral = tuple(Window() if all_of_it else one for one, all_of_it in windows)
                steps[number] = attrs.evolve(step, windows=neutral, ignored_global=True)
        return steps, gates

    # -- which steps make one node

    def _drafts(
        self, steps: dict[int, Step], gates: Iterable[Gate], outputs: set[int]
    ) -> list[Draft]:
        if self.record.by_call:
            return _drafts_by_call(steps)
        opaque = {*self.custom_layers, *self._described()}
        owner: dict[int, Any] = {}
        calls: dict[Any, ModuleCall | None] = {}
        for number, step in steps.items():
            whole = next((call for call in step.scope if call.class_name in opaque), None)
            if whole is not None:
                owner[number] = whole
                calls[whole] = whole
        for call, inside in _leaf_calls(steps).items():
            if any(number in owner for number in inside):
                continue
            if _shown_as_one([steps[number] for number in inside], call):
                for number in inside:
                    owner[number] = call
                calls[call] = call
        closed: dict[Any, Gate] = {}
        if not self.display_se_modules:
            for gate in gates:
                self._close(gate, steps, owner, calls, closed)
        members: dict[Any, list[int]] = {}
        for number in steps:
            members.setdefault(owner.get(number, number), []).append(number)
        drafts = [
            _draft(key, inside, steps, calls.get(key), key in closed)
            for key, inside in members.items()
        ]
        homes = {number: draft.home for draft in drafts for number in draft.steps}
        return [
            attrs.evolve(
                draft,
                chained=draft.home is not None
                and any(homes[source] == draft.home for source in draft.sources),
                output=not outputs.isdisjoint(draft.steps),
            )
            for draft in drafts
        ]

    def _close(
        self,
        gate: Gate,
        steps: dict[int, Step],
        owner: dict[int, Any],
        calls: dict[Any, ModuleCall | None],
        closed: dict[Any, Gate],
    ) -> None:
        """Let the steps of a gate become one node."""
        holders = {owner[number] for number in gate.steps if number in owner}
        shared = {
            number for number, key in owner.items() if key in holders and number not in gate.steps
        }
        if shared:  # a node that was made of more than the gate holds it already
            return
        key = ("gate", gate.product)
        for number in gate.steps:
            owner[number] = key
        common = [
            call
            for call in steps[gate.product].scope
            if all(call in steps[number].scope for number in gate.steps)
        ]
        whole = None
        for call in common[1:]:
            if all(number in gate.steps for number, step in steps.items() if call in step.scope):
                whole = call
                break
        calls[key] = whole
        closed[key] = gate

    # -- nodes

    def layer_of(self, draft: Draft, layer: LayerDefinition) -> tuple[LayerDefinition, bool]:
        """Return the layer of a node, and whether it is a user who knows it better.

        Args:
            draft: the future node.
            layer: name, kernel and everything else as the operators that ran say.
        """
        call = draft.call
        handled = LayerCall(
            call.class_name if call is not None else "",
            draft.operator,
            draft.module_path,
            self._modules.get(call.path) if call is not None else None,
            layer,
        )
        handler = self.handlers.find(handled)
        own = call is not None and call.class_name in getattr(handler, "class_names", ())
        return handler(handled), own

    def _nodes(
        self, drafts: list[Draft], steps: dict[int, Step], trail: Trail, costs: Costs
    ) -> EnrichedNetworkNode:
        place: dict[int, EnrichedNetworkNode] = {}
        names: dict[str, int] = {}
        unknown: Counter[str] = Counter()
        nodes: list[EnrichedNetworkNode] = []
        for draft in ordered(drafts):
            inside = [steps[number] for number in draft.steps]
            sources = dict.fromkeys(place[one] for one in draft.sources if one in place)
            call = draft.call
            layer, own = self.layer_of(draft, composed(draft.label, inside, trail.axes))
            certainty, reason = _certainty(
                [step for step in inside if not step.positionless] or inside
            )
            if not sources and inside[-1].positionless:
                layer = attrs.evolve(layer, positionless=True)
            if own and inside[-1].name != DESCRIBED:
                certainty, reason = "exact", ""
            if certainty == "unknown":
                kinds = (
                    [call.class_name]
                    if self.record.by_call and call is not None
                    else [step.name for step in inside if step.kind == "unknown"]
                )
                unknown.update(kinds)
            node = EnrichedNetworkNode(
                _unique(draft.name, names),
                layer,
                tuple(sources),
                self.filter_rf,
                module_path=draft.module_path,
                certainty=certainty,
                certainty_reason=reason,
                offsets=_offsets(inside, place, tuple(sources)),
                measures=costs.of(draft.steps),
            )
            if not own:
                node = _seeing_what_is_not_followed(node, inside)
            nodes.append(node)
            self.results[node] = trail.result(draft.steps[-1])
            for number in draft.steps:
                place[number] = node
        keep_together(nodes)
        if unknown:
            self.warn_of_unknown(unknown)
        return place[trail.outputs[0]]


def _with_statistics(step: Step) -> Step:
    """Return a step that sees what it takes statistics from."""
    if not step.statistics:
        return step
    windows = with_statistics(step.windows, step.statistics)
    return attrs.evolve(
        step, windows=tuple(windows), ignored_global=False, blockwise=in_blocks(step.statistics)
    )


def _living(steps: Sequence[Step], outputs: Sequence[int]) -> dict[int, Step]:
    """Return the steps that an output depends on."""
    living: set[int] = set()
    waiting = list(outputs)
    while waiting:
        number = waiting.pop()
        if number not in living:
            living.add(number)
            waiting.extend(steps[number].sources)
    return {step.number: step for step in steps if step.number in living}


def _drafts_by_call(steps: Mapping[int, Step]) -> list[Draft]:
    """Return one draft per call, in the order in which they ran."""
    members: dict[ModuleCall, list[int]] = {}
    for number, step in steps.items():
        members.setdefault(step.scope[-1], []).append(number)
    drafts = []
    for call, numbers in members.items():
        inside = [steps[number] for number in numbers]
        sources = dict.fromkeys(one for step in inside for one in step.sources)
        scope = inside[-1].scope
        drafts.append(
            Draft(
                steps=tuple(numbers),
                sources=tuple(one for one in sources if one not in set(numbers)),
                label=call.label or call.class_name,
                name=call.path,
                module_path=scope[-2].path if len(scope) > 1 else "",
                call=call,
                operator=_operator(inside),
                kind=inside[-1].kind if len(inside) == 1 else "group",
                home=None,
                positions=inside[-1].positions,
                aligned=_is_aligned(inside),
            )
        )
    return drafts


def _operator(steps: Sequence[Step]) -> str:
    """Return the operator that describes several steps: the only one that is more than neutral."""
    decisive = [step for step in steps if not step.neutral]
    named = [step.name for step in steps if step.kind == "layer"]
    if len(decisive) != 1 and len(named) == 1:
        return named[0]
    return (decisive[0] if len(decisive) == 1 else steps[-1]).name


def _leaf_calls(steps: dict[int, Step]) -> dict[ModuleCall, list[int]]:
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
    return call.path != "" and sum(not step.neutral for step in steps) <= 1


def _draft(
    key: Any,
    numbers: Sequence[int],
    steps: dict[int, Step],
    call: ModuleCall | None,
    is_gate: bool,
) -> Draft:
    last = steps[numbers[-1]]
    scope = last.scope
    if is_gate:
        operator = SqueezeExcitationHandler().operator
    else:
        operator = _operator([steps[number] for number in numbers]).rpartition("::")[2]
    if call is not None:
        label = call.class_name
        path = call.path
        name = path or label
        if call.call > 1:
            name = f"{name}#{call.call}"
    else:
        label = "Input" if last.kind == "input" else operator
        inner = scope[-1] if scope else None
        if is_gate:
            common = [one for one in scope if all(one in steps[n].scope for n in numbers)]
            inner = common[-1] if common else None
        path = inner.path if inner is not None else ""
        prefix = path if inner is None or inner.call == 1 else f"{path}#{inner.call}"
        operation = "input" if last.kind == "input" else operator
        name = f"{prefix}/{operation}" if path else operation
    return Draft(
        steps=tuple(numbers),
        label=label,
        name=name,
        module_path=path,
        call=call,
        operator=operator,
        kind=last.kind if len(numbers) == 1 else "group",
        home=scope[-1] if scope and call is None else None,
        positions=last.positions,
        aligned=_is_aligned([steps[number] for number in numbers]),
        sources=tuple(
            dict.fromkeys(
                source
                for number in numbers
                for source in steps[number].sources
                if source not in set(numbers)
            )
        ),
    )


def _unique(name: str, names: dict[str, int]) -> str:
    count = names[name] = names.get(name, 0) + 1
    return name if count == 1 else _unique(f"{name}#{count}", names)


def _offsets(
    steps: Sequence[Step],
    place: Mapping[int, EnrichedNetworkNode],
    predecessors: Sequence[EnrichedNetworkNode],
) -> Offsets:
    """Return where the maps of the predecessors lie under the first units of a node.

    What is read at several places within a node is part of its own window; see ``composed``.
    """
    if _has_window(steps):
        return ()
    found: dict[EnrichedNetworkNode, dict[tuple[int | None, ...], None]] = {
        node: {} for node in predecessors
    }
    for source, reads in _reads_of(steps):
        if source in place and place[source] in found:
            found[place[source]][reads] = None
    if all(one == 0 for reads in found.values() for read in reads for one in read):
        return ()
    nothing = ((0,) * len(steps[0].windows),)
    return tuple(tuple(found[node]) or nothing for node in predecessors)


def _has_window(steps: Sequence[Step]) -> bool:
    """Whether several steps are described by one window, so that their reads are part of it."""
    return len(steps) > 1 and (_is_chain(steps) or not all(step.neutral for step in steps))


def _is_aligned(steps: Sequence[Step]) -> bool:
    return _has_window(steps) or not any(
        step.offsets or (step.neutral and any(window.begin for window in step.windows))
        for step in steps
    )


def _reads_of(steps: Sequence[Step]) -> Iterator[tuple[int, tuple[int | None, ...]]]:
    """Yield what one step, or several neutral ones together, read from others, and at which units.

    The padding of a single step is part of its window, that of several is part of the offsets.
    """
    (*_, last) = steps
    inside = {step.number: step for step in steps}
    nowhere = (0,) * len(last.windows)
    reached: dict[int, dict[tuple[int | None, ...], None]] = {last.number: {nowhere: None}}
    for step in reversed(steps):
        places = tuple(reached.get(step.number, ()))
        if len(steps) > 1:
            begins = [None if one.begin is None else -one.begin for one in step.windows]
            places = tuple(_added(place, begins) for place in places)
        for source, reads in zip(
            step.sources, step.offsets or ((nowhere,),) * len(step.sources), strict=True
        ):
            for read, place in itertools.product(reads, places):
                if source in inside:
                    reached.setdefault(source, {})[_added(place, read)] = None
                else:
                    yield source, _added(place, read)


def _added(first: Sequence[int | None], second: Sequence[int | None]) -> tuple[int | None, ...]:
    return tuple(
        None if one is None or other is None else one + other
        for one, other in zip(first, second, strict=True)
    )


_NOT_ALIGNED = (
    "units of maps meet in it whose distance differs from place to place, or is not known; counted "
    "as seeing everything"
)
_SIDE_BY_SIDE = (
    "it puts maps side by side that look at different places; counted as seeing everything"
)


def _seeing_what_is_not_followed(
    node: EnrichedNetworkNode, steps: Sequence[Step]
) -> EnrichedNetworkNode:
    """Return a node that sees everything where it is not known how far apart its maps look."""
    apart = {axis for step in steps for axis in step.unaligned if _differ(node, axis)}
    apart |= {axis for step in steps for axis in step.turned if _is_spread(node, axis)}
    seams = {axis for step in steps for axis in step.seams if _differ(node, axis)}
    if not (apart or seams) or node.certainty == "unknown":
        return node
    kernels = arithmetic.broadcast(node.layer_info.kernel_size, node.axes or 1)
    layer = attrs.evolve(
        node.layer_info,
        kernel_size=tuple(
            math.inf if axis in apart | seams else kernel for axis, kernel in enumerate(kernels)
        ),
        position_dependent=True,
    )
    reason = _NOT_ALIGNED if apart else _SIDE_BY_SIDE
    return attrs.evolve(node, layer_info=layer, certainty="bound", certainty_reason=reason)


def _differ(node: EnrichedNetworkNode, axis: int) -> bool:
    """Return whether the maps that a node reads look at different pixels, unit by unit."""
    several = node.branches(axis)
    return None in several or len(set(several)) > 1


def _is_spread(node: EnrichedNetworkNode, axis: int) -> bool:
    """Return whether a node reads units that see more pixels than any one path leads to.

    Where they look is what tells of it, and that is lost with their order.
    """
    several = ((one.unit_windows[axis], one.paths[axis]) for one in node.predecessors)
    return any(
        windows is not None and windows.size > arithmetic.largest_field(paths)
        for windows, paths in several
    )


def _certainty(steps: Iterable[Step]) -> tuple[Certainty, str]:
    worst: tuple[Certainty, str] = ("exact", "")
    for step in steps:
        if step.certainty == "unknown":
            return step.certainty, step.reason
        if step.certainty == "bound" and worst[0] == "exact":
            worst = (step.certainty, step.reason)
    return worst


# --- what several steps do together -----------------------------------------------------------


def composed(label: str, steps: Sequence[Step], axes: int) -> LayerDefinition:
    """Return the layer that does what these steps do together, from their inputs to the last one.

    Its kernel is that of the longest way through, ``shortest_kernel_size`` that of the shortest.
    """
    counts: dict[str, Any] = {
        "filters": next((s.filters for s in reversed(steps) if s.filters is not None), None),
        "units": next((s.units for s in reversed(steps) if s.units is not None), None),
        "resolution_dependent": any(step.resolution_dependent for step in steps),
        "ignored_global": any(step.ignored_global for step in steps),
        "position_dependent": any(step.position_dependent for step in steps),
        "covers_map": any(step.covers_map for step in steps),
    }
    decisive = [step for step in steps if not step.neutral]
    sizes = _how_sizes_follow(steps)
    if not axes:
        return LayerDefinition(label, 1, 1, **counts)
    if len(steps) == 1:
        counts |= {"blockwise": steps[0].blockwise, **sizes}
        return _layer(label, steps[0].windows, **counts)
    if len(decisive) <= 1 and _is_chain(steps):
        blockwise = bool(decisive) and decisive[0].blockwise
        counts |= {"blockwise": blockwise, **sizes}
        return _layer(label, _chained(steps), **counts)
    if not decisive:
        return _layer(label, (NEUTRAL,) * axes, **counts)
    return _along_paths(label, _composed_node(steps), counts)


def _how_sizes_follow(steps: Sequence[Step]) -> dict[str, bool]:
    """Return how the size of the map follows from the one in front, where one step decides it.

    Where another one pads, too, it is another rest that is left behind the windows.
    """
    deciding = [step for step in steps if step.ceil_mode or step.same_padding]
    pads = any(one.begin for step in steps if step not in deciding for one in step.windows)
    return {
        name: not pads and any(getattr(step, name) for step in deciding)
        for name in ("ceil_mode", "same_padding")
    }


def _along_paths(
    label: str, node: EnrichedNetworkNode, counts: Mapping[str, Any]
) -> LayerDefinition:
    """Return the layer that does along its longest and its shortest paths what a node does."""
    paths = node.paths
    longest = [max(axis, key=arithmetic.field_of) for axis in paths]
    shortest = [min(axis, key=arithmetic.field_of) for axis in paths]
    if any(path[2] for path in longest) and all(map(_is_block, longest + shortest)):
        blocks, least = ([path[0] for path in paths] for paths in (longest, shortest))
        begins = [
            None if one is None or one.firsts[0] == -math.inf else -int(one.firsts[0])
            for one in node.unit_windows
        ]
        return LayerDefinition(
            label,
            blocks,
            (1,) * len(paths),
            padding=_sides(begins),
            blockwise=True,
            shortest_kernel_size=None if least == blocks else least,
            **counts,
        )
    jumps = [Fraction(arithmetic.largest_jump(axis) or 1) for axis in paths]
    kernels = [_fine(path, jump) for path, jump in zip(longest, jumps, strict=True)]
    smallest = [_fine(path, jump) for path, jump in zip(shortest, jumps, strict=True)]
    return LayerDefinition(
        label,
        kernels,
        [jump.numerator for jump in jumps],
        padding=_sides(_begins(node, kernels)),
        upsampling=[jump.denominator for jump in jumps],
        shortest_kernel_size=None if smallest == kernels else smallest,
        **counts,
    )


def _chained(steps: Sequence[Step]) -> list[Window]:
    """Return the windows of a chain of steps of which at most one is more than neutral."""
    result: list[Window] = []
    for windows in zip(*(step.windows for step in steps), strict=True):
        combined = windows[0]
        for window in windows[1:]:
            begins = (combined.begin, window.begin)
            if window[:3] == NEUTRAL[:3] and window.upsampling == 1:
                main, unit = combined, combined.stride
            else:
                main, unit, begins = window, window.upsampling, begins[::-1]
            moved = None if None in begins else begins[0] + begins[1] * unit
            end = main.end if moved == main.begin else None
            combined = main._replace(begin=moved, end=end)
        result.append(combined)
    return result


def _begins(node: EnrichedNetworkNode, kernels: Sequence[int | float]) -> list[int | None]:
    """Return the padding in front of a window that stands for several steps, where it is one."""
    return [
        -int(one.firsts[0])
        if one is not None and len(one.firsts) == 1 and one.size == kernel < math.inf
        else None
        for one, kernel in zip(node.unit_windows, kernels, strict=True)
    ]


def _sides(begins: Iterable[int | None]) -> tuple[tuple[int, None] | None, ...]:
    return tuple(None if begin is None else (begin, None) for begin in begins)


def _is_chain(steps: Sequence[Step]) -> bool:
    """Whether the steps follow each other with nothing beside them."""
    first = set(steps[0].sources)
    return all(
        set(step.sources) <= {before.number} and not (first & set(step.sources))
        for before, step in itertools.pairwise(steps)
    )


def _is_block(path: arithmetic.PathState) -> bool:
    """Whether a path went through blocks that do not overlap, through everything, or nothing."""
    base, jump, levels = path
    return base == math.inf or (
        base == jump and (not levels if jump == 1 else levels == ((jump, jump - 1, 1),))
    )


def _fine(path: arithmetic.PathState, jump: Fraction) -> int | float:
    """Return the window of a path through several steps in units of the up-sampled grid."""
    base, coarse_jump, levels = path
    if base != math.inf and coarse_jump == 1 and len(levels) == 1 and jump.denominator > 1:
        factor, extent, _ = levels[0]
        return (int(base) - 1) * factor + extent + 1
    size = arithmetic.field_of(path)
    return size if size == math.inf else (int(size) - 1) * jump.denominator + 1


def _composed_node(steps: Sequence[Step]) -> EnrichedNetworkNode:
    axes = len(steps[0].windows)
    neutral = LayerDefinition("origin", (1,) * axes, 1)
    origin = EnrichedNetworkNode("origin", neutral, ())
    nowhere = EnrichedNetworkNode("nowhere", attrs.evolve(neutral, positionless=True), ())
    made: dict[int, EnrichedNetworkNode] = {}
    for step in steps:
        made |= {number: nowhere for number in step.nowhere if number not in made}
        sources = [made.get(number, origin) for number in step.sources] or [origin]
        layer = _layer(step.name, step.windows, blockwise=step.blockwise)
        made[step.number] = EnrichedNetworkNode(step.name, layer, sources, offsets=step.offsets)
    return made[steps[-1].number]


def _layer(label: str, windows: Iterable[Window], **counts: Any) -> LayerDefinition:
    return _layer_with(label, tuple(windows), tuple(counts.items()))


@functools.lru_cache(maxsize=4096)  # most layers of a network are alike
def _layer_with(
    label: str, windows: tuple[Window, ...], counts: tuple[tuple[str, Any], ...]
) -> LayerDefinition:
    kernels, strides, dilations, begins, ends, upsamplings, scans = zip(*windows, strict=True)
    return LayerDefinition(
        label,
        kernels,
        strides,
        dilation=dilations,
        padding=tuple(zip(begins, ends, strict=True)),
        upsampling=upsamplings,
        scan=scans if any(scans) else None,
        **dict(counts),
    )
