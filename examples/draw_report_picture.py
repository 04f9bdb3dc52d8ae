"""Take the picture of a report that README shows, in a headless Chromium.

    python examples/draw_report_picture.py [FOLDER]

writes report.png into a folder, by default images/. It needs playwright, and Chromium or Chrome.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from models import ResNet18
from playwright.sync_api import sync_playwright

from rfa_toolbox import create_graph_from_pytorch_model, write_report


def draw(folder: Path) -> Path:
    """Write report.png into a folder and return its path."""
    graph = create_graph_from_pytorch_model(ResNet18(), input_res=(1, 3, 224, 224))
    picture = folder / "report.png"
    with tempfile.TemporaryDirectory() as workshop, sync_playwright() as playwright:
        report = write_report({"ResNet18": graph}, Path(workshop, "report.html"), input_res=32)
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 960}, color_scheme="light")
        page.goto(report.as_uri())
        page.screenshot(path=picture)
        browser.close()
    return picture


if __name__ == "__main__":
    print(draw(Path(sys.argv[1] if len(sys.argv) > 1 else "images")))
