"""Every operation of Keras has a rule, or a reason why it has none."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest

from rfa_toolbox import create_graph_from_tensorflow_model
from rfa_toolbox.encodings.tensorflow_keras.lowering_operations import OPERATIONS, canonical
from rfa_toolbox.encodings.tensorflow_keras.lowering_rarer import WITHOUT_RULE

INF = float("inf")


def operations(keras: Any) -> set[str]:
    """Return the names of all classes of operations that Keras brings."""
    room = importlib.import_module("keras.src.ops")
    found = set()
    for module in pkgutil.iter_modules(room.__path__):
        if not module.name.endswith("_test"):
            members = vars(importlib.import_module(f"keras.src.ops.{module.name}"))
            found |= {
                name
                for name, one in members.items()
                if inspect.isclass(one)
                and issubclass(one, keras.Operation)
                and one is not keras.Operation
                and one.__module__.startswith("keras.src.ops.")
            }
    return found


def test_every_operation_has_a_rule_or_a_reason(keras: Any) -> None:
    names = {canonical(one) for one in operations(keras)}
    assert len(names) > 300
    assert names - OPERATIONS.keys() - WITHOUT_RULE.keys() == set()
    assert OPERATIONS.keys() & WITHOUT_RULE.keys() == set()


MAPS: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "append": (lambda o, x: o.append(x, x, axis=-1), (5, 5)),
    "append flat": (lambda o, x: o.append(x, x), (5, 5)),
    "array_split": (lambda o, x: o.array_split(x, 3, axis=3)[2], (5, 5)),
    "cross": (lambda o, x: o.cross(x[..., :3], x[..., 3:6]), (5, 5)),
    "diff": (lambda o, x: o.diff(x, 2, axis=1), (7, 5)),
    "extract_sequences": (lambda o, x: o.extract_sequences(o.swapaxes(x, 2, 3), 4, 2), (5, 8)),
    "hstack": (lambda o, x: o.hstack([x, x]), (5, 5)),
    "inv": (lambda o, x: o.inv(o.transpose(x, (0, 3, 1, 2))), (INF, INF)),
    "outer": (lambda o, x: o.outer(x[0, :, 0, 0], o.ones(4)), (5, 5)),
    "rot90": (lambda o, x: o.rot90(x, axes=(1, 2)), (5, 5)),
    "slice_update": (lambda o, x: o.slice_update(x, (0, 0, 0, 0), x[:, :, :, :2]), (5, 5)),
    "trapezoid": (lambda o, x: o.trapezoid(x, axis=1), (INF, 5)),
    "unfold": (lambda o, x: o.unfold(o.transpose(x, (0, 3, 1, 2)), 3), (7, 7)),
    "view": (lambda o, x: o.view(x), (5, 5)),
}


@pytest.mark.parametrize("name", MAPS)
def test_rarer_operations_have_their_fields(keras: Any, name: str) -> None:
    make, expected = MAPS[name]
    if not hasattr(keras.ops, name.split(maxsplit=1)[0]):
        pytest.skip("this Keras is older than the operation")
    image = keras.Input(batch_shape=(1, 20, 20, 3))
    made = make(keras.ops, keras.layers.Conv2D(6, 5, padding="same")(image))
    graph = create_graph_from_tensorflow_model(keras.Model(image, made))
    assert graph.certainty != "unknown", graph.certainty_reason
    assert graph.receptive_field_max == expected


@pytest.mark.filterwarnings("ignore:These operations are not known")
def test_a_reason_is_told_where_there_is_no_rule(keras: Any) -> None:
    image = keras.Input(batch_shape=(1, 8, 8, 3))
    found = keras.ops.map(lambda one: one * 2.0, keras.layers.Conv2D(2, 3)(image))
    graph = create_graph_from_tensorflow_model(keras.Model(image, found))
    assert graph.certainty == "unknown"
    assert "code of its own" in graph.certainty_reason
