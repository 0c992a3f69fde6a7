"""Train a network together with gates on its channels, so that on average it stays within a budget of MACs.

The published loss (`DynamicNetwork.penalty`) has a gain per gate, which somebody has to find for a budget.
Our choice asks for the budget itself: the squared distance of the batch's mean MACs, the gates' own included,
to it. Veit and Belongie 2018, "Convolutional Networks with Adaptive Inference Graphs" (arXiv 1711.11503), do
so with the rate of every layer; one number for the whole network leaves it to the training where channels are
closed, and for which inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus._foundation.agreement import difference
from prunus._foundation.arguments import door
from prunus._foundation.made import begins, remembers
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.data.sets import Split
from prunus.dynamic import DynamicNetwork, activity, attach, skipping
from prunus.dynamic.finalize import settle
from prunus.dynamic.gates import WIDTHS, Kind
from prunus.errors import ConfigError, PlanError, PrunusError, TargetError, clause
from prunus.methods._data import seen_by, steps_of
from prunus.methods.common import FIRST, Journal, Outcome, Target
from prunus.methods.removal import BEFORE, Measured
from prunus.paint import trace
from prunus.paint.inputs import Inputs, as_arguments
from prunus.plans import verify
from prunus.plans.plan import make_plan
from prunus.plans.verify import Verification
from prunus.surgery import compact
from prunus.surgery.blocks import outputs_of
from prunus.tasks import Task
from prunus.tasks.placed import example_of, placed
from prunus.training import Calibration, Curriculum, History, TrainConfig
from prunus.training.hooks import StepCount
from prunus.training.objective import Loss

PULL = 100.0  # large enough that gates keep up with the allowance at learning rates of the network's size
CALIBRATED_ON = 2000  # samples, at most
UNSETTLED = (
    "Nothing was settled: every gate closes channels for some held-out samples and opens all of them for"
    " others, or none would be left."
)
_FALLING = 0.5  # of the steps, in which the allowance falls


@door(TargetError)
@begins
def train_gated(
    model: nn.Module,
    task: Task,
    *,
    budget: float = 0.5,
    gates: Kind = "activation",
    gated: tuple[str, ...] = (),
    gate_block: int = 1,
    gate_hidden: int = 0,
    widths: tuple[float, ...] = WIDTHS,
    pull: float = PULL,
    settle: bool = False,
    config: TrainConfig | None = None,
    curriculum: Curriculum | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Gate a copy of a network, and train it to a budget; which channels are computed is decided input by
    input.

    Args:
        model: trained or not.
        task: what it is for; gates are calibrated on its validation samples (training samples, if there are
            none).
        budget: mean MACs relative to all, above 0 and below 1.
        gates: of which kind: "activation", "winners" or "widths".
        gated: glob patterns of the layers with gates; none = all inner ones.
        gate_block: neighbouring channels that share a switch.
        gate_hidden: maps of a gate's first layer; 0 = one layer.
        widths: of the kind "widths": shares of the channels, rising to 1.
        pull: how much a distance from the budget counts in the loss.
        settle: remove what no held-out sample opens, and gates that none closes.
        config: how to train; None = its defaults.
        curriculum: which samples every epoch trains on; None = all.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        `model` is a `prunus.dynamic.DynamicNetwork` with the budget set, and `verification` compares it with
        the form that skips its closed channels. In `found`, "expected" are its mean MACs on held-out samples,
        relative to all, and "first" is the network before anything was settled.

    Raises:
        TargetError: a budget out of range, or one that these gates do not reach.
        ConfigError: the best epoch is to be kept, which would be one with more MACs, or the network is to be
            compiled.
        PlanError: channels that cannot be gated, or none.
        PrunusError: whatever training raises.
    """
    config, clock = config or TrainConfig(), Clock(watch)
    check_settings(budget, config.keep, config.compile, gates, settle)
    example = example_of(task, model)
    network = attach(
        model, example, list(gated) or "auto", gates, hidden=gate_hidden, block=gate_block, widths=widths
    )
    with clock.steps(FIRST):
        history = fit_gates(
            network, task, config, budget, pull=pull, curriculum=curriculum, journal=journal, watch=watch
        )
    first, notes = network.eval(), list[str]()
    if settle:
        network, notes = clock.time("removing what never opens", lambda: _settled(first, task, example))
    measured = Measured(task, clock)
    measured.note(BEFORE, model)
    measured.note("with gates", network)
    nothing = make_plan(network.graph, np.zeros(network.graph.num_channels, dtype=bool))
    verification, more = _verified(network, seen_by(task, network))
    return Outcome(
        network.graph,
        nothing,
        network,
        verification,
        Target("budget", budget),
        first.plain().eval(),
        tuple(measured.steps),
        training=history,
        seconds=clock.seconds,
        notes=(*notes, *more),
        found={"expected": activity(network, HeldOut(task, network)).expected, "first": first},
    )


