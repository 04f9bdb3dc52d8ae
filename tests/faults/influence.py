"""Which samples units see, also where a model multiplies some of them by 0, as masks do."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["seen_by_differences"]


def seen_by_differences(
    model: nn.Module, shape: Sequence[int], axis: int = -1
) -> list[tuple[int, int]]:
    """Return per place of the output the first and the last place of the input that changes it.

    (0, -1) if none does. Both are counted along one axis. NaN would go through a product with 0
    where nothing else does.
    """
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    count = shape[axis]
    signal = torch.rand(*shape, dtype=torch.float64, generator=generator) + 0.5
    seen: list[list[int]] = []
    with torch.no_grad():
        plain = _by_place(model(signal), axis)
        for place in range(count):
            changed = signal.clone()
            changed.select(axis, place).mul_(-1.5)
            differs = (_by_place(model(changed), axis) != plain).any(1).tolist()
            seen = seen or [[] for _ in differs]
            for unit in torch.nonzero(torch.tensor(differs)).flatten().tolist():
                seen[unit].append(place)
    model.float()
    return [(one[0], one[-1]) if one else (0, -1) for one in seen]


def _by_place(output: torch.Tensor, axis: int) -> torch.Tensor:
    return output.movedim(axis, 0).flatten(1)
