"""The names of operators and of their arguments: the contract of every lowering.

An operator has the one name that PyTorch's documentation gives it, whatever its format calls it.
Its arguments have the names below, in the order of their positions, and the meaning that they have
there. Operators whose arguments do not matter are not listed; all names that are known are in
:data:`rfa_toolbox.operators.rules.RULES`.
"""

from __future__ import annotations

import re

__all__ = ["ARGUMENTS"]

_TABLE = """
convolution: input weight bias stride padding dilation transposed output_padding groups
_convolution_mode conv1d conv2d conv3d: input weight bias stride padding dilation groups
interpolate: input size scale_factor mode align_corners recompute_scale_factor antialias
pixel_shuffle pixel_unshuffle: input factor
channel_shuffle: input groups
im2col: input kernel_size dilation padding stride
col2im: input output_size kernel_size dilation padding stride
unfold: input dim size step
flatten: input start_dim end_dim
unflatten: input dim sizes
permute flip: input dims
transpose: input dim0 dim1
movedim: input source destination
unsqueeze squeeze unbind cumsum cumprod logcumsumexp sort argsort softmax log_softmax: input dim
softmin: input dim
cat stack: tensors dim
hstack vstack dstack: tensors
split split_with_sizes tensor_split: input sizes dim
chunk: input chunks dim
narrow: input dim start length
select index_select gather: input dim index
slice: input dim start stop step
getitem index: input index
setitem: input index value
slice_scatter: input src dim start stop step
select_scatter: input src dim index
take_along_dim: input index dim
masked_select: input mask
roll: input shifts dims
as_strided: input size stride storage_offset input_stride
pad: input pad mode value
constant_pad_nd: input pad value
repeat tile: input repeats
repeat_interleave: input repeats dim
topk kthvalue: input k dim
linear: input weight bias
matmul mm bmm mv dot to type_as expand_as view_as reshape_as: input other
addmm baddbmm: bias input other
einsum: equation operands
tensordot: input other dims
scaled_dot_product_attention: query key value attn_mask dropout_p is_causal
multi_head_attention_forward:
    query key value embed_dim num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn
embedding: input weight
affine_grid: input size
grid_sample: input grid mode
deform_conv2d: input weight offset mask bias
norm linalg_vector_norm linalg_norm vector_norm: input p dim keepdim
quantile: input q dim keepdim
cosine_similarity: input other dim
diff: input n dim
fft_fft fft_hfft fft_ifft fft_ihfft fft_irfft fft_rfft: input n dim
fft_fft2 fft_fftn fft_ifft2 fft_ifftn fft_irfft2 fft_irfftn fft_rfft2 fft_rfftn: input s dim
glu fft_fftshift fft_ifftshift: input dim
gumbel_softmax: input tau hard eps dim
scatter: input dim index src
group_norm: input num_groups
layer_norm native_layer_norm rms_norm: input normalized_shape
batch_norm instance_norm: input running_mean running_var
normalize: input p dim
istft: input n_fft hop_length win_length window center normalized onesided length
stft: input n_fft hop_length win_length window center
lstm gru rnn_tanh rnn_relu:
    input hx params has_biases num_layers dropout train bidirectional batch_first
max_unpool2d max_unpool1d max_unpool3d: input indices kernel_size stride padding
where: condition input other
add sub: input other alpha
masked_fill: input mask value
tril triu: input diagonal
conv_transpose1d conv_transpose2d conv_transpose3d:
    input weight bias stride padding output_padding groups dilation
max_pool1d max_pool2d max_pool3d:
    input kernel_size stride padding dilation ceil_mode return_indices
avg_pool1d avg_pool2d avg_pool3d: input kernel_size stride padding ceil_mode count_include_pad
lp_pool1d lp_pool2d lp_pool3d: input norm_type kernel_size stride ceil_mode
fractional_max_pool1d fractional_max_pool2d: input kernel_size output_size output_ratio
fractional_max_pool3d: input kernel_size output_size output_ratio
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d: input output_size
adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d: input output_size return_indices
mean sum amax amin prod var std var_mean std_mean logsumexp median nanmedian: input dim keepdim
nanmean nansum argmax argmin any all max min aminmax mode count_nonzero cummax: input dim keepdim
cummin: input dim keepdim
"""
"""Operators with the same arguments, and these behind a colon; longer rows go on indented."""

ARGUMENTS: dict[str, tuple[str, ...]] = {
    name: tuple(arguments.split())
    for operators, arguments in re.findall(r"^(\S.*):(.*(?:\n    .*)*)$", _TABLE, re.MULTILINE)
    for name in operators.split()
}
