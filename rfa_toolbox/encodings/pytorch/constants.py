"""What is known of tensors that depend on no input, while a model runs on meta tensors.

Sizes of maps in a tensor steer a model, as do positions to look at; masks hide positions, and
weights under a mask some of their taps. So the numbers of constants are kept beside them, where
they are not too many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs
import numpy as np
import torch

from rfa_toolbox.encodings.pytorch.capture import (
    ALIGNED,
    FILLED,
    KEEP_EVEN,
    PLAIN,
    OperatorCall,
    even_along,
    expanded,
    plain_arguments,
)
from rfa_toolbox.encodings.pytorch.shapes import known_result
from rfa_toolbox.operators.masks import FAR_BELOW
from rfa_toolbox.operators.record import Numbers, TensorRef, check_sum

__all__ = [
    "LARGE",
    "LIKE",
    "MASKING",
    "MATRICES",
    "READ_VALUES",
    "Called",
    "Constants",
    "array_of",
    "as_mask",
    "computed",
    "is_a_fixed_mask",
    "is_small",
    "may_be_a_mask",
    "tensors_among",
]

LARGE = 2**20
"""Numbers up to which masks and weights that are 0 in places are looked at."""
_SMALL = 4096
"""Whole numbers that a tensor of a model may have to keep them."""
_FEW = 64
"""The same for other numbers, such as the strides and anchors of a detector."""
LIKE = {"ones_like", "zeros_like", "full_like", "new_ones", "new_zeros", "new_full"}
"""Functions whose results take nothing but a type or a shape from a tensor."""
MASKING = {
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
    *("masked_fill", "where", "add", "sub", "mul"),
}
"""Functions of which a mask may be an argument."""
MATRICES = {"matmul", "mm", "bmm", "einsum"}
"""Functions of which a banded matrix may be an argument."""
READ_VALUES = {
    *("item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__complex__"),
    *("is_nonzero", "equal", "allclose", "__array__", "__contains__"),
}
"""Functions that ask for the values of a tensor."""
_MASKS_WEIGHTS = {"mul", "masked_fill", "where", "tril", "triu"}
_RANDOM = {
    *("rand", "rand_like", "randn", "randn_like", "randint", "randint_like", "randperm"),
    *("bernoulli", "normal", "uniform", "dropout"),
}
"""Functions whose results are others in every run."""
_SAME_AS_ANY = {"all", "any", "amax", "amin", "max", "mean", "min"}
"""Functions of a whole tensor that give the number itself, if it is the same everywhere."""
_ARITHMETIC = {
    *("add", "bitwise_not", "div", "eq", "ge", "gt", "le", "logical_not", "lt", "mul", "ne", "sub")
}


class Called(NamedTuple):
    """A call of a function of PyTorch.

    Attributes:
        operator: what is known of the function.
        spelled: its own name, with a line behind it where it works in place.
        function: what is called.
        args: what it is called with, by position.
        keywords: the same by name.
        tensors: the tensors among these, as the model has them: some may have memory.
    """

    operator: OperatorCall
    spelled: str
    function: Any
    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    tensors: Sequence[torch.Tensor]

    @property
    def name(self) -> str:
        """The canonical name of the function."""
        return self.operator.name

    @property
    def first(self) -> torch.Tensor | None:
        """The tensor that comes first, which a function in place writes to."""
        return self.args[0] if self.args and isinstance(self.args[0], torch.Tensor) else None


@attrs.frozen
class _Even:
    """A constant that is the same everywhere: its version, and the number if that is known."""

    version: int
    number: float | None


class Constants:
    """What is known of the tensors that depend on no input.

    Args:
        held: the tensors that the model holds.
        origins: the names of parameters by ``id``.

    Attributes:
        shadows: by ``id`` of a meta tensor its version, and the numbers that it stands for.
    """

    def __init__(
        self, held: Iterable[torch.Tensor], origins: Mapping[int, tuple[str, ...]]
    ) -> None:
        self.shadows: dict[int, tuple[int, torch.Tensor]] = {}
        self._held = {id(tensor): tensor for tensor in held}
        self._origins = dict(origins)
        self._kept: list[torch.Tensor] = []
        self._even: dict[int, _Even] = {}
        self._repeating: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._left: dict[int, tuple[int, torch.Tensor | None]] = {}
        self._data_of: dict[int, torch.Tensor] = {}
        self._seen: dict[int, tuple[int, int]] = {}
        self._made: dict[int, int] = {}

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._held

    def parameters_of(self, tensors: Iterable[torch.Tensor]) -> tuple[str, ...]:
        """Return the names of the parameters that tensors are, or were computed from."""
        found = map(self._origins.get, map(id, tensors))
        several = [names for names in found if names is not None]
        if len(several) < 2:
            return several[0] if several else ()
        return tuple(dict.fromkeys(name for names in several for name in names))

    # -- as the record has them

    def reference(self, tensor: torch.Tensor) -> TensorRef:
        """Return what a record says of a constant; its number is -1."""
        shape = tuple(tensor.shape)
        made = self._made.get(id(tensor), 0)
        if self._is_even(tensor):
            return TensorRef(-1, shape, tuple(range(len(shape))), made)
        version, along = self._repeating.get(id(tensor), (-1, ()))
        if version != tensor._version:
            strides = tensor.stride() if tensor.layout == torch.strided else ()
            along = expanded(shape, strides)
        return TensorRef(-1, shape, along, made)

    def look(self, name: str) -> Callable[[torch.Tensor], TensorRef]:
        """Return what tells of a constant all that matters to a function."""
        if name == "where":
            return self._choosing
        if name in MASKING:
            return self._masking
        if name in MATRICES:
            return self._multiplying
        if name.startswith("conv") or name == "linear":
            return self._weighing
        return self.reference

    def _masking(self, tensor: torch.Tensor) -> TensorRef:
        """Return a reference, with its values if the tensor may be a mask."""
        reference = self.reference(tensor)
        if self._is_even(tensor):
            return reference
        held = self._shadow(tensor) if tensor.numel() <= LARGE else None
        return as_mask(reference, held, tensor.dtype == torch.bool)

    def _choosing(self, tensor: torch.Tensor) -> TensorRef:
        """Return a reference as above, also where the tensor is one number everywhere."""
        reference = self._masking(tensor)
        number = self._even[id(tensor)].number if self._is_even(tensor) else None
        single = self._shadow(tensor) if tensor.numel() == 1 else None
        number = number if single is None else single.item()
        if reference.numbers is not None or number is None:
            return reference
        return reference._replace(numbers=Numbers(np.full((1, 1), number)))

    def _multiplying(self, tensor: torch.Tensor) -> TensorRef:
        """Return a reference, with its values if the tensor is a matrix that is 0 in places."""
        found = self._weighing(tensor)
        if found.numbers is not None:
            return found
        found = self._masking(tensor)
        array = None if found.numbers is None else found.numbers.array
        return found._replace(numbers=None) if array is None or array.all() else found

    def _weighing(self, tensor: torch.Tensor) -> TensorRef:
        """Return a reference, with where the tensor is 0 if it is a weight that was masked.

        One that is not trained is as it is.
        """
        reference = self.reference(tensor)
        if id(tensor) in self._left:
            left = self._left_of(tensor)
            return reference._replace(numbers=Numbers(None if left is None else array_of(left)))
        held = None if tensor.requires_grad or tensor.dim() < 2 else self._shadow(tensor)
        if held is None or held.numel() > LARGE or not held.any() or held.all():
            return reference
        return reference._replace(numbers=Numbers(array_of(held)))

    # -- computing them

    def compute(self, called: Called) -> Any:
        """Compute a constant, and its numbers beside the meta tensor if they are not many."""
        result = self._filled_like(called)
        if result is not None:
            return result
        function, args, keywords, found = (
            called.function, called.args, called.keywords, called.tensors,
        )  # fmt: skip
        read = tensors_among((*args, *keywords.values()))
        whole = all(self._shadow(one) is not None for one in read)
        shadows = self._shadowed(args) if whole else ()
        given = {key: self._shadowed(value) for key, value in keywords.items()} if whole else {}
        if called.spelled in READ_VALUES and whole and found:
            return function(*shadows, **given)
        result = computed(function, args, keywords)
        target = found[0] if result is None and found else result
        if not isinstance(target, torch.Tensor) or not target.is_meta:
            return result
        self._note_zeros(called, target)
        random = target.numel() > _FEW and called.spelled.rstrip("_") in _RANDOM
        if whole and not random and (is_small(target) or target.numel() <= LARGE):
            shadow = function(*shadows, **(given if found else {**given, "device": "cpu"}))
            self.hold(target, self.shadows[id(target)][1] if shadow is None else shadow)
        return result

    def hold(self, tensor: torch.Tensor, shadow: torch.Tensor) -> None:
        """Keep the numbers of a meta tensor."""
        self.shadows[id(tensor)] = tensor._version, shadow
        self._kept.append(tensor)

    def _filled_like(self, called: Called) -> torch.Tensor | None:
        """Fill a tensor of the shape of another one, whose values do not matter."""
        args = called.args
        if called.spelled not in LIKE or not args or not args[0].is_meta or args[0].numel() > LARGE:
            return None
        made: torch.Tensor = called.function(*args, **called.keywords)
        here = {key: value for key, value in called.keywords.items() if key != "device"}
        alike = torch.empty(args[0].shape, dtype=args[0].dtype)
        self.hold(made, called.function(alike, *args[1:], **here))
        return made

    def told(self, called: Called, result: Any) -> Any:
        """Give a question about all of a constant its answer, where that is one number everywhere.

        Masks are made of ones and then asked whether anything is left out.
        """
        found = called.tensors
        if called.name not in _SAME_AS_ANY or len(found) != 1:
            return result
        number = self._even[id(found[0])].number if self._is_even(found[0]) else None
        if number is None or not isinstance(result, torch.Tensor) or result.dim():
            return result
        if not found[0].numel():
            return result
        return torch.tensor(number).to(found[0].dtype).to(result.dtype)

    # -- what is noted of them

    def note(self, called: Called, made: Sequence[torch.Tensor], sized: bool) -> None:
        """Remember constants: of which parameters they are, where they are even, with what made.

        Args:
            called: what made them.
            made: the constants.
            sized: whether the model has asked for a size; what was made before depends on none.
        """
        name, found = called.name, called.tensors
        self._held.update((id(tensor), tensor) for tensor in made)
        filled = name.removesuffix("_like").removeprefix("new_")
        if filled in FILLED:
            self._note_even(made, _filled_with(filled, called.args, called.keywords))
        elif name in KEEP_EVEN and found and all(map(self._is_even, found)):
            self._note_even(made, self._number(called))
        elif name in ALIGNED and found:
            known = [self.reference(one) for one in found]
            for one in made:
                along = even_along(name, one.shape, known)
                self._repeating[id(one)] = one._version, along
        parameters = self.parameters_of(found)
        if parameters:
            self._origins.update((id(tensor), parameters) for tensor in made)
        if sized:
            given = plain_arguments(called.operator, called.args, called.keywords, self.reference)
            self._made.update((id(one), check_sum(name, given)) for one in made)

    def stand_in(self, twin: torch.Tensor, tensor: torch.Tensor, dependent: bool) -> None:
        """Let a meta tensor stand for one with memory, which may have been written to."""
        if not dependent and may_be_a_mask(tensor):
            versions = twin._version, tensor._version
            if self._seen.get(id(twin)) != versions:
                self._seen[id(twin)] = versions
                self.shadows[id(twin)] = twin._version, tensor.detach().clone()
        self._made[id(twin)] = self._made.get(id(tensor), 0)
        if self._is_even(tensor):
            self._even[id(twin)] = _Even(twin._version, self._even[id(tensor)].number)
        else:
            self._even.pop(id(twin), None)
        self._repeating[id(twin)] = twin._version, self.reference(tensor).even

    def _is_even(self, tensor: torch.Tensor) -> bool:
        """Whether a constant was made the same everywhere, and not written to since then."""
        even = self._even.get(id(tensor))
        return even is not None and even.version == tensor._version

    def _note_even(self, made: Iterable[torch.Tensor], number: float | None) -> None:
        """Note that constants are one number everywhere, as their type can hold it."""
        for one in made:
            held = None if number is None else torch.tensor(number).to(one.dtype).item()
            self._even[id(one)] = _Even(one._version, held)

    def _number(self, called: Called) -> float | None:
        """Return the number that a function makes of constants which are one number each."""
        numbers = [self._even[id(one)].number for one in called.tensors]
        if None in numbers or called.name not in _ARITHMETIC:
            return numbers[0]
        same = {
            id(one): torch.tensor(number).to(one.dtype)
            for one, number in zip(called.tensors, numbers, strict=True)
        }
        args = (same.get(id(one), one) for one in called.args)
        return called.function(*args, **called.keywords).item()  # type: ignore[no-any-return]

    def _note_zeros(self, called: Called, made: torch.Tensor) -> None:
        """Note where a weight is 0 that was computed of a parameter and a mask.

        The parameter itself may be anything, so that a number that is not 0 stands for it.
        """
        name = called.name
        found = tensors_among((*called.args, *called.keywords.values()))
        if name == "data" and found:
            self._data_of[id(made)] = found[0]
            self._kept.append(made)
            return
        behind = any(id(one) in self._left for one in found)
        masks = name in _MASKS_WEIGHTS and any(map(self._is_weight, found))
        if not (masks or behind) or made.dim() < 2:
            return
        given = {id(one): self._standing_for(one) for one in found}
        left = None
        if name in _MASKS_WEIGHTS | KEEP_EVEN and not any(one is None for one in given.values()):
            args, keywords = _replaced((called.args, dict(called.keywords)), given)
            with torch.no_grad():
                result = called.function(*args, **keywords)
            left = result if isinstance(result, torch.Tensor) else args[0]
        for one in (made, self._data_of.get(id(made))):
            if one is not None:
                self._left[id(one)] = one._version, left
                self._kept.append(one)

    def _left_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return what is left of a masked weight; None if that is not known."""
        version, left = self._left[id(tensor)]
        return left if version == tensor._version else None

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


