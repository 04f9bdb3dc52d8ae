"""What tells two graphs of one network apart: the predicted one, and that of the live model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.graphs.maps import map_steps
from rfa_toolbox.refinement.nodes import is_pooling

__all__ = ["Difference", "differences", "pairs"]


@attrs.frozen
class Difference:
    """One thing that a node of the live model does otherwise than predicted.

    Attributes:
        name: that of the node.
        what: which property of it.
        predicted: as the edited graph has it; None where it has no such node.
        actual: as the edited model does it; None where it has no such node.

    >>> str(Difference("layer4", "feature map", (14, 14), (7, 7)))
    'layer4: its feature map is (7, 7) instead of (14, 14)'
    """

    name: str
    what: str
    predicted: Any
    actual: Any

    def __str__(self) -> str:
        if self.what == "node":
            return f"{self.name}: this layer is {'missing' if self.actual is None else 'new'}"
        return f"{self.name}: its {self.what} is {self.actual} instead of {self.predicted}"


def _jumps_and_fields(node: EnrichedNetworkNode) -> Any:
    return [(one.receptive_field, one.multiplicator) for one in node.receptive_field_info]


def _per_axis(name: str) -> Callable[[EnrichedNetworkNode], Any]:
    def of(node: EnrichedNetworkNode) -> Any:
        return arithmetic.broadcast(getattr(node.layer_info, name), node.axes or 1)

    return of


def _reach_of_pooling(node: EnrichedNetworkNode) -> Any:
    """Return how far windows of a pooling reach beyond its padding, at any size of the map.

    It tells poolings apart that make the same map of one size, and not of others.
    """
    if not is_pooling(node) or node.layer_info.resolution_dependent:
        return None
    return [step.reach for step in map_steps(node.layer_info, node.axes or 1)]


_PROPERTIES: Final[dict[str, Callable[[EnrichedNetworkNode], Any]]] = {
    "kernel": _per_axis("kernel_size"),
    "stride": _per_axis("stride_size"),
    "dilation": _per_axis("dilation"),
    "up-sampling": _per_axis("upsampling"),
    "number of filters": lambda node: node.layer_info.filters,
    "number of units": lambda node: node.layer_info.units,
    "receptive field": _jumps_and_fields,
    "receptive field at any resolution": lambda node: node.lasting_receptive_fields,
    "feature map": lambda node: node.feature_map,
    "window beyond its padding": _reach_of_pooling,
    "number of parameters": lambda node: node.parameters,
    "number of multiply-accumulates": lambda node: node.multiply_accumulates,
}
"""All that must be equal, causes before effects."""


def pairs(
    first: Sequence[EnrichedNetworkNode], second: Sequence[EnrichedNetworkNode]
) -> list[tuple[EnrichedNetworkNode | None, EnrichedNetworkNode | None]]:
    """Return the nodes of two graphs side by side, those of one name together, in their order.

    A name is that of a layer in the code, so it is the same in both. What only one of them has
    stands opposite to None.
    """
    named = {node.name: node for node in second}
    known = {node.name for node in first}
    both = [(node, named.get(node.name)) for node in first]
    return [*both, *((None, node) for node in second if node.name not in known)]


def differences(predicted: EnrichedNetworkNode, actual: EnrichedNetworkNode) -> list[Difference]:
    """Return all that tells the graph of a live model from a predicted one, in their order.

    Where layers were put in, the two name them by their own rules: they are matched in their order.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> one = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3), [])
    >>> other = EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 2), [])
    >>> [str(difference) for difference in differences(one, other)][0]
    'conv: its stride is (2,) instead of (1,)'
    """
    found: list[Difference] = []
    matched: dict[EnrichedNetworkNode, EnrichedNetworkNode] = {}
    for one, other in _matched(predicted.all_layers, actual.all_layers):
        if one is None or other is None:
            name = (one or other).name  # type: ignore[union-attr]
            found.append(Difference(name, "node", one and one.name, other and other.name))
            continue
        matched[one] = other
        found += _of_nodes(one, other)
        read = [matched.get(before) for before in one.predecessors]
        if read != list(other.predecessors):
            found.append(
                Difference(
                    one.name,
                    "input",
                    [before.name for before in one.predecessors],
                    [before.name for before in other.predecessors],
                )
            )
    return found


def _matched(
    first: Sequence[EnrichedNetworkNode], second: Sequence[EnrichedNetworkNode]
) -> Iterator[tuple[EnrichedNetworkNode | None, EnrichedNetworkNode | None]]:
    """Yield nodes side by side; those without a namesake, by kind and order among themselves."""
    together = pairs(first, second)
    lonely = [other for one, other in together if one is None and other is not None]
    for one, other in together:
        if one is None:
            continue
        if other is None:
            alike = [new for new in lonely if new.layer_info.name == one.layer_info.name]
            if alike:
                lonely.remove(alike[0])
            yield one, alike[0] if alike else None
        else:
            yield one, other
    yield from ((None, other) for other in lonely)


def _of_nodes(one: EnrichedNetworkNode, other: EnrichedNetworkNode) -> Iterator[Difference]:
    for what, of in _PROPERTIES.items():
        predicted, actual = of(one), of(other)
        if predicted != actual:
            yield Difference(one.name, what, predicted, actual)
    # What lies in front of unit 0 decides which pixels the units see; padding behind the last
    # one that no window reaches does not.
    starts = [node.window and node.window.start for node in (one, other)]
    if starts[0] != starts[1] and starts[0] is not None:
        yield Difference(one.name, "first pixel", starts[0], starts[1])
