"""What a training minimises."""

from __future__ import annotations

import math
from collections.abc import Callable
from traceback import walk_tb
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.finite import named_class
from prunus._foundation.wording import given
from prunus.errors import ConfigError, clause
from prunus.paint.nests import map_tensors, tensors_in
from prunus.training.calls import called
from prunus.training.evaluation import logits_of

HALVES = (torch.bfloat16, torch.float16)
Loss = Callable[[Any, Any], Tensor]
"""(what the model returned, targets) -> the losses of the samples, shape (batch,), or their mean."""


def with_penalty(loss: Loss, penalty: Callable[[], Tensor]) -> Loss:
    """The mean of a loss, and something besides that does not look at outputs."""

    lost = told(loss)

    def both(outputs: Any, targets: Any) -> Tensor:
        return as_tensor(lost(outputs, targets)).mean() + penalty()

    both.__wrapped__ = loss  # type: ignore[attr-defined]  # it may have a state, which checkpoints hold
    return both


def told(loss: Loss) -> Loss:
    """A loss that raises ConfigError where torch cannot compute it of what it is given; what fails in a
    function of somebody else's is theirs to say.
    """

    def call(outputs: Any, targets: Any) -> Tensor:
        try:
            return loss(outputs, targets)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            if not _of_torch(error):
                raise
            name = getattr(loss, "__name__", type(loss).__name__)
            raise ConfigError(
                f"The loss {name} cannot be computed of outputs, {given(outputs)}, and targets,"
                f" {given(targets)} ({clause(error)}): give the task a loss that fits them, or other targets."
            ) from error

    call.__wrapped__ = loss  # type: ignore[attr-defined]  # it may have a state, which checkpoints hold
    return call


def _of_torch(error: BaseException) -> bool:
    """Whether nothing but torch ran between the call of a loss and its failure."""
    frames = list(walk_tb(error.__traceback__))[1:]
    return all(frame.f_globals.get("__name__", "").partition(".")[0] == "torch" for frame, _ in frames)


def cross_entropy(outputs: Tensor, targets: Any, smoothing: float, reduction: str) -> Tensor:
    """That of torch, of classes; raises ConfigError where it cannot be computed."""
    try:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing, reduction=reduction)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"Cross-entropy is of logits (batch, classes), here {given(outputs)}, and class indices (batch,)"
            f" below the number of classes, not of {given(targets)} ({clause(error)}): give the task a loss"
            " of its own, or other targets."
        ) from error


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
        self._loss = None if loss is None else told(loss)
        self._smoothing, self._highest = label_smoothing, highest

    def outputs(self, model: nn.Module, inputs: Any) -> Any:
        """What the model returns, in full precision."""
        if self._loss is None:
            return wide(logits_of(model, inputs, self._highest))
        return wide(called(model, inputs))

    def losses(self, outputs: Any, targets: Any) -> Tensor:
        """The losses of the samples, shape (batch,); raises ConfigError if the loss gives only their mean."""
        if self._loss is None:
            return cross_entropy(outputs, targets, self._smoothing, "none")
        losses = as_tensor(self._loss(outputs, targets))
        if losses.shape != (len(targets),):
            raise ConfigError(
                f"A curriculum needs the loss of every sample, shape ({len(targets)},); this one gives"
                f" {tuple(losses.shape)}: use reduction='none'."
            )
        return losses

    def mean(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss of the samples."""
        if self._loss is None:
            return cross_entropy(outputs, targets, self._smoothing, "mean")
        return as_tensor(self._loss(outputs, targets)).mean()

    @staticmethod
    def right(outputs: Any, targets: Any) -> Tensor | None:
        """Which samples are told right, (batch,) bool; None where this is no classification."""
        if (
            not (isinstance(outputs, Tensor) and isinstance(targets, Tensor))
            or outputs.is_complex()
            or outputs.dim() != 2
            or targets.dim() != 1
            or targets.is_floating_point()
        ):
            return None
        return named_class(outputs.detach()) == targets


def as_tensor(loss: Any) -> Tensor:
    """What a loss gave."""
    if isinstance(loss, Tensor):
        return loss
    raise ConfigError(
        "A loss must give a tensor, the losses of the samples (batch,) or their mean, by which a network can"
        f" learn; not {given(loss)}."
    )


def as_score(found: Any) -> float:
    """What a function of the user's says of a model."""
    one = isinstance(found, (Tensor, np.ndarray, np.generic)) and math.prod(found.shape) == 1
    plain = found.item() if one else found
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise ConfigError(
            "The validation must say in one number how good the model is, higher is better, not"
            f" {given(found)}."
        )
    return float(plain)


def why_not_finite(inputs: Any, targets: Any, outputs: Any, otherwise: str) -> str:
    """What to do about a loss that is no number: about inputs that are none, about targets, which a loss may
    leave out, or else something about the steps.
    """
    if not _all_finite(inputs):
        return "the inputs of that batch hold NaN or infinity, so mend the data or leave such samples out"
    if _all_finite(targets):
        return otherwise
    held = "the targets of that batch hold NaN or infinity"
    if _all_finite(outputs):
        return (
            f"{held}, so mend the data, leave such samples out, or let the loss leave them out; if it does,"
            f" {otherwise}"
        )
    # 0 * NaN is NaN: what is left out of a sum of differences still has a gradient that is none
    return (
        f"{held}, and the network's outputs do so too: a loss that leaves such targets out must choose the"
        f" others, in outputs and targets, before it subtracts, or else its gradients are NaN; or {otherwise}"
    )


def _all_finite(value: Any) -> bool:
    return all(bool(one.isfinite().all()) for one in tensors_in(value) if one.is_floating_point())


def wide(outputs: Any) -> Any:
    """What a model returned, in whatever containers and objects, in single precision where it was half of
    that.
    """
    if not any(tensor.dtype in HALVES for tensor in tensors_in(outputs)):
        return outputs
    return map_tensors(outputs, lambda tensor: tensor.float() if tensor.dtype in HALVES else tensor)
