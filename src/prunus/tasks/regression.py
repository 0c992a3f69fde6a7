"""Regression: numbers to be predicted, each in units of its own spread, so that loss and metric are alike for
volts and for years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from prunus._foundation.arguments import check_fields
from prunus._foundation.wording import given
from prunus.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Regression:
    """R², the share of the targets' variance that is predicted [percent], the mean over all of a sample's
    targets; and the loss that goes with it.

    Attributes:
        variance: of every target over the training samples, of the shape of one sample's targets, or of one
            that is spread over them.
        name: what the metric is called.
    """

    variance: Tensor
    name: str = "R²"
    percent: ClassVar[bool] = True

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
        # divided before they are squared, which 32 bits would not hold of nanovolts
        deviation = self.variance.double().sqrt().to(kind).to(targets.device)
        error: Tensor = ((found.to(kind) - targets) / deviation).square()
        return error.flatten(1).mean(1) if error.dim() > 1 else error

    def entries(self, outputs: Any, targets: Any) -> Sequence[Any]:
        """100 (1 - loss) of every sample: the mean is R² against the training samples' variance."""
        values: list[float] = (100.0 * (1.0 - self.loss(outputs, targets).double())).tolist()
        return values

    def points(self, entries: Sequence[Any]) -> Tensor:
        """The number of every sample."""
        return torch.tensor(entries, dtype=torch.float64)


def regression(targets: Tensor, places: bool = False) -> Regression:
    """Loss and metric for targets to train on, (samples,) or (samples, targets), each in units of its own
    variance. The places of maps and signals, (samples, planes, …), share that of their plane, as there are
    places where nothing ever happens; `places` are those of one plane, without an axis of its own.

    Raises DataError for a target that never changes.
    """
    numbers = targets.double().unsqueeze(1) if places else targets.double()
    variance, still = numbers.var(0, correction=0), numbers.amin(0) == numbers.amax(0)
    if variance.dim() > 1:
        axes = tuple(range(1, variance.dim()))
        variance, still = variance.mean(axes, keepdim=True), still.flatten(1).all(1)
    if bool(still.any()):
        which = f"target {int(still.nonzero()[0])} (from 0)" if still.numel() > 1 else "the target"
        raise DataError(
            f"In all training samples {which} is the same, and a number that never changes is not there to be"
            " predicted: leave it out."
        )
    return Regression(variance)


def _fit(outputs: Tensor, targets: Tensor) -> bool:
    """One number for every target, whether there is an axis of length 1 more or not."""
    return [n for n in outputs.shape if n != 1] == [n for n in targets.shape if n != 1] and outputs.shape[
        :1
    ] == targets.shape[:1]
