"""From what somebody has of a Keras model to the object in its JSON.

That is a text, a file or a folder, which may be damaged, hostile, or something else altogether.
Nothing is unpacked beyond a limit, imported, or executed.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import attrs

from rfa_toolbox.errors import UnsupportedModelError

__all__ = ["Constant", "condensed", "load_model_dict", "parse_model_dict"]

_LIMIT = 2**28
"""Bytes that the JSON of a model may have: 256 MiB, many times what the largest models need."""

_MANY = 1024
"""From so many numbers on, nested lists become an array."""

_EXPECTED = "expected is the text of model.to_json(), or the path of a file that holds it"


def load_model_dict(source: Any) -> dict[str, Any]:
    """Return the JSON object of a model from its text, or from the path of a file.

    A file holds JSON, or is a ``.keras`` archive, of which only ``config.json`` is read, or HDF5,
    of which the attribute ``model_config`` is; a folder is an unpacked ``.keras`` archive.

    Raises:
        UnsupportedModelError: a ValueError, if there is no JSON object in it, or one of more than
            256 MiB.
        FileNotFoundError: if the path does not exist.

    >>> load_model_dict('{"class_name": "Sequential", "config": {}}')["class_name"]
    'Sequential'
    """
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, bytes | bytearray):
        return _from_bytes(bytes(source), "bytes")
    if isinstance(source, str):
        text = source.lstrip("\ufeff \t\r\n")
        if not text:
            raise UnsupportedModelError(f"The text is empty; {_EXPECTED}.")
        if text[:1] in ("{", "[", '"') or "\n" in text:
            return parse_model_dict(text)
    elif not isinstance(source, os.PathLike):
        raise UnsupportedModelError(
            f"{str(source)[:200]!r} is of type {type(source).__name__}; {_EXPECTED}."
        )
    return _from_path(Path(source))


def _from_path(path: Path) -> dict[str, Any]:
    shown = repr(str(path)[:200])
    if "\0" in str(path) or not path.exists():
        raise FileNotFoundError(
            f"There is no file {shown}; expected is the path of a file with the text of "
            "model.to_json(), or that text itself, which starts with '{'."
        )
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UnsupportedModelError(
                f"{shown} is a folder without a 'config.json', as an unpacked .keras archive has; "
                f"{_EXPECTED}."
            )
        path = path / "config.json"
    if not path.is_file():
        raise UnsupportedModelError(
            f"{shown} is no regular file, but a pipe, socket or device; {_EXPECTED}."
        )
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _from_archive(file, f"archive {shown}")
        if head.startswith(b"\x89HDF"):
            return _from_hdf5(file, f"file {shown}")
        return _from_bytes(file.read(_LIMIT + 1), f"file {shown}")


def _from_bytes(content: bytes, where: str) -> dict[str, Any]:
    if content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _from_archive(io.BytesIO(content), where)
    if content.startswith(b"\x89HDF"):
        return _from_hdf5(io.BytesIO(content), where)
    if len(content) > _LIMIT:
        raise _too_large(where)
    text = content.decode(json.detect_encoding(content), errors="replace").lstrip("\ufeff \t\r\n")
    if not text:
        kind = "text" if where == "bytes" else where
        raise UnsupportedModelError(f"The {kind} is empty; {_EXPECTED}.")
    return parse_model_dict(text)


def _from_archive(file: IO[bytes], where: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(file) as archive:
            if "config.json" not in archive.namelist():
                raise UnsupportedModelError(
                    f"The {where} holds no 'config.json', so it is no .keras file."
                )
            entry = archive.getinfo("config.json")
            if entry.flag_bits & 1:
                raise UnsupportedModelError(
                    f"The 'config.json' in the {where} is encrypted; unpack the archive with its "
                    "password, and pass the path of that file."
                )
            if entry.file_size > _LIMIT:
                raise _too_large(f"'config.json' in the {where}", entry.file_size)
            with archive.open(entry) as opened:  # its size is what the archive says, at most
                content = opened.read(_LIMIT + 1)
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError,
        ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, UnsupportedModelError):
            raise
        raise UnsupportedModelError(
            f"The {where} is damaged ({str(error)[:200]}); copy it anew, or save the model again."
        ) from error
    return _from_bytes(content, f"'config.json' in the {where}")


def _from_hdf5(file: IO[bytes], where: str) -> dict[str, Any]:
    otherwise = (
        "Load the model with Keras and pass it to create_graph_from_model, or save the text of "
        "model.to_json() and pass that."
    )
    if find_spec("h5py") is None:
        raise UnsupportedModelError(
            f"The {where} is HDF5, as Keras writes to .h5 files, and reading that takes the "
            f"package h5py, which is not installed. {otherwise}"
        )
    h5py = importlib.import_module("h5py")
    try:
        with h5py.File(file, "r") as opened:
            config = opened.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise UnsupportedModelError(
            f"The {where} is HDF5, and damaged ({str(error)[:200]}). {otherwise}"
        ) from error
    if config is None:
        raise UnsupportedModelError(
            f"The {where} is HDF5 without the attribute 'model_config': it holds weights alone, "
            f"and not how layers are connected. {otherwise}"
        )
    if isinstance(config, str):
        config = config.encode()
    return _from_bytes(bytes(config), f"'model_config' in the {where}")


def _too_large(where: str, size: int | None = None) -> UnsupportedModelError:
    told = f"{size} bytes" if size is not None else "more bytes than that"
    return UnsupportedModelError(
        f"The {where} has {told}, where {_LIMIT} are the limit; the JSON of a model has no "
        "weights, and is much smaller."
    )


def parse_model_dict(text: str) -> dict[str, Any]:
    """Return the JSON object in a text.

    Raises:
        UnsupportedModelError: a ValueError, if the text is no JSON or no object.
    """
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnsupportedModelError(
            f"This is no JSON ({error}): {text[:80]!r}; expected is the text of model.to_json()."
        ) from error
    except RecursionError:
        raise UnsupportedModelError(
            f"The JSON is nested too deeply: {text[:80]!r}; expected is the text of "
            "model.to_json()."
        ) from None
    except ValueError as error:  # an integer of more digits than Python reads
        raise UnsupportedModelError(
            f"The JSON holds an integer of thousands of digits: {text[:80]!r}; no model has one."
        ) from error
    if not isinstance(parsed, dict):
        raise UnsupportedModelError(
            f"The JSON holds a {type(parsed).__name__}: {text[:80]!r}; expected is the object that "
            "model.to_json() writes, with 'class_name' and 'config'."
        )
    return parsed


@attrs.frozen(slots=True, eq=False)
class Constant:
    """Numbers of a model that are read as they are and never walked through."""

    numbers: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(self.numbers.shape)


def condensed(value: Any) -> Any:
    """Return a value with constants in place of nested lists of many numbers.

    >>> condensed({"value": [[0.5] * 600] * 2, "size": [2, 2]})["value"].shape
    (2, 600)
    """
    if isinstance(value, Mapping):
        return {key: condensed(one) for key, one in value.items()}
    if not isinstance(value, list | tuple):
        return value
    inner: Any = value
    count = 1
    while isinstance(inner, list | tuple) and inner:
        count, inner = count * len(inner), inner[0]
    if count >= _MANY and type(inner) in (int, float):
        array = _as_array(value)
        if array is not None:
            return Constant(array)
    return [condensed(one) for one in value]


def _as_array(value: Any) -> Any:
    """Return nested lists as an array of numbers; None if they are ragged or hold other things."""
    import numpy as np  # where there are constants; the package itself loads without it

    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, TypeError):
        return None
    return array if array.dtype.kind in "iuf" else None
