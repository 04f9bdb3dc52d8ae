"""Random functional models of Keras, and which rows and columns of the image their units see."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.unit_by_unit import Flags, contradicted

__all__ = ["CHANNELS", "SIZES", "RandomModel", "contradictions"]

SIZES = (24, 18)
CHANNELS = 4
INF = float("inf")


class RandomModel:
    """A chain of random parts that keep the number of channels, with all maps as outputs."""

    def __init__(self, keras: Any, seed: int) -> None:
        self.layers, self.ops = keras.layers, keras.ops
        self.random = random.Random(seed)
        self.inputs = [keras.Input((*SIZES, CHANNELS), name="image")]
        self.made: dict[str, Any] = {}
        self.names: list[str] = []
        self.unseen = 0  # pixels at the borders that padding may stand in place of
        keras.utils.set_random_seed(seed)
        x = self.kept(self.conv(self.inputs[0]))
        for _ in range(self.random.randint(2, 5)):
            part = self.random.choice(_PARTS)
            made = self.fitting(part(self, x))
            if made is not None:
                self.names.append(part.__name__)
                x = self.kept(made)
        self.blends = bool(_BLENDING.intersection(self.names))
        self.reflects = "reflection" in self.names
        self.model = keras.Model(self.inputs, list(self.made.values()))

    # -- what parts are made with

    def among(self, *several: Any) -> Any:
        return self.random.choice(several)

    def conv(self, x: Any, filters: int = CHANNELS, kernel: Any = None, **options: Any) -> Any:
        kernel = self.among(1, 3, (3, 1), (1, 5)) if kernel is None else kernel
        options = {"padding": "same", **options}
        return self.layers.Conv2D(filters, kernel, **options)(x)

    def kept(self, x: Any) -> Any:
        """Look at a map: what its units see is compared."""
        self.made[x._keras_history.operation.name] = x
        return x

    def fitting(self, x: Any) -> Any:
        """Return a map with the usual number of channels; None where it is too small or large."""
        if x is None or not all(5 <= size <= 60 for size in x.shape[1:3]):
            return None
        return x if x.shape[3] == CHANNELS else self.conv(self.kept(x), kernel=1)

    def cut(self, x: Any, sizes: Any) -> Any:
        """Return the part of a map that is of some sizes."""
        begins = [
            self.random.randint(0, have - want)
            for have, want in zip(x.shape[1:3], sizes, strict=True)
        ]
        ends = [
            have - want - begin
            for have, want, begin in zip(x.shape[1:3], sizes, begins, strict=True)
        ]
        if not any((*begins, *ends)):
            return x
        self.cut_off(x, max(*begins, *ends))
        if self.random.random() < 0.5:
            return self.layers.Cropping2D(tuple(zip(begins, ends, strict=True)))(x)
        (top, left), (height, width) = begins, sizes
        return x[:, top : top + height, left : left + width, :]

    def cut_off(self, x: Any, units: int) -> None:
        """Note how many units are cut off a map: where it is padded again, nobody sees them."""
        pixels = max(-(-size // of) for size, of in zip(SIZES, x.shape[1:3], strict=True))
        self.unseen += pixels * units

    def together(self, *several: Any) -> Any:
        """Return maps put together, all cut to one size."""
        sizes = [min(one.shape[axis] for one in several) for axis in (1, 2)]
        alike = [self.cut(one, sizes) for one in several]
        kind = self.among("Add", "Multiply", "Maximum", "Subtract", "Concatenate", "Concatenate")
        if len({one.shape for one in alike}) > 1 or (kind == "Subtract" and len(alike) > 2):
            kind = "Concatenate"
        return getattr(self.layers, kind)()(alike)


Part = Callable[[RandomModel, Any], Any]


def convolution(m: RandomModel, x: Any) -> Any:
    strides = m.among((1, 1), (2, 2), (2, 1))
    dilation = m.among(1, 2, (1, 2)) if strides == (1, 1) and min(x.shape[1:3]) > 8 else 1
    options = {"strides": strides, "dilation_rate": dilation, "padding": m.among("same", "valid")}
    return m.conv(x, kernel=m.among(1, 2, 3, (3, 2), 5), **options)


def depthwise(m: RandomModel, x: Any) -> Any:
    kind = m.among(m.layers.DepthwiseConv2D, lambda *a, **o: m.layers.SeparableConv2D(4, *a, **o))
    return kind(m.among(2, 3), padding=m.among("same", "valid"), strides=m.among(1, 2))(x)


def grouped(m: RandomModel, x: Any) -> Any:
    return m.conv(x, groups=2)


def pooling(m: RandomModel, x: Any) -> Any:
    kind = m.among(m.layers.MaxPooling2D, m.layers.AveragePooling2D)
    return kind(m.among(2, 3, (2, 1)), m.among(1, 2, None), m.among("same", "valid"))(x)


def transposed(m: RandomModel, x: Any) -> Any:
    kernel, strides = m.among(2, 3, 4), m.among(1, 2)
    return m.layers.Conv2DTranspose(4, kernel, strides, m.among("same", "valid"))(x)


def upsampling(m: RandomModel, x: Any) -> Any:
    return m.layers.UpSampling2D(m.among(2, (2, 1)), interpolation=m.among("nearest", "bilinear"))(
        x
    )


def resizing(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    sizes = m.among((2 * height, width), (height // 2, width // 2), (height, 2 * width))
    return m.layers.Resizing(*sizes, interpolation=m.among("nearest", "bilinear"))(x)


def padding(m: RandomModel, x: Any) -> Any:
    sides = [(m.random.randint(0, 2), m.random.randint(0, 2)) for _ in range(2)]
    return m.layers.ZeroPadding2D(sides)(x)


def reflection(m: RandomModel, x: Any) -> Any:
    sides = [(m.random.randint(1, 2), m.random.randint(0, 2)) for _ in range(2)]
    first = m.ops.transpose(x, (0, 3, 1, 2))  # the form that all backends take
    padded = m.ops.pad(first, [(0, 0), (0, 0), *sides], mode="reflect")
    return m.conv(m.ops.transpose(padded, (0, 2, 3, 1)), padding="valid")


def crop(m: RandomModel, x: Any) -> Any:
    return m.cut(x, [size - m.random.randint(0, 2) for size in x.shape[1:3]])


def crop_and_pad(m: RandomModel, x: Any) -> Any:
    by, more = m.random.randint(1, 3), m.random.randint(1, 3)
    m.cut_off(x, max(by, more))
    cut = m.layers.Cropping2D(((by, 0), (0, more)))(x)
    return m.layers.ZeroPadding2D(((more, 0), (0, by)))(cut)


def centre_crop(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    m.cut_off(x, 2)
    return m.layers.CenterCrop(height - m.random.randint(0, 3), width - m.random.randint(0, 3))(x)


def residual(m: RandomModel, x: Any) -> Any:
    return m.together(x, m.conv(x, padding=m.among("same", "valid")))


def branches(m: RandomModel, x: Any) -> Any:
    several = [m.conv(x, filters=m.among(2, 4)) for _ in range(2)]
    several.append(m.layers.MaxPooling2D(3, 1, m.among("same", "valid"))(x))
    return m.together(*several)


def coarser_branch(m: RandomModel, x: Any) -> Any:
    coarse = m.conv(m.layers.AveragePooling2D(2)(x))
    finer = m.among(
        m.layers.UpSampling2D(2),
        m.layers.UpSampling2D(2, interpolation="bilinear"),
        m.layers.Conv2DTranspose(4, 2, 2),
    )
    return m.together(x, finer(coarse))


def moved_copies(m: RandomModel, x: Any) -> Any:
    by = m.random.randint(1, 3)
    return m.together(x[:, by:], x[:, :-by])


def rolled(m: RandomModel, x: Any) -> Any:
    """A copy that was moved by a roll, without the rows that came from the far end."""
    by = m.random.randint(1, 2)
    return m.layers.Add()([x[:, by:], m.conv(m.ops.roll(x, by, axis=1)[:, by:])])


def split_channels(m: RandomModel, x: Any) -> Any:
    if m.random.random() < 0.5:
        one, other = m.ops.split(x, 2, axis=-1)
    else:
        one, other = x[..., :2], x[..., 2:]
    return m.layers.Concatenate()([m.conv(one, filters=2), other])


def split_concatenation(m: RandomModel, x: Any) -> Any:
    both = m.layers.Concatenate()([m.conv(x, filters=2), m.conv(x, filters=2, kernel=5)])
    one, other = m.ops.split(both, 2, axis=-1)
    return m.layers.Concatenate()([m.conv(one, filters=2, kernel=3), other])


def shuffled(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    both = m.layers.Concatenate()([x[..., :2], m.conv(x, filters=2)])
    turned = m.ops.transpose(m.layers.Reshape((height, width, 2, 2))(both), (0, 1, 2, 4, 3))
    return m.conv(m.layers.Reshape((height, width, 4))(turned), groups=2)


def halves_of_rows(m: RandomModel, x: Any) -> Any:
    half = x.shape[1] // 2
    parts = [x[:, :half], x[:, half:]]
    return m.layers.Concatenate(axis=1)([m.layers.ReLU()(one) for one in parts])


def halves_convolved(m: RandomModel, x: Any) -> Any:
    half = x.shape[2] // 2
    parts = [m.conv(one, kernel=3) for one in (x[:, :, :half], x[:, :, half:])]
    return m.layers.Concatenate(axis=2)(parts)


def stacked_rows(m: RandomModel, x: Any) -> Any:
    rows = [m.layers.Dense(4)(x[:, at]) for at in range(x.shape[1])]
    return m.ops.stack(rows, axis=1)


def focus(m: RandomModel, x: Any) -> Any:
    x = m.cut(x, [size // 2 * 2 for size in x.shape[1:3]])
    parts = [x[:, i::2, j::2] for i in range(2) for j in range(2)]
    return m.conv(m.layers.Concatenate()(parts))


def every_other(m: RandomModel, x: Any) -> Any:
    return x[:, m.among(0, 1) :: 2]


def blocks_by_hand(m: RandomModel, x: Any) -> Any:
    x = m.cut(x, [size // 2 * 2 for size in x.shape[1:3]])
    height, width = x.shape[1:3]
    blocks = m.layers.Reshape((height // 2, 2, width // 2, 2, 4))(x)
    turned = m.layers.Permute((1, 3, 2, 4, 5))(blocks)
    return m.conv(m.layers.Reshape((height // 2, width // 2, 16))(turned))


def out_of_channels(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    blocks = m.layers.Reshape((height, width, 2, 2, 4))(m.conv(x, filters=16))
    turned = m.layers.Permute((1, 3, 2, 4, 5))(blocks)
    return m.layers.Reshape((2 * height, 2 * width, 4))(turned)


def columns_out_of_channels(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    return m.layers.Reshape((height, 2 * width, 4))(m.conv(x, filters=8))


def columns_into_channels(m: RandomModel, x: Any) -> Any:
    x = m.cut(x, [x.shape[1], x.shape[2] // 2 * 2])
    height, width = x.shape[1:3]
    return m.conv(m.layers.Reshape((height, width // 2, 8))(x))


def patches(m: RandomModel, x: Any) -> Any:
    return m.conv(
        m.ops.image.extract_patches(x, 2, m.among(1, 2), padding=m.among("same", "valid"))
    )


def turned(m: RandomModel, x: Any) -> Any:
    """Work on a map that lies on its side."""
    aside = m.conv(m.layers.Permute((2, 1, 3))(x), kernel=m.among((3, 1), (1, 3), (4, 2)))
    return m.layers.Permute((2, 1, 3))(aside)


def tokens(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    several = m.layers.Dense(4)(m.layers.Reshape((height * width, 4))(x))
    return m.layers.Reshape((height, width, 4))(m.layers.LayerNormalization()(several))


def attended(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    several = m.layers.Reshape((height * width, 4))(x)
    several = m.layers.MultiHeadAttention(1, 2)(several, several)
    return m.layers.Reshape((height, width, 4))(several)


def mixed_tokens(m: RandomModel, x: Any) -> Any:
    """The gating unit of gMLP."""
    height, width = x.shape[1:3]
    several = m.layers.Reshape((height * width, 4))(x)
    across = m.layers.Dense(height * width)(m.layers.Permute((2, 1))(several))
    gated = m.layers.Multiply()([several, m.layers.Permute((2, 1))(across)])
    return m.layers.Reshape((height, width, 4))(gated)


def of_rows(m: RandomModel, x: Any) -> Any:
    """A dense layer over the columns of every row."""
    width = x.shape[2]
    across = m.layers.Dense(width)(m.layers.Permute((1, 3, 2))(x))
    return m.layers.Permute((1, 3, 2))(across)


def gate(m: RandomModel, x: Any) -> Any:
    weight = m.layers.GlobalAveragePooling2D(keepdims=True)(x)
    return m.layers.Multiply()([x, m.layers.Dense(4, activation="sigmoid")(weight)])


def gate_of_strips(m: RandomModel, x: Any) -> Any:
    weight = m.ops.mean(x, axis=m.among(1, 2), keepdims=True)
    return m.layers.Multiply()([x, m.layers.Dense(4, activation="sigmoid")(weight)])


def gate_of_places(m: RandomModel, x: Any) -> Any:
    mask = m.conv(m.ops.max(x, axis=-1, keepdims=True), filters=1, activation="sigmoid")
    return m.layers.Multiply()([x, mask])


def pyramid(m: RandomModel, x: Any) -> Any:
    height, width = x.shape[1:3]
    if height % 2 or width % 2:
        return None
    pooled = m.layers.AveragePooling2D((height // 2, width // 2))(x)
    size = (height // 2, width // 2)
    up = m.among(
        m.layers.UpSampling2D(size, interpolation="bilinear"), m.layers.Resizing(height, width)
    )
    return m.layers.Concatenate()([x, up(m.conv(pooled, kernel=1))])


def condition(m: RandomModel, x: Any) -> Any:
    """An input without a place in the image, added or multiplied."""
    from keras import Input

    given = Input((3,), name=f"condition_{len(m.inputs)}")
    m.inputs.append(given)
    vector = m.layers.Reshape((1, 1, 4))(m.layers.Dense(4, activation="sigmoid")(given))
    return m.among(m.layers.Add(), m.layers.Multiply())([x, vector])


def flipped(m: RandomModel, x: Any) -> Any:
    return m.together(x, m.ops.flip(x, axis=m.among(1, 2)))


def repeated(m: RandomModel, x: Any) -> Any:
    return m.ops.repeat(x, 2, axis=m.among(1, 2))


def tiled(m: RandomModel, x: Any) -> Any:
    return m.conv(m.ops.tile(x, (1, 2, 1, 1)), kernel=1)


def summed_up(m: RandomModel, x: Any) -> Any:
    return m.ops.cumsum(x, axis=m.among(1, 2))


def recurrent(m: RandomModel, x: Any) -> Any:
    """A recurrent layer along every row."""
    return m.layers.TimeDistributed(m.layers.SimpleRNN(4, return_sequences=True))(x)


def distributed(m: RandomModel, x: Any) -> Any:
    """A layer of one axis for every row."""
    return m.layers.TimeDistributed(m.layers.Conv1D(4, 3, padding=m.among("same", "causal")))(x)


def doubled_rows(m: RandomModel, x: Any) -> Any:
    """Rows of two maps in turn."""
    height, width = x.shape[1:3]
    both = m.ops.stack([x, m.conv(x)], axis=2)
    return m.layers.Reshape((2 * height, width, 4))(both)


def normed(m: RandomModel, x: Any) -> Any:
    return m.among(m.layers.BatchNormalization(), m.layers.LayerNormalization(), m.layers.ReLU())(x)


_PARTS: tuple[Part, ...] = (
    convolution, convolution, depthwise, grouped, pooling, pooling, transposed, upsampling,
    resizing, padding, reflection, crop, crop_and_pad, centre_crop, residual, residual, branches,
    coarser_branch, coarser_branch, moved_copies, rolled, split_channels, split_concatenation,
    shuffled, halves_of_rows, halves_convolved, stacked_rows, focus, every_other, blocks_by_hand,
    out_of_channels, columns_out_of_channels, columns_into_channels, patches, turned, tokens,
    attended, mixed_tokens, of_rows, gate, gate_of_strips, gate_of_places, pyramid, condition,
    normed, flipped, repeated, tiled, summed_up, recurrent, distributed, doubled_rows,
)  # fmt: skip


_BLENDING = {"upsampling", "resizing", "coarser_branch", "pyramid"}


# --- the experiment --------------------------------------------------------------------------


def _images(axis: int, poison: float) -> Any:
    """Return one image per row or column, which is changed there, and the image itself."""
    length = SIZES[axis]
    plain = np.random.default_rng(0).uniform(0.5, 1.5, (1, *SIZES, CHANNELS))
    images = np.repeat(plain, length + 1, 0).astype("float32")
    for at in range(length):
        np.moveaxis(images[at], axis, 0)[at] *= poison
    return images


def _run(m: RandomModel, axis: int, poison: float) -> list[Any]:
    images = _images(axis, poison)
    inputs = [images] + [np.ones((len(images), 3), "float32")] * (len(m.inputs) - 1)
    made = m.model(inputs, training=False)
    return [
        m.ops.convert_to_numpy(one) for one in (made if isinstance(made, list | tuple) else [made])
    ]


def _flags(changed: Any, axis: int) -> Any:
    """Return which unit changes with which row, of any channel, wherever on the other axis."""
    return changed[:-1].any(axis=(3, 2 - axis)).T


def contradictions(keras: Any, seed: int) -> list[str]:
    """Return what an experiment says of a random model and the analysis does not.

    NaN reaches all that a unit reads, also what it weighs with 0 at the border of an image that is
    interpolated; a change reaches only what it sees, and is lost behind maxima at times. So no
    unit may see by NaN (by changes where maps are interpolated) what is not said, and where it is
    said exactly, one must see by NaN that much.
    """
    m = RandomModel(keras, seed)
    graph = create_graph_from_tensorflow_model(m.model, global_ops="count")
    nodes = {node.name: node for node in graph.all_layers}
    wrong: list[str] = []
    for axis in range(2):
        poisoned = [_flags(np.isnan(one), axis) for one in _run(m, axis, np.nan)]
        sees = poisoned
        if m.blends:
            changed = _run(m, axis, 7.0)
            sees = [_flags(~np.isclose(one, one[-1:], 1e-5, 1e-6), axis) for one in changed]
        for name, most, least in zip(m.made, poisoned, sees, strict=True):
            told = _compared(m, nodes[name], axis, most, least)
            wrong += [f"{name} {m.names}, axis {axis}: {one}" for one in told]
    return wrong


def _compared(
    m: RandomModel, node: EnrichedNetworkNode, axis: int, most: Flags, least: Flags
) -> Iterator[str]:
    """Yield what is wrong: ``most`` is what units may see, ``least`` what they are sure to."""
    units = (node.feature_map or (len(least),) * 2)[axis]
    whole = units == 1 and node.receptive_field_max[axis] == INF  # features of whole rows
    if units != len(least) and not whole:
        yield f"it has {len(least)} units, the analysis says {node.feature_map}"
    yield from contradicted(node, axis, most, least, m.unseen, m.reflects)
