"""Results of frequent functions on meta tensors, without the detour that PyTorch takes to them.

A tensor on the meta device is a shape and a type. For many functions PyTorch finds these out by
long ways through Python, which would take most of the time of a capture. The rules here say the
same, or nothing: whatever is unusual, or wrong with the arguments, is left to PyTorch.

Usual is a tensor of fractions that lies in memory in the plain order. Of such tensors PyTorch makes
results in the plain order too, so that no rule has to know how it chooses another one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn import functional

__all__ = ["empty_like", "known_result"]

Result: TypeAlias = "torch.Tensor | tuple[torch.Tensor, ...] | None"
Rule: TypeAlias = "Callable[..., Result]"
"""From the arguments of a function, called as it calls them, to its result or None."""


def known_result(function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Result:
    """Return the result of a call on the meta device; None where no rule knows it.

    >>> image = torch.empty(1, 3, 32, 32, device="meta")
    >>> weight = torch.empty(8, 3, 3, 3, device="meta")
    >>> with torch.no_grad():
    ...     made = known_result(torch.conv2d, (image, weight, None, 2, 1), {})
    >>> made.shape
    torch.Size([1, 8, 16, 16])
    """
    rule = _RULES.get(function)
    if rule is None or (torch.is_grad_enabled() and rule is not _signal_of):
        return None
    try:
        return rule(*args, **keywords)
    except TypeError:  # arguments that the function does not take, or that a rule does not know
        return None


_LARGEST = 2**63
"""Whole numbers that PyTorch cannot hold."""
_META = torch.device("meta")


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the meta device of the shape, the type and the order of another one.

    >>> empty_like(torch.ones(2, 3)).shape
    torch.Size([2, 3])
    """
    if _is_plain(tensor):
        return _made(tensor.shape, tensor)
    return torch.empty_like(tensor, device=_META)


# --- what is usual ---------------------------------------------------------------------------


def _is_plain(tensor: Any) -> bool:
    """Whether a tensor of some numbers lies in the plain order, as ``torch.empty`` makes them."""
    kind = type(tensor)
    if kind is not torch.Tensor and kind is not nn.Parameter:
        return False
    return (
        tensor.layout is torch.strided
        and tensor.stride() == _plain_strides(tensor.shape)
        and 0 not in tensor.shape
        and not tensor.is_quantized
    )


@functools.lru_cache(maxsize=1024)
def _plain_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    strides.reverse()
    return tuple(strides)


def _is_usual(tensor: Any) -> bool:
    """Whether a tensor in the plain order has no values, and would have fractions."""
    return _is_plain(tensor) and tensor.is_meta and tensor.is_floating_point()


def _has_fractions(tensor: torch.Tensor) -> bool:
    return tensor.is_meta and tensor.is_floating_point()


def _is_strided(tensor: Any) -> bool:
    """Whether a tensor without values would have fractions, wherever they lie in memory."""
    return (
        type(tensor) is torch.Tensor
        and _has_fractions(tensor)
        and tensor.layout is torch.strided
        and tensor.numel() > 0
    )


def _goes_by_rows(tensor: Any) -> bool:
    """Whether a tensor would be a usual one, but for gaps in memory, as a part of a map has."""
    if not _is_strided(tensor):
        return False
    strides = tensor.stride()
    return all(one > other for one, other in itertools.pairwise((*strides, 0)))


def _strides_behind(tensor: Any) -> tuple[int, ...] | None:
    """Return the strides of what is made of every number of a tensor; None if it is not known.

    Results have no gaps, and keep the order of dimensions in memory.
    """
    if not _is_strided(tensor):
        return None
    strides, shape = tensor.stride(), tensor.shape
    order = sorted(range(len(shape)), key=lambda place: -strides[place])
    # Equal strides, which a dimension of one unit may have, do not tell which comes first.
    if len(set(strides)) < len(strides) or 0 in strides:
        return None
    if any(shape[place] == 1 and order[place] != place for place in range(len(shape))):
        return None  # PyTorch leaves it to others where a dimension of one unit is
    dense = dict(zip(order, _plain_strides(tuple(shape[place] for place in order)), strict=True))
    found = tuple(dense[place] for place in range(len(shape)))
    reach = sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) + 1
    return found if found == strides or reach > tensor.numel() else None


def _same(tensor: Any) -> torch.Tensor | None:
    """Return a tensor of the shape, type and order of another one, if these are usual."""
    if _is_usual(tensor):
        return _made(tensor.shape, tensor)
    strides = _strides_behind(tensor)
    if strides is None:
        return None
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=_META)


