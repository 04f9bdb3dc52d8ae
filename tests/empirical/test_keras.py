"""The structural experiment on models of Keras, with PyTorch as the backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfa_toolbox.empirical import measure_receptive_field, verify
from rfa_toolbox.errors import InvalidResolutionError, UnsupportedModelError


@pytest.fixture(scope="module")
def keras() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        return pytest.importorskip("keras")


def network(keras: Any) -> Any:
    """A strided, a gated and an up-sampled convolution, a nested model and a shared layer."""
    layers = keras.layers
    image = keras.Input((224, 224, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="strided")(image)
    x = layers.BatchNormalization(name="norm")(x)
    weight = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    weight = layers.Conv2D(4, 1, activation="sigmoid", name="excite")(weight)
    x = layers.Multiply(name="gate")([x, weight])
    inner = keras.Sequential(
        [keras.Input((112, 112, 4)), layers.MaxPooling2D(2, name="pool")], name="inner"
    )
    x = layers.UpSampling2D(2, name="up")(inner(x))
    shared = layers.DepthwiseConv2D((3, 1), padding="same", name="shared")
    x = shared(shared(x))
    return keras.Model(image, layers.GlobalMaxPooling2D(name="head")(x))


def test_analysis_equals_experiment(keras: Any) -> None:
    model = network(keras)
    weights = [np.array(one) for one in model.get_weights()]
    report = verify(model)
    assert report.ok, report.disagreements
    assert {one.verdict for one in report.nodes} == {"agrees"}
    gated = [one.name for one in report.nodes if "gate" in one.reason]
    assert gated == ["squeeze", "excite"]  # neutral in the graph, global in truth: by definition
    assert all(np.array_equal(*pair) for pair in zip(weights, model.get_weights(), strict=True))


def test_graph_and_experiment_are_of_one_size(keras: Any) -> None:
    layers = keras.layers
    up = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2DTranspose(1, 5, 2, "same")])
    strided = layers.Conv2D(1, 4, 3, padding="same")
    report = verify(keras.Sequential([keras.Input((33, 34, 1)), strided, up]))
    assert {one.verdict for one in report.nodes} == {"agrees"}, str(report)
    cut = [keras.Input((33, 34, 1)), layers.CenterCrop(29, 31), layers.Conv2D(1, 4, 3)]
    report = verify(keras.Sequential(cut))
    assert report.ok
    crop = report.nodes[1]
    assert crop.verdict == "agrees"
    assert crop.start == tuple(
        (shape[axis + 1] - size) // 2
        for axis, (shape, size) in enumerate(zip(report.input_shapes, (29, 31), strict=True))
    )


def test_positions_that_are_not_followed_are_not_measured(keras: Any) -> None:
    layers = keras.layers
    blocks = [
        layers.Reshape((16, 2, 17, 2, 1)),
        layers.Permute((1, 3, 2, 4, 5)),
        layers.Reshape((16, 17, 4)),
    ]
    report = verify(keras.Sequential([keras.Input((32, 34, 1)), *blocks, layers.Conv2D(1, 3)]))
    assert [one.verdict for one in report.nodes] == ["agrees", *["not measured"] * 3, "agrees"]
    lost = layers.ConvLSTM2D(1, 3, padding="same")
    report = verify(keras.Sequential([keras.Input((3, 10, 12, 1)), lost]))
    assert report.ok
    assert "another number of dimensions" in report.nodes[-1].reason


def test_fields_per_axis(keras: Any) -> None:
    found = measure_receptive_field(network(keras))
    assert found["strided"].size == (3, 3)
    assert found["inner/pool"].jump == (4, 4)
    assert found["shared#2"].size == (13, 5)
    assert found["head"].is_global


def test_one_and_three_axes(keras: Any) -> None:
    layers = keras.layers
    one = keras.Sequential([keras.Input((64, 1)), layers.Conv1D(1, 2, dilation_rate=8, name="c")])
    assert measure_receptive_field(one)["c"].size == (9,)
    three = keras.Sequential([keras.Input((32, 32, 32, 1)), layers.MaxPooling3D(2, name="p")])
    assert measure_receptive_field(three)["p"].jump == (2, 2, 2)


def test_wrong_models_and_shapes_are_named(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        """No graph of layers."""

    with pytest.raises(UnsupportedModelError, match="Own"):
        measure_receptive_field(Own())
    with pytest.raises(InvalidResolutionError, match="takes 4 dimensions"):
        measure_receptive_field(network(keras), (1, 3, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "ResNet50V2", "DenseNet121"])
def test_applications(keras: Any, name: str) -> None:
    report = verify(getattr(keras.applications, name)(weights=None))
    assert report.ok, report.disagreements[:3]
