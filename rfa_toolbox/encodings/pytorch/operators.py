"""What each operator of PyTorch does to the positions of the image.

One rule per family of operators, and one table of names at the end. The rules need no torch:
they read shapes and arguments from the record. Sources of the geometry: the documentation of
each operator in PyTorch; the window of one unit follows from its formula for the output size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from rfa_toolbox.encodings import layout as layouts
from rfa_toolbox.encodings.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.encodings.pytorch.domain import Operation, Record, TensorRef, tensors_in
from rfa_toolbox.encodings.pytorch.steps import (
    NEUTRAL,
    FirstWindow,
    Rule,
    Trail,
    Value,
    Window,
)

__all__ = ["RULES", "follow"]


def follow(record: Record, spatial: Sequence[Sequence[int]] | None = None) -> Trail:
    """Follow the positions of the input through every operation of a record.

    Args:
        record: what a capture returned.
        spatial: per input its spatial dimensions, in axis order. By default those that the first
            convolution or pooling slides over, else all behind batch and channels.
    """
    return Trail(record, _spatial(record) if spatial is None else spatial, RULES).run()


def _spatial(record: Record) -> list[tuple[int, ...]]:
    rank = len(record.inputs[0].shape)
    candidates: list[tuple[int, ...]] = [tuple(range(1, rank))]
    candidates += [()] * (len(record.inputs) - 1)
    found = tuple(range(2, rank)) if rank > 2 else candidates[0]
    try:
        Trail(record, candidates, RULES, probing=True).run()
    except FirstWindow as first:
        if first.axes:
            found = tuple(sorted(axis + 1 for axis in first.axes))
    return [found if len(tensor.shape) == rank else () for tensor in record.inputs]


# --- helpers ---------------------------------------------------------------------------------


def _per_axis(value: Any, count: int) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return tuple(value) if len(value) == count else tuple(value) * count
    return (value,) * count


def _dimensions(value: Any, rank: int) -> list[int]:
    if value is None or (isinstance(value, list | tuple) and not value):
        return list(range(rank))
    return [one % rank for one in (value if isinstance(value, list | tuple) else (value,))]


def _widest(several: Iterable[dict[int, Window]]) -> dict[int, Window]:
    result: dict[int, Window] = {}
    for windows in several:
        for axis, window in windows.items():
            known = result.get(axis)
            if known is None or window.reach > known.reach:
                result[axis] = window
    return result


def _slide(
    trail: Trail,
    operation: Operation,
    value: Value,
    dimensions: Sequence[int],
    windows: Sequence[Window],
    mixed: Sequence[int] = (),
    channels: int | None = None,
    **facts: Any,
) -> None:
    """Make a step whose windows slide over some dimensions and which mixes others wholly."""
    shape = operation.outputs[0].shape
    layout = list(value.layout)
    found = trail.mixing(value, mixed)
    certainty: dict[str, Any] = {}
    if trail.probing:
        axes = [_single_axis(value, layout[dimension]) for dimension in dimensions]
        raise FirstWindow(tuple(a for a in axes if a is not None) if None not in axes else ())
    for dimension in mixed:
        layout[dimension] = plain(shape[dimension])
    for dimension, window in zip(dimensions, windows, strict=True):
        pieces, size = layout[dimension], shape[dimension]
        carried = layouts.axes_of(pieces)
        if not carried:
            layout[dimension] = plain(size)
            continue
        atom, repeated = _run(pieces)
        if atom is not None and atom.axis is not None:
            layout[dimension] = _windowed(found, atom, repeated, window, size)
        elif window == NEUTRAL and size == math.prod(piece.size for piece in pieces):
            continue
        else:
            for axis in carried:
                found[axis] = Window(math.inf)
            layout[dimension] = (Lost(size, carried),)
            certainty = {
                "certainty": "bound",
                "reason": f"the window of '{operation.name}' slides over a dimension in which "
                "positions are not in one run; counted as seeing everything",
            }
    trail.step(operation, found, tuple(layout), base=value, **{**facts, **certainty})


def _single_axis(value: Value, dimension: Dimension) -> int | None:
    atom = dimension[0] if len(dimension) == 1 else None
    if type(atom) is Atom and atom.axis is not None and atom.size == value.extents[atom.axis]:
        return atom.axis
    return None


def _run(dimension: Dimension) -> tuple[Atom | None, int]:
    """Return the one run of positions in a dimension, and how often each is repeated."""
    if len(dimension) == 1 and type(dimension[0]) is Atom:
        return dimension[0], 1
    if (
        len(dimension) == 2
        and type(dimension[0]) is Atom
        and type(dimension[1]) is Atom
        and dimension[1].axis is None
    ):
        return dimension[0], dimension[1].size
    return None, 1


def _windowed(
    found: dict[int, Window], atom: Atom, repeated: int, window: Window, size: int
) -> Dimension:
    """Put a window over a run of positions together with what is mixed on the same axis."""
    axis = atom.axis
    assert axis is not None
    if repeated > 1:  # every position stands there several times: nearest up-sampling
        window = window._replace(
            kernel=repeated + window.reach if window.upsampling == 1 else math.inf,
            dilation=1,
            upsampling=window.upsampling * repeated,
        )
    other = found.get(axis)
    if other is None and atom.step == 1:
        found[axis] = window._replace(stride=1)
    elif window.upsampling != 1:
        found[axis] = Window(math.inf)
    else:
        reach = window.reach * atom.step + (other.reach if other is not None else 0)
        found[axis] = Window(
            1 + reach, begin=window.begin * atom.step, end=window.end * atom.step
        )
    return (Atom(axis, size, atom.step * window.stride, atom.origin * window.upsampling),)


def _rank(name: str) -> int:
    return int(name[-2])


# --- convolutions ----------------------------------------------------------------------------


def _convolution(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    weight = operation.arguments.get("weight")
    if not isinstance(weight, TensorRef):
        raise TypeError(f"{operation.name} has the weight {weight!r}, which is no tensor")
    kernel = weight.shape[2:]
    count = len(kernel)
    rank = len(tensor.shape)
    first = rank - count
    transposed = operation.name.startswith("conv_transpose") or bool(operation.get("transposed"))
    strides = _per_axis(operation.get("stride", 1), count)
    dilations = _per_axis(operation.get("dilation", 1), count)
    groups = operation.get("groups", 1)
    padding = operation.get("padding", 0)
    shape = operation.outputs[0].shape
    windows = []
    for place in range(count):
        k, s, d = kernel[place], strides[place], dilations[place]
        reach = d * (k - 1)
        if isinstance(padding, str):
            total = reach if padding == "same" else 0
            begin, end = total // 2, total - total // 2
        else:
            begin = end = _per_axis(padding, count)[place]
        if transposed:
            before = reach - begin
            fine = (tensor.shape[first + place] - 1) * s + 1
            after = shape[first + place] + reach - fine - before
            windows.append(Window(k, 1, d, before, after, s))
        else:
            windows.append(Window(k, s, d, begin, end))
    channel = first - 1
    channels_in = tensor.shape[channel]
    depthwise = groups == channels_in and groups > 1
    _slide(
        trail,
        operation,
        value,
        range(first, rank),
        windows,
        mixed=() if depthwise and not layouts.axes_of(value.layout[channel]) else (channel,),
        filters=shape[channel],
    )


# --- pooling ---------------------------------------------------------------------------------


def _pool(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    count = _rank(operation.name)
    first = len(tensor.shape) - count
    kernels = _per_axis(operation.get("kernel_size"), count)
    stride = operation.get("stride")
    strides = kernels if stride is None or stride in ([], ()) else _per_axis(stride, count)
    paddings = _per_axis(operation.get("padding", 0), count)
    dilations = _per_axis(operation.get("dilation", 1), count)
    shape = operation.outputs[0].shape
    windows = []
    for place in range(count):
        reach = dilations[place] * (kernels[place] - 1)
        needed = (shape[first + place] - 1) * strides[place] + 1 + reach
        end = needed - tensor.shape[first + place] - paddings[place]
        windows.append(
            Window(kernels[place], strides[place], dilations[place], paddings[place], end)
        )
    _slide(trail, operation, value, range(first, len(tensor.shape)), windows)


def _adaptive_pool(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    count = _rank(operation.name)
    first = len(tensor.shape) - count
    shape = operation.outputs[0].shape
    wanted = _per_axis(operation.arguments.get("output_size"), count)
    dimensions, windows, whole = [], [], []
    for place in range(count):
        dimension = first + place
        if wanted[place] is None:
            continue
        if shape[dimension] == 1:
            whole.append(dimension)
            continue
        dimensions.append(dimension)
        windows.append(_resampled(tensor.shape[dimension], shape[dimension]))
    _slide(
        trail, operation, value, dimensions, windows, mixed=whole,
        resolution_dependent=bool(dimensions),
    )  # fmt: skip


def _resampled(size: int, wanted: int) -> Window:
    """Return the window of adaptive pooling: from floor(i*size/wanted) to ceil((i+1)*size/wanted).

    That is a box of ``size`` cells on a grid where every unit is repeated ``wanted`` times.
    """
    ratio = Fraction(size, wanted)
    return Window(
        ratio.numerator + ratio.denominator - 1, ratio.numerator, upsampling=ratio.denominator,
        begin=ratio.denominator - 1,
    )  # fmt: skip


def _fractional_pool(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    count = _rank(operation.name)
    first = len(tensor.shape) - count
    kernels = _per_axis(operation.get("kernel_size"), count)
    shape = operation.outputs[0].shape
    windows = []
    for place in range(count):
        ratio = Fraction(tensor.shape[first + place], shape[first + place])
        windows.append(
            Window(
                (kernels[place] - 1) * ratio.denominator + 1, ratio.numerator,
                upsampling=ratio.denominator,
            )
        )  # fmt: skip
    _slide(
        trail, operation, value, range(first, len(tensor.shape)), windows,
        certainty="bound", reason="fractional pooling places its windows at random",
    )  # fmt: skip


def _unpool(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    count = _rank(operation.name)
    first = len(tensor.shape) - count
    shape = operation.outputs[0].shape
    kernels = _per_axis(operation.get("kernel_size"), count)
    stride = operation.get("stride")
    strides = kernels if stride is None or stride in ([], ()) else _per_axis(stride, count)
    windows = []
    for place in range(count):
        ratio = Fraction(shape[first + place], tensor.shape[first + place])
        k, s = kernels[place], strides[place]
        if k is None:
            k, s = math.ceil(ratio), round(ratio)
        windows.append(Window(k, 1, begin=k - 1, upsampling=s))
    _slide(trail, operation, value, range(first, len(tensor.shape)), windows)


# --- resampling ------------------------------------------------------------------------------


def _interpolate(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    count = len(tensor.shape) - 2
    shape = operation.outputs[0].shape
    mode = operation.get("mode", "nearest")
    if mode == "area":
        operation = Operation(
            f"adaptive_avg_pool{count}d",
            {"input": tensor, "output_size": shape[2:]},
            operation.outputs,
            operation.scope,
        )
        _adaptive_pool(trail, operation)
        return
    factors = operation.get("scale_factor")
    use_factors = factors is not None and not operation.get("recompute_scale_factor")
    windows = []
    for place in range(count):
        old, new = tensor.shape[2 + place], shape[2 + place]
        if operation.get("align_corners") and old > 1 and new > 1:
            ratio, aligned = Fraction(old - 1, new - 1), True
        else:
            ratio, aligned = Fraction(old, new), False
            if use_factors:
                factor = _per_axis(factors, count)[place]
                ratio = 1 / Fraction(factor).limit_denominator(10_000)
        windows.append(_interpolated(mode, ratio, aligned, bool(operation.get("antialias"))))
    _slide(trail, operation, value, range(2, len(tensor.shape)), windows)


_SUPPORT = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 2}


def _interpolated(mode: str, ratio: Fraction, aligned: bool, antialias: bool) -> Window:
    """Return the window of an interpolation that reads ``ratio`` units per unit it writes.

    On the grid where units of the input are ``denominator`` cells apart, the taps of a kernel
    with support ``t`` to either side are the cells nearer than ``t`` units.
    """
    stride, factor = ratio.numerator, ratio.denominator
    if mode in ("nearest", "nearest-exact"):
        return Window(factor, stride, begin=factor - 1, upsampling=factor)
    half = _SUPPORT[mode] * (max(stride, factor) if antialias else factor)
    on_grid = aligned or (stride - factor) % 2 == 0
    kernel = 2 * half - 1 if on_grid else 2 * half
    shift = 0 if aligned else (stride - factor) // 2
    return Window(kernel, stride, begin=half - 1 - shift, upsampling=factor)


def _pixel_shuffle(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    rank, factor = len(tensor.shape), operation.get("factor")
    window = Window(factor, 1, begin=factor - 1, upsampling=factor)
    _slide(trail, operation, value, (rank - 2, rank - 1), (window,) * 2, mixed=(rank - 3,))


def _pixel_unshuffle(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    rank, factor = len(tensor.shape), operation.get("factor")
    window = Window(factor, factor)
    _slide(trail, operation, value, (rank - 2, rank - 1), (window,) * 2, mixed=(rank - 3,))


def _im2col(trail: Trail, operation: Operation) -> None:
    """``F.unfold``: windows become columns, their places become one dimension."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    first = len(tensor.shape) - 2
    arguments = [
        _per_axis(operation.get(name, default), 2)
        for name, default in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0))
    ]
    windows = [Window(k, s, d, p, p) for k, s, d, p in zip(*arguments, strict=True)]
    places = [
        (tensor.shape[first + at] + 2 * w.begin - int(w.reach) - 1) // w.stride + 1
        for at, w in enumerate(windows)
    ]
    _slide_and_flatten(trail, operation, value, first, windows, places)


