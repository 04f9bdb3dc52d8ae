"""Most small changes to the engine change an answer that an experiment has proven.

The answers are those of the small models of ``tests/both``, of which an experiment on the running
model says the same. Models are captured once; a mutant reads their records again. There are some
thousand mutants, of which a sample is drawn that is the same in every run.
"""

from __future__ import annotations

import importlib
import random
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("keras")
pytest.importorskip("onnx")

from rfa_toolbox.encodings.pytorch.recording import record_model
from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import keras_model_to_dict
from rfa_toolbox.encodings.tensorflow_keras.lowering_calls import lowered
from rfa_toolbox.encodings.tensorflow_keras.model_json import read_model
from rfa_toolbox.operators.nodes import Digraph
from rfa_toolbox.operators.record import Record
from rfa_toolbox.operators.rules import spatial_dimensions
from tests.both.families import FAMILIES, Network, keras_model, shape_of
from tests.both.test_families import answers
from tests.mutations.mutants import Mutant, mutants_of

MODULES = ("layout", "known", "trail", "gates", *(f"rules.{name}" for name in (
    "common", "elementwise", "windows", "mixing", "plumbing", "assembling",
)))  # fmt: skip
SAMPLED = 12
"""Mutants per module."""
KILLED = 0.6
"""Share of a sample that must be noticed; most that are not concern operators that no model has."""


def records() -> Iterator[tuple[Record, Any]]:
    for case in FAMILIES.values():
        record = record_model(Network(case).eval(), shape_of(case), "meta")
        yield record, None
        if case.rank == 2:
            read = lowered(read_model(keras_model_to_dict(keras_model(case))))
            yield read, [tuple(range(1, case.rank + 1))] * len(read.inputs)


def answer(record: Record, spatial: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spatial_dimensions(record) if spatial is None else spatial
        return answers(Digraph(None, record, spatial=found).to_graph())


@pytest.fixture(scope="module")
def proven() -> list[tuple[Record, Any, Any]]:
    """Return records with the answers that are right."""
    return [(record, spatial, answer(record, spatial)) for record, spatial in records()]


def is_noticed(mutant: Mutant, proven: list[tuple[Record, Any, Any]]) -> bool:
    """Return whether any answer changes; what notices a mutant is tried first the next time."""
    with mutant.place():
        for place, (record, spatial, expected) in enumerate(proven):
            try:
                same = answer(record, spatial) == expected
            except Exception:  # noqa: BLE001 - a mutant may raise anything
                same = False
            if not same:
                proven.insert(0, proven.pop(place))
                return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_most_mutants_change_an_answer(name: str, proven: list[tuple[Record, Any, Any]]) -> None:
    module = importlib.import_module(f"rfa_toolbox.operators.{name}")
    users = [one for where, one in sys.modules.items() if where.startswith("rfa_toolbox")]
    every = list(mutants_of(module, users))
    sample = random.Random(0).sample(every, min(SAMPLED, len(every)))
    survivors = [one.name for one in sample if not is_noticed(one, proven)]
    assert len(survivors) <= (1 - KILLED) * len(sample), survivors
    assert all(answer(record, spatial) == expected for record, spatial, expected in proven)
