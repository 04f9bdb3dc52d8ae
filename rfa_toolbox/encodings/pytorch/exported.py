"""The record of an exported program; the only reader of ``torch.export``."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch.export import ExportedProgram

from rfa_toolbox.encodings.pytorch.archive import Archive, ArchivedNode
from rfa_toolbox.encodings.pytorch.aten import normalised
from rfa_toolbox.encodings.pytorch.capture import FILLED, KEEP_EVEN, expanded, is_even, lying
from rfa_toolbox.encodings.pytorch.exported_constants import Constants
from rfa_toolbox.encodings.pytorch.meta import index_of
from rfa_toolbox.encodings.written import Written
from rfa_toolbox.operators.record import (
    UNKNOWN_PLACES,
    ModuleCall,
    Record,
    TensorRef,
    check_sum,
    tensors_in,
)

__all__ = ["read_exported"]

Node: TypeAlias = torch.fx.Node | ArchivedNode


def read_exported(program: ExportedProgram | Archive) -> Record:
    """Return what an exported program does, at the sizes that it was exported with.

    What holds other programs, as ``torch.cond`` does, is one operation that nothing knows.
    """
    return _Reader(program).read()


class _Reader:
    """Turns the nodes of an exported graph into operations."""

    def __init__(self, program: ExportedProgram | Archive) -> None:
        self._program = program
        self._values: dict[str, Any] = {}
        self._written = Written()
        self._views: dict[str, Node] = {}
        self._calls: Counter[str] = Counter()
        self._known: dict[str, ModuleCall] = {}
        self._constants = Constants(program)

    def read(self) -> Record:
        """Return the record of the whole program."""
        inputs: list[TensorRef] = []
        outputs: list[TensorRef] = []
        signature = self._program.graph_signature
        held = signature.inputs_to_parameters
        given = set(signature.user_inputs)
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                reference = self._made(node)
                if not isinstance(reference, TensorRef):
                    continue
                if node.name in held:
                    self._written.origins[reference.number] = (held[node.name],)
                if node.name in given:
                    inputs.append(reference)
                    self._written.reach([reference])
                else:
                    self._constants.hold(node.name, reference, node.meta.get("val"))
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                named = {one.name: one for one in node.all_input_nodes}
                outputs = [
                    one
                    for name in signature.user_outputs
                    if name in named
                    for one in tensors_in(self._values[name])
                    if self._written.is_reached(one)
                ]
        sizes = {name: one.numel() for name, one in self._program.named_parameters()}
        operations = tuple(self._written.operations)
        return Record(self._name(), tuple(inputs), tuple(outputs), operations, sizes)

    def _name(self) -> str:
        stacks = (node.meta.get("nn_module_stack") for node in self._program.graph.nodes)
        first = next((stack for stack in stacks if stack), None)
        if first is None:
            return "ExportedProgram"
        return str(next(iter(first.values()))[1]).rpartition(".")[2]

    def _made(self, node: Node) -> Any:
        """Number what a node returns: a tensor, several, or a plain number."""
        value = node.meta.get("val")
        made = self._numbered(value)
        self._values[node.name] = made
        return made

    def _numbered(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            shape = tuple(map(_size, value.shape))
            strides = tuple(map(_size, value.stride())) if value.layout == torch.strided else ()
            return self._written.new(shape, expanded(shape, strides))
        if isinstance(value, tuple | list):
            return tuple(map(self._numbered, value))
        return None if value is None else _size(value)

    def _call(self, node: Node) -> None:
        if node.target is operator.getitem:
            self._values[node.name] = self._value(node.args[0])[node.args[1]]
            return
        if self._name_of(node).startswith("wrap_with_"):
            self._call_wrapped(node)
            return
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            made = self._made(node)
            if any(tensors_in((made,))):  # it runs other programs; else it is arithmetic on sizes
                given = tensors_in(tuple(self._value(one) for one in node.args))
                read = tuple(sorted(given, key=lambda one: -len(one.shape)))
                self._write(str(node.target), {"inputs": read}, made, self._scope(node), read)
            return
        values = [
            self._value(node.args[place] if place < len(node.args) else node.kwargs[one.name])
            if place < len(node.args) or one.name in node.kwargs
            else one.default_value
            for place, one in enumerate(schema.arguments)
        ]
        values = [tuple(one) if isinstance(one, list) else one for one in values]
        named = [one.name for one in schema.arguments]
        name, arguments = normalised(str(schema.name), values, named)
        if name == "copy" and len(values) > 1:
            name, arguments = "expand", {"input": values[1]}
        elif name == "as_strided":
            first: Any = node.args[0]
            arguments |= lying(first.meta["val"], arguments.get("storage_offset"))
        elif name.startswith("max_unpool"):
            arguments = {"input": values[0], **_pooling_behind(node.args[1])}
        made = self._made(node)
        self._write(name, arguments, made, self._scope(node), values)
        if self._written.is_constant(tensors_in((made,))):
            self._constants.compute(node, made, self._values)
        self._follow_views(node, schema)

    @staticmethod
    def _name_of(node: Node) -> str:
        return str(getattr(node.target, "__name__", node.target))

    def _call_wrapped(self, node: Node) -> None:
        """Follow a program that runs as a part of this one, under another type or gradient mode."""
        (place,) = (place for place, one in enumerate(node.args) if _is_program(one))
        inside: Any = getattr(node.args[place], "target", None)
        if isinstance(self._program, ExportedProgram):
            inside = self._program.graph_module.get_submodule(inside).graph
        given = [self._value(one) for one in node.args[place + 1 :]]
        outside = self._values, self._views
        names = (one.name for one in inside.nodes if one.op == "placeholder")
        self._values, self._views = dict(zip(names, given, strict=True)), {}
        made: tuple[Any, ...] = ()
        for one in inside.nodes:
            if one.op == "call_function":
                self._call(one)
            elif one.op == "output":
                returned = one.args[0] if isinstance(one.args[0], tuple | list) else one.args
                made = tuple(map(self._value, returned))
        self._values, self._views = outside
        self._values[node.name] = made

    def _write(
        self,
        name: str,
        arguments: Mapping[str, Any],
        made: Any,
        scope: tuple[ModuleCall, ...],
        given: Any = None,
    ) -> None:
        """Write an operation down; what it is given may be more than the arguments that matter."""
        read = list(tensors_in((arguments, tuple(given or ()))))
        outputs = tuple(tensors_in(made))
        if not self._written.is_constant(read):
            name, arguments = self._constants.given(name, arguments)
        if not self._written.add(name, arguments, outputs, scope, read):
            self._note_constant(name, arguments, outputs)

    def _note_constant(
        self, name: str, arguments: Mapping[str, Any], outputs: tuple[TensorRef, ...]
    ) -> None:
        """Say of a constant where it is the same everywhere, and what it was made with."""
        given = list(tensors_in(arguments))
        even = name in FILLED or (name in KEEP_EVEN and bool(given) and is_even(given))
        for key, value in self._values.items():
            if any(value is one for one in outputs):
                places = tuple(range(len(value.shape))) if even else value.even
                known = value._replace(even=places, made=check_sum(name, arguments))
                self._values[key] = known

    def _follow_views(self, node: Node, schema: Any) -> None:
        """Where a view was written to, the tensor behind it has changed as well."""
        first = node.args[0] if node.args else None
        if not isinstance(first, torch.fx.Node | ArchivedNode):
            return
        if not schema.is_mutable:
            if any(one.alias_info is not None for one in schema.returns):
                self._views[node.name] = self._views.get(first.name, first)
            return
        self._values[first.name] = self._values[node.name]
        base = self._views.get(first.name)
        if base is None:
            return
        index = index_of(first.meta["val"], base.meta["val"])
        parts = {
            "input": self._values[base.name],
            "index": (*index, Ellipsis) if index != UNKNOWN_PLACES else index,
            "value": self._values[node.name],
        }
        changed = self._numbered(base.meta["val"])
        self._write("setitem", parts, changed, self._scope(node))
        self._constants.written(self._values[base.name], changed)
        self._values[base.name] = changed

    def _value(self, argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node | ArchivedNode):
            return self._values.get(argument.name)  # nothing, for another program
        if isinstance(argument, tuple | list):
            return tuple(map(self._value, argument))
        plain = argument is None or isinstance(argument, bool | int | float | str)
        return argument if plain else str(argument)

    def _scope(self, node: Node) -> tuple[ModuleCall, ...]:
        stack = node.meta.get("nn_module_stack") or {}
        return tuple(self._module_call(key, path, str(kind)) for key, (path, kind) in stack.items())

    def _module_call(self, key: str, path: str, kind: str) -> ModuleCall:
        """Return a call of a module; a key stands for one call."""
        if key not in self._known:
            self._calls[path] += 1
            library = kind.startswith(("torch.nn.", "torch.ao."))
            name = kind.rpartition(".")[2]
            self._known[key] = ModuleCall(path, name, self._calls[path], library)
        return self._known[key]


def _is_program(argument: Any) -> bool:
    return isinstance(argument, torch.fx.Node | ArchivedNode) and argument.op == "get_attr"


def _pooling_behind(places: Any) -> dict[str, Any]:
    """Return the window of the pooling that found these places of maxima, if one did.

    The size that the maxima are put back into does not tell it.
    """
    pooling = places.args[0] if places.target is operator.getitem else None
    schema = getattr(getattr(pooling, "target", None), "_schema", None)
    if pooling is None or schema is None or "max_pool" not in str(schema.name):
        return {}
    names = ("kernel_size", "stride", "padding")
    return {
        name: tuple(value) if isinstance(value, list | tuple) else value
        for name, value in zip(names, pooling.args[1:], strict=False)
    }


def _size(value: Any) -> Any:
    """Return a size as a number; one that was left open is that of the example."""
    return int(value.node.hint) if isinstance(value, torch.SymInt) else value