def _slide_and_flatten(
    trail: Trail,
    operation: Operation,
    value: Value,
    first: int,
    windows: Sequence[Window],
    places: Sequence[int],
) -> None:
    shape = operation.outputs[0].shape
    open_shape = (*shape[:-1], *places)
    number = operation.outputs[0].number
    opened = Operation(
        operation.name, operation.arguments, (TensorRef(number, open_shape),), operation.scope
    )
    _slide(trail, opened, value, (first, first + 1), windows, mixed=(first - 1,))
    made = trail.values[number]
    trail.values[number] = made._replace(layout=layouts.reshape(made.layout, shape))


def _col2im(trail: Trail, operation: Operation) -> None:
    """``F.fold``: every pixel sums the columns that cover it, as a transposed convolution does."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    shape = operation.outputs[0].shape
    first = len(shape) - 2
    arguments = [
        _per_axis(operation.get(name, default), 2)
        for name, default in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0))
    ]
    windows, places = [], []
    for at, (k, s, d, p) in enumerate(zip(*arguments, strict=True)):
        reach = d * (k - 1)
        windows.append(Window(k, 1, d, reach - p, reach - p, s))
        places.append((shape[first + at] + 2 * p - reach - 1) // s + 1)
    opened = layouts.reshape(value.layout, (*tensor.shape[:-1], *places))
    _slide(
        trail, operation, value._replace(layout=opened), (first, first + 1), windows,
        mixed=(first - 1,),
    )  # fmt: skip


def _unfold(trail: Trail, operation: Operation) -> None:
    """``Tensor.unfold``: windows along one dimension, their contents in a new last one."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    window = Window(operation.get("size", 1), operation.get("step", 1))
    output = operation.outputs[0]
    if not layouts.axes_of(value.layout[dimension]):
        layout = list(value.layout)
        layout[dimension] = plain(output.shape[dimension])
        trail.move(operation, (*layout, plain(output.shape[-1])))
        return
    short = TensorRef(output.number, output.shape[:-1])
    opened = Operation(operation.name, operation.arguments, (short,), operation.scope)
    _slide(trail, opened, value, (dimension,), (window,))
    made = trail.values[output.number]
    trail.values[output.number] = made._replace(layout=(*made.layout, plain(output.shape[-1])))


