"""Every piece of Python that README and the pages of docs/ show is run, and shows what it says."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import graphviz
import pytest

from tests.docs.markdown_code import (
    RUN,
    code_blocks,
    console_examples,
    fenced_blocks,
    imported_modules,
    run_blocks,
)

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
)
WITH_CODE = [path for path in PAGES if code_blocks(path.read_text("utf-8"))]
WITH_CONSOLE = [path for path in PAGES if "```console" in path.read_text("utf-8")]
NOT_RUN = {"sh", "text", "bibtex", "dot", "json", "{toctree}", "{eval-rst}", "{include}"}
OPTIONAL = {"keras", "pandas", "tensorflow", "torch", "torchvision"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_pages_with_code_are_found() -> None:
    names = {name_of(path) for path in WITH_CODE}
    assert {"README.md", "docs/guides/pytorch.md", "docs/guides/custom_graphs.md"} <= names
    assert len(code_blocks((ROOT / "README.md").read_text("utf-8"))) >= 8


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_names_a_language_that_is_run_or_known_as_not_run(path: Path) -> None:
    languages = {
        re.sub(r"\s.*", "", one.language) for one in fenced_blocks(path.read_text("utf-8"))
    }
    assert languages <= {*RUN, "console", *NOT_RUN}, (
        "A language that nobody knows is code that nobody runs."
    )


@pytest.mark.slow
@pytest.mark.usefixtures("own_handlers")
@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_the_code_of_a_page_runs_and_shows_what_it_says(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    blocks = code_blocks(path.read_text("utf-8"))
    for module in sorted(imported_modules(blocks) & OPTIONAL):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if "torchvision" in imported_modules(blocks):
        request.getfixturevalue("torchvision")
    opened: list[str] = []
    monkeypatch.setattr(graphviz, "view", lambda path, **options: opened.append(path))
    monkeypatch.chdir(tmp_path)
    run_blocks(blocks, path)
    assert len(opened) == sum(block.text.count(".view()") for block in blocks)
    assert all(Path(one).stat().st_size for one in opened)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the pages show a shell of Unix")
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.skipif(find_spec("typer") is None, reason="the command line is not installed")
@pytest.mark.parametrize("path", WITH_CONSOLE, ids=name_of)
def test_the_commands_of_a_page_show_what_it_says(path: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    program = tmp_path / "bin" / "rfa"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rfa_toolbox "$@"\n', "utf-8")
    program.chmod(0o755)
    folders = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for block in fenced_blocks(path.read_text("utf-8")):
        for command, expected in console_examples(block) if block.language == "console" else ():
            done = subprocess.run(
                ["bash", "-c", command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                cwd=tmp_path,
                env={**os.environ, "PATH": folders, "PYTHONPATH": str(ROOT)},
            )
            assert doctest.OutputChecker().check_output(expected, done.stdout, options), (
                f"{path.name}: {command}\n{done.stdout}"
            )


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_and_pictures_of_a_page_lead_to_files(path: Path) -> None:
    text = path.read_text("utf-8")
    for block in fenced_blocks(text):
        text = text.replace(block.text, "")
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    missing = [
        target
        for target in targets
        if not re.match(r"[a-z]+:|#", target)
        and not (path.parent / target.partition("#")[0]).exists()
    ]
    assert not missing, "These lead nowhere."


def readme_command(name: str) -> str:
    text = (ROOT / "README.md").read_text("utf-8")
    _, found, rest = text.partition(f"<!-- command: {name} -->\n")
    assert found, f"README.md has no command named {name!r}."
    return fenced_blocks(rest)[0].text


def test_the_two_commands_of_readme_set_up_everything_by_themselves() -> None:
    for name in ("report", "test"):
        command = readme_command(name)
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install "), command
        assert "-c constraints.txt" in command
    assert "-m pytest" in readme_command("test")
    script = re.search(r"\.venv/bin/rfa report (examples/\S+\.py):", readme_command("report"))
    assert script, "The report is that of an example."
    assert (ROOT / script[1]).is_file()


def test_continuous_integration_runs_the_commands_of_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert "run_readme_command report" in script
    assert "run_readme_command test" in script
