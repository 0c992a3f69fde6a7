"""The operators that a traced model's file may call: a list, not a rule, and everything else is refused by
its name.

They are those that torch.export writes for the networks that prunus prunes, before any decomposition. All of
them compute tensors from tensors and check at run time what they are given. Left out are operators that trust
an index, a pointer, a stride or the shape of another tensor (the sparse, quantised, nested, `_unsafe` and
`native_` ones, `as_strided`, `set_`, `resize_`), that touch files or several devices, and those the size of
whose result depends on values (`nonzero`, `bincount`, `repeat_interleave` by a tensor), because no rehearsal
can bound it.
"""

from __future__ import annotations

import torch

from prunus.errors import FileFormatError

# Number by number, in place or not.
_POINTWISE = """
abs acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or
bitwise_xor ceil celu clamp clamp_max
clamp_min clip copy copysign cos cosh deg2rad digamma div divide elu eq erf erfc erfinv exp exp2 expm1 fill
floor floor_divide fmax fmin fmod frac
gelu ge greater greater_equal gt hardshrink hardsigmoid hardswish hardtanh hypot isfinite isinf isnan le
leaky_relu lerp less less_equal lgamma log
log10 log1p log2 log_sigmoid logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit lt
masked_fill maximum minimum mish mul
multiply nan_to_num ne neg negative not_equal positive pow prelu rad2deg reciprocal relu relu6 remainder round
rrelu rsqrt rsub selu sgn sigmoid
sign signbit silu sin sinc sinh softplus softshrink sqrt square sub subtract tan tanh threshold tril triu
true_divide trunc where xlogy zero
__and__ __or__ __xor__ conj conj_physical real imag complex polar view_as_complex view_as_real resolve_conj
resolve_neg
"""
# Copies, other dtypes and orders in memory, and names for what is there.
_COPIES = """
alias clone contiguous detach lift_fresh lift_fresh_copy to type_as _to_copy result_type
"""
# Other shapes of the same numbers.
_SHAPES = """
adjoint broadcast_to broadcast_tensors cat chunk column_stack concat concatenate diag diag_embed diagonal
dstack expand expand_as flatten flip fliplr
flipud hsplit hstack mH mT matrix_H meshgrid moveaxis movedim narrow numpy_T permute ravel repeat reshape
reshape_as roll rot90 select slice split
split_with_sizes squeeze stack swapaxes swapdims t tensor_split tile transpose unbind unflatten unfold
unsafe_chunk unsafe_split
unsafe_split_with_sizes unsqueeze view view_as vsplit vstack channel_shuffle pixel_shuffle pixel_unshuffle
im2col col2im
"""
# Reading and writing by index; torch compares every index with the size before it uses it.
_INDEXED = """
embedding gather index index_add index_copy index_fill index_put index_select masked_scatter scatter
scatter_add scatter_reduce
select_scatter slice_scatter max_unpool2d max_unpool3d grid_sampler affine_grid_generator
"""
# Sums, extremes, norms and orders along axes.
_REDUCTIONS = """
all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod cumsum diff kthvalue
linalg_norm linalg_vector_norm
logcumsumexp logsumexp max mean median min mode msort nanmean nansum norm prod sort std std_mean sum topk
trace var var_mean cosine_similarity
pairwise_distance cdist dist
"""
# Products of matrices.
_PRODUCTS = """
addbmm addmm addmv addr baddbmm bilinear bmm cross dot einsum inner kron linalg_cross linalg_matmul
linalg_multi_dot linear matmul mm mv
outer tensordot vdot scaled_dot_product_attention gru lstm rnn_relu rnn_tanh
"""
# Convolutions, pools and resizing.
_SPATIAL = """
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d adaptive_avg_pool1d
adaptive_avg_pool2d adaptive_avg_pool3d
adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool1d
max_pool1d_with_indices max_pool2d
max_pool2d_with_indices max_pool3d max_pool3d_with_indices pad constant_pad_nd reflection_pad1d
reflection_pad2d reflection_pad3d replication_pad1d
replication_pad2d replication_pad3d upsample_linear1d upsample_bilinear2d upsample_bicubic2d
upsample_trilinear3d upsample_nearest1d
upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d
_upsample_nearest_exact3d _upsample_bilinear2d_aa
_upsample_bicubic2d_aa
"""
# Norms and shares, and what is random while a network learns.
_NORMS = """
alpha_dropout batch_norm dropout feature_alpha_dropout feature_dropout glu group_norm instance_norm layer_norm
log_softmax
rms_norm softmax
"""
# Fourier transforms.
_FOURIER = """
fft_fft fft_fft2 fft_fftfreq fft_fftn fft_fftshift fft_hfft fft_ifft fft_ifft2 fft_ifftn fft_ifftshift
fft_ihfft fft_irfft fft_irfft2 fft_irfftn
fft_rfft fft_rfft2 fft_rfftfreq fft_rfftn
"""
# New tensors of a given size, and the sizes of tensors.
_NEW = """
arange bernoulli empty empty_like eye full full_like linspace logspace new_empty new_full new_ones new_zeros
ones ones_like rand rand_like randint
randint_like randn randn_like scalar_tensor zeros zeros_like sym_numel sym_size tril_indices triu_indices
hann_window hamming_window
"""
# Written into one of their arguments: all those that work number by number, and these.
_IN_PLACE = """
normal_ uniform_ bernoulli_ dropout_ feature_dropout_ alpha_dropout_ feature_alpha_dropout_ index_add_
index_copy_ index_fill_ index_put_
masked_scatter_ scatter_ scatter_add_ scatter_reduce_ cumsum_ cumprod_ detach_
"""
# Only in some of their forms: how often is a number here, not a tensor.
_FORMS = {"repeat_interleave": ("self_int",)}
_GROUPS = (
    _POINTWISE,
    _COPIES,
    _SHAPES,
    _INDEXED,
    _REDUCTIONS,
    _PRODUCTS,
    _SPATIAL,
    _NORMS,
    _FOURIER,
    _NEW,
    _IN_PLACE,
)

# What a tensor's type and device are, for operators that make others like it.
_KINDS: dict[str, torch._ops.OpOverload] = {
    f"prim.{name}.default": getattr(torch.ops.prim, name).default for name in ("dtype", "device")
}

OPERATORS: frozenset[str] = frozenset(
    (
        *(name for group in _GROUPS for name in group.split()),
        *(f"{name}_" for name in _POINTWISE.split()),
        *_FORMS,
    )
)


def operator_named(target: str) -> torch._ops.OpOverload:
    """The operator of a full name such as "aten.conv2d.default"; raises FileFormatError where it is not on
    the list.
    """
    if target in _KINDS:
        return _KINDS[target]
    parts = target.split(".")
    if len(parts) != 3 or parts[0] != "aten" or parts[1] not in OPERATORS:
        raise FileFormatError(
            f"The traced graph calls {target[:100]!r}, which is not one of the operators that a file of"
            " prunus may call."
        )
    packet = getattr(torch.ops.aten, parts[1], None)
    forms = _FORMS.get(parts[1], packet.overloads()) if packet is not None else ()
    found = getattr(packet, parts[2], None) if parts[2] in forms else None
    if not isinstance(found, torch._ops.OpOverload) or any(a.is_out for a in found._schema.arguments):
        raise FileFormatError(
            f"The traced graph calls {target[:100]!r}, a form of {parts[1]} that a file of prunus may not"
            " call."
        )
    return found


__all__ = ["OPERATORS", "operator_named"]
