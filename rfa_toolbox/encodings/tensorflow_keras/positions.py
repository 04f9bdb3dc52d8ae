"""What layers of Keras do to the positions of the image: windows, and where positions are after.

The dimensions of a tensor are followed by :mod:`rfa_toolbox.operators.layout`; this module puts
windows over them. A handler says "this window slides over dimension 1"; what that means for the
axes of the image, after whatever permutations, reshapes and slices came before, is found here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import attrs

from rfa_toolbox.domain import Certainty
from rfa_toolbox.encodings.tensorflow_keras.model_json import CallRecord, Shape, leaves
from rfa_toolbox.operators import layout as layouts
from rfa_toolbox.operators.layout import Atom, Dimension, Layout, Lost, plain
from rfa_toolbox.operators.windows import (
    NEUTRAL,
    Window,
    in_blocks,
    interpolation,
    mixed_windows,
    resampling,
)

__all__ = [
    "STAND_IN",
    "Effect",
    "FirstWindow",
    "LayerCall",
    "Value",
    "activated",
    "as_returned",
    "broadcasted",
    "carried",
    "channels_first",
    "combined",
    "concatenated",
    "contracted",
    "dimension_size",
    "first_window",
    "input_value",
    "keep",
    "mix",
    "normalised",
    "numbers_shape",
    "padding_of",
    "per_axis",
    "picked",
    "places_at",
    "pooled",
    "resampled",
    "resized",
    "settle",
    "shape_of",
    "side_by_side",
    "size_known",
    "slide",
    "sliding",
    "softmaxed",
    "spatial_dimensions",
    "stand_in_shape",
    "transposed",
    "unknown",
    "varies",
    "vector_windows",
    "whole_numbers",
    "widest",
    "with_leading",
    "without",
    "without_leading",
    "words",
]


@attrs.frozen(slots=True)
class Value:
    """A tensor on its way through the model.

    Attributes:
        step: number of the call that made it.
        layout: where its positions are.
        extents: size of that call's feature map along every axis.
        open: axes whose size the model leaves open; the sizes above are stand-ins there.
        pooled: whether it is what a layer that sees everything made of whole maps.
        guessed: whether the size of a dimension without positions is a stand-in.
        foreign: whether it comes only from inputs whose dimensions are no axes of the image.
        numbers: its own content, where it is the shape of a tensor.
        places: by axis the unit of that call's feature map that was picked where a dimension with
            positions was taken away; None if it is not known which.
        frames: per axis which output of which call brought units into an order that is not followed
            (mirrored, say); None is none. Units of one frame keep their distances.
        cropped: axes along which units were cut off.
        padded: axes along which padding lies where units were cut off.
    """

    step: int
    layout: Layout
    extents: tuple[int, ...] = ()
    open: frozenset[int] = frozenset()
    foreign: bool = False
    numbers: tuple[int, ...] | None = None
    pooled: bool = False
    guessed: bool = False
    places: Mapping[int, int | None] = attrs.field(factory=dict)
    frames: tuple[tuple[int, int] | None, ...] = ()
    cropped: frozenset[int] = frozenset()
    padded: frozenset[int] = frozenset()

    @property
    def placed(self) -> Layout:
        """Its layout, with a dimension in front for every place that was picked."""
        return tuple(
            (Lost(1, (axis,)) if unit is None else Atom(axis, 1, 1, unit),)
            for axis, unit in self.places.items()
        ) + self.layout  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of its dimensions."""
        return shape_of(self.layout)


