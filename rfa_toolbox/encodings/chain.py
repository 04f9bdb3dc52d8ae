"""The chain of handlers, which :mod:`rfa_toolbox.operators.chain` defines."""

from __future__ import annotations

from rfa_toolbox.operators.chain import Handler, HandlerChain

__all__ = ["Handler", "HandlerChain"]
