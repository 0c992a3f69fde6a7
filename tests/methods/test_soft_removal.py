"""Soft pruning goes on with a smaller network where filters are frozen: the weights are those of the masked
network, number by number, whatever is trained and however.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.breaks import StopError, stopping
from tests.methods.nets import Normed
from tests.methods.removal import (
    BUILDS,
    CONFIG,
    DIGITS,
    FEW,
    HELD,
    IMAGE,
    Unbiased,
    assert_alike,
    built,
    trained,
)
from torch import nn

from prunus.errors import TargetError
from prunus.methods.filter_norms import filter_norms
from prunus.methods.soft import SoftPruning
from prunus.models import resnet20
from prunus.training import TrainConfig, train


@pytest.mark.parametrize("name", BUILDS)
def test_the_small_network_learns_what_the_masked_one_learns(name: str) -> None:
    seen: list[int] = []
    small = trained(BUILDS[name], CONFIG, seen)
    assert seen[-1] < seen[0], "the last epochs ran on the dense network"
    assert_alike(small, trained(BUILDS[name], CONFIG, pruning={"remove": False}))
    assert not small[1].notes


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.0, "weight_decay": 0.0},
        {"optimizer": "adamw", "lr": 1e-3, "clip": 0.5},
        {"ema": 0.9, "augment": "crop-flip-cutout", "schedule": "onecycle", "warmup_steps": 3},
        {"keep": "best", "ema": 0.8, "channels_last": True, "first_size": 0.5},
        {"optimizer": "adam", "lr": 1e-3, "keep": "best", "label_smoothing": 0.1},
        {"average": 0.7, "augment": "crop-flip", "flips": "alternating"},
    ],
)
def test_the_settings_of_the_training_make_no_difference(changes: dict[str, Any]) -> None:
    config = TrainConfig(**{"epochs": 5, "lr": 0.05, "batch_size": 40, **changes})
    seen: list[int] = []
    small = trained(Normed, config, seen, validation=HELD)
    assert seen[-1] < seen[0]
    if small[1].gone is not None:  # the best epoch may have been before
        assert_alike(small, trained(Normed, config, pruning={"remove": False}, validation=HELD))


def test_an_own_loop_with_masks_ends_in_the_same_weights() -> None:
    """Two epochs soft by `train`, and the other two once more by hand: every step of the whole network, with
    what is gone set to zero before and after.
    """
    model, orders = built(Normed), torch.Generator().manual_seed(0)
    pruning = SoftPruning(IMAGE, 0.4)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    images = ((FEW.images.double() / 255) - DIGITS.normalise[0][0]) / DIGITS.normalise[1][0]
    pruning.before_training(model, 4)
    for epoch in range(4):
        for part in torch.randperm(len(FEW), generator=orders).tensor_split(-(-len(FEW) // 40)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[part]), FEW.labels[part]).backward()
            for name, mask in pruning.surviving(model).items():
                gradient = dict(model.named_parameters())[name].grad
                assert gradient is not None
                gradient *= mask
            optimizer.step()
            pruning.after_step(model)
        pruning.after_epoch(model, epoch, 4)
    assert pruning.frozen
    config = TrainConfig(epochs=4, lr=0.05, batch_size=40, schedule="constant")
    assert_alike(trained(Normed, config), (model, pruning))


def test_a_rate_that_grows_removes_in_stages() -> None:
    stages = {"rate": 0.5, "growth": "asymptotic", "stages": 3}
    config = TrainConfig(epochs=8, lr=0.05, batch_size=40, ema=0.8)
    seen: list[int] = []
    small = trained(Normed, config, seen, pruning=stages)
    steps = len(seen) // 8
    found = [seen[epoch * steps] for epoch in range(8)]
    assert found == sorted(found, reverse=True) and len(set(found)) >= 3, found
    assert_alike(small, trained(Normed, config, pruning={**stages, "remove": False}))
    assert min(entry.alive["a"] for entry in small[1].record) == 6
    with pytest.raises(TargetError, match="several where the rate grows"):
        SoftPruning(IMAGE, 0.3, stages=2)


def test_what_went_in_a_stage_never_comes_back() -> None:
    model, pruning = built(Normed), SoftPruning(IMAGE, 0.5, growth="asymptotic", stages=2)
    gone: set[int] = set()
    for epoch in range(6):
        if epoch == 0:
            pruning.before_training(model, 6)
        with torch.no_grad():  # as if a step had made everything large again
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter))
        pruning.after_step(model)
        norms = filter_norms(pruning.traced(model), folded=True)
        assert all(norms[channel] == 0 for channel in gone)
        pruning.after_epoch(model, epoch, 6)
        graph = pruning.traced(model)
        if pruning.gone is not None:
            now = set(pruning.gone.removed_in(graph).nonzero()[0].tolist())
            assert gone <= now
            gone = now
    assert len(gone) == 14


def test_widths_are_rounded() -> None:
    model = resnet20(in_channels=1)
    rounding: tuple[Any, ...] = (8, "auto")
    for round_to in rounding:
        pruning = SoftPruning(torch.zeros(1, 1, 8, 8), 0.3, round_to=round_to, from_start=True)
        pruning.before_training(model, 2)
        graph = pruning.traced(model)
        wide = {group.name: group.size for group in graph.groups}
        nearest = {16: 8, 32: 24, 64: 48}  # to 12, 23 and 45: of two as near the smaller one
        assert pruning.record[-1].alive == {name: nearest[size] for name, size in wide.items()}


def test_narrow_layers_are_pruned_where_rounding_is_automatic() -> None:
    layers = [nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10)]
    pruning = SoftPruning(torch.zeros(1, 1, 8, 8), 0.3, round_to="auto", from_start=True)
    pruning.before_training(nn.Sequential(*layers), 2)
    assert list(pruning.record[-1].alive.values()) == [4, 8]  # for 5 and 9


def test_constants_that_no_bias_can_take_stay_until_the_end() -> None:
    seen: list[int] = []
    small = trained(Unbiased, CONFIG, seen)
    assert set(seen) == {8}
    assert_alike(small, trained(Unbiased, CONFIG, pruning={"remove": False}))
    assert "masked until the training ended" in small[1].notes[0]


@pytest.mark.parametrize("stages", [{}, {"growth": "asymptotic", "stages": 2, "rate": 0.5}])
@pytest.mark.parametrize("changes", [{"ema": 0.9}, {"optimizer": "adamw", "channels_last": True}])
def test_broken_off_anywhere_it_goes_on_bit_by_bit(
    tmp_path: Path, changes: dict[str, Any], stages: dict[str, Any]
) -> None:
    config, path = TrainConfig(epochs=4, lr=0.01, batch_size=40, **changes), tmp_path / "checkpoint"

    def once(stop: int, checkpoint: Path | None) -> tuple[nn.Module, SoftPruning]:
        kept: dict[str, Any] = {"checkpoint": checkpoint, "checkpoint_seconds": 0.0, "resume": True}
        return trained(Normed, config, on_step=stopping(stop), pruning=stages, **kept)

    whole = once(-1, None)
    for stop in (2, 3, 3, 2):  # twelve steps in all
        with pytest.raises(StopError):
            once(stop, path)
    for found in (once(-1, path), once(-1, path)):
        assert_alike(whole, found, bits=True)


def test_the_optimiser_that_was_given_is_that_of_the_given_network_again() -> None:
    model = built(Normed)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    train(
        model, FEW, CONFIG, normalise=DIGITS.normalise, optimizer=optimizer, pruning=SoftPruning(IMAGE, 0.4)
    )
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == set(
        map(id, model.parameters())
    )
    for parameter in model.parameters():
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
        assert optimizer.state[parameter]["momentum_buffer"].any()
