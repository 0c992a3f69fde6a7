"""Generative adversarial learning (GAL): a student with a mask on every channel learns to answer as its teacher does, without any label.

Lin et al. 2019, "Towards Optimal Structured CNN Pruning via Generative Adversarial Learning" (arXiv 1903.09291). The student begins as the teacher.
A discriminator D learns to tell the two apart by their logits, and

    D        BCE(D(teacher), 1) + BCE(D(student), 0) + BCE(D(student), 1)        the last is the adversarial regulariser
    student  mu MSE(student, teacher) + BCE(D(student), 1)                       by SGD
    masks    the student's loss + strength * sum |m|                             by FISTA, with m >= 0, every so many steps

What has the mask 0 at the end goes. Masks lie on coupled channels here, where the paper has them on channels, branches and blocks of known networks;
they begin as 1, so that the student *is* the teacher at first (our choice).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._arguments import at_least, door
from prunus.channels.factors import ChannelFactors
from prunus.channels.verify import drawn_inputs, evaluating
from prunus.errors import ConfigError, TargetError
from prunus.methods.gates import Pruned, finish, traced_copy
from prunus.training.evaluation import mode, placement


@door()
def adversarial_pruning(
    model: nn.Module,
    example_inputs: Any,
    batches: Iterable[tuple[Any, Any]],
    *,
    epochs: int = 100,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 2e-4,
    mu: float = 1.0,
    strength: float = 1e-3,
    every: int = 200,
    seed: int = 0,
) -> Pruned:
    """Train a masked student of a classifier; the model itself is not changed.

    Args:
        model: the teacher, trained: images (batch, C, H, W) to logits (batch, classes).
        example_inputs: what it is called with, for its channels.
        batches: (images, anything), as of a `DataLoader` or `prunus.training.Shuffled`; one pass is an epoch. Labels are not looked at.
        epochs: passes.
        lr: learning rate of all three; a tenth after 30, 60 and 90 % of the epochs.
        momentum, weight_decay: of SGD.
        mu: weight of the distance between the logits: 1 for ResNets, 0.1 for VGG in the paper.
        strength: of the l1 norm of the masks (lambda): 1e-3 for the channels of VGG in the paper, 0.6 and 0.8 for the few blocks of ResNet-56. Short
            trainings need more.
        every: steps between two updates of the masks, which should be some hundred in all.
        seed: of the discriminator.

    Returns:
        The masks are `numbers`; fine-tune the model.

    Raises:
        TargetError: numbers out of range.
        ConfigError: the model gives no logits.
        PlanError: no channels, or what `ChannelFactors` raises.
    """
    at_least(0, momentum=momentum, weight_decay=weight_decay)
    if epochs < 1 or every < 1 or not lr > 0 or min(mu, strength) < 0:
        raise TargetError(
            f"There is at least one epoch and one step between updates, a rate above 0, and mu and strength are 0 or more; "
            f"not {epochs}, {every}, {lr}, {mu} and {strength}."
        )
    teacher = copy.deepcopy(model)
    student, graph = traced_copy(model, example_inputs)
    masks = Masks(graph.num_channels)
    weights = [parameter for parameter in student.parameters() if parameter.requires_grad]
    factors = ChannelFactors(student, graph, masks)
    device, dtype = placement(model)
    with evaluating(teacher):
        args, kwargs = drawn_inputs(teacher, graph, torch.Generator().manual_seed(0))
        logits = teacher(*args, **kwargs)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ConfigError(f"{type(model).__name__} must return logits (batch, classes), by which student and teacher are told apart.")
    judge = discriminator(logits.shape[1], seed).to(device, dtype)
    learners = [torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay) for parameters in (judge.parameters(), weights)]
    update, done = Fista(masks.masks), 0
    with mode(teacher, training=False), mode(student, training=True):
        for epoch in range(epochs):
            rate = lr * 0.1 ** (10 * epoch // (3 * epochs))
            for learner in learners:
                learner.param_groups[0]["lr"] = rate
            for inputs, _ in batches:
                with torch.no_grad():
                    wanted = teacher(inputs.to(device))
                found = student(inputs.to(device))
                _descend(learners[0], discriminator_loss(judge, found.detach(), wanted))
                masks.zero_grad()
                _descend(learners[1], student_loss(judge, found, wanted, mu))
                done += 1
                if done % every == 0:
                    update.step(rate, strength)
    update.settle()
    return finish(student, graph, factors, masks.masks)


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
    """Logits (batch, classes) to one number, higher for the teacher, (batch, 1): three layers of 128, 256 and 128."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(classes, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1)
        )  # fmt: skip


def discriminator_loss(judge: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """What the discriminator minimises, from logits (batch, classes)."""
    of_student = judge(student)
    return _told(judge(teacher), 1) + _told(of_student, 0) + _told(of_student, 1)


def student_loss(judge: nn.Module, student: Tensor, teacher: Tensor, mu: float) -> Tensor:
    """What the student minimises, from logits (batch, classes); the masks' l1 norm is in their update."""
    return mu * F.mse_loss(student, teacher) + _told(judge(student), 1)


class Fista:
    """Accelerated proximal steps (Beck and Teboulle 2009) for an l1 norm of numbers that are not negative.

    The parameter holds the point ahead, where the gradient is taken; that, too, is kept at 0 or above (our choice).
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
