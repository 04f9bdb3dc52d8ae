"""Doors to the encoders that need a framework, importing it when they are called.

Nothing in this module imports a framework at module level, so that ``import rfa_toolbox`` works
where none is installed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rfa_toolbox.domain import DEFAULT_INPUT
from rfa_toolbox.errors import MissingFrameworkError

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from rfa_toolbox.encodings.pytorch.layer_handlers import LayerCall
    from rfa_toolbox.graphs import EnrichedNetworkNode, InfoFilter
    from rfa_toolbox.operators.chain import HandlerChain

__all__ = ["create_graph_from_onnx", "create_graph_from_pytorch_model"]


def create_graph_from_pytorch_model(
    model: torch.nn.Module | torch.export.ExportedProgram | str | Path,
    filter_rf: Literal["inf"] | InfoFilter | None = None,
    input_res: Any = DEFAULT_INPUT,
    custom_layers: Collection[str | type[torch.nn.Module]] | None = None,
    display_se_modules: bool = False,
    capture: Literal["auto", "meta", "jit"] = "auto",
    *,
    global_ops: Literal["ignore_gates", "count", "ignore"] = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
    input_kwargs: Mapping[str, Any] | None = None,
    until: str | None = None,
    partial: bool = True,
    time_limit: float | None = 300.0,
) -> EnrichedNetworkNode:
    """Read a PyTorch model and return the graph of its layers, with their receptive fields.

    The model is not changed: mode, device, weights, buffers, hooks and the state of the random
    number generators are the same afterwards.

    Args:
        model: the model; on any device, of any dtype, in train or eval mode. Or what
            ``torch.export.export`` returned, which brings the sizes of its input, or the path of
            a ``.pt2`` file with it, of which only the JSON is read: nothing in it is executed.
        filter_rf: which paths through the network to keep: None keeps all, ``"inf"`` leaves out
            those with an infinite receptive field, a function gets a tuple of
            ``ReceptiveFieldInfo`` and returns those to keep.
        input_res: shape of the input, (batch, channels, height, width), or a tuple of shapes or
            of example tensors for a model with several inputs, or a mapping from the names of
            its arguments to these. An input may be a list, a dict or a data class of tensors;
            None, numbers and texts stand for themselves. A model whose first argument is
            annotated as a list takes one as it is: ``[(3, 320, 320)]``. By default usual shapes
            are tried.
        custom_layers: module classes, or their names, to show as one node each.
        display_se_modules: show the inside of squeeze-and-excitation modules.
        capture: how to see the operations of the model. ``"meta"`` runs it without memory or
            arithmetic, ``"jit"`` traces it with real tensors, ``"auto"`` takes the first that
            works.
        global_ops: how to look at operations that see the whole image: ``"ignore_gates"`` counts
            them, unless their result only re-weights or normalises the map that it came from;
            ``"count"`` counts all of them, ``"ignore"`` none.
        handlers: a chain of handlers to describe modules with, in place of the default one.
        input_kwargs: further arguments by name, each like one of several in ``input_res``.
        until: path of a module, such as "backbone"; the graph ends with what it returns first.
        partial: where values of the input decide how the model goes on, as behind the proposals
            of a detector, keep what ran before, with a warning; False makes that an error.
        time_limit: seconds that running the model may take; None for no limit.

    Returns:
        The node of the model's first output. All the other nodes are in its ``all_layers``.

    Raises:
        MissingFrameworkError: an ImportError, if PyTorch is not installed.
        UnsupportedModelError: a ValueError, if ``model`` is nothing that can be read.
        CaptureError: a ValueError, if the model cannot be run with this input.

    >>> import torch
    >>> graph = create_graph_from_pytorch_model(torch.nn.Conv2d(3, 8, 5))
    >>> graph.receptive_field_max
    (5, 5)
    """
    require("torch", extra="torch")
    from rfa_toolbox.encodings.pytorch.ingest_architecture import create_graph_from_model

    return create_graph_from_model(
        model,
        filter_rf=filter_rf,
        input_res=input_res,
        custom_layers=custom_layers,
        display_se_modules=display_se_modules,
        capture=capture,
        global_ops=global_ops,
        handlers=handlers,
        input_kwargs=input_kwargs,
        until=until,
        partial=partial,
        time_limit=time_limit,
    )


def create_graph_from_onnx(
    model: Any,
    input_shape: Any = None,
    filter_rf: Literal["inf"] | InfoFilter | None = None,
    *,
    global_ops: Literal["ignore_gates", "count", "ignore"] = "ignore_gates",
    handlers: HandlerChain[LayerCall] | None = None,
) -> EnrichedNetworkNode:
    """Read an ONNX model and return the graph of its layers, with their receptive fields.

    Nothing is run, and no weights are loaded: names, shapes and sizes are enough. Layers are named
    by the modules that the file tells of, else by its nodes.

    Args:
        model: the path of a file, or an ``onnx.ModelProto``; any opset from 9 on.
        input_shape: shape of the input with batch and channels, or a sequence of shapes, or a
            mapping from names to shapes; None takes those of the file. Sizes that it leaves open
            are 1 for the batch, and 224 else.
        filter_rf: which paths through the network to keep, as for PyTorch models.
        global_ops: how to look at operations that see the whole image, as for PyTorch models.
        handlers: a chain of handlers to describe nodes with, in place of the default one.

    Returns:
        The node of the model's first output. All the other nodes are in its ``all_layers``.

    Raises:
        MissingFrameworkError: an ImportError, if the package ``onnx`` is not installed.
        UnsupportedModelError: a ValueError, if ``model`` is no ONNX model.
        InvalidResolutionError: a ValueError, if a size is open and has to be named.
    """
    require("onnx", extra="onnx")
    from rfa_toolbox.encodings.onnx.ingest import create_graph_from_model
    from rfa_toolbox.operators.nodes import RESOLVING_STRATEGY

    chain = RESOLVING_STRATEGY if handlers is None else handlers
    return create_graph_from_model(
        model, input_shape, filter_rf, global_ops=global_ops, handlers=chain
    )


def require(framework: str, extra: str) -> None:
    """Make sure that a framework is installed; one that is there but broken speaks for itself.

    Args:
        framework: name of the module to import.
        extra: name of the extra of this package that installs it.

    Raises:
        MissingFrameworkError: if there is no such module.
    """
    try:
        __import__(framework)
    except ModuleNotFoundError as error:
        if error.name != framework:
            raise
        raise MissingFrameworkError(
            f"This function needs {framework}, which is not installed; install {framework}: "
            f"pip install 'rfa_toolbox[{extra}]'",
            name=framework,
        ) from error
