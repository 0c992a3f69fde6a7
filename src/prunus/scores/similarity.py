"""Channel similarity: of channels that do the same, one is enough, however strong they are.

Zhang et al. 2019, "Exploiting Channel Similarity for Accelerating Deep Convolutional Neural Networks" (arXiv
1908.02620), and its successor, Zhao, Zhang and Ni 2023 (IEEE TCSVT, 10.1109/TCSVT.2023.3248659): a metric
from a probabilistic model, agglomerative clustering, one or a few channels left of every cluster, widths that
emerge under one budget. No formula of theirs is public; the metrics and the way to a score below are our
choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.errors import PlanError
from prunus.paint.graph import ChannelGraph, Group
from prunus.paint.inputs import Inputs
from prunus.plans.consumers import reading_axes
from prunus.plans.plan import Plan
from prunus.scores.batchnorm import bn_scale
from prunus.scores.merging import Merging, merge_all, pairs
from prunus.scores.moments import Seen, from_batch_norms, from_inputs, from_noise, from_weights
from prunus.scores.products import families
from prunus.scores.reduce import per_channel, weight_axes

Metric = Literal["noise", "bn_prop", "bn_indep", "empirical"]
Distance = Literal["next", "plain"]
Keep = Literal["medoid", "scale"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike the channels of every group are.

    Attributes:
        scores: shape (num_channels,): the height at which a channel's cluster is merged into one that is
            represented by others; those that are never merged have the height of their group's last merge,
            and a little more.
        products: per group E[y_i y_j] of its channels, or their covariances, each view of them scaled to a
            mean square of 1, shape (size, size).
        losses: per group what is lost when channel j stands in for channel i, shape (size, size).
        links: per group the merges as scipy's linkage, shape (size - 1, 4), for a dendrogram.
    """

    scores: Tensor
    products: tuple[Floats, ...]
    losses: tuple[Floats, ...]
    links: tuple[Floats, ...]

    def representatives(self, plan: Plan, graph: ChannelGraph) -> tuple[Tensor, Tensor]:
        """For every channel the one that it goes into, and how many times that one makes up for it, both
        (num_channels,), for `merge`.

        A removed channel goes into that of its group which makes up for most of it, <y_j, y_r> / <y_r, y_r>
        times; where none stays, into itself.
        """
        removed = plan.removed_in(graph)
        into, scales = np.arange(len(removed)), np.ones(len(removed))
        for group, products in zip(graph.groups, self.products):
            gone, kept = (
                np.flatnonzero(flag) for flag in (removed[group.channels], ~removed[group.channels])
            )
            if len(gone) and len(kept):
                nearest = kept[residuals(products)[np.ix_(gone, kept)].argmin(1)]
                into[group.channels[gone]] = group.channels[nearest]
                squares = products[nearest, nearest]
                scales[group.channels[gone]] = np.divide(
                    products[gone, nearest], squares, out=np.zeros(len(gone)), where=squares > 0
                )
        return torch.from_numpy(into), torch.from_numpy(scales)


