"""One-shot pruning: score once, remove once, make up for what went, recalibrate batch norm, fine-tune.

Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710), section 3.3, "prune once and
retrain", with any score and any target; the batch-norm statistics are re-estimated before tuning, because
removed channels shift what later layers see. What the layers behind can make up for in closed form is a
compensation (`prunus.compensation`), given as a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods.block_removal import BlockChoice, block_choice
from prunus.methods.common import Compensate, Limit, Outcome, Target
from prunus.methods.removal import BEFORE, remove
from prunus.methods.sensitivity import sensitivity_of
from prunus.methods.tolerance_metric import Search
from prunus.paint import trace
from prunus.paint.cost import Cost
from prunus.paint.graph import ChannelGraph
from prunus.paint.inputs import Inputs
from prunus.planning.latency_target import wanted
from prunus.planning.losses import Losses
from prunus.planning.targets import plan as choose
from prunus.plans.plan import Plan
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.tasks.teaching import check_teachable
from prunus.training import TrainConfig
from prunus.training.evaluation import mode


@door(TargetError)
def one_shot(
    model: nn.Module,
    task: Task | None,
    *,
    score: Callable[[ChannelGraph], Tensor],
    target: Target,
    compensate: Compensate | None = None,
    config: TrainConfig | None = None,
    trial_config: TrainConfig | None = None,
    blocks: int = 0,
    evenly: bool = False,
    teach: bool = False,
    example_inputs: Inputs | None = None,
    seed: int = 0,
    watch: Watch = unwatched,
) -> Outcome:
    """Prune a network in one go; the model itself is not changed. `prunus.shrink` does the same with names
    and defaults for all of it.

    Args:
        model: whatever the task is of.
        task: samples, loss and metric; needed for a tolerance, for figures, recalibration and tuning. None,
            with example inputs: none of these.
        score: graph -> one number per channel, higher = keep.
        target: how small.
        compensate: makes up for what went before the model is compacted; None leaves it out.
        config: how to fine-tune; None leaves it out.
        trial_config: how each trial of a tolerance search is tuned before it is judged; None judges it as it
            is.
        blocks: residual blocks that are left out before any channel goes, by the loss on held-out samples
            (training samples, if there are none).
        evenly: of every stage alike; see `prunus.methods.block_removal`.
        teach: the original teaches what is left while it is tuned, for the time that running it takes; for
            classes only.
        example_inputs: inputs of the shape for which MACs are counted; None = the task's.
        seed: of the samples that the scope "measured" measures on.
        watch: told about progress.

    Returns:
        With blocks left out, `found` has the "losses" with all of them and after each one that went, and all
        that are "removable".

    Raises:
        TargetError: a tolerance without held-out samples, tuning or leaving out blocks without any; or the
            target cannot be reached.
        PrunusError: whatever tracing, planning, compaction and training raise.
    """
    _check(model, target, task, config, blocks, teach, example_inputs)
    example_inputs = example_of(task, model) if example_inputs is None and task else example_inputs
    assert example_inputs is not None
    clock = Clock(watch)
    with mode(model, training=False):
        left_out = _left_out(model, example_inputs, blocks, evenly, task, clock)
        start = left_out.model if left_out else model
        whole = trace(model, example_inputs).cost() if left_out else None
        graph = clock.time("tracing", lambda: trace(start, example_inputs))
        scores = clock.time("scoring", lambda: score(graph))
        losses = _losses(graph, scores, target, task, clock, seed)
        search = (
            Search(model, start, task, compensate, trial_config, watch)
            if target.kind == "tolerance" and task is not None
            else None
        )
        chosen = clock.time(
            "searching" if search else "planning",
            lambda: _choose(graph, scores, _of_whole(target, whole), search, losses, watch),
        )
        if left_out and search and not any(trial.accepted for trial in chosen.trials):
            search.check(chosen, target, len(left_out.blocks))
        outcome = remove(
            start,
            graph,
            chosen,
            target,
            task,
            clock,
            tuning=config,
            compensate=compensate if chosen.removed else None,
            before={BEFORE: model, "without blocks": start} if left_out else None,
            teacher=model if teach else None,
        )
    if left_out:
        notes = (_note(left_out, evenly), *outcome.notes)
        found = {"losses": left_out.losses, "removable": left_out.removable}
        outcome = replace(outcome, blocks=left_out.blocks, whole=whole, notes=notes, found=found)
    if search is None:
        return outcome
    epochs = trial_config.epochs if trial_config else 0
    limit = Limit(search.baseline, search.baseline - target.points, target.confidence)
    return replace(outcome, limit=limit, trials=chosen.trials, trial_epochs=epochs)


def _left_out(
    model: nn.Module, example_inputs: Inputs, blocks: int, evenly: bool, task: Task | None, clock: Clock
) -> BlockChoice | None:
    """The blocks that go, if any shall."""
    if not blocks or task is None:
        return None
    return clock.time(
        "leaving out residual blocks",
        lambda: block_choice(model, example_inputs, task, blocks, evenly=evenly, watch=clock.watch),
    )


def _note(left_out: BlockChoice, evenly: bool) -> str:
    """What went, for the notes."""
    names, how = ", ".join(left_out.blocks), "of every stage alike, " if evenly else ""
    return (
        f"Left out of {len(left_out.removable)} residual blocks, {how}one after the other where the loss on"
        f" held-out samples rises least: {names}."
    )


def _of_whole(target: Target, whole: Cost | None) -> Target:
    """The same target for a network that lacks blocks: shares are of the cost with them."""
    if whole is None or target.kind not in ("macs", "params", "bytes") or float(target.value) > 1:
        return target
    return replace(target, value=float(int(float(target.value) * getattr(whole, target.kind))))


def _check(
    model: nn.Module,
    target: Target,
    task: Task | None,
    config: TrainConfig | None,
    blocks: int,
    teach: bool,
    example_inputs: Inputs | None,
) -> None:
    if target.kind in ("strength", "budget"):
        raise TargetError(f"One-shot pruning is told how small, not a {target.kind}.")
    if task is None and example_inputs is None:
        raise TargetError(
            "Without a task there must be example inputs, for which channels are traced and MACs counted."
        )
    if target.kind == "tolerance" and (task is None or task.validation is None):
        raise TargetError("A tolerance is kept on held-out samples, so it needs data.")
    if config is not None and task is None:
        raise TargetError("Fine-tuning needs data.")
    if target.scope == "measured" and task is None:
        raise TargetError('The scope "measured" measures on training samples, so it needs data.')
    if blocks and task is None:
        raise TargetError("Blocks are left out by the loss on samples, so that needs data.")
    if blocks and target.kind == "latency" and wanted(target.value).share is not None:
        raise TargetError(
            "With blocks left out a latency is given in milliseconds: a share would be of the network that"
            " lacks them already."
        )
    if teach:
        check_teachable(model, task, config)


def _losses(
    graph: ChannelGraph, scores: Tensor, target: Target, task: Task | None, clock: Clock, seed: int
) -> list[Losses] | None:
    """What every width loses, where widths are chosen by that."""
    if target.scope != "measured" or task is None:
        return None
    with clock.steps("measuring layers") as on_step:
        return sensitivity_of(task, graph, scores, seed, on_step)


def _choose(
    graph: ChannelGraph,
    scores: Tensor,
    target: Target,
    search: Search | None,
    losses: list[Losses] | None,
    watch: Watch,
) -> Plan:
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
        losses=losses,
    )
