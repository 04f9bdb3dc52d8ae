"""Advice: what the strategies find, in which order, and what they say where nothing helps."""

from __future__ import annotations

import functools
import itertools
import os
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfa_toolbox import input_resolution_range
from rfa_toolbox.architectures.resnet import resnet18
from rfa_toolbox.architectures.vgg import vgg16
from rfa_toolbox.errors import RefinementError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from rfa_toolbox.refinement import (
    CutBehind,
    Refinement,
    RemovePooling,
    Repeat,
    SetWindow,
    downsampling_steps,
    edit,
    other_widths,
    predict,
    refine_model,
    suggest_refinements,
)
from rfa_toolbox.refinement.contracted import Contracted
from rfa_toolbox.refinement.nodes import places_on_all_paths
from rfa_toolbox.refinement.repeats import repeatable_blocks
from rfa_toolbox.refinement.steps import without
from rfa_toolbox.refinement.strategies import Network, delay
from tests.refinement.published import ROWS, graph_of, parameters_of, torchvision_model
from tests.refinement.shorter_and_wider import SHORTER_AND_WIDER

pytestmark = pytest.mark.usefixtures("torchvision")


@functools.cache
def graph_named(label: str) -> EnrichedNetworkNode:
    """Return the graph of a published row, or of a model of torchvision, encoded once."""
    row = next((one for one in ROWS if one.label == label), None)
    if row is not None:
        return graph_of(row.model(), row.size)
    return graph_of(torchvision_model(label), 224)


# --- steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "jumps", "layers"),
    [
        ("resnet50", [2, 4, 8, 16, 32], [1, 1, 2, 2, 2]),
        ("densenet121", [2, 4, 8, 16, 32], [1, 1, 1, 1, 1]),
        ("shufflenet_v2_x1_0", [2, 4, 8, 16, 32], [1, 1, 2, 2, 2]),
        ("alexnet", [4, 8, 16, 32], [1, 1, 1, 1]),
        ("convnext_tiny", [4, 8, 16, 32], [1, 1, 1, 1]),
    ],
)
def test_a_step_has_all_layers_that_go_from_below_a_jump_to_it(
    name: str, jumps: list[int], layers: list[int]
) -> None:
    steps = downsampling_steps(graph_named(name))
    assert [step.after for step in steps] == jumps
    assert [len(step.nodes) for step in steps] == layers
    assert all(step.editable for step in steps)


def test_a_stride_in_code_is_named_as_what_stands_in_the_way() -> None:
    steps = downsampling_steps(graph_named("inception_v3"))
    reasons = [reason for step in steps for reason in step.obstacles.values()]
    assert any("in the code of Mixed" in reason for reason in reasons)


# --- rankings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "strategy", "resolution"),
    [
        ("torchvision mobilenet_v3_small", "drop", 175),
        ("torchvision mobilenet_v3_large", "drop", 199),
        ("torchvision mnasnet1_0", "drop", 219),
        ("torchvision efficientnet_b0", "delay", 203),
        ("torchvision vgg19_bn", "even", 220),
        ("torchvision convnext_tiny", "patch", 112),
    ],
)
def test_a_strategy_puts_the_published_edit_first(
    label: str, strategy: str, resolution: int
) -> None:
    row = next(one for one in ROWS if one.label == label)
    graph = graph_named(label)
    advice = suggest_refinements(graph, 224, strategies=[strategy], top=1)
    (best,) = advice.rankings[strategy]
    assert best.after is not None
    assert best.after.resolution == (resolution, resolution)
    published = edit(graph, row.edits)
    found = edit(graph, best.edits)
    same = [one.multiply_accumulates for one in published.all_layers]
    assert [one.multiply_accumulates for one in found.all_layers] == same


def test_the_published_edit_of_mobilenet_is_one_of_the_first() -> None:
    advice = suggest_refinements(graph_named("timm mobilenetv1_100"), 224, ["delay"])
    row = next(one for one in ROWS if one.label == "timm mobilenetv1_100")
    assert any(set(one.edits) == set(row.edits) for one in advice.rankings["delay"][:3])


