"""Whether a checkpoint is one of the training that is to be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from prunus._foundation.made import first_difference
from prunus.errors import ConfigError
from prunus.paint.model_copy import named_tensors
from prunus.training.config import TrainConfig
from prunus.training.progress import settings


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What must be the same.

    Attributes:
        config: the settings.
        count, unit: how many samples or batches there are.
        model: the network.
        parts: whether there is a curriculum, and a pruning.
        origin: what else it was begun with, see `prunus.training.origin`.
    """

    config: TrainConfig
    count: int
    unit: str
    model: nn.Module
    parts: Mapping[str, bool]
    origin: Mapping[str, Any]

    def check(self, state: Any, path: Path) -> None:
        """Raises ConfigError for the checkpoint of another training."""
        if not isinstance(state, dict) or "progress" not in state:
            raise ConfigError(f"{path} is not the checkpoint of a training.")
        self._check_settings(state, path)
        if state["samples"] != self.count:
            raise ConfigError(
                f"{path} was written by a training on {state['samples']} {self.unit}, not {self.count}:"
                " resume with the same data."
            )
        shapes = {name: tuple(t.shape) for name, t in named_tensors(self.model).items()}
        if shapes != {name: tuple(t.shape) for name, t in state["model"].items()}:
            raise ConfigError(
                f"{path} holds another network than this {type(self.model).__name__}: resume with the same"
                " model."
            )
        for name, given in self.parts.items():
            if given != (state[name] is not None):
                raise ConfigError(
                    f"{path} was written {'with' if given is False else 'without'} a {name}: resume with"
                    " the same settings."
                )
        self._check_origin(state.get("origin", {}), path)

    def _check_origin(self, theirs: Mapping[str, Any], path: Path) -> None:
        """Earlier versions wrote none."""
        for name in ("data", "validation"):
            if name in theirs and theirs[name] != self.origin[name]:
                what = "samples" if name == "data" else "samples to choose by"
                raise ConfigError(
                    f"{path} was written by a training on other {what} than these: resume with the same data,"
                    " or start anew."
                )
        found = first_difference(theirs, self.origin)
        if found is not None:
            name, before, now = found
            raise ConfigError(
                f"{path} was written by a training with {name} = {before!r}, not {now!r}: resume with the"
                " same settings, or start anew."
            )

    def _check_settings(self, state: Any, path: Path) -> None:
        mine = settings(self.config)
        # what did not exist then had its default
        theirs = settings(TrainConfig(epochs=self.config.epochs)) | state["config"]
        other = [
            f"{name} = {theirs[name]!r}, not {value!r}"
            for name, value in mine.items()
            if theirs[name] != value
        ]
        if other:
            raise ConfigError(
                f"{path} was written by a training with {other[0]}: resume with the same settings, or start"
                " anew without --resume."
            )
