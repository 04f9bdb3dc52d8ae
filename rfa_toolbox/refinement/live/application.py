"""From a live model and a refinement to the refined live model, held against its prediction."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Protocol

import attrs

from rfa_toolbox.errors import CaptureError, RefinementError, UnsupportedModelError
from rfa_toolbox.frameworks import require
from rfa_toolbox.graphs import EnrichedNetworkNode
from rfa_toolbox.refinement.editing import edit
from rfa_toolbox.refinement.edits import Rebuild, Repeat
from rfa_toolbox.refinement.live.changes import Change, changes_between
from rfa_toolbox.refinement.live.comparison import differences
from rfa_toolbox.refinement.live.keras import LiveKerasModel
from rfa_toolbox.refinement.live.reasons import of_differences, of_failure
from rfa_toolbox.refinement.live.weights import Weights
from rfa_toolbox.refinement.plan import Refinement

__all__ = [
    "RefinedModel",
    "apply_refinement",
    "as_predicted",
    "other_widths",
    "refine_model",
]


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


class _Live(Protocol):
    """What the models of both frameworks have in common."""

    def graph(self) -> EnrichedNetworkNode: ...

    def other_mode(self) -> bool: ...

    def rebuild(self, arguments: Mapping[str, Any]) -> Weights: ...

    def change(
        self, changes: Iterable[Change], nodes: Sequence[EnrichedNetworkNode]
    ) -> Weights: ...

    def finished(self, before: EnrichedNetworkNode, after: EnrichedNetworkNode) -> Any: ...


def apply_refinement(
    model: Any, refinement: Refinement | str | PathLike[str], input_res: Any = None
) -> Any:
    """Return a refined copy of a model; the model itself stays as it is.

    All weights that fit are kept, those of a smaller patch are added up, and a warning lists layers
    whose weights are new. The model has to be trained, or trained further.

    Args:
        model: a PyTorch module, or a functional or sequential Keras model.
        refinement: as ``suggest_refinements`` returns it, or the path of its JSON.
        input_res: for PyTorch, what the model is called with, as for
            ``create_graph_from_pytorch_model``; None is one image of the size that the refinement
            was made with.

    Returns:
        The refined model. It was encoded, and is as predicted in every field, map and count.

    Raises:
        RefinementError: a ValueError, if the refinement is for another architecture, or if the
            model does not do as predicted: it names the layer, and what to write in its code.

    Warns:
        UserWarning: if layers have new weights.

    >>> from torch import nn
    >>> from rfa_toolbox import create_graph_from_pytorch_model
    >>> from rfa_toolbox.refinement import SetWindow, refinement_of
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1))
    >>> graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    >>> refinement = refinement_of(graph, [SetWindow("1", stride=1)], 32)
    >>> apply_refinement(model, refinement)[1]
    Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    refined = refine_model(model, refinement, input_res)
    if refined.initialised:
        warnings.warn(
            f"Layers with new weights, drawn at random: {', '.join(refined.initialised)}.",
            UserWarning,
            stacklevel=2,
        )
    return refined.model


def refine_model(
    model: Any, refinement: Refinement | str | PathLike[str], input_res: Any = None
) -> RefinedModel:
    """Return a refined copy of a model, and what is known of it; see ``apply_refinement``.

    >>> from torch import nn
    >>> from rfa_toolbox import create_graph_from_pytorch_model
    >>> from rfa_toolbox.refinement import SetWindow, refinement_of
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3))
    >>> graph = create_graph_from_pytorch_model(model, input_res=(1, 3, 32, 32))
    >>> smaller = refinement_of(graph, [SetWindow("0", stride=2, kernel=2)], 32)
    >>> refined = refine_model(model, smaller)
    >>> refined.summed, refined.graph.receptive_field_max
    (('0',), (6, 6))
    """
    refinement = _read(refinement)
    shape = refinement.encoded_res if input_res is None else None
    live = _live(model, input_res, shape)
    graph = _checked(live, refinement)
    edits = refinement.edits_for(graph)
    rest = [one for one in edits if not isinstance(one, Rebuild)]
    weights = Weights()
    for one in edits:
        if isinstance(one, Rebuild):
            weights = live.rebuild(one.arguments)
    graph = graph if len(rest) == len(edits) else live.graph()
    repeats = [one for one in rest if isinstance(one, Repeat)]
    return _as_predicted(live, graph, edit(graph, rest), weights, repeats)


