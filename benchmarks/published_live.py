"""Apply every published refinement to its live model, and compare with the published numbers.

    python benchmarks/published_live.py
    python benchmarks/published_live.py keras efficientnet

Words select rows whose name has one of them. Each row is predicted on the graph, made in the live
model, and encoded again. It returns 1 if any of them is not as published.
"""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rfa_toolbox import input_resolution_range
from rfa_toolbox.errors import RFAError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement import refine_model, refinement_of
from tests.refinement.published import (
    ROWS,
    compute_as_published,
    graph_of,
    parameters_of,
    torchvision_model,
)
from tests.refinement.shorter_and_wider import SHORTER_AND_WIDER, made_of


def lines(words: list[str]) -> list[tuple[str, bool]]:
    """Return what there is to say of each row, and whether it is as published."""
    found = []
    for row in ROWS:
        if not words or any(word in row.label.lower() for word in words):
            model = row.model()
            graph = graph_of(model, row.size)
            refined = refine_model(model, refinement_of(graph, row.edits, row.size)).graph
            parameters = row.parameters or parameters_of(graph)
            found.append(told(row.label, refined, row.resolutions[1], row.compute, parameters))
    for one in SHORTER_AND_WIDER:
        if not words or any(word in str(one) for word in words):
            model = torchvision_model(one.model)
            refined = refine_model(model, made_of(graph_of(model, one.size), one)).graph
            found.append(told(str(one), refined, one.resolution, one.compute, one.parameters))
    return found


def told(
    label: str,
    refined: EnrichedNetworkNode,
    resolution: int,
    compute: float | None,
    parameters: float | None,
) -> tuple[str, bool]:
    """Compare a refined model with its published numbers, and print it."""
    numbers = (
        float(input_resolution_range(refined)[0][0]),
        math.nan if compute is None else compute_as_published(refined),
        parameters_of(refined),
    )
    published = (resolution, compute, parameters)
    good = all(
        wanted is None or abs(number / wanted - 1) < (0.01 if place else 1e-9)
        for place, (number, wanted) in enumerate(zip(numbers, published, strict=True))
    )
    text = f"{label}: {numbers[0]:.0f} px, {numbers[1]:.4g} G, {numbers[2]:.4g} M"
    print(text, f"(published {published})", "as published" if good else "DIFFERS", flush=True)
    return text, good


def main() -> int:
    """Return 1 if any row is not as published."""
    warnings.simplefilter("ignore", UserWarning)
    try:
        found = lines([word.lower() for word in sys.argv[1:]])
    except RFAError as error:
        print(error)
        return 1
    return int(not all(good for _, good in found))


if __name__ == "__main__":
    sys.exit(main())
