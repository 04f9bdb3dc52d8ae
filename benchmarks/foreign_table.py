"""What the tables of foreign models share: rows that are written as they come."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["continued", "installed", "judged", "not_measured"]


def installed(folder: Path, packages: Iterable[str]) -> None:
    """Install packages into a folder, without what they depend on: that is another framework."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, *packages], check=True)


def continued(
    output: Path,
    columns: Sequence[str],
    models: Iterable[str],
    row_of: Callable[[str], Mapping[str, Any]],
) -> list[dict[str, str]]:
    """Add the models to a table that it does not have yet; return all of its rows."""
    rows = list(csv.DictReader(output.open())) if output.exists() else []
    done = {row["model"] for row in rows}
    new = not rows
    with output.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        for name in models:
            if name in done:
                continue
            try:
                row = row_of(name)
            except Exception as error:  # noqa: BLE001 a library that cannot make its own model
                print(
                    f"{name} was not made: {type(error).__name__}: {str(error)[:200]}", flush=True
                )
                continue
            writer.writerow(row)
            file.flush()
            rows.append({key: str(one) for key, one in row.items()})
            print(", ".join(f"{key} {one}" for key, one in row.items() if one != ""), flush=True)
    return rows


def judged(counts: Mapping[str, int]) -> dict[str, int]:
    """Return what a table tells of an experiment: a bound that holds agrees.

    >>> judged({"agrees": 5, "bound": 1, "not measured": 2, "differs": 0})
    {'agrees': 6, 'not measured': 2, 'differs': 0}
    """
    return {
        "agrees": counts["agrees"] + counts["bound"],
        "not measured": counts["not measured"],
        "differs": counts["differs"],
    }


def not_measured(report: Any) -> list[str]:
    """Return the most frequent reason why nodes of a report were not measured, if some were not."""
    reasons = Counter(one.reason for one in report.nodes if one.verdict == "not measured")
    return [f"{count} not measured: {reason}" for reason, count in reasons.most_common(1)]
