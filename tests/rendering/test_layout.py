"""Drawing: which renderer is taken, what its failures look like, and that time is limited."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import graphviz
import pytest

from rfa_toolbox.errors import MissingRendererError, RFAError
from rfa_toolbox.rendering import layout
from rfa_toolbox.rendering.layout import LayoutTimeoutError, Picture, PictureScaledWarning, lay_out

FOREVER = """#!/bin/sh
[ -p "$0.life" ] && exec 3> "$0.life"
echo started > "$0.started"
sleep 600 &
wait
"""


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    made = Picture("two", directory=str(tmp_path / "out"))
    made.edge("a", "b")
    return made


@pytest.fixture
def endless_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dot program that never ends, and neither does the program that it starts."""
    if sys.platform == "win32":
        pytest.skip("needs a shell script")
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text(FOREVER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def text_of(svg: Any) -> list[str]:
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- with a renderer -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_a_picture_is_drawn_in_every_usual_format(
    renderer: str, picture: Picture, target: str, start: bytes
) -> None:
    drawn = picture.pipe(target)
    assert isinstance(drawn, bytes)
    assert drawn.startswith(start)
    path = picture.render(format=target)
    assert Path(path).read_bytes().startswith(start)


def test_both_renderers_show_the_names_of_nodes_without_a_label(
    renderer: str, picture: Picture
) -> None:
    picture.node("a", "labelled")
    assert sorted(text_of(picture.pipe("svg"))) == ["b", "labelled"]


def test_render_writes_picture_and_text_and_returns_the_path(
    renderer: str, picture: Picture, tmp_path: Path
) -> None:
    assert picture.render() == str(tmp_path / "out" / "two.gv.pdf")
    assert names_in(tmp_path / "out") == ["two.gv", "two.gv.pdf"]
    assert (tmp_path / "out" / "two.gv").read_text() == picture.source


def test_render_takes_the_usual_arguments(renderer: str, picture: Picture, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    path = picture.render("name.dot", directory=place, format="svg", cleanup=True, engine="neato")
    assert path == str(place / "name.dot.svg")
    assert names_in(place) == ["name.dot.svg"]
    assert picture.render(outfile=place / "own.svg", cleanup=True) == str(place / "own.svg")
    with pytest.raises(graphviz.FileExistsError):
        picture.render(outfile=place / "own.svg", raise_if_result_exists=True)
    assert names_in(place) == ["name.dot.svg", "own.svg"]


def test_pipe_decodes_on_demand(renderer: str, picture: Picture) -> None:
    drawn = picture.pipe("svg", encoding="utf-8")
    assert isinstance(drawn, str)
    assert drawn.startswith("<?xml")


def test_a_notebook_shows_the_picture_inline(renderer: str, picture: Picture) -> None:
    bundle = picture._repr_mimebundle_()
    assert list(bundle) == ["image/svg+xml"]
    assert text_of(bundle["image/svg+xml"]) == ["a", "b"]
    assert text_of(picture._repr_svg_()) == ["a", "b"]
    assert picture._repr_mimebundle_(include=["image/png"])["image/png"].startswith(b"\x89PNG")


def test_view_draws_and_opens(
    renderer: str, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(graphviz, "view", lambda path, quiet: opened.append(path))
    assert picture.view(cleanup=True) == str(tmp_path / "out" / "two.gv.pdf")
    assert opened == [str(tmp_path / "out" / "two.gv.pdf")]


def test_a_failure_of_the_renderer_is_told_in_its_own_words(renderer: str) -> None:
    with pytest.raises(graphviz.CalledProcessError) as caught:
        lay_out("digraph { a -> ", "svg")
    assert b"syntax error" in caught.value.stderr


def test_a_failure_does_not_show_the_program_that_runs_pygraphviz(no_dot: None) -> None:
    with pytest.raises(graphviz.CalledProcessError, match="pygraphviz") as caught:
        lay_out("digraph { a -> ", "svg")
    assert "import" not in str(caught.value.cmd)


@pytest.mark.parametrize(("kind", "hint"), [("SVG", "mean 'svg'"), ("exr", "'exr'; valid are")])
def test_a_format_that_is_not_installed_is_refused_with_those_that_are(
    renderer: str, picture: Picture, kind: str, hint: str
) -> None:
    with pytest.raises(ValueError, match=hint) as caught:
        picture.pipe(kind)
    assert f"format {kind!r}" in str(caught.value)
    assert " svg, " in str(caught.value)


def test_a_failure_leaves_the_files_of_before_alone(
    renderer: str, picture: Picture, tmp_path: Path
) -> None:
    picture.render(format="svg")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    picture.body.append("->")
    with pytest.raises(graphviz.CalledProcessError):
        picture.render(format="svg")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_file_that_cannot_be_written_leaves_no_draft(
    renderer: str, picture: Picture, tmp_path: Path
) -> None:
    blocked = tmp_path / "out" / "two.gv.svg"
    blocked.mkdir(parents=True)
    with pytest.raises(OSError, match=r"two\.gv\.svg"):
        picture.render(format="svg")
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == []


def test_what_the_renderer_says_is_logged_unless_quiet_and_never_on_standard_error(
    renderer: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = "digraph { a [shape=no_such_shape] }"
    lay_out(source, "svg", quiet=True)
    assert not caplog.records
    lay_out(source, "svg")
    assert "no_such_shape" in caplog.text
    assert capfd.readouterr().err == ""


@pytest.mark.dot
def test_a_bitmap_that_had_to_be_made_smaller_says_so() -> None:
    source = "digraph { a [width=400] }"
    with pytest.warns(PictureScaledWarning, match="larger than a png can be"):
        lay_out(source, "png", quiet=True)
    lay_out("digraph { a [width=3] }", "png")


@pytest.mark.dot
def test_a_bitmap_for_a_sheet_of_paper_is_as_fine_as_print(tmp_path: Path) -> None:
    picture = Picture("chain", graph_attr={"size": "7,10"}, format="png")
    for at in range(60):
        picture.edge(str(at), str(at + 1))
    text = picture.source
    bitmaps = (picture.pipe(), Path(picture.render(tmp_path / "chain")).read_bytes())
    for bitmap in bitmaps:
        height = int.from_bytes(bitmap[20:24], "big")  # the second number behind IHDR
        assert 9.9 * 300 < height < 10.1 * 300
    assert picture.source == text == (tmp_path / "chain").read_text()
    root = ET.fromstring(picture.pipe("svg"))
    assert 9.9 * 72 < float(root.attrib["height"].removesuffix("pt")) < 10.1 * 72


@pytest.mark.dot
def test_the_dot_program_goes_first(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "no/such/python")
    assert text_of(picture.pipe("svg")) == ["a", "b"]


def test_neato_may_keep_positions(renderer: str) -> None:
    source = 'graph { a [pos="100,0"]; b [pos="0,0"] }'
    plain = lay_out(source, "plain", engine="neato", neato_no_op=2).decode()
    columns = {line.split()[1]: float(line.split()[2]) for line in plain.splitlines()[1:3]}
    assert columns["a"] > columns["b"]


def test_pygraphviz_is_not_confused_by_files_in_the_working_folder(
    no_dot: None, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pygraphviz")
    (tmp_path / "pygraphviz.py").write_text("raise SystemExit('the wrong file')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    assert text_of(picture.pipe("svg")) == ["a", "b"]


# --- without one -----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_dot", "no_pygraphviz")
@pytest.mark.parametrize("call", ["render", "view", "pipe", "_repr_mimebundle_", "_repr_svg_"])
def test_without_a_renderer_one_sentence_names_both_remedies(
    picture: Picture, tmp_path: Path, call: str
) -> None:
    with pytest.raises(MissingRendererError) as caught:
        getattr(picture, call)()
    message = str(caught.value)
    assert "https://graphviz.org/download/" in message
    assert "'dot'" in message
    assert 'pip install "rfa_toolbox[render]"' in message
    assert "\n" not in message
    assert ". " not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_dot", "no_pygraphviz")
def test_without_a_renderer_the_text_can_still_be_saved(picture: Picture, tmp_path: Path) -> None:
    assert picture.save() == str(tmp_path / "out" / "two.gv")
    assert (tmp_path / "out" / "two.gv").read_text() == picture.source


# --- time ------------------------------------------------------------------------------------


def test_an_endless_layout_is_stopped_with_all_that_it_started(
    endless_dot: Path, picture: Picture, tmp_path: Path
) -> None:
    pipe = endless_dot.with_name("dot.life")
    os.mkfifo(pipe)
    # The pipe has an end when the last program that holds its other side is gone, not before.
    with os.fdopen(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb", 0) as life:
        picture.time_limit = 1.5
        start = time.monotonic()
        with pytest.raises(LayoutTimeoutError, match=r"longer than 1\.5 seconds .*time_limit"):
            picture.render()
        assert time.monotonic() - start < 20
        assert endless_dot.with_name("dot.started").exists(), "the program was not even started"
        assert not (tmp_path / "out").exists()
        while life.read(1) is None:  # not at its end: a program holds it still
            assert time.monotonic() - start < 30, "its child goes on"
            time.sleep(0.02)


def test_the_limit_of_pygraphviz_is_real(no_dot: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pygraphviz")
    # A complete graph of this size keeps the engine busy, in C, for minutes.
    edges = "".join(f"{a} -> {b};" for a in range(200) for b in range(a))
    start = time.monotonic()
    with pytest.raises(LayoutTimeoutError):
        lay_out(f"digraph {{ {edges} }}", "svg", time_limit=2)
    assert time.monotonic() - start < 20


def busy_program(seconds: float) -> list[str]:
    code = f"import time\nwhile time.process_time() < {seconds}: pass"
    return [sys.executable, "-S", "-c", code]


def test_the_limit_counts_what_a_program_computes_and_not_what_others_do() -> None:
    process = subprocess.Popen(busy_program(0.3), start_new_session=True)
    process.send_signal(signal.SIGSTOP)  # as if all processors were busy with something else
    threading.Timer(0.6, lambda: process.send_signal(signal.SIGCONT)).start()
    time.sleep(0.5)
    assert layout._cpu_seconds(process.pid) is not None
    assert layout._wait(process, 3) == 0
    slow = subprocess.Popen(busy_program(60), start_new_session=True)
    with pytest.raises(subprocess.TimeoutExpired):
        layout._wait(slow, 0.3)
    used = layout._cpu_seconds(slow.pid)
    layout._stop(slow)
    assert used is not None
    assert 0.25 < used < 3


def test_a_layout_ends_with_the_program_that_asked_for_it(
    endless_dot: Path, tmp_path: Path
) -> None:
    code = "from rfa_toolbox.rendering.layout import lay_out; lay_out('digraph {}', 'svg')"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    started = endless_dot.with_name("dot.started")
    until = time.monotonic() + 20
    while not started.exists() and time.monotonic() < until:
        time.sleep(0.05)
    children = [
        entry.parent.name
        for entry in Path("/proc").glob("[0-9]*/stat")
        if _parent_of(entry) == parent.pid
    ]
    parent.kill()
    parent.wait()
    assert len(children) == 1
    while Path("/proc", children[0]).exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path("/proc", children[0]).exists()


def _parent_of(stat: Path) -> int | None:
    try:
        return int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_a_timeout_is_an_error_of_this_package_and_a_timeout() -> None:
    assert issubclass(LayoutTimeoutError, RFAError)
    assert issubclass(LayoutTimeoutError, TimeoutError)


def test_an_interrupted_layout_is_stopped(
    endless_dot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    class Interrupted(layout.subprocess.Popen):  # type: ignore[type-arg]
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(layout.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        lay_out("digraph {}", "svg", time_limit=None)
    assert started[0].returncode is not None


@pytest.mark.parametrize("limit", [0, -1, float("nan"), True, False, "x", [1], 1j])
def test_a_limit_that_is_no_time_is_refused(limit: Any) -> None:
    for draw in (
        lambda: lay_out("digraph {}", "svg", time_limit=limit),
        lambda: Picture(time_limit=limit),
    ):
        with pytest.raises(ValueError, match="time_limit") as caught:
            draw()
        assert repr(limit) in str(caught.value)


# --- a Digraph -------------------------------------------------------------------------------


def test_unknown_formats_and_engines_are_refused_by_graphviz(picture: Picture) -> None:
    with pytest.raises(ValueError, match="wav"):
        picture.pipe("wav")
    with pytest.raises(ValueError, match="slow"):
        picture.render(engine="slow")
    with pytest.raises(graphviz.RequiredArgumentError, match="formatter"):
        picture.pipe("svg", formatter="gd")
    with pytest.raises(graphviz.RequiredArgumentError, match="suffix"):
        picture.render(outfile="picture")


def test_a_picture_does_not_overwrite_its_own_text_unasked(picture: Picture) -> None:
    with pytest.raises(ValueError, match="must be different"):
        picture.render("two.svg", outfile="two.svg")


def test_a_suffix_and_a_format_that_disagree_are_warned_about(picture: Picture) -> None:
    with pytest.warns(graphviz.FormatSuffixMismatchWarning, match="svg"):
        assert layout._format_of(Path("a.svg"), "png") == "png"
    with pytest.warns(graphviz.UnknownSuffixWarning, match="txt"):
        assert layout._format_of(Path("a.txt"), "png") == "png"
    assert layout._format_of(Path("a.SVG"), None) == "svg"


def test_a_copy_and_a_subgraph_are_pictures_too(picture: Picture) -> None:
    picture.time_limit = 7
    assert picture.copy().time_limit == 7
    assert picture.copy().source == picture.source
    with picture.subgraph(name="cluster_inner") as inner:
        inner.node("c")
    assert "cluster_inner" in picture.source


def test_save_does_not_touch_an_existing_text_on_demand(picture: Picture, tmp_path: Path) -> None:
    path = Path(picture.save())
    path.write_text("mine")
    picture.save(skip_existing=True)
    assert path.read_text() == "mine"
