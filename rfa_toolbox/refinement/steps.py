"""Where a network makes its maps coarser, and which layers do it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.refinement.edits import SetWindow
from rfa_toolbox.refinement.nodes import is_in_code, is_in_head, is_strided, jump_of

__all__ = ["DownsamplingStep", "downsampling_steps", "without"]


@attrs.frozen
class DownsamplingStep:
    """Layers of all branches that make the map coarser together.

    Attributes:
        index: its number, from 1.
        before: pixels between neighbouring units in front of it.
        after: the same behind it.
        nodes: names of the layers whose stride takes the map from below ``after`` to it or beyond.
        crossing: names of the layers whose up-sampling leads back.
        obstacles: by name, which of them cannot be edited, and why.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> [(step.before, step.after) for step in downsampling_steps(resnet18())]
    [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32)]
    """

    index: int
    before: Fraction | int
    after: Fraction | int
    nodes: tuple[str, ...]
    crossing: tuple[str, ...]
    obstacles: Mapping[str, str]

    @property
    def editable(self) -> bool:
        """Whether all of its layers can be edited."""
        return not self.obstacles

    @property
    def words(self) -> str:
        """The step in a few words."""
        more = f" and {len(self.nodes) - 1} more" if len(self.nodes) > 1 else ""
        return f"step {self.index} (jump {self.before} to {self.after}, {self.nodes[0]}{more})"


def downsampling_steps(graph: EnrichedNetworkNode) -> tuple[DownsamplingStep, ...]:
    """Return the steps by which a network makes its maps coarser, in order of their jumps.

    There is one step per distinct jump. It has all strided layers that go from below it to it or
    beyond, in every branch: maps that met at equal jumps still do if they change together. Encode
    the model at a size where its maps have more than one unit.

    Args:
        graph: any node of the graph.
    """
    nodes = [node for node in require_node(graph).all_layers if not is_in_head(node)]
    jumps = {node: (_jump_in_front(node), jump_of(node)) for node in nodes}
    levels = sorted({after for before, after in jumps.values() if after > before})
    steps: list[DownsamplingStep] = []
    for index, level in enumerate(levels, start=1):
        down = [node for node, (before, after) in jumps.items() if before < level <= after]
        down = [node for node in down if is_strided(node)]
        if not down:
            continue
        up = [node for node, (before, after) in jumps.items() if after < level <= before]
        before = levels[index - 2] if index > 1 else min(level, 1)
        ratio = Fraction(level) / Fraction(before)
        obstacles = {node.name: _obstacle(node, ratio) for node in (*down, *up)}
        steps.append(
            DownsamplingStep(
                len(steps) + 1,
                before,
                level,
                tuple(node.name for node in down),
                tuple(node.name for node in up),
                {name: reason for name, reason in obstacles.items() if reason},
            )
        )
    return tuple(steps)


def without(graph: EnrichedNetworkNode, step: DownsamplingStep) -> tuple[SetWindow, ...]:
    """Return the edits that leave a step out: its strides, and the up-sampling that leads back.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> graph = resnet18()
    >>> [one.words for one in without(graph, downsampling_steps(graph)[0])]
    ['stride 1 in Stem-Conv']
    """
    ratio = Fraction(step.after) / Fraction(step.before)
    by_name = {node.name: node for node in require_node(graph).all_layers}
    strides = [
        SetWindow(name, stride=_divided(by_name[name].layer_info.stride_size, ratio))
        for name in step.nodes
    ]
    factors = [
        SetWindow(name, upsampling=_divided(by_name[name].layer_info.upsampling, ratio))
        for name in step.crossing
    ]
    return (*strides, *factors)


def _jump_in_front(node: EnrichedNetworkNode) -> Fraction | int:
    return max((jump_of(one) for one in node.predecessors), default=1)


def _obstacle(node: EnrichedNetworkNode, ratio: Fraction) -> str:
    """Return why the stride of a layer cannot be edited, if so."""
    layer = node.layer_info
    if layer.resolution_dependent:
        return "its window goes by the size of the image"
    if is_in_code(node):
        where = f"of {node.module_path}" if node.module_path else "of the model"
        return f"its stride is in the code {where}"
    values = (layer.stride_size, layer.upsampling)
    several = [one for value in values for one in arithmetic.broadcast(value, node.axes or 1)]
    if any(one > 1 and Fraction(one) % ratio for one in several):
        return f"its stride {layer.stride_size} takes part in several steps"
    return ""


def _divided(value: int | Sequence[int], ratio: Fraction) -> int | tuple[int, ...]:
    if isinstance(value, int):
        return max(1, int(value / ratio)) if value > 1 else value
    several = tuple(max(1, int(one / ratio)) if one > 1 else one for one in value)
    return several[0] if len(set(several)) == 1 else several
