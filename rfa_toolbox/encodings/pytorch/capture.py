"""What both captures share: running a model once without changing it, and naming what ran."""

from __future__ import annotations

import contextlib
import copy
import dis
import itertools
import math
import random
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import attrs
import numpy as np
import torch
from torch import nn
from torch.jit._trace import TracerWarning
from torch.nn import functional
from torch.nn.modules import module as module_hooks

from rfa_toolbox.encodings.pytorch.signatures import bind, canonical_name
from rfa_toolbox.operators.record import ModuleCall, TensorRef

__all__ = [
    "ALIGNED",
    "FILLED",
    "KEEP_EVEN",
    "PLAIN",
    "WHOLE",
    "Ending",
    "Example",
    "Failure",
    "Finished",
    "ModuleScopes",
    "OperatorCall",
    "OutOfTime",
    "describe_call",
    "even_along",
    "expanded",
    "fields_of",
    "first_line",
    "is_asserted",
    "is_compiled",
    "is_even",
    "lying",
    "name_of_class",
    "origins_of",
    "paths_of",
    "raising_line",
    "rebuilt",
    "sizes_of",
    "tensors_of",
    "undisturbed",
]


@attrs.frozen
class Example:
    """The arguments that a model is called with."""

    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments, positional ones first, also those in lists and dicts."""
        return list(tensors_of((self.arguments, self.keywords)))

    @property
    def plain(self) -> bool:
        """Whether there are tensors alone, all of them by position."""
        return not self.keywords and all(isinstance(one, torch.Tensor) for one in self.arguments)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Example:
        """Return the example with another version of every tensor."""
        return Example(rebuilt(self.arguments, change), rebuilt(dict(self.keywords), change))


_WITHOUT_TENSORS = frozenset({int, float, bool, str, type(None), torch.Size, torch.dtype})


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a value: in tuples, lists, dicts or data classes."""
    if type(value) in _WITHOUT_TENSORS:  # most of what a model holds and is called with
        return
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            if type(item) not in _WITHOUT_TENSORS:
                yield from tensors_of(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    else:
        for item in (fields_of(value) or {}).values():
            yield from tensors_of(item)


def fields_of(value: Any) -> dict[str, Any] | None:
    """Return the attributes of a data class or another plain object; None for what is none."""
    if hasattr(value, "__dict__") and not isinstance(value, nn.Module | type | torch.Tensor):
        return dict(vars(value))
    return None


def rebuilt(value: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """Return a value with something else in place of every tensor that ``tensors_of`` yields."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, Mapping):
        items = ((key, rebuilt(item, change)) for key, item in value.items())
        return type(value)(items)  # type: ignore[call-arg]
    if isinstance(value, tuple | list):
        parts = [rebuilt(item, change) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if next(tensors_of(value), None) is None:
        return value
    made = copy.copy(value)
    for name, item in vars(value).items():
        object.__setattr__(made, name, rebuilt(item, change))  # also where the class is frozen
    return made


@attrs.frozen
class Failure:
    """Where a model failed: the operator, the module it ran in, and what it was given."""

    operator: str
    scope: tuple[ModuleCall, ...]
    shapes: tuple[tuple[int, ...], ...]


@attrs.frozen
class Ending:
    """Where a capture may end before the model does.

    Attributes:
        until: the path of a module whose first result ends it.
        excused: what the model may raise; what ran before is kept then, if it is of use.
        over: the time at which to give up, as ``time.monotonic`` has it.
    """

    until: str | None = None
    excused: tuple[type[Exception], ...] = ()
    over: float = math.inf

    def check_time(self) -> None:
        """Give up if it is time.

        Raises:
            OutOfTime: if it is.
        """
        if time.monotonic() > self.over:
            raise OutOfTime(calling_line())


WHOLE = Ending()
"""Nowhere: a model that does not run to its end is an error."""


class OutOfTime(BaseException):
    """Ends a run that takes too long, at a line of the model; no handler of a model takes it."""


class Finished(BaseException):
    """Ends a run behind the last call in question; no handler of a model takes it."""

    def __init__(self, result: Any = None) -> None:
        super().__init__()
        self.result = result


# --- operators -------------------------------------------------------------------------------

_GETTERS_OF_TENSORS = {"T", "mT", "H", "mH", "real", "imag", "data"}
_COLLISIONS: dict[Any, str] = {
    torch.nn.functional.unfold: "im2col",
    torch.nn.functional.fold: "col2im",
}


@attrs.frozen
class OperatorCall:
    """A function of PyTorch: its canonical name and whether Python code implements it.

    ``arguments`` are the names of its arguments, for operators of other libraries.
    """

    name: str
    composite: bool
    arguments: tuple[str, ...] = ()


_described: dict[Any, OperatorCall | None] = {}


def describe_call(function: Any) -> OperatorCall | None:
    """Return what is known of a function that was called, or None if it returns no tensor."""
    try:
        return _described[function]
    except KeyError:
        pass
    name = getattr(function, "__name__", str(function))
    if name in ("__get__", "__set__", "__delete__"):
        name = getattr(getattr(function, "__self__", None), "__name__", "")
        described = (
            OperatorCall(name, False)
            if name in _GETTERS_OF_TENSORS and function.__name__ == "__get__"
            else None
        )
    elif function in _COLLISIONS:
        described = OperatorCall(_COLLISIONS[function], True)
    else:
        overload = getattr(function, "overloadpacket", None) or getattr(
            function, "_overload_names", None
        )
        arguments: tuple[str, ...] = ()
        if overload is not None:
            name = getattr(function, "_qualified_op_name", name).partition(".")[0]
            schema = _schema_of(function)
            arguments = () if schema is None else tuple(one.name for one in schema.arguments)
        composite = isinstance(function, types.FunctionType)
        described = OperatorCall(canonical_name(name), composite, arguments)
    _described[function] = described
    return described


def _schema_of(function: Any) -> Any:
    """Return what an operator of PyTorch's dispatcher says of its arguments."""
    if hasattr(function, "_schema"):
        return function._schema
    names = function.overloads() if hasattr(function, "overloads") else ()
    return getattr(function, names[0])._schema if names else None


def plain_arguments(
    call: OperatorCall,
    values: Sequence[Any],
    keywords: Mapping[str, Any],
    reference: Callable[[torch.Tensor], TensorRef],
) -> dict[str, Any]:
    """Return the arguments of a call by name, as plain values."""
    if call.name == "pad" and len(values) > 1:
        values = (values[0], _numbers(values[1]), *values[2:])
    bound = bind(call.name, values, keywords, call.arguments)
    for key, value in bound.items():
        if type(value) not in PLAIN:
            bound[key] = _plain(value, reference)
    return bound


def lying(tensor: torch.Tensor, offset: int | None) -> dict[str, tuple[int, ...]]:
    """Return how a tensor lies in memory, for what reads that from its first number on."""
    if offset not in (None, tensor.storage_offset()):
        return {}
    return {"input_stride": tuple(map(int, tensor.stride()))}


def _numbers(amounts: Any) -> Any:
    """Return amounts of padding as numbers, also where a model keeps them in tensors."""
    if isinstance(amounts, tuple | list):
        return tuple(_numbers(one) for one in amounts)
    return int(amounts) if isinstance(amounts, torch.Tensor) and not amounts.is_meta else amounts


PLAIN = frozenset({int, float, bool, str, type(None), type(Ellipsis), slice})
"""Types of arguments that a record has as they are."""
_SEVERAL = (tuple, list)


def _plain(value: Any, reference: Callable[[torch.Tensor], TensorRef]) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return reference(value)
    if isinstance(value, _SEVERAL):
        if PLAIN.issuperset(map(type, value)):
            return tuple(value)
        return tuple([_plain(item, reference) for item in value])
    if isinstance(value, Mapping):
        return {str(key): _plain(item, reference) for key, item in value.items()}
    if isinstance(value, int | torch.SymInt):
        return int(value)
    return str(value)


# --- constants -------------------------------------------------------------------------------

FILLED = frozenset({"empty", "full", "ones", "zeros", "fill", "zero"})
"""Operators whose result is the same everywhere; nobody reads memory that was not written."""

KEEP_EVEN = frozenset({
    "add", "alias", "bfloat16", "bitwise_not", "bool", "clone", "contiguous", "cpu", "cuda",
    "detach", "div", "double", "eq", "expand", "flatten", "float", "ge", "getitem", "gt",
    "half", "int", "interpolate", "le", "lift_fresh", "logical_not", "long", "lt", "mul", "ne",
    "permute", "repeat", "reshape", "squeeze", "sub", "t", "to", "transpose", "type", "type_as",
    "unsqueeze", "view",
})  # fmt: skip
"""Operators whose result is the same everywhere if that is true of what they are given."""


ALIGNED = frozenset({
    "abs", "add", "bfloat16", "clamp", "clone", "contiguous", "detach", "div", "double", "exp",
    "expand", "float", "half", "log", "mul", "neg", "pow", "relu", "repeat", "sigmoid", "softplus",
    "sqrt", "square", "sub", "tanh", "tile", "to", "type_as",
})  # fmt: skip
"""Operators whose result is the same along a dimension, counted from the last, if all that they are
given is so, or has one index there."""


def even_along(name: str, shape: Sequence[int], tensors: Iterable[TensorRef]) -> tuple[int, ...]:
    """Return the dimensions along which a result of constants is the same everywhere.

    >>> even_along("repeat", (3, 8, 9), [TensorRef(-1, (3, 1, 1))])
    (1, 2)
    """
    given = list(tensors)
    if name not in ALIGNED:
        return ()
    return tuple(
        place
        for place, size in enumerate(shape)
        if size > 1 and all(_repeats(one, len(shape) - place) for one in given)
    )


def _repeats(tensor: TensorRef, back: int) -> bool:
    """Whether a tensor has one value along the dimension ``back``, counted from the last as 1."""
    place = len(tensor.shape) - back
    return place < 0 or tensor.shape[place] == 1 or place in tensor.even


def is_even(tensors: Iterable[TensorRef]) -> bool:
    """Return whether all of some constants are the same everywhere."""
    return all(len(one.even) == len(one.shape) for one in tensors)


def expanded(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Return the dimensions along which a tensor repeats one element.

    >>> expanded((3, 8, 1), (1, 0, 1))
    (1,)
    """
    if 0 not in strides:
        return ()
    pairs = enumerate(zip(shape, strides, strict=False))
    return tuple(place for place, (size, stride) in pairs if size > 1 and stride == 0)


# --- parameters ------------------------------------------------------------------------------


Paths: TypeAlias = "Mapping[nn.Module, Sequence[str]]"
"""Of all modules of a model, as ``paths_of`` returns them."""


def origins_of(paths: Paths) -> dict[int, tuple[str, ...]]:
    """Return the name of every parameter under its ``id``; one that is shared has its first."""
    return {id(parameter): (name,) for name, parameter in _named_parameters(paths).items()}


def sizes_of(paths: Paths) -> dict[str, int]:
    """Return how many numbers every parameter has."""
    return {name: parameter.numel() for name, parameter in _named_parameters(paths).items()}


def _named_parameters(paths: Paths) -> dict[str, nn.Parameter]:
    """Return every parameter under its first name, as ``named_parameters`` has them."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for module, (path, *_) in paths.items():
        inside = f"{path}." if path else ""
        for name, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), (inside + name, parameter))
    return dict(found.values())


# --- modules ---------------------------------------------------------------------------------


def is_compiled(module: nn.Module) -> bool:
    """Return whether a module is what ``torch.compile`` made of another one."""
    return "_orig_mod" in module._modules


class ModuleScopes:
    """Knows at any time which modules of a model are running, and in which call."""

    def __init__(self, model: nn.Module) -> None:
        self.current: tuple[ModuleCall, ...] = ()
        self.paths = paths_of(model)
        self._calls: dict[str, int] = {}
        self._thread = threading.get_ident()
        self._stack: list[tuple[ModuleCall, ...]] = []
        self.on_enter: Callable[[tuple[ModuleCall, ...]], None] | None = None
        self.on_exit: Callable[[], None] | None = None
        self.on_result: Callable[[nn.Module, Any, Any], None] | None = None

    @contextlib.contextmanager
    def recording(self) -> Iterator[ModuleScopes]:
        """Watch modules come and go."""
        handles = [
            module_hooks.register_module_forward_pre_hook(self._enter),
            module_hooks.register_module_forward_hook(self._exit, always_call=True),
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, arguments: Any) -> None:
        if threading.get_ident() != self._thread:
            return  # the hooks are those of all modules: this is another model at work
        self._stack.append(self.current)
        if module not in self.paths:
            return
        path = self._path_of(module)
        call = self._calls[path] = self._calls.get(path, 0) + 1
        self.current = (*self.current, _module_call(module, path, call))
        if self.on_enter is not None:
            self.on_enter(self.current)

    def _path_of(self, module: nn.Module) -> str:
        """Return the path of a module; where several modules hold it, within the one that calls."""
        paths = self.paths[module]
        if len(paths) == 1:
            return paths[0]
        inside = f"{self.current[-1].path}." if self.current and self.current[-1].path else ""
        near = [path for path in paths if path.startswith(inside)]
        return min(near, key=lambda path: path.count("."), default=paths[0])

    def _exit(self, module: nn.Module, arguments: Any, result: Any) -> None:
        if not self._stack or threading.get_ident() != self._thread:
            return
        if self.on_result is not None and result is not None:
            self.on_result(module, arguments, result)
        before = self._stack.pop()
        if self.on_exit is not None and len(before) != len(self.current):
            self.on_exit()
        self.current = before


def paths_of(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return all paths of all modules, in the order of ``named_modules`` without its detours."""
    found: dict[nn.Module, list[str]] = {}
    _collect_paths(model, "", found)
    return found


def _collect_paths(module: nn.Module, path: str, found: dict[nn.Module, list[str]]) -> None:
    found.setdefault(module, []).append(path)
    inside = f"{path}." if path else ""
    for name, child in module._modules.items():
        if child is not None:
            _collect_paths(child, inside + name, found)


def _module_call(module: nn.Module, path: str, call: int) -> ModuleCall:
    kind = _class_of(module)
    library = kind.__module__.startswith(("torch.nn.", "torch.ao."))
    return ModuleCall(path, _name_of(module, kind), call, library)


def _class_of(module: nn.Module) -> type:
    """Return the class that a user wrote; a parametrization puts one of its own in front."""
    kind = type(module)
    parametrized = "parametrizations" in module._modules and len(kind.__mro__) > 1
    return kind.__mro__[1] if parametrized else kind


def name_of_class(module: nn.Module) -> str:
    """Return the class name that nodes show for a module, also of one that was scripted."""
    return _name_of(module, _class_of(module))


def _name_of(module: nn.Module, kind: type) -> str:
    return (
        str(module.original_name) if isinstance(module, torch.jit.ScriptModule) else kind.__name__
    )


# --- surroundings ----------------------------------------------------------------------------


_ALONE = threading.RLock()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Run something without leaving a trace in random states, gradients, flags or warnings.

    These belong to the process, so threads wait for each other here.
    """
    with _ALONE:
        yield from _undisturbed()


def _undisturbed() -> Iterator[None]:
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    python = random.getstate()
    numbers = np.random.get_state()  # noqa: NPY002 - the state that models draw from
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.inference_mode(False),
            torch.no_grad(),
            _compiled_code_run_plainly(),
            _calls_seen(),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=TracerWarning)
            # Functions of PyTorch run on behalf of this package, so they seem to warn from there.
            warnings.filterwarnings("ignore", module=r"(torch|rfa_toolbox)(\.|$)")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def _compiled_code_run_plainly() -> contextlib.AbstractContextManager[Any]:
    """Let what torch.compile makes run as it was written, so that its operators are seen.

    As long as nothing was compiled, the compiler is not loaded for that: it takes a second.
    """
    if "torch._dynamo" not in sys.modules:
        return _replaced(torch, "compile", _written)
    stance = getattr(torch.compiler, "set_stance", None)
    return contextlib.nullcontext() if stance is None else stance("force_eager")


def _written(model: Any = None, **options: Any) -> Any:
    """Stand for ``torch.compile``, also as a decorator, and leave what it is given as it is."""
    return model if model is not None else lambda given: given


@contextlib.contextmanager
def _calls_seen() -> Iterator[None]:
    """Let calls be seen that hide what they do, and pass that ask on which device they are."""
    created = torch.autocast.__init__

    def autocast(self: Any, device_type: str, *args: Any, **keywords: Any) -> None:
        created(self, "cpu" if device_type == "meta" else device_type, *args, **keywords)

    def normalised(self: nn.CrossMapLRN2d, tensor: torch.Tensor) -> torch.Tensor:
        return functional.local_response_norm(tensor, self.size, self.alpha, self.beta, self.k)

    scripted = torch.jit.ScriptFunction.__call__

    def written(self: Any, *args: Any, **keywords: Any) -> Any:
        source = getattr(self, "_torchdynamo_inline", None)
        return scripted(self, *args, **keywords) if source is None else source(*args, **keywords)

    with contextlib.ExitStack() as replaced:
        replaced.enter_context(_replaced(torch.jit.ScriptFunction, "__call__", written))
        replaced.enter_context(_replaced(torch.autocast, "__init__", autocast))
        # It writes into memory of its own, step by step, what one function says at once.
        replaced.enter_context(_replaced(nn.CrossMapLRN2d, "forward", normalised))
        attention = sys.modules.get("torch.nn.attention.flex_attention")
        if attention is not None:
            ignored = _replaced(attention, "_validate_device", lambda *_: None)
            replaced.enter_context(ignored)
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(owner, name, None)
    if original is None:  # another version of PyTorch
        yield
        return
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def calling_line() -> str:
    """Return the line of the model's own code that is running, as ``file:line``."""
    return _last_of_model(traceback.extract_stack())


def is_asserted(frame: FrameType) -> bool:
    """Whether a model asserts what it asks for: it holds, or the model would not run at all."""
    steps = list(dis.get_instructions(frame.f_code))
    behind = itertools.dropwhile(lambda one: one.offset < frame.f_lasti, steps)
    jump = next((one for one in itertools.islice(behind, 3) if "JUMP" in one.opname), None)
    if jump is None:
        return False
    if "FALSE" in jump.opname:
        fails = next((one for one in steps if one.offset == jump.argval), jump)
    else:
        fails = next(behind, jump)
    common = fails.opname == "LOAD_COMMON_CONSTANT" and fails.argval is AssertionError
    return common or fails.opname == "LOAD_ASSERTION_ERROR"


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    return line if line.endswith(".") else f"{line}."


def raising_line(error: Exception) -> str:
    """Return the line of the model's own code that raised an error, as ``file:line``."""
    return _last_of_model(traceback.extract_tb(error.__traceback__))


def _last_of_model(frames: traceback.StackSummary) -> str:
    homes = (Path(torch.__file__).parent, Path(__file__).parents[2])
    for frame in reversed(frames):
        if not any(Path(frame.filename).is_relative_to(home) for home in homes):
            return f"{frame.filename}:{frame.lineno}"
    return "an unknown line"
