"""From a PyTorch model to the graph of its layers."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from rfa_toolbox.encodings.pytorch import meta, trace, utils
from rfa_toolbox.encodings.pytorch.capture import Example, Failure, name_of_class
from rfa_toolbox.encodings.pytorch.inputs import DEFAULT_INPUT, example_of, usual_examples
from rfa_toolbox.encodings.pytorch.intermediate_graph import Digraph, GlobalOps
from rfa_toolbox.encodings.pytorch.layer_handlers import LayerCall
from rfa_toolbox.encodings.pytorch.sizes import MORE, compared
from rfa_toolbox.errors import (
    CaptureError,
    DataDependentControlFlowError,
    RFAError,
    UnsupportedModelError,
)
from rfa_toolbox.graphs import EnrichedNetworkNode, InfoFilter, noop_filter, resolve_filter
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.record import Record
from rfa_toolbox.operators.rules import spatial_dimensions

__all__ = ["CaptureMode", "create_graph_from_model", "make_graph", "record_model", "unwrapped"]

CaptureMode = Literal["auto", "meta", "jit"]
_CAPTURES: tuple[CaptureMode, ...] = ("auto", "meta", "jit")
_GLOBAL_OPS: tuple[GlobalOps, ...] = ("ignore_gates", "count", "ignore")


def create_graph_from_model(
    model: nn.Module,
    filter_rf: Literal["inf"] | InfoFilter | None = None,
    input_res: Any = DEFAULT_INPUT,
    custom_layers: Collection[str | type[nn.Module]] | None = None,
    display_se_modules: bool = False,
    capture: CaptureMode = "auto",
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
    input_kwargs: Mapping[str, Any] | None = None,
) -> EnrichedNetworkNode:
    """Read a PyTorch model and return the graph of its layers, with their receptive fields.

    This is ``rfa_toolbox.create_graph_from_pytorch_model``, which describes the arguments.

    >>> create_graph_from_model(nn.Conv2d(3, 8, 5)).receptive_field_max
    (5, 5)
    """
    _check_choice("capture", capture, _CAPTURES)
    _check_choice("global_ops", global_ops, _GLOBAL_OPS)
    if isinstance(custom_layers, str):
        raise UnsupportedModelError(
            f"custom_layers is {custom_layers!r}; it must be a list of class names, such as "
            f"[{custom_layers!r}]."
        )
    if handlers is not None and not isinstance(handlers, HandlerChain):
        raise UnsupportedModelError(
            f"handlers is {handlers!r}; it must be a HandlerChain, such as "
            "RESOLVING_STRATEGY.with_handler(my_handler)."
        )
    keep = resolve_filter(filter_rf)
    model = unwrapped(model)
    opaque = _custom_layers(model, custom_layers or ())
    record = record_model(model, input_res, capture, input_kwargs)
    return Digraph(
        model,
        record,
        filter_rf=keep,
        handlers=utils.current_chain() if handlers is None else handlers,
        custom_layers=opaque,
        display_se_modules=display_se_modules,
        global_ops=global_ops,
    ).to_graph()


def make_graph(
    traced: Any,
    ref_mod: nn.Module | None = None,
    classes_to_visit: Iterable[str] | None = None,
    classes_to_not_visit: Iterable[str] | None = None,
    filter_rf: InfoFilter = noop_filter,
    display_se_modules: bool = False,
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> Digraph:
    """Return the model behind a user's own ``torch.jit.trace``, on its way to a graph.

    Args:
        traced: what ``torch.jit.trace`` returned.
        ref_mod: the module that was traced; names layers and serves handlers.
        classes_to_visit: names of module classes to open even if ``classes_to_not_visit`` has
            them.
        classes_to_not_visit: names of module classes to show as one node each.
        filter_rf: which paths the nodes keep.
        display_se_modules: show the insides of squeeze-and-excitation modules.
        global_ops: which global operations count.
        handlers: a chain of handlers in place of the default one.

    Raises:
        UnsupportedModelError: if ``traced`` is no trace.
    """
    if not isinstance(traced, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            f"make_graph was given {type(traced).__name__}; it reads what torch.jit.trace "
            "returned. For a module itself call create_graph_from_pytorch_model(model)."
        )
    closed = set(classes_to_not_visit or ()) - set(classes_to_visit or ())
    return Digraph(
        ref_mod,
        compared(trace.read_traced(traced, ref_mod), None),
        filter_rf=filter_rf,
        handlers=utils.current_chain() if handlers is None else handlers,
        custom_layers=tuple(sorted(closed)),
        display_se_modules=display_se_modules,
        global_ops=global_ops,
    )


def _custom_layers(model: nn.Module, given: Iterable[str | type[nn.Module]]) -> tuple[str, ...]:
    """Return the names of module classes that a model must have to be shown as one node each."""
    names = tuple(one.__name__ if isinstance(one, type) else one for one in given)
    known = {name_of_class(module) for module in model.modules()}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), sorted(known), 3, 0.5) or sorted(known)[:10]
            raise UnsupportedModelError(
                f"custom_layers names {name!r}, but no module of the {type(model).__name__} is of "
                f"that class; it has {', '.join(map(repr, near))}."
            )
    return names


def _check_choice(name: str, value: Any, valid: Iterable[str]) -> None:
    if value not in tuple(valid):
        raise UnsupportedModelError(
            f"{name} is {value!r}; valid are {', '.join(map(repr, valid))}."
        )


def unwrapped(model: Any) -> nn.Module:
    """Return the module inside wrappers that only run it elsewhere or faster."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        else:
            break
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise UnsupportedModelError(
            f"The model is a {type(model).__name__}, which no longer says what its layers are; "
            "pass the module that it was made from. The result of torch.jit.trace can be read "
            "with rfa_toolbox.encodings.pytorch.ingest_architecture.make_graph(traced, model)."
        )
    if any(
        base.__module__.partition(".")[0] in ("keras", "tf_keras") for base in type(model).__mro__
    ):
        raise UnsupportedModelError(
            f"The model is a {type(model).__name__} of Keras; read it with "
            "create_graph_from_tensorflow_model(model)."
        )
    if not isinstance(model, nn.Module):
        hint = " Call the class to make an instance." if isinstance(model, type) else ""
        raise UnsupportedModelError(
            f"The model is {model!r}, a {type(model).__name__}; expected is a torch.nn.Module."
            f"{hint}"
        )
    lazy = next(
        (
            name
            for name, parameter in (*model.named_parameters(), *model.named_buffers())
            if nn.parameter.is_lazy(parameter)
        ),
        None,
    )
    if lazy is not None:
        raise UnsupportedModelError(
            f"The parameter {lazy!r} of the model is lazy: its shape is not known yet. Run the "
            "model once, as in model(torch.zeros(1, 3, 224, 224)), and encode it then."
        )
    return model


