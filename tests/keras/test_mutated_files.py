"""Whatever a file holds, it gives a graph or one clear line, and soon."""

from __future__ import annotations

from tests.keras.mutated_files import complaint, mutated

SEEDS = range(300)


def test_a_mutated_file_gives_a_graph_or_one_clear_line() -> None:
    wrong = {seed: found for seed in SEEDS if (found := complaint(mutated(seed)))}
    assert wrong == {}
