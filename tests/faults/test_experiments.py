"""Models that experiments once could not run, and what they say when they have to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.domain import EXPERIMENT_TIME_LIMIT
from rfa_toolbox.empirical import measure_receptive_field, verify
from rfa_toolbox.encodings.pytorch.layer_handlers import default_chain
from rfa_toolbox.errors import MeasurementError, UnsupportedModelError
from rfa_toolbox.graphs import LayerDefinition
from tests.pytorch.measure import Function

IMAGE = (1, 3, 64, 64)


def verdicts(model: nn.Module, shape: Any = IMAGE, **options: Any) -> set[str]:
    return {one.verdict for one in verify(model, shape, **options).nodes}


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4, affine=True), nn.GroupNorm(2, 4)])
def test_an_activation_in_place_behind_a_norm(norm: nn.Module) -> None:
    layers = [nn.Conv2d(1, 4, 3), norm, nn.LeakyReLU(inplace=True), nn.Conv2d(4, 4, 3, 2)]
    model = nn.Sequential(*layers)
    assert verdicts(model, (1, 1, 32, 32)) == {"agrees"}
    assert measure_receptive_field(model, (1, 1, 32, 32))[-1].size == (5, 5)


class ReadsNumbers(nn.Module):
    """Reads more numbers of its own than meta tensors keep, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.register_buffer("scales", torch.arange(5000.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * float(self.scales[7])  # type: ignore[no-any-return, index]


@pytest.mark.filterwarnings("ignore:ReadsNumbers does not run on meta tensors")
def test_a_model_that_has_to_be_traced() -> None:
    assert verdicts(ReadsNumbers()) == {"agrees"}
    assert measure_receptive_field(ReadsNumbers(), IMAGE)["conv"].size == (3, 3)


def dynamic_weights(s: Any, x: torch.Tensor) -> torch.Tensor:
    share = s.r(x.mean((2, 3))).softmax(-1)[0, :, None, None, None, None]
    return F.conv2d(x, (share * s.w).sum(0), padding=1)


def largest_alone(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.a(x)
    return s.b(torch.where(y >= y.flatten(1).topk(10).values.min(), y, 0.0))  # type: ignore[no-any-return]


def memory_format(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.a(x)
    y = y.to(memory_format=torch.channels_last) if y.device.type == "cpu" else y
    return s.b(y)[..., ::2, ::2]  # type: ignore[no-any-return]


def name_of_type(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.a(x)
    return s.b(y.half() if "Half" in y.type() else y)  # type: ignore[no-any-return]


def over_the_batch(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.a(x)
    return s.b(y - y.mean(0).mean(0))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "function", [dynamic_weights, largest_alone, memory_format, name_of_type, over_the_batch]
)
def test_what_ended_in_errors_of_pytorch(function: Callable[..., torch.Tensor]) -> None:
    model = Function(
        function,
        a=nn.Conv2d(3, 8, 3, padding=1),
        b=nn.Conv2d(8, 8, 3, padding=1),
        r=nn.Linear(3, 4),
    )
    model.w = nn.Parameter(torch.randn(4, 8, 3, 3, 3))
    assert verdicts(model) <= {"agrees", "not measured", "bound"}
    assert verify(model, IMAGE).nodes[0].verdict == "agrees"


def test_an_exported_program_that_takes_one_size() -> None:
    program = torch.export.export(nn.Sequential(nn.Conv2d(3, 8, 3)), (torch.zeros(IMAGE),))
    assert verdicts(program.module()) == {"agrees"}


@pytest.fixture
def deformable() -> Iterator[Any]:
    """A convolution whose kernel would read memory at the place NaN, as that of torchvision.

    "fb" is one of the libraries whose operators go by the names of PyTorch.
    """
    with contextlib.ExitStack() as stack:
        library = stack.enter_context(torch.library._scoped_library("fb", "FRAGMENT"))
        library.define("deform_conv2d(Tensor input, Tensor weight, Tensor offset) -> Tensor")

        def kernel(x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
            if not offset.isfinite().all():
                raise SystemError("it would have read memory that is not its own")
            return F.conv2d(x, weight, padding=1)

        library.impl("deform_conv2d", kernel, "CPU")
        library.impl("deform_conv2d", lambda x, w, o: F.conv2d(x, w, padding=1), "Meta")
        yield torch.ops.fb.deform_conv2d


@pytest.mark.parametrize("shortcuts", [True, False])
def test_offsets_are_never_nan_to_a_kernel(deformable: Any, shortcuts: bool) -> None:
    model = Function(
        lambda s, x: s.last(deformable(x, s.conv.weight, s.offset(x))),
        offset=nn.Conv2d(3, 18, 5, padding=2),
        conv=nn.Conv2d(3, 8, 3),
        last=nn.Conv2d(8, 4, 1),
    )
    report = verify(model, IMAGE, shortcuts=shortcuts)
    assert [one.verdict for one in report.nodes[1:]] == ["agrees", "bound", "bound"]
    assert report.nodes[2].size == (5, 5)  # what the offsets see


def deep(count: int = 12) -> nn.Module:
    return nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(count)))


def test_a_time_limit_keeps_what_was_measured_and_says_how_far_it_came() -> None:
    report = verify(deep(), IMAGE, time_limit=1e-6)
    assert report.ok
    assert "stopped after 1e-06 seconds with 0 of 12 layers measured" in report.summary()
    assert all("time limit" in one.reason for one in report.nodes)
    assert report.to_dict()["stopped"] == report.stopped
    found = measure_receptive_field(deep(), IMAGE, time_limit=1e-6)
    assert all("time limit" in one.notes[-1] for one in found)
    assert "stopped after 1e-06 seconds with 0 of 12 layers measured" in str(found)
    assert found.to_dict()["stopped"] == found.stopped
    assert verify(deep(2), IMAGE, time_limit=600).stopped == ""


def test_a_time_limit_in_the_middle_leaves_whole_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    model = deep(3)
    model.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + 1.0))
    whole = sum(sum(axis) for axis in verify(model, IMAGE).passes)
    report = verify(model, IMAGE, time_limit=whole / 3)
    measured = [[size is not None for size in one.size] for one in report.nodes]
    assert [True, False] in measured
    assert report.stopped


@pytest.mark.parametrize("experiment", [verify, measure_receptive_field])
def test_an_experiment_ends_after_a_minute_by_default(
    experiment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    model = deep(3)
    model.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + EXPERIMENT_TIME_LIMIT))
    assert experiment(model, IMAGE).stopped.startswith("stopped after 60 seconds")
    assert not experiment(model, IMAGE, time_limit=None).stopped


@pytest.mark.parametrize("limit", [0, -1, "10", True, float("nan")])
def test_a_time_limit_is_a_number_of_seconds(limit: Any) -> None:
    with pytest.raises(MeasurementError, match="time_limit is"):
        verify(deep(1), IMAGE, time_limit=limit)


class Blur(nn.Module):
    """Averages three neighbours, in an operation that nothing knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, 3, 1)


class Handler:
    """Describes a blur, rightly or not."""

    def __init__(self, kernel: int) -> None:
        self.kernel = kernel

    def can_handle(self, call: Any, /) -> bool:
        return str(call.class_name) == "Blur"

    def __call__(self, call: Any, /) -> LayerDefinition:
        return LayerDefinition("Blur", kernel_size=self.kernel, padding=0)


@pytest.mark.parametrize(("kernel", "agrees"), [(3, True), (5, False)])
def test_a_chain_of_handlers_is_held_against_the_experiment(kernel: int, agrees: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), Blur(), nn.Conv2d(4, 4, 3))
    chain = default_chain().with_handler(Handler(kernel))
    report = verify(model, IMAGE, handlers=chain)
    assert report.ok is agrees
    assert [one.name for one in report.disagreements] == ([] if agrees else ["1", "2"])
    assert verify(model, IMAGE).ok
    with pytest.raises(UnsupportedModelError, match="handlers is"):
        verify(model, IMAGE, handlers=[Handler(3)])
