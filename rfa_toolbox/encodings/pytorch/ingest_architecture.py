"""From a PyTorch model to the graph of its layers."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from rfa_toolbox.domain import DEFAULT_INPUT
from rfa_toolbox.encodings.complaints import check_chain
from rfa_toolbox.encodings.pytorch import trace, utils
from rfa_toolbox.encodings.pytorch.archive import is_path, open_archive
from rfa_toolbox.encodings.pytorch.capture import name_of_class, paths_of
from rfa_toolbox.encodings.pytorch.intermediate_graph import Digraph, GlobalOps
from rfa_toolbox.encodings.pytorch.layer_handlers import LayerCall
from rfa_toolbox.encodings.pytorch.recording import CaptureMode, record_model
from rfa_toolbox.encodings.pytorch.sizes import compared
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode, InfoFilter, noop_filter, resolve_filter
from rfa_toolbox.operators.chain import HandlerChain

__all__ = ["CaptureMode", "create_graph_from_model", "make_graph", "unwrapped"]

_CAPTURES: tuple[CaptureMode, ...] = ("auto", "meta", "jit")
_GLOBAL_OPS: tuple[GlobalOps, ...] = ("ignore_gates", "count", "ignore")


def create_graph_from_model(
    model: Any,
    filter_rf: Literal["inf"] | InfoFilter | None = None,
    input_res: Any = DEFAULT_INPUT,
    custom_layers: Collection[str | type[nn.Module]] | None = None,
    display_se_modules: bool = False,
    capture: CaptureMode = "auto",
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
    input_kwargs: Mapping[str, Any] | None = None,
    until: str | None = None,
    partial: bool = True,
    time_limit: float | None = 300.0,
) -> EnrichedNetworkNode:
    """Read a PyTorch model and return the graph of its layers, with their receptive fields.

    This is ``rfa_toolbox.create_graph_from_pytorch_model``, which describes the arguments.

    >>> create_graph_from_model(nn.Conv2d(3, 8, 5)).receptive_field_max
    (5, 5)
    """
    _check_options(capture, global_ops, custom_layers, handlers)
    keep = resolve_filter(filter_rf)
    program = _exported(model)
    if program is None:
        model = unwrapped(model)
        opaque = _custom_layers(model, custom_layers or ())
        record = record_model(
            model,
            input_res,
            capture,
            input_kwargs=input_kwargs,
            until=until,
            partial=partial,
            time_limit=time_limit,
        )
    else:
        if input_res is not DEFAULT_INPUT or input_kwargs or until:
            raise UnsupportedModelError(
                "An exported program has the inputs that it was exported with, and ends where it "
                "ends; leave input_res, input_kwargs and until out, or pass the module itself."
            )
        from rfa_toolbox.encodings.pytorch.exported import read_exported

        model, record = None, compared(read_exported(program), None)
        opaque = tuple(map(_class_name, custom_layers or ()))
    return Digraph(
        model,
        record,
        filter_rf=keep,
        handlers=utils.current_chain() if handlers is None else handlers,
        custom_layers=opaque,
        display_se_modules=display_se_modules,
        global_ops=global_ops,
    ).to_graph()


def _check_options(capture: Any, global_ops: Any, custom_layers: Any, handlers: Any) -> None:
    _check_choice("capture", capture, _CAPTURES)
    _check_choice("global_ops", global_ops, _GLOBAL_OPS)
    if isinstance(custom_layers, str):
        raise UnsupportedModelError(
            f"custom_layers is {custom_layers!r}; it must be a list of class names, such as "
            f"[{custom_layers!r}]."
        )
    if handlers is not None:
        check_chain(handlers, "RESOLVING_STRATEGY")


def _class_name(given: str | type[nn.Module]) -> str:
    return given.__name__ if isinstance(given, type) else given


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
    names = tuple(map(_class_name, given))
    known = {name_of_class(module) for module in model.modules()} if names else set()
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), sorted(known), 3, 0.5) or sorted(known)[:10]
            raise UnsupportedModelError(
                f"custom_layers names {name!r}, but no module of the {type(model).__name__} is of "
                f"that class; it has {', '.join(map(repr, near))}."
            )
    return names


def _exported(model: Any) -> Any:
    """Return an exported program, or None; ``torch.export`` takes a second to import."""
    if is_path(model):
        return open_archive(model)
    loaded = sys.modules.get("torch.export")
    return model if loaded is not None and isinstance(model, loaded.ExportedProgram) else None


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
            f"{path}.{name}" if path else name
            for module, (path, *_) in paths_of(model).items()
            for held in (module._parameters, module._buffers)
            for name, tensor in held.items()
            if tensor is not None and nn.parameter.is_lazy(tensor)
        ),
        None,
    )
    if lazy is not None:
        raise UnsupportedModelError(
            f"The parameter {lazy!r} of the model is lazy: its shape is not known yet. Run the "
            "model once, as in model(torch.zeros(1, 3, 224, 224)), and encode it then."
        )
    return model
