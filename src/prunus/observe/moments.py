"""Moments of what a layer gets, added up batch by batch."""

from __future__ import annotations

import torch
from torch import Tensor

from prunus.observe.windows import WindowSums


class InputMoments:
    """Streamed first and second moments of rows of inputs: memory for columns^2 numbers, for any number of
    rows.
    """

    def __init__(self, columns: int) -> None:
        self.count = 0
        self._sum, self._products = (
            torch.zeros(columns, dtype=torch.float64),
            torch.zeros(columns, columns, dtype=torch.float64),
        )

    def add(self, inputs: Tensor) -> None:
        """More rows. Products of one portion are summed in its own precision, and the portions in float64."""
        self.count += len(inputs)
        self._sum += inputs.sum(0, dtype=torch.float64).cpu()
        self._products += (inputs.T @ inputs).cpu()

    def add_sums(self, sums: WindowSums) -> None:
        """More rows, whose sums are known."""
        self.count += sums.count
        self._sum += sums.inputs
        self._products += sums.products

    def mean(self) -> Tensor:
        """Shape (columns,)."""
        return self._sum / self.count

    def products(self, centred: bool) -> Tensor:
        """E[x x^T], or the covariances, shape (columns, columns)."""
        mean = self.mean() * centred
        return (self._products / self.count).addr_(mean, mean, alpha=-1)
