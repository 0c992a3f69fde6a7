"""What the field does without training, for `benchmarks.one_shot`: model folding, and variances repaired
channel by channel.

Folding (Wang et al. 2025, "Forget the Data and Fine-Tuning! Just Fold the Network to Compress", arXiv
2502.10216): the filters of a layer, with the batch norms behind them, are clustered by k-means; every cluster
becomes its mean, and what reads its channels reads the mean with the sum of their weights. Coupled layers
have the clusters of all their filters side by side. The cluster's place is that of the channel nearest the
mean; how many clusters a layer gets is what a plan says.

Repair (Jordan et al. 2023, "REPAIR", arXiv 2211.08403): every channel behind a batch norm gets the mean and
the deviation back that it has in the original, on calibration inputs, layer after layer; a cluster the mean
of its channels' means and deviations.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

import prunus
from prunus.compensation import merge
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.plans.consumers import norms_behind
from prunus.plans.plan import Plan, make_plan

LEAST = 1e-6  # deviation of a channel that says anything


@dataclass(frozen=True, eq=False)
class Clusters:
    """Channels that become one.

    Attributes:
        plan: all but one of each cluster go.
        into: the channel that each one goes into, (num_channels,); itself for those that stay.
    """

    plan: Plan
    into: Tensor

    def members(self) -> dict[int, list[int]]:
        """The channels of every one that stays."""
        found: dict[int, list[int]] = {}
        for channel, heir in enumerate(self.into.tolist()):
            found.setdefault(heir, []).append(channel)
        return found


def clustered(graph: ChannelGraph, widths: Plan, seed: int = 0) -> Clusters:
    """As many clusters of every group's channels as a plan leaves channels."""
    from sklearn.cluster import KMeans

    features = _features(graph)
    removed, into = np.zeros(graph.num_channels, dtype=bool), np.arange(graph.num_channels)
    gone = widths.removed_in(graph)
    for group in graph.groups:
        left = int((~gone[group.channels]).sum())
        if left == group.size:
            continue
        rows = np.stack([features[channel] for channel in group.channels.tolist()])
        found = KMeans(left, n_init=10, random_state=seed).fit(rows)
        for cluster, centre in enumerate(found.cluster_centers_):
            members = np.flatnonzero(found.labels_ == cluster)
            nearest = members[np.square(rows[members] - centre).sum(1).argmin()]
            into[group.channels[members]] = group.channels[nearest]
            removed[np.setdiff1d(group.channels[members], group.channels[nearest])] = True
    return Clusters(make_plan(graph, removed), torch.from_numpy(into))


@torch.no_grad()
def folded(model: nn.Module, graph: ChannelGraph, clusters: Clusters) -> nn.Module:
    """A copy in which one channel of every cluster is its mean, and what reads the others reads that one."""
    result = copy.deepcopy(model)
    tensors, norms = named_tensors(result), _norms(graph)
    several = {heir: members for heir, members in clusters.members().items() if len(members) > 1}
    for axis in _producers(graph):
        slots = {int(channel): slot for slot, channel in enumerate(axis.channels) if channel >= 0}
        rows = tensors[axis.name].detach().movedim(axis.dim, 0)
        bias = tensors.get(f"{axis.name.removesuffix('weight')}bias")
        norm = norms.get(axis.name)
        for heir, members in several.items():
            if heir not in slots:
                continue
            own, place = [slots[member] for member in members], slots[heir]
            if norm is None:
                rows[place] = rows[own].mean(0)
                if bias is not None:
                    bias[place] = bias[own].mean()
            else:
                _fold(rows, bias, cast(_BatchNorm, result.get_submodule(norm)), own, place)
    return merge(result, clusters.plan, clusters.into)


