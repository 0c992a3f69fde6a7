"""What can be shown of samples: their class, a mask, or boxes; and how much two networks differ on one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from prunus._foundation.finite import NO_CLASS, named_class
from prunus.data.pictures import IGNORED
from prunus.segmentation.metrics import classes_of, maps_of

MOST_BOXES = 20


class SampleKind(Protocol):
    """A kind of samples."""

    def true(self, targets: Any) -> list[Any]:
        """What there is in every sample of a batch."""

    def found(self, outputs: Any, true: Sequence[Any]) -> list[Any]:
        """What a network found in every sample of a batch."""

    def difference(self, true: Any, one: Any, other: Any) -> float:
        """How much two networks differ on a sample, from 0 to 1."""

    def labels(self, value: Any) -> set[int]:
        """The classes in what is there or was found."""


@dataclass(frozen=True)
class Classes:
    """One class a sample: logits (batch, classes), and class indices (batch,)."""

    def true(self, targets: Any) -> list[int]:
        """Class indices."""
        found: list[int] = targets.tolist()
        return found

    def found(self, outputs: Any, true: Sequence[Any]) -> list[int]:
        """The class of the largest logit, or `NO_CLASS`."""
        found: list[int] = named_class(outputs).tolist()
        return found

    def difference(self, true: int, one: int, other: int) -> float:
        """Whether the classes differ."""
        return float(one != other)

    def labels(self, value: int) -> set[int]:
        """The class itself."""
        return {value}


@dataclass(frozen=True)
class Masks:
    """A class a pixel: logits (batch, classes, H, W), and class indices (batch, H, W).

    Attributes:
        ignore: the label of pixels that count for nothing.
        binary: class 0 is what is not looked for.
    """

    ignore: int = IGNORED
    binary: bool = False

    def true(self, targets: Any) -> list[Tensor]:
        """Masks (H, W), with `IGNORED` where nobody knows."""
        return list(torch.where(targets == self.ignore, IGNORED, targets).cpu())

    def found(self, outputs: Any, true: Sequence[Any]) -> list[Tensor]:
        """The class of every pixel, (H, W); `NO_CLASS` where there is none."""
        return list(classes_of(maps_of(outputs)).cpu())

    def difference(self, true: Tensor, one: Tensor, other: Tensor) -> float:
        """The share of the known pixels that have different classes."""
        known = true != IGNORED
        return float((one != other)[known].double().mean()) if bool(known.any()) else 0.0

    def labels(self, value: Tensor) -> set[int]:
        """Classes with a pixel at least."""
        return set(torch.unique(value).tolist()) - {IGNORED, NO_CLASS} - ({0} if self.binary else set())


@dataclass(frozen=True)
class Boxes:
    """Boxes as torchvision's detectors return them: a list with one dictionary per picture."""

    def true(self, targets: Any) -> list[Any]:
        """The boxes that are there."""
        return [{key: one[key].detach().cpu() for key in ("boxes", "labels")} for one in targets]

    def found(self, outputs: Any, true: Sequence[Any]) -> list[Any]:
        """Of every picture as many of the surest boxes as there are true ones."""
        return [_surest(one, min(len(there["labels"]), MOST_BOXES)) for one, there in zip(outputs, true)]

    def difference(self, true: Any, one: Any, other: Any) -> float:
        """1 less the mean overlap (IoU) of every box with that of its label in the other network that
        overlaps it most.
        """
        overlaps = _overlaps(one["boxes"].double(), other["boxes"].double())
        overlaps = overlaps * (one["labels"][:, None] == other["labels"])
        if not overlaps.numel():
            return float(len(one["labels"]) != len(other["labels"]))
        best = torch.cat([overlaps.amax(1), overlaps.amax(0)])
        return 1.0 - float(best.mean())

    def labels(self, value: Any) -> set[int]:
        """Classes with a box at least."""
        return set(value["labels"].tolist())


def kind_of(outputs: Any, targets: Any, ignore: int = IGNORED) -> SampleKind | None:
    """The kind of the samples of a batch, told by what a network makes of them; None for any other."""
    maps = maps_of(outputs)
    if isinstance(maps, Tensor) and isinstance(targets, Tensor) and not targets.is_floating_point():
        if maps.dim() == 2 and targets.dim() == 1 and len(maps) == len(targets):
            return Classes()
        if maps.dim() == 4 and targets.shape == (len(maps), *maps.shape[2:]):
            return Masks(ignore, maps.shape[1] <= 2)
    if isinstance(outputs, Sequence) and isinstance(targets, Sequence):
        whole = all(_has(one, "boxes", "labels", "scores") for one in outputs)
        if whole and all(_has(one, "boxes", "labels") for one in targets):
            return Boxes()
    return None


def _has(boxes: Any, *keys: str) -> bool:
    return isinstance(boxes, Mapping) and all(isinstance(boxes.get(key), Tensor) for key in keys)


def _surest(boxes: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    order = boxes["scores"].argsort(descending=True, stable=True)[:count]
    return {key: boxes[key][order].detach().cpu() for key in ("boxes", "labels")}


def _overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (m, 4) and (n, 4), (m, n)."""
    low = torch.maximum(one[:, None, :2], other[None, :, :2])
    high = torch.minimum(one[:, None, 2:], other[None, :, 2:])
    both = (high - low).clamp(min=0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (one, other)]
    return both / (areas[0][:, None] + areas[1] - both).clamp(min=1e-12)
