"""The table of a graph in all its forms."""

from __future__ import annotations

import csv
import gc
import io
import json
import math
import sys
import weakref
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfa_toolbox.analysis import Analysis, LayerRow, analyze, unproductive_layers
from rfa_toolbox.architectures.resnet import resnet18, resnet152
from rfa_toolbox.architectures.vgg import vgg16
from rfa_toolbox.errors import MissingFrameworkError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

COLUMNS = [field.name for field in attrs.fields(LayerRow)]


@pytest.fixture
def nasty() -> EnrichedNetworkNode:
    """Names that break tables, fractions, infinity, per-axis values."""
    first = EnrichedNetworkNode(
        'a, "b"\nc', LayerDefinition("Conv", (3, 5), 2, filters=8, dilation=2), []
    )
    second = EnrichedNetworkNode(
        "same", LayerDefinition("Up", 2, upsampling=2), [first], module_path="decoder.up"
    )
    third = EnrichedNetworkNode(
        "same",
        LayerDefinition("Up", 2, upsampling=4),
        [second],
        certainty="bound",
        certainty_reason="sampled",
    )
    return EnrichedNetworkNode("out", LayerDefinition("Dense", units=4), [third])


def test_one_row_per_node_in_order() -> None:
    graph = resnet18()
    table = analyze(graph, 32)
    assert [row.name for row in table.rows] == [node.name for node in graph.all_layers]
    assert [row.index for row in table.rows] == list(range(len(table.rows)))
    for row, node in zip(table.rows, graph.all_layers, strict=True):
        assert row.state == node.state(32)
        assert row.receptive_field_min == node.receptive_field_min
        assert row.receptive_field_max == node.receptive_field_max
        assert row.feature_map_size == node.compute_feature_map_size(32)


def test_the_table_agrees_with_the_lists() -> None:
    graph = vgg16()
    rows = analyze(graph, 32).layers_in("unproductive")
    assert [row.name for row in rows] == [node.name for node in unproductive_layers(graph, 32)]


def test_tables_are_immutable_values() -> None:
    table = analyze(vgg16(), 32)
    assert table == analyze(vgg16(), 32)
    assert table != analyze(vgg16(), 64)
    assert hash(table) == hash(analyze(vgg16(), 32))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        table.rows = ()  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        table.rows[0].state = "productive"  # type: ignore[misc]


def test_1x1_layers_can_be_spared() -> None:
    wide = EnrichedNetworkNode("wide", LayerDefinition("Conv", 9, 1), [])
    point = EnrichedNetworkNode("point", LayerDefinition("Conv", 1, 1), [wide])
    assert analyze(point, 8).rows[1].state == "unproductive"
    assert analyze(point, 8, filter_kernel_size_1=True).rows[1].state == "critical"


def test_values_per_axis(nasty: EnrichedNetworkNode) -> None:
    table = analyze(nasty, (32, 64))
    assert table.input_resolution == (32, 64)
    assert table.resolution_range == ((5, 9), (5, 9))
    assert table.rows[0].receptive_field_max == (5, 9)
    assert table.rows[2].jump == (Fraction(1, 4), Fraction(1, 4))
    assert table.rows[3].jump == (None, None)
    assert not table.rows[3].in_feature_extractor


def test_json_is_valid_and_says_inf(nasty: EnrichedNetworkNode) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    table = analyze(nasty, 32)
    stored = json.loads(table.to_json(), parse_constant=refuse)
    assert stored == table.to_dict()
    assert json.loads(table.to_json(indent=2)) == stored
    assert stored["input_resolution"] == [32, 32]
    assert stored["resolution_range"] == {"min": [5, 9], "max": [5, 9]}
    assert [list(row) for row in stored["rows"]] == [COLUMNS] * 4
    assert stored["rows"][3]["receptive_field_max"] == ["inf", "inf"]
    assert stored["rows"][2]["jump"] == ["1/4", "1/4"]
    assert stored["rows"][0]["kernel_size"] == [3, 5]
    assert stored["rows"][0]["module_path"] is None


def test_csv_is_read_back_whatever_the_names(nasty: EnrichedNetworkNode) -> None:
    table = analyze(nasty, 32)
    read = list(csv.DictReader(io.StringIO(table.to_csv(), newline="")))
    assert [row["name"] for row in read] == [row.name for row in table.rows]
    assert [row["index"] for row in read] == ["0", "1", "2", "3"]
    assert read[0]["kernel_size"] == "3x5"
    assert read[3]["receptive_field_max"] == "inf"
    assert read[3]["jump"] == ""
    assert read[2]["certainty_reason"] == "sampled"


@given(st.text())
def test_any_name_survives_csv_and_keeps_its_line_in_the_text(name: str) -> None:
    table = analyze(EnrichedNetworkNode(name, LayerDefinition("Conv", 3), []), 32)
    (row,) = csv.DictReader(io.StringIO(table.to_csv(), newline=""))
    assert row["name"] == name
    assert len(str(table).split("\n")) == 2 + 1 + 3


