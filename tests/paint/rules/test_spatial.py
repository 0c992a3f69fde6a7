"""Operators on space: channels go along an axis that is only scaled."""

from __future__ import annotations

import torch
from tests.paint.nets import Net, channels, pruned, randomised
from torch import Tensor, nn

import prunus


def test_channels_pass_along_a_spatial_axis_that_a_convolution_only_scales() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        tokens = torch.stack([m.a(x).mean((2, 3)), m.b(x).mean((2, 3))], dim=1)  # (batch, 2, channels)
        return m.head(m.mix(tokens).squeeze(1))

    net = Net(
        forward,
        a=nn.Conv2d(3, 8, 1),
        b=nn.Conv2d(3, 8, 1),
        mix=nn.Conv1d(2, 1, 1, bias=False),
        head=nn.Linear(8, 5),
    )
    model = randomised(net)
    image = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    graph = prunus.trace(model, image)
    assert channels(graph, "a.weight") == channels(graph, "b.weight") == channels(graph, "head.weight", 1)
    plan, _ = pruned(model, image)
    assert plan.exact and plan.removed == 4
    # two 1x1 convolutions over 16 pixels, the mix of 2 tokens over the channels left, and the head
    assert plan.after.macs == 2 * (2 * 16 * 3 * 4 + 2 * 4 + 4 * 5)  # the batch holds two images
