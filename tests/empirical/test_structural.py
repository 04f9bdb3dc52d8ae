"""The structural experiment: small truths, published ones, and what it does to a model."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from rfa_toolbox.empirical import (
    MeasuredField,
    compare_with_random_weights,
    effective_receptive_field,
    gradient_map,
    measure_receptive_field,
    verify,
)
from rfa_toolbox.errors import (
    CaptureError,
    InvalidGraphError,
    InvalidResolutionError,
    MeasurementError,
    UnsupportedModelError,
)
from tests.pytorch.measure import Function
from tests.pytorch.test_unchanged import Fails, everything, mixed, network, states

INF = float("inf")
IMAGE = (1, 3, 64, 64)


def last(model: nn.Module, shape: Any = IMAGE, **options: Any) -> MeasuredField:
    return measure_receptive_field(model, shape, **options)[-1]  # type: ignore[no-any-return]


def conv(kernel: int = 3, channels: int = 3, made: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, made, kernel, **options)


def rolled(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.conv(torch.roll(x, 4, 2) + x)  # type: ignore[no-any-return]


def misaligned(self: Any, x: torch.Tensor) -> torch.Tensor:
    one = functional.pad(self.conv(x), (2, 0, 2, 0))
    return one + functional.pad(self.conv(x), (0, 2, 0, 2))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "size"),
    [
        pytest.param(conv(3, dilation=4), 9, id="dilated"),
        pytest.param(
            nn.Sequential(conv(), nn.MaxPool2d(3, 2), conv()), 9, id="max-pooling 3/2 between"
        ),
        pytest.param(Function(rolled, conv=conv()), 7, id="rolled by 4"),
        pytest.param(Function(misaligned, conv=conv()), 5, id="misaligned by 2"),
    ],
)
def test_small_truths(model: nn.Module, size: int) -> None:
    found = last(model)
    assert found.size[0] == size
    assert found.certainty == "exact"


def test_start_jump_and_centre() -> None:
    found = last(nn.Sequential(conv(7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1)))
    assert found.start == (-5, -5)
    assert found.size == (11, 11)
    assert found.jump == (4, 4)
    assert found.centre == (Fraction(0), Fraction(0))


def readme_network() -> nn.Module:
    """The example of the receptivefield package (its readme)."""
    layers: list[nn.Module] = []
    channels = 3
    for made, kernel, pooled in [
        (32, 5, False),
        (32, 3, True),
        (64, 3, False),
        (64, 3, True),
        (128, 3, False),
        (128, 3, False),
    ]:
        layers += [nn.Conv2d(channels, made, kernel), nn.ReLU()]
        layers += [nn.AvgPool2d(2)] * pooled
        channels = made
    return nn.Sequential(*layers)


def test_the_readme_network_of_the_receptivefield_package() -> None:
    """Size 34x34, stride 4; its offset of 17 counts from the border, so the centre is 16.5."""
    found = last(readme_network(), (1, 3, 96, 96))
    assert found.size == (34, 34)
    assert found.jump == (4, 4)
    assert found.start == (0, 0)
    assert found.centre == (Fraction(33, 2), Fraction(33, 2))


def test_a_second_network_of_that_package() -> None:
    model = nn.Sequential(conv(7), conv(5), nn.AvgPool2d(2), conv(5))
    found = last(model)
    assert (found.size, found.jump, found.start) == ((20, 20), (2, 2), (0, 0))


def test_a_chain_of_kernels() -> None:
    kernels = (9, 3, 3, 3, 9, 3, 3, 7, 3)
    assert last(nn.Sequential(*(conv(kernel) for kernel in kernels))).size == (35, 35)


def test_one_axis() -> None:
    layers = [nn.Conv1d(1, 1, 2, dilation=2**step) for step in range(9)]
    found = last(nn.Sequential(*layers), (1, 1, 1024))
    assert found.size == (512,)


def test_three_axes() -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, (3, 5, 5), (1, 2, 2), (1, 2, 2)), nn.MaxPool3d(2))
    found = last(model, (1, 1, 16, 32, 32))
    assert (found.size, found.jump) == ((4, 7, 7), (2, 4, 4))
    assert found.start == (-1, -2, -2)


def test_kernels_that_differ_per_axis() -> None:
    assert last(nn.Conv2d(3, 4, (1, 7), dilation=(1, 2))).size == (1, 13)


def test_up_sampled_units_differ_by_phase() -> None:
    found = last(nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2), conv()))
    assert found.jump == (1, 1)
    assert found.size == (4, 4)
    assert found.phases[0] == ((0, 3), (0, 3))


def test_units_of_transposed_convolutions_may_see_nothing() -> None:
    found = last(nn.ConvTranspose2d(3, 3, 2, stride=4))
    assert found.phases[0] == ((0, 0), (0, 0), None, None)
    assert found.size == (1, 1)


def test_global_layers_see_everything() -> None:
    found = measure_receptive_field(network(), IMAGE)
    for field in found:
        if field.module_path in {"5", "6", "7"}:
            assert field.size == (INF, INF)
            assert field.start == (-INF, -INF)
            assert field.is_global
    assert found["4"].size == (7, 7)


class Gated(nn.Module):
    """Squeeze and excitation around a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.squeeze, self.after = conv(), conv(1), conv()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x)
        weight = self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()
        return self.after(x * weight)  # type: ignore[no-any-return]


