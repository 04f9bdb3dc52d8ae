"""A short text that says whether two graphs are the same network, as far as analysis can tell."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import Any

from rfa_toolbox.analysis.costs import map_steps
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, require_node

__all__ = ["graph_key"]

_SEPARATOR = "\x1f"


def graph_key(graph: EnrichedNetworkNode) -> str:
    """Return a key that equal graphs share, 32 hexadecimal digits.

    Equal are graphs with the same windows, costs and certainty of their layers, and the same edges
    between them, whatever their nodes are called and in whichever order they were made. The
    key is the same in every process and with every version of Python.

    Args:
        graph: any node of the graph.

    Raises:
        InvalidGraphError: a ValueError, for anything but a node.

    The idea is that of B. Weisfeiler, A. Leman, 1968: a node is known by its own facts, what it
    reads, and what reads it.

    >>> from rfa_toolbox.architectures.resnet import resnet18, resnet50
    >>> [graph_key(resnet18()) == graph_key(make()) for make in (resnet18, resnet50)]
    [True, False]
    """
    nodes = require_node(graph).all_layers
    describe = functools.cache(_window_text)
    reads: dict[EnrichedNetworkNode, str] = {}
    for node in nodes:
        before = [reads[one] for one in node.predecessors]
        offsets = node.offsets or ("",) * len(before)
        pairs = sorted(
            f"{one}@{_listed(offset)}" for one, offset in zip(before, offsets, strict=True)
        )
        reads[node] = _digest([describe(node.layer_info), _facts(node), *pairs])
    places: dict[EnrichedNetworkNode, str] = {}
    behind: dict[EnrichedNetworkNode, list[str]] = {node: [] for node in nodes}
    for node in reversed(nodes):
        places[node] = own = _digest([reads[node], *sorted(behind[node])])
        for before_it in node.predecessors:
            behind[before_it].append(own)
    return _digest(sorted(places.values()))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b(_SEPARATOR.join(parts).encode(), digest_size=16).hexdigest()


def _window_text(layer: LayerDefinition) -> str:
    """Return what a layer does to positions; what it is called is left out.

    Of the padding its begin counts, and how many units it adds in all at any size of the map:
    a reader may have seen only as much of its end as was in use at one size.
    """
    several = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,)
    begins = tuple(one[0] if isinstance(one, tuple) else one for one in several)
    return _SEPARATOR.join(
        _listed(value)
        for value in (
            layer.axes,
            layer.kernel_size,
            layer.stride_size,
            layer.dilation,
            begins,
            tuple(step.reach for step in map_steps(layer, layer.axes or 1)),
            layer.upsampling,
            layer.shortest_kernel_size,
            layer.blockwise,
            layer.resolution_dependent,
            layer.ignored_global,
            layer.position_dependent,
            layer.covers_map,
            *(name for name in ("ceil_mode", "same_padding") if getattr(layer, name)),
            *((("norm_blocks", layer.norm_blocks),) if layer.norm_blocks else ()),
        )
    )


def _facts(node: EnrichedNetworkNode) -> str:
    measures = node.measures
    work = None if measures.work is None else tuple(sorted(measures.work))
    filtered = getattr(node.receptive_field_info_filter, "__qualname__", "")
    return _SEPARATOR.join(
        _listed(value)
        for value in (
            node.certainty,
            filtered,
            measures.encoded_resolution,
            measures.feature_map,
            measures.parameters,
            work,
        )
    )


def _listed(value: Any) -> str:
    """Return plain values as text that no version of Python writes in another way."""
    if isinstance(value, tuple):
        return f"({','.join(map(_listed, value))})"
    return str(value)
