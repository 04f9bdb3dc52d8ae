"""Random stacks of layers: what the encoder says is what an experiment measures."""

from __future__ import annotations

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.pytorch.measure import Function, encode

LENGTH = 216
SMALL = st.integers(1, 3)


def _pool(kernel: int, stride: int) -> nn.Module:
    return nn.MaxPool1d(kernel, stride, kernel // 2)


def _slice(start: int, step: int) -> nn.Module:
    return Function(lambda s, x: x[..., start::step])


def _interpolate(mode: str, factor: float) -> nn.Module:
    return nn.Upsample(scale_factor=factor, mode=mode)


LAYERS = st.one_of(
    st.builds(
        lambda k, s, d, p: nn.Conv1d(2, 2, k, s, p, d), st.integers(1, 5), SMALL, SMALL, SMALL
    ),
    st.builds(
        lambda k, s, d: nn.ConvTranspose1d(2, 2, k, s, dilation=d), st.integers(1, 5), SMALL, SMALL
    ),
    st.builds(_pool, st.integers(2, 4), SMALL),
    st.builds(_slice, st.integers(0, 2), SMALL),
    st.builds(_interpolate, st.just("nearest"), st.sampled_from([0.5, 2, 3])),
    # At 3 some units would lie on others; PyTorch reads their neighbours too, with weight 0.
    st.builds(_interpolate, st.just("linear"), st.sampled_from([0.5, 1.5, 2, 4])),
)


def measured(model: nn.Module) -> int:
    """Return the largest window; every entry of the batch has another position poisoned."""
    images = torch.rand(LENGTH, 2, LENGTH, dtype=torch.float64)
    images[torch.arange(LENGTH), :, torch.arange(LENGTH)] = torch.nan
    with torch.no_grad():
        sees = model.double()(images).isnan().flatten(1).int()
    rows = torch.arange(LENGTH).unsqueeze(1)
    last, first = (sees * (rows + 1)).amax(0), (sees * (LENGTH - rows)).amax(0)
    return int(torch.where(last > 0, last - (LENGTH - first), 0).max())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layers=st.lists(LAYERS, min_size=1, max_size=4))
def test_a_stack_sees_what_an_experiment_measures(layers: list[nn.Module]) -> None:
    model = nn.Sequential(*layers).eval()
    graph = encode(model, (1, 2, LENGTH), "meta")
    (field,) = graph.receptive_field_max
    assume(field * 3 < LENGTH)
    found = measured(model)
    assume(found > 0)
    if graph.certainty == "exact":
        assert field == found
    else:
        assert graph.certainty == "bound"
        assert field >= found
