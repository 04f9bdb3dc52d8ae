"""What a model is called with: from the shapes that a user named to example tensors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import nn

from rfa_toolbox.domain import DEFAULT_INPUT
from rfa_toolbox.encodings.pytorch.capture import Example, fields_of, rebuilt, tensors_of
from rfa_toolbox.errors import InvalidResolutionError

__all__ = ["DEFAULT_INPUT", "described", "example_of", "usual_examples"]

_USUAL_SIZES = (224, 256, 384, 299, 240, 288, 320, 192, 448, 512, 518, 336, 128, 96, 64, 32, 28)
_USUAL_LENGTHS = (16_000, 1024, 4096, 128, 48_000)


def example_of(
    input_res: Any, model: nn.Module, keywords: Mapping[str, Any] | None = None
) -> Example:
    """Return example tensors for shapes, tensors, or several of them.

    Args:
        input_res: a shape such as (1, 3, 224, 224); an example tensor; a sequence of either for
            several inputs; or a mapping from argument names to either. A model that takes one
            argument gets a mapping, or a sequence of several, as it is. One whose first argument
            is annotated as a list gets every sequence as it is. Within either, an input may itself
            be a list, a dict or a data class of these, and None, a number or a text stands for
            itself.
        model: says on which device and of which type the tensors are.
        keywords: further arguments by name, each as within a mapping.

    Raises:
        InvalidResolutionError: if ``input_res`` or ``keywords`` is anything else.
    """
    named = dict(keywords or {})
    if not all(map(_is_input, named.values())):
        raise InvalidResolutionError(
            f"The arguments by name are given as {described(named)}; it must be a mapping from "
            "names to shapes, example tensors, or lists, dicts or numbers beside them."
        )
    if _is_single(input_res):
        arguments: tuple[Any, ...] = (input_res,)
    elif isinstance(input_res, Mapping) and _holds_inputs(input_res):
        by_name = _first_taken(model, ((), input_res), ((input_res,), {})) == 0
        arguments = () if by_name else (input_res,)
        named = {**input_res, **named} if by_name else named
    elif isinstance(input_res, tuple | list) and _holds_inputs(input_res):
        listed = _is_single(input_res[0]) and _takes_a_list(model)
        apart = not listed and not _first_taken(model, (input_res, named), ((input_res,), named))
        arguments = tuple(input_res) if apart else (input_res,)
    else:
        raise InvalidResolutionError(
            f"The input is given as {described(input_res)}; it must be its shape with batch and "
            "channels, such as (1, 3, 224, 224), or an example tensor, or for several inputs a "
            "sequence of these, or a mapping from argument names to these. Sizes are positive "
            "whole numbers."
        )
    return Example(
        tuple(_example(one, model) for one in arguments),
        {name: _example(one, model) for name, one in named.items()},
    )


def described(value: Any) -> str:
    """Return a value for a message: tensors by their shapes, and no more than a few lines.

    >>> described((torch.zeros(1, 3, 8, 8), None))
    '(tensor of shape (1, 3, 8, 8), None)'
    """

    def shown(one: Any) -> Any:
        return _Shown(f"tensor of shape {tuple(one.shape)}")

    text = repr(rebuilt(value, shown))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


_SHOWN = 300
"""Characters of a value that a message quotes."""


@attrs.frozen(repr=False)
class _Shown:
    text: str

    def __repr__(self) -> str:
        return self.text


def _first_taken(model: nn.Module, *calls: tuple[Sequence[Any], Mapping[str, Any]]) -> int:
    """Return which of several calls is the first that a model takes; 0 if it takes none."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return 0
    for at, (arguments, keywords) in enumerate(calls):
        try:
            signature.bind(*arguments, **keywords)
        except TypeError:
            continue
        return at
    return 0


_LIST = re.compile(r"(typing\.|collections\.abc\.)?(list|sequence|tuple|iterable)\b", re.IGNORECASE)


def _takes_a_list(model: nn.Module) -> bool:
    """Whether the first argument of a model is annotated as a list, as detectors take images."""
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return False
    kind = parameters[0].annotation if parameters else None
    text = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    return _LIST.match(text) is not None


def _is_single(value: Any) -> bool:
    """Whether a value is one input by itself."""
    if isinstance(value, torch.Tensor) or _is_shape(value):
        return True
    return fields_of(value) is not None and next(tensors_of(value), None) is not None


def _is_input(value: Any) -> bool:
    plain = value is None or isinstance(value, bool | int | float | complex | str)
    return plain or _is_single(value) or _holds_inputs(value)


def _holds_inputs(value: Any) -> bool:
    """Whether a list or a dict holds inputs, at least one of them with a shape."""
    if not isinstance(value, Mapping | tuple | list):
        return False
    held = list(value.values()) if isinstance(value, Mapping) else list(value)
    return all(map(_is_input, held)) and any(_is_single(one) or _holds_inputs(one) for one in held)


def _is_shape(value: Any) -> bool:
    if isinstance(value, str | bytes | torch.Tensor) or not isinstance(value, Sequence):
        return False
    return bool(value) and all(_is_size(one) for one in value)


def _is_size(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool | torch.Tensor) and value > 0


def _example(value: Any, model: nn.Module) -> Any:
    """Return an input with tensors where shapes were named."""
    if _is_shape(value):
        return _tensor(value, model)
    if isinstance(value, Mapping):
        items = ((key, _example(one, model)) for key, one in value.items())
        return type(value)(items)  # type: ignore[call-arg]
    if isinstance(value, tuple | list):
        parts = [_example(one, model) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _tensor(shape: Sequence[int], model: nn.Module) -> torch.Tensor:
    device, dtype = _place_of(model)
    if device.type == "meta":
        return torch.empty(tuple(shape), device=device, dtype=dtype)
    return torch.ones(tuple(shape), device=device, dtype=dtype)


def _place_of(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where a model is, and of which type its numbers are.

    Complex numbers in a model of real ones are what it multiplies spectra with, not its input.
    """
    first = next(_held(model), None)
    real = (one.dtype for one in _held(model) if one.is_floating_point())
    imaginary = (one.dtype for one in _held(model) if one.is_complex())
    device = torch.device("cpu") if first is None else first.device
    return device, next(real, None) or next(imaginary, torch.float32)


def _held(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def usual_examples(model: nn.Module) -> Iterator[tuple[int, ...]]:
    """Yield shapes worth a try for a model whose user named none, the likeliest first."""
    shapes: list[tuple[int, ...]] = [DEFAULT_INPUT]
    channels, axes = _first_layer(model)
    for size in _named_sizes(model):
        if isinstance(size, tuple):
            shapes.append(size)
            continue
        if channels is not None and axes:
            shapes.append((1, channels, *((size,) * axes)))
        shapes.append((1, 3, size, size))
    shapes += _by_first_layer(channels, axes)
    shapes += [(1, 3, usual, usual) for usual in _USUAL_SIZES]
    yield from dict.fromkeys(shapes)


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
