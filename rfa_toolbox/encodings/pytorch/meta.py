"""Capture on meta tensors: the model runs once with shapes alone, without memory or arithmetic."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import math
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from rfa_toolbox.encodings.pytorch.capture import (
    ALIGNED,
    FILLED,
    KEEP_EVEN,
    WHOLE,
    Ending,
    Example,
    Failure,
    Finished,
    ModuleScopes,
    OperatorCall,
    calling_line,
    describe_call,
    even_along,
    expanded,
    first_line,
    is_compiled,
    origins_of,
    plain_arguments,
    raising_line,
    sizes_of,
    tensors_of,
    undisturbed,
)
from rfa_toolbox.encodings.pytorch.quantised import plain_version, quiet_observers
from rfa_toolbox.encodings.pytorch.shapes import empty_like, known_result
from rfa_toolbox.errors import CaptureError, DataDependentControlFlowError
from rfa_toolbox.operators.record import (
    UNKNOWN_PLACES,
    Numbers,
    Operation,
    Record,
    TensorRef,
    check_sum,
    last_results,
)

__all__ = ["Recorder", "capture", "held_by", "index_of", "meta_copy", "tensors_of", "twin_of"]

_SMALL = 4096
"""Whole numbers that a tensor of a model may have to keep them."""
_FEW = 64
"""The same for other numbers, such as the strides and anchors of a detector."""
_LARGE = 2**20
"""Numbers up to which masks and weights that are 0 in places are looked at."""
_MASKING = {
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
    *("masked_fill", "where", "add", "sub", "mul"),
}
"""Functions of which a mask may be an argument."""
_RANDOM = {
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm"),
    *("bernoulli", "normal", "uniform", "dropout"),
}
"""Functions whose results are others in every run."""
_LIKE = {"ones_like", "zeros_like", "full_like", "new_ones", "new_zeros", "new_full"}
"""Functions whose results take nothing but a type or a shape from a tensor."""
_MATRICES = {"matmul", "mm", "bmm", "einsum"}
_MASKS_WEIGHTS = {"mul", "masked_fill", "where", "tril", "triu"}
_READ_VALUES = {
    "item",
    "tolist",
    "numpy",
    "__bool__",
    "__int__",
    "__float__",
    "__index__",
    "__complex__",
    "is_nonzero",
    "equal",
    "allclose",
    "__array__",
    "__contains__",
}
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
_SAME_AS_ANY = {"all", "any", "amax", "amin", "max", "mean", "min"}
"""Functions of a whole tensor that give the number itself, if it is the same everywhere."""
_ARITHMETIC = {
    *("add", "bitwise_not", "div", "eq", "ge", "gt", "le", "logical_not", "lt", "mul", "ne", "sub")
}
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
        inputs = example.map(empty_like)
    scopes = ModuleScopes(twin)
    recorder = Recorder(scopes, held_by(twin), origins_of(twin), ending)
    recorder.shadows.update(shadows)
    return recorder.record(twin, inputs)


def held_by(model: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the tensors that a model holds: parameters, buffers and plain attributes."""
    for module in model.modules():
        for value in (
            *module._parameters.values(),
            *module._buffers.values(),
            *vars(module).values(),
        ):
            if isinstance(value, _MAY_HOLD):
                yield from tensors_of(value)


_MAY_HOLD = (torch.Tensor, tuple, list)


def meta_copy(
    model: nn.Module, shadows: dict[int, tuple[int, torch.Tensor]] | None = None
) -> nn.Module:
    """Return a copy of a model whose parameters and buffers have shapes but no memory.

    Tensors of a few numbers, and of some more whole ones, keep their values: models read them to
    decide what to do. Those of others that may be masks go into ``shadows``, by ``id`` of the twin.
    """

    def of_a_tensor(tensor: torch.Tensor) -> torch.Tensor:
        twin = _meta_or_small(tensor)
        if shadows is not None and twin.is_meta and _may_be_a_mask(tensor):
            shadows[id(twin)] = (twin._version, tensor.detach().clone())
        return twin

    twin = twin_of(model, _meta_parameter, of_a_tensor)
    quiet_observers(twin)
    return twin


