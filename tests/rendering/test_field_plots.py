"""Plots of fields: what is drawn has the numbers of the results; no picture is compared."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import attrs
import numpy as np
import pytest

from rfa_toolbox import blocks
from rfa_toolbox.architectures import resnet152, vgg11
from rfa_toolbox.empirical import WeightsComparison
from rfa_toolbox.errors import InvalidResolutionError, MissingPlotterError
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, Measures
from rfa_toolbox.rendering.candidates import Candidates, Point
from rfa_toolbox.rendering.field_plots import (
    drawn_image,
    plot_comparison,
    plot_contribution,
    plot_effective_field,
    plot_receptive_fields,
    plot_unit_windows,
)

pytest.importorskip("matplotlib")


@attrs.frozen
class Square:
    share: float
    side: int | None


@attrs.frozen(eq=False)
class Field:
    """What the plots want to know, without a model."""

    contribution: Any
    model: str = "Net"
    layer: str = "stage"
    weights: str = "trained"
    mode: str = "default"
    samples: int = 3
    centre: tuple[int, ...] = (10, 12)
    squares: tuple[Square, ...] = (Square(0.2, 3), Square(0.5, 7), Square(0.99, None))
    curve: tuple[tuple[int, float], ...] = ((1, 0.1), (3, 0.25), (5, 0.4), (7, 0.6), (9, 1.0))


def bump(height: int = 20, width: int = 24) -> Any:
    y, x = np.mgrid[:height, :width]
    return np.exp(-((y - 10) ** 2 + (x - 12) ** 2) / 20)


def rectangles(panel: Any) -> list[tuple[float, float, float, float]]:
    return [(*one.get_xy(), one.get_width(), one.get_height()) for one in panel.patches]


def written(figure: Any) -> bytes:
    from io import BytesIO

    target = BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def test_the_heat_map_has_the_contribution_and_its_squares() -> None:
    figure = plot_effective_field(Field(bump()))
    heat, curve, _ = figure.axes
    np.testing.assert_allclose(heat.images[0].get_array(), bump())
    assert heat.images[0].norm.vmin == 0
    # Around pixel (10, 12), whose middle has the coordinates 12 and 10.
    assert rectangles(heat) == [(10.5, 8.5, 3, 3), (8.5, 6.5, 7, 7)]
    assert [one.get_text() for one in heat.get_legend().get_texts()] == ["20%: 3 px", "50%: 7 px"]
    assert list(curve.lines[0].get_xdata()) == [1, 3, 5, 7, 9]
    assert list(curve.lines[1].get_xdata()) == [3, 7]
    assert list(curve.lines[1].get_ydata()) == [0.25, 0.6]
    for panel in (heat, curve):
        assert panel.get_xlabel()
        assert panel.get_ylabel()
    assert "trained weights" in figure.get_suptitle()
    assert written(figure).startswith(b"\x89PNG")


def test_sequences_are_curves_and_volumes_are_sums() -> None:
    sequence = Field(bump()[10], centre=(12,))
    panel = plot_effective_field(sequence).axes[0]
    assert [line.get_xdata()[0] for line in panel.lines] == [10.5, 13.5, 8.5, 15.5]
    volume = Field(np.stack([bump(), 2 * bump()]), centre=(1, 10, 12))
    panel = plot_effective_field(volume).axes[0]
    np.testing.assert_allclose(panel.images[0].get_array(), bump())


def test_fields_are_compared_side_by_side() -> None:
    fields = [Field(bump()), Field(bump() ** 2, weights="random")]
    figure = plot_comparison(fields)
    panels = [panel for panel in figure.axes if panel.images]
    titles = [panel.get_title() for panel in figure.axes if panel.get_title()]
    assert titles == ["trained weights", "random weights", "Share by side of the square"]
    assert len(figure.axes) == 5  # two maps with their scales, and the curves
    assert len(panels) >= 2
    named = plot_comparison({"a": fields[0], "b": fields[1]})
    curves = next(one for one in named.axes if "Share" in one.get_title())
    assert [one.get_text() for one in curves.get_legend().get_texts()] == ["a", "b"]
    assert len(plot_comparison([fields[0], fields[0]]).axes) == 5
    one, other = (attrs.evolve(fields[0], weights=name) for name in ("trained", "random"))
    figure = WeightsComparison(one, other).plot()
    titles = [panel.get_title() for panel in figure.axes if panel.images]
    assert titles[:2] == ["trained weights", "random weights"]


@pytest.mark.parametrize("fields", [[], [Field(bump()), Field(bump(8, 8))]])
def test_only_fields_of_one_resolution_are_compared(fields: list[Field]) -> None:
    with pytest.raises(InvalidResolutionError, match="one resolution"):
        plot_comparison(fields)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 24)),
        np.full((20, 24, 3), 128),
        np.random.default_rng(0).normal(size=(1, 3, 20, 24)),
        np.ones((1, 20, 24)),
    ],
)
def test_a_map_lies_over_any_image_of_its_size(image: Any) -> None:
    panel = plot_contribution(Field(bump()), image).axes[0]
    below, above = panel.images
    assert below.get_array().shape == (20, 24)
    assert 0 <= below.get_array().min() <= below.get_array().max() <= 1
    np.testing.assert_allclose(above.get_array(), bump())
    alpha = above.get_alpha()
    assert alpha[10, 12] == alpha.max() > 0.8
    assert alpha[0, 0] < 0.1
    assert "stage" in panel.get_title()


@pytest.mark.parametrize(
    ("field", "image", "words"),
    [
        (bump(), np.zeros((20, 20)), "(20, 20)"),
        (bump(), np.zeros((2, 20, 24, 3)), "(2, 20, 24, 3)"),
        (bump()[0], None, "two axes"),
    ],
)
def test_images_that_do_not_fit_are_refused(field: Any, image: Any, words: str) -> None:
    with pytest.raises(InvalidResolutionError) as raised:
        plot_contribution(field, image)
    assert words in str(raised.value)


def strided() -> EnrichedNetworkNode:
    layer = LayerDefinition("Conv", (5, 3), (4, 8), padding=((2, 2), (1, 1)))
    measures = Measures(feature_map=(4, 3), encoded_resolution=(16, 24))
    return EnrichedNetworkNode("conv", layer, [], measures=measures)


def test_windows_of_the_corners_and_the_middle_over_an_image() -> None:
    panel = plot_unit_windows(strided()).axes[0]
    assert panel.images[0].get_array().shape == (16, 24, 3)
    dots = panel.collections[0].get_offsets()
    assert sorted({float(y) for _, y in dots}) == [0, 4, 8, 12]
    assert sorted({float(x) for x, _ in dots}) == [0, 8, 16]
    # x, y, width and height of the windows of (0, 0), (0, 2), (3, 0), (3, 2) and (2, 1).
    assert rectangles(panel)[:5] == [
        (-1.5, -2.5, 3, 5),
        (14.5, -2.5, 3, 5),
        (-1.5, 9.5, 3, 5),
        (14.5, 9.5, 3, 5),
        (6.5, 5.5, 3, 5),
    ]
    assert len({one.get_edgecolor() for one in panel.patches[:5]}) == 5
    low, high = panel.get_xlim()
    assert low < -1.5
    assert high > 23.5


def test_windows_of_a_measured_field_need_the_size_of_an_image() -> None:
    @attrs.frozen
    class Measured:
        name: str = "conv"
        start: tuple[Any, ...] = (-1, -1)
        size: tuple[Any, ...] = (3, 3)
        jump: tuple[Any, ...] = (Fraction(1, 2), 2)

    panel = plot_unit_windows(Measured(), (6, 8)).axes[0]
    dots = panel.collections[0].get_offsets()
    assert len({float(y) for _, y in dots}) == 12
    assert len({float(x) for x, _ in dots}) == 4
    fewer = plot_unit_windows(Measured(), np.zeros((6, 8)), map_size=(2, 2)).axes[0]
    assert len(fewer.collections[0].get_offsets()) == 4
    with pytest.raises(InvalidResolutionError, match="How large the image is"):
        plot_unit_windows(Measured())
    with pytest.raises(InvalidResolutionError, match="they see everything"):
        plot_unit_windows(Measured(size=(3, float("inf"))), (6, 8))
    with pytest.raises(InvalidResolutionError, match="1 spatial axes"):
        plot_unit_windows(Measured(start=(0,), size=(3,), jump=(1,)), (6, 8))


def test_layers_against_the_resolution() -> None:
    graph = vgg11()
    nodes = graph.all_layers
    figure = plot_receptive_fields(graph, 32, effective={nodes[3].name: 5}, other_resolutions=[64])
    (panel,) = figure.axes
    states = {
        one.get_label().removeprefix("smallest field, "): one
        for one in panel.collections
        if str(one.get_label()).startswith("smallest field")
    }
    looking = [node for node in nodes if node.receptive_field_min != float("inf")]
    assert set(states) == {node.state(32) for node in looking}
    (head,) = [one for one in panel.collections if one.get_label() == "sees everything by design"]
    assert len(head.get_offsets()) == len(nodes) - len(looking)
    for state, dots in states.items():
        drawn = {int(x): float(y) for x, y in dots.get_offsets()}
        expected = {i: node for i, node in enumerate(looking) if node.state(32) == state}
        assert set(drawn) == set(expected)
        for place, node in expected.items():
            smallest = node.receptive_field_min
            assert drawn[place] == (smallest[0] if isinstance(smallest, tuple) else smallest)
    lines = {line.get_label(): line for line in panel.lines}
    assert list(lines["effective field"].get_xdata()) == [3]
    assert list(lines["effective field"].get_ydata()) == [5]
    heights = [line.get_ydata()[0] for line in panel.lines if len(set(line.get_ydata())) == 1]
    assert {32, 64} <= set(heights)
    assert panel.get_ylabel() == "receptive field in pixels"
    assert panel.get_xticklabels()[1].get_text() == nodes[1].name


def test_states_differ_in_more_than_colour() -> None:
    panel = plot_receptive_fields(vgg11(), 32).axes[0]
    dots = [one for one in panel.collections if "smallest field" in str(one.get_label())]
    assert len(dots) >= 2
    shapes = {one.get_paths()[0].vertices.tobytes() for one in dots}
    assert len(shapes) == len(dots)


def test_axes_that_differ_have_panels_of_their_own() -> None:
    first = EnrichedNetworkNode("a", LayerDefinition("Conv", (3, 7)), [])
    graph = EnrichedNetworkNode("b", LayerDefinition("Conv", (3, 3)), [first])
    assert len(plot_receptive_fields(graph, 16).axes) == 2
    assert len(plot_receptive_fields(vgg11(), 16).axes) == 1
    square = EnrichedNetworkNode("a", LayerDefinition("Conv", (3, 3)), [])
    assert len(plot_receptive_fields(square, 16).axes) == 1
    assert len(plot_receptive_fields(square, (16, 32)).axes) == 2


def test_effective_fields_find_their_layers() -> None:
    @attrs.frozen
    class Effective:
        layer: str

        def square(self, share: float) -> Square:
            return Square(share, round(share * 10))

    first = EnrichedNetworkNode("a", LayerDefinition("Conv", 3), [], module_path="stage.0")
    graph = EnrichedNetworkNode("b", LayerDefinition("Conv", 3), [first], module_path="stage.1")
    panel = plot_receptive_fields(graph, 16, effective=[Effective("stage")], share=0.3).axes[0]
    line = next(one for one in panel.lines if "effective" in str(one.get_label()))
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1], [3])
    with pytest.raises(InvalidResolutionError, match="'stem'"):
        plot_receptive_fields(graph, 16, effective={"stem": 3})


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (224, 224)])
def test_the_drawn_image_has_any_size(size: tuple[int, int]) -> None:
    picture = drawn_image(size)
    assert picture.shape == (*size, 3)
    assert picture.min() >= 0
    assert picture.max() <= 1


def test_no_state_of_pyplot_is_touched() -> None:
    code = """
        import sys
        from rfa_toolbox.architectures.vgg import vgg11
        from rfa_toolbox.rendering.field_plots import plot_receptive_fields
        plot_receptive_fields(vgg11(), 32).savefig(sys.stdout.buffer, format="svg")
        assert "matplotlib.pyplot" not in sys.modules
    """
    lines = "\n".join(line.strip() for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, check=True)
    assert b"</svg>" in done.stdout


def test_a_missing_matplotlib_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rfa_toolbox.rendering.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPlotterError, match=r"pip install 'rfa_toolbox\[plot\]'"):
        plot_receptive_fields(vgg11(), 32)


# --- for papers and notebooks ------------------------------------------------------------------


def test_without_an_image_a_map_lies_over_nothing() -> None:
    (drawn,) = plot_contribution(Field(bump())).axes[0].images
    np.testing.assert_allclose(drawn.get_array(), bump())
    assert drawn.get_alpha() is None


def test_fonts_are_embedded_as_type_42() -> None:
    target = io.BytesIO()
    plot_receptive_fields(vgg11(), 32).savefig(target, format="pdf")
    assert b"/FontType 42" in target.getvalue() or b"/CIDFontType2" in target.getvalue()
    assert b"/Type3" not in target.getvalue()


def test_a_figure_is_a_picture_in_a_notebook() -> None:
    assert plot_effective_field(Field(bump()))._repr_png_().startswith(b"\x89PNG")


CONV = EnrichedNetworkNode("conv", LayerDefinition("Conv", (3, 3), padding=1), [])
PLOTS: list[tuple[Callable[..., Any], int]] = [
    (lambda **options: plot_effective_field(Field(bump()), **options), 2),
    (lambda **options: plot_comparison([Field(bump()), Field(bump())], **options), 3),
    (lambda **options: plot_contribution(Field(bump()), **options), 1),
    (lambda **options: plot_receptive_fields(vgg11(), 32, **options), 1),
    (lambda **options: plot_unit_windows(CONV, (6, 8), **options), 1),
    (lambda **options: Candidates((Point(1, 2, "one", True),), "x", "y").plot(**options), 1),
]


@pytest.mark.parametrize(("plot", "panels"), PLOTS)
def test_every_plot_takes_axes_a_size_and_a_title(plot: Callable[..., Any], panels: int) -> None:
    from matplotlib.figure import Figure

    own = Figure()
    axes = own.subplots(1, panels)
    assert plot(ax=axes, title="mine") is own
    assert all(panel.has_data() for panel in np.ravel(axes))
    assert np.ravel(axes)[0].get_title() == "mine"
    assert tuple(plot(figsize=(3, 2)).get_size_inches()) == (3, 2)
    column = plot(figsize="column", title="mine")
    assert column.get_figwidth() == 3.4
    assert "mine" in (column.get_suptitle(), column.axes[0].get_title())
    with pytest.raises(ValueError, match=f"ax holds 4 axes; this plot has {panels} panels"):
        plot(ax=Figure().subplots(1, 4))
    with pytest.raises(ValueError, match="ax is 3; it must be axes of matplotlib"):
        plot(ax=3)
    for wrong in ("poster", 3, (3,), (-1, 2), (0, 2), (3, float("nan"))):
        with pytest.raises(ValueError, match="figsize is"):
            plot(figsize=wrong)


def test_names_are_no_formulas_and_stay_in_their_line() -> None:
    nasty = "$\\frac{$" + chr(10) + "b"
    field = attrs.evolve(Field(bump()), layer=nasty, model=nasty, weights=nasty)
    graph = EnrichedNetworkNode(nasty, LayerDefinition("Conv", (3, 3)), [])
    for figure in (
        plot_effective_field(field),
        plot_comparison([field, field]),
        plot_contribution(field),
        plot_receptive_fields(graph, 32),
    ):
        assert written(figure).startswith(b"\x89PNG")


def test_signals_have_samples_and_no_pixels() -> None:
    graph = EnrichedNetworkNode("conv", LayerDefinition("Conv", (3,)), [])
    assert plot_receptive_fields(graph, 32).axes[0].get_ylabel() == "receptive field in samples"
    panel = plot_effective_field(Field(bump()[10], centre=(12,))).axes
    assert "samples" in panel[1].get_xlabel()
    assert "sample" in panel[0].get_title()


def test_long_networks_have_a_mark_for_every_block() -> None:
    graph = resnet152()
    dots = plot_receptive_fields(graph, 64).axes[0].collections[1:]
    assert sum(len(one.get_offsets()) for one in dots) == len(blocks(graph))
    every = plot_receptive_fields(graph, 64, layers="nodes").axes[0].collections[1:]
    assert sum(len(one.get_offsets()) for one in every) == len(graph.all_layers)
    last = blocks(graph)[-3]
    line = next(
        one
        for one in plot_receptive_fields(graph, 64, {last.nodes[-1].name: 9}).axes[0].lines
        if one.get_label() == "effective field"
    )
    assert list(line.get_xdata()) == [last.index]
    with pytest.raises(ValueError, match="layers is 'all'"):
        plot_receptive_fields(graph, 64, layers="all")  # type: ignore[arg-type]
