"""Keep doctests of an encoder out of a run in which its framework is not installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["rfa_toolbox/encodings/pytorch/*"]
