"""From a Keras model, or the JSON of one, to the graph of its layers.

No framework is imported here: a model is asked for its JSON, and that is all that is read.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.domain import Certainty
from rfa_toolbox.encodings.tensorflow_keras import costs, layer_handlers
from rfa_toolbox.encodings.tensorflow_keras.gates import Link, find_gates
from rfa_toolbox.encodings.tensorflow_keras.layer_handlers import definition
from rfa_toolbox.encodings.tensorflow_keras.model_json import (
    CallRecord,
    ModelRecord,
    Shape,
    TensorRef,
    load_model_dict,
    parse_model_dict,
    read_model,
)
from rfa_toolbox.encodings.tensorflow_keras.positions import (
    STAND_IN,
    Effect,
    FirstWindow,
    LayerCall,
    Value,
    activated,
    as_returned,
    input_value,
    resized,
    settle,
    stand_in_shape,
    with_leading,
    without_leading,
)
from rfa_toolbox.errors import InvalidGraphError, UnsupportedModelError
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    InfoFilter,
    LayerDefinition,
    Measures,
    keep_together,
    resolve_filter,
)
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.layout import Atom, Dimension
from rfa_toolbox.operators.windows import NEUTRAL, Window, in_blocks, with_statistics

__all__ = [
    "DEFAULT_HANDLERS",
    "PARSERS",
    "create_graph_from_keras_json",
    "create_graph_from_model",
    "keras_model_to_dict",
    "model_dict_to_enriched_graph",
]

GlobalOps: TypeAlias = Literal["ignore_gates", "count", "ignore"]

PARSERS: tuple[layer_handlers.LayerInfoHandler, ...] = (
    layer_handlers.InputHandler(),
    layer_handlers.KernelBasedHandler(),
    layer_handlers.TransposedConvolutionHandler(),
    layer_handlers.PoolingBasedHandler(),
    layer_handlers.AdaptivePoolingHandler(),
    layer_handlers.GlobalPoolingHandler(),
    layer_handlers.DenseHandler(),
    layer_handlers.EinsumDenseHandler(),
    layer_handlers.FlattenHandler(),
    layer_handlers.UpSamplingHandler(),
    layer_handlers.PaddingHandler(),
    layer_handlers.ReshapeHandler(),
    layer_handlers.ResizingHandler(),
    layer_handlers.MergeHandler(),
    layer_handlers.ConcatenateHandler(),
    layer_handlers.DotHandler(),
    layer_handlers.AttentionHandler(),
    layer_handlers.RecurrentHandler(),
    layer_handlers.ConvolutionalRecurrentHandler(),
    layer_handlers.EmbeddingHandler(),
    layer_handlers.SoftmaxHandler(),
    layer_handlers.SpectrogramHandler(),
    layer_handlers.NeutralHandler(),
    layer_handlers.OperationHandler(),
    layer_handlers.AnyHandler(),
)
"""The handlers of this package in the order in which they are asked; the last takes everything."""

DEFAULT_HANDLERS: HandlerChain[LayerCall] = HandlerChain(PARSERS)
"""The chain that is used where none is passed; ``with_handler`` puts yours in front."""

_OWN_TYPES = frozenset(map(type, PARSERS))


# --- the doors -------------------------------------------------------------------------------


def create_graph_from_model(
    model: Any,
    filter_rf: str | InfoFilter | None = None,
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> EnrichedNetworkNode:
    """Return the graph of a Keras model's layers, with their receptive fields in input pixels.

    Only ``model.to_json()`` is called, so any backend will do, and the model is not changed.

    Args:
        model: a functional or sequential model of Keras 3 or of tf.keras.
        filter_rf: which paths through the network to keep: None keeps all, ``"inf"`` leaves out
            those with an infinite receptive field, a function gets a tuple of
            ``ReceptiveFieldInfo`` and returns those to keep.
        global_ops: how to look at layers that see the whole image: ``"ignore_gates"`` counts
            them, unless their result only re-weights or normalises the map that it came from;
            ``"count"`` counts all of them, ``"ignore"`` none.
        handlers: a chain of handlers to describe layers with, in place of ``DEFAULT_HANDLERS``.

    Returns:
        The node of the model's first output. All the other nodes are in its ``all_layers``.

    Raises:
        UnsupportedModelError: a ValueError, if this is no model, or a subclassed one, whose
            JSON holds no layers.

    Warns:
        UserWarning: if a Sequential holds a layer several times, as its JSON tells of one only.

    >>> import json
    >>> class Model:
    ...     def to_json(self):
    ...         conv = {"class_name": "Conv2D", "config": {"kernel_size": [5, 5], "filters": 8}}
    ...         return json.dumps({"class_name": "Sequential", "config": {"layers": [conv]}})
    >>> create_graph_from_model(Model()).receptive_field_max
    (5, 5)
    """
    model_dict = keras_model_to_dict(model)
    _warn_of_lost_calls(model, model_dict)
    return _graph(model_dict, filter_rf, global_ops, handlers)


def create_graph_from_keras_json(
    text_or_path: str | PathLike[str] | Mapping[str, Any],
    filter_rf: str | InfoFilter | None = None,
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> EnrichedNetworkNode:
    """Return the graph of a model from what ``model.to_json()`` wrote; needs no framework.

    Args:
        text_or_path: the text itself, or the path of a file that holds it; a ``.keras`` archive
            will do as well.
        filter_rf: as in ``create_graph_from_model``.
        global_ops: as in ``create_graph_from_model``.
        handlers: as in ``create_graph_from_model``.

    Raises:
        UnsupportedModelError: a ValueError, if this is no JSON of a model with layers.
        FileNotFoundError: if there is no such file.

    >>> import json
    >>> conv = {"class_name": "Conv1D", "config": {"kernel_size": [3], "filters": 8}}
    >>> text = json.dumps({"class_name": "Sequential", "config": {"layers": [conv]}})
    >>> create_graph_from_keras_json(text).receptive_field_max
    (3,)
    """
    return _graph(load_model_dict(text_or_path), filter_rf, global_ops, handlers)


def keras_model_to_dict(model: Any) -> dict[str, Any]:
    """Return the architecture of a Keras model as the plain values of its JSON.

    Raises:
        UnsupportedModelError: a ValueError, if this is no Keras model.
    """
    to_json = getattr(model, "to_json", None)
    if not callable(to_json) or isinstance(model, type):
        hint = ""
        if isinstance(model, str | bytes | PathLike | Mapping):
            hint = " For JSON or the path of a file, use create_graph_from_keras_json."
        raise UnsupportedModelError(
            f"{str(model)[:200]!r} is a {type(model).__name__}, and has no to_json(); expected is "
            f"a Keras model.{hint}"
        )
    text = to_json()
    if not isinstance(text, str):
        raise UnsupportedModelError(
            f"to_json() of this {type(model).__name__} returned a {type(text).__name__}, no text; "
            "expected is a Keras model."
        )
    return parse_model_dict(text)


def _warn_of_lost_calls(model: Any, model_dict: Mapping[str, Any]) -> None:
    """Warn of layers that a Sequential calls more often than its JSON says.

    Keras writes every layer of a Sequential once. The live model is only looked at.
    """
    for sequential in _sequentials(model, set()):
        name = str(getattr(sequential, "name", type(sequential).__name__))
        called = Counter(map(id, _layers_of(sequential)))
        repeated = {id(one): one for one in _layers_of(sequential) if called[id(one)] > 1}
        written = _written(model_dict, name)
        for number, layer in repeated.items():
            own = str(getattr(layer, "name", type(layer).__name__))
            if written.get(own, 0) < called[number]:
                warnings.warn(
                    f"The Sequential {name!r} calls the layer {own!r} {called[number]} times, but "
                    f"its to_json() writes it {written.get(own, 0)}x: Keras leaves out the other "
                    "calls, so that they are missing in this graph, and receptive fields may be "
                    "too small. Build the model with the functional API (x = layer(x) for every "
                    "call), and encode that.",
                    UserWarning,
                    stacklevel=3,
                )


def _layers_of(model: Any) -> list[Any]:
    """Return the layers of a live model, each as often as it is called in a Sequential."""
    for name in ("_layers", "_self_tracked_trackables", "layers"):
        layers = getattr(model, name, None)
        if isinstance(layers, list | tuple) and layers:
            return list(layers)
    return []


def _sequentials(layer: Any, seen: set[int]) -> list[Any]:
    """Return all Sequential models in a live model, itself included."""
    if id(layer) in seen:
        return []
    seen.add(id(layer))
    own = any(one.__name__ == "Sequential" for one in type(layer).__mro__)
    inner = _layers_of(layer)
    for name in ("layer", "forward_layer", "backward_layer"):
        if getattr(layer, name, None) is not None:
            inner.append(getattr(layer, name))
    found = [layer] if own else []
    return found + [one for part in inner for one in _sequentials(part, seen)]


def _written(value: Any, name: str) -> Counter[str]:
    """Return how often the JSON of a model lists each layer of the model of that name in it."""
    found: Counter[str] = Counter()
    if isinstance(value, Mapping):
        layers = value.get("layers")
        if value.get("name") == name and isinstance(layers, list):
            for layer in layers:
                config = layer.get("config") if isinstance(layer, Mapping) else None
                if isinstance(config, Mapping):
                    found[str(config.get("name"))] += 1
            return found
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            found |= _written(one, name)
    return found


def model_dict_to_enriched_graph(
    model_dict: Mapping[str, Any],
    filter_rf: str | InfoFilter | None = None,
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> EnrichedNetworkNode:
    """Return the graph of a model from what ``keras_model_to_dict`` returned."""
    return _graph(model_dict, filter_rf, global_ops, handlers)


# --- from records to nodes -------------------------------------------------------------------


def _graph(
    model: Mapping[str, Any],
    filter_rf: str | InfoFilter | None,
    global_ops: str,
    handlers: HandlerChain[LayerCall] | None,
) -> EnrichedNetworkNode:
    keep = resolve_filter(filter_rf)
    if global_ops not in ("ignore_gates", "count", "ignore"):
        raise InvalidGraphError(
            f"global_ops is {global_ops!r}; valid are 'ignore_gates', 'count' and 'ignore'."
        )
    chain = DEFAULT_HANDLERS if handlers is None else handlers
    if not isinstance(chain, HandlerChain):
        raise UnsupportedModelError(
            f"handlers is {handlers!r}; expected is a HandlerChain, for example "
            "DEFAULT_HANDLERS.with_handler(your_handler)."
        )
    record = read_model(model)
    walk = _Walk(record, _spatial_dimensions(record, chain), chain).run()
    outputs = list(dict.fromkeys(walk.made[ref.call] for ref in record.outputs))
    neutral: frozenset[int] = frozenset()
    if global_ops == "ignore_gates":
        neutral = find_gates([step.link for step in walk.steps], outputs)
    elif global_ops == "ignore":
        neutral = frozenset(range(len(walk.steps)))
    nodes: list[EnrichedNetworkNode] = []
    for number, step in enumerate(walk.steps):
        layer = step.counted if step.counted and global_ops == "count" else step.layer
        node = EnrichedNetworkNode(
            step.record.name,
            _without_infinite(step.layer) if number in neutral else layer,
            [nodes[source] for source in step.link.sources],
            keep,
            step.record.path,
            step.certainty,
            step.reason,
            step.offsets,
            step.measures,
        )
        apart = [axis for axis in step.unaligned if _differ(node, axis)]
        apart += [axis for axis in step.turned if _is_spread(node, axis)]
        seams = [axis for axis in step.seams if _differ(node, axis)]
        if (apart or seams) and node.certainty != "unknown":
            node = attrs.evolve(
                node,
                layer_info=_seeing_everything(node.layer_info, {*apart, *seams}),
                certainty="bound",
                certainty_reason=_NOT_ALIGNED if apart else _SIDE_BY_SIDE,
            )
        nodes.append(node)
    keep_together(nodes)
    _warn_of_unknown(walk.steps)
    return nodes[outputs[0]]


_NOT_ALIGNED = (
    "units of maps meet in it whose distance differs from place to place, or is not known; counted "
    "as seeing everything"
)
_SIDE_BY_SIDE = (
    "it puts maps side by side that look at different places; counted as seeing everything"
)


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


def _seeing_everything(layer: LayerDefinition, axes: Collection[int]) -> LayerDefinition:
    """Return a layer that sees some axes wholly."""
    kernels = arithmetic.broadcast(layer.kernel_size, layer.axes or 1)
    return attrs.evolve(
        layer,
        kernel_size=tuple(
            math.inf if axis in axes else kernel for axis, kernel in enumerate(kernels)
        ),
        position_dependent=True,
    )


def _without_infinite(layer: LayerDefinition) -> LayerDefinition:
    """Return a layer that leaves the axes alone which it sees wholly."""

    def finite(kernel: Any) -> Any:
        if isinstance(kernel, tuple):
            return tuple(1 if size == math.inf else size for size in kernel)
        return 1 if kernel == math.inf else kernel

    return attrs.evolve(
        layer,
        kernel_size=finite(layer.kernel_size),
        shortest_kernel_size=finite(layer.shortest_kernel_size),
        ignored_global=layer.ignored_global or finite(layer.kernel_size) != layer.kernel_size,
    )


def _with_statistics(
    label: str, windows: Sequence[Window], effect: Effect
) -> LayerDefinition | None:
    """Return the layer that sees what it takes statistics from; None if it takes none."""
    if not effect.statistics:
        return None
    seen = with_statistics(windows, effect.statistics)
    blockwise = in_blocks(effect.statistics)
    return definition(label, seen, attrs.evolve(effect, ignored_global=False, blockwise=blockwise))


def _warn_of_unknown(steps: Sequence[_Step]) -> None:
    kinds = Counter(step.record.kind for step in steps if step.certainty == "unknown")
    if kinds:
        listed = ", ".join(f"{kind!r} ({count}x)" for kind, count in kinds.items())
        warnings.warn(
            f"Not known, and counted as neutral: {listed}. Receptive fields behind these layers "
            "are marked as unknown. To describe one, pass handlers=DEFAULT_HANDLERS.with_handler("
            "...) with a handler whose can_handle(call) looks at call.class_name and whose call "
            "returns a LayerDefinition.",
            UserWarning,
            stacklevel=4,
        )


@attrs.frozen(slots=True)
class _Step:
    """One call, with what becomes of it in the graph.

    ``counted`` is its layer where statistics over positions count, if it takes any. Along the axes
    in ``unaligned`` the maps that it reads do not lie upon each other, along those in ``seams`` it
    puts parts of maps side by side, and along those in ``turned`` it brings units into another
    order.
    """

    record: CallRecord
    layer: LayerDefinition
    link: Link
    measures: Measures
    certainty: Certainty = "exact"
    reason: str = ""
    offsets: layouts.Offsets = ()
    counted: LayerDefinition | None = None
    unaligned: Collection[int] = ()
    seams: Sequence[int] = ()
    turned: Collection[int] = ()


class _Walk:
    """A walk over the calls of a model that follows the positions of the image.

    Args:
        record: the model.
        spatial: per call of an input layer its shape and its spatial dimensions.
        chain: the handlers.
        probing: raise :class:`FirstWindow` at the first sliding window.
    """

    def __init__(
        self,
        record: ModelRecord,
        spatial: Mapping[int, tuple[Shape, Sequence[int]]],
        chain: HandlerChain[LayerCall],
        probing: bool = False,
    ) -> None:
        self.record, self.spatial, self.chain, self.probing = record, spatial, chain, probing
        self.axes = max((len(dimensions) for _, dimensions in spatial.values()), default=0)
        self.steps: list[_Step] = []
        self.made: dict[int, int] = {}
        self.values: dict[int, list[Value]] = {}
        self.encoded: tuple[int, ...] | None = None

    def run(self) -> _Walk:
        for number, record in enumerate(self.record.calls):
            self.made[number] = len(self.steps)
            if number in self.spatial:
                shape, dimensions = self.spatial[number]
                self._input(number, record, shape, dimensions)
            else:
                self._call(number, record)
        return self

    def _input(
        self, number: int, record: CallRecord, shape: Shape, dimensions: Sequence[int]
    ) -> None:
        value = input_value(len(self.steps), shape, dimensions, self.axes)
        layer = definition(record.kind, (NEUTRAL,) * self.axes, Effect(value, ()))
        if dimensions and self.encoded is None and not value.open:
            self.encoded = value.extents
        measures = Measures(self.encoded, costs.feature_map(value), 0, ())
        self.steps.append(_Step(record, layer, Link(), measures))
        self.values[number] = [value]

    def _call(self, number: int, record: CallRecord) -> None:
        depth = sum(wrapper.kind == "TimeDistributed" for wrapper in record.wrappers)
        call = self._prepared(record, depth)
        # What only tells a shape brings nothing of the image with it.
        carrying = [value for value in call.values if value.numbers is None] or call.values
        sources = tuple(dict.fromkeys(value.step for value in carrying))
        step = len(self.steps)
        if not call.values:  # a layer that reads nothing brings nothing of the image with it
            value = Value(step, (), (1,) * self.axes, foreign=True)
            layer = definition(call.label, (NEUTRAL,) * self.axes, Effect(value, ()))
            measures = Measures(self.encoded)
            link = Link(sources, positions=False)
            self.steps.append(_Step(record, layer, link, measures))
            self.values[number] = [value]
            return
        handler = self.chain.find(call)
        layer_of_user: LayerDefinition | None = None
        if type(handler) in _OWN_TYPES:
            effect = self._own_effect(handler, call, depth)
            if not record.known and effect.certainty == "exact":
                effect = attrs.evolve(
                    effect,
                    certainty="unknown",
                    reason=f"the wrapper {record.wrappers[0].kind!r} is not known; what it holds "
                    "was read as if it were not there",
                )
        else:
            layer_of_user = self._per_axis(handler(call), handler)
            effect = _effect_of(call, layer_of_user)
        if depth:
            effect = without_leading(effect, self._unfolded(record)[: depth + 1])
        effect = _with_lost_places(effect)
        told = next((one.output for one in self.record.outputs if one.call == number), None)
        if told is not None:
            told = min(told, len(effect.layouts) - 1)
            effect = as_returned(effect, told)
        windows, values = settle(effect, self.axes, step, told)
        if any(start is None for one in values for start, _ in layouts.grids(one.layout).values()):
            # Nobody knows what to keep of a tile.
            effect = attrs.evolve(effect, position_dependent=True)
        unsure = effect.certainty == "unknown" or any(value.guessed for value in call.values)
        cut = _cut(windows, values)
        before = frozenset[int]().union(*(value.cropped for value in carrying))
        padded = {axis for axis in before if _pads(windows[axis])}
        values = [
            attrs.evolve(
                value,
                guessed=unsure,
                cropped=before | cut,
                padded=frozenset(padded).union(*(one.padded for one in carrying)),
            )
            for value in values
        ]
        layer = layer_of_user or definition(call.label, windows, effect)
        positions = any(layouts.spatial_axes(value.layout) for value in values)
        offsets = _offsets(effect, carrying, sources, self.axes)
        unaligned = _unaligned(effect, windows, carrying, offsets)
        link = Link(
            sources,
            positions,
            not positions and any(window.kernel == math.inf for window in windows),
            effect.product,
            not unaligned
            and all(
                (window.kernel, window.stride, window.upsampling) == (1, 1, 1) for window in windows
            ),
        )
        measures = Measures(self.encoded)
        if layer_of_user is None and not self.probing:
            with _readable(call):
                told = 0 if told is None else told
                measures = costs.measures(call, effect, windows, values[told:], self.encoded)
        self.steps.append(
            _Step(
                record, layer, link, measures, effect.certainty, effect.reason, offsets,
                _with_statistics(call.label, windows, effect), unaligned, tuple(effect.seams),
                effect.turned,
            )
        )  # fmt: skip
        self.values[number] = values

    def _per_axis(self, layer: Any, handler: Any) -> LayerDefinition:
        """Return a user's layer with one number per axis, as all the others have."""
        if not isinstance(layer, LayerDefinition):
            raise UnsupportedModelError(
                f"The handler {handler!r} returned {layer!r}; it must return a LayerDefinition."
            )
        if not self.axes:
            return layer
        fields = ("kernel_size", "stride_size", "dilation", "upsampling")
        return attrs.evolve(
            layer,
            **{name: arithmetic.broadcast(getattr(layer, name), self.axes) for name in fields},
        )

    # -- what a call reads

    def _prepared(self, record: CallRecord, depth: int) -> LayerCall:
        found: list[Value] = []

        def resolved(argument: Any) -> Any:
            if type(argument) is TensorRef:
                value = self._value(argument)
                whole = argument.shape is not None and len(argument.shape) == len(value.layout)
                if whole:  # inside of a model over time, shapes are those of one step
                    value = _fitted(value, argument.shape)
                if depth:
                    value = with_leading(value, depth)
                if not whole:
                    value = _fitted(value, argument.shape)
                found.append(value)
                return value
            if isinstance(argument, Mapping):
                return {key: resolved(one) for key, one in argument.items()}
            if isinstance(argument, list | tuple):
                return [resolved(one) for one in argument]
            return argument

        arguments = tuple(resolved(one) for one in record.arguments)
        keywords = {key: resolved(one) for key, one in record.keywords.items()}
        return LayerCall(record, tuple(found), arguments, keywords, self.probing)

    def _value(self, tensor: TensorRef) -> Value:
        several = self.values[tensor.call]
        return several[tensor.output] if tensor.output < len(several) else several[0]

    def _unfolded(self, record: CallRecord) -> Sequence[Dimension]:
        return self._value(record.tensors[0]).layout

    def _own_effect(self, handler: Any, call: LayerCall, depth: int) -> Effect:
        try:
            return _effect(handler, call)
        except FirstWindow as first:  # the steps of a sequence are an axis as well
            leading = self._unfolded(call.record)[1 : depth + 1]
            axes = [axis for dimension in leading for axis in layouts.axes_of(dimension)]
            raise FirstWindow(first.channels, (*axes, *first.axes)) from None


