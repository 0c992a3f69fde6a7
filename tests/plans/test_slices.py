"""What is left of a tensor is what picking slot by slot leaves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.paint.nets import random_plan, randomised
from torch import nn

import prunus
from prunus.plans import slices
from prunus.plans.slices import cut, slices_of


@pytest.mark.parametrize("block", [1 << 18, 20])
def test_a_cut_picks_the_kept_slots_in_portions_or_at_once(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "_BLOCK", block)
    tensor = torch.randn(7, 5, 3)
    for axes in ({0: [6, 1]}, {1: [0, 4]}, {0: [0, 2, 5], 1: [3, 1]}, {0: [1], 1: [2], 2: [0, 2]}):
        kept = {axis: np.array(slots) for axis, slots in axes.items()}
        wanted = tensor
        for axis, slots in axes.items():
            wanted = torch.stack([wanted.select(axis, slot) for slot in slots], axis)
        assert torch.equal(cut(tensor, kept), wanted)


def test_channels_stay_last() -> None:
    for shape, order in (((7, 5, 3, 3), torch.channels_last), ((7, 5, 3, 3, 3), torch.channels_last_3d)):
        tensor = torch.randn(shape)
        kept = {0: np.array([0, 3, 4]), 1: np.array([1, 2])}
        last = cut(tensor.contiguous(memory_format=order), kept)
        assert torch.equal(last, cut(tensor, kept))
        assert last.is_contiguous(memory_format=order)
        assert cut(tensor, kept).is_contiguous()


def test_a_parameter_stays_one_with_what_hangs_on_it() -> None:
    parameter = nn.Parameter(torch.randn(4, 2), requires_grad=False)
    parameter.decay = 0.5  # type: ignore[attr-defined]
    small = cut(parameter, {0: np.array([1, 3])})
    assert isinstance(small, nn.Parameter) and not small.requires_grad and small.decay == 0.5  # type: ignore[attr-defined]
    assert type(cut(torch.zeros(3), {0: np.array([0])})) is torch.Tensor


def test_every_axis_that_loses_channels_is_named_with_what_stays() -> None:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1)))
    graph = prunus.trace(model, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
    plan = random_plan(graph)
    kept = [i for i in range(6) if i not in plan.groups[0].removed]
    found = slices_of(graph, plan.removed_in(graph))
    names = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    assert set(found) == {*names, "2.weight"}
    assert all(found[name][0].tolist() == kept for name in names)
    assert found["2.weight"].keys() == {1} and found["2.weight"][1].tolist() == kept
