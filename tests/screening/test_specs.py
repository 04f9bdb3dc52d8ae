"""Networks as data: they give the same answers as the graphs that they stand for."""

from __future__ import annotations

import json
import pickle
import random

import pytest

from rfa_toolbox.analysis import graph_key, summarize
from rfa_toolbox.errors import GraphFormatError, InvalidGraphError, InvalidLayerError
from rfa_toolbox.screening import (
    GraphSpec,
    add,
    branches,
    chain,
    concatenate,
    conv,
    dense,
    global_pool,
    norm,
    pool,
    section,
    squeeze_excite,
)
from rfa_toolbox.screening.evaluation import SpecJudge
from rfa_toolbox.screening.judging import Question, judge_graph
from tests.screening.spaces import (
    cell_spec,
    mobile_choices,
    mobile_spec,
    random_spec,
    topologies,
)

SQUARE = ((64, 64), (33, 33), (200, 200))
OBLONG = ((64, 48), (33, 33))


@pytest.mark.parametrize("resolutions", [SQUARE, OBLONG])
@pytest.mark.parametrize("square", [True, False])
def test_a_spec_and_its_graph_are_judged_alike(
    square: bool, resolutions: tuple[tuple[int, int], ...]
) -> None:
    judge = SpecJudge(resolutions)
    for seed in range(40):
        spec = random_spec(seed, square=square, widths=(8, 16, 24, 40) if seed % 2 else ())
        graph = spec.to_graph(resolutions[0])
        assert judge.judge(spec) == judge_graph(graph, Question(resolutions)), seed


def test_networks_of_repeated_sections_are_judged_like_their_graphs() -> None:
    """Sections that come again are looked up, behind other fields than those they came first."""
    connected = [one for one in topologies() if one[3] != "none"]
    cells = random.Random(1).sample(connected, 30)
    specs = [mobile_spec(choice) for choice in mobile_choices(20)]
    specs += [cell_spec(cell, cells=3) for cell in cells]
    judge = SpecJudge(((64, 64), (160, 160)))
    for spec in [*specs, *specs]:
        graph = spec.to_graph(64)
        assert judge.judge(spec) == judge_graph(graph, Question(judge.resolutions))


def test_good_resolutions_are_those_of_summaries() -> None:
    for seed in range(0, 40, 3):
        spec = random_spec(seed, square=bool(seed % 2))
        row = SpecJudge(((64, 64),)).judge(spec)
        assert row.good_from == max(summarize(spec.to_graph(64), 64).good_from), seed


def test_what_was_judged_before_changes_no_row() -> None:
    specs = [random_spec(seed) for seed in range(20)]
    judge = SpecJudge(SQUARE)
    first = [judge.judge(spec) for spec in specs]
    assert [judge.judge(spec) for spec in reversed(specs)] == first[::-1]
    assert [SpecJudge(SQUARE).judge(spec) for spec in specs] == first


def test_a_spec_comes_back_from_json_and_pickle_as_it_was() -> None:
    for seed in range(10):
        spec = random_spec(seed)
        again = GraphSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
        assert again == spec
        assert again.digest == spec.digest
        assert pickle.loads(pickle.dumps(spec)).body is spec.body
        assert graph_key(again.to_graph(64)) == graph_key(spec.to_graph(64))


def test_specs_differ_in_their_digest_in_whatever_they_differ() -> None:
    base = chain(conv(8, 3), norm(), conv(8, 3))
    others = [
        chain(conv(8, 3), norm(), conv(8, 5)),
        chain(conv(8, 3), norm(), conv(9, 3)),
        chain(conv(8, 3), norm(), conv(8, 3, bias=True)),
        chain(conv(8, 3), norm(), conv(8, 3, groups=2)),
        chain(conv(8, 3), norm(), conv(8, 3, 2)),
        chain(conv(8, 3), conv(8, 3), norm()),
        section([(conv(8, 3), [0]), (norm(), [1]), (conv(8, 3), [1])]),
    ]
    specs = [GraphSpec(base), GraphSpec(base, channels=1), *map(GraphSpec, others)]
    assert len({spec.digest for spec in specs}) == len(specs)


def test_costs_are_those_of_the_layers() -> None:
    spec = GraphSpec(
        chain(
            conv(8, 3, 2, bias=True), squeeze_excite(2), conv(None, 3, groups=None), pool(2),
            global_pool(), dense(10),
        )
    )  # fmt: skip
    row = SpecJudge(((32, 32),)).judge(spec)
    assert row.parameters == (27 * 8 + 8) + (8 * 2 + 2 + 2 * 8 + 8) + 8 * 9 + 90
    assert row["macs"] == 27 * 8 * 256 + 32 + 8 * 9 * 256 + 80


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(InvalidGraphError, match=r"\(16, 16\).*Strides of branches"):
        GraphSpec(branches(None, conv(3, 3, 2))).to_graph(32)
    with pytest.raises(InvalidGraphError, match="Strides of branches"):
        SpecJudge(((32, 32),)).judge(GraphSpec(branches(None, conv(3, 3, 2))))
    with pytest.raises(InvalidLayerError, match=r"\[3, 8\] channels; they must be equal"):
        GraphSpec(branches(None, conv(8, 3))).to_graph(32)
    with pytest.raises(InvalidLayerError, match="4 groups"):
        GraphSpec(chain(conv(8, 3, groups=4))).to_graph(32)
    with pytest.raises(InvalidGraphError, match="nothing to slide over"):
        SpecJudge(((2, 2),)).judge(GraphSpec(chain(conv(8, 3, padding=0))))
    with pytest.raises(InvalidGraphError, match="global_pool"):
        GraphSpec(chain(conv(8, 3), dense(10))).to_graph(32)
    with pytest.raises(InvalidGraphError, match="it must read at least one of 0"):
        section([(conv(8), [1])])
    with pytest.raises(InvalidGraphError, match="is no merge"):
        section([(conv(8), [0]), (conv(8), [0, 1])])
    with pytest.raises(InvalidGraphError, match="must be a layer"):
        chain(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidLayerError, match="-3"):
        conv(8, -3)
    with pytest.raises(GraphFormatError, match="version 2"):
        GraphSpec.from_dict({**GraphSpec(chain(conv(8))).to_dict(), "version": 2})
    with pytest.raises(GraphFormatError, match="damaged"):
        GraphSpec.from_dict({**GraphSpec(chain(conv(8))).to_dict(), "body": {"steps": 3}})


def test_concatenations_add_channels_up() -> None:
    spec = GraphSpec(branches(conv(8), conv(4), None, merge=concatenate()))
    nodes = spec.to_graph(8).all_layers
    assert [node.name for node in nodes] == ["input1", "conv1", "conv2", "concatenate1"]
    behind = GraphSpec(chain(spec.body, conv(1, 1)))
    assert behind.to_graph(8).parameters == 8 + 4 + 3


def test_the_image_has_a_node_where_it_is_merged() -> None:
    spec = GraphSpec(section([(conv(3), [0]), (add(), [0, 1])]))
    assert [node.name for node in spec.to_graph(8).all_layers] == ["input1", "conv1", "add1"]


def test_layers_of_graphs_that_are_none_of_specs_are_refused() -> None:
    plain = GraphSpec(chain(conv(8))).to_dict()
    for name, value in (("blockwise", True), ("padding", None), ("shortest_kernel_size", [2, 2])):
        changed = json.loads(json.dumps(plain))
        changed["body"]["steps"][0][0]["window"][name] = value
        with pytest.raises(GraphFormatError, match=r"damaged.*window"):
            GraphSpec.from_dict(changed)
