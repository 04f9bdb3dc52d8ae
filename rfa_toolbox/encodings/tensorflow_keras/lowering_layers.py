"""How each kind of layer of Keras is lowered; one function per family, by exact class names."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import attrs

from rfa_toolbox.encodings.tensorflow_keras.lowering import (
    Call,
    mask_of,
    operand_of,
    per_axis,
    whole_numbers,
    words,
)
from rfa_toolbox.operators.record import Numbers, TensorRef

__all__ = [
    "FAMILIES",
    "LAYERS",
    "MASKED_KERNEL",
    "Lower",
    "Lowered",
    "Map",
    "adaptive",
    "broadcast",
    "channels_first",
    "concatenated",
    "convolution",
    "einsum",
    "interpolation_of",
    "map_of",
    "merged",
    "on_map",
    "place_of",
    "pooled",
    "resized",
    "slid",
    "slid_over",
    "softmaxed",
    "with_missing",
]

Lowered: TypeAlias = "TensorRef | list[TensorRef]"
Lower: TypeAlias = "Callable[[Call], Lowered]"
_Made = TypeVar("_Made", bound=Lowered)


# --- where the channels are ------------------------------------------------------------------


def channels_first(call: Call) -> bool:
    """Return whether the channels lie in front of the spatial dimensions.

    Raises:
        ValueError: if the data format is none of Keras or TensorFlow.
    """
    name = call.get("data_format", default="channels_last")
    if name in ("channels_first", "NCHW", "NCW", "NCDHW"):
        return True
    if name in ("channels_last", "default", "NHWC", "NWC", "NDHWC"):
        return False
    raise ValueError(f"data_format is {name!r}; expected is 'channels_last' or 'channels_first'")


def count_of(call: Call, *names: str) -> int:
    """Return over how many dimensions a layer slides: by its class name, or by an argument.

    All but batch and channels, if it has no such argument.
    """
    for number in (1, 2, 3):
        if f"{number}D" in call.kind:
            return number
    size = call.get(*names)
    return len(size) if isinstance(size, list | tuple) else 1 if names else len(call.x.shape) - 2


@attrs.frozen
class Map:
    """A tensor with its channels in front of its spatial dimensions, and the way back."""

    call: Call
    tensor: TensorRef
    count: int
    first: bool

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.tensor.shape)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.tensor.shape[self.rank - self.count - 1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the spatial dimensions."""
        return self.tensor.shape[self.rank - self.count :]

    def shape(self, channels: int, sizes: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of a map with other channels and sizes."""
        return (*self.tensor.shape[: self.rank - self.count - 1], channels, *sizes)

    def emit(self, name: str, channels: int, sizes: Sequence[int], **more: Any) -> TensorRef:
        """Add an operation on this map; return what it makes, as :meth:`back` does."""
        shape = self.shape(channels, sizes)
        return self.back(self.call.emit(name, shape, input=self.tensor, **more))

    def back(self, tensor: TensorRef) -> TensorRef:
        """Return a tensor with its channels where the layer has them."""
        if self.first:
            return tensor
        rank = len(tensor.shape)
        lead = rank - self.count - 1
        return self.call.permuted(tensor, (*range(lead), *range(lead + 1, rank), lead))


def map_of(call: Call, count: int, tensor: TensorRef | None = None) -> Map | None:
    """Return the map that a layer slides over; None if its tensor has too few dimensions."""
    tensor = call.x if tensor is None else tensor
    rank = len(tensor.shape)
    if count < 1 or rank < count + 2:
        return None
    first = channels_first(call)
    lead = rank - count - 1
    if not first:
        tensor = call.permuted(tensor, (*range(lead), rank - 1, *range(lead, rank - 1)))
    return Map(call, tensor, count, first)


def _too_few(call: Call) -> TensorRef:
    return call.unknown(
        f"{call.kind} reads a tensor of shape {call.x.shape!r}, with too few dimensions, and "
        "counts as neutral"
    )


def on_map(
    *names: str, count: int = 0
) -> Callable[[Callable[[Call, Map], _Made]], Callable[[Call], _Made | TensorRef]]:
    """Return what lowers a layer that slides over a map, and says so where there is none.

    Args:
        names: of the argument that tells over how many dimensions it slides.
        count: that number, where it is always the same.
    """

    def wrapped(lower: Callable[[Call, Map], _Made]) -> Callable[[Call], _Made | TensorRef]:
        @functools.wraps(lower)
        def found(call: Call) -> _Made | TensorRef:
            place = map_of(call, count or count_of(call, *names))
            return _too_few(call) if place is None else lower(call, place)

        return found

    return wrapped


def padding_of(call: Call) -> str:
    """Return the padding of a layer with windows.

    Raises:
        ValueError: if Keras has none of that name.
    """
    found = call.get("padding", default="valid")
    padding = str(found).lower()
    if padding not in ("valid", "same", "causal"):
        raise ValueError(f"padding is {found!r}; expected is 'valid', 'same' or 'causal'")
    return padding


def slid(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
    """Return the units behind a window that slides over a dimension.

    >>> slid(224, 3, 2, 1, "same"), slid(224, 3, 2, 1, "valid")
    (112, 111)
    """
    if padding == "same":
        return max(1, -(-size // stride))
    if padding == "causal":
        return max(1, (size - 1) // stride + 1)
    return max(1, (size - dilation * (kernel - 1) - 1) // stride + 1)


def slid_over(
    call: Call,
    sizes: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: str,
) -> list[int]:
    """Return the units behind a window that slides over a map.

    Raises:
        ValueError: if the map is smaller than the window.
    """
    several = list(zip(sizes, kernels, strides, dilations, strict=True))
    too_small = any(d * (k - 1) >= size for size, k, _, d in several)
    if padding == "valid" and call.lowering.sized and too_small:
        reach = [d * (k - 1) + 1 for _, k, _, d in several]
        raise ValueError(f"a window of {reach!r} units does not fit a map of {list(sizes)!r}")
    return [slid(size, k, s, d, padding) for size, k, s, d in several]


def _sides(padding: str, reaches: Sequence[int]) -> Any:
    """Return the padding in the form of the vocabulary."""
    if padding == "causal":
        return tuple((reach, 0) for reach in reaches)
    return padding if padding == "same" else 0


def _sizes(call: Call, count: int, *names: str, default: Any = 1) -> tuple[int, ...]:
    return whole_numbers(call.get(*names, default=default), count, names[0])


# --- convolutions and pooling ----------------------------------------------------------------


class _Kernel(NamedTuple):
    """What a convolution slides over its map, per axis."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str

    @property
    def reaches(self) -> list[int]:
        """From the first unit under it to the last one."""
        return [d * (k - 1) for k, d in zip(self.sizes, self.dilations, strict=True)]


def _kernel_of(call: Call, count: int) -> _Kernel:
    return _Kernel(
        _sizes(call, count, "kernel_size", default=None),
        _sizes(call, count, "strides"),
        _sizes(call, count, "dilation_rate"),
        padding_of(call),
    )


def _groups(call: Call, filters: int, channels: int) -> int:
    """Return in how many groups of channels a convolution works.

    Raises:
        ValueError: if what it reads, or what it makes, cannot be divided into them.
    """
    (groups,) = whole_numbers(call.get("groups", default=1), 1, "groups")
    if filters % groups or (call.lowering.sized and channels % groups):
        raise ValueError(
            f"groups is {groups}; expected is a number that divides the {channels} channels and "
            f"the {filters} filters"
        )
    return groups


MASKED_KERNEL = "masked kernel"
"""Where a call has the numbers of a kernel that a mask makes 0 in places, taps in the last
dimensions."""


def _left_of_kernel(call: Call) -> Numbers | None:
    found = call.record.config.get(MASKED_KERNEL)
    return found if type(found) is Numbers else None


@on_map("kernel_size")
def convolution(call: Call, place: Map) -> TensorRef:
    """Lower a convolution, also a depthwise, separable or local one."""
    kernel = _kernel_of(call, place.count)
    sizes = slid_over(call, place.sizes, *kernel)
    options: dict[str, Any] = {
        "stride": kernel.strides,
        "padding": _sides(kernel.padding, kernel.reaches),
        "dilation": kernel.dilations,
    }
    if "Depthwise" in call.kind or "Separable" in call.kind:
        return place.back(_each_by_itself(call, place, kernel, sizes, options))
    filters = _positive(call, "filters", place.channels)
    groups = _groups(call, filters, place.channels)
    weight = (filters, place.channels // groups, *kernel.sizes)
    local = call.kind.startswith("Locally")  # other weights at every position
    times = math.prod(sizes) if local else 1
    return place.emit(
        f"conv{place.count}d",
        filters,
        sizes,
        weight=TensorRef(-1, weight, numbers=_left_of_kernel(call)),
        groups=groups,
        weights={"kernel": math.prod(weight) * times, **_bias(call, filters * times)},
        local=local,
        **options,
    )


def _each_by_itself(
    call: Call, place: Map, kernel: _Kernel, sizes: Sequence[int], options: Mapping[str, Any]
) -> TensorRef:
    """Return what a depthwise convolution makes; a separable one mixes channels behind it."""
    depthwise = "Depthwise" in call.kind
    inner = place.channels * int(call.get("depth_multiplier", default=1))
    made = call.emit(
        f"conv{place.count}d",
        place.shape(inner, sizes),
        input=place.tensor,
        groups=place.channels,
        **options,
        weight=TensorRef(-1, (inner, 1, *kernel.sizes), numbers=_left_of_kernel(call)),
        weights={
            "depthwise": math.prod(kernel.sizes) * inner,
            **(_bias(call, inner) if depthwise else {}),
        },
    )
    if depthwise:
        return made
    filters = _positive(call, "filters", place.channels)
    return call.emit(
        f"conv{place.count}d",
        place.shape(filters, sizes),
        input=made,
        weight=TensorRef(-1, (filters, inner, *(1,) * place.count)),
        weights={"pointwise": inner * filters, **_bias(call, filters)},
    )


def _bias(call: Call, count: int) -> dict[str, int]:
    return {"bias": count} if call.flag("use_bias") else {}


def _positive(call: Call, name: str, default: int) -> int:
    number = int(call.get(name, default=default))
    if number < 0:
        raise ValueError(f"{name} is {number!r}; expected is a positive whole number")
    return number


@on_map("kernel_size")
def _transposed(call: Call, place: Map) -> TensorRef:
    kernel, count = _kernel_of(call, place.count), place.count
    same = kernel.padding == "same"
    extra = call.get("output_padding")
    extras = (
        whole_numbers(extra, count, "output_padding", 0) if extra is not None else (None,) * count
    )
    sizes, sides = [], []
    for size, reach, s, more in zip(
        place.sizes, kernel.reaches, kernel.strides, extras, strict=True
    ):
        fine = (size - 1) * s + 1
        if more is not None:
            wanted = fine + reach - (2 * ((reach + 1) // 2) if same else 0) + more
        else:
            wanted = size * s if same else fine + max(reach, s - 1)
        sizes.append(wanted)
        sides.append((max(fine + reach - wanted, 0) // 2 if same else 0, 0))
    filters = _positive(call, "filters", place.channels)
    shape = (place.channels, filters, *kernel.sizes)
    return place.emit(
        f"conv_transpose{count}d",
        filters,
        sizes,
        weight=TensorRef(-1, shape, numbers=_left_of_kernel(call)),
        stride=kernel.strides,
        dilation=kernel.dilations,
        padding=tuple(sides),
        weights={"kernel": math.prod(shape), **_bias(call, filters)},
    )


def pooled(
    call: Call, place: Map, sizes: Sequence[int], strides: Sequence[int], padding: str
) -> TensorRef:
    """Return a map behind a pooling.

    Raises:
        ValueError: if it is padded as a convolution alone may be.
    """
    if padding == "causal":
        raise ValueError("padding is 'causal'; expected of a pooling is 'valid' or 'same'")
    made = slid_over(call, place.sizes, sizes, strides, (1,) * place.count, padding)
    return place.emit(
        f"max_pool{place.count}d",
        place.channels,
        made,
        kernel_size=tuple(sizes),
        stride=tuple(strides),
        padding=_sides(padding, ()),
    )


@on_map("pool_size")
def _pooling(call: Call, place: Map) -> TensorRef:
    sizes = _sizes(call, place.count, "pool_size", "pool_length", default=2)
    strides = _sizes(call, place.count, "strides", "stride", default=sizes)
    return pooled(call, place, sizes, strides, padding_of(call))


@on_map()
def adaptive(call: Call, place: Map) -> TensorRef:
    """Lower an adaptive pooling."""
    return _adapted(place, per_axis(call.get("output_size", default=1), place.count))


def _adapted(place: Map, wanted: Sequence[int | None]) -> TensorRef:
    sizes = [size if one is None else one for size, one in zip(place.sizes, wanted, strict=True)]
    name = f"adaptive_avg_pool{place.count}d"
    return place.emit(name, place.channels, sizes, output_size=tuple(wanted))


@on_map()
def _global(call: Call, place: Map) -> TensorRef:
    made = _adapted(place, (1,) * place.count)
    if call.get("keepdims"):
        return made
    rank = len(made.shape)
    lead = rank - place.count - 1
    gone = range(lead + 1, rank) if place.first else range(lead, rank - 1)
    shape = [size for at, size in enumerate(made.shape) if at not in gone]
    return call.emit("squeeze", shape, input=made, dim=tuple(gone))


# --- dense layers ----------------------------------------------------------------------------


def _flatten(call: Call) -> TensorRef:
    x = call.x
    if len(x.shape) <= 2:
        return call.reshaped(x, (x.shape[0], math.prod(x.shape[1:])))
    shape = (x.shape[0], math.prod(x.shape[1:]))
    return call.emit("flatten", shape, input=x, start_dim=1)


def _linear(call: Call, units: int, weights: Mapping[str, int | None]) -> TensorRef:
    *rest, wide = call.x.shape
    weight = TensorRef(-1, (units, wide))
    return call.emit("linear", (*rest, units), input=call.x, weight=weight, weights=weights)


def _dense(call: Call) -> TensorRef:
    units = _positive(call, "units", call.x.shape[-1])
    return _linear(call, units, {"kernel": call.x.shape[-1] * units, **_bias(call, units)})


def _dense_features(call: Call) -> TensorRef:
    units = int(call.get("units", default=call.x.shape[-1]))
    return _linear(call, units, {"kernel": None})


def _einsum_dense(call: Call) -> TensorRef:
    equation = str(call.get("equation", default="")).replace(" ", "")
    terms, _, result = equation.partition("->")
    read, *kernel = terms.split(",")
    free = len(call.x.shape) - len(read.replace("...", ""))
    if free < 0 or not result:
        return call.unknown(f"the equation {call.get('equation')!r} is not understood")
    batch = "".join(chr(ord("A") + place) for place in range(free))
    read, result = read.replace("...", batch), result.replace("...", batch)
    sizes = dict(zip(read, call.x.shape, strict=True))
    wanted = call.get("output_shape", default=())
    wanted = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    for letter, size in zip(reversed(result), reversed(wanted), strict=False):
        if letter not in sizes:
            sizes[letter] = size or 1
    letters = "".join(kernel)
    weight = TensorRef(-1, tuple(sizes.get(letter, 1) for letter in letters))
    held = {"kernel": math.prod(weight.shape)}
    made = einsum(call, f"{read},{letters}->{result}", call.x, weight, weights=held)
    axes = str(call.get("bias_axes") or "")
    if axes:
        along = [place for place, letter in enumerate(result) if letter in axes]
        made = _scaled(call, made, along, "add", math.prod(_along(made.shape, along)), "bias")
    return made


# --- sizes -----------------------------------------------------------------------------------


@on_map("size")
def _up_sampling(call: Call, place: Map) -> TensorRef:
    factors = _sizes(call, place.count, "size", "length", default=2)
    method = interpolation_of(call, "nearest")
    sizes = [size * factor for size, factor in zip(place.sizes, factors, strict=True)]
    return place.emit("interpolate", place.channels, sizes, scale_factor=factors, mode=method)


@on_map()
def _padding(call: Call, place: Map) -> TensorRef:
    count = place.count
    sign = -1 if call.kind.startswith("Cropping") else 1
    amounts = call.get("padding", "cropping", default=1)
    if count == 1 and isinstance(amounts, list | tuple) and isinstance(amounts[0], int):
        amounts = [amounts]
    name = "padding" if sign > 0 else "cropping"
    several = [whole_numbers(amount, 2, name, 0) for amount in per_axis(amounts, count)]
    sizes = [size + sign * sum(amount) for size, amount in zip(place.sizes, several, strict=True)]
    if min(sizes) < 1:
        if call.lowering.sized:
            raise ValueError(f"cropping is {amounts!r}; nothing is left of {place.sizes!r} units")
        sizes = [max(1, size) for size in sizes]
    pad = [sign * side for pair in reversed(several) for side in pair]
    return place.emit("pad", place.channels, sizes, pad=tuple(pad))


@on_map(count=2)
def _resizing(call: Call, place: Map) -> TensorRef:
    wanted = whole_numbers((call.get("height"), call.get("width")), 2, "(height, width)")
    fits = all(one <= size for one, size in zip(wanted, place.sizes, strict=True))
    if call.kind == "Resizing" or not fits:
        kept = call.get("crop_to_aspect_ratio") or call.get("pad_to_aspect_ratio")
        kept = bool(kept or call.kind != "Resizing")
        method = interpolation_of(call, "bilinear")
        return resized(call, place, wanted, method, kept)
    pad: list[int] = []
    for size, one in zip(reversed(place.sizes), reversed(wanted), strict=True):
        cut = size - one
        pad += [-(cut // 2), -(cut - cut // 2)]
    return place.emit("pad", place.channels, wanted, pad=tuple(pad), sized="varies", centred=True)


_METHODS = words(
    "nearest bilinear bicubic area lanczos3 lanczos5 gaussian mitchellcubic linear cubic"
)


def interpolation_of(call: Call, default: str) -> str:
    """Return the interpolation of a layer that resizes.

    Raises:
        ValueError: if Keras has none of that name.
    """
    found = call.get("interpolation", "method", default=default)
    method = str(found).lower()
    if method not in _METHODS:
        raise ValueError(f"interpolation is {found!r}; expected is one of {', '.join(_METHODS)}")
    return method


def resized(call: Call, place: Map, wanted: Sequence[int], method: str, kept: bool) -> TensorRef:
    """Return a map that was resized to a size."""
    return place.emit(
        "interpolate",
        place.channels,
        wanted,
        size=tuple(wanted),
        # Keras looks from the centre of a unit, as TensorFlow does since 2.0.
        mode="nearest-exact" if method == "nearest" else method,
        antialias=bool(call.get("antialias")),
        sized="fixed",
        keeps_ratio=kept,
    )


def _reshape(call: Call) -> TensorRef:
    x = call.x
    if call.kind == "Permute":
        return call.permuted(x, (0, *(int(one) for one in call.get("dims"))))
    if call.kind == "RepeatVector":
        (times,) = whole_numbers(call.get("n"), 1, "n")
        made = call.emit("unsqueeze", (x.shape[0], 1, *x.shape[1:]), input=x, dim=1)
        return call.emit("expand", (x.shape[0], times, *x.shape[1:]), input=made)
    target = [-1 if one is None else int(one) for one in call.get("target_shape")]
    return call.reshaped(x, (x.shape[0], *with_missing(target, math.prod(x.shape[1:]))))


def with_missing(wanted: Sequence[int], count: int) -> list[int]:
    """Return a shape of so many elements, of which one size may be left out with -1.

    Raises:
        ValueError: if several sizes are left out, or one is negative.

    >>> with_missing([4, -1], 12)
    [4, 3]
    """
    if any(one < -1 or not one for one in wanted) or list(wanted).count(-1) > 1:
        raise ValueError(
            f"the shape is {list(wanted)!r}; expected are positive sizes, of which one may be -1"
        )
    known = math.prod(one for one in wanted if one != -1)
    return [max(1, count // known) if one == -1 else one for one in wanted]


# --- several tensors -------------------------------------------------------------------------

_MERGES = {"Multiply": "mul", "Subtract": "sub", "Maximum": "maximum", "Minimum": "minimum"}


def _merge(call: Call) -> TensorRef:
    shape = merged(call, call.tensors)
    name = _MERGES.get(call.kind, "add")
    return call.emit(name, shape, operands=tuple(call.tensors))


def broadcast(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the shape of an element-wise result; what cannot be broadcast has the larger size.

    >>> broadcast([(2, 1, 3), (4, 1)])
    (2, 4, 3)
    """
    rank = max(map(len, shapes), default=0)
    return tuple(
        max((shape[-back] for shape in shapes if back <= len(shape)), default=1)
        for back in range(rank, 0, -1)
    )


def merged(call: Call, tensors: Sequence[TensorRef]) -> tuple[int, ...]:
    """Return the shape of an element-wise result.

    Raises:
        ValueError: if tensors cannot be broadcast.
    """
    shapes = [one.shape for one in tensors]
    made = broadcast(shapes)
    if call.lowering.sized and any(
        own not in (1, size)
        for shape in shapes
        for own, size in zip(reversed(shape), reversed(made), strict=False)
    ):
        raise ValueError(f"tensors of the shapes {shapes!r} cannot be put together")
    return made


def _concatenate(call: Call) -> TensorRef:
    return concatenated(call, call.get("axis", default=-1), call.tensors)


def place_of(axis: int, rank: int) -> int:
    """Return a dimension, counted from the front.

    Raises:
        ValueError: if there is none of that number.

    >>> place_of(-1, 4)
    3
    """
    if type(axis) is not int or not -rank <= axis < rank:
        raise ValueError(f"axis is {axis!r}; expected is a number from {-rank} to {rank - 1}")
    return axis % rank


def concatenated(call: Call, axis: int, several: Sequence[TensorRef]) -> TensorRef:
    """Return tensors one after another along one dimension."""
    tensors = tuple(several)
    shapes = [one.shape for one in tensors]
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes):
        return call.unknown(f"it puts together tensors of the shapes {tuple(shapes)!r}")
    axis = place_of(axis, rank)
    rest = [tuple(size for at, size in enumerate(one.shape) if at != axis) for one in tensors]
    if call.lowering.sized and len(set(rest)) > 1:
        raise ValueError(f"tensors of the shapes {shapes!r} do not fit along dimension {axis}")
    shape = list(broadcast(shapes))
    shape[axis] = sum(one.shape[axis] for one in tensors)
    return call.emit("cat", shape, tensors=tensors, dim=axis)


def einsum(call: Call, equation: str, *operands: TensorRef, **more: Any) -> TensorRef:
    """Return a product of tensors, whose sizes follow from the letters of an equation."""
    terms, _, result = equation.partition("->")
    sizes: dict[str, int] = {}
    for tensor, letters in zip(operands, terms.split(","), strict=True):
        for letter, size in zip(letters, tensor.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    shape = [sizes[letter] for letter in result]
    return call.emit("einsum", shape, equation=equation, operands=operands, **more)


def _dot(call: Call) -> TensorRef:
    given = call.arguments[0] if len(call.arguments) == 1 else call.arguments
    if not isinstance(given, list | tuple) or len(given) != 2:
        return call.unknown(f"Dot reads {len(call.tensors)} tensors instead of 2")
    left, right = map(operand_of, given)
    first, second = per_axis(call.get("axes", default=-1), 2)
    letters = iter("abcdefghijklmnopqrstuvw")
    one = ["x", *(next(letters) for _ in left.shape[1:])]
    other = ["x", *(next(letters) for _ in right.shape[1:])]
    one[first] = other[second] = "z"
    result = [letter for letter in (*one, *other[1:]) if letter != "z"]
    return einsum(call, f"{''.join(one)},{''.join(other)}->{''.join(result)}", left, right)


def _attention(call: Call) -> TensorRef | list[TensorRef]:
    query, value = call.operand("query", 0), call.operand("value", 1)
    if query is None:
        return call.unknown("an attention without a query is not understood")
    value = query if value is None else value
    key = call.operand("key", 2) or value
    rank = len(query.shape)
    attended = call.get("attention_axes", default=None)
    attended = list(range(1, rank - 1)) if attended is None else attended
    attended = [attended] if isinstance(attended, int) else list(attended)
    places = tuple(place % rank for place in attended)
    heads = "MultiHead" in call.kind or "Group" in call.kind
    size = call.get("output_shape")
    if isinstance(size, list | tuple):
        size = size[-1] if size else None
    if size is None:
        size = query.shape[-1] if heads else value.shape[-1]
    shape = (*query.shape[:-1], int(size))
    masked = call.get("attention_mask", "mask") is not None
    weights, products = (_heads if heads else _scores)(call, query, key, value, shape, places)
    band = call.get("sliding_window")
    if band is not None and len(places) == 1 and value == query:
        causal = bool(call.get("use_causal_mask"))
        return call.emit(
            "local_attention",
            shape,
            input=query,
            dim=places[0],
            before=band - 1,
            after=0 if causal else band - 1,
            masked=masked,
            weights=weights,
            products=products,
        )
    return call.emit(
        "attention",
        shape,
        query=query,
        value=value,
        masked=masked,
        attn_mask=mask_of(call.get("attention_mask")),
        weights=weights,
        products=products,
        dims=tuple(place for place in places if place < len(value.shape)),
        is_causal=bool(call.get("use_causal_mask") or call.get("causal")),
    )


def _heads(
    call: Call,
    query: TensorRef,
    key: TensorRef,
    value: TensorRef,
    shape: Sequence[int],
    places: Sequence[int],
) -> tuple[dict[str, int | None], tuple[int, int] | None]:
    """Return weights and products of four projections, and scores with their sums."""
    multi = call.kind == "MultiHeadAttention"
    names = ["num_heads", "num_heads", "key_dim"]
    if not multi:
        names = ["num_query_heads", "num_key_value_heads", "head_dim"]
    if any(call.get(name) is None for name in names) or call.flag("use_gate", False):
        return {"kernel": None}, None
    heads, shared, size = (int(call.get(name)) for name in names)
    width = int(call.get("value_dim", default=size)) if multi else size
    projections = (
        (query, query.shape[-1], heads * size),
        (key, key.shape[-1], shared * size),
        (value, value.shape[-1], shared * width),
        (query, heads * width, shape[-1]),
    )
    held = sum(before * behind for _, before, behind in projections)
    bias = sum(behind for *_, behind in projections) if call.flag("use_bias") else 0
    work = sum(
        math.prod(tensor.shape[:-1]) * before * behind for tensor, before, behind in projections
    )
    keys = math.prod(value.shape[place] for place in places)
    scores = math.prod(query.shape[:-1]) * keys * heads * (size + width)
    return {"kernel": held, "bias": bias}, (work, scores)


def _scores(
    call: Call,
    query: TensorRef,
    key: TensorRef,
    value: TensorRef,
    shape: Sequence[int],
    places: Sequence[int],
) -> tuple[dict[str, int | None], tuple[int, int] | None]:
    size = query.shape[-1]
    scale = int(call.flag("use_scale"))
    if call.kind == "AdditiveAttention":  # its scores are sums
        scale, size = scale * size, 0
    elif call.get("score_mode") == "concat":
        scale, size = scale + 1, 0
    count = math.prod(query.shape[:-1]) * value.shape[-2] * (size + value.shape[-1])
    return {"scale": scale}, (0, count)


# --- sequences -------------------------------------------------------------------------------

_GATES = {"LSTM": 4, "CuDNNLSTM": 4, "GRU": 3, "CuDNNGRU": 3, "SimpleRNN": 1}


def _recurrent(call: Call) -> list[TensorRef]:
    x = call.x
    around = {wrapper.kind: wrapper.config for wrapper in call.record.wrappers}
    both = around.get("Bidirectional")
    units = _units(call) or x.shape[-1]
    joined = both is not None and both.get("merge_mode", "concat") == "concat"
    steps = x.shape[1:2] if call.get("return_sequences") else ()
    shapes = [(x.shape[0], *steps, 2 * units if joined else units)]
    shapes += [(x.shape[0], units)] * (4 if call.get("return_state") else 0)
    weights, products = _gates_of(call, both)
    direction = "forward"
    if both is not None or call.get("go_backwards") or call.get("return_state"):
        direction = "bidirectional"  # or in another order, or together with what it is in the end
    return call.emit_all(
        "recurrent",
        shapes,
        weights,
        input=x,
        batch_first=True,
        direction=direction,
        products=products,
    )


def _units(call: Call) -> int:
    """Return the units of a recurrent layer, or of the last of its cells; 0 if nothing says so."""
    units, cell = call.get("units"), call.get("cell")
    while units is None and isinstance(cell, Mapping):
        inner = cell.get("config") or {}
        units, cells = inner.get("units"), inner.get("cells")
        cell = cells[-1] if cells else None
    return int(units or 0)


def _gates_of(
    call: Call, both: Mapping[str, Any] | None
) -> tuple[dict[str, int | None], tuple[int, int] | None]:
    """Return weights and products of the gates of a known cell, in one direction or both."""
    if call.get("units") is None or call.kind not in _GATES or (both and _differs(both)):
        return {"kernel": None}, None
    x, units, gates = call.x, int(call.get("units")), _GATES[call.kind]
    several = gates if both is None else 2 * gates
    held = several * units * (x.shape[-1] + units)
    bias = several * units if call.flag("use_bias") else 0
    if call.kind.startswith("CuDNN") or (call.kind == "GRU" and call.flag("reset_after")):
        bias *= 2
    return {"kernel": held, "bias": bias}, (math.prod(x.shape[:-1]) * held, 0)


def _differs(config: Mapping[str, Any]) -> bool:
    """Return whether the layer of a Bidirectional that reads backwards has another size."""
    sizes = [
        (one.get("class_name"), (one.get("config") or {}).get("units"))
        for one in (config.get("layer"), config.get("backward_layer"))
        if isinstance(one, Mapping)
    ]
    return len(set(sizes)) > 1


@on_map("kernel_size")
def _convolutional_recurrent(call: Call, place: Map) -> TensorRef | list[TensorRef]:
    kernel = _kernel_of(call, place.count)
    if place.rank < place.count + 3:
        return _too_few(call)
    sizes = slid_over(call, place.sizes, *kernel)
    filters = int(call.get("filters", default=1))
    steps = place.tensor.shape[1]
    weights: dict[str, int | None] = {"kernel": None}
    products = None
    if call.get("filters") is not None:
        held = 4 * math.prod(kernel.sizes) * filters * (place.channels + filters)
        weights = {"kernel": held, "bias": 4 * filters if call.flag("use_bias") else 0}
        products = (held * math.prod(sizes) * steps * place.tensor.shape[0], 0)
    made = call.emit(
        "conv_lstm",
        place.shape(filters, sizes),
        input=place.tensor,
        kernel_size=kernel.sizes,
        stride=kernel.strides,
        dilation=kernel.dilations,
        padding=_sides(kernel.padding, ()),
        direction="other" if call.get("go_backwards") or call.record.wrappers else "forward",
        weights=weights,
        products=products,
    )
    sequence, states = bool(call.get("return_sequences")), bool(call.get("return_state"))
    if sequence and not states:
        return [place.back(made)]
    last = call.emit("select_last", (made.shape[0], *made.shape[2:]), input=made, dim=1)
    first = place.back(made) if sequence else _without_time(place, last)
    return [first, *[_without_time(place, last)] * (2 * states)]


def _without_time(place: Map, tensor: TensorRef) -> TensorRef:
    return attrs.evolve(place, tensor=tensor).back(tensor)


def _embedding(call: Call) -> TensorRef:
    x = call.x
    units = int(call.get("output_dim", default=1))
    known = call.get("input_dim") is not None and call.get("output_dim") is not None
    size = int(call.get("input_dim")) * units if known and call.kind == "Embedding" else None
    if call.get("reverse"):
        return _linear(call, int(call.get("input_dim", default=1)), {"kernel": None})
    return call.emit(
        "embedding",
        (*x.shape, units),
        input=x,
        weight=TensorRef(-1, (1, units)),
        units=units,
        weights={"kernel": size},
    )


def _softmax(call: Call) -> TensorRef:
    x, given = call.x, call.get("mask", default=call.arguments[1:2] or None)
    mask = mask_of(given[0] if isinstance(given, tuple) else given)
    if mask is not None:
        x = call.emit("where", x.shape, condition=mask, input=x, other=-math.inf)
    return softmaxed(call, x, call.get("axis", default=-1))


def softmaxed(call: Call, x: TensorRef, axis: Any) -> TensorRef:
    """Return a tensor behind a softmax over some dimensions; None is all but the batch."""
    places = range(1, len(x.shape)) if axis is None else axis
    several = places if isinstance(places, list | tuple | range) else (places,)
    dims = tuple(place_of(one, len(x.shape)) for one in several)
    return call.emit("softmax", x.shape, input=x, dim=dims)


def _mel_spectrogram(call: Call) -> TensorRef:
    x = call.x
    length = int(call.get("sequence_length") or call.get("fft_length", default=2048))
    stride = int(call.get("sequence_stride", default=512))
    half = int(call.get("fft_length", default=2048)) // 2
    frames = x.shape[-1] // stride + 1
    mels = int(call.get("num_mel_bins", default=128))
    made = call.emit(
        "windowed",
        (*x.shape[:-1], frames),
        input=x,
        dims=(len(x.shape) - 1,),
        kernel_size=(length,),
        stride=(stride,),
        padding=((half, half),),
        weights={"kernel": None},
        unknown_cost=True,
    )
    made = call.emit("unsqueeze", (*x.shape[:-1], 1, frames), input=made, dim=len(x.shape) - 1)
    return call.emit("expand", (*x.shape[:-1], mels, frames), input=made)


@on_map(count=1)
def _spectrogram(call: Call, place: Map) -> TensorRef:
    length = int(call.get("frame_length", default=256))
    step = int(call.get("frame_step") or length // 2)
    bins = (int(call.get("fft_length") or length) // 2 + 1) * place.channels
    padding = padding_of(call)
    frames = slid(place.sizes[0], length, step, 1, padding)
    return place.emit(
        "conv1d",
        bins,
        (frames,),
        stride=(step,),
        weight=TensorRef(-1, (bins, place.channels, length)),
        padding=_sides(padding, ()),
        weights={"kernel": None},
        unknown_cost=True,
        plain=True,
    )


# --- layers in which every position sees itself ----------------------------------------------

_OF_WHOLE_IMAGES = words("AutoContrast ContrastLimitedAdaptiveHistogramEqualization Equalization")


def _neutral(call: Call) -> TensorRef:
    return call.emit("dropout", call.x.shape, input=call.x)


def _of_whole_images(call: Call) -> TensorRef:
    return call.emit("normalize", call.x.shape, input=call.x, dim=None, whole=True)


def _along(shape: Sequence[int], axis: Any) -> tuple[int, ...]:
    """Return the shape of weights that lie along some dimensions of a tensor."""
    rank = len(shape)
    axes = axis if isinstance(axis, list | tuple) else () if axis is None else (axis,)
    places = {place_of(one, rank) for one in axes}
    return tuple(size if place in places else 1 for place, size in enumerate(shape))


def _scaled(
    call: Call, tensor: TensorRef, axis: Any, name: str, held: int | None, weights: str = "weights"
) -> TensorRef:
    """Return a tensor times, or plus, weights that lie along some of its dimensions."""
    weight = TensorRef(-1, _along(tensor.shape, axis))
    return call.emit(name, tensor.shape, input=tensor, other=weight, weights={weights: held})


def _batch_norm(call: Call) -> TensorRef:
    axis = call.record.config.get("axis", -1)
    several = call.flag("scale") + call.flag("center") + 2  # moving mean and variance
    held = several * math.prod(_along(call.x.shape, axis))
    return _scaled(call, call.x, axis, "mul", held)


def _norm(call: Call) -> TensorRef:
    x = call.x
    axis = call.get("axis", default=-1)
    several = call.flag("scale") + call.flag("center")
    if call.kind == "RMSNormalization" or call.flag("rms_scaling", False):
        several = 1
    held = 0 if call.kind == "UnitNormalization" else several * math.prod(_along(x.shape, axis))
    axes = tuple(axis) if isinstance(axis, list | tuple) else (axis,)
    if call.kind == "GroupNormalization":
        axes = tuple(range(1, len(x.shape)))
    dims = [place_of(one, len(x.shape)) for one in axes]
    return call.emit(
        "normalize", x.shape, input=x, dim=tuple(dims), weights={"weights": held} if held else {}
    )


def _normalization(call: Call) -> TensorRef:
    """Mean, variance and a counter, unless mean and variance were given."""
    axis = call.record.config.get("axis", -1)
    held = 1 + 2 * math.prod(_along(call.x.shape, axis))
    if call.record.config.get("mean") is not None:
        held = 0
    return _scaled(call, call.x, axis, "mul", held)


def _layer_scale(call: Call) -> TensorRef:
    held = int(call.get("projection_dim", default=call.x.shape[-1]))
    axis = call.record.config.get("axis", -1)
    return _scaled(call, call.x, axis, "mul", held)


def _prelu(call: Call) -> TensorRef:
    shared = call.get("shared_axes", default=[])
    axes = [place for place in range(1, len(call.x.shape)) if place not in shared]
    held = math.prod(_along(call.x.shape, axes))
    weight = TensorRef(-1, _along(call.x.shape, axes))
    return call.emit("prelu", call.x.shape, input=call.x, weight=weight, weights={"alpha": held})


# --- the table -------------------------------------------------------------------------------

_NEUTRAL = words("""
Activation ActivityRegularization AlphaDropout AugMix CutMix Discretization Dropout ELU
GaussianDropout GaussianNoise Hashing Identity IntegerLookup Layer LeakyReLU Masking
MaxNumBoundingBoxes MixUp RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter
RandomContrast RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom ReLU Rescaling
Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D StochasticDepth StringLookup
ThresholdedReLU
""")

FAMILIES: dict[str, tuple[Sequence[str], Lower]] = {
    "adaptive pooling": (
        [f"Adaptive{name}Pooling{count}D" for name in ("Average", "Max") for count in (1, 2, 3)],
        adaptive,
    ),
    "attention": (
        words("""
        MultiHeadAttention GroupQueryAttention GroupedQueryAttention Attention AdditiveAttention
        """),
        _attention,
    ),
    "batch normalisation": (
        words("""
        BatchNormalization BatchNormalizationV1 BatchNormalizationV2 SyncBatchNormalization
        """),
        _batch_norm,
    ),
    "concatenation": (["Concatenate"], _concatenate),
    "convolution": (
        words("""
        Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D SeparableConv1D
        SeparableConv2D SeparableConvolution1D SeparableConvolution2D LocallyConnected1D
        LocallyConnected2D DepthwiseConv1D DepthwiseConv2D
        """),
        convolution,
    ),
    "convolutional recurrence": (
        words("ConvLSTM1D ConvLSTM2D ConvLSTM3D"),
        _convolutional_recurrent,
    ),
    "dense": (["Dense"], _dense),
    "dense features": (["DenseFeatures"], _dense_features),
    "dense by equation": (["EinsumDense"], _einsum_dense),
    "dot": (["Dot"], _dot),
    "embedding": (words("Embedding ReversibleEmbedding"), _embedding),
    "flatten": (["Flatten"], _flatten),
    "global pooling": (
        [
            f"Global{name}{count}D"
            for name in ("AveragePooling", "MaxPooling", "AvgPool", "MaxPool")
            for count in (1, 2, 3)
        ],
        _global,
    ),
    "input": (["InputLayer"], lambda call: call.x),
    "merge": (words("Add Average CustomScaleLayer Maximum Minimum Multiply Subtract"), _merge),
    "neutral": (_NEUTRAL, _neutral),
    "normalisation": (
        words("""
        GroupNormalization LayerNormalization LayerNormalizationV1 RMSNormalization
        UnitNormalization
        """),
        _norm,
    ),
    "of whole images": (_OF_WHOLE_IMAGES, _of_whole_images),
    "padding": (
        [f"{name}{count}D" for name in ("ZeroPadding", "Cropping") for count in (1, 2, 3)],
        _padding,
    ),
    "pooling": (
        [
            f"{name}{count}D"
            for name in ("MaxPooling", "AveragePooling", "MaxPool", "AvgPool")
            for count in (1, 2, 3)
        ],
        _pooling,
    ),
    "prelu": (["PReLU"], _prelu),
    "recurrence": (words("LSTM GRU SimpleRNN RNN CuDNNLSTM CuDNNGRU"), _recurrent),
    "reshape": (words("Reshape Permute RepeatVector"), _reshape),
    "resizing": (words("Resizing CenterCrop RandomCrop"), _resizing),
    "scale": (["LayerScale"], _layer_scale),
    "softmax": (["Softmax"], _softmax),
    "mel spectrogram": (["MelSpectrogram"], _mel_spectrogram),
    "spectrogram": (["STFTSpectrogram"], _spectrogram),
    "standardisation": (["Normalization"], _normalization),
    "transposed convolution": (
        [f"{name}{count}DTranspose" for name in ("Conv", "Convolution") for count in (1, 2, 3)],
        _transposed,
    ),
    "up-sampling": (["UpSampling1D", "UpSampling2D", "UpSampling3D"], _up_sampling),
}
"""What kinds of layers there are in every family, and how they are lowered."""

LAYERS: dict[str, Lower] = {name: rule for names, rule in FAMILIES.values() for name in names}
"""How to lower every known kind of layer."""
