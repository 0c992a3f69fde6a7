"""Aggregated points as images that a network can score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import checked, door
from prunus.errors import ConfigError
from prunus.selection.effect import cross_entropy
from prunus.selection.masks import Masks
from prunus.selection.rules import Effects
from prunus.selection.subsets import Indices, Subsets, means

Effect = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""(model in evaluation mode, images (n, C, H, W), labels (n,) or shares of the classes) -> effect values
(n,).
"""


@door(ConfigError)
def of_logits(function: Callable[[Tensor, Tensor], Tensor]) -> Effect:
    """An effect value that is a function of logits and labels: `cross_entropy`, `margin` or `doubt`, and of
    masks `pixel_divergence`.
    """
    return lambda model, images, labels: function(model(images), labels)


_CROSS_ENTROPY = of_logits(cross_entropy)


class Points:
    """Coarse and fine points: the means of their samples, normalised like these, without augmentation.

    Coarse points are kept; fine points, which are many, are made from the samples when a rule asks for them.

    Args:
        samples: (N, C, H, W) an array or a memory map, bytes as a rule.
        subsets: which samples stand together.
        normalise: (mean, std) of every plane, in units of 0..1 (of 255).
        effect: how much a network can still learn from a point.
        batch_size: points that are scored at a time.
        masks: for pictures with masks: the effect gets the mean shares of the classes, (n, classes, H, W), in
            place of labels.
    """

    @checked(ConfigError)
    def __init__(
        self,
        samples: Any,
        subsets: Subsets,
        normalise: tuple[Sequence[float], Sequence[float]],
        effect: Effect = _CROSS_ENTROPY,
        batch_size: int = 500,
        masks: Masks | None = None,
    ) -> None:
        self.subsets, self._samples, self._effect, self._batch_size, self._masks = (
            subsets,
            samples,
            effect,
            batch_size,
            masks,
        )
        self._mean, self._std = (np.asarray(values, dtype=np.float32)[:, None, None] for values in normalise)
        self._coarse = self._normalised(means(samples, subsets.subset_of_sample, len(subsets)))
        shares = subsets.labels if masks is None else means(masks, subsets.subset_of_sample, len(subsets))
        self._coarse_targets = torch.from_numpy(shares)

    def coarse_effects(self, model: nn.Module) -> Effects:
        """Effect values of all coarse points, shape (S,). The model should be in evaluation mode."""
        return self._score(model, self._coarse, self._coarse_targets)

    def fine_effects(self, model: nn.Module, points: Indices) -> Effects:
        """Effect values of some fine points, shape (len(points),); the points are made here, a batch at a
        time.
        """
        parts = [
            points[start : start + self._batch_size] for start in range(0, len(points), self._batch_size)
        ]
        return np.concatenate([self._score(model, *self._fine(part)) for part in parts])

    def _fine(self, points: Indices) -> tuple[Tensor, Tensor]:
        """Some fine points, normalised, and their targets."""
        order, begins, ends = self.subsets.order, self.subsets.fine[points], self.subsets.fine[points + 1]
        members = np.concatenate([order[begin:end] for begin, end in zip(begins, ends)])
        group = np.arange(len(points)).repeat(ends - begins)
        images = self._normalised(means(self._samples[members], group, len(points)))
        if self._masks is None:
            return images, torch.from_numpy(self.subsets.labels[self.subsets.subset_of_fine[points]])
        return images, torch.from_numpy(means(self._masks[members], group, len(points)))

    def _normalised(self, images: NDArray[Any]) -> Tensor:
        return torch.from_numpy(((images / 255 - self._mean) / self._std).astype(np.float32))

    def _score(self, model: nn.Module, images: Tensor, targets: Tensor) -> Effects:
        first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
        values = []
        with torch.no_grad():
            for part, target in zip(
                torch.split(images, self._batch_size), torch.split(targets, self._batch_size)
            ):
                values.append(
                    self._effect(model, part.to(first.device, first.dtype), target.to(first.device))
                    .double()
                    .cpu()
                )
        return np.asarray(torch.cat(values).numpy())
