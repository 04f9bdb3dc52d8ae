"""Published refinements, as edits of a graph, give the published numbers.

``test_published_live.py`` holds all of them against the live models, too.
"""

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

QUICK = [row for row in ROWS if not row.slow]


@pytest.mark.parametrize("row", QUICK, ids=[row.label for row in QUICK])
def test_a_published_edit_gives_the_published_numbers(row: Row, torchvision: Any) -> None:
    pytest.importorskip("timm" if row.label.startswith("timm") else "keras")
    graph = graph_of(row.model(), row.size)
    refined = edit(graph, row.edits)
    before, after = row.resolutions
    assert input_resolution_range(graph)[0] == (before, before)
    assert input_resolution_range(refined)[0] == (after, after)
    assert compute_as_published(refined) == pytest.approx(row.compute, rel=0.01)
    parameters = row.parameters or parameters_of(graph)
    assert parameters_of(refined) == pytest.approx(parameters, rel=0.01)
