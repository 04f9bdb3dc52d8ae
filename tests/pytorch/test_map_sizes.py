"""How many units a map has at any length, against PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.errors import InvalidResolutionError

kernels, strides = st.integers(1, 5), st.integers(1, 3)
layers = st.one_of(
    st.builds(
        lambda k, s, p, d: nn.Conv1d(2, 2, k, s, p, d),
        kernels, strides, st.integers(0, 3), st.integers(1, 2),
    ),
    st.builds(
        lambda k, s, c: nn.MaxPool1d(k, s, k // 2, ceil_mode=c), kernels, strides, st.booleans()
    ),
    st.builds(
        lambda k, s, o: nn.ConvTranspose1d(2, 2, k, s, k // 2, min(o, s - 1)),
        kernels, strides, st.integers(0, 2),
    ),
    st.just(nn.Upsample(scale_factor=2)),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.lists(layers, min_size=1, max_size=5),
    st.integers(200, 230),
    st.lists(st.integers(150, 400), min_size=3, max_size=3),
)
def test_maps_have_the_size_that_the_model_gives_them(stack, encoded, lengths):
    model = nn.Sequential(*stack).eval()
    graph = create_graph_from_pytorch_model(model, input_res=(1, 2, encoded))
    for length in lengths:
        with torch.no_grad():
            assert graph.feature_map_at(length) == tuple(model(torch.zeros(1, 2, length)).shape[2:])


def test_the_shortest_input_is_the_shortest_that_the_model_takes():
    layers = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]
    model = nn.Sequential(
        *(nn.Conv1d(1 if i == 0 else 2, 2, *layer) for i, layer in enumerate(layers))
    )
    graph = create_graph_from_pytorch_model(model, input_res=(1, 1, 16_000))
    assert graph.shortest_input() == graph.receptive_field_max == (400,)
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 400)).shape[2:] == (1,) == graph.feature_map_at(400)
        with pytest.raises(RuntimeError):
            model(torch.zeros(1, 1, 399))
    with pytest.raises(InvalidResolutionError, match="399"):
        graph.feature_map_at(399)
