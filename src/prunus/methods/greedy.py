"""Greedy pruning of the whole network in one go: layer by layer, by norms that leave out the kernels which
read what is gone already.

Li et al. 2017, "Pruning Filters for Efficient ConvNets" (arXiv 1608.08710), section 3.3, in the paper's
order: prune, then retrain. The score is `prunus.scores.greedy_norm`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from prunus import scores
from prunus._foundation.arguments import door
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods.common import Outcome, Target
from prunus.methods.removal import remove
from prunus.paint import trace
from prunus.planning.targets import plan
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig
from prunus.training.evaluation import mode


@door(TargetError)
def greedy_pruning(
    model: nn.Module,
    task: Task,
    *,
    rate: float = 0.5,
    rates: Mapping[str, float] | None = None,
    protect: tuple[str, ...] = (),
    config: TrainConfig | None = None,
    watch: Watch = unwatched,
) -> Outcome:
    """Remove the filters with the smallest greedy l1 norms; the model itself is not changed.

    Args:
        model: trained.
        task: what it is for.
        rate: fraction of the channels of every group that goes.
        rates: glob pattern of layers -> rate for them, in place of `rate`.
        protect: glob patterns of layers that stay whole.
        config: how to retrain; None leaves it out.
        watch: told about progress.

    Raises:
        TargetError: a rate that is not from 0 to 1.
        PlanError: a pattern that matches nothing.
        PrunusError: whatever tracing, compaction and training raise.
    """
    clock = Clock(watch)
    with mode(model, training=False):
        graph = clock.time("tracing", lambda: trace(model, example_of(task, model)))
        own = {**dict.fromkeys(protect, 0.0), **(rates or {})}
        ranks = clock.time("scoring", lambda: scores.greedy_norm(graph, rate, own))
        chosen = plan(graph, ranks, rate=rate, rates=own)
        return remove(model, graph, chosen, Target("rate", rate, protect=protect), task, clock, tuning=config)