def test_gates_count_or_not() -> None:
    assert last(Gated()).size == (5, 5)
    assert last(Gated(), global_ops="count").size == (INF, INF)


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(3, 3), nn.InstanceNorm2d(3), nn.BatchNorm2d(3), nn.GroupNorm(1, 3)]
)
def test_norms_over_space_are_neutral(norm: nn.Module) -> None:
    assert last(nn.Sequential(conv(), norm, conv())).size == (5, 5)


def test_attention_sees_everything() -> None:
    def attend(self: Any, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        return functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert last(Function(attend, patches=conv(16, stride=16))).size == (INF, INF)


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121"])
def test_shortcuts_change_nothing(torchvision: Any, name: str, shortcuts: bool) -> None:
    """The first layers of real networks, with every channel computed and without."""
    model = torchvision.models.get_model(name)
    body = list(model.features if hasattr(model, "features") else model.children())[:5]
    found = measure_receptive_field(nn.Sequential(*body), shortcuts=shortcuts)
    other = measure_receptive_field(nn.Sequential(*body), shortcuts=not shortcuts)
    assert [one.to_dict() for one in found] == [one.to_dict() for one in other]


@pytest.mark.parametrize("training", [True, False, None])
def test_a_model_is_as_before(training: bool | None) -> None:
    model = mixed(network()) if training is None else network().train(training)
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    before, random_before = everything(model), states()
    flags = torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark
    measure_receptive_field(model, IMAGE)
    assert states() == random_before
    assert everything(model) == before
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark) == flags


def test_a_model_is_as_before_when_it_fails_halfway() -> None:
    model = mixed(Fails())
    before, random_before = everything(model), states()
    with pytest.raises(CaptureError, match="halfway"):
        measure_receptive_field(model, IMAGE)
    assert states() == random_before
    assert everything(model) == before


def test_layers_are_chosen_by_name_or_path() -> None:
    found = measure_receptive_field(network(), IMAGE, layers=["0", "4"])
    assert [one.module_path for one in found] == ["0", "4"]
    assert found["4"].kind == "Conv2d"
    with pytest.raises(InvalidGraphError, match="'nowhere'"):
        measure_receptive_field(network(), IMAGE, layers="nowhere")


def test_results_are_values() -> None:
    found = measure_receptive_field(network(), IMAGE)
    text, plain = str(found), found.to_dict()
    assert "AdaptiveAvgPool2d" in text
    assert plain["layers"][0]["size"] == [3, 3]
    assert plain["layers"][-1]["size"] == ["inf", "inf"]
    with pytest.raises(InvalidGraphError, match="'9'"):
        found["9"]


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ((nn.Conv2d,), UnsupportedModelError, "instance"),
        (("resnet",), UnsupportedModelError, "'resnet'"),
        ((conv(), (1, 4, 64, 64)), CaptureError, "3 channels"),
        ((conv(), "wide"), InvalidResolutionError, "'wide'"),
        ((nn.Linear(4, 4), (1, 4)), UnsupportedModelError, "spatial axis"),
        ((conv(), torch.ones(IMAGE, dtype=torch.long)), UnsupportedModelError, "int64"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, kind: Any, says: str) -> None:
    with pytest.raises(kind, match=says):
        measure_receptive_field(*arguments)


def test_wrong_options_are_named() -> None:
    with pytest.raises(UnsupportedModelError, match="'guess'"):
        measure_receptive_field(conv(), IMAGE, method="guess")  # type: ignore[arg-type]
    with pytest.raises(InvalidResolutionError, match="max_passes is 0"):
        measure_receptive_field(conv(), IMAGE, max_passes=0)


def test_a_field_that_does_not_fit_is_not_guessed() -> None:
    model = nn.Sequential(*(conv(51, padding=25) for _ in range(12)))
    found = measure_receptive_field(model, IMAGE, max_length=448, time_limit=None)
    assert found["0"].size == (51, 51)
    assert found["11"].size == (None, None)
    assert found["11"].certainty == "unknown"
    assert "does not fit" in " ".join(found["11"].notes)


