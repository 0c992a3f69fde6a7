"""Slimming, against its penalty."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.methods.nets import Normed

import prunus
from prunus import models, scores
from prunus.errors import PlanError
from prunus.methods.slimming import slimming_loss
from prunus.tasks import Task
from prunus.training import TrainConfig, train

EXAMPLE = torch.zeros(1, 1, 8, 8)


def test_slimming_is_the_penalty_and_compacts_as_masked(task: Task) -> None:
    torch.manual_seed(0)
    model = Normed()
    loss = slimming_loss(model, 0.1)
    outputs, targets = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    wanted = F.cross_entropy(outputs, targets) + 0.1 * (
        model.bn1.weight.abs().sum() + model.bn2.weight.abs().sum()
    )
    assert float(loss(outputs, targets).detach()) == pytest.approx(float(wanted.detach()))
    loss(outputs, targets).backward()
    assert model.bn1.weight.grad is not None
    assert torch.allclose(model.bn1.weight.grad, 0.1 * model.bn1.weight.sign())
    train(
        model,
        task.train,
        TrainConfig(epochs=3, batch_size=64, lr=0.05),
        normalise=task.normalise,
        loss=slimming_loss(model, 3e-2),
    )
    plain = Normed()
    train(plain, task.train, TrainConfig(epochs=3, batch_size=64, lr=0.05), normalise=task.normalise)
    assert float(model.bn2.weight.detach().abs().sum()) < 0.8 * float(plain.bn2.weight.detach().abs().sum())
    graph = prunus.trace(model.eval(), EXAMPLE)
    plan = prunus.plan(graph, scores.bn_scale(graph), rate=0.4, scope="global")
    small = prunus.compact(model, plan)
    image = task.samples("test").images[:8].float() / 255
    assert torch.allclose(small(image), prunus.mask(model, plan)(image), atol=1e-5)
    with pytest.raises(PlanError, match="nothing to slim by"):
        slimming_loss(models.lenet5())