def _fits(tensor: Any, like: torch.Tensor, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is left out, or is a usual one of a shape and of the type of another one."""
    return tensor is None or (
        _is_usual(tensor) and tensor.dtype is like.dtype and tensor.shape == shape
    )


def _made(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the plain order, of a type; PyTorch is faster if it is told the order."""
    return torch.empty_strided(shape, _plain_strides(shape), dtype=like.dtype, device=_META)


# --- rules -----------------------------------------------------------------------------------


def _conv2d(
    input: torch.Tensor,  # noqa: A002 - PyTorch's names
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor | None:
    if not _is_usual(weight) or weight.dim() != 4 or input.dim() != 4:
        return None
    if not (_is_usual(input) or _goes_by_rows(input)):
        return None
    batch, channels, *sizes = input.shape
    made, read, *kernel = weight.shape
    if (
        input.dtype is not weight.dtype
        or batch < 1
        or groups < 1
        or made < 1
        or channels != read * groups
        or made % groups
        or not _fits(bias, input, (made,))
    ):
        return None
    left = tuple(map(_slid, sizes, kernel, _pair(stride), _pair(padding), _pair(dilation)))
    return _made((batch, made, *left), input) if all(left) else None


def _max_pool2d(
    input: torch.Tensor,  # noqa: A002
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    return_indices: bool = False,
) -> torch.Tensor | None:
    if type(ceil_mode) is not bool or return_indices or not _is_usual(input) or input.dim() != 4:
        return None
    kernel, pads, steps = _pair(kernel_size), _pair(padding), _pair(dilation)
    jumps = kernel if stride is None or stride == [] else _pair(stride)
    if any(2 * pad > taps for pad, taps in zip(pads, kernel, strict=True)):
        return None
    left = tuple(map(_slid, input.shape[2:], kernel, jumps, pads, steps, (ceil_mode, ceil_mode)))
    return _made((*input.shape[:2], *left), input) if all(left) else None


def _slid(size: int, taps: int, jump: int, pad: int, step: int, beyond: bool = False) -> int:
    """Return the size of a map behind a window along one axis; 0 where nothing is left of it.

    The last window may go ``beyond`` the end, but not begin there.
    """
    if min(size, taps, jump, step) < 1 or pad < 0:
        return 0
    room = size + 2 * pad - step * (taps - 1) - 1
    if not beyond:
        return max(0, room // jump + 1)
    made = -(-room // jump) + 1
    return max(0, made - ((made - 1) * jump >= size + pad))


def _pair(value: Any) -> tuple[int, int]:
    """Return an argument per axis.

    Raises:
        TypeError: if it is not given as one whole number, or one per axis.
    """
    pair = (value, value) if type(value) is int else tuple(value)
    if len(pair) != 2 or type(pair[0]) is not int or type(pair[1]) is not int:
        raise TypeError
    return pair


def _linear(
    input: torch.Tensor,  # noqa: A002
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor | None:
    if not _is_usual(input) or not input.dim() or not weight.dim():
        return None
    made = weight.shape[0]
    if not _fits(weight, input, (made, input.shape[-1])) or not _fits(bias, input, (made,)):
        return None
    return _made((*input.shape[:-1], made), input)


def _batch_norm(
    input: torch.Tensor,  # noqa: A002
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor | None:
    channels = input.shape[1:2]
    known = (running_mean, running_var, weight, bias)
    if not channels or any(one is not None and one.shape != channels for one in known):
        return None
    if not training and (running_mean is None or running_var is None):
        return None
    if training and input.numel() <= channels[0]:
        return None
    return _same(input)


def _layer_norm(
    input: torch.Tensor,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    eps: float = 1e-5,
) -> torch.Tensor | None:
    normal = tuple(normalized_shape)
    if (
        not normal
        or input.shape[-len(normal) :] != normal
        or not _fits(weight, input, normal)
        or not _fits(bias, input, normal)
    ):
        return None
    # What is in another order is put into the plain one first.
    known = _is_usual(input) or (_has_fractions(input) and not input.is_contiguous())
    return _made(input.shape, input) if known else None


def _number_by_number(input: torch.Tensor) -> torch.Tensor | None:  # noqa: A002
    return _same(input)


def _gelu(input: torch.Tensor, approximate: str = "none") -> torch.Tensor | None:  # noqa: A002
    return _same(input) if approximate in ("none", "tanh") else None


def _activation(input: torch.Tensor, inplace: bool = False) -> torch.Tensor | None:  # noqa: A002
    """A function that can also overwrite what it is given."""
    if not inplace or not _is_usual(input):
        return None if inplace else _same(input)
    return input.zero_()  # no values are changed on meta; that something was written is


def _hardtanh(
    input: torch.Tensor,  # noqa: A002
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,
) -> torch.Tensor | None:
    return _activation(input, inplace) if min_val <= max_val else None


def _arithmetic(input: Any, other: Any) -> torch.Tensor | None:  # noqa: A002
    """A map and a number; or two maps, spread over each other where they are of one size."""
    if _is_number(other):
        return _same(input)
    if not isinstance(other, torch.Tensor) or input.dtype is not other.dtype:
        return None
    if input.shape == other.shape:
        return _same(input) if input.stride() == other.stride() else None
    large, small = (input, other) if input.numel() > other.numel() else (other, input)
    if not _is_usual(small):
        return None
    if _is_spread(small.shape, large):
        return _same(large)
    shape = _spread_over(small.shape, large.shape) if _is_usual(large) else None
    return None if shape is None else _made(shape, large)


def _arithmetic_in_place(input: torch.Tensor, other: Any) -> torch.Tensor | None:  # noqa: A002
    """The same, written over the first of them."""
    if not _is_usual(input):
        return None
    if not _is_number(other):
        fits = _is_usual(other) and other.dtype is input.dtype
        if not fits or _spread_over(other.shape, input.shape) != tuple(input.shape):
            return None
    return input.zero_()


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < _LARGEST)


def _spread_over(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...] | None:
    """Return the shape of what two tensors make that are spread over each other."""
    shape = []
    for a, b in itertools.zip_longest(reversed(one), reversed(other), fillvalue=1):
        if a != b and 1 not in (a, b):
            return None
        shape.append(max(a, b))
    return tuple(reversed(shape))


def _comparison(input: Any, other: Any) -> torch.Tensor | None:  # noqa: A002
    if not _is_usual(input) or not _is_number(other):
        return None
    return torch.empty(input.shape, dtype=torch.bool, device=_META)


def _masked_fill(
    input: torch.Tensor,  # noqa: A002
    mask: torch.Tensor,
    value: Any,
) -> torch.Tensor | None:
    if not _is_usual(input) or not _is_number(value) or not isinstance(mask, torch.Tensor):
        return None
    plain = _is_plain(mask) and mask.is_meta and mask.dtype is torch.bool
    return _made(input.shape, input) if plain and mask.shape == input.shape else None


def _matmul(input: torch.Tensor, other: torch.Tensor) -> torch.Tensor | None:  # noqa: A002
    """Matrices in several dimensions of the same sizes: one product for each of them."""
    if not _is_strided(input) or not _is_strided(other) or input.dtype is not other.dtype:
        return None
    (*several, rows, summed), shape = input.shape, other.shape
    if not several or other.dim() != input.dim() or shape[:-1] != (*several, summed):
        return None
    return _made((*several, rows, shape[-1]), input)


def _normalize(
    input: torch.Tensor,  # noqa: A002
    p: float = 2.0,
    dim: Any = 1,
    eps: float = 1e-12,
    out: torch.Tensor | None = None,
) -> torch.Tensor | None:
    known = out is None and type(p) is float and p >= 1 and _is_place(dim, input)
    return _same(input) if known else None


def _softmax(
    input: torch.Tensor,  # noqa: A002
    dim: Any = None,
    _stacklevel: int = 3,
    dtype: Any = None,
) -> torch.Tensor | None:
    known = _is_usual(input) and dtype is None and _is_place(dim, input)
    return _made(input.shape, input) if known else None


def _is_place(dim: Any, tensor: torch.Tensor) -> bool:
    return type(dim) is int and -tensor.dim() <= dim < tensor.dim()


def _looked_up(table: torch.Tensor, index: Any) -> torch.Tensor | None:
    """Rows of a table, at places that another tensor holds."""
    if not isinstance(index, torch.Tensor) or not _is_plain(index) or not _is_usual(table):
        return None
    if index.dtype is not torch.int64 or not index.dim() or not table.dim():
        return None
    return _made((*index.shape, *table.shape[1:]), table)


def _is_spread(small: Sequence[int], large: torch.Tensor) -> bool:
    """Whether a tensor of one shape is spread over another one, and leaves it its order."""
    pairs = list(zip(reversed(small), reversed(large.shape), strict=False))
    several = [one for one, _ in pairs if one > 1]
    fits = len(small) <= large.dim() and all(one in (1, size) for one, size in pairs)
    return fits and (len(several) < 2 or _is_usual(large))


def _cat(tensors: Sequence[Any], dim: int = 0) -> torch.Tensor | None:
    if not tensors or not isinstance(tensors[0], torch.Tensor) or not _is_place(dim, tensors[0]):
        return None
    first: torch.Tensor = tensors[0]
    shape = list(first.shape)
    shape[dim] = 0
    for one in tensors:
        size = one.shape[dim] if one.dim() == first.dim() else 0
        fitting = (*first.shape[:dim], size, *first.shape[dim:][1:])
        if not (_is_usual(one) or _goes_by_rows(one)):
            return None
        if one.dtype is not first.dtype or one.shape != fitting:
            return None
        shape[dim] += size
    return _made(tuple(shape), first)


def _adaptive_avg_pool2d(
    input: torch.Tensor,  # noqa: A002
    output_size: Any,
) -> torch.Tensor | None:
    sizes = _pair(output_size)
    if not _is_usual(input) or input.dim() != 4 or min(sizes) < 1:
        return None
    return _made((*input.shape[:2], *sizes), input)


def _roll(input: torch.Tensor, shifts: Any, dims: Any = None) -> torch.Tensor | None:  # noqa: A002
    places = (dims,) if type(dims) is int else tuple(dims or ())
    steps = (shifts,) if type(shifts) is int else tuple(shifts)
    if not places or len(places) != len(steps) or not _is_usual(input):
        return None
    known = all(type(one) is int for one in (*places, *steps))
    inside = known and all(-input.dim() <= one < input.dim() for one in places)
    return _made(input.shape, input) if inside else None


def _signal_of(
    spectra: torch.Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: torch.Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> torch.Tensor:
    """Return what ``torch.istft`` does, as far as its shape and type go.

    PyTorch cannot tell on the meta device: it looks at the values of the window.
    """
    samples = n_fft + (n_fft // 4 if hop_length is None else hop_length) * (spectra.shape[-1] - 1)
    size = (samples - 2 * (n_fft // 2) if center else samples) if length is None else length
    dtype = spectra.dtype if return_complex else spectra.real.dtype
    return spectra.new_empty((*spectra.shape[:-2], size), dtype=dtype)


def _recurrent(
    tensor: torch.Tensor,
    state: Any,
    weights: Sequence[torch.Tensor],
    _biased: bool,
    _layers: int,
    _dropout: float,
    _training: bool,
    both_ways: bool,
    batch_first: bool,
) -> Result:
    """PyTorch goes through a sequence step by step, also where there is nothing to compute."""
    states = (state,) if isinstance(state, torch.Tensor) else tuple(state)
    if not all(map(_has_fractions, (tensor, *states, *weights))) or tensor.dim() != 3:
        return None
    batch, length = tensor.shape[:2] if batch_first else reversed(tensor.shape[:2])
    fits = all(one.dim() == 3 and one.shape[1] == batch for one in states)
    if not fits or tensor.shape[2] != weights[0].shape[1] or not length:
        return None
    made = tensor.new_empty((length, batch, states[0].shape[2] * (1 + both_ways)))
    ends = (tensor.new_empty(one.shape) for one in states)
    return (made.transpose(0, 1) if batch_first else made, *ends)


_RULES: Mapping[Any, Rule] = {
    torch.conv2d: _conv2d,
    functional.linear: _linear,
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
    functional.gelu: _gelu,
    functional.hardtanh: _hardtanh,
    **dict.fromkeys(
        (
            *(functional.relu, functional.relu6, functional.silu, functional.mish),
            *(functional.hardswish, functional.hardsigmoid),
        ),
        _activation,
    ),
    **dict.fromkeys(
        (torch.relu, torch.sigmoid, torch.Tensor.relu, torch.Tensor.sigmoid), _number_by_number
    ),
    **dict.fromkeys(
        (
            *(torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__),
            *(torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__),
            *(torch.sub, torch.Tensor.sub, torch.Tensor.__sub__),
            *(torch.div, torch.Tensor.div, torch.Tensor.__truediv__),
        ),
        _arithmetic,
    ),
    **dict.fromkeys(
        (
            *(torch.Tensor.add_, torch.Tensor.__iadd__, torch.Tensor.mul_, torch.Tensor.__imul__),
            *(torch.Tensor.sub_, torch.Tensor.__isub__),
        ),
        _arithmetic_in_place,
    ),
    **dict.fromkeys(
        (
            *(torch.eq, torch.Tensor.eq, torch.Tensor.__eq__),
            *(torch.ne, torch.Tensor.ne, torch.Tensor.__ne__),
        ),
        _comparison,
    ),
    **dict.fromkeys((torch.masked_fill, torch.Tensor.masked_fill), _masked_fill),
    **dict.fromkeys((torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__), _matmul),
    torch.Tensor.__getitem__: _looked_up,
    functional.normalize: _normalize,
    functional.softmax: _softmax,
    torch.max_pool2d: _max_pool2d,
    functional.max_pool2d: _max_pool2d,
    torch.cat: _cat,
    torch.roll: _roll,
    functional.adaptive_avg_pool2d: _adaptive_avg_pool2d,
    **dict.fromkeys((torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu), _recurrent),
    torch.istft: _signal_of,
    torch.Tensor.istft: _signal_of,
}
"""By functions, not by names: which one is called says how, and whether it writes in place."""
