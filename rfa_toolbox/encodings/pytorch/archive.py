"""The graph of an exported program in a file, read from its JSON; nothing in the file is executed.

A ``.pt2`` file is a zip archive: ``models/model.json`` is the graph, and beside it lie weights, as
plain bytes, and pickled examples, which are never opened. Of the weights, small buffers and
constants are read, which may be masks. Source of the format: ``torch.export``'s documentation of
the PT2 archive, and its schema (``torch/_export/serde/schema.py``), version 8.
"""

from __future__ import annotations

import itertools
import json
import operator
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import attrs
import torch

from rfa_toolbox.errors import UnsupportedModelError

__all__ = ["Archive", "ArchivedNode", "is_path", "open_archive"]

_GRAPHS = ("models/model.json", "serialized_exported_program.json")
"""Where the graph lies in a file, today and before PyTorch 2.8."""
_LARGEST = 1 << 29
"""Bytes of JSON that are read at most."""
_CONSTANTS = ("data/weights/", "data/constants/")
_CONFIGURATION = "_config.json"
_SMALL = 1 << 23
"""Bytes of a constant that is read."""
_TYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Types of numbers as the schema counts them."""


@attrs.frozen(eq=False)
class ArchivedNode:
    """One node of the graph, with the attributes that those of ``torch.fx`` have."""

    op: str
    name: str
    target: Any = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    meta: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def all_input_nodes(self) -> list[ArchivedNode]:
        """The nodes that it reads."""
        return [one for one in self.args if isinstance(one, ArchivedNode)]


@attrs.frozen
class _Argument:
    name: str
    default_value: Any = None


@attrs.frozen(eq=False)
class _Schema:
    """What a file says of an operator that is not installed here."""

    name: str
    arguments: tuple[_Argument, ...]
    is_mutable: bool = False
    returns: tuple[Any, ...] = ()


@attrs.frozen(eq=False)
class _Operator:
    """An operator by its name; it cannot be run."""

    name: str
    _schema: Any = None

    def __str__(self) -> str:
        return self.name


@attrs.frozen
class _Signature:
    inputs_to_parameters: Mapping[str, str]
    inputs_to_buffers: Mapping[str, str]
    inputs_to_lifted_tensor_constants: Mapping[str, str]
    user_inputs: tuple[str, ...]
    user_outputs: tuple[str, ...]


@attrs.frozen
class _Graph:
    nodes: tuple[ArchivedNode, ...]


@attrs.frozen(eq=False)
class Archive:
    """An exported program in a file: what there is to know of it without its weights.

    ``constants`` are small buffers and constants by name.
    """

    graph: _Graph
    graph_signature: _Signature
    parameters: tuple[tuple[str, torch.Tensor], ...]
    constants: Mapping[str, torch.Tensor]

    def named_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the parameters by name, without memory."""
        yield from self.parameters


def is_path(model: Any) -> TypeGuard[str | Path]:
    """Return whether a model is given as the path of a file."""
    return isinstance(model, Path) or (isinstance(model, str) and model.endswith(".pt2"))


def open_archive(path: str | Path) -> Archive:
    """Return the exported program in a file.

    Raises:
        FileNotFoundError: if there is no such file.
        UnsupportedModelError: if the file holds no exported program, or one that cannot be read.
    """
    module = _graph_module(Path(path))
    try:
        constants = _constants(Path(path))
        return _Reader(module["graph"]).archive(module["signature"], constants)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, UnsupportedModelError):
            raise
        raise UnsupportedModelError(
            f"The graph in {str(path)!r} has a form that is not understood "
            f"({type(error).__name__}: {error}); it was written by another version of PyTorch, or "
            "is damaged. Export the model again with torch.export.save(program, path)."
        ) from error


