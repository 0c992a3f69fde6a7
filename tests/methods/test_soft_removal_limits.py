"""Soft pruning on networks and optimisers that cannot become smaller in the middle of a training, or not as a
whole, and on trainings of other kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.breaks import StopError
from tests.methods.nets import Normed
from tests.methods.removal import (
    CONFIG,
    DIGITS,
    FEW,
    IMAGE,
    Fixed,
    assert_alike,
    built,
    kept,
    trained,
    widths,
)
from torch import Tensor, nn

import prunus
from prunus.methods._data import callback
from prunus.methods.filter_norms import filter_norms
from prunus.methods.soft import SoftPruning, soft_pruning
from prunus.methods.soft_removal import zeros_in
from prunus.plans.mask import set_to_zero
from prunus.plans.slices import slices_of
from prunus.tasks import Task
from prunus.training import TrainConfig, train
from prunus.training.optimizers import new_optimizer


def test_an_optimiser_that_cannot_follow_keeps_the_masks() -> None:
    model, pruning, seen = built(Normed), SoftPruning(IMAGE, 0.4), list[int]()
    other = nn.Parameter(torch.zeros(3, dtype=torch.float64))  # of a loss, say
    optimizer = torch.optim.SGD([*model.parameters(), other], 0.1, momentum=0.9)
    with pytest.warns(UserWarning, match="masked, not removed, until the training ends"):
        train(
            model,
            FEW,
            CONFIG,
            normalise=DIGITS.normalise,
            optimizer=optimizer,
            pruning=pruning,
            on_step=widths(optimizer, seen),
        )
    assert set(seen) == {12} and pruning.frozen
    norms = filter_norms(pruning.traced(model), folded=True)
    assert pruning.gone is not None
    assert not norms[torch.from_numpy(pruning.gone.removed_in(pruning.traced(model)))].any()
    assert int((norms == 0).sum()) == pruning.gone.removed


class Attending(nn.Module):
    """Attention, which divides by the root of its heads' width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Conv2d(1, 16, 3), nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).transpose(1, 2)
        found: Tensor = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(found.mean(1))


def hooked() -> nn.Module:
    model = Normed()
    next(model.parameters()).register_hook(lambda gradient: 0.5 * gradient)
    return model


@pytest.mark.parametrize("build", [Attending, hooked])
def test_a_network_that_would_train_otherwise_keeps_its_masks(build: Callable[[], nn.Module]) -> None:
    """Weights that are multiplied to make up for a narrower head, and hooks on gradients."""
    seen: list[int] = []
    small = trained(build, CONFIG, seen)
    assert len(set(seen)) == 1 and "masked until the training ended" in " ".join(small[1].notes)
    assert_alike(small, trained(build, CONFIG, pruning={"remove": False}), bits=True)