# --- running the model once ------------------------------------------------------------------


def record_model(
    model: nn.Module,
    input_res: Any = DEFAULT_INPUT,
    capture: CaptureMode = "auto",
    input_kwargs: Mapping[str, Any] | None = None,
) -> Record:
    """Run a model once and return the plain record of what it did.

    Where the user named no input, sizes that the model names and the usual ones are tried after
    the default, and a warning says which was taken.

    Raises:
        CaptureError: if the model cannot be run; it says where and with what it failed.
    """
    if input_res is not DEFAULT_INPUT or input_kwargs:
        return _record(model, example_of(input_res, model, input_kwargs), capture)
    failures: list[CaptureError] = []
    for shape in usual_examples(model):
        try:
            record = _record(model, example_of(shape, model), capture)
        except DataDependentControlFlowError:
            raise
        except CaptureError as error:
            failures.append(error)
            continue
        if shape != DEFAULT_INPUT:
            warnings.warn(
                f"{type(model).__name__} does not take the default input {DEFAULT_INPUT}; it was "
                f"encoded with {shape}. Pass input_res to choose.",
                UserWarning,
                stacklevel=_outside(),
            )
        return record
    raise failures[0]


def _record(model: nn.Module, example: Example, capture: CaptureMode) -> Record:
    """Capture in the way that was asked for; in auto on meta tensors, else by the tracer."""
    if capture == "jit" or any(one.device.type == "meta" for one in example.tensors):
        wanted = meta.capture if capture != "jit" else trace.capture
        return _captured(model, example, wanted)
    try:
        return _captured(model, example, meta.capture)
    except DataDependentControlFlowError:
        raise
    except CaptureError as on_meta:
        if capture == "meta" or _is_on_meta(model):
            raise
        try:
            record = _captured(model, example, trace.capture)
        except CaptureError as with_real_tensors:
            raise on_meta from with_real_tensors
        warnings.warn(
            f"{type(model).__name__} does not run on meta tensors ({on_meta}); it was traced with "
            "real ones instead, which takes longer and more memory.",
            UserWarning,
            stacklevel=_outside(),
        )
        return record


