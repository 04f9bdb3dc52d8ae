"""PyTorch models on the bench of the structural experiment.

The model itself runs, operator by operator, on real tensors. What is recorded on the way is the
same record that the encoder makes, so that every node of the graph has its tensor.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from rfa_toolbox.empirical.poison import PoisonedCalls, narrowed, wide_dimensions
from rfa_toolbox.empirical.readings import Mask
from rfa_toolbox.empirical.structural import WEIGHTLESS_PAIRS, Interval, field_along
from rfa_toolbox.empirical.tensors import (
    EVERY_NUMBER,
    Spot,
    behind_hidden_poison,
    has_twice,
    listed,
    looks,
    spot_of,
)
from rfa_toolbox.empirical.torch_differences import Changed, holds_zeros, random_twin
from rfa_toolbox.empirical.torch_models import unused, with_numbers
from rfa_toolbox.empirical.torch_recording import Forgetful, plain_kernels
from rfa_toolbox.encodings.complaints import check_chain
from rfa_toolbox.encodings.pytorch import meta, utils
from rfa_toolbox.encodings.pytorch.capture import (
    Ending,
    Example,
    tensors_of,
)
from rfa_toolbox.encodings.pytorch.inputs import example_of
from rfa_toolbox.encodings.pytorch.intermediate_graph import Digraph, GlobalOps
from rfa_toolbox.encodings.pytorch.recording import record_model
from rfa_toolbox.errors import CaptureError, InvalidResolutionError, RFAError, UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.operators.layout import Layout
from rfa_toolbox.operators.record import Operation, Record, TensorRef, tensors_in
from rfa_toolbox.operators.rules import spatial_dimensions
from rfa_toolbox.operators.rules.inputs import main_input, with_sizes

__all__ = ["GRAPH_OPTIONS", "TorchBench", "TorchSetting"]

GRAPH_OPTIONS = (
    *("custom_layers", "display_se_modules", "filter_rf", "handlers", "substitutors", "until"),
)
"""Options of the encoder that experiments pass on."""

_LENGTHS = tuple(224 * 2**step for step in range(7))
"""Multiples of 32, and of the 7 that windows of attention like to have."""

_WIDTHS = (32, 64, 96, 128, 192, 224, 256, 320, 384, 448, 512)
_MEMORY = 3 * 2**30
_RAISED = (RFAError, RuntimeError, ValueError, AssertionError, TypeError, IndexError)
"""What models raise at sizes that they do not take."""


class Tap(NamedTuple):
    """Where to look for a node: its tensor, and where the positions of the image are in it."""

    node: EnrichedNetworkNode
    tensor: TensorRef
    layout: Layout


class TorchBench:
    """A PyTorch model, its weights shared and everything else copied.

    Args:
        model: is not touched.
        input_shape: as ``input_res`` of the encoder; None tries the usual sizes.
        global_ops: which global operations count.
        shortcuts: spend no time on channels that are NaN together; see ``poison``.
        memory: bytes that the tensors of one forward pass may take.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        input_shape: Any = None,
        global_ops: GlobalOps = "ignore_gates",
        shortcuts: bool = True,
        memory: int = _MEMORY,
        max_length: int | None = None,
        until: str | None = None,
        **graph_options: Any,
    ) -> None:
        self.model = with_numbers(model)
        self.twin = unused(self.model).eval()
        self.global_ops = global_ops
        self.shortcuts = shortcuts
        self.memory = memory
        self.max_length = max_length
        self.graph_options = graph_options
        chain = graph_options.setdefault("handlers", None)
        if chain is None:
            graph_options["handlers"] = utils.current_chain()
        else:
            check_chain(chain, "RESOLVING_STRATEGY")
        if input_shape is not None:
            _require_room(input_shape, memory)
        for tensor in () if input_shape is None else example_of(input_shape, self.twin).tensors[:1]:
            if not tensor.is_floating_point():
                raise UnsupportedModelError(
                    f"The input is of type {tensor.dtype}; NaN, which the experiment puts into "
                    "it, needs a floating-point type."
                )
        if input_shape is None:
            with warnings.catch_warnings():
                # Which size the model was first tried with says nothing of the experiment.
                warnings.filterwarnings("ignore", message=".* does not take the default input")
                self.base = record_model(self.twin, until=until)
            self.example = example_of(self.base.inputs[0].shape, self.twin)
        else:
            self.example = example_of(input_shape, self.twin)
            self.base = record_model(self.twin, input_shape, until=until)
        self.ending = Ending(until, (Exception,) if self.base.stopped else ())
        self.spatial = spatial_dimensions(self.base)
        if not any(len(one.shape) > 2 for one in self.base.inputs) and not self._slides():
            self.spatial = [() for _ in self.spatial]  # a vector of features, and no signal
        self.axes = max(map(len, self.spatial))
        main, dimensions = main_input(self.spatial)
        self.sizes = tuple(self.base.inputs[main].shape[one] for one in dimensions)
        self.failure: Exception | None = None
        self.with_memory = False
        """Whether the model is recorded with real tensors: it does something else without."""
        self.tried = False
        """Whether a setting ran."""
        self.weighing: frozenset[int] = frozenset()
        """The results of operators that give weights of zero to some of what they read."""
        self._settings: dict[tuple[int, int], TorchSetting | None] = {}
        self._width: int | None = None

    def _slides(self) -> bool:
        """Return whether some layer looks at a part of the input, as at a signal over time."""
        graph = Digraph(self.twin, self.base, spatial=self.spatial, **self.graph_options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            node = graph.to_graph()
        return any(1 < field_along(one, 0) < math.inf for one in node.all_layers)

    @property
    def model_name(self) -> str:
        """The class of the model."""
        return type(self.model).__name__

    def lengths(self, axis: int) -> Sequence[int]:
        """Lengths of the image to try along an axis; only the given one if no other runs."""
        limit = self.max_length or _LENGTHS[-1]
        lengths = [one for one in _LENGTHS if one <= limit]
        if self.max_length is not None and self.max_length not in lengths:
            lengths.append(self.max_length)
        if any(self.setting(axis, one) is not None for one in lengths):
            return lengths
        return (self.sizes[axis],)

    @torch.inference_mode(False)
    def setting(self, axis: int, length: int) -> TorchSetting | None:
        """Return the model on an image that is as narrow as it may be along the other axes."""
        key = (axis, length)
        if key not in self._settings:
            self._settings[key] = next(self._that_run(axis, length), None)
        return self._settings[key]

    def _that_run(self, axis: int, length: int) -> Iterator[TorchSetting]:
        tried: set[tuple[int, ...]] = set()
        for width in (*_WIDTHS, None, length):
            sizes = tuple(
                length if place == axis else size if width is None or 1 < size < width else width
                for place, size in enumerate(self.sizes)
            )
            if sizes in tried or (
                self._width is not None and width is not None and width < self._width
            ):
                continue
            tried.add(sizes)
            if math.prod(sizes) > _LENGTHS[-1] * 512:
                continue
            try:
                setting = self._tried_out(axis, sizes)
            except _RAISED as error:
                self.failure = error
                continue
            if setting.bytes > self.memory:
                self.failure = MemoryError(
                    f"an image of {sizes} pixels takes {setting.bytes} bytes, more than the "
                    f"{self.memory} that a pass may take"
                )
                continue
            if width is not None:
                self._width = width
            yield setting

    def _tried_out(self, axis: int, sizes: tuple[int, ...]) -> TorchSetting:
        """Return a setting; the first one only if real tensors take the way of the record."""
        if self.tried:
            return TorchSetting(self, axis, sizes)
        try:
            setting = TorchSetting(self, axis, sizes)
            self.tried = setting.runs()
        except _RAISED:
            if sizes != self.sizes and self._is_followed:
                raise  # the model does not take the size; real tensors might take all memory
            self.with_memory = True
            try:
                setting = TorchSetting(self, axis, sizes)
                self.tried = setting.runs()
            except _RAISED:
                self.with_memory = False  # it was not the way of recording
                raise
        return setting

    @functools.cached_property
    def _is_followed(self) -> bool:
        """Whether the model is recorded without memory at the size that it was given."""
        try:
            TorchSetting(self, 0, self.sizes).runs()
        except _RAISED:
            return False
        return True

    @functools.cached_property
    def random(self) -> nn.Module:
        """The model with random numbers for parameters."""
        return random_twin(self.model)

    def recorded(self, example: Example) -> Record:
        """Return what the model does with inputs of these shapes."""
        if not self.with_memory:
            return meta.capture(self.twin, example, self.ending)
        twin = unused(self.twin)
        return Forgetful(twin, self.ending).record(example)

    def example_with(self, sizes: Sequence[int]) -> Example:
        """Return the inputs with these sizes of the image, in every input that is one."""
        spatial = iter(self.spatial)

        def resized(tensor: torch.Tensor) -> torch.Tensor:
            dimensions = next(spatial)
            if not dimensions:
                return tensor
            shape = with_sizes(tensor.shape, dimensions, sizes)
            return torch.full(shape, 0.5, dtype=tensor.dtype, device=tensor.device)

        return self.example.map(resized)


def _require_room(input_shape: Any, memory: int) -> None:
    """Refuse inputs that alone take more than a pass may, before they are made."""
    nowhere = nn.Linear(1, 1, device="meta")
    taken = sum(one.nbytes for one in example_of(input_shape, nowhere).tensors if one.is_meta)
    if taken > memory:
        raise InvalidResolutionError(
            f"input_shape is {input_shape!r}, which takes {taken:,} bytes; a pass may take "
            f"{memory:,} at most. Pass a smaller shape, as (1, 3, 224, 224): receptive fields do "
            "not depend on it, and the experiment takes longer images by itself where it has to."
        )


def _is_repeated(tap: Tap) -> bool:
    """Whether positions are said to be in a dimension that is broadcast to where they are."""
    sizes = (math.prod(piece.size for piece in dimension) for dimension in tap.layout)
    return any(size > 1 == held for size, held in zip(sizes, tap.tensor.shape, strict=False))


class TorchSetting:
    """A PyTorch model on an image of one size, ready for poison along one axis."""

    def __init__(self, bench: TorchBench, axis: int, sizes: tuple[int, ...]) -> None:
        self.bench = bench
        self.axis = axis
        self.sizes = sizes
        self.example = bench.example_with(sizes)
        self.record = bench.recorded(self.example)
        digraph = Digraph(
            bench.twin,
            self.record,
            global_ops=bench.global_ops,
            spatial=bench.spatial,
            **bench.graph_options,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of unknown operations, at every size
            self.graph = digraph.to_graph()
        trail = digraph.trail
        assert trail is not None  # noqa: S101 - a graph was made
        self.gates = frozenset(trail.results[gate.product].number for gate in digraph.gates)
        weights = {
            trail.results[step].number
            for gate in digraph.gates
            for step in gate.steps - {gate.product}
            if bench.global_ops == "ignore_gates"
        }
        self.gated = {
            node.name for node, (tensor, _) in digraph.results.items() if tensor.number in weights
        }
        # The graph may speak of another shape, as ``unfold`` does: take the one that there is.
        real = {one.number: one for made in self.record.operations for one in made.outputs}
        self.taps = {
            node.name: Tap(node, real.get(tensor.number, tensor), layout)
            for node, (tensor, layout) in digraph.results.items()
        }
        empty = next((name for name, tap in self.taps.items() if 0 in tap.tensor.shape), None)
        if empty is not None:
            raise CaptureError(f"the map of {empty!r} is empty for an image of {sizes} pixels")
        self.nodes = {name: tap.node for name, tap in self.taps.items()}
        self.output_shapes = {name: tap.tensor.shape for name, tap in self.taps.items()}
        self.spots = {
            name: spot_of(tap.tensor.shape, tap.layout, axis) for name, tap in self.taps.items()
        }
        self.units = {name: spot.units for name, spot in self.spots.items()}
        looking = {tap.tensor.number for tap in self.taps.values() if looks(tap.node)}
        lists = listed(self.record, looking)
        self.unplaced = {
            name
            for name, spot in self.spots.items()
            if not spot.kept and self.taps[name].tensor.number not in lists
        }
        self.blind: dict[str, str] = {
            name: "it is repeated where it meets a larger map, and no tensor holds it"
            for name, tap in self.taps.items()
            if _is_repeated(tap)
        }
        self.twice = {name for name, tap in self.taps.items() if has_twice(tap.layout, axis)}
        hidden = behind_hidden_poison(self.record)
        self.doubtful = {
            name: f"'{hidden[tap.tensor.number]}' may have hidden NaN from it"
            for name, tap in self.taps.items()
            if tap.tensor.number in hidden
        }
        self.bytes = 4 * _most_at_once(self.record)
        self._find_weighed()
        self._batch: int | None = None

    @property
    def length(self) -> int:
        """Pixels of the image along the axis."""
        return self.sizes[self.axis]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) input."""
        return tuple(self.example.tensors[0].shape)

    def runs(self) -> bool:
        """Run without poison, if there is the memory; return whether there is."""
        if self.bytes > self.bench.memory:
            return False
        self.masks([(0, 0)])
        self._find_weighed()
        return True

    def _find_weighed(self) -> None:
        """Find the layers whose differences are looked at, as NaN would tell too much of them."""
        behind = set(self.bench.weighing)
        for operation in self.record.operations:
            weight = operation.arguments.get("weight")
            if isinstance(weight, TensorRef) and weight.numbers is not None:
                behind.update(one.number for one in operation.outputs)
            if any(one.number in behind for one in tensors_in(operation.arguments)):
                behind.update(one.number for one in operation.outputs)
        self.weighed = {name for name, tap in self.taps.items() if tap.tensor.number in behind}
        self._changed: Changed | None = None
        for name in self.weighed & self.twice:
            self.blind[name] = WEIGHTLESS_PAIRS
        self.weighed -= self.twice
        if not self.weighed:
            return
        wanted = {self.taps[name].tensor.number for name in self.weighed}
        dimensions = [
            one[self.axis] if self.axis < len(one) else None for one in self.bench.spatial
        ]
        try:
            self._changed = Changed(
                self.bench.random,
                self.example,
                dimensions,
                wanted,
                self.gates,
                self.bench.global_ops,
            )
        except _RAISED as error:
            reason = f"some weights are zero, which NaN does not show; with other numbers: {error}"
            self.blind.update(dict.fromkeys(self.weighed, reason))
            self.weighed = set()
        for name in self.weighed:
            self.doubtful.pop(name, None)  # that something hides NaN is of no interest any more

    @torch.inference_mode(False)
    def masks(self, intervals: Sequence[Interval], numbers: bool = False) -> list[dict[str, Mask]]:
        """Poison each of the intervals of rows in turn; return which units are NaN, per layer.

        With ``numbers``, unplaced layers have an entry for each of their numbers.
        """
        found: list[dict[str, Mask]] = []
        batch = self._batch_size() if len(intervals) > 1 else 1
        spots = {**self.spots, **dict.fromkeys(self.unplaced, EVERY_NUMBER)}
        for place in range(0, len(intervals), batch):
            some = intervals[place : place + batch]
            found.extend(self._run(some, spots if numbers else self.spots))
        if self._changed is not None:
            for masks, (start, stop) in zip(found, intervals, strict=True):
                changed = self._changed.within(start, stop)
                for name in self.weighed:
                    spot = spots[name] if numbers else self.spots[name]
                    masks[name] = _read(spot, changed[self.taps[name].tensor.number], 1)[0]
        return found

    def _batch_size(self) -> int:
        """Return how many images may run together: none may see another one's poison."""
        if self._batch is None:
            self._batch = 1
            # More than what stays near the processor takes longer together than one by one.
            made = 4 * sum(
                math.prod(one.shape) for every in self.record.operations for one in every.outputs
            )
            most = min(16, self.bench.memory // 4 // max(1, made))
            if most > 1 and all(tensor.shape[0] == 1 for tensor in self.record.inputs):
                with contextlib.suppress(*_RAISED):
                    several = self.bench.recorded(self._repeated(2))
                    if _scales(self.record, several, self._read_by_image()):
                        self._batch = int(most)
        return self._batch

    def _read_by_image(self) -> set[int]:
        """Return the tensors of which it must be known which part is of which image."""
        read = {tap.tensor.number for tap in self.taps.values()}
        for operation in self.record.operations:
            if any(one.number in self.gates for one in operation.outputs):
                read.update(one.number for one in tensors_in(operation.arguments))
        return read

    def _repeated(self, count: int) -> Example:
        return self.example.map(lambda one: one.repeat(count, *(1,) * (one.dim() - 1)))

    def _run(
        self, intervals: Sequence[Interval], spots: Mapping[str, Spot]
    ) -> list[dict[str, Mask]]:
        inputs = (
            self._repeated(len(intervals)) if len(intervals) > 1 else self.example.map(torch.clone)
        )
        for tensor, dimensions in zip(inputs.tensors, self.bench.spatial, strict=True):
            dimension = dimensions[self.axis] if self.axis < len(dimensions) else None
            if dimension is not None:
                for image, (start, stop) in zip(tensor, intervals, strict=len(intervals) > 1):
                    rows = image.narrow(dimension - 1, start, stop - start)
                    rows.fill_(math.nan)
        twin = unused(self.bench.twin)
        wanted: dict[int, list[Spot]] = {}
        for name, tap in self.taps.items():
            wanted.setdefault(tap.tensor.number, []).append(spots[name])
        observer = _Observer(self.bench, twin, wanted, len(intervals), self.gates)
        if self.record.stopped:
            observer.limit = len(self.record.operations)
        with plain_kernels():
            record = observer.record(inputs)
        _require_same(self.record, record)
        self.bench.weighing |= observer.weighing
        del record, inputs
        # Copies, as what stays for long must not lie between the tensors, whose memory would be
        # lost to the next pass: after hundreds of passes that is gigabytes.
        return [
            {
                name: observer.masks[tap.tensor.number][spots[name]][image].copy()
                for name, tap in self.taps.items()
            }
            for image in range(len(intervals))
        ]


_ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}


def _most_at_once(record: Record) -> int:
    """Return how many numbers a pass holds at once, if every tensor goes after its last use."""
    last = {one.number: len(record.operations) for one in record.outputs}
    for place, operation in reversed(list(enumerate(record.operations))):
        for one in tensors_in(operation.arguments):
            last.setdefault(one.number, place)
    held = most = sum(math.prod(one.shape) for one in record.inputs)
    for place, operation in enumerate(record.operations):
        held += sum(math.prod(one.shape) for one in operation.outputs)
        most = max(most, held + _aside(operation))
        gone = {one.number: one for one in (*operation.outputs, *tensors_in(operation.arguments))}
        held -= sum(
            math.prod(one.shape)
            for one in gone.values()
            if one.number >= 0 and last.get(one.number, place) == place
        )
    return most


def _aside(operation: Operation) -> int:
    """Return how many numbers attention makes that nobody else sees."""
    if operation.name not in _ATTENTION:
        return 0
    query: tuple[int, ...] = operation.arguments["query"].shape
    key: tuple[int, ...] = operation.arguments["key"].shape
    return 8 * math.prod(query) * math.prod(key) // max(1, query[-1] * key[-1])


# --- running -----------------------------------------------------------------------------------


def _read(spot: Spot, tensor: torch.Tensor, batch: int) -> Mask:
    """Return which units are NaN, per image: of any channel, wherever on the other axes."""
    for dimension, start, size in spot.parts:
        tensor = tensor.narrow(dimension, start, size)
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor).sum(-1)
    if spot is EVERY_NUMBER:
        tensor = narrowed(tensor, [one for one in wide_dimensions(tensor) if one])
        numbers: Mask = tensor.isnan().reshape(batch, -1).cpu().numpy()
        return numbers
    split = tensor.reshape(batch, *spot.shape)
    rest = [one + 1 for one in range(len(spot.shape)) if one not in spot.kept]
    for one in rest:
        if one in wide_dimensions(split):  # the same at all of its indices
            split = split.narrow(one, 0, 1)
    if rest:
        split = split.amax(rest)
    remaining = sorted(spot.kept)
    order = [remaining.index(one) + 1 for one in spot.kept]
    flags = split.isnan().permute(0, *order).reshape(batch, -1)
    result: Mask = flags.cpu().numpy().astype(np.bool_)
    return result


