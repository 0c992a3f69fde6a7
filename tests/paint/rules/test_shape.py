"""Operators that give a tensor another shape in place: what was recorded of it before stays true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.paint.nets import Net, difference, random_plan, randomised
from torch import Tensor, nn

import prunus

WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "transpose": lambda s, x: s.c(s.a(x).flatten(2).transpose_(1, 2)),
    "swapaxes": lambda s, x: s.c(s.a(x).flatten(2).swapaxes_(1, 2)),
    "swapdims": lambda s, x: s.c(s.a(x).flatten(2).swapdims_(1, 2)),
    "t": lambda s, x: s.c(s.a(x).mean((2, 3)).t_().t()),
    "squeeze": lambda s, x: s.c(s.a(x).mean((2, 3), keepdim=True).squeeze_(3).squeeze_(2)),
    "squeeze all": lambda s, x: s.c(s.a(x).mean((2, 3), keepdim=True).squeeze_()),
    "unsqueeze": lambda s, x: s.c(s.a(x).mean((2, 3)).unsqueeze_(1)),
    "unsqueeze and back": lambda s, x: s.c(s.a(x).unsqueeze_(0).relu_().squeeze_(0).mean((2, 3))),
    "read before": lambda s, x: (lambda h: s.c(h.mean(2)) + s.c(h.transpose_(1, 2)).sum(1))(
        s.a(x).flatten(2)
    ),
}


def net(forward: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    return randomised(Net(forward, a=nn.Conv2d(3, 8, 1), c=nn.Linear(8, 4)))


@pytest.mark.parametrize("how", WAYS)
def test_the_own_class_follows_a_shape_that_changes_in_place(how: str) -> None:
    model, x = net(WAYS[how]), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    graph = prunus.trace(model, x)
    plan = random_plan(graph)
    small = prunus.compact(model, plan)
    assert plan.removed == 4 and plan.exact and small.prunus.mode == "eager"
    assert difference(prunus.mask(model, plan), small, x) < 1e-12


@pytest.mark.parametrize("how", WAYS)
def test_records_keep_the_shapes_that_there_were(how: str) -> None:
    graph = prunus.trace(net(WAYS[how]), torch.randn(2, 3, 4, 5, dtype=torch.float64))
    (convolution,) = [record for record in graph.records if record.operator == "convolution"]
    assert tuple(convolution.outputs[0].shape) == (2, 8, 4, 5)
    for record in graph.records:
        for tensor, paint in zip((*record.tensors, *record.outputs), (*record.inputs, *record.paints)):
            assert all(len(layer.labels) == tensor.shape[layer.axis] for layer in paint)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_recurrent_layers_with_the_batch_first_keep_their_class(kind: type[nn.Module]) -> None:
    layers = {"a": nn.Conv2d(3, 8, 1), "r": kind(8, 6, batch_first=True), "c": nn.Linear(6, 4)}
    model, x = (
        randomised(Net(lambda s, x: s.c(s.r(s.a(x).flatten(2).transpose(1, 2))[0]), **layers)),
        torch.randn(2, 3, 3, 3, dtype=torch.float64),
    )
    plan = random_plan(prunus.trace(model, x))
    small = prunus.compact(model, plan)
    assert small.prunus.mode == "eager" and difference(prunus.mask(model, plan), small, x) < 1e-12


def test_a_traced_module_follows_a_shape_that_changes_in_place() -> None:
    def forward(s: Any, x: Tensor) -> Tensor:
        h = s.a(x).flatten(2).transpose_(1, 2).relu_()
        return s.c(h.reshape(len(h), -1, 8).mean(1))  # the literal needs the traced graph

    model, x = net(forward), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    plan = random_plan(prunus.trace(model, x))
    small = prunus.compact(model, plan)
    assert plan.removed == 4 and small.prunus.mode == "traced"
    assert difference(prunus.mask(model, plan), small, torch.randn(3, 3, 4, 5, dtype=torch.float64)) < 1e-12
