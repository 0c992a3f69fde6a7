"""Soft filter pruning: the rate's curve, what is zeroed and what is not, regrowth, and an exact compact
network at the end.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.data import load
from prunus.errors import TargetError
from prunus.methods.soft import SoftPruning, asymptotic_rate, filter_norms
from prunus.models import lenet5, resnet20
from prunus.training import TrainConfig, train

DIGITS = load("digits")
FEW = DIGITS.train.subset(torch.arange(0, 1442, 6))
IMAGE = torch.randn(1, 1, 8, 8)


class Residual(nn.Module):
    """A stem, one block around which a shortcut leads, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.first, self.inner = nn.Conv2d(10, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.outer = nn.Conv2d(8, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.head = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.outer(self.second(self.inner(self.first(x)).relu()))).relu()
        return self.head(x.mean(dim=(2, 3)))


def network() -> Residual:
    torch.manual_seed(0)
    return Residual()


def run(model: nn.Module, pruning: SoftPruning, epochs: int = 3, **options: Any) -> None:
    train(
        model,
        FEW,
        TrainConfig(epochs=epochs, lr=0.05, batch_size=64),
        normalise=DIGITS.normalise,
        pruning=pruning,
        **options,
    )


@pytest.mark.parametrize(("goal", "first"), [(0.3, 0.0), (0.4, 0.1), (0.6, 0.05)])
def test_the_growing_rate_goes_through_its_three_points(goal: float, first: float) -> None:
    found = [asymptotic_rate(t, goal, first) for t in (0, 1 / 8, 1)]
    assert found == pytest.approx([first, 0.75 * goal, goal], abs=1e-9)
    curve = [asymptotic_rate(t / 100, goal, first) for t in range(101)]
    assert all(a < b for a, b in pairwise(curve))


def test_the_growing_rate_is_the_published_curve() -> None:
    """P(e) = P (1 - exp(-11.09 e / E)), 8 ln 4 = 11.09; a published fit for P = 30 % and 200 epochs is 30
    exp(-0.055 e) + 70 per cent kept.
    """
    for epoch in range(0, 201, 10):
        rate = asymptotic_rate(epoch / 200, 0.3)
        assert rate == pytest.approx(0.3 * (1 - math.exp(-8 * math.log(4) * epoch / 200)), abs=2e-5)
        assert 100 * (1 - rate) == pytest.approx(30 * math.exp(-0.055 * epoch) + 70, abs=0.2)


def test_rates_that_cannot_be_are_refused() -> None:
    with pytest.raises(TargetError, match="a rate from 0 to below 1"):
        SoftPruning(IMAGE, 1.0)
    with pytest.raises(TargetError, match=r"A rate that grows from 0\.28 to 0\.3"):
        SoftPruning(IMAGE, 0.3, growth="asymptotic", first_rate=0.28)
    assert asymptotic_rate(0.5, 0.0) == 0


def weakest(weights: list[Tensor], rate: float) -> set[int]:
    """The filters of the lowest mean norm, one by one."""
    norms = [
        sum(math.sqrt(sum(float(v) ** 2 for v in w[i].detach().flatten())) for w in weights) / len(weights)
        for i in range(len(weights[0]))
    ]
    order = sorted(range(len(norms)), key=lambda i: norms[i])
    return set(order[: math.floor(rate * len(norms) + 1e-9)])


def test_the_weakest_filters_are_zeroed_and_nothing_else() -> None:
    model, twin = network(), network()
    pruning = SoftPruning(IMAGE, 0.3, folded=False, from_start=True)
    pruning.before_training(model, 5)
    stream = weakest([twin.stem.weight, twin.second.weight], 0.3)
    inner = weakest([twin.first.weight], 0.3)
    assert len(stream) == 3 and len(inner) == 2
    for name, mine in model.named_parameters():
        other = dict(twin.named_parameters())[name].clone()
        gone = {"stem.weight": stream, "second.weight": stream, "first.weight": inner}.get(name, set())
        with torch.no_grad():
            other[list(gone)] = 0
        assert torch.equal(mine, other), name


def fused(layer: nn.Module, norm: nn.Module) -> Tensor:
    """The filters of one layer that does what both do."""
    filters = layer.weight.detach().clone()
    for i in range(len(filters)):
        filters[i] *= norm.weight[i] / math.sqrt(norm.running_var[i] + norm.eps)
    return filters


def uneven(model: Residual) -> Residual:
    """Batch norms that multiply every channel by another number."""
    for norm in (model.norm, model.inner, model.outer):
        assert norm.running_var is not None
        for tensor in (norm.weight.data, norm.bias.data, norm.running_var):
            tensor.copy_(torch.rand(len(tensor)) + 0.2)
    return model


def test_filters_are_taken_together_with_their_batch_norm() -> None:
    """Chosen by what both do, and set to zero by its scale: the outputs are those of a zero filter, and
    nothing else changes.
    """
    model, twin = uneven(network()), uneven(network())
    twin.load_state_dict(model.state_dict())
    SoftPruning(IMAGE, 0.3, from_start=True).before_training(model, 5)
    stream = weakest([fused(twin.stem, twin.norm), fused(twin.second, twin.outer)], 0.3)
    inner = weakest([fused(twin.first, twin.inner)], 0.3)
    assert stream != weakest([twin.stem.weight, twin.second.weight], 0.3)
    gone = {"norm": stream, "outer": stream, "inner": inner}
    for name, mine in model.named_parameters():
        other = dict(twin.named_parameters())[name].clone()
        layer, _, kind = name.partition(".")
        with torch.no_grad():
            other[list(gone.get(layer, set()) if kind == "weight" else set())] = 0
        assert torch.equal(mine, other), name
    with torch.no_grad():
        pairs: Any = ((twin.stem, twin.norm), (twin.first, twin.inner), (twin.second, twin.outer))
        for filters, norm in pairs:
            slots = list(inner if norm is twin.inner else stream)
            filters.weight[slots], norm.running_mean[slots] = 0, 0
    images = torch.randn(4, 1, 8, 8)
    for training in (False, True):
        torch.testing.assert_close(model.train(training)(images), twin.train(training)(images))


def test_a_filter_without_a_batch_norm_is_zeroed_itself() -> None:
    model, pruning = lenet5(image_size=8), SoftPruning(IMAGE, 0.3, from_start=True)
    pruning.before_training(model, 5)
    assert pruning.plan is not None
    graph = pruning.traced(model)
    np.testing.assert_array_equal(filter_norms(graph).numpy() == 0, pruning.plan.removed_in(graph))


def test_filters_with_their_batch_norm_go_on_learning() -> None:
    """Scales that were set to zero are not zero any more when the next epoch has begun."""
    model, pruning = network(), SoftPruning(IMAGE, 0.4, freeze=0)
    looked: list[Tensor] = []

    def look(done: int, total: int) -> None:
        if pruning.plan is not None and pruning.record:
            looked.append(model.inner.weight[torch.tensor(pruning.plan.groups[1].removed)].detach())

    run(model, pruning, epochs=4, on_step=look)
    assert looked and all(len(scales) == 3 and bool(scales.any()) for scales in looked)
    assert not model.inner.weight[torch.tensor(pruning.plan.groups[1].removed)].any()  # type: ignore[union-attr]


def test_filters_grow_back_and_the_last_epoch_ends_with_zeros() -> None:
    model, pruning = network(), SoftPruning(IMAGE, 0.4, freeze=0, folded=False)
    zeros_while_training: list[int] = []

    def look(done: int, total: int) -> None:
        zeros_while_training.append(int((model.first.weight.flatten(1).norm(dim=1) == 0).sum()))

    run(model, pruning, epochs=4, on_step=look)
    assert set(zeros_while_training) == {0}
    assert [s.epoch for s in pruning.record] == [0, 1, 2, 3]
    assert sum(s.regrown for s in pruning.record) > 0
    assert pruning.plan is not None
    assert (
        int((model.first.weight.flatten(1).norm(dim=1) == 0).sum())
        == 3
        == len(pruning.plan.groups[1].removed)
    )
    assert list(pruning.record[-1].alive.values()) == [6, 5]


def test_pruning_every_few_epochs_ends_with_one_too() -> None:
    for freeze, epochs in ((0, [1, 3, 4]), (0.4, [1, 2])):
        pruning = SoftPruning(IMAGE, 0.3, every=2, freeze=freeze)
        run(network(), pruning, epochs=5)
        assert [s.epoch for s in pruning.record] == epochs


def test_in_the_last_part_no_filter_grows_back_and_the_others_learn_on() -> None:
    model, pruning = network(), SoftPruning(IMAGE, 0.4, freeze=0.5)
    norms: list[Tensor] = []
    run(
        model,
        pruning,
        epochs=4,
        on_step=lambda done, total: norms.append(model.first.weight.detach().flatten(1).norm(dim=1)),
    )
    steps = len(norms) // 4
    zeros = [int((norm == 0).sum()) for norm in norms]
    assert zeros == [0] * 2 * steps + [3] * 2 * steps
    assert [s.epoch for s in pruning.record] == [0, 1]
    assert not torch.equal(norms[-1], norms[2 * steps])
    with pytest.raises(TargetError, match="frozen lies from 0 to below 1, not 1"):
        SoftPruning(IMAGE, 0.4, freeze=1)


def test_what_is_zeroed_before_anything_is_learned_stays_zero_behind_a_rectifier() -> None:
    """Why pruning before the first epoch is not the default."""
    model, pruning = network(), SoftPruning(IMAGE, 0.4, folded=False, from_start=True)
    pruning.before_training(model, 3)
    dead = model.first.weight.flatten(1).norm(dim=1) == 0
    train(model, FEW, TrainConfig(epochs=2, lr=0.05, batch_size=64), normalise=DIGITS.normalise)
    assert int(dead.sum()) == 3 and bool((model.first.weight[dead] == 0).all())
    assert bool((model.first.weight[~dead].flatten(1).norm(dim=1) > 0).all())


def test_the_average_of_the_weights_is_pruned_too() -> None:
    model, pruning = network(), SoftPruning(IMAGE, 0.4, freeze=0.4)
    train(
        model,
        FEW,
        TrainConfig(epochs=3, lr=0.05, ema=0.95, batch_size=64),
        normalise=DIGITS.normalise,
        pruning=pruning,
    )
    assert pruning.plan is not None
    graph = prunus.trace(model.eval(), IMAGE)
    np.testing.assert_array_equal(filter_norms(graph).numpy() == 0, pruning.plan.removed_in(graph))


def test_layers_have_their_rate_where_the_others_have_none() -> None:
    pruning = SoftPruning(IMAGE, 0.0, rates={"first": 0.5})
    run(network(), pruning, epochs=1)
    assert pruning.record[-1].alive == {"stem": 10, "first": 4}


def test_wrong_patterns_are_found_before_the_first_epoch() -> None:
    steps: list[int] = []
    with pytest.raises(prunus.PrunusError, match="no_such_layer"):
        run(
            network(),
            SoftPruning(IMAGE, 0.3, protect=["no_such_layer"]),
            on_step=lambda done, total: steps.append(done),
        )
    assert not steps


def test_the_rate_grows_and_layers_have_rates_of_their_own() -> None:
    pruning = SoftPruning(IMAGE, 0.5, growth="asymptotic", rates={"first": 0.25}, protect=["stem"], freeze=0)
    run(network(), pruning, epochs=4)
    assert [s.rate for s in pruning.record] == pytest.approx(
        [asymptotic_rate(t / 4, 0.5) for t in range(1, 5)]
    )
    assert [s.alive["stem"] for s in pruning.record] == [10] * 4
    assert pruning.record[-1].alive["first"] == 6


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("freeze", [0, 0.5])
@pytest.mark.parametrize("build", [network, lambda: lenet5(image_size=8), lambda: resnet20(in_channels=1)])
def test_what_is_zero_at_the_end_goes_exactly(build: Any, freeze: float, folded: bool) -> None:
    torch.manual_seed(0)
    model, pruning = build(), SoftPruning(IMAGE, 0.3, freeze=freeze, folded=folded)
    run(model, pruning, epochs=2)
    assert pruning.plan is not None
    graph = prunus.trace(model.eval(), IMAGE)
    zero = filter_norms(graph, folded=folded).numpy() == 0
    np.testing.assert_array_equal(zero, pruning.plan.removed_in(graph))
    small = prunus.compact(model.double(), pruning.plan)
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    assert small.prunus.plan.exact
    torch.testing.assert_close(
        small(images), prunus.mask(model, pruning.plan)(images), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("ema", [0.0, 0.95])
def test_after_the_freeze_nothing_is_lost_when_the_channels_go(ema: float) -> None:
    """What batch norm adds to a zero filter counts with the published way, and is gone without it."""
    for freeze in (0.5, 0):
        model, pruning = network().double(), SoftPruning(IMAGE.double(), 0.3, freeze=freeze)
        for norm in (model.norm, model.inner, model.outer):
            nn.init.constant_(norm.bias, 0.5)
        train(
            model,
            FEW,
            TrainConfig(epochs=4, lr=0.05, ema=ema, batch_size=64),
            normalise=DIGITS.normalise,
            pruning=pruning,
        )
        assert pruning.plan is not None and pruning.frozen == (freeze > 0)
        images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
        difference = (prunus.compact(model.eval(), pruning.plan)(images) - model(images)).abs().max()
        assert (difference < 1e-12) == pruning.frozen


def test_a_resumed_training_prunes_on_as_it_would_have(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def once(stop: int, path: Path | None) -> tuple[nn.Module, SoftPruning]:
        model, pruning, steps = network(), SoftPruning(IMAGE, 0.4, growth="asymptotic"), iter(range(10**6))

        def count(done: int, total: int) -> None:
            if next(steps) == stop:
                raise StopError

        run(model, pruning, epochs=4, checkpoint=path, checkpoint_seconds=0.0, resume=True, on_step=count)
        return model, pruning

    (model, pruning), path = once(-1, None), tmp_path / "checkpoint"
    for stop in (2, 5, 6):  # the last one in the frozen part
        with pytest.raises(StopError):
            once(stop, path)
    found, resumed = once(-1, path)
    assert resumed.record == pruning.record and resumed.plan == pruning.plan
    theirs = found.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name]), name
