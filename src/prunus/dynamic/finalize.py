"""`settle`: what gates never change becomes part of the network: channels that never open go for good, and
gates that never close go themselves.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunus._foundation.arguments import door
from prunus.dynamic.attach import attach
from prunus.dynamic.gates import Gate, KernelActivation
from prunus.dynamic.network import Activity, DynamicNetwork
from prunus.errors import PlanError
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.plans.plan import make_plan
from prunus.surgery import compact


@door()
@torch.no_grad()
def settle(network: DynamicNetwork, seen: Activity, example_inputs: Inputs) -> DynamicNetwork:
    """A smaller gated network, which computes the same for every input for which no gate does what it never
    did in `seen`.

    Shares of MACs stay relative to the network that was gated first. It is to be calibrated anew: opening
    gates wider than before does not bring back what is gone.

    Args:
        network: of `attach`.
        seen: what its gates said about many inputs, by `activity`; the more there are, the surer it is that
            nothing is lost.
        example_inputs: what it is called with.

    Raises:
        PlanError: gates of another kind than "activation", which always choose among all channels; gates of a
            layer in groups; or no gate that closes anything is left.
    """
    if network.form.kind != "activation":
        raise PlanError(
            f"Gates of kind {network.form.kind!r} choose among all channels of a layer, so none can go for"
            " good; 'activation' is needed."
        )
    dense = network.plain().eval()
    graph = trace(dense, example_inputs)
    removed = np.zeros(graph.num_channels, dtype=bool)
    for group in graph.groups:
        if group.name in network.gates:
            removed[group.channels] = (seen.opened[group.name] == 0).numpy()
    closing = [
        name for name in network.gates if bool(((seen.opened[name] > 0) & (seen.opened[name] < 1)).any())
    ]
    if not closing:
        raise PlanError(
            "No gate opens a channel for some inputs and closes it for others: prune the network instead."
        )
    small = compact(dense, make_plan(graph, removed)) if removed.any() else dense
    form = network.form
    settled = attach(small, example_inputs, closing, form.kind, hidden=form.hidden, block=form.block)
    for name in closing:
        _take_over(
            settled.gates[name],
            network.gates[name],
            seen.opened[name] > 0,
            torch.from_numpy(~_inputs_removed(graph, name, removed)),
        )
    settled.tighten(network.strictness)
    settled.dense_macs = network.dense_macs
    return settled.train(network.training)


def _inputs_removed(graph: ChannelGraph, name: str, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which inputs of a layer are gone."""
    if getattr(graph.model.get_submodule(name), "groups", 1) != 1:
        raise PlanError(
            f"{name} is a convolution in groups, whose gate cannot be made to look at fewer channels."
        )
    axes = [axis for axis in graph.axes if axis.name == f"{name}.weight" and axis.dim == 1]
    found: NDArray[np.bool_] = np.append(removed, False)[axes[0].channels]  # pinned ones are channel -1
    return found


def _take_over(gate: Gate, old: Gate, channels: Tensor, inputs: Tensor) -> None:
    """Give a gate the numbers of one that opened more channels and looked at more."""
    assert isinstance(gate, KernelActivation) and isinstance(old, KernelActivation)
    switches = channels[:: old.block]  # channels that share a switch open together
    weight = old.last.weight[switches]
    if gate.first is not None and old.first is not None:
        gate.first.weight.copy_(old.first.weight[:, inputs])
        gate.first.bias.copy_(old.first.bias)
    else:
        count = len(inputs)
        gate.look_past(old.zeros + int((~inputs).sum()))
        past = weight[:, :count][:, ~inputs].sum(1, keepdim=True) + weight[:, count:].sum(1, keepdim=True)
        weight = torch.cat([weight[:, :count][:, inputs], past], 1) if gate.zeros else weight
    gate.last.weight.copy_(weight)
    gate.last.bias.copy_(old.last.bias[switches])
    gate.slope, gate.hard = old.slope, old.hard
