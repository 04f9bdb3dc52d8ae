"""What a person reads first: how many blocks cannot help, which resolutions are good, what to do.

Headlines of pages, summaries in a terminal, comparisons and the exit code all come from here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.advice import Cut, cut_of
from rfa_toolbox.analysis.blocks import Block, blocks
from rfa_toolbox.analysis.costs import TotalCosts, compute_at, sum_of_costs
from rfa_toolbox.arithmetic import LayerState, Size
from rfa_toolbox.domain import Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node

__all__ = ["Summary", "resolution_text", "summarize"]

_KINDS = (
    ("convolution", re.compile(r"conv")),
    ("pooling", re.compile(r"pool")),
    ("dense layer", re.compile(r"linear|dense|gemm")),
    ("attention layer", re.compile(r"attention|attn")),
)
T = TypeVar("T")

_OTHER = "other layer"
_MOST_KINDS = 2
_MOST_NAMES = 3


@attrs.frozen
class Summary:
    """A network at an input resolution, in the words of the people who build it.

    Everything counts blocks of the feature extractor (``Block.counted``).

    Attributes:
        input_resolution: in pixels, one number per axis (one in all where every field is a
            scalar).
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
    cut: Cut | None = attrs.field(repr=False)

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
        return sum_of_costs(
            TotalCosts(block.parameters, self.works[block.index]) for block in asked
        )

    @property
    def headline(self) -> str:
        """The finding in one or two sentences; layers that nothing knows come first.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> print(summarize(resnet18(), 32).headline)
        7 of 20 convolutions cannot help at 32 px, from Stage2-Block0-Conv1 on.
        """
        return " ".join(filter(None, (self._unknown(), self._finding(), self._per_axis())))

    def _unknown(self) -> str:
        if not self.unknown:
            return ""
        names = list(dict.fromkeys(node.layer_info.name for node in self.unknown))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        several = len(self.unknown) > 1
        return (
            f"{len(self.unknown)} layer{'s are' if several else ' is'} unknown "
            f"({', '.join(names[:_MOST_NAMES])}{more}): what lies behind may see more than said "
            "here."
        )

    def _finding(self) -> str:
        at = f"at {resolution_text(self.input_resolution)} px"
        counted, wasted = self.counted, self.blocks_in("unproductive")
        limited = self.blocks_in("critical", "partially critical")
        if not counted:
            return "No layer of the network looks at a part of the image only."
        if wasted:
            start = "" if len(wasted) == len(counted) else f", from {wasted[0].name} on"
            return f"{counted_in_words(wasted, counted)} cannot help {at}{start}."
        if limited:
            return (
                f"Every layer can help {at}, though {counted_in_words(limited, counted)} "
                f"see{'s' if len(limited) == 1 else ''} beyond the image, from "
                f"{limited[0].name} on."
            )
        return f"{_all_of(counted)} can help {at}.{self._lost()}"

    def _lost(self) -> str:
        if not self._is_beyond():
            return ""
        return (
            f" No unit sees more than {resolution_text(self.good_to)} px, so none sees the whole "
            "image."
        )

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
                f"{wasted} of {len(self.counted)} layers see nothing new"
                if wasted
                else "every layer sees something new"
            )
            parts.append(f"along the {name} ({pixels} px) {finding}")
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
        if math.inf in self.good_to:
            return f"Good from {low} px on."
        return f"Good at {low} px." if low == high else f"Good from {low} to {high} px."

    @property
    def good_reason(self) -> str:
        """What decides about the good resolutions, each criterion once.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> print(summarize(vgg16(), 32).good_reason)
        From 197 px on every layer can help, from 212 px on its field fits into the image; on \
images above 212 px no unit sees the whole image.
        """
        low, useful = resolution_text(self.good_from), resolution_text(self.nothing_wasted_from)
        begin = f"From {useful} px on every layer can help"
        if low != useful:
            begin += f", from {low} px on its field fits into the image"
        if math.inf in self.good_to:
            return f"{begin}; some units see the whole image at any size."
        end = resolution_text(self.good_to)
        return f"{begin}; on images above {end} px no unit sees the whole image."

    @property
    def options(self) -> tuple[str, ...]:
        """What can be done about it, each option a sentence; empty if nothing need be done."""
        enough = resolution_text(tuple(map(max, self.good_from, self.input_resolution)))
        if self.blocks_in("unproductive"):
            found = [] if self.cut is None else [self.cut.text]
            return (
                *found,
                "Let the field grow more slowly: smaller strides or kernels early on.",
                f"Use images of {enough} px or more.",
            )
        if self.blocks_in("critical", "partially critical"):
            return (f"Images of {enough} px use every layer fully.",)
        if self._is_beyond():
            return ("Where the task needs the whole image, let the field grow faster.",)
        return ()

    @property
    def advice(self) -> str:
        """The options as one text for a terminal.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> summarize(vgg16(), 224).advice
        'Nothing to do at this resolution.'
        """
        return " Or: ".join(self.options) or "Nothing to do at this resolution."


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
    axes = max((node.axes or 0 for node in nodes), default=0) or None
    resolution = arithmetic.normalise_resolution(input_res, axes)
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
        largest = (_largest(block, axis) for block in found if block.kind != "global")
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
            node.multiply_accumulates is not None and node.encoded_resolution != resolution
            for node in nodes
        ),
        filter_kernel_size_1,
        cut_of(found, states, works),
    )


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


# --- words -----------------------------------------------------------------------------------


def resolution_text(sizes: Sequence[Size]) -> str:
    """Return a resolution in short: one number where all axes are alike.

    >>> resolution_text((32, 32)), resolution_text((32, 300)), resolution_text((math.inf,))
    ('32', '32x300', 'any')
    """
    shown = ["any" if size == math.inf else str(size) for size in sizes]
    return shown[0] if len(set(shown)) == 1 else "x".join(shown)


def counted_in_words(some: Sequence[Block], of: Sequence[Block]) -> str:
    """Return how many of some blocks there are, by kind while that is short.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> found = summarize(vgg16(), 32)
    >>> counted_in_words(found.blocks_in("unproductive"), found.counted)
    '8 of 13 convolutions and 2 of 5 poolings'
    """
    parts, whole = (Counter(map(_kind, several)) for several in (some, of))
    if len(parts) > _MOST_KINDS or _OTHER in parts:
        return f"{len(some)} of {_several(len(of), 'layer')}"
    return " and ".join(
        f"{count} of {_several(whole[kind], kind)}" for kind, count in parts.items()
    )


def _kind(block: Block) -> str:
    name = block.type.lower()
    return next((kind for kind, words in _KINDS if words.search(name)), _OTHER)


def _several(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _all_of(counted: Sequence[Block]) -> str:
    return "The only layer" if len(counted) == 1 else f"All {_several(len(counted), 'layer')}"


def axis_names(count: int) -> tuple[str, ...]:
    """Return what people call the axes of an input.

    >>> axis_names(2), axis_names(1)
    (('height', 'width'), ('length',))
    """
    named = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
    return named.get(count) or tuple(f"axis {axis}" for axis in range(count))
