"""Hold the published refinements against the edits that give them, and write a table.

    python benchmarks/published_refinements.py "torchvision mobilenet_v3_small"
    python benchmarks/published_refinements.py --output docs/published_refinements.md

Models are named as in the table; without a name all of them are computed, which takes minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rfa_toolbox import input_resolution_range
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement import edit
from tests.refinement.published import ROWS, Row, compute_as_published, graph_of, parameters_of

COLUMNS = ("model", "good from", "published", "compute, G", "by hand", "parameters, M", "edit")
MARK = "<!-- table -->\n"


def line_of(row: Row) -> str:
    """Return the line of the table for one published refinement."""
    graph = graph_of(row.model(), row.size)
    refined = edit(graph, row.edits)
    compute = f"{compute_as_published(graph):.3f} -> {compute_as_published(refined):.3f}"
    cells = (
        f"{row.label}{'' if row.size == 224 else f' ({row.size} px)'}",
        f"{_least(graph)} -> {_least(refined)}",
        "{} -> {}".format(*row.resolutions) if row.published else "-",
        compute,
        f"{row.compute:g}",
        f"{parameters_of(refined):.3f}",
        "; ".join(one.words for one in row.edits),
    )
    return _line(cells)


def _least(graph: EnrichedNetworkNode) -> int:
    """Return the smallest feasible resolution in pixels; the published models are square."""
    return int(max(input_resolution_range(graph)[0]))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, or write it behind its mark in a page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="as the table names it")
    parser.add_argument("--output", type=Path, help="the page whose table is written anew")
    options = parser.parse_args()
    known = {row.label: row for row in ROWS}
    missing = [name for name in options.models if name not in known]
    if missing:
        parser.error(f"{missing!r} is not among {sorted(known)!r}")
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    print(*lines, sep="\n")
    for name in options.models or known:
        lines.append(line_of(known[name]))
        print(lines[-1], flush=True)
    if options.output is not None:
        above, mark, _ = options.output.read_text("utf-8").partition(MARK)
        if not mark:
            parser.error(f"{options.output} lacks the line {MARK.strip()!r}")
        options.output.write_text(above + MARK + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
