"""Shared weights that are trained softly.

Cho et al. 2022, "DKM: Differentiable K-Means Clustering Layer for Neural Network Compression" (arXiv
2108.12659): in every forward each weight is a mixture of the centroids, by a softmax of its distances to them
over a temperature, and the centroids are the means of the weights in these proportions, some rounds of it,
all of which gradients pass. At the end each weight takes the centroid that is nearest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus.coding.tensors import Codebook, CodedTensor
from prunus.errors import ConfigError
from prunus.paint.model_copy import named_tensors, unwrap
from prunus.quantisation.codebook import codebooks
from prunus.quantisation.parametrised import behind, put_on, taken_off
from prunus.quantisation.quantised import Quantised, decoded, own_copy
from prunus.tasks import Task
from prunus.training import TrainConfig

ROUNDS = 3  # of soft k-means in a forward; the centroids are near where they were one step before
TRAINED = TrainConfig(epochs=10, lr=1e-4, optimizer="adam", weight_decay=0.0)


@door(ConfigError)
def train_clusters(
    model: nn.Module,
    task: Task,
    *,
    bits: int = 4,
    linear_bits: int | None = None,
    temperature: float = 0.1,
    config: TrainConfig = TRAINED,
    **options: Any,
) -> Quantised:
    """Train a copy of a network whose weights are softly shared, and share them for good.

    Args:
        model: trained, as a rule; not changed. Zeros stay zero.
        task: what it is for.
        bits: of parameters of three axes and more: a layer has 2^bits centroids besides zero.
        linear_bits: of those of two; None = the same.
        temperature: of the softmax, in mean distances between neighbouring centroids; lower = harder.
        config: how to train.
        options: as for `Task.fit`.

    Raises:
        ConfigError: bits below 1 or above 16, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ConfigError(f"The temperature is above 0, not {temperature}.")
    network = own_copy(unwrap(model))
    first = codebooks(network, bits, bits if linear_bits is None else linear_bits)
    tensors = named_tensors(network)
    for name, coded in first.items():
        assert isinstance(coded, Codebook)
        put_on(network, name, SoftClusters(tensors[name], coded, temperature))
    task.fit(network, config, **options)
    shared: dict[str, CodedTensor] = {}
    for name in first:
        clusters, weight = behind(network, name)
        shared[name] = clusters.hard(weight.detach())
    return decoded(taken_off(network, unwrap(model), first), shared)


class SoftClusters(nn.Module):
    """The parametrisation of one weight by a mixture of centroids.

    Attributes:
        centroids: as the last forward in training left them, (k,); without that of zero.
        kept: which weights are not zero for good.
    """

    centroids: Tensor
    kept: Tensor

    def __init__(self, weight: Tensor, coded: Codebook, temperature: float) -> None:
        super().__init__()
        centroids = coded.centroids[coded.centroids != 0]
        self.register_buffer("centroids", torch.from_numpy(centroids).to(weight))
        self.register_buffer("kept", weight.detach() != 0, persistent=False)
        apart = float(np.ptp(centroids)) / max(len(centroids) - 1, 1) if len(centroids) else 0.0
        self._temperature = max(temperature * apart, 1e-12)

    def forward(self, weight: Tensor) -> Tensor:
        """The mixtures, of the shape of the weight."""
        values, centroids = weight[self.kept], self.centroids
        if not len(values):
            return weight * 0
        parts = self._parts(values, centroids)
        for _ in range(ROUNDS):
            centroids = (parts.T @ values) / parts.sum(0).clamp(min=1e-12)
            parts = self._parts(values, centroids)
        if self.training:
            self.centroids.copy_(centroids.detach())
        mixed = torch.zeros_like(weight)
        mixed[self.kept] = parts @ centroids
        return mixed

    def _parts(self, values: Tensor, centroids: Tensor) -> Tensor:
        """How much of each centroid is in each value, (n, k)."""
        return torch.softmax(-(values[:, None] - centroids).abs() / self._temperature, 1)

    @torch.no_grad()
    def hard(self, weight: Tensor) -> Codebook:
        """Each weight's nearest centroid."""
        centroids = torch.unique(self.centroids.double())
        halves = (centroids[1:] + centroids[:-1]) / 2
        sparse = not bool(self.kept.all())
        indices = torch.bucketize(weight.double().contiguous(), halves) + int(sparse)
        indices[~self.kept] = 0
        front = centroids.new_zeros(int(sparse))
        return Codebook(
            indices.to(torch.int32).cpu().numpy(), torch.cat([front, centroids]).float().cpu().numpy()
        )


__all__ = ["SoftClusters", "train_clusters"]
