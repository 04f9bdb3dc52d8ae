"""From a live model and a refinement to the refined live model, held against its prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from rfa_toolbox.errors import CaptureError, RefinementError, UnsupportedModelError
from rfa_toolbox.frameworks import require
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.live.changes import changes_between
from rfa_toolbox.refinement.live.comparison import differences
from rfa_toolbox.refinement.live.keras import LiveKerasModel
from rfa_toolbox.refinement.live.reasons import of_differences, of_failure

__all__ = ["RefinedModel", "as_predicted"]


@attrs.frozen
class RefinedModel:
    """A live model that was refined, and what is known of it.

    Attributes:
        model: the refined model, a new object.
        graph: its graph, encoded from the refined model; every field, map and count of it was
            compared with the prediction and is equal.
        initialised: names of layers whose weights no longer fitted and were drawn at random.
        summed: names of layers that read patches, whose weights were added up: on an image they
            compute what the original computes on the image enlarged by repeating pixels.
    """

    model: Any
    graph: EnrichedNetworkNode
    initialised: tuple[str, ...]
    summed: tuple[str, ...]


Prediction = Callable[[EnrichedNetworkNode], EnrichedNetworkNode]
"""From the graph of a model to that of the refined one."""


def as_predicted(model: Any, predict: Prediction, input_res: Any = None) -> RefinedModel:
    """Return a model that was changed so that its graph is the predicted one.

    Raises:
        RefinementError: if the model cannot be changed in this way, or does otherwise than
            predicted.
    """
    live = _live(model, input_res)
    graph = live.graph()
    predicted = predict(graph)
    weights = live.change(changes_between(graph, predicted), graph.all_layers)
    try:
        actual = live.graph()
    except CaptureError as error:
        raise RefinementError(of_failure(graph, error)) from error
    found = differences(predicted, actual)
    if found:
        raise RefinementError(of_differences(found))
    return RefinedModel(
        live.finished(graph, actual), actual, tuple(weights.initialised), tuple(weights.summed)
    )


def _live(model: Any, input_res: Any) -> Any:
    """Return a model behind what both frameworks have in common."""
    roots = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if roots & {"keras", "tf_keras"}:
        return LiveKerasModel(model)
    if "torch" in roots:
        require("torch", extra="torch")
        from rfa_toolbox.refinement.live.pytorch import LivePyTorchModel

        return LivePyTorchModel(model, input_res)
    raise UnsupportedModelError(
        f"The model is {model!r}, a {type(model).__name__}; a refinement is applied to a "
        "torch.nn.Module, or to a functional or sequential model of Keras."
    )
