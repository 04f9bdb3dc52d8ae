"""Fewer arrows for densely connected networks, without losing any: a rewrite of plain edges.

In a DenseNet every layer reads all the layers before it, so the arrows grow with the square of
the depth, and no layout program gets through them. Where one node's inputs contain those of an
earlier one, a single arrow "everything that the earlier one joined" stands for them, and only the
new inputs are drawn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import attrs

__all__ = ["CONCATENATIONS", "Arrow", "arrows_between", "inputs_from"]

CONCATENATIONS = frozenset({"cat", "concat", "concatenate", "concatenation"})
"""Lower-case names of the layers that join their inputs and change nothing else."""

_MANY = 4
"""So many inputs a node that is no concatenation must have for others to stand on it."""


@attrs.frozen(slots=True)
class Arrow:
    """An arrow of a picture between two nodes, given by their positions.

    Attributes:
        tail: where the arrow starts.
        head: where it points to.
        joined: False for a plain edge; True if it stands for all the inputs of ``tail``, each of
            which ``head`` reads as well.
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

    1. A node is rewritten through an earlier one. Pairs are worth it for concatenations alone:
       of all other nodes the earlier one needs at least four inputs.
    2. All inputs of the earlier one (counted with repetitions) must be among those of the later
       one. The one with the most inputs is taken; of equals the latest.
    3. An edge that leads from the earlier to the later one anyway is drawn in addition.

    >>> arrows_between([[], [0], [0, 1], [2], [0, 1, 3]], [False, False, True, False, True])[-2:]
    [Arrow(tail=2, head=4, joined=True), Arrow(tail=3, head=4, joined=False)]
    """
    arrows: list[Arrow] = []
    # A node can only be contained where its last input is read too.
    by_last_input: defaultdict[int, list[int]] = defaultdict(list)
    counts: dict[int, Counter[int]] = {}
    for head, tails in enumerate(inputs):
        remaining: Sequence[int] = tails
        if len(tails) >= (2 if is_concatenation[head] else _MANY):
            own = counts[head] = Counter(tails)
            # The largest come first: in a dense network the first one fits.
            candidates = sorted(
                (
                    other
                    for tail in own
                    for other in by_last_input[tail]
                    if len(inputs[other]) <= len(tails)
                    and (
                        len(inputs[other]) >= _MANY
                        or (is_concatenation[head] and is_concatenation[other])
                    )
                ),
                key=lambda other: (len(inputs[other]), other),
                reverse=True,
            )
            earlier = next((other for other in candidates if counts[other] <= own), None)
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
