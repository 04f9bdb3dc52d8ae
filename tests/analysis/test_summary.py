"""What a person reads first of a network: counts, good resolutions, and what can be done."""

from __future__ import annotations

import html
import math
import re
from typing import Any

import pytest

from rfa_toolbox import (
    EnrichedNetworkNode,
    LayerDefinition,
    analyze,
    summarize,
    visualize_architecture,
)
from rfa_toolbox.architectures import resnet18, vgg16
from rfa_toolbox.graphs import Measures
from rfa_toolbox.rendering.labels import visible
from rfa_toolbox.views import view_of


def conv(name: str, *before: EnrichedNetworkNode, **layer: Any) -> EnrichedNetworkNode:
    layer = {"kernel_size": 3, "padding": 1, "filters": 8, **layer}
    return EnrichedNetworkNode(name, LayerDefinition("Conv", **layer), before)


def pool(name: str, before: EnrichedNetworkNode) -> EnrichedNetworkNode:
    return EnrichedNetworkNode(name, LayerDefinition("MaxPool", 2, 2, padding=0), [before])


def double(name: str, *before: EnrichedNetworkNode) -> EnrichedNetworkNode:
    return conv(f"{name}.1", conv(f"{name}.0", *before))


def u_net() -> EnrichedNetworkNode:
    node = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    skips = []
    for level in range(4):
        skips.append(double(f"down{level}", node))
        node = pool(f"pool{level}", skips[-1])
    node = double("bottom", node)
    for level, skip in reversed(list(enumerate(skips))):
        up = LayerDefinition("ConvTranspose", 2, upsampling=2, filters=8, padding=1)
        node = EnrichedNetworkNode(f"up{level}", up, [node])
        both = EnrichedNetworkNode(f"cat{level}", LayerDefinition("Concatenate", 1), [skip, node])
        node = double(f"merge{level}", both)
    return conv("out", node, kernel_size=1, padding=0)


