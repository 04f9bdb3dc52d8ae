"""Running a model once, by the capture that works, and saying what went wrong."""

from __future__ import annotations

import contextlib
import difflib
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs
import torch
from torch import nn

from rfa_toolbox.domain import DEFAULT_INPUT
from rfa_toolbox.encodings.pytorch import meta, trace, twins
from rfa_toolbox.encodings.pytorch.capture import (
    Ending,
    Example,
    Failure,
    OutOfTime,
    first_line,
)
from rfa_toolbox.encodings.pytorch.inputs import example_of, usual_examples
from rfa_toolbox.encodings.pytorch.sizes import MORE, compared, cuts_maps
from rfa_toolbox.errors import (
    CaptureError,
    DataDependentControlFlowError,
    RFAError,
    UnsupportedModelError,
)
from rfa_toolbox.operators.record import Record
from rfa_toolbox.operators.rules import spatial_dimensions

__all__ = ["CaptureMode", "record_model"]

CaptureMode = Literal["auto", "meta", "jit"]
Capture: TypeAlias = "Callable[[nn.Module, Example, Ending], Record]"


def record_model(
    model: nn.Module,
    input_res: Any = DEFAULT_INPUT,
    capture: CaptureMode = "auto",
    *,
    input_kwargs: Mapping[str, Any] | None = None,
    until: str | None = None,
    partial: bool = True,
    time_limit: float | None = None,
) -> Record:
    """Run a model once and return the plain record of what it did.

    Where the user named no input, sizes that the model names and the usual ones are tried after
    the default, and a warning says which was taken. Another one says where a record stops.

    Raises:
        CaptureError: if the model cannot be run; it says where and with what it failed.
        UnsupportedModelError: if the model has no module with the path ``until``.
    """
    _check_path(model, until)
    over = math.inf if time_limit is None else time.monotonic() + _checked(time_limit)
    ending = Ending(until, (DataDependentControlFlowError,) if partial else (), over)
    try:
        if input_res is not DEFAULT_INPUT or input_kwargs:
            record = _record(model, example_of(input_res, model, input_kwargs), capture, ending)
        else:
            record = _record_usual(model, capture, ending)
    except OutOfTime as error:
        raise CaptureError(
            f"{type(model).__name__} did not end within time_limit={time_limit:g} seconds; it was "
            f"at {error}. A loop that goes on as long as values tell it, such as a suppression of "
            "neighbours, can take very long: pass until= with the path of a module in front of it, "
            "a smaller input, or time_limit=None for no limit."
        ) from None
    if record.stopped and until is None:
        _warn(
            f"{type(model).__name__} could not be followed to its end: "
            f"{record.stopped.rstrip('.')}. The graph holds what ran before, with the last maps as "
            "outputs. Pass until= with the path of a module to choose the end, or partial=False to "
            "make this an error."
        )
    return record


def _checked(time_limit: Any) -> float:
    number = isinstance(time_limit, int | float) and not isinstance(time_limit, bool)
    if not number or not time_limit > 0:
        raise UnsupportedModelError(
            f"time_limit is {time_limit!r}; it must be a positive number of seconds, or None."
        )
    return float(time_limit)


def _check_path(model: nn.Module, until: str | None) -> None:
    if until is None:
        return
    paths = [path for path, _ in model.named_modules(remove_duplicate=False)]
    if until and until in paths:
        return
    near = difflib.get_close_matches(until, paths, n=3) or [one for one in paths if one][:5]
    name = type(model).__name__
    if not near:
        raise UnsupportedModelError(
            f"until is {until!r}, but {name} holds no modules; leave it out."
        )
    raise UnsupportedModelError(
        f"until is {until!r}; it must be the path of a module of {name}, such as "
        f"{', '.join(map(repr, near))}."
    )


def _record_usual(model: nn.Module, capture: CaptureMode, ending: Ending) -> Record:
    """Record with the first usual input that a model takes."""
    failures: list[CaptureError] = []
    for shape in usual_examples(model):
        try:
            record = _record(model, example_of(shape, model), capture, ending)
        except DataDependentControlFlowError:
            raise
        except CaptureError as error:
            failures.append(error)
            continue
        if shape != DEFAULT_INPUT:
            _warn(
                f"{type(model).__name__} does not take the default input {DEFAULT_INPUT}; it was "
                f"encoded with {shape}. Pass input_res to choose."
            )
        return record
    raise failures[0]


def _record(model: nn.Module, example: Example, capture: CaptureMode, ending: Ending) -> Record:
    """Capture in the way that was asked for; in auto on meta tensors, else by the tracer."""
    if capture == "jit":
        return _captured(model, example, trace.capture, ending)
    try:
        return _captured(model, example, meta.capture, ending)
    except DataDependentControlFlowError:
        raise
    except CaptureError as on_meta:
        if capture == "meta" or any(one.is_meta for one in (*example.tensors, *model.parameters())):
            raise
        try:
            record = _captured(model, example, trace.capture, ending)
        except CaptureError as with_real_tensors:
            begun = _begun(model, example, ending) if ending.excused else None
            if begun is None:
                raise on_meta from with_real_tensors
            return begun
        _warn(
            f"{type(model).__name__} does not run on meta tensors ({on_meta}); it was traced with "
            "real ones instead, which takes longer and more memory."
        )
        return record