def _read(value: object) -> Refinement:
    if isinstance(value, Refinement):
        return value
    if isinstance(value, str | PathLike):
        return Refinement.load(os.fspath(value))
    raise RefinementError(
        f"The refinement is {value!r}; it must be one that suggest_refinements returned, or the "
        "path of the JSON that its save(path) wrote."
    )


def _checked(live: _Live, refinement: Refinement) -> EnrichedNetworkNode:
    """Return the graph of a model if it is the architecture that a refinement is for.

    A refinement may have been made of a model in the other mode, which can have other layers.
    """
    graph = live.graph()
    try:
        refinement.check(graph)
    except RefinementError:
        if not live.other_mode():
            raise
        graph = live.graph()
        refinement.check(graph)
    return graph


Predict = Callable[[EnrichedNetworkNode], EnrichedNetworkNode]


def as_predicted(model: Any, predict: Predict, input_res: Any = None) -> RefinedModel:
    """Return a model that was changed so that its graph is the predicted one.

    Raises:
        RefinementError: if the model cannot be changed in this way, or does otherwise than
            predicted.
    """
    live = _live(model, input_res)
    graph = live.graph()
    return _as_predicted(live, graph, predict(graph), Weights())


def _as_predicted(
    live: _Live,
    graph: EnrichedNetworkNode,
    predicted: EnrichedNetworkNode,
    rebuilt: Weights,
    repeats: Sequence[Repeat] = (),
) -> RefinedModel:
    weights = live.change(changes_between(graph, predicted, repeats), graph.all_layers)
    try:
        actual = live.graph()
    except CaptureError as error:
        raise RefinementError(of_failure(graph, error)) from error
    found = differences(predicted, actual)
    if found:
        raise RefinementError(of_differences(found))
    new = dict.fromkeys((*rebuilt.initialised, *weights.initialised))
    return RefinedModel(live.finished(graph, actual), actual, tuple(new), tuple(weights.summed))


def other_widths(
    model: Any, input_res: Any = None
) -> Iterator[tuple[Rebuild, EnrichedNetworkNode]]:
    """Yield shorter and wider networks that the constructor of a model makes, with their graphs.

    ``suggest_refinements`` takes them, for its strategy "wide". None are made before they are
    asked for.

    Args:
        model: a live model; it stays as it is. Constructors are known of EfficientNet and of ResNet
            with bottlenecks, both of torchvision; there is nothing for other models.
        input_res: shape of the input, as for ``create_graph_from_pytorch_model``; None is the usual
            one.
    """
    roots = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "torch" not in roots or roots & {"keras", "tf_keras"}:
        return
    require("torch", extra="torch")
    from rfa_toolbox.refinement.live.constructors import offers, prototype
    from rfa_toolbox.refinement.live.pytorch import LivePyTorchModel

    for arguments in offers(model):
        live = LivePyTorchModel(prototype(model, arguments), input_res)
        yield Rebuild(arguments), live.graph()


def _live(model: Any, input_res: Any, size: tuple[int, ...] | None = None) -> _Live:
    """Return a model behind what both frameworks have in common."""
    roots = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if roots & {"keras", "tf_keras"}:
        return LiveKerasModel(model)
    if "torch" in roots:
        require("torch", extra="torch")
        from rfa_toolbox.refinement.live.pytorch import LivePyTorchModel

        return LivePyTorchModel(model, input_res, size)
    raise UnsupportedModelError(
        f"The model is {model!r}, a {type(model).__name__}; a refinement is applied to a "
        "torch.nn.Module, or to a functional or sequential model of Keras."
    )
