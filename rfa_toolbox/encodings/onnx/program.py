"""An ONNX file as a program of which all sizes are known: shapes, constants and scopes.

What is computed of sizes and constants alone is computed here, node by node, by the reference
implementation of the format. No weight is read: their shapes are enough.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from rfa_toolbox.encodings.complaints import shortened
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.record import ModuleCall
from rfa_toolbox.operators.told import shape_behind, told_by

__all__ = ["Node", "Program"]

_SMALL = 4096
"""Numbers that a constant may have to be known by value; others are known by shape."""
_LARGE = 2**20
"""Numbers that a mask may have, or a weight that is looked at for a mask, to be computed."""
_FAR = 64
"""How many operators one after another it may take to compute it."""

_STANDARD = ("", "ai.onnx")
_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


@attrs.frozen
class Node:
    """One operator of a program, with what is known of the tensors that it reads and makes.

    Attributes:
        kind: the operator, with its domain where that is none of ONNX itself.
        name: of the node in the file.
        inputs: names of tensors; empty where an optional one is missing.
        outputs: likewise.
        attributes: by name, as plain values.
        shapes: by name of a tensor its shape; missing where it is not known.
        numbers: by name of a tensor its values, where they are known.
        scope: the modules that it ran in, as far as the file tells.
        opset: version of the operators of ONNX.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    numbers: Mapping[str, npt.NDArray[Any]]
    scope: tuple[ModuleCall, ...]
    opset: int

    def input(self, place: int) -> str:
        """Return the name of an input, empty where there is none."""
        return self.inputs[place] if place < len(self.inputs) else ""

    def known(self, place: int, attribute: str = "") -> list[Any] | None:
        """Return the values of an input, which older versions have as an attribute."""
        values = self.numbers.get(self.input(place))
        if values is not None:
            listed: list[Any] = values.tolist() if values.ndim else [values.item()]
            return listed
        given = self.attributes.get(attribute)
        return given if given is None or isinstance(given, list) else [given]


