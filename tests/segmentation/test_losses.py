"""Losses of segmentation, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from prunus.data.pictures import IGNORED
from prunus.errors import ArgumentError, DataError
from prunus.segmentation import binary, dice_loss, log_jaccard
from prunus.segmentation.losses import cross_entropy

DRAW = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 4, 5, generator=DRAW, dtype=torch.float64)
TARGETS = torch.randint(3, (2, 4, 5), generator=DRAW)
TARGETS[0, 0, :3] = IGNORED


def pixels(sample: int, single: bool) -> list[tuple[list[float], int]]:
    """Probabilities and true class of every known pixel."""
    found = []
    for row in range(4):
        for column in range(5):
            true = int(TARGETS[sample, row, column])
            if true == IGNORED:
                continue
            z = LOGITS[sample, :, row, column].tolist()
            if single:
                p = 1 / (1 + math.exp(-z[0]))
                found.append(([1 - p, p], int(true == 1)))
            else:
                total = sum(math.exp(v) for v in z)
                found.append(([math.exp(v) / total for v in z], true))
    return found


@pytest.mark.parametrize("single", [True, False])
def test_losses_are_the_formulas(single: bool) -> None:
    logits = LOGITS[:, :1] if single else LOGITS
    targets = torch.where(TARGETS == 2, 0, TARGETS) if single else TARGETS
    for sample in range(2):
        known = pixels(sample, single)
        entropy = -sum(math.log(p[t]) for p, t in known) / len(known)
        dices, jaccards = [], []
        for c in [1] if single else range(3):
            overlap = sum(p[c] for p, t in known if t == c)
            both = sum(p[c] for p, _ in known) + sum(t == c for _, t in known)
            dices.append(1 - (2 * overlap + 1) / (both + 1))
            jaccards.append(-math.log((overlap + 1) / (both - overlap + 1)))
        assert float(cross_entropy(logits, targets)[sample]) == pytest.approx(entropy)
        assert float(dice_loss(logits, targets)[sample]) == pytest.approx(sum(dices) / len(dices))
        assert float(log_jaccard(logits, targets)[sample]) == pytest.approx(sum(jaccards) / len(jaccards))
        assert float(binary(logits, targets)[sample]) == pytest.approx(
            entropy + sum(jaccards) / len(jaccards)
        )


def test_a_sample_that_nobody_knows_costs_nothing() -> None:
    targets = torch.full((2, 4, 5), IGNORED)
    for loss in (cross_entropy, dice_loss, log_jaccard):
        assert torch.allclose(loss(LOGITS, targets), torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss, log_jaccard, binary])
def test_logits_may_lie_in_a_dictionary(loss: Callable[..., torch.Tensor]) -> None:
    assert torch.equal(loss({"out": LOGITS, "aux": LOGITS[:, :1]}, TARGETS), loss(LOGITS, TARGETS))
    for wrong in ({"logits": LOGITS}, [LOGITS], None, {"out": None}):
        with pytest.raises(
            ArgumentError, match='logits must be a tensor, by itself or under "out" in a dict'
        ):
            loss(wrong, TARGETS)
    with pytest.raises(ArgumentError, match=r"targets must be of shape \(batch, H, W\)"):
        loss({"out": LOGITS[..., 1:]}, TARGETS)


@pytest.mark.parametrize("loss", [cross_entropy, dice_loss, log_jaccard, binary])
@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (TARGETS + 3, "A mask has class"),
        (TARGETS * 0 - 1, "class -1"),
        (TARGETS * 0 + 0.5, "numbers between"),
    ],
)
def test_what_is_no_class_is_told(loss: Any, targets: Tensor, told: str) -> None:
    """torch ends in the middle, on a GPU so that the process is of no use any more; for a single map all that
    is not 1 was the ground.
    """
    for logits in (LOGITS, LOGITS[:, :1]):
        with pytest.raises(DataError, match=told):
            loss(logits, targets)
