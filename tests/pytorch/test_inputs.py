"""What a model may be called with, and what is said of what it may not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model as encode
from rfa_toolbox.errors import CaptureError, InvalidResolutionError

IMAGE = torch.zeros(1, 3, 32, 32)
CAPTURES = ("meta", "jit")


@dataclasses.dataclass(frozen=True)
class Batch:
    image: torch.Tensor
    name: str = "a batch"


def network(forward: Any) -> nn.Module:
    model: nn.Module = type("Net", (nn.Module,), {"forward": forward})()
    model.conv = nn.Conv2d(3, 8, 3)
    return model.eval()


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize(
    ("forward", "given"),
    [
        (lambda s, images: [s.conv(one) for one in images], ([IMAGE, IMAGE],)),
        (lambda s, images: [s.conv(one) for one in images], ([(1, 3, 32, 32), (1, 3, 48, 48)],)),
        (lambda s, images: [s.conv(one) for one in images], [(1, 3, 32, 32), (1, 3, 48, 48)]),
        (lambda s, batch: s.conv(batch["image"]), ({"image": IMAGE},)),
        (lambda s, batch: s.conv(batch["image"]), {"image": (1, 3, 32, 32)}),
        (lambda s, batch: s.conv(batch["a"]["b"][0]), ({"a": {"b": [IMAGE]}},)),
        (lambda s, batch: s.conv(batch.image), (Batch(IMAGE),)),
        (lambda s, batch: s.conv(batch.image), Batch(IMAGE)),
        (lambda s, x, scale: s.conv(x) * scale, (IMAGE, 2.0)),
        (lambda s, x, scale: s.conv(x) * scale, ((1, 3, 32, 32), 2)),
        (lambda s, x, mask: s.conv(x), (IMAGE, None)),
        (lambda s, x, mode: s.conv(x) if mode == "a" else x, (IMAGE, "a")),
        (lambda s, *, x, mask=None: s.conv(x), {"x": IMAGE, "mask": None}),
    ],
)
def test_inputs_are_lists_dicts_data_classes_and_what_stands_beside_them(
    capture: Any, forward: Any, given: Any
) -> None:
    graph = encode(network(forward), input_res=given, capture=capture)
    assert graph.receptive_field_max == (3, 3)


@pytest.mark.parametrize("capture", CAPTURES)
def test_arguments_by_name_stand_beside_those_by_position(capture: Any) -> None:
    model = network(lambda s, x, *, twice: s.conv(s.conv(x)[:, :3] if twice else x))
    twice = encode(model, input_res=(1, 3, 32, 32), input_kwargs={"twice": True}, capture=capture)
    once = encode(model, input_res=IMAGE, input_kwargs={"twice": False}, capture=capture)
    assert (twice.receptive_field_max, once.receptive_field_max) == ((5, 5), (3, 3))


class OfImages(nn.Module):
    """Takes a list of images and something beside it, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: list[torch.Tensor], targets: Any = None) -> torch.Tensor:
        batch = torch.zeros(len(images), 3, 40, 40)
        for image, room in zip(images, batch, strict=True):
            room[:, : image.shape[1], : image.shape[2]].copy_(image)
        return self.conv(batch)


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("given", [[(3, 32, 32)], [(3, 32, 32), (3, 24, 40)], [[(3, 32, 32)]]])
def test_a_model_that_says_that_it_takes_a_list_gets_one(capture: Any, given: Any) -> None:
    graph = encode(OfImages(), input_res=given, capture=capture)
    assert graph.receptive_field_max == (3, 3)


def test_a_model_that_does_not_say_so_is_shown_how_a_list_of_one_image_is_given() -> None:
    model = network(lambda s, images: [s.conv(one[None]) for one in images])
    with pytest.raises(CaptureError, match=r"input_res=\[\[\(3, 32, 32\)\]\]"):
        encode(model, input_res=[(3, 32, 32)])


def test_a_model_of_one_input_that_gets_several_is_told() -> None:
    with pytest.raises(CaptureError, match="takes one argument, and got all inputs in it"):
        encode(nn.Conv2d(3, 4, 3), input_res=[(1, 3, 32, 32), (1, 3, 32, 32)])


def test_a_message_shows_shapes_of_tensors_and_not_their_numbers() -> None:
    with pytest.raises(
        InvalidResolutionError, match="tensor of shape \\(1, 3, 32, 32\\)"
    ) as caught:
        encode(nn.Conv2d(3, 8, 3), input_res=(IMAGE, object()))
    assert len(str(caught.value)) < 800


def test_a_wish_for_the_size_that_is_the_default_is_a_wish() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))
    size = 399
    with pytest.raises(ValueError, match="399"):
        encode(model, input_res=(1, 3, size, size))


def test_the_type_of_the_input_is_that_of_real_parameters_where_others_are_complex() -> None:
    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 32, 17, dtype=torch.complex64))
            self.before = nn.Conv2d(3, 8, 3, padding=1)
            self.behind = nn.Conv2d(8, 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spectrum = torch.fft.rfft2(self.before(x)) * self.weight
            return self.behind(torch.fft.irfft2(spectrum, s=x.shape[-2:]))

    graph = encode(Filter(), input_res=(1, 3, 32, 32))
    assert graph.receptive_field_max == (float("inf"), float("inf"))