def twin_of(
    model: nn.Module,
    parameter_twin: Callable[[nn.Parameter], nn.Parameter],
    tensor_twin: Callable[[torch.Tensor], torch.Tensor],
) -> nn.Module:
    """Return a copy of a model that shares no state with it but the tensors that are passed on.

    Args:
        model: is not touched.
        parameter_twin: returns what stands for a parameter in the copy.
        tensor_twin: the same for buffers and for tensors that are plain attributes.
    """
    memo: dict[int, Any] = {}
    held = list(model.modules())
    for parameter in model.parameters():
        memo[id(parameter)] = parameter_twin(parameter)
    for module in held:
        for value in (*module._buffers.values(), *vars(module).values()):
            if isinstance(value, torch.Tensor) and id(value) not in memo:
                memo[id(value)] = tensor_twin(value)
    compiled = [module for module in held if is_compiled(module)]
    plain = {kind for kind in set(map(type, held)) if _is_copied_plainly(kind)}
    modules = [one for one in held if type(one) in plain and one not in compiled]
    for module in modules:
        memo[id(module)] = type(module).__new__(type(module))
    for module in compiled:
        memo[id(module)] = _copied(module._orig_mod, memo)
    for module in modules:
        _copy_into(vars(memo[id(module)]), vars(module), memo)
        vars(memo[id(module)]).pop("_compiled_call_impl", None)  # it would hide its operators
    twin: nn.Module = _copied(model, memo)
    for module in twin.modules():
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None
    return twin


def _meta_parameter(parameter: nn.Parameter) -> nn.Parameter:
    if parameter.numel() > 1 or parameter.is_meta:
        return nn.Parameter(empty_like(parameter), parameter.requires_grad)
    return copy.deepcopy(parameter)


_IMMUTABLE = frozenset(
    {
        *(int, float, complex, bool, str, bytes, type(None), type),
        *(types.FunctionType, types.BuiltinFunctionType),
        *(torch.dtype, torch.device, torch.Size),
    }
)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """Return what ``copy.deepcopy`` does; faster for what most modules hold."""
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    if kind is dict or kind is OrderedDict:
        made = memo[id(value)] = kind()
        _copy_into(made, value, memo)
        return made
    if (kind is tuple or kind is set) and all(type(one) in _IMMUTABLE for one in value):
        return value if kind is tuple else memo.setdefault(id(value), set(value))
    return copy.deepcopy(value, memo)


_HOOKS = frozenset(name for name, one in vars(nn.Module()).items() if type(one) is OrderedDict)
"""Attributes of all modules that are empty as a rule."""


def _copy_into(
    made: MutableMapping[Any, Any], items: Mapping[Any, Any], memo: dict[int, Any]
) -> None:
    for key, value in items.items():
        if key in _HOOKS and not value:
            made[key] = OrderedDict()
            continue
        copied = value if type(value) in _IMMUTABLE else _copied(value, memo)
        made[key if type(key) in _IMMUTABLE else _copied(key, memo)] = copied


def _is_copied_plainly(kind: type[nn.Module]) -> bool:
    """Return whether to copy a module is to copy its attributes."""
    return (
        not hasattr(kind, "__deepcopy__")
        and kind.__reduce_ex__ is object.__reduce_ex__
        and kind.__reduce__ is object.__reduce__
        and getattr(kind, "__getstate__", None) is getattr(nn.Module, "__getstate__", None)
        and not any(vars(one).get("__slots__") for one in kind.__mro__)
    )


