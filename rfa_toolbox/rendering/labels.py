"""Text of a picture: numbers, names and whole labels as Graphviz wants to read them.

Names come from users and models: they are data, whatever they contain, and never markup.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

from rfa_toolbox.analysis.states import axes_of, map_size_at
from rfa_toolbox.analysis.words import terms_of
from rfa_toolbox.domain import Certainty, Resolution
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

__all__ = [
    "LONGEST_NAME",
    "Markup",
    "block_label",
    "input_label",
    "markup",
    "module_label",
    "node_label",
    "plain",
    "shortened",
    "size_text",
]

Markup: TypeAlias = str
"""An HTML-like label of Graphviz, ``<...>``."""

LONGEST_NAME = 40
"""Characters of a name that are shown in a box; the whole name is in its tooltip."""

_LONGEST_STRING = 16_000
"""Bytes of a quoted string that every release of Graphviz can read (its limit is 16,384)."""

_JOINERS = "\u200c\u200d"  # parts of words and emoji, though Python calls them not printable


def visible(text: str) -> str:
    r"""Return a text with everything that cannot be seen spelled out.

    Control characters break the XML of a picture, lone surrogates its encoding, and characters
    that turn the reading direction spoil the text after them.

    >>> print(visible("two" + chr(10) + "lines"))
    two\nlines
    """
    return "".join(
        sign
        if sign.isprintable() or sign in _JOINERS
        else sign.encode("unicode_escape").decode("ascii")
        for sign in text
    )


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a text of at most ``longest`` characters that keeps its beginning and its end.

    >>> shortened("a" * 50 + "end", longest=12)
    'aaaaaa…aaend'
    """
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[-end:]}"


def markup(text: str, longest: int = LONGEST_NAME) -> Markup:
    """Return a text for the inside of an HTML-like label.

    >>> markup("a < b & c")
    'a &lt; b &amp; c'
    """
    # Shortened before it is spelled out, so that a name of any length costs the same.
    seen = shortened(visible(shortened(text, longest)), 2 * longest)
    # Escapes such as \N are replaced here as well as in plain labels.
    return html.escape(seen, quote=False).replace("\\", "\\\\")


