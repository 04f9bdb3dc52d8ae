"""From a SPEC to a model: which file, function or architecture a user means."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from rfa_toolbox import (
    EnrichedNetworkNode,
    architectures,
    create_graph_from_keras_json,
    create_graph_from_onnx,
    create_graph_from_pytorch_model,
    create_graph_from_tensorflow_model,
)
from rfa_toolbox.cli.arguments import InputShape
from rfa_toolbox.cli.problems import ModelCodeError, UsageError, remark
from rfa_toolbox.encodings.tensorflow_keras.sources import load_model_dict
from rfa_toolbox.errors import RFAError
from rfa_toolbox.graphs import GRAPH_FORMAT

if TYPE_CHECKING:
    from rfa_toolbox.empirical import VerificationReport
    from rfa_toolbox.refinement import Refinement

__all__ = ["BUILT_IN", "ModelSource", "load", "model_code"]

BUILT_IN: tuple[str, ...] = tuple(architectures.__all__)
"""Names of the architectures that need neither a file nor a framework."""

_FORMS = (
    f"a built-in architecture ({', '.join(BUILT_IN)}), "
    "package.module:callable such as torchvision.models:resnet50, path/to/file.py:callable, "
    "or a file: ONNX, an exported program (.pt2), Keras JSON, a .keras archive or .h5 file, or a "
    "graph as JSON"
)
_NO_ARCHITECTURE = {
    ".bin",
    ".ckpt",
    ".npz",
    ".pb",
    ".pt",
    ".pth",
    ".safetensors",
    ".tflite",
}
# What model libraries call the arguments that make them download weights.
_NO_WEIGHTS: Mapping[str, Any] = {
    "weights": None,
    "weights_backbone": None,
    "pretrained": False,
    "pretrained_backbone": False,
}

Kind = Literal["graph", "PyTorch", "Keras", "Keras file", "ONNX", "exported program"]
Inputs: TypeAlias = "tuple[Any, ...]"
"""Shapes with batch and channels, or example tensors."""
_FILES: Mapping[Kind, str] = {
    "graph": "a graph",
    "Keras file": "a file of Keras",
    "exported program": "an exported program",
}
"""What an experiment cannot run."""


@attrs.frozen
class ModelSource:
    """A model that a SPEC led to.

    Attributes:
        spec: what the user typed.
        title: a short name of the model.
        kind: whether ``model`` is a finished graph or a live model, and of which framework.
        model: the graph or the model.
    """

    spec: str
    title: str
    kind: Kind
    model: Any

    def inputs(self, several: Iterable[InputShape]) -> Inputs:
        """Return what a model is called with: shapes, or tensors where their type is named.

        Raises:
            UsageError: if there is no such type, or no place for one.
        """
        found: list[Any] = []
        for one in several:
            if one.type is not None and self.kind != "PyTorch":
                raise UsageError(
                    f"--input-shape names the type {one.type!r}, which is for PyTorch models; "
                    f"{self.spec!r} is {_FILES.get(self.kind, f'a model of {self.kind}')} and says "
                    "itself what it takes. Leave the type out."
                )
            found.append(one.sizes if one.type is None else _tensor(one.sizes, one.type))
        return tuple(found)

    def graph(
        self,
        shapes: Inputs = (),
        until: str | None = None,
        partial: bool = True,
    ) -> EnrichedNetworkNode:
        """Return the graph of the model.

        Args:
            shapes: what ``inputs`` made; empty takes what the model says, or the usual shapes.
            until: the path of a module of a PyTorch model behind which to stop.
            partial: whether a PyTorch model that cannot be followed to its end gives what ran.

        Raises:
            UsageError: if there are shapes, and the model brings its own; or a module to stop at,
                and the model has none.
            RFAError: if the model cannot be read.
        """
        if shapes and self.kind in ("graph", "exported program"):
            raise UsageError(
                f"--input-shape is for models that can be run, and {self.spec!r} is "
                f"{_FILES[self.kind]}, which brings its own shapes. Leave it out; --input-res "
                "names the resolution in question."
            )
        if until is not None and self.kind != "PyTorch":
            raise UsageError(
                f"--until names a module of a PyTorch model, and {self.spec!r} is "
                f"{_FILES.get(self.kind, f'a model of {self.kind}')}. Leave it out."
            )
        if self.kind == "PyTorch":
            read = functools.partial(
                create_graph_from_pytorch_model, self.model, until=until, partial=partial
            )
            with _output_to_stderr():
                return read(input_res=shapes) if shapes else read()
        if self.kind == "exported program":
            return create_graph_from_pytorch_model(self.model)
        if self.kind == "Keras":
            given = shapes if len(shapes) > 1 else next(iter(shapes), None)
            with _output_to_stderr():
                return create_graph_from_tensorflow_model(self.model, input_res=given)
        if self.kind == "Keras file":
            given = shapes if len(shapes) > 1 else next(iter(shapes), None)
            return create_graph_from_keras_json(self.model, input_res=given)
        if self.kind == "ONNX":
            return create_graph_from_onnx(self.model, shapes or None)
        graph: EnrichedNetworkNode = self.model
        return graph

    def verified(self, shapes: Inputs = (), time_limit: float | None = None) -> VerificationReport:
        """Return what an experiment on the model says of its graph.

        Args:
            shapes: as for ``graph``.
            time_limit: seconds after which to stop.

        Raises:
            UsageError: if this is a graph, which cannot be run.
            RFAError: if the model cannot be run.
        """
        if self.kind in _FILES:
            what = _FILES[self.kind]
            raise UsageError(
                f"{self.spec!r} is {what}, and an experiment runs the model itself; name the "
                "code that makes it, package.module:callable or path/to/file.py:callable."
            )
        from rfa_toolbox.empirical import verify

        with _output_to_stderr():
            several = len(shapes) > 1 or (shapes and self.kind == "PyTorch")
            given = shapes if several else next(iter(shapes), None)
            return verify(self.model, given, time_limit=time_limit)

    def refined(self, refinement: Refinement, shapes: Inputs = ()) -> EnrichedNetworkNode:
        """Return the graph of the model when a refinement was applied to it.

        Args:
            refinement: made for this model.
            shapes: as for ``graph``.

        Raises:
            RFAError: if the model cannot be changed in this way.
        """
        from rfa_toolbox.refinement import refine_model

        with _output_to_stderr():
            return refine_model(self.model, refinement, shapes or None).graph


def _tensor(sizes: tuple[int, ...], kind: str) -> Any:
    """Return a tensor of numbers of some type."""
    import torch  # a model of it is there

    if kind not in _TYPES:
        near = difflib.get_close_matches(kind, _TYPES, n=3)
        raise UsageError(
            f"--input-shape names the type {kind!r}; it must be one of {', '.join(_TYPES)}."
            f"{_did_you_mean(near)}"
        )
    return torch.ones(sizes, dtype=getattr(torch, kind))


_TYPES = (
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
    *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
)


def load(spec: str, kwargs: Mapping[str, Any]) -> ModelSource:
    """Return the model that a SPEC means.

    Args:
        spec: a built-in architecture, ``package.module:callable``, ``path/to/file.py:callable``,
            or a file with the JSON of a Keras model or of a graph.
        kwargs: arguments of the callable.

    Raises:
        UsageError: if there is no such model; it lists what a SPEC can be.
        ModelCodeError: if the code that makes the model raises an exception.
        RFAError: if a file does not hold what it should.

    >>> load("vgg16", {}).graph().name
    'Softmax'
    """
    if spec in BUILT_IN:
        return _made(spec, spec, getattr(architectures, spec), kwargs)
    if Path(spec).is_file():
        return _from_file(spec, kwargs)
    place, colon, attribute = spec.rpartition(":")
    # What stands behind the colon of C:\models\net.json is no name in Python.
    if colon and _is_dotted(attribute):
        if place.lower().endswith(".py"):
            module = _run_file(Path(place), spec)
        elif _is_dotted(place):
            module = _import(place, spec)
        else:
            raise _unknown(spec)
        return _made(spec, attribute, _attribute(module, attribute, spec), kwargs)
    raise _unknown(spec)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _unknown(spec: str) -> UsageError:
    """Return the error for a SPEC that leads nowhere, with the likeliest things that were meant."""
    path = Path(spec)
    if not spec.strip():
        what = f"{spec!r} names nothing"
    elif path.is_dir():
        what = f"{spec!r} is a folder"
    elif any(sign in spec for sign in "/\\:") or path.suffix:
        what = f"There is no file {spec!r}"
    else:
        what = f"{spec!r} is no architecture that is built in"
    near = difflib.get_close_matches(spec.lower(), BUILT_IN, n=3)
    with contextlib.suppress(OSError):
        files = {one.name: str(one) for one in path.parent.iterdir() if one.is_file()}
        near += [files[one] for one in difflib.get_close_matches(path.name, files, n=2)]
    return UsageError(f"{what}.{_did_you_mean(near)} SPEC is one of: {_FORMS}.")


def _did_you_mean(names: list[str]) -> str:
    return f" Did you mean {' or '.join(names)}?" if names else ""


# --- files -----------------------------------------------------------------------------------


def _from_file(spec: str, kwargs: Mapping[str, Any]) -> ModelSource:
    """Return the graph that a file describes; nothing in the file is run."""
    path = Path(spec)
    suffix = path.suffix.lower()
    if suffix == ".py":
        raise UsageError(
            f"{spec!r} is Python code; say what in it makes the model: {spec}:callable."
        )
    if suffix in _NO_ARCHITECTURE:
        raise UsageError(
            f"{spec!r} is a {suffix} file, which holds weights or a format that is not read here. "
            "Name the code that makes the model, package.module:callable or "
            "path/to/file.py:callable, or save a Keras model as .keras or JSON."
        )
    if kwargs:
        raise UsageError(
            f"--kwargs is for a callable, and {spec!r} is a file, which takes no arguments."
        )
    if suffix == ".pt2":
        return ModelSource(spec, path.stem, "exported program", path)
    if suffix == ".onnx":
        return ModelSource(spec, path.stem, "ONNX", path)
    config = load_model_dict(path)
    if config.get("format") == GRAPH_FORMAT:
        return ModelSource(spec, path.stem, "graph", EnrichedNetworkNode.from_dict(config))
    return ModelSource(spec, path.stem, "Keras file", config)


# --- code ------------------------------------------------------------------------------------


def _import(name: str, spec: str) -> ModuleType:
    """Import a module as ``python -m`` would: what lies in the current folder comes first."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with model_code(spec):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            package = error.name.partition(".")[0]
            raise UsageError(
                f"There is no module {error.name!r} for {spec!r}. "
                + (
                    f"Install it (pip install {package}), or run rfa in the folder that holds it."
                    if error.name == package
                    else f"Look at what is in {package}."
                )
            ) from error


