"""Operators that let whole dimensions see each other: reductions, dense layers, attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.operators.record import (
    Operation,
    TensorRef,
    tensors_in,
)
from rfa_toolbox.operators.rules.common import dependent, places_of
from rfa_toolbox.operators.rules.elementwise import pointwise
from rfa_toolbox.operators.trail import Trail, Value
from rfa_toolbox.operators.windows import Window, in_blocks

__all__ = [
    "affine_grid",
    "attention",
    "attention_over",
    "cell",
    "einsum",
    "einsum_terms",
    "flatten",
    "linear",
    "loss",
    "matmul",
    "matrices",
    "multi_head_attention",
    "recurrent",
    "reduce",
    "sampled",
    "scan",
    "softmax",
    "tensordot",
]


def _widest(several: Iterable[dict[int, Window]]) -> dict[int, Window]:
    result: dict[int, Window] = {}
    for windows in several:
        for axis, window in windows.items():
            known = result.get(axis)
            if known is None or window.reach > known.reach:
                result[axis] = window
    return result


def reduce(trail: Trail, operation: Operation) -> None:
    """Take a mean, sum, maximum or the like over some dimensions."""
    tensor = trail.main(operation)
    other = operation.arguments.get("dim")
    if isinstance(other, TensorRef) or "other" in operation.arguments:
        pointwise(trail, operation)
        return
    value = trail.settled(tensor)
    rank = len(tensor.shape)
    dimensions = places_of(other, rank)
    keep = len(operation.outputs[0].shape) == rank
    layout = tuple(
        () if place in dimensions else dimension
        for place, dimension in enumerate(value.layout)
        if keep or place not in dimensions
    )
    if math.prod(operation.outputs[0].shape) == math.prod(tensor.shape):
        layout = layout if keep else layouts.broadcast((layout,), operation.outputs[0].shape)
    trail.step(operation, trail.mixing(value, dimensions), layout, base=value)


def scan(trail: Trail, operation: Operation) -> None:
    """Cumulative sums, sorting, Fourier transforms: every position may see every other one."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    rank = len(tensor.shape)
    default: Any = None if operation.name == "flip" else -1
    if operation.name.endswith("2"):
        default = (-2, -1)
    elif operation.name.endswith("n") or operation.name.endswith("shift"):
        default = None
    dimensions = places_of(operation.get("dim", operation.get("2", default)), rank)
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


def softmax(trail: Trail, operation: Operation) -> None:
    """A softmax over positions mixes them, unless it normalises the scores of an attention.

    Scores have the same axis in another dimension too; the product with the values that follows
    does the mixing, and counting both would count the same window twice.
    """
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    dimensions = places_of(operation.get("dim", -1), max(1, len(tensor.shape)))
    outside = {
        axis
        for place, pieces in enumerate(value.layout)
        if place not in dimensions
        for axis in layouts.axes_of(pieces)
    }
    mixed = [
        place
        for place in dimensions[: len(value.layout)]
        if not outside.issuperset(layouts.axes_of(value.layout[place]))
    ]
    trail.step(operation, trail.mixing(value, mixed), value.layout, base=value)


