"""One training: the epochs, their steps, and what a checkpoint holds of it."""

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

from prunus._foundation.kinds import ODD
from prunus._foundation.warned import warn
from prunus.data.sets import Split
from prunus.errors import ConfigError, FileFormatError, clause
from prunus.paint.model_copy import named_tensors
from prunus.storage.checkpoint import write_tree
from prunus.training.best import Best
from prunus.training.calls import explained, samples_of
from prunus.training.config import TrainConfig, batch_of, rate_factor, size_factor
from prunus.training.distributed import Ranks
from prunus.training.ema import Average
from prunus.training.evaluation import evaluate, highest_label, mode, placement
from prunus.training.exchange import Exchange
from prunus.training.feeding import Feed, Normalise, alternating, checked_scale, steps_per_epoch
from prunus.training.hooks import Curriculum, Pruning, Removal
from prunus.training.learner import Learner
from prunus.training.objective import Loss, Objective, as_score, why_not_finite
from prunus.training.optimizers import highest_rate, rate_shares
from prunus.training.outside import Outside
from prunus.training.progress import EpochRecord, Progress, settings
from prunus.training.snapshot import Snapshot
from prunus.training.stream import Stream

Validation = Split | Callable[[nn.Module], float]


class Course:
    """One training and all that changes in its course; the arguments are those of `prunus.training.train`."""

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
        self.config, self.normalise, self.validation = config, normalise, validation
        self.optimizer, self.shares = optimizer, rate_shares(optimizer)
        self.curriculum, self.pruning = curriculum, pruning
        self.device, dtype = placement(model)
        self.supply: Feed | Stream
        if isinstance(data, Split):
            highest = highest_label(data, classes=loss is None)
            self.objective = Objective(loss, config.label_smoothing, highest)
            self.supply = Feed(
                data,
                checked_scale(normalise),
                config.augment,
                dtype,
                config.channels_last,
                config.shift,
                alternating(len(data), config),
            )
        else:
            self.objective = Objective(loss, config.label_smoothing, 0)
            self.supply = Stream(data, self.device, dtype, config.channels_last)
        self.full_steps = self._steps_on(len(self.supply), config.epochs - 1)
        self.most_steps = self._steps_on(len(self.supply), 0)
        self.ranks = Ranks.current()
        averaged = config.ema or config.average
        self.average = Average(model, config.ema, config.average) if averaged else None
        memory = torch.channels_last if config.channels_last else torch.contiguous_format
        self.learner = Learner(model, optimizer, self.average, memory)
        self.exchange = self._exchanging()
        self.progress = Progress(torch.Generator().manual_seed(config.seed), self.device)
        self.best = Best(named_tensors(model)) if config.keep == "best" else None
        self.outside = Outside(loss, data)
        self.origin: dict[str, Any] = {}  # of a training that is kept
        self._check_settings()

    @property
    def model(self) -> nn.Module:
        """The network that learns."""
        return self.learner.model

    def _steps_on(self, samples: int, epoch: int) -> int:
        """The steps of an epoch on so many samples, or batches."""
        turn = batch_of(self.config, epoch) if isinstance(self.supply, Feed) else 1
        return steps_per_epoch(samples, turn)

    def _exchanging(self) -> Exchange:
        """How the network that learns is called."""
        prunes = self.pruning is not None
        return Exchange(self.model, self.ranks, self.config.compile, prunes=prunes)

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
            checked_scale(self.normalise)
        if isinstance(validation, Split) and len(validation) < self.ranks.count:
            raise ConfigError(
                f"A validation split of {len(validation)} samples cannot be shared by {self.ranks.count}"
                " processes: hold out more."
            )

    def prepare(self) -> None:
        """Before the first epoch."""
        if self.pruning is not None:
            with self._followed():
                self.pruning.before_training(self.learner.given, self.config.epochs)

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
                self.learner.give_back()
                with self._followed():
                    self.pruning.after_epoch(self.learner.given, self.progress.epoch, self.config.epochs)
                self._go_on(self.pruning)
            self._finish_epoch(time.perf_counter() - started, exchanged)
            if checkpoint is not None and self.ranks.first:
                self.save(checkpoint)
                saved = time.perf_counter()
            if on_epoch is not None:
                on_epoch(self.progress.records[-1])
        self.learner.end()
        if self.best is not None:
            if not self.best.epoch:
                warn("No epoch has a validation score that is a number: the weights are those of the last.")
            state = self.best.keep()
            if self.pruning is not None and state is not None:
                self.pruning.restore(state)
        elif self.average is not None:
            self.average.keep()

    def _go_on(self, pruning: Pruning) -> None:
        """Train on without what is gone for good."""
        given = self.learner.given
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            found = pruning.smaller(given) if isinstance(pruning, Removal) else None
            if self.learner.go_on(found):
                self.exchange = self._exchanging()
        self.exchange.leave_out(self.learner.cut(pruning.surviving(given)))

    def _epoch(self) -> Iterator[int]:
        """The steps of the running epoch that are left; yields the steps done in all, counted as if every
        epoch saw all samples.
        """
        progress = self.progress
        if progress.order is None:
            self._choose()
        assert progress.order is not None
        steps = (
            min(self._steps_on(len(self.supply), progress.epoch), len(progress.order))
            if self.config.same_steps
            else self._steps_on(len(progress.order), progress.epoch)
        )
        parts = progress.order.tensor_split(steps)
        weights = [None] * steps if progress.weights is None else progress.weights.tensor_split(steps)
        for part, weight in list(zip(parts, weights))[progress.step :]:
            place = progress.epoch * self.full_steps + progress.step * self.full_steps / steps
            whole = self.full_steps * self.config.epochs
            for group, share in zip(self.optimizer.param_groups, self.shares):
                group["lr"] = share * self.config.lr * rate_factor(self.config, place, whole)
            self._step(part, weight, steps)
            if self.average is not None:
                self.average.update(place / whole)
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
        inputs, targets = self.supply(part, progress.generator, share, size, progress.epoch)
        ranks.seed_step(config.seed, progress.epoch * self.most_steps + progress.step, self.device)
        outputs = self._outputs(inputs, size, lambda: self.supply.whole(part, share))
        right, samples = self.objective.right(outputs, targets), samples_of(inputs, targets)
        loss = self._loss(outputs, targets, right, part, weight)
        mine = torch.tensor(
            [samples, samples * loss.item(), 0.0 if right is None else right.sum().item()],
            dtype=torch.float64,
        )
        total, value, correct = ranks.total(mine.to(self.device)).tolist()
        if not ranks.alone:
            loss = loss * (samples * ranks.count / total)
        if not math.isfinite(value):
            advice = f"lower the learning rate ({config.lr:g}) or add warm-up steps ({config.warmup_steps})"
            raise ConfigError(
                f"The loss became {value / total} in epoch {progress.epoch + 1}, step {progress.step + 1} of"
                f" {steps}: {why_not_finite(inputs, targets, outputs, advice)}."
            )
        if not loss.requires_grad:
            raise ConfigError(
                f"No parameter of {type(self.model).__name__} has a gradient of this loss: it must be"
                " computed from the outputs, by operations that autograd follows."
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
        progress.add(round(total), value, None if right is None else round(correct))

    def _outputs(self, inputs: Any, size: float, whole: Callable[[], Any]) -> Any:
        """What the model makes of a batch, whose images have so much of their sides."""
        with explained(self.model, size, whole), self._precision():
            return self.objective.outputs(self.exchange.forward, inputs)

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
                self.learner.tensors()  # for a function that looks at the given network
                score, loss = self._validate(self.validation)
                if self.best is not None:
                    self.best.consider(
                        progress.epoch + 1, score, None if self.pruning is None else self.pruning.state()
                    )
        progress.end_epoch(score, loss, highest_rate(self.optimizer), seconds, exchanged)

    def _validate(self, validation: Validation) -> tuple[float, float | None]:
        """Accuracy [percent] and loss, every process looking at its share; or what a function says in the
        first one.
        """
        if not isinstance(validation, Split):
            with mode(self.model, training=False), torch.no_grad():
                score = as_score(validation(self.model)) if self.ranks.first else 0.0
            return float(self.ranks.total(torch.tensor(score, dtype=torch.float64, device=self.device))), None
        share = self.ranks.share(len(validation))
        mine = Split(validation.images[share], validation.labels[share])
        found = evaluate(self.model, mine, checked_scale(self.normalise))
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
                "origin": self.origin,
                "model": self.learner.tensors(),
                "counts": self.learner.counts(),
                "optimizer": self.learner.optimizer_state(),
                "average": self.learner.average_state(),
                "best": None if self.best is None else self.best.state(),
                "curriculum": None if self.curriculum is None else self.curriculum.state(),
                "pruning": None if self.pruning is None else self.pruning.state(),
                "outside": self.outside.state(),
                "progress": self.progress.state(),
            },
        )

    def restore(self, state: Any, path: Path) -> None:
        """Go on from a checkpoint. Raises ConfigError for another training's, FileFormatError for none."""
        try:
            Snapshot(
                self.config,
                len(self.supply),
                "samples" if isinstance(self.supply, Feed) else "batches",
                self.learner.given,
                {"curriculum": self.curriculum is not None, "pruning": self.pruning is not None},
                self.origin,
            ).check(state, path)
            self._take(state)
        except ODD as error:
            raise FileFormatError(
                f"{path} is not the checkpoint of a training ({type(error).__name__}: {clause(error)})."
            ) from error

    def _take(self, state: Any) -> None:
        self.learner.restore(state["model"], state.get("counts", {}))
        self.optimizer.load_state_dict(state["optimizer"])
        self.learner.settle_state()  # files know no memory format
        for part, name in (
            (self.average, "average"),
            (self.best, "best"),
            (self.curriculum, "curriculum"),
            (self.pruning, "pruning"),
        ):
            if part is not None:
                part.restore(state[name])
        self.outside.restore(state.get("outside"))
        self.progress.restore(state["progress"])
        if self.pruning is not None:
            self._go_on(self.pruning)
