"""What is known of a record so far: all that a rule may ask, and nothing that it could change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import Written
from rfa_toolbox.operators.layout import Atom, Layout
from rfa_toolbox.operators.record import Operation, Record, TensorRef
from rfa_toolbox.operators.values import Step, Value, ancestors
from rfa_toolbox.operators.windows import NEUTRAL, Window, mixed_windows

__all__ = ["Known"]


class Known:
    """What is known of a record so far.

    Attributes:
        record: what a reader returned.
        axes: number of spatial axes.
        steps: what was found, in order of execution.
        values: per number of a tensor where its positions are.
        results: per number of a step the (first) tensor that it makes.
        even: per number of a tensor that takes nothing but its shape or type from the input, the
            dimensions along which it is the same everywhere.
        written: per number of a tensor that was written to, what was.
    """

    record: Record
    axes: int
    steps: Sequence[Step]
    values: Mapping[int, Value]
    results: Mapping[int, TensorRef]
    even: Mapping[int, tuple[int, ...]]
    written: Mapping[int, Written]
    _laid: Mapping[int, Layout]
    _begun: dict[int, dict[int, dict[int, tuple[int, int]]]]

    def operands(self, operation: Operation) -> list[TensorRef]:
        """Return the tensors of an operation that depend on the input."""
        return [one for one in operation.tensors if one.number in self.values]

    def depends(self, argument: Any) -> TypeGuard[TensorRef]:
        """Return whether an argument is a tensor that depends on the input."""
        return type(argument) is TensorRef and argument.number in self.values

    def main(self, operation: Operation) -> TensorRef:
        """Return the tensor that an operation works on."""
        tensor = operation.arguments.get("input")
        return tensor if self.depends(tensor) else self.operands(operation)[0]

    def worked_on(self, operation: Operation) -> tuple[TensorRef, Value]:
        """Return the tensor that an operation works on, and what is known of it."""
        tensor = self.main(operation)
        return tensor, self.values[tensor.number]

    def value(self, tensor: TensorRef) -> Value:
        """Return what is known of a tensor that depends on the input."""
        return self.values[tensor.number]

    def result(self, step: int) -> tuple[TensorRef, Layout]:
        """Return the (first) tensor that a step makes, and where its positions are in it."""
        tensor = self.results[step]
        laid = self._laid.get(step)
        return tensor, self.values[tensor.number].layout if laid is None else laid

    def knows_size(self, value: Value, dimension: int) -> bool:
        """Return whether the size of a dimension is said by the model."""
        return not value.open.intersection(layouts.axes_of(value.layout[dimension]))

    def origins(self, value: Value, axis: int) -> dict[int, tuple[int, int]]:
        """Return at which units of larger maps a part of them begins that was worked on since.

        The parts that a loop takes of a map are maps of their own from the first operation on.
        Operations that look along the axis end the search.

        Returns:
            per number of a step that made such a map the first and the last unit that it may be;
            they differ where a result was handed on from part to part, as in a recurrent loop.
        """
        runs = layouts.runs_by_axis(value.layout).get(axis)
        units = self.steps[value.step].feature_map
        if not runs or len(runs) > 1 or units is None:
            return {}
        ((_, size, step, origin),) = runs
        if step != 1 and size > 1:
            return {}
        if size != units[axis]:
            return {value.step: (origin, origin)}
        return {
            root: (first + origin, last + origin)
            for root, (first, last) in self.origins_of_step(value.step, axis).items()
        }

    def origins_of_step(self, number: int, axis: int) -> dict[int, tuple[int, int]]:
        """Return at which units of larger maps the map of a step begins; see ``origins``."""
        known = self._begun.setdefault(axis, {})
        waiting = [number]
        while waiting:  # a loop makes chains that are too long to recurse over
            step = self.steps[waiting[-1]]
            missing = [one for one in self._followed(step, axis) if one not in known]
            if missing:
                waiting.extend(missing)
                continue
            known[waiting.pop()] = self._begun_in(step, axis, known)
        return known[number]

    def _begun_in(
        self, step: Step, axis: int, known: Mapping[int, Mapping[int, tuple[int, int]]]
    ) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        by = -(step.windows[axis].begin or 0)
        for source in self._followed(step, axis):
            more = self._units(source, axis) - self._units(step.number, axis)
            before = {source: (0, 0)} if more > 0 else known[source] if not more else {}
            for root, (first, last) in before.items():
                low, high = found.get(root, (first + by, last + by))
                found[root] = min(low, first + by), max(high, last + by)
        return found

    def _units(self, number: int, axis: int) -> int:
        return (self.steps[number].feature_map or (0,) * self.axes)[axis]

    def _followed(self, step: Step, axis: int) -> tuple[int, ...]:
        """Return the sources of a step in which it looks at one unit per unit along an axis."""
        window = step.windows[axis]
        if window[:3] != NEUTRAL[:3] or window.upsampling != 1 or window.begin is None:
            return ()
        return step.sources

    def evenly(self, tensor: TensorRef) -> tuple[int, ...]:
        """Return the dimensions along which a constant is known to be the same everywhere."""
        return self.even.get(tensor.number, tensor.even)

    def uneven(
        self,
        tensors: Iterable[TensorRef],
        layout: Layout,
        extents: Sequence[int],
        skipped: int = 0,
    ) -> bool:
        """Whether constants vary over the positions of a map that they are combined with.

        Such a map knows where it is in the image, or is of one size. What varies only within
        blocks varies so for scores of an attention, which is cut into these blocks itself.

        Args:
            tensors: what is combined with the map; those that depend on the input do not count.
            layout: that of the map, to whose last dimensions the constants broadcast.
            extents: number of units of the map along every axis.
            skipped: how many dimensions to leave out, counted from the back.
        """
        for tensor in tensors:
            if tensor.number in self.values:
                continue
            even, rank = self.evenly(tensor), len(tensor.shape)
            for back in range(1 + skipped, min(rank, len(layout)) + 1):
                if tensor.shape[-back] == 1 or rank - back in even:
                    continue
                for piece in layout[-back]:
                    if type(piece) is not Atom:
                        return True
                    if piece.axis is None or piece.size == 1:
                        continue
                    across = piece.size * piece.step >= extents[piece.axis]
                    if across or sum(dimension.count(piece) for dimension in layout) == 1:
                        return True
        return False

    def ancestors(self, numbers: Iterable[int]) -> set[int]:
        """Return some steps and all those that they depend on."""
        return ancestors(self.steps, numbers)

    def mixing(self, value: Value, dimensions: Iterable[int]) -> dict[int, Window]:
        """Return the windows of an operation that mixes whole dimensions of a tensor."""
        places = [place for place in dimensions if layouts.axes_of(value.layout[place])]
        windows = mixed_windows(value.layout, places, value.extents) if places else {}
        return {
            axis: Window(math.inf) if _is_all_but_an_edge(value, axis) else window
            for axis, window in windows.items()
        }

    def vector(self, value: Value) -> dict[int, Window]:
        """Return the windows of a dense operation on what is left of whole images.

        It has no position to stay at, so it sees everything, as all that comes after it; but along
        an axis of which only some rows were left, it sees what they see.
        """
        if not self.steps[value.step].pooled:
            return {}
        several = [self.steps[one].windows for one in self.ancestors([value.step])]
        return {
            axis: Window(math.inf)
            for axis in range(self.axes)
            if any(windows[axis].kernel == math.inf for windows in several)
        }


def _is_all_but_an_edge(value: Value, axis: int) -> bool:
    """Whether a map holds all of an axis but some units at its ends, as behind causal padding.

    What is mixed then grows with the image, unlike the first units by a number of their own.
    """
    pieces = [one for several in value.layout for one in several if axis in layouts.axes_of((one,))]
    return (
        len(pieces) == 1
        and type(pieces[0]) is Atom
        and 2 * pieces[0].size * pieces[0].step > value.extents[axis]
        and not value.counted
    )
