"""Networks without some of their blocks, and their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import randomised
from torch import nn

import prunus
from prunus import storage
from prunus.errors import FileFormatError, PlanError
from prunus.methods.block_removal import leave_out
from prunus.models.resnet import CifarResNet
from prunus.plans.plan import make_plan
from prunus.surgery.blocks import left_out, without_blocks

IMAGES = torch.randn(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6)


def whole() -> nn.Module:
    return randomised(CifarResNet(3, in_channels=1)).eval()


@torch.no_grad()
def loss(network: nn.Module) -> float:
    assert not network.training
    return float(F.cross_entropy(network(IMAGES), LABELS))


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
    # as `--blocks` alone leaves it
    kept = prunus.compact(first.model, make_plan(graph, np.zeros(graph.num_channels, dtype=bool)))
    second = leave_out(kept, IMAGES[:1], loss, 1)
    assert left_out(second.model) == (*first.blocks, *second.blocks)


def test_an_ordinary_file_says_nothing_of_blocks(tmp_path: Path) -> None:
    prunus.save(whole(), tmp_path / "model.safetensors")
    assert "left_out" not in storage.file.read_header(tmp_path / "model.safetensors")


def test_a_file_whose_blocks_are_no_names_is_refused(tmp_path: Path) -> None:
    shorter = without_blocks(whole(), ["layer1.1"])
    object.__setattr__(shorter, "prunus_left_out", (1,))
    with pytest.raises(FileFormatError, match="no list of names"):
        prunus.save(shorter, tmp_path / "model.safetensors")
