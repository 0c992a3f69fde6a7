"""Connected components of the couplings: whole axes first, in one stroke each, then what is left colour by
colour, vectorised.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prunus.paint.records import Labels

Edges = Sequence[tuple[Labels, Labels]]


def components(count: int, edges: Edges, whole: Sequence[Labels] = ()) -> Labels:
    """The smallest colour of the component of every colour, shape (count,).

    `whole` are arrays of consecutive colours, none in two of them: most couplings are between two such
    arrays.
    """
    parent = np.arange(count, dtype=np.int64)
    left, right = flatten(_join_whole(parent, edges, whole))
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


def _join_whole(parent: Labels, edges: Edges, whole: Sequence[Labels]) -> list[tuple[Labels, Labels]]:
    """Point the colours of whole arrays to those of the first array that they are coupled with, slot by slot;
    the couplings of others.
    """
    first = {id(labels): int(labels[0]) for labels in whole if len(labels)}
    above = {key: key for key in first}

    def top(key: int) -> int:
        while above[key] != key:
            above[key] = key = above[above[key]]
        return key

    others = []
    for a, b in edges:
        if a.shape == b.shape and id(a) in above and id(b) in above:
            one, other = top(id(a)), top(id(b))
            low, high = (one, other) if first[one] < first[other] else (other, one)
            above[high] = low
        else:
            others.append((a, b))
    for labels in whole:
        start = first.get(id(labels))
        if start is not None and above[id(labels)] != id(labels):
            root = first[top(id(labels))]
            parent[start : start + len(labels)] = np.arange(root, root + len(labels))
    return others


def flatten(edges: Edges) -> tuple[Labels, Labels]:
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
