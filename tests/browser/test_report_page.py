"""The report in a browser: what it shows is what the library says, and everything can be used."""

from __future__ import annotations

import csv
import functools
import io
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox import (
    EnrichedNetworkNode,
    LayerDefinition,
    analyze,
    create_graph_from_pytorch_model,
    make_report,
)
from rfa_toolbox.analysis import (
    blocks,
    filters_non_convolutional_node,
    resolution_profile,
    summarize,
)
from rfa_toolbox.analysis.costs import compute_at
from rfa_toolbox.architectures.resnet import resnet18, resnet50
from rfa_toolbox.architectures.vgg import vgg16
from rfa_toolbox.graphs import Measures
from rfa_toolbox.refinement import Refinement, edit, suggest_refinements
from tests.analysis.test_summary import resizing
from tests.browser.graphs import HOSTILE, hostile, large, random_graph

Open = Callable[..., Any]

STATES = """() => {
    drawRows(true);
    return [...document.querySelectorAll('#table tbody tr')]
        .sort((one, other) => one.dataset.index - other.dataset.index)
        .map((row) => row.cells[row.cells.length - 1].textContent);
}"""

DRAWN_WASTE = """() => {
    const numbers = (text) => text.split(/[^0-9.]+/).filter(Boolean).map(Number);
    const [floor, , top] = [...document.querySelectorAll('#state-chart .rule')];
    const [left, right, low, high] = [floor.x1, floor.x2, floor.y1, top.y1]
        .map((one) => one.baseVal.value);
    const path = numbers(document.querySelector('#state-chart .area').getAttribute('d'));
    const points = path.flatMap((x, at) => (at % 2 ? [] : [[x, path[at + 1]]]));
    return points.slice(1, -1).map(([x, y]) => [
        ((x - left) / (right - left)) * sliderEnd, (low - y) / (low - high)]);
}"""


def shown_states(page: Any) -> list[str]:
    return list(page.evaluate(STATES))


def rows_of(page: Any) -> list[int]:
    return list(page.evaluate("table.shown"))


def states_of(graph: EnrichedNetworkNode, size: Any, spare_1x1: bool = False) -> list[str]:
    """Return what a page that counts nodes says of each of them."""
    extractor = set(filters_non_convolutional_node(graph.all_layers))
    return [
        node.state(size, filter_kernel_size_1=spare_1x1) if node in extractor else "by design"
        for node in graph.all_layers
    ]


def set_pixels(page: Any, *sizes: int) -> None:
    per_axis = page.locator("#per-axis")
    if per_axis.count() and (per_axis.get_attribute("aria-pressed") == "true") != (len(sizes) > 1):
        per_axis.click()
    for axis, size in enumerate(sizes):
        page.locator(f"#pixels-{axis}").fill(str(size))


@functools.cache
def encoded(torchvision: Any, name: str) -> Any:
    model = torchvision.models.get_model(name, weights=None).eval()
    return create_graph_from_pytorch_model(model, input_res=(1, 3, 224, 224))


# --- the numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("filter_kernel_size_1", [False, True])
@pytest.mark.parametrize("axes", [None, 1, 2, 3])
def test_states_are_those_of_the_library(
    open_page: Open, axes: int | None, filter_kernel_size_1: bool
) -> None:
    graphs = {f"graph {seed}": random_graph(seed, axes) for seed in range(8)}
    page = open_page(graphs, 32, filter_kernel_size_1=filter_kernel_size_1, layers="nodes")
    resolutions: list[tuple[int, ...]] = [(1,), (2,), (7,), (16,), (31,), (64,), (200,)]
    if axes != 1:
        resolutions += [(3, 50, 9)[: axes or 2], (90, 8, 33)[: axes or 2]]
    seen: Counter[str] = Counter()
    for at, graph in enumerate(graphs.values()):
        for resolution in resolutions:
            size = resolution[0] if len(resolution) == 1 else resolution
            judged = page.evaluate(
                "([at, size]) => statesAt(facts.models[at], size).map((one) => STATE_NAMES[one])",
                [at, resolution],
            )
            assert judged == [
                node.state(size, filter_kernel_size_1=filter_kernel_size_1)
                for node in graph.all_layers
            ], (at, resolution)
            seen.update(judged)
    assert len(seen) == (3 if axes == 1 else 4)
    for resolution in (resolutions[3], resolutions[-1]):
        set_pixels(page, *resolution)
        for at, graph in list(enumerate(graphs.values()))[:2]:
            page.evaluate("(at) => showModel(at)", at)
            page.evaluate("foldBelow(Infinity)")
            size = resolution[0] if len(resolution) == 1 else resolution
            expected = states_of(graph, size, filter_kernel_size_1)
            assert shown_states(page) == expected, (at, resolution)
            drawn = page.evaluate(
                """() => Object.fromEntries([...document.querySelectorAll('#picture [data-index]')]
                    .map((box) => [box.dataset.index, box.dataset.state]))"""
            )
            assert drawn == {
                str(index): state.replace("partially critical", "partially").replace("by ", "")
                for index, state in enumerate(expected)
            }


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_0", "shufflenet_v2_x1_0", "swin_t"])
def test_compute_is_that_of_the_library(open_page: Open, torchvision: Any, name: str) -> None:
    graph = encoded(torchvision, name)
    nodes = graph.all_layers
    page = open_page({name: graph}, 224)
    assert page.evaluate("view.work") == [node.multiply_accumulates for node in nodes]
    for size in (32, 97, 300, (64, 301)):
        set_pixels(page, *(size if isinstance(size, tuple) else (size,)))
        expected = compute_at(graph, size)
        assert page.evaluate("view.work") == pytest.approx(
            [expected[node] for node in nodes], rel=1e-9, abs=1
        )


def test_compute_that_is_not_known_is_not_shown_as_none(open_page: Open) -> None:
    open_sizes = Measures(parameters=81, work=None)
    last = EnrichedNetworkNode("image", LayerDefinition("Input", (1, 1), 1), [])
    for name in ("a", "b"):
        conv = LayerDefinition("Conv2d", (3, 3), 1)
        last = EnrichedNetworkNode(name, conv, [last], measures=open_sizes)
        norm = LayerDefinition("BatchNorm2d", (1, 1), 1)
        last = EnrichedNetworkNode(f"{name}.n", norm, [last], measures=Measures(work=()))
    page = open_page({"open": last}, 64)
    assert page.evaluate("costs(model(), view.states, view.work)") is None
    page.evaluate("choose(1)")
    shown = page.locator("#details").inner_text()
    assert "Parameters" in shown
    assert "Multiply-adds" not in shown


