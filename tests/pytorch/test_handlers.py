"""Handlers, gates, and the paths and names of release 1.7.0."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.encodings.pytorch import (
    add_custom_layer_handler,
    toggle_coerce_torch_functional,
    utils,
)
from rfa_toolbox.encodings.pytorch.ingest_architecture import create_graph_from_model, make_graph
from rfa_toolbox.encodings.pytorch.layer_handlers import GenericLayerTypeHandler, default_chain
from rfa_toolbox.encodings.pytorch.utils import current_chain, remove_custom_layer_handler
from rfa_toolbox.errors import RFAError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition
from tests.pytorch.measure import INF, Function, captures, encode, signature

SHAPE = (1, 3, 32, 32)
needs_jit = pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch.jit ends at 3.13")


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget at the end of a test which handlers it added for all models."""
    monkeypatch.setattr(utils, "_current", [current_chain()])


class Block(nn.Module):
    """Two convolutions, 5x5 together."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.first, self.second = nn.Conv2d(3, channels, 3), nn.Conv2d(channels, channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(F.relu(self.first(x)))
        return result


def model() -> nn.Module:
    return nn.Sequential(Block(), nn.ReLU(), nn.Conv2d(4, 4, 3))


def names(graph: EnrichedNetworkNode) -> list[str]:
    return [node.name for node in graph.all_layers]


def labels(graph: EnrichedNetworkNode) -> list[str]:
    return [node.layer_info.name for node in graph.all_layers]


# --- handlers of the user --------------------------------------------------------------------


@captures
def test_a_handler_shows_a_class_as_one_node(capture: str) -> None:
    add_custom_layer_handler(
        "Block",
        name_handler=lambda module, name: f"My{name}{module.channels}",
        kernel_size_provider=lambda module: module.first.kernel_size[0] + 2,
        stride_size_provider=lambda module: 2,
        filters_provider=lambda module: module.channels,
        units_provider=lambda module: None,
    )
    graph = encode(model(), SHAPE, capture)
    assert names(graph) == ["0", "1", "2"]
    node = graph.all_layers[0]
    assert node.layer_info.name == "MyBlock4"
    assert (node.layer_info.filters, node.layer_info.units) == (4, None)
    assert node.receptive_field_max == 5  # a scalar kernel gives a scalar field
    assert graph.receptive_field_max == (9, 9)


@pytest.mark.parametrize(
    ("kernel", "stride", "field"),
    [(1, 1, (3, 3)), (None, 1, (INF, INF)), ((3, 7), (1, 2), (5, 11)), (3, 3, (9, 9))],
)
def test_kernels_and_strides_that_a_handler_may_give(
    kernel: Any, stride: Any, field: tuple[Any, ...]
) -> None:
    add_custom_layer_handler("Block", lambda m, n: n, lambda m: kernel, lambda m: stride)
    assert encode(model(), SHAPE).receptive_field_max == field


def test_the_newest_handler_is_asked_first_and_removing_it_uncovers_the_older_one() -> None:
    add_custom_layer_handler("Block", kernel_size_provider=lambda m: 3)
    newest = add_custom_layer_handler("Block", kernel_size_provider=lambda m: 7)
    assert encode(model(), SHAPE).receptive_field_max == (9, 9)
    remove_custom_layer_handler(newest)
    assert encode(model(), SHAPE).receptive_field_max == (5, 5)
    remove_custom_layer_handler("Block")
    assert "0.first" in names(encode(model(), SHAPE))


def test_removing_what_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="'Nothing'"):
        remove_custom_layer_handler("Nothing")
    handler = add_custom_layer_handler("Block")
    remove_custom_layer_handler(handler)
    with pytest.raises(ValueError, match="not in the chain"):
        remove_custom_layer_handler(handler)


def test_a_chain_for_one_call_leaves_the_others_alone() -> None:
    chain = default_chain().with_handler(GenericLayerTypeHandler("Block"))
    assert names(encode(model(), SHAPE, handlers=chain)) == ["0", "1", "2"]
    assert "0.first" in names(encode(model(), SHAPE))
    add_custom_layer_handler("Conv2d", name_handler=lambda m, n: "Mine")
    assert "Mine" not in labels(encode(model(), SHAPE, handlers=default_chain()))
    assert "Mine" in labels(encode(model(), SHAPE))


def test_a_handler_may_be_any_object_with_both_methods() -> None:
    class Relabel:
        def can_handle(self, call: Any, /) -> bool:
            return call.operator.startswith("conv")  # type: ignore[no-any-return]

        def __call__(self, call: Any, /) -> LayerDefinition:
            return LayerDefinition(f"{call.path} {call.class_name}", kernel_size=11)

    graph = encode(model(), SHAPE, handlers=default_chain().with_handler(Relabel()))
    assert "0.first Conv2d" in labels(graph)
    assert graph.receptive_field_max == (31, 31)


def test_what_a_handler_raises_reaches_the_user() -> None:
    def fail(module: nn.Module) -> int:
        raise KeyError("mine")

    add_custom_layer_handler("Block", kernel_size_provider=fail)
    with pytest.raises(KeyError, match="mine"):
        encode(model(), SHAPE)


def test_a_handler_answers_for_operations_that_nothing_knows() -> None:
    class Strange(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    network = nn.Sequential(nn.Conv2d(3, 4, 3), Strange())
    with pytest.warns(UserWarning, match=r"bessel_j0.*add_custom_layer_handler"):
        graph = encode(network, SHAPE)
    assert graph.certainty == "unknown"
    assert "bessel_j0" in graph.certainty_reason
    add_custom_layer_handler("Strange", kernel_size_provider=lambda m: 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = encode(network, SHAPE)
    assert graph.certainty == "exact"
    assert graph.receptive_field_max == (5, 5)


def test_custom_layers_show_modules_as_one_node_with_what_they_do() -> None:
    graph = encode(model(), SHAPE, custom_layers=["Block"])
    assert names(graph) == ["0", "1", "2"]
    assert graph.all_layers[0].receptive_field_max == (5, 5)
    assert graph.receptive_field_max == (7, 7)


def test_a_custom_layer_that_no_module_is_of_is_an_error_with_names_like_it() -> None:
    with pytest.raises(ValueError, match=r"names 'Blok', but no module .* it has 'Block'"):
        encode(model(), SHAPE, custom_layers=["Block", "Blok"])
    with pytest.raises(ValueError, match=r"names 'Linear', .* it has 'Block'"):
        encode(model(), SHAPE, custom_layers=[nn.Linear])


def test_custom_layers_keep_both_ends_of_a_residual_block() -> None:
    class Residual(Block):
        def __init__(self) -> None:
            super().__init__(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + x[:, :, 2:-2, 2:-2]

    network = nn.Sequential(Residual(), nn.Conv2d(3, 4, 3))
    graph = encode(network, SHAPE, custom_layers=["Residual"])
    assert names(graph) == ["0", "1"]
    assert graph.receptive_field_min == (3, 3)
    assert graph.receptive_field_max == (7, 7)


# --- operations that nothing knows -----------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def library_of_a_user() -> Iterator[None]:
    """Operations of a user: the mean of blocks of two, and the sum of a 3x3 neighbourhood."""
    library = torch.library.Library("acme", "FRAGMENT")
    library.define("halve(Tensor x) -> Tensor")
    library.impl("halve", lambda x: F.avg_pool2d(x, 2), "CPU")
    library.impl("halve", lambda x: x.new_empty(1, 1, x.shape[2] // 2, x.shape[3] // 2), "Meta")
    library.define("near(Tensor x) -> Tensor")
    library.impl("near", lambda x: 9 * F.avg_pool2d(x, 3, 1, 1), "CPU")
    library.impl("near", torch.empty_like, "Meta")
    yield
    library._destroy()


class Halve(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.acme.halve(x)  # type: ignore[no-any-return]


class Near(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.acme.near(x)  # type: ignore[no-any-return]


def around(layer: nn.Module) -> nn.Module:
    convolutions = [nn.Conv2d(1, 1, 3, padding=1) for _ in range(4)]
    return nn.Sequential(convolutions[0], layer, *convolutions[1:]).eval()


def rows_seen(network: nn.Module, unit: int, size: int) -> list[int]:
    """Return the first and the last row of an image that a unit of the result depends on."""
    rows = []
    for row in range(size):
        image = torch.zeros(1, 1, size, size)
        image[:, :, row] = torch.nan
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
            if network(image)[0, 0, unit, unit].isnan():
                rows.append(row)
    return [rows[0], rows[-1]]


@captures
@pytest.mark.parametrize(
    ("layer", "kernel", "stride", "padding", "field"),
    [(Halve(), 2, 2, 0, (16, 16)), (Near(), 3, 1, 1, (11, 11))],
)
def test_what_is_behind_a_described_operation_sees_what_an_experiment_finds(
    capture: str, layer: nn.Module, kernel: int, stride: int, padding: int, field: tuple[int, int]
) -> None:
    add_custom_layer_handler(
        type(layer).__name__,
        kernel_size_provider=lambda module: kernel,
        stride_size_provider=lambda module: stride,
        padding_provider=lambda module: padding,
    )
    network = around(layer)
    graph = encode(network, (1, 1, 32, 32), capture)
    assert graph.receptive_field_max == field
    assert graph.certainty == "exact"
    assert graph.feature_map == (32 // stride, 32 // stride)
    unit = 16 // stride
    assert list(graph.input_region(unit)[0]) == rows_seen(network, unit, 32)


def test_a_description_that_does_not_lead_to_the_size_that_was_seen_is_said_to_be_wrong() -> None:
    add_custom_layer_handler("Halve", kernel_size_provider=lambda module: 2)
    graph = encode(around(Halve()), (1, 1, 32, 32))
    assert graph.certainty == "unknown"
    assert "makes 16 units of 32, which the stride 1" in graph.all_layers[1].certainty_reason


# --- names say nothing -----------------------------------------------------------------------


@captures
def test_attribute_names_do_not_decide_what_a_layer_is(capture: str) -> None:
    class Misleading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.Identity()
            self.conv_bn = nn.BatchNorm2d(3)
            self.flatten_act = nn.ReLU()
            self.se_module = nn.Conv2d(3, 3, 3)
            self.adaptive_linear = nn.MaxPool2d(2)
            setattr(self, "0", nn.Conv2d(3, 3, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.flatten_act(self.conv_bn(self.pool(x)))
            x = self.adaptive_linear(self.se_module(x))
            result: torch.Tensor = getattr(self, "0")(x)
            return result

    graph = encode(Misleading().eval(), SHAPE, capture)
    assert graph.receptive_field_max == (8, 8)
    fields = {node.name: node.layer_info.name for node in graph.all_layers}
    assert fields["conv_bn"] == "BatchNorm2d"
    assert fields["0"] == "Conv2d"


# --- gates -----------------------------------------------------------------------------------


class Excite(nn.Module):
    """The published form, as a module with convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.b(F.relu(self.a(s))))


