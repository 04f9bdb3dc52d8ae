"""Quantised operators as the ones that they stand for: rounding moves no position.

PyTorch cannot say of most of them what shape comes out. Their counterparts on real numbers can.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from rfa_toolbox.encodings.pytorch.capture import paths_of

__all__ = ["plain_version", "quiet_observers"]

_ROUNDING = {
    torch.quantize_per_tensor,
    torch.quantize_per_channel,
    torch.quantize_per_tensor_dynamic,
    torch.dequantize,
    torch.Tensor.dequantize,
    torch.fake_quantize_per_tensor_affine,
    torch.fake_quantize_per_channel_affine,
}
_JOINING: dict[str, Callable[..., Any]] = {"add": torch.add, "mul": torch.mul, "cat": torch.cat}


@functools.cache
def plain_version(function: Any) -> Callable[..., Any] | None:
    """Return what does to positions and shapes what a quantised function does; None for others.

    >>> plain_version(torch.relu) is None
    True
    """
    if function in _ROUNDING:
        return _unrounded
    namespace, _, name = getattr(function, "_qualified_op_name", "").partition("::")
    if namespace != "quantized":
        return None
    name = name.partition(".")[0].removesuffix("_dynamic").removesuffix("_relu")
    if name.startswith("conv"):
        return _convolution
    if name == "linear":
        return _linear
    if name in _JOINING:
        return lambda *operands, **_: _JOINING[name](*operands[:2])
    return _unrounded


def quiet_observers(model: nn.Module) -> None:
    """Let the observers of a model pass on what they see: they gather statistics, for later.

    Args:
        model: is changed; it must be a copy.
    """
    quantization = sys.modules.get("torch.ao.quantization")
    if quantization is None:
        return
    for module in paths_of(model):
        if isinstance(module, quantization.ObserverBase):
            module.forward = _same
        elif isinstance(module, quantization.FakeQuantizeBase):
            module.disable_observer()


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _unrounded(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return tensor.clone()


def _convolution(tensor: torch.Tensor, packed: Any, *_: Any, **__: Any) -> torch.Tensor:
    weight = _shape_of_weight(packed, tensor)
    axes = weight.dim() - 2
    facts = {
        "stride": packed.stride()[-axes:],
        "padding": packed.padding()[-axes:],
        "dilation": packed.dilation()[-axes:],
        "groups": packed.groups(),
    }
    if packed.transpose():
        facts["output_padding"] = packed.output_padding()[-axes:]
    convolve = getattr(functional, f"conv{'_transpose' if packed.transpose() else ''}{axes}d")
    result: torch.Tensor = convolve(tensor, weight, None, **facts)
    return result


def _linear(tensor: torch.Tensor, packed: Any, *_: Any, **__: Any) -> torch.Tensor:
    return functional.linear(tensor, _shape_of_weight(packed, tensor))


def _shape_of_weight(packed: Any, tensor: torch.Tensor) -> torch.Tensor:
    weight, _ = packed.unpack()
    return tensor.new_empty(weight.shape)
