"""The calls of an opened Keras model, made one by one on poisoned tensors."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rfa_toolbox.empirical.keras_poison import PoisonedLayers
from rfa_toolbox.empirical.results import call_name
from rfa_toolbox.encodings.tensorflow_keras.live import LiveGraph, Step, is_wrapper

__all__ = ["Walk"]

_MOVING = {"Reshape", "Permute"}
_COLUMNS = {"Fold", "Unfold"}
"""What holds the positions of two axes in one dimension, behind the channels."""


_SUMS, _PRODUCTS = {"Add", "Subtract"}, {"Multiply", "Matmul", "Einsum", "Conv", "ConvTranspose"}
_CHOICES = {"Where", "DotProductAttention", "Softmax"}
_WEIGHING = {*_SUMS, *_PRODUCTS, *_CHOICES}
"""Operations that a constant may tell not to look at some of what they read."""
_MASKED = 1e3
_MOSTLY = 0.1
"""What share of a constant is zero that is a mask, and no weights that were learned."""


def _leaves_out(kind: str, constant: npt.NDArray[Any]) -> bool:
    """Whether a constant makes an operation leave out some of what it reads."""
    if constant.dtype == np.bool_:
        return kind in {*_CHOICES, "Multiply"}
    if kind in _SUMS or kind == "DotProductAttention":
        return bool((np.abs(constant) > _MASKED).any())
    return kind in _PRODUCTS and bool((constant == 0).mean() > _MOSTLY)


class Walk:
    """Calls the layers of a model, and of the models and layers in it, and shows every result.

    Args:
        layers: calls them so that NaN goes where they look.
        look: gets the name of a call, what it made, the number of dimensions that it read where
            it reshapes, and the order of dimensions where they were permuted.
        weighing: names of the calls that bring a gate to its map.
    """

    def __init__(
        self, layers: PoisonedLayers, look: Callable[..., None], weighing: Collection[str]
    ) -> None:
        self.layers = layers
        self.look = look
        self.weighing = weighing
        self.masked: set[str] = set()
        """Calls that were given a mask."""
        self._calls: Counter[str] = Counter()
        self._constant: set[int] = set()
        """Symbolic tensors that depend on no input, by id; a graph has no node for them."""
        self._orders: dict[int, tuple[Any, tuple[int, ...]]] = {}
        """Of results with permuted dimensions: themselves, by id, and which dimensions they had."""

    def run(self, graph: LiveGraph, inputs: Sequence[Any]) -> None:
        """Run a whole model on its inputs, in their order."""
        for name, value in zip(graph.input_names, inputs, strict=True):
            self.look(self._name("", name), value)
        self._through(graph, dict(zip(map(id, graph.inputs), inputs, strict=True)), "")

    def _through(self, graph: LiveGraph, found: dict[int, Any], path: str) -> list[Any]:
        """Make all calls of a graph; return its outputs in order.

        Args:
            graph: what is called.
            found: what its inputs are, by the id of their symbolic tensors.
            path: the names of the models and layers around it.
        """
        keras = self.layers.keras
        for key, (variable, _) in graph.held.items():
            found[key] = keras.ops.convert_to_tensor(variable)
            self._constant.add(key)
        for step in graph.steps:
            if any(id(one) not in found for one in step.outputs):  # else it is an input
                found.update(zip(map(id, step.outputs), self._made(step, found, path), strict=True))
        return [found.get(id(one), one) for one in keras.tree.flatten(graph.outputs)]

    def _made(self, step: Step, found: Mapping[int, Any], path: str) -> list[Any]:
        """Return what a call makes of what was found so far."""
        tree = self.layers.keras.tree
        name = f"{path}/{step.name}" if path else step.name
        inner = step.inner
        if inner is not None and not inner.hands_on and not is_wrapper(step.operation):
            given = {
                id(own): found[id(one)] for own, one in zip(inner.inputs, step.given, strict=True)
            }
            self._constant |= {
                id(own)
                for own, one in zip(inner.inputs, step.given, strict=True)
                if id(one) in self._constant
            }
            return self._tensors(self._through(inner, given, name), step)
        symbolic = tree.flatten((step.arguments, dict(step.keywords)))
        args, keywords = tree.map_structure(
            lambda one: found.get(id(one), one), (step.arguments, dict(step.keywords))
        )
        weighs = call_name(name, self._calls[name] + 1) in self.weighing
        result = self.layers.call(step.operation, args, keywords, weighs)
        if any(id(one) in found and id(one) not in self._constant for one in symbolic):
            kind = type(step.operation).__name__
            constants = self._constants(symbolic, found) if kind in _WEIGHING else ()
            zeros = any(_leaves_out(kind, one) for one in constants)
            self._show(step.operation, name, args, keywords, result, zeros)
        else:
            self._constant |= set(map(id, step.outputs))
        return self._tensors(result, step)

    def _tensors(self, result: Any, step: Step) -> list[Any]:
        """Return the tensors in what a call returned, as many as it should make."""
        flat = [one for one in self.layers.keras.tree.flatten(result) if hasattr(one, "shape")]
        return list(itertools.islice(flat, len(step.outputs)))

    def _show(
        self, operation: Any, name: str, args: Any, keywords: Any, result: Any, zeros: bool
    ) -> None:
        kind = type(operation).__name__
        read = len(args[0].shape) if args and hasattr(args[0], "shape") else 0
        before = {**dict.fromkeys(_MOVING, read), **dict.fromkeys(_COLUMNS, read + 2)}.get(kind, 0)
        order = self._order(operation, args, result)
        name = self._name("", name)
        given = any(
            key.endswith("mask") and one is not None and one is not False
            for key, one in keywords.items()
        )
        if given or zeros:
            self.masked.add(name)
        self.look(name, result, before, order)

    def _constants(self, symbolic: Sequence[Any], found: Mapping[int, Any]) -> list[Any]:
        """Return the numbers of arguments that depend on no input."""
        return [
            np.asarray(
                self.layers.keras.ops.convert_to_numpy(self.layers.whole(found.get(id(one), one)))
            )
            for one in symbolic
            if len(getattr(one, "shape", ())) > 1
            and (id(one) not in found or id(one) in self._constant)
        ]

    def _name(self, path: str, name: str) -> str:
        self._calls[name] += 1
        return call_name(name, self._calls[name])

    def _order(self, operation: Any, args: Any, result: Any) -> tuple[int, ...] | None:
        """Return which dimension of the image every dimension of a result is, if permuted."""
        several = args[0] if args and isinstance(args[0], list | tuple) else args
        known = [self._orders[id(one)][1] for one in several if id(one) in self._orders]
        permuted = _permutation(operation, args)
        if not (known or permuted) or not hasattr(result, "shape"):
            return None
        order = known[0] if known else tuple(range(len(permuted or ())))
        if permuted is not None:
            order = tuple(order[one] for one in permuted)
        if type(operation).__name__ == "Matmul" and len(several) == 2:
            first, second = (
                self._orders[id(one)][1]
                if id(one) in self._orders
                else tuple(range(len(one.shape)))
                for one in several
            )
            if len(first) == len(second):  # rows of one, and columns of the other
                order = (*first[:-1], second[-1])
        regrouped = type(operation).__name__ == "Reshape" and result.shape != args[0].shape
        if len(order) != len(result.shape) or regrouped:
            return None
        self._orders[id(result)] = result, order
        return order


def _permutation(operation: Any, args: Any) -> tuple[int, ...] | None:
    """Return where every dimension of the result comes from; None if nothing is permuted."""
    kind = type(operation).__name__
    if kind == "Permute":
        return (0, *operation.dims)
    if kind not in ("Transpose", "Swapaxes", "Moveaxis", "Rot90"):
        return None
    numbered = np.empty(tuple(range(len(args[0].shape))))  # a dimension's size is its number
    if kind == "Transpose":
        return np.transpose(numbered, operation.axes).shape
    if kind == "Rot90":
        return np.rot90(numbered, operation.k, operation.axes).shape
    if kind == "Swapaxes":
        return np.swapaxes(numbered, operation.axis1, operation.axis2).shape
    return np.moveaxis(numbered, operation.source, operation.destination).shape
