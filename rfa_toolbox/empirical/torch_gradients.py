"""PyTorch modules in experiments that need gradients."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from rfa_toolbox.empirical.gradients import Array, Gradient, Signal
from rfa_toolbox.empirical.neutral import Part
from rfa_toolbox.empirical.results import call_name, path_and_call
from rfa_toolbox.empirical.torch_models import shared_parameter, with_numbers
from rfa_toolbox.encodings.pytorch.capture import ModuleScopes, describe_call, undisturbed
from rfa_toolbox.encodings.pytorch.inputs import DEFAULT_INPUT, usual_examples
from rfa_toolbox.encodings.pytorch.meta import twin_of
from rfa_toolbox.encodings.pytorch.signatures import bind
from rfa_toolbox.errors import CaptureError, MeasurementError

__all__ = ["TorchModelInExperiment", "reinitialised"]


class _AllReached(BaseException):
    """Ends a forward pass behind the last layer in question; no handler of a model takes it."""


class TorchModelInExperiment:
    """A copy of a PyTorch module in eval mode; it shares the weights unless it is exact."""

    channels_last = False

    @torch.inference_mode(False)
    def __init__(self, model: nn.Module, neutral: frozenset[Part], exact: bool) -> None:
        self._given = with_numbers(model)
        self.name = type(self._given).__name__
        self._neutral = neutral
        if exact:
            self._model = twin_of(self._given, _exact_parameter, _exact)
        else:
            self._model = twin_of(self._given, shared_parameter, lambda one: one.detach().clone())
        self._model.eval()
        if "weights" in neutral:
            _make_weights_positive(self._model)
        self._modules = dict(self._model.named_modules(remove_duplicate=False))
        if len(self._modules) == 1:  # it is a layer itself, and named as graphs name it
            self._modules = {self.name: self._model}
        self.paths: Sequence[str] = [path for path in self._modules if path]

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

        def note(path: str, output: torch.Tensor) -> None:
            found[path] = tuple(output.shape)

        with undisturbed():
            self._run(self._tensor(inputs), None, note)
        return found

    @torch.inference_mode(False)
    def gradients(self, inputs: Array, signals: Mapping[str, Signal]) -> Mapping[str, Gradient]:
        """Return for every call named in ``signals`` what its signal becomes at the input."""
        outputs: dict[str, tuple[torch.Tensor, tuple[int, int]]] = {}
        alive: list[torch.Tensor] = []

        def keep(path: str, output: torch.Tensor) -> None:
            # Operations that work in place may follow; a clone keeps its own history. Modules that
            # return one and the same tensor, such as a block and its last layer, share it.
            same = (id(output), output._version)
            known = next((clone for clone, other in outputs.values() if other == same), None)
            outputs[path] = (output.clone() if known is None else known, same)
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
                before = sent.setdefault(id(output), [])
                found = next((one for old, one in before if np.array_equal(old, signalled)), None)
                if found is None:
                    found = Gradient(values, _back(start, output, signalled))
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
                self._model(inputs)
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
        functions = self._neutral - {"weights"}
        with _Neutral(functions) if functions else contextlib.nullcontext():
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


# --- neutral copies --------------------------------------------------------------------------

_ACTIVATIONS = {
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "hardswish", "hardsigmoid", "hardtanh", "softplus", "softsign", "tanhshrink", "hardshrink",
    "softshrink", "threshold", "sigmoid", "tanh", "logsigmoid", "log_sigmoid",
}  # fmt: skip
_NORMS = {
    "batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm",
}  # fmt: skip


class _Neutral(TorchFunctionMode):
    """Replaces functions while a model runs, whether a module calls them or ``forward`` itself."""

    def __init__(self, parts: frozenset[Part]) -> None:
        super().__init__()
        self._identities = set()
        if "activations" in parts:
            self._identities |= _ACTIVATIONS
        if "norms" in parts:
            self._identities |= _NORMS
        self._average = "pooling" in parts

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        described = describe_call(function)
        name = "" if described is None else described.name
        if name in self._identities:
            return args[0] if args else kwargs["input"]
        if self._average and not kwargs.get("return_indices", False):
            if name.startswith("max_pool"):
                return _average_pool(**bind(name, args, kwargs))
            if name.startswith("adaptive_max_pool"):
                values = bind(name, args, kwargs)
                average = getattr(functional, name.replace("max", "avg"))
                return average(values["input"], values["output_size"])
        return function(*args, **kwargs)


def _average_pool(
    input: torch.Tensor,  # noqa: A002 - PyTorch's name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> torch.Tensor:
    """Return the mean where a maximum was asked for, over the same windows.

    Padding counts as zeros, and so do the units behind the end that ``ceil_mode`` reaches.
    """
    count = input.dim() - 2

    def per_axis(value: Any) -> list[int]:
        values = list(value) if isinstance(value, tuple | list) else [value]
        return values * count if len(values) == 1 else values

    kernel, gap = per_axis(kernel_size), per_axis(dilation)
    step = kernel if stride is None or stride == [] else per_axis(stride)
    before = per_axis(padding)
    behind = list(before)
    if ceil_mode:
        for axis in range(count):
            length = input.shape[2 + axis]
            span = gap[axis] * (kernel[axis] - 1) + 1
            steps = math.ceil((length + 2 * before[axis] - span) / step[axis])
            if steps * step[axis] >= length + before[axis]:
                steps -= 1  # a window that would begin behind the end is left out
            behind[axis] = max(0, steps * step[axis] + span - length - before[axis])
    sides = [side for pair in zip(reversed(before), reversed(behind), strict=True) for side in pair]
    channels = input.shape[1]
    weight = input.new_full((channels, 1, *kernel), 1 / math.prod(kernel))
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[count - 1]
    padded = functional.pad(input, sides)
    return convolve(padded, weight, stride=step, dilation=gap, groups=channels)


def _make_weights_positive(model: nn.Module) -> None:
    """Give all weights of a layer one positive value, and biases zero.

    The value lets a long chain of layers neither vanish at the rim of the field nor explode in its
    middle: the sum over channels is 1, and that over a window the root of its size.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not weight.is_floating_point():
                continue
            if weight.dim() >= 2:
                inputs = max(1, weight.shape[1])
                weight.fill_(1 / (inputs * math.sqrt(max(1, math.prod(weight.shape[2:])))))
            else:
                weight.fill_(0.0 if name.rpartition(".")[2].endswith("bias") else 1.0)
        for module in model.modules():
            for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
                statistics = getattr(module, name, None)
                if isinstance(statistics, torch.Tensor):
                    statistics.fill_(value)


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
