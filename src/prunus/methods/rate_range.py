"""The peak learning rate for a training, by a short test: the rate grows from step to step, and held-out
samples say from where on it is too much.

Smith 2017, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), whose range test looks
at the accuracy; here the loss on held-out samples is looked at after every step, and one rate comes out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.progress import Watch, unwatched
from prunus.errors import ConfigError, TargetError
from prunus.methods._data import Passes, held_out
from prunus.tasks import Task
from prunus.training import TrainConfig
from prunus.training.calls import samples_of
from prunus.training.distributed import seed_device
from prunus.training.evaluation import placement
from prunus.training.optimizers import new_optimizer

HELD, MOST = 512, 8  # held-out samples that are looked at after every step, and batches of them, at most
_RANGE = {"sgd": (1e-4, 10.0), "adam": (1e-5, 1.0), "adamw": (1e-5, 1.0), "muon": (1e-5, 1.0)}
_SMOOTH = 0.9  # of the losses, as an average that moves
_WORSE = 4.0  # times the least loss: from there on it has diverged
_BELOW = 2.0  # the peak of a schedule lies this much below the rate of the least loss


@dataclass(frozen=True, eq=False)
class RateRange:
    """What a range test came to.

    Attributes:
        lr: the peak learning rate that it advises, with two digits.
        rates: of its steps, ascending.
        losses: on the held-out samples after these steps.
        smooth: the same, smoothed.
    """

    lr: float
    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smooth: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, ready for JSON."""
        return {
            "lr": self.lr,
            "rates": [float(f"{rate:.4g}") for rate in self.rates],
            "losses": [float(f"{loss:.6g}") for loss in self.losses],
        }


@door(TargetError)
def find_lr(
    model: nn.Module,
    task: Task,
    *,
    config: TrainConfig | None = None,
    steps: int = 100,
    watch: Watch = unwatched,
) -> RateRange:
    """The peak learning rate for a training of a network, which is not changed.

    Args:
        model: trained or not.
        task: what it is for; needs held-out samples.
        config: how it will be trained: optimiser, batches, augmentation and precision are those of the test.
        steps: of the test, at most.
        watch: told about progress.

    Returns:
        In `lr` one figure, half of the rate at which the held-out loss is least while the rate grows.

    Raises:
        TargetError: no held-out samples, or too few steps.
        ConfigError: the loss is undefined from the first step, or never falls.
    """
    config, task = config or TrainConfig(), held_out(task)
    if steps < 10:
        raise TargetError(f"A range test takes 10 steps or more, not {steps}.")
    low, high = _RANGE[config.optimizer]
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    device, _ = placement(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_device(config.seed, device)
        losses = np.array(list(_losses(copy.deepcopy(model).train(), task, config, rates, watch)))
    return _advice(rates[: len(losses)], losses)


def _losses(
    model: nn.Module, task: Task, config: TrainConfig, rates: NDArray[np.float64], watch: Watch
) -> Iterator[float]:
    """The held-out loss after every step, until it diverges."""
    optimizer = new_optimizer(model, config)
    passes = chain.from_iterable(repeat(Passes(task, "train", model, config, augmented=True)))
    held = _few(task, model, config)
    least, device = math.inf, placement(model)[0]
    for number, (rate, (inputs, targets)) in enumerate(zip(rates, passes)):
        watch("looking for the learning rate", number, len(rates))
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = task.batch_loss(model, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        found = _held_loss(model, task, held)
        if not math.isfinite(found):
            return
        yield found
        least = min(least, found)
        if found > _WORSE * least:
            return


def _few(task: Task, model: nn.Module, config: TrainConfig) -> list[tuple[Any, Any]]:
    """Batches of held-out samples, the same after every step."""
    found, seen = [], 0
    for inputs, targets in Passes(task, "validation", model, config):
        found.append((inputs, targets))
        seen += samples_of(inputs, targets)
        if seen >= HELD or len(found) == MOST:
            break
    return found


@torch.no_grad()
def _held_loss(model: nn.Module, task: Task, held: list[tuple[Any, Any]]) -> float:
    """The mean loss of held-out batches, in train mode, as running statistics lag behind weights that change
    so fast; they are as before afterwards.
    """
    before: dict[str, Tensor] = {name: buffer.clone() for name, buffer in model.named_buffers()}
    counts = [samples_of(inputs, targets) for inputs, targets in held]
    losses = [float(task.batch_loss(model, inputs, targets)) for inputs, targets in held]
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    return float(np.average(losses, weights=counts))


def _advice(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> RateRange:
    """The rate that the losses speak for."""
    if not len(losses):
        raise ConfigError("The loss is not finite after the first step already: look at the data.")
    smooth, average = [], 0.0
    for number, loss in enumerate(losses, 1):
        average = _SMOOTH * average + (1 - _SMOOTH) * float(loss)
        smooth.append(average / (1 - _SMOOTH**number))
    least = int(np.argmin(smooth))
    if least == 0:
        raise ConfigError(
            "The held-out loss does not fall at any learning rate from"
            f" {rates[0]:g} to {rates[-1]:g}: the network does not learn from these samples."
        )
    return RateRange(float(f"{rates[least] / _BELOW:.2g}"), rates, losses, np.array(smooth))
