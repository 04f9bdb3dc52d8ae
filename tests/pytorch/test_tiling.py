"""Tiled inference with the computed plan equals the whole image, to rounding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.analysis import tile_plan
from rfa_toolbox.errors import InvalidGraphError


class UNet(nn.Module):
    """Two levels down and up again, with skips; transposed convolution and bilinear resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 4, 3, padding=1)
        self.two = nn.Conv2d(4, 4, 3, padding=1)
        self.three = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.four = nn.Conv2d(8, 4, 3, padding=1)
        self.five = nn.Conv2d(8, 2, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = F.relu(self.one(x))
        two = F.relu(self.two(F.max_pool2d(one, 2)))
        three = F.relu(self.three(F.max_pool2d(two, 2)))
        back = F.relu(self.four(torch.cat([two, self.up(three)], 1)))
        fine = F.interpolate(back, scale_factor=2, mode="bilinear")
        return self.five(torch.cat([one, fine], 1))


def residual() -> nn.Module:
    class Block(nn.Module):
        def __init__(self, stride: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, stride, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.skip = nn.Conv2d(4, 4, 1, stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.norm(self.conv(x)) + self.skip(x))

    return nn.Sequential(
        nn.Conv2d(1, 4, 7, 2, padding=3), nn.MaxPool2d(3, 2, padding=1, ceil_mode=True),
        Block(1), Block(2),
    )  # fmt: skip


def uneven() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad2d((3, 0, 0, 2)),
        nn.Conv2d(1, 4, 4, stride=3),
        nn.GELU(),
        nn.Conv2d(4, 2, (1, 5), padding="same", dilation=2),
    )


def gaps() -> nn.Module:
    """The map of a whole tile ends before its last unit, so that padding follows sooner."""
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, 2, padding=1),
        nn.ConvTranspose2d(2, 2, 2, stride=3),
        nn.Conv2d(2, 1, 3, padding=1),
    )


def cropped() -> nn.Module:
    class Cropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Conv2d(1, 2, 2, 2)
            self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
            self.last = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(F.relu(self.up(self.down(x))[..., 4:-5, 4:-5]))

    return Cropped()


@pytest.mark.parametrize(
    ("model", "image_size", "tile_size"),
    [
        pytest.param(UNet(), (128, 96), 72, id="U-Net"),
        pytest.param(residual(), (173, 160), 96, id="residual"),
        pytest.param(uneven(), (100, 131), (30, 70), id="uneven padding"),
        pytest.param(gaps(), (40, 42), 24, id="up-sampling with gaps, cropped at its end"),
        pytest.param(cropped(), (64, 48), 36, id="up-sampled and cropped"),
    ],
)
def test_tiles_put_together_are_the_whole(model, image_size, tile_size):
    model = model.double().eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 1, *image_size))
    torch.manual_seed(0)
    image = torch.randn(1, 1, *image_size, dtype=torch.float64)
    with torch.no_grad():
        whole = model(image)
        plan = tile_plan(graph, image_size, tile_size)
        assert len(plan.tiles) > 2
        result = torch.full_like(whole, torch.nan)
        for tile in plan.tiles:
            result[(..., *tile.target)] = model(image[(..., *tile.source)])[(..., *tile.keep)]
    torch.testing.assert_close(result, whole, rtol=0, atol=1e-12)


def test_one_pixel_less_of_margin_is_not_enough():
    """The margin is as small as it can be: what lies just outside of it is wrong."""
    model = UNet().double().eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 1, 128, 16))
    torch.manual_seed(0)
    image = torch.randn(1, 1, 128, 16, dtype=torch.float64)
    (first, *_) = tile_plan(graph, (128, 16), (72, 16)).tiles
    with torch.no_grad():
        whole, part = model(image), model(image[(..., *first.source)])
    stop = first.keep[0].stop
    period = len(graph.unit_windows[0].firsts)
    wrong = (whole[0, 0, stop : stop + period] - part[0, 0, stop : stop + period]).abs().amax(1)
    assert wrong[0] > 0


def cropped_then_padded(kept: slice) -> nn.Module:
    class Cropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x[..., kept])

    return Cropped()


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(Gated(), id="gate"),
        pytest.param(nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), id="norm"),
        pytest.param(nn.LayerNorm((1, 64, 64)), id="layer norm"),
        pytest.param(nn.BatchNorm2d(1, track_running_stats=False).eval(), id="batch norm"),
        pytest.param(nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"), id="circular"),
        pytest.param(cropped_then_padded(slice(3, None)), id="padded where cropped in front"),
        pytest.param(cropped_then_padded(slice(0, -3)), id="padded where cropped behind"),
    ],
)
def test_what_looks_at_the_whole_image_cannot_be_tiled(model):
    graph = create_graph_from_pytorch_model(model, input_res=(1, 1, 64, 64))
    with pytest.raises(InvalidGraphError, match="depends on the whole image"):
        tile_plan(graph, 64, 32)
