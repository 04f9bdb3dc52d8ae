"""Every published refinement, applied to the live model, is as predicted and gives its numbers."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

from rfa_toolbox import input_resolution_range
from rfa_toolbox.refinement import Rebuild, refine_model, refinement_of
from tests.refinement.published import (
    ROWS,
    Row,
    compute_as_published,
    graph_of,
    parameters_of,
    torchvision_model,
)
from tests.refinement.shorter_and_wider import SHORTER_AND_WIDER, made_of

CASES = [
    pytest.param(row, id=row.label, marks=[pytest.mark.slow] if row.slow else []) for row in ROWS
]
SHORTER = [
    pytest.param(row, id=str(row), marks=[pytest.mark.slow] if place > 2 else [])
    for place, row in enumerate(SHORTER_AND_WIDER)
]


@pytest.mark.parametrize("row", CASES)
def test_a_published_edit_of_the_live_model_gives_the_published_numbers(
    row: Row, torchvision: Any
) -> None:
    pytest.importorskip("timm" if row.label.startswith("timm") else "keras")
    model = row.model()
    graph = graph_of(model, row.size)
    refinement = refinement_of(graph, row.edits, row.size)
    refined = refine_model(model, refinement)
    assert refined.initialised == ()
    before, after = row.resolutions
    assert refinement.before.resolution == (before, before)
    assert input_resolution_range(refined.graph)[0] == (after, after)
    assert compute_as_published(refined.graph) == pytest.approx(row.compute, rel=0.01)
    parameters = row.parameters or parameters_of(graph)
    assert parameters_of(refined.graph) == pytest.approx(parameters, rel=0.01)


@pytest.mark.parametrize("row", SHORTER)
def test_a_shorter_and_wider_model_comes_from_its_own_constructor(
    row: Any, torchvision: Any
) -> None:
    model = torchvision_model(row.model)
    refined = refine_model(model, made_of(graph_of(model, row.size), row))
    assert isinstance(row.edit, Rebuild)
    assert input_resolution_range(refined.graph)[0] == (row.resolution, row.resolution)
    counts = compute_as_published(refined.graph), parameters_of(refined.graph)
    for found, published in zip(counts, (row.compute, row.parameters), strict=True):
        assert published is None or found == pytest.approx(published, rel=0.01)
