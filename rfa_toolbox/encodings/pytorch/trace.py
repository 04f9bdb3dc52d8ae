"""Capture by the JIT tracer on real tensors; the only reader of TorchScript."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch
from torch import nn
from torch.jit._trace import _get_trace_graph, _unique_state_dict
from torch.overrides import TorchFunctionMode

from rfa_toolbox.encodings.pytorch.aten import normalised
from rfa_toolbox.encodings.pytorch.capture import (
    ALIGNED,
    FILLED,
    KEEP_EVEN,
    WHOLE,
    Ending,
    Example,
    Failure,
    ModuleScopes,
    describe_call,
    even_along,
    expanded,
    is_compiled,
    is_even,
    origins_of,
    paths_of,
    plain_arguments,
    sizes_of,
    undisturbed,
)
from rfa_toolbox.encodings.pytorch.constants import LARGE, array_of, is_a_fixed_mask
from rfa_toolbox.encodings.pytorch.signatures import canonical_name
from rfa_toolbox.encodings.written import Written
from rfa_toolbox.operators.masks import FAR_BELOW
from rfa_toolbox.operators.record import (
    UNKNOWN_PLACES,
    ModuleCall,
    Numbers,
    Operation,
    Record,
    TensorRef,
    check_sum,
    last_results,
    tensors_in,
)

__all__ = ["capture", "read_traced", "run"]

_CONSTANT = -1
_FEW = 4096
"""Numbers up to which a constant is looked at whether it was made of the size of the input."""


def run(model: nn.Module, example: Example) -> None:
    """Run a model on real tensors; it is as before afterwards."""
    with undisturbed(), _restored(model):
        own = example.map(lambda tensor: tensor.detach().clone())
        model(*own.arguments, **own.keywords)


def capture(model: nn.Module, example: Example, ending: Ending = WHOLE) -> Record:
    """Trace a model on real tensors and return what it did; the model is as before afterwards.

    Args:
        model: is run once; what this changes of it is restored.
        example: the arguments, with values.
        ending: the record is cut behind the module that it names; the model runs to its end.

    Raises:
        Exception: whatever the model itself raises, with a ``Failure`` as its ``rfa_failure``.
    """
    with undisturbed(), _restored(model) as written, contextlib.ExitStack() as watched:
        scopes = ModuleScopes(model)
        marks = _Marks(scopes, ending)
        watched.enter_context(scopes.recording())
        own = example.map(lambda tensor: tensor.detach().clone())  # may be changed in place
        target = model if own.plain else _Flat(model, own)
        try:
            with marks:
                graph, _ = _get_trace_graph(  # type: ignore[no-untyped-call]
                    target, tuple(own.tensors), strict=False
                )
        except Exception as error:
            if marks.failure is not None and not hasattr(error, "rfa_failure"):
                with contextlib.suppress(AttributeError):
                    error.rfa_failure = marks.failure  # type: ignore[attr-defined]
            raise
    names = [value.debugName() for value in graph.inputs()]
    count = len(example.tensors)
    origins = origins_of(scopes.paths)
    # The tracer passes the tensors that a model holds behind the arguments, in this order.
    state = _unique_state_dict(target, keep_vars=True)  # type: ignore[no-untyped-call]
    held = {
        name: origins[id(tensor)]
        for name, tensor in zip(names[count:], state.values(), strict=True)
        if id(tensor) in origins
    }
    changed = set(map(id, written))
    numbers = {
        name: found
        for name, tensor in zip(names[count:], state.values(), strict=True)
        if id(tensor) not in changed and (found := _numbers_of(tensor)) is not None
    }
    reader = _Reader(marks.table, marks.composites, held, numbers)
    record = reader.read(graph, names[:count], type(model).__name__, sizes_of(scopes.paths), {})
    record = _of_written_weights(
        record, {name for one in written for name in origins.get(id(one), ())}
    )
    return record if ending.until is None else _cut(record, ending.until)


def _of_written_weights(record: Record, written: AbstractSet[str]) -> Record:
    """Say that some of a weight to which a model wrote may be 0, which a trace does not show."""

    def noted(operation: Operation) -> Operation:
        weight = operation.arguments.get("weight")
        if type(weight) is not TensorRef or written.isdisjoint(operation.parameters):
            return operation
        masked = weight._replace(numbers=Numbers(None))
        return attrs.evolve(operation, arguments={**operation.arguments, "weight": masked})

    return attrs.evolve(record, operations=tuple(map(noted, record.operations)))


def _cut(record: Record, until: str) -> Record:
    """Return a record up to the end of the first call of a module."""
    inside = [
        place
        for place, operation in enumerate(record.operations)
        if any(call.path == until and call.call == 1 for call in operation.scope)
    ]
    operations = record.operations[: inside[-1] + 1] if inside else ()
    own = last_results(operations[inside[0] :] if inside else ())
    return attrs.evolve(record, operations=operations, outputs=own, stopped=f"behind {until!r}")


class _Flat(nn.Module):
    """Calls a model with its arguments as they are, given their tensors one by one.

    The tracer takes tensors by position alone.
    """

    def __init__(self, model: nn.Module, example: Example) -> None:
        super().__init__()
        self.model = model
        self._example = example

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Call the model."""
        given = iter(tensors)
        example = self._example.map(lambda _: next(given))
        return self.model(*example.arguments, **example.keywords)


