"""Connected components of the couplings, vectorised: hook every root to the smaller one, then shorten the paths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .layers import Labels


def flatten(edges: Sequence[tuple[Labels, Labels]]) -> tuple[Labels, Labels]:
    """All edges as two flat arrays; each pair is broadcast against each other first."""
    if not edges:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty
    left, right = [], []
    for a, b in edges:
        if a.shape != b.shape:
            a, b = np.broadcast_arrays(a, b)
        left.append(a.reshape(-1))
        right.append(b.reshape(-1))
    return np.concatenate(left), np.concatenate(right)


def components(count: int, edges: Sequence[tuple[Labels, Labels]]) -> Labels:
    """The smallest colour of the component of every colour, shape (count,)."""
    parent = np.arange(count, dtype=np.int64)
    left, right = flatten(edges)
    while len(left):
        a, b = parent[left], parent[right]
        open_ = a != b
        if not open_.any():
            break
        left, right, a, b = left[open_], right[open_], a[open_], b[open_]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            grand = parent[parent]
            if np.array_equal(grand, parent):
                break
            parent = grand
    return parent