@attrs.frozen(slots=True)
class LayerCall:
    """One call of a layer, as handlers get it.

    Attributes:
        record: the call in the model's JSON.
        values: the tensors that it reads, in order.
        arguments: its positional arguments, with values in place of tensors.
        keywords: its keyword arguments, likewise.
        probing: whether only the first sliding window of the model is searched for.
    """

    record: CallRecord
    values: tuple[Value, ...] = ()
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = attrs.field(factory=dict)
    probing: bool = False

    @property
    def name(self) -> str:
        """Unique name of the call, with the path of nested models."""
        return self.record.name

    @property
    def class_name(self) -> str:
        """Exact class of the layer, "package>Class" for those of others than Keras."""
        return self.record.kind

    @property
    def config(self) -> Mapping[str, Any]:
        """What the layer was made with."""
        return self.record.config

    @property
    def label(self) -> str:
        """What to call this kind of layer in pictures: the class, wrappers around it."""
        text = self.record.kind.rsplit(">", 1)[-1]
        for wrapper in reversed(self.record.wrappers):
            text = f"{wrapper.kind.rsplit('>', 1)[-1]}({text})"
        return text

    @property
    def value(self) -> Value:
        """The first tensor that it reads."""
        return self.values[0]

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the tensors that it reads, batch first."""
        return tuple(value.shape for value in self.values)

    def get(self, *names: str, default: Any = None) -> Any:
        """Return an argument under one of its names, from the call or from the configuration."""
        for source in (self.keywords, self.config):
            for name in names:
                if source.get(name) is not None:
                    return source[name]
        return default

    def tensor(self, name: str, place: int) -> Value | None:
        """Return a tensor argument by its name, or by its place among all tensors."""
        found = self.keywords.get(name)
        if isinstance(found, Value):
            return found
        positional = [one for one in leaves(self.arguments) if isinstance(one, Value)]
        return positional[place] if place < len(positional) else None


@attrs.frozen(slots=True)
class Effect:
    """What one call does to the positions of the tensor that it works on.

    Attributes:
        base: that tensor; windows are measured on its feature map.
        layouts: where positions are in each output. They may skip units of the feature map; the
            stride follows from that.
        windows: per axis of the image; axes that are missing are left alone.
        blockwise: whether the windows stand still, as those of attention do.
        ignored_global: whether it depends on the whole image in a way that does not count.
        position_dependent: whether it does something else at other places of the image, or on
            images of another size.
        statistics: by axis the window that its statistics are taken from, if that ever counts.
        opens: whether sizes stay open where they were.
        product: whether the outputs are the product of several tensors.
        terms: tensors that are multiplied, with a name per dimension; dimensions that are summed
            over have a name in common that the outputs do not have.
        numbers: content of the output, where it is a shape.
        places: per output, by axis the unit of the feature map that was picked, or None, as of a
            value; those of ``base`` if empty. Where the output still carries the axis, the unit
            that its first position is counted from.
        turned: axes along which units come in an order that is not followed.
        unaligned: axes along which the tensors do not lie upon each other at constant distances.
        seams: by axis, where parts of maps are put side by side, per tensor by how many units its
            map is ahead of that of the first one.
    """

    base: Value
    layouts: tuple[Layout, ...]
    windows: Mapping[int, Window] = attrs.field(factory=dict)
    filters: int | None = None
    units: int | None = None
    certainty: Certainty = "exact"
    reason: str = ""
    blockwise: bool = False
    resolution_dependent: bool = False
    ignored_global: bool = False
    position_dependent: bool = False
    statistics: Mapping[int, Window] = attrs.field(factory=dict)
    opens: bool = True
    product: bool = False
    terms: Sequence[tuple[Value, Sequence[str]]] = ()
    numbers: tuple[int, ...] | None = None
    places: Sequence[Mapping[int, int | None]] = ()
    turned: frozenset[int] = frozenset()
    unaligned: frozenset[int] = frozenset()
    seams: Mapping[int, Sequence[int]] = attrs.field(factory=dict)


class FirstWindow(Exception):  # noqa: N818 - a message to the caller, not an error
    """Tells what the first window of a model takes for channels, and what it slides over.

    Args:
        channels: axes in the dimension of the channels, the likeliest one first.
        axes: axes that the window runs over.
    """

    def __init__(self, channels: tuple[int, ...], axes: tuple[int, ...]) -> None:
        super().__init__(channels, axes)
        self.channels = channels
        self.axes = axes


def words(text: str) -> list[str]:
    """Return the words of a text, as a table of names is best read.

    >>> words("Add Multiply")
    ['Add', 'Multiply']
    """
    return text.split()


# --- sizes -----------------------------------------------------------------------------------


def dimension_size(dimension: Dimension) -> int:
    """Return the size of a dimension.

    >>> dimension_size((Atom(0, 8), Atom(None, 3)))
    24
    """
    return math.prod(piece.size for piece in dimension)


def shape_of(layout: Layout) -> tuple[int, ...]:
    """Return the sizes of all dimensions of a tensor."""
    return tuple(map(dimension_size, layout))


def resized(dimension: Dimension, size: int) -> Dimension:
    """Return a dimension that turned out to have another size; positions stay in their order."""
    if dimension_size(dimension) == size:
        return dimension
    axes = layouts.axes_of(dimension)
    if not axes:
        return plain(size)
    if len(dimension) == 1 and type(dimension[0]) is Atom:
        return (dimension[0]._replace(size=size),)
    return (Lost(size, axes),)


def per_axis(value: Any, count: int) -> tuple[Any, ...]:
    """Return one value per dimension; a single one counts for all.

    >>> per_axis(3, 2), per_axis([3, 5], 2)
    ((3, 3), (3, 5))
    """
    if isinstance(value, list | tuple):
        return tuple(value) if len(value) == count else (value[0],) * count
    return (value,) * count


def whole_numbers(value: Any, count: int, name: str, least: int = 1) -> tuple[int, ...]:
    """Return one whole number per dimension, as sizes and strides of windows are.

    Raises:
        ValueError: if there are too few or too many, or one is no number or too small.

    >>> whole_numbers([2, 2.0], 2, "strides"), whole_numbers(3, 2, "kernel_size")
    ((2, 2), (3, 3))
    """
    several = value if isinstance(value, list | tuple) else (value,) * count
    if len(several) != count or not all(
        isinstance(one, int | float) and type(one) is not bool and one >= least and one % 1 == 0
        for one in several
    ):
        kind = "a positive whole number" if least == 1 else f"a whole number from {least} on"
        raise ValueError(f"{name} is {value!r}; expected is {kind}, or a list of {count}")
    return tuple(int(one) for one in several)


def padding_of(call: LayerCall) -> str:
    """Return the padding of a layer with windows.

    Raises:
        ValueError: if Keras has none of that name.
    """
    found = call.get("padding", default="valid")
    padding = str(found).lower()
    if padding not in ("valid", "same", "causal"):
        raise ValueError(f"padding is {found!r}; expected is 'valid', 'same' or 'causal'")
    return padding


def spatial_dimensions(call: LayerCall, value: Value, count: int) -> tuple[range, int] | None:
    """Return the spatial dimensions and that of the channels; None if the tensor has too few."""
    rank = len(value.layout)
    if rank < count + 2:
        return None
    if channels_first(call):
        return range(rank - count, rank), rank - count - 1
    return range(rank - 1 - count, rank - 1), rank - 1


def channels_first(call: LayerCall) -> bool:
    """Return whether the channels lie in front of the spatial dimensions.

    Raises:
        ValueError: if the data format is none of Keras or TensorFlow.
    """
    name = call.get("data_format", default="channels_last")
    if name in ("channels_first", "NCHW", "NCW", "NCDHW"):
        return True
    if name in ("channels_last", "default", "NHWC", "NWC", "NDHWC"):
        return False
    raise ValueError(f"data_format is {name!r}; expected is 'channels_last' or 'channels_first'")


def first_window(
    call: LayerCall, value: Value, dimensions: Iterable[int], channel: int | None
) -> FirstWindow:
    """Return what the first window of a model tells of the dimensions of its input.

    Where channels and positions share a dimension, the channels are those that the data format
    of the layer puts last, or first.
    """
    channels = () if channel is None else layouts.axes_of(value.layout[channel])
    return FirstWindow(
        tuple(sorted(channels, reverse=not channels_first(call))), _axes_under(value, dimensions)
    )


def size_known(value: Value, place: int) -> bool:
    """Return whether the size of a dimension is written in the model."""
    return not value.open.intersection(layouts.axes_of(value.layout[place]))


# --- windows ---------------------------------------------------------------------------------


def sliding(
    kernel: int, stride: int, dilation: int, padding: str, size: int, known: bool
) -> tuple[Window, int]:
    """Return the window of a convolution or pooling, and the size of its output.

    Padding 'same' gives ``ceil(size / stride)`` units and puts the smaller half in front; with a
    stride it depends on the size, and is left open where that is not ``known``. 'causal' pads
    only in front. Source: the guide to padding of TensorFlow's ``tf.nn.convolution``.

    >>> sliding(3, 2, 1, "same", 224, True)
    (Window(kernel=3, stride=2, dilation=1, begin=0, end=1, upsampling=1), 112)
    """
    reach = dilation * (kernel - 1)
    if padding == "causal":
        return Window(kernel, stride, dilation, reach, 0), max(1, (size - 1) // stride + 1)
    if padding == "same":
        count = max(1, -(-size // stride))
        total = max((count - 1) * stride + reach + 1 - size, 0)
        begin: int | None = total // 2
        end: int | None = total - total // 2
        if stride > 1 and reach > 0 and not known:
            begin = end = None
        return Window(kernel, stride, dilation, begin, end), count
    return Window(kernel, stride, dilation), max(1, (size - reach - 1) // stride + 1)


def transposed(
    kernel: int, stride: int, dilation: int, padding: str, extra: int | None, size: int
) -> tuple[Window, int]:
    """Return the window of a transposed convolution, and the size of its output.

    It slides over the grid with ``stride - 1`` zeros between the units. ``extra`` is Keras'
    ``output_padding``. In front lies what the convolution that it transposes had not padded.

    >>> transposed(4, 2, 1, "same", None, 8)
    (Window(kernel=4, stride=1, dilation=1, begin=2, end=2, upsampling=2), 16)
    """
    reach = dilation * (kernel - 1)
    fine = (size - 1) * stride + 1
    if extra is not None:
        half = (reach + 1) // 2 if padding == "same" else 0
        count = fine + reach - 2 * half + extra
    else:
        count = size * stride if padding == "same" else fine + max(reach, stride - 1)
    total = max(fine + reach - count, 0) if padding == "same" else 0
    begin = reach - total // 2
    return Window(kernel, 1, dilation, begin, count + reach - fine - begin, stride), count


# --- effects ---------------------------------------------------------------------------------


def keep(call: LayerCall, layout: Layout | None = None, **facts: Any) -> Effect:
    """Return the effect of a layer in which every position sees only itself."""
    base = widest(call.values)
    return Effect(base, (base.layout if layout is None else layout,), **facts)


def widest(values: Iterable[Value]) -> Value:
    """Return the tensor that carries most axes, of which a layer with several ones is told."""
    return max(values, key=lambda value: len(layouts.spatial_axes(value.layout)))


def normalised(call: LayerCall, dimensions: Iterable[int]) -> Effect:
    """Return the effect of a norm with statistics over some dimensions of a tensor."""
    effect = keep(call)
    value = effect.base
    statistics = mixed_windows(value.layout, dimensions, value.extents)
    return attrs.evolve(effect, ignored_global=bool(statistics), statistics=statistics)


def carried(layout: Sequence[Dimension], places: Iterable[int]) -> bool:
    """Return whether some dimensions, counted as Python does, hold positions of the image."""
    return any(layouts.axes_of(layout[place]) for place in places)


def numbers_shape(constant: Any) -> tuple[int, ...]:
    """Return the shape of numbers in the JSON: nested lists, or an array of some library.

    >>> numbers_shape({"class_name": "__numpy__", "config": {"value": [[1.0, 2.0]]}})
    (1, 2)
    """
    if isinstance(constant, Mapping):
        constant = constant.get("config", constant)
        constant = constant.get("value") if isinstance(constant, Mapping) else constant
    sizes = []
    while isinstance(constant, list | tuple) and constant:
        sizes.append(len(constant))
        constant = constant[0]
    return tuple(sizes)


def _constants(argument: Any) -> Iterable[Layout]:
    """Yield the layouts of the constants in an argument; none of them holds positions."""
    if isinstance(argument, list | tuple) and any(
        isinstance(one, Value | Mapping) for one in argument
    ):
        for one in argument:
            yield from _constants(one)
    elif not isinstance(argument, Value):
        yield tuple(map(plain, numbers_shape(argument)))


def varies(call: LayerCall, layout: Layout) -> bool:
    """Return whether a map is combined with something else that is as large, or with its size.

    Constants, and tensors that are not made of the image, then tell places of it apart.

    Args:
        call: the call of an operation whose operands are broadcast.
        layout: that of its result.
    """
    inside = call.config.get("constants")  # of operations that TensorFlow 1 made
    given = [*call.arguments, *call.keywords.values()]
    given += inside.values() if isinstance(inside, Mapping) else ()
    operands = [value.layout for value in call.values]
    operands += [one for argument in given for one in _constants(argument)]
    sized = any(value.numbers is not None for value in call.values)
    return (sized and carried(layout, range(len(layout)))) or any(
        dimension_size(mine) > 1 and not layouts.axes_of(mine) and layouts.axes_of(common)
        for operand in operands
        for mine, common in zip(reversed(operand), reversed(layout), strict=False)
    )


def unknown(call: LayerCall, reason: str, layout: Layout | None = None) -> Effect:
    """Return the effect of a layer that nothing knows: counted as neutral, and said so."""
    return keep(call, layout, certainty="unknown", reason=reason)


def mix(value: Value, dimensions: Iterable[int], layout: Layout, **facts: Any) -> Effect:
    """Return the effect of a layer that lets all of some dimensions see each other."""
    return Effect(value, (layout,), mixed_windows(value.layout, dimensions, value.extents), **facts)


def vector_windows(value: Value) -> dict[int, Window]:
    """Return the windows of a dense layer on what is left of whole maps: it sees everything."""
    if not value.pooled:
        return {}
    return dict.fromkeys(range(len(value.extents)), Window(math.inf))


def slide(
    call: LayerCall,
    value: Value,
    windows: Mapping[int, tuple[Window, int]],
    mixed: Mapping[int, int] | None = None,
    channel: int | None = None,
    **facts: Any,
) -> Effect:
    """Return the effect of windows that slide over some dimensions of a tensor.

    Args:
        call: the call of the layer.
        value: the tensor.
        windows: per dimension its window, and its size behind the layer.
        mixed: dimensions that the layer mixes wholly (channels), with their size behind it.
        channel: the dimension that it takes for channels, if there is one.
        facts: further attributes of the effect.
    """
    if call.probing and layouts.spatial_axes(value.layout):
        raise first_window(call, value, windows, channel)
    layout = list(value.layout)
    found = mixed_windows(value.layout, mixed or (), value.extents)
    for place, size in (mixed or {}).items():
        layout[place] = plain(size)
    for place, (window, size) in windows.items():
        pieces = layout[place]
        axes = layouts.axes_of(pieces)
        if not axes:
            if value.foreign and dimension_size(pieces) > 1 and window != NEUTRAL:
                facts = {
                    "certainty": "unknown",
                    "reason": "its window slides over an input whose dimensions are not those of "
                    "the image, and counts as neutral",
                    **facts,
                }
            layout[place] = plain(size)
        elif window == NEUTRAL and size == dimension_size(pieces):
            continue
        else:
            moved = _windowed(found, value.layout, place, window, size)
            if moved is None:
                found.update(dict.fromkeys(axes, Window(math.inf)))
                facts = {
                    **facts,
                    "certainty": "bound",
                    "reason": "its window slides over a dimension in which positions are not in "
                    "one run; counted as seeing everything",
                }
            layout[place] = moved or (Lost(size, axes),)
    return Effect(value, (tuple(layout),), found, **facts)


def broadcasted(values: Sequence[Value]) -> Layout:
    """Return the layout of an element-wise result."""
    rank = max(len(value.layout) for value in values)
    shape = [
        max(value.shape[-back] for value in values if back <= len(value.layout))
        for back in range(rank, 0, -1)
    ]
    return layouts.broadcast([value.layout for value in values], shape)


def combined(
    call: LayerCall, layout: Layout, several: Sequence[Layout] | None = None, **facts: Any
) -> Effect:
    """Return the effect of tensors that meet unit by unit.

    Args:
        call: the call of the layer.
        layout: that of its result.
        several: those of the tensors, if not as they are.
        facts: further attributes of the effect.
    """
    if several is None:
        several = [value.layout for value in call.values]
    crossed = layouts.crossed(several)
    return keep(
        call, layout, windows=dict.fromkeys(crossed, Window(math.inf)),
        unaligned=frozenset(layouts.unaligned(several) - crossed), **facts,
    )  # fmt: skip


def concatenated(call: LayerCall, axis: int, **facts: Any) -> Effect:
    """Return the effect of putting tensors one after another along one dimension."""
    rank = len(call.value.layout)
    if any(len(value.layout) != rank for value in call.values):
        return unknown(call, f"it puts together tensors of the shapes {call.input_shapes!r}")
    axis %= rank
    layout = list(broadcasted(call.values))
    runs = [
        _run_of(value.layout[axis]) if value.layout[axis] else picked(value)
        for value in call.values
    ]
    seams: dict[int, list[int]] = {}
    row = side_by_side(call, runs)
    if row is None:
        layout[axis] = layouts.join([value.layout[axis] for value in call.values])
    else:
        (carrying, offsets, layout[axis]) = row
        seams[carrying] = offsets
    dependent = varies(call, tuple(layout)) or carried(layout, (axis,))
    rest = [(*value.layout[:axis], (), *value.layout[axis + 1 :]) for value in call.values]
    if any(value.padded.intersection(seams) for value in call.values):
        facts = {"certainty": "bound", "reason": _PADDED_AT_SEAMS, **facts}
    return combined(
        call, tuple(layout), rest, position_dependent=dependent, seams=seams,
        places=[without(call, seams)], **facts,
    )  # fmt: skip


_PADDED_AT_SEAMS = "it puts parts of a map side by side that were padded where they were cut"


def picked(value: Value) -> Atom | None:
    """Return the only place that was picked of a map, as a run of one unit."""
    if len(value.places) != 1:
        return None
    ((axis, unit),) = value.places.items()
    return None if unit is None else Atom(axis, 1, 1, unit)


def places_at(value: Value, place: int, index: int) -> dict[int, int | None]:
    """Return which unit an index into a dimension picks, by axis; None where it is not followed."""
    dimension = value.layout[place]
    at = index % dimension_size(dimension)
    atom = _run_of(layouts.slice_dimension(dimension, at, at + 1))
    if atom is None or atom.axis is None:
        return dict.fromkeys(layouts.axes_of(dimension))
    return {atom.axis: atom.origin}


def without(call: LayerCall, axes: Collection[int]) -> dict[int, int | None]:
    """Return the places of the tensor that a call works on, but for those of some axes."""
    places = widest(call.values).places
    return {axis: unit for axis, unit in places.items() if axis not in axes}


def _run_of(dimension: Dimension) -> Atom | None:
    """Return the only run of positions in a dimension."""
    atom = dimension[0] if len(dimension) == 1 else None
    return atom if type(atom) is Atom and atom.axis is not None else None


def side_by_side(
    call: LayerCall, runs: Sequence[Atom | None]
) -> tuple[int, list[int], Dimension] | None:
    """Return what becomes of runs of positions of one axis that are put one after another.

    Returns:
        the axis, per run by how many units its map is ahead of that of the first one, and the
        dimension that they make; None if they are no simple runs.
    """
    known = [one for one in runs if one is not None]
    if len(known) < len(call.values) or len({one.axis for one in known}) > 1:
        return None
    first = known[0]
    steps = {one.step for one in known if one.size > 1}
    if len({value.step for value in call.values}) == 1:
        # Parts of one map, the picked places of which may be some units apart.
        steps |= {known[1].origin - first.origin} if len(known) > 1 and not steps else set()
    else:
        steps |= {1}
    step = steps.pop() if len(steps) == 1 else 0
    if step < 1 or (step > 1 and len({value.step for value in call.values}) > 1):
        return None
    begin = 0
    offsets = []
    for one in known:
        offsets.append(one.origin - first.origin - begin * step)
        begin += one.size
    assert first.axis is not None  # noqa: S101 - so says _run_of
    return first.axis, offsets, (Atom(first.axis, begin, step, first.origin),)


def contracted(
    terms: Sequence[tuple[Value, Sequence[str]]], result: Sequence[str], **facts: Any
) -> Effect:
    """Return the effect of a product that sums over the letters that are not in the result."""
    windows: dict[int, Window] = {}
    for value, letters in terms:
        summed = [place for place, letter in enumerate(letters) if letter not in result]
        for axis, window in mixed_windows(value.layout, summed, value.extents).items():
            if axis not in windows or window.reach > windows[axis].reach:
                windows[axis] = window
    layout: list[Dimension] = []
    for letter in result:
        candidates = [
            value.layout[letters.index(letter)] for value, letters in terms if letter in letters
        ]
        candidates.sort(key=lambda one: (not layouts.axes_of(one), -dimension_size(one)))
        layout.append(candidates[0] if candidates else ())
    base = widest(value for value, _ in terms)
    for axis in layouts.crossed(
        [
            tuple(
                value.layout[letters.index(letter)] if letter in letters else ()
                for letter in result
            )
            for value, letters in terms
        ]
    ):
        windows[axis] = Window(math.inf)
    uneven = any(
        letter in letters
        and dimension_size(value.layout[letters.index(letter)]) > 1
        and not layouts.axes_of(value.layout[letters.index(letter)])
        for letter, dimension in zip(result, layout, strict=True)
        if layouts.axes_of(dimension)
        for value, letters in terms
    )
    free = all(letter in result for _, letters in terms for letter in letters)
    return Effect(
        base, (tuple(layout),), windows, product=free, blockwise=in_blocks(windows),
        terms=() if free else terms, position_dependent=uneven, **facts,
    )  # fmt: skip


def pooled(
    call: LayerCall,
    value: Value,
    dimensions: Sequence[int],
    channel: int | None,
    sizes: Sequence[int],
    strides: Sequence[int],
    padding: str,
) -> Effect:
    """Return the effect of a pooling over some dimensions, as a layer or as an operation."""
    windows = {
        place: sliding(
            size,
            stride,
            1,
            padding,
            dimension_size(value.layout[place]),
            size_known(value, place),
        )
        for place, size, stride in zip(dimensions, sizes, strides, strict=True)
    }
    return slide(call, value, windows, channel=channel)


def softmaxed(call: LayerCall, value: Value, axis: Any) -> Effect:
    """Return the effect of a softmax, which mixes the dimensions that it normalises.

    The scores of an attention have their axis in another dimension too; the product with the
    values that follows does the mixing, and counting both would count the same window twice.
    """
    mixed = _normalised(value.layout, axis)
    return keep(call) if not mixed else mix(value, mixed, value.layout)


def _normalised(layout: Layout, axis: Any) -> list[int]:
    """Return the dimensions that a softmax mixes and whose positions lie in no other one too."""
    rank = len(layout)
    if axis is None:
        places = list(range(1, rank))
    else:
        places = [one % rank for one in (axis if isinstance(axis, list | tuple) else (axis,))]
    outside = {
        carried
        for place, dimension in enumerate(layout)
        if place not in places
        for carried in layouts.axes_of(dimension)
    }
    return [one for one in places if not outside.issuperset(layouts.axes_of(layout[one]))]


_MIXING_ACTIVATIONS = {"softmax", "logsoftmax", "sparsemax", "glu"}


def activated(call: LayerCall, effect: Effect) -> Effect:
    """Return the effect of a layer together with that of the activation in its configuration.

    Nearly all activations are neutral. A softmax works on one dimension, the last one unless it
    says otherwise, whatever the layer takes for channels; with positions there, it mixes them.
    """
    if call.record.operation or not effect.layouts:
        return effect
    for name in ("activation", "recurrent_activation"):
        kind, axis = _activation(call.config.get(name))
        if kind in _MIXING_ACTIVATIONS:
            return _mixed_behind(effect, axis, kind == "glu")
    return effect


def _activation(value: Any) -> tuple[str, Any]:
    """Return the name of an activation and its axis, from any form in which Keras stores it."""
    axis: Any = -1
    if isinstance(value, Mapping):
        config = value.get("config")
        if isinstance(config, Mapping):
            axis = config.get("axis", -1)
            value = config.get("name") if value.get("class_name") == "function" else value
        elif isinstance(config, str):
            value = config
    if isinstance(value, Mapping):
        value = value.get("class_name")
    return str(value).rsplit(">", 1)[-1].rsplit(".", 1)[-1].replace("_", "").lower(), axis


def _mixed_behind(effect: Effect, axis: Any, halved: bool) -> Effect:
    """Return an effect whose first output has some dimensions mixed."""
    layout = effect.layouts[0]
    extents = list(effect.base.extents)
    for one, atoms in layouts.runs_by_axis(layout).items():
        distinct = {atom.step: atom for atom in atoms}.values()
        extents[one] = sum((atom.size - 1) * atom.step for atom in distinct) + 1
    windows = dict(effect.windows)
    for one, mixed in mixed_windows(layout, _normalised(layout, axis), extents).items():
        before = windows.get(one, NEUTRAL)
        if before.upsampling > 1 or mixed.kernel == math.inf:
            windows[one] = Window(math.inf, upsampling=before.upsampling)
        elif before.kernel == 1:
            windows[one] = mixed
        else:
            windows[one] = Window(1 + before.reach + mixed.reach)
    if halved:
        place = axis % len(layout)
        half = layouts.slice_dimension(layout[place], 0, dimension_size(layout[place]) // 2)
        layout = (*layout[:place], half, *layout[place + 1 :])
    return attrs.evolve(effect, windows=windows, layouts=(layout, *effect.layouts[1:]))


def resampled(
    call: LayerCall,
    value: Value,
    wanted: Mapping[int, int | None],
    method: str | None = None,
    antialias: bool = False,
    whole: bool = True,
    channel: int | None = None,
    placed: bool = True,
    **facts: Any,
) -> Effect:
    """Return the effect of giving dimensions another size, by interpolation or adaptive pooling.

    Args:
        call: the call of the layer.
        value: the tensor.
        wanted: per dimension its new size; None leaves it.
        method: how to interpolate; None is adaptive pooling.
        antialias: whether the interpolation blurs before it makes the image smaller.
        whole: whether size 1 means to see everything.
        channel: the dimension that the layer takes for channels, if there is one.
        placed: whether nothing is cut off or put around beforehand.
        facts: further attributes of the effect.
    """
    windows: dict[int, tuple[Window, int]] = {}
    everything: list[int] = []
    for place, count in wanted.items():
        size = dimension_size(value.layout[place])
        if count is None:
            continue
        if whole and count == 1:
            everything.append(place)
        elif not size_known(value, place):
            windows[place] = (Window(math.inf, begin=None, end=None), count)
            facts = {
                **facts,
                "certainty": "bound",
                "reason": "the model leaves the size of its input open, so that the window of "
                f"{call.class_name} is not known; counted as seeing everything",
            }
        elif method is None:
            windows[place] = (resampling(size, count), count)
        else:
            ratio = Fraction(size, count)
            # Keras looks from the centre of a unit, as TensorFlow does since 2.0.
            exact = "nearest-exact" if method == "nearest" else method
            window = interpolation(exact, ratio, antialias)
            windows[place] = (window if placed else window._replace(begin=None, end=None), count)
            if 1 not in (ratio.numerator, ratio.denominator) and layouts.axes_of(
                value.layout[place]
            ):
                facts = {
                    "certainty": "bound",
                    "reason": f"{call.class_name} changes the size by a factor that is not whole, "
                    "so that what a unit sees differs from place to place; counted is the most",
                    **facts,
                }
    moving = any(layouts.axes_of(value.layout[place]) for place in windows)
    effect = slide(
        call,
        value,
        windows,
        channel=channel,
        opens=False,
        resolution_dependent=moving,
        **facts,
    )
    (layout,) = effect.layouts
    return attrs.evolve(
        effect,
        windows={**effect.windows, **mixed_windows(value.layout, everything, value.extents)},
        layouts=(tuple(() if at in everything else one for at, one in enumerate(layout)),),
    )


def _axes_under(value: Value, dimensions: Iterable[int]) -> tuple[int, ...]:
    """Return the axes that dimensions carry, if each carries one and all of it."""
    axes: list[int] = []
    for place in dimensions:
        pieces = value.layout[place]
        if len(pieces) != 1 or type(pieces[0]) is not Atom or pieces[0].axis is None:
            return ()
        if pieces[0].size != value.extents[pieces[0].axis]:
            return ()
        axes.append(pieces[0].axis)
    return tuple(axes)


def _windowed(
    found: dict[int, Window], layout: Layout, place: int, window: Window, size: int
) -> Dimension | None:
    """Put a window over a run of positions together with what is mixed on the same axis.

    Returns the dimension behind the window, or None where that cannot be told exactly.
    """
    pieces = layout[place]
    atom = pieces[0]
    if type(atom) is not Atom or atom.axis is None:
        return None
    repeated = 1
    if len(pieces) == 2 and type(pieces[1]) is Atom and pieces[1].axis is None:
        repeated = pieces[1].size  # every position stands there several times: up-sampling
    elif len(pieces) > 1:
        return None
    axis = atom.axis
    others = [
        one
        for index, dimension in enumerate(layout)
        if index != place
        for one in dimension
        if axis in layouts.axes_of((one,)) and one.size > 1
    ]
    if repeated > 1:
        if window.upsampling > 1:
            return None
        window = _repeated(window, repeated)
    if window.upsampling > 1 and (atom.step > 1 or others or axis in found):
        return None
    begin, end = (None if side is None else side * atom.step for side in (window.begin, window.end))
    mixed = found.get(axis)
    if mixed is None:
        found[axis] = window._replace(
            stride=1, dilation=window.dilation * atom.step, begin=begin, end=end
        )
    else:
        found[axis] = Window(1 + window.reach * atom.step + mixed.reach, begin=begin, end=end)
    return (Atom(axis, size, atom.step * window.stride, atom.origin * window.upsampling),)


# --- from one feature map to the next --------------------------------------------------------


def settle(
    effect: Effect, axes: int, step: int, told: int | None = None
) -> tuple[tuple[Window, ...], list[Value]]:
    """Return the windows of a call on all axes with their strides, and the values it makes.

    Where positions of the outputs skip units of the feature map that the call read, that is its
    stride, and distances are counted in the new units from here on. An offset is padding. Of
    several outputs the windows are those of number ``told``, or of all of them as one map.
    """
    base = effect.base
    complete = [effect.windows.get(axis, NEUTRAL) for axis in range(axes)]
    results = list(effect.layouts)
    extents = [list(base.extents) for _ in results]
    given = effect.places or [base.places] * len(results)
    places = [dict(one) for one in given]
    for axis, window in enumerate(complete):
        if window.kernel == math.inf:
            for one in places:
                one.pop(axis, None)
        spans = [
            _span(layout, axis, one.get(axis)) for layout, one in zip(results, places, strict=True)
        ]
        known = [span for span in spans if span is not None]
        if not known:
            continue
        common = math.gcd(*(one for _, _, one in known)) or 1
        origin, last = min(one for one, _, _ in known), max(one for _, one, _ in known)
        returned = None if told is None else spans[told]
        if returned is not None:
            origin, last, _ = returned
        complete[axis] = _moved(window, common, origin, last, base.extents[axis])
        for number, span in enumerate(spans):
            if span is None:
                continue
            first, end, _ = span
            extents[number][axis] = (end - first) // common + 1
            carrying = axis in layouts.spatial_axes(results[number])
            if carrying and (common > 1 or first):
                results[number] = layouts.rescale(
                    results[number], axis, common, (first - origin) // common
                )
            if carrying:
                places[number].pop(axis, None)
            else:
                places[number][axis] = first - origin
    positions = any(layouts.spatial_axes(layout) for layout in results)
    pooled = not positions and (
        base.pooled or any(window.kernel == math.inf for window in complete)
    )
    values = [
        Value(
            step,
            layout,
            tuple(extents[number]),
            base.open if effect.opens else base.open - frozenset(effect.windows),
            base.foreign,
            effect.numbers,
            pooled,
            places=places[number],
            frames=_frames(effect, complete, (step, number)),
        )
        for number, layout in enumerate(results)
    ]
    return tuple(complete), values


def _frames(
    effect: Effect, windows: Sequence[Window], new: tuple[int, int]
) -> tuple[tuple[int, int] | None, ...]:
    """Return the frames that units are in behind a call; a new one where they are moved in theirs.

    What is put where in a frame cannot be told from windows, which are not known there.
    """
    found: list[tuple[int, int] | None] = []
    for axis, window in enumerate(windows):
        before = effect.base.frames[axis] if effect.base.frames else None
        if window.kernel == math.inf:
            found.append(None)
        elif axis in effect.turned or not (before is None or _stays(window)):
            found.append(new)
        else:
            found.append(before)
    return tuple(found)


def _stays(window: Window) -> bool:
    """Return whether every unit looks around its own place, on both sides alike."""
    sliding = window.stride, window.upsampling
    return sliding == (1, 1) and window.begin is not None and 2 * window.begin == window.reach


def as_returned(effect: Effect, told: int) -> Effect:
    """Return the effect of the last call of a model so that it describes what the model returns.

    That is its output of number ``told``.

    Blocks of positions whose places were put into channels become units, and so do positions of
    which each stands there several times. Where the axes of the image are not in their order, one
    per dimension, nobody can put tiles together along them.
    """
    free = [axis for axis in range(len(effect.base.extents)) if axis not in effect.windows]
    layout, blocks = layouts.as_blocks(effect.layouts[told], free)
    windows = {axis: Window(size) for axis, size in blocks.items()}
    whole = []
    for dimension in layout:
        atom, *rest = dimension or (None,)
        if type(atom) is Atom and atom.axis in free and atom.axis not in windows:
            several = rest[0] if len(rest) == 1 else None
            if type(several) is Atom and several.axis is None and several.size > 1:
                fine = _repeated(NEUTRAL, several.size)
                if atom.step == 1:
                    windows[atom.axis] = fine
                    size = atom.size * several.size
                    dimension = (Atom(atom.axis, size, 1, atom.origin * several.size),)  # noqa: PLW2901
        whole.append(dimension)
    order = [layouts.axes_of(dimension) for dimension in whole if layouts.axes_of(dimension)]
    simple = all(len(dimension) == 1 or not layouts.axes_of(dimension) for dimension in whole)
    tiled = simple and order == sorted(set(order)) and all(len(one) == 1 for one in order)
    return attrs.evolve(
        effect,
        layouts=(*effect.layouts[:told], tuple(whole), *effect.layouts[told + 1 :]),
        windows={**effect.windows, **windows},
        position_dependent=effect.position_dependent or not tiled,
    )


def _repeated(window: Window, times: int) -> Window:
    """Return a window over a map of which every unit stands there several times in a row."""
    return window._replace(
        kernel=times + window.reach,
        dilation=1,
        upsampling=times,
        begin=None if window.begin is None else window.begin + times - 1,
        end=None if window.end is None else window.end + times - 1,
    )


def _span(layout: Layout, axis: int, place: int | None) -> tuple[int, int, int] | None:
    """Return the first and the last unit along an axis, and the step between neighbours."""
    atoms = layouts.runs_by_axis(layout).get(axis, ())
    if not atoms:
        return None if place is None else (place, place, 0)
    distinct = {atom.step: atom for atom in reversed(atoms)}.values()
    first = sum(atom.origin for atom in distinct) + (place or 0)
    last = first + sum((atom.size - 1) * atom.step for atom in distinct)
    return first, last, math.gcd(*(atom.step for atom in distinct))


def _moved(window: Window, common: int, origin: int, last: int, extent: int) -> Window:
    """Return a window with the stride and the offset that the positions behind it show."""
    if common == 1 and origin == 0 and window != NEUTRAL:
        return window
    if window.kernel == 1 and window.upsampling == 1 and (window.begin, window.end) == (0, 0):
        # Rows that a stride leaves over at the end are no cropping.
        left = min(0, last + 1 - extent)
        end = left if -left >= common else 0
        return window._replace(stride=common, begin=-origin, end=end)
    begin = None if window.begin is None else window.begin - origin
    return window._replace(stride=window.stride * common, begin=begin)


# --- layers that are applied to every step of a sequence --------------------------------------


def with_leading(value: Value, count: int) -> Value:
    """Return a value with its first ``count + 1`` dimensions as one, as TimeDistributed sees it."""
    first = tuple(piece for dimension in value.layout[: count + 1] for piece in dimension)
    return attrs.evolve(value, layout=(first, *value.layout[count + 1 :]))


def without_leading(effect: Effect, leading: Sequence[Dimension]) -> Effect:
    """Return an effect with the first dimension split again into those that it was made of."""
    return attrs.evolve(effect, layouts=tuple((*leading, *one[1:]) for one in effect.layouts))


# --- stand-ins -------------------------------------------------------------------------------

STAND_IN = 512
"""The size of a dimension that the model leaves open; halved often without a rest."""


def stand_in_shape(kinds: Sequence[str], config: Mapping[str, Any]) -> Shape:
    """Return the shape of an input that the model does not tell, from the layers that follow.

    >>> stand_in_shape(["Rescaling", "Conv2D"], {})
    (None, None, None, None)
    """
    first = kinds[0] if kinds else ""
    if first == "Embedding":
        return (None, None)
    if first == "Reshape" and all(
        type(one) is int and one > 0 for one in config.get("target_shape", (None,))
    ):
        return (None, math.prod(config["target_shape"]))
    for kind in kinds:
        counted = re.search(r"([123])D", kind)
        if counted:
            return (None,) * (int(counted[1]) + (3 if kind.startswith("ConvLSTM") else 2))
        if kind in ("LSTM", "GRU", "SimpleRNN", "RNN", "MultiHeadAttention", "Attention"):
            return (None, None, None)
    return (None, None)


def input_value(step: int, shape: Shape, spatial: Sequence[int], axes: int) -> Value:
    """Return the value of a model's input; ``spatial`` are its spatial dimensions in axis order."""
    sizes = [
        one if one is not None else 1 if place == 0 else STAND_IN for place, one in enumerate(shape)
    ]
    extents = [1] * axes
    for axis, place in enumerate(spatial):
        extents[axis] = sizes[place]
    opened = frozenset(axis for axis, place in enumerate(spatial) if shape[place] is None)
    guessed = any(one is None for place, one in enumerate(shape) if place and place not in spatial)
    foreign = not spatial and len(shape) > 2
    return Value(
        step, layouts.image(sizes, spatial), tuple(extents), opened, foreign, guessed=guessed,
        frames=(None,) * axes,
    )  # fmt: skip
