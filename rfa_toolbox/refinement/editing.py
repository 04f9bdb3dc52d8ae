"""From a graph and some edits to the graph of the edited network, without a model.

Sizes of maps, parameters and compute follow from those that the encoder measured: what a layer
does at one size tells what it does at another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    LayerDefinition,
    Measures,
    ancestors,
    copy_behind,
    keep_together,
    require_node,
)
from rfa_toolbox.operators.windows import Window, interpolation
from rfa_toolbox.refinement.edits import (
    CutBehind,
    Edit,
    InsertPooling,
    Rebuild,
    RemovePooling,
    Repeat,
    SetWindow,
)
from rfa_toolbox.refinement.maps import (
    MapRule,
    map_rules,
    resampled,
    transposed_by,
    with_padding,
    with_windows,
)
from rfa_toolbox.refinement.nodes import (
    calls_of_layers,
    channels_of,
    is_in_head,
    is_pooling,
    is_transposed,
    named,
    pools,
    sees_all,
)
from rfa_toolbox.refinement.repeats import RepeatedBlock, block_named

__all__ = ["Editable", "edit", "with_window"]

Sizes: TypeAlias = "tuple[int, ...]"


def edit(graph: EnrichedNetworkNode, edits: Iterable[Edit]) -> EnrichedNetworkNode:
    """Return the graph of a network after some changes; the given one stays as it is.

    Layers keep their names. A layer that is called several times changes in all of its calls. Sizes
    of maps, parameters and compute are those at the input size that the graph was made with.

    Args:
        graph: any node of the graph.
        edits: the changes; all of them speak of the graph as it is given.

    Returns:
        The node that stands where the given one stood, or the nearest one in front of it if that
        was left out.

    Raises:
        RefinementError: a ValueError, if a layer has no such name, cannot be changed in this way,
            or if the network would not run; it names the layers that have to change together.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> from rfa_toolbox import input_resolution_range
    >>> graph = resnet18()
    >>> stem = graph.all_layers[1].name
    >>> input_resolution_range(edit(graph, [SetWindow(stem, stride=1)]))[0]
    (73, 73)
    """
    return Editable(graph).edited(edits)


class Editable:
    """A graph that is edited many times: what is known of its layers is found out once."""

    def __init__(self, graph: EnrichedNetworkNode) -> None:
        self.graph = require_node(graph)
        self.nodes = graph.all_layers
        self.by_name = {node.name: node for node in self.nodes}
        self._calls = calls_of_layers(self.nodes)
        self.measures: dict[object, Measures] = {}
        """What layers have and do, by all that it depends on."""
        self._rules: dict[EnrichedNetworkNode, tuple[MapRule, ...]] = {}

    def edited(self, edits: Iterable[Edit]) -> EnrichedNetworkNode:
        """Return the graph with some edits, as ``edit`` does."""
        editor = self._editor(edits)
        keep_together(editor.made)
        return editor.place_of(self.graph)

    def nodes_with(self, edits: Iterable[Edit]) -> list[EnrichedNetworkNode]:
        """Return all layers of the graph with some edits, predecessors first.

        They are gone with the list: many graphs that are looked at once need no collector.
        """
        return self._editor(edits).made

    def _editor(self, edits: Iterable[Edit]) -> _Editor:
        editor = _Editor(self, _edits_in(edits))
        for node in self.nodes:
            editor.visit(node)
        return editor

    def calls(self, node: EnrichedNetworkNode) -> tuple[EnrichedNetworkNode, ...]:
        """Return the nodes of a layer, which may be called several times."""
        return self._calls.get(node.name, (node,))

    def rules(self, node: EnrichedNetworkNode, before: Sizes) -> tuple[MapRule, ...]:
        """Return how a layer makes the size of its map, which was made of one of this size."""
        found = self._rules.get(node)
        if found is None:
            found = map_rules(node.layer_info, before, node.feature_map or ())
            self._rules[node] = found
        return found


class _Place(NamedTuple):
    """What a node became: a new node, and the sizes of its map before and after."""

    node: EnrichedNetworkNode | None
    then: Sizes | None
    now: Sizes | None
    source: EnrichedNetworkNode | None = None
    """Where the map comes from; the original node in which its size was decided."""
    alike: bool = False
    """Whether nothing changed up to here, so that the node is a mere copy."""


class _Editor:
    """Builds the edited graph, node by node in the order of execution."""

    def __init__(self, network: Editable, edits: Sequence[Edit]) -> None:
        nodes, by_name = network.nodes, network.by_name
        self._network = network
        self.made: list[EnrichedNetworkNode] = []
        self._places: dict[EnrichedNetworkNode, _Place] = {}
        self._windows: dict[EnrichedNetworkNode, SetWindow] = {}
        self._removed: set[EnrichedNetworkNode] = set()
        self._inserted: dict[EnrichedNetworkNode, list[InsertPooling]] = {}
        self._widened: dict[EnrichedNetworkNode, Fraction] = {}
        self._cut: dict[EnrichedNetworkNode, EnrichedNetworkNode] = {}
        self._repeated: dict[EnrichedNetworkNode, tuple[RepeatedBlock, int]] = {}
        _check_once(edits)
        for one in edits:
            if isinstance(one, Rebuild):
                raise RefinementError(
                    f"The edit {one.words!r} takes the constructor of the model; no graph tells "
                    "what it makes. Pass the model to apply_refinement(model, refinement)."
                )
            if isinstance(one, Repeat):
                self._plan_repeats(nodes, one)
                continue
            node = named(by_name, one.node)
            if isinstance(one, SetWindow):
                for call in network.calls(node):
                    self._windows[call] = self._merged(call, one)
            elif isinstance(one, RemovePooling):
                for call in network.calls(node):
                    _check_pooling(call)
                    self._removed.add(call)
            elif isinstance(one, InsertPooling):
                self._inserted.setdefault(node, []).append(one)
            elif isinstance(one, CutBehind):
                self._plan_cut(nodes, node)
        self._padders = {
            node.predecessors[0] for node in self._windows if self._pads_in_front(node)
        }

    def _merged(self, node: EnrichedNetworkNode, new: SetWindow) -> SetWindow:
        _check_window(node, new)
        known = self._windows.get(node)
        if known is None:
            return new
        merged: dict[str, Any] = {}
        for name in ("stride", "kernel", "upsampling"):
            old, wanted = getattr(known, name), getattr(new, name)
            if None not in (old, wanted) and old != wanted:
                raise RefinementError(_contradiction(known, new))
            merged[name] = old if wanted is None else wanted
        return attrs.evolve(known, **merged)

    def _plan_repeats(self, nodes: Sequence[EnrichedNetworkNode], wanted: Repeat) -> None:
        block = block_named(nodes, wanted.block)
        if wanted.times == 0:
            self._removed.update(block.nodes)
        elif wanted.times > 1:
            self._repeated[block.last] = block, wanted.times

    def _plan_cut(self, nodes: Sequence[EnrichedNetworkNode], behind: EnrichedNetworkNode) -> None:
        head = [node for node in nodes if is_in_head(node)]
        if behind in head or not head:
            raise RefinementError(
                f"Nothing can be cut behind {behind.name!r}: it must stand in front of the head, "
                "which begins with an operation that sees everything, such as a global pooling."
            )
        kept = ancestors(behind) | set(head)
        self._removed.update(node for node in nodes if node not in kept)
        entries = [
            node
            for node in head
            if any(one in self._removed or one is behind for one in node.predecessors)
        ]
        if len(entries) != 1 or len(entries[0].predecessors) != 1:
            raise RefinementError(
                f"Nothing can be cut behind {behind.name!r}: the head reads the network at "
                f"{[node.name for node in entries]!r}, and a cut needs one place."
            )
        self._cut[entries[0]] = behind
        self._plan_head(entries[0], behind, head)

    def _plan_head(
        self,
        entry: EnrichedNetworkNode,
        behind: EnrichedNetworkNode,
        head: Sequence[EnrichedNetworkNode],
    ) -> None:
        """Note which layers of the head read another number: up to the first that has its own."""
        channels = [channels_of(entry.predecessors[0]), channels_of(behind)]
        if None in channels:
            raise RefinementError(
                f"Nothing can be cut behind {behind.name!r}: the graph does not tell how many "
                "channels it has."
            )
        ratio = Fraction(channels[1] or 1, channels[0] or 1)
        reached = {entry}
        for node in head:
            if node is not entry and not reached.intersection(node.predecessors):
                continue
            self._widened[node] = ratio
            if node.layer_info.units is None and node.layer_info.filters is None:
                reached.add(node)

    def place_of(self, node: EnrichedNetworkNode) -> EnrichedNetworkNode:
        """Return the new node that stands where a node stood."""
        while True:
            made = self._places[node].node
            if made is not None:
                return made
            node = node.predecessors[0]

    def visit(self, node: EnrichedNetworkNode) -> None:
        """Make what a node becomes."""
        if node in self._removed:
            self._places[node] = self._leave_out(node)
            return
        before = [self._place_read(node, one) for one in node.predecessors]
        if all(one.alike for one in before) and not self._is_changed(node):
            place = self._as_it_was(node, before)
        else:
            place = self._renewed(node, before)
        if node in self._repeated:
            block, times = self._repeated[node]
            for number in range(2, times + 1):
                place = self._copied(block, place, number)
        self._places[node] = self._finished(node, place)

    def _is_changed(self, node: EnrichedNetworkNode) -> bool:
        return node in self._windows or node in self._padders or node in self._widened

    def _as_it_was(self, node: EnrichedNetworkNode, before: Sequence[_Place]) -> _Place:
        new = copy_behind(node, [one.node for one in before if one.node is not None])
        self.made.append(new)
        units = node.feature_map
        source = before[0].source if before and before[0].now == units else node
        return _Place(new, units, units, source, alike=True)

    def _finished(self, node: EnrichedNetworkNode, place: _Place) -> _Place:
        """Put what stands behind a node there."""
        for edit_ in self._inserted.get(node, ()):
            place = self._pooled(node, place, edit_.size)
        return place

    def _copied(self, block: RepeatedBlock, front: _Place, number: int) -> _Place:
        """Put a copy of a block behind a place, and return the place behind it."""
        places = {block.front: front._replace(then=block.front.feature_map, alike=False)}
        for node in block.nodes:
            before = [places[one] for one in node.predecessors]
            if node in self._removed:
                places[node] = before[0]._replace(then=node.feature_map, alike=False)
                continue
            name = block.copy_of_name(node.name, number) or node.name
            path = block.copy_of_name(node.module_path, number)
            place = self._renewed(node, before, name, path)
            places[node] = place if node is block.last else self._finished(node, place)
        return places[block.last]

    def _place_read(self, node: EnrichedNetworkNode, before: EnrichedNetworkNode) -> _Place:
        """Return what a node reads now in place of another one."""
        if node not in self._cut:
            return self._places[before]
        return self._places[self._cut[node]]._replace(then=before.feature_map, alike=False)

    def _leave_out(self, node: EnrichedNetworkNode) -> _Place:
        if not node.predecessors:
            return _Place(None, node.feature_map, node.feature_map, node)
        return self._places[node.predecessors[0]]._replace(then=node.feature_map, alike=False)

    def _renewed(
        self,
        node: EnrichedNetworkNode,
        before: Sequence[_Place],
        name: str | None = None,
        module_path: str | None = None,
    ) -> _Place:
        """Return the place of a node that stays, or of its copy with another name."""
        then, now = self._sizes_in_front(node, before)
        layer, sizes = self._layer(node, then, now)
        units = sizes if sizes is not None else node.feature_map
        new = EnrichedNetworkNode(
            name or node.name,
            layer,
            [one.node for one in before if one.node is not None],
            node.receptive_field_info_filter,
            module_path or node.module_path,
            node.certainty,
            node.certainty_reason,
            node.offsets,
            self._measures(node, layer, units, before),
        )
        self.made.append(new)
        decides = units != now or node in self._windows or not before
        source = node if decides else before[0].source
        return _Place(new, node.feature_map, units, source)

    def _sizes_in_front(
        self, node: EnrichedNetworkNode, before: Sequence[_Place]
    ) -> tuple[Sizes | None, Sizes | None]:
        """Return the size of the map that a node reads, before and after the changes."""
        image = node.encoded_resolution
        if not before:
            return image, image
        if image is None or any(one.then is None or one.now is None for one in before):
            return None, None
        largest = max(before, key=lambda one: math.prod(one.then or ()))
        for one in before:
            if one.then == largest.then and one.now != largest.now:
                raise RefinementError(_unequal(node, largest, one))
        return largest.then, largest.now

    def _layer(
        self, node: EnrichedNetworkNode, then: Sizes | None, now: Sizes | None
    ) -> tuple[LayerDefinition, Sizes | None]:
        """Return the layer of a node after the changes, and the size of its map."""
        layer, wanted = node.layer_info, self._windows.get(node)
        new = layer if wanted is None else with_window(layer, wanted, node.axes or 1)
        if then is None or now is None or node.feature_map is None:
            return new, None
        pads = node in self._padders
        if wanted is None and then == now and not pads:
            return layer, node.feature_map
        rules = self._network.rules(node, then)
        if wanted is not None and wanted.upsampling is not None:
            rules = tuple(_resized_rule(new, axis, rule) for axis, rule in enumerate(rules))
        elif wanted is not None:
            rules = tuple(
                _edited_rule(rule, one, self._pads_in_front(node))
                for rule, one in zip(rules, _windows_of(new, len(then)), strict=True)
            )
        if pads:
            rules = tuple(self._repaired(node, rules))
        units = tuple(rule.units(size) for rule, size in zip(rules, now, strict=True))
        if min(units) < 1:
            raise RefinementError(
                f"{node.name!r} would have a map of {units} units: the map in front of it has "
                f"{now}, which its kernel {new.kernel_size} does not fit on."
            )
        self._check_flattened(node, then, now)
        if layer.resolution_dependent:
            return resampled(layer, now, units), units
        if wanted is not None and wanted.upsampling is not None:
            return new, units
        paddings = [rule.padding(size) for rule, size in zip(rules, now, strict=True)]
        return with_padding(new, paddings), units

    def _pads_in_front(self, node: EnrichedNetworkNode) -> bool:
        """Whether a layer of its own pads for a node."""
        return len(node.predecessors) == 1 and _is_padding(node.predecessors[0])

    def _repaired(self, node: EnrichedNetworkNode, rules: Sequence[MapRule]) -> Iterable[MapRule]:
        """Yield the padding that keeps the size of a map in front of a layer that was changed."""
        reader = next(one for one in self._windows if one.predecessors[:1] == (node,))
        layer = with_window(reader.layer_info, self._windows[reader], len(rules))
        for rule, (kernel, _) in zip(rules, _windows_of(layer, len(rules)), strict=True):
            yield attrs.evolve(rule, begin=(kernel - 1) // 2, end=kernel // 2)

    def _check_flattened(self, node: EnrichedNetworkNode, then: Sizes, now: Sizes) -> None:
        """Refuse another number of positions in front of weights that have one for each of them."""
        if then == now or node.layer_info.resolution_dependent:
            return
        if node.layer_info.name.lower() not in _FLATTENING or node.layer_info.kernel_size == 1:
            return
        dense = next((one for one in _behind(node) if one.layer_info.units is not None), None)
        if dense is not None and sees_all(node.layer_info):
            raise RefinementError(
                f"{dense.name!r} has a weight for every position of the map that {node.name!r} "
                f"flattens, {then}; it would be {now}. Put a pooling of a fixed size in front of "
                "it, or build that layer for the new size."
            )

    def _measures(
        self,
        node: EnrichedNetworkNode,
        layer: LayerDefinition,
        units: Sizes | None,
        before: Sequence[_Place],
    ) -> Measures:
        """Return what a layer has and does after the changes."""
        wide = self._widened.get(node)
        old = node.measures
        if wide is None and layer.kernel_size == node.layer_info.kernel_size:
            if units == old.feature_map and all(one.then == one.now for one in before):
                return old
            if not old.work:
                return Measures(old.encoded_resolution, units, old.parameters, old.work)
        sizes = (before[-1].then, before[-1].now) if before else None
        known = self._network.measures
        key = (node, layer.kernel_size, wide, units, sizes)
        if key not in known:
            known[key] = self._measured(node, layer, units, before, wide or Fraction(1))
        return known[key]

    @staticmethod
    def _measured(
        node: EnrichedNetworkNode,
        layer: LayerDefinition,
        units: Sizes | None,
        before: Sequence[_Place],
        wide: Fraction,
    ) -> Measures:
        old = node.measures
        axes = node.axes or 1
        area = _area(layer, axes) / _area(node.layer_info, axes)
        growth = _growth(node.feature_map, units, axes)
        # What multiplies all positions with all others may read the others from a smaller map.
        others = _growth(before[-1].then, before[-1].now, axes) if before else growth
        if is_transposed(node.layer_info) or (
            units is not None and set(units) == {1} == set(node.feature_map or ())
        ):
            # A sum over all positions takes work for each, and leaves none; and a transposed
            # convolution works on what it reads.
            growth = others
        work = old.work and tuple(
            (_times(count, area * wide, growth, others, powers), powers)
            for count, powers in old.work
        )
        return Measures(old.encoded_resolution, units, _parameters(node, area * wide), work)

    def _pooled(self, node: EnrichedNetworkNode, place: _Place, size: int) -> _Place:
        """Put a pooling behind a node, and let all that read the node read the pooling."""
        assert place.node is not None  # noqa: S101 - a node that stays was made
        kind, axes = _pooling_like(node), node.axes
        units = None if place.now is None else tuple(one // size for one in place.now)
        if units is not None and 0 in units:
            raise RefinementError(
                f"A pooling by {size} does not fit behind {node.name!r}, whose map has {place.now} "
                "units."
            )
        several: Any = size if axes is None else (size,) * axes
        padding: Any = 0 if axes is None else ((0, 0),) * axes
        layer = LayerDefinition(kind, several, several, padding=padding)
        measures = Measures(node.encoded_resolution, units, 0, ())
        name = f"{place.node.name}/pooling"
        new = EnrichedNetworkNode(name, layer, [place.node], measures=measures)
        self.made.append(new)
        return place._replace(node=new, now=units, source=node, alike=False)


# --- questions about nodes ---------------------------------------------------------------------

_FLATTENING = {"flatten", "view", "reshape"}


def _edits_in(value: Any) -> tuple[Edit, ...]:
    several = tuple(value) if isinstance(value, Iterable) else (value,)
    for one in several:
        if not isinstance(one, Edit):
            raise RefinementError(
                f"An edit is {one!r}; it must be one of rfa_toolbox.refinement, such as "
                "SetWindow('conv1', stride=1), and edits are given as a list."
            )
    return several


def _check_once(edits: Sequence[Edit]) -> None:
    """Refuse to do the same twice to a layer; several poolings can stand behind it, though."""
    said: dict[tuple[str, str], Edit] = {}
    for one in edits:
        if isinstance(one, RemovePooling | Repeat | CutBehind):
            name = one.block if isinstance(one, Repeat) else one.node
            place = one.kind, "" if isinstance(one, CutBehind) else name  # there is one end
            if place in said:
                raise RefinementError(_contradiction(said[place], one))
            said[place] = one
    for one in edits:
        if isinstance(one, SetWindow) and (RemovePooling.kind, one.node) in said:
            raise RefinementError(_contradiction(RemovePooling(one.node), one))


def _contradiction(one: Edit, other: Edit) -> str:
    if one == other:
        return f"The edit {one.words!r} is there twice; name it once."
    return (
        f"The edits {one.words!r} and {other.words!r} cannot both be made; leave one of them out."
    )


def _check_window(node: EnrichedNetworkNode, new: SetWindow) -> None:
    """Refuse a layer that has no window of its own, and a window of other axes."""
    axes = node.axes or 1
    for value in (new.stride, new.kernel, new.upsampling):
        if isinstance(value, tuple) and len(value) != axes:
            raise RefinementError(
                f"{node.name!r} would get {value!r}, and it has {axes} axes: give it one number, "
                "or one per axis."
            )
    if sees_all(node.layer_info) or node.layer_info.resolution_dependent:
        raise RefinementError(
            f"{node.name!r} has no stride and no kernel of its own: it is "
            f"{node.layer_info.name}, which sees everything or goes by the size of the image."
        )


def _check_pooling(node: EnrichedNetworkNode) -> None:
    if not is_pooling(node) or len(node.predecessors) != 1:
        raise RefinementError(
            f"{node.name!r} is {node.layer_info.name}; only poolings that read one map can be left "
            "out."
        )


def _is_padding(node: EnrichedNetworkNode) -> bool:
    return node.layer_info.name.startswith("ZeroPadding")


def _behind(node: EnrichedNetworkNode) -> Iterable[EnrichedNetworkNode]:
    found = {node}
    for one in node.all_layers:
        if one not in found and found.intersection(one.predecessors):
            found.add(one)
            yield one


def _pooling_like(node: EnrichedNetworkNode) -> str:
    """Return what the format that a graph comes from calls a maximum pooling."""
    axes = node.axes or 2
    names = {one.layer_info.name for one in node.all_layers}
    capital = any(name.endswith(f"{axes}D") for name in names)
    return f"MaxPooling{axes}D" if capital else f"MaxPool{axes}d"


def _unequal(node: EnrichedNetworkNode, one: _Place, other: _Place) -> str:
    sources = [place.source.name for place in (one, other) if place.source is not None]
    return (
        f"{node.name!r} would read maps of {one.now} and {other.now} units, which were {one.then} "
        f"both. Layers of all branches have to change together; look at {' and '.join(sources)}."
    )


# --- numbers of layers -------------------------------------------------------------------------


def _windows_of(layer: LayerDefinition, axes: int) -> list[tuple[int, int]]:
    """Return the effective kernel and the stride of a layer per axis."""
    values = (layer.kernel_size, layer.stride_size, layer.dilation)
    kernels, strides, dilations = (arithmetic.broadcast(one, axes) for one in values)
    return [
        (dilation * (int(kernel) - 1) + 1, stride)
        for kernel, stride, dilation in zip(kernels, strides, dilations, strict=True)
    ]


def with_window(layer: LayerDefinition, wanted: SetWindow, axes: int) -> LayerDefinition:
    """Return a layer with another window, in the form that it had: per axis or for all."""
    per_axis = isinstance(layer.kernel_size, tuple)

    def given(value: Any, old: Any) -> Any:
        if value is None:
            return old
        return tuple(arithmetic.broadcast(value, axes)) if per_axis else value

    if wanted.upsampling is not None:
        return _with_upsampling(layer, tuple(arithmetic.broadcast(wanted.upsampling, axes)))
    kernel = wanted.kernel
    follows = kernel is None and wanted.stride is not None and _is_unpadded_pooling(layer)
    return attrs.evolve(
        layer,
        kernel_size=given(wanted.stride if follows else kernel, layer.kernel_size),
        stride_size=given(wanted.stride, layer.stride_size),
    )


def _with_upsampling(layer: LayerDefinition, factors: Sequence[int]) -> LayerDefinition:
    """Return an up-sampling by other factors, of the same kind: nearest, linear, or transposed."""
    if is_transposed(layer):
        return transposed_by(layer, factors)
    old = zip(
        arithmetic.broadcast(layer.kernel_size, len(factors)),
        arithmetic.broadcast(layer.upsampling, len(factors)),
        strict=True,
    )
    windows = [
        Window() if new == 1 else interpolation(_kind_of_upsampling(layer, *one), Fraction(1, new))
        for one, new in zip(old, factors, strict=True)
    ]
    return with_windows(layer, windows)


def _kind_of_upsampling(layer: LayerDefinition, kernel: int, factor: int) -> str:
    for kind in ("nearest", "bilinear", "bicubic"):
        if interpolation(kind, Fraction(1, factor)).kernel == kernel:
            return kind
    raise RefinementError(
        f"The up-sampling of {layer.name!r} (kernel {kernel}, factor {factor}) is of a kind that "
        "cannot be changed; change it in the model."
    )


def _resized_rule(layer: LayerDefinition, axis: int, rule: MapRule) -> MapRule:
    """Return the rule of an up-sampling by a whole factor: every unit becomes that many."""
    factor = layer.upsampling[axis]
    if is_transposed(layer):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        return MapRule(
            reach + 1, factor=factor, begin=layer.padding[axis][0], end=layer.padding[axis][1]
        )
    return MapRule(kernel=1, factor=factor, end=factor - 1)


def _is_unpadded_pooling(layer: LayerDefinition) -> bool:
    """Whether a layer pools windows that lie side by side, without padding."""
    paddings = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,)
    begins = [one[0] if isinstance(one, tuple) else one for one in paddings]
    return pools(layer) and layer.kernel_size == layer.stride_size and not any(begins)


def _edited_rule(rule: MapRule, window: tuple[int, int], padded_in_front: bool) -> MapRule:
    """Return the rule of a layer with another effective kernel and stride."""
    kernel, stride = window
    begin, end = rule.begin, rule.end
    if kernel != rule.kernel and not padded_in_front and begin == (rule.kernel - 1) // 2 > 0:
        begin = end = (kernel - 1) // 2
    return attrs.evolve(rule, kernel=kernel, stride=stride, begin=begin, end=end)


def _area(layer: LayerDefinition, axes: int) -> Fraction:
    """Return the number of weights under a window, per channel."""
    kernels = arithmetic.broadcast(layer.kernel_size, axes)
    return Fraction(math.prod(1 if one == math.inf else int(one) for one in kernels))


_Growth: TypeAlias = "Sequence[tuple[int, int]]"
"""The size of a map as it is and as it was, per axis."""


def _growth(then: Sizes | None, now: Sizes | None, axes: int) -> _Growth:
    if then is None or now is None:
        return [(1, 1)] * axes
    return [(new, max(1, old)) for new, old in zip(now, then, strict=True)]


def _times(
    count: int, factor: Fraction, growth: _Growth, others: _Growth, powers: Sequence[int]
) -> int:
    """Return how work grows: with a map, and where it grows twice, with the map of the others."""
    now, then = count * factor.numerator, factor.denominator
    for one, other, power in zip(growth, others, powers, strict=True):
        if power > 0:
            now, then = now * one[0], then * one[1]
        if power > 1:
            now, then = now * other[0], then * other[1]
    return now // then if now % then == 0 else round(Fraction(now, then))


def _parameters(node: EnrichedNetworkNode, factor: Fraction) -> int | None:
    """Return the parameters of a layer with this many times its weights; its bias stays."""
    count = node.parameters
    if count is None or factor == 1:
        return count
    outputs = node.layer_info.filters or node.layer_info.units or 0
    worked_on = node.predecessors[0] if is_transposed(node.layer_info) else node
    maps = math.prod(worked_on.feature_map or (1,))
    weights = sum(amount for amount, _ in node.measures.work or ()) // max(1, maps)
    bias = outputs if outputs and count == weights + outputs else 0
    return round((count - bias) * factor) + bias
