"""Analysis against experiment: what verify says, and that both agree on real networks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.empirical import measure_receptive_field, structural, torch_bench, verify
from rfa_toolbox.encodings.pytorch import add_custom_layer_handler, remove_custom_layer_handler
from rfa_toolbox.errors import CaptureError, UnsupportedModelError
from tests.empirical.zoo import (
    FAMILIES,
    IN_TESTS,
    TIMM,
    TIMM_FAMILIES,
    TORCHVISION,
    build,
    options_of,
    spelled,
)
from tests.pytorch.measure import Function
from tests.pytorch.test_unchanged import everything, network, states

IMAGE = (1, 3, 64, 64)


class Blur(nn.Module):
    """Averages three neighbours, which the handlers below may or may not say."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, 3, 1)


@pytest.fixture
def blur() -> Iterator[Any]:
    def handle(kernel: int) -> None:
        add_custom_layer_handler("Blur", kernel_size_provider=lambda module: kernel)

    yield handle
    remove_custom_layer_handler("Blur")


def blurred() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), Blur(), nn.Conv2d(4, 4, 3))


class OfImages(nn.Module):
    """Takes a list of images without a batch, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images: list[torch.Tensor]) -> torch.Tensor:
        if any(one.ndim != 3 for one in images):
            raise ValueError("images have three dimensions")
        return torch.stack([self.conv(one) for one in images])


@pytest.mark.parametrize("shape", [None, [(3, 64, 64)]])
def test_a_model_of_a_list_of_images_is_measured_with_and_without_a_shape(shape: Any) -> None:
    assert [one.verdict for one in verify(OfImages(), shape).nodes] == ["agrees", "agrees"]


@pytest.mark.parametrize(("kernel", "agrees"), [(3, True), (5, False), (1, False)])
def test_a_handler_is_right_or_wrong(blur: Any, kernel: int, agrees: bool) -> None:
    blur(kernel)
    report = verify(blurred(), IMAGE, custom_layers=["Blur"])
    assert report.ok is agrees
    assert [one.name for one in report.disagreements] == ([] if agrees else ["1", "2"])
    for one in report.disagreements:
        assert "measured" in one.reason
        assert one.name in str(report)


def test_a_report_is_a_value() -> None:
    model = network()
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    before, random_before = everything(model), states()
    report = verify(model, IMAGE)
    assert everything(model) == before
    assert states() == random_before
    assert report.ok
    assert report.counts["agrees"] == len(report.nodes) == 8
    plain = report.to_dict()
    assert plain["nodes"][4]["size"] == [7, 7]
    assert plain["nodes"][5]["size"] == ["inf", "inf"]
    assert "8 agree" in report.summary()


def test_bounds_are_bounds() -> None:
    def sample(self: Any, x: torch.Tensor) -> torch.Tensor:
        grid = torch.zeros(len(x), 8, 8, 2)
        return functional.grid_sample(self.conv(x), grid, align_corners=True)

    report = verify(Function(sample, conv=nn.Conv2d(3, 3, 3)), IMAGE)
    assert report.ok
    assert report.nodes[0].verdict == "agrees"
    assert report.nodes[1].verdict in {"bound", "not measured"}


def test_misaligned_branches_agree_in_their_extent() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        one = functional.pad(self.conv(x), (2, 0, 2, 0))
        return one + functional.pad(self.conv(x), (0, 2, 0, 2))

    report = verify(Function(forward, conv=nn.Conv2d(3, 3, 3)), IMAGE)
    assert report.ok
    assert report.nodes[-1].size == report.nodes[-1].expected_size == (5, 5)


def test_what_hides_nan_is_not_measured_rather_than_wrong() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.where(x > 0, 1.0, 0.0))  # type: ignore[no-any-return]

    report = verify(Function(forward, conv=nn.Conv2d(3, 3, 3)), IMAGE)
    assert report.ok
    assert report.nodes[-1].verdict == "not measured"
    assert math.isfinite(report.nodes[-1].expected_size[0])


def test_a_window_that_is_partly_hidden_is_a_bound() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return x * (self.conv(x) > 0)

    model = Function(forward, conv=nn.Conv2d(3, 3, 3, padding=1))
    (node,) = (one for one in verify(model, IMAGE).nodes if one.kind == "mul")
    assert node.verdict == "not measured"
    assert "'gt'" in node.reason
    assert measure_receptive_field(model, IMAGE)[-1].certainty == "bound"


def test_the_insides_of_gates_agree_by_definition(torchvision: Any) -> None:
    model = torchvision.models.mobilenet_v3_small().features[:4]
    report = verify(model, display_se_modules=True)
    assert report.ok
    inside = [one for one in report.nodes if one.reason]
    assert [one.kind for one in inside][:2] == ["AdaptiveAvgPool2d", "Conv2d"]
    assert all("part of a gate" in one.reason for one in inside)


def test_ignoring_global_layers_cannot_be_measured() -> None:
    for experiment in (verify, measure_receptive_field):
        with pytest.raises(UnsupportedModelError, match="'ignore'"):
            experiment(network(), IMAGE, global_ops="ignore")


def over(function: Any) -> nn.Module:
    return Function(lambda self, x: function(x))


def in_patches(x: torch.Tensor) -> torch.Tensor:
    """Normalise patches of 2x2 pixels, as some vision transformers do."""
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    patches = x.view(1, 4, rows, 2, columns, 2).permute(0, 2, 4, 3, 5, 1).flatten(3)
    patches = functional.layer_norm(patches, (16,))
    return patches.view(1, rows, columns, 2, 2, 4).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


INF = math.inf
NORMS: list[tuple[str, Any, tuple[float, float]]] = [
    ("group", lambda: nn.GroupNorm(2, 4), (INF, INF)),
    ("instance", lambda: nn.InstanceNorm2d(4), (INF, INF)),
    ("instance, running", lambda: nn.InstanceNorm2d(4, track_running_stats=True), (5, 5)),
    ("batch", lambda: nn.BatchNorm2d(4), (5, 5)),
    ("batch, not running", lambda: nn.BatchNorm2d(4, track_running_stats=False), (INF, INF)),
    ("layer over space", lambda: nn.LayerNorm((4, 14, 14)), (INF, INF)),
    ("rows", lambda: nn.RMSNorm((14,)), (5, INF)),
    ("local response", lambda: nn.LocalResponseNorm(3), (5, 5)),
    ("columns", lambda: over(lambda x: functional.normalize(x, dim=2)), (INF, 5)),
    ("channels", lambda: over(functional.normalize), (5, 5)),
    (
        "layer over channels",
        lambda: over(lambda x: functional.layer_norm(x.movedim(1, 3), (4,)).movedim(3, 1)),
        (5, 5),
    ),
    ("patches", lambda: over(in_patches), (6, 6)),
]


@pytest.mark.parametrize("shortcuts", [True, False])
@pytest.mark.parametrize(
    ("norm", "counted"), [pytest.param(norm, size, id=name) for name, norm, size in NORMS]
)
def test_statistics_over_positions_are_neutral_or_count_and_it_is_said(
    norm: Any, counted: tuple[float, float], shortcuts: bool
) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), norm(), nn.Conv2d(4, 4, 3))
    shape = (1, 4, 16, 16)
    plain = verify(model, shape, shortcuts=shortcuts)
    assert {one.verdict for one in plain.nodes} == {"agrees"}
    assert plain.nodes[-1].size == (5, 5)
    neutral = [place for place, one in enumerate(plain.nodes) if "statistics" in one.reason]
    assert neutral == ([] if counted == (5, 5) else [1])
    notes = [one.notes for one in measure_receptive_field(model, shape, shortcuts=shortcuts)]
    assert [place for place, one in enumerate(notes) if "statistics" in " ".join(one)] == neutral
    everything = verify(model, shape, global_ops="count", shortcuts=shortcuts)
    assert {one.verdict for one in everything.nodes} == {"agrees"}
    assert everything.nodes[-1].size == everything.nodes[-1].expected_size == counted
    assert not any(one.reason for one in everything.nodes)
    found = measure_receptive_field(model, shape, global_ops="count")
    assert found[-1].size == counted
    assert not any(one.notes for one in found if "no longer image" not in " ".join(one.notes))


def test_gates_say_that_they_are_neutral(torchvision: Any) -> None:
    model = torchvision.models.mobilenet_v3_small().features[:3]
    closed = measure_receptive_field(model)
    (gate,) = (one for one in closed if one.notes)
    assert gate.kind == "SqueezeExcitation"
    assert "a gate" in gate.notes[0]
    (node,) = (one for one in verify(model).nodes if one.reason)
    assert (node.kind, node.verdict) == ("SqueezeExcitation", "agrees")
    opened = measure_receptive_field(model, display_se_modules=True)
    inside = [one for one in opened if one.notes]
    assert inside[0].kind == "AdaptiveAvgPool2d"
    assert all(one.is_global and "part of a gate" in one.notes[0] for one in inside)


@pytest.mark.parametrize("kernel", [901, 2001])
def test_a_field_much_larger_than_the_first_image_is_not_infinite(kernel: int) -> None:
    model = nn.Sequential(nn.Conv1d(1, 1, 3), nn.Conv1d(1, 1, kernel, padding=kernel // 2))
    report = verify(model, (1, 1, 64))
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert report.nodes[-1].size == (kernel + 2,)
    small = measure_receptive_field(model, (1, 1, 64), max_length=448)[-1]
    assert "no longer image" in small.notes[0]
    assert verify(model, (1, 1, 64), max_length=448).nodes[-1].verdict == "not measured"


def strided(count: int, kernel: int, stride: int) -> nn.Module:
    return (nn.Conv1d, nn.Conv2d)[count - 1](1, 1, kernel, stride)


def spread(count: int, kernel: int, stride: int, **options: int) -> nn.Module:
    return (nn.ConvTranspose1d, nn.ConvTranspose2d)[count - 1](1, 1, kernel, stride, **options)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("layers", "windows"),
    [
        ([(spread, 1, 3), (strided, 2, 2)], [(0, 0), (1, 1), None]),
        ([(spread, 1, 3), (strided, 3, 2)], [(0, 0), (1, 1), (2, 2)]),
        ([(spread, 1, 5), (spread, 2, 3), (strided, 2, 4)], [(0, 0), *[None] * 3, (1, 1)]),
        ([(spread, 2, 5), (strided, 1, 3)], [(0, 0), None, (1, 1), None, None]),
    ],
)
def test_analysis_equals_experiment_where_phases_see_nothing(
    count: int, layers: list[Any], windows: list[Any]
) -> None:
    model = nn.Sequential(*(make(count, *sizes) for make, *sizes in layers))
    shape = (1, 1, *[64] * count)
    report = verify(model, shape)
    assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements
    field = measure_receptive_field(model, shape)[-1]
    assert list(field.phases[0])[: len(windows)] == windows[: len(field.phases[0])]


@pytest.mark.parametrize("max_length", [224, 448, None])
def test_a_jump_that_shows_only_far_away_is_not_rounded(max_length: int | None) -> None:
    model = nn.Upsample(scale_factor=0.3, mode="nearest")
    report = verify(model, (1, 1, 224, 224), max_length=max_length)
    assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements
    assert report.nodes[-1].jump == (Fraction(10, 3), Fraction(10, 3))


def test_a_field_that_grows_with_the_image_ends_the_experiment_soon() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.flip(3)) + x  # type: ignore[no-any-return]

    model = Function(forward, conv=nn.Conv2d(1, 1, 3, padding=1))
    report = verify(model, (1, 1, 64, 64))
    assert report.ok
    assert sum(map(sum, report.passes)) < 100
    _, flip, conv, add = report.nodes
    assert "opposite order" in flip.reason
    assert "opposite order" in conv.reason
    assert "depend on the size" in add.reason
    assert add.size == (3, None)
    twice = verify(Function(lambda self, x: x.flip(2).flip(2) + x), (1, 1, 64))
    assert twice.nodes[-1].size == (1,)
    assert twice.ok


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "asked"),
    [(2, 2, 0, True), (3, 3, 0, True), (3, 2, 1, True), (2, 3, 1, False), (2, 1, 0, False)],
)
def test_maxima_go_back_to_all_places_in_their_windows(
    count: int, kernel: int, stride: int, padding: int, asked: bool
) -> None:
    pool = (nn.MaxPool1d, nn.MaxPool2d)[count - 1]
    unpool = (nn.MaxUnpool1d, nn.MaxUnpool2d)[count - 1]

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        maxima, indices = self.pool(x)
        size = x.shape[2:] if asked else None
        return self.unpool(self.conv(maxima), indices, output_size=size)  # type: ignore[no-any-return]

    model = Function(
        forward,
        pool=pool(kernel, stride, padding, return_indices=True),
        conv=(nn.Conv1d, nn.Conv2d)[count - 1](1, 1, 3, padding=1),
        unpool=unpool(kernel, stride, padding),
    )
    for shortcuts in (True, False):
        report = verify(model, (1, 1, *[60] * count), shortcuts=shortcuts)
        assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements


def test_maps_of_a_size_of_their_own_make_no_image_longer() -> None:
    report = verify(nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Conv2d(1, 1, 3)), (1, 1, 40, 40))
    assert report.input_shapes == ((1, 1, 224, 32), (1, 1, 32, 224))
    assert [one.verdict for one in report.nodes] == ["agrees", "not measured"]
    assert "depend on the size" in report.nodes[1].reason


def test_a_crop_that_sees_nearly_everything_is_not_said_to_see_all() -> None:
    model = Function(lambda self, x: x * x[..., 2:].mean(2, keepdim=True).sigmoid())
    report = verify(model, (1, 1, 33), global_ops="count")
    assert report.ok, report.disagreements


def test_a_gate_behind_a_crop_does_not_move_the_reading_to_the_border() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        x = (torch.roll(x, -2, 2) + x)[..., 2:]
        return x * x.mean(2, keepdim=True).sigmoid()

    report = verify(Function(forward), (1, 1, 64))
    (node,) = (one for one in report.nodes if one.kind == "add")
    assert (node.verdict, node.size) == ("agrees", (3,))


def test_maps_without_units_are_no_maps() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 3, 8), Function(lambda self, x: x[..., 4:]))
    report = verify(model, (1, 1, 64, 64))
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert min(report.input_shapes[0][2:]) > 32
    with pytest.raises(CaptureError, match="is empty for an image of"):
        verify(model, (1, 1, 32, 32), max_length=32)
    assert len(measure_receptive_field(model, (1, 1, 32, 32), method="gradient")) == 1


def test_no_more_passes_are_made_than_allowed() -> None:
    model = nn.Sequential(*(nn.Conv1d(1, 1, 3, 3) for _ in range(7)))
    report = verify(model, (1, 1, 2400))
    assert [one.verdict for one in report.nodes] == [*["agrees"] * 6, "not measured"]
    assert "within 1024 pixels" in report.nodes[-1].reason
    short = verify(model, (1, 1, 2400), max_passes=100)
    assert [one.verdict for one in short.nodes] == [*["agrees"] * 3, *["not measured"] * 4]
    assert max(short.passes[0]) <= 110


def test_a_field_with_one_end_ends_the_experiment_soon() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.pixel_unshuffle(x.cumsum(3), 2))  # type: ignore[no-any-return]

    up = nn.Sequential(nn.Conv2d(1, 4, 2), nn.PixelShuffle(2))
    model = nn.Sequential(up, Function(forward, conv=nn.Conv2d(4, 1, 1)))
    report = verify(model, (1, 1, 32, 32))
    assert report.ok
    assert sum(map(sum, report.passes)) < 600


def test_a_type_may_be_taken_from_a_tensor_of_another_shape() -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        places = torch.arange(height).to(x)[None, None, :, None].expand(1, 1, height, width)
        return self.conv(torch.cat([x, places], 1))  # type: ignore[no-any-return]

    report = verify(Function(forward, conv=nn.Conv2d(2, 1, 3)), (1, 1, 64, 64))
    assert {one.verdict for one in report.nodes} == {"agrees"}


def test_a_map_that_stands_twice_is_not_measured_and_has_no_negative_size() -> None:
    (node,) = verify(Function(lambda self, x: torch.cat([x, x], 2)), (1, 1, 64, 64)).nodes
    assert node.verdict == "not measured"
    assert node.size == (None, 1)
    assert "end before they begin" in node.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_columns_of_unfold_are_found_in_their_tensor(dtype: torch.dtype) -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        columns = functional.unfold(x, 3, padding=1)
        return torch.einsum("ok,bkl->bol", self.weight, columns).view(1, 2, *x.shape[2:])

    model = Function(forward, weight=nn.Parameter(torch.rand(2, 9))).to(dtype)
    report = verify(model, (1, 1, 20, 20))
    assert report.ok
    assert report.nodes[-1].size == (3, 3)


def test_what_the_model_raises_is_quoted_if_it_runs_at_no_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no such image")

    monkeypatch.setattr(torch_bench.TorchSetting, "__init__", fail)
    with pytest.raises(
        CaptureError, match=r"lengths \[64\].*ValueError\('no such image'\)"
    ) as info:
        verify(network(), IMAGE)
    assert isinstance(info.value.__cause__, ValueError)
    with pytest.raises(CaptureError, match="no such image"):
        measure_receptive_field(network(), IMAGE)


def test_a_model_that_takes_one_size_is_run_at_no_other_with_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scored(model: Any, x: torch.Tensor) -> torch.Tensor:
        tokens = model.layer(x).flatten(2)  # whose scores would take much at a larger size
        return (tokens @ (tokens.transpose(1, 2) @ tokens).softmax(-1)).reshape(1, 3, 8, 8)

    sizes: set[tuple[int, ...]] = set()
    record = torch_bench.Forgetful.record

    def noted(recorder: Any, example: Any) -> Any:
        sizes.update(tuple(one.shape[2:]) for one in example.tensors)
        if sizes != {(8, 8)}:
            raise RuntimeError("no memory")
        return record(recorder, example)

    monkeypatch.setattr(torch_bench.Forgetful, "record", noted)
    report = verify(Function(scored, layer=nn.Conv2d(3, 3, 3, padding=1)), (1, 3, 8, 8))
    assert report.counts["agrees"]
    assert sizes == {(8, 8)}


def test_a_period_that_does_not_fit_into_the_image_is_not_measured() -> None:
    up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    report = verify(nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), up), (1, 1, 64, 64))
    assert [one.verdict for one in report.nodes] == ["agrees", "not measured"]
    assert "repeat every 222 pixels" in report.nodes[1].reason


@pytest.mark.parametrize("dilation", [3, 20, 36])
def test_a_dilated_window_that_is_larger_than_the_map_has_a_longer_image(dilation: int) -> None:
    wide = nn.Conv1d(2, 2, 3, dilation=dilation, padding=dilation)
    report = verify(nn.Sequential(nn.Conv1d(1, 2, 16, 16), wide), (1, 1, 64))
    assert [one.verdict for one in report.nodes] == ["agrees", "agrees"]
    assert report.nodes[-1].size == (16 * (2 * dilation + 1),)


def test_a_dilated_window_that_no_image_has_room_for_is_not_measured() -> None:
    wide = nn.Conv1d(2, 2, 3, dilation=20, padding=20)
    model = nn.Sequential(nn.Conv1d(1, 2, 16, 16), wide, nn.Conv1d(2, 2, 3, padding=1))
    report = verify(model, (1, 1, 64), max_length=224)
    assert [one.verdict for one in report.nodes] == ["agrees", "not measured", "not measured"]
    assert "dilated window take an image of 1282 pixels, and it has 224" in report.nodes[1].reason


@pytest.mark.parametrize("size", [48, 50, 56])
def test_maps_of_a_size_of_their_own_are_no_false_alarm(size: int) -> None:
    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(functional.interpolate(x, size=(size, size)))  # type: ignore[no-any-return]

    report = verify(Function(forward, conv=nn.Conv2d(1, 1, 3)), (1, 1, 64, 64))
    assert report.ok, report.disagreements
    assert all(one.reason for one in report.nodes if one.verdict == "not measured")


def test_the_zoo_is_as_large_as_it_should_be(torchvision: Any) -> None:
    timm = pytest.importorskip("timm")
    assert len(TORCHVISION) == 80
    assert set(FAMILIES) < set(TORCHVISION)
    assert len(set(TIMM)) == len(TIMM)
    assert len(IN_TESTS) == len(TIMM_FAMILIES) >= 60
    assert {one.split(":")[0] for one in TIMM} <= set(timm.list_models())
    assert len({one for one in TIMM if ":" not in one}) >= 150
    assert spelled(["VGG"]) == ["timm:vgg11_bn", "timm:vgg19"]


QUICK = ["timm:resnet18", "timm:seresnet18", "torchvision:squeezenet1_1", "timm:legacy_seresnet18"]
HEAVY = {
    *("densenet121", "rdnet_tiny", "nasnetalarge", "pnasnet5large"),
    *("nfnet_l0", "convformer_s18", "inception_v3", "mixnet_s"),
}  # by benchmarks/verify_zoo.py, as are the larger models of a family


def check(name: str) -> None:
    report = verify(build(name), time_limit=None, **options_of(name))
    assert report.ok, report.disagreements[:3]
    missing = [
        one
        for one in report.nodes
        if one.verdict == "not measured" and "depend on the size of the image" not in one.reason
    ]
    assert not missing, [(one.name, one.reason) for one in missing[:3]]


@pytest.mark.parametrize("name", QUICK)
def test_analysis_equals_experiment(torchvision: Any, name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [one for one in IN_TESTS if one not in HEAVY])
def test_analysis_equals_experiment_for_every_family(torchvision: Any, name: str) -> None:
    pytest.importorskip("timm")
    check(f"timm:{name}")


SLOW = {"densenet121", "maxvit_t", "swin_t", "swin_v2_t", "vit_b_16"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [one for one in FAMILIES if one not in SLOW])
def test_analysis_equals_experiment_for_models_of_torchvision(torchvision: Any, name: str) -> None:
    check(f"torchvision:{name}")


class Windows(nn.Module):
    """Attention within windows of 8 units, on an axis of 8 units and on one of many."""

    def __init__(self, shift: int, shortcut: bool = False) -> None:
        super().__init__()
        self.shift = shift
        self.shortcut = shortcut
        self.query = nn.Linear(4, 4)
        self.key = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, height, width, channels = x.shape
        moves = [self.shift if size > 8 else 0 for size in (height, width)]
        tokens = torch.roll(x, [-one for one in moves], (1, 2))
        tokens = tokens.view(batch, height // 8, 8, width // 8, 8, channels)
        tokens = tokens.permute(0, 1, 3, 2, 4, 5).reshape(-1, 64, channels)
        tokens = functional.scaled_dot_product_attention(
            self.query(tokens), self.key(tokens), tokens
        )
        tokens = tokens.view(batch, height // 8, width // 8, 8, 8, channels)
        tokens = tokens.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)
        tokens = torch.roll(tokens, moves, (1, 2))
        return x + tokens if self.shortcut else tokens


class InWindows(nn.Module):
    """Two layers of windows behind each other, as in a Swin Transformer."""

    def __init__(self, shortcut: bool = False) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 4, 4)
        self.first = Windows(0, shortcut)
        self.second = Windows(4, shortcut)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).permute(0, 2, 3, 1)
        return self.second(self.first(tokens)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


@pytest.mark.parametrize("custom_layers", [[], ["Windows"]])
def test_windows_that_fill_one_of_the_axes(custom_layers: list[str]) -> None:
    report = verify(InWindows(), (1, 1, 256, 256), custom_layers=custom_layers)
    assert report.ok, report.disagreements
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert report.nodes[-1].size == (64, 64)  # half of either of two windows of 32 pixels


def test_a_shortcut_within_a_module_keeps_its_smallest_field() -> None:
    graph = create_graph_from_pytorch_model(
        InWindows(shortcut=True), input_res=(1, 1, 256, 256), custom_layers=["Windows"]
    )
    assert graph.receptive_field_min == (4, 4)
    assert graph.receptive_field_max == (64, 64)


def test_an_image_is_made_longer_until_windows_repeat() -> None:
    class Strided(InWindows):
        def __init__(self) -> None:
            super().__init__()
            self.third = nn.Conv2d(4, 4, 1, stride=3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.third(super().forward(x))  # type: ignore[no-any-return]

    report = verify(Strided(), (1, 1, 256, 256))
    assert {one.verdict for one in report.nodes} == {"agrees"}
    # 224 pixels hold every window, but not twice the 96 pixels after which they repeat.
    assert [max(shape) for shape in report.input_shapes] == [448, 448]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["", "V2"])
def test_analysis_equals_experiment_for_shifted_windows(torchvision: Any, version: str) -> None:
    """The first stages of a Swin Transformer; the windows of the others take minutes to repeat."""
    swin = torchvision.models.swin_transformer
    options: dict[str, Any] = {}
    if version:
        options = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2}
    window = [8, 8] if version else [7, 7]
    model = swin.SwinTransformer([4, 4], 16, [2, 2], [2, 4], window, num_classes=2, **options)
    report = verify(model.eval())
    scores = [one for one in report.nodes if "as the scores of an attention do" in one.reason]
    verdicts = {one.verdict for one in report.nodes if one not in scores}
    assert verdicts == {"agrees"}, report.disagreements
    assert {one.verdict for one in scores} == {"not measured"}
    assert len(report.nodes) > 50


def test_analysis_equals_experiment_for_attention_over_everything(torchvision: Any) -> None:
    model = torchvision.models.VisionTransformer(64, 8, 2, 2, 16, 32, num_classes=2)
    report = verify(model.eval())
    assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements
    assert report.nodes[-1].size == (math.inf, math.inf)


class Listed(nn.Module):
    """Layers between the list of all positions and what mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool1d(6)
        self.norm = nn.BatchNorm1d(6)
        self.dense = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.pool(x).flatten(1)).relu()
        return self.dense(torch.cat([y, 2 * y], 1)[:, :6])  # type: ignore[no-any-return]


