"""Aggregated points as images that a network can score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .effect import cross_entropy
from .rules import Effects
from .subsets import Indices, Subsets, means

Effect = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model in evaluation mode, images (n, C, H, W), labels (n,)) -> effect values (n,)."""


def of_logits(function: Callable[[Tensor, Tensor], Tensor]) -> Effect:
    """An effect value that is a function of logits (n, classes) and labels (n,): `cross_entropy`, `margin` or `doubt`."""
    return lambda model, images, labels: function(model(images), labels)


_CROSS_ENTROPY = of_logits(cross_entropy)


class Points:
    """Coarse and fine points: the means of their samples, normalised like these, without augmentation.

    Args:
        samples: (N, C, H, W) anything that can be sliced along its first axis; bytes as a rule.
        subsets: which samples stand together.
        normalise: (mean, std) of every plane, in units of 0..1 (of 255).
        effect: how much a network can still learn from a point.
        batch_size: points that are scored at a time.
    """

    def __init__(
        self,
        samples: Any,
        subsets: Subsets,
        normalise: tuple[Sequence[float], Sequence[float]],
        effect: Effect = _CROSS_ENTROPY,
        batch_size: int = 500,
    ) -> None:
        self.subsets, self._effect, self._batch_size = subsets, effect, batch_size
        mean, std = (np.asarray(values, dtype=np.float32)[:, None, None] for values in normalise)
        fine = means(samples, subsets.fine_of_sample, len(subsets.fine) - 1)
        counts = np.diff(subsets.fine).astype(np.float32)[:, None]
        flat = fine.reshape(len(fine), -1)
        coarse = np.add.reduceat(flat * counts, subsets.coarse[:-1], axis=0) / subsets.sizes[:, None].astype(np.float32)
        self._fine = torch.from_numpy((fine / 255 - mean) / std)
        self._coarse = torch.from_numpy((coarse.reshape(-1, *fine.shape[1:]) / 255 - mean) / std)
        self._labels = torch.from_numpy(subsets.labels)
        self._fine_labels = self._labels[torch.from_numpy(subsets.subset_of_fine)]

    def coarse_effects(self, model: nn.Module) -> Effects:
        """Effect values of all coarse points, shape (S,). The model should be in evaluation mode."""
        return self._score(model, self._coarse, self._labels)

    def fine_effects(self, model: nn.Module, points: Indices) -> Effects:
        """Effect values of some fine points, shape (len(points),)."""
        chosen = torch.from_numpy(points)
        return self._score(model, self._fine[chosen], self._fine_labels[chosen])

    def _score(self, model: nn.Module, images: Tensor, labels: Tensor) -> NDArray[np.float64]:
        first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
        values = []
        with torch.no_grad():
            for part, target in zip(torch.split(images, self._batch_size), torch.split(labels, self._batch_size)):
                values.append(self._effect(model, part.to(first.device, first.dtype), target.to(first.device)).double().cpu())
        return np.asarray(torch.cat(values).numpy())