def test_the_summary_is_that_of_the_library(open_page: Open, torchvision: Any) -> None:
    graphs = {"by hand": resnet18(), "vgg": vgg16(), "encoded": encoded(torchvision, "resnet18")}
    page = open_page(graphs, 64)
    for size in (5, 32, 96, 212, 1000, (32, 300)):
        set_pixels(page, *(size if isinstance(size, tuple) else (size,)))
        for at, graph in enumerate(graphs.values()):
            page.evaluate("showModel", at)
            found = summarize(graph, size)
            headline = page.locator("#headline").inner_text()
            said = f"{headline} {page.locator('#subline').inner_text()}"
            expected = found.headline.replace("x300", "\N{MULTIPLICATION SIGN}300")
            for sentence in re.split(r"(?<=\.) ", expected):
                beginning = sentence.split(", from ")[0].split(": ")[0]  # long names are shortened
                assert beginning in said, sentence
            assert f"Good from {found.good_from[0]} " in said or found.good in said
            counts = page.evaluate("balance(model(), view.states).counts")
            for state, count in counts.items():
                name = "partially critical" if state == "partially" else state
                assert count == len(found.blocks_in(name))
            cut = page.evaluate("cutOf(model(), view.states, view.work)")
            assert (cut is None) == (found.cut is None)
            if cut:
                assert graph.all_layers[cut["behind"]] is found.cut.behind.main
                assert cut["layers"] == len(found.cut.blocks)


def test_the_chart_of_waste_is_the_profile_of_the_library(
    open_page: Open, torchvision: Any
) -> None:
    sizes = [1, 7, 16, 31, 32, 64, 97, 139, 200, 300]
    graphs = {"by hand": resnet18(), "vgg16": vgg16(), "encoded": encoded(torchvision, "resnet18")}
    page = open_page(graphs, 64)
    for at, graph in enumerate(graphs.values()):
        points = resolution_profile(graph, sizes).points
        found = page.evaluate(
            "([at, sizes]) => sizes.map((size) => wastedAt(facts.models[at], size))", [at, sizes]
        )
        assert [one["layers"] for one in found] == [
            point.counts["unproductive"] for point in points
        ]
        for one, point in zip(found, points, strict=True):
            total = point.total.multiply_accumulates
            wasted = point.costs["unproductive"].multiply_accumulates or 0
            assert one["share"] == (pytest.approx(wasted / total) if total else None)
    # What is drawn is what was counted.
    page.evaluate("showModel(2)")
    drawn = page.evaluate(DRAWN_WASTE)[1:]
    points = resolution_profile(graph, [round(size) for size, _ in drawn]).points
    shares = [point.counts["unproductive"] / 21 for point in points]
    assert [share for _, share in drawn] == pytest.approx(shares, abs=0.01)
    assert max(shares) > 0.5


def test_feature_maps_are_those_of_the_library(open_page: Open) -> None:
    graph = resnet18()
    page = open_page({"resnet18": graph}, 64, layers="nodes")
    for size in (5, 96):
        set_pixels(page, size)
        shown_states(page)
        title = page.locator("#table thead th").all_inner_texts()
        column = next(at for at, text in enumerate(title) if text.startswith("Feature map"))
        maps = page.locator(f"#table tbody td:nth-child({column + 1})").all_inner_texts()
        assert maps == [str(node.compute_feature_map_size(size)) for node in graph.all_layers]


# --- what can be done ------------------------------------------------------------------------


def test_a_model_that_resizes_is_judged_at_its_own_size(open_page: Open) -> None:
    graph = resizing(9)
    page = open_page(graph, 320, layers="nodes")
    for size in (320, 5):
        set_pixels(page, size)
        found = summarize(graph, size)
        assert "cannot help at 9 px" in page.locator("#headline").inner_text()
        assert found.resizing in page.locator("#subline").inner_text()
        table = analyze(graph, size)
        assert page.evaluate("view.states") == [row.state for row in table.rows]
        page.evaluate("choose(2)")
        assert "resized image of 9" in page.locator("#details .why").first.inner_text()


def test_the_slider_moves_everything(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16()}, 32)
    before = page.locator("#headline").inner_text(), shown_states(page)
    slider = page.locator("#slider-0")
    slider.focus()
    slider.press("ArrowRight")
    assert page.locator("#pixels-0").input_value() == "33"
    slider.press("End")
    after = page.locator("#headline").inner_text(), shown_states(page)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert "image" in page.locator("#field-chart").text_content()


def test_a_wrong_number_is_marked_and_changes_nothing(open_page: Open) -> None:
    page = open_page(vgg16(), 32)
    number = page.locator("#pixels-0")
    for wrong in ("", "0", "-3", "2.5"):
        number.fill(wrong)
        assert number.get_attribute("aria-invalid") == "true"
        assert "32 px" in page.locator("#headline").inner_text()
    number.blur()
    assert number.input_value() == "32"


def test_axes_can_differ(open_page: Open, torchvision: Any) -> None:
    graph = encoded(torchvision, "resnet18")
    page = open_page({"resnet18": graph}, 64, layers="nodes")
    page.get_by_role("button", name="Per axis").click()
    page.get_by_label("Resolution, width in pixels").fill("200")
    assert shown_states(page) == states_of(graph, (64, 200))
    assert "64\N{MULTIPLICATION SIGN}200 px" in page.locator("#headline").inner_text()


