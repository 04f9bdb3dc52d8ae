"""Whatever an ONNX file holds, it gives a graph or one clear line, and soon."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx")

from tests.keras.mutated_files import complaint
from tests.onnx.mutated_files import mutated, read

SEEDS = (*range(149), 7_100_096)


def test_a_mutated_file_gives_a_graph_or_one_clear_line() -> None:
    wrong = {seed: found for seed in SEEDS if (found := complaint(mutated(seed), read))}
    assert wrong == {}
