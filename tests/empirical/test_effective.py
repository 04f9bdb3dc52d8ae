"""Effective receptive fields: against gradients by hand, recipes, and all kinds of maps."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rfa_toolbox.empirical import (
    EffectiveReceptiveField,
    compare_with_random_weights,
    effective_receptive_field,
    gradient_map,
    reinitialised,
)
from rfa_toolbox.empirical.effective import _shares_of_squares, _smallest_square
from rfa_toolbox.errors import CaptureError, MeasurementError, UnsupportedModelError

SHAPE = (1, 3, 33, 33)


def stem() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU()
    )


def images(count: int = 6) -> torch.Tensor:
    return torch.randn(count, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


# --- equal to what the recipes say, computed by hand -----------------------------------------


def test_the_recipe_of_replknet() -> None:
    model, batch = stem(), images()
    total = np.zeros(SHAPE[2:])
    for image in batch:
        x = image[None].clone().requires_grad_()
        y = model(x)
        score = torch.relu(y[:, :, 33 // 2, 33 // 2]).sum()
        (gradient,) = torch.autograd.grad(score, x)
        total += torch.relu(gradient).sum((0, 1)).double().numpy()
    expected = np.log10(total / len(batch) + 1)
    expected /= expected.max()
    found = effective_receptive_field(model, batch, "3", mode="replknet")
    np.testing.assert_allclose(found.contribution, expected, rtol=1e-5, atol=1e-12)
    assert found.centre == (16, 16)
    # 3x3 pixels hold more than 20 and 30 % here; what they hold must be exceeded.
    for square in found.squares:
        held = {
            side: expected[16 - side // 2 : 17 + side // 2, 16 - side // 2 : 17 + side // 2].sum()
            for side in range(3, 33, 2)
        }
        share = {side: one / expected.sum() for side, one in held.items()}
        assert square.side == min(side for side, one in share.items() if one > square.share)
        assert square.area_share == pytest.approx((square.side / 33) ** 2)
        assert square.side_share == pytest.approx(square.side / 33)


def test_inputs_with_no_gradient_are_part_of_the_mean_of_replknet() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
    batch = torch.ones(2, 1, 9, 9)
    batch[1] = -1  # closes the rectifier
    expected = np.log10(np.arange(1.0, 10.0).reshape(3, 3) / 2 + 1)
    found = effective_receptive_field(model, batch, "1", mode="replknet")
    assert (found.samples, found.skipped) == (2, 0)
    np.testing.assert_allclose(found.contribution[3:6, 3:6], expected / expected.max(), rtol=1e-6)
    default = effective_receptive_field(model, batch, "1")
    assert (default.samples, default.skipped) == (1, 1)


def test_the_script_of_replknet_stops_one_pixel_before_the_border() -> None:
    flat = np.ones((9, 9))
    assert _smallest_square(flat, (4, 4), "replknet", 0.5).side == 7  # 49 of 81
    assert _smallest_square(flat, (4, 4), "replknet", 49 / 81).side is None
    assert _smallest_square(flat, (4, 4), "replknet", 0.001).side == 3


def test_the_recipe_of_luo_et_al() -> None:
    model, batch = stem(), images()
    x = batch.clone().requires_grad_()
    y = model(x)
    (gradient,) = torch.autograd.grad(y[:, :, 16, 16].sum(), x)
    mean = gradient.double().mean(0).abs().sum(0).numpy()
    found = effective_receptive_field(model, batch, "3", mode="luo2016")
    np.testing.assert_allclose(found.contribution, mean / mean.sum(), rtol=1e-5, atol=1e-12)
    above = int((mean > (1 - 0.9545) * mean.max()).sum())
    assert found.size == pytest.approx(math.sqrt(above))


def test_the_size_of_luo_et_al_is_four_standard_deviations_of_a_gaussian() -> None:
    # Many small kernels of equal weights make a binomial, which is nearly a Gaussian. Its value is
    # 4.55 % of the peak at 2.486 standard deviations from the middle.
    depth = 60
    model = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(depth)))
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(1 / 9)
    found = effective_receptive_field(
        model, input_shape=(1, 1, 101, 101), samples=1, mode="luo2016"
    )
    deviation = math.sqrt(depth * 2 / 3)
    radius = deviation * math.sqrt(-2 * math.log(1 - 0.9545))
    assert found.size == pytest.approx(math.sqrt(math.pi) * radius, rel=0.02)


def test_the_default_is_the_mean_share_of_the_magnitude() -> None:
    model = nn.Conv2d(2, 1, 3, padding=1, bias=False)
    wrapped = nn.Sequential(model)
    weight = model.weight.detach().abs().sum((0, 1)).double().numpy()
    found = effective_receptive_field(wrapped, input_shape=(1, 2, 9, 9), samples=3)
    np.testing.assert_allclose(
        found.contribution[3:6, 3:6], weight / weight.sum(), rtol=1e-5, atol=1e-12
    )
    assert found.contribution.sum() == pytest.approx(1)


# --- squares ---------------------------------------------------------------------------------


def test_shares_of_squares_are_those_of_slices() -> None:
    numbers = np.random.default_rng(0).random((12, 9))
    shares, areas = _shares_of_squares(numbers, (7, 2))
    for reach, (share, area) in enumerate(zip(shares, areas, strict=True)):
        part = numbers[max(0, 7 - reach) : 8 + reach, max(0, 2 - reach) : 3 + reach]
        assert share == pytest.approx(part.sum() / numbers.sum())
        assert area == pytest.approx(part.size / numbers.size)
    assert shares[-1] == pytest.approx(1)


def test_the_curve_rises_to_one_and_squares_lie_on_it() -> None:
    found = effective_receptive_field(stem(), input_shape=SHAPE, samples=4)
    sides, shares = zip(*found.curve, strict=True)
    assert sides[:3] == (1, 3, 5)
    assert list(shares) == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    for square in found.squares:
        assert dict(found.curve)[square.side] >= square.share
        assert square.side == 1 or dict(found.curve)[square.side - 2] < square.share
    # No pixel beyond the receptive field counts.
    assert found.square(1).side == 7


def test_squares_lie_where_the_contribution_is() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, stride=8, padding=1))
    found = effective_receptive_field(model, input_shape=(1, 1, 32, 32), samples=2)
    assert found.position == (2, 2)
    assert found.centre == (16, 16)  # the middle of its window, and not of the cell of 8x8 pixels
    other = effective_receptive_field(model, input_shape=(1, 1, 32, 32), samples=2, position=(1, 3))
    assert other.centre == (8, 24)
    assert other.square(1).side <= 3


# --- layers of all kinds ---------------------------------------------------------------------


class VisionTransformer(nn.Module):
    """Tokens with a class token in front, and a norm at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.head(self.norm(self.block(x))[:, 0])