def test_search_marks_filters_and_steps(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16()}, 32)
    page.keyboard.press("/")
    page.keyboard.type("pool")
    assert page.locator("#found").inner_text() == "5"
    assert len(rows_of(page)) == 5
    assert page.locator("#picture .match").count() == 5
    page.evaluate("choose(-1)")
    page.keyboard.press("Enter")
    assert "pool" in page.locator("#details h2").inner_text().lower()
    first = page.locator("#details .path").inner_text()
    page.keyboard.press("Enter")
    assert page.locator("#details .path").inner_text() != first
    page.locator("#search").fill("")
    assert page.locator("#picture .other").count() == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            "conv 3x3 /2",
            lambda node: node.layer_info.stride_size in (2, (2, 2)) and "3" in kernel(node),
        ),
        (
            "layer4 convolution",
            lambda node: "layer4" in node.name and "Conv" in node.layer_info.name,
        ),
        ("red layer4", lambda node: "layer4" in node.name and node.is_border(32)),
        ("relu layer2", lambda node: "layer2" in node.name),
        ("fully connected", lambda node: node.layer_info.name == "Linear"),
    ],
)
def test_search_knows_words(
    open_page: Open, torchvision: Any, words: str, found: Callable[[Any], bool]
) -> None:
    graph = encoded(torchvision, "resnet18")
    page = open_page({"resnet18": graph}, 32)
    page.locator("#search").fill(words)
    shown = {graph.all_layers[at] for at in rows_of(page)}
    assert shown
    assert all(found(node) for node in shown)
    if "convolution" in words or words == "red layer4":
        mains = [block.main for block in blocks(graph) if block.counted]
        assert shown == {node for node in mains if found(node)}


def kernel(node: EnrichedNetworkNode) -> str:
    return str(node.layer_info.kernel_size)


def test_modules_fold_and_the_picture_is_laid_out_anew(open_page: Open, torchvision: Any) -> None:
    graph = encoded(torchvision, "resnet18")
    page = open_page({"resnet18": graph}, 32)
    units = len(blocks(graph))
    boxes = page.locator("#picture [data-index]")
    page.get_by_role("button", name="Unfold all").click()
    assert boxes.count() == units
    area = page.evaluate("stage.width * stage.height")
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator("#picture [data-module]").count() == 4
    assert boxes.count() == 4  # the stem and the head
    assert page.evaluate("stage.width * stage.height") < area / 3
    page.locator("#picture [data-module]", has_text="layer1").click()
    # layer1 shows its two blocks, which are alike, as one box
    assert page.locator("#picture [data-module]").count() == 3 + 1
    page.locator("#picture [data-module]", has_text="\N{MULTIPLICATION SIGN} 2").click()
    assert page.locator("#picture [data-module]").count() == 3 + 2
    page.get_by_role("button", name="Every operation").click()
    page.get_by_role("button", name="Unfold all").click()
    assert boxes.count() == len(graph.all_layers)


GEOMETRY = """() => {
    const boxes = [...stage.scene.boxes.values()];
    const overlaps = boxes.flatMap((one, at) => boxes.slice(at + 1).filter((other) =>
        one.left < other.right - 1 && other.left < one.right - 1 &&
        one.top < other.bottom - 1 && other.top < one.bottom - 1)).length;
    const near = ([x, y], box, side) =>
        x >= box.left - 1 && x <= box.right + 1 && Math.abs(y - box[side]) < 1;
    // Every tip ends at a box, and every wire begins at one or goes on from a port on a frame.
    const lost = stage.scene.wires.filter((wire) => {
        const end = wire.points[wire.points.length - 1];
        return wire.tip && ![...wire.heads].some(
            (id) => near(end, stage.scene.boxes.get(id), 'top'));
    }).length;
    const key = (point) => point.map((one) => Math.round(one)).join(' ');
    const begins = new Set(stage.scene.wires.map(({ points }) => key(points[0])));
    const loose = stage.scene.wires.filter(
        ({ points, tip }) => !tip && !begins.has(key(points[points.length - 1]))).length;
    // From column to column every arrow has a lane of its own: no two lines lie upon each other.
    const lanes = stage.scene.wires.flatMap(({ points, turns, tail }) =>
        [...turns].flatMap(([at, { under, between, above }]) => {
            const [[x, y], [nextX, nextY]] = [points[at - 1], points[at]];
            const ways = [[x, y], [x, under], [between, under], [between, above],
                [nextX, above], [nextX, nextY]];
            return ways.slice(1).map((to, at) => ({ from: ways[at], to, tail }));
        }));
    const covers = (one, other, along) => {
        const across = 1 - along;
        const [low, high] = [one, other].map(({ from, to }) =>
            [from[along], to[along]].sort((a, b) => a - b));
        return [one, other].every(({ from, to }) => from[across] === to[across]) &&
            Math.abs(one.from[across] - other.from[across]) < 1 &&
            Math.min(low[1], high[1]) - Math.max(low[0], high[0]) > 1;
    };
    const covered = lanes.filter((one, at) => lanes.slice(at + 1).some((other) =>
        one.tail !== other.tail && (covers(one, other, 0) || covers(one, other, 1)))).length;
    const drawn = new Set(stage.scene.wires.filter((wire) => wire.tip).flatMap((wire) =>
        [...wire.heads].map((head) => `${wire.tail} ${head}`)));
    return { overlaps, lost, loose, covered, columns: stage.scene.columns, boxes: boxes.length,
        drawn: [...drawn].sort() };
}"""


@pytest.mark.parametrize("name", ["squeezenet1_0", "shufflenet_v2_x0_5", "densenet121"])
def test_boxes_never_overlap_and_arrows_lead_somewhere(
    open_page: Open, torchvision: Any, name: str
) -> None:
    page = open_page({name: encoded(torchvision, name)}, 32)
    counts, columns = set(), set()
    for level in ("blocks", "nodes"):
        page.evaluate("(level) => showLevel(level)", level)
        for depth in range(4):
            page.evaluate("(depth) => foldBelow(depth)", depth)
            found = page.evaluate(GEOMETRY)
            counts.add(found["boxes"])
            counted = [found[what] for what in ("overlaps", "lost", "loose", "covered")]
            assert counted == [0, 0, 0, 0], (level, depth)
            wanted = page.evaluate(
                """() => {
                    const { holder } = stage.scene;
                    return [...new Set(levelOf(model()).arrows.map(([tail, head]) =>
                        `${holder[tail]} ${holder[head]}`).filter((one) => {
                            const [tail, head] = one.split(' ');
                            return tail !== head;
                        }))].sort();
                }"""
            )
            assert found["drawn"] == wanted, "an arrow is missing or too many"
            columns.add(found["columns"])
    assert len(counts) > 3
    assert max(columns) > 1


