"""Operators whose windows slide: convolutions, pooling, resampling, folding.

The window of one unit follows from the formula for the output size in the documentation of each
operator in PyTorch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import Answer, Effect, Moved, Rule, Slides
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Atom, Dimension, Lost, plain
from rfa_toolbox.operators.masks import under_weights
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
    tensors_in,
)
from rfa_toolbox.operators.rules.common import move, pads_where_cropped, per_axis, sides
from rfa_toolbox.operators.values import Value, between
from rfa_toolbox.operators.windows import NEUTRAL, Window, interpolation, resampling, windows_of

__all__ = [
    "adaptive_pool",
    "as_strided",
    "col2im",
    "conv_lstm",
    "convolution",
    "described",
    "diff",
    "fractional_pool",
    "frames",
    "im2col",
    "interpolate",
    "istft",
    "local_attention",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pool",
    "stft",
    "unfold",
    "unpool",
    "windowed",
]


def _slide(
    known: Known,
    operation: Operation,
    value: Value,
    dimensions: Sequence[int],
    windows: Sequence[Window],
    mixed: Sequence[int] = (),
    channels: int | None = None,
    scatters: bool = False,
    gathers: bool = False,
    over: Mapping[int, Window] = MappingProxyType({}),
    **facts: Any,
) -> Effect:
    """Return the effect of windows that slide over some dimensions, where others are mixed wholly.

    ``channels`` is the dimension that the operator takes for channels, if there is one. An
    operator that ``scatters`` puts what is under a window into channels, without mixing it, and
    one that ``gathers`` puts channels side by side on a map. ``over`` are windows on other axes.
    """
    shape = operation.outputs[0].shape
    found = {**over, **known.mixing(value, mixed)}
    layout = [plain(shape[at]) if at in mixed else one for at, one in enumerate(value.layout)]
    doubts = [_PUT_BACK] if value.apart and gathers else []
    in_blocks = layouts.spread_axes(tuple(layout))
    padded: list[int] = []
    for dimension, window in zip(dimensions, windows, strict=True):
        run, size = _run(layout[dimension]), shape[dimension]
        doubts += _doubts(value, layout[dimension], run, window, size, in_blocks)
        if run is not None and pads_where_cropped(run.atom, window, value.extents[run.axis]):
            padded.append(run.axis)
        layout[dimension] = _behind(found, layout[dimension], run, window, size)
    same = operation.get("padding") == "same" or operation.get("same_padding")
    if same and any(window.stride > 1 for window in windows):
        facts["same_padding"] = True
    if padded:
        facts |= {"position_dependent": True, "padded": tuple(padded)}
    if doubts:
        facts |= {"certainty": "bound", "reason": doubts[-1].format(operation.name)}
    if scatters and any(window.kernel > 1 for window in windows):
        facts["apart"] = True
    if channels is not None:
        whole = [place for place in mixed if place != channels]
        facts["slides"] = _slides(value, (*dimensions, *whole), channels)
    return Effect(found, (tuple(layout),), base=value, mixed=mixed, **facts)


def _slides(value: Value, dimensions: Sequence[int], channels: int) -> Slides:
    carried = [layouts.axes_of(value.layout[dimension]) for dimension in dimensions]
    taken = layouts.axes_of(value.layout[channels]) if channels >= 0 else ()
    return Slides(taken, tuple(carried))


def _doubts(
    value: Value,
    pieces: Dimension,
    run: _Run | None,
    window: Window,
    size: int,
    in_blocks: Collection[int],
) -> Iterator[str]:
    """Yield why units may see less than a window tells that slides over a dimension."""
    if run is None:
        if layouts.axes_of(pieces) and _moves(pieces, window, size):
            yield _IN_NO_RUN
        return
    if run.repeated > 1 and value.apart:
        yield _PUT_BACK
    pads = window.kernel > 1 and (window.begin, window.end) != (0, 0)
    if pads and run.axis in in_blocks:
        yield _IN_BLOCKS


def _moves(pieces: Dimension, window: Window, size: int) -> bool:
    """Whether a window changes what positions a dimension holds."""
    return window != NEUTRAL or size != math.prod(piece.size for piece in pieces)


_PUT_BACK = (
    "'{}' finds side by side what was put into channels from different places and was not mixed "
    "in between, as far as is known; its units may see less"
)
_IN_NO_RUN = (
    "the window of '{}' slides over a dimension in which positions are not in one run; counted as "
    "seeing everything"
)
_IN_BLOCKS = (
    "'{}' slides within blocks of a map and pads each of them, so that its units see less there"
)


class _Run(NamedTuple):
    """The one run of positions in a dimension, and how often each is repeated."""

    axis: int
    atom: Atom
    repeated: int


@functools.lru_cache(maxsize=4096)
def _run(dimension: Dimension) -> _Run | None:
    repeated, atom = between(dimension) or (1, dimension[0] if len(dimension) == 1 else None)
    if type(atom) is not Atom or atom.axis is None:
        return None
    return _Run(atom.axis, atom, repeated)


def _behind(
    found: dict[int, Window], pieces: Dimension, run: _Run | None, window: Window, size: int
) -> Dimension:
    """Put a window over a dimension together with what is mixed on the same axis."""
    carried = layouts.axes_of(pieces)
    if not carried:
        return plain(size)
    if run is None:
        if not _moves(pieces, window, size):
            return pieces
        found |= dict.fromkeys(carried, Window(math.inf))
        return (Lost(size, carried),)
    axis, atom, repeated = run
    if repeated > 1:  # every position stands there several times: nearest up-sampling
        window = window._replace(
            kernel=repeated + window.reach if window.upsampling == 1 else math.inf,
            dilation=1,
            begin=None if window.begin is None else window.begin + repeated - 1,
            upsampling=window.upsampling * repeated,
        )
    other = found.get(axis)
    if other is None and atom.step == 1:
        found[axis] = window if window.stride == 1 else window._replace(stride=1)
    elif window.upsampling != 1:
        found[axis] = Window(math.inf)
    else:
        reach = window.reach * atom.step + (other.reach if other is not None else 0)
        begin, end = (
            None if side is None else side * atom.step for side in (window.begin, window.end)
        )
        found[axis] = Window(1 + reach, begin=begin, end=end)
    return (Atom(axis, size, atom.step * window.stride, atom.origin * window.upsampling),)


def _as_given(
    known: Known, operation: Operation, dimensions: Sequence[int], kernel: Any, stride: Any = 1
) -> list[Window]:
    """Return the windows over some dimensions as the arguments of an operation give them.

    Their padding is None where it depends on a size that the model leaves open. ``stride`` is what
    the operation has where it was given none.
    """
    tensor, value = known.worked_on(operation)
    shape, padding = operation.outputs[0].shape, operation.get("padding", 0)
    given = operation.get("stride")
    arguments = (
        kernel,
        stride if given in (None, [], ()) else given,
        operation.get("dilation", 1),
        padding,
    )
    several = [per_axis(one, len(dimensions)) for one in arguments]
    windows = []
    for at, k, s, d, own in zip(dimensions, *several, strict=True):
        begin, end = sides(own, d * (k - 1), s, tensor.shape[at], shape[at])
        guessed = padding == "same" and s > 1 and not known.knows_size(value, at)
        windows.append(Window(k, s, d, *((None, None) if guessed else (begin, end))))
    return windows


def _last_dimensions(known: Known, operation: Operation) -> range:
    """Return the dimensions that an operator slides over which has their number in its name."""
    rank = len(known.main(operation).shape)
    return range(rank - int(operation.name[-2]), rank)


# --- convolutions ----------------------------------------------------------------------------


@Rule
def convolution(known: Known, operation: Operation) -> Answer:
    """Convolve, also transposed, grouped or dilated."""
    tensor, value = known.worked_on(operation)
    weight = operation.arguments.get("weight")
    if not isinstance(weight, TensorRef):
        raise TypeError(f"{operation.name} has the weight {weight!r}, which is no tensor")
    kernel = weight.shape[2:]
    count = len(kernel)
    rank = len(tensor.shape)
    first = rank - count
    groups = operation.get("groups", 1)
    shape = operation.outputs[0].shape
    windows = _kernel_windows(known, operation, weight)
    channel = first - 1
    channels_in = tensor.shape[channel]
    apart = groups > 1 and (groups == channels_in or value.apart)
    facts: dict[str, Any] = {}
    if weight.numbers is not None and weight.numbers.array is None:
        facts = {"certainty": "bound", "reason": _MASKED_WEIGHTS}
    if groups > 1 and layouts.axes_of(value.layout[channel]):
        apart, value, more = _kept_apart(known, value, channel, groups, shape[channel])
        facts |= more
    elif shape[channel] != channels_in:
        layout = (*value.layout[:channel], plain(shape[channel]), *value.layout[first:])
        value = value if layouts.axes_of(value.layout[channel]) else value._replace(layout=layout)
    return _slide(
        known,
        operation,
        value,
        range(first, rank),
        windows,
        mixed=() if apart else (channel,),
        channels=channel,
        filters=shape[channel],
        position_dependent=bool(operation.get("local")),  # other weights at every position
        **facts,
    )


def _kernel_windows(known: Known, operation: Operation, weight: TensorRef) -> list[Window]:
    """Return the windows of a convolution, along the last dimensions of its tensor."""
    kernel = weight.shape[2:]
    before, behind = known.main(operation).shape, operation.outputs[0].shape
    places = range(len(before) - len(kernel), len(before))
    transposed = operation.name.startswith("conv_transpose") or bool(operation.get("transposed"))
    windows = _as_given(known, operation, places, kernel)
    if transposed:
        pairs = zip(places, windows, strict=True)
        windows = [_transposed(one, before[place], behind[place]) for place, one in pairs]
    if weight.numbers is None:
        return windows
    taps = zip(windows, under_weights(weight, kernel), strict=True)
    return [_tapped(one, *used, turned=transposed) for one, used in taps]


def _transposed(window: Window, size: int, wanted: int) -> Window:
    """Return the window of a unit of a convolution whose own windows are put on its result."""
    k, s, d, begin, *_ = window
    front = int(window.reach) - (begin or 0)
    return Window(k, 1, d, front, wanted - (size - 1) * s - 1 + (begin or 0), s)


def _tapped(window: Window, first: int, last: int, turned: bool) -> Window:
    """Return a window of which only some taps are used; those of transposed ones are turned."""
    k, d = int(window.kernel), window.dilation
    if (first, last) == (0, k - 1):
        return window
    if turned:
        first, last = k - 1 - last, k - 1 - first
    begin = None if window.begin is None else window.begin - first * d
    end = None if window.end is None else window.end - (k - 1 - last) * d
    return window._replace(kernel=last - first + 1, begin=begin, end=end)


_MASKED_WEIGHTS = "its weights are masked, and it is not known where; its units may see less"


def _kept_apart(
    known: Known, value: Value, channel: int, groups: int, filters: int
) -> tuple[bool, Value, dict[str, Any]]:
    """Return what groups of channels do that hold positions, as rows of a map do that lie there.

    Every group mixes what it has; positions that differ from group to group stay where they are.

    Returns:
        whether groups are runs of positions, the value where they stay, and facts of the step.
    """
    dimension = value.layout[channel]
    count = math.prod(piece.size for piece in dimension)
    between_groups, within = layouts.reshape((dimension,), (groups, count // groups))
    if any(type(piece) is Lost for piece in (*between_groups, *within)):
        return False, value, {"certainty": "bound", "reason": _SOME_ROWS}
    over = known.mixing(value._replace(layout=(within,)), (0,))
    layout = list(value.layout)
    layout[channel] = layouts.coalesce((*between_groups, *plain(filters // groups)))
    return True, value._replace(layout=tuple(layout)), {"over": over}


_SOME_ROWS = "groups of its channels hold some rows of a map each; counted as seeing all of them"


@Rule
def windowed(known: Known, operation: Operation) -> Answer:
    """Slide windows over some dimensions, each channel by itself, or put what they hold into it."""
    tensor, value = known.worked_on(operation)
    dims = operation.get("dims")
    shape = operation.outputs[0].shape
    windows = _as_given(known, operation, dims, operation.get("kernel_size", 1))
    channel = operation.get("channel")
    changed = channel is not None and shape[channel] != tensor.shape[channel]
    return _slide(
        known, operation, value, dims, windows, (channel,) if changed else (), channel,
        scatters=bool(operation.get("scatters")),
    )  # fmt: skip


@Rule
def local_attention(known: Known, operation: Operation) -> Answer:
    """Let every position see those that are near it, each by a weight that it computes."""
    _, value = known.worked_on(operation)
    dimension, before, after = (operation.get(name, 0) for name in ("dim", "before", "after"))
    window = Window(before + after + 1, begin=before, end=after)
    dependent = bool(operation.get("masked"))
    return _slide(
        known, operation, value, (dimension,), (window,), (len(value.layout) - 1,),
        position_dependent=dependent,
    )  # fmt: skip


@Rule
def conv_lstm(known: Known, operation: Operation) -> Answer:
    """Convolve a state again and again: with every step of time its window grows by a kernel."""
    tensor, value = known.worked_on(operation)
    kernels = operation.get("kernel_size")
    first, steps = len(tensor.shape) - len(kernels), tensor.shape[1]
    places = range(first, len(tensor.shape))
    shape = operation.outputs[0].shape
    windows = []
    for one in _as_given(known, operation, places, kernels):
        k, stride = int(one.kernel), one.stride
        if not known.knows_size(value, 1):
            windows.append(Window(math.inf, stride, 1, None, None))
            continue
        grown = (steps - 1) * (k - 1) * stride
        before = (steps - 1) * ((k - 1) // 2) * stride
        window = one._replace(kernel=1 + one.reach + grown, dilation=1)
        if one.begin is not None and one.end is not None:
            window = window._replace(begin=one.begin + before, end=one.end + grown - before)
        windows.append(window)
    mixed = known.mixing(value, (1,))
    leading = layouts.leading_axis(value.layout[1])
    if operation.get("direction") == "forward" and leading in mixed:
        mixed[leading] = mixed[leading]._replace(scan="forward")
    return _slide(
        known, operation, value, places, windows, (first - 1,), first - 1,
        filters=shape[first - 1], over=mixed,
    )  # fmt: skip


# --- pooling ---------------------------------------------------------------------------------


@Rule
def pool(known: Known, operation: Operation) -> Answer:
    """Slide a maximum, average or norm over a map."""
    tensor, value = known.worked_on(operation)
    places = _last_dimensions(known, operation)
    kernel = operation.get("kernel_size")
    shape = operation.outputs[0].shape
    dimensions, windows, whole = [], [], []
    several = _as_given(known, operation, places, kernel, stride=kernel)
    for place, window in zip(places, several, strict=True):
        size, wanted = tensor.shape[place], shape[place]
        if operation.get("sized") == "fixed" and wanted == 1 and window.kernel >= size:
            whole.append(place)  # its kernel is the size of the map, whatever that is
            continue
        if window.begin is not None:
            needed = (wanted - 1) * window.stride + 1 + int(window.reach)
            window = window._replace(end=needed - size - window.begin)  # noqa: PLW2901
        dimensions.append(place)
        windows.append(window)
    ceil_mode = bool(operation.get("ceil_mode"))
    return _slide(
        known, operation, value, dimensions, windows, whole, places[0] - 1, ceil_mode=ceil_mode
    )


@Rule
def adaptive_pool(known: Known, operation: Operation) -> Answer:
    """Pool to a given size, whatever the size of the map."""
    return _pool_to_size(known, operation)


def _pool_to_size(known: Known, operation: Operation) -> Effect:
    tensor, value = known.worked_on(operation)
    places = _last_dimensions(known, operation)
    shape = operation.outputs[0].shape
    wanted = per_axis(operation.arguments.get("output_size"), len(places))
    left = [place for place, size in zip(places, wanted, strict=True) if size is not None]
    whole = [place for place in left if shape[place] == 1]
    dimensions = [place for place in left if place not in whole]
    windows = [resampling(tensor.shape[place], shape[place]) for place in dimensions]
    facts: dict[str, Any] = {"resolution_dependent": bool(dimensions)}
    facts |= _of_open_sizes(known, operation, value, dimensions, windows)
    return _slide(known, operation, value, dimensions, windows, whole, places[0] - 1, **facts)


def _of_open_sizes(
    known: Known,
    operation: Operation,
    value: Value,
    dimensions: Sequence[int],
    windows: list[Window],
) -> dict[str, Any]:
    """Let windows see everything that go by a size which the model leaves open; return facts."""
    axes = {axis for place in dimensions for axis in layouts.axes_of(value.layout[place])}
    if not value.open.intersection(axes):
        return {}
    for at, place in enumerate(dimensions):
        if not known.knows_size(value, place):
            windows[at] = Window(math.inf, begin=None, end=None)
    return {
        "certainty": "bound",
        "reason": _OF_OPEN_SIZE.format(operation.name),
        "closes": tuple(axes),
        "resolution_dependent": True,
    }


_OF_OPEN_SIZE = (
    "the model leaves the size of its input open, so that the window of '{}' is not known; counted "
    "as seeing everything"
)


@Rule
def fractional_pool(known: Known, operation: Operation) -> Answer:
    """Pool by a fraction, with windows at random places.

    Unit i begins at floor((i + u)*a) - floor(u*a) with a random u from 0 to 1 per channel, which is
    floor(i*a) or one behind; a = (units - kernel)/(wanted - 1). The last one ends with the map.
    """
    tensor, value = known.worked_on(operation)
    places = _last_dimensions(known, operation)
    kernels = per_axis(operation.get("kernel_size"), len(places))
    shape = operation.outputs[0].shape
    windows = []
    for place, k in zip(places, kernels, strict=True):
        rest, wanted = tensor.shape[place] - k, shape[place]
        if wanted == 1 or not rest:
            windows.append(Window(k, begin=-rest, end=0))
            continue
        ratio = Fraction(rest, wanted - 1)
        fine = ratio.denominator
        windows.append(Window((k + 1) * fine, ratio.numerator, 1, fine - 1, None, fine))
    return _slide(
        known,
        operation,
        value,
        places,
        windows,
        certainty="bound",
        reason="fractional pooling places its windows at random",
        position_dependent=True,
    )


@Rule
def unpool(known: Known, operation: Operation) -> Answer:
    """Put maxima back to where they came from."""
    tensor, value = known.worked_on(operation)
    places = _last_dimensions(known, operation)
    shape = operation.outputs[0].shape
    kernels = per_axis(operation.get("kernel_size"), len(places))
    stride = operation.get("stride")
    strides = kernels if stride in (None, [], ()) else per_axis(stride, len(places))
    paddings = per_axis(operation.get("padding", 0), len(places))
    windows = []
    for place, k, s, p in zip(places, kernels, strides, paddings, strict=True):
        ratio = Fraction(shape[place], tensor.shape[place])
        if k is None:
            k, s = math.ceil(ratio), round(ratio)  # noqa: PLW2901
        windows.append(Window(k, 1, begin=k - 1 - p, upsampling=s))
    return _slide(known, operation, value, places, windows)


@Rule
def described(known: Known, operation: Operation) -> Answer:
    """Do what a user says of an operation, with the shapes that were seen."""
    told: Effect | None = operation.get("effect")
    name = operation.get("name", operation.name)
    shown = operation if name == operation.name else attrs.evolve(operation, name=name)
    if told is not None and told.layouts:
        return attrs.evolve(told, operation=shown)
    layer = operation.get("layer")
    windows = windows_of(layer, known.axes)
    if told is not None:
        windows = tuple(told.windows.get(axis, one) for axis, one in enumerate(windows))
    effect = _as_described(known, shown, windows)
    facts: dict[str, Any] = {"operation": shown, "filters": layer.filters, "units": layer.units}
    facts |= {"ceil_mode": layer.ceil_mode, "same_padding": layer.same_padding}
    if told is not None:
        facts |= {name: told for name, told in told.facts().items() if told != _PLAIN[name]}
    return attrs.evolve(effect, **facts)


_PLAIN = Effect({}).facts()


def _as_described(known: Known, operation: Operation, windows: Sequence[Window]) -> Effect:
    tensor, value = known.worked_on(operation)
    output = operation.outputs[0]
    carrying = [place for place, one in enumerate(value.layout) if len(layouts.axes_of(one)) == 1]
    if len(output.shape) != len(tensor.shape):
        layout = layouts.broadcast((value.layout,), output.shape)
        return Effect(dict(enumerate(windows)), (layout,), base=value)
    slid = {place: windows[layouts.axes_of(value.layout[place])[0]] for place in carrying}
    whole = [place for place, window in slid.items() if window.kernel == math.inf]
    channels = [place for place in range(1, len(tensor.shape)) if place not in carrying]
    places = [place for place in carrying if place not in whole]
    facts: dict[str, Any] = {}
    for place in places:
        sizes = tensor.shape[place], output.shape[place]
        if not _leads_to(slid[place], *sizes):
            stride, factor = slid[place].stride, slid[place].upsampling
            facts = {"certainty": "unknown", "reason": _NOT_SO.format(*sizes, stride, factor)}
    several = [slid[place] for place in places]
    return _slide(known, operation, value, places, several, (*whole, *channels), **facts)


_NOT_SO = (
    "it makes {1} units of {0}, which the stride {2} and the up-sampling {3} of its description do "
    "not lead to"
)


def _leads_to(window: Window, size: int, wanted: int) -> bool:
    """Whether a window makes that many units of a map, with whatever padding."""
    fine = window.upsampling
    reach = int(window.reach)
    least = ((size - 1) * fine - reach) // window.stride + 1
    return least <= wanted <= (size * fine + 2 * reach - 1) // window.stride + 1


# --- resampling ------------------------------------------------------------------------------


@Rule
def interpolate(known: Known, operation: Operation) -> Answer:
    """Resize a map."""
    tensor, value = known.worked_on(operation)
    count = len(tensor.shape) - 2
    shape = operation.outputs[0].shape
    mode = operation.get("mode", "nearest")
    if mode == "area":
        pooling = Operation(
            f"adaptive_avg_pool{count}d",
            {"input": tensor, "output_size": shape[2:]},  # of any size, so never "sized"
            operation.outputs,
            operation.scope,
        )
        return attrs.evolve(_pool_to_size(known, pooling), operation=pooling)
    factors = operation.get("scale_factor")
    if any(tensors_in(factors)):
        factors = None  # a trace does not tell its value; sizes tell the ratio
    use_factors = factors is not None and not operation.get("recompute_scale_factor")
    windows = []
    stretched = False
    for place in range(count):
        old, new = tensor.shape[2 + place], shape[2 + place]
        if operation.get("align_corners") and old > 1 and new > 1:
            ratio, aligned = Fraction(old - 1, new - 1), True
            stretched = stretched or ratio != 1
        else:
            ratio, aligned = Fraction(old, new), False
            if factors is not None:
                factor = 1 / Fraction(per_axis(factors, count)[place]).limit_denominator(10_000)
                stretched = stretched or not (use_factors or factor == ratio)
                ratio = factor if use_factors else ratio
        windows.append(interpolation(mode, ratio, bool(operation.get("antialias")), aligned))
    # Between aligned corners, or where it is computed again, the ratio depends on the map's size.
    places = range(2, len(tensor.shape))
    facts: dict[str, Any] = {"position_dependent": stretched}
    if operation.get("keeps_ratio"):
        windows = [window._replace(begin=None, end=None) for window in windows]
        facts |= {"certainty": "bound", "reason": _KEEPS_RATIO}
    if operation.get("rounded"):
        facts |= {"certainty": "bound", "reason": _ROUNDED.format(operation.get("rounded"))}
    if operation.get("size") is not None:
        facts |= _of_open_sizes(known, operation, value, places, windows)
    return _slide(known, operation, value, places, windows, **facts)


_ROUNDED = "which of two units it takes depends on how places are rounded, '{}'"
_KEEPS_RATIO = "how much is cut or padded to keep the aspect ratio depends on the image"


@Rule
def pixel_shuffle(known: Known, operation: Operation) -> Answer:
    """Turn channels into finer positions."""
    tensor, value = known.worked_on(operation)
    rank, factor = len(tensor.shape), operation.get("factor")
    window = Window(factor, 1, begin=factor - 1, upsampling=factor)
    places = (rank - 2, rank - 1)
    return _slide(known, operation, value, places, (window,) * 2, mixed=(rank - 3,), gathers=True)


@Rule
def pixel_unshuffle(known: Known, operation: Operation) -> Answer:
    """Turn positions into channels of a coarser map."""
    tensor, value = known.worked_on(operation)
    rank, factor = len(tensor.shape), operation.get("factor")
    window = Window(factor, factor)
    places = (rank - 2, rank - 1)
    return _slide(known, operation, value, places, (window,) * 2, mixed=(rank - 3,), scatters=True)


@Rule
def im2col(known: Known, operation: Operation) -> Answer:
    """``F.unfold``: windows become columns, their places become one dimension."""
    tensor, value = known.worked_on(operation)
    first = len(tensor.shape) - 2
    arguments = [
        per_axis(operation.get(name, default), 2)
        for name, default in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0))
    ]
    windows, places = [], []
    for at, (k, s, d, p) in enumerate(zip(*arguments, strict=True)):
        windows.append(Window(k, s, d, p, p))
        places.append((tensor.shape[first + at] + 2 * p - d * (k - 1) - 1) // s + 1)
    shape = operation.outputs[0].shape
    opened = _opened(operation, (*shape[:-1], *places))
    effect = _slide(
        known, opened, value, (first, first + 1), windows, mixed=(first - 1,), scatters=True
    )
    flat = functools.partial(layouts.reshape, shape=shape)
    return attrs.evolve(effect, operation=opened, laid=flat)


def _opened(operation: Operation, shape: Sequence[int]) -> Operation:
    """Return an operation as if its output had not been reshaped."""
    output = TensorRef(operation.outputs[0].number, tuple(shape))
    return attrs.evolve(operation, outputs=(output,))


@Rule
def col2im(known: Known, operation: Operation) -> Answer:
    """``F.fold``: every pixel sums the columns that cover it, as a transposed convolution does."""
    tensor, value = known.worked_on(operation)
    shape = operation.outputs[0].shape
    first = len(shape) - 2
    arguments = [
        per_axis(operation.get(name, default), 2)
        for name, default in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("padding", 0))
    ]
    windows, places = [], []
    for at, (k, s, d, p) in enumerate(zip(*arguments, strict=True)):
        reach = d * (k - 1)
        windows.append(Window(k, 1, d, reach - p, reach - p, s))
        places.append((shape[first + at] + 2 * p - reach - 1) // s + 1)
    opened = layouts.reshape(value.layout, (*tensor.shape[:-1], *places))
    return _slide(
        known,
        operation,
        value._replace(layout=opened),
        (first, first + 1),
        windows,
        mixed=(first - 1,),
        gathers=True,
    )


@Rule
def unfold(known: Known, operation: Operation) -> Answer:
    """``Tensor.unfold``: windows along one dimension, their contents in a new last one."""
    tensor, value = known.worked_on(operation)
    dimension = operation.get("dim", 0) % len(tensor.shape)
    window = Window(operation.get("size", 1), operation.get("step", 1))
    output = operation.outputs[0]
    if not layouts.axes_of(value.layout[dimension]):
        layout = list(value.layout)
        layout[dimension] = plain(output.shape[dimension])
        return move(known, operation, (*layout, plain(output.shape[-1])))
    return frames(known, operation, value, dimension, len(output.shape) - 1, window)


def frames(
    known: Known, operation: Operation, value: Value, dimension: int, inside: int, window: Window
) -> Effect:
    """Return the effect of windows along one dimension, whose contents are put into another one.

    ``dimension`` is that of the value, in which the one for the contents is not yet there.
    """
    shape = operation.outputs[0].shape
    opened = _opened(operation, (*shape[:inside], *shape[inside + 1 :]))
    effect = _slide(known, opened, value, (dimension,), (window,), scatters=True)
    found = plain(shape[inside])
    return attrs.evolve(
        effect,
        operation=opened,
        laid=lambda layout: (*layout[:inside], found, *layout[inside:]),
    )


@Rule
def as_strided(known: Known, operation: Operation) -> Answer:
    """``as_strided``: of a tensor that lies in plain order windows, as ``unfold`` has them.

    What else it may read is told by numbers alone, and counts as everything.
    """
    tensor, value = known.worked_on(operation)
    shape = operation.outputs[0].shape
    framed = _frames_in(tensor.shape, operation)
    if framed is None:
        axes = layouts.spatial_axes(value.layout)
        layout = tuple((Lost(size, axes),) if axes and size > 1 else () for size in shape)
        facts: dict[str, Any] = {"certainty": "bound", "reason": _STRIDED}
        return Effect(dict.fromkeys(axes, Window(math.inf)), (layout,), base=value, **facts)
    dimension, count, size, hop = framed
    made = (*tensor.shape[:dimension], count, *tensor.shape[dimension + 1 :], size)
    windows = attrs.evolve(
        operation,
        name="unfold",
        arguments={"input": tensor, "dim": dimension, "size": size, "step": hop},
        outputs=(TensorRef(operation.outputs[0].number, made),),
    )
    effect = unfold(known, windows)
    if isinstance(effect, Moved):
        ((number, moved),) = effect.values.items()
        return Moved({number: moved._replace(layout=layouts.reshape(moved.layout, shape))})
    laid = effect.laid or (lambda layout: layout)
    return attrs.evolve(
        effect,
        operation=_opened(operation, made[:-1]),
        laid=lambda layout: layouts.reshape(laid(layout), shape),
    )


def _frames_in(given: Sequence[int], operation: Operation) -> tuple[int, int, int, int] | None:
    """Return which dimension strides make frames of, how many, how long and how far apart.

    None if they do something else, or if it is not known how the tensor lies in memory.
    """
    plainly = tuple(math.prod(given[place + 1 :]) for place in range(len(given)))
    made = _long_ones(operation.get("size", ()), operation.get("stride", ()))
    own = _long_ones(given, plainly)
    if not made or _long_ones(given, operation.get("input_stride", ())) != own:
        return None
    *frames, (size, inner) = made
    for place, (whole, step) in enumerate(own):
        others = frames[:place] + frames[place + 1 :]
        if inner == step and others == own[:place] + own[place + 1 :] and len(frames) == len(own):
            count, apart = frames[place]
            if apart >= step and not apart % step:
                hop = apart // step
                dimension = [at for at, one in enumerate(given) if one > 1][place]
                return (dimension, count, size, hop) if count == (whole - size) // hop + 1 else None
    return None


def _long_ones(sizes: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return the sizes and strides of the dimensions that have more than one index."""
    return [pair for pair in zip(sizes, strides, strict=False) if pair[0] > 1]


