"""Hold analysis against experiment for many models, and write a table with a row for each.

    python benchmarks/verify_zoo.py --output zoo.csv torchvision timm keras:MobileNetV2
    python benchmarks/verify_zoo.py --output zoo.md "RepVGG" resnet50 @names.txt

Names are those of torchvision, timm (also families of ``tests/empirical/zoo.py``, and settings as
in "resnet50:output_stride=8" or "seresnet18:gates=opened") and, with "keras:", of
keras.applications; "@FILE" reads names from a file. Rows are written as they come,
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
from rfa_toolbox.empirical.measurement import MAX_PASSES
from rfa_toolbox.errors import RFAError
from tests.empirical.zoo import build, family_of, options_of, spelled

COLUMNS = (
    *("model", "family", "nodes", "agrees", "bound", "not measured", "differs"),
    *("input", "passes", "seconds", "notes"),
)


def row_of(name: str, max_passes: int) -> dict[str, object]:
    """Return the row of one model."""
    begin = time.perf_counter()
    row: dict[str, object] = dict.fromkeys(COLUMNS, "")
    row |= {"model": name, "family": family_of(name)}
    try:
        report = verify(build(name), max_passes=max_passes, time_limit=None, **options_of(name))
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


SHOWN = ("model", "family", "nodes", "agrees", "bound", "not measured", "differs")
MARK = "<!-- table -->\n"


def as_markdown(rows: list[dict[str, str]]) -> str:
    """Return a table for the documentation, with the sums in its last row."""
    sums = {one: str(sum(int(row[one] or 0) for row in rows)) for one in SHOWN[2:]}
    sums |= {"model": f"**{len(rows)} models**", "family": ""}
    lines = ["| " + " | ".join(SHOWN) + " |", "|" + "---|" * len(SHOWN)]
    lines += ["| " + " | ".join(row[one] for one in SHOWN) + " |" for row in (*rows, sums)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the models that the table does not have yet; return 1 if any node differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a file .csv, or a page .md beside one, of which the table is written anew",
    )
    parser.add_argument("--max-passes", type=int, default=MAX_PASSES, help="then give a layer up")
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
            row = row_of(name, options.max_passes)
            writer.writerow(row)
            file.flush()
            print(name, {key: row[key] for key in COLUMNS[2:7]}, row["seconds"], row["notes"])
            sys.stdout.flush()
    rows = list(csv.DictReader(table.open()))
    if options.output.suffix == ".md":
        page = options.output.read_text() if options.output.exists() else ""
        before, mark, _ = page.partition(MARK)
        rows.sort(key=lambda row: (row["family"] != "torchvision", row["family"].lower()))
        options.output.write_text((before + mark if mark else "") + as_markdown(rows))
    return int(any(row["differs"] not in {"", "0"} for row in rows))


if __name__ == "__main__":
    sys.exit(main())
