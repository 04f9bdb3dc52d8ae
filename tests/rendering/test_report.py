"""The report as a file: structure, safety and errors. tests/browser looks at the page itself."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from graphlib import TopologicalSorter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfa_toolbox import (
    EnrichedNetworkNode,
    LayerDefinition,
    analyze,
    make_report,
    views,
    write_report,
)
from rfa_toolbox.analysis import blocks, summarize
from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.architectures.vgg import vgg11
from rfa_toolbox.errors import InvalidGraphError, InvalidResolutionError
from rfa_toolbox.refinement import edit, suggest_refinements
from rfa_toolbox.rendering.report import ReportFileError, report_html
from rfa_toolbox.rendering.report.refinements import MOST_NODES
from rfa_toolbox.rendering.report.structure import _best_cuts, blocks_of, modules_of
from tests.browser.graphs import hostile, random_graph


class Page(HTMLParser):
    """The elements of a page and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(attrs)))
        self._inside = str(dict(attrs).get("id", tag)) if tag in ("script", "style") else tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data

    @property
    def facts(self) -> Any:
        return json.loads(self.texts["facts"])

    @property
    def policy(self) -> str:
        for tag, attributes in self.elements:
            found = dict(attributes)
            if tag == "meta" and found.get("http-equiv") == "Content-Security-Policy":
                return str(found["content"])
        raise AssertionError("no Content-Security-Policy")


def chain(*names: str, kind: str = "Conv") -> EnrichedNetworkNode:
    node = None
    for name in names:
        before = [] if node is None else [node]
        node = EnrichedNetworkNode(name, LayerDefinition(kind, 3), before)
    assert node is not None
    return node


