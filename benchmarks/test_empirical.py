"""Structural measurement of all layers of resnet50 against one backward pass per layer."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

from rfa_toolbox.empirical import measure_receptive_field
from tests.empirical.zoo import build

SAMPLED = 10
"""The backward passes of every tenth layer are timed, and stand for those of all."""


def backward_passes(model: nn.Module, sizes: tuple[int, int]) -> int:
    """Take the gradient of the middle unit of some layers; return how many layers there are."""
    outputs: list[torch.Tensor] = []
    handles = [
        module.register_forward_hook(lambda module, arguments, result: outputs.append(result))
        for module in model.modules()
        if not list(module.children())
    ]
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    image = torch.rand(1, 3, *sizes, requires_grad=True)
    model(image)
    for output in outputs[::SAMPLED]:
        middle = output[(slice(None), slice(None), *(size // 2 for size in output.shape[2:]))]
        torch.autograd.grad(middle.sum(), image, retain_graph=True, allow_unused=True)
    for handle in handles:
        handle.remove()
    return len(outputs)


def test_resnet50(benchmark: Any) -> None:
    model = build("torchvision:resnet50")
    begin = time.perf_counter()
    found = benchmark.pedantic(measure_receptive_field, (model,), rounds=1)
    structural = time.perf_counter() - begin
    assert all(side <= 64 for axis in found.passes for side in axis[1:])
    begin = time.perf_counter()
    layers = backward_passes(model, (512, 512))
    backward = (time.perf_counter() - begin) * SAMPLED
    benchmark.extra_info["passes"] = [list(axis) for axis in found.passes]
    benchmark.extra_info["layers by gradient"] = layers
    benchmark.extra_info["seconds by gradient"] = round(backward, 1)
    benchmark.extra_info["ratio"] = round(backward / structural, 1)
    print(benchmark.extra_info)
    assert structural < 60
