"""ONNX files with one to three mutations each, in what they say or in their bytes."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rfa_toolbox import create_graph_from_onnx
from rfa_toolbox.encodings.onnx.lowering import LOWERINGS
from tests.keras.mutated_files import broken

__all__ = ["mutated", "read"]

_NUMBERS = (-1, 0, 1, 2, 3, 7, -5, 99, 10**9, 2**40, -(2**62), 2**63 - 1)
_TEXTS = ("", "x", "SAME_UPPER", "VALID", "wat", "y" * 5000, "linear", "ab,bc->ac", "..,->")


def _constant(name: str, values: Any, kind: Any = np.int64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def _model(
    name: str,
    shape: list[Any],
    nodes: list[onnx.NodeProto],
    held: list[onnx.TensorProto],
    opset: int,
) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    last = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, name, [image], [last], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def _weights(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape)


def _convolutional(opset: int) -> onnx.ModelProto:
    node = helper.make_node
    floats = np.float32
    held = [
        _constant("w", _weights(4, 3, 3, 3), floats),
        _constant("v", _weights(4, 4, 2, 2), floats),
        *(_constant(name, np.ones(4), floats) for name in "bmnp"),
        _constant("scales", [1, 1, 2, 2], floats),
        _constant("none", [], floats),
        _constant("dense", _weights(5, 4), floats),
        _constant("starts", [0, 0]),
        _constant("ends", [10, 10]),
        _constant("axes", [2, 3]),
    ]
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
        node("BatchNormalization", ["c", "b", "m", "n", "p"], ["d"]),
        node("Relu", ["d"], ["e"]),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        node("ConvTranspose", ["f", "v"], ["g"], strides=[2, 2]),
        node("Add", ["g", "e"], ["h"]),
        node("Resize", ["h", "none", "scales"], ["r"], mode="nearest"),
        node("Slice", ["r", "starts", "ends", "axes"], ["s"]),
        node("Concat", ["s", "s"], ["t"], axis=1),
        node("Split", ["t"], ["t1", "t2"], axis=1, **({"num_outputs": 2} if opset > 17 else {})),
        node("Sub", ["t1", "t2"], ["u"]),
        node("GlobalAveragePool", ["u"], ["q"]),
        node("Flatten", ["q"], ["z"]),
        node("Gemm", ["z", "dense"], ["y"], transB=1),
    ]
    return _model("convolutional", ["batch", 3, 32, "width"], nodes, held, opset)


def _attention(opset: int) -> onnx.ModelProto:
    node = helper.make_node
    mask = np.where(np.tri(16), 0, -np.inf)
    held = [
        _constant("w", _weights(8, 8), np.float32),
        _constant("mask", mask, np.float32),
        _constant("two", [2]),
        _constant("minus", [-1]),
        _constant("zero", 0),
        _constant("half", 0.5, np.float32),
    ]
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["count"]),
        node("Reshape", ["count", "minus"], ["batch"]),
        node("Concat", ["batch", "minus", "two"], ["sizes"], axis=0),
        node("MatMul", ["x", "w"], ["q"]),
        node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
        node("MatMul", ["q", "k"], ["a"]),
        node("Mul", ["a", "half"], ["a2"]),
        node("Add", ["a2", "mask"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=-1),
        node("IsNaN", ["p"], ["nan"]),
        node("Where", ["nan", "half", "p"], ["p2"]),
        node("MatMul", ["p2", "x"], ["o"]),
        node("ReduceMean", ["o"], ["mean"], keepdims=1),
        node("Sub", ["o", "mean"], ["o2"]),
        node("Reshape", ["o2", "sizes"], ["r"]),
        node("Einsum", ["r", "r"], ["e"], equation="bij,bkj->bik"),
        node("CumSum", ["e", "zero"], ["t"]),
        node("TopK", ["t", "two"], ["y", "places"]),
    ]
    return _model("attention", [1, 16, 8], nodes, held, opset)


def _branching(opset: int) -> onnx.ModelProto:
    node = helper.make_node
    branches = {}
    for name, size in (("then_branch", 3), ("else_branch", 5)):
        weight = _constant(f"w{size}", _weights(3, 3, size), np.float32)
        made = helper.make_tensor_value_info("c", TensorProto.FLOAT, None)
        inside = [node("Conv", ["x", f"w{size}"], ["c"], pads=[size // 2] * 2)]
        branches[name] = helper.make_graph(inside, name, [], [made], [weight])
    held = [_constant("yes", True, np.bool_), _constant("pads", [0, 0, 2, 0, 0, 2])]
    nodes = [
        node("If", ["yes"], ["b"], **branches),
        node("Pad", ["b", "pads"], ["p"], mode="reflect"),
        node("LSTM", ["p", "u", "v"], ["o", "h"], hidden_size=4),
        node("Squeeze", ["h"], ["y"]),
    ]
    held += [
        _constant("u", _weights(1, 16, 20), np.float32),
        _constant("v", _weights(1, 16, 4), np.float32),
    ]
    return _model("branching", [1, 3, 16], nodes, held, opset)


@functools.cache
def _models() -> tuple[bytes, ...]:
    several = (_convolutional(17), _convolutional(11), _attention(17), _branching(17))
    return tuple(one.SerializeToString() for one in several)


# --- mutations ---------------------------------------------------------------------------------


def _shapes(model: onnx.ModelProto) -> Iterator[Any]:
    for value in (*model.graph.input, *model.graph.output):
        yield from value.type.tensor_type.shape.dim


def _of_node(model: onnx.ModelProto, chance: random.Random) -> None:
    nodes = model.graph.node
    node, other = chance.choice(nodes), chance.choice(nodes)
    kind = chance.randrange(6)
    if kind == 0:
        node.op_type = chance.choice([*LOWERINGS, "Loop", "If", "Constant", "NonZero", "Wat", ""])
    elif kind == 1 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice([*other.output, "", "gone"])
    elif kind == 2:
        nodes.remove(node)
    elif kind == 3:
        nodes.insert(0, other)
    elif kind == 4 and node.input:
        del node.input[chance.randrange(len(node.input)) :]
    else:
        node.domain = chance.choice(["", "acme", "ai.onnx", "ai.onnx.ml", "com.microsoft"])


def _of_attribute(model: onnx.ModelProto, chance: random.Random) -> None:
    several = [one for node in model.graph.node for one in node.attribute]
    attribute = chance.choice(several)
    kind = chance.randrange(5)
    if kind == 0:
        attribute.CopyFrom(chance.choice(several))
    elif kind == 1:
        attribute.name = chance.choice([one.name for one in several])
    elif kind == 2:
        attribute.i = chance.choice(_NUMBERS)
    elif kind == 3 and attribute.ints:
        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(_NUMBERS)
    else:
        attribute.s = chance.choice(_TEXTS).encode()


def _of_constant(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    kind = chance.randrange(5)
    if kind == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(_NUMBERS)
    elif kind == 1:
        tensor.data_type = chance.randrange(25)
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif kind == 3 and tensor.data_type == TensorProto.INT64 and tensor.raw_data:
        count = len(tensor.raw_data) // 8
        held = [chance.choice(_NUMBERS) for _ in range(count)]
        tensor.raw_data = np.array(held, np.int64).tobytes()
    else:
        model.graph.initializer.remove(tensor)


def _of_sizes(model: onnx.ModelProto, chance: random.Random) -> None:
    dims = list(_shapes(model))
    if dims and chance.random() < 0.7:
        chance.choice(dims).dim_value = chance.choice(_NUMBERS)
    else:
        model.opset_import[0].version = chance.choice([-1, 0, 1, 6, 9, 11, 13, 18, 22, 99])


def mutated(seed: int) -> bytes:
    """Return the content of a file with something wrong in it."""
    chance = random.Random(seed)
    content = chance.choice(_models())
    if chance.random() < 0.4:
        return broken(content, chance)
    model = onnx.load_from_string(content)
    for _ in range(chance.randint(1, 3)):
        change = chance.choice([_of_node, _of_node, _of_attribute, _of_constant, _of_sizes])
        change(model, chance)
    return model.SerializeToString()


def read(content: bytes) -> Any:
    """Return the graph of a file with this content."""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(content)
        file.flush()
        return create_graph_from_onnx(file.name)
