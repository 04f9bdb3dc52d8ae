"""How bare operations are lowered: ``x * 2``, slices, ``keras.ops``, functions of TensorFlow.

Keras 2 stores the name of a function of TensorFlow, Keras 3 the class of an operation;
``canonical`` makes one spelling of both.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from rfa_toolbox.encodings.tensorflow_keras import lowering_layers as layers
from rfa_toolbox.encodings.tensorflow_keras.lowering import (
    Call,
    Numbers,
    array_of,
    constant_of,
    mask_of,
    number_of,
    operand_of,
    per_axis,
    words,
)
from rfa_toolbox.encodings.tensorflow_keras.lowering_rarer import RARER
from rfa_toolbox.encodings.tensorflow_keras.model_json import Weights
from rfa_toolbox.encodings.tensorflow_keras.sources import Constant
from rfa_toolbox.operators.record import Numbers as Held
from rfa_toolbox.operators.record import TensorRef

__all__ = ["OPERATIONS", "canonical"]


def canonical(name: str) -> str:
    """Return one spelling of the names that Keras 2 and Keras 3 have for an operation.

    >>> canonical("math.reduce_mean"), canonical("GetItem"), canonical("__operators__.getitem")
    ('reducemean', 'getitem', 'getitem')
    """
    return name.rsplit(".", 1)[-1].replace("_", "").lower()


# --- arguments -------------------------------------------------------------------------------


def _integers(call: Call, value: Any) -> list[int | None]:
    """Return a shape or an index as integers; None where it is known only when the model runs."""
    if type(value) is TensorRef:
        return list(call.lowering.numbers.get(value.number, (None,)))
    if isinstance(value, list | tuple):
        return [number for one in value for number in _integers(call, one)]
    if type(value) is Constant:
        return value.numbers.ravel().tolist()  # type: ignore[no-any-return]
    return [value if type(value) is int else None]


def _places(call: Call, axis: Any, rank: int) -> list[int]:
    if axis is None:
        return list(range(rank))
    return [layers.place_of(one, rank) for one in _integers(call, axis) if one is not None]


def _constants(argument: Any) -> Iterable[TensorRef]:
    """Yield the constants in an argument as tensors that depend on nothing."""
    if isinstance(argument, list | tuple) and any(
        type(one) in (TensorRef, Weights) or isinstance(one, Mapping) for one in argument
    ):
        for one in argument:
            yield from _constants(one)
    elif type(argument) is not TensorRef:
        constant = constant_of(argument)
        if constant.shape:
            yield constant


def _given(call: Call) -> list[TensorRef]:
    """Return the constants among the arguments of an operation."""
    inside = call.record.config.get("constants")  # of operations that TensorFlow 1 made
    given = [*call.arguments, *call.keywords.values()]
    given += inside.values() if isinstance(inside, Mapping) else ()
    return [one for argument in given for one in _constants(argument)]


# --- element-wise ----------------------------------------------------------------------------

_ON_NUMBERS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "addv2": operator.add,
    "subtract": operator.sub,
    "sub": operator.sub,
    "multiply": operator.mul,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "floordivide": operator.floordiv,
    "mod": operator.mod,
    "truediv": operator.floordiv,
}
_RENAMED = {
    "multiply": "mul",
    "addv2": "add",
    "addn": "add",
    "subtract": "sub",
    "truediv": "div",
    "divide": "div",
    "truedivide": "div",
    "realdiv": "div",
    "tril": "tril",
    "triu": "triu",
    "where": "where",
    "mul": "mul",
    "add": "add",
    "sub": "sub",
    "maximum": "maximum",
    "minimum": "minimum",
}


def _pointwise(call: Call) -> TensorRef:
    name = canonical(call.kind)
    constants = _given(call)
    shape = layers.merged(call, (*call.tensors, *constants))
    operands = (*call.tensors, *constants)
    if name in ("sub", "subtract") and call.arguments and constants:
        operands = operands if type(call.arguments[0]) is TensorRef else operands[::-1]
    made = call.emit(_RENAMED.get(name, "abs"), shape, operands=operands)
    numbers = call.lowering.numbers.get(call.x.number)
    if name in _ON_NUMBERS and numbers is not None:
        second = [*call.arguments[1:2], *(call.keywords.get(key) for key in ("y", "x2", "other"))]
        several = (_integers(call, one) for one in second)
        found = next((one for one in several if one and one[0] is not None), None)
        if found and len(found) == 1:
            call.lowering.numbers[made.number] = tuple(
                None if one is None else _ON_NUMBERS[name](one, found[0] or 1) for one in numbers
            )
    return made


def _where(call: Call) -> TensorRef:
    """Choose between two tensors; where one of them is a number, a constant mask is filled."""
    places = (("condition",), ("x1", "x"), ("x2", "y"))
    condition, one, other = (call.at(place, *names) for place, names in enumerate(places))
    if condition is None or type(condition) is TensorRef or len(call.tensors) != 1:
        return _pointwise(call)
    mask = constant_of(condition)
    shape = layers.broadcast([call.x.shape, mask.shape])
    filled = number_of(one if type(other) is TensorRef else other)
    if filled is None:
        return _pointwise(call)
    if type(other) is TensorRef:
        return call.emit("masked_fill", shape, input=other, mask=mask, value=filled)
    return call.emit("where", shape, condition=mask, input=one, other=filled)


def _neutral(call: Call) -> TensorRef:
    return call.emit("abs", call.x.shape, input=call.x)


def _norm(call: Call) -> TensorRef:
    name, rank = canonical(call.kind), len(call.x.shape)
    if name == "perimagestandardization":
        dims: Sequence[int] = range(1, rank)
    elif name == "l2normalize":  # over everything, unless it says otherwise
        dims = _places(call, call.get("axis", "dim"), rank)
    elif name in ("layernorm", "normalize", "rmsnorm"):
        dims = _places(call, call.get("axis", default=-1), rank)
    elif name in ("adjustcontrast", "clipbynorm", "shuffle"):
        dims = range(rank)
    elif name in ("batchnorm", "batchnormalization", "fusedbatchnorm"):
        first = layers.channels_first(call)
        axes = _places(call, call.get("axis", default=1 if first else -1), rank)
        shape = tuple(size if at in axes else 1 for at, size in enumerate(call.x.shape))
        return call.emit("mul", call.x.shape, input=call.x, other=TensorRef(-1, shape))
    else:
        return _neutral(call)
    return call.emit("normalize", call.x.shape, input=call.x, dim=tuple(dims))


def _shape(call: Call) -> TensorRef:
    made = call.emit("shape", (len(call.x.shape),), input=call.x)
    opened: Numbers = tuple(call.x.shape)
    call.lowering.numbers[made.number] = opened
    return made


# --- operations that mix dimensions ----------------------------------------------------------


def _reduce(call: Call) -> TensorRef | list[TensorRef]:
    x = call.x
    places = _places(call, call.get("axis", "axes", "reduction_indices"), len(x.shape))
    kept = bool(call.get("keepdims", "keep_dims"))
    shape = [
        1 if place in places else size
        for place, size in enumerate(x.shape)
        if kept or place not in places
    ]
    several = 2 if canonical(call.kind) == "moments" else 1
    return call.emit_all("mean", [shape] * several, input=x, dim=tuple(places), keepdim=kept)


def _scan(call: Call) -> TensorRef:
    x = call.x
    places = tuple(_places(call, call.get("axis", default=-1), len(x.shape)))
    if "cumul" not in canonical(call.kind) and "cumsum" not in canonical(call.kind):
        return call.emit("sort", x.shape, input=x, dim=places)
    return call.emit("cumsum", x.shape, input=x, dim=places[0], reverse=bool(call.get("reverse")))


def _fourier(call: Call) -> list[TensorRef]:
    """Every position sees every other one; a real transform has about half the positions."""
    x, name = call.x, canonical(call.kind)
    count = int(name.rstrip("d")[-1]) if name.rstrip("d")[-1].isdigit() else 1
    places = tuple(range(len(x.shape)))[-count:]
    shape = list(x.shape)
    if "rfft" in name:
        shape[-1] = 2 * (shape[-1] - 1) if name.startswith("i") else shape[-1] // 2 + 1
    return call.emit_all("fft_fftn", [shape] * 2, input=x, dim=places)


def _softmax(call: Call) -> TensorRef:
    return layers.softmaxed(call, call.x, call.get("axis", "dim", default=-1))


def _glu(call: Call) -> TensorRef:
    axis = layers.place_of(call.get("axis", default=-1), len(call.x.shape))
    shape = list(call.x.shape)
    shape[axis] //= 2
    return call.emit("glu", shape, input=call.x, dim=axis)


_GUESSED = -2
"""The number of a constant whose shape the model does not tell."""


def _operands(call: Call) -> tuple[TensorRef, TensorRef]:
    """Return both operands of a product; what is no tensor has no positions.

    A constant whose shape is not in the JSON counts as a square matrix.
    """
    rest = list(call.arguments)
    if (
        len(rest) == 1
        and isinstance(rest[0], list)
        and any(type(one) is TensorRef for one in rest[0])
    ):
        rest = list(rest[0])
    found: list[Any] = [
        next((call.keywords[one] for one in several if one in call.keywords), None)
        for several in (("x1", "a", "x"), ("x2", "b", "y"))
    ]
    for place, one in enumerate(found):
        if one is None and rest:
            found[place] = rest.pop(0)
    tensors = [one for one in found if type(one) is TensorRef]
    first = tensors[0] if tensors else call.x
    if not tensors:
        found[0] = first
    width = first.shape[-1] if type(found[0]) is TensorRef else first.shape[-2:][0]
    for place, one in enumerate(found):
        if type(one) is not TensorRef:
            known = constant_of(one)
            found[place] = known if known.shape else TensorRef(_GUESSED, (width, width))
    return found[0], found[1]


def _product(
    call: Call, terms: Sequence[tuple[TensorRef, Sequence[str]]], result: Sequence[str]
) -> TensorRef:
    """Return the product of tensors, summed over the letters that the result does not have."""
    names = dict.fromkeys(one for _, letters in terms for one in letters)
    short = dict(zip(names, string.ascii_letters, strict=False))
    equation = ",".join("".join(short[one] for one in letters) for _, letters in terms)
    equation += "->" + "".join(short[one] for one in result)
    guessed = any(one.number == _GUESSED for one, _ in terms)
    return layers.einsum(call, equation, *(one for one, _ in terms), unknown_cost=guessed)


def _matmul(call: Call) -> TensorRef:
    left, right = _operands(call)
    count_left, count_right = len(left.shape), len(right.shape)
    batch = max(count_left, count_right, 2) - 2
    outer = [f"o{place}" for place in range(batch)]
    rows, columns = ["row", "sum"], ["sum", "column"]
    if call.get("transpose_a", "adjoint_a"):
        rows.reverse()
    if call.get("transpose_b", "adjoint_b"):
        columns.reverse()
    first = ["sum"] if count_left == 1 else [*outer[batch - count_left + 2 :], *rows]
    second = ["sum"] if count_right == 1 else [*outer[batch - count_right + 2 :], *columns]
    result = [*outer, *["row"] * (count_left > 1), *["column"] * (count_right > 1)]
    return _product(call, [(left, first), (right, second)], result)


def _einsum(call: Call) -> TensorRef:
    given = [*call.arguments, *call.keywords.values()]
    equation = call.get("subscripts", "equation")
    if equation is None:
        equation = next((one for one in given if isinstance(one, str)), "")
    operands = [
        operand_of(one)
        for one in given
        if one is not None and not isinstance(one, str | int | float)
    ]
    inputs, _, result = str(equation).replace(" ", "").partition("->")
    letters = inputs.split(",")
    if "..." in equation or [*map(len, letters)] != [len(one.shape) for one in operands]:
        return call.unknown(f"the equation {equation!r} is not understood")
    if "->" not in equation:
        several = inputs.replace(",", "")
        result = "".join(sorted(one for one in set(several) if several.count(one) == 1))
    return _product(call, list(zip(operands, letters, strict=True)), result)


def _tensordot(call: Call) -> TensorRef:
    left, right = _operands(call)
    axes = call.get("axes", default=2)
    if canonical(call.kind) == "dot":
        axes = [[-1], [max(0, len(right.shape) - 2)]]
    if isinstance(axes, int):
        axes = [list(range(-axes, 0)), list(range(axes))]
    first = [f"l{place}" for place in range(len(left.shape))]
    second = [f"r{place}" for place in range(len(right.shape))]
    pairs = zip(_integers(call, axes[0]), _integers(call, axes[1]), strict=True)
    for number, (one, other) in enumerate(pairs):
        first[one or 0] = second[other or 0] = f"sum{number}"
    result = [one for one in (*first, *second) if not one.startswith("sum")]
    return _product(call, [(left, first), (right, second)], result)


def _attention(call: Call) -> TensorRef:
    query, value = call.operand("query", 0), call.operand("value", 2)
    if query is None or value is None:
        return call.unknown("an attention without query and value is not understood")
    count = math.prod(query.shape[:-1]) * value.shape[1] * (query.shape[-1] + value.shape[-1])
    return call.emit(
        "attention",
        (*query.shape[:-1], value.shape[-1]),
        query=query,
        value=value,
        dims=(1,),
        is_causal=bool(call.get("is_causal")),
        masked=call.get("mask", "bias") is not None,
        attn_mask=mask_of(call.get("mask")) or _bias_of(call.get("bias")),
        products=(0, count),
    )


def _bias_of(value: Any) -> TensorRef | None:
    """Return a constant that is added to scores."""
    return None if value is None or type(value) is TensorRef else constant_of(value)


# --- sliding windows -------------------------------------------------------------------------


def _window_sizes(value: Any, count: int) -> tuple[int, ...]:
    """Return sizes per spatial dimension; TensorFlow may list batch and channels too."""
    if isinstance(value, list | tuple) and len(value) == count + 2:
        value = value[1:-1]
    return per_axis(value, count)


@layers.on_map()
def _pool(call: Call, place: layers.Map) -> TensorRef:
    sizes = _window_sizes(call.get("pool_size", "ksize", "window_shape", default=2), place.count)
    strides = _window_sizes(call.get("strides", default=sizes), place.count)
    return layers.pooled(call, place, sizes, strides, _padding_name(call))


_CONVOLUTIONS = {
    "conv": ("Conv", -1),
    "depthwiseconv": ("DepthwiseConv", -2),
    "separableconv": ("SeparableConv", -1),
    "convtranspose": ("Conv", -2),
}
"""The layer that does the same, and which dimension of the last kernel are the filters."""
_OF_TENSORFLOW = {
    name.replace("conv", f"conv{count}d"): name for name in _CONVOLUTIONS for count in "123"
}
"""How TensorFlow calls these functions."""


def _convolve(call: Call) -> TensorRef | list[TensorRef]:
    """Lower a convolution as a function, which says in its kernel how large it is."""
    given = [*call.arguments[1:], *call.keywords.values()]
    kernels = [
        one if type(one) is TensorRef else _kernel(one)
        for one in given
        if type(one) is not TensorRef or one.number in call.lowering.told
    ]
    kernels = [one for one in kernels if len(one.shape) == len(call.x.shape)]
    if not kernels:
        return call.unknown("it convolves with a kernel that was computed from its input")
    name = canonical(call.kind)
    name = _OF_TENSORFLOW.get(name, name)
    layer, filters = _CONVOLUTIONS[name]
    count = len(call.x.shape) - 2
    kind = f"{layer}{count}D{'Transpose' if name == 'convtranspose' else ''}"
    first, last = kernels[0].shape, kernels[-1].shape
    channels = call.x.shape[1 if layers.channels_first(call) else -1]
    config = {
        **call.record.config,
        **_as_keras_says(call, count),
        "kernel_size": first[:count],
        "filters": last[filters],
        "depth_multiplier": first[-1],
        "groups": max(1, channels // first[-2]) if name == "conv" else 1,
        "use_bias": False,
        layers.MASKED_KERNEL: _taps_last(kernels[0], count),
    }
    record = attrs.evolve(call.record, config=config, base=kind)
    keywords = {name: one for name, one in call.keywords.items() if name not in config}
    return layers.LAYERS[kind](attrs.evolve(call, record=record, keywords=keywords))


def _kernel(value: Any) -> TensorRef:
    """Return a constant kernel with its numbers, if some are 0."""
    found = constant_of(value)
    if type(value) is Weights or not found.shape:
        return found
    try:
        array = array_of(value)
    except ValueError:
        return found
    return found._replace(numbers=Held(array) if (array == 0).any() else None)


def _taps_last(kernel: TensorRef, count: int) -> Held | None:
    """Return the numbers of a kernel with its taps in the last dimensions."""
    if kernel.numbers is None or kernel.numbers.array is None:
        return kernel.numbers
    array = kernel.numbers.array
    return Held(array.reshape(*array.shape[:count], -1).transpose(count, *range(count)))


def _as_keras_says(call: Call, count: int) -> dict[str, Any]:
    """Return strides, padding and dilation of a function of TensorFlow as a layer has them."""
    if canonical(call.kind) not in _OF_TENSORFLOW:
        return {}
    found: dict[str, Any] = {"padding": _padding_name(call)}
    for name, others in (("strides", ("stride",)), ("dilation_rate", ("dilations", "rate"))):
        value = call.get(name, *others)
        if value is not None:
            found[name] = _window_sizes(value, count)
    form = str(call.get("data_format", default="NHWC"))
    found["data_format"] = "channels_first" if form.startswith("NC") else "channels_last"
    return found


def _padding_name(call: Call) -> str:
    return str(call.get("padding", default="valid")).lower()


def _patches(call: Call) -> layers.Lowered:
    """Windows become channels."""
    wanted = call.get("size", "sizes", default=1)
    count = 3 if isinstance(wanted, list | tuple) and len(wanted) == 3 else 2
    return layers.on_map(count=count)(_patches_of)(call)


def _patches_of(call: Call, place: layers.Map) -> TensorRef:
    count = place.count
    sizes = _window_sizes(call.get("size", "sizes", default=1), count)
    strides = _window_sizes(call.get("strides", default=sizes), count)
    rates = _window_sizes(call.get("dilation_rate", "rates", default=1), count)
    return _slid(call, place, sizes, strides, rates, _padding_name(call), math.prod(sizes))


def _slid(
    call: Call,
    place: layers.Map,
    sizes: Sequence[int],
    strides: Sequence[int],
    rates: Sequence[int],
    padding: str,
    more: int = 1,
) -> TensorRef:
    """Return a map behind windows that take each channel by itself, ``more`` times as many."""
    made = layers.slid_over(call, place.sizes, sizes, strides, rates, padding)
    rank = place.rank
    return place.emit(
        "windowed",
        place.channels * more,
        made,
        dims=tuple(range(rank - place.count, rank)),
        kernel_size=tuple(sizes),
        stride=tuple(strides),
        dilation=tuple(rates),
        padding=padding if padding == "same" else 0,
        channel=rank - place.count - 1,
        scatters=more > 1,
    )


@layers.on_map(count=2)
def _blur(call: Call, place: layers.Map) -> TensorRef:
    sizes = per_axis(call.get("kernel_size", default=3), 2)
    made = _slid(call, place, sizes, (1, 1), (1, 1), "same")
    if canonical(call.kind) == "sobeledges":
        opened = call.emit("unsqueeze", (*made.shape, 1), input=made, dim=len(made.shape))
        return call.emit("expand", (*made.shape, 2), input=opened)
    return made


def _resize(call: Call) -> TensorRef:
    name = canonical(call.kind)
    size = _integers(call, call.get("size", default=[]))
    x = call.x
    alone = len(x.shape) == 3
    if alone:
        x = call.reshaped(x, (1, *x.shape))
    place = layers.map_of(call, 2, x)
    if place is None or len(size) != 2 or None in size:
        return call.unknown("it resizes an image to a size that is not in the model")
    method = layers.interpolation_of(call, "bilinear")
    for known in ("nearest", "bilinear", "bicubic"):
        if known in name:
            method = known
    kept = call.get("crop_to_aspect_ratio", "pad_to_aspect_ratio", "preserve_aspect_ratio")
    wanted = [one or 1 for one in size]
    made = layers.resized(call, place, wanted, method, bool(kept))
    return call.reshaped(made, made.shape[1:]) if alone else made


@layers.on_map(count=2)
def _depth_to_space(call: Call, place: layers.Map) -> TensorRef:
    block = int(call.get("block_size", default=2))
    channels, sizes = max(1, place.channels // block**2), [one * block for one in place.sizes]
    return place.emit("pixel_shuffle", channels, sizes, factor=block)


@layers.on_map(count=2)
def _space_to_depth(call: Call, place: layers.Map) -> TensorRef:
    block = int(call.get("block_size", default=2))
    sizes = [max(1, one // block) for one in place.sizes]
    return place.emit("pixel_unshuffle", place.channels * block**2, sizes, factor=block)


def _sampled(call: Call) -> TensorRef:
    return call.emit("grid_sample", call.x.shape, input=call.x)


# --- plumbing --------------------------------------------------------------------------------


def _reshape(call: Call) -> TensorRef:
    x = call.x
    wanted = call.at(1, "newshape", "shape")
    shape = [-1 if one is None else one for one in _integers(call, wanted)]
    if shape.count(-1) > 1:
        return call.unknown("its shape is known only when the model runs")
    return call.reshaped(x, layers.with_missing(shape, math.prod(x.shape)))


def _flatten(call: Call) -> TensorRef:
    return call.reshaped(call.x, (math.prod(call.x.shape),))


def _transpose(call: Call) -> TensorRef:
    order = call.get("axes", "perm")
    rank = len(call.x.shape)
    places = list(range(rank))[::-1] if order is None else _places(call, list(order), rank)
    return call.permuted(call.x, places)


def _swap(call: Call) -> TensorRef:
    order = list(range(len(call.x.shape)))
    first, second = call.get("axis1", default=0), call.get("axis2", default=1)
    order[first], order[second] = order[second], order[first]
    return call.permuted(call.x, order)


def _move(call: Call) -> TensorRef:
    rank = len(call.x.shape)
    source = _places(call, call.get("source", default=0), rank)
    target = _places(call, call.get("destination", default=0), rank)
    rest = [place for place in range(rank) if place not in source]
    order = dict(zip(target, source, strict=True))
    return call.permuted(call.x, [order[at] if at in order else rest.pop(0) for at in range(rank)])


def _expand_dims(call: Call) -> TensorRef:
    shape = list(call.x.shape)
    made = call.x
    for place in sorted(_places(call, call.get("axis", default=-1), len(shape) + 1)):
        shape.insert(place, 1)
        made = call.emit("unsqueeze", shape, input=made, dim=place)
    return made


def _squeeze(call: Call) -> TensorRef:
    x = call.x
    axis = call.get("axis", "squeeze_dims")
    places = _places(call, axis, len(x.shape))
    gone = tuple(one for one in places if x.shape[one] == 1 and (axis is not None or one))
    shape = [size for place, size in enumerate(x.shape) if place not in gone]
    return call.emit("squeeze", shape, input=x, dim=gone) if gone else x


def _concatenate(call: Call) -> TensorRef:
    if all(one.number in call.lowering.numbers for one in call.tensors):
        several = tuple(_integers(call, call.get("values", default=call.arguments[:1])))
        made = call.emit("shape", (len(several),), input=call.x)
        call.lowering.numbers[made.number] = several
        return made
    # A constant has a size of its own, which tiles would not fit, also where it is even.
    constants = [one._replace(even=()) for one in _given(call)]
    return layers.concatenated(call, call.get("axis", default=0), (*call.tensors, *constants))


def _stack(call: Call) -> TensorRef:
    constants = [one._replace(even=()) for one in _given(call)]
    tensors = (*call.tensors, *constants)
    shape = list(layers.broadcast([one.shape for one in tensors]))
    axis = layers.place_of(call.get("axis", default=0), len(shape) + 1)
    made = call.emit(
        "stack", (*shape[:axis], len(tensors), *shape[axis:]), tensors=tensors, dim=axis
    )
    numbers = [call.lowering.numbers.get(one.number) for one in call.tensors]
    if all(one is not None for one in numbers):
        call.lowering.numbers[made.number] = tuple(n for one in numbers for n in one or ())
    return made


_SPLIT = {"vsplit": 0, "hsplit": 1, "dsplit": 2}


def _split(call: Call) -> list[TensorRef]:
    """Cut along an axis; of parts that differ in size those in front are longer."""
    x, name = call.x, canonical(call.kind)
    axis = layers.place_of(_SPLIT.get(name, call.get("axis", default=0)), len(x.shape))
    size = x.shape[axis]
    parts = call.get("num_or_size_splits", "indices_or_sections", default=1)
    if isinstance(parts, int):
        each, longer = divmod(size, parts)
        bounds = [number * each + min(number, longer) for number in range(parts + 1)]
    elif name == "split" and call.get("num_or_size_splits") is not None:
        bounds = list(itertools.accumulate((one or 0 for one in _integers(call, parts)), initial=0))
    else:
        bounds = [0, *(one or 0 for one in _integers(call, parts)), size]
    shapes = [
        (*x.shape[:axis], stop - start, *x.shape[axis + 1 :])
        for start, stop in itertools.pairwise(bounds)
    ]
    return call.emit_all("split", shapes or [x.shape], input=x, dim=axis)


def _unstack(call: Call) -> list[TensorRef]:
    x = call.x
    axis = layers.place_of(call.get("axis", default=0), len(x.shape))
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    return call.emit_all("unbind", [shape] * x.shape[axis], input=x, dim=axis)


def _slices(call: Call) -> list[Any]:
    index = call.at(1, "slice_spec")
    several = isinstance(index, list | tuple) and type(index) is not TensorRef
    return list(index) if several else [index]


def _as_index(call: Call, one: Any) -> Any:
    """Return an index of the JSON as Python has it."""
    if not isinstance(one, Mapping):
        return one
    if one.get("class_name") == "__ellipsis__":
        return Ellipsis
    bounds = one.get("config", one)
    parts = []
    for name in ("start", "stop", "step"):
        number = bounds.get(name)
        parts.append(None if number is None else _integers(call, number)[0])
        if number is not None and parts[-1] is None:
            return one  # known only when the model runs
    return slice(*parts)


def _get_item(call: Call) -> TensorRef:
    x = call.x
    index = [_as_index(call, one) for one in _slices(call)]
    numbers = call.lowering.numbers.get(x.number)
    if numbers is not None and len(index) == 1 and isinstance(index[0], int | slice):
        (one,) = index
        kept = (numbers[one],) if isinstance(one, int) else numbers[one]
        made = call.emit("shape", () if isinstance(one, int) else (len(kept),), input=x)
        call.lowering.numbers[made.number] = kept
        return made
    used = sum(1 for one in index if one is not None and one is not Ellipsis)
    whole = [slice(None)] * (len(x.shape) - used)
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index[place : place + 1] = whole
    else:
        index += whole
    x, index = _turned(call, x, index)
    shape: list[int] = []
    plain: list[Any] = []
    place = -1
    for one in index:
        if one is None:
            shape.append(1)
            plain.append(None)
            continue
        place += 1
        if isinstance(one, slice):
            shape.append(len(range(*one.indices(x.shape[place]))))
            plain.append(one)
        elif isinstance(one, int):
            plain.append(one)
        else:
            shape.append(x.shape[place])
            plain.append(TensorRef(-1, (x.shape[place],)))
    return call.emit("getitem", shape, input=x, index=tuple(plain))


def _turned(call: Call, x: TensorRef, index: list[Any]) -> tuple[TensorRef, list[Any]]:
    """Return a tensor that is flipped where an index runs backwards, and an index that does not."""
    place = -1
    backwards: list[int] = []
    forwards: list[Any] = []
    for one in index:
        place += one is not None
        if isinstance(one, slice) and (one.step or 1) < 0:
            size = x.shape[place]
            run = range(*one.indices(size))
            backwards.append(place)
            first = size - 1 - run.start
            stop = first + (len(run) - 1) * -run.step + 1
            forwards.append(slice(first or None, None if stop >= size else stop, -run.step))
        else:
            forwards.append(one)
    if backwards:
        x = call.emit("flip", x.shape, input=x, dims=tuple(backwards))
    return x, forwards


def _slice(call: Call) -> TensorRef:
    x = call.x
    starts = _integers(call, call.get("begin", "start_indices", default=list(call.arguments[1:2])))
    sizes = _integers(call, call.get("size", "shape", default=[]))
    if len(starts) != len(x.shape) or len(sizes) != len(starts):
        return call.unknown("it slices at positions that are known only when the model runs")
    index, shape = [], []
    for whole, start, size in zip(x.shape, starts, sizes, strict=True):
        stop = None if size in (None, -1) or (start or 0) + (size or 0) >= whole else start + size  # type: ignore[operator]
        index.append(slice(start or None, stop))
        shape.append(len(range(whole)[index[-1]]))
    return call.emit("getitem", shape, input=x, index=tuple(index))


def _take(call: Call) -> TensorRef:
    x = call.x
    axis = layers.place_of(call.get("axis", default=0), len(x.shape))
    indices = call.at(1, "indices")
    if isinstance(indices, int):
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        return call.emit("select", shape, input=x, dim=axis, index=indices)
    size = len(indices) if isinstance(indices, list) else x.shape[axis]
    if type(indices) is Constant:
        size = indices.shape[0]
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return call.emit("index_select", shape, input=x, dim=axis, index=TensorRef(-1, (size,)))


def _pad(call: Call) -> TensorRef:
    x = call.x
    rank = len(x.shape)
    amounts = call.get("paddings", "pad_width", default=0)
    if isinstance(amounts, int):
        amounts = [[amounts, amounts]] * rank
    elif all(isinstance(one, int) for one in amounts):
        amounts = [amounts] * rank
    mode = str(call.get("mode", default="constant")).lower()
    if canonical(call.kind) == "mirrorpad" and mode == "constant":
        mode = "reflect"
    names = {"edge": "replicate", "wrap": "circular", "symmetric": "reflect"}
    return padded(call, x, [per_axis(one, 2) for one in amounts], names.get(mode, mode))


def padded(
    call: Call, x: TensorRef, amounts: Sequence[Sequence[int]], mode: str = "constant", **more: Any
) -> TensorRef:
    """Return a tensor with units added at both ends of every dimension, or cropped."""
    shape = [size + sum(pair) for size, pair in zip(x.shape, amounts, strict=True)]
    pad = [side for pair in reversed(amounts) for side in pair]
    return call.emit("pad", shape, input=x, pad=tuple(pad), mode=mode, **more)


def _pad_images(call: Call) -> TensorRef:
    x = call.x
    name = "cropping" if canonical(call.kind) == "cropimages" else "padding"
    sign = -1 if name == "cropping" else 1
    if len(x.shape) < 4:
        return call.unknown("it pads an image without a batch")
    first = layers.channels_first(call)
    amounts: list[Sequence[int]] = [(0, 0)] * len(x.shape)
    sides = (("top", "bottom", "target_height"), ("left", "right", "target_width"))
    for place, (one, other, target) in zip((2, 3) if first else (1, 2), sides, strict=True):
        begin, end = call.get(f"{one}_{name}"), call.get(f"{other}_{name}")
        total = int(call.get(target, default=0)) - x.shape[place]
        if begin is None:
            begin = sign * total - end if end is not None else 0
        if end is None:
            end = sign * total - begin
        amounts[place] = (sign * begin, sign * end)
    sized = any(call.get(target) is not None for _, _, target in sides)
    return padded(call, x, amounts, sized="varies" if sized else "")


def _roll(call: Call) -> TensorRef:
    x = call.x
    axis = call.get("axis")
    shifts = [one or 0 for one in _integers(call, call.get("shift", default=0))]
    dims = None if axis is None else tuple(_places(call, axis, len(x.shape)))
    return call.emit("roll", x.shape, input=x, shifts=tuple(shifts), dims=dims)


def _flipped(call: Call) -> TensorRef:
    x = call.x
    axis = call.get("axis")
    if axis is None and canonical(call.kind) != "flip":
        name = canonical(call.kind)
        axis = {
            "fliplr": 1,
            "flipud": 0,
            "flipleftright": 2,
            "fliplefright": 2,
            "flipupdown": 1,
        }.get(name)
    return call.emit("flip", x.shape, input=x, dims=tuple(_places(call, axis, len(x.shape))))


def _repeat(call: Call) -> TensorRef:
    """Every position several times in a row: nearest up-sampling."""
    x = call.x
    axis, times = call.get("axis"), call.get("repeats", default=1)
    if axis is None or not isinstance(times, int):
        return call.unknown("it repeats positions in a number that is not in the model")
    place = axis % len(x.shape)
    shape = (*x.shape[:place], x.shape[place] * times, *x.shape[place + 1 :])
    return call.emit("repeat_interleave", shape, input=x, repeats=times, dim=place)


def _tile(call: Call) -> TensorRef:
    x = call.x
    tiled = next((one for one in call.arguments if one is not None), x)
    constant = None if type(tiled) is TensorRef else constant_of(tiled)
    if constant is not None and all(one.number in call.lowering.numbers for one in call.tensors):
        several = _integers(call, call.get("repeats", "multiples", default=1))
        sizes = [size * (by or 1) for size, by in zip(constant.shape, several, strict=True)]
        made = call.emit("shape", sizes, input=x)
        call.lowering.told.add(made.number)
        return made
    several = _integers(call, call.get("repeats", "multiples", default=1))
    times = [one or 1 for one in several]
    shape = [1] * max(0, len(times) - len(x.shape)) + list(x.shape)
    times = [1] * (len(shape) - len(times)) + times
    return call.emit(
        "repeat",
        [size * by for size, by in zip(shape, times, strict=True)],
        input=x,
        repeats=tuple(times),
    )


def _broadcast_to(call: Call) -> TensorRef:
    x = call.x
    shape = _integers(call, call.get("shape", default=list(x.shape)))
    own = (1,) * (len(shape) - len(x.shape)) + x.shape
    sizes = [max(size, one or 1) for size, one in zip(own, shape, strict=False)]
    return call.emit("expand", sizes, input=x)


def _one_hot(call: Call) -> TensorRef:
    count = int(call.get("num_classes", "depth", default=1))
    return call.emit("embedding", (*call.x.shape, count), input=call.x)


def _rearrange(call: Call) -> TensorRef:
    """Patterns such as ``b (h p) w c -> b h w (p c)``."""
    texts = (one for one in (call.get("pattern"), *call.arguments) if isinstance(one, str))
    pattern = next(texts, "")
    before, _, after = pattern.partition("->")
    groups, wanted = _letters(before), _letters(after)
    if "..." in pattern or len(groups) != len(call.x.shape):
        return call.unknown(f"the pattern {pattern!r} is not understood")
    sizes: dict[str, int] = {}
    for group, size in zip(groups, call.x.shape, strict=True):
        told = {one: int(call.keywords[one]) for one in group if one in call.keywords}
        left_out = [one for one in group if one not in told]
        if len(left_out) > 1:
            return call.unknown(f"the sizes of {left_out!r} in {pattern!r} are not told")
        rest = max(1, size // max(1, math.prod(told.values())))
        sizes |= told | dict.fromkeys(left_out, rest)
    letters = [*itertools.chain.from_iterable(groups)]
    made = call.reshaped(call.x, [sizes[one] for one in letters])
    made = call.permuted(made, [letters.index(one) for group in wanted for one in group])
    return call.reshaped(made, [math.prod(sizes[one] for one in group) for group in wanted])


def _letters(side: str) -> list[list[str]]:
    """Return the names in every group of one side of a pattern."""
    return [re.findall(r"\w+", group) for group in re.findall(r"\([^)]*\)|\w+", side)]


# --- the table -------------------------------------------------------------------------------

_POINTWISE = words("""
abs absolute acos acosh add addn addv2 angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh
asin asinh atan atan2 atanh biasadd bitwiseand bitwisenot bitwiseor bitwisexor cast cbrt ceil celu
clip clipbyvalue conj conjugate converttotensor copy cos cosh crelu deg2rad digamma divide
dividenonan divnonan dropout elu equal erf erfc erfinv exp exp2 expm1 fabs floor floordiv
floordivide floormod fmax fmin gelu greater greaterequal hardshrink hardsigmoid hardsilu
hardtanh heaviside hsvtorgb hypot identity imag invert isclose isfinite isinf isnan leakyrelu less
lessequal lgamma log log10 log1p log2 logaddexp logicaland logicalnot logicalor logicalxor
logsigmoid maximum minimum mod mul multiply multiplynonan nantonum neg negative nextafter notequal
oneslike polar pow power rad2deg real realdiv reciprocal reciprocalnonan relu relu6 rgbtograyscale
rgbtohsv round rsqrt saturatecast scalarmul selu sigmoid sign silu sin sinc sinh softplus softshrink
softsign sparseplus sparsesigmoid sqrt square squareddifference squareplus stopgradient sub subtract
swish swishimpl tan tanh tanhshrink threshold tril triu truediv truedivide trunc xdivy xlogy
zeroslike binarycrossentropy bitwiseinvert bitwiseleftshift bitwiserightshift digitize emptylike
fmod fulllike gcd i0 isin isneginf isposinf isreal lcm ldexp leftshift logaddexp2 rightshift select
signbit
""")

_NORMALISATIONS = words("""
batchnorm batchnormalization fusedbatchnorm l2normalize layernorm localresponsenormalization lrn
normalize rmsnorm clipbynorm perimagestandardization adjustbrightness adjustcontrast adjusthue
adjustsaturation checknumerics ensureshape viewascomplex viewasreal shuffle
""")

_FAMILIES: tuple[tuple[list[str], layers.Lower], ...] = (
    (_POINTWISE, _pointwise),
    (["where"], _where),
    (_NORMALISATIONS, _norm),
    (words("fliplr flipud flip fliplefright flipleftright flipupdown reverse"), _flipped),
    (
        words("""
        all amax amin any argmax argmin average countnonzero logsumexp max mean median min moments
        nanargmax nanargmin nanmax nanmean nanmedian nanmin nanpercentile nanprod nanquantile nanstd
        nansum nanvar norm percentile prod ptp quantile reduceall reduceany reduceeuclideannorm
        reducelogsumexp reducemax reducemean reducemin reduceprod reducestd reducesum reducevariance
        std sum var zerofraction
        """),
        _reduce,
    ),
    (
        words(
            "argpartition argsort cumprod cumsum cumulativelogsumexp nancumprod nancumsum sort topk"
        ),
        _scan,
    ),
    (
        words("""
        fft fft2 fft2d fft3d fftnd ifft ifft2 ifft2d ifft3d irfft irfft2d irfft3d rfft rfft2d rfft3d
        """),
        _fourier,
    ),
    (
        words("""
        affinetransform cropandresize elastictransform imageprojectivetransformv2 mapcoordinates
        perspectivetransform scaleandtranslate
        """),
        _sampled,
    ),
    (
        words("""
        averagepool averagepooling avgpool avgpool1d avgpool2d avgpool3d maxpool maxpool1d maxpool2d
        maxpool3d maxpoolv2
        """),
        _pool,
    ),
    (words("resize resizebicubic resizebilinear resizeimages resizenearestneighbor"), _resize),
    (words("adaptiveaveragepool adaptivemaxpool"), layers.adaptive),
    (["broadcastto"], _broadcast_to),
    (words("concat concatenate"), _concatenate),
    (words("cropimages padimages"), _pad_images),
    ([*_CONVOLUTIONS, *_OF_TENSORFLOW], _convolve),
    (["depthtospace"], _depth_to_space),
    (words("dot tensordot"), _tensordot),
    (["dotproductattention"], _attention),
    (["einsum"], _einsum),
    (["expanddims"], _expand_dims),
    (["extractpatches"], _patches),
    (words("flatten ravel"), _flatten),
    (words("gather take takealongaxis"), _take),
    (words("gaussianblur sobeledges"), _blur),
    (["getitem"], _get_item),
    (["glu"], _glu),
    (words("logsoftmax softmax sparsemax"), _softmax),
    (["matmul"], _matmul),
    (words("mirrorpad pad"), _pad),
    (["moveaxis"], _move),
    (["onehot"], _one_hot),
    (["rearrange"], _rearrange),
    (["repeat"], _repeat),
    (["reshape"], _reshape),
    (["roll"], _roll),
    (["shape"], _shape),
    (["slice"], _slice),
    (["spacetodepth"], _space_to_depth),
    ([*_SPLIT, *words("split arraysplit")], _split),
    (["squeeze"], _squeeze),
    (["stack"], _stack),
    (["swapaxes"], _swap),
    (["tile"], _tile),
    (["transpose"], _transpose),
    (["unstack"], _unstack),
)

OPERATIONS: dict[str, layers.Lower] = {
    **{name: rule for names, rule in _FAMILIES for name in names},
    **RARER,
}
"""How to lower every known operation."""
