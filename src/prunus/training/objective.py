"""What a training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus.errors import ConfigError
from prunus.training.evaluation import logits_of

Loss = Callable[[Any, Any], Tensor]
"""(what the model returned, targets) -> the losses of the samples, shape (batch,), or their mean."""


def with_penalty(loss: Loss, penalty: Callable[[], Tensor]) -> Loss:
    """The mean of a loss, and something besides that does not look at outputs."""
    return lambda outputs, targets: loss(outputs, targets).mean() + penalty()


class Objective:
    """A loss, and what else the loop asks about outputs: by default cross-entropy of logits (batch, classes)
    and labels (batch,).

    Args:
        loss: in place of cross-entropy.
        label_smoothing: of cross-entropy.
        highest: the highest label of the samples, if it is known.

    Raises:
        ConfigError: label smoothing of another loss.
    """

    def __init__(self, loss: Loss | None, label_smoothing: float, highest: int) -> None:
        if loss is not None and label_smoothing:
            raise ConfigError(
                "label_smoothing belongs to the built-in cross-entropy: leave it at 0 with a loss of your"
                " own."
            )
        self._loss, self._smoothing, self._highest = loss, label_smoothing, highest

    def outputs(self, model: nn.Module, inputs: Any) -> Any:
        """What the model returns, in full precision."""
        if self._loss is None:
            return _wide(logits_of(model, inputs, self._highest))
        return _wide(model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs))

    def losses(self, outputs: Any, targets: Any) -> Tensor:
        """The losses of the samples, shape (batch,); raises ConfigError if the loss gives only their mean."""
        if self._loss is None:
            return F.cross_entropy(outputs, targets, label_smoothing=self._smoothing, reduction="none")
        losses = self._loss(outputs, targets)
        if losses.shape != (len(targets),):
            raise ConfigError(
                f"A curriculum needs the loss of every sample, shape ({len(targets)},); this one gives"
                f" {tuple(losses.shape)}: use reduction='none'."
            )
        return losses

    def mean(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss of the samples."""
        if self._loss is None:
            return F.cross_entropy(outputs, targets, label_smoothing=self._smoothing)
        return self._loss(outputs, targets).mean()

    @staticmethod
    def right(outputs: Any, targets: Any) -> Tensor | None:
        """Which samples are told right, (batch,) bool; None where this is no classification."""
        if (
            not (isinstance(outputs, Tensor) and isinstance(targets, Tensor))
            or outputs.dim() != 2
            or targets.dim() != 1
            or targets.is_floating_point()
        ):
            return None
        return outputs.detach().argmax(1) == targets


def _wide(outputs: Any) -> Any:
    half = isinstance(outputs, Tensor) and outputs.dtype in (torch.bfloat16, torch.float16)
    return outputs.float() if half else outputs
