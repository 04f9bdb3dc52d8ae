"""An experiment contradicts graphs that say of a layer, wrongly, that it sees everything."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox.empirical import verify
from rfa_toolbox.encodings.pytorch import add_custom_layer_handler, remove_custom_layer_handler
from tests.pytorch.measure import Function


class Mixer(nn.Module):
    """Looks at three neighbours, or at everything."""

    def __init__(self, kernel: int | None) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernel is None:
            return x + x.mean((2, 3), keepdim=True)
        return nn.functional.avg_pool2d(x, self.kernel, 1)


@pytest.mark.parametrize(("kernel", "verdict"), [(3, "differs"), (None, "agrees")])
def test_a_layer_that_is_said_to_see_everything_is_looked_at(
    kernel: int | None, verdict: str
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Mixer(kernel), nn.Conv2d(2, 2, 3))
    add_custom_layer_handler("Mixer", kernel_size_provider=lambda module: math.inf)
    try:
        report = verify(model, (1, 1, 32, 32), custom_layers=["Mixer"])
    finally:
        remove_custom_layer_handler("Mixer")
    assert [one.verdict for one in report.nodes] == ["agrees", verdict, verdict]


def in_another_order(s: Any, x: torch.Tensor) -> torch.Tensor:
    listed = s.c(x).flatten(1)
    size = listed.shape[1]
    order = torch.arange(size).reshape(2, -1).T.flatten()
    return 2 * listed[:, order]


def pooled(s: Any, x: torch.Tensor) -> torch.Tensor:
    return 2 * s.c(x).flatten(1).mean(1)


def test_a_list_of_all_numbers_is_everything_in_any_order_until_some_are_looked_at() -> None:
    report = verify(Function(in_another_order, c=nn.Conv1d(1, 2, 3)), (1, 1, 64))
    last = report.nodes[-1]
    assert (last.verdict, last.size) == ("agrees", (math.inf,))


def test_a_number_that_sees_everything_does() -> None:
    report = verify(Function(pooled, c=nn.Conv1d(1, 2, 3)), (1, 1, 64))
    assert (report.nodes[-1].verdict, report.nodes[-1].size) == ("agrees", (math.inf,))
