"""From a candidate to its row: read it, judge it at every resolution, or say why that failed."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from rfa_toolbox.analysis.keys import graph_key
from rfa_toolbox.analysis.profile import ProfilePoint, resolution_profile
from rfa_toolbox.analysis.ranges import ranges_of_both_kinds
from rfa_toolbox.analysis.states import filters_non_convolutional_node
from rfa_toolbox.errors import ScreeningError
from rfa_toolbox.frameworks import create_graph_from_onnx, create_graph_from_pytorch_model
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.screening.candidates import Job, is_stored_graph, is_stored_spec, unpacked
from rfa_toolbox.screening.evaluation import SpecJudge
from rfa_toolbox.screening.rows import AtResolution, ScreeningRow
from rfa_toolbox.screening.specs import GraphSpec

__all__ = ["Question", "error_row", "judge_graph", "row_of"]

BuiltOn = Literal["meta", "cpu", ""]

_LONGEST_MESSAGE = 300
_CERTAINTIES = ("exact", "bound", "unknown")

# What model libraries call the arguments that make them download weights.
_NO_WEIGHTS: Mapping[str, Any] = {
    "weights": None,
    "weights_backbone": None,
    "pretrained": False,
    "pretrained_backbone": False,
}


@attrs.frozen(slots=True)
class Question:
    """What is asked of every candidate of a screening.

    Attributes:
        resolutions: in pixels, (height, width) each.
        input_shape: shape of the input of PyTorch models; None is one image with three channels
            at the first resolution.
        graph_keys: whether rows have the key of their graph.
    """

    resolutions: tuple[tuple[int, ...], ...]
    input_shape: tuple[int, ...] | None = None
    graph_keys: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the input of PyTorch models, with batch and channels."""
        return self.input_shape or (1, 3, *self.resolutions[0])

    def to_json(self) -> str:
        """Return the question as text, to compare it with that of a store."""
        return json.dumps(attrs.asdict(self), sort_keys=True)


def row_of(job: Job, question: Question) -> ScreeningRow:
    """Return the row of a candidate, in this process; whatever it raises is an error in the row.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> row = row_of(Job("vgg16", "graph", vgg16()), Question(((32, 32),)))
    >>> row.r_min, row["unproductive"]
    (212, 10)
    """
    start = time.perf_counter()
    try:
        found, built_on = _read(job, question)
        if isinstance(found, GraphSpec):
            row = _judge_of(question).judge(found)
            own = (
                graph_key(found.to_graph(question.resolutions[0])) if question.graph_keys else None
            )
        else:
            row = judge_graph(found, question)
            own = row.graph_key
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a candidate may raise what it likes
        _forget_frames(error)
        return error_row(job.key, type(error).__name__, _said(error), time.perf_counter() - start)
    return ScreeningRow(  # attrs.evolve takes as long as the judgement of a part of a spec
        job.key,
        row.r_min,
        row.r_min_layers,
        row.r_max,
        row.at,
        row.parameters,
        row.certainty,
        row.good_from,
        own,
        seconds=time.perf_counter() - start,
        built_on=built_on,
    )


def error_row(key: str, kind: str, message: str, seconds: float = 0.0) -> ScreeningRow:
    """Return the row of a candidate that could not be judged, with the message in one line."""
    line = " ".join(message.split())
    line = "".join(one if one.isprintable() else repr(one)[1:-1] for one in line)
    if len(line) > _LONGEST_MESSAGE:
        line = f"{line[: _LONGEST_MESSAGE - 3]}..."
    return ScreeningRow(key, error=kind, message=line, seconds=seconds)


