"""Plots of receptive fields with matplotlib (extra ``plot``): over images, and layer by layer.

Every function draws from values and returns a ``matplotlib.figure.Figure`` that belongs to nobody:
``figure.savefig("name.png")`` writes it, a notebook shows it. No window is opened, and no state of
``pyplot`` is touched.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from rfa_toolbox.analysis.blocks import blocks
from rfa_toolbox.analysis.states import axes_of, filters_non_convolutional_node
from rfa_toolbox.analysis.words import terms_of
from rfa_toolbox.arithmetic import LayerState
from rfa_toolbox.domain import Resolution
from rfa_toolbox.errors import InvalidResolutionError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.rendering.labels import visible
from rfa_toolbox.rendering.plotting import (
    SMALL_WIDTH,
    AxesOrSeveral,
    FigureSize,
    figure_for,
    inches,
)
from rfa_toolbox.rendering.style import BY_DESIGN, LOOKS, resolution_of, shown_state

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "EffectiveField",
    "drawn_image",
    "plot_comparison",
    "plot_contribution",
    "plot_effective_field",
    "plot_receptive_fields",
    "plot_unit_windows",
]

Array: TypeAlias = "np.ndarray[Any, Any]"

# Of Okabe and Ito's palette, which people with any kind of colour vision can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES = ("-", "--", "-.", ":")
_MARKERS: Mapping[LayerState, str] = {
    "productive": "o",
    "partially critical": "D",
    "critical": "s",
    "unproductive": "X",
}
_LARGEST_FIGURE = 18.0
_MOST_MARKS = 70
_HEAT = "magma"


class _Square(Protocol):
    @property
    def share(self) -> float: ...

    @property
    def side(self) -> int | None: ...


class EffectiveField(Protocol):
    """What plots want to know: an ``EffectiveReceptiveField`` has all of it."""

    @property
    def model(self) -> str:
        """Name of the model's class."""

    @property
    def layer(self) -> str:
        """Path of the layer."""

    @property
    def weights(self) -> str:
        """What the weights of the model are."""

    @property
    def mode(self) -> str:
        """How contributions are computed."""

    @property
    def samples(self) -> int:
        """Number of inputs."""

    @property
    def contribution(self) -> Array:
        """Of every pixel, as an array of the size of the image."""

    @property
    def centre(self) -> tuple[int, ...]:
        """Middle of the squares, in pixels per axis."""

    @property
    def squares(self) -> Sequence[_Square]:
        """Squares with a share and a side in pixels; None if there is none."""

    @property
    def curve(self) -> Sequence[tuple[int, float]]:
        """Sides of squares with their shares."""


# --- effective receptive fields --------------------------------------------------------------


def plot_effective_field(
    field: EffectiveField,
    *,
    ax: AxesOrSeveral | None = None,
    figsize: FigureSize = None,
    title: str | None = None,
) -> Figure:
    """Draw the contribution of every pixel with its squares, and the share by side.

    Sequences are drawn as a curve; of volumes, the sum over all but the last two axes is shown.

    Args:
        field: from ``rfa_toolbox.empirical.effective_receptive_field``.
        ax: axes of a figure of yours to draw on, one for the map alone, or two. None makes a
            figure.
        figsize: width and height of the figure in inches; "column" and "page" are as wide as a
            column and as the text of a paper.
        title: heading; None says what is shown, "" leaves it out.

    Raises:
        MissingPlotterError: a RuntimeError, if matplotlib is not installed.
        ValueError: for another number of axes.
    """
    with figure_for((1, 2), (9.6, 4.4), figsize, ax, fewer=True) as (figure, panels):
        _draw_heat(figure, panels[0], field)
        unit = "sample" if field.contribution.ndim == 1 else "pixel"
        panels[0].set_title(
            f"{_words(field.layer)}: contribution of every {unit}", fontsize="medium"
        )
        if len(panels) > 1:
            _draw_curves(panels[1], {field.layer: field})
            panels[1].set_title("Share by side of the square", fontsize="medium")
        _head(figure, panels, ax, _conditions(field), title)
    return figure


