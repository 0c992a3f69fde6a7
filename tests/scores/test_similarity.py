"""Channel similarity: the formulas again, one pair and one merge at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.cluster import hierarchy
from tests.paint.nets import Net, channels, randomised
from torch import Tensor, nn

import prunus
from prunus import models, scores
from prunus.errors import PlanError
from prunus.scores import moments
from prunus.scores.merging import Merging, merge_all, pairs
from prunus.scores.products import LayerProducts
from prunus.scores.similarity import medoid_linkage, next_losses, plain_losses

IMAGE = torch.randn(4, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
BATCHES = [
    torch.randn(16, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
    for i in range(3)
]


def chain(m: nn.Module, x: Tensor) -> Tensor:
    return m.head(m.bn2(m.b(m.bn1(m.a(x)).relu())).relu().mean((2, 3)))


def network() -> nn.Module:
    layers = {
        "a": nn.Conv2d(3, 10, 3),
        "bn1": nn.BatchNorm2d(10),
        "b": nn.Conv2d(10, 7, 3),
        "bn2": nn.BatchNorm2d(7),
        "head": nn.Linear(7, 4),
    }
    model = randomised(Net(chain, **layers))
    with torch.no_grad():
        for norm in (model.bn1, model.bn2):
            norm.running_var.uniform_(0.5, 3, generator=torch.Generator().manual_seed(1))
            norm.running_mean.normal_(generator=torch.Generator().manual_seed(2))
    return model


def rectified(beta: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of max(N(beta, gamma^2), 0), METHODS section 4."""
    gamma = gamma.abs()
    ratio = beta / gamma
    below = 0.5 * (1 + torch.erf(ratio / math.sqrt(2)))
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    mean = beta * below + gamma * density
    return mean, (beta.square() + gamma.square()) * below + beta * gamma * density - mean.square()


def test_moments_behind_a_rectifier_are_those_of_a_rectified_normal() -> None:
    model = network()
    found = moments.input_moments(prunus.trace(model, IMAGE))
    mean, variance = rectified(model.bn1.bias.detach(), model.bn1.weight.detach())
    scale = float((mean.square() + variance).sqrt().mean())
    assert torch.allclose(found["b"][0], mean, atol=0.05 * scale)
    assert torch.allclose(found["b"][1], variance, atol=0.1 * scale**2)
    assert torch.allclose(found["a"][0], torch.zeros(3, dtype=torch.float64), atol=0.05)
    assert torch.allclose(found["a"][1], torch.ones(3, dtype=torch.float64), atol=0.1)


@torch.no_grad()
def test_products_from_weights_are_the_formula() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    mean, variance = moments.input_moments(graph)["b"]
    seen = next(
        one for one in moments.from_weights(graph) if one.channels.tolist() == channels(graph, "b.weight")
    )
    for i in range(7):
        for j in range(7):
            total = 0.0
            folded, shift = [], []
            for k in (i, j):
                factor = float(model.bn2.weight[k] / (model.bn2.running_var[k] + model.bn2.eps).sqrt())
                folded.append(factor * model.b.weight[k])
                shift.append(
                    factor * float(model.b.bias[k] - model.bn2.running_mean[k]) + float(model.bn2.bias[k])
                )
            for c in range(10):
                total += float((folded[0][c] * folded[1][c]).sum() * variance[c])
            ends = [float((folded[n].sum((1, 2)) * mean).sum()) + shift[n] for n in (0, 1)]
            assert seen.products[i, j] == pytest.approx(total + ends[0] * ends[1], rel=1e-9)
            assert seen.means[i] == pytest.approx(ends[0])


def test_products_from_inputs_are_averages() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    seen = next(
        one
        for one in moments.from_inputs(graph, BATCHES)
        if one.channels.tolist() == channels(graph, "b.weight", 1)
    )
    with torch.no_grad():
        hidden = torch.cat([model.bn1(model.a(x)).relu() for x in BATCHES])
    for i, j in ((0, 0), (2, 5), (9, 1)):
        assert seen.products[i, j] == pytest.approx(float((hidden[:, i] * hidden[:, j]).mean()), rel=1e-5)
        assert seen.means[i] == pytest.approx(float(hidden[:, i].mean()), rel=1e-5)


