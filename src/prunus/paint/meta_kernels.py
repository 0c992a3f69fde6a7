"""What frequent operators return on meta tensors, worked out here: torch decomposes many of them in Python
there, which took most of a trace.

Each function gets the operator's arguments and answers only the plain case (dense tensors of one dtype,
shapes that fit); it returns `NotImplemented` for all others, and torch's own implementation answers or
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._pytree import tree_map

Blank = Callable[..., Any]


def like(x: Tensor) -> Tensor:
    """A plain tensor like torch.empty_like(x, device="meta"), which is written in Python
    where x is on meta.
    """
    if x.is_meta or type(x) not in (Tensor, Parameter):
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
    if x.layout is torch.strided and x.is_contiguous():
        return torch.empty(x.shape, dtype=x.dtype, device="meta")
    return torch.empty_like(x, device="meta", requires_grad=False)


def blank(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A contiguous tensor of another shape."""
    return torch.empty(shape, dtype=x.dtype, device=x.device)


def batch_norm(x: Tensor, *vectors: Any) -> Any:
    """native_batch_norm(x, weight, bias, mean, variance, ...)."""
    channels = (x.shape[1],)
    if any(vector is not None and vector.shape != channels for vector in vectors[:4]):
        return NotImplemented
    return like(x), blank(x, (0,)), blank(x, (0,))


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Any:
    """native_layer_norm(x, normalized_shape, weight, bias, eps)."""
    normalized = tuple(shape)
    first = x.dim() - len(normalized)
    if x.shape[first:] != normalized or any(v is not None and v.shape != normalized for v in (weight, bias)):
        return NotImplemented
    statistics = [*x.shape[:first], *(1 for _ in normalized)]
    return like(x), blank(x, statistics), blank(x, statistics)


def group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> Any:
    """native_group_norm(x, weight, bias, N, C, HxW, groups, eps)."""
    if not x.is_contiguous() or x.shape[:2] != (batch, channels) or channels % groups:
        return NotImplemented
    if any(v is not None and v.shape != (channels,) for v in (weight, bias)):
        return NotImplemented
    return like(x), blank(x, (batch, groups)), blank(x, (batch, groups))


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """convolution of a contiguous batch."""
    rank = weight.dim() - 2
    if transposed or x.dim() != rank + 2 or not x.is_contiguous() or x.dtype != weight.dtype:
        return NotImplemented
    if (
        not (len(stride) == len(padding) == len(dilation) == rank)
        or x.shape[1] != weight.shape[1] * groups
        or weight.shape[0] % groups
    ):
        return NotImplemented
    if bias is not None and bias.shape != weight.shape[:1]:
        return NotImplemented
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    ]
    return blank(x, (x.shape[0], weight.shape[0], *size)) if min(size) > 0 else NotImplemented


def unary(x: Tensor, *numbers: Any, **options: Any) -> Any:
    """An elementwise function of one floating-point tensor."""
    return like(x) if x.is_floating_point() else NotImplemented


def unary_in_place(x: Tensor, *numbers: Any, **options: Any) -> Any:
    """An elementwise function of one floating-point tensor, written into it."""
    return x if x.is_floating_point() else NotImplemented


def binary(a: Any, b: Any, **options: Any) -> Any:
    """Sum, difference, product or quotient of two contiguous tensors, or of one with a number."""
    if not isinstance(a, Tensor) or not a.is_floating_point() or not a.is_contiguous():
        return NotImplemented
    if isinstance(b, (int, float)):
        return like(a)
    if not isinstance(b, Tensor) or a.dtype != b.dtype or not b.is_contiguous():
        return NotImplemented
    if a.shape == b.shape or _fits_into(b.shape, a.shape):
        return like(a)
    return like(b) if _fits_into(a.shape, b.shape) else NotImplemented


def binary_in_place(a: Tensor, b: Any, **options: Any) -> Any:
    """Sum, difference, product or quotient written into the first tensor."""
    if not a.is_floating_point():
        return NotImplemented
    if isinstance(b, (int, float)) or (
        isinstance(b, Tensor) and a.dtype == b.dtype and (a.shape == b.shape or _fits_into(b.shape, a.shape))
    ):
        return a
    return NotImplemented


def _fits_into(small: Sequence[int], large: Sequence[int]) -> bool:
    """Whether one shape is broadcast to the other."""
    return len(small) <= len(large) and all(s in (1, n) for s, n in zip(reversed(small), reversed(large)))


def mean(
    x: Tensor, dims: Sequence[int] | None, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Any:
    """Mean over some axes."""
    if not dims or dtype is not None or not x.is_floating_point():
        return NotImplemented
    gone = {d % x.dim() for d in dims}
    shape = [1 if axis in gone else n for axis, n in enumerate(x.shape) if keepdim or axis not in gone]
    return blank(x, shape) if len(gone) == len(dims) else NotImplemented


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    """Concatenation of contiguous tensors."""
    first = tensors[0]
    rank = first.dim()
    dim = dim % rank if rank else 0
    rest = [n for axis, n in enumerate(first.shape) if axis != dim]
    for t in tensors:
        if (
            t.dim() != rank
            or t.dtype != first.dtype
            or not t.is_contiguous()
            or [n for axis, n in enumerate(t.shape) if axis != dim] != rest
        ):
            return NotImplemented
    return (
        blank(first, [*first.shape[:dim], sum(t.shape[dim] for t in tensors), *first.shape[dim + 1 :]])
        if rank
        else NotImplemented
    )


def addmm(added: Tensor, first: Tensor, second: Tensor, **options: Any) -> Any:
    """added + first @ second."""
    if (
        first.dim() != 2
        or second.dim() != 2
        or first.shape[1] != second.shape[0]
        or not first.dtype == second.dtype == added.dtype
    ):
        return NotImplemented
    shape = (first.shape[0], second.shape[1])
    return blank(first, shape) if _fits_into(added.shape, shape) else NotImplemented


_UNARY = tuple(
    (
        "relu relu6 sigmoid tanh silu gelu mish elu hardtanh hardswish hardsigmoid leaky_relu exp sqrt rsqrt"
    ).split()
)
_BINARY = ("add", "sub", "mul", "div")


def on_zeros(func: Any, args: Any, kwargs: Any) -> Any:
    """What an operator that has no form for meta tensors makes of zeros, on meta: fake quantisation, and
    operators of other libraries.
    """

    def real(value: Any) -> Any:
        return (
            torch.zeros(value.shape, dtype=value.dtype)
            if isinstance(value, Tensor) and value.is_meta
            else value
        )

    def meta(value: Any) -> Any:
        return value.to("meta") if isinstance(value, Tensor) else value

    return tree_map(meta, func(*tree_map(real, args), **tree_map(real, kwargs)))


BLANKS: dict[str, Blank] = {
    "aten.native_batch_norm.default": batch_norm,
    "aten.native_layer_norm.default": layer_norm,
    "aten.native_group_norm.default": group_norm,
    "aten.convolution.default": convolution,
    **{f"aten.{name}.default": unary for name in _UNARY},
    **{f"aten.{name}_.default": unary_in_place for name in _UNARY},
    **{f"aten.{name}.{overload}": binary for name in _BINARY for overload in ("Tensor", "Scalar")},
    **{f"aten.{name}_.{overload}": binary_in_place for name in _BINARY for overload in ("Tensor", "Scalar")},
    "aten.mean.dim": mean,
    "aten.cat.default": cat,
    "aten.addmm.default": addmm,
}
