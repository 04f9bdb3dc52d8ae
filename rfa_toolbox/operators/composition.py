"""What several steps do together: the one layer that a node of them shows, and what it reads."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Offsets
from rfa_toolbox.operators.values import Step
from rfa_toolbox.operators.windows import NEUTRAL, Window

__all__ = ["composed", "is_aligned", "offsets_of"]


def composed(label: str, steps: Sequence[Step], axes: int) -> LayerDefinition:
    """Return the layer that does what these steps do together, from their inputs to the last one.

    Its kernel is that of the longest way through, ``shortest_kernel_size`` that of the shortest.
    """
    blocks = _norm_blocks(steps)
    if len(steps) == 1 and axes:
        said = zip(_SAID, _said_by(steps[0]), strict=True)
        return _layer(label, steps[0].windows, norm_blocks=blocks, **dict(said))
    counts: dict[str, Any] = {"norm_blocks": blocks}
    for name in _FLAGS:
        counts[name] = any(getattr(step, name) for step in steps)
    for name in _COUNTS:
        several = [count for step in steps if (count := getattr(step, name)) is not None]
        counts[name] = several[-1] if several else None
    if not axes:
        return LayerDefinition(label, 1, 1, **counts)
    sizes = _how_sizes_follow(steps)
    decisive = [step for step in steps if not step.neutral]
    if len(decisive) <= 1 and _is_chain(steps):
        blockwise = bool(decisive) and decisive[0].blockwise
        counts |= {"blockwise": blockwise, **sizes}
        return _layer(label, _chained(steps), **counts)
    if not decisive:
        return _layer(label, (NEUTRAL,) * axes, **counts)
    return _along_paths(label, _composed_node(steps), counts)


_FLAGS = ("resolution_dependent", "ignored_global", "position_dependent", "covers_map")
"""What a layer is if one of its steps is."""
_COUNTS = ("filters", "units")
"""What the last of its steps has that has any."""
_SAID = (*_FLAGS, *_COUNTS, "blockwise", "ceil_mode", "same_padding")
_said_by = operator.attrgetter(*_SAID)


def _norm_blocks(steps: Sequence[Step]) -> tuple[int, ...] | None:
    """Return the blocks of the map that a single norm among neutral steps takes statistics from."""
    norms = [step.statistics for step in steps if step.ignored_global]
    windows = norms[0] if len(norms) == 1 else {}
    if not windows or any(window != NEUTRAL for step in steps for window in step.windows):
        return None  # where blocks begin is told of what stays in its place alone
    if any(one.kernel == math.inf or one.dilation != 1 for one in windows.values()):
        return None
    axes = range(len(steps[0].windows))
    return tuple(int(windows[axis].kernel) if axis in windows else 1 for axis in axes)


def _how_sizes_follow(steps: Sequence[Step]) -> dict[str, bool]:
    """Return how the size of the map follows from the one in front, where one step decides it.

    Where another one pads, too, it is another rest that is left behind the windows.
    """
    deciding = [step for step in steps if step.ceil_mode or step.same_padding]
    if not deciding:
        return {}
    pads = any(one.begin for step in steps if step not in deciding for one in step.windows)
    return {
        name: not pads and any(getattr(step, name) for step in deciding)
        for name in ("ceil_mode", "same_padding")
    }


def _along_paths(
    label: str, node: EnrichedNetworkNode, counts: Mapping[str, Any]
) -> LayerDefinition:
    """Return the layer that does along its longest and its shortest paths what a node does."""
    paths = node.paths
    longest = [max(axis, key=arithmetic.field_of) for axis in paths]
    shortest = [min(axis, key=arithmetic.field_of) for axis in paths]
    if any(path[2] for path in longest) and all(map(_is_block, longest + shortest)):
        blocks, least = ([path[0] for path in paths] for paths in (longest, shortest))
        begins = [
            None if one is None or one.firsts[0] == -math.inf else -int(one.firsts[0])
            for one in node.unit_windows
        ]
        return LayerDefinition(
            label,
            blocks,
            (1,) * len(paths),
            padding=_sides(begins),
            blockwise=True,
            shortest_kernel_size=None if least == blocks else least,
            **counts,
        )
    jumps = [Fraction(arithmetic.largest_jump(axis) or 1) for axis in paths]
    kernels = [_fine(path, jump) for path, jump in zip(longest, jumps, strict=True)]
    smallest = [_fine(path, jump) for path, jump in zip(shortest, jumps, strict=True)]
    return LayerDefinition(
        label,
        kernels,
        [jump.numerator for jump in jumps],
        padding=_sides(_begins(node, kernels)),
        upsampling=[jump.denominator for jump in jumps],
        shortest_kernel_size=None if smallest == kernels else smallest,
        **counts,
    )


def _chained(steps: Sequence[Step]) -> list[Window]:
    """Return the windows of a chain of steps of which at most one is more than neutral."""
    result: list[Window] = []
    for windows in zip(*(step.windows for step in steps), strict=True):
        combined = windows[0]
        for window in windows[1:]:
            begins = (combined.begin, window.begin)
            if window[:3] == NEUTRAL[:3] and window.upsampling == 1:
                main, unit = combined, combined.stride
            else:
                main, unit, begins = window, window.upsampling, begins[::-1]
            moved = None if None in begins else begins[0] + begins[1] * unit
            end = main.end if moved == main.begin else None
            combined = main._replace(begin=moved, end=end)
        result.append(combined)
    return result


def _begins(node: EnrichedNetworkNode, kernels: Sequence[int | float]) -> list[int | None]:
    """Return the padding in front of a window that stands for several steps, where it is one."""
    return [
        -int(one.firsts[0])
        if one is not None and len(one.firsts) == 1 and one.size == kernel < math.inf
        else None
        for one, kernel in zip(node.unit_windows, kernels, strict=True)
    ]


def _sides(begins: Iterable[int | None]) -> tuple[tuple[int, None] | None, ...]:
    return tuple(None if begin is None else (begin, None) for begin in begins)


def _is_chain(steps: Sequence[Step]) -> bool:
    """Whether the steps follow each other with nothing beside them."""
    first = set(steps[0].sources)
    return all(
        set(step.sources) <= {before.number} and not (first & set(step.sources))
        for before, step in itertools.pairwise(steps)
    )


def _is_block(path: arithmetic.PathState) -> bool:
    """Whether a path went through blocks that do not overlap, through everything, or nothing."""
    base, jump, levels = path
    return base == math.inf or (
        base == jump and (not levels if jump == 1 else levels == ((jump, jump - 1, 1),))
    )


def _fine(path: arithmetic.PathState, jump: Fraction) -> int | float:
    """Return the window of a path through several steps in units of the up-sampled grid."""
    base, coarse_jump, levels = path
    if base != math.inf and coarse_jump == 1 and len(levels) == 1 and jump.denominator > 1:
        factor, extent, _ = levels[0]
        return (int(base) - 1) * factor + extent + 1
    size = arithmetic.field_of(path)
    return size if size == math.inf else (int(size) - 1) * jump.denominator + 1


def _composed_node(steps: Sequence[Step]) -> EnrichedNetworkNode:
    axes = len(steps[0].windows)
    neutral = LayerDefinition("origin", (1,) * axes, 1)
    origin = EnrichedNetworkNode("origin", neutral, ())
    nowhere = EnrichedNetworkNode("nowhere", attrs.evolve(neutral, positionless=True), ())
    made: dict[int, EnrichedNetworkNode] = {}
    for step in steps:
        made |= {number: nowhere for number in step.nowhere if number not in made}
        sources = [made.get(number, origin) for number in step.sources] or [origin]
        layer = _layer(step.name, step.windows, blockwise=step.blockwise)
        made[step.number] = EnrichedNetworkNode(step.name, layer, sources, offsets=step.offsets)
    return made[steps[-1].number]


def _layer(label: str, windows: Iterable[Window], **counts: Any) -> LayerDefinition:
    return _layer_with(label, tuple(windows), tuple(counts.items()))


@functools.lru_cache(maxsize=4096)  # most layers of a network are alike
def _layer_with(
    label: str, windows: tuple[Window, ...], counts: tuple[tuple[str, Any], ...]
) -> LayerDefinition:
    kernels, strides, dilations, begins, ends, upsamplings, scans = zip(*windows, strict=True)
    return LayerDefinition(
        label,
        kernels,
        strides,
        dilation=dilations,
        padding=tuple(zip(begins, ends, strict=True)),
        upsampling=upsamplings,
        scan=scans if any(scans) else None,
        **dict(counts),
    )


def offsets_of(
    steps: Sequence[Step],
    place: Mapping[int, EnrichedNetworkNode],
    predecessors: Sequence[EnrichedNetworkNode],
) -> Offsets:
    """Return where the maps of the predecessors lie under the first units of a node.

    What is read at several places within a node is part of its own window; see ``composed``.
    """
    if _has_window(steps) or (len(steps) == 1 and not steps[0].offsets):
        return ()
    found: dict[EnrichedNetworkNode, dict[tuple[int | None, ...], None]] = {
        node: {} for node in predecessors
    }
    for source, reads in _reads_of(steps):
        if source in place and place[source] in found:
            found[place[source]][reads] = None
    unread = {place[number] for number in _weights_of(steps) if number in place}
    unread = {node for node in unread if not found.get(node)}
    if not unread and all(one == 0 for reads in found.values() for read in reads for one in read):
        return ()
    nothing = ((0,) * len(steps[0].windows),)
    return tuple(() if node in unread else tuple(found[node]) or nothing for node in predecessors)


def _weights_of(steps: Sequence[Step]) -> set[int]:
    """Return the steps that are read for the weights of gates alone."""
    read, weights = {steps[-1].number}, set[int]()
    for step in reversed(steps):
        for place, source in enumerate(step.sources):
            if step.number in read and (not step.offsets or step.offsets[place]):
                read.add(source)
            elif step.number in read | weights:
                weights.add(source)
    return weights - read


def _has_window(steps: Sequence[Step]) -> bool:
    """Whether several steps are described by one window, so that their reads are part of it."""
    return len(steps) > 1 and (_is_chain(steps) or not all(step.neutral for step in steps))


def is_aligned(steps: Sequence[Step]) -> bool:
    """Return whether everything that several steps read stands unit upon unit."""
    if _has_window(steps):
        return True
    for step in steps:
        if any(one != 0 for reads in step.offsets for read in reads for one in read):
            return False
        if step.neutral and any(window.begin for window in step.windows):
            return False
    return True


def _reads_of(steps: Sequence[Step]) -> Iterator[tuple[int, tuple[int | None, ...]]]:
    """Yield what one step, or several neutral ones together, read from others, and at which units.

    The padding of a single step is part of its window, that of several is part of the offsets.
    """
    (*_, last) = steps
    inside = {step.number: step for step in steps}
    nowhere = (0,) * len(last.windows)
    reached: dict[int, dict[tuple[int | None, ...], None]] = {last.number: {nowhere: None}}
    for step in reversed(steps):
        places = tuple(reached.get(step.number, ()))
        if len(steps) > 1:
            begins = [None if one.begin is None else -one.begin for one in step.windows]
            places = tuple(_added(place, begins) for place in places)
        for source, reads in zip(
            step.sources, step.offsets or ((nowhere,),) * len(step.sources), strict=True
        ):
            for read, place in itertools.product(reads, places):
                if source in inside:
                    reached.setdefault(source, {})[_added(place, read)] = None
                else:
                    yield source, _added(place, read)


def _added(first: Sequence[int | None], second: Sequence[int | None]) -> tuple[int | None, ...]:
    return tuple(
        None if one is None or other is None else one + other
        for one, other in zip(first, second, strict=True)
    )
