"""Partial least squares: the importance of projections, written out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.paint.nets import channels
from tests.scores.two_layers import BATCHES, network
from torch import nn

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.scores.pls import _features, importance


def test_vip_is_the_formula() -> None:
    draw = np.random.default_rng(0)
    weights, samples, loadings = draw.normal(size=(7, 2)), draw.normal(size=(30, 2)), draw.normal(size=(3, 2))
    found = importance(weights, samples, loadings)
    explained = [
        sum(samples[n, a] ** 2 for n in range(30)) * sum(loadings[k, a] ** 2 for k in range(3))
        for a in range(2)
    ]
    cross = [
        float(samples[:, a] @ samples[:, 1 - a] * (loadings[:, a] @ loadings[:, 1 - a])) for a in range(2)
    ]
    explained = [
        e + c for e, c in zip(explained, cross)
    ]  # the diagonal of T'T Q'Q; components that are not orthogonal share
    for i in range(7):
        shares = [weights[i, a] ** 2 / sum(weights[j, a] ** 2 for j in range(7)) for a in range(2)]
        assert found[i] == pytest.approx(
            math.sqrt(7 * sum(e * s for e, s in zip(explained, shares)) / sum(explained))
        )


def test_pls_finds_the_channel_that_tells_the_classes() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    graph = prunus.trace(network(), BATCHES[0])
    with torch.no_grad():
        largest = [graph.model.a(x).relu().amax((2, 3)) for x in BATCHES]
    labels = [(part[:, 4] > torch.cat(largest)[:, 4].median()).long() for part in largest]
    found = scores.pls(graph, zip(BATCHES, labels))
    mine = channels(graph, "a.weight")
    assert max(mine, key=lambda c: float(found[c])) == mine[4]
    assert found.shape == (graph.num_channels,) and bool((found >= 0).all())
    with pytest.raises(PlanError, match="all of one class"):
        scores.pls(graph, [(BATCHES[0], torch.zeros(16, dtype=torch.int64))])
    with pytest.raises(PlanError, match="at least one is needed"):
        scores.pls(graph, [])


def test_features_are_maxima_and_behind_a_global_average_pooling_means() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).eval()
    images = torch.randn(5, 2, 8, 8)
    graph = prunus.trace(net, images)
    found, labels = _features(graph, [(images, torch.arange(5))])
    with torch.no_grad():
        first = net[:2](images)
        second = net[2](first)
    for sample in range(5):
        for channel, number in enumerate(channels(graph, "0.weight")):
            assert found[sample, number] == pytest.approx(float(first[sample, channel].max()), rel=1e-5)
        for channel, number in enumerate(channels(graph, "2.weight")):
            assert found[sample, number] == pytest.approx(float(second[sample, channel].mean()), rel=1e-4)
    assert labels.tolist() == list(range(5))


@pytest.mark.parametrize(
    "target",
    [torch.rand(3), torch.zeros(3, 4, 4, dtype=torch.int64), {"boxes": torch.zeros(3, 4)}, None],
    ids=["numbers", "masks", "boxes", "none"],
)
def test_targets_that_are_no_classes_are_told(target: Any) -> None:
    """Numbers to be predicted were each a class of its own."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    graph = prunus.trace(network(), BATCHES[0])
    with pytest.raises(PlanError, match="labels are whole numbers"):
        scores.pls(graph, [(BATCHES[0][:3], target)])
    with pytest.raises(PlanError, match="other numbers of samples than there are labels"):
        scores.pls(graph, [(BATCHES[0][:3], torch.arange(2))])
