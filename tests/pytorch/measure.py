"""What the tests of the PyTorch encoder share: a model from a function, and a measured truth.

``measured_extent`` knows nothing of the encoder. It puts NaN into one row of the input at a time
and looks at which numbers of the output become NaN: those units see that row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.graphs import EnrichedNetworkNode

INF = float("inf")

# torch.jit is not supported on Python 3.14 and later.
jit = pytest.param(
    "jit", marks=pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch.jit ends at 3.13")
)
captures = pytest.mark.parametrize("capture", ["meta", jit])


class Function(nn.Module):
    """A model whose forward is a function of itself and the inputs."""

    def __init__(self, function: Callable[..., Any], **members: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            setattr(self, name, member)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(self, *inputs, **named)


def encode(model: nn.Module, shape: Any, capture: str = "auto", **options: Any) -> Any:
    return create_graph_from_pytorch_model(model, input_res=shape, capture=capture, **options)


def per_axis(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def signature(graph: EnrichedNetworkNode) -> list[tuple[Any, ...]]:
    """Return everything that two captures of one model must agree on."""
    return [
        (
            node.name,
            node.layer_info,
            node.receptive_field_min,
            node.receptive_field_max,
            node.receptive_field_info,
            node.certainty,
            node.module_path,
            tuple(before.name for before in node.predecessors),
            node.measures,
        )
        for node in graph.all_layers
    ]


def first_tensor(result: Any) -> torch.Tensor:
    while not isinstance(result, torch.Tensor):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    return result


def measured_extent(
    model: nn.Module, shape: Sequence[int], spatial: Sequence[int]
) -> tuple[int | float, ...]:
    """Return the largest window of any unit of the (first) output, per spatial dimension.

    A window as large as the input counts as infinite. Numbers are of type float64, for which
    PyTorch has no kernels that mix neighbours on the way (Winograd, FFT).
    """
    model = model.double().eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(*shape, dtype=torch.float64, generator=generator) + 0.5
    extents: list[int | float] = []
    for dimension in spatial:
        seen = []
        for row in range(shape[dimension]):
            poisoned = image.clone()
            poisoned.select(dimension, row).fill_(torch.nan)
            torch.manual_seed(0)
            with torch.no_grad():
                result = first_tensor(model(poisoned))
            if result.is_complex():
                result = torch.view_as_real(result)
            seen.append(result.isnan().flatten())
        sees = torch.stack(seen).int()
        rows = torch.arange(shape[dimension]).unsqueeze(1)
        last = (sees * (rows + 1)).amax(0)
        first = (sees * (shape[dimension] - rows)).amax(0)
        windows = last - (shape[dimension] - first)
        windows = torch.where(last > 0, windows, 0)
        largest = int(windows.max())
        extents.append(INF if largest == shape[dimension] else largest)
    return tuple(extents)
