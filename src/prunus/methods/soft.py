"""Soft filter pruning: after every epoch the weakest filters are set to zero and go on learning; at the end
the weakest are removed for good.

He et al. 2018, "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks" (SFP, arXiv
1808.06866), and He et al. 2019, "Asymptotic Soft Filter Pruning" (ASFP, arXiv 1808.07471), in which the rate
grows. The filter half of Pabitha and Jayasimhan 2024.

Here the units are coupled channels, so that every network can be trained like this and what is zero at the
end can be removed. As in the authors' code neither optimiser state nor biases nor shifts of batch norms are
zeroed: a gradient must find its way through them to let a filter regrow. Our choices are three:

- A filter is taken together with the batch norm behind it (`folded`): its length is multiplied by what the
  norm multiplies it by, and its scale there is set to zero in place of its weights, which comes to the same
  outputs. The length of a filter in front of a batch norm means nothing, and one that is zero there gets
  gradients up to 1/sqrt(eps) = 316 times too large: it comes back at once, at full strength, with a random
  direction and longer than all others, which are then pruned in its place; and being long it learns no more.
- Nothing is zeroed before the first epoch: behind a zero filter a new batch norm gives zero, where a
  rectifier passes no gradient, so that the filters of that first choice, which is by chance, could never grow
  back.
- In the last part of the training what is pruned stays zero, with its biases and batch norm (`freeze`):
  otherwise the last pruning takes filters that have just grown, and what their batch norm adds, and nothing
  makes up for it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import callback, example_of, placed
from prunus.methods.common import FIRST, Journal, Outcome, Target
from prunus.methods.removal import remove
from prunus.paint import trace
from prunus.paint.graph import Axis, ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.paint.model_copy import named_tensors
from prunus.planning.targets import plan as choose
from prunus.plans.consumers import norms_behind
from prunus.plans.mask import Zeros, lost_slots, produced, set_to_zero
from prunus.plans.plan import Plan
from prunus.scores.reduce import as_rows, combined, norm_scale, weight_axes, wide
from prunus.tasks import Task
from prunus.training import Curriculum, TrainConfig
from prunus.training.hooks import Pruning

Growth = Literal["constant", "asymptotic"]
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


@door(TargetError)
def soft_pruning(
    model: nn.Module,
    task: Task,
    *,
    rate: float = 0.3,
    growth: Growth = "constant",
    first_rate: float = 0.0,
    prune_every: int = 1,
    freeze: float = 0.5,
    folded: bool = True,
    from_start: bool = False,
    norm: float = 2,
    rates: Mapping[str, float] | None = None,
    protect: tuple[str, ...] = (),
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    curriculum: Curriculum | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a network while its weakest filters are zero, and remove what is zero at the end.

    Args:
        model: trained or not.
        task: what it is for.
        rate: fraction of the channels of every group that goes.
        growth: "constant" (SFP), or "asymptotic" (ASFP): from `first_rate` up to `rate`, most of it early.
        first_rate: where "asymptotic" begins.
        prune_every: epochs between two prunings; the last epoch before the freeze always ends with one.
        freeze: part of the epochs, at the end, in which no filter grows back; 0 is the published way, which
            prunes after the last epoch too.
        folded: take filters with the batch norm behind them; False is the published way, which looks at their
            weights alone and zeroes these.
        from_start: prune before the first epoch too, as the authors' code does.
        norm: p of the filters' norm, 1 or 2.
        rates: glob pattern of layers -> rate for them, in place of `rate`.
        protect: glob patterns of layers that stay whole, such as projection shortcuts.
        config: how to train; None = its defaults.
        tuning: how to fine-tune what is left; None leaves it out.
        curriculum: which samples every epoch trains on; None = all. See `prunus.methods.twofold`.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        In `found`, "record" says what was zeroed after every epoch (`Softened`).

    Raises:
        TargetError: a number out of range.
        PrunusError: whatever training and compaction raise.
    """
    pruning = SoftPruning(
        example_of(task, model),
        rate,
        growth=growth,
        first_rate=first_rate,
        every=prune_every,
        freeze=freeze,
        folded=folded,
        from_start=from_start,
        p=norm,
        rates=rates,
        protect=protect,
    )
    return trained_softly(
        copy.deepcopy(model),
        task,
        pruning,
        config or TrainConfig(),
        tuning,
        curriculum,
        journal,
        Clock(watch),
    )