def _meta_or_small(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.detach()
    if _is_small(tensor) and not tensor.is_meta:
        return plain.clone()
    return empty_like(plain)


def _has_fractions(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _may_be_a_mask(tensor: torch.Tensor) -> bool:
    """Whether it may matter where a constant is 0 or far below, and it is not too large to look."""
    return 1 < tensor.numel() <= _LARGE and not tensor.is_meta


def _is_small(tensor: torch.Tensor) -> bool:
    """Whether the values of a constant may steer a model, and are few enough to be kept."""
    return tensor.numel() <= (_FEW if _has_fractions(tensor) else _SMALL)


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
        scopes: the modules of the model that will run.
        constants: the tensors that it holds.
        origins: the names of parameters by ``id``.
        ending: where to end before the model does.
        limit: end behind this many operations.
    """

    def __init__(
        self,
        scopes: ModuleScopes,
        constants: Iterable[torch.Tensor],
        origins: Mapping[int, tuple[str, ...]],
        ending: Ending = WHOLE,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        self.scopes = scopes
        self.ending = ending
        self.limit = limit
        self.operations: list[Operation] = []
        self.failure: Failure | None = None
        self._numbers: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []
        self._meta_twins: dict[int, torch.Tensor] = {}
        self._even: dict[int, _Even] = {}
        self._repeating: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.shadows: dict[int, tuple[int, torch.Tensor]] = {}
        self._left: dict[int, tuple[int, torch.Tensor | None]] = {}
        self._data_of: dict[int, torch.Tensor] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        self._made: dict[int, int] = {}
        self._sized = False
        self._next = 0
        self._constants = {id(tensor): tensor for tensor in constants}
        self._origins = dict(origins)
        scopes.on_result = self._returned

    def record(self, model: nn.Module, inputs: Example) -> Record:
        """Run a model, which must be the one that the scopes belong to, and return what it did.

        Raises:
            Exception: whatever the model itself raises, with a ``Failure`` as its ``rfa_failure``.
        """
        references = tuple(self.register(tensor) for tensor in inputs.tensors)
        stopped, result = "", None
        with undisturbed(), self.scopes.recording():
            try:
                with self:
                    result = model(*inputs.arguments, **inputs.keywords)
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
                f"what {type(model).__name__} returns was computed by code that cannot be "
                "followed, such as TorchScript or torch.vmap"
            )
        return Record(
            type(model).__name__,
            references,
            outputs or (last_results(self.operations) if stopped else ()),
            tuple(self.operations),
            sizes_of(model),
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
        self._numbers[id(tensor)] = self._next
        self.keep(tensor)
        self._next += 1
        return TensorRef(self._next - 1, tuple(tensor.shape))

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
        shape = tuple(tensor.shape)
        if number is not None:
            return TensorRef(number, shape)
        made = self._made.get(id(tensor), 0)
        if self._is_even(tensor):
            return TensorRef(-1, shape, tuple(range(len(shape))), made)
        version, along = self._repeating.get(id(tensor), (-1, ()))
        if version != tensor._version:
            strides = tensor.stride() if tensor.layout == torch.strided else ()
            along = expanded(shape, strides)
        return TensorRef(-1, shape, along, made)

    def _is_even(self, tensor: torch.Tensor) -> bool:
        """Whether a constant was made the same everywhere, and not written to since then."""
        even = self._even.get(id(tensor))
        return even is not None and even.version == tensor._version

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
        described = describe_call(function)
        if function in _SIZES:
            self._sized = True
        if described is None or _inside_a_kernel(sys._getframe(1).f_code.co_filename):
            return function(*args, **keywords)
        if self._takes_a_type_only(function, args, keywords):
            function, args = torch.Tensor.to, (args[0], args[1].dtype)
        found = list(_tensors(args))
        if keywords:
            found.extend(_tensors(tuple(keywords.values())))
        numbers = self._numbers
        spelled = function.__name__ if hasattr(function, "__name__") else described.name
        # What is filled in the shape of a map is a constant, as a mask of all positions is.
        dependent = spelled not in _LIKE and any(id(tensor) in numbers for tensor in found)
        if dependent:
            self._check_values(spelled, found)
        written = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if found and any(tensor.is_meta for tensor in found):
            args, keywords = self._on_meta(spelled, args, keywords, found)
            if spelled in _MOVES and len(args) == 1 and not keywords:
                function = torch.Tensor.detach
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        version = first._version if first is not None and dependent else 0
        arguments = None
        if dependent:
            look = self.reference
            if described.name == "where":
                look = self._choosing
            elif described.name in _MASKING:
                look = self._masking
            elif described.name in _MATRICES:
                look = self._multiplying
            elif described.name.startswith("conv") or described.name == "linear":
                look = self._weighing
            arguments = plain_arguments(described, args, keywords, look)
        try:
            if dependent:
                result = self.call(described.name, function, args, keywords)
            else:
                result = self._constant(spelled, described.name, function, args, keywords, found)
        except Exception as error:
            self._note_failure(described.name, found)
            if dependent and _is_shaped_by_values(described.name, found):
                raise DataDependentControlFlowError(
                    f"the size of what '{spelled}' returns depends on the values of the input, at "
                    f"{calling_line()}"
                ) from error
            raise
        if arguments is None:
            result = self._told(described.name, found, result)
            made = list(tensors_of(result if result is not None else first))
            self._note_constants(described, function, args, keywords, found, made)
            return result
        parameters = self._parameters_of(found)
        if spelled == "copy_" and first is not None:
            source = args[1] if len(args) > 1 else keywords["src"]
            self._overwritten(first, source)
        else:
            result = self._recorded(described.name, arguments, parameters, first, version, result)
        if written is not first and written is not None and first is not None and self.knows(first):
            self._written_on_meta(written, first)
        return result

    def _check_values(self, name: str, found: Sequence[torch.Tensor]) -> None:
        """Refuse what asks for values of the input, or was computed where nobody saw it."""
        self._check_origin(found)
        if name in _READ_VALUES:
            raise DataDependentControlFlowError(
                f"'{name}' asks for the value of a tensor that depends on the input, at "
                f"{calling_line()}"
            )

    def _note_failure(self, name: str, found: Sequence[torch.Tensor]) -> None:
        """Remember what failed first."""
        if self.failure is None:
            shapes = tuple(tuple(tensor.shape) for tensor in found)
            self.failure = Failure(name, self.scopes.current, shapes)

    def _note_constants(
        self,
        call: OperatorCall,
        function: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        found: Sequence[torch.Tensor],
        made: Sequence[torch.Tensor],
    ) -> None:
        """Remember constants: of which parameters they are, where they are even, with what made."""
        self._constants.update((id(tensor), tensor) for tensor in made)
        filled = call.name.removesuffix("_like").removeprefix("new_")
        if filled in FILLED:
            self._note_even(made, _filled_with(filled, args, keywords))
        elif call.name in KEEP_EVEN and found and all(map(self._is_even, found)):
            self._note_even(made, self._number(call.name, function, args, keywords, found))
        elif call.name in ALIGNED and found:
            known = [self.reference(one) for one in found]
            for one in made:
                along = even_along(call.name, one.shape, known)
                self._repeating[id(one)] = one._version, along
        parameters = self._parameters_of(found)
        if parameters:
            self._origins.update((id(tensor), parameters) for tensor in made)
        if self._sized:  # what was made before depends on no size
            given = plain_arguments(call, args, keywords, self.reference)
            self._made.update((id(one), check_sum(call.name, given)) for one in made)

    def _constant(
        self,
        spelled: str,
        name: str,
        function: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        found: Sequence[torch.Tensor],
    ) -> Any:
        """Compute a constant; its values are a shadow beside the meta tensor, if they are not many.

        Sizes of maps in a tensor steer a model, as do positions to look at; masks hide positions.
        """
        result = self._filled_like(spelled, function, args, keywords)
        if result is not None:
            return result
        read = _tensors((*args, *keywords.values()))
        whole = all(self._shadow(one) is not None for one in read)
        shadows = self._shadowed(args) if whole else ()
        given = {key: self._shadowed(value) for key, value in keywords.items()} if whole else {}
        if spelled in _READ_VALUES and whole and found:
            return function(*shadows, **given)
        result = _computed(function, args, keywords)
        target = found[0] if result is None and found else result
        if not isinstance(target, torch.Tensor) or not target.is_meta:
            return result
        self._note_zeros(name, function, args, keywords, target)
        random = target.numel() > _FEW and spelled.rstrip("_") in _RANDOM
        if whole and not random and (_is_small(target) or target.numel() <= _LARGE):
            shadow = function(*shadows, **(given if found else {**given, "device": "cpu"}))
            self.shadows[id(target)] = (
                target._version,
                self.shadows[id(target)][1] if shadow is None else shadow,
            )
            self.keep(target)
        return result

    def _takes_a_type_only(
        self, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> bool:
        """Whether a constant is made to be of the type of another tensor, as by ``mask.to(x)``."""
        return (
            function in _TYPES
            and len(args) == 2
            and not keywords
            and isinstance(args[1], torch.Tensor)
            and not self.knows(args[0])
        )

    def _filled_like(
        self, spelled: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> torch.Tensor | None:
        """Fill a tensor of the shape of another one, whose values do not matter."""
        if spelled not in _LIKE or not args or not args[0].is_meta or args[0].numel() > _LARGE:
            return None
        made: torch.Tensor = function(*args, **keywords)
        here = {key: value for key, value in keywords.items() if key != "device"}
        alike = torch.empty(args[0].shape, dtype=args[0].dtype)
        self.shadows[id(made)] = made._version, function(alike, *args[1:], **here)
        self.keep(made)
        return made

    def _masking(self, tensor: torch.Tensor) -> TensorRef:
        """Return the number of a tensor, with its values if it may be a mask."""
        reference = self.reference(tensor)
        if reference.number >= 0 or tensor.dim() < 2 or 1 in tensor.shape[-2:]:
            return reference
        if self._is_even(tensor):
            return reference
        held = self._shadow(tensor) if tensor.numel() <= _LARGE else None
        if held is None:
            unknown = tensor.dtype == torch.bool  # other numbers are biases as a rule
            return reference._replace(numbers=Numbers(None) if unknown else None)
        return reference._replace(numbers=Numbers(_as_array(held)))

    def _choosing(self, tensor: torch.Tensor) -> TensorRef:
        """Return the number of a tensor as above, also where it is one number everywhere."""
        reference = self._masking(tensor)
        number = self._even[id(tensor)].number if self._is_even(tensor) else None
        if reference.numbers is not None or reference.number >= 0 or number is None:
            return reference
        return reference._replace(numbers=Numbers(np.full((1, 1), number)))

    def _multiplying(self, tensor: torch.Tensor) -> TensorRef:
        """Return the number of a tensor, with its values if it is a matrix that is 0 in places."""
        found = self._weighing(tensor)
        if found.numbers is not None:
            return found
        found = self._masking(tensor)
        array = None if found.numbers is None else found.numbers.array
        return found._replace(numbers=None) if array is None or array.all() else found

    def _weighing(self, tensor: torch.Tensor) -> TensorRef:
        """Return the number of a tensor, with where it is 0 if it is a weight that was masked."""
        reference = self.reference(tensor)
        if id(tensor) not in self._left:
            return reference
        left = self._left_of(tensor)
        return reference._replace(numbers=Numbers(None if left is None else _as_array(left)))

    def _left_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return what is left of a masked weight; None if that is not known."""
        version, left = self._left[id(tensor)]
        return left if version == tensor._version else None

    def _note_zeros(
        self,
        name: str,
        function: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        made: torch.Tensor,
    ) -> None:
        """Note where a weight is 0 that was computed of a parameter and a mask.

        The parameter itself may be anything, so that a number that is not 0 stands for it.
        """
        found = list(_tensors((*args, *keywords.values())))
        if name == "data" and found:
            self._data_of[id(made)] = found[0]
            self.keep(made)
            return
        behind = any(id(one) in self._left for one in found)
        masks = name in _MASKS_WEIGHTS and any(map(self._is_weight, found))
        if not (masks or behind) or made.dim() < 2:
            return
        given = {id(one): self._standing_for(one) for one in found}
        left = None
        if name in _MASKS_WEIGHTS | KEEP_EVEN and not any(one is None for one in given.values()):
            stood = _replaced((args, dict(keywords)), given)
            with torch.no_grad():
                result = function(*stood[0], **stood[1])
            left = result if isinstance(result, torch.Tensor) else stood[0][0]
        for one in (made, self._data_of.get(id(made))):
            if one is not None:
                self._left[id(one)] = one._version, left
                self.keep(one)

    def _is_weight(self, tensor: torch.Tensor) -> bool:
        weight = self._data_of.get(id(tensor), tensor)
        return id(weight) in self._origins and tensor.dim() > 1 and tensor.numel() > 1

    def _standing_for(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return numbers that are 0 where a constant is, whatever a parameter will be."""
        if id(tensor) in self._left:
            left = self._left_of(tensor)
            return None if left is None else left.clone()
        shadow = self._shadow(tensor)
        taps = tensor.shape[2:] if tensor.dim() > 2 else tensor.shape
        if shadow is None and (self._is_weight(tensor) or math.prod(taps) == 1):
            return torch.ones(tensor.shape)  # anything, or the same for all taps
        return shadow

    def _shadow(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the values of a constant, if they are known and nobody wrote to it since then."""
        if not tensor.is_meta:
            return tensor
        version, shadow = self.shadows.get(id(tensor), (-1, None))
        return shadow if version == tensor._version else None

    def _shadowed(self, value: Any) -> Any:
        """Replace meta tensors by their shadows, which are made and stay on the CPU."""
        if isinstance(value, torch.Tensor):
            return self._shadow(value)
        if isinstance(value, torch.device | str) and str(value) == "meta":
            return "cpu"
        if type(value) is tuple or type(value) is list:
            return type(value)(self._shadowed(one) for one in value)
        return value

    def _note_even(self, made: Iterable[torch.Tensor], number: float | None) -> None:
        """Note that constants are one number everywhere, as their type can hold it."""
        for one in made:
            held = None if number is None else torch.tensor(number).to(one.dtype).item()
            self._even[id(one)] = _Even(one._version, held)

    def _number(
        self,
        name: str,
        function: Any,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        found: Sequence[torch.Tensor],
    ) -> float | None:
        """Return the number that a function makes of constants which are one number each."""
        numbers = [self._even[id(one)].number for one in found]
        if None in numbers or name not in _ARITHMETIC:
            return numbers[0]
        same = {
            id(one): torch.tensor(number).to(one.dtype)
            for one, number in zip(found, numbers, strict=True)
        }
        result = function(*(same.get(id(one), one) for one in args), **keywords)
        return result.item()  # type: ignore[no-any-return]

    def _told(self, name: str, found: Sequence[torch.Tensor], result: Any) -> Any:
        """Give a question about all of a constant its answer, where that is one number everywhere.

        Masks are made of ones and then asked whether anything is left out.
        """
        if name not in _SAME_AS_ANY or len(found) != 1 or not isinstance(result, torch.Tensor):
            return result
        number = self._even[id(found[0])].number if self._is_even(found[0]) else None
        if number is None or result.dim() or not found[0].numel():
            return result
        return torch.tensor(number).to(found[0].dtype).to(result.dtype)

    def _higher_order(
        self, function: HigherOrderOperator, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Follow an operator that is given functions; both ways where a condition decides."""
        name = function.__name__
        if name == "cond":
            _, taken, other, operands = args
            with self:
                return tree_map(_either, taken(*operands), other(*operands))
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
        if tensor._is_view():
            raise CaptureError(
                f"a part of a tensor that has memory of its own is written to at {calling_line()}; "
                "it cannot be followed what that changes. Make that tensor with device=x.device."
            )
        self._numbers[id(tensor)] = self._numbers[id(twin)]
        self.keep(tensor)

    def _parameters_of(self, tensors: Iterable[torch.Tensor]) -> tuple[str, ...]:
        """Return the names of the parameters that tensors are, or were computed from."""
        several = [names for one in tensors if (names := self._origins.get(id(one))) is not None]
        if len(several) < 2:
            return several[0] if several else ()
        return tuple(dict.fromkeys(itertools.chain.from_iterable(several)))

    def call(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Call a function of PyTorch on something that the input reaches."""
        result = _computed(function, args, keywords)
        if name == "instance_norm" and result.is_meta:
            return result.clone()  # a view of something unseen; with memory it is none
        return result

    def _recorded(
        self,
        name: str,
        arguments: dict[str, Any],
        parameters: tuple[str, ...],
        first: torch.Tensor | None,
        version: int,
        result: Any,
    ) -> Any:
        if name == "setitem" and first is not None:
            self._write(name, arguments, (first,), parameters)
            return result
        if result is first and first is not None and first._version == version:
            # Returned as it came in (dropout in eval mode): a value of its own all the same.
            result = first.view_as(first)
        outputs = tuple(tensors_of(result)) if not isinstance(result, torch.Tensor) else (result,)
        if not outputs:
            return result
        self._write(name, arguments, outputs, parameters)
        if result is first and first is not None:
            self._write_behind(first, self.reference(first))
        return result

    def _write_behind(self, view: torch.Tensor, written: TensorRef) -> None:
        """Where a view was written to, the tensor behind it has changed as well."""
        base = view._base if view._is_view() else None
        if base is not None:
            index = index_of(view, base)
            parts = {"input": self.reference(base), "index": index, "value": written}
            self._write("setitem", parts, (base,))

    def _check_origin(self, found: Iterable[torch.Tensor]) -> None:
        """Refuse tensors that nobody saw being computed: they may depend on the input."""
        for tensor in found:
            if (
                tensor.is_meta
                and id(tensor) not in self._numbers
                and id(tensor) not in self._constants
            ):
                raise CaptureError(
                    f"a tensor of shape {tuple(tensor.shape)} was computed by code that cannot be "
                    f"followed, such as TorchScript or torch.vmap, and is used at {calling_line()}"
                )

    def _scripted(self, module: nn.Module, arguments: Any, result: Any) -> None:
        """Write down a TorchScript module as one unknown operation: its inside is not seen."""
        if not isinstance(module, torch.jit.ScriptModule):
            return
        outputs = tuple(tensors_of(result))
        inputs = {str(at): self.reference(one) for at, one in enumerate(tensors_of(arguments))}
        if outputs and any(reference.number >= 0 for reference in inputs.values()):
            parameters = self._parameters_of(module.parameters())
            self._write(f"TorchScript of {module.original_name}", inputs, outputs, parameters)

    def _overwritten(self, tensor: torch.Tensor, source: torch.Tensor) -> None:
        """``copy_`` makes a tensor the same as another one."""
        if self.knows(source) and source.shape == tensor.shape:
            self._numbers[id(tensor)] = self._numbers[id(source)]
            self.keep(tensor)
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
        references = tuple(self.register(tensor) for tensor in outputs)
        self.operations.append(
            Operation(name, arguments, references, self.scopes.current, parameters)
        )
        if len(self.operations) == self.limit:
            raise Finished

    def _on_meta(
        self,
        name: str,
        args: tuple[Any, ...],
        keywords: Mapping[str, Any],
        found: Sequence[torch.Tensor],
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """Replace tensors with memory by meta ones where both meet, and stay on meta."""
        moves = name in _MOVES or "device" in keywords
        if not moves and all(tensor.is_meta for tensor in found):
            return args, keywords
        if name.startswith("masked_fill"):  # takes a single number from its own device alone
            args = tuple(map(self._number_on_meta, args))
        args = tuple(self._twin(one) for one in args)
        keywords = {key: self._twin(one) for key, one in keywords.items()}
        if name in _MOVES:
            args = (args[0], *(one for one in args[1:] if name == "to" and not _is_device(one)))
            keywords = {key: one for key, one in keywords.items() if not _is_device(one)}
        elif "device" in keywords and isinstance(args[0] if args else None, torch.Tensor):
            keywords = {**keywords, "device": torch.device("meta")}
        return args, keywords

    def _number_on_meta(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dim() or value.is_meta:
            return value
        number = value.to("meta")
        self.shadows[id(number)] = (number._version, value)
        self.keep(number)
        return number

    def _shadow_of_memory(self, twin: torch.Tensor, value: torch.Tensor) -> None:
        """Keep what a tensor holds now that is met again and may have been written to."""
        key = twin._version, value._version
        if self._seen.get(id(twin)) != key:
            self._seen[id(twin)] = key
            self.shadows[id(twin)] = twin._version, value.detach().clone()

    def _twin(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if value.is_meta or value.dim() == 0:
                return value
            twin = self._meta_twins.get(id(value))
            if twin is None:
                twin = self._meta_twins[id(value)] = value.detach().to("meta")
                self._kept.append(value)
            if _may_be_a_mask(value) and id(value) not in self._numbers:
                self._shadow_of_memory(twin, value)
            if id(value) in self._numbers:
                self._numbers[id(twin)] = self._numbers[id(value)]
            self._made[id(twin)] = self._made.get(id(value), 0)
            if self._is_even(value):
                self._even[id(twin)] = _Even(twin._version, self._even[id(value)].number)
            else:
                self._even.pop(id(twin), None)
            self._repeating[id(twin)] = twin._version, self.reference(value).even
            return twin
        if type(value) is tuple or type(value) is list:
            return type(value)(self._twin(one) for one in value)
        return value


def _computed(function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """Return what a function makes of tensors on the meta device."""
    result = known_result(function, args, keywords)
    return function(*args, **keywords) if result is None else result


def _as_array(tensor: torch.Tensor) -> Any:
    plain = tensor.detach()
    return (plain.float() if _has_fractions(plain) else plain).numpy()


def _replaced(value: Any, others: Mapping[int, Any]) -> Any:
    """Return arguments with other tensors in the place of theirs."""
    if isinstance(value, torch.Tensor):
        return others[id(value)]
    if isinstance(value, dict):
        return {key: _replaced(one, others) for key, one in value.items()}
    if type(value) is tuple or type(value) is list:
        return type(value)(_replaced(one, others) for one in value)
    return value


@attrs.frozen
class _Even:
    """A constant that is the same everywhere: its version, and the number if that is known."""

    version: int
    number: float | None


def _filled_with(name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> float | None:
    """Return the number that a tensor is filled with, or None if it is not known."""
    if name in ("ones", "zeros", "zero"):
        return float(name == "ones")
    number = keywords.get("fill_value", keywords.get("value", args[-1] if args else None))
    return number if name != "empty" and isinstance(number, int | float) else None


def _is_shaped_by_values(name: str, found: Sequence[torch.Tensor]) -> bool:
    """Return whether it takes values to know the size of a result, as behind a mask."""
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


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)
