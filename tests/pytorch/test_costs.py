"""Parameters and multiply-accumulates of models: rules, and published counts."""

from __future__ import annotations

import csv
import math
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rfa_toolbox.analysis import analyze, compute_at, total_costs
from rfa_toolbox.encodings.pytorch.ingest_architecture import make_graph
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.pytorch.measure import Function, captures, encode

# --- against the counter of PyTorch, which runs the model ------------------------------------


def counted(model: nn.Module, shape: Any) -> int:
    """Return the multiply-accumulates of a real run; the counter counts each of them twice."""
    torch.manual_seed(0)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(shape))
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 3), st.booleans())
def test_convolutions(data: st.DataObject, rank: int, transposed: bool) -> None:
    def number(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    groups = number(1, 3)
    read, made = groups * number(1, 3), groups * number(1, 3)
    kernel, stride, dilation, padding = number(1, 4), number(1, 3), number(1, 2), number(0, 2)
    kind = f"Conv{'Transpose' if transposed else ''}{rank}d"
    options: dict[str, Any] = {"groups": groups, "bias": data.draw(st.booleans())}
    conv = getattr(nn, kind)(
        read, made, kernel, stride, padding, dilation=dilation, **options
    ).eval()
    size = number(3, 9)
    assume(size + 2 * padding > dilation * (kernel - 1))
    assume(not transposed or (size - 1) * stride + dilation * (kernel - 1) >= 2 * padding)
    shape = (1, read, *((size,) * rank))
    node = encode(conv, shape)
    assert node.parameters == sum(one.numel() for one in conv.parameters())
    assert node.multiply_accumulates == counted(conv, shape)
    assert node.feature_map == tuple(conv(torch.rand(shape)).shape[2:])
    assert node.encoded_resolution == shape[2:]


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return (query @ key.transpose(-2, -1)).softmax(-1) @ value


PRODUCTS: dict[str, Any] = {
    "linear": lambda s, x: s.p(x.mean((2, 3))),
    "linear at all positions": lambda s, x: s.p(x.permute(0, 2, 3, 1)),
    "functional linear": lambda s, x: F.linear(x.permute(0, 2, 3, 1), s.p.weight),
    "matmul": lambda s, x: x @ x.transpose(-2, -1),
    "bmm": lambda s, x: torch.bmm(x.flatten(0, 1), x.flatten(0, 1)),
    "addmm": lambda s, x: torch.addmm(s.p.bias[:6], x[0, 0], x[0, 1]),
    "baddbmm": lambda s, x: torch.baddbmm(x[0], x[0], x[0]),
    "matmul with a weight": lambda s, x: x.permute(0, 2, 3, 1) @ s.p.weight.t(),
    "einsum": lambda s, x: torch.einsum("bchw,dc->bdhw", x, s.p.weight),
    "einsum of positions": lambda s, x: torch.einsum("bchw,bcHW->bhwHW", x, x),
    "attention by hand": lambda s, x: attention(*[x.flatten(2).mT] * 3),
    "attention": lambda s, x: F.scaled_dot_product_attention(*[x.flatten(2).mT] * 3),
    "dynamic convolution": lambda s, x: F.conv2d(x, s.p(x.mean((2, 3))).view(6, 4, 1, 1)[:, :4]),
    "pointwise": lambda s, x: F.gelu(x * 2 + 1).softmax(1) / x,
}


@captures
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, capture: str) -> None:
    if name == "dynamic convolution":
        model = Function(PRODUCTS[name], p=nn.Linear(4, 24))
    else:
        model = Function(PRODUCTS[name], p=nn.Linear(4, 6))
    graph = encode(model, (1, 4, 6, 6), capture)
    assert total_costs(graph).multiply_accumulates == counted(model, (1, 4, 6, 6))


class Tokens(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.patch, self.inner = nn.Conv2d(3, 8, 4, 4), inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).mT
        result = self.inner(tokens, tokens, tokens)[0]
        assert isinstance(result, torch.Tensor)
        return result


@captures
@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}])
def test_multi_head_attention(extra: dict[str, Any], capture: str) -> None:
    model = Tokens(nn.MultiheadAttention(8, 2, batch_first=True, **extra)).eval()
    graph = encode(model, (1, 3, 16, 16), capture)
    total = total_costs(graph)
    assert total.parameters == sum(one.numel() for one in model.parameters())
    with torch.backends.mha.set_fastpath_enabled(False) or torch.no_grad():
        assert total.multiply_accumulates == counted(model, (1, 3, 16, 16))