def plot_comparison(
    fields: Mapping[str, EffectiveField] | Iterable[EffectiveField],
    *,
    ax: AxesOrSeveral | None = None,
    figsize: FigureSize = None,
    title: str | None = None,
) -> Figure:
    """Draw effective receptive fields side by side, such as those of trained and random weights.

    Args:
        fields: several of them; with a title for each, or their weights are the titles.
        ax: axes of a figure of yours to draw on, one for each map, and one more. None makes a
            figure.
        figsize: width and height of the figure in inches; "column" and "page" are as wide as a
            column and as the text of a paper.
        title: heading; None says what is shown, "" leaves it out.

    Raises:
        MissingPlotterError: a RuntimeError, if matplotlib is not installed.
        InvalidResolutionError: a ValueError, if there are none, or their images differ in size.
    """
    named = (
        dict(fields)
        if isinstance(fields, Mapping)
        else {_weights(one) + " " * place: one for place, one in enumerate(fields)}
    )
    sizes = {one.contribution.shape for one in named.values()}
    if len(sizes) != 1:
        raise InvalidResolutionError(
            f"The fields were measured on images of the sizes {sorted(sizes)!r}; to compare them, "
            "measure at least one, and all at one resolution."
        )
    count = len(named)
    with figure_for((1, count + 1), (3.9 * count + 4.4, 4.2), figsize, ax) as (figure, panels):
        for panel, (name, field) in zip(panels, named.items(), strict=False):
            _draw_heat(figure, panel, field)
            panel.set_title(_words(name.rstrip()), fontsize="medium")
        _draw_curves(panels[-1], {name.rstrip(): one for name, one in named.items()})
        panels[-1].set_title("Share by side of the square", fontsize="medium")
        units = dict.fromkeys(
            f"{_words(one.layer)} in {_words(one.model)}" for one in named.values()
        )
        _head(figure, panels, ax, "Effective receptive field of " + ", ".join(units), title)
    return figure


def _conditions(field: EffectiveField) -> str:
    size = "x".join(map(str, field.contribution.shape))
    return (
        f"Effective receptive field of {_words(field.layer)} in {_words(field.model)}: "
        f"{_weights(field)}, {size} {_unit(field)}, {field.samples} inputs, mode {field.mode}"
    )


def _unit(field: EffectiveField) -> str:
    return terms_of(field.contribution.ndim).unit


def _weights(field: EffectiveField) -> str:
    given = field.weights == "as given"
    return "weights as given" if given else f"{_words(field.weights)} weights"


def _draw_heat(figure: Figure, panel: Axes, field: EffectiveField) -> None:
    contribution = field.contribution / field.contribution.max()
    if contribution.ndim == 1:
        panel.fill_between(np.arange(len(contribution)), contribution, color=_COLOURS[0])
        for place, square in enumerate(field.squares):
            if square.side is None:
                continue
            reach = square.side / 2
            for edge in (field.centre[0] - reach, field.centre[0] + reach):
                panel.axvline(edge, color=_COLOURS[1], linestyle=_DASHES[place % 4], linewidth=1)
        panel.set(xlabel="position in the input", ylabel="contribution, relative to the largest")
        return
    centre = field.centre[-2:]
    plane = contribution.sum(axis=tuple(range(contribution.ndim - 2)))
    _draw_plane(figure, panel, plane)
    patches = importlib.import_module("matplotlib.patches")
    effects = importlib.import_module("matplotlib.patheffects")
    for place, square in enumerate(field.squares):
        if square.side is None:
            continue
        corner = (centre[1] - square.side / 2, centre[0] - square.side / 2)
        outline = patches.Rectangle(
            corner,
            square.side,
            square.side,
            fill=False,
            edgecolor="white",
            linewidth=1.3,
            linestyle=_DASHES[place % len(_DASHES)],
            label=f"{square.share:.0%}: {square.side} px",
        )
        outline.set_path_effects([effects.withStroke(linewidth=2.6, foreground="black")])
        panel.add_patch(outline)
    handles, _ = panel.get_legend_handles_labels()
    if handles:
        panel.legend(
            loc="lower left", fontsize="small", facecolor="0.25", labelcolor="white", framealpha=0.8
        )


