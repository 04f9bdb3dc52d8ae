"""From the names of PyTorch to those of the vocabulary.

PyTorch spells one operator in many ways: ``x + y``, ``x.add_(y)``, ``torch.add(x, y)`` and
``aten::add`` are all called "add" here. Arguments without a name in the vocabulary are kept under
their position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rfa_toolbox.operators.vocabulary import ARGUMENTS

__all__ = ["bind", "canonical_name"]

_ALIASES = {
    "_convolution": "convolution",
    "and": "logical_and",
    "or": "logical_or",
    "xor": "logical_xor",
    "truediv": "div",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "invert": "bitwise_not",
    "rsub": "sub",
    "rdiv": "div",
    "negative": "neg",
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
    "upsample": "interpolate",
    "upsample_nearest": "interpolate",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "special_softmax": "softmax",
    "grid_sampler": "grid_sample",
    "greater": "gt",
    "less": "lt",
    "clip": "clamp",
    "fix": "trunc",
    "norm_except_dim": "weight_norm",
    "_threshold": "threshold",
    # As programs have them that were taken apart into the operators of a compiler.
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
    "_fused_rms_norm": "rms_norm",
    "_log_softmax": "log_softmax",
    "_native_batch_norm_legit": "batch_norm",
    "_native_batch_norm_legit_functional": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "_reshape_alias": "reshape",
    "_safe_softmax": "softmax",
    "_softmax": "softmax",
    "_to_copy": "to",
    "_unsafe_index": "index",
    "_unsafe_view": "view",
    "grid_sampler_2d": "grid_sample",
    "grid_sampler_3d": "grid_sample",
    "native_batch_norm": "batch_norm",
}

_VARIADIC = {
    "permute": "dims",
    "repeat": "repeats",
    "tile": "repeats",
    "flip": "dims",
    "einsum": "operands",
}


def canonical_name(name: str) -> str:
    """Return the one name of an operator, whatever spelling was used.

    Those of other libraries keep the name of their library: "acme::relu" need be no ReLU.

    >>> canonical_name("__iadd__"), canonical_name("relu_"), canonical_name("aten::_convolution")
    ('add', 'relu', 'convolution')
    >>> canonical_name("acme::relu")
    'acme::relu'
    """
    library, _, bare = name.rpartition("::")
    if library and library not in _LIBRARIES:
        return name
    name = bare
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        known = name[1:]
        if name[0] in "ir" and known in _DUNDER_ROOTS:
            name = known
    elif name.endswith("_"):
        name = name.rstrip("_")
    name = name.removesuffix("_with_indices")
    return _ALIASES.get(name, name)


_LIBRARIES = {
    *("aten", "prim", "prims", "torch", "torchvision", "mkldnn", "mkldnn_prepacked", "onednn"),
    *("quantized", "_quantized", "quantized_decomposed", "sparse", "prepacked", "fb", "xnnpack"),
}
"""What operators of PyTorch and torchvision stand in front of theirs."""

_DUNDER_ROOTS = {
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"),
    *("lshift", "rshift", "div"),
}


def bind(
    name: str, values: Sequence[Any], keywords: Mapping[str, Any], own: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the arguments of a call by name; ``own`` are those that an unknown operator tells.

    >>> bind("transpose", ("x", 1), {"dim1": 2})
    {'input': 'x', 'dim0': 1, 'dim1': 2}
    """
    if "::" in name:
        return {**dict(zip(own, values, strict=False)), **keywords}
    names = ARGUMENTS.get(name, ())
    rest = _VARIADIC.get(name)
    if rest is not None and len(values) >= len(names):
        place = len(names) - 1
        last = values[place:]
        single = len(last) == 1 and isinstance(last[0], tuple | list)
        values = (*values[:place], last[0] if single else tuple(last))
    bound: dict[str, Any] = dict(zip(names, values, strict=False))
    for place in range(len(names), len(values)):
        bound[str(place)] = values[place]
    for key, value in keywords.items():
        bound[_KEYWORDS.get(key, key)] = value
    return bound


_KEYWORDS = {
    "axis": "dim",
    "self": "input",
    "x": "input",
    "upscale_factor": "factor",
    "downscale_factor": "factor",
    "split_size": "sizes",
    "split_size_or_sections": "sizes",
    "indices_or_sections": "sizes",
    "ord": "p",
    "end": "stop",
}
