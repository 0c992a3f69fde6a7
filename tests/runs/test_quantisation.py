"""What has a file in 8 bits that a task can judge."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunus.errors import ConfigError
from prunus.runs.quantisation import check
from prunus.tasks import Task, squared_error


class Maps(nn.Module):
    """Returns its own loss in training, and is no detector."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 1, 1)

    def forward(self, image: Tensor, targets: Any = None) -> Any:
        found = self.head(self.backbone(image))
        return (found - targets).square().mean() if self.training else found


def test_a_detector_is_refused_and_other_networks_with_losses_of_their_own_are_not() -> None:
    """All were taken for detectors."""
    part = [(torch.zeros(2, 1, 5, 5), torch.zeros(2, 1, 3, 3))]
    task = Task(part, part, part, loss="model", metric=squared_error)
    check(task, Maps())
    detector = Maps()
    detector.anchor_generator = nn.Identity()  # by which they are known
    for model in (detector, task.core(detector)):
        with pytest.raises(ConfigError, match="a detector ends at its heads"):
            check(task, model)


def test_several_inputs_are_refused() -> None:
    part = [((torch.zeros(2, 1, 5, 5), torch.zeros(2, 3)), torch.zeros(2, dtype=torch.long))]
    with pytest.raises(ConfigError, match="takes one tensor, and the inputs of data are several"):
        check(Task(part, part, part), nn.Linear(1, 1))
