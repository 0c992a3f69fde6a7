"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from prunus.channels.twin import named_tensors
from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.storage.checkpoint import read_tree, write_tree
from prunus.training.config import TrainConfig, rate_factor
from prunus.training.distributed import Ranks, seed_device
from prunus.training.ema import Average
from prunus.training.evaluation import evaluate, highest_label, logits_of, mode, placement
from prunus.training.feeding import Feed, Normalise, steps_per_epoch
from prunus.training.hooks import Curriculum, Pruning
from prunus.training.progress import EpochRecord, History, Progress, settings


def train(
    model: nn.Module,
    split: Split,
    config: TrainConfig,
    *,
    normalise: Normalise,
    validation: Split | None = None,
    optimizer: Optimizer | None = None,
    curriculum: Curriculum | None = None,
    pruning: Pruning | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
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
        curriculum: chooses the samples of every epoch; None = all.
        pruning: changes weights between the epochs.
        checkpoint: a file that is written after every epoch, and every `checkpoint_seconds` in between.
        checkpoint_seconds: how much work may be lost when the process is killed.
        resume: go on from `checkpoint` where there is one: to the very weights that an unbroken training gives (on a
            CPU to the last bit).
        on_epoch: called with the record of every finished epoch.
        on_step: called after every step with (steps done, steps in all); an epoch on fewer samples counts as many.

    Raises:
        ConfigError: nothing to train, an optimizer of another model, a checkpoint of other settings, or a loss that
            became infinite or undefined (the text names epoch and step; the weights are those before that step).
        DataError: no samples, or labels beyond the model's classes.
        FileFormatError: the checkpoint cannot be read or written.
    """
    device, _ = placement(model)
    optimizer = _optimizer(model, config) if optimizer is None else _fitting(optimizer, model)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = _Training(model, split.to(device), config, normalise, validation, optimizer, curriculum, pruning)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), mode(model, training=True):
        seed_device(config.seed, device)
        if resume and checkpoint is not None and checkpoint.exists():
            training.restore(read_tree(checkpoint), checkpoint)
        else:
            training.prepare()
        training.run(checkpoint, checkpoint_seconds, on_epoch, on_step)
    return History(config, tuple(training.progress.records))


class _Training:
    """One training and all that changes in its course."""

    def __init__(
        self,
        model: nn.Module,
        split: Split,
        config: TrainConfig,
        normalise: Normalise,
        validation: Split | None,
        optimizer: Optimizer,
        curriculum: Curriculum | None,
        pruning: Pruning | None,
    ) -> None:
        self.model, self.split, self.config, self.normalise, self.validation = model, split, config, normalise, validation
        self.optimizer, self.curriculum, self.pruning = optimizer, curriculum, pruning
        self.device, dtype = placement(model)
        self.highest = highest_label(split)
        self.feed = Feed(split, normalise, config.augment, dtype, config.channels_last)
        self.ranks = Ranks.current()
        wrapped = self.ranks.wrapped(model)
        self.forward = cast(nn.Module, torch.compile(wrapped)) if config.compile else wrapped
        self.average = Average(model, config.ema) if config.ema else None
        self.progress = Progress(torch.Generator().manual_seed(config.seed), self.device)
        self.full_steps = steps_per_epoch(len(split), config.batch_size)
        if validation is not None and len(validation) < self.ranks.count:
            raise ConfigError(f"A validation split of {len(validation)} samples cannot be shared by {self.ranks.count} processes: hold out more.")

    def prepare(self) -> None:
        """Before the first epoch."""
        if self.pruning is not None:
            with self._followed():
                self.pruning.before_training(self.model, self.config.epochs)

    def _followed(self) -> AbstractContextManager[None]:
        """What is done to the weights meanwhile is done to their average too."""
        return nullcontext() if self.average is None else self.average.following()

    def run(
        self, checkpoint: Path | None, seconds: float, on_epoch: Callable[[EpochRecord], None] | None, on_step: Callable[[int, int], None] | None
    ) -> None:
        """All epochs that are left."""
        saved = time.perf_counter()
        while self.progress.epoch < self.config.epochs:
            started = time.perf_counter()
            for done in self._epoch():
                if on_step is not None:
                    on_step(done, self.full_steps * self.config.epochs)
                if checkpoint is not None and self.ranks.first and time.perf_counter() - saved > seconds:
                    self.save(checkpoint)
                    saved = time.perf_counter()
            self.optimizer.zero_grad(set_to_none=True)
            # every process normalised its own shares; from here on, and in the file, the first one's statistics count
            self.ranks.agree([*self.model.buffers(), *(self.average.tensors if self.average else [])])
            if self.pruning is not None:
                with self._followed():
                    self.pruning.after_epoch(self.model, self.progress.epoch, self.config.epochs)
            self._finish_epoch(time.perf_counter() - started)
            if checkpoint is not None and self.ranks.first:
                self.save(checkpoint)
                saved = time.perf_counter()
            if on_epoch is not None:
                on_epoch(self.progress.records[-1])
        if self.average is not None:
            self.average.keep()

    def _epoch(self) -> Any:
        """The steps of the running epoch that are left; yields the steps done in all, counted as if every epoch saw all samples."""
        progress = self.progress
        if progress.order is None:
            self._choose()
        assert progress.order is not None
        steps = steps_per_epoch(len(progress.order), self.config.batch_size)
        parts = progress.order.tensor_split(steps)
        weights = [None] * steps if progress.weights is None else progress.weights.tensor_split(steps)
        for part, weight in list(zip(parts, weights))[progress.step :]:
            place = progress.epoch * self.full_steps + progress.step * self.full_steps / steps
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * rate_factor(self.config, place, self.full_steps * self.config.epochs)
            self._step(part, weight, steps)
            progress.step += 1
            yield progress.epoch * self.full_steps + progress.step * self.full_steps // steps

    def _choose(self) -> None:
        """Draw the samples of an epoch and their order."""
        started, progress = time.perf_counter(), self.progress
        selection = None
        if self.curriculum is not None:
            if self.ranks.first:
                with mode(self.model, training=False), torch.no_grad(), self._precision():
                    selection = self.curriculum.choose(self.model, progress.epoch, self.config.epochs)
            selection = self.ranks.agreed(selection, len(self.split), self.device)
        if selection is not None and not selection.kept.any():
            raise ConfigError(f"The curriculum chose no sample for epoch {progress.epoch + 1}: it must keep one at least, or return None for all.")
        samples = torch.arange(len(self.split)) if selection is None else torch.from_numpy(selection.indices)
        order = samples[torch.randperm(len(samples), generator=progress.generator)]
        weights = None if selection is None or selection.weights is None else torch.from_numpy(selection.weights)[order]
        progress.begin_epoch(order, weights, time.perf_counter() - started)

    def _step(self, part: Tensor, weight: Tensor | None, steps: int) -> None:
        """One step of the optimiser on the samples `part`."""
        config, progress, ranks = self.config, self.progress, self.ranks
        there, share = part.to(self.device), ranks.share(len(part))
        images, labels = self.feed(there, progress.generator, share), self.split.labels[there[share]]
        ranks.seed_step(config.seed, progress.epoch * self.full_steps + progress.step, self.device)
        with self._precision():
            logits = logits_of(self.forward, images, self.highest)
        loss = self._loss(logits.float() if logits.dtype != torch.float64 else logits, labels, part, weight)
        value, correct = loss.item(), int((logits.argmax(1) == labels).sum())
        if not ranks.alone:
            loss = loss * ranks.weight(len(part))
            value, correct = self._together(value * len(labels) / len(part), correct)
        if not math.isfinite(value):
            raise ConfigError(
                f"The loss became {value} in epoch {progress.epoch + 1}, step {progress.step + 1} of {steps}: "
                f"lower the learning rate ({config.lr:g}) or add warm-up steps ({config.warmup_steps})."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip:
            nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], config.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update()
        progress.loss_sum += value * len(part)
        progress.correct += correct

    def _precision(self) -> torch.autocast:
        """Autocast, where the settings want it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _together(self, value: float, correct: int) -> tuple[float, int]:
        """Loss and count of the whole batch from every process's part."""
        total = self.ranks.total(torch.tensor([value, correct], dtype=torch.float64, device=self.device))
        return float(total[0]), int(total[1])

    def _loss(self, logits: Tensor, labels: Tensor, part: Tensor, weight: Tensor | None) -> Tensor:
        smoothing = self.config.label_smoothing
        if self.curriculum is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        right = (logits.detach().argmax(1) == labels).to(losses.dtype)
        seen = [self.ranks.whole(values, len(part)).cpu() for values in (losses.detach(), right)]
        self.curriculum.observe(part, seen[0], seen[1] > 0)
        return losses.mean() if weight is None else (losses * weight[self.ranks.share(len(part))].to(losses)).mean()

    def _finish_epoch(self, seconds: float) -> None:
        progress = self.progress
        assert progress.order is not None
        accuracy = None
        if self.validation is not None:
            with nullcontext() if self.average is None else self.average.in_place():
                accuracy = self._validate(self.validation)
        count = len(progress.order)
        progress.end_epoch(
            EpochRecord(
                epoch=progress.epoch + 1,
                loss=progress.loss_sum / count,
                accuracy=100 * progress.correct / count,
                validation_accuracy=accuracy,
                lr=float(self.optimizer.param_groups[0]["lr"]),
                seconds=seconds,
                samples=count,
                choosing_seconds=progress.choosing_seconds,
            )
        )

    def _validate(self, validation: Split) -> float:
        """Accuracy [percent]; every process looks at its share."""
        share = self.ranks.share(len(validation))
        found = evaluate(self.model, Split(validation.images[share], validation.labels[share]), self.normalise)
        if self.ranks.alone:
            return found.accuracy
        _, correct = self._together(0.0, round(found.accuracy * found.count / 100))
        return 100 * correct / len(validation)

    # -- checkpoints -----------------------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write everything that a resumed training needs."""
        write_tree(
            path,
            {
                "config": settings(self.config),
                "samples": len(self.split),
                "model": named_tensors(self.model),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state(),
                "curriculum": None if self.curriculum is None else self.curriculum.state(),
                "pruning": None if self.pruning is None else self.pruning.state(),
                "progress": self.progress.state(),
            },
        )

    def restore(self, state: Any, path: Path) -> None:
        """Go on from a checkpoint. Raises ConfigError if it is of another training."""
        self._check(state, path)
        with torch.no_grad():
            for name, tensor in named_tensors(self.model).items():
                tensor.copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:  # files know no memory format
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()
        for part, name in ((self.average, "average"), (self.curriculum, "curriculum"), (self.pruning, "pruning")):
            if part is not None:
                part.restore(state[name])
        self.progress.restore(state["progress"])

    def _check(self, state: Any, path: Path) -> None:
        if not isinstance(state, dict) or "progress" not in state:
            raise ConfigError(f"{path} is not the checkpoint of a training.")
        mine = settings(self.config)
        other = [f"{name} = {state['config'].get(name)!r}, not {value!r}" for name, value in mine.items() if state["config"].get(name) != value]
        if other:
            raise ConfigError(f"{path} was written by a training with {other[0]}: resume with the same settings, or start anew without --resume.")
        if state["samples"] != len(self.split):
            raise ConfigError(f"{path} was written by a training on {state['samples']} samples, not {len(self.split)}: resume with the same data.")
        shapes = {name: tuple(t.shape) for name, t in named_tensors(self.model).items()}
        if shapes != {name: tuple(t.shape) for name, t in state["model"].items()}:
            raise ConfigError(f"{path} holds another network than this {type(self.model).__name__}: resume with the same model.")
        for part, name in ((self.curriculum, "curriculum"), (self.pruning, "pruning")):
            if (part is None) != (state[name] is None):
                raise ConfigError(f"{path} was written {'without' if state[name] is None else 'with'} a {name}: resume with the same settings.")


def _optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ConfigError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to train.")
    if config.optimizer != "sgd":
        kind = Adam if config.optimizer == "adam" else AdamW
        return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)
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
