"""Reading models in the ONNX format."""

from rfa_toolbox.encodings.onnx.ingest import create_graph_from_model

__all__ = ["create_graph_from_model"]
