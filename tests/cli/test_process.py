"""``rfa`` as a program: its formats, its exit codes, its files and its manners."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len

import rfa_toolbox
from rfa_toolbox.architectures import vgg16
from rfa_toolbox.cli.app import app
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures
from tests.cli.conftest import COMMAND, ROOT, Run, environment, run_in_terminal, run_process

Rfa = Callable[..., Run]

unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other terminals and signals")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
ESCAPE = "\x1b"
HOSTILE = "[red]x[/red] \x1b[31m\x07\n\u202e[/] '\"<b>"


def is_table(text: str) -> bool:
    return "r_min" in text.splitlines()[0] and "productive" in text


def is_range(text: str) -> bool:
    return "good at 212 px" in text


def is_comparison(text: str) -> bool:
    return text.splitlines()[0].split()[:2] == ["model", "input"]


def is_json(text: str) -> bool:
    return str(json.loads(text)["format"]).startswith("rfa.") and json.loads(text)["version"] == 1


def is_csv(text: str) -> bool:
    rows = list(csv.reader(io.StringIO(text)))
    return len(rows) > 1 and len({len(row) for row in rows}) == 1 and text.endswith("\r\n")


def starts(*heads: str) -> Callable[[str], bool]:
    return lambda text: text.lstrip().startswith(heads)


FORMATS = [
    ("analyze", "txt", is_table),
    ("analyze", "json", is_json),
    ("analyze", "csv", is_csv),
    ("range", "txt", is_range),
    ("range", "json", is_json),
    ("range", "csv", is_csv),
    ("compare", "txt", is_comparison),
    ("compare", "json", is_json),
    ("compare", "csv", is_csv),
    ("draw", "svg", starts("<?xml")),
    ("draw", "pdf", starts("%PDF")),
    ("draw", "png", starts("\x89PNG")),
    ("draw", "dot", starts("digraph")),
    ("report", "html", starts("<!doctype html>")),
]


@pytest.mark.parametrize(("command", "suffix", "is_right"), FORMATS)
def test_every_command_writes_every_format_to_a_file_and_to_a_pipe(
    rfa: Rfa, tmp_path: Path, command: str, suffix: str, is_right: Callable[[str], bool]
) -> None:
    path = tmp_path / f"result.{suffix}"
    run = rfa(command, "vgg16", "--output", path)
    assert (run.code, run.out) == (0, "")
    assert run.err == f"Wrote {path}\n"
    content = path.read_bytes()
    assert is_right(content.decode("latin-1"))
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    named = [] if command == "report" else ["--format", "table" if suffix == "txt" else suffix]
    piped = subprocess.run(
        [*COMMAND, command, "vgg16", *named],
        capture_output=True,
        check=True,
        env=environment(),
    )
    assert piped.stderr == b""
    if suffix != "pdf":  # a PDF tells when it was made
        assert piped.stdout == content


def test_the_default_of_a_command_is_text(rfa: Rfa) -> None:
    assert is_table(rfa("analyze", "vgg16").out)
    assert is_range(rfa("range", "vgg16").out)
    assert is_comparison(rfa("compare", "vgg16", "resnet18").out)
    assert rfa("draw", "vgg16").out.startswith("digraph")


# --- exit codes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "fail_on", "code"),
    [
        ("32", "unproductive", 1),
        ("32", "critical", 1),
        ("230", "unproductive", 0),
        ("230", "critical", 0),
        ("230,32", "unproductive", 1),
        ("100x230", "critical", 0),
    ],
)
def test_layers_that_cannot_help_fail_a_run_if_asked(
    rfa: Rfa, resolution: str, fail_on: str, code: int
) -> None:
    run = rfa("analyze", "vgg16", "-r", resolution, "--fail-on", fail_on, "-f", "json")
    assert run.code == code
    assert json.loads(run.out), "the result is there all the same"
    assert (f"--fail-on {fail_on}" in run.err) == (code == 1)


def test_critical_layers_alone_fail_a_run_only_if_they_are_named(rfa: Rfa) -> None:
    # At this resolution the extractor of ResNet18 has critical layers and no unproductive ones.
    at = next(
        size
        for size in range(230, 1, -1)
        if {
            row.state
            for row in rfa_toolbox.analyze(rfa_toolbox.architectures.resnet18(), size).rows
            if row.in_feature_extractor
        }
        == {"productive", "critical"}
    )
    assert rfa("analyze", "resnet18", "-r", at, "--fail-on", "unproductive").code == 0
    assert rfa("analyze", "resnet18", "-r", at, "--fail-on", "critical").code == 1


def test_the_exit_codes_are_those_of_the_program() -> None:
    assert run_process(["--version"]).out == f"rfa {rfa_toolbox.__version__}\n"
    assert run_process(["analyze", "vgg16", "-r", "32", "--fail-on", "critical"]).code == 1
    assert "--help" in run_process(["analyze"]).complaint()
    assert run_process([]).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["analyze"],
        ["analyse", "vgg16"],
        ["--frobnicate"],
        ["analyze", "vgg16", "--frobnicate"],
        ["analyze", "vgg16", "--fail-on", "sunshine"],
        ["analyze", "vgg16", "--input-res"],
        ["analyze", "vgg16", "--input-res", "32x32x32x32,x"],
        ["analyze", "vgg16", "resnet18"],
        ["analyze", "vgg16", "--format", "xml"],
        ["analyze", "vgg16", "--output", "x.svg"],
        ["analyze", "vgg16", "--output", "x.json", "--format", "csv"],
        ["analyze", "vgg16", "--output", "x.weird"],
        ["analyze", "vgg16", "--output", "x"],
        ["draw", "vgg16", "--format", "json"],
        ["draw", "vgg16", "--output", "x.html"],
        ["report", "vgg16", "--output", "x.pdf"],
        ["report", "vgg16", "--time-limit", "0"],
        ["draw", "vgg16", "--format", "svg", "--time-limit", "0.001"],
        ["draw", "vgg16", "-r", "32,64"],
        ["draw", "vgg16", "--time-limit", "soon"],
        ["draw", "vgg16", "--time-limit", "-1"],
        ["draw", "vgg16", "--time-limit", "nan"],
        ["compare"],
    ],
)
def test_wrong_usage_is_one_line(rfa: Rfa, words: list[str]) -> None:
    said = rfa(*words).complaint()
    assert said.endswith(".")
    assert "mistake in RFA-Toolbox" not in said


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--page", "b9", "'b9' is not one of 'a4', 'letter'"),
        ("--depth", "x", "'x' is not a whole number"),
        ("--depth", "0", "0 is less than 1"),
        ("--time-limit", "soon", "'soon' is not a number"),
    ],
)
def test_a_wrong_value_is_quoted_with_what_is_valid(
    rfa: Rfa, option: str, value: str, said: str
) -> None:
    complaint = rfa("draw", "vgg16", option, value).complaint()
    assert complaint.endswith(f"Invalid value for '{option}': {said}. See rfa draw --help.")


def test_no_layer_is_unproductive_at_the_size_that_is_advised(rfa: Rfa, tmp_path: Path) -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at, kernel in enumerate((1, 1, 3)):
        node = EnrichedNetworkNode(str(at), LayerDefinition("Conv2d", kernel, 2), [node])
    path = tmp_path / "coarse.json"
    path.write_text(json.dumps(node.to_dict()), "utf-8")
    size = re.search(r"use images of (\S+) px or more", rfa("analyze", path, "-r", "4").out)
    assert size
    done = rfa("analyze", path, "-r", size[1], "--fail-on", "unproductive")
    assert done.code == 0, done.err


def test_a_sentence_of_the_parser_ends_before_the_next(rfa: Rfa) -> None:
    assert "--qqq. See rfa analyze --help." in rfa("analyze", "-", "--qqq").complaint()


def test_an_option_that_a_command_lacks_is_no_remedy(rfa: Rfa) -> None:
    assert rfa("report", "vgg16", "--output", "x.weird").complaint().endswith("end it in .html.")


def test_a_resolution_with_the_wrong_number_of_axes_is_one_line(rfa: Rfa, tmp_path: Path) -> None:
    layer = {"class_name": "Conv1D", "config": {"kernel_size": [3], "filters": 8}}
    path = tmp_path / "sound.json"
    path.write_text(json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}}))
    assert "32" in rfa("analyze", path, "-r", "32x32").complaint()


def test_a_picture_for_a_paper_is_drawn_as_the_function_draws_it(rfa: Rfa) -> None:
    words = ["--fuse", "--columns", "2", "--depth", "3", "--page", "a4", "-r", "32"]
    drawn = rfa("draw", "resnet18", *words)
    assert drawn.code == 0
    assert drawn.out == rfa_toolbox.visualize_architecture(
        rfa_toolbox.architectures.resnet18(),
        "resnet18", 32, fuse=True, columns=2, depth=3, page="a4",
    ).source  # fmt: skip
    assert "--page" in rfa("draw", "resnet18", "--page", "a0").complaint()


def test_what_nothing_knows_fails_a_run_if_asked(rfa: Rfa, tmp_path: Path) -> None:
    first = EnrichedNetworkNode("first", LayerDefinition("Conv2d", 3), [])
    strange = EnrichedNetworkNode(
        "strange", LayerDefinition("Warp", 1, filters=8), [first],
        certainty="unknown", certainty_reason="nothing knows Warp",
    )  # fmt: skip
    path = tmp_path / "strange.json"
    path.write_text(json.dumps(strange.to_dict()), "utf-8")
    run = rfa("analyze", path, "-r", "32", "--fail-on", "unknown")
    assert run.code == 1
    assert run.out.startswith("1 layer is unknown (Warp)")
    assert "--fail-on unknown" in run.err
    assert rfa("analyze", "vgg16", "-r", "32", "--fail-on", "unknown").code == 0


@pytest.mark.parametrize("command", ["analyze", "compare"])
def test_every_operation_is_counted_on_demand(rfa: Rfa, command: str) -> None:
    blocks, nodes = (
        rfa(command, "resnet18", "-r", "32", "--layers", one).out for one in ("blocks", "nodes")
    )
    assert rfa(command, "resnet18", "-r", "32").out == blocks
    assert "Stage0-Block0-Addition" not in blocks
    if command == "analyze":
        assert "Stage0-Block0-Addition" in nodes
        assert "Of 31 operations of the feature extractor 10 are unproductive." in nodes
    else:
        assert re.search(r"resnet18 +32 +21 +7 ", blocks)
        assert re.search(r"resnet18 +32 +31 +10 ", nodes)


@unix
def test_a_comparison_fits_into_eighty_columns_without_breaking_a_word() -> None:
    run = run_in_terminal(["compare", "resnet18", "vgg16", "-r", "32,224"], NO_COLOR="1")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", run.out).splitlines()
    assert max(map(len, lines)) <= 80
    assert {"good", "red", "139-435", "extractor,"} <= set(" ".join(lines).split())


def test_a_question_ends_in_its_own_mark(rfa: Rfa) -> None:
    assert "Did you mean 'analyze'? See" in rfa("analyse", "vgg16").complaint()


def test_a_report_opens_at_the_first_resolution_and_shows_the_others_beside_it(
    rfa: Rfa, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    assert rfa("report", "vgg11", "vgg16", "-r", "48,96", "-o", path).code == 0
    expected = rfa_toolbox.make_report(
        {"vgg11": rfa_toolbox.architectures.vgg11(), "vgg16": vgg16()}, 48, compare_at=[96]
    )
    assert path.read_text("utf-8") == expected.html


def test_a_report_counts_what_it_is_told_and_takes_options_of_earlier_versions(
    rfa: Rfa, tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    words = ("--layers", "nodes", "--refinements", "1", "--time-limit", "9")
    assert rfa("report", "vgg11", "-r", "48", *words, "-o", path).code == 0
    expected = rfa_toolbox.make_report(
        {"vgg11": rfa_toolbox.architectures.vgg11()}, 48, layers="nodes", refinements=1
    )
    assert path.read_text("utf-8") == expected.html
    assert "--time-limit" not in rfa("report", "--help").out


def test_the_remedy_for_a_contradiction_is_named(rfa: Rfa) -> None:
    said = rfa("analyze", "vgg16", "--output", "x.json", "--format", "csv").complaint()
    assert "contradict" in said
    assert ".csv" in said
    assert ".txt, .json or .csv" in rfa("analyze", "vgg16", "-o", "x.weird").complaint()


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("raise RuntimeError('broken on purpose')", "utf-8")
    words = ["analyze", f"{tmp_path / 'net.py'}:make"]
    assert "broken on purpose" in run_process(words).complaint()
    shown = run_process([*words, "--debug"])
    assert shown.code == 2
    assert "Traceback" in shown.err
    assert shown.out == ""


# --- the experiment --------------------------------------------------------------------------

NET = """
import torch
from rfa_toolbox.encodings.pytorch import add_custom_layer_handler