def linear(trail: Trail, operation: Operation) -> None:
    """Mix the last dimension, whatever it carries."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    last = len(tensor.shape) - 1
    shape = operation.outputs[0].shape
    layout = (*value.layout[:-1], plain(shape[-1]))
    windows = trail.mixing(value, (last,)) or trail.vector(value)
    trail.step(operation, windows, layout, base=value, units=shape[-1])


def cell(trail: Trail, operation: Operation) -> None:
    """One step of a recurrent layer: a dense layer on what comes in, and on what was kept."""
    values = [trail.settled(one) for one in trail.operands(operation)]
    windows = _widest(trail.mixing(one, (len(one.layout) - 1,)) for one in values)
    base = max(values, key=lambda one: len(layouts.spatial_axes(one.layout)))
    units = operation.outputs[0].shape[-1]
    layout = (*base.layout[:-1], plain(units))
    trail.step(operation, windows or trail.vector(base), layout, base=base, units=units)


def loss(trail: Trail, operation: Operation) -> None:
    """Compare maps: in one number as a rule, else at every position."""
    tensor = trail.main(operation)
    shape = operation.outputs[0].shape
    if shape == tensor.shape:
        pointwise(trail, operation)
        return
    value = trail.settled(tensor)
    if len(shape) == len(tensor.shape) - 1 and len(shape) > 0:  # of classes, at every position
        layout = (*value.layout[:1], *value.layout[2:])
        trail.step(operation, trail.mixing(value, (1,)), layout, base=value)
        return
    values = [trail.settled(one) for one in trail.operands(operation)]
    found = [trail.mixing(one, range(len(one.layout))) for one in values]
    trail.step(operation, _widest(found), layouts.broadcast((), shape), base=value)


def matrices(trail: Trail, operation: Operation) -> None:
    """Inverses, decompositions and the like: every number of a matrix depends on all of them."""
    value = trail.settled(trail.main(operation))
    rank = len(value.layout)
    results = [
        (*value.layout[: rank - 2], *map(plain, one.shape[rank - 2 :])) for one in operation.outputs
    ]
    trail.step(operation, trail.mixing(value, (rank - 2, rank - 1)), *results, base=value)


def affine_grid(trail: Trail, operation: Operation) -> None:
    """Coordinates at which a map will be sampled, made of a few numbers."""
    value = trail.settled(trail.main(operation))
    shape = operation.outputs[0].shape
    trail.step(operation, trail.vector(value), layouts.broadcast((), shape), base=value)


def tensordot(trail: Trail, operation: Operation) -> None:
    """Multiply tensors and sum over the dimensions that are named, of each in turn."""
    left, right = operation.arguments["input"], operation.arguments["other"]
    named = operation.get("dims", 2)
    if isinstance(named, int):
        named = range(-named, 0), range(named)
    first, second = (
        list("abcdefghijklm"[: len(left.shape)]),
        list("nopqrstuvwxyz"[: len(right.shape)]),
    )
    for mine, theirs in zip(*named, strict=True):
        second[theirs] = first[mine]
    result = [one for one in (*first, *second) if not (one in first and one in second)]
    terms = [(left, "".join(first)), (right, "".join(second))]
    _contract(trail, operation, terms, "".join(result))


def matmul(trail: Trail, operation: Operation) -> None:
    """Multiply matrices: the contracted dimensions are mixed."""
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
    pointwise(trail, operation)


def einsum(trail: Trail, operation: Operation) -> None:
    """Multiply and sum by an equation: the letters that disappear are mixed."""
    _contract(trail, operation, *einsum_terms(operation))


def einsum_terms(operation: Operation) -> tuple[list[tuple[TensorRef, str]], str]:
    """Return the tensors of an equation with a letter per dimension, and the result's letters."""
    equation = str(operation.arguments.get("equation")).replace(" ", "")
    operands = list(tensors_in(operation.arguments.get("operands")))
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    spare = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter not in equation]
    longest = max(
        (
            len(one.shape) - len(term) + 3
            for one, term in zip(operands, terms, strict=False)
            if "..." in term
        ),
        default=0,
    )
    filling = "".join(spare[:longest])
    spelled = []
    for tensor, term in zip(operands, terms, strict=False):
        count = len(tensor.shape) - len(term) + 3
        spelled.append(term.replace("...", filling[longest - count :] if count > 0 else ""))
    if not arrow:
        letters = "".join(spelled)
        rest = sorted({x for x in letters if letters.count(x) == 1 and x not in filling})
        result = filling + "".join(rest)
    return list(zip(operands, spelled, strict=False)), result.replace("...", filling)


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
    crossed = layouts.crossed(
        [
            tuple(
                trail.values[tensor.number].layout[letters.index(letter)]
                if letter in letters
                else ()
                for letter in result
            )
            for tensor, letters in terms
            if trail.depends(tensor)
        ]
    )
    windows = _widest(found) | dict.fromkeys(crossed, Window(math.inf))
    constants = [(tensor, letters) for tensor, letters in terms if not trail.depends(tensor)]
    uneven = base is not None and any(
        trail.uneven([_in_order(tensor, letters, result)], tuple(layout), base.extents)
        for tensor, letters in constants
    )
    contracts = any(letter not in result for _, letters in terms for letter in letters)
    trail.step(
        operation,
        windows,
        tuple(layout),
        base=base,
        mixed=None if contracts else (),
        blockwise=in_blocks(windows),
        units=None if both or not shape else shape[-1],
        position_dependent=uneven,
    )