def _with_lost_places(effect: Effect) -> Effect:
    """Return an effect which says where units come in an order that is not followed any more."""
    before = layouts.lost_pieces(effect.base.layout)
    lost = {
        axis
        for layout in effect.layouts
        for axis, pieces in layouts.lost_pieces(layout).items()
        if pieces != before.get(axis) and effect.windows.get(axis, NEUTRAL).kernel < math.inf
    }
    if not lost:
        return effect
    windows = {
        **effect.windows,
        **{axis: effect.windows.get(axis, NEUTRAL)._replace(begin=None, end=None) for axis in lost},
    }
    return attrs.evolve(effect, windows=windows, turned=effect.turned | lost)


def _cut(windows: Sequence[Window], values: Sequence[Value]) -> set[int]:
    """Return the axes along which a call cuts units off."""
    cropped = {
        axis for axis, window in enumerate(windows) if min(window.begin or 0, window.end or 0) < 0
    }
    grids = (grid for value in values for grid in layouts.grids(value.placed).items())
    return cropped.union(axis for axis, (start, _) in grids if start)


def _pads(window: Window) -> bool:
    return window.begin is None or max(window.begin, window.end or 0) > window.upsampling - 1


def _offsets(
    effect: Effect, values: Sequence[Value], sources: Sequence[int], axes: int
) -> layouts.Offsets:
    """Return at which units of their maps the tensors of a call stand upon each other."""

    def placed(number: int, value: Value) -> layouts.Layout:
        rest = tuple(
            dimension
            for dimension in value.placed
            if not set(layouts.axes_of(dimension)).intersection(effect.seams)
        )
        return tuple((Atom(axis, 1, 1, by[number]),) for axis, by in effect.seams.items()) + rest

    reads = [(value.step, placed(number, value)) for number, value in enumerate(values)]
    return layouts.offsets_between(reads, sources, axes)


