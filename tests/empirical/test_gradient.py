"""Receptive fields by gradients: published numbers, agreement with NaN, and models left alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import attrs
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from torch import nn

from rfa_toolbox.empirical import gradient_map, gradients, measure_receptive_field, torch_neutral
from rfa_toolbox.empirical.gradient import measure
from rfa_toolbox.empirical.maps import FeatureMap, find_map
from rfa_toolbox.empirical.torch_gradients import TorchModelInExperiment
from rfa_toolbox.errors import CaptureError, MeasurementError, UnsupportedModelError

CHAIN = (9, 3, 3, 3, 9, 3, 3, 7, 3)


def stack(*layers: nn.Module | Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*layers)


def readme_network(pool: type[nn.Module], activation: type[nn.Module]) -> nn.Sequential:
    """Return the network of the readme of the package receptivefield, with few channels."""
    layers: list[nn.Module] = []
    channels = 3
    for kernel, width in ((5, 4), (3, 4), (0, 0), (3, 6), (3, 6), (0, 0), (3, 8), (3, 8)):
        if kernel:
            layers += [nn.Conv2d(channels, width, kernel), activation()]
            channels = width
        else:
            layers.append(pool(2))
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("pool", "activation", "neutralise"),
    [
        (nn.AvgPool2d, nn.Identity, False),
        (nn.AvgPool2d, nn.ReLU, True),
        (nn.MaxPool2d, nn.ReLU, True),
        (nn.MaxPool2d, nn.GELU, True),
    ],
)
def test_the_readme_network_of_receptivefield(
    pool: type[nn.Module], activation: type[nn.Module], neutralise: bool
) -> None:
    model = readme_network(pool, activation)
    found = measure_receptive_field(
        model, (1, 3, 96, 96), method="gradient", layers="13", neutralise=neutralise
    )
    (field,) = found
    assert field.size == (34, 34)
    assert field.jump == (4, 4)
    assert field.output_shape == (1, 8, 16, 16)
    # That package counts from the edge of the image to the middle of the first window.
    assert tuple(centre + Fraction(1, 2) for centre in field.centre) == (17, 17)
    assert found.method == "gradient"
    assert found.settings["neutralised"] == (
        ["activations", "norms", "pooling", "weights"] if neutralise else []
    )


def test_its_minimal_example() -> None:
    model = stack(nn.Conv2d(3, 4, 7), nn.Conv2d(4, 4, 5), nn.AvgPool2d(2), nn.Conv2d(4, 4, 5))
    field = measure_receptive_field(model, (1, 3, 64, 64), method="gradient")["3"]
    assert (field.size, field.jump) == ((20, 20), (2, 2))
    assert field.centre == (Fraction(19, 2), Fraction(19, 2))  # an offset of 10 from the edge


@pytest.mark.parametrize("length", [40, 64])
def test_a_chain_of_kernels_sees_their_sum(length: int) -> None:
    model = stack(*(nn.Conv1d(1, 1, kernel) for kernel in CHAIN))
    field = measure_receptive_field(model, (1, 1, length), method="gradient")[str(len(CHAIN) - 1)]
    assert (field.start, field.size, field.jump) == ((0,), (35,), (1,))


def test_the_rim_of_a_very_deep_field_does_not_vanish() -> None:
    # Of the 3^400 paths to a unit, one comes from the first pixel.
    model = stack(*(nn.Conv1d(1, 1, 3, padding=1) for _ in range(400)))
    field = measure_receptive_field(model, (1, 1, 1000), method="gradient", layers="399")["399"]
    assert (field.start, field.size, field.jump) == ((-400,), (801,), (1,))


def test_hidden_paths_are_found_on_the_neutral_copy_only() -> None:
    model = stack(nn.Conv2d(1, 1, 5), nn.ReLU(), nn.MaxPool2d(2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].weight[0, 0, :, 0] = 0.0
    as_it_is = gradient_map(model, layer="2", input_shape=(1, 1, 20, 20))
    neutral = gradient_map(model, layer="2", input_shape=(1, 1, 20, 20), neutralise=True)
    first, last = as_it_is.extent[1]
    assert last - first + 1 < 6
    first, last = neutral.extent[1]
    assert last - first + 1 == 6
    assert neutral.neutralised == ("activations", "norms", "pooling", "weights")


class Functional(nn.Module):
    """Calls functions where others have modules."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.norm = nn.GroupNorm(1, 2)
        self.second = nn.Conv2d(2, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.first(x)), 3, 2, ceil_mode=True)
        x = nn.functional.layer_norm(self.norm(x), x.shape[1:])
        x = torch.nn.functional.max_pool2d(x, 2, dilation=2, stride=1)
        return self.second(x).relu_()