@captures
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_recurrent_layers(kind: str, capture: str) -> None:
    layer = getattr(nn, kind)(4, 5, num_layers=2, bidirectional=True)
    model = Function(lambda s, x: s.layer(x.permute(2, 0, 1))[0], layer=layer)
    graph = encode(model, (1, 4, 7), capture)
    weights = sum(one.numel() for one in model.parameters() if one.dim() == 2)
    total = total_costs(graph)
    assert total.parameters == sum(one.numel() for one in model.parameters())
    assert total.multiply_accumulates == 7 * weights


# --- whose parameters --------------------------------------------------------------------------


def costs(model: nn.Module, shape: Any, capture: str, **options: Any) -> dict[str, int]:
    graph = encode(model.eval(), shape, capture, **options)
    return {node.name: node.parameters for node in graph.all_layers if node.parameters}


@captures
def test_a_shared_module_counts_at_its_first_call(capture: str) -> None:
    model = Function(lambda s, x: s.b(s.a(s.a(x))), a=nn.Conv2d(3, 3, 3), b=nn.Conv2d(3, 3, 1))
    assert costs(model, (1, 3, 9, 9), capture) == {"a": 84, "b": 12}
    calls = {node.name: node for node in encode(model, (1, 3, 9, 9), capture).all_layers}
    assert calls["a#2"].parameters == 0
    assert calls["a#2"].multiply_accumulates == 81 * 25


@captures
def test_tied_weights_count_once(capture: str) -> None:
    model = Function(lambda s, x: s.b(s.a(x)), a=nn.Conv2d(3, 3, 3), b=nn.Conv2d(3, 3, 3))
    model.b.weight = model.a.weight
    assert costs(model, (1, 3, 9, 9), capture) == {"a": 84, "b": 3}


