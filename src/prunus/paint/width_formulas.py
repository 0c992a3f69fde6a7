"""Statistics over channels of which some are gone, as if the others were there, and zero.

In these formulas r = n / N, where n of N slots are left. They call only operators that no formula is for, so
that a module around another one counts none of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_ATEN = torch.ops.aten
# computed in single precision; a node of a graph, which is no tensor, says nothing of its type
_HALVES = (torch.float16, torch.bfloat16)
_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}  # as torch numbers them
Formula = Callable[..., Any]


class Held(NamedTuple):
    """What slots that are not there hold: minus a mean, to a power."""

    mean: Any
    power: int


def _mean(x: Tensor, dims: Sequence[int]) -> Any:
    return _ATEN.mean.dim(x, list(dims), True)


def _moments(ratio: float, x: Tensor, dims: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """What is left minus its own mean m; (1 - r) m, which is to be added for the mean over all slots; and the
    biased variance over all slots.
    """
    mean = _mean(x, dims)
    centred = x - mean
    variance = ratio * _mean(centred * centred, dims) + (ratio * (1 - ratio)) * (mean * mean)
    return centred, (1 - ratio) * mean, variance


def _normalised(
    ratio: float, x: Tensor, dims: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Any:
    """(x - mean) / sqrt(variance + eps) · weight + bias, with statistics over all slots; in single precision
    at least, like torch's own norms.
    """
    half = isinstance(x, Tensor) and x.dtype in _HALVES
    centred, shift, variance = _moments(ratio, x.float() if half else x, dims)
    result = (centred + shift) * _ATEN.rsqrt.default(variance + eps)
    result = result if weight is None else result * weight
    result = result if bias is None else result + bias
    return result.to(x.dtype) if half else result


def _layer_norm(
    ratio: float,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    return _normalised(ratio, input, range(-len(normalized_shape), 0), weight, bias, eps)


def _per_channel(vector: Tensor | None, rank: int) -> Any:
    return None if vector is None else _ATEN.view.default(vector, [-1, *[1] * (rank - 2)])


def _group_norm(
    ratio: float,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    rank = input.dim()
    return _normalised(
        ratio, input, range(1, rank), _per_channel(weight, rank), _per_channel(bias, rank), eps
    )


def _batch_norm(
    ratio: float,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Statistics of what is normalised, as weight standardisation has them."""
    rank = input.dim()
    return _normalised(
        ratio, input, [0, *range(2, rank)], _per_channel(weight, rank), _per_channel(bias, rank), eps
    )


