"""PyTorch modules in experiments that need gradients."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from rfa_toolbox.empirical.gradients import Array, Gradient, Reduce, Signal, unchanged
from rfa_toolbox.empirical.neutral import Part
from rfa_toolbox.empirical.results import call_name, path_and_call
from rfa_toolbox.empirical.torch_inputs import OneOfSeveral
from rfa_toolbox.empirical.torch_models import unused, with_numbers
from rfa_toolbox.empirical.torch_neutral import Neutral, make_weights_positive, one_channel
from rfa_toolbox.encodings.pytorch.capture import ModuleScopes, undisturbed
from rfa_toolbox.encodings.pytorch.inputs import DEFAULT_INPUT, usual_examples
from rfa_toolbox.encodings.pytorch.twins import twin_of
from rfa_toolbox.errors import CaptureError, MeasurementError

__all__ = ["TorchModelInExperiment", "reinitialised"]


class _AllReached(BaseException):
    """Ends a forward pass behind the last layer in question; no handler of a model takes it."""


class TorchModelInExperiment:
    """A copy of a PyTorch module in eval mode; it shares the weights unless it is exact."""

    channels_last = False
    bytes = 0

    @torch.inference_mode(False)
    def __init__(self, model: nn.Module, neutral: frozenset[Part], exact: bool) -> None:
        self._given = with_numbers(model)
        self.name = type(self._given).__name__
        self._neutral = neutral
        if exact:
            self._model = twin_of(self._given, _exact_parameter, _exact)
        else:
            self._model = unused(self._given)
        self._model.eval()
        self._equal: set[int] = set()
        self._inputs: OneOfSeveral | None = None
        if "weights" in neutral:
            make_weights_positive(self._model)
            self._equal = {id(one) for one in self._model.parameters() if one.dim() > 1}
        self._modules = dict(self._model.named_modules(remove_duplicate=False))
        if len(self._modules) == 1:  # it is a layer itself, and named as graphs name it
            self._modules = {self.name: self._model}
        self.paths: Sequence[str] = [path for path in self._modules if path]

    def look_at(self, input_shape: Any, wanted: int | str | None, seed: int) -> tuple[int, ...]:
        """Give the model several inputs, of which one is looked at, and return its shape."""
        self._inputs = OneOfSeveral(self._model, input_shape, wanted, seed)
        return self._inputs.shape

    def kinds(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the class of the layer of each of these calls."""
        return {name: type(self._modules[self._path_of(name)]).__name__ for name in names}

    def extra_tokens(self) -> int | None:
        """Return what models of timm say of their class and register tokens."""
        said = (getattr(one, "num_prefix_tokens", None) for one in self._model.modules())
        return next((one for one in said if isinstance(one, int)), None)

    def reinitialised(self, seed: int) -> nn.Module:
        """Return a copy of the user's model with new random weights."""
        return reinitialised(self._given, seed)

    def shape_of_input(self) -> tuple[int, ...]:
        """Return the first usual shape that the model runs with; its own design size first."""
        tried = 0
        for shape in usual_examples(self._model):
            if shape == DEFAULT_INPUT:
                continue  # made to show receptive fields whole, and slow
            tried += 1
            try:
                self.shapes(np.ones(shape))
            except CaptureError:
                continue
            return shape
        raise MeasurementError(
            f"{self.name} runs with none of {tried} usual input shapes; pass input_shape, with "
            "batch and channels."
        )

    @torch.inference_mode(False)
    def shapes(self, inputs: Array) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of what every module returns in every call."""
        found: dict[str, tuple[int, ...]] = {}
        held: list[tuple[int, int]] = [(0, 0)]

        def note(path: str, output: torch.Tensor) -> None:
            found[path] = tuple(output.shape)
            memory = output.untyped_storage()
            if memory.data_ptr() != held[-1][0]:  # it was not returned from inside, or written to
                held.append((memory.data_ptr(), memory.nbytes()))

        with undisturbed():
            try:
                self._run(self._tensor(inputs), None, note)
            except CaptureError:
                if not self._equal:
                    raise
                self._equal.clear()  # it may write into one of several equal channels
                self._run(self._tensor(inputs), None, note)
        self.bytes = sum(size for _, size in held) // len(inputs)
        return found

    @torch.inference_mode(False)
    def gradients(
        self, inputs: Array, signals: Mapping[str, Signal], reduce: Reduce = unchanged
    ) -> Mapping[str, Gradient]:
        """Return for every call named in ``signals`` what its signal becomes at the input."""
        outputs: dict[str, tuple[torch.Tensor, tuple[int, int]]] = {}
        alive: list[torch.Tensor] = []

        def keep(path: str, output: torch.Tensor) -> None:
            # Operations that work in place may follow; a clone keeps its own history. Modules that
            # return one and the same tensor, such as a block and its last layer, share it.
            same = (id(output), output._version)
            known = next((clone for clone, other in outputs.values() if other == same), None)
            if known is None:  # to what repeats one channel nobody can write
                known = output.clone() if one_channel(output) is None else output
            outputs[path] = (known, same)
            alive.append(output)

        results: dict[str, Gradient] = {}
        sent: dict[int, list[tuple[Array, Gradient]]] = {}
        with undisturbed(), torch.enable_grad():
            start = self._tensor(inputs).requires_grad_()
            self._run(start.clone(), list(signals), keep)  # models may change their input
            for path, signal in signals.items():
                if path not in outputs:
                    raise MeasurementError(
                        f"Layer {path!r} of {self.name} was not called, or returned no tensor."
                    )
                output, _ = outputs[path]
                values = _array(output)
                signalled = signal(values)
                repeats = one_channel(output)
                if repeats is not None:  # what is sent to all of its channels arrives at the one
                    dimension, output = repeats
                    signalled = signalled.sum(dimension, keepdims=True)
                before = sent.setdefault(id(output), [])
                found = next((one for old, one in before if np.array_equal(old, signalled)), None)
                if found is None:
                    back = _back(start, output, signalled)
                    found = Gradient(values, None if back is None else reduce(back))
                    before.append((signalled, found))
                results[path] = found
        return results

    def _tensor(self, inputs: Array) -> torch.Tensor:
        like = next((one for one in self._model.parameters() if one.is_floating_point()), None)
        if like is None:
            return torch.as_tensor(inputs, dtype=torch.get_default_dtype()).clone()
        return torch.as_tensor(inputs, dtype=like.dtype, device=like.device).clone()

    def _run(
        self,
        inputs: torch.Tensor,
        names: Collection[str] | None,
        see: Callable[[str, torch.Tensor], None],
    ) -> None:
        """Run forwards until all calls of these names have returned; None are all there are."""
        waiting = set(names or ())
        scopes = ModuleScopes(self._model)

        def seen(module: nn.Module, arguments: Any, output: Any) -> None:
            if module not in scopes.paths:
                return
            call = scopes.current[-1]
            name = call_name(call.path or self.name, call.call)
            if name.partition("#")[0] not in self._modules or (names and name not in waiting):
                return
            waiting.discard(name)
            tensor = _first_tensor(output)
            if tensor is not None:
                see(name, tensor)
            if names is not None and not waiting:
                raise _AllReached

        scopes.on_result = seen
        try:
            with self._neutralised(), scopes.recording():
                if self._inputs is None:
                    self._model(inputs)
                else:
                    given = self._inputs.with_one(inputs)
                    self._model(*given.arguments, **given.keywords)
        except _AllReached:
            pass
        except Exception as error:
            raise CaptureError(
                f"{self.name} does not run with an input of the shape {tuple(inputs.shape)!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _path_of(self, name: str) -> str:
        return path_and_call(name, self._modules)[0]

    @contextlib.contextmanager
    def _neutralised(self) -> Iterator[None]:
        with Neutral(self._neutral, self._equal) if self._neutral else contextlib.nullcontext():
            yield


def _back(start: torch.Tensor, output: torch.Tensor, signal: Array) -> Array | None:
    """Return what a signal at an output becomes at the input; None if nothing leads there."""
    if not output.requires_grad:
        return None
    sent = torch.as_tensor(signal, dtype=output.dtype, device=output.device)
    back: Any
    (back,) = torch.autograd.grad(output, start, sent, retain_graph=True, allow_unused=True)
    return None if back is None else _array(back)


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    own = tensor.detach().clone()
    return own.double() if own.is_floating_point() else own


def _exact_parameter(parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(_exact(parameter), requires_grad=False)


def _array(tensor: torch.Tensor) -> Array:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        output = output.values()
    elif not isinstance(output, tuple | list):
        return None
    return next((one for one in map(_first_tensor, output) if one is not None), None)


def reinitialised(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy with new random weights.

    Modules that know how to draw their weights do so (``reset_parameters``); the numbers in all
    other parameters are shuffled, which keeps their distribution.

    >>> model = nn.Conv2d(3, 8, 3)
    >>> other = reinitialised(model, seed=1)
    >>> bool((model.weight == other.weight).any())
    False
    """
    with undisturbed():
        made = twin_of(with_numbers(model), copy.deepcopy, lambda one: one.detach().clone())
        torch.manual_seed(seed)
        for module in made.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for parameter in module.parameters(recurse=False):
                order = torch.randperm(parameter.numel()).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return made