def _captured(
    model: nn.Module, example: Example, capture: Callable[[nn.Module, Example], Record]
) -> Record:
    """Capture in the model's own mode; where that cannot run with one sample, in eval mode."""
    try:
        return _sized(model, example, capture)
    except DataDependentControlFlowError as error:
        raise DataDependentControlFlowError(
            f"The path through {type(model).__name__} depends on data: {error}. Its layers differ "
            "from input to input, so no single graph describes them. Take that decision out of "
            "forward(), or pass capture='jit' to follow the path of one example input."
        ) from None
    except RFAError:
        raise
    except Exception as error:
        record = _captured_in_eval_mode(model, example, capture)
        if record is None:
            raise CaptureError(_explained(model, example, error)) from error
        warnings.warn(
            f"{type(model).__name__} is in train mode and cannot run with this input ({error}); "
            "it was encoded in eval mode.",
            UserWarning,
            stacklevel=_outside(),
        )
        return record


def _sized(
    model: nn.Module, example: Example, capture: Callable[[nn.Module, Example], Record]
) -> Record:
    """Capture, and say of operations whether they depend on the size of the input.

    That takes a second input of another size, which is spared where a model never asks for one. A
    trace does not tell: it has forgotten sizes that Python made numbers of.
    """
    record = capture(model, example)
    if not record.sized and capture is not trace.capture:
        return compared(record, None)
    places = iter(spatial_dimensions(record))

    def larger(tensor: torch.Tensor) -> torch.Tensor:
        shape = list(tensor.shape)
        for place in next(places):
            shape[place] += MORE
        return tensor.new_ones(shape)

    try:
        other = capture(model, example.map(larger))
    except Exception:  # noqa: BLE001 - a model may take inputs of one size only
        return compared(record, None)
    return compared(record, other)


def _captured_in_eval_mode(
    model: nn.Module, example: Example, capture: Callable[[nn.Module, Example], Record]
) -> Record | None:
    """Return what a model in train mode does in eval mode, or None if it does not run there."""
    modes = {module: module.training for module in model.modules()}
    if not any(modes.values()):
        return None
    try:
        model.eval()
        return _sized(model, example, capture)
    except Exception:  # noqa: BLE001 - the error in the model's own mode is the one to report
        return None
    finally:
        for module, training in modes.items():
            module.training = training


def _is_on_meta(model: nn.Module) -> bool:
    return any(one.is_meta for one in (*model.parameters(), *model.buffers()))


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
    text += f". PyTorch says: {_first_line(error)}"
    if isinstance(failure, Failure) and failure.operator == "embedding":
        text += " It looks up whole numbers: pass an example tensor, such as "
        text += "input_res=torch.zeros(1, 16, dtype=torch.long)."
    elif isinstance(error, RuntimeError | ValueError | IndexError):
        text += " Pass the shape (batch, channels, height, width) that the model expects."
    return text


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return line if line.endswith(".") else f"{line}."


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
