"""A graph at one input resolution as a table: one row of plain values per layer.

pandas is imported only by ``Analysis.to_dataframe``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.analysis.blocks import blocks
from rfa_toolbox.analysis.costs import TotalCosts, compute_at, sum_of_costs
from rfa_toolbox.analysis.placement import missed_pixels
from rfa_toolbox.analysis.ranges import input_resolution_range
from rfa_toolbox.analysis.states import (
    axes_of,
    filters_non_convolutional_node,
    map_size_at,
    obtain_all_nodes,
)
from rfa_toolbox.analysis.summary import Summary, summarize
from rfa_toolbox.analysis.words import one_line
from rfa_toolbox.arithmetic import Jump, LayerState, Size, normalise_resolution
from rfa_toolbox.domain import Certainty, PerAxis, Resolution
from rfa_toolbox.errors import MissingFrameworkError
from rfa_toolbox.graphs import EnrichedNetworkNode, receptive_field_provider
from rfa_toolbox.views import bundle, page_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Analysis", "LayerRow", "analyze"]


@attrs.frozen
class LayerRow:
    """One layer at one input resolution.

    Sizes are one number, or one per axis (height, width); ``math.inf`` is a layer or a path that
    sees everything. None is what a layer does not have.

    Attributes:
        index: place of the layer in the graph, from 0; tells equal names apart.
        name: name of the node.
        module_path: dotted path of the module that the layer ran in, if it was encoded.
        type: kind of layer.
        kernel_size: units under the window.
        stride_size: steps of the window.
        dilation: distance between the units under the window.
        receptive_field_min: smallest receptive field over all paths, in input pixels.
        receptive_field_max: all that a unit sees over all paths together, in input pixels.
        jump: largest distance between neighbouring units over all finite paths, in input pixels.
        feature_map_size: units of the layer's output.
        filters: number of output channels.
        units: number of output features of a dense layer.
        parameters: number of parameters that the layer is the first one to use.
        multiply_accumulates: at this resolution; an estimate if the graph was made with another
            one (``Analysis.compute_is_estimated``).
        state: how useful the layer can be.
        in_feature_extractor: whether the layer's smallest field is finite on some axis, at any
            resolution; all others stand behind a global operation.
        certainty: how the receptive field is known.
        certainty_reason: why it is not exact.
        has_position: whether the layer has a place in the image; without one it has no field.
        misses: pixels between the first and the last one that a unit sees, and that it does not
            see, as dilation leaves holes; one number, or one per axis. None is not known.
    """

    index: int
    name: str
    module_path: str | None
    type: str
    kernel_size: PerAxis
    stride_size: PerAxis
    dilation: PerAxis
    receptive_field_min: PerAxis
    receptive_field_max: PerAxis
    jump: Jump | tuple[Jump | None, ...] | None
    feature_map_size: int | tuple[int, ...]
    filters: int | None
    units: int | None
    parameters: int | None
    multiply_accumulates: int | None
    state: LayerState
    in_feature_extractor: bool
    certainty: Certainty
    certainty_reason: str
    has_position: bool = True
    misses: int | tuple[int | None, ...] | None = None


COLUMNS = tuple(field.name for field in attrs.fields(LayerRow))


@attrs.frozen
class Analysis:
    """What ``analyze`` found: the rows of the table and the range of useful resolutions.

    ``str()`` of it is a table to read in a terminal.

    Attributes:
        input_resolution: the resolution in question, in pixels, one number per axis (a single
            number where the graph has no axes of its own).
        resolution_range: smallest and largest useful resolution, one number per axis each.
        rows: one per layer, predecessors first.
        compute_is_estimated: whether the multiply-accumulates are an estimate, as the graph was
            made with another input size.
        graph: the node that was asked about.
        filter_kernel_size_1: whether 1x1 layers are never called unproductive for their field.
    """

    input_resolution: tuple[int, ...]
    resolution_range: tuple[tuple[Size, ...], tuple[Size, ...]]
    rows: tuple[LayerRow, ...]
    graph: EnrichedNetworkNode = attrs.field(repr=False, eq=False)
    filter_kernel_size_1: bool = attrs.field(default=False, repr=False)
    compute_is_estimated: bool = False

    def layers_in(self, state: LayerState) -> tuple[LayerRow, ...]:
        """Return the rows of the layers in a state.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> [row.name for row in analyze(vgg16(), 32).layers_in("unproductive")][0]
        'Stage2-Conv2'
        """
        return tuple(row for row in self.rows if row.state == state)

    def costs_of(self, state: LayerState | None = None) -> TotalCosts:
        """Return what the layers in a state cost together; by default what all of them cost.

        Of a state, those in the feature extractor count: what stands behind a global operation
        sees the whole image at any resolution, and no resolution can be blamed for it.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> analyze(vgg16(), 32).costs_of("unproductive").parameters is None
        True
        """
        if state is None:
            return sum_of_costs(self.rows)
        return sum_of_costs(row for row in self.layers_in(state) if row.in_feature_extractor)

    def findings(self) -> Summary:
        """Return what there is to say about the network at this resolution, counted in blocks.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> len(analyze(vgg16(), 32).findings().blocks_in("unproductive"))
        10
        """
        return summarize(self.graph, self.input_resolution, self.filter_kernel_size_1)

    def block_rows(self) -> tuple[LayerRow, ...]:
        """Return one row per layer as people count them: of its main node, with all its costs.

        Inputs, and additions and concatenations that belong to no layer, are left out.

        >>> from rfa_toolbox.architectures.resnet import resnet18
        >>> table = analyze(resnet18(), 32)
        >>> len(table.rows), len(table.block_rows())
        (33, 23)
        """
        places = {node: at for at, node in enumerate(obtain_all_nodes(self.graph))}
        found = []
        for block in blocks(self.graph):
            if block.kind in ("input", "joint"):
                continue
            members = [self.rows[places[node]] for node in block.nodes]
            costs = sum_of_costs(members)
            found.append(
                attrs.evolve(
                    self.rows[places[block.main]],
                    parameters=costs.parameters,
                    multiply_accumulates=costs.multiply_accumulates,
                )
            )
        return tuple(found)

    def summary(self) -> str:
        """Return the findings in a few lines, and what they cost, where that is known.

        They count blocks, as ``findings`` does.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> print(analyze(vgg16(), 32).summary())
        7 of 13 convolutions and 3 of 5 poolings cannot help at 32 px, from Stage2-Conv2 on.
        18 layers: 10 unproductive, 8 productive; 3 more see everything by design.
        Good at 212 px. From 197 px on every layer can help; ...
        """
        return str(self.findings())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values that JSON can hold.

        Per-axis values are lists, an infinite size is the text "inf" (JSON has no such number)
        and a fractional jump a text such as "1/2".

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> analyze(vgg16(), 32).to_dict()["rows"][-1]["receptive_field_min"]
        'inf'
        """
        low, high = self.resolution_range
        return {
            "input_resolution": _plain(self.input_resolution),
            "resolution_range": {"min": _plain(low), "max": _plain(high)},
            "compute_is_estimated": self.compute_is_estimated,
            "rows": [
                {column: _plain(getattr(row, column)) for column in COLUMNS} for row in self.rows
            ],
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return ``to_dict`` as JSON.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> json.loads(analyze(vgg16(), 32).to_json())["input_resolution"]
        [32]
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_csv(self) -> str:
        """Return the rows as CSV (RFC 4180) with a header; per-axis values read like "3x3".

        Lines end in CR LF, so write it to a file that was opened with ``newline=""``.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> analyze(vgg16(), 32).to_csv().splitlines()[2][:40]
        '1,Stage0-Conv0,,Conv3x3,3,1,1,3,3,1,32,6'
        """
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        for row in self.rows:
            writer.writerow([_cell(getattr(row, column), nothing="") for column in COLUMNS])
        return text.getvalue()

    def to_dataframe(self) -> pd.DataFrame:
        """Return the rows as a pandas DataFrame, one column per attribute of ``LayerRow``.

        Raises:
            MissingFrameworkError: an ImportError, if pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            if error.name != "pandas":
                raise
            raise MissingFrameworkError(
                "to_dataframe needs pandas, which is not installed: pip install pandas. "
                "to_dict, to_json and to_csv need nothing."
            ) from error
        rows = [[getattr(row, column) for column in COLUMNS] for row in self.rows]
        return pd.DataFrame(rows, columns=list(COLUMNS)).set_index("index")

    def to_html(self) -> str:
        """Return the graph as a whole HTML page that opens at this resolution.

        It is the page of ``rfa_toolbox.write_report``, which needs no network and no server.

        >>> from rfa_toolbox.architectures.vgg import vgg16
        >>> analyze(vgg16(), 32).to_html()[:15]
        '<!doctype html>'
        """
        return page_of(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(self, str(self))

    def __str__(self) -> str:
        return f"{aligned(text_columns(self.rows))}\n\n{self.summary()}"


def analyze(
    graph: EnrichedNetworkNode, input_res: Resolution, filter_kernel_size_1: bool = False
) -> Analysis:
    """Return a table of all layers of a graph at an input resolution.

    Args:
        graph: any node of the graph.
        input_res: resolution in pixels, one number or one per axis (height, width).
        filter_kernel_size_1: never call a 1x1 layer unproductive for its receptive field.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.architectures.resnet import resnet18
    >>> table = analyze(resnet18(), (32, 32))
    >>> table.rows[1].name, table.rows[1].feature_map_size, table.rows[1].state
    ('Stem-Conv', (16, 16), 'productive')
    """
    nodes = obtain_all_nodes(graph)
    resolution = normalise_resolution(input_res, axes_of(nodes))
    known = _known_of(graph, nodes, bool(filter_kernel_size_1))
    work = compute_at(graph, input_res)
    return Analysis(
        input_resolution=resolution,
        resolution_range=known.resolution_range,
        rows=tuple(
            LayerRow(
                **layer.values,
                feature_map_size=map_size_at(node, input_res),
                multiply_accumulates=work[node],
                state=layer.state(node.resized_to or resolution),
            )
            for node, layer in zip(nodes, known.layers, strict=True)
        ),
        compute_is_estimated=any(
            node.multiply_accumulates is not None and node.encoded_resolution != resolution
            for node in nodes
        ),
        graph=graph,
        filter_kernel_size_1=filter_kernel_size_1,
    )


@attrs.frozen
class _Layer:
    """What a table says of a layer at any resolution, and from what its state follows."""

    values: Mapping[str, Any]
    field: tuple[Size, ...] | None
    limits: tuple[tuple[Size, ...], tuple[Size, ...]]

    def state(self, resolution: tuple[int, ...]) -> LayerState:
        repeats = len(resolution) // len(self.limits[0])  # a scalar holds for every axis
        field = None if self.field is None else self.field * repeats
        return arithmetic.state_within(resolution, field, [one * repeats for one in self.limits])


@attrs.frozen(eq=False)
class _Known:
    """What a table says of a graph at any resolution; it holds no node."""

    layers: tuple[_Layer, ...]
    resolution_range: tuple[tuple[Size, ...], tuple[Size, ...]]


_Places: TypeAlias = "WeakKeyDictionary[EnrichedNetworkNode, tuple[_Known, int]]"

_places_of: tuple[_Places, _Places] = (WeakKeyDictionary(), WeakKeyDictionary())
"""Where every layer stands in what is known of its graph, with 1x1 layers judged and not."""


def _known_of(
    graph: EnrichedNetworkNode, nodes: Sequence[EnrichedNetworkNode], filter_kernel_size_1: bool
) -> _Known:
    """Return what does not depend on the resolution; it is found once for the same nodes.

    Nodes never change, but a graph grows where another layer reads one of them.
    """
    places = _places_of[filter_kernel_size_1]
    known = places[nodes[0]][0] if nodes[0] in places else None
    if (
        known is None
        or len(known.layers) != len(nodes)
        or any(places.get(node) != (known, place) for place, node in enumerate(nodes))
    ):
        known = _found_of(graph, nodes, filter_kernel_size_1)
        places.update((node, (known, place)) for place, node in enumerate(nodes))
    return known


def _found_of(
    graph: EnrichedNetworkNode, nodes: Sequence[EnrichedNetworkNode], filter_kernel_size_1: bool
) -> _Known:
    extractor = set(filters_non_convolutional_node(nodes))
    missed = missed_pixels(graph)
    layers = []
    for index, node in enumerate(nodes):
        limits = node.unproductive_limits(filter_kernel_size_1)
        values = {
            "index": index,
            "name": node.name,
            "module_path": node.module_path,
            "type": node.layer_info.name,
            "kernel_size": node.kernel_size,
            "stride_size": node.stride_size,
            "dilation": node.layer_info.dilation,
            "receptive_field_min": node.receptive_field_min,
            "receptive_field_max": node.receptive_field_max,
            "jump": node.get_maximum_scale_factor(),
            "filters": node.layer_info.filters,
            "units": node.layer_info.units,
            "parameters": node.parameters,
            "in_feature_extractor": node in extractor,
            "certainty": node.certainty,
            "certainty_reason": node.certainty_reason,
            "has_position": node.has_position,
            "misses": missed[node],
        }
        field = receptive_field_provider(node) if node.has_position else None
        axes = len(limits[0])
        layers.append(
            _Layer(values, None if field is None else arithmetic.broadcast(field, axes), limits)
        )
    return _Known(
        tuple(layers),
        input_resolution_range(
            graph, cardinality=axes_of(nodes), filter_kernel_size_1=filter_kernel_size_1
        ),
    )


def state_text(row: LayerRow) -> str:
    """Return the state of a layer, or why it is not judged."""
    if row.in_feature_extractor:
        return row.state
    return BY_DESIGN if row.has_position else "no position"


BY_DESIGN = "sees everything"
"""What tables say instead of the state of a layer behind a global operation."""


# --- values as text --------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Fraction):
        return str(value)
    return "inf" if value == math.inf else value


def _cell(value: Any, nothing: str = "-") -> str:
    """Return a value as one piece of text, (3, 3) as "3x3", (inf, inf) as "inf"."""
    if isinstance(value, tuple) and set(value) in ({None}, {math.inf}):
        value = value[0]
    if value is None:
        return nothing
    if isinstance(value, tuple):
        return "x".join(_cell(item) for item in value)
    return str(value)


def _grouped(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


@attrs.frozen
class TextColumn:
    """A column of a table in a terminal.

    Attributes:
        title: what stands above it.
        cells: one line of printable text per row.
        number: whether the cells are numbers, which stand at the right.
    """

    title: str
    cells: tuple[str, ...]
    number: bool


def text_columns(rows: Sequence[LayerRow]) -> tuple[TextColumn, ...]:
    """Return the rows as columns of text; those that say nothing about any layer are left out.

    >>> from rfa_toolbox.architectures.vgg import vgg16
    >>> [column.title for column in text_columns(analyze(vgg16(), 32).rows)][:3]
    ['#', 'layer', 'type']
    """
    columns: list[TextColumn] = []

    def add(title: str, cells: Iterable[str], number: bool = False) -> None:
        columns.append(TextColumn(title, tuple(map(one_line, cells)), number))

    add("#", (str(row.index) for row in rows), number=True)
    add("layer", (row.name for row in rows))
    if any(row.module_path and row.module_path not in row.name for row in rows):
        add("module", (_cell(row.module_path) for row in rows))
    add("type", (row.type for row in rows))
    add("kernel", (_cell(row.kernel_size) for row in rows), number=True)
    add("stride", (_cell(row.stride_size) for row in rows), number=True)
    dilations = [_cell(row.dilation) for row in rows]
    if any(set(dilation.split("x")) != {"1"} for dilation in dilations):
        add("dilation", dilations, number=True)
    add("r_min", (_field(row, row.receptive_field_min) for row in rows), number=True)
    add("r_max", (_field(row, row.receptive_field_max) for row in rows), number=True)
    if any(any(_several(row.misses)) for row in rows):
        add("misses", (_cell(row.misses) for row in rows), number=True)
    add("jump", (_cell(row.jump) for row in rows), number=True)
    add("map", (_cell(row.feature_map_size) for row in rows), number=True)
    outputs = (row.units if row.filters is None else row.filters for row in rows)
    add("out", map(_cell, outputs), number=True)
    if any(row.parameters is not None for row in rows):
        add("parameters", (_grouped(row.parameters) for row in rows), number=True)
    if any(row.multiply_accumulates is not None for row in rows):
        add("MACs", (_grouped(row.multiply_accumulates) for row in rows), number=True)
    add("state", map(state_text, rows))
    if any(row.certainty != "exact" for row in rows):
        add("certainty", (row.certainty for row in rows))
    return tuple(columns)


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _field(row: LayerRow, size: PerAxis) -> str:
    return _cell(size) if row.has_position else "no position"


def aligned(columns: Iterable[TextColumn]) -> str:
    """Return columns side by side, each as wide as its widest cell.

    >>> print(aligned([TextColumn("a", ("long", "b"), False), TextColumn("n", ("1", "22"), True)]))
    a      n
    long   1
    b     22
    """
    padded: list[list[str]] = []
    for column in columns:
        cells = [column.title, *column.cells]
        width = max(map(len, cells))
        adjust = str.rjust if column.number else str.ljust
        padded.append([adjust(cell, width) for cell in cells])
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))
