"""Aggregation against a slow re-implementation, and what every partition must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunus.errors import ConfigError
from prunus.selection import Subsets, aggregate, means
from prunus.selection.subsets import chunks

RNG = np.random.default_rng(0)


def slow_leaves(
    samples: list[int], values: np.ndarray, depth: int, pieces: int, first: int, last: int, count: int
) -> list[tuple[set[int], int]]:
    """Sort, cut, recurse: the leaves in order, with the depth that they were cut off at."""
    if last - first == 1:
        return [(set(samples), depth)]
    middle = first + (last - first) // 2
    cut = count * middle // pieces - count * first // pieces
    ranked = sorted(samples, key=lambda i: values[i, depth % values.shape[1]])
    low = slow_leaves(ranked[:cut], values, depth + 1, pieces, first, middle, count)
    return low + slow_leaves(ranked[cut:], values, depth + 1, pieces, middle, last, count)


def found_subsets(subsets: Subsets) -> list[set[int]]:
    return [set(subsets.members(s).tolist()) for s in range(len(subsets))]


@pytest.mark.parametrize(
    "count, size, leaves",
    [(5000, 100, 50), (1000, 100, 10), (130, 100, 1), (160, 100, 2), (7, 100, 1), (10, 3, 3)],
)
def test_subsets_are_those_of_sorting_and_cutting(count: int, size: int, leaves: int) -> None:
    values = RNG.standard_normal((count, 4))
    subsets = aggregate(np.zeros(count), values, subset_size=size)
    wanted = slow_leaves(list(range(count)), values, 0, leaves, 0, leaves, count)
    assert found_subsets(subsets) == [members for members, _ in wanted]
    for s, (members, depth) in enumerate(wanted):
        pieces = max(1, round(0.3 * len(members)))
        fine = slow_leaves(sorted(members), values, depth, pieces, 0, pieces, len(members))
        got = [
            set(subsets.order[subsets.fine[f] : subsets.fine[f + 1]].tolist())
            for f in range(subsets.coarse[s], subsets.coarse[s + 1])
        ]
        assert got == [group for group, _ in fine]


def test_the_papers_figures_on_cifar_10() -> None:
    labels = np.repeat(np.arange(10), 5000)
    subsets = aggregate(labels, RNG.standard_normal((50_000, 3)))
    assert len(subsets) == 500 and (subsets.sizes == 100).all()
    assert (np.diff(subsets.coarse) == 30).all() and set(np.diff(subsets.fine)) == {3, 4}


def test_exact_medians_give_a_power_of_two() -> None:
    subsets = aggregate(np.zeros(5000), RNG.standard_normal((5000, 3)), exact_median=True)
    assert len(subsets) == 64 and set(subsets.sizes) == {78, 79}


@given(
    st.integers(1, 300),
    st.integers(1, 5),
    st.integers(1, 40),
    st.floats(0.01, 1),
    st.booleans(),
    st.integers(0, 1000),
)
@settings(max_examples=60)
def test_every_sample_is_in_one_subset_and_one_fine_point(
    count: int, kinds: int, size: int, ratio: float, exact: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels, values = rng.integers(0, kinds, count), rng.integers(0, 3, (count, 2)).astype(float)  # many ties
    subsets = aggregate(labels, values, subset_size=size, fine_ratio=ratio, exact_median=exact)
    assert sorted(subsets.order.tolist()) == list(range(count))
    assert (np.diff(subsets.fine) > 0).all() and (np.diff(subsets.coarse) > 0).all()
    assert subsets.fine[-1] == count and subsets.coarse[-1] == len(subsets.fine) - 1
    assert (labels == subsets.labels[subsets.subset_of_sample]).all()
    assert (subsets.subset_of_fine[subsets.fine_of_sample] == subsets.subset_of_sample).all()
    for kind in set(labels.tolist()):
        sizes = subsets.sizes[subsets.labels == kind]
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("kind", ["array", "tensor", "uint8"])
def test_means_are_means(kind: str) -> None:
    images = RNG.integers(0, 255, (9000, 2, 3)).astype(np.uint8)
    subsets = aggregate(RNG.integers(0, 3, 9000), RNG.standard_normal((9000, 2)), subset_size=40)
    samples = {"array": images.astype(np.float32), "tensor": torch.from_numpy(images), "uint8": images}[kind]
    fine = means(samples, subsets.fine_of_sample, len(subsets.fine) - 1)
    coarse = means(samples, subsets.subset_of_sample, len(subsets))
    assert fine.shape[1:] == coarse.shape[1:] == (2, 3)
    for s in (0, 5, len(subsets) - 1):
        assert np.allclose(coarse[s], images[subsets.members(s)].astype(np.float64).mean(0), rtol=1e-5)
    sizes = np.diff(subsets.fine)
    weighted = (
        np.add.reduceat(fine * sizes[:, None, None], subsets.coarse[:-1], axis=0)
        / subsets.sizes[:, None, None]
    )
    # the coarse point is the mean of the fine points, each with its number of samples
    assert np.allclose(weighted, coarse, rtol=1e-4)


@pytest.mark.parametrize(
    "labels, attributes, options, text",
    [
        ([0, 1], [[1.0]], {}, "shapes"),
        ([], np.zeros((0, 2)), {}, "shapes"),
        ([0, 0], [[1.0], [np.nan]], {}, "sample 1"),
        ([0], [[1.0]], {"subset_size": 0}, "subset_size"),
        ([0], [[1.0]], {"fine_ratio": 1.5}, "fine_ratio"),
    ],
)
def test_bad_input_is_named(labels: object, attributes: object, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        aggregate(np.asarray(labels), np.asarray(attributes), **options)


def test_large_samples_are_read_fewer_at_a_time() -> None:
    large = np.broadcast_to(np.uint8(1), (3, 3, 2048, 2048))
    assert [(start, rows.shape) for start, rows in chunks(large)] == [
        (number, (1, 3 * 2048**2)) for number in range(3)
    ]
    assert [len(rows) for _, rows in chunks(np.zeros((5000, 3, 32, 32), dtype=np.uint8))] == [4096, 904]
