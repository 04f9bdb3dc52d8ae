"""Find global pools whose result only re-weights the map that they read, as in SE blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

__all__ = ["Link", "find_gates"]


@attrs.frozen(slots=True)
class Link:
    """What gate detection needs to know of one call.

    Attributes:
        sources: numbers of the calls that it reads.
        positions: whether its output still has positions of the image.
        global_pool: whether it turned whole maps into something without positions.
        product: whether it multiplies what it reads.
        neutral: whether its units see only one unit in front of them.
    """

    sources: tuple[int, ...] = ()
    positions: bool = True
    global_pool: bool = False
    product: bool = False
    neutral: bool = True


def find_gates(links: Sequence[Link], outputs: Iterable[int] = ()) -> frozenset[int]:
    """Return the numbers of the calls that make the weights of gates, from the global pool on.

    A pool makes weights if everything that is made of its result, as long as it has no positions,
    ends in products with maps that the pool read. Maps are the same if only layers whose units
    see one unit (activations, 1x1 convolutions, sums) lie between them or in front of both.

    >>> image, squeeze = Link(neutral=False), Link((0,), positions=False, global_pool=True)
    >>> find_gates([image, squeeze, Link((0, 1), product=True)])
    frozenset({1})
    >>> find_gates([image, squeeze, Link((0, 1))])
    frozenset()
    """
    readers: list[list[int]] = [[] for _ in links]
    for number, link in enumerate(links):
        for source in link.sources:
            readers[source].append(number)
    final = set(outputs)
    found: set[int] = set()
    for number, link in enumerate(links):
        if link.global_pool:
            found |= _weights(number, links, readers, final)
    return frozenset(found)


def _weights(
    pool: int, links: Sequence[Link], readers: Sequence[Sequence[int]], outputs: set[int]
) -> set[int]:
    """Return what is made of a pool up to the products; nothing if that is not all of its use."""
    inside = {pool}
    waiting = [pool]
    products: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number in outputs:
            return set()
        for reader in readers[number]:
            if links[reader].positions:
                if not links[reader].product:
                    return set()
                products.add(reader)
            elif reader not in inside:
                inside.add(reader)
                waiting.append(reader)
    read = set(links[pool].sources)
    near: set[int] | None = None
    for product in products:
        for source in links[product].sources:
            if source in inside or source in read or not links[source].positions:
                continue
            if near is None:
                near = _same_map(read, links)
            if near.isdisjoint(_same_map({source}, links)):
                return set()
    return inside if products else set()


def _same_map(start: set[int], links: Sequence[Link]) -> set[int]:
    """Return the calls that only neutral ones lie behind, up to the given ones."""
    found = set(start)
    waiting = list(start)
    while waiting:
        number = waiting.pop()
        if links[number].neutral:
            for source in links[number].sources:
                if source not in found:
                    found.add(source)
                    waiting.append(source)
    return found