@pytest.mark.parametrize(
    ("name", "size", "found"),
    [
        ("resnet18", 16, (39, 2.93)),
        ("resnet50", 32, (24, 4.56)),
        ("efficientnet_b0", 224, (171, 3.04)),
    ],
)
def test_known_points_of_the_front_are_found(
    name: str, size: int, found: tuple[int, float]
) -> None:
    graph = graph_named(f"torchvision {name}" if name.startswith("eff") else name)
    advice = suggest_refinements(graph, size, ["drop", "stem"], top=8)
    front = {
        (one.after and one.after.resolution[0], round(one.compute_ratio or 0, 2))
        for one in advice.pareto
    }
    assert found in front


def test_a_cut_keeps_the_parts_that_can_help() -> None:
    """The first three blocks of a ResNet18 with a 3x3 stem, at 16 pixels: 78 % less compute."""
    advice = suggest_refinements(graph_named("resnet18"), 16, ["cut"])
    edits = (SetWindow("conv1", kernel=3), CutBehind("layer2.0.relu#2"))
    (found,) = [one for one in advice.rankings["cut"] if one.edits == edits]
    assert found.compute_ratio == pytest.approx(0.22, abs=0.005)
    assert found.after is not None
    assert found.after.resolution == (31, 31)


def test_blocks_are_spread_over_fewer_stages() -> None:
    """The refined ResNet18 for 16 pixels: stem 3x3/1, no pooling, blocks (3, 3, 2)."""
    advice = suggest_refinements(
        graph_named("resnet18"), 16, ["spread"], criterion="layers", top=20
    )
    (found,) = [one for one in advice.rankings["spread"] if set(one.edits) == set(SPREAD)]
    assert found.compute_ratio == pytest.approx(8.93, abs=0.01)
    assert found.weights == "new"
    assert found.before.states["unproductive"] == 14
    assert found.after is not None
    assert found.after.states["unproductive"] == 0
    assert found.after.layers_resolution == (12, 12)
    assert found.after.resolution == (19, 19)
    assert found.after.parameters == pytest.approx(3.40e6, rel=0.001)


SPREAD = (
    SetWindow("conv1", kernel=3, stride=1),
    RemovePooling("maxpool"),
    Repeat("layer1.1"),
    Repeat("layer2.1"),
    CutBehind("layer3.1.relu#2"),
)


def test_shorter_and_wider_networks_are_those_of_the_own_constructor() -> None:
    model = torchvision_model("efficientnet_b0")
    graph = graph_of(model, 64)
    advice = suggest_refinements(graph, 224, ["wide"], rebuilt=other_widths(model, (1, 3, 64, 64)))
    published = [one for one in SHORTER_AND_WIDER if one.model == "efficientnet_b0"]
    found = [one for one in advice.rankings["wide"] if one.edits == (published[0].edit,)]
    assert [one.after and one.after.resolution for one in found] == [(171, 171)]
    refined = refine_model(model, found[0])
    assert predict(refined.graph, 224) == found[0].after
    assert parameters_of(refined.graph) == pytest.approx(published[0].parameters, rel=0.01)


def test_without_a_model_it_is_said_that_its_constructor_is_wanted() -> None:
    advice = suggest_refinements(resnet18(), 32, ["wide"])
    assert not advice.all
    assert "other_widths(model)" in str(advice)


@pytest.mark.parametrize(
    ("name", "size", "end"),
    [
        ("resnet18", 32, "layer2.1.relu#2"),
        ("mobilenet_v2", 64, "features.11.conv.3"),
        ("densenet121", 64, "features.transition3.conv"),
    ],
)
def test_the_first_cut_saves_compute_and_keeps_whole_blocks_and_nearly_all_that_can_help(
    name: str, size: int, end: str
) -> None:
    graph = graph_named(name)
    before = predict(graph, size).states
    cuts = suggest_refinements(graph, size, ["cut"]).rankings["cut"]
    assert cuts[0].edits == (CutBehind(end),)
    ratios = [one.compute_ratio or 0 for one in cuts]
    assert ratios[0] < 1
    assert sorted(one > 1 for one in ratios) == [one > 1 for one in ratios]
    assert cuts[0].after is not None
    after = cuts[0].after.states
    assert after["unproductive"] <= before["unproductive"] // 4
    assert after["productive"] >= 0.75 * before["productive"]


