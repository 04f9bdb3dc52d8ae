"""``rfa refine``: the ranked table, the stored refinement, and the model before and after."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.refinement import Refinement, suggest_refinements
from tests.cli.conftest import Run

Rfa = Callable[..., Run]

NET = """
from torch import nn

def net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    if find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    (tmp_path / "user_models_refined.py").write_text(NET)
    return f"{tmp_path / 'user_models_refined.py'}:net"


def test_the_table_has_every_refinement_with_the_number_that_apply_takes(rfa: Rfa) -> None:
    run = rfa("refine", "resnet18", "--input-res", "100", "--top", "2")
    advice = suggest_refinements(resnet18(), 100, top=2)
    lines = run.out.splitlines()
    assert lines[0].split()[:2] == ["#", "change"]
    for number, one in enumerate(advice.all, start=1):
        assert lines[number].split()[0] == str(number)
        assert one.words in lines[number]
    assert "resnet18 at 100 px, as it is: good from 139 px." in lines


def test_rows_of_json_and_csv_are_those_of_the_table(rfa: Rfa) -> None:
    words = ("refine", "resnet18", "-r", "100", "--strategy", "drop", "--top", "3")
    found = json.loads(rfa(*words, "--format", "json").out)
    assert (found["format"], found["version"]) == ("rfa.refinements", 1)
    rows = list(csv.DictReader(io.StringIO(rfa(*words, "--format", "csv").out)))
    assert [row["edits"] for row in rows] == [row["edits"] for row in found["refinements"]]
    assert {row["strategy"] for row in rows} == {"drop"}
    assert rows[0]["min_resolution"] == "75x75"


def test_where_nothing_helps_it_says_so_and_is_no_error(rfa: Rfa) -> None:
    words = ("refine", "resnet18", "-r", "16", "--strategy", "patch")
    run = rfa(*words)
    assert run.code == 0
    assert run.out.startswith("No refinement makes resnet18 good at 16 px.")
    assert rfa(*words, "--format", "csv").out.startswith("number,strategy")
    assert rfa(*words, "--format", "json").code == 0


def test_of_a_good_model_it_says_that_nothing_has_to_be_refined(rfa: Rfa) -> None:
    run = rfa("refine", "resnet18", "-r", "140")
    assert run.code == 0
    assert run.out.startswith("resnet18 at 140 px, as it is: good from 139 px.\n")
    assert "nothing has to be refined" in run.out


def test_nothing_is_shown_where_a_file_cannot_be_written(rfa: Rfa, tmp_path: Path) -> None:
    (tmp_path / "name.json").mkdir()
    words = ("refine", "resnet18", "-r", "100", "--top", "1", "--strategy", "drop")
    page = tmp_path / "page.html"
    files = ("--report", page, "--output", tmp_path / "name.json")
    assert "is a folder" in rfa(*words, "--apply", "1", *files).complaint()
    assert not page.exists()


def test_a_stored_refinement_is_the_one_of_the_table(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "refinement.json"
    words = ("refine", "resnet18", "-r", "100", "--top", "2")
    assert rfa(*words, "--output", path).err == f"Wrote {path}\n"
    advice = suggest_refinements(resnet18(), 100, top=2)
    assert Refinement.load(path) == advice.all[0]
    assert rfa(*words, "--apply", "2", "--output", path).code == 0
    assert Refinement.load(path) == advice.all[1]


def test_a_refined_graph_is_shown_before_and_after(rfa: Rfa, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    run = rfa("refine", "resnet18", "-r", "100", "--apply", "1", "--report", page)
    assert run.code == 0, run.err
    assert "resnet18 at 100 px, predicted: stride 1" in run.out
    assert "good from, px" in run.out
    assert "resnet18, refined" in page.read_text("utf-8")


def test_a_model_is_refined_itself_and_is_as_predicted(rfa: Rfa, net: str, tmp_path: Path) -> None:
    path = tmp_path / "refinement.json"
    shape = ("--input-shape", "1x3x64x64")
    run = rfa("refine", net, "-r", "20", *shape, "--apply", "1", "--output", path)
    assert run.code == 0, run.err
    assert "applied, and as predicted" in run.out
    chosen = Refinement.load(path)
    assert chosen.after is not None
    assert max(chosen.after.resolution) < 20 < max(chosen.before.resolution)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--apply", "99"], "There is no refinement 99 at 100 px; the table has 1 to"),
        (["--strategy", "dropp"], "Did you mean 'drop'"),
        (["--max-compute", "much"], "--max-compute is 'much'"),
        (["--max-compute", "0x"], "--max-compute is '0x'"),
        (["--report", "page.html"], "--apply NUMBER"),
        (["--output", "page.csv"], "this command cannot write .csv"),
        (["-r", "32,64"], "names 3 resolutions"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_valid(
    rfa: Rfa, words: list[str], message: str
) -> None:
    assert message in rfa("refine", "resnet18", "-r", "100", "--top", "1", *words).complaint()
