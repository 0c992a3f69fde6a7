"""LASSO, against the optimality of every penalty."""

from __future__ import annotations

import numpy as np
import pytest
from tests.paint.nets import channels
from tests.scores.two_layers import BATCHES, contributions, network

import prunus
from prunus import scores


@pytest.fixture(scope="module")
def graph() -> prunus.ChannelGraph:
    return prunus.trace(network(), BATCHES[0])


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
