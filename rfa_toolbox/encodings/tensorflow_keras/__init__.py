"""The encoder for Keras models; files of them are read without any framework."""

from __future__ import annotations

from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import (
    DEFAULT_HANDLERS,
    PARSERS,
    create_graph_from_keras_json,
    create_graph_from_model,
    keras_model_to_dict,
    model_dict_to_enriched_graph,
)

__all__ = [
    "DEFAULT_HANDLERS",
    "PARSERS",
    "create_graph_from_keras_json",
    "create_graph_from_model",
    "keras_model_to_dict",
    "model_dict_to_enriched_graph",
]
