"""How functions of PyTorch are called on poisoned tensors.

Everything that has a geometry (convolutions, poolings, interpolation, attention, reshaping) is
done by PyTorch's own kernels with the arguments of the model. What is changed:

* norms keep NaN where it is, as statistics over positions are neutral; where global operations
  count, norms run as they are;
* at the product of a gate, a weight that is the same at all positions passes none of its NaN
  to the map. Which products are gates is a definition, and taken from the encoder;
* functions that would hide NaN, such as ``sign``, pass it on;
* it depends on the numbers where unpooling puts a maximum: it goes to all places that it could;
* where numbers say where to look, as the offsets of deformable convolutions do, kernels would read
  memory at the place NaN: they get zero, and what depends on the numbers is NaN;
* as a shortcut, all channels that are NaN together are one number in memory. A convolution
  with weights reads every channel of its group, so its channels are NaN together; it is given
  their sum, in which NaN stays NaN, and one weight in place of many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional

from rfa_toolbox.encodings.pytorch.capture import expanded
from rfa_toolbox.encodings.pytorch.intermediate_graph import GlobalOps
from rfa_toolbox.encodings.pytorch.signatures import bind
from rfa_toolbox.operators.rules.common import per_axis

__all__ = [
    "NORMS",
    "PoisonedCalls",
    "narrowed",
    "repeated_dimensions",
    "takes_statistics",
    "wide_dimensions",
]

_CONVOLUTIONS = {f"conv{kind}{count}d" for kind in ("", "_transpose") for count in "123"}
_POOLS = {
    f"{adaptive}{kind}_pool{count}d"
    for adaptive in ("", "adaptive_")
    for kind in ("max", "avg")
    for count in "123"
} | {"interpolate"}
NORMS = {
    *("batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm", "normalize"),
    *("local_response_norm", "native_layer_norm", "native_batch_norm"),
}
_ARITHMETIC = {"add", "sub", "mul", "div"}
_ELEMENTWISE = {
    *_ARITHMETIC,
    *("abs", "celu", "clamp", "clamp_max", "clamp_min", "cos", "elu", "erf", "exp", "gelu"),
    *("hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "log_sigmoid", "mish"),
    *("maximum", "minimum", "neg", "pow", "reciprocal", "relu", "relu6", "rsqrt", "selu"),
    *("sigmoid", "silu", "sin", "softplus", "softsign", "sqrt", "square", "tanh", "to", "type"),
    *("float", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"),
}
_AS_FUNCTIONS = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
_LOSING = {"sign", "nan_to_num", "heaviside"}
_PLACES = {"deform_conv2d": 2, "roi_align": 1, "roi_pool": 1, "ps_roi_align": 1, "ps_roi_pool": 1}
"""Operators that are told where to look, and which argument tells them."""
_UNWRITTEN = {"empty_like", "new_empty", "new_empty_strided"}
_FINITE = 0.5
"""Stands for any number that is not NaN."""


def wide_dimensions(tensor: torch.Tensor) -> list[int]:
    """Return the dimensions of a tensor along which all indices are one number in memory.

    >>> wide_dimensions(torch.zeros(2, 1, 4).expand(2, 3, 4))
    [1]
    """
    return list(expanded(tensor.shape, tensor.stride()))


def _widened(tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return a tensor that is repeated to a shape without memory, and is no view of another."""
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    strides = [
        0 if size != wanted else stride
        for size, wanted, stride in zip(tensor.shape, shape, tensor.stride(), strict=True)
    ]
    made = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return made.set_(tensor.untyped_storage(), tensor.storage_offset(), tuple(shape), strides)


def narrowed(tensor: torch.Tensor, dimensions: Sequence[int]) -> torch.Tensor:
    """Return the first index of some dimensions of a tensor."""
    for place in dimensions:
        tensor = tensor.narrow(place, 0, 1)
    return tensor


