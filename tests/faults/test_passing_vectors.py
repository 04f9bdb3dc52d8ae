"""A vector that is taken apart again before anything mixes it was a map all the time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from tests.pytorch.measure import INF, Function, captures, encode, measured_extent

SHAPE = (1, 2, 12, 12)


def model(function: Any) -> nn.Module:
    return Function(
        function, c=nn.Conv2d(2, 2, 3, padding=1), d=nn.Conv2d(2, 2, 3), l=nn.Linear(288, 288)
    )


PASSING: dict[str, Any] = {
    "activated": lambda s, x: s.d(s.c(x).flatten(1).relu().view_as(x)),
    "only reshaped": lambda s, x: s.d(s.c(x).flatten(1).unflatten(1, (2, 12, 12))),
    "without images": lambda s, x: s.d((s.c(x).flatten() * 2).view(1, 2, 12, 12)),
    "with another": lambda s, x: s.d((s.c(x).flatten(1) + x.flatten(1)).sigmoid().view_as(x)),
}


@captures
@pytest.mark.parametrize("way", PASSING)
def test_what_changes_numbers_of_a_vector_mixes_no_positions(way: str, capture: str) -> None:
    network = model(PASSING[way])
    graph = encode(network, SHAPE, capture)
    assert (graph.receptive_field_max, graph.certainty) == ((5, 5), "exact")
    assert measured_extent(network, SHAPE, (2, 3)) == (5, 5)


def test_a_part_of_a_vector_that_is_taken_apart_is_one_of_the_map() -> None:
    network = Function(
        lambda s, x: s.d(s.c(x).flatten(1).chunk(2, 1)[1].view(1, 1, 12, 12)),
        c=nn.Conv2d(2, 2, 3, padding=1),
        d=nn.Conv2d(1, 2, 3),
    )
    graph = encode(network, SHAPE)
    assert (graph.receptive_field_max, graph.certainty) == ((5, 5), "exact")
    assert measured_extent(network, SHAPE, (2, 3)) == (5, 5)


def test_vectors_in_a_row_that_are_taken_apart_are_a_bound() -> None:
    network = model(
        lambda s, x: s.d(torch.cat([s.c(x).flatten(1), x.flatten(1)], 1).view(2, 2, 12, 12))
    )
    assert encode(network, SHAPE).certainty == "bound"


def test_a_norm_of_a_vector_is_one_of_the_map() -> None:
    graph = encode(model(lambda s, x: s.d(F.normalize(s.c(x).flatten(1)).view_as(x))), SHAPE)
    assert (graph.receptive_field_max, graph.certainty) == ((5, 5), "exact")


@pytest.mark.parametrize("as_returned", [True, False])
def test_a_vector_that_a_dense_layer_mixes_has_seen_everything(as_returned: bool) -> None:
    def function(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.l(s.c(x).flatten(1).relu())
        return y if as_returned else s.d(y.view_as(x))

    names = {node.name: node for node in encode(model(function), SHAPE).all_layers}
    assert names["flatten"].receptive_field_max == (INF, INF)
    assert names["l" if as_returned else "d"].receptive_field_max == (INF, INF)


def test_vectors_of_frames_are_not_taken_apart_where_frames_are() -> None:
    network = Function(
        lambda s, x: s.over_time(
            s.c(x.reshape(-1, 2, 12, 12)).flatten(1).view(x.shape[0], x.shape[1], -1).mT
        ),
        c=nn.Conv2d(2, 2, 3),
        over_time=nn.Conv1d(200, 1, 3),
    )
    nodes = {node.name: node for node in encode(network, (2, 5, 2, 12, 12)).all_layers}
    assert nodes["flatten"].receptive_field_max[-2:] == (INF, INF)
    assert nodes["over_time"].receptive_field_max[-2:] == (INF, INF)
