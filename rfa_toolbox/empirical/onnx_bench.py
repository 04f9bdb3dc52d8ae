"""ONNX models on the bench of the structural experiment, with ONNX Runtime.

A model is rewritten so that poison goes where operators look (see ``onnx_poison``), and returns the
tensors of all nodes of its graph. Where sizes are fixed inside of a file, other sizes do not run,
and the experiment says so.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import numpy_helper

from rfa_toolbox.empirical.onnx_poison import poisonable, reached, with_random_weights
from rfa_toolbox.empirical.readings import Mask
from rfa_toolbox.empirical.structural import WEIGHTLESS_PAIRS, Interval
from rfa_toolbox.empirical.tensors import (
    EVERY_NUMBER,
    behind_hidden_poison,
    has_twice,
    listed,
    looks,
    spot_of,
)
from rfa_toolbox.encodings.complaints import check_chain
from rfa_toolbox.encodings.onnx.ingest import input_sizes, loaded
from rfa_toolbox.encodings.onnx.lowering import Lowering
from rfa_toolbox.encodings.onnx.program import Program
from rfa_toolbox.errors import CaptureError, InvalidResolutionError, UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.handlers import LayerCall
from rfa_toolbox.operators.nodes import RESOLVING_STRATEGY, Digraph
from rfa_toolbox.operators.record import Record, tensors_in
from rfa_toolbox.operators.rules import spatial_dimensions
from rfa_toolbox.operators.rules.inputs import main_input, with_sizes

__all__ = ["OnnxBench", "OnnxSetting"]

_LENGTHS = tuple(224 * 2**step for step in range(6))
_WIDTHS = (32, 64, 96, 128, 192, 224)
_FINITE = 0.5
_NUMBERS = 2**27
"""How many numbers the tensors of a pass may have, all together."""

_INSIDE = "it lies behind an operator that runs a graph of its own, which may hide NaN"
_MASKED = -1e3
_MOSTLY = 0.1
"""What share of a constant is zero that is a mask, and no weights that were learned."""


class OnnxBench:
    """A model that ONNX Runtime runs.

    Args:
        model: the path of a file, or an ``onnx.ModelProto``; it is not changed.
        input_shape: as for ``create_graph_from_onnx``.
        global_ops: which global operations count, "ignore_gates" or "count".
        max_length: the longest image to try.
        handlers: a chain of handlers in place of the default one.
    """

    def __init__(
        self,
        model: Any,
        input_shape: Any = None,
        global_ops: Literal["ignore_gates", "count"] = "ignore_gates",
        max_length: int | None = None,
        handlers: HandlerChain[LayerCall] = RESOLVING_STRATEGY,
    ) -> None:
        check_chain(handlers, "RESOLVING_STRATEGY")
        self.proto = loaded(model, weights=True)
        self.handlers = handlers
        self.global_ops = global_ops
        self.max_length = max_length
        self.failure: Exception | None = None
        self.base, _ = input_sizes(self.proto, input_shape)
        lowering = self.lowered(self.base)
        record = lowering.record()
        self.model_name = record.model_name
        self.spatial = spatial_dimensions(record)
        self.names = [lowering.names[one.number] for one in record.inputs]
        self.types = {one.name: one.type.tensor_type.elem_type for one in self.proto.graph.input}
        main, dimensions = main_input(self.spatial)
        self.image = self.names[main]
        kind = onnx.TensorProto.DataType.Name(self.types[self.image])
        if kind != "FLOAT":
            raise UnsupportedModelError(
                f"The input {self.image!r} holds {kind}; "
                "NaN, which the experiment puts into it, needs 32-bit floating-point numbers."
            )
        self.axes = len(dimensions)
        self.sizes = tuple(self.base[self.image][one] for one in dimensions)
        self._settings: dict[tuple[int, int], OnnxSetting | None] = {}

    def lowered(self, sizes: dict[str, tuple[int, ...]]) -> Lowering:
        """Return the model on its way to a record, for inputs of these shapes."""
        plain = onnx.ModelProto()
        plain.CopyFrom(self.proto)
        del plain.graph.value_info[:]  # what a file says of its own sizes holds for those alone
        for value in plain.graph.output:
            value.type.tensor_type.ClearField("shape")
        return Lowering(Program(plain, sizes, self.handlers), {})

    def shapes_at(self, sizes: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all inputs where images have these sizes."""
        images = zip(self.names, self.spatial, strict=True)
        return {name: with_sizes(self.base[name], places, sizes) for name, places in images}

    def lengths(self, axis: int) -> Sequence[int]:
        """Lengths of the image to try along an axis; only the given one if no other runs."""
        limit = self.max_length or _LENGTHS[-1]
        lengths = sorted({one for one in (*_LENGTHS, limit) if one <= limit})
        if any(self.setting(axis, one) is not None for one in lengths):
            return lengths
        return (self.sizes[axis],)

    def setting(self, axis: int, length: int) -> OnnxSetting | None:
        """Return the model on an image that is as narrow as it may be along the other axes."""
        key = (axis, length)
        if key not in self._settings:
            self._settings[key] = next(self._that_run(axis, length), None)
        return self._settings[key]

    def _that_run(self, axis: int, length: int) -> Iterator[OnnxSetting]:
        tried = set()
        for width in (*_WIDTHS, None, length):
            sizes = tuple(
                length if place == axis else size if width is None or 1 < size < width else width
                for place, size in enumerate(self.sizes)
            )
            if sizes in tried:
                continue
            tried.add(sizes)
            try:
                setting = OnnxSetting(self, axis, sizes)
                setting.masks([(0, 0)])
            except Exception as error:  # noqa: BLE001 - what a runtime raises is up to it
                self.failure = error
                continue
            yield setting


