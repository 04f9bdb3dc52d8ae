"""Steps that are taken out of well-known models do as the published table says, and as measured."""

from __future__ import annotations

import csv
import importlib.util
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")

from rfa_toolbox import create_graph_from_pytorch_model
from rfa_toolbox.empirical import verify
from rfa_toolbox.refinement import downsampling_steps, refine_model, refinement_of
from rfa_toolbox.refinement.steps import without
from tests.empirical.zoo import build

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "refined_models.csv"
FEW = (
    "torchvision:resnet18",
    "torchvision:alexnet",
    "torchvision:inception_v3",
    "timm:gcresnet33ts",
)


@pytest.fixture(scope="module")
def zoo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refine_zoo", ROOT / "benchmarks/refine_zoo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FEW)
def test_steps_of_a_model_are_taken_out_as_the_table_says(
    name: str, zoo: ModuleType, torchvision: Any
) -> None:
    pytest.importorskip("timm")
    with TABLE.open() as file:
        published = [row for row in csv.DictReader(file) if row["model"] == name]
    columns = ("step", "layers", "before", "predicted", "result")
    found = [{key: str(row[key]) for key in columns} for row in zoo.rows_of(name)]
    assert found == [{key: row[key] for key in columns} for row in published]


def test_every_refusal_of_the_table_says_why_and_every_model_of_torchvision_is_in_it() -> None:
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["result"] for row in rows} == {"equal", "refused"}
    assert all(bool(row["reason"]) == (row["result"] == "refused") for row in rows)
    with (ROOT / "docs" / "verified_models.csv").open() as file:
        verified = {row["model"] for row in csv.DictReader(file)}
    everything = {name for name in verified if name.startswith("torchvision:")}
    assert everything <= {row["model"] for row in rows}
    assert len({row["model"] for row in rows} - everything) >= 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("torchvision:squeezenet1_0", 2),
        ("torchvision:alexnet", 3),
        ("torchvision:vgg11", 5),
        ("torchvision:resnet18", 5),
        ("torchvision:mobilenet_v3_small", 4),
        ("timm:resnet18", 2),
        ("timm:darknet17", 4),
        ("timm:resnext26ts", 3),
        ("timm:gcresnet33ts", 5),
        ("timm:edgenext_xx_small", 1),
    ],
)
def test_the_experiment_agrees_with_a_model_without_one_of_its_steps(
    name: str, step: int, zoo: ModuleType, torchvision: Any
) -> None:
    pytest.importorskip("timm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = build(name)
        shape = zoo.shape_for(model)
        graph = create_graph_from_pytorch_model(model, input_res=shape)
        edits = without(graph, downsampling_steps(graph)[step - 1])
        refined = refine_model(model, refinement_of(graph, edits, shape[2:]), shape)
        report = verify(refined.model)
    assert report.ok, str(report)
    assert report.counts["agrees"] >= 0.9 * len(report.nodes)
