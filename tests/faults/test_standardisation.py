"""Statistics of a map that only re-scale this map are those of a norm, however they are written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from tests.pytorch.measure import INF, Function, encode


def mean_and_std(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c((x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-7))


def viewed(s: Any, x: torch.Tensor) -> torch.Tensor:
    flat = x.view(x.size(0), -1)
    mean, std = flat.mean(1).view(-1, 1, 1, 1), flat.std(1).view(-1, 1, 1, 1)
    return s.c((x - mean) / (std + 1e-7))


def together(s: Any, x: torch.Tensor) -> torch.Tensor:
    std, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True)
    return s.c((x - mean) / std)


def centred(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(x - F.adaptive_avg_pool2d(x, 1))


def by_hand(s: Any, x: torch.Tensor) -> torch.Tensor:
    middle = x - x.mean((2, 3), keepdim=True)
    return s.c(middle * (middle.pow(2).mean((2, 3), keepdim=True) + 1e-5).rsqrt())


def to_one(s: Any, x: torch.Tensor) -> torch.Tensor:
    least, most = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return s.c((x - least) / (most - least + 1e-7))


def deeper(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    return s.c((y - y.mean((1, 2, 3), keepdim=True)) / y.std((1, 2, 3), keepdim=True))


WAYS: dict[str, tuple[Any, int]] = {
    "mean and deviation": (mean_and_std, 3),
    "of a vector": (viewed, 3),
    "std_mean": (together, 3),
    "centred": (centred, 3),
    "by hand": (by_hand, 3),
    "between 0 and 1": (to_one, 3),
    "between layers": (deeper, 5),
}


@pytest.mark.parametrize("name", WAYS)
def test_standardising_a_map_is_neutral(name: str) -> None:
    function, field = WAYS[name]
    graph = encode(Function(function, c=nn.Conv2d(1, 1, 3)), (1, 1, 32, 32))
    assert graph.receptive_field_max == graph.receptive_field_min == (field, field)


@pytest.mark.parametrize("name", WAYS)
def test_it_counts_where_all_global_operations_do(name: str) -> None:
    model = Function(WAYS[name][0], c=nn.Conv2d(1, 1, 3))
    graph = encode(model, (1, 1, 32, 32), global_ops="count")
    assert graph.receptive_field_max == (INF, INF)


def test_a_map_less_the_mean_of_another_one_sees_everything() -> None:
    model = Function(
        lambda s, x: s.c(x) - s.d(s.d(x)).mean((2, 3), keepdim=True),
        c=nn.Conv2d(1, 1, 3),
        d=nn.Conv2d(1, 1, 5, 2),
    )
    assert encode(model, (1, 1, 32, 32)).receptive_field_max == (INF, INF)
