"""Blocks that are left out, against trying every one by hand; and files of what is left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import randomised
from torch import Tensor, nn

import prunus
from prunus import data, storage
from prunus.errors import FileFormatError, PlanError, TargetError
from prunus.methods.block_removal import leave_out
from prunus.methods.common import Target
from prunus.methods.one_shot import one_shot
from prunus.models.resnet import CifarResNet
from prunus.plans.plan import make_plan
from prunus.surgery.blocks import left_out, without_blocks
from prunus.tasks import Task
from prunus.training import TrainConfig, evaluate, train

IMAGES = torch.randn(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6)
REMOVABLE = ("layer1.0", "layer1.1", "layer1.2", "layer2.1", "layer2.2", "layer3.1", "layer3.2")


def whole() -> nn.Module:
    return randomised(CifarResNet(3, in_channels=1)).eval()


@torch.no_grad()
def loss(network: nn.Module) -> float:
    assert not network.training
    return float(F.cross_entropy(network(IMAGES), LABELS))


@torch.no_grad()
def loss_by_hand(network: nn.Module, gone: set[str]) -> float:
    """Blocks are skipped by a hook, and nothing is replaced."""
    skipped = [
        network.get_submodule(name).register_forward_hook(lambda block, given, made: given[0])
        for name in gone
    ]
    found = float(F.cross_entropy(network(IMAGES), LABELS))
    for hook in skipped:
        hook.remove()
    return found


def test_each_time_the_block_goes_whose_absence_costs_least() -> None:
    network = whole()
    found = leave_out(network, IMAGES[:1], loss, 4)
    assert (
        found.removable == REMOVABLE
        and len(found.blocks) == 4
        and found.losses[0] == pytest.approx(loss(network))
    )
    gone: set[str] = set()
    for name, then in zip(found.blocks, found.losses[1:]):
        tried = {other: loss_by_hand(network, {*gone, other}) for other in REMOVABLE if other not in gone}
        assert then == pytest.approx(min(tried.values())) and tried[name] == pytest.approx(then)
        gone.add(name)
    assert (
        loss(found.model.eval()) == pytest.approx(found.losses[-1]) and left_out(found.model) == found.blocks
    )
    assert (
        not left_out(network)
        and prunus.trace(found.model, IMAGES[:1]).cost().macs < prunus.trace(network, IMAGES[:1]).cost().macs
    )


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_evenly_every_stage_loses_alike(count: int) -> None:
    network = whole()
    found = leave_out(network, IMAGES[:1], loss, count, evenly=True)
    gone: list[str] = []
    for name, then in zip(found.blocks, found.losses[1:]):
        left = {
            stage: [other for other in REMOVABLE if other.startswith(stage) and other not in gone]
            for stage in ("layer1", "layer2", "layer3")
        }
        shares = {stage: len(left[stage]) / {"layer1": 3, "layer2": 2, "layer3": 2}[stage] for stage in left}
        tried = {
            other: loss_by_hand(network, {*gone, other})
            for stage in left
            if shares[stage] == max(shares.values())
            for other in left[stage]
        }
        assert then == pytest.approx(min(tried.values())) and tried[name] == pytest.approx(then)
        gone.append(name)
    assert len(gone) == count


def test_until_it_is_enough() -> None:
    network = whole()
    size = sum(parameter.numel() for parameter in network.parameters())

    def small(other: nn.Module) -> bool:
        return sum(parameter.numel() for parameter in other.parameters()) < 0.6 * size

    found = leave_out(network, IMAGES[:1], loss, small)
    assert small(found.model) and not small(without_blocks(network, found.blocks[:-1]))
    assert leave_out(network, IMAGES[:1], loss, lambda other: True).blocks == ()
    with pytest.raises(TargetError, match="is not small enough without its 7 residual blocks"):
        leave_out(network, IMAGES[:1], loss, lambda other: False)


def test_a_network_is_asked_about_once() -> None:
    """What is measured may come out otherwise the next time."""
    answers = iter([False, True, False])
    found = leave_out(whole(), IMAGES[:1], loss, lambda other: next(answers))
    assert len(found.blocks) == 1


def test_what_cannot_be_left_out_is_said() -> None:
    with pytest.raises(TargetError, match="has 7 residual blocks that can be left out, not 8"):
        leave_out(whole(), IMAGES[:1], loss, 8)
    with pytest.raises(TargetError, match="has 0 residual blocks"):
        leave_out(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)).double(), IMAGES[:1], lambda _: 0.0, 1
        )
    graph = prunus.trace(whole(), IMAGES[:1])
    small = prunus.compact(whole(), prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    with pytest.raises(PlanError, match="lacks channels already"):
        leave_out(small, IMAGES[:1], loss, 1)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@torch.no_grad()
def test_files_of_what_is_left_are_read_with_the_whole_network(rate: float, tmp_path: Path) -> None:
    shorter = leave_out(whole(), IMAGES[:1], loss, 3)
    graph = prunus.trace(shorter.model, IMAGES[:1])
    small = prunus.compact(shorter.model, prunus.plan(graph, prunus.scores.norm(graph), rate=rate))
    for model in (shorter.model, small):
        prunus.save(model, tmp_path / "model.safetensors")
        for build in (whole, lambda: without_blocks(whole(), shorter.blocks)):
            again = prunus.load(tmp_path / "model.safetensors", build)
            assert torch.equal(again(IMAGES), model(IMAGES)) and left_out(again) == shorter.blocks
    assert storage.file.read_header(tmp_path / "model.safetensors")["left_out"] == list(shorter.blocks)
    with pytest.raises(PlanError, match="no module 'layer"):
        prunus.load(tmp_path / "model.safetensors", lambda: nn.Sequential(nn.Conv2d(1, 4, 3)).double())


def test_blocks_may_go_in_several_steps() -> None:
    first = leave_out(whole(), IMAGES[:1], loss, 1)
    graph = prunus.trace(first.model, IMAGES[:1])
    kept = prunus.compact(
        first.model, make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
    )  # as `--blocks` alone leaves it
    second = leave_out(kept, IMAGES[:1], loss, 1)
    assert left_out(second.model) == (*first.blocks, *second.blocks)


def test_an_ordinary_file_says_nothing_of_blocks(tmp_path: Path) -> None:
    prunus.save(whole(), tmp_path / "model.safetensors")
    assert "left_out" not in storage.file.read_header(tmp_path / "model.safetensors")


def task() -> Task:
    digits = data.load("digits")
    kept, held_out = digits.hold_out(0.2)
    return Task(kept, held_out, digits.test, normalise=digits.normalise)


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
        evaluate(outcome.model, samples.test, samples.normalise).accuracy
    )
    assert left_out(outcome.model) == outcome.blocks
    evenly = one_shot(network, samples, score=scored, target=Target("rate", 0.0), blocks=2, evenly=True)
    assert "of every stage alike, one after" in evenly.notes[0]


def test_a_tolerance_is_of_the_whole_network() -> None:
    torch.manual_seed(0)
    network, samples = CifarResNet(2, in_channels=1), task()
    outcome = one_shot(network, samples, score=scored, target=Target("tolerance", 100.0), blocks=1)
    assert samples.validation is not None and outcome.limit is not None
    assert outcome.limit.baseline == pytest.approx(
        evaluate(network, samples.validation, samples.normalise).accuracy
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


def test_a_file_whose_blocks_are_no_names_is_refused(tmp_path: Path) -> None:
    shorter = without_blocks(whole(), ["layer1.1"])
    object.__setattr__(shorter, "prunus_left_out", (1,))
    with pytest.raises(FileFormatError, match="no list of names"):
        prunus.save(shorter, tmp_path / "model.safetensors")
