"""What constants of an exported program leave out: its masks, and weights under a mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_map_only

from rfa_toolbox.encodings.pytorch.archive import Archive, ArchivedNode
from rfa_toolbox.encodings.pytorch.constants import (
    LARGE,
    MASKING,
    MATRICES,
    array_of,
    as_mask,
    is_a_fixed_mask,
)
from rfa_toolbox.operators.record import Numbers, TensorRef

__all__ = ["Constants"]

_PLUMBING = {"t", "permute", "transpose", "view", "reshape", "clone", "detach", "alias", "_to_copy"}
_HIDING = {"mul", "where", "masked_fill"}
_HARMLESS = {
    *("ones", "zeros", "full", "arange", "eye", "scalar_tensor", "ones_like", "zeros_like"),
    *("full_like", "fill", "tril", "triu", "logical_not", "bitwise_not", "logical_and"),
    *("logical_or", "bitwise_and", "bitwise_or", "eq", "ne", "lt", "le", "gt", "ge", "add", "sub"),
    *("rsub", "mul", "div", "neg", "abs", "where", "masked_fill", "floor_divide", "remainder"),
    *("minimum", "maximum", "clamp", "cumsum", "unsqueeze", "squeeze", "view", "reshape"),
    *("expand", "permute", "transpose", "t", "repeat", "slice", "select", "clone", "detach"),
    *("fill_", "copy_", "zero_", "masked_fill_", "mul_", "add_", "logical_not_"),
    *("alias", "_to_copy", "to", "lift_fresh_copy", "cat", "__and__", "__or__"),
}
"""Operators that put masks together, of those that a file may name."""
_NUMBERS = {"where": ("input", "other"), "masked_fill": ("value",)}
"""Arguments that may be one number."""


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change an argument, or every one of several."""
    return tuple(map(change, value)) if type(value) in (tuple, list) else change(value)


class _UnknownNumbersError(Exception):
    pass


