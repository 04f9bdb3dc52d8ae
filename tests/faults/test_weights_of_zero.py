"""What a mask gives no weight is not seen, though a zero times NaN is NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.empirical import measure_receptive_field, verify
from rfa_toolbox.empirical.torch_bench import TorchBench
from tests.pytorch.measure import Function, encode

SHAPE = (1, 4, 64)
MINUS = -math.inf


def in_order(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.c(x).transpose(1, 2)  # type: ignore[no-any-return]


def distance(y: torch.Tensor) -> torch.Tensor:
    places = torch.arange(y.shape[1])
    return places[:, None] - places


def causal(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    return s.d(F.scaled_dot_product_attention(y, y, y, is_causal=True).transpose(1, 2))  # type: ignore[no-any-return]


def banded(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    band = distance(y).abs() <= 3
    return s.d(F.scaled_dot_product_attention(y, y, y, attn_mask=band).transpose(1, 2))  # type: ignore[no-any-return]


def by_hand(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    mask = torch.zeros(y.shape[1], y.shape[1]).masked_fill(distance(y) < 0, MINUS)
    return s.d(((y @ y.mT + mask).softmax(-1) @ y).transpose(1, 2))  # type: ignore[no-any-return]


def filled(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    scores = y @ y.mT
    scores = scores.masked_fill(torch.ones_like(scores).tril() == 0, MINUS)
    return s.d((scores.softmax(-1) @ y).transpose(1, 2))  # type: ignore[no-any-return]


def matrix(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    return s.d(y @ (distance(y.mT).abs() <= 2).float())  # type: ignore[no-any-return]


def in_a_module(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    mask = torch.full((y.shape[1],) * 2, MINUS).triu(1)
    return s.d(s.m(y, y, y, attn_mask=mask)[0].transpose(1, 2))  # type: ignore[no-any-return]


def masked_kernel(s: Any, x: torch.Tensor) -> torch.Tensor:
    mask = torch.ones_like(s.c.weight)
    mask[:, :, 2:] = 0
    return s.d(F.conv1d(x, s.c.weight * mask, padding=1))  # type: ignore[no-any-return]


def without_mask(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    return s.d(F.scaled_dot_product_attention(y, y, y).transpose(1, 2))  # type: ignore[no-any-return]


SEEN: dict[str, tuple[Callable[..., torch.Tensor], tuple[float, float] | None]] = {
    "causal": (causal, (MINUS, 2)),
    "banded": (banded, (-5, 5)),
    "by hand": (by_hand, (MINUS, 2)),
    "filled": (filled, (MINUS, 2)),
    "in a module": (in_a_module, (MINUS, 2)),
    "masked kernel": (masked_kernel, (-2, 1)),
    "without mask": (without_mask, None),
}


def model(function: Callable[..., torch.Tensor]) -> nn.Module:
    layers = {name: nn.Conv1d(4, 4, 3, padding=1) for name in "cd"}
    return Function(function, **layers, m=nn.MultiheadAttention(4, 1, batch_first=True))


@pytest.mark.parametrize("name", SEEN)
def test_what_has_no_weight_is_not_seen(name: str) -> None:
    function, seen = SEEN[name]
    last = measure_receptive_field(model(function), SHAPE, max_length=448)[-1]
    assert last.phases == ((() if seen is None else (seen,)),)


@pytest.mark.parametrize("name", ["banded", "in a module", "without mask"])
def test_verify_says_agrees_only_where_it_can_tell(name: str) -> None:
    function, seen = SEEN[name]
    (analysed,) = encode(model(function), SHAPE).known_unit_windows()
    right = (analysed.firsts, analysed.lasts) == tuple((end,) for end in seen or (MINUS, math.inf))
    last = verify(model(function), SHAPE, max_length=448).nodes[-1]
    assert last.verdict == ("agrees" if right else "differs")


def test_zeros_that_are_added_or_that_meet_no_pixel_are_no_weights() -> None:
    def bias(s: Any, x: torch.Tensor) -> torch.Tensor:
        table = F.linear(torch.tensor([[0.0, 1.0]] * 4), torch.ones(1, 2))
        return s.d(F.conv1d(x, s.c.weight, torch.zeros(4)) + table)  # type: ignore[no-any-return]

    bench = TorchBench(model(bias), SHAPE)
    assert bench.setting(0, 224) is not None
    assert not bench.weighing


def test_large_numbers_hide_nothing_behind_norms() -> None:
    """Scores of an attention are as small as norms make them, and none of its weights is lost."""

    def normed(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.n(1e3 * in_order(s, x))
        near = distance(y).abs() <= 3
        return F.scaled_dot_product_attention(y, y, y, attn_mask=near).transpose(1, 2)

    large = Function(normed, c=nn.Conv1d(4, 4, 3, padding=1), n=nn.LayerNorm(4))
    last = measure_receptive_field(large, SHAPE, max_length=448)[-1]
    assert last.phases == (((-4, 4),),)


def test_a_banded_matrix_does_not_see_everything() -> None:
    last = verify(model(matrix), SHAPE, max_length=448).nodes[-1]
    assert last.size != (math.inf,)
    assert last.verdict == ("agrees" if last.expected_size == (9,) else "differs")


def test_weights_that_a_model_learned_to_be_zero_count() -> None:
    conv = nn.Conv1d(4, 4, 3, padding=1)
    nn.init.zeros_(conv.weight)
    assert verify(nn.Sequential(conv), SHAPE).nodes[-1].verdict == "agrees"
    linear = Function(lambda s, x: s.l(x.mT).mT + s.g * x, l=nn.Linear(4, 4))
    linear.g = nn.Parameter(torch.zeros(4, 1))
    assert {one.verdict for one in verify(linear, SHAPE).nodes} == {"agrees"}


def test_an_experiment_leaves_the_default_type_of_numbers_alone() -> None:
    measure_receptive_field(model(matrix), SHAPE)
    assert torch.get_default_dtype() == torch.float32


def scanned(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.d(s.l(in_order(s, x))[0].transpose(1, 2))  # type: ignore[no-any-return]


def scanned_backwards(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.d(s.c(x).flip(2).cumsum(2).flip(2))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("function", "seen"), [(scanned, (MINUS, 3)), (scanned_backwards, (-3, math.inf))]
)
def test_a_scan_sees_all_on_one_side(
    function: Callable[..., torch.Tensor], seen: tuple[float, float]
) -> None:
    layers = {name: nn.Conv1d(4, 4, 3, stride=2, padding=1) for name in "cd"}
    scan = Function(function, **layers, l=nn.LSTM(4, 4, batch_first=True))
    last = measure_receptive_field(scan, SHAPE, max_length=448)[-1]
    assert last.phases == ((seen,),)
    assert last.jump == (4,)
    assert last.size == (math.inf,)


def large_scores(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    scores = 1000 * y @ y.mT + torch.full((64, 64), -1e9).triu(1)
    return s.d((scores.softmax(-1) @ y).transpose(1, 2))  # type: ignore[no-any-return]


def large_queries(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = in_order(s, x)
    y = F.scaled_dot_product_attention(1000 * y, y, y, attn_mask=distance(y) >= 0)
    return s.d(y.transpose(1, 2))  # type: ignore[no-any-return]


def large_numbers(s: Any, x: torch.Tensor) -> torch.Tensor:
    return s.d((1e4 * matrix(s, x)).tanh())  # type: ignore[no-any-return]


@pytest.mark.parametrize("forward", [large_scores, large_queries, large_numbers])
def test_what_becomes_the_same_of_large_numbers_hides_nothing(forward: Any) -> None:
    layers = {"c": nn.Conv1d(4, 4, 3, padding=1), "d": nn.Conv1d(4, 4, 3, padding=1)}
    report = verify(Function(forward, **layers), SHAPE)
    assert report.counts["differs"] == 0
    assert next(one for one in report.nodes if one.name == "d").verdict == "agrees"