def _fold(rows: Tensor, bias: Tensor | None, norm: _BatchNorm, own: list[int], place: int) -> None:
    """The mean of some filters with their batch norms, whose scale stays that of the mean and whose variance
    becomes 1.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight[own] * (norm.running_var[own] + norm.eps).rsqrt()
    usual = norm.weight[own].abs().mean().clamp(min=LEAST)
    mean = norm.running_mean[own] if bias is None else norm.running_mean[own] - bias[own]
    shape = (-1, *[1] * (rows.dim() - 1))
    rows[place] = (scale.view(shape) * rows[own]).mean(0) / usual
    norm.running_mean[place] = (scale * mean).mean() / usual
    norm.running_var[place] = 1 - norm.eps
    norm.bias[place] = norm.bias[own].mean()
    norm.weight[place] = usual
    if bias is not None:
        bias[place] = 0


@torch.no_grad()
def repaired(
    model: nn.Module,
    fitted: nn.Module,
    plan: Plan,
    batches: Iterable[Any],
    clusters: Clusters | None = None,
) -> nn.Module:
    """A copy of what is to be compacted, in which batch norms give their channels the mean and deviation that
    they have in the original, or that of their cluster.
    """
    inputs = torch.cat(list(batches))
    wanted = _moments(model, inputs)
    members = clusters.members() if clusters else {}
    channels = {
        axis.name.removesuffix(".weight"): axis.channels
        for axis in prunus.trace(model, inputs[:1]).axes
        if axis.produces and axis.is_parameter
    }
    result = copy.deepcopy(fitted)
    masked = prunus.mask(fitted, plan).eval()
    handles = []
    for name, (means, deviations) in wanted.items():
        places = {int(channel): slot for slot, channel in enumerate(channels[name]) if channel >= 0}
        for heir, some in members.items():
            if heir in places and len(some) > 1:
                own = [places[one] for one in some]
                means[places[heir]], deviations[places[heir]] = means[own].mean(), deviations[own].mean()
        target = cast(_BatchNorm, result.get_submodule(name))

        def repair(
            module: nn.Module,
            given: Any,
            made: Tensor,
            target: _BatchNorm = target,
            means: Tensor = means,
            deviations: Tensor = deviations,
        ) -> Tensor:
            mean, deviation = _of_channels(made)
            alive = deviation > LEAST  # what is removed is 0 here, and stays so
            factor = torch.where(alive, deviations / deviation.clamp(min=LEAST), torch.ones_like(deviation))
            shift = torch.where(alive, means - factor * mean, torch.zeros_like(mean))
            target.weight.mul_(factor)
            target.bias.mul_(factor).add_(shift)
            shape = (1, -1, *[1] * (made.dim() - 2))
            return made * factor.view(shape) + shift.view(shape)

        handles.append(masked.get_submodule(name).register_forward_hook(repair))
    masked(inputs)
    for handle in handles:
        handle.remove()
    return result


def _moments(model: nn.Module, inputs: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and deviation of every channel behind every batch norm with a scale."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    handles = [
        module.register_forward_hook(
            lambda module, given, made, name=name: found.__setitem__(name, _of_channels(made))
        )
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.affine
    ]
    model.eval()(inputs)
    for handle in handles:
        handle.remove()
    return found


def _of_channels(made: Tensor) -> tuple[Tensor, Tensor]:
    rows = made.transpose(0, 1).flatten(1).double()
    return rows.mean(1).to(made.dtype), rows.std(1).to(made.dtype)


def _producers(graph: ChannelGraph) -> list[Axis]:
    """Axes of the weights that make channels, one slot for each."""
    ranks = {source.name: source.tensor.dim() for source in graph.sources}
    found = [
        axis
        for axis in graph.axes
        if axis.produces and axis.is_parameter and ranks[axis.name] > 1 and (axis.channels >= 0).any()
    ]
    for axis in found:
        free = axis.channels[axis.channels >= 0]
        if len(np.unique(free)) != len(free):
            raise SystemExit(f"{axis.name} makes a channel in several places; folding knows one.")
    return found


def _norms(graph: ChannelGraph) -> dict[str, str]:
    """Weight of a layer -> the batch norm behind it."""
    return {f"{name}.weight": norm for name, norm in norms_behind(graph).items() if norm}


def _features(graph: ChannelGraph) -> dict[int, NDArray[np.float64]]:
    """All that makes a channel: its filters, multiplied by the batch norms behind them, and what is added."""
    tensors, norms = named_tensors(graph.model), _norms(graph)
    found: dict[int, list[NDArray[np.float64]]] = {}
    for axis in _producers(graph):
        rows = tensors[axis.name].detach().movedim(axis.dim, 0).flatten(1).double()
        if axis.name in norms:
            norm = cast(_BatchNorm, graph.model.get_submodule(norms[axis.name]))
            assert norm.running_mean is not None and norm.running_var is not None
            scale = (norm.weight * (norm.running_var + norm.eps).rsqrt()).detach().double()
            shift = norm.bias.detach().double() - scale * norm.running_mean.double()
            rows = torch.cat([scale[:, None] * rows, shift[:, None]], 1)
        for slot, channel in enumerate(axis.channels.tolist()):
            if channel >= 0:
                found.setdefault(channel, []).append(rows[slot].numpy())
    return {channel: np.concatenate(parts) for channel, parts in found.items()}
