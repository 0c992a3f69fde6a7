"""One-shot pruning: score once, remove once, make up for what went, recalibrate batch norm, fine-tune.

Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710), section 3.3, "prune once and retrain", with
any score and any target; the batch-norm statistics are re-estimated before tuning, because removed channels shift what
later layers see. What the layers behind can make up for in closed form is a compensation (`prunus.compensation`), given as a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunus._arguments import door
from prunus.channels import ChannelGraph, Cost, Origin, Plan, Trial, Verification, compact, trace, verify
from prunus.errors import TargetError
from prunus.latency import wanted
from prunus.methods.fewer_blocks import Shorter, leave_out
from prunus.methods.searching import Search
from prunus.targets import plan as choose
from prunus.tasks import Task
from prunus.training import History, Taught, TrainConfig, taught
from prunus.watching import Clock, Watch, unwatched

JUDGED = 500  # held-out samples by which blocks are left out, at most
TargetKind = Literal["rate", "macs", "params", "bytes", "tolerance", "latency"]


# Called with the model, the plan and a watcher of its own steps; gives the copy of the model that is compacted in its place.
Compensate = Callable[[nn.Module, Plan, Callable[[int, int], None]], nn.Module]


@dataclass(frozen=True)
class Target:
    """What is wanted, and how the channels may be chosen; the fields are those of `prunus.plan`.

    Attributes:
        kind: which figure `value` is of.
        value: fraction or absolute number (see `prunus.plan`), points for "tolerance", or text as "12ms" for "latency".
        scope: "uniform" or "global".
        round_to: widths become multiples of this, or "auto".
        floor: channels that every layer keeps at least.
        protect: glob patterns of what stays.
        exact: remove only channels whose removal is exact.
        prefer: "auto", or "eager" to rule out a traced module.
        confidence: with which a tolerance is kept.
        runtime: that latency and "auto" are measured in.
        threads: of the runtime.
    """

    kind: TargetKind
    value: float | str
    scope: Literal["uniform", "global"] = "uniform"
    round_to: int | Literal["auto"] = 1
    floor: int = 1
    protect: tuple[str, ...] = ()
    exact: bool = False
    prefer: Literal["auto", "eager"] = "auto"
    confidence: float = 0.95
    runtime: str = "onnxruntime"
    threads: int = 1

    @property
    def points(self) -> float:
        """The points of a tolerance."""
        return float(self.value)


@dataclass(frozen=True)
class Step:
    """The metric [points] on the test samples after one step of the run, and the loss where it has one per sample."""

    step: str
    value: float
    loss: float | None


@dataclass(frozen=True)
class Limit:
    """The metric [points] of the original on held-out samples, the lowest that the tolerance accepts, and with which confidence."""

    baseline: float
    lowest: float
    confidence: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a run.

    Attributes:
        graph: the channels of the original, without the blocks that were left out.
        plan: what was removed.
        compact: the compact model, recalibrated and tuned, in eval mode.
        verification: compact against masked model on real (or random) inputs, before recalibration and tuning.
        target: what was asked for.
        steps: the metric along the way; empty without samples.
        limit: of the tolerance search, if there was one.
        trials: of the tolerance search.
        trial_epochs: epochs that each trial was tuned before it was judged.
        tuning: the fine-tuning, if there was one.
        seconds: wall time per step.
        notes: what was left out and why.
        shorter: the residual blocks that were left out before, if that was asked for.
        whole: cost of the original with them; None if nothing was left out.
    """

    graph: ChannelGraph
    plan: Plan
    compact: nn.Module
    verification: Verification
    target: Target
    steps: tuple[Step, ...] = ()
    limit: Limit | None = None
    trials: tuple[Trial, ...] = ()
    trial_epochs: int = 0
    tuning: History | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shorter: Shorter | None = None
    whole: Cost | None = None

    @property
    def before(self) -> Cost:
        """Cost of the original."""
        return self.whole or self.plan.before