def _unaligned(
    effect: Effect,
    windows: Sequence[Window],
    values: Sequence[Value],
    offsets: layouts.Offsets,
) -> frozenset[int]:
    """Return the axes along which a call's tensors do not lie upon each other."""
    found = set(effect.unaligned)
    for axis in range(len(windows)):
        frames = {
            value.frames[axis] for value in values if axis in layouts.spatial_axes(value.placed)
        }
        places = {read[axis] for reads in offsets for read in reads}
        # Without windows, units of one frame that lie apart could not be told from the same one.
        if len(frames) > 1 or None in places or (frames - {None} and places - {0}):
            found.add(axis)
    return frozenset(axis for axis in found if windows[axis].kernel < math.inf)


def _effect(handler: Any, call: LayerCall) -> Effect:
    with _readable(call):
        return _counted(activated(call, handler.effect(call)))


@contextlib.contextmanager
def _readable(call: LayerCall) -> Iterator[None]:
    """Tell of which layer it is that cannot be read."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        config = {key: value for key, value in call.config.items() if "initializer" not in key}
        raise UnsupportedModelError(
            f"The layer {call.name!r} of class {call.class_name!r} cannot be read "
            f"({type(error).__name__}: {error}); it gets tensors of the shapes "
            f"{call.input_shapes!r}, and its configuration is {str(config)[:400]}."
        ) from error


def _counted(effect: Effect) -> Effect:
    """Return an effect as it is, if its numbers of filters and units are none below zero."""
    for name, number in (("filters", effect.filters), ("units", effect.units)):
        if number is not None and number < 0:
            raise ValueError(f"{name} is {number!r}; expected is a positive whole number")
    return effect


def _effect_of(call: LayerCall, layer: LayerDefinition) -> Effect:
    """Return what a user's layer does to the positions, as far as its description tells."""
    value = call.value
    axes = len(value.extents)
    kernels, strides, dilations, upsamplings = (
        arithmetic.broadcast(one, axes)
        for one in (layer.kernel_size, layer.stride_size, layer.dilation, layer.upsampling)
    )
    windows = {
        axis: Window(kernels[axis], strides[axis], dilations[axis], None, None, upsamplings[axis])
        for axis in range(axes)
    }
    layout: list[Dimension] = []
    for dimension in value.layout:
        atom = dimension[0] if len(dimension) == 1 else None
        if type(atom) is Atom and atom.axis is not None:
            stride, factor = strides[atom.axis], upsamplings[atom.axis]
            layout.append((Atom(atom.axis, max(1, -(-atom.size * factor // stride)), atom.step),))
        else:
            layout.append(dimension)
    return Effect(value, (tuple(layout),), windows)


def _fitted(value: Value, shape: Shape | None) -> Value:
    """Return a value with the shape that the model recorded for it.

    They differ behind layers that nothing knows, whose output shape only Keras could tell.
    """
    value = _reshaped(value, shape)
    if value.guessed and shape is not None and len(shape) == len(value.layout):
        left = [value.layout[at] for at, one in enumerate(shape) if at and one is None]
        return attrs.evolve(value, guessed=not all(map(layouts.axes_of, left)))
    return value


def _reshaped(value: Value, shape: Shape | None) -> Value:
    if shape is None or shape == value.shape:
        return value
    if len(shape) != len(value.layout):
        sizes = [
            one if one is not None else 1 if place == 0 else STAND_IN
            for place, one in enumerate(shape)
        ]
        return attrs.evolve(value, layout=layouts.broadcast((value.layout,), sizes))
    if all(one is None or one == size for one, size in zip(shape, value.shape, strict=True)):
        return value
    layout = tuple(
        dimension if place == 0 or one is None else resized(dimension, one)
        for place, (dimension, one) in enumerate(zip(value.layout, shape, strict=True))
    )
    extents = list(value.extents)
    for axis, atoms in layouts.runs_by_axis(layout).items():
        distinct = {atom.step: atom for atom in atoms}.values()
        extents[axis] = sum((atom.size - 1) * atom.step for atom in distinct) + 1
    return attrs.evolve(value, layout=layout, extents=tuple(extents))


# --- which dimensions are those of the image -------------------------------------------------


def _spatial_dimensions(
    record: ModelRecord, chain: HandlerChain[LayerCall]
) -> dict[int, tuple[Shape, Sequence[int]]]:
    """Return shape and spatial dimensions of every input, in axis order.

    Those are all but the batch and what the first convolution or pooling takes for channels; if
    its channels come from none of them, those that it slides over. Without any such layer the last
    dimension holds the channels. Inputs with fewer dimensions than the others have none.
    """
    shapes: dict[int, Shape] = {}
    for number, call in enumerate(record.calls):
        if call.kind == "InputLayer" and not call.tensors:
            shape = call.config.get("batch_shape") or call.config.get("batch_input_shape")
            if not isinstance(shape, list | tuple):
                following = record.calls[number + 1 :]
                kinds = [one.kind for one in following]
                shape = stand_in_shape(kinds, following[0].config if following else {})
            if not all(one is None or (type(one) is int and one > 0) for one in shape):
                raise UnsupportedModelError(
                    f"The input {call.name!r} has the shape {shape!r}; expected are positive "
                    "integers, or null where a size is left open."
                )
            shapes[number] = tuple(shape)
    rank = max(map(len, shapes.values()), default=0)

    def spread(dimensions: Sequence[int]) -> dict[int, tuple[Shape, Sequence[int]]]:
        return {
            number: (shape, dimensions if len(shape) == rank else ())
            for number, shape in shapes.items()
        }

    try:
        _Walk(record, spread(range(1, rank)), chain, probing=True).run()
    except FirstWindow as first:
        if first.channels and rank > 2:
            return spread([at for at in range(1, rank) if at != first.channels[0] + 1])
        if first.axes:
            return spread(sorted({axis + 1 for axis in first.axes}))
    return spread(range(1, rank - 1) if rank > 2 else range(1, rank))
