"""How the numbers of a channel's slots become one."""

from __future__ import annotations

import torch
from tests.scores.coupled import combine, slots

from prunus.paint.graph import ChannelGraph


def test_the_largest_of_negative_numbers_is_negative(graph: ChannelGraph) -> None:
    """Taylor's slots may be negative: the largest of them is not nought."""
    from prunus.scores import per_channel, weight_axes

    found = per_channel(graph, weight_axes(graph), lambda rows: -1 - rows.abs().sum(1), "max")
    wanted = combine(graph, [(c, -1 - float(w.abs().sum())) for c, _, _, w, _ in slots(graph)], "max")
    assert torch.allclose(found, wanted, rtol=1e-12)
