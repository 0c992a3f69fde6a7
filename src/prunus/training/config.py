"""The settings of one training, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from prunus._foundation.arguments import check_fields
from prunus.errors import ConfigError

OptimizerName = Literal["sgd", "adam", "adamw", "muon"]
Schedule = Literal["constant", "step", "cosine", "onecycle"]
Precision = Literal["float32", "bfloat16"]
Augment = Literal["none", "crop", "crop-flip", "crop-flip-cutout"]
Flips = Literal["random", "alternating"]
Keep = Literal["last", "best"]

STEP_FACTOR = 0.1  # the step schedule multiplies the rate by this at every milestone
SIZE_STEPS = 8  # growing images grow by eighths of their side
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = (
    0.3,
    1 / 25,
    1 / 250_000,
)  # share of the training, and of the peak rate (Smith and Topin, 2018)


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults are those of CIFAR's ResNets; the one place of every setting's name, default
    and check.

    Attributes:
        epochs: passes over the training samples.
        batch_size: samples per step, at most; an epoch is cut into batches of nearly equal size.
        first_batch: share of `batch_size` that batches have in the first epoch, in (0, 1]; below 1 they grow
            by the same factor from epoch to epoch, up to the whole in the last (Smith et al., ICLR 2018).
        same_steps: an epoch on fewer samples has as many steps as one on all of them, on smaller batches.
        lr: peak learning rate.
        momentum: of SGD and Muon, in Nesterov's form; Adam has its own.
        weight_decay: L2 penalty on every parameter (for "adam": added to the gradient, too; for "adamw" and
            "muon" decoupled).
        optimizer: "sgd", "adam", "adamw", or "muon": orthogonalised momentum for the kernels of convolutions
            and AdamW for the rest, with learning rates like AdamW's (`prunus.training.muon`).
        schedule: "constant"; "step", ten times less at every milestone; "cosine", down to nearly zero at the
            last step; "onecycle", up from 1/25 of the rate over the first 30 % and down to nearly zero, along
            cosines.
        milestones: for "step": the points, as shares of the whole training, each in (0, 1).
        warmup_steps: steps over which the rate rises linearly to what the schedule says.
        rewind: epochs of a longer training of which these are the last: its learning rates are replayed, as
            in learning-rate rewinding (Renda, Frankle and Carbin, ICLR 2020); 0 = a schedule of its own.
        precision: "float32", or "bfloat16" for autocast (the weights stay as they are).
        channels_last: keep weights and images in the channels-last memory format; the weights stay in it.
        augment: "none"; "crop", random shifts by up to an eighth of the side; "crop-flip", mirror images as
            well (for photographs, not for digits); "crop-flip-cutout", and a random square of half the side
            set to the mean.
        flips: which images "crop-flip" and its kin mirror: "random" ones; or "alternating", every image in
            every other epoch, half of them in the first (Jordan, 2024, "94% on CIFAR-10 in 3.29 seconds on a
            single GPU", arXiv 2404.00498), so that two epochs see each both ways.
        shift: pixels by which "crop" and its kin shift an image at most; 0 = an eighth of the shorter side.
        first_size: share of the side that images have in the first epoch, in (0, 1]; below 1 they grow from
            epoch to epoch (coarse images first, as in progressive resizing: Howard, DAWNBench 2018; Tan and
            Le, ICML 2021).
        full_size_from: the point, as a share of the whole training, in (0, 1], from which images have their
            full size.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        clip: largest norm of the gradient of all parameters together; 0 = as it is.
        ema: decay per step of an exponential moving average of the weights, which is what is validated and
            what the model holds at the end; 0 = none. Early steps average over fewer: the decay is at most (1
            + t) / (10 + t).
        average: share of the training, at the end, whose weights are averaged, those after every step alike
            (Izmailov et al., UAI 2018); the average is validated and kept. 0 = none; not together with `ema`.
        keep: which weights the model has at the end: those of the "last" epoch, or of the "best" by its
            validation samples (of equal ones the first; with pruning, what is pruned is as it was then).
        compile: run the model through `torch.compile`, which takes some time at the beginning.
        seed: of the order of samples, the augmentation and the model's own randomness (dropout).

    Raises:
        ConfigError: a setting is unknown or out of range.
    """

    epochs: int = 20
    batch_size: int = 128
    first_batch: float = 1.0
    same_steps: bool = False
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: OptimizerName = "sgd"
    schedule: Schedule = "cosine"
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)
    warmup_steps: int = 0
    rewind: int = 0
    precision: Precision = "float32"
    channels_last: bool = False
    augment: Augment = "none"
    flips: Flips = "random"
    shift: int = 0
    first_size: float = 1.0
    full_size_from: float = 0.75
    label_smoothing: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    average: float = 0.0
    keep: Keep = "last"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, ConfigError)
        _require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        _require(0 < self.lr < math.inf, "lr", self.lr, "above 0 and finite")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        _require(
            0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "at least 0 and finite"
        )
        _require(self.shift >= 0, "shift", self.shift, "at least 0")
        _require(0 < self.first_batch <= 1, "first_batch", self.first_batch, "in (0, 1]")
        _require(0 < self.first_size <= 1, "first_size", self.first_size, "in (0, 1]")
        _require(0 < self.full_size_from <= 1, "full_size_from", self.full_size_from, "in (0, 1]")
        _require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")
        _require(0 <= self.clip < math.inf, "clip", self.clip, "at least 0 and finite")
        _require(0 <= self.ema < 1, "ema", self.ema, "in [0, 1)")
        _require(0 <= self.average < 1, "average", self.average, "in [0, 1)")
        _require(not (self.ema and self.average), "average", self.average, "0 where ema averages already")
        _require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "at least 0")
        _require(
            self.rewind == 0 or self.rewind >= self.epochs,
            "rewind",
            self.rewind,
            f"0 or at least the {self.epochs} epochs of this training",
        )
        rising = all(a < b for a, b in zip((0.0, *self.milestones), (*self.milestones, 1.0)))
        _require(rising, "milestones", self.milestones, "rising shares of the training, each in (0, 1)")


