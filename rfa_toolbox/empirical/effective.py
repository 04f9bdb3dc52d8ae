"""The effective receptive field: how much the pixels around a unit really count for it.

A unit sees every pixel of its receptive field, but those in the middle are read over many more
paths than those at the rim. The gradient of the unit, averaged over many inputs, shows it (Luo, Li,
Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep Convolutional Neural
Networks", NIPS 2016, arXiv:1701.04128).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs
import numpy as np

from rfa_toolbox.analysis.words import terms_of
from rfa_toolbox.empirical.gradients import (
    Array,
    Maps,
    ModelInExperiment,
    checked_seed,
    checked_shape,
    holds_several,
    images_at_once,
    numbers_in,
    put_into_experiment,
    times,
)
from rfa_toolbox.empirical.maps import FeatureMap
from rfa_toolbox.empirical.progress import progress_bar
from rfa_toolbox.empirical.results import plain_except, text_table
from rfa_toolbox.errors import CaptureError, MeasurementError
from rfa_toolbox.rendering.field_plots import plot_comparison, plot_effective_field

__all__ = [
    "SHARES",
    "CentredSquare",
    "EffectiveReceptiveField",
    "Mode",
    "WeightsComparison",
    "compare_with_random_weights",
    "effective_receptive_field",
    "reinitialised",
]

Mode: TypeAlias = Literal["default", "luo2016", "replknet"]
"""How contributions are computed: our way, or one of two published recipes."""

SHARES: Final = (0.2, 0.3, 0.5, 0.99)
"""The shares of contribution that publications since RepLKNet report."""

# The share of a Gaussian that lies beyond two standard deviations.
_LUO_THRESHOLD: Final = 1 - 0.9545
_ROUNDING: Final = 1e-5


@attrs.frozen
class CentredSquare:
    """The smallest centred square that holds a share of the contribution.

    A square is an interval for sequences, and a cube for volumes.

    Attributes:
        share: the share asked for, in (0, 1].
        side: its side in input pixels, an odd number; None if no square in the image holds it.
        side_share: its side relative to that of the image, the geometric mean over all axes; of a
            square that reaches over a border, what of it lies in the image counts.
        area_share: the share of the image's pixels in it.
    """

    share: float
    side: int | None
    side_share: float | None
    area_share: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return attrs.asdict(self)


@attrs.frozen(eq=False)
class EffectiveReceptiveField:
    """How much every pixel contributes to one unit, and all that this depends on.

    ``str()`` of it is a text to read. Comparing means comparing numbers at equal conditions: the
    field depends on the resolution, the inputs, the weights, the layer and the mode.

    Attributes:
        model: name of the model's class.
        weights: what its weights are, in the words of the caller.
        layer: path of the layer.
        mode: how contributions are computed.
        position: the unit on the layer's map, one number per axis.
        map_size: positions of the layer's map, per axis.
        input_shape: shape of one input, with channels.
        inputs: what the inputs were: "random" or "given".
        samples: number of inputs that count.
        skipped: number of inputs that were left out: their gradient is not a number, or, in mode
            "default", is zero everywhere. In the other modes, zeros are part of the mean.
        seed: of the random inputs and signals.
        centre: middle of the squares, in input pixels, per axis.
        squares: the smallest squares that hold 20, 30, 50 and 99 % of the contribution.
        size: for "luo2016", the root of the number of pixels above 4.55 % of the largest
            contribution (for volumes the cube root); else None.
        contribution: of every pixel, as an array of the size of the image. Its sum is 1; in mode
            "replknet" its largest value is, as in the publication.
        token: which of the tokens of a list the unit is, class tokens included, counted from 0;
            None where the layer returns a map.
    """

    model: str
    weights: str
    layer: str
    mode: Mode
    position: tuple[int, ...]
    map_size: tuple[int, ...]
    input_shape: tuple[int, ...]
    inputs: str
    samples: int
    skipped: int
    seed: int
    centre: tuple[int, ...]
    squares: tuple[CentredSquare, ...]
    size: float | None
    contribution: Array = attrs.field(repr=False)
    token: int | None = None

    @property
    def input_size(self) -> tuple[int, ...]:
        """The size of the image in pixels, per axis."""
        return tuple(int(one) for one in self.contribution.shape)

    @property
    def curve(self) -> tuple[tuple[int, float], ...]:
        """The side of every centred square with its share of the contribution."""
        shares = _shares_of_squares(self.contribution, self.centre)[0]
        return tuple((2 * reach + 1, float(share)) for reach, share in enumerate(shares))

    def square(self, share: float) -> CentredSquare:
        """Return the smallest centred square that holds a share of the contribution.

        Raises:
            MeasurementError: if ``share`` is not in (0, 1].
        """
        given: object = share
        if not isinstance(given, int | float | np.number) or not 0 < share <= 1:
            raise MeasurementError(f"share is {share!r}; it must lie in (0, 1], such as 0.5.")
        return _smallest_square(self.contribution, self.centre, self.mode, share)

    def plot(self, **options: Any) -> Any:
        """Return a figure of the map with its squares; see ``plot_effective_field``."""
        return plot_effective_field(self, **options)

    def to_dict(self, contribution: bool = False) -> dict[str, Any]:
        """Return plain values.

        Args:
            contribution: with that of every pixel, as nested lists.
        """
        return plain_except(self, "contribution", contribution)

    def __str__(self) -> str:
        terms = terms_of(len(self.input_size))
        weights = "weights as given" if self.weights == "as given" else f"{self.weights} weights"
        lines = [
            f"Effective receptive field of {self.layer} in {self.model} ({weights})",
            _conditions(self),
        ]
        if self.skipped:
            lines.append(f"{self.skipped} inputs left out: they gave no gradient")
        if self.size is not None:
            what = "pixels" if terms.unit == "px" else terms.unit
            lines.append(f"size ({what} above 4.55 % of the peak): {self.size:.1f} {terms.unit}")
        lines.append(" contribution      side   of the side   of the area")
        for one in self.squares:
            if one.side is None or one.side_share is None or one.area_share is None:
                lines.append(f"{one.share:12.0%}   not within a square in the {terms.whole}")
            else:
                lines.append(
                    f"{one.share:12.0%} {one.side:7d} {terms.unit} {one.side_share:11.1%} "
                    f"{one.area_share:13.1%}"
                )
        return "\n".join(lines)


@attrs.frozen(eq=False)
class WeightsComparison(Mapping[str, EffectiveReceptiveField]):
    """The fields of a model and of a copy with random weights, side by side.

    It is a mapping of both by the names of their weights, the given ones first.

    Attributes:
        given: with the weights that the model has.
        random: with random weights.
    """

    given: EffectiveReceptiveField
    random: EffectiveReceptiveField

    def __getitem__(self, weights: str) -> EffectiveReceptiveField:
        """Return the field with the weights of this name."""
        return {one.weights: one for one in (self.given, self.random)}[weights]

    def __iter__(self) -> Iterator[str]:
        return iter((self.given.weights, self.random.weights))

    def __len__(self) -> int:
        return 2

    def plot(self, **options: Any) -> Any:
        """Return a figure of both maps; see ``plot_comparison``."""
        return plot_comparison(self.values(), **options)

    def to_dict(self, contribution: bool = False) -> dict[str, Any]:
        """Return plain values, one entry per field.

        Args:
            contribution: with that of every pixel, as nested lists.
        """
        return {name: field.to_dict(contribution) for name, field in self.items()}

    def __str__(self) -> str:
        sides = [
            (
                "-" if one.side is None else f"{one.side} {terms_of(len(field.input_size)).unit}"
                for one in field.squares
            )
            for field in self.values()
        ]
        shares = (f"{one.share:.0%}" for one in self.given.squares)
        table = text_table(("contribution", *self), list(zip(shares, *sides, strict=True)))
        one = self.given
        return "\n".join(
            (
                f"Effective receptive field of {one.layer} in {one.model}: side of the square",
                _conditions(one),
                *table,
            )
        )


def effective_receptive_field(
    model: Any,
    inputs: Any = None,
    layer: str | None = None,
    *,
    input_shape: Any = None,
    input: int | str | None = None,  # noqa: A002 - what everybody calls it
    samples: int | None = None,
    position: Sequence[int] | None = None,
    mode: Mode = "default",
    weights: str = "as given",
    seed: int = 0,
    batch_size: int = 8,
    progress: bool | None = None,
) -> EffectiveReceptiveField:
    """Measure how much the pixels of the input contribute to a unit in the middle of a layer.

    The model runs in eval mode, and is left as it is. It may be a CNN, a transformer or anything
    between: maps of planes, channels-last maps and lists of tokens (with class tokens in front)
    all have a unit in the middle.

    Modes, for inputs x and the channels y_c of the unit:

    - ``"default"``: the magnitude of the gradient of a sum of all y_c with random signs, summed
      over the channels of the input; every input counts the same. Random signs keep channels from
      cancelling: behind a layer norm, the plain sum of all channels is constant. Squares are
      centred where half of the contribution lies on either side.
    - ``"luo2016"``: the gradient of the sum of all y_c, averaged over the inputs; then its
      magnitude. ``size`` is the root of the number of pixels above 1 - 95.45 % of the largest
      contribution; 95.45 % of a Gaussian lie within two standard deviations. Others that measure
      after Luo et al. relate to the pixel in the centre, which has the largest where the
      contribution is a Gaussian around it.
    - ``"replknet"``: the positive part of the gradient of the sum of the positive y_c, summed over
      channels, averaged over inputs; then log10(1 + x), divided by the largest. Squares lie around
      the middle of the image and end one pixel before its border (Ding et al., "Scaling Up Your
      Kernels to 31x31", CVPR 2022, arXiv:2203.06717, and the scripts published with it).

    Args:
        model: a PyTorch module or a Keras model.
        inputs: an array or tensor of images, (number, channels, height, width) or as the model
            wants them; or an iterable of such batches, of which pairs with labels may be part, as a
            data loader yields them. None draws random numbers from a normal distribution.
        layer: path of the layer, or the name of a later call of it, such as "conv#2"; None takes
            the last that returns a map of several positions, and depends on the input that is
            looked at.
        input_shape: shape of the random inputs with batch (whose number does not matter) and
            channels, or (batch, samples) for plain signals; None takes the shape that the model is
            made for. For several inputs a list of shapes, or shapes by name.
        input: which of several inputs is looked at, by its place or the name of its argument; None
            is the first. The others hold the same random numbers for every sample.
        samples: how many inputs to use; None takes 32 random ones, or all that are given.
        position: another unit than the one in the middle, as (row, column) on the layer's map.
        mode: how contributions are computed, see above.
        weights: what to call the weights in the result, such as "random" or "trained".
        seed: of the random inputs and signs; equal seeds give equal results.
        batch_size: inputs per pass, at most; fewer where they would take much memory.
        progress: show a progress bar. None shows one on a terminal, if rich or tqdm is installed.

    Returns:
        The contribution of every pixel, its squares, and what they depend on.

    Raises:
        MeasurementError: a ValueError, if the layer, its position or the inputs do not fit, or if
            no gradient comes back.
        CaptureError: a ValueError, if the model does not run with these inputs.
        UnsupportedModelError: a ValueError, if it is no model of PyTorch or Keras.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 3, padding=1) for _ in range(4)))
    >>> field = effective_receptive_field(model, input_shape=(1, 1, 32, 32), samples=4)
    >>> field.layer, field.position, field.square(1).side
    ('3', (16, 16), 9)
    """
    if mode not in ("default", "luo2016", "replknet"):
        raise MeasurementError(f"mode is {mode!r}; it must be 'default', 'luo2016' or 'replknet'.")
    for name, number in (
        ("samples", 1 if samples is None else samples),
        ("batch_size", batch_size),
    ):
        if not hasattr(number, "__index__") or isinstance(number, bool) or number < 1:
            raise MeasurementError(f"{name} is {number!r}; it must be a positive whole number.")
    name_of_weights: object = weights
    if not isinstance(name_of_weights, str) or not weights:
        raise MeasurementError(
            f"weights is {weights!r}; it must be what to call them, such as 'trained'."
        )
    seed = checked_seed(seed)
    experiment = put_into_experiment(model)
    several = holds_several(input_shape)
    if several:
        input_shape = experiment.look_at(input_shape, input, seed)
    elif input is not None:
        raise MeasurementError(
            f"input is {input!r}, but input_shape is {input_shape!r}; pass the shapes of all "
            "inputs."
        )
    batches: Iterator[Array]
    if inputs is None:
        samples = 32 if samples is None else samples
        shape = checked_shape(experiment, input_shape)[1:]
        batches = _random_batches(shape, samples, batch_size, seed)
    else:
        batches = _given_batches(inputs, samples, batch_size)
        if samples is None and hasattr(inputs, "shape"):
            samples = int(inputs.shape[0])
    gatherer = _Gatherer(experiment, layer, position, mode, seed, several)
    with progress_bar("Effective receptive field", samples, progress) as advance:
        for batch in batches:
            gatherer.add(batch)
            advance(len(batch))
    contribution = gatherer.contribution()
    if mode == "default":
        centre = _median(contribution)
    else:
        centre = tuple(size // 2 for size in contribution.shape)
    return EffectiveReceptiveField(
        model=experiment.name,
        weights=weights,
        layer=gatherer.layer,
        mode=mode,
        position=gatherer.position,
        map_size=gatherer.map.size,
        input_shape=gatherer.input_shape,
        inputs="random" if inputs is None else "given",
        samples=gatherer.counted,
        skipped=gatherer.skipped,
        seed=seed,
        centre=centre,
        squares=tuple(_smallest_square(contribution, centre, mode, one) for one in SHARES),
        size=_size_of_luo(contribution) if mode == "luo2016" else None,
        contribution=contribution,
        token=gatherer.map.token(gatherer.position),
    )


def compare_with_random_weights(
    model: Any,
    inputs: Any = None,
    layer: str | None = None,
    *,
    random_model: Any = None,
    **options: Any,
) -> WeightsComparison:
    """Measure the field of a trained model, and that of a copy with random weights.

    Args:
        model: a trained model; it is left as it is.
        inputs: as for ``effective_receptive_field``. Both see the same.
        layer: as above.
        random_model: a model that was made anew. None takes ``reinitialised(model)``, whose layers
            draw their weights as if nobody had told them; but many networks, such as those of
            torchvision and timm, draw them otherwise when they are made.
        **options: as above; ``weights`` names those of the model ("as given" if it is left out),
            and ``seed`` is also that of the random weights.

    Returns:
        Both fields, which are a mapping by the names of their weights, too.

    Raises:
        MeasurementError: a ValueError, if ``weights`` is "random"; and the other errors of
            ``effective_receptive_field`` and ``reinitialised``.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 5), torch.nn.Conv2d(1, 1, 5))
    >>> both = compare_with_random_weights(model, input_shape=(1, 1, 16, 16), samples=2)
    >>> both.given.square(1).side, both["random"].square(1).side
    (9, 9)
    """
    weights = options.pop("weights", "as given")
    if weights == "random":
        raise MeasurementError(
            "weights is 'random', which is what the weights of the copy are called; choose another "
            "name for those of the model, such as 'trained'."
        )
    if inputs is not None and not hasattr(inputs, "shape"):
        # What can be read once, or comes in another order each time, is kept.
        inputs = list(_given_batches(inputs, options.get("samples"), options.get("batch_size", 8)))
    if random_model is None:
        random_model = reinitialised(model, options.get("seed", 0))
    return WeightsComparison(
        *(
            effective_receptive_field(one, inputs, layer, weights=name, **options)
            for name, one in ((weights, model), ("random", random_model))
        )
    )


def reinitialised(model: Any, seed: int = 0) -> Any:
    """Return a copy of a model with new random weights, to compare a trained one with.

    Every layer draws its weights as it does when it is made by itself, whatever the network that
    it is in does after that. In PyTorch, parameters that no layer knows how to draw, such as the
    class token of a transformer, are shuffled.

    Args:
        model: a PyTorch module, or a Keras model; it is left as it is.
        seed: equal seeds give equal weights.

    Raises:
        MeasurementError: a ValueError, if ``seed`` is none.
        UnsupportedModelError: a ValueError, if it is neither, or Keras cannot copy it.
    """
    # Which framework it is, and whether it is there, is known there.
    return put_into_experiment(model).reinitialised(checked_seed(seed))


# --- gathering -------------------------------------------------------------------------------


class _Gatherer:
    """Adds up what comes back for one input after the other."""

    map: FeatureMap

    def __init__(
        self,
        experiment: ModelInExperiment,
        layer: str | None,
        position: Sequence[int] | None,
        mode: Mode,
        seed: int,
        several: bool,
    ) -> None:
        self._experiment = experiment
        self._several = several
        self._wanted = layer
        self._position = position
        self._mode = mode
        self._seed = seed
        self._sum: Array | None = None
        self._cancelling = True
        self.layer = ""
        self.position: tuple[int, ...] = ()
        self.input_shape: tuple[int, ...] = ()
        self.counted = 0
        self.skipped = 0

    def add(self, batch: Array) -> None:
        if self._sum is None:
            self._look_at(batch)
        elif batch.shape[1:] != self.input_shape:
            raise MeasurementError(
                f"An input has the shape {batch.shape[1:]!r}, one before it {self.input_shape!r}; "
                "all inputs must have one shape."
            )
        step = images_at_once(self._experiment)
        for first in range(0, len(batch), step):
            self._gather(batch[first : first + step])

    def _gather(self, batch: Array) -> None:
        """Add the gradients of as many images as a pass can take."""
        (found,) = self._experiment.gradients(batch, {self.layer: self._signal}).values()
        self._cancelling &= self._cancels(found.output)
        channels = tuple(axis for axis in range(1, batch.ndim) if axis not in self._axes)
        index = self.map.index(self.position, found.output.ndim)
        for output, gradient in zip(found.output, found.arrived(self.layer), strict=True):
            back = gradient[None]
            finite = np.isfinite(output[index]).all() and np.isfinite(back).all()
            if not finite or (self._mode == "default" and not back.any()):
                self.skipped += 1
                continue
            self.counted += 1
            if self._mode == "luo2016":
                self._sum = self._sum + gradient
                continue
            rectified = np.abs(back) if self._mode == "default" else np.maximum(back, 0)
            image = rectified.sum(axis=(0, *channels))
            self._sum = self._sum + (image / image.sum() if self._mode == "default" else image)

    def contribution(self) -> Array:
        if self._sum is None:
            raise MeasurementError("inputs is empty; at least one input is needed.")
        if self._mode == "luo2016" and self._cancelling:
            raise MeasurementError(
                f"The channels of {self.layer!r} add up to zero for every input, as they do behind "
                "a layer norm, so that their sum has no gradient to speak of; take mode='default', "
                "or a layer in front of the norm."
            )
        mean: Array = self._sum / max(1, self.counted)
        if self._mode == "luo2016":
            axes = tuple(axis - 1 for axis in self._axes)
            mean = np.abs(mean).sum(axis=tuple(i for i in range(mean.ndim) if i not in axes))
        if not mean.any():
            raise MeasurementError(
                f"None of {self.counted + self.skipped} inputs gives a gradient at unit "
                f"{self.position} of {self.layer!r}: all of its channels are closed (rectified to "
                "0), or its numbers are not finite. Take other inputs, another position, or a "
                "layer in front of the activation."
            )
        if self._mode == "replknet":
            mean = np.log10(mean + 1)
            mean /= mean.max()
        else:
            mean /= mean.sum()
        return mean

    def _look_at(self, batch: Array) -> None:
        """Choose the layer and the unit, now that there is an input to run with."""
        try:
            maps = Maps.of(self._experiment, batch[:1])
        except CaptureError as error:
            if batch.ndim > 3:
                raise
            raise CaptureError(
                f"Inputs have the shape {batch.shape!r}, of which the first axis counts images; if "
                f"that is a single image, pass image[None]. {error}"
            ) from error
        self._axes = maps.axes
        if self._wanted is None and self._several:
            self.layer = maps.chosen(None, lambda name: self._reaches(batch[:1], name))
        else:
            self.layer = maps.chosen(self._wanted)
        self.map = maps[self.layer]
        middle = self.map.middle
        self.position = (
            middle if self._position is None else self.map.check(self._position, self.layer)
        )
        self.input_shape = batch.shape[1:]
        whole = self._mode == "luo2016"
        self._sum = np.zeros(self.input_shape if whole else maps.size)

    def _reaches(self, image: Array, name: str) -> bool:
        """Whether a layer depends on the input that is looked at, of several."""
        (found,) = self._experiment.gradients(image, {name: np.ones_like}).values()
        return found.gradient is not None and bool(np.any(found.gradient))

    def _signal(self, output: Array) -> Array:
        index = self.map.index(self.position, output.ndim)
        sent: Array = np.zeros(output.shape)
        first = self.counted + self.skipped
        for place, (one, values) in enumerate(zip(sent, output, strict=True)):
            unit = values[index]
            if self._mode == "default":
                generator = np.random.default_rng((self._seed, first + place, 1))
                one[index] = generator.choice((-1.0, 1.0), size=unit.shape)
            else:
                one[index] = unit > 0 if self._mode == "replknet" else 1.0
        return sent

    def _cancels(self, output: Array) -> bool:
        """Return whether the channels of the unit add up to nothing in all inputs."""
        units = np.stack([one[self.map.index(self.position, output.ndim)] for one in output])
        sums, magnitudes = np.abs(units.sum(axis=1)), np.abs(units).sum(axis=1)
        return units.shape[1] > 1 and bool((sums <= _ROUNDING * magnitudes).all())


def _random_batches(
    shape: tuple[int, ...], samples: int, batch_size: int, seed: int
) -> Iterator[Array]:
    """Yield random images. Each has a generator of its own: batches do not change them."""
    for first in range(0, samples, batch_size):
        yield np.stack(
            [
                np.random.default_rng((seed, one, 0)).standard_normal(shape)
                for one in range(first, min(samples, first + batch_size))
            ]
        )


def _given_batches(inputs: Any, samples: int | None, batch_size: int) -> Iterator[Array]:
    """Yield the images of a user in batches, as arrays, and no more than asked for."""
    left = math.inf if samples is None else samples
    for batch in [inputs] if hasattr(inputs, "shape") else _iterated(inputs):
        images = _as_array(batch[0] if isinstance(batch, tuple | list) else batch)
        for first in range(0, len(images), batch_size):
            if left <= 0:
                return
            part = images[first : first + int(min(batch_size, left))]
            left -= len(part)
            yield part


def _iterated(inputs: Any) -> Iterable[Any]:
    if isinstance(inputs, str | bytes) or not isinstance(inputs, Iterable):
        raise MeasurementError(
            f"inputs is {inputs!r}; it must be an array or tensor of images, or an iterable of "
            "such batches."
        )
    return inputs


def _as_array(batch: Any) -> Array:
    images = numbers_in(batch, "a batch of inputs")
    if images.ndim < 2:
        raise MeasurementError(
            f"A batch of inputs has the shape {images.shape!r}; it must have a batch and channels, "
            "as in (8, 3, 224, 224), or be a batch of signals, as in (8, 16000)."
        )
    return images


# --- squares ---------------------------------------------------------------------------------


def _median(contribution: Array) -> tuple[int, ...]:
    """Return the pixel that half of the contribution lies before, on every axis."""
    centre = []
    for axis in range(contribution.ndim):
        others = tuple(one for one in range(contribution.ndim) if one != axis)
        before = np.cumsum(contribution.sum(axis=others))
        centre.append(int(np.searchsorted(before, before[-1] / 2)))
    return tuple(centre)


def _shares_of_squares(contribution: Array, centre: Sequence[int]) -> tuple[Array, Array]:
    """Return the shares of contribution and of pixels in the squares of reach 0, 1, 2, ...

    >>> shares, areas = _shares_of_squares(np.ones((3, 3)), (1, 1))
    >>> [round(float(one), 3) for one in shares]
    [0.111, 1.0]
    """
    distances = [
        np.abs(np.arange(size) - middle)
        for size, middle in zip(contribution.shape, centre, strict=True)
    ]
    reach = distances[0]
    for further in distances[1:]:
        reach = np.maximum(reach[..., None], further)
    flat = reach.ravel()
    shares = np.cumsum(np.bincount(flat, weights=contribution.ravel()))
    areas = np.cumsum(np.bincount(flat)) / contribution.size
    return shares / shares[-1], areas


def _smallest_square(
    contribution: Array, centre: Sequence[int], mode: Mode, share: float
) -> CentredSquare:
    shares, areas = _shares_of_squares(contribution, centre)
    if mode == "replknet":
        mean_side = contribution.size ** (1 / contribution.ndim)
        # As the published script: the share must be exceeded, from 3x3 pixels on, within the image.
        last = contribution.shape[0] // 2
        fitting = (one for one in range(1, min(last, len(shares))) if shares[one] > share)
        reach = next(fitting, None)
        if reach is None:
            return CentredSquare(share, None, None, None)
        side = 2 * reach + 1
        return CentredSquare(
            share, side, side / mean_side, side**contribution.ndim / contribution.size
        )
    # What all pixels together hold is 1 up to rounding.
    reach = int(np.searchsorted(shares, share * (1 - 1e-12)))
    side = 2 * reach + 1
    area = float(areas[reach])
    return CentredSquare(share, side, area ** (1 / contribution.ndim), area)


def _size_of_luo(contribution: Array) -> float:
    above = int((contribution > _LUO_THRESHOLD * contribution.max()).sum())
    return float(above ** (1 / contribution.ndim))


def _conditions(field: EffectiveReceptiveField) -> str:
    token = "" if field.token is None else f" (token {field.token})"
    unit = terms_of(len(field.input_size)).unit
    return (
        f"unit {field.position} of a map of {times(field.map_size)}{token}, "
        f"input of {times(field.input_size)} {unit}, {field.samples} {field.inputs} inputs, "
        f"mode {field.mode}, seed {field.seed}"
    )