class Pool(torch.nn.MaxPool2d):
    pass

def right():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), Pool(2))

def wrong():
    add_custom_layer_handler(
        "Pool", name_handler=lambda module, name: "Pool", kernel_size_provider=lambda module: 5
    )
    return right()

class OfImages(torch.nn.Conv2d):
    def __init__(self):
        super().__init__(3, 4, 3)

    def forward(self, images: list[torch.Tensor]):
        return [super(OfImages, self).forward(one) for one in images if one.ndim == 3]
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET, "utf-8")
    return str(tmp_path / "net.py")


@needs_torch
@pytest.mark.parametrize(
    ("form", "is_right"),
    [("table", starts("layer ")), ("json", is_json), ("csv", is_csv)],
)
def test_an_experiment_is_told_in_every_format(
    rfa: Rfa, net: str, form: str, is_right: Callable[[str], bool]
) -> None:
    run = rfa("verify", f"{net}:right", "--format", form)
    assert (run.code, run.err) == (0, "")
    assert is_right(run.out)
    assert "differs" not in [word.strip('",') for word in run.out.split()] or form == "json"


@needs_torch
def test_an_experiment_that_contradicts_the_analysis_fails_the_run(net: str) -> None:
    run = run_process(["verify", f"{net}:wrong", "--format", "json"])
    assert run.code == 1
    assert "contradicts" in run.err
    verdicts = {node["name"]: node["verdict"] for node in json.loads(run.out)["nodes"]}
    assert list(verdicts.values()) == ["agrees", "differs"]
    assert run_process(["verify", f"{net}:right", "--input-shape", "1x3x40x40"]).code == 0


