"""A graph as a picture: which boxes, ellipses, arrows and clusters it consists of."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import attrs

from rfa_toolbox.analysis.states import axes_of, resized_to
from rfa_toolbox.analysis.words import several, terms_of
from rfa_toolbox.arithmetic import LayerState
from rfa_toolbox.domain import DEFAULT_TIME_LIMIT, Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.rendering import concatenations, labels, style
from rfa_toolbox.rendering.boxes import (
    BoxContent,
    column_starts,
    columns_on_a_page,
    contents_of,
    in_circles,
    readable,
)

if TYPE_CHECKING:
    import graphviz

    from rfa_toolbox.rendering.layout import Picture

__all__ = ["node_id", "visualize_architecture", "visualize_node"]

_INK = "#404040"
_LONGEST_TITLE = 60

_PAGES: Mapping[str, tuple[float, float]] = {"a4": (7.3, 10.7), "letter": (7.5, 10.0)}
"""Width and height in inches of what can be printed on, within margins of about half an inch."""


def node_id(node: EnrichedNetworkNode) -> str:
    """Return the identifier of a node in pictures: its position among all layers of its graph.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> image = EnrichedNetworkNode("image", LayerDefinition("Input", 1, 1), [])
    >>> node_id(EnrichedNetworkNode("conv", LayerDefinition("Conv", 3, 1), [image]))
    'n1'
    """
    return _identifier(
        next(at for at, one in enumerate(require_node(node).all_layers) if one is node)
    )


def _identifier(position: int) -> str:
    return f"n{position}"


def visualize_architecture(
    output_node: EnrichedNetworkNode,
    model_name: str,
    input_res: Resolution = 224,
    color_critical: bool = True,
    color_border: bool = True,
    include_rf_info: bool = True,
    filter_kernel_size_1: bool = False,
    include_fm_info: bool = True,
    *,
    clusters: bool = False,
    legend: bool = True,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
    fuse: bool = False,
    direction: Literal["TB", "LR"] = "TB",
    columns: int | Sequence[str] | None = None,
    depth: int | None = None,
    palette: Literal["classic", "report"] = "classic",
    color_head: bool = True,
    page: Literal["a4", "letter"] | None = None,
) -> Picture:
    """Return a picture of a whole graph, each layer coloured by its use at an input resolution.

    Red layers are unproductive, orange ones critical, yellow ones critical on some axes only,
    and white ones productive. The result is a ``graphviz.Digraph``: ``.render()`` and
    ``.view()`` draw it into a file, ``.pipe()`` into bytes, and a notebook shows it.

    Args:
        output_node: any node of the graph.
        model_name: title of the picture, and stem of the name of its file.
        input_res: input resolution in pixels, one number or one per axis (height, width).
        color_critical: paint critical layers.
        color_border: paint unproductive layers; without, they count as critical if they are.
        include_rf_info: write the smallest and largest receptive field of each layer.
        filter_kernel_size_1: never call a 1x1 layer unproductive for its receptive field.
        include_fm_info: write the size of each layer's feature map.
        clusters: put a frame around the layers of each module that has several.
        legend: explain colours, borders and marks beside the picture. It counts layers together
            with the norms, activations and additions behind them, as summaries do.
        time_limit: seconds that laying out the picture may take; None for no limit.
        fuse: draw such a layer as one box, and not every operation.
        direction: "TB" from top to bottom, or "LR" from left to right.
        columns: into how many columns to break a long network (rows, from left to right); or the
            names of the nodes that new columns begin with.
        depth: draw modules that lie deeper than so many names of a path as one box, in the
            colour of their worst layer, unless they are left and entered again.
        palette: "classic", the colours of the published pictures, or "report", paler ones.
        color_head: colour the layers behind a global operation by their state; without, they are
            grey, as they see everything by design.
        page: fit the picture onto a sheet of this size, with as many columns and as much
            folding as that takes unless ``columns`` and ``depth`` say otherwise; where that is
            not enough, as if ``fuse`` were True.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.
        ValueError: for an option that does not exist.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), [])
    >>> "fillcolor=red" in visualize_architecture(conv, "one layer", input_res=5).source
    True
    """
    require_node(output_node)
    _check_options(direction, columns, depth, page)
    paint = _Paint(
        input_res, color_critical, color_border, filter_kernel_size_1, color_head,
        style.looks_of(palette), include_rf_info, include_fm_info,
    )  # fmt: skip
    fits = page is not None and depth is None
    contents = readable(output_node, fuse) if fits else contents_of(output_node, fuse, depth)
    arrows = _arrows(contents)
    if columns is None and page is not None:
        columns = columns_on_a_page(len(contents))
    starts = _starts(columns, contents, arrows)
    boxes = [_Box.of(content, _identifier(at), paint) for at, content in enumerate(contents)]
    if starts:
        boxes = [box.in_column(bisect_right(starts, at)) for at, box in enumerate(boxes)]
    picture = _empty_picture(model_name, time_limit, direction, page)
    if legend:
        _add_legend(picture, output_node, contents, paint, any(arrow.joined for arrow in arrows))
    ends = [
        (box, _is_input(content))
        for box, content in zip(boxes, contents, strict=True)
        if not any(node.predecessors for node in content.nodes)
    ]
    inputs = [box.identifier for box, is_input in ends if not is_input]
    nodes = output_node.all_layers
    terms = terms_of(axes_of(nodes))
    resolution = labels.size_text(style.resolution_of(nodes, input_res))
    for identifier in inputs:
        _add_end(picture, f"input_{identifier}", f"input<br/>{resolution} {terms.unit}")
    for begin, end in pairwise([0, *starts, len(boxes)]):
        if starts:
            _open_column(picture, begin)
        if clusters:
            _add_in_clusters(picture, contents[begin:end], boxes[begin:end], begin, arrows)
        else:
            for box in boxes[begin:end]:
                box.add_to(picture)
        if starts:
            _close_cluster(picture)
    for identifier in inputs:
        picture.edge(f"input_{identifier}", identifier)
    _add_arrows(picture, boxes, arrows, starts)
    for box, content in zip(boxes, contents, strict=True):
        if not all(node.successors for node in content.nodes) and not _is_input(content):
            _add_end(picture, f"output_{box.identifier}", "output")
            picture.edge(box.identifier, f"output_{box.identifier}")
    return picture


def visualize_node(
    node: EnrichedNetworkNode,
    dot: graphviz.Digraph,
    input_res: Resolution,
    color_border: bool,
    color_critical: bool,
    include_rf_info: bool = True,
    filter_kernel_size_1: bool = False,
    include_fm_info: bool = True,
) -> None:
    """Add the box of one node, and the arrows that lead to it, to a picture of your own.

    The arguments are those of ``visualize_architecture``.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> from rfa_toolbox.rendering import Picture
    >>> picture = Picture("one layer")
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), [])
    >>> visualize_node(conv, picture, 5, color_border=True, color_critical=True)
    >>> "fillcolor=red" in picture.source
    True
    """
    positions = {one: position for position, one in enumerate(require_node(node).all_layers)}
    paint = _Paint(
        input_res, color_critical, color_border, filter_kernel_size_1, True, style.LOOKS,
        include_rf_info, include_fm_info,
    )  # fmt: skip
    box = _Box.of(BoxContent((node,), node, "layer", None, ()), _identifier(positions[node]), paint)
    # A picture of the user's own has not the attributes that ours sets for all of its boxes.
    attributes = {**_BOX_ATTRIBUTES, **box.attributes}
    attrs.evolve(box, attributes=attributes).add_to(dot)
    for before in node.predecessors:
        dot.edge(_identifier(positions[before]), box.identifier)


# --- parts of a picture ----------------------------------------------------------------------

_BOX_ATTRIBUTES: Mapping[str, str] = {
    "shape": "box",
    "style": "rounded,filled",
    "fillcolor": "white",
    "color": _INK,
    "fontname": style.FONT,
    "fontsize": "11",
    "margin": "0.12,0.05",
    "width": "2.2",
    "height": "0.3",
}


_MOST_TURNED = 300
"""Boxes among which arrows that turn at right angles are found in a few seconds."""


@attrs.frozen
class _Paint:
    """How boxes are painted and written on; the attributes are those of the picture's options."""

    input_res: Resolution
    color_critical: bool
    color_border: bool
    filter_kernel_size_1: bool
    color_head: bool
    looks: Mapping[LayerState, style.Look]
    rf: bool
    fm: bool

    def state(self, content: BoxContent) -> LayerState | None:
        """Return the state that a box shows, None for one that is grey by design."""
        if content.kind == "global" and not self.color_head:
            return None
        if content.module is None:
            return self.state_of(content.main)
        counted = [block.main for block in content.blocks if block.counted]
        states = {self.state_of(main) for main in counted or content.nodes}
        return next(state for state in reversed([*style.LOOKS]) if state in states)

    def state_of(self, node: EnrichedNetworkNode) -> LayerState:
        return style.shown_state(
            node, self.input_res, self.color_border, self.color_critical, self.filter_kernel_size_1
        )

    def label(self, content: BoxContent) -> labels.Markup:
        main = content.main
        if content.module is not None:
            return labels.module_label(
                content.module, self._inside(content), main, self.input_res, self.rf, self.fm
            )
        if _is_input(content):
            return labels.input_label(main, self.input_res)
        return labels.block_label(content.nodes, main, self.input_res, self.rf, self.fm)

    def _inside(self, content: BoxContent) -> str:
        """Return in a few words what is in a module."""
        layers = [block for block in content.blocks if block.kind in ("layer", "global")]
        red = sum(self.state_of(one.main) == "unproductive" for one in layers if one.counted)
        return f"{several(len(layers), 'layer')}{f', {red} unproductive' if red else ''}"


