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
        ('{"class_name": "Sequential", "config": {"layers": []}}', "is empty"),
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


WINDOWS: list[tuple[str, dict[str, Any], str]] = [
    ("Conv2D", {"kernel_size": None}, "kernel_size is None"),
    ("Conv2D", {}, "kernel_size is None"),
    ("Conv2D", {"kernel_size": [3]}, r"kernel_size is \[3\]"),
    ("Conv2D", {"kernel_size": [3, 3, 3]}, r"kernel_size is \[3, 3, 3\]"),
    ("Conv2D", {"kernel_size": [3, 0]}, r"kernel_size is \[3, 0\]"),
    ("Conv2D", {"kernel_size": 3, "strides": 0}, "strides is 0"),
    ("Conv2D", {"kernel_size": 3, "strides": [1.5, 1]}, r"strides is \[1\.5, 1\]"),
    ("Conv2D", {"kernel_size": 3, "strides": [True, 1]}, r"strides is \[True, 1\]"),
    ("Conv2D", {"kernel_size": 3, "strides": "2"}, "strides is '2'"),
    ("Conv2D", {"kernel_size": 3, "dilation_rate": [0, 1]}, r"dilation_rate is \[0, 1\]"),
    ("Conv2D", {"kernel_size": 3, "padding": "most"}, "padding is 'most'"),
    ("MaxPooling2D", {"pool_size": 2, "padding": "causal"}, "padding is 'causal'"),
    ("Conv2D", {"kernel_size": 3, "data_format": "middle"}, "data_format is 'middle'"),
    ("Conv2DTranspose", {"kernel_size": 3, "strides": [0, 2]}, r"strides is \[0, 2\]"),
    ("DepthwiseConv2D", {"kernel_size": [3]}, r"kernel_size is \[3\]"),
    ("MaxPooling2D", {"pool_size": [2, 2], "strides": [0, 0]}, r"strides is \[0, 0\]"),
    ("MaxPooling2D", {"pool_size": [2]}, r"pool_size is \[2\]"),
    ("Conv2D", {"kernel_size": 3, "filters": -1}, "filters is -1"),
    ("UpSampling2D", {"size": [2, 0]}, r"size is \[2, 0\]"),
]


@pytest.mark.parametrize(("kind", "config", "said"), WINDOWS)
def test_a_damaged_window_is_named(kind: str, config: Any, said: str) -> None:
    layer = {
        "class_name": kind, "name": "b", "config": {"name": "b", **config},
        "inbound_nodes": [[["a", 0, 0, {}]]],
    }  # fmt: skip
    with pytest.raises(UnsupportedModelError, match=f"'b' of class '{kind}'.*{said}"):
        create_graph_from_keras_json(functional(IMAGE, layer, output="b"))


def test_whole_numbers_may_be_written_as_floats(encode: Any) -> None:
    config = {"kernel_size": [3.0, 3], "strides": [2.0, 2.0]}
    graph = encode((8, 8, 3), ("Conv2D", config), ("Conv2D", {"kernel_size": 3}))
    assert graph.receptive_field_max == (7, 7)


DENSE = {"class_name": "Dense", "config": {"name": "last", "units": 2}}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"class_name": "Sequential", "config": {"name": "s", "layers": None}}, "layers None"),
        ({"class_name": "Sequential", "config": {"name": "s"}}, "'s' .* layers None"),
        ({"class_name": "Sequential", "config": None}, "config None"),
        ({"class_name": "Sequential", "config": {"layers": [None]}}, "layer 0 = 'None'"),
        (
            {"class_name": "Sequential", "config": {"layers": [DENSE, {"class_name": "ReLU"}]}},
            "layer 1, 'ReLU'.*'config' is missing",
        ),
        (
            {"class_name": "Sequential", "config": {"layers": [{**DENSE, "config": None}]}},
            "layer 0, 'Dense'.*'config' is null",
        ),
        (
            {"class_name": "Sequential", "config": {"layers": [{"config": {"name": "one"}}]}},
            "layer 0, 'one'.*'class_name' is missing",
        ),
        (
            {"class_name": "Sequential", "config": {"layers": [{**DENSE, "class_name": 3}]}},
            "'last'.*'class_name' is 3",
        ),
        (
            {"class_name": "Functional", "config": {"name": "f", "layers": [DENSE]}},
            "'f'.*no 'output_layers'",
        ),
        ({"class_name": "Functional", "config": {"layers": {}}}, "layers {}"),
        (
            {
                "class_name": "Sequential",
                "config": {
                    "layers": [{"class_name": "Sequential", "config": {"name": "in", "layers": 3}}]
                },
            },
            "'in' .* layers 3",
        ),
    ],
)
def test_a_damaged_model_is_no_subclassed_one(model: Any, said: str) -> None:
    with pytest.raises(UnsupportedModelError, match=said) as caught:
        create_graph_from_keras_json(json.dumps(model))
    assert "subclassed" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " \n", b""])
def test_an_empty_text_is_no_folder(text: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="text is empty"):
        create_graph_from_keras_json(text)
    path = tmp_path / "model.json"
    path.write_text("")
    with pytest.raises(UnsupportedModelError, match=r"file '.*model\.json' is empty"):
        create_graph_from_keras_json(path)


def test_weights_in_hdf5_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(20))
    for source in (path, str(path), path.read_bytes()):
        with pytest.raises(UnsupportedModelError, match=r"HDF5.*to_json"):
            create_graph_from_keras_json(source)


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


class Sequential(Named):
    """What of a live Sequential is looked at."""

    def __init__(self, name: str, *layers: Any) -> None:
        super().__init__(name)
        self._layers = list(layers)

    def get_config(self) -> dict[str, Any]:
        layers = []
        for one in dict.fromkeys(self._layers):
            if isinstance(one, Sequential):
                layers.append({"class_name": "Sequential", "config": one.get_config()})
            else:
                config = {"name": one.name, "kernel_size": [3, 3]}
                layers.append({"class_name": "Conv2D", "config": config})
        return {"name": self.name, "layers": layers}

    def to_json(self) -> str:
        return json.dumps({"class_name": "Sequential", "config": self.get_config()})


def test_calls_that_the_json_drops_are_named(recwarn: pytest.WarningsRecorder) -> None:
    twice, other = Named("twice"), Named("other")
    create_graph_from_model(Sequential("model", twice, other))
    assert not recwarn
    with pytest.warns(UserWarning, match=r"'model' calls .*'twice' 2 times.*functional") as caught:
        create_graph_from_model(Sequential("model", twice, other, twice))
    assert caught[0].filename == __file__
    inner = Sequential("inner", twice, twice, twice)
    with pytest.warns(UserWarning, match="'inner' calls the layer 'twice' 3 times"):
        create_graph_from_model(Sequential("model", inner, other))


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