def test_a_box_tells_why(open_page: Open) -> None:
    graph = vgg16()
    page = open_page({"vgg16": graph}, 32)
    page.evaluate("fitPicture()")
    box = page.locator("#picture [data-index='9']")
    assert graph.all_layers[9].name in box.locator("title").text_content()
    box.locator("rect").first.click()
    why = page.locator("#details .why").first.inner_text()
    assert "unproductive" in page.locator("#details .badge").inner_text()
    assert "32 px" in why or "32 \N{MULTIPLICATION SIGN} 32" in why
    assert "40" in why
    assert page.locator("#details h2").inner_text() == "Conv 3\N{MULTIPLICATION SIGN}3"
    set_pixels(page, 224)
    assert "fits into the image" in page.locator("#details .why").first.inner_text()


def wait_until(page: Any, expression: str, argument: Any = None) -> None:
    """Wait for a condition; the page's own policy forbids playwright to evaluate texts inside."""
    for _ in range(100):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{expression} did not become true")


def test_the_picture_moves_by_keys_wheel_and_hand(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32, layers="nodes")
    page.evaluate("look(0, 0, 1.5)")
    place = page.locator("#picture").bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + 200
    start = page.evaluate("[stage.x, stage.y, stage.scale]")
    page.locator("#picture").focus()
    page.mouse.move(x, y)
    page.mouse.wheel(0, 150)
    wait_until(page, "(y) => stage.y > y", start[1])
    page.mouse.down()
    page.mouse.move(x, y - 60, steps=5)
    page.mouse.up()
    assert page.evaluate("stage.y") > start[1] + 30
    page.keyboard.press("+")
    assert page.evaluate("stage.scale") > start[2]
    page.keyboard.press("0")
    assert page.evaluate("stage.scale") < start[2]


def test_the_wheel_scrolls_the_page_unless_the_picture_has_the_focus(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32, layers="nodes")
    page.evaluate("look(0, 0, 1.5)")
    place = page.locator("#picture").bounding_box()
    page.mouse.move(place["x"] + 200, place["y"] + 100)
    before = page.evaluate("[stage.x, stage.y, stage.scale]")
    page.mouse.wheel(0, 200)
    wait_until(page, "scrollY > 50")
    assert page.evaluate("[stage.x, stage.y, stage.scale]") == before
    page.evaluate("scrollTo(0, 0)")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    wait_until(page, "(scale) => stage.scale > scale", before[2])
    assert page.evaluate("scrollY") == 0


def toucher(page: Any) -> Callable[..., None]:
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touched = [{"x": x, "y": y, "id": at} for at, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    return touch


def test_one_finger_scrolls_the_page_and_two_move_the_picture(open_page: Open) -> None:
    view = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = open_page({"resnet18": resnet18()}, 32, layers="nodes", view=view)
    page.evaluate("look(0, 0, 1.5)")
    place = page.locator("#picture").bounding_box()
    x, y = place["x"] + 150, place["y"] + 120
    before = page.evaluate("[stage.x, stage.y, stage.scale]")
    touch = toucher(page)
    touch("touchStart", (x, y), (x + 60, y))
    for step in range(1, 9):
        touch("touchMove", (x, y - 8 * step), (x + 60, y - 8 * step))
    touch("touchEnd")
    wait_until(page, "(y) => stage.y > y + 10", before[1])
    assert page.evaluate("scrollY") == 0
    before = page.evaluate("[stage.x, stage.y, stage.scale]")
    touch("touchStart", (x, y))
    for step in range(1, 9):
        touch("touchMove", (x, y - 12 * step))
    touch("touchEnd")
    wait_until(page, "scrollY > 20")
    assert page.evaluate("[stage.x, stage.y, stage.scale]") == before


def test_keys_work_everywhere_but_in_fields(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16()}, 32)
    page.evaluate("choose(-1)")
    page.locator("#theme").focus()
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.locator("#picture .chosen").get_attribute("data-index") == "1"
    page.keyboard.press("p")
    assert page.locator("#picture .chosen").get_attribute("data-index") == "0"
    page.locator("#search").focus()
    page.keyboard.type("n")
    assert page.locator("#picture .chosen").get_attribute("data-index") == "0"
    page.locator("#search").fill("")
    page.locator("#theme").focus()
    page.keyboard.press("Escape")
    assert page.locator("#picture .chosen").count() == 0


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_the_page_opens_on_the_answer(
    open_page: Open, torchvision: Any, size: tuple[int, int], name: str
) -> None:
    graph = encoded(torchvision, name)
    view = {"viewport": {"width": size[0], "height": size[1]}}
    page = open_page({name: graph}, 64, view=view)
    first = summarize(graph, 64).blocks_in("unproductive")[0]
    assert page.locator("#picture .node.chosen").get_attribute("data-index") == str(
        graph.all_layers.index(first.main)
    )
    frame = page.locator("#picture").bounding_box()
    for wanted in ("#picture .node.chosen", "#details .why", "#headline"):
        box = page.locator(wanted).first.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + min(box["height"], 40) <= size[1], f"{wanted} is not in view"
    chosen = page.locator("#picture .node.chosen").bounding_box()
    assert frame["y"] <= chosen["y"]
    assert chosen["y"] + chosen["height"] <= frame["y"] + frame["height"] + 4
    if size[0] < 500:
        sheet = page.locator("#panel").bounding_box()
        assert chosen["y"] + chosen["height"] <= sheet["y"] + 2, "the sheet hides the layer"
        page.get_by_role("button", name="Close the details").click()
        assert not page.locator("#panel").is_visible()


def test_a_comparison_opens_on_the_worst_and_sorts(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16(), "resnet18": resnet18()}, 32)
    worst = "vgg16" if page.evaluate("worstModel()") == 0 else "resnet18"
    shares = {}
    for name, graph in (("vgg16", vgg16()), ("resnet18", resnet18())):
        found = summarize(graph, 32)
        shares[name] = len(found.blocks_in("unproductive")) / len(found.counted)
    assert worst == max(shares, key=lambda name: shares[name])
    assert page.get_by_role("tab", name=worst).get_attribute("aria-selected") == "true"
    page.get_by_role("button", name="Smallest good size").click()
    titles = page.locator("#cards h3").all_inner_texts()
    assert titles == ["resnet18", "vgg16"]  # good from 139 and from 212 px


