"""What the page is told of a graph: plain values for JSON, short where many are alike.

Sizes are one number where all axes are alike, else one per axis; None is infinite in
a size of pixels. Layers, texts and reasons that many nodes share are listed once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from rfa_toolbox.analysis import filters_non_convolutional_node, summarize
from rfa_toolbox.analysis.costs import map_steps
from rfa_toolbox.analysis.states import resized_to
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.rendering import labels
from rfa_toolbox.rendering.report.structure import Units, blocks_of, modules_of, operations_of

__all__ = ["graph_facts"]


def graph_facts(
    name: str,
    graph: EnrichedNetworkNode,
    filter_kernel_size_1: bool = False,
) -> dict[str, Any]:
    """Return all that the page needs to draw a graph and to judge it at any resolution."""
    nodes = graph.all_layers
    positions = {node: position for position, node in enumerate(nodes)}
    inputs = [[positions[before] for before in node.predecessors] for node in nodes]
    extractor = set(filters_non_convolutional_node(nodes))
    limits = [node.unproductive_limits(filter_kernel_size_1) for node in nodes]
    # Which resolutions are good does not depend on the one that is asked for.
    good = summarize(graph, 1, filter_kernel_size_1)
    axes = next((node.axes for node in nodes if node.axes is not None), None)
    layers, layer = _listed_once(_layer_facts(node.layer_info, axes or 1) for node in nodes)
    reasons, reason = _listed_once((node.certainty, node.certainty_reason) for node in nodes)
    return {
        "name": name,
        "axes": axes,
        "resized": resized_to(nodes),
        "good": {
            "from": _sizes(good.good_from),
            "useful": _sizes(good.nothing_wasted_from),
            "to": _sizes(good.good_to),
            "unknown": good.warning,
        },
        "encoded": next(
            (node.encoded_resolution for node in nodes if node.encoded_resolution), None
        ),
        "layers": [dict(facts) for facts in layers],
        "certainties": reasons,
        "nodes": {
            "name": [node.name for node in nodes],
            "path": [0 if node.module_path == node.name else node.module_path for node in nodes],
            "layer": layer,
            "inputs": inputs,
            "smallest": [_sizes(node.lasting_receptive_fields[0]) for node in nodes],
            "largest": [_sizes(node.lasting_receptive_fields[1]) for node in nodes],
            "jump": [_jumps(node.get_maximum_scale_factor()) for node in nodes],
            "seen": [_sizes(seen) for seen, _ in limits],
            "filled": [_sizes(filled) for _, filled in limits],
            "extracts": [int(node in extractor) for node in nodes],
            "placed": [int(node.has_position) for node in nodes],
            "certainty": reason,
            "window": [_window_facts(node) for node in nodes],
            "map": [node.feature_map for node in nodes],
            **_where_resized(nodes),
            "parameters": [node.parameters for node in nodes],
            "work": [node.measures.work for node in nodes],
        },
        "levels": {
            "blocks": _level(nodes, blocks_of(graph, nodes)),
            "nodes": _level(nodes, operations_of(inputs, [node in extractor for node in nodes])),
        },
    }


def _where_resized(nodes: Sequence[EnrichedNetworkNode]) -> dict[str, Any]:
    """Return the size that the model gives to the image of every node; nothing if it gives none."""
    sizes = [node.resized_to or 0 for node in nodes]
    return {"resized": sizes} if any(sizes) else {}


def _level(nodes: Sequence[EnrichedNetworkNode], units: Units) -> dict[str, Any]:
    looks = (nodes[main] for main in units.main)
    return {
        "main": units.main,
        "kind": units.kinds,
        "inputs": units.inputs,
        "unit": units.unit_of,
        "looks": [int(any(node.layer_info.expands(node.axes or 1))) for node in looks],
        **modules_of(nodes, units),
    }


def _window_facts(node: EnrichedNetworkNode) -> tuple[Any, Any] | None:
    """Return per axis what the first unit sees of the input: its first pixel, and how many."""
    window = node.window
    return None if window is None else (_sizes(window.start), _sizes(window.size))


def _layer_facts(layer: LayerDefinition, axes: int) -> tuple[tuple[str, Any], ...]:
    steps = ((_sizes(step.kernel), *step[1:]) for step in map_steps(layer, axes))
    return (
        ("type", layer.name),
        ("text", labels.layer_text(layer)),
        ("kernel", labels.size_text(layer.kernel_size)),
        ("stride", labels.size_text(layer.stride_size)),
        ("dilation", labels.size_text(layer.dilation)),
        ("upsampling", labels.size_text(layer.upsampling)),
        ("padding", _padding_text(layer.padding)),
        ("filters", layer.filters),
        ("units", layer.units),
        ("window", _sizes(layer.window(axes))),
        ("steps", tuple(steps)),
        ("blocks", layer.blockwise),
        ("grows", layer.resolution_dependent),
    )


def _padding_text(padding: Any) -> str | None:
    if padding is None or isinstance(padding, int):
        return None if padding is None else str(padding)
    return "x".join("?" if pair is None else _pair_text(*pair) for pair in padding)


def _pair_text(begin: int, end: int | None) -> str:
    return str(begin) if begin == end else f"({begin}, {'?' if end is None else end})"


def _listed_once(values: Iterable[Hashable]) -> tuple[list[Any], list[int]]:
    """Return the different values, and for every value its place among them.

    >>> _listed_once("abba")
    (['a', 'b'], [0, 1, 1, 0])
    """
    places: dict[Hashable, int] = {}
    found = [places.setdefault(value, len(places)) for value in values]
    return list(places), found


def _sizes(value: Any) -> Any:
    """Return sizes for JSON.

    >>> _sizes((3, 3)), _sizes((3, math.inf)), _sizes(math.inf)
    (3, (3, None), None)
    """
    return _alike(value, lambda size: None if abs(size) == math.inf else size)


def _jumps(value: Any) -> Any:
    """Return distances for JSON, fractions as numerator and denominator in a text.

    >>> _jumps((Fraction(1, 2), Fraction(1, 2))), _jumps((2, None))
    ('1/2', (2, None))
    """
    return _alike(value, lambda jump: str(jump) if isinstance(jump, Fraction) else jump)


def _alike(value: Any, plain: Callable[[Any], Any]) -> Any:
    if not isinstance(value, tuple):
        return plain(value)
    values = tuple(plain(item) for item in value)
    return values[0] if all(item == values[0] for item in values) else values