def read_traced(traced: Any, reference: nn.Module | None) -> Record:
    """Return what a model did from the result of a user's own ``torch.jit.trace``.

    Args:
        traced: what ``torch.jit.trace`` returned.
        reference: the traced module, to name its layers; by default the names in the trace.
    """
    graph = traced.inlined_graph
    own, *inputs = [value.debugName() for value in graph.inputs()]
    classes = {}
    if reference is not None:
        classes = {
            path: type(module) for path, module in reference.named_modules(remove_duplicate=False)
        }
    for path, module in traced.named_modules():
        classes.setdefault(path, module)
    name = type(reference).__name__ if reference is not None else str(traced.original_name)
    parameters = list(traced.parameters())  # while they live, a script module returns no others
    paths = paths_of(traced)
    reader = _Reader(_ScriptScopes(classes), {}, {}, {}, origins_of(paths))
    record = reader.read(graph, inputs, name, sizes_of(paths), {own: traced})
    del parameters
    return record


@contextlib.contextmanager
def _restored(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Put back what running a model changes, and let compiled modules run plainly.

    Yields a list that holds, at the end, the tensors that were written to.
    """
    written: list[torch.Tensor] = []
    modules = [one for one in model.modules() if not isinstance(one, torch.jit.ScriptModule)]
    held = [
        [
            (store, dict(store))
            for store in (vars(module), module._buffers, module._parameters, module._modules)
        ]
        for module in modules
    ]
    tensors = {
        id(one): one
        for module in modules
        for one in (*module._buffers.values(), *module._parameters.values(), *vars(module).values())
        if isinstance(one, torch.Tensor) and not one.is_meta
    }
    values = {number: one.detach().clone() for number, one in tensors.items()}
    for module in modules:
        module._compiled_call_impl = None
        for name, child in module._modules.items():
            if child is not None and is_compiled(child):
                module._modules[name] = child._modules["_orig_mod"]
    try:
        yield written
    finally:
        for stores in held:
            for store, before in stores:
                store.clear()
                store.update(before)
        with torch.no_grad():
            for number, one in tensors.items():
                if not torch.equal(one, values[number]):
                    one.copy_(values[number])
                    written.append(one)


# --- marks in the trace ----------------------------------------------------------------------


class _Marks(TorchFunctionMode):
    """Marks in the trace which module and which function of PyTorch an operator belongs to.

    Functions that PyTorch implements in Python leave several operators in a trace. With a mark
    around them they are read as the one function that was called.
    """

    def __init__(self, scopes: ModuleScopes, ending: Ending) -> None:
        super().__init__()
        self._ending = ending
        self.table: dict[str, tuple[ModuleCall, ...]] = {}
        self.composites: dict[str, tuple[str, dict[str, Any]]] = {}
        self.failure: Failure | None = None
        self._scopes = scopes
        scopes.on_enter = self._enter
        scopes.on_exit = self._leave

    def _enter(self, scope: tuple[ModuleCall, ...]) -> None:
        mark = f"m{len(self.table)}"
        self.table[mark] = scope
        state = torch._C._get_tracing_state()
        if state is not None:
            state.push_scope(mark)

    def _leave(self) -> None:
        state = torch._C._get_tracing_state()
        if state is not None:
            state.pop_scope()

    def _reference(self, tensor: torch.Tensor) -> TensorRef:
        """Name a tensor among the arguments of one function; the trace knows its real number."""
        shape = tuple(int(size) for size in tensor.shape)
        return TensorRef(-2 - (id(tensor) % 2**48), shape)

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self._ending.check_time()
        keywords = kwargs or {}
        described = describe_call(function)
        state = torch._C._get_tracing_state()
        marked = described is not None and described.composite and state is not None
        if marked and described is not None:
            mark = f"f{len(self.composites)}"
            self.composites[mark] = (
                described.name,
                plain_arguments(described, args, keywords, self._reference),
            )
            state.push_scope(mark)
        try:
            return function(*args, **keywords)
        except Exception:
            if self.failure is None and described is not None:
                shapes = tuple(
                    tuple(one.shape)
                    for one in (*args, *keywords.values())
                    if isinstance(one, torch.Tensor)
                )
                self.failure = Failure(described.name, self._scopes.current, shapes)
            raise
        finally:
            if marked:
                state.pop_scope()


class _ScriptScopes:
    """Finds the module calls behind the scopes of a user's own trace.

    A trace names the module of an operator but not its call; a module whose operators come back
    after others of its parent is called again.
    """

    def __init__(self, classes: Mapping[str, Any]) -> None:
        self._classes = classes
        self._calls: dict[str, int] = {}
        self._last: tuple[str, ...] = ()

    def scope(self, text: str) -> tuple[ModuleCall, ...]:
        paths = tuple(
            dict.fromkeys(
                ["", *(_module_path(part) for part in text.split("/") if "__module" in part)]
            )
        )
        for depth, path in enumerate(paths):
            if self._last[: depth + 1] != paths[: depth + 1]:
                self._calls[path] = self._calls.get(path, 0) + 1
        self._last = paths
        return tuple(self._call(path) for path in paths)

    def _call(self, path: str) -> ModuleCall:
        known = self._classes.get(path)
        if isinstance(known, type):
            library = known.__module__.startswith(("torch.nn.", "torch.ao."))
            return ModuleCall(path, known.__name__, self._calls[path], library)
        name = str(getattr(known, "original_name", path))
        return ModuleCall(path, name, self._calls[path], hasattr(nn, name))


def _module_path(part: str) -> str:
    return part.partition("__module")[2].removeprefix(".")


# --- reading -----------------------------------------------------------------------------------

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": lambda x, y, alpha=1: x + y * alpha,
    "sub": lambda x, y, alpha=1: x - y * alpha,
    "mul": operator.mul,
    "div": lambda x, y, rounding_mode=None: x // y if rounding_mode else x / y,
    "floordiv": operator.floordiv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "neg": operator.neg,
    "pow": operator.pow,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "round": round,
    "abs": abs,
    "max": max,
    "min": min,
    "maximum": max,
    "minimum": min,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}
_PASSED_ON = {
    *("NumToTensor", "Int", "Float", "Bool", "ScalarImplicit", "IntImplicit"),
    *("FloatImplicit", "item", "scalar_tensor", "tensor"),
}
_VIEWS = {
    *("slice", "select", "view", "narrow", "transpose", "permute", "unsqueeze", "squeeze"),
    *("expand", "diagonal", "as_strided", "unflatten"),
}

_LISTS_OF_VIEWS = {"unbind", "split", "split_with_sizes", "chunk", "tensor_split"}


class _View(NamedTuple):
    """A tensor that is a part of another one: ``parts`` is its index, None if that is not followed.

    ``places`` are the dimensions of the base that are left; both start empty and grow.
    """

    base: str
    parts: tuple[Any, ...] | None
    places: tuple[int, ...] | None

    def viewed(self, spelled: str, values: list[Any]) -> _View:
        """Return the view that a slice or a selection makes of this one."""
        tensor = values[0]
        if self.parts is None or not isinstance(tensor, TensorRef):
            return _View(self.base, None, None)
        rank = len(tensor.shape)
        places = self.places or tuple(range(rank))
        index = list(self.parts) or [slice(None)] * rank
        if spelled not in ("slice", "select") or len(places) != rank:
            return _View(self.base, None, None)
        place = places[values[1] % rank]
        if spelled == "select":
            index[place] = values[2]
            places = tuple(one for one in places if one != place)
        elif index[place] == slice(None):
            stop = values[3] if isinstance(values[3], int) and values[3] < 2**62 else None
            index[place] = slice(values[2], stop, values[4])
        elif slice(*values[2:5]).indices(tensor.shape[values[1]]) != (
            0,
            tensor.shape[values[1]],
            1,
        ):
            return _View(self.base, None, None)
        return _View(self.base, tuple(index), places)


class _Reader:
    """Turns the nodes of a trace into operations."""

    def __init__(
        self,
        scopes: Mapping[str, tuple[ModuleCall, ...]] | _ScriptScopes,
        composites: Mapping[str, tuple[str, dict[str, Any]]],
        held: Mapping[str, tuple[str, ...]],
        numbers: Mapping[str, Numbers],
        attributes: Mapping[int, tuple[str, ...]] | None = None,
    ) -> None:
        self._scopes = scopes
        self._held = held
        self._numbers = numbers
        self._attributes = attributes or {}
        self._composites = composites
        self._values: dict[str, Any] = {}
        self._written = Written()
        self._open: tuple[str, list[Any]] | None = None
        self._viewed: dict[str, _View] = {}
        self._sized = False

    def read(
        self,
        graph: Any,
        inputs: list[str],
        model_name: str,
        sizes: Mapping[str, int],
        known: Mapping[str, Any],
    ) -> Record:
        """Return the record of a trace; ``inputs`` are the names of the model's arguments."""
        self._values.update(known)
        references = []
        for value in graph.inputs():
            name = value.debugName()
            if name in self._values:
                continue
            reference = self._number(value)
            if name in self._held:
                self._written.origins[reference.number] = self._held[name]
            if name in self._numbers:
                self._values[name] = reference._replace(numbers=self._numbers[name])
            if name in inputs:
                references.append(reference)
        self._written.reach(references)
        for node in graph.nodes():
            self._node(node)
        self._close()
        outputs = [
            one
            for value in graph.outputs()
            for one in self._of(value)
            if self._written.is_reached(one)
        ]
        operations = tuple(self._written.operations)
        return Record(model_name, tuple(references), tuple(outputs), operations, sizes, self._sized)

    def _number(self, value: Any, even: tuple[int, ...] | None = None) -> TensorRef:
        shape = _shape(value)
        reference = self._written.new(shape, _even(value, shape) if even is None else even)
        self._values[value.debugName()] = reference
        return reference

    def _node(self, node: Any) -> None:
        kind = node.kind()
        namespace, _, spelled = kind.partition("::")
        if namespace == "prim" and self._primitive(node, spelled):
            return
        values = [self._values.get(value.debugName()) for value in node.inputs()]
        self._sized = self._sized or spelled in ("size", "len", "numel")
        number = _number_of(spelled, values)
        if number is not _A_TENSOR:
            self._values[next(node.outputs()).debugName()] = number
            return
        mark = node.scopeName().rpartition("/")[2]
        if mark in self._composites:
            self._collect(mark, node)
        else:
            self._close()  # which may tell more of what this node reads
            values = [self._values.get(value.debugName()) for value in node.inputs()]
            self._operation(node, spelled, values)

    def _primitive(self, node: Any, kind: str) -> bool:
        outputs = list(node.outputs())
        inputs = [self._values.get(value.debugName()) for value in node.inputs()]
        if kind == "Constant":
            constant = outputs[0].toIValue()
            is_tensor = isinstance(constant, torch.Tensor)
            self._values[outputs[0].debugName()] = _constant_of(constant) if is_tensor else constant
        elif kind in ("ListConstruct", "TupleConstruct"):
            self._values[outputs[0].debugName()] = tuple(inputs)
        elif kind == "DictConstruct":
            self._values[outputs[0].debugName()] = dict(
                zip(map(str, inputs[::2]), inputs[1::2], strict=True)
            )
        elif kind in ("ListUnpack", "TupleUnpack"):
            self._unpack(inputs[0], outputs)
        elif kind == "GetAttr":
            found = getattr(inputs[0], node.s("name"), None)
            if isinstance(found, torch.Tensor):
                reference = self._written.new(found.shape)
                self._written.origins[reference.number] = self._attributes.get(id(found), ())
                reference = reference._replace(numbers=_numbers_of(found))
                found = reference
            self._values[outputs[0].debugName()] = found
        elif kind in ("NumToTensor", "unchecked_cast", "data"):
            self._values[outputs[0].debugName()] = inputs[0]
        elif kind == "device":
            self._values[outputs[0].debugName()] = "device"
        else:
            return False
        return True

    def _unpack(self, packed: Any, outputs: list[Any]) -> None:
        parts: tuple[Any, ...] = packed if isinstance(packed, tuple) else ()
        for place, output in enumerate(outputs):
            self._values[output.debugName()] = parts[place] if place < len(parts) else None

    def _outputs(self, node: Any) -> tuple[TensorRef, ...]:
        """Number what a node returns; the parts of a returned list are numbered one by one."""
        references: list[TensorRef] = []
        for value in node.outputs():
            if value.type().kind() == "ListType":
                parts = [self._number(part) for part in _unpacked(value)]
                self._values[value.debugName()] = tuple(parts)
                references.extend(parts)
            elif value.type().kind() == "TensorType":
                references.append(self._number(value))
        return tuple(references)

    def _scope_of(self, node: Any) -> tuple[ModuleCall, ...]:
        text = node.scopeName()
        if isinstance(self._scopes, _ScriptScopes):
            return self._scopes.scope(text)
        marks = [mark for mark in text.split("/") if mark in self._scopes]
        return self._scopes[marks[-1]] if marks else ()

    def _operation(self, node: Any, spelled: str, values: list[Any]) -> None:
        names = [value.debugName() for value in node.inputs()]
        outputs = [value.debugName() for value in node.outputs()]
        scope = self._scope_of(node)
        if spelled in _VIEWS:
            behind = self._viewed.get(names[0]) or _View(names[0], (), ())
            self._viewed[outputs[0]] = behind.viewed(spelled, values)
        elif spelled in _LISTS_OF_VIEWS:
            self._parts_viewed(node, spelled, values)
        view = self._viewed.get(names[0]) if spelled.endswith("_") and names else None
        if spelled == "copy_" and values[1].shape == values[0].shape:
            self._values[outputs[0]] = values[1]
        elif spelled == "copy_":
            self._written.add("expand", {"input": values[1]}, self._outputs(node), scope)
        else:
            self._function(node, values, scope)
        if view is not None:
            self._viewed[outputs[0]] = view
            self._write_behind(view, self._values[outputs[0]], scope)

    def _function(self, node: Any, values: list[Any], scope: tuple[ModuleCall, ...]) -> None:
        """Write down a node that returns something new, and what is known of it if it is constant.

        A constant is even where all that it was computed of is; its values are not in a trace.
        """
        name, arguments = normalised(node.kind(), values, _argument_names(node))
        if name == "as_strided" and arguments.get("storage_offset") is None:
            arguments["input_stride"] = node.inputsAt(0).type().strides()
        tensors = [one for one in values if type(one) is TensorRef]
        everywhere = name in FILLED or (name in KEEP_EVEN and tensors and is_even(tensors))
        along = name in ALIGNED and tensors and self._written.is_constant(tensors)
        made = self._outputs(node)
        if everywhere or along:
            for value, one in zip(node.outputs(), made, strict=False):
                every = tuple(range(len(one.shape)))
                even = every if everywhere else even_along(name, one.shape, tensors)
                self._values[value.debugName()] = one._replace(even=even)
        if not self._written.add(name, arguments, made, scope):
            self._note(name, arguments, tensors, node.outputs())

    def _note(
        self,
        name: str,
        arguments: Mapping[str, Any],
        tensors: list[TensorRef],
        outputs: Iterable[Any],
    ) -> None:
        """Note of constants what they were made with, and whether they may be masks."""
        weight = self._weight_among(tensors)
        hides = name == "mul" and any(map(_is_large, arguments.values()))
        for value in outputs:
            known = self._values.get(value.debugName())
            if type(known) is TensorRef:
                left = _rearranged(name, arguments, known.shape) or _left_by(
                    name, tensors, _is_of_truths(value), weight
                )
                if hides and len(known.shape) > 1 and len(known.even) < len(known.shape):
                    left = Numbers(None)
                self._values[value.debugName()] = known._replace(
                    made=check_sum(name, arguments), numbers=left
                )

    def _write_behind(self, view: _View, written: Any, scope: tuple[ModuleCall, ...]) -> None:
        """Write down that the tensor behind a view has changed as well, which was written to."""
        target = self._values[view.base]
        changed = self._written.new(target.shape)
        index = (*view.parts, Ellipsis) if view.parts is not None else UNKNOWN_PLACES
        arguments = {"input": target, "index": index, "value": written}
        self._written.add("setitem", arguments, (changed,), scope)
        self._values[view.base] = changed

    def _parts_viewed(self, node: Any, spelled: str, values: list[Any]) -> None:
        """Note of which part of a tensor the tensors are views that it is split into."""
        name, begin = node.inputsAt(0).debugName(), 0
        behind = self._viewed.get(name) or _View(name, (), ())
        place = values[1 if spelled == "unbind" else 2]
        for at, part in enumerate(_unpacked(node.outputsAt(0))):
            if spelled == "unbind":
                view = behind.viewed("select", [values[0], place, at])
            else:
                end = begin + _shape(part)[place]
                view = behind.viewed("slice", [values[0], place, begin, end, 1])
                begin = end
            self._viewed[part.debugName()] = view

    def _weight_among(self, tensors: list[TensorRef]) -> TensorRef | None:
        """Return the one that is computed of parameters and has the shape of a kernel."""
        origins = self._written.origins
        found = (one for one in tensors if origins.get(one.number) and len(one.shape) > 2)
        return next(found, None)

    # -- functions that left several operators

    def _collect(self, mark: str, node: Any) -> None:
        if self._open is not None and self._open[0] != mark:
            self._close()
        if self._open is None:
            self._open = (mark, [])
        self._open[1].append(node)
        self._outputs(node)

    def _close(self) -> None:
        """Write the function whose operators were collected as one operation."""
        if self._open is None:
            return
        mark, nodes = self._open
        self._open = None
        name, arguments = self._composites[mark]
        own = {one.number for node in nodes for value in _made_by(node) for one in self._of(value)}
        read: dict[int, TensorRef] = {}
        for node in nodes:
            for value in node.inputs():
                for one in self._of(value):
                    if one.number not in own:
                        read.setdefault(one.number, one)
        values = [
            value
            for node in nodes
            for value in node.outputs()
            if any(use.user not in nodes and not _belongs(use.user, nodes) for use in value.uses())
        ]
        outputs = [one for value in values for one in self._of(value)]
        scope = self._scope_of(nodes[0])
        tensors = list(read.values())
        arguments = _refilled(arguments, tensors)
        if not self._written.add(name, arguments, tuple(outputs), scope):
            self._note(name, arguments, tensors, values)

    def _of(self, value: Any) -> Iterator[TensorRef]:
        """Yield the tensors of a value of the trace."""
        return tensors_in(self._values.get(value.debugName()))


def _made_by(node: Any) -> Iterator[Any]:
    """Yield what a node returns, and the parts of a list that is unpacked."""
    for value in node.outputs():
        yield value
        yield from _unpacked(value)


def _unpacked(several: Any) -> list[Any]:
    """Return the tensors of a list where it is taken apart."""
    users = (use.user for use in several.uses() if use.user.kind() == "prim::ListUnpack")
    return next((list(user.outputs()) for user in users), [])


_ASKING = {"aten::size", "aten::len", "aten::dim", "aten::numel"}


def _belongs(user: Any, nodes: list[Any]) -> bool:
    """Whether a node only asks for a size, or packs for other operators of the same function."""
    if user.kind() in _ASKING:
        return True
    if user.kind() not in ("prim::ListConstruct", "prim::TupleConstruct", "prim::ListUnpack"):
        return False
    return all(use.user in nodes for value in user.outputs() for use in value.uses())


def _refilled(arguments: Mapping[str, Any], tensors: list[TensorRef]) -> dict[str, Any]:
    """Put the tensors of a trace where the arguments of a function had tensors.

    Both come in the order of their first use, and shapes must agree.
    """
    waiting = list(tensors)
    found: dict[int, TensorRef] = {}

    def refill(value: Any) -> Any:
        if type(value) is TensorRef:
            if value.number not in found:
                place = next(
                    (at for at, one in enumerate(waiting) if one.shape == value.shape), None
                )
                found[value.number] = value if place is None else waiting.pop(place)
            return found[value.number]
        if isinstance(value, tuple):
            return tuple(refill(item) for item in value)
        return value

    filled = {key: refill(value) for key, value in arguments.items()}
    return {**filled, "rest": tuple(waiting)} if waiting else filled


_A_TENSOR = object()
"""Stands for what is no number."""


def _number_of(spelled: str, values: Sequence[Any]) -> Any:
    """Return what a node makes of sizes and other numbers; ``_A_TENSOR`` if it makes a tensor."""
    first = values[0] if values else None
    if spelled == "size" and isinstance(first, TensorRef):
        return first.shape if len(values) < 2 or values[1] is None else first.shape[values[1]]
    if spelled in _PASSED_ON and not isinstance(first, TensorRef):
        return first
    if spelled in _ARITHMETIC and values and all(map(_is_plain, values)):
        return _computed(spelled, values)
    if spelled in ("len", "dim") and values:
        return len(first.shape if isinstance(first, TensorRef) else first or ())
    return _A_TENSOR


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float | str)


