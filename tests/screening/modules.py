"""The networks of ``spaces`` as PyTorch modules."""

from __future__ import annotations

import random

import torch
from torch import nn


def _relu_conv(before: int, behind: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(before, behind, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(behind),
    )


def _operation(name: str, width: int) -> nn.Module:
    if name == "pool3x3":
        return nn.AvgPool2d(3, 1, 1)
    if name == "skip":
        return nn.Identity()
    return _relu_conv(width, width, int(name[-1]))


class Cell(nn.Module):
    """Four nodes, each the sum of what reaches it."""

    def __init__(self, inputs: list[list[tuple[int, str]]], width: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.edges = nn.ModuleList(
            nn.ModuleList(_operation(name, width) for _, name in reads) for reads in inputs
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nodes: list[torch.Tensor | None] = [x]
        for reads, edges in zip(self.inputs, self.edges, strict=True):
            total = None
            for (begin, name), edge in zip(reads, edges, strict=True):
                value = nodes[begin] if name == "skip" else edge(nodes[begin])
                total = value if total is None else total + value
            nodes.append(total)
        return nodes[3]


class Reduction(nn.Module):
    """A residual block that halves the map."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        self.first = _relu_conv(before, behind, 3, 2)
        self.second = _relu_conv(behind, behind, 3)
        self.pool = nn.AvgPool2d(2)
        self.shortcut = nn.Conv2d(before, behind, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)) + self.shortcut(self.pool(x))


class CellNetwork(nn.Module):
    """Three stages of cells, for images of 32 pixels."""

    def __init__(self, inputs: list[list[tuple[int, str]]], width: int, cells: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        ]
        for stage in range(3):
            if stage:
                layers.append(Reduction(width * 2 ** (stage - 1), width * 2**stage))
            layers += [Cell(inputs, width * 2**stage) for _ in range(cells)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.norm(self.layers(x))).mean((2, 3)))


class Residual(nn.Module):
    """A map, and what some layers make of it."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def random_cnn(seed: int) -> nn.Module:
    """Return a random network of 20 to 60 layers: convolutions, poolings and residual blocks."""
    rng = random.Random(seed)
    width = rng.choice([8, 16])
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    for _ in range(rng.randint(4, 9)):
        kernel = rng.choice([1, 3, 3, 5])
        kind = rng.random()
        if kind < 0.4:
            layers.append(Residual(width, kernel))
        elif kind < 0.6:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        else:
            wider = rng.choice([8, 16, 32])
            conv = nn.Conv2d(width, wider, kernel, rng.choice([1, 1, 2]), kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(wider), nn.ReLU(), Residual(wider, 3)]
            width = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
