"""The gradient experiment: which pixels a unit depends on, told by its gradient.

A unit gradient at one output position comes back as numbers at the pixels that the unit sees. From
one unit and some of its neighbours follow size, start and jump of the layer. ``measure`` is reached
through ``rfa_toolbox.empirical.measure_receptive_field(..., method="gradient")``.

In a trained network, closed rectifiers, maxima and weights that cancel make some of these numbers
zero. That is why the experiment by default works on a copy in which nothing does: all weights
positive and equal, activations linear, maxima means, and norms left out. It computes what the
architecture allows; ``neutralise=False`` shows what the network as it is does with one input.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from rfa_toolbox.empirical.gradients import (
    Array,
    Gradient,
    Maps,
    ModelInExperiment,
    Reduce,
    Signal,
    checked_paths,
    checked_seed,
    checked_shape,
    images_at_once,
    numbers_in,
    put_into_experiment,
    unchanged,
)
from rfa_toolbox.empirical.maps import FeatureMap
from rfa_toolbox.empirical.measurement import assembled, bench_for
from rfa_toolbox.empirical.neutral import Part, parts_to_neutralise
from rfa_toolbox.empirical.readings import AxisField, Pattern, field_between, find_pattern
from rfa_toolbox.empirical.results import ReceptiveFieldMeasurement, path_and_call, plain_except
from rfa_toolbox.empirical.structural import Bench
from rfa_toolbox.errors import MeasurementError
from rfa_toolbox.rendering.field_plots import plot_contribution

__all__ = ["GradientMap", "gradient_map", "measure"]

_MOST_PIXELS = 2**16
"""Of an image that is made longer: its gradients are computed for several units at once."""

_NEAR = 4
"""Neighbours that tell whether windows are evenly placed."""

_ROW = 32
"""Neighbours that are looked at where they are not; two periods must fit."""

Unit: TypeAlias = "tuple[int, ...]"
"""A position on a map, one number per axis."""

Seen: TypeAlias = "dict[int, tuple[int, int] | None]"
"""The first and the last pixel with a gradient, by the unit's place along an axis."""


@attrs.frozen(eq=False)
class GradientMap:
    """What a unit gradient at one position becomes at the input.

    Attributes:
        model: name of the model's class.
        layer: path of the layer.
        position: the unit on the layer's map, one number per axis.
        map_size: positions of the layer's map, per axis.
        neutralised: the parts of the model that were neutralised.
        seed: of the random input and the signs of the channels.
        magnitude: of the gradient at every pixel, summed over the channels of the input.
    """

    model: str
    layer: str
    position: tuple[int, ...]
    map_size: tuple[int, ...]
    neutralised: tuple[str, ...]
    seed: int
    magnitude: Array = attrs.field(repr=False)

    @property
    def input_size(self) -> tuple[int, ...]:
        """The size of the image in pixels, per axis."""
        return tuple(int(one) for one in self.magnitude.shape)

    @property
    def extent(self) -> tuple[tuple[int, int], ...]:
        """First and last pixel with a gradient, per axis."""
        return tuple(_extent(self.magnitude, axis) or (0, -1) for axis in range(len(self.map_size)))

    def plot(self, image: Any = None, **options: Any) -> Any:
        """Return a figure of the gradient, alone or over an image; see ``plot_contribution``."""
        return plot_contribution(self, image, **options)

    def to_dict(self, magnitude: bool = False) -> dict[str, Any]:
        """Return plain values.

        Args:
            magnitude: with that of every pixel, as nested lists.
        """
        return {**plain_except(self, "magnitude", magnitude), "extent": self.extent}

    def __str__(self) -> str:
        sees = " x ".join(f"{first}..{last}" for first, last in self.extent)
        return (
            f"Unit {self.position} of {self.layer} in {self.model} has a gradient at the pixels "
            f"{sees} of {'x'.join(map(str, self.input_size))}"
        )


