"""Connected components against a union-find that a child could check."""

from __future__ import annotations

import numpy as np
import pytest

from prunus.paint.components import components, flatten


def slow_components(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    label = {i: i for i in range(count)}
    for a, b in pairs:
        low, high = sorted((label[a], label[b]))
        for i, mine in label.items():
            if mine == high:
                label[i] = low
    return [label[i] for i in range(count)]


@pytest.mark.parametrize("seed", range(12))
def test_random_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    edges = [
        tuple(rng.integers(0, count, size=(2, int(rng.integers(0, 8)))))
        for _ in range(int(rng.integers(0, 10)))
    ]
    pairs = [(int(a), int(b)) for first, second in edges for a, b in zip(first, second)]
    assert components(count, edges).tolist() == slow_components(count, pairs)


def test_a_long_chain_in_the_worst_order() -> None:
    order = np.random.default_rng(0).permutation(3000)
    assert set(components(3000, [(order[:-1], order[1:])]).tolist()) == {0}


def test_edges_are_broadcast() -> None:
    block = np.arange(12).reshape(3, 4)
    assert components(12, [(block[:1], block)]).tolist() == [0, 1, 2, 3] * 3
    left, right = flatten([(block[:, :1], block)])
    assert left.tolist() == [0] * 4 + [4] * 4 + [8] * 4
    assert right.tolist() == list(range(12))


def test_no_edges() -> None:
    assert components(4, []).tolist() == [0, 1, 2, 3]