class Owner(nn.Module):
    """Parameters beside modules: class token, position embedding, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 8, 2, 2))
        self.scale = nn.Parameter(torch.ones(8))
        self.unused = nn.Linear(100, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).mT
        position = F.interpolate(self.position, size=(4, 4), mode="bilinear")
        tokens = tokens + position.flatten(2).mT
        token = self.token.expand(tokens.shape[0], -1, -1)
        return torch.cat([token, tokens], 1) * self.scale


@captures
def test_parameters_count_where_they_are_used(capture: str) -> None:
    found = costs(Owner(), (1, 3, 16, 16), capture)
    assert found == {"patch": 392, "add": 32, "cat": 8, "mul": 8}


@captures
def test_parameters_of_a_constant_that_takes_its_shape_from_the_input(capture: str) -> None:
    model = Function(
        lambda s, x: x + (torch.zeros_like(x) + s.p) * 2, p=nn.Parameter(torch.ones(3, 1, 1))
    )
    assert sum(costs(model, (1, 3, 8, 8), capture).values()) == 3


@captures
def test_a_weight_that_is_computed_is_no_compute(capture: str) -> None:
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    graph = encode(conv, (1, 3, 8, 8), capture)
    assert total_costs(graph).parameters == sum(one.numel() for one in conv.parameters())
    assert total_costs(graph).multiply_accumulates == 4 * 27 * 36


@captures
def test_a_plumbing_operation_gives_its_parameters_to_the_layer_it_works_on(capture: str) -> None:
    model = Function(
        lambda s, x: s.a(x)[:, s.p.long()], a=nn.Conv2d(3, 4, 1), p=nn.Parameter(torch.zeros(2))
    )
    assert sum(costs(model, (1, 3, 8, 8), capture).values()) == 18


@captures
@pytest.mark.parametrize("name", ["Input", "Output"])
def test_a_layer_that_is_called_like_a_marker_is_in_the_graph(name: str, capture: str) -> None:
    kind = type(name, (Function,), {})
    inner = kind(lambda s, x: F.conv2d(x, s.p), p=nn.Parameter(torch.ones(4, 4, 3, 3)))
    for model in (nn.Sequential(inner, nn.ReLU()), nn.Sequential(nn.Conv2d(4, 4, 3), inner)):
        graph = encode(model, (1, 4, 16, 16), capture)
        total = total_costs(graph)
        assert total.parameters == sum(one.numel() for one in model.parameters())
        assert graph.receptive_field_max == (1 + 2 * total_convolutions(model),) * 2


def total_convolutions(model: nn.Module) -> int:
    return sum(parameter.dim() == 4 for parameter in model.parameters())


def test_an_unknown_operation_has_unknown_compute() -> None:
    model = Function(lambda s, x: torch.polygamma(1, s.a(x)), a=nn.Conv2d(3, 4, 1))
    with pytest.warns(UserWarning, match="polygamma"):
        graph = encode(model, (1, 3, 8, 8))
    assert graph.multiply_accumulates is None
    assert graph.parameters == 0
    total = total_costs(graph)
    assert (total.multiply_accumulates, total.unknown) == (768, 1)
    assert str(total).startswith("at least")


def test_a_trace_of_the_user_has_the_same_costs() -> None:
    model = Function(lambda s, x: s.b(s.a(x).relu()), a=nn.Conv2d(3, 8, 3), b=nn.Conv2d(8, 4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(model, torch.zeros(1, 3, 16, 16))
    graph = make_graph(traced, model).to_graph()
    own = encode(model, (1, 3, 16, 16))
    assert [node.measures for node in graph.all_layers] == [
        node.measures for node in own.all_layers
    ]


@captures
@pytest.mark.parametrize("options", [{"display_se_modules": True}, {"global_ops": "count"}])
def test_gates_cost_the_same_opened_and_closed(capture: str, options: dict[str, Any]) -> None:
    model = Function(
        lambda s, x: s.d((y := s.a(x)) * s.g(y).sigmoid()),
        a=nn.Conv2d(3, 4, 3),
        g=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1)),
        d=nn.Conv2d(4, 4, 3),
    )
    closed = encode(model, (1, 3, 16, 16), capture)
    opened = encode(model, (1, 3, 16, 16), capture, **options)
    assert total_costs(closed) == total_costs(opened)
    assert total_costs(closed, 32) == total_costs(opened, 32)
    (gate,) = (node for node in closed.all_layers if node.multiply_accumulates == 16)
    assert gate.measures.work == ((16, (0, 0)),)  # whatever the size of the map
    assert gate.feature_map == (14, 14)


def test_a_module_shown_as_one_node_costs_what_is_in_it() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    graph = encode(nn.Sequential(inner, nn.Conv2d(4, 4, 1)), (1, 3, 16, 16))
    closed = encode(
        nn.Sequential(inner, nn.Conv2d(4, 4, 1)), (1, 3, 16, 16), custom_layers=["Sequential"]
    )
    assert len(closed.all_layers) < len(graph.all_layers)
    assert total_costs(closed) == total_costs(graph)


# --- other resolutions -------------------------------------------------------------------------


def maps(node: EnrichedNetworkNode) -> tuple[int, int]:
    """Return how many units the map has that a layer reads, and the one that it writes."""
    before = node.predecessors[0].feature_map if node.predecessors else node.encoded_resolution
    assert before is not None
    assert node.feature_map is not None
    return math.prod(before), math.prod(node.feature_map)


@settings(max_examples=40, deadline=None)
@example([("c", 1, 2, 0)] * 3 + [("t", 3, 1, 0)], 97, 96)
@given(
    st.lists(
        st.tuples(st.sampled_from("cpt"), st.integers(1, 4), st.integers(1, 2), st.integers(0, 1)),
        min_size=1,
        max_size=4,
    ),
    st.integers(96, 128),
    st.integers(96, 128),
)
def test_the_estimate_is_exact_for_plain_networks(
    layers: list[tuple[str, int, int, int]], size: int, other: int
) -> None:
    made: list[nn.Module] = []
    for kind, kernel, stride, padding in layers:
        if kind == "p":
            made.append(nn.MaxPool2d(kernel, stride, min(padding, kernel // 2)))
        elif kind == "c":
            made.append(nn.Conv2d(2, 2, kernel, stride, padding))
        else:
            made.append(nn.ConvTranspose2d(2, 2, kernel, stride, min(padding, (kernel - 1) // 2)))
    model = nn.Sequential(*made, nn.Conv2d(2, 2, 1)).eval()
    here, there = encode(model, (1, 2, size, 112)), encode(model, (1, 2, other, 96))
    found = compute_at(here, (other, 96))
    for node, truth in zip(here.all_layers, there.all_layers, strict=True):
        exact = Fraction(truth.multiply_accumulates or 0)
        if node.layer_info.name == "ConvTranspose2d":
            # It works on the map that it reads, and is taken to grow with the one that it writes.
            (read, written), (read_here, written_here) = maps(truth), maps(node)
            exact *= Fraction(written, written_here) / Fraction(read, read_here)
        assert found[node] == round(exact)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v3_small", "swin_t"])
def test_the_estimate_is_exact_for_models_of_torchvision(torchvision: Any, name: str) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None).eval()
    graph = encode(model, (1, 3, 299, 299))
    for size in (64, (96, 160), 224):
        pixels = (size, size) if isinstance(size, int) else size
        truth = total_costs(encode(model, (1, 3, *pixels)))
        assert total_costs(graph, size) == truth


def test_attention_over_all_positions_grows_with_the_square() -> None:
    model = Function(lambda s, x: attention(*[x.flatten(2).mT] * 3))
    for size in (6, 12):
        found = total_costs(encode(model, (1, 4, 8, 8)), size).multiply_accumulates
        assert found == counted(model, (1, 4, size, size))


def test_a_table_names_the_share_of_what_cannot_help(torchvision: Any) -> None:
    model = torchvision.models.vgg16().eval()
    table = analyze(encode(model, (1, 3, 224, 224)), 32)
    wasted, whole = table.costs_of("unproductive"), table.costs_of()
    assert whole.parameters == 138_357_544
    assert table.compute_is_estimated
    assert whole == total_costs(encode(model, (1, 3, 32, 32)))
    share = sum(
        row.parameters or 0 for row in table.layers_in("unproductive") if row.in_feature_extractor
    )
    assert wasted.parameters == share > 0
    text = str(table)
    assert f"{share / 138_357_544:.1%} of 138.36 M parameters" in text
    assert "about" in text
    assert "MACs" in text
    exact = analyze(encode(model, (1, 3, 32, 32)), 32)
    assert not exact.compute_is_estimated
    assert [row.multiply_accumulates for row in exact.rows] == [
        row.multiply_accumulates for row in table.rows
    ]
    assert "about" not in exact.summary()


# --- published counts --------------------------------------------------------------------------

TABLE = list(
    csv.DictReader(
        (Path(__file__).parent / "data" / "torchvision_costs.csv").read_text().splitlines()
    )
)
"""Input size, parameters and giga multiply-accumulates ("num_params" and "_ops") from the
metadata of torchvision's default weights (torchvision 0.28, BSD licence)."""
QUICK = {
    "resnet50",
    "vgg19",
    "mobilenet_v2",
    "efficientnet_b0",
    "swin_v2_t",
    "googlenet",
    "vit_b_32",
}


