"""What a person reads first: how many blocks cannot help, which resolutions are good, what to do.

Headlines of pages, summaries in a terminal, comparisons and the exit code all come from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.advice import Cut, cut_of
from rfa_toolbox.analysis.blocks import Block, blocks
from rfa_toolbox.analysis.costs import TotalCosts, compute_at, short_number, sum_of_costs
from rfa_toolbox.analysis.states import axes_of, resized_to, resolution_of
from rfa_toolbox.analysis.words import (
    InputTerms,
    axis_names,
    counted_in_words,
    one_line,
    resolution_text,
    several,
    terms_of,
)
from rfa_toolbox.arithmetic import LayerState, Size
from rfa_toolbox.domain import Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.views import bundle

__all__ = ["Summary", "summarize"]

T = TypeVar("T")

_MOST_NAMES = 3
_LOOKING = ("layer", "joint", "input")


@attrs.frozen
class Summary:
    """A network at an input resolution, in the words of the people who build it.

    Everything counts blocks of the feature extractor (``Block.counted``).

    Attributes:
        input_resolution: in pixels (samples of a signal), one number per axis (one in all where
            every field is a scalar); of a model that resizes every image, the size that it gives
            to them.
        blocks: all blocks of the graph.
        states: the state of each of them.
        works: their multiply-accumulates at this resolution, None where unknown.
        good_from: smallest good resolution in pixels, per axis: every counted block can help,
            and its smallest field fits into the image.
        nothing_wasted_from: from here on no counted block is unproductive, per axis in pixels;
            never more than ``good_from``.
        good_to: largest good resolution in pixels, per axis: beyond, no unit sees the whole
            image. Infinite where some unit sees everything at any size.
        unknown: layers that nothing knows and that were counted as neutral.
        compute_is_estimated: whether ``works`` are estimates.
        resizes: whether the model resizes every image to ``input_resolution``, and is judged there
            whatever images it gets.
        cut: behind which block the network can end, and what that saves; None if it cannot.
    """

    input_resolution: tuple[int, ...]
    blocks: tuple[Block, ...] = attrs.field(repr=False)
    states: tuple[LayerState, ...] = attrs.field(repr=False)
    works: tuple[int | None, ...] = attrs.field(repr=False)
    good_from: tuple[Size, ...]
    nothing_wasted_from: tuple[Size, ...]
    good_to: tuple[Size, ...]
    unknown: tuple[EnrichedNetworkNode, ...] = attrs.field(repr=False)
    compute_is_estimated: bool
    filter_kernel_size_1: bool
    resizes: bool
    cut: Cut | None = attrs.field(repr=False)

    @property
    def _terms(self) -> InputTerms:
        return terms_of(axes_of(block.main for block in self.blocks))

    @property
    def counted(self) -> tuple[Block, ...]:
        """The blocks of the feature extractor."""
        return tuple(block for block in self.blocks if block.counted)

    def blocks_in(self, *states: LayerState) -> tuple[Block, ...]:
        """Return the counted blocks that are in one of several states.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> [block.name for block in summarize(resnet18(), 32).blocks_in("unproductive")][0]
        'Stage2-Block0-Conv1'
        """
        return tuple(
            block
            for block, state in zip(self.blocks, self.states, strict=True)
            if block.counted and state in states
        )

    def costs_of(self, *states: LayerState) -> TotalCosts:
        """Return what the counted blocks in some states cost; of all blocks without any state."""
        asked = self.blocks_in(*states) if states else self.blocks
        known = sum_of_costs(
            TotalCosts(block.parameters, self.works[block.index]) for block in asked
        )
        nodes = (node for block in asked for node in block.nodes)
        unknown = sum(None in (node.parameters, node.multiply_accumulates) for node in nodes)
        return attrs.evolve(known, unknown=unknown)

    @property
    def headline(self) -> str:
        """The finding in one or two sentences; layers that nothing knows come first.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> print(summarize(resnet18(), 32).headline)
        7 of 20 convolutions cannot help at 32 px, from Stage2-Block0-Conv1 on.
        """
        parts = (self.warning, self.resizing, self._finding(), self._per_axis())
        return " ".join(filter(None, parts))

    @property
    def warning(self) -> str:
        """What is not known of the network; empty where everything is."""
        return " ".join(filter(None, (self._part(), self._unknown())))

    def _part(self) -> str:
        nodes = (node for block in self.blocks for node in block.nodes)
        stopped = next((node.measures.stopped for node in nodes if node.measures.stopped), "")
        if not stopped:
            return ""
        if stopped.startswith("behind "):
            return f"This is a part of the model: it ends {stopped}."
        return f"This is a part of the model, which could not be followed further: {stopped}."

    def _unknown(self) -> str:
        if not self.unknown:
            return ""
        names = list(dict.fromkeys(one_line(node.layer_info.name) for node in self.unknown))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        verb = "is" if len(self.unknown) == 1 else "are"
        return (
            f"{several(len(self.unknown), 'layer')} {verb} unknown "
            f"({', '.join(names[:_MOST_NAMES])}{more}): what lies behind may see more than said "
            "here."
        )

    @property
    def resizing(self) -> str:
        """Where the model is judged if it resizes every image, in one sentence; else empty."""
        if not self.resizes:
            return ""
        terms = self._terms
        size = terms.sized(resolution_text(self.input_resolution))
        return f"The model resizes every {terms.whole} to {size}, and is judged there."

    def _finding(self) -> str:
        terms = self._terms
        at = f"at {terms.sized(resolution_text(self.input_resolution))}"
        counted, wasted = self.counted, self.blocks_in("unproductive")
        limited = self.blocks_in("critical", "partially critical")
        if not counted:
            return f"No layer of the network looks at a part of the {terms.whole} only."
        if wasted:
            start = "" if len(wasted) == len(counted) else _where(wasted)
            some = "The only layer" if len(counted) == 1 else counted_in_words(wasted, counted)
            return f"{some} cannot help {at}{start}."
        if limited:
            return (
                f"Every layer can help {at}, though {counted_in_words(limited, counted)} "
                f"see{'s' if len(limited) == 1 else ''} beyond the {terms.whole}{_where(limited)}."
            )
        whole = {1: "The only layer", 2: "Both layers"}.get(
            len(counted), f"All {several(len(counted), 'layer')}"
        )
        return f"{whole} can help {at}.{self._lost()}"

    def _lost(self) -> str:
        return f" No unit sees the whole {self._terms.whole}." if self._is_beyond() else ""

    def _is_beyond(self) -> bool:
        pairs = zip(self.input_resolution, self.good_to, strict=True)
        return any(size > most for size, most in pairs)

    def _per_axis(self) -> str:
        """Return what is wrong along each axis of an image that is not square."""
        if len(set(self.input_resolution)) < 2:
            return ""
        parts = []
        for axis, name in enumerate(axis_names(len(self.input_resolution))):
            pixels = self.input_resolution[axis]
            wasted = len(self.wasted_along(axis))
            finding = (
                f"{wasted:,} of {len(self.counted):,} layers see nothing new"
                if wasted
                else "every layer sees something new"
            )
            size = self._terms.sized(f"{pixels:,}")
            parts.append(f"along the {name} ({size}) {finding}")
        text = "; ".join(parts)
        return f"{text[:1].upper()}{text[1:]}."

    def wasted_along(self, axis: int) -> tuple[Block, ...]:
        """Return the counted blocks that see nothing new along one axis.

        On an image that is not square a layer can be of use along one axis alone.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> found = summarize(resnet18(), (32, 300))
        >>> len(found.wasted_along(0)), len(found.wasted_along(1))
        (7, 0)
        """
        pixels = self.input_resolution[axis]
        return tuple(
            block
            for block in self.counted
            if pixels <= _waste_limit(block, axis, self.filter_kernel_size_1)
        )

    @property
    def good(self) -> str:
        """The good resolutions in one sentence.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> summarize(resnet18(), 32).good
        'Good from 139 to 435 px.'
        """
        low, high = resolution_text(self.good_from), resolution_text(self.good_to)
        sized = self._terms.sized
        if math.inf in self.good_to:
            return f"Good from {sized(low)} on."
        return f"Good at {sized(low)}." if low == high else f"Good from {low} to {sized(high)}."

    @property
    def good_reason(self) -> str:
        """What decides about the good resolutions, each criterion once.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> print(summarize(vgg16(), 32).good_reason)
        From 197 px on every layer can help; from 212 px on none sees beyond the image; above \
