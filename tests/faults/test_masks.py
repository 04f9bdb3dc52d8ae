"""Masks that are constants hide positions; where they are not known, what they hide is a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox.empirical import verify
from rfa_toolbox.unit_windows import region_of
from tests.faults.influence import seen_by_differences
from tests.pytorch.measure import INF, Function, captures, encode

LENGTH = 24
PLACES = torch.arange(LENGTH)
APART = PLACES[:, None] - PLACES[None]
Mask = Callable[[torch.Tensor], torch.Tensor]

MASKS: dict[str, tuple[Mask, tuple[float, float]]] = {
    "a band": (lambda x: APART.abs() <= 2, (3, 3)),
    "a band behind": (lambda x: (APART >= 0) & (APART < 4), (4, 1)),
    "what is in front": (lambda x: torch.ones_like(APART, dtype=torch.bool).tril(), (INF, 1)),
    "what is behind": (lambda x: torch.ones(APART.shape, device=x.device).triu().bool(), (1, INF)),
    "everything": (lambda x: torch.ones(LENGTH, LENGTH, dtype=torch.bool), (INF, INF)),
}  # fmt: skip
"""Per mask how far a unit behind a convolution of 3 looks back and ahead."""


def added(mask: torch.Tensor) -> torch.Tensor:
    return torch.zeros(LENGTH, LENGTH).masked_fill(~mask.to("cpu"), float("-inf"))


def given(mask: Mask) -> Any:
    return lambda y: F.scaled_dot_product_attention(y, y, y, attn_mask=mask(y))


def given_as_numbers(mask: Mask) -> Any:
    return lambda y: F.scaled_dot_product_attention(y, y, y, attn_mask=added(mask(y)))


def by_hand(hide: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return lambda y: (hide(y @ y.transpose(1, 2)) / 2).softmax(-1) @ y


WAYS: dict[str, Callable[[Mask], Any]] = {
    "given to the attention": given,
    "given as numbers": given_as_numbers,
    "filled in": lambda mask: by_hand(lambda a: a.masked_fill(~mask(a), float("-inf"))),
    "added": lambda mask: by_hand(lambda a: a + added(mask(a))),
    "taken off": lambda mask: by_hand(lambda a: a - (~mask(a)).to(a) * 1e9),
    "chosen": lambda mask: by_hand(lambda a: torch.where(mask(a), a, float("-inf"))),
    "chosen by a tensor": lambda mask: by_hand(
        lambda a: torch.where(mask(a), a, torch.tensor(float("-inf"), dtype=a.dtype))
    ),
}


TURNED: dict[str, Callable[[Mask], Any]] = {
    "scores off a mask": lambda mask: by_hand(lambda a: added(mask(a)) - a),
    "as a method": lambda mask: by_hand(lambda a: added(mask(a)).sub(a)),
    "turned and added": lambda mask: by_hand(lambda a: -a + added(mask(a))),
    "added as a share": lambda mask: by_hand(lambda a: torch.add(added(mask(a)), a, alpha=-1)),
    "hidden twice": lambda mask: by_hand(lambda a: a * mask(a).to(a) - (~mask(a)).to(a) * 1e9),
}
RAISED: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "turned around": lambda a, far: -(a + far),
    "divided": lambda a, far: (a + far) / -2,
    "filled": lambda a, far: -a.masked_fill(far > 0, 1e9),
    "chosen": lambda a, far: -torch.where(far > 0, 1e9, a),
    "taken off": lambda a, far: (a - -far) * -1,
    "the least ones": lambda a, far: F.softmin(a + far, -1).log(),
}


@captures
@pytest.mark.parametrize("way", TURNED)
def test_a_mask_hides_scores_of_either_sign(way: str, capture: str) -> None:
    attend = TURNED[way](lambda x: APART.abs() <= 2)
    model = Function(lambda s, x: attend(s.c(x).mT).mT, c=nn.Conv1d(4, 4, 3, padding=1))
    graph = encode(model, (1, 4, LENGTH), capture)
    if graph.certainty == "exact":
        assert graph.receptive_field_max == (7,)
    assert capture != "meta" or graph.certainty == "exact"
    assert max(last - first + 1 for first, last in seen_by_differences(model, (1, 4, LENGTH))) == 7


@captures
@pytest.mark.parametrize("way", RAISED)
def test_what_raises_scores_may_hide_them_once_they_are_turned(way: str, capture: str) -> None:
    far = (APART.abs() > 2).float() * 1e9
    model = Function(lambda s, x: (RAISED[way](x.mT @ x, far).softmax(-1) @ x.mT).mT)
    graph = encode(model, (1, 4, LENGTH), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((INF,), "bound")


def attention(way: str, mask: Mask) -> nn.Module:
    attend = WAYS[way](mask)
    return Function(
        lambda s, x: attend(s.c(x).transpose(1, 2)).transpose(1, 2), c=nn.Conv1d(4, 4, 3, padding=1)
    )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MASKS)
def test_an_attention_sees_what_its_mask_leaves(name: str, way: str) -> None:
    mask, (back, ahead) = MASKS[name]
    model = attention(way, mask)
    graph = encode(model, (1, 4, LENGTH), "meta")
    (windows,) = graph.unit_windows
    assert (windows.firsts, windows.lasts) == ((-back,), (ahead,))
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert (first, last) == (max(0, unit - back), min(LENGTH - 1, unit + ahead))


@pytest.mark.parametrize(
    "mask",
    [
        lambda a: torch.ones_like(a).triu(1) > 0,
        lambda a: torch.full_like(a, 2.0).tril() == 0,
        lambda a: torch.zeros_like(a) + APART < 0,
        lambda a: a.new_ones(a.shape[-2:]).tril().logical_not(),
        lambda a: torch.ones(LENGTH, LENGTH).tril().to(a) == 0,
    ],
)
def test_a_mask_in_the_shape_of_the_scores_does_not_depend_on_them(mask: Mask) -> None:
    attend = by_hand(lambda a: a.masked_fill(mask(a), float("-inf")))
    graph = encode(Function(lambda s, x: attend(x.mT).mT), (1, 4, LENGTH), "meta")
    (windows,) = graph.unit_windows
    assert (windows.firsts, windows.lasts) == ((-INF,), (0,))


HIDDEN: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], tuple[float, float]]] = {
    "by a low score": (
        lambda a: torch.where(APART >= 0, a, torch.full_like(a, -1e9)).softmax(-1), (INF, 0),
    ),
    "not by zero behind the softmax": (
        lambda a: a.softmax(-1).masked_fill(APART < 0, 0), (INF, INF),
    ),
    "by zero, without a softmax": (lambda a: a.tril(), (INF, 0)),
    "by a product": (lambda a: a * (APART.abs() < 2), (1, 1)),
    "not by zero in front of the softmax": (
        lambda a: (a * torch.ones_like(a).tril()).softmax(-1), (INF, INF),
    ),
    "not by tril in front of the softmax": (lambda a: a.tril().softmax(-1), (INF, INF)),
}  # fmt: skip
"""Ways to hide scores, and how far units look back and ahead."""


@pytest.mark.parametrize("way", HIDDEN)
def test_a_score_of_zero_is_hidden_only_where_no_softmax_follows(way: str) -> None:
    weigh, (back, ahead) = HIDDEN[way]
    model = Function(lambda s, x: (weigh(x.mT @ x) @ x.mT).mT)
    graph = encode(model, (1, 4, LENGTH), "meta")
    (windows,) = graph.unit_windows
    assert (windows.firsts, windows.lasts, graph.certainty) == ((-back,), (ahead,), "exact")
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert first >= unit - back
        assert last <= unit + ahead
        assert (first, last)[back == INF] in (max(0, unit - back), min(LENGTH - 1, unit + ahead))


def banded(weight: torch.Tensor) -> torch.Tensor:
    return weight * (APART.abs() <= 2).to(weight)


MATRICES: dict[str, Any] = {
    "a buffer behind": lambda s, x: x @ s.band,
    "a buffer in front": lambda s, x: (s.band @ x.mT).mT,
    "an equation": lambda s, x: torch.einsum("bct,ts->bcs", x, s.band),
    "a parameter that is not trained": lambda s, x: x @ s.fixed,
    "a fixed weight": lambda s, x: F.linear(x, s.fixed),
    "a masked weight": lambda s, x: F.linear(x, banded(s.w.weight)),
    "a constant": lambda s, x: x @ (APART.abs() <= 2).to(x),
}


def banded_by(name: str) -> nn.Module:
    model = Function(MATRICES[name], w=nn.Linear(LENGTH, LENGTH))
    band = (APART.abs() <= 2).float()
    model.register_buffer("band", band)
    model.register_parameter("fixed", nn.Parameter(band.clone(), requires_grad=False))
    return model


@captures
@pytest.mark.parametrize("name", MATRICES)
def test_no_capture_calls_a_banded_matrix_exact_that_sees_more(name: str, capture: str) -> None:
    graph = encode(banded_by(name), (1, 4, LENGTH), capture)
    assert graph.receptive_field_max == (5,) or graph.certainty == "bound"


@captures
@pytest.mark.parametrize("turned", [False, True])
def test_a_constant_kernel_sees_what_is_not_zero_in_it(capture: str, turned: bool) -> None:
    kernel = torch.zeros(2, 1, 3, 3)
    kernel[0, 0, 0, 1] = kernel[1, 0, 1, 1] = 1.0  # a shift of one channel
    model = Function(
        lambda s, x: F.conv2d(x, s.k.transpose(2, 3) if turned else s.k, padding=1, groups=2)
    )
    model.register_buffer("k", kernel)
    graph = encode(model, (1, 2, 8, 8), capture)
    moved = [(-1,), (0,)][:: -1 if turned else 1]
    assert (graph.receptive_field_max, graph.certainty) == ((1, 2) if turned else (2, 1), "exact")
    assert [one.firsts for one in graph.unit_windows] == moved


@pytest.mark.parametrize("name", MATRICES)
def test_a_banded_matrix_over_positions_is_a_window(name: str) -> None:
    model = banded_by(name)
    graph = encode(model, (1, 4, LENGTH), "meta")
    (windows,) = graph.unit_windows
    assert (windows.firsts, windows.lasts, graph.certainty) == ((-2,), (2,), "exact")
    found = seen_by_differences(model, (1, 4, LENGTH))
    assert found[5] == (3, 7)
    assert verify(model, (1, 4, LENGTH)).counts["differs"] == 0


def test_a_matrix_of_zeros_in_no_band_is_a_bound() -> None:
    model = Function(lambda s, x: x @ s.halved)
    model.register_buffer("halved", (PLACES[:, None] // 2 == PLACES[None, : LENGTH // 2]).float())
    graph = encode(model, (1, 4, LENGTH), "meta")
    assert (graph.receptive_field_max, graph.certainty) == ((INF,), "bound")


class WrittenWeight(nn.Module):
    """A convolution whose weight is masked for good in every run, as PixelCNNs have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3)
        self.scale = torch.ones(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.conv.weight.data *= torch.tensor([1.0, 1.0, 0.0])
        self.scale.mul_(2)
        return self.conv(x) * self.scale  # type: ignore[no-any-return]


@captures
def test_a_capture_puts_weights_back_that_a_model_writes(capture: str) -> None:
    model = WrittenWeight()
    before = model.conv.weight.detach().clone()
    graph = encode(model, (1, 4, LENGTH), capture)
    assert torch.equal(model.conv.weight, before)
    assert torch.equal(model.scale, torch.ones(4, 1))
    field, certainty = {"meta": ((2,), "exact"), "jit": ((3,), "bound")}[capture]
    assert (graph.receptive_field_max, graph.certainty) == (field, certainty)


def blocks(x: torch.Tensor) -> torch.Tensor:
    return PLACES[:, None] // 8 == PLACES[None] // 8


@pytest.mark.parametrize("way", WAYS)
def test_a_mask_of_blocks_makes_windows_that_do_not_slide(way: str) -> None:
    model = attention(way, blocks)
    graph = encode(model, (1, 4, LENGTH), "meta")
    assert (graph.receptive_field_max, graph.certainty) == ((10,), "exact")
    found = seen_by_differences(model, (1, 4, LENGTH))
    assert max(last - first + 1 for first, last in found) == 10


UNEVEN: dict[str, Mask] = {
    "the beginning, for all": lambda x: (APART >= 0) | (PLACES[None] < 4),
    "a band that grows": lambda x: APART.abs() <= PLACES[:, None] // 6,
    "two bands": lambda x: (APART == 0) | (APART == 3),
    "some, by chance": lambda x: torch.rand(LENGTH, LENGTH, generator=torch.Generator()) > 0.5,
}


@pytest.mark.parametrize("name", UNEVEN)
def test_a_mask_that_leaves_some_units_less_is_a_bound(name: str) -> None:
    model = attention("given to the attention", UNEVEN[name])
    graph = encode(model, (1, 4, LENGTH))
    assert graph.certainty == "bound"
    assert "mask" in graph.certainty_reason
    (windows,) = graph.unit_windows
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert unit + windows.firsts[0] <= first <= last <= unit + windows.lasts[0]


@captures
@pytest.mark.parametrize("name", MASKS)
def test_no_capture_calls_exact_what_a_mask_may_hide(name: str, capture: str) -> None:
    mask, (back, ahead) = MASKS[name]
    graph = encode(attention("given to the attention", mask), (1, 4, LENGTH), capture)
    (windows,) = graph.unit_windows
    same = (windows.firsts, windows.lasts) == ((-back,), (ahead,))
    assert same or graph.certainty == "bound"


class Masked(nn.Conv1d):
    """A convolution of what is in front, whose weight is masked in a way of its own."""

    def __init__(self, way: str, size: int = 5) -> None:
        super().__init__(4, 4, size, padding=size // 2)
        mask = torch.ones(4, 4, size)
        mask[..., size // 2 + 1 :] = 0
        if way == "by a parameter":
            self.mask = nn.Parameter(mask, requires_grad=False)
        else:
            self.register_buffer("mask", mask)
        self.way = way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        if self.way == "data":
            self.weight.data *= self.mask
        elif self.way in ("multiplied", "by a parameter"):
            weight = self.mask * self.weight
        elif self.way == "filled":
            weight = self.weight.masked_fill(self.mask == 0, 0)
        elif self.way == "chosen":
            weight = torch.where(self.mask.bool(), self.weight, 0)
        elif self.way == "made":
            mask = torch.ones_like(self.weight)
            mask[:, :, self.mask.shape[-1] // 2 + 1 :] = 0
            weight = self.weight * mask
        elif self.way == "turned":
            weight = (self.weight.transpose(0, 1) * self.mask).transpose(0, 1)
        return F.conv1d(x, weight, self.bias, padding=self.padding)


WEIGHTS = ("data", "multiplied", "by a parameter", "filled", "chosen", "made", "turned")


@pytest.mark.parametrize("way", WEIGHTS)
def test_weights_that_a_mask_makes_zero_see_nothing(way: str) -> None:
    graph = encode(
        nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), Masked(way)), (1, 4, LENGTH), "meta"
    )
    assert (graph.receptive_field_max, graph.certainty) == ((5,), "exact")
    assert (graph.unit_windows[0].firsts, graph.unit_windows[0].lasts) == ((-3,), (1,))


def test_masked_weights_see_what_an_experiment_says() -> None:
    model = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), Masked("multiplied"))
    for unit, (first, last) in enumerate(seen_by_differences(model, (1, 4, LENGTH))):
        assert (first, last) == (max(0, unit - 3), min(LENGTH - 1, unit + 1))


