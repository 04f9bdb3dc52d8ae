"""Hold analysis against experiment for many models, and write a table with a row for each.

    python benchmarks/verify_zoo.py --output zoo.csv torchvision timm keras:MobileNetV2
    python benchmarks/verify_zoo.py --output zoo.md "RepVGG" resnet50 @names.txt

Names are those of torchvision, timm (also families of ``tests/empirical/zoo.py``) and, with
"keras:", of keras.applications; "@FILE" reads names from a file. Rows are written as they come,
so that a run that was stopped goes on where it was: models that the table has are left out.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rfa_toolbox.empirical import verify
from rfa_toolbox.errors import RFAError
from tests.empirical.zoo import build, family_of, spelled

COLUMNS = (
    *("model", "family", "nodes", "agrees", "bound", "not measured", "differs"),
    *("input", "passes", "seconds", "notes"),
)


def row_of(name: str) -> dict[str, object]:
    """Return the row of one model."""
    begin = time.perf_counter()
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row |= {"model": name, "family": family_of(name)}
    try:
        report = verify(build(name))
    except RFAError as error:
        return row | {"notes": str(error)}
    doubtful = [one for one in report.nodes if one.verdict in {"differs", "not measured"}]
    doubtful.sort(key=lambda one: one.verdict)
    reasons = list(dict.fromkeys(f"{one.name}: {one.reason}" for one in doubtful))
    return row | {
        "nodes": len(report.nodes),
        **report.counts,
        "input": " and ".join("x".join(map(str, shape)) for shape in report.input_shapes),
        "passes": sum(map(sum, report.passes)),
        "seconds": round(time.perf_counter() - begin, 1),
        "notes": "; ".join(reasons[:3]),
    }


def as_markdown(rows: list[dict[str, str]]) -> str:
    """Return a table for the documentation."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(str(row[one]) for one in COLUMNS) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the models that the table does not have yet; return 1 if any node differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--output", type=Path, required=True, help="a file .csv, or .md beside it")
    options = parser.parse_args()
    names: list[str] = []
    for name in options.names:
        names += Path(name[1:]).read_text().split() if name.startswith("@") else [name]
    table = options.output.with_suffix(".csv")
    rows = list(csv.DictReader(table.open())) if table.exists() else []
    known = {row["model"] for row in rows}
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not rows:
            writer.writeheader()
        for name in spelled(names):
            if name in known:
                continue
            row = row_of(name)
            writer.writerow(row)
            file.flush()
            print(name, {key: row[key] for key in COLUMNS[2:7]}, row["seconds"], row["notes"])
            sys.stdout.flush()
    rows = list(csv.DictReader(table.open()))
    if options.output.suffix == ".md":
        options.output.write_text(as_markdown(rows))
    return int(any(row["differs"] not in {"", "0"} for row in rows))


if __name__ == "__main__":
    sys.exit(main())
