"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.training.config import TrainConfig, rate_factor
from prunus.training.evaluation import evaluate, highest_label, logits_of, mode, placement
from prunus.training.feeding import Normalise, batches, steps_per_epoch


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did.

    Attributes:
        epoch: counted from 1.
        loss: mean training loss per sample, while the weights were changing.
        accuracy: top-1 on the (augmented) training samples, percent, likewise.
        validation_accuracy: top-1 after the epoch, percent; None without validation samples.
        lr: learning rate of the last step.
        seconds: wall time, without validation.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_accuracy: float | None
    lr: float
    seconds: float


@dataclass(frozen=True)
class History:
    """What a training did.

    Attributes:
        config: the settings.
        epochs: one record per epoch.
    """

    config: TrainConfig
    epochs: tuple[EpochRecord, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {"config": {**asdict(self.config), "milestones": list(self.config.milestones)}} | {"epochs": [asdict(epoch) for epoch in self.epochs]}


def train(
    model: nn.Module,
    split: Split,
    config: TrainConfig,
    *,
    normalise: Normalise,
    validation: Split | None = None,
    optimizer: Optimizer | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> History:
    """Train a classifier in place, on its own device; the same seed, device and thread count give the same weights.

    Train or evaluation mode of every module, and the state of torch's random generators, are as before afterwards.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes).
        split: samples to train on; the whole set goes to the model's device as uint8.
        config: the settings.
        normalise: (mean, std) of every plane, in units of 0..1.
        validation: samples to evaluate on after every epoch; they never influence the training.
        optimizer: use this one, with the state that it carries, instead of a new one. Its learning rates are set from
            `config.lr` and the schedule; `config.optimizer`, `momentum` and `weight_decay` have no effect then.
        on_epoch: called with the record of every finished epoch.
        on_step: called after every step with (steps done, steps in all).

    Raises:
        ConfigError: nothing to train, an optimizer of another model, or a loss that became infinite or undefined (the
            text names epoch and step; the weights are those before that step).
        DataError: no samples, or labels beyond the model's classes.
    """
    device, _ = placement(model)
    split = split.to(device)
    highest = highest_label(split)
    optimizer = _optimizer(model, config) if optimizer is None else _fitting(optimizer, model)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(config.seed)
    records: list[EpochRecord] = []
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), mode(model, training=True):
        torch.manual_seed(config.seed)
        for epoch in range(1, config.epochs + 1):
            started = time.perf_counter()
            loss, accuracy = _epoch(model, split, config, normalise, optimizer, generator, epoch, highest, on_step)
            seconds = time.perf_counter() - started
            validated = None if validation is None else evaluate(model, validation, normalise).accuracy
            rate = float(optimizer.param_groups[0]["lr"])
            records.append(EpochRecord(epoch, loss, accuracy, validated, rate, seconds))
            if on_epoch is not None:
                on_epoch(records[-1])
    return History(config, tuple(records))


def _epoch(
    model: nn.Module,
    split: Split,
    config: TrainConfig,
    normalise: Normalise,
    optimizer: Optimizer,
    generator: torch.Generator,
    epoch: int,
    highest: int,
    on_step: Callable[[int, int], None] | None,
) -> tuple[float, float]:
    """One pass; returns mean loss and accuracy [percent] over its samples."""
    device, dtype = placement(model)
    per_epoch = steps_per_epoch(len(split), config.batch_size)
    total = per_epoch * config.epochs
    loss_sum, correct = 0.0, torch.zeros((), dtype=torch.int64, device=device)
    fed = batches(
        split,
        normalise,
        config.batch_size,
        generator=generator,
        augment=config.augment,
        dtype=dtype,
        channels_last=config.channels_last,
    )
    for step, (images, labels) in enumerate(fed, start=(epoch - 1) * per_epoch):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate_factor(config, step, total)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = logits_of(model, images, highest)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
        value = loss.item()
        if not math.isfinite(value):
            raise ConfigError(
                f"The loss became {value} in epoch {epoch}, step {step - (epoch - 1) * per_epoch + 1} of {per_epoch}: "
                f"lower the learning rate ({config.lr:g}) or add warm-up steps ({config.warmup_steps})."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += value * len(labels)
        correct += (logits.argmax(1) == labels).sum()
        if on_step is not None:
            on_step(step + 1, total)
    optimizer.zero_grad(set_to_none=True)
    return loss_sum / len(split), 100 * correct.item() / len(split)


def _optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to train.")
    if config.optimizer == "adam":
        return Adam(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.momentum > 0,
    )


def _fitting(optimizer: Optimizer, model: nn.Module) -> Optimizer:
    """The optimizer, if it holds every parameter of the model that is to be trained."""
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    absent = [name for name, value in model.named_parameters() if value.requires_grad and id(value) not in held]
    if absent:
        raise ConfigError(f"The optimizer does not hold {len(absent)} parameters of this model, such as {absent[0]}.")
    return optimizer
