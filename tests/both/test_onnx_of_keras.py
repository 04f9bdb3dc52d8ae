"""A model of Keras and the ONNX file that Keras exports of it give the same answers."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

if {"torch", "keras", "onnx"} <= set(os.environ.get("RFA_TEST_REQUIRE", "").split()):
    import keras
else:
    for name in ("torch", "onnx", "onnxscript"):
        pytest.importorskip(name)
    keras = pytest.importorskip("keras")

import numpy as np

from benchmarks.formats_zoo import differences_of_keras, looking, of_keras
from rfa_toolbox import create_graph_from_onnx, create_graph_from_tensorflow_model

SHAPE = (16, 16, 3)


def residual(k: Any, x: Any) -> Any:
    y = k.ReLU()(k.BatchNormalization()(k.Conv2D(8, 3, 2, padding="same")(x)))
    y = k.Add()([y, k.SeparableConv2D(8, 3, padding="same")(y)])
    y = k.Conv2DTranspose(4, 2, 2)(k.MaxPooling2D(3, 2, "same")(y))
    return k.Conv2D(2, 5)(y)


def resized(k: Any, x: Any) -> Any:
    y = k.UpSampling2D(2, interpolation="bilinear")(k.Conv2D(4, 3)(x))
    return k.Conv2D(4, 5)(k.ZeroPadding2D(((1, 0), (2, 1)))(y))


def classifier(k: Any, x: Any) -> Any:
    return k.Dense(3)(k.GlobalAveragePooling2D()(k.AveragePooling2D(2)(k.Conv2D(4, 3)(x))))


pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="exports through PyTorch here"
)


@pytest.mark.parametrize("made", [residual, resized, classifier])
def test_the_file_that_keras_exports_has_the_same_fields(made: Any, tmp_path: Path) -> None:
    image = keras.Input(SHAPE)
    model = keras.Model(image, made(keras.layers, image))
    model(np.ones((1, *SHAPE), "float32"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's tracer, about code of Keras
        model.export(tmp_path / "model.onnx", format="onnx", verbose=False)
    exported = create_graph_from_onnx(tmp_path / "model.onnx")
    assert looking(exported) == looking(create_graph_from_tensorflow_model(model))


@pytest.mark.parametrize(("name", "alpha"), [("MobileNet", 0.25), ("MobileNetV2", 0.35)])
def test_applications_are_the_same_in_both_formats(name: str, alpha: float) -> None:
    """``benchmarks/formats_zoo.py`` says so of 13."""
    assert not differences_of_keras(of_keras(name, alpha=alpha))