def trained_softly(
    model: nn.Module,
    task: Task,
    pruning: SoftPruning,
    config: TrainConfig,
    tuning: TrainConfig | None,
    curriculum: Curriculum | None,
    journal: Journal,
    clock: Clock,
) -> Outcome:
    """Train in place, and remove for good what is zero at the end."""
    options: dict[str, Any] = {
        "pruning": callback(pruning, model),
        "curriculum": curriculum,
        **journal.options(FIRST, clock.watch),
    }
    with clock.steps(FIRST):
        history = task.fit(model, config, **options)
    model.eval()
    if pruning.plan is None:
        raise TargetError("Nothing was pruned in this training, so there is nothing to remove.")
    graph = pruning.traced(model)
    target = Target("rate", pruning.rate, protect=pruning.protect)
    outcome = remove(
        model,
        graph,
        pruning.plan.attach(graph),
        target,
        task,
        clock,
        tuning=tuning,
        recalibrated=not pruning.frozen,
        before={"pruned softly": model},  # no dense network is trained here
    )
    return replace(outcome, training=history, found={"record": tuple(pruning.record)})


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

    Attributes:
        plan: what was pruned last; None before the first time.
        record: what was done after every epoch.
        frozen: whether that is for good, so that the model is what its masked copy is, and what it will be
            without these channels.

    Raises:
        TargetError: a number out of range.
    """

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
        self._graph: ChannelGraph | None = None
        self._zeros: list[Zeros] | None = None
        self.plan: Plan | None = None
        self.record: list[Softened] = []
        self.frozen = False

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
        self.frozen, self._zeros = False, None
        self._plan(self.traced(model), soft - 1, soft)
        if self._from_start:
            self._soften(model, -1, soft)

    def after_step(self, model: nn.Module) -> None:
        """Keep at zero what is frozen."""
        if not self.frozen:
            return
        if self._zeros is None:
            assert self.plan is not None
            graph = self.traced(model)
            self._zeros = produced(model, graph, self.plan.removed_in(graph))
        set_to_zero(self._zeros)

    def after_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Prune where it is time to, and for good before the freeze."""
        soft = self._soft(epochs)
        if epoch < soft and ((epoch + 1) % self._every == 0 or epoch + 1 == soft):
            self.frozen = epoch + 1 == soft < epochs
            self._soften(model, epoch, soft)

    def surviving(self, model: nn.Module) -> dict[str, Tensor]:
        """Which numbers of the parameters are left, once that is for good."""
        if not self.frozen or self.plan is None:
            return {}
        graph, parameters = self.traced(model), dict(model.named_parameters())
        kept: dict[str, Tensor] = {}
        for axis, slots in lost_slots(graph, self.plan.removed_in(graph)):
            if axis.is_parameter:
                mask = kept.setdefault(axis.name, torch.ones_like(parameters[axis.name], dtype=torch.bool))
                mask.index_fill_(axis.dim, slots.to(mask.device), False)
        return kept

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
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.plan = None if state["plan"] is None else Plan.from_json(state["plan"])
        self.record = [Softened(*entry) for entry in state["record"]]
        self.frozen, self._zeros = state["frozen"], None

    def _soften(self, model: nn.Module, epoch: int, soft: int) -> None:
        """Set the weakest filters to zero, for good with all that belongs to them; `soft` epochs come before
        the freeze.
        """
        graph = self.traced(model)
        rate = self.rate_after(epoch, soft)
        plan = self._plan(graph, epoch, soft)
        removed = plan.removed_in(graph)
        before = removed if self.plan is None else self.plan.removed_in(graph)
        set_to_zero(
            produced(model, graph, removed) if self.frozen else filters(model, graph, removed, self._folded)
        )
        alive = dict(zip((group.name for group in graph.groups), graph.kept(removed).tolist(), strict=True))
        self.record.append(Softened(epoch, rate, alive, int((before & ~removed).sum())))
        self.plan = plan

    def _plan(self, graph: ChannelGraph, epoch: int, epochs: int) -> Plan:
        """What goes after an epoch."""
        grown = 1.0 if self._growth == "constant" else asymptotic_rate((epoch + 1) / epochs, 1.0)
        rates = {pattern: value * grown for pattern, value in self._rates.items()}
        return choose(
            graph,
            filter_norms(graph, self._p, self._folded),
            rate=self.rate_after(epoch, epochs),
            rates=rates,
            protect=self.protect,
        )

    def traced(self, model: nn.Module) -> ChannelGraph:
        """The channels of the model that is trained, traced once."""
        if self._graph is None or self._graph.model is not model:
            self._graph = trace(model, placed(self._inputs, model))
        return self._graph


def filters(model: nn.Module, graph: ChannelGraph, removed: NDArray[np.bool_], folded: bool) -> list[Zeros]:
    """What makes some channels, but for biases and shifts: weights, or, `folded`, the scale of the batch norm
    behind them where there is one that is trained, as one that is not would never grow back.
    """
    tensors = named_tensors(model)
    behind = {
        weight: norm
        for weight, norm in (_norms(graph) if folded else {}).items()
        if tensors[f"{norm}.weight"].requires_grad
    }
    scales = {f"{norm}.weight" for norm in behind.values()}
    return [
        Zeros(tensors[axis.name], axis.dim, slots.to(tensors[axis.name].device), axis.neutral)
        for axis, slots in lost_slots(graph, removed)
        if axis.is_parameter and axis.produces
        if axis.name in scales or (tensors[axis.name].dim() > 1 and axis.name not in behind)
    ]


@door()
def filter_norms(graph: ChannelGraph, p: float = 2, folded: bool = False) -> Tensor:
    """Mean p-norm of the filters that make a channel, shape (num_channels,); `folded`, with what the batch
    norm behind them multiplies them by.

    The slices that read the channel do not count: soft pruning leaves them alone, and a filter that is zero
    must rank last.
    """
    tensors, behind = named_tensors(graph.model), _norms(graph) if folded else {}

    def norms(axis: Axis) -> Tensor:
        found: Tensor = (
            torch.linalg.vector_norm(wide(as_rows(tensors[axis.name], axis.dim)), p, dim=1).double().cpu()
        )
        return (
            found * norm_scale(graph.model.get_submodule(behind[axis.name])).abs()
            if axis.name in behind
            else found
        )

    return combined(graph, [axis for axis in weight_axes(graph) if axis.produces], norms, "mean")


def _norms(graph: ChannelGraph) -> dict[str, str]:
    """Weight of a layer -> the batch norm behind it, for all layers that have one with a scale, and channels
    in both.
    """
    slots = {
        axis.name: len(axis.channels) for axis in graph.axes if axis.produces and (axis.channels >= 0).any()
    }
    pairs = {f"{name}.weight".removeprefix("."): norm for name, norm in norms_behind(graph).items() if norm}
    return {
        weight: norm
        for weight, norm in pairs.items()
        if weight in slots and slots[weight] == slots.get(f"{norm}.weight")
    }


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
