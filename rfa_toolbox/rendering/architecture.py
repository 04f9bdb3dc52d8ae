"""A graph as a picture: which boxes, ellipses, arrows and clusters it consists of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rfa_toolbox.arithmetic import LayerState
from rfa_toolbox.domain import Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, require_node
from rfa_toolbox.rendering import concatenations, labels, style
from rfa_toolbox.rendering.layout import DEFAULT_TIME_LIMIT, Picture

if TYPE_CHECKING:
    import graphviz

__all__ = ["node_id", "visualize_architecture", "visualize_node"]

_INK = "#404040"
_LONGEST_TITLE = 60


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
        legend: explain colours, borders and marks beside the picture.
        time_limit: seconds that laying out the picture may take; None for no limit.

    Raises:
        InvalidResolutionError: a ValueError, if the resolution does not fit the graph.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), [])
    >>> "fillcolor=red" in visualize_architecture(conv, "one layer", input_res=5).source
    True
    """
    nodes = require_node(output_node).all_layers
    positions = {node: position for position, node in enumerate(nodes)}
    resolution = style.resolution_of(nodes, input_res)
    boxes = [
        _Box.of(
            node,
            _identifier(position),
            style.shown_state(node, input_res, color_border, color_critical, filter_kernel_size_1),
            _label(node, input_res, include_rf_info, include_fm_info),
        )
        for position, node in enumerate(nodes)
    ]
    arrows = concatenations.arrows_between(
        [[positions[before] for before in node.predecessors] for node in nodes],
        [node.layer_info.name.lower() in concatenations.CONCATENATIONS for node in nodes],
    )
    pixels = f"{labels.size_text(resolution)} px"

    picture = _empty_picture(model_name, time_limit)
    if legend:
        counts = Counter(box.state for box in boxes)
        _add_legend(
            picture,
            pixels,
            style.legend_table(
                {
                    state: counts[state]
                    for state in style.LOOKS
                    if (color_border or state != "unproductive")
                    and (color_critical or "critical" not in state)
                    and (len(resolution) > 1 or state != "partially critical")
                },
                {node.certainty for node in nodes},
                any(arrow.joined for arrow in arrows),
            ),
        )
    inputs = [
        box.identifier
        for box, node in zip(boxes, nodes, strict=True)
        if not (node.predecessors or _is_input(node))
    ]
    for identifier in inputs:
        _add_end(picture, f"input_{identifier}", f"input<br/>{pixels}")
    if clusters:
        _add_in_clusters(picture, nodes, boxes)
    else:
        for box in boxes:
            box.add_to(picture)
    for identifier in inputs:
        picture.edge(f"input_{identifier}", identifier)
    for arrow in arrows:
        tail, head = boxes[arrow.tail].identifier, boxes[arrow.head].identifier
        if arrow.joined:
            picture.edge(tail, head, style="bold", penwidth="3", arrowsize="0.5")
        else:
            picture.edge(tail, head)
    for box, node in zip(boxes, nodes, strict=True):
        if not (node.successors or _is_input(node)):
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
    >>> picture = Picture("one layer")
    >>> conv = EnrichedNetworkNode("conv", LayerDefinition("Conv", 7), [])
    >>> visualize_node(conv, picture, 5, color_border=True, color_critical=True)
    >>> "fillcolor=red" in picture.source
    True
    """
    positions = {one: position for position, one in enumerate(require_node(node).all_layers)}
    identifier = _identifier(positions[node])
    state = style.shown_state(node, input_res, color_border, color_critical, filter_kernel_size_1)
    label = _label(node, input_res, include_rf_info, include_fm_info)
    box = _Box.of(node, identifier, state, label)
    # A picture of the user's own has not the attributes that ours sets for all of its boxes.
    attributes = {**_BOX_ATTRIBUTES, **box.attributes}
    attrs.evolve(box, attributes=attributes).add_to(dot)
    for before in node.predecessors:
        dot.edge(_identifier(positions[before]), identifier)


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


@attrs.frozen(slots=True)
class _Box:
    """One layer in the picture."""

    identifier: str
    state: LayerState
    label: labels.Markup
    attributes: Mapping[str, str]

    @classmethod
    def of(
        cls,
        node: EnrichedNetworkNode,
        identifier: str,
        state: LayerState,
        label: labels.Markup,
    ) -> _Box:
        attributes = style.LOOKS[state].node_attributes()
        if _is_input(node):
            attributes["shape"] = "ellipse"
        facts = [state, f"module {node.module_path}" if node.module_path else ""]
        if node.certainty != "exact":
            facts.append(f"{node.certainty}: {node.certainty_reason}")
        tooltip = "; ".join([node.name, *filter(None, facts)])
        return cls(identifier, state, label, {**attributes, "tooltip": labels.plain(tooltip)})

    def add_to(self, picture: graphviz.Digraph) -> None:
        picture.node(self.identifier, self.label, **self.attributes)


def _label(
    node: EnrichedNetworkNode, input_res: Resolution, include_rf_info: bool, include_fm_info: bool
) -> labels.Markup:
    if _is_input(node):
        return labels.input_label(node, input_res)
    return labels.node_label(node, input_res, include_rf_info, include_fm_info)


def _is_input(node: EnrichedNetworkNode) -> bool:
    """Whether a node is the image itself, not a layer that looks at it."""
    if node.predecessors:
        return False
    kernel: Any = node.layer_info.kernel_size
    is_1x1 = all(size == 1 for size in kernel) if isinstance(kernel, tuple) else kernel == 1
    return is_1x1 and node.layer_info.name.lower().startswith("input")


def _empty_picture(model_name: str, time_limit: float | None) -> Picture:
    title = labels.shortened(str(model_name), _LONGEST_TITLE) or "model"
    # What is markup to Graphviz, or means something to a shell or a file system, is no name.
    name = re.sub(r'[\\<>&"|?*]', "_", labels.visible(title)).strip() or "model"
    return Picture(
        name,
        filename=f"{name}.gv",
        graph_attr={
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


def _add_legend(picture: Picture, pixels: str, table: labels.Markup) -> None:
    _open_cluster(picture, "cluster_legend", f"<b>Legend</b>, input of {pixels}")
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


def _close_cluster(picture: Picture) -> None:
    picture.body.append("\t}\n")


def _add_in_clusters(
    picture: Picture, nodes: Sequence[EnrichedNetworkNode], boxes: Sequence[_Box]
) -> None:
    contents = clustered(
        [node.module_path for node in nodes], [node.layer_info.name for node in nodes]
    )
    opened = 0
    for item in in_drawing_order(contents):
        if item is None:
            _close_cluster(picture)
        elif isinstance(item, int):
            boxes[item].add_to(picture)
        else:
            _open_cluster(picture, f"cluster_{opened}", labels.markup(item))
            opened += 1


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
