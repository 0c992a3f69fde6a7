"""Samples in memory: every one once, scaled where they are bytes, drawn anew where that is asked for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from prunus.data import Split
from prunus.errors import ArgumentError, ConfigError, DataError
from prunus.tasks import Task
from prunus.tasks.samples import Samples, scale_of


def test_batches_hold_every_sample_once_in_their_order() -> None:
    samples = Samples(torch.arange(10.0)[:, None], torch.arange(10), batch_size=4)
    parts = list(samples)
    assert len(parts) == len(samples) == 3 and samples.count == 10
    assert torch.equal(torch.cat([inputs for inputs, _ in parts])[:, 0], torch.arange(10.0))
    assert all(torch.equal(inputs[:, 0].long(), targets) for inputs, targets in parts)
    assert len(samples.of(10)) == 1 and len(samples) == 3
    assert samples.subset(torch.tensor([7, 2])).targets.tolist() == [7, 2]


def test_drawn_ones_come_in_another_order_every_time_with_their_targets() -> None:
    torch.manual_seed(0)
    drawn = Samples(torch.arange(50.0)[:, None], torch.arange(50)).of(50, drawn=True)
    (first, labels), (second, _) = next(iter(drawn)), next(iter(drawn))
    assert not torch.equal(first, second) and torch.equal(first[:, 0].long(), labels)
    assert torch.equal(first.sort(0).values, second.sort(0).values)


def test_bytes_are_scaled_and_numbers_are_not() -> None:
    pixels = torch.randint(256, (6, 2, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scale = scale_of(pixels)
    assert scale is not None and scale_of(pixels.float()) is None
    found = next(iter(Samples(pixels, torch.zeros(6), scale)))[0]
    for plane in range(2):
        values = pixels[:, plane].double() / 255
        wanted = (values - values.mean()) / values.std(correction=0)
        torch.testing.assert_close(found[:, plane].double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("inputs", "targets"), [(3, 2), (0, 0)])
def test_every_sample_needs_its_target(inputs: int, targets: int) -> None:
    with pytest.raises(DataError, match=f"{inputs} inputs and {targets} targets"):
        Samples(torch.zeros(inputs, 1), torch.zeros(targets))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"inputs": "x"}, "inputs must be a tensor"),
        ({"inputs": torch.tensor(1.0)}, r"of shape \(samples, …\)"),
        (
            {"scale": ([0.5] * 3, [0.2] * 3)},
            "Images of 1 planes need as many means and deviations, not 3",
        ),
        ({"scale": ([0.5], [0.0])}, "Deviations must be above 0"),
        ({"scale": ([0.5], [math.nan])}, "Deviations must be above 0"),
        ({"scale": ([math.nan], [1.0])}, "Means must be numbers"),
        ({"scale": ([math.inf], [math.inf])}, "Deviations must be above 0"),
    ],
)
def test_what_no_batches_can_be_made_of_is_told_when_it_is_given(given: dict[str, Any], told: str) -> None:
    """Not in a convolution, nor as a loss that is no number."""
    images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    with pytest.raises((ConfigError, DataError, ArgumentError), match=told):
        Samples(**({"inputs": images, "targets": torch.zeros(4)} | given))
    if "scale" in given:
        with pytest.raises(DataError, match=told):
            Task(Split(images, torch.zeros(4, dtype=torch.int64)), normalise=given["scale"])


def test_arrays_are_taken_for_tensors() -> None:
    found = Samples(np.zeros((4, 1, 2, 2), np.float32), [0, 1, 0, 1])  # type: ignore[arg-type]
    assert [(tuple(a.shape), b.tolist()) for a, b in found] == [((4, 1, 2, 2), [0, 1, 0, 1])]
