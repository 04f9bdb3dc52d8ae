"""What a run of the tests needs to know of the frameworks that are installed."""

from __future__ import annotations

import os
from importlib.util import find_spec

# Doctests and tests of an encoder need its framework; that of Keras needs none.
collect_ignore_glob = (
    []
    if find_spec("torch")
    else ["rfa_toolbox/encodings/pytorch", "rfa_toolbox/frameworks.py", "tests/pytorch"]
)

# Keras asks for TensorFlow unless it is told what else there is.
if find_spec("tensorflow") is None and find_spec("torch") is not None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
