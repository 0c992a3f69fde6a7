"""Selective decay, against its loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.methods.nets import Normed

import prunus
from prunus import scores
from prunus.errors import TargetError
from prunus.methods.selective_decay import selective_decay_loss
from prunus.paint.graph import ChannelGraph
from prunus.plans.plan import Plan
from prunus.tasks import Task
from prunus.training import TrainConfig, evaluate, train

EXAMPLE = torch.zeros(1, 1, 8, 8)


def test_selective_decay_empties_what_is_going_to_be_pruned(task: Task) -> None:
    torch.manual_seed(0)
    model = Normed()
    graph = prunus.trace(model, EXAMPLE)

    def choose(traced: ChannelGraph) -> Plan:
        return prunus.plan(traced, scores.norm(traced, reduce="producer"), rate=0.5)

    outputs, targets = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    loss = selective_decay_loss(model, graph, choose, 10, weight_decay=0.1, first=1.0, last=4.0)
    for step in (0, 1, 2):
        removed = choose(graph)
        squares = 0.0
        full, masked = dict(model.named_parameters()), dict(prunus.mask(model, removed).named_parameters())
        for name, tensor in full.items():
            squares += float((tensor.detach().square() - masked[name].detach().square()).sum())
        wanted = float(F.cross_entropy(outputs, targets)) + 0.5 * 4.0 ** (step / 10) * 0.1 * squares
        assert float(loss(outputs, targets).detach()) == pytest.approx(wanted, rel=1e-5)
    config = TrainConfig(epochs=6, lr=0.03, schedule="constant", batch_size=64)
    steps = 6 * -(-len(task.train) // config.batch_size)
    decay = selective_decay_loss(model, graph, choose, steps, weight_decay=1e-3, last=1e3)
    train(model, task.train, config, normalise=task.normalise, loss=decay)
    plan = choose(graph)
    before = evaluate(model, task.samples("test"), task.normalisation).accuracy
    assert evaluate(
        prunus.compact(model.eval(), plan), task.samples("test"), task.normalisation
    ).accuracy == pytest.approx(before, abs=2.0)
    with pytest.raises(TargetError, match="at least one step"):
        selective_decay_loss(model, graph, choose, 0, weight_decay=0.1)
