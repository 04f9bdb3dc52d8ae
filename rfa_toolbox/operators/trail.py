"""From the operations of a record to steps: what each one does to the grid of positions.

A step is one operation that computes. Plumbing (views, permutations, splits) makes no step but
moves positions around, which the layouts of :mod:`rfa_toolbox.operators.layout` follow. What an
operator does stands in :mod:`.rules`; this module walks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import attrs

from rfa_toolbox.domain import Certainty
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Offsets
from rfa_toolbox.operators.record import (
    ModuleCall,
    Operation,
    Record,
    TensorRef,
    tensors_in,
)
from rfa_toolbox.operators.windows import NEUTRAL, SOMEWHERE, Window, mixed_windows

__all__ = ["FirstWindow", "Parts", "Rule", "Step", "Trail", "Value", "between", "is_stacked"]


@attrs.frozen(slots=True)
class Step:
    """One operation that computes, with what it does along every spatial axis.

    Attributes:
        number: its place in the order of execution.
        name: the canonical name of the operator.
        scope: the module calls that it ran in, outermost first.
        sources: the steps that it reads.
        windows: one per spatial axis.
        kind: "input", "slice", "pointwise", "scaling" (by a constant), "layer" or "unknown".
        ignored_global: whether it depends on the whole image in a way that does not count.
        position_dependent: whether it does something else at other places of the image, or on
            images of another size.
        statistics: by axis the window that its statistics are taken from, if that ever counts.
        positions: whether its result still has positions of the image.
        pooled: whether its result has none because whole images were mixed.
        everywhere: those of its sources that are the same at all positions of the others.
        offsets: per source, for each time that it is read, the unit of its map that the first
            unit of this step stands at, per axis; empty if they all stand at the first.
        feature_map: units of its output per axis, 1 where no positions are left; None where they
            are not followed.
        positionless: whether it is an input that has no place in the image, as a time step beside
            it, or is computed from such inputs alone.
        nowhere: those of its sources that are positionless.
        turned: axes along which it brings units into an order that is not followed.
        unaligned: axes along which what it reads does not lie upon each other at one distance.
        seams: axes along which it puts parts of several maps one after another.
        covers_map: whether its one window is all of its map, and nothing behind it looks.
    """

    number: int
    name: str
    scope: tuple[ModuleCall, ...]
    sources: tuple[int, ...]
    windows: tuple[Window, ...]
    kind: str = "layer"
    filters: int | None = None
    units: int | None = None
    certainty: Certainty = "exact"
    reason: str = ""
    blockwise: bool = False
    resolution_dependent: bool = False
    ignored_global: bool = False
    position_dependent: bool = False
    statistics: Mapping[int, Window] = attrs.field(factory=dict)
    positions: bool = True
    pooled: bool = False
    everywhere: tuple[int, ...] = ()
    offsets: Offsets = ()
    feature_map: tuple[int, ...] | None = None
    positionless: bool = False
    nowhere: tuple[int, ...] = ()
    turned: frozenset[int] = frozenset()
    unaligned: frozenset[int] = frozenset()
    seams: frozenset[int] = frozenset()
    covers_map: bool = False

    @property
    def neutral(self) -> bool:
        """Whether the step changes nothing along any axis."""
        return all(
            window.kernel == 1 and window.stride == 1 and window.upsampling == 1
            for window in self.windows
        )


class Parts(NamedTuple):
    """Channels from several tensors: along which dimension, and how many from each."""

    dimension: int
    sizes: tuple[int, ...]

    def between(self, start: int, stop: int) -> tuple[Parts | None, bool]:
        """Return the parts of a run of channels, and whether some part is missing in it."""
        ends = tuple(itertools.accumulate(self.sizes))
        left = [
            min(stop, end) - max(start, end - size)
            for size, end in zip(self.sizes, ends, strict=True)
        ]
        kept = tuple(size for size in left if size > 0)
        return (Parts(self.dimension, kept) if len(kept) > 1 else None), len(kept) < len(left)


class Value(NamedTuple):
    """A tensor on its way: the step that made it, and where its positions are now.

    ``extents`` are the sizes of that step's feature map. ``strided`` is where a slice left units
    out since then, if one did. ``parts`` are channels that came together in a concatenation and
    need not see the same, and ``apart`` tells whether channels hold units of different places that
    nothing has mixed yet; ``picked`` tells whether only some of either are left. ``beyond`` is, per
    axis, how many units at the ends of the map are copies of units further inside (reflection), inf
    if they are units of the far end or only of this edge; nothing where it is empty. ``sized``
    tells whether the size of the image decides which units of the map these are. ``gaps`` are, by
    axis, the places of units that were written with gaps between them, which hold nothing.
    ``open`` are the axes whose size the model leaves open. ``frames`` are, by axis, the step that
    brought units into an order that is not followed; units of one frame keep their distances.
    Along the axes ``cropped`` units were cut off, and padding took the place of some along those
    ``padded``; of those ``taken`` one unit was.
    """

    step: int
    layout: Layout
    extents: tuple[int, ...]
    strided: tuple[ModuleCall, ...] | None = None
    parts: Parts | None = None
    picked: bool = False
    apart: bool = False
    beyond: tuple[int | float, ...] = ()
    sized: bool = False
    gaps: Mapping[int, int] = MappingProxyType({})
    open: frozenset[int] = frozenset()
    frames: Mapping[int, int] = MappingProxyType({})
    cropped: frozenset[int] = frozenset()
    padded: frozenset[int] = frozenset()
    taken: frozenset[int] = frozenset()


class FirstWindow(Exception):  # noqa: N818 - a message to the caller, not an error
    """Tells what axes the first window takes for channels, and which dimensions it slides over."""

    def __init__(self, channels: tuple[int, ...], axes: tuple[tuple[int, ...], ...]) -> None:
        super().__init__(channels, axes)
        self.channels = channels
        self.axes = axes


class Trail:
    """A walk over a record that turns operations into steps.

    Args:
        record: what a reader returned.
        spatial: per input its spatial dimensions, in axis order.
        rules: per operator name what to do.
        probing: raise :class:`FirstWindow` at the first sliding window.

    Attributes:
        steps: what was found, in order of execution.
        outputs: the numbers of the steps whose results leave the model.
        values: per number of a tensor where its positions are.
        results: per number of a step the (first) tensor that it makes.
        even: per number of a tensor that takes nothing but its shape or type from the input, the
            dimensions along which it is the same everywhere.
        written: per number of a tensor that was written to, whether it depended on the input
            before, and the places that were written, with the steps that made what was.
    """

    def __init__(
        self,
        record: Record,
        spatial: Sequence[Sequence[int]],
        rules: Mapping[str, Rule],
        probing: bool = False,
    ) -> None:
        self.record = record
        self.rules = rules
        self.axes = max((len(dimensions) for dimensions in spatial), default=0)
        self.probing = probing
        self.steps: list[Step] = []
        self.outputs: list[int] = []
        self.values: dict[int, Value] = {}
        self.ran: dict[int, list[tuple[Operation, Layout]]] = {}
        self.even: dict[int, tuple[int, ...]] = {}
        self.written: dict[int, tuple[bool, tuple[tuple[tuple[range, ...], int | None], ...]]] = {}
        self._aside: dict[int, tuple[str, ...]] = {}
        self.results: dict[int, TensorRef] = {}
        self._laid: dict[int, Layout] = {}
        self._read_by_call: list[TensorRef] = []
        self._told: dict[int, Value] = {}
        self.moved: dict[int, Operation] = {}
        self._begun: dict[int, dict[int, dict[int, tuple[int, int]]]] = {}
        self._neutral = (NEUTRAL,) * self.axes
        images = zip(record.inputs, spatial, strict=True)
        rank = max((len(tensor.shape) for tensor, places in images if places), default=0)
        scopes = record.input_scopes or ((),) * len(record.inputs)
        for tensor, dimensions, scope in zip(record.inputs, spatial, scopes, strict=True):
            extents = [1] * self.axes
            for axis, dimension in enumerate(dimensions):
                extents[axis] = tensor.shape[dimension]
            layout = layouts.image(tensor.shape, dimensions)
            number = len(self.steps)
            without_size = record.open.get(tensor.number, ())
            opened = frozenset(axis for axis, at in enumerate(dimensions) if at in without_size)
            units = None if opened else tuple(extents)
            self.steps.append(
                Step(
                    *(number, "input", scope, (), self._neutral, "input"),
                    feature_map=units,
                    positionless=not dimensions and len(tensor.shape) < rank,
                )
            )
            self.values[tensor.number] = Value(number, layout, tuple(extents), open=opened)
            self.results[number] = tensor

    def run(self) -> Trail:
        """Make the steps of all operations, and note which ones are outputs."""
        values = self.values
        made, started = self.record.operations, len(self.steps)
        for place, operation in enumerate(made):
            operands = [one for one in tensors_in(operation.arguments) if one.number in values]
            if operation.outputs and operands:
                self._read_by_call += operands if self.record.by_call else ()
                self.rules.get(operation.name, unknown)(self, operation)
                if not any(self._is_result(tensor) for tensor in operation.outputs):
                    self.moved.update((tensor.number, operation) for tensor in operation.outputs)
                    self._leave_out(operation)
                    self._cut_by_size(operation)
            self._note(operation)
            if self.record.by_call:
                following = made[place + 1].scope if place + 1 < len(made) else ()
                if following != operation.scope:
                    self._end_call(operation, started)
                    started = len(self.steps)
        for tensor in self.record.outputs:
            if tensor.number in values:
                value = self.settled(tensor)
                if tensor.number in self.moved:
                    value = self._as_returned(self.moved[tensor.number], tensor, value)
                if value.step not in self.outputs:
                    self.outputs.append(value.step)
                order = [axis for one in value.layout for axis in layouts.axes_of(one)]
                tiled = not self.record.by_call or _is_tiled(value.layout)
                # What is kept of a tile would be put at (column, row).
                if order != sorted(set(order)) or not tiled:
                    step = self.steps[value.step]
                    self.steps[value.step] = attrs.evolve(step, position_dependent=True)
        return self

    def _end_call(self, operation: Operation, started: int) -> None:
        """Make a step of a call that only moved positions, or only told a shape."""
        read, self._read_by_call = self._read_by_call, []
        for tensor in operation.outputs:
            if tensor.number in self.values:
                self.settled(tensor)
        if len(self.steps) > started or not operation.outputs:
            return
        known = {
            tensor: self.values[tensor.number]
            for tensor in operation.outputs
            if tensor.number in self.values
        }
        if not known:
            self._tell(operation, read)
        elif len(known) == 1:
            ((tensor, value),) = known.items()
            self._end_plumbing(operation, tensor, value)
        else:
            self._end_split(operation, known)

    def _tell(self, operation: Operation, read: Sequence[TensorRef]) -> None:
        """Make a step of a call that tells nothing but a shape."""
        inside = tensors_in(operation.arguments)
        several = [self._told[one.number] for one in inside if one.number in self._told]
        several += [self.values[one.number] for one in read]
        base = several[0] if several else Value(0, (), (1,) * self.axes)
        sources = tuple(dict.fromkeys(value.step for value in several))
        layout = layouts.broadcast((), operation.outputs[0].shape)
        made = self._append(operation, sources, {}, base, layout, {"kind": "slice"})
        self._told.update((tensor.number, made) for tensor in operation.outputs)
        self.results[made.step] = operation.outputs[0]
        self._laid[made.step] = layout

    def _end_plumbing(self, operation: Operation, tensor: TensorRef, value: Value) -> None:
        """Make a step of a call that only moved positions."""
        facts: dict[str, Any] = {"kind": "slice", "turned": self._lost_since(value)}
        self._say_what_is_left_out(value, facts)
        windows: dict[int, Window] = {}
        layout = value.layout
        if tensor in self.record.outputs:
            layout, blocks = layouts.as_blocks(layout, range(self.axes))
            windows = {axis: Window(size) for axis, size in blocks.items()}
        made = self._append(operation, (value.step,), windows, value, layout, facts)
        self.values[tensor.number] = made._replace(
            parts=value.parts, picked=value.picked, apart=value.apart, sized=value.sized
        )
        self.results[made.step] = tensor

    def _end_split(self, operation: Operation, known: Mapping[TensorRef, Value]) -> None:
        """Make a step of a call that cut a map into parts, each of which stays where it was."""
        first, *_ = known.values()
        facts: dict[str, Any] = {"kind": "slice"}
        facts["turned"] = frozenset[int]().union(*map(self._lost_since, known.values()))
        for value in known.values():
            self._say_what_is_left_out(value, facts)
        whole = first._replace(layout=())
        made = self._append(operation, (first.step,), {}, whole, (), facts)
        self.steps[made.step] = attrs.evolve(
            self.steps[made.step], feature_map=self.steps[first.step].feature_map, positions=True
        )
        for tensor, value in known.items():
            self.values[tensor.number] = value._replace(step=made.step)
        self.results[made.step] = next(iter(known))

    def _lost_since(self, value: Value) -> frozenset[int]:
        """Return the axes whose order plumbing has lost since the last step."""
        _, layout = self.result(value.step)
        before = layouts.lost_pieces(layout)
        lost = layouts.lost_pieces(value.layout)
        return frozenset(axis for axis, pieces in lost.items() if pieces != before.get(axis))

    def knows_size(self, value: Value, dimension: int) -> bool:
        """Return whether the size of a dimension is said by the model."""
        return not value.open.intersection(layouts.axes_of(value.layout[dimension]))

    def _is_result(self, tensor: TensorRef) -> bool:
        value = self.values.get(tensor.number)
        return value is not None and self.results.get(value.step) == tensor

    def _leave_out(self, operation: Operation) -> None:
        """Note of plumbing whether it leaves out channels that hold different places."""
        for tensor in operation.outputs:
            value = self.values.get(tensor.number)
            if value is not None and value.apart and not value.picked:
                before = self.main(operation)
                if _channels(tensor, value) < _channels(before, self.values[before.number]):
                    self.values[tensor.number] = value._replace(picked=True)

    def _cut_by_size(self, operation: Operation) -> None:
        """Note of plumbing that it depends on the size of the input where a map is cut."""
        if operation.get("sized"):
            for tensor in operation.outputs:
                value = self.values.get(tensor.number)
                if value is not None and layouts.spatial_axes(value.layout):
                    beyond = (math.inf,) * self.axes
                    self.values[tensor.number] = value._replace(beyond=beyond)

    def _as_returned(self, operation: Operation, tensor: TensorRef, value: Value) -> Value:
        """Return an output; what plumbing did to it since the last step becomes a step."""
        _, before = self.result(value.step)
        whole = [one for one in range(self.axes) if _dimensions_with(before, one) == 1]
        layout, blocks = layouts.as_blocks(value.layout, whole)
        made, found = _places(before), _places(layout)
        if found == made and not value.beyond and not value.picked:
            return value
        gone = [axis for axis in made if made[axis] and not found.get(axis)]
        windows = {axis: Window(size) for axis, size in blocks.items()}
        windows |= dict.fromkeys(gone, SOMEWHERE)
        self.values[tensor.number] = self._appended(operation, tensor, value, windows, layout)
        return self.values[tensor.number]

    def _upsampled(self, tensor: TensorRef, value: Value) -> Value:
        """Return a map where what plumbing put between its units are units themselves."""
        operation = self.moved.get(tensor.number) or Operation("repeat", {}, (), ())
        windows: dict[int, Window] = {}
        layout = list(value.layout)
        for place, dimension in enumerate(layout):
            found = between(dimension)
            if found is not None:
                by, atom = found
                (axis,) = layouts.axes_of((atom,))
                window = Window(by, begin=by - 1, upsampling=by)
                if axis in value.gaps:
                    window = window._replace(kernel=1, begin=value.gaps[axis])
                windows[axis] = window
                layout[place] = (atom._replace(size=atom.size * by, origin=atom.origin * by),)
        facts = {"certainty": "bound", "reason": _PUT_BESIDE} if value.apart else {}
        made = self._appended(operation, tensor, value, windows, tuple(layout), **facts)
        return made._replace(parts=value.parts, picked=value.picked, sized=value.sized)

    def _appended(
        self,
        operation: Operation,
        tensor: TensorRef,
        value: Value,
        windows: Mapping[int, Window],
        layout: Layout,
        **certainty: Any,
    ) -> Value:
        name = "slice" if operation.name in _SLICES else operation.name
        facts: dict[str, Any] = {"kind": "slice", **certainty}
        self._say_what_is_left_out(value, facts)
        slicing = Operation(name, {}, (), operation.scope)
        value = self._append(slicing, (value.step,), windows, value, layout, facts)
        self.results[value.step] = tensor
        self.ran.setdefault(value.step, []).append((slicing, value.layout))
        return value

    def _note(self, operation: Operation) -> None:
        """Write down in ``ran`` which operations a step stands for: its own, and plumbing on it.

        Every one comes with the layout of its result. Parameters in what takes nothing but its
        shape from the input count where that is used.
        """
        aside = self._aside
        if aside:
            names = [operation.parameters]
            names += [aside.get(one.number, ()) for one in tensors_in(operation.arguments)]
            merged = tuple(dict.fromkeys(itertools.chain.from_iterable(names)))
            operation = attrs.evolve(operation, parameters=merged)
        for tensor in operation.outputs:
            if tensor.number in self.values:
                value = self.values[tensor.number]
                self.ran.setdefault(value.step, []).append((operation, value.layout))
                return
        if operation.parameters:
            aside.update((tensor.number, operation.parameters) for tensor in operation.outputs)

    # -- what rules ask for

    def operands(self, operation: Operation) -> list[TensorRef]:
        """Return the tensors of an operation that depend on the input."""
        return [one for one in tensors_in(operation.arguments) if one.number in self.values]

    def depends(self, argument: Any) -> bool:
        """Return whether an argument is a tensor that depends on the input."""
        return type(argument) is TensorRef and argument.number in self.values

    def main(self, operation: Operation) -> TensorRef:
        """Return the tensor that an operation works on."""
        tensor = operation.arguments.get("input")
        return tensor if self.depends(tensor) else self.operands(operation)[0]  # type: ignore[return-value]

    def result(self, step: int) -> tuple[TensorRef, Layout]:
        """Return the (first) tensor that a step makes, and where its positions are in it."""
        tensor = self.results[step]
        laid = self._laid.get(step)
        return tensor, self.values[tensor.number].layout if laid is None else laid

    def settled(self, tensor: TensorRef) -> Value:
        """Return where a tensor's positions are; what left units out or put some in becomes a step.

        These are strided slices, and repetitions of units by views.
        """
        value = self.values[tensor.number]
        repeated = self._is_map(value) and any(map(between, value.layout))
        if repeated and value.strided is None and max(_steps(value.layout).values(), default=1) > 1:
            value = value._replace(strided=self.steps[value.step].scope)
        if value.strided is not None:
            slicing = Operation("slice", {}, (), value.strided)
            made = self._append(slicing, (value.step,), {}, value, value.layout, {"kind": "slice"})
            self._laid_as(tensor, value, made.step)
            value = made._replace(
                parts=value.parts, picked=value.picked, apart=value.apart, sized=value.sized
            )
        if repeated:
            made = self._upsampled(tensor, value)
            self._laid_as(tensor, value, made.step)
            value = made
        self.values[tensor.number] = value
        return value

    def _laid_as(self, tensor: TensorRef, before: Value, step: int) -> None:
        """Say that a tensor is the result of one more step, and remember what it was before."""
        if self.results.get(before.step) == tensor:
            self._laid[before.step] = before.layout
        self.results[step] = tensor

    def _is_map(self, value: Value) -> bool:
        """Whether a tensor has images: every axis in a dimension of its own, and two others."""
        carried = [axes for axes in map(layouts.axes_of, value.layout) if axes]
        alone = len(set(carried)) == len(carried) and all(len(axes) == 1 for axes in carried)
        return alone and len(value.layout) >= len(carried) + 2 == self.axes + 2

    def on_one_grid(self, tensors: Sequence[TensorRef]) -> list[Value]:
        """Return where the positions of several tensors are, with the same distance between them.

        Those that views left some units of become steps as those behind a strided slice do.
        """
        for tensor, axes in self._in_other_blocks(tensors):
            self._coarsened(tensor, axes)
        values = [self.settled(tensor) for tensor in tensors]
        grids = [_steps(value.layout) for value in values]
        for tensor, value, own in zip(tensors, values, grids, strict=True):
            if any(
                step > 1 and any(one.get(axis, step) != step for one in grids)
                for axis, step in own.items()
            ):
                scope = self.steps[value.step].scope
                self.values[tensor.number] = value._replace(strided=scope)
        return [self.settled(tensor) for tensor in tensors]

    def _in_other_blocks(
        self, tensors: Sequence[TensorRef]
    ) -> Iterator[tuple[TensorRef, Sequence[int]]]:
        """Yield the tensors with blocks of an axis in channels where others have it otherwise."""
        several = [self.settled(tensor).layout for tensor in tensors]
        if len(set(several)) > 1:
            runs = [
                {axis: found for axis, (_, found) in layouts.grids(one).items()} for one in several
            ]
            for tensor, layout, own in zip(tensors, several, runs, strict=True):
                axes = [
                    axis
                    for axis, found in own.items()
                    if len(found) > 1 and any(one.get(axis, found) != found for one in runs)
                    if layouts.times_over(layout, axis) == 1
                ]
                if axes:
                    yield tensor, axes

    def _coarsened(self, tensor: TensorRef, axes: Sequence[int]) -> None:
        """Make a step of plumbing that put blocks of a map into channels, as unshuffling does."""
        value = self.values[tensor.number]
        layout, blocks = layouts.as_blocks(value.layout, axes)
        if blocks and len(layout) == self.axes + 2 and self._is_map(value._replace(layout=layout)):
            operation = Operation("pixel_unshuffle", {}, (), self._scope_of(tensor))
            windows = {axis: Window(size) for axis, size in blocks.items()}
            made = self._appended(operation, tensor, value, windows, layout)
            self._laid_as(tensor, value, made.step)
            self.values[tensor.number] = made._replace(apart=True, picked=value.picked)

    def _scope_of(self, tensor: TensorRef) -> tuple[ModuleCall, ...]:
        """Return where plumbing made a tensor, which need not be where its step ran."""
        operation = self.moved.get(tensor.number)
        return () if operation is None else operation.scope

    def spread(self, tensor: TensorRef, axes: Collection[int]) -> Value:
        """Return a map of one unit along some axes as what all units of a larger one meet."""
        value = self.values[tensor.number]
        layout = tuple(
            tuple(piece for piece in dimension if not set(layouts.axes_of((piece,))) & set(axes))
            for dimension in value.layout
        )
        expanding = Operation("expand", {}, (), self._scope_of(tensor))
        windows = dict.fromkeys(axes, Window(math.inf))
        made = self._append(expanding, (value.step,), windows, value, layout, {"kind": "slice"})
        self._laid_as(tensor, value, made.step)
        self.values[tensor.number] = made
        return made

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
        everywhere = [piece for dimension in layout for piece in dimension]
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
                    if across or everywhere.count(piece) == 1:
                        return True
        return False

    def ancestors(self, step: int) -> set[int]:
        """Return a step and all those that it depends on."""
        found = {step}
        waiting = [step]
        while waiting:
            new = [one for one in self.steps[waiting.pop()].sources if one not in found]
            found.update(new)
            waiting.extend(new)
        return found

    def reach(self, steps: Iterable[int], axis: int) -> int | float:
        """Return how far the furthest window in front of some steps reaches along an axis."""
        before = {one for step in steps for one in self.ancestors(step)}
        return max((self.steps[one].windows[axis].reach for one in before), default=0)

    def mixing(self, value: Value, dimensions: Iterable[int]) -> dict[int, Window]:
        """Return the windows of an operation that mixes whole dimensions of a tensor."""
        return mixed_windows(value.layout, dimensions, value.extents)

    def vector(self, value: Value) -> dict[int, Window]:
        """Return the windows of a dense operation on what is left of whole images.

        It has no position to stay at, so it sees everything, as all that comes after it; but along
        an axis of which only some rows were left, it sees what they see.
        """
        if not self.steps[value.step].pooled:
            return {}
        axes = [axis for axis in range(self.axes) if self.reach([value.step], axis) == math.inf]
        return dict.fromkeys(axes, Window(math.inf))

    # -- what rules do

    def move(self, operation: Operation, layout: Layout, place: int = 0) -> None:
        """Say where the positions are after plumbing; no step is made."""
        value = self.values[self.main(operation).number]
        output = operation.outputs[place]
        parts = value.parts
        if parts is not None and output.shape[parts.dimension : parts.dimension + 1] != (
            sum(parts.sizes),
        ):
            value = value._replace(apart=value.apart or is_stacked(parts))
            parts = None
        self.values[output.number] = value._replace(layout=layout, parts=parts)

    def pick(
        self, operation: Operation, dimension: int, start: int, stop: int, place: int = 0
    ) -> None:
        """Say that an output of plumbing has only some of the channels; its value is made."""
        output = operation.outputs[place].number
        value = self.values[output]
        parts = value.parts
        if parts is None:
            return
        if dimension == parts.dimension:
            parts, missing = parts.between(start, stop)
            self.values[output] = value._replace(parts=parts, picked=value.picked or missing)

    def step(
        self,
        operation: Operation,
        windows: Mapping[int, Window],
        *results: Layout,
        base: Value | None = None,
        mixed: Sequence[int] | None = None,
        settled: bool = True,
        **facts: Any,
    ) -> None:
        """Make a step; ``results`` are the layouts of its outputs, all alike if only one is given.

        ``base`` is the value whose feature map the windows are measured on. ``mixed`` are the
        dimensions that become one where channels stay apart from each other otherwise. Operands
        that are not ``settled`` are taken with what plumbing put between their units.
        """
        operands = self.operands(operation)
        found = [self.settled(one) if settled else self.values[one.number] for one in operands]
        sources = tuple(dict.fromkeys(value.step for value in found))
        found = [one for one in found if not self.steps[one.step].positionless] or found
        if base is None:
            base = max(found, key=lambda value: len(layouts.spatial_axes(value.layout)))
        if len(found) > 1 and "offsets" not in facts:
            facts["offsets"] = layouts.offsets_between(
                [(value.step, value.layout) for value in found], sources, self.axes
            )
        for value in found:
            self._say_what_is_left_out(value, facts)
        unaligned = self._unaligned(found, facts)
        facts["unaligned"] = frozenset(
            axis for axis in unaligned if windows.get(axis, NEUTRAL).kernel < math.inf
        )
        if operation.get("sized"):
            facts["position_dependent"] = True
            facts["resolution_dependent"] = operation.get("sized") == "fixed"
        made = self._append(operation, sources, windows, base, results[0], facts, found)
        if operation.outputs:
            self.results[made.step] = operation.outputs[0]
            if mixed is not None:
                parts = _parts_behind(found, mixed, operation.outputs[0].shape)
                apart = any(
                    value.apart and all(layouts.axes_of(value.layout[place]) for place in mixed)
                    for value in found
                )
                lost = parts is None and any(is_stacked(value.parts) for value in found)
                made = made._replace(parts=parts, apart=apart or (lost and not mixed))
        for place, tensor in enumerate(operation.outputs):
            layout = made.layout
            if place and place < len(results):
                layout = results[place]
            if len(layout) != len(tensor.shape):
                layout = layouts.broadcast((layout,), tensor.shape)
            self.values[tensor.number] = made._replace(layout=layout)

    def _unaligned(self, values: Sequence[Value], facts: dict[str, Any]) -> set[int]:
        """Return the axes along which tensors do not lie upon each other at one known distance."""
        found = set(facts.pop("unaligned", ()))
        if len(values) > 1 and (facts.get("offsets") or any(value.frames for value in values)):
            places = [read for reads in facts.get("offsets", ()) for read in reads]
            for axis in range(self.axes):
                frames = {
                    value.frames.get(axis)
                    for value in values
                    if axis in layouts.spatial_axes(value.layout)
                }
                apart = {place[axis] for place in places}
                if len(frames) > 1 or None in apart or (frames - {None} and apart - {0}):
                    found.add(axis)
        return found

    def _say_what_is_left_out(self, value: Value, facts: dict[str, Any]) -> None:
        """Declare a bound where only some of the channels are read and others see more."""
        if value.picked:
            facts.setdefault("certainty", "bound")
            facts.setdefault("reason", _SOME_PLACES if value.apart else _SOME_CHANNELS)

    def _append(
        self,
        operation: Operation,
        sources: tuple[int, ...],
        windows: Mapping[int, Window],
        base: Value,
        layout: Layout,
        facts: dict[str, Any],
        read: Sequence[Value] = (),
    ) -> Value:
        runs = layouts.runs_by_axis(layout)
        number = len(self.steps)
        if (
            not windows
            and base.strided is None
            and layout is base.layout
            and len(sources) == 1
            and _is_whole(layout, runs, base.extents)
        ):
            # By far the most common case: an element-wise operation on one feature map.
            complete, extents = self._neutral, base.extents
        else:
            complete, extents, layout = self._complete(windows, base, layout, runs)
        if facts.get("kind") == "scaling" and complete != self._neutral:
            facts["kind"] = "pointwise"  # not only numbers are changed
        if facts.get("offsets") and any(value.sized for value in read):
            facts |= {"position_dependent": True, "resolution_dependent": True}
        if any(
            units * window.upsampling > window.reach
            for value in read or (base,)
            for units, window in zip(value.beyond, complete, strict=False)
        ):
            facts["position_dependent"] = True
        opened = base.open.difference(facts.pop("closes", ()))
        padded = facts.pop("padded", ())
        lost = layouts.lost_pieces(base.layout)
        if any(complete[axis].kernel == math.inf > self.reach(sources, axis) for axis in lost):
            facts.setdefault("certainty", "bound")
            facts.setdefault("reason", _SOMEWHERE)
        taken = {
            axis
            for axis, atoms in runs.items()
            if base.extents[axis] > 1
            and all(atom.size == 1 for atom in atoms)
            and not 1 < complete[axis].kernel < math.inf
        }
        pinned = bool(taken)
        taken |= {axis for axis in base.taken if complete[axis].kernel < math.inf}
        units = _feature_map(layout, runs, extents)
        if not runs.keys().isdisjoint(layouts.lost_pieces(layout)):
            facts.setdefault("certainty", "bound")
            facts.setdefault("reason", _IN_DISORDER)
        carried = layouts.spatial_axes(layout)
        # Of a crop, which lies elsewhere in a tile than in the whole.
        pinned |= any(
            1 < window.kernel < math.inf and axis not in carried
            for axis, window in enumerate(complete)
        )
        if pinned or units is None or None in [at for at, _ in layouts.grids(layout).values()]:
            facts["position_dependent"] = True  # nobody knows what to keep of a tile
        nowhere = tuple(source for source in sources if self.steps[source].positionless)
        positions = bool(runs) or bool(carried)
        pooled = not positions and (
            any(window.kernel == math.inf for window in complete)
            or any(self.steps[source].pooled for source in sources)
        )
        turned = self._turned(base, layout, complete) | facts.pop("turned", frozenset())
        if turned:
            complete = tuple(
                window._replace(begin=None, end=None) if axis in turned else window
                for axis, window in enumerate(complete)
            )
        self.steps.append(
            Step(
                number,
                operation.name,
                operation.scope,
                sources,
                complete,
                turned=turned,
                positions=positions,
                pooled=pooled,
                feature_map=None if opened.intersection(carried) else units,
                positionless=bool(sources) and nowhere == sources,
                nowhere=nowhere,
                **facts,
            )
        )
        cropped, pads = _cropped(read or (base,), complete, padded)
        return Value(
            number,
            layout,
            extents,
            open=opened,
            frames=_frames(base, complete, turned, number),
            cropped=cropped,
            padded=pads,
            taken=frozenset(axis for axis in taken if extents[axis] == 1),
        )

    def _turned(self, base: Value, layout: Layout, windows: Sequence[Window]) -> frozenset[int]:
        """Return the axes whose positions are in an order from here on that is not followed."""
        if layout is base.layout:
            return frozenset()
        before = layouts.lost_pieces(base.layout)
        return frozenset(
            axis
            for axis, pieces in layouts.lost_pieces(layout).items()
            if pieces != before.get(axis) and windows[axis].kernel < math.inf
        )

    def _complete(
        self,
        windows: Mapping[int, Window],
        base: Value,
        layout: Layout,
        runs: Mapping[int, list[Atom]],
    ) -> tuple[tuple[Window, ...], tuple[int, ...], Layout]:
        """Derive strides from the positions that are left, and measure them in new units."""
        extents = list(base.extents)
        complete: list[Window] = []
        for axis in range(self.axes):
            window = windows.get(axis, NEUTRAL)
            atoms = runs.get(axis)
            if atoms:
                distinct = _distinct(atoms)
                common = _common_step(distinct)
                origin = sum(atom.origin for atom in distinct)
                if self.record.by_call and window == NEUTRAL:
                    window = window._replace(
                        end=_end(origin + _span(distinct), extents[axis], common)
                    )
                if common > 1 or origin:
                    begin = None if window.begin is None else window.begin - origin
                    window = window._replace(stride=window.stride * common, begin=begin)
                    layout = layouts.rescale(layout, axis, common)
                extents[axis] = _span(distinct) // common + 1
            complete.append(window)
        return tuple(complete), tuple(extents), layout


def _is_whole(layout: Layout, runs: Mapping[int, list[Atom]], extents: Sequence[int]) -> bool:
    """Whether a layout has all the positions of a map, from the first one on."""
    return layouts.is_in_place(layout) and all(
        _span(_distinct(atoms)) + 1 == extents[axis] for axis, atoms in runs.items()
    )


def _distinct(atoms: Iterable[Atom]) -> Collection[Atom]:
    """Return one run of every step: others stand for the same positions once more."""
    return {atom.step: atom for atom in atoms}.values()


def _common_step(atoms: Collection[Atom]) -> int:
    """Return how many units the places of some runs are apart, or would be on a larger map."""
    longer = [atom.step for atom in atoms if atom.size > 1]
    return math.gcd(*(longer or [atom.step for atom in atoms])) or 1


def _steps(layout: Layout) -> dict[int, int]:
    """Return how many units the places of a tensor are apart, per axis."""
    runs = layouts.runs_by_axis(layout)
    steps = {axis: math.gcd(*(a.step for a in runs[axis] if a.size > 1)) for axis in runs}
    return {axis: step for axis, step in steps.items() if step}


def _span(atoms: Iterable[Atom]) -> int:
    """Return how far the last unit of some runs is from the first one."""
    return sum((atom.size - 1) * atom.step for atom in atoms)


def _cropped(
    values: Sequence[Value], windows: Sequence[Window], padded: Iterable[int]
) -> tuple[frozenset[int], frozenset[int]]:
    """Return the axes along which units were cut off, and padding took the place of some."""
    before = frozenset[int]().union(*(value.cropped for value in values))
    cut = [axis for axis, window in enumerate(windows) if _crops(window)]
    pads = [*padded, *(axis for axis in before if _pads(windows[axis]))]
    return before.union(cut), frozenset(pads).union(*(value.padded for value in values))


def _crops(window: Window) -> bool:
    return min(window.begin or 0, window.end or 0) < 0


def _pads(window: Window) -> bool:
    return window.begin is None or max(window.begin, window.end or 0) > window.upsampling - 1


def _frames(
    base: Value, windows: Sequence[Window], turned: Collection[int], number: int
) -> dict[int, int]:
    """Return the frames that units are in behind a step; a new one where they moved in theirs.

    What is put where in a frame cannot be told from windows, which are not known there.
    """
    found: dict[int, int] = {}
    if not base.frames and not turned:
        return found
    for axis, window in enumerate(windows):
        before = base.frames.get(axis)
        stays = (window.stride, window.upsampling) == (1, 1) and (
            window.begin is not None and 2 * window.begin == window.reach
        )
        if window.kernel == math.inf:
            continue
        if axis in turned or not (before is None or stays):
            found[axis] = number
        elif before is not None:
            found[axis] = before
    return found


def _is_tiled(layout: Layout) -> bool:
    """Whether every axis has a dimension of its own."""
    carrying = [dimension for dimension in layout if layouts.axes_of(dimension)]
    axes = [axis for dimension in carrying for axis in layouts.axes_of(dimension)]
    return len(axes) == len(set(axes)) == len(carrying) == sum(map(len, carrying))


def _end(last: int, extent: int, step: int) -> int:
    """Return the padding behind a map; what a stride leaves over there is no cropping."""
    more = last + 1 - extent
    return more if more > 0 or -more >= step else 0


def _feature_map(
    layout: Layout, runs: Mapping[int, list[Atom]], extents: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the units of a feature map per axis, None where positions are no longer followed."""
    carried = layouts.spatial_axes(layout)
    if any(axis not in runs for axis in carried):
        return None
    return tuple(extent if axis in carried else 1 for axis, extent in enumerate(extents))


