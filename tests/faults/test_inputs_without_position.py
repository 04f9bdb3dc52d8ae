"""An input that has no place in the image is no path: image layers are those of the image alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import analyze, input_resolution_range
from rfa_toolbox.analysis import misaligned_merges, tile_plan
from tests.pytorch.measure import Function, encode, per_axis


def alone(s: Any, x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return s.d(F.max_pool2d(s.c(x), 2))


def added(s: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return s.d(F.max_pool2d(s.c(x) + s.l(t)[:, :, None, None], 2))


def modulated(s: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    gain, shift = s.l(t).chunk(2, 1)
    gain, shift = gain.repeat(1, 2)[..., None, None], shift.repeat(1, 2)[..., None, None]
    return s.d(F.max_pool2d(s.c(x) * (1 + gain) + shift, 2))


def sines(s: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    waves = torch.cat([t.sin(), t.cos()], 1)
    waves = torch.cat([waves[:, 4:], waves[:, :4]], 1)
    return s.d(F.max_pool2d(s.c(x) + s.m(waves)[:, :, None, None], 2))


def beside(s: Any, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    return s.e(torch.cat([F.max_pool2d(y, 2), s.l(t)[..., None, None].expand(-1, -1, 16, 16)], 1))


def attended(s: Any, x: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    y = F.max_pool2d(s.c(x), 2)
    tokens = y.flatten(2).transpose(1, 2)
    seen = F.scaled_dot_product_attention(tokens, s.l(words), s.l(words))
    return s.d((tokens + seen).transpose(1, 2).reshape(y.shape))


WAYS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "added": (added, (1, 4)),
    "modulated": (modulated, (1, 4)),
    "a sinusoidal embedding": (sines, (1, 4)),
    "beside the map": (beside, (1, 4)),
    "words": (attended, (1, 7, 4)),
}


def net(function: Any) -> nn.Module:
    return Function(
        function,
        c=nn.Conv2d(3, 4, 3, padding=1),
        d=nn.Conv2d(4, 4, 3, padding=1),
        e=nn.Conv2d(8, 4, 3, padding=1),
        l=nn.Linear(4, 4),
        m=nn.Linear(8, 4),
    )


IMAGE = (1, 3, 32, 32)


@pytest.mark.parametrize("name", WAYS)
def test_the_numbers_are_those_of_the_image_alone(name: str) -> None:
    function, shape = WAYS[name]
    graph, plain = encode(net(function), (IMAGE, shape)), encode(net(alone), IMAGE)
    assert graph.receptive_field_info == plain.receptive_field_info
    assert (graph.window, graph.certainty) == (plain.window, "exact")
    assert input_resolution_range(graph) == input_resolution_range(plain)
    assert not misaligned_merges(graph)


@pytest.mark.parametrize("name", WAYS)
def test_its_own_layers_have_no_position(name: str) -> None:
    function, shape = WAYS[name]
    graph = encode(net(function), (IMAGE, shape))
    own = [node for node in graph.all_layers if node.name in ("l", "m", "sin", "cos")]
    assert own
    assert not any(node.has_position for node in own)
    assert "no position" in str(analyze(graph, 32)) or all(
        max(per_axis(node.receptive_field_max)) == 0 for node in own
    )


def test_the_image_may_come_last() -> None:
    graph = encode(net(lambda s, t, x: added(s, x, t)), ((1, 4), IMAGE))
    assert graph.receptive_field_max == encode(net(alone), IMAGE).receptive_field_max


def test_tiles_are_those_of_the_image_alone() -> None:
    graph, plain = encode(net(added), (IMAGE, (1, 4))), encode(net(alone), IMAGE)
    assert tile_plan(graph, 256, 64).margin == tile_plan(plain, 256, 64).margin


def test_a_vector_from_the_image_itself_sees_everything() -> None:
    model = net(lambda s, x: s.c(x) + s.c(x).mean((2, 3))[..., None, None])
    assert max(encode(model, IMAGE).receptive_field_max) == float("inf")


class Modulation(nn.Module):
    """One node: a dense layer of a vector, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 4))
        self.kernel = nn.Parameter(torch.rand(4, 4, 3, 3))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.kernel) * F.linear(t, self.weight)[..., None, None]


def test_a_module_that_reads_both_has_the_field_of_the_image() -> None:
    model = Function(lambda s, x, t: s.f(s.c(x), t), c=nn.Conv2d(3, 4, 3), f=Modulation())
    graph = encode(model, (IMAGE, (1, 4)))
    assert graph.receptive_field_min == graph.receptive_field_max == (5, 5)
