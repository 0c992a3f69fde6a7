"""What every channel adds to the outputs of a layer, seen over samples."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus.observe.matrices import MOST_NUMBERS


class Contributions:
    """Streamed products of what the channels of a layer add to its outputs: memory for channels^2 numbers,
    however many columns of the weight are a channel's.

    Of many outputs `most` mixtures are looked at, with weights that are drawn normally: the sum over outputs
    of products, which is all that is asked for, is the expectation of theirs (Johnson and Lindenstrauss).

    Args:
        weight: (outputs, columns).
        owner: of every column the channel, (columns,), counted from 0.
        most: outputs, or mixtures of them.
    """

    def __init__(self, weight: Tensor, owner: Tensor, most: int) -> None:
        self.count = 0
        if len(weight) > most:
            draw = torch.Generator().manual_seed(0)
            mixed = torch.randn(most, len(weight), generator=draw, dtype=torch.float64) / math.sqrt(most)
            weight = mixed.to(weight) @ weight
        sizes = owner.bincount()
        starts = sizes.cumsum(0) - sizes
        order = owner.argsort(stable=True)
        # (channels, most columns of one): the columns of each, and one of zeros where it has fewer
        self._at = torch.full((len(sizes), int(sizes.max())), len(owner))
        self._at[owner[order], torch.arange(len(owner)) - starts[owner[order]]] = order
        self._weight = F.pad(weight, (0, 1))[:, self._at].permute(1, 2, 0)  # (channels, columns of one, made)
        self._sum = torch.zeros(len(sizes), len(weight), dtype=torch.float64)
        self._products = torch.zeros(len(sizes), len(sizes), dtype=torch.float64)

    def add(self, inputs: Tensor) -> None:
        """More rows of the layer's inputs, (rows, columns)."""
        weight, at = self._weight.to(inputs), self._at.to(inputs.device)
        numbers = len(at) * max(at.shape[1], weight.shape[2])  # that one row is made into
        for some in torch.split(inputs, max(1, MOST_NUMBERS // numbers)):
            added = torch.bmm(F.pad(some, (0, 1))[:, at].transpose(0, 1), weight)
            self.count += len(some)
            self._sum += added.sum(1, dtype=torch.float64).cpu()
            self._products += (added.flatten(1) @ added.flatten(1).T).cpu()

    def products(self, centred: bool) -> Tensor:
        """The sum over outputs of E[z_i z_j] for what channels i and j add to an output, or of the
        covariances, (channels, channels).
        """
        mean = self._sum / self.count * centred
        return self._products / self.count - mean @ mean.T