def test_functions_are_neutralised_like_modules() -> None:
    model = Functional()
    field = measure_receptive_field(model, (1, 1, 64, 64), method="gradient")["second"]
    # 3; +2 for the pool; then (2 + 2) steps of 2 pixels.
    assert (field.size, field.jump) == ((13, 13), (2, 2))
    with_norms = measure_receptive_field(
        model, (1, 1, 64, 64), method="gradient", neutralise=["activations", "pooling", "weights"]
    )["second"]
    assert with_norms.size == (None, None)
    assert with_norms.certainty == "unknown"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 3, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.same = nn.Conv2d(3, 4, 3, padding=1)
        self.wide = nn.ConvTranspose2d(4, 4, 4, 2, 1)
        self.shuffle = nn.PixelShuffle(2)
        self.last = nn.Conv2d(1, 2, (3, 5), dilation=(2, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.shuffle(self.wide(self.same(self.up(self.down(x))))))


def agree(model: nn.Module, shape: tuple[int, ...]) -> None:
    by_gradient = measure_receptive_field(model, shape, method="gradient")
    by_nan = measure_receptive_field(model, shape)
    assert len(by_gradient) > 1
    for field in by_gradient:
        other = by_nan[field.name]
        assert field.certainty == "exact", field
        assert (field.start, field.size, field.jump, field.centre, field.phases) == (
            other.start,
            other.size,
            other.jump,
            other.centre,
            other.phases,
        ), field.name


def test_gradients_and_nan_agree_behind_up_sampling() -> None:
    agree(Net(), (1, 2, 64, 64))


def test_gradients_and_nan_agree_where_some_units_see_nothing() -> None:
    model = stack(nn.ConvTranspose2d(1, 2, 2, 3), nn.Conv2d(2, 2, 1))
    agree(model, (1, 1, 32, 32))
    (field,) = measure_receptive_field(model, (1, 1, 32, 32), layers="0")
    assert field.phases[0] == ((0, 0), (0, 0), None)


class Windows(nn.Module):
    """Mixes seven rows and columns, which is no period that maps usually have."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 2, 4, 4)
        self.mixed = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = nn.functional.avg_pool2d(self.patches(x), 7)
        return self.mixed(mean.repeat_interleave(7, 2).repeat_interleave(7, 3))


def test_windows_that_do_not_overlap_repeat_after_as_many_units() -> None:
    field = measure_receptive_field(Windows(), (1, 1, 224, 224), method="gradient")["mixed"]
    assert (field.start, field.size, field.jump) == ((0, 0), (28, 28), (4, 4))
    assert field.phases == (((0, 27),) * 7,) * 2
    too_small = measure_receptive_field(Windows(), (1, 1, 56, 56), method="gradient")["mixed"]
    assert too_small.size == (None, None)


def test_what_no_unit_sees_is_no_end_of_a_field() -> None:
    # Each pool drops the last row, so that windows end in front of the end of the image.
    model = stack(nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2), nn.Conv2d(1, 1, 9, padding=4))
    field = measure_receptive_field(model, (1, 1, 46, 94), method="gradient", layers="2")["2"]
    assert (field.start[1], field.size[1], field.jump[1]) == (-16, 39, 4)
    assert field.size[0] in {None, 39}


def test_gradients_and_nan_agree_in_three_dimensions() -> None:
    agree(
        stack(
            nn.Conv3d(1, 2, (3, 5, 7), padding=1),
            nn.GroupNorm(2, 2),
            nn.GELU(),
            nn.MaxPool3d(2, ceil_mode=True),
        ),
        (1, 1, 16, 18, 24),
    )


convolutions = st.builds(
    lambda kernel, stride, dilation, padding: ("conv", kernel, stride, dilation, padding),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(0, 2),
)
pools = st.builds(
    lambda kernel, stride, ceil: ("pool", kernel, stride, ceil),
    st.integers(2, 3),
    st.integers(1, 2),
    st.booleans(),
)


@hypothesis.given(st.lists(st.one_of(convolutions, pools), min_size=2, max_size=4))
@hypothesis.settings(max_examples=25)
def test_gradients_and_nan_agree_on_random_stacks(kinds: list[tuple[Any, ...]]) -> None:
    layers: list[nn.Module] = []
    for kind, *numbers in kinds:
        if kind == "conv":
            kernel, stride, dilation, padding = numbers
            layers.append(nn.Conv1d(1, 1, kernel, stride, padding, dilation))
        else:
            kernel, stride, ceil = numbers
            layers.append(nn.MaxPool1d(kernel, stride, ceil_mode=ceil))
    agree(stack(*layers), (1, 1, 192))


def test_a_field_that_does_not_fit_is_not_guessed() -> None:
    model = stack(nn.Conv2d(1, 1, 31, padding=15), nn.Conv2d(1, 1, 3, padding=1))
    found = measure_receptive_field(model, (1, 1, 16, 48), method="gradient")
    assert found["0"].size == (None, 31)
    assert found["0"].start == (None, -15)
    assert "Take a larger input_shape" in found["0"].notes[0]
    assert found["0"].certainty == "unknown"
    attrs.asdict(found["0"])
    assert "? x 31" in str(found)


def test_without_an_input_shape_large_fields_are_looked_at_in_longer_images() -> None:
    model = stack(nn.Conv2d(1, 1, 3, 2), nn.Conv2d(1, 1, (5, 61)), nn.AdaptiveAvgPool2d(1))
    model.img_size = 128
    found = measure_receptive_field(model, method="gradient")
    assert found["1"].size == (11, 123)
    assert found["1"].jump == (2, 2)
    assert found["1"].start == (0, 0)
    assert found["1"].output_shape == (1, 1, 59, 3)
    first, tall, wide = found.input_shapes
    assert first == (1, 1, 128, 128)
    assert tall[2] > 224 > tall[3]
    assert wide[3] > 224 > wide[2]
    assert found["2"].size == (None, None)
    assert "sees everything" in found["2"].notes[0]
    as_given = measure_receptive_field(model, (1, 1, 128, 128), method="gradient")
    assert as_given["1"].size == (11, None)
    assert as_given.input_shapes == (first,)


class CallsTwice(nn.Module):
    """Calls two convolutions in turn, one of them in a block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.block = stack(nn.Conv2d(2, 2, 5, stride=2), nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.conv(self.block(self.conv(x))))


def test_every_call_of_a_layer_is_measured() -> None:
    model, shape = CallsTwice(), (1, 2, 64, 64)
    found = measure_receptive_field(model, shape, method="gradient")
    by_nan = measure_receptive_field(model, shape)
    names = ["conv", "block.0", "conv#2", "block.0#2"]
    assert [one.name for one in found if one.name in names] == names
    for name in names:
        one, other = found[name], by_nan[name]
        assert (one.module_path, one.call) == (other.module_path, other.call)
        assert (one.start, one.size, one.jump) == (other.start, other.size, other.jump)
    assert found["block#2"].size == found["block.0#2"].size == (19, 19)
    one = measure_receptive_field(model, shape, layers="conv#2", method="gradient")
    assert [(field.name, field.size) for field in one] == [("conv#2", (11, 11))]
    both = measure_receptive_field(model, shape, layers=["conv"], method="gradient")
    assert [field.name for field in both] == ["conv", "conv#2"]
    assert gradient_map(model, input_shape=shape).layer == "block#2"
    seen = gradient_map(model, input_shape=shape, layer="conv#2", neutralise=True)
    assert seen.extent == ((27, 37), (27, 37))
    with pytest.raises(MeasurementError, match="'conv#3' of CallsTwice was not called"):
        gradient_map(model, input_shape=shape, layer="conv#3")
    with pytest.raises(MeasurementError, match="'conv#x', which is no layer"):
        gradient_map(model, input_shape=shape, layer="conv#x")


def test_a_position_may_be_chosen() -> None:
    model = stack(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2))
    field = measure_receptive_field(model, (1, 1, 32, 32), method="gradient", position=(5, 9))["1"]
    assert (field.start, field.size, field.jump) == ((-1, -1), (4, 4), (2, 2))
    assert gradient_map(
        model, layer="1", position=(5, 9), input_shape=(1, 1, 32, 32), neutralise=True
    ).extent == ((9, 12), (17, 20))