def _channels(tensor: TensorRef, value: Value) -> int:
    """Return how many numbers a tensor has beside its positions."""
    sizes = zip(tensor.shape, value.layout, strict=False)
    return math.prod(size for size, dimension in sizes if not layouts.axes_of(dimension))


def _dimensions_with(layout: Layout, axis: int) -> int:
    """Return how many dimensions carry an axis."""
    return sum(axis in layouts.axes_of(dimension) for dimension in layout)


def between(dimension: Dimension) -> tuple[int, Atom] | None:
    """Return how many numbers stand for every unit of a run of positions, if more than one does.

    >>> between((Atom(0, 8), Atom(None, 2)))
    (2, Atom(axis=0, size=8, step=1, origin=0))
    """
    atoms = [piece for piece in dimension if type(piece) is Atom]
    if len(dimension) == len(atoms) == 2 and atoms[0].axis is not None and atoms[1].axis is None:
        return atoms[1].size, atoms[0]
    return None


def _places(layout: Layout) -> dict[int, tuple[int, ...] | None]:
    """Return per axis which units a tensor has, whatever blocks they are in; None if not known."""
    found: dict[int, tuple[int, ...] | None] = {}
    for axis, (start, runs) in layouts.grids(layout).items():
        row = layouts.coalesce(Atom(axis, size, step) for step, size in reversed(runs))
        sizes = [one for piece in row if type(piece) is Atom for one in (piece.size, piece.step)]
        found[axis] = None if start is None else (start, *sizes)
    return found


