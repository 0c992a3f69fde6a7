"""NISP: all paths of a feature graph, and importance that is propagated backwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tests.paint.nets import channels
from tests.scores.two_layers import BATCHES, network

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.scores.nisp import infinite_feature_selection


@pytest.fixture(scope="module")
def graph() -> prunus.ChannelGraph:
    return prunus.trace(network(), BATCHES[0])


def test_infinite_feature_selection_sums_all_paths() -> None:
    responses = torch.randn(40, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = infinite_feature_selection(responses)
    spread = responses.numpy().std(0)
    spread = spread / spread.max()
    pairs = np.zeros((5, 5))
    for i in range(5):
        for j in range(5):
            correlation = 1.0 if i == j else spearmanr(responses[:, i], responses[:, j]).statistic
            pairs[i, j] = 0.5 * max(spread[i], spread[j]) + 0.5 * (1 - abs(correlation))
    scaled = pairs * 0.9 / np.abs(np.linalg.eigvals(pairs)).max()
    power, total = np.eye(5), np.zeros((5, 5))
    for _ in range(400):
        power = power @ scaled
        total += power
    assert np.allclose(found.numpy(), total.sum(1), rtol=1e-6)


@torch.no_grad()
def test_nisp_propagates_backwards(graph: prunus.ChannelGraph) -> None:
    model = graph.model
    last = torch.cat([model.b(model.a(x).relu()).relu().mean((2, 3)) for x in BATCHES])
    final = infinite_feature_selection(last)
    found = scores.nisp(graph, BATCHES)
    assert torch.allclose(found[channels(graph, "b.weight")], final)
    for j in range(6):
        wanted: float = sum(float(model.b.weight[i, j].abs().sum() * final[i]) for i in range(4))
        assert float(found[channels(graph, "a.weight")[j]]) == pytest.approx(wanted)
    with pytest.raises(PlanError, match="at least one is needed"):
        scores.nisp(graph, [])
