"""What all scores of one channel at a time have in common: shapes, inputs, and a model that is left alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, randomised
from tests.scores.coupled import IMAGE, LABELS
from torch import Tensor, nn

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.models import resnet20
from prunus.paint.graph import ChannelGraph


def test_taylor_and_activation_need_a_batch(graph: ChannelGraph) -> None:
    with pytest.raises(PlanError, match="at least one batch"):
        scores.taylor(graph, [], F.cross_entropy)
    with pytest.raises(PlanError, match="at least one batch"):
        scores.activation_mean(graph, [])


SCORES: dict[str, Callable[[ChannelGraph, Tensor], Tensor]] = {
    "norm": lambda g, _: scores.norm(g),
    "bn_scale": lambda g, _: scores.bn_scale(g),
    "geometric_median": lambda g, _: scores.geometric_median(g),
    "taylor": lambda g, x: scores.taylor(g, [(x, torch.zeros(len(x), dtype=torch.int64))], F.cross_entropy),
    "activation_mean": lambda g, x: scores.activation_mean(g, [x]),
    "random": lambda g, _: scores.random(g),
}


@pytest.mark.parametrize("name", SCORES)
def test_one_finite_number_per_channel_and_the_model_is_untouched(name: str) -> None:
    x = torch.randn(2, 3, 32, 32)
    net = resnet20().train()
    net(x).sum().backward()
    state, gradients = (
        copy.deepcopy(net.state_dict()),
        [p.grad.clone() for p in net.parameters() if p.grad is not None],
    )
    graph = prunus.trace(net, x)
    found = SCORES[name](graph, x)
    assert found.shape == (graph.num_channels,)
    assert found.isfinite().all()
    # all scales of a fresh model are one
    assert found.unique().numel() > graph.num_channels // 2 or name == "bn_scale"
    assert net.training
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients) if p.grad is not None)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("score", ["taylor", "activation_mean"])
def test_inputs_as_the_model_takes_them(score: str) -> None:
    """Several inputs, by position and by name, as `trace` takes them."""
    net = randomised(
        Net(
            lambda m, a, b: m.c(m.a(a) + m.b(b)).mean((2, 3)),
            a=nn.Conv2d(3, 4, 1),
            b=nn.Conv2d(3, 4, 1),
            c=nn.Conv2d(4, 2, 1),
        )
    )
    by_position, by_name = (IMAGE, IMAGE), {"a": IMAGE, "b": IMAGE}
    found = []
    for inputs in (by_position, by_name):
        graph = prunus.trace(net, inputs)
        batches = [(inputs, LABELS)]
        found.append(
            scores.taylor(graph, batches, F.cross_entropy)
            if score == "taylor"
            else scores.activation_mean(graph, batches)
        )
    assert torch.equal(*found)
