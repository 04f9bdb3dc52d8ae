"""Receptive field analysis: find the layers of a neural network that cannot help.

The names below are all that most work needs; none of them needs a framework to be imported.

>>> from rfa_toolbox import analyze, input_resolution_range
>>> from rfa_toolbox.architectures.vgg import vgg16
>>> input_resolution_range(vgg16())
((212, 212), (212, 212))
"""

from __future__ import annotations

from rfa_toolbox.analysis import (
    Analysis,
    Block,
    LayerRow,
    Summary,
    analyze,
    blocks,
    input_resolution_range,
    summarize,
)
from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
    create_graph_from_keras_json,
)
from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
    create_graph_from_model as create_graph_from_tensorflow_model,
)
from rfa_toolbox.frameworks import create_graph_from_onnx, create_graph_from_pytorch_model
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, ReceptiveFieldInfo
from rfa_toolbox.rendering import Report, make_report, visualize_architecture, write_report

__version__ = "2.3.0"

__all__ = [
    "Analysis",
    "Block",
    "EnrichedNetworkNode",
    "LayerDefinition",
    "LayerRow",
    "ReceptiveFieldInfo",
    "Report",
    "Summary",
    "__version__",
    "analyze",
    "blocks",
    "create_graph_from_keras_json",
    "create_graph_from_onnx",
    "create_graph_from_pytorch_model",
    "create_graph_from_tensorflow_model",
    "input_resolution_range",
    "make_report",
    "summarize",
    "visualize_architecture",
    "write_report",
]
