"""Receptive field analysis: find the layers of a neural network that cannot help.

The names below are all that most work needs; none of them needs a framework to be imported.

>>> from rfa_toolbox import analyze, input_resolution_range
>>> from rfa_toolbox.architectures.vgg import vgg16
>>> input_resolution_range(vgg16())
((212, 212), (212, 212))
"""

from __future__ import annotations

import importlib
import typing

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
from rfa_toolbox.frameworks import create_graph_from_onnx, create_graph_from_pytorch_model
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition, ReceptiveFieldInfo
from rfa_toolbox.rendering import Report, make_report, visualize_architecture, write_report

if typing.TYPE_CHECKING:
    from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
        create_graph_from_keras_json,
    )
    from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
        create_graph_from_model as create_graph_from_tensorflow_model,
    )
    from rfa_toolbox.refinement import (
        Refinement,
        apply_refinement,
        downsampling_steps,
        suggest_refinements,
    )

__version__ = "2.6.0"

__all__ = [
    "Analysis",
    "Block",
    "EnrichedNetworkNode",
    "LayerDefinition",
    "LayerRow",
    "ReceptiveFieldInfo",
    "Refinement",
    "Report",
    "Summary",
    "__version__",
    "analyze",
    "apply_refinement",
    "blocks",
    "create_graph_from_keras_json",
    "create_graph_from_onnx",
    "create_graph_from_pytorch_model",
    "create_graph_from_tensorflow_model",
    "downsampling_steps",
    "input_resolution_range",
    "make_report",
    "suggest_refinements",
    "summarize",
    "visualize_architecture",
    "write_report",
]

_KERAS = "rfa_toolbox.encodings.tensorflow_keras.ingest_architecture"
_LATER = {
    "Refinement": ("rfa_toolbox.refinement", "Refinement"),
    "apply_refinement": ("rfa_toolbox.refinement", "apply_refinement"),
    "create_graph_from_keras_json": (_KERAS, "create_graph_from_keras_json"),
    "create_graph_from_tensorflow_model": (_KERAS, "create_graph_from_model"),
    "downsampling_steps": ("rfa_toolbox.refinement", "downsampling_steps"),
    "suggest_refinements": ("rfa_toolbox.refinement", "suggest_refinements"),
}
"""Names whose modules are imported when they are used: most programs need few of them."""


def __getattr__(name: str) -> typing.Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, original = _LATER[name]
    return getattr(importlib.import_module(module), original)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
