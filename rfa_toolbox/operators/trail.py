"""From the operations of a record to steps: what each one does to the grid of positions.

A step is one operation that computes. Plumbing (views, permutations, splits) makes no step but
moves positions around, which the layouts of :mod:`rfa_toolbox.operators.layout` follow. What an
operator does stands in :mod:`.rules`; this module walks, and only it writes anything down.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs

from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.effects import IN_FRONT, Answer, Effect, Moved, Rule, Slides, Written
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.layout import Atom, Layout, Offsets
from rfa_toolbox.operators.pairs import IN_DISORDER, doubled, with_pairs
from rfa_toolbox.operators.record import (
    ModuleCall,
    Operation,
    Record,
    TensorRef,
)
from rfa_toolbox.operators.values import (
    Parts,
    Step,
    Value,
    between,
    is_stacked,
    repeats,
    with_copies,
    with_most_axes,
)
from rfa_toolbox.operators.windows import NEUTRAL, SOMEWHERE, Window

__all__ = ["Trail", "unknown"]


class Trail(Known):
    """A walk over a record that turns operations into steps, and writes down what is known.

    Args:
        record: what a reader returned.
        spatial: per input its spatial dimensions, in axis order.
        rules: per operator name what it does.

    Attributes:
        outputs: the numbers of the steps whose results leave the model.
        ran: per number of a step the operations that it stands for, with the layouts of results.
        moved: per number of a tensor the plumbing that made it.
        mixed: per number of a step that sees all of a map, how many units those are, by axis.
        sizes: pixels of the largest input, per axis.
    """

    steps: list[Step]
    values: dict[int, Value]
    results: dict[int, TensorRef]
    even: dict[int, tuple[int, ...]]
    written: dict[int, Written]
    _laid: dict[int, Layout]

    def __init__(
        self,
        record: Record,
        spatial: Sequence[Sequence[int | None]],
        rules: Mapping[str, Rule],
    ) -> None:
        self.record = record
        self.rules = rules
        self.axes = max((len(dimensions) for dimensions in spatial), default=0)
        self.steps = []
        self.outputs: list[int] = []
        self.values = {}
        self.ran: dict[int, list[tuple[Operation, Layout]]] = {}
        self.even = {}
        self.written = {}
        self._aside: dict[int, tuple[str, ...]] = {}
        self.results = {}
        self._laid = {}
        self._read_by_call: list[TensorRef] = []
        self._told: dict[int, Value] = {}
        self.moved: dict[int, Operation] = {}
        self.mixed: dict[int, dict[int, int]] = {}
        self.sizes = [1] * self.axes
        self._begun = {}
        self._pairs: dict[int, Mapping[int, int | float]] = {}
        self._disordered: set[int] = set()
        self._neutral = (NEUTRAL,) * self.axes
        images = zip(record.inputs, spatial, strict=True)
        rank = max((len(tensor.shape) for tensor, places in images if places), default=0)
        scopes = record.input_scopes or ((),) * len(record.inputs)
        for tensor, dimensions, scope in zip(record.inputs, spatial, scopes, strict=True):
            extents = [1] * self.axes
            for axis, dimension in enumerate(dimensions):
                extents[axis] = 1 if dimension is None else tensor.shape[dimension]
            layout = layouts.image(tensor.shape, dimensions)
            number = len(self.steps)
            without_size = record.open.get(tensor.number, ())
            opened = frozenset(axis for axis, at in enumerate(dimensions) if at in without_size)
            units = None if opened else tuple(extents)
            self.steps.append(
                Step(
                    *(number, "input", scope, (), self._neutral),
                    kind="input",
                    feature_map=units,
                    positionless=not dimensions and len(tensor.shape) < rank,
                )
            )
            self.values[tensor.number] = Value(number, layout, tuple(extents), open=opened)
            self.results[number] = tensor
            self.sizes = [max(pair) for pair in zip(self.sizes, extents, strict=True)]

    def run(self) -> Trail:
        """Make the steps of all operations, and note which ones are outputs."""
        for _ in self._walk():
            pass
        for tensor in self.record.outputs:
            if tensor.number in self.values:
                self._end(tensor)
        if self._pairs:
            self.steps = with_pairs(self.steps, self._pairs, self._disordered)
        return self

    def first_slide(self) -> Slides | None:
        """Return over what the first window slides that takes some dimension for channels.

        Where no window slides over any, what the first dense layer takes for channels.
        """
        dense = None
        for answer in self._walk():
            slides = answer.slides if isinstance(answer, Effect) else None
            if slides is not None and slides.axes:
                return slides
            dense = dense or slides
        return dense

    def _walk(self) -> Iterator[Answer | None]:
        """Yield what the operations do, one by one, after writing it down."""
        made, started = self.record.operations, len(self.steps)
        for place, operation in enumerate(made):
            yield self._follow(operation)
            if self.record.by_call:
                following = made[place + 1].scope if place + 1 < len(made) else ()
                if following != operation.scope:
                    self._end_call(operation, started)
                    started = len(self.steps)

    def _follow(self, operation: Operation) -> Answer | None:
        """Write down what an operation does, and return it; None if it reads nothing known."""
        answer = None
        operands = self.operands(operation)
        if operation.outputs and operands:
            self._read_by_call += operands if self.record.by_call else ()
            rule = self.rules.get(operation.name, unknown)
            self._prepare(rule, operation, operands)
            answer = rule(self, operation)
            self._apply(operation, answer, operands)
            if not any(map(self._is_result, operation.outputs)):
                self.moved.update((tensor.number, operation) for tensor in operation.outputs)
                self._leave_out(operation)
                self._cut_by_size(operation)
        self._note(operation)
        return answer

    def _prepare(self, rule: Rule, operation: Operation, operands: Sequence[TensorRef]) -> None:
        """Make steps of what plumbing did to operands, as far as a rule does not go on with it."""
        mirrors = rule.mirrors and len(operands) == 1
        for tensor in operands:
            if self.values[tensor.number].mirrored and not mirrors:
                self.settled(tensor)
        if rule.takes == "as it lies":
            tensor = self.main(operation)
            cuts = () if rule.cuts is None else rule.cuts(self, operation)
            if any(between(self.values[tensor.number].layout[place]) for place in cuts):
                self.settled(tensor)
        elif rule.takes == "as filled":
            target = operation.arguments.get("input")
            for tensor in operands:
                if tensor != target or self.values[tensor.number].strided is not None:
                    self.settled(tensor)
        elif rule.takes == "settled" or len(operands) == 1:
            for tensor in operands:
                self.settled(tensor, mirrored=mirrors)
        else:
            if rule.takes == "one map":
                self._repeat_in_blocks(operands, operation)
            values = self._on_one_grid(operands)
            if rule.takes == "one map" and not self.record.by_call:  # a call is one node
                for tensor, value in zip(operands, values, strict=True):
                    self._spread(tensor, value, operation.outputs[0].shape)

    def _end(self, tensor: TensorRef) -> None:
        """Note that a tensor leaves the model."""
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
        several = [self._told[one.number] for one in operation.tensors if one.number in self._told]
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
        _say_what_is_left_out(value, facts)
        windows: dict[int, Window] = {}
        layout = value.layout
        if tensor in self.record.outputs:
            layout, blocks = layouts.as_blocks(layout, range(self.axes))
            windows = {axis: Window(size) for axis, size in blocks.items()}
            base = value
        else:  # copies of units count where something looks at them
            base = value._replace(beyond=())
        made = self._append(operation, (value.step,), windows, base, layout, facts)
        copies = () if base.beyond else value.beyond
        self.values[tensor.number] = made.with_channels_of(value)._replace(beyond=copies)
        self.results[made.step] = tensor

    def _end_split(self, operation: Operation, known: Mapping[TensorRef, Value]) -> None:
        """Make a step of a call that cut a map into parts, each of which stays where it was."""
        first, *_ = known.values()
        facts: dict[str, Any] = {"kind": "slice"}
        facts["turned"] = frozenset[int]().union(*map(self._lost_since, known.values()))
        for value in known.values():
            _say_what_is_left_out(value, facts)
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
        picked = value.picked and not self.record.by_call  # there, the call has said so itself
        if found == made and not value.beyond and not picked:
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
        **more: Any,
    ) -> Value:
        name = "slice" if operation.name in _SLICES else operation.name
        facts: dict[str, Any] = {"kind": "slice", **more}
        _say_what_is_left_out(value, facts)
        slicing = Operation(name, {}, (), operation.scope)
        made = self._append(slicing, (value.step,), windows, value, layout, facts)
        self._laid_as(tensor, value, made.step)
        self.ran.setdefault(made.step, []).append((slicing, made.layout))
        return made

    def _note(self, operation: Operation) -> None:
        """Write down in ``ran`` which operations a step stands for: its own, and plumbing on it.

        Every one comes with the layout of its result. Parameters in what takes nothing but its
        shape from the input count where that is used.
        """
        aside = self._aside
        if aside:
            names = [operation.parameters]
            names += [aside.get(one.number, ()) for one in operation.tensors]
            merged = tuple(dict.fromkeys(itertools.chain.from_iterable(names)))
            operation = attrs.evolve(operation, parameters=merged)
        for tensor in operation.outputs:
            if tensor.number in self.values:
                value = self.values[tensor.number]
                self.ran.setdefault(value.step, []).append((operation, value.layout))
                return
        if operation.parameters:
            aside.update((tensor.number, operation.parameters) for tensor in operation.outputs)

    def settled(self, tensor: TensorRef, mirrored: bool = False) -> Value:
        """Return where a tensor's positions are; what left units out or put some in becomes a step.

        These are strided slices, and repetitions of units by views; and what mirrored a map, unless
        that may stay ``mirrored``.
        """
        value = self.values[tensor.number]
        if value.mirrored and not mirrored:
            value = self._turned_around(tensor, value)
        repeated = repeats(value.layout) and self._is_map(value)
        if not repeated and value.strided is None:
            self.values[tensor.number] = value
            return value
        if repeated and value.strided is None and max(_steps(value.layout).values(), default=1) > 1:
            value = value._replace(strided=self.steps[value.step].scope)
        if value.strided is not None:
            slicing = Operation("slice", {}, (), value.strided)
            facts = {"kind": "slice", "turned": self._lost_since(value)}
            made = self._append(slicing, (value.step,), {}, value, value.layout, facts)
            self._laid_as(tensor, value, made.step)
            value = made.with_channels_of(value)
        if repeated:
            value = self._upsampled(tensor, value)
        self.values[tensor.number] = value
        return value

    def _turned_around(self, tensor: TensorRef, value: Value) -> Value:
        """Return a mirrored map; where windows lie is not followed from there on."""
        flip = Operation("flip", {}, (), self._scope_of(tensor))
        facts: dict[str, Any] = {"turned": value.mirrored, "position_dependent": True}
        windows = dict.fromkeys(value.mirrored, SOMEWHERE)
        made = self._appended(flip, tensor, value, windows, value.layout, **facts)
        return made.with_channels_of(value)

    def _laid_as(self, tensor: TensorRef, before: Value, step: int) -> None:
        """Say that a tensor is the result of one more step, and remember what it was before."""
        if self.results.get(before.step) == tensor:
            self._laid[before.step] = before.layout
        self.results[step] = tensor

    def _is_map(self, value: Value) -> bool:
        """Whether a tensor has images: every axis in a dimension of its own, and two others.

        Where each call is a node, axes that were mixed before may be missing.
        """
        carried = [axes for axes in map(layouts.axes_of, value.layout) if axes]
        alone = len(set(carried)) == len(carried) and all(len(axes) == 1 for axes in carried)
        rank = self.axes + 2
        if self.record.by_call and carried and len(value.layout) == rank:
            return alone
        return alone and len(value.layout) >= len(carried) + 2 == rank

    def _on_one_grid(self, tensors: Sequence[TensorRef]) -> list[Value]:
        """Return where the positions of several tensors are, with the same distance between them.

        Those that views left some units of become steps as those behind a strided slice do.
        """
        values = [self.settled(tensor) for tensor in tensors]
        several = [(layouts.grids(value.layout), _steps(value.layout)) for value in values]
        if several.count(several[0]) == len(several):
            return values
        for tensor, axes in self._in_other_blocks(tensors, values):
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
        self, tensors: Sequence[TensorRef], values: Sequence[Value]
    ) -> Iterator[tuple[TensorRef, Sequence[int]]]:
        """Yield the tensors with blocks of an axis in channels where others have it otherwise."""
        runs = [layouts.grids(value.layout) for value in values]
        for tensor, value, own in zip(tensors, values, runs, strict=True):
            axes = [
                axis
                for axis, (_, found) in own.items()
                if len(found) > 1
                and any(axis in one and one[axis][1] != found for one in runs)
                and layouts.times_over(value.layout, axis) == 1
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
            self.values[tensor.number] = made._replace(apart=True, picked=value.picked)

    def _scope_of(self, tensor: TensorRef) -> tuple[ModuleCall, ...]:
        """Return where plumbing made a tensor, which need not be where its step ran."""
        operation = self.moved.get(tensor.number)
        return () if operation is None else operation.scope

    def _repeat_in_blocks(self, tensors: Sequence[TensorRef], operation: Operation) -> None:
        """Let what was pooled from blocks of a map be what all units of a block meet."""
        several = [self.values[tensor.number] for tensor in tensors]
        if all(value.layout == several[0].layout for value in several):
            return
        for tensor, value in zip(tensors, several, strict=True):
            for other in several:
                layout, blocks = layouts.repeated_in_blocks(value.layout, other.layout)
                if blocks:
                    windows = {
                        axis: Window(size, begin=size - 1, upsampling=size)
                        for axis, size in blocks.items()
                    }
                    expanding = Operation("expand", {}, (), self._scope_beside(operation))
                    made = self._appended(expanding, tensor, value, windows, layout)
                    self.values[tensor.number] = made
                    break

    def _scope_beside(self, operation: Operation) -> tuple[ModuleCall, ...]:
        """Return where a step runs that belongs to an operation, but is a node of its own."""
        if not self.record.by_call:
            return operation.scope
        call = operation.scope[-1]
        return (*operation.scope[:-1], ModuleCall(f"{call.path}/expand", "expand", call.call))

    def _spread(self, tensor: TensorRef, value: Value, shape: Sequence[int]) -> None:
        """Let a map of one unit along some axes be what all units of a larger one meet."""
        units = self.steps[value.step].feature_map
        if units is None or 1 not in units:
            return
        axes = {
            axis
            for own, size in zip(reversed(value.layout), reversed(shape), strict=False)
            if size > 1 and math.prod(piece.size for piece in own) == 1
            for axis in layouts.axes_of(own)
            if units[axis] == 1
        }
        if not axes:
            return
        layout = tuple(
            tuple(piece for piece in dimension if axes.isdisjoint(layouts.axes_of((piece,))))
            for dimension in value.layout
        )
        expanding = Operation("expand", {}, (), self._scope_of(tensor))
        windows = dict.fromkeys(axes, Window(math.inf))
        more = {"resolution_dependent": True}  # with another size it has more
        self.values[tensor.number] = self._appended(
            expanding, tensor, value, windows, layout, **more
        )

    # -- from effects to steps

    def _apply(self, ran: Operation, answer: Answer, operands: Sequence[TensorRef]) -> None:
        """Write down what an operation does, given the tensors that it reads."""
        if isinstance(answer, Moved):
            self.values.update(answer.values)
            self.even.update(answer.even)
            return
        operation = ran
        if answer.operation is not None:
            operation = answer.operation
            operands = self.operands(operation)
        read = [
            self.values[tensor.number]
            if answer.as_it_lies
            else self.settled(tensor, mirrored=bool(answer.mirrored))
            for tensor in operands
        ]
        sources = tuple(dict.fromkeys(value.step for value in read))
        read = [one for one in read if not self.steps[one.step].positionless] or read
        base = answer.base
        if base is None:
            base = with_most_axes(read)
        facts = answer.facts()
        facts["offsets"] = self._offsets(answer, read, sources)
        if len(read) > 1 or answer.unaligned:
            facts["unaligned"] = self._unaligned(answer, read, facts["offsets"])
        for value in read:
            _say_what_is_left_out(value, facts)
        sized = operation.arguments.get("sized")
        if sized:
            facts["position_dependent"] = True
            facts["resolution_dependent"] |= sized in ("fixed", "grows")
        windows = answer.windows
        if operation.get("part_of"):
            windows = _of_a_part(windows, operation.get("part_of"), base, facts)
        made = self._append(
            operation, sources, windows, base, answer.layouts[0], facts,
            read, answer.padded, answer.closes,
        )  # fmt: skip
        self._hand_out(operation, answer, made, read)

    def _hand_out(
        self, operation: Operation, effect: Effect, made: Value, read: Sequence[Value]
    ) -> None:
        """Say of the outputs of an operation that made a step where positions are in them."""
        first, *_ = operation.outputs
        self.results[made.step] = first
        if effect.mirrored or effect.allowed is not None or effect.scores:
            made = made._replace(
                mirrored=effect.mirrored, allowed=effect.allowed, scores=effect.scores
            )
        if effect.mixed is not None and any(one.parts is not None or one.apart for one in read):
            made = _with_what_is_apart(made, read, effect.mixed, first.shape)
        for place, tensor in enumerate(operation.outputs):
            layout = effect.layouts[place] if 0 < place < len(effect.layouts) else made.layout
            if len(layout) != len(tensor.shape):
                layout = layouts.broadcast((layout,), tensor.shape)
            one = made if layout is made.layout else made._replace(layout=layout)
            self.values[tensor.number] = one if place else _as_told(one, effect, self.axes)
        if effect.written is not None:
            self.written[first.number] = effect.written

    def _offsets(self, effect: Effect, read: Sequence[Value], sources: Sequence[int]) -> Offsets:
        """Return where the first unit of a step stands on what it reads."""
        if effect.offsets is not None or len(read) < 2:
            return effect.offsets or ()
        places = [(value.step, value.layout) for value in read]
        return layouts.offsets_between(places, sources, self.axes)

    def _unaligned(
        self, effect: Effect, values: Sequence[Value], offsets: Offsets
    ) -> frozenset[int]:
        """Return the axes along which tensors do not lie upon each other at one known distance."""
        found = set(effect.unaligned)
        if len(values) > 1 and (offsets or any(value.frames for value in values)):
            places = [read for reads in offsets for read in reads]
            for axis in range(self.axes):
                frames = {
                    value.frames.get(axis)
                    for value in values
                    if axis in layouts.spatial_axes(value.layout)
                }
                apart = {place[axis] for place in places}
                if len(frames) > 1 or None in apart or (frames - {None} and apart - {0}):
                    found.add(axis)
        return frozenset(
            axis for axis in found if effect.windows.get(axis, NEUTRAL).kernel < math.inf
        )

    def _append(
        self,
        operation: Operation,
        sources: tuple[int, ...],
        windows: Mapping[int, Window],
        base: Value,
        layout: Layout,
        facts: dict[str, Any],
        read: Sequence[Value] = (),
        padded: Sequence[int] = (),
        closes: Sequence[int] = (),
    ) -> Value:
        """Append a step, and return what is known of the map that it makes."""
        read = read or (base,)
        whole = self._neutral
        if windows:
            whole = tuple(windows.get(axis, NEUTRAL) for axis in range(self.axes))
        direct = base.strided is None and len(sources) == 1
        grid = _grid(whole, layout, base.layout, base.extents, direct, self.record.by_call)
        opened = base.open.difference(closes)
        turned = grid.turned | facts.pop("turned", frozenset())
        facts |= self._certainty(facts, grid, sources)
        facts |= self._dependence(facts, grid, read)
        if facts.get("kind") == "scaling" and grid.windows != self._neutral:
            facts["kind"] = "pointwise"  # not only numbers are changed
        if turned:
            grid = grid.without_places(turned)
        facts |= self._whereabouts(grid, sources)
        facts["turned"] = turned
        facts["feature_map"] = None if opened.intersection(grid.carried) else grid.units
        number = len(self.steps)
        step = Step(number, operation.name, operation.scope, sources, grid.windows, **facts)
        self.steps.append(step)
        self._remember(number, windows, base.layout, grid.layout)
        cropped, pads = _cropped(read, grid, padded)
        return Value(
            number,
            grid.layout,
            grid.extents,
            open=opened,
            frames=_frames(base, grid.windows, turned, number),
            cropped=cropped,
            padded=pads,
            taken=_taken(base, grid),
        )

    def _remember(
        self, number: int, windows: Mapping[int, Window], before: Layout, layout: Layout
    ) -> None:
        """Note how much a step mixes, and whether its units see two places."""
        everything = [axis for axis, window in windows.items() if window.kernel == math.inf]
        if everything:
            self.mixed[number] = _units_left(before, everything)
        pairs = doubled(layout)
        if pairs:
            self._pairs[number] = pairs
            if not pairs.keys().isdisjoint(layouts.lost_pieces(layout)):
                self._disordered.add(number)

    def _whereabouts(self, grid: _Grid, sources: tuple[int, ...]) -> dict[str, Any]:
        """Return whether a step has positions; if it has none, whether it ever had any."""
        nowhere = tuple([one for one in sources if self.steps[one].positionless])
        positions = bool(grid.runs or grid.carried)
        pooled = not positions and (
            any(window.kernel == math.inf for window in grid.windows)
            or any(self.steps[one].pooled for one in sources)
        )
        return {
            "positions": positions,
            "pooled": pooled,
            "positionless": bool(sources) and nowhere == sources,
            "nowhere": nowhere,
        }

    def _certainty(
        self, facts: Mapping[str, Any], grid: _Grid, sources: Sequence[int]
    ) -> dict[str, Any]:
        """Return that a step is a bound where positions are in an order that is not followed."""
        if facts.get("certainty", "exact") != "exact":
            return {}
        if grid.unordered and not all(self._sees_all(sources, axis) for axis in grid.unordered):
            return {"certainty": "bound", "reason": _SOMEWHERE}
        return {"certainty": "bound", "reason": IN_DISORDER} if grid.in_disorder else {}

    def _sees_all(self, sources: Sequence[int], axis: int) -> bool:
        """Whether it is certain that some step in front of others sees all of an axis."""
        return any(
            self.steps[one].windows[axis].kernel == math.inf
            and self.steps[one].certainty == "exact"
            for one in self.ancestors(sources)
        )

    def _dependence(
        self, facts: Mapping[str, Any], grid: _Grid, read: Sequence[Value]
    ) -> dict[str, bool]:
        """Return whether a step does something else at other places, or on other sizes."""
        if facts.get("offsets") and any(value.sized for value in read):
            return {"position_dependent": True, "resolution_dependent": True}
        depends = grid.depends or any(
            copies * window.upsampling > window.reach
            for value in read
            if value.beyond
            for copies, window in zip(value.beyond, grid.windows, strict=False)
        )
        return {"position_dependent": True} if depends else {}  # nobody knows what to keep of it


class _Grid(NamedTuple):
    """The windows of a step, the map that they make, and what follows from them.

    ``runs`` are the axes with runs of positions that can be followed, ``carried`` all axes that the
    result has positions of; ``units`` those of its map, None where they are not followed. Units are
    brought into an order that is not followed along ``turned``, and one of several is left along
    ``pinned``. ``depends`` tells whether the step does something else at other places. Along the
    axes ``cut`` units are cut off. It mixes all of axes ``unordered`` whose positions are in no
    known order, and where it is ``in_disorder`` some of them are in its result.
    """

    windows: tuple[Window, ...]
    extents: tuple[int, ...]
    layout: Layout
    runs: frozenset[int]
    carried: tuple[int, ...]
    units: tuple[int, ...] | None
    turned: frozenset[int]
    pinned: frozenset[int]
    depends: bool
    cut: tuple[int, ...]
    unordered: tuple[int, ...]
    in_disorder: bool

    def without_places(self, axes: Collection[int]) -> _Grid:
        """Return the grid with windows of which it is not known where they lie along some axes."""
        windows = enumerate(self.windows)
        return self._replace(
            windows=tuple(
                window._replace(begin=None, end=None) if axis in axes else window
                for axis, window in windows
            )
        )


@functools.lru_cache(maxsize=4096)  # most operations do what others did before on such a map
def _grid(
    windows: tuple[Window, ...],
    layout: Layout,
    before: Layout,
    extents: tuple[int, ...],
    direct: bool,
    by_call: bool,
) -> _Grid:
    """Return the grid of a step.

    Args:
        windows: measured in units of the map in front of it.
        layout: where positions are in its result, in these units, too.
        before: where they are in what it reads.
        extents: units of the map in front of it.
        direct: whether it reads a single map, of which nothing was left out.
        by_call: whether every call is a node.
    """
    runs = layouts.runs_by_axis(layout)
    same = direct and layout == before and all(one == NEUTRAL for one in windows)
    in_front = extents
    if not (same and _is_whole(layout, runs, extents)):
        windows, extents, layout = _measured(windows, layout, before, extents, by_call)
    pinned = _pinned(runs, in_front, windows)
    carried = layouts.spatial_axes(layout)
    units = _feature_map(layout, runs, extents)
    depends = (
        units is None
        or bool(pinned)
        or None in [at for at, _ in layouts.grids(layout).values()]
        # Of a crop, which lies elsewhere in a tile than in the whole.
        or any(
            1 < window.kernel < math.inf and axis not in carried
            for axis, window in enumerate(windows)
        )
    )
    lost = layouts.lost_pieces(before)
    return _Grid(
        windows,
        extents,
        layout,
        frozenset(runs),
        carried,
        units,
        turned=_turned(before, layout, windows),
        pinned=pinned,
        depends=depends,
        cut=tuple(axis for axis, window in enumerate(windows) if _crops(window)),
        unordered=tuple(axis for axis in lost if windows[axis].kernel == math.inf),
        in_disorder=not runs.keys().isdisjoint(layouts.lost_pieces(layout)),
    )


def _measured(
    windows: Sequence[Window],
    layout: Layout,
    before: Layout,
    units: Sequence[int],
    by_call: bool,
) -> tuple[tuple[Window, ...], tuple[int, ...], Layout]:
    """Derive strides from the positions that are left, and measure them in new units."""
    runs, read = layouts.runs_by_axis(layout), layouts.runs_by_axis(before)
    extents = list(units)
    complete: list[Window] = []
    for axis, window in enumerate(windows):
        atoms = runs.get(axis)
        if atoms:
            distinct = _distinct(atoms)
            common = _common_step(distinct)
            origin = sum(atom.origin for atom in distinct)
            if by_call and window == NEUTRAL:
                end = _end(origin + _span(distinct), extents[axis], common)
                window = window._replace(end=end)  # noqa: PLW2901
            if common > 1 or origin:
                begin = None if window.begin is None else window.begin - origin
                window = window._replace(stride=window.stride * common, begin=begin)  # noqa: PLW2901
                layout = layouts.rescale(layout, axis, common)
            extents[axis] = _span(distinct) // common + 1
        elif axis in read and window.begin is not None and window.kernel < math.inf:
            begin = window.begin - sum(atom.origin for atom in _distinct(read[axis]))
            window = window._replace(begin=begin)  # noqa: PLW2901 - one unit of a part
        complete.append(window)
    return tuple(complete), tuple(extents), layout


def _turned(before: Layout, layout: Layout, windows: Sequence[Window]) -> frozenset[int]:
    """Return the axes whose positions are in an order from here on that is not followed."""
    old = layouts.lost_pieces(before)
    return frozenset(
        axis
        for axis, pieces in layouts.lost_pieces(layout).items()
        if pieces != old.get(axis) and windows[axis].kernel < math.inf
    )


def _pinned(
    runs: Mapping[int, Sequence[Atom]], extents: Sequence[int], windows: Sequence[Window]
) -> frozenset[int]:
    """Return the axes along which one unit of a larger map is left."""
    return frozenset(
        axis
        for axis, atoms in runs.items()
        if extents[axis] > 1
        and all(atom.size == 1 for atom in atoms)
        and not 1 < windows[axis].kernel < math.inf
    )


def _taken(base: Value, grid: _Grid) -> frozenset[int]:
    """Return the axes of which one unit was taken, here or before."""
    taken = grid.pinned
    if not taken and not base.taken:
        return taken
    if base.taken:
        taken |= {axis for axis in base.taken if grid.windows[axis].kernel < math.inf}
    return frozenset(axis for axis in taken if grid.extents[axis] == 1)


def _say_what_is_left_out(value: Value, facts: dict[str, Any]) -> None:
    """Declare a bound where only some of the channels are read and others see more."""
    if value.picked and facts.get("certainty", "exact") == "exact":
        facts["certainty"] = "bound"
        facts["reason"] = _SOME_PLACES if value.apart else _SOME_CHANNELS


def _as_told(value: Value, effect: Effect, axes: int) -> Value:
    """Return what an effect says of the first output, beside what follows from its windows."""
    if effect.parts is not None:
        value = value._replace(parts=effect.parts)
    if effect.gaps is not None:
        value = value._replace(gaps=effect.gaps)
    if effect.apart is not None:
        value = value._replace(apart=effect.apart)
    if effect.laid is not None:
        value = value._replace(layout=effect.laid(value.layout))
    return with_copies(value, effect.copies, axes)


def _is_whole(layout: Layout, runs: Mapping[int, Sequence[Atom]], extents: Sequence[int]) -> bool:
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


@functools.lru_cache(maxsize=4096)
def _steps(layout: Layout) -> Mapping[int, int]:
    """Return how many units the places of a tensor are apart, per axis."""
    runs = layouts.runs_by_axis(layout)
    steps = {axis: math.gcd(*(a.step for a in runs[axis] if a.size > 1)) for axis in runs}
    return {axis: step for axis, step in steps.items() if step}


def _span(atoms: Iterable[Atom]) -> int:
    """Return how far the last unit of some runs is from the first one."""
    return sum((atom.size - 1) * atom.step for atom in atoms)


def _units_left(layout: Layout, axes: Iterable[int]) -> dict[int, int]:
    """Return of how many units of a map a tensor holds the first and the last, per axis."""
    runs = layouts.runs_by_axis(layout)
    return {axis: _span(_distinct(runs[axis])) + 1 for axis in axes if axis in runs}


def _of_a_part(
    windows: Mapping[int, Window], axes: Sequence[int], base: Value, facts: dict[str, Any]
) -> dict[int, Window]:
    """Return windows that are no larger than what is left of a map along some axes."""
    found = dict(windows)
    for axis, units in _units_left(base.layout, axes).items():
        window = found.get(axis, NEUTRAL)
        if window.kernel == math.inf:
            found[axis] = Window(units)
            facts["blockwise"] = True
            if window.scan and facts["certainty"] == "exact":
                facts |= {"certainty": "bound", "reason": IN_FRONT}
    return found


def _cropped(
    values: Sequence[Value], grid: _Grid, padded: Iterable[int]
) -> tuple[frozenset[int], frozenset[int]]:
    """Return the axes along which units were cut off, and padding took the place of some."""
    before = frozenset[int]().union(*[value.cropped for value in values])
    pads = before and [axis for axis in before if _pads(grid.windows[axis])]
    return before.union(grid.cut), frozenset(padded).union(pads, *[one.padded for one in values])


def _crops(window: Window) -> bool:
    return min(window.begin or 0, window.end or 0) < 0


def _pads(window: Window) -> bool:
    return window.begin is None or max(window.begin, window.end or 0) > window.upsampling - 1


def _frames(
    base: Value, windows: Sequence[Window], turned: Collection[int], number: int
) -> Mapping[int, int]:
    """Return the frames that units are in behind a step; a new one where they moved in theirs.

    What is put where in a frame cannot be told from windows, which are not known there.
    """
    if not base.frames and not turned:
        return _NO_FRAMES
    found: dict[int, int] = {}
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


_NO_FRAMES: Mapping[int, int] = MappingProxyType({})


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
    layout: Layout, runs: Mapping[int, Sequence[Atom]], extents: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the units of a feature map per axis, None where positions are not followed."""
    carried = layouts.spatial_axes(layout)
    if any(axis not in runs for axis in carried):
        return None
    for axis, pieces in layouts.lost_pieces(layout).items():
        if any(piece.size != extents[axis] for piece in pieces):  # some of it, or several times
            return None
    return tuple(extent if axis in carried else 1 for axis, extent in enumerate(extents))


