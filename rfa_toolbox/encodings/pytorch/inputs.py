"""What a model is called with: from the shapes that a user named to example tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rfa_toolbox.encodings.pytorch.capture import Example
from rfa_toolbox.errors import InvalidResolutionError

__all__ = ["DEFAULT_INPUT", "example_of", "usual_examples"]

DEFAULT_INPUT = (1, 3, 399, 399)
_USUAL_SIZES = (224, 256, 384, 299, 240, 288, 320, 192, 448, 512, 518, 336, 128, 96, 64, 32, 28)
_USUAL_LENGTHS = (16_000, 1024, 4096, 128, 48_000)


def example_of(input_res: Any, model: nn.Module) -> Example:
    """Return example tensors for shapes, tensors, or several of them.

    Args:
        input_res: a shape such as (1, 3, 224, 224); an example tensor; a sequence of either for
            several inputs; or a mapping from argument names to either.
        model: says on which device and of which type the tensors are.

    Raises:
        InvalidResolutionError: if ``input_res`` is anything else.
    """
    if isinstance(input_res, torch.Tensor) or _is_shape(input_res):
        return Example((_tensor(input_res, model),))
    if isinstance(input_res, Mapping) and input_res:
        if all(_is_input(one) for one in input_res.values()):
            return Example((), {name: _tensor(one, model) for name, one in input_res.items()})
    elif isinstance(input_res, tuple | list) and input_res and all(map(_is_input, input_res)):
        return Example(tuple(_tensor(one, model) for one in input_res))
    raise InvalidResolutionError(
        f"The input is given as {input_res!r}; it must be its shape with batch and channels, "
        "such as (1, 3, 224, 224), or an example tensor, or for several inputs a sequence of "
        "these, or a mapping from argument names to these. Sizes are positive whole numbers."
    )


def _is_input(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or _is_shape(value)


def _is_shape(value: Any) -> bool:
    if isinstance(value, str | bytes | torch.Tensor) or not isinstance(value, Sequence):
        return False
    return bool(value) and all(_is_size(one) for one in value)


def _is_size(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool | torch.Tensor) and value > 0


def _tensor(value: Any, model: nn.Module) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    device, dtype = _place_of(model)
    if device.type == "meta":
        return torch.empty(tuple(value), device=device, dtype=dtype)
    return torch.ones(tuple(value), device=device, dtype=dtype)


def _place_of(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    first = next((one for one in (*model.parameters(), *model.buffers())), None)
    floating = next(
        (
            one
            for one in (*model.parameters(), *model.buffers())
            if one.is_floating_point() or one.is_complex()
        ),
        None,
    )
    device = first.device if first is not None else torch.device("cpu")
    return device, floating.dtype if floating is not None else torch.float32


def usual_examples(model: nn.Module) -> Iterator[tuple[int, ...]]:
    """Yield shapes worth a try for a model whose user named none, the likeliest first."""
    yield DEFAULT_INPUT
    seen: set[tuple[int, ...]] = {DEFAULT_INPUT}
    channels, axes = _first_layer(model)
    for size in _named_sizes(model):
        shapes: list[tuple[int, ...]] = [size if isinstance(size, tuple) else (1, 3, size, size)]
        if channels is not None and axes and not isinstance(size, tuple):
            shapes.insert(0, (1, channels, *((size,) * axes)))
        for shape in shapes:
            if shape not in seen:
                seen.add(shape)
                yield shape
    for shape in _by_first_layer(channels, axes):
        if shape not in seen:
            seen.add(shape)
            yield shape
    for usual in _USUAL_SIZES:
        shape = (1, 3, usual, usual)
        if shape not in seen:
            seen.add(shape)
            yield shape


def _by_first_layer(channels: int | None, axes: int) -> Iterator[tuple[int, ...]]:
    if channels is None:
        return
    if axes == 0:
        yield (1, channels)
    elif axes == 1:
        for length in (399, *_USUAL_LENGTHS):
            yield (1, channels, length)
    elif axes == 2:
        for size in (399, *_USUAL_SIZES):
            yield (1, channels, size, size)
    else:
        for size in (399, 112, 224, 128, 64, 32):
            yield (1, channels, 16, size, size)
        for size in (128, 64, 32):
            yield (1, channels, size, size, size)


def _first_layer(model: nn.Module) -> tuple[int | None, int]:
    """Return the channels and the number of spatial axes that the first layer takes."""
    for module in model.modules():
        channels = getattr(module, "in_channels", None)
        kernel = getattr(module, "kernel_size", None)
        if isinstance(channels, int) and isinstance(kernel, tuple):
            return channels, len(kernel)
        if isinstance(module, nn.Linear):
            return module.in_features, 0
    return None, 0


def _named_sizes(model: nn.Module) -> Iterator[int | tuple[int, ...]]:
    """Yield the input sizes that a model says it is made for."""
    for name in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, name, None)
        if isinstance(config, Mapping):
            size = config.get("input_size")
            if isinstance(size, tuple | list) and len(size) == 3:
                yield (1, *(int(one) for one in size))
    for module in (model, *model.children()):
        for name in ("image_size", "img_size", "input_size", "input_resolution"):
            size = getattr(module, name, None)
            if isinstance(size, tuple | list) and len(size) == 2 and size[0] == size[1]:
                size = size[0]
            if type(size) is int and size > 1:
                yield size
