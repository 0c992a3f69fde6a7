"""Importance weights in steps, to a tolerance."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.methods.fakes import Penalty, fake
from torch import nn

import prunus
from prunus import models
from prunus.errors import TargetError
from prunus.methods.history import history_pruning
from prunus.methods.importance import importance_pruning
from prunus.methods.play_and_prune import play_and_prune
from prunus.plans.plan import Trial
from prunus.tasks import Task
from prunus.training import TrainConfig, evaluate

EXAMPLE = torch.zeros(1, 1, 8, 8)


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
    assert found.limit.baseline == pytest.approx(
        evaluate(trained, task.samples("validation"), task.normalisation).accuracy
    )
    assert found.model.conv1.out_channels == 20 and found.plan.after.macs < found.plan.before.macs
    assert [step.step for step in found.steps] == ["before", "after the trials"]
    assert found.metric == evaluate(found.model, task.samples("test"), task.normalisation).accuracy
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
