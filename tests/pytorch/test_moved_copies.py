"""Copies of a map that are moved against each other and meet: all that a unit sees counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from rfa_toolbox import create_graph_from_pytorch_model, input_resolution_range
from tests.pytorch.measure import measured_extent


class Focus(nn.Module):
    def __init__(self, factor: int, kernel: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(factor * factor, 2, kernel, padding=kernel // 2)

    def forward(self, x):
        places = [(row, column) for row in range(self.factor) for column in range(self.factor)]
        return self.conv(
            torch.cat([x[..., r :: self.factor, c :: self.factor] for r, c in places], 1)
        )


class Shift(nn.Module):
    def forward(self, x):
        padded = functional.pad(x, (1, 1, 1, 1))
        height, width = x.shape[2:]
        return torch.cat(
            [
                padded[:, :1, 1 : 1 + height, :width],
                padded[:, 1:2, 1 : 1 + height, 2 : 2 + width],
                padded[:, 2:3, :height, 1 : 1 + width],
                padded[:, 3:4, 2 : 2 + height, 1 : 1 + width],
                x[:, 4:],
            ],
            1,
        )


class Delayed(nn.Module):
    def __init__(self, delay: int) -> None:
        super().__init__()
        self.delay = delay
        self.now, self.then = nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1)

    def forward(self, x):
        return self.now(x) + self.then(functional.pad(x, (self.delay, 0))[..., : -self.delay])


def shifting() -> nn.Module:
    block = [nn.Conv2d(5, 5, 1), Shift(), nn.Conv2d(5, 5, 1)]
    return nn.Sequential(nn.Conv2d(1, 5, 1), *block, nn.MaxPool2d(2), *block)


@pytest.mark.parametrize(
    ("model", "shape", "field"),
    [
        pytest.param(Focus(2, 3), (1, 1, 32, 32), (6, 6), id="focus"),
        pytest.param(Focus(3, 1), (1, 1, 27, 27), (3, 3), id="patches"),
        pytest.param(shifting(), (1, 1, 32, 32), (8, 8), id="shifts"),
        pytest.param(
            nn.Sequential(*(Delayed(2**level) for level in range(4))),
            (1, 1, 64),
            (16,),
            id="delays",
        ),
    ],
)
def test_the_largest_field_is_what_an_experiment_measures(model, shape, field):
    graph = create_graph_from_pytorch_model(model.eval(), input_res=shape)
    assert graph.receptive_field_max == field == graph.window.size
    assert measured_extent(model, shape, tuple(range(2, len(shape)))) == field
    assert input_resolution_range(graph)[1] == field


def test_networks_that_compute_the_same_have_the_same_largest_field():
    follow = [nn.Conv2d(2, 2, 3, 2, 1), nn.Conv2d(2, 2, 5, padding=2)]
    graphs = [
        create_graph_from_pytorch_model(nn.Sequential(stem, *follow), input_res=(1, 1, 64, 64))
        for stem in (Focus(2, 3), nn.Conv2d(1, 2, 6, 2, 2))
    ]
    fields = [[node.receptive_field_max for node in graph.all_layers[-3:]] for graph in graphs]
    assert fields[0] == fields[1]


class Repeated(nn.Module):
    """Two runs of a map that stands twice in a row, whose units are in no order to be followed."""

    def __init__(self, first: slice, second: slice) -> None:
        super().__init__()
        self.conv, self.runs = nn.Conv1d(1, 1, 3, padding=1), (first, second)

    def forward(self, x):
        twice = self.conv(x).tile(1, 1, 2)
        first, second = (twice[..., run] for run in self.runs)
        return first + second


@pytest.mark.parametrize(
    ("runs", "field"),
    [
        pytest.param((slice(1, 25), slice(0, 24)), math.inf, id="moved"),
        pytest.param((slice(0, None, 2), slice(1, None, 2)), math.inf, id="in turn"),
        pytest.param((slice(1, 25), slice(1, 25)), 3, id="the same"),
    ],
)
def test_runs_of_an_order_that_is_not_followed_are_one_only_if_they_begin_alike(runs, field):
    graph = create_graph_from_pytorch_model(Repeated(*runs).eval(), input_res=(1, 1, 24))
    assert graph.receptive_field_max == (field,)
    assert graph.certainty == ("exact" if field == 3 else "bound")
