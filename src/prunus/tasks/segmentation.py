"""Segmentation: mean IoU of classes over all pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus._foundation.confidence import Rows
from prunus._foundation.wording import given
from prunus.data.pictures import IGNORED
from prunus.errors import ConfigError
from prunus.segmentation.evaluation import figures_of
from prunus.segmentation.metrics import Confusion, classes_of, maps_of
from prunus.tasks.metrics import ClassFigure


@dataclass(frozen=True)
class MeanIoU:
    """Mean intersection over union of the classes that are there or found [percent]; of the foreground alone,
    where masks are binary.

    Outputs are logits (batch, classes, H, W), one map being the foreground of a binary mask, or a dictionary
    with them under "out", as torchvision's networks return; targets are class indices (batch, H, W). Signals
    and volumes go as well, with one axis of places or three.

    Attributes:
        ignore: the label of pixels that count for nothing; if it lies among the classes it is none of them.
        name: what it is called.
        figure: what it is called of one class.
        counted: what a class has many of.
    """

    ignore: int = IGNORED
    name: str = "mean IoU"
    figure: str = "IoU"
    counted: str = "pixels"

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """Counts of pixels by true and found class of every picture; raises ConfigError where the outputs are
        no maps of the masks' size.
        """
        logits = maps_of(outputs)
        fits = isinstance(logits, Tensor) and isinstance(targets, Tensor) and logits.dim() > 2
        if not fits or (len(logits), *logits.shape[2:]) != tuple(targets.shape):
            raise ConfigError(
                "Mean IoU is of logits (batch, classes, H, W) and masks of class indices (batch, H, W), not"
                f" of {given(logits)} and {given(targets)}."
            )
        found = classes_of(logits)
        counts = []
        wide = targets if targets.is_floating_point() else targets.long()  # 255 is no number of 7 bits
        for guess, true in zip(found, wide):
            confusion = Confusion(max(logits.shape[1], 2), self.ignore)
            confusion.add(guess, true)
            counts.append(confusion.counts)
        return counts

    def points(self, entries: Sequence[Any]) -> Tensor | Rows:
        """Counts of all pictures together."""
        return figures_of([Confusion.of(counts, self.ignore) for counts in entries])["IoU"]

    def by_class(self, entries: Sequence[Any]) -> Sequence[ClassFigure]:
        """IoU of every class over all pixels; NaN of one that is neither there nor found, or is ignored."""
        whole = Confusion.of(torch.stack(list(entries)).sum(0), self.ignore)
        there = whole.counts.sum(1).tolist()
        return [ClassFigure(label, *one) for label, one in enumerate(zip(whole.iou().tolist(), there))]
