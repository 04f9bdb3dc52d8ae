"""What the page is told of better architectures: the best of every idea, ready to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rfa_toolbox.analysis import summarize
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.rendering.report.facts import graph_facts

if TYPE_CHECKING:
    from rfa_toolbox.refinement.edits import Edit
    from rfa_toolbox.refinement.plan import Refinement

__all__ = ["MOST_NODES", "TOO_LARGE", "refinement_facts"]

MOST_NODES = 1_000
"""Operations of all graphs of a report together, up to which refinements are searched."""

NONE_FOUND = "No change of strides, poolings or depth was found that lets every layer help here."

TOO_LARGE: dict[str, Any] = {
    "found": [],
    "note": f"They are searched for up to {MOST_NODES:,} operations; rfa refine searches for more.",
}

_WEIGHTS = {
    "kept": "all fit",
    "summed": "those of the patches are summed",
    "new": "some are trained anew",
}


def refinement_facts(
    facts: Mapping[str, Any],
    graph: EnrichedNetworkNode,
    resolution: Sequence[int],
    most: int,
    filter_kernel_size_1: bool = False,
) -> dict[str, Any]:
    """Return the best refinements of a graph for a resolution, and why there are none or fewer.

    Args:
        facts: those of the graph as it is; a refined one is told by how it differs from it.
        graph: any node of it.
        resolution: in pixels, one number per axis.
        most: how many refinements to return.
        filter_kernel_size_1: never call a 1x1 layer unproductive for its receptive field.
    """
    from rfa_toolbox.refinement.advice import suggest_refinements  # slow to import
    from rfa_toolbox.refinement.editing import edit

    asked = tuple(resolution) if len(resolution) > 1 else resolution[0]
    summary = summarize(graph, asked, filter_kernel_size_1)
    judged = summary.input_resolution
    pixels = judged if len(judged) > 1 else judged[0]
    if not summary.blocks_in("unproductive", "critical", "partially critical"):
        return {"found": [], "note": ""}
    advice = suggest_refinements(graph, pixels, top=1)
    found = []
    for one in _different(advice.best)[:most]:
        refined = graph_facts(facts["name"], edit(graph, one.edits), filter_kernel_size_1)
        found.append({**_words(one), "model": changed(facts, refined)})
    return {"found": found, "note": "" if found else NONE_FOUND}


def _different(refinements: Sequence[Refinement]) -> list[Refinement]:
    """Return refinements without those that another idea has found, too."""
    found: dict[frozenset[Edit], Refinement] = {}
    for one in refinements:
        found.setdefault(frozenset(one.edits), one)
    return list(found.values())


def _words(one: Refinement) -> dict[str, str]:
    from rfa_toolbox.refinement.strategies import STRATEGIES

    return {
        "idea": STRATEGIES[one.strategy].words,
        "words": one.marked_words,
        "source": one.source,
        "weights": _WEIGHTS[one.weights],
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of some facts is not as it was; the page fills in the rest.

    >>> changed({"a": 1, "b": {"c": [1], "d": 2}}, {"a": 1, "b": {"c": [3], "d": 2}})
    {'b': {'c': [3]}}
    """
    return {
        key: changed(before[key], value) if isinstance(value, Mapping) else value
        for key, value in after.items()
        if value != before.get(key)
    }
