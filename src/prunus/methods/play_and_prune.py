"""Play and prune: one player shrinks and removes weak filters, the other says how hard it may, by how much of
an error tolerance is left.

Singh et al. 2019, "Play and Prune: Adaptive Filter Pruning for Deep Model Compression" (IJCAI 2019, arXiv
1905.04446). With E the metric of the original, C the present one and eps the tolerance, a round is

    PRC, the pruning rate controller     T = max(0, C - (E - eps)),   lambda_A = strength * T,   W_A = delta *
    T * W AFP, the adaptive filter pruner      U = the share alpha of every layer's filters with the smallest
    l1 norms
                                         fine-tune with the task's loss + lambda_A * sum of |w| over U
                                         remove the filters whose norm is below W_A, fine-tune what is left

so the game slows down as the tolerance is used up, and it ends when a round costs too much, which is undone,
or finds nothing to remove. Our choices: W is the mean norm of a layer's filters, so that delta says which
share of it a point of tolerance is worth; T comes from the bound that `prunus.planning.tolerance` gives with
some confidence; and filters are those of coupled channels, their norms added up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from prunus._foundation.arguments import door
from prunus._foundation.confidence import CONFIDENCE, Evaluate, check_provable, judged, value_of
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import held_out
from prunus.methods.common import Limit, Outcome, Target
from prunus.methods.importance import SHORT, share_gone
from prunus.methods.removal import searched
from prunus.methods.soft import filter_norms
from prunus.methods.trained_masks import traced_copy
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.paint.model_copy import named_tensors
from prunus.planning.targets import plan_above
from prunus.plans.plan import Trial
from prunus.scores.reduce import weight_axes
from prunus.surgery import compact
from prunus.surgery.compose import compose, whole_channels
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig


@door(TargetError)
def play_and_prune(
    model: nn.Module,
    task: Task,
    *,
    tolerance: float = 1.0,
    alpha: float = 0.1,
    strength: float = 1e-2,
    delta: float = 0.3,
    confidence: float = CONFIDENCE,
    rounds: int = 20,
    config: TrainConfig | None = None,
    evaluate: Evaluate | None = None,
    on_trial: Callable[[Trial], None] = lambda trial: None,
    watch: Watch = unwatched,
) -> Outcome:
    """Make a trained network as small as the tolerance lets; the model itself is not changed.

    Args:
        model: trained.
        task: what it is for; the tolerance is kept on its validation samples.
        tolerance: eps, points that may be lost against the original.
        alpha: share of every group's filters that are pulled down.
        strength: lambda_A per point of tolerance that is left.
        delta: threshold per point of tolerance that is left, as a share of the mean norm of a group's
            filters.
        confidence: with which the tolerance is kept.
        rounds: how many at most.
        config: how a round trains, once with the penalty and once without it; None = one epoch at a learning
            rate of 0.02.
        evaluate: in place of the task's metric: model -> points on held-out data, higher is better (see
            `prunus.planning.tolerance`).
        on_trial: told about every round.
        watch: told about progress.

    Returns:
        In `found`, "rooms" are T before every round [points].

    Raises:
        TargetError: numbers out of range, or no held-out samples.
        PrunusError: whatever tracing, planning and compaction raise.
    """
    _check(tolerance, alpha, strength, delta)
    judge, clock, config = evaluate or held_out(task).points, Clock(watch), config or SHORT
    baseline, example = judge(model), example_of(task, model)
    check_provable(baseline, tolerance, confidence)
    current, plan, room = model, None, float(tolerance)
    trials, rooms = list[Trial](), list[float]()
    with clock.steps("searching"):
        while room > 0 and len(trials) < rounds:
            if plan is not None and not trace(current, example).num_channels:
                break  # nothing is left that could go
            watch("searching", len(trials), 0)
            trained, graph = traced_copy(current, example)
            task.fit(
                trained, config, besides=weakest_norm(trained, graph, alpha, strength * room), validation=None
            )
            chosen = whole_channels(model, plan, plan_above(graph, relative_norms(graph), delta * room))
            if not chosen.removed:
                break
            small = compact(trained.eval(), chosen)
            task.fit(small, config, validation=None)
            value, lowest = judged(baseline, judge(small), confidence)
            left = lowest - (value_of(baseline) - tolerance)
            trials.append(Trial(share_gone(plan, chosen), value, chosen.after.macs, left >= 0, lowest))
            rooms.append(room)
            on_trial(trials[-1])
            if left >= 0:
                plan = chosen if plan is None else compose(model, plan, chosen)
                current = small
            room = max(0.0, left)
    limit = Limit(value_of(baseline), value_of(baseline) - tolerance, confidence)
    return searched(
        model,
        plan,
        current,
        Target("tolerance", tolerance, confidence=confidence),
        task,
        clock,
        trials=trials,
        limit=limit,
        after="after the rounds",
        trial_epochs=2 * config.epochs,
        found={"rooms": tuple(rooms)},
    )


def _check(tolerance: float, alpha: float, strength: float, delta: float) -> None:
    if not tolerance > 0 or not 0 < alpha <= 1 or min(strength, delta) < 0:
        raise TargetError(
            "A tolerance is above 0, alpha a share up to 1, strength and delta are 0 or more; not"
            f" {tolerance}, {alpha}, {strength} and {delta}."
        )


@door()
def relative_norms(graph: ChannelGraph) -> Tensor:
    """l1 norms of the filters that make a channel, divided by the mean of the group,
    shape (num_channels,).
    """
    norms = filter_norms(graph, 1)
    means = torch.stack([norms[group.channels].mean() for group in graph.groups])
    return norms / means.clamp(min=torch.finfo(norms.dtype).tiny)[graph.group_of_channel]


@door()
def weakest_norm(
    model: nn.Module, graph: ChannelGraph, alpha: float, strength: float
) -> Callable[[], Tensor]:
    """The penalty on the share `alpha` of every group's filters that have the smallest l1 norms now, at least
    one.
    """
    norms = relative_norms(graph)
    weak = np.zeros(graph.num_channels + 1, dtype=bool)  # the last stands for pinned slots
    for group in graph.groups:
        order = group.channels[np.argsort(norms[group.channels].numpy(), kind="stable")]
        weak[order[: max(1, int(alpha * group.size + 1e-9))]] = True
    tensors = named_tensors(model)
    pulled = [
        (
            tensors[axis.name],
            axis.dim,
            torch.from_numpy(np.flatnonzero(weak[axis.channels])).to(tensors[axis.name].device),
        )
        for axis in weight_axes(graph)
        if axis.produces
    ]
    return lambda: (
        strength
        * torch.stack([tensor.index_select(dim, slots).abs().sum() for tensor, dim, slots in pulled]).sum()
    )
