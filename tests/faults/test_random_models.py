"""What the analysis says of random models is what an experiment shows, unit by unit."""

from __future__ import annotations

import pytest

from tests.faults.random_models import contradictions

SEEDS = (*range(8), 30, 423, 687, 783, 833, 6053)
MORE_SEEDS = (*range(8, 160), *range(10_000, 10_040))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_models_see_what_the_analysis_says(seed: int) -> None:
    assert contradictions(seed) == []


@pytest.mark.slow
def test_many_random_models_see_what_the_analysis_says() -> None:
    wrong = {seed: found for seed in MORE_SEEDS if (found := contradictions(seed))}
    assert wrong == {}
