"""The graph of an exported program is that of the module that it was made from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from rfa_toolbox import create_graph_from_pytorch_model as encode
from rfa_toolbox.errors import UnsupportedModelError
from tests.pytorch.measure import signature

SHAPE = (1, 3, 32, 32)


class Block(nn.Module):
    """Layers that are called twice, in place, with buffers and a short cut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.register_buffer("scale", torch.ones(1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(self.act(x))) * self.scale) + x


class Net(nn.Module):
    def __init__(self, middle: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 5, 2, 2)
        self.blocks = nn.Sequential(Block(), Block())
        self.middle, self.last = middle, nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.blocks(self.stem(x))))


def shifted(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, :-1]
    return y


def written(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[..., ::2].mul_(2)
    return y


def attended(x: torch.Tensor) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    seen = F.scaled_dot_product_attention(tokens, tokens, tokens)
    return seen.transpose(1, 2).reshape(x.shape)


MIDDLES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nothing": lambda x: x + 1,
    "gate": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "halves": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "linear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "pooling": lambda x: F.max_pool2d(x, 3, 2, 1),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, 4),
    "reflection": lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"),
    "blocks of channels": lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2),
    "shift by writing": shifted,
    "writing through a view": written,
    "attention": attended,
    "norm of channels": lambda x: F.layer_norm(x, [4, 16, 16]),
    "constant": lambda x: x + torch.ones(1, 4, 1, 1),
}


@pytest.mark.parametrize("middle", MIDDLES.values(), ids=list(MIDDLES))
def test_its_graph_is_that_of_the_module(middle: Callable[[torch.Tensor], torch.Tensor]) -> None:
    model = Net(middle).eval()
    program = torch.export.export(model, (torch.rand(SHAPE),))
    assert signature(encode(program)) == signature(encode(model, input_res=SHAPE))


def test_sizes_that_were_left_open_are_those_of_the_example() -> None:
    model = Net(MIDDLES["nearest"]).eval()
    height = torch.export.Dim("height", min=16, max=512)
    program = torch.export.export(
        model, (torch.rand(SHAPE),), dynamic_shapes={"x": {2: height * 2}}
    )
    assert encode(program).feature_map == encode(model, input_res=SHAPE).feature_map


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0"])
def test_models_of_torchvision_are_the_same_as_exported_programs(
    name: str, torchvision: Any
) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    program = torch.export.export(model, (torch.rand(1, 3, 224, 224),))
    assert signature(encode(program)) == signature(encode(model, input_res=(1, 3, 224, 224)))


def test_an_exported_program_brings_its_own_input() -> None:
    program = torch.export.export(nn.Conv2d(3, 4, 3), (torch.rand(SHAPE),))
    with pytest.raises(UnsupportedModelError, match="leave input_res"):
        encode(program, input_res=(1, 3, 64, 64))


def test_a_program_that_runs_other_programs_is_refused() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            chosen: torch.Tensor = torch.cond(x.sum() > 0, self.a, torch.relu, (x,))
            return chosen

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(Either().eval(), (torch.rand(SHAPE),))
    with pytest.raises(UnsupportedModelError, match="cond"):
        encode(program)
