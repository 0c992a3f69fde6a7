"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunus._foundation.arguments import door
from prunus.data.sets import Split
from prunus.errors import ConfigError, FileFormatError, clause
from prunus.paint.model_copy import named_tensors
from prunus.storage.checkpoint import read_tree, write_tree
from prunus.training.best import Best
from prunus.training.config import TrainConfig, rate_factor, size_factor
from prunus.training.distributed import Ranks, seed_device
from prunus.training.ema import Average
from prunus.training.evaluation import evaluate, highest_label, mode, placement
from prunus.training.exchange import Exchange
from prunus.training.feeding import Feed, Normalise, steps_per_epoch
from prunus.training.hooks import Curriculum, Pruning
from prunus.training.objective import Loss, Objective
from prunus.training.optimizers import fitting, new_optimizer
from prunus.training.progress import EpochRecord, History, Progress, settings
from prunus.training.stream import Stream

Validation = Split | Callable[[nn.Module], float]


@door(ConfigError)
def train(
    model: nn.Module,
    data: Split | Iterable[Any],
    config: TrainConfig,
    *,
    normalise: Normalise | None = None,
    loss: Loss | None = None,
    validation: Validation | None = None,
    optimizer: Optimizer | None = None,
    curriculum: Curriculum | None = None,
    pruning: Pruning | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> History:
    """Train a model in place, on its own device; the same seed, device and thread count give the same
    weights.

    Train or evaluation mode of every module, and the state of torch's random generators, are as before
    afterwards.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes); with batches and a loss of your own
            anything that fits them.
        data: samples to train on, which go to the model's device as a whole, as uint8. Or batches (inputs,
            targets) of any kind, such as a `DataLoader`, in an object with `len()`; inputs in a tuple or list
            are the model's arguments. Of these every pass is taken as it comes, without `batch_size`,
            `augment` and `normalise`; a checkpoint is written between the epochs only, and holds torch's
            random state, from which a `DataLoader` without a generator of its own shuffles; of several
            processes each brings its own batches, equally many.
        config: the settings.
        normalise: (mean, std) of every plane, in units of 0..1; samples need it.
        loss: in place of the cross-entropy of logits and labels: (outputs, targets) -> losses (batch,), or
            their mean where no curriculum is used.
        validation: samples to evaluate on after every epoch, or a function that says how good the model is,
            which it gets in evaluation mode (higher = better). It influences the training only where
            `config.keep` is "best".
        optimizer: use this one, with the state that it carries, instead of a new one. Its learning rates are
            set from `config.lr` and the schedule; `config.optimizer`, `momentum` and `weight_decay` have no
            effect then.
        curriculum: chooses the samples of every epoch; None = all.
        pruning: changes weights between the epochs.
        checkpoint: a file that is written after every epoch, and every `checkpoint_seconds` in between.
        checkpoint_seconds: how much work may be lost when the process is killed.
        resume: go on from `checkpoint` where there is one: to the very weights that an unbroken training
            gives (on a CPU to the last bit).
        on_epoch: called with the record of every finished epoch.
        on_step: called after every step with (steps done, steps in all); an epoch on fewer samples counts as
            many.

    Raises:
        ConfigError: nothing to train, an optimizer of another model, a checkpoint of other settings, or a
            loss that became infinite or undefined (the text names epoch and step; the weights are those
            before that step).
        DataError: no samples or batches, or labels beyond the model's classes.
        FileFormatError: the checkpoint cannot be read or written.
    """
    checkpoint = None if checkpoint is None else Path(checkpoint)
    device, _ = placement(model)
    optimizer = new_optimizer(model, config) if optimizer is None else fitting(optimizer, model)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(data, Split):
        data = data.to(device)
    training = _Training(model, data, config, normalise, loss, validation, optimizer, curriculum, pruning)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), mode(model, training=True):
        seed_device(config.seed, device)
        if resume and checkpoint is not None and checkpoint.exists():
            training.restore(read_tree(checkpoint), checkpoint)
        else:
            training.prepare()
        training.run(checkpoint, checkpoint_seconds, on_epoch, on_step)
    return History(
        config, tuple(training.progress.records), training.best.epoch if training.best else config.epochs
    )


