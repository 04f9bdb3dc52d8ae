"""What each operator does to the positions of the image.

One rule per family of operators, in the modules of this package; the table of names is here. The
rules know no framework: they read shapes and arguments from the record.
"""

from __future__ import annotations

from collections.abc import Sequence

from rfa_toolbox.operators.effects import Rule, Slides
from rfa_toolbox.operators.record import Record
from rfa_toolbox.operators.rules import (
    assembling,
    elementwise,
    mixing,
    plumbing,
    windows,
)
from rfa_toolbox.operators.rules.inputs import Places, by_themselves
from rfa_toolbox.operators.states import with_states_apart
from rfa_toolbox.operators.trail import Trail

__all__ = ["RULES", "Places", "by_themselves", "follow", "spatial_dimensions"]


def follow(record: Record, spatial: Sequence[Places] | None = None) -> Trail:
    """Follow the positions of the input through every operation of a record.

    Args:
        record: what a reader returned.
        spatial: per input its spatial dimensions, in axis order. By default all but the batch and
            what the first convolution or pooling takes for channels.
    """
    spatial = spatial_dimensions(record) if spatial is None else spatial
    return Trail(with_states_apart(record), spatial, RULES).run()


def spatial_dimensions(record: Record) -> list[Places]:
    """Return per input its spatial dimensions: none where it is no image like the first one.

    The first input is the image, unless it can have no place in one that comes later. Inputs of
    another rank that never meet the image, as one beside a video, have axes of their own, the last
    ones; there is None for those that they lack.
    """
    return by_themselves(record, _of_images)


def _of_images(record: Record) -> list[Places]:
    ranks = [len(tensor.shape) for tensor in record.inputs]
    main = 0 if ranks[0] > 2 or max(ranks) == 2 else ranks.index(max(ranks))
    shape = record.inputs[main].shape
    every = tuple(range(1, len(shape)))  # until the first window tells which are none
    candidates = [every if place == main else () for place in range(len(ranks))]
    found = _without_channels(shape, Trail(record, candidates, RULES).first_slide())
    return [found if rank == len(shape) else () for rank in ranks]


def _without_channels(shape: Sequence[int], first: Slides | None) -> tuple[int, ...]:
    """Return the dimensions of an image that hold no channels, as its first window has it.

    Args:
        shape: that of the image; axis n of ``first`` is its dimension n + 1.
        first: over what that window slides; over nothing if it is a dense layer.
    """
    rank = len(shape)
    channels = [] if first is None else first.only_channels()
    slid = set() if first is None else first.slid()
    if channels:
        gray = shape[1] == 1 and 0 not in slid
        few = not slid and shape[1] <= _FEW < shape[channels[0] + 1]
        channel = 1 if gray or few else channels[0] + 1
        return tuple(place for place in range(1, rank) if place != channel)
    if slid:
        inside = rank > 3 and first is not None and 0 in first.among_others()
        return tuple(axis + 1 for axis in sorted(slid) if axis or not inside)
    return tuple(range(2 if rank > 2 else 1, rank))


