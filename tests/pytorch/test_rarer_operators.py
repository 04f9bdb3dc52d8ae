"""Operators and layers that few models have: each has a rule, and none is counted as unknown."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that everybody uses

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.empirical import verify
from rfa_toolbox.errors import CaptureError

EVERYTHING = (math.inf, math.inf)
Forward = Callable[[Any, torch.Tensor], Any]


def encode(model: nn.Module, capture: Any = "meta", shape: Any = (1, 3, 32, 32)) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        return create_graph_from_pytorch_model(model, input_res=shape, capture=capture)


def network(forward: Forward, **children: Any) -> nn.Module:
    model: nn.Module = type("Net", (nn.Module,), {"forward": forward})()
    model.a, model.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    for name, child in children.items():
        setattr(model, name, child)
    return model.eval()


@torch.jit.script
def fused(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


NEUTRAL: dict[str, tuple[Callable[[Any, torch.Tensor], torch.Tensor], dict[str, Any]]] = {
    "as_tensor": (lambda s, y: y + torch.as_tensor(y), {}),
    "threshold": (lambda s, y: s.layer(y), {"layer": nn.Threshold(0.1, 0.0)}),
    "response norm over channels": (lambda s, y: s.layer(y), {"layer": nn.CrossMapLRN2d(5)}),
    "loss at every position": (lambda s, y: F.mse_loss(y, y * 2, reduction="none"), {}),
    "buckets": (lambda s, y: torch.bucketize(y, torch.tensor([0.0, 1.0])).float(), {}),
    "function of TorchScript": (lambda s, y: fused(y), {}),
    "observer": (lambda s, y: s.layer(y), {"layer": torch.ao.quantization.MinMaxObserver()}),
    "fake quantisation": (lambda s, y: s.layer(y), {"layer": torch.ao.quantization.FakeQuantize()}),
    "products of channels": (
        lambda s, y: torch.tensordot(y, torch.ones(4, 4), dims=([1], [0])).permute(0, 3, 1, 2),
        {},
    ),
    "recurrent cell at every position": (
        lambda s, y: (
            s.layer(y.permute(0, 2, 3, 1).reshape(-1, 4))
            .reshape(1, *y.shape[2:], 4)
            .permute(0, 3, 1, 2)
        ),
        {"layer": nn.GRUCell(4, 4)},
    ),
}


@pytest.mark.parametrize(("between", "children"), NEUTRAL.values(), ids=list(NEUTRAL))
def test_an_operator_that_stays_at_its_position_is_exact_and_moves_nothing(
    between: Callable[[Any, torch.Tensor], torch.Tensor], children: dict[str, Any]
) -> None:
    model = network(lambda s, x: s.b(between(s, s.a(x))), **children)
    graph = encode(model)
    assert graph.receptive_field_max == (5, 5)
    assert {one.certainty for one in graph.all_layers} == {"exact"}


@pytest.mark.parametrize("amount", [torch.tensor(2), torch.tensor([1, 2])[1]])
def test_padding_is_read_also_where_a_model_keeps_it_in_tensors(amount: torch.Tensor) -> None:
    model = network(lambda s, x: s.b(F.pad(s.a(x), (s.amount,) * 4)), amount=amount)
    plain = network(lambda s, x: s.b(F.pad(s.a(x), (2,) * 4)))
    assert encode(model).window == encode(plain).window


LOSSES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean squares": lambda y: F.mse_loss(y, y * 2),
    "smooth": lambda y: F.smooth_l1_loss(y, y * 2, reduction="sum"),
    "divergence": lambda y: F.kl_div(y, y, reduction="batchmean"),
    "logits": lambda y: F.binary_cross_entropy_with_logits(y, y.sigmoid()),
    "classes": lambda y: F.cross_entropy(y, torch.zeros(1, *y.shape[2:], dtype=torch.long)),
}


@pytest.mark.parametrize("capture", ["meta", "jit"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))
def test_a_loss_sees_the_whole_map_and_changes_nothing_else(loss: Any, capture: Any) -> None:
    graph = encode(network(lambda s, x: (s.b(s.a(x)), loss(s.a(x)))), capture)
    assert graph.receptive_field_max == (5, 5)
    (end,) = [one for one in graph.all_layers if not one.successors and one is not graph]
    assert (end.receptive_field_max, end.certainty) == (EVERYTHING, "exact")


def test_a_loss_of_every_position_stays_there() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.a(x)
        target = torch.zeros(1, *y.shape[2:], dtype=torch.long)
        return F.cross_entropy(y, target, reduction="none")

    assert encode(network(forward)).receptive_field_max == (3, 3)


@pytest.mark.parametrize("function", [torch.linalg.inv, lambda y: torch.linalg.svd(y)[1]])
def test_what_is_computed_of_whole_matrices_sees_them_whole(function: Any) -> None:
    graph = encode(network(lambda s, x: function(s.a(x))))
    assert (graph.receptive_field_max, graph.certainty) == (EVERYTHING, "exact")


@pytest.mark.parametrize("capture", ["meta", "jit"])
def test_a_choice_among_rows_sees_them_all(capture: Any) -> None:
    graph = encode(network(lambda s, x: F.gumbel_softmax(s.a(x), dim=2)), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((math.inf, 3), "exact")


def test_a_transform_of_the_grid_samples_places_that_depend_on_data() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.a(x)
        grid = F.affine_grid(s.layer(y.mean((2, 3))).view(-1, 2, 3), list(y.shape))
        return s.b(F.grid_sample(y, grid, align_corners=False))

    graph = encode(network(forward, layer=nn.Linear(4, 6)))
    assert (graph.receptive_field_max, graph.certainty) == (EVERYTHING, "bound")


def test_code_that_leaves_no_trace_on_meta_tensors_is_traced() -> None:
    model = network(lambda s, x: torch.vmap(lambda y: y * 2)(s.a(x)))
    with pytest.warns(UserWarning, match="cannot be followed"):
        graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    assert graph.receptive_field_max == (3, 3)


def test_a_factor_that_a_trace_has_as_a_tensor_is_told_by_sizes() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        factor: Any = 2.0 / torch.ones(()) if torch.jit.is_tracing() else 2.0
        up = F.interpolate(x, scale_factor=factor, mode="bilinear", recompute_scale_factor=True)
        return s.a(up)

    model = network(forward)
    assert encode(model, "jit").receptive_field_max == encode(model).receptive_field_max


@pytest.mark.parametrize(
    ("layer", "given", "wanted"),
    [
        (nn.Conv2d(1, 4, 3), (1, 3, 64, 64), r"input_res=\(1, 1, 64, 64\)"),
        (nn.Conv1d(2, 4, 3), (1, 3, 64), r"input_res=\(1, 2, 64\)"),
        (nn.Conv3d(1, 4, 3), (1, 3, 16, 64, 64), r"input_res=\(1, 1, 16, 64, 64\)"),
    ],
)
def test_an_error_suggests_the_shape_that_the_model_takes(
    layer: nn.Module, given: Any, wanted: str
) -> None:
    with pytest.raises(CaptureError, match=wanted):
        encode(nn.Sequential(layer), shape=given)


def test_experiments_agree_with_the_rules_of_scripted_and_conditional_code() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = torch.tensordot(fused(s.a(x)), s.w, dims=([1], [0])).permute(0, 3, 1, 2)
        return s.b(torch.cond(y.sum() > 0, s.c, torch.sigmoid, (y,)))

    model = network(forward, c=nn.Conv2d(4, 4, 3, padding=1))
    model.w = nn.Parameter(torch.rand(4, 4))
    assert verify(model, (1, 3, 64, 64)).disagreements == ()