@attrs.frozen(slots=True)
class _Box:
    """One box of the picture."""

    identifier: str
    label: labels.Markup
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, content: BoxContent, identifier: str, paint: _Paint) -> _Box:
        node, state = content.main, paint.state(content)
        look = style.BY_DESIGN if state is None else paint.looks[state]
        attributes = look.node_attributes()
        if _is_input(content):
            attributes["shape"] = "ellipse"
        facts = [state or look.meaning, f"module {node.module_path}" if node.module_path else ""]
        if node.certainty != "exact":
            facts.append(f"{node.certainty}: {node.certainty_reason}")
        tooltip = "; ".join([content.module or node.name, *filter(None, facts)])
        return cls(
            identifier, paint.label(content), {**attributes, "tooltip": labels.plain(tooltip)}
        )

    def in_column(self, column: int) -> _Box:
        """Return the box as one that stands straight below the others of its column."""
        return attrs.evolve(self, attributes={**self.attributes, "group": f"column{column}"})

    def add_to(self, picture: graphviz.Digraph) -> None:
        picture.node(self.identifier, self.label, **self.attributes)


def _is_input(content: BoxContent) -> bool:
    """Whether a box is the image itself, not a layer that looks at it."""
    node = content.main
    if content.module is not None or node.predecessors:
        return False
    kernel: Any = node.layer_info.kernel_size
    is_1x1 = all(size == 1 for size in kernel) if isinstance(kernel, tuple) else kernel == 1
    return is_1x1 and node.layer_info.name.lower().startswith("input")