GOLDEN = {
    "vgg16 at 32": (
        vgg16,
        32,
        "7 of 13 convolutions and 3 of 5 poolings cannot help at 32 px, from Stage2-Conv2 on.",
        "Good at 212 px.",
        "Put the head behind Stage2-Conv1 and leave out the last 10 layers.",
    ),
    "resnet18 at 32": (
        resnet18,
        32,
        "7 of 20 convolutions cannot help at 32 px, from Stage2-Block0-Conv1 on.",
        "Good from 139 to 435 px.",
        "Put the head behind Stage2-Block0-Conv1 and leave out the last 7 layers.",
    ),
    "a U-Net at 128": (
        u_net,
        128,
        "1 of 23 convolutions cannot help at 128 px: up3.",
        "Good from 140 to 204 px.",
        None,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_headline_good_resolutions_and_cut_of_well_known_networks(name: str) -> None:
    network, resolution, headline, good, cut = GOLDEN[name]
    found = summarize(network(), resolution)
    assert found.headline == headline
    assert found.good == good
    assert (found.cut and found.cut.text) == cut


def test_what_a_decoder_reads_is_never_cut_however_little_it_sees() -> None:
    found = summarize(u_net(), 32)
    assert len(found.blocks_in("unproductive")) == 13
    assert found.cut is None
    assert not any("Put the head" in option for option in found.options)


@pytest.mark.parametrize("network", [vgg16, resnet18, u_net])
def test_the_good_range_begins_where_every_counted_layer_is_productive(network: Any) -> None:
    low = int(summarize(network(), 64).good_from[0])
    assert {*summarize(network(), low).blocks_in("unproductive", "critical")} == set()
    assert summarize(network(), low - 1).blocks_in("unproductive", "critical")
    useful = int(summarize(network(), 64).nothing_wasted_from[0])
    assert not summarize(network(), useful).blocks_in("unproductive")
    assert summarize(network(), useful - 1).blocks_in("unproductive")


@pytest.mark.parametrize("network", [vgg16, resnet18, u_net])
def test_above_the_good_range_no_unit_of_a_layer_sees_the_whole_image(network: Any) -> None:
    found = summarize(network(), 64)
    largest = max(
        node.receptive_field_max
        for block in found.blocks
        if block.kind != "global"
        for node in block.nodes
    )
    assert found.good_to == (max(largest, found.good_from[0]),)
    assert "No unit sees the whole image." in summarize(network(), largest + 1).headline


def test_images_that_are_not_square_are_judged_along_each_axis() -> None:
    found = summarize(resnet18(), (32, 300))
    assert len(found.wasted_along(0)) == len(summarize(resnet18(), 32).blocks_in("unproductive"))
    assert "Along the height (32 px) 7 of 21 layers see nothing new" in found.headline
    assert "along the width (300 px) every layer sees something new" in found.headline


def test_what_nothing_knows_is_said_first() -> None:
    strange = EnrichedNetworkNode(
        "s",
        LayerDefinition("Warp", 1, filters=8),
        [conv("first")],
        certainty="unknown",
        certainty_reason="Warp is unknown",
    )
    found = summarize(conv("last", strange), 32)
    assert [node.name for node in found.unknown] == ["s"]
    assert found.headline.startswith("1 layer is unknown (Warp): ")


def measured(name: str, parameters: int, *before: EnrichedNetworkNode) -> EnrichedNetworkNode:
    measures = Measures((64,), (64,), parameters, [(parameters, (1,))])
    layer = LayerDefinition("Conv", 9, padding=4, filters=8)
    return EnrichedNetworkNode(name, layer, before, measures=measures)


@pytest.mark.parametrize(("parameters", "worth_it"), [(9, False), (11, True)])
def test_a_cut_that_saves_less_than_a_hundredth_is_not_worth_the_words(
    parameters: int, worth_it: bool
) -> None:
    end = measured("end", parameters, measured("begin", 1000 - parameters))
    head = EnrichedNetworkNode("head", LayerDefinition("Pool"), [end])
    cut = summarize(head, 9).cut
    assert [block.name for block in summarize(head, 9).blocks_in("unproductive")][-1] == "end"
    assert (cut is not None) == worth_it


def test_networks_that_see_everything_at_any_size_have_no_largest_resolution() -> None:
    first = conv("first")
    everything = EnrichedNetworkNode("attention", LayerDefinition("Attention"), [first])
    both = EnrichedNetworkNode("add", LayerDefinition("add", 1), [first, everything])
    found = summarize(conv("last", both), 64)
    assert found.good_to == (math.inf,)
    assert found.good == "Good from 5 px on."


@pytest.mark.parametrize("behind", [LayerDefinition("Input", 1, 1), LayerDefinition("Dense")])
def test_where_nothing_is_judged_nothing_is_advised(behind: LayerDefinition) -> None:
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    found = summarize(EnrichedNetworkNode("behind", behind, [image]), 32)
    assert (found.counted, found.options) == ((), ())
    assert found.advice.startswith("Nothing to judge: ")
    assert "none" not in found.counts


def test_a_notebook_shows_the_words_of_a_summary_and_no_attributes() -> None:
    node = conv("conv 0")
    for at in range(1, 5):
        node = conv(f"<b>{at}\u202e", node)
    found = summarize(EnrichedNetworkNode("head", LayerDefinition("Dense"), [node]), 4)
    shown = found._repr_mimebundle_()
    assert shown["text/plain"] == str(found)
    for sentence in (found.headline, found.good, *found.options):
        assert html.escape(visible(sentence)) in shown["text/html"]
    assert "<b>" in found.headline
    assert not re.search("<b>|\u202e", shown["text/html"])


def test_the_output_of_a_network_is_never_cut() -> None:
    end = measured("end", 500, measured("begin", 500))
    found = summarize(end, 9)
    assert [block.name for block in found.blocks_in("unproductive")][-1] == "end"
    assert found.cut is None


# --- models that resize every image ----------------------------------------------------------


def resizing(size: int) -> EnrichedNetworkNode:
    """Two convolutions behind a resize, encoded at 320 px."""
    resize = LayerDefinition("Resize", (2, 2), (4, 4), resolution_dependent=True)
    node = EnrichedNetworkNode("resize", resize, [], measures=Measures((320, 320), (size, size)))
    return conv("last", conv("first", node, kernel_size=(9, 9)), kernel_size=(7, 7))


@pytest.mark.parametrize("input_res", [5, 320, 1000, (64, 320)])
def test_a_model_that_resizes_is_judged_at_its_own_size_whatever_image_it_gets(
    input_res: Any,
) -> None:
    graph = resizing(9)
    found, table = summarize(graph, input_res), analyze(graph, input_res)
    said = "The model resizes every image to 9 px, and is judged there."
    assert found.resizing == said
    assert found.headline.startswith(f"{said} 2 of 2 convolutions cannot help at 9 px")
    assert found.input_resolution == (9, 9)
    assert "Let the model resize images to 15 px or more." in found.options
    states = [row.state for row in table.rows if row.name in ("first", "last")]
    assert states == [graph.state(9)] * 2 == ["unproductive"] * 2
    assert {row.feature_map_size for row in table.rows[:1]} == {(9, 9)}
    assert said in str(table)
    picture = visualize_architecture(graph, "resizing", input_res=input_res).source
    assert "image resized to 9x9 px" in picture
    assert picture.count("fillcolor=red") == 2
    assert summarize(resizing(300), input_res).blocks_in("unproductive") == ()


def test_a_model_that_looks_before_it_resizes_is_judged_at_the_image() -> None:
    resize = LayerDefinition("Resize", (2, 2), (4, 4), resolution_dependent=True)
    measures = Measures((320, 320), (9, 9))
    late = EnrichedNetworkNode("late", resize, [conv("early")], measures=measures)
    found = summarize(conv("last", late), 320)
    assert (found.resizing, found.input_resolution) == ("", (320, 320))


@pytest.mark.parametrize(("axes", "wrong"), [(1, r"px|pixels?|images?"), (2, r"samples|signals?")])
@pytest.mark.parametrize("resolution", [1, 20, 45, 5000])
def test_a_signal_has_samples_and_an_image_has_pixels(
    axes: int, wrong: str, resolution: int
) -> None:
    node = EnrichedNetworkNode("x", LayerDefinition("Input", (1,) * axes), [])
    for at in range(6):
        layer = LayerDefinition("Conv", (3,) * axes, (1 + at % 2,) * axes)
        node = EnrichedNetworkNode(f"conv {at}", layer, [node])
    found = analyze(node, resolution)
    shown = [
        *(str(found.findings()), found.findings().advice, str(found)),
        *(view_of(node), view_of(found), view_of(node.all_layers[1])),
        visualize_architecture(node, "x", resolution, color_head=False).source,
    ]
    for text in shown:
        assert not re.findall(rf"\b(?:{wrong})\b", text)
    assert found.findings().headline.count("sample" if axes == 1 else "px")
