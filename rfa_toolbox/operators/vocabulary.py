"""The names of operators and of their arguments: the contract of every lowering.

An operator has the one name that PyTorch's documentation gives it, whatever its format calls it.
Its arguments have the names below, in the order of their positions, and the meaning that they have
there. Operators whose arguments do not matter are not listed; all names that are known are in
:data:`rfa_toolbox.operators.rules.RULES`.
"""

from __future__ import annotations

__all__ = ["ARGUMENTS"]

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

ARGUMENTS: dict[str, tuple[str, ...]] = {
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
    "affine_grid": ("input", "size"),
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
    ARGUMENTS[f"conv{_rank}d"] = _CONV
    ARGUMENTS[f"conv_transpose{_rank}d"] = _TRANSPOSED
    ARGUMENTS[f"max_pool{_rank}d"] = _POOL
    ARGUMENTS[f"avg_pool{_rank}d"] = _AVERAGE
    ARGUMENTS[f"lp_pool{_rank}d"] = ("input", "norm_type", "kernel_size", "stride", "ceil_mode")
    ARGUMENTS[f"fractional_max_pool{_rank}d"] = (
        "input",
        "kernel_size",
        "output_size",
        "output_ratio",
    )
    ARGUMENTS[f"max_unpool{_rank}d"] = ARGUMENTS["max_unpool2d"]
    ARGUMENTS[f"adaptive_avg_pool{_rank}d"] = ("input", "output_size")
    ARGUMENTS[f"adaptive_max_pool{_rank}d"] = ("input", "output_size", "return_indices")
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
    ARGUMENTS[_name] = _REDUCE
ARGUMENTS["gru"] = ARGUMENTS["rnn_tanh"] = ARGUMENTS["rnn_relu"] = ARGUMENTS["lstm"]