def brute_force(model: nn.Module, size: int) -> int:
    """Return the largest window, from one run per row of the image."""
    seen = []
    for row in range(size):
        image = torch.rand(1, 3, size, 33, dtype=torch.float64)
        image[:, :, row] = torch.nan
        with torch.no_grad():
            seen.append(model.double().eval()(image).isnan().any(1).any(2)[0].numpy())
    rows = np.array(seen)
    middle = rows[:, rows.shape[1] // 2]
    (which,) = np.nonzero(middle)
    return int(which[-1] - which[0] + 1)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Sequential(conv(5, stride=3), nn.Hardswish(), conv(padding=1)),
    "pools": lambda: nn.Sequential(nn.AvgPool2d(3, 2), conv(), nn.MaxPool2d(3, 1, ceil_mode=True)),
    "reflection": lambda: nn.Sequential(
        conv(7, padding=3, padding_mode="reflect"), conv(padding=1, padding_mode="circular")
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_same_as_one_run_per_row(name: str) -> None:
    model = BLOCKS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = last(model).size[0]
    assert found == brute_force(model, 64)


@pytest.mark.slow
def test_resnet50_takes_few_passes(torchvision: Any) -> None:
    found = measure_receptive_field(torchvision.models.resnet50())
    assert len(found) == 175
    assert found["layer4.2.conv3"].size == (427, 427)
    for _, first, second in found.passes:
        assert first <= 64
        assert second <= 64


def test_a_pass_frees_its_tensors_on_the_way() -> None:
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not x.is_meta:
                made.append(weakref.ref(x))
                alive.append(sum(one() is not None for one in made))
            return torch.sin(x)

    measure_receptive_field(nn.Sequential(*(Watched() for _ in range(20))), (1, 1, 64))
    assert len(alive) >= 20
    assert max(alive) <= 2


EXPERIMENTS: dict[str, Callable[..., Any]] = {
    "verify": verify,
    "structural": measure_receptive_field,
    "gradient": lambda *args: measure_receptive_field(*args, method="gradient"),
    "map": lambda model, shape: gradient_map(model, input_shape=shape),
    "effective": lambda model, shape: effective_receptive_field(
        model, input_shape=shape, samples=2
    ),
    "compared": lambda model, shape: compare_with_random_weights(
        model, input_shape=shape, samples=2
    ),
}
each = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)


@each
def test_models_without_numbers_are_refused(experiment: Callable[..., Any]) -> None:
    model = nn.Sequential(conv(), conv())
    model[1].to("meta")
    for one in (model, model.to("meta")):
        with pytest.raises(UnsupportedModelError, match=r"'\d.weight'.*to_empty"):
            experiment(one, IMAGE)


@each
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_experiments_run_in_any_mode_of_gradients(
    experiment: Callable[..., Any], mode: Callable[[], Any]
) -> None:
    outside = nn.Sequential(conv(3, stride=2), nn.ReLU(), conv())
    with mode():
        inside = nn.Sequential(conv(3, stride=2), nn.BatchNorm2d(3), conv())
        results = [experiment(model, IMAGE) for model in (inside, outside)]
    results.append(experiment(inside, IMAGE))
    for one in results:
        assert getattr(one, "ok", True)


@each
def test_images_that_are_far_too_large_are_refused_before_they_are_made(
    experiment: Callable[..., Any],
) -> None:
    for shape in ((1, 3, 10**5, 10**5), (1, 3, 10**9)):
        with pytest.raises(ValueError, match=rf"input_shape is \({shape[0]}, .* smaller shape"):
            experiment(network(), shape)


def test_options_that_do_not_exist_are_refused() -> None:
    for options in ({"foo": 1}, {"foo": 1, "method": "gradient"}, {"seed": 1}):
        with pytest.raises(MeasurementError, match="no option of this experiment; it has"):
            measure_receptive_field(network(), IMAGE, **options)
    for length in (0, -1, 1.5, "a", True):
        with pytest.raises(InvalidResolutionError, match="max_length is"):
            measure_receptive_field(network(), IMAGE, max_length=length)


@pytest.mark.parametrize("layers", [[], "", (), 0, 5])
def test_no_layers_are_no_choice(layers: Any) -> None:
    for method in ("structural", "gradient"):
        with pytest.raises(ValueError, match=r"layers is .* must name at least one layer"):
            measure_receptive_field(network(), IMAGE, layers, method)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_kernels_of_any_type_look_no_further_than_their_windows(dtype: torch.dtype) -> None:
    model = nn.Sequential(conv(3, stride=2), nn.ReLU(), conv()).to(dtype)
    assert last(model).size == (7, 7)


def test_kernels_within_autocast_look_no_further_than_their_windows() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.conv(x)  # type: ignore[no-any-return]

    assert last(Function(forward, conv=conv())).size == (3, 3)
