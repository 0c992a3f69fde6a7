"""Metrics of segmentation, from one confusion matrix over all pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from prunus._foundation.arguments import checked
from prunus._foundation.finite import NO_CLASS, named_class
from prunus.data.pictures import IGNORED
from prunus.errors import DataError


class Confusion:
    """Counts pixels by (true class, found class).

    Args:
        classes: how many; 2 for a binary mask.
        ignore: the label of pixels that count for nothing; if it lies among the classes it is none of them.

    Attributes:
        counts: (classes, classes + 1) int64, rows true; the last column has pixels of which a network names
            no class, since it gives NaN there.
        ignore: as given.
    """

    @checked(DataError)
    def __init__(self, classes: int, ignore: int = IGNORED) -> None:
        self.counts, self.ignore = torch.zeros(classes, classes + 1, dtype=torch.int64), ignore

    @staticmethod
    def of(counts: Tensor, ignore: int = IGNORED) -> Confusion:
        """From counts as `counts` has them."""
        result = Confusion(len(counts), ignore)
        result.counts = counts
        return result

    def add(self, found: Tensor, targets: Tensor) -> None:
        """Class indices found and true, of any one shape; true ones that are `IGNORED` or `ignore` do not
        count, and one found that is `NO_CLASS` is right of nothing.

        Raises:
            DataError: other shapes, or what is no class.
        """
        if found.shape != targets.shape:
            raise DataError(
                f"A prediction of shape {tuple(found.shape)} cannot be compared with a mask of shape"
                f" {tuple(targets.shape)}."
            )
        known, size = (targets != IGNORED) & (targets != self.ignore), len(self.counts)
        check_classes(targets[known], size)
        true, guess = targets[known].long().cpu(), found[known].cpu()
        check_classes(guess[guess != NO_CLASS], size)
        guess = torch.where(guess == NO_CLASS, size, guess).long()
        cells = torch.bincount((size + 1) * true + guess, minlength=self.counts.numel())
        self.counts += cells.view_as(self.counts)

    def pixel_accuracy(self) -> float:
        """Share of the pixels that are right [percent]."""
        return 100.0 * float(self.counts.diagonal().sum()) / max(int(self.counts.sum()), 1)

    def iou(self) -> Tensor:
        """Intersection over union of every class [percent], (classes,); NaN for a class that is neither there
        nor found, and for the label to ignore, however often it is found.
        """
        right, union = self._right_and_union()
        return self._of_classes(100.0 * right / union)

    def dice(self) -> Tensor:
        """Dice of every class, 2 |A and B| / (|A| + |B|) [percent], (classes,); NaN likewise."""
        right, union = self._right_and_union()
        return self._of_classes(200.0 * right / (union + right))

    def figures(self) -> dict[str, float]:
        """What is usually quoted [percent]: pixel accuracy, and IoU and Dice of the foreground of a binary
        mask, or their means over the classes that are there or found.
        """
        first = 1 if len(self.counts) == 2 else 0
        return {
            "pixel accuracy": self.pixel_accuracy(),
            "IoU": float(self.iou()[first:].nanmean()),
            "Dice": float(self.dice()[first:].nanmean()),
        }

    def _of_classes(self, figures: Tensor) -> Tensor:
        """Without the label to ignore: a single pixel that is taken for it would be a class at 0 percent."""
        return torch.where(torch.arange(len(figures)) == self.ignore, math.nan, figures)

    def _right_and_union(self) -> tuple[Tensor, Tensor]:
        right, found = self.counts.diagonal().double(), self.counts[:, : len(self.counts)].sum(0).double()
        return right, found + self.counts.sum(1).double() - right


def check_classes(known: Tensor, classes: int) -> None:
    """Raises DataError where pixels that are known have something else than one of so many classes."""
    if not known.numel():
        return
    if known.is_floating_point() and not torch.equal(known, known.floor()):
        raise DataError(
            "A mask has numbers between the classes, such as soft labels: round them, or take a loss and a"
            " metric of your own."
        )
    lowest, highest = (int(one) for one in torch.aminmax(known.long()))
    if lowest < 0 or highest >= classes:
        wrong = lowest if lowest < 0 else highest
        raise DataError(
            f"A mask has class {wrong}, but there are {classes} classes, 0 to {classes - 1}, and {IGNORED}"
            " for what does not count."
        )


def together(confusions: Sequence[Confusion]) -> Confusion:
    """All pixels of several counts."""
    whole = torch.stack([confusion.counts for confusion in confusions]).sum(0)
    return Confusion.of(whole, confusions[0].ignore)


def maps_of(outputs: Any) -> Any:
    """The logits among a network's outputs: what is under "out" in a dictionary, as torchvision's networks
    return it, and otherwise all there is.
    """
    return outputs["out"] if isinstance(outputs, Mapping) and "out" in outputs else outputs


def classes_of(logits: Tensor) -> Tensor:
    """The class of every pixel, (batch, H, W), from logits (batch, classes, H, W); of a single map 1 where it
    is above 0. `NO_CLASS` where one of them is NaN.
    """
    if logits.shape[1] > 1:
        return named_class(logits)
    return (logits[:, 0] > 0).long().masked_fill(logits[:, 0].isnan(), NO_CLASS)
