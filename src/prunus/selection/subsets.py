"""Aggregation: samples of one class that are alike form a subset, summed up by one coarse point and several
fine points.

Two-fold accelerated CNN (Pabitha and Jayasimhan, China Communications 2024), section on critical data; SlimML
(Han et al., TKDE 2021) splits alike.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunus._foundation.arguments import at_least, door
from prunus._foundation.wording import given
from prunus.errors import ArgumentError, ConfigError

Indices = NDArray[np.int64]
_CHUNK, _NUMBERS = 4096, 2**24  # samples, and numbers of samples, that are read at a time, at most


@dataclass(frozen=True, eq=False)
class Subsets:
    """A partition of the samples into subsets, and of every subset into the groups that its fine points stand
    for.

    Attributes:
        order: (N,) the samples; those of one fine point lie side by side, so do those of one subset.
        fine: (F + 1,) where in `order` each fine point begins; the last entry is N.
        coarse: (S + 1,) where among the fine points each subset begins; the last entry is F.
        labels: (S,) the class of every subset.
    """

    order: Indices
    fine: Indices
    coarse: Indices
    labels: Indices

    def __len__(self) -> int:
        return len(self.labels)

    def members(self, subset: int) -> Indices:
        """The samples of one subset."""
        return self.order[self.fine[self.coarse[subset]] : self.fine[self.coarse[subset + 1]]]

    @cached_property
    def sizes(self) -> Indices:
        """Samples per subset, shape (S,)."""
        return np.diff(self.fine[self.coarse])

    @cached_property
    def fine_of_sample(self) -> Indices:
        """The fine point of every sample, shape (N,)."""
        result = np.empty(len(self.order), dtype=np.int64)
        result[self.order] = np.repeat(np.arange(len(self.fine) - 1), np.diff(self.fine))
        return result

    @cached_property
    def subset_of_fine(self) -> Indices:
        """The subset of every fine point, shape (F,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.coarse))

    @cached_property
    def subset_of_sample(self) -> Indices:
        """The subset of every sample, shape (N,)."""
        return self.subset_of_fine[self.fine_of_sample]


@door(ConfigError)
def aggregate(
    labels: ArrayLike,
    attributes: ArrayLike,
    *,
    subset_size: int = 100,
    fine_ratio: float = 0.3,
    exact_median: bool = False,
) -> Subsets:
    """Split every class into subsets of samples that are alike, by recursive bisection over the attributes.

    At depth d the samples are cut in two by attribute d (beginning again after the last): the lower part on
    one side, the upper on the other. That takes O(N) per depth, so O(N log N) for all, and no sample meets
    another.

    Args:
        labels: (N,) class of every sample, or of every region for segmentation data.
        attributes: (N, L) numbers, the most telling first; see `prunus.selection.attributes`.
        subset_size: wanted samples per subset. A class of n samples gives round(n / subset_size) subsets
            whose sizes differ by one at most (our choice: 5,000 samples give 50 subsets of exactly 100, where
            halves alone would not).
        fine_ratio: fine points per sample of a subset, made by bisecting on (the paper's 30 %).
        exact_median: cut at the median, into 2^round(log2(n / subset_size)) subsets, as the published text
            says.

    Raises:
        ConfigError: no samples, lengths that differ, numbers out of range, or an attribute that is not a
            number.
    """
    classes, values = np.asarray(labels), np.asarray(attributes)
    _check(classes, values, subset_size, fine_ratio)
    order, fine, coarse, kinds = np.empty(len(classes), dtype=np.int64), [0], [0], []
    for kind in np.unique(classes):
        samples = np.flatnonzero(classes == kind)
        start = fine[-1]
        order[start : start + len(samples)] = samples
        place = order[start : start + len(samples)]
        for low, high, depth in _bisect(place, values, 0, _pieces(len(samples), subset_size, exact_median)):
            part = place[low:high]
            parts = max(1, round(fine_ratio * len(part)))
            fine.extend(start + low + end for _, end, _ in _bisect(part, values, depth, parts))
            coarse.append(len(fine) - 1)
            kinds.append(int(kind))
    return Subsets(order, np.array(fine), np.array(coarse), np.array(kinds))


