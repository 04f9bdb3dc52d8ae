"""Every published refinement, as edits of a graph, gives the published numbers."""

from __future__ import annotations

from typing import Any

import pytest

from rfa_toolbox import input_resolution_range
from rfa_toolbox.refinement import edit
from tests.refinement.published import (
    ROWS,
    Row,
    compute_as_published,
    graph_of,
    parameters_of,
)

CASES = [
    pytest.param(row, id=row.label, marks=[pytest.mark.slow] if row.slow else []) for row in ROWS
]


@pytest.mark.parametrize("row", CASES)
def test_a_published_edit_gives_the_published_numbers(row: Row, torchvision: Any) -> None:
    pytest.importorskip("timm" if row.label.startswith("timm") else "keras")
    graph = graph_of(row.model(), row.size)
    refined = edit(graph, row.edits)
    before, after = row.resolutions
    if before:
        assert input_resolution_range(graph)[0] == (before, before)
        assert input_resolution_range(refined)[0] == (after, after)
    else:  # not published: deeper models of the family
        assert input_resolution_range(refined)[0] < input_resolution_range(graph)[0]
    if row.compute is not None:
        assert compute_as_published(refined) == pytest.approx(row.compute, rel=0.01)
    if row.parameters is not None:
        assert parameters_of(refined) == pytest.approx(row.parameters, rel=0.01)