def _stft(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    last = len(tensor.shape) - 1
    size = operation.get("n_fft", 1)
    window = Window(size, operation.get("hop_length", size // 4))
    output = operation.outputs[0]
    frames = TensorRef(output.number, (*tensor.shape[:-1], output.shape[last + 1]))
    opened = Operation(operation.name, operation.arguments, (frames,), operation.scope)
    _slide(trail, opened, value, (last,), (window,))
    made = trail.values[output.number]
    layout = (*made.layout[:-1], plain(output.shape[last]), made.layout[-1])
    layout += tuple(plain(size) for size in output.shape[len(layout) :])
    trail.values[output.number] = made._replace(layout=layout)


# --- operations that mix whole dimensions ----------------------------------------------------


def _reduce(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    other = operation.arguments.get("dim")
    if isinstance(other, TensorRef) or "other" in operation.arguments:
        _pointwise(trail, operation)
        return
    value = trail.settled(tensor)
    rank = len(tensor.shape)
    dimensions = _dimensions(other, rank)
    keep = len(operation.outputs[0].shape) == rank
    layout = tuple(
        () if place in dimensions else dimension
        for place, dimension in enumerate(value.layout)
        if keep or place not in dimensions
    )
    if math.prod(operation.outputs[0].shape) == math.prod(tensor.shape):
        layout = layout if keep else layouts.broadcast((layout,), operation.outputs[0].shape)
    trail.step(operation, trail.mixing(value, dimensions), layout, base=value)


def _scan(trail: Trail, operation: Operation) -> None:
    """Cumulative sums, sorting, Fourier transforms: every position may see every other one."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    rank = len(tensor.shape)
    default: Any = None if operation.name == "flip" else -1
    if operation.name.endswith("2"):
        default = (-2, -1)
    elif operation.name.endswith("n") or operation.name.endswith("shift"):
        default = None
    dimensions = _dimensions(operation.get("dim", operation.get("2", default)), rank)
    windows = trail.mixing(value, dimensions)
    windows = {axis: Window(math.inf) for axis in windows}
    shape = operation.outputs[0].shape
    layout = tuple(
        dimension if shape[place] == tensor.shape[place] else _resized(dimension, shape[place])
        for place, dimension in enumerate(value.layout[: len(shape)])
    )
    trail.step(operation, windows, layout, base=value)


def _resized(dimension: Dimension, size: int) -> Dimension:
    axes = layouts.axes_of(dimension)
    return (Lost(size, axes),) if axes else plain(size)


def _softmax(trail: Trail, operation: Operation) -> None:
    """A softmax over positions mixes them, unless it normalises the scores of an attention.

    Scores have the same axis in another dimension too; the product with the values that follows
    does the mixing, and counting both would count the same window twice.
    """
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    dimension = (operation.get("dim", -1)) % max(1, len(tensor.shape))
    inside = layouts.axes_of(value.layout[dimension]) if value.layout else ()
    outside = {
        axis
        for place, pieces in enumerate(value.layout)
        if place != dimension
        for axis in layouts.axes_of(pieces)
    }
    mixed = () if outside.issuperset(inside) else (dimension,)
    trail.step(operation, trail.mixing(value, mixed), value.layout, base=value)


def _linear(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    last = len(tensor.shape) - 1
    shape = operation.outputs[0].shape
    layout = (*value.layout[:-1], plain(shape[-1]))
    windows = trail.mixing(value, (last,)) or trail.vector(value)
    trail.step(operation, windows, layout, base=value, units=shape[-1])


def _matmul(trail: Trail, operation: Operation) -> None:
    left, right = operation.arguments.get("input"), operation.arguments.get("other")
    if isinstance(left, TensorRef) and isinstance(right, TensorRef):
        batch = "abcdefgh"
        rows = "" if len(left.shape) == 1 else "x"
        columns = "" if len(right.shape) == 1 else "y"
        outer_left = batch[8 - max(0, len(left.shape) - 2) :] if len(left.shape) > 2 else ""
        outer_right = batch[8 - max(0, len(right.shape) - 2) :] if len(right.shape) > 2 else ""
        outer = outer_left if len(outer_left) >= len(outer_right) else outer_right
        _contract(
            trail,
            operation,
            [(left, outer_left + rows + "z"), (right, outer_right + "z" + columns)],
            outer + rows + columns,
        )
        return
    _pointwise(trail, operation)


def _einsum(trail: Trail, operation: Operation) -> None:
    equation = str(operation.arguments.get("equation")).replace(" ", "")
    operands = list(tensors_in(operation.arguments.get("operands")))
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in equation]
    longest = max(
        (len(one.shape) - len(term) + 3 for one, term in zip(operands, terms, strict=False)
         if "..." in term),
        default=0,
    )  # fmt: skip
    filling = "".join(spare[:longest])
    spelled = []
    for tensor, term in zip(operands, terms, strict=False):
        count = len(tensor.shape) - len(term) + 3
        spelled.append(term.replace("...", filling[longest - count :] if count > 0 else ""))
    if not arrow:
        letters = "".join(spelled)
        rest = sorted({x for x in letters if letters.count(x) == 1 and x not in filling})
        result = filling + "".join(rest)
    result = result.replace("...", filling)
    _contract(trail, operation, list(zip(operands, spelled, strict=False)), result)


def _contract(
    trail: Trail, operation: Operation, terms: Sequence[tuple[TensorRef, str]], result: str
) -> None:
    """Multiply tensors and sum over every letter that the result does not have."""
    found = []
    by_letter: dict[str, list[Dimension]] = {}
    base: Value | None = None
    for tensor, letters in terms:
        if not trail.depends(tensor):
            continue
        value = trail.settled(tensor)
        if base is None or len(layouts.spatial_axes(value.layout)) > len(
            layouts.spatial_axes(base.layout)
        ):
            base = value
        summed = [place for place, letter in enumerate(letters) if letter not in result]
        found.append(trail.mixing(value, summed))
        for letter, dimension in zip(letters, value.layout, strict=False):
            by_letter.setdefault(letter, []).append(dimension)
    shape = operation.outputs[0].shape
    layout: list[Dimension] = []
    for letter, size in zip(result, shape, strict=False):
        candidates = [
            one
            for one in by_letter.get(letter, ())
            if layouts.axes_of(one) and math.prod(piece.size for piece in one) == size
        ]
        layout.append(candidates[0] if candidates else plain(size))
    both = len(found) > 1
    trail.step(
        operation, _widest(found), tuple(layout), base=base,
        units=None if both or not shape else shape[-1],
    )  # fmt: skip


def _attention(trail: Trail, operation: Operation) -> None:
    """Scaled dot-product attention: every query sees all the keys of its batch entry."""
    query, key, content = (operation.arguments.get(name) for name in ("query", "key", "value"))
    found = [
        trail.mixing(trail.settled(tensor), (len(tensor.shape) - 2,))
        for tensor in (key, content)
        if trail.depends(tensor)
    ]
    _attend(trail, operation, query, found)


def _attend(
    trail: Trail, operation: Operation, query: Any, found: Sequence[dict[int, Window]]
) -> None:
    shape = operation.outputs[0].shape
    if trail.depends(query):
        value = trail.settled(query)
        layout: Layout = (*value.layout[:-1], plain(shape[-1]))
        trail.step(operation, _widest(found), layout, base=value)
    else:
        trail.step(operation, _widest(found), layouts.broadcast((), shape))


def _multi_head_attention(trail: Trail, operation: Operation) -> None:
    """The functional form has positions first: (positions, batch, channels)."""
    tensors = trail.operands(operation)
    query, key, content = (
        operation.arguments.get(name, tensors[0]) for name in ("query", "key", "value")
    )
    found = [
        trail.mixing(trail.settled(tensor), (0,))
        for tensor in (key, content)
        if trail.depends(tensor)
    ]
    _attend(trail, operation, query, found)


def _recurrent(trail: Trail, operation: Operation) -> None:
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    sequence = 1 if operation.get("batch_first") and len(tensor.shape) == 3 else 0
    found = trail.mixing(value, (sequence, len(tensor.shape) - 1))
    shape = operation.outputs[0].shape
    layout = (*value.layout[:-1], plain(shape[-1]))
    rest = [layouts.broadcast((), one.shape) for one in operation.outputs[1:]]
    trail.step(operation, found, layout, *rest, base=value, units=shape[-1])


def _flatten(trail: Trail, operation: Operation) -> None:
    """A map that becomes one vector is mixed with all of its positions; tokens are not."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    rank = max(1, len(tensor.shape))
    start = operation.get("start_dim", 0) % rank
    stop = operation.get("end_dim", -1) % rank
    shape = operation.outputs[0].shape
    layout = layouts.reshape(value.layout, shape)
    found = trail.vector(value)
    if start <= 1 and stop == rank - 1 and rank > 2:
        merged = range(start, stop + 1)
        found = {
            axis: window
            for axis, window in trail.mixing(value, merged).items()
            if window.kernel == math.inf
        }
        if found:
            layout = tuple(
                plain(size) if place >= start else layout[place]
                for place, size in enumerate(shape)
            )
    trail.step(operation, found, layout, base=value)


# --- element-wise operations -----------------------------------------------------------------


def _pointwise(trail: Trail, operation: Operation) -> None:
    tensors = trail.operands(operation)
    shape = operation.outputs[0].shape if operation.outputs else ()
    if len(tensors) == 1:
        value = trail.settled(tensors[0])
        kind = "scaling" if operation.name in _SCALINGS else "pointwise"
        if tensors[0].shape == shape:
            trail.step(operation, {}, value.layout, base=value, kind=kind)
        else:
            trail.step(
                operation, {}, layouts.broadcast((value.layout,), shape), base=value, kind=kind
            )
        return
    values = [trail.settled(tensor) for tensor in tensors]
    layout = layouts.broadcast([value.layout for value in values], shape)
    base = max(values, key=lambda value: len(layouts.spatial_axes(value.layout)))
    if layout == base.layout:
        layout = base.layout
    everywhere = tuple(
        dict.fromkeys(value.step for value in values if layouts.is_everywhere(value.layout, layout))
    )
    trail.step(operation, {}, layout, base=base, kind="pointwise", everywhere=everywhere)


def _same_shape(trail: Trail, operation: Operation) -> None:
    """Normalisation, dropout and the like: neutral, whatever statistics they take."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    trail.step(operation, {}, value.layout, base=value, kind="pointwise")


def _cat(trail: Trail, operation: Operation) -> None:
    tensors = list(tensors_in(operation.arguments.get("tensors", operation.arguments)))
    shape = operation.outputs[0].shape
    tensors = [one for one in tensors if len(one.shape) == len(shape)] or tensors
    dimension = operation.get("dim", _CAT_DIMENSION.get(operation.name, 0)) % len(shape)
    if len(tensors[0].shape) != len(shape):
        _pointwise(trail, operation)
        return
    values = [
        trail.settled(one).layout if trail.depends(one) else layouts.broadcast((), one.shape)
        for one in tensors
    ]
    rest = layouts.broadcast(
        [
            tuple(d if place != dimension else () for place, d in enumerate(layout))
            for layout in values
        ],
        tuple(size if place != dimension else 1 for place, size in enumerate(shape)),
    )
    joined = layouts.join([layout[dimension] for layout in values])
    layout = tuple(joined if place == dimension else d for place, d in enumerate(rest))
    trail.step(operation, {}, layout)


_CAT_DIMENSION = {"hstack": 1, "dstack": 2}


def _stack(trail: Trail, operation: Operation) -> None:
    tensors = list(tensors_in(operation.arguments.get("tensors")))
    shape = operation.outputs[0].shape
    dimension = operation.get("dim", 0) % len(shape)
    inner = (*shape[:dimension], *shape[dimension + 1 :])
    several = [trail.settled(one).layout for one in tensors if trail.depends(one)]
    layout = list(layouts.broadcast(several, inner))
    layout.insert(dimension, plain(shape[dimension]))
    trail.step(operation, {}, tuple(layout))


def _sampled(trail: Trail, operation: Operation) -> None:
    """Positions are picked by other data: everything may be seen, which is an upper bound."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    shape = operation.outputs[0].shape
    windows = {axis: Window(math.inf) for axis in layouts.spatial_axes(value.layout)}
    layout = layouts.broadcast((value.layout,), shape)
    if len(shape) == len(tensor.shape):
        layout = tuple(
            _picked(value, place, shape[place]) if layouts.axes_of(value.layout[place]) else one
            for place, one in enumerate(layout)
        )
    trail.step(
        operation, windows, layout, base=value, certainty="bound",
        reason=f"'{operation.name}' samples positions that depend on data; counted as seeing "
        "everything",
        filters=shape[1] if operation.name == "deform_conv2d" else None,
    )  # fmt: skip


def _picked(value: Value, place: int, size: int) -> Dimension:
    dimension = value.layout[place]
    if len(dimension) == 1 and type(dimension[0]) is Atom:
        return (Atom(dimension[0].axis, size),)
    return (Lost(size, layouts.axes_of(dimension)),)


# --- plumbing --------------------------------------------------------------------------------


def _value(trail: Trail, operation: Operation) -> tuple[TensorRef, Value]:
    tensor = trail.main(operation)
    return tensor, trail.values[tensor.number]


def _reshape(trail: Trail, operation: Operation) -> None:
    _, value = _value(trail, operation)
    trail.move(operation, layouts.reshape(value.layout, operation.outputs[0].shape))


def _unsqueeze(trail: Trail, operation: Operation) -> None:
    _, value = _value(trail, operation)
    rank = len(operation.outputs[0].shape)
    layout = list(value.layout)
    layout.insert(operation.get("dim", 0) % rank, ())
    trail.move(operation, tuple(layout))


def _squeeze(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    wanted = _dimensions(operation.arguments.get("dim"), len(tensor.shape))
    gone = {place for place in wanted if tensor.shape[place] == 1}
    trail.move(operation, tuple(d for place, d in enumerate(value.layout) if place not in gone))


def _same(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    shape = operation.outputs[0].shape
    if tensor.shape == shape:
        trail.move(operation, value.layout)
    else:
        trail.move(operation, layouts.broadcast((value.layout,), shape))


def _permute(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    order = _dimensions(operation.get("dims", ()), len(tensor.shape))
    trail.move(operation, layouts.permute(value.layout, order))


def _transpose(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    rank = len(tensor.shape)
    order = list(range(rank))
    if rank > 1:
        default = (-2, -1) if operation.name in ("mT", "mH", "adjoint") else (0, 1)
        first = operation.get("dim0", default[0]) % rank
        second = operation.get("dim1", default[1]) % rank
        order[first], order[second] = order[second], order[first]
    trail.move(operation, layouts.permute(value.layout, order))


def _reverse_dimensions(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    trail.move(operation, layouts.permute(value.layout, range(len(tensor.shape))[::-1]))


def _movedim(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    rank = len(tensor.shape)
    source = _dimensions(operation.get("source", 0), rank)
    target = _dimensions(operation.get("destination", 0), rank)
    order: list[int | None] = [None] * rank
    for old, new in zip(source, target, strict=True):
        order[new] = old
    rest = iter([place for place in range(rank) if place not in source])
    complete = [next(rest) if place is None else place for place in order]
    trail.move(operation, layouts.permute(value.layout, complete))


def _split(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    rank = len(tensor.shape)
    dimension = operation.get("dim", _SPLIT_DIMENSION.get(operation.name, 0)) % rank
    start = 0
    for place, output in enumerate(operation.outputs):
        stop = start + output.shape[dimension]
        layout = list(value.layout)
        layout[dimension] = layouts.slice_dimension(value.layout[dimension], start, stop)
        trail.move(operation, tuple(layout), place)
        start = stop


_SPLIT_DIMENSION = {"hsplit": 1, "dsplit": 2}


def _unbind(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    layout = value.layout[:dimension] + value.layout[dimension + 1 :]
    for place in range(len(operation.outputs)):
        trail.move(operation, layout, place)


def _roll(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    layout = list(value.layout)
    dimensions = operation.get("dims")
    if dimensions not in (None, [], ()):
        shifts = _per_axis(operation.get("shifts", 0), 1)
        for dimension, shift in zip(_dimensions(dimensions, len(layout)), shifts, strict=False):
            layout[dimension] = layouts.shift(layout[dimension], int(shift))
    trail.move(operation, tuple(layout))


def _pad(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    layout = list(value.layout)
    amounts = list(operation.get("pad", ()))
    for place in range(len(amounts) // 2):
        dimension = len(layout) - 1 - place
        begin, end = amounts[2 * place], amounts[2 * place + 1]
        size = operation.outputs[0].shape[dimension]
        pieces = layout[dimension]
        if not (begin or end):
            continue
        if not layouts.axes_of(pieces):
            layout[dimension] = plain(size)
        elif len(pieces) == 1 and type(pieces[0]) is Atom:
            layout[dimension] = (
                pieces[0]._replace(
                    size=size, origin=pieces[0].origin - begin * pieces[0].step
                ),
            )
        else:
            before, after = plain(max(0, begin)), plain(max(0, end))
            inner = layouts.slice_dimension(
                pieces, max(0, -begin), tensor.shape[dimension] + min(0, end)
            )
            parts = [before] * (begin > 0) + [inner] + [after] * (end > 0)
            layout[dimension] = layouts.join(parts) if len(parts) > 1 else inner
    trail.move(operation, tuple(layout))


def _expand(trail: Trail, operation: Operation) -> None:
    _, value = _value(trail, operation)
    trail.move(operation, layouts.expand(value.layout, operation.outputs[0].shape))


def _repeat(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    shape = operation.outputs[0].shape
    layout: list[Dimension] = [plain(size) for size in shape]
    for back in range(1, len(tensor.shape) + 1):
        pieces = value.layout[-back]
        if shape[-back] == tensor.shape[-back]:
            layout[-back] = pieces
        elif layouts.axes_of(pieces):
            times = shape[-back] // max(1, tensor.shape[-back])
            each = operation.name == "repeat_interleave"
            single = len(pieces) == 1 and type(pieces[0]) is Atom
            if each and single:
                layout[-back] = (*pieces, *plain(times))
            else:
                layout[-back] = (Lost(shape[-back], layouts.axes_of(pieces)),)
    trail.move(operation, tuple(layout))


def _flip(trail: Trail, operation: Operation) -> None:
    """Windows keep their size when a map is mirrored; where they lie is no longer followed."""
    tensor, value = _value(trail, operation)
    trail.move(operation, value.layout)


def _narrow(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    start = operation.get("start", 0)
    start = int(start) % tensor.shape[dimension] if isinstance(start, int) else 0
    layout = list(value.layout)
    layout[dimension] = layouts.slice_dimension(
        layout[dimension], start, start + operation.outputs[0].shape[dimension]
    )
    trail.move(operation, tuple(layout))


def _select(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    trail.move(operation, value.layout[:dimension] + value.layout[dimension + 1 :])


def _slice(trail: Trail, operation: Operation) -> None:
    tensor, value = _value(trail, operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    index = slice(
        operation.arguments.get("start"), operation.arguments.get("stop"), operation.get("step", 1)
    )
    _index(trail, operation, [slice(None)] * dimension + [index])


def _getitem(trail: Trail, operation: Operation) -> None:
    index = operation.arguments.get("index")
    _index(trail, operation, list(index) if isinstance(index, tuple) else [index])


def _index(trail: Trail, operation: Operation, index: list[Any]) -> None:
    tensor, value = _value(trail, operation)
    output = operation.outputs[0]
    used = sum(1 for one in index if one is not None and one is not Ellipsis)
    if Ellipsis not in [one for one in index if not isinstance(one, TensorRef)]:
        index = [*index, Ellipsis]
    complete: list[Any] = []
    for one in index:
        if one is Ellipsis:
            complete.extend([slice(None)] * (len(tensor.shape) - used))
        else:
            complete.append(one)
    layout: list[Dimension] = []
    place = 0
    strided = value.strided
    picked: list[int] = []
    for one in complete:
        if one is None:
            layout.append(())
            continue
        if place >= len(value.layout):
            break
        pieces, size = value.layout[place], tensor.shape[place]
        place += 1
        if isinstance(one, slice):
            start, stop, step = _bounds(one, size)
            if step > 1 and layouts.axes_of(pieces):
                strided = operation.scope
            layout.append(layouts.slice_dimension(pieces, start, stop, step))
        elif isinstance(one, bool | TensorRef | list | tuple):
            picked.extend(layouts.axes_of(pieces))
            layout.append((Lost(-1, layouts.axes_of(pieces)),) if layouts.axes_of(pieces) else ())
        # an integer takes one position and leaves no dimension
    if picked or any(isinstance(one, bool | TensorRef | list | tuple) for one in complete):
        _picked_by_index(trail, operation, value, picked)
        return
    trail.values[output.number] = value._replace(layout=tuple(layout), strided=strided)


def _picked_by_index(
    trail: Trail, operation: Operation, value: Value, picked: Sequence[int]
) -> None:
    """Positions in an order that an index tensor gives: the trail of those axes is lost."""
    output = operation.outputs[0]
    if not picked:
        trail.values[output.number] = value._replace(
            layout=layouts.broadcast((value.layout,), output.shape)
        )
        return
    kept = layouts.broadcast((value.layout,), output.shape)
    layout = list(kept)
    lost = tuple(dict.fromkeys(picked))
    for place, size in enumerate(output.shape):
        if not layouts.axes_of(kept[place]) and size > 1:
            layout[place] = (Lost(size, lost),)
            break
    trail.step(
        operation, {}, tuple(layout), base=value, certainty="bound",
        reason=f"'{operation.name}' picks positions by an index; their order is not followed",
    )  # fmt: skip


def _bounds(index: slice, size: int) -> tuple[int, int, int]:
    plain_index = slice(
        *(one if isinstance(one, int) else None for one in (index.start, index.stop, index.step))
    )
    return plain_index.indices(size)


def _pick(trail: Trail, operation: Operation) -> None:
    """``index_select``, ``gather``: positions by an index tensor along one dimension."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    axes = layouts.axes_of(value.layout[dimension])
    shape = operation.outputs[0].shape
    layout = list(layouts.broadcast((value.layout,), shape))
    if not axes:
        trail.move(operation, tuple(layout))
        return
    layout[dimension] = (Lost(shape[dimension], axes),)
    trail.step(
        operation, {}, tuple(layout), base=value, certainty="bound",
        reason=f"'{operation.name}' picks positions by an index; their order is not followed",
    )  # fmt: skip


def _setitem(trail: Trail, operation: Operation) -> None:
    """Writing into a part of a tensor merges both; the output is the tensor after the write."""
    target, written = operation.arguments.get("input"), operation.arguments.get("value")
    shape = operation.outputs[0].shape
    found = [trail.settled(one) for one in (target, written) if trail.depends(one)]
    several = [value.layout for value in found]
    if trail.depends(target):
        several = several[:1]
    layout = layouts.broadcast(several, shape)
    trail.step(operation, {}, layout, kind="pointwise")


def _constant(trail: Trail, operation: Operation) -> None:
    """A new tensor that takes only its shape or type from another one depends on nothing."""


def _embedding(trail: Trail, operation: Operation) -> None:
    (tensor, *_) = trail.operands(operation)
    value = trail.settled(tensor)
    layout = (*value.layout, plain(operation.outputs[0].shape[-1]))
    trail.step(operation, {}, layout, base=value)


# --- the table -------------------------------------------------------------------------------

_SCALINGS = {"mul", "div", "sub", "add", "neg"}

_POINTWISE = """
abs acos acosh add addcdiv addcmul angle arctan asin asinh atan atan2 atanh bernoulli bitwise_and
bitwise_not bitwise_or ceil celu clamp clamp_max clamp_min complex conj copysign cos cosh deg2rad
digamma div elu eq erf erfc erfinv exp exp2 expit expm1 float_power floor floor_divide fmod frac ge
gelu glu gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot isclose isfinite isinf isnan
le leaky_relu lerp lgamma log log10 log1p log2 logaddexp logical_and logical_not logical_or
logical_xor logit logsigmoid log_sigmoid lt masked_fill maximum minimum mish mul nan_to_num ne neg
nextafter polar pow prelu rad2deg real reciprocal relu relu6 remainder round rrelu rsqrt selu
sigmoid sign silu sin sinc sinh softplus softshrink softsign sqrt square sub swish tan tanh
tanhshrink threshold tril triu trunc view_as_complex where xlogy imag bitwise_xor special_expit
fake_quantize_per_tensor_affine quantize_per_tensor dequantize lshift rshift
threshold nll_loss one_hot
""".split()

_NEUTRAL = """
alpha_dropout batch_norm dropout dropout1d dropout2d dropout3d feature_alpha_dropout
feature_dropout group_norm instance_norm layer_norm local_response_norm native_batch_norm
native_layer_norm normalize rms_norm sync_batch_norm gumbel_softmax channel_shuffle weight_norm
native_dropout
""".split()

_COPIES = """
alias clone contiguous cpu cuda data detach double expand_copy float half bfloat16 int long bool
requires_grad resolve_conj resolve_neg to type type_as positive byte cfloat as_subclass
pin_memory view_copy view_as_real share_memory lift_fresh record_stream retain_grad char short
""".split()

_RESHAPES = "view reshape view_as reshape_as unflatten atleast_1d atleast_2d atleast_3d".split()

_REDUCTIONS = """
all amax amin aminmax any argmax argmin count_nonzero linalg_norm linalg_vector_norm logsumexp max
mean median min mode nanmean nanmedian nansum norm prod quantile std std_mean sum var var_mean
vector_norm kthvalue cosine_similarity
""".split()

_SCANS = """
argsort cumprod cumsum cummax cummin fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft fft_ifft
fft_ifft2 fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2
fft_rfftn logcumsumexp msort sort topk unique
""".split()

_CONSTANTS = """
empty_like full_like ones_like zeros_like rand_like randn_like randint_like new_empty new_full
new_ones new_tensor new_zeros new_empty_strided size numel dim shape stride is_floating_point
""".split()

RULES: dict[str, Rule] = {
    "addmm": _matmul,
    "baddbmm": _matmul,
    "bmm": _matmul,
    "broadcast_to": _expand,
    "cat": _cat,
    "chunk": _split,
    "col2im": _col2im,
    "convolution": _convolution,
    "_convolution_mode": _convolution,
    "deform_conv2d": _sampled,
    "dot": _matmul,
    "dsplit": _split,
    "dstack": _cat,
    "einsum": _einsum,
    "embedding": _embedding,
    "expand": _expand,
    "expand_as": _expand,
    "flatten": _flatten,
    "flip": _flip,
    "fliplr": _flip,
    "flipud": _flip,
    "gather": _pick,
    "getitem": _getitem,
    "grid_sample": _sampled,
    "gru": _recurrent,
    "H": _reverse_dimensions,
    "hsplit": _split,
    "hstack": _cat,
    "im2col": _im2col,
    "index": _getitem,
    "index_select": _pick,
    "interpolate": _interpolate,
    "linear": _linear,
    "log_softmax": _softmax,
    "lstm": _recurrent,
    "matmul": _matmul,
    "mH": _transpose,
    "mm": _matmul,
    "movedim": _movedim,
    "mT": _transpose,
    "multi_head_attention_forward": _multi_head_attention,
    "mv": _matmul,
    "narrow": _narrow,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "permute": _permute,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "repeat": _repeat,
    "repeat_interleave": _repeat,
    "rnn_relu": _recurrent,
    "rnn_tanh": _recurrent,
    "roll": _roll,
    "scaled_dot_product_attention": _attention,
    "select": _select,
    "setitem": _setitem,
    "slice": _slice,
    "softmax": _softmax,
    "softmin": _softmax,
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "stft": _stft,
    "swapdims": _transpose,
    "t": _transpose,
    "T": _reverse_dimensions,
    "take_along_dim": _pick,
    "tensor_split": _split,
    "tile": _repeat,
    "transpose": _transpose,
    "unbind": _unbind,
    "unfold": _unfold,
    "unsqueeze": _unsqueeze,
    "vsplit": _split,
    "vstack": _cat,
}
for _count in "123":
    RULES[f"conv{_count}d"] = RULES[f"conv_transpose{_count}d"] = _convolution
    for _kind in ("max", "avg", "lp"):
        RULES[f"{_kind}_pool{_count}d"] = _pool
    for _kind in ("max", "avg"):
        RULES[f"adaptive_{_kind}_pool{_count}d"] = _adaptive_pool
    RULES[f"fractional_max_pool{_count}d"] = _fractional_pool
    RULES[f"max_unpool{_count}d"] = _unpool
for _names, _rule in (
    (_CONSTANTS, _constant),
    (_POINTWISE, _pointwise),
    (_NEUTRAL, _same_shape),
    (_COPIES, _same),
    (_RESHAPES, _reshape),
    (_REDUCTIONS, _reduce),
    (_SCANS, _scan),
):
    for _name in _names:
        RULES[_name] = _rule