def _draw_plane(figure: Figure, panel: Axes, plane: Array, **options: Any) -> None:
    """Draw numbers from 0 up as colours; roots, as nearly all of them are small."""
    colors = importlib.import_module("matplotlib.colors")
    largest = plane.max() or 1.0
    drawn = panel.imshow(
        plane / largest, cmap=_HEAT, norm=colors.PowerNorm(0.5, vmin=0, vmax=1), **options
    )
    bar = figure.colorbar(drawn, ax=panel, shrink=0.8, pad=0.02)
    bar.set_label("relative to the largest (root scale)", fontsize="small")
    bar.set_ticks([0, 0.01, 0.1, 0.25, 0.5, 1], labels=["0", ".01", ".1", ".25", ".5", "1"])
    bar.ax.tick_params(labelsize="small")
    height, width = plane.shape
    panel.set(
        xlabel="x in pixels",
        ylabel="y in pixels",
        xlim=(-0.5, width - 0.5),
        ylim=(height - 0.5, -0.5),
    )


def _draw_curves(panel: Axes, fields: Mapping[str, EffectiveField]) -> None:
    for place, (title, field) in enumerate(fields.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        sides, shares = zip(*field.curve, strict=True)
        panel.plot(
            sides,
            shares,
            color=colour,
            linestyle=_DASHES[place % len(_DASHES)],
            label=_words(title),
        )
        marks = dict(field.curve)
        reached = [
            (square.share, square.side, marks[square.side])
            for square in field.squares
            if square.side is not None
        ]
        panel.plot(
            [side for _, side, _ in reached],
            [height for _, _, height in reached],
            linestyle="none",
            marker="osD^v"[place % 5],
            color=colour,
            markersize=6,
        )
        if len(fields) == 1:
            for share, side, height in reached:
                right = 2 * side > max(sides)
                panel.annotate(
                    f"{share:.0%}: {side} {_unit(field)}",
                    (side, height),
                    textcoords="offset points",
                    xytext=(-8, 2) if right else (8, -10),
                    ha="right" if right else "left",
                    fontsize="small",
                )
    units = {_unit(field) for field in fields.values()}
    panel.set(
        xlabel=(
            "length of the centred part in samples"
            if units == {"samples"}
            else "side of the centred square in pixels"
        ),
        ylabel="share of the contribution",
        ylim=(0, 1.05),
    )
    panel.set_xlim(left=0)
    panel.yaxis.set_major_formatter(
        importlib.import_module("matplotlib.ticker").PercentFormatter(1.0)
    )
    panel.grid(alpha=0.3)
    if len(fields) > 1:
        panel.legend(loc="lower right", fontsize="small")


# --- over an image ---------------------------------------------------------------------------


def plot_contribution(
    field: Any,
    image: Any = None,
    *,
    ax: Axes | None = None,
    figsize: FigureSize = None,
    title: str | None = None,
) -> Figure:
    """Draw a gradient or contribution map, alone or over an image: bright where pixels count.

    Args:
        field: from ``rfa_toolbox.empirical``: an effective receptive field or a gradient map; or
            any array of the image's height and width.
        image: what the model saw, or any other image of this size: (height, width), (height,
            width, channels) or (channels, height, width). None shows the map alone.
        ax: axes of a figure of yours to draw on. None makes a figure.
        figsize: width and height of the figure in inches; "column" and "page" are as wide as a
            column and as the text of a paper.
        title: heading; None says what is shown, "" leaves it out.

    Raises:
        MissingPlotterError: a RuntimeError, if matplotlib is not installed.
        InvalidResolutionError: a ValueError, if the image does not have the size of the map.
    """
    numbers = getattr(field, "contribution", getattr(field, "magnitude", field))
    plane = np.asarray(numbers, dtype=float)
    if plane.ndim != 2:
        raise InvalidResolutionError(
            f"A map over an image has two axes; this one has the shape {plane.shape!r}. "
            "plot_effective_field draws sequences and volumes, too."
        )
    picture = None if image is None else _picture(image)
    if picture is not None and picture.shape[:2] != plane.shape:
        raise InvalidResolutionError(
            f"The image has {picture.shape[:2]!r} pixels (height, width), the map "
            f"{plane.shape!r}; scale the image to the size that the model saw."
        )
    layer = getattr(field, "layer", None)
    heading = "Contribution of every pixel" + (f" to {_words(layer)}" if layer else "")
    with figure_for((1, 1), (6.0, 5.0), figsize, ax) as (figure, (panel,)):
        if picture is None:
            _draw_plane(figure, panel, plane)
        else:
            panel.imshow(_grey(picture), cmap="gray", vmin=0, vmax=1)
            visible = np.clip(np.sqrt(plane / (plane.max() or 1.0)) * 1.5, 0, 0.85)
            _draw_plane(figure, panel, plane, alpha=visible)
        panel.set_title(heading if title is None else title, fontsize="medium")
    return figure


def plot_unit_windows(
    layer: Any,
    image: Any = None,
    map_size: Sequence[int] | None = None,
    *,
    ax: Axes | None = None,
    figsize: FigureSize = None,
    title: str | None = None,
) -> Figure:
    """Draw the centres of all units of a layer over an image, with the windows of five of them.

    The four units in the corners may look over the border; what lies there is padding.

    Args:
        layer: a node of a graph, or a measured field of ``rfa_toolbox.empirical``.
        image: any image, see ``plot_contribution``; or its size (height, width), to draw one. None
            takes the size that the graph was made with.
        map_size: units of the layer per axis (height, width); None takes what the node knows for
            this image, or as many as have their centre in the image.
        ax: axes of a figure of yours to draw on. None makes a figure.
        figsize: width and height of the figure in inches; "column" and "page" are as wide as a
            column and as the text of a paper.
        title: heading; None says what is shown, "" leaves it out.

    Raises:
        MissingPlotterError: a RuntimeError, if matplotlib is not installed.
        InvalidResolutionError: a ValueError, if it is not known where the units look, or how
            large the image is.
    """
    where = layer.window if isinstance(layer, EnrichedNetworkNode) else layer
    if where is None or any(
        one is None or not math.isfinite(one) for one in (*where.start, *where.size)
    ):
        raise InvalidResolutionError(
            f"Where the units of {layer.name!r} look is not known, or they see everything; choose "
            "a layer with finite windows."
        )
    picture = _image_for(layer, image)
    height, width = picture.shape[:2]
    start, size, jump = (_two(getattr(where, name), layer) for name in ("start", "size", "jump"))
    units = (
        _two(tuple(map_size), layer)
        if map_size is not None
        else _units(layer, where, (height, width))
    )
    with figure_for((1, 1), (6.4, 6.0), figsize, ax) as (figure, (panel,)):
        _draw_windows(panel, picture, units, start, size, jump)
        words = f"windows of {size[0]}x{size[1]} px, every {jump[0]}x{jump[1]} px"
        panel.set_title(
            f"{_words(layer.name)}: {words}" if title is None else title, fontsize="medium"
        )
    return figure


def _draw_windows(
    panel: Axes,
    picture: Array,
    units: tuple[int, int],
    start: tuple[Any, Any],
    size: tuple[Any, Any],
    jump: tuple[Any, Any],
) -> None:
    height, width = picture.shape[:2]
    panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
    centres = [
        [
            float(start[axis] + unit * jump[axis] + Fraction(size[axis] - 1) / 2)
            for unit in range(units[axis])
        ]
        for axis in (0, 1)
    ]
    grid_y, grid_x = np.meshgrid(centres[0], centres[1], indexing="ij")
    panel.scatter(
        grid_x, grid_y, s=12, color="white", edgecolors="black", linewidths=0.6, zorder=3,
        label=f"centres of {units[0]}x{units[1]} units",
    )  # fmt: skip
    patches = importlib.import_module("matplotlib.patches")
    last = tuple(one - 1 for one in units)
    chosen = dict.fromkeys(
        [(0, 0), (0, last[1]), (last[0], 0), last, (units[0] // 2, units[1] // 2)]
    )
    for place, unit in enumerate(chosen):
        corner = [float(start[axis] + unit[axis] * jump[axis]) - 0.5 for axis in (0, 1)]
        panel.add_patch(
            patches.Rectangle(
                (corner[1], corner[0]),
                float(size[1]),
                float(size[0]),
                fill=False,
                edgecolor=_COLOURS[place],
                linestyle=_DASHES[place % len(_DASHES)],
                linewidth=2.2,
                zorder=4,
                label=f"window of unit {unit}",
            )
        )
        panel.plot(
            centres[1][unit[1]], centres[0][unit[0]], "o", color=_COLOURS[place],
            markeredgecolor="white", markersize=7, zorder=5,
        )  # fmt: skip
    over = [max(0.0, -float(start[axis])) for axis in (0, 1)]
    beyond = [
        max(0.0, float(start[axis] + last[axis] * jump[axis] + size[axis]) - picture.shape[axis])
        for axis in (0, 1)
    ]
    margin = 0.02 * max(height, width)
    panel.set_xlim(-0.5 - over[1] - margin, width - 0.5 + beyond[1] + margin)
    panel.set_ylim(height - 0.5 + beyond[0] + margin, -0.5 - over[0] - margin)
    panel.add_patch(
        patches.Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor="black", linewidth=1)
    )
    panel.set(xlabel="x in pixels", ylabel="y in pixels")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, fontsize="small")


def drawn_image(size: Sequence[int]) -> Array:
    """Return a picture of a house under the sun, (height, width, 3), with values from 0 to 1.

    >>> drawn_image((4, 6)).shape
    (4, 6, 3)
    """
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(float)
    y, x = y / max(1, height - 1), x / max(1, width - 1)
    picture = np.stack([0.62 + 0.25 * y, 0.78 + 0.15 * y, np.full_like(y, 0.95)], axis=-1)
    for inside, colour in (
        ((x - 0.8) ** 2 + (y - 0.18) ** 2 < 0.011, (1.0, 0.87, 0.35)),
        (y > 0.68 + 0.05 * np.sin(9 * x), (0.47, 0.66, 0.38)),
        ((abs(x - 0.42) < 0.2) & (y > 0.42) & (y < 0.8), (0.86, 0.76, 0.62)),
        ((y > 0.22) & (y < 0.44) & (abs(x - 0.42) < (y - 0.22) * 1.15 + 0.01), (0.66, 0.32, 0.26)),
        ((abs(x - 0.42) < 0.045) & (y > 0.58) & (y < 0.8), (0.4, 0.28, 0.22)),
        ((abs(abs(x - 0.42) - 0.12) < 0.035) & (abs(y - 0.54) < 0.045), (0.35, 0.45, 0.6)),
    ):
        picture[inside] = colour
    return picture


def _image_for(layer: Any, image: Any) -> Array:
    if image is None:
        image = getattr(layer, "encoded_resolution", None)
        if image is None:
            raise InvalidResolutionError(
                f"How large the image is that {layer.name!r} looks at is not known; pass image, "
                "or its size (height, width)."
            )
    if isinstance(image, Sequence) and all(hasattr(one, "__index__") for one in image):
        return drawn_image(_two(tuple(image), layer))
    return _picture(image)


def _units(layer: Any, where: Any, size: tuple[int, int]) -> tuple[int, int]:
    known = getattr(layer, "feature_map", None)
    if known is not None and getattr(layer, "encoded_resolution", None) == size:
        return _two(known, layer)
    counts = []
    for axis in (0, 1):
        first = Fraction(where.start[axis]) + Fraction(where.size[axis] - 1) / 2
        jump = Fraction(where.jump[axis])
        counts.append(1 if not jump else max(1, math.ceil((size[axis] - first) / jump)))
    return counts[0], counts[1]


def _two(numbers: Sequence[Any], layer: Any) -> tuple[Any, Any]:
    if len(numbers) != 2:
        raise InvalidResolutionError(
            f"{getattr(layer, 'name', layer)!r} has {len(numbers)} spatial axes; windows over an "
            "image need two, (height, width)."
        )
    return numbers[0], numbers[1]


def _picture(image: Any) -> Array:
    """Return an image with values from 0 to 1, (height, width) or (height, width, 3)."""
    if hasattr(image, "detach"):
        image = image.detach().cpu()
    pixels = np.asarray(image, dtype=float)
    if pixels.ndim == 4 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[-1] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4):
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3]
    elif pixels.ndim != 2:
        raise InvalidResolutionError(
            f"The image has the shape {pixels.shape!r}; it must be (height, width), (height, "
            "width, channels) or (channels, height, width), with 1, 3 or 4 channels."
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 255:  # normalised for a model
        return (pixels - low) / (high - low)
    return pixels / 255 if high > 1 else pixels


def _grey(picture: Array) -> Array:
    return picture if picture.ndim == 2 else picture.mean(axis=-1)


# --- layer by layer --------------------------------------------------------------------------


def plot_receptive_fields(
    graph: EnrichedNetworkNode,
    input_res: Resolution | Iterable[int],
    effective: Mapping[str, float] | Iterable[Any] = (),
    share: float = 0.5,
    other_resolutions: Iterable[int] = (),
    *,
    layers: Literal["auto", "nodes", "blocks"] = "auto",
    ax: AxesOrSeveral | None = None,
    figsize: FigureSize = None,
    title: str | None = None,
) -> Figure:
    """Draw the receptive field of every layer against the resolution of the input.

    The picture to look at first: layers whose smallest field (lower end) is above the line of the
    resolution have no new context to add. Where the axes of the graph differ, each has a panel.

    Args:
        graph: any node of a graph.
        input_res: resolution in pixels, one number or one per axis (height, width), for which
            the states are shown.
        effective: sizes in pixels by module path or name of a layer; or effective receptive fields,
            as ``rfa_toolbox.empirical.effective_receptive_field`` returns them.
        share: the share of contribution whose square is the size of an effective field.
        other_resolutions: further resolutions in pixels, to draw a line at each.
        layers: a mark for every node, or for every block (a layer with what only passes its output
            on); "auto" takes blocks where there would be more than 70 marks, or 35 in a column.
        ax: axes of a figure of yours to draw on, one for each panel. None makes a figure.
        figsize: width and height of the figure in inches; "column" and "page" are as wide as a
            column and as the text of a paper.
        title: heading; None says what is shown, "" leaves it out.

    Raises:
        MissingPlotterError: a RuntimeError, if matplotlib is not installed.
        InvalidResolutionError: a ValueError, if ``input_res`` is no resolution, or ``effective``
            names a layer that the graph does not have.
    """
    every = list(graph.all_layers)
    small = ax is None and inches(figsize, (_LARGEST_FIGURE, 1))[0] < SMALL_WIDTH
    nodes, place_of = _marks(graph, layers, _MOST_MARKS // 2 if small else _MOST_MARKS)
    resolution = resolution_of(every, input_res)  # type: ignore[arg-type]
    states = [shown_state(node, resolution) for node in nodes]
    axes = _axes_to_show(nodes, resolution)
    sizes = {
        place_of[place]: size for place, size in _effective_sizes(every, effective, share).items()
    }
    lengths = [(resolution[axis], *other_resolutions) for axis in axes]
    wanted = (max(6.4, min(_LARGEST_FIGURE, 2.5 + 0.22 * len(nodes))), 1.2 + 4.0 * len(axes))
    with figure_for((len(axes), 1), wanted, figsize, ax) as (figure, panels):
        for panel, axis, lines in zip(panels, axes, lengths, strict=True):
            _draw_layers(panel, nodes, states, axis, lines, sizes)
            if len(axes) > 1:
                panel.set_title(("height", "width")[axis] if len(axes) == 2 else f"axis {axis}")
        most = max(8, round(_MOST_MARKS * min(1.0, figure.get_figwidth() / wanted[0])))
        step = max(1, math.ceil(len(nodes) / most))
        panels[-1].set_xticks(
            range(0, len(nodes), step),
            [_words(_short(node.name)) for node in nodes[::step]],
            rotation=90,
            fontsize="x-small",
        )
        panels[0].legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.02 if len(axes) == 1 else 1.08),
            ncols=4 if figure.get_figwidth() > 5 else 2, fontsize="small", frameon=False,
        )  # fmt: skip
        if title:
            _head(figure, panels, ax, "", title)
    return figure


