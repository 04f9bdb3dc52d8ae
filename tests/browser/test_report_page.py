"""The report in a browser: what it shows is what the library says, and everything can be used."""

from __future__ import annotations

import csv
import io
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
    input_resolution_range,
    make_report,
)
from rfa_toolbox.analysis import (
    filters_non_convolutional_node,
    find_smallest_resolution_with_no_unproductive_layer,
)
from rfa_toolbox.analysis.costs import compute_at
from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.architectures.vgg import vgg16
from tests.browser.graphs import HOSTILE, hostile, large, random_graph

Open = Callable[..., Any]

STATES = """() => [...document.querySelectorAll('#table tbody tr')]
    .sort((one, other) => one.dataset.index - other.dataset.index)
    .map((row) => row.cells[row.cells.length - 1].textContent)"""


def shown_states(page: Any) -> list[str]:
    return list(page.evaluate(STATES))


def set_pixels(page: Any, *sizes: int) -> None:
    per_axis = page.locator("#per-axis")
    if per_axis.count() and (per_axis.get_attribute("aria-pressed") == "true") != (len(sizes) > 1):
        per_axis.click()
    for axis, size in enumerate(sizes):
        page.locator(f"#pixels-{axis}").fill(str(size))


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
    page = open_page(graphs, 32, filter_kernel_size_1=filter_kernel_size_1)
    resolutions: list[tuple[int, ...]] = [(1,), (2,), (7,), (16,), (31,), (64,), (200,)]
    if axes != 1:
        resolutions += [(3, 50, 9)[: axes or 2], (90, 8, 33)[: axes or 2]]
    seen: Counter[str] = Counter()
    for resolution in resolutions:
        set_pixels(page, *resolution)
        for at, graph in enumerate(graphs.values()):
            page.evaluate("(at) => document.querySelectorAll('#models button')[at].click()", at)
            size = resolution[0] if len(resolution) == 1 else resolution
            expected = [
                node.state(size, filter_kernel_size_1=filter_kernel_size_1)
                for node in graph.all_layers
            ]
            assert shown_states(page) == expected, (at, resolution)
            drawn = page.evaluate(
                """() => Object.fromEntries([...document.querySelectorAll('#picture [data-index]')]
                    .map((box) => [box.dataset.index, box.dataset.state]))"""
            )
            assert drawn == {
                str(index): state.replace("partially critical", "partially")
                for index, state in enumerate(expected)
            }
            seen.update(expected)
    assert len(seen) == (3 if axes == 1 else 4)


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


def test_feature_maps_and_the_summary_are_those_of_the_library(open_page: Open) -> None:
    graph = resnet18()
    page = open_page({"resnet18": graph}, 64)
    for size in (5, 32, 96, 224):
        set_pixels(page, size)
        states = shown_states(page)
        extractor = filters_non_convolutional_node(graph.all_layers)
        wasted = [node for node in extractor if node.is_border(size)]
        headline = page.locator("#headline").inner_text()
        if wasted:
            assert f"{len(wasted)} of {len(extractor)} layers" in headline
            assert wasted[0].name in page.locator("#figures").inner_text()
        else:
            assert "cannot" not in headline
        useful = find_smallest_resolution_with_no_unproductive_layer(graph)
        if wasted:
            assert f"enlarge the images to {useful} px" in page.locator("#advice").inner_text()
        low, high = input_resolution_range(graph)
        assert f"{low[0]} to {high[0]} px" in page.locator("#figures").inner_text()
        assert Counter(states)["unproductive"] == sum(
            node.is_border(size) for node in graph.all_layers
        )
        title = page.locator("#table thead th").all_inner_texts()
        column = next(at for at, text in enumerate(title) if text.startswith("Feature map"))
        maps = page.locator(f"#table tbody td:nth-child({column + 1})").all_inner_texts()
        assert maps == [str(node.compute_feature_map_size(size)) for node in graph.all_layers]


# --- what can be done ------------------------------------------------------------------------


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
    page = open_page({"resnet18": graph}, 64)
    page.get_by_role("button", name="Per axis").click()
    page.get_by_label("Resolution, width in pixels").fill("200")
    assert shown_states(page) == [node.state((64, 200)) for node in graph.all_layers]
    assert "64 \N{MULTIPLICATION SIGN} 200 px" in page.locator("#headline").inner_text()


