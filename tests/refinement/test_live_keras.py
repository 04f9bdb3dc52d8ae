"""A refinement of a live Keras model does what the same change written by hand does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from rfa_toolbox import create_graph_from_tensorflow_model  # noqa: E402
from rfa_toolbox.errors import RefinementError  # noqa: E402
from rfa_toolbox.refinement import (  # noqa: E402
    CutBehind,
    InsertPooling,
    Refinement,
    Repeat,
    SetWindow,
    downsampling_steps,
    predict,
    refine_model,
    refinement_of,
)
from rfa_toolbox.refinement.live.application import as_predicted  # noqa: E402
from rfa_toolbox.refinement.live.comparison import differences  # noqa: E402
from rfa_toolbox.refinement.steps import without  # noqa: E402

graph_of = create_graph_from_tensorflow_model
pytestmark = pytest.mark.filterwarnings("ignore:These operations are not known")


@keras.saving.register_keras_serializable("own")
class OwnScale(keras.layers.Layer):  # type: ignore[misc]
    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        return x * self.scale


def network(
    patch: int = 4, stride: int = 2, size: int = 32, pool_behind: str = "conv", classes: int = 3
) -> Any:
    """Make a network with patches, padding in front of a stride, and nested models."""
    layers = keras.layers
    keras.backend.clear_session()
    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(4, patch, strides=patch, name="patch")(image)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)) if stride == 2 else 1, name="pad")(x)
    x = layers.Conv2D(4, 3, strides=stride, name="conv")(x)
    if pool_behind == "conv":
        x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(4, 3, padding="same", name="plain")(x)
    if pool_behind == "plain":
        x = layers.MaxPooling2D(name="plain_pool")(x)
    inside = [layers.Conv2D(4, 1, name="first"), layers.LayerNormalization(name="norm")]
    x = keras.Sequential(inside, name="sequence")(x)
    inner = keras.Input(x.shape[1:], name="inner_image")
    y = layers.Conv2D(4, 3, padding="same", name="inner_conv")(inner)
    y = keras.Model(inner, OwnScale(name="scale")(y) + 1, name="nested")(x)
    x = layers.Add(name="sum")([x, y]) + 3.0  # an operation whose class has the name of that layer
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(classes, name="head")(x), name="network")


def weights_of(model: Any) -> dict[str, list[Any]]:
    return {one.name: one.get_weights() for one in model.layers}


def drawn(model: Any) -> Any:
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(size=one.shape) for one in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "by_hand",
    [
        lambda: network(stride=1),
        lambda: network(patch=2),
        lambda: network(patch=1),
        lambda: network(pool_behind=""),
        lambda: network(pool_behind="plain"),
        lambda: network(stride=1, pool_behind="plain"),
    ],
    ids=["stride", "patch", "no patch", "no pooling", "later pooling", "two changes"],
)
def test_a_model_is_changed_to_what_the_same_change_by_hand_gives(
    by_hand: Callable[[], Any],
) -> None:
    model = drawn(network())
    other = by_hand()
    refined = as_predicted(model, lambda _: graph_of(other))
    assert [one.name for one in refined.model.layers] == [one.name for one in other.layers]
    assert refined.model.count_params() == other.count_params()


def residual(blocks: int, outside: int = 0) -> Any:
    """Make a network of equal residual blocks, and of equal convolutions in a nested model."""
    layers = keras.layers
    keras.backend.clear_session()
    image = keras.Input((32, 32, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="stem")(image)
    for number in range(1, blocks + 1):
        label = "" if number == 1 else f"_{number}"
        y = layers.Conv2D(4, 3, padding="same", name=f"conv{label}")(x)
        y = layers.BatchNormalization(name=f"norm{label}")(y)
        x = layers.Add(name=f"sum{label}")([x, y])
    sequence = [layers.Conv2D(4, 3, padding="same", name="inner")]
    sequence += [layers.Conv2D(4, 3, padding="same", name=f"inner_{2 + n}") for n in range(outside)]
    x = keras.Sequential([*sequence, layers.ReLU(name="relu")], name="sequence")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(3, name="head")(x), name="network")


@pytest.mark.parametrize(
    ("edits", "by_hand"),
    [
        ([Repeat("sum", 3)], lambda: residual(3)),
        ([Repeat("sequence/inner", 2)], lambda: residual(1, 1)),
    ],
    ids=["blocks", "in a Sequential"],
)
def test_repeated_blocks_are_those_of_the_model_that_was_made_so(
    edits: list[Any], by_hand: Callable[[], Any]
) -> None:
    model = drawn(residual(1))
    refined = refine_model(model, refinement_of(graph_of(model), edits, 32))
    other = by_hand()
    assert [one.name for one in refined.model.layers] == [one.name for one in other.layers]
    assert refined.model.count_params() == other.count_params()
    assert differences(refined.graph, graph_of(other)) == []
    assert all(name.endswith(("_2", "_3")) for name in refined.initialised)
    assert refined.initialised
    kept, known = weights_of(refined.model), weights_of(model)
    for name in ("stem", "conv", "head"):
        assert all(np.array_equal(*pair) for pair in zip(kept[name], known[name], strict=True))


def test_a_pooling_behind_a_repeated_block_stands_behind_its_copies() -> None:
    model = residual(1)
    graph = graph_of(model)
    last = next(node for node in graph.all_layers if node.layer_info.name in {"Add", "add"})
    edits = [Repeat(last.name, 2), InsertPooling(last.name)]
    refined = refine_model(model, refinement_of(graph, edits, 32)).graph
    maps = [node.feature_map for node in refined.all_layers if node.layer_info.name == "Conv2D"]
    assert maps == [(16, 16)] * 3 + [(8, 8)]


def test_a_pooling_in_a_repeated_block_is_in_its_copies() -> None:
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(image)
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(name="relu")(x))
    model = keras.Model(image, layers.Dense(3)(x))
    graph = graph_of(model)
    edits = [Repeat("relu", 3), InsertPooling("conv", 2), InsertPooling("conv", 1)]
    refined = refine_model(model, refinement_of(graph, edits, 32))
    kinds = [type(one).__name__ for one in refined.model.layers]
    assert kinds[2:-2] == ["Conv2D", "MaxPooling2D", "MaxPooling2D", "ReLU"] * 3
    assert refined.model(np.zeros((1, 32, 32, 3))).shape == (1, 3)


def u_net(kernel: int, padding: str) -> Any:
    layers = keras.layers
    image = keras.Input((32, 32, 3))
    fine = layers.Conv2D(4, 3, padding="same", name="fine")(image)
    coarse = layers.Conv2D(8, 3, padding="same")(layers.MaxPooling2D(2, name="down")(fine))
    back = layers.Conv2DTranspose(4, kernel, strides=2, padding=padding, name="up")(coarse)
    return keras.Model(image, layers.Conv2D(2, 3)(layers.Concatenate()([fine, back])))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_transposed_convolutions_that_lead_back_change_with_the_step(kernel: int) -> None:
    model = drawn(u_net(kernel, "same"))
    graph = graph_of(model)
    (step,) = downsampling_steps(graph)
    assert step.editable
    refined = refine_model(model, refinement_of(graph, without(graph, step), 32))
    assert refined.model.get_layer("up").strides == (1, 1)
    assert refined.initialised == (("up",) if kernel == 2 else ())


def test_a_transposed_convolution_that_makes_patches_still_does() -> None:
    model = u_net(2, "valid")
    graph = graph_of(model)
    edits = without(graph, *downsampling_steps(graph))
    refined = refine_model(model, refinement_of(graph, edits, 32)).model
    assert refined.get_layer("up").kernel_size == (1, 1)


def test_weights_stay_and_the_original_is_not_changed() -> None:
    model = drawn(network())
    before, text = weights_of(model), model.to_json()
    other = network(stride=1)
    refined = as_predicted(model, lambda _: graph_of(other))
    assert refined.initialised == ()
    assert model.to_json() == text
    for now in (weights_of(model), weights_of(refined.model)):
        assert all(
            np.array_equal(one, two)
            for name, known in before.items()
            for one, two in zip(known, now[name], strict=True)
        )


def test_a_smaller_patch_computes_what_the_original_does_on_the_image_twice_as_large() -> None:
    model = drawn(network(size=64))
    small = drawn(network())
    other = network(patch=2)
    refined = as_predicted(small, lambda _: graph_of(other))
    assert refined.summed == ("patch",)
    image = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    larger = image.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(
        refined.model.predict(image, verbose=0), model.predict(larger, verbose=0), atol=1e-5
    )


def test_a_dense_layer_behind_a_flattened_map_is_said() -> None:
    def flat(stride: int) -> Any:
        keras.backend.clear_session()
        layers = [
            keras.Input((16, 16, 3), name="image"),
            keras.layers.Conv2D(4, 3, strides=stride, padding="same", name="conv"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(5, name="dense"),
        ]
        return keras.Sequential(layers, name="flat")

    model, other = flat(2), flat(1)
    refined = as_predicted(model, lambda _: graph_of(other))
    assert refined.initialised == ("dense",)


def test_a_layer_without_the_number_is_refused_with_its_class() -> None:
    keras.backend.clear_session()
    image = keras.Input((16, 16, 3), name="image")
    model = keras.Model(image, keras.layers.ZeroPadding2D(1, name="window")(image), name="one")
    other = keras.Model(image, keras.layers.MaxPooling2D(2, name="window")(image), name="one")
    with pytest.raises(RefinementError, match=r"'window' is a ZeroPadding2D.*(2, 2)"):
        as_predicted(model, lambda _: graph_of(other))


def unnamed(size: int = 32) -> Any:
    """Make a network whose layers nobody named: Keras numbers them on and on."""
    layers = keras.layers
    image = keras.Input((size, size, 3))
    x = layers.Conv2D(4, 3, strides=2)(layers.ZeroPadding2D(1)(image))
    for _ in range(2):
        y = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(x))
        x = x + y
    x = layers.MaxPooling2D()(x)
    x = keras.Sequential([layers.Conv2D(4, 3, strides=2), layers.Conv2D(4, 3, padding="same")])(x)
    return keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("kind", ["window", "cut", "repeat"])
def test_a_stored_refinement_fits_any_instance_however_keras_numbers_its_layers(
    kind: str, tmp_path: Any
) -> None:
    keras.backend.clear_session()
    graph = graph_of(unnamed())
    inside = next(node for node in graph.all_layers if node.name.startswith("sequential"))
    edit_ = {
        "window": SetWindow(inside.name, stride=1),
        "cut": CutBehind("max_pooling2d"),
        "repeat": Repeat("add", 3),
    }[kind]
    refinement = refinement_of(graph, [edit_, SetWindow("conv2d", stride=1)], 32)
    refinement.save(tmp_path / "refinement.json")
    keras.layers.Conv2D(1, 1), keras.Sequential([keras.layers.Dense(1), keras.layers.ReLU()])
    second = unnamed()
    assert second.layers[2].name != "conv2d"
    refined = refine_model(second, Refinement.load(tmp_path / "refinement.json"))
    assert predict(refined.graph, 32) == refinement.after


def test_an_architecture_is_another_one_where_layers_are_called_otherwise_by_hand() -> None:
    refinement = refinement_of(graph_of(network()), [SetWindow("conv", stride=1)], 32)
    other = keras.Sequential(network().layers[:2])
    other.add(keras.layers.Conv2D(4, 3, strides=2, name="conv"))
    with pytest.raises(RefinementError, match="layer 3 was 'pad', and is 'conv' in this model"):
        refine_model(other, refinement)