class ExciteLinear(nn.Module):
    """The form with dense layers and a view back."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 4), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, _, _ = x.shape
        result: torch.Tensor = x * self.fc(x.mean((2, 3))).view(b, c, 1, 1)
        return result


class EfficientChannelAttention(nn.Module):
    """A 1-D convolution over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.conv = nn.AdaptiveAvgPool2d(1), nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(self.pool(x).squeeze(-1).transpose(-1, -2))
        return x * y.transpose(-1, -2).unsqueeze(-1).sigmoid().expand_as(x)


class ChannelAttention(nn.Module):
    """That of CBAM: average and maximum through shared layers."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        average = self.mlp(F.adaptive_avg_pool2d(x, 1))
        largest = self.mlp(x.amax((2, 3), keepdim=True))
        return torch.sigmoid(average + largest) * x


class Effective(nn.Module):
    """One convolution and a hard sigmoid, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True))))


class GlobalContext(nn.Module):
    """A pool that is written as a sum, and a scale that is added to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = x.sum((-2, -1)) / (x.shape[-1] * x.shape[-2])
        return x * (1 + self.fc(pooled).tanh())[..., None, None]


def selective(s: Any, x: torch.Tensor) -> torch.Tensor:
    """Two branches, weighted by a softmax over what both have in the mean (SKNet)."""
    one, two = s.one(x), s.two(x)
    weights = s.fc(F.adaptive_avg_pool2d(one + two, 1)).view(1, 2, 4, 1, 1).softmax(1)
    return one * weights[:, 0] + two * weights[:, 1]


GATES = [
    Excite,
    ExciteLinear,
    EfficientChannelAttention,
    ChannelAttention,
    Effective,
    GlobalContext,
]


def gated(gate: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), gate(), nn.Conv2d(4, 4, 3)).eval()


@captures
@pytest.mark.parametrize("gate", GATES)
def test_gates_are_found_by_what_they_compute(gate: type[nn.Module], capture: str) -> None:
    closed = encode(gated(gate), SHAPE, capture)
    assert closed.receptive_field_max == (5, 5)
    assert names(closed) == ["0", "1", "2"]
    opened = encode(gated(gate), SHAPE, capture, display_se_modules=True)
    assert opened.receptive_field_max == (5, 5)
    assert len(opened.all_layers) > 5
    assert all(node.receptive_field_max != (INF, INF) for node in opened.all_layers)
    counted = encode(gated(gate), SHAPE, capture, global_ops="count")
    assert counted.receptive_field_max == (INF, INF)
    assert counted.receptive_field_min == (5, 5)
    ignored = encode(gated(gate), SHAPE, capture, global_ops="ignore")
    assert ignored.receptive_field_max == (5, 5)


@captures
@pytest.mark.parametrize("options", [{}, {"display_se_modules": True}, {"global_ops": "ignore"}])
def test_a_gate_behind_a_crop_is_neutral(options: dict[str, Any], capture: str) -> None:
    def body(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.c(x)[..., 2:]
        return y * y.mean((2, 3), keepdim=True).sigmoid()

    graph = encode(Function(body, c=nn.Conv2d(3, 4, 3)), SHAPE, capture, **options)
    assert graph.receptive_field_max == graph.receptive_field_min == (3, 3)


@captures
def test_an_inline_gate_is_found(capture: str) -> None:
    network = Function(
        lambda s, x: s.d(s.c(x) * s.f(s.c(x).mean((2, 3), keepdim=True)).sigmoid()),
        c=nn.Conv2d(3, 4, 3),
        f=nn.Conv2d(4, 4, 1),
        d=nn.Conv2d(4, 4, 3),
    )

    def body(s: Any, x: torch.Tensor) -> torch.Tensor:
        y = s.c(x)
        result: torch.Tensor = s.d(y * s.f(y.mean((2, 3), keepdim=True)).sigmoid())
        return result

    members = {"c": nn.Conv2d(3, 4, 3), "f": nn.Conv2d(4, 4, 1), "d": nn.Conv2d(4, 4, 3)}
    shared = Function(body, **members)
    graph = encode(shared, SHAPE, capture)
    assert graph.receptive_field_max == (5, 5)
    assert len(graph.all_layers) == 3
    # A sibling of the map that is weighted computes the same, so it means the same.
    assert encode(network, SHAPE, capture).receptive_field_max == (5, 5)


@captures
def test_selective_kernels(capture: str) -> None:
    network = Function(
        selective,
        one=nn.Conv2d(3, 4, 3, padding=1),
        two=nn.Conv2d(3, 4, 5, padding=2),
        fc=nn.Conv2d(4, 8, 1),
    )
    graph = encode(network, SHAPE, capture)
    assert graph.receptive_field_min == (3, 3)
    assert graph.receptive_field_max in {(5, 5), (INF, INF)}
    assert encode(network, SHAPE, capture, global_ops="count").receptive_field_max == (INF, INF)


def used_elsewhere(s: Any, x: torch.Tensor) -> torch.Tensor:
    y = s.c(x)
    m = y.mean((2, 3), keepdim=True)
    return (y * m).mean((2, 3)) + m.flatten(1)


@captures
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda s, x: s.c(x) + s.c(x).mean((2, 3), keepdim=True), id="added"),
        pytest.param(
            used_elsewhere,
            id="used elsewhere",
        ),
    ],
)
def test_other_global_operations_are_no_gates(body: Callable[..., Any], capture: str) -> None:
    network = Function(body, c=nn.Conv2d(3, 4, 3), d=nn.Conv2d(4, 4, 1))
    assert encode(network, SHAPE, capture).receptive_field_max == (INF, INF)


def test_gates_of_torchvision(torchvision: Any) -> None:
    with torch.device("meta"):
        network = torchvision.models.mobilenet_v3_small().eval()
    closed = encode(network, (1, 3, 224, 224))
    found = [node for node in closed.all_layers if "SqueezeExcitation" in node.layer_info.name]
    assert len(found) == 9
    opened = encode(network, (1, 3, 224, 224), display_se_modules=True)
    assert len(opened.all_layers) > len(closed.all_layers)
    assert opened.receptive_field_info == closed.receptive_field_info
    one = create_graph_from_pytorch_model(network, custom_layers=["InvertedResidual"])
    assert sum(n.layer_info.name == "InvertedResidual" for n in one.all_layers) == 11
    assert one.receptive_field_min == closed.receptive_field_min


# --- filters ---------------------------------------------------------------------------------


def test_filters_leave_paths_out() -> None:
    network = Function(
        lambda s, x: s.c(x) + s.c(x).mean((2, 3), keepdim=True), c=nn.Conv2d(3, 4, 3)
    )
    assert encode(network, SHAPE).receptive_field_max == (INF, INF)
    assert encode(network, SHAPE, filter_rf="inf").receptive_field_max == (3, 3)
    kept = encode(network, SHAPE, filter_rf=lambda infos: infos[:1])
    assert len(kept.receptive_field_info) == 1


# --- release 1.7.0 ---------------------------------------------------------------------------


def test_toggle_is_deprecated_and_does_nothing() -> None:
    before = signature(encode(model(), SHAPE))
    with pytest.warns(DeprecationWarning, match="does nothing"):
        toggle_coerce_torch_functional(True, kernel_size=3, stride_size=2, handler_idx=-2)
    assert signature(encode(model(), SHAPE)) == before


@needs_jit
@pytest.mark.parametrize("make", [model, lambda: gated(Excite)])
def test_make_graph_reads_a_trace_of_the_user(make: Callable[[], nn.Module]) -> None:
    network = make().eval()
    traced = torch.jit.trace(network, torch.rand(SHAPE))
    digraph = make_graph(traced, ref_mod=network)
    graph = digraph.to_graph()
    assert isinstance(graph, EnrichedNetworkNode)
    expected = encode(network, SHAPE)
    assert names(graph) == names(expected)
    assert graph.receptive_field_info == expected.receptive_field_info
    assert [n.layer_info for n in graph.all_layers] == [n.layer_info for n in expected.all_layers]


@needs_jit
def test_make_graph_without_the_module_and_with_closed_classes() -> None:
    network = model().eval()
    traced = torch.jit.trace(network, torch.rand(SHAPE))
    assert make_graph(traced).to_graph().receptive_field_max == (7, 7)
    closed = make_graph(traced, network, classes_to_not_visit=["Block"]).to_graph()
    assert names(closed) == ["0", "1", "2"]
    opened = make_graph(
        traced, network, classes_to_visit=["Block"], classes_to_not_visit=["Block"]
    ).to_graph()
    assert "0.first" in names(opened)


@needs_jit
def test_make_graph_calls_a_block_twice() -> None:
    network = Function(lambda s, x: s.c(s.c(x)), c=nn.Conv2d(3, 3, 3)).eval()
    graph = make_graph(torch.jit.trace(network, torch.rand(SHAPE)), network).to_graph()
    assert graph.receptive_field_max == (5, 5)


def test_make_graph_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match=r"torch\.jit\.trace"):
        make_graph(model())


PATHS = {
    "rfa_toolbox": "create_graph_from_pytorch_model",
    "rfa_toolbox.encodings.pytorch": "add_custom_layer_handler toggle_coerce_torch_functional",
    "rfa_toolbox.encodings.pytorch.utils": (
        "add_custom_layer_handler toggle_coerce_torch_functional"
    ),
    "rfa_toolbox.encodings.pytorch.ingest_architecture": "create_graph_from_model make_graph",
    "rfa_toolbox.encodings.pytorch.intermediate_graph": (
        "Digraph RESOLVING_STRATEGY SUBSTITUTION_STRATEGY"
    ),
    "rfa_toolbox.encodings.pytorch.layer_handlers": (
        "Conv2d ConvNormActivationHandler AnyConv AnyPool AnyAdaptivePool "
        "SqueezeExcitationHandler LinearHandler FlattenHandler FunctionalKernelHandler "
        "GenericLayerTypeHandler AnyHandler"
    ),
    "rfa_toolbox.encodings.pytorch.substitutors": (
        "PatternSubstitutor input_substitutor output_substitutor numeric_substitutor"
    ),
    "rfa_toolbox.encodings.pytorch.domain": "LayerInfoHandler NodeSubstitutor",
}


def members() -> Iterator[tuple[str, str]]:
    for path, listed in PATHS.items():
        for name in listed.split():
            yield path, name


@pytest.mark.parametrize(("path", "name"), list(members()))
def test_import_paths_of_the_predecessor(path: str, name: str) -> None:
    assert hasattr(importlib.import_module(path), name)


def test_every_handler_has_both_methods() -> None:
    module = importlib.import_module("rfa_toolbox.encodings.pytorch.layer_handlers")
    for name in PATHS[module.__name__].split():
        assert callable(getattr(module, name).can_handle)
        assert callable(getattr(module, name).__call__)


def test_positional_arguments_of_the_predecessor() -> None:
    graph = create_graph_from_model(model(), None, (1, 3, 40, 40), None, False)
    assert graph.receptive_field_max == (7, 7)


def test_what_is_no_handler_is_refused() -> None:
    with pytest.raises(RFAError, match=r"handlers is \[.*HandlerChain"):
        encode(model(), SHAPE, handlers=[len])
    with pytest.raises(RFAError, match="kernel_size_provider is 2; it must be a function"):
        add_custom_layer_handler("Block", kernel_size_provider=2)  # type: ignore[arg-type]
