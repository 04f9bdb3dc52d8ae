"""ONNX models in which poison goes where operators look, on any runtime.

Runtimes need not pass NaN on: rectifiers and maxima of some return the other number. So a model is
rewritten before it runs: what works on one position is left out, maxima become means over the same
windows, and a softmax becomes a difference to the mean. Geometry is left to the runtime:
convolutions, poolings, interpolation, reshaping, products of matrices. Norms over positions and the
weights of gates are left out as well where they count as neutral.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["poisonable", "reached", "with_random_weights"]

_POINTWISE = {
    *("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu"),
    *("Selu", "Celu", "Softplus", "Softsign", "Gelu", "Mish", "Swish", "ThresholdedRelu", "Erf"),
    *("Exp", "Log", "Abs", "Sign", "Round", "Floor", "Ceil", "Dropout", "Sqrt", "Reciprocal"),
}
_NORMS = {
    *("InstanceNormalization", "GroupNormalization", "LayerNormalization", "LpNormalization"),
    *("RMSNormalization", "MeanVarianceNormalization", "LRN"),
}
_AS_MEANS = {
    "GlobalMaxPool": "GlobalAveragePool",
    "ReduceMax": "ReduceMean",
    "ReduceMin": "ReduceMean",
    "ReduceLogSumExp": "ReduceMean",
    "ReduceL1": "ReduceMean",
    "ReduceL2": "ReduceMean",
}
_AS_SUMS = {"Max", "Min"}
_SIZES = {"Shape", "Size"}
_NEUTRAL = "rfa_toolbox.neutral"
"""The name of the number that takes the place of a gate's weight."""


def reached(model: onnx.ModelProto, inputs: Collection[str]) -> set[str]:
    """Return the names of all tensors that depend on what is in the inputs, and not on sizes."""
    found = set(inputs)
    for node in model.graph.node:
        if node.op_type not in _SIZES and found.intersection(node.input):
            found.update(name for name in node.output if name)
    return found


