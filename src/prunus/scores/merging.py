"""Agglomerative clustering in which channels are merged for real: what goes hands its part of the next layers
over, and counts no more.

Where a layer's inputs are known, a channel that goes is replaced by the best kernel on its heir, and from
then on the heir is read with both weights. So every merge is judged by what it does to the layers as the
merges before have left them (our choice).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus.paint.records import Labels
from prunus.scores.products import LayerProducts
from prunus.scores.reconstruction import RIDGE

Floats = NDArray[np.float64]


class Merging:
    """One layer that reads the channels of a group.

    With H = E[x x^T] of the layer's inputs and the columns W_i that read channel i, the layer's outputs lose
    tr(W_i (H_ii - H_ij H_jj^-1 H_ji) W_i^T) / tr(W H W^T) when the best kernel on channel j stands in for
    channel i.

    Args:
        layer: with the products H.
        channels: of one group, shape (size,), all of which it reads.
        ridge: added to the diagonal of H_jj, relative to the mean of that of H.
    """

    def __init__(self, layer: LayerProducts, channels: Labels, ridge: float = RIDGE) -> None:
        columns = layer.columns()
        # (size, k): every channel of a group has as many columns
        self._own = torch.stack([columns[channel] for channel in channels.tolist()])
        weight, self._products = layer.weight.flatten(1), layer.products
        self._total = float(((weight @ self._products) * weight).sum()) or 1.0
        self._reading = weight[:, self._own].transpose(0, 1).contiguous()  # (size, outputs, k)
        self._blocks = self._products[self._own[:, :, None], self._own[:, None, :]]
        damped = self._blocks + (ridge * self._products.diagonal().mean() + 1e-30) * torch.eye(
            self._own.shape[1], dtype=self._blocks.dtype
        )
        self._inverses = torch.linalg.inv(damped)

    def losses(self, channel: int) -> Tensor:
        """What is lost when a channel is replaced by each of the others, relative to the variance of the
        outputs; shape (size,).
        """
        across = self._across(channel)  # (size, k, k): H_ij
        left: Tensor = self._blocks[channel] - across @ self._inverses @ across.mT
        gram = self._reading[channel].T @ self._reading[channel]
        lost: Tensor = (left * gram).sum((1, 2)).clamp(min=0) / self._total
        return lost

    def hand_over(self, channel: int, heir: int) -> None:
        """Read the heir with the weights of the channel too, through the best kernel on it."""
        self._reading[heir] += self._reading[channel] @ self._across(channel)[heir] @ self._inverses[heir]

    def _across(self, channel: int) -> Tensor:
        found: Tensor = self._products[self._own[channel]][:, self._own].transpose(0, 1)
        return found


def pairs(layers: Sequence[Merging], size: int) -> Floats:
    """What is lost, in all layers together, when channel j stands in for channel i, shape (size, size),
    before any merge.
    """
    found = torch.stack([_row(layers, channel) for channel in range(size)])
    result: Floats = found.fill_diagonal_(0).numpy()
    return result


def merge_all(layers: Sequence[Merging], lost: Floats) -> tuple[Floats, Floats]:
    """Merge until one channel is left, each time where least is lost; the layers are left as the merges leave
    them.

    Args:
        layers: that read the channels.
        lost: of `pairs`.

    Returns:
        The merges as scipy's linkage, (size - 1, 4), and for every channel the height at which it went,
        (size,): the root of what was lost, or the height of the merge before, if that is more; infinite for
        the last.
    """
    size, losses = len(lost), torch.from_numpy(lost.copy()).fill_diagonal_(math.inf)
    names, members, heights = np.arange(size), np.ones(size), np.full(size, np.inf)
    merges, reached = [], 0.0
    for merge in range(size - 1):
        gone, heir = divmod(int(losses.argmin()), size)
        reached = max(reached, float(losses[gone, heir]))
        heights[gone] = math.sqrt(reached)
        members[heir] += members[gone]
        merges.append((*sorted((names[gone], names[heir])), heights[gone], members[heir]))
        names[heir] = size + merge
        for layer in layers:
            layer.hand_over(gone, heir)
        left = losses[heir] < math.inf
        left[gone] = False
        losses[heir] = torch.where(left, _row(layers, heir), math.inf)
        losses[gone] = losses[:, gone] = math.inf
    return np.array(merges).reshape(-1, 4), heights


def _row(layers: Sequence[Merging], channel: int) -> Tensor:
    return sum((layer.losses(channel) for layer in layers[1:]), start=layers[0].losses(channel))