def _marks(
    graph: EnrichedNetworkNode, layers: str, most: int
) -> tuple[list[EnrichedNetworkNode], list[int]]:
    """Return the nodes that get a mark, and for each node of the graph the place of its mark."""
    every = list(graph.all_layers)
    if layers not in ("auto", "nodes", "blocks"):
        raise ValueError(f"layers is {layers!r}; valid are 'auto', 'nodes' and 'blocks'.")
    if layers == "nodes" or (layers == "auto" and len(every) <= most):
        return every, list(range(len(every)))
    found = blocks(graph)
    places = {node: block.index for block in found for node in block.nodes}
    return [block.main for block in found], [places[node] for node in every]


def _axes_to_show(nodes: Sequence[EnrichedNetworkNode], resolution: Sequence[int]) -> list[int]:
    """Return one axis for all that look the same."""
    looks: dict[Any, int] = {}
    for axis, length in enumerate(resolution):
        fields = tuple(_fields(node, axis) for node in nodes)
        looks.setdefault((length, fields), axis)
    return list(looks.values())


def _fields(node: EnrichedNetworkNode, axis: int) -> tuple[float, float]:
    def one(value: Any) -> float:
        return float(value[axis] if isinstance(value, tuple) else value)

    return one(node.receptive_field_min), one(node.receptive_field_max)


