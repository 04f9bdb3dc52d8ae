"""The DOT text of whole graphs."""

from __future__ import annotations

import inspect
import itertools
import os
import random
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphviz
import pytest

from rfa_toolbox import blocks, vizualize
from rfa_toolbox.architectures import resnet, vgg
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.rendering import architecture, style
from rfa_toolbox.rendering.boxes import contents_of
from rfa_toolbox.vizualize import node_id, visualize_architecture, visualize_node

HOSTILE = [
    "",
    " ",
    "back\\slash\\",
    '"quoted"',
    "two\nlines",
    "<b>bold</b>",
    "<",
    "a -> b [shape=none]; }",
    "&amp; &nbsp; &#0; &",
    "\\N \\G \\E \\l",
    "\x00\x01\x1b[31m",
    "\ud800 lone surrogate",
    "\u202eright to left override",
    "שכבת קונבולוציה (3)",
    "node",
    "digraph",
    "n0",
    "legend",
    "cluster_0",
    "x" * 10_000,
    "层" * 10_000,
    "-->",
    "]]>",
    "{record|<port>}",
    "%s {0} $HOME",
]


def statements(picture: graphviz.Digraph) -> dict[str, str]:
    """The statement of every layer, by its identifier."""
    found = (re.match(r"\s*(n\d+) \[(.*)\]$", line) for line in picture.source.splitlines())
    return {match[1]: match[2] for match in found if match}


def arrows(picture: graphviz.Digraph) -> list[tuple[str, str]]:
    found = (re.match(r"\s*(\w+) -> (\w+)", line) for line in picture.source.splitlines())
    return [(match[1], match[2]) for match in found if match]


def colours(picture: graphviz.Digraph) -> Counter[str]:
    """How many layers have each colour; layers without one take the default, white."""
    found = [re.search(r"fillcolor=(\w+)", text) for text in statements(picture).values()]
    return Counter(match[1] if match else "white" for match in found)


def node(
    name: str, *before: EnrichedNetworkNode, kind: str = "Conv", kernel: Any = 3, **more: Any
) -> EnrichedNetworkNode:
    path = more.pop("module_path", None)
    return EnrichedNetworkNode(
        name, LayerDefinition(kind, kernel, 1, **more), before, module_path=path
    )


def dense_net(blocks: tuple[int, ...]) -> EnrichedNetworkNode:
    """A DenseNet as a trace shows it: every layer concatenates all the features before it."""
    last = node("stem", kernel=(7, 7))
    for block, depth in enumerate(blocks):
        features = [last]
        for layer in range(depth):
            path = f"block{block}.layer{layer}"
            last = node(f"{path}.cat", *features, kind="cat", kernel=1, module_path=path)
            for part in ("norm1", "relu1", "conv1", "norm2", "relu2"):
                last = node(f"{path}.{part}", last, kernel=1, module_path=f"{path}.{part}")
            last = node(f"{path}.conv2", last, kernel=(3, 3), module_path=f"{path}.conv2")
            features.append(last)
        last = node(f"block{block}", *features, kind="cat", kernel=1, module_path=f"block{block}")
    return last


# --- texts as a whole ------------------------------------------------------------------------


def test_text_of_a_graph_made_by_hand(
    branching: EnrichedNetworkNode, golden: Callable[[str], None]
) -> None:
    golden(visualize_architecture(branching, "example_model", input_res=32).source)


def test_text_of_resnet18(golden: Callable[[str], None]) -> None:
    golden(visualize_architecture(resnet.resnet18(), "resnet18", input_res=32).source)


def test_text_with_every_mark_and_cluster(golden: Callable[[str], None]) -> None:
    image = node("image", kind="InputLayer", kernel=(1, 1))
    first = node("body.0.conv", image, kernel=(7, 3), filters=8, module_path="body.0.conv")
    bound = EnrichedNetworkNode(
        "body.0.warp",
        LayerDefinition("grid_sample", (5, 5), dilation=2),
        [first],
        module_path="body.0",
        certainty="bound",
        certainty_reason="where it looks depends on the data",
    )
    unknown = EnrichedNetworkNode(
        "body.1.magic", LayerDefinition("Magic", 1), [first], module_path="body.1",
        certainty="unknown", certainty_reason="nothing knows Magic",
    )  # fmt: skip
    once = node("cat", first, bound, kind="cat", kernel=1)
    twice = node("cat", first, bound, unknown, kind="cat", kernel=1)
    dense = EnrichedNetworkNode("head", LayerDefinition("Linear", units=10), [twice, once])
    golden(visualize_architecture(dense, "marks", input_res=(6, 64), clusters=True).source)


