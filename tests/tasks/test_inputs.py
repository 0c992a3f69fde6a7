"""What a task calls its model with."""

from __future__ import annotations

import torch
from torch import Tensor

from prunus.data.sets import Split
from prunus.tasks import Task
from prunus.tasks.inputs import Inputs, WithTargets


def drawn(count: int) -> list[tuple[list[Tensor], int]]:
    return [([torch.randn(3, 4, 4), torch.randn(3, 4, 4)], 0) for _ in range(count)]


def test_inputs_are_the_same_every_time_and_as_many_as_asked_for() -> None:
    images = torch.randint(0, 255, (300, 1, 4, 4), dtype=torch.uint8)
    task = Task(Split(images, torch.zeros(300, dtype=torch.long)), normalise=((0.5,), (0.5,)))
    inputs = Inputs(task, 200)
    first, second = list(inputs), [given for given, _ in inputs.pairs()]
    assert sum(len(batch) for batch in first) >= 200
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_images_of_detectors_are_a_batch() -> None:
    batches = drawn(2)
    task = Task(batches, loss="model", metric=lambda outputs, targets: torch.zeros(1))
    found = list(Inputs(task, 4))
    assert all(torch.equal(one, torch.stack(images)) for one, (images, _) in zip(found, batches))


def test_targets_follow_the_inputs() -> None:
    target, batch = torch.ones(2), torch.zeros(2, 3)
    found = WithTargets([(batch, target), ((batch, batch), target)])
    assert len(found) == 2
    assert [len(inputs) for inputs, _ in found] == [2, 3]
    assert all(inputs[-1] is target is again for inputs, again in found)
