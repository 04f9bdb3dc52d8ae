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
from fractions import Fraction
from typing import Any

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
from rfa_toolbox.empirical.neutral import parts_to_neutralise
from rfa_toolbox.empirical.results import MeasuredField, ReceptiveFieldMeasurement
from rfa_toolbox.errors import MeasurementError
from rfa_toolbox.rendering.field_plots import plot_contribution

__all__ = ["GradientMap", "gradient_map", "measure"]

_NEAR = (1, 2, 3)
"""Neighbours at these distances may have windows of other sizes, behind up-sampling."""

_FAR = (48, 24, 12, 8, 6, 4, 2, 1)
"""One neighbour at the largest of these distances that is not too near to the border. It tells
jumps that are fractions; the distances are multiples of the periods that up-sampling has."""

_LOOKED_AT = len(_NEAR) + 1


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

    Looked at are the unit, its next three neighbours and one farther away, along every axis;
    ``size`` is that of the largest window among them. The structural experiment looks at all units.

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
        path: _middle(found) if position is None else found.check(position, path)
        for path, found in maps.items()
    }
    steps = {path: _neighbours(maps[path], units[path]) for path in paths}
    batch = 1 + len(axes) * _LOOKED_AT
    signed = None if "weights" in parts else seed
    signals = {path: _signal_at(maps[path], steps[path], signed) for path in paths}
    back = experiment.gradients(np.repeat(inputs, batch, axis=0), signals)
    kinds = experiment.kinds(paths)
    fields = []
    for path in paths:
        gradient = back[path].gradient
        magnitudes = None if gradient is None else _magnitudes(gradient, axes)
        problem = back[path].problem(path)
        if magnitudes is not None and not magnitudes[0].any():
            problem = (
                f"The gradient of unit {units[path]} of {path!r} is zero everywhere: all of its "
                "channels are closed, or nothing of the input reaches it. Neutralise the model, or "
                "take another position."
            )
        if magnitudes is None or problem:
            if layers is not None:
                raise MeasurementError(problem)
            along = (_Axis(note=problem),) * len(axes)
        else:
            along = _along_all(maps[path], steps[path], magnitudes)
        fields.append(_field(path, kinds[path], (1, *shapes[path][1:]), along))
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


def _middle(found: FeatureMap) -> tuple[int, ...]:
    """Return a unit near the middle whose window lies on the pixels as that of unit 0 does."""
    return tuple(
        middle - middle % next(one for one in _FAR if one <= max(1, middle // 2))
        for middle in found.middle
    )


def _neighbours(found: FeatureMap, unit: tuple[int, ...]) -> list[tuple[int, ...] | None]:
    """Return the unit, and its neighbours along every axis; None where there is none."""
    units: list[tuple[int, ...] | None] = [unit]
    for axis, size in enumerate(found.size):
        here = unit[axis]
        steps = [step for step in _FAR if step <= max(1, size // 4)]  # the border hides pixels
        far = [place for step in steps for place in (here + step, here - step) if 0 <= place < size]
        near = [here + step if here + step < size else here - step for step in _NEAR]
        units += [
            (*unit[:axis], place, *unit[axis + 1 :]) if place >= 0 else None
            for place in (*near, *(far or [-1])[:1])
        ]
    return units


def _signal_at(
    found: FeatureMap, units: Sequence[tuple[int, ...] | None], signed: int | None
) -> Signal:
    def signal(output: Array) -> Array:
        sent: Array = np.zeros(output.shape)
        for one, unit in zip(sent, units, strict=True):
            if unit is not None:
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


@attrs.frozen
class _Axis:
    """What is known along one axis; None is what is not."""

    start: int | Fraction | None = None
    size: int | None = None
    jump: int | Fraction | None = None
    note: str = ""


def _along_all(
    found: FeatureMap, units: Sequence[tuple[int, ...] | None], magnitudes: Array
) -> tuple[_Axis, ...]:
    """Return what is known along every axis from what the units see."""
    axes = []
    for axis in range(len(found.size)):
        along = [0, *range(1 + axis * _LOOKED_AT, 1 + (axis + 1) * _LOOKED_AT)]
        seen = []
        for one in along:
            unit, extent = units[one], _extent(magnitudes[one], axis)
            if unit is not None and extent is not None:
                seen.append((unit[axis], extent))
        axes.append(_along(seen, magnitudes.shape[1 + axis], found.size[axis]))
    return tuple(axes)


def _field(path: str, kind: str, shape: tuple[int, ...], axes: tuple[_Axis, ...]) -> MeasuredField:
    notes = tuple(dict.fromkeys(one.note for one in axes if one.note))
    return MeasuredField(
        name=path,
        module_path=path,
        call=1,
        kind=kind,
        output_shape=shape,
        start=tuple(_whole(one.start) for one in axes),
        size=tuple(one.size for one in axes),
        jump=tuple(_whole(one.jump) for one in axes),
        centre=tuple(
            None
            if one.start is None or one.size is None
            else Fraction(one.start) + Fraction(one.size - 1, 2)
            for one in axes
        ),
        certainty="unknown" if notes else "exact",
        notes=notes,
    )


def _along(seen: Sequence[tuple[int, tuple[int, int]]], pixels: int, positions: int) -> _Axis:
    """Return start, size and jump from what several units see of a number of pixels.

    An end of a window that is not the end of the image is an end of the field.

    Args:
        seen: (position, (first, last) pixel); the unit in question comes first.
        pixels: of the image.
        positions: of the map.

    >>> _along([(2, (3, 7)), (3, (5, 9)), (0, (0, 3))], 20, 8)
    _Axis(start=Fraction(-1, 1), size=5, jump=Fraction(2, 1), note='')
    """
    unit, (first, _) = seen[0]
    sizes = {
        place: 1 + end - begin for place, (begin, end) in seen if begin > 0 and end < pixels - 1
    }
    alike = [place for place, size in sizes.items() if place != unit and size == sizes.get(unit)]
    if alike:  # windows that lie in the image as a whole
        other = max(alike, key=lambda place: abs(place - unit))
        jump = Fraction(dict(seen)[other][0] - first, other - unit)
        # The unit in question stands for unit 0, whose window lies on the pixels in the same way.
        return _Axis(first - unit * jump, max(sizes.values()), jump)
    if positions == 1 and unit in sizes:
        return _Axis(Fraction(first), sizes[unit], Fraction(0))
    return _from_parts(seen, pixels)


def _from_parts(seen: Sequence[tuple[int, tuple[int, int]]], pixels: int) -> _Axis:
    """Put a window together from units that reach over one end of the image each."""
    starts = {place: first for place, (first, _) in seen if first > 0}
    ends = {place: last for place, (_, last) in seen if last < pixels - 1}
    for known in (starts, ends):
        if starts and ends and len(known) > 1:
            one, *_, other = sorted(known)
            jump, rest = divmod(known[other] - known[one], other - one)
            first = {start - place * jump for place, start in starts.items()}
            last = {end - place * jump for place, end in ends.items()}
            if jump and not rest and len(first) == len(last) == 1:
                start = first.pop()
                return _Axis(start, 1 + last.pop() - start, jump)
    return _Axis(
        note=f"Its windows reach the ends of the {pixels} px, or beyond: the field is as large or "
        "larger, or the layer sees everything. Take a larger input_shape."
    )


def _whole(number: int | Fraction | None) -> Any:
    if isinstance(number, Fraction) and number.denominator == 1:
        return number.numerator
    return number
