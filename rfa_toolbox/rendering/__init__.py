"""Rendering: from a graph to a picture."""

from __future__ import annotations

from rfa_toolbox.rendering.architecture import node_id, visualize_architecture, visualize_node
from rfa_toolbox.rendering.layout import LayoutTimeoutError, Picture

__all__ = [
    "LayoutTimeoutError",
    "Picture",
    "node_id",
    "visualize_architecture",
    "visualize_node",
]