def _arrows(contents: Sequence[BoxContent]) -> list[concatenations.Arrow]:
    """Return the arrows between boxes: one for every read, or one for all reads of a group."""
    places = {node: at for at, content in enumerate(contents) for node in content.nodes}
    if len(places) == len(contents):
        mains = [content.main for content in contents]
        return concatenations.arrows_between(
            [[places[before] for before in node.predecessors] for node in mains],
            [node.layer_info.name.lower() in concatenations.CONCATENATIONS for node in mains],
        )
    pairs = dict.fromkeys(
        (places[before], places[node])
        for content in contents
        for node in content.nodes
        for before in node.predecessors
    )
    return [concatenations.Arrow(tail, head, joined=False) for tail, head in pairs if tail != head]


def _starts(
    columns: int | Sequence[str] | None,
    contents: Sequence[BoxContent],
    arrows: Sequence[concatenations.Arrow],
) -> list[int]:
    """Return with which boxes new columns begin.

    Raises:
        ValueError: for a name that no node has.
    """
    if columns is None or isinstance(columns, int):
        pairs = [(arrow.tail, arrow.head) for arrow in arrows]
        return column_starts(pairs, len(contents), columns or 1)
    names = {node.name: at for at, one in reversed([*enumerate(contents)]) for node in one.nodes}
    missing = [name for name in columns if name not in names]
    if missing:
        raise ValueError(f"columns names {missing[0]!r}, which is no node of the graph.")
    return sorted(names[name] for name in columns)


