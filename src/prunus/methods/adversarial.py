"""Generative adversarial learning (GAL): a student with a mask on every channel learns to answer as its
teacher does, without any label.

Lin et al. 2019, "Towards Optimal Structured CNN Pruning via Generative Adversarial Learning" (arXiv
1903.09291). The student begins as the teacher. A discriminator D learns to tell the two apart by their
logits, and

    D        BCE(D(teacher), 1) + BCE(D(student), 0) + BCE(D(student), 1)   the last: adversarial regulariser
    student  mu MSE(student, teacher) + BCE(D(student), 1)                  by SGD
    masks    the student's loss + strength * sum |m|                        by FISTA, m >= 0, every few steps

What has the mask 0 at the end goes. Masks lie on coupled channels here, where the paper has them on channels,
branches and blocks of known networks; they begin as 1, so that the student *is* the teacher at first (our
choice).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus._foundation.seeds import seeded
from prunus._foundation.wording import given
from prunus.errors import ConfigError, TargetError
from prunus.methods._data import Passes, seen_by
from prunus.methods.common import FIRST, Outcome
from prunus.methods.removal import BEFORE
from prunus.methods.trained_masks import finish, traced_copy
from prunus.surgery.channel_scaling import ChannelFactors
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig
from prunus.training.evaluation import mode, placement

PAPER = TrainConfig(epochs=100, lr=0.01, weight_decay=2e-4)


@door(TargetError)
def adversarial_pruning(
    model: nn.Module,
    task: Task,
    *,
    strength: float = 1e-3,
    mu: float = 1.0,
    every: int = 200,
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    watch: Watch = unwatched,
) -> Outcome:
    """Train a masked student of a network that gives one tensor of logits; the network itself is not changed.

    Args:
        model: the teacher, trained: inputs to logits (batch, classes), or (batch, classes, …) with one place
            of many, each of which is told apart.
        task: what it is for. Targets of the training samples are not looked at.
        strength: of the l1 norm of the masks (lambda): 1e-3 for the channels of VGG in the paper, 0.6 and 0.8
            for the few blocks of ResNet-56. Short trainings need more.
        mu: weight of the distance between the logits: 1 for ResNets, 0.1 for VGG in the paper.
        every: steps between two updates of the masks, which should be some hundred in all.
        config: how to train; its epochs, batch_size, lr (of all three, a tenth after 30, 60 and 90 % of the
            epochs), momentum, weight_decay, augment and seed are looked at. None = 100 epochs at 0.01, as in
            the paper.
        tuning: how to fine-tune what is left; None leaves it out.
        watch: told about progress.

    Returns:
        The masks are "numbers" in `found`.

    Raises:
        TargetError: numbers out of range.
        ConfigError: the model gives no logits.
        PlanError: no channels, or what `ChannelFactors` raises.
    """
    if every < 1 or min(mu, strength) < 0:
        raise TargetError(
            f"There is at least one step between updates, and mu and strength are 0 or more; not {every},"
            f" {mu} and {strength}."
        )
    config, clock = config or PAPER, Clock(watch)
    teacher = copy.deepcopy(model)
    student, graph = traced_copy(model, example_of(task, model))
    masks = Masks(graph.num_channels)
    device, dtype = placement(model)
    judge = discriminator(_classes(teacher, task), config.seed).to(device, dtype)
    weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
    factors = ChannelFactors(student, graph, masks)
    with clock.steps(FIRST), mode(teacher, training=False), mode(student, training=True), seeded(config.seed):
        _train(student, teacher, judge, masks, weights, task, config, mu, strength, every, clock)
    return finish(
        student,
        graph,
        factors,
        masks.masks,
        strength,
        task,
        clock,
        tuning,
        {BEFORE: model, "trained with masks": student},
    )


def _train(
    student: nn.Module,
    teacher: nn.Module,
    judge: nn.Module,
    masks: Masks,
    weights: list[nn.Parameter],
    task: Task,
    config: TrainConfig,
    mu: float,
    strength: float,
    every: int,
    clock: Clock,
) -> None:
    """Discriminator, student and masks, in turns."""
    learners = [
        torch.optim.SGD(own, config.lr, config.momentum, weight_decay=config.weight_decay)
        for own in (judge.parameters(), weights)
    ]
    update, done, passes = Fista(masks.masks), 0, Passes(task, "train", student, config, augmented=True)
    for epoch in range(config.epochs):
        clock.watch(FIRST, epoch, config.epochs)
        rate = config.lr * 0.1 ** (10 * epoch // (3 * config.epochs))
        for learner in learners:
            learner.param_groups[0]["lr"] = rate
        for inputs, _ in passes:
            with torch.no_grad():
                wanted = _rows(task.called(teacher, inputs), teacher)
            found = _rows(task.called(student, inputs), student)
            _descend(learners[0], discriminator_loss(judge, found.detach(), wanted))
            masks.zero_grad()
            _descend(learners[1], student_loss(judge, found, wanted, mu))
            done += 1
            if done % every == 0:
                update.step(rate, strength)
    update.settle()


def _rows(logits: Any, model: nn.Module) -> Tensor:
    """(batch, classes, …) with one row for every place, (places, classes); raises ConfigError for what is
    none, as where heads that only training runs give something besides.
    """
    if not isinstance(logits, Tensor) or logits.dim() < 2:
        raise ConfigError(
            f"{type(model).__name__} returns {given(logits)} in training, where student and teacher are told"
            " apart by logits (batch, classes): let it return these alone, or choose another method."
        )
    return logits.movedim(1, -1).flatten(0, -2)


def _classes(teacher: nn.Module, task: Task) -> int:
    """How many there are; raises ConfigError where there are no logits."""
    with mode(teacher, training=False), torch.no_grad():
        logits = None if task.loss == "model" else task.called(teacher, seen_by(task, teacher))
    if not isinstance(logits, Tensor) or logits.dim() < 2:
        raise ConfigError(
            f"{type(teacher).__name__} must return logits (batch, classes), by which student and teacher are"
            " told apart."
        )
    return int(logits.shape[1])


class Masks(nn.Module):
    """One mask per channel, all 1 at first.

    Attributes:
        masks: shape (num_channels,).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.masks = nn.Parameter(torch.ones(channels))

    def forward(self) -> Tensor:
        """The masks themselves."""
        return self.masks


