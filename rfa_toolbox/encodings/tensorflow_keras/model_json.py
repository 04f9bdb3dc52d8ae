"""The only reader of the JSON that Keras 2 and Keras 3 write for a model.

It yields plain records, one per call of a layer, with nested models flattened. Nothing is
imported, executed or unpickled: the bytecode of a ``Lambda`` stays the text that it is.

What differs between the formats stands here and nowhere else: Keras 2 lists the tensors of a call
as ``["name", call, output, {keywords}]``, Keras 3 as objects with a ``keras_history`` at any
depth; operators are ``TFOpLambda`` layers there and operations with a module ``keras.src.ops``
here; a nested model's calls are numbered from 1 in Keras 2 if it starts with its own input.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import attrs

from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.record import Numbers

__all__ = [
    "OWN_MODULES",
    "WRAPPERS",
    "CallRecord",
    "Calls",
    "ModelRecord",
    "Place",
    "Shape",
    "TensorRef",
    "Weights",
    "Wrapper",
    "in_order",
    "layer_kind",
    "leaves",
    "read_model",
    "replaced",
    "tensors_in",
    "weights_in",
    "with_input_shapes",
]

Shape: TypeAlias = "tuple[int | None, ...]"
"""Sizes of the dimensions of a tensor, batch first; None where the size is open."""


class TensorRef(NamedTuple):
    """A tensor of a model: which call made it, as which output, and its shape if recorded."""

    call: int
    output: int
    shape: Shape | None = None


@attrs.frozen(slots=True)
class Weights:
    """A tensor of a live model that depends on no input, and whose numbers are not looked at.

    ``sizes`` are those of the weights that it was computed from, by their paths. ``left`` tells
    where it is 0 by a mask, whatever the weights will be, or what a mask holds.
    """

    shape: tuple[int, ...]
    sizes: Mapping[str, int] = attrs.field(factory=dict)
    left: Numbers | None = None


class Wrapper(NamedTuple):
    """A layer around another one, such as TimeDistributed: its class and configuration."""

    kind: str
    config: Mapping[str, Any]


@attrs.frozen(slots=True)
class CallRecord:
    """One call of one layer.

    Attributes:
        name: unique in the model: path of nested models, name of the layer, "#2" at its second
            call.
        path: names of the nested models around it, joined by dots; "" at top level.
        kind: exact class name of a layer of Keras, "package>Class" for others, the name of the
            function for an operation.
        operation: whether this is a bare operation (``x * 2``, ``ops.reshape``) and no layer.
        config: what the layer was made with.
        arguments: positional arguments; tensors are :class:`TensorRef`, at any depth.
        keywords: keyword arguments, likewise.
        wrappers: the wrappers around the layer, outermost first.
        known: whether class and wrappers are those of Keras itself.
        number: 1 for the first call of the layer.
        base: the class of Keras that it works as, where ``kind`` is another.
        reason: why a layer of which nothing is known could not be opened.
    """

    name: str
    path: str
    kind: str
    operation: bool = False
    config: Mapping[str, Any] = attrs.field(factory=dict)
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = attrs.field(factory=dict)
    wrappers: tuple[Wrapper, ...] = ()
    known: bool = True
    number: int = 1
    base: str = ""
    reason: str = ""

    @property
    def label(self) -> str:
        """What to call this kind of layer in pictures: the class, wrappers around it."""
        text = self.kind.rsplit(">", 1)[-1]
        for wrapper in reversed(self.wrappers):
            text = f"{wrapper.kind.rsplit('>', 1)[-1]}({text})"
        return text

    @property
    def tensors(self) -> tuple[TensorRef, ...]:
        """The tensors that the call reads, in order."""
        return tuple(tensors_in((self.arguments, self.keywords)))


@attrs.frozen
class Place:
    """Where calls are: names of the models and layers around them, and their wrappers.

    ``known`` tells whether these wrappers are those of Keras itself.
    """

    path: tuple[str, ...] = ()
    wrappers: tuple[Wrapper, ...] = ()
    known: bool = True

    def inside(self, name: str) -> Place:
        """Return the place inside a model of this name."""
        return attrs.evolve(self, path=(*self.path, name))

    def around(self, wrapper: Wrapper) -> Place:
        """Return the place of the layer in a wrapper."""
        known = self.known and wrapper.kind in WRAPPERS
        return attrs.evolve(self, wrappers=(*self.wrappers, wrapper), known=known)


class Calls:
    """The calls of a model, numbered per layer."""

    def __init__(self) -> None:
        self.records: list[CallRecord] = []
        self._seen: Counter[str] = Counter()

    def add(self, place: Place, name: str, kind: str, known: bool, **facts: Any) -> TensorRef:
        """Add a call of the layer of a name, with other facts of its record; return its output."""
        full = "/".join((*place.path, name))
        self._seen[full] += 1
        number = self._seen[full]
        record = CallRecord(
            full if number == 1 else f"{full}#{number}",
            ".".join(place.path),
            kind,
            wrappers=place.wrappers,
            known=place.known and known,
            number=number,
            **facts,
        )
        self.records.append(record)
        return TensorRef(len(self.records) - 1, 0)


@attrs.frozen(slots=True)
class ModelRecord:
    """All calls of a model, each behind those whose tensors it reads, and the outputs in order."""

    name: str
    calls: tuple[CallRecord, ...]
    outputs: tuple[TensorRef, ...]


def with_input_shapes(model: ModelRecord, shapes: Any) -> ModelRecord:
    """Return a model with sizes where its inputs leave them open.

    Args:
        model: what ``read_model`` returned.
        shapes: a shape, batch first; for several inputs a sequence of shapes, or a mapping from
            the names of their layers to shapes.

    Raises:
        UnsupportedModelError: if they are no such shapes, or differ from a size that is written.
    """
    calls = {call.name: call for call in model.calls if call.kind == "InputLayer"}
    own = {name: _shape_written(call) for name, call in calls.items()}
    if isinstance(shapes, Mapping):
        given = dict(shapes)
    else:
        nested = isinstance(shapes, list | tuple) and any(
            isinstance(one, list | tuple) for one in shapes
        )
        several = shapes if nested else [shapes]
        given = dict(zip(own, several, strict=True)) if len(several) == len(own) else {}
    if given.keys() != own.keys() or not all(_fits(given[name], own[name]) for name in own):
        raise UnsupportedModelError(
            f"input_res is {shapes!r}; expected is a shape for each input, batch first, with "
            f"positive sizes where these are open: {own!r}."
        )
    found = (
        attrs.evolve(call, config={**call.config, "batch_shape": [None, *given[call.name][1:]]})
        if call.name in given
        else call
        for call in model.calls
    )
    return attrs.evolve(model, calls=tuple(found))


def _shape_written(call: CallRecord) -> Any:
    return call.config.get("batch_shape") or call.config.get("batch_input_shape")


def _fits(given: Any, own: Any) -> bool:
    """Whether a shape has a positive size wherever another one is open, and the same elsewhere."""
    sized = isinstance(given, list | tuple) and all(type(x) is int and x > 0 for x in given)
    if not sized or not isinstance(own, list | tuple) or len(given) != len(own):
        return sized and own is None
    return all(one in (None, size) for one, size in zip(own[1:], given[1:], strict=True))


def tensors_in(value: Any) -> Iterator[TensorRef]:
    """Yield the tensors in an argument, at any depth, in order.

    >>> [tensor.call for tensor in tensors_in([TensorRef(1, 0), {"y": TensorRef(4, 0)}, 3])]
    [1, 4]
    """
    if type(value) is TensorRef:
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def replaced(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Return a value with something else in place of all of a type, with lists for tuples.

    >>> replaced([3, (3.0, {"x": 4})], int, str)
    ['3', [3.0, {'x': '4'}]]
    """
    if type(value) is kind:
        return change(value)
    if isinstance(value, Mapping):
        return {key: replaced(one, kind, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [replaced(one, kind, change) for one in value]
    return value


def weights_in(value: Any) -> dict[str, int]:
    """Return the sizes of the weights in an argument, at any depth, by their paths.

    >>> weights_in([Weights((3, 2), {"net/scale": 6}), {"x": 3}])
    {'net/scale': 6}
    """
    if type(value) is Weights:
        return dict(value.sizes)
    if isinstance(value, Mapping):
        value = list(value.values())
    found: dict[str, int] = {}
    if isinstance(value, list | tuple) and type(value) is not TensorRef:
        for one in value:
            found |= weights_in(one)
    return found


# --- layers ----------------------------------------------------------------------------------

OWN_MODULES = ("keras", "tensorflow", "tf_keras", "tensorflow_core")
_OPERATOR_LAYERS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod")
WRAPPERS = ("TimeDistributed", "Bidirectional", "SpectralNormalization", "Wrapper")
_SEQUENCES = ("Sequential", "Pipeline")
_SEQUENTIAL_KEYS = {"name", "layers", "trainable", "dtype", "build_input_shape"}


def layer_kind(layer: Mapping[str, Any]) -> tuple[str, bool, bool]:
    """Return what a layer is: its kind, whether it is an operation, whether Keras knows it.

    >>> layer_kind({"class_name": "Conv2D", "module": "keras.layers", "config": {}})
    ('Conv2D', False, True)
    >>> layer_kind({"class_name": "MyConv", "module": None, "registered_name": "acme>MyConv"})
    ('acme>MyConv', False, False)
    """
    class_name = str(layer.get("class_name"))
    module = layer.get("module", "keras")
    config = layer.get("config")
    registered = layer.get("registered_name") or class_name
    if class_name in _OPERATOR_LAYERS and isinstance(config, Mapping):
        function = config.get("function") or config.get("method_name")
        return str(function or layer.get("name") or class_name), True, True
    if class_name == "TensorFlowOpLayer" and isinstance(config, Mapping):
        node = config.get("node_def")
        return str(node.get("op") if isinstance(node, Mapping) else class_name), True, True
    own = (
        isinstance(module, str)
        and module.split(".", 1)[0] in OWN_MODULES
        and ">" not in str(registered)
    )
    if own and (".ops." in module or module.endswith(".ops")):
        return class_name, True, True
    if own:
        return class_name, False, True
    return (str(registered) if ">" in str(registered) else f"Custom>{class_name}"), False, False


def _sub_layers(layer: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """Return the layers of a nested model; None if this is a layer of its own."""
    config = layer.get("config")
    if isinstance(config, list):  # Sequential, as very old releases wrote it
        plain = layer.get("class_name") in _SEQUENCES and all(
            isinstance(one, Mapping) and "class_name" in one for one in config
        )
        return config if plain else None
    if not isinstance(config, Mapping):
        return None
    layers = config.get("layers")
    if not isinstance(layers, list) or not all(
        isinstance(one, Mapping) and "class_name" in one and "config" in one for one in layers
    ):
        return None
    if "output_layers" in config or layer.get("class_name") in _SEQUENCES:
        return layers
    return layers if layers and _SEQUENTIAL_KEYS.issuperset(config) else None


def _name_of(layer: Mapping[str, Any]) -> str:
    config = layer.get("config")
    name = layer.get("name") or (config.get("name") if isinstance(config, Mapping) else None)
    return str(name or layer.get("class_name"))


# --- models ----------------------------------------------------------------------------------


def read_model(model: Mapping[str, Any]) -> ModelRecord:
    """Return the calls of all layers of a model, nested models flattened.

    Raises:
        UnsupportedModelError: a ValueError, if the object describes no layers, or is damaged.

    >>> layers = [{"class_name": "Dense", "config": {"name": "head", "units": 2}}]
    >>> record = read_model({"class_name": "Sequential", "config": {"layers": layers}})
    >>> [call.name for call in record.calls]
    ['input', 'head']
    """
    if "class_name" not in model or "config" not in model:
        raise UnsupportedModelError(
            f"The JSON has only the keys {sorted(map(str, model))[:10]!r}; a model as "
            "model.to_json() writes it has 'class_name' and 'config'."
        )
    _check_model(model)
    if not _sub_layers(model):
        raise UnsupportedModelError(
            f"The model {_name_of(model)!r} of class {model['class_name']!r} stores no layers in "
            "its JSON: Keras does that for subclassed models, whose layers are connected only in "
            "Python code. Build it from keras.Input with the functional API, for example "
            "x = keras.Input(shape); keras.Model(x, model.call(x)), and encode that."
        )
    return _Reader().read(model)


_FUNCTIONAL = ("Functional", "Model")


def _check_model(model: Mapping[str, Any], nested: bool = False) -> None:
    """Raise if the entry of a model is damaged; single layers and subclassed models pass."""
    config = model["config"]
    kind = layer_kind(model)[0]
    name = f"The model {_name_of(model)!r} of class {model['class_name']!r}"
    of_keras = kind in (*_SEQUENCES, *_FUNCTIONAL)
    if of_keras and not isinstance(config, Mapping | list):
        raise UnsupportedModelError(f"{name} has the config {config!r}; expected is an object.")
    layers = config.get("layers") if isinstance(config, Mapping) else config
    if not of_keras and (
        not isinstance(layers, list)
        or (nested and (isinstance(config, list) or "output_layers" not in config))
    ):
        return
    if kind == "Model" and isinstance(config, Mapping) and "layers" not in config:
        return
    if not isinstance(layers, list):
        raise UnsupportedModelError(f"{name} has the layers {layers!r}; expected is a list.")
    if not layers and not nested:
        raise UnsupportedModelError(f"{name} is empty: there are no entries in its list of layers.")
    for number, layer in enumerate(layers):
        _check_layer(layer, f"{name} has layer {number}")
    keys: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    if "output_layers" not in keys and (kind in _FUNCTIONAL or "input_layers" in keys):
        raise UnsupportedModelError(
            f"{name} has no 'output_layers', but only the keys {sorted(keys)[:10]!r}."
        )


def _check_layer(layer: Any, where: str) -> None:
    if not isinstance(layer, Mapping):
        raise UnsupportedModelError(f"{where} = {str(layer)[:200]!r}; expected is an object.")
    for key in ("class_name", "config"):
        if layer.get(key) is None:
            raise UnsupportedModelError(
                f"{where}, {_name_of(layer)!r}, of class {layer.get('class_name')!r}: its {key!r} "
                f"is {'null' if key in layer else 'missing'}."
            )
    if not isinstance(layer["class_name"], str):
        raise UnsupportedModelError(
            f"{where}, {_name_of(layer)!r}: its 'class_name' is {layer['class_name']!r}; expected "
            "is a text."
        )


def in_order(makes: Sequence[Iterable[Any]], needs: Sequence[Iterable[Any]]) -> list[int]:
    """Return calls, each behind those that make what it needs, else in the order that they have.

    Those that wait for each other in a circle are left out.

    >>> in_order([["a"], ["b"], ["c"]], [["c"], [], ["b"]])
    [1, 2, 0]
    """
    waiting = [set(needed) for needed in needs]
    after: dict[Any, list[int]] = {}
    for at, needed in enumerate(waiting):
        for one in needed:
            after.setdefault(one, []).append(at)
    ready = [at for at, needed in enumerate(waiting) if not needed]
    order = []
    while ready:
        order.append(heapq.heappop(ready))
        for one in makes[order[-1]]:
            for follower in after.get(one, ()):
                waiting[follower].discard(one)
                if not waiting[follower]:
                    heapq.heappush(ready, follower)
    return order


class _Node(NamedTuple):
    """One entry of ``inbound_nodes``."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]


class _Reader:
    """Collects the calls of a model and of the models inside it."""

    def __init__(self) -> None:
        self.calls = Calls()

    def read(self, model: Mapping[str, Any]) -> ModelRecord:
        outputs = self.model(model, Place(), None)
        return ModelRecord(_name_of(model), tuple(self.calls.records), tuple(tensors_in(outputs)))

    def model(self, model: Mapping[str, Any], place: Place, given: _Node | None) -> Any:
        """Read a model that is called with some tensors; return its outputs, in any nesting."""
        config = model["config"]
        if isinstance(config, Mapping) and "output_layers" in config:
            return _Functional(self, config, place, given).outputs()
        return self.sequential(model, _sub_layers(model) or [], place, given)

    def sequential(
        self,
        model: Mapping[str, Any],
        layers: Sequence[Mapping[str, Any]],
        place: Place,
        given: _Node | None,
    ) -> Any:
        tensor: Any
        if given is not None:
            tensor = next(tensors_in((given.arguments, given.keywords)), None)
        elif layers and layers[0].get("class_name") == "InputLayer":
            tensor = self.call(layers[0], place, _Node((), {}))
        else:
            first = _first_shape(model, layers)
            made = {"class_name": "InputLayer", "config": {"name": "input", "batch_shape": first}}
            tensor = self.call(made, place, _Node((), {}))
        size = tensor.shape if type(tensor) is TensorRef else None
        if layers and layers[0].get("class_name") == "InputLayer" and given is None:
            size = _to_shape(_written_size(layers[0]))
        layers = [one for one in layers if one.get("class_name") != "InputLayer"]
        shapes = [_recorded_shape(one, 0) for one in layers]
        built = shapes[0] if shapes else None
        known_twice = zip((size or ())[1:], (built or ())[1:], strict=False)
        if any(None not in pair and pair[0] != pair[1] for pair in known_twice):
            shapes = [None] * len(shapes)  # from before, in a model of another size
        for layer, shape in zip(layers, shapes, strict=True):
            if type(tensor) is TensorRef and shape is not None:
                tensor = tensor._replace(shape=shape)
            tensor = self.call(layer, place, _Node((tensor,), {}))
        return tensor

    def call(self, layer: Mapping[str, Any], place: Place, node: _Node) -> Any:
        """Read one call of a layer or of a nested model; return its outputs."""
        name = _name_of(layer)
        kind, operation, own = layer_kind(layer)
        config = layer.get("config")
        _check_model(layer, nested=True)
        if _sub_layers(layer) is not None:
            return self.model(layer, place.inside(name), node)
        options = config if isinstance(config, Mapping) else {}
        inner = options.get("layer")
        if isinstance(inner, Mapping) and "class_name" in inner and "config" in inner:
            around = place.around(Wrapper(kind, options))
            if _sub_layers(inner) is not None:
                return self.model(inner, around.inside(name), node)
            return self.call({**inner, "name": name}, around, node)
        facts = {"operation": operation, "config": options, **node._asdict()}
        return self.calls.add(place, name, kind, own, **facts)


class _Functional:
    """One call of a functional model: its layers form a graph by names and numbers of calls."""

    def __init__(
        self, reader: _Reader, config: Mapping[str, Any], place: Place, given: _Node | None
    ) -> None:
        self.reader, self.config, self.place, self.given = reader, config, place, given
        self.layers = {_name_of(layer): layer for layer in config["layers"]}
        if len(self.layers) < len(config["layers"]):
            names = Counter(map(_name_of, config["layers"]))
            twice = [name for name, count in names.items() if count > 1]
            raise UnsupportedModelError(
                f"Several layers of one model have the name {twice[0]!r}; names are unique, as "
                "tensors are told by them."
            )
        self.results: dict[tuple[str, int], Any] = {}
        self.first_calls = {name: _first_call(layer) for name, layer in self.layers.items()}

    def outputs(self) -> Any:
        """Read all calls, each behind those that it depends on; return the model's outputs."""
        if self.given is not None:
            self._take_inputs(self.given)
        nodes = [
            (name, number + self.first_calls[name], node)
            for name, layer in self.layers.items()
            for number, node in enumerate(_nodes_of(layer))
            if (name, number) not in self.results
        ]
        keys = {(name, number) for name, number, _ in nodes} | set(self.results)
        before: list[set[tuple[str, int]]] = []
        for name, _, node in nodes:
            needed = {history[:2] for history in self._histories(node)}
            missing = needed - keys
            if missing:
                raise UnsupportedModelError(
                    f"The layer {name!r} reads the tensor {min(missing)!r} (layer, number "
                    f"of its call), which is missing; the layers are {sorted(self.layers)[:20]!r}."
                )
            before.append(needed - set(self.results))
        order = in_order([[node[:2]] for node in nodes], before)
        for name, number, node in (nodes[position] for position in order):
            self.results[name, number] = self._call(name, number, node)
        if len(order) < len(nodes):
            stuck = [nodes[position][0] for position in range(len(nodes)) if position not in order]
            raise UnsupportedModelError(
                f"These layers of the model wait for each other in a circle: {stuck[:10]!r}."
            )
        outputs = self._resolved(self._numbered(self.config["output_layers"]), None)
        if not list(tensors_in(outputs)):
            raise UnsupportedModelError(
                f"The model's 'output_layers' are {self.config['output_layers']!r}; none of them "
                f"is a tensor of the layers {sorted(self.layers)[:20]!r}."
            )
        return outputs

    def _call(self, name: str, number: int, node: _Node) -> Any:
        layer = self.layers[name]
        first = _recorded_shape(layer, 0) if number == self.first_calls[name] else None
        # A layer may have been built before, in another model and for another size.
        told = any(
            _history(one, self.layers) and _keras_3_shape(one) for one in leaves(node.arguments)
        )
        several = _recorded_shapes(layer) if number == self.first_calls[name] and not told else []
        arguments = tuple(self._resolved(one, first) for one in node.arguments)
        keywords = {key: self._resolved(one, None) for key, one in node.keywords.items()}
        if several and len(list(tensors_in(arguments))) == len(several):
            shapes = iter(several)
            arguments = tuple(replaced(arguments, TensorRef, lambda one: _sized(one, next(shapes))))
        return self.reader.call(layer, self.place, _Node(arguments, keywords))

    def _take_inputs(self, given: _Node) -> None:
        """Let the tensors that the model is called with stand for its own input layers."""
        own = self.config.get("input_layers")
        passed = given.arguments[0] if len(given.arguments) == 1 else list(given.arguments)
        if not given.arguments and given.keywords:
            passed = dict(given.keywords)
        histories = _histories_in(own, self.layers)
        if isinstance(passed, Mapping):
            by_name: Mapping[str, Any] = own if isinstance(own, Mapping) else {}
            names = {_history(one, self.layers)[0]: key for key, one in by_name.items()}  # type: ignore[index]
            tensors = [passed.get(names.get(name, name)) for name, _, _ in histories]
            if not any(type(tensor) is TensorRef for tensor in tensors):
                tensors = list(tensors_in(passed))
        else:
            tensors = list(tensors_in(passed))
        for (name, number, _), tensor in zip(histories, tensors, strict=False):
            if type(tensor) is TensorRef:
                self.results[name, number] = tensor

    def _histories(self, node: _Node) -> list[tuple[str, int, int]]:
        return _histories_in((node.arguments, node.keywords), self.layers)

    def _resolved(self, value: Any, shape: Shape | None) -> Any:
        """Return an argument with tensors in place of the names of those who made them."""
        history = _history(value, self.layers)
        if history is not None:
            name, number, output = history
            found = self.results.get((name, number))
            if found is None or output < 0:
                raise UnsupportedModelError(
                    f"The tensor {value!r} is of no call of a layer; the layers are "
                    f"{sorted(self.layers)[:20]!r}."
                )
            if type(found) is TensorRef and found.output == 0 and self._is_leaf(name):
                found = found._replace(output=output)
            else:
                several = list(tensors_in(found))
                found = several[output] if output < len(several) else several[0]
            recorded = _keras_3_shape(value) or shape
            return _sized(found, recorded)
        if isinstance(value, Mapping):
            if value.get("class_name") == "__tuple__":
                return tuple(self._resolved(one, None) for one in value.get("items", ()))
            return {key: self._resolved(one, None) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._resolved(one, None) for one in value]
        return value

    def _numbered(self, value: Any) -> Any:
        """Return the output layers with calls numbered as they are everywhere else.

        Only here, Keras 3 counts calls of functional models from 1, and all others from 0.
        """
        history = _history(value, self.layers)
        if history is not None:
            name, number, output = history
            config = self.layers[name].get("config") if name in self.layers else None
            functional = isinstance(config, Mapping) and "output_layers" in config
            if functional and not self.first_calls[name]:
                number -= 1
            return [name, number, output, {}]
        if isinstance(value, Mapping):
            return {key: self._numbered(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._numbered(one) for one in value]
        return value

    def _is_leaf(self, name: str) -> bool:
        """Whether this is a layer whose outputs its call numbers, and no nested model or input."""
        layer = self.layers[name]
        config = layer.get("config")
        inner = config.get("layer") if isinstance(config, Mapping) else None
        if isinstance(inner, Mapping):
            layer = inner
        return layer.get("class_name") != "InputLayer" and _sub_layers(layer) is None


def _written_size(layer: Mapping[str, Any]) -> Any:
    """Return the shape of an input layer, as Keras 3 or Keras 2 wrote it."""
    config = layer.get("config")
    options = config if isinstance(config, Mapping) else {}
    return options.get("batch_shape") or options.get("batch_input_shape")


def _sized(tensor: TensorRef, shape: Shape | None) -> TensorRef:
    return tensor if shape is None else tensor._replace(shape=shape)


# --- calls in the two formats ----------------------------------------------------------------


def _history(value: Any, names: Mapping[str, Any]) -> tuple[str, int, int] | None:
    """Return (layer, number of the call, number of the output) if a value stands for a tensor."""
    if isinstance(value, Mapping):
        if value.get("class_name") != "__keras_tensor__":
            return None
        config = value.get("config")
        history = config.get("keras_history") if isinstance(config, Mapping) else None
        if not _is_history(history):
            raise UnsupportedModelError(
                f"A tensor is described by {str(value)[:200]!r}; expected is a 'config' with a "
                "'keras_history' of a layer, the number of its call and that of its output."
            )
        return history[0], history[1], history[2]
    if (
        isinstance(value, list | tuple)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and type(value[1]) is int
        and type(value[2]) is int
        and (len(value) == 3 or isinstance(value[3], Mapping))
        and (value[0] in names or len(value) == 4)
    ):
        return value[0], value[1], value[2]
    return None


def _is_history(value: Any) -> TypeGuard[Sequence[Any]]:
    return (
        isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], str)
        and type(value[1]) is int and type(value[2]) is int
    )  # fmt: skip


def _histories_in(value: Any, names: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    history = _history(value, names)
    if history is not None:
        return [history]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [found for one in value for found in _histories_in(one, names)]
    return []


def _nodes_of(layer: Mapping[str, Any]) -> list[_Node]:
    """Return the calls of a layer; an input layer has one, without arguments."""
    nodes = layer.get("inbound_nodes") or []
    if not nodes and layer.get("class_name") == "InputLayer":
        return [_Node((), {})]
    if not isinstance(nodes, list):
        raise UnsupportedModelError(
            f"The layer {_name_of(layer)!r} has inbound_nodes={nodes!r}; expected is a list."
        )
    return [_node_of(layer, node) for node in nodes]


def _node_of(layer: Mapping[str, Any], node: Any) -> _Node:
    made = _node_of_keras_3(layer, node) or _node_of_keras_2(node)
    if made is None:
        raise UnsupportedModelError(
            f"The layer {_name_of(layer)!r} has the inbound node {node!r}, in no format of Keras."
        )
    return made


def _node_of_keras_3(layer: Mapping[str, Any], node: Any) -> _Node | None:
    if not isinstance(node, Mapping) or not isinstance(node.get("args"), list):
        return None
    keywords = node.get("kwargs") or {}
    if not isinstance(keywords, Mapping):
        raise UnsupportedModelError(
            f"The layer {_name_of(layer)!r} has the keyword arguments {keywords!r}; expected "
            "is an object."
        )
    return _Node(tuple(node["args"]), {k: v for k, v in keywords.items() if v is not None})


def _node_of_keras_2(node: Any) -> _Node | None:
    """Return a call on one tensor, on tensors by name, or on a list of tensors and of lists."""
    if _is_keras_2_tensor(node):  # the only tensor of an operator
        return _Node((_plain(node),), _keywords(node))
    if isinstance(node, Mapping):
        if not all(map(_is_keras_2_tensor, node.values())):
            return None
        return _Node(({key: _plain(one) for key, one in node.items()},), {})
    if not isinstance(node, list) or not node:
        return None
    if len(node) == 1:
        nested = isinstance(node[0], list | Mapping)
        return _node_of_keras_2(node[0]) if nested else None
    if not all(map(_is_nested, node)):
        return None
    return _Node((_plain_nested(node),), _keywords(_first_leaf(node)))


def _is_keras_2_tensor(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str)
        and type(value[1]) is int
    )  # fmt: skip


def _is_nested(value: Any) -> bool:
    """Whether this is a tensor of Keras 2, or a list of some, such as what is put together."""
    nested = isinstance(value, list) and bool(value)
    return _is_keras_2_tensor(value) or (nested and all(map(_is_nested, value)))


def _plain_nested(value: list[Any]) -> Any:
    return _plain(value) if _is_keras_2_tensor(value) else [_plain_nested(one) for one in value]


def _first_leaf(value: list[Any]) -> list[Any]:
    return value if _is_keras_2_tensor(value) else _first_leaf(value[0])


def _plain(value: Any) -> Any:
    """Return a tensor of Keras 2 without its keywords; a constant stands in the tensor's place."""
    if value[0] == "_CONSTANT_VALUE":
        return value[2]
    return [*value[:3], {}]


def _keywords(value: list[Any]) -> dict[str, Any]:
    keywords = value[3] if len(value) == 4 and isinstance(value[3], Mapping) else {}
    return {key: one for key, one in keywords.items() if one is not None}


def _first_call(layer: Mapping[str, Any]) -> int:
    """Return the number of a layer's first call in this file.

    In Keras 2 a model that starts with an input layer has had one call on its own before.
    """
    layers = _sub_layers(layer) or [{}]
    nodes = layer.get("inbound_nodes") or []
    first = nodes[0] if isinstance(nodes, list) and nodes else None
    keras_3 = isinstance(first, Mapping) and "args" in first
    return int(not keras_3 and layers[0].get("class_name") == "InputLayer")


# --- recorded shapes -------------------------------------------------------------------------


def _to_shape(value: Any) -> Shape | None:
    if isinstance(value, Mapping) and value.get("class_name") == "__tuple__":
        value = value.get("items")
    if (
        isinstance(value, list | tuple)
        and value
        and all(one is None or type(one) is int for one in value)
    ):
        return tuple(value)
    return None


def leaves(value: Any) -> Iterator[Any]:
    """Yield what is in lists and tuples, however deep.

    >>> list(leaves([1, (2, [3])]))
    [1, 2, 3]
    """
    if isinstance(value, list | tuple):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def _keras_3_shape(value: Any) -> Shape | None:
    return _to_shape(value["config"].get("shape")) if isinstance(value, Mapping) else None


def _recorded_shape(layer: Mapping[str, Any], place: int) -> Shape | None:
    """Return the shape that a layer was built with."""
    shapes = _recorded_shapes(layer)
    return shapes[place] if len(shapes) == 1 else None


def _recorded_shapes(layer: Mapping[str, Any]) -> list[Shape | None]:
    build = layer.get("build_config")
    shape = build.get("input_shape") if isinstance(build, Mapping) else None
    single = _to_shape(shape)
    if single is not None:
        return [single]
    if isinstance(shape, list) and all(isinstance(one, list) for one in shape):
        return [_to_shape(one) for one in shape]
    return []


def _first_shape(
    model: Mapping[str, Any], layers: Sequence[Mapping[str, Any]]
) -> list[int | None] | None:
    """Return the input shape of a model without an input layer, as far as it is written down."""
    config = model["config"]
    candidates: list[Any] = []
    if isinstance(config, Mapping):
        candidates.append(config.get("build_input_shape"))
    while layers:
        first = layers[0]
        own = first["config"]
        if isinstance(own, Mapping):
            candidates += [own.get("batch_input_shape"), own.get("batch_shape")]
        candidates.append(_recorded_shape(first, 0))
        layers = _sub_layers(first) or []
    for candidate in candidates:
        shape = _to_shape(candidate)
        if shape is not None:
            return list(shape)
    return None