def _made_dense(tensor: torch.Tensor) -> None:
    """Give every index of a tensor a number of its own, as it is about to be written to."""
    dense = tensor.contiguous()
    tensor.set_(dense.untyped_storage(), 0, dense.shape, dense.stride())


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    """Return a new tensor that is NaN where this one is."""
    wide = wide_dimensions(tensor)
    return _widened(narrowed(tensor, wide) * 0 + _FINITE, tensor.shape)


def _unpooled(
    name: str, function: Any, args: Sequence[Any], keywords: Mapping[str, Any]
) -> torch.Tensor:
    """Return maxima at all places in their windows, whichever of these they came from."""
    bound = bind(name, args, keywords)
    tensor, indices = bound["input"], bound["indices"]
    # Only the shape is asked for: indices need not fit where NaN was the maximum.
    first = torch.zeros_like(indices)
    shape = function(
        *(first if one is indices else one for one in args),
        **{key: first if one is indices else one for key, one in keywords.items()},
    ).shape
    axes = int(name[-2])
    place = len(shape) - axes - 1
    kernel = per_axis(bound["kernel_size"], axes)
    stride = bound.get("stride")
    stride = kernel if stride is None or stride in ([], ()) else per_axis(stride, axes)
    if place in wide_dimensions(tensor):
        tensor = tensor.narrow(place, 0, 1)
    ones = torch.ones(tensor.shape[place], 1, *kernel, dtype=tensor.dtype, device=tensor.device)
    spread = getattr(functional, f"conv_transpose{axes}d")
    padding = per_axis(bound.get("padding", 0), axes)
    everywhere = spread(tensor, ones, None, stride, padding, groups=len(ones))
    # A size that was asked for can be another one than that which follows from the windows.
    missing = (shape[one] - everywhere.shape[one] for one in range(len(shape) - 1, place, -1))
    sides = [side for more in missing for side in (0, more)]
    everywhere = functional.pad(everywhere, sides, value=_FINITE)
    return _widened(everywhere, shape)


def _looked_up(
    function: Any, args: tuple[Any, ...], place: int, keywords: Mapping[str, Any]
) -> Any:
    """Return what an operator finds, NaN where it was told by NaN where to look."""
    told = args[place]
    known = told.nan_to_num(0.0, 0.0, 0.0)
    result = function(*args[:place], known, *args[place + 1 :], **keywords)
    lost = told.isnan().any(1, keepdim=True)  # channels of an offset, or numbers of a box

    def marked(values: torch.Tensor) -> torch.Tensor:
        if not values.is_floating_point():
            return values
        flags = lost.reshape(*lost.shape, *(1,) * (values.dim() - lost.dim()))
        return torch.where(flags, math.nan, values)

    return marked(result) if isinstance(result, torch.Tensor) else tuple(map(marked, result))


