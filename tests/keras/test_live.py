"""Models that Keras builds here: geometry against what the layers really see, and applications."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfa_toolbox.analysis import input_resolution_range
from rfa_toolbox.empirical.keras_poison import passing_nan_on
from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_model, keras_model_to_dict
from tests.frameworks import keras_application

DATA = Path(__file__).parent / "data"
HEIGHT, WIDTH = 40, 24


def rows_seen(keras: Any, model: Any) -> list[tuple[int, int] | None]:
    """Return the first and the last input row that each row of the output depends on."""
    images = np.zeros((HEIGHT, HEIGHT, WIDTH, 3), "float32")
    images[np.arange(HEIGHT), np.arange(HEIGHT)] = np.nan
    with passing_nan_on(keras):
        result = keras.ops.convert_to_numpy(model(images, training=False))
    spans = []
    for unit in np.isnan(result).reshape(*result.shape[:2], -1).any(axis=2).T:
        rows = np.flatnonzero(unit)
        spans.append((int(rows[0]), int(rows[-1])) if rows.size else None)
    return spans


def patchify(keras: Any, x: Any) -> Any:
    x = keras.ops.reshape(x, (-1, 10, 4, 6, 4, 3))
    x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))
    x = keras.layers.Dense(4)(keras.ops.reshape(x, (-1, 60, 48)))
    return keras.ops.reshape(x, (-1, 10, 6, 4))


def windowed_attention(keras: Any, x: Any) -> Any:
    ops = keras.ops
    x = ops.transpose(ops.reshape(x, (-1, 10, 4, 6, 4, 3)), (0, 1, 3, 2, 4, 5))
    x = ops.reshape(x, (-1, 16, 3))
    x = keras.layers.MultiHeadAttention(1, 2)(x, x)
    x = ops.transpose(ops.reshape(x, (-1, 10, 6, 4, 4, 3)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, 40, 24, 3))


def chain(*names: Any) -> Callable[[Any, Any], Any]:
    def build(keras: Any, x: Any) -> Any:
        for name, arguments, keywords in names:
            x = getattr(keras.layers, name)(*arguments, **keywords)(x)
        return x

    return build


def layer(name: str, *arguments: Any, **keywords: Any) -> Any:
    return name, arguments, keywords


CONV = layer("Conv2D", 2, 3)
SAME = layer("Conv2D", 2, 3, padding="same")
MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "dilated, strided": chain(
        layer("Conv2D", 2, 5, dilation_rate=2), layer("Conv2D", 2, 3, strides=2, padding="same")
    ),
    "odd padding": chain(layer("AveragePooling2D", 2, strides=1, padding="same"), SAME),
    "separable": chain(
        layer("SeparableConv2D", 2, 3, padding="same"), layer("DepthwiseConv2D", 3, strides=2)
    ),
    "transposed same": chain(
        layer("MaxPooling2D", 2), layer("Conv2DTranspose", 2, 4, strides=2, padding="same")
    ),
    "transposed valid": chain(CONV, layer("Conv2DTranspose", 2, 3, strides=2), CONV),
    "transposed output padding": chain(
        layer("Conv2D", 2, 3, strides=2),
        layer("Conv2DTranspose", 2, 3, strides=2, padding="same", output_padding=1),
    ),
    "transposed, stride beyond kernel": chain(layer("Conv2DTranspose", 2, 2, strides=3)),
    "nearest": chain(layer("MaxPooling2D", 3, 2), layer("UpSampling2D", (2, 3)), CONV),
    "bilinear": chain(layer("UpSampling2D", 2, interpolation="bilinear")),
    "bilinear by three": chain(layer("UpSampling2D", 3, interpolation="bilinear")),
    "bicubic": chain(layer("UpSampling2D", 2, interpolation="bicubic")),
    "pad and crop": chain(
        layer("ZeroPadding2D", ((1, 2), (0, 3))), layer("Cropping2D", ((3, 0), (2, 1))), CONV
    ),
    "centre crop": chain(layer("CenterCrop", 21, 11), CONV),
    "resizing": chain(layer("Resizing", 20, 12), CONV),
    "resizing nearest": chain(layer("Resizing", 20, 12, interpolation="nearest"), CONV),
    "adaptive": chain(layer("AdaptiveAveragePooling2D", (7, 5))),
    "permuted twice": chain(
        layer("Permute", (2, 1, 3)), layer("Conv2D", 2, (5, 3)), layer("Permute", (2, 1, 3))
    ),
    "patches by reshape": patchify,
    "windowed attention": windowed_attention,
    "slice": lambda keras, x: keras.layers.Conv2D(2, 3)(x[:, 1:-1:2]),
    "mean of columns": lambda keras, x: keras.layers.Conv1D(2, 3)(keras.ops.mean(x, axis=2)),
    "patches": lambda keras, x: keras.layers.Conv2D(2, 2)(keras.ops.image.extract_patches(x, 4)),
    "pooling operations": lambda keras, x: keras.ops.average_pool(
        keras.ops.max_pool(x, 3, strides=2, padding="same"), 2, strides=2
    ),
    "padding operation": lambda keras, x: keras.layers.Conv2D(2, 3)(
        keras.ops.pad(x, ((0, 0), (2, 1), (0, 0), (0, 0)))
    ),
    "repeat": lambda keras, x: keras.layers.Conv2D(2, 3)(keras.ops.repeat(x, 2, axis=1)),
    "several branches": lambda keras, x: keras.layers.Concatenate()(
        [keras.layers.Conv2D(2, 5, padding="same")(x), x]
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_a_row_sees_is_what_the_graph_says(name: str, keras: Any) -> None:
    image = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(image, MODELS[name](keras, image))
    graph = create_graph_from_model(model)
    spans = [span for span in rows_seen(keras, model) if span is not None]
    assert graph.certainty == "exact"
    assert graph.receptive_field_max[0] == max(last - first + 1 for first, last in spans)


def starts(graph: Any) -> int:
    """Return where the window of the first unit begins, along a chain without up-sampling."""
    first, jump = 0, 1
    for node in graph.all_layers:
        first -= node.layer_info.padding[0][0] * jump
        jump *= node.stride_size[0]
    return first


@pytest.mark.parametrize(
    "name", ["dilated, strided", "odd padding", "separable", "pad and crop", "centre crop", "slice",
             "resizing nearest", "patches by reshape", "pooling operations",
             "padding operation", "mean of columns"],
)  # fmt: skip
def test_paddings_say_where_windows_lie(name: str, keras: Any) -> None:
    image = keras.Input((HEIGHT, WIDTH, 3))
    model = keras.Model(image, MODELS[name](keras, image))
    graph = create_graph_from_model(model)
    first, size = starts(graph), graph.receptive_field_max[0]
    jump = graph.get_maximum_scale_factor()[0]
    for unit, span in enumerate(rows_seen(keras, model)):
        begin = first + unit * jump
        assert span == (max(0, begin), min(HEIGHT - 1, begin + size - 1))


def test_an_image_that_is_cut_to_keep_its_aspect_ratio_has_no_known_place(keras: Any) -> None:
    image = keras.Input((40, 20, 3))
    cut = keras.layers.Resizing(20, 20, crop_to_aspect_ratio=True)(image)
    graph = create_graph_from_model(keras.Model(image, cut))
    assert graph.window is None
    assert graph.certainty == "bound"


def test_the_model_is_not_changed(keras: Any) -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.layers.BatchNormalization()(image))
    before = (model.to_json(), [np.array(one) for one in model.get_weights()])
    create_graph_from_model(model)
    assert model.to_json() == before[0]
    for one, other in zip(model.get_weights(), before[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_unbuilt_sequential_model_is_read(keras: Any) -> None:
    model = keras.Sequential([keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
    assert [node.receptive_field_max for node in create_graph_from_model(model).all_layers] == [
        (1, 1), (3, 3), (float("inf"), float("inf")),
    ]  # fmt: skip


def test_a_shared_model_is_read_at_every_call(keras: Any) -> None:
    inner_in = keras.Input((None, None, 3))
    inner = keras.Model(inner_in, keras.layers.Conv2D(3, 3, padding="same")(inner_in), name="net")
    image = keras.Input((16, 16, 3))
    graph = create_graph_from_model(keras.Model(image, inner(inner(image))))
    assert graph.receptive_field_max == (5, 5)
    assert {node.module_path for node in graph.all_layers} == {"", "net"}


def test_a_model_over_time_is_opened(keras: Any) -> None:
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.GlobalMaxPooling2D()],
        name="frame",
    )
    video = keras.Input((5, 8, 8, 3))
    x = keras.layers.TimeDistributed(inner, name="frames")(video)
    graph = create_graph_from_model(keras.Model(video, keras.layers.Conv1D(2, 3)(x)))
    assert [node.receptive_field_max for node in graph.all_layers] == [
        (1, 1, 1), (1, 3, 3), (1, float("inf"), float("inf")), (3, float("inf"), float("inf")),
    ]  # fmt: skip
    assert graph.certainty == "exact"


def test_layers_over_time_leave_time_alone_until_it_is_read(keras: Any) -> None:
    layers = keras.layers
    x = video = keras.Input((5, 8, 8, 3))
    for inner in (layers.Conv2D(2, 3), layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(3)):
        x = layers.TimeDistributed(inner)(x)
    graph = create_graph_from_model(keras.Model(video, layers.LSTM(2)(x)))
    inf = float("inf")
    assert [node.receptive_field_max for node in graph.all_layers] == [
        (1, 1, 1), (1, 3, 3), (1, 4, 4), (1, inf, inf), (1, inf, inf), (inf, inf, inf),
    ]  # fmt: skip


# --- applications ----------------------------------------------------------------------------

FAMILIES = (DATA / "families.txt").read_text().split()
PUBLISHED = {
    "MobileNet": 315, "MobileNetV3Small": 303, "NASNetMobile": 327, "EfficientNetB0": 299,
    "ConvNeXtTiny": 224,
}  # fmt: skip
REFERENCE = {
    row["application"]: row
    for row in csv.DictReader((DATA / "keras_ranges.csv").read_text().splitlines())
}


def facts(node: Any) -> tuple[Any, ...]:
    """Return what a graph says of a layer."""
    return (
        node.name,
        node.module_path,
        node.layer_info,
        node.receptive_field_min,
        node.receptive_field_max,
        node.certainty,
        node.window,
        node.feature_map,
        node.parameters,
        [one.name for one in node.predecessors],
    )


def as_text(found: Any) -> str:
    return " ".join("x".join(map(str, sizes)) for sizes in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_application(name: str, keras: Any) -> None:
    model = keras_application(name)
    text = keras_model_to_dict(model)
    live = list(map(facts, create_graph_from_model(model).all_layers))
    del model
    keras.backend.clear_session()
    gc.collect()

    class Stored:
        def to_json(self) -> str:
            return json.dumps(text)

    graph = create_graph_from_model(Stored())
    assert live == list(map(facts, graph.all_layers))
    assert {node.certainty for node in graph.all_layers} == {"exact"}
    names = [node.name for node in graph.all_layers]
    assert len(set(names)) == len(names)
    if name in PUBLISHED:
        assert input_resolution_range(graph)[0] == (PUBLISHED[name],) * 2
    if name not in REFERENCE:
        return
    row = REFERENCE[name]
    assert len(names) == int(row["nodes"])
    assert as_text(input_resolution_range(graph)) == row["default"]
    counted = create_graph_from_model(Stored(), global_ops="count")
    unfiltered = input_resolution_range(counted, filter_all_inf_rf=False, feature_map_bound=True)
    assert as_text(unfiltered) == row["unfiltered_with_feature_map_bound"]
    if name == "InceptionV3":
        return  # the reference looks at the other axis than the one a 1x7 convolution grows on
    assert as_text(input_resolution_range(graph, lower_bound=True)) == row["lower_bound"]
    lowest = input_resolution_range(counted, filter_all_inf_rf=False, lower_bound=True)
    assert as_text(lowest) == row["unfiltered_lower_bound"]


def test_a_layer_twice_in_a_sequential_is_read_twice(keras: Any) -> None:
    twice = keras.layers.Conv2D(3, 3, name="twice")
    inner = keras.Sequential([twice, keras.layers.ReLU(), twice], name="inner")
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 3)(inner(image)))
    graph = create_graph_from_model(model)
    assert graph.receptive_field_max == (7, 7)
    assert [node.name for node in graph.all_layers][1:4:2] == ["inner/twice", "inner/twice#2"]


def test_the_json_of_a_sequential_that_leaves_out_calls_is_told(keras: Any) -> None:
    twice = keras.layers.Conv2D(3, 3, name="twice")
    model = keras.Sequential([twice, keras.layers.ReLU(), twice], name="inner")  # not built
    with pytest.warns(UserWarning, match="'inner' calls the layer 'twice' 2 times"):
        create_graph_from_model(model)
