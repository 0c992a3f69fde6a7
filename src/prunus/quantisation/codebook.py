"""Shared weights: every weight of a layer is one of a few centroids.

Han, Mao and Dally 2016, "Deep Compression" (arXiv 1510.00149), section 3: k-means of the weights of each
layer, centroids that start at equal distances between the smallest and the largest weight, and the
fine-tuning of the centroids, whose gradients are the sums over the weights that share them (equation 3). What
is pruned stays zero: it has a centroid of its own, which does not move. Biases and norms stay as they are, as
in the paper.
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
from prunus.quantisation.parametrised import behind, put_on, taken_off
from prunus.quantisation.quantised import Quantised, decoded, own_copy
from prunus.tasks import Task
from prunus.training import TrainConfig

CONVOLUTION_BITS, LINEAR_BITS = 8, 5  # of the paper
ROUNDS = 100  # of Lloyd's, at most
TUNED = TrainConfig(epochs=5, lr=1e-4, optimizer="adam", weight_decay=0.0)


@door(ConfigError)
@torch.no_grad()
def share_weights(
    model: nn.Module, *, bits: int = CONVOLUTION_BITS, linear_bits: int = LINEAR_BITS
) -> Quantised:
    """A copy of a network in which every layer has at most 2^bits different weights, zero not counted.

    Args:
        model: trained, and pruned where it is to be sparse; not changed.
        bits: of parameters of three axes and more.
        linear_bits: of those of two.

    Raises:
        ConfigError: bits below 1 or above 16.
    """
    return decoded(unwrap(model), codebooks(unwrap(model), bits, linear_bits))


@door(ConfigError)
def tune_centroids(
    quantised: Quantised, task: Task, *, config: TrainConfig = TUNED, **options: Any
) -> Quantised:
    """Train the centroids of shared weights, and whatever else the network has, biases and norms; which
    weights share one stays.

    Args:
        quantised: with codebooks; not changed.
        task: what the network is for.
        config: how to train.
        options: as for `Task.fit`, such as `checkpoint` and `resume`.
    """
    network = own_copy(quantised.model)
    shared = {name: coded for name, coded in quantised.tensors.items() if isinstance(coded, Codebook)}
    tensors = named_tensors(network)
    for name, coded in shared.items():
        put_on(network, name, SharedWeights(coded, tensors[name]))
    task.fit(network, config, **options)
    tuned: dict[str, CodedTensor] = {}
    for name, coded in shared.items():
        sharing, centroids = behind(network, name)
        tuned[name] = Codebook(coded.indices, sharing.whole(centroids.detach()).float().cpu().numpy())
    return decoded(taken_off(network, quantised.model, shared), tuned)


class SharedWeights(nn.Module):
    """The parametrisation of a weight by its centroids, (k,); that of zero is no parameter.

    Autograd sums the gradients of the weights that share a centroid.
    """

    indices: Tensor

    def __init__(self, coded: Codebook, like: Tensor) -> None:
        super().__init__()
        self._zero = bool(coded.centroids[0] == 0)
        indices = torch.from_numpy(coded.indices).long().to(like.device)
        self.register_buffer("indices", indices, persistent=False)
        self._first = torch.from_numpy(coded.centroids[int(self._zero) :]).to(like)

    def whole(self, centroids: Tensor) -> Tensor:
        """All centroids, with that of zero in front where there is one."""
        return torch.cat([centroids.new_zeros(1), centroids]) if self._zero else centroids

    def forward(self, centroids: Tensor) -> Tensor:
        """The weight."""
        return self.whole(centroids)[self.indices]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The centroids, which stand for the weight."""
        return self._first.clone()


def codebooks(model: nn.Module, bits: int, linear_bits: int) -> dict[str, CodedTensor]:
    """Codebooks of all parameters of two axes and more."""
    for name, value in (("bits", bits), ("linear_bits", linear_bits)):
        if not 1 <= value <= 16:
            raise ConfigError(f"{name} must lie between 1 and 16, not {value}.")
    return {
        name: codebook(tensor, 2 ** (linear_bits if tensor.dim() == 2 else bits))
        for name, tensor in named_tensors(model).items()
        if isinstance(tensor, nn.Parameter) and tensor.dim() > 1 and tensor.is_floating_point()
    }


def codebook(values: Tensor, most: int) -> Codebook:
    """At most `most` centroids of values, and zero in front of them where some are zero."""
    whole = values.detach().double().cpu().numpy()
    filled = whole != 0
    centroids, labels = kmeans(whole[filled], most)
    indices = np.zeros(whole.shape, dtype=np.int32)
    sparse = not filled.all()
    indices[filled] = labels + sparse
    front = [0.0] if sparse else []
    return Codebook(indices, np.concatenate([front, centroids]).astype(np.float32))


def kmeans(
    values: np.ndarray[tuple[int], np.dtype[np.float64]], most: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.int32]]]:
    """Lloyd's rounds from centroids at equal distances; those that nothing is nearest to go.

    Args:
        values: (n,).
        most: centroids.

    Returns:
        Centroids in rising order, and for each value which one it shares, (n,).
    """
    if not len(values):
        return np.zeros(0), np.zeros(0, dtype=np.int32)
    ordered = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.unique(np.linspace(ordered[0], ordered[-1], most))
    for _ in range(ROUNDS):
        ends = _ends(ordered, centroids)
        counts = np.diff(ends)
        inside = counts > 0
        moved = (np.diff(sums[ends]))[inside] / counts[inside]
        if len(moved) == len(centroids) and np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids, np.searchsorted(_halves(centroids), values, side="right").astype(np.int32)


def _halves(centroids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Where one centroid's values end and the next one's begin."""
    halves: np.ndarray[Any, Any] = (centroids[1:] + centroids[:-1]) / 2
    return halves


def _ends(ordered: np.ndarray[Any, Any], centroids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Positions in the ordered values between which each centroid's lie, (k + 1,)."""
    inner = np.searchsorted(ordered, _halves(centroids), side="left")
    return np.concatenate([[0], inner, [len(ordered)]])


__all__ = ["SharedWeights", "codebook", "kmeans", "share_weights", "tune_centroids"]
