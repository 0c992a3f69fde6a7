"""Calibration inputs: the same ones every time, as many as were asked for."""

from __future__ import annotations

import pytest
import torch

from prunus.data import Split, load
from prunus.training import Calibration, batches, calibration

DIGITS = load("digits")


def test_they_can_be_read_again_and_depend_on_the_seed() -> None:
    inputs = Calibration(DIGITS.train, DIGITS.normalise, samples=50, batch_size=20, seed=1)
    first, again = torch.cat(list(inputs)), torch.cat(list(inputs))
    assert first.shape == (50, 1, 8, 8) and torch.equal(first, again)
    other = Calibration(DIGITS.train, DIGITS.normalise, samples=50, seed=2)
    assert not torch.equal(first, torch.cat(list(other)))


def test_they_are_samples_with_their_labels_normalised() -> None:
    inputs = Calibration(DIGITS.train, DIGITS.normalise, samples=30)
    images, labels = (torch.cat(part) for part in zip(*inputs.pairs()))
    everything, classes = (torch.cat(part) for part in zip(*batches(DIGITS.train, DIGITS.normalise, 500)))
    for image, label in zip(images, labels):
        same = (everything == image).flatten(1).all(1)
        assert same.any() and label in classes[same]


@pytest.mark.parametrize(("numbers", "count"), [(64 * 10, 10), (10, 1), (1 << 24, 1024)])
def test_of_large_images_there_are_fewer(numbers: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_NUMBERS", numbers)
    split = Split(torch.zeros(1100, 1, 8, 8, dtype=torch.uint8), torch.zeros(1100, dtype=torch.int64))
    assert sum(len(part) for part in Calibration(split, DIGITS.normalise)) == count