def _add_arrows(
    picture: Picture,
    boxes: Sequence[_Box],
    arrows: Sequence[concatenations.Arrow],
    starts: Sequence[int],
) -> None:
    """Add the arrows; those from one column to another do not say what is below what."""
    for arrow in arrows:
        attributes = {}
        if arrow.joined:
            attributes = {"style": "bold", "penwidth": "3", "arrowsize": "0.5"}
        if bisect_right(starts, arrow.tail) != bisect_right(starts, arrow.head):
            attributes["constraint"] = "false"
        picture.edge(boxes[arrow.tail].identifier, boxes[arrow.head].identifier, **attributes)
    if starts:
        # Arrows that turn at right angles keep to the room between the columns.
        picture.attr("graph", splines="ortho" if len(boxes) <= _MOST_TURNED else "true")
        # Joined by arrows that nobody sees, they stand in their order.
        heads = [boxes[at].identifier for at in (0, *starts)]
        unseen = "[style=invis constraint=false]"
        picture.body += [f"\t{left} -> {right} {unseen}\n" for left, right in pairwise(heads)]


def _check_options(direction: object, columns: object, depth: object, page: object) -> None:
    if direction not in ("TB", "LR"):
        raise ValueError(f"direction is {direction!r}; valid are 'TB' and 'LR'.")
    if page is not None and page not in _PAGES:
        raise ValueError(f"page is {page!r}; valid are {', '.join(map(repr, _PAGES))} and None.")
    number = type(columns) is int and columns > 0
    names = isinstance(columns, Sequence) and not isinstance(columns, str)
    if not (number or names or columns is None):
        raise ValueError(
            f"columns is {columns!r}; it must be a positive number, or a list of names of nodes."
        )
    if depth is not None and (type(depth) is not int or depth < 1):
        raise ValueError(f"depth is {depth!r}; it must be a positive number, or None.")


def _empty_picture(
    model_name: str, time_limit: float | None, direction: str, page: str | None
) -> Picture:
    from rfa_toolbox.rendering.layout import Picture  # graphviz is imported with it

    title = labels.shortened(str(model_name), _LONGEST_TITLE) or "model"
    # What is markup to Graphviz, or means something to a shell or a file system, is no name.
    name = re.sub(r'[\\<>&"|?*]', "_", labels.visible(title)).strip() or "model"
    extra = {} if direction == "TB" else {"rankdir": direction}
    if page is not None:
        width, height = _PAGES[page]
        extra["size"] = f"{width},{height}" if direction == "TB" else f"{height},{width}"
    return Picture(
        name,
        filename=f"{name}.gv",
        graph_attr={
            **extra,
            "label": f"<<b>{labels.markup(title, _LONGEST_TITLE)}</b>>",
            "labelloc": "t",
            "fontname": style.FONT,
            "fontsize": "16",
            "nodesep": "0.3",
            "ranksep": "0.25",
        },
        node_attr=dict(_BOX_ATTRIBUTES),
        edge_attr={"color": _INK, "arrowsize": "0.7"},
        time_limit=time_limit,
    )