def _run_file(path: Path, spec: str) -> ModuleType:
    """Run a file of Python as a module; files beside it can be imported, as from a script."""
    if not path.is_file():
        raise _unknown(str(path))
    path = path.resolve()
    # No module of this name exists, so that a file may be called like one, such as json.py.
    name = f"_model_file_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    outline = importlib.util.spec_from_file_location(name, path)
    if outline is None or outline.loader is None:
        raise UsageError(f"{str(path)!r} cannot be run as Python.")
    module = importlib.util.module_from_spec(outline)
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        with model_code(spec):
            outline.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _attribute(module: ModuleType, dotted: str, spec: str) -> Any:
    found: Any = module
    for name in dotted.split("."):
        if not hasattr(found, name):
            names = [one for one in dir(found) if not one.startswith("_")]
            near = difflib.get_close_matches(name, names, n=3)
            raise UsageError(
                f"There is no {name!r} in {spec.rpartition(':')[0]!r}.{_did_you_mean(near)}"
            )
        found = getattr(found, name)
    return found


def _made(spec: str, title: str, maker: Any, kwargs: Mapping[str, Any]) -> ModelSource:
    """Return what a callable makes; a model that is there already is taken as it is."""
    kind = _kind(maker)
    if kind is not None:
        if kwargs:
            raise UsageError(f"--kwargs is for a callable, and {spec!r} is a model already.")
        return ModelSource(spec, title, kind, maker)
    if not callable(maker):
        raise UsageError(
            f"{spec!r} is a {type(maker).__name__}; expected is a model, or something that can be "
            "called and returns one."
        )
    arguments = _checked_arguments(spec, maker, kwargs)
    with model_code(spec):
        model = maker(**arguments)
    kind = _kind(model)
    if kind is None:
        raise UsageError(
            f"{spec!r} returned a {type(model).__name__}; expected is a PyTorch or Keras model, "
            "or a node of a graph."
        )
    return ModelSource(spec, title, kind, model)


