"""ThiNet: channels whose contributions to the next layer cancel out go first (Luo, Wu and Lin 2017, arXiv
1707.06342, equation 6 and algorithm 1).

The set T of removed channels is grown one by one so that sum over samples of (sum over j in T of x_j)^2 stays
smallest, where x_j is what channel j adds to an output of the next layer. Our choice: all outputs and far
more places than the paper's ten per image, by way of E[x_i x_j]; coupled channels add up over the layers that
read them, relative to each layer's own outputs. The paper's last step, new weights for what is left, is
`prunus.compensation.refit`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.scores.products import LayerProducts, families
from prunus.scores.reconstruction import filled


@door(PlanError)
def thinet(graph: ChannelGraph, batches: Iterable[Inputs]) -> Tensor:
    """The error of the next layers' outputs once a channel and all that went before it are gone.

    Args:
        graph: a traced model.
        batches: calibration inputs, as the model takes them.

    Returns:
        Scores, shape (num_channels,), rising in the order in which the channels go; see `reconstruction` for
        channels that nothing is known about.

    Raises:
        PlanError: there are no inputs, or they can be read only once.
    """
    scores = torch.full((graph.num_channels,), torch.nan, dtype=torch.float64)
    for family in families(graph, batches):
        channels, together = joined(family)
        alone, with_gone = together.diagonal().clone(), torch.zeros(len(channels), dtype=torch.float64)
        left = torch.ones(len(channels), dtype=torch.bool)
        error, reached = 0.0, 0.0
        for _ in channels:
            cost = (alone + 2 * with_gone).masked_fill(~left, math.inf)
            chosen = int(cost.argmin())
            error += float(cost[chosen])
            reached = max(error, math.nextafter(reached, math.inf))
            scores[channels[chosen]] = reached
            left[chosen] = False
            with_gone += together[chosen]
    return filled(scores, graph)


def joined(family: list[LayerProducts]) -> tuple[list[int], Tensor]:
    """The channels of a family, and their contributions to all of its layers, (channels, channels)."""
    parts = [layer.contributions() for layer in family]
    channels = sorted({channel for mine, _ in parts for channel in mine})
    place = {channel: position for position, channel in enumerate(channels)}
    together = torch.zeros(len(channels), len(channels), dtype=torch.float64)
    for mine, products in parts:
        at = torch.tensor([place[channel] for channel in mine])
        together[at[:, None], at] += products
    return channels, together
