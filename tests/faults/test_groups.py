"""Groups of channels keep positions apart that lie in the place of channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.faults.influence import seen_by_differences
from tests.pytorch.measure import Function, captures, encode, per_axis

SIZE, CHANNELS = 12, 4


def rows_in_channels(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x).permute(0, 2, 1, 3).reshape(1, SIZE * CHANNELS, SIZE)
    return s.g(y).reshape(1, SIZE, -1, SIZE).permute(0, 2, 1, 3)  # type: ignore[no-any-return]


def rows_behind_channels(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.g(s.c(x).reshape(1, CHANNELS * SIZE, SIZE)).reshape(1, -1, SIZE, SIZE)  # type: ignore[no-any-return]


def columns_in_channels(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x).permute(0, 3, 1, 2).reshape(1, SIZE * CHANNELS, SIZE)
    return s.g(y).reshape(1, SIZE, -1, SIZE).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def grouped(groups: int, kernel: int = 3, filters: int = SIZE * CHANNELS) -> nn.Module:
    return nn.Conv1d(SIZE * CHANNELS, filters, kernel, padding=kernel // 2, groups=groups)


CASES: dict[str, tuple[Any, nn.Module, tuple[int, int]]] = {
    "one group per row": (rows_in_channels, grouped(SIZE), (3, 5)),
    "one group per row, and more filters": (rows_in_channels, grouped(SIZE, 5, 96), (3, 7)),
    "one group per two rows": (rows_in_channels, grouped(SIZE // 2), (4, 5)),
    "one group per row and channel": (rows_in_channels, grouped(SIZE * CHANNELS), (3, 5)),
    "two groups per row": (rows_in_channels, grouped(2 * SIZE), (3, 5)),
    "one group per channel of a row": (rows_behind_channels, grouped(SIZE * CHANNELS), (3, 5)),
    "one group per column": (columns_in_channels, grouped(SIZE), (5, 3)),
}


@captures
@pytest.mark.parametrize("name", CASES)
def test_groups_that_are_rows_see_no_other_rows(name: str, capture: str) -> None:
    work, layer, field = CASES[name]
    model = Function(work, c=nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), g=layer)
    graph = encode(model, (1, CHANNELS, SIZE, SIZE), capture)
    assert (graph.receptive_field_max, graph.certainty) == (field, "exact")
    for axis, size in enumerate(field):
        found = seen_by_differences(model, (1, CHANNELS, SIZE, SIZE), axis - 2)
        assert max(last - first + 1 for first, last in found) == size


def test_groups_that_are_no_rows_are_a_bound() -> None:
    layer = nn.Conv1d(SIZE * CHANNELS, SIZE * CHANNELS, 1, groups=16)
    model = Function(rows_behind_channels, c=nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), g=layer)
    graph = encode(model, (1, CHANNELS, SIZE, SIZE))
    found = seen_by_differences(model, (1, CHANNELS, SIZE, SIZE), -2)
    assert graph.certainty == "bound" or graph.receptive_field_max[0] == max(
        last - first + 1 for first, last in found
    )
    assert per_axis(graph.receptive_field_max)[0] >= max(last - first + 1 for first, last in found)


def with_multiplier(s: Any, x: torch.Tensor) -> torch.Tensor:
    tokens = s.g(s.c(x)).flatten(2).transpose(1, 2)
    finer = s.l(tokens).transpose(1, 2).reshape(1, CHANNELS, SIZE // 2, SIZE // 2)
    return s.d(finer)  # type: ignore[no-any-return]


@captures
def test_channels_that_groups_make_more_of_are_no_positions(capture: str) -> None:
    layers = {"c": nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), "l": nn.Linear(8, CHANNELS)}
    layers["g"] = nn.Conv2d(CHANNELS, 2 * CHANNELS, 3, 2, 1, groups=CHANNELS)
    layers["d"] = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
    model = Function(with_multiplier, **layers)
    graph = encode(model, (1, CHANNELS, SIZE, SIZE), capture)
    found = seen_by_differences(model, (1, CHANNELS, SIZE, SIZE))
    field = max(last - first + 1 for first, last in found)
    assert graph.receptive_field_max == (field, field) == (9, 9)
    assert [node.certainty for node in graph.all_layers] == ["exact"] * 5