@pytest.mark.parametrize("way", ["data", "made"])
def test_verify_agrees_on_masked_weights(way: str) -> None:
    report = verify(nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), Masked(way)), (1, 4, LENGTH))
    assert [one.verdict for one in report.nodes] == ["agrees", "agrees"]


@captures
def test_masked_weights_that_are_not_known_are_a_bound(capture: str) -> None:
    graph = encode(Masked("multiplied"), (1, 4, LENGTH), capture)
    assert graph.receptive_field_max == (3,) or graph.certainty == "bound"


def test_a_mask_of_pixels_in_front_sees_lines_above() -> None:
    mask = torch.ones(5, 5)
    mask[2, 3:], mask[3:] = 0, 0
    model = Function(
        lambda s, x: F.conv2d(x, s.c.weight * mask, padding=2), c=nn.Conv2d(4, 4, 5, bias=False)
    )
    graph = encode(model, (1, 4, 12, 12), "meta")
    assert (graph.receptive_field_max, graph.certainty) == ((3, 5), "exact")
    for axis, size in enumerate((3, 5)):
        found = seen_by_differences(model, (1, 4, 12, 12), axis - 2)
        assert max(last - first + 1 for first, last in found) == size


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("mask", [(1, 1, 0, 0, 0), (0, 0, 0, 1, 1), (0, 1, 1, 1, 0)])
def test_transposed_convolutions_are_masked_from_the_other_side(
    mask: tuple[int, ...], stride: int
) -> None:
    taps = torch.tensor(mask, dtype=torch.float)
    model = Function(
        lambda s, x: F.conv_transpose1d(x, s.c.weight * taps, stride=stride, padding=1),
        c=nn.Conv1d(4, 4, 5, bias=False),
    )
    graph = encode(model, (1, 4, LENGTH), "meta")
    (windows,) = graph.unit_windows
    found = seen_by_differences(model, (1, 4, LENGTH))
    assert graph.receptive_field_max == (max(last - first + 1 for first, last in found),)
    for unit in range(4 * stride, 8 * stride):
        first, last = found[unit]
        expected = region_of(windows, unit)
        assert (first, last) in (expected, (0, -1))
        assert (first, last) != (0, -1) or stride > sum(mask)