_FEW = 4
"""Channels that an image may have, with transparency or infrared; a dense layer over a longer
dimension of such an image mixes positions."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_POINTWISE = _names(
    """
    abs acos acosh add addcdiv addcmul angle arctan asin asinh atan atan2 atanh bernoulli
    bitwise_and bitwise_not bitwise_or ceil celu clamp clamp_max clamp_min complex conj
    copysign cos cosh deg2rad digamma div elu eq erf erfc erfinv exp exp2 expit expm1
    float_power floor floor_divide fmod frac ge gelu gt hardshrink hardsigmoid hardswish
    hardtanh heaviside hypot isclose isfinite isinf isnan le leaky_relu lerp lgamma log
    log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor logit
    logsigmoid log_sigmoid lt masked_fill maximum minimum mish mul nan_to_num ne neg
    nextafter polar pow prelu rad2deg real reciprocal relu relu6 remainder round rrelu rsqrt
    selu sigmoid sign silu sin sinc sinh softplus softshrink softsign sqrt square sub swish
    tan tanh tanhshrink threshold tril triu trunc view_as_complex where xlogy imag
    bitwise_xor special_expit fake_quantize_per_tensor_affine quantize_per_tensor dequantize
    lshift rshift one_hot bucketize
    """
)

_NEUTRAL = _names(
    """
    alpha_dropout batch_norm dropout dropout1d dropout2d dropout3d feature_alpha_dropout
    feature_dropout group_norm instance_norm layer_norm local_response_norm
    native_batch_norm native_layer_norm normalize rms_norm sync_batch_norm gumbel_softmax
    channel_shuffle weight_norm native_dropout
    """
)

_COPIES = _names(
    """
    alias clone contiguous cpu cuda data detach double expand_copy float half bfloat16 int
    long bool requires_grad resolve_conj resolve_neg to type type_as positive byte cfloat
    as_subclass pin_memory view_copy view_as_real share_memory lift_fresh record_stream
    retain_grad char short as_tensor
    """
)

_RESHAPES = _names(
    """
    view reshape view_as reshape_as unflatten atleast_1d atleast_2d atleast_3d
    """
)

_REDUCTIONS = _names(
    """
    all amax amin aminmax any argmax argmin count_nonzero linalg_norm linalg_vector_norm
    logsumexp max mean median min mode nanmean nanmedian nansum norm prod quantile std
    std_mean sum var var_mean vector_norm kthvalue cosine_similarity
    """
)

_SCANS = _names(
    """
    argsort fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft
    fft_ifft fft_ifft2 fft_ifftn fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn
    fft_rfft fft_rfft2 fft_rfftn msort sort topk unique
    """
)

_CUMULATIVE = _names("cumprod cumsum cummax cummin logcumsumexp")

_CONSTANTS = _names(
    """
    empty_like fill full_like zero ones_like zeros_like rand_like randn_like randint_like new_empty
    new_full new_ones new_tensor new_zeros new_empty_strided size numel dim shape stride
    is_floating_point
    """
)

_SAMPLED = _names(
    """
    as_strided cdist deform_conv2d grid_sample index_add index_copy index_reduce kron
    scatter scatter_add scatter_reduce roi_align roi_pool ps_roi_align ps_roi_pool
    """
)

_LOSSES = _names(
    """
    binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy
    cross_entropy_loss gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss
    margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
    multilabel_soft_margin_loss nll_loss nll_loss_nd nll_loss2d poisson_nll_loss smooth_l1_loss
    soft_margin_loss triplet_margin_loss
    """
)

_MATRICES = _names(
    """
    cholesky det inverse linalg_cholesky linalg_det linalg_eig linalg_eigh linalg_eigvals
    linalg_eigvalsh linalg_inv linalg_inv_ex linalg_lstsq linalg_matrix_exp linalg_matrix_power
    linalg_pinv linalg_qr linalg_slogdet linalg_solve linalg_solve_ex linalg_svd linalg_svdvals
    logdet matrix_exp matrix_power pinverse qr slogdet svd
    """
)

RULES: dict[str, Rule] = {
    "addmm": mixing.matmul,
    "affine_grid": mixing.affine_grid,
    "attention": mixing.attention_over,
    "baddbmm": mixing.matmul,
    "bmm": mixing.matmul,
    "broadcast_to": plumbing.expand,
    "cat": assembling.cat,
    "chunk": plumbing.split,
    "col2im": windows.col2im,
    "conv_lstm": windows.conv_lstm,
    "convolution": windows.convolution,
    "_convolution_mode": windows.convolution,
    "described": windows.described,
    "diff": windows.diff,
    "dot": mixing.matmul,
    "dsplit": plumbing.split,
    "dstack": assembling.cat,
    "einsum": mixing.einsum,
    "embedding": elementwise.embedding,
    "expand": plumbing.expand,
    "expand_as": plumbing.expand,
    "flatten": mixing.flatten,
    "flip": plumbing.flip,
    "fliplr": plumbing.flip,
    "flipud": plumbing.flip,
    "gather": plumbing.pick,
    "getitem": plumbing.getitem,
    "glu": elementwise.glu,
    "gru": mixing.recurrent,
    "gru_cell": mixing.cell,
    "H": plumbing.reverse_dimensions,
    "hsplit": plumbing.split,
    "hstack": assembling.cat,
    "im2col": windows.im2col,
    "index": plumbing.getitem,
    "index_select": plumbing.pick,
    "interpolate": windows.interpolate,
    "istft": windows.istft,
    "linear": mixing.linear,
    "local_attention": windows.local_attention,
    "log_softmax": mixing.softmax,
    "lstm": mixing.recurrent,
    "lstm_cell": mixing.cell,
    "matmul": mixing.matmul,
    "mH": plumbing.transpose,
    "mm": mixing.matmul,
    "movedim": plumbing.movedim,
    "mT": plumbing.transpose,
    "multi_head_attention_forward": mixing.multi_head_attention,
    "mv": mixing.matmul,
    "narrow": plumbing.narrow,
    "pad": plumbing.pad,
    "constant_pad_nd": plumbing.pad,
    "permute": plumbing.permute,
    "pixel_shuffle": windows.pixel_shuffle,
    "pixel_unshuffle": windows.pixel_unshuffle,
    "recurrent": mixing.recurrent,
    "repeat": plumbing.repeat,
    "repeat_interleave": plumbing.repeat,
    "rnn_relu": mixing.recurrent,
    "rnn_relu_cell": mixing.cell,
    "rnn_tanh": mixing.recurrent,
    "rnn_tanh_cell": mixing.cell,
    "roll": plumbing.roll,
    "scaled_dot_product_attention": mixing.attention,
    "select": plumbing.select,
    "select_last": plumbing.select_last,
    "setitem": assembling.setitem,
    "slice": plumbing.slice_,
    "softmax": mixing.softmax,
    "softmin": mixing.softmax,
    "split": plumbing.split,
    "split_with_sizes": plumbing.split,
    "squeeze": plumbing.squeeze,
    "stack": assembling.stack,
    "stft": windows.stft,
    "swapdims": plumbing.transpose,
    "t": plumbing.transpose,
    "T": plumbing.reverse_dimensions,
    "take_along_dim": plumbing.pick,
    "tensor_split": plumbing.split,
    "tensordot": mixing.tensordot,
    "tile": plumbing.repeat,
    "transpose": plumbing.transpose,
    "unbind": plumbing.unbind,
    "unfold": windows.unfold,
    "unsqueeze": plumbing.unsqueeze,
    "vsplit": plumbing.split,
    "vstack": assembling.cat,
    "windowed": windows.windowed,
}
for _count in "123":
    RULES[f"conv{_count}d"] = RULES[f"conv_transpose{_count}d"] = windows.convolution
    for _kind in ("max", "avg", "lp"):
        RULES[f"{_kind}_pool{_count}d"] = windows.pool
    for _kind in ("max", "avg"):
        RULES[f"adaptive_{_kind}_pool{_count}d"] = windows.adaptive_pool
    RULES[f"fractional_max_pool{_count}d"] = windows.fractional_pool
    RULES[f"max_unpool{_count}d"] = windows.unpool
for _family, _rule in (
    (_CONSTANTS, elementwise.constant),
    (_POINTWISE, elementwise.pointwise),
    (_NEUTRAL, elementwise.same_shape),
    (_COPIES, plumbing.copied),
    (_RESHAPES, plumbing.reshape),
    (_REDUCTIONS, mixing.reduce),
    (_SCANS, mixing.scan),
    (_CUMULATIVE, mixing.cumulate),
    (_SAMPLED, mixing.sampled),
    (_LOSSES, mixing.loss),
    (_MATRICES, mixing.matrices),
):
    for _name in _family:
        RULES[_name] = _rule
