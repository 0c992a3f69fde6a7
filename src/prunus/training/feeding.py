"""From whole uint8 sets to normalised batches, augmented as whole batches by tensor operations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus._foundation.arguments import at_least, checked, shaped
from prunus._foundation.sizes import levels_fault
from prunus.data.sets import Split
from prunus.errors import ConfigError, DataError
from prunus.training.config import Augment, TrainConfig

AT_ONCE = 1 << 22  # numbers in all samples that are read at once: 27 images of 224 pixels
Normalise = tuple[Sequence[float], Sequence[float]]
"""(mean, std) of every plane, in units of 0..1."""


@checked(ConfigError)
def batches(
    split: Split,
    normalise: Normalise,
    batch_size: int = 500,
    *,
    generator: torch.Generator | None = None,
    augment: Augment = "none",
    shift: int = 0,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over a split, in batches whose sizes differ by one at most.

    Args:
        split: the samples; batches are made on the device where it lies.
        normalise: (mean, std) of every plane, in units of 0..1.
        batch_size: samples per batch, at most.
        generator: of the CPU; shuffles the samples and draws the augmentation. None = in order.
        augment, shift: see `TrainConfig`; needs a generator.
        dtype: of the images that are yielded.
        channels_last: yield them in the channels-last memory format.

    Yields:
        images (batch, C, H, W), normalised, and labels (batch,) int64.

    Raises:
        DataError: no samples, or another number of planes than `normalise` has.
        ConfigError: batch size below 1, or an augmentation without a generator.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}.")
    if augment != "none" and generator is None:
        raise ConfigError(f"The augmentation {augment!r} is random and needs a generator.")
    if not len(split):
        raise DataError("The split has no samples.")
    feed = Feed(split, normalise, augment, dtype, channels_last, shift)
    order = torch.arange(len(split)) if generator is None else torch.randperm(len(split), generator=generator)
    for part in order.to(split.images.device).tensor_split(steps_per_epoch(len(split), batch_size)):
        yield feed(part, generator)


@dataclass(frozen=True, eq=False)
class Shuffled:
    """What `batches` makes of a split, in a new order at every pass, for loops of one's own: like a
    `DataLoader`, without its cost per sample.

    Attributes:
        split, normalise, batch_size, augment, dtype: see `batches`.
        generator: of the CPU; it goes on from pass to pass.
    """

    split: Split
    normalise: Normalise
    batch_size: int = 128
    augment: Augment = "none"
    dtype: torch.dtype = torch.float32
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return steps_per_epoch(len(self.split), self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return batches(
            self.split,
            self.normalise,
            self.batch_size,
            generator=self.generator,
            augment=self.augment,
            dtype=self.dtype,
        )


class Feed:
    """Makes batches of a split; the arguments are those of `batches`, and what `alternating` returns."""

    def __init__(
        self,
        split: Split,
        normalise: Normalise,
        augment: Augment,
        dtype: torch.dtype,
        channels_last: bool,
        shift: int = 0,
        first: Tensor | None = None,
    ) -> None:
        self._first = first
        self._images, self._labels, self._augment, self._dtype, self._border = (
            split.images,
            split.labels,
            augment,
            dtype,
            shift,
        )
        self._scale, self._shift = _affine(split, normalise, dtype)
        self._memory = torch.channels_last if channels_last else torch.contiguous_format

    def __len__(self) -> int:
        return len(self._labels)

    def __call__(
        self,
        part: Tensor,
        generator: torch.Generator | None,
        share: slice = slice(None),
        size: float = 1.0,
        epoch: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Images (batch, C, H, W) at the positions `part`, augmented where there is a generator, with `size`
        times their sides, as an epoch (counted from 0) sees them; and their labels.

        Of a batch that several processes share only `share` is made; what is drawn for it is what is drawn
        for the whole batch.
        """
        mirrored = None if self._first is None else self._first[part] ^ bool(epoch % 2)
        part, count = part.to(self._images.device), len(part)
        images = self._images[part[share]]
        if generator is not None:
            images = augmented(images, self._augment, generator, count, share, self._border, mirrored)
        images = images.to(self._dtype) * self._scale + self._shift
        if size != 1:
            images = resized(images, size)
        images = images.contiguous(memory_format=self._memory)
        if generator is not None and self._augment == "crop-flip-cutout":
            # the mean of the normalised images
            images.masked_fill_(cutout(images, generator, count, share), 0)
        return images, self._labels[part[share]]

    def whole(self, part: Tensor, share: slice) -> Tensor:
        """The images of a batch as they are, in their own size."""
        return self(part, None, share)[0]


