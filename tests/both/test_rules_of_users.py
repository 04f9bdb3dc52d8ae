"""What a user says of an operation of their own holds in every format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rfa_toolbox import (
    LayerDefinition,
    create_graph_from_keras_json,
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
)
from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import DEFAULT_HANDLERS
from rfa_toolbox.errors import InvalidLayerError, UnsupportedModelError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.operators.chain import HandlerChain, add_rule, remove_rule
from rfa_toolbox.operators.effects import Effect
from rfa_toolbox.operators.handlers import default_chain
from rfa_toolbox.operators.windows import Window

if {"torch", "keras", "onnx"} <= set(os.environ.get("RFA_TEST_REQUIRE", "").split()):
    import keras
    import onnx
    import torch
else:
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    onnx = pytest.importorskip("onnx")

from torch import nn

from rfa_toolbox.empirical import verify

SIZE = 32


@torch.library.custom_op("acme::blur", mutates_args=())
def blur(image: torch.Tensor, size: int) -> torch.Tensor:
    return nn.functional.avg_pool2d(image, size, 2, size // 2)


@blur.register_fake
def _(image: torch.Tensor, size: int) -> torch.Tensor:
    return nn.functional.avg_pool2d(image, size, 2, size // 2)


@torch.library.custom_op("acme::relu", mutates_args=())
def relu(image: torch.Tensor) -> torch.Tensor:
    return nn.functional.max_pool2d(image, 3, 1, 1)


@relu.register_fake
def _(image: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(image)


class Model(nn.Module):
    """A halving operation of a user between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3, padding=1)
        self.after = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(torch.ops.acme.blur(self.before(image), 5))
        return result


@keras.saving.register_keras_serializable(package="acme", name="blur")
class Blur(keras.layers.Layer):
    def __init__(self, size: int = 5, **rest: Any) -> None:
        super().__init__(**rest)
        self.size = size

    def call(self, image: Any) -> Any:
        return keras.ops.average_pool(image, self.size, 2, "same")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


def keras_model() -> Any:
    image = keras.Input((SIZE, SIZE, 3))
    convolution = {"filters": 4, "kernel_size": 3, "padding": "same"}
    x = Blur(5)(keras.layers.Conv2D(**convolution)(image))
    return keras.Model(image, keras.layers.Conv2D(**convolution)(x))


