"""ThiNet, against the sums of what channels add to the next layer."""

from __future__ import annotations

import pytest
from tests.paint.nets import channels
from tests.scores.two_layers import BATCHES, contributions, network

import prunus
from prunus import scores


@pytest.fixture(scope="module")
def graph() -> prunus.ChannelGraph:
    return prunus.trace(network(), BATCHES[0])


def test_thinet_grows_the_set_whose_sum_is_smallest(graph: prunus.ChannelGraph) -> None:
    z = contributions(graph.model)
    total = float(z.sum(0).square().sum())
    found = scores.thinet(graph, BATCHES)[channels(graph, "a.weight")]
    left, reached = set(range(6)), 0.0
    gone: list[int] = []
    while left:
        errors = {i: float(z[[*gone, i]].sum(0).square().sum()) / total for i in left}
        best = min(errors, key=errors.__getitem__)
        reached = max(reached, errors[best])
        assert float(found[best]) == pytest.approx(reached, rel=1e-5)
        left.remove(best)
        gone.append(best)
