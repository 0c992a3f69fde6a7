"""Error feedback: what rounding one weight does to a layer's outputs is made up for by those not rounded yet.

Hassibi and Stork 1993, "Second order derivatives for network pruning: Optimal Brain Surgeon"; Frantar et al.
2022, "Optimal Brain Compression" (arXiv 2208.11580), and 2023, "GPTQ" (arXiv 2210.17323), whose order this
is: every row takes its columns one after the other, so that all rows share the inverse of the Hessian. The
error that is kept small is that of the outputs, the mean of ||E x||^2 over a layer's inputs x.
"""

from __future__ import annotations

import torch
from torch import Tensor

DAMPING = 0.01  # of the mean diagonal: of wide layers there are fewer samples than columns
TRIES = 30  # of ten times the damping
BLOCK = 64  # columns whose errors reach the columns behind the block in one product


def feedback_factors(squares: Tensor, damping: float = DAMPING) -> Tensor:
    """The upper triangle U with U^T U = the inverse of the damped Hessian: row j holds how the columns from j
    on make up for an error of column j, in proportion.

    Args:
        squares: E[x x^T], or covariances where a bias is refitted: (groups, columns, columns), float64.
        damping: is added to the diagonal, times its mean.
    """
    strength = (damping * squares.diagonal(dim1=-2, dim2=-1).abs().mean(-1)).clamp(min=1e-30)
    eye = torch.eye(squares.shape[-1], dtype=squares.dtype, device=squares.device)
    for _ in range(TRIES):
        triangle, failed = torch.linalg.cholesky_ex(squares + strength[:, None, None] * eye)
        if not failed.any():
            break
        strength = torch.where(failed > 0, 10 * strength, strength)  # inputs that hardly vary leave rounding
    factors: Tensor = torch.linalg.cholesky(torch.cholesky_inverse(triangle), upper=True)
    return factors


def round_with_feedback(
    weight: Tensor, factors: Tensor, step: float, most: float = float("inf"), kept: Tensor | None = None
) -> Tensor:
    """Integers of a grid whose outputs are near those of the weight, of the weight's shape and type.

    Args:
        weight: (groups, outputs, columns), float64.
        factors: of `feedback_factors`.
        step: of the grid.
        most: the largest magnitude of an integer.
        kept: booleans of the weight's shape: what is False is zero; None = all may be anything.
    """
    left, integers = weight.clone(), torch.empty_like(weight)
    columns = weight.shape[-1]
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        block, errors = left[..., start:end].clone(), torch.empty_like(left[..., start:end])
        own = factors[:, start:end, start:end]
        for column in range(end - start):
            rounded = (block[..., column] / step).round().clamp(-most, most)
            if kept is not None:
                rounded = rounded * kept[..., start + column]
            integers[..., start + column] = rounded
            error = (block[..., column] - step * rounded) / own[:, column, column, None]
            block[..., column:] -= error[..., None] * own[:, column, None, column:]
            errors[..., column] = error
        left[..., end:] -= errors @ factors[:, start:end, end:]
    return integers


def output_error(difference: Tensor, squares: Tensor) -> float:
    """The mean of ||E x||^2 over inputs x, summed over groups: E is (groups, outputs, columns)."""
    return float(((difference @ squares) * difference).sum())


__all__ = ["DAMPING", "feedback_factors", "output_error", "round_with_feedback"]
