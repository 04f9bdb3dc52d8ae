"""Stored graphs: plain values that JSON can hold, and back.

A graph is stored as rows, one per node, which name their predecessors by number. This module knows
rows alone; whoever reads a graph hands over what makes a node of one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from rfa_toolbox.errors import GraphFormatError, InvalidGraphError, InvalidLayerError
from rfa_toolbox.graphs.fields import STORED_FILTERS, InfoFilter
from rfa_toolbox.graphs.layers import UNMEASURED, LayerDefinition, Measures, listed

__all__ = ["GRAPH_FORMAT", "GRAPH_VERSION", "Row", "from_dict", "to_dict"]

GRAPH_FORMAT = "rfa_toolbox.graph"
GRAPH_VERSION = 1

T = TypeVar("T")


class Row(NamedTuple):
    """What a node is made of; its predecessors are numbers of rows."""

    name: str
    layer: LayerDefinition
    predecessors: tuple[int, ...]
    keep: InfoFilter
    module_path: str | None
    certainty: str
    certainty_reason: str
    offsets: Any
    measures: Measures


def to_dict(rows: Sequence[Row], handle: int) -> dict[str, Any]:
    """Return rows as plain values that JSON can hold; ``handle`` is the row of the graph's node."""
    return {
        "format": GRAPH_FORMAT,
        "version": GRAPH_VERSION,
        "node": handle,
        "nodes": [
            {
                "name": row.name,
                "layer": row.layer.to_dict(),
                "predecessors": list(row.predecessors),
                "module_path": row.module_path,
                "certainty": row.certainty,
                "certainty_reason": row.certainty_reason,
                "offsets": listed(row.offsets),
                "filter": _filter_name(row),
                "measures": None if row.measures == UNMEASURED else row.measures.to_dict(),
            }
            for row in rows
        ],
    }


def _filter_name(row: Row) -> str:
    for name, function in STORED_FILTERS.items():
        if row.keep is function:
            return name
    raise GraphFormatError(
        f"The node {row.name!r} has the filter {row.keep!r}, which plain "
        f"values cannot hold; only the built-in filters can be stored: {sorted(STORED_FILTERS)!r}."
    )


def from_dict(config: Mapping[str, Any], make: Callable[..., T]) -> tuple[dict[int, T], int]:
    """Return the nodes of a stored graph by their row, and the row of the graph's own node.

    ``make`` makes a node; it takes what a ``Row`` has, in this order, with nodes for numbers.

    Raises:
        GraphFormatError: if no graph can have what is stored.
    """
    entries = _entries_of(config)
    nodes: dict[int, T] = {}
    for position in _build_order(entries):
        where = f"Node {position}"
        try:
            nodes[position] = make(*_node_values(entries[position], where, nodes))
        except (InvalidGraphError, InvalidLayerError) as error:
            raise GraphFormatError(f"{where} is damaged: {error}") from error
    handle = config.get("node", len(entries) - 1)
    if type(handle) is not int or handle not in nodes:
        raise GraphFormatError(
            f"The stored graph's own node is {handle!r}; it has the nodes 0 to {len(entries) - 1}."
        )
    return nodes, handle


def _entries_of(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    stored_format = _required(config, "format", "The stored graph")
    if stored_format != GRAPH_FORMAT:
        raise GraphFormatError(
            f"The stored graph has the format {stored_format!r}; expected is {GRAPH_FORMAT!r}."
        )
    version = _required(config, "version", "The stored graph")
    if type(version) is not int or version != GRAPH_VERSION:
        raise GraphFormatError(
            f"The stored graph has version {version!r}; this release reads version "
            f"{GRAPH_VERSION}. A newer release of rfa_toolbox may read it."
        )
    entries = _required(config, "nodes", "The stored graph")
    if not isinstance(entries, Sequence) or isinstance(entries, str) or not entries:
        raise GraphFormatError(f"The stored graph has nodes={entries!r}; expected is a list.")
    return entries


def _node_values(entry: Mapping[str, Any], where: str, nodes: Mapping[int, T]) -> tuple[Any, ...]:
    keep = entry.get("filter", "noop")
    if not isinstance(keep, str) or keep not in STORED_FILTERS:
        raise GraphFormatError(
            f"{where} has the filter {keep!r}; valid are {sorted(STORED_FILTERS)!r}."
        )
    name, layer = _required(entry, "name", where), _required(entry, "layer", where)
    try:
        return (
            name,
            LayerDefinition.from_dict(layer),
            [nodes[before] for before in entry["predecessors"]],
            STORED_FILTERS[keep],
            entry.get("module_path"),
            entry.get("certainty", "exact"),
            entry.get("certainty_reason", ""),
            entry.get("offsets", ()),
            Measures.from_dict(entry.get("measures")),
        )
    except (InvalidLayerError, GraphFormatError) as error:
        raise GraphFormatError(f"{where} is damaged: {error}") from error


def _required(entry: Mapping[str, Any], key: str, where: str) -> Any:
    if not isinstance(entry, Mapping):
        raise GraphFormatError(f"{where} is {entry!r}; it must be an object with {key!r}.")
    if key not in entry:
        raise GraphFormatError(f"{where} has no {key!r}; it has only {sorted(entry)!r}.")
    return entry[key]


def _build_order(entries: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """Yield positions so that predecessors come first, otherwise in the stored order."""
    before: list[list[int]] = []
    for position, entry in enumerate(entries):
        predecessors = _required(entry, "predecessors", f"Node {position}")
        if not isinstance(predecessors, Sequence) or isinstance(predecessors, str):
            raise GraphFormatError(
                f"Node {position} has predecessors={predecessors!r}; expected is a list of indices."
            )
        for index in predecessors:
            if type(index) is not int or not 0 <= index < len(entries):
                raise GraphFormatError(
                    f"Node {position} has the predecessor {index!r}, which is missing; the graph "
                    f"has the nodes 0 to {len(entries) - 1}."
                )
        before.append(list(predecessors))
    done = [False] * len(entries)
    waiting = [len(set(indices)) for indices in before]
    after: list[list[int]] = [[] for _ in entries]
    for position, indices in enumerate(before):
        for index in set(indices):
            after[index].append(position)
    ready = [position for position, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    while ready:
        position = heapq.heappop(ready)
        done[position] = True
        yield position
        for follower in after[position]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                heapq.heappush(ready, follower)
    stuck = [entries[position].get("name") for position, flag in enumerate(done) if not flag]
    if stuck:
        raise GraphFormatError(
            f"The stored graph has a cycle; these nodes wait for each other: {stuck[:10]!r}."
        )
