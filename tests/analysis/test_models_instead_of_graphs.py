"""A model, or nothing, where a graph is expected: one sentence says what to call first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rfa_toolbox import analysis, rendering
from rfa_toolbox.analysis.states import smallest_fields
from rfa_toolbox.architectures.vgg import vgg11
from rfa_toolbox.errors import InvalidGraphError


class Model:
    """Stands for a model of a framework."""


QUESTIONS: dict[str, Callable[[Any], object]] = {
    "visualize_architecture": lambda value: rendering.visualize_architecture(value, "title"),
    "visualize_node": lambda value: rendering.visualize_node(
        value, rendering.Picture(), 32, True, True
    ),
    "node_id": rendering.node_id,
    "analyze": lambda value: analysis.analyze(value, 32),
    "input_resolution_range": analysis.input_resolution_range,
    "obtain_all_nodes": analysis.obtain_all_nodes,
    "obtain_border_layers": lambda value: analysis.obtain_border_layers(value, 32),
    "obtain_all_critical_layers": lambda value: analysis.obtain_all_critical_layers(value, 32),
    "unproductive_layers": lambda value: analysis.unproductive_layers(value, 32),
    "critical_layers": lambda value: analysis.critical_layers(value, 32),
    "partially_critical_layers": lambda value: analysis.partially_critical_layers(value, 32),
    "underutilized_layers": lambda value: analysis.underutilized_layers(value, 32),
    "unproductive_resolution": analysis.unproductive_resolution,
    "smallest_resolution": analysis.find_smallest_resolution_with_no_unproductive_layer,
    "extractor": analysis.filters_non_convolutional_node,
    "expanding": analysis.filter_layers_not_expanding_receptive_field,
    "list": lambda value: analysis.filters_non_convolutional_node([value]),
    "smallest_fields": smallest_fields,
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize(("value", "kind"), [(None, "None"), (Model(), "a Model"), (3, "an int")])
def test_the_encoders_are_named(
    question: Callable[[Any], object], value: object, kind: str
) -> None:
    with pytest.raises(InvalidGraphError, match="graph of a model first") as caught:
        question(value)
    message = str(caught.value)
    assert f"this is {kind};" in message
    assert "create_graph_from_pytorch_model" in message
    assert "create_graph_from_tensorflow_model" in message
    assert "\n" not in message


def test_a_single_node_is_no_list_of_nodes() -> None:
    with pytest.raises(InvalidGraphError, match=r"'Softmax'.*obtain_all_nodes\(node\)"):
        analysis.filters_non_convolutional_node(vgg11())  # type: ignore[arg-type]


def test_sizes_that_are_none_are_quoted() -> None:
    with pytest.raises(InvalidGraphError, match="sizes are None"):
        analysis.filters_non_infinite_rf_sizes(None)  # type: ignore[arg-type]


def test_what_looks_like_a_node_passes() -> None:
    class Wrapped:
        def __init__(self) -> None:
            self.node = vgg11()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.node, name)

    assert len(analysis.obtain_all_nodes(Wrapped())) == 17  # type: ignore[arg-type]