def test_dataframe_has_a_column_per_attribute(nasty: EnrichedNetworkNode) -> None:
    pytest.importorskip("pandas")
    frame = analyze(nasty, 32).to_dataframe()
    assert [frame.index.name, *frame.columns] == COLUMNS
    assert list(frame["state"]) == [row.state for row in analyze(nasty, 32).rows]
    assert frame.loc[0, "receptive_field_max"] == (5, 9)


def test_without_pandas_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    table = analyze(vgg16(), 32)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingFrameworkError, match="pip install pandas") as caught:
        table.to_dataframe()
    assert isinstance(caught.value, ImportError)


def test_a_broken_pandas_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    (tmp_path / "pandas.py").write_text("import nothing_of_that_name")  # type: ignore[operator]
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name") as caught:
        analyze(vgg16(), 32).to_dataframe()
    assert not isinstance(caught.value, MissingFrameworkError)


# --- the text form ---------------------------------------------------------------------------


def test_text_of_a_small_graph() -> None:
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1, filters=3), [])
    conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", (7, 3), 2, filters=16), [image])
    pool = EnrichedNetworkNode("pool", LayerDefinition("GlobalPool"), [conv])
    dense = EnrichedNetworkNode("dense", LayerDefinition("Dense", units=10), [pool])
    assert str(analyze(dense, 7)) == (
        "#  layer  type        kernel  stride  r_min  r_max  jump  map  out  state\n"
        "0  image  Input            1       1      1      1     1    7    3  productive\n"
        "1  conv   Conv           7x3       2    7x3    7x3   2x2  3x3   16  productive\n"
        "2  pool   GlobalPool     inf       1    inf    inf     -  1x1    -  sees everything\n"
        "3  dense  Dense          inf       1    inf    inf     -  1x1   10  sees everything\n"
        "\n"
        "The only layer can help at 7 px. No unit sees the whole image.\n"
        "1 layer: 1 productive; 2 more see everything by design.\n"
        "Good at 8x4 px. From 8x4 px on every layer can help; above 8x4 px no unit sees "
        "the whole image."
    )


def test_columns_that_say_nothing_are_left_out(nasty: EnrichedNetworkNode) -> None:
    header = str(analyze(nasty, 32)).splitlines()[0].split()
    assert header == [
        "#", "layer", "module", "type", "kernel", "stride", "dilation", "r_min", "r_max", "jump",
        "map", "out", "state", "certainty",
    ]  # fmt: skip
    plain = str(analyze(vgg16(), 32)).splitlines()[0].split()
    assert not {"module", "dilation", "certainty"} & set(plain)


def test_long_names_lose_their_middle_in_the_text_only() -> None:
    name = "features." * 20 + "conv"
    table = analyze(EnrichedNetworkNode(name, LayerDefinition("Conv", 3), []), 32)
    assert name not in str(table)
    shown = str(table).splitlines()[1].split()[1]
    assert len(shown) == 56
    beginning, end = shown.split("...")
    assert name.startswith(beginning)
    assert name.endswith(end)
    assert name in table.to_csv()
    assert max(map(len, str(table).splitlines())) < 200


def test_five_hundred_rows_stay_readable() -> None:
    text = str(analyze(resnet152(), 224))
    lines = text.splitlines()
    assert len(lines) > 200
    assert max(map(len, lines[:-3])) < 120
    assert "layers: " in text


def test_the_first_unproductive_layer_is_one_of_the_feature_extractor() -> None:
    image = EnrichedNetworkNode("image", LayerDefinition("Input", 1), [])
    gate = EnrichedNetworkNode("pool", LayerDefinition("Pool"), [image])
    point = EnrichedNetworkNode("point", LayerDefinition("Conv", 1), [gate])
    wide = EnrichedNetworkNode("wide", LayerDefinition("Conv", 9), [image])
    both = EnrichedNetworkNode("mul", LayerDefinition("Mul", 1), [wide, point])
    assert "The only layer cannot help at 8 px." in analyze(both, 8).summary()
    assert "The only layer can help at 16 px." in analyze(both, 16).summary()


def test_infinite_ranges_are_said() -> None:
    table = Analysis((32,), ((math.inf,), (math.inf,)), (), vgg16())
    assert table.to_dict()["resolution_range"] == {"min": ["inf"], "max": ["inf"]}


def test_a_table_of_a_known_graph_is_that_of_a_new_one() -> None:
    graph = resnet18()
    for resolution in (32, 224, (64, 32), 32):
        for filtered in (False, True):
            again = EnrichedNetworkNode.from_dict(graph.to_dict())
            assert analyze(graph, resolution, filtered) == analyze(again, resolution, filtered)


def test_a_table_knows_a_layer_that_reads_a_known_graph() -> None:
    graph = resnet18()
    before = analyze(graph, 32)
    more = EnrichedNetworkNode("more", LayerDefinition("Conv", 3), [graph.predecessors[0]])
    after = analyze(graph, 32)
    assert {row.name for row in after.rows} - {row.name for row in before.rows} == {more.name}


def test_what_is_known_of_a_graph_keeps_no_node_alive() -> None:
    graph = resnet18()
    analyze(graph, 32)
    node = weakref.ref(graph)
    del graph
    gc.collect()
    assert node() is None
