"""Layers and models whose calls are Python code, held against the experiment."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rfa_toolbox.empirical import verify
from rfa_toolbox.encodings.tensorflow_keras import DEFAULT_HANDLERS


def composite(keras: Any) -> Any:
    """Return a layer made of layers, of operations, of a weight of its own, and of a gate."""
    layers, ops = keras.layers, keras.ops

    class Block(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, name: str) -> None:
            super().__init__(name=name)
            self.wide = layers.Conv2D(4, 3, strides=2, padding="same", name="wide")
            self.excite = layers.Dense(4, activation="sigmoid", name="excite")

        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")
            self.wide.build(shape)
            self.excite.build((None, 4))

        def call(self, x: Any) -> Any:
            x = ops.average_pool(ops.relu(self.wide(x) * self.scale), 2, 2)
            return x * self.excite(ops.mean(x, (1, 2), keepdims=True))

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], *(None if one is None else -(-one // 4) for one in shape[1:3]), 4)

    return Block(name="block")


def connected(keras: Any) -> Any:
    image = keras.Input((64, 48, 3))
    return keras.Model(image, keras.layers.Conv2D(2, 3, name="last")(composite(keras)(image)))


def in_code(keras: Any) -> Any:
    class Net(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.block, self.last = composite(keras), keras.layers.Conv2D(2, 3, name="last")

        def call(self, image: Any) -> Any:
            return self.last(self.block(image))

    return Net()


@pytest.mark.parametrize("make", [connected, in_code])
def test_what_a_layer_calls_is_measured(keras: Any, make: Any) -> None:
    report = verify(make(keras), (1, 64, 48, 3))
    assert {one.verdict for one in report.nodes} == {"agrees"}, str(report)
    sizes = {one.name: one.size for one in report.nodes}
    assert sizes["block/wide"] == (3, 3)
    assert sizes["block/average_pool"] == (5, 5)
    assert sizes["last"] == (13, 13)


def test_a_layer_that_a_user_describes_is_called_as_a_whole(keras: Any) -> None:
    handlers = DEFAULT_HANDLERS.with_rule(
        "Custom>Block", lambda *_: {"kernel_size": 3, "stride_size": 4}
    )
    report = verify(connected(keras), handlers=handlers)
    assert [one.name for one in report.nodes][1:] == ["block", "last"]
    assert [one.expected_size for one in report.nodes][1:] == [(3, 3), (11, 11)]
    assert {one.size for one in report.nodes[1:]} == {(math.inf, math.inf)}
    assert not report.ok  # its gate, which is not looked for inside it


def test_what_is_not_seen_being_called_is_not_measured(keras: Any) -> None:
    frames = keras.Input((2, 16, 16, 3))
    each = keras.layers.TimeDistributed(composite(keras), name="each")
    report = verify(keras.Model(frames, each(frames)), max_length=16)
    assert report.ok
    unseen = {one.verdict: one.reason for one in report.nodes[1:]}
    assert unseen == {"not measured": "the experiment does not see it being called"}


def test_a_part_without_a_channel_is_read_by_nothing(keras: Any) -> None:
    image = keras.Input((32, 32, 4))
    first, rest, none = keras.ops.split(image, [1, 4], axis=-1)
    assert none.shape[-1] == 0
    one = keras.layers.Conv2D(3, 3, name="one")(first)
    rest = keras.layers.Cropping2D(1)(rest)
    last = keras.layers.Conv2D(2, 3, name="last")(keras.ops.concatenate([one, rest], -1))
    report = verify(keras.Model(image, last))
    assert {node.verdict for node in report.nodes} == {"agrees"}, str(report)
