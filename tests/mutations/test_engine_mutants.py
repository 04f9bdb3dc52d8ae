"""Small changes to the engine change answers that are proven.

The answers are those of small models, of which other tests say the same by an experiment on the
running model, by tiles that make up the whole image, or by hand. Models are captured once; a
mutant reads their records again. There are some thousand mutants, of which a sample is drawn that
is the same in every run.
"""

from __future__ import annotations

import importlib
import random
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("keras")
pytest.importorskip("onnx")

from torch import nn

from rfa_toolbox.encodings.pytorch.recording import record_model
from rfa_toolbox.encodings.tensorflow_keras import graph as keras_graph
from rfa_toolbox.encodings.tensorflow_keras.ingest_architecture import keras_model_to_dict
from rfa_toolbox.encodings.tensorflow_keras.lowering_calls import lowered
from rfa_toolbox.encodings.tensorflow_keras.model_json import read_model
from rfa_toolbox.operators.nodes import Digraph
from rfa_toolbox.operators.record import Record
from rfa_toolbox.operators.rules import spatial_dimensions
from tests.both.families import FAMILIES, Network, keras_model, shape_of
from tests.faults import test_scans
from tests.faults.random_models import CHANNELS, RandomModel
from tests.mutations.mutants import Mutant, mutants_of
from tests.pytorch import test_hard_cases, test_operators, test_put_together, test_tiling_or_not
from tests.pytorch.measure import Function

MODULES = ("layout", "known", "trail", *(f"rules.{name}" for name in (
    "common", "elementwise", "windows", "mixing", "plumbing", "assembling",
)))  # fmt: skip
RANDOM_MODELS = 60
SAMPLED = 40
KILLED = 0.4
"""Share of a sample that must be noticed, of all mutants 0.6 are: a sample of 40 hardly ever has
fewer than this by chance. Others concern operators that none of the models has, or are shortcuts in
front of a general way."""


def models() -> Iterator[tuple[nn.Module, tuple[int, ...]]]:
    for case in FAMILIES.values():
        yield Network(case), shape_of(case)
    for one in test_operators.CASES:
        yield one.build(), one.shape
    for functions, shape in (
        (test_put_together.EXACT, (1, 1, 32, 32)),
        (test_put_together.BOUND, (1, 1, 32, 32)),
        (test_tiling_or_not.TILED, (1, 2, 48, 48)),
    ):
        for function, members in functions.values():
            yield Function(function, **members).double(), shape
    for model, shape, _ in test_hard_cases.CASES.values():
        yield model, shape
    for several in (test_scans.FORWARD, test_scans.BACKWARD, test_scans.BOTH):
        for model in several.values():
            yield model, (1, 4, test_scans.LENGTH)
    for seed in range(RANDOM_MODELS):
        drawn = RandomModel(seed)
        if not drawn.conditions:
            yield drawn, (1, CHANNELS, *drawn.sizes)


def records() -> Iterator[tuple[Record, Any]]:
    for model, shape in models():
        record = record_model(model.eval(), shape, "meta")
        yield record, spatial_dimensions
    for case in FAMILIES.values():
        read = lowered(read_model(keras_model_to_dict(keras_model(case))))
        yield read, partial(keras_graph.spatial_dimensions, channels_first=False)


def answer(record: Record, spatial: Any) -> list[Any]:
    """Return what the graph of a record says of every layer."""
    graph = Digraph(None, record, spatial=spatial(record)).to_graph()
    return [
        (node.receptive_field_min, node.receptive_field_max, node.window, node.certainty,
         node.layer_info, node.feature_map)
        for node in graph.all_layers
    ]  # fmt: skip


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
def test_most_mutants_change_an_answer() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proven = [(record, spatial, answer(record, spatial)) for record, spatial in records()]
        users = [one for where, one in sys.modules.items() if where.startswith("rfa_toolbox")]
        every = [
            mutant
            for name in MODULES
            for mutant in mutants_of(
                importlib.import_module(f"rfa_toolbox.operators.{name}"), users
            )
        ]
        assert len(every) > 3000
        sample = random.Random(0).sample(every, SAMPLED)
        survivors = [one.name for one in sample if not is_noticed(one, proven)]
        assert all(answer(record, spatial) == expected for record, spatial, expected in proven)
    assert len(survivors) <= (1 - KILLED) * SAMPLED, survivors