class _Training:
    """One training and all that changes in its course."""

    def __init__(
        self,
        model: nn.Module,
        data: Split | Iterable[Any],
        config: TrainConfig,
        normalise: Normalise | None,
        loss: Loss | None,
        validation: Validation | None,
        optimizer: Optimizer,
        curriculum: Curriculum | None,
        pruning: Pruning | None,
    ) -> None:
        self.model, self.config, self.normalise, self.validation = model, config, normalise, validation
        self.optimizer, self.curriculum, self.pruning = optimizer, curriculum, pruning
        self.device, dtype = placement(model)
        self.supply: Feed | Stream
        if isinstance(data, Split):
            self.objective = Objective(loss, config.label_smoothing, highest_label(data))
            self.supply = Feed(
                data, _given(normalise), config.augment, dtype, config.channels_last, config.shift
            )
        else:
            self.objective = Objective(loss, config.label_smoothing, 0)
            self.supply = Stream(data, self.device, config.channels_last)
        self.turn = config.batch_size if isinstance(self.supply, Feed) else 1
        self.full_steps = steps_per_epoch(len(self.supply), self.turn)
        self.ranks = Ranks.current()
        self.exchange = Exchange(model, self.ranks, config.compile, prunes=pruning is not None)
        self.average = Average(model, config.ema) if config.ema else None
        self.progress = Progress(torch.Generator().manual_seed(config.seed), self.device)
        self.best = Best(named_tensors(model)) if config.keep == "best" else None
        self._check_settings()

    def _check_settings(self) -> None:
        """Raises ConfigError for settings that do not fit together."""
        validation = self.validation
        if self.best is not None and validation is None:
            raise ConfigError(
                "The best epoch is told by validation samples: give some, or keep the last epoch."
            )
        if isinstance(self.supply, Stream) and self.curriculum is not None:
            raise ConfigError(
                "A curriculum chooses among samples: give them as a Split, not as batches that are made"
                " already."
            )
        if isinstance(validation, Split):
            _given(self.normalise)
        if isinstance(validation, Split) and len(validation) < self.ranks.count:
            raise ConfigError(
                f"A validation split of {len(validation)} samples cannot be shared by {self.ranks.count}"
                " processes: hold out more."
            )

    def prepare(self) -> None:
        """Before the first epoch."""
        if self.pruning is not None:
            with self._followed():
                self.pruning.before_training(self.model, self.config.epochs)

    def _followed(self) -> AbstractContextManager[None]:
        """What is done to the weights meanwhile is done to their average too."""
        return nullcontext() if self.average is None else self.average.following()

    def run(
        self,
        checkpoint: Path | None,
        seconds: float,
        on_epoch: Callable[[EpochRecord], None] | None,
        on_step: Callable[[int, int], None] | None,
    ) -> None:
        """All epochs that are left."""
        saved = time.perf_counter()
        while self.progress.epoch < self.config.epochs:
            started = time.perf_counter()
            for done in self._epoch():
                if on_step is not None:
                    on_step(done, self.full_steps * self.config.epochs)
                if (
                    checkpoint is not None
                    and self.ranks.first
                    and isinstance(self.supply, Feed)
                    and time.perf_counter() - saved > seconds
                ):
                    self.save(checkpoint)
                    saved = time.perf_counter()
            self.optimizer.zero_grad(set_to_none=True)
            # every process normalised its own shares; from here on, and in the file, the first one's
            # statistics count
            self.ranks.agree([*self.model.buffers(), *(self.average.tensors if self.average else [])])
            exchanged = self.exchange.bytes
            if self.pruning is not None:
                with self._followed():
                    self.pruning.after_epoch(self.model, self.progress.epoch, self.config.epochs)
                self.exchange.leave_out(self.pruning.surviving(self.model))
            self._finish_epoch(time.perf_counter() - started, exchanged)
            if checkpoint is not None and self.ranks.first:
                self.save(checkpoint)
                saved = time.perf_counter()
            if on_epoch is not None:
                on_epoch(self.progress.records[-1])
        if self.best is not None:
            state = self.best.keep()
            if self.pruning is not None and state is not None:
                self.pruning.restore(state)
        elif self.average is not None:
            self.average.keep()

    def _epoch(self) -> Iterator[int]:
        """The steps of the running epoch that are left; yields the steps done in all, counted as if every
        epoch saw all samples.
        """
        progress = self.progress
        if progress.order is None:
            self._choose()
        assert progress.order is not None
        steps = (
            min(self.full_steps, len(progress.order))
            if self.config.same_steps
            else steps_per_epoch(len(progress.order), self.turn)
        )
        parts = progress.order.tensor_split(steps)
        weights = [None] * steps if progress.weights is None else progress.weights.tensor_split(steps)
        for part, weight in list(zip(parts, weights))[progress.step :]:
            place = progress.epoch * self.full_steps + progress.step * self.full_steps / steps
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr * rate_factor(
                    self.config, place, self.full_steps * self.config.epochs
                )
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
            selection = self.ranks.agreed(selection, len(self.supply), self.device)
        if selection is not None and not selection.kept.any():
            raise ConfigError(
                f"The curriculum chose no sample for epoch {progress.epoch + 1}: it must keep one at least,"
                " or return None for all."
            )
        samples = torch.arange(len(self.supply)) if selection is None else torch.from_numpy(selection.indices)
        order = (
            samples[torch.randperm(len(samples), generator=progress.generator)]
            if isinstance(self.supply, Feed)
            else samples
        )
        weights = (
            None
            if selection is None or selection.weights is None
            else torch.from_numpy(selection.weights)[order]
        )
        progress.begin_epoch(order, weights, time.perf_counter() - started)

    def _step(self, part: Tensor, weight: Tensor | None, steps: int) -> None:
        """One step of the optimiser on the samples `part`."""
        config, progress, ranks = self.config, self.progress, self.ranks
        share = ranks.share(len(part)) if isinstance(self.supply, Feed) else slice(None)
        size = size_factor(config, progress.epoch)
        inputs, targets = self.supply(part, progress.generator, share, size)
        ranks.seed_step(config.seed, progress.epoch * self.full_steps + progress.step, self.device)
        try:
            with self._precision():
                outputs = self.objective.outputs(self.exchange.forward, inputs)
        except RuntimeError as error:
            if size == 1:
                raise
            name = type(self.model).__name__
            raise ConfigError(
                f"{name} cannot take images with {size:g} of their sides: leave first_size at 1"
                f" ({clause(error)})."
            ) from error
        right = self.objective.right(outputs, targets)
        loss = self._loss(outputs, targets, right, part, weight)
        mine = torch.tensor(
            [len(targets), len(targets) * loss.item(), 0.0 if right is None else right.sum().item()],
            dtype=torch.float64,
        )
        total, value, correct = ranks.total(mine.to(self.device)).tolist()
        if not ranks.alone:
            loss = loss * (len(targets) * ranks.count / total)
        if not math.isfinite(value):
            raise ConfigError(
                f"The loss became {value / total} in epoch {progress.epoch + 1}, step {progress.step + 1} of"
                f" {steps}: lower the learning rate ({config.lr:g}) or add warm-up steps"
                f" ({config.warmup_steps})."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.exchange.clear()
        if config.clip:
            nn.utils.clip_grad_norm_(
                [p for group in self.optimizer.param_groups for p in group["params"]], config.clip
            )
        self.optimizer.step()
        if self.pruning is not None:
            self.pruning.after_step(self.model)
        if self.average is not None:
            self.average.update()
        progress.add(round(total), value, None if right is None else round(correct))

    def _precision(self) -> torch.autocast:
        """Autocast, where the settings want it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def _loss(
        self, outputs: Any, targets: Any, right: Tensor | None, part: Tensor, weight: Tensor | None
    ) -> Tensor:
        """The mean loss of a batch, weighted where the curriculum has weights; the curriculum is told about
        it.
        """
        if self.curriculum is None:
            return self.objective.mean(outputs, targets)
        losses = self.objective.losses(outputs, targets)
        told = torch.zeros_like(losses) if right is None else right.to(losses)
        seen = [self.ranks.whole(values, len(part)).cpu() for values in (losses.detach(), told)]
        self.curriculum.observe(part, seen[0], seen[1] > 0)
        return (
            losses.mean()
            if weight is None
            else (losses * weight[self.ranks.share(len(part))].to(losses)).mean()
        )

    def _finish_epoch(self, seconds: float, exchanged: int) -> None:
        progress, score, loss = self.progress, None, None
        if self.validation is not None:
            with nullcontext() if self.average is None else self.average.in_place():
                score, loss = self._validate(self.validation)
                if self.best is not None:
                    self.best.consider(
                        progress.epoch + 1, score, None if self.pruning is None else self.pruning.state()
                    )
        progress.end_epoch(score, loss, float(self.optimizer.param_groups[0]["lr"]), seconds, exchanged)

    def _validate(self, validation: Validation) -> tuple[float, float | None]:
        """Accuracy [percent] and loss, every process looking at its share; or what a function says in the
        first one.
        """
        if not isinstance(validation, Split):
            with mode(self.model, training=False), torch.no_grad():
                score = float(validation(self.model)) if self.ranks.first else 0.0
            return float(self.ranks.total(torch.tensor(score, dtype=torch.float64, device=self.device))), None
        share = self.ranks.share(len(validation))
        found = evaluate(
            self.model, Split(validation.images[share], validation.labels[share]), _given(self.normalise)
        )
        if self.ranks.alone:
            return found.accuracy, found.loss
        correct = round(found.accuracy * found.count / 100)
        sums = self.ranks.total(
            torch.tensor([correct, found.loss * found.count], dtype=torch.float64, device=self.device)
        )
        return float(100 * sums[0] / len(validation)), float(sums[1] / len(validation))

    # -- checkpoints -----------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write everything that a resumed training needs."""
        write_tree(
            path,
            {
                "config": settings(self.config),
                "samples": len(self.supply),
                "model": named_tensors(self.model),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state(),
                "best": None if self.best is None else self.best.state(),
                "curriculum": None if self.curriculum is None else self.curriculum.state(),
                "pruning": None if self.pruning is None else self.pruning.state(),
                "progress": self.progress.state(),
            },
        )

    def restore(self, state: Any, path: Path) -> None:
        """Go on from a checkpoint. Raises ConfigError if it is of another training, FileFormatError if it
        holds what no training writes.
        """
        try:
            self._check(state, path)
            self._take(state)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
            raise FileFormatError(
                f"{path} is not the checkpoint of a training ({type(error).__name__}: {clause(error)})."
            ) from error

    def _take(self, state: Any) -> None:
        with torch.no_grad():
            for name, tensor in named_tensors(self.model).items():
                tensor.copy_(state["model"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, values in self.optimizer.state.items():
            for name, value in values.items():
                if (
                    isinstance(value, Tensor) and value.shape == parameter.shape
                ):  # files know no memory format
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value).detach()
        for part, name in (
            (self.average, "average"),
            (self.best, "best"),
            (self.curriculum, "curriculum"),
            (self.pruning, "pruning"),
        ):
            if part is not None:
                part.restore(state[name])
        self.progress.restore(state["progress"])
        if self.pruning is not None:
            self.exchange.leave_out(self.pruning.surviving(self.model))

    def _check(self, state: Any, path: Path) -> None:
        if not isinstance(state, dict) or "progress" not in state:
            raise ConfigError(f"{path} is not the checkpoint of a training.")
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
        if state["samples"] != len(self.supply):
            unit = "samples" if isinstance(self.supply, Feed) else "batches"
            raise ConfigError(
                f"{path} was written by a training on {state['samples']} {unit}, not {len(self.supply)}:"
                " resume with the same data."
            )
        shapes = {name: tuple(t.shape) for name, t in named_tensors(self.model).items()}
        if shapes != {name: tuple(t.shape) for name, t in state["model"].items()}:
            raise ConfigError(
                f"{path} holds another network than this {type(self.model).__name__}: resume with the same"
                " model."
            )
        for part, name in ((self.curriculum, "curriculum"), (self.pruning, "pruning")):
            if (part is None) != (state[name] is None):
                raise ConfigError(
                    f"{path} was written {'without' if state[name] is None else 'with'} a {name}: resume with"
                    " the same settings."
                )


def _given(normalise: Normalise | None) -> Normalise:
    if normalise is None:
        raise ConfigError("Samples need `normalise`, the mean and deviation of their planes.")
    return normalise
