"""The script of the report has types, in its comments, and they fit."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import rfa_toolbox

TYPESCRIPT = "typescript@5.9.3"
ASSETS = Path(rfa_toolbox.__file__).parent / "rendering" / "report" / "assets"


def test_the_types_of_the_script_fit() -> None:
    npx = shutil.which("npx")
    if npx is None or "npx" not in os.environ.get("RFA_TEST_REQUIRE", "").split():
        pytest.skip("asked for with 'npx' in RFA_TEST_REQUIRE: it fetches the TypeScript compiler")
    command = [npx, "--yes", "--package", TYPESCRIPT, "tsc", "--project", ASSETS / "jsconfig.json"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stdout + result.stderr
