"""A rule answers with an effect and changes nothing: only the walk writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from rfa_toolbox import create_graph_from_keras_json
from rfa_toolbox.errors import UnsupportedModelError
from rfa_toolbox.operators.effects import Answer, Effect, Rule
from rfa_toolbox.operators.known import Known
from rfa_toolbox.operators.record import Operation, Record, TensorRef
from rfa_toolbox.operators.rules import follow

STORED = sorted((Path(__file__).parents[1] / "keras" / "data").glob("k3_15__*.json"))


def state(known: Known) -> dict[str, Any]:
    """Return all that is known, as values that are compared."""
    return {
        "steps": tuple(known.steps),
        "values": dict(known.values),
        "results": dict(known.results),
        "even": dict(known.even),
        "written": dict(known.written),
    }


def content(answer: Answer) -> Any:
    """Return an answer as values that are compared; plumbing behind a step by what it makes."""
    found = attrs.asdict(answer, recurse=False)
    if isinstance(answer, Effect) and answer.laid is not None:
        found["laid"] = answer.laid(answer.layouts[0])
    return found


@pytest.mark.filterwarnings("ignore:These operations are not known")
@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem.partition("__")[2])
def test_a_rule_asked_twice_answers_the_same_and_leaves_all_that_is_known(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()

    def answer(rule: Rule, known: Known, operation: Operation) -> Answer:
        before = state(known)
        first, second = rule.effect(known, operation), rule.effect(known, operation)
        assert content(first) == content(second)
        assert state(known) == before
        asked.add(operation.name)
        return first

    monkeypatch.setattr(Rule, "__call__", answer)
    try:
        create_graph_from_keras_json(path)
    except UnsupportedModelError:
        assert not asked  # a subclassed model stores no layers
    else:
        assert asked


def test_what_is_cut_by_size_depends_on_it_where_an_effect_has_an_operation_of_its_own() -> None:
    image, cut, made = (
        TensorRef(at, (1, 2, *more)) for at, more in enumerate(((52,), (12, 8), (12, 4)))
    )
    arguments = {"size": cut.shape, "stride": (104, 52, 4, 1), "input_stride": (104, 52, 1)}
    several = (
        Operation("as_strided", {"input": image, **arguments, "sized": "varies"}, (cut,), ()),
        Operation("linear", {"input": cut, "weight": TensorRef(3, (4, 8))}, (made,), ()),
    )
    assert follow(Record("model", (image,), (made,), several)).steps[-1].position_dependent
