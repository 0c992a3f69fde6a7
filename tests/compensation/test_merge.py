"""Merging channels: METHODS section 9, T9, and what a merge may not do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.paint.nets import Net, randomised
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import prunus
from prunus import models, scores
from prunus.compensation import merge
from prunus.errors import PlanError
from prunus.plans.plan import make_plan

IMAGE = torch.randn(4, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def run(m: nn.Module, x: Tensor) -> Tensor:
    x = m.bn(m.a(x)).relu()
    return m.head(torch.cat([m.b(x).relu(), x], 1).flatten(1))


def doubled() -> nn.Module:
    """Channels 4 to 7 of the first layer are copies of 0 to 3; they are read by a convolution and, flattened,
    by a linear layer.
    """
    model = randomised(
        Net(
            run,
            a=nn.Conv2d(3, 8, 3),
            bn=nn.BatchNorm2d(8),
            b=nn.Conv2d(8, 5, 3, padding=1),
            head=nn.Linear(13 * 49, 2),
        )
    )
    with torch.no_grad():
        model.bn.running_var.fill_(1.5)
        for tensor in (model.a.weight, model.a.bias, model.bn.weight, model.bn.bias, model.bn.running_mean):
            tensor[4:] = tensor[:4]
    return model


def copies(graph: prunus.ChannelGraph) -> list[int]:
    return next(axis.channels.tolist() for axis in graph.axes if (axis.name, axis.dim) == ("a.weight", 0))


def test_merging_duplicates_changes_nothing() -> None:
    model = doubled()
    graph = prunus.trace(model, IMAGE)
    channels = copies(graph)
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[[channels[i] for i in (4, 1, 6, 3)]] = True
    plan = make_plan(graph, removed)
    into, scales = scores.similarity(graph).representatives(plan, graph)
    assert [int(into[channels[i]]) for i in (4, 1, 6, 3)] == [channels[i] for i in (0, 5, 2, 7)]
    small = prunus.compact(merge(model, plan, into, scales), plan)
    assert small.a.out_channels == 4
    assert torch.allclose(small(IMAGE), model(IMAGE), rtol=1e-9)
    assert not torch.allclose(prunus.compact(model, plan)(IMAGE), model(IMAGE), rtol=1e-2)


def test_a_scale_multiplies_what_goes_over() -> None:
    model = doubled()
    with torch.no_grad():
        model.bn.weight[4:] *= 2.5
        model.bn.bias[4:] *= 2.5  # a rectifier passes the factor on
    graph = prunus.trace(model, IMAGE)
    channels = copies(graph)
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[channels[4:]] = True
    plan = make_plan(graph, removed)
    into = torch.arange(graph.num_channels)
    into[channels[4:]] = torch.tensor(channels[:4])
    scales = torch.full((graph.num_channels,), 2.5)
    assert torch.allclose(
        prunus.compact(merge(model, plan, into, scales), plan)(IMAGE), model(IMAGE), rtol=1e-9
    )


def test_every_group_keeps_its_own() -> None:
    model = models.resnet20().eval()
    graph = prunus.trace(model, torch.zeros(1, 3, 32, 32))
    plan = prunus.plan(graph, scores.norm(graph), rate=0.5)
    into, _ = scores.similarity(graph).representatives(plan, graph)
    removed = plan.removed_in(graph)
    assert (graph.group_of_channel[into.numpy()] == graph.group_of_channel).all()
    assert not removed[into.numpy()][removed].any()
    assert (into.numpy()[~removed] == np.flatnonzero(~removed)).all()
    prunus.compact(merge(model, plan, into), plan)


def test_a_representative_must_stay() -> None:
    model = doubled()
    graph = prunus.trace(model, IMAGE)
    channels = copies(graph)
    removed = np.zeros(graph.num_channels, dtype=bool)
    removed[channels[:2]] = True
    into = torch.arange(graph.num_channels)
    into[channels[0]] = channels[1]
    with pytest.raises(PlanError, match="which goes too or belongs to another group"):
        merge(model, make_plan(graph, removed), into)


def test_weight_norms_are_left_as_they_are() -> None:
    layers = [weight_norm(nn.Conv2d(3, 8, 3)), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1)]
    model = randomised(nn.Sequential(*layers))
    graph = prunus.trace(model, IMAGE)
    plan = prunus.plan(graph, scores.random(graph, 0), rate=0.5)
    into, scales = scores.similarity(graph).representatives(plan, graph)
    merged = merge(model, plan, into, scales)
    assert torch.equal(
        merged[0](IMAGE), model[0](IMAGE)
    )  # 0 / 0 where a direction had been taken for a reader
    assert prunus.compact(merged, plan)(IMAGE).isfinite().all()