def _draw_layers(
    panel: Axes,
    nodes: Sequence[EnrichedNetworkNode],
    states: Sequence[LayerState],
    axis: int,
    lengths: Sequence[int],
    effective: Mapping[int, float],
) -> None:
    unit = terms_of(axes_of(nodes)).unit
    fields = [_fields(node, axis) for node in nodes]
    finite = [one for pair in fields for one in pair if math.isfinite(one)]
    top = 2.5 * max([*finite, *lengths, *effective.values()])
    heights = [(max(0.8, min(low, top)), min(high, top)) for low, high in fields]
    panel.vlines(
        range(len(nodes)),
        [low for low, _ in heights],
        [high for _, high in heights],
        color="0.45",
        linewidth=min(2.5, _room(panel, len(nodes)) / 3),
        zorder=2,
        label="from smallest to largest",
    )
    panel.plot(
        range(len(nodes)), [high for _, high in heights], linestyle="none", marker="_",
        color="0.2", markersize=min(7, _room(panel, len(nodes))), zorder=2,
    )  # fmt: skip
    _draw_states(panel, nodes, states, [low for low, _ in heights])
    if effective:
        panel.plot(
            list(effective), list(effective.values()), marker="^", linestyle=":", markersize=8,
            color=_COLOURS[0], markeredgecolor="white", zorder=4, label="effective field",
        )  # fmt: skip
    for place, length in enumerate(lengths):
        panel.axhline(
            length, color="black", linewidth=1.2, linestyle="--" if place else "-", zorder=1
        )
        panel.annotate(
            f"{length} {unit}" if place else f"input: {length} {unit}", (0, length), ha="left",
            va="bottom", xycoords=("axes fraction", "data"), fontsize="small", xytext=(4, 2),
            textcoords="offset points",
        )  # fmt: skip
    panel.set_yscale("log", base=2)
    panel.yaxis.set_major_formatter(
        importlib.import_module("matplotlib.ticker").FuncFormatter(lambda value, _: f"{value:g}")
    )
    if any(math.isinf(one) for pair in fields for one in pair):
        panel.axhline(top, color="0.6", linewidth=0.8, zorder=0)
        panel.annotate(
            "∞ sees everything", (0, top), xycoords=("axes fraction", "data"), ha="left",
            va="top", fontsize="small", xytext=(4, -2), textcoords="offset points",
        )  # fmt: skip
    panel.set_ylim(0.8, 1.5 * top)
    panel.set_xlim(-0.8, len(nodes) - 0.2)
    panel.set_ylabel(f"receptive field in {'samples' if unit == 'samples' else 'pixels'}")
    panel.grid(axis="y", alpha=0.3)


