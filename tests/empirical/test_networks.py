"""Whole networks of other kinds than classifiers: analysis equals experiment at every node."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.empirical import verify


class UNet(nn.Module):
    """Three levels; transposed convolution on the way up, then bilinear resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 5)]
        )
        self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1)
        self.merge = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = F.relu(self.down[0](x))
        two = F.relu(self.down[1](F.max_pool2d(one, 2)))
        three = F.pad(F.relu(self.down[2](F.avg_pool2d(two, 2))), (2, 2, 2, 2))
        back = self.merge[0](torch.cat([two, self.up(three)], 1))
        finer = F.interpolate(back, scale_factor=2, mode="bilinear")
        return self.merge[1](torch.cat([one, finer], 1))


class FeaturePyramid(nn.Module):
    """Lateral 1x1 convolutions, nearest up-sampling from the top, and an output per level."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            [nn.Conv2d(3 if not i else 4, 4, 3, stride=2, padding=1) for i in range(4)]
        )
        self.lateral = nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(4)])
        self.out = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(4)])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for level in self.levels:
            x = F.relu(level(x))
            maps.append(x)
        top, found = None, []
        for place in reversed(range(4)):
            own = self.lateral[place](maps[place])
            top = own if top is None else own + F.interpolate(top, scale_factor=2.0)
            found.append(self.out[place](top))
        return found


class WaveNet(nn.Module):
    """Causal dilated convolutions of two taps with gates, residuals and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, 2)
        self.dilations = (1, 2, 4, 8, 16, 1, 2, 4, 8, 16)
        self.filters = nn.ModuleList([nn.Conv1d(4, 4, 2, dilation=d) for d in self.dilations])
        self.gates = nn.ModuleList([nn.Conv1d(4, 4, 2, dilation=d) for d in self.dilations])
        self.skips = nn.ModuleList([nn.Conv1d(4, 4, 1) for _ in self.dilations])
        self.last = nn.Conv1d(4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(F.pad(x, (1, 0)))
        total = 0
        for d, one, gate, skip in zip(
            self.dilations, self.filters, self.gates, self.skips, strict=True
        ):
            padded = F.pad(x, (d, 0))
            inner = torch.tanh(one(padded)) * torch.sigmoid(gate(padded))
            total = total + skip(inner)
            x = x + inner
        return self.last(F.relu(total))


class ResNet3D(nn.Module):
    """Two stages of a residual network over time, height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, 4, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3))
        self.one = nn.Conv3d(4, 4, 3, padding=1)
        self.two = nn.Conv3d(4, 4, 3, stride=2, padding=1)
        self.short = nn.Conv3d(4, 4, 1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(x + self.one(x))
        x = F.relu(self.short(x) + self.two(x))
        return x.mean((2, 3, 4))


@pytest.mark.parametrize(
    ("model", "shape", "largest"),
    [
        pytest.param(UNet(), (1, 1, 64, 64), (38, 38), id="U-Net"),
        pytest.param(FeaturePyramid(), (1, 3, 64, 64), None, id="feature pyramid"),
        pytest.param(WaveNet(), (1, 1, 256), (64,), id="WaveNet"),
        pytest.param(ResNet3D(), (1, 3, 16, 32, 32), None, id="3-D ResNet"),
    ],
)
def test_analysis_equals_experiment(
    model: nn.Module, shape: tuple[int, ...], largest: tuple[int, ...] | None
) -> None:
    report = verify(model, shape)
    assert report.ok, report.disagreements[:3]
    assert {one.verdict for one in report.nodes} == {"agrees"}
    if largest is not None:
        assert report.nodes[-1].size == largest