def _captured(model: nn.Module, example: Example, capture: Capture, ending: Ending) -> Record:
    """Capture in the model's own mode; where that cannot run with one sample, in eval mode."""
    try:
        return _sized(model, example, capture, ending)
    except DataDependentControlFlowError as error:
        raise DataDependentControlFlowError(
            f"The path through {type(model).__name__} depends on data: {error}. Its layers differ "
            "from input to input, so no single graph describes them. Take that decision out of "
            "forward(), or pass capture='jit' to follow the path of one example input."
        ) from None
    except RFAError:
        raise
    except Exception as error:
        if not any(module.training for module in model.modules()):
            raise CaptureError(_explained(model, example, error)) from error
        with _eval_mode(model):
            record = _captured(model, example, capture, ending)
        _warn(
            f"{type(model).__name__} is in train mode and cannot run with this input "
            f"({first_line(error)}); it was encoded in eval mode."
        )
        return record


def _sized(model: nn.Module, example: Example, capture: Capture, ending: Ending) -> Record:
    """Capture, and say of operations whether they depend on the size of the input.

    That takes a second input of another size, which is spared where a model never asks for one. A
    trace does not tell: it has forgotten sizes that Python made numbers of.
    """
    record = capture(model, example, ending)
    if not record.sized and capture is not trace.capture and not cuts_maps(record):
        return compared(record, None)
    places = iter(spatial_dimensions(record))

    def larger(tensor: torch.Tensor) -> torch.Tensor:
        shape = list(tensor.shape)
        for place in next(places):
            if place is not None:
                shape[place] += MORE
        return tensor.new_ones(shape)

    try:
        other = capture(model, example.map(larger), ending)
    except Exception:  # noqa: BLE001 - a model may take inputs of one size only
        return compared(record, None)
    return compared(record, other)


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _begun(model: nn.Module, example: Example, ending: Ending) -> Record | None:
    """Return what a model does until a capture fails, where the model itself would go on."""
    excused = attrs.evolve(ending, excused=(Exception,))
    try:
        with _eval_mode(model):
            trace.run(model, example)
            return _sized(model, example, meta.capture, excused)
    except Exception:  # noqa: BLE001 - the error of the capture is the one to report
        return None


def _explained(model: nn.Module, example: Example, error: Exception) -> str:
    """Say which layer failed on what, and what it expects."""
    shapes = ", ".join(str(tuple(one.shape)) for one in example.tensors) or "no tensor"
    text = f"{type(model).__name__} does not run on an input of shape {shapes}"
    failure = getattr(error, "rfa_failure", None)
    if isinstance(failure, Failure) and failure.scope:
        call = failure.scope[-1]
        where = f"'{call.path}' ({call.class_name})" if call.path else call.class_name
        text += f": {where} failed"
        if failure.shapes:
            text += f" on a tensor of shape {failure.shapes[0]}"
        expected = _expected(model, call.path)
        if expected:
            text += f"; it expects {expected}"
    text += f". PyTorch says: {first_line(error)}"
    if len(example.arguments) == 1 and isinstance(example.arguments[0], tuple | list):
        return f"{text} It takes one argument, and got all inputs in it, as a list."
    if isinstance(failure, Failure) and failure.operator == "embedding":
        text += " It looks up whole numbers: pass an example tensor, such as "
        text += (
            "input_res=torch.zeros(1, 16, dtype=torch.long); --input-shape 1x16:int64 in a shell."
        )
    elif "on meta tensors" in str(error) and any(
        one.is_meta for one in twins.held_by(model.modules())
    ):
        text += (
            f" {type(model).__name__} was made on the meta device, where the numbers that it holds "
            "have no value: make it on the CPU."
        )
    elif isinstance(error, RuntimeError | ValueError | IndexError):
        wanted = _wanted_shape(model, example, failure)
        text += (
            f" Pass input_res={wanted}."
            if wanted
            else (" Pass the shape (batch, channels, height, width) that the model expects.")
        )
        if not wanted and [tuple(one.shape[:-2]) for one in example.tensors] == [(3,)]:
            text += f" A list of one image is input_res=[[{shapes}]]."
    return text


def _wanted_shape(model: nn.Module, example: Example, failure: Any) -> tuple[int, ...] | None:
    """Return the shape that the first layer takes, where it was the input that it refused."""
    if not isinstance(failure, Failure) or not failure.scope or len(example.tensors) != 1:
        return None
    layer = dict(model.named_modules(remove_duplicate=False)).get(failure.scope[-1].path)
    channels, kernel = getattr(layer, "in_channels", None), getattr(layer, "kernel_size", None)
    shape = tuple(example.tensors[0].shape)
    if not isinstance(channels, int) or not isinstance(kernel, tuple):
        return None
    if failure.shapes[:1] != (shape,) or not shape:
        return None
    sizes = (*shape[2:], *(shape[-1:] * len(kernel)))[: len(kernel)]
    return (shape[0], channels, *sizes)


def _expected(model: nn.Module, path: str) -> str:
    module = dict(model.named_modules(remove_duplicate=False)).get(path)
    for name, what in (
        ("in_channels", "channels"),
        ("num_features", "channels"),
        ("num_channels", "channels"),
        ("in_features", "features"),
    ):
        count = getattr(module, name, None)
        if isinstance(count, int):
            return f"{count} {what}"
    return ""


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=_outside())


def _outside() -> int:
    """Return the stack level of the caller of this package, for warnings."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        "rfa_toolbox"
    ):
        frame = frame.f_back
        level += 1
    return level