_SLICES = {"getitem", "index", "narrow", "select", "split", "chunk", "unbind", "tensor_split"}
_SOME_CHANNELS = (
    "it reads some channels of a concatenation, which may see less than all of them together"
)
_SOME_PLACES = (
    "it reads some channels of a map whose channels hold different places, which may see less than "
    "all of them together"
)


def is_stacked(parts: Parts | None) -> bool:
    """Return whether parts are one number each, as those of a stack."""
    return parts is not None and set(parts.sizes) == {1}


def _parts_behind(
    values: Sequence[Value], mixed: Sequence[int], shape: Sequence[int]
) -> Parts | None:
    """Return the parts that channels still have where an operation kept them apart."""
    return next(
        (
            parts
            for parts in (value.parts for value in values)
            if parts is not None
            and parts.dimension not in mixed
            and parts.dimension < len(shape)
            and shape[parts.dimension] == sum(parts.sizes)
        ),
        None,
    )


_PUT_BESIDE = "it puts channels side by side that were not mixed; its units may see less"
_IN_DISORDER = "some of its positions are in an order that is not followed"
_SOMEWHERE = (
    "it mixes positions in an order that is not followed, which may be fewer than all of them"
)


Rule: TypeAlias = "Callable[[Trail, Operation], None]"


def unknown(trail: Trail, operation: Operation) -> None:
    """Count an operation that nothing knows as neutral, and say so."""
    tensor = trail.main(operation)
    value = trail.settled(tensor)
    results = [
        value.layout
        if output.shape == tensor.shape
        else layouts.broadcast((value.layout,), output.shape)
        for output in operation.outputs
    ]
    trail.step(
        operation,
        {},
        *results,
        base=value,
        kind="unknown",
        certainty="unknown",
        reason=operation.get(
            "reason", f"the operation '{operation.name}' is not known and counts as neutral"
        ),
    )