def test_a_block_that_looks_and_joins_is_found_with_what_polishes_it() -> None:
    found = {
        name: [one.name for one in repeatable_blocks(nodes, places_on_all_paths(graph_named(name)))]
        for name in ("resnet50", "convnext_tiny", "vgg16", "densenet121", "shufflenet_v2_x1_0")
        for nodes in [graph_named(name).all_layers]
    }
    assert found["resnet50"][:5] == ["layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer2.3"]
    assert found["convnext_tiny"][2:4] == ["features.1.2", "features.3.0"]
    assert found["vgg16"][:2] == ["features.3", "features.8"]  # convolutions with activations
    assert found["densenet121"] == found["shufflenet_v2_x1_0"] == []


def test_networks_whose_last_map_is_one_unit_are_suggested_only_if_wished() -> None:
    graph = vgg16()
    few = suggest_refinements(graph, 33, ["drop"], top=100).all
    more = suggest_refinements(graph, 33, ["drop"], top=100, single_units=True).all
    assert {one.edits for one in few} <= {one.edits for one in more}
    for one in few:
        assert Contracted(edit(graph, one.edits).all_layers).estimate([]).jump * 2 <= 33


def test_limits_of_compute_and_parameters_hold() -> None:
    graph = graph_named("torchvision mobilenet_v3_small")
    advice = suggest_refinements(graph, 224, max_compute=3.0, max_parameters=2_000_000, top=50)
    for one in advice.all:
        assert one.compute_ratio is not None
        assert one.compute_ratio <= 3.0
        assert one.after is not None
        assert one.after.parameters is not None
        assert one.after.parameters <= 2_000_000


def test_where_nothing_helps_the_reason_is_said() -> None:
    graph = graph_named("torchvision mobilenet_v3_small")
    advice = suggest_refinements(graph, 32, ["drop"], max_compute=1.5)
    assert not advice.all
    assert "it would take 3.91 times the compute" in str(advice)
    reach = suggest_refinements(graph, 32, ["drop"], max_compute=4)
    assert "lowest feasible resolution within reach" in str(reach)


@pytest.mark.parametrize("criterion", ["strict", "layers"])
def test_of_a_network_that_is_good_already_it_is_said_that_nothing_is_to_be_done(
    criterion: Any,
) -> None:
    smallest = 140 if criterion == "strict" else 97
    good = suggest_refinements(resnet18(), smallest, criterion=criterion)
    assert good.is_good
    assert not good.all
    assert not good.pareto
    assert f"All of its layers can help at {smallest} px as it is" in str(good)
    assert not suggest_refinements(resnet18(), smallest - 1, ["drop"], criterion=criterion).is_good


def test_a_network_whose_plan_is_even_already_is_no_suggestion() -> None:
    last: list[EnrichedNetworkNode] = []
    for at in range(4):
        layer = LayerDefinition("Conv", 3, 2 if at < 3 else 1, filters=4)
        last = [EnrichedNetworkNode(f"conv{at}", layer, last)]
    advice = suggest_refinements(last[0], 20, ["even"], criterion="layers")
    assert all(one.edits for one in advice.all)
    assert all(one.edits for one in advice.pareto)


class Hourglass(torch.nn.Module):
    """One pooling that is called twice, and two ways back."""

    def __init__(self, up: Any) -> None:
        super().__init__()
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(3, 3, 3, 1, 1) for _ in range(5))
        self.pool = torch.nn.MaxPool2d(2)
        self.ups = torch.nn.ModuleList(up() for _ in range(2))

    def forward(self, x: Any) -> Any:
        fine = self.convs[0](x)
        middle = self.convs[1](self.pool(fine))
        coarse = self.convs[2](self.pool(middle))
        middle = self.convs[3](self.ups[0](coarse) + middle)
        return self.convs[4](self.ups[1](middle) + fine)