def _constant_of(tensor: torch.Tensor) -> Any:
    """Return what a record says of a tensor in a trace: its number if it is a single one."""
    if tensor.dim() == 0:
        return tensor.item()
    made = check_sum("", tensor.tolist()) if tensor.numel() <= _FEW else 0
    return TensorRef(_CONSTANT, tuple(tensor.shape), made=made, numbers=_numbers_of(tensor))


def _numbers_of(constant: torch.Tensor) -> Numbers | None:
    """Return what a constant holds that may be a mask, if it is not too large to look at."""
    if constant.dim() < 2 or constant.numel() > LARGE or constant.is_complex():
        return None
    if isinstance(constant, torch.nn.Parameter) and not is_a_fixed_mask(constant):
        return None
    return Numbers(array_of(constant))


def _is_of_truths(value: Any) -> bool:
    kind = value.type()
    return kind.kind() == "TensorType" and kind.dtype() == torch.bool and (kind.dim() or 0) > 1


def _is_large(value: Any) -> bool:
    """Whether what is multiplied by a number may be far below all scores."""
    return isinstance(value, int | float) and abs(value) >= abs(FAR_BELOW)


_KEEP_ORDER = {
    *("clone", "contiguous", "detach", "flatten", "reshape", "squeeze", "to", "unsqueeze", "view")
}