def test_the_address_says_what_is_shown(open_page: Open, torchvision: Any) -> None:
    page = open_page({"resnet18": encoded(torchvision, "resnet18")}, 32)
    set_pixels(page, 96)
    page.get_by_role("button", name="Unfold all").click()
    page.locator("#search").fill("layer4.1.conv2")
    page.keyboard.press("Enter")
    shown = (
        page.url,
        page.locator("#headline").inner_text(),
        page.locator("#details .path").inner_text(),
        page.locator("#picture .node").count(),
    )
    assert shown[2] == "layer4.1.conv2"
    page.goto("about:blank")
    page.goto(shown[0])
    again = (
        page.url,
        page.locator("#headline").inner_text(),
        page.locator("#details .path").inner_text(),
        page.locator("#picture .node").count(),
    )
    assert again == shown
    for wrong in ("#px=0&model=9&open=5-2,x&layer=%E0%A4%A", "#px=1e9x2x3", "#&&=&open"):
        page.goto("about:blank")
        page.goto(page.evaluate("(one) => one", shown[0].split("#")[0] + wrong))
        assert page.locator("#picture .chosen").count() >= 1


def test_the_picture_is_saved_as_svg_and_png(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save the picture as SVG").click()
    text = waiting.value.path().read_text("utf-8")
    assert waiting.value.suggested_filename == "resnet18_32px.svg"
    tree = ET.fromstring(text)
    texts = "".join(tree.itertext())
    assert "Conv 3\N{MULTIPLICATION SIGN}3" in texts
    drawn_words = [one.text for one in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "resnet18 at 32 px" in drawn_words
    assert "unproductive: sees nothing new" in drawn_words
    assert not any("partially" in (words or "") for words in drawn_words)
    # An arrow points at a symbol in the file itself, and nothing lies outside of it.
    assert "url(#tip)" in text
    assert 'id="tip"' in text
    assert "var(" not in text
    # A sign has the colour of its box, and a layer that adds context has none, as on the page.
    namespace = "{http://www.w3.org/2000/svg}"
    drawn = [shape for sign in tree.iter(f"{namespace}symbol") for shape in sign]
    assert {shape.get("fill") for shape in drawn} == {None, "currentColor"}
    assert not any(shape.get("stroke") for shape in drawn)
    signs = [one for one in tree.iter(f"{namespace}use") if one.get("href") == "#sign-productive"]
    assert signs
    assert {(one.get("fill"), one.get("stroke")) for one in signs} == {("none", "none")}
    critical = next(tree.iterfind(f".//{namespace}use[@href='#sign-critical']"))
    assert critical.get("color") != signs[0].get("color")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save the picture as PNG").click()
    picture = waiting.value.path().read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20], "big") > 500


@pytest.mark.parametrize("has_head", [False, True])
def test_a_network_in_which_nothing_is_judged_has_no_good_resolutions(
    open_page: Open, has_head: bool
) -> None:
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    dense = EnrichedNetworkNode("dense", LayerDefinition("Dense", units=3), [image])
    page = open_page({"model": dense if has_head else image}, 32)
    assert "No layer of the network looks at a part" in page.locator("#headline").inner_text()
    assert "Good" not in page.locator("#subline").inner_text()
    assert "Good" not in page.locator("#figures").inner_text()
    assert not page.locator("#state-chart svg .good").count()
    mark = "(one) => getComputedStyle(one, '::before').content"
    assert page.locator(".track").evaluate(mark) == "none"
    assert "Nothing to judge" in page.locator("#advice").inner_text()
    page.evaluate("setResolution([1234567])")
    clipped = "(one) => one.scrollWidth > one.clientWidth"
    assert not page.locator("#pixels-0").evaluate(clipped)


def test_a_part_of_a_model_is_no_whole_one(open_page: Open) -> None:
    layer, measures = LayerDefinition("Conv2d", 3, 1), Measures(stopped="behind 'backbone'")
    page = open_page({"part": EnrichedNetworkNode("conv", layer, [], measures=measures)}, 32)
    assert "a part of the model: it ends behind 'backbone'." in page.inner_text("#subline")


def test_several_inputs_are_not_all_the_image(open_page: Open) -> None:
    sides = [EnrichedNetworkNode(side, LayerDefinition("Conv2d", 3), []) for side in "ab"]
    page = open_page({"two": EnrichedNetworkNode("join", LayerDefinition("add"), sides)}, 32)
    words = page.locator("#picture text").all_text_contents()
    assert [word for word in words if "\N{DOWNWARDS ARROW}" in word] == 2 * [
        "input \N{DOWNWARDS ARROW}"
    ]
    assert "Add" in words


def test_large_numbers_are_grouped_and_a_signal_has_a_length(open_page: Open) -> None:
    node = EnrichedNetworkNode("signal", LayerDefinition("Input", (1,)), [])
    for at in range(12):
        node = EnrichedNetworkNode(f"conv {at}", LayerDefinition("Conv1d", (3,), (2,)), [node])
    page = open_page({"signal": node}, 12345)
    said = page.inner_text("body")
    assert "12,345 samples" in said
    assert not re.findall(r"(?<![\d.,_])\d{4,}", said)
    assert "Resolution" not in said
    assert page.inner_text("#resolution label") == "Length"


def test_one_layer_is_told_in_the_singular_and_its_chart_has_no_number_twice(
    open_page: Open,
) -> None:
    page = open_page({"one": EnrichedNetworkNode("conv", LayerDefinition("Conv2d", 3, 1), [])}, 1)
    assert "is 1 unit large" in page.locator(".details").inner_text()
    numbers = page.locator("#state-chart text[text-anchor=end]").all_text_contents()
    assert numbers[:3] == ["0", "", "1"]


def test_words_are_hidden_where_nobody_reads_them_but_not_in_the_file(open_page: Open) -> None:
    page = open_page({"large": large(400)}, 32, layers="nodes")
    page.evaluate("foldTo([]); look(0, 0, 1)")
    boxes, hidden = page.locator("#picture .node").count(), page.locator("#picture .wordless")
    assert 0 < hidden.count() < boxes
    page.evaluate("look(0, 0, 0.05)")  # far away
    assert hidden.count() == boxes
    text = page.evaluate("pictureAsSvg().text")
    words = ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
    shown = [word for word in words if word.get("display") != "none" and word.text]
    assert len(shown) >= 3 * (boxes - 1)
    assert hidden.count() == boxes  # the page itself stays as it was


