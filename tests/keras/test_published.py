"""Receptive fields, strides and paddings that were published, pixel by pixel.

Source: A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional Neural
Networks", Distill 2019, table of architectures (TF-slim models; those here are built alike). The
paddings of ResNets are those given for 321 px, the size at which Keras' own padding layers and
TF-slim's padding 'same' are equal.
"""

from __future__ import annotations

from typing import Any

import pytest

from rfa_toolbox import create_graph_from_tensorflow_model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "field", "padding"),
    [
        ("VGG16", 224, 212, 90),
        ("MobileNet", 224, 315, 126),
        ("ResNet50", 321, 483, 241),
        ("ResNet101", 321, 1027, 513),
        ("ResNet152", 321, 1507, 753),
        ("InceptionV3", 224, 1311, 618),
        ("InceptionResNetV2", 224, 3039, 1482),
    ],
)
def test_published_windows(keras: Any, name: str, size: int, field: int, padding: int) -> None:
    build = getattr(keras.applications, name)
    model = build(weights=None, include_top=False, input_shape=(size, size, 3))
    window = create_graph_from_tensorflow_model(model).window
    assert window is not None
    assert window.size == (field, field)
    assert window.jump == (32, 32)
    assert window.effective_padding == (padding, padding)
