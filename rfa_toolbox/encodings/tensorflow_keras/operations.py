"""What bare operations do to positions: ``x * 2``, slices, ``keras.ops``, functions of TensorFlow.

One rule per family, and one table of names at the end. Keras 2 stores the name of a function of
TensorFlow, Keras 3 the class of an operation; ``canonical`` makes one spelling of both.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from rfa_toolbox.encodings.tensorflow_keras.positions import (
    Effect,
    LayerCall,
    Value,
    broadcasted,
    carried,
    channels_first,
    combined,
    concatenated,
    contracted,
    dimension_size,
    keep,
    mix,
    normalised,
    numbers_shape,
    per_axis,
    picked,
    places_at,
    pooled,
    resampled,
    side_by_side,
    size_known,
    slide,
    sliding,
    softmaxed,
    spatial_dimensions,
    unknown,
    varies,
    without,
    words,
)
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Dimension, Lost, plain
from rfa_toolbox.operators.windows import SOMEWHERE, Window, in_blocks, mixed_windows

__all__ = ["RULES", "Rule", "canonical"]

Rule: TypeAlias = "Callable[[LayerCall], Effect]"


def canonical(name: str) -> str:
    """Return one spelling of the names that Keras 2 and Keras 3 have for an operation.

    >>> canonical("math.reduce_mean"), canonical("GetItem"), canonical("__operators__.getitem")
    ('reducemean', 'getitem', 'getitem')
    """
    return name.rsplit(".", 1)[-1].replace("_", "").lower()


# --- helpers ---------------------------------------------------------------------------------


def _integers(value: Any) -> list[int | None]:
    """Return a shape or an index as integers; None where it is known only when the model runs."""
    if isinstance(value, Value):
        return [None] if value.numbers is None else list(value.numbers)
    if isinstance(value, list | tuple):
        return [number for one in value for number in _integers(one)]
    return [value if type(value) is int else None]


def _places(axis: Any, rank: int) -> list[int]:
    if axis is None:
        return list(range(rank))
    return [one % rank for one in _integers(axis) if one is not None]


def _tensors(call: LayerCall) -> list[Value]:
    return list(call.values)


def _still(call: LayerCall) -> LayerCall:
    """Return the call as one that does not tell which axes are those of the image."""
    return attrs.evolve(call, probing=False)


# --- element-wise ----------------------------------------------------------------------------

_ON_NUMBERS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add, "addv2": operator.add, "subtract": operator.sub, "sub": operator.sub,
    "multiply": operator.mul, "mul": operator.mul, "floordiv": operator.floordiv,
    "floordivide": operator.floordiv, "mod": operator.mod, "truediv": operator.floordiv,
}  # fmt: skip


def _pointwise(call: LayerCall) -> Effect:
    name = canonical(call.class_name)
    product = name in ("multiply", "mul") and len(call.values) > 1
    numbers = None
    if name in _ON_NUMBERS and call.value.numbers is not None:
        second = [*call.arguments[1:2], *(call.keywords.get(key) for key in ("y", "x2", "other"))]
        found = next((one for one in map(_integers, second) if one[0] is not None), None)
        if found and len(found) == 1 and name in _ON_NUMBERS:
            numbers = tuple(_ON_NUMBERS[name](one, found[0] or 1) for one in call.value.numbers)
    layout = broadcasted(call.values)
    dependent = varies(call, layout) or (name in ("tril", "triu") and carried(layout, (-1, -2)))
    return combined(call, layout, product=product, numbers=numbers, position_dependent=dependent)


def _neutral(call: LayerCall) -> Effect:
    return keep(call, call.value.layout)


def _norm(call: LayerCall) -> Effect:
    name, rank = canonical(call.class_name), len(call.value.layout)
    if name == "perimagestandardization":
        return normalised(call, range(1, rank))
    if name == "l2normalize":  # over everything, unless it says otherwise
        return normalised(call, _places(call.get("axis", "dim"), rank))
    if name in ("layernorm", "normalize", "rmsnorm"):
        return normalised(call, _places(call.get("axis", default=-1), rank))
    effect = _neutral(call)
    if name in _OF_WHOLE_IMAGES:
        whole = carried(call.value.layout, range(rank))
        return attrs.evolve(effect, ignored_global=whole)
    if name in ("batchnorm", "batchnormalization", "fusedbatchnorm"):
        axes = _places(call.get("axis", default=1 if channels_first(call) else -1), rank)
        return attrs.evolve(effect, position_dependent=carried(call.value.layout, axes))
    return effect


def _shape(call: LayerCall) -> Effect:
    return keep(call, (plain(len(call.value.layout)),), numbers=call.value.shape)


# --- operations that mix dimensions ----------------------------------------------------------


def _reduce(call: LayerCall) -> Effect:
    value = call.value
    rank = len(value.layout)
    places = _places(call.get("axis", "axes", "reduction_indices"), rank)
    kept = bool(call.get("keepdims", "keep_dims"))
    layout = tuple(
        () if place in places else dimension
        for place, dimension in enumerate(value.layout)
        if kept or place not in places
    )
    effect = mix(value, places, layout)
    several = 2 if canonical(call.class_name) == "moments" else 1
    return attrs.evolve(effect, layouts=(layout,) * several)


def _scan(call: LayerCall) -> Effect:
    value = call.value
    places = _places(call.get("axis", default=-1), len(value.layout))
    return mix(value, places, value.layout)


def _fourier(call: LayerCall) -> Effect:
    """Every position sees every other one; a real transform has about half the positions."""
    value = call.value
    name = canonical(call.class_name)
    count = int(name.rstrip("d")[-1]) if name.rstrip("d")[-1].isdigit() else 1
    places = list(range(len(value.layout)))[-count:]
    windows = {
        axis: Window(math.inf) for axis in mixed_windows(value.layout, places, value.extents)
    }
    layout = list(value.layout)
    if "rfft" in name:
        size = dimension_size(layout[-1])
        size = 2 * (size - 1) if name.startswith("i") else size // 2 + 1
        axes = layouts.axes_of(layout[-1])
        layout[-1] = (Lost(size, axes),) if axes else plain(size)
    return Effect(value, (tuple(layout),) * 2, windows)


def _softmax(call: LayerCall) -> Effect:
    return softmaxed(call, call.value, call.get("axis", "dim", default=-1))


def _glu(call: LayerCall) -> Effect:
    """The first half of a dimension, weighed by the second one."""
    value = call.value
    axis = int(call.get("axis", default=-1)) % len(value.layout)
    effect = softmaxed(call, value, axis)
    half = layouts.slice_dimension(value.layout[axis], 0, value.shape[axis] // 2)
    layout = (*value.layout[:axis], half, *value.layout[axis + 1 :])
    return attrs.evolve(effect, layouts=(layout,))


def _operands(call: LayerCall) -> tuple[Value, Value]:
    """Return both operands of a product; what is no tensor has no positions.

    A constant whose shape is not in the JSON counts as a square matrix.
    """
    names = (("x1", "a", "x"), ("x2", "b", "y"))
    rest = list(call.arguments)
    if (
        len(rest) == 1
        and isinstance(rest[0], list)
        and any(isinstance(one, Value) for one in rest[0])
    ):
        rest = list(rest[0])
    found: list[Any] = []
    for several in names:
        keyword = next((call.keywords[name] for name in several if name in call.keywords), None)
        found.append(keyword)
    for place, one in enumerate(found):
        if one is None and rest:
            found[place] = rest.pop(0)
    tensors = [one for one in found if isinstance(one, Value)]
    first = tensors[0] if tensors else call.value
    if not tensors:
        found[0] = first
    width = first.shape[-1] if isinstance(found[0], Value) else first.shape[-2:][0]
    for place, one in enumerate(found):
        if not isinstance(one, Value):
            shape = numbers_shape(one) or (width, width)
            found[place] = attrs.evolve(
                first,
                layout=tuple(map(plain, shape)),
                numbers=None,
                guessed=not numbers_shape(one),
            )
    return found[0], found[1]


def _matmul(call: LayerCall) -> Effect:
    left, right = _operands(call)
    count_left, count_right = len(left.layout), len(right.layout)
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
    return contracted([(left, first), (right, second)], result)


def _einsum(call: LayerCall) -> Effect:
    equation = call.get("subscripts", "equation")
    if equation is None:
        equation = next((one for one in call.arguments if isinstance(one, str)), "")
    inputs, _, result = str(equation).replace(" ", "").partition("->")
    letters = inputs.split(",")
    if not result or "..." in equation or len(letters) != len(call.values):
        return unknown(call, f"the equation {equation!r} is not understood")
    return contracted(list(zip(_tensors(call), map(list, letters), strict=True)), list(result))


def _tensordot(call: LayerCall) -> Effect:
    left, right = _operands(call)
    axes = call.get("axes", default=2)
    if canonical(call.class_name) == "dot":
        axes = [[-1], [max(0, len(right.layout) - 2)]]
    if isinstance(axes, int):
        axes = [list(range(-axes, 0)), list(range(axes))]
    first = [f"l{place}" for place in range(len(left.layout))]
    second = [f"r{place}" for place in range(len(right.layout))]
    for number, (one, other) in enumerate(zip(*map(_integers, axes), strict=True)):
        first[one or 0] = second[other or 0] = f"sum{number}"
    result = [one for one in (*first, *second) if not one.startswith("sum")]
    effect = contracted([(left, first), (right, second)], result)
    return attrs.evolve(effect, product=effect.product and len(call.values) > 1)


def _attention(call: LayerCall) -> Effect:
    query, value = call.tensor("query", 0), call.tensor("value", 2)
    if query is None or value is None:
        return unknown(call, "an attention without query and value is not understood")
    layout = (*query.layout[:-1], value.layout[-1])
    windows = mixed_windows(value.layout, (1,), value.extents)
    return Effect(
        query, (layout,), windows, blockwise=in_blocks(windows),
        position_dependent=call.get("mask", "bias") is not None,
    )  # fmt: skip


# --- sliding windows -------------------------------------------------------------------------


def _window_sizes(value: Any, count: int) -> tuple[int, ...]:
    """Return sizes per spatial dimension; TensorFlow may list batch and channels too."""
    if isinstance(value, list | tuple) and len(value) == count + 2:
        value = value[1:-1]
    return per_axis(value, count)


def _pool(call: LayerCall) -> Effect:
    value = call.value
    found = spatial_dimensions(call, value, len(value.layout) - 2)
    if found is None:
        return unknown(call, "it pools a tensor without spatial dimensions")
    dimensions, channel = found
    count = len(dimensions)
    sizes = _window_sizes(call.get("pool_size", "ksize", "window_shape", default=2), count)
    strides = _window_sizes(call.get("strides", default=sizes), count)
    padding = str(call.get("padding", default="valid")).lower()
    return pooled(call, value, dimensions, channel, sizes, strides, padding)


def _adaptive_pool(call: LayerCall) -> Effect:
    value = call.value
    found = spatial_dimensions(call, value, len(value.layout) - 2)
    if found is None:
        return unknown(call, "it pools a tensor without spatial dimensions")
    wanted = per_axis(call.get("output_size", default=1), len(found[0]))
    return resampled(call, value, dict(zip(found[0], wanted, strict=True)), channel=found[1])


def _patches(call: LayerCall) -> Effect:
    """Windows become channels."""
    value = call.value
    wanted = call.get("size", "sizes", default=1)
    count = 3 if isinstance(wanted, list | tuple) and len(wanted) == 3 else 2
    found = spatial_dimensions(call, value, count)
    if found is None:
        return unknown(call, "it takes patches of a tensor without spatial dimensions")
    dimensions, channel = found
    sizes = _window_sizes(wanted, count)
    strides = _window_sizes(call.get("strides", default=sizes), count)
    rates = _window_sizes(call.get("dilation_rate", "rates", default=1), count)
    padding = str(call.get("padding", default="valid")).lower()
    windows = {
        place: sliding(
            size,
            stride,
            rate,
            padding,
            dimension_size(value.layout[place]),
            size_known(value, place),
        )
        for place, size, stride, rate in zip(dimensions, sizes, strides, rates, strict=True)
    }
    channels = dimension_size(value.layout[channel]) * math.prod(sizes)
    return slide(call, value, windows, {channel: channels}, channel)


def _blur(call: LayerCall) -> Effect:
    value = call.value
    found = spatial_dimensions(call, value, 2)
    if found is None:
        return unknown(call, "it blurs a tensor without spatial dimensions")
    sizes = per_axis(call.get("kernel_size", default=3), 2)
    effect = slide(
        call,
        value,
        {
            place: sliding(size, 1, 1, "same", dimension_size(value.layout[place]), True)
            for place, size in zip(found[0], sizes, strict=True)
        },
        channel=found[1],
    )
    if canonical(call.class_name) == "sobeledges":
        return attrs.evolve(effect, layouts=((*effect.layouts[0], plain(2)),))
    return effect


def _resize(call: LayerCall) -> Effect:
    value = call.value
    rank = len(value.layout)
    name = canonical(call.class_name)
    size = _integers(call.get("size", default=[]))
    found = spatial_dimensions(call, value, 2) if rank > 3 else (range(rank - 1), rank - 1)
    if found is None or len(size) != 2:
        return unknown(call, "it resizes an image to a size that is not in the model")
    method = str(call.get("interpolation", "method", default="bilinear"))
    for known in ("nearest", "bilinear", "bicubic"):
        if known in name:
            method = known
    kept = call.get("crop_to_aspect_ratio", "pad_to_aspect_ratio", "preserve_aspect_ratio")
    facts: dict[str, Any] = {}
    if kept:
        facts = {"certainty": "bound", "reason": "how much is cut to keep the aspect ratio depends "
                 "on the size of the image"}  # fmt: skip
    return resampled(
        call, value, dict(zip(found[0], size, strict=True)), method, bool(call.get("antialias")),
        whole=False, channel=found[1], placed=not kept, **facts,
    )  # fmt: skip


def _depth_to_space(call: LayerCall) -> Effect:
    value = call.value
    block = int(call.get("block_size", default=2))
    found = spatial_dimensions(call, value, 2)
    if found is None:
        return unknown(call, "it moves channels of a tensor without spatial dimensions")
    dimensions, channel = found
    channels = max(1, dimension_size(value.layout[channel]) // block**2)
    window = Window(block, 1, begin=block - 1, end=block - 1, upsampling=block)
    windows = {one: (window, dimension_size(value.layout[one]) * block) for one in dimensions}
    return slide(call, value, windows, {channel: channels}, channel)


def _space_to_depth(call: LayerCall) -> Effect:
    value = call.value
    block = int(call.get("block_size", default=2))
    found = spatial_dimensions(call, value, 2)
    if found is None:
        return unknown(call, "it moves positions of a tensor without spatial dimensions")
    dimensions, channel = found
    channels = dimension_size(value.layout[channel]) * block**2
    windows = {
        one: (Window(block, block), max(1, dimension_size(value.layout[one]) // block))
        for one in dimensions
    }
    return slide(call, value, windows, {channel: channels}, channel)


def _sampled(call: LayerCall) -> Effect:
    """Positions that are computed from data: any position may be seen."""
    value = call.value
    mixed = mixed_windows(value.layout, range(1, len(value.layout)), value.extents)
    return Effect(
        value, (value.layout,), {axis: Window(math.inf) for axis in mixed}, certainty="bound",
        reason=f"where '{call.class_name}' samples the map depends on data; counted as seeing "
        "everything",
    )  # fmt: skip


# --- plumbing --------------------------------------------------------------------------------


def _reshape(call: LayerCall) -> Effect:
    value = call.value
    wanted = call.get("newshape", "shape")
    if wanted is None and len(call.arguments) > 1:
        wanted = call.arguments[1]
    shape = [-1 if one is None else one for one in _integers(wanted)]
    if shape.count(-1) > 1:
        return unknown(call, f"the shape {wanted!r} is known only when the model runs")
    known = math.prod(one for one in shape if one != -1)
    missing = max(1, math.prod(value.shape) // max(1, known))
    return keep(
        call, layouts.reshape(value.layout, [missing if one == -1 else one for one in shape])
    )


def _flatten(call: LayerCall) -> Effect:
    value = call.value
    return keep(call, layouts.reshape(value.layout, (math.prod(value.shape),)))


def _transpose(call: LayerCall) -> Effect:
    value = call.value
    order = call.get("axes", "perm")
    if order is None:
        order = range(len(value.layout))[::-1]
    return keep(call, layouts.permute(value.layout, _places(list(order), len(value.layout))))


def _swap(call: LayerCall) -> Effect:
    value = call.value
    order = list(range(len(value.layout)))
    first, second = call.get("axis1", default=0), call.get("axis2", default=1)
    order[first], order[second] = order[second], order[first]
    return keep(call, layouts.permute(value.layout, order))


def _move(call: LayerCall) -> Effect:
    value = call.value
    rank = len(value.layout)
    source = _places(call.get("source", default=0), rank)
    target = _places(call.get("destination", default=0), rank)
    rest = [place for place in range(rank) if place not in source]
    order = dict(zip(target, source, strict=True))
    return keep(
        call,
        layouts.permute(
            value.layout, [order[at] if at in order else rest.pop(0) for at in range(rank)]
        ),
    )


def _expand_dims(call: LayerCall) -> Effect:
    layout = list(call.value.layout)
    for place in sorted(_places(call.get("axis", default=-1), len(layout) + 1)):
        layout.insert(place, ())
    return keep(call, tuple(layout))


def _squeeze(call: LayerCall) -> Effect:
    value = call.value
    axis = call.get("axis", "squeeze_dims")
    places = _places(axis, len(value.layout))
    gone = [one for one in places if value.shape[one] == 1 and (axis is not None or one)]
    layout = tuple(one for place, one in enumerate(value.layout) if place not in gone)
    return keep(call, layout)


def _concatenate(call: LayerCall) -> Effect:
    return concatenated(call, int(call.get("axis", default=0)))


def _stack(call: LayerCall) -> Effect:
    layout = list(broadcasted(call.values))
    dependent = varies(call, tuple(layout))
    axis = int(call.get("axis", default=0)) % (len(layout) + 1)
    numbers = [one for value in call.values for one in (value.numbers or (None,))]
    known = tuple(one for one in numbers if one is not None)
    row = side_by_side(call, [picked(value) for value in call.values])
    seams: dict[int, list[int]] = {}
    dimension = plain(len(call.values))
    if row is not None and len(call.values) > 1:
        (carrying, offsets, dimension) = row
        seams[carrying] = offsets
    elif len(call.values) > 1 and all(value.places for value in call.values):
        axes = tuple(sorted({axis for value in call.values for axis in value.places}))
        dimension = (Lost(len(call.values), axes),)
    return combined(
        call,
        (*layout[:axis], dimension, *layout[axis:]),
        [value.layout for value in call.values],
        numbers=known if len(known) == len(numbers) else None,
        position_dependent=dependent or bool(seams),
        seams=seams,
        places=[without(call, seams)],
    )


def _split(call: LayerCall) -> Effect:
    value = call.value
    axis = int(call.get("axis", default=0)) % len(value.layout)
    size = dimension_size(value.layout[axis])
    parts = call.get("num_or_size_splits", "indices_or_sections", default=1)
    if isinstance(parts, int):
        bounds = [size * number // parts for number in range(parts + 1)]
    elif canonical(call.class_name) == "split" and call.get("num_or_size_splits") is not None:
        bounds = [0]
        for one in _integers(parts):
            bounds.append(bounds[-1] + (one or 0))
    else:
        bounds = [0, *(one or 0 for one in _integers(parts)), size]
    results = tuple(
        (
            *value.layout[:axis],
            layouts.slice_dimension(value.layout[axis], start, stop),
            *value.layout[axis + 1 :],
        )
        for start, stop in itertools.pairwise(bounds)
    )
    return Effect(
        value, results or (value.layout,), position_dependent=carried(value.layout, (axis,))
    )


def _unstack(call: LayerCall) -> Effect:
    value = call.value
    axis = int(call.get("axis", default=0)) % len(value.layout)
    layout = value.layout[:axis] + value.layout[axis + 1 :]
    count = value.shape[axis]
    places = [{**value.places, **places_at(value, axis, index)} for index in range(count)]
    return Effect(
        value,
        (layout,) * count,
        windows=_somewhere(places[0]),
        places=places,
        position_dependent=carried(value.layout, (axis,)),
    )


def _somewhere(places: Mapping[int, int | None]) -> dict[int, Window]:
    """Return the windows of units of which it is not known which ones they are."""
    return {axis: SOMEWHERE for axis, unit in places.items() if unit is None}


def _slices(call: LayerCall) -> list[Any]:
    index = call.get("slice_spec")
    if index is None and len(call.arguments) > 1:
        index = call.arguments[1]
    return index if isinstance(index, list) else [index]


def _as_index(one: Any) -> Any:
    """Return an index of the JSON as Python has it."""
    if not isinstance(one, dict):
        return one
    if one.get("class_name") == "__ellipsis__":
        return Ellipsis
    bounds = one.get("config", one)
    parts = []
    for name in ("start", "stop", "step"):
        number = bounds.get(name)
        parts.append(None if number is None else _integers(number)[0])
        if number is not None and parts[-1] is None:
            return one  # known only when the model runs
    return slice(*parts)


def _get_item(call: LayerCall) -> Effect:
    value = call.value
    index = [_as_index(one) for one in _slices(call)]
    if value.numbers is not None and len(index) == 1:
        (one,) = index
        if isinstance(one, int):
            return keep(call, (), numbers=(value.numbers[one],))
        if isinstance(one, slice):
            numbers = value.numbers[one]
            return keep(call, (plain(len(numbers)),), numbers=numbers)
    used = sum(1 for one in index if one is not None and one is not Ellipsis)
    whole = [slice(None)] * (len(value.layout) - used)
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index[place : place + 1] = whole
    else:
        index += whole
    layout: list[Dimension] = []
    place = -1
    chosen: list[int] = []
    mirrored: list[int] = []
    places: dict[int, int | None] = dict(value.places)
    windows: dict[int, Window] = {}
    dependent = False
    for one in index:
        if one is None:
            layout.append(())
            continue
        place += 1
        dimension = value.layout[place] if place < len(value.layout) else ()
        dependent |= bool(layouts.axes_of(dimension)) and not _from_edges(one, dimension)
        if isinstance(one, slice):
            start, stop, step = one.indices(dimension_size(dimension))
            if step < 0:
                mirrored.extend(layouts.axes_of(dimension))
                start, stop, step = 0, 1 - len(range(start, stop, step)) * step + step, -step
            layout.append(layouts.slice_dimension(dimension, start, stop, step))
        elif isinstance(one, int):
            places |= places_at(value, place, one)
            windows |= _somewhere(places)
        else:
            chosen.extend(layouts.axes_of(dimension))
            layout.append(dimension)
    if not chosen:
        windows |= dict.fromkeys(mirrored, SOMEWHERE)
        return keep(
            call, tuple(layout), windows=windows, places=[places], turned=frozenset(mirrored),
            position_dependent=dependent,
        )  # fmt: skip
    return Effect(
        value, (tuple(layout),), certainty="bound", reason=_PICKED, position_dependent=True,
        windows=dict.fromkeys(chosen, SOMEWHERE), turned=frozenset(chosen),
    )  # fmt: skip


def _from_edges(one: Any, dimension: Dimension) -> bool:
    """Return whether an index takes as much less of an image as that is smaller."""
    size = dimension_size(dimension)
    return isinstance(one, slice) and (
        (one.start or 0) >= 0
        and (one.stop is None or one.stop < 0 or one.stop >= size)
        and (one.step or 1) > 0
    )


_PICKED = "it picks positions by an index that is computed; their order is not followed"


def _slice(call: LayerCall) -> Effect:
    value = call.value
    starts = _integers(call.get("begin", "start_indices", default=list(call.arguments[1:2])))
    sizes = _integers(call.get("size", "shape", default=[]))
    if len(starts) != len(value.layout) or len(sizes) != len(starts):
        return unknown(call, "it slices at positions that are known only when the model runs")
    layout = tuple(
        layouts.slice_dimension(
            dimension, start or 0,
            dimension_size(dimension) if size in (None, -1) else (start or 0) + (size or 0),
        )
        for dimension, start, size in zip(value.layout, starts, sizes, strict=True)
    )  # fmt: skip
    dependent = any(
        layouts.axes_of(before)
        and (start is None or size is None or (size != -1 and before != after))
        for before, after, start, size in zip(value.layout, layout, starts, sizes, strict=True)
    )
    return keep(call, layout, position_dependent=dependent)


def _take(call: LayerCall) -> Effect:
    value = call.value
    axis = int(call.get("axis", default=0)) % len(value.layout)
    indices = call.get("indices")
    if indices is None and len(call.arguments) > 1:
        indices = call.arguments[1]
    if isinstance(indices, int):
        layout = value.layout[:axis] + value.layout[axis + 1 :]
        places = {**value.places, **places_at(value, axis, indices)}
        return keep(
            call, layout, windows=_somewhere(places), places=[places],
            position_dependent=carried(value.layout, (axis,)),
        )  # fmt: skip
    axes = layouts.axes_of(value.layout[axis])
    if not axes:
        return keep(call, value.layout)
    size = len(indices) if isinstance(indices, list) else dimension_size(value.layout[axis])
    layout = (*value.layout[:axis], (Lost(size, axes),), *value.layout[axis + 1 :])
    return Effect(value, (layout,), certainty="bound", reason=_PICKED, turned=frozenset(axes))


def _pad(call: LayerCall) -> Effect:
    value = call.value
    rank = len(value.layout)
    amounts = call.get("paddings", "pad_width", default=0)
    if isinstance(amounts, int):
        amounts = [[amounts, amounts]] * rank
    elif all(isinstance(one, int) for one in amounts):
        amounts = [amounts] * rank
    sides: dict[int, Sequence[int]] = {place: per_axis(one, 2) for place, one in enumerate(amounts)}
    effect = _padded(call, value, sides)
    mode = str(call.get("mode", default="constant")).lower()
    if mode == "constant" and canonical(call.class_name) != "mirrorpad":
        return effect
    # Units from elsewhere: how far the layers behind look is not known here. Where some were cut
    # off, those that stand in their place are copies of others.
    places = [place for place, side in sides.items() if any(side)]
    cropped = {axis for place in places for axis in layouts.axes_of(value.layout[place])}
    windows = {
        axis: window._replace(begin=None, end=None) if axis in cropped & value.cropped else window
        for axis, window in effect.windows.items()
    }
    copied = carried(value.layout, places) and (mode != "edge" or bool(cropped & value.cropped))
    return attrs.evolve(effect, windows=windows, position_dependent=copied)


def _padded(call: LayerCall, value: Value, amounts: dict[int, Sequence[int]]) -> Effect:
    windows = {
        place: (Window(begin=begin, end=end), dimension_size(value.layout[place]) + begin + end)
        for place, (begin, end) in amounts.items()
        if begin or end
    }
    return slide(_still(call), value, windows)


def _pad_images(call: LayerCall) -> Effect:
    value = call.value
    name = "cropping" if canonical(call.class_name) == "cropimages" else "padding"
    sign = -1 if name == "cropping" else 1
    found = spatial_dimensions(call, value, 2)
    if found is None:
        return unknown(call, "it pads an image without a batch")
    amounts: dict[int, Sequence[int]] = {}
    sides = (("top", "bottom", "target_height"), ("left", "right", "target_width"))
    for place, (first, second, target) in zip(found[0], sides, strict=True):
        begin, end = call.get(f"{first}_{name}"), call.get(f"{second}_{name}")
        total = int(call.get(target, default=0)) - dimension_size(value.layout[place])
        if begin is None:
            begin = sign * total - end if end is not None else 0
        if end is None:
            end = sign * total - begin
        amounts[place] = (sign * begin, sign * end)
    sized = any(call.get(target) is not None for _, _, target in sides)
    return attrs.evolve(_padded(call, value, amounts), position_dependent=sized)


def _roll(call: LayerCall) -> Effect:
    value = call.value
    axis = call.get("axis")
    layout = list(value.layout)
    places = _places(axis, len(layout))
    if axis is None:  # as one long row
        windows = dict.fromkeys(layouts.spatial_axes(value.layout), Window(math.inf))
        return keep(
            call, windows=windows, certainty="bound", reason=_ROLLED,
            position_dependent=bool(windows),
        )  # fmt: skip
    shifts = _integers(call.get("shift", default=0))
    for place, by in zip(places, shifts, strict=False):
        layout[place] = layouts.shift(layout[place], by or 0)
    dependent = carried(layout, places)
    turned = frozenset(layouts.lost_pieces(tuple(layout)) if dependent else ())
    return keep(call, tuple(layout), turned=turned, position_dependent=dependent)


_ROLLED = "it rolls all rows as one, which brings every unit from elsewhere"


def _flipped(call: LayerCall) -> Effect:
    """Windows keep their size when a map is mirrored; where they lie is no longer followed."""
    layout = call.value.layout
    places = _places(call.get("axis"), len(layout))
    axes = frozenset(axis for place in places for axis in layouts.axes_of(layout[place]))
    return keep(
        call,
        windows=dict.fromkeys(axes, SOMEWHERE),
        turned=axes,
        position_dependent=bool(axes),
    )


def _repeat(call: LayerCall) -> Effect:
    """Every position several times in a row: nearest up-sampling."""
    value = call.value
    axis, times = call.get("axis"), call.get("repeats", default=1)
    if axis is None or not isinstance(times, int):
        return unknown(call, "it repeats positions in a number that is not in the model")
    place = axis % len(value.layout)
    window = Window(times, 1, begin=times - 1, end=times - 1, upsampling=times)
    return slide(
        _still(call), value, {place: (window, dimension_size(value.layout[place]) * times)}
    )


def _tile(call: LayerCall) -> Effect:
    value = call.value
    times = [one or 1 for one in _integers(call.get("repeats", "multiples", default=1))]
    layout: list[Dimension] = [()] * max(0, len(times) - len(value.layout))
    layout += value.layout
    times = [1] * (len(layout) - len(times)) + times
    for place, count in enumerate(times):
        if count != 1:
            axes = layouts.axes_of(layout[place])
            size = dimension_size(layout[place]) * count
            layout[place] = (Lost(size, axes),) if axes else plain(size)
    return keep(call, tuple(layout))


def _broadcast_to(call: LayerCall) -> Effect:
    value = call.value
    shape = _integers(call.get("shape", default=list(value.shape)))
    own = (1,) * (len(shape) - len(value.layout)) + value.shape
    sizes = [max(size, one or 1) for size, one in zip(own, shape, strict=False)]
    return keep(call, layouts.broadcast((value.layout,), sizes))


def _one_hot(call: LayerCall) -> Effect:
    return keep(call, (*call.value.layout, plain(int(call.get("num_classes", "depth", default=1)))))


def _rearrange(call: LayerCall) -> Effect:
    """Patterns such as ``b (h p) w c -> b h w (p c)``."""
    value = call.value
    pattern = call.get("pattern") or next(
        (one for one in call.arguments if isinstance(one, str)), ""
    )
    before, _, after = (part.strip() for part in pattern.partition("->"))
    groups, wanted = (
        [re.findall(r"\w+", group) for group in re.findall(r"\([^)]*\)|\w+", part)]
        for part in (before, after)
    )
    if "..." in pattern or len(groups) != len(value.layout):
        return unknown(call, f"the pattern {pattern!r} is not understood")
    sizes: dict[str, int] = {}
    for group, size in zip(groups, value.shape, strict=True):
        given = {one: int(call.keywords[one]) for one in group if one in call.keywords}
        sizes.update(given)
        for one in group:
            sizes.setdefault(one, max(1, size // math.prod(given.values())))
    letters = [one for group in groups for one in group]
    order = [letters.index(one) for group in wanted for one in group]
    layout = layouts.reshape(value.layout, [sizes[one] for one in letters])
    layout = layouts.permute(layout, order)
    return keep(
        call, layouts.reshape(layout, [math.prod(sizes[one] for one in group) for group in wanted])
    )


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
swish swishimpl tan tanh tanhshrink threshold tril triu truediv truedivide trunc where xdivy xlogy
zeroslike
""")

