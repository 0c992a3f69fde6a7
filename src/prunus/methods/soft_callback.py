"""Soft filter pruning as a callback of a training; `prunus.methods.soft` has the method and its reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import checked, door
from prunus._foundation.made import remembers
from prunus.errors import PrunusError, TargetError, clause
from prunus.methods.filter_norms import filter_norms, filters
from prunus.methods.soft_removal import settle_constants, without, zeros_in
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.planning.space import space_for
from prunus.planning.targets import plan as choose
from prunus.plans.mask import Zeros, lost_slots, produced, set_to_zero
from prunus.plans.plan import Plan, make_plan
from prunus.tasks.placed import placed
from prunus.training.hooks import Pruning
from prunus.training.learner import Smaller

Growth = Literal["constant", "asymptotic"]
AT_ONCE = 8  # numbers that kernels take at once: with 12 filters a layer costs about what it costs with 16
_KNEE = 1 / 8  # ASFP: three quarters of the way are done after an eighth of the training


@dataclass(frozen=True)
class Softened:
    """What was zeroed after one epoch: no trial, as nothing is judged or taken back.

    Attributes:
        epoch: counted from 0; -1 is before the training.
        rate: fraction of the channels.
        alive: channels left per group, by its name.
        regrown: of the channels zeroed last time, how many are not among these.
    """

    epoch: int
    rate: float
    alive: Mapping[str, int]
    regrown: int


@remembers("remove")
class SoftPruning(Pruning):
    """Sets the weakest filters to zero between the epochs of a training; give it to `prunus.training.train`
    as its pruning.

    Args:
        example_inputs: what the model is called with, for its channels; on any device, in any precision.
        rate: fraction of the channels of every group, at the end of the training.
        growth: "constant" (SFP), or "asymptotic" (ASFP): from `first_rate` up to `rate`, most of it early.
        first_rate: where "asymptotic" begins.
        every: epochs between two prunings; the last epoch before the freeze always ends with one.
        freeze: part of the epochs, at the end, in which no filter grows back; 0 is the published way, which
            prunes after the last epoch too.
        folded: take filters with the batch norm behind them; False is the published way, which looks at their
            weights alone and zeroes these, as is done of a batch norm whose scale is not trained.
        from_start: prune before the first epoch too, as the authors' code does.
        p: norm of the filters, 1 or 2.
        rates: glob pattern of layers -> rate for them, in place of `rate`; with "asymptotic" they grow
            likewise, from 0.
        protect: glob patterns of layers that stay whole, such as projection shortcuts.
        round_to: widths become multiples of this number, wherever a layer has that many channels; "auto": of
            8, which is what processors and GPUs compute at once, or half of that, where that makes a layer
            narrower at all.
        stages: parts of the training before the freeze; what is pruned at the end of each is so for good.
            More than one are of use where the rate grows.
        remove: what is pruned for good is gone for the rest of a training by `prunus.training.train`, which
            gives the same weights in less time; False leaves it in, as zeros.

    Attributes:
        plan: what was pruned last; None before the first time.
        gone: what of that is for good; None before there is anything.
        record: what was done after every epoch.
        frozen: whether the plan is for good, so that the model is what its masked copy is, and what it will
            be without these channels.
        notes: why what is for good could not be removed before the end, where that is so.

    Raises:
        TargetError: a number out of range.
    """

    @checked(TargetError)
    def __init__(
        self,
        example_inputs: Inputs,
        rate: float,
        *,
        growth: Growth = "constant",
        first_rate: float = 0.0,
        every: int = 1,
        freeze: float = 0.5,
        folded: bool = True,
        from_start: bool = False,
        p: float = 2,
        rates: Mapping[str, float] | None = None,
        protect: Sequence[str] = (),
        round_to: int | Literal["auto"] = 1,
        stages: int = 1,
        remove: bool = True,
    ) -> None:
        if not 0 <= rate < 1 or every < 1:
            raise TargetError(
                f"Soft pruning takes a rate from 0 to below 1 and a whole number of epochs, not {rate} and"
                f" {every}."
            )
        if not 0 <= freeze < 1:
            raise TargetError(
                f"The part of the training in which filters are frozen lies from 0 to below 1, not {freeze}."
            )
        if stages < 1 or (stages > 1 and growth == "constant"):
            raise TargetError(
                f"Filters go in 1 stage, or in several where the rate grows (growth 'asymptotic'), not in"
                f" {stages} with growth {growth!r}."
            )
        if growth == "asymptotic":
            asymptotic_rate(0.5, rate, first_rate)
        self.rate, self.protect = rate, tuple(protect)
        self._inputs, self._growth, self._first, self._every, self._p = (
            example_inputs,
            growth,
            first_rate,
            every,
            p,
        )
        self._rates, self._folded, self._from_start, self._freeze = (
            dict(rates or {}),
            folded,
            from_start,
            freeze,
        )
        self._round_to, self._stages, self._remove = round_to, stages, remove
        self._graph: ChannelGraph | None = None
        self._zeros: list[Zeros] | None = None
        self._left: list[Zeros] = []  # in the smaller network
        self._smaller: Smaller | None = None
        self._stays = False  # what is gone for good cannot be removed from this model
        self.plan: Plan | None = None
        self.gone: Plan | None = None
        self.record: list[Softened] = []
        self.frozen = False
        self.notes: tuple[str, ...] = ()

    def rate_after(self, epoch: int, epochs: int) -> float:
        """The rate after an epoch (-1: before the first)."""
        if self._growth == "constant":
            return self.rate
        return asymptotic_rate((epoch + 1) / epochs, self.rate, self._first)

    def before_training(self, model: nn.Module, epochs: int) -> None:
        """Prune where that is wanted; patterns that match nothing and models that cannot be traced are found
        out here, not after an epoch.
        """
        soft = self._soft(epochs)
        self.frozen, self.gone = False, None
        self._begin_anew()
        self._plan(self.traced(model), soft - 1, soft)
        if self._from_start:
            self._soften(model, -1, soft)

    def after_step(self, model: nn.Module) -> None:
        """Keep at zero what is so for good, in the model or in the smaller one."""
        if self.gone is None:
            return
        if self._smaller is not None and model is self._smaller.model:
            set_to_zero(self._left)
            return
        if self._zeros is None:
            graph = self.traced(model)
            self._zeros = zeros_in(model, graph, self.gone.removed_in(graph))
        set_to_zero(self._zeros)

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Prune where it is time to, and for good at the end of a stage."""
        soft = self._soft(epochs)
        ends = {round(soft * stage / self._stages) for stage in range(1, self._stages + 1)}
        if epoch < soft and ((epoch + 1) % self._every == 0 or epoch + 1 in ends):
            self.frozen = epoch + 1 == soft < epochs
            self._soften(model, epoch, soft, for_good=epoch + 1 in ends and epoch + 1 < epochs)

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        """Which numbers of the parameters are left, once that is for good."""
        if self.gone is None:
            return {}
        graph, parameters = self.traced(model), dict(model.named_parameters())
        kept: dict[str, Tensor] = {}
        for axis, slots in lost_slots(graph, self.gone.removed_in(graph)):
            if axis.is_parameter:
                mask = kept.setdefault(axis.name, torch.ones_like(parameters[axis.name], dtype=torch.bool))
                mask.index_fill_(axis.dim, slots.to(mask.device), False)
        return kept

    def smaller(self, model: nn.Module) -> Smaller | None:
        """The model without what is gone for good; None where nothing is, or it must stay."""
        if self.gone is None or not self._remove or self._stays or not self.gone.removed:
            return None
        if self._smaller is None:
            try:
                self._smaller, self._left = without(model, self.traced(model), self.gone)
            except PrunusError as error:
                self._stays = True
                self.notes = (
                    "The frozen channels were masked until the training ended, as it could not go on without"
                    f" them ({clause(error)}).",
                )
        return self._smaller

    @property
    def trains_smaller(self) -> bool:
        """Whether a smaller network trains on since something is gone for good."""
        return self._smaller is not None

    def _begin_anew(self) -> None:
        """Forget what was made for other channels that were gone."""
        self._zeros, self._smaller, self._stays = None, None, False

    def _soft(self, epochs: int) -> int:
        """Epochs until filters are frozen."""
        return epochs - int(self._freeze * epochs)

    def state(self) -> dict[str, Any]:
        """The record, the last plan, and whether it is for good."""
        record = [[s.epoch, s.rate, dict(s.alive), s.regrown] for s in self.record]
        return {
            "plan": None if self.plan is None else self.plan.to_json(),
            "record": record,
            "frozen": self.frozen,
            "gone": None if self.gone is None else self.gone.to_json(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.plan = None if state["plan"] is None else Plan.from_json(state["plan"])
        self.record = [Softened(*entry) for entry in state["record"]]
        self.frozen = state["frozen"]
        gone = state.get("gone", state["plan"] if self.frozen else None)
        self.gone = None if gone is None else Plan.from_json(gone)
        self._begin_anew()

    def _soften(self, model: nn.Module, epoch: int, soft: int, for_good: bool = False) -> None:
        """Set the weakest filters to zero, for good with all that belongs to them; `soft` epochs come before
        the freeze.
        """
        graph = self.traced(model)
        rate = self.rate_after(epoch, soft)
        plan = self._plan(graph, epoch, soft)
        removed = plan.removed_in(graph)
        before = removed if self.plan is None else self.plan.removed_in(graph)
        if for_good:
            set_to_zero(produced(model, graph, removed))
            settle_constants(model, graph, removed)
            self.gone = plan
            self._begin_anew()
        else:
            set_to_zero(filters(model, graph, removed, self._folded))
        alive = dict(zip((group.name for group in graph.groups), graph.kept(removed).tolist(), strict=True))
        self.record.append(Softened(epoch, rate, alive, int((before & ~removed).sum())))
        self.plan = plan

    def _plan(self, graph: ChannelGraph, epoch: int, epochs: int) -> Plan:
        """What goes after an epoch."""
        grown = 1.0 if self._growth == "constant" else asymptotic_rate((epoch + 1) / epochs, 1.0)
        rates = {pattern: value * grown for pattern, value in self._rates.items()}
        norms = filter_norms(graph, self._p, self._folded)
        if self.gone is not None:  # goes first, whatever else has the norm zero
            norms[torch.from_numpy(self.gone.removed_in(graph))] = -1
        rate = self.rate_after(epoch, epochs)
        if self._round_to != "auto":
            options: dict[str, Any] = {"rates": rates, "protect": self.protect, "round_to": self._round_to}
            return choose(graph, norms, rate=rate, **options)
        space, _ = space_for(graph, norms, AT_ONCE, 1, self.protect, rates, exact=False, stairs=True)
        sizes = np.array([group.size for group in graph.groups], dtype=np.int64)
        return make_plan(graph, space.removed(space.nearest(sizes - np.floor(rate * sizes + 1e-9))))

    def traced(self, model: nn.Module) -> ChannelGraph:
        """The channels of the model that is trained, traced once."""
        if self._graph is None or self._graph.model is not model:
            self._graph = trace(model, placed(self._inputs, model))
        return self._graph


@door()
def asymptotic_rate(progress: float, goal: float, first: float = 0.0) -> float:
    """ASFP's rate a exp(-k t) + b after the part t of the training, through (0, first), (1/8, 3/4 goal) and
    (1, goal).

    Raises TargetError where no such curve exists: `first` must be below 3/4 of the goal and the curve bend
    down.
    """
    if goal == first == 0:
        return 0.0
    share = (0.75 * goal - first) / (goal - first) if goal > first >= 0 else 0.0
    if not _KNEE < share < 1:
        raise TargetError(
            f"A rate that grows from {first} to {goal} must begin at 0 or above, and an eighth of its way"
            f" must lie below {0.75 * goal:g}."
        )
    low, high = 0.0, 1.0  # of q = exp(-k / 8): (1 - q) / (1 - q^8) falls from 1 to 1/8
    for _ in range(100):
        q = (low + high) / 2
        low, high = (q, high) if (1 - q) > share * (1 - q**8) else (low, q)
    q = (low + high) / 2
    return float(first + (goal - first) * (1 - q ** (8 * progress)) / (1 - q**8))
