"""Soft k-means: against its formulas written out, and hard at the end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.quantisation.test_codebook import layer, network, task

from prunus.coding.tensors import Codebook, values_of
from prunus.errors import ConfigError
from prunus.paint.model_copy import named_tensors
from prunus.quantisation.codebook import codebook
from prunus.quantisation.soft_clusters import ROUNDS, SoftClusters, train_clusters
from prunus.training import TrainConfig

DRAW = torch.Generator().manual_seed(0)


def test_mixtures_are_those_of_the_paper() -> None:
    weight = torch.randn(4, 5, dtype=torch.float64, generator=DRAW)
    coded = codebook(weight, 3)
    clusters = SoftClusters(weight, coded, 0.3)
    centroids = coded.centroids.astype(np.float64)
    temperature = 0.3 * np.ptp(centroids) / 2
    values = weight.numpy().ravel()

    def parts(centres: np.ndarray) -> np.ndarray:
        likeness = np.exp(-np.abs(values[:, None] - centres) / temperature)
        return likeness / likeness.sum(1, keepdims=True)

    for _ in range(ROUNDS):
        mixed = parts(centroids)
        centroids = np.array([(mixed[:, k] * values).sum() / mixed[:, k].sum() for k in range(3)])
    wanted = (parts(centroids) @ centroids).reshape(4, 5)
    assert np.allclose(clusters(weight).numpy(), wanted, atol=1e-7)


def test_gradients_pass_through_and_a_low_temperature_is_hard() -> None:
    weight = torch.randn(6, 6, dtype=torch.float64, generator=DRAW, requires_grad=True)
    clusters = SoftClusters(weight, codebook(weight, 4), 1e-4)
    mixed = clusters(weight)
    assert np.allclose(mixed.detach().numpy(), values_of(clusters.hard(weight)), atol=1e-6)
    mixed.sum().backward()
    assert weight.grad is not None and bool(weight.grad.any())


def test_zeros_stay_and_the_network_holds_what_is_coded() -> None:
    model = network()
    with torch.no_grad():
        model[4].weight *= torch.rand(3, 144, generator=DRAW) > 0.5
    config = TrainConfig(epochs=2, batch_size=20, lr=0.01, optimizer="adam", weight_decay=0)
    found = train_clusters(model, task(), bits=2, linear_bits=3, config=config)
    assert torch.equal(layer(found, 4).weight == 0, model[4].weight == 0)
    assert len(layer(found, 0).weight.unique()) <= 4 and len(layer(found, 4).weight.unique()) <= 9
    assert list(named_tensors(found.model)) == list(named_tensors(model))
    for name in ("0.weight", "4.weight"):
        assert isinstance(found.tensors[name], Codebook)
        assert np.array_equal(
            values_of(found.tensors[name]), named_tensors(found.model)[name].numpy(force=True)
        )
    assert not torch.equal(layer(found, 0).bias, model[0].bias)


def test_the_temperature_is_above_zero() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        train_clusters(network(), task(), temperature=0.0)