def test_search_marks_filters_and_steps(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16()}, 32)
    page.keyboard.press("/")
    page.keyboard.type("pool")
    assert page.locator("#found").inner_text() == "5"
    assert page.locator("#table tbody tr:visible").count() == 5
    assert page.locator("#picture .match").count() == 5
    page.keyboard.press("Enter")
    assert "Pool" in page.locator("#details h2").inner_text()
    first = page.locator("#details h2").inner_text()
    page.keyboard.press("Enter")
    assert page.locator("#details h2").inner_text() != first
    page.locator("#search").fill("")
    assert page.locator("#picture .other").count() == 0


def test_modules_fold_and_unfold(open_page: Open, torchvision: Any) -> None:
    graph = encoded(torchvision, "resnet18")
    page = open_page({"resnet18": graph}, 32)
    layers = len(graph.all_layers)
    boxes = page.locator("#picture [data-index]")
    assert boxes.count() == layers
    height = page.evaluate("stage.height")
    page.get_by_role("button", name="Fold all", exact=True).click()
    assert page.locator("#picture [data-module]").count() == 4
    outside = [n for n in graph.all_layers if not (n.module_path or "").startswith("layer")]
    assert boxes.count() == len(outside)
    assert page.evaluate("stage.height") < height / 3
    page.evaluate("fitPicture()")
    page.locator("#picture [data-module]").first.click()
    assert page.locator("#picture [data-module]").count() == 3 + 2  # layer1 shows its blocks
    assert page.locator("#details h2").inner_text() == "layer1"
    page.get_by_role("button", name="Unfold all").click()
    assert boxes.count() == layers
    assert page.evaluate("stage.height") == height


def test_folded_boxes_never_cover_others(open_page: Open, torchvision: Any) -> None:
    page = open_page({"squeezenet": encoded(torchvision, "squeezenet1_0")}, 32)
    overlaps = """() => {
        const boxes = [...document.querySelectorAll('#picture .node > rect:last-of-type')]
            .map((box) => box.getBoundingClientRect());
        return boxes.flatMap((one, at) => boxes.slice(at + 1).filter((other) =>
            one.left < other.right - 1 && other.left < one.right - 1 &&
            one.top < other.bottom - 1 && other.top < one.bottom - 1)).length;
    }"""
    counts = set()
    for depth in range(4):
        page.evaluate("(depth) => foldBelow(depth)", depth)
        counts.add(page.locator("#picture .node").count())
        assert page.evaluate(overlaps) == 0
    assert len(counts) == 3


def test_a_box_tells_why(open_page: Open) -> None:
    graph = vgg16()
    page = open_page({"vgg16": graph}, 32)
    page.evaluate("fitPicture()")
    box = page.locator("#picture [data-index='9']")
    assert graph.all_layers[9].name in box.locator("title").text_content()
    box.locator("rect").first.click()
    why = page.locator("#details .why").first.inner_text()
    assert "unproductive" in page.locator("#details .badge").inner_text()
    assert "32 px" in why
    assert "40 px" in why
    set_pixels(page, 224)
    assert "fits into the image" in page.locator("#details .why").first.inner_text()


def test_the_picture_moves_by_keys_wheel_and_hand(open_page: Open) -> None:
    page = open_page({"vgg16": vgg16()}, 32)
    place = page.locator("#picture").bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + 200
    start = page.evaluate("[stage.x, stage.y, stage.scale]")
    page.mouse.move(x, y)
    page.mouse.wheel(0, 150)
    page.wait_for_function("(y) => stage.y > y", arg=start[1])
    page.mouse.down()
    page.mouse.move(x, y + 60, steps=5)
    page.mouse.up()
    page.locator("#picture").focus()
    page.keyboard.press("+")
    assert page.evaluate("stage.scale") > start[2]
    page.keyboard.press("0")
    assert page.evaluate("stage.scale") < start[2]
    page.keyboard.press("n")
    page.keyboard.press("n")
    assert page.locator("#picture .chosen").get_attribute("data-index") == "1"
    page.keyboard.press("Escape")
    assert page.locator("#picture .chosen").count() == 0


def test_the_table_sorts_and_filters_by_state(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32)
    rows = (
        "() => [...document.querySelectorAll('#table tbody tr')].map((row) => +row.dataset.index)"
    )
    assert page.evaluate(rows) == list(range(33))
    header = page.locator("#table th", has_text="Smallest field")
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    nodes = resnet18().all_layers
    order = sorted(range(33), key=lambda at: (-float(nodes[at].receptive_field_min), at))  # type: ignore[arg-type]
    assert page.evaluate(rows) == order
    page.locator("#balance [data-state='unproductive']").click()
    visible = page.locator("#table tbody tr:visible")
    assert visible.count() == sum(node.is_border(32) for node in nodes)


