"""Formulas of receptive field analysis on plain numbers; no node in sight.

This is the only module that tells a scalar from a per-axis value.

Terms, per spatial axis. A *path* is one way from an input to a layer. Its state is a tuple
``(base, jump, levels)``: the receptive field ``base`` and the jump ``jump`` (both in input
pixels) of the coarsest grid that is still open, and one level ``(factor, extent, step)`` per
up-sampling on top of it: the grid was made finer by ``factor``, windows span ``extent`` steps of
the fine grid, and neighbouring units are ``step`` fine steps apart. Without up-sampling
``levels`` is empty and the state is the familiar pair of receptive field and jump.

Units on an up-sampled map see windows of different size; a path's field is the largest. A window
that spans E fine steps covers at most ``E // factor + 1`` coarse units. That number is reached
unless strides leave only some phases of the fine grid, or dilation leaves holes in the window:
then it is an upper bound, and ``is_exact`` says so.

Sources: A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019 (growth along a path); M. L. Richter et al., "Should You Go Deeper?",
ICMLA 2021 (states of a layer).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal, TypeAlias, TypeVar

from rfa_toolbox.errors import InvalidGraphError, InvalidLayerError, InvalidResolutionError

__all__ = [
    "INFINITE_PATH",
    "INPUT_PATHS",
    "Jump",
    "LayerState",
    "PathState",
    "Paths",
    "Size",
    "broadcast",
    "carried",
    "collapse_sizes",
    "field_of",
    "finite_paths",
    "grow",
    "grow_blocks",
    "grow_paths",
    "is_uneven",
    "jump_of",
    "largest_field",
    "largest_jump",
    "layer_state",
    "merge_paths",
    "never_less",
    "normalise_infinite",
    "normalise_integers",
    "normalise_resolution",
    "prune",
    "smallest_field",
    "state_within",
    "unproductive_limits",
    "unproductive_up_to",
    "window_of",
    "with_extent",
]

Size: TypeAlias = "int | float"
"""A number of input pixels: an integer, or ``math.inf``."""

Jump: TypeAlias = "int | Fraction"
"""A distance between units in input pixels; a fraction on up-sampled maps."""

Level: TypeAlias = "tuple[int, int, int]"
PathState: TypeAlias = "tuple[Size, int, tuple[Level, ...]]"
Paths: TypeAlias = "tuple[PathState, ...]"
"""What reaches a node along one axis: per distinct jump its smallest and its largest path."""

LayerState: TypeAlias = Literal["unproductive", "critical", "partially critical", "productive"]

T = TypeVar("T")

INPUT_PATHS: Paths = ((1, 1, ()),)
"""The image itself: every pixel sees itself."""

INFINITE_PATH: PathState = (math.inf, 1, ())
"""A path through an operation that lets every position see every other one."""


# --- growth along one path -------------------------------------------------------------------


def grow(
    path: PathState, kernel: Size, stride: int = 1, dilation: int = 1, upsampling: int = 1
) -> PathState:
    """Return the state of a path behind a layer.

    The layer first makes the grid finer by ``upsampling`` (zeros in between), then slides a
    window of ``kernel`` units, ``dilation`` apart, over the fine grid in steps of ``stride``.
    Without up-sampling this is ``r' = r + dilation*(kernel - 1)*j`` and ``j' = stride*j``.

    >>> grow((1, 1, ()), kernel=3, stride=2)
    (3, 2, ())
    >>> field_of(grow((1, 1, ()), kernel=4, upsampling=2))  # transposed convolution k4 s2
    2
    """
    base, jump, levels = path
    if math.inf in (kernel, base):
        return INFINITE_PATH
    extent = dilation * (int(kernel) - 1)
    if upsampling == 1 and not levels:
        return base + extent * jump, jump * stride, levels
    return _simplified(base, jump, _stacked(levels, extent, stride, upsampling))


def _stacked(
    levels: tuple[Level, ...], extent: int, stride: int, upsampling: int
) -> tuple[Level, ...]:
    """Return the levels behind a layer, as they are."""
    if upsampling != 1:
        return *levels, (upsampling, extent, stride)
    factor, spanned, step = levels[-1]
    return *levels[:-1], (factor, spanned + extent * step, step * stride)


def _simplified(base: Size, jump: int, levels: tuple[Level, ...]) -> PathState:
    """Return the shortest state that says the same; only the last level may be in want of it.

    A level on top of one with step 1 is one finer grid with it. What is common to factor and step
    can go, as ``(E + s*n) // f == (E // c + s//c * n) // (f // c)``. A level without a factor has
    become as coarse as the grid below, and goes into it.
    """
    below = list(levels)
    factor, spanned, step = below.pop()
    while True:
        if below and below[-1][2] == 1:
            coarse_factor, coarse_spanned, _ = below.pop()
            spanned += coarse_spanned * factor
            factor *= coarse_factor
        common = math.gcd(factor, step)
        factor, spanned, step = factor // common, spanned // common, step // common
        if factor != 1:
            return base, jump, (*below, (factor, spanned, step))
        if not below:
            return base + spanned * jump, jump * step, ()
        coarse_factor, coarse_spanned, coarse_step = below.pop()
        factor = coarse_factor
        spanned = coarse_spanned + spanned * coarse_step
        step *= coarse_step


def is_exact(
    path: PathState, kernel: Size, stride: int = 1, dilation: int = 1, upsampling: int = 1
) -> bool:
    """Return whether ``grow`` with these values gives the very largest window of the path.

    Otherwise it may be an upper bound. That happens only on up-sampled maps, where the largest
    window may lie at phases that strides skip, or its end in a hole that dilation leaves.

    >>> nearest = grow((1, 1, ()), kernel=2, upsampling=2)
    >>> is_exact(nearest, kernel=3), is_exact(nearest, kernel=2, stride=2)
    (True, False)
    """
    base, _, levels = path
    if math.inf in (kernel, base) or (upsampling == 1 and not levels):
        return True
    extent = dilation * (int(kernel) - 1)
    behind = _stacked(levels, extent, stride, upsampling)
    factor, spanned, step = (upsampling, 0, 1) if upsampling != 1 else levels[-1]
    if kernel > 1 and step * dilation > spanned + 1 and spanned + 1 < factor:
        return False  # the window has holes where its end should be
    sparse = any(spanned + 1 < factor for factor, spanned, _ in (*levels, behind[-1]))
    if sparse and len(behind) > 1:
        return False  # some units see nothing at all, and it is hard to say which
    inner, advance = 0, 1
    for factor, spanned, step in reversed(behind):
        advance *= step  # the largest windows below stand this far apart
        inner = spanned + inner * step
        common = math.gcd(advance, factor)
        if inner % common != common - 1:
            return False  # only some phases are reached; these need not be those of the largest
        inner //= factor
        advance //= common
    return True


def field_of(path: PathState) -> Size:
    """Return the size of the largest window of a path, in input pixels."""
    base, jump, levels = path
    if not levels:
        return base
    below = 0
    for factor, spanned, step in reversed(levels):
        below = (spanned + below * step) // factor
    return base + below * jump


def jump_of(path: PathState) -> Jump:
    """Return the distance between neighbouring units of a path, in input pixels."""
    _, jump, levels = path
    if not levels:
        return jump
    exact = Fraction(jump)
    for factor, _, step in levels:
        exact *= Fraction(step, factor)
    return int(exact) if exact.denominator == 1 else exact


def window_of(kernel: Size, upsampling: int = 1, dilation: int = 1) -> Size:
    """Return how many units in front of a layer its window spans at most.

    With up-sampling the window slides over the finer grid, where only every ``upsampling``-th
    unit is not a zero: ``ceil(ke / s)`` of semantics for transposed convolutions.

    >>> window_of(3, dilation=2), window_of(4, upsampling=2), window_of(2, upsampling=2)
    (5, 2, 1)
    """
    if kernel == math.inf:
        return kernel
    return -(-(dilation * (int(kernel) - 1) + 1) // upsampling)


# --- many paths ------------------------------------------------------------------------------


def grow_paths(
    paths: Paths, kernel: Size, stride: int = 1, dilation: int = 1, upsampling: int = 1
) -> Paths:
    """Return what comes out of a layer when ``paths`` reach it.

    >>> grow_paths(((1, 1, ()), (5, 1, ())), kernel=3, stride=2)
    ((3, 2, ()), (7, 2, ()))
    """
    if kernel == 1 and stride == 1 and upsampling == 1:
        return paths
    if len(paths) == 1:
        return (grow(paths[0], kernel, stride, dilation, upsampling),)
    return prune([grow(path, kernel, stride, dilation, upsampling) for path in paths])


def grow_blocks(
    paths: Paths, kernel: Size, stride: int = 1, dilation: int = 1, upsampling: int = 1
) -> Paths:
    """Return what comes out of a layer that takes units in blocks which do not overlap.

    Every unit sees the whole block of ``kernel`` units that it is in: the map is pooled block by
    block, and every unit of a block shows what its block has seen.

    >>> windows = grow_blocks(((1, 1, ()),), kernel=4)
    >>> largest_field(windows), largest_field(grow_paths(windows, kernel=3))
    (4, 8)
    """
    if kernel in (1, math.inf) or dilation != 1 or upsampling != 1:
        return grow_paths(paths, kernel, stride, dilation, upsampling)
    block = int(kernel)
    return grow_paths(grow_paths(paths, block, block), block, stride, upsampling=block)


def is_uneven(several: Sequence[Paths]) -> bool:
    """Return whether a path of any axis comes over an up-sampled grid.

    >>> is_uneven([((3, 2, ()),)]), is_uneven([(grow((1, 1, ()), kernel=2, upsampling=2),)])
    (False, True)
    """
    for paths in several:
        for path in paths:
            if path[2]:
                return True
    return False


def finite_paths(paths: Paths) -> Paths:
    """Return the paths of one axis on which units see a limited part of the image.

    >>> finite_paths(((3, 1, ()), INFINITE_PATH))
    ((3, 1, ()),)
    """
    return tuple(path for path in paths if path[0] != math.inf)


def merge_paths(several: Iterable[Paths]) -> Paths:
    """Return what reaches a node over all of its predecessors, along one axis.

    For equal jumps every later layer adds the same amount to every path, so the smallest and
    the largest path of each jump decide, and the rest is forgotten: linear cost, exact result.
    """
    merged: dict[PathState, None] = {}
    for paths in several:
        for path in paths:
            merged[path] = None
    if len(merged) == 1:
        return tuple(merged)
    return prune(merged)


def prune(paths: Iterable[PathState]) -> Paths:
    """Keep the smallest and the largest path of every jump, in a stable order.

    On up-sampled maps a path can be the largest behind one layer and another one behind the next,
    as fields grow there by leaps; all paths that can still become an extreme are kept.
    """
    groups: dict[Any, list[PathState]] = {}
    for path in paths:
        base, jump, levels = path
        key = (
            (jump, *((factor, step) for factor, _, step in levels))
            if levels
            else (0 if base == math.inf else jump)
        )
        group = groups.get(key)
        if group is None:
            groups[key] = [path]
        elif levels:
            group.append(path)
        elif base < group[0][0]:
            group[:-1] = [path]
        elif base > group[-1][0]:
            group[1:] = [path]
    kept: dict[PathState, None] = {}
    for group in groups.values():
        for path in _extremes(group) if group[0][2] else group:
            kept[path] = None
    return tuple(sorted(kept))


def _extremes(group: Iterable[PathState]) -> Iterator[PathState]:
    """Yield the paths over one up-sampled grid that are, or can become, smallest or largest."""
    forms = {carried(path): path for path in group}
    for form, path in forms.items():
        others = [other for other in forms if other != form]
        covered_above = any(never_less(other, form) for other in others)
        covered_below = any(never_less(form, other) for other in others)
        if not (covered_above and covered_below):
            yield path


def carried(path: PathState) -> PathState:
    """Return the state that says the same with all whole coarse units counted in ``base``."""
    base, jump, levels = path
    whole = 0
    rests: list[Level] = []
    for factor, spanned, step in reversed(levels):
        whole, rest = divmod(spanned + whole * step, factor)
        rests.append((factor, rest, step))
    return base + whole * jump, jump, tuple(reversed(rests))


def never_less(one: PathState, other: PathState) -> bool:
    """Return whether one path's field is at least the other's, whatever layers follow on both.

    Both are over the same grid and carried. ``leap`` is by how many coarse units the rests of the
    other path can ever let it be ahead.
    """
    leap = 0
    for factor, spanned, step in reversed(other[2]):
        leap = -(-(spanned + leap * step) // factor)
    return one[0] >= other[0] + leap * other[1] or (
        one[0] >= other[0]
        and all(mine[1] >= theirs[1] for mine, theirs in zip(one[2], other[2], strict=True))
    )


def with_extent(paths: Paths, size: int, advance: int, period: int = 1) -> Paths:
    """Return paths, and one more where units see more together than each of them leads to.

    ``size`` is what they see, in input pixels; ``advance`` and ``period`` are those of their
    windows, as in :class:`rfa_toolbox.unit_windows.UnitWindows`.

    >>> with_extent(((3, 2, ()),), size=4, advance=2)
    ((3, 2, ()), (4, 2, ()))
    """
    if size <= largest_field(finite_paths(paths)):
        return paths
    levels = () if period == 1 else ((period, period - 1, 1),)
    return prune((*paths, (size, advance, levels)))


def smallest_field(paths: Paths) -> Size:
    """Return the smallest receptive field over all paths of one axis, in input pixels.

    >>> smallest_field(((3, 1, ()), (7, 2, ())))
    3
    """
    return field_of(paths[0]) if len(paths) == 1 else min(map(field_of, paths), default=0)


def largest_field(paths: Paths) -> Size:
    """Return the largest receptive field over all paths of one axis, in input pixels.

    >>> largest_field(((3, 1, ()), (7, 2, ())))
    7
    """
    return field_of(paths[0]) if len(paths) == 1 else max(map(field_of, paths), default=0)


def largest_jump(paths: Paths) -> Jump | None:
    """Return the largest jump over the finite paths of one axis; None if there is no such path.

    >>> largest_jump(((3, 1, ()), (7, 2, ()))), largest_jump((INFINITE_PATH,))
    (2, None)
    """
    return max((jump_of(path) for path in paths if path[0] != math.inf), default=None)


# --- states of a layer -----------------------------------------------------------------------


def layer_state(
    resolution: Sequence[int],
    field: Sequence[Size] | None,
    predecessor_fields: Sequence[Sequence[Size]],
    predecessor_jumps: Sequence[Sequence[Jump | None]],
    window: Sequence[Size],
) -> LayerState:
    """Return how useful a layer can be at an input resolution, all axes taken together.

    Everything is per axis. ``resolution`` and the fields are in input pixels: ``field`` is the
    layer's smallest receptive field (None: the layer is not judged by it), ``predecessor_fields``
    those of its predecessors, ``predecessor_jumps`` the largest finite jump of each predecessor
    (None where there is none: one unit stands for the whole image). ``window`` is what the layer
    sees of the map in front of it, in units of that map.

    >>> layer_state((32, 32), (40, 40), [(32, 32)], [(8, 8)], (3, 3))
    'unproductive'
    """
    limits = unproductive_limits(field, predecessor_fields, predecessor_jumps, window)
    return state_within(resolution, field, limits)


def state_within(
    resolution: Sequence[int], field: Sequence[Size] | None, limits: Iterable[Sequence[Size]]
) -> LayerState:
    """Return what ``layer_state`` does, given the ``unproductive_limits`` of the layer.

    >>> state_within((33, 33), (40, 40), ((32, 32), (31, 31)))
    'critical'
    """
    if any(all(map(operator.le, resolution, rule)) for rule in limits):
        return "unproductive"
    if field is None:
        return "productive"
    beyond = list(map(operator.gt, field, resolution))
    if all(beyond):
        return "critical"
    return "partially critical" if any(beyond) else "productive"


def unproductive_up_to(
    field: Sequence[Size] | None,
    predecessor_fields: Sequence[Sequence[Size]],
    predecessor_jumps: Sequence[Sequence[Jump | None]],
    window: Sequence[Size],
) -> Size:
    """Return the largest resolution, equal on all axes, at which a layer is unproductive.

    Each of the two rules of ``layer_state`` says that the resolution is at most some limits, so
    a layer that is unproductive at one resolution is so at every smaller one. 0 is never.

    >>> unproductive_up_to((40, 40), [(32, 32)], [(8, 8)], (3, 3))
    32
    """
    return max(map(min, unproductive_limits(field, predecessor_fields, predecessor_jumps, window)))


def unproductive_limits(
    field: Sequence[Size] | None,
    predecessor_fields: Sequence[Sequence[Size]],
    predecessor_jumps: Sequence[Sequence[Jump | None]],
    window: Sequence[Size],
) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """Return up to which resolution each of the two rules calls a layer unproductive, per axis.

    The first rule is that nothing new in the image is left to see, the second that the feature
    map is not larger than the window. A rule holds where the resolution is at most its limit on
    every axis. 0 is never, inf always.

    >>> unproductive_limits((40, 40), [(32, 32)], [(8, 8)], (3, 3))
    ((32, 32), (31, 31))
    """
    nowhere = (0,) * len(window)
    beyond: tuple[Size, ...] = nowhere
    if field is not None:  # i < field, and i <= every field in front
        beyond = tuple(map(min, [size - 1 for size in field], *predecessor_fields))
    if math.inf in window:
        return beyond, nowhere
    several = [_map_limits(jumps, window) for jumps in predecessor_jumps]
    return beyond, several[0] if len(several) == 1 else tuple(map(min, *several))


def _map_limits(jumps: Sequence[Jump | None], window: Sequence[Size]) -> tuple[Size, ...]:
    """Return up to which resolution a map is not larger than the window, per axis.

    ``i // j <= k`` is ``i < (k + 1) * j``.
    """
    return tuple(
        math.inf if jump is None else math.ceil((size + 1) * jump) - 1
        for jump, size in zip(jumps, window, strict=True)
    )


# --- scalars and axes ------------------------------------------------------------------------


def broadcast(value: T | tuple[T, ...], axes: int) -> tuple[T, ...]:
    """Return one value per axis; a scalar counts for every axis."""
    if isinstance(value, tuple):
        if len(value) != axes:
            raise InvalidGraphError(
                f"{value!r} has {len(value)} axes where {axes} are expected; "
                "give one number for all axes, or one per axis."
            )
        return value
    return (value,) * axes


def collapse_sizes(values: tuple[T, ...], scalar: bool) -> T | tuple[T, ...]:
    """Return the public form of per-axis values: a scalar graph has scalar fields."""
    return values[0] if scalar else values


def _is_sequence(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def _whole_number(value: Any, what: str, minimum: int, infinite: bool) -> Size:
    if type(value) is int:
        if value >= minimum:
            return value
    elif isinstance(value, bool):
        pass
    elif hasattr(value, "is_integer"):
        if infinite and value == math.inf:
            return math.inf
        if float(value).is_integer() and value >= minimum:
            return int(value)
    elif hasattr(value, "__index__") and not _is_sequence(value):
        number = operator.index(value)
        if number >= minimum:
            return number
    kinds = f"a whole number of at least {minimum}"
    if infinite:
        kinds += ", or None (or inf) for a layer that sees everything"
    raise InvalidLayerError(f"{what} is {value!r}; it must be {kinds}, alone or one per axis.")


def _normalise(value: Any, convert: Callable[[Any], T], what: str) -> T | tuple[T, ...]:
    if not _is_sequence(value):
        return convert(value)
    values = tuple(convert(item) for item in value)
    if not values:
        raise InvalidLayerError(f"{what} is {value!r}; an empty sequence has no axis.")
    return values


def normalise_integers(
    value: Any, what: str, minimum: int = 1, default: int = 1
) -> int | tuple[int, ...]:
    """Return a stride, dilation or factor as an integer or a tuple of them; None is ``default``."""
    if type(value) is int and value >= minimum:
        return value

    def convert(item: Any) -> int:
        return default if item is None else int(_whole_number(item, what, minimum, False))

    return _normalise(value, convert, what)


def normalise_infinite(value: Any, what: str) -> Size | tuple[Size, ...]:
    """Return a kernel as a number or a tuple of numbers; None and "inf" are infinite kernels."""
    if type(value) is int and value >= 1:
        return value

    def convert(item: Any) -> Size:
        if item is None or (isinstance(item, str) and item == "inf"):
            return math.inf
        return _whole_number(item, what, 1, True)

    return _normalise(value, convert, what)


def _pixels(value: Any) -> int:
    return int(_whole_number(value, "The input resolution", 1, False))


def normalise_resolution(
    value: Any, axes: int | None, name: str = "The input resolution"
) -> tuple[int, ...]:
    """Return an input resolution in pixels, one integer per axis; ``name`` is what errors call it.

    Where ``axes`` is None, any number of axes will do, and one integer stands for itself.

    Raises:
        InvalidResolutionError: if a number is not a positive integer, or their count is wrong.

    >>> normalise_resolution(32, 2), normalise_resolution([32, 64], None)
    ((32, 32), (32, 64))
    """
    try:
        normal = _normalise(value, _pixels, name)
        if axes is None:
            return normal if isinstance(normal, tuple) else (normal,)
        return broadcast(normal, axes)
    except (InvalidLayerError, InvalidGraphError) as error:
        count = "" if axes is None else f"{axes} of "
        raise InvalidResolutionError(
            f"{name} is {value!r}; it must be a positive whole number of pixels, "
            f"or a sequence of {count}them, one per axis of the graph."
        ) from error
