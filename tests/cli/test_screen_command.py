"""``rfa screen``: a search space from a file to the best candidates."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Run

Rfa = Callable[..., Run]

SPACE = """
from rfa_toolbox.screening import GraphSpec, chain, conv, pool

def net(depth, kernel):
    return GraphSpec(chain(*[chain(conv(8, kernel), pool(2)) for _ in range(depth)]))

def candidates():
    for depth in (1, 2, 3, 4):
        for kernel in (3, 5):
            yield net(depth, kernel)
    yield net, {"depth": 0, "kernel": 3}

several = [net(1, 3), net(2, 3)]
number = 3
empty = []

def nobody():
    yield from ()

def broken():
    yield net(1, 3)
    raise RuntimeError("no more")
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.py").write_text(SPACE)
    return "space.py"


def test_a_table_shows_what_is_kept_and_says_what_failed(rfa: Rfa, space: str) -> None:
    run = rfa("screen", f"{space}:candidates", "--input-res", "32", "--keep", "r_min < 20")
    assert run.code == 0
    head, *lines = run.out.splitlines()
    assert head.split() == [
        "key", "r_min", "r_max", "blocks", "unproductive", "critical", "parameters", "macs",
        "waste",
    ]  # fmt: skip
    assert len(lines) == 4
    assert all(int(line.split()[-8]) < 20 for line in lines)
    assert "A section has no steps" in run.err


def test_the_best_go_into_a_file(rfa: Rfa, space: str, tmp_path: Path) -> None:
    words = ("--input-res", "32,64", "--top", "3", "--by", "macs_at_64", "--output", "best.csv")
    assert rfa("screen", f"{space}:candidates", *words).code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "best.csv").read_text())))
    costs = [int(row["macs_at_64"]) for row in rows if not row["error"]]
    assert len(costs) == 3
    assert costs == sorted(costs)
    assert [row["error"] for row in rows if row["error"]] == ["InvalidGraphError"]


def test_all_rows_go_into_a_file_as_they_come(rfa: Rfa, space: str, tmp_path: Path) -> None:
    words = ("--input-res", "32", "--input-res", "64x32", "--output", "all.csv")
    run = rfa("screen", f"{space}:candidates", *words)
    assert run.code == 0
    assert "A section has no steps" in run.err
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert len(rows) == 9
    assert [bool(row["error"]) for row in rows] == [False] * 8 + [True]
    assert all(row["macs_at_64x32"] for row in rows[:8])
    assert rfa("screen", f"{space}:candidates", "-r", "32", "--format", "csv").out.count("\n") == 10


def test_a_second_call_goes_on_from_the_store(rfa: Rfa, space: str) -> None:
    words = ("screen", f"{space}:several", "-r", "32", "--store", "rows.db", "--format", "json")
    first, second = rfa(*words), rfa(*words)
    assert first.out == second.out
    content = json.loads(first.out)
    assert content["format"] == "rfa.screening"
    assert len(content["rows"]) == 2
    assert "question" in rfa("screen", f"{space}:several", "-r", "64", "--store", "rows.db").err


def test_only_the_front_is_left_with_pareto(rfa: Rfa, space: str) -> None:
    run = rfa("screen", f"{space}:candidates", "-r", "32", "--pareto", "--format", "json")
    rows = [row for row in json.loads(run.out)["rows"] if not row["error"]]
    assert len(rows) == 1  # the smallest network is best in both


def test_a_plot_and_a_page_show_all_candidates(rfa: Rfa, space: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("--plot", "all.svg", "--page", "all.html")
    assert rfa("screen", f"{space}:candidates", "-r", "32", *words).code == 0
    assert "<svg" in (tmp_path / "all.svg").read_text()
    page = (tmp_path / "all.html").read_text()
    assert page.count("<circle") == page.count('class="facts"') == 8
    assert page.count('class="best"') == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["space.py"], "names no candidates"),
        (["space.py:nothing"], "There is no 'nothing'"),
        (["space.py:number"], "space.py:number' is "),
        (["space.py:empty"], "has no candidates"),
        (["space.py:nobody"], "has no candidates"),
        (["no/such.py:all"], "There is no file"),
        (["space.py:broken"], "'space.py:broken' failed with RuntimeError: no more"),
        (["space.py:several", "--memory-limit", "0"], "--memory-limit is 0"),
        (["space.py:several", "--by", "colour"], "--by is 'colour'"),
        (["space.py:several", "--keep", "colour < 3"], "no column"),
        (["space.py:several", "--jobs", "0"], "jobs is 0"),
        (["space.py:several", "--plot", "a.txt"], "--plot is 'a.txt'"),
        (["space.py:several", "--page", "no/such/a.html"], "no such folder"),
        (["space.py:several", "--top", "0"], "n is 0"),
    ],
)
def test_what_does_not_work_is_said_in_one_line(
    rfa: Rfa, space: str, words: list[str], said: str
) -> None:
    assert said in rfa("screen", *words).complaint()