def _checked_arguments(
    spec: str, maker: Callable[..., Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the arguments to call with: the user's, and those that keep weights from loading."""
    try:
        signature = inspect.signature(maker)
    except (TypeError, ValueError):  # some callables of C do not tell
        return dict(kwargs)
    defaults = {
        name: _NO_WEIGHTS[name]
        for name, parameter in signature.parameters.items()
        if name in _NO_WEIGHTS
        and name not in kwargs
        and parameter.kind is not parameter.POSITIONAL_ONLY
        and parameter.default not in (None, False, parameter.empty)
    }
    arguments = {**defaults, **kwargs}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UsageError(
            f"The arguments do not fit {spec!r}: {error}. It takes "
            f"{', '.join(signature.parameters) or 'none'}; --kwargs sets them."
        ) from None
    for name, value in defaults.items():
        remark(f"{spec} is called with {name}={value}, so that no weights are loaded.")
    return arguments


def _kind(value: Any) -> Kind | None:
    """Return what kind of model a value is, if it is one; no framework is imported for it."""
    if isinstance(value, EnrichedNetworkNode):
        return "graph"
    if isinstance(value, type):
        return None
    roots = {base.__module__.partition(".")[0] for base in type(value).__mro__}
    if roots & {"keras", "tf_keras", "tensorflow"} and callable(getattr(value, "to_json", None)):
        return "Keras"
    torch = sys.modules.get("torch")
    return "PyTorch" if torch is not None and isinstance(value, torch.nn.Module) else None


@contextlib.contextmanager
def model_code(spec: str) -> Iterator[None]:
    """Run a user's code: what it prints is no result, and what it raises is told in one line."""
    try:
        with _output_to_stderr():
            yield
    except (RFAError, KeyboardInterrupt):
        raise
    # Code may also raise what is no Exception, such as SystemExit or the skip of a test.
    except BaseException as error:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ModelCodeError(f"{spec!r} failed with {said} ({_remedy(error)}).") from error


def _remedy(error: BaseException) -> str:
    """Return what helps against an exception of a user's code."""
    if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
        return (
            "Keras looks for TensorFlow; set the environment variable KERAS_BACKEND to torch or "
            "jax if you have one of these"
        )
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        return f"pip install {package}, or put it where Python finds it"
    if "operator torchvision::" in str(error):
        return "torch and torchvision are not of the same build; install both from one index"
    return "--debug shows where"


@contextlib.contextmanager
def _output_to_stderr() -> Iterator[None]:
    """Lead to standard error what is printed, also by programs and libraries that code starts."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