class PoisonedCalls:
    """The part of a recorder that calls functions so that NaN goes where they look."""

    global_ops: GlobalOps
    shortcuts: bool
    batch: int
    knows: Callable[[torch.Tensor], bool]

    def call(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Call a function on something that the input reaches."""
        if name in NORMS:
            bound = bind(name, args, keywords)
            tensor: torch.Tensor = bound["input"] if "input" in bound else args[0]
            frozen = not takes_statistics(name, args, keywords)
            as_it_is = not self.shortcuts if frozen else self.global_ops == "count"
            if not as_it_is:
                return _kept(tensor)
        if self.global_ops == "ignore_gates" and self.makes_gate():
            args = self._without_gates(args)
        if name.startswith("max_unpool"):
            return _unpooled(name, function, args, keywords)
        place = _PLACES.get(name.rpartition("::")[2])  # behind the library that it is from
        if place is not None and len(args) > place:
            return _looked_up(function, args, place, keywords)
        if self.shortcuts:
            short = self._in_short(name, function, args, keywords)
            if short is not None:
                return short
        result = function(*args, **keywords)
        if name in _UNWRITTEN:
            return result.zero_()  # there may be NaN from earlier passes in that memory
        if name in _LOSING and isinstance(result, torch.Tensor):
            result = torch.where(args[0].isnan(), math.nan, result)
        return result

    def makes_gate(self) -> bool:
        """Return whether the function that is called now makes the product of a gate."""
        raise NotImplementedError

    # -- shortcuts

    def _in_short(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> torch.Tensor | None:
        """Return the result of a call in less time; None where there is no way."""
        if name in _CONVOLUTIONS:
            return self._convolved(function, bind(name, args, keywords))
        if name == "linear":
            return self._dense(bind(name, args, keywords))
        first = args[0] if args else None
        if not isinstance(first, torch.Tensor):
            return None
        wide = wide_dimensions(first)
        if name == "contiguous" and wide:
            return first
        if name == "view" and wide and not isinstance(args[1], torch.dtype):
            return first.reshape(*args[1:])
        if name in _POOLS and 1 in wide and len(args) > 0:
            result = function(first.narrow(1, 0, 1), *args[1:], **keywords)
            if isinstance(result, torch.Tensor):
                return _widened(result, (first.shape[0], first.shape[1], *result.shape[2:]))
            return None
        if name in _ELEMENTWISE:
            return self._elementwise(name, function, args, keywords)
        if _writes(function) and wide:
            _made_dense(first)
        return None

    def _dense(self, bound: dict[str, Any]) -> torch.Tensor | None:
        tensor, weight = bound["input"], bound["weight"]
        if self.knows(weight):
            return None
        last = tensor.dim() - 1
        if last in wide_dimensions(tensor):
            tensor = tensor.narrow(last, 0, 1)
        total = tensor.sum(-1, keepdim=True) * 0 + _FINITE
        return _widened(total, (*total.shape[:-1], weight.shape[0]))

    def _convolved(self, function: Any, bound: dict[str, Any]) -> torch.Tensor | None:
        """Convolve the sum of each group's channels, with weights of 0, which keep NaN."""
        tensor, weight = bound["input"], bound["weight"]
        axes = weight.dim() - 2
        if self.knows(weight) or tensor.dim() != axes + 2:
            return None
        groups = bound.get("groups", 1)
        transposed = "transpose" in function.__name__
        made = weight.shape[1] * groups if transposed else weight.shape[0]
        if 1 in wide_dimensions(tensor):
            tensor, groups = tensor.narrow(1, 0, 1), 1
        elif tensor.shape[1] > groups:
            parts = tensor.reshape(tensor.shape[0], groups, -1, *tensor.shape[2:])
            tensor = parts.sum(2)
        rest = {
            key: value
            for key, value in bound.items()
            if key not in {"input", "weight", "bias", "groups"}
        }
        zeros = torch.zeros(groups, 1, *weight.shape[2:], dtype=tensor.dtype, device=tensor.device)
        result = function(tensor, zeros, None, groups=groups, **rest) + _FINITE
        if groups in {1, made}:
            return _widened(result, (result.shape[0], made, *result.shape[2:]))
        wide: torch.Tensor = result.unsqueeze(2).expand(-1, -1, made // groups, *(-1,) * axes)
        return wide.reshape(result.shape[0], made, *result.shape[2:])

    def _elementwise(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> torch.Tensor | None:
        """Work on one of the indices of dimensions that are wide in all operands."""
        tensors = [one for one in args if isinstance(one, torch.Tensor)]
        if any(isinstance(one, torch.Tensor) for one in keywords.values()):
            return None
        if name in {"to", "type"} and (len(tensors) > 1 or len(args) + len(keywords) < 2):
            return None  # another tensor says a type, whatever its shape; alone, it is asked for
        known = [one for one in tensors if self.knows(one)]
        shape = np.broadcast_shapes(*(tuple(one.shape) for one in tensors))
        if name in _ARITHMETIC and len(known) == 1 and tuple(known[0].shape) == tuple(shape):
            # The other one is a constant of the model, and its value does not matter.
            args = tuple(
                torch.full((), _FINITE, dtype=known[0].dtype, device=known[0].device)
                if isinstance(one, torch.Tensor) and one is not known[0]
                else one
                for one in args
            )
            tensors = known
        rank = len(shape)
        common = [
            place
            for place in range(rank)
            if shape[place] > 1
            and all(
                place < rank - one.dim()
                or one.shape[place - rank] == 1
                or one.stride()[place - rank] == 0
                for one in tensors
            )
        ]
        first = args[0]
        writes = _writes(function)
        if not isinstance(first, torch.Tensor):  # the method of a constant that is a number now
            function = _AS_FUNCTIONS[name]
        if not common:
            if writes and wide_dimensions(first):
                _made_dense(first)
            return cast("torch.Tensor", function(*args, **keywords))
        narrow = [
            narrowed(
                one,
                [
                    place - rank + one.dim()
                    for place in common
                    if place >= rank - one.dim() and one.shape[place - rank] > 1
                ],
            )
            if isinstance(one, torch.Tensor)
            else one
            for one in args
        ]
        if writes:
            rest = [place for place in wide_dimensions(first) if place not in common]
            if rest:
                return None
            function(*narrow, **keywords)
            return cast("torch.Tensor", first)
        result = function(*narrow, **keywords)
        return _widened(result, shape)

    # -- gates

    def _without_gates(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the NaN out of weights that are the same at all positions of the map beside them.

        What such a weight has seen, it has seen for all positions at once.
        """
        if len(args) < 2 or not all(
            isinstance(one, torch.Tensor) and one.is_floating_point() and self.knows(one)
            for one in args[:2]
        ):
            return args
        one, two = args[:2]
        return (_opened(one, two, self.batch), _opened(two, one, self.batch), *args[2:])


def _writes(function: Any) -> bool:
    """Return whether a function changes its first argument."""
    name = getattr(function, "__name__", "")
    return (
        (name.endswith("_") and not name.endswith("__"))
        or (name.startswith("__i") and name not in {"__invert__", "__index__", "__int__"})
        or name == "__setitem__"
    )


def takes_statistics(name: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    """Return whether a norm takes statistics of what it is given, and has none of its own."""
    return bind(name, args, keywords).get("running_mean") is None


def repeated_dimensions(weight: torch.Tensor, other: torch.Tensor) -> list[int]:
    """Return the dimensions of a tensor along which one that it is multiplied with is the same.

    >>> repeated_dimensions(torch.zeros(1, 3, 1), torch.zeros(1, 3, 8))
    [2]
    """
    rank = other.dim()
    ahead = rank - weight.dim()
    if ahead < 0 or not weight.dim():
        return []
    return [
        place
        for place in range(1, rank)
        if other.shape[place] > 1
        and other.stride()[place] != 0
        and (place < ahead or weight.shape[place - rank] == 1 or weight.stride()[place - rank] == 0)
    ]


def _opened(weight: torch.Tensor, other: torch.Tensor, batch: int) -> torch.Tensor:
    """Return a weight, without NaN for those images in which it is a gate and has seen NaN."""
    repeated = repeated_dimensions(weight, other)
    if not repeated or weight.shape[0] % batch:
        return weight
    small = narrowed(weight, wide_dimensions(weight))
    poisoned = small.isnan().reshape(batch, -1).all(-1)
    if not poisoned.any():
        return weight
    map_ = narrowed(other, wide_dimensions(other)).isnan()
    if not any((map_.any(place) != map_.all(place)).any() for place in repeated):
        return weight
    flags = poisoned.repeat_interleave(small.shape[0] // batch)
    clean = torch.where(flags.reshape(-1, *(1,) * (small.dim() - 1)), _FINITE, small)
    return _widened(clean, weight.shape)
