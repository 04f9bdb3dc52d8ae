"""From a Keras model, or the JSON of one, to the graph of its layers.

No framework is imported here: only a model that is there already brings its own.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias

from rfa_toolbox.encodings.complaints import check_chain, in_one_line
from rfa_toolbox.encodings.tensorflow_keras import layer_handlers
from rfa_toolbox.encodings.tensorflow_keras.layer_handlers import LayerCall
from rfa_toolbox.encodings.tensorflow_keras.live import is_connected, is_live
from rfa_toolbox.encodings.tensorflow_keras.live_calls import read_live
from rfa_toolbox.encodings.tensorflow_keras.model_json import (
    CallRecord,
    ModelRecord,
    read_model,
    with_input_shapes,
)
from rfa_toolbox.encodings.tensorflow_keras.sources import (
    condensed,
    load_model_dict,
    parse_model_dict,
)
from rfa_toolbox.errors import InvalidGraphError, UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode, InfoFilter, LayerDefinition, resolve_filter
from rfa_toolbox.operators.chain import HandlerChain, warn_of_unused
from rfa_toolbox.operators.told import Told, told_by

if TYPE_CHECKING:
    from rfa_toolbox.operators.nodes import GlobalOps

__all__ = [
    "DEFAULT_HANDLERS",
    "PARSERS",
    "create_graph_from_keras_json",
    "create_graph_from_model",
    "keras_model_to_dict",
    "model_dict_to_enriched_graph",
]

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
    input_res: Any = None,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> EnrichedNetworkNode:
    """Return the graph of a Keras model's layers, with their receptive fields in input pixels.

    Layers that are not Keras' own are opened, by calling them on symbolic tensors, on any backend;
    the model is not changed, and its weights are not looked at. Of a model of tf.keras only
    ``model.to_json()`` is called.

    Args:
        model: a model of Keras 3; or a functional or sequential one of tf.keras.
        filter_rf: which paths through the network to keep: None keeps all, ``"inf"`` leaves out
            those with an infinite receptive field, a function gets a tuple of
            ``ReceptiveFieldInfo`` and returns those to keep.
        input_res: the shape of its input, batch first, such as ``(1, 64, 64, 3)``; a list or dict
            of shapes where it has several. None takes what the model says; a subclassed model that
            has not been built says none.
        global_ops: how to look at layers that see the whole image: ``"ignore_gates"`` counts
            them, unless their result only re-weights or normalises the map that it came from;
            ``"count"`` counts all of them, ``"ignore"`` none.
        handlers: a chain of handlers to describe layers with, in place of ``DEFAULT_HANDLERS``.

    Returns:
        The node of the model's first output. All the other nodes are in its ``all_layers``.

    Raises:
        UnsupportedModelError: a ValueError, if this is no model, or a subclassed one that was not
            built or whose ``call`` cannot be followed.

    Warns:
        UserWarning: if some layer is not known and cannot be opened; if a Sequential of tf.keras
            holds a layer several times, as its JSON tells of one only.

    >>> import json
    >>> class Model:
    ...     def to_json(self):
    ...         conv = {"class_name": "Conv2D", "config": {"kernel_size": [5, 5], "filters": 8}}
    ...         return json.dumps({"class_name": "Sequential", "config": {"layers": [conv]}})
    >>> create_graph_from_model(Model()).receptive_field_max
    (5, 5)
    """
    if is_live(model) and (input_res is not None or is_connected(model)):

        def read(is_described: IsDescribed) -> ModelRecord:
            return read_live(model, input_res, is_described)

        return _graph(read, filter_rf, global_ops, handlers)
    if input_res is not None:
        raise UnsupportedModelError(
            f"input_res is {input_res!r}, but this {type(model).__name__} is no model of Keras 3; "
            "only those are read at another size than their own."
        )
    model_dict = keras_model_to_dict(model)
    _warn_of_lost_calls(model, model_dict)
    return _graph(lambda _: read_model(condensed(model_dict)), filter_rf, global_ops, handlers)


def create_graph_from_keras_json(
    text_or_path: str | PathLike[str] | Mapping[str, Any],
    filter_rf: str | InfoFilter | None = None,
    *,
    input_res: Any = None,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> EnrichedNetworkNode:
    """Return the graph of a model from what ``model.to_json()`` wrote; needs no framework.

    Args:
        text_or_path: the text itself, or the path of a file that holds it; a ``.keras`` archive,
            the folder that it was unpacked to, or an ``.h5`` file of a whole model (which takes
            h5py) will do as well.
        filter_rf: as in ``create_graph_from_model``.
        input_res: the shape of its input, batch first, where the model leaves sizes open, such as
            ``(1, 64, 64, 3)``; a list of shapes, or a dict by the names of input layers, where it
            has several. None leaves them open.
        global_ops: as in ``create_graph_from_model``.
        handlers: as in ``create_graph_from_model``.

    Raises:
        UnsupportedModelError: a ValueError, if this is no JSON of a model with layers, or
            ``input_res`` does not fit its inputs.
        FileNotFoundError: if there is no such file.

    >>> import json
    >>> conv = {"class_name": "Conv1D", "config": {"kernel_size": [3], "filters": 8}}
    >>> text = json.dumps({"class_name": "Sequential", "config": {"layers": [conv]}})
    >>> create_graph_from_keras_json(text).receptive_field_max
    (3,)
    """
    model = load_model_dict(text_or_path)

    def read(_: IsDescribed) -> ModelRecord:
        found = read_model(condensed(model))
        return found if input_res is None else with_input_shapes(found, input_res)

    return _graph(read, filter_rf, global_ops, handlers)


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
            f"{str(model)[:200]!r} is of type {type(model).__name__}, and has no to_json(); "
            f"expected is a Keras model.{hint}"
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
    return _graph(lambda _: read_model(condensed(model_dict)), filter_rf, global_ops, handlers)


# --- from records to nodes -------------------------------------------------------------------


IsDescribed: TypeAlias = "Callable[[CallRecord, Sequence[tuple[int, ...]]], bool]"
"""Whether a handler of a user describes a call, given the shapes that it reads."""


def _graph(
    read: Callable[[IsDescribed], ModelRecord],
    filter_rf: str | InfoFilter | None,
    global_ops: GlobalOps,
    handlers: HandlerChain[LayerCall] | None,
) -> EnrichedNetworkNode:
    keep = resolve_filter(filter_rf)
    if global_ops not in ("ignore_gates", "count", "ignore"):
        raise InvalidGraphError(
            f"global_ops is {global_ops!r}; valid are 'ignore_gates', 'count' and 'ignore'."
        )
    chain = DEFAULT_HANDLERS if handlers is None else handlers
    check_chain(chain, "DEFAULT_HANDLERS", "keras")
    from rfa_toolbox.encodings.tensorflow_keras.graph import graph_of  # as late as it is needed

    described: dict[str, LayerDefinition] = {}

    def is_described(record: CallRecord, shapes: Sequence[tuple[int, ...]]) -> bool:
        handler = chain.find(LayerCall(record, tuple(shapes)))
        return type(handler) not in _OWN_TYPES or chain.rule_of(record.kind) is not None

    def describe(record: CallRecord, shapes: Sequence[tuple[int, ...]]) -> Told | None:
        call = LayerCall(record, tuple(shapes))
        rule = chain.rule_of(record.kind)
        if rule is not None:
            told = told_by(rule, record.kind, shapes, {**record.config, **record.keywords})
            if told.effect is None:
                described[record.name] = told.layer
            return told
        handler = chain.find(call)
        if type(handler) in _OWN_TYPES:
            return None
        layer = described[record.name] = _checked(handler(call), handler)
        return Told(layer)

    with in_one_line("JSON of the model"):
        model = read(is_described)
        warn_of_unused(chain, (call.kind for call in model.calls), model.name, stacklevel=4)
        return graph_of(model, describe, described, keep, global_ops).to_graph()


def _checked(layer: Any, handler: Any) -> LayerDefinition:
    if not isinstance(layer, LayerDefinition):
        raise UnsupportedModelError(
            f"The handler {handler!r} returned {layer!r}; it must return a LayerDefinition."
        )
    return layer
