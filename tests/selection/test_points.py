"""Aggregated points are means of their samples, and their effects losses."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.data import load
from prunus.selection import (
    Points,
    Subsets,
    aggregate,
    principal_components,
)

DIGITS = load("digits")
SPLIT = DIGITS.train.subset(torch.arange(0, 1442, 3))
LABELS = SPLIT.labels.numpy()


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10)
    ).eval()


def subsets() -> Subsets:
    return aggregate(LABELS, principal_components(SPLIT.images.numpy(), 4), subset_size=12)


def points() -> Points:
    return Points(SPLIT.images, subsets(), DIGITS.normalise)


def mean_image(samples: np.ndarray) -> Tensor:
    """The mean of some samples, normalised, one by one."""
    mean, std = (torch.tensor(v).view(1, 1, 1) for v in DIGITS.normalise)
    return sum(
        ((SPLIT.images[int(i)].float() / 255 - mean) / std for i in samples), torch.zeros(1, 8, 8)
    ) / len(samples)


def test_points_are_means_of_their_samples_and_effects_their_losses() -> None:
    model, found, parts = network(), points(), subsets()
    coarse = torch.stack([mean_image(parts.members(s)) for s in range(len(parts))])
    wanted = F.cross_entropy(model(coarse), torch.from_numpy(parts.labels), reduction="none").detach().numpy()
    np.testing.assert_allclose(found.coarse_effects(model), wanted, rtol=1e-4, atol=1e-5)
    chosen = np.array([3, 0, 7])
    fine = torch.stack([mean_image(np.flatnonzero(parts.fine_of_sample == p)) for p in chosen])
    labels = torch.from_numpy(parts.labels[parts.subset_of_fine[chosen]])
    wanted = F.cross_entropy(model(fine), labels, reduction="none").detach().numpy()
    np.testing.assert_allclose(found.fine_effects(model, chosen), wanted, rtol=1e-4, atol=1e-5)
