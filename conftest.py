"""Keep doctests that need a framework out of a run in which it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = (
    [] if find_spec("torch") else ["rfa_toolbox/encodings/pytorch/*", "rfa_toolbox/frameworks.py"]
)
