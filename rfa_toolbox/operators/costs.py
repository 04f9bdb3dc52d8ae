"""What operations cost: their parameters, and the multiply-accumulates of dense products.

Convolutions, matrix products, attention and recurrent layers count, one for every product of two
numbers; biases, norms, activations, pooling and other arithmetic count nothing. That is the
convention of published tables (He et al., "Deep Residual Learning for Image Recognition", 2016,
table 1; Tan and Le, "EfficientNet", 2019, table 2), and of ``torch.utils.flop_counter``, which
counts every product twice. What does not depend on the input is not counted either, as it could be
computed once: a weight that is standardised, a position embedding that is resized.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from rfa_toolbox.graphs import Measures
from rfa_toolbox.operators.record import Operation, TensorRef
from rfa_toolbox.operators.rules import RULES
from rfa_toolbox.operators.rules.mixing import einsum_terms
from rfa_toolbox.operators.trail import Trail
from rfa_toolbox.operators.windows import Products, grown

__all__ = ["Costs", "products"]

Depends: TypeAlias = "Callable[[Any], bool]"

_FOLDERS = re.compile(r"\S*[\\/](?=[^\\/\s]+:\d)")
"""Of a line of code, as in ``/home/me/model.py:11``: graphs are handed on to other machines."""


class Costs:
    """The measures of groups of steps; every parameter counts once, where it is used first.

    Args:
        trail: what followed the record.
        living: the numbers of the steps that are in the graph.
    """

    def __init__(self, trail: Trail, living: Iterable[int]) -> None:
        self._trail = trail
        images = [step for step in trail.steps[: len(trail.record.inputs)] if step.positions]
        self._stopped = _FOLDERS.sub("", trail.record.stopped)
        self._encoded = images[0].feature_map if images else (1,) * trail.axes
        self._parameters: dict[int, int | None] = {}
        counted: set[str] = set()
        for number in sorted(living):
            used = {name for one, _ in trail.ran.get(number, ()) for name in one.parameters}
            used -= counted
            self._parameters[number] = _total([trail.record.parameters[one] for one in used])
            counted |= used

    def of(self, numbers: Sequence[int]) -> Measures:
        """Return the measures of a node that stands for these steps, in order of execution."""
        return _measures(
            self._encoded,
            self._trail.steps[numbers[-1]].feature_map,
            _total([self._parameters[number] for number in numbers]),
            self._work(numbers),
            self._stopped,
        )

    def _is_open(self, number: int) -> bool:
        """Whether a size that a step depends on is left open by the model."""
        steps = self._trail.steps
        read = (number, *steps[number].sources)
        return bool(self._trail.record.open) and None in [steps[one].feature_map for one in read]

    def _work(self, numbers: Sequence[int]) -> tuple[tuple[int, tuple[int, ...]], ...] | None:
        work: dict[tuple[int, ...], int] = {}
        for number in numbers:
            for operation, layout in self._trail.ran.get(number, ()):
                found = products(operation, self._trail.depends)
                if found is None:
                    return None
                if not any(found):
                    continue
                if self._is_open(number):
                    return None
                step = self._trail.steps[number]
                for growth, count in grown(found, layout, step.windows, step.paired):
                    work[growth] = work.get(growth, 0) + count
        return tuple([(count, growth) for growth, count in sorted(work.items())])


_measures = functools.lru_cache(maxsize=4096)(Measures)
"""For what most layers have in common that compute no products on maps of one size."""


def _total(counts: Sequence[int | None]) -> int | None:
    """Return a sum, None where a part of it is not known."""
    return None if None in counts else sum(counts)  # type: ignore[arg-type]


# --- products of operators -------------------------------------------------------------------


def products(operation: Operation, depends: Depends) -> Products | None:
    """Return the multiply-accumulates of an operation from its shapes; None if nothing knows it.

    ``depends`` says whether an argument is a tensor that depends on the input.

    >>> shapes = {"input": (1, 3, 9, 9), "weight": (8, 3, 3, 3)}
    >>> read = {name: TensorRef(0, shape) for name, shape in shapes.items()}
    >>> conv = Operation("conv2d", read, (TensorRef(1, (1, 8, 7, 7)),), ())
    >>> products(conv, lambda tensor: True)
    Products(held=10584, mutual=0)
    """
    if operation.arguments.get("unknown_cost"):
        return None
    told = operation.arguments.get("products")
    if told is not None:
        return Products(*told)
    if operation.name not in _PRODUCTS:
        return _NONE if operation.name in RULES else None
    rule, names = _PRODUCTS[operation.name]
    tensors = [operation.arguments.get(name) for name in names.split()]
    if not all(isinstance(one, TensorRef) for one in tensors):
        return None
    return rule(operation, depends, *tensors)


_NONE = Products()


def _convolution(operation: Operation, depends: Depends, weight: TensorRef) -> Products:
    """Every unit of the output reads the kernel over the channels of its group."""
    return Products(math.prod(operation.outputs[0].shape) * math.prod(weight.shape[1:]))


def _transposed(
    operation: Operation, depends: Depends, weight: TensorRef, read: TensorRef
) -> Products:
    """Every unit of the input writes the kernel into the channels of its group."""
    return Products(math.prod(read.shape) * math.prod(weight.shape[1:]))


def _linear(operation: Operation, depends: Depends, weight: TensorRef) -> Products:
    count = math.prod(operation.outputs[0].shape) * weight.shape[-1]
    both = depends(operation.arguments.get("input")) and depends(weight)
    return Products(0, count) if both else Products(count)


def _matmul(operation: Operation, depends: Depends, left: TensorRef, right: TensorRef) -> Products:
    count = math.prod(operation.outputs[0].shape) * left.shape[-1]
    return Products(0, count) if depends(left) and depends(right) else Products(count)


def _einsum(operation: Operation, depends: Depends) -> Products:
    """Several tensors are multiplied one after another, from the left."""
    terms, result = einsum_terms(operation)
    sizes = {
        letter: size
        for tensor, letters in terms
        for letter, size in zip(letters, tensor.shape, strict=False)
        if size > 1
    }
    count = 0
    mutual = False
    for place in range(1, len(terms)):
        later = {*result, *(letter for _, letters in terms[place + 1 :] for letter in letters)}
        before = {letter for _, letters in terms[:place] for letter in letters}
        last = set(terms[place][1])
        if place > 1:  # what nothing needs any more was summed up with the term before
            before &= {*later, *last}
        summed = (before & last) - later
        if summed:
            count += math.prod(sizes.get(letter, 1) for letter in before | last)
        mutual = sum(depends(tensor) for tensor, _ in terms) > 1
    return Products(0, count) if mutual else Products(count)


def _attention(operation: Operation, depends: Depends, *tensors: TensorRef) -> Products:
    query, key, value = (tensor.shape for tensor in tensors)
    return Products(0, math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1]))


def _multi_head_attention(operation: Operation, depends: Depends, *tensors: TensorRef) -> Products:
    """Projections of queries, keys, values and results, and the attention of all heads."""
    query, key, value = (tensor.shape for tensor in tensors)
    projections = (2 * math.prod(query) + math.prod(key) + math.prod(value)) * query[-1]
    bias = isinstance(operation.arguments.get("bias_k"), TensorRef)
    keys = key[0] + bias + bool(operation.get("add_zero_attn"))
    return Products(projections, 2 * math.prod(query) * keys)


def _recurrent(operation: Operation, depends: Depends, read: TensorRef) -> Products:
    """Every step of every sequence is multiplied with all the weight matrices once."""
    weights = [one.shape for one in operation.tensors if len(one.shape) == 2 and not depends(one)]
    return Products(math.prod(read.shape[:-1]) * sum(map(math.prod, weights)))


_PRODUCTS: dict[str, tuple[Callable[..., Products | None], str]] = {
    "linear": (_linear, "weight"),
    **dict.fromkeys(
        ["matmul", "mm", "bmm", "mv", "dot", "addmm", "baddbmm"], (_matmul, "input other")
    ),
    **dict.fromkeys(["lstm", "gru", "rnn_tanh", "rnn_relu"], (_recurrent, "input")),
    **dict.fromkeys(["conv1d", "conv2d", "conv3d", "deform_conv2d"], (_convolution, "weight")),
    **dict.fromkeys((f"conv_transpose{count}d" for count in "123"), (_transposed, "weight input")),
    "described": (lambda operation, depends: None, ""),
    "einsum": (_einsum, ""),
    "scaled_dot_product_attention": (_attention, "query key value"),
    "multi_head_attention_forward": (_multi_head_attention, "query key value"),
}
"""What computes the products of an operator, and the tensors that it needs to know."""
