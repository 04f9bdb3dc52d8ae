"""Files that are damaged, hostile or of another kind: a graph, or one clear line."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rfa_toolbox.encodings.tensorflow_keras import create_graph_from_keras_json
from rfa_toolbox.errors import UnsupportedModelError

SHAPE = [None, 32, 32, 3]


def layer(kind: str, source: Any = ("i", 0, 0), **config: Any) -> dict[str, Any]:
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": SHAPE, "keras_history": source}}
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": "c", **config},
        "name": "c",
        "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
    }


def conv(source: Any = ("i", 0, 0), **config: Any) -> dict[str, Any]:
    options = {"filters": 4, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same"}
    return layer("Conv2D", source, **{**options, **config})


def model(*layers: dict[str, Any], output: Any = ("c", 0, 0)) -> dict[str, Any]:
    image = {
        "module": "keras.layers", "class_name": "InputLayer", "name": "i", "inbound_nodes": [],
        "config": {"batch_shape": SHAPE, "name": "i"},
    }  # fmt: skip
    config = {
        "name": "m", "layers": [image, *layers], "input_layers": ["i", 0, 0],
        "output_layers": list(output),
    }  # fmt: skip
    return {"module": "keras.src.models.functional", "class_name": "Functional", "config": config}


GOOD = json.dumps(model(conv()))


def refused(source: Any, said: str) -> None:
    """Assert that a source is refused in one line that fits on a screen."""
    with pytest.raises(UnsupportedModelError, match=said) as caught:
        create_graph_from_keras_json(source)
    assert len(str(caught.value)) <= 1000
    assert "\n" not in str(caught.value)


def archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("config.json", content)
    return path


# --- what holds the JSON ---------------------------------------------------------------------


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as opened,
        opened.open("config.json", "w", force_zip64=True) as file,
    ):
        for _ in range(4):
            file.write(b" " * (1 << 26))
        file.write(GOOD.encode())
    tracemalloc.start()
    refused(path, "'config.json'.* bytes, where 268435456 are the limit")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 22


def test_an_archive_that_lies_about_its_size_is_not_unpacked_further(tmp_path: Path) -> None:
    path = archive(tmp_path / "lie.keras", b" " * (1 << 20) + GOOD.encode())
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        begin = content.find(mark) + place
        content[begin : begin + 4] = (100).to_bytes(4, "little")
    path.write_bytes(content)
    refused(path, "damaged|empty")


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "secret.keras", GOOD.encode())
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    content[6] |= 1
    path.write_bytes(content)
    refused(path, "encrypted")


def test_a_cut_archive_is_damaged(tmp_path: Path) -> None:
    path = archive(tmp_path / "cut.keras", GOOD.encode())
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, r"cut\.keras.*damaged")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_encodings_are_no_part_of_the_text(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(GOOD, encoding)
    for source in (path, path.read_bytes(), archive(tmp_path / "m.keras", path.read_bytes())):
        assert create_graph_from_keras_json(source).receptive_field_max == (3, 3)


def test_an_unpacked_archive_and_its_bytes_are_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.keras", GOOD.encode())
    with zipfile.ZipFile(path) as opened:
        opened.extractall(tmp_path / "folder")
    for source in (tmp_path / "folder", path.read_bytes()):
        assert create_graph_from_keras_json(source).receptive_field_max == (3, 3)


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "no regular file")
    refused("/dev/zero", "no regular file")


def test_the_json_in_hdf5_is_read(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = GOOD
        file.create_dataset("weights", data=[0.0] * 100)
    for source in (path, path.read_bytes()):
        assert create_graph_from_keras_json(source).receptive_field_max == (3, 3)
    with h5py.File(path, "w") as file:
        file.create_dataset("weights", data=[0.0] * 100)
    refused(path, "weights alone")
    path.write_bytes(path.read_bytes()[:400])
    refused(path, "damaged")


def test_numbers_of_a_constant_are_never_walked_through() -> None:
    numbers = [[float(row)] * 256 for row in range(4000)]
    add = {
        **layer("Add"), "module": "keras.src.ops.numpy",
    }  # fmt: skip
    add["inbound_nodes"][0]["args"].append(numbers)
    add["inbound_nodes"][0]["args"][0]["config"]["shape"] = [None, 4000, 256]
    small = model(add)
    small["config"]["layers"][0]["config"]["batch_shape"] = [None, 4000, 256]
    text = json.dumps(small)
    began = time.process_time()
    parsed = json.loads(text)
    plain = time.process_time() - began
    began = time.process_time()
    graph = create_graph_from_keras_json(parsed)
    assert time.process_time() - began < 3 * plain + 0.5
    assert graph.layer_info.position_dependent


# --- what is in it ---------------------------------------------------------------------------


def nested(depth: int) -> dict[str, Any]:
    damaged = conv()
    for _ in range(depth):
        damaged["inbound_nodes"][0]["args"] = [damaged["inbound_nodes"][0]["args"]]
    return model(damaged)


REFERENCES = {
    "a negative output": (model(conv(["i", 0, -5])), r"-5.*of no call"),
    "an output that is not there": (model(conv(), output=("c", 0, 3)), "Output 3 of the layer 'c'"),
    "a layer that is not there": (model(conv(["nope", 0, 0])), "'nope'.*missing"),
    "a tensor that is none": (model(conv(None)), "keras_history"),
    "a call that is not there": (model(conv(["i", 7, 0])), r"\('i', 7\).*missing"),
    "two layers of one name": (model(conv(), conv()), "have the name 'c'"),
    "lists in lists": (nested(900), "nested too deeply"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_damaged_references_are_told(name: str) -> None:
    refused(*REFERENCES[name])


def test_a_number_of_thousands_of_digits_is_told() -> None:
    text = '{"class_name": "Sequential", "config": {"layers": [%s]}}'
    refused(text % ("9" * 5000), "thousands of digits")


def test_a_list_of_thousands_is_not_quoted_in_full() -> None:
    refused(json.dumps(model(conv(kernel_size=[3] * 100_000))), "kernel_size is")
    refused(json.dumps(model(conv(kernel_size=["3"] * 100_000))), "kernel_size is")


LAYERS = {
    "no rows are left": (layer("Cropping2D", cropping=[[20, 20], [20, 20]]), "nothing is left"),
    "another number": (layer("Reshape", target_shape=[7, 7]), r"does not fit \(1, 7, 7\)"),
    "two sizes left out": (layer("Reshape", target_shape=[-1, -1]), "one may be -1"),
    "no order": (layer("Permute", dims=[1, 1, 1]), "each from 0 to 3 once"),
    "a negative size": (layer("Resizing", height=-5, width=5), r"\(-5, 5\)"),
    "no interpolation": (layer("UpSampling2D", size=[2, 2], interpolation="wat"), "'wat'"),
    "negative padding": (layer("ZeroPadding2D", padding=[[-5, -5], [0, 0]]), r"\[-5, -5\]"),
    "no such dimension": (layer("Concatenate", axis=99), "axis is 99"),
    "a window larger than the map": (conv(kernel_size=[40, 3], padding="valid"), "does not fit"),
    "groups that do not fit": (conv(filters=4, groups=3), "groups is 3.*3 channels.*4 filters"),
    "no group": (conv(groups=0), "groups is 0"),
    "a pool larger than the map": (layer("MaxPooling2D", pool_size=[33, 1]), "does not fit"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_keras_would_refuse_is_told(name: str) -> None:
    damaged, said = LAYERS[name]
    refused(json.dumps(model(damaged)), f"'c' of class.*{said}")


def test_sizes_that_the_model_leaves_open_are_no_reason_to_refuse() -> None:
    opened = model(layer("Cropping2D", cropping=[[400, 200], [0, 0]]))
    opened["config"]["layers"][0]["config"]["batch_shape"] = [None, None, None, 3]
    assert create_graph_from_keras_json(json.dumps(opened)).receptive_field_max == (1, 1)
