"""What a run of the tests needs to know of the frameworks that are installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

# Doctests and tests of an encoder need its framework; that of Keras needs none.
collect_ignore_glob = (
    []
    if find_spec("torch")
    else [
        "rfa_toolbox/empirical",
        "rfa_toolbox/encodings/pytorch",
        "rfa_toolbox/frameworks.py",
        "rfa_toolbox/refinement/live/application.py",
        "rfa_toolbox/refinement/live/constructors.py",
        "rfa_toolbox/refinement/live/pytorch.py",
        "tests/pytorch",
    ]
)
if find_spec("keras") is None:
    collect_ignore_glob += ["rfa_toolbox/empirical/keras_gradients.py"]

if find_spec("onnx") is None:
    collect_ignore_glob += ["rfa_toolbox/encodings/onnx", "tests/onnx"]

# The command line needs its extra, but for the one line that says so.
if find_spec("typer") is None or find_spec("rich") is None:
    collect_ignore_glob += ["rfa_toolbox/cli", "tests/cli"]

# Keras asks for TensorFlow unless it is told what else there is.
if find_spec("tensorflow") is None and find_spec("torch") is not None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
