"""The rooms of the package and the traffic between them, as the import contracts state it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CHECK = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHECK],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def test_the_import_contracts_are_kept() -> None:
    pytest.importorskip("importlinter")
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("arithmetic.py", "import rfa_toolbox.graphs"),
        ("graphs/node.py", "import rfa_toolbox.analysis"),
        ("analysis/states.py", "import rfa_toolbox.rendering"),
        ("analysis/ranges.py", "import torch"),
        ("architectures/vgg.py", "import rfa_toolbox.analysis"),
    ],
)
def test_the_import_contracts_can_be_broken(tmp_path: Path, room: str, line: str) -> None:
    pytest.importorskip("importlinter")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for source in (ROOT / "rfa_toolbox").rglob("*.py"):
        copied = tmp_path / source.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text(source.read_text())
    changed = tmp_path / "rfa_toolbox" / room
    changed.write_text(f"{changed.read_text()}\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout


def test_graphs_and_analysis_load_no_framework() -> None:
    code = (
        "import sys, rfa_toolbox.graphs, rfa_toolbox.analysis, rfa_toolbox.architectures\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(loaded & {'torch', 'keras', 'tensorflow', 'jax', 'pandas', 'numpy'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "set()\n"
