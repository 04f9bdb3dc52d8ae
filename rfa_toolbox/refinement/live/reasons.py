"""Why a refinement is refused by a live model, and what to write in its code."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rfa_toolbox.errors import CaptureError
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.live.comparison import Difference

__all__ = ["of_differences", "of_failure"]

_REMEDIES: Mapping[str, str] = {
    "linear": "A dense layer reads all positions of a map, so it has weights for one size only. "
    "Put a pooling of a fixed size in front of the flattening, such as "
    "torch.nn.AdaptiveAvgPool2d(7), or build the layer with the new number of features.",
    "reshape": "A reshape in its code has the size of the original map in it. Write -1, or take "
    "the size of the tensor that comes in.",
    "tokens": "A table of positions has one entry per position of the original map. Make the "
    "model for the new number of positions (arguments such as img_size), or resample the table "
    "in forward().",
    "meeting": "Maps that meet there no longer have the same size. The layers of all branches "
    "have to change together; one of them has its stride or its size in code.",
    "checked": "Its code insists on the size of the original map. Make the model for the new "
    "size (arguments such as img_size or patch_size).",
}

_ADVICE_ON_INPUTS = " Pass the shape (batch, channels, height, width) that the model expects."

_KINDS: Mapping[str, str] = {
    "linear": "linear",
    "view": "reshape",
    "reshape": "reshape",
    "unflatten": "reshape",
    "cat": "meeting",
    "stack": "meeting",
}


def of_failure(graph: EnrichedNetworkNode, error: CaptureError) -> str:
    """Say why a changed model does not run, and what to write."""
    cause: BaseException | None = error
    while cause is not None and not hasattr(cause, "rfa_failure"):
        cause = cause.__cause__
    failure = getattr(cause, "rfa_failure", None)
    if failure is None or isinstance(cause, AssertionError):
        kind = "checked"
    else:
        other = "tokens" if _meets_a_table(graph, failure.shapes) else "meeting"
        kind = _KINDS.get(failure.operator, other)
    text = str(error).removesuffix(_ADVICE_ON_INPUTS)
    return f"The refined model does not run. {text} {_REMEDIES[kind]}"


def _meets_a_table(graph: EnrichedNetworkNode, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Return whether one of some tensors has the positions of an original map in one dimension."""
    maps = {math.prod(node.feature_map) for node in graph.all_layers if node.feature_map}
    counts = {count + extra for count in maps if count > 1 for extra in (0, 1, 2)}
    return any(size in counts for shape in shapes for size in shape)


def of_differences(found: Sequence[Difference]) -> str:
    """Say what a changed model does otherwise than predicted, beginning with the cause."""
    shown = "; ".join(str(one) for one in found[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    first = found[0]
    text = f"The refined model does otherwise than predicted: {shown}{more}."
    operator = first.name.rpartition("/")[2]
    if first.what in {"stride", "kernel", "feature map"} and "/" in first.name:
        text += (
            f" {operator} in the code of {first.name.rpartition('/')[0] or 'the model'} computes "
            "it from something else than the layers that were changed. Write it there."
        )
    return text
