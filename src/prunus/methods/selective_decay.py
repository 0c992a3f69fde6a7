"""Selective weight decay: what is going to be pruned decays, harder and harder, until it is as good as gone
and pruning changes nothing.

Tessier et al. 2022, "Rethinking Weight Decay for Efficient Neural Network Pruning" (arXiv 2011.10520): L =
cross-entropy + a mu / 2 * sum of w^2 over the filters that would be pruned now, where a grows from `first` to
`last` exponentially over the training. The set is chosen anew at every step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunus import scores
from prunus._foundation.arguments import door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import callback, steps_of
from prunus.methods.common import FIRST, Journal, Outcome, Target, wish
from prunus.methods.removal import remove
from prunus.paint import trace
from prunus.paint.graph import ChannelGraph
from prunus.planning.targets import plan
from prunus.plans.mask import Zeros, produced
from prunus.plans.plan import Plan
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig
from prunus.training.hooks import StepCount
from prunus.training.objective import Loss, with_penalty

FIRST_FACTOR, LAST_FACTOR = 0.1, 1e5


@door(TargetError)
@begins
def selective_decay(
    model: nn.Module,
    task: Task,
    *,
    rate: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    first: float = FIRST_FACTOR,
    last: float = LAST_FACTOR,
    every: int = 1,
    scope: Literal["uniform", "global"] = "uniform",
    protect: tuple[str, ...] = (),
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a network while what is going to be pruned decays, and remove it. Filters are ranked by
    their l2 norms.

    Args:
        model: trained or not.
        task: what it is for.
        rate: share of the channels that goes; half of them, where nothing else is asked for.
        macs: MACs that may be left: a share of all up to 1, a number above.
        params: parameters that may be left, likewise.
        first: the factor a at the beginning.
        last: the factor a at the end. lr * weight_decay * a, with SGD's momentum m divided by 1 - m, must
            stay well below 1, or the decay overshoots; and where the rate falls to zero before a has grown,
            nothing decays.
        every: steps between two choices (our addition: 1 is the paper's way).
        scope: where norms are compared: "uniform", in each layer, or "global".
        protect: glob patterns of layers that stay whole.
        config: how to train; its weight decay is mu. None = its defaults.
        tuning: how to fine-tune what is left; None leaves it out.
        journal: how the training is kept and told about.
        watch: told about progress.

    Raises:
        TargetError: several targets, or one that cannot be reached; factors that are not above 0.
        PrunusError: whatever training and compaction raise.
    """
    kind, value = wish({"rate": rate, "macs": macs, "params": params}, ("rate", 0.5))
    target, clock = Target(kind, value, scope, protect=protect), Clock(watch)
    trained, config = copy.deepcopy(model), config or TrainConfig()
    graph = clock.time("tracing", lambda: trace(trained, example_of(task, trained)))

    def choose(traced: ChannelGraph) -> Plan:
        ranks = scores.norm(traced, reduce="producer")
        return plan(traced, ranks, **{kind: value}, scope=scope, protect=protect)  # type: ignore[arg-type]

    count = StepCount()
    decay = decay_of_chosen(
        trained,
        graph,
        choose,
        steps_of(task, config),
        weight_decay=config.weight_decay,
        first=first,
        last=last,
        every=every,
        count=count,
    )
    with clock.steps(FIRST):
        history = task.fit(
            trained, config, besides=decay, pruning=callback(count, trained), **journal.options(FIRST, watch)
        )
    trained.eval()
    outcome = remove(
        trained, graph, choose(graph), target, task, clock, tuning=tuning, before={"decayed": trained}
    )
    return replace(outcome, training=history)


@door()
def decay_of_chosen(
    model: nn.Module,
    graph: ChannelGraph,
    choose: Callable[[ChannelGraph], Plan],
    steps: int,
    *,
    weight_decay: float,
    first: float = FIRST_FACTOR,
    last: float = LAST_FACTOR,
    every: int = 1,
    count: StepCount | None = None,
) -> Callable[[], Tensor]:
    """a mu / 2 * sum of w^2 over what would go now, as a function of nothing, for losses of one's own.

    Args:
        model: the network that is trained.
        graph: its channels.
        choose: graph -> the plan that would be carried out now, by the weights as they are.
        steps: of the whole training.
        weight_decay: mu, that of the optimiser.
        first, last, every: as for `selective_decay`.
        count: of the steps that are done, if somebody else counts them; None = one more at every call.

    Raises:
        TargetError: no steps, or factors that are not above 0.
    """
    if steps < 1 or every < 1 or not 0 < first <= last:
        raise TargetError(
            f"A training has at least one step and a factor that grows from above 0, not {steps} and {first}"
            f" to {last}."
        )
    own, counting = count is None, count or StepCount()
    decaying: list[Zeros] | None = None

    def decay() -> Tensor:
        nonlocal decaying
        if decaying is None or counting.done % every == 0:
            removed: np.ndarray[Any, np.dtype[np.bool_]] = choose(graph).removed_in(graph)
            decaying = [
                zero
                for zero in produced(model, graph, removed)
                if zero.tensor.requires_grad and not zero.value
            ]
        factor = first * (last / first) ** (min(counting.done, steps) / steps)
        if own:
            counting.after_step(model)
        squares = [zero.tensor.index_select(zero.dim, zero.slots).square().sum() for zero in decaying]
        total = torch.stack(squares).sum() if squares else next(model.parameters()).new_zeros(())
        result: Tensor = 0.5 * factor * weight_decay * total
        return result

    return decay


@door()
def selective_decay_loss(
    model: nn.Module,
    graph: ChannelGraph,
    choose: Callable[[ChannelGraph], Plan],
    steps: int,
    *,
    weight_decay: float,
    first: float = FIRST_FACTOR,
    last: float = LAST_FACTOR,
    every: int = 1,
) -> Loss:
    """Cross-entropy and the decay of what would go now, a loss for `prunus.training.train`; the arguments are
    those of `decay_of_chosen`.
    """
    decay = decay_of_chosen(
        model, graph, choose, steps, weight_decay=weight_decay, first=first, last=last, every=every
    )
    return with_penalty(F.cross_entropy, decay)
