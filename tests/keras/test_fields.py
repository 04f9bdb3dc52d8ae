"""What analysis says of the output of small models, against poison, without the experiment.

Every row and every column of a small image is NaN in turn; which units of the output notice is
counted here by hand, so that neither the encoder nor the experiment can agree with itself.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rfa_toolbox import unit_windows
from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_model
from rfa_toolbox.graphs import EnrichedNetworkNode

SIZE = 12
INF = math.inf


def conv(k: Any, **options: Any) -> Any:
    return k.Conv2D(2, 3, **{"padding": "same", **options})


def apart(x: Any, by: int) -> Any:
    return x[:, by:] + x[:, :-by]


def with_a_row(x: Any) -> Any:
    return x + x[:, 4][:, None]


def swapped(o: Any, x: Any) -> Any:
    return o.transpose(x, (0, 2, 1, 3))


def model_of(keras: Any, build: Any) -> Any:
    image = keras.Input((SIZE, SIZE, 2))
    model = keras.Model(image, build(keras.layers, keras.ops, image))
    model.set_weights([np.ones(one.shape) for one in model.get_weights()])
    return model


def seen(keras: Any, model: Any, axis: int) -> list[tuple[int, int]]:
    """Return the first and the last pixel along an axis that every unit of the output sees."""
    found = []
    for pixel in range(SIZE):
        image = np.full((1, SIZE, SIZE, 2), 0.5, "float32")
        np.moveaxis(image, axis + 1, 0)[pixel] = np.nan
        output = np.isnan(np.asarray(keras.ops.convert_to_numpy(model(image))))
        found.append(np.moveaxis(output, axis + 1, 0).reshape(output.shape[axis + 1], -1).any(1))
    pixels = np.array(found)
    return [
        (int(np.flatnonzero(one)[0]), int(np.flatnonzero(one)[-1])) for one in pixels.T if one.any()
    ]


def require_holds(graph: EnrichedNetworkNode, axis: int, found: list[tuple[int, int]]) -> None:
    """Make sure that no unit sees more than is said, and in the middle of the map all of that."""
    windows = graph.unit_windows[axis]
    field: Any = graph.receptive_field_max
    largest = max(last - first + 1 for first, last in found)
    if windows is None:
        assert largest <= field[axis]
        assert graph.certainty != "exact" or largest == field[axis]
        return
    for unit, (first, last) in enumerate(found):
        low, high = unit_windows.region_of(windows, unit)
        assert low <= first <= last <= high, (unit, (first, last), (low, high))
        if graph.certainty == "exact" and 0 <= low <= high < SIZE:
            assert (first, last) == (low, high), unit


EXACT: dict[str, tuple[Any, tuple[float, float]]] = {
    "added": (lambda k, o, x: k.Add()([x, k.Permute((2, 1, 3))(x)]), (INF, INF)),
    "plus": (lambda k, o, x: conv(k)(x + swapped(o, x)), (INF, INF)),
    "multiplied": (lambda k, o, x: k.Multiply()([conv(k)(x), swapped(o, x)]), (INF, INF)),
    "beside": (lambda k, o, x: conv(k)(k.Concatenate()([x, swapped(o, x)])), (INF, INF)),
    "stacked": (lambda k, o, x: o.sum(o.stack([x, swapped(o, x)], -1), -1), (INF, INF)),
    "einsum": (lambda k, o, x: o.einsum("bhwc,bwhc->bhwc", x, x), (INF, INF)),
    "three, one of them small": (
        lambda k, o, x: o.where(o.ones((2,)) > 0, x, swapped(o, x)),
        (INF, INF),
    ),
    "columns": (lambda k, o, x: conv(k)(o.stack(o.unstack(x, axis=2), axis=2)), (3, 3)),
    "columns one by one": (
        lambda k, o, x: conv(k)(o.stack([x[:, :, one] for one in range(SIZE)], 2)),
        (3, 3),
    ),
    "every second column": (
        lambda k, o, x: conv(k)(o.stack(o.unstack(x, axis=2)[1::2], axis=2)),
        (3, 5),
    ),
    "halves of a slice": (
        lambda k, o, x: conv(k)(o.concatenate([x[:, :5], x[:, 5:]], axis=1)),
        (3, 3),
    ),
    "thirds": (lambda k, o, x: conv(k)(o.concatenate(o.split(x, 3, axis=1), axis=1)), (3, 3)),
    "the last third": (lambda k, o, x: o.split(conv(k)(x), 3, axis=1)[2], (3, 3)),
    "thirds of halves": (
        lambda k, o, x: k.Add()(o.split(o.split(x, 2, axis=1)[1], 2, axis=1)),
        (4, 1),
    ),
    "odd rows of pairs": (
        lambda k, o, x: o.reshape(x, (-1, SIZE // 2, 2, SIZE, 2))[:, :, 1],
        (1, 1),
    ),
    "repeated": (lambda k, o, x: o.repeat(conv(k)(x), 2, axis=1), (3, 3)),
    "repeated by a reshape": (
        lambda k, o, x: o.reshape(o.stack([conv(k)(x)] * 2, 2), (-1, 2 * SIZE, SIZE, 2)),
        (3, 3),
    ),
    "channels put side by side": (
        lambda k, o, x: o.reshape(
            o.transpose(
                o.reshape(k.Conv2D(8, 3, padding="same")(x), (-1, SIZE, SIZE, 2, 2, 2)),
                (0, 1, 3, 2, 4, 5),
            ),
            (-1, 2 * SIZE, 2 * SIZE, 2),
        ),
        (3, 3),
    ),
    "blocks put into channels": (
        lambda k, o, x: o.reshape(
            o.transpose(o.reshape(x, (-1, 6, 2, 6, 2, 2)), (0, 1, 3, 2, 4, 5)), (-1, 6, 6, 8)
        ),
        (2, 2),
    ),
}  # fmt: skip

NO_LESS: dict[str, tuple[Any, tuple[float, float]]] = {
    "columns backwards": (
        lambda k, o, x: conv(k)(o.stack(o.unstack(x, axis=2)[::-1], axis=2)),
        (3, INF),
    ),
    "halves swapped": (
        lambda k, o, x: o.concatenate([x[:, 5:], x[:, :5]], axis=1),
        (INF, 1),
    ),
    "padded at the seam": (
        lambda k, o, x: o.concatenate([conv(k)(one) for one in o.split(x, 3, axis=1)], axis=1),
        (3, 3),
    ),
    "some rows": (
        lambda k, o, x: conv(k)(o.stack([x[:, 5], x[:, 2], x[:, 9]], 1)),
        (INF, 3),
    ),
    "mirrored and added": (lambda k, o, x: conv(k)(x + o.flip(x, 1)), (INF, 3)),
    "apart in a mirrored map": (
        lambda k, o, x: apart(o.flip(x, 1), 3),
        (INF, 1),
    ),
    "mirrored after being spread": (lambda k, o, x: o.flip(apart(x, 3), 1), (INF, 1)),
    "minus a row": (lambda k, o, x: conv(k)(x - x[:, 5:6]), (INF, 3)),
    "minus a row that is picked": (lambda k, o, x: conv(k)(x - x[:, 5][:, None]), (INF, 3)),
    "minus a row of repeated ones": (
        lambda k, o, x: with_a_row(o.reshape(o.stack([x] * 2, 2), (-1, 2 * SIZE, SIZE, 2))),
        (INF, 1),
    ),
    "parts of one order that is lost": (
        lambda k, o, x: apart(o.take(x, [7, 2, 9, 0], axis=1), 1),
        (INF, 1),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:These operations are not known")
@pytest.mark.parametrize(("build", "expected"), EXACT.values(), ids=EXACT)
def test_what_is_exact_is_what_poison_shows(keras: Any, build: Any, expected: Any) -> None:
    model = model_of(keras, build)
    graph = create_graph_from_model(model)
    assert graph.certainty == "exact"
    assert graph.receptive_field_max == expected
    for axis in (0, 1):
        require_holds(graph, axis, seen(keras, model, axis))


@pytest.mark.parametrize(("build", "expected"), NO_LESS.values(), ids=NO_LESS)
def test_a_bound_holds(keras: Any, build: Any, expected: Any) -> None:
    model = model_of(keras, build)
    graph = create_graph_from_model(model)
    assert graph.certainty == "bound"
    assert graph.certainty_reason
    assert graph.receptive_field_max == expected
    for axis in (0, 1):
        require_holds(graph, axis, seen(keras, model, axis))


def test_a_picked_row_has_a_place(keras: Any) -> None:
    model = model_of(keras, lambda k, o, x: conv(k)(x)[:, 5] + conv(k)(x)[:, 7])
    assert create_graph_from_model(model).input_region((0, 3)) == ((4, 8), (2, 4))


@pytest.mark.parametrize("step", [-1, -2])
def test_where_units_look_in_a_mirrored_map_is_not_said(keras: Any, step: int) -> None:
    """Not every backend runs it."""
    graph = create_graph_from_model(model_of(keras, lambda k, o, x: conv(k)(x[:, ::step])))
    assert graph.window is None
    assert graph.receptive_field_max == (1 - 2 * step, 3)
    assert graph.unit_windows[1] is not None


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_copies_in_place_of_what_was_cut_off_have_no_known_place(keras: Any, mode: str) -> None:
    sides = [[0, 0], [2, 2], [0, 0], [0, 0]]
    pad = [
        lambda k, o, x: conv(k)(o.pad(k.Cropping2D(((2, 3), 0))(x), sides, mode=mode)),
        lambda k, o, x: conv(k)(o.pad(o.split(x, 2, axis=1)[1], sides, mode=mode)),
    ]
    for build in pad:
        graph = create_graph_from_model(model_of(keras, build))
        assert graph.unit_windows[0] is None
        assert graph.unit_windows[1] is not None
        assert graph.receptive_field_max == (3, 3)
    graph = create_graph_from_model(model_of(keras, lambda k, o, x: o.pad(x, sides, mode=mode)))
    assert graph.unit_windows[0] is not None


@pytest.mark.parametrize("kind", ["functional", "sequential", "cropped"])
def test_a_layer_that_was_built_for_another_size_has_the_padding_of_this_one(
    keras: Any, kind: str
) -> None:
    one, two = (keras.layers.Conv2D(1, size, 2, padding="same") for size in (3, 5))
    image, smaller = keras.Input((48, 48, 1)), keras.Input((47, 47, 1))
    two(one(image))
    if kind == "functional":
        model = keras.Model(smaller, two(one(smaller)))
    elif kind == "sequential":
        model = keras.Sequential([smaller, one, two])
    else:
        model = keras.Model(image, two(one(keras.layers.Cropping2D(((0, 1), (0, 1)))(image))))
    graph = create_graph_from_model(model)
    # 47 pixels are padded to 49 for 24 units, and these to 27, with one more behind.
    assert [node.layer_info.padding for node in graph.all_layers[-2:]] == [
        ((1, 1), (1, 1)),
        ((1, 2), (1, 2)),
    ]
