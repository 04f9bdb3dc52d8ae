"""From the steps of a model to the nodes of its graph."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.domain import Certainty
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    InfoFilter,
    LayerDefinition,
    keep_together,
    noop_filter,
)
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.composition import composed, offsets_of
from rfa_toolbox.operators.costs import Costs
from rfa_toolbox.operators.described import DESCRIBED, with_descriptions, with_rules
from rfa_toolbox.operators.drafts import Draft, NodeSubstitutor, ordered
from rfa_toolbox.operators.gates import Gate, find_gates
from rfa_toolbox.operators.grouping import drafts_by_call, drafts_of
from rfa_toolbox.operators.handlers import LayerCall, default_chain
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
from rfa_toolbox.operators.values import Step, ancestors
from rfa_toolbox.operators.windows import Window, in_blocks, with_statistics

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
        every = range(len(trail.steps))
        living = every if record.by_call else sorted(ancestors(trail.steps, trail.outputs))
        steps, gates = self._judged({one: trail.steps[one] for one in living}, trail.outputs)
        for number in find_heads(steps):
            steps[number] = attrs.evolve(steps[number], covers_map=True)
        self.gates = gates
        opaque = {*self.custom_layers, *self._described()}
        closed = () if self.display_se_modules else gates
        drafts = (
            drafts_by_call(steps)
            if record.by_call
            else drafts_of(steps, opaque, closed, set(trail.outputs))
        )
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
            for gate in gates:
                steps[gate.product] = _weighed(steps[gate.product], gate.weight)
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
                offsets=offsets_of(inside, place, tuple(sources)),
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


def _weighed(product: Step, weight: int) -> Step:
    """Return the product of a gate, which reads its weight at no place: it is no path."""
    reads = product.offsets or (((0,) * len(product.windows),),) * len(product.sources)
    several = zip(product.sources, reads, strict=True)
    return attrs.evolve(
        product, offsets=tuple(() if source == weight else read for source, read in several)
    )


def _unique(name: str, names: dict[str, int]) -> str:
    count = names[name] = names.get(name, 0) + 1
    return name if count == 1 else _unique(f"{name}#{count}", names)


_NOT_ALIGNED = (
    "units of maps meet in it whose distance differs from place to place, or is not known; counted "
    "as seeing everything"
)
_SIDE_BY_SIDE = (
    "it puts maps side by side that look at different places; counted as seeing everything"
)


def _is_followed(step: Step) -> bool:
    """Whether units of a step are in an order that is known, and those that it reads, too."""
    return not (step.unaligned or step.turned or step.seams)


def _seeing_what_is_not_followed(
    node: EnrichedNetworkNode, steps: Sequence[Step]
) -> EnrichedNetworkNode:
    """Return a node that sees everything where it is not known how far apart its maps look."""
    if all(map(_is_followed, steps)):
        return node
    apart = _where(_differ, node, [step.unaligned for step in steps])
    apart |= _where(_is_spread, node, [step.turned for step in steps])
    seams = _where(_differ, node, [step.seams for step in steps])
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


def _where(
    differs: Callable[[EnrichedNetworkNode, int], bool],
    node: EnrichedNetworkNode,
    several: Iterable[frozenset[int]],
) -> set[int]:
    return {axis for axis in frozenset[int]().union(*several) if differs(node, axis)}


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