def _run(target: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Run an operator on constants; one that a file names only if it puts masks together.

    Raises:
        _UnknownNumbersError: if it does something else, or makes too many numbers.
    """
    if isinstance(target, torch._ops.OpOverload):
        return target(*arguments, **keywords)
    schema = target._schema
    name = schema.name.partition("::")[2]
    if name not in _HARMLESS:
        raise _UnknownNumbersError
    run = getattr(getattr(torch.ops.aten, name), schema.overload_name or "default")
    names = [one.name for one in schema.arguments]
    given = {**dict(zip(names, arguments, strict=False)), **keywords}

    def on(device: str, values: Mapping[str, Any]) -> Any:
        there = {**values, "device": device} if "device" in names else values
        told = [one for one in schema.arguments if one.name in there]
        first = [there[one.name] for one in told if not one.kwarg_only]
        return run(*first, **{one.name: there[one.name] for one in told if one.kwarg_only})

    tried = tree_map_only(torch.Tensor, lambda one: one.to("meta"), given)
    if on("meta", tried).numel() > LARGE:
        raise _UnknownNumbersError
    return on("cpu", given)


class Constants:
    """The numbers of what depends on no input, computed where they are few.

    Parameters are random numbers, as a mask hides what it hides whatever they will be.

    Args:
        program: an exported program, or one in a file, of which only some operators are run.
    """

    def __init__(self, program: ExportedProgram | Archive) -> None:
        self._signature = program.graph_signature
        self._program = program
        self._in_file = isinstance(program, Archive)
        self._arrays: dict[int, torch.Tensor] = {}
        self._parameters: dict[int, tuple[int, ...]] = {}
        self._logical: set[int] = set()
        self._unknown: set[int] = set()
        self._constants: set[int] = set()

    def hold(self, name: str, reference: TensorRef, value: Any) -> None:
        """Take what a program holds under the name of one of its inputs."""
        self._note_kind(reference, value)
        program = self._program
        signature = self._signature
        path = signature.inputs_to_parameters.get(name)
        if path is not None and not self._is_fixed(path):
            self._parameters[reference.number] = reference.shape
            return
        path = path or signature.inputs_to_buffers.get(name)
        path = path or signature.inputs_to_lifted_tensor_constants.get(name)
        held = None if path is None else program.constants.get(path)
        if held is None and path is not None and isinstance(program, ExportedProgram):
            held = program.state_dict.get(path)
        if isinstance(held, torch.Tensor) and held.numel() <= LARGE and not held.is_meta:
            self._arrays[reference.number] = held.detach().clone()

    def _is_fixed(self, path: str) -> bool:
        program = self._program
        held = program.state_dict.get(path) if isinstance(program, ExportedProgram) else None
        return isinstance(held, torch.Tensor) and is_a_fixed_mask(held)

    def compute(self, node: Any, reference: Any, values: Mapping[str, Any]) -> None:
        """Compute what a node makes of constants, if all of them are known."""
        if type(reference) is not TensorRef:
            return
        self._note_kind(reference, node.meta.get("val"))
        namespace, _, name = str(node.target._schema.name).partition("::")
        if namespace != "aten":
            return
        read = [values.get(one.name) for one in node.all_input_nodes]
        if any(type(one) is TensorRef and one.number in self._unknown for one in read):
            self._unknown.add(reference.number)
            return
        if name in _PLUMBING and len(read) == 1 and self._is_parameter(read[0]):
            self._parameters[reference.number] = reference.shape  # which is nowhere 0 either
            return
        made = self._computed(node, values)
        if made is None:
            if node.target._schema.is_mutable:
                self._forget(read[0])
            several = any if self._in_file else all
            self._leave_out(name, reference, read, weights=several(map(self._is_parameter, read)))
        elif isinstance(made, torch.Tensor) and made.numel() <= LARGE:
            self._arrays[reference.number] = made

    def _computed(self, node: Any, values: Mapping[str, Any]) -> Any:
        """Return what a node makes of numbers that are known; None if some are not."""

        def number(one: Any) -> Any:
            found = values.get(one.name)
            return self._array_of(found) if type(found) is TensorRef else found

        try:
            given = (tuple(node.args), dict(node.kwargs))
            given = tree_map_only((torch.fx.Node, ArchivedNode), number, given)
            with torch.no_grad():
                return _run(node.target, *given)
        except (_UnknownNumbersError, RuntimeError, TypeError, ValueError):
            return None

    def _leave_out(
        self, name: str, reference: TensorRef, read: Sequence[Any], weights: bool
    ) -> None:
        """Note of what is not computed whether it may be 0 in places, or is made of ``weights``."""
        if name in _HIDING and any(map(self._may_hide, read)):
            self._unknown.add(reference.number)
        elif weights:
            self._parameters[reference.number] = reference.shape

    def _forget(self, value: Any) -> None:
        """Say that the numbers of a tensor, and of what shares them, are not known any more."""
        array = self._known(value)
        if array is None:
            return
        place = array.untyped_storage().data_ptr()
        for number, other in list(self._arrays.items()):
            if other.untyped_storage().data_ptr() == place:
                del self._arrays[number]
                self._unknown.add(number)

    def _is_parameter(self, value: Any) -> bool:
        return type(value) is TensorRef and value.number in self._parameters

    def _may_hide(self, value: Any) -> bool:
        """Whether a constant is 0 in places, or not known, as a parameter is not."""
        if type(value) is not TensorRef or self._is_parameter(value):
            return False
        array = self._arrays.get(value.number)
        return array is None or bool((array == 0).any())

    def written(self, before: Any, after: Any) -> None:
        """Say that a tensor was written to, whose numbers are those that its views share."""
        if type(before) is not TensorRef or type(after) is not TensorRef:
            return
        if before.number in self._arrays:
            self._arrays[after.number] = self._arrays[before.number]
        elif before.number in self._unknown:
            self._unknown.add(after.number)

    def given(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return an operation with the numbers of its masks, or of a weight with zeros."""
        if name.startswith("conv") or name == "linear":
            weight = arguments.get("weight")
            return name, {**arguments, "weight": self._as_weight(weight)}
        if name in MATRICES:
            matrices = {key: _each(one, self._as_weight) for key, one in arguments.items()}
            return name, matrices
        if name not in MASKING:
            return name, dict(arguments)
        found = {key: self._as_mask(one) for key, one in arguments.items()}
        for key in _NUMBERS.get(name, ()):
            array = self._known(found.get(key))
            if array is not None and array.numel() and bool((array == array.flatten()[0]).all()):
                found[key] = float(array.flatten()[0])
        if name == "where" and isinstance(found.get("input"), float):
            filled = {"mask": found.get("condition"), "value": found["input"]}
            return "masked_fill", {"input": found.get("other"), **filled}
        return name, found

    def _note_kind(self, reference: TensorRef, value: Any) -> None:
        self._constants.add(reference.number)
        if getattr(value, "dtype", None) == torch.bool:
            self._logical.add(reference.number)

    def _known(self, value: Any) -> torch.Tensor | None:
        return self._arrays.get(value.number) if type(value) is TensorRef else None

    def _array_of(self, reference: TensorRef) -> torch.Tensor:
        if reference.number in self._parameters:
            shape = self._parameters[reference.number]
            if torch.Size(shape).numel() > LARGE:
                raise _UnknownNumbersError
            generator = torch.Generator().manual_seed(0)
            self._arrays[reference.number] = 0.5 + torch.rand(shape, generator=generator)
        if reference.number not in self._arrays:
            raise _UnknownNumbersError
        return self._arrays[reference.number]

    def _as_mask(self, value: Any) -> Any:
        if type(value) is not TensorRef or len(value.even) == len(value.shape):
            return value
        logical = value.number in self._logical or (
            # Of a program other numbers are too many, and biases as a rule.
            self._in_file and value.number not in self._parameters
        )
        unknown = logical and value.number in self._constants
        return as_mask(value, self._arrays.get(value.number), unknown)

    def _as_weight(self, value: Any) -> Any:
        array = self._known(value)
        if type(value) is TensorRef and value.number in self._unknown:
            return value._replace(numbers=Numbers(None))
        if array is None or not bool((array == 0).any()):
            return value
        return value._replace(numbers=Numbers(array_of(array)))