def alternating(samples: int, config: TrainConfig) -> Tensor | None:
    """Which samples the first epoch mirrors, (samples,) bool, where mirroring alternates; a coin thrown once
    for each, by the seed. None where it does not.
    """
    if config.flips == "random" or "flip" not in config.augment:
        return None
    return torch.rand(samples, generator=torch.Generator().manual_seed(config.seed)) < 0.5


def at_once(numbers: int, most: int) -> int:
    """How many samples of so many numbers each are read at once, `most` of small ones."""
    return max(1, min(most, AT_ONCE // max(numbers, 1)))


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Batches that `batches` makes of so many samples."""
    return -(-samples // batch_size)


@checked(ConfigError)
def augmented(
    images: Tensor,
    augment: Augment,
    generator: torch.Generator,
    batch: int | None = None,
    share: slice = slice(None),
    shift: int = 0,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Shift every image by its own random offset over a black border and, with "flip", mirror half of them.

    The border is `shift` pixels, or else an eighth of the shorter side, at least 1 pixel: the usual 4 for
    32x32.

    Args:
        images: (batch, C, H, W).
        augment: see `TrainConfig`; the cutout is done on normalised images, by `cutout`.
        generator: of the CPU, so that every device sees the same images.
        batch, share: `images` are the part `share` of a batch of so many; None = they are all.
        mirrored: which of the batch are mirrored, (batch,) bool; None = half of them, by chance.
    """
    shaped("batch, planes, H, W", images=images)
    at_least(0, shift=shift, batch=batch or 0)
    if augment == "none":
        return images
    count, height, width = batch or len(images), *images.shape[2:]
    border = shift or max(min(height, width) // 8, 1)
    padded = F.pad(images, (border, border, border, border))
    offsets = torch.randint(2 * border + 1, (2, count, 1), generator=generator)
    rows, columns = offsets[0] + torch.arange(height), offsets[1] + torch.arange(width)
    if augment != "crop":
        if mirrored is None:
            mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows[share].to(images.device), columns[share].to(images.device)
    samples = torch.arange(len(images), device=images.device)[:, None, None]
    # With the planes last, one advanced index picks whole pixels; the channel axis goes back to its place
    # after it.
    return padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resized(images: Tensor, size: float) -> Tensor:
    """Images (batch, C, H, W) with `size` times their sides, rounded to pixels: every pixel is the mean of
    those that it stands for.
    """
    height, width = (max(1, round(side * size)) for side in images.shape[2:])
    return F.interpolate(images, (height, width), mode="bilinear", antialias=True)


def cutout(
    images: Tensor, generator: torch.Generator, batch: int | None = None, share: slice = slice(None)
) -> Tensor:
    """True in a square of half the shorter side around a random pixel of every image, (batch, 1, H, W)
    (DeVries and Taylor, 2017).

    `batch` and `share` are as for `augmented`.
    """
    count, height, width = batch or len(images), *images.shape[2:]
    side = min(height, width) // 2
    inside = []
    for length in (height, width):
        start = torch.randint(length, (count, 1), generator=generator) - side // 2
        place = torch.arange(length)
        inside.append((place >= start) & (place < start + side))
    return (inside[0][share, None, :, None] & inside[1][share, None, None, :]).to(images.device)


def _affine(split: Split, normalise: Normalise, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and shift (C, 1, 1) for which `byte * scale + shift` is `(byte / 255 - mean) / std`."""
    mean, std = check_scale(split.images, normalise)
    scale, shift = 1 / (255 * std), -mean / std
    return tuple(one.view(-1, 1, 1).to(split.images.device, dtype) for one in (scale, shift))  # type: ignore[return-value]


def check_scale(images: Tensor, normalise: Normalise) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the planes of images (N, C, …); raises DataError where they do not fit, or are no
    numbers.
    """
    mean, std = (torch.tensor(list(values), dtype=torch.float64) for values in normalise)
    planes = images.shape[1]
    if mean.shape != (planes,) or std.shape != (planes,):
        raise DataError(
            f"Images of {planes} planes need as many means and deviations, not {len(mean)} and {len(std)}."
        )
    if not bool((std > 0).all() and std.isfinite().all()):
        raise DataError(f"Deviations must be above 0, not {std.tolist()}.")
    if not bool(mean.isfinite().all()):
        raise DataError(f"Means must be numbers, not {mean.tolist()}.")
    if fault := levels_fault(mean.tolist(), std.tolist()):
        raise DataError(f"Normalisation: {fault}.")
    return mean, std


def checked_scale(normalise: Normalise | None) -> Normalise:
    """What samples are normalised by; raises ConfigError where there is nothing."""
    if normalise is None:
        raise ConfigError("Samples need `normalise`, the mean and deviation of their planes.")
    return normalise
