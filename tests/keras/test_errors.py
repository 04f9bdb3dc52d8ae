"""What the encoder says of things that it cannot read."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.encodings.tensorflow_keras import (
    create_graph_from_keras_json,
    create_graph_from_model,
    keras_model_to_dict,
    model_dict_to_enriched_graph,
)
from rfa_toolbox.errors import InvalidGraphError, UnsupportedModelError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"class_name": "Seq', "Seq"),
        ("[1, 2]", r"holds a list: '\[1, 2\]'"),
        ('"text"', "holds a str"),
        ("{}", "'class_name' and 'config'"),
        ('{"class_name": "Sequential"}', "'class_name' and 'config'"),
        ('{"class_name": "Sequential", "config": {"layers": []}}', "stores no layers"),
        ('{"class_name": "Net", "config": {"name": "net"}}', r"'net' of class 'Net'.*functional"),
    ],
)
def test_a_text_that_is_no_model_is_quoted(text: str, said: str) -> None:
    with pytest.raises(UnsupportedModelError, match=said):
        create_graph_from_keras_json(text)


def test_a_path_that_does_not_exist_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        create_graph_from_keras_json(tmp_path / "nowhere.json")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        create_graph_from_keras_json("nowhere.json")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="folder"):
        create_graph_from_keras_json(tmp_path)


@pytest.mark.parametrize("thing", [None, 3, [1], object()])
def test_other_things_are_named(thing: Any) -> None:
    with pytest.raises(UnsupportedModelError, match=type(thing).__name__):
        create_graph_from_keras_json(thing)


@pytest.mark.parametrize("thing", [None, 3, "model.json", {"class_name": "Sequential"}, dict])
def test_an_object_that_is_no_model_is_named(thing: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="to_json"):
        create_graph_from_model(thing)


def test_a_text_in_place_of_a_model_is_shown_the_right_door() -> None:
    with pytest.raises(UnsupportedModelError, match="create_graph_from_keras_json"):
        create_graph_from_model("model.json")


def test_an_error_of_to_json_is_not_hidden() -> None:
    class Broken:
        def to_json(self) -> str:
            raise NotImplementedError("no config here")

    with pytest.raises(NotImplementedError, match="no config here"):
        create_graph_from_model(Broken())


def test_a_to_json_without_text_is_told() -> None:
    class Odd:
        def to_json(self) -> int:
            return 3

    with pytest.raises(UnsupportedModelError, match="returned a int"):
        keras_model_to_dict(Odd())


def functional(*layers: dict[str, Any], output: str) -> str:
    config = {"layers": list(layers), "input_layers": [["a", 0, 0]]}
    config["output_layers"] = [[output, 0, 0]]
    return json.dumps({"class_name": "Functional", "config": config})


IMAGE = {
    "class_name": "InputLayer", "name": "a", "inbound_nodes": [],
    "config": {"batch_input_shape": [None, 8, 8, 3], "name": "a"},
}  # fmt: skip


def dense(name: str, *sources: Any, **config: Any) -> dict[str, Any]:
    return {
        "class_name": "Dense", "name": name, "config": {"units": 2, **config},
        "inbound_nodes": [[[source, 0, 0, {}] for source in sources]],
    }  # fmt: skip


def test_a_missing_layer_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'b' reads.*'gone'"):
        create_graph_from_keras_json(functional(IMAGE, dense("b", "gone"), output="b"))


def test_layers_in_a_circle_are_named() -> None:
    layers = (IMAGE, dense("b", "c"), dense("c", "b"))
    with pytest.raises(UnsupportedModelError, match=r"circle: \['b', 'c'\]"):
        create_graph_from_keras_json(functional(*layers, output="c"))


def test_an_output_that_no_layer_makes_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="gone"):
        create_graph_from_keras_json(functional(IMAGE, output="gone"))


def test_a_damaged_call_is_quoted() -> None:
    layer = {**dense("b", "a"), "inbound_nodes": [[5]]}
    with pytest.raises(UnsupportedModelError, match=r"'b'.*\[5\]"):
        create_graph_from_keras_json(functional(IMAGE, layer, output="b"))


def test_a_damaged_configuration_is_quoted() -> None:
    text = functional(IMAGE, dense("b", "a", units="many"), output="b")
    with pytest.raises(UnsupportedModelError, match=r"'b' of class 'Dense'.*'units': 'many'"):
        create_graph_from_keras_json(text)


def test_options_are_checked() -> None:
    text = functional(IMAGE, dense("b", "a"), output="b")
    with pytest.raises(InvalidGraphError, match="'sometimes'"):
        create_graph_from_keras_json(text, global_ops="sometimes")  # type: ignore[arg-type]
    with pytest.raises(InvalidGraphError, match="'all'"):
        create_graph_from_keras_json(text, filter_rf="all")
    with pytest.raises(UnsupportedModelError, match="HandlerChain"):
        create_graph_from_keras_json(text, handlers=[3])  # type: ignore[arg-type]


def test_text_path_archive_and_object_give_the_same_graph(tmp_path: Path) -> None:
    text = functional(IMAGE, dense("b", "a"), output="b")
    path = tmp_path / "model.json"
    path.write_text(text)
    archive = tmp_path / "model.keras"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("config.json", text)
    graphs = [
        create_graph_from_keras_json(text),
        create_graph_from_keras_json(path),
        create_graph_from_keras_json(str(path)),
        create_graph_from_keras_json(archive),
        model_dict_to_enriched_graph(json.loads(text), None),
    ]
    first, *others = (graph.to_dict() for graph in graphs)
    assert all(other == first for other in others)


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(UnsupportedModelError, match=r"config\.json"):
        create_graph_from_keras_json(path)


def test_reading_json_imports_no_framework() -> None:
    sample = Path(__file__).parent / "data" / "k2_15__seq.json"
    code = (
        "import sys\n"
        "from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_keras_json as read\n"
        f"read({str(sample)!r})\n"
        "loaded = {'keras', 'tensorflow', 'tf_keras', 'torch', 'jax'} & set(sys.modules)\n"
        "sys.exit(bool(loaded))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_code_of_a_lambda_is_not_run(tmp_path: Path, quiet: None) -> None:
    layers = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}},
        {"class_name": "Lambda", "config": {"function": ["not base64 of code", None, None]}},
    ]
    text = json.dumps({"class_name": "Sequential", "config": {"layers": layers}})
    assert create_graph_from_keras_json(text).certainty == "unknown"
