"""How far two sets of outputs are apart: the one comparison that every check in this package makes.

A value that is not a number, or is infinite, where the other has a number, or another infinity, is a
difference without bound. Where both are not a number nothing differs, but nothing is shown either:
`Difference.finite` says so, and `not_finite` what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Outputs this much smaller than the largest one are measured against that share of it: they may be rounding
# themselves.
_FAINT = 1e-3

# What rounding alone may do to a deep network, relative to its largest output.
_ROUNDING = {torch.float64: 1e-9, torch.complex128: 1e-9, torch.float32: 2e-3, torch.complex64: 2e-3}


@dataclass(frozen=True)
class Difference:
    """How far two sets of outputs are apart.

    Attributes:
        max_abs: largest absolute difference of any element; infinite where only one is finite, where
            infinities differ, and where whole numbers or truth values do.
        relative: the largest difference of an output, divided by the largest expected value of that output.
        magnitude: the largest finite absolute value expected of any output.
        finite: whether every value of both is a finite number.
        unlike: how the number of outputs or the shape of one differs, as a clause; empty if neither does.
    """

    max_abs: float
    relative: float
    magnitude: float
    finite: bool
    unlike: str = ""

    @property
    def of_largest(self) -> float:
        """`max_abs` divided by the largest expected value of all outputs."""
        return self.max_abs / self.magnitude if self.magnitude else self.max_abs


def difference(expected: Iterable[Tensor], found: Iterable[Tensor]) -> Difference:
    """How far tensors are from the expected ones, pair by pair: of any dtype, on any
    device, empty ones too.
    """
    expected, found = [_plain(tensor) for tensor in expected], [_plain(tensor) for tensor in found]
    finite = all(bool(tensor.isfinite().all()) for tensor in (*expected, *found))
    scales = [_magnitude(tensor) for tensor in expected]
    largest = max(scales, default=0.0)
    unlike = _unlike(expected, found)
    if unlike:
        return Difference(math.inf, math.inf, largest, finite, unlike)
    apart = [_apart(a, b) for a, b in zip(expected, found)]
    relative = [distance / (max(scale, _FAINT * largest) or 1.0) for distance, scale in zip(apart, scales)]
    return Difference(max(apart, default=0.0), max(relative, default=0.0), largest, finite)


def rounding(dtype: torch.dtype) -> float:
    """The largest `relative` difference that rounding alone makes in a deep network of this dtype."""
    return _ROUNDING.get(dtype, 0.1)


def not_finite(outputs: Iterable[Tensor]) -> str:
    """ "NaN" or "infinity" where outputs have values that nothing can be compared with, else "".

    Minus infinity beside finite values is what masked logits are, and compares like any other value.
    """
    tensors = [tensor for tensor in map(_plain, outputs) if tensor.numel()]
    if any(bool(tensor.isnan().any()) for tensor in tensors):
        return "NaN"
    return "infinity" if any(_overflows(tensor) for tensor in tensors) else ""


def _overflows(tensor: Tensor) -> bool:
    infinite = tensor.isinf()
    masked = infinite if tensor.is_complex() else tensor.isneginf()
    return bool((infinite & ~masked).any()) or bool(infinite.all())


def _unlike(expected: Sequence[Tensor], found: Sequence[Tensor]) -> str:
    if len(expected) != len(found):
        return f"{len(found)} tensors instead of {len(expected)}"
    wrong = [(tuple(b.shape), tuple(a.shape)) for a, b in zip(expected, found) if a.shape != b.shape]
    return f"a tensor of shape {wrong[0][0]} instead of {wrong[0][1]}" if wrong else ""


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape."""
    if not (_is_fractional(a) or _is_fractional(b)):
        return 0.0 if bool((a == b).all()) else math.inf
    same = (a == b) | (a.isnan() & b.isnan())
    if not bool((same | (a.isfinite() & b.isfinite())).all()):
        return math.inf
    wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
    return float((a.to(wide) - b.to(wide))[~same].abs().max()) if not bool(same.all()) else 0.0


def _magnitude(tensor: Tensor) -> float:
    """The largest finite absolute value."""
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _is_fractional(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _plain(tensor: Tensor) -> Tensor:
    """The values on the CPU, dense, in double precision where they are fractions and in 64 bits where they
    are whole.
    """
    tensor = tensor.detach()
    tensor = tensor.dequantize() if tensor.is_quantized else tensor
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    wide = (
        torch.complex128
        if tensor.is_complex()
        else torch.float64
        if tensor.is_floating_point()
        else torch.int64
    )
    return tensor.cpu().to(wide)


__all__ = ["Difference", "difference", "not_finite", "rounding"]
