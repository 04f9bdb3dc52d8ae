"""What a SPEC can be, and what is said of one that leads nowhere."""

from __future__ import annotations

import base64
import json
import marshal
import os
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.architectures import vgg11
from rfa_toolbox.cli.specs import BUILT_IN
from rfa_toolbox.graphs import EnrichedNetworkNode
from tests.cli.conftest import ROOT, Run, run_process

Rfa = Callable[..., Run]

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
needs_keras = pytest.mark.skipif(find_spec("keras") is None, reason="Keras is not installed")

KERAS: dict[str, Any] = {
    "class_name": "Sequential",
    "config": {
        "name": "tiny",
        "layers": [
            {"class_name": "InputLayer", "config": {"batch_shape": [None, 32, 32, 3]}},
            {"class_name": "Conv2D", "config": {"kernel_size": [5, 5], "filters": 8}},
        ],
    },
}


def names(run: Run) -> list[str]:
    assert run.code == 0, run
    return [row["name"] for row in json.loads(run.out)["results"][0]["rows"]]


def analyze_json(rfa: Rfa, *words: str | Path) -> Run:
    return rfa("analyze", *words, "--format", "json")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_architecture_needs_nothing_but_its_name(rfa: Rfa, name: str) -> None:
    assert "Softmax" in names(analyze_json(rfa, name))


def test_the_json_of_a_keras_model_is_read(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(KERAS), "utf-8")
    run = rfa("range", path, "--format", "json")
    assert json.loads(run.out) == {
        "format": "rfa.range",
        "version": 1,
        "model": "tiny",
        "min": [5, 5],
        "max": [5, 5],
        "good_from": [6, 6],
        "good_to": [6, 6],
    }


@pytest.mark.parametrize(("shape", "taken"), [([None, 48, 64, 3], [48, 64]), (None, [224, 224])])
def test_the_resolution_of_a_keras_model_is_its_own_unless_one_is_named(
    rfa: Rfa, tmp_path: Path, shape: list[int | None] | None, taken: list[int]
) -> None:
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": shape or [None, None, None, 3]}},
        {"class_name": "Conv2D", "config": {"kernel_size": [5, 5], "filters": 8}},
    ]
    path = tmp_path / "tiny.json"
    config = {"class_name": "Sequential", "config": {"layers": layers}}
    path.write_text(json.dumps(config), "utf-8")
    shown = json.loads(analyze_json(rfa, path).out)
    assert [one["input_resolution"] for one in shown["results"]] == [taken]
    shown = json.loads(analyze_json(rfa, path, "-r", "32,16x8").out)
    assert [one["input_resolution"] for one in shown["results"]] == [[32, 32], [16, 8]]


def test_a_lambda_in_a_keras_archive_is_never_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    code = compile(f"open({str(sprung)!r}, 'w').close()", "trap", "exec")
    function = {
        "class_name": "__lambda__",
        "config": {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None},
    }
    trap = {"class_name": "Lambda", "config": {"name": "trap", "function": function}}
    layers = [*KERAS["config"]["layers"], trap]
    with zipfile.ZipFile(tmp_path / "trap.keras", "w") as archive:
        config = {"class_name": "Sequential", "config": {"layers": layers}}
        archive.writestr("config.json", json.dumps(config))
    for framework in ("keras", "tensorflow", "torch"):  # none of them is needed, either
        (tmp_path / f"{framework}.py").write_text("raise SystemExit('imported')", "utf-8")
    run = run_process(
        ["analyze", tmp_path / "trap.keras", "--format", "json"],
        PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))),
    )
    assert "trap" in names(run)
    assert run.err.startswith("rfa: warning: "), "the layer is not known, and that is said"
    assert run.err.count("\n") == 1
    assert not sprung.exists()


def test_a_stored_graph_is_read_with_all_its_numbers(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps(vgg11().to_dict()), "utf-8")
    stored, built = (analyze_json(rfa, spec) for spec in (path, "vgg11"))
    assert json.loads(stored.out)["results"] == json.loads(built.out)["results"]