def test_the_users_image_decides_what_a_trained_network_looks_at() -> None:
    model = stack(nn.Conv2d(1, 1, 1), nn.MaxPool2d(4))
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 6, 5] = 9.0
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    found = gradient_map(model, image, layer="1", position=(1, 1))
    assert found.extent == ((6, 6), (5, 5))
    assert found.to_dict()["extent"] == ((6, 6), (5, 5))
    assert np.array(found.to_dict(magnitude=True)["magnitude"]).shape == (8, 8)


# --- the model is left alone ---------------------------------------------------------------


class Counting(nn.Module):
    """Changes its own state whenever it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return nn.functional.relu(self.norm(self.conv(x)), inplace=True)


@pytest.mark.parametrize("neutralise", [True, False])
def test_a_pytorch_model_is_left_as_it_was(neutralise: bool) -> None:
    model = Counting().train()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    before = copy.deepcopy(model.state_dict())
    ids = [id(one) for one in model.parameters()]
    torch.manual_seed(3)
    random.seed(3)
    states = torch.get_rng_state(), random.getstate()
    measure_receptive_field(model, (1, 3, 16, 16), method="gradient", neutralise=neutralise)
    gradient_map(model, input_shape=(1, 3, 16, 16), neutralise=neutralise)
    assert model.training
    assert model.norm.training
    assert ids == [id(one) for one in model.parameters()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.conv.weight.grad, torch.ones_like(model.conv.weight))
    assert all(one.requires_grad for one in model.parameters())
    assert not model._forward_hooks
    assert not model.conv._forward_hooks
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_operations_in_place_behind_a_layer_do_not_change_its_result() -> None:
    model = stack(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3))
    found = measure_receptive_field(model, (1, 1, 16, 16), method="gradient", neutralise=False)
    assert [one.size for one in found] == [(3, 3), (3, 3), (3, 3), (5, 5)]


class ChangesItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x -= 0.5
        return self.conv(x)


def test_a_model_may_change_its_input() -> None:
    assert gradient_map(ChangesItsInput(), input_shape=(1, 1, 9, 9)).extent == ((3, 5), (3, 5))


def test_there_is_one_way_back_for_all_modules_that_return_the_same_tensor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block = stack(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(inplace=True), nn.Identity())
    model = stack(stack(block), nn.Conv2d(2, 2, 3))
    ways: list[torch.Tensor] = []
    back = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd,
        "grad",
        lambda *args, **options: ways.append(args[0]) or back(*args, **options),
    )
    found = measure_receptive_field(model, (1, 1, 16, 16), method="gradient")
    assert [one.size[0] for one in found] == [3, 3, 3, 3, 3, 3, 5]
    assert len(ways) == 2 * 2  # for units on the diagonal, and for some beside it
    ways.clear()
    # Batch norm makes a tensor, and a rectifier that works in place makes another of it.
    as_it_is = measure_receptive_field(model, (1, 1, 16, 16), method="gradient", neutralise=False)
    assert [one.name for one in as_it_is] == [one.name for one in found]
    assert len(ways) == 4 * 2


# --- what cannot be done ---------------------------------------------------------------------


class Detaches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3)
        self.second = nn.Conv2d(1, 1, 3)
        self.unused = nn.Conv2d(1, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).detach())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layers": "frist"}, MeasurementError, "similar ones are ['first']"),
        ({"layers": "second"}, MeasurementError, "detaches"),
        ({"layers": "unused"}, MeasurementError, "was not called"),
        ({"layers": "first", "position": (14, 0)}, MeasurementError, "from (0, 0) to (13, 13)"),
        ({"layers": "first", "position": (3,)}, MeasurementError, "position is (3,)"),
        ({"neutralise": "everything"}, MeasurementError, "it must be True, False, or some of"),
        ({"input_shape": (3, 16)}, CaptureError, "does not run with an input of the shape"),
        ({"input_shape": 224}, MeasurementError, "input_shape is 224"),
        ({"input_shape": (1, 1, 2, 2)}, CaptureError, "(1, 1, 2, 2)"),
    ],
)
def test_what_cannot_be_measured_is_said(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments = {"input_shape": (1, 1, 16, 16), "method": "gradient", **options}
    with pytest.raises(error) as raised:
        measure_receptive_field(Detaches(), **arguments)
    assert words in str(raised.value)


def test_layers_without_gradients_do_not_keep_the_others_from_being_measured() -> None:
    found = measure_receptive_field(Detaches(), (1, 1, 16, 16), method="gradient")
    assert [(one.name, one.size) for one in found] == [("first", (3, 3)), ("second", (None, None))]
    assert "detaches" in found["second"].notes[0]
    closed = stack(nn.Conv2d(1, 1, 3), nn.Threshold(1e9, 0.0), nn.Conv2d(1, 1, 3))
    options = {"method": "gradient", "neutralise": False}
    found = measure_receptive_field(closed, (1, 1, 16, 16), **options)
    assert [one.size[0] for one in found] == [3, None, None]
    assert "zero everywhere" in found["2"].notes[0]
    with pytest.raises(MeasurementError, match="zero everywhere"):
        measure_receptive_field(closed, (1, 1, 16, 16), layers="2", **options)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="'resnet'"):
        gradient_map("resnet")


@pytest.mark.parametrize("swap", [(2, 3), (3, 4)])
def test_axes_that_are_swapped_show_beside_the_diagonal(swap: tuple[int, int]) -> None:
    class Swapped(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x.transpose(*swap)

    count = swap[1] - 1
    conv = (nn.Conv2d, nn.Conv3d)[count - 2](1, 1, 3, padding=1)
    found = measure_receptive_field(
        stack(conv, Swapped()), (1, 1, *[16] * count), method="gradient"
    )
    assert found["0"].size == (3,) * count
    swapped = found["1"]
    assert swapped.size == (*[3] * (count - 2), None, None)
    assert swapped.certainty == "unknown"
    assert "axes of an image are swapped" in swapped.notes[0]


def test_layers_without_positions_are_refused() -> None:
    model = stack(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(MeasurementError, match=r"shape \(1, 2\), which is no map"):
        measure_receptive_field(model, (1, 1, 8, 8), method="gradient", layers="2")
    found = measure_receptive_field(model, (1, 1, 8, 8), method="gradient")
    assert [one.name for one in found] == ["0"]


# --- where positions are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "input_size", "expected"),
    [
        ((1, 8, 28, 14), (224, 112), FeatureMap((28, 14), (2, 3))),
        ((1, 28, 14, 8), (224, 112), FeatureMap((28, 14), (1, 2))),
        ((1, 201, 64), (224, 224), FeatureMap((14, 14), (1,), 5)),
        ((1, 99, 64), (224, 112), FeatureMap((14, 7), (1,), 1)),
        ((1, 64, 50), (400,), FeatureMap((50,), (2,))),
        ((1, 4, 5, 6, 7), (50, 60, 70), FeatureMap((5, 6, 7), (2, 3, 4))),
        ((1, 10), (224, 224), None),
        ((16, 49, 96), (224, 224), None),
        ((16, 7, 7, 96), (224, 224), None),
        ((1, 7, 64), (224, 224), FeatureMap((2, 2), (1,), 3)),
    ],
)
def test_positions_are_found(
    shape: tuple[int, ...], input_size: tuple[int, ...], expected: FeatureMap | None
) -> None:
    assert find_map(shape, input_size) == expected


def test_a_token_is_found_behind_the_class_token() -> None:
    found = find_map((1, 99, 64), (224, 112))
    assert found is not None
    assert found.middle == (7, 3)
    assert found.index((7, 3), 3) == (1 + 7 * 7 + 3, slice(None))


def test_a_model_that_is_one_layer_is_measured_under_its_class() -> None:
    field = measure_receptive_field(nn.Conv2d(3, 4, 5, 2), (1, 3, 32, 32), method="gradient")
    assert (field["Conv2d"].size, field["Conv2d"].jump) == ((5, 5), (2, 2))


def test_nothing_to_measure_is_no_empty_table() -> None:
    with pytest.raises(MeasurementError, match=r"at 32 px, .* add a batch"):
        measure_receptive_field(nn.Sequential(nn.Conv2d(1, 4, 5)), (1, 32, 32), method="gradient")


def test_calls_of_a_module_that_many_hold_are_measured_where_they_were_made() -> None:
    act = torch.nn.SiLU()
    blocks = [torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), act) for _ in range(3)]
    found = measure_receptive_field(
        torch.nn.Sequential(*blocks), (1, 1, 32, 32), layers=["1.1", "2.1"], method="gradient"
    )
    assert (found["1.1"].size, found["2.1"].size) == ((5, 5), (7, 7))


# --- one channel in place of many ------------------------------------------------------------


class _Writes(nn.Module):
    """Writes into results of convolutions in ways that one channel cannot follow, or can."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.other = nn.Conv2d(3, 8, 5, padding=2)
        self.after = nn.Conv2d(8, 8, 3, padding=1, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made, wide = self.conv(x), self.other(x)
        if self.how == "rebound":
            made += wide
        elif self.how == "statement":
            made.add_(wide)
        elif self.how == "behind a view":
            half = made[:, :4]
            made += wide
            made = torch.cat((half, made[:, 4:]), 1)
        elif self.how == "a slice":
            made[:, 2:4] = wide[:, :2]
        elif self.how == "scaled":
            made = 2 - made * wide / (1 + wide)
        return self.after(made)


def _mixed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.Conv2d(8, 8, 5, padding=4, dilation=2, groups=8), nn.Hardswish(),
        nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1, groups=2), nn.MaxPool2d(3, 2, 1),
        nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.Conv2d(12, 4, 1), nn.Dropout(),
    )  # fmt: skip


