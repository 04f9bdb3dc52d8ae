"""Models of PyTorch with several inputs, of which one is looked at."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from rfa_toolbox.encodings.pytorch.capture import Example, tensors_of
from rfa_toolbox.encodings.pytorch.inputs import example_of
from rfa_toolbox.errors import MeasurementError

__all__ = ["OneOfSeveral"]


class OneOfSeveral:
    """The inputs of a model: the one that is looked at, and fixed random numbers for the others.

    Args:
        model: what takes them.
        input_shape: what ``create_graph_from_pytorch_model`` takes as ``input_res`` for them.
        wanted: the place of the input among the tensors, or the name of its argument; None is the
            first.
        seed: of the random numbers.

    Raises:
        MeasurementError: if there is no such input, or it holds no real numbers.
    """

    def __init__(
        self, model: nn.Module, input_shape: Any, wanted: int | str | None, seed: int
    ) -> None:
        example = example_of(input_shape, model)
        generator = torch.Generator().manual_seed(seed)

        def drawn(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_floating_point():
                return tensor
            return torch.randn(tensor.shape, generator=generator).to(tensor)

        self._example = example.map(drawn)
        names = _names(model, example)
        self.place = names.index(wanted) if wanted in names else wanted or 0
        count = len(example.tensors)
        if type(self.place) is not int or not 0 <= self.place < count:
            raise MeasurementError(
                f"input is {wanted!r}; {type(model).__name__} is given {count} tensors: name one "
                f"by its place, 0 to {count - 1}, or by its argument, one of {names!r}."
            )
        if not example.tensors[self.place].is_floating_point():
            raise MeasurementError(
                f"input is {wanted!r}, which holds whole numbers and has no gradient; look at "
                "another one."
            )
        self.shape = tuple(example.tensors[self.place].shape)

    def with_one(self, tensor: torch.Tensor) -> Example:
        """Return all inputs, the others repeated as often as there are samples of this one."""
        places = iter(range(len(self._example.tensors)))
        count = tensor.shape[0]

        def placed(other: torch.Tensor) -> torch.Tensor:
            if next(places) == self.place:
                return tensor
            if other.dim() == 0 or other.shape[0] != self.shape[0]:
                return other
            return other[:1].expand(count, *other.shape[1:]).to(tensor.device)

        return self._example.map(placed)


def _names(model: nn.Module, example: Example) -> Sequence[str | None]:
    """Return the name of the argument that every tensor is; None for those within another."""
    parameters = list(inspect.signature(model.forward).parameters)
    named = [*zip(parameters, example.arguments, strict=False), *example.keywords.items()]
    names: list[str | None] = []
    for name, value in named:
        found = list(tensors_of(value))
        names.extend([name] if len(found) == 1 else [None] * len(found))
    return names