212 px no unit sees the whole image.
        """
        low, useful = resolution_text(self.good_from), resolution_text(self.nothing_wasted_from)
        sized, whole = self._terms.sized, self._terms.whole
        begin = f"From {sized(useful)} on every layer can help"
        if low != useful:
            begin += f"; from {sized(low)} on none sees beyond the {whole}"
        if math.inf in self.good_to:
            return f"{begin}; some units see the whole {whole} at any size."
        end = resolution_text(self.good_to)
        return f"{begin}; above {sized(end)} no unit sees the whole {whole}."

    @property
    def counts(self) -> str:
        """How many counted blocks are in each state that occurs.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> print(summarize(resnet18(), 32).counts)
        21 layers: 7 unproductive, 2 critical, 12 productive; 2 more see everything by design.
        """
        states: tuple[LayerState, ...] = ("unproductive", "critical", "partially critical")
        shown = [
            f"{len(self.blocks_in(state)):,} {state}"
            for state in (*states, "productive")
            if self.blocks_in(state)
        ]
        design = sum(block.kind == "global" for block in self.blocks)
        more = f"{design:,} more see{'s' if design == 1 else ''} everything by design"
        found = ": ".join(filter(None, (several(len(self.counted), "layer"), ", ".join(shown))))
        return f"{found}{f'; {more}' if design else ''}."

    @property
    def shares(self) -> str:
        """Which share of the costs lies in unproductive blocks; empty where none is known."""
        total, wasted = self.costs_of(), self.costs_of("unproductive")
        about = "about " if self.compute_is_estimated else ""
        least = "at least " if total.unknown else ""
        shown = [
            f"{(part or 0) / whole:.1%} of {least}{before}{short_number(whole)} {what}"
            for whole, part, before, what in (
                (total.parameters, wasted.parameters, "", "parameters"),
                (
                    total.multiply_accumulates,
                    wasted.multiply_accumulates,
                    about,
                    "multiply-accumulates",
                ),
            )
            if whole
        ]
        return f"Unproductive layers have {' and '.join(shown)}." if shown else ""

    @property
    def options(self) -> tuple[str, ...]:
        """What can be done about it, each option a sentence; empty if nothing need be done."""
        if not self.counted:
            return ()
        whole = self._terms.whole
        enough = resolution_text(tuple(map(max, self.good_from, self.input_resolution)))
        use = f"Let the model resize {whole}s to" if self.resizes else f"Use {whole}s of"
        larger = f"{use} {self._terms.sized(enough)}"
        if self.blocks_in("unproductive"):
            found = [] if self.cut is None else [self.cut.text]
            return (
                *found,
                "Let the field grow more slowly: smaller strides or kernels early on.",
                f"{larger} or more.",
            )
        if self.blocks_in("critical", "partially critical"):
            return (f"{larger}: there every layer is used fully.",)
        if self._is_beyond():
            return (f"Where the task needs the whole {whole}, let the field grow faster.",)
        return ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(self, str(self))

    def __str__(self) -> str:
        r"""Return what a terminal shows: headline, counts, good resolutions and costs.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> print(summarize(resnet18(), 32))
        7 of 20 convolutions cannot help at 32 px, from Stage2-Block0-Conv1 on.
        21 layers: 7 unproductive, 2 critical, 12 productive; 2 more see everything by design.
        Good from 139 to 435 px. From 128 px on every layer can help; ...
        """
        good = f"{self.good} {self.good_reason}" if self.counted else ""
        return "\n".join(filter(None, (self.headline, self.counts, good, self.shares)))

    @property
    def advice(self) -> str:
        """The options as one text for a terminal.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> summarize(vgg16(), 212).advice
        'Nothing to do at this resolution.'
        """
        if not self.counted:
            return (
                f"Nothing to judge: only layers that look at a part of the {self._terms.whole} are "
                "judged, and there is none."
            )
        return " Or: ".join(self.options) or f"Nothing to do at this {self._terms.size}."


def summarize(
    graph: EnrichedNetworkNode, input_res: Resolution, filter_kernel_size_1: bool = False
) -> Summary:
    """Return what there is to say about a network at an input resolution, counted in blocks.

    Args:
        graph: any node of the graph.
        input_res: resolution in pixels, one number or one per axis (height, width).
        filter_kernel_size_1: never call a 1x1 layer unproductive for its receptive field.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> found = summarize(resnet18(), 32)
    >>> len(found.blocks_in("unproductive")), len(found.counted), found.good_from
    (7, 21, (139,))
    """
    nodes = require_node(graph).all_layers
    asked, resized = resolution_of(nodes, input_res), resized_to(nodes)
    resolution = resized or asked
    found = blocks(graph)
    counted = [block for block in found if block.counted]
    work = compute_at(graph, input_res)
    states = tuple(block.state(input_res, filter_kernel_size_1) for block in found)
    works = tuple(_sum(work[node] for node in block.nodes) for block in found)
    useful, good_from, good_to = [], [], []
    for axis in range(len(resolution)):
        useful.append(
            1 + _most(_waste_limit(block, axis, filter_kernel_size_1) for block in counted)
        )
        good_from.append(max(useful[axis], _most(_smallest(block, axis) for block in counted)))
        largest = (_largest(block, axis) for block in found if block.kind in _LOOKING)
        good_to.append(max(good_from[axis], *largest, 1))
    return Summary(
        resolution,
        found,
        states,
        works,
        tuple(good_from),
        tuple(useful),
        tuple(good_to),
        tuple(node for node in nodes if _is_unknown(node)),
        any(
            node.multiply_accumulates is not None and node.encoded_resolution != asked
            for node in nodes
        ),
        filter_kernel_size_1,
        resized is not None,
        cut_of(found, states, works),
    )


def _where(some: Sequence[Block]) -> str:
    """Return where blocks are, to stand behind a statement on them."""
    name = one_line(some[0].name)
    return f": {name}" if len(some) == 1 else f", from {name} on"


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _most(sizes: Iterable[Size]) -> Size:
    return max((size for size in sizes if size != math.inf), default=0)


def _at(values: Sequence[T], axis: int) -> T:
    """Return the value of an axis; a graph of scalars has one for all of them."""
    return values[axis if len(values) > 1 else 0]


def _smallest(block: Block, axis: int) -> Size:
    return arithmetic.smallest_field(_at(block.main.lasting_paths, axis))


def _largest(block: Block, axis: int) -> Size:
    return max(arithmetic.largest_field(_at(node.lasting_paths, axis)) for node in block.nodes)


def _waste_limit(block: Block, axis: int, filter_kernel_size_1: bool) -> Size:
    """Return up to how many pixels on an axis a block sees nothing new along it."""
    limits = block.main.unproductive_limits(filter_kernel_size_1)
    return max(_at(limit, axis) for limit in limits)


def _is_unknown(node: EnrichedNetworkNode) -> bool:
    """Whether nothing knows the layer itself, not only one in front of it."""
    return node.certainty == "unknown" and all(
        before.certainty_reason != node.certainty_reason for before in node.predecessors
    )