WRITES = ("rebound", "statement", "behind a view", "a slice", "scaled")


@pytest.mark.parametrize(
    ("model", "neutralise"),
    [(_mixed(), True), (_mixed(), ("weights",)), *((_Writes(how), True) for how in WRITES)],
    ids=["mixed", "with activations", *WRITES],
)
def test_one_channel_says_what_all_channels_say(
    model: nn.Module, neutralise: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = measure(model, (1, 3, 32, 32), neutralise=neutralise)
    with monkeypatch.context() as patch:
        patch.setattr(torch_neutral.Neutral, "_on_one_channel", lambda *_: None)
        expected = measure(model, (1, 3, 32, 32), neutralise=neutralise)
    assert found.to_dict() == expected.to_dict()
    assert any(field.size is not None for field in found.fields)


def test_a_pass_takes_as_many_images_as_memory_lets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3))
    expected = measure(model, (1, 3, 32, 32), neutralise=False).to_dict()
    passes: list[int] = []
    run = TorchModelInExperiment.gradients

    def counted(self: Any, inputs: Any, *more: Any) -> Any:
        passes.append(len(inputs))
        return run(self, inputs, *more)

    monkeypatch.setattr(TorchModelInExperiment, "gradients", counted)
    monkeypatch.setattr(gradients, "_MEMORY", 100_000)
    assert measure(model, (1, 3, 32, 32), neutralise=False).to_dict() == expected
    assert 1 <= max(passes) < 8