def hash_of(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


# --- structure and safety --------------------------------------------------------------------


def test_the_page_allows_its_own_script_and_style_and_nothing_else() -> None:
    page = Page(report_html(resnet18(), 32))
    assert page.policy.split("; ") == [
        "default-src 'none'",
        f"script-src {hash_of(page.texts['library'])} {hash_of(page.texts['script'])}",
        f"style-src {hash_of(page.texts['style'])}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert [
        dict(attributes).get("type") for tag, attributes in page.elements if tag == "script"
    ] == [
        "application/json",
        None,
        None,
    ]


def test_the_page_refers_to_nothing_outside_of_it() -> None:
    text = report_html(resnet18(), 32)
    addresses = set(re.findall(r"\b(?:https?|ftp|wss?):[^\s\"'`)]*", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, which nobody loads
    for _, attributes in Page(text).elements:
        found = dict(attributes)
        assert "style" not in found
        assert not any(name.startswith("on") for name in found)
        assert str(found.get("href", "#"))[:1] in ("#", "d")  # the icon is data:


HOSTILE = [
    "</script><script>alert(1)</script>",
    "\"'`<img src=x onerror=alert(1)>",
    "two\nlines\r\n\0",
    "back\\slash \\N \\G {{script}} {{facts}}",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "<!--",
    "]]>",
    "\ud800 alone",
    "x" * 10_000,
]


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(st.text(st.characters(), max_size=40), st.sampled_from(HOSTILE)),
        min_size=1,
        max_size=3,
    )
)
def test_what_a_model_says_is_data_and_never_markup(names: list[str]) -> None:
    graph = chain(*names, kind=names[0])
    page = Page(report_html({names[-1]: graph}, 32))
    harmless = Page(report_html({"model": chain(*("conv" for _ in names))}, 32))
    assert page.elements == harmless.elements
    assert page.texts["script"] == harmless.texts["script"]
    model = page.facts["models"][0]
    assert model["name"] == names[-1]
    assert model["nodes"]["name"] == names
    assert model["layers"][0]["type"] == names[0]


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert report_html(resnet18(), 32) == report_html(resnet18(), 32)


def test_a_report_is_small() -> None:
    assert len(report_html({"resnet18": resnet18()}, 32)) < 300_000


# --- what the page is told -------------------------------------------------------------------


def test_a_page_knows_all_layers_at_their_places(branching: EnrichedNetworkNode) -> None:
    model = Page(report_html({"branching": branching}, 32)).facts["models"][0]
    nodes = branching.all_layers
    assert model["nodes"]["name"] == [node.name for node in nodes]
    assert model["nodes"]["inputs"] == [
        [nodes.index(before) for before in node.predecessors] for node in nodes
    ]
    assert model["good"]["from"] == max(
        summarize(branching, 32).good_from  # alike on both axes
    )
    operations = model["levels"]["nodes"]
    assert operations["main"] == list(range(len(nodes)))
    assert operations["inputs"] == model["nodes"]["inputs"]


def test_a_page_knows_the_blocks_of_a_graph() -> None:
    graph = resnet18()
    level = Page(report_html(graph, 32)).facts["models"][0]["levels"]["blocks"]
    found = blocks(graph)
    nodes = graph.all_layers
    assert [nodes[main] for main in level["main"]] == [block.main for block in found]
    assert level["kind"] == [block.kind for block in found]
    assert level["inputs"] == [list(block.predecessors) for block in found]
    assert [found[unit] for unit in level["unit"]] == [
        next(block for block in found if node in block.nodes) for node in nodes
    ]


@pytest.mark.parametrize("layers", [500, 2_000])
def test_long_rows_are_cut_into_parts_that_hold_everything(layers: int) -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at in range(layers):
        node = EnrichedNetworkNode(str(at), LayerDefinition("Conv2d", 3), [node])
    nodes = node.all_layers
    found = modules_of(nodes, blocks_of(node, nodes))
    modules, module = found["modules"], found["module"]
    inside = Counter(module) + Counter(parent for _, parent, _ in modules if parent >= 0)
    assert max(inside.values()) <= 26
    assert len(module) == layers + 1
    # Parts are neighbours: folding one never makes a circle of a chain.
    for one, other in pairwise(module[1:]):
        assert other == one or other not in module[: module.index(one)]


def test_no_part_of_a_long_row_reads_what_reads_it() -> None:
    # A list of layers that read others all along the row stands in it by its first one.
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    skips = []
    for at in range(40):
        node = EnrichedNetworkNode(f"row{at}", LayerDefinition("Conv2d", 3), [node])
        path = f"skips.{at}"
        layer = LayerDefinition("Conv2d", 1)
        skips.append(EnrichedNetworkNode(path, layer, [node], module_path=path))
    end = EnrichedNetworkNode("add", LayerDefinition("Addition", 1, 1), skips)
    nodes = end.all_layers
    units = blocks_of(end, nodes)
    found = modules_of(nodes, units)
    parents = [parent for _, parent, _ in found["modules"]]

    def outermost(unit: int) -> int:
        module = found["module"][unit]
        while parents[module] > 0:
            module = parents[module]
        return -unit if module == 0 else module

    pairs = {
        (outermost(one), outermost(at)) for at, ones in enumerate(units.inputs) for one in ones
    }
    order: TopologicalSorter[int] = TopologicalSorter()
    for tail, head in pairs:
        if tail != head:
            order.add(head, tail)
    order.prepare()  # raises CycleError


def test_a_module_that_is_left_and_entered_again_gets_no_frame() -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at in range(3):
        for name in (f"down.{at}.conv", f"down.{at}.more", f"pools.{at}", f"ups.{at}.conv"):
            node = EnrichedNetworkNode(name, LayerDefinition("Conv2d", 3), [node], module_path=name)
    nodes = node.all_layers
    found = modules_of(nodes, blocks_of(node, nodes))
    assert [path for path, _, _ in found["modules"]] == ["", "down.0", "down.1", "down.2"]
    assert [parent for _, parent, _ in found["modules"]] == [-1, 0, 0, 0]
    assert found["module"] == [0, 1, 1, 0, 0, 2, 2, 0, 0, 3, 3, 0, 0]


def test_a_part_of_a_long_row_is_named_after_its_ends() -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at in range(1, 31):
        for name in (f"layer{at}.conv", f"layer{at}.more"):
            node = EnrichedNetworkNode(name, LayerDefinition("Conv2d", 3), [node], module_path=name)
    nodes = node.all_layers
    names = [name for _, _, name in modules_of(nodes, blocks_of(node, nodes))["modules"] if name]
    assert len(names) > 2
    # The first part begins with the image, which is no module.
    assert all(re.fullmatch(r"layer\d+ to \d+", name) for name in names[1:])
    assert names[-1].endswith(" to 30")


def test_rows_are_cut_where_few_arrows_are() -> None:
    edges = {(at, at + 1) for at in range(59)} | {(at, at + 3) for at in range(57) if at % 12 < 9}
    cuts = _best_cuts(60, edges)
    assert cuts[0] == 0
    assert cuts[-1] == 60
    assert all(cut % 12 == 0 for cut in cuts[1:-1])


def test_jumps_and_fields_keep_their_exact_values() -> None:
    up = EnrichedNetworkNode("up", LayerDefinition("Up", 2, upsampling=2), [])
    wide = EnrichedNetworkNode("wide", LayerDefinition("Wide", (3, None)), [up])
    nodes = Page(report_html(wide, 32)).facts["models"][0]["nodes"]
    assert up.get_maximum_scale_factor() == Fraction(1, 2)
    assert nodes["jump"] == ["1/2", ["1/2", None]]
    assert nodes["smallest"][1] == [wide.receptive_field_min[0], None]  # type: ignore[index]
    assert wide.receptive_field_min[1] == math.inf  # type: ignore[index]


# --- several graphs, errors ------------------------------------------------------------------


def test_several_graphs_keep_their_names_and_order() -> None:
    graphs = {"b": resnet18(), "a": vgg11()}
    assert [model["name"] for model in Page(report_html(graphs, 32)).facts["models"]] == ["b", "a"]
    assert [
        model["name"] for model in Page(report_html(list(graphs.values()), 32)).facts["models"]
    ] == ["model 1", "model 2"]
    assert make_report(graphs, 32).title == "b, a"
    assert make_report(graphs, 32, title="<two>").title == "<two>"


def test_resolutions_to_compare_are_kept() -> None:
    facts = Page(report_html(resnet18(), (32, 64), compare_at=[96, (128, 64)])).facts
    assert facts["resolution"] == [32, 64]
    assert facts["compare"] == [[96], [128, 64]]


@pytest.mark.parametrize("graphs", [[], {}, ()])
def test_a_report_on_nothing_is_refused(graphs: Any) -> None:
    with pytest.raises(InvalidGraphError, match=re.escape(repr(graphs))):
        make_report(graphs, 32)


@pytest.mark.parametrize("graphs", [None, 7, "resnet18", [resnet18(), None], {"a": "b"}])
def test_what_is_no_graph_is_refused(graphs: Any) -> None:
    with pytest.raises(InvalidGraphError, match="node"):
        make_report(graphs, 32)


@pytest.mark.parametrize("resolution", [0, -3, 1.5, "32", None, (32, 32, 0)])
def test_a_wrong_resolution_is_refused(resolution: Any) -> None:
    with pytest.raises(InvalidResolutionError, match=re.escape(repr(resolution))):
        make_report(resnet18(), resolution)
    with pytest.raises(InvalidResolutionError, match=re.escape(repr(resolution))):
        make_report(resnet18(), 32, compare_at=[resolution])


def test_graphs_of_different_axes_are_refused() -> None:
    line = EnrichedNetworkNode("line", LayerDefinition("Conv1d", (3,)), [])
    plane = EnrichedNetworkNode("plane", LayerDefinition("Conv2d", (3, 3)), [])
    with pytest.raises(InvalidGraphError, match="1 and 2 spatial axes"):
        make_report([line, plane], 32)


def test_a_report_needs_no_renderer(no_dot: None, no_pygraphviz: None) -> None:
    assert "resnet" in report_html({"resnet": resnet18()}, 32)


def test_what_is_counted_is_blocks_or_nodes() -> None:
    for layers in ("blocks", "nodes"):
        assert Page(report_html(resnet18(), 32, layers=layers)).facts["level"] == layers
    with pytest.raises(ValueError, match="layers is 'both'; it must be 'blocks' or 'nodes'"):
        make_report(resnet18(), 32, layers="both")  # type: ignore[arg-type]


def test_a_file_holds_the_whole_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert write_report(resnet18(), str(path), input_res=32) == path
    assert path.read_text(encoding="utf-8") == report_html(resnet18(), 32)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_an_older_file_stays_if_the_report_fails(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(InvalidResolutionError):
        write_report(resnet18(), path, input_res=0)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_wrong_paths_are_named(tmp_path: Path) -> None:
    report = make_report(vgg11(), 32)
    with pytest.raises(ReportFileError, match="is a folder"):
        report.save(tmp_path)
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file" / "report.html", tmp_path / "missing" / "report.html"):
        with pytest.raises(OSError, match=re.escape(str(wrong))):
            report.save(wrong)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


# --- notebooks -------------------------------------------------------------------------------


def attributes_of(text: str, tag: str) -> Iterator[dict[str, str | None]]:
    return (dict(attributes) for name, attributes in Page(text).elements if name == tag)


def test_a_notebook_shows_a_report_in_a_frame() -> None:
    report = make_report({"vgg": vgg11()}, 32)
    bundle = report._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Report('vgg', ")
    (frame,) = attributes_of(bundle["text/html"], "iframe")
    assert frame["srcdoc"] == report.html


def test_a_notebook_shows_a_graph_and_a_table_with_their_names_as_text() -> None:
    hostile = "<script>alert(1)</script>\u202e"
    graph = chain(hostile, "b", kind=hostile)
    for value in (graph.all_layers[0], analyze(graph, 4)):
        bundle = value._repr_mimebundle_()
        assert bundle["text/plain"] in (repr(value), str(value))
        page = Page(bundle["text/html"])
        assert not {"script", "style"} & {tag for tag, _ in page.elements}
        assert html.escape("<script>") in bundle["text/html"]
        assert "\u202e" not in bundle["text/html"]
    assert "2 nodes" in graph._repr_mimebundle_()["text/html"]


def test_what_nobody_registered_has_no_view() -> None:
    for ask in (views.view_of, views.page_of):
        with pytest.raises(NotImplementedError, match="int"):
            ask(7)


def test_a_notebook_shows_the_first_red_rows_of_a_long_table() -> None:
    graph = chain(*(f"layer{at}" for at in range(1000)))
    found = analyze(graph, 1000)
    first = next(row for row in found.block_rows() if row.state == "unproductive")
    text = found._repr_mimebundle_()["text/html"]
    assert len(text) < 60_000
    assert Counter(tag for tag, _ in Page(text).elements)["tr"] == 1 + 40 + 2
    assert f">{first.name}<" in text
    assert text.count("✕ unproductive") == 30
    assert f"{first.index - 10} more" in text


def test_a_table_becomes_the_page_of_its_graph() -> None:
    graph = resnet18()
    facts = Page(analyze(graph, (32, 48), filter_kernel_size_1=True).to_html()).facts
    assert facts["resolution"] == [32, 48]
    assert facts == Page(report_html(graph, (32, 48), filter_kernel_size_1=True)).facts


# --- better architectures --------------------------------------------------------------------


def filled_in(whole: Any, change: Any) -> Any:
    """Return facts with a change, as the page puts them together."""
    if not isinstance(whole, dict) or not isinstance(change, dict):
        return change
    return {**whole, **{key: filled_in(whole.get(key), one) for key, one in change.items()}}


def test_a_page_knows_the_best_refinement_of_every_idea() -> None:
    graph = resnet18()
    (model,) = Page(report_html({"resnet18": graph}, 32)).facts["models"]
    found = model.pop("refinements")["found"]
    best = {one.words: one for one in suggest_refinements(graph, 32, top=1).best}
    assert [one["words"] for one in found] == list(best)[:3]
    for one in found:
        refined = edit(graph, best[one["words"]].edits)
        (expected,) = Page(report_html({"resnet18": refined}, 32, refinements=0)).facts["models"]
        assert filled_in(model, one["model"]) == expected
        assert one["model"].keys() < expected.keys(), "what is as it was is told once"


def test_refinements_are_searched_only_where_they_help_and_are_soon_found() -> None:
    def told(graph: EnrichedNetworkNode, input_res: int, **options: Any) -> Any:
        (model,) = Page(report_html(graph, input_res, **options)).facts["models"]
        return model.get("refinements")

    assert told(resnet18(), 32, refinements=0) is None
    assert told(resnet18(), 224) == {"found": [], "note": ""}, "every layer is of use"
    assert len(told(resnet18(), 32, refinements=1)["found"]) == 1
    fixed = told(chain("only"), 2)
    assert fixed["found"] == []
    assert fixed["note"].startswith("No change of strides")
    large = told(chain(*(f"layer{at}" for at in range(MOST_NODES + 1))), 32)
    assert large["found"] == []
    assert "1,000 operations" in large["note"]
    with pytest.raises(ValueError, match="refinements is -1; it must be a whole number"):
        make_report(resnet18(), 32, refinements=-1)


@pytest.mark.parametrize("axes", [None, 1, 2, 3])
def test_a_report_suggests_refinements_of_any_graph(axes: int | None) -> None:
    for graph in (hostile(), *(random_graph(seed, axes) for seed in range(6))):
        (model,) = Page(report_html(graph, 24)).facts["models"]
        assert set(model["refinements"]) == {"found", "note"}
