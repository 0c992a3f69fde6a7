"""Methods that train: importance weights, slimming and selective decay, on the embedded digits."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.methods.fakes import Penalty, fake
from torch import Tensor, nn

import prunus
from prunus import models, scores
from prunus.errors import PlanError, TargetError
from prunus.methods.history import history_pruning
from prunus.methods.importance import importance_pruning
from prunus.methods.play_and_prune import play_and_prune
from prunus.methods.selective_decay import selective_decay_loss
from prunus.methods.slimming import slimming_loss
from prunus.paint.graph import ChannelGraph
from prunus.plans.plan import Plan, Trial
from prunus.surgery.compose import compose
from prunus.tasks import Task
from prunus.training import TrainConfig, evaluate, train

EXAMPLE = torch.zeros(1, 1, 8, 8)


def test_two_plans_are_one(trained: nn.Module) -> None:
    graph = prunus.trace(trained, EXAMPLE)
    first = prunus.plan(graph, scores.norm(graph), rate=0.4)
    small = prunus.compact(trained, first)
    inner = prunus.trace(small, EXAMPLE)
    second = prunus.plan(inner, scores.random(inner, 3), rate=0.5)
    both = compose(trained, first, second)
    wanted = prunus.compact(small, second)
    found = prunus.compact(trained, both)
    assert both.removed == first.removed + second.removed
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), wanted.parameters(), strict=True))
    third = prunus.plan(prunus.trace(wanted, EXAMPLE), scores.norm(prunus.trace(wanted, EXAMPLE)), rate=0.5)
    again = prunus.compact(trained, compose(trained, both, third))
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parameters(), prunus.compact(wanted, third).parameters(), strict=True)
    )


def test_plans_of_other_models_do_not_follow(trained: nn.Module) -> None:
    graph = prunus.trace(trained, EXAMPLE)
    first = prunus.plan(graph, scores.norm(graph), rate=0.5)
    other = prunus.trace(models.resnet20(), torch.zeros(1, 3, 32, 32))
    with pytest.raises(PlanError, match="The second plan removes slots"):
        compose(trained, first, prunus.plan(other, scores.norm(other), rate=0.5))
    with pytest.raises(PlanError, match="that the first one does not leave"):
        compose(trained, first, prunus.plan(graph, -scores.norm(graph), rate=0.9))


def test_importance_pruning_keeps_its_tolerance(task: Task, trained: nn.Module) -> None:
    before = copy.deepcopy(trained.state_dict())
    told: list[Trial] = []

    def points(model: nn.Module) -> float:
        return task.value(model, "validation")

    config = TrainConfig(epochs=1, lr=0.02, batch_size=64)
    found = importance_pruning(
        trained,
        task,
        tolerance=12.0,
        step=0.5,
        least_step=0.25,
        by="rate",
        most=4,
        start="l1",
        config=config,
        evaluate=points,
        on_trial=told.append,
    )
    assert tuple(told) == found.trials and 1 <= len(told) <= 4 and found.limit is not None
    assert found.limit.baseline == points(trained) and found.limit.lowest == pytest.approx(
        points(trained) - 12
    )
    steps = [0.5]
    for trial, step in zip(found.trials, found.found["steps"], strict=True):
        assert step == steps[-1] and trial.accepted == (found.limit.baseline - trial.lowest <= 12.0)
        steps.append(steps[-1] if trial.accepted else steps[-1] / 2)
    accepted = [trial for trial in found.trials if trial.accepted]
    assert accepted and found.plan.after.macs == accepted[-1].macs
    assert accepted[-1].rate == pytest.approx(found.plan.removed / found.graph.num_channels)
    assert points(found.model) == pytest.approx(accepted[-1].metric)
    assert [p.shape for p in found.model.parameters()] == [
        p.shape for p in prunus.compact(trained, found.plan).parameters()
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_what_was_cut_in_steps_is_restored_from_its_file(trained: nn.Module, tmp_path: Path) -> None:
    def noise(model: nn.Module, penalty: Penalty | None) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))

    torch.manual_seed(0)
    found = importance_pruning(
        trained, fake(noise, EXAMPLE), tolerance=1.0, step=0.3, by="rate", most=2, evaluate=lambda model: 1.0
    )
    assert len(found.trials) == 2
    prunus.save(found.model, tmp_path / "small.safetensors")
    again = prunus.load(tmp_path / "small.safetensors", lambda: models.lenet5(image_size=8))
    image = torch.randn(3, 1, 8, 8)
    assert torch.equal(again(image), found.model(image)) and again.prunus.plan.removed == found.plan.removed


def test_a_tolerance_is_kept_on_held_out_samples(task: Task, trained: nn.Module) -> None:
    config = TrainConfig(epochs=1, lr=0.02, label_smoothing=0.1, batch_size=64)
    found = importance_pruning(trained, task, tolerance=20.0, step=0.6, protect=("conv1",), config=config)
    assert task.validation is not None and found.limit is not None
    assert found.limit.baseline == pytest.approx(evaluate(trained, task.validation, task.normalise).accuracy)
    assert found.model.conv1.out_channels == 20 and found.plan.after.macs < found.plan.before.macs
    assert [step.step for step in found.steps] == ["before", "after the trials"]
    assert found.metric == evaluate(found.model, task.test, task.normalise).accuracy
    for method in (importance_pruning, play_and_prune, history_pruning):
        with pytest.raises(TargetError, match="held-out"):
            method(trained, replace(task, validation=None), tolerance=1.0)


def test_an_impossible_tolerance_leaves_the_original(trained: nn.Module) -> None:
    values = iter([90.0, *[10.0] * 10])
    found = importance_pruning(
        trained,
        fake(images=EXAMPLE),
        tolerance=1.0,
        step=0.4,
        least_step=0.1,
        evaluate=lambda model: next(values),
    )
    assert found.plan.removed == 0 and found.notes == (
        "No trial kept the tolerance, so nothing was removed.",
    )
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), trained.parameters(), strict=True))
    assert found.found["steps"] == (0.4, 0.2, 0.1)
    with pytest.raises(TargetError, match="steps lie between 0 and 1"):
        importance_pruning(trained, fake(images=EXAMPLE), tolerance=1.0, step=0.1, least_step=0.2)


class Normed(nn.Module):
    """A small network with batch norm for the digits."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn1 = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.b, self.bn2 = nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.bn1(self.a(x)).relu(), 2)
        return self.head(self.bn2(self.b(x)).relu().mean((2, 3)))  # type: ignore[no-any-return]