def _torch_batch_norm(
    ratio: float,
    input: Tensor,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Any:
    return _batch_norm(ratio, input, None, None, weight, bias, True, momentum, eps)


def _rms_norm(
    ratio: float,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Any:
    half = isinstance(input, Tensor) and input.dtype in _HALVES
    x = input.float() if half else input
    square = ratio * _mean(x * x, range(-len(normalized_shape), 0))
    result = x * _ATEN.rsqrt.default(square + (torch.finfo(x.dtype).eps if eps is None else eps))
    result = result if weight is None else result * weight
    return result.to(input.dtype) if half else result


def _dims_of(x: Tensor, dim: Any) -> list[int]:
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return list(range(x.dim()))
    return list(dim) if isinstance(dim, (tuple, list)) else [dim]


def _squeezed(x: Tensor, dims: Sequence[int], keepdim: bool, rank: int) -> Any:
    return x if keepdim else _ATEN.squeeze.dims(x, [d % rank for d in dims])


def _average(
    ratio: float,
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    dtype: Any = None,
    held: Held | None = None,
) -> Any:
    dim = axis if dim is None else dim
    x = input if dtype is None else input.to(dtype)
    dims = _dims_of(x, dim)
    mean = ratio * _mean(x, dims)
    if held is not None:
        mean = mean + (1 - ratio) * _held(held, mean, dims, x.dim())
    return _squeezed(mean, dims, keepdim, x.dim())


def _held(held: Held, mean: Any, dims: Sequence[int], rank: int) -> Any:
    """What the slots that are not there hold, averaged over these axes; shape as that of another mean over
    them.
    """
    value = (-held.mean) ** held.power
    return _mean(value, dims) if held.mean.dim() == rank else _ATEN.reshape_as.default(value, mean)


def _spread(
    ratio: float,
    input: Tensor,
    dim: Any,
    unbiased: bool,
    correction: Any,
    keepdim: bool,
    held: Held | None = None,
) -> tuple[Tensor, Tensor]:
    """Variance and mean over all slots."""
    dims = _dims_of(input, dim)
    taken = (1.0 if unbiased else 0.0) if correction is None else float(correction)
    _, shift, variance = _moments(
        ratio, input if held is None else input - _held(held, _mean(input, dims), dims, input.dim()), dims
    )
    count = 1.0
    for d in dims:
        count = count * input.shape[d]
    count = count / ratio
    variance = variance * (count / (count - taken))
    mean = shift * (ratio / (1 - ratio)) if ratio < 1 else _mean(input, dims)
    return _squeezed(variance, dims, keepdim, input.dim()), _squeezed(mean, dims, keepdim, input.dim())


def _arguments(dim: Any, unbiased: Any) -> tuple[Any, bool]:
    """`var(x, False)` and `var(x, dim, unbiased)` put the flag in different places."""
    return (None, dim) if isinstance(dim, bool) else (dim, True if unbiased is None else bool(unbiased))


def _statistic(of: Callable[[Tensor, Tensor], Any]) -> Formula:
    """What is made of variance and mean over all slots; torch's four functions have the same arguments."""

    def formula(
        ratio: float,
        input: Tensor,
        dim: Any = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
        held: Held | None = None,
    ) -> Any:
        dim, flag = _arguments(dim, unbiased)
        return of(*_spread(ratio, input, dim, flag, correction, keepdim, held))

    return formula


def _softmax(ratio: float, input: Tensor, dim: int, *_: Any, dtype: Any = None, **__: Any) -> Any:
    """exp(x) over the sum of what is left and of exp(0) for every slot that is not."""
    x = input if dtype is None else input.to(dtype)
    count = x.shape[dim]
    total = _ATEN.logsumexp.default(x, [dim], True)
    others = (
        _ATEN.full_like.default(total, math.log(count / ratio - count)) if ratio < 1 else total - math.inf
    )
    return _ATEN.exp.default(x - _ATEN.logaddexp.default(total, others))


def _largest(ratio: float, input: Tensor, dim: Any = (), keepdim: bool = False) -> Any:
    dims = _dims_of(input, dim)
    largest = _ATEN.amax.default(input, dims, keepdim)
    return _ATEN.clamp_min.default(largest * _tied(ratio, input, largest, dims, keepdim), 0)


def _smallest(ratio: float, input: Tensor, dim: Any = (), keepdim: bool = False) -> Any:
    dims = _dims_of(input, dim)
    smallest = _ATEN.amin.default(input, dims, keepdim)
    return _ATEN.clamp_max.default(smallest * _tied(ratio, input, smallest, dims, keepdim), 0)


def _tied(ratio: float, input: Tensor, extreme: Any, dims: Sequence[int], keepdim: bool) -> Any:
    """The share of the gradient that is left to those that are here: all of it, but where the extreme is
    zero, since `amax` shares it evenly among equals and slots that are not there are zero.
    """
    if ratio == 1 or (isinstance(input, Tensor) and not (torch.is_grad_enabled() and input.requires_grad)):
        return 1.0
    here = 1.0
    for d in dims:
        here = here * input.shape[d]
    zeros = _ATEN.type_as.default(_ATEN.eq.Scalar(input, 0), input)
    equal = _ATEN.sum.dim_IntList(zeros, dims, keepdim)
    share = equal / (equal + (here / ratio - here))
    return _ATEN.where.self(_ATEN.eq.Scalar(extreme, 0), share, _ATEN.ones_like.default(share))


def _largest_of(ratio: float, input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """`max(x)`, or values and places by `max(x, dim)`; nobody reads the places."""
    if dim is None:
        return _largest(ratio, input)
    values, places = _ATEN.max.dim(input, dim, keepdim)
    return torch.return_types.max((_ATEN.clamp_min.default(values, 0), places))


def _smallest_of(ratio: float, input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """`min(x)`, or values and places by `min(x, dim)`; nobody reads the places."""
    if dim is None:
        return _smallest(ratio, input)
    values, places = _ATEN.min.dim(input, dim, keepdim)
    return torch.return_types.min((_ATEN.clamp_max.default(values, 0), places))


def _distance(operator: Any, *usual: float) -> Formula:
    """Of a loss that averages distances; `usual` is the value of its last argument, where it has one."""

    def formula(
        ratio: float,
        input: Tensor,
        target: Tensor,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        *last: float | None,
        **named: float | None,
    ) -> Any:
        own = [value for value in (*last, *named.values()) if value is not None] or usual
        return ratio * operator(input, target, _REDUCTIONS[reduction], *own)

    return formula


FORMULAS: dict[Any, Formula] = {
    **dict.fromkeys((F.layer_norm, torch.layer_norm), _layer_norm),
    **dict.fromkeys((F.group_norm, torch.group_norm), _group_norm),
    F.batch_norm: _batch_norm,
    torch.batch_norm: _torch_batch_norm,
    **dict.fromkeys((F.rms_norm, torch.rms_norm), _rms_norm),
    **dict.fromkeys((torch.mean, Tensor.mean), _average),
    **dict.fromkeys((torch.var, Tensor.var), _statistic(lambda variance, mean: variance)),
    **dict.fromkeys((torch.std, Tensor.std), _statistic(lambda variance, mean: _ATEN.sqrt.default(variance))),
    torch.var_mean: _statistic(lambda variance, mean: (variance, mean)),
    torch.std_mean: _statistic(lambda variance, mean: (_ATEN.sqrt.default(variance), mean)),
    **dict.fromkeys((F.softmax, torch.softmax, Tensor.softmax), _softmax),
    **dict.fromkeys((torch.amax, Tensor.amax), _largest),
    **dict.fromkeys((torch.amin, Tensor.amin), _smallest),
    **dict.fromkeys((torch.max, Tensor.max), _largest_of),
    **dict.fromkeys((torch.min, Tensor.min), _smallest_of),
    F.mse_loss: _distance(_ATEN.mse_loss.default),
    F.smooth_l1_loss: _distance(_ATEN.smooth_l1_loss.default, 1.0),
}
