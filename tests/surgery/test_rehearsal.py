"""Rehearsal: the forward of the compact module, followed on meta tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.plans.slices import slices_of
from prunus.surgery.rehearsal import rehearse
from prunus.surgery.slicing import Surgery


class Places(nn.Module):
    """Scales what a convolution makes by where it is, from grids as detectors with attention have them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.conv, self.last, self.how = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4), how

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        height, width = x.shape[2:]
        rows = torch.linspace(0.5, height - 0.5, height, device=x.device)
        columns = torch.linspace(0.5, width - 0.5, width, device=x.device)
        y, z = torch.meshgrid(rows, columns, indexing="ij")
        if self.how == "sum":
            places = (y.reshape(-1) + z.reshape(-1))[:, None]
        elif self.how == "outer":
            steps = torch.arange(4.0, device=x.device)
            places = torch.cat([y.flatten().outer(steps), z.flatten().outer(steps)], 1).sum(1, keepdim=True)
        else:
            places = (
                torch.stack((y.reshape(-1) / height, z.reshape(-1) / width), -1).flip(0).sum(1, keepdim=True)
            )
        return self.last(x.flatten(2).transpose(1, 2) * places[None])


@pytest.mark.parametrize("how", ["sum", "outer", "stack"])
def test_copies_that_share_an_axis_and_live_together_are_followed(how: str) -> None:
    """Rows and columns of a grid lie along one axis of its flattened form, and are all of one component."""
    torch.manual_seed(0)
    model, x = Places(how).eval(), torch.randn(2, 3, 6, 5)
    graph = prunus.trace(model, x)
    assert rehearse(graph, np.zeros(graph.num_channels, dtype=bool), Surgery({}))[1] is None
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    small = prunus.compact(model, plan)
    assert plan.removed == 4 and small.prunus.mode == "eager"
    for shape in ((2, 3, 6, 5), (1, 3, 7, 9)):
        y = torch.randn(shape)
        torch.testing.assert_close(small(y), prunus.mask(model, plan)(y))


class Reads(nn.Module):
    """Asks for a value only where channels are gone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        x = self.conv(x)
        if x.shape[1] < 8:
            x = x + float(shift)
        return self.last(x)


def test_where_a_rehearsal_fails_the_users_line_is_named() -> None:
    model = Reads().eval()
    graph = prunus.trace(model, (torch.randn(1, 3, 6, 6), torch.zeros(())))
    removed = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5).removed_in(graph)
    failure = rehearse(graph, removed, Surgery(slices_of(graph, removed)))[1]
    assert failure is not None and "test_rehearsal.py" in str(failure) and "float(shift)" in str(failure)
