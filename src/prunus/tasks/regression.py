"""Regression: numbers to be predicted, each in units of its own spread, so that loss and metric are alike for
volts and for years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus._foundation.wording import given
from prunus.errors import ConfigError

LEAST = 1e-12  # variance of a target that never changes


@dataclass(frozen=True, eq=False)
class Regression:
    """R², the share of the targets' variance that is predicted [percent], the mean over all of a sample's
    targets; and the loss that goes with it.

    Attributes:
        variance: of every target over the training samples, of the shape of one sample's targets.
        name: what the metric is called.
    """

    variance: Tensor
    name: str = "R²"

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        if not bool((self.variance > 0).all()):
            raise ConfigError(
                "The variance of every target must be above 0: leave out targets that never change."
            )

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        """Squared error of every sample in units of the variance, shape (batch,); raises ConfigError where
        outputs and targets do not match.
        """
        found = (
            outputs.reshape(targets.shape)
            if isinstance(outputs, Tensor) and isinstance(targets, Tensor) and _fit(outputs, targets)
            else None
        )
        if found is None:
            raise ConfigError(
                f"The network must give numbers of the targets' shape, which are {given(targets)}, not"
                f" {given(outputs)}."
            )
        kind = torch.promote_types(torch.promote_types(found.dtype, targets.dtype), torch.float32)
        error: Tensor = (found.to(kind) - targets).square() / self.variance.to(targets.device, kind)
        return error.flatten(1).mean(1) if error.dim() > 1 else error

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """100 (1 - loss) of every sample: the mean is R² against the training samples' variance."""
        values: list[float] = (100.0 * (1.0 - self.loss(outputs, targets).double())).tolist()
        return values

    def points(self, entries: Sequence[Any]) -> Tensor:
        """The number of every sample."""
        return torch.tensor(entries, dtype=torch.float64)


def regression(targets: Tensor) -> Regression:
    """Loss and metric for targets (samples, …) to train on."""
    return Regression(targets.double().var(0, correction=0).clamp(min=LEAST))


def _fit(outputs: Tensor, targets: Tensor) -> bool:
    """One number for every target, whether there is an axis of length 1 more or not."""
    return [n for n in outputs.shape if n != 1] == [n for n in targets.shape if n != 1] and outputs.shape[
        :1
    ] == targets.shape[:1]
