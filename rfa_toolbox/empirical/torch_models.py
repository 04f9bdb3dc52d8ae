"""What both experiments on PyTorch models ask of a model: numbers of its own, and no more."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from rfa_toolbox.encodings.pytorch.ingest_architecture import unwrapped
from rfa_toolbox.encodings.pytorch.twins import twin_of
from rfa_toolbox.errors import UnsupportedModelError

__all__ = ["shared_parameter", "unused", "with_numbers"]


def with_numbers(model: object) -> nn.Module:
    """Return the module of a model that can be run.

    Raises:
        UnsupportedModelError: if it is no module, or some of its tensors hold no numbers.

    >>> with_numbers(nn.Conv2d(1, 1, 3))
    Conv2d(1, 1, kernel_size=(3, 3), stride=(1, 1))
    """
    module = unwrapped(model)
    named = itertools.chain(module.named_parameters(), module.named_buffers())
    empty = next((name for name, one in named if one.is_meta), None)
    if empty is not None:
        raise UnsupportedModelError(
            f"{type(module).__name__} has tensors on the meta device, such as {empty!r}, which "
            "hold no numbers. An experiment runs the model: build it on another device, or call "
            "model.to_empty(device='cpu') and draw or load its weights and buffers."
        )
    return module


def unused(model: nn.Module) -> nn.Module:
    """Return a copy of a model that shares its parameters, and nothing else.

    Some models keep what they compute in their first call, as heads of detectors do with their
    anchors, and leave it out of the next one. A copy for every call does the same in all of them.
    """
    return twin_of(model, shared_parameter, lambda one: one.detach().clone())


def shared_parameter(parameter: nn.Parameter) -> nn.Parameter:
    """Return a parameter itself, or a copy of one that was made in inference mode.

    PyTorch lets nobody ask for the history of such a tensor, or compute gradients with it.
    """
    if not parameter.is_inference():
        return parameter
    with torch.inference_mode(False):
        return nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