@torch.no_grad()
def _verified(network: DynamicNetwork, inputs: Any) -> tuple[Verification, tuple[str, ...]]:
    """The form that skips against the gated network; where there is no such form, the network without gates
    against itself, and a note.
    """
    try:
        fast = skipping(network, inputs)
    except PrunusError as error:
        dense = network.plain().eval()
        graph = trace(dense, inputs)
        nothing = make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
        note = f"There is no form of the network that skips closed channels: {clause(error)}."
        return verify(dense, nothing, compact(dense, nothing), inputs), (note,)
    arguments = as_arguments(inputs)
    apart = difference(outputs_of(network, arguments), outputs_of(fast, arguments))
    return Verification(apart.max_abs, apart.relative, True, "skipping"), ()


def _settled(first: DynamicNetwork, task: Task, example: Inputs) -> tuple[DynamicNetwork, list[str]]:
    """What is left, and what is to be said of it."""
    try:
        network = settle_trained(first, task, example)
    except PlanError as error:  # the training is not to be lost
        return first, [f"Nothing was settled: {clause(error)}."]
    if network is first:
        return first, [UNSETTLED]
    fewer = first.graph.num_channels - network.graph.num_channels
    gone = [name for name in first.gates if name not in network.gates]
    words = [f"{fewer} channels that no held-out sample opened are gone for good"] if fewer else []
    words += (
        [f"no gate is left at {', '.join(gone)}, where none ever closed a channel that is left"]
        if gone
        else []
    )
    return network, [f"{'; '.join(words)}."]


class HeldOut:
    """Inputs of held-out samples, again and again, where a network lies; training samples stand in where none
    are held out.
    """

    def __init__(self, task: Task, network: nn.Module, count: int = CALIBRATED_ON) -> None:
        self._network = network
        part: Any = "train" if task.validation is None else "validation"
        found = getattr(task, part)
        if isinstance(found, Split):
            self._inputs: Any = Calibration(found, task.normalisation, count)
        else:
            self._inputs = [inputs for inputs, _ in task.few(part, count).batches("test")]

    def __iter__(self) -> Iterator[Any]:
        return (placed(inputs, self._network) for inputs in self._inputs)


@remembers()
class Allowance(StepCount):
    """What the loss asks for: all MACs at first, falling to the budget over the first half of the steps; a
    callback of `prunus.training.train`.

    Gates that are asked for everything at once close together, and far too far.

    Args:
        budget: mean MACs relative to those without gates.
        steps: of the training.
    """

    def __init__(self, budget: float, steps: int) -> None:
        super().__init__()
        self._budget, self._steps = budget, steps

    @property
    def now(self) -> float:
        """Relative to the MACs without gates."""
        return 1 - (1 - self._budget) * min(1.0, self.done / max(1.0, _FALLING * self._steps))


