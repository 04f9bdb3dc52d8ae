"""What is known to be judged wrongly: each test tells what it should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import input_resolution_range
from tests.pytorch.measure import Function, encode


def body() -> list[nn.Module]:
    return [nn.Conv1d(8, 16, 9, 4, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 9, 4, padding=4)]


@pytest.mark.xfail(reason="a convolution over all of a map is not taken for a part of the head")
def test_a_convolution_as_classifier_is_a_part_of_the_head() -> None:
    ranges = [
        input_resolution_range(encode(nn.Sequential(*body(), *head), (1, 8, 1000)))
        for head in ((nn.Conv1d(16, 4, 63),), (nn.Flatten(), nn.Linear(16 * 63, 4)))
    ]
    assert ranges[0] == ranges[1]


def bottleneck_attention(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    channels = s.e(F.adaptive_avg_pool2d(y, 1))
    return y * (1 + torch.sigmoid(channels * s.d(y)))  # type: ignore[no-any-return]


@pytest.mark.xfail(reason="the weight of a gate is not followed through a branch beside it")
def test_a_gate_of_which_a_branch_is_a_part_is_neutral() -> None:
    layers = {"c": nn.Conv2d(1, 4, 3), "d": nn.Conv2d(4, 1, 3, padding=1), "e": nn.Conv2d(4, 4, 1)}
    graph = encode(Function(bottleneck_attention, **layers), (1, 1, 32, 32))
    assert graph.receptive_field_max == (5, 5)


def finer(s: Any, x: torch.Tensor) -> torch.Tensor:
    batch, channels, size = x.shape
    parts = x.view(batch, channels // 2, 2, size).permute(0, 1, 3, 2)
    return s.c(parts.reshape(batch, channels // 2, 2 * size))  # type: ignore[no-any-return]


@pytest.mark.xfail(reason="channels of an input that become positions are taken for an axis of it")
def test_a_shuffle_by_hand_in_front_of_everything_makes_no_axis() -> None:
    graph = encode(Function(finer, c=nn.Conv1d(2, 4, 3, padding=1)), (1, 4, 48))
    assert len(graph.receptive_field_max) == 1
