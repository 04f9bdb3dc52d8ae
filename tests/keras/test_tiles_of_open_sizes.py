"""Tiles of a model that leaves its size open are those of the same model of a fixed size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.analysis import tile_plan

SIZE, TILE = (96, 64), (48, 64)


def crop_pad_conv(layers: Any) -> list[Any]:
    """Padding takes the place of rows that were cut off, which a tile does not know."""
    sides = ((3, 2), (0, 0))
    return [layers.Cropping2D(sides), layers.ZeroPadding2D(sides), layers.Conv2D(4, 3)]


def conv_crop_conv(layers: Any) -> list[Any]:
    wide = layers.Conv2D(4, 5, padding="same")
    return [layers.Conv2D(4, 3, padding="same"), layers.Cropping2D(2), wide]


def crop_conv(layers: Any) -> list[Any]:
    return [layers.Cropping2D(((3, 2), (0, 0))), layers.Conv2D(4, 3)]


def crop_up_conv(layers: Any) -> list[Any]:
    crop = layers.Cropping2D(((4, 2), (0, 0)))
    return [layers.MaxPooling2D(2), crop, layers.UpSampling2D(2), layers.Conv2D(4, 3)]


@pytest.mark.parametrize("made", [crop_pad_conv, conv_crop_conv, crop_conv, crop_up_conv])
def test_tiles_give_the_whole_image(keras: Any, made: Any) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((None, None, 3)), *made(keras.layers)])
    image = np.random.default_rng(0).normal(size=(1, *SIZE, 3)).astype("float32")
    whole = model.predict(image, verbose=0)
    result = np.full_like(whole, np.nan)
    plan = tile_plan(create_graph_from_tensorflow_model(model), SIZE, TILE)
    assert len(plan.tiles) > 1
    for tile in plan.tiles:
        made_of = model.predict(image[(slice(None), *tile.source)], verbose=0)
        result[(slice(None), *tile.target)] = made_of[(slice(None), *tile.keep)]
    np.testing.assert_allclose(result, whole, atol=1e-5)