def _in_order(tensor: TensorRef, letters: str, result: str) -> TensorRef:
    """Return a factor of a product as it broadcasts to the result."""
    sizes = dict(zip(letters, tensor.shape, strict=False))
    even = {letters[place] for place in tensor.even if place < len(letters)}
    places = tuple(place for place, letter in enumerate(result) if letter in even)
    return TensorRef(tensor.number, tuple(sizes.get(letter, 1) for letter in result), places)


def attention(trail: Trail, operation: Operation) -> None:
    """Scaled dot-product attention: every query sees all the keys of its batch entry."""
    keys = dependent(trail, operation, "key", "value")
    found = [trail.mixing(trail.settled(tensor), (len(tensor.shape) - 2,)) for tensor in keys]
    # What is summed up in a score are channels as a rule; in a map taken as it is, positions.
    everything = dependent(trail, operation, "query", "key", "value")
    found += [trail.mixing(trail.settled(one), (len(one.shape) - 1,)) for one in everything]
    _attend(trail, operation, operation.arguments.get("query"), found)


def _attend(
    trail: Trail, operation: Operation, query: Any, found: Sequence[dict[int, Window]]
) -> None:
    shape = operation.outputs[0].shape
    windows = _widest(found)
    if trail.depends(query):
        value = trail.settled(query)
        layout: Layout = (*value.layout[:-1], plain(shape[-1]))
        masks = [one for one in (operation.get("attn_mask"),) if type(one) is TensorRef]
        trail.step(
            operation,
            windows,
            layout,
            base=value,
            blockwise=in_blocks(windows),
            position_dependent=trail.uneven(masks, layout, value.extents, skipped=2),
        )
    else:
        trail.step(operation, windows, layouts.broadcast((), shape))


def attention_over(trail: Trail, operation: Operation) -> None:
    """Attention of a whole layer, over the dimensions ``dims`` of its values."""
    values = dependent(trail, operation, "value")
    found = [trail.mixing(trail.settled(one), operation.get("dims", ())) for one in values]
    windows = _widest(found)
    (query, *_) = dependent(trail, operation, "query", "value")
    value = trail.settled(query)
    layout = (*value.layout[:-1], plain(operation.outputs[0].shape[-1]))
    trail.step(
        operation,
        windows,
        layout,
        base=value,
        blockwise=in_blocks(windows),
        position_dependent=bool(operation.get("masked")),
    )


def multi_head_attention(trail: Trail, operation: Operation) -> None:
    """The functional form has positions first: (positions, batch, channels)."""
    keys = dependent(trail, operation, "key", "value")
    found = [trail.mixing(trail.settled(tensor), (0,)) for tensor in keys]
    _attend(trail, operation, operation.arguments.get("query"), found)


def recurrent(trail: Trail, operation: Operation) -> None:
    """Read a sequence step by step: every step may depend on all the others."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    rank = len(tensor.shape)
    sequence = 1 if operation.get("batch_first") and rank == 3 else 0
    found = trail.mixing(value, (sequence, rank - 1))
    shape = operation.outputs[0].shape
    layout = (*value.layout[:-1], plain(shape[-1]))
    if len(shape) < rank:  # what it is at the end of the sequence
        layout = tuple(one for at, one in enumerate(layout) if at != sequence)
    rest = [layouts.broadcast((), one.shape) for one in operation.outputs[1:]]
    trail.step(operation, found, layout, *rest, base=value, units=shape[-1])


def flatten(trail: Trail, operation: Operation) -> None:
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
                plain(size) if place >= start else layout[place] for place, size in enumerate(shape)
            )
    trail.step(operation, found, layout, base=value, mixed=None if found else ())


def sampled(trail: Trail, operation: Operation) -> None:
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
        operation,
        windows,
        layout,
        base=value,
        certainty="bound",
        reason=f"'{operation.name}' samples positions that depend on data; counted as seeing "
        "everything",
        filters=shape[1] if operation.name == "deform_conv2d" else None,
    )


def _picked(value: Value, place: int, size: int) -> Dimension:
    dimension = value.layout[place]
    if len(dimension) == 1 and type(dimension[0]) is Atom:
        return (Atom(dimension[0].axis, size),)
    return (Lost(size, layouts.axes_of(dimension)),)
