"""Pruning at initialisation: one batch says which channels the loss depends on, and what is left is trained.

Lee, Ajanthan and Torr 2019, "SNIP: Single-shot Network Pruning Based on Connection Sensitivity" (arXiv
1810.02340), c = |w dL/dw|, added up over all weights that make or read a channel (our addition; the masks of
single weights are `prunus.scores.snip`).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import Passes, seen_by
from prunus.methods.common import FIRST, Journal, Outcome, Target, wish
from prunus.methods.removal import Measured, remove
from prunus.paint import trace
from prunus.planning.targets import plan
from prunus.scores.initialisation import channel_saliency
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import TrainConfig


@door(TargetError)
@begins
def snip_pruning(
    model: nn.Module,
    task: Task,
    *,
    rate: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    scope: Literal["uniform", "global"] = "uniform",
    protect: tuple[str, ...] = (),
    config: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Remove channels of a copy of an untrained network, and train what is left.

    Args:
        model: at its initialisation.
        task: what it is for; its first training batch is looked at.
        rate: share of the channels that goes; half of them, where nothing else is asked for.
        macs: MACs that may be left: a share of all up to 1, a number above.
        params: parameters that may be left, likewise.
        scope: where channels are compared: "uniform", in each layer, or "global".
        protect: glob patterns of layers that stay whole.
        config: how to train what is left; None = its defaults.
        journal: how the training is kept and told about.
        watch: told about progress.

    Raises:
        TargetError: several targets, or one that cannot be reached.
        ConfigError: the loss is known to the model alone.
        PrunusError: whatever training and compaction raise.
    """
    kind, value = wish({"rate": rate, "macs": macs, "params": params}, ("rate", 0.5))
    target, clock, config = Target(kind, value, scope, protect=protect), Clock(watch), config or TrainConfig()
    start, loss = copy.deepcopy(model), task.per_sample_loss
    graph = clock.time("tracing", lambda: trace(start, example_of(task, start)))
    batch = next(iter(Passes(task, "train", start, config)))
    ranks = clock.time(
        "scoring",
        lambda: channel_saliency(graph, batch, lambda outputs, targets: loss(outputs, targets).mean()),
    )
    chosen = plan(graph, ranks, **{kind: value}, scope=scope, protect=protect)  # type: ignore[arg-type]
    outcome = remove(start, graph, chosen, target, None, clock, inputs=seen_by(task, start))
    with clock.steps(FIRST):
        history = task.fit(outcome.model, config, **journal.options(FIRST, watch))
    measured = Measured(task, clock)
    measured.note("trained without what went", outcome.model.eval())
    return replace(outcome, training=history, steps=tuple(measured.steps))
