"""Calibration inputs: some training samples that can be read again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.training.feeding import Normalise, at_once, batches

MOST_SAMPLES = 1024
_NUMBERS = 1 << 25  # in all samples together: 222 images of 224 pixels
_BATCH = 128  # samples


@dataclass(frozen=True, eq=False)
class Calibration:
    """Batches of images (batch, C, H, W), normalised and not augmented, the same ones every time.

    Attributes:
        split: where they come from, training samples as a rule.
        normalise: (mean, std) of every plane, in units of 0..1.
        samples: how many, at most; None = 1,024, fewer of large images.
        batch_size: samples per batch; None = 128, fewer of large images.
        seed: which ones.
        last: of the drawn order the end, so that where there are enough samples none is one of those that the
            same seed gives otherwise.
    """

    split: Split
    normalise: Normalise
    samples: int | None = None
    batch_size: int | None = None
    seed: int = 0
    last: bool = False

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)

    @property
    def count(self) -> int:
        """How many there are."""
        size = self.split.images[0].numel()
        return min(self.samples or min(MOST_SAMPLES, max(1, _NUMBERS // size)), len(self.split))

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches with their labels (batch,)."""
        batch_size = self.batch_size or at_once(self.split.images[0].numel(), _BATCH)
        order = torch.randperm(len(self.split), generator=torch.Generator().manual_seed(self.seed))
        chosen = order[-self.count :] if self.last else order[: self.count]
        return batches(self.split.subset(chosen), self.normalise, batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        return (images for images, _ in self.pairs())
