"""What a network costs at any widths, as a search over widths asks for it: all of it, and what one group's
width changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunus.paint.cost import CostModel

Kept = NDArray[np.int64]
Numbers = NDArray[np.float64]


class Counted:
    """MACs, parameters or bytes at any numbers of channels kept per group; `prunus.planning.width_search`
    chooses by them.

    Args:
        costs: of the graph.
        what: "macs", "params" or "bytes".
    """

    def __init__(self, costs: CostModel, what: str) -> None:
        self._costs, self._what = costs, what
        self._constants, self._factors = getattr(costs, what)
        self._touched = [
            np.flatnonzero((costs.per_group[:, group] != 0)[self._factors].any(axis=1))
            for group in range(costs.per_group.shape[1])
        ]

    def of(self, kept: Kept) -> float:
        """The whole network's."""
        return float(self._costs.count(self._what, kept))

    def neighbours(self) -> list[Kept]:
        """Per group, the groups whose widths decide with its own what its layers cost."""
        reads = self._costs.per_group != 0  # (axes, groups)
        return [
            np.setdiff1d(np.flatnonzero(reads[self._factors[touched]].any(axis=(0, 1))), [group])
            for group, touched in enumerate(self._touched)
        ]

    def around(self, kept: Kept, group: int, levels: Kept) -> Numbers:
        """What the network costs at each of these widths of one group, up to a constant, shape (levels,)."""
        touched = self._touched[group]
        lengths = self._costs.lengths(kept)
        changes = np.outer(levels - kept[group], self._costs.per_group[:, group])
        products = (lengths + changes)[:, self._factors[touched]].prod(axis=2)
        return np.asarray(products @ self._constants[touched], dtype=np.float64)


class Channels:
    """The number of channels of some groups, for targets that are a rate.

    Args:
        counted: of every group, whether its channels count.
    """

    def __init__(self, counted: NDArray[np.bool_]) -> None:
        self._counted = counted

    def of(self, kept: Kept) -> float:
        """The whole network's."""
        return float(kept[self._counted].sum())

    def neighbours(self) -> list[Kept]:
        """None: widths add up."""
        return [np.zeros(0, dtype=np.int64) for _ in self._counted]

    def around(self, kept: Kept, group: int, levels: Kept) -> Numbers:
        """What the network has at each of these widths of one group, up to a constant, shape (levels,)."""
        return np.asarray(levels * self._counted[group], dtype=np.float64)