def poisonable(
    model: onnx.ModelProto,
    inputs: Collection[str],
    outputs: Sequence[str],
    weights: Mapping[str, str],
    neutral: bool,
    ranks: Mapping[str, int],
    scores: bool = False,
) -> onnx.ModelProto:
    """Return a model that passes NaN on, and returns some of its tensors.

    Args:
        model: is not changed.
        inputs: the names of what it is given.
        outputs: the names of what to return.
        weights: by the name of a gate's product the name of the weight in it.
        neutral: whether norms over positions and gates are left out.
        ranks: by name of a tensor its number of dimensions.
        scores: whether a softmax stays, which gives no weight to what a mask hides; NaN does not
            tell, but differences do.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    dependent = reached(model, inputs)
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    nodes = [
        new
        for node in model.graph.node
        for new in _rewritten(
            node, dependent, weights if neutral else {}, neutral, ranks, opset, scores
        )
    ]
    graph = made.graph
    del graph.node[:], graph.value_info[:], graph.output[:]
    graph.node.extend(nodes)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(outputs))
    graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), _NEUTRAL))
    for value in graph.input:
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            dim.Clear()
            dim.dim_param = f"{value.name}.{place}"
    return made


_WEIGHTED = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1,), "MatMul": (0, 1)}
"""Which inputs of an operator may be weights."""


def with_random_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with random numbers for weights that are not zero; some are, untrained.

    What is zero by a mask stays so, unless everything is.
    """
    drawn = np.random.default_rng(0)
    names = {
        name
        for node in model.graph.node
        for place, name in enumerate(node.input)
        if place in _WEIGHTED.get(node.op_type, ())
    }
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in names and tensor.data_type == onnx.TensorProto.FLOAT:
            held = numpy_helper.to_array(tensor)
            gain = 1 / np.sqrt(max(1, held.size // max(1, held.shape[0] if held.ndim else 1)))
            values = drawn.uniform(0.5, 1.5, held.shape) * drawn.choice([-gain, gain], held.shape)
            kept = values if not held.any() else np.where(held == 0, 0, values)
            tensor.CopyFrom(numpy_helper.from_array(kept.astype(np.float32), tensor.name))
    return made


def _rewritten(
    node: onnx.NodeProto,
    dependent: Collection[str],
    weights: Mapping[str, str],
    neutral: bool,
    ranks: Mapping[str, int],
    opset: int,
    scores: bool,
) -> Iterator[onnx.NodeProto]:
    """Yield what takes the place of a node."""
    kind = node.op_type
    first = node.input[0] if node.input else ""
    if first not in dependent and not any(one in dependent for one in node.input):
        yield node
    elif kind in _POINTWISE or (neutral and kind in _NORMS):
        yield helper.make_node("Identity", [first], node.output[:1], node.name)
    elif not scores and _drops_nan(node):
        yield from _of_flags(node)
    elif kind in ("Softmax", "LogSoftmax", "Hardmax") and not (scores and kind == "Softmax"):
        yield from _without_mean(node, ranks.get(first, 1), opset)
    else:
        yield _renamed(node, weights)


def _drops_nan(node: onnx.NodeProto) -> bool:
    """Whether a runtime loses NaN, or finds it where an operator looks with a weight of zero."""
    kept = {one.name: one for one in node.attribute}
    if node.op_type == "MaxPool":
        return "dilations" in kept and set(kept["dilations"].ints) != {1}
    return node.op_type == "Resize" and "mode" in kept and kept["mode"].s != b"nearest"


def _of_flags(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield an operator on numbers that tell where NaN is, and what puts it back behind it."""
    name = node.output[0]

    def held(what: str, value: float) -> onnx.NodeProto:
        array = numpy_helper.from_array(np.array(value, np.float32))
        return helper.make_node("Constant", [], [f"{name}.{what}"], value=array)

    def made(kind: str, read: Sequence[str], what: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, read, [f"{name}.{what}"], **attributes)

    yield made("IsNaN", [node.input[0]], "poisoned")
    yield made("Cast", [f"{name}.poisoned"], "flags", to=onnx.TensorProto.FLOAT)
    seen = onnx.NodeProto()
    seen.CopyFrom(node)
    seen.input[0], seen.output[0], seen.name = f"{name}.flags", f"{name}.seen", f"{name}.seen"
    yield seen
    yield made("Abs", [f"{name}.seen"], "strength")
    yield held("rounding", _ROUNDING)
    yield made("Greater", [f"{name}.strength", f"{name}.rounding"], "reached")
    yield held("nan", math.nan)
    yield held("number", 0.5)
    chosen = [f"{name}.{one}" for one in ("reached", "nan", "number")]
    yield helper.make_node("Where", chosen, [name], node.name)


_ROUNDING = 1e-4
"""A weight of an interpolation that is smaller than this is zero, but for rounding."""


def _renamed(node: onnx.NodeProto, weights: Mapping[str, str]) -> onnx.NodeProto:
    """Return a node with a mean in place of a maximum, or without the weight of a gate."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    if node.op_type == "MaxPool" and len(node.output) == 1 and not _drops_nan(node):
        made.op_type = "AveragePool"
        _keep(made, ("auto_pad", "ceil_mode", "kernel_shape", "pads", "strides"))
    elif node.op_type in _AS_SUMS:
        made.op_type = "Sum"
    else:
        made.op_type = _AS_MEANS.get(node.op_type, node.op_type)
    weight = weights.get(node.output[0]) if node.output else None
    if weight is not None:
        inputs = [_NEUTRAL if name == weight else name for name in node.input]
        del made.input[:]
        made.input.extend(inputs)
    return made


def _keep(node: onnx.NodeProto, names: Collection[str]) -> None:
    kept = [one for one in node.attribute if one.name in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _without_mean(node: onnx.NodeProto, rank: int, opset: int) -> Iterator[onnx.NodeProto]:
    """Yield the difference to the mean, which looks where a softmax does."""
    given = next((one.i for one in node.attribute if one.name == "axis"), -1 if opset > 12 else 1)
    axis = given % max(1, rank)
    axes = [axis] if opset > 12 else list(range(axis, rank))
    mean = f"{node.output[0]}.mean"
    if opset < 18:
        yield helper.make_node("ReduceMean", [node.input[0]], [mean], axes=axes, keepdims=1)
    else:
        held = numpy_helper.from_array(np.array(axes, np.int64))
        yield helper.make_node("Constant", [], [f"{mean}.axes"], value=held)
        yield helper.make_node("ReduceMean", [node.input[0], f"{mean}.axes"], [mean], keepdims=1)
    yield helper.make_node("Sub", [node.input[0], mean], [node.output[0]], node.name)