@door(TargetError)
def one_shot(
    model: nn.Module,
    example_inputs: Tensor,
    score: Callable[[ChannelGraph], Tensor],
    target: Target,
    *,
    task: Task | None = None,
    compensate: Compensate | None = None,
    tuning: TrainConfig | None = None,
    trial_tuning: TrainConfig | None = None,
    blocks: int = 0,
    evenly: bool = False,
    teach: bool = False,
    verify_on: Tensor | None = None,
    watch: Watch = unwatched,
) -> Outcome:
    """Prune a network in one go; the model itself is not changed, except that it is put into eval mode.

    Args:
        model: whatever the task is of.
        example_inputs: inputs of the shape for which MACs are counted.
        score: graph -> one number per channel, higher = keep.
        target: how small.
        task: samples, loss and metric; needed for a tolerance, for figures, recalibration and tuning.
        compensate: makes up for what went before the model is compacted; None leaves it out.
        tuning: how to fine-tune; None leaves it out.
        trial_tuning: how each trial of a tolerance search is tuned before it is judged; None judges it as it is.
        blocks: residual blocks that are left out before any channel goes, by the loss on held-out samples (training samples, if there are none).
        evenly: of every stage alike; see `leave_out`.
        teach: the original teaches what is left while it is tuned, for the time that running it takes; for classes only.
        verify_on: inputs on which compact and masked model are compared; None = random ones.
        watch: told about progress.

    Raises:
        TargetError: a tolerance without held-out samples, tuning or leaving out blocks without any; or the target cannot be reached.
        PrunusError: whatever tracing, planning, compaction and training raise.
    """
    _check(target, task, tuning, blocks, teach)
    clock = Clock(watch)
    model.eval()
    shorter = _shorter(model, example_inputs, blocks, evenly, task, clock)
    start = shorter.model if shorter else model
    whole = trace(model, example_inputs).cost() if shorter else None
    graph = clock.time("tracing", lambda: trace(start, example_inputs))
    scores = clock.time("scoring", lambda: score(graph))
    search = Search(model, start, task, compensate, trial_tuning, watch) if target.kind == "tolerance" and task is not None else None
    chosen = clock.time("searching" if search else "planning", lambda: _choose(graph, scores, _of_whole(target, whole), search, watch))
    if shorter and search and not any(trial.accepted for trial in chosen.trials):
        search.check(chosen, target, len(shorter.blocks))
    outcome = remove(
        start, graph, chosen, target, task, tuning, verify_on, clock,
        compensate=compensate if chosen.removed else None, original=model, teacher=model if teach else None,
    )  # fmt: skip
    if shorter:
        outcome = replace(outcome, shorter=shorter, whole=whole, notes=(_left_out(shorter, evenly), *outcome.notes))
    if search is None:
        return outcome
    limit = Limit(search.baseline, search.baseline - target.points, target.confidence)
    return replace(outcome, limit=limit, trials=chosen.trials, trial_epochs=trial_tuning.epochs if trial_tuning else 0)


def remove(
    model: nn.Module,
    graph: ChannelGraph,
    chosen: Plan,
    target: Target,
    task: Task | None,
    tuning: TrainConfig | None,
    verify_on: Tensor | None,
    clock: Clock,
    recalibrated: bool = True,
    compensate: Compensate | None = None,
    original: nn.Module | None = None,
    teacher: nn.Module | None = None,
    first: str = "before",
) -> Outcome:
    """How every method ends: compact, verify, compensate and, where there are samples, recalibrate (if that is wanted) and tune.

    `original`: with the blocks that the model lacks, if it lacks any; `teacher`: of the tuning, if there is one; `first`: what the accuracy of the
    model is called, "before" where it is that of the dense network.
    """
    small = clock.time("compacting", lambda: compact(model, chosen, prefer=target.prefer)).eval()
    plan = cast(Origin, small.prunus).step  # not always the chosen one: with "eager", channels may have had to stay
    verification = clock.time("verifying", lambda: verify(model, plan, small, inputs=verify_on))
    measured = _Measured(task, clock)
    measured.note(first, original or model)
    if original not in (None, model):
        measured.note("without blocks", model)
    if original in (None, model) or plan.removed:
        measured.note("after removal", small)
    if compensate is not None:
        with clock.steps("compensating") as on_step:
            fitted = compensate(model, plan, on_step)
        small = clock.time("compacting again", lambda: compact(fitted, plan, prefer=target.prefer)).eval()
        measured.note("after compensation", small)
    outcome = Outcome(graph, plan, small, verification, target, seconds=clock.seconds, notes=_stayed(chosen, plan))
    if task is None:
        return outcome
    history, notes = _recover(small, task, tuning, measured, recalibrated, teacher)
    return replace(outcome, steps=tuple(measured.steps), tuning=history, notes=outcome.notes + notes)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any module keeps batch-norm statistics that can be estimated again."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules())


