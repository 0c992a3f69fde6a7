"""Plans that remove nothing, or far less than asked, say so and name what holds most."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.errors import CompactError, TargetError
from prunus.plans.pins import holding


class Sorted(nn.Module):
    """Pinned by an operator that looks at all channels, and wide behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 192, 5), nn.Conv2d(192, 2, 1), nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y, order = self.first(x).sort(1)
        return self.last(self.second(y + order).relu())


def test_little_is_told_with_what_holds_most() -> None:
    graph = prunus.trace(Sorted().eval(), torch.zeros(1, 3, 16, 16))
    assert "sort" in holding(graph) and "%" in holding(graph)
    with pytest.warns(UserWarning, match=r"Only .* channels of Sorted go at rate=0\.5.*sort"):
        prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    with pytest.raises(TargetError, match=r"macs=0\.1 cannot be reached.*what holds most:.*sort"):
        prunus.plan(graph, prunus.scores.norm(graph), macs=0.1)


def test_rounding_that_leaves_everything_is_told() -> None:
    graph = prunus.trace(
        nn.Sequential(nn.Conv2d(3, 14, 3), nn.ReLU(), nn.Conv2d(14, 4, 1)).eval(), torch.zeros(1, 3, 16, 16)
    )
    with pytest.warns(UserWarning, match="Only 0 channels.*round_to=16"):
        prunus.plan(graph, prunus.scores.norm(graph), rate=0.5, round_to=16)


def test_what_the_user_asked_for_is_not_told() -> None:
    graph = prunus.trace(
        nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval(), torch.zeros(1, 3, 16, 16)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
        prunus.plan(graph, prunus.scores.norm(graph), rate=0.0)
        prunus.plan(graph, prunus.scores.norm(graph), rate=0.5, protect="0")


def test_the_dense_network_is_never_returned_in_silence() -> None:
    class Literal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.c((self.a(x).relu().mean((2, 3)) + self.b(self.a(x)).mean((2, 3))).view(-1, 16))

    model = Literal().eval()
    graph = prunus.trace(model, torch.zeros(1, 3, 16, 16))
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=0.5)
    with pytest.raises(CompactError, match=r"Nothing can be removed in the own class of Literal.*view"):
        prunus.compact(model, plan, prefer="eager")


@pytest.mark.parametrize("kind", [torch.optim.LBFGS])
def test_optimisers_that_keep_parameters_of_their_own_are_refused(
    kind: Callable[..., torch.optim.Optimizer],
) -> None:
    model, x = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 3)), torch.zeros(1, 3, 16, 16)
    graph = prunus.trace(model, x)
    optimizer = kind(model.parameters())
    with pytest.raises(CompactError, match=r"LBFGS keeps a list of parameters of its own \(_params\)"):
        prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5), optimizer=optimizer)
    assert optimizer.param_groups[0]["params"][0] is model[0].weight


def test_factored_state_is_refused() -> None:
    model, x = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(2, 3)
    graph = prunus.trace(model, x)
    optimizer = torch.optim.Adafactor(model.parameters())
    model(x).sum().backward()
    optimizer.step()
    with pytest.raises(CompactError, match="Adafactor keeps state that mixes the slots of a parameter"):
        prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5), optimizer=optimizer)