_NORMALISATIONS = words("""
batchnorm batchnormalization fusedbatchnorm l2normalize layernorm localresponsenormalization lrn
normalize rmsnorm clipbynorm perimagestandardization adjustbrightness adjustcontrast adjusthue
adjustsaturation checknumerics ensureshape viewascomplex viewasreal shuffle
""")

_OF_WHOLE_IMAGES = words("adjustcontrast clipbynorm shuffle")

_FLIPS = words("fliplr flipud flip fliplefright flipleftright flipupdown reverse")

_REDUCTIONS = words("""
all amax amin any argmax argmin average countnonzero logsumexp max mean median min moments nanmax
nanmean nanmedian nanmin nanprod nanstd nansum nanvar norm percentile prod ptp quantile reduceall
reduceany reduceeuclideannorm reducelogsumexp reducemax reducemean reducemin reduceprod reducestd
reducesum reducevariance std sum var zerofraction
""")

_SCANS = words("argsort cumprod cumsum cumulativelogsumexp nancumprod nancumsum sort topk")

_FOURIER = words("""
fft fft2 fft2d fft3d fftnd ifft ifft2 ifft2d ifft3d irfft irfft2d irfft3d rfft rfft2d rfft3d
""")

_SAMPLED = words("""
affinetransform cropandresize elastictransform imageprojectivetransformv2 mapcoordinates
perspectivetransform scaleandtranslate
""")

