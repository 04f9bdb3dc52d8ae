"""What a model makes of the size of its input, found by comparing records of two sizes.

Sizes are plain numbers by the time an operator sees them: ``F.interpolate(x, size=(64, 64))`` and
``F.interpolate(x, size=skip.shape[2:])`` look alike. With another input they do not.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs

from rfa_toolbox.encodings.pytorch.growth import GREATEST_RIM, Parts, parts_read
from rfa_toolbox.operators.record import Operation, Record, TensorRef, tensors_in
from rfa_toolbox.operators.rules import follow

__all__ = ["MORE", "compared", "cuts_maps"]

MORE = 32
"""Pixels by which the other input is larger; paddings that go by what is left of the size of an
input after division by a usual stride are the same for both."""

_RESHAPES = {
    "broadcast_to", "col2im", "expand", "new_empty", "new_full", "new_ones", "new_zeros", "repeat",
    "reshape", "unflatten", "view", "tile", "repeat_interleave",
}  # fmt: skip
"""Operators that are given sizes, and say all of it by the shape of their result."""


_CONSTANTS = {"new_full", "full_like", "new_tensor", "fill"}
"""Operators whose results take nothing but their shape from the input."""


def compared(record: Record, other: Record | None) -> Record:
    """Return a record with a note on every operation that depends on the size of the input.

    Args:
        record: what a model did.
        other: what it did with a larger input; None if it takes no other one.

    The argument "sized" of such operations is "fixed" if the result has one size whatever the
    input, "grows" if their window does with the input, else "varies".
    """
    operations = record.operations
    if other is None:
        noted = [_of_given_size(one, record.sized) for one in operations]
    else:
        noted = _notes(operations, other.operations)
        pairs = zip(operations, other.operations, strict=False)
        if any(map(_are_parts, itertools.takewhile(_go_one_way, pairs))):
            found = parts_read(follow(record), follow(other))
            return _with_notes(record, noted, found)
    return _with_notes(record, noted, {})


def _with_notes(record: Record, noted: Sequence[str], found: Mapping[int, Parts]) -> Record:
    """Return a record with notes on operations; found are those on what makes some tensors."""
    if not found and not any(noted):
        return record
    made: list[Operation] = []
    for operation, note in zip(record.operations, noted, strict=True):
        part = next((found[n] for n in _numbers(operation.outputs) if n in found), Parts())
        notes = {"sized": note or part.sized, "part_of": part.axes}
        more = {name: one for name, one in notes.items() if one}
        if more:
            more = {**operation.arguments, **more}
        made.append(attrs.evolve(operation, arguments=more) if more else operation)
    return attrs.evolve(record, operations=tuple(made))


def _notes(operations: Sequence[Operation], others: Sequence[Operation]) -> list[str]:
    """Return the note of every operation; from where the model goes another way, all of them vary.

    Where it only goes on for longer, the last operation does.
    """
    noted: list[str] = []
    tainted: set[int] = set()
    for one, other in zip(operations, others, strict=False):
        if _way(one) != _way(other):
            break
        note = _note(one, other)
        if not note and any(tensor.number in tainted for tensor in tensors_in(one.arguments)):
            note = "varies"
        if note and (one.name in _CONSTANTS or not tainted.isdisjoint(_numbers(one.arguments))):
            tainted.update(_numbers(one.outputs))
        noted.append(note)
    if len(noted) < len(operations):
        noted += ["varies"] * (len(operations) - len(noted))
    elif len(noted) < len(others) and noted:
        noted[-1] = "varies"
    return noted


_CROPS = {"getitem", "index", "narrow", "pad", "select", "slice"}
_PARTS = {
    "chunk",
    "reshape",
    "split",
    "split_with_sizes",
    "tensor_split",
    "unbind",
    "unflatten",
    "view",
}


def _go_one_way(pair: tuple[Operation, Operation]) -> bool:
    return _way(pair[0]) == _way(pair[1])


def _are_parts(pair: tuple[Operation, Operation]) -> bool:
    """Whether an operation may take a part of a map that grows with the input."""
    one, other = pair
    if one.name in _CROPS and _note(one, other):
        less, more = _left_out(one), _left_out(other)
        return less is None or more is None or any(map(operator.lt, less, more))
    cuts = zip(_cut_in(one), _cut_in(other), strict=False)
    return any(
        place == at
        and grown.shape[at] != tensor.shape[place]
        # As many, whatever the input, or of one size.
        and (count == now or len(one.outputs) > 1)
        for (tensor, place, count), (grown, at, now) in cuts
    )


def _left_out(operation: Operation) -> tuple[int, ...] | None:
    """Return how many indices of every dimension a part leaves out; None where one is gone.

    A part that leaves out no more of a larger map is no share of it: it takes padding off again.
    """
    before, after = next(tensors_in(operation.arguments)).shape, operation.outputs[0].shape
    if len(before) != len(after):
        return None
    return tuple(max(0, size - left) for size, left in zip(before, after, strict=True))


def cuts_maps(record: Record) -> bool:
    """Whether a model may take parts of a map without asking for its size."""
    return any(map(_is_counted, record.operations)) or any(
        place > 1 or (place == 1 and len(tensor.shape) < 4)
        for operation in record.operations
        for tensor, place, _ in _cut_in(operation)
    )


def _is_counted(operation: Operation) -> bool:
    """Whether an operation may take so many of the first or the last units of a map."""
    if operation.name not in ("getitem", "narrow"):
        return False
    shape = next(tensors_in(operation.arguments)).shape
    if operation.name == "narrow":
        place, *ends = _plain(operation)
        return _is_part(ends, shape[place])
    index = operation.arguments["index"]
    left_out = _places(index if isinstance(index, tuple) else (index,), shape)
    return any(
        isinstance(ends, tuple) and _is_part(ends, size)
        for ends, size in zip(left_out[1:], shape[1:], strict=False)
    )


def _is_part(ends: Sequence[Any], size: int) -> bool:
    """Whether a run of indices leaves out more at its ends than what was padded, but not all."""
    front, behind, step = ends
    return step is None and GREATEST_RIM * size <= front + behind < size - 1


def _cut_in(operation: Operation) -> Iterator[tuple[TensorRef, int, int]]:
    """Yield the tensor of which an operation cuts a dimension, this, and into how many parts."""
    tensor = next(tensors_in(operation.arguments), None) if operation.name in _PARTS else None
    if tensor is None:
        return
    before, after = tensor.shape, operation.outputs[0].shape
    if operation.name == "unbind":
        place = operation.get("dim", 0) % len(before)
        yield tensor, place, before[place]
        return
    if len(operation.outputs) > 1:
        count = len(operation.outputs)
        yield from ((tensor, at, count) for at, size in enumerate(before) if after[at] != size)
        return
    parts = {math.prod(after[:at]): count for at, count in enumerate(after) if count > 1}
    for place, size in enumerate(before):
        count = parts.get(math.prod(before[:place]), size)
        if count < size:
            yield tensor, place, count


def _numbers(value: Any) -> set[int]:
    return {tensor.number for tensor in tensors_in(value)}


def _way(operation: Operation) -> tuple[Any, ...]:
    return operation.name, operation.scope, operation.parameters


def _of_given_size(operation: Operation, sized: bool) -> str:
    """Return the note where there is nothing to compare with."""
    if operation.name != "interpolate" or operation.get("size") is None:
        return ""
    return "varies" if sized else "fixed"


def _note(one: Operation, other: Operation) -> str:
    tensors = zip(tensors_in(one.arguments), tensors_in(other.arguments), strict=False)
    if any(a.shape == b.shape and a.made != b.made for a, b in tensors):
        return "varies"
    if one.name in _CONSTANTS and _filling(one) != _filling(other):
        return "varies"
    if one.name in _RESHAPES or one.name.startswith("adaptive_"):
        return ""
    if one.name == "interpolate":
        named = one.get("size") is not None
        same = _sizes(one.outputs[0]) == _sizes(other.outputs[0])
        if same and (named or _ratios(one) != _ratios(other)):
            return "fixed"  # also where the factor is computed of the size, as detectors do
        if named:
            return "" if _ratios(one) == _ratios(other) else "varies"
    if _plain(one) == _plain(other):
        return ""
    return "fixed" if "pool" in one.name else "varies"


def _filling(operation: Operation) -> Any:
    """Return what a constant is filled with."""
    given = operation.arguments.values()
    return [one for one in given if type(one) is not TensorRef and not isinstance(one, tuple)]


def _sizes(tensor: TensorRef) -> tuple[int, ...]:
    return tensor.shape[2:]


def _ratios(operation: Operation) -> list[Fraction]:
    old, new = operation.arguments["input"], operation.outputs[0]
    return [Fraction(a, b) for a, b in zip(_sizes(old), _sizes(new), strict=True)]


def _plain(operation: Operation) -> Any:
    """Return the arguments that are no tensors; ends of slices as they are seen from behind."""
    arguments = operation.arguments
    tensor = arguments.get("input")
    shape = tensor.shape if type(tensor) is TensorRef else ()
    if operation.name == "pad":  # a trace has its amounts as tensors
        made = operation.outputs[0].shape
        return [new - old for new, old in zip(made, shape, strict=True)], arguments.get("mode")
    if operation.name in ("getitem", "setitem", "index"):
        index = arguments.get("index")
        return _places(index if isinstance(index, tuple) else (index,), shape)
    if operation.name in ("slice", "narrow", "select"):
        dimension = arguments.get("dim") or 0
        size = shape[dimension] if shape else 0
        start = arguments.get("start", arguments.get("index"))
        stop = arguments.get("stop")
        if operation.name == "narrow":
            stop = (start or 0) + arguments.get("length", 0)
        return dimension, *_ends(slice(start, stop), size), arguments.get("step")
    if operation.name in ("split", "split_with_sizes", "chunk", "tensor_split"):
        return None
    return _without_tensors(arguments)


def _places(index: tuple[Any, ...], shape: tuple[int, ...]) -> list[Any]:
    used = sum(1 for one in index if one is not None and one is not Ellipsis)
    found: list[Any] = []
    place = 0
    for one in index:
        if one is Ellipsis:
            place += len(shape) - used
        elif one is not None:
            size = shape[place] if place < len(shape) else 0
            found.append(
                (*_ends(one, size), one.step) if isinstance(one, slice) else _without_tensors(one)
            )
            place += 1
    return found


def _ends(places: slice, size: int) -> tuple[int, int]:
    """Return how many indices a slice leaves out in front and behind."""
    whole = all(one is None or isinstance(one, int) for one in (places.start, places.stop))
    start, stop, _ = slice(places.start, places.stop).indices(size) if whole else (0, size, 1)
    return start, size - stop


def _without_tensors(value: Any) -> Any:
    if type(value) is TensorRef:
        return None
    if isinstance(value, tuple | list):
        return [_without_tensors(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _without_tensors(one) for key, one in value.items()}
    return value
