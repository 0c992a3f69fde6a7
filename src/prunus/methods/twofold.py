"""Train from scratch on critical data while filters are softly pruned, and come out with a compact network.

Pabitha and Jayasimhan 2024, "Two-fold accelerated CNN", China Communications: each half can be left out.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods.common import FIRST, Journal, Outcome, Target
from prunus.methods.removal import remove
from prunus.methods.soft import SoftPruning, trained_softly
from prunus.paint import trace
from prunus.plans.plan import make_plan
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import Curriculum, TrainConfig


@door(TargetError)
@begins
def twofold(
    model: nn.Module,
    task: Task,
    *,
    pruning: SoftPruning | None = None,
    curriculum: Curriculum | None = None,
    config: TrainConfig | None = None,
    tuning: TrainConfig | None = None,
    journal: Journal = Journal(),  # noqa: B008 (it never changes)
    watch: Watch = unwatched,
) -> Outcome:
    """Train a copy of a network; with pruning, remove for good what is zero at the end.

    Args:
        model: trained or not.
        task: what it is for; validation samples are looked at after every epoch.
        pruning: soft filter pruning, a callback of the training; None leaves it out.
        curriculum: which samples every epoch trains on, another one; None = all.
        config: how to train; None = its defaults.
        tuning: how to fine-tune the compact network; None leaves it out.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        With pruning, "record" in `found` says what was zeroed after every epoch.

    Raises:
        PrunusError: whatever training and compaction raise.
    """
    config, clock, trained = config or TrainConfig(), Clock(watch), copy.deepcopy(model)
    if pruning is not None:
        return trained_softly(trained, task, pruning, config, tuning, curriculum, journal, clock)
    options: dict[str, Any] = {"curriculum": curriculum, **journal.options(FIRST, watch)}
    with clock.steps(FIRST):
        history = task.fit(trained, config, **options)
    trained.eval()
    graph = trace(trained, example_of(task, trained))
    nothing = make_plan(graph, np.zeros(graph.num_channels, dtype=bool))
    outcome = remove(
        trained,
        graph,
        nothing,
        Target("rate", 0.0),
        task,
        clock,
        tuning=tuning,
        recalibrated=False,
        before={"trained": trained},
    )
    return replace(outcome, training=history, notes=("Nothing was pruned, as no pruning was asked for.",))