def gradient_map(
    model: Any,
    image: Any = None,
    layer: str | None = None,
    *,
    position: Sequence[int] | None = None,
    input_shape: Sequence[int] | None = None,
    neutralise: bool | Collection[str] = False,
    seed: int = 0,
) -> GradientMap:
    """Return where a unit's gradient goes, for one image.

    Args:
        model: a PyTorch module or a Keras model with one input; it is left as it is.
        image: an array or tensor with a batch of one; None draws a random one.
        layer: path of the layer, or the name of a later call of it, such as "conv#2"; None takes
            the last that returns a map of several positions.
        position: the unit, as (row, column) on the layer's map; None takes the one in the middle.
        input_shape: shape of the random image with batch and channels; None takes the one that
            the model is made for.
        neutralise: see ``measure``. Unless weights are neutral, the channels of the unit get random
            signs, so that they do not cancel.
        seed: of the random image and signs.

    Raises:
        MeasurementError: a ValueError, if the layer or its position does not fit, or if no gradient
            comes back.
        CaptureError: a ValueError, if the model does not run with this input.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3), torch.nn.Conv2d(1, 1, 5))
    >>> print(gradient_map(model, input_shape=(1, 1, 16, 16)))
    Unit (5, 5) of 1 in Sequential has a gradient at the pixels 5..11 x 5..11 of 16x16
    """
    look = _Look.of(model, neutralise, seed, image, input_shape)
    name = look.maps.chosen(layer)
    found = look.maps[name]
    unit = found.middle if position is None else found.check(position, name)
    magnitude = look.gradients({name: [unit]}, unchanged)[name]
    return GradientMap(
        model=look.maps.model.name,
        layer=name,
        position=unit,
        map_size=found.size,
        neutralised=tuple(sorted(look.parts)),
        seed=seed,
        magnitude=magnitude.arrived(name)[0],
    )


def measure(
    model: Any,
    input_shape: Sequence[int] | None = None,
    layers: str | Collection[str] | None = None,
    position: Sequence[int] | None = None,
    neutralise: bool | Collection[str] = True,
    seed: int = 0,
) -> ReceptiveFieldMeasurement:
    """Measure receptive fields by the gradients of units and their neighbours.

    Looked at are the unit, its next neighbours, some farther away, and the corners; where these do
    not lie evenly, as behind up-sampling, a row of 32 units. All of these lie on one diagonal of
    the map. Some beside it must see no more, or the windows depend on the place along another axis.

    A field must fit between the ends of the image. Without ``input_shape``, those that do not are
    looked at again in a long and narrow image; where that does not help, the result has None and
    a note says so. Gates such as squeeze-and-excitation count: a pixel far away changes them.

    Args:
        model: a PyTorch module or a Keras model with one input; it is left as it is.
        input_shape: shape of the input with batch and channels; None takes the one that the model
            is made for, and a longer one for large fields.
        layers: paths of modules, which stand for all of their calls, or names of calls, such as
            "conv#2"; None measures all that return a map of the image.
        position: unit to look at, as (row, column) on the map of each layer; None takes the one in
            the middle of each.
        neutralise: what to change on a copy so that no path is hidden: True is all, False
            nothing, or some of "weights" (all positive and equal), "activations" (linear),
            "pooling" (means instead of maxima) and "norms" (left out).
        seed: of the random input, and of the signs of channels where weights are not neutral.

    Returns:
        the field of each layer, in the order of execution.

    Raises:
        MeasurementError: a ValueError, if a layer or its position does not fit, or if no gradient
            comes back from a layer that was asked for.
        CaptureError: a ValueError, if the model does not run with this input.
        UnsupportedModelError: a ValueError, if it is no model of PyTorch or Keras.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.MaxPool2d(2))
    >>> field = measure(model, (1, 3, 32, 32))["1"]
    >>> field.start, field.size, field.jump
    ((-1, -1), (4, 4), (2, 2))
    """
    look = _Look.of(model, neutralise, seed, input_shape=input_shape)
    maps = look.maps
    names = _wanted(maps, layers)
    units = {
        name: maps[name].middle if position is None else maps[name].check(position, name)
        for name in names
    }
    known = look.fields(units)
    problems = [one for one in known.values() if isinstance(one, str)]
    if problems and layers is not None:
        raise MeasurementError(problems[0])
    shapes = [tuple(look.inputs.shape)]
    if input_shape is None and position is None:
        shapes += _enlarge(model, look, known)
    kinds = maps.model.kinds(names)
    fields = []
    for name in names:
        found = known[name]
        path, call = path_and_call(name, maps.model.paths)
        axes = [AxisField(problem=found)] * len(maps.axes) if isinstance(found, str) else found
        shape = (1, *maps.shapes[name][1:])
        fields.append(assembled(name, path, kinds[name], shape, axes, call))
    return ReceptiveFieldMeasurement(
        maps.model.name,
        "gradient",
        tuple(fields),
        tuple(dict.fromkeys(shapes)),
        settings={"neutralised": sorted(look.parts), "seed": seed},
    )


