"""Scores: every formula again, slot by slot, beside the library's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.paint.nets import Net, randomised
from torch import Tensor, nn

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.models import resnet20
from prunus.paint.graph import ChannelGraph

IMAGE = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 1, 0])
REDUCES: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "mean": lambda v: sum(v) / len(v),
    "max": max,
}


def residual(m: nn.Module, x: Tensor) -> Tensor:
    """Channels of a and b are coupled, c is grouped, d reads them flattened."""
    x = m.bn(m.a(x))
    x = m.c((m.b(x.relu()) + x).relu()).relu()
    return m.d(F.adaptive_avg_pool2d(x, 2).flatten(1))


def model() -> nn.Module:
    return randomised(
        Net(
            residual,
            a=nn.Conv2d(3, 6, 3),
            bn=nn.BatchNorm2d(6),
            b=nn.Conv2d(6, 6, 3, padding=1),
            c=nn.Conv2d(6, 8, 1, groups=2),
            d=nn.Linear(32, 2),
        )
    )


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return prunus.trace(model(), IMAGE)


def slots(graph: ChannelGraph, least_dims: int = 2) -> Iterator[tuple[int, str, int, Tensor, bool]]:
    """Every slot of every prunable axis: channel, parameter, axis, the numbers of that slot, whether it makes
    the channel.
    """
    parameters = dict(graph.model.named_parameters())
    for axis in graph.axes:
        if axis.name in parameters and parameters[axis.name].dim() >= least_dims:
            for i, channel in enumerate(axis.channels.tolist()):
                if channel >= 0:
                    yield (
                        channel,
                        axis.name,
                        axis.dim,
                        parameters[axis.name].detach().select(axis.dim, i),
                        axis.produces,
                    )


def combine(graph: ChannelGraph, found: list[tuple[int, float]], reduce: str) -> Tensor:
    values: dict[int, list[float]] = {}
    for channel, value in found:
        values.setdefault(channel, []).append(value)
    return torch.tensor([REDUCES[reduce](values[c]) for c in range(graph.num_channels)], dtype=torch.float64)


def firsts(graph: ChannelGraph) -> dict[int, tuple[str, int]]:
    found: dict[int, tuple[str, int]] = {}
    for channel, name, dim, _, makes in slots(graph):
        if makes:
            found.setdefault(channel, (name, dim))
    return found


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("reduce", REDUCES)
def test_norm(graph: ChannelGraph, p: float, reduce: str) -> None:
    found = [(c, float((w.abs() ** p).sum() ** (1 / p))) for c, _, _, w, _ in slots(graph)]
    assert torch.allclose(scores.norm(graph, p=p, reduce=reduce), combine(graph, found, reduce), rtol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("p", [1, 2])
def test_norm_of_the_producer_alone(graph: ChannelGraph, p: float) -> None:
    first = firsts(graph)
    found = [
        (c, float((w.abs() ** p).sum() ** (1 / p)))
        for c, name, dim, w, _ in slots(graph)
        if first[c] == (name, dim)
    ]
    assert torch.allclose(
        scores.norm(graph, p=p, reduce="producer"), combine(graph, found, "sum"), rtol=1e-12
    )
    filters = graph.model.a.weight.detach().flatten(1).norm(p=p, dim=1)
    coupled = filters[:3] + filters[3:]  # the grouped reader couples slot j of both groups
    assert torch.allclose(scores.norm(graph, p=p, reduce="producer")[:3], coupled, rtol=1e-12)


def test_the_default_looks_at_all_coupled_parameters(graph: ChannelGraph) -> None:
    before = scores.norm(graph)
    changed = copy.deepcopy(graph.model)
    changed.c.weight.data[0] *= 10
    assert (scores.norm(prunus.trace(changed, IMAGE)) != before).any()


def test_batch_norm_scale(graph: ChannelGraph) -> None:
    found = {c: [] for c in range(graph.num_channels)}  # type: dict[int, list[float]]
    for channel, name, _, value, _ in slots(graph, 1):
        if name == "bn.weight":
            found[channel].append(abs(float(value)))
    means = [sum(v) / len(v) for v in found.values() if v]
    wanted = [sum(v) / len(v) if v else sum(means) / len(means) for v in found.values()]
    assert torch.allclose(scores.bn_scale(graph), torch.tensor(wanted, dtype=torch.float64), rtol=1e-12)
    producer = scores.bn_scale(graph, reduce="producer")
    assert (
        len(set(producer.tolist())) > 2
    )  # whatever it means for a norm, it must not be the same number everywhere


def test_batch_norm_scale_needs_a_batch_norm() -> None:
    with pytest.raises(PlanError, match="Sequential has no batch norm"):
        scores.bn_scale(prunus.trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)), IMAGE.float()))


def test_geometric_median() -> None:
    net = randomised(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Conv2d(4, 2, 1)))
    found = scores.geometric_median(prunus.trace(net, IMAGE))
    wanted = []
    for layer in (net[0], net[2]):
        rows = layer.weight.detach().flatten(1)
        wanted += [sum(float((a - b).square().sum().sqrt()) for b in rows) for a in rows]
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12)
    net[0].weight.data[3] = net[0].weight.data.mean(0)
    assert scores.geometric_median(prunus.trace(net, IMAGE))[:5].argmin() == 3


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_taylor(graph: ChannelGraph, reduce: str) -> None:
    """(sum of w dL/dw over what makes the channel)^2, averaged over batches."""
    batches = [(IMAGE[:2], LABELS[:2]), (IMAGE[2:], LABELS[2:])]
    wanted = torch.zeros(graph.num_channels, dtype=torch.float64)
    for inputs, labels in batches:
        net = copy.deepcopy(graph.model)
        F.cross_entropy(net(inputs), labels).backward()
        gradients = {n: p.grad for n, p in net.named_parameters()}
        found, seen = [], dict[tuple[str, int], int]()
        for axis in graph.axes:
            if axis.is_parameter and axis.produces:
                for i, channel in enumerate(axis.channels.tolist()):
                    if channel >= 0:
                        product = net.get_parameter(axis.name).detach() * gradients[axis.name]
                        found.append((channel, float(product.select(axis.dim, i).sum())))
                        seen[axis.name, axis.dim] = 1
        wanted += combine(graph, found, reduce) ** 2 / len(batches)
        assert len(seen) >= 6
    assert torch.allclose(
        scores.taylor(graph, batches, F.cross_entropy, reduce=reduce), wanted, rtol=1e-10, atol=1e-18
    )  # type: ignore[arg-type]


def test_taylor_and_activation_need_a_batch(graph: ChannelGraph) -> None:
    with pytest.raises(PlanError, match="at least one batch"):
        scores.taylor(graph, [], F.cross_entropy)
    with pytest.raises(PlanError, match="at least one batch"):
        scores.activation_mean(graph, [])


def test_activation_mean(graph: ChannelGraph) -> None:
    """The mean |x| at every reader of a channel, averaged over readers and batches."""
    net = graph.model
    total = torch.zeros(graph.num_channels, dtype=torch.float64)
    count = torch.zeros_like(total)

    def add(channels: Any, values: Tensor) -> None:
        for channel, value in zip(channels, values.tolist()):
            if channel >= 0:
                total[channel] += value
                count[channel] += 1

    axes = {(a.name, a.dim): a.channels.tolist() for a in graph.axes}
    for x in (IMAGE[:2], IMAGE[2:]):
        with torch.no_grad():
            normed = net.bn(net.a(x))
            sums = (net.b(normed.relu()) + normed).relu()
            last = F.adaptive_avg_pool2d(net.c(sums).relu(), 2).flatten(1)
        add(axes["b.weight", 1], normed.relu().abs().mean((0, 2, 3)))
        add(axes["c.weight", 1] * 2, sums.abs().mean((0, 2, 3)))
        add(axes["d.weight", 1], last.abs().mean(0))
    found = scores.activation_mean(graph, [IMAGE[:2], (IMAGE[2:], LABELS[2:])])
    assert torch.allclose(found, total / count, rtol=1e-10)


def test_random_is_seeded(graph: ChannelGraph) -> None:
    assert torch.equal(scores.random(graph, 3), scores.random(graph, 3))
    assert not torch.equal(scores.random(graph, 3), scores.random(graph, 4))


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
    assert (
        found.unique().numel() > graph.num_channels // 2 or name == "bn_scale"
    )  # all scales of a fresh model are one
    assert net.training
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients) if p.grad is not None)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_the_largest_of_negative_numbers_is_negative(graph: ChannelGraph) -> None:
    """Taylor's slots may be negative: the largest of them is not nought."""
    from prunus.scores import per_channel, weight_axes

    found = per_channel(graph, weight_axes(graph), lambda rows: -1 - rows.abs().sum(1), "max")
    wanted = combine(graph, [(c, -1 - float(w.abs().sum())) for c, _, _, w, _ in slots(graph)], "max")
    assert torch.allclose(found, wanted, rtol=1e-12)


def test_an_unknown_reduction(graph: ChannelGraph) -> None:
    with pytest.raises(PlanError, match="reduce must be"):
        scores.norm(graph, reduce="median")  # type: ignore[arg-type]


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
