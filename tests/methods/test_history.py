"""Rounds of history-based pruning on the embedded digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import prunus
from prunus import models
from prunus.errors import ConfigError, PlanError, TargetError
from prunus.methods.common import Journal, Outcome
from prunus.methods.history import Round, history_pruning
from prunus.tasks import Task
from prunus.training import EpochRecord, TrainConfig, evaluate

EXAMPLE = torch.zeros(1, 1, 8, 8)
FIRST = TrainConfig(epochs=4, batch_size=64, lr=0.05)
SHORT = replace(FIRST, epochs=1)


def test_history_pruning_goes_down_in_rounds(task: Task) -> None:
    torch.manual_seed(0)
    short = replace(FIRST, epochs=2)
    rounds = [Round(0.5, short, short), Round(0.0, short, short, {"conv1": 4, "conv2": 10})]
    out = history_pruning(models.lenet5(image_size=8), task, rounds=rounds, config=FIRST, tolerance=100.0)
    found = out.found
    assert found["channels"] == (
        {"conv1": 10, "conv2": 25, "fc1": 250},
        {"conv1": 6, "conv2": 15, "fc1": 250},
    )
    assert [{name: tuple(norms.shape) for name, norms in one.items()} for one in found["norms"]] == [
        {"conv1": (4, 20), "conv2": (4, 50), "fc1": (4, 500)},
        {"conv1": (2, 10), "conv2": (2, 25), "fc1": (2, 250)},
    ]
    assert [[len(pairs) for pairs in one.values()] for one in found["pairs"]] == [[10, 25, 250], [4, 10, 0]]
    for goes, stays in found["pairs"][0]["conv1"]:
        assert found["norms"][0]["conv1"][:, goes].sum() <= found["norms"][0]["conv1"][:, stays].sum()
    assert out.training is not None and [epoch.epoch for epoch in out.training.epochs] == [1, 2, 3, 4]
    assert out.tuning is not None and len(out.tuning.epochs) == 2 == out.trial_epochs
    assert all(trial.accepted for trial in out.trials)
    assert all(after < before for before, after in found["distances"])  # the pull makes pairs more alike
    assert (
        out.plan.after.macs == out.trials[-1].macs
        and out.verification.relative < 1e-5
        and out.dense is not None
    )
    assert [p.shape for p in out.model.parameters()] == [
        p.shape for p in prunus.compact(out.dense, out.plan).parameters()
    ]
    assert [step.value for step in out.steps] == [
        evaluate(one, task.samples("test"), task.normalisation).accuracy for one in (out.dense, out.model)
    ]
    assert out.steps[-1].value > 80


def test_rounds_may_be_a_number(task: Task) -> None:
    torch.manual_seed(0)
    out = history_pruning(
        models.lenet5(image_size=8), task, rounds=1, rate=0.3, pull_epochs=1, config=SHORT, tolerance=100.0
    )
    assert out.found["channels"] == ({"conv1": 14, "conv2": 35, "fc1": 350},)


def test_a_round_that_costs_too_much_is_undone(task: Task) -> None:
    torch.manual_seed(0)
    rounds = [Round(0.3, SHORT, SHORT), Round(0.0, SHORT, SHORT, {"conv1": 13, "conv2": 34, "fc1": 349})]
    out = history_pruning(models.lenet5(image_size=8), task, rounds=rounds, config=FIRST, tolerance=5.0)
    assert [trial.accepted for trial in out.trials] == [True, False]
    assert out.found["channels"][1] == {"conv1": 1, "conv2": 1, "fc1": 1}
    assert [layer.out_channels for layer in (out.model.conv1, out.model.conv2)] == [14, 35]
    assert out.plan.after.macs == out.trials[0].macs
    assert out.limit is not None and out.limit.lowest == max(out.limit.baseline, out.trials[0].metric) - 5.0


def test_an_earlier_training_takes_the_place_of_the_first(
    task: Task, trained: nn.Module, tmp_path: Path
) -> None:
    graph = prunus.trace(trained, EXAMPLE)
    norms, rounds = torch.rand(3, graph.num_channels), [Round(0.2, SHORT, SHORT)]
    out = history_pruning(trained, task, rounds=rounds, history=norms, tolerance=100.0)
    assert out.dense is not None
    # not trained again
    assert all(
        torch.equal(tensor, out.dense.state_dict()[name]) for name, tensor in trained.state_dict().items()
    )
    assert out.training is None and torch.equal(torch.cat(list(out.found["norms"][0].values()), 1), norms)
    with pytest.raises(PlanError, match=r"A history has shape \(epochs, 570\)"):
        history_pruning(trained, task, rounds=rounds, history=norms[:, 1:], tolerance=100.0)
    with pytest.raises(ConfigError, match="must be a folder with weight files"):
        history_pruning(trained, task, rounds=rounds, history=tmp_path)


def test_history_pruning_goes_on_where_it_stopped(task: Task, tmp_path: Path) -> None:
    short = replace(FIRST, epochs=2)
    rounds = [Round(0.5, short, short), Round(0.3, short, short)]
    few = Task(
        task.samples("train").subset(torch.arange(320)),
        task.samples("validation").subset(torch.arange(96)),
        task.samples("test").subset(torch.arange(96)),
        normalise=task.normalise,
    )

    def run(folder: Path, last: int | None = None, resume: bool = False) -> Outcome:
        torch.manual_seed(0)
        seen: list[str] = []

        def on_epoch(step: str, record: EpochRecord) -> None:
            seen.append(step)
            if len(seen) == last:
                raise KeyboardInterrupt

        folder.mkdir(exist_ok=True)
        journal = Journal(folder / "checkpoint.safetensors", resume=resume, on_epoch=on_epoch)
        return history_pruning(
            models.lenet5(image_size=8),
            few,
            rounds=rounds,
            config=replace(FIRST, epochs=3),
            tolerance=100.0,
            journal=journal,
        )

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", last=6)  # in the middle of the first retraining
    again = run(tmp_path / "broken", resume=True)
    assert (tmp_path / "broken" / "checkpoint-round-2-retraining.safetensors").exists()
    assert again.found["pairs"] == whole.found["pairs"]
    assert all(
        torch.equal(a, b) for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True)
    )


def test_without_an_accepted_round_nothing_goes(task: Task, trained: nn.Module) -> None:
    norms = torch.rand(3, prunus.trace(trained, EXAMPLE).num_channels)
    hurt = replace(SHORT, lr=1e-9)
    out = history_pruning(trained, task, rounds=[Round(0.9, hurt, hurt)], history=norms, tolerance=0.0)
    assert [trial.accepted for trial in out.trials] == [False] and out.plan.removed == 0
    assert out.notes == ("No trial kept the tolerance, so nothing was removed.",)
    assert out.steps[0].value == out.steps[1].value


def test_history_needs_held_out_samples(task: Task) -> None:
    bare = Task(task.train, test=task.test, normalise=task.normalise)
    with pytest.raises(TargetError, match="held-out"):
        history_pruning(models.lenet5(image_size=8), bare, rounds=[], config=SHORT)
