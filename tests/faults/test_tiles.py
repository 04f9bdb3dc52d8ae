"""Tiles of networks of which some layers depend on the whole image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox.analysis import TilePlan, tile_plan
from rfa_toolbox.errors import InvalidGraphError
from tests.pytorch.measure import Function, encode

SIZE = 96


def block(extra: nn.Module) -> nn.Module:
    down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
    return nn.Sequential(down, extra, nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, stride=2))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.dense(x.mean((2, 3), keepdim=True)).sigmoid()  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention over all positions, beside a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        seen = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return x + seen.transpose(1, 2).reshape(x.shape)  # type: ignore[no-any-return]


def pooled_beside(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.a(x)
    pooled = nn.functional.adaptive_avg_pool2d(y, 1)
    whole = nn.functional.interpolate(pooled, size=y.shape[2:])
    return s.b(torch.cat([y, whole], 1))  # type: ignore[no-any-return]


def pyramid() -> nn.Module:
    layers = {"a": nn.Conv2d(1, 4, 3, 2, padding=1), "b": nn.ConvTranspose2d(8, 1, 2, stride=2)}
    return Function(pooled_beside, **layers)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "instance norm": (lambda: block(nn.InstanceNorm2d(4)), "statistics of each tile"),
    "group norm": (lambda: block(nn.GroupNorm(2, 4)), "statistics of each tile"),
    "gate": (lambda: block(Gate()), "of each tile"),
    "attention": (lambda: block(Attention()), "sees all of each tile"),
    "pyramid": (pyramid, "sees all of each tile"),
}


def put_together(model: nn.Module, image: torch.Tensor, plan: TilePlan) -> torch.Tensor:
    result = torch.full_like(model(image), torch.nan)
    for tile in plan.tiles:
        result[(..., *tile.target)] = model(image[(..., *tile.source)])[(..., *tile.keep)]
    return result


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_an_approximate_plan_has_the_margin_of_what_is_finite_and_says_what_differs(
    name: str,
) -> None:
    make, says = NETWORKS[name]
    torch.manual_seed(0)
    model = make().eval()
    graph = encode(model, (1, 1, SIZE, SIZE))
    with pytest.raises(InvalidGraphError, match="approximate=True"):
        tile_plan(graph, SIZE, 48)
    plan = tile_plan(graph, SIZE, 48, approximate=True)
    plain = tile_plan(encode(block(nn.Identity()), (1, 1, SIZE, SIZE)), SIZE, 48)
    assert (plan.margin, plan.overlap, plan.tiles) == (plain.margin, plain.overlap, plain.tiles)
    assert any(says in one for one in plan.differences)
    image = torch.rand(1, 1, SIZE, SIZE)
    tiled, whole = put_together(model, image, plan), model(image)
    assert tiled.isfinite().all()
    assert 0 < (tiled - whole).abs().max() < whole.std() * 3


@torch.no_grad()
def test_a_plan_is_exact_where_it_can_be() -> None:
    model = block(nn.BatchNorm2d(4)).eval()
    graph = encode(model, (1, 1, SIZE, SIZE))
    plan = tile_plan(graph, SIZE, 48, approximate=True)
    assert plan == tile_plan(graph, SIZE, 48)
    assert plan.differences == ()
    image = torch.rand(1, 1, SIZE, SIZE)
    assert torch.allclose(put_together(model, image, plan), model(image), atol=1e-5)


def test_one_tile_differs_in_nothing() -> None:
    graph = encode(block(nn.InstanceNorm2d(4)), (1, 1, SIZE, SIZE))
    assert tile_plan(graph, SIZE, SIZE, approximate=True).differences == ()


def test_what_sees_everything_has_no_margin_at_all() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1))
    with pytest.raises(InvalidGraphError, match="see the whole image"):
        tile_plan(encode(model, (1, 1, SIZE, SIZE)), SIZE, 48, approximate=True)


def test_a_kernel_as_high_as_the_map_leaves_tiles_along_the_other_axis() -> None:
    for height in (21, 22):
        model = nn.Sequential(
            nn.Conv2d(1, 8, (height, 1)), nn.ReLU(), nn.Conv2d(8, 8, (1, 5), padding=(0, 2))
        )
        plan = tile_plan(encode(model, (1, 1, 22, 1000)), (22, 1000), (22, 500))
        assert plan.tile_size == (22, 500)