def test_slimming_is_the_penalty_and_compacts_as_masked(task: Task) -> None:
    torch.manual_seed(0)
    model = Normed()
    loss = slimming_loss(model, 0.1)
    outputs, targets = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    wanted = F.cross_entropy(outputs, targets) + 0.1 * (
        model.bn1.weight.abs().sum() + model.bn2.weight.abs().sum()
    )
    assert float(loss(outputs, targets).detach()) == pytest.approx(float(wanted.detach()))
    loss(outputs, targets).backward()  # type: ignore[no-untyped-call]
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
    image = task.test.images[:8].float() / 255
    assert torch.allclose(small(image), prunus.mask(model, plan)(image), atol=1e-5)
    with pytest.raises(PlanError, match="nothing to slim by"):
        slimming_loss(models.lenet5())


def test_selective_decay_empties_what_is_going_to_be_pruned(task: Task) -> None:
    torch.manual_seed(0)
    model = Normed()
    graph = prunus.trace(model, EXAMPLE)

    def choose(traced: ChannelGraph) -> Plan:
        return prunus.plan(traced, scores.norm(traced, reduce="producer"), rate=0.5)

    outputs, targets = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    loss = selective_decay_loss(model, graph, choose, 10, weight_decay=0.1, first=1.0, last=4.0)
    for step in (0, 1, 2):
        removed = choose(graph)
        squares = 0.0
        full, masked = dict(model.named_parameters()), dict(prunus.mask(model, removed).named_parameters())
        for name, tensor in full.items():
            squares += float((tensor.detach().square() - masked[name].detach().square()).sum())
        wanted = float(F.cross_entropy(outputs, targets)) + 0.5 * 4.0 ** (step / 10) * 0.1 * squares
        assert float(loss(outputs, targets).detach()) == pytest.approx(wanted, rel=1e-5)
    config = TrainConfig(epochs=6, lr=0.03, schedule="constant", batch_size=64)
    steps = 6 * -(-len(task.train) // config.batch_size)
    decay = selective_decay_loss(model, graph, choose, steps, weight_decay=1e-3, last=1e3)
    train(model, task.train, config, normalise=task.normalise, loss=decay)
    plan = choose(graph)
    before = evaluate(model, task.test, task.normalise).accuracy
    assert evaluate(prunus.compact(model.eval(), plan), task.test, task.normalise).accuracy == pytest.approx(
        before, abs=2.0
    )
    with pytest.raises(TargetError, match="at least one step"):
        selective_decay_loss(model, graph, choose, 0, weight_decay=0.1)