def _left_by(
    name: str, tensors: list[TensorRef], truths: bool, weight: TensorRef | None
) -> Numbers | None:
    """Return that a constant was masked that was computed of others; a trace tells no values."""
    masks = truths or name in ("tril", "triu", "masked_fill", "where")
    if name == "mul" and len(tensors) == 2:
        shapes = [one.shape[-2:] for one in tensors]
        masks = shapes[0] == shapes[1] and 1 not in shapes[0] and len(shapes[0]) == 2
    if name == "mul" and weight is not None:
        taps = len(weight.shape) - 2
        masks = any(math.prod(one.shape[-taps:]) > 1 for one in tensors if one is not weight)
    kept = weight is not None or name in KEEP_EVEN or name == "add"
    handed_on = kept and any(one.numbers is not None for one in tensors)
    return Numbers(None) if masks or handed_on else None


def _rearranged(name: str, arguments: Mapping[str, Any], shape: tuple[int, ...]) -> Numbers | None:
    """Return what a constant holds whose numbers only have other places, or another sign.

    None if that is unclear.

    >>> known = TensorRef(0, (1, 2), numbers=Numbers(np.array([[3, 0]])))
    >>> _rearranged("t", {"input": known}, (2, 1)).array.tolist()
    [[3], [0]]
    """
    tensor = arguments.get("input", arguments.get("0"))
    array = tensor.numbers.array if type(tensor) is TensorRef and tensor.numbers else None
    if array is None:
        return None
    if name == "neg":
        return Numbers(-array)
    if name in _KEEP_ORDER and array.size == math.prod(shape):
        return Numbers(array.reshape(shape))
    if name == "expand" and array.ndim == len(shape):
        return Numbers(np.broadcast_to(array, shape))
    swapped = name in ("t", "transpose") and array.ndim > 1
    first, second = arguments.get("dim0", 0), arguments.get("dim1", 1)
    if swapped and isinstance(first, int) and isinstance(second, int):
        return Numbers(array.swapaxes(first, second))
    return None


def _even(value: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the dimensions along which a tensor was expanded."""
    kind = value.type()
    strides = kind.strides() if kind.kind() == "TensorType" else None
    return expanded(shape, strides or ())


def _argument_names(node: Any) -> list[str]:
    """Return the names of the arguments of an operator of another library."""
    if "::" not in canonical_name(node.kind()):
        return []
    return [one.name for one in torch._C.parse_schema(node.schema()).arguments]


def _shape(value: Any) -> tuple[int, ...]:
    kind = value.type()
    sizes = kind.sizes() if kind.kind() == "TensorType" else None
    return tuple(sizes) if sizes is not None else ()


def _computed(name: str, values: Sequence[Any]) -> Any:
    try:
        return _ARITHMETIC[name](*values)
    except TypeError:
        return None