def test_a_list_of_all_positions_sees_everything_until_it_is_mixed() -> None:
    report = verify(Listed().eval(), (1, 1, 64))
    verdicts = [one.verdict for one in report.nodes]
    assert verdicts == ["not measured", *["agrees"] * (len(verdicts) - 1)]  # pooled by the size
    assert len(verdicts) == 7


def test_positions_in_a_lost_order_end_the_experiment_soon() -> None:
    """Both axes run through one dimension, which gives many more units than pixels."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.roll(x.flatten(2), 5, 2).view(x.shape))  # type: ignore[no-any-return]

    report = verify(Function(forward, conv=nn.Conv2d(1, 1, 3, padding=1)), (1, 1, 64, 64))
    assert report.ok
    assert report.nodes[-1].verdict == "not measured"
    assert report.nodes[-1].expected_size == (math.inf, math.inf)


ACROSS: dict[str, tuple[Any, tuple[float, float], tuple[int, int]]] = {
    "swapped": (lambda self, x: x + x.mT, (math.inf, math.inf), (24, 24)),
    "swapped later": (lambda self, x: self.conv(x) * x.mT, (math.inf, math.inf), (24, 24)),
    "and back": (lambda self, x: self.conv(x.mT).mT, (3, 3), (24, 24)),
    "halves": (lambda self, x: functional.glu(self.conv(x), 3), (3, math.inf), (24, 1)),
    "rows": (
        lambda self, x: functional.scaled_dot_product_attention(x, x, x),
        (math.inf, math.inf),
        (24, 1),
    ),
    "crop": (lambda self, x: functional.relu(self.conv(x)[..., :-2, :-3]), (3, 3), (22, 21)),
}


@pytest.mark.parametrize("name", ACROSS)
def test_maps_that_are_combined_across_their_axes(name: str) -> None:
    forward, size, units = ACROSS[name]
    model = Function(forward, conv=nn.Conv2d(1, 1, 3, padding=1))
    report = verify(model, (1, 1, 24, 24))
    assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements
    graph = create_graph_from_pytorch_model(model, input_res=(1, 1, 24, 24))
    last = graph.all_layers[-1]
    assert last.receptive_field_max == size
    assert last.feature_map == units


def test_a_notebook_shows_what_was_found_as_a_table() -> None:
    model = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.MaxPool1d(2))
    for found in (verify(model), measure_receptive_field(model)):
        shown = found._repr_html_()
        assert shown.count("<tr>") == 1 + 2
        assert "MaxPool1d" in shown


class KeptAnchors(nn.Module):
    """A head that computes where its positions are in its first call, and keeps that."""

    def __init__(self, masked: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.head = nn.Conv2d(4, 2, 3, padding=1)
        self.mask = torch.ones(4, 1, 1)
        self.mask[0] = 0.0 if masked else 1.0
        self.shape: torch.Size | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x) * self.mask
        if x.shape[2:] != self.shape:
            self.shape = x.shape[2:]
            across = torch.arange(x.shape[3]).type_as(x) + 0.5
            down = torch.arange(x.shape[2]).type_as(x) + 0.5
            self.anchors = torch.stack(torch.meshgrid(down, across, indexing="ij"))
        return self.head(x) + self.anchors  # type: ignore[no-any-return]


@pytest.mark.parametrize("masked", [False, True])
def test_what_a_model_keeps_of_a_call_is_not_there_in_the_next_one(masked: bool) -> None:
    model = KeptAnchors(masked)
    for _ in range(2):  # the second time with the anchors of a user's own call
        report = verify(model, (1, 3, 64, 64))
        assert {one.verdict for one in report.nodes} == {"agrees"}, str(report)
        model(torch.zeros(1, 3, 64, 64))


def test_images_run_together_also_where_a_constant_takes_their_type() -> None:
    bench = torch_bench.TorchBench(KeptAnchors(), (1, 3, 64, 64))
    setting = bench.setting(0, 224)
    assert setting is not None
    assert setting._batch_size() > 1


class Scales(nn.Module):
    """Gives the positions of maps of three scales one after another, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=8, padding=1)
        self.second = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.third = nn.Conv2d(4, 4, 3, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.first(x)
        coarse = self.second(fine)
        maps = fine, coarse, self.third(coarse)
        return torch.cat([one.flatten(2) for one in maps], 2)


def test_a_list_of_several_scales_does_not_make_the_period_longer() -> None:
    bench = torch_bench.TorchBench(Scales(), (1, 3, 64, 64))
    short, long = (bench.setting(0, length) for length in (448, 896))
    assert short is not None
    assert structural._Survey(short, long, 0, 896).period == 32
