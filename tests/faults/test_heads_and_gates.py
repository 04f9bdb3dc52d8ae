"""What is known to be judged wrongly: each test tells what it should be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import blocks, input_resolution_range
from rfa_toolbox.empirical import verify
from tests.pytorch.measure import INF, Function, encode


def body() -> list[nn.Module]:
    return [nn.Conv1d(8, 16, 9, 4, padding=4), nn.ReLU(), nn.Conv1d(16, 16, 9, 4, padding=4)]


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 4))


HEADS: dict[str, tuple[nn.Module, nn.Module]] = {
    "a convolution as classifier": (
        nn.Sequential(*body(), nn.Conv1d(16, 4, 63)),
        nn.Sequential(*body(), nn.Flatten(), nn.Linear(16 * 63, 4)),
    ),
    "one with layers over channels behind it": (
        nn.Sequential(*body(), nn.Conv1d(16, 16, 63), nn.ReLU(), nn.Conv1d(16, 4, 1)),
        nn.Sequential(*body(), nn.Flatten(), nn.Linear(16 * 63, 4)),
    ),
    "a pooling of fixed size": (
        flat(*body(), nn.AvgPool1d(63)),
        flat(*body(), nn.AdaptiveAvgPool1d(1)),
    ),
    "a pooling that leaves a rest of the map": (
        flat(*body(), nn.MaxPool1d(60)),
        flat(*body(), nn.AdaptiveMaxPool1d(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_window_over_all_of_a_map_behind_which_nothing_looks_is_the_head(name: str) -> None:
    first, second = (encode(model, (1, 8, 1000)) for model in HEADS[name])
    assert input_resolution_range(first) == input_resolution_range(second)
    counted = [
        [block.name for block in blocks(graph) if block.counted] for graph in (first, second)
    ]
    assert counted[0] == counted[1]
    assert not any(block.state(1000) == "unproductive" for block in blocks(first) if block.counted)
    (covering,) = (node for node in first.all_layers if node.layer_info.covers_map)
    assert covering.receptive_field_max[0] < INF  # as an experiment says


LAYERS: dict[str, tuple[nn.Module, int]] = {
    "a global pooling is behind it": (
        flat(*body(), nn.MaxPool1d(63), nn.AdaptiveAvgPool1d(1)), 1000,
    ),
    "a convolution is behind it": (
        nn.Sequential(*body(), nn.AvgPool1d(63), nn.Conv1d(16, 4, 3, padding=1)), 1000,
    ),
    "its map is larger": (nn.Sequential(*body(), nn.Conv1d(16, 4, 63)), 1200),
    "it is padded": (nn.Sequential(*body(), nn.Conv1d(16, 4, 65, 3, padding=1)), 1000),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_a_window_over_all_of_a_map_is_a_layer_where(name: str) -> None:
    model, size = LAYERS[name]
    graph = encode(model, (1, 8, size))
    assert not any(node.layer_info.covers_map for node in graph.all_layers)


def bottleneck_attention(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    channels = s.e(F.adaptive_avg_pool2d(y, 1))
    return y * (1 + torch.sigmoid(channels * s.d(y)))  # type: ignore[no-any-return]


def test_a_gate_of_which_a_branch_is_a_part_is_neutral() -> None:
    layers = {"c": nn.Conv2d(1, 4, 3), "d": nn.Conv2d(4, 1, 3, padding=1), "e": nn.Conv2d(4, 4, 1)}
    graph = encode(Function(bottleneck_attention, **layers), (1, 1, 32, 32))
    assert graph.receptive_field_max == (5, 5)


def pooled(s: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(s.e(F.adaptive_avg_pool2d(x, 1)))


def sums_of_branches(s: Any, x: torch.Tensor) -> torch.Tensor:
    first, second = s.c(x), s.d(x)
    weights = pooled(s, first + second)
    return weights * first + (1 - weights) * second


GATES: dict[str, tuple[Any, tuple[int, int]]] = {
    "the map in front of the branch": (lambda s, x: s.d(x) * pooled(s, x), (5, 5)),
    "a sibling": (lambda s, x: s.d(x) * pooled(s, s.c(x)), (5, 5)),
    "the sum of the branches that it weighs": (sums_of_branches, (5, 5)),
    "the input of a residual branch": (lambda s, x: x + s.d(F.relu(x)) * pooled(s, x), (5, 5)),
}


@pytest.mark.parametrize("name", GATES)
def test_a_gate_may_be_computed_of(name: str) -> None:
    work, field = GATES[name]
    layers = {"a": nn.Conv2d(4, 4, 3), "c": nn.Conv2d(4, 4, 3, padding=1)}
    layers |= {"d": nn.Conv2d(4, 4, 3, padding=1), "e": nn.Conv2d(4, 4, 1)}
    model = Function(lambda s, x: work(s, s.a(x)), **layers)
    graph = encode(model, (1, 4, 32, 32))
    assert (graph.receptive_field_max, graph.certainty) == (field, "exact")
    assert encode(model, (1, 4, 32, 32), global_ops="count").receptive_field_max == (INF, INF)


BESIDE: dict[str, tuple[Any, tuple[int, int]]] = {
    "a sibling that sees more": (lambda s, x: s.d(x) * pooled(s, s.g(x)), (5, 5)),
    "what is in front": (lambda s, x: s.g(s.d(x)) * pooled(s, x), (11, 11)),
    "one of two branches": (lambda s, x: s.d(x) * pooled(s, s.g(x)) + s.c(x), (5, 5)),
}


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("name", BESIDE)
def test_a_weight_is_no_path_whatever_it_was_pooled_from(name: str, shown: bool) -> None:
    work, field = BESIDE[name]
    layers = {"a": nn.Conv2d(4, 4, 3), "c": nn.Conv2d(4, 4, 3, padding=1)}
    layers |= {"d": nn.Conv2d(4, 4, 3, padding=1), "e": nn.Conv2d(4, 4, 1)}
    layers |= {"g": nn.Conv2d(4, 4, 7, padding=3)}
    model = Function(lambda s, x: work(s, s.a(x)), **layers)
    graph = encode(model, (1, 4, 32, 32), display_se_modules=shown)
    assert graph.certainty == "exact"
    assert (graph.receptive_field_min, graph.receptive_field_max) == (field, field)
    assert verify(model, (1, 4, 32, 32)).ok


def weighed_and_moved(s: Any, x: torch.Tensor) -> torch.Tensor:
    weight = pooled(s, s.c(x))
    return s.d(x) * weight + weight  # type: ignore[no-any-return]


CONTEXT: dict[str, Any] = {
    "it is added": lambda s, x: s.d(x) + pooled(s, x),
    "a network of its own computes it": lambda s, x: s.d(x) * pooled(s, s.f(s.c(x))),
    "it is used for more": weighed_and_moved,
}


@pytest.mark.parametrize("name", CONTEXT)
def test_what_was_pooled_is_context_where(name: str) -> None:
    layers = {"c": nn.Conv2d(4, 4, 3, padding=1), "d": nn.Conv2d(4, 4, 3, padding=1)}
    layers |= {"e": nn.Conv2d(4, 4, 1), "f": nn.Conv2d(4, 4, 3, padding=1)}
    graph = encode(Function(CONTEXT[name], **layers), (1, 4, 32, 32))
    assert graph.receptive_field_max == (INF, INF)


def finer(s: Any, x: torch.Tensor) -> torch.Tensor:
    batch, channels, size = x.shape
    parts = x.view(batch, channels // 2, 2, size).permute(0, 1, 3, 2)
    return s.c(parts.reshape(batch, channels // 2, 2 * size))  # type: ignore[no-any-return]


def test_a_shuffle_by_hand_in_front_of_everything_makes_no_axis() -> None:
    graph = encode(Function(finer, c=nn.Conv1d(2, 4, 3, padding=1)), (1, 4, 48))
    assert len(graph.receptive_field_max) == 1
