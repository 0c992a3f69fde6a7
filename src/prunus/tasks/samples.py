"""Samples of any kind that lie in memory, as batches of any size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunus._foundation.arguments import at_least, check_fields
from prunus._foundation.wording import given
from prunus.data.sets import Split, statistics
from prunus.errors import DataError
from prunus.training.feeding import Normalise, at_once, check_scale, steps_per_epoch

BATCH = 200  # samples that are read at once where nothing is trained


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and targets, whole in memory, read as batches.

    Attributes:
        inputs: (samples, …), float32 as the model takes them, or bytes (samples, planes, …) that `scale`
            makes such.
        targets: (samples, …).
        scale: (mean, std) of every plane, in units of 0..1, for bytes.
        batch_size: samples per batch, at most.
        drawn: shuffle anew in every pass, with torch's own generator.
    """

    inputs: Tensor
    targets: Tensor
    scale: Normalise | None = None
    batch_size: int = BATCH
    drawn: bool = False

    def __post_init__(self) -> None:
        check_fields(self, DataError)
        at_least(1, batch_size=self.batch_size)
        if not self.inputs.dim() or not self.targets.dim():
            raise DataError(f"Inputs and targets are of shape (samples, …), not {given(self.inputs)}.")
        if self.scale is not None and self.inputs.dim() < 2:
            raise DataError(f"What is scaled is of shape (samples, planes, …), not {given(self.inputs)}.")
        if self.scale is not None:
            check_scale(self.inputs, self.scale)
        if len(self.inputs) != len(self.targets) or not len(self.inputs):
            raise DataError(
                f"{len(self.inputs):,} inputs and {len(self.targets):,} targets: every sample needs its"
                " target, and there must be some."
            )

    def __len__(self) -> int:
        """Batches."""
        return steps_per_epoch(self.count, self.batch_size)

    @property
    def count(self) -> int:
        """Samples."""
        return len(self.inputs)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(self.count) if self.drawn else torch.arange(self.count)
        for part in order.tensor_split(len(self)):
            yield self._as_taken(self.inputs[part]), self.targets[part]

    def of(self, batch_size: int, *, drawn: bool = False) -> Samples:
        """The same samples in batches of another size."""
        return replace(self, batch_size=batch_size, drawn=drawn)

    def by_chance(self, count: int, seed: int, last: bool = False) -> Samples:
        """So many of them, by chance: files are often sorted by class. The first or the last of the drawn
        order.
        """
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(seed))
        return self.subset(order[-count:] if last else order[:count])

    def subset(self, positions: Tensor) -> Samples:
        """The samples at some positions (int64), in that order."""
        return replace(self, inputs=self.inputs[positions], targets=self.targets[positions])

    def _as_taken(self, inputs: Tensor) -> Tensor:
        if self.scale is None:
            return inputs
        mean, std = (torch.tensor(list(values)).view(-1, *[1] * (inputs.dim() - 2)) for values in self.scale)
        return (inputs.float() / 255 - mean) / std


def scale_of(inputs: Tensor) -> Normalise | None:
    """Mean and deviation of the planes of bytes (samples, planes, H, W); None for numbers, which are taken as
    they are.
    """
    return statistics(inputs) if inputs.dtype == torch.uint8 else None


def read_at_once(part: object) -> int:
    """How many samples of a part of the data are read at once, so that large ones fit into memory."""
    inputs = part.images if isinstance(part, Split) else part.inputs if isinstance(part, Samples) else None
    return BATCH if inputs is None else at_once(inputs[0].numel(), BATCH)