@needs_torch
def test_one_shape_is_a_list_of_one_image_for_a_model_that_takes_a_list(rfa: Rfa, net: str) -> None:
    run = rfa("verify", f"{net}:OfImages", "--input-shape", "3x40x40", "--format", "csv")
    assert (run.code, run.err) == (0, "")
    assert "agrees" in run.out


@needs_torch
def test_an_experiment_that_runs_out_of_time_says_how_far_it_came(rfa: Rfa, net: str) -> None:
    run = rfa("verify", f"{net}:right", "--time-limit", "0.001")
    assert run.code == 0
    assert "stopped after 0.001 seconds with 0 of 2 layers measured" in run.err
    assert "stopped after 0.001 seconds" in run.out
    assert rfa("verify", f"{net}:right", "--time-limit", "inf").err == ""


def test_an_experiment_needs_a_model_that_runs(rfa: Rfa) -> None:
    assert "is a graph" in rfa("verify", "vgg16").complaint()


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["missing/result.json", "file/result.json", "/proc/result.json", "folder.json"]
)
def test_a_place_that_cannot_be_written_is_one_line(rfa: Rfa, tmp_path: Path, place: str) -> None:
    if place.startswith("/proc") and not Path("/proc/self").exists():
        place = "missing/too/result.json"
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.json").mkdir()
    before = sorted(tmp_path.rglob("*"))
    said = rfa("analyze", "vgg16", "--output", tmp_path / place).complaint()
    assert "cannot be written" in said
    assert "--output" in said
    assert sorted(tmp_path.rglob("*")) == before