def _room(panel: Axes, marks: int) -> float:
    """Return how many points wide a mark may be to stand beside so many others."""
    figure: Any = panel.figure
    width = float(panel.get_position().width * figure.get_figwidth() * 72)
    return max(2.0, width / max(1, marks))


def _draw_states(
    panel: Axes,
    nodes: Sequence[EnrichedNetworkNode],
    states: Sequence[LayerState],
    heights: Sequence[float],
) -> None:
    """Mark the smallest field of every layer by its state; those that see everything are grey."""
    extracting = set(filters_non_convolutional_node(nodes))
    found: dict[LayerState | None, list[int]] = {}
    for place, (node, state) in enumerate(zip(nodes, states, strict=True)):
        found.setdefault(state if node in extracting else None, []).append(place)
    widest = _room(panel, len(nodes))
    shown: list[LayerState | None] = [*LOOKS, None]
    for one in shown:
        places = found.get(one, [])
        if not places:
            continue
        size = 7.7 if one == "unproductive" else 6.2
        panel.scatter(
            places,
            [heights[place] for place in places],
            marker="P" if one is None else _MARKERS[one],
            s=min(size, widest) ** 2,
            color=BY_DESIGN.colour if one is None else LOOKS[one].colour,
            edgecolors="black",
            linewidths=min(0.9, widest / 8),
            zorder=3,
            label=BY_DESIGN.meaning if one is None else f"smallest field, {one}",
        )


