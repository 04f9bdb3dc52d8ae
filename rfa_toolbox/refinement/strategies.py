"""Ideas for other architectures: each strategy yields edits to try, in a fixed order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.blocks import blocks_of_nodes
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.editing import Editable
from rfa_toolbox.refinement.edits import (
    CutBehind,
    Edit,
    InsertPooling,
    Rebuild,
    RemovePooling,
    Repeat,
    SetWindow,
)
from rfa_toolbox.refinement.nodes import (
    channels_of,
    is_in_code,
    is_in_head,
    is_pooling,
    is_strided,
    jump_of,
    places_on_all_paths,
)
from rfa_toolbox.refinement.repeats import RepeatedBlock, repeatable_blocks
from rfa_toolbox.refinement.steps import (
    DownsamplingStep,
    downsampling_steps,
    without,
)

__all__ = ["STRATEGIES", "Network", "Strategy"]

Edits = tuple[Edit, ...]
_REFINEMENT: Final = "Richter & Pal 2022 (arXiv 2211.14487)"
_SHOULD: Final = "Richter et al. 2021 (arXiv 2106.12307)"
_STEPS_AT_ONCE: Final = 7
"""Steps of which all subsets are tried; more than any network of the usual libraries has."""


@attrs.frozen
class Network:
    """What strategies have to know of a graph."""

    graph: EnrichedNetworkNode
    steps: tuple[DownsamplingStep, ...]
    editable: tuple[DownsamplingStep, ...]
    places: tuple[EnrichedNetworkNode, ...]
    looking: tuple[EnrichedNetworkNode, ...]
    resolution: tuple[int, ...]
    source: Editable
    """The same graph, to be edited many times."""
    without: Mapping[int, Edits]
    """The edits that leave a step out, by its index."""
    rebuilt: Mapping[Rebuild, EnrichedNetworkNode]
    """What the constructor of the model makes of it, with the graphs."""

    @classmethod
    def of(
        cls,
        graph: EnrichedNetworkNode,
        resolution: Sequence[int],
    ) -> Network:
        """Return what there is to know of a graph, and of the images in pixels per axis."""
        steps = downsampling_steps(graph)
        places = tuple(places_on_all_paths(graph))
        looking = tuple(node for node in places if _looks(node))
        editable = tuple(step for step in steps if step.editable)
        left_out = {step.index: without(graph, step) for step in editable}
        source = Editable(graph)
        size = tuple(resolution)
        return cls(graph, steps, editable, places, looking, size, source, left_out, {})

    def dropped(self, steps: Sequence[DownsamplingStep]) -> Edits:
        """Return the edits that leave some steps out."""
        return tuple(itertools.chain.from_iterable(self.without[one.index] for one in steps))


def _looks(node: EnrichedNetworkNode) -> bool:
    """Whether a layer that all paths go through looks at neighbours with weights."""
    layer = node.layer_info
    expands = all(layer.expands(node.axes or 1))
    return expands and not layer.resolution_dependent and not is_pooling(node) and _has_stride(node)


def _has_stride(node: EnrichedNetworkNode) -> bool:
    factors: Sequence[int] = arithmetic.broadcast(node.layer_info.upsampling, node.axes or 1)
    return max(factors) == 1 and not is_in_code(node)


def _subsets(steps: Sequence[DownsamplingStep]) -> Iterator[tuple[DownsamplingStep, ...]]:
    several = steps[-_STEPS_AT_ONCE:]
    for count in range(1, len(several) + 1):
        yield from itertools.combinations(several, count)


def drop(network: Network) -> Iterator[Edits]:
    """Leave out downsampling steps: one, or any several."""
    for steps in _subsets(network.editable):
        yield network.dropped(steps)


def delay(network: Network) -> Iterator[Edits]:
    """Move one downsampling step to a later layer, and leave out any of the others."""
    order = {node.name: at for at, node in enumerate(network.source.nodes)}
    for step in network.editable:
        later = [one for one in network.editable if one.index > step.index]
        start = max(order[name] for name in step.nodes)
        for node in network.looking:
            if order[node.name] <= start or is_strided(node) or _is_output(node):
                continue
            moved = (*network.dropped([step]), *_placed(network, step, node))
            yield moved
            for steps in _subsets(later):
                yield (*moved, *network.dropped(steps))


def even(network: Network) -> Iterator[Edits]:
    """Spread the downsampling evenly: the first after some layers, then after every so many."""
    movable = [one for one in network.editable if _is_alone(network, one)]
    if len(movable) < len(network.steps) or not movable:
        return
    poolings = all(is_pooling(_node(network, one)) for one in movable)
    count = len(network.looking)
    for number in range(len(movable), 0, -1):
        for first in range(1, count + 1):
            for period in range(1, count):
                chosen = range(first, first + period * number, period)
                if chosen[-1] > count or (number == 1 and period > 1):
                    continue
                places = [network.looking[place - 1] for place in chosen]
                if _is_output(places[-1]):
                    continue
                yield _pooled_at(network, places) if poolings else _strided_at(network, places)


def patch(network: Network) -> Iterator[Edits]:
    """Read smaller patches, where the first layer reads patches that do not overlap."""
    first = network.looking[0] if network.looking else None
    layer = first.layer_info if first is not None else None
    if first is None or layer is None or layer.kernel_size != layer.stride_size:
        return
    size = max(arithmetic.broadcast(layer.kernel_size, first.axes or 1))
    for smaller in range(int(size) - 1, 0, -1):
        if int(size) % smaller == 0:
            yield (SetWindow(first.name, stride=smaller, kernel=smaller),)


def stems(network: Network) -> list[Edits]:
    """Return smaller stems: kernel 3, stride 1, without the pooling behind; the original first."""
    first = network.looking[0] if network.looking else None
    if first is None or first.layer_info.kernel_size == first.layer_info.stride_size:
        return [()]
    kernel = max(arithmetic.broadcast(first.layer_info.kernel_size, first.axes or 1))
    windows: list[Edits] = [()]
    if kernel > 3:
        windows.append((SetWindow(first.name, kernel=3),))
    if is_strided(first):
        wanted = SetWindow(first.name, stride=1, kernel=3 if kernel > 3 else None)
        windows.append((wanted,))
    pooling = next((one for one in network.places if is_pooling(one) and is_strided(one)), None)
    second = network.looking[1] if len(network.looking) > 1 else None
    order = network.source.nodes
    if pooling is None or (second is not None and order.index(second) < order.index(pooling)):
        return windows
    return [*windows, *((*one, RemovePooling(pooling.name)) for one in windows)]


def stem(network: Network) -> Iterator[Edits]:
    """Take a smaller stem, and leave out any of the later downsampling steps."""
    for edits in _with_smaller_stems(network, network.editable):
        if any(one in variant for variant in stems(network)[1:] for one in edits):
            yield edits


def _with_smaller_stems(network: Network, steps: Sequence[DownsamplingStep]) -> Iterator[Edits]:
    """Yield every stem without and with any of some steps left out that are behind it."""
    variants = stems(network)
    in_stem = {
        one.node
        for edits in variants
        for one in edits
        if isinstance(one, SetWindow | RemovePooling)
    }
    later = [one for one in steps if not in_stem.intersection(one.nodes)]
    for edits in variants:
        yield edits
        for several in _subsets(later):
            yield (*edits, *network.dropped(several))


def cut(network: Network) -> Iterator[Edits]:
    """End the network behind the last part that can help, with its stem or a smaller one."""
    if not any(is_in_head(node) for node in network.source.nodes):
        return
    ends = [node.name for node in network.places[:-1] if _is_end(node)]
    for edits in stems(network):
        try:
            edited = network.source.nodes_with(edits)
        except RefinementError:
            continue  # the network does not run with this stem
        for name in reversed(_helpful(edited, ends, network.resolution)):
            yield (*edits, CutBehind(name))


def _is_end(node: EnrichedNetworkNode) -> bool:
    return bool(node.predecessors) and _behind(node) is node and not is_pooling(node)


def _helpful(
    nodes: Sequence[EnrichedNetworkNode], ends: Sequence[str], resolution: Sequence[int]
) -> list[str]:
    """Return those of some ends that are behind a part with a layer that can help.

    Layers that look at one unit alone, such as the last one of a bottleneck, belong to the part in
    front of them.
    """
    helping = {
        one.name: one.state(resolution) != "unproductive"
        for one in blocks_of_nodes(nodes)
        if one.counted and any(one.main.layer_info.expands(one.main.axes or 1))
    }
    found: list[str] = []
    part: list[bool] = []
    helped = False
    for node in nodes:
        if node.name in helping:
            part.append(helping[node.name])
        if node.name in ends:
            if helped and not part:
                found[-1] = node.name
            elif any(part):
                found.append(node.name)
            helped = any(part) or (helped and not part)
            part = []
    return found


def spread(network: Network) -> Iterator[Edits]:
    """End the network behind an earlier stage, and let its blocks stand in the others instead.

    They are spread evenly, with the stem or a smaller one, and with or without any of the
    downsampling steps that are left.
    """
    if not any(is_in_head(node) for node in network.source.nodes):
        return
    order = {node.name: at for at, node in enumerate(network.source.nodes)}
    stages = _stages(network)
    for count in range(len(stages) - 1, 0, -1):
        left, freed = stages[:count], sum(map(_blocks_in, stages[count:]))
        end = left[-1][-1].last.name
        inside = [
            step
            for step in network.editable
            if all(order[name] < order[end] for name in step.nodes)
        ]
        repeats = _spread_over(left, freed)
        for windows in _with_smaller_stems(network, inside):
            yield (*windows, *repeats, CutBehind(end))


def _stages(network: Network) -> list[list[RepeatedBlock]]:
    """Return the blocks that can stand there several times, those of one kind together."""
    blocks = repeatable_blocks(network.source.nodes, network.places)
    kinds = itertools.groupby(blocks, lambda one: (jump_of(one.last), channels_of(one.last)))
    return [list(several) for _, several in kinds]


def _blocks_in(stage: Sequence[RepeatedBlock]) -> int:
    """Return how many blocks a stage has: with the first one, which changes the map or channels."""
    return len(stage) + 1


def _spread_over(stages: Sequence[Sequence[RepeatedBlock]], blocks: int) -> Edits:
    """Return the edits that put blocks into some stages, evenly, and the rest into the first."""
    every, rest = divmod(blocks, len(stages))
    more = [every + (at < rest) for at in range(len(stages))]
    return tuple(
        Repeat(stage[-1].name, 1 + count)
        for stage, count in zip(stages, more, strict=True)
        if count
    )


def wide(network: Network) -> Iterator[Edits]:
    """Make the network shorter and wider, as its own constructor does."""
    for one in network.rebuilt:
        yield (one,)


@attrs.frozen
class Strategy:
    """An idea, where it is from, and the edits that follow it."""

    words: str
    source: str
    candidates: Callable[[Network], Iterator[Edits]]


STRATEGIES: Final[Mapping[str, Strategy]] = {
    "drop": Strategy("less downsampling", _REFINEMENT, drop),
    "delay": Strategy("later downsampling", _REFINEMENT, delay),
    "even": Strategy("evenly spaced downsampling", _REFINEMENT, even),
    "patch": Strategy("smaller patches", _REFINEMENT, patch),
    "stem": Strategy("a smaller stem", _SHOULD, stem),
    "spread": Strategy("as many blocks in fewer stages", _SHOULD, spread),
    "wide": Strategy("a shorter and wider network", _REFINEMENT, wide),
    "cut": Strategy("a shorter network", _SHOULD, cut),
}


# --- places of downsampling ----------------------------------------------------------------


def _node(network: Network, step: DownsamplingStep) -> EnrichedNetworkNode:
    return network.source.by_name[step.nodes[0]]


def _is_alone(network: Network, step: DownsamplingStep) -> bool:
    """Whether one layer makes the step, on all paths, and nothing leads back."""
    if len(step.nodes) > 1 or step.crossing:
        return False
    return _node(network, step) in network.places


def _factor(step: DownsamplingStep) -> int:
    return int(step.after / step.before)


def _placed(network: Network, step: DownsamplingStep, node: EnrichedNetworkNode) -> Edits:
    """Return the edits that downsample at a layer instead, as the step does: pooling, or stride."""
    if len(step.nodes) == 1 and is_pooling(_node(network, step)):
        return (InsertPooling(_behind(node).name, _factor(step)),)
    return (SetWindow(node.name, stride=_factor(step)),)


def _pooled_at(network: Network, places: Sequence[EnrichedNetworkNode]) -> Edits:
    """Return the edits that move all poolings behind these layers."""
    wanted = [_behind(node) for node in places]
    poolings = [_node(network, step) for step in network.steps]
    there = {one.predecessors[0]: one for one in poolings}
    removed = [RemovePooling(one.name) for read, one in there.items() if read not in wanted]
    return (*removed, *(InsertPooling(one.name) for one in wanted if one not in there))


def _strided_at(network: Network, places: Sequence[EnrichedNetworkNode]) -> Edits:
    """Return the edits that leave a stride to these layers, and to no others."""
    cleared = [
        edit_
        for step in network.steps
        if _node(network, step) not in places
        for edit_ in network.dropped([step])
    ]
    return (*cleared, *(SetWindow(one.name, stride=2) for one in places if not is_strided(one)))


def _is_output(node: EnrichedNetworkNode) -> bool:
    """Whether the network gives out what a layer makes: a coarser one would be another output."""
    return not _behind(node).successors


def _behind(node: EnrichedNetworkNode) -> EnrichedNetworkNode:
    """Return the last norm or activation that only polishes what a layer makes."""
    while True:
        readers = node.successors
        if len(readers) != 1 or len(readers[0].predecessors) != 1:
            return node
        layer = readers[0].layer_info
        neutral = not any(layer.expands(readers[0].axes or 1)) and layer.filters is None
        if not neutral or layer.units is not None or is_strided(readers[0]):
            return node
        node = readers[0]