def _graph_module(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    if not zipfile.is_zipfile(path):
        raise UnsupportedModelError(_NO_PROGRAM.format(str(path)))
    try:
        with zipfile.ZipFile(path) as archive:
            found = [one for one in archive.infolist() if one.filename.endswith(_GRAPHS)]
            if not found:
                raise UnsupportedModelError(_NO_PROGRAM.format(str(path)))
            if found[0].file_size > _LARGEST:
                raise UnsupportedModelError(
                    f"The graph in {str(path)!r} takes {found[0].file_size:,} bytes; {_LARGEST:,} "
                    "are read at most."
                )
            program = json.loads(archive.read(found[0]))
    except (zipfile.BadZipFile, EOFError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, UnsupportedModelError):
            raise
        raise UnsupportedModelError(f"{str(path)!r} is damaged: {error}.") from error
    module = program.get("graph_module") if isinstance(program, Mapping) else None
    if not isinstance(module, Mapping):
        raise UnsupportedModelError(_NO_PROGRAM.format(str(path)))
    return module


def _constants(path: Path) -> dict[str, torch.Tensor]:
    """Return the small buffers and constants of a file; nothing of what is pickled, or damaged."""
    found: dict[str, torch.Tensor] = {}
    with zipfile.ZipFile(path) as archive:
        entries = {one.filename.partition("/")[2]: one for one in archive.infolist()}
        order = entries.get("byteorder")
        if order is None or archive.read(order) != sys.byteorder.encode():
            return {}
        for folder in _CONSTANTS:
            names = [one for one in entries if one.startswith(folder)]
            told = next((entries[one] for one in names if one.endswith(_CONFIGURATION)), None)
            try:
                config = {} if told is None else json.loads(archive.read(told))["config"]
                for name, payload in config.items():
                    entry = entries.get(folder + payload["path_name"])
                    plain = not (payload["is_param"] or payload["use_pickle"])
                    if plain and entry is not None and 0 < entry.file_size <= _SMALL:
                        found[name] = _tensor(archive.read(entry), payload["tensor_meta"])
            except _DAMAGED:
                continue
    return found


_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, RuntimeError, zipfile.BadZipFile)


def _tensor(content: bytes, meta: Mapping[str, Any]) -> torch.Tensor:
    """Return the tensor whose storage has this content."""
    sizes, strides = (tuple(map(_number, meta[key])) for key in ("sizes", "strides"))
    flat = torch.frombuffer(bytearray(content), dtype=_TYPES[meta["dtype"]])
    return flat.as_strided(sizes, strides, _number(meta["storage_offset"]))


_NO_PROGRAM = (
    "{!r} holds no exported program; expected is a file that torch.export.save wrote. Weights and "
    "pickled modules (torch.save) are not read, as that would run code: pass the module itself."
)


class _Reader:
    """Turns the JSON of a graph into nodes."""

    def __init__(self, graph: Mapping[str, Any]) -> None:
        self._graph = graph
        self._tensors: Mapping[str, Any] = self._graph["tensor_values"]
        self._numbers = {
            **self._graph.get("sym_int_values", {}),
            **self._graph.get("sym_bool_values", {}),
            **(self._graph.get("sym_float_values") or {}),
        }
        self._made: dict[str, ArchivedNode] = {}
        self._nodes: list[ArchivedNode] = []

    def archive(
        self, signature: Mapping[str, Any], constants: Mapping[str, torch.Tensor]
    ) -> Archive:
        """Return the whole program."""
        returned = _named(signature["output_specs"], "user_output")
        graph = self.graph(returned)
        specs = signature["input_specs"]
        held, buffers, lifted = (
            {one[kind]["arg"]["name"]: one[kind][f"{kind}_name"] for one in specs if kind in one}
            for kind in ("parameter", "buffer", "tensor_constant")
        )
        return Archive(
            graph,
            _Signature(held, buffers, lifted, _named(specs, "user_input"), returned),
            tuple((name, self._value(argument)) for argument, name in held.items()),
            constants,
        )

    def graph(self, returned: Sequence[str]) -> _Graph:
        """Return its nodes; the last one is what it returns, by name."""
        for name in (name for one in self._graph["inputs"] for name in _names_in(one)):
            self._add(ArchivedNode("placeholder", name, meta={"val": self._value(name)}))
        for node in self._graph["nodes"]:
            self._call(node)
        outputs = tuple(self._made[name] for name in returned if name in self._made)
        self._nodes.append(ArchivedNode("output", "output", args=outputs))
        return _Graph(tuple(self._nodes))

    def _add(self, node: ArchivedNode) -> ArchivedNode:
        self._nodes.append(node)
        self._made[node.name] = node
        return node

    def _call(self, node: Mapping[str, Any]) -> None:
        given = {one["name"] or str(place): one["arg"] for place, one in enumerate(node["inputs"])}
        target = _target(node["target"], tuple(given))
        schema = target._schema
        names = [one.name for one in schema.arguments] if schema is not None else list(given)
        first = list(itertools.takewhile(given.__contains__, names))
        args = tuple(self._argument(given[name]) for name in first)
        keywords = {name: self._argument(one) for name, one in given.items() if name not in first}
        outputs = [one for entry in node["outputs"] for one in _names_in(entry)]
        meta: dict[str, Any] = {
            "nn_module_stack": _stack(node.get("metadata", {}).get("nn_module_stack", ""))
        }
        if len(outputs) == 1 and "as_tensors" not in node["outputs"][0]:
            (name,) = outputs
            meta["val"] = self._value(name)
            self._add(ArchivedNode("call_function", name, target, args, keywords, meta))
            return
        meta["val"] = tuple(map(self._value, outputs))
        name = f"{target}, number {len(self._nodes)}"
        whole = self._add(ArchivedNode("call_function", name, target, args, keywords, meta))
        for place, one in enumerate(outputs):
            self._add(
                ArchivedNode(
                    "call_function", one, operator.getitem, (whole, place), {}, {"val": None}
                )
            )

    def _value(self, name: str) -> Any:
        """Return a tensor without memory, or a number."""
        if name in self._numbers:
            return _number(self._numbers[name])
        if name not in self._tensors:
            return None
        meta = self._tensors[name]
        sizes, strides = (tuple(map(_number, meta[key])) for key in ("sizes", "strides"))
        offset = _number(meta.get("storage_offset", {"as_int": 0}))
        memory = torch.empty(0, device="meta")
        memory.untyped_storage().resize_(_bytes(sizes, strides, offset))
        return memory.set_(memory.untyped_storage(), offset, sizes, strides)

    def _argument(self, argument: Any) -> Any:
        """Return what an argument stands for: nodes, plain numbers and texts, or rows of them."""
        if isinstance(argument, list):
            return tuple(map(self._argument, argument))
        if not isinstance(argument, Mapping):
            return argument
        if "name" in argument and "graph" not in argument:
            return self._made.get(argument["name"])
        ((kind, value),) = argument.items()
        if kind in ("as_none", "as_custom_obj", "as_device", "as_layout"):
            return None
        if kind == "as_graph":
            inside = value["graph"]
            returned = [name for one in inside["outputs"] for name in _names_in(one)]
            return ArchivedNode("get_attr", value["name"], _Reader(inside).graph(returned))
        if kind == "as_float":  # JSON has no word for infinity
            return float(value)
        if kind == "as_scalar_type":
            return _TYPES.get(value)
        return self._made[value] if kind == "as_name" else self._argument(value)


