"""A task whose training is somebody else's, so that what a method does around it can be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunus.tasks import Task
from prunus.training import History, TrainConfig

Penalty = Callable[[], Tensor]
Fit = Callable[[nn.Module, Penalty | None], None]


def still(model: nn.Module, penalty: Penalty | None) -> None:
    """Train nothing."""


@dataclass(frozen=True, eq=False)
class Fake(Task):
    """A task that is trained by a function (model, penalty)."""

    trains: Fit = still

    def fit(
        self, model: nn.Module, config: TrainConfig, *, besides: Penalty | None = None, **options: Any
    ) -> History:
        """Leave it to the function."""
        self.trains(model, besides)
        return History(config, (), 0)


def fake(trains: Fit = still, images: Tensor | None = None, **options: Any) -> Fake:
    """On some images of noise."""
    images = (
        torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        if images is None
        else images
    )
    batches = [(images, torch.arange(len(images)) % 10)]
    return Fake(**{"train": batches, "validation": batches, "example": images[:1], **options}, trains=trains)
