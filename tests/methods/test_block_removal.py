"""Blocks that are left out, against trying every one by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import randomised
from torch import nn

import prunus
from prunus.errors import PlanError, TargetError
from prunus.methods.block_removal import leave_out
from prunus.models.resnet import CifarResNet
from prunus.surgery.blocks import left_out, without_blocks

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