_STRIDED = (
    "'as_strided' reads a tensor by where it lies in memory, which is not followed; counted as "
    "seeing everything"
)


@Rule
def diff(known: Known, operation: Operation) -> Answer:
    """Subtract neighbours along one dimension, ``n`` times."""
    tensor, value = known.worked_on(operation)
    dimension = operation.get("dim", -1) % len(tensor.shape)
    return _slide(known, operation, value, (dimension,), (Window(operation.get("n", 1) + 1),))


@Rule
def stft(known: Known, operation: Operation) -> Answer:
    """Take spectra of windows of a signal, from half a window in front of it if centred."""
    tensor, value = known.worked_on(operation)
    last = len(tensor.shape) - 1
    size, hop, width, inside = _frames(operation)
    output = operation.outputs[0]
    samples, frames = tensor.shape[-1], output.shape[last + 1]
    centred = (
        frames != 1 + (samples - size) // hop if hop <= size else operation.get("center", True)
    )
    begin = (size // 2 if centred else 0) - inside
    window = Window(width, hop, 1, begin, (frames - 1) * hop + width - samples - begin)
    opened = _opened(operation, (*tensor.shape[:-1], frames))
    rest = tuple(map(plain, output.shape[last + 2 :]))
    return attrs.evolve(
        _slide(known, opened, value, (last,), (window,)),
        operation=opened,
        laid=lambda layout: (*layout[:-1], plain(output.shape[last]), layout[-1], *rest),
    )


@Rule
def istft(known: Known, operation: Operation) -> Answer:
    """Sum the frames that cover a sample, as a transposed convolution does."""
    tensor, value = known.worked_on(operation)
    last = len(tensor.shape) - 1
    size, hop, width, inside = _frames(operation)
    output = operation.outputs[0]
    before = width - 1 - ((size // 2 if operation.get("center", True) else 0) - inside)
    fine = (tensor.shape[-1] - 1) * hop + 1
    window = Window(width, 1, 1, before, output.shape[-1] + width - 1 - fine - before, hop)
    opened = _opened(operation, (*output.shape[:-1], 1, output.shape[-1]))
    return attrs.evolve(
        _slide(known, opened, value, (last,), (window,), mixed=(last - 1,)),
        operation=opened,
        laid=lambda layout: (*layout[: last - 1], *layout[last:]),
    )


def _frames(operation: Operation) -> tuple[int, int, int, int]:
    """Return of spectra their size, their distance, and the width and begin of the window in it.

    A window that is shorter than a frame lies in the middle of it.
    """
    size = operation.get("n_fft", 1)
    window = operation.get("window")
    width = operation.get("win_length", size)
    width = window.shape[0] if type(window) is TensorRef else width
    return size, operation.get("hop_length", size // 4), width, (size - width) // 2
