"""Operators that let whole dimensions see each other: reductions, dense layers, attention."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import IN_FRONT, Answer, Effect, Rule, Slides, rule
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.operators.masks import allowed_by, masked
from rfa_toolbox.operators.record import (
    Numbers,
    Operation,
    TensorRef,
    tensors_in,
)
from rfa_toolbox.operators.rules.common import (
    as_channels,
    dependent,
    pinned_places,
    places_of,
    without_singles,
)
from rfa_toolbox.operators.rules.elementwise import pointwise
from rfa_toolbox.operators.values import Parts, Value, with_most_axes
from rfa_toolbox.operators.windows import Window, in_blocks

__all__ = [
    "affine_grid",
    "attention",
    "attention_over",
    "cell",
    "complex_of",
    "cumulate",
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


@rule("one map")
def reduce(known: Known, operation: Operation) -> Answer:
    """Take a mean, sum, maximum or the like over some dimensions."""
    tensor = known.main(operation)
    other = operation.arguments.get("dim")
    if isinstance(other, TensorRef) or "other" in operation.arguments:
        return pointwise(known, operation)
    value = known.value(tensor)
    rank = len(tensor.shape)
    dimensions = places_of(other, rank)
    keep = len(operation.outputs[0].shape) == rank
    single = [place for place in pinned_places(value) if place in dimensions]
    dimensions = [place for place in dimensions if place not in single]  # of one, it is that one
    layout = tuple(() if at in dimensions else one for at, one in enumerate(value.layout))
    if not keep:
        gone = sorted([*dimensions, *single])
        layout = without_singles(value._replace(layout=layout), gone)
    if math.prod(operation.outputs[0].shape) == math.prod(tensor.shape):
        layout = layout if keep else layouts.broadcast((layout,), operation.outputs[0].shape)
    return Effect(known.mixing(value, dimensions), (layout,), base=value)


@Rule
def scan(known: Known, operation: Operation) -> Answer:
    """Sorting, Fourier transforms: every position may see every other one."""
    tensor, value = known.worked_on(operation)
    rank = len(tensor.shape)
    default: Any = None if operation.name == "flip" else -1
    if operation.name.endswith("2"):
        default = (-2, -1)
    elif operation.name.endswith("n") or operation.name.endswith("shift"):
        default = None
    dimensions = places_of(operation.get("dim", default), rank)
    windows = known.mixing(value, dimensions)
    shape = operation.outputs[0].shape
    if shape != tensor.shape and any(one.kernel == math.inf for one in windows.values()):
        windows = {axis: Window(math.inf) for axis in windows}
    elif windows and shape != tensor.shape:  # so many of every block, as a pooling leaves one
        left = tuple(
            plain(shape[place]) if place in dimensions else dimension
            for place, dimension in enumerate(value.layout)
        )
        return Effect(windows, (left,), base=value)
    layout = tuple(
        dimension if shape[place] == tensor.shape[place] else _resized(dimension, shape[place])
        for place, dimension in enumerate(value.layout[: len(shape)])
    )
    return Effect(windows, (layout,), base=value, blockwise=in_blocks(windows))


@Rule
def complex_of(known: Known, operation: Operation) -> Answer:
    """Make one complex number of every pair in the last dimension."""
    value = known.value(known.main(operation))
    windows = known.mixing(value, (len(value.layout) - 1,))
    return Effect(
        windows,
        (value.layout[:-1],),
        base=value,
        mixed=None if windows else (),
        kind="layer" if windows else "pointwise",
    )


@rule(mirrors=True)
def cumulate(known: Known, operation: Operation) -> Answer:
    """Cumulative sums and the like: every position sees itself and those in front of it."""
    _, value = known.worked_on(operation)
    dimension = operation.get("dim", -1) % max(1, len(value.layout))
    windows = known.mixing(value, (dimension,))
    facts = _one_sided(windows, value, dimension, bool(operation.get("reverse")))
    return Effect(windows, (value.layout,), base=value, mirrored=value.mirrored, **facts)


def _one_sided(
    windows: dict[int, Window], value: Value, place: int, reverse: bool = False
) -> dict[str, Any]:
    """Let windows over a dimension look to one side of it only; return what to say of the step.

    In what is several axes one after another, such as the pixels of an image line by line, that is
    so along the first of them. Within blocks of a map some units see less than others.
    """
    leading = layouts.leading_axis(value.layout[place])
    if leading in windows and windows[leading].kernel == math.inf:
        backward = reverse != (leading in value.mirrored)
        windows[leading] = Window(math.inf, scan="backward" if backward else "forward")
    if in_blocks(windows):
        return {"blockwise": True, "certainty": "bound", "reason": IN_FRONT}
    return {}


def _resized(dimension: Dimension, size: int) -> Dimension:
    axes = layouts.axes_of(dimension)
    return (Lost(size, axes),) if axes else plain(size)


@Rule
def softmax(known: Known, operation: Operation) -> Answer:
    """A softmax over positions mixes them, unless it normalises the scores of an attention.

    Scores have the same places in another dimension too; the product with the values that follows
    does the mixing, and counting both would count the same window twice.
    """
    tensor, value = known.worked_on(operation)
    dimensions = places_of(operation.get("dim", -1), max(1, len(tensor.shape)))
    rest = tuple(one for place, one in enumerate(value.layout) if place not in dimensions)
    mixed = [
        place
        for place in dimensions[: len(value.layout)]
        if not layouts.overlap(value.layout[place], rest)
    ]
    windows = known.mixing(value, mixed)
    return Effect(
        windows,
        (value.layout,),
        base=value,
        blockwise=in_blocks(windows),
        allowed=None if windows or value.scores == "zeroed" else value.allowed,
        scores="normalised" if len(mixed) < len(dimensions) else "",
    )


@rule(mirrors=True)
def linear(known: Known, operation: Operation) -> Answer:
    """Mix the last dimension, whatever it carries."""
    tensor, value = known.worked_on(operation)
    last = len(tensor.shape) - 1
    shape = operation.outputs[0].shape
    windows = known.mixing(value, (last,)) or known.vector(value)
    weight = operation.arguments.get("weight")
    kept, facts = _through_zeros(windows, value.layout[last], weight, shape[-1])
    layout = (*value.layout[:-1], kept)
    return Effect(
        windows,
        (layout,),
        base=value,
        units=shape[-1],
        mirrored=value.mirrored,
        slides=None if facts else as_channels(value.layout[last]),
        **facts,
    )


def _through_zeros(
    windows: dict[int, Window], dimension: Dimension, weight: Any, size: int
) -> tuple[Dimension, dict[str, Any]]:
    """Narrow the windows of a product over positions to where its weights are not 0.

    Returns:
        where positions are behind it, and what to say of the step.
    """
    none: dict[str, Any] = {}
    if type(weight) is not TensorRef or weight.numbers is None or not layouts.axes_of(dimension):
        return plain(size), none
    used = weight.numbers.array
    if used is not None and used.all():
        return plain(size), none
    found = None if used is None else masked(dimension, used != 0)
    bound = {"certainty": "bound", "reason": _WEIGHTS_OF_ZERO, "position_dependent": True}
    if found is None or not found.windows:
        return plain(size), bound
    windows.update(found.windows)
    said = {"position_dependent": True} if found.tight else bound
    return dimension, {"blockwise": found.blockwise, **said}


_WEIGHTS_OF_ZERO = "some of its weights are 0, so that some of its units may see less"


@Rule
def cell(known: Known, operation: Operation) -> Answer:
    """One step of a recurrent layer: a dense layer on what comes in, and on what was kept."""
    values = [known.value(one) for one in known.operands(operation)]
    windows = _widest(known.mixing(one, (len(one.layout) - 1,)) for one in values)
    base = with_most_axes(values)
    units = operation.outputs[0].shape[-1]
    layout = (*base.layout[:-1], plain(units))
    return Effect(windows or known.vector(base), (layout,), base=base, units=units)


@rule("one map")
def loss(known: Known, operation: Operation) -> Answer:
    """Compare maps: in one number as a rule, else at every position."""
    tensor = known.main(operation)
    shape = operation.outputs[0].shape
    if shape == tensor.shape:
        return pointwise(known, operation)
    value = known.value(tensor)
    if len(shape) == len(tensor.shape) - 1 and len(shape) > 0:  # of classes, at every position
        layout = (*value.layout[:1], *value.layout[2:])
        return Effect(known.mixing(value, (1,)), (layout,), base=value)
    values = [known.value(one) for one in known.operands(operation)]
    found = [known.mixing(one, range(len(one.layout))) for one in values]
    return Effect(_widest(found), (layouts.broadcast((), shape),), base=value)


@Rule
def matrices(known: Known, operation: Operation) -> Answer:
    """Inverses, decompositions and the like: every number of a matrix depends on all of them."""
    _, value = known.worked_on(operation)
    rank = len(value.layout)
    results = [
        (*value.layout[: rank - 2], *map(plain, one.shape[rank - 2 :])) for one in operation.outputs
    ]
    return Effect(known.mixing(value, (rank - 2, rank - 1)), (*results,), base=value)


@Rule
def affine_grid(known: Known, operation: Operation) -> Answer:
    """Coordinates at which a map will be sampled, made of a few numbers."""
    _, value = known.worked_on(operation)
    shape = operation.outputs[0].shape
    return Effect(known.vector(value), (layouts.broadcast((), shape),), base=value)


@Rule
def tensordot(known: Known, operation: Operation) -> Answer:
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
    return _contract(known, operation, terms, "".join(result))


@Rule
def matmul(known: Known, operation: Operation) -> Answer:
    """Multiply matrices: the contracted dimensions are mixed."""
    left, right = operation.arguments.get("input"), operation.arguments.get("other")
    if isinstance(left, TensorRef) and isinstance(right, TensorRef):
        batch = "abcdefgh"
        rows = "" if len(left.shape) == 1 else "x"
        columns = "" if len(right.shape) == 1 else "y"
        outer_left = batch[8 - max(0, len(left.shape) - 2) :] if len(left.shape) > 2 else ""
        outer_right = batch[8 - max(0, len(right.shape) - 2) :] if len(right.shape) > 2 else ""
        outer = outer_left if len(outer_left) >= len(outer_right) else outer_right
        return _contract(
            known,
            operation,
            [(left, outer_left + rows + "z"), (right, outer_right + "z" + columns)],
            outer + rows + columns,
        )
    return pointwise(known, operation)


@Rule
def einsum(known: Known, operation: Operation) -> Answer:
    """Multiply and sum by an equation: the letters that disappear are mixed."""
    return _contract(known, operation, *einsum_terms(operation))


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


class _Factor(NamedTuple):
    """What depends on the input in a product of tensors, with a letter per dimension."""

    value: Value
    letters: str

    def at(self, letter: str) -> Dimension:
        """Return the dimension of a letter."""
        return dict(zip(self.letters, self.value.layout, strict=False)).get(letter, ())


def _contract(
    known: Known, operation: Operation, terms: Sequence[tuple[TensorRef, str]], result: str
) -> Effect:
    """Multiply tensors and sum over every letter that the result does not have."""
    factors = [_Factor(known.value(one), letters) for one, letters in terms if known.depends(one)]
    base = with_most_axes(one.value for one in factors)
    shape = operation.outputs[0].shape
    layout = tuple(
        _dimension_of([one.at(letter) for one in factors], size)
        for letter, size in zip(result, shape, strict=False)
    )
    mixed = [known.mixing(one.value, _summed(one.letters, result)) for one in factors]
    crossed = layouts.crossed([tuple(map(one.at, result)) for one in factors])
    windows = _widest(mixed) | dict.fromkeys(crossed, Window(math.inf))
    constants = [_in_order(*term, result) for term in terms if not known.depends(term[0])]
    facts: dict[str, Any] = {
        "blockwise": in_blocks(windows),
        "position_dependent": known.uneven(constants, layout, base.extents),
    }
    for place, letter, weight in _matrices(known, terms, result):
        kept, said = _through_zeros(windows, _first_at(factors, letter), weight, shape[place])
        layout = (*layout[:place], kept, *layout[place + 1 :])
        facts |= said
    facts |= _of_hidden_keys(windows, factors, result)
    return Effect(
        windows,
        (layout,),
        base=base,
        slides=None if "certainty" in facts else _taken_for_channels(factors, result),
        mixed=None if any(_summed(letters, result) for _, letters in terms) else (),
        units=None if len(factors) > 1 or not shape else shape[-1],
        **facts,
    )


def _of_hidden_keys(
    windows: dict[int, Window], factors: Sequence[_Factor], result: str
) -> dict[str, Any]:
    """Narrow windows to what the masks of scores let through; return what to say of the step."""
    facts: dict[str, Any] = {}
    for value, letters in factors:
        if value.allowed is not None and letters[-1] not in result and letters[-2] in result:
            facts |= _behind_mask(windows, value.layout[-1], value.allowed)
    return facts


def _taken_for_channels(factors: Sequence[_Factor], result: str) -> Slides | None:
    """Return what a product with weights takes for channels, which sums over the last dimension."""
    (value, letters), *more = factors
    dense = not more and _summed(letters, result) == [len(letters) - 1]
    return as_channels(value.layout[-1]) if dense else None


def _first_at(factors: Sequence[_Factor], letter: str) -> Dimension:
    """Return the dimension of a letter in the first factor that has it."""
    return next((one.at(letter) for one in factors if letter in one.letters), ())


def _summed(letters: str, result: str) -> list[int]:
    """Return the dimensions of a factor that a product sums over."""
    return [place for place, letter in enumerate(letters) if letter not in result]


def _matrices(
    known: Known, terms: Sequence[tuple[TensorRef, str]], result: str
) -> Iterator[tuple[int, str, TensorRef]]:
    """Yield the constants with zeros that make a dimension of the result of one that is mixed.

    Each is a matrix with a row for every place in the result; which dimension of the result that
    is, and the letter of the mixed one, come with it.
    """
    for tensor, letters in terms:
        others = "".join(one for _, one in terms if one is not letters)
        own = [one for one in letters if one in result and one not in others]
        mixed = [one for one in letters if one not in result and one in others]
        if tensor.numbers is None or known.depends(tensor) or len(own) != 1 or len(mixed) != 1:
            continue
        array = tensor.numbers.array
        if array is not None:
            used = array != 0
            rest = tuple(at for at, one in enumerate(letters) if one not in (*own, *mixed))
            array = used.any(axis=rest) if rest else used
            array = array.T if letters.index(own[0]) > letters.index(mixed[0]) else array
        shape = tuple(tensor.shape[letters.index(one)] for one in (*own, *mixed))
        yield result.index(own[0]), mixed[0], TensorRef(-1, shape, numbers=Numbers(array))


def _dimension_of(several: Sequence[Dimension], size: int) -> Dimension:
    """Return the first dimension that has positions and this size; a plain one if none does."""
    fitting = (
        one
        for one in several
        if layouts.axes_of(one) and math.prod(piece.size for piece in one) == size
    )
    return next(fitting, plain(size))


def _in_order(tensor: TensorRef, letters: str, result: str) -> TensorRef:
    """Return a factor of a product as it broadcasts to the result."""
    sizes = dict(zip(letters, tensor.shape, strict=False))
    even = {letters[place] for place in tensor.even if place < len(letters)}
    places = tuple(place for place, letter in enumerate(result) if letter in even)
    return TensorRef(tensor.number, tuple(sizes.get(letter, 1) for letter in result), places)


@Rule
def attention(known: Known, operation: Operation) -> Answer:
    """Scaled dot-product attention: every query sees all the keys of its batch entry."""
    keys = dependent(known, operation, "key", "value")
    found = [known.mixing(known.value(tensor), (len(tensor.shape) - 2,)) for tensor in keys]
    # What is summed up in a score are channels as a rule; in a map taken as it is, positions.
    everything = dependent(known, operation, "query", "key", "value")
    found += [known.mixing(known.value(one), (len(one.shape) - 1,)) for one in everything]
    return _attend(known, operation, found, len(operation.outputs[0].shape) - 2)


@Rule
def attention_over(known: Known, operation: Operation) -> Answer:
    """Attention of a whole layer, over the dimensions ``dims`` of its values."""
    values = dependent(known, operation, "value")
    dims = operation.get("dims", ())
    found = [known.mixing(known.value(one), dims) for one in values]
    return _attend(known, operation, found, dims[0] if len(dims) == 1 else None)


def _attend(
    known: Known, operation: Operation, found: Sequence[dict[int, Window]], place: int | None
) -> Effect:
    """Return what an attention does whose positions lie in one dimension; None for several."""
    shape = operation.outputs[0].shape
    windows = _widest(found)
    query, mask = operation.arguments.get("query"), operation.get("attn_mask")
    if not known.depends(query):  # what is asked for is learned
        return Effect(windows, (layouts.broadcast((), shape),))
    value = known.value(query)
    layout: Layout = (*value.layout[:-1], plain(shape[-1]))
    facts: dict[str, Any] = {"blockwise": in_blocks(windows)}
    masks = [mask] if type(mask) is TensorRef else []
    allowed = allowed_by(masks[0]) if masks else None
    own = place if place is not None and _attends_to_itself(known, operation, place) else None
    if allowed is not None:
        allowed = Numbers(None) if operation.get("is_causal") else allowed
        facts |= _behind_mask(windows, () if own is None else value.layout[own], allowed)
    elif operation.get("is_causal") and own is not None:
        facts |= _one_sided(windows, value, own)
    uneven = known.uneven(masks, layout, value.extents, skipped=2)
    return Effect(
        windows,
        (layout,),
        base=value,
        slides=as_channels(value.layout[-1]),
        position_dependent=uneven or bool(operation.get("masked")),
        **facts,
    )


@Rule
def multi_head_attention(known: Known, operation: Operation) -> Answer:
    """The functional form has positions first: (positions, batch, channels)."""
    keys = dependent(known, operation, "key", "value")
    found = [known.mixing(known.value(tensor), (0,)) for tensor in keys]
    return _attend(known, operation, found, 0)


def _behind_mask(
    windows: dict[int, Window], dimension: Dimension, allowed: Numbers
) -> dict[str, Any]:
    """Narrow the windows of an attention to what its mask allows; return what to say of the step.

    ``dimension`` holds the positions that attend to each other; it is empty if they are not the
    same.
    """
    found = None
    if allowed.array is not None and layouts.axes_of(dimension):
        found = masked(dimension, allowed.array)
    bound = {"certainty": "bound", "reason": _MASKED_ATTENTION}
    if found is None or in_blocks(windows):
        return {"blockwise": in_blocks(windows), **bound}
    windows.update(found.windows)
    exact: dict[str, Any] = {} if found.tight else bound
    return {"blockwise": found.blockwise, **exact}


_MASKED_ATTENTION = "a mask hides positions from some of its units, which may see less"


def _attends_to_itself(known: Known, operation: Operation, place: int) -> bool:
    """Whether queries and keys of an attention are the same positions in the same order."""
    names = [name for name in ("query", "key", "value") if name in operation.arguments]
    several = dependent(known, operation, *names)
    laid = {known.value(one).layout[place] for one in several if place < len(one.shape)}
    return len(several) == len(names) and len(laid) == 1


@rule(mirrors=True)
def recurrent(known: Known, operation: Operation) -> Answer:
    """Read a sequence step by step: every step depends on all in front of it, or behind it."""
    tensor, value = known.worked_on(operation)
    rank = len(tensor.shape)
    sequence = 1 if operation.get("batch_first") and rank == 3 else 0
    found = known.mixing(value, (sequence, rank - 1))
    shape = operation.outputs[0].shape
    layout = (*value.layout[:-1], plain(shape[-1]))
    if len(shape) < rank:  # what it is at the end of the sequence
        layout = tuple(one for at, one in enumerate(layout) if at != sequence)
        facts: dict[str, Any] = {}
    elif _looks_to_both_sides(operation):
        in_parts = in_blocks(known.mixing(value, (sequence,)))
        half = shape[-1] // 2  # one for what is in front, and one for what is behind
        apart = 2 * half == shape[-1] and operation.get("num_layers", 1) == 1
        parts = Parts(len(layout) - 1, (half, half)) if apart else None
        facts = {"mirrored": value.mirrored, "blockwise": in_parts, "parts": parts}
    else:
        reverse = operation.get("direction") == "reverse"
        facts = {"mirrored": value.mirrored, **_one_sided(found, value, sequence, reverse)}
    rest = [layouts.broadcast((), one.shape) for one in operation.outputs[1:]]
    facts["slides"] = as_channels(value.layout[-1])
    return Effect(found, (layout, *rest), base=value, units=shape[-1], **facts)


def _looks_to_both_sides(operation: Operation) -> bool:
    """Whether a recurrent layer does; packed sequences are in an order that is not followed."""
    packed = type(hx := operation.get("hx")) is TensorRef and len(hx.shape) == 1
    both = operation.get("bidirectional") or operation.get("direction") == "bidirectional"
    return bool(packed or both)


@Rule
def flatten(known: Known, operation: Operation) -> Answer:
    """A map that becomes one vector is mixed with all of its positions; tokens are not."""
    tensor, value = known.worked_on(operation)
    rank = max(1, len(tensor.shape))
    start = operation.get("start_dim", 0) % rank
    stop = operation.get("end_dim", -1) % rank
    shape = operation.outputs[0].shape
    pinned = [place for place in pinned_places(value) if place >= start]
    value = value._replace(layout=without_singles(value, pinned, keep=len(shape)))
    layout = layouts.reshape(value.layout, shape)
    found = known.vector(value)
    if start <= 1 and stop == rank - 1 and rank > 2:
        merged = range(start, len(value.layout))
        found = {
            axis: window
            for axis, window in known.mixing(value, merged).items()
            if window.kernel == math.inf
        }
        if found:
            layout = tuple(
                plain(size) if place >= start else layout[place] for place, size in enumerate(shape)
            )
    return Effect(found, (layout,), base=value, mixed=None if found else ())


@Rule
def sampled(known: Known, operation: Operation) -> Answer:
    """Positions are picked by other data: everything may be seen, which is an upper bound."""
    tensor, value = known.worked_on(operation)
    shape = operation.outputs[0].shape
    windows = {axis: Window(math.inf) for axis in layouts.spatial_axes(value.layout)}
    layout = layouts.broadcast((value.layout,), shape)
    if len(shape) == len(tensor.shape):
        layout = tuple(
            _picked(value, place, shape[place]) if layouts.axes_of(value.layout[place]) else one
            for place, one in enumerate(layout)
        )
    return Effect(
        windows,
        (layout,),
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
