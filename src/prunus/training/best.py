"""The best epoch of a training, by its validation samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Best:
    """The weights after the epoch with the highest validation score so far; of equal scores the first one
    counts.

    Attributes:
        epoch: counted from 1; 0 before there is one.
    """

    def __init__(self, followed: Mapping[str, Tensor]) -> None:
        self._followed = followed
        self._held: dict[str, Tensor] = {}
        self._pruning: Mapping[str, Any] | None = None
        self._score, self.epoch = -math.inf, 0

    def consider(self, epoch: int, score: float, pruning: Mapping[str, Any] | None) -> None:
        """Remember the model as it is now if the score is higher, and the state of the pruning that goes with
        it; a score that is no number is none.
        """
        if score > self._score:
            self._score, self.epoch, self._pruning = score, epoch, pruning
            self._held = {name: tensor.detach().clone() for name, tensor in self._followed.items()}

    @torch.no_grad()
    def keep(self) -> Mapping[str, Any] | None:
        """Put these weights into the model; returns the pruning's state."""
        for name, tensor in self._held.items():
            self._followed[name].copy_(tensor)
        return self._pruning

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "score": self._score,
            "epoch": self.epoch,
            "pruning": self._pruning,
            "tensors": dict(self._held),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint of the same model."""
        self._score, self.epoch, self._pruning = state["score"], state["epoch"], state["pruning"]
        self._held = {
            name: tensor.to(self._followed[name].device) for name, tensor in state["tensors"].items()
        }
