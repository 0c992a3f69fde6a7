"""Train from scratch on critical data while filters are softly pruned, and come out with a compact network.

Pabitha and Jayasimhan 2024, "Two-fold accelerated CNN", China Communications: each half can be left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from prunus._arguments import door
from prunus.errors import TargetError
from prunus.methods.one_shot import Outcome, Target, remove
from prunus.methods.soft import SoftPruning
from prunus.tasks import Task
from prunus.training import Curriculum, EpochRecord, History, TrainConfig, train
from prunus.watching import Clock, Watch, unwatched


@dataclass(frozen=True, eq=False)
class Trained:
    """What came of a training.

    Attributes:
        history: of the training.
        outcome: of the removal at its end; None without pruning.
        seconds: wall time per step.
    """

    history: History
    outcome: Outcome | None
    seconds: dict[str, float]


@door()
def twofold(
    model: nn.Module,
    task: Task,
    config: TrainConfig,
    *,
    pruning: SoftPruning | None = None,
    curriculum: Curriculum | None = None,
    tuning: TrainConfig | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    verify_on: Tensor | None = None,
    watch: Watch = unwatched,
) -> Trained:
    """Train a classifier in place; with pruning, remove for good what is zero at the end.

    Args:
        model: images (batch, C, H, W) to logits (batch, classes).
        task: samples; validation samples are looked at after every epoch.
        config: how to train.
        pruning: soft filter pruning; None leaves it out. MACs are counted on its example inputs.
        curriculum: which samples every epoch trains on; None = all.
        tuning: how to fine-tune the compact network; None leaves it out.
        checkpoint, checkpoint_seconds, resume, on_epoch: as for `prunus.training.train`.
        verify_on: inputs on which compact and masked model are compared; None = random ones.
        watch: told about progress.

    Raises:
        PrunusError: whatever training and compaction raise.
    """
    clock = Clock(watch)
    with clock.steps("training") as on_step:
        history = train(
            model,
            task.samples("train"),
            config,
            normalise=task.normalisation,
            validation=task.held_out(),
            curriculum=curriculum,
            pruning=pruning,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            on_epoch=on_epoch,
            on_step=on_step,
        )
    model.eval()
    if pruning is None:
        return Trained(history, None, clock.seconds)
    if pruning.plan is None:
        raise TargetError("Nothing was pruned in this training, so there is nothing to remove.")
    graph = pruning.traced(model)
    target = Target("rate", pruning.rate, protect=pruning.protect)
    outcome = remove(
        model, graph, pruning.plan.attach(graph), target, task, tuning, verify_on, clock, recalibrated=not pruning.frozen, first="pruned softly"
    )  # no dense network is trained here
    return Trained(history, outcome, clock.seconds)