def test_a_picture_that_is_shown_as_a_whole_can_be_read(open_page: Open, torchvision: Any) -> None:
    page = open_page({"resnet18": encoded(torchvision, "resnet18")}, 32, layers="nodes")
    page.get_by_role("button", name="Unfold all").click()
    page.get_by_role("button", name="Show the whole picture").click()
    assert page.locator("#picture [data-index]").count() == 69
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('#picture .node .name')]
            .map((text) => stage.scale * parseFloat(getComputedStyle(text).fontSize))"""
    )
    assert len(sizes) == 69
    assert min(sizes) > 7
    assert sorted(sizes)[len(sizes) // 2] > 9
    words = page.locator("#picture .node .name").all_text_contents()
    assert words.count("Batch norm") == 20, "whole words, a little smaller if need be"
    assert page.evaluate("look(0, 0, 1), document.querySelectorAll('#picture text').length") > 69


def test_a_chain_beside_which_others_run_is_no_staircase(open_page: Open) -> None:
    layer = LayerDefinition("Conv2d", (3, 3))
    down = [EnrichedNetworkNode("down 0", layer, [])]
    for at in range(4):
        down.append(EnrichedNetworkNode(f"down {at + 1}", layer, [down[-1]]))
    node = down.pop()
    for at, skip in enumerate(reversed(down)):
        up = EnrichedNetworkNode(f"up {at}", layer, [node])
        node = EnrichedNetworkNode(f"cat {at}", LayerDefinition("cat"), [skip, up])
    page = open_page({"u-net": node}, 32, layers="nodes")
    lefts = page.evaluate("[...stage.scene.boxes.values()].map((box) => Math.round(box.left))")
    assert len(lefts) == 13
    assert len(set(lefts)) == page.evaluate("stage.scene.columns")


def test_the_table_draws_only_what_is_in_view(open_page: Open) -> None:
    graph = large(1_200)
    page = open_page({"large": graph}, 32, layers="nodes")
    rows = page.locator("#table tbody tr[data-index]")
    assert rows.count() < 80
    page.evaluate("document.querySelector('#table-scroll').scrollTop = 1e9")
    last = len(graph.all_layers) - 1
    page.wait_for_selector(f"#table tr[data-index='{last}']")
    assert rows.count() < 80
    page.evaluate("(node) => choose(node, true)", 600)
    page.wait_for_selector("#table tr[data-index='600'].chosen")


@pytest.mark.parametrize("names", [["resnet18"], ["resnet18", "vgg16", "resnet50"]])
def test_paper_holds_one_to_three_pages_with_title_resolution_and_legend(
    open_page: Open, names: list[str], tmp_path: Path
) -> None:
    from pypdf import PdfReader  # only where there is a browser to print with

    known = {"resnet18": resnet18, "vgg16": vgg16, "resnet50": resnet50}
    page = open_page({name: known[name]() for name in names}, 32, refinements=3, compare_at=[64])
    page.evaluate("(last) => showModel(last)", len(names) - 1)
    shown = page.evaluate("model().name")
    page.evaluate("putOnPaper()")
    boxes = page.evaluate(
        "[...document.querySelectorAll('#picture .node .name')].map((one) => one.textContent)"
    )
    page.evaluate("takeFromPaper()")
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    sheets = [
        " ".join(one.extract_text().split()) for one in PdfReader(tmp_path / "report.pdf").pages
    ]
    assert 1 <= len(sheets) <= 3
    legend = ("unproductive: sees nothing new", "adds context", "sees everything by design")
    for text in sheets:
        assert f"{shown} at 32" in text
        assert all(meaning in text for meaning in legend)
    words = Counter(sheets[0].split())
    for box in boxes:  # none is cut: all stand whole on the first sheet
        assert not Counter(box.split()) - words, box
    assert "Better architectures" in "".join(sheets)
    assert page.locator("#picture").get_attribute("viewBox") is None, "taken from the paper"


def test_the_table_sorts_and_filters_by_state(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32, layers="nodes")
    assert rows_of(page) == list(range(33))
    header = page.locator("#table th", has_text="Smallest field")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    nodes = resnet18().all_layers
    order = sorted(range(33), key=lambda at: (-float(nodes[at].receptive_field_min), at))  # type: ignore[arg-type]
    assert rows_of(page) == order
    page.locator("#balance [data-state='unproductive']").click()
    extractor = filters_non_convolutional_node(nodes)
    assert len(rows_of(page)) == sum(node.is_border(32) for node in extractor)


def test_csv_holds_the_shown_rows(open_page: Open) -> None:
    graph = hostile()
    page = open_page({"a/b:c": graph}, 32, layers="nodes")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download CSV").click()
    download = waiting.value
    assert download.suggested_filename == "a_b_c_32px.csv"
    text = download.path().read_bytes().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    nodes = graph.all_layers
    assert [row["name"] for row in rows] == [
        node.name.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for node in nodes
    ]
    assert [row["state"] for row in rows] == [node.state(32) for node in nodes]


def test_csv_is_that_of_the_library(open_page: Open, torchvision: Any) -> None:
    up = EnrichedNetworkNode("up", LayerDefinition("Up", (2, 3), (1, 1), upsampling=(2, 1)), [])
    wide = EnrichedNetworkNode("wide, 1", LayerDefinition("Wide", (3, None)), [up])
    graphs = {
        "by hand": resnet18(),
        "encoded": encoded(torchvision, "resnet18"),
        "uneven": wide,
        "scalar": random_graph(2, None),
    }
    for name, graph in graphs.items():
        page = open_page({name: graph}, 48, layers="nodes")
        rows = csv.reader(io.StringIO(analyze(graph, 48).to_csv(), newline=""))
        expected = io.StringIO(newline="")
        csv.writer(expected).writerows(row[:-1] for row in rows)  # pixels are not in the page
        assert page.evaluate("tableAsCsv()") == expected.getvalue()


def test_the_picture_is_put_on_paper_and_taken_back(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32)
    before = page.locator("#picture").inner_html()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#picture").get_attribute("viewBox")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#picture").inner_html() == before


def test_models_and_resolutions_stand_side_by_side(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18(), "vgg16": vgg16()}, 32, compare_at=[224])
    cards = page.locator("#cards article")
    assert cards.count() == 4
    for at, (graph, size) in enumerate(
        [(resnet18(), 32), (vgg16(), 32), (resnet18(), 224), (vgg16(), 224)]
    ):
        found = summarize(graph, size)
        wasted = len(found.blocks_in("unproductive"))
        assert f"{wasted} of {len(found.counted)} layers" in cards.nth(at).inner_text()
    page.get_by_role("tab", name="vgg16").click()
    assert len(rows_of(page)) == len(blocks(vgg16()))
    page.get_by_role("button", name="Compare").click()
    assert cards.count() == 5
    cards.nth(4).get_by_role("button", name="Remove").click()
    assert cards.count() == 4


def test_hostile_names_are_shown_as_text(open_page: Open) -> None:
    graph = hostile()
    page = open_page({HOSTILE[0]: graph, HOSTILE[3]: graph}, 4, title="".join(HOSTILE[:6]))
    count = page.evaluate("document.querySelectorAll('script, img, style').length")
    assert count == 4
    for index in range(len(graph.all_layers)):
        page.evaluate("(index) => choose(index, true)", index)
        assert page.locator("#details").inner_text()
        assert "\u202e" not in page.locator("body").inner_text()
    page.evaluate("foldBelow(0)")
    page.locator("#search").fill("script")
    widest = page.evaluate(
        "Math.max(...[...document.querySelectorAll('#picture text')].map((t) => t.getBBox().width))"
    )
    assert widest < 1000
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_report_works_in_the_frame_of_a_notebook(browser: Any, tmp_path: Path) -> None:
    graph = resnet18()
    cell = make_report({"resnet18": graph}, 32)._repr_mimebundle_()["text/html"]
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><p>a notebook</p>{cell}", "utf-8")
    page = browser.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("#pixels-0").fill("64")
    assert "64" in frame.locator("#headline").inner_text()
    with page.expect_download() as waiting:
        frame.get_by_role("button", name="Download CSV").click()
    assert waiting.value.suggested_filename == "resnet18_64px.csv"
    page.close()
    assert not heard


@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(open_page: Open, width: int, scheme: str) -> None:
    view = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    page = open_page({"resnet18": resnet18(), "vgg16": vgg16()}, (32, 64), view=view)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.dataset.theme") != scheme


def test_the_page_can_be_used_by_keyboard_alone(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16()}, 32)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.textContent.slice(0, 20)"
            )
        )
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
    for wanted in ("slider-0", "pixels-0", "per-axis", "search", "theme", "picture", "download"):
        assert wanted in reached
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input')]
            .filter((one) => !(one.textContent || one.ariaLabel || one.labels?.length)).length"""
    )
    assert unnamed == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet201"])