_POOLS = words("""
averagepool averagepooling avgpool avgpool1d avgpool2d avgpool3d maxpool maxpool1d maxpool2d
maxpool3d maxpoolv2
""")

_RESIZES = words("resize resizebicubic resizebilinear resizeimages resizenearestneighbor")

RULES: dict[str, Rule] = {
    "adaptiveaveragepool": _adaptive_pool,
    "adaptivemaxpool": _adaptive_pool,
    "broadcastto": _broadcast_to,
    "concat": _concatenate,
    "concatenate": _concatenate,
    "cropimages": _pad_images,
    "depthtospace": _depth_to_space,
    "dot": _tensordot,
    "dotproductattention": _attention,
    "einsum": _einsum,
    "expanddims": _expand_dims,
    "extractpatches": _patches,
    "flatten": _flatten,
    "gather": _take,
    "gaussianblur": _blur,
    "getitem": _get_item,
    "glu": _glu,
    "logsoftmax": _softmax,
    "matmul": _matmul,
    "mirrorpad": _pad,
    "moveaxis": _move,
    "onehot": _one_hot,
    "pad": _pad,
    "padimages": _pad_images,
    "ravel": _flatten,
    "rearrange": _rearrange,
    "repeat": _repeat,
    "reshape": _reshape,
    "roll": _roll,
    "shape": _shape,
    "slice": _slice,
    "sobeledges": _blur,
    "softmax": _softmax,
    "sparsemax": _softmax,
    "spacetodepth": _space_to_depth,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "swapaxes": _swap,
    "take": _take,
    "takealongaxis": _take,
    "tensordot": _tensordot,
    "tile": _tile,
    "transpose": _transpose,
    "unstack": _unstack,
}
for _names, _rule in (
    (_POINTWISE, _pointwise),
    (_NORMALISATIONS, _norm),
    (_FLIPS, _flipped),
    (_REDUCTIONS, _reduce),
    (_SCANS, _scan),
    (_FOURIER, _fourier),
    (_SAMPLED, _sampled),
    (_POOLS, _pool),
    (_RESIZES, _resize),
):
    for _name in _names:
        RULES[_name] = _rule
