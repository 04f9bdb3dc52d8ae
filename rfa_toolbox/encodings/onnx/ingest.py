"""From an ONNX file to the graph of its layers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
from google.protobuf.message import DecodeError

from rfa_toolbox.encodings.complaints import check_chain, shortened
from rfa_toolbox.encodings.onnx.lowering import Lowering
from rfa_toolbox.encodings.onnx.program import Program
from rfa_toolbox.errors import InvalidResolutionError, UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode, InfoFilter, resolve_filter
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.handlers import LayerCall
from rfa_toolbox.operators.nodes import RESOLVING_STRATEGY, Digraph, GlobalOps

__all__ = ["create_graph_from_model", "input_sizes", "loaded"]

_STAND_IN = 224
"""Pixels for a size that a model leaves open."""


def create_graph_from_model(
    model: Any,
    input_shape: Any = None,
    filter_rf: Literal["inf"] | InfoFilter | None = None,
    *,
    global_ops: GlobalOps = "ignore_gates",
    handlers: HandlerChain[LayerCall] = RESOLVING_STRATEGY,
) -> EnrichedNetworkNode:
    """Read an ONNX model and return the graph of its layers.

    This is ``rfa_toolbox.create_graph_from_onnx``, which describes the arguments.
    """
    keep = resolve_filter(filter_rf)
    check_chain(handlers, "RESOLVING_STRATEGY")
    proto = loaded(model)
    sizes, left_open = input_sizes(proto, input_shape)
    lowering = Lowering(Program(proto, sizes, handlers), left_open)
    record = lowering.record()
    if record.stopped:
        warnings.warn(
            f"The model could not be followed to its end: {record.stopped} The graph holds what "
            "comes before, with the last maps as outputs.",
            UserWarning,
            stacklevel=3,
        )
    return Digraph(
        None, record, filter_rf=keep, handlers=handlers, global_ops=global_ops
    ).to_graph()


def loaded(model: Any, weights: bool = False) -> onnx.ModelProto:
    """Return the model of a file, or one that is given; its external data only for ``weights``.

    Raises:
        UnsupportedModelError: if it is no ONNX model, or its external data is not there.
    """
    if isinstance(model, onnx.ModelProto):
        _check_texts(model, "The model")
        return model
    if not isinstance(model, str | Path):
        raise UnsupportedModelError(
            f"The model is {model!r}, a {type(model).__name__}; expected is an onnx.ModelProto or "
            "the path of a file."
        )
    try:
        loaded = onnx.load(model, load_external_data=weights)
    except DecodeError as error:
        raise UnsupportedModelError(f"{str(model)!r} is no ONNX file: {error}.") from error
    except onnx.checker.ValidationError as error:
        raise UnsupportedModelError(
            f"{str(model)!r} has weights in another file, which cannot be read "
            f"({str(error).rstrip('.')}). An experiment needs them: put that file beside the model."
        ) from error
    if not loaded.graph.node:
        raise UnsupportedModelError(f"{str(model)!r} is no ONNX file, or holds no operator.")
    _check_texts(loaded, repr(str(model)))
    return loaded


def _check_texts(model: onnx.ModelProto, what: str) -> None:
    """Refuse a model whose names are no text, which the library hands on as bytes."""
    graph = model.graph
    try:
        texts = [graph.name, *(one.name for one in (*graph.input, *graph.output))]
        texts += [one.name for one in graph.initializer]
        texts += [one.domain for one in model.opset_import]
        for node in graph.node:
            texts += [node.op_type, node.domain, node.name, *node.input, *node.output]
            texts += [one.name for one in node.attribute]
    except UnicodeDecodeError as error:
        raise UnsupportedModelError(f"{what} has a name that is no text: {error}.") from error
    wrong = next((one for one in texts if not isinstance(one, str)), None)
    if wrong is not None:
        raise UnsupportedModelError(f"{what} has the name {shortened(str(wrong), 200)}, no text.")


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    held = {one.name for one in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in held]


def _given(model: onnx.ModelProto, shape: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes that a user named, by name of the input."""
    names = [one.name for one in _inputs(model)]
    if shape is None:
        return {}
    several = [shape] if _is_shape(shape) else shape
    if isinstance(several, Mapping):
        unknown = [name for name in several if name not in names]
        if not unknown and all(map(_is_shape, several.values())):
            return {name: tuple(one) for name, one in several.items()}
    elif _is_several(several) and len(several) <= len(names):
        return {name: tuple(one) for name, one in zip(names, several, strict=False)}
    raise InvalidResolutionError(
        f"input_shape is {shape!r}; it must be the shape of the input, such as (1, 3, 224, 224), a "
        f"sequence of shapes, or a mapping from names to shapes. The inputs are {names!r}."
    )


def _is_several(value: Any) -> bool:
    return isinstance(value, Sequence) and all(map(_is_shape, value))


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(type(one) is int and one > 0 for one in value)
    )


def input_sizes(
    model: onnx.ModelProto, input_shape: Any
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shape of every input, and which dimensions have a stand-in for an open size.

    Raises:
        InvalidResolutionError: if the shapes that a user named do not fit, or some are missing.
    """
    given = _given(model, input_shape)
    sizes: dict[str, tuple[int, ...]] = {}
    left_open: dict[str, tuple[int, ...]] = {}
    for value in _inputs(model):
        if value.name in given:
            sizes[value.name] = given[value.name]
            continue
        dims = value.type.tensor_type.shape.dim
        shape = [one.dim_value if one.HasField("dim_value") else 0 for one in dims]
        missing = [place for place, one in enumerate(shape) if one < 1]
        if any(place for place in missing) and len(shape) < 3:
            raise InvalidResolutionError(
                f"The input {value.name!r} leaves sizes open: "
                f"{[one.dim_param or one.dim_value or '?' for one in dims]}. Pass its shape, as "
                f"in input_shape={{{value.name!r}: (1, 128)}}."
            )
        for place in missing:
            shape[place] = _STAND_IN if place else 1
        sizes[value.name] = tuple(shape)
        left_open[value.name] = tuple(place for place in missing if place)
    return sizes, left_open