# Root may write into any folder, unless it gives that up.
GIVE_UP = tuple(
    f"--{which}=-dac_override,-dac_read_search" for which in ("bounding-set", "inh-caps")
)


def test_a_read_only_folder_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old.json").write_text("old")
    folder.chmod(0o555)
    prefix: tuple[str, ...] = ()
    try:
        if os.access(folder, os.W_OK):
            prefix = ("setpriv", *GIVE_UP)
            if (
                not shutil.which("setpriv")
                or subprocess.run([*prefix, "true"], check=False).returncode
            ):
                pytest.skip("this user may write into any folder")
        for name in ("old.json", "new.json"):
            run = run_process(["range", "vgg16", "-o", folder / name], prefix=prefix)
            assert "cannot be written: Permission denied" in run.complaint()
    finally:
        folder.chmod(0o755)
    assert [(one.name, one.read_text()) for one in folder.iterdir()] == [("old.json", "old")]


def test_a_disk_that_is_full_leaves_the_old_file(
    rfa: Rfa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.json"
    path.write_text("old")

    class Full(io.BytesIO):
        def writelines(self, parts: Iterable[Any]) -> None:
            raise OSError(28, "No space left on device")

    def opened(self: Path, mode: str = "r", **options: Any) -> Any:
        self.touch()
        return Full() if self.suffix == ".tmp" else real(self, mode, **options)

    real = Path.open
    monkeypatch.setattr(Path, "open", opened)
    assert "No space left on device" in rfa("range", "vgg16", "-o", path).complaint()
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("old.json", "old")]


