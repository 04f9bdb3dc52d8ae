"""The predecessor's path to rendering; the spelling is part of its public API."""

from __future__ import annotations

from rfa_toolbox.rendering import node_id, visualize_architecture, visualize_node

__all__ = ["node_id", "visualize_architecture", "visualize_node"]
