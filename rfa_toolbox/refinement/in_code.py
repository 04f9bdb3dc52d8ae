"""Which edits a live model has no place for, because its own code calls the layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.edits import Edit, InsertPooling, Repeat, SetWindow
from rfa_toolbox.refinement.nodes import is_in_code, is_inside, is_of_keras
from rfa_toolbox.refinement.repeats import block_named

__all__ = ["layers_in_code"]


def layers_in_code(
    nodes: Sequence[EnrichedNetworkNode],
    edits: Iterable[Edit],
    removed: Sequence[EnrichedNetworkNode] = (),
) -> tuple[str, ...]:
    """Return the layers at which only the code of a PyTorch model can do what edits say.

    A stride is changed in a layer, and a layer is put into a Sequential, copied there, or taken
    out of it. What a ``forward()`` calls itself has to be written there. A graph does not tell
    which modules are a Sequential: those with a number for a name count as parts of one.

    Args:
        nodes: all layers of a graph.
        edits: changes of it.
        removed: the layers that they leave out.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv2d", 3), [], module_path="conv")
    >>> layers_in_code([conv], [InsertPooling("conv")])
    ('conv',)
    """
    if any(is_of_keras(node.layer_info) for node in nodes):
        return ()  # a Keras model is made of a configuration, which has all layers
    if not any(node.module_path for node in nodes):
        return ()  # there is no code: the graph was made by hand
    by_name = {node.name: node for node in nodes}
    found: list[str] = []
    for one in edits:
        if isinstance(one, SetWindow):
            found += [one.node] if is_in_code(by_name[one.node]) else []
        elif isinstance(one, InsertPooling):
            found += [] if _has_place_behind(by_name[one.node]) else [one.node]
        elif isinstance(one, Repeat) and one.times > 1:
            found += [unit for unit in block_named(nodes, one.block).units if not _is_part(unit)]
    return tuple(dict.fromkeys((*found, *_left_in_code(nodes, removed))))


def _is_part(path: str) -> bool:
    """Whether a module may be a part of a Sequential."""
    return path.rpartition(".")[2].isdigit()


def _has_place_behind(node: EnrichedNetworkNode) -> bool:
    """Whether a layer can be put in behind a node: behind a module that ends with it."""
    for path in _modules_around(node):
        if any(is_inside(one.module_path, path) for one in node.successors):
            return False
        if _is_part(path):
            return True
    return False


def _left_in_code(
    nodes: Sequence[EnrichedNetworkNode], removed: Sequence[EnrichedNetworkNode]
) -> Iterator[str]:
    """Yield those of the removed layers that are in no module of which all is removed."""
    whole = Counter(path for node in nodes for path in _modules_around(node))
    gone = Counter(path for node in removed for path in _modules_around(node))
    for node in removed:
        if not any(gone[path] == whole[path] for path in _modules_around(node)):
            yield node.name


def _modules_around(node: EnrichedNetworkNode) -> Iterator[str]:
    """Yield the modules that a node is in, the innermost one first."""
    path = node.module_path
    while path:
        yield path
        path = path.rpartition(".")[0]
