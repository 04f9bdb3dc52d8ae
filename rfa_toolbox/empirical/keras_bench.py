"""Keras 3 models on the bench of the structural experiment, on any backend.

The layers of the model are called one by one in the order of its graph, on images of any size
that they take; nothing is rebuilt, and no layer learns anything of it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rfa_toolbox.empirical.keras_poison import (
    Bundled,
    Flags,
    PoisonedLayers,
    nan_in,
    passing_nan_on,
)
from rfa_toolbox.empirical.readings import Mask
from rfa_toolbox.empirical.results import call_name
from rfa_toolbox.empirical.structural import Interval
from rfa_toolbox.encodings.tensorflow_keras import (
    create_graph_from_keras_json,
    create_graph_from_model,
    keras_model_to_dict,
)
from rfa_toolbox.encodings.tensorflow_keras.layer_handlers import LayerCall
from rfa_toolbox.errors import InvalidResolutionError, UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.operators.chain import HandlerChain

__all__ = ["KerasBench", "KerasSetting"]

_STEP = 448
"""Lengths differ by multiples of it, so that 'same' pads strided layers as it does at the size of
the model: what is padded depends on the remainder by the stride."""

_DOUBLINGS = 5
_WIDTHS = (32, 64, 96, 128, 192, 224)
_DEFAULT = 224
_BATCH = 64
_COMPILED_BATCH = 8
"""JAX compiles every kernel anew for another number of images, so there is but one."""

_NUMBERS = 2**27
"""How many numbers an image may have, all channels of all layers together."""

_ONLY = ""
"""The input of a model that has no other one, whatever its name."""

_MOVING = {"Reshape", "Permute"}


class KerasBench:
    """A model of Keras 3; a subclassed one is called on symbolic tensors.

    Args:
        model: is not touched.
        input_shape: (batch, height, width, channels), in the model's own order; None takes that of
            the model, and 224 pixels where it says none. For several inputs a list of shapes, or a
            mapping from names to shapes.
        global_ops: which global operations count, "ignore_gates" or "count".
        max_length: the longest image to try.
        shortcuts: spend no time on channels that are NaN together; see ``keras_poison``.
        handlers: a chain of handlers in place of the default one.
    """

    def __init__(
        self,
        model: Any,
        input_shape: Any = None,
        global_ops: Literal["ignore_gates", "count"] = "ignore_gates",
        max_length: int | None = None,
        shortcuts: bool = True,
        handlers: HandlerChain[LayerCall] | None = None,
    ) -> None:
        functional = _functional(model, input_shape)
        self.functional = functional
        self.model_name = str(model.name)
        self.global_ops = global_ops
        self.handlers = handlers
        model = model if hasattr(model, "_functional") or model is functional else functional
        graph = create_graph_from_model(model, global_ops=global_ops, handlers=handlers)
        self.architecture = keras_model_to_dict(model)
        self.names = frozenset(node.name for node in graph.all_layers)
        self.gated = _in_gates(graph.all_layers)
        self.before = {
            node.name: {one.name for one in node.predecessors} for node in graph.all_layers
        }
        self.inputs = {str(one.name): tuple(one.shape) for one in functional.inputs}
        several = _shapes_by_name(self.inputs, input_shape)
        self.main = max(several, key=lambda name: len(self.inputs[name]))
        own, given = self.inputs[self.main], several[self.main]
        self.channels_first = first = _has_channels_first(functional)
        self.shortcuts = shortcuts
        self.spatial = tuple(range(2, len(own))) if first else tuple(range(1, len(own) - 1))
        if any(
            None is not one != size and place not in (0, *self.spatial)
            for place, (one, size) in enumerate(zip(own, given, strict=True))
        ):
            order = "channels first" if first else "channels last"
            raise InvalidResolutionError(
                f"input_shape is {given!r}; the model takes {own!r}, with {order}."
            )
        self.base = tuple(
            1 if place == 0 else size or (_DEFAULT if place in self.spatial else 3)
            for place, size in enumerate(given)
        )
        self.beside = {name: tuple(one or 1 for one in shape) for name, shape in several.items()}
        self.axes = len(self.spatial)
        self.max_length = max_length
        self.failure: Exception | None = None
        self._settings: dict[tuple[int, int], KerasSetting | None] = {}

    def shapes_at(self, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all inputs if the image has this one.

        Inputs of as many dimensions are images, too, as large as the first; others stay.
        """
        found = {}
        for name, beside in self.beside.items():
            alike = len(beside) == len(shape)
            sizes = {place: shape[place] for place in self.spatial if alike}
            found[name] = tuple(sizes.get(place, size) for place, size in enumerate(beside))
        return found

    def nodes_at(self, shape: Sequence[int]) -> dict[str, EnrichedNetworkNode]:
        """Return the nodes of the graph for inputs of a shape, which paddings may depend on."""
        shapes = {**self.shapes_at(shape), self.main: tuple(shape)}
        if len(shapes) == 1:
            shapes = {_ONLY: tuple(shape)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the graph of the model has warned
            graph = create_graph_from_keras_json(
                _resized(self.architecture, shapes),
                global_ops=self.global_ops,
                handlers=self.handlers,
            )
        return {node.name: node for node in graph.all_layers}

    def lengths(self, axis: int) -> Sequence[int]:
        """Lengths of the image to try along an axis; only the model's own if no other runs."""
        base = self.base[self.spatial[axis]]
        lengths = [base + _STEP * (2**step - 1) for step in range(1, _DOUBLINGS + 1)]
        lengths = [one for one in lengths if self.max_length is None or one <= self.max_length]
        if lengths and self.setting(axis, lengths[0]) is not None:
            return lengths
        return (base,)

    def setting(self, axis: int, length: int) -> KerasSetting | None:
        """Return the model on an image that is as narrow as it may be along the other axes."""
        base = self.base[self.spatial[axis]]
        length = base + (length - base) // _STEP * _STEP
        key = (axis, length)
        if key not in self._settings:
            self._settings[key] = next(self._that_run(axis, length), None)
        return self._settings[key]

    def _that_run(self, axis: int, length: int) -> Iterator[KerasSetting]:
        for width in (*_WIDTHS, None):
            shape = list(self.base)
            for place, dimension in enumerate(self.spatial):
                if place == axis:
                    shape[dimension] = length
                elif width is not None:
                    if shape[dimension] <= width:
                        break
                    shape[dimension] = width
            else:
                # What a layer raises where an image is too small, or has to have another size,
                # is up to its backend.
                try:
                    setting = KerasSetting(self, axis, tuple(shape))
                except Exception as error:  # noqa: BLE001
                    self.failure = error
                    continue
                if setting.numbers <= _NUMBERS:
                    yield setting
                else:
                    self.failure = MemoryError(
                        f"an image of shape {tuple(shape)} takes {setting.numbers} numbers, more "
                        f"than the {_NUMBERS} that a pass may take"
                    )


class KerasSetting:
    """A Keras model on an image of one size, ready for poison along one axis."""

    def __init__(self, bench: KerasBench, axis: int, shape: tuple[int, ...]) -> None:
        self.bench = bench
        self.axis = axis
        self.shape = shape
        self.length = shape[bench.spatial[axis]]
        self.output_shapes: dict[str, tuple[int, ...]] = {}
        self._sizes: dict[str, int] = {}
        self._maps: list[tuple[int, ...]] = []
        self._compiled = importlib.import_module("keras").backend.backend() == "jax"
        self._batch = _COMPILED_BATCH if self._compiled else 1
        self.blind: dict[str, str] = {}
        self._masked: set[str] = set()
        clean = self.masks([(0, 0)])[0]
        self.numbers = sum(self._sizes.values())
        self.units = {name: mask.size for name, mask in clean.items()}
        for name, mask in clean.items():
            if mask.any():
                self.blind[name] = "it is NaN without poison"
        for name, before in bench.before.items():  # in order of execution
            if name in self._masked or before & self._masked:
                self._masked.add(name)
                self.blind[name] = "some weights are zero by a mask, which NaN does not show"
        self.doubtful: dict[str, str] = {}
        self.twice: frozenset[str] = frozenset()
        self.unplaced: frozenset[str] = frozenset()
        self.gated = bench.gated
        for name in bench.names - self.units.keys():
            self.units[name] = 1
            self.blind[name] = "the experiment does not see it being called"
            self.output_shapes[name] = ()
        self.units = {name: one for name, one in self.units.items() if name in bench.names}
        if not self._compiled:
            self._batch = max(1, min(_BATCH, _NUMBERS // max(1, self.numbers)))

    @functools.cached_property
    def nodes(self) -> dict[str, EnrichedNetworkNode]:
        """The nodes of the graph for this image, by name, in order of execution."""
        nodes = self.bench.nodes_at(self.shape)
        return {name: nodes[name] for name in self.units}

    def masks(self, intervals: Sequence[Interval], numbers: bool = False) -> list[dict[str, Mask]]:
        """Poison each of the intervals of rows in turn; return which units are NaN, per layer."""
        found: list[dict[str, Mask]] = []
        for place in range(0, len(intervals), self._batch):
            some = intervals[place : place + self._batch]
            rest = (self._batch - len(some)) * self._compiled
            found.extend(self._run([*some, *[(0, 0)] * rest])[: len(some)])
        return found

    def _run(self, intervals: Sequence[Interval]) -> list[dict[str, Mask]]:
        keras = importlib.import_module("keras")
        bench = self.bench
        images = np.zeros((len(intervals), *self.shape[1:]), np.bool_)
        for image, (start, stop) in zip(images, intervals, strict=True):
            np.moveaxis(image, bench.spatial[self.axis] - 1, 0)[start:stop] = True
        found: list[dict[str, Mask]] = [{} for _ in intervals]
        read: dict[int, tuple[Any, Flags]] = {}

        def look(
            name: str, result: Any, before: int = 0, order: tuple[int, ...] | None = None
        ) -> None:
            while isinstance(result, list | tuple | dict):
                result = next(iter(result.values() if isinstance(result, dict) else result))
            shape = tuple(map(int, result.shape))
            self.output_shapes.setdefault(name, (1, *shape[1:]))
            ranks = {len(shape), before or len(shape)}
            if any(
                3 <= one != len(self.shape) and (one, len(self.shape)) != (3, 4) for one in ranks
            ):
                self.blind[name] = (
                    "it reads or makes a tensor with another number of dimensions than the image, "
                    "in which its positions are not followed"
                )
            if shape[:1] != (len(intervals),):
                self.blind[name] = "its batches hold positions, which are not followed"
            flags = result.flags if isinstance(result, Bundled) else nan_in(keras, result)
            if order is not None and isinstance(result, Bundled):
                flags = np.repeat(flags, result.counts, result.axis)  # they may be positions
            if id(flags) not in read:
                read[id(flags)] = flags, self._units(flags, len(intervals), order)
                whole = isinstance(result, Bundled) and result.tensor is None
                self._sizes[name] = (flags.size if whole else math.prod(shape)) // len(intervals)
            for image, mask in enumerate(read[id(flags)][1]):
                found[image][name] = mask

        layers = PoisonedLayers(
            keras,
            rank=len(self.shape),
            channels_first=bench.channels_first,
            gates=bench.global_ops == "count",
            shortcuts=bench.shortcuts,
        )
        with _undisturbed(keras), passing_nan_on(keras):
            walk = _Walk(layers, look)
            walk.through(bench.functional, self._inputs(layers, images), "")
        self._masked |= walk.masked
        return found

    def _inputs(self, layers: PoisonedLayers, images: Flags) -> Any:
        """Return what to call the model with: the same rows of all images are poisoned."""
        bench = self.bench
        if len(bench.inputs) == 1:
            return layers.poisoned(images)
        channels = next(place for place in range(1, images.ndim) if place not in bench.spatial)
        poisoned = images.take([0], channels)
        given = []
        for shape in bench.shapes_at(self.shape).values():
            flags = np.zeros((len(images), *shape[1:]), np.bool_)
            if len(shape) == images.ndim:
                flags |= poisoned
            given.append(layers.poisoned(flags))
        return given

    def _units(self, flags: Flags, count: int, order: tuple[int, ...] | None) -> Flags:
        """Return which units are NaN, per image: of any channel, wherever on the other axes.

        ``order`` says which dimension of the image every dimension is, if they were permuted.
        """
        spatial = self.bench.spatial
        if order is not None and flags.ndim == len(order) == len(self.shape):
            spatial = tuple(order.index(one) for one in spatial)
        if flags.shape[:1] != (count,):
            return np.zeros((count, 1), np.bool_)
        if flags.ndim == len(self.shape):
            self._maps.append(tuple(flags.shape[one] for one in spatial))
            kept: tuple[int, ...] = (spatial[self.axis],)
        elif flags.ndim == 3 and len(self.shape) == 4:
            # Tokens: the rows of a map, one after another.
            flags = flags if order is None else np.moveaxis(flags, order.index(1), 1)
            sizes = next(
                (one for one in reversed(self._maps) if math.prod(one) == flags.shape[1]), None
            )
            if sizes is not None:
                flags = flags.reshape(count, *sizes, -1)
                kept = (self.axis + 1,)
            else:
                kept = (1,)
        else:
            kept = ()
        rest = tuple(one for one in range(1, flags.ndim) if one not in kept)
        return flags.any(axis=rest).reshape(count, -1)


class _Walk:
    """Calls the layers of a model, and of the models in it, and shows every result."""

    def __init__(self, layers: PoisonedLayers, look: Callable[..., None]) -> None:
        self.layers = layers
        self.look = look
        self.masked: set[str] = set()
        """Calls that were given a mask."""
        self._calls: Counter[str] = Counter()
        self._orders: dict[int, tuple[Any, tuple[int, ...]]] = {}
        """Of results with permuted dimensions: themselves, by id, and which dimensions they had."""

    def through(self, model: Any, inputs: Any, path: str) -> Any:
        """Run a model; ``path`` are the names of the models around it."""
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if isinstance(inputs, dict):
            given = [inputs[key] for key in sorted(inputs)]
        makers = [one._keras_history.operation for one in model.inputs]
        for layer in model.operations:
            if layer in makers:
                self.look(self._name(path, layer), given[makers.index(layer)])
        return model._run_through_graph(
            inputs, operation_fn=lambda operation: self._called(operation, path)
        )

    def _name(self, path: str, layer: Any) -> str:
        name = f"{path}/{layer.name}" if path else str(layer.name)
        self._calls[name] += 1
        return call_name(name, self._calls[name])

    def _called(self, operation: Any, path: str) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            inner = getattr(operation, "_functional", None) or operation
            if hasattr(inner, "_run_through_graph"):
                outputs = self.through(
                    inner, args[0], f"{path}/{operation.name}" if path else operation.name
                )
                many = isinstance(outputs, list | tuple) and len(outputs) == 1
                return outputs[0] if many else outputs
            result = self.layers.call(operation, args, keywords)
            moves = type(operation).__name__ in _MOVING and hasattr(args[0], "shape")
            order = self._order(operation, args, result)
            name = self._name(path, operation)
            if any(
                key.endswith("mask") and one is not None and one is not False
                for key, one in keywords.items()
            ):
                self.masked.add(name)
            self.look(name, result, len(args[0].shape) if moves else 0, order)
            return result

        return call

    def _order(self, operation: Any, args: Any, result: Any) -> tuple[int, ...] | None:
        """Return which dimension of the image every dimension of a result is, if permuted."""
        several = args[0] if args and isinstance(args[0], list | tuple) else args
        known = [self._orders[id(one)][1] for one in several if id(one) in self._orders]
        permuted = _permutation(operation, args)
        if not (known or permuted) or not hasattr(result, "shape"):
            return None
        order = known[0] if known else tuple(range(len(permuted or ())))
        if permuted is not None:
            order = tuple(order[one] for one in permuted)
        if len(order) != len(result.shape):
            return None
        self._orders[id(result)] = result, order
        return order


def _permutation(operation: Any, args: Any) -> tuple[int, ...] | None:
    """Return where every dimension of the result comes from; None if nothing is permuted."""
    kind = type(operation).__name__
    if kind == "Permute":
        return (0, *operation.dims)
    if kind not in ("Transpose", "Swapaxes", "Moveaxis"):
        return None
    numbered = np.empty(tuple(range(len(args[0].shape))))  # a dimension's size is its number
    if kind == "Transpose":
        return np.transpose(numbered, operation.axes).shape
    if kind == "Swapaxes":
        return np.swapaxes(numbered, operation.axis1, operation.axis2).shape
    return np.moveaxis(numbered, operation.source, operation.destination).shape


def _resized(value: Any, shapes: dict[str, tuple[int, ...]]) -> Any:
    """Return the JSON of a model with other shapes of its inputs, by name, and no other shapes.

    The first input of a name is that of the model, and one of another is that of a model in it.
    """
    if isinstance(value, list):
        return [_resized(one, shapes) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {key: one for key, one in value.items() if not key.startswith("build_")}
    kind, config = value.get("class_name"), value.get("config") or {}
    for key in ("shape", "batch_shape"):
        if kind in ("InputLayer", "__keras_tensor__") and key in config:
            made: list[int | None] = [None] * len(config[key])
            name = config["name"] if config.get("name") in shapes else _ONLY
            if kind == "InputLayer" and name in shapes:
                made = [None, *shapes.pop(name)[1:]]
            return {**kept, "config": {**config, key: made}}
    return {key: _resized(one, shapes) for key, one in kept.items()}


def _functional(model: Any, input_shape: Any) -> Any:
    """Return the graph of layers that a model is; a subclassed one is called on symbolic tensors.

    Raises:
        UnsupportedModelError: if its layers cannot be run one by one.
    """
    functional = getattr(model, "_functional", None) or model
    if hasattr(functional, "_run_through_graph"):
        return functional
    problem = f"{type(model).__name__} is no functional or built sequential model of Keras 3, "
    if not hasattr(model, "call") or input_shape is None:
        raise UnsupportedModelError(
            f"{problem}so its layers cannot be run one by one. Pass input_shape, with which a "
            "subclassed model of Keras 3 is called."
        )
    keras = importlib.import_module("keras")
    shapes = input_shape if isinstance(input_shape, Mapping) else None
    several = shapes or (input_shape if _holds_shapes(input_shape) else None)
    try:
        if several is None:
            inputs = keras.Input(batch_shape=(None, *input_shape[1:]))
        elif shapes is not None:
            inputs = {
                key: keras.Input(batch_shape=(None, *one[1:]), name=key)
                for key, one in shapes.items()
            }
        else:
            inputs = [keras.Input(batch_shape=(None, *one[1:])) for one in input_shape]
        return keras.Model(inputs, model.call(inputs), name=str(model.name))
    except Exception as error:  # whatever its code raises on symbolic tensors
        raise UnsupportedModelError(
            f"{problem}and calling it on symbolic tensors of the shape {input_shape!r} fails: "
            f"{type(error).__name__}: {error}"
        ) from error


def _holds_shapes(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(one, list | tuple) for one in value)


def _shapes_by_name(
    inputs: Mapping[str, tuple[int | None, ...]], given: Any
) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of all inputs, those that a user passed where there are such.

    Raises:
        InvalidResolutionError: if they are not as many, or of other dimensions.
    """
    shapes: dict[str, Any] = dict(inputs)
    if isinstance(given, Mapping):
        shapes.update(given)
    elif _holds_shapes(given):
        shapes = dict(zip(inputs, given, strict=False)) if len(given) == len(inputs) else {}
    elif given is not None:
        shapes = {**shapes, next(iter(inputs)): given}
    fitting = shapes.keys() == inputs.keys() and all(
        len(shapes[name]) == len(own) for name, own in inputs.items()
    )
    if not fitting:
        dimensions = ", ".join(f"{len(own)} dimensions: {own!r}" for own in inputs.values())
        raise InvalidResolutionError(
            f"input_shape is {given!r}; the model takes {dimensions}. Name several inputs "
            f"{list(inputs)!r} by a list of shapes in this order, or by a mapping."
        )
    return {name: tuple(shape) for name, shape in shapes.items()}


def _in_gates(nodes: Iterable[EnrichedNetworkNode]) -> frozenset[str]:
    """Return the names of the nodes between a map and its gate: neutral, and of one unit."""
    found: set[str] = set()
    for node in nodes:
        begins = node.layer_info.ignored_global
        behind = any(before.name in found for before in node.predecessors)
        if (begins or behind) and set(node.feature_map or ()) == {1}:
            found.add(node.name)
    return frozenset(found)


def _has_channels_first(model: Any) -> bool:
    """Return whether the layers of a model have the channels in front of the positions."""
    return any(
        getattr(layer, "data_format", None) == "channels_first" for layer in model.operations
    )


@contextlib.contextmanager
def _undisturbed(keras: Any) -> Iterator[None]:
    """On PyTorch, run without gradients, and leave random states and flags as they were."""
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            capture = importlib.import_module("rfa_toolbox.encodings.pytorch.capture")
            stack.enter_context(capture.undisturbed())
        yield
