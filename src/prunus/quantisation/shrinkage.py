"""Covariances from fewer samples than they have columns: what was not seen in them is not nothing.

Wide layers see fewer samples than they have inputs, a classifier above all. Errors would then be put where
these few samples do not look, and be missing from the estimate of the error. The estimate is shrunk towards
a multiple of the identity by as much as its own spread says: oracle approximating shrinkage (Chen, Wiesel,
Eldar and Hero 2010, arXiv 0907.4698, equation 23).
"""

from __future__ import annotations

import torch
from torch import Tensor


def shrinkage(squares: Tensor, samples: int) -> Tensor:
    """How much of an estimate is to be replaced, 0 to 1 for each matrix of (matrices, columns, columns) that
    was made of so many samples.
    """
    columns = squares.shape[-1]
    trace = squares.diagonal(dim1=-2, dim2=-1).sum(-1)
    of_square = squares.square().sum((-2, -1))
    spread = (samples + 1 - 2 / columns) * (of_square - trace.square() / columns)
    wanted = (1 - 2 / columns) * of_square + trace.square()
    share: Tensor = torch.where(wanted < spread, wanted / spread.clamp(min=1e-300), torch.ones_like(spread))
    return share


def shrunk(squares: Tensor, share: Tensor) -> Tensor:
    """(1 - share) S + share tr(S)/columns I, of every matrix."""
    level = share * squares.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(squares.shape[-1], dtype=squares.dtype, device=squares.device)
    return (1 - share)[:, None, None] * squares + level[:, None, None] * eye