class ChannelsLast(nn.Module):
    """A map with channels last, as in Swin transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        return self.head(x.mean((1, 2)))


def test_the_unit_in_the_middle_of_a_transformer_is_a_token() -> None:
    torch.manual_seed(0)
    model = VisionTransformer()
    found = effective_receptive_field(model, input_shape=(1, 3, 48, 32), samples=4)
    assert (found.layer, found.map_size, found.position) == ("norm", (6, 4), (3, 2))
    assert (found.contribution > 0).all()  # attention sees everything
    # Its own patch counts most.
    own = found.contribution[24:32, 16:24].sum()
    assert own > 5 / 24
    assert 24 <= found.centre[0] < 32
    assert 16 <= found.centre[1] < 24


@pytest.mark.parametrize("size", [(48, 32), (64, 24), (8, 96), (16, 16)])
@pytest.mark.parametrize("layer", ["block", "norm", "block.linear1", None])
def test_the_unit_in_the_middle_is_found_by_the_map_that_the_tokens_are_of(
    size: tuple[int, int], layer: str | None
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(VisionTransformer())
    path = None if layer is None else f"0.{layer}"
    found = effective_receptive_field(model, None, path, input_shape=(1, 3, *size), samples=2)
    rows, columns = size[0] // 8, size[1] // 8
    row, column = rows // 2, columns // 2
    assert (found.map_size, found.position) == ((rows, columns), (row, column))
    assert found.token == 1 + row * columns + column
    assert f"(token {found.token})" in str(found)
    own = found.contribution[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    assert own.sum() > 1 / (rows * columns)  # its own patch counts most
    assert found.to_dict()["token"] == found.token


class SaysItsTokens(VisionTransformer):
    """Says how many tokens are in front, though not of which layers, as models of timm do."""

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Identity()
        self.heads = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.tokens(self.patches(x).flatten(2).transpose(1, 2))
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        return self.heads(self.block(x).unflatten(2, (2, 8)).transpose(1, 2))


def test_lists_without_the_class_token_and_parts_of_an_attention() -> None:
    model = SaysItsTokens()
    options: dict[str, Any] = {"input_shape": (1, 3, 32, 48), "samples": 1}
    assert effective_receptive_field(model, None, "tokens", **options).token == 2 * 6 + 3
    assert effective_receptive_field(model, None, "block", **options).token == 1 + 2 * 6 + 3
    assert effective_receptive_field(model, **options).layer == "block"
    with pytest.raises(MeasurementError, match=r"shape \(1, 2, 25, 8\), which is no map"):
        effective_receptive_field(model, None, "heads", **options)


class SequenceTransformer(nn.Module):
    """Channels last, which no shape tells of a sequence."""

    def __init__(self, class_token: bool) -> None:
        super().__init__()
        self.class_token = class_token
        self.patches = nn.Conv1d(2, 16, 8, 8)
        self.block = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 16, batch_first=True))
        self.last = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).transpose(1, 2)
        if self.class_token:
            x = torch.cat([x.mean(1, keepdim=True), x], 1)
        return self.last(self.block(x))


@pytest.mark.parametrize("class_token", [True, False])
def test_the_unit_in_the_middle_of_a_sequence(class_token: bool) -> None:
    torch.manual_seed(0)
    model = SequenceTransformer(class_token)
    for layer in ("patches", "block.0.norm1", "block", None):
        found = effective_receptive_field(model, None, layer, input_shape=(1, 2, 400), samples=2)
        assert (found.map_size, found.position) == ((50,), (25,))
        assert found.token == (26 if class_token and layer != "patches" else None)
        assert 200 <= found.contribution.argmax() < 208


def test_the_unit_in_the_middle_of_tokens_of_a_volume() -> None:
    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv3d(1, 16, (2, 4, 4), (2, 4, 4))
            self.block = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.block(self.patches(x).flatten(2).transpose(1, 2))

    found = effective_receptive_field(Video(), input_shape=(1, 1, 8, 16, 24), samples=1)
    assert (found.map_size, found.position, found.token) == (
        (4, 4, 6),
        (2, 2, 3),
        2 * 24 + 2 * 6 + 3,
    )


def test_the_sum_of_channels_behind_a_layer_norm_is_refused() -> None:
    for model in (VisionTransformer(), ChannelsLast()):
        with pytest.raises(MeasurementError, match="add up to zero"):
            effective_receptive_field(
                model, input_shape=(1, 3, 32, 32), samples=2, layer="norm", mode="luo2016"
            )


def test_a_map_with_channels_last() -> None:
    found = effective_receptive_field(ChannelsLast(), input_shape=(1, 3, 32, 32), samples=2)
    assert (found.layer, found.map_size, found.position) == ("norm", (8, 8), (4, 4))
    seen = np.argwhere(found.contribution > 0)
    assert seen.min(axis=0).tolist() == [16, 16]
    assert seen.max(axis=0).tolist() == [19, 19]


def test_sequences_and_volumes() -> None:
    sequence = nn.Sequential(nn.Conv1d(2, 2, 5, dilation=2, padding=4))
    found = effective_receptive_field(sequence, input_shape=(1, 2, 40), samples=2)
    assert found.square(1).side == 9
    assert found.square(1).area_share == pytest.approx(9 / 40)
    volume = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(2, 2, 3, padding=1))
    found = effective_receptive_field(volume, input_shape=(1, 1, 9, 10, 11), samples=2)
    assert found.contribution.shape == (9, 10, 11)
    assert found.square(1).side == 5
    assert found.square(1).area_share == pytest.approx(125 / 990)


def test_the_input_shape_is_chosen_when_none_is_given() -> None:
    model = stem()
    model.img_size = 40
    assert effective_receptive_field(model, samples=1).input_shape == (3, 40, 40)


# --- inputs, seeds, and what results say -----------------------------------------------------


def test_equal_seeds_give_equal_results_whatever_the_batches() -> None:
    options = {"input_shape": SHAPE, "samples": 5}
    one = effective_receptive_field(stem(), **options, batch_size=2)
    two = effective_receptive_field(stem(), **options, batch_size=5)
    other = effective_receptive_field(stem(), **options, seed=1)
    np.testing.assert_allclose(one.contribution, two.contribution, rtol=1e-4, atol=1e-9)
    again = effective_receptive_field(stem(), **options, batch_size=2)
    assert (one.contribution == again.contribution).all()
    assert np.abs(one.contribution - other.contribution).max() > 1e-5


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for image in images().split(2):
        yield image, torch.zeros(2)


def test_inputs_may_be_an_array_a_tensor_or_a_loader_with_labels() -> None:
    model = stem()
    results = [
        effective_receptive_field(model, inputs)
        for inputs in (images(), images().numpy(), batches(), [images()[:4], images()[4:]])
    ]
    for one in results:
        assert (one.samples, one.inputs) == (6, "given")
        np.testing.assert_allclose(one.contribution, results[0].contribution, rtol=1e-4, atol=1e-9)
    assert effective_receptive_field(model, batches(), samples=3).samples == 3


def test_inputs_without_a_gradient_are_left_out_and_counted() -> None:
    batch = images(3)
    batch[1] = torch.nan
    found = effective_receptive_field(stem(), batch)
    assert (found.samples, found.skipped) == (2, 1)
    assert "1 inputs left out" in str(found)
    without = effective_receptive_field(stem(), batch[[0, 2]])
    assert found.contribution.sum() == pytest.approx(1)
    assert found.square(1) == without.square(1)


def test_a_result_says_what_it_depends_on() -> None:
    found = effective_receptive_field(
        stem(), input_shape=SHAPE, samples=3, weights="random", seed=4, layer="2"
    )
    text = str(found)
    for part in ("2 in Sequential", "random weights", "33x33 px", "3 random inputs", "seed 4"):
        assert part in text
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["weights"] == "random"
    assert plain["mode"] == "default"
    assert plain["input_shape"] == [3, 33, 33]
    assert [one["share"] for one in plain["squares"]] == [0.2, 0.3, 0.5, 0.99]
    assert "contribution" not in plain
    whole = found.to_dict(contribution=True)["contribution"]
    assert np.array(whole).shape == (33, 33)
    with pytest.raises(AttributeError):
        found.seed = 5  # type: ignore[misc]


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    effective_receptive_field(model, input_shape=SHAPE, samples=2)
    assert all(one.training for one in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layer": "stage4"}, MeasurementError, "'stage4', which is no layer"),
        ({"mode": "luo"}, MeasurementError, "mode is 'luo'"),
        ({"samples": 0}, MeasurementError, "samples is 0"),
        ({"batch_size": 1.5}, MeasurementError, "batch_size is 1.5"),
        ({"position": (33, 0)}, MeasurementError, "from (0, 0) to (32, 32)"),
        ({"inputs": []}, MeasurementError, "inputs is empty"),
        ({"inputs": "images"}, MeasurementError, "inputs is 'images'"),
        ({"inputs": [np.zeros((3, 33))]}, CaptureError, "shape (3, 33)"),
        ({"inputs": [np.array(["a"])]}, MeasurementError, "must hold numbers"),
        ({"inputs": [images(1), torch.ones(1, 3, 16, 16)]}, MeasurementError, "one shape"),
        ({"inputs": np.ones((2, 4, 33, 33))}, CaptureError, "(1, 4, 33, 33)"),
    ],
)
def test_what_does_not_fit_is_said(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments = {"input_shape": SHAPE, **options}
    with pytest.raises(error) as raised:
        effective_receptive_field(stem(), **arguments)
    assert words in str(raised.value)


def test_closed_units_are_explained() -> None:
    model = stem()
    with torch.no_grad():
        model[2].bias.fill_(-1e6)
    with pytest.raises(MeasurementError, match="rectified"):
        effective_receptive_field(model, input_shape=SHAPE, samples=2)


def test_shares_beyond_all_are_refused() -> None:
    found = effective_receptive_field(stem(), input_shape=SHAPE, samples=1)
    with pytest.raises(MeasurementError, match=r"share is 1\.5"):
        found.square(1.5)


# --- trained against random ------------------------------------------------------------------


def test_random_copies_have_other_weights_and_leave_the_model_alone() -> None:
    model = VisionTransformer()
    with torch.no_grad():
        model.token.copy_(torch.arange(16.0).view(1, 1, 16))
    before = copy.deepcopy(model.state_dict())
    one, two, other = reinitialised(model, 3), reinitialised(model, 3), reinitialised(model, 4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name])
        assert value.data_ptr() != model.state_dict()[name].data_ptr()
    assert not torch.equal(one.patches.weight, model.patches.weight)
    assert not torch.equal(one.patches.weight, other.patches.weight)
    assert not torch.equal(one.token, model.token)
    assert sorted(one.token.flatten().tolist()) == list(range(16))


def test_trained_and_random_weights_see_the_same_inputs() -> None:
    model = stem()
    with torch.no_grad():  # "trained" to look at the middle
        for place in (0, 2):
            middle = model[place].weight.shape[-1] // 2
            model[place].weight[:, :, middle, middle] += 5.0
    both = compare_with_random_weights(model, batches(), "3")
    assert list(both) == ["as given", "random"]
    trained, random = both.values()
    assert isinstance(random, EffectiveReceptiveField)
    assert trained.samples == random.samples == 6
    assert trained.weights == "as given"
    assert trained.square(0.5).side < random.square(0.5).side


def test_a_comparison_is_a_value() -> None:
    both = compare_with_random_weights(stem(), input_shape=SHAPE, samples=2, layer="2", seed=3)
    assert both.given is both["as given"]
    assert both.random is both["random"]
    assert len(both) == 2
    assert "nothing" not in both
    plain = json.loads(json.dumps(both.to_dict()))
    assert [one["weights"] for one in plain.values()] == ["as given", "random"]
    assert "contribution" in both.to_dict(contribution=True)["random"]
    title, conditions, header, *rows = str(both).splitlines()
    assert "2 in Sequential" in title
    assert "seed 3" in conditions
    assert header.split() == ["contribution", "as", "given", "random"]
    assert [row.split()[0] for row in rows] == ["20%", "30%", "50%", "99%"]
    assert rows[2].split()[1] == str(both.given.square(0.5).side)
    with pytest.raises(AttributeError):
        both.given = both.random  # type: ignore[misc]
    with pytest.raises(MeasurementError, match="weights is 'random'"):
        compare_with_random_weights(stem(), input_shape=SHAPE, samples=2, weights="random")


def test_a_model_made_anew_may_stand_for_random_weights() -> None:
    model, other = stem(), reinitialised(stem(), 5)
    both = compare_with_random_weights(model, images(2), "3", random_model=other, weights="epoch 9")
    assert list(both) == ["epoch 9", "random"]
    alone = effective_receptive_field(other, images(2), "3")
    assert (both["random"].contribution == alone.contribution).all()


def test_no_model_has_no_copy() -> None:
    with pytest.raises(UnsupportedModelError):
        reinitialised(3)


# --- progress --------------------------------------------------------------------------------


def test_no_bar_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    effective_receptive_field(stem(), input_shape=SHAPE, samples=2)
    assert capfd.readouterr() == ("", "")


def test_a_bar_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    shown: list[tuple[str, Any]] = []

    class Bar:
        def __init__(self, **options: Any) -> None: ...

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            shown.append(("end", None))

        def add_task(self, title: str, total: int | None) -> int:
            shown.append((title, total))
            return 7

        def advance(self, task: int, steps: int) -> None:
            shown.append(("advance", (task, steps)))

    monkeypatch.setattr("rich.progress.Progress", Bar)
    effective_receptive_field(stem(), input_shape=SHAPE, samples=3, batch_size=2, progress=True)
    assert shown == [
        ("Effective receptive field", 3),
        ("advance", (7, 2)),
        ("advance", (7, 1)),
        ("end", None),
    ]
    shown.clear()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    effective_receptive_field(stem(), input_shape=SHAPE, samples=1)
    assert shown[0] == ("Effective receptive field", 1)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))


BAD: list[tuple[dict[str, Any], str]] = [
    *(({"seed": seed}, "seed is") for seed in (-1, "a", 1.5, None, True, 2**70)),
    *(({"position": one}, "positions reach from") for one in (3, "ab", (1,), (True, 1), (1.5, 2))),
    *(({"batch_size": one}, "batch_size is") for one in (0, None, True, 1.5)),
    ({"samples": True}, "samples is True"),
    ({"weights": 3}, "weights is 3"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_what_is_no_choice_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        effective_receptive_field(small(), input_shape=(1, 3, 16, 16), **options)
    if "seed" in options:
        with pytest.raises(MeasurementError, match=message):
            reinitialised(small(), options["seed"])
        with pytest.raises(MeasurementError, match=message):
            gradient_map(small(), input_shape=(1, 3, 16, 16), seed=options["seed"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.rand(2, 3, 16, 16, device="meta"), "cannot be read as an array"),
        (torch.rand(2, 3, 16, 16).to_sparse(), "cannot be read as an array"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.complex64), "complex64"),
        ([{"a": 1}], "of type object"),
    ],
)
def test_inputs_that_hold_no_numbers_are_refused(inputs: Any, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        effective_receptive_field(small(), inputs)
    with pytest.raises(MeasurementError, match=message):
        gradient_map(small(), inputs)


def test_an_image_without_a_batch_is_told_apart() -> None:
    with pytest.raises(CaptureError, match=r"\(3, 16, 16\).*image\[None\].*does not run"):
        effective_receptive_field(small(), torch.rand(3, 16, 16))