def test_text_of_single_nodes_in_a_picture_of_the_user(
    branching: EnrichedNetworkNode, golden: Callable[[str], None]
) -> None:
    dot = graphviz.Digraph("own")
    for one in branching.all_layers:
        visualize_node(one, dot, 5, color_border=True, color_critical=True)
    golden(dot.source)


# --- parameters ------------------------------------------------------------------------------


def test_the_signatures_of_the_predecessor_are_kept() -> None:
    parameters = inspect.signature(visualize_architecture).parameters.values()
    old = [(p.name, p.default) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    empty = inspect.Parameter.empty
    assert old == [
        ("output_node", empty), ("model_name", empty), ("input_res", 224),
        ("color_critical", True), ("color_border", True), ("include_rf_info", True),
        ("filter_kernel_size_1", False), ("include_fm_info", True),
    ]  # fmt: skip
    assert list(inspect.signature(visualize_node).parameters) == [
        "node", "dot", "input_res", "color_border", "color_critical", "include_rf_info",
        "filter_kernel_size_1", "include_fm_info",
    ]  # fmt: skip
    assert sorted(vizualize.__all__) == ["node_id", "visualize_architecture", "visualize_node"]


def test_the_result_is_a_digraph_named_after_the_model(branching: EnrichedNetworkNode) -> None:
    picture = visualize_architecture(branching, "alexnet_32_pixel", input_res=32)
    assert isinstance(picture, graphviz.Digraph)
    assert picture.name == "alexnet_32_pixel"
    assert picture.filename == "alexnet_32_pixel.gv"


@pytest.mark.parametrize("graph", [vgg.vgg16(), resnet.resnet18()], ids=["vgg16", "resnet18"])
@pytest.mark.parametrize("resolution", [16, 32, (32, 64), [224, 224]])
def test_colours_are_the_states_that_the_nodes_tell(
    graph: EnrichedNetworkNode, resolution: Any
) -> None:
    states = Counter(style.LOOKS[one.state(resolution)].colour for one in graph.all_layers)
    assert colours(visualize_architecture(graph, "graph", resolution)) == states


def test_known_numbers_of_unproductive_layers() -> None:
    assert colours(visualize_architecture(vgg.vgg16(), "vgg16", 32))["red"] == 13
    assert colours(visualize_architecture(resnet.resnet101(), "resnet101", 32))["red"] == sum(
        one.is_border(32) for one in resnet.resnet101().all_layers
    )


def test_axes_that_disagree_are_yellow() -> None:
    assert colours(visualize_architecture(node("a"), "one", (2, 64))) == {"yellow": 1}


def test_colours_can_be_left_out() -> None:
    graph = vgg.vgg16()
    beyond = sum(one.receptive_field_min > 32 for one in graph.all_layers)
    assert colours(visualize_architecture(graph, "a", 32, color_critical=False))["orange"] == 0
    assert colours(visualize_architecture(graph, "a", 32, color_border=False)) == {
        "white": len(graph.all_layers) - beyond,
        "orange": beyond,
    }
    neither = visualize_architecture(graph, "a", 32, color_border=False, color_critical=False)
    assert set(colours(neither)) == {"white"}
    assert "red" not in neither.source.replace("layered", "")


def test_a_1x1_layer_may_be_spared() -> None:
    last = node("pointwise", node("wide", kernel=9), kernel=1)
    assert colours(visualize_architecture(last, "a", 5))["red"] == 2
    spared = visualize_architecture(last, "a", 5, filter_kernel_size_1=True)
    assert last.state(5, filter_kernel_size_1=True) != "unproductive"
    assert colours(spared)["red"] == 1


def test_each_state_has_a_border_of_its_own() -> None:
    borders = {(look.border, look.width) for look in style.LOOKS.values()}
    assert len(borders) == len({look.colour for look in style.LOOKS.values()}) == 4


def drawn_boxes(picture: graphviz.Digraph) -> list[str]:
    return [*statements(picture)]


def test_a_block_is_one_box_on_demand() -> None:
    graph = resnet.resnet18()
    every = visualize_architecture(graph, "all", 32)
    fused = visualize_architecture(graph, "fused", 32, fuse=True)
    assert len(drawn_boxes(every)) == len(graph.all_layers)
    assert len(drawn_boxes(fused)) == len(blocks(graph))
    assert "+ Addition" in fused.source
    reds = sum(block.state(32) == "unproductive" for block in blocks(graph))
    assert fused.source.count("fillcolor=red") == reds
    assert len(arrows(fused)) == 1 + sum(len(block.predecessors) for block in blocks(graph))


def test_modules_below_a_depth_are_one_box_in_the_colour_of_their_worst_layer() -> None:
    graph = dense_net((2, 2))
    folded = visualize_architecture(graph, "folded", 16, depth=1)
    assert [re.search(r"<b>(.*?)</b>", text)[1] for text in statements(folded).values()] == [  # type: ignore[index]
        "Conv", "block0", "block1",
    ]  # fmt: skip
    # The last layers of a block see nine pixels, all others seven.
    assert colours(visualize_architecture(graph, "folded", 8, depth=1))["orange"] == 2


def test_the_head_is_grey_on_demand() -> None:
    coloured = visualize_architecture(vgg.vgg16(), "vgg16", 300)
    grey = visualize_architecture(vgg.vgg16(), "vgg16", 300, color_head=False)
    assert coloured.source.count("fillcolor=red") == 2
    assert "fillcolor=red" not in grey.source
    assert "<b>grey</b> (3)" in grey.source


def test_columns_begin_where_they_are_told_or_where_few_arrows_cross() -> None:
    graph = vgg.vgg16()
    by_name = visualize_architecture(graph, "vgg16", 32, columns=["Stage2-Conv0", "Stage3-Pool"])
    assert re.findall(r"subgraph cluster_column(\d+)", by_name.source) == ["0", "7", "14"]
    assert by_name.source.count("constraint=false") == 4, "two arrows, and two that nobody sees"
    counted = visualize_architecture(graph, "vgg16", 32, columns=3).source
    assert counted.count("subgraph cluster_column") == 3
    assert "constraint" not in visualize_architecture(graph, "vgg16", 32, columns=1).source


def places(picture: Any) -> dict[str, tuple[float, float]]:
    """Return the middle of every box as Graphviz has laid them out, in inches."""
    lines = picture.pipe("plain", quiet=True).decode().splitlines()
    words = [line.split() for line in lines if line.startswith("node ")]
    return {name: (float(x), float(y)) for _, name, x, y, *_ in words}


def test_columns_stand_beside_each_other_and_their_chains_are_straight() -> None:
    layer = LayerDefinition("Conv2d", (3, 3))
    down = [EnrichedNetworkNode("down 0", layer, [], module_path="down.0")]
    for at in range(1, 6):
        node = EnrichedNetworkNode(f"down {at}", layer, down[-1:], module_path=f"down.{at}")
        down.append(node)
    node = down.pop()
    for at, skip in enumerate(reversed(down)):
        up = EnrichedNetworkNode(f"up {at}", layer, [node], module_path=f"up.{at}")
        node = EnrichedNetworkNode(f"merge {at}", layer, [skip, up], module_path=f"merge.{at}")
    for options in ({}, {"clusters": True}):
        picture = visualize_architecture(node, "u-net", 64, columns=2, **options)
        begin = int(re.findall(r"subgraph cluster_column(\d+)", picture.source)[1])
        found = places(picture)
        across = [found[f"n{at}"][0] for at in range(len(node.all_layers))]
        assert len(set(across[begin:])) == 1
        assert max(across[:begin]) + 2.2 < across[begin], "as wide as a box"


def test_modules_that_are_left_and_entered_again_have_no_frame() -> None:
    layer = LayerDefinition("Conv2d", (3, 3))
    node = EnrichedNetworkNode("stem", layer, [], module_path="stem")
    for at in range(3):
        for part in ("up", "merge"):
            for number in range(2):
                path = f"{part}.{at}.{number}"
                node = EnrichedNetworkNode(path, layer, [node], module_path=path)
    source = visualize_architecture(node, "lists", 64, clusters=True).source
    framed = re.findall(r"label=<((?:up|merge)[^>]*)>", source)
    assert sorted(framed) == [f"{part}.{at}" for part in ("merge", "up") for at in range(3)]


def test_a_picture_for_a_sheet_of_paper_fits_onto_it() -> None:
    source = visualize_architecture(resnet.resnet152(), "resnet152", 224, page="a4").source
    assert 'size="7.3,10.7"' in source
    across = visualize_architecture(vgg.vgg16(), "vgg16", 32, page="a4", direction="LR").source
    assert 'size="10.7,7.3"' in across
    assert "rankdir=LR" in across


@pytest.mark.parametrize(
    "options",
    [
        {"direction": "RL"}, {"palette": "neon"}, {"page": "a0"}, {"columns": 0},
        {"columns": "Conv"}, {"columns": 2.5}, {"columns": True}, {"columns": ["Conv"]},
        {"depth": 0}, {"depth": True},
    ],
)  # fmt: skip
def test_an_option_that_does_not_exist_is_quoted(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    quoted = value[0] if isinstance(value, list) else value
    with pytest.raises(ValueError, match=f"{name} (is|names) {quoted!r}"):
        visualize_architecture(vgg.vgg11(), "vgg11", 32, **options)


@pytest.mark.parametrize("resolution", [0, -3, (32, 32, 32, 0), "big", None, (32,) * 3])
def test_a_resolution_that_does_not_fit_is_refused(resolution: Any) -> None:
    graph = node("a", kernel=(3, 3))
    with pytest.raises(InvalidResolutionError):
        visualize_architecture(graph, "a", resolution)


# --- ends, legend, clusters ------------------------------------------------------------------


def test_a_first_layer_gets_an_input_in_front_of_it() -> None:
    merged = node("add", node("left"), node("right"), kind="add", kernel=1)
    picture = visualize_architecture(merged, "two inputs", (32, 64))
    assert {("input_n0", "n0"), ("input_n1", "n1"), ("n2", "output_n2")} <= set(arrows(picture))
    assert picture.source.count("label=<input<br/>32x64 px>") == 2


@pytest.mark.parametrize("kind", ["Input", "InputLayer", "input"])
def test_an_input_layer_is_an_input_already(kind: str) -> None:
    picture = visualize_architecture(node("a", node("image", kind=kind, kernel=1)), "a", 32)
    assert arrows(picture) == [("n0", "n1"), ("n1", "output_n1")]
    assert "shape=ellipse" in statements(picture)["n0"]


def test_every_output_is_marked() -> None:
    first = node("first")
    heads = [node("one", first), node("two", first)]
    picture = visualize_architecture(first, "two outputs", 32)
    assert [tail for tail, head in arrows(picture) if head.startswith("output")] == ["n1", "n2"]
    assert len(heads) == 2


def test_the_legend_explains_what_occurs_and_can_be_left_out() -> None:
    exact = visualize_architecture(node("a", kernel=(3, 3)), "a", 32).source
    for words in ("cluster_legend", "32x32 px", "productive</b> (1)", "critical", "r_min, r_max"):
        assert words in exact
    for words in ("≤", "?", "bold arrow"):
        assert words not in exact
    graph = EnrichedNetworkNode(
        "a", LayerDefinition("Warp", 3), [], certainty="bound", certainty_reason="data"
    )
    assert "an upper bound" in visualize_architecture(graph, "a", 32).source
    assert "legend" not in visualize_architecture(graph, "a", 32, legend=False).source


def test_the_legend_counts_the_layers_of_each_state() -> None:
    source = visualize_architecture(vgg.vgg16(), "vgg16", 32).source
    assert "<b>productive</b> (8)" in source
    assert "<b>unproductive</b> (10)" in source


def test_a_node_tells_in_its_tooltip_where_it_comes_from_and_how_it_is_known() -> None:
    graph = EnrichedNetworkNode(
        "warp", LayerDefinition("Warp", 3), [], module_path="body.warp",
        certainty="bound", certainty_reason="depends on data",
    )  # fmt: skip
    text = statements(visualize_architecture(graph, "a", 32))["n0"]
    assert 'tooltip="warp; productive; module body.warp; bound: depends on data"' in text


def test_clusters_hold_the_layers_of_a_module() -> None:
    graph = dense_net((2, 2))
    source = visualize_architecture(graph, "a", 32, clusters=True).source
    assert source.count("subgraph") == 1 + 2 + 4
    assert source.count("{") == source.count("}")
    assert "label=<block0.layer1>" in source
    assert "subgraph" not in visualize_architecture(graph, "a", 32, legend=False).source


def test_a_layer_that_is_called_twice_gets_no_frame() -> None:
    contents = architecture.clustered(["b.relu", "b.conv", "b.relu"], ["ReLU", "Conv", "ReLU"])
    assert contents == {"": ["b"], "b": [0, 1, 2]}


def test_modules_with_the_same_layers_share_one_frame() -> None:
    contents = architecture.clustered(["a.b.c.x", "a.b.c.y", None, ""], ["1", "2", "3", "4"])
    assert contents == {"": ["a.b.c", 2, 3], "a.b.c": [0, 1]}


# --- identity --------------------------------------------------------------------------------


def test_identifiers_are_unique_and_follow_the_order_of_the_layers() -> None:
    graph = resnet.resnet18()
    assert [node_id(one) for one in graph.all_layers] == [f"n{at}" for at in range(33)]
    assert list(statements(visualize_architecture(graph, "a", 32))) == [
        f"n{at}" for at in range(33)
    ]


def test_equal_names_are_told_apart() -> None:
    last = node("same")
    for _ in range(4):
        last = node("same", last)
    assert arrows(visualize_architecture(last, "a", 32))[1:-1] == [
        (f"n{at}", f"n{at + 1}") for at in range(4)
    ]


def test_an_input_that_is_read_twice_has_two_arrows() -> None:
    first = node("first")
    picture = visualize_architecture(node("add", first, first, kind="add"), "a", 32)
    assert arrows(picture).count(("n0", "n1")) == 2


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_architecture import dense_net, visualize_architecture
from rfa_toolbox.architectures.resnet import resnet50
for graph in (dense_net((3, 4)), resnet50()):
    print(visualize_architecture(graph, "graph", (32, 48), clusters=True).source)
"""


def test_the_text_does_not_depend_on_the_hash_seed() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
        for seed in ("0", "1", "7")
    }
    assert len(texts) == 1
    assert len(texts.pop()) > 10_000


# --- size and hostility ----------------------------------------------------------------------


def test_a_dense_net_is_laid_out_within_seconds(renderer: str) -> None:
    graph = dense_net((6, 12, 48, 32))
    assert sum(len(one.predecessors) for one in graph.all_layers) > 2_400
    picture = visualize_architecture(graph, "densenet201", 224, time_limit=20)
    assert len(arrows(picture)) < 1_000
    assert picture.source.count("style=bold") == 6 + 12 + 48 + 32 - 4
    assert b"</svg>" in picture.pipe("svg")


def test_a_very_long_chain_has_a_text() -> None:
    last = node("0")
    for at in range(1, 30_000):
        last = node(str(at), last, kernel=1)
    start = time.monotonic()
    source = visualize_architecture(last, "long", 32, clusters=True).source
    assert time.monotonic() - start < 30
    assert "n29998 -> n29999" in source


def test_a_deeply_nested_module_has_a_text() -> None:
    path = ".".join("m" * 2_000)
    last = node("b", node("a", module_path=path), kind="ReLU", module_path=path)
    assert visualize_architecture(last, "deep", 32, clusters=True).source.count("subgraph") == 2


@pytest.mark.parametrize("clusters", [False, True])
def test_names_are_data_whatever_they_contain(renderer: str, clusters: bool) -> None:
    last = node("first")
    for name in HOSTILE:
        last = node(name, last, kind=name, module_path=f"{name}.inner")
        last = node(name, last, kind="other", module_path=f"{name}.inner")
    picture = visualize_architecture(last, HOSTILE[2], 32, clusters=clusters)
    drawn = ET.fromstring(picture.pipe("svg", quiet=True))
    space = "{http://www.w3.org/2000/svg}"
    names = [
        group.findtext(f"{space}title")
        for group in drawn.iter(f"{space}g")
        if group.get("class") == "node"
    ]
    layers = 1 + 2 * len(HOSTILE)
    assert sorted(names) == sorted(
        [f"n{at}" for at in range(layers)] + ["legend", "input_n0", f"output_n{layers - 1}"]
    )
    texts = {"".join(text.itertext()).strip() for text in drawn.iter(f"{space}text")}
    for shown in ("<b>bold</b>", '"quoted"', "two\\nlines", "back\\slash\\", "\\N \\G \\E \\l"):
        assert shown in texts


def test_a_name_and_a_module_in_angle_brackets_are_no_markup(renderer: str) -> None:
    layer = LayerDefinition("Conv2d", 3)
    graph = EnrichedNetworkNode("<b>(", layer, [], module_path='a("&<img/>')
    drawn = visualize_architecture(graph, "a", 32).pipe("svg", quiet=True).decode()
    assert "&lt;b&gt;(; productive; module a(&quot;&amp;&lt;img/&gt;" in drawn


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_models_may_have_any_name(name: str, renderer: str, tmp_path: Path) -> None:
    picture = visualize_architecture(node("only"), name, 32, legend=False)
    assert len(picture.filename) <= 200
    picture.directory = str(tmp_path)
    path = Path(picture.render(format="svg", quiet=True))
    title = ET.fromstring(path.read_bytes()).findtext(".//{http://www.w3.org/2000/svg}text")
    assert title
    assert path.is_relative_to(tmp_path)


def test_two_graphs_made_alike_have_the_same_text(branching: EnrichedNetworkNode) -> None:
    copy = EnrichedNetworkNode.from_dict(branching.to_dict())
    texts = {visualize_architecture(one, "a", 32).source for one in (branching, copy)}
    assert len(texts) == 1


def test_any_node_of_a_graph_gives_the_same_picture(branching: EnrichedNetworkNode) -> None:
    texts = [visualize_architecture(one, "a", 32).source for one in branching.all_layers]
    assert all(one == other for one, other in itertools.pairwise(texts))


def test_the_time_limit_of_a_picture_can_be_set(branching: EnrichedNetworkNode) -> None:
    assert visualize_architecture(branching, "a", 32).time_limit == 60
    assert visualize_architecture(branching, "a", 32, time_limit=None).time_limit is None


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("depth", [None, 1, 2, 3])
def test_boxes_hold_every_node_once_and_read_only_what_stands_before_them(
    fuse: bool, depth: int | None
) -> None:
    for seed in range(20):
        dice = random.Random(seed)
        nodes = [EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])]
        for at in range(40):
            before = dice.sample(nodes[-4:], min(len(nodes), dice.choice((1, 1, 2, 3, 4)), 4))
            # Lists of modules are left and entered again.
            path = f"{dice.choice('abc')}.{at}.{dice.choice('xy')}"
            layer = LayerDefinition(dice.choice(("Conv", "BatchNorm", "add", "ReLU")), 1 + at % 3)
            nodes.append(EnrichedNetworkNode(f"{path}{at}", layer, before, module_path=path))
        contents = contents_of(nodes[-1], fuse, depth)
        box_of = {node: at for at, content in enumerate(contents) for node in content.nodes}
        assert sum(len(content.nodes) for content in contents) == len(box_of)
        assert set(box_of) == set(nodes[-1].all_layers)
        for node, box in box_of.items():
            assert all(box_of[before] <= box for before in node.predecessors)
