"""The contracts that a user's own handlers and rewrites of nodes fulfil."""

from __future__ import annotations

from rfa_toolbox.operators.drafts import NodeSubstitutor
from rfa_toolbox.operators.handlers import LayerInfoHandler

__all__ = ["LayerInfoHandler", "NodeSubstitutor"]