def as_mask(reference: TensorRef, held: torch.Tensor | None, logical: bool) -> TensorRef:
    """Return the reference of a constant with its numbers, where it may be a mask of positions.

    Args:
        reference: the constant.
        held: its numbers, if they are known.
        logical: whether they are true or false; others that are not known are biases as a rule.
    """
    if len(reference.shape) < 2 or 1 in reference.shape[-2:]:
        return reference
    if held is not None:
        return reference._replace(numbers=Numbers(array_of(held)))
    return reference._replace(numbers=Numbers(None)) if logical else reference


def array_of(tensor: torch.Tensor) -> Any:
    """Return the numbers of a tensor as an array, also of types that NumPy does not have."""
    plain = tensor.detach().cpu()
    return (plain.float() if _has_fractions(plain) else plain).numpy()


def may_be_a_mask(tensor: torch.Tensor) -> bool:
    """Whether it may matter where a constant is 0 or far below, and it is not too large to look."""
    return 1 < tensor.numel() <= LARGE and not tensor.is_meta


def is_a_fixed_mask(parameter: torch.Tensor) -> bool:
    """Whether a parameter that is not trained leaves something out where it is 0, or far below."""
    if parameter.requires_grad or not may_be_a_mask(parameter) or parameter.is_complex():
        return False
    return bool(((parameter == 0) | (parameter <= FAR_BELOW)).any())


