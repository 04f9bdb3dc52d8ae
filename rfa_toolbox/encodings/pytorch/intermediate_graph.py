"""A PyTorch model on its way to a graph, with its modules for the handlers that want them."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from torch import nn

from rfa_toolbox.encodings.pytorch.capture import paths_of
from rfa_toolbox.encodings.pytorch.layer_handlers import LayerCall, default_chain
from rfa_toolbox.operators import nodes
from rfa_toolbox.operators.chain import HandlerChain
from rfa_toolbox.operators.nodes import SUBSTITUTION_STRATEGY, GlobalOps

__all__ = ["RESOLVING_STRATEGY", "SUBSTITUTION_STRATEGY", "Digraph", "GlobalOps"]

RESOLVING_STRATEGY: HandlerChain[LayerCall] = default_chain()
"""The built-in handlers, most specific first."""


@attrs.define(eq=False)
class Digraph(nodes.Digraph):
    """A PyTorch model on its way to a graph; ``ref_mod`` is the model or None."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the modules of the model by path."""
        if self.ref_mod is None:
            return {}
        return {path: one for one, paths in paths_of(self.ref_mod).items() for path in paths}
