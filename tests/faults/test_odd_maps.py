"""Maps that are made as large as an odd one: units of both drift apart, and are followed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.unit_windows import region_of
from tests.faults.influence import seen_by_differences
from tests.pytorch.measure import encode


class UNet(nn.Module):
    """Skips go through a layer of their own, which moves them where it pads more than it sees."""

    def __init__(self, depth: int, mode: str, kernel: int, moves: int) -> None:
        super().__init__()
        self.mode = mode
        padding = kernel // 2 + moves
        self.front = nn.ModuleList(nn.Conv1d(2, 2, 3, padding=1) for _ in range(depth))
        self.down = nn.ModuleList(nn.Conv1d(2, 2, 2, 2) for _ in range(depth))
        self.skip = nn.ModuleList(nn.Conv1d(2, 2, kernel, padding=padding) for _ in range(depth))
        self.up = nn.ModuleList(nn.Conv1d(2, 2, 1) for _ in range(depth))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for front, down in zip(self.front, self.down, strict=True):
            skips.append(front(x))
            x = down(skips[-1])
        for skip, up in zip(self.skip, self.up, strict=True):
            beside = skips.pop()
            x = F.interpolate(x, size=beside.shape[2:], mode=self.mode)
            x = up(x + skip(beside)[..., : beside.shape[-1]])
        return x


@pytest.mark.parametrize("moves", [0, 1])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("depth", [1, 2])
def test_units_of_odd_maps_see_what_an_experiment_finds(
    depth: int, mode: str, kernel: int, moves: int
) -> None:
    torch.manual_seed(0)
    model = UNet(depth, mode, kernel, moves)
    graph = encode(model, (1, 2, 47))
    (windows,) = graph.unit_windows
    found = seen_by_differences(model, (1, 2, 47))
    assert graph.receptive_field_max[0] >= max(last - first + 1 for first, last in found)
    for unit, (first, last) in enumerate(found):
        begin, end = region_of(windows, unit)
        assert begin <= first <= last <= end
        if begin >= 0 and end < 47 and mode == "nearest":
            assert (first, last) == (begin, end)
