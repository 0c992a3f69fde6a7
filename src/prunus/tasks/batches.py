"""Batches, and how many samples they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from prunus._foundation.wording import given
from prunus.data.sets import Split
from prunus.errors import ConfigError, DataError
from prunus.tasks.calling import told_apart
from prunus.tasks.metrics import Batch
from prunus.training.calls import as_dicts, not_pair, samples_in, samples_of
from prunus.training.feeding import Normalise, check_scale


@runtime_checkable
class Batches(Protocol):
    """Batches of (inputs, targets) that can be read again: a list, a `DataLoader`, anything with a length."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


def check_batches(name: str, part: Any) -> None:
    """Raises ConfigError, which calls them so, for batches that cannot be read again, and for a loader of a
    stream, which has no length: now, not when a network has been searched.
    """
    nothing = isinstance(part, (Iterator, str, bytes, Mapping, Tensor))  # though some have a length
    if nothing or not isinstance(part, Batches):
        raise ConfigError(
            f"{name} must be samples, or batches that can be read again, such as a list or a DataLoader,"
            f" not {given(part)}."
        )
    try:
        len(part)
    except (TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"{name} is {given(part)} that does not know how many batches it has: give the data set that it"
            " reads a __len__, or wrap it in an object with __len__ and __iter__."
        ) from error


def check_part(name: str, part: Any, normalise: Normalise | None) -> None:
    """Raises DataError for samples without a normalisation that fits, and what `check_batches` raises."""
    if not isinstance(part, Split):
        check_batches(name, part)
    elif normalise is None:
        raise DataError(
            f"The samples to {name} on are pixels from 0 to 255: the task needs normalise=(mean, std) of"
            " their planes."
        )
    else:
        check_scale(part.images, normalise)


def first_batches(pairs: Iterable[Batch], samples: int) -> Iterator[Batch]:
    """The first batches, until there are so many samples."""
    seen = 0
    for inputs, targets in pairs:
        if seen >= samples:
            return
        yield inputs, targets
        seen += samples_of(inputs, targets)


def last_batches(pairs: Sequence[Batch], samples: int) -> list[Batch]:
    """The last batches, as few as have so many samples."""
    found: list[Batch] = []
    seen = 0
    for inputs, targets in reversed(pairs):
        if seen >= samples:
            break
        found.insert(0, (inputs, targets))
        seen += samples_of(inputs, targets)
    return found


def pair_of(batch: Any, number: int, part: str, *, apart: bool = False) -> Batch:
    """Inputs and targets of a batch, samples told `apart` from arguments where wanted; raises DataError for
    what is no pair, or has no samples.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise DataError(f"Batch {number} of {part} must be a pair (inputs, targets), {not_pair(batch)}.")
    if not samples_in(batch[0]):
        raise DataError(f"Batch {number} of {part} has no samples: leave it out.")
    inputs, targets = map(as_dicts, batch)
    return told_apart(inputs, targets) if apart else inputs, targets


def size_of(batch: Any) -> int:
    """Samples of a batch of (inputs, targets)."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return samples_of(*batch)
    return samples_in(batch[0]) if isinstance(batch, (tuple, list)) and batch else 1
