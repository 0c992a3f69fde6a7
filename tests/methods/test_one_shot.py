"""The main job, with blocks that go before channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import prunus
from prunus import data
from prunus.errors import TargetError
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.models.resnet import CifarResNet
from prunus.surgery.blocks import left_out
from prunus.tasks import Task
from prunus.training import TrainConfig, evaluate, train


def task(count: int = 480) -> Task:
    """Some of the digits."""
    digits = data.load("digits")
    kept, held_out = digits.train.subset(torch.arange(count)), digits.train.subset(torch.arange(count, 720))
    return Task(kept, held_out, digits.test.subset(torch.arange(120)), normalise=digits.normalise)


def scored(graph: prunus.ChannelGraph) -> Tensor:
    return prunus.scores.norm(graph)


def test_the_main_job_leaves_out_blocks_before_channels() -> None:
    torch.manual_seed(0)
    network, samples, example = CifarResNet(2, in_channels=1), task(), torch.zeros(1, 1, 8, 8)
    before = prunus.trace(network, example).cost()
    tuning = TrainConfig(epochs=2, lr=0.05, batch_size=64)
    outcome = one_shot(
        network, samples, score=scored, target=Target("rate", 0.25), config=tuning, blocks=2, teach=True
    )
    assert outcome.blocks and outcome.before == before and outcome.plan.before.macs < before.macs
    assert [step.step for step in outcome.steps][:3] == ["before", "without blocks", "after removal"]
    assert (
        outcome.notes[0].endswith(f"rises least: {', '.join(outcome.blocks)}.") and outcome.tuning is not None
    )
    assert outcome.steps[-1].value == pytest.approx(
        evaluate(outcome.model, samples.samples("test"), samples.normalisation).accuracy
    )
    assert left_out(outcome.model) == outcome.blocks
    evenly = one_shot(network, samples, score=scored, target=Target("rate", 0.0), blocks=2, evenly=True)
    assert "of every stage alike, one after" in evenly.notes[0]


def test_a_tolerance_is_of_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prunus.planning.tolerance.STEPS", 3)
    torch.manual_seed(0)
    network, samples = CifarResNet(2, in_channels=1), task()
    outcome = one_shot(network, samples, score=scored, target=Target("tolerance", 100.0), blocks=1)
    assert samples.validation is not None and outcome.limit is not None
    assert outcome.limit.baseline == pytest.approx(
        evaluate(network, samples.samples("validation"), samples.normalisation).accuracy
    )


def test_a_tolerance_that_blocks_exceed_is_an_error() -> None:
    torch.manual_seed(0)
    network, samples = CifarResNet(3, in_channels=1), task()
    train(network, samples.train, TrainConfig(epochs=2, lr=0.05, batch_size=64), normalise=samples.normalise)
    with pytest.raises(TargetError, match="cannot be kept without 6 residual blocks: leave out fewer"):
        one_shot(network, samples, score=scored, target=Target("tolerance", 1.5), blocks=6)


def test_shares_are_of_the_whole_network() -> None:
    torch.manual_seed(0)
    network, samples = CifarResNet(2, in_channels=1), task()
    outcome = one_shot(network, samples, score=scored, target=Target("macs", 0.4), blocks=2)
    assert outcome.whole is not None and 0.3 < outcome.plan.after.macs / outcome.whole.macs <= 0.4
    enough = one_shot(network, samples, score=scored, target=Target("macs", 0.9), blocks=2)
    assert enough.plan.removed == 0 and enough.plan.before.macs < 0.9 * outcome.whole.macs
    with pytest.raises(TargetError, match="in milliseconds"):
        one_shot(network, samples, score=scored, target=Target("latency", 0.5), blocks=2)


def test_blocks_need_samples_and_a_teacher_needs_epochs() -> None:
    example = torch.zeros(1, 1, 8, 8)
    with pytest.raises(TargetError, match="by the loss on samples"):
        one_shot(
            CifarResNet(2, in_channels=1),
            None,
            score=scored,
            target=Target("rate", 0.1),
            blocks=1,
            example_inputs=example,
        )
    with pytest.raises(TargetError, match="for how many epochs"):
        one_shot(CifarResNet(2, in_channels=1), task(), score=scored, target=Target("rate", 0.1), teach=True)
