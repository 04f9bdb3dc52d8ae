"""The door to the experiments that measure receptive fields; frameworks are imported on call."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from os import PathLike
from pathlib import PurePath
from typing import Any

from rfa_toolbox.domain import EXPERIMENT_TIME_LIMIT, Certainty
from rfa_toolbox.empirical.readings import AxisField
from rfa_toolbox.empirical.results import (
    MeasuredField,
    Method,
    ReceptiveFieldMeasurement,
    path_and_call,
)
from rfa_toolbox.empirical.structural import (
    AxisMeasurement,
    Bench,
    Deadline,
    Setting,
    measure_axis,
    what_is_neutral,
)
from rfa_toolbox.errors import (
    InvalidGraphError,
    InvalidResolutionError,
    MeasurementError,
    UnsupportedModelError,
)
from rfa_toolbox.frameworks import require
from rfa_toolbox.graphs import EnrichedNetworkNode

__all__ = [
    "assembled",
    "bench_for",
    "deadline_of",
    "measure_all_axes",
    "measure_receptive_field",
    "stopped_after",
]

MAX_PASSES = 1024


def measure_receptive_field(
    model: Any,
    input_shape: Any = None,
    layers: Collection[str] | str | None = None,
    method: Method = "structural",
    **options: Any,
) -> ReceptiveFieldMeasurement:
    """Measure on the live model where the units of every layer look.

    The structural experiment puts NaN into some rows of the input and sees which units of every
    layer become NaN. It needs no change to weights, activations, poolings or norms, gives all
    layers at once, and is exact wherever a field fits between the ends of the image. The model
    runs in eval mode and is left as it was.

    Args:
        model: a PyTorch module, a Keras model, or an ONNX model or the path of its file.
        input_shape: shape of an input, (batch, channels, height, width), or what else
            ``create_graph_from_pytorch_model`` takes as ``input_res``. It says how many channels
            and axes there are; the size is chosen by the experiment where the model takes any.
        layers: names or module paths of the layers to report; None is all of them.
        method: "structural", or "gradient", which looks at one output position of each layer and
            is described in ``rfa_toolbox.empirical.gradient``.
        **options: of the method. For "structural": ``global_ops`` ("ignore_gates", where gates and
            statistics of norms are neutral, which the notes of their layers say; or "count", where
            they see everything), ``max_length`` (the longest image to try, in pixels),
            ``max_passes`` (forward passes after which to give a layer up), ``time_limit`` (seconds
            after which to stop, with what is measured by then, 60 by default; None for no limit;
            no single pass is interrupted),
            ``display_se_modules`` and ``shortcuts=False``, which lets every channel be computed.

    Returns:
        the field of every layer; one that does not fit is reported as such.

    Raises:
        UnsupportedModelError: a ValueError, if ``model`` is nothing that can be run or takes no
            floating-point input, or ``global_ops`` is another one.
        CaptureError: a ValueError, if the model cannot be run with this input.
        InvalidGraphError: a ValueError, if there is no layer of a name in ``layers``.
        InvalidResolutionError: a ValueError, if ``max_passes`` or ``max_length`` is too small.
        MeasurementError: a ValueError, if ``time_limit`` is not positive, or an option is none of
            the method.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv1d(1, 4, 5, stride=2, padding=2))
    >>> measure_receptive_field(model)["0"].start
    (-2,)
    """
    if method == "gradient":
        from rfa_toolbox.empirical.gradient import measure

        known_options(options, inspect.signature(measure).parameters)
        return measure(model, input_shape, layers, **options)
    if method != "structural":
        raise UnsupportedModelError(f"method is {method!r}; valid are 'structural' and 'gradient'.")
    max_passes = options.pop("max_passes", MAX_PASSES)
    deadline = deadline_of(options.pop("time_limit", EXPERIMENT_TIME_LIMIT))
    bench = bench_for(model, input_shape, **options)
    measured = measure_all_axes(bench, max_passes, deadline)
    setting = measured[0].setting
    fields = tuple(
        _of_node(
            setting,
            name,
            [one.field_of(name) for one in measured],
        )
        for name in _chosen(setting.nodes, layers)
    )
    return ReceptiveFieldMeasurement(
        bench.model_name,
        "structural",
        fields,
        tuple(one.setting.shape for one in measured),
        tuple(one.passes for one in measured),
        {"global_ops": options.get("global_ops", "ignore_gates")},
        stopped_after(deadline, [list(one.notes) for one in fields]),
    )


_ARGUMENTS = {"model", "input_shape"}


def bench_for(model: Any, input_shape: Any = None, **options: Any) -> Bench:
    """Return the bench of the framework that a model is of."""
    global_ops = options.get("global_ops", "ignore_gates")
    if global_ops not in ("ignore_gates", "count"):
        raise UnsupportedModelError(
            f"global_ops is {global_ops!r}; valid in an experiment are 'ignore_gates' and 'count': "
            "the model runs as it is, so that what sees everything cannot be ignored."
        )
    longest = options.get("max_length")
    if longest is not None and (type(longest) is not int or longest < 1):
        raise InvalidResolutionError(
            f"max_length is {longest!r}; it must be a positive whole number of pixels."
        )
    homes = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if homes & {"keras", "tf_keras"}:
        from rfa_toolbox.empirical.keras_bench import KerasBench

        known_options(options, {*inspect.signature(KerasBench).parameters} - _ARGUMENTS)
        keras_bench: Bench = KerasBench(model, input_shape, **options)
        return keras_bench
    is_path = isinstance(model, str | PathLike)
    if "onnx" in homes or (is_path and PurePath(model).suffix.lower() == ".onnx"):
        require("onnx", extra="onnx")
        require("onnxruntime", extra="onnx-verify")
        from rfa_toolbox.empirical.onnx_bench import OnnxBench

        known_options(options, {*inspect.signature(OnnxBench).parameters} - _ARGUMENTS)
        return OnnxBench(model, input_shape, **options)
    require("torch", extra="torch")
    from rfa_toolbox.empirical.torch_bench import GRAPH_OPTIONS, TorchBench

    valid = {*inspect.signature(TorchBench).parameters, *GRAPH_OPTIONS}
    known_options(options, valid - {"graph_options"} - _ARGUMENTS)
    bench: Bench = TorchBench(model, input_shape, **options)
    return bench


def known_options(given: Iterable[str], valid: Iterable[str]) -> None:
    """Refuse options that an experiment does not have.

    Raises:
        MeasurementError: if there is one.

    >>> known_options(["seed"], ["seed", "position"])
    """
    for name in given:
        if name not in set(valid):
            raise MeasurementError(
                f"{name!r} is no option of this experiment; it has {sorted(valid)!r}. "
                "The shape of the input is input_shape."
            )


def deadline_of(time_limit: Any) -> Deadline:
    """Return when an experiment has to stop.

    Raises:
        MeasurementError: if the limit is no positive number of seconds.
    """
    if time_limit is not None and (
        isinstance(time_limit, bool)
        or not isinstance(time_limit, int | float)
        or not 0 < time_limit < math.inf
    ):
        raise MeasurementError(
            f"time_limit is {time_limit!r}; it must be a positive number of seconds, or None."
        )
    return Deadline(time_limit)


def stopped_after(deadline: Deadline, said: Sequence[Collection[str]]) -> str:
    """Return how far an experiment came until its time was over; "" if it came to its end.

    ``said`` is, per layer, why something of it was not measured.
    """
    if not deadline.noticed:
        return ""
    done = sum(deadline.reason not in reasons for reasons in said)
    return f"stopped after {deadline.seconds:g} seconds with {done} of {len(said)} layers measured"


def measure_all_axes(bench: Bench, max_passes: int, deadline: Deadline) -> list[AxisMeasurement]:
    """Return what the structural experiment finds along every spatial axis."""
    if type(max_passes) is not int or max_passes < 8:
        raise InvalidResolutionError(
            f"max_passes is {max_passes!r}; it must be a whole number of at least 8."
        )
    if not bench.axes:
        raise UnsupportedModelError(
            f"The input of {bench.model_name} has no spatial axis, so its layers have no "
            "receptive field; pass input_shape=(batch, channels, height, width)."
        )
    found: list[AxisMeasurement] = []
    for axis in range(bench.axes):
        if found and deadline.over:
            setting = found[0].setting
            found.append(AxisMeasurement({}, setting, (0, 0, 0), deadline.reason))
        else:
            share = deadline.share(bench.axes - axis)
            found.append(measure_axis(bench, axis, max_passes, deadline, share))
    return found


def _chosen(
    nodes: Mapping[str, EnrichedNetworkNode], layers: Collection[str] | str | None
) -> list[str]:
    if layers is None:
        return list(nodes)
    if not layers or not isinstance(layers, Iterable):
        raise InvalidGraphError(
            f"layers is {layers!r}; it must name at least one layer, by its name or the path of "
            f"its module, such as {next(iter(nodes), 'conv')!r}, or be None, which is all of them."
        )
    wanted = [layers] if isinstance(layers, str) else list(layers)
    found = []
    for one in wanted:
        matching = [name for name, node in nodes.items() if one in (name, node.module_path)]
        if not matching:
            raise InvalidGraphError(
                f"No layer is called {one!r}, and no module has this path; there are "
                f"{', '.join(map(repr, list(nodes)[:8]))}{', ...' if len(nodes) > 8 else '.'}"
            )
        found.extend(matching)
    return [name for name in nodes if name in set(found)]


def _of_node(setting: Setting, name: str, axes: list[AxisField]) -> MeasuredField:
    node = setting.nodes[name]
    path, number = path_and_call(node.name, ())
    return assembled(
        name,
        node.module_path or "",
        node.layer_info.name,
        setting.output_shapes[name],
        axes,
        call=number if path == node.module_path else 1,
        note=what_is_neutral(setting, name),
    )


def assembled(
    name: str,
    module_path: str,
    kind: str,
    shape: tuple[int, ...],
    axes: Sequence[AxisField],
    call: int = 1,
    note: str = "",
) -> MeasuredField:
    """Return a layer's field from what was measured along every axis."""
    certainty: Certainty = "bound" if any(one.bound for one in axes) else "exact"
    if any(one.problem for one in axes):
        certainty = "unknown"
    said = itertools.chain([note], *((one.problem, *one.notes) for one in axes))
    return MeasuredField(
        name=name,
        module_path=module_path,
        call=call,
        kind=kind,
        output_shape=shape,
        start=tuple(_start(one) for one in axes),
        size=tuple(one.size for one in axes),
        jump=tuple(None if one.problem else _whole(one.jump) for one in axes),
        centre=tuple(_centre(one) for one in axes),
        phases=tuple(one.windows for one in axes),
        certainty=certainty,
        notes=tuple(dict.fromkeys(one for one in said if one)),
    )


def _start(field: AxisField) -> int | float | None:
    if field.problem:
        return None
    if not field.windows:
        return -math.inf
    return math.inf if field.windows[0] is None else field.windows[0][0]


def _centre(field: AxisField) -> Fraction | None:
    if field.problem:
        return None
    ends = sum(field.windows[0] or ()) if field.windows else 0
    return Fraction(int(ends), 2) if math.isfinite(ends) else Fraction(0)


def _whole(jump: Fraction) -> int | Fraction:
    return jump.numerator if jump.denominator == 1 else jump
