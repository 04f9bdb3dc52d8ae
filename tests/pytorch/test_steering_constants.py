"""Constants that decide how a model goes on have their values, though it runs on shapes alone."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.errors import CaptureError


class Steered(nn.Module):
    """Looks at 3 pixels, or at 5 where a constant says so."""

    def __init__(self, decide: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.decide = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), decide

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.a(x)
        return self.b(y) if self.decide(x) else y


def field(model: nn.Module, capture: Any = "meta") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32), capture=capture)
    return graph.receptive_field_max


def mask(x: torch.Tensor) -> torch.Tensor:
    ones = torch.ones(x.shape[0], *x.shape[2:], device=x.device)
    return functional.interpolate(ones[None], scale_factor=0.5).to(torch.bool)[0]


DECISIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "nothing is masked": lambda x: mask(x).all(),
    "something is masked": lambda x: (~mask(x)).any(),
    "the largest of zeros": lambda x: torch.zeros(64, 64, device=x.device).max() > 0,
    "a size in a list": lambda x: torch.tensor([4, 8], device=x.device).prod() == x.shape[-1],
    "a size that is written": lambda x: sizes_of(x)[:, 0].sum() == 32,
    "another size": lambda x: sizes_of(x)[:, 1].sum() == 31,
    "lines that were moved": lambda x: (
        (
            torch.zeros(30, 30).to(device=x.device).cumsum(0)[..., None]
            / torch.ones(32).to(x.device)
        ).max()
        < 1
    ),
    "positions": lambda x: torch.arange(x.shape[-1], device=x.device).max().item() == 31,
    "a half of a whole number": lambda x: (torch.ones(99, device=x.device) * 0.5).int().any(),
    "numbers of a line": lambda x: torch.full((9, 99), 2.0, device=x.device).mean() - 1 > 0.5,
}


def sizes_of(x: torch.Tensor) -> torch.Tensor:
    sizes = torch.empty((1, 2), device=x.device, dtype=torch.long)
    sizes[0, 0], sizes[0, 1] = x.shape[2], x.shape[3]
    return sizes


@pytest.mark.parametrize("name", DECISIONS)
def test_a_model_goes_the_way_that_it_goes_with_real_tensors(name: str) -> None:
    model = Steered(DECISIONS[name])
    size = model(torch.zeros(1, 3, 32, 32)).shape[-1]
    assert field(model) == {30: (3, 3), 28: (5, 5)}[size]


STEPS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "add": lambda one: one + 0.75,
    "sub": lambda one: 1 - one.float(),
    "mul": lambda one: one * 3,
    "div": lambda one: one / 4,
    "not": torch.logical_not,
    "invert": lambda one: ~one.bool(),
    "eq": lambda one: one == 1,
    "lt": lambda one: one < 2,
    "int": lambda one: one.to(torch.int32),
    "float": lambda one: one.float(),
    "fill": lambda one: one.clone().fill_(2),
    "part": lambda one: one[0, ::2],
    "self": lambda one: one.float() - one.float() * 2,
    "view": lambda one: one.reshape(2, -1),
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=6), st.sampled_from([0.0, 1.0, 2.5]))
@settings(deadline=None, max_examples=60)
def test_a_number_that_fills_a_constant_is_followed_through_arithmetic(
    steps: list[str], number: float
) -> None:
    seen: list[float] = []

    def decide(x: torch.Tensor) -> bool:
        constant = torch.full((64, 64), number, device=x.device)
        for step in steps:
            constant = STEPS[step](constant if constant.dim() == 2 else constant.repeat(64, 1))
        seen.append(float(constant.float().max()))
        return False

    model = Steered(decide)
    model(torch.zeros(1, 3, 32, 32))
    field(model)
    assert set(seen) == {seen[0]}


def written_by_index(ones: torch.Tensor) -> torch.Tensor:
    ones[3] = 0
    return ones


def written_through_a_view(ones: torch.Tensor) -> torch.Tensor:
    ones.view(-1)[7:9].fill_(0)
    return ones


def read_through_a_view(ones: torch.Tensor) -> torch.Tensor:
    row = ones.T[5]
    ones.mul_(0)
    return row


@pytest.mark.parametrize("write", [written_by_index, written_through_a_view, read_through_a_view])
def test_a_value_that_was_written_to_is_not_taken_for_what_it_was(
    write: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Either what was written is known, or that the value is not."""
    seen: list[bool] = []

    def decide(x: torch.Tensor) -> bool:
        seen.append(bool(write(torch.ones(64, 64, device=x.device)).all()))
        return False

    with contextlib.suppress(CaptureError):
        field(Steered(decide))
    assert not any(seen)


@pytest.mark.parametrize("capture", ["meta", "jit"])
def test_a_masked_map_takes_its_number_from_any_device(capture: Any) -> None:
    class Masked(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = super().forward(x)
            return y.masked_fill(~(y > 0), torch.tensor(-1.0))

    assert field(Masked(3, 3, 3), capture) == (3, 3)


def test_a_model_on_the_meta_device_is_told_that_its_numbers_are_lost_there() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)
            self.register_buffer("padding", torch.tensor(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.pad(self.conv(x), (int(self.padding),) * 4)

    with torch.device("meta"):
        model = Held()
    with pytest.raises(CaptureError, match=r"made on the meta device, .* make it on the CPU"):
        field(model)
    assert field(Held()) == (3, 3)
