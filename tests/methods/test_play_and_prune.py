"""Play and prune: what is pulled, what falls, and that the game ends with the tolerance."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tests.channels.nets import channels, difference
from torch import Tensor, nn

import prunus
from prunus import data, models
from prunus.errors import PlanError, TargetError
from prunus.methods.importance import Penalty
from prunus.methods.play_and_prune import Round, play_and_prune, relative_norms, weakest_norm
from prunus.models.resnet import CifarResNet
from prunus.training import TrainConfig, evaluate, train

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
        assert torch.allclose(relative, torch.tensor([float(filter.abs().sum()) for filter in weight]).double() * len(sums) / sum(sums))
    assert float(penalty().detach()) == pytest.approx(wanted)
    penalty().backward()  # type: ignore[no-untyped-call]
    pulled = model.conv1.weight.grad.flatten(1).abs().sum(1) > 0
    assert int(pulled.sum()) == 5 and torch.allclose(model.conv1.weight.grad[pulled], 0.3 * model.conv1.weight.detach()[pulled].sign())


def test_a_residual_stream_is_pulled_in_every_layer_that_writes_to_it() -> None:
    torch.manual_seed(0)
    model = CifarResNet(1, in_channels=1).double()
    graph = prunus.trace(model, IMAGES)
    weakest_norm(model, graph, 0.5, 1.0)().backward()  # type: ignore[no-untyped-call]
    stem, branch = (model.get_parameter(name).grad.flatten(1).abs().sum(1) > 0 for name in ("conv1.weight", "layer1.0.conv2.weight"))
    assert torch.equal(stem, branch) and 0 < int(stem.sum()) < 16


class Played:
    """Fit and evaluate by hand: the metric falls as said, and every fit is noted; the first of a round makes some filters small."""

    def __init__(self, model: nn.Module, metrics: list[float], small: float = 0.01) -> None:
        self.original, self.metrics, self.small = model, iter(metrics), small
        self.strengths: list[float | None] = []

    def fit(self, model: nn.Module, penalty: Penalty | None) -> None:
        self.strengths.append(None if penalty is None else float(penalty().detach()) / float(model.conv1.weight.detach().abs().sum()))
        if penalty is not None:
            with torch.no_grad():
                model.conv1.weight[:2] *= self.small

    def evaluate(self, model: nn.Module) -> float:
        return next(self.metrics)


def test_the_strength_follows_what_is_left_of_the_tolerance() -> None:
    model = lenet()
    before = copy.deepcopy(model.state_dict())
    game, told = Played(model, [90.0, 89.5, 88.75, 87.9]), []
    found = play_and_prune(model, IMAGES, game.fit, game.evaluate, 2.0, alpha=1.0, strength=0.1, delta=0.2, on_round=told.append)
    assert [round_.room for round_ in found.rounds] == [2.0, 1.5, 0.75] and tuple(told) == found.rounds
    assert [round_.accepted for round_ in found.rounds] == [True, True, False]
    assert [round_.removed for round_ in found.rounds] == [2, 2, 2]
    assert game.strengths[1::2] == [None, None, None]
    assert found.baseline == 90.0 and found.plan is not None
    assert found.plan.removed == 4 and found.plan.after.macs == found.rounds[1].macs and found.model.conv1.out_channels == 16
    assert difference(found.model, prunus.compact(model, found.plan), IMAGES) < 0.5  # the same channels, shrunk on the way
    assert [p.shape for p in found.model.parameters()] == [p.shape for p in prunus.compact(model, found.plan).parameters()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_game_ends_where_nothing_falls_below_the_threshold() -> None:
    model = lenet()
    game = Played(model, [90.0, 90.0], small=1.0)
    found = play_and_prune(model, IMAGES, game.fit, game.evaluate, 1.0, delta=0.1)
    assert found.rounds == () and found.model is model and found.plan is None
    rounds: list[Round] = []
    play_and_prune(model, IMAGES, (other := Played(model, [90.0] * 9)).fit, other.evaluate, 1.0, delta=0.2, most=2, on_round=rounds.append)
    assert len(rounds) == 2


def test_digits_stay_within_the_tolerance() -> None:
    digits = data.load("digits")
    kept, held_out = digits.hold_out(0.3)
    torch.manual_seed(0)
    model = models.lenet5(image_size=8)
    train(model, kept, TrainConfig(epochs=3, batch_size=64, lr=0.05), normalise=digits.normalise)

    def fit(network: nn.Module, penalty: Penalty | None) -> None:
        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(outputs, labels) + (penalty() if penalty else 0.0)

        train(network, kept, TrainConfig(epochs=1, lr=0.03, batch_size=64), normalise=digits.normalise, loss=loss)

    def points(network: nn.Module) -> float:
        return evaluate(network, held_out, digits.normalise).accuracy

    found = play_and_prune(model, torch.zeros(1, 1, 8, 8), fit, points, 3.0, alpha=0.3, strength=1e-2, delta=0.2, most=2)
    assert found.plan is not None and found.plan.after.macs < found.plan.before.macs
    assert points(found.model) >= found.baseline - 3.0


def test_what_cannot_be_done_is_said() -> None:
    game = Played(lenet(), [90.0])
    with pytest.raises(TargetError, match="A tolerance is above 0"):
        play_and_prune(game.original, IMAGES, game.fit, game.evaluate, 0.0)
    with pytest.raises(PlanError, match="no channel that can go"):
        play_and_prune(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double(), IMAGES, game.fit, game.evaluate, 1.0)