def _add_legend(
    picture: Picture,
    graph: EnrichedNetworkNode,
    contents: Sequence[BoxContent],
    paint: _Paint,
    joined: bool,
) -> None:
    nodes = graph.all_layers
    resolution = style.resolution_of(nodes, paint.input_res)
    found = {block.index: block for content in contents for block in content.blocks}
    counts = Counter(paint.state_of(block.main) for block in found.values() if block.counted)
    shown = {
        state: counts[state]
        for state in style.LOOKS
        if (paint.color_border or state != "unproductive")
        and (paint.color_critical or "critical" not in state)
        and (len(resolution) > 1 or state != "partially critical")
    }
    design = sum(block.kind == "global" for block in found.values())
    table = style.legend_table(
        shown,
        {node.certainty for node in nodes},
        joined,
        paint.looks,
        by_design=0 if paint.color_head else design,
        axes=axes_of(nodes),
    )
    resized = resized_to(nodes)
    terms = terms_of(axes_of(nodes))
    pixels = f"{labels.size_text(resized or resolution)} {terms.unit}"
    size = f"{terms.whole} resized to {pixels}" if resized else f"input of {pixels}"
    _open_cluster(picture, "cluster_legend", f"<b>Legend</b>, {size}")
    picture.node(
        "legend", table, shape="plain", style="", fontsize="9", tooltip="legend", width="0"
    )
    _close_cluster(picture)


def _add_end(picture: Picture, identifier: str, label: str) -> None:
    picture.node(
        identifier,
        f"<{label}>",
        shape="ellipse",
        fillcolor="#e8e8e8",
        style="filled",
        width="0.9",
        margin="0.02",
        fontsize="10",
        tooltip=labels.plain(label.replace("<br/>", " ")),
    )


def _open_cluster(picture: Picture, identifier: str, label: labels.Markup) -> None:
    picture.body.append(f"\tsubgraph {identifier} {{\n")
    picture.attr(
        label=f"<{label}>",
        labeljust="l",
        fontname=style.FONT,
        fontsize="11",
        style="rounded",
        color="#a0a0a0",
        margin="8",
    )


def _open_column(picture: Picture, begin: int) -> None:
    """Keep what is added now beside all other columns, in a frame that nobody sees."""
    picture.body.append(f"\tsubgraph cluster_column{begin} {{color=transparent margin=0 label=<>\n")


def _close_cluster(picture: Picture) -> None:
    picture.body.append("\t}\n")


def _add_in_clusters(
    picture: Picture,
    contents: Sequence[BoxContent],
    boxes: Sequence[_Box],
    begin: int,
    arrows: Sequence[concatenations.Arrow],
) -> None:
    """Add boxes with frames around modules; ``begin`` is the place of the first one of them."""
    opened = begin
    framed = clustered(
        [content.module or content.main.module_path for content in contents],
        [content.main.layer_info.name for content in contents],
    )
    pairs = [
        (arrow.tail - begin, arrow.head - begin)
        for arrow in arrows
        if begin <= min(arrow.tail, arrow.head) and max(arrow.tail, arrow.head) < begin + len(boxes)
    ]
    for item in in_drawing_order(without_circles(framed, pairs)):
        if item is None:
            _close_cluster(picture)
        elif isinstance(item, int):
            boxes[item].add_to(picture)
        else:
            _open_cluster(picture, f"cluster_{opened}", labels.markup(item))
            opened += 1


def without_circles(
    contents: Mapping[str, Sequence[int | str]], arrows: Sequence[tuple[int, int]]
) -> dict[str, list[int | str]]:
    """Dissolve modules that are left and entered again, such as the list of a U-Net's stages.

    Data flows from the top to the bottom of a picture, which no frame around such a module allows.
    The first argument is what ``clustered`` returned.

    >>> without_circles({"": ["up", 1], "up": [0, 2]}, [(0, 1), (1, 2)])
    {'': [0, 2, 1]}
    """
    kept = {module: list(items) for module, items in contents.items()}
    while True:
        pairs = arrows_within(kept, arrows)
        circled = {item for edges in pairs.values() for item in in_circles(edges)}
        gone = [module for module in kept if module in circled]
        if not gone:
            return kept
        for module in reversed(gone):  # those within a module come behind it
            inside = kept.pop(module)
            around = next(items for items in kept.values() if module in items)
            at = around.index(module)
            around[at : at + 1] = inside