class Program:
    """The graph of a model, with all sizes.

    Args:
        model: the model, without external data.
        sizes: by name of an input its shape.
        chain: the rules of a user tell what operators make that ONNX does not know.

    Attributes:
        constants: by name of an initialiser its shape.
        numbers: by name of a tensor its values, where they are known.
        shapes: by name of a tensor its shape, as far as the walk has come.
        sources: by name of a constant the initialisers that it was computed from; single numbers
            are no parameters.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        sizes: Mapping[str, tuple[int, ...]],
        chain: HandlerChain[Any] = HandlerChain(),  # noqa: B008 - a value that never changes
    ) -> None:
        self.model = model
        self._chain = chain
        self.graph = model.graph
        self.opset = max(
            (one.version for one in model.opset_import if one.domain in _STANDARD), default=1
        )
        self.constants: dict[str, tuple[int, ...]] = {}
        self.numbers: dict[str, npt.NDArray[Any]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self._types: dict[str, onnx.TypeProto] = {}
        self._held: dict[str, onnx.TensorProto] = {}
        self._values: dict[str, npt.NDArray[Any] | None] = {}
        self._making = {name: node for node in model.graph.node for name in node.output if name}
        self._known_before = _inferred(model)
        self._calls: dict[str, int] = {}
        self._last: tuple[str, ...] = ()
        paths = (_paths_in(node.name) for node in self.graph.node)
        self._inside = Counter(path for several in paths for path in several)
        for tensor in self.graph.initializer:
            self._take(tensor)
        for value in self.graph.input:
            if value.name in sizes:
                kind = value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
                self._set(value.name, kind, sizes[value.name])

    def nodes(self) -> Iterator[Node]:
        """Yield what the input may reach; what is computed of constants alone is known by then."""
        for node in self._flat(self.graph.node):
            if not self._folded(node):
                self._infer(node)
                yield self._node(node)

    def _flat(self, nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
        """Yield nodes, those of the branch that is taken in place of a condition that is known."""
        for node in nodes:
            branch = self._branch_of(node)
            if branch is None:
                yield node
                continue
            for tensor in branch.initializer:
                self._take(tensor)
            self._making.update((name, one) for one in branch.node for name in one.output if name)
            yield from self._flat(branch.node)
            for made, name in zip(branch.output, node.output, strict=False):
                if name:
                    yield helper.make_node("Identity", [made.name], [name], node.name)

    def _branch_of(self, node: onnx.NodeProto) -> onnx.GraphProto | None:
        if node.op_type != "If" or node.domain not in _STANDARD or not node.input:
            return None
        condition = self.numbers.get(node.input[0])
        if condition is None or condition.size != 1:
            return None
        wanted = "then_branch" if condition.item() else "else_branch"
        return next((one.g for one in node.attribute if one.name == wanted), None)

    # -- constants

    def _take(self, tensor: onnx.TensorProto) -> None:
        """Take a constant that the file holds."""
        name, sizes = tensor.name, tuple(tensor.dims)
        if min(sizes, default=1) < 0:
            raise UnsupportedModelError(
                f"The constant {shortened(name, 100)!r} has the shape {shortened(str(sizes), 200)}."
            )
        self._held[name] = tensor
        self.constants[name] = sizes
        self._set(name, tensor.data_type, sizes)
        outside = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not outside and math.prod(sizes) <= _SMALL:
            self.numbers[name] = _array_of(tensor)
        elif not outside and math.prod(sizes) > _most_numbers(tensor):
            raise UnsupportedModelError(
                f"The constant {shortened(name, 100)!r} has the shape "
                f"{shortened(str(sizes), 200)}, and fewer numbers."
            )
        if math.prod(sizes) > 1:
            self.sources[name] = (name,)

    def _set(self, name: str, kind: int, shape: Sequence[int]) -> None:
        self.shapes[name] = tuple(shape)
        self._types[name] = helper.make_tensor_type_proto(kind, list(shape))

    def _folded(self, node: onnx.NodeProto) -> bool:
        """Compute a node of which all inputs are known; tell whether that was so."""
        if node.domain not in _STANDARD or _subgraphs(node):
            return False
        read = [name for name in node.input if name]
        if node.op_type in ("Shape", "Size") and read and read[0] in self.shapes:
            made: Sequence[Any] = [_told(node, self.shapes[read[0]])]
        elif all(name in self.numbers for name in read) and not self._is_large(node):
            made = self._computed(node, {name: self.numbers[name] for name in read})
        else:
            return False
        for name, value in zip(node.output, made, strict=False):
            array = np.asarray(value)
            if name:
                self.numbers[name] = array
                self.note_sources(node.input, [name])
                self._set(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        return bool(made)

    def values(self, name: str, far: int = _FAR) -> npt.NDArray[Any] | None:
        """Return a constant of more numbers, which is computed where it is asked for.

        None if it is larger still, held outside of the file, or not computed of constants alone.
        """
        if name in self.numbers:
            return self.numbers[name]
        if name not in self._values:
            self._values[name] = None
            if far and math.prod(self.shapes.get(name, (_LARGE + 1,))) <= _LARGE:
                self._values.update(self._found(name, far))
        return self._values[name]

    def _found(self, name: str, far: int) -> dict[str, npt.NDArray[Any]]:
        """Return a constant that the file holds, or all that the operator makes that makes it."""
        held, node = self._held.get(name), self._making.get(name)
        if held is not None:
            outside = held.data_location == onnx.TensorProto.EXTERNAL
            return {} if outside else {name: _array_of(held)}
        if node is None or node.domain not in _STANDARD or _subgraphs(node):
            return {}
        given = {one: self.values(one, far - 1) for one in node.input if one}
        known = {one: array for one, array in given.items() if array is not None}
        if len(known) < len(given):
            return {}
        made = zip(node.output, self._computed(node, known), strict=False)
        return {one: np.asarray(array) for one, array in made if one}

    def maker_of(self, name: str) -> str:
        """Return the operator that makes a tensor; empty if the file holds it."""
        node = self._making.get(name)
        return "" if node is None else node.op_type

    def is_logical(self, name: str) -> bool:
        """Return whether a tensor says true or false."""
        kind = self._types.get(name)
        return kind is not None and kind.tensor_type.elem_type == onnx.TensorProto.BOOL

    def note_sources(self, read: Sequence[str], made: Sequence[str]) -> None:
        """Write down what constants were computed from."""
        found = (source for name in read for source in self.sources.get(name, ()))
        several = tuple(dict.fromkeys(found))
        self.sources.update(dict.fromkeys(made, several))

    def _is_large(self, node: onnx.NodeProto) -> bool:
        """Whether a constant is made that is too large to be of interest by value."""
        if node.op_type == "Constant":
            tensor = next((one.t for one in node.attribute if one.name == "value"), None)
            return tensor is not None and not 0 <= _count(tensor.dims) <= _SMALL
        found = self._inferred(node)
        sizes = [shape for one in found.values() if (shape := _shape(one)) is not None]
        if len(sizes) < len(found) or not sizes:
            return node.op_type in _GROWING
        return not all(0 <= _count(shape) <= _SMALL for shape in sizes)

    def _computed(
        self, node: onnx.NodeProto, given: Mapping[str, npt.NDArray[Any]]
    ) -> Sequence[Any]:
        """Return what a node makes of constants; nothing if it cannot run."""
        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in given.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", inputs, outputs)
        model = helper.make_model(graph, opset_imports=list(self.model.opset_import))
        try:
            return list(ReferenceEvaluator(model).run(None, dict(given)))
        except Exception:  # noqa: BLE001 - what a reference raises of a wrong node is up to it
            return ()

    # -- shapes

    def _infer(self, node: onnx.NodeProto) -> None:
        """Find the shapes of what a node makes, given all that is known of what it reads."""
        found = self._inferred(node)
        for name in node.output:
            kind = found.get(name) or self._known_before.get(name)
            shape = None if kind is None else _shape(kind)
            if name and kind is not None and shape is not None:
                self._set(name, kind.tensor_type.elem_type, shape)
        if node.domain not in _STANDARD:
            self._infer_as_told(node)

    def _inferred(self, node: onnx.NodeProto) -> Mapping[str, onnx.TypeProto]:
        """Return the types of what a node makes, as far as ONNX itself tells."""
        types = {name: self._types[name] for name in node.input if name in self._types}
        if node.domain not in _STANDARD or len(types) < len({one for one in node.input if one}):
            return {}
        data = {
            name: numpy_helper.from_array(self.numbers[name], name)
            for name in node.input
            if name in self.numbers
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset, "")
            return shape_inference.infer_node_outputs(
                schema, node, types, data, opset_imports=list(self.model.opset_import)
            )
        except _WRONG:
            return {}

    def _infer_as_told(self, node: onnx.NodeProto) -> None:
        """Find the shape of what an operator of a user makes by what they say of it."""
        name = f"{node.domain}::{node.op_type}"
        rule = self._chain.rule_of(name)
        read = [self.shapes[one] for one in node.input if one in self.shapes]
        if rule is None or not read or len(read) < len(node.input) or node.output[0] in self.shapes:
            return
        attributes = {one.name: _plain(one) for one in node.attribute}
        layer = told_by(rule, name, read, attributes).layer
        shape = shape_behind(layer, read[0], range(2, len(read[0])))
        self._set(node.output[0], onnx.TensorProto.FLOAT, shape)

    # -- what a node is

    def _node(self, node: onnx.NodeProto) -> Node:
        prefix = "" if node.domain in _STANDARD else f"{node.domain}::"
        attributes = {one.name: _plain(one) for one in node.attribute}
        return Node(
            prefix + node.op_type,
            node.name,
            (*node.input, *_read_inside(node)),
            tuple(node.output),
            attributes,
            self.shapes,
            self.numbers,
            self._scope(node),
            self.opset,
        )

    def _scope(self, node: onnx.NodeProto) -> tuple[ModuleCall, ...]:
        """Return the modules that a node ran in: from its metadata, else from its name."""
        said = {one.key: one.value for one in node.metadata_props}
        paths, kinds = _listed(said.get(_SCOPES)), _listed(said.get(_CLASSES))
        if paths and len(paths) == len(kinds):
            pairs = list(zip(paths[:-1], kinds[:-1], strict=True))
        else:
            pairs = [(path, self._kind_of(path, node)) for path in _paths_in(node.name)]
        opened = tuple(path for path, _ in pairs)
        for depth, path in enumerate(opened):
            if self._last[: depth + 1] != opened[: depth + 1]:
                self._calls[path] = self._calls.get(path, 0) + 1
        self._last = opened
        return tuple(
            ModuleCall(
                path,
                kind.rpartition(".")[2],
                self._calls[path],
                kind.startswith(("torch.nn.", "torch.ao.")),
            )
            for path, kind in pairs
        )

    def _kind_of(self, path: str, node: onnx.NodeProto) -> str:
        """Return what to call a module of which the path alone is known: its one operator."""
        return node.op_type if self._inside[path] == 1 else path.rpartition(".")[2]


_GROWING = {
    *("ConstantOfShape", "Expand", "Tile", "Range", "OneHot", "Pad", "Resize", "Upsample"),
    *("EyeLike", "ConvTranspose", "DepthToSpace", "RandomNormal", "RandomUniform", "Loop", "Scan"),
}
"""What may make more numbers than it reads."""
_WRONG = (
    *(shape_inference.InferenceError, onnx.defs.SchemaError, onnx.checker.ValidationError),
    *(RuntimeError, ValueError, TypeError),
)


def _told(node: onnx.NodeProto, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the shape or the size of a tensor."""
    if node.op_type == "Size":
        return np.array(math.prod(shape), np.int64)
    bounds = {one.name: one.i for one in node.attribute}
    return np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], np.int64)


