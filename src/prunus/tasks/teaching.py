"""Whether a network can teach another one for a task: asked before there is any work to lose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from prunus._foundation.wording import given
from prunus.errors import ConfigError, TargetError
from prunus.tasks.placed import Placed
from prunus.tasks.task import Task
from prunus.training.config import TrainConfig
from prunus.training.evaluation import mode

_SUM = 1e-3  # how far the shares of a soft label may be from 1 together


def check_teachable(model: nn.Module, task: Task | None, config: TrainConfig | None) -> None:
    """Raises TargetError where nothing is trained, and ConfigError unless a network gives logits (batch,
    classes) for labels, of which a teacher's softened probabilities (`prunus.training.taught`) make sense.
    """
    if task is None or config is None:
        raise TargetError("The original teaches while what is left is fine-tuned: say for how many epochs.")
    if config.label_smoothing:
        raise ConfigError(
            "label_smoothing belongs to a cross-entropy without a teacher, who says how sure one can be:"
            " leave it at 0."
        )
    inputs, targets = next(Placed(task.calibration(2), model).pairs())
    with mode(model, training=False), torch.no_grad():
        outputs = None if task.loss == "model" else task.called(model, inputs)
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or not _are_labels(targets, outputs):
        raise ConfigError(
            "A teacher is for networks that return logits (batch, classes) for labels, not for"
            f" {'losses of their own' if outputs is None else given(outputs)} and targets, {given(targets)}:"
            " leave it out."
        )


def _are_labels(targets: Any, logits: Tensor) -> bool:
    """Class indices (batch,), or shares of the classes (batch, classes)."""
    if not isinstance(targets, Tensor) or targets.is_complex():
        return False
    if not targets.is_floating_point():
        return targets.dim() == 1
    shares = targets.double()
    return shares.shape == logits.shape and bool(
        (shares >= 0).all() and ((shares.sum(1) - 1).abs() < _SUM).all()
    )
