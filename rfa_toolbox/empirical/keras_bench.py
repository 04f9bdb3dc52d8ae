"""Keras 3 models on the bench of the structural experiment, on any backend.

The layers of the model, and those inside layers that were opened to read them, are called one by
one in the order of its graph, on images of any size that they take; nothing is rebuilt, and no
layer learns anything of it.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rfa_toolbox.empirical.keras_poison import (
    Bundled,
    DifferingLayers,
    Flags,
    PoisonedLayers,
    changed_in,
    nan_in,
    passing_nan_on,
    with_random_weights,
)
from rfa_toolbox.empirical.keras_walk import Walk
from rfa_toolbox.empirical.readings import Mask
from rfa_toolbox.empirical.structural import PAIRS, WEIGHTLESS_PAIRS, Interval
from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_model
from rfa_toolbox.encodings.tensorflow_keras.layer_handlers import LayerCall
from rfa_toolbox.encodings.tensorflow_keras.live import (
    LiveGraph,
    function_of,
    is_live,
    opened,
    shapes_when_built,
)
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
_TRACED_BATCH = 16
"""Calls that were traced are for one number of images, so that all passes are of as many."""

_COMPILED_BATCH = 8
"""JAX compiles every kernel anew for another number of images, so there is but one."""

_ELSEWHERE = "its positions are not on the dimensions where those of a map are"

_NUMBERS = 2**27
"""How many numbers an image may have, all channels of all layers together."""


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
        connected = function_of(model) is not None
        if not connected:
            input_shape = shapes_when_built(model) if input_shape is None else input_shape
            _build(model, input_shape)
        self.model = model
        self.model_name = str(model.name)
        self.global_ops = global_ops
        self.handlers = handlers
        self._nested = input_shape
        self.live = opened(model, None if connected else input_shape)
        self._graph(None if connected else input_shape)  # which warns
        self.inputs = self._inputs(input_shape)
        several = _shapes_by_name(self.inputs, input_shape)
        self.main = max(several, key=lambda name: len(self.inputs[name]))
        own, given = self.inputs[self.main], several[self.main]
        self.channels_first = first = _has_channels_first(self.live)
        self.shortcuts = shortcuts
        signal = len(own) == 2  # a plain one has no channels; its maps have
        self.rank = 3 if signal else len(own)
        self.in_maps = tuple(range(2, self.rank) if first else range(1, self.rank - 1))
        self.spatial = (1,) if signal else self.in_maps
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

    def _inputs(self, given: Any) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of all inputs by name; None for sizes that are open."""
        if self.live.function:
            return {str(one.name): tuple(one.shape) for one in self.live.inputs}
        names = sorted(given) if isinstance(given, Mapping) else self.live.input_names
        shapes = (tuple(one.shape) for one in self.live.inputs)
        return {name: (None, *one[1:]) for name, one in zip(names, shapes, strict=True)}

    def _shapes(self, shape: Sequence[int], batch: int) -> Any:
        """Return the shapes of all inputs if the image has this one, nested as the model has it."""
        by_name = {**self.shapes_at(shape), self.main: tuple(shape)}
        shapes = {name: (batch, *one[1:]) for name, one in by_name.items()}
        if self.live.function or not isinstance(self._nested, Mapping):
            several = [shapes[name] for name in self.inputs]
            return several if self.live.function or _holds_shapes(self._nested) else several[0]
        return shapes

    def _graph(self, shapes: Any) -> EnrichedNetworkNode:
        return create_graph_from_model(
            self.model, input_res=shapes, global_ops=self.global_ops, handlers=self.handlers
        )

    def nodes_at(self, shape: Sequence[int]) -> dict[str, EnrichedNetworkNode]:
        """Return the nodes of the graph for inputs of a shape, which paddings may depend on."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the graph of the model has warned
            graph = self._graph(self._shapes(shape, 1))
        return {node.name: node for node in graph.all_layers}

    def calls_at(
        self, shape: Sequence[int], batch: int, nodes: Mapping[str, EnrichedNetworkNode]
    ) -> LiveGraph:
        """Return the calls of the model on so many images of a shape, opened as its nodes are."""
        if not self.live.traced:
            return self.live

        def keep(_layer: Any, name: str, _shapes: Sequence[tuple[int, ...]]) -> bool:
            return name in nodes

        return opened(self.model, self._shapes(shape, batch), keep)

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
        self._permuted: set[str] = set()
        self.nodes = bench.nodes_at(shape)
        self.gated = _in_gates(self.nodes.values())
        self._weighing = {
            node.name
            for node in self.nodes.values()
            if node.name not in self.gated and {one.name for one in node.predecessors} & self.gated
        }
        compiled = importlib.import_module("keras").backend.backend() == "jax"
        self._batch = _COMPILED_BATCH if compiled else 1
        self._alike = compiled  # all passes are of as many images
        self._graphs: dict[int, LiveGraph] = {}
        self.blind: dict[str, str] = {}
        self._masked: set[str] = set()
        self._weighed: set[str] = set()
        clean = self.masks([(0, 0)])[0]
        self.numbers = sum(self._sizes.values())
        self.units = {name: mask.size for name, mask in clean.items() if name in self.nodes}
        for name, mask in clean.items():
            if mask.any():
                self.blind[name] = "it is NaN without poison"
        lost: set[str] = set()
        for name, node in self.nodes.items():
            if name in self.units and self._is_lost(node, lost):
                lost.add(name)
                self.blind.setdefault(name, _ELSEWHERE)
            if name in self._masked or self._masked & {one.name for one in node.predecessors}:
                self._masked.add(name)
                if _is_square(self.output_shapes.get(name, ())):
                    self.blind[name] = WEIGHTLESS_PAIRS
        for name in self._masked & self.nodes.keys():
            self._say_of_scores(self.nodes[name])
        self._weighed = (self._masked & self.units.keys()) - self.blind.keys()
        with _undisturbed(importlib.import_module("keras")):
            self._weights = with_random_weights(bench.model) if self._weighed else []
        self.doubtful = _behind_choices(self.nodes.values())
        self.twice: frozenset[str] = frozenset()
        self.unplaced: frozenset[str] = frozenset()
        for name in self.nodes.keys() - self.units.keys():
            self.units[name] = 1
            self.blind[name] = "the experiment does not see it being called"
            self.output_shapes[name] = ()
        self.nodes = {name: self.nodes[name] for name in self.units}
        if not compiled:
            largest = _TRACED_BATCH if bench.live.traced else _BATCH
            self._batch = max(1, min(largest, _NUMBERS // max(1, self.numbers)))
            self._alike = bench.live.traced

    def _is_lost(self, node: EnrichedNetworkNode, lost: set[str]) -> bool:
        """Return whether the positions of a result are not where those of a map are, or of tokens.

        The graph says how many there are along every axis. It does not matter where a unit sees
        everything. Where they were lost, only a reshape to the sizes of a map, or a layer with a
        window ends it.
        """
        sizes, shape = node.feature_map, self.output_shapes[node.name]
        if node.receptive_field_max in (math.inf, (math.inf,) * self.bench.axes):
            return False
        if sizes is None:
            return True
        behind = any(one.name in lost for one in node.predecessors)
        if set(sizes) == {1}:
            return behind
        if not behind and node.name in self._permuted:
            return False
        if behind and node.layer_info.name != "Reshape" and self._is_neutral(node):
            return True
        if len(shape) < 3:
            return not self._is_signal(node.name, shape)  # its positions lie among its channels
        rank = self.bench.rank
        if len(shape) == rank:
            return tuple(shape[one] for one in self.bench.in_maps) != tuple(sizes)
        return (len(shape), rank) == (3, 4) and shape[1] != math.prod(sizes)

    def _is_signal(self, name: str, shape: Sequence[int]) -> bool:
        """Return whether a result is a plain signal, as the image is: its dimension is time."""
        told = self.nodes[name].feature_map if name in self.nodes else None
        return len(shape) == len(self.shape) == 2 and told == (shape[1],)

    def _say_of_scores(self, masked: EnrichedNetworkNode) -> None:
        """Say of scores in front of a mask that they are a part of their attention."""
        waiting = list(masked.predecessors)
        while waiting:
            node = waiting.pop()
            shape = self.output_shapes.get(node.name, ())
            if _is_square(shape) and node.name not in self.blind:
                self.blind[node.name] = PAIRS
                waiting.extend(node.predecessors if self._is_neutral(node) else ())

    def _is_neutral(self, node: EnrichedNetworkNode) -> bool:
        return node.kernel_size in (1, (1,) * self.bench.axes)

    def masks(self, intervals: Sequence[Interval], numbers: bool = False) -> list[dict[str, Mask]]:
        """Poison each of the intervals of rows in turn; return which units are NaN, per layer."""
        found: list[dict[str, Mask]] = []
        for place in range(0, len(intervals), self._batch):
            some = intervals[place : place + self._batch]
            rest = (self._batch - len(some)) * self._alike
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
            if any(3 <= one != bench.rank and (one, bench.rank) != (3, 4) for one in ranks):
                self.blind[name] = (
                    "it reads or makes a tensor with another number of dimensions than the image, "
                    "in which its positions are not followed"
                )
            if order is not None:
                self._permuted.add(name)
            if shape[:1] != (len(intervals),):
                self.blind[name] = "its batches hold positions, which are not followed"
            flags = result.flags if isinstance(result, Bundled) else nan_in(keras, result)
            among = order is not None or self._is_signal(name, shape)
            if among and isinstance(result, Bundled):
                flags = np.repeat(flags, result.counts, result.axis)  # they may be positions
            if id(flags) not in read:
                read[id(flags)] = flags, self._units(flags, len(intervals), order, name)
                whole = isinstance(result, Bundled) and result.tensor is None
                self._sizes[name] = (flags.size if whole else math.prod(shape)) // len(intervals)
            for image, mask in enumerate(read[id(flags)][1]):
                found[image][name] = mask

        layers = PoisonedLayers(
            keras,
            rank=bench.rank,
            channels_first=bench.channels_first,
            gates=bench.global_ops == "count",
            shortcuts=bench.shortcuts,
        )
        calls = self._calls(len(intervals))
        with _undisturbed(keras), passing_nan_on(keras):
            walk = Walk(layers, look, self._weighing)
            walk.run(calls, self._inputs(layers, images))
        self._masked |= walk.masked
        for masks, changed in zip(found, self._changed(intervals), strict=True):
            masks.update(changed)
        return found

    def _changed(self, intervals: Sequence[Interval]) -> list[dict[str, Mask]]:
        """Return which units change with some rows, of layers that NaN does not tell of."""
        found: list[dict[str, Mask]] = [{} for _ in intervals]
        if not self._weighed:
            return found
        keras, bench = importlib.import_module("keras"), self.bench

        def look(
            name: str, result: Any, _before: int = 0, order: tuple[int, ...] | None = None
        ) -> None:
            if name in self._weighed:
                flags = changed_in(keras, keras.tree.flatten(result)[0])
                for image, mask in zip(
                    found, self._units(flags, len(intervals), order, name), strict=True
                ):
                    image[name] = image.get(name, np.zeros_like(mask)) | mask

        gates = bench.global_ops == "count"
        layers = DifferingLayers(keras, bench.rank, bench.channels_first, gates)
        calls = self._calls(len(intervals) + 1)
        with _undisturbed(keras), keras.StatelessScope(state_mapping=self._weights):
            for level in (0, 1):
                Walk(layers, look, self._weighing).run(calls, self._numbers(intervals, level))
        return found

    def _numbers(self, intervals: Sequence[Interval], level: int) -> list[Any]:
        """Return random numbers for all inputs, and then with other rows in each interval."""
        keras, drawn, given = importlib.import_module("keras"), np.random.default_rng(0), []
        for shape in self.bench.shapes_at(self.shape).values():
            one, other = drawn.random((2, *shape[1:])).astype("float32")[:: 1 - 2 * level]
            images = np.stack([one] * (len(intervals) + 1))
            for image, (start, stop) in zip(images[1:], intervals, strict=True):
                if len(shape) == len(self.shape):
                    rows, new = (
                        np.moveaxis(array, self.bench.spatial[self.axis] - 1, 0)
                        for array in (image, other)
                    )
                    rows[start:stop] = new[start:stop]
            given.append(keras.ops.convert_to_tensor(images))
        return given

    def _calls(self, images: int) -> LiveGraph:
        """Return the calls of the model on so many images."""
        if images not in self._graphs:
            self._graphs[images] = self.bench.calls_at(self.shape, images, self.nodes)
        return self._graphs[images]

    def _inputs(self, layers: PoisonedLayers, images: Flags) -> list[Any]:
        """Return what to call the model with: the same rows of all images are poisoned."""
        bench = self.bench
        if len(bench.inputs) == 1:
            return [layers.poisoned(images)]
        channels = {*range(1, images.ndim)} - {*bench.spatial}
        poisoned = images.any(tuple(channels), keepdims=True)
        given = []
        for shape in bench.shapes_at(self.shape).values():
            flags = np.zeros((len(images), *shape[1:]), np.bool_)
            if len(shape) == images.ndim:
                flags |= poisoned
            given.append(layers.poisoned(flags))
        return given

    def _units(self, flags: Flags, count: int, order: tuple[int, ...] | None, name: str) -> Flags:
        """Return which units are NaN, per image: of any channel, wherever on the other axes.

        ``order`` says which dimension of the image every dimension is, if they were permuted.
        """
        spatial, rank = self.bench.in_maps, self.bench.rank
        told = self.nodes[name].feature_map if name in self.nodes else None
        if order is not None and flags.ndim == len(order) == rank:
            spatial = tuple(order.index(one) for one in spatial)
        if flags.shape[:1] != (count,):
            return np.zeros((count, 1), np.bool_)
        if flags.ndim == rank:
            self._maps.append(tuple(flags.shape[one] for one in spatial))
            kept: tuple[int, ...] = (spatial[self.axis],)
        elif flags.ndim == 3 and rank == 4 and told != (1, 1):
            # Tokens: the rows of a map, one after another.
            flags = flags if order is None else np.moveaxis(flags, order.index(1), 1)
            known = [*([told] if told is not None else []), *reversed(self._maps)]
            sizes = next((one for one in known if math.prod(one) == flags.shape[1]), None)
            if sizes is not None:
                flags = flags.reshape(count, *sizes, -1)
                kept = (self.axis + 1,)
            else:
                kept = (1,)
        else:
            kept = (1,) if self._is_signal(name, flags.shape) else ()
        rest = tuple(one for one in range(1, flags.ndim) if one not in kept)
        return flags.any(axis=rest).reshape(count, -1)


def _is_square(shape: Sequence[int]) -> bool:
    """Return whether a result may be the scores of an attention."""
    return len(shape) > 2 and shape[-1] == shape[-2] > 1


def _build(model: Any, input_shape: Any) -> None:
    """Let a model that is connected in Python code make its weights.

    Raises:
        UnsupportedModelError: if its layers cannot be run one by one.
    """
    problem = f"{type(model).__name__} is no functional or built sequential model of Keras 3, "
    if not is_live(model) or input_shape is None:
        raise UnsupportedModelError(
            f"{problem}so its layers cannot be run one by one. Pass input_shape, with which a "
            "subclassed model of Keras 3 is called."
        )
    if all(one.built for one in model._flatten_layers()):
        return
    keras = importlib.import_module("keras")

    def symbolic(shape: Any) -> Any:
        if isinstance(shape, Mapping):
            return {name: symbolic(one) for name, one in shape.items()}
        if _holds_shapes(shape):
            return [symbolic(one) for one in shape]
        return keras.Input(batch_shape=(None, *shape[1:]))

    try:
        model(symbolic(input_shape))
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


def _behind_choices(nodes: Iterable[EnrichedNetworkNode]) -> dict[str, str]:
    """Return what lies behind a choice by what is computed, which NaN never passes."""
    found: dict[str, str] = {}
    for node in nodes:
        computed = node.layer_info.name == "Where" and len(node.predecessors) > 1
        if computed or any(before.name in found for before in node.predecessors):
            found[node.name] = "'where' may have hidden NaN from it"
    return found


def _has_channels_first(graph: LiveGraph) -> bool:
    """Return whether the layers of a model have the channels in front of the positions."""
    return any(
        getattr(step.operation, "data_format", None) == "channels_first"
        or (step.inner is not None and _has_channels_first(step.inner))
        for step in graph.steps
    )


@contextlib.contextmanager
def _undisturbed(keras: Any) -> Iterator[None]:
    """On PyTorch, run without gradients, and leave random states and flags as they were."""
    with contextlib.ExitStack() as stack:
        if keras.backend.backend() == "torch":
            capture = importlib.import_module("rfa_toolbox.encodings.pytorch.capture")
            stack.enter_context(capture.undisturbed())
        yield