def _wanted(maps: Maps, layers: str | Collection[str] | None) -> list[str]:
    """Return the names of the calls to look at; a path stands for all calls of its layer."""
    if layers is None:
        maps.chosen(None)  # or say that there is nothing to measure
        return list(maps.found)
    wanted = checked_paths(maps.model, layers)
    found = [
        name
        for name in maps.shapes
        if {name, path_and_call(name, maps.model.paths)[0]} & set(wanted)
    ]
    return found + [name for name in wanted if name not in found]  # those are refused later on


def _enlarge(
    model: Any, look: _Look, known: Mapping[str, list[AxisField] | str]
) -> list[tuple[int, ...]]:
    """Fill in fields that did not fit from longer images, and return the shapes of those.

    They are narrow along the other axes, as in the structural experiment, which knows what sizes
    the model takes.
    """
    bench: Bench | None = None
    shapes = []
    for axis in range(len(look.maps.axes)):
        missing = [
            name
            for name, found in known.items()
            if not isinstance(found, str) and found[axis].problem == _TOO_LARGE
        ]
        if not missing:
            continue
        bench = bench or bench_for(model, tuple(look.inputs.shape))
        shape = _longest(bench, axis, look)
        if shape is None:
            continue
        longer = look.resized(shape)
        shapes.append(shape)
        seen = longer.fields({name: longer.maps[name].middle for name in missing})
        for name, found in seen.items():
            old = known[name]
            if not isinstance(found, str) and not isinstance(old, str):
                old[axis] = found[axis]
    return shapes


def _longest(bench: Bench, axis: int, look: _Look) -> tuple[int, ...] | None:
    """Return the shape of the longest image that is not too large; None if there is none."""
    most = max(_MOST_PIXELS, 2 * math.prod(look.maps.size))
    best = None
    for length in bench.lengths(axis):
        setting = bench.setting(axis, length) if length > look.maps.size[axis] else None
        if setting is not None:
            if math.prod(setting.shape[one] for one in look.maps.axes) > most:
                break
            best = setting.shape
    return best


def _one_image(experiment: ModelInExperiment, image: Any, input_shape: Any, seed: int) -> Array:
    if image is None:
        shape = (1, *checked_shape(experiment, input_shape)[1:])
        # Positive, so that products of maps do not cancel either.
        return np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    pixels = numbers_in(image, "image")
    if pixels.ndim < 3 or pixels.shape[0] != 1:
        raise MeasurementError(
            f"image has the shape {pixels.shape!r}; it must have a batch of one and channels, as "
            "in (1, 3, 224, 224)."
        )
    return pixels


