"""What a network is for: samples, a loss and a metric. All that needs data asks a task for it, and never
knows what kind of samples these are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunus._foundation.arguments import at_least, check_fields, checked
from prunus._foundation.confidence import Rows, number_of
from prunus._foundation.seeds import drawn_alike
from prunus._foundation.wording import given
from prunus.data.sets import Split
from prunus.errors import ConfigError, DataError, TraceError
from prunus.surgery.parts import core, is_core, itself
from prunus.tasks.batches import Batches, check_part, first_batches, pair_of
from prunus.tasks.calling import alone, beside, told_apart
from prunus.tasks.inputs import Inputs, WithTargets
from prunus.tasks.losses import check_loss, own_losses, smoothed
from prunus.tasks.metrics import Accuracy, Batch, ByClass, Metric, as_metric, collected
from prunus.tasks.placed import moved, one_of, placed
from prunus.tasks.samples import Samples, read_at_once
from prunus.tasks.words import in_words
from prunus.training.calibration import Calibration
from prunus.training.calls import called, samples_of
from prunus.training.config import TrainConfig
from prunus.training.evaluation import evaluate, mode, placement, sample_by_sample
from prunus.training.feeding import Normalise, batches
from prunus.training.loop import train
from prunus.training.objective import Loss, as_tensor, told, wide, with_penalty
from prunus.training.progress import History
from prunus.training.recalibration import recalibrate_if_better, recalibrate_on, seen

Part = Literal["train", "validation", "test"]
PLAIN = ("normalise", "core_inputs", "classes", "name", "batch_size", "core_forward")  # by their annotations
CALIBRATION = 1024  # samples
RECALIBRATION = 20  # batches
EVALUATED = 500  # small images that are evaluated at once


@dataclass(frozen=True, eq=False)
class Task:
    """Samples, a loss and a metric.

    Attributes:
        train: samples (`prunus.data.Split`, or `Samples` of any kind) or batches of (inputs, targets) to
            train on; inputs in a tuple or list are the model's arguments, those in a dictionary its
            arguments by name.
        validation: the same, to choose by; None if nothing is chosen.
        test: the same, to report on; no choice ever sees it.
        loss: (outputs, targets) -> the losses of the samples, shape (batch,), or their mean; None is
            cross-entropy of classes. "model" is for networks that are called with inputs and targets in
            training and return their losses, one tensor or a dictionary of them, as torchvision's detectors
            do.
        metric: see `prunus.tasks.metrics`; a function (outputs, targets) -> points of every sample will do.
            None is top-1 accuracy.
        normalise: (mean, std) of every plane, in units of 0..1; samples need it, batches are taken as they
            are.
        example: one input, for which MACs are counted; None = the first of the training samples.
        core_forward: of `prunus.core` for networks with the loss "model" that cannot be traced whole and are
            no detectors of torchvision's kind.
        core_inputs: (inputs of a batch) -> what the `prunus.core` of a model is called with, where that is
            what is pruned: a batch of images, say, for detectors that take a list of them. None = images in
            one batch, smaller ones filled up with zeros.
        classes: their names.
        name: of the data.
        batch_size: samples that are read at once where nothing is trained; None = up to 200, fewer of large
            ones. Batches have their own.

    Raises:
        ConfigError: no such loss or metric, or batches that cannot be read again.
        DataError: samples without normalisation.
    """

    train: Split | Batches
    validation: Split | Batches | None = None
    test: Split | Batches | None = None
    loss: Loss | Literal["model"] | None = None
    metric: Metric | Callable[[Any, Any], Tensor] | None = None
    normalise: Normalise | None = None
    example: Any = None
    core_inputs: Callable[[Any], Any] | None = None
    classes: tuple[str, ...] = ()
    name: str = "data"
    batch_size: int | None = None
    core_forward: Callable[..., Any] | None = None
    _metric: Metric = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_metric", Accuracy() if self.metric is None else as_metric(self.metric))
        check_fields(self, ConfigError, only=PLAIN)
        at_least(1, batch_size=1 if self.batch_size is None else self.batch_size)
        check_loss(self.loss)
        check_part("train", self.train, self.normalise)
        for name in ("validation", "test"):
            if getattr(self, name) is not None:
                check_part(name, getattr(self, name), self.normalise)

    def example_inputs(self) -> Any:
        """One input of the model: the task's own, or the first training sample; raises DataError where there
        is none.
        """
        if self.example is not None:
            return self.example
        found = next(
            self.batches("train", 1) if isinstance(self.train, (Split, Samples)) else Inputs(self, 1).pairs(),
            None,
        )
        if found is None:
            raise DataError(
                "There is no batch to train on; a loader that drops its last batch needs samples for one."
            )
        inputs, _ = found
        return one_of(inputs)

    def __str__(self) -> str:
        """What there is, in one line."""
        return in_words(self)

    @checked(ConfigError)
    def core(self, model: nn.Module) -> nn.Module:
        """What is traced and pruned of a model: the `prunus.core` of detectors, whose own forward reads
        values, and others as they are.
        """
        if self.loss != "model" or is_core(model):
            return model
        try:
            return core(model, self.core_forward)
        except TraceError:  # a network with losses of its own, but built as no detector is
            return model

    @checked(ConfigError)
    def batches(
        self, part: Part, batch_size: int | None = None, model: nn.Module | None = None
    ) -> Iterator[Batch]:
        """(inputs, targets) of a part, in order, where the model lies, inputs with a point in the type of its
        numbers; `batch_size` is of samples, batches have their own. What is validated and tested on comes in
        the same order in every pass, also from loaders that shuffle, so that samples can be compared in
        pairs.
        """
        at_least(1, batch_size=1 if batch_size is None else batch_size)
        found = self._part(part)
        batch_size = batch_size or self.batch_size or read_at_once(found)
        device, dtype = placement(model) if model is not None else (torch.device("cpu"), torch.float32)
        if isinstance(found, Split):
            assert self.normalise is not None
            yield from batches(found.to(device), self.normalise, batch_size, dtype=dtype)
            return
        read = found.of(batch_size) if isinstance(found, Samples) else found
        for number, batch in enumerate(read if part == "train" else drawn_alike(read)):
            inputs, targets = pair_of(batch, number, part, apart=self.loss == "model")
            yield (inputs, targets) if model is None else (placed(inputs, model), moved(targets, model))

    @checked(ConfigError)
    def calibration(
        self, samples: int | None = None, seed: int = 0, *, last: bool = False
    ) -> Calibration | Inputs:
        """Inputs of the model that can be read again and again, with `pairs()` of them and their targets:
        drawn samples, or the first batches. With `last` others, as far as there are: those drawn last, or the
        batches behind as many samples as are usual.
        """
        at_least(1, samples=1 if samples is None else samples)
        if isinstance(self.train, Split):
            return Calibration(self.train, self.normalisation, samples, seed=seed, last=last)
        count = samples or CALIBRATION
        if isinstance(self.train, Samples):
            return Inputs(replace(self, train=self.train.by_chance(count, seed, last)), count)
        return Inputs(self, count, CALIBRATION if last else 0)

    @checked(ConfigError)
    def kind(self, part: Part) -> str:
        """What `count` counts."""
        return "samples" if isinstance(getattr(self, part), (Split, Samples)) else "batches"

    @property
    def metric_name(self) -> str:
        """What the metric is called."""
        return self._metric.name

    @property
    def by_class(self) -> ByClass | None:
        """The metric, where it can be told class by class."""
        return self._metric if isinstance(self._metric, ByClass) else None

    @property
    def tells_classes(self) -> bool:
        """Whether outputs are logits of classes, and the metric top-1 accuracy."""
        return isinstance(self._metric, Accuracy) and self.loss != "model"

    @property
    def per_sample_loss(self) -> Loss:
        """The loss as a function of outputs and targets. Raises ConfigError where only the model knows it."""
        if self.loss == "model":
            raise ConfigError(
                'This looks at the loss of outputs and targets, and with the loss "model" only the model'
                " knows it."
            )
        return told(self.loss) if self.loss else smoothed(0.0)

    @checked(ConfigError)
    def samples(self, part: Part) -> Split:
        """The samples of a part as they lie in memory; raises ConfigError for batches, which have no such
        form, DataError where there are none.
        """
        found = self._part(part)
        if not isinstance(found, Split):
            raise ConfigError(
                f"This works on samples in memory, a prunus.data.Split of images and classes to {part} on,"
                f" not {given(found)}."
            )
        return found

    def _part(self, part: Part) -> Split | Batches:
        found: Split | Batches | None = getattr(self, part)
        if found is None:
            raise DataError(f"The task has no {part} samples.")
        return found

    def held_out(self) -> Split | None:
        """The validation samples, where there are any."""
        return None if self.validation is None else self.samples("validation")

    @property
    def normalisation(self) -> Normalise:
        """(mean, std) of the planes of samples; raises DataError where there is none."""
        if self.normalise is None:
            raise DataError(
                "The task has batches, which are taken as they are, and no normalisation of its own."
            )
        return self.normalise

    @checked(ConfigError)
    def count(self, part: Part) -> int:
        """How many samples a part has; of batches, which may differ, the batches."""
        found = getattr(self, part)
        return 0 if found is None else found.count if isinstance(found, Samples) else len(found)

    @checked(ConfigError)
    def few(self, part: Part, count: int) -> Task:
        """The same task with some samples of a part, evenly drawn from all (of batches: the first), to test
        on.
        """
        at_least(1, count=count)
        found = self._part(part)
        if isinstance(found, (Split, Samples)):
            every = self.count(part)
            some: Any = found.subset(torch.linspace(0, every - 1, min(count, every)).long())
        else:
            some = list(first_batches(self.batches(part), count))
        return replace(self, test=some)

    @checked(ConfigError)
    def points(self, model: nn.Module, part: Part = "validation") -> Tensor | Rows:
        """The metric, sample by sample, of the model in eval mode; the model stays as it was."""
        if self._plain and isinstance(getattr(self, part), Split):
            return (
                100.0
                * sample_by_sample(
                    model, self.samples(part), self.normalisation, self.batch_size or EVALUATED
                )[0]
                .double()
                .cpu()
            )
        return self._measured(model, part)[0]

    @checked(ConfigError)
    def figures(self, model: nn.Module, part: Part = "test") -> tuple[float, float]:
        """The metric in one number, and the mean loss; NaN where that is none of single samples."""
        if self._plain and isinstance(getattr(self, part), Split):
            found = evaluate(model, self.samples(part), self.normalisation, self.batch_size or EVALUATED)
            return found.accuracy, found.loss
        points, loss = self._measured(model, part)
        return number_of(points), loss

    @checked(ConfigError)
    def value(self, model: nn.Module, part: Part = "test") -> float:
        """The metric in one number; NaN where it is none."""
        return number_of(self.points(model, part))

    @property
    def _plain(self) -> bool:
        """Classes by the largest logit and their cross-entropy."""
        return self.metric is None and self.loss is None

    @checked(ConfigError)
    def entries(self, model: nn.Module, part: Part = "test") -> list[Any]:
        """What every sample contributes to the metric, of the model in eval mode; it stays as it was."""
        with mode(model, training=False), torch.no_grad():
            return collected(self._metric, (pair for _, pair in self._outputs(model, part)))

    def _measured(self, model: nn.Module, part: Part) -> tuple[Tensor | Rows, float]:
        """Points, and the mean loss, in one pass."""
        loss: Any = None if self.loss == "model" else self.per_sample_loss
        total, seen = 0.0, 0

        def pairs() -> Iterator[Batch]:
            nonlocal total, seen
            for count, (outputs, targets) in self._outputs(model, part):
                yield outputs, targets  # the metric first: it says in a sentence what outputs it is not of
                if loss is not None:
                    total, seen = (
                        total + count * float(as_tensor(loss(outputs, targets)).mean()),
                        seen + count,
                    )

        with mode(model, training=False), torch.no_grad():
            entries = collected(self._metric, pairs())
        return self._metric.points(entries), total / seen if seen else math.nan

    def _outputs(self, model: nn.Module, part: Part) -> Iterator[tuple[int, Batch]]:
        """How many samples a batch has, and what the model makes of them, with their targets."""
        for inputs, targets in self.batches(part, model=model):
            yield samples_of(inputs, targets), (wide(self.called(model, inputs)), targets)

    def called(self, model: nn.Module, inputs: Any) -> Any:
        """What a model, itself and not its core, makes of the inputs of a batch."""
        model = itself(model)
        return alone(model, inputs) if self.loss == "model" else called(model, inputs)

    @checked(ConfigError)
    def batch_loss(self, model: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """The mean loss of a batch, with gradients, for loops of one's own."""
        if self.loss == "model":
            model = itself(model)
            own = called(model, beside(told_apart(inputs, targets), targets, model))
            return own_losses(own, targets)
        return as_tensor(self.per_sample_loss(wide(self.called(model, inputs)), targets)).mean()

    @checked(ConfigError)
    def fit(
        self,
        model: nn.Module,
        config: TrainConfig,
        *,
        loss: Loss | None = None,
        besides: Callable[[], Tensor] | None = None,
        validation: Literal["task"] | None = "task",
        **options: Any,
    ) -> History:
        """Train in place on the training samples.

        Args:
            model: the network.
            config: how.
            loss: in place of the task's.
            besides: is added to the mean loss.
            validation: None leaves the validation samples out of it.
            options: as for `prunus.training.train`.
        """
        wanted: Any = loss or self.loss
        part: Any = (
            self.train.of(config.batch_size, drawn=True) if isinstance(self.train, Samples) else self.train
        )
        if wanted == "model":
            part, wanted = WithTargets(self.train, itself(model)), own_losses
        elif wanted is None and besides is not None:
            wanted, config = smoothed(config.label_smoothing), replace(config, label_smoothing=0.0)
        if besides is not None:
            wanted = with_penalty(wanted, besides)
        judge: Any = None
        if validation is not None and self.validation is not None:
            judge = self.validation if self._plain and isinstance(self.validation, Split) else self._validate
        return train(
            itself(model), part, config, normalise=self.normalise, loss=wanted, validation=judge, **options
        )

    def _validate(self, model: nn.Module) -> float:
        return self.value(model, "validation")

    @checked(ConfigError)
    def recalibrate(self, model: nn.Module) -> bool:
        """New batch-norm statistics from training samples, and back where they are worse on validation
        samples; whether they stayed.
        """
        if self._plain and isinstance(self.train, Split):
            return recalibrate_if_better(model, self.train, self.normalisation, self.held_out())
        return recalibrate_on(
            model, lambda: self._on(model), self._validate if self.validation is not None else None
        )

    def _on(self, model: nn.Module) -> None:
        """Run the model on some training inputs."""
        some = (
            replace(self, train=self.train.by_chance(RECALIBRATION * 256, 0))
            if isinstance(self.train, Samples)
            else self
        )
        for number, (inputs, _) in enumerate(some.batches("train", 256, model)):
            if number >= RECALIBRATION:
                return
            seen(partial(self.called, model, inputs))
