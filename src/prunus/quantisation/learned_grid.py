"""A grid that is trained: a learned step, rounding that gradients pass straight through, and an estimate of
the bits that the integers will take.

Steps: Esser et al. 2020, "Learned Step Size Quantization" (arXiv 1902.08153), without its clipping. Bits:
those of an integer under a Laplace distribution, cut at the halves (Balle et al. 2017, arXiv 1611.01704, for
images), whose scale belongs to the row and the column of the weight: the mean magnitude of an integer is
taken to be R_i C_j / T, with the means of its row, of its column and of all, which is the likeliest product.
So what lies in a row or column that is nearly empty costs more than elsewhere, and whole units go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from prunus.paint.model_copy import named_tensors
from prunus.quantisation.parametrised import behind, put_on

FIRST = 0.5  # the step at the start, in mean magnitudes of the tensor
PACE = 10.0  # how much faster the logarithm of a step moves than a weight
PRIOR = 0.5  # magnitudes that a row or column is thought to hold besides its own
LEAST = 1e-4  # the mean magnitude of an integer


class LearnedGrid(nn.Module):
    """The parametrisation of one tensor: the nearest points of a grid whose step is trained.

    Attributes:
        log_step: the natural logarithm of the step, divided by `PACE`, a parameter without axes.
    """

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        mean = values.detach().abs().mean() if values.numel() else values.new_ones(())
        first = float(FIRST * mean) or 1e-3
        self.log_step = nn.Parameter(values.new_tensor(math.log(first) / PACE))

    def step(self) -> Tensor:
        """The step, without axes."""
        return (PACE * self.log_step).exp()

    def forward(self, values: Tensor) -> Tensor:
        """The points on the grid, of the shape of the values."""
        step = self.step()
        units = values / step
        return (units + (units.round() - units).detach()) * step


def attach(model: nn.Module, names: list[str]) -> dict[str, LearnedGrid]:
    """Learned grids onto the tensors of these names, in place."""
    tensors = named_tensors(model)
    grids = {name: LearnedGrid(tensors[name]) for name in names}
    for name, grid in grids.items():
        put_on(model, name, grid)
    return grids


def in_steps(model: nn.Module, names: list[str]) -> Iterator[Tensor]:
    """Every tensor in steps of its grid, before it is rounded."""
    for name in names:
        grid, values = behind(model, name)
        yield values / grid.step()


def bits(units: Tensor) -> Tensor:
    """An estimate of the bits of a tensor that is given in steps of its grid; without axes.

    The gradient is that of the tensor before it is rounded, so that what is rounded to zero moves on towards
    it; scales are taken as they are.
    """
    matrix = units.flatten(1) if units.dim() > 1 else units[None]
    return laplace_nats(matrix.abs(), scales(matrix.detach())).sum() / math.log(2)


def scales(matrix: Tensor) -> Tensor:
    """The scale of every entry's Laplace distribution, (rows, columns): that whose cut distribution has the
    mean magnitude of its row times that of its column over that of all.
    """
    sizes = matrix.round().abs()
    rows, columns = sizes.shape
    whole = sizes.mean().clamp(min=LEAST)
    mean = whole.expand(1, 1)
    if rows > 1 and columns > 1:
        across = (sizes.sum(1, keepdim=True) + PRIOR * whole) / (columns + PRIOR)
        down = (sizes.sum(0, keepdim=True) + PRIOR * whole) / (rows + PRIOR)
        mean = across * (down / whole)
    return 0.5 / torch.asinh(0.5 / mean.clamp(min=LEAST))


def laplace_nats(sizes: Tensor, scale: Tensor) -> Tensor:
    """-log(F(u + 1/2) - F(u - 1/2)) at |u| = `sizes`, F being a Laplace distribution's with this scale."""
    inside, outside = sizes.clamp(max=0.5), sizes.clamp(min=0.5)
    within = ((inside - 0.5) / scale).exp() + ((-inside - 0.5) / scale).exp()
    near = -torch.log1p(-0.5 * within)
    far = (outside - 0.5) / scale - torch.log1p(-(-1 / scale).exp()) + math.log(2)
    return torch.where(sizes < 0.5, near, far)


__all__ = ["LearnedGrid", "attach", "bits", "in_steps", "laplace_nats", "scales"]