def _said(error: BaseException) -> str:
    """Return what an exception says, which may fail, too."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - code of a candidate
        said = ""
    if said:
        return said
    if isinstance(error, MemoryError):
        return "It needs more memory than a candidate may use, or than there is."
    return "The exception says nothing."


def _forget_frames(error: BaseException) -> None:
    """Let go of what the frames of an exception hold, such as gigabytes or endless recursion."""
    with contextlib.suppress(Exception):
        traceback.clear_frames(error.__traceback__)


@functools.lru_cache(4)
def _judge_of(question: Question) -> SpecJudge:
    return SpecJudge(question.resolutions)


# --- reading ---------------------------------------------------------------------------------


def _read(job: Job, question: Question) -> tuple[EnrichedNetworkNode | GraphSpec, BuiltOn]:
    if job.kind in ("spec", "graph"):
        return job.payload, ""
    if job.kind == "stored":
        return _read_stored(job.payload, question), ""
    maker, kwargs = unpacked(job.payload)
    model, built_on = _made(maker, {**_no_weights(maker, kwargs), **kwargs})
    if isinstance(model, GraphSpec | EnrichedNetworkNode):
        return model, ""
    if _is_torch_model(model) and not _is_keras_model(model):
        return create_graph_from_pytorch_model(model, input_res=question.shape), built_on
    if callable(getattr(model, "to_json", None)):
        from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
            create_graph_from_model,
        )

        return create_graph_from_model(model), ""
    raise ScreeningError(
        f"The candidate returned a {type(model).__name__}; expected is a PyTorch or Keras model, a "
        "graph or a GraphSpec."
    )


def _read_stored(stored: Any, question: Question) -> EnrichedNetworkNode | GraphSpec:
    """Read the path of a file, or what such a file holds."""
    if isinstance(stored, str) and stored.lower().endswith(".onnx"):
        return create_graph_from_onnx(stored, question.input_shape)
    # The encoder of Keras takes as long to import as all of this package's screening.
    from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
        create_graph_from_keras_json,
    )
    from rfa_toolbox.encodings.tensorflow_keras.sources import load_model_dict

    config = stored if isinstance(stored, Mapping) else load_model_dict(stored)
    if is_stored_graph(config):
        return EnrichedNetworkNode.from_dict(config)
    if is_stored_spec(config):
        return GraphSpec.from_dict(config)
    return create_graph_from_keras_json(config)


def _no_weights(maker: Callable[..., Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that keep a constructor of a model library from loading weights."""
    try:
        known = _loads_weights_by(maker)
    except TypeError:  # it cannot be hashed, and so not be remembered
        known = _loads_weights_by.__wrapped__(maker)
    return {name: _NO_WEIGHTS[name] for name in known if name not in kwargs}


@functools.lru_cache(1024)
def _loads_weights_by(maker: Callable[..., Any]) -> tuple[str, ...]:
    """Return by which of its arguments a constructor loads weights if nobody says otherwise."""
    try:
        parameters = inspect.signature(maker).parameters
    except (TypeError, ValueError):  # some callables of C do not tell
        return ()
    return tuple(
        name
        for name in _NO_WEIGHTS
        if name in parameters
        and parameters[name].default not in (None, False, inspect.Parameter.empty)
    )


def _made(maker: Callable[..., Any], kwargs: Mapping[str, Any]) -> tuple[Any, BuiltOn]:
    """Call a constructor, on the meta device if PyTorch is in use and the constructor allows it."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "device"):
        return maker(**kwargs), "cpu"
    try:
        with torch.device("meta"):
            return maker(**kwargs), "meta"
    except Exception as error:
        if "meta" not in _said(error).lower():
            raise
    return maker(**kwargs), "cpu"


def _is_torch_model(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _is_keras_model(model: Any) -> bool:
    """Return whether it is one, which is a module of PyTorch, too, where Keras works with that."""
    return any(base.__module__.startswith("keras.") for base in type(model).__mro__)


# --- judging ---------------------------------------------------------------------------------


def judge_graph(graph: EnrichedNetworkNode, question: Question) -> ScreeningRow:
    """Return the row of a graph, without a key."""
    nodes = graph.all_layers
    strict, by_layers, largest = ranges_of_both_kinds(nodes)
    profile = resolution_profile(graph, question.resolutions)
    certainties = {node.certainty for node in filters_non_convolutional_node(nodes)}
    at = tuple(
        _at(resolution, point)
        for resolution, point in zip(question.resolutions, profile.points, strict=True)
    )
    return ScreeningRow(
        key="",
        r_min=max(strict),
        r_min_layers=max(by_layers),
        r_max=max(largest),
        good_from=max(profile.good_from),
        at=at,
        parameters=profile.points[0].total.parameters,
        certainty=max(certainties, key=_CERTAINTIES.index, default="exact"),
        graph_key=graph_key(graph) if question.graph_keys else None,
    )


def _at(resolution: tuple[int, ...], point: ProfilePoint) -> AtResolution:
    wasted, whole = point.costs["unproductive"], point.total
    return AtResolution.of(
        resolution,
        point.counts.values(),
        whole.multiply_accumulates,
        share(wasted.multiply_accumulates, whole.multiply_accumulates),
    )


def share(part: int | None, whole: int | None) -> float | None:
    """Return a share, rounded so that it is the same everywhere; None where nothing is known.

    >>> share(1, 3), share(None, 3), share(0, 0)
    (0.333333, 0.0, 0.0)
    """
    if whole is None:
        return None
    return round((part or 0) / whole, 6) if whole else 0.0