@door(PlanError)
def similarity(
    graph: ChannelGraph,
    metric: Metric = "noise",
    batches: Iterable[Inputs] | None = None,
    *,
    distance: Distance = "next",
    keep: Keep = "medoid",
    representatives: int = 1,
) -> Similarity:
    """Cluster the channels of every group, and score each by the height at which it becomes superfluous.

    Those two clusters are merged of which one loses least when the representative of the other stands in for
    its channels (`medoid_linkage`, our choice). The best of their representatives stay, and the others get
    the height of the merge, the root of that loss, as their score; so a threshold on the scores is a cut of
    all dendrograms at one height, and any target of `prunus.plan` finds it, with `scope="global"` widths that
    emerge by themselves. With "next" and real inputs channels are merged for real, one into another, each
    merge judged as those before have left the next layers (`merge_all`). Coupled channels are compared in
    every layer that makes or reads them, each layer with the same say.

    Args:
        graph: a traced model.
        metric: "noise" (our choice), what the next layers get when the network runs on noise and every batch
            norm keeps its word; "bn_prop", from weights and moments propagated by formulas; "bn_indep", from
            batch norms alone, for comparison; "empirical", on what the next layers get for real inputs.
        batches: calibration inputs for "empirical", which can be read again and again.
        distance: "plain", E[(y_i - y_j)^2] relative to the size of the two; "next" (our choice), what the
            next layers' outputs lose when one of the two is replaced by the best multiple of the other and a
            constant, relative to what a channel of the group adds to them; for real inputs by the best kernel
            on the other, relative to the variance of their outputs (`Merging`).
        keep: of a merged cluster the channels stay that stand in best for all others ("medoid"), or whose
            batch norms scale most ("scale").
        representatives: how many of a cluster stay.

    Raises:
        PlanError: "empirical" without inputs, an unknown metric, or no batch norm for a metric or a choice
            that needs one.
    """
    if representatives < 1:
        raise PlanError(f"At least one channel of a cluster stays, not {representatives}.")
    products = _products(graph, _views(graph, metric, batches), centred=distance == "next")
    strength = bn_scale(graph).numpy() if keep == "scale" else None
    reading = _reading(graph).numpy()
    merged = (
        _merged_for_real(graph, batches)
        if distance == "next" and metric == "empirical" and batches is not None
        else {}
    )
    scores, links, losses = np.zeros(graph.num_channels), [], []
    for group, square in zip(graph.groups, products):
        lost = plain_losses(square) if distance == "plain" else next_losses(square, reading[group.channels])
        lost, merges, heights = merged.get(group.index) or (lost, medoid_linkage(lost), None)
        losses.append(lost)
        links.append(merges)
        rank = strength[group.channels] if strength is not None else None
        if heights is None or rank is not None or representatives > 1:
            heights = _heights(merges, lost, rank, representatives)
        scores[group.channels] = _lasting(heights)
    return Similarity(torch.from_numpy(scores), products, tuple(losses), tuple(links))


def plain_losses(products: Floats) -> Floats:
    """E[(y_i - y_j)^2] relative to the mean square of the two, shape (size, size), in [0, 4]; 0 for two
    channels that are always 0.
    """
    squares = products.diagonal()
    both = (squares[:, None] + squares[None, :]) / 2
    apart = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0)
    result: Floats = np.divide(apart, both, out=np.zeros_like(apart), where=both > 0)
    np.fill_diagonal(result, 0)
    return result


def residuals(products: Floats) -> Floats:
    """What is left of channel i when the best multiple of j is taken from it, E[(y_i - s y_j)^2], shape
    (size, size).
    """
    squares = products.diagonal()
    taken = np.divide(products**2, squares[None, :], out=np.zeros_like(products), where=squares[None, :] > 0)
    result: Floats = np.maximum(squares[:, None] - taken, 0)
    return result


def next_losses(covariances: Floats, reading: Floats) -> Floats:
    """`residuals` times the squared weights that read channel i, relative to the mean of a channel's variance
    times these; shape (size, size).
    """
    usual = float((covariances.diagonal() * reading).mean()) or 1.0
    result: Floats = residuals(covariances) * reading[:, None] / usual
    np.fill_diagonal(result, 0)
    return result


def medoid_linkage(losses: Floats) -> Floats:
    """Agglomerative clustering in which a cluster is handed over, whole, to the representative of another; as
    scipy's linkage, (size - 1, 4).

    A cluster loses the sum of `losses` of its channels under its representative. The next merge is the one
    that adds least to the sum over all clusters; its height is the root of what it adds, or that of the merge
    before, if that is more.
    """
    size = len(losses)
    names, members, merges = np.arange(size), np.ones(size), []
    total = losses.copy()  # of the cluster of representative i under representative j
    added, dead, height = total.copy(), np.eye(size, dtype=bool), 0.0
    added[dead] = np.inf
    for merge in range(size - 1):
        gone, heir = divmod(int(added.argmin()), size)
        height = max(height, float(added[gone, heir]))
        members[heir] += members[gone]
        merges.append((*sorted((names[gone], names[heir])), math.sqrt(height), members[heir]))
        names[heir] = size + merge
        dead[gone] = dead[:, gone] = True
        total[heir] += total[gone]
        added[heir] = total[heir] - total[heir, heir]
        added[dead] = np.inf
    return np.array(merges).reshape(-1, 4)


