"""Fewer arrows for densely connected networks, without losing any: a rewrite of plain edges.

In a DenseNet every concatenation reads all the layers before it, so the arrows grow with the
square of the depth, and no layout program gets through them. Where one concatenation's inputs
contain those of an earlier one, a single arrow "everything that the earlier one joined" stands
for them, and only the new inputs are drawn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import attrs

__all__ = ["CONCATENATIONS", "Arrow", "arrows_between", "inputs_from"]

CONCATENATIONS = frozenset({"cat", "concat", "concatenate", "concatenation"})
"""Lower-case names of the layers that join their inputs and change nothing else."""


@attrs.frozen(slots=True)
class Arrow:
    """An arrow of a picture between two nodes, given by their positions.

    Attributes:
        tail: where the arrow starts.
        head: where it points to.
        joined: False for a plain edge; True if it stands for all the inputs of the
            concatenation ``tail``, each of which ``head`` reads as well.
    """

    tail: int
    head: int
    joined: bool = False


def arrows_between(
    inputs: Sequence[Sequence[int]], is_concatenation: Sequence[bool]
) -> list[Arrow]:
    """Return the arrows to draw for a graph, as few as possible for nested concatenations.

    ``inputs[node]`` are the positions of the nodes that a node reads, all of them smaller than
    its own. Nothing is lost: ``inputs_from`` gives the inputs back.

    1. Only a concatenation is rewritten, and only through an earlier concatenation.
    2. The earlier one must have at least two inputs, all of them (counted with repetitions)
       among those of the later one. The one with the most inputs is taken; of equals the latest.
    3. An edge that leads from the earlier to the later one anyway is drawn in addition.

    >>> arrows_between([[], [0], [0, 1], [2], [0, 1, 3]], [False, False, True, False, True])[-2:]
    [Arrow(tail=2, head=4, joined=True), Arrow(tail=3, head=4, joined=False)]
    """
    arrows: list[Arrow] = []
    # A concatenation can only be contained where its last input is read too.
    by_last_input: defaultdict[int, list[int]] = defaultdict(list)
    counts: dict[int, Counter[int]] = {}
    for head, tails in enumerate(inputs):
        remaining: Sequence[int] = tails
        if is_concatenation[head] and len(tails) > 1:
            own = counts[head] = Counter(tails)
            earlier = max(
                (
                    other
                    for tail in own
                    for other in by_last_input[tail]
                    if len(inputs[other]) <= len(tails) and counts[other] <= own
                ),
                key=lambda other: (len(inputs[other]), other),
                default=None,
            )
            by_last_input[max(tails)].append(head)
            if earlier is not None:
                arrows.append(Arrow(earlier, head, joined=True))
                remaining = _without(tails, counts[earlier])
        arrows.extend(Arrow(tail, head) for tail in remaining)
    return arrows


def _without(tails: Sequence[int], known: Counter[int]) -> list[int]:
    left = Counter(known)
    remaining = []
    for tail in tails:
        if left[tail]:
            left[tail] -= 1
        else:
            remaining.append(tail)
    return remaining


def inputs_from(arrows: Sequence[Arrow], nodes: int) -> list[list[int]]:
    """Return what each of the ``nodes`` nodes reads, in ascending order: undo ``arrows_between``.

    >>> inputs_from([Arrow(0, 2), Arrow(1, 2), Arrow(2, 3, joined=True)], nodes=4)
    [[], [], [0, 1], [0, 1]]
    """
    inputs: list[list[int]] = [[] for _ in range(nodes)]
    for arrow in sorted(arrows, key=lambda arrow: arrow.head):
        inputs[arrow.head] += inputs[arrow.tail] if arrow.joined else [arrow.tail]
    return [sorted(tails) for tails in inputs]