def arrows_within(
    contents: Mapping[str, Sequence[int | str]], arrows: Sequence[tuple[int, int]]
) -> dict[str, list[tuple[int | str, int | str]]]:
    """Return per module which of the things in it read each other."""
    around = {item: module for module, items in contents.items() for item in items}
    found: dict[str, list[tuple[int | str, int | str]]] = {}
    for arrow in arrows:
        ways: list[list[int | str]] = []
        for end in arrow:
            way: list[int | str] = [end]
            while way[-1] != "":
                way.append(around[way[-1]])
            ways.append(way[::-1])
        common = next((at for at, (one, other) in enumerate(zip(*ways)) if one != other), None)  # noqa: B905
        if common is not None:
            module = str(ways[0][common - 1])
            found.setdefault(module, []).append((ways[0][common], ways[1][common]))
    return found


def in_drawing_order(contents: Mapping[str, Sequence[int | str]]) -> Iterator[int | str | None]:
    """Yield what ``clustered`` returned as it is drawn, however deep modules are nested.

    These are positions of nodes, the name of a module where it opens, and None where it closes.

    >>> list(in_drawing_order({"": [0, "head"], "head": [1, 2]}))
    [0, 'head', 1, 2, None]
    """
    waiting = [iter(contents[""])]
    while waiting:
        item = next(waiting[-1], None)
        if item is None:
            waiting.pop()
            if waiting:
                yield None
            continue
        yield item
        if isinstance(item, str):
            waiting.append(iter(contents[item]))


def clustered(paths: Sequence[str | None], kinds: Sequence[str]) -> dict[str, list[int | str]]:
    """Return what each module of a picture contains: positions of nodes, and inner modules.

    The arguments are the module paths and the kinds of the layers. The key "" is the picture
    itself. A module gets no frame if it is a single layer, or one layer that is called several
    times, and of modules that contain the very same layers only the innermost does.

    >>> paths = ["stem.conv", "body.0.conv", "body.0.relu", "body.1.conv"]
    >>> clustered(paths, ["Conv2d", "Conv2d", "ReLU", "Conv2d"])
    {'': [0, 'body'], 'body': ['body.0', 3], 'body.0': [1, 2]}
    """
    sizes = Counter(prefix for path in paths for prefix in _prefixes(path))
    contained: dict[str, set[str]] = {path: set() for path in sizes}
    for path, kind in zip(paths, kinds, strict=True):
        if path:
            contained[path].add(f"layer {kind}")
    for path in sizes:
        parent = path.rpartition(".")[0]
        if parent:
            contained[parent].add(f"module {path}")
    framed = {
        path
        for path, content in contained.items()
        if sizes[path] > 1
        and (len(content) > 1 or any(one.startswith("module") for one in content))
    }
    framed -= {parent for path in framed if sizes[parent := path.rpartition(".")[0]] == sizes[path]}
    contents: dict[str, list[int | str]] = {"": []}
    for position, path in enumerate(paths):
        inside = ""
        for prefix in _prefixes(path):
            if prefix not in framed:
                continue
            if prefix not in contents:
                contents[prefix] = []
                contents[inside].append(prefix)
            inside = prefix
        contents[inside].append(position)
    return contents


def _prefixes(path: str | None) -> list[str]:
    """Return a module path and those of the modules around it, outermost first.

    >>> _prefixes("layer1.0.conv")
    ['layer1', 'layer1.0', 'layer1.0.conv']
    """
    if not path:
        return []
    return [path[:at] for at, sign in enumerate(path) if sign == "."] + [path]
