"""Analysis against experiment: whether every node looks where the graph says it does."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import attrs

from rfa_toolbox import unit_windows
from rfa_toolbox.analysis.words import verdicts_in_words
from rfa_toolbox.domain import EXPERIMENT_TIME_LIMIT
from rfa_toolbox.empirical.measurement import (
    MAX_PASSES,
    bench_for,
    deadline_of,
    measure_all_axes,
    stopped_after,
)
from rfa_toolbox.empirical.readings import AxisField
from rfa_toolbox.empirical.results import plain_number, spelled, text_table
from rfa_toolbox.empirical.structural import (
    FIXED_SIZE,
    PAIRS,
    Setting,
    field_along,
    may_fill,
    room_for_holes,
    what_is_neutral,
)
from rfa_toolbox.graphs import EnrichedNetworkNode, ancestors
from rfa_toolbox.rendering.notebook import table_view
from rfa_toolbox.unit_windows import UnitWindows

__all__ = ["Verdict", "VerificationReport", "VerifiedNode", "verify"]

Verdict: TypeAlias = Literal["agrees", "bound", "not measured", "differs"]
_VERDICTS: tuple[Verdict, ...] = ("agrees", "bound", "not measured", "differs")
"""The worst last."""


@attrs.frozen(slots=True)
class VerifiedNode:
    """What analysis and experiment say of one node; numbers are pixels, one per axis.

    Attributes:
        name: that of the node.
        module_path: the module that it ran in.
        kind: what kind of layer it is.
        certainty: how the analysis knows the field: "exact", "bound" or "unknown".
        expected_start: first pixel of unit 0 as analysed; None where it is not known.
        expected_size: pixels under the largest window, as analysed.
        expected_jump: pixels between neighbouring units, as analysed.
        start: as measured; None where it was not.
        size: as measured.
        jump: as measured.
        verdict: "agrees": every unit looks where the graph says; "bound": the graph declares an
            upper bound, and the measured window is not larger; "not measured"; "differs".
        reason: why it was not measured, what differs, or what counts as neutral in both.
    """

    name: str
    module_path: str
    kind: str
    certainty: str
    expected_start: tuple[int | float | None, ...]
    expected_size: tuple[int | float, ...]
    expected_jump: tuple[int | float | Fraction | None, ...]
    start: tuple[int | float | None, ...]
    size: tuple[int | float | None, ...]
    jump: tuple[int | float | Fraction | None, ...]
    verdict: Verdict
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON knows them."""
        return {
            key: [plain_number(one) for one in value] if isinstance(value, tuple) else value
            for key, value in attrs.asdict(self, recurse=False).items()
        }


@attrs.frozen
class VerificationReport:
    """What ``verify`` found, node by node in order of execution.

    Attributes:
        model_name: what the model is called.
        nodes: one entry per node of its graph.
        input_shapes: the inputs that the experiment ran with, one per axis.
        passes: forward passes of one image each, per axis: looking for the size of the image,
            poison from the start, poison from the end.
        stopped: that a time limit was over before everything was measured; "" if not.
    """

    model_name: str
    nodes: tuple[VerifiedNode, ...]
    input_shapes: tuple[tuple[int, ...], ...]
    passes: tuple[tuple[int, int, int], ...]
    stopped: str = ""

    @property
    def disagreements(self) -> tuple[VerifiedNode, ...]:
        """The nodes where the experiment contradicts the analysis."""
        return tuple(one for one in self.nodes if one.verdict == "differs")

    @property
    def ok(self) -> bool:
        """Whether nothing contradicts the analysis; what was not measured does not."""
        return not self.disagreements

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many nodes there are of each verdict."""
        found = Counter(one.verdict for one in self.nodes)
        return {verdict: found[verdict] for verdict in _VERDICTS}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON knows it."""
        return {
            "model": self.model_name,
            "ok": self.ok,
            "counts": dict(self.counts),
            "input_shapes": [list(one) for one in self.input_shapes],
            "passes": [list(one) for one in self.passes],
            "stopped": self.stopped,
            "nodes": [one.to_dict() for one in self.nodes],
        }

    def summary(self) -> str:
        """Return one line."""
        counts = verdicts_in_words(self.counts)
        stopped = f"; {self.stopped}" if self.stopped else ""
        return f"{self.model_name}: {len(self.nodes)} nodes, {counts}{stopped}"

    def __str__(self) -> str:
        note = "start / size / jump in pixels of the input"
        return "\n".join((f"{self.summary()} ({note})", *text_table(self._HEADER, self._rows())))

    def _repr_html_(self) -> str:
        return table_view(self.summary(), self._HEADER, self._rows())

    _HEADER = ("layer", "kind", "analysis", "experiment", "verdict", "")

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                one.name,
                one.kind,
                _window(one.expected_start, one.expected_size, one.expected_jump),
                _window(one.start, one.size, one.jump),
                one.verdict,
                one.reason,
            )
            for one in self.nodes
        ]


