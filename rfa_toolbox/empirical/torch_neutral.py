"""PyTorch models in which nothing hides a path: linear, averaging, and with equal weights.

Where all weights of a layer are one number, so are all channels that it makes: one of them is
computed, and stands for all. That is a thousandth of the work, and the very same result.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from rfa_toolbox.empirical.neutral import Part
from rfa_toolbox.encodings.pytorch.capture import describe_call
from rfa_toolbox.encodings.pytorch.signatures import bind

__all__ = ["Neutral", "make_weights_positive", "one_channel"]

_ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "hardswish", "hardsigmoid", "hardtanh", "softplus", "softsign", "tanhshrink", "hardshrink",
    "softshrink", "threshold", "sigmoid", "tanh", "logsigmoid", "log_sigmoid",
}  # fmt: skip
_NORMS = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
}  # fmt: skip
_CONVOLUTIONS = {f"conv{kind}{count}d" for kind in ("", "_transpose") for count in "123"}
_ON_CHANNELS = {
    f"{kind}_pool{count}d"
    for kind in ("max", "avg", "adaptive_max", "adaptive_avg")
    for count in "123"
} | {"interpolate"}
"""Functions that work on every channel of (batch, channels, ...) alone."""

_ARITHMETIC = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
_ON_UNITS = {
    *("abs", "clamp", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "relu"),
    *("relu6", "sigmoid", "silu", "softplus", "tanh"),
}


def one_channel(tensor: torch.Tensor) -> tuple[int, torch.Tensor] | None:
    """Return a dimension along which a tensor repeats another one, and that one, if it is known.

    >>> one_channel(_repeated(torch.zeros(1, 1, 4), 1, 8))[1].shape
    torch.Size([1, 1, 4])
    """
    known: tuple[int, torch.Tensor] | None = getattr(tensor, _ONE, None)
    return known


_ONE, _VIEWED, _REPLACED = "_rfa_one_channel", "_rfa_viewed", "_rfa_replaced"
"""Attributes of tensors: the channel that is repeated; whether others may share its memory; and
whether a function that writes into it made another tensor instead."""


def _repeated(one: torch.Tensor, dimension: int, count: int) -> torch.Tensor:
    """Return a tensor that repeats one channel without memory. To write to it is an error."""
    sizes = [-1] * one.dim()
    sizes[dimension] = count
    made = one.expand(sizes)
    setattr(made, _ONE, (dimension, one))
    return made


class Neutral(TorchFunctionMode):
    """Replaces functions while a model runs, whether a module calls them or ``forward`` itself.

    Args:
        parts: what is neutral.
        equal: the ``id`` of parameters whose numbers are all the same.
    """

    def __init__(self, parts: frozenset[Part], equal: Collection[int] = ()) -> None:
        super().__init__()
        self._identities = set()
        if "activations" in parts:
            self._identities |= _ACTIVATIONS
        if "norms" in parts:
            self._identities |= _NORMS
        self._average = "pooling" in parts
        self._equal = equal

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        described = describe_call(function)
        name = "" if described is None else described.name
        if name in self._identities:
            return args[0] if args else kwargs["input"]
        if self._average and not kwargs.get("return_indices", False):
            if name.startswith("max_pool"):
                function = _average_pool
                args, kwargs = (), bind(name, args, kwargs)
            elif name.startswith("adaptive_max_pool"):
                values = bind(name, args, kwargs)
                function = getattr(functional, name.replace("max", "avg"))
                args, kwargs = (values["input"], values["output_size"]), {}
        if not self._equal:
            return function(*args, **kwargs)
        given = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
        if any(hasattr(one, _REPLACED) for one in given):
            raise RuntimeError("A channel that stands for all of them was written to.")
        short = self._on_one_channel(name, function, args, kwargs)
        if short is not None:
            return short
        result = function(*args, **kwargs)
        made = result if isinstance(result, tuple | list) else [result]
        if any(isinstance(one, torch.Tensor) for one in made):
            for one in given:
                setattr(one, _VIEWED, True)
        return result

    def _on_one_channel(
        self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        """Return a result of which one channel was computed; None where all have to be."""
        if name in _CONVOLUTIONS:
            return self._convolved(name, function, bind(name, args, kwargs))
        if name == "linear":
            return self._dense(bind(name, args, kwargs))
        first = args[0] if args else kwargs.get("input")
        if not isinstance(first, torch.Tensor):
            return None
        if name in _ARITHMETIC:
            return _calculated(name, function, args, kwargs)
        known = one_channel(first)
        if known is None:
            return None
        dimension, one = known
        if name == "contiguous":
            return first
        if name == "view" and not isinstance(args[1], torch.dtype):
            return first.reshape(*args[1:])
        padded = name == "pad" and len(args) > 1 and len(args[1]) <= 2 * (first.dim() - 2)
        channelwise = (name in _ON_CHANNELS or padded) and dimension == 1 and first.dim() > 2
        others = sum(isinstance(other, torch.Tensor) for other in (*args, *kwargs.values())) > 1
        writes = _writes(function) or kwargs.get("inplace", False)
        if others or writes or not (channelwise or name in _ON_UNITS):
            return None
        if args:
            result = function(one, *args[1:], **kwargs)
        else:
            result = function(**{**kwargs, "input": one})
        if not isinstance(result, torch.Tensor):
            return None
        return _repeated(result, dimension, first.shape[dimension])

    def _convolved(self, name: str, function: Any, bound: dict[str, Any]) -> torch.Tensor | None:
        tensor, weight, bias = bound["input"], bound["weight"], bound.get("bias")
        groups = bound.get("groups", 1)
        if id(weight) not in self._equal or tensor.dim() != weight.dim():
            return None
        transposed = "transpose" in name
        made = weight.shape[1] * groups if transposed else weight.shape[0]
        known = one_channel(tensor)
        if known is not None and known[0] == 1:
            read = weight.shape[0] // groups if transposed else weight.shape[1]
            tensor = known[1] * read
        elif groups == 1:
            tensor = tensor.sum(1, keepdim=True)
        else:
            return None
        rest = {
            key: value
            for key, value in bound.items()
            if key not in {"input", "weight", "bias", "groups"}
        }
        first = None if bias is None else bias[:1]
        return _repeated(function(tensor, weight[:1, :1], first, **rest), 1, made)

    def _dense(self, bound: dict[str, Any]) -> torch.Tensor | None:
        tensor, weight, bias = bound["input"], bound["weight"], bound.get("bias")
        if id(weight) not in self._equal:
            return None
        last = tensor.dim() - 1
        known = one_channel(tensor)
        if known is not None and known[0] == last:
            total = known[1] * weight.shape[1]
        else:
            total = tensor.sum(-1, keepdim=True)
        first = None if bias is None else bias[:1]
        return _repeated(functional.linear(total, weight[:1, :1], first), last, weight.shape[0])


def _calculated(
    name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor | None:
    """Return a sum or product of which one channel was computed, if all operands have one."""
    written = getattr(function, "__name__", "")
    if written.startswith("__r"):
        args = args[::-1]
    tensors = [one for one in args if isinstance(one, torch.Tensor)]
    known = [found for one in tensors if (found := one_channel(one)) is not None]
    if not known or kwargs:
        return None
    calculate: Any = _ARITHMETIC[name]
    dimension = known[0][0]
    alike = len({one.dim() for one in tensors}) == 1
    if alike and [place for place, _ in known] == [dimension] * len(tensors):
        narrow = iter([one for _, one in known])
        operands = [next(narrow) if isinstance(one, torch.Tensor) else one for one in args]
        count = max(one.shape[dimension] for one in tensors)
        result = _repeated(calculate(*operands), dimension, count)
    elif one_channel(args[0]) is None or not _writes(function):
        return None
    else:
        result = calculate(*args)
    if _writes(function):
        if hasattr(args[0], _VIEWED):
            return None
        setattr(args[0], _REPLACED, True)
    return result


def _writes(function: Any) -> bool:
    """Return whether a function writes into its first argument, such as ``add_`` and ``+=``."""
    name = getattr(function, "__name__", "")
    return name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _average_pool(
    input: torch.Tensor,  # noqa: A002 - PyTorch's name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> torch.Tensor:
    """Return the mean where a maximum was asked for, over the same windows.

    Padding counts as zeros, and so do the units behind the end that ``ceil_mode`` reaches.
    """
    count = input.dim() - 2

    def per_axis(value: Any) -> list[int]:
        values = list(value) if isinstance(value, tuple | list) else [value]
        return values * count if len(values) == 1 else values

    kernel, gap = per_axis(kernel_size), per_axis(dilation)
    step = kernel if stride is None or stride == [] else per_axis(stride)
    before = per_axis(padding)
    behind = list(before)
    if ceil_mode:
        for axis in range(count):
            length = input.shape[2 + axis]
            span = gap[axis] * (kernel[axis] - 1) + 1
            steps = math.ceil((length + 2 * before[axis] - span) / step[axis])
            if steps * step[axis] >= length + before[axis]:
                steps -= 1  # a window that would begin behind the end is left out
            behind[axis] = max(0, steps * step[axis] + span - length - before[axis])
    sides = [side for pair in zip(reversed(before), reversed(behind), strict=True) for side in pair]
    channels = input.shape[1]
    weight = input.new_full((channels, 1, *kernel), 1 / math.prod(kernel))
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[count - 1]
    padded = functional.pad(input, sides)
    return convolve(padded, weight, stride=step, dilation=gap, groups=channels)


def make_weights_positive(model: nn.Module) -> None:
    """Give all weights of a layer one positive value, and biases zero.

    The value lets a long chain of layers neither vanish at the rim of the field nor explode in its
    middle: the sum over channels is 1, and that over a window the root of its size.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not weight.is_floating_point():
                continue
            if weight.dim() >= 2:
                inputs = max(1, weight.shape[1])
                weight.fill_(1 / (inputs * math.sqrt(max(1, math.prod(weight.shape[2:])))))
            else:
                weight.fill_(0.0 if name.rpartition(".")[2].endswith("bias") else 1.0)
        for module in model.modules():
            for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
                statistics = getattr(module, name, None)
                if isinstance(statistics, torch.Tensor):
                    statistics.fill_(value)