def _stayed(chosen: Plan, plan: Plan) -> tuple[str, ...]:
    """What compaction could not remove, so that nobody takes the target for met."""
    stayed = chosen.removed - plan.removed
    if not stayed:
        return ()
    return (f"{stayed} of {chosen.removed} chosen channels had to stay: the model's own forward needs their number.",)


def _shorter(model: nn.Module, example_inputs: Tensor, blocks: int, evenly: bool, task: Task | None, clock: Clock) -> Shorter | None:
    """The model without some of its blocks, if that is wanted."""
    if not blocks or task is None:
        return None
    some = task.few("validation" if task.validation is not None else "train", JUDGED)

    def loss(network: nn.Module) -> float:
        return some.figures(network)[1]

    return clock.time("leaving out residual blocks", lambda: leave_out(model, example_inputs, loss, blocks, evenly=evenly, watch=clock.watch))


def _left_out(shorter: Shorter, evenly: bool) -> str:
    """What went, for the notes."""
    names, how = ", ".join(shorter.blocks), "of every stage alike, " if evenly else ""
    return f"Left out of {len(shorter.removable)} residual blocks, {how}one after the other where the loss on held-out samples rises least: {names}."


def _of_whole(target: Target, whole: Cost | None) -> Target:
    """The same target for a network that lacks blocks: shares are of the cost with them."""
    if whole is None or target.kind not in ("macs", "params", "bytes") or float(target.value) > 1:
        return target
    return replace(target, value=float(int(float(target.value) * getattr(whole, target.kind))))


def _check(target: Target, task: Task | None, tuning: TrainConfig | None, blocks: int, teach: bool) -> None:
    if target.kind == "tolerance" and (task is None or task.validation is None):
        raise TargetError("A tolerance is kept on held-out samples, so it needs data.")
    if tuning is not None and task is None:
        raise TargetError("Fine-tuning needs data.")
    if blocks and task is None:
        raise TargetError("Blocks are left out by the loss on samples, so that needs data.")
    if blocks and target.kind == "latency" and wanted(target.value).share is not None:
        raise TargetError("With blocks left out a latency is given in milliseconds: a share would be of the network that lacks them already.")
    if teach and tuning is None:
        raise TargetError("The original teaches while what is left is fine-tuned: say for how many epochs.")


def _choose(graph: ChannelGraph, scores: Tensor, target: Target, search: Search | None, watch: Watch) -> Plan:
    return choose(
        graph,
        scores,
        **{target.kind: target.value},  # type: ignore[arg-type]
        evaluate=search,
        confidence=target.confidence,
        runtime=target.runtime,
        threads=target.threads,
        watch=watch,
        scope=target.scope,
        round_to=target.round_to,
        floor=target.floor,
        protect=target.protect,
        exact=target.exact,
    )


class _Measured:
    """The test accuracy along the way, where there are samples."""

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


def _recover(
    small: nn.Module, task: Task, tuning: TrainConfig | None, measured: _Measured, recalibrated: bool, teacher: nn.Module | None
) -> tuple[History | None, tuple[str, ...]]:
    """Recalibrate and tune the compact model in place, with the test accuracy at every step."""
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