@door()
def within(network: DynamicNetwork, allowance: Allowance, loss: Loss, pull: float = PULL) -> Loss:
    """A loss + pull * (mean MACs of the batch, relative to those without gates, - allowed)^2."""

    def both(outputs: Any, targets: Any) -> Tensor:
        lost = loss(outputs, targets)
        return lost + pull * (network.expected() - allowance.now).square().to(lost)

    return both


def check_settings(
    budget: float, keep: str, compiled: bool, kind: str = "activation", settled: bool = False
) -> None:
    """Raises TargetError and ConfigError for what `train_gated`, and `settle_trained`, do not take, before
    there is any work to lose.
    """
    if settled and kind != "activation":
        raise ConfigError(
            f"Gates of kind {kind!r} choose among all channels of a layer, so none can go for good: --settle"
            " is for 'activation'."
        )
    if not 0 < budget < 1:
        raise TargetError(f"A budget is a share of the MACs between 0 and 1, not {budget:g}.")
    if keep == "best" or compiled:
        what = (
            'keep = "best" would take an early epoch, when the budget was still larger'
            if keep == "best"
            else "gates are not compiled"
        )
        raise ConfigError(f"A network with gates is trained as it is, and its last epoch is kept: {what}.")


@door()
@begins
def fit_gates(
    network: DynamicNetwork,
    task: Task,
    config: TrainConfig,
    budget: float,
    *,
    pull: float = PULL,
    curriculum: Curriculum | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> History:
    """Train a gated network in place, then calibrate its gates on held-out samples and set the budget:
    `train_gated` for gates of one's own.

    Without held-out samples training samples are used, on which the gates were trained. "winners" are as many
    as the budget allows from the first step on; the other kinds learn to keep it.

    Args:
        network: of `attach`.
        task: what it is for.
        config: how to train.
        budget, pull, curriculum, journal, watch: as for `train_gated`.

    Raises:
        TargetError: a budget out of range, or one that these gates do not reach.
        ConfigError: the best epoch is to be kept, which would be one with more MACs, or the network is to be
            compiled.
        PrunusError: whatever training raises.
    """
    check_settings(budget, config.keep, config.compile)
    held, fixed = HeldOut(task, network), network.form.kind == "winners"
    if fixed:
        network.calibrate([next(iter(held))])
        network.budget = budget
    allowance = Allowance(budget, steps_of(task, config))
    options: dict[str, Any] = {
        "curriculum": curriculum,
        "pruning": allowance,
        **journal.options(FIRST, watch),
    }
    if not fixed:
        own = (
            partial(F.cross_entropy, reduction="none", label_smoothing=config.label_smoothing)
            if task.loss is None
            else task.per_sample_loss
        )
        options["loss"], config = within(network, allowance, own, pull), replace(config, label_smoothing=0.0)
    history = task.fit(network, config, **options)
    watch("calibrating the gates", 0, 0)
    network.calibrate(held)
    network.budget = budget
    return history


@door()
def settle_trained(network: DynamicNetwork, task: Task, example_inputs: Inputs) -> DynamicNetwork:
    """What is left of a trained network once channels that no held-out sample opened are gone for good, and
    gates that none closed; calibrated anew.

    The network itself where there is neither, or where no gate would be left.

    Args:
        network: by `train_gated`.
        task: samples; training samples stand in where none are held out.
        example_inputs: what it is called with.

    Raises:
        PlanError: gates of another kind than "activation", or of a layer in groups.
    """
    found = activity(network, HeldOut(task, network, max(1, task.count("validation") or task.count("train"))))
    never = any(bool((opened == 0).any()) for opened in found.opened.values())
    closing = [bool(((opened > 0) & (opened < 1)).any()) for opened in found.opened.values()]
    if not any(closing) or (all(closing) and not never):
        return network
    settled = settle(network, found, example_inputs)
    settled.calibrate(HeldOut(task, network))
    return settled
