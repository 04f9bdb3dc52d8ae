"""Both captures give equal graphs: names, layers, edges, numbers and certainty."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody uses
from torch import nn

from rfa_toolbox import create_graph_from_pytorch_model
from tests.pytorch.measure import Function, encode, signature
from tests.pytorch.test_operators import CASES

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 14), reason="torch.jit ends at 3.13")


def assert_equal(model: nn.Module, shape: Any, **options: Any) -> None:
    found = {capture: signature(encode(model, shape, capture, **options)) for capture in CAPTURES}
    for mine, theirs in zip(found["meta"], found["jit"], strict=False):
        assert mine == theirs
    assert len(found["meta"]) == len(found["jit"])


CAPTURES = ("meta", "jit")


@pytest.mark.parametrize("one", [pytest.param(one, id=one.name) for one in CASES if one.jit])
def test_small_models(one: Any) -> None:
    torch.manual_seed(0)
    assert_equal(one.build().eval(), one.shape)


# --- several inputs --------------------------------------------------------------------------


class Two(nn.Module):
    """Two images that meet after one convolution each."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(1, 4, 5, 2, 2)
        self.last = nn.Conv2d(4, 2, 3)

    def forward(self, image: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.left(image) + self.right(depth))
        return result


SHAPES = ((1, 3, 32, 32), (1, 1, 32, 32))


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(SHAPES, id="shapes"),
        pytest.param(list(SHAPES), id="list of shapes"),
        pytest.param(tuple(torch.zeros(shape) for shape in SHAPES), id="tensors"),
        pytest.param((SHAPES[0], torch.zeros(SHAPES[1])), id="shape and tensor"),
        pytest.param(dict(zip(("image", "depth"), SHAPES, strict=True)), id="names"),
    ],
)
def test_two_inputs(inputs: Any) -> None:
    model = Two().eval()
    assert_equal(model, inputs)
    graph = encode(model, inputs)
    roots = [node for node in graph.all_layers if not node.predecessors]
    assert len(roots) == 2
    assert graph.receptive_field_min == (7, 7)
    assert graph.receptive_field_max == (9, 9)


def test_an_input_without_positions_beside_an_image() -> None:
    model = Function(
        lambda s, x, label: s.c(x) + s.e(label)[..., None, None],
        c=nn.Conv2d(3, 4, 3),
        e=nn.Embedding(10, 4),
    )
    inputs = ((1, 3, 32, 32), torch.zeros(1, dtype=torch.long))
    assert_equal(model, inputs)
    assert encode(model, inputs).receptive_field_max == (3, 3)


# --- modes, outputs and options --------------------------------------------------------------


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 65, 33)])
def test_both_modes(training: bool, shape: tuple[int, ...]) -> None:
    assert_equal(small_network().train(training), shape)


@pytest.mark.parametrize("global_ops", ["ignore_gates", "count", "ignore"])
@pytest.mark.parametrize("display", [True, False])
def test_gates(global_ops: str, display: bool) -> None:
    model = Function(
        lambda s, x: s.d(s.a(x) * s.g(s.a(x)).sigmoid()),
        a=nn.Conv2d(3, 4, 3),
        g=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1)),
        d=nn.Conv2d(4, 4, 3),
    )
    assert_equal(model, (1, 3, 16, 16), global_ops=global_ops, display_se_modules=display)


def test_every_output_is_in_the_graph_and_the_first_is_returned() -> None:
    model = Function(
        lambda s, x: {"first": s.a(x), "others": (s.b(x), [F.relu(s.c(x))])},
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 4, 5),
        c=nn.Conv2d(3, 4, 7),
    )
    assert_equal(model, (1, 3, 32, 32))
    graph = encode(model, (1, 3, 32, 32))
    assert graph.name == "a"
    assert graph in graph.all_layers
    ends = [node.name for node in graph.all_layers if not node.successors]
    assert sorted(ends) == ["a", "b", "relu"]


def test_names_contain_the_path_and_the_call() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
    model = Function(lambda s, x: s.block(s.block(x)) + 1, block=inner)
    assert_equal(model, (1, 3, 32, 32))
    graph = encode(model, (1, 3, 32, 32))
    names = [node.name for node in graph.all_layers]
    assert {"block.0", "block.0#2", "block.1", "block.1#2"} <= set(names)
    assert {node.module_path for node in graph.all_layers} >= {"", "block.0", "block.1"}


# --- torchvision -----------------------------------------------------------------------------

QUICK = {"alexnet", "resnet18", "mobilenet_v3_small", "googlenet", "shufflenet_v2_x0_5", "swin_t"}
FAMILIES = (Path(__file__).parent / "data" / "torchvision_families.txt").read_text().split()
"""The smallest of every family; test_zoo.py encodes all models with the meta capture."""


def size_of(name: str) -> int:
    """Return a small input that the model takes."""
    if name.startswith(("vit", "maxvit")):
        return 224
    if name.startswith("inception"):
        return 299
    return 96 if name in QUICK else 224


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in FAMILIES],
)
def test_torchvision(torchvision: Any, name: str) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    assert_equal(model, (1, 3, size_of(name), size_of(name)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t", "swin_t"]
)
def test_torchvision_in_train_mode(torchvision: Any, name: str) -> None:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = torchvision.models.get_model(name, weights=None, **options).train()
    assert_equal(model, (2, 3, size_of(name), size_of(name)))


def test_auto_takes_the_default_input_or_says_which_other() -> None:
    class Picky(nn.Module):
        image_size = 64

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3 * 64 * 64, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.layer(x.flatten(1))
            return result

    with pytest.warns(UserWarning, match=r"encoded with \(1, 3, 64, 64\)"):
        create_graph_from_pytorch_model(Picky())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_graph_from_pytorch_model(nn.Conv2d(3, 4, 3))
