"""The picture of a report in README can be taken again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def size_of(picture: bytes) -> bytes:
    """Width and height of a PNG, as they stand in it."""
    assert picture.startswith(b"\x89PNG")
    return picture[16:24]


def test_the_picture_of_a_report_is_taken(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    subprocess.run(
        [sys.executable, ROOT / "examples" / "draw_report_picture.py", tmp_path],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    taken, shown = ((at / "report.png").read_bytes() for at in (tmp_path, ROOT / "images"))
    assert size_of(taken) == size_of(shown)
