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
from rfa_toolbox.operators.vectors import without_passing_vectors

__all__ = ["RULES", "Places", "by_themselves", "follow", "spatial_dimensions"]


def follow(record: Record, spatial: Sequence[Places] | None = None) -> Trail:
    """Follow the positions of the input through every operation of a record.

    Args:
        record: what a reader returned.
        spatial: per input its spatial dimensions, in axis order. By default all but the batch and
            what the first convolution or pooling takes for channels.
    """
    record = without_passing_vectors(record, _KEPT)
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


_FAMILIES: dict[Rule, str] = {
    windows.adaptive_pool: """
        adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
        adaptive_max_pool2d adaptive_max_pool3d
    """,
    windows.as_strided: "as_strided",
    windows.col2im: "col2im",
    windows.conv_lstm: "conv_lstm",
    windows.convolution: """
        _convolution_mode conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
        convolution
    """,
    windows.described: "described",
    windows.diff: "diff",
    windows.fractional_pool: """
        fractional_max_pool1d fractional_max_pool2d fractional_max_pool3d
    """,
    windows.im2col: "im2col",
    windows.interpolate: "interpolate",
    windows.istft: "istft",
    windows.local_attention: "local_attention",
    windows.pixel_shuffle: "pixel_shuffle",
    windows.pixel_unshuffle: "pixel_unshuffle",
    windows.pool: """
        avg_pool1d avg_pool2d avg_pool3d lp_pool1d lp_pool2d lp_pool3d max_pool1d max_pool2d
        max_pool3d
    """,
    windows.stft: "stft",
    windows.unfold: "unfold",
    windows.unpool: "max_unpool1d max_unpool2d max_unpool3d",
    windows.windowed: "windowed",
    mixing.affine_grid: "affine_grid",
    mixing.attention: "scaled_dot_product_attention",
    mixing.attention_over: "attention",
    mixing.cell: "gru_cell lstm_cell rnn_relu_cell rnn_tanh_cell",
    mixing.complex_of: "view_as_complex",
    mixing.cumulate: "cummax cummin cumprod cumsum logcumsumexp",
    mixing.einsum: "einsum",
    mixing.flatten: "flatten",
    mixing.linear: "linear",
    mixing.loss: """
        binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy
        cross_entropy_loss gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss
        margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss
        multilabel_soft_margin_loss nll_loss nll_loss2d nll_loss_nd poisson_nll_loss smooth_l1_loss
        soft_margin_loss triplet_margin_loss
    """,
    mixing.matmul: "addmm baddbmm bmm dot matmul mm mv",
    mixing.matrices: """
        cholesky det inverse linalg_cholesky linalg_det linalg_eig linalg_eigh linalg_eigvals
        linalg_eigvalsh linalg_inv linalg_inv_ex linalg_lstsq linalg_matrix_exp linalg_matrix_power
        linalg_pinv linalg_qr linalg_slogdet linalg_solve linalg_solve_ex linalg_svd linalg_svdvals
        logdet matrix_exp matrix_power pinverse qr slogdet svd
    """,
    mixing.multi_head_attention: "multi_head_attention_forward",
    mixing.recurrent: "gru lstm recurrent rnn_relu rnn_tanh",
    mixing.reduce: """
        all amax amin aminmax any argmax argmin cosine_similarity count_nonzero kthvalue
        linalg_norm linalg_vector_norm logsumexp max mean median min mode nanmean nanmedian nansum
        norm prod quantile std std_mean sum var var_mean vector_norm
    """,
    mixing.sampled: """
        cdist deform_conv2d gather_nd grid_sample index_add index_copy index_reduce kron
        ps_roi_align ps_roi_pool roi_align roi_pool scatter scatter_add scatter_reduce
    """,
    mixing.scan: """
        argsort fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft fft_ifft fft_ifft2 fft_ifftn
        fft_ifftshift fft_ihfft fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn msort
        sort topk unique
    """,
    mixing.softmax: "gumbel_softmax log_softmax softmax softmin",
    mixing.tensordot: "tensordot",
    assembling.cat: "cat dstack hstack vstack",
    assembling.scattered: "select_scatter slice_scatter",
    assembling.setitem: "setitem",
    assembling.stack: "stack",
    plumbing.copied: """
        alias as_subclass as_tensor asarray bfloat16 bool byte cfloat char clone contiguous cpu
        cuda data detach double expand_copy float half int lift_fresh long pin_memory positive
        record_stream requires_grad resolve_conj resolve_neg retain_grad share_memory short to type
        type_as view_copy
    """,
    plumbing.expand: "broadcast_to expand expand_as",
    plumbing.flip: "flip fliplr flipud",
    plumbing.getitem: "getitem index",
    plumbing.movedim: "movedim",
    plumbing.narrow: "narrow",
    plumbing.pad: "constant_pad_nd pad",
    plumbing.parts_of_numbers: "view_as_real",
    plumbing.permute: "permute",
    plumbing.pick: "gather index_select take_along_dim",
    plumbing.repeat: "repeat repeat_interleave tile",
    plumbing.reshape: """
        atleast_1d atleast_2d atleast_3d reshape reshape_as unflatten view view_as
    """,
    plumbing.reverse_dimensions: "H T",
    plumbing.roll: "roll",
    plumbing.select: "select",
    plumbing.select_last: "select_last",
    plumbing.slice_: "slice",
    plumbing.split: "chunk dsplit hsplit split split_with_sizes tensor_split vsplit",
    plumbing.squeeze: "squeeze",
    plumbing.transpose: "mH mT swapdims t transpose",
    plumbing.unbind: "unbind",
    plumbing.unsqueeze: "unsqueeze",
    elementwise.constant: """
        dim empty_like fill full_like is_floating_point new_empty new_empty_strided new_full
        new_ones new_tensor new_zeros numel ones_like rand_like randint_like randn_like shape size
        stride zero zeros_like
    """,
    elementwise.embedding: "embedding",
    elementwise.glu: "glu",
    elementwise.pointwise: """
        abs acos acosh add addcdiv addcmul angle arctan asin asinh atan atan2 atanh bernoulli
        bitwise_and bitwise_not bitwise_or bitwise_xor bucketize ceil celu clamp clamp_max
        clamp_min complex conj copysign cos cosh deg2rad dequantize digamma div elu eq erf erfc
        erfinv exp exp2 expit expm1 fake_quantize_per_tensor_affine float_power floor floor_divide
        fmod frac ge gelu gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot imag isclose
        isfinite isinf isnan le leaky_relu lerp lgamma log log10 log1p log2 log_sigmoid logaddexp
        logical_and logical_not logical_or logical_xor logit logsigmoid lshift lt masked_fill
        maximum minimum mish mul nan_to_num ne neg nextafter one_hot polar pow prelu
        quantize_per_tensor rad2deg real reciprocal relu relu6 remainder round rrelu rshift rsqrt
        selu sigmoid sign silu sin sinc sinh softplus softshrink softsign special_expit sqrt square
        sub swish tan tanh tanhshrink threshold tril triu trunc where xlogy
    """,
    elementwise.same_shape: """
        alpha_dropout batch_norm channel_shuffle dropout dropout1d dropout2d dropout3d
        feature_alpha_dropout feature_dropout group_norm instance_norm layer_norm
        local_response_norm native_batch_norm native_dropout native_layer_norm normalize rms_norm
        sync_batch_norm weight_norm
    """,
}
"""The rules, and the names of the operators that follow each."""

RULES: dict[str, Rule] = {name: rule for rule, names in _FAMILIES.items() for name in names.split()}

_KEPT = {
    name
    for name, one in RULES.items()
    if one in (elementwise.pointwise, elementwise.same_shape, plumbing.copied)
    or one in (assembling.cat, plumbing.narrow, plumbing.slice_, plumbing.split)
}
"""The names of the operators that mix no numbers of a vector."""