def test_products_from_batch_norms() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    seen = next(
        one
        for one in moments.from_batch_norms(graph)
        if one.channels.tolist() == channels(graph, "bn1.weight")
    )
    scale, shift = model.bn1.weight.detach(), model.bn1.bias.detach()
    for i, j in ((0, 0), (2, 5)):
        apart = seen.products[i, i] + seen.products[j, j] - 2 * seen.products[i, j]
        wanted = float((shift[i] - shift[j]) ** 2) + (float(scale[i] ** 2 + scale[j] ** 2) if i != j else 0.0)
        assert apart == pytest.approx(wanted)


def test_noise_has_the_spectrum_of_photographs() -> None:
    white = torch.randn(64, 2, 32, 32, generator=torch.Generator().manual_seed(6))
    pink = moments.photographic(white)
    power = torch.fft.fft2(pink).abs().square().mean((0, 1))
    assert float(power[0, 2] / power[0, 8]) == pytest.approx(16, rel=0.4)
    assert float(power[3, 4] / power[6, 8]) == pytest.approx(4, rel=0.4)
    assert float(pink.std()) == pytest.approx(1, rel=0.05)
    flat = torch.randn(4, 7)
    assert moments.photographic(flat) is flat
    sound = moments.photographic(torch.randn(8, 2, 100))
    assert sound.shape == (8, 2, 100) and sound.isfinite().all()


def test_batch_norms_keep_their_word_on_noise() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    seen = next(
        one for one in moments.from_noise(graph) if one.channels.tolist() == channels(graph, "b.weight", 1)
    )
    mean, variance = rectified(model.bn1.bias.detach(), model.bn1.weight.detach())
    scale = float((mean.square() + variance).sqrt().mean())
    assert np.allclose(seen.means, mean.numpy(), atol=0.1 * scale)  # behind the rectifier, as if normal
    assert np.allclose(seen.products.diagonal() - seen.means**2, variance.numpy(), atol=0.2 * scale**2)


@torch.no_grad()
def test_on_noise_channels_go_together_as_their_filters_do() -> None:
    model = network()
    model.a.weight[4] = 0.5 * model.a.weight[1]
    model.a.weight[6] = -3 * model.a.weight[1]
    for one in (4, 6):
        model.bn1.weight[one], model.bn1.bias[one] = model.bn1.weight[1], model.bn1.bias[1]
    graph = prunus.trace(model, IMAGE)
    a = channels(graph, "a.weight")
    group = graph.groups[graph.group_of_channel[a[0]]]
    found = scores.similarity(graph)
    place = {channel: n for n, channel in enumerate(group.channels.tolist())}
    losses = found.losses[group.index]
    assert losses[place[a[1]], place[a[4]]] == pytest.approx(0, abs=1e-5)
    assert losses[place[a[1]], place[a[6]]] > 0.05  # a rectifier lets the other half of it through


def test_two_numbers_of_a_channel_have_no_deviation() -> None:
    layers = {"a": nn.Linear(3, 8), "bn1": nn.BatchNorm1d(8), "head": nn.Linear(8, 2)}
    model = randomised(Net(lambda m, x: m.head(m.bn1(m.a(x)).relu()), **layers))
    graph = prunus.trace(model, torch.zeros(2, 3, dtype=torch.float64))
    assert scores.similarity(graph).scores.isfinite().all()


