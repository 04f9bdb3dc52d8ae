"""The graph of a live Keras 3 model, opened down to layers and operations that are known.

A layer that Keras itself brings is known by its class, and so is a subclass of one that works as
its base does. Every other layer is called on symbolic tensors, by which ``keras.ops`` and the
layers inside tell what they do; on any backend, and without computing anything. What such a call
cannot be followed through, code of a backend's own above all, stays closed, with the reason.

Keras is imported only where a model of it is here already. Nothing of the model is kept changed:
the state of all its layers is put back, and names are counted in a thread of their own.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import attrs

from rfa_toolbox.encodings.tensorflow_keras.lowering import STAND_IN
from rfa_toolbox.encodings.tensorflow_keras.lowering_layers import LAYERS
from rfa_toolbox.encodings.tensorflow_keras.model_json import OWN_MODULES, WRAPPERS, in_order
from rfa_toolbox.errors import UnsupportedModelError

__all__ = [
    "LiveGraph",
    "Step",
    "base_of",
    "class_of",
    "function_of",
    "is_array",
    "is_connected",
    "is_live",
    "is_wrapper",
    "opened",
    "shapes_when_built",
]

Tensor: TypeAlias = Any
"""A KerasTensor."""

Keep: TypeAlias = "Callable[[Any, str, Sequence[tuple[int, ...]]], bool]"
"""Gets a layer, the name of its call and the shapes that it reads; whether it stays closed."""


@attrs.frozen(eq=False, slots=True)
class Step:
    """One call of a layer or an operation.

    Attributes:
        operation: what is called.
        name: unique in the graph but for repeated calls of the same layer.
        arguments: positional arguments, with symbolic tensors at any depth.
        keywords: keyword arguments, likewise.
        outputs: the symbolic tensors that it makes.
        given: which of its tensors the inputs of ``inner`` stand for, in order.
        inner: what it calls, where it was opened.
        reason: why it could not be opened.
    """

    operation: Any
    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    outputs: tuple[Tensor, ...]
    given: tuple[Tensor, ...] = ()
    inner: LiveGraph | None = None
    reason: str = ""


@attrs.frozen(eq=False, slots=True)
class LiveGraph:
    """The calls inside a model or a layer, each behind those whose tensors it reads.

    Attributes:
        inputs: the symbolic tensors that stand for what it is called with, in order.
        given: what it was called with.
        steps: the calls.
        outputs: what it returns: symbolic tensors, in any nesting.
        held: the weights that symbolic tensors stand for, by the id of the tensor.
        shapes: by id of a tensor the shape that it has where sizes were open.
        function: whether this is a model that Keras connected itself, and no call that was traced.
    """

    inputs: tuple[Tensor, ...]
    given: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    outputs: Any
    held: Mapping[int, Any] = attrs.field(factory=dict)
    shapes: Mapping[int, tuple[int, ...]] = attrs.field(factory=dict)
    function: bool = True

    def shape(self, tensor: Tensor) -> tuple[int | None, ...]:
        """Return the shape of a tensor, with None for sizes that are open."""
        return self.shapes.get(id(tensor), tuple(tensor.shape))

    @property
    def input_names(self) -> list[str]:
        """The names of its inputs; those of a call are numbered."""
        if self.function:
            return [str(one._keras_history.operation.name) for one in self.inputs]
        return ["input", *(f"input_{at}" for at in range(1, len(self.inputs)))]

    @property
    def traced(self) -> bool:
        """Whether it holds calls that were traced, which is for these sizes and no others."""
        inner = (step.inner for step in self.steps)
        return not self.function or any(one is not None and one.traced for one in inner)

    @property
    def hands_on(self) -> bool:
        """Whether it is a layer that returns what it is given, and nothing else."""
        given = set(map(id, self.inputs))
        flat = sys.modules["keras"].tree.flatten(self.outputs)
        return not (self.function or self.steps) and all(
            id(one) in given for one in flat if is_array(one)
        )


# --- what a layer is -------------------------------------------------------------------------


def is_live(model: Any) -> bool:
    """Return whether this is a model object of Keras 3, which tells more than its JSON."""
    keras = sys.modules.get("keras")
    version = str(getattr(keras, "__version__", "0"))
    return (
        keras is not None
        and version.split(".", 1)[0].isdigit()
        and int(version.split(".", 1)[0]) >= 3
        and isinstance(model, keras.Model)
    )


def is_connected(model: Any) -> bool:
    """Return whether a live model can be followed; a Sequential that was not built cannot be."""
    return function_of(model) is not None or not isinstance(model, sys.modules["keras"].Sequential)


def _is_own(kind: type) -> bool:
    return kind.__module__.split(".", 1)[0] in OWN_MODULES


_HOOK = "_opened_by_rfa_toolbox"

_OF_NO_CONSEQUENCE = {
    "build",
    "build_from_config",
    "compute_mask",
    "compute_output_shape",
    "compute_output_spec",
    "count_params",
    "from_config",
    "get_build_config",
    "get_config",
    "load_own_variables",
    "save_own_variables",
}
"""Methods that a subclass may override and still work as its base does."""


def class_of(operation: Any) -> type:
    """Return the class that a layer has while nobody looks into it."""
    kind = type(operation)
    return kind.__mro__[1] if _HOOK in vars(kind) else kind


def base_of(operation: Any) -> str | None:
    """Return the class of Keras that a layer works as: its own, or that of its base.

    A subclass that overrides more of its base than how it is made and stored is none.
    """
    kinds = type(operation).__mro__
    for at, kind in enumerate(kinds):
        if _is_own(kind):
            known = kind.__name__ in LAYERS and kind.__name__ != "Layer"
            changed = {
                name
                for user in kinds[:at]
                for name in vars(user)
                if not name.startswith("__") and hasattr(kind, name)
            }
            return kind.__name__ if known and changed <= _OF_NO_CONSEQUENCE else None
    return None


def function_of(operation: Any) -> Any:
    """Return the graph that Keras keeps of a functional or built sequential model, or None."""
    function = getattr(operation, "_functional", None) or operation
    if not hasattr(function, "_run_through_graph"):
        return None
    for kind in type(operation).__mro__:
        if _is_own(kind):
            return function
        if "call" in vars(kind):
            return None  # it does something else than its graph
    return None


def is_wrapper(operation: Any) -> bool:
    """Return whether this is a layer of Keras around another layer."""
    return type(operation).__name__ in WRAPPERS and _is_own(type(operation))


def _wrapped(wrapper: Any) -> Any:
    """Return the layer in a wrapper; None where there are two, one for each direction."""
    return getattr(wrapper, "layer", None)


# --- opening ---------------------------------------------------------------------------------


def opened(
    model: Any, shapes: Any = None, keep: Keep = lambda layer, name, shapes: False
) -> LiveGraph:
    """Return the graph of a live model; the model is left as it is.

    Args:
        model: a model of Keras 3.
        shapes: the shape of its input, batch first, or those of several in the nesting in which
            the model takes them; None takes what the model itself says.
        keep: tells which layers stay closed, as a user describes them.

    Raises:
        UnsupportedModelError: a ValueError, if a model that is no graph says no shape, or its
            ``call`` cannot be followed.
    """
    with ThreadPoolExecutor(1, "rfa-keras") as own:  # Keras counts names per thread
        return own.submit(_opened, model, shapes, keep).result()


def _opened(model: Any, shapes: Any, keep: Keep) -> LiveGraph:
    keras = sys.modules["keras"]
    with (
        _unchanged(model) as layers,
        warnings.catch_warnings(),
        keras.StatelessScope(initialize_variables=False),
    ):
        warnings.filterwarnings("ignore", module=r"keras\.")
        opener = _Opener(keras, keep)
        function = function_of(model)
        opener.follows = shapes is not None or function is None or opener.is_composite(model)
        if opener.follows:
            for layer in layers:
                opener.hook(layer)
        if function is None:
            return opener.subclassed(model, shapes)
        given = [one.shape for one in function.inputs] if shapes is None else _listed(shapes)
        own = [tuple(one.shape) for one in function.inputs]
        if [*map(len, given)] != [*map(len, own)]:
            raise UnsupportedModelError(
                f"input_res is {shapes!r}; the model {model.name!r} takes one shape for each "
                f"input, batch first: its own are {own!r}."
            )
        inputs = [
            opener.tensor(shape, one.dtype)
            for shape, one in zip(given, function.inputs, strict=True)
        ]
        return opener.function(function, inputs)


def _listed(shapes: Any) -> list[tuple[int | None, ...]]:
    """Return the shapes in a nesting of shapes, in order."""
    if isinstance(shapes, Mapping):
        return [one for key in sorted(shapes) for one in _listed(shapes[key])]
    if all(one is None or isinstance(one, int) for one in shapes):
        return [tuple(shapes)]
    return [found for one in shapes for found in _listed(one)]


class _NotFollowedError(Exception):
    """The code of a layer does not work on symbolic tensors."""


class _Opener:
    """Opens models and layers, outermost first."""

    def __init__(self, keras: Any, keep: Keep) -> None:
        self.keras, self.keep = keras, keep
        self.follows = True
        """Whether sizes that are open are followed from the inputs on."""
        self.path: tuple[str, ...] = ()
        self.insides: dict[int, tuple[LiveGraph | None, str, Any]] = {}
        """What calls did inside, why that is not known, and what they made, by the id of it."""
        self.packed: dict[int, Any] = {}
        """What calls return that is not only tensors, by the id of its first tensor."""

    def tensor(self, shape: Sequence[int | None], dtype: Any) -> Tensor:
        """Return a symbolic tensor of a shape without open sizes."""
        sizes = [
            one if one is not None else 1 if at == 0 else STAND_IN for at, one in enumerate(shape)
        ]
        return self.keras.KerasTensor(tuple(sizes), dtype)

    def is_symbolic(self, value: Any) -> bool:
        """Return whether this is a symbolic tensor."""
        return isinstance(value, self.keras.KerasTensor)

    def flat(self, value: Any) -> list[Tensor]:
        """Return the symbolic tensors in a value, at any depth, in order."""
        return [one for one in self.keras.tree.flatten(value) if self.is_symbolic(one)]

    def filled(self, value: Any, found: Mapping[int, Tensor]) -> Any:
        """Return a value with other tensors in place of its symbolic ones."""
        return self.keras.tree.map_structure(lambda one: found.get(id(one), one), value)

    def is_composite(self, operation: Any) -> bool:
        """Return whether a layer is one to open, or holds such layers."""
        if operation is None or type(operation).__name__ == "InputLayer":
            return False
        function = function_of(operation)
        if function is not None:
            return any(self.is_composite(one) for one in function.operations)
        if not isinstance(operation, self.keras.Layer):
            return not _is_own(type(operation))
        if is_wrapper(operation):
            return self.is_composite(_wrapped(operation))
        return base_of(operation) is None

    # -- models that Keras connected

    def function(self, function: Any, given: Sequence[Tensor]) -> LiveGraph:
        """Return the graph of a functional model that is called with some tensors."""
        found = dict(zip(map(id, function.inputs), given, strict=True))
        steps = []
        for operation, node in _in_order(function):
            inner, reason = None, ""
            if not node.is_input and not self.follows:
                inner, reason = self.inside(operation, node.arguments.args, node.arguments.kwargs)
            elif not node.is_input:
                inputs = self.filled((node.arguments.args, node.arguments.kwargs), found)
                made = self._made(operation, inputs, node.outputs)
                inner, reason, _ = self.insides.get(id(made[0]), (None, "", None))
                found.update(zip(map(id, node.outputs), made, strict=False))
            back = {id(found.get(id(one), one)): one for one in node.arguments.keras_tensors}
            steps.append(_step(node, str(operation.name), inner, reason, back))
        sizes = {key: tuple(one.shape) for key, one in found.items()} if self.follows else {}
        return LiveGraph(
            tuple(function.inputs),
            tuple(given),
            tuple(steps),
            function._outputs_struct,
            shapes=sizes,
        )

    def _made(self, operation: Any, inputs: Any, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Return what a call makes, with all sizes known."""
        arguments, keywords = inputs
        reason = ""
        try:
            made = self.flat(operation.compute_output_spec(*arguments, **keywords))
        except _NotFollowedError as error:
            made, reason = [], str(error)
        except Exception:  # noqa: BLE001 what a layer raises where a size does not fit is its own
            made = []
        if made and len(made) < len(outputs):
            made = self._with_missing(made, outputs)
        if len(made) != len(outputs) or any(None in one.shape for one in made):
            made = [self.tensor(one.shape, one.dtype) for one in outputs]
            self.insides[id(made[0])] = None, reason, made
        return made

    def _with_missing(self, made: list[Tensor], outputs: Sequence[Tensor]) -> list[Tensor]:
        """Return what a call makes, with a tensor for every None that it said a shape of."""
        inner, reason, whole = self.insides.get(id(made[0]), (None, "", None))
        leaves = self.keras.tree.flatten(self.packed.get(id(made[0]), made))
        if inner is None or len(leaves) != len(outputs):
            return made
        complete = [
            one if self.is_symbolic(one) else self.tensor(own.shape, own.dtype)
            for one, own in zip(leaves, outputs, strict=True)
        ]
        inside = [
            one if self.is_symbolic(one) else stand_in
            for one, stand_in in zip(self.keras.tree.flatten(inner.outputs), complete, strict=True)
        ]
        self.insides[id(complete[0])] = attrs.evolve(inner, outputs=inside), reason, whole
        return complete

    def hook(self, layer: Any) -> None:
        """Let a layer say what it does inside whenever it is called on symbolic tensors."""
        vars(layer)["compute_output_spec"] = functools.partial(self.spec, layer)
        if function_of(layer) is None and self.is_composite(layer):
            kind: Any = type(layer)
            names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
            call = functools.partialmethod(_packed, kind, self)
            layer.__class__ = type(kind)(
                kind.__name__, (kind,), {**names, "__call__": call, _HOOK: True}
            )

    def spec(self, layer: Any, *arguments: Any, **keywords: Any) -> Any:
        """Return what a layer makes of symbolic tensors, and keep what it does inside."""
        inner, reason = self.inside(layer, arguments, keywords)
        if inner is not None and not is_wrapper(layer):
            made = self.keras.tree.map_structure(
                lambda one: self.tensor(inner.shape(one), one.dtype) if is_array(one) else one,
                inner.outputs,
            )
            flat = self.flat(made)
            if len(flat) != len(self.keras.tree.flatten(made)) and flat:
                self.packed[id(flat[0])] = made  # Keras takes nothing but tensors here
                made = flat
        else:
            try:
                made = self._own_spec(layer, arguments, keywords)
            except Exception as error:
                if not reason:
                    raise
                raise _NotFollowedError(reason) from error
        for one in self.flat(made)[:1]:
            self.insides[id(one)] = inner, reason, made
        return made

    def _own_spec(self, layer: Any, arguments: Any, keywords: Any) -> Any:
        made = type(layer).compute_output_spec(layer, *arguments, **keywords)
        if any(None in one.shape for one in self.flat(made)):
            # Some layers tell what was open when they were built.
            made = self.keras.Operation.compute_output_spec(layer, *arguments, **keywords)
        return made

    # -- layers

    def inside(self, layer: Any, arguments: Any, keywords: Any) -> tuple[LiveGraph | None, str]:
        """Return what a layer calls, None if it is to stay closed, and why if it had to."""
        if is_wrapper(layer):
            return self._inside_wrapper(layer, arguments)
        function = function_of(layer)
        if function is None and not self.is_composite(layer):
            return None, ""
        shapes = [tuple(one.shape) for one in self.flat((arguments, keywords))]
        around = self.path
        self.path = (*around, str(layer.name))
        try:
            if function is not None:
                given = self._given(function, arguments, keywords)
                if len(given) != len(function.inputs):
                    given = [self.tensor(one.shape, one.dtype) for one in function.inputs]
                return self.function(function, given), ""
            if self.keep(layer, "/".join(self.path), shapes):
                return None, ""
            return self.traced(layer, arguments, keywords), ""
        except _NotFollowedError as error:
            return None, str(error)
        finally:
            self.path = around

    def _inside_wrapper(self, wrapper: Any, arguments: Any) -> tuple[LiveGraph | None, str]:
        layer = _wrapped(wrapper)
        if function_of(layer) is None and not self.is_composite(layer):
            return None, ""
        if not self.follows or type(wrapper).__name__ != "TimeDistributed":
            return self.inside(layer, arguments, {})
        several = self.flat(arguments)
        steps = {id(one): self._without_time(one) for one in several}
        inner, reason = self.inside(layer, self.filled(arguments, steps), {})
        if inner is None:
            return None, reason
        back = {id(steps[id(one)]): one for one in several}
        given = tuple(back.get(id(one), one) for one in inner.given)
        return attrs.evolve(inner, given=given), reason

    def _given(self, function: Any, arguments: Any, keywords: Any) -> list[Tensor]:
        """Return the tensors that a layer is called with; those of a model in its own order."""
        if function is None:
            return self.flat((arguments, keywords))
        value = arguments[0] if len(arguments) == 1 else arguments or keywords
        if isinstance(value, Mapping):
            names = [str(one.name) for one in function.inputs]
            if all(name in value for name in names):
                value = [value[name] for name in names]
        return self.flat(value)

    def _without_time(self, tensor: Tensor) -> Tensor:
        """Return a tensor whose steps are in the batch, as TimeDistributed looks at them."""
        batch, steps, *rest = tensor.shape
        return self.tensor((batch * steps, *rest), tensor.dtype)

    # -- calls

    def subclassed(self, model: Any, shapes: Any) -> LiveGraph:
        """Return what a model calls whose layers are connected in Python alone."""
        known = shapes_when_built(model) if shapes is None else shapes
        if known is None:
            raise UnsupportedModelError(
                f"The model {model.name!r} of class {type(model).__name__!r} is connected in "
                "Python code alone and has not been built, so that the shape of its input is not "
                "known. Pass input_res=(1, height, width, channels) with its sizes."
            )
        failure: _NotFollowedError | None = None
        for dtype in dict.fromkeys((model.input_dtype, "int32")):
            made = self._nest(known, dtype)
            arguments, keywords = ((), made) if _by_name(model, made) else ((made,), {})
            try:
                return self.traced(model, arguments, keywords)
            except _NotFollowedError as error:
                failure = failure or error
        raise UnsupportedModelError(
            f"The call of the model {model.name!r} of class {type(model).__name__!r} cannot be "
            f"followed on symbolic tensors of shape {known!r} ({failure}). Code of "
            "keras.ops and keras.layers can be followed, code of a backend's own cannot."
        ) from failure

    def _nest(self, shapes: Any, dtype: Any) -> Any:
        if isinstance(shapes, Mapping):
            return {key: self._nest(one, dtype) for key, one in shapes.items()}
        if all(one is None or isinstance(one, int) for one in shapes):
            return self.tensor(shapes, dtype)
        return [self._nest(one, dtype) for one in shapes]

    def traced(self, operation: Any, arguments: Any, keywords: Any) -> LiveGraph:
        """Return what a layer calls, by calling it on symbolic tensors."""
        given = {id(one): one for one in self.flat((arguments, keywords))}
        fresh = {
            key: self.keras.KerasTensor(tuple(one.shape), one.dtype) for key, one in given.items()
        }
        arguments, keywords = self.filled((arguments, dict(keywords)), fresh)
        if getattr(operation, "_call_has_training_arg", False):
            keywords["training"] = False
        outputs, held = self._called(operation, arguments, keywords)
        steps = []
        for node, name in _named(self._behind(outputs, fresh.values(), held)):
            inner, reason, _ = self.insides.get(id(node.outputs[0]), (None, "", None))
            back = {id(one): one for one in node.arguments.keras_tensors}
            steps.append(_step(node, name, inner, reason, back))
        return LiveGraph(
            tuple(fresh.values()),
            tuple(given.values()),
            tuple(steps),
            outputs,
            held,
            function=False,
        )

    def _called(self, layer: Any, arguments: Any, keywords: Any) -> tuple[Any, dict[int, Any]]:
        """Call a layer; return what it returns, and the weights that tensors stood for.

        Raises:
            _NotFollowedError: if its code does not work on symbolic tensors.
        """
        # Code of somebody else may raise anything.
        try:
            if not getattr(layer, "built", True):
                layer(*arguments, **keywords)  # it and its layers make their weights, unfilled
            try:
                with self._weights_as_tensors(layer) as held:
                    return layer.call(*arguments, **keywords), held
            except Exception:  # noqa: BLE001 it may need its weights as they are
                return layer.call(*arguments, **keywords), {}
        except Exception as error:
            raise _NotFollowedError(_in_short(error)) from error

    @contextlib.contextmanager
    def _weights_as_tensors(self, operation: Any) -> Iterator[dict[int, Any]]:
        """Let symbolic tensors stand for a layer's own weights, so that any sum shows them."""
        values = vars(operation)
        before, held = dict(values), {}
        for name, value in before.items():
            if isinstance(value, self.keras.Variable):
                stand_in = self.keras.KerasTensor(tuple(value.shape), value.dtype)
                held[id(stand_in)] = value, stand_in
                values[name] = stand_in
        try:
            yield held
        finally:
            values.update({name: before[name] for name in before})

    def _behind(self, outputs: Any, inputs: Iterable[Tensor], held: Mapping[int, Any]) -> list[Any]:
        """Return the calls that lead from the inputs to the outputs, in order."""
        ends = {id(one) for one in inputs} | set(held)
        done: set[int] = set()
        found: list[Any] = []
        waiting = [(one, False) for one in reversed(self.flat(outputs))]
        while waiting:
            tensor, ready = waiting.pop()
            node = None if id(tensor) in ends else _node_of(tensor)
            if node is None or id(node) in done:
                continue
            if ready:
                done.add(id(node))
                found.append(node)
                continue
            waiting.append((tensor, True))
            waiting += [(one, False) for one in reversed(node.arguments.keras_tensors)]
        return found


