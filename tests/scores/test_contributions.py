"""Scores from what channels add to the next layer: ThiNet, LASSO, PLS, NISP, each against its formula written
out.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from tests.paint.nets import Net, channels, randomised
from torch import Tensor, nn

import prunus
from prunus import scores
from prunus.errors import PlanError
from prunus.scores.nisp import infinite_feature_selection
from prunus.scores.pls import importance

BATCHES = [
    torch.randn(16, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(i))
    for i in range(3)
]
LABELS = [torch.randint(3, (16,), generator=torch.Generator().manual_seed(10 + i)) for i in range(3)]


def run(m: nn.Module, x: Tensor) -> Tensor:
    return m.head(m.b(m.a(x).relu()).relu().mean((2, 3)))


def network() -> nn.Module:
    return randomised(Net(run, a=nn.Conv2d(3, 6, 3), b=nn.Conv2d(6, 4, 3), head=nn.Linear(4, 2)))


@pytest.fixture(scope="module")
def graph() -> prunus.ChannelGraph:
    return prunus.trace(network(), BATCHES[0])


@torch.no_grad()
def contributions(model: nn.Module) -> Tensor:
    """What every channel of the first layer adds to every output of the second, its mean left to the bias:
    (channels, samples).
    """
    hidden = model.a(torch.cat(BATCHES)).relu()
    parts = [F.conv2d(hidden[:, i : i + 1], model.b.weight[:, i : i + 1]) for i in range(6)]
    return torch.stack([(part - part.mean((0, 2, 3), keepdim=True)).flatten() for part in parts])


def test_thinet_grows_the_set_whose_sum_is_smallest(graph: prunus.ChannelGraph) -> None:
    z = contributions(graph.model)
    total = float(z.sum(0).square().sum())
    found = scores.thinet(graph, BATCHES)[channels(graph, "a.weight")]
    left, gone, reached = set(range(6)), [], 0.0
    while left:
        errors = {i: float(z[[*gone, i]].sum(0).square().sum()) / total for i in left}
        best = min(errors, key=errors.__getitem__)
        reached = max(reached, errors[best])
        assert float(found[best]) == pytest.approx(reached, rel=1e-5)
        left.remove(best)
        gone.append(best)


def test_lasso_scores_are_the_penalties_at_which_channels_leave(graph: prunus.ChannelGraph) -> None:
    sklearn = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    z = contributions(graph.model).numpy()
    y = z.sum(0)
    found = scores.lasso(graph, BATCHES)[channels(graph, "a.weight")].numpy()
    size = float(y @ y)
    for level in np.quantile(found, [0.2, 0.45, 0.7, 0.9]) * 1.03:
        alpha = level * size / len(y)  # scikit-learn divides the squares by the samples
        fitted = sklearn.Lasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(z.T, y)
        assert set(np.flatnonzero(np.abs(fitted.coef_) > 1e-6)) == set(np.flatnonzero(found > level))


def test_vip_is_the_formula() -> None:
    draw = np.random.default_rng(0)
    weights, samples, loadings = draw.normal(size=(7, 2)), draw.normal(size=(30, 2)), draw.normal(size=(3, 2))
    found = importance(weights, samples, loadings)
    explained = [
        sum(samples[n, a] ** 2 for n in range(30)) * sum(loadings[k, a] ** 2 for k in range(3))
        for a in range(2)
    ]
    cross = [
        float(samples[:, a] @ samples[:, 1 - a] * (loadings[:, a] @ loadings[:, 1 - a])) for a in range(2)
    ]
    explained = [
        e + c for e, c in zip(explained, cross)
    ]  # the diagonal of T'T Q'Q; components that are not orthogonal share
    for i in range(7):
        shares = [weights[i, a] ** 2 / sum(weights[j, a] ** 2 for j in range(7)) for a in range(2)]
        assert found[i] == pytest.approx(
            math.sqrt(7 * sum(e * s for e, s in zip(explained, shares)) / sum(explained))
        )


def test_pls_finds_the_channel_that_tells_the_classes() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    graph = prunus.trace(network(), BATCHES[0])
    with torch.no_grad():
        largest = [graph.model.a(x).relu().amax((2, 3)) for x in BATCHES]
    labels = [(part[:, 4] > torch.cat(largest)[:, 4].median()).long() for part in largest]
    found = scores.pls(graph, zip(BATCHES, labels))
    mine = channels(graph, "a.weight")
    assert max(mine, key=lambda c: float(found[c])) == mine[4]
    assert found.shape == (graph.num_channels,) and bool((found >= 0).all())
    with pytest.raises(PlanError, match="all of one class"):
        scores.pls(graph, [(BATCHES[0], torch.zeros(16, dtype=torch.int64))])
    with pytest.raises(PlanError, match="at least one is needed"):
        scores.pls(graph, [])


def test_infinite_feature_selection_sums_all_paths() -> None:
    responses = torch.randn(40, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = infinite_feature_selection(responses)
    spread = responses.numpy().std(0)
    spread = spread / spread.max()
    pairs = np.zeros((5, 5))
    for i in range(5):
        for j in range(5):
            correlation = 1.0 if i == j else spearmanr(responses[:, i], responses[:, j]).statistic
            pairs[i, j] = 0.5 * max(spread[i], spread[j]) + 0.5 * (1 - abs(correlation))
    scaled = pairs * 0.9 / np.abs(np.linalg.eigvals(pairs)).max()
    power, total = np.eye(5), np.zeros((5, 5))
    for _ in range(400):
        power = power @ scaled
        total += power
    assert np.allclose(found.numpy(), total.sum(1), rtol=1e-6)


@torch.no_grad()
def test_nisp_propagates_backwards(graph: prunus.ChannelGraph) -> None:
    model = graph.model
    last = torch.cat([model.b(model.a(x).relu()).relu().mean((2, 3)) for x in BATCHES])
    final = infinite_feature_selection(last)
    found = scores.nisp(graph, BATCHES)
    assert torch.allclose(found[channels(graph, "b.weight")], final)
    for j in range(6):
        wanted = sum(float(model.b.weight[i, j].abs().sum() * final[i]) for i in range(4))
        assert float(found[channels(graph, "a.weight")[j]]) == pytest.approx(wanted)
    with pytest.raises(PlanError, match="at least one is needed"):
        scores.nisp(graph, [])
