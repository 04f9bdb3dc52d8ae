"""ONNX files are run, and their graphs held against what every unit sees."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from torch import nn  # noqa: E402

from rfa_toolbox.empirical import measure_receptive_field, verify  # noqa: E402
from rfa_toolbox.errors import MeasurementError  # noqa: E402
from rfa_toolbox.graphs import LayerDefinition  # noqa: E402
from rfa_toolbox.operators.nodes import RESOLVING_STRATEGY  # noqa: E402
from tests.faults.test_tiles import Attention, Gate  # noqa: E402
from tests.pytorch.measure import Function  # noqa: E402

SHAPE = (1, 3, 64, 64)


def exported(model: nn.Module, shape: tuple[int, ...] = SHAPE, open_sizes: bool = True) -> Any:
    buffer = io.BytesIO()
    axes = {"x": {place: f"size{place}" for place in range(2, len(shape))}} if open_sizes else {}
    torch.onnx.export(
        model.eval(),
        (torch.rand(shape),),
        buffer,
        dynamo=False,
        input_names=["x"],
        dynamic_axes=axes,
    )
    return onnx.load_from_string(buffer.getvalue())


def network(extra: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 7, 2, padding=3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        extra,
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(4, 2, 3),
    )


EXTRAS = {
    "activation": nn.SiLU,
    "gate": Gate,
    "instance norm": lambda: nn.InstanceNorm2d(4),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "attention": Attention,
    "global pooling": lambda: nn.AdaptiveAvgPool2d(1),
}
GLOBAL = {"attention", "global pooling"}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ONNX export mode is set to"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


@pytest.mark.parametrize("name", EXTRAS)
def test_every_node_agrees(name: str) -> None:
    model = network(EXTRAS[name]())
    report = verify(exported(model), SHAPE, max_length=448)
    assert report.ok, report.disagreements
    assert report.nodes[-1].verdict == "agrees"
    assert report.nodes[-1].size == ((math.inf,) * 2 if name in GLOBAL else (15, 15))
    own = measure_receptive_field(model, SHAPE, max_length=448)[-1]
    assert report.nodes[-1].size == own.size


def test_gates_and_norms_count_where_all_do() -> None:
    for extra in (Gate(), nn.InstanceNorm2d(4)):
        report = verify(exported(network(extra)), SHAPE, global_ops="count", max_length=448)
        assert report.nodes[-1].size == (math.inf, math.inf)
        assert report.ok


def test_a_file_of_one_size_is_measured_at_that_size() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.Linear(4 * 31 * 31, 2))
    report = verify(exported(flat, open_sizes=False), SHAPE)
    assert report.ok
    assert report.input_shapes == (SHAPE, SHAPE)
    assert report.nodes[0].size == (3, 3)


class Handler:
    """Says of a pooling over three units what its kernel is, rightly or not."""

    def __init__(self, kernel: int) -> None:
        self.kernel = kernel

    def can_handle(self, call: Any, /) -> bool:
        return str(call.operator).startswith("avg_pool")

    def __call__(self, call: Any, /) -> LayerDefinition:
        return LayerDefinition("Blur", kernel_size=self.kernel, padding=0)


@pytest.mark.parametrize(("kernel", "agrees"), [(3, True), (5, False)])
def test_a_handler_is_right_or_wrong(kernel: int, agrees: bool) -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.AvgPool1d(3, 1), nn.Conv1d(2, 1, 3))
    chain = RESOLVING_STRATEGY.with_handler(Handler(kernel))
    report = verify(exported(model, (1, 1, 64)), (1, 1, 64), handlers=chain, max_length=448)
    assert report.ok is agrees
    assert report.nodes[-1].size == (7,)


def causal(s: Any, x: Any) -> Any:
    y = s.c(x)
    mask = torch.full((64, 64), -math.inf).triu(1)
    return ((y.transpose(1, 2) @ y + mask).softmax(-1) @ y.transpose(1, 2)).transpose(1, 2)


def test_what_a_mask_hides_is_measured_by_differences() -> None:
    model = Function(causal, c=nn.Conv1d(1, 2, 3, padding=1))
    report = verify(exported(model, (1, 1, 64), open_sizes=False), (1, 1, 64))
    assert report.nodes[-1].verdict == "agrees"
    (masked,) = (one for one in report.nodes if one.name == "softmax")
    assert (masked.verdict, "twice" in masked.reason) == ("not measured", True)


@pytest.mark.parametrize(
    "extra",
    [
        nn.MaxPool2d(3, 1, padding=1, dilation=2),
        Function(lambda s, x: nn.functional.interpolate(x, scale_factor=(1, 2), mode="bilinear")),
    ],
    ids=["a dilated pooling", "an interpolation along one axis"],
)
def test_where_a_runtime_loses_nan_or_finds_too_much_it_is_followed(extra: nn.Module) -> None:
    report = verify(exported(nn.Sequential(nn.Conv2d(3, 4, 3), extra)), SHAPE, max_length=128)
    assert [one.verdict for one in report.nodes] == ["agrees", "agrees"], report


def test_options_of_other_formats_are_refused() -> None:
    with pytest.raises(MeasurementError, match="'shortcuts' is no option"):
        verify(exported(nn.Sequential(nn.Conv2d(3, 2, 3))), shortcuts=False)