def test_models_of_torchvision(open_page: Open, torchvision: Any, name: str) -> None:
    graph = encoded(torchvision, name)
    page = open_page({name: graph}, 32, layers="nodes")
    for size in (32, 100):
        set_pixels(page, size)
        assert shown_states(page) == states_of(graph, size)
    page.get_by_role("button", name="Unfold all").click()
    assert page.locator("#picture [data-index]").count() == len(graph.all_layers)


@pytest.mark.slow
def test_a_report_of_many_layers_can_be_used(open_page: Open) -> None:
    graph = large(2_500)
    page = open_page({"large": graph}, 32, layers="nodes")
    assert page.locator("#picture .node").count() < 100
    set_pixels(page, 700)
    assert shown_states(page) == states_of(graph, 700)
    page.get_by_role("button", name="Unfold all").click()
    assert page.locator("#picture [data-index]").count() == len(graph.all_layers)
    page.locator("#search").fill("branch.5")
    page.keyboard.press("Enter")
    assert page.locator("#details .path").inner_text() == "stages.0.blocks.0.branch.5"


def test_names_are_shortened_until_they_fit_into_their_box(open_page: Open) -> None:
    graph = EnrichedNetworkNode("W" * 30, LayerDefinition("Conv2d", 3), [])
    page = open_page(EnrichedNetworkNode("漢字" * 20, LayerDefinition("Conv2d", 3), [graph]))
    widths = page.eval_on_selector_all(
        "#picture .node .name + text",
        """names => names.map((name) => [name.getComputedTextLength(),
            name.ownerSVGElement.width.baseVal.value, name.textContent])""",
    )
    assert len(widths) == 2
    for needed, room, text in widths:
        assert "…" in text
        assert needed <= room


def test_the_overview_is_shown_only_where_the_picture_goes_on(open_page: Open) -> None:
    layer = LayerDefinition("Conv2d", 3)
    page = open_page(EnrichedNetworkNode("b", layer, [EnrichedNetworkNode("a", layer, [])]))
    assert not page.locator("#overview").is_visible()
    page = open_page(resnet18())
    page.evaluate("look(0, 0, 2)")
    assert page.locator("#overview").is_visible()


def test_good_resolutions_of_square_images_are_those_of_all_axes(open_page: Open) -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for kernel in ((3, 5), (5, 3), (1, 3)):
        node = EnrichedNetworkNode(str(kernel), LayerDefinition("Conv2d", kernel, 1), [node])
    assert summarize(node, 32).good_to == (7, 9)
    page = open_page(node, (32, 32))
    assert page.locator("#state-chart .band").count() == 0, "7x9 is no square"
    for kernel in ((3, 1), (9, 9)):
        node = EnrichedNetworkNode(str(kernel), LayerDefinition("Conv2d", kernel, 1), [node])
    assert summarize(node, 32).good_to == (17, 17)
    assert open_page(node, (32, 32)).locator("#state-chart .band").count() == 1


