"""Capture on meta tensors: the model runs once with shapes alone, without memory or arithmetic."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from rfa_toolbox.encodings.pytorch.capture import (
    WHOLE,
    Ending,
    Example,
    Failure,
    Finished,
    ModuleScopes,
    OperatorCall,
    calling_line,
    describe_call,
    first_line,
    is_asserted,
    lying,
    origins_of,
    plain_arguments,
    raising_line,
    sizes_of,
    tensors_of,
    undisturbed,
)
from rfa_toolbox.encodings.pytorch.constants import (
    LIKE,
    READ_VALUES,
    Called,
    Constants,
    computed,
    tensors_among,
)
from rfa_toolbox.encodings.pytorch.loops import WRITTEN_OUT
from rfa_toolbox.encodings.pytorch.quantised import plain_version
from rfa_toolbox.encodings.pytorch.shapes import empty_like
from rfa_toolbox.encodings.pytorch.twins import held_by, meta_copy
from rfa_toolbox.errors import CaptureError, DataDependentControlFlowError
from rfa_toolbox.operators.record import (
    UNKNOWN_PLACES,
    Operation,
    Record,
    TensorRef,
    last_results,
)

__all__ = ["Recorder", "capture", "index_of"]

_SHAPED_BY_VALUES = {
    *("nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "nms"),
    *("bincount", "repeat_interleave"),
}
"""Functions whose results have a size that depends on values."""
_KERNELS = {"_refs", "_prims", "_prims_common", "_decomp", "_subclasses"}
_SIZES = {
    torch.Tensor.shape.__get__,  # type: ignore[attr-defined]
    torch.Tensor.size,
    torch.Tensor.__len__,
    torch.Tensor.numel,
}
_TYPES = {torch.Tensor.to, torch.Tensor.type_as}
_MOVES = {"cpu", "cuda", "to"}
"""Methods that would carry a tensor to a device."""


def capture(model: nn.Module, example: Example, ending: Ending = WHOLE) -> Record:
    """Run a copy of a model on meta tensors and return what it did.

    Args:
        model: is not touched; its parameters are not copied either.
        example: the arguments; only shapes and types of tensors are used.
        ending: where to end before the model does.

    Raises:
        DataDependentControlFlowError: if the model asks for the value of a tensor.
        Exception: whatever the model itself raises, with a ``Failure`` as its ``rfa_failure``.
    """
    shadows: dict[int, tuple[int, torch.Tensor]] = {}
    with undisturbed():
        twin = meta_copy(model, shadows)
        recorder = Recorder(twin, ending)
        recorder.constants.shadows.update(shadows)
        return recorder.followed(example.map(empty_like))


@functools.cache
def _inside_a_kernel(filename: str) -> bool:
    """Whether the code that calls is PyTorch's own for meta tensors.

    It is seen only where the operator that it belongs to was not, as in TorchScript; then its
    results must not pass for constants of the model.
    """
    path = Path(filename)
    return path.name == "_meta_registrations.py" or not _KERNELS.isdisjoint(path.parts)


class Recorder(TorchFunctionMode):
    """Writes down every function of PyTorch that is called on something the input reaches.

    Args:
        model: what will run.
        ending: where to end before the model does.

    Attributes:
        limit: end behind this many operations.
    """

    def __init__(self, model: nn.Module, ending: Ending = WHOLE) -> None:
        super().__init__()
        self.model = model
        self.scopes = ModuleScopes(model)
        paths = self.scopes.paths
        self.constants = Constants(held_by(paths), origins_of(paths))
        self.ending = ending
        self.limit: int | None = None
        self.operations: list[Operation] = []
        self.failure: Failure | None = None
        self._numbers: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []
        self._meta_twins: dict[int, torch.Tensor] = {}
        self._sized = False
        self._next = 0
        self.scopes.on_result = self._returned

    def record(self, inputs: Example) -> Record:
        """Run the model, and return what it did.

        Raises:
            Exception: whatever the model itself raises, with a ``Failure`` as its ``rfa_failure``.
        """
        with undisturbed():
            return self.followed(inputs)

    def followed(self, inputs: Example) -> Record:
        """Do the same where nothing is disturbed already."""
        references = tuple(self.register(tensor) for tensor in inputs.tensors)
        stopped, result = "", None
        with self.scopes.recording():
            try:
                with self:
                    result = self.model(*inputs.arguments, **inputs.keywords)
            except Finished as finished:
                stopped, result = f"behind {self.ending.until!r}", finished.result
            except Exception as error:
                if self.failure is not None and not hasattr(error, "rfa_failure"):
                    with contextlib.suppress(AttributeError):
                        error.rfa_failure = self.failure  # type: ignore[attr-defined]
                if not isinstance(error, self.ending.excused) or not self._is_of_use():
                    raise
                said = isinstance(error, DataDependentControlFlowError)  # it names the line
                stopped = str(error) if said else f"{first_line(error)} ({raising_line(error)})"
            finally:
                self.scopes.on_result = None  # no cycle: real tensors must be freed at once
        outputs = tuple(
            self.reference(tensor) for tensor in tensors_of(result) if self.knows(tensor)
        )
        if not outputs and not stopped and any(one.is_meta for one in tensors_of(result)):
            raise CaptureError(
                f"what {type(self.model).__name__} returns was computed by code that cannot be "
                "followed, such as TorchScript or torch.vmap"
            )
        return Record(
            type(self.model).__name__,
            references,
            outputs or (last_results(self.operations) if stopped else ()),
            tuple(self.operations),
            sizes_of(self.scopes.paths),
            self._sized,
            stopped,
        )

    def _is_of_use(self) -> bool:
        """Whether any layer of the model ran."""
        return any(operation.parameters for operation in self.operations)

    def _returned(self, module: nn.Module, arguments: Any, result: Any) -> None:
        """See a module return."""
        self._scripted(module, arguments, result)
        until = self.ending.until
        if until is None or module not in self.scopes.paths:
            return
        if self.scopes.current[-1].path == until:
            raise Finished(result)

    def register(self, tensor: torch.Tensor) -> TensorRef:
        """Give a tensor a new number: it is new, or was changed in place."""
        number = self._numbers[id(tensor)] = self._next
        self.keep(tensor)
        self._next += 1
        return TensorRef(number, tuple(tensor.shape))

    def keep(self, tensor: torch.Tensor) -> None:
        """Keep the id of a tensor its own: freed, it could come back for another one."""
        self._kept.append(tensor)

    @property
    def next_number(self) -> int:
        """The number of the next tensor to be registered."""
        return self._next

    def knows(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor depends on the input."""
        return id(tensor) in self._numbers

    def reference(self, tensor: torch.Tensor) -> TensorRef:
        """Return a tensor's number; constants have -1."""
        number = self._numbers.get(id(tensor))
        if number is None:
            return self.constants.reference(tensor)
        return TensorRef(number, tuple(tensor.shape))

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        self.ending.check_time()
        if isinstance(function, HigherOrderOperator):
            return self._higher_order(function, args, keywords)
        plain = plain_version(function)
        if plain is not None and any(map(self.knows, tensors_of(args))):
            with self:
                return plain(*args, **keywords)
        operator = describe_call(function)
        if function in _SIZES:
            self._sized = True
        if operator is None or _inside_a_kernel(sys._getframe(1).f_code.co_filename):
            return function(*args, **keywords)
        called = self._called(operator, function, args, keywords)
        # What is filled in the shape of a map is a constant, as a mask of all positions is.
        if called.spelled in LIKE or self._numbers.keys().isdisjoint(map(id, called.tensors)):
            return self._compute(called)
        return self._follow(called)

    def _called(
        self,
        operator: OperatorCall,
        function: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
    ) -> Called:
        """Return a call, of which a tensor that is only named for its type is no argument."""
        if (
            len(args) == 2
            and function in _TYPES
            and not keywords
            and isinstance(args[1], torch.Tensor)
            and not self.knows(args[0])
        ):  # a constant is made to be of the type of another tensor, as by ``mask.to(x)``
            function, args = torch.Tensor.to, (args[0], args[1].dtype)
        spelled = function.__name__ if hasattr(function, "__name__") else operator.name
        found = tensors_among(args)
        if keywords:
            found += tensors_among(keywords.values())
        return Called(operator, spelled, function, args, keywords, found)

    def _follow(self, asked: Called) -> Any:
        """Call a function on something that the input reaches, and write it down."""
        if asked.spelled == "__bool__" and is_asserted(sys._getframe(2)):
            return True
        self._check_values(asked)
        called = self._on_meta(asked)
        first = called.first
        version = first._version if first is not None else 0
        arguments = self._arguments(called)
        try:
            result = self.call(called.name, called.function, called.args, called.keywords)
        except Exception as error:
            self._note_failure(called)
            if _is_shaped_by_values(called):
                raise DataDependentControlFlowError(
                    f"the size of what '{called.spelled}' returns depends on the values of the "
                    f"input, at {calling_line()}"
                ) from error
            raise
        if called.spelled == "copy_" and first is not None:
            source = called.args[1] if len(called.args) > 1 else called.keywords["src"]
            self._overwritten(first, source)
        else:
            result = self._recorded(called, arguments, version, result)
        written = asked.first
        if written is not first and written is not None and first is not None and self.knows(first):
            self._written_on_meta(written, first)
        return result

    def _arguments(self, called: Called) -> dict[str, Any]:
        """Return the arguments of a call by name, with numbers in the place of tensors."""
        numbers, look = self._numbers, self.constants.look(called.name)

        def reference(tensor: torch.Tensor) -> TensorRef:
            number = numbers.get(id(tensor))
            return look(tensor) if number is None else TensorRef(number, tuple(tensor.shape))

        found = plain_arguments(called.operator, called.args, called.keywords, reference)
        if called.name == "as_strided" and called.first is not None:
            found |= lying(called.first, found.get("storage_offset"))
        return found

    def _compute(self, asked: Called) -> Any:
        """Call a function on constants alone, and note what is known of its result."""
        called = self._on_meta(asked)
        try:
            result = self.constants.compute(called)
        except Exception:
            self._note_failure(called)
            raise
        result = self.constants.told(called, result)
        made = list(tensors_of(called.first if result is None else result))
        self.constants.note(called, made, self._sized)
        return result

    def _check_values(self, called: Called) -> None:
        """Refuse what asks for values of the input, or was computed where nobody saw it."""
        for tensor in called.tensors:
            if tensor.is_meta and not self.knows(tensor) and tensor not in self.constants:
                raise CaptureError(
                    f"a tensor of shape {tuple(tensor.shape)} was computed by code that cannot be "
                    f"followed, such as TorchScript or torch.vmap, and is used at {calling_line()}"
                )
        if called.spelled in READ_VALUES:
            raise DataDependentControlFlowError(
                f"'{called.spelled}' asks for the value of a tensor that depends on the input, at "
                f"{calling_line()}"
            )

    def _note_failure(self, called: Called) -> None:
        """Remember what failed first."""
        if self.failure is None:
            shapes = tuple(tuple(tensor.shape) for tensor in called.tensors)
            self.failure = Failure(called.name, self.scopes.current, shapes)

    def _higher_order(
        self, function: HigherOrderOperator, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Follow an operator that is given functions; both ways where a condition decides."""
        name = function.__name__
        if name == "cond":
            _, taken, other, operands = args
            with self:
                return tree_map(_either, taken(*operands), other(*operands))
        if name in WRITTEN_OUT:
            with self:
                written_out: Any = WRITTEN_OUT[name]
                return written_out(*args, **keywords)
        if name == "flex_attention" and any(map(self.knows, args[:3])):
            query, _, value = args[:3]
            made = query.new_empty((*query.shape[:-1], value.shape[-1]))
            sums = [query.new_empty(query.shape[:-1]) for _ in range(2)]
            arguments = dict(
                zip(("query", "key", "value"), map(self.reference, args), strict=False)
            )
            self._write("scaled_dot_product_attention", arguments, (made, *sums))
            return (made, *sums)
        return function(*args, **keywords)

    def _written_on_meta(self, tensor: torch.Tensor, twin: torch.Tensor) -> None:
        """Where the twin of a tensor with memory was written to, the tensor has changed as well."""
        base = tensor._base if tensor._is_view() else None
        if base is not None:
            whole = self._twin(base)
            self._write_part(whole, index_of(tensor, base), self.reference(twin))
            self._same(base, whole)
        self._same(tensor, twin)

    def _same(self, tensor: torch.Tensor, other: torch.Tensor) -> None:
        """Let a tensor be what another one is now."""
        self._numbers[id(tensor)] = self._numbers[id(other)]
        self.keep(tensor)

    def call(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Call a function of PyTorch on something that the input reaches."""
        result = computed(function, args, keywords)
        if name == "instance_norm" and result.is_meta:
            return result.clone()  # a view of something unseen; with memory it is none
        return result

    def _recorded(
        self, called: Called, arguments: dict[str, Any], version: int, result: Any
    ) -> Any:
        """Write down a call, and return its result; ``version`` is that of its first tensor."""
        first = called.first
        parameters = self.constants.parameters_of(called.tensors)
        if called.name == "setitem" and first is not None:
            self._write(called.name, arguments, (first,), parameters)
            self._write_behind(first, self.reference(first))
            return result
        if result is first and first is not None and first._version == version:
            # Returned as it came in (dropout in eval mode): a value of its own all the same.
            result = first.view_as(first)
        outputs = (result,) if isinstance(result, torch.Tensor) else tuple(tensors_of(result))
        if not outputs:
            return result
        self._write(called.name, arguments, outputs, parameters)
        if result is first and first is not None:
            self._write_behind(first, self.reference(first))
        return result

    def _write_behind(self, view: torch.Tensor, written: TensorRef) -> None:
        """Where a view was written to, the tensor behind it has changed as well."""
        base = view._base if view._is_view() else None
        if base is not None:
            self._write_part(base, index_of(view, base), written)

    def _write_part(self, whole: torch.Tensor, index: Any, part: TensorRef) -> None:
        """Note that a part of a tensor was written to."""
        parts = {"input": self.reference(whole), "index": index, "value": part}
        self._write("setitem", parts, (whole,))

    def _scripted(self, module: nn.Module, arguments: Any, result: Any) -> None:
        """Write down a TorchScript module as one unknown operation: its inside is not seen."""
        if not isinstance(module, torch.jit.ScriptModule):
            return
        outputs = tuple(tensors_of(result))
        inputs = {str(at): self.reference(one) for at, one in enumerate(tensors_of(arguments))}
        if outputs and any(reference.number >= 0 for reference in inputs.values()):
            parameters = self.constants.parameters_of(module.parameters())
            self._write(f"TorchScript of {module.original_name}", inputs, outputs, parameters)

    def _overwritten(self, tensor: torch.Tensor, source: torch.Tensor) -> None:
        """``copy_`` makes a tensor the same as another one."""
        if self.knows(source) and source.shape == tensor.shape:
            self._same(tensor, source)
        else:
            name = "expand" if self.knows(source) else "type_as"
            parts = {"input": self.reference(source), "other": self.reference(tensor)}
            self._write(name, parts, (tensor,))
        self._write_behind(tensor, self.reference(tensor))

    def _write(
        self,
        name: str,
        arguments: dict[str, Any],
        outputs: tuple[torch.Tensor, ...],
        parameters: tuple[str, ...] = (),
    ) -> None:
        references = tuple(map(self.register, outputs))
        self.operations.append(
            Operation(name, arguments, references, self.scopes.current, parameters)
        )
        if len(self.operations) == self.limit:
            raise Finished

    def _on_meta(self, called: Called) -> Called:
        """Replace tensors with memory by meta ones where both meet, and stay on meta."""
        name, args, keywords, found = called.spelled, called.args, called.keywords, called.tensors
        moves = name in _MOVES or "device" in keywords
        met = [tensor.is_meta for tensor in found]
        if not any(met) or (not moves and all(met)):
            return called
        if name.startswith("masked_fill"):  # takes a single number from its own device alone
            args = tuple(map(self._number_on_meta, args))
        args = tuple(map(self._twin, args))
        keywords = {key: self._twin(one) for key, one in keywords.items()}
        function = called.function
        if name in _MOVES:
            args = (args[0], *(one for one in args[1:] if name == "to" and not _is_device(one)))
            keywords = {key: one for key, one in keywords.items() if not _is_device(one)}
            function = function if keywords or len(args) > 1 else torch.Tensor.detach
        elif "device" in keywords and called.first is not None:
            keywords = {**keywords, "device": torch.device("meta")}
        return called._replace(function=function, args=args, keywords=keywords)

    def _number_on_meta(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dim() or value.is_meta:
            return value
        number = value.to("meta")
        self.constants.hold(number, value)
        return number

    def _twin(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if value.is_meta or value.dim() == 0:
                return value
            twin = self._meta_twins.get(id(value))
            if twin is None:
                twin = self._meta_twins[id(value)] = value.detach().to("meta")
                self._kept.append(value)
            self.constants.stand_in(twin, value, self.knows(value))
            if self.knows(value):
                self._numbers[id(twin)] = self._numbers[id(value)]
            return twin
        if type(value) is tuple or type(value) is list:
            return type(value)(self._twin(one) for one in value)
        return value


def _is_shaped_by_values(called: Called) -> bool:
    """Return whether it takes values to know the size of a result, as behind a mask."""
    name, found = called.name, called.tensors
    if name in ("getitem", "index"):
        return any(one.dtype in (torch.bool, torch.uint8) for one in found[1:])
    return name in _SHAPED_BY_VALUES or (name == "where" and len(found) == 1)


def _either(one: Any, other: Any) -> Any:
    """Return a tensor that is one or another: a tensor of the input may decide at any time."""
    return torch.where(one.new_ones((), dtype=torch.bool), one, other)


def index_of(view: torch.Tensor, base: torch.Tensor) -> tuple[slice | int, ...] | str:
    """Return which part of a tensor a view is, where slices and single places alone make it.

    >>> base = torch.zeros(2, 3, 8)
    >>> index_of(base[1, :2, 4:], base)
    (1, slice(0, 2, 1), slice(4, 8, 1))
    """
    if view.dim() > base.dim() or not base.is_contiguous():
        return UNKNOWN_PLACES
    several = itertools.combinations(reversed(range(base.dim())), view.dim())
    found = (_index_along(view, base, kept[::-1]) for kept in several)
    return next((one for one in found if one is not None), UNKNOWN_PLACES)


def _index_along(
    view: torch.Tensor, base: torch.Tensor, kept: Sequence[int]
) -> tuple[slice | int, ...] | None:
    """Return which part a view is whose dimensions are these of its base; None if it is none."""
    offset = int(view.storage_offset()) - int(base.storage_offset())
    dimensions = iter(zip(view.shape, view.stride(), strict=True))
    index: list[slice | int] = []
    for place, (whole, stride) in enumerate(zip(base.shape, base.stride(), strict=True)):
        start, offset = divmod(offset, max(1, stride))
        if place not in kept:
            index.append(start)
            continue
        size, own = next(dimensions)
        step = own // stride if size > 1 and stride else 1
        if size > 1 and (step < 1 or own != step * stride):
            return None
        stop = start + (size - 1) * step + 1
        if stop > whole:
            return None
        index.append(slice(start, stop, step))
    return tuple(index)


def _is_device(value: Any) -> bool:
    if isinstance(value, torch.device):
        return True
    return isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda", "mps", "xpu")
