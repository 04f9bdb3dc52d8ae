"""Take every downsampling step out of many live models, and write a table with a row for each.

    python benchmarks/refine_zoo.py --output zoo.csv torchvision timm:hrnet_w18_small
    python benchmarks/refine_zoo.py --output docs/refined_models.md torchvision timm-40

Names are those of ``benchmarks/verify_zoo.py``; "timm-40" is the first model of forty families of
timm. A step is taken out of the graph, which predicts the refined network, and out of the
model, which is then encoded again. It is "equal" if both agree in every field, map and count, and
"refused" otherwise, with the reason. Models are made without memory where they can be. Rows are
written as they come, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from rfa_toolbox import create_graph_from_pytorch_model, input_resolution_range
from rfa_toolbox.errors import RFAError
from rfa_toolbox.refinement import downsampling_steps, refine_model, refinement_of
from rfa_toolbox.refinement.steps import without
from tests.empirical.zoo import IN_TESTS, build, family_of, spelled

COLUMNS = ("model", "step", "layers", "before", "predicted", "result", "reason")
FORTY = (
    *[f"timm:{name}" for name in IN_TESTS if ":" not in name][:33],
    *("timm:hrnet_w18_small", "timm:vit_tiny_patch16_224", "timm:swin_tiny_patch4_window7_224"),
    *("timm:coatnet_0_rw_224", "timm:pvt_v2_b0", "timm:twins_svt_small", "timm:levit_128s"),
)
"""The first of the families of the tests, one that samples up, and six transformers."""


def without_memory(name: str) -> Any:
    """Make a model on the meta device, or move it there where it cannot be made so."""
    try:
        with torch.device("meta"):
            return build(name)
    except (RuntimeError, NotImplementedError, TypeError):
        return build(name).to("meta")


def shape_for(model: Any) -> tuple[int, ...]:
    """Return the input that a model is made for, one image of it."""
    size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size", (3, 224, 224))
    return (1, *size)


def rows_of(name: str) -> Iterator[dict[str, Any]]:
    """Yield a row for every downsampling step of a model."""
    model = without_memory(name)
    shape = shape_for(model)
    graph = create_graph_from_pytorch_model(model, input_res=shape)
    before = input_resolution_range(graph)[0][0]
    for step in downsampling_steps(graph):
        row = dict.fromkeys(COLUMNS, "") | {
            "model": name,
            "step": step.index,
            "layers": " ".join((*step.nodes, *step.crossing)),
            "before": before,
            "result": "refused",
        }
        try:
            refinement = refinement_of(graph, without(graph, step), shape[2:])
            row["predicted"] = refinement.after.resolution[0] if refinement.after else ""
            refine_model(model, refinement, shape)
        except RFAError as error:
            yield row | {"reason": without_folders(str(error))}
            continue
        yield row | {"result": "equal"}


def without_folders(text: str) -> str:
    """Leave out where on this machine the code of a library is."""
    return re.sub(r"\(/[^()]*/site-packages/", "(", text)


SHOWN = ("model", "family", "steps", "equal", "refused", "why refused")
MARK = "<!-- table -->\n"


def as_markdown(rows: list[dict[str, str]]) -> str:
    """Return a table for the documentation: a line for each model, with the sums in the last."""
    lines = ["| " + " | ".join(SHOWN) + " |", "|" + "---|" * len(SHOWN)]
    results = Counter(row["result"] for row in rows)
    names = sorted({row["model"] for row in rows}, key=lambda one: (one.startswith("timm"), one))
    for name in names:
        own = [row for row in rows if row["model"] == name]
        counts = Counter(row["result"] for row in own)
        reasons = dict.fromkeys(short(row["reason"]) for row in own if row["reason"])
        cells = (name, family_of(name), len(own), counts["equal"], counts["refused"])
        lines.append("| " + " | ".join(map(str, (*cells, "; ".join(reasons)))) + " |")
    sums = (f"**{len(names)} models**", "", len(rows), results["equal"], results["refused"], "")
    lines.append("| " + " | ".join(map(str, sums)) + " |")
    return "\n".join(lines) + "\n"


def short(reason: str) -> str:
    """Return the kind of a reason, which the table of all the steps gives in full."""
    return next((text for mark, text in REASONS.items() if mark in reason), reason[:80])


REASONS = {
    "written in the code": "a stride in code",
    "Change the code of": "a stride in code",
    "A table of positions": "a table of positions",
    "A reshape": "a reshape of fixed size",
    "insists on the size": "a check of the size",
    "has a weight for every position": "a dense layer over all positions",
    "do not fit": "maps that no longer meet",
    "would read maps of": "maps that no longer meet",
    "does otherwise than predicted": "it does otherwise than predicted",
}


def main() -> int:
    """Refine the models that the table does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="+")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a file .csv, or a page .md beside one, of which the table is written anew",
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    names = [one for name in options.names for one in (FORTY if name == "timm-40" else [name])]
    table = options.output.with_suffix(".csv")
    known = {row["model"] for row in csv.DictReader(table.open())} if table.exists() else set()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not known:
            writer.writeheader()
        for name in spelled(names):
            if name in known:
                continue
            known.add(name)
            rows = list(rows_of(name))
            writer.writerows(rows)
            file.flush()
            print(name, *(row["result"] for row in rows), flush=True)
    if options.output.suffix == ".md":
        page = options.output.read_text() if options.output.exists() else ""
        before, mark, _ = page.partition(MARK)
        text = as_markdown(list(csv.DictReader(table.open())))
        options.output.write_text((before + mark if mark else "") + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
