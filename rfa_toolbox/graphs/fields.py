"""Receptive fields of the paths that reach a node, and the filters that choose among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.arithmetic import Jump, Paths, PathState, Size
from rfa_toolbox.errors import InvalidGraphError
from rfa_toolbox.graphs.layers import LayerDefinition

__all__ = [
    "KNOWN_FILTER_MAPPING",
    "STORED_FILTERS",
    "InfoFilter",
    "ReceptiveFieldInfo",
    "compute_receptive_field_sizes",
    "filter_all_rf_info_with_infinite_receptive_field",
    "filtered",
    "infos_of",
    "leaves_out_the_largest",
    "naive_minmax_filter",
    "noop_filter",
    "paths_behind",
    "resolve_filter",
]


def _to_plain_sizes(value: Any) -> Any:
    if type(value) is int:
        return value
    try:
        if isinstance(value, Iterable) and not isinstance(value, str | bytes):
            if hasattr(value, "ndim") and value.ndim == 0:  # an array that is one number
                return _plain_number(value)
            return tuple(map(_plain_number, value))
        return _plain_number(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidGraphError(
            f"A receptive field or multiplicator is {value!r}; it must be a number (None or inf "
            "where every position sees every other one), or a sequence of numbers, one per axis."
        ) from error


def _plain_number(value: Any) -> Any:
    if value is None or value == math.inf:
        return math.inf
    if isinstance(value, str | bytes):
        raise TypeError("A text is no number.")
    if hasattr(value, "item"):  # NumPy scalars would show their type in every label
        value = value.item()
    return int(value) if value == int(value) else value


@attrs.frozen(slots=True)
class ReceptiveFieldInfo:
    """Receptive field and jump behind one path through the network, in input pixels.

    Attributes:
        receptive_field: size of the window; one number, or one per axis.
        multiplicator: the jump, the distance between neighbouring units.

    >>> ReceptiveFieldInfo(receptive_field=7, multiplicator=2)
    ReceptiveFieldInfo(receptive_field=7, multiplicator=2)
    """

    receptive_field: Any = attrs.field(converter=_to_plain_sizes)
    multiplicator: Any = attrs.field(converter=_to_plain_sizes)


InfoFilter: TypeAlias = "Callable[[tuple[ReceptiveFieldInfo, ...]], Iterable[ReceptiveFieldInfo]]"


def noop_filter(info: tuple[ReceptiveFieldInfo, ...]) -> tuple[ReceptiveFieldInfo, ...]:
    """Keep every path."""
    return info


def _key(info: ReceptiveFieldInfo) -> tuple[Any, ...]:
    field = info.receptive_field
    return (max(field), field) if isinstance(field, tuple) else (field, (field,))


def naive_minmax_filter(info: tuple[ReceptiveFieldInfo, ...]) -> tuple[ReceptiveFieldInfo, ...]:
    """Keep only the paths with the smallest and the largest receptive field.

    >>> infos = tuple(ReceptiveFieldInfo(size, 1) for size in (5, 1, 3))
    >>> [one.receptive_field for one in naive_minmax_filter(infos)]
    [1, 5]
    """
    return (min(info, key=_key), max(info, key=_key)) if info else ()


def _is_finite(info: ReceptiveFieldInfo) -> bool:
    field = info.receptive_field
    return math.inf not in (field if isinstance(field, tuple) else (field,))


def filter_all_rf_info_with_infinite_receptive_field(
    info: tuple[ReceptiveFieldInfo, ...],
) -> tuple[ReceptiveFieldInfo, ...]:
    """Leave infinite paths out, unless no finite one exists.

    >>> infos = (ReceptiveFieldInfo(3, 1), ReceptiveFieldInfo(float("inf"), 1))
    >>> len(filter_all_rf_info_with_infinite_receptive_field(infos))
    1
    """
    return tuple(filter(_is_finite, info)) or tuple(info)


KNOWN_FILTER_MAPPING: dict[str | None, InfoFilter] = {
    "inf": filter_all_rf_info_with_infinite_receptive_field,
    None: noop_filter,
}
"""Names of filters that the encoders accept as ``filter_rf``."""

STORED_FILTERS: dict[str, InfoFilter] = {
    "noop": noop_filter,
    "inf": filter_all_rf_info_with_infinite_receptive_field,
    "minmax": naive_minmax_filter,
}


def resolve_filter(filter_rf: str | InfoFilter | None, parameter: str = "filter_rf") -> InfoFilter:
    """Return the filter that a user named, or the function that they passed."""
    if filter_rf is noop_filter:
        return filter_rf
    if filter_rf is None or isinstance(filter_rf, str):
        if filter_rf in KNOWN_FILTER_MAPPING:
            return KNOWN_FILTER_MAPPING[filter_rf]
    elif callable(filter_rf):
        return filter_rf
    raise InvalidGraphError(
        f"{parameter} is {filter_rf!r}; valid are None, 'inf', or a function from a tuple of "
        "ReceptiveFieldInfo to those that are kept."
    )


def infos_of(paths: tuple[Paths, ...], scalar: bool) -> tuple[ReceptiveFieldInfo, ...]:
    """Show per-axis paths as joint ones; axes with fewer paths repeat their largest."""
    return tuple(
        ReceptiveFieldInfo(
            arithmetic.collapse_sizes(tuple(map(arithmetic.field_of, row)), scalar),
            arithmetic.collapse_sizes(tuple(map(arithmetic.jump_of, row)), scalar),
        )
        for row in _rows(paths)
    )


def _rows(paths: tuple[Paths, ...]) -> list[tuple[PathState, ...]]:
    """Pair the paths of all axes, finite ones with finite ones, as far as there are some."""
    if len(paths) == 1:
        return [(path,) for path in paths[0]]
    finite = list(map(arithmetic.finite_paths, paths))
    if not all(finite):
        return _paired(paths)
    infinite = [tuple(path for path in axis if path[0] == math.inf) for axis in paths]
    if not any(infinite):
        return _paired(finite)
    return _paired(finite) + _paired(
        [far or near[-1:] for near, far in zip(finite, infinite, strict=True)]
    )


def _paired(paths: Sequence[Paths]) -> list[tuple[PathState, ...]]:
    longest = max(map(len, paths))
    return list(zip(*(axis + axis[-1:] * (longest - len(axis)) for axis in paths), strict=True))


def _path_of_info(field: Size, jump: Size | Fraction) -> PathState:
    if field == math.inf:
        return arithmetic.INFINITE_PATH
    jump = _exact_jump(jump)
    if not isinstance(field, int) or field < 1 or jump <= 0:
        raise InvalidGraphError(
            f"A ReceptiveFieldInfo has receptive_field={field!r} and multiplicator={jump!s}; the "
            "field must be a whole number of at least 1 (or inf), the multiplicator a positive "
            "finite number."
        )
    if isinstance(jump, int):
        return (field, jump, ())
    return (field, jump.numerator, ((jump.denominator, jump.denominator - 1, 1),))


def _exact_jump(jump: Size | Fraction) -> Jump:
    """Return a jump as the integer or the simple fraction that a float stands for; 0 for inf."""
    if isinstance(jump, int):
        return jump
    exact = Fraction(jump).limit_denominator() if jump != math.inf else Fraction(0)
    return int(exact) if exact.denominator == 1 else exact


def _paths_of_infos(infos: Iterable[ReceptiveFieldInfo], axes: int) -> tuple[Paths, ...]:
    rows = [
        (
            arithmetic.broadcast(info.receptive_field, axes),
            arithmetic.broadcast(info.multiplicator, axes),
        )
        for info in infos
    ]
    return tuple(
        arithmetic.prune(_path_of_info(fields[axis], jumps[axis]) for fields, jumps in rows)
        for axis in range(axes)
    )


def _to_infos(value: Any, what: str) -> tuple[ReceptiveFieldInfo, ...]:
    """Return what a user gave as receptive fields, if it is at least one of them."""
    infos = tuple(value) if isinstance(value, Iterable) else ()
    wrong = [info for info in infos if not isinstance(info, ReceptiveFieldInfo)]
    if wrong or not infos:
        found = f"{value!r}, in which {wrong[0]!r} is none" if wrong else repr(value)
        raise InvalidGraphError(
            f"{what} {found}; it must be a sequence of at least one ReceptiveFieldInfo (a filter "
            "returns its input where it would keep none)."
        )
    return infos


def compute_receptive_field_sizes(
    receptive_field_info: Iterable[ReceptiveFieldInfo], layer_info: LayerDefinition
) -> tuple[ReceptiveFieldInfo, ...]:
    """Return the receptive fields behind a layer, given those in front of it.

    >>> compute_receptive_field_sizes((ReceptiveFieldInfo(3, 2),), LayerDefinition("Conv", 3, 2))
    (ReceptiveFieldInfo(receptive_field=7, multiplicator=4),)
    """
    infos = _to_infos(receptive_field_info, "receptive_field_info is")
    if not isinstance(layer_info, LayerDefinition):
        raise InvalidGraphError(
            f"layer_info is {layer_info!r}; it must be a LayerDefinition, such as "
            "LayerDefinition('Conv', kernel_size=3)."
        )
    lengths = {
        len(info.receptive_field) for info in infos if isinstance(info.receptive_field, tuple)
    }
    if layer_info.axes is not None:
        lengths.add(layer_info.axes)
    if len(lengths) > 1:
        raise InvalidGraphError(
            f"Receptive fields and layer have different numbers of axes: {sorted(lengths)!r}."
        )
    axes = lengths.pop() if lengths else None
    paths = _grow(_paths_of_infos(infos, axes or 1), layer_info, axes)
    return infos_of(paths, axes is None)


def _grow(paths: tuple[Paths, ...], layer: LayerDefinition, axes: int | None) -> tuple[Paths, ...]:
    """Grow the paths of every axis by one layer; ``axes`` is None for scalar graphs."""
    count = axes or 1
    if len(paths) < count:
        paths *= count
    if layer.stays:
        return paths
    grow = arithmetic.grow_blocks if layer.blockwise else arithmetic.grow_paths
    slides = layer.slides if len(layer.slides) == count else layer.slides * count
    shortest = layer.shortest_kernel_size
    results: list[Paths] = []
    last: tuple[Any, ...] = ()
    for axis, (before, slide) in enumerate(zip(paths, slides, strict=True)):
        least = shortest[axis] if type(shortest) is tuple else shortest
        kernel, *how = slide[:4]
        if last and before is last[0] and (kernel, how, least) == last[1:]:
            results.append(results[-1])
            continue
        grown = grow(before, kernel, *how)
        if least is not None and least != kernel:
            grown = arithmetic.merge_paths((grown, grow(before, least, *how)))
        results.append(grown)
        last = before, kernel, how, least
    return tuple(results)


def paths_behind(
    several: Sequence[tuple[Paths, ...]], layer: LayerDefinition, axes: int | None
) -> tuple[Paths, ...]:
    """Return the paths behind a layer, given those behind each of its predecessors."""
    if not several:
        merged: tuple[Paths, ...] = (arithmetic.INPUT_PATHS,) * (axes or 1)
    elif len(several) == 1:
        merged = several[0]
    else:
        merged = _merge(several, axes or 1)
    return _grow(merged, layer, axes)


def _merge(several: Sequence[tuple[Paths, ...]], axes: int) -> tuple[Paths, ...]:
    if axes > 1 and all(axis is paths[0] for paths in several for axis in paths):
        return (arithmetic.merge_paths([paths[0] for paths in several]),) * axes
    return tuple(
        arithmetic.merge_paths([paths[axis if len(paths) > 1 else 0] for paths in several])
        for axis in range(axes)
    )


def filtered(paths: tuple[Paths, ...], keep: InfoFilter, axes: int | None) -> tuple[Paths, ...]:
    """Return the paths that a user's filter keeps; what it adds becomes a path of its own."""
    if keep is noop_filter:
        return paths
    if keep is filter_all_rf_info_with_infinite_receptive_field:
        finite = tuple(map(arithmetic.finite_paths, paths))
        return finite if all(finite) else paths
    infos = infos_of(paths, axes is None)
    if not infos:  # without position there is nothing to choose from
        return paths
    rows = _rows(paths)
    kept: list[tuple[PathState, ...]] = []
    for info in _to_infos(keep(infos), f"The receptive_field_info_filter {keep!r} returned"):
        position = next((at for at, one in enumerate(infos) if one is info), None)
        if position is not None:
            kept.append(rows[position])
        else:
            kept.append(tuple(axis[0] for axis in _paths_of_infos((info,), axes or 1)))
    return tuple(arithmetic.prune(column) for column in zip(*kept, strict=True))


def leaves_out_the_largest(whole: tuple[Paths, ...], kept: tuple[Paths, ...]) -> bool:
    """Return whether a user's filter kept less than the largest of the finite paths."""
    return kept is not whole and any(
        arithmetic.largest_field(arithmetic.finite_paths(some))
        < arithmetic.largest_field(arithmetic.finite_paths(every))
        for every, some in zip(whole, kept, strict=True)
    )