def _check(labels: NDArray[Any], attributes: NDArray[Any], subset_size: int, fine_ratio: float) -> None:
    if labels.ndim != 1 or attributes.ndim != 2 or len(labels) != len(attributes) or not attributes.size:
        raise ConfigError(
            f"Aggregation needs N labels and (N, L) attributes, not shapes {labels.shape} and"
            f" {attributes.shape}."
        )
    if not np.isfinite(attributes).all():
        bad = int(np.flatnonzero(~np.isfinite(attributes).all(axis=1))[0])
        raise ConfigError(f"An attribute of sample {bad} is not a finite number; aggregation sorts by them.")
    if subset_size < 1:
        raise ConfigError(f"subset_size is a number of samples, 1 or more, not {subset_size}.")
    if not 0 < fine_ratio <= 1:
        raise ConfigError(
            f"fine_ratio is the number of fine points per sample, above 0 up to 1, not {fine_ratio}."
        )


def _pieces(count: int, size: int, exact_median: bool) -> int:
    """How many subsets a class of `count` samples gives."""
    if exact_median:
        return int(min(2 ** max(0, round(math.log2(count / size))), 2 ** int(math.log2(count))))
    return min(count, max(1, round(count / size)))


def _bisect(order: Indices, values: NDArray[Any], depth: int, pieces: int) -> Iterator[tuple[int, int, int]]:
    """Rearrange `order` in place into `pieces` runs of equal length (by one at most), each cut off by one
    attribute a depth; (start, end, depth).
    """
    waiting = [(0, pieces, depth)]
    while waiting:
        first, last, level = waiting.pop()
        low, high = (len(order) * first // pieces, len(order) * last // pieces)
        if last - first == 1:
            yield low, high, level
            continue
        middle = first + (last - first) // 2
        cut = len(order) * middle // pieces - low
        part = order[low:high]
        if 0 < cut < len(part):
            order[low:high] = part[np.argpartition(values[part, level % values.shape[1]], cut)]
        waiting += [(middle, last, level + 1), (first, middle, level + 1)]


def check_samples(samples: Any) -> None:
    """Raises ArgumentError for what cannot be sliced along its first axis, or has nothing there."""
    shape = getattr(samples, "shape", ())
    if inspect.isclass(samples) or not hasattr(samples, "__getitem__") or not shape or not shape[0]:
        raise ArgumentError(
            f"samples must be an array or a tensor of shape (samples, ...), not {given(samples)}."
        )


def chunks(samples: Any) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Samples, a few thousand at a time, fewer where they are large: (position of the first, rows of shape
    (n, numbers of a sample)).
    """
    count = max(1, min(_CHUNK, _NUMBERS // max(1, math.prod(samples.shape[1:]))))
    for start in range(0, len(samples), count):
        part = np.asarray(samples[start : start + count])
        yield start, part.reshape(len(part), -1).astype(np.float32)


@door(ConfigError)
def means(samples: Any, group_of_sample: Indices, groups: int) -> NDArray[np.float32]:
    """The mean of every group of samples, shape (groups, ...): coarse points by `subset_of_sample`, fine
    points by `fine_of_sample`.

    `samples` is anything that can be sliced along its first axis (an array, a memory map, a tensor); it is
    read once, a few thousand at a time.
    """
    at_least(1, groups=groups)
    check_samples(samples)
    shape = tuple(samples.shape[1:])
    total = np.zeros((groups, math.prod(shape)), dtype=np.float32)
    for start, rows in chunks(samples):
        group = group_of_sample[start : start + len(rows)]
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        total[group[order][starts]] += np.add.reduceat(rows[order], starts, axis=0)
    counts = np.bincount(group_of_sample, minlength=groups)
    total /= np.maximum(counts, 1)[:, None].astype(np.float32)
    return total.reshape(groups, *shape)
