"""Receptive field analysis: find the layers of a neural network that cannot help."""

from __future__ import annotations

from rfa_toolbox.frameworks import create_graph_from_pytorch_model
from rfa_toolbox.graphs import (
    EnrichedNetworkNode,
    LayerDefinition,
    ReceptiveFieldInfo,
)

__version__ = "2.0.0"

__all__ = [
    "EnrichedNetworkNode",
    "LayerDefinition",
    "ReceptiveFieldInfo",
    "__version__",
    "create_graph_from_pytorch_model",
]
