"""The examples run, and the pictures of README are those that the scripts draw today."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SVG = "{http://www.w3.org/2000/svg}"


def content(picture: Path) -> tuple[list[str], Counter[str | None]]:
    """What a picture says and with which colours; places and sizes depend on the fonts."""
    root = ET.fromstring(picture.read_bytes())
    texts = ["".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")]
    shapes = [*root.iter(f"{SVG}path"), *root.iter(f"{SVG}rect")]
    return sorted(texts), Counter(shape.get("fill") for shape in shapes)


@pytest.fixture(scope="module")
def growth() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "growth_pictures.py"), run_name="growth")


@pytest.mark.dot
def test_the_pictures_of_readme_are_up_to_date(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, EXAMPLES / "draw_readme_pictures.py", tmp_path],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in (ROOT / "images").glob("*.svg"))
    stale = [name for name in drawn if content(tmp_path / name) != content(ROOT / "images" / name)]
    assert not stale, "draw them again with: python examples/draw_readme_pictures.py"


def test_pictures_in_the_repository_are_small() -> None:
    large = [path.name for path in (ROOT / "images").iterdir() if path.stat().st_size > 300_000]
    assert not large


def test_the_model_of_the_example_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = subprocess.run(
        [sys.executable, EXAMPLES / "draw_resnet18.py", tmp_path],
        check=True,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "cannot help at 32 px" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "resnet18_32px.pdf",
        "resnet18_32px.svg",
    ]
    texts, _ = content(tmp_path / "resnet18_32px.svg")
    assert "stages.3.1.conv2" in texts
    assert "r_min = 139x139, r_max = 435x435" in texts


@pytest.mark.parametrize(
    ("kernels", "field"), [([(3, 1)], 3), ([(3, 1)] * 3, 7), ([(3, 2), (3, 1), (3, 1)], 11)]
)
def test_pictures_of_growth_count_what_the_formula_says(
    growth: dict[str, Any], kernels: list[tuple[int, int]], field: int
) -> None:
    layers = [growth["Layer"]("layer", kernel, stride) for kernel, stride in kernels]
    rows = growth["rows_of"](layers, 19)
    assert len(rows[0].seen) == field
    assert len(rows[-1].seen) == 1


def test_pictures_of_growth_colour_what_is_seen(growth: dict[str, Any]) -> None:
    root = ET.fromstring(growth["STRIDE_PICTURE"])
    fills = Counter(square.get("fill") for square in root.iter(f"{SVG}rect"))
    assert fills[growth["SEEN"]] == 11 + 5 + 3
    assert fills[growth["UNIT"]] == 1
    assert "sees 11 pixels" in "".join(root.itertext())
