"""What the analysis says of random models is what an experiment shows, unit by unit."""

from __future__ import annotations

import pytest

from rfa_toolbox.unit_windows import region_of
from tests.faults.random_models import CHANNELS, LENGTH, RandomModel, seen
from tests.pytorch.measure import INF, encode

SEEDS = range(4)
MORE_SEEDS = range(4, 160)


def contradictions(seed: int) -> list[str]:
    """Return what an experiment says of a random model and the analysis does not."""
    model = RandomModel(seed)
    graph = encode(model, (1, CHANNELS, LENGTH), "meta")
    found = seen(model)
    (field,) = graph.receptive_field_max
    extent = max(one[1] - one[0] + 1 for one in found if one is not None)
    wrong = []
    if extent > field:
        wrong.append(f"a unit sees {extent}, the analysis says {field}, {graph.certainty}")
    (windows,) = graph.unit_windows
    if field == INF or windows is None or graph.window is None:
        return wrong
    inside = 0
    for unit, pixels in enumerate(found):
        begin, end = region_of(windows, unit)
        if pixels is not None and not begin <= pixels[0] <= pixels[1] <= end:
            wrong.append(f"unit {unit} sees {pixels}, the analysis says {(begin, end)}")
        inside = max(inside, end - begin + 1 if begin >= 0 and end < LENGTH else 0)
    if graph.certainty == "exact" and inside > extent:
        wrong.append(f"no unit sees more than {extent}, the analysis says exactly {inside}")
    return wrong


@pytest.mark.parametrize("seed", SEEDS)
def test_random_models_see_what_the_analysis_says(seed: int) -> None:
    assert contradictions(seed) == []


@pytest.mark.slow
def test_many_random_models_see_what_the_analysis_says() -> None:
    wrong = {seed: found for seed in MORE_SEEDS if (found := contradictions(seed))}
    assert wrong == {}
