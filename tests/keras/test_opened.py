"""Layers and models whose calls are Python code: opened by calling them on symbolic tensors."""

from __future__ import annotations

import importlib
import math
import random
import warnings
from typing import Any

import numpy as np
import pytest

from rfa_toolbox.encodings.tensorflow_keras import DEFAULT_HANDLERS, create_graph_from_model
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.graphs import LayerDefinition


def block(keras: Any, kernel: int = 5, **options: Any) -> Any:
    """Return a layer made of layers: two convolutions of which the first halves the map."""

    class Block(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.first = keras.layers.Conv2D(8, kernel, strides=2, padding="same", name="first")
            self.second = keras.layers.Conv2D(8, 3, padding="same", name="second")

        def call(self, x: Any) -> Any:
            return self.second(keras.ops.relu(self.first(x)))

        def compute_output_shape(self, shape: Any) -> Any:
            return self.second.compute_output_shape(self.first.compute_output_shape(shape))

    return Block(**options)


def through(keras: Any, layer: Any, *shape: int | None, behind: int = 3) -> Any:
    """Return the graph of a model: a layer, and a convolution behind it."""
    image = keras.Input(shape or (64, 64, 3))
    last = keras.layers.Conv2D(2, behind, name="last")
    return create_graph_from_model(keras.Model(image, last(layer(image))))


def fields(graph: Any) -> dict[str, Any]:
    return {node.name: node.receptive_field_max for node in graph.all_layers}


# --- layers ----------------------------------------------------------------------------------


def test_a_layer_made_of_layers_is_opened(keras: Any) -> None:
    graph = through(keras, block(keras, name="block"))
    assert list(fields(graph).items())[1:] == [
        ("block/first", (5, 5)),
        ("block/relu", (5, 5)),
        ("block/second", (9, 9)),
        ("last", (13, 13)),
    ]
    assert {node.certainty for node in graph.all_layers} == {"exact"}
    assert {node.module_path for node in graph.all_layers} == {"", "block"}


def test_layers_in_layers_are_opened_down_to_those_that_are_known(keras: Any) -> None:
    class Stage(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="stage")
            self.blocks = [block(keras, name=f"block_{number}") for number in range(2)]

        def call(self, x: Any) -> Any:
            for one in self.blocks:
                x = one(x)
            return x

    found = fields(through(keras, Stage()))
    assert found["stage/block_1/second"] == (25, 25)


def test_a_subclass_that_works_as_its_base_is_read_as_that(keras: Any) -> None:
    class FixedDropout(keras.layers.Dropout):  # type: ignore[misc]
        def get_config(self) -> dict[str, Any]:
            return {"rate": 0.5}

    class MyConv(keras.layers.Conv2D):  # type: ignore[misc]
        def get_config(self) -> dict[str, Any]:
            return {}

    both = keras.Sequential([FixedDropout(0.5), MyConv(4, 5, name="mine")], name="both")
    graph = through(keras, both)
    assert fields(graph)["both/mine"] == (5, 5)
    assert graph.certainty == "exact"
    assert graph.all_layers[2].layer_info.name == "MyConv"


def test_a_subclass_that_works_otherwise_is_opened(keras: Any) -> None:
    class Twice(keras.layers.Conv2D):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return super().call(super().call(x))

    graph = through(keras, Twice(3, 5, name="twice"))
    assert graph.all_layers[-2].receptive_field_max == (9, 9)


def test_a_lambda_is_opened(keras: Any) -> None:
    cut = keras.layers.Lambda(lambda x: x[:, ::2, ::2], name="cut")
    graph = through(keras, cut)
    assert graph.receptive_field_max == (5, 5)
    assert graph.certainty == "exact"


def test_a_layer_that_hands_on_what_it_gets_is_a_node(keras: Any) -> None:
    class DropPath(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any, training: bool = False) -> Any:
            return keras.random.dropout(x, 0.5) if training else x

    graph = through(keras, DropPath(name="drop"))
    names = [(node.name, node.layer_info.name) for node in graph.all_layers]
    assert names[1:] == [("drop", "DropPath"), ("last", "Conv2D")]
    assert graph.certainty == "exact"


def test_convolutions_of_a_layers_own_say_their_size_in_the_kernel(keras: Any) -> None:
    ops = keras.ops

    class Own(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.wide = self.add_weight(shape=(3, 5, 3, 8), name="wide")
            self.deep = self.add_weight(shape=(3, 3, 8, 1), name="deep")
            self.up = self.add_weight(shape=(2, 2, 4, 8), name="up")

        def call(self, x: Any) -> Any:
            x = ops.conv(x, self.wide * 2, strides=2, padding="same")
            x = ops.depthwise_conv(x, self.deep, padding="same")
            return ops.conv_transpose(x, self.up, strides=2)

    image = keras.Input((32, 32, 3))
    model = keras.Model(image, Own(name="own")(image))
    graph = create_graph_from_model(model)
    found = [(node.receptive_field_max, node.stride_size) for node in graph.all_layers][1:3]
    assert found == [((3, 5), (2, 2)), ((7, 9), (1, 1))]
    assert graph.feature_map == (32, 32)
    assert sum(node.parameters or 0 for node in graph.all_layers) == model.count_params()


def test_weights_of_a_layer_count_where_it_uses_them(keras: Any) -> None:
    class Scale(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.gamma = self.add_weight(shape=(shape[-1],), name="gamma")
            self.mix = self.add_weight(shape=(shape[-1], 7), name="mix")

        def call(self, x: Any) -> Any:
            return keras.ops.matmul(self.gamma * x, self.mix)

    image = keras.Input((8, 8, 3))
    model = keras.Model(image, Scale()(image))
    graph = create_graph_from_model(model)
    assert sum(node.parameters or 0 for node in graph.all_layers) == model.count_params()
    assert graph.receptive_field_max == (1, 1)
    assert graph.certainty == "exact"


def test_a_product_with_weights_of_another_layer_sees_the_map_alone(keras: Any) -> None:
    class Queries(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.held = self.add_weight(shape=(1, 5, shape[-1]), name="held")

        def call(self, x: Any) -> Any:
            return keras.ops.tile(self.held, (keras.ops.shape(x)[0], 1, 1))

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], 5, shape[-1])

    image = keras.Input((16, 16, 3))
    tokens = keras.layers.Reshape((49, 8))(keras.layers.Conv2D(8, 3, strides=2)(image))
    scores = keras.layers.Dot(axes=(2, 2), name="scores")([Queries()(tokens), tokens])
    graph = create_graph_from_model(keras.Model(image, scores))
    assert fields(graph)["scores"] == (3, 3)
    assert {node.certainty for node in graph.all_layers} == {"exact"}


@pytest.mark.parametrize("kind", ["heads", "groups", "list", "operation", "names"])
@pytest.mark.parametrize(("learned", "field"), [("query", math.inf), ("memory", 3)])
def test_an_attention_whose_query_or_memory_is_learned(
    keras: Any, kind: str, learned: str, field: float
) -> None:
    class Attends(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="attends")
            self.heads = keras.layers.MultiHeadAttention(2, 4)
            self.groups = keras.layers.GroupQueryAttention(4, 2, 1)
            self.list = keras.layers.Attention()

        def build(self, shape: Any) -> None:
            self.held = self.add_weight(shape=(1, 5, 8), name="held")

        def call(self, x: Any) -> Any:
            held = keras.ops.broadcast_to(self.held, (keras.ops.shape(x)[0], 5, 8))
            query, memory = (held, x) if learned == "query" else (x, held)
            if kind == "operation":
                given = (one[:, :, None] for one in (query, memory, memory))
                return keras.ops.dot_product_attention(*given)[:, :, 0]
            if kind == "list":
                return self.list([query, memory])
            if kind == "groups":
                return self.groups(query, memory)
            if kind == "names":
                return self.heads(value=memory, key=memory, query=query)
            return self.heads(query, memory)

    image = keras.Input((16, 16, 3))
    tokens = keras.layers.Reshape((49, 8))(keras.layers.Conv2D(8, 3, strides=2)(image))
    graph = create_graph_from_model(keras.Model(image, Attends()(tokens)))
    assert graph.receptive_field_max == (field, field)
    assert {node.certainty for node in graph.all_layers} == {"exact"}


def test_a_layer_that_returns_none_beside_a_map_is_opened(keras: Any) -> None:
    class Streams(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="streams")
            self.conv = keras.layers.Conv2D(3, 5, padding="same", name="conv")

        def build(self, shape: Any) -> None:
            self.conv.build(shape)

        def call(self, x: Any) -> Any:
            return None, self.conv(x)

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape, shape)

        def compute_output_spec(self, x: Any) -> Any:
            return keras.KerasTensor(x.shape), keras.KerasTensor(x.shape)

    graph = through(keras, lambda image: Streams()(image)[1])
    assert fields(graph)["streams/conv"] == (5, 5)
    assert fields(graph)["last"] == (7, 7)
    assert {node.certainty for node in graph.all_layers} == {"exact"}


def test_what_depends_on_weights_alone_is_no_node(keras: Any) -> None:
    class Position(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.table = self.add_weight(shape=(1, *shape[1:]), name="table")

        def call(self, x: Any) -> Any:
            return keras.ops.broadcast_to(self.table, keras.ops.shape(x))

    image = keras.Input((8, 8, 3))
    model = keras.Model(image, image + Position()(image))
    graph = create_graph_from_model(model)
    assert [node.layer_info.name for node in graph.all_layers] == ["InputLayer", "Add"]
    assert graph.parameters == model.count_params()


def test_sizes_that_a_model_leaves_open_are_followed_into_a_layer(keras: Any) -> None:
    class Fold(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            batch, height, width, channels = keras.ops.shape(x)
            x = keras.ops.reshape(x, (batch, height // 2, 2, width // 2, 2, channels))
            return keras.ops.mean(x, (2, 4))

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], None, None, shape[-1])

    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    graph = create_graph_from_model(keras.Model(image, Fold(name="fold")(x)))
    assert graph.receptive_field_max == (5, 5)
    assert graph.certainty == "exact"


@pytest.mark.filterwarnings("ignore:.*build")
def test_a_layer_over_time_is_opened(keras: Any) -> None:
    video = keras.Input((6, 32, 32, 3))
    x = keras.layers.TimeDistributed(block(keras), name="frames")(video)
    graph = create_graph_from_model(keras.Model(video, x))
    assert graph.receptive_field_max == (1, 9, 9)
    assert graph.certainty == "exact"


def test_a_layer_whose_shape_is_not_that_of_its_base_is_opened(keras: Any) -> None:
    class Attention(keras.layers.MultiHeadAttention):  # type: ignore[misc]
        def call(self, query: Any, value: Any, key: Any = None, cache: Any = None) -> Any:
            return super().call(query, value, key=key, training=False)

    class Outer(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention(2, 4)

        def call(self, x: Any) -> Any:
            return self.attention(query=x, value=x, cache=None)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    text = keras.Input((16, 8))
    graph = create_graph_from_model(keras.Model(text, Outer()(text)))
    assert graph.receptive_field_max == (float("inf"),)


# --- what stays closed -----------------------------------------------------------------------


def outside(keras: Any, **options: Any) -> Any:
    """Return a layer whose code is that of the backend, which knows no symbolic tensors."""
    backend = keras.backend.backend()
    name = {"torch": "torch.nn.functional", "tensorflow": "tensorflow.nn", "jax": "jax.nn"}[backend]

    class Outside(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return importlib.import_module(name).relu(x)

    return Outside(**options)


def test_code_that_cannot_be_followed_is_said(keras: Any) -> None:
    with pytest.warns(UserWarning, match="Outside"):
        graph = through(keras, outside(keras))
    assert graph.certainty == "unknown"
    assert "could not be followed" in graph.all_layers[1].certainty_reason


def test_only_the_layer_that_cannot_be_followed_stays_closed(keras: Any) -> None:
    class Outer(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="outer")
            self.inner = outside(keras, name="inner")
            self.conv = keras.layers.Conv2D(3, 5, name="conv")

        def call(self, x: Any) -> Any:
            return self.inner(self.conv(x))

    with pytest.warns(UserWarning, match="Outside"):
        graph = through(keras, Outer())
    assert fields(graph)["outer/conv"] == (5, 5)
    assert [node.certainty for node in graph.all_layers] == ["exact", "exact", "unknown", "unknown"]


def test_a_layer_that_a_handler_describes_stays_closed(keras: Any) -> None:
    class Handler:
        def can_handle(self, node: Any) -> bool:
            return "Block" in str(node.class_name)

        def __call__(self, node: Any) -> LayerDefinition:
            return LayerDefinition(node.label, kernel_size=9, stride_size=2)

    image = keras.Input((64, 64, 3))
    model = keras.Model(image, block(keras, name="block")(image))
    graph = create_graph_from_model(model, handlers=DEFAULT_HANDLERS.with_handler(Handler()))
    assert [node.name for node in graph.all_layers][1:] == ["block"]
    assert graph.receptive_field_max == (9, 9)


def test_a_layer_that_a_rule_describes_stays_closed(keras: Any) -> None:
    image = keras.Input((64, 64, 3))
    layer = block(keras, name="block")
    chain = DEFAULT_HANDLERS.with_rule(
        "Custom>Block", lambda *_: {"kernel_size": 9, "stride_size": 2}
    )
    graph = create_graph_from_model(keras.Model(image, layer(image)), handlers=chain)
    assert [node.name for node in graph.all_layers][1:] == ["block"]
    assert graph.receptive_field_max == (9, 9)


# --- models ----------------------------------------------------------------------------------


def backbone(keras: Any) -> Any:
    """Return a functional model with a configuration of its own, as libraries make them."""

    class Backbone(keras.Model):  # type: ignore[misc]
        def __init__(self, filters: int = 8, **options: Any) -> None:
            image = keras.Input((64, 64, 3), name="image")
            x = keras.layers.Conv2D(filters, 5, name="stem")(image)
            x = keras.layers.Conv2D(filters, 3, strides=2, name="body")(x)
            super().__init__(image, x, **options)
            self.filters = filters

        def get_config(self) -> dict[str, Any]:
            return {"filters": self.filters, "name": self.name}

    return Backbone(name="net")


def test_a_functional_model_with_a_configuration_of_its_own_is_read(keras: Any) -> None:
    assert fields(create_graph_from_model(backbone(keras))) == {
        "image": (1, 1), "stem": (5, 5), "body": (7, 7),
    }  # fmt: skip


def test_a_model_in_another_one_is_opened(keras: Any) -> None:
    net = backbone(keras)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(net(net.inputs[0]))
    head = keras.layers.Dense(3, name="head")(pooled)
    inf = float("inf")
    assert fields(create_graph_from_model(keras.Model(net.inputs, head))) == {
        "image": (1, 1), "net/stem": (5, 5), "net/body": (7, 7), "pool": (inf, inf),
        "head": (inf, inf),
    }  # fmt: skip


def subclassed(keras: Any) -> Any:
    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name="net")
            self.stem = keras.layers.Conv2D(8, 3, name="stem")
            self.block = block(keras, name="block")
            self.norm = keras.layers.BatchNormalization(name="norm")

        def call(self, x: Any, training: bool = False) -> Any:
            return self.norm(self.block(self.stem(x)), training=training)

    return Net()


def test_a_subclassed_model_is_read_at_a_size_that_is_given(keras: Any) -> None:
    model = subclassed(keras)
    found = fields(create_graph_from_model(model, input_res=(1, 64, 48, 3)))
    assert found == {
        "input": (1, 1), "stem": (3, 3), "block/first": (7, 7), "block/relu": (7, 7),
        "block/second": (11, 11), "norm": (11, 11),
    }  # fmt: skip
    assert not model.built
    assert model.weights == []


@pytest.mark.filterwarnings("ignore:.*build")
def test_a_subclassed_model_that_was_built_says_its_size(keras: Any) -> None:
    called, built = subclassed(keras), subclassed(keras)
    called(np.zeros((1, 32, 32, 3), "float32"))
    built.build((None, 32, 32, 3))
    for model in (called, built):
        assert create_graph_from_model(model).receptive_field_max == (11, 11)


def test_a_subclassed_model_that_was_not_built_says_what_to_do(keras: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'Net'.* input_res=\(1, height"):
        create_graph_from_model(subclassed(keras))


def test_a_subclassed_model_that_cannot_be_followed_says_why(keras: Any) -> None:
    class Net(keras.Model):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return np.asarray(x)

    with pytest.raises(UnsupportedModelError, match=r"cannot be followed .*\(1, 8, 8, 3\)"):
        create_graph_from_model(Net(), input_res=(1, 8, 8, 3))


def test_a_subclassed_model_of_several_inputs_takes_a_dict_of_shapes(keras: Any) -> None:
    class Net(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.left = keras.layers.Conv2D(4, 3, name="left")
            self.right = keras.layers.Conv2D(4, 5, padding="valid", name="right")

        def call(self, inputs: Any) -> Any:
            return self.left(inputs["a"]) + self.right(inputs["b"])

    shapes = {"a": (1, 30, 30, 3), "b": (1, 32, 32, 3)}
    graph = create_graph_from_model(Net(), input_res=shapes)
    assert graph.receptive_field_max == (5, 5)


def test_a_model_is_read_at_another_size_than_its_own(keras: Any) -> None:
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    model = keras.Model(image, keras.layers.AveragePooling2D(2)(x))
    graph = create_graph_from_model(model, input_res=(1, 36, 20, 3))
    assert graph.feature_map == (9, 5)


@pytest.mark.parametrize("shapes", [(1, 8), [(1, 8, 8, 3), (1, 8, 8, 3)]])
def test_a_size_that_does_not_fit_is_told(shapes: Any, keras: Any) -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 3)(image))
    with pytest.raises(UnsupportedModelError, match="input"):
        create_graph_from_model(model, input_res=shapes)


# --- leaving the model as it is ----------------------------------------------------------------


def state(model: Any) -> Any:
    """Return all that a model knows of itself."""
    layers = [model, *model._flatten_layers(include_self=False)]
    return [
        {
            name: list(value) if isinstance(value, list) else value
            for name, value in vars(layer).items()
            if name != "_tracker"
        }
        for layer in layers
    ]


@pytest.mark.parametrize("make", [subclassed, block, backbone])
def test_reading_changes_nothing(make: Any, keras: Any) -> None:
    layer = make(keras)
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, layer(image))
    before, weights = state(model), [np.array(one) for one in model.get_weights()]
    numbers = random.getstate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_graph_from_model(model)
    assert state(model) == before
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert numbers == random.getstate()
    again = keras.layers.Conv2D(2, 3)  # names go on where they were
    number = int(again.name.rpartition("_")[2])
    create_graph_from_model(model)
    assert keras.layers.Conv2D(2, 3).name == f"conv2d_{number + 1}"


def test_a_model_that_was_not_built_can_be_built_afterwards(keras: Any) -> None:
    model = subclassed(keras)
    create_graph_from_model(model, input_res=(1, 64, 64, 3))
    assert model(np.zeros((2, 32, 32, 3), "float32")).shape == (2, 15, 15, 8)


def test_names_do_not_depend_on_what_was_made_before(keras: Any) -> None:
    first = fields(through(keras, block(keras, name="block")))
    keras.ops.relu(keras.Input((3,)))
    second = fields(through(keras, block(keras, name="block")))
    assert list(first)[1:] == list(second)[1:]