def _step(
    node: Any, name: str, inner: LiveGraph | None, reason: str, back: Mapping[int, Tensor]
) -> Step:
    """Return a call; ``back`` are the tensors that it reads, by the id that they had inside."""

    def known(tensor: Tensor) -> Tensor:
        while id(tensor) not in back:  # it was cast on its way
            before = _node_of(tensor)
            if before is None or len(before.arguments.keras_tensors) != 1:
                return tensor
            (tensor,) = before.arguments.keras_tensors
        return back[id(tensor)]

    given = () if inner is None else tuple(map(known, inner.given))
    keywords = {key: one for key, one in node.arguments.kwargs.items() if one is not None}
    arguments, outputs = tuple(node.arguments.args), tuple(node.outputs)
    return Step(node.operation, name, arguments, keywords, outputs, given, inner, reason)


def _packed(layer: Any, kind: Any, opener: _Opener, *arguments: Any, **keywords: Any) -> Any:
    """Call a layer; return what its own code returns, also where that is not only tensors."""
    made = kind.__call__(layer, *arguments, **keywords)
    first = next(iter(opener.flat(made)), None)
    return made if first is None else opener.packed.get(id(first), made)


def is_array(value: Any) -> bool:
    """Return whether this is an array of some library, a weight, or a symbolic tensor."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _node_of(tensor: Tensor) -> Any:
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def _in_order(function: Any) -> list[tuple[Any, Any]]:
    """Return the calls of a functional model, each behind those that it depends on.

    The order is that of the layers in the model as far as that allows, the one of its JSON.
    """
    own = {id(node) for nodes in function._nodes_by_depth.values() for node in nodes}
    calls = [
        (operation, node)
        for operation in function.operations
        for node in operation._inbound_nodes
        if id(node) in own
    ]
    makers = {id(tensor): at for at, (_, node) in enumerate(calls) for tensor in node.outputs}
    needs = [
        {makers[id(one)] for one in node.arguments.keras_tensors if id(one) in makers}
        for _, node in calls
    ]
    makes = [[at] for at in range(len(calls))]
    return [calls[at] for at in in_order(makes, needs)]


def _named(nodes: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Yield calls with names that do not depend on what was made before them.

    Layers keep their own names; operations are made anew at every call, and are numbered.
    """
    names: dict[int, str] = {}
    taken: Counter[str] = Counter()
    for node in nodes:
        operation = node.operation
        if id(operation) not in names:
            name = str(operation.name)
            if not hasattr(operation, "weights"):
                name = name.rstrip("0123456789").rstrip("_") or name
            taken[name] += 1
            names[id(operation)] = name if taken[name] == 1 else f"{name}_{taken[name] - 1}"
        yield node, names[id(operation)]