@pytest.mark.parametrize(
    "up",
    [
        lambda: torch.nn.Upsample(scale_factor=2),
        lambda: torch.nn.ConvTranspose2d(3, 3, 2, 2),
        lambda: torch.nn.ConvTranspose2d(3, 3, 3, 2, 1, 1, bias=False),
        lambda: torch.nn.ConvTranspose2d(3, 3, 5, 2, 2, 1),
    ],
    ids=["nearest", "patches", "kernel 3", "kernel 5"],
)
def test_what_is_suggested_for_an_hourglass_changes_its_one_pooling_with_both_ways_back(
    up: Any,
) -> None:
    model = Hourglass(up).eval()
    advice = suggest_refinements(graph_of(model, 32), 16, ["drop"])
    assert advice.all
    for one in advice.all:
        refine_model(model, one)


def test_a_transposed_convolution_that_cannot_keep_the_size_of_a_map_is_named() -> None:
    model = Hourglass(lambda: torch.nn.ConvTranspose2d(3, 3, 4, 2, 1)).eval()
    graph = graph_of(model, 32)
    advice = suggest_refinements(graph, 16, ["drop"])
    assert not advice.all
    assert re.search(r"cannot be made: 'add' would read maps of .* look at ups.0", str(advice))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"strategies": ["patch"]}, "nothing in it that these strategies could change"),
        ({"strategies": ["drop"], "max_parameters": 1}, "beyond the limits|lowest feasible"),
    ],
)
def test_the_cause_is_said_where_nothing_is_suggested(options: Any, text: str) -> None:
    graph = graph_named("torchvision mobilenet_v3_small")
    assert re.search(text, str(suggest_refinements(graph, 224, **options)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_compute": "2x"}, "max_compute is '2x'"),
        ({"max_compute": float("nan")}, "max_compute is nan"),
        ({"max_parameters": 0}, "max_parameters is 0"),
        ({"top": 0}, "top is 0"),
        ({"strategies": ["dorp"]}, "Did you mean 'drop'"),
        ({"criterion": "loose"}, "criterion is 'loose'"),
    ],
)
def test_unknown_words_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefinementError, match=message):
        suggest_refinements(resnet18(), 32, **options)


# --- properties ------------------------------------------------------------------------------


@st.composite
def chains(draw: st.DrawFn) -> EnrichedNetworkNode:
    """Return a random chain of residual parts with several down-samplings."""
    last = EnrichedNetworkNode("input", LayerDefinition("Input", 1, 1), [])
    for at in range(draw(st.integers(3, 9))):
        kernel, stride = draw(st.sampled_from([1, 3, 5, 7])), draw(st.sampled_from([1, 1, 2]))
        body = EnrichedNetworkNode(
            f"conv{at}", LayerDefinition("Conv", kernel, stride, filters=4), [last]
        )
        if stride == 1 and draw(st.booleans()):
            body = EnrichedNetworkNode(f"add{at}", LayerDefinition("add", 1, 1), [body, last])
        elif draw(st.booleans()):
            short = EnrichedNetworkNode(
                f"short{at}", LayerDefinition("Conv", 1, stride, filters=4), [last]
            )
            body = EnrichedNetworkNode(f"add{at}", LayerDefinition("add", 1, 1), [body, short])
        last = body
    return last


@settings(max_examples=60)
@given(chains())
def test_leaving_a_step_out_never_raises_the_feasible_resolution(
    graph: EnrichedNetworkNode,
) -> None:
    before = input_resolution_range(graph)[0]
    for step in downsampling_steps(graph):
        if step.editable:
            after = input_resolution_range(edit(graph, without(graph, step)))[0]
            assert after <= before


@settings(max_examples=60)
@given(chains())
def test_the_fast_pass_agrees_with_the_graph(graph: EnrichedNetworkNode) -> None:
    contracted = Contracted(graph.all_layers)
    steps = [without(graph, one) for one in downsampling_steps(graph) if one.editable]
    blocks = repeatable_blocks(graph.all_layers, places_on_all_paths(graph))
    repeats = [(Repeat(one.name, times),) for one in blocks for times in (1, 2, 4)]
    repeats += [(Repeat(one.name, 0),) for one in blocks if one.last.successors]
    together = [(*step, *repeat) for step in steps[:2] for repeat in repeats[:8]]
    plans = [(), *steps, *repeats, *together]
    for edits in plans:
        edited = edit(graph, edits)
        estimate = contracted.estimate(edits)
        assert estimate.strict == input_resolution_range(edited)[0][0]
        assert estimate.layers == input_resolution_range(edited, lower_bound=True)[0][0]


