"""Where a network can end earlier because nothing behind that place can help."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import attrs

from rfa_toolbox.analysis.blocks import Block
from rfa_toolbox.analysis.words import one_line, several
from rfa_toolbox.arithmetic import LayerState

__all__ = ["Cut", "cut_of"]

LEAST_SAVING = 0.01
"""Share of the costs below which a cut is not worth the words."""


@attrs.frozen
class Cut:
    """The end of a feature extractor, which the head can do without.

    Attributes:
        behind: the last block that stays; the head is put behind it.
        blocks: the counted blocks that go, in the order of the graph.
        parameters: which share of all parameters they have, 0 to 1; None if unknown.
        multiply_accumulates: which share of all multiply-accumulates, likewise.
    """

    behind: Block
    blocks: tuple[Block, ...]
    parameters: float | None
    multiply_accumulates: float | None

    @property
    def text(self) -> str:
        """What to do and what it saves, as one sentence."""
        saved = [
            f"{share:.0%} of the {what}"
            for share, what in (
                (self.parameters, "parameters"),
                (self.multiply_accumulates, "multiply-accumulates"),
            )
            if share is not None
        ]
        gone = "layer" if len(self.blocks) == 1 else several(len(self.blocks), "layer")
        return (
            f"Put the head behind {one_line(self.behind.name)} and leave out the last {gone}"
            f"{': that saves ' + ' and '.join(saved) if saved else ''}."
        )


def cut_of(
    found: Sequence[Block], states: Sequence[LayerState], works: Sequence[int | None]
) -> Cut | None:
    """Return the longest end of the network that it can do without, if there is one.

    It consists of unproductive layers, and of what looks at nothing (additions, 1x1 short cuts).
    All of it reads a single block in front, and only the head reads it: a decoder, or an output
    at every pixel, needs what is in front of it, however little that sees.

    Args:
        found: all blocks of a graph.
        states: the state of each.
        works: the multiply-accumulates of each.
    """
    readers = _readers(found)
    gone: set[int] = set()
    sources: set[int] = set()
    best: tuple[int, frozenset[int]] | None = None
    for index in reversed(_in_order(found, readers)):
        block = found[index]
        if not _can_go(block, states[index], [found[one] for one in readers[index]]):
            break
        gone.add(index)
        sources.discard(index)
        sources.update(block.predecessors)
        if block.counted and states[index] == "unproductive" and len(sources) == 1:
            (source,) = sources
            if found[source].kind != "input":
                best = source, frozenset(gone)
    if best is None:
        return None
    behind, parts = best
    going = [found[index] for index in sorted(parts) if found[index].kind != "global"]
    parameters = [block.parameters for block in found]
    cut = Cut(
        found[behind],
        tuple(block for block in going if block.counted),
        _share([parameters[block.index] for block in going], parameters),
        _share([works[block.index] for block in going], works),
    )
    shares = [one for one in (cut.parameters, cut.multiply_accumulates) if one is not None]
    return cut if not shares or max(shares) >= LEAST_SAVING else None


def _can_go(block: Block, state: LayerState, readers: Sequence[Block]) -> bool:
    """Whether nothing is lost with a block if what reads it goes as well."""
    if block.kind == "global":
        return all(reader.kind == "global" for reader in readers)
    if block.kind == "input" or not all(node.successors for node in block.nodes):
        return False
    if block.kind == "joint" or state == "unproductive":
        return True
    return not any(block.main.layer_info.expands(block.main.axes or 1))


def _share(parts: Sequence[int | None], whole: Sequence[int | None]) -> float | None:
    total = sum(count or 0 for count in whole)
    return sum(count or 0 for count in parts) / total if total else None


def _readers(found: Sequence[Block]) -> list[list[int]]:
    readers: list[list[int]] = [[] for _ in found]
    for block in found:
        for index in block.predecessors:
            readers[index].append(block.index)
    return readers


def _in_order(found: Sequence[Block], readers: Sequence[Sequence[int]]) -> list[int]:
    """Return the indices of blocks so that each one stands behind all that it reads."""
    missing = [len(block.predecessors) for block in found]
    ready = [block.index for block in found if not missing[block.index]]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    return order
