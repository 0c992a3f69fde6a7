"""Train a network together with gates on its channels, so that on average it stays within a budget of MACs.

The published loss (`DynamicNetwork.penalty`) has a gain per gate, which somebody has to find for a budget. Our choice asks for the budget itself: the
squared distance of the batch's mean MACs, the gates' own included, to it. Veit and Belongie 2018, "Convolutional Networks with Adaptive Inference
Graphs" (arXiv 1711.11503), do so with the rate of every layer; one number for the whole network leaves it to the training where channels are closed,
and for which inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from prunus._arguments import door
from prunus.channels.trace import Inputs
from prunus.dynamic import DynamicNetwork, activity, settle
from prunus.errors import ConfigError, TargetError
from prunus.tasks import Task
from prunus.training import Calibration, Curriculum, EpochRecord, History, TrainConfig, train
from prunus.training.feeding import steps_per_epoch
from prunus.training.objective import Loss
from prunus.watching import Watch, unwatched

PULL = 100.0  # large enough that gates keep up with the allowance at learning rates of the network's size
CALIBRATED_ON = 2000  # samples, at most
_FALLING = 0.5  # of the steps, in which the allowance falls


class Allowance:
    """What the loss asks for: all MACs at first, falling to the budget over the first half of the steps; a pruning for `prunus.training.train`.

    Gates that are asked for everything at once close together, and far too far.

    Args:
        budget: mean MACs relative to those without gates.
        steps: of the training.
    """

    def __init__(self, budget: float, steps: int) -> None:
        self._budget, self._steps, self._done = budget, steps, 0

    @property
    def now(self) -> float:
        """Relative to the MACs without gates."""
        return 1 - (1 - self._budget) * min(1.0, self._done / max(1.0, _FALLING * self._steps))

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Begin."""
        self._done = 0

    def after_step(self, model: nn.Module) -> None:
        """One step more."""
        self._done += 1

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Nothing."""

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        """Everything."""
        return {}

    def state(self) -> dict[str, Any]:
        """How far it is."""
        return {"done": self._done}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self._done = state["done"]


@door()
def within(network: DynamicNetwork, allowance: Allowance, loss: Loss, pull: float = PULL) -> Loss:
    """A loss + pull * (mean MACs of the batch, relative to those without gates, - allowed)^2."""

    def both(outputs: Any, targets: Any) -> Tensor:
        lost = loss(outputs, targets)
        return lost + pull * (network.expected() - allowance.now).square().to(lost)

    return both


def check_settings(budget: float, keep: str, compiled: bool, kind: str = "activation", settled: bool = False) -> None:
    """Raises TargetError and ConfigError for what `train_gated`, and `settle_trained`, do not take, before there is any work to lose."""
    if settled and kind != "activation":
        raise ConfigError(f"Gates of kind {kind!r} choose among all channels of a layer, so none can go for good: --settle is for 'activation'.")
    if not 0 < budget < 1:
        raise TargetError(f"A budget is a share of the MACs between 0 and 1, not {budget:g}.")
    if keep == "best" or compiled:
        what = 'keep = "best" would take an early epoch, when the budget was still larger' if keep == "best" else "gates are not compiled"
        raise ConfigError(f"A network with gates is trained as it is, and its last epoch is kept: {what}.")


@door()
def train_gated(
    network: DynamicNetwork,
    task: Task,
    config: TrainConfig,
    budget: float,
    *,
    pull: float = PULL,
    curriculum: Curriculum | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    watch: Watch = unwatched,
) -> History:
    """Train a gated network in place, then calibrate its gates on held-out samples and set the budget.

    Without held-out samples training samples are used, on which the gates were trained. "winners" are as many as the budget allows from the first
    step on; the other kinds learn to keep it.

    Args:
        network: of `attach`.
        task: samples.
        config: how to train.
        budget: mean MACs relative to those without gates, above 0 and below 1.
        pull: how much a distance from the budget counts.
        curriculum, checkpoint, checkpoint_seconds, resume, on_epoch: as for `prunus.training.train`.
        watch: told about progress.

    Raises:
        TargetError: a budget out of range, or one that these gates do not reach.
        ConfigError: the best epoch is to be kept, which would be one with more MACs, or the network is to be compiled.
        PrunusError: whatever training raises.
    """
    check_settings(budget, config.keep, config.compile)
    samples = task.held_out() or task.samples("train")
    held_out = Calibration(samples, task.normalisation, CALIBRATED_ON)
    fixed = network.form.kind == "winners"
    entropy = partial(F.cross_entropy, reduction="none", label_smoothing=config.label_smoothing)
    if fixed:
        network.calibrate([next(iter(held_out))])
        network.budget = budget
    allowance = Allowance(budget, config.epochs * steps_per_epoch(len(task.samples("train")), config.batch_size))
    history = train(
        network,
        task.samples("train"),
        config,
        normalise=task.normalisation,
        loss=None if fixed else within(network, allowance, entropy, pull),
        validation=task.held_out(),
        curriculum=curriculum,
        pruning=allowance,
        checkpoint=checkpoint,
        checkpoint_seconds=checkpoint_seconds,
        resume=resume,
        on_epoch=on_epoch,
        on_step=lambda done, total: watch("training", done, total),
    )
    watch("calibrating the gates", 0, 0)
    network.calibrate(held_out)
    network.budget = budget
    return history


@door()
def settle_trained(network: DynamicNetwork, task: Task, example_inputs: Inputs) -> DynamicNetwork:
    """What is left of a trained network once channels that no held-out sample opened are gone for good, and gates that none closed; calibrated anew.

    The network itself where there is neither, or where no gate would be left.

    Args:
        network: by `train_gated`.
        task: samples; training samples stand in where none are held out.
        example_inputs: what it is called with.

    Raises:
        PlanError: gates of another kind than "activation", or of a layer in groups.
    """
    samples = task.held_out() or task.samples("train")
    found = activity(network, Calibration(samples, task.normalisation, len(samples)))
    never = any(bool((opened == 0).any()) for opened in found.opened.values())
    closing = [bool(((opened > 0) & (opened < 1)).any()) for opened in found.opened.values()]
    if not any(closing) or (all(closing) and not never):
        return network
    settled = settle(network, found, example_inputs)
    settled.calibrate(Calibration(samples, task.normalisation, CALIBRATED_ON))
    return settled
