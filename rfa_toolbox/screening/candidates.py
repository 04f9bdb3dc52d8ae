"""What can be screened, and how a candidate becomes a job that any process can do."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import io
import json
import os
import pickle
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

import attrs

from rfa_toolbox.analysis.keys import graph_key
from rfa_toolbox.errors import ScreeningError
from rfa_toolbox.graphs import GRAPH_FORMAT, EnrichedNetworkNode
from rfa_toolbox.screening.specs import SPEC_FORMAT, GraphSpec

__all__ = ["Candidate", "Code", "Job", "are_different", "content_of", "job_of"]


@attrs.frozen(slots=True)
class Candidate:
    """A network to be screened.

    Attributes:
        model: a ``GraphSpec``; a graph; what their ``to_dict`` returns; a Keras model as JSON (text
            or mapping); the path of a file with any of these, or of an ONNX file; or code that
            makes a PyTorch or Keras model, a graph or a spec: a function, or a text such as
            "package.module:callable" or "path/to/file.py:callable".
        kwargs: arguments for the code.
        key: what tells this candidate from others; None makes it from the rest. Of files it is
            their content that counts, of code only its name and arguments. Functions without
            a name of their own, such as lambdas, need one. Two different candidates must not
            have the same: the second one is a row with an error, if the first one came not long
            before; a store that knows the key from an earlier run answers with the row in it.

    >>> Candidate("torchvision.models:resnet18", {"num_classes": 10}).kwargs
    {'num_classes': 10}
    """

    model: Any
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    key: str | None = None


Kind: TypeAlias = Literal["spec", "graph", "stored", "code"]


@attrs.frozen(slots=True)
class Job:
    """A candidate on its way to a process: its key, what it is, and what to make it from.

    Code travels as bytes, which only the process that runs it takes apart.
    """

    key: str
    kind: Kind
    payload: Any


@attrs.frozen(slots=True)
class Code:
    """Code that makes a model: a callable or the text that names one, and its arguments."""

    maker: Callable[..., Any] | str
    kwargs: Mapping[str, Any]


def job_of(candidate: Any) -> Job:
    """Return a candidate as a job.

    Args:
        candidate: a ``Candidate``, a pair of what makes a model and its arguments, or anything
            that can be the ``model`` of a ``Candidate``.

    Raises:
        ScreeningError: a ValueError, if it is nothing that can be screened.

    >>> job_of(("torchvision.models:vgg11", {"num_classes": 10})).key
    'torchvision.models:vgg11(num_classes=10)'
    """
    if isinstance(candidate, Candidate):
        asked = candidate
    elif isinstance(candidate, tuple) and len(candidate) == 2 and isinstance(candidate[1], Mapping):
        asked = Candidate(*candidate)
    else:
        asked = Candidate(candidate)
    model = asked.model
    if isinstance(model, GraphSpec):
        return Job(asked.key or f"spec {model.digest}", "spec", model)
    model = _by_file(model)
    if isinstance(model, EnrichedNetworkNode):
        return Job(asked.key or f"graph {graph_key(model)}", "graph", model)
    if isinstance(model, Mapping):
        return Job(asked.key or f"stored {_hash_of(model)}", "stored", dict(model))
    if isinstance(model, str | os.PathLike) and not _names_code(model):
        return _job_of_text(os.fspath(model), asked.key)
    if callable(model) or isinstance(model, str):
        return Job(
            asked.key or _code_key(model, asked.kwargs), "code", _packed(model, asked.kwargs)
        )
    raise ScreeningError(
        f"A candidate is {_short(model)}; it must be a GraphSpec, a graph, the JSON of a graph or "
        "of a Keras model, a function, or a text such as 'package.module:callable', with arguments "
        "as in (function, {'depth': 18})."
    )


def content_of(candidate: Any, job: Job) -> Any:
    """Return what tells a candidate with a key of its own from others; None where the key does."""
    if not isinstance(candidate, Candidate) or not candidate.key:
        return None
    if job.kind == "graph":
        return graph_key(job.payload)
    return _hash_of(job.payload) if isinstance(job.payload, Mapping) else job.payload


def are_different(one: Any, other: Any) -> bool:
    """Return whether candidates are surely not the same, given their contents.

    >>> candidates = [Candidate("a.py:net", {"depth": depth}, "net") for depth in (1, 2)]
    >>> one, other = [content_of(each, job_of(each)) for each in candidates]
    >>> are_different(one, other), are_different(one, one), are_different(one, None)
    (True, False, False)
    """
    if one is None or other is None or one == other:
        return False
    if isinstance(one, bytes) and isinstance(other, bytes):
        # Equal arguments in another order, or as other objects, are other bytes.
        codes: list[Code] = [_Unpickler(io.BytesIO(packed)).load() for packed in (one, other)]
        return len({repr((code.maker, _code_text(code.kwargs))) for code in codes}) > 1
    return True


def _by_file(model: Any) -> Any:
    """Return a function of a file as text, by which other processes find it too."""
    path = _files.get(getattr(model, "__module__", None) or "")
    name = getattr(model, "__qualname__", "<")
    return model if path is None or "<" in name or not callable(model) else f"{path}:{name}"


def _names_code(model: Any) -> bool:
    if not isinstance(model, str) or model.lstrip().startswith("{"):
        return False
    place, colon, attribute = model.rpartition(":")
    return bool(colon and place) and all(part.isidentifier() for part in attribute.split("."))


def _job_of_text(text: str, key: str | None) -> Job:
    """Return the job for JSON, or for a file that holds some."""
    if text.lstrip().startswith("{"):
        try:
            config = json.loads(text)
        except json.JSONDecodeError as error:
            raise ScreeningError(
                f"A candidate is {_short(text)}, which is no JSON: {error}."
            ) from None
        return Job(key or f"stored {_hash_of(config)}", "stored", config)
    path = Path(text)
    if not path.is_file():
        raise ScreeningError(
            f"A candidate is {text!r}; there is no such file, and code is named as "
            "'package.module:callable' or 'path/to/file.py:callable'."
        )
    content = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    return Job(key or f"{text} {content}", "stored", str(path.resolve()))


def _hash_of(config: Mapping[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - what a stranger's __repr__ raises is of no interest
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


# --- keys ------------------------------------------------------------------------------------


def _code_key(maker: Callable[..., Any] | str, kwargs: Mapping[str, Any]) -> str:
    if isinstance(maker, str):
        name = maker
    else:
        name = getattr(maker, "__qualname__", "")
        if not name or "<" in name:
            raise ScreeningError(
                f"A candidate is {_short(maker)}, which has no name that tells it from others; "
                "give it a key: Candidate(function, kwargs, key='...')."
            )
        name = f"{maker.__module__}:{name}"
    if not kwargs:
        return name
    return f"{name}({_code_text(kwargs)})"


def _code_text(kwargs: Mapping[str, Any]) -> str:
    return ", ".join(f"{one}={_key_text(kwargs[one])}" for one in sorted(kwargs))


def _key_text(value: Any) -> str:
    if isinstance(value, GraphSpec):
        return value.digest
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return repr(value)


# --- code ------------------------------------------------------------------------------------


def _packed(maker: Callable[..., Any] | str, kwargs: Mapping[str, Any]) -> bytes:
    """Return code as bytes: by its name where it has one, else by cloudpickle if that is there."""
    code = Code(maker, dict(kwargs))
    try:
        return pickle.dumps(code)
    except Exception as error:  # noqa: BLE001 - pickle raises errors of many kinds
        try:
            cloudpickle = importlib.import_module("cloudpickle")
        except ModuleNotFoundError:
            raise ScreeningError(
                f"A candidate is {_short(maker)}, which other processes cannot import "
                f"({error}); put it at the top level of a module, install cloudpickle, or screen "
                "with isolate=False and no executor."
            ) from None
        packed: bytes = cloudpickle.dumps(code)
        return packed


def unpacked(payload: bytes) -> tuple[Callable[..., Any], Mapping[str, Any]]:
    """Return the callable and the arguments of code that ``job_of`` packed.

    Raises:
        ScreeningError: a ValueError, if a text names nothing that can be called.
        Exception: whatever the import of the user's module raises.
    """
    code: Code = _Unpickler(io.BytesIO(payload)).load()
    maker = found_code(code.maker) if isinstance(code.maker, str) else code.maker
    return maker, code.kwargs


class _Unpickler(pickle.Unpickler):
    """Finds what was defined in the program itself also where another program runs it."""

    def find_class(self, module_name: str, name: str) -> Any:
        if module_name == "__main__" and _program:
            return functools.reduce(getattr, name.split("."), _main_of_program())
        return super().find_class(module_name, name)


_program: list[str | None] = []


def remember_program(module: str | None, file: str | None) -> None:
    """Say which program this process works for: what it was started from."""
    _program[:] = [module, file]


@functools.cache
def _main_of_program() -> ModuleType:
    """Return the main module of the program that this process works for, run once more."""
    module, file = _program
    made = ModuleType("__mp_main__")  # as multiprocessing calls it, so that guards hold
    sys.modules["__mp_main__"] = made
    if module is not None:
        found = runpy.run_module(module, run_name="__mp_main__")
    elif file is not None:
        found = runpy.run_path(file, run_name="__mp_main__")
    else:
        raise ScreeningError(
            "A function was defined in a session that other processes cannot run again; put it "
            "into a module, or install cloudpickle."
        )
    made.__dict__.update(found)
    return made


@functools.lru_cache(1024)
def found_code(text: str) -> Callable[..., Any]:
    """Return the callable that a text names; see ``named``."""
    found = named(text)
    if not callable(found):
        raise ScreeningError(
            f"{text!r} is {_short(found)}; it must be something that can be called and returns a "
            "model."
        )
    checked: Callable[..., Any] = found
    return checked


def named(text: str) -> Any:
    """Return what "package.module:name" or "path/to/file.py:name" names.

    Raises:
        ScreeningError: a ValueError, if there is nothing like that.
        Exception: whatever the import of the module raises.

    >>> named("collections:OrderedDict").__name__
    'OrderedDict'
    """
    place, _, dotted = text.rpartition(":")
    module = _module_of_file(Path(place)) if place.endswith(".py") else _imported(place)
    found: Any = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            raise ScreeningError(f"There is no {name!r} in {place!r}.")
        found = getattr(found, name)
    return found


def _imported(name: str) -> ModuleType:
    """Import a module as ``python -m`` would: what lies in the current folder comes first."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


_files: dict[str, str] = {}
"""Names of modules that were made of files, and the paths by which these were named."""


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ScreeningError(f"There is no file {str(path)!r}.")
    asked, path = path, path.resolve()
    mark = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
    name = f"_screened_file_{path.stem}_{mark}"
    if name in sys.modules:
        return sys.modules[name]
    outline = importlib.util.spec_from_file_location(name, path)
    if outline is None or outline.loader is None:
        raise ScreeningError(f"{str(path)!r} cannot be run as Python.")
    module = importlib.util.module_from_spec(outline)
    _files[name] = str(asked)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        outline.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_stored_graph(config: Mapping[str, Any]) -> bool:
    """Return whether a mapping is a graph of this package."""
    return config.get("format") == GRAPH_FORMAT


def is_stored_spec(config: Mapping[str, Any]) -> bool:
    """Return whether a mapping is a ``GraphSpec``."""
    return config.get("format") == SPEC_FORMAT
