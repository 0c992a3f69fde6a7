"""Losses of segmentation. Logits are (batch, classes, H, W), by themselves or under "out" in a dictionary, as
torchvision's networks return them; a single map is the logit of the foreground of a binary mask.

Targets are (batch, H, W), class indices (0 and 1 for a binary mask), and `IGNORED` where nobody knows.
Signals and volumes go as well, with one axis of places or three. Every loss gives one number per sample, so
that it works with curricula, and the engine averages them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from prunus._foundation.arguments import checked
from prunus._foundation.wording import given
from prunus.data.pictures import IGNORED
from prunus.errors import ArgumentError
from prunus.segmentation.metrics import check_classes, maps_of

_SMOOTH = 1.0  # pixels: an empty mask that is found empty costs nothing


@checked()
def cross_entropy(logits: Any, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the known pixels of every sample, shape (batch,); of a single map the binary
    one.
    """
    logits = _maps(logits, targets)
    known = targets != IGNORED
    if logits.shape[1] == 1:
        found = F.binary_cross_entropy_with_logits(
            logits[:, 0], (targets == 1).to(logits.dtype), reduction="none"
        )
    else:
        found = F.cross_entropy(logits, torch.where(known, targets, 0).long(), reduction="none")
    return _mean(found, known)


@checked()
def dice_loss(logits: Any, targets: Tensor) -> Tensor:
    """1 - Dice of the probabilities, averaged over the classes (or of the foreground alone), shape (batch,)
    (Milletari et al. 2016).
    """
    overlap, both = _overlap(logits, targets)
    return (1 - (2 * overlap + _SMOOTH) / (both + _SMOOTH)).mean(1)


@checked()
def log_jaccard(logits: Any, targets: Tensor) -> Tensor:
    """-log of the Jaccard index (IoU) of the probabilities, averaged over the classes, shape (batch,)
    (Iglovikov and Shvets 2018).
    """
    overlap, both = _overlap(logits, targets)
    return -((overlap + _SMOOTH) / (both - overlap + _SMOOTH)).log().mean(1)


@checked()
def binary(logits: Any, targets: Tensor) -> Tensor:
    """TernausNet's loss: cross-entropy - log Jaccard, shape (batch,)."""
    return cross_entropy(logits, targets) + log_jaccard(logits, targets)


def _maps(outputs: Any, targets: Tensor) -> Tensor:
    """The logits among a network's outputs; raises ArgumentError where they do not fit the targets, DataError
    where these are no classes of theirs.
    """
    logits = maps_of(outputs)
    if not isinstance(logits, Tensor):
        raise ArgumentError(
            f'logits must be a tensor, by itself or under "out" in a dictionary, not {given(logits)}.'
        )
    if logits.dim() < 3:
        raise ArgumentError(f"logits must be of shape (batch, classes, H, W), not {tuple(logits.shape)}.")
    if targets.shape != (logits.shape[0], *logits.shape[2:]):
        raise ArgumentError(
            f"targets must be of shape (batch, H, W), like the logits' {tuple(logits.shape)}, not"
            f" {tuple(targets.shape)}."
        )
    check_classes(targets[targets != IGNORED], max(logits.shape[1], 2))
    return logits


def _overlap(logits: Any, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Per sample and class: sums of p * t and of p + t over the known pixels, both (batch, classes)."""
    logits = _maps(logits, targets)
    known = (targets != IGNORED)[:, None].to(logits.dtype)
    if logits.shape[1] == 1:
        found, wanted = logits.sigmoid(), (targets == 1)[:, None].to(logits.dtype)
    else:
        found = logits.softmax(1)
        wanted = (
            F.one_hot(torch.where(targets != IGNORED, targets, 0).long(), logits.shape[1])
            .movedim(-1, 1)
            .to(logits.dtype)
        )
    found, wanted = found * known, wanted * known
    return (found * wanted).flatten(2).sum(2), (found + wanted).flatten(2).sum(2)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    known = known.to(values.dtype)
    return (values * known).flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