def _some(found: FeatureMap, unit: Unit) -> list[Unit]:
    """Return the unit, some of its neighbours along all axes at once, and both corners."""
    along = []
    for here, size in zip(unit, found.size, strict=True):
        near = [place % size for place in range(here, here + _NEAR)]
        along.append([*near, here // 2, (here + size) // 2, 0, size - 1])
    return list(zip(*along, strict=True))


def _aside(found: FeatureMap, unit: Unit) -> list[Unit]:
    """Return some units that are at other places along one axis than along the next one."""
    along = []
    for axis, (here, size) in enumerate(zip(unit, found.size, strict=True)):
        places = [here, (here + 1) % size, here // 2, (here + size) // 2]
        along.append(places[axis:] + places[:axis])
    return list(zip(*along, strict=True))


def _row(found: FeatureMap, unit: Unit) -> list[Unit]:
    """Return units in a row around the unit, along all axes at once."""
    along = []
    for here, size in zip(unit, found.size, strict=True):
        first = max(0, min(here - _ROW // 2, size - _ROW))
        along.append([min(place, size - 1) for place in range(first, first + _ROW)])
    return list(zip(*along, strict=True))


def _signal_at(found: FeatureMap, units: Sequence[Unit], signed: int | None) -> Signal:
    def signal(output: Array) -> Array:
        sent: Array = np.zeros(output.shape)
        for one, unit in zip(sent, units, strict=True):
            channels = one[found.index(unit, output.ndim)].shape
            one[found.index(unit, output.ndim)] = (
                1.0
                if signed is None
                else np.random.default_rng(signed).choice((-1.0, 1.0), size=channels)
            )
        return sent

    return signal


def _magnitudes(gradient: Array, axes: tuple[int, ...]) -> Array:
    channels = tuple(axis for axis in range(1, gradient.ndim) if axis not in axes)
    magnitudes: Array = np.abs(np.nan_to_num(gradient, nan=1.0, posinf=1.0)).sum(axis=channels)
    return magnitudes


def _extents(magnitudes: Array) -> list[list[tuple[int, int] | None]]:
    """Return what there is along every axis of every image."""
    return [[_extent(one, axis) for axis in range(one.ndim)] for one in magnitudes]


def _extent(magnitude: Array, axis: int) -> tuple[int, int] | None:
    """Return the first and the last index along an axis at which there is anything."""
    others = tuple(one for one in range(magnitude.ndim) if one != axis)
    (seen,) = np.nonzero(magnitude.any(axis=others))
    return (int(seen[0]), int(seen[-1])) if len(seen) else None


# --- from extents to fields ------------------------------------------------------------------

_TOO_LARGE = (
    "Its windows reach the ends of the image, or beyond: the field is as large or larger, or the "
    "layer sees everything. Take a larger input_shape."
)
_UNEVEN = (
    "Its windows do not repeat, or not soon enough; method='structural' looks at all of its units."
)
_ACROSS = (
    "Units at other places along another axis see more, so its windows do not repeat, as where the "
    "axes of an image are swapped; method='structural' looks at all of its units."
)


@attrs.frozen
class _Look:
    """Looks at units of layers of a model that runs with one input.

    Attributes:
        maps: what the layers return.
        inputs: a batch of one.
        parts: what was neutralised.
        seed: of the input and of the signs of channels.
    """

    maps: Maps
    inputs: Array
    parts: frozenset[Part]
    seed: int

    @classmethod
    def of(
        cls,
        model: Any,
        neutralise: bool | Collection[str],
        seed: int,
        image: Any = None,
        input_shape: Sequence[int] | None = None,
    ) -> _Look:
        """Put a model into an experiment with an image, or with a random one."""
        parts, seed = parts_to_neutralise(neutralise), checked_seed(seed)
        experiment = put_into_experiment(model, parts, exact=True)
        inputs = _one_image(experiment, image, input_shape, seed)
        return cls(Maps.of(experiment, inputs), inputs, parts, seed)

    def resized(self, shape: tuple[int, ...]) -> _Look:
        """Return a look at a random image of another shape."""
        inputs = _one_image(self.maps.model, None, shape, self.seed)
        return _Look(Maps.of(self.maps.model, inputs), inputs, self.parts, self.seed)

    def gradients(self, units: Mapping[str, Sequence[Unit]], reduce: Reduce) -> dict[str, Gradient]:
        """Return what is of interest in the magnitudes of the gradients of some units.

        There is one image for each unit, and the same number of units for every layer.
        """
        signed = None if "weights" in self.parts else self.seed
        signals = {name: _signal_at(self.maps[name], units[name], signed) for name in units}
        images = np.repeat(self.inputs, max(map(len, units.values())), axis=0)

        def reduced(gradient: Array) -> Any:
            return reduce(_magnitudes(gradient, self.maps.axes))

        return dict(self.maps.model.gradients(images, signals, reduced))

    def fields(self, units: Mapping[str, Unit]) -> dict[str, list[AxisField] | str]:
        """Return by name the field along every axis, or why there is none at all."""
        seen, problems = self._at({one: _some(self.maps[one], units[one]) for one in units})
        along = {name: self._read(name, seen[name]) for name in units if name not in problems}
        uneven = {
            name: _row(self.maps[name], units[name]) for name, one in along.items() if None in one
        }
        for name, more in self._at(uneven)[0].items():
            for axis, other in enumerate(more):
                seen[name][axis].update(other)
            along[name] = self._read(name, seen[name])
        self._hold_against_others(along, units)
        return {
            name: problems[name]
            if name in problems
            else [AxisField(problem=_UNEVEN) if one is None else one for one in along[name]]
            for name in units
        }

    def _hold_against_others(
        self, along: Mapping[str, list[AxisField | None]], units: Mapping[str, Unit]
    ) -> None:
        """Take back fields along an axis that are others at other places along another axis."""
        read = [
            name
            for name, axes in along.items()
            if len(axes) > 1 and any(one and one.windows for one in axes)
        ]
        seen, _ = self._at({name: _aside(self.maps[name], units[name]) for name in read})
        for name, axes in seen.items():
            for axis, extents in enumerate(axes):
                field = along[name][axis]
                if field and field.windows and not _covers(field, extents):
                    along[name][axis] = AxisField(problem=_ACROSS)

    def _at(self, units: Mapping[str, list[Unit]]) -> tuple[dict[str, list[Seen]], dict[str, str]]:
        """Return by name what these units see along every axis, and why some see nothing."""
        seen: dict[str, list[Seen]] = {name: [{} for _ in self.maps.axes] for name in units}
        problems: dict[str, str] = {}
        most = max(map(len, units.values()), default=0)
        step = min(2 * _NEAR, images_at_once(self.maps.model))
        for first in range(0, most, step):
            part = {name: chosen[first : first + step] for name, chosen in units.items()}
            for name, back in self.gradients(part, _extents).items():
                if back.gradient is None:
                    problems[name] = back.problem(name)
                    continue
                for unit, extents in zip(part[name], back.gradient, strict=True):
                    for axis, place in enumerate(unit):
                        seen[name][axis][place] = extents[axis]
        for name, along in seen.items():
            if name not in problems and not any(along[0].values()):
                problems[name] = (
                    f"The gradient of unit {units[name][0]} of {name!r} is zero everywhere: all of "
                    "its channels are closed, or nothing of the input reaches it. Neutralise the "
                    "model, or take another position."
                )
        return seen, problems

    def _read(self, name: str, seen: list[Seen]) -> list[AxisField | None]:
        """Return what is known along every axis; None where windows are uneven."""
        return [
            _along(along, pixels, positions)
            for along, pixels, positions in zip(
                seen, self.maps.size, self.maps[name].size, strict=True
            )
        ]


def _along(seen: Seen, pixels: int, positions: int) -> AxisField | None:
    """Return the field from what several units see of a number of pixels; None if that is uneven.

    An end of a window that is not the end of the image is an end of the field, but for pixels that
    no unit sees: then it is one that is not the end of what all units see.

    >>> _along({2: (3, 7), 3: (5, 9), 4: (7, 11), 0: (0, 3)}, 20, 8).windows
    ((-1, 3),)
    """
    windows = {place: window for place, window in seen.items() if window is not None}
    silent = seen.keys() - windows.keys()
    lowest = min(first for first, _ in windows.values())
    highest = max(last for _, last in windows.values())
    if positions == 1 and lowest > 0 and highest < pixels - 1:
        return AxisField(tuple(windows.values()))
    for low, high in ((0, pixels - 1), (lowest, highest)):
        starts = {place: first for place, (first, _) in windows.items() if first > low}
        ends = {place: last for place, (_, last) in windows.items() if last < high}
        first, last = find_pattern(starts, silent), find_pattern(ends, silent)
        if first and last and _agrees(first, starts) and _agrees(last, ends):
            return field_between(first, last)
        if len(starts.keys() & ends.keys()) < _NEAR // 2:
            return AxisField(problem=_TOO_LARGE)
    return None


def _covers(field: AxisField, seen: Seen) -> bool:
    """Return whether units see no pixel beyond what a field says of them."""
    for place, window in seen.items():
        first, last = field.region(place)
        if window is not None and not first <= window[0] <= window[1] <= last:
            return False
    return True


def _agrees(pattern: Pattern, rows: Mapping[int, int]) -> bool:
    """Return whether a pattern says what was seen of all units, and of some that it is not from."""
    return len(rows) > 2 * len(pattern.at) and all(
        pattern.row_of(place) == row for place, row in rows.items()
    )
