"""Ways of calling PyTorch that hide operators from a recorder, and are followed all the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._higher_order_ops.map import map as map_of_rows
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.nn.attention.flex_attention import flex_attention

from rfa_toolbox import create_graph_from_pytorch_model

EVERYTHING = (float("inf"), float("inf"))


def encode(model: nn.Module, capture: Any = "meta") -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32), capture=capture)


def network(forward: Callable[..., Any], **children: Any) -> nn.Module:
    model: nn.Module = type("Net", (nn.Module,), {"forward": forward})()
    model.a, model.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    for name, child in children.items():
        setattr(model, name, child)
    return model.eval()


def fields(model: nn.Module) -> dict[str, Any]:
    return {one.name: one.receptive_field_max for one in encode(model).all_layers}


@pytest.mark.parametrize("capture", ["meta", "jit"])
def test_compiled_children_are_read_like_the_modules_that_they_were_made_of(capture: Any) -> None:
    compiled = torch.compile(nn.Conv2d(3, 3, 3, padding=1))
    model = network(lambda s, x: s.b(s.c(x)), c=compiled)
    graph = encode(model, capture)
    assert graph.receptive_field_max == (5, 5)
    assert [node.module_path for node in graph.all_layers] == ["c", "b"]
    assert model.c is compiled


def test_functions_that_were_compiled_run_as_they_were_written() -> None:
    model = network(torch.compile(lambda s, x: s.b(s.a(x))))
    assert encode(model).receptive_field_max == (5, 5)


def test_both_ways_of_a_condition_are_followed() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.cond(x.sum() > 0, s.a, lambda y: s.a(s.a(y)), (x,))
        return s.b(y)

    graph = encode(network(forward))
    assert (graph.receptive_field_min, graph.receptive_field_max) == ((5, 5), (7, 7))


def test_a_loop_is_followed_as_often_as_its_counter_tells() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        carried = torch.tensor(0), s.a(x)
        _, y = while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, s.a(y)), carried)
        return s.b(y)

    assert encode(network(forward)).receptive_field_max == (11, 11)


def test_a_loop_that_goes_on_as_values_tell_is_the_end() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        (y,) = while_loop(lambda y: y.sum() > 0, lambda y: (s.a(y),), (s.a(x),))
        return s.b(y)

    with pytest.warns(UserWarning, match=r"could not be followed.*test_modern_calls.py:\d+"):
        graph = create_graph_from_pytorch_model(network(forward), input_res=(1, 3, 32, 32))
    assert [node.name for node in graph.all_layers if node.receptive_field_max == (3, 3)] == ["a"]


def test_a_function_of_every_row_and_a_scan_of_them_are_followed() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        doubled = map_of_rows(lambda row: s.a(row[None])[0] * 2, s.a(x))
        last, _ = scan(lambda c, row: (c + row, c * 1), torch.zeros(1, 3, 32), doubled, dim=2)
        return last

    assert encode(network(forward)).receptive_field_max == (36, 5)


def test_flexible_attention_sees_all_positions() -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        tokens = s.a(x).flatten(2).transpose(1, 2)[:, None]
        seen = flex_attention(tokens, tokens, tokens)[:, 0].transpose(1, 2)
        return s.b(seen.unflatten(2, (32, 32)))

    assert encode(network(forward)).receptive_field_max == EVERYTHING


@pytest.mark.parametrize("device", ["its own", "cpu"])
def test_autocast_for_the_device_of_a_tensor_is_no_reason_to_trace(device: str) -> None:
    def forward(s: Any, x: torch.Tensor) -> torch.Tensor:
        kind = x.device.type if device == "its own" else device
        with torch.autocast(device_type=kind, enabled=False):
            return s.b(s.a(x.float()))

    assert encode(network(forward)).receptive_field_max == (5, 5)


def quantised(model: nn.Module) -> nn.Module:
    tool = torch.ao.quantization
    model.qconfig = tool.get_default_qconfig("fbgemm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = tool.prepare(model.eval())
        prepared(torch.rand(1, 3, 32, 32))
        return tool.convert(prepared)  # type: ignore[no-any-return]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward, self.outward = (
            torch.ao.quantization.QuantStub(),
            torch.ao.quantization.DeQuantStub(),
        )
        self.a = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        self.b = nn.Conv2d(3, 3, 3, padding=2, dilation=2)
        self.up = nn.ConvTranspose2d(3, 3, 2, stride=2)
        self.head = nn.Linear(64, 4)
        self.sum = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inward(x)
        y = self.a(x)
        return self.outward(self.head(self.up(self.sum.add(self.b(y), y))))


def test_quantised_layers_have_the_fields_of_the_layers_that_they_were_made_of() -> None:
    model = Residual()
    for_transposed = torch.ao.quantization.QConfig(
        activation=torch.ao.quantization.default_observer,
        weight=torch.ao.quantization.default_weight_observer,
    )
    model.up.qconfig = for_transposed
    assert fields(quantised(model)) == fields(Residual())


@pytest.mark.parametrize("capture", ["meta", "jit"])
def test_a_call_of_a_module_that_many_hold_belongs_to_the_one_that_made_it(capture: Any) -> None:
    class Block(nn.Module):
        default = nn.SiLU()

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 3), Block.default

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.act(self.conv(x))

    graph = encode(nn.Sequential(Block(), nn.Sequential(Block(), Block.default), Block()), capture)
    assert [node.module_path for node in graph.all_layers] == [
        *("0.conv", "0.act", "1.0.conv", "1.0.act", "1.1", "2.conv", "2.act")
    ]


def test_a_module_that_one_module_calls_twice_is_numbered() -> None:
    model = network(lambda s, x: s.a(s.a(x)))
    assert [node.name for node in encode(model).all_layers] == ["a", "a#2"]
