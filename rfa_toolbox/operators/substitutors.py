"""Rewrites of drafts: nodes that a reader does not want to see are taken out or put together."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import attrs

from rfa_toolbox.operators.drafts import Draft, readers_of

__all__ = [
    "FoldingSubstitutor",
    "PatternSubstitutor",
    "concatenation_substitutor",
    "input_substitutor",
    "numeric_substitutor",
    "output_substitutor",
    "vector_substitutor",
]


@attrs.frozen
class PatternSubstitutor:
    """Takes out drafts whose label matches a pattern; their readers read what they read.

    Attributes:
        pattern: a regular expression that the whole label must match, ignoring case.
        condition: gets the draft and its readers; False keeps it.
    """

    pattern: str
    condition: Callable[[Draft, Sequence[Draft]], bool] = lambda draft, readers: True

    def can_handle(self, name: str, /) -> bool:
        """Return whether a label matches the pattern."""
        return _matches(self.pattern, name)

    def __call__(self, drafts: Sequence[Draft], /) -> tuple[list[Draft], bool]:
        """Return the drafts without those that match, and whether there were any."""
        matching = [draft for draft in drafts if self.can_handle(draft.label)]
        readers = readers_of(drafts) if matching else {}
        gone: dict[int, tuple[int, ...]] = {}
        for draft in matching:
            read_by = dict.fromkeys(one for step in draft.steps for one in readers.get(step, ()))
            if self.condition(draft, list(read_by)):
                gone.update(dict.fromkeys(draft.steps, draft.sources))
        if not gone:
            return list(drafts), False
        kept = [
            draft
            if gone.keys().isdisjoint(draft.sources)
            else attrs.evolve(draft, sources=_bypassed(draft.sources, gone))
            for draft in drafts
            if draft.steps[-1] not in gone
        ]
        return kept, True


@functools.lru_cache(maxsize=4096)  # most layers of a network are called alike
def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None


def _bypassed(sources: Sequence[int], gone: dict[int, tuple[int, ...]]) -> tuple[int, ...]:
    result: dict[int, None] = {}
    waiting = list(reversed(sources))
    while waiting:
        source = waiting.pop()
        if source in gone:
            waiting.extend(reversed(gone[source]))
        else:
            result[source] = None
    return tuple(result)


@attrs.frozen
class FoldingSubstitutor:
    """Puts a function together with the only function that reads it, in the same module call.

    Attributes:
        operators: names of the operators that can be folded.
        condition: gets the draft and the one that reads it; False keeps them apart.
        keep_first: the node is called after the first of both, not after the second.
    """

    operators: frozenset[str]
    condition: Callable[[Draft, Draft], bool]
    keep_first: bool = False

    def can_handle(self, name: str, /) -> bool:
        """Return whether operators of this name can be folded."""
        return name in self.operators

    def __call__(self, drafts: Sequence[Draft], /) -> tuple[list[Draft], bool]:
        """Return the drafts with pairs put together, and whether there were any."""
        foldable = [one for one in drafts if one.call is None and self.can_handle(one.operator)]
        if not foldable:
            return list(drafts), False
        remaining = {draft.steps[-1]: draft for draft in drafts}
        readers: dict[int, set[int]] = {}
        for draft in drafts:
            for source in draft.sources:
                readers.setdefault(source, set()).add(draft.steps[-1])
        changed = False
        for draft in reversed(foldable):
            first = remaining[draft.steps[-1]]
            read_by = {one for step in first.steps for one in readers.get(step, ())}
            if len(read_by) != 1:
                continue
            second = remaining[read_by.pop()]
            if second.call is not None or second.home != first.home:
                continue
            if not self.condition(first, second):
                continue
            inside = {*first.steps, *second.steps}
            sources = dict.fromkeys((*second.sources, *first.sources))
            merged = attrs.evolve(
                first if self.keep_first else second,
                steps=tuple(sorted(inside)),
                sources=tuple(one for one in sources if one not in inside),
                kind=second.kind,
                aligned=first.aligned and second.aligned,
            )
            for source in first.sources:
                readers[source].discard(first.steps[-1])
                readers[source].add(second.steps[-1])
            del remaining[first.steps[-1]]
            remaining[second.steps[-1]] = merged
            changed = True
        return list(remaining.values()), changed


def numeric_substitutor() -> FoldingSubstitutor:
    """Return the rewrite that puts a scaling by a number or parameter together with its reader.

    ``x + gamma * branch(x)`` is one addition to a reader, not a product and an addition.
    """
    return FoldingSubstitutor(
        frozenset({"mul", "div", "add", "sub", "neg"}),
        lambda first, second: (
            first.kind == "scaling"
            and (
                second.kind == "scaling" or (second.kind == "pointwise" and len(second.sources) > 1)
            )
        ),
    )


def concatenation_substitutor() -> FoldingSubstitutor:
    """Return the rewrite that puts a concatenation together with the one that it is a part of.

    Parts that were moved against each other are read at several places of the first one.
    """
    return FoldingSubstitutor(
        frozenset({"cat"}),
        lambda first, second: second.operator == "cat" and first.aligned and second.aligned,
    )


def vector_substitutor() -> FoldingSubstitutor:
    """Return the rewrite that puts a pooling function and the flattening of its vector together.

    Together they are the head of a network, as a global pooling layer is: one node. Where the
    pooling is itself one of several functions in a row, each of them is shown.
    """
    return FoldingSubstitutor(
        frozenset(
            {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"}
            | {"adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"}
        ),
        lambda first, second: (
            second.operator == "flatten" and not first.positions and not first.chained
        ),
        keep_first=True,
    )


def output_substitutor() -> PatternSubstitutor:
    """Return the rewrite that takes out markers of outputs.

    A module whose class has that name is no marker, but a layer.
    """
    return PatternSubstitutor("output", lambda draft, readers: draft.call is None)


def input_substitutor() -> PatternSubstitutor:
    """Return the rewrite that takes out an input which feeds a single layer and nothing else.

    That layer is then the first one of the graph and reads the image itself; one that reads it at
    several places needs the input to say at which.
    """
    return PatternSubstitutor(
        "input",
        lambda draft, readers: (
            draft.call is None
            and not draft.output
            and len(readers) == 1
            and readers[0].sources == draft.steps
            and readers[0].aligned
        ),
    )