def test_refinements_are_shown_beside_the_original(open_page: Open, torchvision: Any) -> None:
    graph = encoded(torchvision, "resnet18")
    expected: list[Refinement] = []
    for one in suggest_refinements(graph, 32, top=1).best:
        if not any(set(one.edits) == set(other.edits) for other in expected):
            expected.append(one)
    page = open_page({"resnet18": graph}, 32, refinements=3)
    then, now = (sum(filter(None, compute_at(graph, size).values())) for size in (139, 32))
    advice = page.locator("#advice").inner_text()
    assert "Use images of 139 px or more" in advice
    assert f"{round(then / now)} times the compute" in advice
    assert "searched" not in (section := page.locator("#refinements").inner_text())
    assert "false" not in section
    items = page.locator("#refinements li")
    assert items.count() == len(expected[:3]) == 3
    for at, one in enumerate(expected[:3]):
        said = items.nth(at).inner_text()
        after = one.after
        assert f"{one.words[:1].upper()}{one.words[1:]}." in said
        assert f"{after.states['unproductive']} of {sum(after.states.values())} layers" in said
        summary = summarize(edit(graph, one.edits), 32)
        assert f"{summary.good_from[0]} to {summary.good_to[0]} px" in said
        compute = page.evaluate("(at) => figuresAt(refine(model(), at), [32]).work", at)
        assert compute == pytest.approx(after.multiply_accumulates, rel=0.01)
    set_pixels(page, 64)
    at_64 = summarize(edit(graph, expected[0].edits), 64)
    said = page.locator("#refinements").inner_text()
    assert re.search("searched for 32 . 32 px. The figures below are for 64 . 64 px", said)
    wasted = len(at_64.blocks_in("unproductive"))
    assert f"{wasted} of {len(at_64.counted)} layers" in items.nth(0).inner_text()
    set_pixels(page, 32)
    items.nth(1).get_by_role("button").click()
    made = edit(graph, expected[1].edits)
    assert page.locator("#headline").inner_text() == summarize(made, 32).headline
    assert page.locator("#cards article").count() == page.get_by_role("tab").count() == 2
    for size in (10, 32, 100):
        judged = page.evaluate(
            "(size) => statesAt(model(), [size]).map((one) => STATE_NAMES[one])", size
        )
        assert judged == [node.state(size) for node in made.all_layers]
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert page.locator("#headline").inner_text() == summarize(made, 32).headline
    page.get_by_role("button", name="Back to the original").click()
    assert page.get_by_role("tab").first.get_attribute("aria-selected") == "true"
    assert page.locator("#headline").inner_text().startswith("7 of 20 convolutions")


def test_the_chart_shows_what_arrives_at_each_layer(open_page: Open) -> None:
    graph = resnet18()
    page = open_page(graph, 32)
    counted = [block.main for block in blocks(graph) if block.counted]
    bars = page.locator("#field-chart [data-index]")
    assert bars.count() == len(counted)
    line = float(page.locator("#field-chart .now").get_attribute("y1"))
    for at, node in enumerate(counted):
        bottom = page.evaluate(
            "(node) => fieldChart.toY(arriving(model(), node, 0))", graph.all_layers.index(node)
        )
        arrives = (
            min(float(one.receptive_field_min) for one in node.predecessors)
            if node.predecessors
            else 1
        )
        assert (bottom <= line) == (arrives >= 32)
        if arrives >= 32:
            assert "unproductive" in bars.nth(at).get_attribute("class")
    page.locator("#field-chart").scroll_into_view_if_needed()
    box = bars.nth(3).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"])
    assert counted[3].name in page.locator("#hover").inner_text()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"])
    assert page.locator("#details .path").inner_text() == counted[3].name


def test_each_target_is_large_enough_for_a_finger_and_each_text_for_an_eye(
    open_page: Open, torchvision: Any
) -> None:
    graphs = {"a": encoded(torchvision, "resnet18"), "b": vgg16()}
    view = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = open_page(graphs, 32, view=view, refinements=3)
    small = page.evaluate(
        """() => [...document.querySelectorAll('button:not(.link), input')]
            .filter((one) => one.offsetParent && one.type !== 'range')
            .map((one) => [one.textContent || one.id, one.getBoundingClientRect()])
            .filter(([, box]) => box.height < 43.5 || box.width < 43.5)
            .map(([text, box]) => `${text} ${box.width}x${box.height}`)"""
    )
    assert small == []
    texts = page.evaluate(
        """() => [...document.querySelectorAll('body *')]
            .filter((one) => [...one.childNodes].some(
                (child) => child.nodeType === 3 && child.textContent.trim()))
            .filter((one) => !/^(script|style|title|noscript)$/i.test(one.tagName))
            .map((one) => [one.textContent.slice(0, 30),
                parseFloat(getComputedStyle(one).fontSize)])
            .filter(([, size]) => size < 11)"""
    )
    assert texts == []


def test_a_deep_chain_without_modules_can_be_read(open_page: Open) -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at in range(700):
        node = EnrichedNetworkNode(f"conv{at}", LayerDefinition("Conv2d", 3), [node])
    page = open_page(node, 32)
    assert page.evaluate("stage.scale") > 0.6
    assert page.locator("#picture .node").count() < 100


def test_layers_that_read_all_earlier_ones_are_drawn(open_page: Open) -> None:
    nodes = [EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])]
    for at in range(64):
        nodes.append(EnrichedNetworkNode(f"conv{at}", LayerDefinition("Conv2d", 3), list(nodes)))
    page = open_page(nodes[-1], 32)
    page.get_by_role("button", name="Unfold all").click()
    assert page.evaluate(GEOMETRY)["overlaps"] == 0
    assert page.locator("#picture [data-index]").count() == 65


@pytest.mark.parametrize(("axes", "wrong"), [(1, r"px|pixels?|images?"), (2, r"samples?|signals?")])
def test_a_signal_has_samples_and_an_image_has_pixels(
    open_page: Open, axes: int, wrong: str
) -> None:
    node = EnrichedNetworkNode("x", LayerDefinition("Input", (1,) * axes), [])
    for at in range(8):
        layer = LayerDefinition("Conv", (3,) * axes, (1 + at % 2,) * axes)
        node = EnrichedNetworkNode(f"conv {at}", layer, [node])
    page = open_page(node, 45)
    said = page.evaluate(
        """() => {
          const said = [];
          const listen = () => {
            said.push(document.body.innerText);
            for (const one of document.querySelectorAll("[aria-label], [aria-valuetext], [title]"))
              said.push(one.ariaLabel, one.ariaValueText, one.title);
          };
          for (const size of [1, 20, 45, 5000]) {
            setResolution([size]);
            for (const node of levelOf(model()).main) {
              choose(node);
              showCard(node, 9, 9);
              listen();
            }
          }
          drawSheetHead();
          said.push(document.getElementById("sheet-head").textContent);
          return [...new Set(said)].join("\\n");
        }"""
    )
    assert ("samples" if axes == 1 else "px") in said
    assert not re.findall(rf"\b(?:{wrong})\b", said)