HAND_MADE = """
from rfa_toolbox.graphs import EnrichedNetworkNode, LayerDefinition

def make(kernel=3, name="conv"):
    print("this is no result")
    return EnrichedNetworkNode(name, LayerDefinition("Conv", kernel, 1), [])

class Family:
    @staticmethod
    def small():
        return make(1, "small")

ready = make(7, "ready")
number = 7

def wrong():
    return 7

def broken():
    raise ValueError("no such\\nthing")

def leaves():
    raise SystemExit(0)

def weights_by_default(weights="imagenet", pretrained=True, weights_backbone="imagenet"):
    return make(name=f"{weights} {pretrained} {weights_backbone}")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "models of mine.py"
    path.write_text(HAND_MADE, "utf-8")
    return path


@pytest.mark.parametrize(
    ("attribute", "words", "name"),
    [
        ("make", [], "conv"),
        ("make", ["--kwargs", '{"name": "a b"}'], "a b"),
        ("make", ["--kwargs", "name=x=y", "--kwargs", '{"kernel": 5}'], "x=y"),
        ("Family.small", [], "small"),
        ("ready", [], "ready"),
    ],
)
def test_the_code_in_a_file_makes_the_model(
    rfa: Rfa, code: Path, attribute: str, words: list[str], name: str
) -> None:
    run = analyze_json(rfa, f"{code}:{attribute}", *words)
    assert names(run) == [name]
    assert "this is no result" in run.err, "what a model prints is no part of the result"


def test_a_file_can_import_what_lies_beside_it(rfa: Rfa, tmp_path: Path) -> None:
    (tmp_path / "user_models_helper.py").write_text(HAND_MADE, "utf-8")
    (tmp_path / "json.py").write_text("from user_models_helper import make", "utf-8")
    assert names(analyze_json(rfa, f"{tmp_path / 'json.py'}:make")) == ["conv"]


def test_a_module_in_the_current_folder_is_found(
    rfa: Rfa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user_models").mkdir()
    (tmp_path / "user_models" / "__init__.py").write_text("", "utf-8")
    (tmp_path / "user_models" / "small.py").write_text(HAND_MADE, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert names(analyze_json(rfa, "user_models.small:make")) == ["conv"]


def test_weights_are_not_loaded_unless_they_are_asked_for(rfa: Rfa, code: Path) -> None:
    spec = f"{code}:weights_by_default"
    run = analyze_json(rfa, spec)
    assert names(run) == ["None False None"]
    assert run.err.count("so that no weights are loaded") == 3
    asked = analyze_json(rfa, spec, "--kwargs", '{"weights": "mine", "pretrained": true}')
    assert names(asked) == ["mine True None"]


@needs_torch
def test_a_model_of_torchvision_is_built_by_its_name(rfa: Rfa, torchvision: object) -> None:
    shown = analyze_json(rfa, "torchvision.models:alexnet", "-k", '{"weights": null}').out
    assert json.loads(shown)["model"] == "alexnet"
    assert len(json.loads(shown)["results"][0]["rows"]) == 22


@needs_torch
@pytest.mark.slow
def test_no_weights_are_loaded_for_a_backbone(rfa: Rfa, torchvision: object) -> None:
    run = rfa("range", "torchvision.models.segmentation:fcn_resnet50", "--format", "csv")
    assert run.code == 0
    assert "weights_backbone=None" in run.err


@needs_torch
def test_the_shape_of_the_input_is_handed_on(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = torch.nn.Conv2d(5, 4, 3)\n"
        "    def forward(self, image, other):\n"
        "        return self.conv(image) + self.conv(other)\n",
        "utf-8",
    )
    shapes = ("--input-shape", "1x5x20x30,1x5x20x30")
    shown = analyze_json(rfa, f"{path}:Net", *shapes)
    assert json.loads(shown.out)["results"][0]["input_resolution"] == [20, 30]
    repeated = ("--input-shape", "1x5x20x30", "--input-shape", "1x5x20x30")
    assert analyze_json(rfa, f"{path}:Net", *repeated).out == shown.out
    said = rfa("analyze", f"{path}:Net", "--input-shape", "1x3x20x30").complaint()
    assert "Net" in said


@needs_torch
def test_a_text_model_is_read_with_whole_numbers(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "text.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.look_up, self.conv = nn.Embedding(9, 4), nn.Conv1d(4, 4, 5)\n"
        "    def forward(self, text):\n"
        "        return self.conv(self.look_up(text).mT)\n",
        "utf-8",
    )
    net, shape = f"{path}:Net", "--input-shape"
    run = rfa("range", net, shape, "1x128:int64", "--format", "csv")
    assert run.out.splitlines()[1] == "Net,5,5"
    assert shape in rfa("range", net, shape, "1x128").complaint()
    assert "Did you mean int64" in rfa("range", net, shape, "1x128:int63").complaint()
    assert "'1x128:'" in rfa("range", net, shape, "1x128:").complaint()
    assert "for PyTorch models" in rfa("range", "vgg11", shape, "1x128:int64").complaint()


def test_a_file_of_keras_is_read_at_a_size_where_it_leaves_it_open(
    rfa: Rfa, tmp_path: Path
) -> None:
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, None, None, 3]}},
        {"class_name": "Conv2D", "config": {"kernel_size": [3, 3], "filters": 4}},
    ]
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"class_name": "Sequential", "config": {"layers": layers}}), "utf-8")
    shown = analyze_json(rfa, path, "--input-shape", "1x32x24x3")
    assert json.loads(shown.out)["results"][0]["input_resolution"] == [32, 24]
    said = rfa("analyze", path, "--input-shape", "1x32x24x4").complaint()
    assert "(1, 32, 24, 4)" in said
    assert "[None, None, None, 3]" in said


@needs_torch
@pytest.mark.filterwarnings("default:Net could not be followed to its end")
def test_a_model_is_read_up_to_a_module_or_as_far_as_it_goes(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "detector.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.stem, self.body = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 5)\n"
        "    def forward(self, image):\n"
        "        found = (self.body(self.stem(image)) > 0).nonzero()\n"
        "        return image[:, :, : len(found)]\n",
        "utf-8",
    )

    net = f"{path}:Net"
    assert names(analyze_json(rfa, net, "--until", "stem")) == ["stem"]
    assert names(analyze_json(rfa, net, "--partial"))[:2] == ["stem", "body"]
    assert "nonzero" in rfa("analyze", f"{path}:Net", "--no-partial").complaint()
    assert "'head'" in rfa("analyze", f"{path}:Net", "--until", "head").complaint()


@needs_keras
def test_a_live_keras_model_is_read_at_a_size(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "import keras\n"
        "class Net(keras.Model):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = keras.layers.Conv2D(2, 5)\n"
        "    def call(self, image):\n"
        "        return self.conv(image)\n",
        "utf-8",
    )
    run = rfa("range", f"{path}:Net", "--input-shape", "1x32x24x3", "--format", "csv")
    assert run.out.splitlines()[1] == "Net,5x5,5x5"
    assert "input_res" in rfa("range", f"{path}:Net").complaint()


@needs_keras
@pytest.mark.slow
def test_a_live_keras_model_is_read(rfa: Rfa) -> None:
    run = rfa("range", "keras.applications:VGG16", "--format", "csv")
    assert run.out.splitlines()[1] == "VGG16,212x212,212x212"
    assert "weights=None" in run.err


# --- what leads nowhere ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("resnet19", "Did you mean resnet18"),
        ("resnet19", "torchvision.models:resnet50"),
        ("VGG16", "Did you mean vgg16"),
        ("", "SPEC is one of"),
        (".", "is a folder"),
        ("missing.json", "There is no file 'missing.json'"),
        ("missing/net.py:make", "There is no file 'missing/net.py'"),
        ("C:\\models\\net.py:make", "There is no file 'C:\\\\models\\\\net.py'"),
        ("C:\\models\\net.json", "There is no file 'C:\\\\models\\\\net.json'"),
        ("no_such_module_here:make", "pip install no_such_module_here"),
        ("json.no_such_part:make", "There is no module 'json.no_such_part'"),
        ("collections:OrderedDictt", "Did you mean OrderedDict"),
        ("math:pi", "is a float"),
        ("collections:OrderedDict", "returned a OrderedDict"),
    ],
)
def test_a_spec_that_leads_nowhere_gets_a_way_out(rfa: Rfa, spec: str, said: str) -> None:
    assert said in rfa("analyze", spec).complaint()


def test_a_misspelled_file_is_answered_with_its_neighbour(rfa: Rfa, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}", "utf-8")
    said = rfa("analyze", tmp_path / "modle.json").complaint()
    assert f"Did you mean {tmp_path / 'model.json'}?" in said


def test_colons_and_spaces_in_paths_are_a_part_of_them(rfa: Rfa, tmp_path: Path) -> None:
    folder = tmp_path / "a:b c"
    folder.mkdir()
    (folder / "d:e.py").write_text(HAND_MADE, "utf-8")
    assert names(analyze_json(rfa, f"{folder / 'd:e.py'}:make")) == ["conv"]
    (folder / "f:g.json").write_text(json.dumps(vgg11().to_dict()), "utf-8")
    assert "Softmax" in names(analyze_json(rfa, folder / "f:g.json"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("code.py", "x = 1", "code.py:callable"),
        ("weights.pt", "PK", "holds weights"),
        ("net.pt", "x", "holds weights"),
        ("empty.json", "", "is empty"),
        ("broken.json", "{", "JSON"),
        ("list.json", "[1]", "JSON"),
        ("deep.json", '{"a":' * 100_000, "nested too deeply"),
        ("graph.json", '{"format": "rfa_toolbox.graph", "version": 999}', "version"),
        ("other.json", '{"a": 1}', "class_name"),
    ],
)
def test_a_file_that_is_no_model_says_so(
    rfa: Rfa, tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    assert said in rfa("analyze", tmp_path / name).complaint()


def test_a_damaged_archive_says_so(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    text = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("config.json", text)
        whole = path.read_bytes()
        path.write_bytes(whole[:-30])
        assert "is damaged" in rfa("analyze", path).complaint()
        place = whole.index(b"config.json") + len("config.json") + 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert "is damaged" in rfa("analyze", path).complaint()


@pytest.mark.parametrize(
    ("attribute", "words", "said"),
    [
        ("wrong", [], "returned a int"),
        ("number", [], "is a int"),
        ("broken", [], "ValueError: no such thing (--debug shows where)"),
        ("leaves", [], "SystemExit: 0"),
        ("mak", [], "Did you mean make"),
        ("make", ["--kwargs", "{"], "is no JSON"),
        ("make", ["--kwargs", "[1]"], "must be a JSON object"),
        ("make", ["--kwargs", "3"], "must be a JSON object"),
        ("make", ["--kwargs", "depth=3"], "It takes kernel, name;"),
        ("make", ["--kwargs", '{"kernel": "big"}'], "kernel"),
        ("ready", ["--kwargs", "a=1"], "is a model already"),
        ("make", ["--input-shape", "1x3x8x8"], "--input-shape is for models that can be run"),
        ("make", ["--until", "conv"], "--until names a module of a PyTorch model"),
        ("make", ["--input-shape", "1x3xq"], "--input-shape is '1x3xq'"),
        ("make", ["--input-res", "32x0"], "--input-res is '32x0'"),
        ("make", ["--input-res", "-4"], "--input-res is '-4'"),
        ("make", ["--input-res", ""], "--input-res is ''"),
    ],
)
def test_what_does_not_fit_the_code_says_so(
    rfa: Rfa, code: Path, attribute: str, words: list[str], said: str
) -> None:
    run = rfa("analyze", f"{code}:{attribute}", *words)
    lines = [line for line in run.err.splitlines() if line != "this is no result"]
    assert said in Run(run.code, run.out, "\n".join(lines) + "\n").complaint()


@pytest.mark.parametrize("spec", ["vgg16", "vgg16.json"])
def test_kwargs_are_for_code_alone(rfa: Rfa, tmp_path: Path, spec: str) -> None:
    (tmp_path / "vgg16.json").write_text(json.dumps(KERAS), "utf-8")
    place = tmp_path / spec if "." in spec else spec
    assert rfa("analyze", place, "--kwargs", "a=1").complaint()


def test_what_code_and_its_programs_print_is_no_result(rfa: Rfa, tmp_path: Path) -> None:
    path = tmp_path / "talks.py"
    path.write_text(
        "import os\nfrom rfa_toolbox.architectures import vgg11\n"
        "def make():\n    os.system('echo from a program')\n    return vgg11()\n",
        "utf-8",
    )
    ran = rfa("range", f"{path}:make", "--format", "csv")
    assert ran.out.replace("\r", "") == "model,min,max\nmake,150x150,150x150\n"
    assert "from a program" in ran.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def (", "SyntaxError"),
        ("import no_such_module_here", "pip install no_such_module_here"),
        ("import sys; sys.exit(3)", "SystemExit"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
    ],
)
def test_a_file_that_fails_at_import_says_so_in_one_line(
    rfa: Rfa, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "fails.py"
    path.write_text(content, "utf-8")
    for _ in range(2):  # what failed once is not taken for loaded
        assert said in rfa("analyze", f"{path}:make").complaint()
    shown = rfa("analyze", f"{path}:make", "--debug").err
    assert "Traceback (most recent call last)" in shown
    assert str(path) in shown
    assert shown.splitlines()[-1].startswith("rfa: error: ")


def test_an_error_inside_the_package_asks_for_a_report(
    rfa: Rfa, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: EnrichedNetworkNode) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(EnrichedNetworkNode, "all_layers", property(fail))
    said = rfa("analyze", "vgg16").complaint()
    assert "KeyError: 'lost'" in said
    assert "--debug" in said


def test_specs_of_several_kinds_are_told_apart(rfa: Rfa, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(HAND_MADE, "utf-8")
    one, two = (tmp_path / folder / "net.py" for folder in "ab")
    run = rfa("compare", f"{one}:make", f"{two}:make", f"{two}:make", "vgg16", "-f", "json")
    models = [row["model"] for row in json.loads(run.out)["models"]]
    assert models == [f"{one}:make", f"{two}:make (1)", f"{two}:make (2)", "vgg16"]


def test_a_missing_extra_is_named_with_its_remedy(tmp_path: Path) -> None:
    for name in ("typer", "rich"):
        (tmp_path / f"{name}.py").write_text(
            f"raise ModuleNotFoundError('no', name={name!r})", "utf-8"
        )
        run = run_process(
            ["analyze", "vgg16"], PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT)))
        )
        assert f"needs {name}" in run.complaint()
        assert 'pip install "rfa_toolbox[cli]"' in run.err
        (tmp_path / f"{name}.py").unlink()