class OnnxSetting:
    """An ONNX model on an image of one size, ready for poison along one axis."""

    def __init__(self, bench: OnnxBench, axis: int, sizes: tuple[int, ...]) -> None:
        self.bench = bench
        self.axis = axis
        self.length = sizes[axis]
        self.shapes = bench.shapes_at(sizes)
        self.shape = self.shapes[bench.image]
        lowering = bench.lowered(self.shapes)
        record = lowering.record()
        made = sum(math.prod(one.shape) for every in record.operations for one in every.outputs)
        if made > _NUMBERS:
            raise InvalidResolutionError(f"An image of {sizes} pixels takes {made} numbers.")
        digraph = Digraph(
            None,
            record,
            handlers=bench.handlers,
            global_ops=bench.global_ops,
            spatial=bench.spatial,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of unknown operators, at every size
            digraph.to_graph()
        inside = [node for node in bench.proto.graph.node if node.op_type in ("If", "Loop", "Scan")]
        top = {*bench.names, *(name for node in bench.proto.graph.node for name in node.output)}
        names = {number: name for number, name in lowering.names.items() if name in top}
        taps = {node: tap for node, tap in digraph.results.items() if tap[0].number in names}
        nameless = [node for node in digraph.results if node not in taps]
        self.nodes: dict[str, EnrichedNetworkNode] = {node.name: node for node in digraph.results}
        self.tensors = {node.name: names[tensor.number] for node, (tensor, _) in taps.items()}
        self.output_shapes = {
            node.name: tensor.shape for node, (tensor, _) in digraph.results.items()
        }
        self.spots = {
            node.name: spot_of(tensor.shape, layout, axis)
            for node, (tensor, layout) in taps.items()
        }
        self.units = {
            **{node.name: 1 for node in nameless},
            **{name: spot.units for name, spot in self.spots.items()},
        }
        self.units = {name: self.units[name] for name in self.nodes}
        self.twice = {node.name for node, (_, layout) in taps.items() if has_twice(layout, axis)}
        looking = {tensor.number for node, (tensor, _) in taps.items() if looks(node)}
        lists = listed(record, looking)
        self.unplaced = {
            node.name
            for node, (tensor, _) in taps.items()
            if not self.spots[node.name].kept and tensor.number not in lists
        }
        self.blind = {node.name: "the file has no name for its tensor" for node in nameless}
        hiding = reached(bench.proto, [name for node in inside for name in node.output])
        self.blind |= {name: _INSIDE for name, tensor in self.tensors.items() if tensor in hiding}
        masked = _behind_masks(lowering, self.bench.proto, _weighing(record, names))
        self.weighed = {name for name, tensor in self.tensors.items() if tensor in masked}
        self.blind |= dict.fromkeys(self.weighed & self.twice, WEIGHTLESS_PAIRS)
        self.weighed -= self.twice
        hidden = behind_hidden_poison(record)
        self.doubtful = {
            node.name: f"'{hidden[tensor.number]}' may have hidden NaN from it"
            for node, (tensor, _) in taps.items()
            if tensor.number in hidden and node.name not in self.weighed
        }
        self.gated = _in_gates(digraph, bench.global_ops)
        self._session = self._made(bench.proto, digraph, names)
        self._changing = None
        if self.weighed:
            model = with_random_weights(bench.proto)
            self._changing = self._made(model, digraph, names, scores=True)
            self._levels = [self._images(seed) for seed in range(2)]
            self._before = [self._ran(self._changing, image) for image in self._levels]

    def _made(
        self,
        proto: onnx.ModelProto,
        digraph: Digraph,
        names: dict[int, str],
        scores: bool = False,
    ) -> onnxruntime.InferenceSession:
        """Return the rewritten model, ready to run."""
        trail = digraph.trail
        assert trail is not None  # noqa: S101 - a graph was made
        weights = {
            names.get(trail.results[gate.product].number, ""): names.get(
                trail.results[gate.weight].number, ""
            )
            for gate in digraph.gates
        }
        weights = {product: weight for product, weight in weights.items() if product and weight}
        model = poisonable(
            proto,
            self.bench.names,
            [name for name in self.tensors.values() if name not in self.bench.names],
            weights,
            self.bench.global_ops == "ignore_gates",
            {name: len(shape) for name, shape in self._ranked(digraph, names)},
            scores,
        )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    @staticmethod
    def _ranked(digraph: Digraph, names: dict[int, str]) -> Iterator[tuple[str, tuple[int, ...]]]:
        for tensor in digraph.record.inputs:
            yield names[tensor.number], tensor.shape
        for operation in digraph.record.operations:
            for tensor in operation.outputs:
                if tensor.number in names:
                    yield names[tensor.number], tensor.shape

    def masks(self, intervals: Sequence[Interval], numbers: bool = False) -> list[dict[str, Mask]]:
        """Poison each of the intervals of rows in turn; return which units are NaN, per layer."""
        return [self._run(interval, numbers) for interval in intervals]

    def _images(self, seed: int) -> dict[str, npt.NDArray[Any]]:
        """Return all inputs: images of random numbers."""
        drawn = np.random.default_rng(seed)
        kinds = [onnx.helper.tensor_dtype_to_np_dtype(one) for one in self._kinds()]
        return {
            name: drawn.random(self.shapes[name]).astype(kind)
            for name, kind in zip(self.bench.names, kinds, strict=True)
        }

    def _kinds(self) -> list[int]:
        return [self.bench.types[name] for name in self.bench.names]

    def _rows(self, given: dict[str, npt.NDArray[Any]]) -> Iterator[tuple[str, Any]]:
        """Yield every image with its rows in front."""
        for name, dimensions in zip(self.bench.names, self.bench.spatial, strict=True):
            dimension = dimensions[self.axis] if self.axis < len(dimensions) else None
            if dimension is not None:
                yield name, np.moveaxis(given[name], dimension, 0)

    def _ran(
        self, session: onnxruntime.InferenceSession, given: dict[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Return all tensors of nodes."""
        wanted = list(dict.fromkeys(one for one in self.tensors.values() if one not in given))
        return {**given, **dict(zip(wanted, session.run(wanted, given), strict=True))}

    def _run(self, interval: Interval, numbers: bool) -> dict[str, Mask]:
        kinds = [onnx.helper.tensor_dtype_to_np_dtype(one) for one in self._kinds()]
        given = {
            name: np.full(self.shapes[name], _FINITE).astype(kind)
            for name, kind in zip(self.bench.names, kinds, strict=True)
        }
        for _, rows in self._rows(given):
            rows[interval[0] : interval[1]] = math.nan
        found = self._ran(self._session, given)
        changed = self._changed(interval)
        masks: dict[str, Mask] = {name: np.zeros(1, np.bool_) for name in self.blind}
        for name, tensor in self.tensors.items():
            array = found[tensor]
            if array.shape != tuple(self.output_shapes[name]):
                raise CaptureError(
                    f"{name!r} has the shape {array.shape!r} when the model runs, and "
                    f"{self.output_shapes[name]!r} in its graph."
                )
            real = np.issubdtype(array.dtype, np.inexact)
            flags = np.isnan(array) if real else np.zeros(array.shape, np.bool_)
            spot = EVERY_NUMBER if numbers and name in self.unplaced else self.spots[name]
            masks[name] = spot.read(np.asarray(changed.get(name, flags)))
        return masks

    def _changed(self, interval: Interval) -> dict[str, npt.NDArray[np.bool_]]:
        """Return which numbers change with some rows, of layers that NaN does not tell of."""
        if self._changing is None:
            return {}
        found = {name: np.zeros(1, np.bool_) for name in self.weighed}
        for image, other, before in zip(
            self._levels, reversed(self._levels), self._before, strict=True
        ):
            given = {name: array.copy() for name, array in image.items()}
            new = dict(self._rows(other))
            for name, rows in self._rows(given):
                rows[interval[0] : interval[1]] = new[name][interval[0] : interval[1]]
            after = self._ran(self._changing, given)
            for name in self.weighed:
                tensor = self.tensors[name]
                found[name] = found[name] | (before[tensor] != after[tensor])
        return found


def _weighing(record: Record, names: dict[int, str]) -> set[str]:
    """Return the names of what operators make whose masks or masked weights are known."""
    return {
        names[made.number]
        for operation in record.operations
        if any(one.numbers is not None for one in tensors_in(operation.arguments))
        for made in operation.outputs
        if made.number in names
    }


def _behind_masks(lowering: Lowering, model: onnx.ModelProto, found: set[str]) -> set[str]:
    """Return the names of the tensors behind operators that give weights of zero.

    ``found`` are those of some that are known.

    A zero times NaN is NaN, so that poison goes where they do not look.
    """
    constants = {one.name: one for one in model.graph.initializer}
    numbers = lowering.program.numbers
    dependent = reached(model, list(lowering.inputs))
    found = set(found)
    for node in model.graph.node:
        if not dependent.intersection(node.input):
            continue
        masks = [
            numpy_helper.to_array(constants[name]) if name in constants else numbers.get(name)
            for name in node.input
            if name not in dependent and name
        ]
        if found.intersection(node.input) or any(_is_mask(node.op_type, one) for one in masks):
            found.update(node.output)
    return found


def _is_mask(kind: str, values: npt.NDArray[Any] | None) -> bool:
    if kind not in ("Add", "Sub", "Mul", "MatMul", "Where", "Attention"):
        return False
    if values is None:  # it is large, or computed in a way that is not followed
        return kind in ("Where", "Attention")
    if values.size < 2:
        return False
    if values.dtype == np.bool_:
        return True
    if kind in ("Add", "Sub", "Attention"):
        return bool((np.abs(values) > -_MASKED).any())
    return kind != "Where" and bool((values == 0).mean() > _MOSTLY)


def _in_gates(digraph: Digraph, global_ops: str) -> set[str]:
    """Return the names of the nodes between a map and its gate."""
    trail = digraph.trail
    if trail is None or global_ops != "ignore_gates":
        return set()
    weights = {
        trail.results[step].number for gate in digraph.gates for step in gate.steps - {gate.product}
    }
    return {node.name for node, (tensor, _) in digraph.results.items() if tensor.number in weights}
