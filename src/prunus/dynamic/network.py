"""A network with gates, and what its gates cost and save."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus.channels import ChannelGraph
from prunus.channels.cost import CostModel
from prunus.channels.trace import Inputs, as_arguments
from prunus.channels.verify import evaluating
from prunus.dynamic.gates import Gate, KernelActivation, Opening
from prunus.dynamic.layers import Live
from prunus.errors import ConfigError, PrunusError


class DynamicNetwork(nn.Module):
    """A network some of whose layers are gated; made by `attach`. It takes and gives what the network does, and may run in several threads at once.

    Attributes:
        network: the user's, with gated layers in it.
        gates: by the name of their group of channels.
        graph: of the network before it was gated.
        gate_macs: MACs of all gates for one input.
    """

    def __init__(self, network: nn.Module, graph: ChannelGraph, gates: Mapping[str, Gate], places: Mapping[str, int], live: Live) -> None:
        super().__init__()
        self.network = network
        self.gates, self._live = dict(gates), live
        self.graph = graph
        self.gate_macs = sum(gate.macs(places[name]) for name, gate in gates.items())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network gives."""
        return self.network(*args, **kwargs)

    def penalty(self, gain: float | Mapping[str, float]) -> Tensor:
        """sum over gates of gain / (2 m) * sum_i s_i, the mean over the last batch, for the loss (US patent 11,321,613, claim 3).

        Args:
            gain: G, for all gates or by name.

        Raises:
            ConfigError: the network has not run in this thread yet.
        """
        if not self._live.openings:
            raise ConfigError("The penalty is on what the gates said, so the network must have run before it.")
        parts = []
        for name in self.gates:
            strength = gain if isinstance(gain, (int, float)) else gain[name]
            parts.append(strength / 2 * self._live.openings[name].open.float().mean())
        return torch.stack(parts).sum()

    def openings(self, inputs: Inputs) -> dict[str, Opening]:
        """What the gates say about a batch in evaluation, by name."""
        args, kwargs = as_arguments(inputs)
        with evaluating(self):
            self(*args, **kwargs)
        return dict(self._live.openings)

    def macs(self, openings: Mapping[str, Opening]) -> Tensor:
        """MACs for every input of a batch if only live channels are computed, those of the gates included, shape (batch,).

        For inputs of the size that the network was traced with.
        """
        batch = len(next(iter(openings.values())).open)
        kept = np.array([[group.size] * batch for group in self.graph.groups], dtype=np.float64)
        for group in self.graph.groups:
            if group.name in openings:
                kept[group.index] = openings[group.name].open.double().sum(1).cpu().numpy()
        return torch.from_numpy(_macs(self.graph.costs, kept) + self.gate_macs)

    @property
    def dense_macs(self) -> int:
        """MACs of the network without gates."""
        return self.graph.cost().macs


def _macs(costs: CostModel, kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """MACs for channels kept per group, (groups, batch), shape (batch,)."""
    constants, factors = costs.macs
    lengths = costs.fixed[:, None] + costs.per_group @ kept
    result: NDArray[np.float64] = (constants[:, None] * lengths[factors].prod(1)).sum(0)
    return result


@dataclass(frozen=True, eq=False)
class Activity:
    """What the gates said about some inputs.

    Attributes:
        opened: by gate, how often every channel was open, as a fraction, shape (channels,).
        macs: of every input, the gates' own included, shape (inputs,).
        dense_macs: of the network without gates.
    """

    opened: dict[str, Tensor]
    macs: Tensor
    dense_macs: int

    @property
    def expected(self) -> float:
        """Mean MACs relative to those of the network without gates."""
        return float(self.macs.double().mean()) / self.dense_macs


def activity(network: DynamicNetwork, batches: Iterable[Inputs]) -> Activity:
    """Run a network on some batches and write down what its gates say; raises PrunusError if there are none."""
    counts: dict[str, Tensor] = {}
    macs = []
    for inputs in batches:
        openings = network.openings(inputs)
        macs.append(network.macs(openings))
        for name, opening in openings.items():
            seen = (opening.open > 0).double().sum(0).cpu()
            counts[name] = counts[name] + seen if name in counts else seen
    if not macs:
        raise PrunusError("there is no batch to look at the gates with; at least one is needed")
    total = sum(map(len, macs))
    return Activity({name: count / total for name, count in counts.items()}, torch.cat(macs), network.dense_macs)


def anneal(network: DynamicNetwork, done: float, slope: tuple[float, float] = (1.0, 20.0), hard_from: float = 2 / 3) -> None:
    """Set the slope of all `KernelActivation` gates for a training that is so far, 0 to 1, along a geometric curve; then make them hard."""
    for gate in network.gates.values():
        if isinstance(gate, KernelActivation):
            gate.slope = slope[0] * (slope[1] / slope[0]) ** min(1.0, done / hard_from if hard_from else 1.0)
            gate.hard = done >= hard_from
