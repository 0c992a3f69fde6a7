"""What a name, or a plan, says of the input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunus
from prunus.runs.shapes import natural_shape, planned_arguments


def test_natural_shapes() -> None:
    assert natural_shape("lenet5") == (1, 1, 28, 28)
    assert natural_shape("resnet56") == (1, 3, 32, 32)
    assert natural_shape("torchvision/inception_v3") == (1, 3, 299, 299)
    assert natural_shape("mine:build") is None


class Two(nn.Module):
    """An image, and numbers beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 8, 3), nn.Linear(4, 8), nn.Linear(16, 3)

    def forward(self, image: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.first(image).mean((2, 3)), self.second(side)], 1).relu())


@pytest.mark.parametrize("named", [False, True])
def test_a_plan_says_all_of_several_inputs(named: bool) -> None:
    """So that what was pruned with two inputs is exported and looked at with two, in the model's own type."""
    model, given = Two(), (torch.zeros(1, 1, 6, 6), torch.zeros(1, 4))
    graph = prunus.trace(model, dict(zip(("image", "side"), given)) if named else given)
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)).double()
    found = planned_arguments(small, seed=1)
    assert isinstance(found, dict) == named
    assert (small(**found) if isinstance(found, dict) else small(*(found or ()))).shape == (1, 3)
    again = planned_arguments(small, seed=1)
    assert str(found) == str(again) != str(planned_arguments(small, seed=2))
    assert planned_arguments(model) is None