def verify(
    model: Any,
    input_shape: Any = None,
    *,
    max_passes: int = MAX_PASSES,
    time_limit: float | None = EXPERIMENT_TIME_LIMIT,
    **options: Any,
) -> VerificationReport:
    """Hold the graph of a model against an experiment on the model itself, at every node.

    Use it to learn whether the handler of a layer of yours is right. The graph is made in eval
    mode, for the same narrow images that the experiment runs on, and for every node the first and
    last pixel of every unit are compared.

    Args:
        model: a PyTorch module, a Keras model, or an ONNX model or the path of its file; it is left
            as it was.
        input_shape: as for ``measure_receptive_field``.
        max_passes: forward passes from one side after which to give a layer up.
        time_limit: seconds after which to stop; the report keeps what was measured by then, and
            says that it stopped. No single pass is interrupted. None for no limit.
        **options: ``global_ops`` ("ignore_gates" or "count"), ``max_length``, and those of the
            encoder: ``handlers``, and for PyTorch ``custom_layers`` and ``display_se_modules``.

    Raises:
        UnsupportedModelError: a ValueError, if ``model`` is nothing that can be run, or
            ``global_ops`` is another one.
        CaptureError: a ValueError, if the model cannot be run with this input.
        InvalidResolutionError: a ValueError, if ``max_passes`` or ``max_length`` is too small.
        MeasurementError: a ValueError, if ``time_limit`` is not positive, or for another option.

    >>> import torch
    >>> report = verify(torch.nn.Sequential(torch.nn.Conv1d(1, 4, 3), torch.nn.MaxPool1d(2)))
    >>> report.ok, report.nodes[1].size
    (True, (4,))
    """
    deadline = deadline_of(time_limit)
    bench = bench_for(model, input_shape, **options)
    measured = measure_all_axes(bench, max_passes, deadline)
    nodes = []
    for name, node in measured[0].setting.nodes.items():
        axes = [
            _compared(one.setting, name, axis, one.field_of(name))
            if name in one.setting.nodes
            else _Compared(None, None, one.field_of(name), "not measured", one.missing)
            for axis, one in enumerate(measured)
        ]
        verdict = max((one.verdict for one in axes), key=_VERDICTS.index)
        reasons = dict.fromkeys(one.reason for one in axes if one.reason)
        nodes.append(
            VerifiedNode(
                name,
                node.module_path or "",
                node.layer_info.name,
                node.certainty,
                tuple(one.expected_start for one in axes),
                tuple(one.expected_size for one in axes),
                tuple(one.expected.jump if one.expected else None for one in axes),
                tuple(one.start for one in axes),
                tuple(one.measured.size for one in axes),
                tuple(None if one.measured.problem else one.measured.jump for one in axes),
                verdict,
                "; ".join(reasons),
            )
        )
    return VerificationReport(
        bench.model_name,
        tuple(nodes),
        tuple(one.setting.shape for one in measured),
        tuple(one.passes for one in measured),
        stopped_after(deadline, [one.reason.split("; ") for one in nodes]),
    )


@attrs.frozen
class _Compared:
    """One node along one axis."""

    expected: UnitWindows | None
    largest: int | float | None
    measured: AxisField
    verdict: Verdict
    reason: str = ""

    @property
    def expected_start(self) -> int | float | None:
        return None if self.expected is None else unit_windows.region_of(self.expected, 0)[0]

    @property
    def expected_size(self) -> int | float:
        if self.expected is not None:
            return self.expected.size
        return math.nan if self.largest is None else self.largest

    @property
    def start(self) -> int | float | None:
        if self.measured.problem:
            return None
        if not self.measured.windows:
            return -math.inf
        return self.measured.region(0)[0]


