"""Receptive fields, strides and paddings that were published, pixel by pixel.

Source: A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019, and the table in the repository of its authors. Torchvision's ResNets have
their strides on the 3x3 convolutions, not on the 1x1, and smaller fields for it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rfa_toolbox import create_graph_from_pytorch_model


@pytest.mark.parametrize(
    ("name", "field", "padding"),
    [
        ("vgg11", 150, 59),
        ("vgg16", 212, 90),
        ("resnet50", 427, None),
        ("resnet101", 971, None),
        ("resnet152", 1451, None),
    ],
)
def test_published_windows(torchvision: Any, name: str, field: int, padding: int | None) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    layers = model.features if name.startswith("vgg") else model
    graph = create_graph_from_pytorch_model(layers)
    windows = [node.window for node in graph.all_layers]
    finite = [one for one in windows if one is not None and one.size[0] < float("inf")]
    last = finite[-1]
    assert (last.size, last.jump) == ((field, field), (32, 32))
    if padding is not None:
        assert last.effective_padding == (padding, padding)
