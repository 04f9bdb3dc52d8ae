"""Copies of a model for its capture, which have shapes but no memory."""

from __future__ import annotations

import copy
import types
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import nn

from rfa_toolbox.encodings.pytorch.capture import is_compiled, paths_of, tensors_of
from rfa_toolbox.encodings.pytorch.constants import is_a_fixed_mask, is_small, may_be_a_mask
from rfa_toolbox.encodings.pytorch.quantised import quiet_observers
from rfa_toolbox.encodings.pytorch.shapes import empty_like

__all__ = ["held_by", "meta_copy", "twin_of"]


def held_by(modules: Iterable[nn.Module]) -> Iterator[torch.Tensor]:
    """Yield the tensors that modules hold: parameters, buffers and plain attributes."""
    for module in modules:
        for value in (*module._parameters.values(), *_others_held(module)):
            if isinstance(value, _MAY_HOLD):
                yield from tensors_of(value)


_MAY_HOLD = (torch.Tensor, tuple, list)


def _others_held(module: nn.Module) -> list[Any]:
    """Return the buffers and plain attributes of a module that may be or hold tensors."""
    return [
        value
        for values in (module._buffers, vars(module))
        for value in values.values()
        if type(value) not in _HOLD_NONE
    ]


def meta_copy(
    model: nn.Module, shadows: dict[int, tuple[int, torch.Tensor]] | None = None
) -> nn.Module:
    """Return a copy of a model whose parameters and buffers have shapes but no memory.

    Tensors of a few numbers, and of some more whole ones, keep their values: models read them to
    decide what to do. Those of others that may be masks go into ``shadows``, by ``id`` of the twin:
    parameters, too, if they are not trained and 0 in places.
    """

    def shadowed(twin: torch.Tensor, tensor: torch.Tensor) -> None:
        if shadows is not None and twin.is_meta and may_be_a_mask(tensor):
            shadows[id(twin)] = (twin._version, tensor.detach().clone())

    def of_a_tensor(tensor: torch.Tensor) -> torch.Tensor:
        twin = _meta_or_small(tensor)
        shadowed(twin, tensor)
        return twin

    def of_a_parameter(parameter: nn.Parameter) -> nn.Parameter:
        twin = _meta_parameter(parameter)
        if is_a_fixed_mask(parameter):
            shadowed(twin, parameter)
        return twin

    twin = twin_of(model, of_a_parameter, of_a_tensor)
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
    held = list(paths_of(model))
    for module in held:
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in memo:
                memo[id(parameter)] = parameter_twin(parameter)
    for module in held:
        for value in _others_held(module):
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
    twin: nn.Module = _copied(model, memo)
    for module in paths_of(twin):
        vars(module).pop("_compiled_call_impl", None)  # it would hide its operators
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
_HOLD_NONE = _IMMUTABLE | {dict, OrderedDict, set}
"""Types of most attributes of modules, none of which is taken for tensors."""


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
    if (kind is tuple or kind is set) and _IMMUTABLE.issuperset(map(type, value)):
        return value if kind is tuple else memo.setdefault(id(value), set(value))
    return copy.deepcopy(value, memo)


_HOOKS = frozenset(name for name, one in vars(nn.Module()).items() if type(one) is OrderedDict)
"""Attributes of all modules that are empty as a rule."""


def _copy_into(
    made: MutableMapping[Any, Any], items: Mapping[Any, Any], memo: dict[int, Any]
) -> None:
    for key, value in items.items():
        if type(value) in _IMMUTABLE:
            copied = value
        elif key in _HOOKS and not value:
            copied = OrderedDict()
        else:
            known = memo.get(id(value))
            copied = _copied(value, memo) if known is None else known
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
    if is_small(tensor) and not tensor.is_meta:
        return plain.clone()
    return empty_like(plain)