@captures
@pytest.mark.parametrize("way", ["not known", "divided", "not a mask"])
def test_a_weight_behind_what_is_not_known_is_a_bound(way: str, capture: str) -> None:
    def masked(s: Any, x: torch.Tensor) -> torch.Tensor:
        if way == "not known":
            return F.conv1d(x, s.c.weight * torch.rand(16, 4, 3, device=x.device).round())
        if way == "divided":
            return F.conv1d(x, s.c.weight * s.m / s.c.weight.norm())
        return F.conv1d(x, s.c.weight * torch.rand(16, 1, 1, device=x.device))

    model = Function(masked, c=nn.Conv1d(4, 16, 3))
    model.register_buffer("m", torch.tensor([1.0, 1.0, 0.0]))
    graph = encode(model, (1, 4, LENGTH), capture)
    if way == "not a mask":
        assert (graph.receptive_field_max, graph.certainty) == ((3,), "exact")
    else:
        assert graph.receptive_field_max == (2,) or graph.certainty == "bound"
    if way == "divided" and capture == "meta":
        assert (graph.receptive_field_max, graph.certainty) == ((2,), "exact")


UNMASKED: dict[str, Any] = {
    "a norm": lambda s, x: F.conv1d(x, s.c.weight / s.c.weight.norm(dim=1, keepdim=True)),
    "a factor per channel": lambda s, x: F.conv1d(x, s.c.weight * torch.rand(4, 1, 1)),
    "zeros that are learned": lambda s, x: F.conv1d(x, s.z),
}


