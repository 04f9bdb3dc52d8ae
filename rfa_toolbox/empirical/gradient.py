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

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import numpy as np

from rfa_toolbox.empirical.gradients import (
    Array,
    ModelInExperiment,
    Signal,
    checked_paths,
    checked_shape,
    input_axes,
    last_map,
    map_of,
    put_into_experiment,
)
from rfa_toolbox.empirical.maps import FeatureMap, find_map
from rfa_toolbox.empirical.measurement import assembled
from rfa_toolbox.empirical.neutral import parts_to_neutralise
from rfa_toolbox.empirical.readings import AxisField, Pattern, field_between, find_pattern
from rfa_toolbox.empirical.results import ReceptiveFieldMeasurement
from rfa_toolbox.errors import MeasurementError
from rfa_toolbox.rendering.field_plots import plot_contribution

__all__ = ["GradientMap", "gradient_map", "measure"]

_NEAR = 4
"""Neighbours that tell whether windows are evenly placed."""

_ROW = 32
"""Neighbours that are looked at where they are not; two periods must fit."""

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

    def plot(self, image: Any = None) -> Any:
        """Return a figure of the gradient over an image; see ``plot_contribution``."""
        return plot_contribution(self, image)

    def to_dict(self, magnitude: bool = False) -> dict[str, Any]:
        """Return plain values.

        Args:
            magnitude: with that of every pixel, as nested lists.
        """
        plain = attrs.asdict(self, filter=lambda field, _: field.name != "magnitude")
        plain["extent"] = self.extent
        if magnitude:
            plain["magnitude"] = self.magnitude.tolist()
        return plain

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
        layer: path of the layer; None takes the last that returns a map of several positions.
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
    parts = parts_to_neutralise(neutralise)
    experiment = put_into_experiment(model, parts, exact=True)
    inputs = _one_image(experiment, image, input_shape, seed)
    axes = input_axes(experiment, inputs.ndim)
    size = [inputs.shape[axis] for axis in axes]
    shapes = experiment.shapes(inputs)
    if layer is None:
        path = last_map(experiment, shapes, size)
    else:
        (path,) = checked_paths(experiment, layer)
    found = _called_map(experiment, path, shapes, size)
    unit = found.middle if position is None else found.check(position, path)
    signal = _signal_at(found, [unit], None if "weights" in parts else seed)
    (back,) = experiment.gradients(inputs, {path: signal}).values()
    return GradientMap(
        model=experiment.name,
        layer=path,
        position=unit,
        map_size=found.size,
        neutralised=tuple(sorted(parts)),
        seed=seed,
        magnitude=_magnitudes(back.arrived(path), axes)[0],
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
    not lie evenly, as behind up-sampling, a row of 32 units.

    A field must fit between the ends of the image; where it does not, the result has None there
    and a note says so. Gates such as squeeze-and-excitation count: a pixel far away changes them.

    Args:
        model: a PyTorch module or a Keras model with one input; it is left as it is.
        input_shape: shape of the input with batch and channels; None takes the one that the model
            is made for.
        layers: paths of modules; None measures all that return a map of the image.
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
    parts = parts_to_neutralise(neutralise)
    experiment = put_into_experiment(model, parts, exact=True)
    inputs = _one_image(experiment, None, input_shape, seed)
    axes = input_axes(experiment, inputs.ndim)
    size = [inputs.shape[axis] for axis in axes]
    shapes = experiment.shapes(inputs)
    if layers is None:
        paths = [path for path in shapes if path and _is_map(experiment, shapes[path], size)]
    else:
        wanted = set(checked_paths(experiment, layers))
        paths = [path for path in shapes if path in wanted]
        paths += sorted(wanted - set(paths))  # were not called: the next line says so
    maps = {path: _called_map(experiment, path, shapes, size) for path in paths}
    units = {
        path: found.middle if position is None else found.check(position, path)
        for path, found in maps.items()
    }
    look = _Look(experiment, inputs, axes, None if "weights" in parts else seed)
    seen, problems = look.at({path: _some(maps[path], units[path]) for path in paths}, maps)
    if problems and layers is not None:
        raise MeasurementError(next(iter(problems.values())))
    along = {path: look.read(seen[path], maps[path]) for path in paths if path not in problems}
    uneven = {path: _row(maps[path], units[path]) for path in along if None in along[path]}
    for path, more in look.at(uneven, maps)[0].items():
        for axis, other in enumerate(more):
            seen[path][axis].update(other)
        along[path] = look.read(seen[path], maps[path])
    kinds = experiment.kinds(paths)
    fields = []
    for path in paths:
        known: Sequence[AxisField | None] = along.get(path, ())
        if path in problems:
            known = [AxisField(problem=problems[path])] * len(axes)
        fields.append(
            assembled(
                path,
                path,
                kinds[path],
                (1, *shapes[path][1:]),
                [AxisField(problem=_UNEVEN) if one is None else one for one in known],
            )
        )
    return ReceptiveFieldMeasurement(
        experiment.name,
        "gradient",
        tuple(fields),
        (tuple(inputs.shape),),
        settings={"neutralised": sorted(parts), "seed": seed},
    )


def _one_image(experiment: ModelInExperiment, image: Any, input_shape: Any, seed: int) -> Array:
    if image is None:
        shape = (1, *checked_shape(experiment, input_shape)[1:])
        # Positive, so that products of maps do not cancel either.
        return np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    if hasattr(image, "detach"):
        image = image.detach().cpu().double()
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.ndim < 3 or pixels.shape[0] != 1:
        raise MeasurementError(
            f"image has the shape {pixels.shape!r}; it must have a batch of one and channels, as "
            "in (1, 3, 224, 224)."
        )
    return pixels


def _is_map(experiment: ModelInExperiment, shape: Sequence[int], size: Sequence[int]) -> bool:
    return (
        find_map(
            shape,
            size,
            channels_last=experiment.channels_last,
            extra_tokens=experiment.extra_tokens(),
        )
        is not None
    )


def _called_map(
    experiment: ModelInExperiment,
    path: str,
    shapes: Mapping[str, tuple[int, ...]],
    size: Sequence[int],
) -> FeatureMap:
    if path not in shapes:
        raise MeasurementError(
            f"Layer {path!r} of {experiment.name} was not called, or returned no tensor."
        )
    return map_of(experiment, path, shapes[path], size)


def _some(found: FeatureMap, unit: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the unit, some of its neighbours along all axes at once, and both corners."""
    along = []
    for here, size in zip(unit, found.size, strict=True):
        near = [place % size for place in range(here, here + _NEAR)]
        along.append([*near, here // 2, (here + size) // 2, 0, size - 1])
    return list(zip(*along, strict=True))


def _row(found: FeatureMap, unit: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return units in a row around the unit, along all axes at once."""
    along = []
    for here, size in zip(unit, found.size, strict=True):
        first = max(0, min(here - _ROW // 2, size - _ROW))
        along.append([min(place, size - 1) for place in range(first, first + _ROW)])
    return list(zip(*along, strict=True))


def _signal_at(found: FeatureMap, units: Sequence[tuple[int, ...]], signed: int | None) -> Signal:
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


def _extent(magnitude: Array, axis: int) -> tuple[int, int] | None:
    """Return the first and the last index along an axis at which there is anything."""
    others = tuple(one for one in range(magnitude.ndim) if one != axis)
    (seen,) = np.nonzero(magnitude.any(axis=others))
    return (int(seen[0]), int(seen[-1])) if len(seen) else None


# --- from extents to fields ------------------------------------------------------------------

_UNEVEN = (
    "Its windows do not repeat, or not soon enough; method='structural' looks at all of its units."
)


@attrs.frozen
class _Look:
    """Looks at units of layers."""

    experiment: ModelInExperiment
    inputs: Array
    axes: tuple[int, ...]
    signed: int | None

    def at(
        self, units: Mapping[str, list[tuple[int, ...]]], maps: Mapping[str, FeatureMap]
    ) -> tuple[dict[str, list[Seen]], dict[str, str]]:
        """Return by layer what these units see along every axis, and why some see nothing."""
        seen: dict[str, list[Seen]] = {path: [{} for _ in self.axes] for path in units}
        problems: dict[str, str] = {}
        most = max(map(len, units.values()), default=0)
        for first in range(0, most, 2 * _NEAR):
            part = {path: chosen[first : first + 2 * _NEAR] for path, chosen in units.items()}
            signals = {path: _signal_at(maps[path], part[path], self.signed) for path in part}
            images = np.repeat(self.inputs, 2 * _NEAR, axis=0)
            for path, back in self.experiment.gradients(images, signals).items():
                if back.gradient is None:
                    problems[path] = back.problem(path)
                    continue
                magnitudes = _magnitudes(back.gradient, self.axes)
                for unit, magnitude in zip(part[path], magnitudes, strict=True):
                    for axis, place in enumerate(unit):
                        seen[path][axis][place] = _extent(magnitude, axis)
        for path, along in seen.items():
            if path not in problems and not any(along[0].values()):
                problems[path] = (
                    f"The gradient of unit {units[path][0]} of {path!r} is zero everywhere: all of "
                    "its channels are closed, or nothing of the input reaches it. Neutralise the "
                    "model, or take another position."
                )
        return seen, problems

    def read(self, seen: list[Seen], found: FeatureMap) -> list[AxisField | None]:
        """Return what is known along every axis; None where windows are uneven."""
        return [
            _along(along, self.inputs.shape[axis], positions)
            for along, axis, positions in zip(seen, self.axes, found.size, strict=True)
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
            return AxisField(
                problem=f"Its windows reach the ends of the {pixels} px, or beyond: the field is "
                "as large or larger, or the layer sees everything. Take a larger input_shape."
            )
    return None


def _agrees(pattern: Pattern, rows: Mapping[int, int]) -> bool:
    """Return whether a pattern says what was seen of all units, and of some that it is not from."""
    return len(rows) > 2 * len(pattern.at) and all(
        pattern.row_of(place) == row for place, row in rows.items()
    )
