"""A network with gates, and what its gates cost and save."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import checked, door
from prunus.dynamic.gates import Form, Gate, KernelActivation, Opening
from prunus.dynamic.layers import GatedLayer, Live
from prunus.errors import ConfigError, PrunusError, TargetError
from prunus.observe.capture import check_repeatable
from prunus.paint.cost import CostModel
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs, as_arguments
from prunus.plans.verify import evaluating

_ALL = 1e9  # a strictness that closes, or opens, all that it can
_MOST_DOUBLINGS = 12


class DynamicNetwork(nn.Module):
    """A network some of whose layers are gated; made by `attach`. It takes and gives what the network does,
    and may run in several threads at once.

    Attributes:
        network: the user's, with gated layers in it.
        gates: by the name of their group of channels.
        graph: of the network before it was gated.
        form: of the gates.
        gate_macs: MACs of all gates for one input.
        dense_macs: MACs of the network without gates, before anything of it was settled; shares of MACs are
            relative to these.
        norms: gated layer -> the batch norm that was behind it, "" for none.
        strictness: of all gates in evaluation; 0 as they were trained.
        knob: (strictness, MACs relative to those without gates), from the laxest on; empty until `calibrate`.
    """

    @checked()
    def __init__(
        self,
        network: nn.Module,
        graph: ChannelGraph,
        gates: Mapping[str, Gate],
        live: Live,
        form: Form,
        gate_macs: int,
        norms: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.network = network
        self.gates, self._live = dict(gates), live
        self.graph, self.form, self.gate_macs, self.norms = graph, form, gate_macs, dict(norms)
        self.dense_macs = graph.cost().macs
        self.strictness, self.knob = 0.0, list[tuple[float, float]]()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network gives."""
        return self.network(*args, **kwargs)

    def with_network(self, network: nn.Module, gates: Mapping[str, Gate], live: Live) -> DynamicNetwork:
        """Another form of the same network, with gates and openings of its own."""
        other = DynamicNetwork(network, self.graph, gates, live, self.form, self.gate_macs, self.norms)
        other.strictness, other.knob, other.dense_macs = self.strictness, list(self.knob), self.dense_macs
        return other

    def plain(self) -> nn.Module:
        """A copy of the network without gates, all of whose channels are computed; raises ConfigError for a
        form that skips.
        """
        copied = copy.deepcopy(self.network)
        for name, norm in self.norms.items():
            gated: Any = copied.get_submodule(name)
            if not isinstance(gated, GatedLayer):
                raise ConfigError(
                    "The form that skips has its batch norms folded in and cannot give them back: ask the"
                    " network that it was made of."
                )
            copied.set_submodule(name, gated.layer)
            if norm:
                copied.set_submodule(norm, gated.norm)
        return copied

    def penalty(self, gain: float | Mapping[str, float]) -> Tensor:
        """sum over gates of gain / (2 m) * sum_i s_i, the mean over the last batch, for the loss (US patent
        11,321,613, claim 3).

        Args:
            gain: G, for all gates or by name.

        Raises:
            ConfigError: the network has not run in this thread yet.
        """
        parts = []
        for name, opening in self._said().items():
            strength = gain if isinstance(gain, (int, float)) else gain[name]
            parts.append(strength / 2 * opening.open.float().mean())
        return torch.stack(parts).sum()

    def expected(self) -> Tensor:
        """Mean MACs of the last batch relative to those of the network without gates, with a gradient, for
        the loss.

        Raises:
            ConfigError: the network has not run in this thread yet.
        """
        return self.macs(self._said()).mean() / self.dense_macs

    def openings(self, inputs: Inputs) -> dict[str, Opening]:
        """What the gates say about a batch in evaluation, by name."""
        args, kwargs = as_arguments(inputs)
        with evaluating(self):
            self(*args, **kwargs)
        return dict(self._live.openings)

    def macs(self, openings: Mapping[str, Opening]) -> Tensor:
        """MACs for every input of a batch if only live channels are computed, those of the gates included,
        float64, shape (batch,).

        For inputs of the size that the network was traced with.
        """
        batch = len(next(iter(openings.values())).open)
        kept = [
            (
                openings[group.name].open.sum(1, dtype=torch.float64).cpu()
                if group.name in openings
                else torch.full((batch,), group.size, dtype=torch.float64)
            )
            for group in self.graph.groups
        ]
        return _macs(self.graph.costs, torch.stack(kept)) + self.gate_macs

    def tighten(self, strictness: float) -> None:
        """Open fewer channels in evaluation, the larger the number: what it means for each kind of gates is
        said there.
        """
        self.strictness = strictness
        for gate in self.gates.values():
            gate.tighten(strictness)

    @property
    def budget(self) -> float:
        """Mean MACs relative to those without gates, on inputs like those of `calibrate`; setting it changes
        the gates, at any time.

        Raises:
            ConfigError: the gates were not calibrated.
            TargetError: the gates do not reach that far.
        """
        strictness, macs = zip(*self._calibrated())
        return float(np.interp(self.strictness, strictness, macs))

    @budget.setter
    def budget(self, value: float) -> None:
        strictness, macs = zip(*self._calibrated())
        if not macs[-1] <= value <= macs[0]:
            raise TargetError(
                f"These gates reach from {macs[-1]:.0%} to {macs[0]:.0%} of the MACs, not {value:.0%}."
            )
        self.tighten(float(np.interp(value, macs[::-1], strictness[::-1])))

    def calibrate(self, batches: Iterable[Inputs], points: int = 16) -> None:
        """Find out how strict the gates must be for which budget; the gates stay as they are.

        Args:
            batches: inputs like those to come, which can be read again and again; every point reads them
                once.
            points: between which budgets are interpolated.

        Raises:
            PrunusError: there is no batch, or they can be read only once.
        """
        check_repeatable(batches)
        before = self.strictness

        def expected(strictness: float) -> float:
            self.tighten(strictness)
            return activity(self, batches).expected

        try:
            low, high = (
                (0.0, 1.0)
                if self.form.kind == "winners"
                else (_reaching(expected, -1.0), _reaching(expected, 1.0))
            )
            found = {low: expected(low), high: expected(high)}
            while len(found) < points:
                at = sorted(found)
                first, second = max(pairwise(at), key=lambda pair: found[pair[0]] - found[pair[1]])
                found[(first + second) / 2] = expected((first + second) / 2)
        finally:
            self.tighten(before)
        falling = np.minimum.accumulate([found[strictness] for strictness in sorted(found)])
        self.knob = list(zip(sorted(found), falling.tolist()))

    def _calibrated(self) -> list[tuple[float, float]]:
        if not self.knob:
            raise ConfigError(
                "A budget is kept on inputs like those to come: calibrate the gates on some first."
            )
        return self.knob

    def _said(self) -> dict[str, Opening]:
        """What the gates said about the last batch of this thread."""
        if not self._live.openings:
            raise ConfigError(
                "The penalty is on what the gates said, so the network must have run before it."
            )
        return {name: self._live.openings[name] for name in self.gates}