def _target(spelled: str, names: Sequence[str]) -> _Operator:
    """Return an operator by the name that a file has for it, such as "torch.ops.aten.add.Tensor".

    Its schema comes from PyTorch, by name; what is not installed has the arguments that were given.
    """
    parts = spelled.split(".")
    if parts[:2] != ["torch", "ops"] or parts[2] == "higher_order":
        return _Operator(parts[-1])
    _, _, library, name, *overload = parts
    qualified = f"{library}::{name}"
    special = "" if overload in ([], ["default"]) else overload[0]
    try:
        return _Operator(qualified, torch._C._get_schema(qualified, special))
    except RuntimeError:  # it is of a library that is not here
        return _Operator(qualified, _Schema(qualified, tuple(map(_Argument, names))))


def _names_in(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of what a node makes, as far as it is of interest."""
    ((kind, value),) = entry.items()
    several = value if isinstance(value, list) else [value]
    if kind == "as_none":
        return []
    names = (one.get("name") or one.get("as_name") for one in several if isinstance(one, Mapping))
    return [name for name in names if name]


def _named(specs: Iterable[Mapping[str, Any]], kind: str) -> tuple[str, ...]:
    """Return the names of those inputs or outputs that are of a kind."""
    found = (one[kind]["arg"] for one in specs if kind in one)
    return tuple(name for argument in found for name in _names_in(argument))


def _stack(text: str) -> dict[str, tuple[str, str]]:
    """Return the modules that a node ran in: per call the path and the class.

    >>> _stack("L__self__,,net.Net;L__self___conv,conv,torch.nn.modules.conv.Conv2d")["L__self__"]
    ('', 'net.Net')
    """
    items = (one.rsplit(",", 2) for one in text.split(";") if one.count(",") >= 2)
    return {key: (path, kind) for key, path, kind in items}


def _number(value: Any) -> Any:
    """Return a size; of one that was left open, that of the example."""
    if not isinstance(value, Mapping):
        return value
    if "as_expr" in value:
        hint = value["as_expr"].get("hint")
        if hint is None:
            raise UnsupportedModelError(
                f"The size {value['as_expr'].get('expr_str')!r} is open, and the file has no "
                "example of it; export the model with sizes that are fixed."
            )
        return _number(hint)
    (number,) = value.values()
    return number


def _bytes(sizes: Sequence[int], strides: Sequence[int], offset: int) -> int:
    if 0 in sizes:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    return int(offset + last + 1) * torch.float32.itemsize