def _effective_sizes(
    nodes: Sequence[EnrichedNetworkNode], effective: Any, share: float
) -> dict[int, float]:
    """Return sizes by the place of the layer, in the order of layers."""
    named = (
        dict(effective)
        if isinstance(effective, Mapping)
        else {one.layer: one.square(share).side for one in effective}
    )
    places = {}
    for layer, size in named.items():
        # A path that stands for a block means what the block returns.
        inside = [
            place
            for place, node in enumerate(nodes)
            if layer in (node.name, node.module_path)
            or (node.module_path or "").startswith(f"{layer}.")
        ]
        if not inside:
            raise InvalidResolutionError(
                f"effective names the layer {layer!r}, which the graph does not have; its last "
                f"layers are {[node.name for node in nodes[-5:]]!r}."
            )
        if size is not None:
            places[inside[-1]] = float(size)
    return dict(sorted(places.items()))


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"


def _words(text: str) -> str:
    r"""Return a text of a model as it is: nothing in it is a formula or breaks the line.

    >>> print(_words("a$b$" + chr(10)))
    a\$b\$\n
    """
    return visible(str(text)).replace("$", r"\$")


def _head(figure: Figure, panels: Sequence[Axes], ax: Any, heading: str, title: str | None) -> None:
    """Put a title above the panels, over a figure of our own or the first axes of the user's."""
    text = heading if title is None else title
    if ax is None:
        figure.suptitle(text, fontsize="medium")
    elif title is not None:
        panels[0].set_title(text, fontsize="medium")