def unused(model: nn.Module) -> int:
    """Return the parameters of auxiliary heads, which only run in train mode."""
    heads = [module for name, module in model.named_children() if "aux" in name.lower()]
    return sum(one.numel() for head in heads for one in head.parameters())


def bias_networks(model: nn.Module) -> int:
    """Return the multiply-accumulates of Swin V2's networks for position biases.

    They work on a table of offsets and not on the image, so that they are not counted here.
    """
    return sum(
        module.relative_coords_table.shape[:-1].numel() * layer.in_features * layer.out_features
        for module in model.modules()
        if hasattr(module, "cpb_mlp")
        for layer in module.cpb_mlp
        if isinstance(layer, nn.Linear)
    )


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row["model"], marks=() if row["model"] in QUICK else pytest.mark.slow)
        for row in TABLE
    ],
)
def test_published_counts(torchvision: Any, row: dict[str, str]) -> None:
    name, size = row["model"], int(row["size"])
    options: dict[str, Any] = {"image_size": size} if name.startswith("vit") else {}
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = torchvision.models.get_model(name, weights=None, **options).eval()
    total = total_costs(encode(model, (1, 3, size, size)))
    own = sum(one.numel() for one in model.parameters())
    assert total.parameters == own - unused(model)
    # The published number of Inception has the auxiliary head, that of GoogLeNet has not.
    assert int(row["parameters"]) in (own, own - unused(model))
    assert total.unknown == 0
    assert total.multiply_accumulates is not None
    work = total.multiply_accumulates + bias_networks(model)
    assert round(work / 1e9, 3) == float(row["giga_multiply_accumulates"])


def test_all_models_of_torchvision_are_in_the_table() -> None:
    names = (Path(__file__).parent / "data" / "torchvision_models.txt").read_text().split()
    assert [row["model"] for row in TABLE] == names
