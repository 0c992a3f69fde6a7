"""What calibration inputs say about the layers that read channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.scores.products import LayerProducts, families


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double().eval()


def test_second_moments_are_those_of_what_a_layer_reads() -> None:
    model = network()
    batches = [torch.randn(7, 3, dtype=torch.float64) for _ in range(3)]
    graph = prunus.trace(model, batches[0])
    (layer,) = (one for family in families(graph, batches) for one in family)
    read = model[:2](torch.cat(batches)).detach()
    mean = read.mean(0)
    torch.testing.assert_close(layer.means, mean)
    centred = read - mean
    torch.testing.assert_close(layer.products, centred.T @ centred / len(read))
    torch.testing.assert_close(layer.weight[:, :, 0], model[2].weight.detach())
    assert sorted(layer.channels.tolist()) == list(range(5))


def test_columns_belong_to_channels_with_all_their_positions() -> None:
    layer = LayerProducts(torch.tensor([1, -1, 0, 1]).numpy(), torch.zeros(2, 4, 3), torch.zeros(12, 12))
    found = {channel: columns.tolist() for channel, columns in layer.columns().items()}
    assert found == {0: [6, 7, 8], 1: [0, 1, 2, 9, 10, 11]}


def test_contributions_are_the_moments_of_what_channels_add() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 2, 1, dtype=torch.float64, generator=generator)
    inputs = torch.randn(50, 2, dtype=torch.float64, generator=generator)
    layer = LayerProducts(torch.tensor([0, 1]).numpy(), weight, inputs.T @ inputs / 50)
    channels, found = layer.contributions()
    added = [inputs[:, c, None] * weight[None, :, c, 0] for c in channels]  # (samples, outputs) each
    whole = float((sum(added, torch.zeros(50, 3))).square().sum(1).mean())
    for i, first in enumerate(added):
        for j, second in enumerate(added):
            wanted = float((first * second).sum(1).mean()) / whole
            assert float(found[i, j]) == pytest.approx(wanted)


@pytest.mark.parametrize("score", [scores.reconstruction, scores.thinet, scores.lasso, scores.nisp])
def test_networks_that_give_no_numbers_are_told_of(score: Any) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3))
    graph = prunus.trace(model, torch.randn(2, 3, 8, 8))
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = torch.nan
    said = r"^What 2 gets on the calibration inputs holds NaN"
    with pytest.raises(PlanError, match=said):
        score(graph, [torch.randn(4, 3, 8, 8)])
    with pytest.raises(PlanError, match=said):
        scores.similarity(graph, "empirical", [torch.randn(4, 3, 8, 8)])