def _count(sizes: Iterable[int]) -> int:
    several = list(sizes)
    return -1 if min(several, default=1) < 0 else math.prod(several)


def _most_numbers(tensor: onnx.TensorProto) -> int:
    """Return how many numbers a constant may hold at most, as small as they may be."""
    several = (
        *(tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data),
        *(tensor.uint64_data, tensor.string_data),
    )
    return max(2 * len(tensor.raw_data), *(2 * len(one) for one in several))


def _array_of(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    """Return the numbers of a constant.

    Raises:
        UnsupportedModelError: if they are not as many as its shape says, or of no known type.
    """
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise UnsupportedModelError(
            f"The constant {shortened(tensor.name, 100)!r} of shape "
            f"{shortened(str(tuple(tensor.dims)), 200)} and type {tensor.data_type} cannot be read "
            f"({type(error).__name__}: {shortened(str(error), 300)})."
        ) from error


def _inferred(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Return the types that a file tells of itself."""
    values = (*model.graph.value_info, *model.graph.output)
    return {one.name: one.type for one in values}


def _shape(kind: onnx.TypeProto) -> tuple[int, ...] | None:
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if not all(one.HasField("dim_value") and one.dim_value >= 0 for one in dims):
        return None
    return tuple(one.dim_value for one in dims)


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs that an operator runs: branches, or the body of a loop."""
    several = ([one.g] if one.HasField("g") else list(one.graphs) for one in node.attribute)
    return list(itertools.chain.from_iterable(several))


def _read_inside(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the tensors around an operator that the graphs inside of it read, beside its own."""
    found: dict[str, None] = {}
    for graph in _subgraphs(node):
        own = {value.name for value in (*graph.input, *graph.initializer)}
        for inner in graph.node:
            read = (*inner.input, *_read_inside(inner))
            found.update((name, None) for name in read if name and name not in own)
            own.update(inner.output)
    return tuple(found)


def _plain(attribute: onnx.AttributeProto) -> Any:
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        return None
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _listed(text: str | None) -> list[str]:
    """Return a list that a file has as a text, if it is one."""
    try:
        value = ast.literal_eval(text or "[]")
    except (ValueError, SyntaxError):
        return []
    return [str(one) for one in value] if isinstance(value, list) else []


def _paths_in(name: str) -> list[str]:
    """Return the module paths in the name of a node, such as ``/layer1/layer1.0/conv1/Conv``."""
    paths: list[str] = []
    for part in name.strip("/").split("/")[:-1]:
        last = paths[-1] if paths else ""
        inside = not last or part.startswith(f"{last}.")
        paths.append(part if inside else f"{last}.{part}")
    return paths
