"""Norms: by whole groups, by channels, or across them."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Net, channels, pruned, randomised
from torch import nn

import prunus

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


def chain(*layers: nn.Module, head: nn.Module | None = None) -> nn.Module:
    return randomised(nn.Sequential(*layers, head if head is not None else nn.Identity()))


def test_group_norm_goes_by_whole_groups_and_instance_norm_by_channels() -> None:
    graph = prunus.trace(chain(nn.Conv2d(3, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 1)), IMAGE)
    assert (
        channels(graph, "0.weight")
        == channels(graph, "1.weight")
        == channels(graph, "2.weight", 1)
        == [0, 0, 1, 1, 2, 2]
    )
    assert not graph.notes
    graph = prunus.trace(
        chain(nn.Conv2d(3, 6, 1), nn.InstanceNorm2d(6, affine=True), nn.Conv2d(6, 2, 1)), IMAGE
    )
    assert channels(graph, "0.weight") == channels(graph, "1.weight") == [0, 1, 2, 3, 4, 5]
    assert not graph.notes


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.LogSoftmax(1), "softmax across the channels"),
        (Net(lambda _, x: x * x.prod(1, keepdim=True)), "prod across the channels"),
        (
            nn.Sequential(nn.Sigmoid(), nn.GroupNorm(1, 6)),
            "group norm across the channels",
        ),  # what goes is not zero there
    ],
)
def test_statistics_across_the_channels_leave_a_note(layer: nn.Module, text: str) -> None:
    model = chain(nn.Conv2d(3, 6, 1), layer, nn.Conv2d(6, 2, 1))
    graph = prunus.trace(model, IMAGE)
    assert graph.num_channels == 6
    (note,) = [n for n in graph.notes if text in n.text]
    assert note.channels.tolist() == list(range(6))
    plan, _ = pruned(model, IMAGE)
    assert not plan.exact
    assert any(text in n for n in plan.notes)
    with_care = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5, exact=True)
    assert with_care.exact
    assert with_care.removed == 0
