"""Folding and repaired variances, against what they say."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from benchmarks.folding import Clusters, clustered, folded, repaired
from torch import Tensor, nn

import prunus
from prunus import scores
from prunus.models.resnet import CifarResNet
from prunus.plans.plan import make_plan

IMAGES = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 2)
    )
    for one in net[1].parameters():
        nn.init.uniform_(one, 0.2, 2.0)
    net[1].running_mean.uniform_(-1, 1)
    net[1].running_var.uniform_(0.2, 2)
    return net.eval()


def two_clusters(net: nn.Module) -> tuple[prunus.paint.graph.ChannelGraph, Clusters]:
    """Channels 0, 2 and 5 of the first layer into 2; 1 and 3 into 1."""
    graph = prunus.trace(net, IMAGES[:1])
    first = next(axis.channels for axis in graph.axes if axis.name == "0.weight" and axis.dim == 0)
    into = torch.arange(graph.num_channels)
    removed = np.zeros(graph.num_channels, dtype=bool)
    for one, heir in ((0, 2), (5, 2), (3, 1)):
        into[first[one]], removed[first[one]] = int(first[heir]), True
    return graph, Clusters(make_plan(graph, removed), into)


def test_a_cluster_is_its_mean_and_is_read_with_all_weights() -> None:
    net = network()
    graph, clusters = two_clusters(net)
    small = prunus.compact(folded(net, graph, clusters), clusters.plan).eval()
    with torch.no_grad():
        made = net[1](net[0](IMAGES))
        means = torch.stack([made[:, [1, 3]].mean(1), made[:, [0, 2, 5]].mean(1), made[:, 4]], 1)
        weight = net[3].weight
        summed = torch.stack([weight[:, [1, 3]].sum(1), weight[:, [0, 2, 5]].sum(1), weight[:, 4]], 1)
        expected = net[5](torch.nn.functional.conv2d(means.relu(), summed, net[3].bias).flatten(1))
        assert torch.allclose(small(IMAGES), expected, atol=1e-4)


def test_channels_that_are_alike_fold_without_loss() -> None:
    net = network()
    with torch.no_grad():
        for tensor in (net[0].weight, net[0].bias, *net[1].parameters(), *list(net[1].buffers())[:2]):
            tensor[3:] = tensor[:3]
    graph = prunus.trace(net, IMAGES[:1])
    kept = prunus.plan(graph, scores.norm(graph), rate=0.0, rates={"0": 0.5})
    clusters = clustered(graph, kept)
    assert clusters.plan.removed == 3
    small = prunus.compact(folded(net, graph, clusters), clusters.plan).eval()
    assert torch.allclose(small(IMAGES), net(IMAGES), atol=1e-4)


def test_as_many_clusters_as_the_plan_leaves_channels() -> None:
    net = CifarResNet(1).eval()
    graph = prunus.trace(net, IMAGES[:1])
    widths = prunus.plan(graph, scores.norm(graph), macs=0.5)
    clusters = clustered(graph, widths)
    assert clusters.plan.after.macs == widths.after.macs
    removed = clusters.plan.removed_in(graph)
    assert not removed[clusters.into.numpy()].any()
    assert np.array_equal(
        graph.group_of_channel[clusters.into.numpy()], graph.group_of_channel[np.arange(len(removed))]
    )
    prunus.compact(folded(net, graph, clusters), clusters.plan)(IMAGES)


def moments(net: nn.Module, layer: str) -> tuple[Tensor, Tensor]:
    seen: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        net.eval()(IMAGES)
    handle.remove()
    return seen[0].mean((0, 2, 3)), seen[0].transpose(0, 1).flatten(1).std(1)


def test_repair_gives_every_channel_its_mean_and_deviation_back() -> None:
    torch.manual_seed(1)
    net = CifarResNet(1).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    graph = prunus.trace(net, IMAGES[:1])
    plan = prunus.plan(graph, scores.norm(graph), macs=0.5)
    before = copy.deepcopy(net.state_dict())
    fixed = repaired(net, net, plan, [IMAGES[:32], IMAGES[32:]])
    small = prunus.compact(fixed, plan)
    assert all(torch.equal(before[name], one) for name, one in net.state_dict().items())
    kept = ~plan.removed_in(graph)
    for layer in ("layer1.0.bn1", "layer2.0.bn2", "layer3.0.bn2"):
        channels = next(axis.channels for axis in graph.axes if axis.name == f"{layer}.weight")
        stays = torch.from_numpy(np.flatnonzero(kept[channels]))
        for found, wanted in zip(moments(small, layer), moments(net, layer)):
            assert found.numpy() == pytest.approx(wanted[stays].numpy(), abs=2e-3)


def test_a_repaired_cluster_has_the_mean_deviation() -> None:
    net = network()
    graph, clusters = two_clusters(net)
    fixed = repaired(net, folded(net, graph, clusters), clusters.plan, [IMAGES], clusters)
    small = prunus.compact(fixed, clusters.plan)
    means, deviations = moments(net, "1")
    for found, wanted in zip(moments(small, "1"), (means, deviations)):
        expected = [wanted[[1, 3]].mean(), wanted[[0, 2, 5]].mean(), wanted[4]]
        assert found.tolist() == pytest.approx([float(one) for one in expected], abs=1e-3)
