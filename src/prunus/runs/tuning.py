"""From the flags of a command to how it fine-tunes: the settings are those of `prunus train`, by the same
names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prunus.errors import ConfigError

if TYPE_CHECKING:
    from prunus.runs.data import Source
    from prunus.training import TrainConfig


def tuning_of(params: Mapping[str, Any], epochs: int, source: Source | None) -> TrainConfig | None:
    """How to fine-tune for so many epochs; None if that was not asked for.

    Args:
        params: the flags of the command; None stands for those that were not given.
        epochs: of tuning.
        source: the data.

    Raises ConfigError for a setting that is out of range, or is not for data of this kind.
    """
    from dataclasses import fields

    from prunus.training import TrainConfig

    if not epochs or source is None:
        return None
    names = {f.name for f in fields(TrainConfig)}
    own = {name: value for name, value in params.items() if name in names and value not in (None, (), [])}
    if "milestones" in own:
        own["milestones"] = tuple(own["milestones"])
    augment = own.get("augment", "auto")
    if augment not in ("auto", "none") and source.images is None:
        raise ConfigError(
            f"--augment {augment} is of images with classes; {source.wanted.name} comes as it is, or in"
            " windows that are turned anyway."
        )
    if augment == "auto":
        own["augment"] = source.augment
    return TrainConfig(**own | {"epochs": epochs})