_NEW = {f"new_{kind}" for kind in ("empty", "full", "ones", "zeros", "tensor")}
"""Operators that take nothing but a type from a tensor."""
_TYPED = {"to", "type_as"}
"""Operators that take a type from their argument ``other``."""


def _independent(record: Record) -> set[int]:
    """Return the tensors that take a type from an image at most, and no numbers."""
    images = {one.number for one in record.inputs}
    for operation in record.operations:
        given = {
            key: value
            for key, value in operation.arguments.items()
            if operation.name not in _NEW and not (operation.name in _TYPED and key == "other")
        }
        if any(one.number in images for one in tensors_in(given)):
            images.update(one.number for one in operation.outputs)
    return {one.number for made in record.operations for one in made.outputs} - images


def _scales(one: Record, two: Record, read: Collection[int]) -> bool:
    """Whether a batch of two does the same as one image, with two of everything.

    Images must lie one behind the other in the tensors that are read, and anywhere in the others.
    """
    if [single.name for single in one.operations] != [double.name for double in two.operations]:
        return False
    free = _independent(one) - set(read)
    made = [(op, tensor) for op in one.operations for tensor in op.outputs]
    joins = (op for op, tensor in made if tensor.number not in free)
    if any(op.name in ("cat", "vstack") and not op.get("dim", 0) for op in joins):
        return False
    doubled = (tensor for op in two.operations for tensor in op.outputs)
    return all(
        _is_doubled(a.shape, b.shape, first_only=a.number in read)
        for (_, a), b in zip(made, doubled, strict=True)
        if a.shape != b.shape or a.number not in free
    )