def test_losses_are_relative_and_zero_for_the_same() -> None:
    y = torch.randn(5, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y[1] = y[0]
    y[2] = -y[3]
    y[4] = 0
    found = plain_losses((y @ y.T / 1000).numpy())
    assert found[0, 1] == pytest.approx(0, abs=1e-7) and found[2, 3] == pytest.approx(4)
    gap = float((y[0] - y[2]).square().mean() / ((y[0].square().mean() + y[2].square().mean()) / 2))
    assert found[0, 2] == pytest.approx(gap)
    assert found[0, 4] == pytest.approx(2) and (found.diagonal() == 0).all()


def slow_heights(losses: np.ndarray, representatives: int) -> list[float]:
    """Medoid linkage written out: hand one cluster over to the representative of another, where that adds
    least.
    """
    clusters = [[i] for i in range(len(losses))]
    medoids = list(range(len(losses)))
    standing = [[i] for i in range(len(losses))]
    heights = [math.inf] * len(losses)
    height = 0.0
    while len(clusters) > 1:
        added = {
            (a, b): sum(losses[i, medoids[b]] - losses[i, medoids[a]] for i in clusters[a])
            for a in range(len(clusters)) for b in range(len(clusters)) if a != b
        }  # fmt: skip
        a, b = min(added, key=added.__getitem__)
        height = max(height, added[a, b])
        everyone, candidates = clusters[a] + clusters[b], standing[a] + standing[b]
        candidates.sort(key=lambda i: losses[everyone, i].sum())
        for i in candidates[representatives:]:
            heights[i] = math.sqrt(height)
        medoids[a] = medoids[b]
        clusters = [c for n, c in enumerate(clusters) if n not in (a, b)] + [everyone]
        standing = [c for n, c in enumerate(standing) if n not in (a, b)] + [candidates[:representatives]]
        medoids = [m for n, m in enumerate(medoids) if n not in (a, b)] + [medoids[b]]
    return heights


def test_linkage_is_one_of_scipys() -> None:
    points = np.random.default_rng(7).normal(size=(20, 3))
    links = medoid_linkage(((points[:, None] - points[None]) ** 2).sum(-1))
    assert hierarchy.is_valid_linkage(links) and hierarchy.is_monotonic(links)
    assert sorted(hierarchy.leaves_list(links)) == list(range(20))
    assert medoid_linkage(np.zeros((1, 1))).shape == (0, 4)


def test_losses_are_what_the_next_layer_loses() -> None:
    y = torch.randn(4, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) + 3
    y[1] = 2 * y[0] - 7 + 0.1 * y[1]
    weight = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    reading = weight.square().sum(0)
    found = next_losses(torch.cov(y, correction=0).numpy(), reading.numpy())
    usual = float((y.var(1, correction=0) * reading).mean())
    for i in range(4):
        for j in range(4):
            columns = torch.stack([y[j], torch.ones(5000, dtype=torch.float64)], 1)
            best = torch.linalg.lstsq(columns, y[i][:, None]).solution
            change = weight[:, i : i + 1] @ (y[i][None] - (columns @ best).T)
            assert found[i, j] == pytest.approx(float(change.square().sum(0).mean()) / usual, abs=1e-9)


@torch.no_grad()
def test_kernel_losses_are_those_of_the_best_kernel() -> None:
    model = network()
    graph = prunus.trace(model, IMAGE)
    found = scores.similarity(graph, "empirical", BATCHES)
    group = graph.groups[graph.group_of_channel[channels(graph, "b.weight", 1)[0]]]
    order = [channels(graph, "b.weight", 1).index(channel) for channel in group.channels.tolist()]
    hidden = torch.cat([model.bn1(model.a(x)).relu() for x in BATCHES])
    # (images, channels, positions of the kernel, places)
    patches = nn.functional.unfold(hidden, 3).unflatten(1, (10, 9))
    patches = patches.permute(1, 2, 0, 3).flatten(2)
    patches = patches - patches.mean(2, keepdim=True)
    weight = model.b.weight.flatten(2)
    whole = torch.einsum("ock,ckn->on", weight, patches).square().sum()
    for i, j in ((0, 1), (3, 8), (9, 2)):
        part = weight[:, order[i]] @ patches[order[i]]
        kernel = torch.linalg.lstsq(patches[order[j]].T, part.T).solution
        lost = (part - kernel.T @ patches[order[j]]).square().sum() / whole
        assert found.losses[group.index][i, j] == pytest.approx(float(lost), rel=0.02)


@torch.no_grad()
def test_merges_are_judged_as_those_before_have_left_the_layer() -> None:
    """Written out for a linear layer: what goes is read through its heir from then on, and the next loss is
    that of the layer as it is then.
    """
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(4000, 6, dtype=torch.float64, generator=generator) @ torch.randn(
        6, 6, dtype=torch.float64, generator=generator
    )
    weight = torch.randn(5, 6, dtype=torch.float64, generator=generator)
    layer = LayerProducts(np.arange(6), weight[:, :, None], x.T @ x / len(x))
    layers = [Merging(layer, np.arange(6), ridge=0.0)]
    merges, heights = merge_all(layers, pairs(layers, 6))
    left, now, went = list(range(6)), weight.clone(), {}
    whole, reached = (x @ weight.T).square().sum(), 0.0
    while len(left) > 1:
        lost = {}
        for i in left:
            for j in left:
                if i != j:
                    scale = (x[:, i] @ x[:, j]) / (x[:, j] @ x[:, j])
                    lost[i, j] = (
                        float(((x[:, i] - scale * x[:, j])[:, None] * now[:, i]).square().sum() / whole),
                        scale,
                    )
        i, j = min(lost, key=lambda pair: lost[pair][0])
        now[:, j] += lost[i, j][1] * now[:, i]
        reached = max(reached, lost[i, j][0])
        went[i] = math.sqrt(reached)
        left.remove(i)
    assert heights[left[0]] == math.inf
    for channel, height in went.items():
        assert heights[channel] == pytest.approx(height)
    assert (
        hierarchy.is_valid_linkage(merges)
        and merges[-1, 3] == 6
        and sorted(went.values()) == pytest.approx(merges[:, 2].tolist())
    )


@pytest.mark.parametrize("representatives", [1, 2])
@pytest.mark.parametrize(
    ("metric", "distance"), [("bn_prop", "plain"), ("noise", "next"), ("empirical", "plain")]
)
def test_scores_are_the_heights_of_merges(metric: str, distance: str, representatives: int) -> None:
    graph = prunus.trace(network(), IMAGE)
    found = scores.similarity(graph, metric, BATCHES, distance=distance, representatives=representatives)  # type: ignore[arg-type]
    for group, losses in zip(graph.groups, found.losses):
        wanted = slow_heights(losses, representatives)
        last = max(height for height in wanted if height < math.inf)
        for channel, height in zip(group.channels, wanted):
            value = float(found.scores[channel])
            assert value > last if height == math.inf else value == pytest.approx(height)


def test_a_global_threshold_cuts_all_dendrograms_at_one_distance() -> None:
    graph = prunus.trace(models.resnet20().eval(), torch.zeros(1, 3, 32, 32))
    found = scores.similarity(graph)
    plan = prunus.plan(graph, found.scores, macs=0.6, scope="global")
    removed = plan.removed_in(graph)
    for group, links in zip(graph.groups, found.links):
        gone = int(removed[group.channels].sum())
        if 0 < gone < group.size - 1:
            assert found.scores[group.channels[removed[group.channels]]].max() == pytest.approx(
                links[gone - 1, 2]
            )
    assert len({round(float(1 - removed[g.channels].mean()), 2) for g in graph.groups}) > 3  # widths emerge


def test_the_strongest_stay_where_that_is_asked_for() -> None:
    model = network()
    with torch.no_grad():
        model.a.weight[3], model.a.bias[3] = model.a.weight[7], model.a.bias[7]
        model.bn1.running_mean[3], model.bn1.running_var[3] = (
            model.bn1.running_mean[7],
            model.bn1.running_var[7],
        )
        model.bn1.weight[3], model.bn1.weight[7] = 1.001, 1.0
        model.bn1.bias[3] = model.bn1.bias[7]
    graph = prunus.trace(model, IMAGE)
    a = channels(graph, "a.weight")
    found = scores.similarity(graph, keep="scale").scores
    assert found[a[7]] == found[a].min() and found[a[3]] > found[a[7]]


def test_it_works_without_batch_norm_and_on_flattened_maps() -> None:
    model = models.lenet5().eval()
    graph = prunus.trace(model, torch.zeros(1, 1, 28, 28))
    for metric in ("noise", "bn_prop", "empirical"):
        found = scores.similarity(graph, metric, [torch.randn(4, 1, 28, 28)])
        assert found.scores.isfinite().all() and found.scores.shape == (graph.num_channels,)
        assert len(found.scores.unique()) > graph.num_channels // 2


def test_what_is_missing_is_said() -> None:
    graph = prunus.trace(models.lenet5().eval(), torch.zeros(1, 1, 28, 28))
    with pytest.raises(PlanError, match="LeNet5 has nothing that this metric could compare"):
        scores.similarity(graph, "bn_indep")
    with pytest.raises(PlanError, match="'empirical' looks at real inputs: give batches"):
        scores.similarity(graph, "empirical")
    with pytest.raises(PlanError, match="no batch of calibration inputs"):
        scores.similarity(graph, "empirical", [])
    with pytest.raises(PlanError, match="not 'cosine'"):
        scores.similarity(graph, "cosine")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="At least one channel of a cluster stays"):
        scores.similarity(graph, representatives=0)
