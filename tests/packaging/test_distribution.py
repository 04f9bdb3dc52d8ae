"""What is shipped: metadata that is true, and a wheel with everything in it."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import rfa_toolbox

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile) -> dict[str, list[str]]:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    message = Parser().parsestr(wheel.read(name).decode())
    return {key: message.get_all(key, []) for key in message}


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_mark_of_typed_packages(
    wheel: zipfile.ZipFile,
) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rfa_toolbox").rglob("*.py")}
    assert "rfa_toolbox/py.typed" in shipped
    assert modules <= shipped
    assert all(name.startswith("rfa_toolbox/") for name in shipped)
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


@pytest.mark.slow
def test_the_core_needs_three_small_libraries_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    required = [line for line in metadata(wheel)["Requires-Dist"] if "extra ==" not in line]
    assert sorted(re.split(r"[^\w-]", line)[0] for line in required) == [
        "attrs",
        "graphviz",
        "numpy",
    ]


@pytest.mark.slow
def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    told = metadata(wheel)
    assert told["Name"] == ["rfa_toolbox"]
    assert told["Version"] == [rfa_toolbox.__version__]
    assert told["Requires-Python"] == [">=3.10"]
    assert told["License-Expression"] == ["MIT"]
    assert {"torch", "pytorch", "keras", "tensorflow", "render", "cli", "docs", "dev"} <= set(
        told["Provides-Extra"]
    )
    for minor in range(10, 15):
        assert f"Programming Language :: Python :: 3.{minor}" in told["Classifier"]


@pytest.mark.slow
def test_the_wheel_brings_the_command_line(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "rfa = rfa_toolbox.cli:main" in wheel.read(name).decode()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in (ROOT / "rfa_toolbox").rglob("*.py")}
    without = sorted(str(one) for one in folders if not (one / "__init__.py").is_file())
    assert not without, "These folders need an __init__.py."


def test_the_changelog_begins_with_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.findall(r"^## \[?(\d+\.\d+\.\d+)", text, re.MULTILINE)[0] == rfa_toolbox.__version__
