"""Numbers and names in boxes: readable, and data whatever they contain."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.rendering import labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        ((3, 3), "3x3"),
        ((3, 1, 5), "3x1x5"),
        (math.inf, "∞"),
        ((math.inf, math.inf), "∞"),
        ((math.inf, 4), "∞x4"),
        (Fraction(1, 2), "1/2"),
    ],
)
def test_sizes_read_as_people_write_them(value: Any, text: str) -> None:
    assert labels.size_text(value) == text


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (LayerDefinition("Conv2d", (3, 3), (2, 2), filters=8), "kernel 3x3, stride 2x2, 8 filters"),
        (LayerDefinition("Conv2d", (1, 1), filters=8), "kernel 1x1, stride 1, 8 filters"),
        (LayerDefinition("MaxPool2d", 2, 2), "kernel 2, stride 2"),
        (LayerDefinition("Slice", 1, 2), "kernel 1, stride 2"),
        (LayerDefinition("ReLU", (1, 1)), ""),
        (LayerDefinition("Linear", units=10), "kernel ∞, 10 units"),
        (LayerDefinition("Linear", 1, units=10), "10 units"),
        (LayerDefinition("Conv", 3, 1, dilation=(2, 3)), "kernel 3, stride 1, dilation 2x3"),
        (LayerDefinition("Up", 1, 1, upsampling=2), "kernel 1, stride 1, upsampling 2"),
        (LayerDefinition("SE", 7, 1, shortest_kernel_size=1), "kernel 1 to 7, stride 1"),
    ],
)
def test_a_layer_tells_what_it_does_and_nothing_else(layer: LayerDefinition, text: str) -> None:
    assert labels.layer_text(layer) == text


def label_of(name: str, kind: str = "Conv", **flags: Any) -> str:
    node = EnrichedNetworkNode(name, LayerDefinition(kind, 3, 1), [])
    flags = {"include_rf_info": True, "include_fm_info": True, **flags}
    return labels.node_label(node, 32, **flags)


def test_a_box_shows_fields_and_feature_map_on_demand() -> None:
    assert "r_min = 3, r_max = 3" in label_of("a")
    assert "feature map 32" in label_of("a")
    assert "r_m" not in label_of("a", include_rf_info=False)
    assert "feature map" not in label_of("a", include_fm_info=False)


def test_a_name_that_equals_the_kind_of_its_layer_is_not_repeated() -> None:
    assert label_of("Conv").count("Conv") == 1
    assert label_of("conv1").count("onv") == 2


@pytest.mark.parametrize(
    ("certainty", "text"),
    [("exact", "r_max = 3<"), ("bound", "r_min ≤ 3, r_max ≤ 3<"), ("unknown", "r_max = 3?")],
)
def test_numbers_that_are_not_exact_carry_a_mark(certainty: Any, text: str) -> None:
    layer = LayerDefinition("Conv", 3, 1)
    node = EnrichedNetworkNode("a", layer, [], certainty=certainty)
    assert text in labels.node_label(node, 32, include_rf_info=True, include_fm_info=False)


def test_markup_in_a_name_is_text() -> None:
    assert labels.markup("<b>&amp;</b>") == "&lt;b&gt;&amp;amp;&lt;/b&gt;"
    assert labels.plain("C:\\new & &lt;") == "C:\\\\new &amp; &amp;lt;"


@pytest.mark.parametrize("sign", ["\x00", "\n", "\t", "\x7f", "\u202e", "\ud800", "\uffff"])
def test_signs_that_cannot_be_seen_are_spelled_out(sign: str) -> None:
    shown = labels.visible(f"a{sign}b")
    assert sign not in shown
    assert shown.startswith("a\\")
    assert shown.isprintable()


def test_letters_of_all_scripts_stay_as_they_are() -> None:
    text = "שכבה طبقة 层 слой 👨\u200d👩"
    assert labels.visible(text) == text


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    name = "begin." + "x" * 10_000 + ".end"
    assert len(labels.shortened(name)) == labels.LONGEST_NAME
    assert labels.shortened(name).startswith("begin.")
    assert labels.shortened(name).endswith(".end")
    assert len(labels.markup("\x00" * 10_000)) <= 4 * labels.LONGEST_NAME


def test_empty_names_still_make_a_label() -> None:
    assert label_of("", kind="").startswith("<<b>layer</b><br/><font")


def test_one_thing_is_not_many() -> None:
    assert labels.layer_text(LayerDefinition("Add", 1, 1, filters=1)) == "1 filter"
    assert labels.layer_text(LayerDefinition("Dense", units=1)).endswith("1 unit")
    image = EnrichedNetworkNode("x", LayerDefinition("Input", 1, 1, filters=1), [])
    assert "1 channel<" in labels.input_label(image, 8)