def is_small(tensor: torch.Tensor) -> bool:
    """Whether the values of a constant may steer a model, and are few enough to be kept."""
    return tensor.numel() <= (_FEW if _has_fractions(tensor) else _SMALL)


def _has_fractions(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def computed(function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """Return what a function makes of tensors on the meta device."""
    result = known_result(function, args, keywords)
    return function(*args, **keywords) if result is None else result


def tensors_among(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors among arguments, also those in lists."""
    found = []
    for value in values:
        if type(value) in PLAIN:
            continue
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, _SEVERAL) and not PLAIN.issuperset(map(type, value)):
            found += tensors_among(value)
    return found


_SEVERAL = (tuple, list)


def _replaced(value: Any, others: Mapping[int, Any]) -> Any:
    """Return arguments with other tensors in the place of theirs."""
    if isinstance(value, torch.Tensor):
        return others[id(value)]
    if isinstance(value, dict):
        return {key: _replaced(one, others) for key, one in value.items()}
    if type(value) is tuple or type(value) is list:
        return type(value)(_replaced(one, others) for one in value)
    return value


def _filled_with(name: str, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> float | None:
    """Return the number that a tensor is filled with, or None if it is not known."""
    if name in ("ones", "zeros", "zero"):
        return float(name == "ones")
    number = keywords.get("fill_value", keywords.get("value", args[-1] if args else None))
    return number if name != "empty" and isinstance(number, int | float) else None