def plain(text: str) -> str:
    """Return a text for a tooltip, whole unless it is longer than Graphviz can read.

    >>> plain("50% & <more>")
    '50% &amp; &lt;more>'
    """
    seen = visible(text)
    if len(_escaped(seen).encode("utf-8")) > _LONGEST_STRING:
        seen = shortened(seen, _LONGEST_STRING // 6)  # an escaped sign has five bytes or less
    return _escaped(seen)


def _escaped(text: str) -> str:
    """Return a text with the escapes and entities that Graphviz reads in tooltips made plain.

    A text between < and > would be markup, which is no statement of DOT if it is damaged.
    """
    return text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")


def size_text(value: Any) -> str:
    """Return a size as people write it: 3x3, and one sign where every axis is infinite.

    >>> size_text((3, 3)), size_text(7), size_text((math.inf, math.inf)), size_text((1, math.inf))
    ('3x3', '7', '∞', '1x∞')
    """
    if isinstance(value, tuple):
        if all(size == math.inf for size in value):
            return "∞"
        return "x".join(map(size_text, value))
    return "∞" if value == math.inf else str(value)


def _is_one(value: Any) -> bool:
    return all(size == 1 for size in value) if isinstance(value, tuple) else bool(value == 1)


def layer_text(layer: LayerDefinition) -> str:
    """Return what a layer does: window, steps and width; nothing for one that has none.

    >>> layer_text(LayerDefinition("Conv2d", (3, 3), (2, 2), filters=64, dilation=2))
    'kernel 3x3, stride 2x2, dilation 2, 64 filters'
    >>> layer_text(LayerDefinition("Addition", 1, 1, filters=64))
    '64 filters'
    >>> layer_text(LayerDefinition("AdaptivePool", 3, 2, resolution_dependent=True))
    'kernel grows with the input'
    """
    if layer.resolution_dependent:
        return "kernel grows with the input"
    facts = []
    moves = not (_is_one(layer.stride_size) and _is_one(layer.upsampling))
    # A 1x1 window is worth telling only where windows are to be expected.
    if moves or not _is_one(layer.kernel_size) or "conv" in layer.name.lower():
        kernel = size_text(layer.kernel_size)
        shortest = layer.shortest_kernel_size
        if shortest is not None and shortest != layer.kernel_size:
            kernel = f"{size_text(shortest)} to {kernel}"
        facts.append(f"kernel {kernel}")
        if moves or kernel != "∞":
            facts.append(f"stride {size_text(layer.stride_size)}")
    if not _is_one(layer.dilation):
        facts.append(f"dilation {size_text(layer.dilation)}")
    if not _is_one(layer.upsampling):
        facts.append(f"upsampling {size_text(layer.upsampling)}")
    if layer.filters is not None:
        facts.append(_counted(layer.filters, "filter"))
    if layer.units is not None:
        facts.append(_counted(layer.units, "unit"))
    return ", ".join(facts)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"


def known_size(size: Any, certainty: Certainty) -> str:
    """Return a receptive field with the mark of how it is known.

    >>> known_size(7, "exact"), known_size((7, 7), "bound"), known_size(7, "unknown")
    ('= 7', '≤ 7x7', '= 7?')
    """
    sign = "≤" if certainty == "bound" else "="
    return f"{sign} {size_text(size)}{'?' if certainty == 'unknown' else ''}"


def node_label(
    node: EnrichedNetworkNode, input_res: Resolution, include_rf_info: bool, include_fm_info: bool
) -> Markup:
    """Return the label of a box: what the layer is, what it does, and its numbers in pixels.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> node = EnrichedNetworkNode("first", LayerDefinition("Conv", 3, 2), [])
    >>> print(node_label(node, 32, include_rf_info=False, include_fm_info=False))
    <<b>Conv</b><br/>first<br/><font point-size="9">kernel 3, stride 2</font>>
    """
    return _label(node, _details(node, input_res, include_rf_info, include_fm_info))


def _details(
    node: EnrichedNetworkNode, input_res: Resolution, include_rf_info: bool, include_fm_info: bool
) -> list[str]:
    details = [layer_text(node.layer_info)]
    if not node.has_position:
        return [*details, "no position"]
    if include_rf_info:
        smallest, largest = (
            known_size(size, node.certainty) for size in node.lasting_receptive_fields
        )
        details.append(f"r_min {smallest}, r_max {largest}")
    if include_fm_info:
        details.append(f"feature map {size_text(map_size_at(node, input_res))}")
    return details


def block_label(
    nodes: Sequence[EnrichedNetworkNode],
    main: EnrichedNetworkNode,
    input_res: Resolution,
    include_rf_info: bool,
    include_fm_info: bool,
) -> Markup:
    """Return the label of a box that stands for a layer and what only passes its output on.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> conv = EnrichedNetworkNode("first", LayerDefinition("Conv", 3, 2), [])
    >>> relu = EnrichedNetworkNode("relu", LayerDefinition("ReLU", 1), [conv])
    >>> print(block_label([conv, relu], conv, 32, False, False))
    <<b>Conv</b><br/>first<br/><font point-size="9">kernel 3, stride 2<br/>+ ReLU</font>>
    """
    details = _details(main, input_res, include_rf_info, include_fm_info)
    others = dict.fromkeys(markup(node.layer_info.name, 20) for node in nodes if node is not main)
    if others:
        details.insert(1, f"+ {', '.join(others)}")
    return _label(main, details)


def module_label(
    path: str, summary: str, last: EnrichedNetworkNode, input_res: Resolution, rf: bool, fm: bool
) -> Markup:
    """Return the label of a box that stands for a whole module.

    Args:
        path: path of the module.
        summary: what is in it, in a few words.
        last: its last node, whose field and map are shown.
        input_res: resolution in pixels.
        rf: write the receptive field.
        fm: write the size of the feature map.
    """
    details = [summary, *_details(last, input_res, rf, fm)[1:]]
    return f'<<b>{markup(path)}</b><br/><font point-size="9">{"<br/>".join(details)}</font>>'


def input_label(node: EnrichedNetworkNode, input_res: Resolution) -> Markup:
    """Return the label of an input: each of its units sees one pixel, which goes without saying.

    >>> from rfa_toolbox.graphs import LayerDefinition
    >>> print(input_label(EnrichedNetworkNode("x", LayerDefinition("Input", 1, 1), []), 32))
    <<b>Input</b><br/>x<br/><font point-size="9">32 px</font>>
    """
    channels = node.layer_info.filters
    if not node.has_position:
        return _label(node, ["no position"])
    unit = terms_of(axes_of(node.all_layers)).unit  # an input alone knows of no axes
    size = f"{size_text(node.compute_feature_map_size(input_res))} {unit}"
    return _label(node, [_counted(channels, "channel") if channels is not None else "", size])


def _label(node: EnrichedNetworkNode, details: Sequence[str]) -> Markup:
    kind = markup(node.layer_info.name)
    lines = [f"<b>{kind}</b>" if kind.strip() else "<b>layer</b>"]
    name = markup(node.name)
    if name.strip() and name != kind:
        lines.append(name)
    small = "<br/>".join(filter(None, details))
    if small:
        lines.append(f'<font point-size="9">{small}</font>')
    return f"<{'<br/>'.join(lines)}>"