def _channels(tensor: TensorRef, value: Value) -> int:
    """Return how many numbers a tensor has beside its positions."""
    sizes = zip(tensor.shape, value.layout, strict=False)
    return math.prod(size for size, dimension in sizes if not layouts.axes_of(dimension))


def _dimensions_with(layout: Layout, axis: int) -> int:
    """Return how many dimensions carry an axis."""
    return sum(axis in layouts.axes_of(dimension) for dimension in layout)


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


def _with_what_is_apart(
    made: Value, read: Sequence[Value], mixed: Sequence[int], shape: Sequence[int]
) -> Value:
    """Return a result with the channels that an operation kept apart from each other."""
    parts = _parts_behind(read, mixed, shape)
    apart = any(
        value.apart and all(layouts.axes_of(value.layout[place]) for place in mixed)
        for value in read
    )
    lost = parts is None and any(is_stacked(value.parts) for value in read)
    return made._replace(parts=parts, apart=apart or (lost and not mixed))


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
_SOMEWHERE = (
    "it mixes positions in an order that is not followed, which may be fewer than all of them"
)


@Rule
def unknown(known: Known, operation: Operation) -> Effect:
    """Count an operation that nothing knows as neutral, and say so."""
    tensor, value = known.worked_on(operation)
    results = [
        value.layout
        if output.shape == tensor.shape
        else layouts.broadcast((value.layout,), output.shape)
        for output in operation.outputs
    ]
    return Effect(
        {},
        tuple(results),
        value,
        kind="unknown",
        certainty="unknown",
        reason=operation.get(
            "reason", f"the operation '{operation.name}' is not known and counts as neutral"
        ),
    )