def _reaching(expected: Callable[[float], float], sign: float) -> float:
    """The least power of two, of a sign, that opens or closes all that any strictness of that sign does; the
    largest that is tried if none does.
    """
    extreme = expected(sign * _ALL)
    tried = (sign * 2.0**n for n in range(_MOST_DOUBLINGS))
    return next(
        (strictness for strictness in tried if expected(strictness) == extreme), sign * 2.0**_MOST_DOUBLINGS
    )


def _macs(costs: CostModel, kept: Tensor) -> Tensor:
    """MACs for channels kept per group, (groups, batch), shape (batch,)."""
    constants, factors = costs.macs
    lengths = torch.from_numpy(costs.fixed)[:, None] + torch.from_numpy(costs.per_group) @ kept
    return (torch.from_numpy(constants)[:, None] * lengths[torch.from_numpy(factors)].prod(1)).sum(0)


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


@door()
def activity(network: DynamicNetwork, batches: Iterable[Inputs]) -> Activity:
    """Run a network on some batches and write down what its gates say; raises PrunusError
    if there are none.
    """
    counts: dict[str, Tensor] = {}
    macs = []
    for inputs in batches:
        openings = network.openings(inputs)
        macs.append(network.macs(openings))
        for name, opening in openings.items():
            seen = (opening.open > 0).double().sum(0).cpu()
            counts[name] = counts[name] + seen if name in counts else seen
    if not macs:
        raise PrunusError("There is no batch to look at the gates with; at least one is needed.")
    total = sum(map(len, macs))
    return Activity(
        {name: count / total for name, count in counts.items()}, torch.cat(macs), network.dense_macs
    )


@door()
def anneal(
    network: DynamicNetwork, done: float, slope: tuple[float, float] = (1.0, 20.0), hard_from: float = 2 / 3
) -> None:
    """Set the slope of all `KernelActivation` gates for a training that is so far, 0 to 1, along a geometric
    curve; then make them hard.
    """
    for gate in network.gates.values():
        if isinstance(gate, KernelActivation):
            gate.slope = slope[0] * (slope[1] / slope[0]) ** min(1.0, done / hard_from if hard_from else 1.0)
            gate.hard = done >= hard_from