def onnx_model() -> Any:
    helper = onnx.helper
    weights = [
        onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)
        for name, shape in (("v", (4, 3, 3, 3)), ("w", (4, 4, 3, 3)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "v"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("blur", ["a"], ["b"], domain="acme", size=5),
        helper.make_node("Conv", ["b", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    image = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3, SIZE, SIZE))
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [image], [output], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    return helper.make_model(graph, opset_imports=opsets)


def read(kind: str, chain: HandlerChain[Any] | None) -> EnrichedNetworkNode:
    if kind == "onnx":
        return create_graph_from_onnx(onnx_model(), handlers=chain)
    if kind == "keras":
        rules = {} if chain is None else chain.rules
        own = DEFAULT_HANDLERS
        for name, rule in rules.items():
            own = own.with_rule(name, rule)
        return create_graph_from_keras_json(keras_model().to_json(), handlers=own)
    if kind == "exported":
        program = torch.export.export(Model().eval(), (torch.zeros(1, 3, SIZE, SIZE),))
        return create_graph_from_pytorch_model(program, handlers=chain)
    return create_graph_from_pytorch_model(
        Model(),
        input_res=(1, 3, SIZE, SIZE),
        handlers=chain,
        capture=kind,  # type: ignore[arg-type]
    )


KINDS = ["meta", "jit", "exported", "keras", "onnx"]


def padded(shapes: Sequence[tuple[int, ...]], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    size = arguments["size"]
    assert len(shapes) == 1
    assert {SIZE} <= set(shapes[0])
    return {"kernel_size": size, "stride_size": 2, "padding": size // 2}


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_says_what_an_operation_does_in_every_format(kind: str) -> None:
    graph = read(kind, HandlerChain(default_chain().handlers).with_rule("acme::blur", padded))
    assert graph.receptive_field_max == (11, 11)
    assert graph.get_maximum_scale_factor() == (2, 2)
    assert graph.certainty == "exact"
    assert graph.window is not None
    assert graph.window.start == (-5, -5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_can_be_added_for_all_formats(kind: str) -> None:
    add_rule("acme::blur", padded)
    try:
        assert read(kind, None).receptive_field_max == (11, 11)
    finally:
        remove_rule("acme::blur")
    with pytest.raises(ValueError, match="No rule was added for 'acme::blur'"):
        remove_rule("acme::blur")


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_may_return_an_effect_with_a_reason(kind: str) -> None:
    window = Window(5, 2, begin=2, end=2)
    effect = Effect({0: window, 1: window}, certainty="bound", reason="its weights may be 0")
    chain = default_chain().with_rule("acme::blur", lambda shapes, arguments: effect)
    graph = read(kind, chain)
    assert graph.receptive_field_max == (11, 11)
    assert (graph.certainty, graph.certainty_reason) == ("bound", "its weights may be 0")


@pytest.mark.parametrize(
    ("model", "shape", "chain", "padding", "start"),
    [
        (Model, (1, 3, SIZE, SIZE), default_chain(), 2, -5),
        (keras_model, None, DEFAULT_HANDLERS, ((1, 2), (1, 2)), -4),  # as "same" puts less in front
    ],
)
def test_the_fields_behind_a_rule_are_what_an_experiment_finds(
    model: Any, shape: Any, chain: HandlerChain[Any], padding: Any, start: int
) -> None:
    told = {"kernel_size": 5, "stride_size": 2, "padding": padding}
    right = verify(
        model(), shape, handlers=chain.with_rule("acme::blur", lambda shapes, arguments: told)
    )
    assert right.ok
    last = right.nodes[-1]
    assert (last.verdict, last.size, last.start) == ("agrees", (11, 11), (start, start))
    small = {"kernel_size": 3, "stride_size": 2, "padding": 1}
    wrong = verify(
        model(), shape, handlers=chain.with_rule("acme::blur", lambda shapes, arguments: small)
    )
    assert wrong.disagreements


@pytest.fixture
def unknown() -> Iterator[Any]:
    with pytest.warns(UserWarning, match=r"chain\.add_rule\('acme[>:]+\w+', lambda shapes") as seen:
        yield seen


@pytest.mark.parametrize("kind", ["meta", "jit", "exported", "keras"])
def test_the_warning_shows_a_remedy_that_fits(kind: str, unknown: Any) -> None:
    assert read(kind, None).certainty == "unknown"
    assert unknown[0].filename.endswith("test_rules_of_users.py")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:These operations are not known")
def test_a_rule_that_no_operation_has_the_name_of_is_said(kind: str) -> None:
    chain = default_chain().with_rule("acme::blurr", padded).with_rule("acme::blur", padded)
    with pytest.warns(UserWarning, match=r"a rule for 'acme::blurr', but .*'acme::blur'") as seen:
        read(kind, chain)
    assert [one.filename for one in seen] == [__file__]


@pytest.mark.filterwarnings("ignore:These operations are not known")
def test_an_operator_of_another_library_is_not_taken_for_its_namesake() -> None:
    class Namesake(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.ops.acme.relu(image)
            return result

    graph = create_graph_from_pytorch_model(Namesake(), input_res=(1, 3, SIZE, SIZE))
    assert (graph.certainty, graph.layer_info.name) == ("unknown", "relu")


class OfBlur:
    """A handler that knows the operation by its name."""

    def can_handle(self, call: Any) -> bool:
        return bool(call.operator == "blur")

    def __call__(self, call: Any) -> LayerDefinition:
        return LayerDefinition("Blur", 5, 2, padding=2)


def test_a_handler_of_a_chain_clears_unknown() -> None:
    graph = read("meta", default_chain().with_handler(OfBlur()))
    assert graph.certainty == "exact"
    assert graph.receptive_field_max == (11, 11)
    assert [node.layer_info.name for node in graph.all_layers] == ["Conv2d", "Blur", "Conv2d"]


@pytest.mark.filterwarnings("ignore:These operations are not known")
def test_a_handler_that_only_names_layers_leaves_them_unknown() -> None:
    class Names:
        def can_handle(self, call: Any) -> bool:
            return True

        def __call__(self, call: Any) -> LayerDefinition:
            layer: LayerDefinition = call.layer
            return layer

    assert read("meta", default_chain().with_handler(Names())).certainty == "unknown"


@pytest.mark.parametrize("answer", [3, None, {"kernel": 3}])
def test_what_a_rule_returns_is_checked(answer: Any) -> None:
    chain = default_chain().with_rule("acme::blur", lambda shapes, arguments: answer)
    with pytest.raises(InvalidLayerError, match="The rule for 'acme::blur' returned"):
        read("meta", chain)


@pytest.mark.parametrize(("name", "rule"), [("", padded), (3, padded), ("acme::blur", 3)])
def test_a_rule_is_a_function_with_a_name(name: Any, rule: Any) -> None:
    with pytest.raises(InvalidLayerError, match="it must be"):
        default_chain().with_rule(name, rule)


@pytest.mark.parametrize("kind", ["meta", "keras", "onnx"])
def test_what_a_rule_raises_reaches_the_user_as_it_is(kind: str) -> None:
    chain = default_chain().with_rule("acme::blur", lambda shapes, arguments: arguments["nope"])
    with pytest.raises(KeyError, match=r"^'nope'$"):
        read(kind, chain)
    negative = default_chain().with_rule("acme::blur", lambda shapes, _: {"kernel_size": -3})
    with pytest.raises(InvalidLayerError, match=r"rule for 'acme.*blur' returned .*kernel_size"):
        read(kind, negative)


@pytest.mark.parametrize("chain", [3, [padded], default_chain(), DEFAULT_HANDLERS])
def test_a_chain_that_is_none_or_that_of_another_format_is_refused(chain: Any) -> None:
    shape = (1, 3, SIZE, SIZE)
    others = [
        lambda: create_graph_from_pytorch_model(Model(), input_res=shape, handlers=chain),
        lambda: create_graph_from_onnx(onnx_model(), handlers=chain),
        lambda: verify(Model(), shape, handlers=chain),
        lambda: verify(onnx_model(), handlers=chain),
    ]
    of_keras = [lambda: verify(keras_model(), handlers=chain)]
    right = {id(DEFAULT_HANDLERS): of_keras}.get(
        id(chain), others if chain == default_chain() else []
    )
    for attempt in (one for one in (*others, *of_keras) if one not in right):
        with pytest.raises(UnsupportedModelError, match=r"handlers (is|holds) .*(such|as in)"):
            attempt()