def _compared(setting: Setting, name: str, axis: int, measured: AxisField) -> _Compared:
    node = setting.nodes[name]
    windows = node.unit_windows
    expected = windows[axis] if axis < len(windows) else None
    largest = field_along(node, axis)
    verdict, reason = _judged(setting, node, axis, expected, largest, measured)
    return _Compared(expected, largest, measured, verdict, reason)


def _judged(
    setting: Setting,
    node: EnrichedNetworkNode,
    axis: int,
    expected: UnitWindows | None,
    largest: float,
    measured: AxisField,
) -> tuple[Verdict, str]:
    size = largest if expected is None else expected.size
    if measured.problem:
        return _without_positions(setting, node, size, measured)
    found = measured.size
    gated = node.name in setting.gated and not measured.windows and setting.units[node.name] == 1
    if not gated and found == math.inf and measured.notes and may_fill(setting.length, size):
        # The only image is too small to tell a large field from an infinite one.
        return (
            "not measured",
            f"a field of {size} pixels does not fit into an image of {setting.length}",
        )
    same = found == size
    if same and expected is not None and measured.windows:
        places = math.lcm(len(measured.windows), len(expected.firsts))
        same = measured.jump == expected.jump and all(
            unit_windows.region_of(expected, unit) == measured.region(unit)
            for unit in range(places)
        )
    if same or gated:
        return "agrees", what_is_neutral(setting, node.name)
    if node.certainty == "bound" and found is not None and found <= size:
        return "bound", node.certainty_reason
    if measured.bound and found is not None and found <= size:
        return "not measured", setting.doubtful[node.name]
    if expected == unit_windows.EVERYTHING and found == math.inf and node.resized_to is None:
        return "differs", f"unit 0 sees {measured.region(0)} as measured, everything as analysed"
    if node.layer_info.resolution_dependent or (found == math.inf and _grows(node)):
        return "not measured", "its windows depend on the size of the image"
    if FIXED_SIZE in measured.notes:
        return "not measured", FIXED_SIZE
    if (
        expected is not None
        and len(expected.firsts) > 1
        and 3 * expected.advance > setting.length  # once to begin with, and twice to be sure
    ):
        return "not measured", (
            f"its windows repeat every {expected.advance} pixels, which are too many to see in an "
            f"image of {setting.length}"
        )
    if node.name in setting.twice:
        return "not measured", PAIRS
    room = max(room_for_holes(one, axis) for one in ancestors(node))
    if room > setting.length:
        return "not measured", (
            f"the gaps in a dilated window take an image of {room} pixels, and it has "
            f"{setting.length}"
        )
    return "differs", _difference(expected, size, measured)


def _without_positions(
    setting: Setting, node: EnrichedNetworkNode, size: float, measured: AxisField
) -> tuple[Verdict, str]:
    """Judge a layer whose units could not be told apart: it may still see less than everything."""
    if measured.most is None or size < math.inf or node.name in setting.doubtful:
        return "not measured", measured.problem
    if node.certainty != "exact":
        return "bound", node.certainty_reason
    if node.layer_info.resolution_dependent or node.resized_to is not None:
        return "not measured", "its windows depend on the size of the image"
    return "differs", f"{measured.problem}, {size} analysed"


def _grows(node: EnrichedNetworkNode) -> bool:
    """Return whether a field grows with the image."""
    if node.resized_to is not None:
        return True
    _, largest = node.lasting_receptive_fields
    return math.inf in (largest if isinstance(largest, tuple) else (largest,))


def _difference(expected: UnitWindows | None, size: float, measured: AxisField) -> str:
    if measured.size != size:
        return f"{measured.size} pixels measured, {size} analysed"
    if expected is not None and measured.jump != expected.jump:
        return f"jump {measured.jump} measured, {expected.jump} analysed"
    assert expected is not None  # noqa: S101 - equal sizes without places agree
    for unit in range(math.lcm(len(measured.windows), len(expected.firsts))):
        own, other = measured.region(unit), unit_windows.region_of(expected, unit)
        if own != other:
            return f"unit {unit} sees {own} as measured, {other} as analysed"
    return ""


def _window(start: Any, size: Any, jump: Any) -> str:
    return f"{spelled(start)} / {spelled(size)} / {spelled(jump)}"
