"""How many samples batches hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from prunus.tasks.metrics import Batch


def first_batches(pairs: Iterable[Batch], samples: int) -> Iterator[Batch]:
    """The first batches, until there are so many samples."""
    seen = 0
    for inputs, targets in pairs:
        if seen >= samples:
            return
        yield inputs, targets
        seen += samples_in(inputs)


def size_of(batch: Any) -> int:
    """Samples of a batch of (inputs, targets)."""
    return samples_in(batch[0]) if isinstance(batch, (tuple, list)) and batch else 1


def samples_in(inputs: Any) -> int:
    """Samples of the inputs of a batch: of the first argument, or of the first named one."""
    if isinstance(inputs, dict):
        first = next(iter(inputs.values()), None)
    else:
        first = inputs[0] if isinstance(inputs, (tuple, list)) and inputs else inputs
    if isinstance(first, Tensor):
        return first.shape[0] if first.dim() else 1
    return len(first) if isinstance(first, (list, tuple)) else 1