def test_a_training_that_fails_leaves_what_was_learned_with_the_given_network() -> None:
    model, pruning, steps = built(Normed), SoftPruning(IMAGE, 0.4), list[int]()
    optimizer = new_optimizer(model, CONFIG)
    last: list[Tensor] = []

    def stop(done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 12:
            last.extend(p.detach().clone() for p in optimizer.param_groups[0]["params"])
            raise StopError

    options: dict[str, Any] = {"optimizer": optimizer, "pruning": pruning, "on_step": stop}
    with pytest.raises(StopError):
        train(model, FEW, CONFIG, normalise=DIGITS.normalise, **options)
    left = kept(model, pruning)
    for (name, parameter), learned in zip(model.named_parameters(), last, strict=True):
        found = left[name]
        assert learned.numel() < parameter.numel() or name == "head.bias"
        assert torch.equal(found[~found.isnan()], learned.flatten()), name


class Boxes(nn.Module):
    """Called as detectors are: it returns its losses in training, and boxes otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, images: list[Tensor], targets: list[Tensor] | None = None) -> Any:
        found = self.head(self.features(torch.stack(list(images))))
        if not self.training:
            return list(found)
        assert targets is not None
        return {"boxes": nn.functional.smooth_l1_loss(found, torch.stack(targets))}


def test_a_network_that_is_traced_in_part_goes_on_as_a_whole() -> None:
    draw = torch.Generator().manual_seed(0)
    images, boxes = (
        torch.rand(12, 1, 8, 8, generator=draw).double(),
        torch.rand(12, 4, generator=draw).double(),
    )
    pairs = [(list(images[i : i + 4]), list(boxes[i : i + 4])) for i in (0, 4, 8)]
    task = Task(pairs, pairs, pairs, loss="model", metric=lambda out, wanted: -torch.ones(len(out)))
    config = TrainConfig(epochs=4, lr=0.05)

    def once(remove: bool) -> tuple[nn.Module, SoftPruning, list[int]]:
        model = built(Boxes)
        core = prunus.core(model, lambda model, images: model.head(model.features(images)))
        pruning, seen = SoftPruning(images[:2], 0.5, remove=remove), list[int]()
        optimizer = new_optimizer(core, config)
        more: dict[str, Any] = {"optimizer": optimizer, "on_step": widths(optimizer, seen)}
        task.fit(core, config, pruning=callback(pruning, core), **more)
        return core, pruning, seen

    (small, pruning, seen), (dense, masked, others) = once(True), once(False)
    assert seen[-1] == 4 and set(others) == {8}
    theirs = kept(dense, masked)
    for name, value in kept(small, pruning).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-10, atol=1e-10, equal_nan=True)


def test_what_cannot_be_removed_stays_zero_in_the_smaller_network() -> None:
    """A forward that only fits some widths: its own class keeps the channels at hand, masked."""
    model, pruning = built(Fixed), SoftPruning(IMAGE, 0.4)
    pruning.before_training(model, 2)
    pruning.after_epoch(model, 0, 2)
    assert pruning.gone is not None
    graph = pruning.traced(model)
    removed = pruning.gone.attach(graph).removed_in(graph)
    slices = slices_of(graph, removed & (graph.group_of_channel == 0))  # the others must stay
    small = built(Fixed)
    small.a, small.b = nn.Conv2d(1, 5, 3), nn.Conv2d(5, 8, 3)
    stayed = removed & (graph.group_of_channel != 0)
    zeros = zeros_in(small, graph, stayed, slices)
    set_to_zero(zeros)
    gone = pruning.gone.groups[1].removed
    weight, bias = small.b.weight, small.b.bias
    assert len(gone) == 3 and bias is not None
    assert not weight[list(gone)].any() and not bias[list(gone)].any()
    left = [i for i in range(8) if i not in gone]
    assert weight[left].all() and small.a.weight.all()


def test_batches_with_a_loss_of_their_own() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.rand(48, 1, 16, 16, generator=generator, dtype=torch.float64)
    batches = [(part, part.round()) for part in noisy.split(16)]

    def once(remove: bool) -> tuple[nn.Module, SoftPruning, list[int]]:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1)
        ).double()
        pruning, seen, config = SoftPruning(noisy[:1], 0.5, remove=remove), list[int](), TrainConfig(epochs=4)
        optimizer = new_optimizer(model, config)
        train(
            model,
            batches,
            config,
            loss=nn.BCEWithLogitsLoss(),
            pruning=pruning,
            optimizer=optimizer,
            on_step=widths(optimizer, seen),
        )
        return model, pruning, seen

    (small, pruning, seen), (dense, masked, _) = once(True), once(False)
    assert seen[-1] == 4 and pruning.plan == masked.plan
    theirs = kept(dense, masked)
    for name, value in kept(small, pruning).items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-10, atol=1e-10, equal_nan=True)


def test_the_outcome_is_that_of_the_masked_training(task: Task) -> None:
    config, model = TrainConfig(epochs=4, lr=0.05, batch_size=256), Normed()
    small, masked = (
        soft_pruning(model, task, rate=0.4, remove=remove, config=config) for remove in (True, False)
    )
    assert small.plan == masked.plan and small.verification.exact
    assert small.dense is not None and small.dense.a.weight.shape[0] == 12
    assert [step.step for step in small.steps] == [step.step for step in masked.steps]
    assert small.metric == pytest.approx(masked.metric, abs=1.5)
    assert small.notes == masked.notes
