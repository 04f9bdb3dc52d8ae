"""Models that cannot be followed to their end: what ran before is kept, and the end is said."""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from rfa_toolbox import EnrichedNetworkNode, create_graph_from_pytorch_model, summarize
from rfa_toolbox.empirical import verify
from rfa_toolbox.errors import (
    CaptureError,
    DataDependentControlFlowError,
    UnsupportedModelError,
)
from tests.pytorch.measure import captures

SHAPE = (1, 3, 32, 32)


def encode(model: nn.Module, **options: Any) -> Any:
    return create_graph_from_pytorch_model(model, input_res=SHAPE, **options)


class Detector(nn.Module):
    """A regular network in front of an end that depends on data."""

    def __init__(self, end: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(4, 2, 5, padding=2)
        self.behind = nn.Linear(2, 2)
        self.end = end

    def forward(self, x: torch.Tensor) -> Any:
        features = self.backbone(x)
        scores = self.head(features)
        found = self.end(scores)
        return self.behind(scores.mean((2, 3)) * float(len(found)))


def nonzero(x: torch.Tensor) -> torch.Tensor:
    return (x > 0).nonzero()


ENDS: dict[str, Callable[[torch.Tensor], Any]] = {
    "nonzero": nonzero,
    "mask": lambda x: x[x > 0],
    "where": lambda x: torch.where(x > 0)[0],
    "unique": lambda x: x.unique(),
    "item": lambda x: range(int(x.sum().item()) * 0 + 1),
    "int": lambda x: range(int(x.sum()) * 0 + 1),
    "numpy": lambda x: x.numpy(),
    "bool": lambda x: [1] if (x > 0).any() else [2, 3],
    "tolist": lambda x: x.flatten().tolist(),
}


ASSERTED = """
def forward(s, x):
    y = torch.zeros(1, 3, 34, 34)
    y[:, :, 1:-1, 1:-1] = x
    assert (y[:, :, 1:-1, 1:-1] == x).all()
    assert x.isfinite().all() and x.max() < 5, "not an image"
    return s.conv(y)
"""


def test_what_a_model_asserts_holds() -> None:
    found: dict[str, Any] = {"torch": torch}
    exec(ASSERTED, found)
    model: nn.Module = type("Padded", (nn.Module,), {"forward": found["forward"]})()
    model.conv = nn.Conv2d(3, 4, 3)
    graph = encode(model, partial=False, capture="meta")
    assert graph.receptive_field_max == (3, 3)


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_what_ran_before_an_end_that_depends_on_data_is_kept_and_the_line_is_said(
    end: Callable[[torch.Tensor], Any],
) -> None:
    with pytest.warns(UserWarning, match=r"could not be followed to its end.*test_partial.py:\d+"):
        graph = encode(Detector(end))
    assert [one.name for one in graph.all_layers][:3] == ["backbone.0", "backbone.1", "head"]
    found = {one.name: one.receptive_field_max for one in graph.all_layers}
    assert found["head"] == (7, 7)
    assert "behind" not in found
    stored = EnrichedNetworkNode.from_dict(json.loads(json.dumps(graph.to_dict())))
    for one in (graph, stored, pickle.loads(pickle.dumps(graph))):
        warning = summarize(one, 32).warning
        assert warning.startswith("This is a part of the model, which could not be followed")
        assert re.search(r" test_partial\.py:\d+\.$", warning), "the file, without its folders"


def test_a_partial_graph_is_an_error_where_it_is_not_wanted() -> None:
    with pytest.raises(DataDependentControlFlowError, match="depends on data"):
        encode(Detector(nonzero), partial=False)


def test_nothing_is_kept_where_no_layer_ran() -> None:
    class AtOnce(Detector):
        def forward(self, x: torch.Tensor) -> Any:
            return self.backbone(x if x.sum() > 0 else -x)

    with pytest.raises(DataDependentControlFlowError, match="depends on data"):
        encode(AtOnce(nonzero))


def test_an_input_that_the_model_does_not_take_stays_an_error() -> None:
    class Wrong(Detector):
        def forward(self, x: torch.Tensor) -> Any:
            return self.behind(self.head(self.backbone(x)))

    with pytest.raises(CaptureError, match="'behind' \\(Linear\\) failed"):
        encode(Wrong(nonzero))


@pytest.mark.parametrize("capture", ["meta", "jit"])
def test_a_graph_ends_behind_the_module_that_is_named(capture: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = encode(Detector(lambda _: [1]).eval(), until="backbone", capture=capture)
    assert [one.name for one in graph.all_layers] == ["backbone.0", "backbone.1"]
    assert graph.name == "backbone.1"
    assert summarize(graph, 32).warning == (
        "This is a part of the model: it ends behind 'backbone'."
    )


def test_the_end_need_not_run_behind_the_module_that_is_named() -> None:
    graph = encode(Detector(nonzero), until="head", partial=False)
    assert graph.name == "head"


def test_a_module_that_is_not_there_is_named_with_near_ones() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'backbon'.*'backbone'"):
        encode(Detector(nonzero), until="backbon")
    with pytest.raises(UnsupportedModelError, match="Identity holds no modules"):
        encode(nn.Identity(), until="backbone")


@pytest.mark.filterwarnings("ignore:.*could not be followed")
@pytest.mark.parametrize("options", [{}, {"until": "head"}])
def test_experiments_end_where_the_graph_does(options: dict[str, Any]) -> None:
    report = verify(Detector(nonzero).eval(), SHAPE, **options)
    assert not report.disagreements
    agreeing = {one.name for one in report.nodes if one.verdict == "agrees"}
    assert {"backbone.0", "head"} <= agreeing


class Endless(nn.Module):
    """Goes on for as long as values say, as a suppression of neighbours does; here for good."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        while True:
            with contextlib.suppress(Exception):  # as models do
                x = x + 1


@captures
def test_a_model_that_does_not_end_is_given_up_at_the_time_limit(capture: str) -> None:
    with pytest.raises(
        CaptureError, match=r"time_limit=0\.2 seconds; it was at .*\.py:\d+\. .*until="
    ):
        encode(Endless(), capture=capture, time_limit=0.2)


def test_a_model_may_end_in_front_of_what_takes_too_long() -> None:
    graph = encode(Endless(), until="conv", time_limit=20)
    assert graph.receptive_field_max == (3, 3)


@pytest.mark.parametrize("time_limit", [0, -1, "long", True])
def test_a_time_limit_is_a_number_of_seconds(time_limit: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"time_limit is .*positive number of seconds"):
        encode(nn.Conv2d(3, 1, 3), time_limit=time_limit)
