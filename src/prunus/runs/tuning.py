"""From the settings of a job to how it fine-tunes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from prunus.errors import ConfigError
from prunus.training.config import Augment, TrainConfig

if TYPE_CHECKING:
    from prunus.runs.data import Source


def tuning_of(
    base: TrainConfig, epochs: int, source: Source | None, *, augment: Literal["auto"] | Augment, seed: int
) -> TrainConfig | None:
    """How to fine-tune for so many epochs; None if that was not asked for.

    Args:
        base: every other setting.
        epochs: of tuning.
        source: the data.
        augment: how images are varied; "auto" = as is usual for the data.
        seed: of everything random.

    Raises ConfigError for a setting that is not for data of this kind.
    """
    if not epochs or source is None:
        return None
    if augment not in ("auto", "none") and source.images is None:
        raise ConfigError(
            f"--augment {augment} is of images with classes; {source.data.name} comes as it is, or in"
            " windows that are turned anyway."
        )
    varied: Augment = source.augment if augment == "auto" else augment
    return replace(base, epochs=epochs, augment=varied, seed=seed)
