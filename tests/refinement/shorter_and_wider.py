"""EfficientNet, shorter and wider, as data: no stage 7, a wide stage 5, a stage 6 of few blocks.

Source: as for ``tests.refinement.published``. At width 1, stage 5 has 165 channels (rounded to 168)
and 7 blocks, stage 6 has 320 channels and one block; other sizes multiply both as EfficientNet
does.
"""

from __future__ import annotations

from typing import Any

import attrs

from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement import Rebuild, Refinement, refinement_of


@attrs.frozen
class ShorterAndWider:
    """One model, and its numbers: pixels, G, M; None where none were published."""

    model: str
    edit: Rebuild
    size: int
    resolution: int
    compute: float | None
    parameters: float | None

    def __str__(self) -> str:
        return f"torchvision {self.model} shorter and wider"


def _row(
    number: int,
    size: int,
    channels: tuple[int, int],
    blocks: tuple[int, int],
    resolution: int,
    compute: float | None,
    parameters: float | None,
    stride: int = 1,
) -> ShorterAndWider:
    stages: list[dict[str, Any]] = [
        *([{}] * 4),
        {"channels": channels[0], "blocks": blocks[0]},
        {"channels": channels[1], "blocks": blocks[1], "stride": stride},
    ]
    edit = Rebuild({"stages": stages})
    name = f"efficientnet_b{number}"
    return ShorterAndWider(name, edit, size, resolution, compute, parameters)


SHORTER_AND_WIDER = (
    _row(0, 224, (168, 320), (7, 1), 171, 0.728, 5.486, stride=2),
    _row(0, 224, (168, 320), (7, 1), 171, 0.842, 5.486),
    _row(1, 240, (168, 320), (8, 2), 235, 1.43, 7.680),
    _row(2, 260, (184, 352), (9, 2), 235, 2.27, 9.626),
    _row(3, 300, (200, 384), (10, 2), 235, 3.72, 12.016),
    _row(4, 380, (232, 448), (13, 2), 235, 9.27, 18.657),
    _row(5, 456, (264, 512), (16, 3), 235, 23.1, 31.508),
    _row(6, 224, (296, 576), (19, 3), 235, None, None),
    _row(7, 224, (328, 640), (22, 4), 235, None, None),
)


def made_of(graph: EnrichedNetworkNode, row: ShorterAndWider) -> Refinement:
    """Return a row as a refinement; what it gives is known of the new model only."""
    return attrs.evolve(refinement_of(graph, (), row.size), edits=(row.edit,), after=None)
