"""The greedy l1 norm against a walk through the layers by hand."""

from __future__ import annotations

import pytest
import torch
from tests.paint.nets import Dense, Net, channels, difference, randomised
from torch import Tensor, nn

import prunus
from prunus import models, scores
from prunus.errors import PlanError, TargetError

IMAGE = torch.zeros(1, 3, 8, 8, dtype=torch.float64)


def lowest(values: Tensor, count: int) -> list[int]:
    return sorted(range(len(values)), key=lambda i: float(values[i]))[:count]


def test_kernels_of_removed_maps_do_not_count() -> None:
    net = randomised(
        nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3),
            nn.Flatten(),
            nn.Linear(16, 2),
        )
    )
    graph = prunus.trace(net, IMAGE)
    found = scores.greedy_norm(graph, 0.5, {"2": 0.25})
    removed: list[int] = []
    for index, size, rate in ((0, 6, 0.5), (2, 8, 0.25), (4, 4, 0.5)):
        weight = net[index].weight.detach()
        kept = [i for i in range(weight.shape[1]) if i not in removed]
        wanted = torch.tensor([sum(float(weight[o, i].abs().sum()) for i in kept) for o in range(size)])
        assert torch.allclose(found[channels(graph, f"{index}.weight")].float(), wanted)
        removed = lowest(wanted, int(rate * size))
    greedy = prunus.plan(graph, found, rate=0.5, rates={"2": 0.25})
    assert [len(group.removed) for group in greedy.groups] == [3, 2, 2]
    small = prunus.compact(net, greedy)
    assert difference(prunus.mask(net, greedy), small, torch.randn(2, 3, 8, 8, dtype=torch.float64)) < 1e-12


def test_it_chooses_other_filters_than_the_independent_norm() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        # the first is large by what it reads of map 0, which goes
        net[2].weight.copy_(torch.tensor([[9.0, 1.0], [0.0, 3.0]]).view(2, 2, 1, 1))
    graph = prunus.trace(net, torch.zeros(1, 1, 2, 2))
    second = channels(graph, "2.weight")
    assert scores.norm(graph, 1, "producer")[second].tolist() == [10.0, 3.0]
    assert scores.greedy_norm(graph, 0.5)[second].tolist() == [1.0, 3.0]


def test_where_nothing_goes_it_is_the_independent_norm() -> None:
    for model, image in (
        (models.resnet20(), torch.zeros(1, 3, 16, 16)),
        (models.lenet5(), torch.zeros(1, 1, 28, 28)),
        (Dense(), torch.zeros(1, 3, 8, 8)),
    ):
        graph = prunus.trace(model.eval(), image)
        independent = scores.norm(graph, 1, "producer")
        assert torch.allclose(scores.greedy_norm(graph, 0.0), independent)
        assert not torch.allclose(scores.greedy_norm(graph, 0.5), independent)


def test_layers_are_walked_as_they_run_not_as_they_are_defined() -> None:
    net = randomised(
        Net(
            lambda m, x: m.head(m.late(m.early(x)).mean((2, 3))),
            late=nn.Conv2d(4, 5, 3),
            early=nn.Conv2d(3, 4, 3),
            head=nn.Linear(5, 2),
        )
    )
    graph = prunus.trace(net, IMAGE)
    found = scores.greedy_norm(graph, 0.5)
    early = net.early.weight.detach().abs().sum((1, 2, 3))
    kept = [i for i in range(4) if i not in lowest(early, 2)]
    assert torch.allclose(found[channels(graph, "early.weight")], early)
    assert torch.allclose(
        found[channels(graph, "late.weight")], net.late.weight.detach()[:, kept].abs().sum((1, 2, 3))
    )


def test_residual_streams_and_grouped_and_transposed_convolutions() -> None:
    def run(m: nn.Module, x: Tensor) -> Tensor:
        x = m.stem(x).relu()
        x = m.branch(m.inner(x).relu()) + x
        return m.head(m.up(m.grouped(x)).mean((2, 3)))

    net = randomised(
        Net(
            run,
            stem=nn.Conv2d(3, 8, 3),
            inner=nn.Conv2d(8, 6, 3, padding=1),
            branch=nn.Conv2d(6, 8, 1),
            grouped=nn.Conv2d(8, 8, 1, groups=2),
            up=nn.ConvTranspose2d(8, 4, 2),
            head=nn.Linear(4, 2),
        )
    )
    graph = prunus.trace(net, IMAGE)
    found = scores.greedy_norm(graph, 0.5)
    gone = prunus.plan(graph, found, rate=0.5).removed_in(graph)
    for name, dim in (("stem.weight", 0), ("inner.weight", 0), ("up.weight", 1)):
        weight = dict(net.named_parameters())[name].detach().clone()
        if name != "stem.weight":
            reads = torch.tensor([bool(gone[c]) for c in channels(graph, name, 1 - dim)])
            weight.index_fill_(1 - dim, reads.nonzero().flatten(), 0)
        # a channel of the stream has two slots: the grouped convolution couples them
        wanted = torch.zeros(graph.num_channels, dtype=torch.float64)
        for channel, filter in zip(channels(graph, name, dim), weight.movedim(dim, 0), strict=True):
            wanted[channel] += filter.abs().sum()
        mine = sorted(set(channels(graph, name, dim)))
        assert torch.allclose(found[mine], wanted[mine])


def test_rates_out_of_range_and_patterns_without_match() -> None:
    graph = prunus.trace(models.lenet5(), torch.zeros(1, 1, 28, 28))
    with pytest.raises(TargetError, match=r"from 0 to 1, not 1\.5"):
        scores.greedy_norm(graph, 1.5)
    with pytest.raises(PlanError, match="matches no parameter"):
        scores.greedy_norm(graph, 0.5, {"conv9": 0.1})