def shapes_when_built(model: Any) -> Any:
    """Return the shapes that a model was built with; None if it was not, or does not tell."""
    known = dict(getattr(model, "_build_shapes_dict", None) or {})
    if not known:
        return None
    if len(known) == 1:
        (shape,) = known.values()
        return shape
    return {key.removesuffix("_shape"): one for key, one in known.items()}


def _by_name(model: Any, made: Any) -> bool:
    """Return whether a model takes a dict of inputs as keyword arguments."""
    return isinstance(made, Mapping) and set(made) <= set(
        getattr(model, "call_signature_parameters", ())
    )


def _in_short(error: Exception) -> str:
    """Return the message of an error in a line, without the colours that Keras gives it."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return f"{type(error).__name__}: {text[:160]}{'...' if len(text) > 160 else ''}"


# --- leaving the model as it is ----------------------------------------------------------------


@contextlib.contextmanager
def _unchanged(model: Any) -> Iterator[list[Any]]:
    """Yield all layers of a model; put back whatever is changed in them, new weights included."""
    layers: dict[int, Any] = {}
    waiting = [model]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in layers:
            layers[id(layer)] = layer
            waiting += layer._flatten_layers(include_self=False, recursive=False)
            waiting += [
                one
                for one in getattr(function_of(layer), "operations", ())
                if hasattr(one, "_flatten_layers")
            ]
    trackers = [one._tracker for one in layers.values() if hasattr(one, "_tracker")]
    kinds = [(one, type(one)) for one in layers.values()]
    states = [(one, dict(vars(one))) for one in (*layers.values(), *trackers)]
    contents = [(one, _content(one)) for _, state in states for one in _containers(state)]
    try:
        yield list(layers.values())
    finally:
        for layer, kind in kinds:
            if type(layer) is not kind:
                layer.__class__ = kind
        for layer, state in states:
            values = vars(layer)
            for name in values.keys() - state.keys():
                del values[name]
            values.update(state)
        for value, content in contents:
            _put_back(value, content)


def _containers(state: Mapping[str, Any]) -> Iterator[Any]:
    """Yield what may be lists, dicts and sets in the attributes of a layer."""
    for value in state.values():
        yield value
        if isinstance(value, dict):
            yield from value.values()


def _content(value: Any) -> Any:
    for kind in (list, dict, set):
        if kind in type(value).__mro__:
            return kind(value)
    return None


def _put_back(value: Any, content: Any) -> None:
    """Put the content of a container back, past what Keras does where one is changed."""
    if isinstance(content, list):
        list.__setitem__(value, slice(None), content)
    elif isinstance(content, dict):
        dict.clear(value)
        dict.update(value, content)
    elif isinstance(content, set):
        set.clear(value)
        set.update(value, content)
