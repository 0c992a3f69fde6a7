"""GAL: its losses, its proximal steps, and that what nobody needs goes without any label."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import channels, difference, randomised
from torch import Tensor, nn

import prunus
from prunus import models
from prunus.errors import ConfigError, PlanError, TargetError
from prunus.methods.adversarial import (
    Fista,
    adversarial_pruning,
    discriminator,
    discriminator_loss,
    student_loss,
)
from prunus.models.resnet import CifarResNet
from prunus.tasks import MeanIoU, Task
from prunus.training import TrainConfig

IMAGES = torch.randn(48, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BATCHES = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in IMAGES.split(16)]
TASK = Task(BATCHES)
PLAIN = TrainConfig(epochs=1, lr=0.01, weight_decay=2e-4)


def test_losses_are_those_of_the_paper() -> None:
    judge = discriminator(10, 0).double()
    assert [tuple(layer.weight.shape) for layer in judge if isinstance(layer, nn.Linear)] == [
        (128, 10),
        (256, 128),
        (128, 256),
        (1, 128),
    ]
    student, teacher = torch.randn(4, 10, dtype=torch.float64), torch.randn(4, 10, dtype=torch.float64)
    told = [
        [1 / (1 + math.exp(-float(one))) for one in judge(logits).detach()] for logits in (student, teacher)
    ]
    of_student, of_teacher = ([math.log(p) for p in chances] for chances in told)
    not_student = [math.log(1 - p) for p in told[0]]
    wanted = -sum(of_teacher) / 4 - sum(not_student) / 4 - sum(of_student) / 4
    assert float(discriminator_loss(judge, student, teacher).detach()) == pytest.approx(wanted)
    distance = sum(float(a - b) ** 2 for a, b in zip(student.flatten(), teacher.flatten(), strict=True)) / 40
    assert float(student_loss(judge, student, teacher, 0.3).detach()) == pytest.approx(
        0.3 * distance - sum(of_student) / 4
    )


def test_proximal_steps_go_to_the_minimum_under_the_penalty() -> None:
    wanted, curvature, strength = (
        torch.tensor([2.0, 0.3, -1.0, 0.9]).double(),
        torch.tensor([1.0, 0.5, 1.0, 2.0]).double(),
        0.4,
    )
    parameter = nn.Parameter(torch.ones(4, dtype=torch.float64))
    update = Fista(parameter)
    last, ahead, t = torch.ones(4).double(), torch.ones(4).double(), 1.0  # the same by hand
    for _ in range(200):
        parameter.grad = curvature * (parameter.detach() - wanted)
        update.step(0.1, strength)
        point = torch.tensor(
            [
                max(float(y - 0.1 * c * (y - w)) - 0.1 * strength, 0.0)
                for y, c, w in zip(ahead, curvature, wanted, strict=True)
            ]
        ).double()
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = torch.tensor(
            [max(float(p + (t - 1) / following * (p - q)), 0.0) for p, q in zip(point, last, strict=True)]
        ).double()
        last, t = point, following
        assert torch.allclose(parameter, ahead, atol=1e-5)
    update.settle()
    assert torch.allclose(parameter, (wanted - strength / curvature).clamp(min=0), atol=1e-3)
    assert parameter.detach()[1:3].tolist() == [0, 0]


def network(build: Callable[[], nn.Module], factor: float = 1.0) -> nn.Module:
    """With larger logits, which are easier to tell apart."""
    torch.manual_seed(0)
    model = build().double().eval()
    with torch.no_grad():
        list(model.parameters())[-2].mul_(factor)
    return model


def test_one_step_of_the_masks_follows_their_slope() -> None:
    model, lr, strength = network(lambda: models.lenet5(image_size=8)), 0.5, 0.3
    found = adversarial_pruning(
        model, Task(BATCHES[:1]), strength=strength, every=1, config=replace(PLAIN, lr=lr)
    )
    logits, judge = model(IMAGES[:16]).detach(), discriminator(10, 0).double()
    discriminator_loss(judge, logits, logits).backward()
    with torch.no_grad():
        for parameter in judge.parameters():
            assert parameter.grad is not None
            parameter.sub_(lr * (parameter.grad + 2e-4 * parameter))
    mine = channels(prunus.trace(model, IMAGES[:1]), "conv1.weight")
    for filter in (0, 7, 19):
        losses = []
        for step in (1e-5, -1e-5):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                moved.conv1.weight[filter] *= 1 + step
                moved.conv1.bias[filter] *= 1 + step
                losses.append(float(student_loss(judge, moved(IMAGES[:16]), logits, 1.0)))
        slope = (losses[0] - losses[1]) / 2e-5
        assert slope != 0 and float(found.found["numbers"][mine[filter]]) == pytest.approx(
            1 - lr * (slope + strength), abs=1e-6
        )


@pytest.mark.parametrize(
    ("build", "factor", "mu"),
    [(lambda: models.lenet5(image_size=8), 20.0, 3.0), (lambda: CifarResNet(1, in_channels=1), 1.0, 20.0)],
)
def test_what_is_left_is_the_masked_student(build: Callable[[], nn.Module], factor: float, mu: float) -> None:
    model = network(build, factor)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = adversarial_pruning(model, TASK, mu=mu, strength=3.0, every=1, config=replace(PLAIN, epochs=10))
    assert found.dense is not None
    numbers, small = found.found["numbers"], prunus.compact(found.dense, found.plan)
    assert bool((numbers >= 0).all()) and found.plan.exact
    assert 0 < found.plan.removed < len(numbers) - len(found.plan.groups)
    assert difference(prunus.mask(found.dense, found.plan), small, IMAGES) < 1e-12
    assert difference(found.dense, small, IMAGES) < 1e-12  # masks at 0 removed nothing that was left
    last = list(before)[-2]
    assert not torch.allclose(found.dense.state_dict()[last], before[last])  # the weights have learned
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_student_begins_as_the_teacher_and_the_seed_decides() -> None:
    model = randomised(models.lenet5(image_size=8))
    still = adversarial_pruning(
        model, TASK, strength=0.0, every=1, config=replace(PLAIN, lr=1e-30, weight_decay=0.0)
    )
    assert still.plan.removed == 0 and difference(model, still.model, IMAGES) < 1e-12
    first, again, other = (
        adversarial_pruning(
            model, TASK, strength=1.0, every=1, config=replace(PLAIN, lr=1e-4, seed=seed)
        ).found["numbers"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_every_pixel_of_a_map_is_told_apart() -> None:
    masks = [(part, torch.zeros(len(part), 8, 8, dtype=torch.int64)) for part in IMAGES.split(16)]
    task = Task(
        masks,
        loss=lambda outputs, targets: outputs.mean((1, 2, 3)),
        metric=lambda outputs, targets: outputs.mean((1, 2, 3)),
    )
    model = randomised(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)))
    found = adversarial_pruning(model, task, strength=40.0, every=1, config=PLAIN)
    assert 0 < found.plan.removed < 8 and found.verification.relative < 1e-9


def test_what_cannot_be_done_is_said() -> None:
    model = randomised(models.lenet5(image_size=8))
    with pytest.raises(TargetError, match="at least one step between updates"):
        adversarial_pruning(model, TASK, every=0)
    with pytest.raises(ConfigError, match="diverged: lower the learning rate"):
        adversarial_pruning(model, TASK, every=1, config=replace(PLAIN, lr=1e9))
    with pytest.raises(ConfigError, match="LossOnly must return logits"):
        adversarial_pruning(randomised(LossOnly()), TASK)
    with pytest.raises(PlanError, match="no channel that can go"):
        adversarial_pruning(randomised(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))), TASK)


class LossOnly(nn.Module):
    """Gives a number for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).mean((1, 2, 3))


class WithHead(nn.Module):
    """A head that only training runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.layer(x).relu()
        return (self.last(x), self.head(x)) if self.training else self.last(x)


def test_outputs_that_only_training_has_are_told_of() -> None:
    pictures = [(torch.randn(4, 1, 6, 6), torch.zeros(4, 4, 4, dtype=torch.long))]
    task = Task(pictures, pictures, pictures, loss=F.cross_entropy, metric=MeanIoU())
    with pytest.raises(ConfigError, match=r"^WithHead returns a tuple of .* in training"):
        adversarial_pruning(WithHead(), task, config=TrainConfig(epochs=1))
