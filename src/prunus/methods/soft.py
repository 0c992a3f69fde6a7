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
  makes up for it. From there on the training goes on in a network without them (`remove`), number by number
  the same and in less time; where the rate grows, in several steps (`stages`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import nn

from prunus._foundation.arguments import door
from prunus._foundation.made import begins
from prunus._foundation.progress import Clock, Watch, unwatched
from prunus.errors import TargetError
from prunus.methods._data import callback
from prunus.methods.common import FIRST, Journal, Outcome, Target
from prunus.methods.filter_norms import filter_norms
from prunus.methods.removal import remove as remove_for_good
from prunus.methods.soft_callback import Growth, Softened, SoftPruning, asymptotic_rate
from prunus.tasks import Task
from prunus.tasks.placed import example_of
from prunus.training import Curriculum, TrainConfig


@door(TargetError)
@begins
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
    round_to: int | Literal["auto"] = "auto",
    stages: int = 1,
    remove: bool = True,
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
        round_to: widths become multiples of this number, wherever a layer has that many channels; "auto": of
            8, which is what processors and GPUs compute at once, or half of that, where that makes a layer
            narrower at all; 1 is the published way.
        stages: parts of the training before the freeze; what is pruned at the end of each is so for good.
            More than one are of use where the rate grows.
        remove: train on without the filters that are frozen, which gives the same weights in less time; False
            leaves them in, as zeros, until the end.
        config: how to train; None = its defaults.
        tuning: how to fine-tune what is left; None leaves it out.
        curriculum: which samples every epoch trains on; None = all. See `prunus.methods.twofold`.
        journal: how the training is kept and told about.
        watch: told about progress.

    Returns:
        In `found`, "record" says what was zeroed after every epoch (`Softened`), and "smaller" whether a
        smaller network trained on after the last of them.

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
        round_to=round_to,
        stages=stages,
        remove=remove,
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
    outcome = remove_for_good(
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
    return replace(
        outcome,
        training=history,
        found={"record": tuple(pruning.record), "smaller": pruning.trains_smaller},
        notes=outcome.notes + pruning.notes,
    )


__all__ = [
    "Growth",
    "SoftPruning",
    "Softened",
    "asymptotic_rate",
    "filter_norms",
    "soft_pruning",
    "trained_softly",
]