@unix
def test_links_and_devices_stay_what_they_are(rfa: Rfa, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert rfa("range", "vgg16", "-o", tmp_path / "link.json").code == 0
    assert (tmp_path / "link.json").is_symlink()
    assert is_json((tmp_path / "real.json").read_text())
    assert rfa("range", "vgg16", "-f", "json", "-o", "/dev/null").code == 0
    assert Path("/dev/null").is_char_device()


def test_a_dash_is_standard_output(rfa: Rfa) -> None:
    assert is_csv(rfa("range", "vgg16", "-o", "-", "-f", "csv").out)


# --- pipes and signals -----------------------------------------------------------------------


@unix
@pytest.mark.parametrize("words", [["analyze", "vgg16"], ["analyze", "vgg16", "-f", "json"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str]) -> None:
    # So many resolutions that the pipe is full before all is written.
    words = [*words, "-r", ",".join(map(str, range(20, 60)))]
    program = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.readline()
    program.stdout.close()
    said = program.stderr.read()
    program.stderr.close()
    assert (program.wait(60), said) == (0, b"")


@unix
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_that_is_full_is_one_line(unbuffered: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "analyze", "vgg16"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=environment(PYTHONUNBUFFERED=unbuffered),
        )
    assert "No space left on device" in Run(done.returncode, "", done.stderr).complaint()


@unix
def test_control_c_ends_a_run_with_nothing_half_written(tmp_path: Path) -> None:
    started = tmp_path / "started"
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "def make():\n"
        f"    pathlib.Path({str(started)!r}).touch()\n"
        "    time.sleep(60)\n",
        "utf-8",
    )
    (tmp_path / "old.json").write_text("old")
    program = subprocess.Popen(
        [*COMMAND, "analyze", f"{tmp_path / 'slow.py'}:make", "-o", str(tmp_path / "old.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    for _ in range(600):
        if started.exists():
            break
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (130, b"", b"")
    assert (tmp_path / "old.json").read_text() == "old"
    left = {one.name for one in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"slow.py", "started", "old.json"}


# --- terminals -------------------------------------------------------------------------------


def table_of(run: Run) -> list[str]:
    """Return the lines from the heading of a table on, as they can be seen."""
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", run.out).splitlines()
    return lines[next(at for at, line in enumerate(lines) if line.rstrip().endswith("state")) :]


def test_nothing_but_text_goes_into_a_pipe() -> None:
    run = run_process(["analyze", "resnet18", "-r", "32"], TERM="xterm-256color")
    assert ESCAPE not in run.out
    assert run.err == ""


@unix
def test_a_terminal_gets_colours_and_no_more_than_its_width() -> None:
    run = run_in_terminal(["analyze", "resnet18", "-r", "32"])
    assert run.code == 0
    assert f"{ESCAPE}[1;31m" in run.out, "unproductive layers are red"
    assert max(map(len, table_of(run))) <= 80


@unix
@pytest.mark.parametrize("columns", [40, 80, 140])
def test_a_table_fits_into_the_terminal_and_names_every_state(columns: int) -> None:
    run = run_in_terminal(["analyze", "resnet18", "-r", "32x64"], columns, NO_COLOR="1")
    table = table_of(run)
    assert max(map(len, table)) <= columns
    rows = table[1:24]
    assert all(row.endswith(("productive", "critical", "sees everything")) for row in rows)
    assert ("jump" in table[0]) == (columns == 140)


@unix
def test_wide_letters_do_not_push_the_state_out_of_the_terminal(tmp_path: Path) -> None:
    node = EnrichedNetworkNode("漢字" * 40, LayerDefinition("Conv2d", 3), [])
    path = tmp_path / "wide.json"
    path.write_text(json.dumps(node.to_dict()), "utf-8")
    run = run_in_terminal(["analyze", str(path), "-r", "32"], NO_COLOR="1")
    assert table_of(run)[1].endswith("productive")
    assert max(map(cell_len, table_of(run))) <= 80


@unix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_a_closed_stream_does_not_change_what_a_run_comes_to(closed: str) -> None:
    for resolution, code in (("32", 1), ("300", 0), ("x", 2)):
        words = [*COMMAND, "analyze", "vgg16", "-r", resolution, "--fail-on", "unproductive"]
        ran = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], check=False)
        assert ran.returncode == code


@unix
def test_no_color_means_no_colour() -> None:
    run = run_in_terminal(["analyze", "resnet18", "-r", "32"], NO_COLOR="1")
    assert "unproductive" in run.out
    assert not re.search(r"\x1b\[[0-9;]*m", run.out), run.out


@unix
def test_a_dumb_terminal_gets_plain_text() -> None:
    assert ESCAPE not in run_in_terminal(["analyze", "vgg16"], TERM="dumb").out


@unix
@pytest.mark.parametrize("words", [["draw", "-f", "png"], ["draw", "-f", "svg"], ["report"]])
def test_a_picture_is_not_poured_into_a_terminal(words: list[str]) -> None:
    run = run_in_terminal([*words, "vgg16"])
    assert run.code == 2
    assert "--output" in run.out


@unix
@pytest.mark.parametrize("words", [["analyze"], ["analyze", "-f", "csv"], ["compare"]])
def test_names_cannot_steer_a_terminal(tmp_path: Path, words: list[str]) -> None:
    graph = vgg16().to_dict()
    for node in graph["nodes"]:
        node["name"] = f"{HOSTILE}{node['name']}"
    path = tmp_path / "[blink]hostile\x1b]0;title\x07.json"
    path.write_text(json.dumps(graph), "utf-8")
    command, *options = words
    run = run_in_terminal([command, str(path), *options, "-r", "32"], 140, NO_COLOR="1")
    assert run.code == 0, run.out
    own = re.sub(r"\x1b\[(\?25[lh]|[0-9]*A|2K)|\r", "", run.out)  # the sign of progress
    assert ESCAPE not in own
    assert "\x07" not in own
    assert "\u202e" not in own
    if command == "analyze" and not options:
        assert "[red]" in own, "markup is shown as it stands"


def test_errors_cannot_steer_a_terminal(rfa: Rfa) -> None:
    said = rfa("analyze", "\x1b[31m[red]\n.json").complaint()
    assert ESCAPE not in said
    assert "[red]" in said


def test_names_stay_as_they_are_in_files(rfa: Rfa, tmp_path: Path) -> None:
    graph = vgg16().to_dict()
    graph["nodes"][0]["name"] = HOSTILE
    (tmp_path / "graph.json").write_text(json.dumps(graph), "utf-8")
    shown = json.loads(rfa("analyze", tmp_path / "graph.json", "-f", "json").out)
    assert shown["results"][0]["rows"][0]["name"] == HOSTILE
    rows = csv.DictReader(io.StringIO(rfa("analyze", tmp_path / "graph.json", "-f", "csv").out))
    assert next(rows)["name"] == HOSTILE


def test_letters_that_an_encoding_lacks_do_not_end_a_run(tmp_path: Path) -> None:
    graph = vgg16().to_dict()
    graph["nodes"][0]["name"] = "größe \ud800 \N{CJK UNIFIED IDEOGRAPH-4E2D}"
    (tmp_path / "graph.json").write_text(json.dumps(graph), "utf-8")
    run = run_process(
        ["analyze", tmp_path / "graph.json", "--layers", "nodes"],
        PYTHONIOENCODING="ascii",
        PYTHONUTF8="0",
    )
    assert run.code == 0, run.err
    assert "gr\\xf6\\xdfe" in run.out


# --- help and completion ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "analyze",
        "draw",
        "range",
        "compare",
        "report",
        "refine",
        pytest.param("verify", marks=[pytest.mark.slow, needs_torch]),
    ],
)
def test_the_help_of_a_command_has_an_example_that_works(
    rfa: Rfa,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if command == "verify":
        request.getfixturevalue("torchvision")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    shown = rfa(command, "--help")
    assert shown.code == 0
    example = re.search(r"Example: rfa (.*?)\s*$", shown.out, re.MULTILINE)
    assert example is not None, shown.out
    monkeypatch.chdir(tmp_path)
    assert rfa(*example[1].split()).code == 0


def test_every_option_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference" / "command_line.md").read_text("utf-8")
    guide = (ROOT / "docs" / "guides" / "command_line.md").read_text("utf-8")
    group = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands  # type: ignore[attr-defined]
    assert all(f"`rfa {name} S" in guide for name in commands), sorted(commands)
    for one in (group, *commands.values()):
        names = {name for parameter in one.params for name in parameter.opts}
        missing = {name for name in names if name.startswith("-") and f"`{name}`" not in page}
        assert missing <= {"--install-completion", "--show-completion"}, missing


def test_no_words_are_answered_with_help(rfa: Rfa) -> None:
    assert "analyze" in rfa().out
    assert rfa().code == 0


def complete(words: str, count: int, **changes: str) -> str:
    done = subprocess.run(
        COMMAND,
        capture_output=True,
        text=True,
        check=False,
        env=environment(
            _RFA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(count), **changes
        ),
    )
    assert done.stderr == ""
    return done.stdout


def test_the_shell_completes_commands_and_architectures(tmp_path: Path) -> None:
    assert complete("rfa ana", 1, HOME=str(tmp_path)).split() == ["analyze"]
    assert complete("rfa analyze resnet1", 2).split() == ["resnet18", "resnet101", "resnet152"]
    assert not list(tmp_path.iterdir()), "nothing is installed unasked"


def test_the_script_for_completion_is_shown_on_request(tmp_path: Path) -> None:
    done = subprocess.run(
        COMMAND,
        capture_output=True,
        text=True,
        check=True,
        env=environment(_RFA_COMPLETE="source_bash", HOME=str(tmp_path)),
    )
    assert "_RFA_COMPLETE=complete_bash" in done.stdout
    assert not list(tmp_path.iterdir())


# --- speed -----------------------------------------------------------------------------------


def test_no_framework_is_imported_unless_the_model_needs_it() -> None:
    code = (
        "import sys; from rfa_toolbox.cli import main; main(['analyze', 'vgg16']);"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "rich" in loaded
    assert not loaded & {"torch", "keras", "tensorflow", "pandas", "pygraphviz", "jinja2"}


def test_a_range_says_of_which_size_it_is_where_every_image_is_resized(
    rfa: Rfa, tmp_path: Path
) -> None:
    resize = LayerDefinition("Resize", (2, 2), (4, 4), resolution_dependent=True)
    small = EnrichedNetworkNode("resize", resize, [], measures=Measures((320, 320), (9, 9)))
    graph = EnrichedNetworkNode("conv", LayerDefinition("Conv2d", (7, 7), (1, 1)), [small])
    (tmp_path / "graph.json").write_text(json.dumps(graph.to_dict()), "utf-8")
    said = rfa("range", tmp_path / "graph.json").out
    assert "resizes every image to 9 px" in said
    assert said.endswith("The range is in pixels of what it resizes to.\n")
    assert "resizes" not in rfa("range", "vgg16").out
