"""What a training has done: records for its user, and everything else that a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_type_hints

import torch
from torch import Tensor

from prunus._foundation.kinds import MisfitError, fit
from prunus._foundation.seeds import go_on_besides_torch, states_besides_torch
from prunus._foundation.wording import given
from prunus.training.config import TrainConfig


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did.

    Attributes:
        epoch: counted from 1.
        loss: mean training loss per sample, while the weights were changing.
        accuracy: top-1 on the (augmented) training samples, percent, likewise; None where this is no
            classification.
        validation_accuracy: top-1 after the epoch, percent, or what the given function said; None without
            validation.
        validation_loss: mean loss per validation sample after the epoch; None without such samples.
        lr: learning rate of the last step.
        seconds: wall time, without validation; of a resumed epoch the part after the resume.
        samples: how many the epoch trained on.
        choosing_seconds: the part of `seconds` that went into choosing them.
        exchanged_bytes: gradients that a process gave to the others in every step; 0 alone.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float
    validation_loss: float | None = None
    samples: int = 0
    choosing_seconds: float = 0.0
    exchanged_bytes: int = 0


@dataclass(frozen=True)
class History:
    """What a training did.

    Attributes:
        config: the settings.
        epochs: one record per epoch.
        kept: the epoch whose weights the model has, counted from 1.
    """

    config: TrainConfig
    epochs: tuple[EpochRecord, ...]
    kept: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {
            "config": settings(self.config),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "kept": self.kept,
        }


def settings(config: TrainConfig) -> dict[str, Any]:
    """A configuration as plain numbers, strings and lists."""
    return {**asdict(config), "milestones": list(config.milestones)}


_APART = ("records", "generator", "device")


@dataclass
class Progress:
    """Where a training is, between two steps.

    Attributes:
        epoch: epochs finished.
        order: the samples of the running epoch in the order of their turns, (n,) int64; None between epochs.
        weights: what the loss of each of them is multiplied by, (n,) float32, or None for 1.
        step: steps of the running epoch that are done.
        seen: samples of these steps.
        loss_sum: of these samples.
        correct: how many of them were told right; None where this is no classification.
        choosing_seconds: what it took to choose the samples.
        records: of the finished epochs.
        generator: draws the order of samples and the augmentation.
        device: where the model is, whose own randomness (dropout) is drawn there.
    """

    generator: torch.Generator
    device: torch.device
    epoch: int = 0
    order: Tensor | None = None
    weights: Tensor | None = None
    step: int = 0
    seen: int = 0
    loss_sum: float = 0.0
    correct: int | None = 0
    choosing_seconds: float = 0.0
    records: list[EpochRecord] = field(default_factory=list)

    def begin_epoch(self, order: Tensor, weights: Tensor | None, choosing_seconds: float) -> None:
        """Start an epoch on these samples."""
        self.order, self.weights, self.choosing_seconds = order, weights, choosing_seconds
        self.step, self.seen, self.loss_sum, self.correct = 0, 0, 0.0, 0

    def add(self, count: int, loss: float, correct: int | None) -> None:
        """A step on so many samples, the sum of their losses, and how many of them were told right."""
        self.seen, self.loss_sum = self.seen + count, self.loss_sum + loss
        self.correct = None if correct is None or self.correct is None else self.correct + correct

    def end_epoch(
        self, score: float | None, loss: float | None, lr: float, seconds: float, exchanged: int
    ) -> None:
        """Put an epoch to the finished ones, with what its validation gave."""
        record = EpochRecord(
            epoch=self.epoch + 1,
            loss=self.loss_sum / self.seen,
            accuracy=None if self.correct is None else 100 * self.correct / self.seen,
            validation_accuracy=score,
            lr=lr,
            seconds=seconds,
            validation_loss=loss,
            samples=self.seen,
            choosing_seconds=self.choosing_seconds,
            exchanged_bytes=exchanged,
        )
        self.records.append(record)
        self.epoch, self.order, self.weights = self.epoch + 1, None, None

    def state(self) -> dict[str, Any]:
        """For a checkpoint: this and the random states."""
        own = {name: value for name, value in vars(self).items() if name not in _APART}
        random = {"own": self.generator.get_state(), "cpu": torch.get_rng_state()}
        random |= states_besides_torch()
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return {**own, "records": [asdict(record) for record in self.records], "random": random}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint. Whatever is wrong with it raises an error of Python's, as whoever knows the file
        tells it.
        """
        values = {name: _field(name, state[name]) for name in vars(self) if name not in _APART}
        records = [EpochRecord(**record) for record in state["records"]]
        random = state["random"]
        self.generator.set_state(random["own"])
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.device)
        go_on_besides_torch(random)
        vars(self).update(values, records=records)


def _field(name: str, value: Any) -> Any:
    """What a checkpoint says of progress. Raises TypeError or ValueError for what no training writes."""
    try:
        found = fit(get_type_hints(Progress)[name], value)
    except MisfitError:
        raise TypeError(f"its {name} is {given(value)}") from None
    if isinstance(found, (int, float)) and found < 0 and name != "loss_sum":
        raise ValueError(f"its {name} is {given(found)}")
    return found
