"""How many samples batches hold."""

from __future__ import annotations

import torch

from prunus.tasks.batches import first_batches, size_of
from prunus.training.calls import samples_in


def test_samples_are_counted_by_the_first_input() -> None:
    images = torch.zeros(5, 3, 8, 8)
    assert (
        samples_in(images) == samples_in((images, torch.zeros(2))) == size_of((images, torch.zeros(5))) == 5
    )
    assert samples_in({"pixels": images, "scale": torch.ones(())}) == 5
    assert samples_in(([torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)],)) == 2  # a detector's list of images
    assert samples_in(object()) == samples_in(torch.ones(())) == size_of("one") == 1


def test_batches_are_read_until_there_are_enough_samples() -> None:
    pairs = [(torch.zeros(4), torch.zeros(4))] * 5
    assert [len(list(first_batches(pairs, count))) for count in (0, 1, 4, 5, 100)] == [0, 1, 1, 2, 5]
