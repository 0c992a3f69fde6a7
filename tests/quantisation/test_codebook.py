"""Shared weights: k-means against brute force, centroids that learn, and zeros that stay."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunus.coding.tensors import Codebook, Plain, values_of
from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.codebook import SharedWeights, codebook, kmeans, share_weights, tune_centroids
from prunus.quantisation.quantised import Quantised
from prunus.tasks import Task
from prunus.training import TrainConfig

DRAW = torch.Generator().manual_seed(0)


def squares(values: np.ndarray, centroids: np.ndarray, labels: np.ndarray) -> float:
    return float(((values - centroids[labels]) ** 2).sum())


def best(values: np.ndarray, k: int) -> float:
    """The least sum of squares over all ways to cut sorted values into k runs."""
    ordered = np.sort(values)
    return min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts))
        for cuts in combinations(range(1, len(ordered)), k - 1)
    )


@pytest.mark.parametrize("seed", range(5))
def test_well_separated_values_are_clustered_at_their_best(seed: int) -> None:
    draw = np.random.default_rng(seed)
    values = np.concatenate([draw.normal(centre, 0.05, 5) for centre in (-1.0, 0.1, 1.0)])
    centroids, labels = kmeans(values, 3)
    assert squares(values, centroids, labels) == pytest.approx(best(values, 3))


def test_rounds_are_lloyds_written_out() -> None:
    values = np.random.default_rng(0).normal(size=60)
    centroids = np.linspace(values.min(), values.max(), 6)
    for _ in range(100):
        labels = np.abs(values[:, None] - centroids).argmin(1)
        centroids = np.array([values[labels == k].mean() for k in range(6) if (labels == k).any()])
    found, shared = kmeans(values, 6)
    assert np.allclose(found, centroids) and np.array_equal(shared, labels)


def test_few_values_are_kept_exactly() -> None:
    centroids, labels = kmeans(np.array([0.5, -1.0, 0.5, 2.0]), 8)
    assert np.array_equal(centroids[labels], [0.5, -1.0, 0.5, 2.0])
    assert len(kmeans(np.zeros(0), 4)[0]) == 0


def test_zero_has_a_centroid_of_its_own() -> None:
    weight = torch.randn(20, 10, generator=DRAW) * (torch.rand(20, 10, generator=DRAW) > 0.7)
    found = codebook(weight, 4)
    assert found.centroids[0] == 0 and len(found.centroids) == 5
    assert np.array_equal(values_of(found) == 0, weight.numpy() == 0)
    assert np.array_equal(found.indices == 0, weight.numpy() == 0)


def layer(found: Quantised, index: int) -> Any:
    return found.model.get_submodule(str(index))


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def task() -> Task:
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (60, 1, 8, 8), generator=draw, dtype=torch.uint8)
    return Task(train=Split(images, torch.arange(60) % 3), normalise=((0.5,), (0.3,)))


def test_every_layer_shares_its_weights_and_nothing_else_does() -> None:
    model = network()
    found = share_weights(model, bits=2, linear_bits=3)
    assert len(layer(found, 0).weight.unique()) <= 4 and len(layer(found, 4).weight.unique()) <= 8
    assert torch.equal(layer(found, 0).bias, model[0].bias)
    assert {name for name, coded in found.tensors.items() if not isinstance(coded, Plain)} == {
        "0.weight",
        "4.weight",
    }


def test_a_centroids_gradient_is_the_sum_over_its_weights() -> None:
    coded = codebook(torch.randn(6, 5, generator=DRAW) * (torch.rand(6, 5, generator=DRAW) > 0.3), 3)
    shared = SharedWeights(coded, torch.zeros(6, 5))
    centroids = torch.from_numpy(coded.centroids[1:]).requires_grad_()
    gradient = torch.randn(6, 5, generator=DRAW)
    weight = shared(centroids)
    assert np.array_equal(weight.detach().numpy(), values_of(coded))
    weight.backward(gradient)
    wanted = [float(gradient[torch.from_numpy(coded.indices) == k].sum()) for k in (1, 2, 3)]
    assert centroids.grad is not None and centroids.grad.tolist() == pytest.approx(wanted, rel=1e-5)


def test_tuning_moves_centroids_and_leaves_who_shares_them() -> None:
    model = network()
    with torch.no_grad():
        model[4].weight *= torch.rand(3, 144, generator=DRAW) > 0.5
    shared = share_weights(model, bits=2, linear_bits=2)
    config = TrainConfig(epochs=4, batch_size=20, lr=0.01, optimizer="adam", weight_decay=0)
    tuned = tune_centroids(shared, task(), config=config)
    for name in ("0.weight", "4.weight"):
        before, after = shared.tensors[name], tuned.tensors[name]
        assert isinstance(before, Codebook) and isinstance(after, Codebook)
        assert np.array_equal(before.indices, after.indices)
        assert not np.array_equal(before.centroids, after.centroids)
    assert torch.equal(layer(tuned, 4).weight == 0, model[4].weight == 0)
    assert list(named_tensors(tuned.model)) == list(named_tensors(model))
    assert loss(tuned.model) < loss(shared.model)


@torch.no_grad()
def loss(model: nn.Module) -> float:
    inputs, targets = next(iter(task().batches("train", 60)))
    found: Tensor = nn.functional.cross_entropy(model(inputs), targets)
    return float(found)


def test_bits_have_a_range() -> None:
    with pytest.raises(ConfigError, match="linear_bits"):
        share_weights(network(), linear_bits=0)
