"""Whether numbers change, where NaN tells too much: behind weights that are zero by a mask.

A zero times NaN is NaN, so that poison reaches what the mask of an attention, or a banded matrix,
keeps apart. There the model runs twice on random numbers, and some rows of the second image have
others: what depends on them changes. Norms keep what they get and gates are one, as both are
neutral; parameters are random numbers, as some of a model's own are zero before it is trained.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.utils._pytree import tree_map

from rfa_toolbox.empirical.poison import NORMS, repeated_dimensions, takes_statistics
from rfa_toolbox.empirical.torch_models import unused
from rfa_toolbox.empirical.torch_recording import Forgetful, plain_kernels
from rfa_toolbox.encodings.pytorch import twins
from rfa_toolbox.encodings.pytorch.capture import Example, undisturbed
from rfa_toolbox.encodings.pytorch.intermediate_graph import GlobalOps
from rfa_toolbox.encodings.pytorch.signatures import bind
from rfa_toolbox.operators.record import TensorRef

__all__ = ["Changed", "holds_zeros", "random_twin"]

_MASKED: Final = -1e3
"""What is added to a score that is to have no weight is smaller; windows that Swin keeps apart at
the border of an image get -100."""

_PRODUCTS = {
    *("mul", "matmul", "bmm", "baddbmm", "einsum", "linear", "mm"),
    *(f"conv{kind}{count}d" for kind in ("", "_transpose") for count in "123"),
}
_SUMS = {"add", "baddbmm", "sub"}
_CHOICES = {"masked_fill", "where", "tril", "triu"}
_SATURATING = {
    *("softmax", "log_softmax", "sigmoid", "logsigmoid", "tanh", "hardtanh", "hardsigmoid"),
    *("hardswish", "relu6", "erf", "exp", "expm1", "clamp", "softsign", "silu", "gelu", "mish"),
}
"""What makes the same of all large numbers."""
_ATTENTION = {"scaled_dot_product_attention", "multi_head_attention_forward"}


def holds_zeros(
    name: str, args: Sequence[Any], keywords: Mapping[str, Any], constants: Sequence[torch.Tensor]
) -> bool:
    """Return whether an operator gives weights of zero to some of what it reads.

    >>> band = torch.ones(4, 4).tril()
    >>> holds_zeros("matmul", (), {}, [band]), holds_zeros("matmul", (), {}, [band + 1])
    (True, False)

    So do large numbers that are taken off scores in front of a softmax.

    >>> holds_zeros("sub", (), {}, [1e9 * (1 - band)]), holds_zeros("sub", (), {}, [band])
    (True, False)

    Weights of a layer that are all zero are not learned yet, and no mask.

    >>> holds_zeros("conv1d", (), {}, [torch.zeros(4, 4, 3)])
    False
    """
    if name in _ATTENTION and (keywords.get("is_causal") or (len(args) > 5 and args[5] is True)):
        return True
    given = bind(name, args, keywords)
    if name == "stft":  # a shorter window has zeros on both sides
        return int(given.get("win_length") or given["n_fft"]) < int(given["n_fft"])
    summand = given.get("bias")
    real = [
        one for one in constants if one is not summand and one.numel() > 1 and not one.is_complex()
    ]
    if name in _ATTENTION:
        return any(one.dtype == torch.bool or bool((one < _MASKED).any()) for one in real)
    if name in _SUMS:
        factor = keywords.get("alpha", 1) * (-1 if name == "sub" else 1)
        return any(bool((one * factor < _MASKED).any()) for one in real)
    if name in _CHOICES:
        return name in {"tril", "triu"} or any(one.dtype == torch.bool for one in real)
    layer = name == "linear" or name.startswith("conv")
    zeros = (one for one in real if name in _PRODUCTS and bool((one == 0).any()))
    return any(not layer or bool((one != 0).any()) for one in zeros)


def random_twin(model: nn.Module, seed: int = 0) -> nn.Module:
    """Return a copy in double precision, with random numbers for parameters.

    Parameters of one or two values only, as a mask has, stay what they are if a model does not
    learn them.
    """
    generator = torch.Generator().manual_seed(seed)

    def parameter(given: nn.Parameter) -> nn.Parameter:
        if not given.is_floating_point():
            return nn.Parameter(given.detach().clone(), requires_grad=False)
        values = given.detach().double()
        if given.requires_grad or len(set(values.flatten()[:4096].tolist())) > 2:
            fan_in = max(1, math.prod(given.shape[1:]))
            drawn = torch.rand(given.shape, generator=generator, dtype=torch.double)
            values = (2 * drawn - 1) * math.sqrt(3 / fan_in) if given.dim() > 1 else 0.5 + drawn
        return nn.Parameter(values.to(given.device), requires_grad=False)

    def other(tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().clone()
        return copied.double() if copied.is_floating_point() else copied

    with undisturbed():
        return twins.twin_of(model, parameter, other).eval()


class Changed:
    """Which numbers of a model change where some rows of its input do.

    Args:
        model: as ``random_twin`` returns it.
        example: the input, of which sizes and types are taken.
        dimensions: per tensor of it the one that counts the rows; None if it has none.
        wanted: the numbers of the tensors to look at.
        gates: those of products that make a gate.
        global_ops: whether gates and statistics count.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Example,
        dimensions: Sequence[int | None],
        wanted: Collection[int],
        gates: Collection[int],
        global_ops: GlobalOps,
    ) -> None:
        self.model = model
        self.dimensions = dimensions
        self._recorder = functools.partial(_Values, wanted, gates, global_ops, {})
        generator = torch.Generator().manual_seed(0)

        def drawn(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_floating_point():
                return tensor
            numbers = torch.rand(tensor.shape, generator=generator, dtype=torch.double)
            return numbers.to(tensor.device)

        self._first, self._other = example.map(drawn), example.map(drawn)
        self._before = self._run(self._first)

    def within(self, start: int, stop: int) -> dict[int, torch.Tensor]:
        """Return the wanted tensors, NaN where they change with the rows start to stop - 1."""
        inputs = self._first.map(torch.clone)
        for tensor, other, dimension in zip(
            inputs.tensors, self._other.tensors, self.dimensions, strict=True
        ):
            if dimension is not None:
                rows = tensor.narrow(dimension, start, stop - start)
                rows.copy_(other.narrow(dimension, start, stop - start))
        after = self._run(inputs)
        return {
            number: torch.where(before == after[number], 0.0, math.nan)
            for number, before in self._before.items()
        }

    @torch.inference_mode(False)
    def _run(self, inputs: Example) -> dict[int, torch.Tensor]:
        recorder = self._recorder(unused(self.model))
        with plain_kernels(), _in_double_precision():
            recorder.record(inputs.map(torch.clone))
        return recorder.values


@contextlib.contextmanager
def _in_double_precision() -> Iterator[None]:
    """Let models make their constants in double precision, if they name none."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.double)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class _Values(Forgetful):
    """Keeps numbers of a model that runs without statistics and gates."""

    def __init__(
        self,
        wanted: Collection[int],
        gates: Collection[int],
        global_ops: GlobalOps,
        scales: dict[int, float],
        *recorded: Any,
    ) -> None:
        super().__init__(*recorded)
        self.wanted = wanted
        self.gates = gates
        self.scales = scales
        """What every norm divides by: found in the first run, and kept for all."""
        self.neutral = global_ops == "ignore_gates"
        self.values: dict[int, torch.Tensor] = {}

    def call(
        self, name: str, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        """Call a function, without what is neutral in it."""
        args, keywords = tree_map(self._exact, (args, dict(keywords)))
        if self.neutral and name in NORMS and takes_statistics(name, args, keywords):
            return self._level(args[0])
        if self.neutral and self.next_number in self.gates and len(args) > 1:
            args = (_open(args[0], args[1]), _open(args[1], args[0]), *args[2:])
        if name == "stft":
            args, keywords = _with_flat_window(args, keywords)
        if name in _SATURATING and args and self.knows(args[0]):
            args = (self._moderate(args[0], masks="softmax" in name), *args[1:])
        elif name in _ATTENTION:
            args = (*(self._moderate(one, at) for at, one in enumerate(args[:2])), *args[2:])
        return super().call(name, function, args, keywords)

    def _level(self, tensor: torch.Tensor) -> torch.Tensor:
        """Keep numbers near one, as large scores would leave a softmax no weight but one."""
        if self.next_number not in self.scales:
            mean = float(tensor.abs().mean())
            self.scales[self.next_number] = mean if 0 < mean < math.inf else 1.0
        return tensor / self.scales[self.next_number]

    def _moderate(self, tensor: Any, argument: int = 0, masks: bool = False) -> Any:
        """Bring large numbers near one, as they would all become the same; masked ones aside."""
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            return tensor
        key = -1 - 2 * self.next_number - argument
        if key not in self.scales:
            kept = tensor[tensor > self._lowest(tensor, masks)].abs()
            mean = float(kept.mean()) if kept.numel() else 1.0
            self.scales[key] = max(1.0, mean) if mean < math.inf else 1.0
        lowest = self._lowest(tensor, masks)
        return torch.where(tensor > lowest, tensor / self.scales[key], tensor)

    @staticmethod
    def _lowest(tensor: torch.Tensor, masks: bool) -> float:
        """Return what is below all scores that are not masked."""
        if not masks or not tensor.numel():
            return -math.inf
        return min(_MASKED, -10 * float(tensor.max().abs()))

    def _exact(self, value: Any) -> Any:
        """Return constants in double precision, also where a model made them in another one."""
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not self.knows(value):
            return value.double()
        return value

    def register(self, tensor: torch.Tensor) -> TensorRef:
        """Give a tensor its number, and keep its values if they are wanted."""
        reference = super().register(tensor)
        if reference.number in self.wanted:
            self.values[reference.number] = tensor.detach().clone()
        return reference


def _with_flat_window(
    args: tuple[Any, ...], keywords: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of ``stft`` with ones for its window, which may begin with a zero."""
    flat = [torch.ones_like(one) if isinstance(one, torch.Tensor) else one for one in args[1:]]
    others = dict(keywords)
    if isinstance(others.get("window"), torch.Tensor):
        others["window"] = torch.ones_like(others["window"])
    return (*args[:1], *flat), others


def _open(weight: Any, beside: Any) -> Any:
    """Return ones in place of a weight that is the same at all positions of what it is beside."""
    if not isinstance(weight, torch.Tensor) or not isinstance(beside, torch.Tensor):
        return weight
    return torch.ones_like(weight) if repeated_dimensions(weight, beside) else weight
