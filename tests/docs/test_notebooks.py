"""The example notebooks run from top to bottom, and say what stands in them.

Write them anew with ``--update-golden``.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))

# Some builds of PyTorch lack operators that torchvision looks for when it is imported.
PREPARE = "from tests.frameworks import import_torchvision; import_torchvision()"

pytestmark = [
    pytest.mark.slow,
    # What the libraries of Jupyter say of one another; nothing in this repository can change that.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Proactor event loop:RuntimeWarning"),
]


def said(notebook: Any) -> list[str]:
    """The plain text of all outputs."""
    return [
        output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]


def joined(outputs: list[Any]) -> list[Any]:
    """Outputs in which the pieces of one stream, which come as they come, are one piece."""
    whole: list[Any] = []
    for output in outputs:
        before = whole[-1] if whole else {}
        if output["output_type"] == "stream" and output["name"] == before.get("name"):
            before["text"] += output["text"]
        else:
            whole.append(output)
    return whole


def executed(notebook: Any) -> Any:
    """A notebook after all of its cells have run, in a kernel of its own."""
    import nbformat
    from nbclient import NotebookClient

    result = copy.deepcopy(notebook)
    result.cells.insert(0, nbformat.v4.new_code_cell(PREPARE))
    NotebookClient(result, timeout=300, kernel_name="python3").execute()
    del result.cells[0]
    count = 0
    for cell in result.cells:
        cell.metadata.pop("execution", None)  # the times of this run
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = joined(cell.outputs)
            for output in cell.outputs:
                if "execution_count" in output:
                    output["execution_count"] = count
    return result


def test_the_notebooks_are_found() -> None:
    assert len(NOTEBOOKS) == 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_stands_in_it(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, torchvision: Any
) -> None:
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    notebook = nbformat.read(path, as_version=4)
    fresh = executed(notebook)
    if request.config.getoption("--update-golden"):
        nbformat.write(fresh, path)
        notebook = fresh
    assert said(fresh) == said(notebook), "if that is meant, run with --update-golden"
    assert said(fresh)
    assert path.stat().st_size < 100_000