def _is_doubled(one: Sequence[int], two: Sequence[int], first_only: bool) -> bool:
    """Whether a shape is another one with one dimension twice as large.

    >>> _is_doubled((3, 4, 5), (3, 8, 5), False), _is_doubled((3, 4, 5), (3, 8, 5), True)
    (True, False)
    """
    if len(one) != len(two):
        return False
    grown = [place for place, pair in enumerate(zip(one, two, strict=True)) if pair[0] != pair[1]]
    return (
        len(grown) == 1 and two[grown[0]] == 2 * one[grown[0]] and not (first_only and grown[0] > 0)
    )


def _require_same(expected: Record, found: Record) -> None:
    """Make sure that real tensors took the way of the record."""
    names = [operation.name for operation in expected.operations]
    ran = [operation.name for operation in found.operations]
    if names != ran:
        at = next(
            (
                place
                for place, pair in enumerate(zip(names, ran, strict=False))
                if pair[0] != pair[1]
            ),
            min(len(names), len(ran)),
        )
        raise CaptureError(
            f"With real tensors the model does not do what its graph says: operation {at} is "
            f"{ran[at] if at < len(ran) else 'missing'!r}, and "
            f"{names[at] if at < len(names) else 'nothing'!r} in the graph"
        )


class _Observer(PoisonedCalls, Forgetful):
    """Records what a model does with real tensors, and which units are NaN on the way."""

    def __init__(
        self,
        bench: TorchBench,
        twin: nn.Module,
        wanted: Mapping[int, Sequence[Spot]],
        batch: int,
        gates: Collection[int],
    ) -> None:
        super().__init__(twin)
        self.gates = gates
        self.global_ops = bench.global_ops
        self.shortcuts = bench.shortcuts
        self.wanted = wanted
        self.batch = batch
        self.tried = bench.tried
        self.weighing: set[int] = set()
        self.masks: dict[int, dict[Spot, Mask]] = {}

    def call(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Call a function on poison; the first time, see whether it gives weights of zero."""
        if not self.tried:
            tensors = list(tensors_of((*args, *keywords.values())))
            known = [self.knows(one) for one in tensors]  # the others are the same for all images
            constants = [
                one
                for one, seen in zip(tensors, known, strict=True)
                if not seen and not (isinstance(one, nn.Parameter) and one.requires_grad)
            ]
            if any(known) and holds_zeros(name, args, keywords, constants):
                self.weighing.add(self.next_number)
        return super().call(name, function, args, keywords)

    def makes_gate(self) -> bool:
        """Return whether the function that is called now makes the product of a gate."""
        return self.next_number in self.gates

    def register(self, tensor: torch.Tensor) -> TensorRef:
        """Give a tensor its number, and look at it if it is one of those to observe."""
        reference = super().register(tensor)
        for spot in self.wanted.get(reference.number, ()):
            self.masks.setdefault(reference.number, {})[spot] = _read(spot, tensor, self.batch)
        return reference