@captures
@pytest.mark.parametrize("name", UNMASKED)
def test_weights_that_are_computed_without_a_mask_are_whole(name: str, capture: str) -> None:
    members = {"c": nn.Conv1d(4, 4, 3), "z": nn.Parameter(torch.zeros(4, 4, 3))}
    graph = encode(Function(UNMASKED[name], **members), (1, 4, LENGTH), capture)
    assert (graph.receptive_field_max, graph.certainty) == ((3,), "exact")


def test_masks_of_a_model_stay_as_they_are() -> None:
    model = Masked("data")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encode(model, (1, 4, LENGTH), "meta")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


COMPUTED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "what is far below is taken off": lambda a: a - 1e9 * (1 - (APART.abs() <= 2).float()),
    "what is far below is added": lambda a: a + (1 - (APART.abs() <= 2).float()) * -1e9,
    "a factor is said beside it": lambda a: torch.sub(a, 1 - (APART.abs() <= 2).float(), alpha=1e9),
    "distances are far below": lambda a: a - 1e9 * F.relu(APART.abs() - 2.0),
}


@pytest.mark.parametrize("way", COMPUTED)
def test_numbers_that_a_trace_does_not_tell_may_be_a_mask(way: str) -> None:
    attend = by_hand(COMPUTED[way])
    model = Function(lambda s, x: attend(x.transpose(1, 2)).transpose(1, 2))
    told, traced = (encode(model, (1, 4, LENGTH), capture) for capture in ("meta", "jit"))
    assert (told.receptive_field_max, told.certainty) == ((5,), "exact")
    assert (traced.receptive_field_max, traced.certainty) == ((INF,), "bound")


def test_distances_that_scores_get_less_by_are_no_mask() -> None:
    attend = by_hand(lambda a: a - 0.5 * APART.abs())
    model = Function(lambda s, x: attend(x.transpose(1, 2)).transpose(1, 2))
    assert encode(model, (1, 4, LENGTH), "jit").certainty == "exact"


def test_an_experiment_finds_what_a_factor_beside_a_mask_hides() -> None:
    def attend(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.c(x).transpose(1, 2)
        apart = torch.arange(y.shape[1])[:, None] - torch.arange(y.shape[1])[None]
        scores = torch.sub(y @ y.transpose(1, 2), (apart.abs() > 2).to(y), alpha=1e9)
        return (scores.softmax(-1) @ y).transpose(1, 2)

    report = verify(Function(attend, c=nn.Conv1d(4, 4, 1)), (1, 4, LENGTH))
    assert (report.nodes[-1].verdict, report.nodes[-1].size) == ("agrees", (5,))