def test_csv_holds_the_shown_rows(open_page: Open) -> None:
    graph = hostile()
    page = open_page({"a/b:c": graph}, 32)
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
        page = open_page({name: graph}, 48)
        assert page.evaluate("tableAsCsv()") == analyze(graph, 48).to_csv()


def test_the_picture_is_put_on_paper_and_taken_back(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18()}, 32)
    before = page.locator("#picture").inner_html()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#picture > svg").count() > 1
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    after = page.locator("#picture").inner_html()
    assert after.replace(' id="whole-picture"', "") == before


def test_models_and_resolutions_stand_side_by_side(open_page: Open) -> None:
    page = open_page({"resnet18": resnet18(), "vgg16": vgg16()}, 32, compare_at=[224])
    cards = page.locator("#cards article")
    assert cards.count() == 4
    for at, (graph, size) in enumerate(
        [(resnet18(), 32), (vgg16(), 32), (resnet18(), 224), (vgg16(), 224)]
    ):
        extractor = filters_non_convolutional_node(graph.all_layers)
        wasted = sum(node.is_border(size) for node in extractor)
        assert f"{wasted} of {len(extractor)} layers" in cards.nth(at).inner_text()
    page.get_by_role("tab", name="vgg16").click()
    assert page.locator("#table tbody tr").count() == len(vgg16().all_layers)
    page.get_by_role("button", name="Compare").click()
    assert cards.count() == 5
    cards.nth(4).get_by_role("button", name="Remove").click()
    assert cards.count() == 4


def test_hostile_names_are_shown_as_text(open_page: Open) -> None:
    graph = hostile()
    page = open_page({HOSTILE[0]: graph, HOSTILE[3]: graph}, 4, title="".join(HOSTILE[:6]))
    count = page.evaluate("document.querySelectorAll('script, img, style').length")
    assert count == 3
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
    page = open_page({name: graph}, 32)
    for size in (32, 100):
        set_pixels(page, size)
        assert shown_states(page) == [node.state(size) for node in graph.all_layers]
    page.get_by_role("button", name="Unfold all").click()
    assert page.locator("#picture [data-index]").count() == len(graph.all_layers)


@pytest.mark.slow
def test_a_report_of_many_layers_can_be_used(open_page: Open) -> None:
    graph = large(2_500)
    page = open_page({"large": graph}, 32)
    assert page.locator("#picture .node").count() < 300
    set_pixels(page, 700)
    assert shown_states(page) == [node.state(700) for node in graph.all_layers]
    page.get_by_role("button", name="Unfold all").click()
    assert page.locator("#picture [data-index]").count() == len(graph.all_layers)
    page.locator("#search").fill("branch.5")
    page.keyboard.press("Enter")
    assert page.locator("#details h2").inner_text() == "stages.0.blocks.0.branch.5"


def test_names_are_shortened_until_they_fit_into_their_box(open_page: Open) -> None:
    graph = EnrichedNetworkNode("W" * 30, LayerDefinition("Conv2d", 3), [])
    page = open_page(EnrichedNetworkNode("漢字" * 12, LayerDefinition("Conv2d", 3), [graph]))
    widths = page.eval_on_selector_all(
        "#picture .node .name",
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
    assert open_page(resnet18()).locator("#overview").is_visible()


def test_the_feasible_range_of_square_images_is_that_of_all_axes(open_page: Open) -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for kernel in ((3, 5), (5, 3), (1, 3)):
        node = EnrichedNetworkNode(str(kernel), LayerDefinition("Conv2d", kernel, 1), [node])
    assert input_resolution_range(node) == ((7, 9), (7, 9))
    page = open_page(node, (32, 32))
    assert page.locator("#state-chart .band").count() == 0, "7x9 is no square"
    for kernel in ((3, 1), (9, 9)):
        node = EnrichedNetworkNode(str(kernel), LayerDefinition("Conv2d", kernel, 1), [node])
    assert input_resolution_range(node) == ((17, 17), (17, 17))
    assert open_page(node, (32, 32)).locator("#state-chart .band").count() == 1


def test_layers_under_the_chart_are_counted_evenly(open_page: Open) -> None:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    for at in range(6):
        node = EnrichedNetworkNode(str(at), LayerDefinition("Conv2d", 3, 1), [node])
    page = open_page(node)
    texts = page.locator("#field-chart text[y='295']").all_text_contents()
    assert texts == ["layer 0", "2", "4", "6"]
