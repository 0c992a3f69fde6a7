"""What a data set is: two splits of uint8 images with labels, and how to normalise them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus._foundation.warned import warn
from prunus.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Images with their labels, whole in memory.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, class indices.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_fields(self, DataError)
        if self.images.dim() != 4 or self.images.dtype != torch.uint8:
            raise DataError(
                f"Images must be uint8 (N, C, H, W), not {self.images.dtype} {tuple(self.images.shape)}."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            found = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise DataError(f"{len(self.images)} images need as many int64 labels, not {found}.")

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> Split:
        """The samples at `indices` (int64 positions, or a boolean mask of all samples)."""
        return Split(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Split:
        """The same samples on another device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set for classification.

    Attributes:
        name: what it is called.
        train: samples to train on.
        test: samples to report on, never to choose by.
        classes: names of the classes, by class index.
        mean: mean of every plane over the training images, in units of 0..1.
        std: standard deviation likewise.
        validation: samples to choose by, where the set has some of its own; `hold_out` gives some otherwise.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: Split | None = None

    @property
    def normalise(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std), as the training functions take them."""
        return self.mean, self.std

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def hold_out(self, fraction: float = 0.1, seed: int = 0) -> tuple[Split, Split]:
        """Split the training samples into (train, validation), the same share of every class; a set with
        validation samples gives all and these.

        Args:
            fraction: share held out, in (0, 1).
            seed: which samples are held out; the same seed gives the same split.

        Raises:
            DataError: `fraction` is not between 0 and 1, or no class has two training samples.
        """
        if self.validation is not None:
            return self.train, self.validation
        kept, held = stratified(self.train.labels, fraction, seed)
        if not len(held):
            raise DataError(
                f"{self.name} has one training sample of every class, and none can be held out to choose by:"
                " add more, or samples of its own for validation."
            )
        return self.train.subset(kept), self.train.subset(held)


def tell_missing(labels: Tensor, classes: int, name: str) -> None:
    """Warn of classes that no training sample has, as of labels that begin at 1."""
    missing = (torch.bincount(labels.flatten(), minlength=classes) == 0).nonzero().flatten().tolist()
    if missing:
        shown = f"{', '.join(map(str, missing[:8]))}{' …' if len(missing) > 8 else ''}"
        warn(
            f"{name} has no training samples of class{'es' if len(missing) > 1 else ''} {shown}: labels are"
            " numbers from 0, and every class up to the highest has an output."
        )


def stratified(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions (kept, held out), each in order; `fraction` of every class, rounded, is held out.

    Of a class with two samples or more at least one is held out and at least one stays.
    """
    if not 0 < fraction < 1:
        raise DataError(f"The fraction to hold out must lie between 0 and 1, not {fraction}.")
    generator = torch.Generator().manual_seed(seed)
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels):
        members = torch.nonzero(labels == label).flatten()
        if len(members) < 2:
            continue
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every plane of (N, C, H, W) uint8 images, in units of 0..1."""
    return from_histograms(
        sum((histograms(part) for part in torch.split(images, 10_000)), torch.zeros(1, dtype=torch.int64))
    )


def histograms(images: Tensor) -> Tensor:
    """How often every byte occurs in each plane of (N, C, H, W) uint8 images, (C, 256); exact, and needs no
    float copy of the images.
    """
    return torch.stack(
        [torch.bincount(images[:, plane].flatten(), minlength=256) for plane in range(images.shape[1])]
    )


def from_histograms(counts: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, in units of 0..1, of planes whose bytes occur so often, (C, 256)."""
    shares, levels = (
        counts / counts.sum(1, keepdim=True, dtype=torch.float64),
        torch.arange(256, dtype=torch.float64) / 255,
    )
    means = shares @ levels
    # a constant plane: no division by 0
    deviations = (shares * (levels - means[:, None]) ** 2).sum(1).sqrt().clamp(min=1 / 255)
    return tuple(means.tolist()), tuple(deviations.tolist())
