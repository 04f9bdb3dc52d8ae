"""Signals without channels, and models with several inputs, in every experiment."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox.empirical import effective_receptive_field, measure_receptive_field, verify
from rfa_toolbox.errors import MeasurementError, UnsupportedModelError
from tests.pytorch.measure import Function


def wave() -> nn.Module:
    layers = nn.Sequential(nn.Conv1d(1, 4, 10, 5), nn.GELU(), nn.Conv1d(4, 4, 3, 2))
    return Function(lambda s, x: s.m(x[:, None]), m=layers)


SIGNAL = (1, 1600)


def test_a_signal_is_verified_and_measured() -> None:
    assert {one.verdict for one in verify(wave(), SIGNAL).nodes} == {"agrees"}
    for options in ({}, {"method": "gradient"}):
        last = measure_receptive_field(wave(), SIGNAL, **options)[-1]  # type: ignore[arg-type]
        assert (last.size, last.jump) == ((20,), (10,))


def test_a_signal_has_an_effective_field() -> None:
    field = effective_receptive_field(wave(), input_shape=SIGNAL, samples=2)
    assert field.input_size == (1600,)
    side = field.square(1.0).side
    assert side is not None
    assert side < 2 * 20  # around any of the 20 pixels that it sees


def test_features_are_no_signal() -> None:
    model = nn.Sequential(nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(UnsupportedModelError, match="has no spatial axis"):
        verify(model, (1, 10))
    with pytest.raises(MeasurementError, match="No layer of Sequential returns a map"):
        effective_receptive_field(model, input_shape=(1, 10), samples=1)


def two() -> nn.Module:
    layers = {"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.Conv2d(3, 4, 7, padding=3)}
    both = {**layers, "c": nn.Identity()}
    return Function(lambda s, left, right: s.c(s.a(left) + s.b(right)), **both)


SHAPES = ((1, 3, 32, 32), (1, 3, 32, 32))


@pytest.mark.parametrize(("which", "side"), [(None, 3), (0, 3), (1, 7)])
def test_every_input_has_an_effective_field_of_its_own(which: Any, side: int) -> None:
    field = effective_receptive_field(two(), input_shape=SHAPES, input=which, samples=2)
    assert field.layer == "c"
    assert field.square(1.0).side == side


class Named(nn.Module):
    """Takes an image and words by name."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.words = nn.Conv2d(3, 4, 3, padding=1), nn.Embedding(10, 4)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, text: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        said = self.words(text).mean(1)[:, :, None, None]
        return self.last(self.image(image) + said)  # type: ignore[no-any-return]


def test_an_input_is_named_by_its_argument() -> None:
    shapes = {"text": torch.zeros(1, 5, dtype=torch.long), "image": (1, 3, 32, 32)}
    field = effective_receptive_field(Named(), input_shape=shapes, input="image", samples=9)
    assert field.square(1.0).side == 5
    with pytest.raises(MeasurementError, match="whole numbers"):
        effective_receptive_field(Named(), input_shape=shapes, input="text")
    with pytest.raises(MeasurementError, match=r"one of \['text', 'image'\]"):
        effective_receptive_field(Named(), input_shape=shapes, input="sound")
    with pytest.raises(MeasurementError, match="pass the shapes of all inputs"):
        effective_receptive_field(two(), input_shape=(1, 3, 32, 32), input=1)


@pytest.mark.parametrize(("which", "layer"), [(None, "a"), (0, "a"), (1, "b")])
def test_the_last_layer_is_one_that_the_input_reaches(which: int | None, layer: str) -> None:
    convs = {"a": nn.Conv2d(3, 4, 3, padding=1), "b": nn.Conv2d(3, 4, 7, padding=3)}
    model = Function(lambda s, x, y: s.a(x) + s.b(y), **convs)
    field = effective_receptive_field(model, input_shape=SHAPES, input=which, samples=1)
    assert field.layer == layer


def test_no_square_is_larger_than_the_image() -> None:
    torch.manual_seed(0)
    volumes = nn.Sequential(*(nn.Conv3d(1, 1, 7, padding=3) for _ in range(4)))
    field = effective_receptive_field(volumes, input_shape=(1, 1, 6, 40, 40), samples=2)
    for square in field.squares:
        assert square.side_share is not None
        assert square.area_share is not None
        assert square.side_share <= 1
        assert square.side_share**3 == pytest.approx(square.area_share)
    assert field.square(1.0).side == 25
