"""The structural experiment on models of Keras, on the backend that Keras runs with."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfa_toolbox.empirical import effective_receptive_field, measure_receptive_field, verify
from rfa_toolbox.empirical.keras_bench import KerasBench
from rfa_toolbox.errors import InvalidResolutionError, MeasurementError, UnsupportedModelError
from tests.frameworks import keras_application


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


def test_a_gate_behind_a_field_that_nearly_fills_the_image_is_known_for_one(keras: Any) -> None:
    layers = keras.layers
    image = keras.Input((None, None, 1))
    x = image
    for _ in range(20):  # a field of 601 pixels
        x = layers.Conv2D(1, (31, 1), padding="same")(x)
    weight = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    report = verify(keras.Model(image, layers.Multiply()([x, weight])))
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert report.input_shapes[0][1] < 600 / 0.75


def many_channels(keras: Any) -> Any:
    """Channels that see different things side by side, in all the ways that layers mix them."""
    layers, ops = keras.layers, keras.ops

    class Swapped(layers.Layer):  # type: ignore[misc, name-defined]
        """Works on all channels, and not on each alike."""

        def call(self, x: Any) -> Any:
            return ops.concatenate([x[..., 3:], ops.roll(x[..., :3], 2, axis=1)], axis=-1)

    def moved(x: Any) -> Any:
        return ops.roll(x, 1, axis=2)

    image = keras.Input((64, 64, 3))
    one = layers.Conv2D(4, 3, padding="same", activation="softmax")(image)
    two = layers.Rescaling([1.0, 2.0, 3.0])(layers.AveragePooling2D(3, 1, "same")(image))
    both = layers.Concatenate()([one, two])  # 4 + 3
    both = layers.Add()([both, layers.MaxPooling2D((1, 5), 1, "same")(both)])
    turned = Swapped()(both)  # 1 + 3 + 3
    wide = layers.Maximum()([turned, layers.Concatenate()([two, one])])  # 1 + 2 + 1 + 3
    x = layers.DepthwiseConv2D((3, 1), depth_multiplier=2, padding="same")(wide)
    x = layers.Concatenate(axis=1)([x, layers.SpatialDropout2D(0.5)(x * 2.0)])
    x = layers.Softmax()(layers.ReLU(6.0)(layers.Cropping2D(((0, 64), 0))(x)))
    x = layers.Conv2D(4, (1, 3), groups=2, dilation_rate=2)(x)
    x = layers.SeparableConv2D(5, 3, activation=moved)(x)
    x = layers.Conv2D(5, 3, groups=5)(x)
    x = layers.Conv2DTranspose(2, 4, 2)(layers.Dense(6, activation="gelu")(x))
    x = layers.Conv2D(2, 3)(layers.UpSampling2D(2)(layers.Permute((2, 1, 3))(x)))
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))


@pytest.mark.filterwarnings("ignore:These operations are not known")
@pytest.mark.parametrize("made", [network, many_channels])
def test_shortcuts_find_what_the_layers_do(keras: Any, made: Any) -> None:
    model = made(keras)
    length = model.input_shape[2]
    settings = [KerasBench(model, shortcuts=one).setting(1, length) for one in (True, False)]
    short, plain = (one.masks([(0, 20), (40, 41), (length - 1, length)]) for one in settings)
    assert settings[0].output_shapes == settings[1].output_shapes
    for one, other in zip(short, plain, strict=True):
        assert one.keys() == other.keys()
        assert [name for name in one if not np.array_equal(one[name], other[name])] == []
    assert settings[0].numbers < settings[1].numbers


def test_sizes_that_only_weights_depend_on_are_free(keras: Any) -> None:
    """Behind Flatten, a dense layer reads everything, however large that is."""
    layers = keras.layers
    stages = [layers.Conv2D(2, 5, 2, "same"), layers.MaxPooling2D(3), layers.Conv2D(2, 9)]
    model = [keras.Input((60, 60, 1)), *stages, layers.Flatten(), layers.Dense(3)]
    report = verify(keras.Sequential(model))
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert report.input_shapes[0][1] > 60


NORMS = [
    ("group", lambda keras: keras.layers.GroupNormalization(2), (float("inf"),) * 2),
    ("channels", lambda keras: keras.layers.LayerNormalization(), (5, 5)),
    ("space", lambda keras: keras.layers.LayerNormalization(axis=[1, 2, 3]), (float("inf"),) * 2),
    ("batch", lambda keras: keras.layers.BatchNormalization(), (5, 5)),
    ("unit", lambda keras: keras.layers.UnitNormalization(axis=(1, 2)), (float("inf"),) * 2),
    ("unit of channels", lambda keras: keras.layers.UnitNormalization(), (5, 5)),
    ("columns", lambda keras: lambda x: keras.ops.normalize(x, axis=1), (float("inf"), 5)),
]


@pytest.mark.parametrize(
    ("norm", "counted"), [one[1:] for one in NORMS], ids=[n for n, *_ in NORMS]
)
def test_statistics_over_positions_are_neutral_or_count(
    keras: Any, norm: Any, counted: tuple[float, float]
) -> None:
    image = keras.Input((32, 32, 4))
    x = norm(keras)(keras.layers.Conv2D(4, 3)(image))
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(x))
    plain = verify(model)
    assert {one.verdict for one in plain.nodes} == {"agrees"}
    assert plain.nodes[-1].size == (5, 5)
    assert [bool(one.reason) for one in plain.nodes] == [False, False, counted != (5, 5), False]
    everything = verify(model, global_ops="count")
    assert {one.verdict for one in everything.nodes} == {"agrees"}
    assert everything.nodes[-1].size == everything.nodes[-1].expected_size == counted
    with pytest.raises(UnsupportedModelError, match="'ignore'"):
        verify(model, global_ops="ignore")


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
    image = keras.Input((32, 32, 4))
    windows = keras.ops.reshape(image, (-1, 8, 4, 4, 8, 4))
    windows = keras.ops.reshape(keras.ops.transpose(windows, (0, 1, 3, 2, 4, 5)), (-1, 32, 4))
    report = verify(keras.Model(image, layers.MultiHeadAttention(1, 2)(windows, windows)))
    assert "batches hold positions" in report.nodes[-1].reason
    assert report.nodes[-1].verdict == "not measured"
    lost = layers.ConvLSTM2D(1, 3, padding="same")
    report = verify(keras.Sequential([keras.Input((3, 10, 12, 1)), lost]), max_length=10)
    assert report.ok
    assert "another number of dimensions" in report.nodes[-1].reason


@pytest.fixture(params=["float64", "float16"])
def other_numbers(keras: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Keras that makes layers of another type than the usual one."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    wide = keras.backend.backend() == "jax" and request.param == "float64"
    if wide:
        importlib.import_module("jax").config.update("jax_enable_x64", True)
    keras.config.set_floatx(request.param)
    keras.config.set_dtype_policy(request.param)
    yield keras
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])
    if wide:
        importlib.import_module("jax").config.update("jax_enable_x64", False)


def test_models_of_other_types_are_measured_as_well(other_numbers: Any) -> None:
    keras, layers = other_numbers, other_numbers.layers
    image = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(image))
    x = layers.Concatenate()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    x = layers.UpSampling2D(2, interpolation="bilinear")(layers.MaxPooling2D(2)(x))
    x = layers.LayerNormalization()(layers.SeparableConv2D(3, 3, name="last")(x) * 2.0)
    model = keras.Model(image, x)
    for options in ({}, {"global_ops": "count"}):
        report = verify(model, **options)
        assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements
    size = next(one.size for one in report.nodes if one.name == "last")
    assert measure_receptive_field(model, layers="last", method="gradient")["last"].size == size
    assert effective_receptive_field(model, layer="last", samples=2).contribution.any()


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


def _signal(keras: Any, samples: Any) -> Any:
    return keras.layers.Conv1D(3, 4, 2)(keras.layers.Reshape((-1, 1))(samples))


def _words(keras: Any, places: Any) -> Any:
    found = keras.layers.Embedding(10, 8)(places)
    return keras.layers.Conv1D(3, 5, padding="causal", dilation_rate=2)(found)


def _less_its_mean(keras: Any, samples: Any) -> Any:
    return _signal(keras, samples - keras.ops.mean(samples, 1, keepdims=True))


def _every_other(keras: Any, samples: Any) -> Any:
    return _signal(keras, samples[:, ::2])


def _channels_in_front(keras: Any, samples: Any) -> Any:
    signal = keras.layers.Reshape((1, -1))(samples)
    return keras.layers.Conv1D(3, 3, data_format="channels_first")(signal)


@pytest.mark.parametrize(
    ("made", "size"),
    [(_signal, 4), (_words, 9), (_less_its_mean, 4), (_every_other, 7), (_channels_in_front, 3)],
)
def test_signals_and_texts_without_channels(keras: Any, made: Any, size: int) -> None:
    if made is _channels_in_front and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow convolves with channels first on GPUs alone")
    given = keras.Input((40,))
    report = verify(keras.Model(given, made(keras, given)))
    assert {one.verdict for one in report.nodes} == {"agrees"}
    assert report.nodes[-1].expected_size == (size,)


def test_wrong_models_and_shapes_are_named(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        """No graph of layers."""

    with pytest.raises(UnsupportedModelError, match="Own"):
        measure_receptive_field(Own())
    with pytest.raises(InvalidResolutionError, match="takes 4 dimensions"):
        measure_receptive_field(network(keras), (1, 3, 64))


def test_an_image_is_as_wide_as_the_windows(keras: Any) -> None:
    """Where a window does not fit, some kernels return something nevertheless, or crash."""
    layers = keras.layers
    for narrow in (
        layers.Conv2D(1, 33),
        layers.MaxPooling2D(33, 1),
        layers.AveragePooling2D(33, 1),
    ):
        model = keras.Sequential([keras.Input((96, 96, 1)), narrow, layers.Conv2D(1, 3, 1, "same")])
        report = verify(model)
        assert {one.verdict for one in report.nodes} == {"agrees"}
        assert [min(shape[1:3]) for shape in report.input_shapes] == [64, 64]


def _permuted(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((64, 48, 3))
    x = layers.Permute((2, 1, 3))(layers.Conv2D(4, (3, 5))(image))
    return keras.Model(image, layers.Permute((2, 1, 3))(layers.Conv2D(4, (5, 3))(x)))


def _swapped(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((64, 48, 3))
    x = keras.ops.swapaxes(layers.Conv2D(4, (3, 5), strides=(2, 1))(image), 1, 2)
    x = layers.Add()([x, layers.Conv2D(4, (5, 3), padding="same")(x)])
    return keras.Model(image, layers.MaxPooling2D(2)(x))


def _channels_moved(keras: Any) -> Any:
    layers = keras.layers
    image = keras.Input((64, 48, 3))
    x = keras.ops.moveaxis(layers.Conv2D(4, (3, 5))(image), 3, 1)
    x = keras.ops.concatenate([x, x], 1)
    return keras.Model(image, layers.Conv2D(4, 3)(keras.ops.moveaxis(x, 1, -1)))


def _mixed_sequence(keras: Any) -> Any:
    layers = keras.layers
    sequence = keras.Input((64, 3))
    x = layers.Permute((2, 1))(layers.Conv1D(4, 5)(sequence))
    return keras.Model(sequence, layers.Permute((2, 1))(layers.Dense(7)(x)))


@pytest.mark.parametrize("make", [_permuted, _swapped, _channels_moved, _mixed_sequence])
def test_permuted_dimensions_are_followed(keras: Any, make: Any) -> None:
    report = verify(make(keras))
    assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements


def _gate_of_groups(keras: Any) -> Any:
    """A gate in groups of channels that share one, as split attention has it."""
    layers, ops = keras.layers, keras.ops
    image = keras.Input((32, 32, 4))
    x = layers.Conv2D(8, 3)(image)
    weight = layers.Reshape((2, 4))(ops.mean(x, (1, 2), keepdims=True))
    weight = layers.Reshape((1, 1, 8))(layers.Softmax(axis=1)(weight))
    return keras.Model(image, layers.Multiply()([x, weight]))


def _gate_of_branches(keras: Any) -> Any:
    """A gate that weighs two maps, which stand along a dimension of their own."""
    layers, ops = keras.layers, keras.ops
    image = keras.Input((32, 32, 4))
    x, y = layers.Conv2D(4, 3, padding="same")(image), layers.Conv2D(4, 5, padding="same")(image)
    weight = layers.Conv2D(8, 1)(ops.mean(layers.Add()([x, y]), (1, 2), keepdims=True))
    weight = layers.Softmax(axis=-1)(layers.Reshape((1, 1, 4, 2))(weight))
    branches = ops.concatenate([ops.expand_dims(x, -1), ops.expand_dims(y, -1)], -1)
    return keras.Model(image, ops.sum(layers.Multiply()([branches, weight]), -1))


def _norm_by_hand(keras: Any) -> Any:
    """Statistics of a map, subtracted from it and divided by."""
    image = keras.Input((24, 24, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    mean, deviation = (one(x, (1, 2), keepdims=True) for one in (keras.ops.mean, keras.ops.std))
    return keras.Model(image, (x - mean) / deviation)


@pytest.mark.parametrize("make", [_gate_of_groups, _gate_of_branches, _norm_by_hand])
def test_gates_in_more_or_fewer_dimensions_than_the_image_are_neutral(
    keras: Any, make: Any
) -> None:
    report = verify(make(keras), max_length=32)
    assert report.ok, report.disagreements
    assert report.nodes[-1].verdict == "agrees"


def test_a_weight_that_another_map_makes_is_no_gate(keras: Any) -> None:
    image = keras.Input((24, 24, 3))
    one, other = (keras.layers.Conv2D(4, 3)(image) for _ in range(2))
    wide = keras.layers.Conv2D(4, 5, padding="same")(other)
    weight = keras.layers.GlobalMaxPooling2D(keepdims=True)(wide)
    both = keras.layers.Concatenate()([keras.layers.Multiply()([one, weight]), wide])
    report = verify(keras.Model(image, [both, weight]))
    assert report.ok, report.disagreements
    assert [node.name for node in report.nodes if "gate" in node.reason] == []


def test_a_reshape_behind_permuted_dimensions_gives_them_another_order(keras: Any) -> None:
    layers, ops = keras.layers, keras.ops
    image = keras.Input((16, 16, 2))
    rows = ops.transpose(ops.reshape(image, (-1, 4, 4, 8)), (0, 2, 1, 3))
    windows = ops.reshape(rows, (-1, 16, 2))
    rows = ops.reshape(layers.Attention()([windows, windows]), (-1, 4, 4, 8))
    back = ops.reshape(ops.transpose(rows, (0, 2, 1, 3)), (-1, 16, 16, 2))
    report = verify(keras.Model(image, back), max_length=16)
    assert (report.nodes[-1].verdict, report.nodes[-1].size) == ("agrees", (4, 4))


APPLICATIONS = (Path(__file__).parent / "data" / "applications.txt").read_text().split()
FAMILIES = (Path(__file__).parent / "data" / "families.txt").read_text().split()
"""The smallest of every family; the others by benchmarks/verify_zoo.py."""


def test_all_applications_are_listed(keras: Any) -> None:
    assert {one for one in dir(keras.applications) if one[0].isupper()} == set(APPLICATIONS)
    assert set(FAMILIES) < set(APPLICATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_applications(keras: Any, name: str) -> None:
    report = verify(keras_application(name))
    assert {one.verdict for one in report.nodes} == {"agrees"}, report.disagreements[:3]


def test_shapes_and_options_that_do_not_fit_are_refused(keras: Any) -> None:
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(2, 3)])
    for shape in ((1, 64, 64, 1), (1, 3, 64, 64)):
        with pytest.raises(InvalidResolutionError, match=r"64, 64, 3\), with channels last"):
            verify(model, shape)
    with pytest.raises(MeasurementError, match="'globl_ops' is no option"):
        measure_receptive_field(model, globl_ops="count")
