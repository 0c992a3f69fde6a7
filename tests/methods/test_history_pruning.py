"""Rounds of history-based pruning on the embedded digits."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import prunus
from prunus import models
from prunus.errors import PlanError, TargetError
from prunus.methods.history import Compressed, Round, history_pruning, outcome
from prunus.methods.one_shot import Target
from prunus.tasks import Task
from prunus.training import EpochRecord, TrainConfig, evaluate
from prunus.watching import Clock, unwatched

EXAMPLE = torch.zeros(1, 1, 8, 8)


def test_history_pruning_goes_down_in_rounds(task: Task) -> None:
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    short = TrainConfig(epochs=2, batch_size=64, lr=0.05)
    rounds = [Round(0.5, short, short), Round(0.0, short, short, {"conv1": 4, "conv2": 10})]
    found = history_pruning(model, EXAMPLE, task, rounds, training=TrainConfig(epochs=4, batch_size=64, lr=0.05), tolerance=100.0)
    assert [tried.channels for tried in found.rounds] == [{"conv1": 10, "conv2": 25, "fc1": 250}, {"conv1": 6, "conv2": 15, "fc1": 250}]
    assert [{name: tuple(norms.shape) for name, norms in tried.norms.items()} for tried in found.rounds] == [
        {"conv1": (4, 20), "conv2": (4, 50), "fc1": (4, 500)},
        {"conv1": (2, 10), "conv2": (2, 25), "fc1": (2, 250)},
    ]
    assert [[len(pairs) for pairs in tried.pairs.values()] for tried in found.rounds] == [[10, 25, 250], [4, 10, 0]]
    first = found.rounds[0]
    for goes, stays in first.pairs["conv1"]:
        assert first.norms["conv1"][:, goes].sum() <= first.norms["conv1"][:, stays].sum()
    assert found.training is not None and [epoch.epoch for epoch in found.training.epochs] == [1, 2, 3, 4]
    assert found.retraining is not None and len(found.retraining.epochs) == 2
    for tried in found.rounds:
        assert tried.accepted and tried.distance[1] < tried.distance[0]  # the pull makes pairs more alike
    assert found.plan is not None and found.plan.after.macs == found.rounds[-1].macs
    shapes = [p.shape for p in prunus.compact(model, found.plan).parameters()]
    assert [p.shape for p in found.model.parameters()] == shapes
    assert evaluate(found.model, task.test, task.normalise).accuracy > 80


def test_a_round_that_costs_too_much_is_undone(task: Task) -> None:
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    short = TrainConfig(epochs=1, batch_size=64, lr=0.05)
    rounds = [Round(0.3, short, short), Round(0.0, short, short, {"conv1": 13, "conv2": 34, "fc1": 349})]
    found = history_pruning(model, EXAMPLE, task, rounds, training=TrainConfig(epochs=4, batch_size=64, lr=0.05), tolerance=5.0)
    assert [tried.accepted for tried in found.rounds] == [True, False]
    assert found.rounds[1].channels == {"conv1": 1, "conv2": 1, "fc1": 1}
    assert [layer.out_channels for layer in (found.model.conv1, found.model.conv2)] == [14, 35]
    assert found.plan is not None and found.plan.after.macs == found.rounds[0].macs


def test_an_earlier_training_takes_the_place_of_the_first(task: Task, trained: nn.Module) -> None:
    graph = prunus.trace(trained, EXAMPLE)
    norms = torch.rand(3, graph.num_channels)
    short = TrainConfig(epochs=1, batch_size=64, lr=0.05)
    model = copy.deepcopy(trained)
    found = history_pruning(model, EXAMPLE, task, [Round(0.2, short, short)], training=norms, tolerance=100.0)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in trained.state_dict().items())  # not trained again
    assert found.training is None and torch.equal(torch.cat(list(found.rounds[0].norms.values()), 1), norms)
    with pytest.raises(PlanError, match=r"A history has shape \(epochs, 570\)"):
        history_pruning(model, EXAMPLE, task, [Round(0.2, short, short)], training=norms[:, 1:], tolerance=100.0)


def test_history_pruning_goes_on_where_it_stopped(task: Task, tmp_path: Path) -> None:
    short = TrainConfig(epochs=2, batch_size=64, lr=0.05)
    rounds = [Round(0.5, short, short), Round(0.3, short, short)]

    def run(folder: Path, last: int | None = None, resume: bool = False) -> Compressed:
        torch.manual_seed(0)
        seen: list[str] = []

        def on_epoch(step: str, record: EpochRecord) -> None:
            seen.append(step)
            if len(seen) == last:
                raise KeyboardInterrupt

        folder.mkdir(exist_ok=True)
        model = models.lenet5(image_size=8)
        return history_pruning(model, EXAMPLE, task, rounds, training=TrainConfig(epochs=3, batch_size=64, lr=0.05), tolerance=100.0,
                               checkpoint=folder / "checkpoint.safetensors", resume=resume, on_epoch=on_epoch)  # fmt: skip

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", last=6)  # in the middle of the first retraining
    again = run(tmp_path / "broken", resume=True)
    assert (tmp_path / "broken" / "checkpoint-round-2-retraining.safetensors").exists()
    assert [tried.pairs for tried in again.rounds] == [tried.pairs for tried in whole.rounds]
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True))


def test_the_outcome_of_rounds_is_that_of_every_method(task: Task, trained: nn.Module) -> None:
    norms, short = torch.rand(3, prunus.trace(trained, EXAMPLE).num_channels), TrainConfig(epochs=1, batch_size=64, lr=0.05)
    target = Target("tolerance", 100.0, confidence=0.5)
    found = history_pruning(copy.deepcopy(trained), EXAMPLE, task, [Round(0.2, short, short)], training=norms, tolerance=100.0)
    said = outcome(found, trained, EXAMPLE, task, target, Clock(unwatched))
    assert said.plan is found.plan and said.compact is found.model and said.verification.relative < 1e-5
    assert [step.value for step in said.steps] == [evaluate(model, task.test, task.normalise).accuracy for model in (trained, found.model)]
    assert said.limit is not None and said.limit.lowest == max(found.baseline, found.rounds[0].accuracy) - 100.0
    assert [trial.macs for trial in said.trials] == [found.plan.after.macs if found.plan else 0]
    nothing = outcome(replace(found, plan=None, rounds=(), retraining=None), trained, EXAMPLE, task, target, Clock(unwatched))
    assert nothing.plan.removed == 0 and nothing.notes == ("No round kept the tolerance, so nothing was removed.",)
    assert nothing.steps[0].value == nothing.steps[1].value


def test_history_needs_held_out_samples(task: Task) -> None:
    bare = Task(task.train, test=task.test, normalise=task.normalise)
    with pytest.raises(TargetError, match="held-out"):
        history_pruning(models.lenet5(image_size=8), EXAMPLE, bare, [], training=TrainConfig(epochs=1, batch_size=64, lr=0.05), tolerance=1.0)