def _merged_for_real(
    graph: ChannelGraph, batches: Iterable[Inputs]
) -> dict[int, tuple[Floats, Floats, Floats]]:
    """Group -> losses of pairs, merges and heights of `merge_all`, in all plain layers that read the group;
    of groups that one reads.
    """
    found = {}
    for family in families(graph, batches):
        read = {
            index
            for layer in family
            for index in graph.group_of_channel[layer.channels[layer.channels >= 0]].tolist()
        }
        for group in (graph.groups[index] for index in sorted(read)):
            layers = [
                Merging(layer, group.channels)
                for layer in family
                if not layer.coarse and np.isin(group.channels, layer.channels).all()
            ]
            if layers:
                lost = pairs(layers, group.size)
                found[group.index] = lost, *merge_all(layers, lost)
    return found


def _reading(graph: ChannelGraph) -> Tensor:
    """Sum of the squared weights that read a channel, (num_channels,); 1 where none is known to."""
    reads = {(axis.name, axis.dim) for axis in reading_axes(graph)}
    reading = [axis for axis in weight_axes(graph) if (axis.name, axis.dim) in reads]
    found = per_channel(graph, reading, lambda rows: rows.double().square().sum(1), "sum")
    return torch.where(found > 0, found, torch.ones_like(found))


def _views(graph: ChannelGraph, metric: str, batches: Iterable[Inputs] | None) -> Iterable[Seen]:
    match metric:
        case "noise":
            return from_noise(graph)
        case "bn_prop":
            return from_weights(graph)
        case "bn_indep":
            return from_batch_norms(graph)
        case "empirical":
            if batches is None:
                raise PlanError("The metric 'empirical' looks at real inputs: give batches.")
            return from_inputs(graph, batches)
    raise PlanError(f"The metric is 'noise', 'bn_prop', 'bn_indep' or 'empirical', not {metric!r}.")


def _products(graph: ChannelGraph, views: Iterable[Seen], centred: bool) -> tuple[Floats, ...]:
    """Per group the products of its channels, or their covariances, summed over all views; the slots of one
    channel in a view are summed over.
    """
    result = [np.zeros((group.size, group.size)) for group in graph.groups]
    for seen in views:
        held = set(graph.group_of_channel[seen.channels[seen.channels >= 0]].tolist())
        for group in (graph.groups[index] for index in sorted(held)):
            products = _of_group(
                group, seen.channels, seen.products - np.outer(seen.means, seen.means) * centred
            )
            mean = products.diagonal().mean()
            if mean > 0:
                result[group.index] += products / mean
    if graph.num_channels and not any(square.any() for square in result):
        raise PlanError(
            f"{type(graph.model).__name__} has nothing that this metric could compare its channels by; use"
            " another."
        )
    return tuple(result)


def _of_group(group: Group, channels: NDArray[np.int64], products: Floats) -> Floats:
    """Products of the channels of a group: of their first slots, of their second ones and so on, added up."""
    order = np.argsort(channels, kind="stable")
    slots = order[np.isin(channels[order], group.channels)]
    by_channel = slots.reshape(group.size, -1)  # every channel of a group has as many slots of an axis
    return sum(
        (products[np.ix_(column, column)] for column in by_channel.T),
        start=np.zeros((group.size, group.size)),
    )


def _lasting(heights: Floats) -> Floats:
    """Heights with a little more than the highest in place of infinity."""
    last = float(heights[np.isfinite(heights)].max(initial=0.0))
    return np.where(np.isfinite(heights), heights, 1.01 * last + 1e-9)


def _heights(merges: Floats, losses: Floats, strength: Floats | None, representatives: int) -> Floats:
    """The height of the merge at which every channel of a group stops standing for its cluster, infinite if
    it never does, shape (size,).
    """
    size = len(losses)
    members = [[i] for i in range(size)]
    standing = [[i] for i in range(size)]
    heights = np.full(size, np.inf)
    for first, second, height, _ in merges:
        a, b = int(first), int(second)
        everyone, candidates = members[a] + members[b], standing[a] + standing[b]
        worth = strength[candidates] if strength is not None else -losses[np.ix_(everyone, candidates)].sum(0)
        best = [candidates[i] for i in np.argsort(-worth, kind="stable")]
        heights[best[representatives:]] = height
        members.append(everyone)
        standing.append(best[:representatives])
    return heights
