"""Graphs to draw, golden files, and machines with and without a Graphviz."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def _skip_without_dot(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("dot") and shutil.which("dot") is None:
        pytest.skip("the dot program of Graphviz is not installed")


@pytest.fixture
def no_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without the dot program."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))


@pytest.fixture
def no_pygraphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python without pygraphviz."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


@pytest.fixture(params=[pytest.param("dot", marks=pytest.mark.dot), "pygraphviz"])
def renderer(request: pytest.FixtureRequest) -> str:
    """Each of the two renderers, with the other one missing."""
    if request.param == "dot":
        request.getfixturevalue("no_pygraphviz")
    else:
        pytest.importorskip("pygraphviz")
        request.getfixturevalue("no_dot")
    return str(request.param)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compare a text with the golden file that is named after the test."""

    def compare(text: str) -> None:
        path = GOLDEN / f"{request.node.name}.dot"
        if request.config.getoption("--update-golden"):
            path.write_text(text, encoding="utf-8", newline="\n")
        assert path.exists(), f"{path} is missing; write it with --update-golden and look at it"
        assert text == path.read_text(encoding="utf-8"), (
            f"the text differs from {path}; if that is meant, run with --update-golden"
        )

    return compare


def conv(
    name: str, *before: EnrichedNetworkNode, kernel: object = 3, stride: object = 1, **more: object
) -> EnrichedNetworkNode:
    """A convolution on top of other nodes."""
    path = more.pop("module_path", None)
    layer = LayerDefinition("Conv", kernel, stride, **more)  # type: ignore[arg-type]
    return EnrichedNetworkNode(name, layer, before, module_path=path)  # type: ignore[arg-type]


@pytest.fixture
def branching() -> EnrichedNetworkNode:
    """The graph that the documentation makes by hand."""
    first = conv("Conv1", filters=64)
    second, third = conv("Conv2", first, filters=128), conv("Conv3", first, filters=256)
    fourth = conv("Conv4", second, third, filters=256)
    dense = LayerDefinition("Fully Connected", units=1000)
    return EnrichedNetworkNode("Softmax", dense, [fourth])
