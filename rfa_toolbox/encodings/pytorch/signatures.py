"""Names of operators, and the names of their positional arguments.

PyTorch spells one operator in many ways: ``x + y``, ``x.add_(y)``, ``torch.add(x, y)`` and
``aten::add`` are all called "add" here. Operators whose arguments do not matter have no
signature; their arguments are kept under their position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
}

_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_AVERAGE = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input",
    "weight",
    "bias",
    "stride",
    "padding",
    "output_padding",
    "groups",
    "dilation",
)
_REDUCE = ("input", "dim", "keepdim")
_LAYER_NORM = ("input", "normalized_shape")

_SIGNATURES: dict[str, tuple[str, ...]] = {
    "convolution": (
        "input",
        "weight",
        "bias",
        "stride",
        "padding",
        "dilation",
        "transposed",
        "output_padding",
        "groups",
    ),
    "_convolution_mode": _CONV,
    "interpolate": (
        "input",
        "size",
        "scale_factor",
        "mode",
        "align_corners",
        "recompute_scale_factor",
        "antialias",
    ),
    "pixel_shuffle": ("input", "factor"),
    "pixel_unshuffle": ("input", "factor"),
    "channel_shuffle": ("input", "groups"),
    "im2col": ("input", "kernel_size", "dilation", "padding", "stride"),
    "col2im": ("input", "output_size", "kernel_size", "dilation", "padding", "stride"),
    "unfold": ("input", "dim", "size", "step"),
    "flatten": ("input", "start_dim", "end_dim"),
    "unflatten": ("input", "dim", "sizes"),
    "permute": ("input", "dims"),
    "transpose": ("input", "dim0", "dim1"),
    "movedim": ("input", "source", "destination"),
    "unsqueeze": ("input", "dim"),
    "squeeze": ("input", "dim"),
    "cat": ("tensors", "dim"),
    "stack": ("tensors", "dim"),
    "hstack": ("tensors",),
    "vstack": ("tensors",),
    "dstack": ("tensors",),
    "split": ("input", "sizes", "dim"),
    "split_with_sizes": ("input", "sizes", "dim"),
    "tensor_split": ("input", "sizes", "dim"),
    "chunk": ("input", "chunks", "dim"),
    "unbind": ("input", "dim"),
    "narrow": ("input", "dim", "start", "length"),
    "select": ("input", "dim", "index"),
    "slice": ("input", "dim", "start", "stop", "step"),
    "getitem": ("input", "index"),
    "setitem": ("input", "index", "value"),
    "index": ("input", "index"),
    "index_select": ("input", "dim", "index"),
    "gather": ("input", "dim", "index"),
    "take_along_dim": ("input", "index", "dim"),
    "masked_select": ("input", "mask"),
    "roll": ("input", "shifts", "dims"),
    "flip": ("input", "dims"),
    "pad": ("input", "pad", "mode", "value"),
    "constant_pad_nd": ("input", "pad", "value"),
    "repeat": ("input", "repeats"),
    "tile": ("input", "repeats"),
    "repeat_interleave": ("input", "repeats", "dim"),
    "cumsum": ("input", "dim"),
    "cumprod": ("input", "dim"),
    "logcumsumexp": ("input", "dim"),
    "sort": ("input", "dim"),
    "argsort": ("input", "dim"),
    "topk": ("input", "k", "dim"),
    "kthvalue": ("input", "k", "dim"),
    "softmax": ("input", "dim"),
    "log_softmax": ("input", "dim"),
    "softmin": ("input", "dim"),
    "linear": ("input", "weight", "bias"),
    "matmul": ("input", "other"),
    "mm": ("input", "other"),
    "bmm": ("input", "other"),
    "mv": ("input", "other"),
    "dot": ("input", "other"),
    "addmm": ("bias", "input", "other"),
    "baddbmm": ("bias", "input", "other"),
    "einsum": ("equation", "operands"),
    "tensordot": ("input", "other", "dims"),
    "scaled_dot_product_attention": ("query", "key", "value", "attn_mask"),
    "multi_head_attention_forward": (
        "query",
        "key",
        "value",
        "embed_dim",
        "num_heads",
        "in_proj_weight",
        "in_proj_bias",
        "bias_k",
        "bias_v",
        "add_zero_attn",
    ),
    "embedding": ("input", "weight"),
    "grid_sample": ("input", "grid", "mode"),
    "deform_conv2d": ("input", "weight", "offset", "mask", "bias"),
    "norm": ("input", "p", "dim", "keepdim"),
    "linalg_vector_norm": ("input", "p", "dim", "keepdim"),
    "linalg_norm": ("input", "p", "dim", "keepdim"),
    "vector_norm": ("input", "p", "dim", "keepdim"),
    "quantile": ("input", "q", "dim", "keepdim"),
    "cosine_similarity": ("input", "other", "dim"),
    "diff": ("input", "n", "dim"),
    "scatter": ("input", "dim", "index", "src"),
    "group_norm": ("input", "num_groups"),
    "layer_norm": _LAYER_NORM,
    "native_layer_norm": _LAYER_NORM,
    "rms_norm": _LAYER_NORM,
    "batch_norm": ("input", "running_mean", "running_var"),
    "instance_norm": ("input", "running_mean", "running_var"),
    "normalize": ("input", "p", "dim"),
    "stft": ("input", "n_fft", "hop_length", "win_length", "window", "center"),
    "lstm": (
        "input",
        "hx",
        "params",
        "has_biases",
        "num_layers",
        "dropout",
        "train",
        "bidirectional",
        "batch_first",
    ),
    "max_unpool2d": ("input", "indices", "kernel_size", "stride", "padding"),
    "where": ("condition", "input", "other"),
    "to": ("input", "other"),
    "type_as": ("input", "other"),
    "expand_as": ("input", "other"),
    "view_as": ("input", "other"),
    "reshape_as": ("input", "other"),
    "fft": ("input", "n", "dim"),
}
for _rank in "123":
    _SIGNATURES[f"conv{_rank}d"] = _CONV
    _SIGNATURES[f"conv_transpose{_rank}d"] = _TRANSPOSED
    _SIGNATURES[f"max_pool{_rank}d"] = _POOL
    _SIGNATURES[f"avg_pool{_rank}d"] = _AVERAGE
    _SIGNATURES[f"lp_pool{_rank}d"] = ("input", "norm_type", "kernel_size", "stride", "ceil_mode")
    _SIGNATURES[f"fractional_max_pool{_rank}d"] = (
        "input",
        "kernel_size",
        "output_size",
        "output_ratio",
    )
    _SIGNATURES[f"max_unpool{_rank}d"] = _SIGNATURES["max_unpool2d"]
    _SIGNATURES[f"adaptive_avg_pool{_rank}d"] = ("input", "output_size")
    _SIGNATURES[f"adaptive_max_pool{_rank}d"] = ("input", "output_size", "return_indices")
for _name in (
    "mean",
    "sum",
    "amax",
    "amin",
    "prod",
    "var",
    "std",
    "var_mean",
    "std_mean",
    "logsumexp",
    "median",
    "nanmedian",
    "nanmean",
    "nansum",
    "argmax",
    "argmin",
    "any",
    "all",
    "max",
    "min",
    "aminmax",
    "mode",
    "count_nonzero",
    "cummax",
    "cummin",
):
    _SIGNATURES[_name] = _REDUCE
_SIGNATURES["gru"] = _SIGNATURES["rnn_tanh"] = _SIGNATURES["rnn_relu"] = _SIGNATURES["lstm"]

_VARIADIC = {
    "permute": "dims",
    "repeat": "repeats",
    "tile": "repeats",
    "flip": "dims",
    "einsum": "operands",
}


def canonical_name(name: str) -> str:
    """Return the one name of an operator, whatever spelling was used.

    >>> canonical_name("__iadd__"), canonical_name("relu_"), canonical_name("aten::_convolution")
    ('add', 'relu', 'convolution')
    """
    name = name.rpartition("::")[2]
    if name.startswith("__") and name.endswith("__"):
        name = name[2:-2]
        known = name[1:]
        if name[0] in "ir" and known in _DUNDER_ROOTS:
            name = known
    elif name.endswith("_"):
        name = name.rstrip("_")
    name = name.removesuffix("_with_indices")
    return _ALIASES.get(name, name)


_DUNDER_ROOTS = {
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
    "div",
}


def bind(name: str, values: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name.

    >>> bind("transpose", ("x", 1), {"dim1": 2})
    {'input': 'x', 'dim0': 1, 'dim1': 2}
    """
    names = _SIGNATURES.get(name, ())
    rest = _VARIADIC.get(name)
    bound: dict[str, Any] = {}
    if rest is not None and len(values) >= len(names):
        place = len(names) - 1
        last = values[place:]
        single = len(last) == 1 and isinstance(last[0], tuple | list)
        values = (*values[:place], last[0] if single else tuple(last))
    for place, value in enumerate(values):
        bound[names[place] if place < len(names) else str(place)] = value
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