def discriminator(classes: int, seed: int) -> nn.Sequential:
    """Logits (batch, classes) to one number, higher for the teacher, (batch, 1): three layers of 128, 256 and
    128.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(classes, 128),
            nn.ReLU(),
            nn.Linear(128, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, 1),
        )


def discriminator_loss(judge: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """What the discriminator minimises, from logits (batch, classes)."""
    of_student = judge(student)
    return _told(judge(teacher), 1) + _told(of_student, 0) + _told(of_student, 1)


def student_loss(judge: nn.Module, student: Tensor, teacher: Tensor, mu: float) -> Tensor:
    """What the student minimises, from logits (batch, classes); the masks' l1 norm is in their update."""
    return mu * F.mse_loss(student, teacher) + _told(judge(student), 1)


class Fista:
    """Accelerated proximal steps (Beck and Teboulle 2009) for an l1 norm of numbers that are not negative.

    The parameter holds the point ahead, where the gradient is taken; that, too, is kept at 0 or above (our
    choice).
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        self.parameter, self.last, self.t = parameter, parameter.detach().clone(), 1.0

    @torch.no_grad()
    def step(self, lr: float, strength: float) -> None:
        """One step along the parameter's gradient, shrunk by lr * strength."""
        assert self.parameter.grad is not None
        point = (self.parameter - lr * self.parameter.grad - lr * strength).clamp(min=0)
        following = (1 + math.sqrt(1 + 4 * self.t**2)) / 2
        self.parameter.copy_((point + (self.t - 1) / following * (point - self.last)).clamp(min=0))
        self.last, self.t = point, following

    @torch.no_grad()
    def settle(self) -> None:
        """Back from the point ahead to the last one reached."""
        self.parameter.copy_(self.last)


def _told(judged: Tensor, label: int) -> Tensor:
    return F.binary_cross_entropy_with_logits(judged, torch.full_like(judged, label))


def _descend(learner: torch.optim.Optimizer, loss: Tensor) -> None:
    learner.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    learner.step()