@pytest.mark.slow
def test_the_same_graph_gives_the_same_advice_in_every_process() -> None:
    code = (
        "from rfa_toolbox.architectures.resnet import resnet18\n"
        "from rfa_toolbox.refinement import suggest_refinements\n"
        "print(suggest_refinements(resnet18(), 64))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(outputs) == 1
    assert "less downsampling" in outputs.pop()


@pytest.mark.parametrize("wrong", [{"strategies": 5}, {"rebuilt": 5}])
def test_ideas_that_are_no_list_are_refused(wrong: Any) -> None:
    with pytest.raises(RefinementError, match="is 5; it must be"):
        suggest_refinements(resnet18(), 32, **wrong)


def test_nothing_is_put_behind_what_a_network_gives_out() -> None:
    layers = [("image", 1, 1, None), ("first", 3, 1, 8), ("pool", 2, 2, None)]
    layers += [(f"conv{number}", 3, 1, 8) for number in range(3)]
    node: Any = []
    for name, kernel, stride, filters in layers:
        kind = "MaxPool2d" if name == "pool" else "Conv2d"
        layer = LayerDefinition(kind, (kernel,) * 2, (stride,) * 2, filters=filters)
        node = [EnrichedNetworkNode(name, layer, node)]
    network = Network.of(node[0], (16, 16))
    behind = {one.node for edits in delay(network) for one in edits}
    assert {"conv0", "conv1"} <= behind
    assert "conv2" not in behind


class Written(nn.Module):
    """Convolutions of a ``forward()`` that calls all between them itself, or by modules."""

    def __init__(self, *, modules: bool) -> None:
        super().__init__()
        widths = [3, 8, 8, 16, 16, 16, 16]
        pairs = itertools.pairwise(widths)
        self.convs = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in pairs)
        self.last = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        if modules:
            self.pool, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Any) -> Any:
        by_code = functools.partial(F.max_pool2d, kernel_size=2)
        pools = (getattr(self, name, by_code) for name in ("pool", "pool2"))
        for number, conv in enumerate(self.convs):
            x = torch.relu(conv(x))
            if number % 3 == 1:
                x = next(pools)(x)
        return self.fc(self.last(x).mean((2, 3)))


@pytest.mark.parametrize("modules", [True, False])
def test_a_refinement_is_marked_where_the_live_model_refuses_it(modules: bool) -> None:
    model = Written(modules=modules).eval()
    graph = graph_of(model, 48)
    found = [one for size in (16, 24) for one in suggest_refinements(graph, size, top=4).all]
    assert {(is_refused(model, one), bool(one.in_code)) for one in found} == {
        (True, True),
        (False, False),
    }


def is_refused(model: nn.Module, refinement: Refinement) -> bool:
    try:
        refine_model(model, refinement)
    except RefinementError:
        return True
    return False


def test_what_is_in_code_is_told_with_the_words() -> None:
    advice = suggest_refinements(graph_of(Written(modules=True).eval(), 48), 16)
    marked = next(one for one in advice.all if one.in_code)
    assert marked.in_code[0] in marked.marked_words.partition("in code: ")[2]
    assert marked.marked_words in str(advice)
    assert Refinement.from_dict(marked.to_dict()) == marked
    assert not any(one.in_code for one in suggest_refinements(resnet18(), 100).all)


def test_what_several_strategies_find_is_numbered_once() -> None:
    strides = nn.Sequential(*(nn.Conv2d(3, 3, 3, one, 1) for one in (2, 2, 2, 1))).eval()
    advice = suggest_refinements(graph_of(strides, 48), 12)
    assert all(one.strategy == name for name, row in advice.rankings.items() for one in row)
    assert len({frozenset(one.edits) for one in advice.all}) == len(advice.all)
    assert sum(map(len, advice.rankings.values())) > len(advice.all)
