from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunus.data import ImageData, Split, load
from prunus.data.sets import statistics, stratified
from prunus.errors import DataError


def numbered(labels: list[int]) -> Split:
    """Images whose only pixel is their position."""
    return Split(torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels))


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_stratified_parts_are_disjoint_whole_and_fair(labels: list[int], fraction: float, seed: int) -> None:
    values = torch.tensor(labels)
    kept, held = stratified(values, fraction, seed)
    assert sorted(torch.cat([kept, held]).tolist()) == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist())
    for label in set(labels):
        size = labels.count(label)
        count = int((values[held] == label).sum())
        if size == 1:
            assert count == 0
        else:
            assert 1 <= count <= size - 1
            assert abs(count - fraction * size) <= 1


def test_hold_out_repeats_with_its_seed_and_differs_with_another() -> None:
    data = load("digits")
    first, again, other = (data.hold_out(0.1, seed)[1].images for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        load("digits").hold_out(fraction)


def test_subsets_by_position_and_by_mask() -> None:
    split = numbered([0, 1, 0, 1])
    assert split.subset(torch.tensor([3, 1])).images.flatten().tolist() == [3, 1]
    assert split.subset(split.labels == 0).images.flatten().tolist() == [0, 2]
    assert len(split.to("cpu")) == 4


def test_shapes_and_types_are_checked() -> None:
    with pytest.raises(DataError, match="uint8"):
        Split(torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(DataError, match="2 images need as many int64 labels"):
        Split(torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64))


def test_statistics_equal_the_plain_formula() -> None:
    images = torch.randint(256, (50, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = statistics(images)
    pixels = images.double() / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(pixels.permute(1, 0, 2, 3).flatten(1).std(1, correction=0).tolist())


def test_a_constant_plane_still_has_a_deviation() -> None:
    _, std = statistics(torch.full((2, 1, 2, 2), 7, dtype=torch.uint8))
    assert std == (1 / 255,)


def test_image_data_gives_normalise_and_shape() -> None:
    split = numbered([0, 1])
    data = ImageData("x", split, split, ("a", "b"), (0.5,), (0.25,))
    assert data.normalise == ((0.5,), (0.25,))
    assert data.image_shape == (1, 1, 1)
