"""How every method ends: compact, verify, compensate, recalibrate and tune, with the metric at every step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus._foundation.progress import Clock
from prunus.methods._data import seen_by
from prunus.methods.common import Limit, Outcome, Step, Target
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.plans import verify
from prunus.plans.plan import Plan, Trial, make_plan
from prunus.surgery import compact
from prunus.surgery.compact import Origin
from prunus.tasks.placed import example_of
from prunus.training import History, Taught, TrainConfig, taught

if TYPE_CHECKING:
    from prunus.methods.common import Compensate
    from prunus.tasks import Task

BEFORE = "before"  # the step at which the dense network is measured


def remove(
    model: nn.Module,
    graph: ChannelGraph,
    chosen: Plan,
    target: Target,
    task: Task | None,
    clock: Clock,
    *,
    tuning: TrainConfig | None = None,
    recalibrated: bool = True,
    compensate: Compensate | None = None,
    before: Mapping[str, nn.Module] | None = None,
    teacher: nn.Module | None = None,
    inputs: Inputs | None = None,
) -> Outcome:
    """Remove channels for good.

    Args:
        model: what was traced.
        graph: its channels.
        chosen: which of them go.
        target: what was asked for.
        task: samples, if there are any.
        clock: measures what is done here.
        tuning: how to fine-tune what is left; None leaves it out.
        recalibrated: estimate batch norms anew where held-out samples agree.
        compensate: makes up for what went before the model is compacted for good.
        before: networks whose metric comes first, by the name of the step; None = the model, "before".
        teacher: of the tuning, if there is one.
        inputs: on which compact and masked model are compared; None = inputs of the task, or random ones.
    """
    small = clock.time("compacting", lambda: compact(model, chosen, prefer=target.prefer)).eval()
    # not always the chosen one: with "eager", channels may have had to stay
    plan = cast(Origin, small.prunus).step
    inputs = seen_by(task, model) if inputs is None else inputs
    verification = clock.time("verifying", lambda: verify(model, plan, small, inputs=inputs))
    measured = Measured(task, clock)
    for step, network in ({BEFORE: model} if before is None else before).items():
        measured.note(step, network)
    if plan.removed or not before or len(before) < 2:
        measured.note("after removal", small)
    if compensate is not None:
        with clock.steps("compensating") as on_step:
            fitted = compensate(model, plan, on_step)
        small = clock.time("compacting again", lambda: compact(fitted, plan, prefer=target.prefer)).eval()
        measured.note("after compensation", small)
    outcome = Outcome(
        graph, plan, small, verification, target, model, seconds=clock.seconds, notes=_stayed(chosen, plan)
    )
    if task is None:
        return outcome
    history, notes = _recover(small, task, tuning, measured, recalibrated, teacher)
    return replace(outcome, steps=tuple(measured.steps), tuning=history, notes=outcome.notes + notes)


def searched(
    model: nn.Module,
    plan: Plan | None,
    small: nn.Module,
    target: Target,
    task: Task,
    clock: Clock,
    *,
    trials: Sequence[Trial],
    limit: Limit,
    after: str,
    **details: Any,
) -> Outcome:
    """How methods end that removed, trained and judged in trials: `small` is what the last accepted one left,
    the model itself where there was none.

    `details` are further fields of the outcome.
    """
    example = example_of(task, model)
    graph = clock.time("tracing", lambda: trace(model, example))
    notes: tuple[str, ...] = ()
    if plan is None:
        plan = make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
        small, notes = compact(model, plan), ("No trial kept the tolerance, so nothing was removed.",)
    inputs = seen_by(task, model)
    verification = clock.time(
        "verifying", lambda: verify(model, plan, compact(model, plan, check=False), inputs=inputs)
    )
    measured = Measured(task, clock)
    measured.note(BEFORE, model)
    measured.note(after, small)
    return Outcome(
        graph,
        plan,
        small.eval(),
        verification,
        target,
        model,
        tuple(measured.steps),
        limit,
        tuple(trials),
        seconds=clock.seconds,
        notes=notes,
        **details,
    )


class Measured:
    """The metric on the test samples along the way, where there are any."""

    def __init__(self, task: Task | None, clock: Clock) -> None:
        self.steps: list[Step] = []
        self.clock, self._task = clock, task

    def note(self, step: str, model: nn.Module) -> None:
        """Measure, and remember under a name."""
        task = self._task
        if task is None or task.test is None:
            return
        value, loss = self.clock.time(f"evaluating {step}", lambda: task.figures(model))
        self.steps.append(Step(step, value, None if math.isnan(loss) else loss))


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any module keeps batch-norm statistics that can be estimated again."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules())


def _stayed(chosen: Plan, plan: Plan) -> tuple[str, ...]:
    """What compaction could not remove, so that nobody takes the target for met."""
    stayed = chosen.removed - plan.removed
    if not stayed:
        return ()
    return (
        (
            f"{stayed} of {chosen.removed} chosen channels had to stay: the model's own forward needs their"
            " number."
        ),
    )


def _recover(
    small: nn.Module,
    task: Task,
    tuning: TrainConfig | None,
    measured: Measured,
    recalibrated: bool,
    teacher: nn.Module | None,
) -> tuple[History | None, tuple[str, ...]]:
    """Recalibrate and tune the compact model in place, with the metric at every step."""
    notes: list[str] = []
    history = None
    if not recalibrated:
        notes.append("Not recalibrated: the network was trained on without the channels that were removed.")
    elif has_batch_norm(small):
        if measured.clock.time("recalibrating", lambda: task.recalibrate(small)):
            measured.note("after recalibration", small)
        else:
            notes.append("Not recalibrated: new batch-norm statistics make it worse on held-out samples.")
    else:
        notes.append("Nothing to recalibrate: the compact network has no batch norm with running statistics.")
    if tuning is not None:
        with measured.clock.steps("fine-tuning") as on_step:
            if teacher is None:
                history = task.fit(small, tuning, on_step=on_step)
            else:
                history = task.fit(Taught(small, teacher), tuning, loss=taught, on_step=on_step)
        measured.note("after fine-tuning", small.eval())
    return history, tuple(notes)
