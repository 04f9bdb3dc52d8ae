"""From the record of a Keras model to the nodes of its graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from rfa_toolbox import arithmetic
from rfa_toolbox.encodings.tensorflow_keras.lowering_calls import lowered
from rfa_toolbox.encodings.tensorflow_keras.model_json import CallRecord, ModelRecord
from rfa_toolbox.graphs import InfoFilter, LayerDefinition, noop_filter
from rfa_toolbox.operators import nodes
from rfa_toolbox.operators.drafts import Draft
from rfa_toolbox.operators.record import Record
from rfa_toolbox.operators.rules import RULES, Places, by_themselves
from rfa_toolbox.operators.trail import Trail

__all__ = ["KerasGraph", "graph_of", "spatial_dimensions"]


@attrs.define(eq=False)
class KerasGraph(nodes.Digraph):
    """A Keras model on its way to a graph.

    ``ref_mod`` are the layers that a user's handlers described, by the name of their call.
    """

    def layer_of(self, draft: Draft, layer: LayerDefinition) -> tuple[LayerDefinition, bool]:
        """Return the layer of a node, and whether a user described it."""
        described = self.ref_mod.get(draft.name)
        if described is None:
            return layer, False
        axes = layer.axes
        if axes is None:
            return described, True
        names = ("kernel_size", "stride_size", "dilation", "upsampling")
        own = {name: arithmetic.broadcast(getattr(described, name), axes) for name in names}
        return attrs.evolve(described, **own), True


def graph_of(
    model: ModelRecord,
    describe: Callable[[CallRecord, Sequence[tuple[int, ...]]], Any] = lambda call, shapes: None,
    described: Mapping[str, LayerDefinition] = MappingProxyType({}),
    keep: InfoFilter = noop_filter,
    global_ops: nodes.GlobalOps = "ignore_gates",
) -> KerasGraph:
    """Return a model on its way to a graph.

    Args:
        model: the calls of the model.
        describe: gets a call and the shapes that it reads, and returns the layer that a user's
            handler makes of it, or None.
        described: where it puts these layers, by the name of the call.
        keep: which paths the nodes keep.
        global_ops: which global operations count.
    """
    record = lowered(model, describe)
    first = any(call.config.get("data_format") == "channels_first" for call in model.calls)
    return KerasGraph(
        described,
        record,
        filter_rf=keep,
        display_se_modules=True,
        global_ops=global_ops,
        substitutors=(),
        spatial=spatial_dimensions(record, first),
    )


def spatial_dimensions(record: Record, channels_first: bool) -> list[Places]:
    """Return the spatial dimensions of every input, in axis order.

    Those are all but the batch and what the first convolution or pooling takes for channels; if
    its channels come from none of them, those that it slides over. Without any such layer the last
    dimension holds the channels. Inputs with fewer dimensions than others that they meet have none.

    Args:
        record: the model.
        channels_first: whether channels lie in front where they share a dimension with positions.
    """
    return by_themselves(record, functools.partial(_of_images, channels_first=channels_first))


def _of_images(record: Record, channels_first: bool) -> list[Places]:
    ranks = [len(tensor.shape) for tensor in record.inputs]
    rank = max(ranks, default=0)

    def spread(dimensions: Sequence[int]) -> list[Places]:
        return [dimensions if own == rank else () for own in ranks]

    first = Trail(record, spread(range(1, rank)), RULES).first_slide()
    if first is not None and first.axes:
        if first.channels and rank > 2:
            channel = min(first.channels) if channels_first else max(first.channels)
            return spread([at for at in range(1, rank) if at != channel + 1])
        if first.axes and all(len(axes) == 1 for axes in first.axes):
            return spread(sorted({axes[0] + 1 for axes in first.axes}))
    return spread(range(1, rank - 1) if rank > 2 else range(1, rank))
