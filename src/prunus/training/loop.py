"""The training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from prunus._foundation.arguments import door
from prunus._foundation.memory import held_memory
from prunus._foundation.seeds import besides_torch
from prunus.data.sets import Split
from prunus.errors import ConfigError
from prunus.paint.model_copy import named_tensors
from prunus.storage.checkpoint import read_tree
from prunus.storage.tensors import check_tensors
from prunus.training.config import TrainConfig
from prunus.training.course import Course, Validation
from prunus.training.distributed import seed_device
from prunus.training.evaluation import mode, placement
from prunus.training.feeding import Normalise
from prunus.training.hooks import Curriculum, Pruning
from prunus.training.objective import Loss
from prunus.training.optimizers import fitting, new_optimizer
from prunus.training.origin import origin
from prunus.training.progress import EpochRecord, History


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

    Train or evaluation mode of every module, and the states of the random generators of torch, NumPy and
    Python, which are seeded, are as before afterwards.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes); with batches and a loss of your own
            anything that fits them.
        data: samples to train on, which go to the model's device as a whole, as uint8. Or batches (inputs,
            targets) of any kind, such as a `DataLoader`, in an object with `len()`; inputs in a tuple or list
            are the model's arguments, those in a dictionary its arguments by name. Of these every pass is
            taken as it comes, inputs with a point in the type of the model's numbers, without `batch_size`,
            `augment` and `normalise`; a checkpoint is written between the epochs only, and holds the states
            of the generators of torch, NumPy and Python, of those that hang on a `DataLoader`, its sampler or
            data set, and what these count. A sampler or data set with `set_epoch` is told the epoch, from 0.
            Of several processes each brings its own batches, equally many.
        config: the settings.
        normalise: (mean, std) of every plane, in units of 0..1; samples need it.
        loss: in place of the cross-entropy of logits and labels: (outputs, targets) -> losses (batch,), or
            their mean where no curriculum is used. The state of a module, and what an object counts, are in
            the checkpoint, too.
        validation: samples to evaluate on after every epoch, or a function that says how good the model is,
            which it gets in evaluation mode (higher = better). It influences the training only where
            `config.keep` is "best".
        optimizer: use this one, with the state that it carries, instead of a new one. Its learning rates are
            set from `config.lr` and the schedule, of several groups the highest, to which the others keep
            their ratios; `config.optimizer`, `momentum` and `weight_decay` have no effect then.
        curriculum: chooses the samples of every epoch; None = all.
        pruning: changes weights between the epochs. Where it makes a smaller network without what is gone for
            good (`prunus.training.hooks.Removal`), that trains on in the place of the given one, which has
            what was learned at the end.
        checkpoint: a file that is written after every epoch, and every `checkpoint_seconds` in between.
        checkpoint_seconds: how much work may be lost when the process is killed.
        resume: go on from `checkpoint` where there is one, with the same data, settings and parts: to the
            very weights that an unbroken training gives (on a CPU to the last bit).
        on_epoch: called with the record of every finished epoch.
        on_step: called after every step with (steps done, steps in all); an epoch on fewer samples counts as
            many.

    Raises:
        ConfigError: nothing to train, an optimizer of another model, a checkpoint of other settings, or a
            loss that became infinite or undefined (the text names epoch and step; the weights are those
            before that step).
        DataError: no samples or batches, or labels beyond the model's classes.
        FileFormatError: the checkpoint cannot be read or written, or cannot hold a tensor of the model.
    """
    checkpoint = None if checkpoint is None else Path(checkpoint)
    device, _ = placement(model)
    optimizer = new_optimizer(model, config) if optimizer is None else fitting(optimizer, model)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if isinstance(data, Split):
        data = data.to(device)
    training = Course(model, data, config, normalise, loss, validation, optimizer, curriculum, pruning)
    cuda = [device] if device.type == "cuda" else []
    numbers = besides_torch(config.seed)
    with held_memory(), numbers, torch.random.fork_rng(devices=cuda), mode(model, training=True):
        seed_device(config.seed, device)
        if checkpoint is not None:
            check_tensors(named_tensors(model))  # now, not when an epoch has been lost
            parts = {"curriculum": curriculum, "pruning": pruning}
            judge = validation if config.keep == "best" and isinstance(validation, Split) else None
            # of several processes each brings its own batches
            same = data if training.ranks.alone or isinstance(data, Split) else None
            training.origin = origin(same, normalise, loss, optimizer, parts, judge)
        if resume and checkpoint is not None and checkpoint.exists():
            training.restore(read_tree(checkpoint), checkpoint)
        else:
            training.prepare()
        try:
            training.run(checkpoint, checkpoint_seconds, on_epoch, on_step)
        finally:
            training.learner.end()  # the given network has the weights, whatever happened
    kept = training.best.epoch if training.best else 0
    return History(config, tuple(training.progress.records), kept or config.epochs)
