"""Selection of critical pictures where every pixel has a class."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.errors import ConfigError
from prunus.selection import (
    Aggregated,
    Masks,
    Points,
    aggregate,
    critical,
    of_logits,
    pixel_divergence,
    principal_components,
)

NORMALISE = ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
CLASSES = 3


def pictures(count: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures with one bright square each, of class 1 or 2; some are empty."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (count, 3, 8, 8), dtype=np.uint8)
    masks = np.zeros((count, 8, 8), dtype=np.int64)
    for number in range(count):
        if number % 7:
            top, left, kind = rng.integers(0, 5), rng.integers(0, 5), 1 + number % 2
            masks[number, top : top + 3, left : left + 3] = kind
            images[number, kind, top : top + 3, left : left + 3] += 120
    return images, masks


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, CLASSES, 1)).eval()


def divergence(logits: Tensor, masks: NDArray[np.int64]) -> float:
    """Pixel by pixel and class by class: p (log p - log q), with p the share of the class
    among some masks.
    """
    q, total = logits.double().softmax(0), 0.0
    for row in range(8):
        for column in range(8):
            for kind in range(CLASSES):
                p = float((masks[:, row, column] == kind).mean())
                total += p * (math.log(p) - math.log(float(q[kind, row, column]))) if p else 0.0
    return total / 64


def test_points_of_pictures_are_scored_against_the_shares_of_their_masks() -> None:
    images, masks = pictures()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALISE)
    subsets = aggregate(Masks(masks, CLASSES).labels(), principal_components(images, 4), subset_size=8)
    points = Points(
        images, subsets, NORMALISE, of_logits(pixel_divergence), batch_size=7, masks=Masks(masks, CLASSES)
    )
    model = network()

    def wanted(members: NDArray[np.int64]) -> float:
        image = (torch.from_numpy(images[members].astype(np.float32)).mean(0) / 255 - mean) / std
        with torch.no_grad():
            return divergence(model(image[None])[0], masks[members])

    assert points.coarse_effects(model) == pytest.approx(
        [wanted(subsets.members(s)) for s in range(len(subsets))], rel=1e-4
    )
    chosen = np.arange(0, len(subsets.fine) - 1, 2)
    of_fine = [wanted(subsets.order[subsets.fine[f] : subsets.fine[f + 1]]) for f in chosen]
    assert points.fine_effects(model, chosen) == pytest.approx(of_fine, rel=1e-4)
    selection = Aggregated(points, critical).choose(model, 0, 1)
    assert selection is not None and 0 < selection.fraction < 1


def test_the_class_of_a_picture_is_its_largest_one_that_is_not_background() -> None:
    masks = np.zeros((4, 3, 3), dtype=np.uint8)
    masks[1, 0, 0], masks[2, :2], masks[2, 2], masks[3] = 2, 1, 2, 1
    assert Masks(masks, 3).labels().tolist() == [0, 2, 1, 1]
    assert Masks(np.zeros((600, 2, 2), dtype=bool), 2).labels().tolist() == [0] * 600


def test_a_perfect_network_has_nothing_left_to_learn_from_a_blurred_mask() -> None:
    shares = torch.rand(5, 3, 4, 4).softmax(1)
    assert pixel_divergence(shares.log(), shares).abs().max() < 1e-6
    assert (pixel_divergence(torch.randn(5, 3, 4, 4), shares) > 0).all()


def test_one_output_is_the_logit_of_the_second_class() -> None:
    logits, shares = torch.randn(5, 1, 4, 4), torch.rand(5, 2, 4, 4).softmax(1)
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    torch.testing.assert_close(pixel_divergence(logits, shares), pixel_divergence(both, shares))


def test_masks_of_another_shape_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"indices of two or more classes, not an array of shape \(4, 8\) of 2"
    ):
        Masks(np.zeros((4, 8)), 2)
