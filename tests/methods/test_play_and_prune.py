"""Play and prune: what is pulled, what falls, and that the game ends with the tolerance."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.methods.fakes import Penalty, fake
from tests.paint.nets import channels, difference
from torch import nn

import prunus
from prunus import models
from prunus.errors import PlanError, TargetError
from prunus.methods.play_and_prune import play_and_prune, relative_norms, weakest_norm
from prunus.models.resnet import CifarResNet
from prunus.tasks import Task
from prunus.training import TrainConfig

IMAGES = torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return models.lenet5(image_size=8).double().eval()


def test_the_weakest_filters_of_every_group_are_pulled() -> None:
    model = lenet()
    graph = prunus.trace(model, IMAGES)
    penalty = weakest_norm(model, graph, 0.25, 0.3)
    wanted = 0.0
    for name, count in (("conv1", 5), ("conv2", 12), ("fc1", 125)):
        weight = model.get_parameter(f"{name}.weight").detach()
        sums = sorted(float(filter.abs().sum()) for filter in weight)
        wanted += 0.3 * sum(sums[:count])
        relative = relative_norms(graph)[channels(graph, f"{name}.weight")]
        assert torch.allclose(
            relative,
            torch.tensor([float(filter.abs().sum()) for filter in weight]).double() * len(sums) / sum(sums),
        )
    assert float(penalty().detach()) == pytest.approx(wanted)
    penalty().backward()
    pulled = model.conv1.weight.grad.flatten(1).abs().sum(1) > 0
    assert int(pulled.sum()) == 5 and torch.allclose(
        model.conv1.weight.grad[pulled], 0.3 * model.conv1.weight.detach()[pulled].sign()
    )


def test_a_residual_stream_is_pulled_in_every_layer_that_writes_to_it() -> None:
    torch.manual_seed(0)
    model = CifarResNet(1, in_channels=1).double()
    graph = prunus.trace(model, IMAGES)
    weakest_norm(model, graph, 0.5, 1.0)().backward()
    slopes: dict[str, Any] = {name: parameter.grad for name, parameter in model.named_parameters()}
    stem, branch = (
        slopes[name].flatten(1).abs().sum(1) > 0 for name in ("conv1.weight", "layer1.0.conv2.weight")
    )
    assert torch.equal(stem, branch) and 0 < int(stem.sum()) < 16


class Game:
    """Fit and evaluate by hand: the metric falls as said, and every fit is noted; the first of a round makes
    some filters small.
    """

    def __init__(self, model: nn.Module, metrics: list[float], small: float = 0.01) -> None:
        self.original, self.metrics, self.small = model, iter(metrics), small
        self.strengths: list[float | None] = []
        self.task = fake(self.fit, IMAGES)

    def fit(self, model: nn.Module, penalty: Penalty | None) -> None:
        self.strengths.append(
            None
            if penalty is None
            else float(penalty().detach()) / float(model.conv1.weight.detach().abs().sum())
        )
        if penalty is not None:
            with torch.no_grad():
                model.conv1.weight[:2] *= self.small

    def evaluate(self, model: nn.Module) -> float:
        return next(self.metrics)


def test_the_strength_follows_what_is_left_of_the_tolerance() -> None:
    model = lenet()
    before = copy.deepcopy(model.state_dict())
    game = Game(model, [90.0, 89.5, 88.75, 87.9])
    told: list[Any] = []
    found = play_and_prune(
        model,
        game.task,
        tolerance=2.0,
        alpha=1.0,
        strength=0.1,
        delta=0.2,
        evaluate=game.evaluate,
        on_trial=told.append,
    )
    assert found.found["rooms"] == (2.0, 1.5, 0.75) and tuple(told) == found.trials
    assert [trial.accepted for trial in found.trials] == [True, True, False]
    assert [round(trial.rate * found.graph.num_channels) for trial in found.trials] == [2, 4, 6]
    assert game.strengths[1::2] == [None, None, None]
    assert found.limit is not None and found.limit.baseline == 90.0
    assert (
        found.plan.removed == 4
        and found.plan.after.macs == found.trials[1].macs
        and found.model.conv1.out_channels == 16
    )
    # the same channels, shrunk on the way
    assert difference(found.model, prunus.compact(model, found.plan), IMAGES) < 0.5
    assert [p.shape for p in found.model.parameters()] == [
        p.shape for p in prunus.compact(model, found.plan).parameters()
    ]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_game_ends_where_nothing_falls_below_the_threshold() -> None:
    model = lenet()
    game = Game(model, [90.0, 90.0], small=1.0)
    found = play_and_prune(model, game.task, tolerance=1.0, delta=0.1, evaluate=game.evaluate)
    assert found.trials == () and found.plan.removed == 0
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), model.parameters(), strict=True))
    other = Game(model, [90.0] * 9)
    assert (
        len(
            play_and_prune(
                model, other.task, tolerance=1.0, delta=0.2, rounds=2, evaluate=other.evaluate
            ).trials
        )
        == 2
    )


def test_a_group_of_a_group_norm_stays_whole_when_it_is_the_last() -> None:
    """Its slots are channels of their own by then, but not of the network that the plan is of."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.AdaptiveMaxPool2d(1)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 10)).double().eval()

    def weaken(network: nn.Module, penalty: Penalty | None) -> None:
        weight = network.get_parameter("0.weight").detach()
        weight[: 4 if len(weight) == 8 else 2] *= 0.01
        network.get_parameter("3.weight").detach()[:1] *= 0.01

    found = play_and_prune(
        model, fake(weaken, IMAGES), tolerance=1.0, delta=0.2, rounds=2, evaluate=lambda network: 90.0
    )
    assert [p.shape for p in found.model.parameters()] == [
        p.shape for p in prunus.compact(model, found.plan).parameters()
    ]
    assert (len(found.trials), found.model.get_parameter("0.weight").shape[0]) == (2, 4)


def test_digits_stay_within_the_tolerance(task: Task, trained: nn.Module) -> None:
    def points(network: nn.Module) -> float:
        return task.value(network, "validation")

    config = TrainConfig(epochs=1, lr=0.03, batch_size=64)
    found = play_and_prune(
        trained, task, tolerance=3.0, alpha=0.3, delta=0.2, rounds=2, config=config, evaluate=points
    )
    assert found.plan.after.macs < found.plan.before.macs
    assert points(found.model) >= points(trained) - 3.0


def test_what_cannot_be_done_is_said() -> None:
    game = Game(lenet(), [90.0])
    with pytest.raises(TargetError, match="A tolerance is above 0"):
        play_and_prune(game.original, game.task, tolerance=0.0)
    with pytest.raises(PlanError, match="no channel that can go"):
        play_and_prune(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double(), game.task, evaluate=game.evaluate
        )