def _require(holds: bool, field: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"{field} must be {wanted}, not {value!r}.")


def rate_factor(config: TrainConfig, step: float, steps: int) -> float:
    """Share of the peak learning rate at a step.

    Args:
        config: gives schedule, milestones and warm-up.
        step: counted from 0; where an epoch has fewer steps than others, they lie further apart.
        steps: steps of the whole training, if every epoch saw all samples.
    """
    if config.rewind:
        whole = steps * config.rewind / config.epochs
        step, steps = step + whole - steps, round(whole)
    ramp = min((step + 1) / config.warmup_steps, 1.0) if config.warmup_steps else 1.0
    return ramp * _scheduled(config, step, steps)


def batch_of(config: TrainConfig, epoch: int) -> int:
    """Samples per step in an epoch, counted from 0: from the share `first_batch` of `batch_size` to all."""
    grown = epoch / max(config.epochs - 1, 1)
    return max(1, round(config.batch_size * math.pow(config.first_batch, 1 - grown)))


def size_factor(config: TrainConfig, epoch: int) -> float:
    """Share of their side that images have in an epoch, counted from 0: from `first_size` up to 1, in
    eighths.
    """
    progress = epoch / (config.full_size_from * config.epochs)
    if config.first_size == 1 or progress >= 1:
        return 1.0
    grown = config.first_size + (1 - config.first_size) * progress
    return max(config.first_size, math.floor(SIZE_STEPS * grown + 1e-9) / SIZE_STEPS)


def _scheduled(config: TrainConfig, step: float, steps: int) -> float:
    if config.schedule == "step":
        return STEP_FACTOR ** sum(step >= milestone * steps for milestone in config.milestones)
    if config.schedule == "cosine":
        progress = max(step - config.warmup_steps, 0) / max(steps - config.warmup_steps, 1)
        return 0.5 * (1 + math.cos(math.pi * progress))
    if config.schedule == "onecycle":
        return _one_cycle(step / max(steps - 1, 1))
    return 1.0


def _one_cycle(progress: float) -> float:
    """From `ONE_CYCLE_START` to 1 and down to `ONE_CYCLE_END`, along half cosines."""
    if progress < ONE_CYCLE_RISE:
        low, share = ONE_CYCLE_START, 1 - progress / ONE_CYCLE_RISE
    else:
        low, share = ONE_CYCLE_END, (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)
    return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
